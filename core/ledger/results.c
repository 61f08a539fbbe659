/* core/ledger/results.c: see results.h. */
#include "ledger/results.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "ledger/claims.h"
#include "ledger/reader.h"

static prn_status no_memory(prn_error *error)
{
    return prn_error_set(error, PRN_NO_MEMORY, "out of memory while reading results");
}

static prn_status count_of(prn__reader *r, const char *text, int64_t run, size_t *count)
{
    int64_t n = 0;
    prn_status status = prn__sql_run(&r->sql, &n, r->error, text, "i", run);
    *count = n > 0 ? (size_t)n : 0;
    return status;
}

/* ---- runs -------------------------------------------------------------------------------------------------------------- */

/* As a plan counts: the stages that are scored and all that they stand on. UNION drops what was met before, so parents that form a ring end. */
#define NEEDED(what) \
    " (WITH RECURSIVE needed(id, parent, state) AS (SELECT stages.id, stages.parent, stages.state FROM run_stages" \
    " JOIN stages ON stages.id = run_stages.stage WHERE run_stages.run = runs.id UNION SELECT stages.id, stages.parent, stages.state FROM needed" \
    " JOIN stages ON stages.key = needed.parent) SELECT count(*) FROM needed" what ")"
#define RUN_COLUMNS "id, name, state, message, started, finished, recipe_path, manifest_path, stream, model, backend, seed, batch, step_count," \
    " (SELECT count(*) FROM strategies WHERE run = runs.id)," \
    NEEDED("") "," NEEDED(" WHERE state = 'done'") ", identity"

enum { LEAVING_US = 100000 }; /* a process that ends is gone from the workspace a moment before the ledger has its last word */

static prn_status read_run(prn__reader *r, sqlite3_stmt *statement, prn__run_info *run)
{
    const char **texts[] = {&run->name, &run->state, &run->message, &run->started, &run->finished, &run->recipe_path, &run->manifest_path,
                            &run->stream, &run->model, &run->backend};
    int failed = 0;
    run->id = sqlite3_column_int64(statement, 0);
    for (int i = 0; i < 10; i++) {
        *texts[i] = prn__column_text(r, statement, 1 + i, &failed);
    }
    run->seed = (int64_t)strtoull((const char *)prn__column_text(r, statement, 11, &failed), NULL, 10);
    run->batch = sqlite3_column_int64(statement, 12);
    run->step_count = (uint32_t)sqlite3_column_int64(statement, 13);
    run->strategy_count = (uint32_t)sqlite3_column_int64(statement, 14);
    run->stage_count = (uint32_t)sqlite3_column_int64(statement, 15);
    run->stages_done = (uint32_t)sqlite3_column_int64(statement, 16);
    const char *identity = prn__column_text(r, statement, 17, &failed);
    if (!failed && strcmp(run->state, "running") == 0 && prn__presence_count(r->workspace, identity, NULL, 0) == 0) {
        run->state = "interrupted"; /* a killed process could not say so */
        run->message = "the process that worked on it is gone; running the recipe again goes on with it";
        r->is_unsure = 1;
    }
    return failed ? no_memory(r->error) : PRN_OK;
}

/* Of a run without a process the ledger is asked twice: whether it was killed, or was just leaving. */
static prn_status look_again(prn__reader *r, int *again)
{
    *again = r->is_unsure && !r->has_waited;
    r->is_unsure = 0;
    if (!*again) {
        return PRN_OK;
    }
    r->has_waited = 1;
    (void)usleep(LEAVING_US);
    prn_status status = prn__sql_run(&r->sql, NULL, r->error, "COMMIT", "");
    return status == PRN_OK ? prn__sql_run(&r->sql, NULL, r->error, "BEGIN", "") : status;
}

