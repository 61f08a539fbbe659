/* core/run/record.c: see record.h. */
#include "run/record.h"

#include <inttypes.h>
#include <jansson.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/hash.h"
#include "run/schedule.h"
#include "run/stage_key.h"

/* Recipes and paths may hold any bytes; JSON may not. */
static json_t *text_of(const char *text)
{
    if (text == NULL) {
        return json_null();
    }
    json_t *value = json_string(text);
    return value != NULL ? value : json_string("(not UTF-8)");
}

static char *dump(json_t *object)
{
    char *text = object != NULL ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    char *copy = prn__strdup(text);
    free(text); /* jansson's own allocator */
    json_decref(object);
    return copy;
}

char *prn__record_options(const prn_option *table, uint32_t count, const prn_option_value *values)
{
    json_t *object = json_object();
    for (uint32_t i = 0; i < count && object != NULL; i++) { /* strides are stated by the first entries: plugins may be older */
        const prn_option *option = (const prn_option *)(const void *)((const char *)table + (size_t)i * table->struct_size);
        const prn_option_value *value = (const prn_option_value *)(const void *)((const char *)values + (size_t)i * values->struct_size);
        json_t *item = NULL;
        switch (option->type) {
        case PRN_OPTION_BOOL:
            item = json_boolean(value->integer != 0);
            break;
        case PRN_OPTION_INTEGER:
            item = json_integer(value->integer);
            break;
        case PRN_OPTION_REAL:
            item = json_real(value->real);
            break;
        case PRN_OPTION_REAL_LIST:
            item = json_array();
            for (uint64_t j = 0; j < value->list_count; j++) {
                (void)json_array_append_new(item, json_real(value->list[j]));
            }
            break;
        default:
            item = text_of(value->string);
            break;
        }
        (void)json_object_set_new(object, option->name, item);
    }
    return dump(object);
}

static json_t *pairs_of(const prn__option_pair *pairs, size_t count)
{
    json_t *object = json_object();
    for (size_t i = 0; i < count; i++) {
        (void)json_object_set_new(object, pairs[i].name, text_of(pairs[i].value));
    }
    return object;
}

static void put_real(json_t *object, const char *key, double value)
{
    (void)json_object_set_new(object, key, json_real(value));
}

static void put_integer(json_t *object, const char *key, int64_t value)
{
    (void)json_object_set_new(object, key, json_integer((json_int_t)value));
}

/* Only the values that this kind of schedule has. */
static json_t *schedule_of(const prn__schedule *s)
{
    const int has_branch = prn__schedule_has_branch(s);
    json_t *object = json_pack("{s:s}", "kind", prn__schedule_name(s->kind));
    if (object == NULL || s->kind == PRN__SCHEDULE_FUNCTION) {
        return object;
    }
    if (s->peak_count > 1) {
        json_t *peaks = json_array();
        for (size_t i = 0; i < s->peak_count; i++) {
            (void)json_array_append_new(peaks, json_real(s->peaks[i]));
        }
        (void)json_object_set_new(object, "peak", peaks);
    } else {
        put_real(object, "peak", s->peak);
    }
    if (s->kind != PRN__SCHEDULE_CONSTANT && s->kind != PRN__SCHEDULE_INVERSE_SQRT) {
        put_real(object, "final", s->final);
    }
    put_integer(object, "warmup", s->warmup_steps);
    put_integer(object, "later_warmup", s->later_warmup_steps);
    if (s->kind == PRN__SCHEDULE_WARMUP_STABLE_DECAY) {
        put_real(object, "decay", s->decay);
        (void)json_object_set_new(object, "shape", json_string(prn__shape_name(s->shape)));
    } else if (s->kind == PRN__SCHEDULE_INVERSE_SQRT) {
        put_real(object, "offset", s->offset);
    } else if (s->kind == PRN__SCHEDULE_INFINITE) {
        put_real(object, "constant", s->constant);
        put_integer(object, "cooldown", s->cooldown_steps);
        (void)json_object_set_new(object, "cooldown_shape", json_string(prn__shape_name(s->cooldown_shape)));
    }
    if (has_branch) {
        put_real(object, "branch", s->branch);
        (void)json_object_set_new(object, "shape", json_string(prn__shape_name(s->shape)));
    }
    return object;
}

static json_t *budget_of(const prn__recipe *r)
{
    switch (r->budget_unit) {
    case PRN__BUDGET_EPOCHS:
        return json_pack("{s:f}", "epochs", r->budget_amount);
    case PRN__BUDGET_MACS:
        return json_pack("{s:f}", "macs", r->budget_amount);
    case PRN__BUDGET_SAMPLES:
    case PRN__BUDGET_STEPS:
        break;
    }
    return json_pack("{s:I}", r->budget_unit == PRN__BUDGET_SAMPLES ? "samples" : "steps", (json_int_t)r->budget);
}

