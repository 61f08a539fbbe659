/* core/report/plan_report.c: see plan_report.h. */
#include "ledger/claims.h"
#include "report/plan_report.h"

#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "report/json.h"
#include "report/schedule_report.h"
#include "report/table.h"
#include "run/stage_files.h"

static int has_checkpoint(const char *folder)
{
    DIR *entries = opendir(folder);
    const struct dirent *entry;
    int found = 0;
    while (entries != NULL && !found && (entry = readdir(entries)) != NULL) {
        size_t length = strlen(entry->d_name);
        found = strncmp(entry->d_name, "checkpoint-", 11) == 0 && length > 12 && strcmp(entry->d_name + length - 12, ".safetensors") == 0;
    }
    if (entries != NULL) {
        (void)closedir(entries);
    }
    return found;
}

const char *prn__stage_state_name(const prn__plan *plan, const prn__stage *stage)
{
    if (stage->is_done) {
        return "done";
    }
    if (prn__claim_is_held(plan->recipe->workspace, stage->key, NULL)) {
        return "running";
    }
    char *folder = prn__stage_folder(plan->recipe->workspace, stage->key);
    int is_partial = folder != NULL && has_checkpoint(folder);
    prn__free(folder);
    return is_partial ? "partial" : "missing";
}

typedef struct plan_totals {
    double forward_macs, total_macs, teacher_macs, tuning_macs;
    int64_t samples;
    uint32_t done;
} plan_totals;

static plan_totals totals_of(const prn__plan *plan)
{
    plan_totals t = {0};
    for (uint32_t i = 0; i < plan->stage_count; i++) {
        t.forward_macs += plan->stages[i].forward_macs;
        t.total_macs += plan->stages[i].total_macs;
        t.teacher_macs += plan->stages[i].teacher_macs;
        t.tuning_macs += plan->stages[i].tuning_macs;
        t.samples += plan->stages[i].samples;
        t.done += plan->stages[i].is_done ? 1 : 0;
    }
    return t;
}

/* ---- text ------------------------------------------------------------------------------------------------------------------ */

static void budget_text(const prn__plan *plan, prn__text *text)
{
    const prn__recipe *r = plan->recipe;
    char a[32], b[32];
    const char *batch = prn__format_count(r->batch, b, sizeof b);
    switch (r->budget_unit) {
    case PRN__BUDGET_SAMPLES:
    case PRN__BUDGET_STEPS:
        prn__text_printf(text, "%s updates of %s samples", prn__format_count(r->budget_unit == PRN__BUDGET_STEPS ? r->budget : r->budget / r->batch, a, sizeof a),
                         batch);
        break;
    case PRN__BUDGET_EPOCHS:
        prn__text_printf(text, "%g epoch%s of its data in updates of %s samples", r->budget_amount, r->budget_amount == 1 ? "" : "s", batch);
        break;
    case PRN__BUDGET_MACS:
        prn__text_printf(text, "%s forward MACs in updates of %s samples", prn__format_si(r->budget_amount, a, sizeof a), batch);
        break;
    }
    prn__text_puts(text, ", a time step of cost 1");
}

static void print_head(const prn__plan *plan, prn__text *target)
{
    const prn__recipe *r = plan->recipe;
    char a[32], b[32], c[32];
    prn__table *table = prn__table_create();
    prn__table_column(table, "", 'l');
    prn__table_column(table, "", 'l');
    prn__table_cell(table, "stream");
    prn__table_cell(table, "%s, %u time steps (%s)", plan->manifest->name, plan->step_count, r->manifest_path);
    prn__table_cell(table, "model");
    prn__table_cell(table, "%s, %s parameters, %s forward MACs a sample%s%s", r->model.name, prn__format_si((double)plan->model->elements, a, sizeof a),
                    prn__format_si(plan->image_macs + plan->text_macs, b, sizeof b), r->init != NULL ? ", starts from " : "", r->init != NULL ? r->init : "");
    prn__text budget;
    prn__text_init(&budget);
    budget_text(plan, &budget);
    target->failed |= budget.failed;
    prn__table_cell(table, "budget");
    prn__table_cell(table, "%s", budget.data != NULL ? budget.data : "");
    prn__text_fini(&budget);
    prn__table_cell(table, "backend");
    prn__table_cell(table, "%s", r->backend);
    prn__table_cell(table, "workspace");
    prn__table_cell(table, "%s", r->workspace);
    plan_totals t = totals_of(plan);
    prn__table_cell(table, "cost");
    prn__table_cell(table, "%s forward MACs, %s with backward, %s samples, each stage counted once", prn__format_si(t.forward_macs, a, sizeof a),
                    prn__format_si(t.total_macs, b, sizeof b), prn__format_count(t.samples, c, sizeof c));
    prn__text_printf(target, "plan '%s' (%s)\n", r->name, r->path);
    prn__table_print(table, 2, target);
    prn__table_destroy(table);
}

