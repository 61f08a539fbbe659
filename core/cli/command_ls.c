/* core/cli/command_ls.c: `perennial ls`. */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "ledger/usage.h"
#include "report/json.h"
#include "report/runs_report.h"

enum { DEPTH = 4 }; /* of folders below the one that is given */

typedef struct listing {
    char **workspaces;
    size_t workspace_count;
    prn__run_list **lists;   /* those that are read */
    size_t list_count;
    prn__run_row *rows;
    size_t row_count;
    prn__arena memory;
} listing;

static prn_status no_memory(prn_error *error)
{
    return prn_error_set(error, PRN_NO_MEMORY, "out of memory while listing runs");
}

/* ---- workspaces ----------------------------------------------------------------------------------------------------------------- */

static int is_workspace(const char *path)
{
    char *file = prn__path_join(path, "ledger.sqlite");
    int found = file != NULL && prn__file_exists(file);
    prn__free(file);
    return found;
}

static prn_status add_workspace(listing *l, const char *path, prn_error *error)
{
    for (size_t i = 0; i < l->workspace_count; i++) {
        if (strcmp(l->workspaces[i], path) == 0) {
            return PRN_OK;
        }
    }
    char **more = prn__realloc(l->workspaces, (l->workspace_count + 1) * sizeof *more);
    if (more == NULL) {
        return no_memory(error);
    }
    l->workspaces = more;
    l->workspaces[l->workspace_count] = prn__strdup(path);
    return l->workspaces[l->workspace_count] != NULL ? (l->workspace_count++, PRN_OK) : no_memory(error);
}

