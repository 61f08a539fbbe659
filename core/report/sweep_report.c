/* core/report/sweep_report.c: the results of a sweep as text; see sweep_report.h. */
#include "report/sweep_report.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/table.h"

enum { RUNS_SHOWN = 60, MAX_NAMES = 256 };

static const prn__sweep_task *shape_task(const prn__sweep_results *sweep, size_t task)
{
    for (size_t k = 0; k < sweep->strategy_count; k++) {
        if (sweep->strategies[k].row_count > 0) {
            return &sweep->strategies[k].rows[0].tasks[task];
        }
    }
    return NULL;
}

static const prn__sweep_score *score_of(const prn__sweep_task *task, const char *name)
{
    for (size_t i = 0; i < task->score_count; i++) {
        if (strcmp(task->scores[i].name, name) == 0) {
            return &task->scores[i];
        }
    }
    return NULL;
}

prn_status prn__sweep_check_score(const prn__sweep_results *sweep, const char *score, prn_error *error)
{
    const char *names[MAX_NAMES];
    char suggestion[128];
    size_t count = 0;
    for (size_t k = 0; k < sweep->task_count; k++) {
        const prn__sweep_task *task = shape_task(sweep, k);
        if (task == NULL || score_of(task, score) != NULL) {
            return PRN_OK;
        }
        for (size_t i = 0; i < task->score_count && count < MAX_NAMES; i++) {
            names[count++] = task->scores[i].name;
        }
    }
    return prn_error_set(error, PRN_NOT_FOUND, "no score '%s' in this sweep%s; `perennial results --all-scores` shows all", score,
                         prn__suggest_text(score, names, count, suggestion, sizeof suggestion));
}

/* Whether there is anything to choose from, as far as the begun runs tell. */
static int has_choice(const prn__sweep_results *sweep)
{
    return sweep->setting_count > 1 || (sweep->is_provisional && sweep->name_count > 0);
}

/* ---- cells ------------------------------------------------------------------------------------------------------------------------ */

static void statistic_cell(prn__table *table, const prn__statistic *s)
{
    if (s->n == 0) {
        prn__table_cell(table, "-");
    } else if (s->n == 1) {
        prn__table_cell(table, "%.1f", 100 * s->mean);
    } else {
        prn__table_cell(table, "%.1f ± %.1f", 100 * s->mean, 100 * s->deviation);
    }
}

static const char *value_of(const prn__sweep_setting_values *setting, const char *name)
{
    for (size_t v = 0; v < setting->value_count; v++) {
        if (strcmp(setting->values[v].name, name) == 0) {
            return setting->values[v].value;
        }
    }
    return NULL;
}

static void plain_cell(prn__table *table, const char *value)
{
    const size_t length = value != NULL ? strlen(value) : 0;
    const int is_string = length >= 2 && value[0] == '"';
    prn__table_cell(table, "%.*s", value == NULL ? 1 : (int)(length - (is_string ? 2 : 0)), value == NULL ? "-" : is_string ? value + 1 : value);
}

/* One cell for each name: "any" where the settings differ. */
static void setting_cells(prn__table *table, const prn__sweep_results *sweep, const uint32_t *settings, size_t count)
{
    for (size_t n = 0; n < sweep->name_count; n++) {
        const char *value = value_of(&sweep->settings[settings[0]], sweep->names[n]);
        int differs = 0;
        for (size_t i = 1; i < count; i++) {
            const char *other = value_of(&sweep->settings[settings[i]], sweep->names[n]);
            differs |= (other == NULL) != (value == NULL) || (other != NULL && strcmp(other, value) != 0);
        }
        if (differs) {
            prn__table_cell(table, "any");
        } else {
            plain_cell(table, value);
        }
    }
}

static void name_columns(prn__table *table, const prn__sweep_results *sweep)
{
    for (size_t n = 0; n < sweep->name_count; n++) {
        prn__table_column(table, sweep->names[n], 'r');
    }
}

