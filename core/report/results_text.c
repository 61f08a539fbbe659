/* core/report/results_text.c: see results_report.h. */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "report/results_report.h"
#include "report/score_colour.h"
#include "report/table.h"

enum { MAX_NAMES = 256 };

static const prn__result_score *score_of(const prn__result_task *task, const char *name)
{
    for (size_t i = 0; i < task->score_count; i++) {
        if (strcmp(task->scores[i].name, name) == 0) {
            return &task->scores[i];
        }
    }
    return NULL;
}

prn_status prn__results_check_score(const prn__results *results, const char *score, prn_error *error)
{
    const char *names[MAX_NAMES];
    char suggestion[128];
    prn__text known;
    size_t count = 0;
    for (size_t k = 0; k < results->task_count && results->strategy_count > 0; k++) {
        const prn__result_task *task = &results->strategies[0].tasks[k];
        for (size_t i = 0; i < task->score_count && count < MAX_NAMES; i++) {
            int seen = 0;
            for (size_t n = 0; n < count; n++) {
                seen |= strcmp(names[n], task->scores[i].name) == 0;
            }
            if (!seen) {
                names[count++] = task->scores[i].name;
            }
        }
        if (score_of(task, score) != NULL) {
            return PRN_OK;
        }
    }
    prn__text_init(&known);
    for (size_t n = 0; n < count; n++) {
        prn__text_printf(&known, "%s%s", n > 0 ? ", " : "", names[n]);
    }
    prn_status status = prn_error_set(error, PRN_NOT_FOUND, "no score '%s' in these results%s; there are: %s", score,
                                      prn__suggest_text(score, names, count, suggestion, sizeof suggestion),
                                      count > 0 && !known.failed ? known.data : "none yet");
    prn__text_fini(&known);
    return status;
}

/* ---- one score of one task ------------------------------------------------------------------------------------------------ */

static void print_matrix(const prn__results *results, const prn__result_strategy *strategy, const prn__result_score *score, prn__text *target)
{
    prn__table *table = prn__table_create();
    uint32_t steps = results->step_count;
    prn__table_column(table, strategy->label, 'l');
    for (uint32_t j = 0; j < steps; j++) {
        prn__table_column(table, results->step_names[j], 'r');
    }
    for (uint32_t i = 0; i < steps; i++) {
        prn__table_cell(table, "  after %s", results->step_names[i]);
        for (uint32_t j = 0; j < steps; j++) {
            prn__table_percent(table, score->matrix[(size_t)i * steps + j]);
        }
    }
    prn__table_print(table, 2, target);
    prn__text_puts(target, "\n");
    prn__table_destroy(table);
}

static void put_safe(prn__text *target, const char *string)
{
    prn__text_append_safe(target, string, strlen(string), 0);
}

static void put_spaces(prn__text *target, size_t count)
{
    prn__text_printf(target, "%*s", (int)count, "");
}

/* The nearest of the 216 colours that a terminal with 256 has in a cube. */
static unsigned cube_colour(uint32_t colour)
{
    unsigned index = 0;
    for (int shift = 16; shift >= 0; shift -= 8) {
        unsigned level = colour >> shift & 255;
        index = 6 * index + (level < 48 ? 0 : level < 115 ? 1 : (level - 35) / 40);
    }
    return 16 + index;
}

static void put_shade(prn__text *target, double value, double top, int colours)
{
    uint32_t colour = prn__score_colour(top > 0 ? value / top : 0);
    unsigned ink = prn__colour_luminance(colour) > 0.28 ? 16 : 231;
    if (colours > 256) {
        prn__text_printf(target, "\033[38;5;%u;48;2;%u;%u;%um", ink, colour >> 16, colour >> 8 & 255, colour & 255);
    } else {
        prn__text_printf(target, "\033[38;5;%u;48;5;%um", ink, cube_colour(colour));
    }
}

