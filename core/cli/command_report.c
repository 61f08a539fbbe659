/* core/cli/command_report.c: `perennial report`. */
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "ledger/sweep.h"
#include "page/figures.h"
#include "page/page.h"
#include "report/json.h"
#include "report/results_report.h"
#include "report/sweep_report.h"
#include "report/table.h"

enum { STRETCHES = 300, MAX_OF_SWEEP = 24 };

typedef struct report {
    prn__page_part **parts;
    size_t count;
    char **sweeps;      /* JSON */
    size_t sweep_count;
    size_t left_out;    /* runs of sweeps */
    char *path;         /* of the page */
    int64_t bytes;
    prn__figure_files files;
} report;

static prn_status add_part(report *r, const char *workspace, const char *run, prn_error *error)
{
    prn__page_part **parts = prn__realloc(r->parts, (r->count + 1) * sizeof(prn__page_part *));
    if (parts == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory");
    }
    r->parts = parts;
    prn_status status = prn__page_part_load(workspace, run, STRETCHES, &r->parts[r->count], error);
    r->count += status == PRN_OK;
    return status;
}

/* A sweep stands on the page as its means over seeds, and as its runs, one by one. */
static prn_status add_sweep(report *r, const char *workspace, const prn__sweep_results *sweep, prn_error *error)
{
    prn_status status = PRN_OK;
    prn__text text;
    char **sweeps = prn__realloc(r->sweeps, (r->sweep_count + 1) * sizeof *sweeps);
    if (sweeps == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory");
    }
    r->sweeps = sweeps;
    prn__text_init(&text);
    prn__sweep_results_json(sweep, &(prn__results_view){0}, &text);
    r->sweeps[r->sweep_count] = text.failed ? NULL : prn__strdup(text.data);
    prn__text_fini(&text);
    if (r->sweeps[r->sweep_count] == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory");
    }
    r->sweep_count++;
    for (size_t i = 0; i < sweep->run_count && status == PRN_OK; i++) {
        char id[24];
        if (i >= MAX_OF_SWEEP) {
            r->left_out++;
            continue;
        }
        (void)snprintf(id, sizeof id, "%lld", (long long)sweep->runs[i].results->run.id);
        status = add_part(r, workspace, id, error);
    }
    return status;
}

static prn_status load(const prn__arguments *arguments, report *r, prn_error *error)
{
    const size_t folders = prn__arguments_count(arguments);
    size_t names = 0;
    while (prn__arguments_each(arguments, "run", names) != NULL) {
        names++;
    }
    if (names > 0 && folders > 1) {
        return prn_error_set(error, PRN_INVALID, "report: --run names runs of one workspace, but %zu workspaces are given; report each of them on its own,"
                             " or leave --run out for the latest run of each", folders);
    }
    const size_t wanted = names > 0 ? names : folders;
    prn_status status = PRN_OK;
    for (size_t i = 0; i < wanted && status == PRN_OK; i++) {
        const char *workspace = prn__arguments_at(arguments, names > 0 ? 0 : i), *name = prn__arguments_each(arguments, "run", i);
        prn__sweep_results *sweep = NULL;
        status = prn__sweep_results_load(workspace, name, &sweep, error);
        if (status == PRN_OK) {
            status = sweep != NULL ? add_sweep(r, workspace, sweep, error) : add_part(r, workspace, name, error);
        }
        prn__sweep_results_destroy(sweep);
    }
    return status;
}

static prn_status write_page(const prn__arguments *arguments, report *r, prn_error *error)
{
    const char *output = prn__arguments_value(arguments, "output");
    prn__text text;
    prn_status status;
    if (output == NULL && prn__arguments_has(arguments, "figures")) {
        return PRN_OK; /* the figures alone */
    }
    r->path = output != NULL ? prn__strdup(output) : prn__path_join(prn__arguments_at(arguments, 0), "report.html");
    prn__text_init(&text);
    prn__page_print(&(prn__page){.parts = r->parts, .part_count = r->count, .sweeps = (const char *const *)r->sweeps, .sweep_count = r->sweep_count}, &text);
    if (r->path == NULL || text.failed) {
        status = prn_error_set(error, PRN_NO_MEMORY, "out of memory while writing the report");
    } else {
        status = prn__file_write_atomic(r->path, text.data, text.length, error);
        r->bytes = (int64_t)text.length;
    }
    prn__text_fini(&text);
    return status;
}

static prn_status write_figures(const prn__arguments *arguments, report *r, prn_error *error)
{
    const char *folder = prn__arguments_value(arguments, "figures"), *format = prn__arguments_value(arguments, "format");
    prn__figure_options options = {.folder = folder, .score = prn__arguments_value(arguments, "score"), .has_svg = 1, .has_pdf = 1};
    prn_status status = PRN_OK;
    if (folder == NULL) {
        return PRN_OK;
    }
    if (format != NULL) {
        options.has_svg = strcmp(format, "svg") == 0;
        options.has_pdf = strcmp(format, "pdf") == 0;
    }
    for (size_t i = 0; i < r->count && status == PRN_OK && options.score != NULL; i++) {
        status = prn__results_check_score(r->parts[i]->results, options.score, error);
    }
    if (status == PRN_OK) {
        status = prn__folder_create(folder, error);
    }
    for (size_t i = 0; i < r->count && status == PRN_OK; i++) {
        char prefix[24];
        (void)snprintf(prefix, sizeof prefix, "%zu-", i + 1);
        options.prefix = r->count > 1 ? prefix : "";
        status = prn__figures_write(r->parts[i], &options, &r->files, error);
    }
    return status;
}