/* ---- the parts -------------------------------------------------------------------------------------------------------------------- */

static void print_head(const prn__sweep_results *sweep, prn__text *target)
{
    const prn__results *first = sweep->run_count > 0 ? sweep->runs[0].results : NULL;
    prn__text line;
    prn__text_init(&line);
    prn__text_printf(&line, "sweep '%s' (%.8s): %zu setting%s, %u runs, %zu of them complete", sweep->name, sweep->identity, sweep->setting_count,
                     sweep->setting_count == 1 ? "" : "s", sweep->combinations, sweep->done_count);
    if (first != NULL) {
        prn__text_printf(&line, ": %s over %u time steps, %s, batch %" PRId64, first->run.stream, first->run.step_count, first->run.model, first->run.batch);
    }
    prn__text_append_safe(target, line.data != NULL ? line.data : "", line.length, 0);
    target->failed |= line.failed;
    prn__text_fini(&line);
    prn__text_puts(target, "\n");
    if (has_choice(sweep) && sweep->chosen_on[0] != '\0') {
        prn__text_printf(target, "chosen by: %s, %s on '%s', the mean over seeds; of each strategy by itself (*), and of all together\n", sweep->criterion,
                         sweep->score, sweep->chosen_on);
        prn__text_puts(target, sweep->is_held_out ? "that set is held out: it decides, and is not reported below\n"
                                                  : "not held out: the stream has no other set, so the best settings below were chosen on what is reported"
                                                    " of them\n");
    }
    if (sweep->is_provisional) {
        prn__text_printf(target, "provisional: %zu of %u runs are missing or not complete\n", sweep->combinations - sweep->done_count, sweep->combinations);
    }
}

static void print_task(const prn__sweep_results *sweep, size_t k, const char *score, prn__text *target)
{
    static const char *const heads[] = {"average", "in-domain", "backward", "forward", "forgetting"};
    const int is_choice = has_choice(sweep);
    prn__table *table = prn__table_create();
    if (is_choice) {
        prn__table_column(table, "", 'l');
    }
    prn__table_column(table, "strategy", 'l');
    name_columns(table, sweep);
    prn__table_column(table, "n", 'r');
    if (is_choice) {
        prn__table_column(table, "chosen by", 'r');
    }
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        prn__table_column(table, heads[i], 'r');
    }
    prn__table_column(table, "MACs in all", 'r');
    for (size_t s = 0; s < sweep->strategy_count; s++) {
        const prn__sweep_strategy *strategy = &sweep->strategies[s];
        for (size_t r = 0; r < strategy->row_count; r++) {
            const prn__sweep_row *row = &strategy->rows[r];
            const prn__sweep_score *found = score_of(&row->tasks[k], score);
            if (is_choice) {
                prn__table_cell(table, "%s", row->is_best ? "*" : "");
            }
            prn__table_cell(table, "%s", strategy->label);
            setting_cells(table, sweep, row->settings, row->setting_count);
            if (row->complete_count == row->run_count) {
                prn__table_cell(table, "%zu", row->run_count);
            } else {
                prn__table_cell(table, "%zu of %zu", row->complete_count, row->run_count);
            }
            if (is_choice) {
                statistic_cell(table, &row->criterion);
            }
            for (int metric = 0; metric < PRN__SWEEP_METRICS; metric++) {
                if (found != NULL) {
                    statistic_cell(table, &found->metrics[metric]);
                } else {
                    prn__table_cell(table, "-");
                }
            }
            prn__table_si(table, row->total_macs);
        }
    }
    prn__text_puts(target, "\n");
    const char *name = shape_task(sweep, k)->name;
    prn__text_append_safe(target, name, strlen(name), 0);
    prn__text_printf(target, ": %s in percent, mean ± sample standard deviation over n seeds\n", score);
    prn__table_print(table, 2, target);
    prn__table_destroy(table);
}