/* A workspace itself, or all below the folder; what lies inside a workspace is not looked through. Links are not followed. */
static prn_status search(listing *l, const char *path, int depth, prn_error *error)
{
    if (is_workspace(path)) {
        return add_workspace(l, path, error);
    }
    DIR *directory = depth < DEPTH ? opendir(path) : NULL;
    prn_status status = PRN_OK;
    for (const struct dirent *entry; status == PRN_OK && directory != NULL && (entry = readdir(directory)) != NULL;) {
        struct stat info;
        if (entry->d_name[0] == '.' || fstatat(dirfd(directory), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(info.st_mode)) {
            continue;
        }
        char *below = prn__path_join(path, entry->d_name);
        status = below != NULL ? search(l, below, depth + 1, error) : no_memory(error);
        prn__free(below);
    }
    if (directory != NULL) {
        (void)closedir(directory);
    }
    return status;
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static prn_status find_workspaces(const prn__arguments *arguments, listing *l, prn_error *error)
{
    const size_t given = prn__arguments_count(arguments);
    prn_status status = PRN_OK;
    for (size_t i = 0; i < (given > 0 ? given : 1) && status == PRN_OK; i++) {
        const char *path = given > 0 ? prn__arguments_at(arguments, i) : "runs";
        const size_t before = l->workspace_count;
        if (!prn__folder_exists(path)) {
            return given > 0 ? prn_error_set(error, PRN_NOT_FOUND, "%s: there is no such folder; name a workspace, such as runs/quickstart, or a folder of them", path)
                             : prn_error_set(error, PRN_NOT_FOUND, "there is no folder runs here; name a workspace or a folder of them, or run a recipe first");
        }
        status = search(l, path, 0, error);
        if (status == PRN_OK && l->workspace_count == before && !is_workspace(path)) {
            return prn_error_set(error, PRN_NOT_FOUND, "%s: no workspace (a folder with a ledger.sqlite) is here or below", path);
        }
        if (l->workspace_count > before) {
            qsort(l->workspaces + before, l->workspace_count - before, sizeof *l->workspaces, compare_paths);
        }
    }
    return status;
}

/* ---- runs --------------------------------------------------------------------------------------------------------------------------- */

static prn_status fill_strategies(listing *l, prn__run_row *row, prn_error *error)
{
    prn__results *results = NULL;
    prn__text text, array;
    prn__json json = {0};
    prn_status status = prn__results_load_number(row->workspace, row->run->id, &results, error);
    if (status != PRN_OK) {
        return status;
    }
    prn__text_init(&text);
    prn__text_init(&array);
    json_t *labels = prn__json_array(&json, NULL, NULL);
    for (size_t i = 0; i < results->strategy_count; i++) {
        prn__text_printf(&text, "%s%s", i > 0 ? ", " : "", results->strategies[i].label);
        prn__json_string(&json, labels, NULL, results->strategies[i].label);
    }
    prn__json_finish(&json, labels, &array);
    row->strategies = text.failed ? NULL : prn__arena_strdup(&l->memory, text.data != NULL ? text.data : "");
    row->labels_json = array.failed ? NULL : prn__arena_strdup(&l->memory, array.data);
    prn__text_fini(&array);
    prn__text_fini(&text);
    prn__results_destroy(results);
    return row->strategies != NULL && row->labels_json != NULL ? PRN_OK : no_memory(error);
}

static prn_status fill_bytes(prn__run_row *row, prn_error *error)
{
    prn__stage_uses *uses = NULL;
    char *stages = prn__path_join(row->workspace, "stages");
    prn_status status = stages != NULL ? prn__stage_uses_of_run(row->workspace, row->run->id, &uses, error) : no_memory(error);
    for (size_t i = 0; status == PRN_OK && i < uses->count; i++) {
        char *folder = uses->stages[i].is_needed ? prn__path_join(stages, uses->stages[i].key) : NULL;
        row->bytes += folder != NULL ? prn__folder_bytes(folder) : 0;
        prn__free(folder);
    }
    prn__stage_uses_destroy(uses);
    prn__free(stages);
    return status;
}

static prn_status read_workspace(listing *l, const char *workspace, prn_error *error)
{
    prn__run_list *list = NULL;
    prn_status status = prn__run_list_load(workspace, &list, error);
    prn__run_list **lists = status == PRN_OK ? prn__realloc(l->lists, (l->list_count + 1) * sizeof(prn__run_list *)) : NULL;
    if (lists == NULL) {
        prn__run_list_destroy(list);
        return status != PRN_OK ? status : no_memory(error);
    }
    l->lists = lists;
    l->lists[l->list_count++] = list;
    prn__run_row *rows = prn__realloc(l->rows, (l->row_count + list->count + 1) * sizeof *rows);
    if (rows == NULL) {
        return no_memory(error);
    }
    l->rows = rows;
    for (size_t i = 0; i < list->count && status == PRN_OK; i++) {
        prn__run_row *row = &l->rows[l->row_count];
        *row = (prn__run_row){.workspace = workspace, .run = &list->runs[i], .strategies = "", .labels_json = "[]"};
        status = fill_strategies(l, row, error);
        if (status == PRN_OK) {
            status = fill_bytes(row, error);
        }
        l->row_count += status == PRN_OK;
    }
    return status;
}

static void release(listing *l)
{
    for (size_t i = 0; i < l->list_count; i++) {
        prn__run_list_destroy(l->lists[i]);
    }
    for (size_t i = 0; i < l->workspace_count; i++) {
        prn__free(l->workspaces[i]);
    }
    prn__free((void *)l->lists);
    prn__free(l->workspaces);
    prn__free(l->rows);
    prn__arena_fini(&l->memory);
}

static int run(prn__cli *cli, const prn__arguments *arguments)
{
    prn_error error = PRN_ERROR_INIT;
    listing l = {0};
    prn__text text;
    int failed = 0;
    prn__arena_init(&l.memory, 4096);
    prn_status status = find_workspaces(arguments, &l, &error);
    if (status != PRN_OK) {
        release(&l);
        return prn__cli_fail(cli, &error);
    }
    for (size_t i = 0; i < l.workspace_count; i++) { /* one that cannot be read does not hide the others */
        prn_error problem = PRN_ERROR_INIT;
        if (read_workspace(&l, l.workspaces[i], &problem) != PRN_OK) {
            (void)prn__cli_fail(cli, &problem);
            failed = 1;
        }
    }
    prn__text_init(&text);
    if (prn__arguments_has(arguments, "json")) {
        prn__run_rows_json(l.rows, l.row_count, &text);
    } else {
        prn__run_rows_print(l.rows, l.row_count, &text);
    }
    release(&l);
    int code = prn__cli_print(cli, &text);
    return failed ? PRN__EXIT_FAILED : code;
}

static const prn__argument options[] = {
    PRN__ARGUMENT_JSON,
};

const prn__command prn__command_ls = {
    .name = "ls",
    .usage = "[WORKSPACE|FOLDER]... [options]",
    .summary = "list the runs of workspaces",
    .details = "A folder stands for every workspace below it; none given: those below runs. Size: all stages that the run needs, those\n"
               "that it shares with other runs too. Latest first within a workspace.",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .positional_min = 0,
    .positional_max = -1,
    .run = run,
};
