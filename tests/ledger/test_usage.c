/* Which stages runs need, and step metrics one by one: from ledgers written here by hand, of every schema, and from ledgers that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ledger/metrics.h"
#include "ledger/sql.h"
#include "ledger/usage.h"

typedef struct ground {
    char folder[64], path[96];
    prn__sql sql;
} ground;

static void execute(ground *g, const char *text)
{
    char *message = NULL;
    if (sqlite3_exec(g->sql.database, text, NULL, NULL, &message) != SQLITE_OK) {
        fail_msg("%s: %s", text, message);
    }
}

static int setup(void **state)
{
    prn_error error = PRN_ERROR_INIT;
    ground *g = calloc(1, sizeof *g);
    if (g == NULL) {
        return -1;
    }
    (void)snprintf(g->folder, sizeof g->folder, "/tmp/prn-ledger-XXXXXX");
    if (mkdtemp(g->folder) == NULL) {
        free(g);
        return -1;
    }
    (void)snprintf(g->path, sizeof g->path, "%s/ledger.sqlite", g->folder);
    g->sql.path = g->path;
    *state = g;
    return sqlite3_open(g->path, &g->sql.database) == SQLITE_OK && prn__sql_schema_ready(&g->sql, &error) == PRN_OK ? 0 : -1;
}

static int teardown(void **state)
{
    ground *g = *state;
    char command[128];
    (void)sqlite3_close(g->sql.database);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", g->folder);
    free(g);
    return system(command);
}

static void add_run(ground *g, int id)
{
    char text[512];
    (void)snprintf(text, sizeof text, "INSERT INTO runs VALUES(%d, 'identity%d', 'run%d', 'done', '', '', '', 1, '', '', '{}', '', '', '', 'cpu', '1', 8, 2, 0, 0, 0, '')",
                   id, id, id);
    execute(g, text);
}

static void add_stage(ground *g, int id, const char *parent)
{
    char text[256];
    (void)snprintf(text, sizeof text, "INSERT INTO stages VALUES(%d, 's%d', %s, 1, 10, 100, 1, 3, '[]', 'done', 1, 0.5)", id, id, parent);
    execute(g, text);
}

static void use_stage(ground *g, int run, int time_step, int stage)
{
    char text[128];
    (void)snprintf(text, sizeof text, "INSERT INTO run_stages VALUES(%d, 'sequential', %d, %d)", run, time_step, stage);
    execute(g, text);
}

static void expect_needed(ground *g, const int64_t *forgotten, size_t count, const char *wanted)
{
    prn_error error = PRN_ERROR_INIT;
    prn__stage_uses *uses = NULL;
    char found[128] = "";
    assert_int_equal(prn__stage_uses_load(g->folder, forgotten, count, &uses, &error), PRN_OK);
    for (size_t i = 0; i < uses->count; i++) {
        if (uses->stages[i].is_needed) {
            (void)snprintf(found + strlen(found), sizeof found - strlen(found), "%s ", uses->stages[i].key);
        }
        assert_ptr_equal(prn__stage_uses_find(uses, uses->stages[i].key), &uses->stages[i]);
    }
    assert_null(prn__stage_uses_find(uses, "s"));
    assert_string_equal(found, wanted);
    prn__stage_uses_destroy(uses);
}

static void test_parents_are_needed(void **state)
{
    ground *g = *state;
    add_run(g, 1);
    add_run(g, 2);
    add_stage(g, 1, "NULL");
    add_stage(g, 2, "'s1'");
    add_stage(g, 3, "'s2'");
    add_stage(g, 4, "'s1'");
    add_stage(g, 5, "NULL");
    use_stage(g, 1, 1, 3); /* its row of the matrix names the last stage only */
    use_stage(g, 2, 1, 4);
    expect_needed(g, NULL, 0, "s1 s2 s3 s4 ");
    expect_needed(g, (const int64_t[]){1}, 1, "s1 s4 ");
    expect_needed(g, (const int64_t[]){2}, 1, "s1 s2 s3 ");
    expect_needed(g, (const int64_t[]){1, 2}, 2, "");
    expect_needed(g, (const int64_t[]){77}, 1, "s1 s2 s3 s4 ");
    prn_error error = PRN_ERROR_INIT;
    prn__stage_uses *uses = NULL;
    assert_int_equal(prn__stage_uses_of_run(g->folder, 2, &uses, &error), PRN_OK);
    assert_true(prn__stage_uses_find(uses, "s4")->is_needed && prn__stage_uses_find(uses, "s1")->is_needed);
    assert_false(prn__stage_uses_find(uses, "s3")->is_needed);
    assert_string_equal(prn__stage_uses_find(uses, "s4")->parent, "s1");
    prn__stage_uses_destroy(uses);
}

