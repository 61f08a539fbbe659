/* core/run/ledger.c: see ledger.h. The writing half: schema, transactions, records.
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
#include "run/ledger_sql.h"

struct prn__ledger {
    prn__sql sql;
    char *path;
    int in_transaction;
};

static const char SCHEMA[] =
    "CREATE TABLE runs(id INTEGER PRIMARY KEY, identity TEXT NOT NULL UNIQUE, name TEXT NOT NULL, state TEXT NOT NULL, message TEXT NOT NULL,"
    " started TEXT NOT NULL, finished TEXT NOT NULL, attempts INTEGER NOT NULL, recipe_path TEXT NOT NULL, recipe_text TEXT NOT NULL,"
    " resolved TEXT NOT NULL, manifest_path TEXT NOT NULL, stream TEXT NOT NULL, model TEXT NOT NULL, backend TEXT NOT NULL,"
    " seed TEXT NOT NULL, batch INTEGER NOT NULL, step_count INTEGER NOT NULL, forward_macs REAL NOT NULL, total_macs REAL NOT NULL,"
    " samples INTEGER NOT NULL);"
    "CREATE TABLE time_steps(run INTEGER NOT NULL REFERENCES runs(id), time_step INTEGER NOT NULL, name TEXT NOT NULL, samples INTEGER NOT NULL,"
    " PRIMARY KEY(run, time_step)) WITHOUT ROWID;"
    "CREATE TABLE strategies(run INTEGER NOT NULL REFERENCES runs(id), position INTEGER NOT NULL, label TEXT NOT NULL, strategy TEXT NOT NULL,"
    " options TEXT NOT NULL, forward_macs REAL NOT NULL, total_macs REAL NOT NULL, samples INTEGER NOT NULL,"
    " teacher_macs REAL NOT NULL DEFAULT 0, tuning_macs REAL NOT NULL DEFAULT 0, PRIMARY KEY(run, position))"
    " WITHOUT ROWID;"
    "CREATE TABLE stages(id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, parent TEXT, time_step INTEGER NOT NULL, steps INTEGER NOT NULL,"
    " samples INTEGER NOT NULL, forward_macs REAL NOT NULL, total_macs REAL NOT NULL, sources TEXT NOT NULL, state TEXT NOT NULL,"
    " seconds REAL NOT NULL, last_loss REAL);"
    "CREATE TABLE run_stages(run INTEGER NOT NULL REFERENCES runs(id), strategy TEXT NOT NULL, time_step INTEGER NOT NULL,"
    " stage INTEGER NOT NULL REFERENCES stages(id), PRIMARY KEY(run, strategy, time_step)) WITHOUT ROWID;"
    "CREATE TABLE step_metrics(stage INTEGER NOT NULL REFERENCES stages(id), step INTEGER NOT NULL, loss REAL, learning_rate REAL,"
    " gradient_norm REAL, logit_scale REAL, seconds REAL, data_wait_s REAL, PRIMARY KEY(stage, step)) WITHOUT ROWID;"
    "CREATE TABLE tasks(run INTEGER NOT NULL REFERENCES runs(id), time_step INTEGER NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL,"
    " set_key TEXT NOT NULL, PRIMARY KEY(run, time_step, name)) WITHOUT ROWID;"
    "CREATE TABLE evaluations(id INTEGER PRIMARY KEY, stage INTEGER NOT NULL REFERENCES stages(id), set_key TEXT NOT NULL,"
    " images INTEGER NOT NULL, texts INTEGER NOT NULL, classes INTEGER NOT NULL, skipped INTEGER NOT NULL, seconds REAL NOT NULL,"
    " UNIQUE(stage, set_key));"
    "CREATE TABLE scores(evaluation INTEGER NOT NULL REFERENCES evaluations(id), position INTEGER NOT NULL, name TEXT NOT NULL, value REAL,"
    " PRIMARY KEY(evaluation, position)) WITHOUT ROWID;"
    "CREATE TABLE skipped_samples(stage INTEGER NOT NULL REFERENCES stages(id), first_step INTEGER NOT NULL, shard TEXT NOT NULL,"
    " reason TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY(stage, first_step, shard, reason)) WITHOUT ROWID;"
    "CREATE TABLE environment(run INTEGER NOT NULL REFERENCES runs(id), attempt INTEGER NOT NULL, recorded TEXT NOT NULL, facts TEXT NOT NULL,"
    " PRIMARY KEY(run, attempt)) WITHOUT ROWID;"
    "CREATE VIEW matrix AS SELECT runs.id AS run, runs.name AS run_name, run_stages.strategy AS strategy, run_stages.time_step AS after_step,"
    " tasks.name AS task, tasks.time_step AS task_step, scores.name AS score, scores.value AS value FROM runs"
    " JOIN run_stages ON run_stages.run = runs.id JOIN tasks ON tasks.run = runs.id"
    " JOIN evaluations ON evaluations.stage = run_stages.stage AND evaluations.set_key = tasks.set_key"
    " JOIN scores ON scores.evaluation = evaluations.id;"
    "PRAGMA user_version = 2;";

static const char FROM_1_TO_2[] =
    "ALTER TABLE strategies ADD COLUMN teacher_macs REAL NOT NULL DEFAULT 0;"
    "ALTER TABLE strategies ADD COLUMN tuning_macs REAL NOT NULL DEFAULT 0;"
    "PRAGMA user_version = 2;";

/* ---- statements ------------------------------------------------------------------------------------------------------ */

