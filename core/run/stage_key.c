/* core/run/stage_key.c: see stage_key.h. */
#include "run/stage_key.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"

/* Changes when the meaning of a recipe changes, so that old stages are not taken for new ones. */
static const char STAGE_FORMAT[] = "perennial-stage/1";

static prn_status no_memory(prn_error *error)
{
    return prn_error_set(error, PRN_NO_MEMORY, "out of memory while planning");
}

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
static prn_status find_backend(const prn__recipe *r, prn__registry *registry, const prn_backend **backend, prn_error *error)
{
    const char *name = r->backend;
    if (strcmp(name, "auto") == 0) {
        prn_error ignored = PRN_ERROR_INIT;
        prn_device_info device;
        uint32_t count = 0;
        memset(&device, 0, sizeof device);
        device.struct_size = sizeof device;
        if (prn__registry_backend(registry, "cuda", backend, NULL, &ignored) == PRN_OK &&
            (*backend)->devices(prn__registry_host(registry), &device, 1, &count, &ignored) == PRN_OK && count > 0) {
            return PRN_OK;
        }
        name = "cpu";
    }
    return prn__registry_backend(registry, name, backend, NULL, error);
}

static int is_same_value(const prn_option_value *a, const prn_option_value *b)
{
    int same_text = a->string == b->string || (a->string != NULL && b->string != NULL && strcmp(a->string, b->string) == 0);
    return same_text && a->integer == b->integer && a->real == b->real && a->list_count == b->list_count &&
           (a->list_count == 0 || memcmp(a->list, b->list, a->list_count * sizeof *a->list) == 0);
}

/* Only what differs from its default: saying `isa = "auto"` is saying nothing, and an option that a later release adds leaves keys alone. */
static void hash_options(prn__hasher *hasher, const prn_backend *backend, const prn__options *given, const prn__options *defaults)
{
    for (uint32_t i = 0; i < backend->option_count; i++) {
        const prn_option *option = (const prn_option *)(const void *)((const char *)backend->options + (size_t)i * backend->options->struct_size);
        const prn_option_value *values = prn__options_values(given), *presets = prn__options_values(defaults);
        const prn_option_value *value = (const prn_option_value *)(const void *)((const char *)values + (size_t)i * values->struct_size);
        const prn_option_value *preset = (const prn_option_value *)(const void *)((const char *)presets + (size_t)i * presets->struct_size);
        if (is_placement(option->name) || is_same_value(value, preset)) {
            continue;
        }
        prn__hasher_field(hasher, "option", option->name);
        prn__hasher_field(hasher, "text", value->string != NULL ? value->string : "");
        field_integer(hasher, "integer", value->integer);
        field_real(hasher, "real", value->real);
        for (uint64_t j = 0; j < value->list_count; j++) {
            field_real(hasher, "item", value->list[j]);
        }
    }
}

/* What a device says of itself: instruction sets and libraries decide the last bits. Not its name, which may hold a thread count. */
static prn_status hash_device(const prn__recipe *r, prn__registry *registry, prn__hasher *hasher, const prn_backend *backend, prn_error *error)
{
    enum { DEVICE_LIMIT = 16 };
    prn_device_info found[DEVICE_LIMIT];
    uint32_t count = 0, chosen = 0;
    memset(found, 0, sizeof found);
    for (size_t i = 0; i < DEVICE_LIMIT; i++) {
        found[i].struct_size = sizeof found[i];
    }
    for (size_t i = 0; i < r->backend_option_count; i++) {
        if (strcmp(r->backend_options[i].name, "device") == 0) {
            chosen = (uint32_t)strtoul(r->backend_options[i].value, NULL, 10);
        }
    }
    prn_status status = backend->devices(prn__registry_host(registry), found, DEVICE_LIMIT, &count, error);
    if (status == PRN_OK) {
        prn__hasher_field(hasher, "device", chosen < count && chosen < DEVICE_LIMIT ? found[chosen].detail : "none");
    }
    return status;
}

