/* core/report/results_data.c: results as JSON and CSV; see results_report.h. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "report/json.h"
#include "report/results_report.h"

/* ---- JSON ------------------------------------------------------------------------------------------------------------------ */

static void put_run(prn__json *json, json_t *parent, const char *key, const prn__run_info *run)
{
    json_t *object = prn__json_object(json, parent, key);
    prn__json_integer(json, object, "id", run->id);
    prn__json_string(json, object, "name", run->name);
    prn__json_string(json, object, "state", run->state);
    prn__json_string(json, object, "message", run->message);
    prn__json_string(json, object, "started", run->started);
    prn__json_string(json, object, "finished", run->finished[0] != '\0' ? run->finished : NULL);
    prn__json_string(json, object, "recipe", run->recipe_path);
    prn__json_string(json, object, "manifest", run->manifest_path);
    prn__json_string(json, object, "stream", run->stream);
    prn__json_string(json, object, "model", run->model);
    prn__json_string(json, object, "backend", run->backend);
    prn__json_integer(json, object, "seed", run->seed);
    prn__json_integer(json, object, "batch", run->batch);
    prn__json_integer(json, object, "stages", run->stage_count);
    prn__json_integer(json, object, "stages_done", run->stages_done);
}

static void put_score(prn__json *json, json_t *object, const prn__result_score *score, uint32_t steps)
{
    const prn__transfer *t = &score->transfer;
    json_t *matrix = prn__json_array(json, object, "matrix");
    for (uint32_t i = 0; i < steps; i++) {
        json_t *row = prn__json_array(json, matrix, NULL);
        for (uint32_t j = 0; j < steps; j++) {
            prn__json_real(json, row, NULL, score->matrix[(size_t)i * steps + j]);
        }
    }
    prn__json_real(json, object, "in_domain", t->in_domain);
    prn__json_real(json, object, "backward", t->backward);
    prn__json_real(json, object, "forward", t->forward);
    prn__json_real(json, object, "next_domain", t->next_domain);
    prn__json_real(json, object, "forgetting", t->forgetting);
    prn__json_real(json, object, "gem_bwt", t->gem_bwt);
    prn__json_real(json, object, "gem_fwt", t->gem_fwt);
    prn__json_real(json, object, "regret", t->regret);
}

static void put_tasks(prn__json *json, json_t *parent, const prn__results *results, const prn__result_strategy *strategy, const char *wanted)
{
    json_t *tasks = prn__json_object(json, parent, "tasks");
    for (size_t k = 0; k < results->task_count; k++) {
        const prn__result_task *task = &strategy->tasks[k];
        json_t *object = prn__json_object(json, tasks, task->name);
        size_t shown = 0;
        for (size_t i = 0; i < task->score_count && wanted != NULL; i++) {
            shown = strcmp(task->scores[i].name, wanted) == 0 ? i : shown;
        }
        prn__json_string(json, object, "kind", task->kind == PRN__TASK_CLASSIFICATION ? "classification" : "retrieval");
        prn__json_string(json, object, "score", task->scores[shown].name);
        put_score(json, object, &task->scores[shown], results->step_count);
        json_t *scores = prn__json_object(json, object, "scores");
        for (size_t i = 0; i < task->score_count; i++) {
            put_score(json, prn__json_object(json, scores, task->scores[i].name), &task->scores[i], results->step_count);
        }
    }
}

static void put_stages(prn__json *json, json_t *parent, const prn__results *results, const prn__result_strategy *strategy)
{
    json_t *steps = prn__json_array(json, parent, "steps");
    for (uint32_t t = 0; t < results->step_count; t++) {
        const prn__result_stage *stage = &strategy->stages[t];
        json_t *object = prn__json_object(json, steps, NULL);
        prn__json_integer(json, object, "time_step", t + 1);
        prn__json_string(json, object, "name", results->step_names[t]);
        prn__json_string(json, object, "stage", stage->key);
        prn__json_string(json, object, "state", stage->state);
        prn__json_integer(json, object, "updates", stage->steps);
        prn__json_integer(json, object, "samples", stage->samples);
        prn__json_real(json, object, "forward_macs", stage->forward_macs);
        prn__json_real(json, object, "total_macs", stage->total_macs);
        prn__json_real(json, object, "seconds", stage->seconds);
        prn__json_real(json, object, "last_loss", stage->last_loss);
        prn__json_integer(json, object, "skipped", stage->skipped);
    }
}

