/* core/report/compare_report.c: see compare_report.h.
 *
 * Scores of two runs are set against each other only where every evaluation set of the task is the same in both: the same data, and the
 * same of what else scores depend on.
 */
#include "report/compare_report.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/json.h"
#include "report/table.h"

enum { METRICS = 8, MEANS = 4, NAME_BYTES = 256 };
static const char *const metric_names[METRICS] = {"in_domain", "backward", "forward", "forgetting", "next_domain", "gem_bwt", "gem_fwt", "regret"};
static const char *const metric_heads[METRICS] = {"in-domain", "backward", "forward", "forgetting", "next domain", "GEM BWT", "GEM FWT", "regret"};

static double metric_of(const prn__transfer *t, int metric)
{
    const double values[METRICS] = {t->in_domain, t->backward, t->forward, t->forgetting, t->next_domain, t->gem_bwt, t->gem_fwt, t->regret};
    return values[metric];
}

/* ---- what can be compared ---------------------------------------------------------------------------------------------------------- */

typedef enum sameness { SAME, OTHER_STEPS, OTHER_SETS, NO_SETS } sameness;
static const char *const sameness_names[] = {"same", "other_time_steps", "other_sets", "not_evaluated"};

static int same_steps(const prn__results *a, const prn__results *b)
{
    int same = a->step_count == b->step_count;
    for (uint32_t t = 0; t < a->step_count && same; t++) {
        same = strcmp(a->step_names[t], b->step_names[t]) == 0;
    }
    return same;
}

static const char *key_of(const prn__set_keys *sets, uint32_t time_step, const char *task)
{
    for (size_t i = 0; i < sets->count; i++) {
        if (sets->sets[i].time_step == time_step && strcmp(sets->sets[i].task, task) == 0) {
            return sets->sets[i].key;
        }
    }
    return NULL;
}

/* `where` (may be NULL): the first time step whose sets differ, from 1. */
static sameness task_sameness(const prn__compared *a, const prn__compared *b, const char *task, uint32_t *where)
{
    size_t known = 0;
    if (!same_steps(a->results, b->results)) {
        return OTHER_STEPS;
    }
    for (uint32_t t = 1; t <= a->results->step_count; t++) {
        const char *mine = key_of(a->sets, t, task), *theirs = key_of(b->sets, t, task);
        known += mine != NULL && theirs != NULL;
        if ((mine == NULL) != (theirs == NULL) || (mine != NULL && strcmp(mine, theirs) != 0)) {
            if (where != NULL) {
                *where = t;
            }
            return mine == NULL || theirs == NULL ? NO_SETS : OTHER_SETS;
        }
    }
    return known > 0 ? SAME : NO_SETS;
}

static const prn__result_strategy *strategy_of(const prn__results *results, const char *label)
{
    for (size_t s = 0; s < results->strategy_count; s++) {
        if (strcmp(results->strategies[s].label, label) == 0) {
            return &results->strategies[s];
        }
    }
    return NULL;
}

static const prn__result_score *score_of(const prn__results *results, const prn__result_strategy *strategy, const char *task, const char *wanted)
{
    for (size_t k = 0; strategy != NULL && k < results->task_count; k++) {
        const prn__result_task *it = &strategy->tasks[k];
        for (size_t n = 0; strcmp(it->name, task) == 0 && n < it->score_count; n++) {
            if (wanted == NULL || strcmp(it->scores[n].name, wanted) == 0) {
                return &it->scores[n];
            }
        }
    }
    return NULL;
}

/* 1 when no run before this one has the name. */
static int is_first_with_strategy(const prn__compared *runs, size_t run, const char *label)
{
    for (size_t i = 0; i < run; i++) {
        if (strategy_of(runs[i].results, label) != NULL) {
            return 0;
        }
    }
    return 1;
}

static const prn__result_task *task_at(const prn__compared *run, size_t k)
{
    return run->results->strategy_count > 0 ? &run->results->strategies[0].tasks[k] : NULL;
}

static int has_task(const prn__compared *run, const char *name)
{
    for (size_t k = 0; k < run->results->task_count && run->results->strategy_count > 0; k++) {
        if (strcmp(task_at(run, k)->name, name) == 0) {
            return 1;
        }
    }
    return 0;
}

