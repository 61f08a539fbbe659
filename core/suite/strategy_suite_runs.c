/* core/suite/strategy_suite_runs.c: the checks of the strategy suite that plan and run a tiny recipe.
 *
 * Invariants: every run goes through prn__plan_create and prn__run_execute, as a user's does; each has a workspace of its own.
 */
#include "suite/strategy_suite_internal.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "model/safetensors.h"
#include "run/executor.h"
#include "ledger/results.h"
#include "run/stage_files.h"

enum { UPDATES_A_RUN = 2, FAILING_UPDATE = 3, ATTEMPT_LIMIT = 2000 };

typedef struct run_watch {
    prn__suite *s;
    prn__suite_base *base;  /* the first run notes what it sees here; else NULL */
    int64_t stop_after;     /* updates of one attempt; 0: no end */
    int64_t updates;
    const char *fail_name;  /* the callback that fails; NULL: none */
    int64_t fail_call, calls;
    uint32_t failed_step;   /* 0: nothing has failed */
} run_watch;

static prn_status no_memory(prn_error *error)
{
    return prn_error_set(error, PRN_NO_MEMORY, "out of memory in the strategy suite");
}

/* ---- a run --------------------------------------------------------------------------------------------------------------------- */

static int is_stopped_outside(const prn__suite *s)
{
    return s->options->should_stop != NULL && s->options->should_stop(s->options->context);
}

static int watch_stop(void *context)
{
    const run_watch *w = context;
    return (w->stop_after > 0 && w->updates >= w->stop_after) || is_stopped_outside(w->s);
}

static void watch_progress(void *context, const prn__progress *progress)
{
    run_watch *w = context;
    if (strcmp(progress->phase, "train") == 0) {
        w->updates++;
    }
}

static void note_callback(prn__suite_base *base, const prn__callback *callback)
{
    const int is_finish = strcmp(callback->name, "finish") == 0;
    size_t i = 0;
    if (strcmp(callback->name, "training") == 0) {
        base->is_composing = 0;
        return;
    }
    while (i < base->callback_count && strcmp(base->callbacks[i].name, callback->name) != 0) {
        i++;
    }
    if (i == base->callback_count && i < sizeof base->callbacks / sizeof base->callbacks[0]) {
        (void)snprintf(base->callbacks[i].name, sizeof base->callbacks[i].name, "%s", callback->name);
        base->callback_count++;
    }
    if (strncmp(callback->name, "compose", 7) == 0 && !callback->is_over) {
        base->is_composing = 1;
    }
    if (is_finish && callback->is_over && callback->declared_kept_vectors >= 0) {
        base->kept_vectors += callback->kept_vectors;
        if (callback->kept_vectors > callback->declared_kept_vectors ||
            (callback->status == PRN_OK && callback->kept_vectors < callback->declared_kept_vectors)) {
            base->wrongly_kept = callback->kept_vectors;
            base->wrongly_declared = callback->declared_kept_vectors;
            base->wrongly_kept_step = callback->time_step;
        }
    }
    if (is_finish && callback->is_over && !base->overuses) {
        base->overuses = callback->gradient_batches > callback->declared_gradient_batches || callback->scores > callback->declared_scores;
        if (callback->gradient_batches != callback->declared_gradient_batches || callback->scores != callback->declared_scores) {
            base->overused_step = callback->time_step;
        }
        base->gradient_batches += callback->gradient_batches;
        base->declared_gradient_batches += callback->declared_gradient_batches;
        base->scores += callback->scores;
        base->declared_scores += callback->declared_scores;
    }
}

static prn_status watch_callback(void *context, const prn__callback *callback, prn_error *error)
{
    run_watch *w = context;
    if (w->base != NULL) {
        note_callback(w->base, callback);
    }
    if (!callback->is_over && w->fail_name != NULL && strcmp(callback->name, w->fail_name) == 0 && ++w->calls == w->fail_call) {
        w->failed_step = callback->time_step;
        return prn_error_set(error, PRN_IO, "the suite makes `%s` fail", callback->name);
    }
    return PRN_OK;
}