static prn_status read_all_runs(prn__reader *r, prn__run_info **runs, size_t *count)
{
    sqlite3_stmt *statement = NULL;
    int64_t total = 0;
    int row = 0;
    prn_status status = prn__sql_run(&r->sql, &total, r->error, "SELECT count(*) FROM runs", "");
    *count = 0;
    if (status != PRN_OK) {
        return status;
    }
    *runs = prn__arena_alloc(r->memory, ((size_t)total + 1) * sizeof **runs);
    if (*runs == NULL) {
        return no_memory(r->error);
    }
    /* Latest first: what was started or continued last. */
    status = prn__sql_prepare(&r->sql, &statement, r->error,
                              "SELECT " RUN_COLUMNS " FROM runs ORDER BY (SELECT max(recorded) FROM environment WHERE run = runs.id) DESC, id DESC", "");
    while (status == PRN_OK && *count < (size_t)total && (row = prn__sql_step(&r->sql, statement, r->error)) > 0) {
        status = read_run(r, statement, &(*runs)[(*count)++]);
    }
    (void)sqlite3_finalize(statement);
    return status == PRN_OK ? prn__reader_status(r, row) : status;
}

static prn_status read_runs(prn__reader *r, prn__run_info **runs, size_t *count)
{
    int again = 0;
    prn_status status = read_all_runs(r, runs, count);
    if (status == PRN_OK) {
        status = look_again(r, &again);
    }
    return status == PRN_OK && again ? read_all_runs(r, runs, count) : status;
}

static prn__run_info *run_numbered(prn__run_info *runs, size_t count, int64_t id)
{
    for (size_t i = 0; i < count; i++) {
        if (runs[i].id == id) {
            return &runs[i];
        }
    }
    return NULL;
}

/* What sweeps chose for their runs. */
static prn_status read_settings(prn__reader *r, prn__run_info *runs, size_t count)
{
    sqlite3_stmt *statement = NULL;
    int row = 0, failed = 0;
    for (size_t i = 0; i < count; i++) {
        runs[i].sweep = runs[i].settings = runs[i].settings_json = "";
    }
    if (r->version < 3) {
        return PRN_OK;
    }
    /* json_group_object orders nothing by itself: the rows come ordered into it */
    prn_status status = prn__sql_prepare(&r->sql, &statement, r->error,
                                         "SELECT runs.id, runs.sweep, group_concat(name_value, ', '), '{' || group_concat(pair, ',') || '}' FROM runs JOIN"
                                         " (SELECT run, settings.name || '=' || value AS name_value, json_quote(settings.name) || ':' || value AS pair"
                                         " FROM settings ORDER BY run, position) ON run = runs.id GROUP BY runs.id", "");
    while (status == PRN_OK && (row = prn__sql_step(&r->sql, statement, r->error)) > 0) {
        prn__run_info *run = run_numbered(runs, count, sqlite3_column_int64(statement, 0));
        if (run != NULL) {
            run->sweep = prn__column_text(r, statement, 1, &failed);
            run->settings = prn__column_text(r, statement, 2, &failed);
            run->settings_json = prn__column_text(r, statement, 3, &failed);
        }
    }
    (void)sqlite3_finalize(statement);
    return status != PRN_OK ? status : failed ? no_memory(r->error) : prn__reader_status(r, row);
}

prn_status prn__run_list_load(const char *workspace, prn__run_list **result, prn_error *error)
{
    prn__reader r;
    *result = NULL;
    prn__run_list *list = prn__alloc(sizeof *list);
    if (list == NULL) {
        return no_memory(error);
    }
    prn__arena_init(&list->memory, 4096);
    prn_status status = prn__reader_open(workspace, &list->memory, &r, error);
    if (status == PRN_OK) {
        status = read_runs(&r, &list->runs, &list->count);
        if (status == PRN_OK) {
            status = read_settings(&r, list->runs, list->count);
        }
        prn__reader_close(&r);
    }
    if (status != PRN_OK) {
        prn__run_list_destroy(list);
        return status;
    }
    *result = list;
    return PRN_OK;
}

void prn__run_list_destroy(prn__run_list *list)
{
    if (list != NULL) {
        prn__arena_fini(&list->memory);
        prn__free(list);
    }
}