static int is_first_with_task(const prn__compared *runs, size_t run, const char *name)
{
    for (size_t i = 0; i < run; i++) {
        if (has_task(&runs[i], name)) {
            return 0;
        }
    }
    return 1;
}

/* ---- what recipes differ in ------------------------------------------------------------------------------------------------------------ */

typedef void (*difference_visit)(void *context, const char *key, const json_t *before, const json_t *after);

static const json_t *labelled(const json_t *array, const char *label)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *item = json_array_get(array, i);
        const char *name = json_string_value(json_object_get(item, "label"));
        if (name != NULL && strcmp(name, label) == 0) {
            return item;
        }
    }
    return NULL;
}

static void differ(const json_t *a, const json_t *b, const char *key, int depth, difference_visit visit, void *context);

static void differ_at(const json_t *a, const json_t *b, const char *key, const char *name, int depth, difference_visit visit, void *context)
{
    char below[NAME_BYTES];
    (void)snprintf(below, sizeof below, "%s%s%s", key, key[0] != '\0' ? "." : "", name);
    differ(a, b, below, depth + 1, visit, context);
}

static void differ_labelled(const json_t *a, const json_t *b, const char *key, int depth, difference_visit visit, void *context)
{
    for (int side = 0; side < 2; side++) {
        const json_t *from = side == 0 ? a : b;
        for (size_t i = 0; i < json_array_size(from); i++) {
            const json_t *item = json_array_get(from, i);
            const char *label = json_string_value(json_object_get(item, "label"));
            if (side == 0) {
                differ_at(item, labelled(b, label), key, label, depth, visit, context);
            } else if (labelled(a, label) == NULL) {
                differ_at(NULL, item, key, label, depth, visit, context);
            }
        }
    }
}

static int is_labelled(const json_t *array)
{
    int all = json_is_array(array) && json_array_size(array) > 0;
    for (size_t i = 0; all && i < json_array_size(array); i++) {
        all = json_is_string(json_object_get(json_array_get(array, i), "label"));
    }
    return all;
}

/* Key by key where both sides are tables; lists of strategies by their labels; anything else as a whole. */
static void differ(const json_t *a, const json_t *b, const char *key, int depth, difference_visit visit, void *context)
{
    const char *name;
    json_t *value;
    if (a != NULL && b != NULL && json_equal(a, b)) {
        return;
    }
    if (depth < 16 && json_is_object(a) && json_is_object(b)) {
        json_object_foreach((json_t *)(uintptr_t)a, name, value) {
            differ_at(value, json_object_get(b, name), key, name, depth, visit, context);
        }
        json_object_foreach((json_t *)(uintptr_t)b, name, value) {
            if (json_object_get(a, name) == NULL) {
                differ_at(NULL, value, key, name, depth, visit, context);
            }
        }
    } else if (depth < 16 && is_labelled(a) && is_labelled(b)) {
        differ_labelled(a, b, key, depth, visit, context);
    } else {
        visit(context, key, a, b);
    }
}

static void each_difference(const prn__compared *a, const prn__compared *b, difference_visit visit, void *context)
{
    json_t *before = json_loads(a->timeline->resolved, 0, NULL), *after = json_loads(b->timeline->resolved, 0, NULL);
    if (before != NULL && after != NULL) {
        differ(before, after, "", 0, visit, context);
    }
    json_decref(before);
    json_decref(after);
}

/* ---- text -------------------------------------------------------------------------------------------------------------------------------- */

static void put_safe(prn__text *target, const char *string)
{
    prn__text_append_safe(target, string, strlen(string), 0);
}

static void put_name(prn__text *target, const prn__compared *runs, size_t i)
{
    prn__text_printf(target, "[%zu] ", i + 1);
    put_safe(target, runs[i].workspace);
    prn__text_printf(target, ", run %" PRId64 " (", runs[i].results->run.id);
    put_safe(target, runs[i].results->run.name);
    prn__text_puts(target, ")");
}

static void print_heads(const prn__compared *runs, size_t count, prn__text *target)
{
    for (size_t i = 0; i < count; i++) {
        const prn__run_info *run = &runs[i].results->run;
        put_name(target, runs, i);
        prn__text_puts(target, ": ");
        put_safe(target, run->state);
        prn__text_printf(target, ", %u of %u stages, ", run->stages_done, run->stage_count);
        put_safe(target, run->stream);
        prn__text_puts(target, ", ");
        put_safe(target, run->model);
        prn__text_puts(target, "\n");
    }
}