static prn_status make_recipe(prn__suite *s, const char *manifest, const char *workspace, prn__recipe **result, prn_error *error)
{
    prn__recipe *r = prn__arena_alloc(&s->memory, sizeof *r);
    prn__recipe_strategy *asked = prn__arena_alloc(&s->memory, sizeof *asked);
    if (r == NULL || asked == NULL || (r->manifest_path = prn__arena_printf(&s->memory, "%s/%s", s->folder, manifest)) == NULL ||
        (r->workspace = prn__arena_printf(&s->memory, "%s/%s", s->folder, workspace)) == NULL ||
        (r->reference_path = prn__arena_printf(&s->memory, "%s/reference.yaml", s->folder)) == NULL) {
        return no_memory(error);
    }
    *asked = (prn__recipe_strategy){.label = s->strategy, .strategy = s->strategy, .options = s->options->given, .option_count = s->options->given_count,
                                    .line = 1};
    if (s->options->own != NULL) {
        asked->table = s->options->own->table;
        asked->host = s->options->own->host;
        asked->source_digest = s->options->own->source_digest;
    }
    r->path = "suite";
    r->text = "-- the strategy suite";
    r->name = "suite";
    (void)snprintf(r->model.name, sizeof r->model.name, "suite");
    r->model.embed_dim = 16;
    r->model.vision.image_size = 16;
    r->model.vision.patch_size = 8;
    r->model.vision.width = 16;
    r->model.vision.layers = 1;
    r->model.vision.head_width = 8;
    r->model.vision.mlp_ratio = 2;
    r->model.text.context_length = 20;
    r->model.text.vocab_size = 560;
    r->model.text.width = 16;
    r->model.text.heads = 2;
    r->model.text.layers = 1;
    r->model.text.mlp_ratio = 2;
    for (int i = 0; i < 3; i++) {
        r->model.mean[i] = 0.5f;
        r->model.std[i] = 0.25f;
    }
    r->backend = s->backend;
    r->seed = 3;
    r->batch = s->batch;
    r->optimizer = (prn__optimizer_config){.beta1 = 0.9, .beta2 = 0.98, .epsilon = 1e-6, .decay = 0.2};
    r->schedule = (prn__schedule){.kind = PRN__SCHEDULE_CONSTANT, .peak = 1e-3};
    r->budget_unit = PRN__BUDGET_SAMPLES;
    r->budget = PRN__SUITE_UPDATES * s->batch;
    r->augment = 1;
    r->scale_low = 0.9;
    r->scale_high = 1;
    r->shuffle = 1;
    r->data_threads = 1;
    r->recall_k[0] = 1;
    r->recall_k_count = 1;
    r->eval_batch = 16;
    r->strategies = asked;
    r->strategy_count = 1;
    *result = r;
    return PRN_OK;
}

static prn_status execute(prn__suite *s, const prn__recipe *recipe, run_watch *w, prn_error *error)
{
    prn__plan *plan = NULL;
    const prn__run_options options = {.progress = watch_progress, .progress_context = w, .should_stop = watch_stop, .stop_context = w,
                                      .callback = watch_callback, .callback_context = w};
    prn_status status = prn__plan_create(recipe, s->registry, &plan, error);
    if (status == PRN_OK) {
        status = prn__run_execute(plan, s->registry, &options, error);
    }
    prn__plan_destroy(plan);
    return status;
}