static prn_status choose_run(prn__reader *r, const char *workspace, const char *wanted, prn__run_info *run)
{
    prn__run_info *runs;
    size_t count;
    prn_status status = read_runs(r, &runs, &count);
    if (status != PRN_OK) {
        return status;
    }
    if (count == 0) {
        return prn_error_set(r->error, PRN_NOT_FOUND, "%s: its ledger has no run yet; run a recipe first", workspace);
    }
    if (wanted == NULL) {
        *run = runs[0];
        return PRN_OK;
    }
    for (size_t i = 0; i < count; i++) {
        char id[24];
        (void)snprintf(id, sizeof id, "%" PRId64, runs[i].id);
        if (strcmp(wanted, id) == 0 || strcmp(wanted, runs[i].name) == 0) {
            *run = runs[i];
            return PRN_OK;
        }
    }
    char suggestion[128];
    const char **names = prn__arena_alloc(r->memory, count * sizeof *names);
    for (size_t i = 0; i < count && names != NULL; i++) {
        names[i] = runs[i].name;
    }
    return prn_error_set(r->error, PRN_NOT_FOUND, "%s: no run '%s' here%s; give a run's name or number, or none for the latest", workspace, wanted,
                         names != NULL ? prn__suggest_text(wanted, names, count, suggestion, sizeof suggestion) : "");
}

static prn_status numbered_run(prn__reader *r, int64_t id, prn__run_info *run)
{
    sqlite3_stmt *statement = NULL;
    int again = 0;
    prn_status status = prn__sql_prepare(&r->sql, &statement, r->error, "SELECT " RUN_COLUMNS " FROM runs WHERE id = ?", "i", id);
    int row = status == PRN_OK ? prn__sql_step(&r->sql, statement, r->error) : 0;
    if (row > 0) {
        status = read_run(r, statement, run);
    } else if (status == PRN_OK) {
        status = row == 0 ? prn_error_set(r->error, PRN_NOT_FOUND, "%s: no run %" PRId64, r->path, id) : prn__reader_status(r, row);
    }
    (void)sqlite3_finalize(statement);
    if (status == PRN_OK) {
        status = look_again(r, &again);
    }
    return status == PRN_OK && again ? numbered_run(r, id, run) : status;
}

/* ---- one run ------------------------------------------------------------------------------------------------------------- */

static prn_status read_step_names(prn__reader *r, prn__results *results)
{
    sqlite3_stmt *statement = NULL;
    uint32_t steps = results->step_count;
    int row = 0, failed = 0;
    const char **names = prn__arena_alloc(r->memory, (steps + 1u) * sizeof *names);
    if (names == NULL) {
        return no_memory(r->error);
    }
    for (uint32_t t = 0; t < steps; t++) {
        names[t] = "";
    }
    results->step_names = names;
    prn_status status = prn__sql_prepare(&r->sql, &statement, r->error, "SELECT time_step, name FROM time_steps WHERE run = ?", "i", results->run.id);
    while (status == PRN_OK && (row = prn__sql_step(&r->sql, statement, r->error)) > 0) {
        int64_t t = sqlite3_column_int64(statement, 0);
        if (t >= 1 && t <= steps) {
            names[t - 1] = prn__column_text(r, statement, 1, &failed);
        }
    }
    (void)sqlite3_finalize(statement);
    return status != PRN_OK ? status : failed ? no_memory(r->error) : prn__reader_status(r, row);
}