/* Returns whether something cannot be compared. */
static int print_sameness(const prn__compared *runs, size_t count, prn__text *target)
{
    int bad = 0;
    for (size_t i = 1; i < count; i++) {
        if (!same_steps(runs[0].results, runs[i].results)) {
            prn__text_printf(target, "NOT COMPARABLE: [%zu] has other time steps than [1]; no differences are shown\n", i + 1);
            bad = 1;
            continue;
        }
        for (size_t k = 0; k < runs[0].results->task_count && runs[0].results->strategy_count > 0; k++) {
            const char *task = task_at(&runs[0], k)->name;
            uint32_t where = 0;
            sameness how = task_sameness(&runs[0], &runs[i], task, &where);
            if (how == SAME) {
                continue;
            }
            bad = 1;
            prn__text_puts(target, "NOT COMPARABLE: ");
            put_safe(target, task);
            if (where == 0) {
                prn__text_printf(target, " is evaluated in neither [1] nor [%zu]\n", i + 1);
                continue;
            }
            prn__text_puts(target, " of time step ");
            put_safe(target, runs[0].results->step_names[where - 1]);
            prn__text_printf(target, how == OTHER_SETS ? " is another evaluation set in [%zu] than in [1]; its differences are not shown\n"
                                                       : " is not an evaluation set of both [1] and [%zu]; its differences are not shown\n", i + 1);
        }
    }
    if (!bad) {
        prn__text_puts(target, "comparable: the same time steps, the same evaluation sets\n");
    }
    return bad;
}

static void put_value(prn__table *table, double value, double base, int with_difference)
{
    if (!isfinite(value)) {
        prn__table_cell(table, "-");
    } else if (with_difference && isfinite(base)) {
        prn__table_cell(table, "%.1f (%+.1f)", 100 * value, 100 * (value - base));
    } else {
        prn__table_cell(table, "%.1f", 100 * value);
    }
}

static void print_task(const prn__compared *runs, size_t count, const char *task, const prn__compare_view *view, prn__text *target)
{
    const int metrics = view->all_metrics ? METRICS : MEANS;
    const char *shown = NULL;
    prn__table *table = prn__table_create();
    prn__table_column(table, "strategy", 'l');
    prn__table_column(table, "run", 'l');
    for (int m = 0; m < metrics; m++) {
        prn__table_column(table, metric_heads[m], 'r');
    }
    for (size_t i = 0; i < count; i++) {
        for (size_t s = 0; s < runs[i].results->strategy_count; s++) {
            const char *label = runs[i].results->strategies[s].label;
            const prn__result_score *base = score_of(runs[0].results, strategy_of(runs[0].results, label), task, view->score);
            if (!is_first_with_strategy(runs, i, label)) {
                continue;
            }
            for (size_t r = i; r < count; r++) {
                const prn__result_score *score = score_of(runs[r].results, strategy_of(runs[r].results, label), task, view->score);
                if (score == NULL) {
                    continue;
                }
                const int comparable = r > 0 && base != NULL && strcmp(base->name, score->name) == 0 &&
                                       task_sameness(&runs[0], &runs[r], task, NULL) == SAME;
                shown = score->name;
                prn__table_cell(table, "%s", label);
                prn__table_cell(table, "[%zu]", r + 1);
                for (int m = 0; m < metrics; m++) {
                    put_value(table, metric_of(&score->transfer, m), base != NULL ? metric_of(&base->transfer, m) : NAN, comparable);
                }
            }
        }
    }
    if (shown != NULL) {
        prn__text_puts(target, "\n");
        put_safe(target, task);
        prn__text_puts(target, ": ");
        put_safe(target, shown);
        prn__text_puts(target, " in percent (difference to [1] in points)\n");
        prn__table_print(table, 2, target);
    }
    prn__table_destroy(table);
}

