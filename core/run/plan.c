/* core/run/plan.c: see plan.h.
 *
 * Strategies are asked time step by time step, all of them at one step before the next: parents come first by
 * construction, and a run that stops early has every strategy at about the same step.
 * The key holds what can change a stage's bytes and nothing else: not the recipe's name, the strategy, the thread count, what is
 * evaluated or when checkpoints are saved. So strategies share stages, and so do recipes in one workspace.
 */
#include "run/plan.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "data/dataset.h"
#include "run/record.h"
#include "run/stage_files.h"

/* Changes when the meaning of a recipe changes, so that old stages are not taken for new ones. */
static const char STAGE_FORMAT[] = "perennial-stage/1";

static const int64_t STEPS_LIMIT = 100000000; /* of one stage: bounds the table of learning rates to 400 MB */

typedef struct opened_strategy {
    const prn_strategy *table;
    prn_strategy_instance *instance;
    prn__options *options;
} opened_strategy;

typedef struct planner {
    prn__plan *plan;
    const prn__recipe *recipe;
    prn__registry *registry;
    opened_strategy *strategies;
    prn_time_line line;
    prn_time_step *time_steps;
    prn_source *sources;     /* (T) */
    float *rates;            /* scratch, (rates_capacity) */
    int64_t rates_capacity;
    char common[33];         /* digest of what all stages have in common */
    double sample_forward_macs, sample_total_macs;
} planner;

static prn_status no_memory(prn_error *error)
{
    return prn_error_set(error, PRN_NO_MEMORY, "out of memory while planning");
}

/* ---- hashing ---------------------------------------------------------------------------------------------------------- */

static void field_integer(prn__hasher *hasher, const char *name, int64_t value)
{
    char text[32];
    (void)snprintf(text, sizeof text, "%" PRId64, value);
    prn__hasher_field(hasher, name, text);
}

static void field_real(prn__hasher *hasher, const char *name, double value)
{
    char text[40];
    (void)snprintf(text, sizeof text, "%.17g", value);
    prn__hasher_field(hasher, name, text);
}

static prn_status field_file(prn__hasher *hasher, const char *name, const char *path, prn_error *error)
{
    prn__digest digest;
    char text[33];
    prn_status status = prn__hash_file(path, &digest, error);
    if (status == PRN_OK) {
        prn__digest_format(digest, text);
        prn__hasher_field(hasher, name, text);
    }
    return status;
}

static void hash_model(prn__hasher *hasher, const prn__model_config *c)
{
    field_integer(hasher, "embed_dim", c->embed_dim);
    field_integer(hasher, "quick_gelu", c->quick_gelu);
    field_integer(hasher, "image_size", c->vision.image_size);
    field_integer(hasher, "patch_size", c->vision.patch_size);
    field_integer(hasher, "vision_width", c->vision.width);
    field_integer(hasher, "vision_layers", c->vision.layers);
    field_integer(hasher, "head_width", c->vision.head_width);
    field_real(hasher, "vision_mlp_ratio", c->vision.mlp_ratio);
    field_integer(hasher, "context_length", c->text.context_length);
    field_integer(hasher, "vocab_size", c->text.vocab_size);
    field_integer(hasher, "text_width", c->text.width);
    field_integer(hasher, "text_heads", c->text.heads);
    field_integer(hasher, "text_layers", c->text.layers);
    field_real(hasher, "text_mlp_ratio", c->text.mlp_ratio);
    for (int i = 0; i < 3; i++) {
        field_real(hasher, "mean", (double)c->mean[i]);
        field_real(hasher, "std", (double)c->std[i]);
    }
}

/* Options that only place work: results do not depend on them (backend.h). */
static int is_placement(const char *option)
{
    static const char *const names[] = {"threads", "bind", "binding", "device", "placement"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(option, names[i]) == 0) {
            return 1;
        }
    }
    return 0;
}

