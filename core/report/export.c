/* core/report/export.c: CSV and JSON Lines; see export.h. */
#include "report/export.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"
#include "ledger/metrics.h"
#include "report/json.h"
#include "report/results_report.h"

int prn__export_format_parse(const char *name, prn__export_format *format)
{
    static const char *const names[] = {"csv", "jsonl", "tensorboard"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(name, names[i]) == 0) {
            *format = (prn__export_format)i;
            return 1;
        }
    }
    return 0;
}

static prn_status no_memory(prn_error *error)
{
    return prn_error_set(error, PRN_NO_MEMORY, "out of memory while exporting a run");
}

/* ---- steps ------------------------------------------------------------------------------------------------------------------------- */

typedef struct walk {
    const prn__export *source;
    prn__export_visit visit;
    void *context;
    prn__export_step step;
    int64_t before;      /* updates of earlier stages */
    double step_samples; /* of this stage */
} walk;

static prn_status walk_metric(void *context, const prn__step_metric *metric, prn_error *error)
{
    walk *w = context;
    w->step.metric = metric;
    w->step.step = w->before + metric->step + 1;
    w->step.samples_per_s = metric->seconds > 0 ? w->step_samples / metric->seconds : NAN;
    return w->visit(w->context, &w->step, error);
}

prn_status prn__export_steps(const prn__export *source, size_t strategy, prn__export_visit visit, void *context, prn_error *error)
{
    const prn__timeline_strategy *line = &source->timeline->strategies[strategy];
    walk w = {.source = source, .visit = visit, .context = context, .step = {.strategy = strategy}};
    prn_status status = PRN_OK;
    for (size_t i = 0; i < line->stage_count && status == PRN_OK; i++) {
        w.step.stage = i;
        w.step_samples = line->stages[i].steps > 0 ? (double)line->stages[i].samples / (double)line->stages[i].steps : NAN;
        status = prn__metrics_visit(source->workspace, line->stages[i].key, walk_metric, &w, error);
        w.before += line->stages[i].steps > 0 && line->stages[i].steps < INT64_MAX / 4096 ? line->stages[i].steps : 0;
    }
    return status;
}

int64_t prn__export_updates(const prn__export *source, size_t strategy, uint32_t time_step)
{
    const prn__timeline_strategy *line = &source->timeline->strategies[strategy];
    int64_t updates = 0;
    for (size_t i = 0; i < line->stage_count && line->stages[i].time_step <= time_step; i++) {
        updates += line->stages[i].steps > 0 && line->stages[i].steps < INT64_MAX / 4096 ? line->stages[i].steps : 0;
    }
    return updates;
}

/* ---- lines of text into a file -------------------------------------------------------------------------------------------------------- */

typedef struct output {
    const prn__export *source;
    prn__writer *writer;
    prn__text text; /* not written yet */
} output;

enum { CHUNK = 1 << 16 };

static prn_status flush(output *o, size_t above, prn_error *error)
{
    if (o->text.failed) {
        return no_memory(error);
    }
    prn_status status = o->text.length > above ? prn__writer_write(o->writer, o->text.data, o->text.length, error) : PRN_OK;
    if (o->text.length > above) {
        prn__text_clear(&o->text);
    }
    return status;
}

static prn_status open_output(output *o, const prn__export *source, const char *folder, const char *name, prn_error *error)
{
    char *path = folder != NULL ? prn__path_join(folder, name) : prn__strdup(name);
    memset(o, 0, sizeof *o);
    o->source = source;
    prn__text_init(&o->text);
    prn_status status = path != NULL ? prn__writer_open(path, &o->writer, error) : no_memory(error);
    prn__free(path);
    return status;
}

static prn_status close_output(output *o, prn_status status, prn_error *error)
{
    if (status == PRN_OK) {
        status = flush(o, 0, error);
    }
    if (status == PRN_OK) {
        status = prn__writer_commit(o->writer, error);
    } else {
        prn__writer_abort(o->writer);
    }
    prn__text_fini(&o->text);
    return status;
}

/* ---- CSV (RFC 4180, but for the line ends) ------------------------------------------------------------------------------------------------ */

static void put_field(output *o, const char *field)
{
    if (strpbrk(field, ",\"\r\n") == NULL) {
        prn__text_puts(&o->text, field);
        return;
    }
    prn__text_puts(&o->text, "\"");
    for (const char *c = field; *c != '\0'; c++) {
        prn__text_append(&o->text, "\"\"", *c == '"' ? 2 : 0);
        if (*c != '"') {
            prn__text_append(&o->text, c, 1);
        }
    }
    prn__text_puts(&o->text, "\"");
}

