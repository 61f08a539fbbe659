/* core/ledger/timeline.c: see timeline.h. */
#include "ledger/timeline.h"

#include <inttypes.h>
#include <string.h>

#include "ledger/reader.h"

/* From the stage of each row of the matrix to its parents of the same time step: trunk, branch, finishing stage. The depth is
 * bounded, so that a ledger whose parents form a ring ends, too. */
#define CHAIN "WITH RECURSIVE chain(strategy, time_step, id, depth) AS (" \
    "SELECT strategy, time_step, stage, 0 FROM run_stages WHERE run = ? UNION ALL" \
    " SELECT chain.strategy, chain.time_step, parents.id, depth + 1 FROM chain JOIN stages ON stages.id = chain.id" \
    " JOIN stages AS parents ON parents.key = stages.parent AND parents.time_step = stages.time_step WHERE depth < 4)"

static prn_status no_memory(prn_error *error)
{
    return prn_error_set(error, PRN_NO_MEMORY, "out of memory while reading a run's time line");
}

static prn_status read_run(prn__reader *r, int64_t run, prn__timeline *timeline)
{
    sqlite3_stmt *statement = NULL;
    int failed = 0;
    prn_status status = prn__sql_prepare(&r->sql, &statement, r->error, r->version >= 3 ? "SELECT recipe_text, resolved, attempts, (SELECT group_concat(setting, ', ') FROM (SELECT name || ' = ' || value"
                                                          " AS setting FROM settings WHERE run = runs.id ORDER BY position)) FROM runs WHERE id = ?"
                                                        : "SELECT recipe_text, resolved, attempts, '' FROM runs WHERE id = ?", "i", run);
    if (status != PRN_OK) {
        return status;
    }
    int row = prn__sql_step(&r->sql, statement, r->error);
    if (row > 0) {
        timeline->recipe_text = prn__column_text(r, statement, 0, &failed);
        timeline->resolved = prn__column_text(r, statement, 1, &failed);
        timeline->attempts = sqlite3_column_int64(statement, 2);
        timeline->settings = prn__column_text(r, statement, 3, &failed);
    }
    (void)sqlite3_finalize(statement);
    if (row == 0) {
        return prn_error_set(r->error, PRN_NOT_FOUND, "%s: there is no run %" PRId64, r->path, run);
    }
    return failed ? no_memory(r->error) : prn__reader_status(r, row);
}

static prn_status read_stages(prn__reader *r, int64_t run, prn__timeline *timeline)
{
    sqlite3_stmt *statement = NULL;
    int64_t strategies = 0, stages = 0;
    int row = 0, failed = 0;
    prn_status status = prn__sql_run(&r->sql, &strategies, r->error, "SELECT count(*) FROM strategies WHERE run = ?", "i", run);
    if (status == PRN_OK) {
        status = prn__sql_run(&r->sql, &stages, r->error, CHAIN " SELECT count(*) FROM chain", "i", run);
    }
    if (status != PRN_OK) {
        return status;
    }
    timeline->strategies = prn__arena_alloc(r->memory, ((size_t)strategies + 1) * sizeof *timeline->strategies);
    prn__timeline_stage *all = prn__arena_alloc(r->memory, ((size_t)stages + 1) * sizeof *all);
    if (timeline->strategies == NULL || all == NULL) {
        return no_memory(r->error);
    }
    /* A strategy of which nothing is planned yet is one row without a stage. */
    status = prn__sql_prepare(&r->sql, &statement, r->error,
                              CHAIN " SELECT strategies.position, strategies.label, chain.time_step, stages.key, stages.state, stages.steps, stages.samples,"
                                    " stages.seconds FROM strategies LEFT JOIN chain ON chain.strategy = strategies.label"
                                    " LEFT JOIN stages ON stages.id = chain.id WHERE strategies.run = ?"
                                    " ORDER BY strategies.position, chain.time_step, chain.depth DESC", "ii", run, run);
    int64_t position = 0, used = 0;
    prn__timeline_strategy *now = NULL;
    while (status == PRN_OK && (row = prn__sql_step(&r->sql, statement, r->error)) > 0) {
        if (now == NULL || sqlite3_column_int64(statement, 0) != position) {
            if ((int64_t)timeline->strategy_count == strategies) {
                break;
            }
            now = &timeline->strategies[timeline->strategy_count++];
            position = sqlite3_column_int64(statement, 0);
            now->label = prn__column_text(r, statement, 1, &failed);
            now->stages = all + used;
        }
        if (sqlite3_column_type(statement, 3) == SQLITE_NULL || used == stages) {
            continue;
        }
        prn__timeline_stage *stage = &all[used++];
        now->stage_count++;
        stage->time_step = (uint32_t)sqlite3_column_int64(statement, 2);
        stage->key = prn__column_text(r, statement, 3, &failed);
        stage->state = prn__column_text(r, statement, 4, &failed);
        stage->steps = sqlite3_column_int64(statement, 5);
        stage->samples = sqlite3_column_int64(statement, 6);
        stage->seconds = sqlite3_column_double(statement, 7);
    }
    (void)sqlite3_finalize(statement);
    return status != PRN_OK ? status : failed ? no_memory(r->error) : prn__reader_status(r, row);
}

prn_status prn__timeline_load(const char *workspace, int64_t run, prn__timeline **result, prn_error *error)
{
    prn__reader r;
    *result = NULL;
    prn__timeline *timeline = prn__alloc(sizeof *timeline);
    if (timeline == NULL) {
        return no_memory(error);
    }
    prn__arena_init(&timeline->memory, 1 << 14);
    timeline->recipe_text = timeline->resolved = timeline->settings = "";
    prn_status status = prn__reader_open(workspace, &timeline->memory, &r, error);
    if (status == PRN_OK) {
        status = read_run(&r, run, timeline);
        if (status == PRN_OK) {
            status = read_stages(&r, run, timeline);
        }
        prn__reader_close(&r);
    }
    if (status != PRN_OK) {
        prn__timeline_destroy(timeline);
        return status;
    }
    *result = timeline;
    return PRN_OK;
}

void prn__timeline_destroy(prn__timeline *timeline)
{
    if (timeline != NULL) {
        prn__arena_fini(&timeline->memory);
        prn__free(timeline);
    }
}