static prn_status read_strategy_stages(prn__reader *r, prn__results *results, prn__result_strategy *strategy)
{
    sqlite3_stmt *statement = NULL;
    int row = 0, failed = 0;
    uint32_t steps = results->step_count;
    strategy->stages = prn__arena_alloc(r->memory, (steps + 1u) * sizeof *strategy->stages);
    if (strategy->stages == NULL) {
        return no_memory(r->error);
    }
    for (uint32_t t = 0; t < steps; t++) {
        strategy->stages[t].key = "";
        strategy->stages[t].state = "missing";
        strategy->stages[t].last_loss = NAN;
    }
    prn_status status = prn__sql_prepare(&r->sql, &statement, r->error,
                                         /* A time step is one to three stages, each the parent of the next: trunk, branch, finishing stage. The last
                                          * loss is that of the last one with updates. */
                                         "SELECT run_stages.time_step, stages.key, stages.state,"
                                         " stages.steps + coalesce(trained.steps, 0) + coalesce(trunk.steps, 0),"
                                         " stages.samples + coalesce(trained.samples, 0) + coalesce(trunk.samples, 0),"
                                         " stages.forward_macs + coalesce(trained.forward_macs, 0) + coalesce(trunk.forward_macs, 0),"
                                         " stages.total_macs + coalesce(trained.total_macs, 0) + coalesce(trunk.total_macs, 0),"
                                         " stages.seconds + coalesce(trained.seconds, 0) + coalesce(trunk.seconds, 0),"
                                         " CASE stages.steps WHEN 0 THEN coalesce(trained.last_loss, stages.last_loss) ELSE stages.last_loss END,"
                                         " (SELECT coalesce(sum(count), 0) FROM skipped_samples WHERE stage IN (stages.id, trained.id, trunk.id))"
                                         " FROM run_stages JOIN stages ON stages.id = run_stages.stage"
                                         " LEFT JOIN stages AS trained ON trained.key = stages.parent AND trained.time_step = stages.time_step"
                                         " LEFT JOIN stages AS trunk ON trunk.key = trained.parent AND trunk.time_step = trained.time_step"
                                         " WHERE run = ? AND strategy = ?",
                                         "is", results->run.id, strategy->label);
    while (status == PRN_OK && (row = prn__sql_step(&r->sql, statement, r->error)) > 0) {
        int64_t t = sqlite3_column_int64(statement, 0);
        if (t < 1 || t > steps) {
            continue;
        }
        prn__result_stage *stage = &strategy->stages[t - 1];
        stage->key = prn__column_text(r, statement, 1, &failed);
        stage->state = prn__column_text(r, statement, 2, &failed);
        stage->steps = sqlite3_column_int64(statement, 3);
        stage->samples = sqlite3_column_int64(statement, 4);
        stage->forward_macs = sqlite3_column_double(statement, 5);
        stage->total_macs = sqlite3_column_double(statement, 6);
        stage->seconds = sqlite3_column_double(statement, 7);
        stage->last_loss = prn__column_real(statement, 8);
        stage->skipped = sqlite3_column_int64(statement, 9);
    }
    (void)sqlite3_finalize(statement);
    return status != PRN_OK ? status : failed ? no_memory(r->error) : prn__reader_status(r, row);
}

typedef struct task_name {
    const char *name;
    prn__task_kind kind;
} task_name;

/* The tasks of a run, in the order in which its time steps name them first. */
static prn_status read_task_names(prn__reader *r, prn__results *results, task_name **tasks)
{
    sqlite3_stmt *statement = NULL;
    int row = 0, failed = 0;
    size_t capacity = 0, count = 0;
    prn_status status = count_of(r, "SELECT count(DISTINCT name) FROM tasks WHERE run = ?", results->run.id, &capacity);
    if (status != PRN_OK) {
        return status;
    }
    *tasks = prn__arena_alloc(r->memory, (capacity + 1) * sizeof **tasks);
    if (*tasks == NULL) {
        return no_memory(r->error);
    }
    status = prn__sql_prepare(&r->sql, &statement, r->error,
                              "SELECT name, kind FROM tasks WHERE run = ? GROUP BY name ORDER BY kind = 'classification', min(time_step), name", "i",
                              results->run.id);
    while (status == PRN_OK && count < capacity && (row = prn__sql_step(&r->sql, statement, r->error)) > 0) {
        const char *kind = (const char *)sqlite3_column_text(statement, 1);
        (*tasks)[count].name = prn__column_text(r, statement, 0, &failed);
        (*tasks)[count].kind = kind != NULL && strcmp(kind, "classification") == 0 ? PRN__TASK_CLASSIFICATION : PRN__TASK_RETRIEVAL;
        count++;
    }
    (void)sqlite3_finalize(statement);
    results->task_count = count;
    return status != PRN_OK ? status : failed ? no_memory(r->error) : prn__reader_status(r, row);
}