/* "," before it; nothing but that for what was not measured. */
static void put_real(output *o, double value)
{
    char digits[40];
    prn__text_puts(&o->text, ",");
    if (isfinite(value)) {
        prn__text_puts(&o->text, prn__format_real(value, digits));
    }
}

static prn_status csv_step(void *context, const prn__export_step *step, prn_error *error)
{
    output *o = context;
    const prn__timeline_strategy *line = &o->source->timeline->strategies[step->strategy];
    const prn__timeline_stage *stage = &line->stages[step->stage];
    const prn__step_metric *m = step->metric;
    put_field(o, line->label);
    prn__text_printf(&o->text, ",%" PRIu32 ",%s,%" PRId64 ",%" PRId64, stage->time_step, stage->key, m->step, step->step);
    const double values[] = {m->loss, m->learning_rate, m->gradient_norm, m->logit_scale, m->seconds, m->data_wait_s, step->samples_per_s, m->memory_bytes};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        put_real(o, values[i]);
    }
    prn__text_puts(&o->text, "\n");
    return flush(o, CHUNK, error);
}

static prn_status csv_metrics(const prn__export *source, const char *folder, prn_error *error)
{
    output o;
    prn_status status = open_output(&o, source, folder, "metrics.csv", error);
    if (status != PRN_OK) {
        return status;
    }
    prn__text_puts(&o.text, "strategy,time_step,stage,stage_step,step,loss,learning_rate,gradient_norm,logit_scale,seconds,data_wait_s,samples_per_s,"
                            "memory_bytes\n");
    for (size_t s = 0; s < source->timeline->strategy_count && status == PRN_OK; s++) {
        status = prn__export_steps(source, s, csv_step, &o, error);
    }
    return close_output(&o, status, error);
}

static prn_status csv_matrix(const prn__export *source, const char *folder, prn_error *error)
{
    output o;
    prn_status status = open_output(&o, source, folder, "matrix.csv", error);
    if (status == PRN_OK) {
        prn__results_csv(source->results, &(prn__results_view){0}, &o.text);
        status = close_output(&o, PRN_OK, error);
    }
    return status;
}

static prn_status csv_summary(const prn__export *source, const char *folder, prn_error *error)
{
    output o;
    prn_status status = open_output(&o, source, folder, "summary.csv", error);
    if (status != PRN_OK) {
        return status;
    }
    prn__text_puts(&o.text, "strategy,task,score,in_domain,backward,forward,next_domain,forgetting,gem_bwt,gem_fwt,regret,forward_macs,total_macs,"
                            "teacher_macs,tuning_macs,samples\n");
    for (size_t s = 0; s < source->results->strategy_count; s++) {
        const prn__result_strategy *strategy = &source->results->strategies[s];
        for (size_t k = 0; k < source->results->task_count; k++) {
            for (size_t n = 0; n < strategy->tasks[k].score_count; n++) {
                const prn__transfer *t = &strategy->tasks[k].scores[n].transfer;
                const double values[] = {t->in_domain, t->backward, t->forward, t->next_domain, t->forgetting, t->gem_bwt, t->gem_fwt, t->regret,
                                         strategy->forward_macs, strategy->total_macs, strategy->teacher_macs, strategy->tuning_macs};
                put_field(&o, strategy->label);
                prn__text_puts(&o.text, ",");
                put_field(&o, strategy->tasks[k].name);
                prn__text_puts(&o.text, ",");
                put_field(&o, strategy->tasks[k].scores[n].name);
                for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
                    put_real(&o, values[i]);
                }
                prn__text_printf(&o.text, ",%" PRId64 "\n", strategy->samples);
            }
        }
    }
    return close_output(&o, PRN_OK, error);
}

static prn_status csv_stages(const prn__export *source, const char *folder, prn_error *error)
{
    output o;
    prn_status status = open_output(&o, source, folder, "stages.csv", error);
    if (status != PRN_OK) {
        return status;
    }
    prn__text_puts(&o.text, "strategy,position,time_step,stage,state,updates,samples,seconds\n");
    for (size_t s = 0; s < source->timeline->strategy_count; s++) {
        const prn__timeline_strategy *line = &source->timeline->strategies[s];
        for (size_t i = 0; i < line->stage_count; i++) {
            const prn__timeline_stage *stage = &line->stages[i];
            put_field(&o, line->label);
            prn__text_printf(&o.text, ",%zu,%" PRIu32 ",%s,%s,%" PRId64 ",%" PRId64, i, stage->time_step, stage->key, stage->state, stage->steps,
                             stage->samples);
            put_real(&o, stage->seconds);
            prn__text_puts(&o.text, "\n");
        }
    }
    return close_output(&o, PRN_OK, error);
}