static void item_of_sweep(json_t *object, const prn__recipe_sweep *sweep)
{
    json_t *settings = json_object();
    for (size_t i = 0; i < sweep->setting_count; i++) {
        (void)json_object_set_new(settings, sweep->settings[i].name, json_loads(sweep->settings[i].value, JSON_DECODE_ANY, NULL));
    }
    (void)json_object_set_new(object, "settings", settings);
}

char *prn__record_recipe(const prn__recipe *r)
{
    json_t *object = json_object(), *list;
    if (object == NULL) {
        return NULL;
    }
    char *model = prn__model_config_json(&r->model);
    char seed[24];
    (void)snprintf(seed, sizeof seed, "%" PRIu64, r->seed);
    (void)json_object_set_new(object, "name", text_of(r->name));
    (void)json_object_set_new(object, "stream", text_of(r->manifest_path));
    (void)json_object_set_new(object, "reference", text_of(r->reference_path));
    (void)json_object_set_new(object, "model", model != NULL ? json_loads(model, 0, NULL) : json_null());
    (void)json_object_set_new(object, "init", text_of(r->init));
    (void)json_object_set_new(object, "backend", text_of(r->backend));
    (void)json_object_set_new(object, "backend_options", pairs_of(r->backend_options, r->backend_option_count));
    (void)json_object_set_new(object, "seed", text_of(seed));
    (void)json_object_set_new(object, "batch", json_integer(r->batch));
    (void)json_object_set_new(object, "micro_batch", r->micro_batch == PRN__MICRO_BATCH_AUTO ? json_string("auto") : json_integer(r->micro_batch));
    (void)json_object_set_new(object, "checkpointing", r->checkpointing == PRN__CHECKPOINT_SELECTIVE ? json_string("selective")
                                                       : r->checkpointing == PRN__CHECKPOINT_TOWERS  ? json_string("towers")
                                                                                                     : json_boolean(r->checkpointing != PRN__CHECKPOINT_NONE));
    (void)json_object_set_new(object, "budget", budget_of(r));
    (void)json_object_set_new(object, "optimizer", json_pack("{s:f, s:f, s:f, s:f, s:f, s:s, s:s}", "beta1", r->optimizer.beta1, "beta2", r->optimizer.beta2,
                                                             "epsilon", r->optimizer.epsilon, "decay", r->optimizer.decay, "clip_norm",
                                                             r->optimizer.clip_norm, "decay_rule",
                                                             r->decay_rule == PRN__DECAY_DIMENSIONS ? "dimensions" : "no_embeddings", "moments",
                                                             r->optimizer.bf16_moments ? "bf16" : "full"));
    (void)json_object_set_new(object, "keep_optimizer", json_boolean(r->keep_optimizer));
    (void)json_object_set_new(object, "schedule", schedule_of(&r->schedule));
    (void)json_object_set_new(object, "transform", json_string(r->augment ? "train" : "eval"));
    (void)json_object_set_new(object, "scale", json_pack("[f, f]", r->scale_low, r->scale_high));
    (void)json_object_set_new(object, "shuffle", json_boolean(r->shuffle));
    (void)json_object_set_new(object, "with_replacement", json_boolean(r->with_replacement));
    (void)json_object_set_new(object, "window", json_integer(r->window));
    (void)json_object_set_new(object, "eval_batch", json_integer(r->eval_batch));
    list = json_array();
    for (size_t i = 0; i < r->recall_k_count; i++) {
        (void)json_array_append_new(list, json_integer(r->recall_k[i]));
    }
    (void)json_object_set_new(object, "recall", list);
    list = r->evaluate != NULL ? json_array() : json_null();
    for (size_t i = 0; i < r->evaluate_count; i++) {
        (void)json_array_append_new(list, text_of(r->evaluate[i]));
    }
    (void)json_object_set_new(object, "evaluate", list);
    list = json_array();
    for (size_t i = 0; i < r->strategy_count; i++) {
        const prn__recipe_strategy *s = &r->strategies[i];
        json_t *item = json_object();
        (void)json_object_set_new(item, "label", text_of(s->label));
        (void)json_object_set_new(item, "strategy", text_of(s->strategy));
        (void)json_object_set_new(item, "options", pairs_of(s->options, s->option_count));
        (void)json_array_append_new(list, item);
    }
    (void)json_object_set_new(object, "strategies", list);
    if (r->sweep != NULL) {
        item_of_sweep(object, r->sweep);
    }
    prn__free(model);
    return dump(object);
}

static json_t *affinity(void)
{
    json_t *list = json_array();
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        for (int i = 0; i < CPU_SETSIZE; i++) {
            if (CPU_ISSET(i, &set)) {
                (void)json_array_append_new(list, json_integer(i));
            }
        }
    }
    return list;
}