static prn__result_score *find_score(prn__result_task *task, const char *name)
{
    for (size_t i = 0; i < task->score_count; i++) {
        if (strcmp(task->scores[i].name, name) == 0) {
            return &task->scores[i];
        }
    }
    return NULL;
}

static prn__result_score *add_score(prn__reader *r, prn__result_task *task, const char *name, uint32_t steps)
{
    if (task->score_count >= PRN__EVAL_MAX_SCORES) {
        return NULL;
    }
    size_t cells = (size_t)steps * steps;
    double *matrix = prn__arena_alloc(r->memory, (cells + 1) * sizeof *matrix);
    const char *copy = prn__arena_strdup(r->memory, name);
    if (matrix == NULL || copy == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < cells; i++) {
        matrix[i] = NAN;
    }
    prn__result_score *score = &task->scores[task->score_count++];
    score->name = copy;
    score->matrix = matrix;
    return score;
}

static prn_status read_task(prn__reader *r, const prn__results *results, const prn__result_strategy *strategy, prn__result_task *task)
{
    sqlite3_stmt *statement = NULL;
    int row = 0;
    uint32_t steps = results->step_count;
    task->scores = prn__arena_alloc(r->memory, PRN__EVAL_MAX_SCORES * sizeof *task->scores);
    if (task->scores == NULL) {
        return no_memory(r->error);
    }
    prn_status status = prn__sql_prepare(&r->sql, &statement, r->error,
                                         "SELECT after_step, task_step, score, value FROM (SELECT run_stages.time_step AS after_step,"
                                         " tasks.time_step AS task_step, scores.name AS score, scores.value AS value, scores.position AS position"
                                         " FROM run_stages JOIN tasks ON tasks.run = run_stages.run"
                                         " JOIN evaluations ON evaluations.stage = run_stages.stage AND evaluations.set_key = tasks.set_key"
                                         " JOIN scores ON scores.evaluation = evaluations.id"
                                         " WHERE run_stages.run = ? AND run_stages.strategy = ? AND tasks.name = ?) ORDER BY position",
                                         "iss", results->run.id, strategy->label, task->name);
    while (status == PRN_OK && (row = prn__sql_step(&r->sql, statement, r->error)) > 0) {
        int64_t i = sqlite3_column_int64(statement, 0), j = sqlite3_column_int64(statement, 1);
        const char *name = (const char *)sqlite3_column_text(statement, 2);
        if (i < 1 || j < 1 || i > steps || j > steps || name == NULL) {
            continue;
        }
        prn__result_score *score = find_score(task, name);
        if (score == NULL && (score = add_score(r, task, name, steps)) == NULL) {
            status = no_memory(r->error);
            break;
        }
        ((double *)(uintptr_t)score->matrix)[(i - 1) * steps + (j - 1)] = prn__column_real(statement, 3);
    }
    (void)sqlite3_finalize(statement);
    return status == PRN_OK ? prn__reader_status(r, row) : status;
}