static void print_strategies(const prn__plan *plan, prn__text *target)
{
    prn__table *table = prn__table_create();
    prn__table_column(table, "forward MACs", 'l');
    for (uint32_t t = 0; t < plan->step_count; t++) {
        prn__table_column(table, plan->manifest->steps[t].name, 'r');
    }
    static const char *const heads[] = {"all", "in C", "with backward", "samples"};
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        prn__table_column(table, heads[i], 'r');
    }
    for (size_t s = 0; s < plan->recipe->strategy_count; s++) {
        const prn__plan_line *line = &plan->lines[s];
        prn__table_cell(table, "%s", line->label);
        for (uint32_t t = 0; t < plan->step_count; t++) {
            prn__table_si(table, line->step_forward_macs[t]);
        }
        prn__table_si(table, line->forward_macs);
        prn__table_cell(table, "%.6g", line->budget);
        prn__table_si(table, line->total_macs);
        prn__table_count(table, line->samples);
    }
    prn__text_puts(target, "\n");
    prn__table_print(table, 2, target);
    prn__table_destroy(table);
}

/* A column of zeros says nothing: teacher and tuning are there where some strategy has them. */
static void print_costs(const prn__plan *plan, prn__text *target)
{
    const plan_totals t = totals_of(plan);
    char text[32];
    prn__table *table = prn__table_create();
    prn__table_column(table, "strategy", 'l');
    prn__table_column(table, "MACs in all", 'r');
    if (t.teacher_macs > 0) {
        prn__table_column(table, "of teacher", 'r');
    }
    if (t.tuning_macs > 0) {
        prn__table_column(table, "of tuning", 'r');
    }
    static const char *const heads[] = {"memory-adjusted FLOPs", "checkpoints", "buffer samples", "buffer"};
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        prn__table_column(table, heads[i], 'r');
    }
    for (size_t s = 0; s < plan->recipe->strategy_count; s++) {
        const prn__plan_line *line = &plan->lines[s];
        prn__table_cell(table, "%s", line->label);
        prn__table_si(table, line->total_macs);
        if (t.teacher_macs > 0) {
            prn__table_si(table, line->teacher_macs);
        }
        if (t.tuning_macs > 0) {
            prn__table_si(table, line->tuning_macs);
        }
        prn__table_si(table, line->memory_adjusted_flops);
        prn__table_cell(table, "%s", prn__format_bytes(line->checkpoint_bytes, text, sizeof text));
        prn__table_count(table, line->buffer_samples);
        prn__table_cell(table, "%s", isfinite(line->buffer_bytes) ? prn__format_bytes(line->buffer_bytes, text, sizeof text) : "-");
    }
    prn__text_puts(target, "\n");
    prn__table_print(table, 2, target);
    prn__table_destroy(table);
}

static const char *step_name(const prn__plan *plan, uint32_t time_step)
{
    return time_step == PRN_SOURCE_REFERENCE ? plan->reference->name : plan->manifest->steps[time_step - 1].name;
}

/* "1993 .. 2014 (at most 500 each, weight 0.1 each), 2015": neighbours that are drawn from alike are one range. */
static void put_sources_text(const prn__plan *plan, const prn__plan_source *sources, uint32_t count, prn__text *text)
{
    char number[40];
    for (uint32_t i = 0, n; i < count; i += n) {
        const prn__plan_source *s = &sources[i];
        for (n = 1; i + n < count && sources[i + n].time_step == s->time_step + n && sources[i + n].max_samples == s->max_samples &&
                    sources[i + n].weight == s->weight; n++) {
        }
        const int has_note = s->max_samples > 0 || s->weight > 0;
        n = n == 2 && !has_note ? 1 : n; /* "1993, 1996" is as short */
        prn__text_printf(text, "%s%s", i > 0 ? ", " : "", step_name(plan, s->time_step));
        if (n > 1) {
            prn__text_printf(text, " .. %s", step_name(plan, sources[i + n - 1].time_step));
        }
        const char *each = n > 1 ? " each" : "";
        if (has_note) {
            prn__text_puts(text, " (");
        }
        if (s->max_samples > 0) {
            prn__text_printf(text, "at most %s%s%s", prn__format_count(s->max_samples, number, sizeof number), each, s->weight > 0 ? ", " : "");
        }
        if (s->weight > 0) {
            prn__text_printf(text, "weight %.4g%s", s->weight, each);
        }
        if (has_note) {
            prn__text_puts(text, ")");
        }
    }
}

