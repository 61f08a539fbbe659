/* Reading sweeps from ledgers written here by hand: figures, the best setting, its cost, and ledgers that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "ledger/sql.h"
#include "ledger/sweep.h"

typedef struct bench {
    char folder[64], path[96];
    prn__sql sql;
} bench;

static void execute(bench *b, const char *text)
{
    char *message = NULL;
    if (sqlite3_exec(b->sql.database, text, NULL, NULL, &message) != SQLITE_OK) {
        fail_msg("%s: %s", text, message);
    }
}

static int setup(void **state)
{
    static bench b;
    prn_error error = PRN_ERROR_INIT;
    memset(&b, 0, sizeof b);
    (void)snprintf(b.folder, sizeof b.folder, "/tmp/prn-ledger-XXXXXX");
    if (mkdtemp(b.folder) == NULL) {
        return -1;
    }
    (void)snprintf(b.path, sizeof b.path, "%s/ledger.sqlite", b.folder);
    b.sql.path = b.path;
    if (sqlite3_open(b.path, &b.sql.database) != SQLITE_OK || prn__sql_schema_ready(&b.sql, &error) != PRN_OK) {
        return -1;
    }
    *state = &b;
    return 0;
}

static int teardown(void **state)
{
    bench *b = *state;
    char command[128];
    (void)sqlite3_close(b->sql.database);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", b->folder);
    return system(command);
}

/* ---- a ledger of two time steps and one strategy, "replay" ----------------------------------------------------------------------- */

static void add_sweep(bench *b, int combinations, const char *criterion, const char *chosen_on)
{
    char text[512];
    (void)snprintf(text, sizeof text, "INSERT INTO sweeps VALUES('abcdef0123', %d, '%s', '%s', '')", combinations, criterion, chosen_on);
    execute(b, text);
}

static void add_stage(bench *b, int id, const char *parent, int time_step, double macs, const char *state)
{
    char text[512];
    (void)snprintf(text, sizeof text, "INSERT INTO stages VALUES(%d, 's%d', %s, %d, 10, 100, %g, %g, '[]', '%s', 1, 0.5)", id, id, parent, time_step, macs / 4,
                   macs, state);
    execute(b, text);
}

static void add_run(bench *b, int id, double a, int seed, int first_stage, int second_stage)
{
    char text[2048];
    (void)snprintf(text, sizeof text,
                   "INSERT INTO runs VALUES(%d, 'identity-%d', 'tuning', 'done', '', '2026-01-01T00:00:00Z', '', 1, 'r.lua', '', '{}', 's.yaml', 'tiny',"
                   " 'nano', 'cpu', '%d', 8, 2, 1, 1, 1, 'abcdef0123');"
                   "INSERT INTO time_steps VALUES(%d, 1, 'one', 100), (%d, 2, 'two', 100);"
                   "INSERT INTO environment VALUES(%d, 1, '2026-01-01T00:00:%02dZ', '{}');"
                   "INSERT INTO strategies VALUES(%d, 0, 'replay', 'replay', '{}', 1, 1, 1, 0, 0);"
                   "INSERT INTO run_stages VALUES(%d, 'replay', 1, %d), (%d, 'replay', 2, %d);"
                   "INSERT INTO tasks VALUES(%d, 1, 'choice', 'retrieval', 'c1'), (%d, 2, 'choice', 'retrieval', 'c2'),"
                   " (%d, 1, 'report', 'retrieval', 'r1'), (%d, 2, 'report', 'retrieval', 'r2');"
                   "INSERT INTO settings VALUES(%d, 0, 'a', '%g', 0), (%d, 1, 'seed', '%d', 1)",
                   id, id, seed, id, id, id, id, id, id, first_stage, id, second_stage, id, id, id, id, id, a, id, seed);
    execute(b, text);
}