/* A strategy without any score yet still shows every task, with an empty matrix. */
static prn_status complete_tasks(prn__reader *r, prn__results *results)
{
    for (size_t k = 0; k < results->task_count; k++) {
        const prn__result_task *longest = NULL;
        for (size_t s = 0; s < results->strategy_count; s++) {
            const prn__result_task *task = &results->strategies[s].tasks[k];
            longest = longest == NULL || task->score_count > longest->score_count ? task : longest;
        }
        for (size_t s = 0; s < results->strategy_count; s++) {
            prn__result_task *task = &results->strategies[s].tasks[k];
            for (size_t i = 0; i < longest->score_count; i++) {
                if (find_score(task, longest->scores[i].name) == NULL && add_score(r, task, longest->scores[i].name, results->step_count) == NULL) {
                    return no_memory(r->error);
                }
            }
            if (task->score_count == 0 &&
                add_score(r, task, task->kind == PRN__TASK_CLASSIFICATION ? "top1" : "recall@1", results->step_count) == NULL) {
                return no_memory(r->error);
            }
        }
    }
    return PRN_OK;
}

static void compute_transfers(prn__results *results)
{
    const prn__result_strategy *oracle = NULL;
    for (size_t s = 0; s < results->strategy_count && oracle == NULL; s++) {
        oracle = strcmp(results->strategies[s].strategy, "oracle") == 0 ? &results->strategies[s] : NULL;
    }
    for (size_t s = 0; s < results->strategy_count; s++) {
        for (size_t k = 0; k < results->task_count; k++) {
            prn__result_task *task = &results->strategies[s].tasks[k];
            for (size_t i = 0; i < task->score_count; i++) {
                const prn__result_score *best = oracle != NULL ? find_score(&oracle->tasks[k], task->scores[i].name) : NULL;
                prn__transfer_compute(task->scores[i].matrix, best != NULL ? best->matrix : NULL, NULL, results->step_count, &task->scores[i].transfer);
            }
        }
    }
}

static prn_status read_strategies(prn__reader *r, prn__results *results)
{
    sqlite3_stmt *statement = NULL;
    task_name *names;
    int row = 0, failed = 0;
    size_t capacity = 0;
    prn_status status = count_of(r, "SELECT count(*) FROM strategies WHERE run = ?", results->run.id, &capacity);
    if (status == PRN_OK) {
        status = read_task_names(r, results, &names);
    }
    if (status != PRN_OK) {
        return status;
    }
    results->strategies = prn__arena_alloc(r->memory, (capacity + 1) * sizeof *results->strategies);
    if (results->strategies == NULL) {
        return no_memory(r->error);
    }
    status = prn__sql_prepare(&r->sql, &statement, r->error,
                              r->version == 1 ? "SELECT label, strategy, options, forward_macs, total_macs, samples, 0.0, 0.0 FROM strategies WHERE run = ?"
                                                " ORDER BY position"
                                              : "SELECT label, strategy, options, forward_macs, total_macs, samples, teacher_macs, tuning_macs FROM strategies"
                                                " WHERE run = ? ORDER BY position", "i", results->run.id);
    while (status == PRN_OK && results->strategy_count < capacity && (row = prn__sql_step(&r->sql, statement, r->error)) > 0) {
        prn__result_strategy *strategy = &results->strategies[results->strategy_count++];
        strategy->label = prn__column_text(r, statement, 0, &failed);
        strategy->strategy = prn__column_text(r, statement, 1, &failed);
        strategy->options = prn__column_text(r, statement, 2, &failed);
        strategy->forward_macs = sqlite3_column_double(statement, 3);
        strategy->total_macs = sqlite3_column_double(statement, 4);
        strategy->samples = sqlite3_column_int64(statement, 5);
        strategy->teacher_macs = sqlite3_column_double(statement, 6);
        strategy->tuning_macs = sqlite3_column_double(statement, 7);
        strategy->tasks = prn__arena_alloc(r->memory, (results->task_count + 1) * sizeof *strategy->tasks);
        if (failed || strategy->tasks == NULL) {
            status = no_memory(r->error);
            break;
        }
        status = read_strategy_stages(r, results, strategy);
        for (size_t k = 0; k < results->task_count && status == PRN_OK; k++) {
            strategy->tasks[k].name = names[k].name;
            strategy->tasks[k].kind = names[k].kind;
            status = read_task(r, results, strategy, &strategy->tasks[k]);
        }
    }
    (void)sqlite3_finalize(statement);
    status = status == PRN_OK ? prn__reader_status(r, row) : status;
    if (status == PRN_OK) {
        status = complete_tasks(r, results);
    }
    if (status == PRN_OK) {
        compute_transfers(results);
    }
    return status;
}

