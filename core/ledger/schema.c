/* core/ledger/schema.c: the tables of the ledger, and bringing older ones up to them. docs/ledger.md describes each column. */
#include <inttypes.h>

#include "ledger/sql.h"

static const char SCHEMA[] =
    "CREATE TABLE runs(id INTEGER PRIMARY KEY, identity TEXT NOT NULL UNIQUE, name TEXT NOT NULL, state TEXT NOT NULL, message TEXT NOT NULL,"
    " started TEXT NOT NULL, finished TEXT NOT NULL, attempts INTEGER NOT NULL, recipe_path TEXT NOT NULL, recipe_text TEXT NOT NULL,"
    " resolved TEXT NOT NULL, manifest_path TEXT NOT NULL, stream TEXT NOT NULL, model TEXT NOT NULL, backend TEXT NOT NULL,"
    " seed TEXT NOT NULL, batch INTEGER NOT NULL, step_count INTEGER NOT NULL, forward_macs REAL NOT NULL, total_macs REAL NOT NULL,"
    " samples INTEGER NOT NULL, sweep TEXT NOT NULL DEFAULT '');"
    "CREATE TABLE settings(run INTEGER NOT NULL REFERENCES runs(id), position INTEGER NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,"
    " is_seeds INTEGER NOT NULL, PRIMARY KEY(run, position)) WITHOUT ROWID;"
    "CREATE TABLE sweeps(identity TEXT PRIMARY KEY, combinations INTEGER NOT NULL, criterion TEXT NOT NULL, chosen_on TEXT NOT NULL, score TEXT NOT NULL)"
    " WITHOUT ROWID;"
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
    " gradient_norm REAL, logit_scale REAL, seconds REAL, data_wait_s REAL, memory_bytes INTEGER, PRIMARY KEY(stage, step)) WITHOUT ROWID;"
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
    "PRAGMA user_version = 3;";

static const char FROM_1_TO_2[] =
    "ALTER TABLE strategies ADD COLUMN teacher_macs REAL NOT NULL DEFAULT 0;"
    "ALTER TABLE strategies ADD COLUMN tuning_macs REAL NOT NULL DEFAULT 0;"
    "PRAGMA user_version = 2;";

static const char FROM_2_TO_3[] =
    "ALTER TABLE runs ADD COLUMN sweep TEXT NOT NULL DEFAULT '';"
    "CREATE TABLE settings(run INTEGER NOT NULL REFERENCES runs(id), position INTEGER NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,"
    " is_seeds INTEGER NOT NULL, PRIMARY KEY(run, position)) WITHOUT ROWID;"
    "CREATE TABLE sweeps(identity TEXT PRIMARY KEY, combinations INTEGER NOT NULL, criterion TEXT NOT NULL, chosen_on TEXT NOT NULL, score TEXT NOT NULL)"
    " WITHOUT ROWID;"
    "ALTER TABLE step_metrics ADD COLUMN memory_bytes INTEGER;"
    "PRAGMA user_version = 3;";

static prn_status apply(const prn__sql *sql, const char *text, prn_error *error)
{
    return sqlite3_exec(sql->database, text, NULL, NULL, NULL) == SQLITE_OK ? PRN_OK : prn__sql_failed(sql, error);
}

prn_status prn__sql_schema_ready(const prn__sql *sql, prn_error *error)
{
    int64_t version = 0;
    /* Immediate: of two processes that open a new workspace at once, one makes the tables and the other finds them. */
    prn_status status = prn__sql_run(sql, NULL, error, "BEGIN IMMEDIATE", "");
    if (status != PRN_OK) {
        return status;
    }
    status = prn__sql_run(sql, &version, error, "PRAGMA user_version", "");
    if (status == PRN_OK && (version < 0 || version > PRN__LEDGER_SCHEMA)) {
        status = prn_error_set(error, PRN_VERSION, "%s: its schema is version %" PRId64 ", this program writes version %d; use the program that made it,"
                               " or another workspace", sql->path, version, PRN__LEDGER_SCHEMA);
    } else if (status == PRN_OK && version == 0) {
        status = apply(sql, SCHEMA, error);
    } else {
        for (; status == PRN_OK && version < PRN__LEDGER_SCHEMA; version++) {
            status = apply(sql, version == 1 ? FROM_1_TO_2 : FROM_2_TO_3, error);
        }
    }
    if (status == PRN_OK) {
        status = prn__sql_run(sql, NULL, error, "COMMIT", "");
    }
    if (status != PRN_OK) {
        (void)sqlite3_exec(sql->database, "ROLLBACK", NULL, NULL, NULL);
    }
    return status;
}