/* Parents in a ring, parents that the ledger does not know, a stage that is its own parent. */
static void test_ledgers_that_lie(void **state)
{
    ground *g = *state;
    add_run(g, 1);
    add_stage(g, 1, "'s3'");
    add_stage(g, 2, "'s1'");
    add_stage(g, 3, "'s2'");
    add_stage(g, 4, "'s9'");
    add_stage(g, 5, "'s5'");
    add_stage(g, 6, "'s1'");
    use_stage(g, 1, 1, 2);
    use_stage(g, 1, 2, 4);
    use_stage(g, 1, -7, 5);
    expect_needed(g, NULL, 0, "s1 s2 s3 s4 s5 s9 ");
    execute(g, "DROP TABLE run_stages; CREATE TABLE run_stages(x)");
    prn_error error = PRN_ERROR_INIT;
    prn__stage_uses *uses = NULL;
    assert_int_not_equal(prn__stage_uses_load(g->folder, NULL, 0, &uses, &error), PRN_OK);
    assert_null(uses);
    assert_non_null(strstr(error.message, g->path));
}

typedef struct walk {
    int64_t last, count, stop_at;
    double memory;
} walk;

static prn_status visit(void *context, const prn__step_metric *metric, prn_error *error)
{
    walk *w = context;
    assert_true(metric->step > w->last);
    w->last = metric->step;
    w->memory = metric->memory_bytes;
    return ++w->count == w->stop_at ? prn_error_set(error, PRN_INTERRUPTED, "enough") : PRN_OK;
}

static void test_metrics_one_by_one(void **state)
{
    ground *g = *state;
    prn_error error = PRN_ERROR_INIT;
    walk w = {.last = -1};
    add_stage(g, 1, "NULL");
    add_stage(g, 2, "NULL");
    execute(g, "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 9999)"
               " INSERT INTO step_metrics SELECT 1, (i * 7919) % 10000, 1.0, 1e-3, NULL, 14.0, 0.1, 0.0, 4096 FROM n");
    execute(g, "INSERT INTO step_metrics VALUES(2, 0, 5.0, 1e-3, 1.0, 14.0, 0.1, 0.0, 1)");
    assert_int_equal(prn__metrics_visit(g->folder, "s1", visit, &w, &error), PRN_OK);
    assert_true(w.count == 10000 && w.last == 9999 && w.memory == 4096);
    w = (walk){.last = -1, .stop_at = 3};
    assert_int_equal(prn__metrics_visit(g->folder, "s1", visit, &w, &error), PRN_INTERRUPTED);
    assert_int_equal(w.count, 3);
    w = (walk){.last = -1};
    error = (prn_error)PRN_ERROR_INIT;
    assert_int_equal(prn__metrics_visit(g->folder, "unknown", visit, &w, &error), PRN_OK);
    assert_int_equal(w.count, 0);
}

static void test_older_schemas(void **state)
{
    ground *g = *state;
    prn_error error = PRN_ERROR_INIT;
    walk w = {.last = -1};
    add_run(g, 1);
    add_stage(g, 1, "NULL");
    use_stage(g, 1, 1, 1);
    execute(g, "INSERT INTO step_metrics VALUES(1, 0, 5.0, 1e-3, 1.0, 14.0, 0.1, 0.0, 1)");
    execute(g, "ALTER TABLE runs DROP COLUMN sweep; DROP TABLE settings; DROP TABLE sweeps; ALTER TABLE step_metrics DROP COLUMN memory_bytes;"
               "PRAGMA user_version = 2;");
    expect_needed(g, NULL, 0, "s1 ");
    assert_int_equal(prn__metrics_visit(g->folder, "s1", visit, &w, &error), PRN_OK);
    assert_true(w.count == 1 && isnan(w.memory));
    execute(g, "ALTER TABLE strategies DROP COLUMN teacher_macs; ALTER TABLE strategies DROP COLUMN tuning_macs; PRAGMA user_version = 1;");
    expect_needed(g, NULL, 0, "s1 ");
    execute(g, "PRAGMA user_version = 4");
    prn__stage_uses *uses = NULL;
    assert_int_equal(prn__stage_uses_load(g->folder, NULL, 0, &uses, &error), PRN_VERSION);
}

static void test_out_of_memory(void **state)
{
    ground *g = *state;
    add_run(g, 1);
    add_stage(g, 1, "NULL");
    use_stage(g, 1, 1, 1);
    const int64_t forgotten[] = {4, 5};
    int done = 0;
    for (int64_t nth = 1; !done && nth < 200; nth++) {
        prn_error error = PRN_ERROR_INIT;
        prn__stage_uses *uses = NULL;
        const size_t before = prn__alloc_live();
        prn__alloc_fail_at(nth);
        prn_status status = prn__stage_uses_load(g->folder, forgotten, 2, &uses, &error);
        prn__alloc_fail_at(0);
        done = status == PRN_OK;
        assert_true(done || (status == PRN_NO_MEMORY && uses == NULL));
        prn__stage_uses_destroy(uses);
        assert_int_equal(prn__alloc_live(), before);
    }
    assert_true(done);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_parents_are_needed, setup, teardown), cmocka_unit_test_setup_teardown(test_ledgers_that_lie, setup, teardown),
        cmocka_unit_test_setup_teardown(test_metrics_one_by_one, setup, teardown), cmocka_unit_test_setup_teardown(test_older_schemas, setup, teardown),
        cmocka_unit_test_setup_teardown(test_out_of_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
