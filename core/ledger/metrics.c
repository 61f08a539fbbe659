/* core/ledger/metrics.c: see metrics.h. */
#include "ledger/metrics.h"

#include "ledger/reader.h"

prn_status prn__metrics_visit(const char *workspace, const char *stage_key, prn__metric_visit visit, void *context, prn_error *error)
{
    prn__reader r;
    prn__arena scratch;
    sqlite3_stmt *statement = NULL;
    int64_t stage = -1;
    int row = 0;
    prn__arena_init(&scratch, 256);
    prn_status status = prn__reader_open(workspace, &scratch, &r, error);
    if (status != PRN_OK) {
        prn__arena_fini(&scratch);
        return status;
    }
    status = prn__sql_run(&r.sql, &stage, error, "SELECT id FROM stages WHERE key = ?", "s", stage_key);
    if (status == PRN_OK) { /* the primary key's own order: nothing is sorted, nothing is held */
        status = prn__sql_prepare(&r.sql, &statement, error,
                                  r.version >= 3 ? "SELECT step, loss, learning_rate, gradient_norm, logit_scale, seconds, data_wait_s, memory_bytes"
                                                   " FROM step_metrics WHERE stage = ? ORDER BY step"
                                                 : "SELECT step, loss, learning_rate, gradient_norm, logit_scale, seconds, data_wait_s, NULL"
                                                   " FROM step_metrics WHERE stage = ? ORDER BY step", "i", stage);
    }
    while (status == PRN_OK && (row = prn__sql_step(&r.sql, statement, error)) > 0) {
        const prn__step_metric metric = {
            .step = sqlite3_column_int64(statement, 0),
            .loss = prn__column_real(statement, 1),
            .learning_rate = prn__column_real(statement, 2),
            .gradient_norm = prn__column_real(statement, 3),
            .logit_scale = prn__column_real(statement, 4),
            .seconds = prn__column_real(statement, 5),
            .data_wait_s = prn__column_real(statement, 6),
            .memory_bytes = prn__column_real(statement, 7),
        };
        status = visit(context, &metric, error);
    }
    (void)sqlite3_finalize(statement);
    status = status == PRN_OK ? prn__reader_status(&r, row) : status;
    prn__reader_close(&r);
    prn__arena_fini(&scratch);
    return status;
}

prn_status prn__set_keys_load(const char *workspace, int64_t run, prn__set_keys **result, prn_error *error)
{
    prn__reader r;
    sqlite3_stmt *statement = NULL;
    int64_t total = 0;
    int row = 0, failed = 0;
    *result = NULL;
    prn__set_keys *keys = prn__alloc(sizeof *keys);
    if (keys == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory while reading a run's evaluation sets");
    }
    prn__arena_init(&keys->memory, 4096);
    prn_status status = prn__reader_open(workspace, &keys->memory, &r, error);
    if (status != PRN_OK) {
        prn__set_keys_destroy(keys);
        return status;
    }
    status = prn__sql_run(&r.sql, &total, error, "SELECT count(*) FROM tasks WHERE run = ?", "i", run);
    keys->sets = status == PRN_OK ? prn__arena_alloc(&keys->memory, ((size_t)total + 1) * sizeof *keys->sets) : NULL;
    failed = keys->sets == NULL;
    if (status == PRN_OK && !failed) {
        status = prn__sql_prepare(&r.sql, &statement, error, "SELECT time_step, name, set_key FROM tasks WHERE run = ? ORDER BY time_step, name", "i", run);
    }
    while (status == PRN_OK && !failed && keys->count < (size_t)total && (row = prn__sql_step(&r.sql, statement, error)) > 0) {
        prn__set_key *set = &keys->sets[keys->count++];
        set->time_step = (uint32_t)sqlite3_column_int64(statement, 0);
        set->task = prn__column_text(&r, statement, 1, &failed);
        set->key = prn__column_text(&r, statement, 2, &failed);
    }
    (void)sqlite3_finalize(statement);
    if (status == PRN_OK) {
        status = failed ? prn_error_set(error, PRN_NO_MEMORY, "out of memory while reading a run's evaluation sets") : prn__reader_status(&r, row);
    }
    prn__reader_close(&r);
    if (status != PRN_OK) {
        prn__set_keys_destroy(keys);
        return status;
    }
    *result = keys;
    return PRN_OK;
}

void prn__set_keys_destroy(prn__set_keys *keys)
{
    if (keys != NULL) {
        prn__arena_fini(&keys->memory);
        prn__free(keys);
    }
}
