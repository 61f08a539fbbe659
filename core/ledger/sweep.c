/* core/ledger/sweep.c: see sweep.h. Reads the runs of a sweep; sweep_summary.c computes. */
#include "ledger/sweep.h"

#include <inttypes.h>
#include <string.h>

#include "ledger/reader.h"
#include "ledger/sweep_internal.h"

static prn_status no_memory(prn_error *error)
{
    return prn_error_set(error, PRN_NO_MEMORY, "out of memory while reading a sweep");
}

/* ---- which sweep ------------------------------------------------------------------------------------------------------------------ */

#define LATEST_FIRST " ORDER BY (SELECT max(recorded) FROM environment WHERE run = runs.id) DESC, id DESC LIMIT 1"

/* Of the latest run of this name; or the sweep whose identity begins so. */
static prn_status sweep_of(prn__reader *r, const char *run, const char **identity)
{
    static const char *const queries[] = {
        "SELECT sweep FROM runs WHERE ?1 IS NULL OR name = ?1" LATEST_FIRST,
        "SELECT sweep FROM runs WHERE length(?1) >= 6 AND sweep != '' AND substr(sweep, 1, length(?1)) = ?1" LATEST_FIRST,
    };
    prn_status status = PRN_OK;
    int found = 0, failed = 0;
    *identity = NULL;
    if (r->version < 3) {
        return PRN_OK;
    }
    for (int i = 0; i < 2 && status == PRN_OK && !found; i++) {
        sqlite3_stmt *statement = NULL;
        status = prn__sql_prepare(&r->sql, &statement, r->error, queries[i], "s", run);
        int row = status == PRN_OK ? prn__sql_step(&r->sql, statement, r->error) : 0;
        if (row > 0) {
            found = 1;
            *identity = prn__column_text(r, statement, 0, &failed);
            *identity = *identity != NULL && (*identity)[0] != '\0' ? *identity : NULL;
        }
        (void)sqlite3_finalize(statement);
        status = status == PRN_OK ? prn__reader_status(r, row) : status;
    }
    return status == PRN_OK && failed ? no_memory(r->error) : status;
}

/* Longer ones may be the beginning of an identity. */
static int is_number(const char *run)
{
    return run != NULL && run[0] != '\0' && strlen(run) < 6 && strspn(run, "0123456789") == strlen(run);
}

/* ---- its runs --------------------------------------------------------------------------------------------------------------------- */

static prn_status count_rows(prn__reader *r, const char *query, const char *letters, const char *text, int64_t id, size_t *count)
{
    int64_t n = 0;
    prn_status status = letters[0] == '\0'  ? prn__sql_run(&r->sql, &n, r->error, query, "")
                        : letters[0] == 's' ? prn__sql_run(&r->sql, &n, r->error, query, "s", text)
                                            : prn__sql_run(&r->sql, &n, r->error, query, "i", id);
    *count = n > 0 ? (size_t)n : 0;
    return status;
}

static prn_status read_head(prn__reader *r, prn__sweep_results *sweep)
{
    sqlite3_stmt *statement = NULL;
    int failed = 0;
    prn_status status = prn__sql_prepare(&r->sql, &statement, r->error,
                                         "SELECT combinations, criterion, chosen_on, score, (SELECT name FROM runs WHERE sweep = sweeps.identity LIMIT 1)"
                                         " FROM sweeps WHERE identity = ?", "s", sweep->identity);
    int row = status == PRN_OK ? prn__sql_step(&r->sql, statement, r->error) : 0;
    if (row > 0) {
        const int64_t combinations = sqlite3_column_int64(statement, 0);
        sweep->combinations = combinations > 0 && combinations < 1000000 ? (uint32_t)combinations : 0;
        sweep->criterion = prn__column_text(r, statement, 1, &failed);
        sweep->chosen_on = prn__column_text(r, statement, 2, &failed);
        sweep->score = prn__column_text(r, statement, 3, &failed);
        sweep->name = prn__column_text(r, statement, 4, &failed);
    } else if (status == PRN_OK && row == 0) {
        status = prn_error_set(r->error, PRN_NOT_FOUND, "%s: no sweep %s", r->path, sweep->identity);
    }
    (void)sqlite3_finalize(statement);
    return status != PRN_OK ? status : failed ? no_memory(r->error) : prn__reader_status(r, row);
}