static void source_text(const prn__plan *plan, const prn__stage *stage, prn__text *text)
{
    char number[40];
    if ((stage->hooks & PRN_HOOK_FINISH) != 0) {
        prn__text_printf(text, "finishes %s#%d", stage->of_trunk ? "trunk " : "", stage->parent + 1);
        return;
    }
    if (stage->is_branch) {
        prn__text_puts(text, "branch: ");
    }
    put_sources_text(plan, stage->sources, stage->source_count, text);
    if (stage->memory_batch > 0) {
        prn__text_printf(text, "; memory: %s of ", prn__format_count(stage->memory_batch, number, sizeof number));
        put_sources_text(plan, stage->memory_sources, stage->memory_source_count, text);
    }
}

/* What is done and what is left, and what sharing saves. */
static void print_counts(const prn__plan *plan, prn__text *target)
{
    const plan_totals t = totals_of(plan);
    uint32_t running = 0, partial = 0, shared = 0;
    double left = 0, apart = 0;
    char number[40], other[40];
    for (uint32_t i = 0; i < plan->stage_count; i++) {
        const prn__stage *stage = &plan->stages[i];
        const char *state = prn__stage_state_name(plan, stage);
        running += strcmp(state, "running") == 0;
        partial += strcmp(state, "partial") == 0;
        left += stage->is_done ? 0 : stage->forward_macs;
        shared += stage->used_by_count > 1;
        apart += stage->forward_macs * (stage->used_by_count > 1 ? stage->used_by_count : 1);
    }
    prn__text_printf(target, "\n%u stages, %u done", plan->stage_count, t.done);
    if (running > 0) {
        prn__text_printf(target, ", %u running elsewhere", running);
    }
    if (partial > 0) {
        prn__text_printf(target, ", %u begun", partial);
    }
    if (t.done < plan->stage_count) {
        prn__text_printf(target, ", %u to do: %s forward MACs", plan->stage_count - t.done - running - partial, prn__format_si(left, number, sizeof number));
        prn__text_puts(target, running + partial > 0 ? " with the rest of those under way" : "");
    }
    prn__text_puts(target, "\n");
    if (shared > 0) {
        prn__text_printf(target, "%u shared by strategies and run once: %s forward MACs instead of %s\n", shared,
                         prn__format_si(t.forward_macs, number, sizeof number), prn__format_si(apart, other, sizeof other));
    }
}

static void print_holders(const prn__plan *plan, prn__text *target)
{
    for (uint32_t i = 0; i < plan->stage_count; i++) {
        prn__holder holder;
        char who[320];
        if (!plan->stages[i].is_done && prn__claim_is_held(plan->recipe->workspace, plan->stages[i].key, &holder)) {
            prn__text_printf(target, "  #%u is being run by ", i + 1);
            (void)prn__holder_format(&holder, who, sizeof who);
            prn__text_append_safe(target, who, strlen(who), 0);
            prn__text_puts(target, "\n");
        }
    }
}

static void print_stages(const prn__plan *plan, prn__text *target)
{
    static const char *const heads[] = {"#", "key", "state", "step", "from", "data", "updates", "samples", "forward MACs", "used by"};
    static const char aligns[] = {'r', 'l', 'l', 'l', 'l', 'l', 'r', 'r', 'r', 'l'};
    prn__table *table = prn__table_create();
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        prn__table_column(table, heads[i], aligns[i]);
    }
    for (uint32_t i = 0; i < plan->stage_count; i++) {
        const prn__stage *stage = &plan->stages[i];
        prn__text data, users;
        prn__text_init(&data);
        prn__text_init(&users);
        source_text(plan, stage, &data);
        for (uint32_t u = 0; u < stage->used_by_count; u++) {
            prn__text_printf(&users, "%s%s", u > 0 ? ", " : "", stage->used_by[u]);
        }
        target->failed |= data.failed | users.failed;
        prn__table_cell(table, "%u", i + 1);
        prn__table_cell(table, "%.10s", stage->key);
        prn__table_cell(table, "%s", prn__stage_state_name(plan, stage));
        prn__table_cell(table, "%s", plan->manifest->steps[stage->time_step - 1].name);
        if (stage->parent >= 0) {
            prn__table_cell(table, "#%d", stage->parent + 1);
        } else {
            prn__table_cell(table, "%s", plan->recipe->init != NULL ? "init" : "random");
        }
        prn__table_cell(table, "%s", data.data != NULL ? data.data : "");
        prn__table_count(table, stage->steps);
        prn__table_count(table, stage->samples);
        prn__table_si(table, stage->forward_macs);
        prn__table_cell(table, "%s", users.data != NULL ? users.data : "");
        prn__text_fini(&data);
        prn__text_fini(&users);
    }
    print_counts(plan, target);
    prn__table_print(table, 2, target);
    prn__table_destroy(table);
    print_holders(plan, target);
}