/* A whole run in a workspace, stopped after every so many updates and gone on with. */
static prn_status run_through(prn__suite *s, const char *workspace, int64_t stop_after, int64_t *stops, prn_error *own, prn_error *error)
{
    prn__recipe *recipe;
    run_watch w = {.s = s, .stop_after = stop_after};
    prn_status status = make_recipe(s, "stream.yaml", workspace, &recipe, error);
    *stops = 0;
    if (status != PRN_OK) {
        return status;
    }
    for (int attempt = 0; attempt < ATTEMPT_LIMIT; attempt++) {
        w.updates = 0;
        status = execute(s, recipe, &w, own);
        if (status != PRN_INTERRUPTED) {
            break;
        }
        if (is_stopped_outside(s)) {
            return prn_error_set(error, PRN_INTERRUPTED, "the strategy suite was stopped");
        }
        (*stops)++;
    }
    return PRN_OK; /* own->status says how it went */
}

/* ---- what runs left --------------------------------------------------------------------------------------------------------------- */

static char *file_of(prn__suite *s, const char *workspace, const char *key, const char *name)
{
    return prn__arena_printf(&s->memory, "%s/%s/stages/%s/%s", s->folder, workspace, key, name);
}

/* The same bytes, or not there on either side. */
static prn_status same_file(const char *a, const char *b, int *is_same, prn_error *error)
{
    prn__digest left, right;
    *is_same = 0;
    if (a == NULL || b == NULL) {
        return no_memory(error);
    }
    if (!prn__file_exists(a) || !prn__file_exists(b)) {
        *is_same = !prn__file_exists(a) && !prn__file_exists(b);
        return PRN_OK;
    }
    prn_status status = prn__hash_file(a, &left, error);
    if (status == PRN_OK) {
        status = prn__hash_file(b, &right, error);
    }
    *is_same = status == PRN_OK && left.high == right.high && left.low == right.low;
    return status;
}

static prn_status plan_of(prn__suite *s, const char *workspace, prn__plan **plan, prn_error *error)
{
    prn__recipe *recipe;
    prn_status status = make_recipe(s, "stream.yaml", workspace, &recipe, error);
    return status == PRN_OK ? prn__plan_create(recipe, s->registry, plan, error) : status;
}

/* Every stage of the first run lies in `workspace`, too, with the same weights and kept vectors. */
static prn_status compare_runs(prn__suite *s, const char *workspace, const char *how, prn__suite_verdict *verdict, prn_error *error)
{
    static const char *const names[] = {"open_clip_model.safetensors", "kept.safetensors"};
    static const char *const what[] = {"the weights", "what it keeps"};
    prn__plan *plan = NULL;
    prn_status status = plan_of(s, workspace, &plan, error);
    for (uint32_t i = 0; status == PRN_OK && i < plan->stage_count && verdict->outcome == PRN__SUITE_PASSED; i++) {
        const prn__stage *stage = &plan->stages[i];
        char *mine = file_of(s, "base", stage->key, names[0]);
        if (mine == NULL) {
            status = no_memory(error);
        } else if (!stage->is_done || !prn__file_exists(mine)) {
            prn__suite_say(verdict, PRN__SUITE_FAILED, "%s, time step %u is another stage: `plan` does not give the same answer", how, stage->time_step);
        }
        for (size_t k = 0; k < 2 && status == PRN_OK && verdict->outcome == PRN__SUITE_PASSED; k++) {
            int is_same;
            status = same_file(file_of(s, "base", stage->key, names[k]), file_of(s, workspace, stage->key, names[k]), &is_same, error);
            if (status == PRN_OK && !is_same) {
                prn__suite_say(verdict, PRN__SUITE_FAILED, "%s, %s after %s time step %u %s not the same; everything must follow from the options, the time"
                               " line and what the host hands over", how, what[k], (stage->hooks & PRN_HOOK_FINISH) != 0 ? "finishing" : "training",
                               stage->time_step, k == 0 ? "are" : "is");
            }
        }
    }
    prn__plan_destroy(plan);
    return status;
}

/* ---- plans ------------------------------------------------------------------------------------------------------------------------ */