prn_status prn__sql_failed(const prn__sql *sql, prn_error *error)
{
    int code = sqlite3_errcode(sql->database) & 0xff;
    const char *text = sqlite3_errmsg(sql->database);
    switch (code) {
    case SQLITE_NOMEM:
        return prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory", sql->path);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return prn_error_set(error, PRN_CORRUPT, "%s: this is no ledger, or a damaged one (%s); move it away and run again: finished stages are kept"
                             " and evaluated anew", sql->path, text);
    case SQLITE_FULL:
        return prn_error_set(error, PRN_IO, "%s: the disk is full; free some space and run the same command again", sql->path);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return prn_error_set(error, PRN_CONFLICT, "%s: another program keeps the ledger locked; close it and run the same command again", sql->path);
    default:
        return prn_error_set(error, PRN_IO, "%s: %s; check that the folder can be written and has room", sql->path, text);
    }
}

static prn_status prepare_list(const prn__sql *sql, sqlite3_stmt **statement, prn_error *error, const char *text, const char *letters,
                               va_list arguments)
{
    int code = sqlite3_prepare_v2(sql->database, text, -1, statement, NULL);
    for (int i = 0; code == SQLITE_OK && letters[i] != '\0'; i++) {
        switch (letters[i]) {
        case 'i':
            code = sqlite3_bind_int64(*statement, i + 1, va_arg(arguments, int64_t));
            break;
        case 'd':
            code = sqlite3_bind_double(*statement, i + 1, va_arg(arguments, double));
            break;
        default: /* the caller's text outlives the statement */
            code = sqlite3_bind_text(*statement, i + 1, va_arg(arguments, const char *), -1, SQLITE_STATIC);
            break;
        }
    }
    if (code != SQLITE_OK) {
        prn_status status = prn__sql_failed(sql, error);
        (void)sqlite3_finalize(*statement);
        *statement = NULL;
        return status;
    }
    return PRN_OK;
}

prn_status prn__sql_prepare(const prn__sql *sql, sqlite3_stmt **statement, prn_error *error, const char *text, const char *letters, ...)
{
    va_list arguments;
    va_start(arguments, letters);
    *statement = NULL;
    prn_status status = prepare_list(sql, statement, error, text, letters, arguments);
    va_end(arguments);
    return status;
}

int prn__sql_step(const prn__sql *sql, sqlite3_stmt *statement, prn_error *error)
{
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW || code == SQLITE_DONE) {
        return code == SQLITE_ROW;
    }
    (void)prn__sql_failed(sql, error);
    return -1;
}

prn_status prn__sql_run(const prn__sql *sql, int64_t *first, prn_error *error, const char *text, const char *letters, ...)
{
    sqlite3_stmt *statement = NULL;
    va_list arguments;
    va_start(arguments, letters);
    prn_status status = prepare_list(sql, &statement, error, text, letters, arguments);
    va_end(arguments);
    if (status != PRN_OK) {
        return status;
    }
    int row, is_first = 1;
    while ((row = prn__sql_step(sql, statement, error)) > 0) {
        if (is_first && first != NULL) {
            *first = sqlite3_column_int64(statement, 0);
        }
        is_first = 0;
    }
    if (row < 0) {
        status = error != NULL && error->status != PRN_OK ? (prn_status)error->status : PRN_IO;
    }
    (void)sqlite3_finalize(statement);
    return status;
}

/* ---- opening and transactions ------------------------------------------------------------------------------------------ */

static prn_status schema_ready(prn__ledger *ledger, prn_error *error)
{
    int64_t version = 0;
    prn_status status = prn__sql_run(&ledger->sql, &version, error, "PRAGMA user_version", "");
    if (status != PRN_OK) {
        return status;
    }
    if (version == 0 || version == 1) {
        status = prn__ledger_begin(ledger, error);
        if (status == PRN_OK && sqlite3_exec(ledger->sql.database, version == 0 ? SCHEMA : FROM_1_TO_2, NULL, NULL, NULL) != SQLITE_OK) {
            status = prn__sql_failed(&ledger->sql, error);
        }
        if (status == PRN_OK) {
            status = prn__ledger_commit(ledger, error);
        }
        prn__ledger_rollback(ledger);
        return status;
    }
    if (version != PRN__LEDGER_SCHEMA) {
        return prn_error_set(error, PRN_VERSION, "%s: its schema is version %" PRId64 ", this program writes version %d; use the program that made it,"
                             " or another workspace", ledger->path, version, PRN__LEDGER_SCHEMA);
    }
    return PRN_OK;
}

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
        status = schema_ready(ledger, error);
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
        status = prn__sql_prepare(&ledger->sql, &statement, error, "INSERT OR REPLACE INTO step_metrics VALUES(?, ?, ?, ?, ?, ?, ?, ?)", "");
    }
    for (size_t i = 0; i < count && status == PRN_OK; i++) {
        const prn__step_metric *m = &metrics[i];
        const double values[6] = {m->loss, m->learning_rate, m->gradient_norm, m->logit_scale, m->seconds, m->data_wait_s};
        int code = sqlite3_bind_int64(statement, 1, id);
        code = code == SQLITE_OK ? sqlite3_bind_int64(statement, 2, m->step) : code;
        for (int j = 0; j < 6 && code == SQLITE_OK; j++) {
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
