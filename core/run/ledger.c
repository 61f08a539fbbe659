/* core/run/ledger.c: see ledger.h. The writing half: transactions and records.
 *
 * The rollback journal is kept (no write-ahead log): one writer under the workspace's lock needs no more, and a ledger
 * stays one file that may be copied, and read from a folder that cannot be written.
 */
#include "run/ledger.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "ledger/sql.h"

struct prn__ledger {
    prn__sql sql;
    char *path;
    int in_transaction;
};

/* ---- opening and transactions ------------------------------------------------------------------------------------------ */

prn_status prn__ledger_open(const char *workspace, prn__ledger **result, prn_error *error)
{
    *result = NULL;
    prn__ledger *ledger = prn__alloc(sizeof *ledger);
    if (ledger == NULL || (ledger->path = prn__path_join(workspace, "ledger.sqlite")) == NULL) {
        prn__free(ledger);
        return prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory", workspace);
    }
    prn_status status = PRN_OK;
    ledger->sql.path = ledger->path;
    if (sqlite3_open_v2(ledger->path, &ledger->sql.database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) != SQLITE_OK) {
        status = ledger->sql.database == NULL ? prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory", ledger->path)
                                              : prn__sql_failed(&ledger->sql, error);
    }
    if (status == PRN_OK) {
        (void)sqlite3_busy_timeout(ledger->sql.database, 30000); /* a reader may hold it for a moment */
        (void)sqlite3_exec(ledger->sql.database, "PRAGMA foreign_keys = ON", NULL, NULL, NULL);
        status = prn__sql_schema_ready(&ledger->sql, error);
    }
    if (status != PRN_OK) {
        prn__ledger_close(ledger);
        return status;
    }
    *result = ledger;
    return PRN_OK;
}

void prn__ledger_close(prn__ledger *ledger)
{
    if (ledger != NULL) {
        prn__ledger_rollback(ledger);
        (void)sqlite3_close(ledger->sql.database);
        prn__free(ledger->path);
        prn__free(ledger);
    }
}

prn_status prn__ledger_begin(prn__ledger *ledger, prn_error *error)
{
    prn_status status = prn__sql_run(&ledger->sql, NULL, error, "BEGIN IMMEDIATE", "");
    ledger->in_transaction = status == PRN_OK;
    return status;
}

prn_status prn__ledger_commit(prn__ledger *ledger, prn_error *error)
{
    prn_status status = prn__sql_run(&ledger->sql, NULL, error, "COMMIT", "");
    if (status == PRN_OK) {
        ledger->in_transaction = 0;
    } else {
        prn__ledger_rollback(ledger);
    }
    return status;
}

void prn__ledger_rollback(prn__ledger *ledger)
{
    if (ledger->in_transaction) {
        (void)sqlite3_exec(ledger->sql.database, "ROLLBACK", NULL, NULL, NULL);
        ledger->in_transaction = 0;
    }
}

/* ---- runs ------------------------------------------------------------------------------------------------------------ */

static void utc_now(char target[32])
{
    time_t now = time(NULL);
    struct tm parts;
    target[0] = '\0';
    if (gmtime_r(&now, &parts) != NULL) {
        (void)strftime(target, 32, "%Y-%m-%dT%H:%M:%SZ", &parts);
    }
}

/* A stage that is to be trained again may get other weights: its data may have changed meanwhile. */
static prn_status forget_scores(prn__ledger *ledger, const char *stage, prn_error *error)
{
    prn_status status = prn__sql_run(&ledger->sql, NULL, error,
                                     "DELETE FROM scores WHERE evaluation IN (SELECT evaluations.id FROM evaluations JOIN stages ON stages.id = stage"
                                     " WHERE key = ?)", "s", stage);
    if (status == PRN_OK) {
        status = prn__sql_run(&ledger->sql, NULL, error, "DELETE FROM evaluations WHERE stage = (SELECT id FROM stages WHERE key = ?)", "s", stage);
    }
    return status;
}