void prn__plan_print(const prn__plan *plan, prn__text *target)
{
    print_head(plan, target);
    print_strategies(plan, target);
    print_costs(plan, target);
    print_stages(plan, target);
}

/* ---- JSON ------------------------------------------------------------------------------------------------------------------ */

static void put_cost(prn__json *json, json_t *object, double forward_macs, double total_macs, double teacher_macs, double tuning_macs, int64_t samples)
{
    prn__json_real(json, object, "forward_macs", forward_macs);
    prn__json_real(json, object, "total_macs", total_macs);
    prn__json_real(json, object, "teacher_macs", teacher_macs);
    prn__json_real(json, object, "tuning_macs", tuning_macs);
    prn__json_integer(json, object, "samples", samples);
}

static void put_budget(prn__json *json, json_t *root, const prn__recipe *r)
{
    json_t *object = prn__json_object(json, root, "budget");
    switch (r->budget_unit) {
    case PRN__BUDGET_SAMPLES:
        prn__json_integer(json, object, "samples", r->budget);
        break;
    case PRN__BUDGET_STEPS:
        prn__json_integer(json, object, "steps", r->budget);
        break;
    case PRN__BUDGET_EPOCHS:
        prn__json_real(json, object, "epochs", r->budget_amount);
        break;
    case PRN__BUDGET_MACS:
        prn__json_real(json, object, "macs", r->budget_amount);
        break;
    }
}

static void put_line(prn__json *json, json_t *strategies, const prn__plan *plan, const prn__plan_line *line, int with_schedule)
{
    json_t *object = prn__json_object(json, strategies, line->label);
    prn__json_string(json, object, "strategy", line->strategy);
    prn__json_parsed(json, object, "options", line->options);
    prn__json_real(json, object, "budget_multiple", line->budget);
    put_cost(json, object, line->forward_macs, line->total_macs, line->teacher_macs, line->tuning_macs, line->samples);
    prn__json_real(json, object, "memory_factor", line->memory_factor);
    prn__json_real(json, object, "memory_adjusted_flops", line->memory_adjusted_flops);
    prn__json_real(json, object, "checkpoint_bytes", line->checkpoint_bytes);
    prn__json_real(json, object, "kept_bytes", line->kept_bytes);
    prn__json_integer(json, object, "buffer_samples", line->buffer_samples);
    prn__json_real(json, object, "buffer_bytes", line->buffer_bytes);
    json_t *steps = prn__json_array(json, object, "steps");
    for (uint32_t t = 0; t < plan->step_count; t++) {
        const prn__stage *stage = &plan->stages[line->stages[t]];
        json_t *step = prn__json_object(json, steps, NULL);
        prn__json_integer(json, step, "time_step", t + 1);
        prn__json_string(json, step, "name", plan->manifest->steps[t].name);
        prn__json_string(json, step, "stage", stage->key);
        prn__json_string(json, step, "trained", plan->stages[line->trained[t]].key);
        prn__json_string(json, step, "trunk", plan->stages[line->trunk[t]].key);
        if (line->trunk_deployed[t] >= 0 && line->trunk_deployed[t] != line->trunk[t]) {
            prn__json_string(json, step, "trunk_deployed", plan->stages[line->trunk_deployed[t]].key);
        }
        prn__json_real(json, step, "budget_multiple", line->step_budget[t]);
        prn__json_integer(json, step, "updates", line->step_updates[t]);
        put_cost(json, step, line->step_forward_macs[t], line->step_total_macs[t], line->step_teacher_macs[t], line->step_tuning_macs[t],
                 line->step_samples[t]);
    }
    if (with_schedule) {
        prn__schedule_put(json, object, plan, line);
    }
}