/* "auto" means what prn__device_open makes of it: cuda when it reports a device, else cpu. */
static prn_status find_backend(planner *p, const prn_backend **backend, prn_error *error)
{
    const char *name = p->recipe->backend;
    if (strcmp(name, "auto") == 0) {
        prn_error ignored = PRN_ERROR_INIT;
        prn_device_info device;
        uint32_t count = 0;
        memset(&device, 0, sizeof device);
        device.struct_size = sizeof device;
        if (prn__registry_backend(p->registry, "cuda", backend, NULL, &ignored) == PRN_OK &&
            (*backend)->devices(prn__registry_host(p->registry), &device, 1, &count, &ignored) == PRN_OK && count > 0) {
            return PRN_OK;
        }
        name = "cpu";
    }
    return prn__registry_backend(p->registry, name, backend, NULL, error);
}

static prn_status hash_backend(planner *p, prn__hasher *hasher, prn_error *error)
{
    const prn__recipe *r = p->recipe;
    const prn_backend *backend = NULL;
    prn__options *options = NULL;
    prn_status status = find_backend(p, &backend, error);
    if (status == PRN_OK) {
        status = prn__options_parse(backend->name, backend->options, backend->option_count, r->backend_options, r->backend_option_count, &options, error);
    }
    if (status != PRN_OK) {
        return status;
    }
    prn__hasher_field(hasher, "backend", backend->name);
    prn__hasher_field(hasher, "numerics", backend->numerics);
    for (size_t i = 0; i < r->backend_option_count; i++) {
        if (!is_placement(r->backend_options[i].name)) {
            prn__hasher_field(hasher, r->backend_options[i].name, r->backend_options[i].value);
        }
    }
    prn__options_destroy(options);
    return PRN_OK;
}

static prn_status hash_common(planner *p, prn_error *error)
{
    const prn__recipe *r = p->recipe;
    const prn__manifest *manifest = p->plan->manifest;
    prn__hasher *hasher = prn__hasher_create();
    if (hasher == NULL) {
        return no_memory(error);
    }
    prn_status status;
    prn__hasher_field(hasher, "format", STAGE_FORMAT);
    hash_model(hasher, &r->model);
    field_integer(hasher, "seed", (int64_t)r->seed);
    field_integer(hasher, "batch", r->batch);
    field_integer(hasher, "micro_batch", r->micro_batch > 0 && r->micro_batch < r->batch ? r->micro_batch : r->batch);
    field_integer(hasher, "decay_rule", (int64_t)r->decay_rule);
    field_real(hasher, "beta1", r->optimizer.beta1);
    field_real(hasher, "beta2", r->optimizer.beta2);
    field_real(hasher, "epsilon", r->optimizer.epsilon);
    field_real(hasher, "decay", r->optimizer.decay);
    field_real(hasher, "clip_norm", r->optimizer.clip_norm);
    field_integer(hasher, "augment", r->augment);
    if (r->augment) {
        field_real(hasher, "scale_low", r->scale_low);
        field_real(hasher, "scale_high", r->scale_high);
    }
    field_integer(hasher, "shuffle", r->shuffle);
    field_integer(hasher, "with_replacement", r->with_replacement);
    field_integer(hasher, "window", r->window);
    field_integer(hasher, "bad_policy", (int64_t)manifest->bad_policy);
    field_integer(hasher, "merges", manifest->merges);
    status = hash_backend(p, hasher, error);
    if (status == PRN_OK && manifest->vocabulary != NULL) {
        if (prn__file_exists(manifest->vocabulary)) {
            status = field_file(hasher, "vocabulary", manifest->vocabulary, error);
        } else { /* planning works without the data; running will ask for it */
            prn__hasher_field(hasher, "vocabulary", "missing");
        }
    }
    if (status == PRN_OK) {
        prn__digest_format(prn__hasher_digest(hasher), p->common);
    }
    prn__hasher_destroy(hasher);
    return status;
}

/* ---- learning rates ------------------------------------------------------------------------------------------------------ */

static const double PI = 3.14159265358979323846;

static prn_status rate_at(const prn__schedule *schedule, int64_t step, int64_t total, int64_t time_step, double *rate, prn_error *error)
{
    if (schedule->kind == PRN__SCHEDULE_FUNCTION) {
        return schedule->function(schedule->function_self, step, total, time_step, rate, error);
    }
    int64_t warmup = time_step <= 1 ? schedule->warmup_steps : schedule->later_warmup_steps;
    if (step < warmup) {
        *rate = schedule->peak * (double)(step + 1) / (double)warmup;
    } else if (schedule->kind == PRN__SCHEDULE_COSINE) {
        double progress = (double)(step - warmup) / (double)(total - warmup);
        *rate = schedule->final + (schedule->peak - schedule->final) * 0.5 * (1.0 + cos(PI * progress));
    } else {
        *rate = schedule->peak;
    }
    return PRN_OK;
}