static prn_status record_stage(prn__ledger *ledger, const prn__plan *plan, const prn__stage *stage, prn_error *error)
{
    prn_status status;
    prn__text sources;
    prn__text_init(&sources);
    prn__text_puts(&sources, "[");
    for (uint32_t i = 0; i < stage->source_count; i++) {
        const prn__plan_source *source = &stage->sources[i];
        prn__text_printf(&sources, "%s{\"time_step\":%" PRIu32 ",\"samples\":%" PRId64 ",\"max_samples\":%" PRId64 ",\"weight\":%.17g}", i > 0 ? "," : "",
                         source->time_step, source->samples, source->max_samples, source->weight);
    }
    prn__text_puts(&sources, "]");
    if (sources.failed) {
        status = prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory", ledger->path);
        goto done;
    }
    status = prn__sql_run(&ledger->sql, NULL, error,
                          "INSERT INTO stages(key, parent, time_step, steps, samples, forward_macs, total_macs, sources, state, seconds)"
                          " VALUES(?, ?, ?, ?, ?, ?, ?, ?, 'missing', 0) ON CONFLICT(key) DO UPDATE SET total_macs = excluded.total_macs",
                          "ssiiidds", stage->key, stage->parent >= 0 ? plan->stages[stage->parent].key : NULL, (int64_t)stage->time_step, stage->steps,
                          stage->samples, stage->forward_macs, stage->total_macs, sources.data);
    if (status == PRN_OK) { /* what lies in the workspace counts: the ledger may be younger, or may have missed the last moment */
        status = prn__sql_run(&ledger->sql, NULL, error, stage->is_done ? "UPDATE stages SET state = 'done' WHERE key = ?"
                                                                       : "UPDATE stages SET state = 'missing' WHERE key = ? AND state = 'done'",
                              "s", stage->key);
    }
    if (status == PRN_OK && !stage->is_done) {
        status = forget_scores(ledger, stage->key, error);
    }
done:
    prn__text_fini(&sources);
    return status;
}

static prn_status record_lines(prn__ledger *ledger, const prn__plan *plan, int64_t run, prn_error *error)
{
    prn_status status = PRN_OK;
    for (uint32_t i = 0; i < plan->stage_count && status == PRN_OK; i++) {
        status = record_stage(ledger, plan, &plan->stages[i], error);
    }
    for (uint32_t t = 0; t < plan->step_count && status == PRN_OK; t++) {
        status = prn__sql_run(&ledger->sql, NULL, error, "INSERT OR REPLACE INTO time_steps VALUES(?, ?, ?, ?)", "iisi", run, (int64_t)t + 1,
                              plan->manifest->steps[t].name, plan->manifest->steps[t].train.samples);
    }
    for (size_t s = 0; s < plan->recipe->strategy_count && status == PRN_OK; s++) {
        const prn__plan_line *line = &plan->lines[s];
        status = prn__sql_run(&ledger->sql, NULL, error, "INSERT OR REPLACE INTO strategies VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", "iisssddidd", run,
                              (int64_t)s, line->label, line->strategy, line->options, line->forward_macs, line->total_macs, line->samples,
                              line->teacher_macs, line->tuning_macs);
        for (uint32_t t = 0; t < plan->step_count && status == PRN_OK; t++) {
            status = prn__sql_run(&ledger->sql, NULL, error,
                                  "INSERT OR REPLACE INTO run_stages SELECT ?, ?, ?, id FROM stages WHERE key = ?", "isis", run, line->label,
                                  (int64_t)t + 1, plan->stages[line->stages[t]].key);
        }
    }
    return status;
}

