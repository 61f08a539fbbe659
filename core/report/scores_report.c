/* core/report/scores_report.c: see scores_report.h. */
#include "report/scores_report.h"

#include <inttypes.h>
#include <string.h>

#include "report/json.h"
#include "report/table.h"

static int is_first_of_task(const prn__scored *scored, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (strcmp(scored[i].task, scored[index].task) == 0) {
            return 0;
        }
    }
    return 1;
}

static void print_task(const prn__scored *scored, size_t count, const prn__scored *first, prn__text *target)
{
    prn__table *table = prn__table_create();
    int is_retrieval = first->kind == PRN__TASK_RETRIEVAL;
    prn__table_column(table, first->task, 'l');
    for (size_t s = 0; s < first->scores.count; s++) {
        prn__table_column(table, first->scores.score[s].name, 'r');
    }
    prn__table_column(table, "images", 'r');
    prn__table_column(table, is_retrieval ? "texts" : "classes", 'r');
    prn__table_column(table, "skipped", 'r');
    for (size_t i = 0; i < count; i++) {
        if (strcmp(scored[i].task, first->task) != 0) {
            continue;
        }
        const prn__scores *scores = &scored[i].scores;
        prn__table_cell(table, "  %s", scored[i].step_name);
        for (size_t s = 0; s < first->scores.count; s++) {
            prn__table_percent(table, s < scores->count ? scores->score[s].value : 0);
        }
        prn__table_count(table, scores->images);
        prn__table_count(table, is_retrieval ? scores->texts : scores->classes);
        prn__table_count(table, scores->skipped);
    }
    prn__table_print(table, 0, target);
    prn__table_destroy(table);
}

void prn__scored_print(const prn__scored *scored, size_t count, prn__text *target)
{
    for (size_t i = 0; i < count; i++) {
        if (is_first_of_task(scored, i)) {
            prn__text_puts(target, i > 0 ? "\n" : "");
            print_task(scored, count, &scored[i], target);
        }
    }
    prn__text_puts(target, "\nscores in percent\n");
}

void prn__scored_json(const char *model, const char *manifest, const char *backend, const prn__scored *scored, size_t count, prn__text *target)
{
    prn__json json = {0};
    json_t *root = prn__json_object(&json, NULL, NULL);
    prn__json_string(&json, root, "model", model);
    prn__json_string(&json, root, "manifest", manifest);
    prn__json_string(&json, root, "backend", backend);
    json_t *tasks = prn__json_object(&json, root, "tasks");
    for (size_t i = 0; i < count; i++) {
        if (!is_first_of_task(scored, i)) {
            continue;
        }
        json_t *task = prn__json_object(&json, tasks, scored[i].task);
        prn__json_string(&json, task, "kind", scored[i].kind == PRN__TASK_RETRIEVAL ? "retrieval" : "classification");
        json_t *steps = prn__json_array(&json, task, "steps");
        for (size_t k = i; k < count; k++) {
            if (strcmp(scored[k].task, scored[i].task) != 0) {
                continue;
            }
            const prn__scores *scores = &scored[k].scores;
            json_t *step = prn__json_object(&json, steps, NULL);
            prn__json_integer(&json, step, "time_step", scored[k].time_step);
            prn__json_string(&json, step, "name", scored[k].step_name);
            prn__json_integer(&json, step, "images", scores->images);
            prn__json_integer(&json, step, "texts", scores->texts);
            prn__json_integer(&json, step, "classes", scores->classes);
            prn__json_integer(&json, step, "skipped", scores->skipped);
            prn__json_real(&json, step, "seconds", scored[k].seconds);
            json_t *values = prn__json_object(&json, step, "scores");
            for (size_t s = 0; s < scores->count; s++) {
                prn__json_real(&json, values, scores->score[s].name, scores->score[s].value);
            }
        }
    }
    prn__json_finish(&json, root, target);
}
