/* core/report/conformance_report.c: the outcome of a backend's conformance suite, operation by operation; see component_report.h. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "report/component_report.h"
#include "report/json.h"
#include "report/table.h"

enum { MAX_OPS = 128, MAX_FAILURES = 200 };

typedef struct op_line {
    const char *op;
    int64_t cases, passed, failed, unsupported;
    double worst;            /* largest error / bound of the supported cases */
    const char *worst_case;
} op_line;

typedef struct failure {
    const char *op, *text, *reason;
    double error, bound;
} failure;

struct prn__conformance_book {
    prn__arena memory;
    op_line ops[MAX_OPS];
    size_t op_count;
    failure failures[MAX_FAILURES];
    size_t failure_count;
    int64_t failures_dropped;
    int failed;
};

prn__conformance_book *prn__conformance_book_create(void)
{
    prn__conformance_book *book = prn__alloc(sizeof *book);
    if (book != NULL) {
        prn__arena_init(&book->memory, 4096);
    }
    return book;
}

void prn__conformance_book_destroy(prn__conformance_book *book)
{
    if (book != NULL) {
        prn__arena_fini(&book->memory);
        prn__free(book);
    }
}

static const char *keep(prn__conformance_book *book, const char *text)
{
    const char *copy = prn__arena_strdup(&book->memory, text);
    book->failed |= copy == NULL;
    return copy != NULL ? copy : "";
}

void prn__conformance_book_add(void *context, const prn__conformance_case *result)
{
    prn__conformance_book *book = context;
    size_t i = 0;
    while (i < book->op_count && strcmp(book->ops[i].op, result->op) != 0) {
        i++;
    }
    if (i == book->op_count) {
        if (book->op_count == MAX_OPS) {
            book->failed = 1;
            return;
        }
        book->ops[book->op_count++] = (op_line){.op = keep(book, result->op), .worst_case = ""};
    }
    op_line *line = &book->ops[i];
    line->cases++;
    if (!result->supported) {
        line->unsupported++;
        return;
    }
    line->passed += result->passed ? 1 : 0;
    line->failed += result->passed ? 0 : 1;
    double ratio = result->error <= 0 ? 0 : result->bound > 0 ? result->error / result->bound : INFINITY;
    if (ratio > line->worst) {
        line->worst = ratio;
        line->worst_case = keep(book, result->text);
    }
    if (!result->passed) {
        if (book->failure_count == MAX_FAILURES) {
            book->failures_dropped++;
            return;
        }
        book->failures[book->failure_count++] =
            (failure){keep(book, result->op), keep(book, result->text), keep(book, result->reason), result->error, result->bound};
    }
}

void prn__conformance_print(const prn__conformance_book *book, const char *backend, const prn__conformance_summary *summary, double seconds,
                            prn__text *target)
{
    static const char *const heads[] = {"operation", "cases", "passed", "failed", "unsupported", "worst error", "worst case"};
    char time[32];
    prn__table *table = prn__table_create();
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        prn__table_column(table, heads[i], i == 0 || i == 6 ? 'l' : 'r');
    }
    for (size_t i = 0; i < book->op_count; i++) {
        const op_line *line = &book->ops[i];
        prn__table_cell(table, "%s", line->op);
        prn__table_cell(table, "%" PRId64, line->cases);
        prn__table_cell(table, "%" PRId64, line->passed);
        prn__table_cell(table, "%" PRId64, line->failed);
        prn__table_cell(table, "%" PRId64, line->unsupported);
        prn__table_cell(table, isfinite(line->worst) ? "%.1f %%" : "not finite", line->worst * 100);
        prn__table_cell(table, "%s", line->worst_case);
    }
    prn__table_print(table, 0, target);
    prn__table_destroy(table);
    prn__text_puts(target, "worst error: in percent of the stated bound\n");
    for (size_t i = 0; i < book->failure_count; i++) {
        const failure *f = &book->failures[i];
        prn__text_printf(target, "%sfailed: %s, %s: %s (error %.3g, bound %.3g)\n", i == 0 ? "\n" : "", f->op, f->text, f->reason, f->error, f->bound);
    }
    if (book->failures_dropped > 0) {
        prn__text_printf(target, "and %" PRId64 " more\n", book->failures_dropped);
    }
    prn__text_printf(target, "\n%s: %" PRId64 " of %" PRId64 " cases passed, %" PRId64 " failed, %" PRId64 " unsupported, in %s\n", backend,
                     summary->passed, summary->cases, summary->failed, summary->unsupported, prn__format_duration(seconds, time, sizeof time));
    target->failed |= book->failed;
}

void prn__conformance_json(const prn__conformance_book *book, const char *backend, const prn__conformance_summary *summary, double seconds,
                           prn__text *target)
{
    prn__json json = {book->failed};
    json_t *root = prn__json_object(&json, NULL, NULL);
    prn__json_string(&json, root, "backend", backend);
    prn__json_integer(&json, root, "cases", summary->cases);
    prn__json_integer(&json, root, "passed", summary->passed);
    prn__json_integer(&json, root, "failed", summary->failed);
    prn__json_integer(&json, root, "unsupported", summary->unsupported);
    prn__json_real(&json, root, "seconds", seconds);
    json_t *ops = prn__json_array(&json, root, "operations");
    for (size_t i = 0; i < book->op_count; i++) {
        const op_line *line = &book->ops[i];
        json_t *object = prn__json_object(&json, ops, NULL);
        prn__json_string(&json, object, "name", line->op);
        prn__json_integer(&json, object, "cases", line->cases);
        prn__json_integer(&json, object, "passed", line->passed);
        prn__json_integer(&json, object, "failed", line->failed);
        prn__json_integer(&json, object, "unsupported", line->unsupported);
        prn__json_real(&json, object, "worst_error_over_bound", line->worst);
        prn__json_string(&json, object, "worst_case", line->worst_case);
    }
    json_t *failures = prn__json_array(&json, root, "failures");
    for (size_t i = 0; i < book->failure_count; i++) {
        json_t *object = prn__json_object(&json, failures, NULL);
        prn__json_string(&json, object, "operation", book->failures[i].op);
        prn__json_string(&json, object, "case", book->failures[i].text);
        prn__json_string(&json, object, "reason", book->failures[i].reason);
        prn__json_real(&json, object, "error", book->failures[i].error);
        prn__json_real(&json, object, "bound", book->failures[i].bound);
    }
    prn__json_finish(&json, root, target);
}