static void print_costs(const prn__compared *runs, size_t count, prn__text *target)
{
    char number[32];
    prn__table *table = prn__table_create();
    prn__table_column(table, "strategy", 'l');
    prn__table_column(table, "run", 'l');
    prn__table_column(table, "forward MACs", 'r');
    prn__table_column(table, "total MACs", 'r');
    prn__table_column(table, "samples", 'r');
    prn__table_column(table, "trained for", 'r');
    for (size_t i = 0; i < count; i++) {
        for (size_t s = 0; s < runs[i].results->strategy_count; s++) {
            const char *label = runs[i].results->strategies[s].label;
            const prn__result_strategy *base = strategy_of(runs[0].results, label);
            for (size_t r = is_first_with_strategy(runs, i, label) ? i : count; r < count; r++) {
                const prn__result_strategy *strategy = strategy_of(runs[r].results, label);
                double seconds = 0;
                if (strategy == NULL) {
                    continue;
                }
                for (uint32_t t = 0; t < runs[r].results->step_count; t++) {
                    seconds += strategy->stages[t].seconds;
                }
                prn__table_cell(table, "%s", label);
                prn__table_cell(table, "[%zu]", r + 1);
                for (int m = 0; m < 2; m++) {
                    const double value = m == 0 ? strategy->forward_macs : strategy->total_macs;
                    const double first = base == NULL ? 0 : m == 0 ? base->forward_macs : base->total_macs;
                    (void)prn__format_si(value, number, sizeof number);
                    if (r > 0 && first > 0) {
                        prn__table_cell(table, "%s (x %.2f)", number, value / first);
                    } else {
                        prn__table_cell(table, "%s", number);
                    }
                }
                prn__table_count(table, strategy->samples);
                prn__table_cell(table, "%s", prn__format_duration(seconds, number, sizeof number));
            }
        }
    }
    prn__text_puts(target, "\ncosts (share of [1])\n");
    prn__table_print(table, 2, target);
    prn__table_destroy(table);
}

typedef struct difference_lines {
    prn__text *target;
    size_t count;
} difference_lines;

static void put_json_value(prn__text *target, const json_t *value)
{
    char digits[40];
    if (value == NULL) {
        prn__text_puts(target, "(not there)");
    } else if (json_is_real(value)) {
        prn__text_puts(target, prn__format_real(json_real_value(value), digits));
    } else if (json_is_string(value)) {
        put_safe(target, json_string_value(value));
    } else {
        char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
        target->failed |= text == NULL;
        put_safe(target, text != NULL ? text : "");
        free(text);
    }
}

static void print_difference(void *context, const char *key, const json_t *before, const json_t *after)
{
    difference_lines *lines = context;
    lines->count++;
    prn__text_puts(lines->target, "  ");
    put_safe(lines->target, key);
    prn__text_puts(lines->target, ": ");
    put_json_value(lines->target, before);
    prn__text_puts(lines->target, " -> ");
    put_json_value(lines->target, after);
    prn__text_puts(lines->target, "\n");
}

void prn__compare_print(const prn__compared *runs, size_t count, const prn__compare_view *view, prn__text *target)
{
    print_heads(runs, count, target);
    prn__text_puts(target, "\n");
    (void)print_sameness(runs, count, target);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < runs[i].results->task_count && runs[i].results->strategy_count > 0; k++) {
            if (is_first_with_task(runs, i, task_at(&runs[i], k)->name)) {
                print_task(runs, count, task_at(&runs[i], k)->name, view, target);
            }
        }
    }
    print_costs(runs, count, target);
    for (size_t i = 1; i < count; i++) {
        difference_lines lines = {.target = target};
        prn__text_printf(target, "\nrecipe, [1] -> [%zu]\n", i + 1);
        each_difference(&runs[0], &runs[i], print_difference, &lines);
        if (lines.count == 0) {
            prn__text_puts(target, "  no value differs\n");
        }
    }
}

/* ---- JSON ---------------------------------------------------------------------------------------------------------------------------------- */

typedef struct difference_list {
    prn__json *json;
    json_t *array;
} difference_list;

static void put_copy(prn__json *json, json_t *object, const char *key, const json_t *value)
{
    json_t *copy = value != NULL ? json_deep_copy(value) : json_null();
    if (copy == NULL || json_object_set_new(object, key, copy) != 0) {
        json->failed = 1;
    }
}