prn_status prn__suite_plan(prn__suite *s, prn__suite_verdict *verdict, prn_error *error)
{
    static const uint32_t lines[] = {1, 2, 7};
    double multiples = 0;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0] && verdict->outcome == PRN__SUITE_PASSED; i++) {
        char name[32];
        prn_error own = PRN_ERROR_INIT;
        prn__recipe *recipe;
        prn__plan *plan = NULL;
        (void)snprintf(name, sizeof name, "line-%u.yaml", lines[i]);
        prn_status status = make_recipe(s, name, "plans", &recipe, error);
        if (status != PRN_OK) {
            return status;
        }
        if (prn__plan_create(recipe, s->registry, &plan, &own) != PRN_OK) {
            prn__suite_say(verdict, PRN__SUITE_FAILED, "on a time line of %u steps: %s", lines[i], own.message);
        } else {
            multiples = (double)plan->lines[0].samples / (double)recipe->budget;
        }
        prn__plan_destroy(plan);
    }
    if (verdict->outcome == PRN__SUITE_PASSED) {
        prn__suite_say(verdict, PRN__SUITE_PASSED, "7 steps cost %.4g C", multiples);
    }
    return PRN_OK;
}

/* ---- the first run ----------------------------------------------------------------------------------------------------------------- */

static void check_weights(const float *weights, int64_t n, const prn__stage *stage, prn__suite_verdict *verdict)
{
    for (int64_t i = 0; i < n && verdict->outcome == PRN__SUITE_PASSED; i++) {
        if (!isfinite(weights[i])) {
            prn__suite_say(verdict, PRN__SUITE_FAILED, "the weights after time step %u are not finite (value %" PRId64 " of %" PRId64 ")", stage->time_step, i,
                           n);
        }
    }
}

static prn_status check_training(prn__suite *s, const prn__plan *plan, prn__suite_verdict *verdict, prn_error *error)
{
    prn_status status = PRN_OK;
    int64_t updates = 0;
    float *weights = prn__alloc_array((size_t)plan->model->flat_elements, sizeof *weights);
    for (uint32_t i = 0; weights != NULL && i < plan->stage_count && status == PRN_OK; i++) {
        const prn__stage *stage = &plan->stages[i];
        if (!stage->is_done) {
            prn__suite_say(verdict, PRN__SUITE_FAILED, "asked again, `plan` wants another stage at time step %u than the one that ran", stage->time_step);
            s->base.is_done = 0;
            break;
        }
        char *folder = prn__stage_folder(plan->recipe->workspace, stage->key);
        status = folder != NULL ? prn__model_load(plan->model, folder, weights, error) : no_memory(error);
        prn__free(folder);
        if (status == PRN_OK) {
            check_weights(weights, plan->model->flat_elements, stage, verdict);
        }
        updates += stage->steps;
    }
    if (weights == NULL) {
        status = no_memory(error);
    }
    prn__free(weights);
    if (verdict->outcome == PRN__SUITE_PASSED) {
        prn__suite_say(verdict, PRN__SUITE_PASSED, "%d time steps, %u stages, %" PRId64 " updates of %" PRId64 " samples, backend %s", PRN__SUITE_STEPS,
                       plan->stage_count, updates, s->batch, s->backend);
    }
    return status;
}