static prn_status hash_backend(const prn__recipe *r, prn__registry *registry, prn__hasher *hasher, prn_error *error)
{
    const prn_backend *backend = NULL;
    prn__options *options = NULL, *defaults = NULL;
    prn_status status = find_backend(r, registry, &backend, error);
    if (status == PRN_OK) {
        status = prn__options_parse(backend->name, backend->options, backend->option_count, r->backend_options, r->backend_option_count, &options, error);
    }
    if (status == PRN_OK) {
        status = prn__options_parse(backend->name, backend->options, backend->option_count, NULL, 0, &defaults, error);
    }
    if (status == PRN_OK) {
        prn__hasher_field(hasher, "backend", backend->name);
        prn__hasher_field(hasher, "numerics", backend->numerics);
        hash_options(hasher, backend, options, defaults);
        status = hash_device(r, registry, hasher, backend, error);
    }
    prn__options_destroy(options);
    prn__options_destroy(defaults);
    return status;
}

prn_status prn__key_common(const char *engine, const prn__recipe *r, const prn__manifest *manifest, prn__registry *registry, char digest[33],
                           prn_error *error)
{
    prn__hasher *hasher = prn__hasher_create();
    if (hasher == NULL) {
        return no_memory(error);
    }
    prn_status status;
    prn__hasher_field(hasher, "format", STAGE_FORMAT);
    prn__hasher_field(hasher, "engine", engine);
    hash_model(hasher, &r->model);
    field_integer(hasher, "seed", (int64_t)r->seed);
    field_integer(hasher, "batch", r->batch);
    if (r->micro_batch == PRN__MICRO_BATCH_AUTO) { /* which one it was is for stage.json to say */
        prn__hasher_field(hasher, "micro_batch", "auto");
    } else {
        field_integer(hasher, "micro_batch", r->micro_batch > 0 && r->micro_batch < r->batch ? r->micro_batch : r->batch);
    }
    field_integer(hasher, "decay_rule", (int64_t)r->decay_rule);
    field_real(hasher, "beta1", r->optimizer.beta1);
    field_real(hasher, "beta2", r->optimizer.beta2);
    field_real(hasher, "epsilon", r->optimizer.epsilon);
    field_real(hasher, "decay", r->optimizer.decay);
    field_real(hasher, "clip_norm", r->optimizer.clip_norm);
    if (r->optimizer.bf16_moments) {
        prn__hasher_field(hasher, "moments", "bf16");
    }
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
    status = hash_backend(r, registry, hasher, error);
    if (status == PRN_OK && manifest->vocabulary != NULL) {
        if (prn__file_exists(manifest->vocabulary)) {
            status = field_file(hasher, "vocabulary", manifest->vocabulary, error);
        } else { /* planning works without the data; running will ask for it */
            prn__hasher_field(hasher, "vocabulary", "missing");
        }
    }
    if (status == PRN_OK) {
        prn__digest_format(prn__hasher_digest(hasher), digest);
    }
    prn__hasher_destroy(hasher);
    return status;
}

static prn_status hash_init(prn__hasher *hasher, const prn__recipe *recipe, prn_error *error)
{
    prn_status status;
    if (recipe->init == NULL) {
        prn__hasher_field(hasher, "init", "random");
        return PRN_OK;
    }
    char *weights = prn__path_join(recipe->init, "open_clip_model.safetensors");
    status = weights != NULL ? field_file(hasher, "init", weights, error) : no_memory(error);
    prn__free(weights);
    return status == PRN_NOT_FOUND ? prn_error_context(error, status, "%s: `init` names a folder without weights", recipe->path) : status;
}

static void hash_shards(prn__hasher *hasher, const prn__manifest *manifest, size_t time_step)
{
    const prn__shard_list *shards = &manifest->steps[time_step].train;
    if (shards->checksum != NULL) {
        prn__hasher_field(hasher, "checksum", shards->checksum);
    } else { /* the executor compares the data itself with what a finished stage was trained on */
        prn__hasher_field(hasher, "stream", manifest->name);
        prn__hasher_field(hasher, "shards", shards->pattern);
        field_integer(hasher, "samples", shards->samples);
    }
    field_integer(hasher, "shard_count", shards->shard_count);
}