static void add_difference(void *context, const char *key, const json_t *before, const json_t *after)
{
    difference_list *list = context;
    json_t *object = prn__json_object(list->json, list->array, NULL);
    prn__json_string(list->json, object, "key", key);
    put_copy(list->json, object, "first", before);
    put_copy(list->json, object, "this", after);
}

static void put_strategy(prn__json *json, json_t *parent, const prn__compared *runs, size_t r, const prn__result_strategy *strategy,
                         const prn__compare_view *view)
{
    const prn__result_strategy *first = strategy_of(runs[0].results, strategy->label);
    json_t *object = prn__json_object(json, parent, strategy->label), *tasks;
    prn__json_real(json, object, "forward_macs", strategy->forward_macs);
    prn__json_real(json, object, "total_macs", strategy->total_macs);
    prn__json_integer(json, object, "samples", strategy->samples);
    prn__json_real(json, object, "forward_macs_share", first != NULL && first->forward_macs > 0 ? strategy->forward_macs / first->forward_macs : NAN);
    prn__json_real(json, object, "total_macs_share", first != NULL && first->total_macs > 0 ? strategy->total_macs / first->total_macs : NAN);
    tasks = prn__json_object(json, object, "tasks");
    for (size_t k = 0; k < runs[r].results->task_count; k++) {
        const char *name = strategy->tasks[k].name;
        const prn__result_score *score = score_of(runs[r].results, strategy, name, view->score), *base = score_of(runs[0].results, first, name, view->score);
        if (score == NULL) {
            continue;
        }
        const int comparable = base != NULL && strcmp(base->name, score->name) == 0 && task_sameness(&runs[0], &runs[r], name, NULL) == SAME;
        json_t *task = prn__json_object(json, tasks, name);
        prn__json_string(json, task, "score", score->name);
        for (int m = 0; m < METRICS; m++) {
            prn__json_real(json, task, metric_names[m], metric_of(&score->transfer, m));
        }
        json_t *differences = prn__json_object(json, task, "differences");
        for (int m = 0; m < METRICS; m++) {
            prn__json_real(json, differences, metric_names[m], comparable ? metric_of(&score->transfer, m) - metric_of(&base->transfer, m) : NAN);
        }
    }
}

void prn__compare_json(const prn__compared *runs, size_t count, const prn__compare_view *view, prn__text *target)
{
    prn__json json = {0};
    int all = 1;
    json_t *root = prn__json_object(&json, NULL, NULL), *list = prn__json_array(&json, root, "runs");
    for (size_t i = 0; i < count; i++) {
        json_t *run = prn__json_object(&json, list, NULL), *comparable;
        prn__json_string(&json, run, "workspace", runs[i].workspace);
        prn__json_integer(&json, run, "id", runs[i].results->run.id);
        prn__json_string(&json, run, "name", runs[i].results->run.name);
        prn__json_string(&json, run, "state", runs[i].results->run.state);
        prn__json_string(&json, run, "stream", runs[i].results->run.stream);
        prn__json_boolean(&json, run, "same_time_steps", same_steps(runs[0].results, runs[i].results));
        comparable = prn__json_object(&json, run, "sets");
        for (size_t k = 0; k < runs[i].results->task_count && runs[i].results->strategy_count > 0; k++) {
            const sameness how = task_sameness(&runs[0], &runs[i], task_at(&runs[i], k)->name, NULL);
            all = all && how == SAME;
            prn__json_string(&json, comparable, task_at(&runs[i], k)->name, sameness_names[how]);
        }
        for (size_t k = 0; k < runs[0].results->task_count && runs[0].results->strategy_count > 0; k++) {
            if (!has_task(&runs[i], task_at(&runs[0], k)->name)) {
                all = 0;
                prn__json_string(&json, comparable, task_at(&runs[0], k)->name, sameness_names[NO_SETS]);
            }
        }
        json_t *strategies = prn__json_object(&json, run, "strategies");
        for (size_t s = 0; s < runs[i].results->strategy_count; s++) {
            put_strategy(&json, strategies, runs, i, &runs[i].results->strategies[s], view);
        }
        difference_list differences = {.json = &json, .array = prn__json_array(&json, run, "recipe_differences")};
        if (i > 0) {
            each_difference(&runs[0], &runs[i], add_difference, &differences);
        }
    }
    prn__json_boolean(&json, root, "comparable", all);
    prn__json_finish(&json, root, target);
}
