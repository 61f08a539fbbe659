/* Running a recipe in a test: with a stop after so many questions, in a child process, and comparing what two runs left. */
#ifndef TESTS_RUN_EXECUTE_SUPPORT_H
#define TESTS_RUN_EXECUTE_SUPPORT_H

#include "run/support.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include "run/executor.h"
#include "ledger/results.h"
#include "ledger/claims.h"
#include "run/stage_files.h"

/* What an observed run did, and when it is to stop. */
typedef struct watch {
    int64_t asked, stop_at; /* the question that is answered with yes, from 0; -1: never */
    int64_t trained, evaluated;
    double last_loss;
    int bad;                /* a report that makes no sense */
} watch;

static inline int watch_stop(void *context)
{
    watch *w = context;
    return w->asked++ == w->stop_at;
}

static inline void watch_progress(void *context, const prn__progress *progress)
{
    watch *w = context;
    if (strcmp(progress->phase, "train") == 0) {
        w->trained++;
        w->last_loss = progress->loss;
        w->bad += !isfinite(progress->loss) || progress->step < 1 || progress->step > progress->steps || !isfinite(progress->remaining_s) ||
                  progress->remaining_s < 0 || !(progress->samples_per_s > 0) || progress->stage < 1 || progress->stage > progress->stage_count ||
                  !(progress->data_wait_frac >= 0) || progress->data_wait_frac > 1.0001;
    } else if (strcmp(progress->phase, "evaluate") == 0) {
        w->evaluated++;
        w->bad += progress->step < 1 || progress->step > progress->steps || !isfinite(progress->remaining_s) || progress->remaining_s < 0;
    } else {
        w->bad += strcmp(progress->phase, "index") != 0 && strcmp(progress->phase, "finish") != 0;
    }
}

static inline prn_status execute(const ground *g, const prn__recipe *recipe, watch *w, prn_error *error)
{
    prn__plan *plan = NULL;
    const prn__run_options options = {.progress = watch_progress, .progress_context = w, .should_stop = watch_stop, .stop_context = w};
    int64_t before = prn__alloc_live();
    prn_status status = prn__plan_create(recipe, g->registry, &plan, error);
    if (status == PRN_OK) {
        status = prn__run_execute(plan, g->registry, w != NULL ? &options : NULL, error);
    }
    prn__plan_destroy(plan);
    assert_int_equal(prn__alloc_live(), before);
    return status;
}

/* To its end, or the test fails. */
static inline watch complete(const ground *g, const prn__recipe *recipe)
{
    watch w = {.stop_at = -1};
    MUST(execute(g, recipe, &w, error_));
    assert_int_equal(w.bad, 0);
    return w;
}

static inline void assert_message(const prn_error *error, const char *word)
{
    if (strstr(error->message, word) == NULL) {
        fail_msg("'%s' lacks '%s'", error->message, word);
    }
}

/* ---- what a run left -------------------------------------------------------------------------------------------------------- */

static inline void read_path(const char *path, char **bytes, size_t *length)
{
    MUST(prn__file_read(path, (size_t)1 << 30, bytes, length, error_));
}

static inline void assert_same_file(const char *left, const char *right)
{
    char *a, *b;
    size_t m, n;
    read_path(left, &a, &m);
    read_path(right, &b, &n);
    if (m != n || memcmp(a, b, m) != 0) {
        fail_msg("%s and %s differ", left, right);
    }
    prn__free(a);
    prn__free(b);
}

static inline int is_same_file(const char *left, const char *right)
{
    char *a, *b;
    size_t m, n;
    read_path(left, &a, &m);
    read_path(right, &b, &n);
    int same = m == n && memcmp(a, b, m) == 0;
    prn__free(a);
    prn__free(b);
    return same;
}

static inline char *stage_file(prn__arena *memory, const char *workspace, const char *key, const char *name)
{
    char *path = prn__arena_printf(memory, "%s/stages/%s/%s", workspace, key, name);
    assert_non_null(path);
    return path;
}

/* Files of a folder whose name holds `part`. */
static inline int count_files(const char *folder, const char *part)
{
    int count = 0;
    DIR *directory = opendir(folder);
    if (directory == NULL) {
        return 0;
    }
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        count += strstr(entry->d_name, part) != NULL;
    }
    (void)closedir(directory);
    return count;
}

/* A single number from a ledger. */
static inline double ask(const char *workspace, const char *sql)
{
    char path[256];
    sqlite3 *database = NULL;
    sqlite3_stmt *statement = NULL;
    (void)snprintf(path, sizeof path, "%s/ledger.sqlite", workspace);
    assert_int_equal(sqlite3_open_v2(path, &database, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK); /* a kill may have left a transaction to undo */
    if (sqlite3_prepare_v2(database, sql, -1, &statement, NULL) != SQLITE_OK) {
        fail_msg("%s: %s", sql, sqlite3_errmsg(database));
    }
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    double value = sqlite3_column_type(statement, 0) == SQLITE_NULL ? NAN : sqlite3_column_double(statement, 0);
    (void)sqlite3_finalize(statement);
    (void)sqlite3_close(database);
    return value;
}

/* Everything that must not depend on interruptions: models, scores, metrics but for their times. `recipe` names the plan. */
static inline void assert_same_outcome(const ground *g, const prn__recipe *recipe, const char *left, const char *right)
{
    prn__plan *plan = NULL;
    prn__arena memory;
    prn__results *a, *b;
    prn__arena_init(&memory, 1024);
    MUST(prn__plan_create(recipe, g->registry, &plan, error_));
    MUST(prn__results_load(left, NULL, &a, error_));
    MUST(prn__results_load(right, NULL, &b, error_));
    assert_string_equal(b->run.state, "done");
    for (uint32_t i = 0; i < plan->stage_count; i++) {
        static const char *const names[] = {"open_clip_model.safetensors", "open_clip_config.json"};
        const char *key = plan->stages[i].key;
        for (size_t k = 0; k < 2; k++) {
            assert_same_file(stage_file(&memory, left, key, names[k]), stage_file(&memory, right, key, names[k]));
        }
        prn__step_metric *x, *y;
        size_t m, n;
        MUST(prn__results_metrics(left, key, 0, &x, &m, error_));
        MUST(prn__results_metrics(right, key, 0, &y, &n, error_));
        assert_int_equal(m, plan->stages[i].steps);
        assert_int_equal(n, m);
        for (size_t k = 0; k < m; k++) {
            assert_int_equal(x[k].step, k);
            assert_int_equal(y[k].step, k);
            assert_true(x[k].loss == y[k].loss && x[k].learning_rate == y[k].learning_rate && x[k].gradient_norm == y[k].gradient_norm &&
                        x[k].logit_scale == y[k].logit_scale);
        }
        prn__free(x);
        prn__free(y);
    }
    assert_int_equal(a->strategy_count, b->strategy_count);
    for (size_t s = 0; s < a->strategy_count; s++) {
        for (size_t t = 0; t < a->task_count; t++) {
            const prn__result_task *p = &a->strategies[s].tasks[t], *q = &b->strategies[s].tasks[t];
            assert_int_equal(p->score_count, q->score_count);
            for (size_t k = 0; k < p->score_count; k++) {
                assert_memory_equal(p->scores[k].matrix, q->scores[k].matrix, (size_t)a->step_count * a->step_count * sizeof(double));
            }
        }
    }
    prn__results_destroy(a);
    prn__results_destroy(b);
    prn__plan_destroy(plan);
    prn__arena_fini(&memory);
}

#endif