static double best_of(const prn__results *results, size_t task, const char *name)
{
    double best = 0;
    for (size_t s = 0; s < results->strategy_count; s++) {
        const prn__result_score *score = score_of(&results->strategies[s].tasks[task], name);
        for (size_t i = 0; i < (size_t)results->step_count * results->step_count && score != NULL; i++) {
            best = fmax(best, score->matrix[i]);
        }
    }
    return best;
}

/* The same lines as print_matrix, each score on its colour; one scale for all strategies, from 0 to `top`. */
static void print_shaded(const prn__results *results, const prn__result_strategy *strategy, const prn__result_score *score, double top, int colours,
                         prn__text *target)
{
    const uint32_t steps = results->step_count;
    size_t head = prn__text_cells(strategy->label);
    for (uint32_t i = 0; i < steps; i++) {
        size_t cells = prn__text_cells(results->step_names[i]) + 8;
        head = cells > head ? cells : head;
    }
    put_spaces(target, 2);
    put_safe(target, strategy->label);
    put_spaces(target, head - prn__text_cells(strategy->label) + 1);
    for (uint32_t j = 0; j < steps; j++) {
        size_t cells = prn__text_cells(results->step_names[j]);
        put_spaces(target, cells < 4 ? 5 - cells : 1);
        put_safe(target, results->step_names[j]);
        put_spaces(target, 1);
    }
    prn__text_puts(target, "\n");
    for (uint32_t i = 0; i < steps; i++) {
        prn__text_puts(target, "    after ");
        put_safe(target, results->step_names[i]);
        put_spaces(target, head - prn__text_cells(results->step_names[i]) - 7);
        for (uint32_t j = 0; j < steps; j++) {
            const double value = score->matrix[(size_t)i * steps + j];
            const size_t cells = prn__text_cells(results->step_names[j]);
            char number[32] = "-";
            if (isfinite(value)) {
                (void)snprintf(number, sizeof number, "%.1f", 100 * value);
                put_shade(target, value, top, colours);
            }
            prn__text_printf(target, " %*s %s", (int)(cells < 4 ? 4 : cells), number, isfinite(value) ? "\033[0m" : "");
        }
        prn__text_puts(target, "\n");
    }
    prn__text_puts(target, "\n");
}

/* A column of nothing but dashes says nothing: regret is there only where the run has an oracle. */
static int has_regret(const prn__results *results, size_t task, const char *name)
{
    int any = 0;
    for (size_t s = 0; s < results->strategy_count; s++) {
        const prn__result_score *score = score_of(&results->strategies[s].tasks[task], name);
        any |= score != NULL && isfinite(score->transfer.regret);
    }
    return any;
}

static void print_comparison(const prn__results *results, size_t task, const char *name, prn__text *target)
{
    static const char *const heads[] = {"in-domain", "backward", "forward", "forgetting", "next-domain"};
    prn__table *table = prn__table_create();
    int regret = has_regret(results, task, name);
    prn__table_column(table, "strategy", 'l');
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        prn__table_column(table, heads[i], 'r');
    }
    if (regret) {
        prn__table_column(table, "regret", 'r');
    }
    prn__table_column(table, "forward MACs", 'r');
    int has_teacher = 0, has_tuning = 0;
    for (size_t s = 0; s < results->strategy_count; s++) {
        has_teacher |= results->strategies[s].teacher_macs > 0;
        has_tuning |= results->strategies[s].tuning_macs > 0;
    }
    if (has_teacher) {
        prn__table_column(table, "teacher", 'r');
    }
    if (has_tuning) {
        prn__table_column(table, "tuning", 'r');
    }
    prn__table_column(table, "samples", 'r');
    for (size_t s = 0; s < results->strategy_count; s++) {
        const prn__result_strategy *strategy = &results->strategies[s];
        const prn__result_score *score = score_of(&strategy->tasks[task], name);
        static const prn__transfer none = {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
        const prn__transfer *t = score != NULL ? &score->transfer : &none;
        prn__table_cell(table, "%s", strategy->label);
        prn__table_percent(table, t->in_domain);
        prn__table_percent(table, t->backward);
        prn__table_percent(table, t->forward);
        prn__table_percent(table, t->forgetting);
        prn__table_percent(table, t->next_domain);
        if (regret) {
            prn__table_percent(table, t->regret);
        }
        prn__table_si(table, strategy->forward_macs);
        if (has_teacher) {
            prn__table_si(table, strategy->teacher_macs);
        }
        if (has_tuning) {
            prn__table_si(table, strategy->tuning_macs);
        }
        prn__table_count(table, strategy->samples);
    }
    prn__table_print(table, 2, target);
    prn__table_destroy(table);
}