prn_status prn__ledger_run_begin(prn__ledger *ledger, const prn__plan *plan, const prn__run_record *record, int64_t *run, prn_error *error)
{
    const prn__recipe *recipe = plan->recipe;
    char now[32], seed[24];
    double forward_macs = 0, total_macs = 0;
    int64_t samples = 0;
    utc_now(now);
    (void)snprintf(seed, sizeof seed, "%" PRIu64, recipe->seed); /* as text: SQLite's integers are signed */
    for (uint32_t i = 0; i < plan->stage_count; i++) {
        forward_macs += plan->stages[i].forward_macs;
        total_macs += plan->stages[i].total_macs;
        samples += plan->stages[i].samples;
    }
    *run = 0;
    prn_status status = prn__ledger_begin(ledger, error);
    if (status == PRN_OK) {
        status = prn__sql_run(&ledger->sql, run, error,
                              "INSERT INTO runs(identity, name, state, message, started, finished, attempts, recipe_path, recipe_text, resolved,"
                              " manifest_path, stream, model, backend, seed, batch, step_count, forward_macs, total_macs, samples)"
                              " VALUES(?, ?, 'running', '', ?, '', 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                              " ON CONFLICT(identity) DO UPDATE SET state = 'running', message = '', finished = '', attempts = attempts + 1,"
                              " recipe_path = excluded.recipe_path, recipe_text = excluded.recipe_text, resolved = excluded.resolved RETURNING id",
                              "sssssssssssiiddi", record->identity, recipe->name, now, recipe->path, recipe->text, record->resolved,
                              recipe->manifest_path, plan->manifest->name, recipe->model.name, recipe->backend, seed, recipe->batch,
                              (int64_t)plan->step_count, forward_macs, total_macs, samples);
    }
    if (status == PRN_OK) {
        status = prn__sql_run(&ledger->sql, NULL, error,
                              "INSERT OR REPLACE INTO environment SELECT id, attempts, ?, ? FROM runs WHERE id = ?", "ssi", now, record->environment, *run);
    }
    if (status == PRN_OK) {
        status = record_lines(ledger, plan, *run, error);
    }
    if (status == PRN_OK) {
        status = prn__ledger_commit(ledger, error);
    }
    prn__ledger_rollback(ledger);
    return status;
}

prn_status prn__ledger_environment(prn__ledger *ledger, int64_t run, const char *environment, prn_error *error)
{
    char now[32];
    utc_now(now);
    return prn__sql_run(&ledger->sql, NULL, error, "INSERT OR REPLACE INTO environment SELECT id, attempts, ?, ? FROM runs WHERE id = ?", "ssi", now,
                        environment, run);
}

prn_status prn__ledger_run_end(prn__ledger *ledger, int64_t run, const char *state, const char *message, prn_error *error)
{
    char now[32];
    utc_now(now);
    return prn__sql_run(&ledger->sql, NULL, error, "UPDATE runs SET state = ?, message = ?, finished = ? WHERE id = ?", "sssi", state, message, now, run);
}

/* ---- evaluations ------------------------------------------------------------------------------------------------------- */

prn_status prn__ledger_task(prn__ledger *ledger, int64_t run, uint32_t time_step, const char *name, prn__task_kind kind, const char *set_key,
                            prn_error *error)
{
    return prn__sql_run(&ledger->sql, NULL, error, "INSERT OR REPLACE INTO tasks VALUES(?, ?, ?, ?, ?)", "iisss", run, (int64_t)time_step, name,
                        kind == PRN__TASK_RETRIEVAL ? "retrieval" : "classification", set_key);
}

prn_status prn__ledger_has_scores(prn__ledger *ledger, const char *stage, const char *set_key, int *known, prn_error *error)
{
    int64_t count = 0;
    prn_status status = prn__sql_run(&ledger->sql, &count, error,
                                     "SELECT count(*) FROM evaluations JOIN stages ON stages.id = evaluations.stage WHERE stages.key = ? AND set_key = ?",
                                     "ss", stage, set_key);
    *known = count > 0;
    return status;
}

prn_status prn__ledger_scores(prn__ledger *ledger, const char *stage, const char *set_key, const prn__scores *scores, double seconds,
                              prn_error *error)
{
    int64_t evaluation = 0;
    prn_status status = prn__ledger_begin(ledger, error);
    if (status == PRN_OK) {
        status = prn__sql_run(&ledger->sql, &evaluation, error,
                              "INSERT INTO evaluations(stage, set_key, images, texts, classes, skipped, seconds)"
                              " SELECT id, ?, ?, ?, ?, ?, ? FROM stages WHERE key = ?"
                              " ON CONFLICT(stage, set_key) DO UPDATE SET images = excluded.images, texts = excluded.texts, classes = excluded.classes,"
                              " skipped = excluded.skipped, seconds = excluded.seconds RETURNING id",
                              "siiiids", set_key, scores->images, scores->texts, scores->classes, scores->skipped, seconds, stage);
    }
    if (status == PRN_OK && evaluation == 0) {
        status = prn_error_set(error, PRN_INTERNAL, "%s: scores for stage %s, which the ledger does not know", ledger->path, stage);
    }
    if (status == PRN_OK) {
        status = prn__sql_run(&ledger->sql, NULL, error, "DELETE FROM scores WHERE evaluation = ?", "i", evaluation);
    }
    for (size_t i = 0; i < scores->count && status == PRN_OK; i++) {
        status = prn__sql_run(&ledger->sql, NULL, error, "INSERT INTO scores VALUES(?, ?, ?, ?)", "iisd", evaluation, (int64_t)i, scores->score[i].name,
                              scores->score[i].value);
    }
    if (status == PRN_OK) {
        status = prn__ledger_commit(ledger, error);
    }
    prn__ledger_rollback(ledger);
    return status;
}