/* Fills the scratch table. */
static prn_status fill_rates(planner *p, int64_t steps, uint32_t time_step, prn_error *error)
{
    if (steps > p->rates_capacity) {
        prn__free(p->rates);
        p->rates = prn__alloc_array((size_t)steps, sizeof *p->rates);
        p->rates_capacity = p->rates != NULL ? steps : 0;
        if (p->rates == NULL) {
            return no_memory(error);
        }
    }
    for (int64_t i = 0; i < steps; i++) {
        double rate = 0;
        prn_status status = rate_at(&p->recipe->schedule, i, steps, time_step, &rate, error);
        if (status == PRN_OK && (!isfinite(rate) || rate < 0 || rate > 1e6)) {
            status = prn_error_set(error, PRN_INVALID, "%s: the schedule gives the learning rate %g at update %" PRId64 " of %" PRId64
                                   ", time step %u; it must be a number from 0 to 1e6", p->recipe->path, rate, i, steps, time_step);
        }
        if (status != PRN_OK) {
            return status;
        }
        p->rates[i] = (float)rate;
    }
    return PRN_OK;
}

/* Tables that are equal are kept once: most stages of a recipe have the same one. */
static prn_status keep_rates(planner *p, prn__stage *stage, prn_error *error)
{
    size_t bytes = (size_t)stage->steps * sizeof(float);
    for (uint32_t i = p->plan->stage_count; i > 0; i--) {
        const prn__stage *other = &p->plan->stages[i - 1];
        if (other->steps == stage->steps && memcmp(other->rates, p->rates, bytes) == 0) {
            stage->rates = other->rates;
            return PRN_OK;
        }
    }
    stage->rates = prn__arena_alloc(&p->plan->memory, bytes);
    if (stage->rates == NULL) {
        return no_memory(error);
    }
    memcpy(stage->rates, p->rates, bytes);
    return PRN_OK;
}

/* ---- stages -------------------------------------------------------------------------------------------------------------- */

static prn_status stage_steps(const planner *p, double multiple, int64_t *steps, prn_error *error)
{
    const prn__recipe *r = p->recipe;
    if (!isfinite(multiple) || multiple <= 0 || multiple > 1e6) {
        return prn_error_set(error, PRN_INVALID, "the budget multiple is %g; it must be above 0 and at most 1e6", multiple);
    }
    double units = (double)r->budget * multiple;
    double count = r->budget_unit == PRN__BUDGET_SAMPLES ? units / (double)r->batch : units;
    *steps = count < (double)STEPS_LIMIT * 2 ? (int64_t)floor(count * (1 + 1e-12)) : STEPS_LIMIT * 2; /* 0.1 * 10 is one, also in binary */
    if (*steps < 1) {
        return prn_error_set(error, PRN_INVALID, "its budget of %.17g samples is less than one batch of %" PRId64 "; raise `budget` or lower `batch`",
                             units, r->batch);
    }
    if (*steps > STEPS_LIMIT) {
        return prn_error_set(error, PRN_INVALID, "its budget is more than %" PRId64 " optimizer steps; raise `batch` or lower `budget`", STEPS_LIMIT);
    }
    return PRN_OK;
}

static void sort_sources(prn_source *sources, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        prn_source moved = sources[i];
        uint32_t j = i;
        for (; j > 0 && sources[j - 1].time_step > moved.time_step; j--) {
            sources[j] = sources[j - 1];
        }
        sources[j] = moved;
    }
}