static void print_task(const prn__results *results, size_t task, const char *name, const prn__results_view *view, prn__text *target)
{
    prn__text_puts(target, "\n");
    prn__text_append_safe(target, results->strategies[0].tasks[task].name, strlen(results->strategies[0].tasks[task].name), 0);
    prn__text_puts(target, ": ");
    put_safe(target, name);
    prn__text_printf(target, " in percent%s\n", view->summary ? "" : "; rows: after training on a step, columns: tested on a step's task");
    if (!view->summary) {
        const double top = best_of(results, task, name);
        prn__text_puts(target, "\n");
        for (size_t s = 0; s < results->strategy_count; s++) {
            const prn__result_score *score = score_of(&results->strategies[s].tasks[task], name);
            if (score != NULL && view->colours > 0) {
                print_shaded(results, &results->strategies[s], score, top, view->colours, target);
            } else if (score != NULL) {
                print_matrix(results, &results->strategies[s], score, target);
            }
        }
    }
    print_comparison(results, task, name, target);
}

/* ---- the whole ------------------------------------------------------------------------------------------------------------- */

/* "auto" says what was asked for; the record of the last attempt says what it was. Caller frees. */
static char *backend_of(const prn__results *results)
{
    json_t *facts = results->environment != NULL ? json_loads(results->environment, 0, NULL) : NULL;
    const char *name = json_string_value(json_object_get(json_object_get(facts, "device"), "backend"));
    char *copy = prn__strdup(name != NULL ? name : results->run.backend);
    json_decref(facts);
    return copy;
}

static void print_head(const prn__results *results, prn__text *target)
{
    const prn__run_info *run = &results->run;
    char *backend = backend_of(results);
    prn__text line;
    prn__text_init(&line);
    prn__text_printf(&line, "run %" PRId64 " '%s', %s", run->id, run->name, run->state);
    if (run->stages_done < run->stage_count) {
        prn__text_printf(&line, " (%u of %u stages done)", run->stages_done, run->stage_count);
    }
    prn__text_printf(&line, ": %s over %u time steps, %s, backend %s, batch %" PRId64 ", seed %" PRId64 ", started %s", run->stream, run->step_count,
                     run->model, backend != NULL ? backend : run->backend, run->batch, run->seed, run->started);
    prn__text_append_safe(target, line.data != NULL ? line.data : "", line.length, 0);
    target->failed |= line.failed;
    prn__text_puts(target, "\n");
    if (strcmp(run->state, "failed") == 0 && run->message[0] != '\0') {
        prn__text_puts(target, "it failed: ");
        prn__text_append_safe(target, run->message, strlen(run->message), 0);
        prn__text_puts(target, "\n");
    }
    prn__text_fini(&line);
    prn__free(backend);
}