static prn_status read_values(prn__reader *r, prn__sweep_run *run, int64_t id)
{
    sqlite3_stmt *statement = NULL;
    size_t capacity = 0;
    int failed = 0, row = 0;
    prn_status status = count_rows(r, "SELECT count(*) FROM settings WHERE run = ?", "i", NULL, id, &capacity);
    if (status != PRN_OK) {
        return status;
    }
    run->values = prn__arena_alloc(r->memory, (capacity + 1) * sizeof *run->values);
    if (run->values == NULL) {
        return no_memory(r->error);
    }
    status = prn__sql_prepare(&r->sql, &statement, r->error, "SELECT name, value, is_seeds FROM settings WHERE run = ? ORDER BY position", "i", id);
    while (status == PRN_OK && run->value_count < capacity && (row = prn__sql_step(&r->sql, statement, r->error)) > 0) {
        prn__sweep_value *value = &run->values[run->value_count++];
        value->name = prn__column_text(r, statement, 0, &failed);
        value->value = prn__column_text(r, statement, 1, &failed);
        value->is_seeds = sqlite3_column_int(statement, 2);
    }
    (void)sqlite3_finalize(statement);
    return status != PRN_OK ? status : failed ? no_memory(r->error) : prn__reader_status(r, row);
}

static prn_status read_uses(prn__reader *r, int64_t id, prn__stage_use **uses, size_t *count)
{
    sqlite3_stmt *statement = NULL;
    size_t capacity = 0;
    int failed = 0, row = 0;
    prn_status status = count_rows(r, "SELECT count(*) FROM run_stages WHERE run = ?", "i", NULL, id, &capacity);
    if (status != PRN_OK) {
        return status;
    }
    *uses = prn__arena_alloc(r->memory, (capacity + 1) * sizeof **uses);
    if (*uses == NULL) {
        return no_memory(r->error);
    }
    status = prn__sql_prepare(&r->sql, &statement, r->error, "SELECT strategy, time_step, stage FROM run_stages WHERE run = ? ORDER BY strategy, time_step",
                              "i", id);
    while (status == PRN_OK && *count < capacity && (row = prn__sql_step(&r->sql, statement, r->error)) > 0) {
        prn__stage_use *use = &(*uses)[(*count)++];
        use->label = prn__column_text(r, statement, 0, &failed);
        use->time_step = sqlite3_column_int64(statement, 1);
        use->stage = sqlite3_column_int64(statement, 2);
    }
    (void)sqlite3_finalize(statement);
    return status != PRN_OK ? status : failed ? no_memory(r->error) : prn__reader_status(r, row);
}

static prn_status read_stages(prn__reader *r, prn__stage_graph *graph)
{
    sqlite3_stmt *statement = NULL;
    size_t capacity = 0;
    int row = 0;
    prn_status status = count_rows(r, "SELECT count(*) FROM stages", "", NULL, 0, &capacity);
    if (status != PRN_OK) {
        return status;
    }
    graph->nodes = prn__arena_alloc(r->memory, (capacity + 1) * sizeof *graph->nodes);
    if (graph->nodes == NULL) {
        return no_memory(r->error);
    }
    status = prn__sql_prepare(&r->sql, &statement, r->error,
                              "SELECT stages.id, coalesce(parents.id, 0), stages.forward_macs, stages.total_macs FROM stages"
                              " LEFT JOIN stages AS parents ON parents.key = stages.parent ORDER BY stages.id", "");
    while (status == PRN_OK && graph->node_count < capacity && (row = prn__sql_step(&r->sql, statement, r->error)) > 0) {
        graph->nodes[graph->node_count++] = (prn__stage_node){
            .id = sqlite3_column_int64(statement, 0), .parent_id = sqlite3_column_int64(statement, 1),
            .forward_macs = sqlite3_column_double(statement, 2), .total_macs = sqlite3_column_double(statement, 3),
        };
    }
    (void)sqlite3_finalize(statement);
    return status != PRN_OK ? status : prn__reader_status(r, row);
}