/* Of a stage on both steps' sets of a task ("c" or "r"). */
static void add_scores(bench *b, int stage, const char *task, double first, double second)
{
    char text[512];
    const double values[] = {first, second};
    for (int j = 0; j < 2; j++) {
        (void)snprintf(text, sizeof text,
                       "INSERT INTO evaluations(stage, set_key, images, texts, classes, skipped, seconds) VALUES(%d, '%s%d', 10, 10, 0, 0, 1);"
                       "INSERT INTO scores VALUES(last_insert_rowid(), 0, 'recall@1', %.17g)", stage, task, j + 1, values[j]);
        execute(b, text);
    }
}

/* Settings a = 0.25 and 0.5 with seeds 1 and 2; a seed's first stage is shared. Stage 3 has a hidden parent in its own time step, 9. */
static void add_example(bench *b)
{
    add_stage(b, 1, "NULL", 1, 100, "done");
    add_stage(b, 2, "NULL", 1, 110, "done");
    add_stage(b, 9, "'s1'", 2, 7, "done");
    add_stage(b, 3, "'s9'", 2, 20, "done");
    add_stage(b, 4, "'s2'", 2, 30, "done");
    add_stage(b, 5, "'s1'", 2, 40, "done");
    add_stage(b, 6, "'s2'", 2, 50, "done");
    add_run(b, 1, 0.25, 1, 1, 3);
    add_run(b, 2, 0.25, 2, 2, 4);
    add_run(b, 3, 0.5, 1, 1, 5);
    add_run(b, 4, 0.5, 2, 2, 6);
    add_scores(b, 1, "c", 0.5, 0.125);
    add_scores(b, 2, "c", 0.25, 0.125);
    add_scores(b, 3, "c", 0.25, 0.5);
    add_scores(b, 4, "c", 0.125, 0.25);
    add_scores(b, 5, "c", 0.5, 0.25);
    add_scores(b, 6, "c", 0.5, 0.75);
    for (int stage = 1; stage <= 6; stage++) {
        add_scores(b, stage, "r", 0.0625 * stage, 0.03125 * stage);
    }
}

static prn__sweep_results *load(bench *b)
{
    prn_error error = PRN_ERROR_INIT;
    prn__sweep_results *sweep = NULL;
    if (prn__sweep_results_load(b->folder, NULL, &sweep, &error) != PRN_OK) {
        fail_msg("%s", error.message);
    }
    assert_non_null(sweep);
    return sweep;
}

static void is_near(double got, double wanted)
{
    if (!(fabs(got - wanted) < 1e-12)) {
        fail_msg("%.17g is not %.17g", got, wanted);
    }
}

static void test_statistics(void **state)
{
    (void)state;
    const double values[] = {1, NAN, 2, 4};
    prn__statistic s = prn__statistic_of(values, 4);
    assert_int_equal(s.n, 3);
    is_near(s.mean, 7.0 / 3);
    is_near(s.deviation, sqrt(((1 - 7.0 / 3) * (1 - 7.0 / 3) + (2 - 7.0 / 3) * (2 - 7.0 / 3) + (4 - 7.0 / 3) * (4 - 7.0 / 3)) / 2));
    s = prn__statistic_of(values, 2);
    assert_int_equal(s.n, 1);
    is_near(s.mean, 1);
    assert_true(isnan(s.deviation));
    s = prn__statistic_of(values + 1, 1);
    assert_true(s.n == 0 && isnan(s.mean) && isnan(s.deviation));
    const double equal[] = {0.1, 0.1, 0.1};
    is_near(prn__statistic_of(equal, 3).deviation, 0);
}

