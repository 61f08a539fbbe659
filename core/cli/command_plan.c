/* core/cli/command_plan.c: `perennial plan`. */
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/sweep_command.h"
#include "report/plan_report.h"
#include "report/schedule_report.h"

static size_t columns(void)
{
    struct winsize size;
    return isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 100;
}

static int run(prn__cli *cli, const prn__arguments *arguments)
{
    prn_error error = PRN_ERROR_INIT;
    prn__recipe_set *set = NULL;
    prn__plan *plan = NULL;
    prn__text text;
    int code;
    prn_status status = prn__cli_recipes(cli, arguments, prn__arguments_at(arguments, 0), &set, &error);
    if (status == PRN_OK && set->recipes[0]->sweep != NULL) {
        code = prn__sweep_command_plan(cli, arguments, set);
        prn__recipe_set_destroy(set);
        return code;
    }
    if (status == PRN_OK) {
        status = prn__plan_create(set->recipes[0], cli->registry, &plan, &error);
    }
    if (status != PRN_OK) {
        code = prn__cli_fail(cli, &error);
    } else {
        prn__text_init(&text);
        if (prn__arguments_has(arguments, "json")) {
            prn__plan_json(plan, prn__arguments_has(arguments, "schedule"), &text);
        } else if (prn__arguments_has(arguments, "schedule")) {
            prn__schedule_print(plan, columns(), &text);
        } else {
            prn__plan_print(plan, &text);
        }
        code = prn__cli_print(cli, &text);
    }
    prn__plan_destroy(plan);
    prn__recipe_set_destroy(set);
    return code;
}

static const prn__argument options[] = {
    {"schedule", NULL, "the learning rate over the whole run instead: a plot and a table (with --json beside the rest, as points)", 0, 0, 0},
    PRN__ARGUMENT_SET, PRN__ARGUMENT_BACKEND, PRN__ARGUMENT_WORKSPACE, PRN__ARGUMENT_PLUGINS, PRN__ARGUMENT_JSON,
};

const prn__command prn__command_plan = {
    .name = "plan",
    .usage = "RECIPE [options]",
    .summary = "show the stages of a recipe and what they cost, without running anything",
    .details = "A stage that several strategies ask for is run once. Cost is counted from the model's own programs: forward\n"
               "multiply-accumulates (MACs) times samples. docs/recipes.md defines the other figures. Of a sweep, combinations are\n"
               "shown, and what they share.",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .positional_min = 1,
    .positional_max = 1,
    .run = run,
};