static prn_status read_sweep_runs(prn__reader *r, prn__sweep_results *sweep, prn__stage_graph *graph, int64_t **numbers)
{
    sqlite3_stmt *statement = NULL;
    size_t capacity = 0;
    int row = 0;
    prn_status status = count_rows(r, "SELECT count(*) FROM runs WHERE sweep = ?", "s", sweep->identity, 0, &capacity);
    if (status != PRN_OK) {
        return status;
    }
    *numbers = prn__arena_alloc(r->memory, (capacity + 1) * sizeof **numbers);
    sweep->runs = prn__arena_alloc(r->memory, (capacity + 1) * sizeof *sweep->runs);
    graph->uses = prn__arena_alloc(r->memory, (capacity + 1) * sizeof *graph->uses);
    graph->use_counts = prn__arena_alloc(r->memory, (capacity + 1) * sizeof *graph->use_counts);
    if (*numbers == NULL || sweep->runs == NULL || graph->uses == NULL || graph->use_counts == NULL) {
        return no_memory(r->error);
    }
    status = prn__sql_prepare(&r->sql, &statement, r->error, "SELECT id FROM runs WHERE sweep = ? ORDER BY id", "s", sweep->identity);
    while (status == PRN_OK && sweep->run_count < capacity && (row = prn__sql_step(&r->sql, statement, r->error)) > 0) {
        (*numbers)[sweep->run_count++] = sqlite3_column_int64(statement, 0);
    }
    (void)sqlite3_finalize(statement);
    status = status == PRN_OK ? prn__reader_status(r, row) : status;
    for (size_t i = 0; i < sweep->run_count && status == PRN_OK; i++) {
        status = read_values(r, &sweep->runs[i], (*numbers)[i]);
        if (status == PRN_OK) {
            status = read_uses(r, (*numbers)[i], &graph->uses[i], &graph->use_counts[i]);
        }
    }
    return status;
}

/* ---- loading ---------------------------------------------------------------------------------------------------------------------- */

static prn_status load(const char *workspace, const char *run, const char *identity, prn__sweep_results **result, prn_error *error)
{
    prn__reader r;
    prn__stage_graph graph = {0};
    int64_t *numbers = NULL;
    *result = NULL;
    prn__sweep_results *sweep = prn__alloc(sizeof *sweep);
    if (sweep == NULL) {
        return no_memory(error);
    }
    prn__arena_init(&sweep->memory, 1 << 16);
    prn_status status = prn__reader_open(workspace, &sweep->memory, &r, error);
    if (status != PRN_OK) {
        prn__sweep_results_destroy(sweep);
        return status;
    }
    sweep->identity = identity;
    if (identity == NULL && !is_number(run)) {
        status = sweep_of(&r, run, &sweep->identity);
    } else if (identity != NULL && r.version < 3) {
        status = prn_error_set(error, PRN_NOT_FOUND, "%s: no sweep %s", r.path, identity);
    } else if (identity != NULL && (sweep->identity = prn__arena_strdup(&sweep->memory, identity)) == NULL) {
        status = no_memory(error);
    }
    const int is_sweep = status == PRN_OK && sweep->identity != NULL;
    if (is_sweep && (sweep->workspace = prn__arena_strdup(&sweep->memory, workspace)) == NULL) {
        status = no_memory(error);
    }
    if (is_sweep && status == PRN_OK && (status = read_head(&r, sweep)) == PRN_OK && (status = read_sweep_runs(&r, sweep, &graph, &numbers)) == PRN_OK) {
        status = read_stages(&r, &graph);
    }
    prn__reader_close(&r);
    for (size_t i = 0; i < sweep->run_count && status == PRN_OK; i++) {
        status = prn__results_load_number(workspace, numbers[i], &sweep->runs[i].results, error);
    }
    if (is_sweep && status == PRN_OK) {
        status = prn__sweep_summarise(sweep, &graph, error);
    }
    if (status != PRN_OK || !is_sweep) {
        prn__sweep_results_destroy(sweep);
        return status;
    }
    *result = sweep;
    return PRN_OK;
}

prn_status prn__sweep_results_load(const char *workspace, const char *run, prn__sweep_results **results, prn_error *error)
{
    return load(workspace, run, NULL, results, error);
}

prn_status prn__sweep_results_load_identity(const char *workspace, const char *identity, prn__sweep_results **results, prn_error *error)
{
    return load(workspace, NULL, identity, results, error);
}

void prn__sweep_results_destroy(prn__sweep_results *sweep)
{
    if (sweep != NULL) {
        for (size_t i = 0; i < sweep->run_count; i++) {
            prn__results_destroy(sweep->runs[i].results);
        }
        prn__arena_fini(&sweep->memory);
        prn__free(sweep);
    }
}