/* ---- stages ------------------------------------------------------------------------------------------------------------ */

prn_status prn__ledger_metrics(prn__ledger *ledger, const char *stage, const prn__step_metric *metrics, size_t count, prn_error *error)
{
    int64_t id = 0;
    int own = !ledger->in_transaction;
    sqlite3_stmt *statement = NULL;
    if (count == 0) {
        return PRN_OK;
    }
    prn_status status = own ? prn__ledger_begin(ledger, error) : PRN_OK;
    if (status == PRN_OK) {
        status = prn__sql_run(&ledger->sql, &id, error, "SELECT id FROM stages WHERE key = ?", "s", stage);
    }
    if (status == PRN_OK) {
        status = prn__sql_prepare(&ledger->sql, &statement, error, "INSERT OR REPLACE INTO step_metrics VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)", "");
    }
    for (size_t i = 0; i < count && status == PRN_OK; i++) {
        const prn__step_metric *m = &metrics[i];
        const double values[] = {m->loss, m->learning_rate, m->gradient_norm, m->logit_scale, m->seconds, m->data_wait_s, m->memory_bytes};
        int code = sqlite3_bind_int64(statement, 1, id);
        code = code == SQLITE_OK ? sqlite3_bind_int64(statement, 2, m->step) : code;
        for (int j = 0; j < (int)(sizeof values / sizeof values[0]) && code == SQLITE_OK; j++) {
            code = sqlite3_bind_double(statement, 3 + j, values[j]);
        }
        if (code != SQLITE_OK || sqlite3_step(statement) != SQLITE_DONE) {
            status = prn__sql_failed(&ledger->sql, error);
        }
        (void)sqlite3_reset(statement);
    }
    (void)sqlite3_finalize(statement);
    if (own && status == PRN_OK) {
        status = prn__ledger_commit(ledger, error);
    }
    if (own) {
        prn__ledger_rollback(ledger);
    }
    return status;
}

prn_status prn__ledger_forget_after(prn__ledger *ledger, const char *stage, int64_t first_step, prn_error *error)
{
    prn_status status = prn__sql_run(&ledger->sql, NULL, error,
                                     "DELETE FROM step_metrics WHERE stage = (SELECT id FROM stages WHERE key = ?) AND step >= ?", "si", stage, first_step);
    if (status == PRN_OK) {
        status = prn__sql_run(&ledger->sql, NULL, error,
                              "DELETE FROM skipped_samples WHERE stage = (SELECT id FROM stages WHERE key = ?) AND (first_step >= ? OR first_step < 0)",
                              "si", stage, first_step);
    }
    return status;
}

prn_status prn__ledger_skip(prn__ledger *ledger, const char *stage, int64_t first_step, const char *shard, const char *reason, int64_t count,
                            prn_error *error)
{
    return prn__sql_run(&ledger->sql, NULL, error, "INSERT OR REPLACE INTO skipped_samples SELECT id, ?, ?, ?, ? FROM stages WHERE key = ?", "issis",
                        first_step, shard, reason, count, stage);
}

prn_status prn__ledger_stage_state(prn__ledger *ledger, const char *stage, const char *state, double seconds, double last_loss, prn_error *error)
{
    return prn__sql_run(&ledger->sql, NULL, error, "UPDATE stages SET state = ?, seconds = ?, last_loss = ? WHERE key = ?", "sdds", state, seconds,
                        last_loss, stage);
}