static void hash_sources(prn__hasher *hasher, const prn__plan *plan, const prn__plan_source *sources, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const prn__plan_source *source = &sources[i];
        if (source->time_step == PRN_SOURCE_REFERENCE) {
            prn__hasher_field(hasher, "reference", plan->reference->name);
            for (size_t t = 0; t < plan->reference->step_count; t++) {
                hash_shards(hasher, plan->reference, t);
            }
        } else {
            hash_shards(hasher, plan->manifest, source->time_step - 1);
        }
        field_integer(hasher, "max_samples", source->max_samples);
        if (source->max_samples > 0) { /* which of them (stage_data.c); it was once chosen anew at each stage */
            prn__hasher_field(hasher, "subset", "of the time step");
        }
        field_real(hasher, "weight", source->weight);
    }
}

/* The strategy's code and options, and all of its line that the code may look at. */
static prn_status hash_hooks(prn__hasher *hasher, const prn__plan *plan, const prn__stage *stage, prn_error *error)
{
    const prn__plan_line *line = &plan->lines[stage->line];
    prn__hasher_field(hasher, "strategy", line->strategy);
    prn__hasher_field(hasher, "plugin", line->plugin);
    prn__hasher_field(hasher, "options", line->options);
    field_integer(hasher, "hooks", stage->hooks);
    for (uint32_t t = 0; t + 1 < stage->time_step; t++) {
        prn__hasher_field(hasher, "trained", plan->stages[stage->of_trunk ? line->trunk[t] : line->trained[t]].key);
        prn__hasher_field(hasher, "deployed", plan->stages[stage->of_trunk ? line->trunk_deployed[t] : line->deployed[t]].key);
    }
    field_integer(hasher, "teacher", stage->teacher);
    hash_sources(hasher, plan, stage->memory_sources, stage->memory_source_count);
    field_integer(hasher, "memory_batch", stage->memory_batch);
    field_integer(hasher, "finish_gradient_batches", stage->finish_gradient_batches);
    field_integer(hasher, "finish_scores", stage->finish_scores);
    if (stage->kept_vectors > 0) {
        field_integer(hasher, "kept_vectors", stage->kept_vectors);
    }
    for (uint32_t t = 0; t < stage->time_step && stage->finish_set != NULL; t++) { /* what is chosen depends on the sets that choose */
        for (size_t e = 0; e < plan->manifest->steps[t].evaluation_count; e++) {
            const prn__evaluation_set *set = &plan->manifest->steps[t].evaluations[e];
            if (strcmp(set->name, stage->finish_set) == 0) {
                prn__hasher_field(hasher, "finish_set", set->shards.checksum != NULL ? set->shards.checksum : set->shards.pattern);
            }
        }
    }
    return hash_init(hasher, plan->recipe, error);
}

prn_status prn__key_stage(const char *common, const prn__plan *plan, const prn__stage *stage, const float *rates, char key[33], prn_error *error)
{
    char digest[33];
    prn_status status = PRN_OK;
    prn__hasher *hasher = prn__hasher_create();
    if (hasher == NULL) {
        return no_memory(error);
    }
    prn__hasher_field(hasher, "common", common);
    if (stage->parent >= 0) {
        prn__hasher_field(hasher, "parent", plan->stages[stage->parent].key);
        field_integer(hasher, "keep_optimizer", stage->keep_optimizer);
    } else {
        status = hash_init(hasher, plan->recipe, error);
    }
    field_integer(hasher, "time_step", stage->time_step); /* seeds the order of samples */
    hash_sources(hasher, plan, stage->sources, stage->source_count);
    if (stage->data_step > 0) {
        field_integer(hasher, "data_step", stage->data_step);
    }
    field_integer(hasher, "steps", stage->steps);
    if (stage->steps > 0) {
        prn__digest_format(prn__hash_bytes(rates, (size_t)stage->steps * sizeof *rates), digest);
        prn__hasher_field(hasher, "rates", digest);
    }
    if (stage->hooks != 0 && status == PRN_OK) {
        status = hash_hooks(hasher, plan, stage, error);
    }
    prn__digest_format(prn__hasher_digest(hasher), key);
    prn__hasher_destroy(hasher);
    return status;
}