static prn_status check_cost(prn__suite *s, const prn__plan *plan, prn__suite_verdict *verdict, prn_error *error)
{
    const prn__suite_base *base = &s->base;
    prn_error own = PRN_ERROR_INIT;
    prn__answers answers = {0};
    prn_time_line line;
    prn_status status = prn__time_line_make(plan->step_count, PRN__SUITE_FIRST, PRN__SUITE_MORE, plan->recipe->budget, &line, error);
    if (status != PRN_OK) {
        return status;
    }
    if (prn__strategy_ask(prn__suite_real_host(s), s->table, s->options->given, s->options->given_count, &line, PRN__ASK_FORWARD, &answers, &own) !=
        PRN_OK) {
        prn__suite_say(verdict, PRN__SUITE_FAILED, "%s", own.message);
    }
    for (uint32_t t = 0; t < plan->step_count && verdict->outcome == PRN__SUITE_PASSED && status == PRN_OK; t++) {
        const prn__stage *stage = &plan->stages[plan->lines[0].trained[t]];
        const double allowed = answers.requests[t].budget_multiple * (double)plan->recipe->budget * (1 + 1e-9);
        prn__step_metric *metrics = NULL;
        size_t count = 0;
        status = prn__results_metrics(plan->recipe->workspace, stage->key, 0, &metrics, &count, error);
        prn__free(metrics);
        if (status == PRN_OK && ((double)stage->samples > allowed || (int64_t)count != stage->steps)) {
            prn__suite_say(verdict, PRN__SUITE_FAILED, "time step %u made %zu updates of %" PRId64 " samples; its plan said %" PRId64 " updates, its budget"
                           " allows %.0f samples", t + 1, count, s->batch, stage->steps, allowed);
        }
    }
    if (verdict->outcome == PRN__SUITE_PASSED && status == PRN_OK && base->overused_step > 0) {
        prn__suite_say(verdict, PRN__SUITE_FAILED, "`finish` used %" PRId64 " gradient batches and %" PRId64 " scores, `plan` declared %" PRId64 " and %" PRId64
                       " (time step %u is the last that differs)", base->gradient_batches, base->scores, base->declared_gradient_batches,
                       base->declared_scores, base->overused_step);
    } else if (verdict->outcome == PRN__SUITE_PASSED && status == PRN_OK) {
        prn__suite_say(verdict, PRN__SUITE_PASSED, "%" PRId64 " samples, %" PRId64 " gradient batches, %" PRId64 " scores, %" PRId64 " kept vectors",
                       plan->lines[0].samples, base->gradient_batches, base->scores, base->kept_vectors);
    }
    prn__answers_drop(&answers);
    prn__time_line_drop(&line);
    return status;
}

/* What is kept takes the bytes that the plan counts. */
static prn_status check_kept_bytes(prn__suite *s, const prn__plan *plan, prn__suite_verdict *verdict, prn_error *error)
{
    double bytes = 0;
    prn_status status = PRN_OK;
    for (uint32_t i = 0; i < plan->stage_count && status == PRN_OK; i++) {
        prn__safetensors *file = NULL;
        char *path = file_of(s, "base", plan->stages[i].key, "kept.safetensors");
        if (path == NULL) {
            return no_memory(error);
        }
        if (plan->stages[i].kept_vectors < 0) { /* a plugin that is older than the declaration */
            return PRN_OK;
        }
        if (!prn__file_exists(path)) {
            continue;
        }
        status = prn__safetensors_open(path, &file, error);
        for (size_t k = 0; status == PRN_OK && k < prn__safetensors_count(file); k++) {
            bytes += (double)prn__safetensors_at(file, k)->bytes;
        }
        prn__safetensors_close(file);
    }
    if (status == PRN_OK && bytes != plan->lines[0].kept_bytes) {
        prn__suite_say(verdict, PRN__SUITE_FAILED, "`finish` kept %.0f bytes of vectors, and the plan counted %.0f; declare them as kept_vectors", bytes,
                       plan->lines[0].kept_bytes);
    }
    return status;
}

/* Which of the three a failed run speaks against: what it overused, what it composed, or its training. */
static void judge_failure(const prn__suite_base *base, const prn_error *own, prn__suite_verdict *loss, prn__suite_verdict *training, prn__suite_verdict *cost)
{
    prn__suite_verdict *const all[] = {loss, training, cost};
    prn__suite_verdict *guilty = base->overuses || base->wrongly_kept_step > 0 ? cost : base->is_composing ? loss : training;
    for (size_t i = 0; i < 3; i++) {
        if (all[i] != guilty) {
            prn__suite_say(all[i], PRN__SUITE_SKIPPED, "the first whole run failed");
        }
    }
    prn__suite_say(guilty, PRN__SUITE_FAILED, "%s", own->message);
}

