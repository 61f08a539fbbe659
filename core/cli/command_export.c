/* core/cli/command_export.c: `perennial export`. */
#include <string.h>

#include "base/memory.h"
#include "cli/cli.h"
#include "report/export.h"

static int run(prn__cli *cli, const prn__arguments *arguments)
{
    static const char *const needed[] = {"format", "output"};
    const char *workspace = prn__arguments_at(arguments, 0), *format = prn__arguments_value(arguments, "format");
    prn_error error = PRN_ERROR_INIT;
    prn__results *results = NULL;
    prn__timeline *timeline = NULL;
    prn__export_format kind = PRN__EXPORT_CSV;
    if (prn__arguments_require(arguments, needed, 2, &error) != PRN_OK) {
        return prn__cli_usage(cli, &error);
    }
    if (!prn__export_format_parse(format, &kind)) {
        (void)prn_error_set(&error, PRN_INVALID, "export: --format is '%s'; it must be csv, jsonl or tensorboard", format);
        return prn__cli_usage(cli, &error);
    }
    prn_status status = prn__results_load(workspace, prn__arguments_value(arguments, "run"), &results, &error);
    if (status == PRN_OK) {
        status = prn__timeline_load(workspace, results->run.id, &timeline, &error);
    }
    if (status == PRN_OK) {
        const prn__export source = {.workspace = workspace, .results = results, .timeline = timeline};
        status = prn__export_write(&source, kind, prn__arguments_value(arguments, "output"), &error);
    }
    prn__timeline_destroy(timeline);
    prn__results_destroy(results);
    return status == PRN_OK ? PRN__EXIT_DONE : prn__cli_fail(cli, &error);
}

static const prn__argument options[] = {
    {"format", "NAME", "csv, jsonl or tensorboard", 0, 0, 0},
    {"output", "PATH", "csv and tensorboard: a folder; jsonl: a file", 0, 0, 0},
    {"run", "NAME", "a run by its name or number (default: the latest)", 0, 0, 0},
};

const prn__command prn__command_export = {
    .name = "export",
    .usage = "WORKSPACE --format csv|jsonl|tensorboard -o PATH [options]",
    .summary = "write a run's metrics and scores for other programs",
    .details = "csv: matrix.csv, metrics.csv, summary.csv and stages.csv. jsonl: one record a line, its kind under `kind`.\n"
               "tensorboard: event files, one folder a strategy; point TensorBoard's --logdir at PATH.",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .positional_min = 1,
    .positional_max = 1,
    .run = run,
};