static prn_status read_skips(prn__reader *r, prn__results *results)
{
    static const char FROM[] = " FROM skipped_samples JOIN stages ON stages.id = skipped_samples.stage"
                               " WHERE stages.id IN (SELECT stage FROM run_stages WHERE run = ?)";
    sqlite3_stmt *statement = NULL;
    char text[512];
    int row = 0, failed = 0;
    size_t capacity = 0;
    (void)snprintf(text, sizeof text, "SELECT count(*) FROM (SELECT 1%s GROUP BY stages.id, shard, reason)", FROM);
    prn_status status = count_of(r, text, results->run.id, &capacity);
    if (status != PRN_OK) {
        return status;
    }
    results->skips = prn__arena_alloc(r->memory, (capacity + 1) * sizeof *results->skips);
    if (results->skips == NULL) {
        return no_memory(r->error);
    }
    (void)snprintf(text, sizeof text, "SELECT key, shard, reason, sum(count)%s GROUP BY stages.id, shard, reason ORDER BY stages.id, shard, reason", FROM);
    status = prn__sql_prepare(&r->sql, &statement, r->error, text, "i", results->run.id);
    while (status == PRN_OK && results->skip_count < capacity && (row = prn__sql_step(&r->sql, statement, r->error)) > 0) {
        prn__skip_count *skip = &results->skips[results->skip_count++];
        skip->stage = prn__column_text(r, statement, 0, &failed);
        skip->shard = prn__column_text(r, statement, 1, &failed);
        skip->reason = prn__column_text(r, statement, 2, &failed);
        skip->count = sqlite3_column_int64(statement, 3);
    }
    (void)sqlite3_finalize(statement);
    return status != PRN_OK ? status : failed ? no_memory(r->error) : prn__reader_status(r, row);
}

static prn_status read_totals(prn__reader *r, prn__results *results)
{
    sqlite3_stmt *statement = NULL;
    int failed = 0;
    prn_status status = prn__sql_prepare(&r->sql, &statement, r->error,
                                         "SELECT forward_macs, total_macs, samples, (SELECT facts FROM environment WHERE run = runs.id ORDER BY attempt"
                                         " DESC LIMIT 1) FROM runs WHERE id = ?", "i", results->run.id);
    if (status != PRN_OK) {
        return status;
    }
    int row = prn__sql_step(&r->sql, statement, r->error);
    if (row > 0) {
        results->forward_macs = sqlite3_column_double(statement, 0);
        results->total_macs = sqlite3_column_double(statement, 1);
        results->samples = sqlite3_column_int64(statement, 2);
        results->environment = prn__column_text(r, statement, 3, &failed);
    }
    (void)sqlite3_finalize(statement);
    return failed ? no_memory(r->error) : prn__reader_status(r, row);
}

/* By name or number, or by its number alone (`id` above 0). */
static prn_status load(const char *workspace, const char *run, int64_t id, prn__results **result, prn_error *error)
{
    prn__reader r;
    *result = NULL;
    prn__results *results = prn__alloc(sizeof *results);
    if (results == NULL) {
        return no_memory(error);
    }
    prn__arena_init(&results->memory, 1 << 16);
    prn_status status = prn__reader_open(workspace, &results->memory, &r, error);
    if (status != PRN_OK) {
        prn__results_destroy(results);
        return status;
    }
    if ((status = id > 0 ? numbered_run(&r, id, &results->run) : choose_run(&r, workspace, run, &results->run)) == PRN_OK) {
        results->step_count = results->run.step_count;
        if (results->step_count > 100000) {
            status = prn_error_set(error, PRN_CORRUPT, "%s: run %" PRId64 " claims %u time steps", r.path, results->run.id, results->step_count);
        }
    }
    if (status == PRN_OK && (status = read_step_names(&r, results)) == PRN_OK && (status = read_strategies(&r, results)) == PRN_OK &&
        (status = read_skips(&r, results)) == PRN_OK) {
        status = read_totals(&r, results);
    }
    prn__reader_close(&r);
    if (status != PRN_OK) {
        prn__results_destroy(results);
        return status;
    }
    *result = results;
    return PRN_OK;
}