prn_status prn__suite_base_run(prn__suite *s, prn__suite_verdict *loss, prn__suite_verdict *training, prn__suite_verdict *cost, prn_error *error)
{
    prn_error own = PRN_ERROR_INIT;
    prn__recipe *recipe;
    prn__plan *plan = NULL;
    run_watch w = {.s = s, .base = &s->base};
    prn_status status = make_recipe(s, "stream.yaml", "base", &recipe, error);
    if (status != PRN_OK) {
        return status;
    }
    const int64_t live = prn__alloc_live();
    status = execute(s, recipe, &w, &own);
    s->base.leaked = prn__alloc_live() - live;
    if (status == PRN_INTERRUPTED) {
        return prn_error_set(error, PRN_INTERRUPTED, "the strategy suite was stopped");
    }
    if (status != PRN_OK) {
        judge_failure(&s->base, &own, loss, training, cost);
        return PRN_OK;
    }
    s->base.is_done = 1;
    int terms = 0;
    for (size_t i = 0; i < s->base.callback_count; i++) {
        terms += strncmp(s->base.callbacks[i].name, "compose", 7) == 0;
    }
    if (terms == 0) {
        prn__suite_say(loss, PRN__SUITE_SKIPPED, "it adds no loss terms");
    } else {
        prn__suite_say(loss, PRN__SUITE_PASSED, "%d of its callbacks compose", terms);
    }
    status = plan_of(s, "base", &plan, error);
    if (status == PRN_OK) {
        status = check_training(s, plan, training, error);
    }
    if (status == PRN_OK && s->base.is_done) {
        status = check_cost(s, plan, cost, error);
        if (status == PRN_OK && cost->outcome == PRN__SUITE_PASSED) {
            status = check_kept_bytes(s, plan, cost, error);
        }
    } else {
        prn__suite_say(cost, PRN__SUITE_SKIPPED, "what ran is not what is planned");
    }
    prn__plan_destroy(plan);
    return status;
}

/* ---- finishing ---------------------------------------------------------------------------------------------------------------------- */

static prn_status has_notes(prn__suite *s, const prn__stage *stage, int *found, prn_error *error)
{
    char *path = file_of(s, "base", stage->key, "stage.json"), *text = NULL;
    size_t bytes = 0;
    prn_status status = path != NULL ? prn__file_read(path, 1 << 20, &text, &bytes, error) : no_memory(error);
    if (status == PRN_OK) {
        json_t *object = json_loadb(text, bytes, 0, NULL);
        *found = json_object_size(json_object_get(object, "notes")) > 0;
        json_decref(object);
    }
    prn__free(text);
    return status;
}

prn_status prn__suite_finish(prn__suite *s, prn__suite_verdict *verdict, prn_error *error)
{
    prn__plan *plan = NULL;
    int64_t count = 0;
    prn_status status = plan_of(s, "base", &plan, error);
    for (uint32_t i = 0; status == PRN_OK && i < plan->stage_count && verdict->outcome == PRN__SUITE_PASSED; i++) {
        const prn__stage *stage = &plan->stages[i];
        int is_same = 0, notes = 0;
        char *kept = file_of(s, "base", stage->key, "kept.safetensors");
        if ((stage->hooks & PRN_HOOK_FINISH) == 0) {
            continue;
        }
        count++;
        status = same_file(file_of(s, "base", stage->key, "open_clip_model.safetensors"),
                           file_of(s, "base", plan->stages[stage->parent].key, "open_clip_model.safetensors"), &is_same, error);
        if (status == PRN_OK) {
            status = kept != NULL ? has_notes(s, stage, &notes, error) : no_memory(error);
        }
        if (status == PRN_OK && is_same && !notes && !prn__file_exists(kept)) {
            prn__suite_say(verdict, PRN__SUITE_FAILED, "`finish` of time step %u leaves the weights as they were trained, keeps nothing and notes nothing;"
                           " write what is deployed into stage->weights, or do not ask for PRN_HOOK_FINISH", stage->time_step);
        }
    }
    if (verdict->outcome == PRN__SUITE_PASSED) {
        prn__suite_say(verdict, count > 0 ? PRN__SUITE_PASSED : PRN__SUITE_SKIPPED, count > 0 ? "%" PRId64 " finishing stages" : "it finishes no stage", count);
    }
    prn__plan_destroy(plan);
    return status;
}