static void print_skips(const prn__results *results, prn__text *target)
{
    const char *reasons[32];
    int64_t counts[32], total = 0;
    size_t count = 0;
    char number[32];
    for (size_t i = 0; i < results->skip_count; i++) {
        size_t r = 0;
        while (r < count && strcmp(reasons[r], results->skips[i].reason) != 0) {
            r++;
        }
        if (r == count && count < sizeof reasons / sizeof reasons[0]) {
            reasons[count] = results->skips[i].reason;
            counts[count++] = 0;
        }
        if (r < count) {
            counts[r] += results->skips[i].count;
        }
        total += results->skips[i].count;
    }
    if (total == 0) {
        return;
    }
    prn__text_printf(target, "\nskipped while training: %s samples (", prn__format_count(total, number, sizeof number));
    for (size_t r = 0; r < count; r++) {
        prn__text_printf(target, "%s%s ", r > 0 ? ", " : "", prn__format_count(counts[r], number, sizeof number));
        put_safe(target, reasons[r]);
    }
    prn__text_puts(target, "); `perennial data verify` names them\n");
}

static void print_other_scores(const prn__results *results, const prn__results_view *view, prn__text *target)
{
    size_t more = 0;
    if (view->all_scores || view->summary || results->strategy_count == 0) {
        return;
    }
    for (size_t k = 0; k < results->task_count; k++) {
        const prn__result_task *task = &results->strategies[0].tasks[k];
        const char *shown = view->score != NULL ? view->score : task->scores[0].name;
        int is_listed = 0;
        for (size_t i = 0; i < task->score_count; i++) {
            if (strcmp(task->scores[i].name, shown) == 0) {
                continue;
            }
            if (!is_listed) {
                prn__text_puts(target, more == 0 ? "\nfurther scores (--score NAME or --all-scores)\n  " : "\n  ");
                put_safe(target, task->name);
                prn__text_puts(target, ": ");
            } else {
                prn__text_puts(target, ", ");
            }
            put_safe(target, task->scores[i].name);
            is_listed = 1;
            more++;
        }
    }
    prn__text_puts(target, more > 0 ? "\n" : "");
}

void prn__results_print(const prn__results *results, const prn__results_view *view, prn__text *target)
{
    print_head(results, target);
    if (results->task_count == 0 || results->strategy_count == 0) {
        prn__text_puts(target, "\nnothing was scored: the stream has no evaluation sets, or the recipe chose none\n");
    }
    for (size_t k = 0; k < results->task_count && results->strategy_count > 0; k++) {
        const prn__result_task *task = &results->strategies[0].tasks[k];
        for (size_t i = 0; i < task->score_count; i++) {
            const char *name = task->scores[i].name;
            if (view->all_scores || (view->score != NULL ? strcmp(name, view->score) == 0 : i == 0)) {
                print_task(results, k, name, view, target);
            }
        }
    }
    print_skips(results, target);
    print_other_scores(results, view, target);
}

void prn__run_list_print(const prn__run_list *list, prn__text *target)
{
    prn__table *table = prn__table_create();
    static const char *const heads[] = {"run", "name", "state", "started", "stages", "stream", "model", "backend"};
    int has_sweep = 0;
    for (size_t i = 0; i < list->count; i++) {
        has_sweep |= list->runs[i].sweep[0] != '\0';
    }
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        prn__table_column(table, heads[i], i == 0 ? 'r' : 'l');
    }
    if (has_sweep) {
        prn__table_column(table, "sweep", 'l');
        prn__table_column(table, "setting", 'l');
    }
    for (size_t i = 0; i < list->count; i++) {
        const prn__run_info *run = &list->runs[i];
        prn__table_cell(table, "%" PRId64, run->id);
        prn__table_cell(table, "%s", run->name);
        prn__table_cell(table, "%s", run->state);
        prn__table_cell(table, "%s", run->started);
        prn__table_cell(table, "%u of %u", run->stages_done, run->stage_count);
        prn__table_cell(table, "%s", run->stream);
        prn__table_cell(table, "%s", run->model);
        prn__table_cell(table, "%s", run->backend);
        if (has_sweep) {
            prn__table_cell(table, "%.8s", run->sweep[0] != '\0' ? run->sweep : "-");
            prn__table_cell(table, "%s", run->settings[0] != '\0' ? run->settings : "-");
        }
    }
    prn__table_print(table, 0, target);
    prn__table_destroy(table);
}
