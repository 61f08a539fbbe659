/* core/cli/command_gc.c: `perennial gc`. */
#include <inttypes.h>

#include "base/memory.h"
#include "cli/cli.h"
#include "ledger/results.h"
#include "report/runs_report.h"

typedef struct chosen {
    int64_t *ids;
    const prn__run_info **runs;
    size_t count;
} chosen;

/* The runs that --forget names, each once. */
static prn_status choose(const prn__arguments *arguments, const char *workspace, const prn__run_list *list, chosen *c, prn_error *error)
{
    c->ids = prn__alloc_array(list->count + 1, sizeof *c->ids);
    c->runs = prn__alloc_array(list->count + 1, sizeof *c->runs);
    if (c->ids == NULL || c->runs == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory");
    }
    for (size_t i = 0; prn__arguments_each(arguments, "forget", i) != NULL; i++) {
        prn__results *results = NULL;
        prn_status status = prn__results_load(workspace, prn__arguments_each(arguments, "forget", i), &results, error);
        if (status != PRN_OK) {
            return status;
        }
        const int64_t id = results->run.id;
        int is_there = 0;
        prn__results_destroy(results);
        for (size_t k = 0; k < c->count; k++) {
            is_there |= c->ids[k] == id;
        }
        for (size_t k = 0; k < list->count && !is_there; k++) {
            if (list->runs[k].id == id) {
                c->runs[c->count] = &list->runs[k];
                c->ids[c->count++] = id;
                break;
            }
        }
    }
    return PRN_OK;
}

static int run(prn__cli *cli, const prn__arguments *arguments)
{
    const char *workspace = prn__arguments_at(arguments, 0);
    const int is_meant = prn__arguments_has(arguments, "yes");
    prn_error error = PRN_ERROR_INIT;
    prn__run_list *list = NULL;
    prn__collection *collection = NULL;
    chosen c = {0};
    prn__text text;
    prn__text_init(&text);
    prn_status status = prn__run_list_load(workspace, &list, &error);
    if (status == PRN_OK) {
        status = choose(arguments, workspace, list, &c, &error);
    }
    const prn__collect_options options = {.forgotten = c.ids, .forgotten_count = c.count, .with_optimizer = prn__arguments_has(arguments, "optimizer")};
    if (status == PRN_OK) {
        status = is_meant ? prn__collect(workspace, &options, &collection, &error) : prn__collection_create(workspace, &options, &collection, &error);
    }
    if (collection != NULL) { /* also what a failure left unfinished */
        const prn__collection_view view = {.workspace = workspace, .is_done = is_meant, .forgotten = c.runs, .forgotten_count = c.count};
        if (prn__arguments_has(arguments, "json")) {
            prn__collection_json(collection, &view, &text);
        } else {
            prn__collection_print(collection, &view, &text);
        }
    }
    prn__collection_destroy(collection);
    prn__run_list_destroy(list);
    prn__free(c.ids);
    prn__free((void *)c.runs);
    int code = prn__cli_print(cli, &text);
    return status != PRN_OK ? prn__cli_fail(cli, &error) : code;
}

static const prn__argument options_of_gc[] = {
    {"forget", "RUN", "forget this run, by its name or number, and what only it needs", 1, 0, 0},
    {"optimizer", NULL, "optimizer states of finished stages, too: a stage that keeps its parent's cannot go on from them", 0, 0, 0},
    {"yes", NULL, "do it; without it, what would go is listed and nothing is changed", 0, 0, 0},
    PRN__ARGUMENT_JSON,
};

const prn__command prn__command_gc = {
    .name = "gc",
    .usage = "WORKSPACE [options]",
    .summary = "remove what no run of a workspace needs",
    .details = "Stages that no run in the ledger needs, checkpoints of finished stages, damaged and temporary files, indexes of shards\n"
               "that are gone. What a kept run needs stays, unfinished runs' checkpoints and stages that others start from with it:\n"
               "running its recipe again trains nothing that was trained. Refused while a run works in the workspace.",
    .options = options_of_gc,
    .option_count = sizeof options_of_gc / sizeof options_of_gc[0],
    .positional_min = 1,
    .positional_max = 1,
    .run = run,
};
