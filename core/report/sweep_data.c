/* core/report/sweep_data.c: the results of a sweep as JSON and CSV; see sweep_report.h. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "report/json.h"
#include "report/sweep_report.h"

/* ---- JSON ------------------------------------------------------------------------------------------------------------------------- */

static void put_values(prn__json *json, json_t *parent, const char *key, const prn__sweep_value *values, size_t count)
{
    json_t *object = prn__json_object(json, parent, key);
    for (size_t i = 0; i < count; i++) {
        prn__json_parsed(json, object, values[i].name, values[i].value);
    }
}

static void put_statistic(prn__json *json, json_t *parent, const char *key, const prn__statistic *s)
{
    json_t *object = prn__json_object(json, parent, key);
    prn__json_real(json, object, "mean", s->mean);
    prn__json_real(json, object, "standard_deviation", s->deviation);
    prn__json_integer(json, object, "n", (int64_t)s->n);
}

static void put_metrics(prn__json *json, json_t *object, const prn__sweep_score *score)
{
    for (int metric = 0; metric < PRN__SWEEP_METRICS; metric++) {
        put_statistic(json, object, prn__sweep_metric_names[metric], &score->metrics[metric]);
    }
}

static void put_tasks(prn__json *json, json_t *parent, const prn__sweep_results *sweep, const prn__sweep_row *row, const char *wanted)
{
    json_t *tasks = prn__json_object(json, parent, "tasks");
    for (size_t k = 0; k < sweep->task_count; k++) {
        const prn__sweep_task *task = &row->tasks[k];
        json_t *object = prn__json_object(json, tasks, task->name);
        size_t shown = 0;
        for (size_t i = 0; i < task->score_count && wanted != NULL; i++) {
            shown = strcmp(task->scores[i].name, wanted) == 0 ? i : shown;
        }
        prn__json_string(json, object, "kind", task->kind == PRN__TASK_CLASSIFICATION ? "classification" : "retrieval");
        prn__json_boolean(json, object, "chosen_on", task->is_chosen_on);
        if (task->score_count == 0) {
            continue;
        }
        prn__json_string(json, object, "score", task->scores[shown].name);
        put_metrics(json, object, &task->scores[shown]);
        json_t *scores = prn__json_object(json, object, "scores");
        for (size_t i = 0; i < task->score_count; i++) {
            put_metrics(json, prn__json_object(json, scores, task->scores[i].name), &task->scores[i]);
        }
    }
}

static void put_row(prn__json *json, json_t *rows, const prn__sweep_results *sweep, const prn__sweep_row *row, const char *wanted)
{
    json_t *object = prn__json_object(json, rows, NULL);
    json_t *settings = prn__json_array(json, object, "settings");
    for (size_t i = 0; i < row->setting_count; i++) {
        const prn__sweep_setting_values *setting = &sweep->settings[row->settings[i]];
        put_values(json, settings, NULL, setting->values, setting->value_count);
    }
    json_t *runs = prn__json_array(json, object, "runs");
    for (size_t i = 0; i < row->run_count; i++) {
        prn__json_integer(json, runs, NULL, sweep->runs[row->runs[i]].results->run.id);
    }
    prn__json_integer(json, object, "runs_complete", (int64_t)row->complete_count);
    prn__json_boolean(json, object, "best", row->is_best);
    put_statistic(json, object, "criterion", &row->criterion);
    prn__json_real(json, object, "forward_macs", row->forward_macs);
    prn__json_real(json, object, "total_macs", row->total_macs);
    put_tasks(json, object, sweep, row, wanted);
}

static void put_strategy(prn__json *json, json_t *strategies, const prn__sweep_results *sweep, const prn__sweep_strategy *strategy, const char *wanted)
{
    json_t *object = prn__json_object(json, strategies, strategy->label);
    prn__json_string(json, object, "strategy", strategy->strategy);
    if (strategy->best >= 0) {
        const prn__sweep_setting_values *setting = &sweep->settings[strategy->rows[strategy->best].settings[0]];
        put_values(json, object, "best", setting->values, setting->value_count);
    } else {
        prn__json_string(json, object, "best", NULL);
    }
    prn__json_real(json, object, "training_macs", strategy->best >= 0 ? strategy->training_macs : NAN);
    prn__json_real(json, object, "tuning_macs", strategy->best >= 0 ? strategy->tuning_macs : NAN);
    json_t *rows = prn__json_array(json, object, "rows");
    for (size_t r = 0; r < strategy->row_count; r++) {
        put_row(json, rows, sweep, &strategy->rows[r], wanted);
    }
}

