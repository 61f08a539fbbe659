/* What the tests of the page room share: a workspace whose ledger is written by hand. */
#ifndef TESTS_PAGE_SUPPORT_H
#define TESTS_PAGE_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/text.h"
#include "ledger/sql.h"

/* Names as they may come from a file that means ill. */
#define HOSTILE_LABEL "</script><script>alert(1)</script><b title=\"x\">&amp; \xe2\x80\xa8"
#define HOSTILE_RECIPE "return 1 -- </script><img src=x onerror=alert(2)> <!-- \" ' \\ \t\n\x01 end"
#define BROKEN_UTF8 "st\xff\xc3"

typedef struct ground {
    char folder[64];
    sqlite3 *database;
} ground;

/* Formats as sqlite3_mprintf does: %Q is a quoted text. */
static inline void sql(ground *g, const char *format, ...)
{
    char *message = NULL;
    va_list arguments;
    va_start(arguments, format);
    char *text = sqlite3_vmprintf(format, arguments);
    va_end(arguments);
    if (sqlite3_exec(g->database, text, NULL, NULL, &message) != SQLITE_OK) {
        fail_msg("%s: %s", text, message);
    }
    sqlite3_free(text);
}

static inline void ground_open(ground *g)
{
    char path[96];
    prn_error error = PRN_ERROR_INIT;
    memset(g, 0, sizeof *g);
    (void)snprintf(g->folder, sizeof g->folder, "/tmp/prn-page-XXXXXX");
    assert_non_null(mkdtemp(g->folder));
    (void)snprintf(path, sizeof path, "%s/ledger.sqlite", g->folder);
    assert_int_equal(sqlite3_open(path, &g->database), SQLITE_OK);
    const prn__sql handle = {.database = g->database, .path = path};
    assert_int_equal(prn__sql_schema_ready(&handle, &error), PRN_OK);
}

static inline void ground_close(ground *g)
{
    char command[128];
    assert_int_equal(sqlite3_close(g->database), SQLITE_OK);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", g->folder);
    assert_int_equal(system(command), 0);
}

/* A run of `steps` time steps without strategies. */
static inline void add_run(ground *g, int steps, const char *state, const char *recipe)
{
    sql(g, "INSERT INTO runs VALUES(1, 'identity', %Q, %Q, '', '2026-01-31T12:00:00Z', '', 1, 'a<b>.lua', %Q, '{\"a\":\"</script>\"}', 's.yaml', 'tiny',"
           " 'nano', 'cpu', '7', 16, %d, 1e9, 3e9, 1000, '')", HOSTILE_LABEL, state, recipe, steps);
    sql(g, "INSERT INTO environment VALUES(1, 1, '2026-01-31T12:00:00Z', '{\"device\":{\"backend\":\"cpu<i>\"}}')");
    for (int t = 1; t <= steps; t++) {
        sql(g, "INSERT INTO time_steps VALUES(1, %d, '<u>%d</u>', 100)", t, 2015 + t);
        sql(g, "INSERT INTO tasks VALUES(1, %d, 'names/../<x>', 'retrieval', 'r%d')", t, t);
        sql(g, "INSERT INTO tasks VALUES(1, %d, 'kinds', 'classification', 'c%d')", t, t);
    }
}

/* A strategy whose stages are `updates` long, trained through time step `done`, and scored there. */
static inline void add_strategy(ground *g, int position, const char *label, const char *strategy, int steps, int done, int updates)
{
    sql(g, "INSERT INTO strategies VALUES(1, %d, %Q, %Q, '{}', 1e9, 3e9, 500, 2e7, 0)", position, label, strategy);
    for (int t = 1; t <= steps; t++) {
        const int id = position * 100 + t;
        sql(g, "INSERT INTO stages VALUES(%d, 'key-%d', NULL, %d, %d, %d, 1e8, 3e8, '[]', %Q, %f, 2.5)", id, id, t, updates, 16 * updates,
            t <= done ? "done" : "missing", t <= done ? 1.5 : 0.0);
        sql(g, "INSERT INTO run_stages VALUES(1, %Q, %d, %d)", label, t, id);
        for (int j = 1; j <= steps && t <= done; j++) {
            for (int kind = 0; kind < 2; kind++) {
                sql(g, "INSERT INTO evaluations(stage, set_key, images, texts, classes, skipped, seconds) VALUES(%d, '%c%d', 7, 7, 0, 0, 1)", id,
                    kind == 0 ? 'r' : 'c', j);
                const int evaluation = (int)sqlite3_last_insert_rowid(g->database);
                sql(g, "INSERT INTO scores VALUES(%d, 0, %Q, %.17g)", evaluation, kind == 0 ? "recall@1" : "top1", (t + 0.3 * j + position) / 17.0);
                sql(g, "INSERT INTO scores VALUES(%d, 1, %Q, %.17g)", evaluation, kind == 0 ? "recall@5" : "top5", (t + 0.7 * j) / 13.0);
            }
        }
    }
}

static inline void add_metrics(ground *g, int stage, int updates, double loss)
{
    sql(g, "BEGIN");
    for (int i = 0; i < updates; i++) {
        sql(g, "INSERT INTO step_metrics VALUES(%d, %d, %f, %g, 1, 2, 0.5, 0.125, %d)", stage, i, loss + 0.001 * i, 1e-3 * i, 1000000 + i);
    }
    sql(g, "COMMIT");
}

#endif