static void test_figures(void **state)
{
    bench *b = *state;
    const int64_t before = prn__alloc_live();
    add_sweep(b, 4, "average", "choice");
    add_example(b);
    prn__sweep_results *sweep = load(b);
    assert_string_equal(sweep->name, "tuning");
    assert_string_equal(sweep->score, "recall@1");
    assert_int_equal(sweep->run_count, 4);
    assert_int_equal(sweep->done_count, 4);
    assert_int_equal(sweep->setting_count, 2);
    assert_int_equal(sweep->name_count, 1);
    assert_string_equal(sweep->names[0], "a");
    assert_true(sweep->is_held_out && !sweep->is_provisional);
    assert_int_equal(sweep->strategy_count, 1);
    const prn__sweep_strategy *s = &sweep->strategies[0];
    assert_int_equal(s->row_count, 2);
    is_near(s->rows[0].criterion.mean, (0.375 + 0.1875) / 2); /* last row's mean of each seed */
    is_near(s->rows[0].criterion.deviation, (0.375 - 0.1875) / sqrt(2));
    is_near(s->rows[1].criterion.mean, (0.375 + 0.625) / 2);
    assert_int_equal(s->best, 1);
    assert_true(s->rows[1].is_best && !s->rows[0].is_best);
    is_near(s->rows[0].total_macs, 100 + 110 + 7 + 20 + 30);
    is_near(s->rows[0].forward_macs, (100 + 110 + 7 + 20 + 30) / 4.0);
    is_near(s->training_macs, 100 + 110 + 40 + 50);
    is_near(s->tuning_macs, 7 + 20 + 30); /* what both need is training */
    assert_int_equal(sweep->best, 1);
    is_near(sweep->training_macs, 300);
    is_near(sweep->tuning_macs, 57);
    is_near(sweep->total_macs, 357);
    const prn__sweep_task *report = &s->rows[1].tasks[1];
    assert_string_equal(report->name, "report");
    assert_true(s->rows[1].tasks[0].is_chosen_on && !report->is_chosen_on);
    const prn__statistic *m = report->scores[0].metrics;
    is_near(m[PRN__SWEEP_IN_DOMAIN].mean, ((0.0625 * 1 + 0.03125 * 5) / 2 + (0.0625 * 2 + 0.03125 * 6) / 2) / 2);
    is_near(m[PRN__SWEEP_BACKWARD].mean, 0.0625 * 5.5);
    is_near(m[PRN__SWEEP_BACKWARD].deviation, 0.0625 / sqrt(2));
    is_near(m[PRN__SWEEP_FORWARD].mean, 0.03125 * 1.5);
    prn__sweep_results_destroy(sweep);
    assert_int_equal(prn__alloc_live(), before);
}

static void test_criteria(void **state)
{
    bench *b = *state;
    static const struct {
        const char *criterion;
        double low, high;
        int best;
    } cases[] = {
        {"in_domain", ((0.5 + 0.5) / 2 + (0.25 + 0.25) / 2) / 2, ((0.5 + 0.25) / 2 + (0.25 + 0.75) / 2) / 2, 1},
        {"backward", (0.25 + 0.125) / 2, 0.5, 1},
        {"forward", 0.125, 0.125, 0}, /* of equals, the first */
        {"no such one", (0.375 + 0.1875) / 2, 0.5, 1},
    };
    add_example(b);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        execute(b, "DELETE FROM sweeps");
        add_sweep(b, 4, cases[i].criterion, "choice");
        prn__sweep_results *sweep = load(b);
        is_near(sweep->strategies[0].rows[0].criterion.mean, cases[i].low);
        is_near(sweep->strategies[0].rows[1].criterion.mean, cases[i].high);
        assert_int_equal(sweep->strategies[0].best, cases[i].best);
        prn__sweep_results_destroy(sweep);
    }
}