static void cost_cells(prn__table *table, double training, double tuning)
{
    prn__table_si(table, training);
    prn__table_si(table, tuning);
    if (training > 0) {
        prn__table_cell(table, "%.1f", tuning / training);
    } else {
        prn__table_cell(table, "-");
    }
}

static void print_choice(const prn__sweep_results *sweep, prn__text *target)
{
    static const char *const heads[] = {"chosen by", "training", "tuning", "tuning / training"};
    prn__table *table = prn__table_create();
    prn__table_column(table, "strategy", 'l');
    name_columns(table, sweep);
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        prn__table_column(table, heads[i], 'r');
    }
    for (size_t s = 0; s < sweep->strategy_count; s++) {
        const prn__sweep_strategy *strategy = &sweep->strategies[s];
        if (strategy->best < 0) {
            continue;
        }
        const prn__sweep_row *row = &strategy->rows[strategy->best];
        prn__table_cell(table, "%s", strategy->label);
        setting_cells(table, sweep, row->settings, row->setting_count);
        statistic_cell(table, &row->criterion);
        cost_cells(table, strategy->training_macs, strategy->tuning_macs);
    }
    if (sweep->best >= 0) {
        const uint32_t best = (uint32_t)sweep->best;
        prn__table_cell(table, "all together");
        setting_cells(table, sweep, &best, 1);
        prn__table_percent(table, sweep->settings[best].criterion);
        cost_cells(table, sweep->training_macs, sweep->tuning_macs);
    }
    prn__text_printf(target, "\nbest settings%s; training: MACs of their stages, all seeds; tuning: MACs of the stages that only other settings have\n",
                     sweep->is_provisional ? " so far" : "");
    prn__table_print(table, 2, target);
    prn__table_destroy(table);
}

static void print_runs(const prn__sweep_results *sweep, prn__text *target)
{
    prn__table *table = prn__table_create();
    prn__table_column(table, "run", 'r');
    prn__table_column(table, "setting", 'l');
    prn__table_column(table, "state", 'l');
    for (size_t i = 0; i < sweep->run_count && i < RUNS_SHOWN; i++) {
        const prn__sweep_run *run = &sweep->runs[i];
        prn__text text;
        prn__text_init(&text);
        for (size_t v = 0; v < run->value_count; v++) {
            prn__text_printf(&text, "%s%s=%s", v > 0 ? ", " : "", run->values[v].name, run->values[v].value);
        }
        target->failed |= text.failed;
        prn__table_cell(table, "%" PRId64, run->results->run.id);
        prn__table_cell(table, "%s", text.data != NULL ? text.data : "");
        prn__table_cell(table, "%s", run->results->run.state);
        prn__text_fini(&text);
    }
    prn__text_printf(target, "\nsingle runs, with their matrices: perennial results %s --run NUMBER\n", sweep->workspace);
    prn__table_print(table, 2, target);
    prn__table_destroy(table);
    if (sweep->run_count > RUNS_SHOWN) {
        prn__text_printf(target, "  ... and %zu more; --json has all of them\n", sweep->run_count - RUNS_SHOWN);
    }
}

void prn__sweep_results_print(const prn__sweep_results *sweep, const prn__results_view *view, prn__text *target)
{
    print_head(sweep, target);
    if (sweep->task_count == 0) {
        prn__text_puts(target, "\nnothing is scored yet\n");
    }
    for (size_t k = 0; k < sweep->task_count; k++) {
        const prn__sweep_task *task = shape_task(sweep, k);
        for (size_t i = 0; task != NULL && i < task->score_count; i++) {
            const int is_wanted = view->all_scores || (view->score != NULL ? strcmp(task->scores[i].name, view->score) == 0 : i == 0);
            if (is_wanted && !(task->is_chosen_on && sweep->is_held_out && has_choice(sweep))) {
                print_task(sweep, k, task->scores[i].name, target);
            }
        }
    }
    if (has_choice(sweep) && sweep->task_count > 0) {
        print_choice(sweep, target);
    }
    print_runs(sweep, target);
}
