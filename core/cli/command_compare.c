/* core/cli/command_compare.c: `perennial compare`. */
#include "base/memory.h"
#include "cli/cli.h"
#include "report/compare_report.h"
#include "report/results_report.h"

typedef struct comparison {
    prn__compared *runs;
    prn__results **results;
    prn__timeline **timelines;
    prn__set_keys **sets;
    size_t count;
} comparison;

static prn_status load(const prn__arguments *arguments, comparison *c, prn_error *error)
{
    const size_t folders = prn__arguments_count(arguments);
    size_t names = 0;
    while (prn__arguments_each(arguments, "run", names) != NULL) {
        names++;
    }
    if (names > 0 && folders > 1 && names != folders) {
        return prn_error_set(error, PRN_INVALID, "compare: %zu workspaces and %zu times --run; give one workspace and its runs, or as many --run as workspaces"
                             " (they belong together in order), or none for the latest run of each", folders, names);
    }
    const size_t wanted = names > 0 ? names : folders;
    if (wanted < 2) {
        return prn_error_set(error, PRN_INVALID, "compare: two runs or more are needed: several workspaces, or one workspace and --run twice or more");
    }
    c->runs = prn__alloc_array(wanted, sizeof *c->runs);
    c->results = prn__alloc_array(wanted, sizeof *c->results);
    c->timelines = prn__alloc_array(wanted, sizeof *c->timelines);
    c->sets = prn__alloc_array(wanted, sizeof *c->sets);
    if (c->runs == NULL || c->results == NULL || c->timelines == NULL || c->sets == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory");
    }
    prn_status status = PRN_OK;
    for (size_t i = 0; i < wanted && status == PRN_OK; i++) {
        const char *workspace = prn__arguments_at(arguments, folders > 1 ? i : 0);
        c->count = i + 1;
        status = prn__results_load(workspace, prn__arguments_each(arguments, "run", i), &c->results[i], error);
        if (status == PRN_OK) {
            status = prn__timeline_load(workspace, c->results[i]->run.id, &c->timelines[i], error);
        }
        if (status == PRN_OK) {
            status = prn__set_keys_load(workspace, c->results[i]->run.id, &c->sets[i], error);
        }
        c->runs[i] = (prn__compared){.workspace = workspace, .results = c->results[i], .timeline = c->timelines[i], .sets = c->sets[i]};
    }
    return status;
}

static void release(comparison *c)
{
    for (size_t i = 0; i < c->count; i++) {
        prn__results_destroy(c->results[i]);
        prn__timeline_destroy(c->timelines[i]);
        prn__set_keys_destroy(c->sets[i]);
    }
    prn__free(c->runs);
    prn__free((void *)c->results);
    prn__free((void *)c->timelines);
    prn__free((void *)c->sets);
}

static int run(prn__cli *cli, const prn__arguments *arguments)
{
    const prn__compare_view view = {.score = prn__arguments_value(arguments, "score"), .all_metrics = prn__arguments_has(arguments, "all-metrics")};
    prn_error error = PRN_ERROR_INIT;
    comparison c = {0};
    prn__text text;
    prn_status status = load(arguments, &c, &error);
    for (size_t i = 0; i < c.count && status == PRN_OK && view.score != NULL; i++) {
        status = prn__results_check_score(c.results[i], view.score, &error);
    }
    if (status != PRN_OK) {
        release(&c);
        return status == PRN_INVALID ? prn__cli_usage(cli, &error) : prn__cli_fail(cli, &error);
    }
    prn__text_init(&text);
    if (prn__arguments_has(arguments, "json")) {
        prn__compare_json(c.runs, c.count, &view, &text);
    } else {
        prn__compare_print(c.runs, c.count, &view, &text);
    }
    release(&c);
    return prn__cli_print(cli, &text);
}

static const prn__argument options[] = {
    {"run", "NAME", "a run by its name or number, again for more (default: the latest of each workspace)", 1, 0, 0},
    {"score", "NAME", "this score instead of each task's first, such as i2t_recall@5", 0, 0, 0},
    {"all-metrics", NULL, "next domain, GEM's backward and forward transfer and regret, too", 0, 0, 0},
    PRN__ARGUMENT_JSON,
};

const prn__command prn__command_compare = {
    .name = "compare",
    .usage = "WORKSPACE... [options]",
    .summary = "set runs side by side: scores, costs, what their recipes differ in",
    .details = "The latest run of each workspace; or of one workspace those that --run names; or, with as many --run as workspaces, each of\n"
               "its own. The first is what the others are set against. Differences are shown where evaluation sets are the same.",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .positional_min = 1,
    .positional_max = -1,
    .run = run,
};