static prn_status check_request(const prn_stage_request *request, uint32_t capacity, uint32_t step, prn_error *error)
{
    uint32_t weighted = 0;
    if (request->start_step >= step) {
        return prn_error_set(error, PRN_INVALID, "it wants to start from its weights after step %u, which are not there yet at step %u",
                             request->start_step, step);
    }
    if (request->source_count < 1 || request->source_count > capacity) {
        return prn_error_set(error, PRN_INVALID, "it names %u sources of data; 1 to %u can be used", request->source_count, capacity);
    }
    for (uint32_t i = 0; i < request->source_count; i++) {
        const prn_source *source = &request->sources[i];
        if (source->time_step < 1 || source->time_step > step) {
            return prn_error_set(error, PRN_INVALID, "it wants the data of step %u, and only steps 1 to %u have arrived", source->time_step, step);
        }
        if (source->max_samples < 0 || !isfinite(source->weight) || source->weight < 0) {
            return prn_error_set(error, PRN_INVALID, "the data of step %u has the weight %g and the sample limit %" PRId64 "; neither may be negative",
                                 source->time_step, source->weight, source->max_samples);
        }
        for (uint32_t j = 0; j < i; j++) {
            if (request->sources[j].time_step == source->time_step) {
                return prn_error_set(error, PRN_INVALID, "it names the data of step %u twice", source->time_step);
            }
        }
        weighted += source->weight > 0;
    }
    if (weighted != 0 && weighted != request->source_count) {
        return prn_error_set(error, PRN_INVALID, "some sources of data have a weight and some have none; give all of them one, or none");
    }
    return PRN_OK;
}

static prn_status stage_key(planner *p, prn__stage *stage, prn_error *error)
{
    const prn__plan *plan = p->plan;
    char digest[33];
    prn_status status = PRN_OK;
    prn__hasher *hasher = prn__hasher_create();
    if (hasher == NULL) {
        return no_memory(error);
    }
    prn__hasher_field(hasher, "common", p->common);
    if (stage->parent >= 0) {
        prn__hasher_field(hasher, "parent", plan->stages[stage->parent].key);
        field_integer(hasher, "keep_optimizer", stage->keep_optimizer);
    } else if (p->recipe->init != NULL) {
        char *weights = prn__path_join(p->recipe->init, "open_clip_model.safetensors");
        status = weights != NULL ? field_file(hasher, "init", weights, error) : no_memory(error);
        if (status == PRN_NOT_FOUND) {
            status = prn_error_context(error, status, "%s: `init` names a folder without weights", p->recipe->path);
        }
        prn__free(weights);
    } else {
        prn__hasher_field(hasher, "init", "random");
    }
    field_integer(hasher, "time_step", stage->time_step); /* seeds the order of samples */
    for (uint32_t i = 0; i < stage->source_count; i++) {
        const prn__plan_source *source = &stage->sources[i];
        const prn__shard_list *shards = &plan->manifest->steps[source->time_step - 1].train;
        if (shards->checksum != NULL) {
            prn__hasher_field(hasher, "checksum", shards->checksum);
        } else { /* the executor compares the data itself with what a finished stage was trained on */
            prn__hasher_field(hasher, "stream", plan->manifest->name);
            prn__hasher_field(hasher, "shards", shards->pattern);
            field_integer(hasher, "samples", shards->samples);
        }
        field_integer(hasher, "shard_count", shards->shard_count);
        field_integer(hasher, "max_samples", source->max_samples);
        field_real(hasher, "weight", source->weight);
    }
    field_integer(hasher, "steps", stage->steps);
    prn__digest_format(prn__hash_bytes(p->rates, (size_t)stage->steps * sizeof *p->rates), digest);
    prn__hasher_field(hasher, "rates", digest);
    prn__digest_format(prn__hasher_digest(hasher), stage->key);
    prn__hasher_destroy(hasher);
    return status;
}

static prn_status note_user(planner *p, prn__stage *stage, const char *label, prn_error *error)
{
    for (uint32_t i = 0; i < stage->used_by_count; i++) {
        if (strcmp(stage->used_by[i], label) == 0) {
            return PRN_OK;
        }
    }
    if (stage->used_by == NULL) {
        stage->used_by = prn__arena_alloc(&p->plan->memory, p->recipe->strategy_count * sizeof *stage->used_by);
    }
    if (stage->used_by == NULL) {
        return no_memory(error);
    }
    stage->used_by[stage->used_by_count++] = label;
    return PRN_OK;
}