/* A run that is not finished has half a matrix: it counts for nothing, and its setting does not win against a whole one. */
static void test_incomplete(void **state)
{
    bench *b = *state;
    add_sweep(b, 5, "average", "choice");
    add_example(b);
    execute(b, "UPDATE stages SET state = 'partial' WHERE id = 6");
    prn__sweep_results *sweep = load(b);
    const prn__sweep_strategy *s = &sweep->strategies[0];
    assert_int_equal(s->rows[1].criterion.n, 1);
    assert_int_equal(s->rows[1].complete_count, 1);
    assert_int_equal(s->rows[1].run_count, 2);
    is_near(s->rows[1].criterion.mean, 0.375);
    assert_int_equal(s->best, 0);
    assert_int_equal(sweep->best, 0);
    assert_true(sweep->is_provisional);
    assert_int_equal(sweep->done_count, 3);
    assert_int_equal(sweep->combinations, 5);
    prn__sweep_results_destroy(sweep);
    execute(b, "UPDATE stages SET state = 'done'; DELETE FROM scores WHERE evaluation IN (SELECT id FROM evaluations WHERE stage = 6 AND set_key = 'r2');"
               "DELETE FROM evaluations WHERE stage = 6 AND set_key = 'r2'"); /* trained, and not yet scored on all */
    sweep = load(b);
    assert_int_equal(sweep->strategies[0].rows[1].criterion.n, 1);
    prn__sweep_results_destroy(sweep);
    execute(b, "DELETE FROM scores; DELETE FROM evaluations");
    sweep = load(b);
    assert_int_equal(sweep->strategies[0].best, -1);
    assert_int_equal(sweep->best, -1);
    assert_true(isnan(sweep->strategies[0].rows[0].criterion.mean));
    prn__sweep_results_destroy(sweep);
}

/* One seed of a setting is begun and done, the other not begun: that is no whole setting either. */
static void test_not_begun(void **state)
{
    bench *b = *state;
    add_sweep(b, 4, "average", "choice");
    add_example(b);
    execute(b, "PRAGMA foreign_keys = OFF; UPDATE runs SET sweep = '' WHERE id = 3; DELETE FROM settings WHERE run = 3");
    prn__sweep_results *sweep = load(b);
    assert_int_equal(sweep->run_count, 3);
    assert_int_equal(sweep->strategies[0].rows[1].run_count, 1);
    is_near(sweep->strategies[0].rows[1].criterion.mean, 0.625);
    assert_int_equal(sweep->strategies[0].best, 0);
    assert_int_equal(sweep->best, 0);
    assert_true(sweep->is_provisional);
    prn__sweep_results_destroy(sweep);
    execute(b, "UPDATE sweeps SET combinations = 3"); /* a sweep that never had more */
    sweep = load(b);
    assert_int_equal(sweep->strategies[0].best, 1);
    assert_false(sweep->is_provisional);
    prn__sweep_results_destroy(sweep);
}

static void test_same_stages_are_one_row(void **state)
{
    bench *b = *state;
    add_sweep(b, 4, "average", "choice");
    add_example(b);
    execute(b, "UPDATE run_stages SET stage = 3 WHERE run = 3 AND time_step = 2; UPDATE run_stages SET stage = 4 WHERE run = 4 AND time_step = 2");
    prn__sweep_results *sweep = load(b);
    assert_int_equal(sweep->strategies[0].row_count, 1);
    assert_int_equal(sweep->strategies[0].rows[0].setting_count, 2);
    assert_int_equal(sweep->strategies[0].rows[0].run_count, 2);
    is_near(sweep->strategies[0].tuning_macs, 0);
    is_near(sweep->strategies[0].training_macs, 267);
    is_near(sweep->settings[1].criterion, sweep->settings[0].criterion);
    prn__sweep_results_destroy(sweep);
}

static void test_which_sweep(void **state)
{
    bench *b = *state;
    prn_error error = PRN_ERROR_INIT;
    prn__sweep_results *sweep = NULL;
    static const char *const found[] = {NULL, "tuning", "abcdef", "abcdef0123"}, *const single[] = {"1", "4", "other", "abcde", "abcdee", ""};
    add_sweep(b, 4, "average", "choice");
    add_example(b);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(prn__sweep_results_load(b->folder, found[i], &sweep, &error), PRN_OK);
        assert_non_null(sweep);
        prn__sweep_results_destroy(sweep);
    }
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(prn__sweep_results_load(b->folder, single[i], &sweep, &error), PRN_OK);
        assert_null(sweep);
    }
    assert_int_equal(prn__sweep_results_load_identity(b->folder, "abcdef", &sweep, &error), PRN_NOT_FOUND);
    assert_int_equal(prn__sweep_results_load("/no/such/folder", NULL, &sweep, &error), PRN_NOT_FOUND);
    execute(b, "UPDATE runs SET sweep = '' WHERE id = 4"); /* the latest one belongs to none */
    assert_int_equal(prn__sweep_results_load(b->folder, NULL, &sweep, &error), PRN_OK);
    assert_null(sweep);
    execute(b, "DELETE FROM sweeps");
    assert_int_equal(prn__sweep_results_load(b->folder, "abcdef", &sweep, &error), PRN_NOT_FOUND);
    assert_null(sweep);
}

