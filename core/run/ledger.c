/* core/run/ledger.c: see ledger.h. The writing half: transactions and records.
 *
 * The rollback journal is kept (no write-ahead log): the few writers of a workspace need no more, and a ledger stays one file that
 * may be copied, and read from a folder that cannot be written. Every transaction of several statements begins as a writer
 * (immediate), so that two processes wait for each other and never find that neither can go on.
 */
#include "run/ledger.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/log.h"
#include "ledger/sql.h"
#include "run/stage_files.h"
#include "run/sweep.h"

struct prn__ledger {
    prn__sql sql;
    char *path;
    int in_transaction;
    int64_t attempt; /* of the run that this process has begun or joined */
    double seconds;  /* in SQLite, its waiting for the disk included */
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
    ledger->sql.seconds = &ledger->seconds;
    if (sqlite3_open_v2(ledger->path, &ledger->sql.database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) != SQLITE_OK) {
        status = ledger->sql.database == NULL ? prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory", ledger->path)
                                              : prn__sql_failed(&ledger->sql, error);
    }
    if (status == PRN_OK) {
        (void)sqlite3_busy_timeout(ledger->sql.database, 120000); /* other runs write too, and a reader may hold it for a moment */
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
        prn__log(PRN_LOG_DEBUG, "the ledger took %.3f s in all", ledger->seconds);
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
    /* Looked at inside the transaction: whoever finishes the stage now can record its scores only after it, and what it had recorded
     * before lies on the disk. */
    const int is_done = stage->is_done || prn__stage_is_done(plan->recipe->workspace, stage->key);
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
        status = prn__sql_run(&ledger->sql, NULL, error, is_done ? "UPDATE stages SET state = 'done' WHERE key = ?"
                                                                : "UPDATE stages SET state = 'missing' WHERE key = ? AND state = 'done'",
                              "s", stage->key);
    }
    if (status == PRN_OK && !is_done) {
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

static prn_status record_sweep(prn__ledger *ledger, const prn__recipe_sweep *sweep, int64_t run, prn_error *error)
{
    prn_status status = prn__sql_run(&ledger->sql, NULL, error, "INSERT OR REPLACE INTO sweeps VALUES(?, ?, ?, ?, ?)", "sisss", sweep->identity,
                                     (int64_t)sweep->combination_count, prn__criterion_name(sweep->criterion), sweep->chosen_on, sweep->score);
    if (status == PRN_OK) {
        status = prn__sql_run(&ledger->sql, NULL, error, "UPDATE runs SET sweep = ? WHERE id = ?", "si", sweep->identity, run);
    }
    for (size_t i = 0; i < sweep->setting_count && status == PRN_OK; i++) {
        const prn__sweep_setting *setting = &sweep->settings[i];
        status = prn__sql_run(&ledger->sql, NULL, error, "INSERT OR REPLACE INTO settings VALUES(?, ?, ?, ?, ?)", "iissi", run, (int64_t)i, setting->name,
                              setting->value, (int64_t)setting->is_seeds);
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
    const int own = !ledger->in_transaction;
    prn_status status = own ? prn__ledger_begin(ledger, error) : PRN_OK;
    if (status == PRN_OK) {
        status = prn__sql_run(&ledger->sql, run, error,
                              "INSERT INTO runs(identity, name, state, message, started, finished, attempts, recipe_path, recipe_text, resolved,"
                              " manifest_path, stream, model, backend, seed, batch, step_count, forward_macs, total_macs, samples)"
                              " VALUES(?, ?, 'running', '', ?, '', 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                              " ON CONFLICT(identity) DO UPDATE SET state = 'running', message = '', finished = '', attempts = attempts + ?,"
                              " recipe_path = excluded.recipe_path, recipe_text = excluded.recipe_text, resolved = excluded.resolved RETURNING id",
                              "sssssssssssiiddii", record->identity, recipe->name, now, recipe->path, recipe->text, record->resolved,
                              recipe->manifest_path, plan->manifest->name, recipe->model.name, recipe->backend, seed, recipe->batch,
                              (int64_t)plan->step_count, forward_macs, total_macs, samples, (int64_t)!record->joins);
    }
    if (status == PRN_OK) {
        status = prn__sql_run(&ledger->sql, &ledger->attempt, error, "SELECT attempts FROM runs WHERE id = ?", "i", *run);
    }
    if (status == PRN_OK && !record->joins) {
        status = prn__ledger_environment(ledger, *run, record->environment, error);
    }
    if (status == PRN_OK) {
        status = record_lines(ledger, plan, *run, error);
    }
    if (status == PRN_OK && recipe->sweep != NULL && !record->joins) {
        status = record_sweep(ledger, recipe->sweep, *run, error);
    }
    if (status == PRN_OK && own) {
        status = prn__ledger_commit(ledger, error);
    }
    if (own) {
        prn__ledger_rollback(ledger);
    }
    return status;
}

prn_status prn__ledger_environment_get(prn__ledger *ledger, int64_t run, char **environment, prn_error *error)
{
    sqlite3_stmt *statement = NULL;
    *environment = NULL;
    prn_status status = prn__sql_prepare(&ledger->sql, &statement, error, "SELECT facts FROM environment WHERE run = ? AND attempt = ?", "ii", run,
                                         ledger->attempt);
    if (status != PRN_OK) {
        return status;
    }
    int row = prn__sql_step(&ledger->sql, statement, error);
    if (row < 0) {
        status = prn__sql_failed(&ledger->sql, error);
    } else {
        const char *text = row > 0 ? (const char *)sqlite3_column_text(statement, 0) : NULL;
        *environment = prn__strdup(text != NULL ? text : "{}");
        status = *environment != NULL ? PRN_OK : prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory", ledger->path);
    }
    (void)sqlite3_finalize(statement);
    return status;
}

prn_status prn__ledger_environment(prn__ledger *ledger, int64_t run, const char *environment, prn_error *error)
{
    char now[32];
    utc_now(now);
    return prn__sql_run(&ledger->sql, NULL, error, "INSERT OR REPLACE INTO environment VALUES(?, ?, ?, ?)", "iiss", run, ledger->attempt, now,
                        environment);
}

prn_status prn__ledger_run_end(prn__ledger *ledger, int64_t run, const char *state, const char *message, prn_error *error)
{
    char now[32];
    utc_now(now);
    return prn__sql_run(&ledger->sql, NULL, error, "UPDATE runs SET state = ?, message = ?, finished = ? WHERE id = ? AND state = 'running'",
                        "sssi", state, message, now, run);
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
        if (code != SQLITE_OK || prn__sql_step(&ledger->sql, statement, NULL) != 0) {
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

prn_status prn__ledger_stage_done(prn__ledger *ledger, const char *stage, prn_error *error)
{
    return prn__sql_run(&ledger->sql, NULL, error, "UPDATE stages SET state = 'done' WHERE key = ? AND state != 'done'", "s", stage);
}

/* ---- forgetting ---------------------------------------------------------------------------------------------------------- */

/* As in ledger/usage.c: the stages of every run, and all their parents. */
#define NEEDED "WITH RECURSIVE needed(key) AS (SELECT stages.key FROM run_stages JOIN stages ON stages.id = run_stages.stage" \
    " UNION SELECT stages.parent FROM needed JOIN stages ON stages.key = needed.key WHERE stages.parent IS NOT NULL)"
#define UNNEEDED "(SELECT id FROM stages WHERE key NOT IN (SELECT key FROM needed))"

prn_status prn__ledger_collect(prn__ledger *ledger, const int64_t *runs, size_t count, prn_error *error)
{
    static const char *const of_a_run[] = {
        "DELETE FROM settings WHERE run = ?", "DELETE FROM time_steps WHERE run = ?", "DELETE FROM strategies WHERE run = ?",
        "DELETE FROM run_stages WHERE run = ?", "DELETE FROM tasks WHERE run = ?", "DELETE FROM environment WHERE run = ?",
        "DELETE FROM runs WHERE id = ?",
    };
    static const char *const of_stages[] = {
        NEEDED " DELETE FROM scores WHERE evaluation IN (SELECT id FROM evaluations WHERE stage IN " UNNEEDED ")",
        NEEDED " DELETE FROM evaluations WHERE stage IN " UNNEEDED,
        NEEDED " DELETE FROM step_metrics WHERE stage IN " UNNEEDED,
        NEEDED " DELETE FROM skipped_samples WHERE stage IN " UNNEEDED,
        NEEDED " DELETE FROM stages WHERE id IN " UNNEEDED,
        "DELETE FROM sweeps WHERE identity NOT IN (SELECT sweep FROM runs)",
    };
    prn_status status = prn__ledger_begin(ledger, error);
    for (size_t i = 0; i < count && status == PRN_OK; i++) {
        for (size_t k = 0; k < sizeof of_a_run / sizeof of_a_run[0] && status == PRN_OK; k++) {
            status = prn__sql_run(&ledger->sql, NULL, error, of_a_run[k], "i", runs[i]);
        }
    }
    for (size_t k = 0; k < sizeof of_stages / sizeof of_stages[0] && status == PRN_OK; k++) {
        status = prn__sql_run(&ledger->sql, NULL, error, of_stages[k], "");
    }
    if (status == PRN_OK) {
        status = prn__ledger_commit(ledger, error);
    }
    if (status == PRN_OK) { /* gives back what the file holds of them; one that is being read keeps its size until the next time */
        (void)sqlite3_busy_timeout(ledger->sql.database, 1000);
        (void)sqlite3_exec(ledger->sql.database, "VACUUM", NULL, NULL, NULL);
        (void)sqlite3_busy_timeout(ledger->sql.database, 120000);
    }
    prn__ledger_rollback(ledger);
    return status;
}
