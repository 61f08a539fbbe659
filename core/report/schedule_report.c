/* core/report/schedule_report.c: see schedule_report.h.
 *
 * Only ASCII is drawn, so that a plot looks the same on every terminal, in a file and in a mail.
 */
#include "report/schedule_report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/table.h"
#include "run/schedule.h"

enum { ROWS = 12, MARGIN = 12, COLUMNS_MIN = 40, COLUMNS_MAX = 400, POINTS = 64 };

/* A strategy's training stages in order: one for each time step, or trunk and branch. */
static int part_at(const prn__plan *plan, const prn__plan_line *line, uint32_t index, const prn__stage **stage)
{
    const uint32_t parts = prn__schedule_has_branch(&plan->recipe->schedule) ? 2 : 1, t = index / parts;
    if (t >= plan->step_count) {
        return 0;
    }
    *stage = &plan->stages[index % parts == 0 ? line->trunk[t] : line->trained[t]];
    return 1;
}

static int is_same_run(const prn__plan *plan, const prn__plan_line *a, const prn__plan_line *b)
{
    const prn__stage *x, *y;
    uint32_t i = 0;
    for (; part_at(plan, a, i, &x); i++) {
        if (!part_at(plan, b, i, &y) || x->rates != y->rates || x->steps != y->steps || x->time_step != y->time_step || x->is_branch != y->is_branch) {
            return 0; /* equal tables are kept once, so that pointers tell */
        }
    }
    return !part_at(plan, b, i, &y);
}

/* ---- the plot ---------------------------------------------------------------------------------------------------------------- */

typedef struct plot {
    char cells[ROWS][COLUMNS_MAX];
    char axis[COLUMNS_MAX + 1], names[COLUMNS_MAX + 1];
    size_t width;
    int64_t updates; /* of the whole run */
    double highest;
} plot;

static size_t column_of(const plot *p, int64_t update)
{
    size_t column = (size_t)((double)update / (double)p->updates * (double)p->width);
    return column < p->width ? column : p->width - 1;
}

static int row_of(const plot *p, double rate)
{
    int row = (int)lround(rate / p->highest * (ROWS - 1));
    return ROWS - 1 - (row < 0 ? 0 : row >= ROWS ? ROWS - 1 : row);
}

/* Each column shows the whole range of its updates: a warm-up of a few updates stays visible. */
static void draw_stage(plot *p, const prn__stage *stage, int64_t first)
{
    const char mark = stage->is_branch ? 'o' : '*';
    for (int64_t i = 0; i < stage->steps;) {
        const size_t column = column_of(p, first + i);
        double low = (double)stage->rates[i], high = low;
        for (; i < stage->steps && column_of(p, first + i) == column; i++) {
            low = fmin(low, (double)stage->rates[i]);
            high = fmax(high, (double)stage->rates[i]);
        }
        for (int row = row_of(p, high); row <= row_of(p, low); row++) {
            p->cells[row][column] = mark;
        }
    }
}

/* A tick and, where there is room, a name at the start of each time step. */
static void draw_step(plot *p, const char *name, int64_t first)
{
    const size_t column = column_of(p, first), length = strlen(name);
    p->axis[column] = '|';
    if (column + length > p->width || (column > 0 && p->names[column - 1] != ' ')) {
        return;
    }
    for (size_t i = 0; i < length; i++) {
        if (p->names[column + i] != ' ' || name[i] < ' ' || name[i] > '~') {
            return;
        }
    }
    memcpy(p->names + column, name, length);
}

static void print_line(const char *label, const char *cells, size_t width, prn__text *target)
{
    char line[COLUMNS_MAX + MARGIN + 8];
    while (width > 0 && cells[width - 1] == ' ') {
        width--;
    }
    (void)snprintf(line, sizeof line, "  %*s %.*s", MARGIN - 3, label, (int)width, cells);
    size_t length = strlen(line);
    while (length > 0 && line[length - 1] == ' ') {
        line[--length] = '\0';
    }
    prn__text_printf(target, "%s\n", line);
}

static void print_plot(const prn__plan *plan, const prn__plan_line *line, size_t columns, prn__text *target)
{
    plot *p = prn__alloc(sizeof *p);
    const prn__stage *stage;
    char label[32];
    int64_t first = 0;
    int has_branch = 0;
    if (p == NULL) {
        target->failed = 1;
        return;
    }
    columns = columns < COLUMNS_MIN ? COLUMNS_MIN : columns > COLUMNS_MAX ? COLUMNS_MAX : columns;
    p->width = columns - MARGIN;
    for (uint32_t i = 0; part_at(plan, line, i, &stage); i++) {
        p->updates += stage->steps;
        has_branch |= stage->is_branch;
        for (int64_t k = 0; k < stage->steps; k++) {
            p->highest = fmax(p->highest, (double)stage->rates[k]);
        }
    }
    p->highest = p->highest > 0 ? p->highest : 1;
    memset(p->cells, ' ', sizeof p->cells);
    memset(p->axis, '-', p->width);
    memset(p->names, ' ', p->width);
    for (uint32_t i = 0; part_at(plan, line, i, &stage); i++) {
        if (!stage->is_branch) {
            draw_step(p, plan->manifest->steps[stage->time_step - 1].name, first);
        }
        draw_stage(p, stage, first);
        first += stage->steps;
    }
    for (int row = 0; row < ROWS; row++) {
        label[0] = '\0';
        if (row % 4 == 0 || row == ROWS - 1) {
            (void)snprintf(label, sizeof label, "%.3g", p->highest * (ROWS - 1 - row) / (ROWS - 1));
        }
        print_line(label, p->cells[row], p->width, target);
    }
    print_line("", p->axis, p->width, target);
    print_line("", p->names, p->width, target);
    if (has_branch) {
        print_line("", "* trunk, which the next time step goes on from   o branch, which is evaluated", 77, target);
    }
    prn__free(p);
}