void prn__results_json(const prn__results *results, const prn__results_view *view, prn__text *target)
{
    prn__json json = {0};
    json_t *root = prn__json_object(&json, NULL, NULL);
    put_run(&json, root, "run", &results->run);
    json_t *names = prn__json_array(&json, root, "time_steps");
    for (uint32_t t = 0; t < results->step_count; t++) {
        prn__json_string(&json, names, NULL, results->step_names[t]);
    }
    json_t *strategies = prn__json_object(&json, root, "strategies");
    for (size_t s = 0; s < results->strategy_count; s++) {
        const prn__result_strategy *strategy = &results->strategies[s];
        json_t *object = prn__json_object(&json, strategies, strategy->label);
        prn__json_string(&json, object, "strategy", strategy->strategy);
        prn__json_parsed(&json, object, "options", strategy->options);
        prn__json_real(&json, object, "forward_macs", strategy->forward_macs);
        prn__json_real(&json, object, "total_macs", strategy->total_macs);
        prn__json_real(&json, object, "teacher_macs", strategy->teacher_macs);
        prn__json_real(&json, object, "tuning_macs", strategy->tuning_macs);
        prn__json_integer(&json, object, "samples", strategy->samples);
        put_stages(&json, object, results, strategy);
        put_tasks(&json, object, results, strategy, view->score);
    }
    prn__json_real(&json, root, "forward_macs", results->forward_macs);
    prn__json_real(&json, root, "total_macs", results->total_macs);
    prn__json_integer(&json, root, "samples", results->samples);
    json_t *skipped = prn__json_array(&json, root, "skipped");
    for (size_t i = 0; i < results->skip_count; i++) {
        json_t *object = prn__json_object(&json, skipped, NULL);
        prn__json_string(&json, object, "stage", results->skips[i].stage);
        prn__json_string(&json, object, "shard", results->skips[i].shard);
        prn__json_string(&json, object, "reason", results->skips[i].reason);
        prn__json_integer(&json, object, "count", results->skips[i].count);
    }
    prn__json_parsed(&json, root, "environment", results->environment);
    prn__json_finish(&json, root, target);
}

void prn__run_list_json(const prn__run_list *list, prn__text *target)
{
    prn__json json = {0};
    json_t *root = prn__json_object(&json, NULL, NULL), *runs = prn__json_array(&json, root, "runs");
    for (size_t i = 0; i < list->count; i++) {
        put_run(&json, runs, NULL, &list->runs[i]);
        if (list->runs[i].sweep[0] != '\0') {
            json_t *run = json_array_get(runs, i);
            prn__json_string(&json, run, "sweep", list->runs[i].sweep);
            prn__json_parsed(&json, run, "settings", list->runs[i].settings_json);
        }
    }
    prn__json_finish(&json, root, target);
}

/* ---- CSV (RFC 4180, but for the line ends) --------------------------------------------------------------------------------- */

static void put_field(const char *text, prn__text *target)
{
    if (strpbrk(text, ",\"\r\n") == NULL) {
        prn__text_puts(target, text);
        return;
    }
    prn__text_puts(target, "\"");
    for (const char *c = text; *c != '\0'; c++) {
        prn__text_append(target, "\"\"", *c == '"' ? 2 : 0);
        if (*c != '"') {
            prn__text_append(target, c, 1);
        }
    }
    prn__text_puts(target, "\"");
}

void prn__results_csv(const prn__results *results, const prn__results_view *view, prn__text *target)
{
    const uint32_t steps = results->step_count;
    char digits[40];
    prn__text_puts(target, "run,strategy,task,kind,score,after_step,after_step_name,task_step,task_step_name,value\n");
    for (size_t s = 0; s < results->strategy_count; s++) {
        for (size_t k = 0; k < results->task_count; k++) {
            const prn__result_task *task = &results->strategies[s].tasks[k];
            for (size_t n = 0; n < task->score_count; n++) {
                const prn__result_score *score = &task->scores[n];
                for (size_t cell = 0; cell < (size_t)steps * steps; cell++) {
                    const size_t i = cell / steps, j = cell % steps;
                    if (view->score != NULL && strcmp(view->score, score->name) != 0) {
                        continue;
                    }
                    const char *const fields[] = {results->run.name, results->strategies[s].label, task->name,
                                                  task->kind == PRN__TASK_CLASSIFICATION ? "classification" : "retrieval", score->name};
                    for (size_t f = 0; f < sizeof fields / sizeof fields[0]; f++) {
                        put_field(fields[f], target);
                        prn__text_puts(target, ",");
                    }
                    prn__text_printf(target, "%zu,", i + 1);
                    put_field(results->step_names[i], target);
                    prn__text_printf(target, ",%zu,", j + 1);
                    put_field(results->step_names[j], target);
                    if (isfinite(score->matrix[cell])) {
                        prn__text_printf(target, ",%s\n", prn__format_real(score->matrix[cell], digits));
                    } else {
                        prn__text_puts(target, ",\n");
                    }
                }
            }
        }
    }
}