static void put_sources(prn__json *json, json_t *object, const char *key, const prn__plan *plan, const prn__plan_source *sources, uint32_t count)
{
    json_t *list = prn__json_array(json, object, key);
    for (uint32_t i = 0; i < count; i++) {
        json_t *source = prn__json_object(json, list, NULL);
        prn__json_integer(json, source, "time_step", sources[i].time_step);
        prn__json_string(json, source, "name", step_name(plan, sources[i].time_step));
        prn__json_integer(json, source, "samples", sources[i].samples);
        prn__json_integer(json, source, "max_samples", sources[i].max_samples);
        prn__json_real(json, source, "weight", sources[i].weight);
    }
}

static void put_stage(prn__json *json, json_t *stages, const prn__plan *plan, const prn__stage *stage)
{
    char teacher[32];
    json_t *object = prn__json_object(json, stages, NULL);
    prn__json_string(json, object, "key", stage->key);
    json_t *users = prn__json_array(json, object, "used_by");
    for (uint32_t u = 0; u < stage->used_by_count; u++) {
        prn__json_string(json, users, NULL, stage->used_by[u]);
    }
    prn__json_string(json, object, "state", prn__stage_state_name(plan, stage));
    prn__holder holder;
    if (!stage->is_done && prn__claim_is_held(plan->recipe->workspace, stage->key, &holder)) {
        json_t *by = prn__json_object(json, object, "running");
        prn__json_integer(json, by, "process", holder.process);
        prn__json_string(json, by, "host", holder.host);
        prn__json_string(json, by, "recipe", holder.what);
    }
    prn__json_integer(json, object, "time_step", stage->time_step);
    prn__json_string(json, object, "name", plan->manifest->steps[stage->time_step - 1].name);
    prn__json_string(json, object, "parent", stage->parent >= 0 ? plan->stages[stage->parent].key : NULL);
    prn__json_boolean(json, object, "keep_optimizer", stage->keep_optimizer);
    prn__json_integer(json, object, "updates", stage->steps);
    prn__json_boolean(json, object, "branch", stage->is_branch);
    put_cost(json, object, stage->forward_macs, stage->total_macs, stage->teacher_macs, stage->tuning_macs, stage->samples);
    put_sources(json, object, "sources", plan, stage->sources, stage->source_count);
    (void)snprintf(teacher, sizeof teacher, "step %u", stage->teacher - 1);
    prn__json_string(json, object, "teacher", stage->teacher == PRN_TEACHER_NONE ? NULL : stage->teacher == PRN_TEACHER_INITIAL ? "initial" : teacher);
    prn__json_integer(json, object, "memory_batch", stage->memory_batch);
    put_sources(json, object, "memory_sources", plan, stage->memory_sources, stage->memory_source_count);
}

void prn__plan_json(const prn__plan *plan, int with_schedule, prn__text *target)
{
    const prn__recipe *r = plan->recipe;
    prn__json json = {0};
    json_t *root = prn__json_object(&json, NULL, NULL);
    prn__json_string(&json, root, "name", r->name);
    prn__json_string(&json, root, "recipe", r->path);
    prn__json_string(&json, root, "workspace", r->workspace);
    prn__json_string(&json, root, "stream", plan->manifest->name);
    prn__json_string(&json, root, "manifest", r->manifest_path);
    prn__json_string(&json, root, "backend", r->backend);
    prn__json_integer(&json, root, "seed", (int64_t)r->seed);
    prn__json_integer(&json, root, "batch", r->batch);
    put_budget(&json, root, r);
    json_t *names = prn__json_array(&json, root, "time_steps");
    for (uint32_t t = 0; t < plan->step_count; t++) {
        prn__json_string(&json, names, NULL, plan->manifest->steps[t].name);
    }
    json_t *model = prn__json_object(&json, root, "model");
    prn__json_string(&json, model, "name", r->model.name);
    prn__json_integer(&json, model, "parameters", plan->model->elements);
    prn__json_real(&json, model, "image_macs", plan->image_macs);
    prn__json_real(&json, model, "text_macs", plan->text_macs);
    json_t *strategies = prn__json_object(&json, root, "strategies");
    for (size_t s = 0; s < r->strategy_count; s++) {
        put_line(&json, strategies, plan, &plan->lines[s], with_schedule);
    }
    json_t *stages = prn__json_array(&json, root, "stages");
    for (uint32_t i = 0; i < plan->stage_count; i++) {
        put_stage(&json, stages, plan, &plan->stages[i]);
    }
    plan_totals t = totals_of(plan);
    put_cost(&json, root, t.forward_macs, t.total_macs, t.teacher_macs, t.tuning_macs, t.samples);
    prn__json_finish(&json, root, target);
}