void prn__sweep_results_json(const prn__sweep_results *sweep, const prn__results_view *view, prn__text *target)
{
    prn__json json = {0};
    json_t *root = prn__json_object(&json, NULL, NULL), *head = prn__json_object(&json, root, "sweep");
    prn__json_string(&json, head, "identity", sweep->identity);
    prn__json_string(&json, head, "name", sweep->name);
    prn__json_integer(&json, head, "combinations", sweep->combinations);
    prn__json_integer(&json, head, "complete", (int64_t)sweep->done_count);
    prn__json_boolean(&json, head, "provisional", sweep->is_provisional);
    prn__json_string(&json, head, "criterion", sweep->criterion);
    prn__json_string(&json, head, "chosen_on", sweep->chosen_on[0] != '\0' ? sweep->chosen_on : NULL);
    prn__json_string(&json, head, "score", sweep->score[0] != '\0' ? sweep->score : NULL);
    prn__json_boolean(&json, head, "held_out", sweep->is_held_out);
    json_t *names = prn__json_array(&json, head, "grids");
    for (size_t n = 0; n < sweep->name_count; n++) {
        prn__json_string(&json, names, NULL, sweep->names[n]);
    }
    json_t *strategies = prn__json_object(&json, root, "strategies");
    for (size_t k = 0; k < sweep->strategy_count; k++) {
        put_strategy(&json, strategies, sweep, &sweep->strategies[k], view->score);
    }
    json_t *overall = prn__json_object(&json, root, "overall");
    if (sweep->best >= 0) {
        put_values(&json, overall, "best", sweep->settings[sweep->best].values, sweep->settings[sweep->best].value_count);
    } else {
        prn__json_string(&json, overall, "best", NULL);
    }
    prn__json_real(&json, overall, "criterion", sweep->best >= 0 ? sweep->settings[sweep->best].criterion : NAN);
    prn__json_real(&json, overall, "training_macs", sweep->best >= 0 ? sweep->training_macs : NAN);
    prn__json_real(&json, overall, "tuning_macs", sweep->best >= 0 ? sweep->tuning_macs : NAN);
    prn__json_real(&json, root, "forward_macs", sweep->forward_macs);
    prn__json_real(&json, root, "total_macs", sweep->total_macs);
    json_t *runs = prn__json_array(&json, root, "runs");
    for (size_t i = 0; i < sweep->run_count; i++) {
        const prn__sweep_run *run = &sweep->runs[i];
        json_t *object = prn__json_object(&json, runs, NULL);
        prn__json_integer(&json, object, "id", run->results->run.id);
        put_values(&json, object, "settings", run->values, run->value_count);
        prn__json_string(&json, object, "state", run->results->run.state);
        prn__json_string(&json, object, "message", run->results->run.message);
        prn__json_integer(&json, object, "stages", run->results->run.stage_count);
        prn__json_integer(&json, object, "stages_done", run->results->run.stages_done);
    }
    prn__json_finish(&json, root, target);
}

/* ---- CSV (RFC 4180, but for the line ends) ------------------------------------------------------------------------------------------ */

static void put_field(const char *text, prn__text *target)
{
    prn__text_puts(target, "\"");
    for (const char *c = text; *c != '\0'; c++) {
        prn__text_append(target, "\"\"", *c == '"' ? 2 : 0);
        if (*c != '"') {
            prn__text_append(target, c, 1);
        }
    }
    prn__text_puts(target, "\",");
}

static void put_number(double value, const char *end, prn__text *target)
{
    char digits[40];
    prn__text_printf(target, "%s%s", isfinite(value) ? prn__format_real(value, digits) : "", end);
}

static void put_setting(const prn__sweep_setting_values *setting, prn__text *target)
{
    prn__text text;
    prn__text_init(&text);
    for (size_t i = 0; i < setting->value_count; i++) {
        prn__text_printf(&text, "%s%s=%s", i > 0 ? ";" : "", setting->values[i].name, setting->values[i].value);
    }
    put_field(text.data != NULL ? text.data : "", target);
    target->failed |= text.failed;
    prn__text_fini(&text);
}

static void put_line(const prn__sweep_results *sweep, const prn__sweep_strategy *strategy, const prn__sweep_row *row, size_t setting,
                     const prn__sweep_task *task, const prn__sweep_score *score, int metric, prn__text *target)
{
    const prn__statistic *s = &score->metrics[metric];
    put_field(sweep->name, target);
    put_field(strategy->label, target);
    put_setting(&sweep->settings[row->settings[setting]], target);
    prn__text_printf(target, "%d,", row->is_best);
    put_field(task->name, target);
    prn__text_printf(target, "%s,%d,", task->kind == PRN__TASK_CLASSIFICATION ? "classification" : "retrieval", task->is_chosen_on);
    put_field(score->name, target);
    prn__text_printf(target, "%s,%zu,", prn__sweep_metric_names[metric], s->n);
    put_number(s->mean, ",", target);
    put_number(s->deviation, "\n", target);
}

void prn__sweep_results_csv(const prn__sweep_results *sweep, const prn__results_view *view, prn__text *target)
{
    prn__text_puts(target, "sweep,strategy,setting,best,task,kind,chosen_on,score,metric,n,mean,standard_deviation\n");
    for (size_t k = 0; k < sweep->strategy_count; k++) {
        const prn__sweep_strategy *strategy = &sweep->strategies[k];
        for (size_t r = 0; r < strategy->row_count; r++) {
            for (size_t cell = 0; cell < strategy->rows[r].setting_count * sweep->task_count; cell++) {
                const prn__sweep_task *task = &strategy->rows[r].tasks[cell % sweep->task_count];
                for (size_t n = 0; n < task->score_count * PRN__SWEEP_METRICS; n++) {
                    const prn__sweep_score *score = &task->scores[n / PRN__SWEEP_METRICS];
                    if (view->score == NULL || strcmp(view->score, score->name) == 0) {
                        put_line(sweep, strategy, &strategy->rows[r], cell / sweep->task_count, task, score, (int)(n % PRN__SWEEP_METRICS), target);
                    }
                }
            }
        }
    }
}