/* The stage that `request` describes: one that is there already, or a new one. */
static prn_status stage_for(planner *p, size_t strategy, uint32_t step, const prn_stage_request *request, int32_t *index, prn_error *error)
{
    prn__plan *plan = p->plan;
    prn__stage stage;
    memset(&stage, 0, sizeof stage);
    stage.parent = request->start_step == PRN_START_RANDOM ? -1 : plan->lines[strategy].stages[request->start_step - 1];
    stage.time_step = step;
    stage.keep_optimizer = stage.parent >= 0 && request->keep_optimizer != 0;
    prn_status status = stage_steps(p, request->budget_multiple, &stage.steps, error);
    if (status != PRN_OK) {
        return status;
    }
    stage.samples = stage.steps * p->recipe->batch;
    stage.forward_macs = (double)stage.samples * p->sample_forward_macs;
    stage.total_macs = (double)stage.samples * p->sample_total_macs;
    sort_sources(request->sources, request->source_count);
    stage.source_count = request->source_count;
    stage.sources = prn__arena_alloc(&plan->memory, request->source_count * sizeof *stage.sources);
    if (stage.sources == NULL) {
        return no_memory(error);
    }
    for (uint32_t i = 0; i < request->source_count; i++) {
        const prn_source *source = &request->sources[i];
        stage.sources[i].time_step = source->time_step;
        stage.sources[i].samples = p->time_steps[source->time_step - 1].samples;
        stage.sources[i].max_samples = source->max_samples < stage.sources[i].samples ? source->max_samples : 0;
        stage.sources[i].weight = request->source_count > 1 ? source->weight : 0; /* the only source has no rival */
    }
    status = fill_rates(p, stage.steps, step, error);
    if (status == PRN_OK) {
        status = stage_key(p, &stage, error);
    }
    for (uint32_t i = 0; i < plan->stage_count && status == PRN_OK; i++) {
        if (strcmp(plan->stages[i].key, stage.key) == 0) {
            *index = (int32_t)i;
            return note_user(p, &plan->stages[i], p->recipe->strategies[strategy].label, error);
        }
    }
    if (status == PRN_OK) {
        status = keep_rates(p, &stage, error);
    }
    if (status == PRN_OK) {
        status = note_user(p, &stage, p->recipe->strategies[strategy].label, error);
    }
    if (status == PRN_OK) {
        stage.is_done = prn__stage_is_done(p->recipe->workspace, stage.key);
        *index = (int32_t)plan->stage_count;
        plan->stages[plan->stage_count++] = stage;
    }
    return status;
}

static prn_status ask_strategy(planner *p, size_t strategy, uint32_t step, prn_error *error)
{
    prn__plan *plan = p->plan;
    const prn__recipe_strategy *asked = &p->recipe->strategies[strategy];
    prn__plan_line *line = &plan->lines[strategy];
    prn_stage_request request;
    memset(&request, 0, sizeof request);
    memset(p->sources, 0, plan->step_count * sizeof *p->sources);
    request.struct_size = sizeof request;
    request.budget_multiple = 1;
    request.sources = p->sources;
    request.source_capacity = plan->step_count;
    prn_status status = p->strategies[strategy].table->plan(p->strategies[strategy].instance, &p->line, step, &request, error);
    request.sources = p->sources;
    if (status == PRN_OK) {
        status = check_request(&request, plan->step_count, step, error);
    }
    if (status == PRN_OK) {
        status = stage_for(p, strategy, step, &request, &line->stages[step - 1], error);
    }
    if (status != PRN_OK) {
        return prn_error_context(error, status, "%s:%d: strategy '%s' at time step %u (%s)", p->recipe->path, asked->line, asked->label, step,
                                 plan->manifest->steps[step - 1].name);
    }
    const prn__stage *stage = &plan->stages[line->stages[step - 1]];
    line->forward_macs += stage->forward_macs;
    line->total_macs += stage->total_macs;
    line->samples += stage->samples;
    return PRN_OK;
}

/* ---- preparation --------------------------------------------------------------------------------------------------------- */