/* ---- JSON Lines ------------------------------------------------------------------------------------------------------------------------------ */

typedef struct record {
    prn__json json;
    json_t *object;
} record;

static record begin(const char *kind)
{
    record r = {0};
    r.object = prn__json_object(&r.json, NULL, NULL);
    prn__json_string(&r.json, r.object, "kind", kind);
    return r;
}

static prn_status end(output *o, record *r, prn_error *error)
{
    char *line = r->json.failed ? NULL : json_dumps(r->object, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(r->object);
    if (line == NULL) {
        return no_memory(error);
    }
    prn__text_puts(&o->text, line);
    prn__text_puts(&o->text, "\n");
    free(line);
    return flush(o, CHUNK, error);
}

static prn_status line_step(void *context, const prn__export_step *step, prn_error *error)
{
    output *o = context;
    const prn__timeline_strategy *line = &o->source->timeline->strategies[step->strategy];
    const prn__step_metric *m = step->metric;
    static const char *const names[] = {"loss", "learning_rate", "gradient_norm", "logit_scale", "seconds", "data_wait_s", "samples_per_s", "memory_bytes"};
    const double values[] = {m->loss, m->learning_rate, m->gradient_norm, m->logit_scale, m->seconds, m->data_wait_s, step->samples_per_s, m->memory_bytes};
    record r = begin("metric");
    prn__json_string(&r.json, r.object, "strategy", line->label);
    prn__json_integer(&r.json, r.object, "time_step", line->stages[step->stage].time_step);
    prn__json_string(&r.json, r.object, "stage", line->stages[step->stage].key);
    prn__json_integer(&r.json, r.object, "stage_step", m->step);
    prn__json_integer(&r.json, r.object, "step", step->step);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        prn__json_real(&r.json, r.object, names[i], values[i]);
    }
    return end(o, &r, error);
}

static prn_status line_run(output *o, prn_error *error)
{
    const prn__results *results = o->source->results;
    const prn__run_info *run = &results->run;
    record r = begin("run");
    prn__json_integer(&r.json, r.object, "id", run->id);
    prn__json_string(&r.json, r.object, "name", run->name);
    prn__json_string(&r.json, r.object, "state", run->state);
    prn__json_string(&r.json, r.object, "started", run->started);
    prn__json_string(&r.json, r.object, "finished", run->finished[0] != '\0' ? run->finished : NULL);
    prn__json_string(&r.json, r.object, "stream", run->stream);
    prn__json_string(&r.json, r.object, "model", run->model);
    prn__json_string(&r.json, r.object, "backend", run->backend);
    prn__json_parsed(&r.json, r.object, "resolved", o->source->timeline->resolved);
    json_t *names = prn__json_array(&r.json, r.object, "time_steps");
    for (uint32_t t = 0; t < results->step_count; t++) {
        prn__json_string(&r.json, names, NULL, results->step_names[t]);
    }
    prn__json_real(&r.json, r.object, "forward_macs", results->forward_macs);
    prn__json_real(&r.json, r.object, "total_macs", results->total_macs);
    prn__json_integer(&r.json, r.object, "samples", results->samples);
    prn__json_parsed(&r.json, r.object, "environment", results->environment);
    return end(o, &r, error);
}

static prn_status line_score(output *o, const prn__result_strategy *strategy, const prn__result_task *task, const prn__result_score *score,
                             prn_error *error)
{
    const uint32_t steps = o->source->results->step_count;
    const prn__transfer *t = &score->transfer;
    prn_status status = PRN_OK;
    for (size_t cell = 0; cell < (size_t)steps * steps && status == PRN_OK; cell++) {
        record r = begin("score");
        prn__json_string(&r.json, r.object, "strategy", strategy->label);
        prn__json_string(&r.json, r.object, "task", task->name);
        prn__json_string(&r.json, r.object, "score", score->name);
        prn__json_integer(&r.json, r.object, "after_step", (int64_t)(cell / steps) + 1);
        prn__json_integer(&r.json, r.object, "task_step", (int64_t)(cell % steps) + 1);
        prn__json_real(&r.json, r.object, "value", score->matrix[cell]);
        status = end(o, &r, error);
    }
    if (status != PRN_OK) {
        return status;
    }
    static const char *const names[] = {"in_domain", "backward", "forward", "next_domain", "forgetting", "gem_bwt", "gem_fwt", "regret"};
    const double values[] = {t->in_domain, t->backward, t->forward, t->next_domain, t->forgetting, t->gem_bwt, t->gem_fwt, t->regret};
    record r = begin("summary");
    prn__json_string(&r.json, r.object, "strategy", strategy->label);
    prn__json_string(&r.json, r.object, "task", task->name);
    prn__json_string(&r.json, r.object, "score", score->name);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        prn__json_real(&r.json, r.object, names[i], values[i]);
    }
    return end(o, &r, error);
}