prn_status prn__results_load(const char *workspace, const char *run, prn__results **result, prn_error *error)
{
    return load(workspace, run, 0, result, error);
}

prn_status prn__results_load_number(const char *workspace, int64_t run, prn__results **result, prn_error *error)
{
    return load(workspace, NULL, run, result, error);
}

void prn__results_destroy(prn__results *results)
{
    if (results != NULL) {
        prn__arena_fini(&results->memory);
        prn__free(results);
    }
}

/* ---- metrics ------------------------------------------------------------------------------------------------------------- */

prn_status prn__results_metrics(const char *workspace, const char *stage_key, size_t limit, prn__step_metric **metrics, size_t *count,
                                prn_error *error)
{
    prn__reader r;
    prn__arena scratch;
    sqlite3_stmt *statement = NULL;
    int64_t total = 0;
    int row = 0;
    *metrics = NULL;
    *count = 0;
    prn__arena_init(&scratch, 256);
    prn_status status = prn__reader_open(workspace, &scratch, &r, error);
    if (status != PRN_OK) {
        prn__arena_fini(&scratch);
        return status;
    }
    status = prn__sql_run(&r.sql, &total, error, "SELECT count(*) FROM step_metrics JOIN stages ON stages.id = stage WHERE key = ?", "s", stage_key);
    /* Every `stride`-th step, and the last one: never more than the limit. */
    int64_t stride = limit > 0 && (uint64_t)total > limit ? (total + (int64_t)limit - 1) / (int64_t)limit : 1;
    prn__step_metric *found = status == PRN_OK ? prn__alloc_array((size_t)total + 1, sizeof *found) : NULL;
    if (status == PRN_OK && found == NULL) {
        status = no_memory(error);
    }
    if (status == PRN_OK) {
        status = prn__sql_prepare(&r.sql, &statement, error,
                                  r.version >= 3 ? "SELECT step, loss, learning_rate, gradient_norm, logit_scale, step_metrics.seconds, data_wait_s, memory_bytes"
                                                   " FROM step_metrics JOIN stages ON stages.id = stage WHERE key = ? ORDER BY step"
                                                 : "SELECT step, loss, learning_rate, gradient_norm, logit_scale, step_metrics.seconds, data_wait_s, NULL"
                                                   " FROM step_metrics JOIN stages ON stages.id = stage WHERE key = ? ORDER BY step", "s", stage_key);
    }
    for (int64_t i = 0; status == PRN_OK && i < total && (row = prn__sql_step(&r.sql, statement, error)) > 0; i++) {
        if ((total - 1 - i) % stride == 0) {
            prn__step_metric *m = &found[(*count)++];
            m->step = sqlite3_column_int64(statement, 0);
            m->loss = prn__column_real(statement, 1);
            m->learning_rate = prn__column_real(statement, 2);
            m->gradient_norm = prn__column_real(statement, 3);
            m->logit_scale = prn__column_real(statement, 4);
            m->seconds = prn__column_real(statement, 5);
            m->data_wait_s = prn__column_real(statement, 6);
            m->memory_bytes = prn__column_real(statement, 7);
        }
    }
    (void)sqlite3_finalize(statement);
    status = status == PRN_OK ? prn__reader_status(&r, row) : status;
    prn__reader_close(&r);
    prn__arena_fini(&scratch);
    if (status != PRN_OK) {
        prn__free(found);
        *count = 0;
        return status;
    }
    *metrics = found;
    return PRN_OK;
}