static json_t *devices_of(prn__registry *registry, const prn__device *device)
{
    enum { DEVICE_LIMIT = 16 };
    json_t *list = json_array();
    prn_device_info found[DEVICE_LIMIT];
    prn_error ignored = PRN_ERROR_INIT;
    uint32_t count = 0;
    memset(found, 0, sizeof found);
    for (int i = 0; i < DEVICE_LIMIT; i++) {
        found[i].struct_size = sizeof found[i];
    }
    if (device->backend->devices(prn__registry_host(registry), found, DEVICE_LIMIT, &count, &ignored) == PRN_OK) {
        for (uint32_t i = 0; i < count && i < DEVICE_LIMIT; i++) {
            json_t *item = json_object();
            (void)json_object_set_new(item, "name", text_of(found[i].name));
            (void)json_object_set_new(item, "detail", text_of(found[i].detail));
            (void)json_object_set_new(item, "memory_bytes", json_integer((json_int_t)found[i].memory_bytes));
            (void)json_array_append_new(list, item);
        }
    }
    return list;
}

char *prn__record_environment(const prn__plan *plan, prn__registry *registry, const prn__device *device, const char *const *data_digests)
{
    json_t *object = json_object(), *list;
    struct utsname system;
    if (object == NULL) {
        return NULL;
    }
    const prn_host *host = prn__registry_host(registry);
    (void)json_object_set_new(object, "perennial", json_string(PRN_RELEASE));
    (void)json_object_set_new(object, "engine", json_string(PRN__ENGINE_NUMERICS));
    if (uname(&system) == 0) {
        (void)json_object_set_new(object, "system", json_pack("{s:s, s:s, s:s}", "name", system.sysname, "release", system.release, "machine", system.machine));
    }
    (void)json_object_set_new(object, "threads", json_integer((json_int_t)host->thread_count(host->self)));
    (void)json_object_set_new(object, "processors", affinity());
    if (device != NULL) {
        json_t *item = json_object();
        (void)json_object_set_new(item, "backend", text_of(device->backend->name));
        (void)json_object_set_new(item, "numerics", text_of(device->backend->numerics));
        if (device->options != NULL) {
            char *options = prn__record_options(device->backend->options, device->backend->option_count, prn__options_values(device->options));
            (void)json_object_set_new(item, "options", options != NULL ? json_loads(options, 0, NULL) : json_null());
            prn__free(options);
        }
        (void)json_object_set_new(item, "devices", devices_of(registry, device));
        (void)json_object_set_new(object, "device", item);
    }
    list = json_array();
    for (size_t i = 0; i < prn__registry_count(registry); i++) {
        const prn__plugin_entry *entry = prn__registry_entry(registry, i);
        if (entry->plugin != NULL) {
            char digest[33];
            json_t *item = json_object();
            prn__digest_format(entry->digest, digest);
            (void)json_object_set_new(item, "name", text_of(entry->plugin->name));
            (void)json_object_set_new(item, "version", text_of(entry->plugin->version));
            (void)json_object_set_new(item, "file", text_of(entry->path));
            (void)json_object_set_new(item, "digest", text_of(digest));
            (void)json_array_append_new(list, item);
        }
    }
    (void)json_object_set_new(object, "plugins", list);
    list = json_array();
    for (uint32_t t = 0; t < plan->step_count && data_digests != NULL; t++) {
        (void)json_array_append_new(list, text_of(data_digests[t]));
    }
    (void)json_object_set_new(object, "data", list);
    return dump(object);
}

void prn__record_identity(const prn__plan *plan, const char *resolved, char target[33])
{
    prn__hasher *hasher = prn__hasher_create();
    target[0] = '\0';
    if (hasher == NULL) {
        return;
    }
    prn__hasher_field(hasher, "recipe", plan->recipe->text);
    prn__hasher_field(hasher, "resolved", resolved);
    for (size_t s = 0; s < plan->recipe->strategy_count; s++) {
        prn__hasher_field(hasher, "label", plan->lines[s].label);
        for (uint32_t t = 0; t < plan->step_count; t++) {
            prn__hasher_field(hasher, "stage", plan->stages[plan->lines[s].stages[t]].key);
        }
    }
    for (size_t i = 0; plan->recipe->sweep != NULL && i < plan->recipe->sweep->setting_count; i++) {
        prn__hasher_field(hasher, plan->recipe->sweep->settings[i].name, plan->recipe->sweep->settings[i].value);
    }
    if (plan->recipe->sweep != NULL) {
        prn__hasher_field(hasher, "sweep", plan->recipe->sweep->identity);
    }
    prn__digest_format(prn__hasher_digest(hasher), target);
    prn__hasher_destroy(hasher);
}
