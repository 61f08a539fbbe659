/* core/cli/command_results.c: `perennial results`. */
#include "cli/sweep_command.h"
#include "report/results_report.h"

static int list_runs(prn__cli *cli, const prn__arguments *arguments, const char *workspace)
{
    prn_error error = PRN_ERROR_INIT;
    prn__run_list *list = NULL;
    prn__text text;
    if (prn__run_list_load(workspace, &list, &error) != PRN_OK) {
        return prn__cli_fail(cli, &error);
    }
    prn__text_init(&text);
    if (prn__arguments_has(arguments, "json")) {
        prn__run_list_json(list, &text);
    } else {
        prn__run_list_print(list, &text);
    }
    prn__run_list_destroy(list);
    return prn__cli_print(cli, &text);
}

static int run(prn__cli *cli, const prn__arguments *arguments)
{
    const char *workspace = prn__arguments_at(arguments, 0);
    const prn__results_view view = {
        .score = prn__arguments_value(arguments, "score"),
        .all_scores = prn__arguments_has(arguments, "all-scores"),
        .colours = prn__arguments_has(arguments, "no-colour") ? 0 : prn__cli_colours(),
    };
    prn_error error = PRN_ERROR_INIT;
    prn__results *results = NULL;
    prn__text text;
    if (prn__arguments_has(arguments, "json") && prn__arguments_has(arguments, "csv")) {
        (void)prn_error_set(&error, PRN_INVALID, "results: --json and --csv exclude each other; choose one");
        return prn__cli_usage(cli, &error);
    }
    if (prn__arguments_has(arguments, "list")) {
        return list_runs(cli, arguments, workspace);
    }
    prn__sweep_results *sweep = NULL;
    prn_status status = prn__sweep_results_load(workspace, prn__arguments_value(arguments, "run"), &sweep, &error);
    if (sweep != NULL) {
        const int code = prn__sweep_command_results(cli, arguments, sweep);
        prn__sweep_results_destroy(sweep);
        return code;
    }
    if (status == PRN_OK) {
        status = prn__results_load(workspace, prn__arguments_value(arguments, "run"), &results, &error);
    }
    if (status == PRN_OK && view.score != NULL) {
        status = prn__results_check_score(results, view.score, &error);
    }
    if (status != PRN_OK) {
        prn__results_destroy(results);
        return prn__cli_fail(cli, &error);
    }
    prn__text_init(&text);
    if (prn__arguments_has(arguments, "json")) {
        prn__results_json(results, &view, &text);
    } else if (prn__arguments_has(arguments, "csv")) {
        prn__results_csv(results, &view, &text);
    } else {
        prn__results_print(results, &view, &text);
    }
    prn__results_destroy(results);
    return prn__arguments_has(arguments, "json") || prn__arguments_has(arguments, "csv") ? prn__cli_print(cli, &text) : prn__cli_print_styled(cli, &text);
}

static const prn__argument options[] = {
    {"run", "NAME", "a run by its name or number (default: the latest)", 0, 0, 0},
    {"list", NULL, "list the runs of the workspace", 0, 0, 0},
    {"score", "NAME", "this score instead of each task's first, such as i2t_recall@5", 0, 0, 0},
    {"all-scores", NULL, "every score", 0, 0, 0},
    {"no-colour", NULL, "no shading on a terminal; NO_COLOR does the same for every command", 0, 0, 0},
    {"csv", NULL, "print one line a value, with a head line", 0, 0, 0},
    PRN__ARGUMENT_JSON,
};

const prn__command prn__command_results = {
    .name = "results",
    .usage = "WORKSPACE [options]",
    .summary = "show the matrices of a run and compare its strategies",
    .details = "Row: after training on a time step; column: tested on a time step's task. In-domain is the mean of the diagonal,\n"
               "backward the mean below it, forward the mean above it; forgetting is how far the best score of an earlier step\n"
               "has fallen at the end; regret is the distance to the oracle strategy. Of a sweep: means and standard deviations over\n"
               "seeds, the best settings, and what finding them cost; its single runs by their numbers.",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .positional_min = 1,
    .positional_max = 1,
    .run = run,
};