static prn_status open_strategies(planner *p, prn_error *error)
{
    const prn__recipe *r = p->recipe;
    p->strategies = prn__alloc_array(r->strategy_count, sizeof *p->strategies);
    p->plan->lines = prn__arena_alloc(&p->plan->memory, r->strategy_count * sizeof *p->plan->lines);
    if (p->strategies == NULL || p->plan->lines == NULL) {
        return no_memory(error);
    }
    for (size_t i = 0; i < r->strategy_count; i++) {
        const prn__recipe_strategy *asked = &r->strategies[i];
        opened_strategy *opened = &p->strategies[i];
        prn__plan_line *line = &p->plan->lines[i];
        prn_status status = prn__registry_strategy(p->registry, asked->strategy, &opened->table, NULL, error);
        if (status == PRN_OK) {
            status = prn__options_parse(asked->strategy, opened->table->options, opened->table->option_count, asked->options, asked->option_count,
                                        &opened->options, error);
        }
        if (status == PRN_OK) {
            status = opened->table->open(prn__registry_host(p->registry), prn__options_values(opened->options), &opened->instance, error);
        }
        if (status != PRN_OK) {
            return prn_error_context(error, status, "%s:%d: strategy '%s'", r->path, asked->line, asked->label);
        }
        char *options = prn__record_options(opened->table->options, opened->table->option_count, prn__options_values(opened->options));
        line->label = asked->label;
        line->strategy = asked->strategy;
        line->options = options != NULL ? prn__arena_strdup(&p->plan->memory, options) : NULL;
        line->stages = prn__arena_alloc(&p->plan->memory, p->plan->step_count * sizeof *line->stages);
        prn__free(options);
        if (line->options == NULL || line->stages == NULL) {
            return no_memory(error);
        }
    }
    return PRN_OK;
}

/* Counts come from the manifest; only what it leaves out is counted in the data. */
static prn_status make_time_line(planner *p, prn_error *error)
{
    const prn__manifest *manifest = p->plan->manifest;
    size_t count = manifest->step_count;
    p->time_steps = prn__alloc_array(count, sizeof *p->time_steps);
    p->sources = prn__alloc_array(count, sizeof *p->sources);
    if (p->time_steps == NULL || p->sources == NULL) {
        return no_memory(error);
    }
    for (size_t t = 0; t < count; t++) {
        const prn__manifest_step *step = &manifest->steps[t];
        int64_t samples = step->train.samples;
        if (samples < 0) {
            const prn__shard_list *list = &step->train;
            prn__dataset *dataset = NULL;
            prn_status status = prn__dataset_open(manifest, &list, 1, NULL, &dataset, error);
            if (status != PRN_OK) {
                return prn_error_context(error, status, "%s: step '%s' states no `samples`, and they cannot be counted", manifest->path, step->name);
            }
            samples = prn__dataset_samples(dataset);
            prn__dataset_close(dataset);
        }
        p->time_steps[t].struct_size = sizeof p->time_steps[t];
        p->time_steps[t].index = (uint32_t)t + 1;
        p->time_steps[t].name = step->name;
        p->time_steps[t].samples = samples;
    }
    p->line.struct_size = sizeof p->line;
    p->line.step_count = (uint32_t)count;
    p->line.steps = p->time_steps;
    p->line.budget_samples = p->recipe->budget_unit == PRN__BUDGET_SAMPLES ? p->recipe->budget : p->recipe->budget * p->recipe->batch;
    return PRN_OK;
}

/* All segments of a training tower for one item: forward, backward, and what checkpointing computes again. */
static prn_status tower_total(prn__graph *graph, int64_t tokens, double *macs, prn_error *error)
{
    const prn_program *program = NULL;
    const int64_t values[2] = {1, tokens};
    prn_status status = prn__graph_finish(graph, &program, error);
    if (status == PRN_OK) {
        *macs += prn__program_macs(program, -1, values, 0);
    }
    prn__graph_destroy(graph);
    return status;
}

static prn_status count_macs(planner *p, prn_error *error)
{
    prn__plan *plan = p->plan;
    const prn__recipe *r = p->recipe;
    const prn__tower_options options = {.max_items = 1, .training = 1, .checkpoint = r->checkpointing};
    prn__graph *graph = NULL;
    prn_status status = prn__model_forward_macs(plan->model, &plan->image_macs, &plan->text_macs, error);
    p->sample_forward_macs = plan->image_macs + plan->text_macs;
    if (status == PRN_OK) {
        status = prn__model_image_tower(plan->model, &options, &graph, error);
    }
    if (status == PRN_OK) {
        status = tower_total(graph, 0, &p->sample_total_macs, error);
    }
    if (status == PRN_OK) {
        status = prn__model_text_tower(plan->model, &options, &graph, error);
    }
    if (status == PRN_OK) {
        status = tower_total(graph, r->model.text.context_length, &p->sample_total_macs, error);
    }
    if (r->micro_batch > 0 && r->micro_batch < r->batch) {
        p->sample_total_macs += p->sample_forward_macs; /* embeddings of the whole batch come first */
    }
    return status;
}