static void test_ledgers_that_lie(void **state)
{
    bench *b = *state;
    add_sweep(b, 4, "average", "no such set");
    add_example(b);
    execute(b, "UPDATE stages SET parent = 's3' WHERE id = 9"); /* a circle */
    prn__sweep_results *sweep = load(b);
    assert_int_equal(sweep->strategies[0].best, -1);
    assert_string_equal(sweep->score, "");
    is_near(sweep->strategies[0].rows[0].total_macs, 100 + 110 + 7 + 20 + 30);
    prn__sweep_results_destroy(sweep);
    execute(b, "UPDATE stages SET parent = 'nobody', total_macs = NULL, state = 'x' WHERE 0; UPDATE sweeps SET combinations = -3, criterion = x'ff';"
               "UPDATE settings SET value = 'no json' WHERE position = 0; DELETE FROM settings WHERE run = 2; UPDATE runs SET step_count = 0 WHERE id = 3");
    sweep = load(b);
    assert_int_equal(sweep->run_count, 4);
    prn__sweep_results_destroy(sweep);
    execute(b, "PRAGMA foreign_keys = OFF; DELETE FROM stages; DELETE FROM strategies; DELETE FROM tasks");
    sweep = load(b);
    assert_int_equal(sweep->strategy_count, 0);
    is_near(sweep->total_macs, 0);
    prn__sweep_results_destroy(sweep);
}

static void test_failing_allocations(void **state)
{
    bench *b = *state;
    prn_error error = PRN_ERROR_INIT;
    prn__sweep_results *sweep = NULL;
    int failures = 0;
    add_sweep(b, 4, "average", "choice");
    add_example(b);
    const int64_t before = prn__alloc_live();
    for (int64_t nth = 1; nth < 10000; nth++) {
        prn__alloc_fail_at(nth);
        prn_status status = prn__sweep_results_load(b->folder, NULL, &sweep, &error);
        prn__alloc_fail_at(0);
        if (status == PRN_OK) {
            break;
        }
        assert_int_equal(status, PRN_NO_MEMORY);
        assert_null(sweep);
        assert_int_equal(prn__alloc_live(), before);
        failures++;
    }
    assert_non_null(sweep);
    assert_true(failures > 5);
    prn__sweep_results_destroy(sweep);
    assert_int_equal(prn__alloc_live(), before);
}

static void test_list(void **state)
{
    bench *b = *state;
    prn_error error = PRN_ERROR_INIT;
    prn__run_list *list = NULL;
    add_sweep(b, 4, "average", "choice");
    add_example(b);
    execute(b, "INSERT INTO settings VALUES(4, 2, 'rule', '\"exp\"', 0); UPDATE runs SET sweep = '' WHERE id = 1; DELETE FROM settings WHERE run = 1");
    assert_int_equal(prn__run_list_load(b->folder, &list, &error), PRN_OK);
    assert_int_equal(list->count, 4);
    assert_string_equal(list->runs[0].settings, "a=0.5, seed=2, rule=\"exp\"");
    assert_string_equal(list->runs[0].settings_json, "{\"a\":0.5,\"seed\":2,\"rule\":\"exp\"}");
    assert_string_equal(list->runs[0].sweep, "abcdef0123");
    assert_string_equal(list->runs[3].settings, "");
    assert_string_equal(list->runs[3].sweep, "");
    prn__run_list_destroy(list);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_statistics), TEST(test_figures),          TEST(test_criteria),            TEST(test_incomplete), TEST(test_same_stages_are_one_row),
        TEST(test_which_sweep), TEST(test_ledgers_that_lie), TEST(test_failing_allocations), TEST(test_list), TEST(test_not_begun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