static prn_status line_strategy(output *o, size_t s, prn_error *error)
{
    const prn__result_strategy *strategy = &o->source->results->strategies[s];
    const prn__timeline_strategy *line = &o->source->timeline->strategies[s];
    record r = begin("strategy");
    prn__json_string(&r.json, r.object, "strategy", strategy->label);
    prn__json_string(&r.json, r.object, "plugin", strategy->strategy);
    prn__json_parsed(&r.json, r.object, "options", strategy->options);
    prn__json_real(&r.json, r.object, "forward_macs", strategy->forward_macs);
    prn__json_real(&r.json, r.object, "total_macs", strategy->total_macs);
    prn__json_real(&r.json, r.object, "teacher_macs", strategy->teacher_macs);
    prn__json_real(&r.json, r.object, "tuning_macs", strategy->tuning_macs);
    prn__json_integer(&r.json, r.object, "samples", strategy->samples);
    prn_status status = end(o, &r, error);
    for (size_t i = 0; i < line->stage_count && status == PRN_OK; i++) {
        r = begin("stage");
        prn__json_string(&r.json, r.object, "strategy", line->label);
        prn__json_integer(&r.json, r.object, "time_step", line->stages[i].time_step);
        prn__json_string(&r.json, r.object, "stage", line->stages[i].key);
        prn__json_string(&r.json, r.object, "state", line->stages[i].state);
        prn__json_integer(&r.json, r.object, "updates", line->stages[i].steps);
        prn__json_integer(&r.json, r.object, "samples", line->stages[i].samples);
        prn__json_real(&r.json, r.object, "seconds", line->stages[i].seconds);
        status = end(o, &r, error);
    }
    for (size_t k = 0; k < o->source->results->task_count && status == PRN_OK; k++) {
        for (size_t n = 0; n < strategy->tasks[k].score_count && status == PRN_OK; n++) {
            status = line_score(o, strategy, &strategy->tasks[k], &strategy->tasks[k].scores[n], error);
        }
    }
    return status == PRN_OK ? prn__export_steps(o->source, s, line_step, o, error) : status;
}

static prn_status write_lines(const prn__export *source, const char *path, prn_error *error)
{
    output o;
    prn_status status = open_output(&o, source, NULL, path, error);
    if (status != PRN_OK) {
        return status;
    }
    status = line_run(&o, error);
    for (size_t s = 0; s < source->results->strategy_count && s < source->timeline->strategy_count && status == PRN_OK; s++) {
        status = line_strategy(&o, s, error);
    }
    for (size_t i = 0; i < source->results->skip_count && status == PRN_OK; i++) {
        const prn__skip_count *skip = &source->results->skips[i];
        record r = begin("skipped");
        prn__json_string(&r.json, r.object, "stage", skip->stage);
        prn__json_string(&r.json, r.object, "shard", skip->shard);
        prn__json_string(&r.json, r.object, "reason", skip->reason);
        prn__json_integer(&r.json, r.object, "count", skip->count);
        status = end(&o, &r, error);
    }
    return close_output(&o, status, error);
}

prn_status prn__export_write(const prn__export *source, prn__export_format format, const char *path, prn_error *error)
{
    if (format == PRN__EXPORT_JSONL) {
        return write_lines(source, path, error);
    }
    prn_status status = prn__folder_create(path, error);
    if (status == PRN_OK && format == PRN__EXPORT_TENSORBOARD) {
        return prn__export_tensorboard(source, path, error);
    }
    prn_status (*const tables[])(const prn__export *, const char *, prn_error *) = {csv_matrix, csv_metrics, csv_summary, csv_stages};
    for (size_t i = 0; i < sizeof tables / sizeof tables[0] && status == PRN_OK; i++) {
        status = tables[i](source, path, error);
    }
    return status;
}