static prn_status check_kept_file(const char *path, int64_t n, uint32_t time_step, float *values, int64_t *count, prn__suite_verdict *verdict,
                                  prn_error *error)
{
    prn__safetensors *file = NULL;
    prn_status status = prn__safetensors_open(path, &file, error);
    for (size_t i = 0; status == PRN_OK && i < prn__safetensors_count(file); i++) {
        const prn__st_tensor *tensor = prn__safetensors_at(file, i);
        status = prn__safetensors_read_f32(tensor, values, n, error);
        for (int64_t k = 0; k < n && status == PRN_OK && verdict->outcome == PRN__SUITE_PASSED; k++) {
            if (!isfinite(values[k])) {
                prn__suite_say(verdict, PRN__SUITE_FAILED, "'%s', kept by time step %u, is not finite (value %" PRId64 " of %" PRId64 ")", tensor->name,
                               time_step, k, n);
            }
        }
        (*count)++;
    }
    prn__safetensors_close(file);
    return status;
}

prn_status prn__suite_kept(prn__suite *s, prn__suite_verdict *verdict, prn_error *error)
{
    prn__plan *plan = NULL;
    int64_t count = 0;
    float *values = NULL;
    prn_status status = plan_of(s, "base", &plan, error);
    if (status == PRN_OK && (values = prn__alloc_array((size_t)plan->model->flat_elements, sizeof *values)) == NULL) {
        status = no_memory(error);
    }
    for (uint32_t i = 0; status == PRN_OK && i < plan->stage_count && verdict->outcome == PRN__SUITE_PASSED; i++) {
        char *path = file_of(s, "base", plan->stages[i].key, "kept.safetensors");
        if (path == NULL) {
            status = no_memory(error);
        } else if (prn__file_exists(path)) {
            status = check_kept_file(path, plan->model->flat_elements, plan->stages[i].time_step, values, &count, verdict, error);
        }
    }
    if (verdict->outcome == PRN__SUITE_PASSED) {
        prn__suite_say(verdict, count > 0 ? PRN__SUITE_PASSED : PRN__SUITE_SKIPPED, count > 0 ? "%" PRId64 " vectors" : "it keeps nothing", count);
    }
    prn__free(values);
    prn__plan_destroy(plan);
    return status;
}

/* ---- again, with interruptions, with failures ------------------------------------------------------------------------------------------ */

prn_status prn__suite_repeat(prn__suite *s, prn__suite_verdict *verdict, prn_error *error)
{
    prn_error own = PRN_ERROR_INIT;
    int64_t stops;
    prn_status status = run_through(s, "again", 0, &stops, &own, error);
    if (status == PRN_OK && own.status != PRN_OK) {
        prn__suite_say(verdict, PRN__SUITE_FAILED, "the second run fails: %s", own.message);
    }
    return status == PRN_OK && verdict->outcome == PRN__SUITE_PASSED ? compare_runs(s, "again", "run a second time", verdict, error) : status;
}

prn_status prn__suite_resume(prn__suite *s, prn__suite_verdict *verdict, prn_error *error)
{
    prn_error own = PRN_ERROR_INIT;
    int64_t stops;
    prn_status status = run_through(s, "stops", UPDATES_A_RUN, &stops, &own, error);
    if (status == PRN_OK && own.status != PRN_OK && own.status != PRN_INTERRUPTED) {
        prn__suite_say(verdict, PRN__SUITE_FAILED, "after %" PRId64 " interruptions: %s", stops, own.message);
    }
    if (status == PRN_OK && verdict->outcome == PRN__SUITE_PASSED) {
        status = compare_runs(s, "stops", "interrupted after every 2 updates", verdict, error);
    }
    if (status == PRN_OK && verdict->outcome == PRN__SUITE_PASSED) {
        prn__suite_say(verdict, PRN__SUITE_PASSED, "%" PRId64 " interruptions", stops);
    }
    return status;
}