static void print_rates(const prn__plan *plan, const prn__plan_line *line, prn__text *target)
{
    static const char *const heads[] = {"step", "stage", "updates", "first", "highest", "last"};
    prn__table *table = prn__table_create();
    const prn__stage *stage;
    int has_branch = 0;
    for (uint32_t i = 0; part_at(plan, line, i, &stage); i++) {
        has_branch |= stage->is_branch;
    }
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        if (i != 1 || has_branch) {
            prn__table_column(table, heads[i], i < 2 ? 'l' : 'r');
        }
    }
    for (uint32_t i = 0; part_at(plan, line, i, &stage); i++) {
        double highest = 0;
        for (int64_t k = 0; k < stage->steps; k++) {
            highest = fmax(highest, (double)stage->rates[k]);
        }
        prn__table_cell(table, "%s", plan->manifest->steps[stage->time_step - 1].name);
        if (has_branch) {
            prn__table_cell(table, "%s", stage->is_branch ? "branch" : "trunk");
        }
        prn__table_count(table, stage->steps);
        prn__table_cell(table, "%.4g", (double)stage->rates[0]);
        prn__table_cell(table, "%.4g", highest);
        prn__table_cell(table, "%.4g", (double)stage->rates[stage->steps - 1]);
    }
    prn__table_print(table, 2, target);
    prn__table_destroy(table);
}

void prn__schedule_print(const prn__plan *plan, size_t columns, prn__text *target)
{
    for (size_t s = 0; s < plan->recipe->strategy_count; s++) {
        const prn__plan_line *line = &plan->lines[s];
        int is_shown = 0;
        for (size_t other = 0; other < s; other++) {
            is_shown |= is_same_run(plan, line, &plan->lines[other]);
        }
        if (is_shown) {
            continue;
        }
        prn__text_printf(target, "%slearning rate of %s", target->length > 0 ? "\n" : "", line->label);
        for (size_t other = s + 1; other < plan->recipe->strategy_count; other++) {
            if (is_same_run(plan, line, &plan->lines[other])) {
                prn__text_printf(target, ", %s", plan->lines[other].label);
            }
        }
        prn__text_puts(target, "\n\n");
        print_plot(plan, line, columns, target);
        prn__text_puts(target, "\n");
        print_rates(plan, line, target);
    }
}

/* Rates are kept as fp32: seven digits are what was meant, more are its rounding. */
static double shown_rate(float rate)
{
    char text[32];
    (void)snprintf(text, sizeof text, "%.7g", (double)rate);
    return strtod(text, NULL);
}

/* ---- JSON ------------------------------------------------------------------------------------------------------------------------ */

void prn__schedule_put(prn__json *json, json_t *strategy, const prn__plan *plan, const prn__plan_line *line)
{
    json_t *stages = prn__json_array(json, strategy, "schedule");
    const prn__stage *stage;
    int64_t first = 0;
    for (uint32_t i = 0; part_at(plan, line, i, &stage); i++) {
        const int64_t count = stage->steps <= POINTS ? stage->steps : POINTS + 1;
        json_t *object = prn__json_object(json, stages, NULL);
        prn__json_integer(json, object, "time_step", stage->time_step);
        prn__json_string(json, object, "name", plan->manifest->steps[stage->time_step - 1].name);
        prn__json_string(json, object, "stage", stage->key);
        prn__json_boolean(json, object, "branch", stage->is_branch);
        prn__json_integer(json, object, "first_update", first);
        prn__json_integer(json, object, "updates", stage->steps);
        json_t *points = prn__json_array(json, object, "points");
        for (int64_t k = 0; k < count; k++) { /* first and last among them */
            const int64_t update = count > 1 ? (int64_t)((double)k * (double)(stage->steps - 1) / (double)(count - 1) + 0.5) : 0;
            json_t *point = prn__json_array(json, points, NULL);
            prn__json_integer(json, point, NULL, first + update);
            prn__json_real(json, point, NULL, shown_rate(stage->rates[update]));
        }
        first += stage->steps;
    }
}