static void print(const prn__arguments *arguments, const report *r, prn__text *text)
{
    char number[32];
    if (prn__arguments_has(arguments, "json")) {
        prn__json json = {0};
        json_t *root = prn__json_object(&json, NULL, NULL);
        prn__json_string(&json, root, "page", r->path);
        if (r->path != NULL) {
            prn__json_integer(&json, root, "bytes", r->bytes);
        }
        json_t *runs = prn__json_array(&json, root, "runs"), *figures = prn__json_array(&json, root, "figures");
        for (size_t i = 0; i < r->count; i++) {
            json_t *run = prn__json_object(&json, runs, NULL);
            prn__json_integer(&json, run, "id", r->parts[i]->results->run.id);
            prn__json_string(&json, run, "name", r->parts[i]->results->run.name);
            prn__json_string(&json, run, "state", r->parts[i]->results->run.state);
            prn__json_string(&json, run, "settings", r->parts[i]->timeline->settings);
        }
        for (size_t i = 0; i < r->files.count; i++) {
            prn__json_string(&json, figures, NULL, r->files.paths[i]);
        }
        prn__json_finish(&json, root, text);
        return;
    }
    if (r->path != NULL) {
        prn__text_printf(text, "%s: %s\n", r->path, prn__format_bytes((double)r->bytes, number, sizeof number));
    }
    for (size_t i = 0; i < r->files.count; i++) {
        prn__text_printf(text, "%s\n", r->files.paths[i]);
    }
    if (r->left_out > 0) {
        prn__text_printf(text, "%zu further runs of the sweep are in its table alone; --run NUMBER draws one of them\n", r->left_out);
    }
    for (size_t i = 0; i < r->count; i++) {
        const prn__run_info *run = &r->parts[i]->results->run;
        if (run->stages_done < run->stage_count) {
            prn__text_printf(text, "run %s is not complete: %u of %u stages are done; the report shows what there is\n", run->name, run->stages_done,
                             run->stage_count);
        }
    }
}

static int run(prn__cli *cli, const prn__arguments *arguments)
{
    const char *format = prn__arguments_value(arguments, "format");
    prn_error error = PRN_ERROR_INIT;
    report r = {0};
    prn__text text;
    if (format != NULL && strcmp(format, "svg") != 0 && strcmp(format, "pdf") != 0) {
        (void)prn_error_set(&error, PRN_INVALID, "report: --format is '%s'; it must be svg or pdf", format);
        return prn__cli_usage(cli, &error);
    }
    for (int i = 0; i < 2; i++) {
        const char *option = i == 0 ? "format" : "score";
        if (prn__arguments_has(arguments, option) && !prn__arguments_has(arguments, "figures")) {
            (void)prn_error_set(&error, PRN_INVALID, "report: --%s is for figures; add --figures DIR", option);
            return prn__cli_usage(cli, &error);
        }
    }
    prn_status status = load(arguments, &r, &error);
    if (status == PRN_OK) {
        status = write_page(arguments, &r, &error);
    }
    if (status == PRN_OK) {
        status = write_figures(arguments, &r, &error);
    }
    prn__text_init(&text);
    if (status == PRN_OK) {
        print(arguments, &r, &text);
    }
    for (size_t i = 0; i < r.count; i++) {
        prn__page_part_destroy(r.parts[i]);
    }
    for (size_t i = 0; i < r.sweep_count; i++) {
        prn__free(r.sweeps[i]);
    }
    prn__free(r.sweeps);
    prn__free(r.parts);
    prn__free(r.path);
    prn__figure_files_fini(&r.files);
    if (status != PRN_OK) {
        prn__text_fini(&text);
        return status == PRN_INVALID ? prn__cli_usage(cli, &error) : prn__cli_fail(cli, &error);
    }
    return prn__cli_print(cli, &text);
}

static const prn__argument options[] = {
    {"output", "FILE", "the page, also -o (default: report.html in the first workspace)", 0, 0, 0},
    {"run", "NAME", "a run by its name or number (default: the latest)", 1, 0, 0},
    {"figures", "DIR", "write the figures there; without --output no page is written then", 0, 0, 0},
    {"format", "KIND", "figures as svg or pdf only (default: both)", 0, 0, 0},
    {"score", "NAME", "figures of this score instead of each task's first", 0, 0, 0},
    PRN__ARGUMENT_JSON,
};

const prn__command prn__command_report = {
    .name = "report",
    .usage = "WORKSPACE... [options]",
    .summary = "write the page about a run, and its figures for papers",
    .details = "One HTML file that opens in any browser and loads nothing: matrices, score against compute, forgetting, training\n"
               "curves, costs, recipe and environment. A run that is not finished is shown as far as it is. Several workspaces, or\n"
               "several --run of one, stand on one page; so do the runs of a sweep, under its means over seeds.",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .positional_min = 1,
    .positional_max = -1,
    .run = run,
};