/* Names that the recipe wants scored must be there. */
static prn_status check_evaluations(const planner *p, prn_error *error)
{
    const prn__manifest *manifest = p->plan->manifest;
    for (size_t i = 0; i < p->recipe->evaluate_count; i++) {
        const char *wanted = p->recipe->evaluate[i];
        int found = 0;
        for (size_t t = 0; t < manifest->step_count && !found; t++) {
            for (size_t e = 0; e < manifest->steps[t].evaluation_count && !found; e++) {
                found = strcmp(manifest->steps[t].evaluations[e].name, wanted) == 0;
            }
        }
        if (!found) {
            return prn_error_set(error, PRN_NOT_FOUND, "%s: no step of %s has an evaluation set '%s'", p->recipe->path, manifest->path, wanted);
        }
    }
    return PRN_OK;
}

static void planner_fini(planner *p)
{
    for (size_t i = 0; p->strategies != NULL && i < p->recipe->strategy_count; i++) {
        if (p->strategies[i].instance != NULL) {
            p->strategies[i].table->close(p->strategies[i].instance);
        }
        if (p->strategies[i].options != NULL) {
            prn__options_destroy(p->strategies[i].options);
        }
    }
    prn__free(p->strategies);
    prn__free(p->time_steps);
    prn__free(p->sources);
    prn__free(p->rates);
}

prn_status prn__plan_create(const prn__recipe *recipe, prn__registry *registry, prn__plan **result, prn_error *error)
{
    planner p;
    prn_status status;
    memset(&p, 0, sizeof p);
    *result = NULL;
    prn__plan *plan = prn__alloc(sizeof *plan);
    if (plan == NULL) {
        return no_memory(error);
    }
    prn__arena_init(&plan->memory, 1 << 16);
    plan->recipe = recipe;
    p.plan = plan;
    p.recipe = recipe;
    p.registry = registry;
    if ((status = prn__manifest_load(recipe->manifest_path, &plan->manifest, error)) != PRN_OK) {
        goto done;
    }
    size_t count = plan->manifest->step_count;
    if (count < 1 || count > UINT32_MAX / 2 || recipe->strategy_count < 1) {
        status = prn_error_set(error, PRN_INVALID, "%s: needs at least one strategy, and %s at least one time step", recipe->path, recipe->manifest_path);
        goto done;
    }
    plan->step_count = (uint32_t)count;
    plan->stages = prn__arena_alloc(&plan->memory, count * recipe->strategy_count * sizeof *plan->stages);
    if (plan->stages == NULL) {
        status = no_memory(error);
        goto done;
    }
    if ((status = prn__model_create(&recipe->model, recipe->decay_rule, &plan->model, error)) != PRN_OK ||
        (status = check_evaluations(&p, error)) != PRN_OK || (status = count_macs(&p, error)) != PRN_OK ||
        (status = make_time_line(&p, error)) != PRN_OK || (status = hash_common(&p, error)) != PRN_OK ||
        (status = open_strategies(&p, error)) != PRN_OK) {
        goto done;
    }
    for (uint32_t step = 1; step <= plan->step_count; step++) {
        for (size_t s = 0; s < recipe->strategy_count; s++) {
            if ((status = ask_strategy(&p, s, step, error)) != PRN_OK) {
                goto done;
            }
        }
    }
done:
    planner_fini(&p);
    if (status != PRN_OK) {
        prn__plan_destroy(plan);
        return status;
    }
    *result = plan;
    return PRN_OK;
}

void prn__plan_destroy(prn__plan *plan)
{
    if (plan != NULL) {
        if (plan->model != NULL) {
            prn__model_destroy(plan->model);
        }
        if (plan->manifest != NULL) {
            prn__manifest_destroy(plan->manifest);
        }
        prn__arena_fini(&plan->memory);
        prn__free(plan);
    }
}