/* What was finished before stays finished; a bit for each stage. */
static prn_status finished(prn__suite *s, uint64_t *done, prn_error *error)
{
    prn__plan *plan = NULL;
    prn_status status = plan_of(s, "fails", &plan, error);
    *done = 0;
    for (uint32_t i = 0; status == PRN_OK && i < plan->stage_count && i < 64; i++) {
        *done |= plan->stages[i].is_done ? (uint64_t)1 << i : 0;
    }
    prn__plan_destroy(plan);
    return status;
}

static void check_message(const prn__suite *s, const run_watch *w, const prn_error *own, prn__suite_verdict *verdict)
{
    char step[48], label[96];
    (void)snprintf(step, sizeof step, "time step %u (%u)", w->failed_step, w->failed_step);
    (void)snprintf(label, sizeof label, "strategy '%s'", s->strategy);
    if (own->status == PRN_OK) {
        prn__suite_say(verdict, PRN__SUITE_FAILED, "the run went on although `%s` of time step %u failed", w->fail_name, w->failed_step);
    } else if (strstr(own->message, label) == NULL || strstr(own->message, step) == NULL || strstr(own->message, "the suite makes") == NULL) {
        prn__suite_say(verdict, PRN__SUITE_FAILED, "the message lacks the strategy, the time step or the reason: %s", own->message);
    }
}

prn_status prn__suite_reported(prn__suite *s, prn__suite_verdict *verdict, prn_error *error)
{
    prn__recipe *recipe;
    int64_t stops, failures = 0;
    uint64_t before = 0, after = 0;
    prn_status status = make_recipe(s, "stream.yaml", "fails", &recipe, error);
    if (s->base.callback_count == 0) {
        prn__suite_say(verdict, PRN__SUITE_SKIPPED, "no code of its runs inside a stage");
        return status;
    }
    for (size_t i = 0; i < s->base.callback_count && status == PRN_OK && verdict->outcome == PRN__SUITE_PASSED; i++) {
        prn_error own = PRN_ERROR_INIT;
        const char *name = s->base.callbacks[i].name;
        run_watch w = {.s = s, .fail_name = name, .fail_call = strcmp(name, "change_gradient") == 0 ? FAILING_UPDATE : 1};
        if (execute(s, recipe, &w, &own) == PRN_INTERRUPTED && is_stopped_outside(s)) {
            return prn_error_set(error, PRN_INTERRUPTED, "the strategy suite was stopped");
        }
        if (w.failed_step > 0) {
            check_message(s, &w, &own, verdict);
            failures++;
        }
        status = finished(s, &after, error);
        if (status == PRN_OK && (before & ~after) != 0) {
            prn__suite_say(verdict, PRN__SUITE_FAILED, "after `%s` failed, a stage that was finished before is gone", name);
        }
        before = after;
    }
    if (status == PRN_OK && verdict->outcome == PRN__SUITE_PASSED) {
        prn_error own = PRN_ERROR_INIT;
        status = run_through(s, "fails", 0, &stops, &own, error);
        if (status == PRN_OK && own.status != PRN_OK) {
            prn__suite_say(verdict, PRN__SUITE_FAILED, "after the failures, the same run does not go on: %s", own.message);
        }
    }
    if (status == PRN_OK && verdict->outcome == PRN__SUITE_PASSED) {
        status = compare_runs(s, "fails", "after callbacks that failed", verdict, error);
    }
    if (status == PRN_OK && verdict->outcome == PRN__SUITE_PASSED) {
        prn__suite_say(verdict, PRN__SUITE_PASSED, "%" PRId64 " callbacks failed, and the run went on to the same weights", failures);
    }
    return status;
}
