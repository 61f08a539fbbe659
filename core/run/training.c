/* core/run/training.c: trains one stage, from its parent's weights or its last checkpoint to a finished stage folder.
 *
 * Invariants: the bytes of the finished weights are a function of the stage's key: neither interruptions nor the
 * times at which checkpoints were saved change them. The checkpoint comes first, the ledger second: metrics of
 * steps after the checkpoint that is resumed from are forgotten and made again.
 */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/pool.h"
#include "run/execution.h"

enum { METRIC_BUFFER = 256 };
static const double FLUSH_EVERY_S = 2.0;

typedef struct training {
    prn__execution *x;
    prn__stage *stage;
    int32_t index;
    const char *folder;
    char label[256];
    prn__dataset **datasets; /* one joined, or one a source */
    prn__loader_source *sources;
    uint32_t source_count;
    int64_t **index_losses;  /* (source_count): what indexes lost, (shards * reasons); NULL when nothing */
    int64_t *flushed_losses; /* (source_count): all losses when last written */
    prn__loader *loader;
    int64_t first_step;      /* of this attempt */
    prn__step_metric metrics[METRIC_BUFFER];
    size_t metric_count;
    double last_flush, last_save;
} training;

static prn_status no_memory(prn_error *error)
{
    return prn_error_set(error, PRN_NO_MEMORY, "out of memory while training a stage");
}

/* ---- data ---------------------------------------------------------------------------------------------------------------- */

prn_status prn__data_digest(prn__execution *x, uint32_t time_step, int *missing, const char **digest, prn_error *error)
{
    const prn__manifest *manifest = x->plan->manifest;
    const prn__manifest_step *step = &manifest->steps[time_step - 1];
    const prn__shard_list *list = &step->train;
    prn__dataset *dataset = NULL;
    char text[33];
    if (missing != NULL) {
        *missing = 0;
    }
    *digest = x->data_digests[time_step - 1];
    if (*digest != NULL) {
        return PRN_OK;
    }
    prn__progress progress = {.phase = "index", .label = step->name, .time_step = time_step};
    prn__execution_report(x, &progress, NULL);
    prn_status status = prn__dataset_open(manifest, &list, 1, x->cache, &dataset, error);
    if (status == PRN_OK && missing != NULL && prn__dataset_losses(dataset, -1, PRN__LOSS_SHARD_MISSING) > 0) {
        *missing = 1;
        goto done;
    }
    if (status == PRN_NOT_FOUND && missing != NULL) {
        *missing = 1;
        status = PRN_OK;
        goto done;
    }
    if (status == PRN_OK) {
        status = prn__dataset_digest(dataset, text, error);
    }
    if (status != PRN_OK) {
        (void)prn_error_context(error, status, "%s: training data of step '%s'", manifest->path, step->name);
        goto done;
    }
    if (list->checksum != NULL && strcasecmp(list->checksum, text) != 0) {
        status = prn_error_set(error, PRN_CORRUPT, "%s: step '%s' states the checksum %s, and its shards have %s: they were changed or damaged; get them"
                               " again, or correct the manifest", manifest->path, step->name, list->checksum, text);
        goto done;
    }
    if ((*digest = prn__arena_strdup(&x->memory, text)) == NULL) {
        status = no_memory(error);
        goto done;
    }
    x->data_digests[time_step - 1] = *digest;
done:
    if (dataset != NULL) {
        prn__dataset_close(dataset);
    }
    return status;
}

static prn_status keep_index_losses(training *t, uint32_t i, prn_error *error)
{
    prn__dataset *dataset = t->datasets[i];
    int64_t shards = prn__dataset_shards(dataset), total = 0;
    for (int reason = 0; reason < PRN__LOSS_COUNT; reason++) {
        total += prn__dataset_losses(dataset, -1, (prn__loss_reason)reason);
    }
    t->flushed_losses[i] = total;
    if (total == 0) {
        return PRN_OK;
    }
    t->index_losses[i] = prn__alloc_array((size_t)shards * PRN__LOSS_COUNT, sizeof(int64_t));
    if (t->index_losses[i] == NULL) {
        return no_memory(error);
    }
    prn_status status = prn__ledger_begin(t->x->ledger, error);
    for (int64_t shard = 0; shard < shards && status == PRN_OK; shard++) {
        for (int reason = 0; reason < PRN__LOSS_COUNT && status == PRN_OK; reason++) {
            int64_t count = prn__dataset_losses(dataset, shard, (prn__loss_reason)reason);
            t->index_losses[i][shard * PRN__LOSS_COUNT + reason] = count;
            if (count > 0) {
                status = prn__ledger_skip(t->x->ledger, t->stage->key, -1, prn__dataset_shard_path(dataset, shard),
                                          prn__loss_reason_name((prn__loss_reason)reason), count, error);
            }
        }
    }
    if (status == PRN_OK) {
        status = prn__ledger_commit(t->x->ledger, error);
    }
    prn__ledger_rollback(t->x->ledger);
    return status;
}

/* Sources without weights become one dataset. Unweighted ones with sample limits cannot be joined, and are drawn in
 * proportion to what the limits leave. */
static prn_status open_sources(training *t, prn_error *error)
{
    const prn__stage *stage = t->stage;
    const prn__manifest *manifest = t->x->plan->manifest;
    prn_status status = PRN_OK;
    const prn__shard_list **lists = NULL;
    int joined = stage->source_count == 1 || stage->sources[0].weight == 0;
    for (uint32_t i = 0; i < stage->source_count; i++) {
        const char *digest;
        joined = joined && (stage->source_count == 1 || stage->sources[i].max_samples == 0);
        if ((status = prn__data_digest(t->x, stage->sources[i].time_step, NULL, &digest, error)) != PRN_OK) {
            return status;
        }
    }
    t->source_count = joined ? 1 : stage->source_count;
    t->datasets = prn__alloc_array(t->source_count, sizeof(prn__dataset *));
    t->sources = prn__alloc_array(t->source_count, sizeof *t->sources);
    t->index_losses = prn__alloc_array(t->source_count, sizeof(int64_t *));
    t->flushed_losses = prn__alloc_array(t->source_count, sizeof(int64_t));
    lists = prn__alloc_array(stage->source_count, sizeof(const prn__shard_list *));
    if (t->datasets == NULL || t->sources == NULL || t->index_losses == NULL || t->flushed_losses == NULL || lists == NULL) {
        status = no_memory(error);
        goto done;
    }
    for (uint32_t i = 0; i < stage->source_count; i++) {
        lists[i] = &manifest->steps[stage->sources[i].time_step - 1].train;
    }
    for (uint32_t i = 0; i < t->source_count; i++) {
        const prn__plan_source *source = &stage->sources[i];
        status = prn__dataset_open(manifest, &lists[i], joined ? stage->source_count : 1, t->x->cache, &t->datasets[i], error);
        if (status != PRN_OK) {
            (void)prn_error_context(error, status, "training data of %s", t->label);
            goto done;
        }
        int64_t samples = prn__dataset_samples(t->datasets[i]);
        if (samples < 1) {
            status = prn_error_set(error, PRN_CORRUPT, "%s: the training data of %s has no usable sample; `perennial data verify` tells why",
                                   manifest->path, t->label);
            goto done;
        }
        t->sources[i].dataset = t->datasets[i];
        t->sources[i].max_samples = source->max_samples;
        if (!joined) {
            int64_t limited = source->max_samples > 0 && source->max_samples < samples ? source->max_samples : samples;
            t->sources[i].weight = source->weight > 0 ? source->weight : (double)limited;
        }
        if ((status = keep_index_losses(t, i, error)) != PRN_OK) {
            goto done;
        }
    }
done:
    prn__free(lists);
    return status;
}

/* The order of samples differs from time step to time step, and is the same for every strategy. */
static uint64_t stage_seed(uint64_t seed, uint32_t time_step)
{
    uint64_t parts[3] = {0x7374616765ull, seed, time_step};
    return prn__hash_bytes(parts, sizeof parts).low;
}

static prn_status open_loader(training *t, prn_error *error)
{
    const prn__recipe *r = t->x->recipe;
    const prn__loader_config config = {
        .sources = t->sources,
        .source_count = t->source_count,
        .tokenizer = t->x->tokenizer,
        .context_length = r->model.text.context_length,
        .image_side = r->model.vision.image_size,
        .batch = r->batch,
        .seed = stage_seed(r->seed, t->stage->time_step),
        .shuffle = r->shuffle,
        .with_replacement = r->with_replacement,
        .window = r->window,
        .augment = r->augment,
        .scale_low = r->scale_low,
        .scale_high = r->scale_high,
        .bad_policy = t->x->plan->manifest->bad_policy,
        .threads = r->data_threads,
        .first_step = t->first_step,
        .step_count = t->stage->steps - t->first_step,
    };
    return prn__loader_create(&config, &t->loader, error);
}

/* ---- where a stage starts ---------------------------------------------------------------------------------------------------- */

static prn_status starting_weights(training *t, prn_error *error)
{
    prn__execution *x = t->x;
    prn__stage_state *state = &x->state;
    prn_status status = PRN_OK;
    int has_optimizer = 0;
    if (t->stage->parent >= 0) {
        has_optimizer = t->stage->keep_optimizer;
        status = prn__finished_load(x, t->stage->parent, has_optimizer, error);
    } else if (x->recipe->init != NULL) {
        status = prn__model_load(x->plan->model, x->recipe->init, state->weights, error);
        if (status != PRN_OK) {
            (void)prn_error_context(error, status, "%s: `init`", x->recipe->path);
        }
    } else {
        prn__model_init(x->plan->model, x->recipe->seed, state->weights);
    }
    if (!has_optimizer) {
        memset(state->m, 0, (size_t)state->flat_elements * sizeof(float));
        memset(state->v, 0, (size_t)state->flat_elements * sizeof(float));
        state->updates = 0;
    }
    state->step = 0;
    state->seconds = 0;
    state->last_loss = NAN;
    return status;
}

static prn_status start(training *t, prn_error *error)
{
    prn__execution *x = t->x;
    const prn__recipe *r = x->recipe;
    int found = 0;
    prn_status status = PRN_OK;
    x->loaded_stage = -1;
    if (x->trainer == NULL) {
        const prn__trainer_config config = {.batch = r->batch, .micro_batch = r->micro_batch, .checkpoint = r->checkpointing, .optimizer = r->optimizer};
        status = prn__trainer_create(x->plan->model, &x->device, &config, &x->trainer, error);
    }
    if (status == PRN_OK) {
        status = prn__folder_create(t->folder, error);
    }
    if (status == PRN_OK) {
        prn__stage_sweep(t->folder);
        status = prn__checkpoint_load(t->folder, t->stage->key, &x->state, &found, error);
    }
    if (status == PRN_OK && found && x->state.step > t->stage->steps) {
        status = prn_error_set(error, PRN_CORRUPT, "%s: its checkpoint is at step %" PRId64 " of %" PRId64 "; remove the folder to train it again",
                               t->folder, x->state.step, t->stage->steps);
    }
    if (status == PRN_OK && !found) {
        status = starting_weights(t, error);
    }
    if (status == PRN_OK) {
        t->first_step = x->state.step;
        if (found) {
            prn__log(PRN_LOG_INFO, "going on with %s at update %" PRId64 " of %" PRId64, t->label, t->first_step, t->stage->steps);
        }
        status = prn__trainer_set_state(x->trainer, x->state.weights, x->state.m, x->state.v, x->state.updates, error);
    }
    if (status == PRN_OK) {
        status = prn__ledger_forget_after(x->ledger, t->stage->key, t->first_step, error);
    }
    return status;
}

/* ---- saving ------------------------------------------------------------------------------------------------------------------ */

static prn_status record_losses(training *t, uint32_t i, prn_error *error)
{
    prn__dataset *dataset = t->datasets[i];
    int64_t total = 0, shards = prn__dataset_shards(dataset);
    prn_status status = PRN_OK;
    for (int reason = 0; reason < PRN__LOSS_COUNT; reason++) {
        total += prn__dataset_losses(dataset, -1, (prn__loss_reason)reason);
    }
    if (total == t->flushed_losses[i]) {
        return PRN_OK;
    }
    for (int64_t shard = 0; shard < shards && status == PRN_OK; shard++) {
        for (int reason = 0; reason < PRN__LOSS_COUNT && status == PRN_OK; reason++) {
            int64_t count = prn__dataset_losses(dataset, shard, (prn__loss_reason)reason);
            count -= t->index_losses[i] != NULL ? t->index_losses[i][shard * PRN__LOSS_COUNT + reason] : 0;
            if (count > 0) {
                status = prn__ledger_skip(t->x->ledger, t->stage->key, t->first_step, prn__dataset_shard_path(dataset, shard),
                                          prn__loss_reason_name((prn__loss_reason)reason), count, error);
            }
        }
    }
    t->flushed_losses[i] = total;
    return status;
}

static prn_status flush(training *t, int with_losses, const char *state, prn_error *error)
{
    prn__execution *x = t->x;
    prn_status status = prn__ledger_begin(x->ledger, error);
    if (status == PRN_OK) {
        status = prn__ledger_metrics(x->ledger, t->stage->key, t->metrics, t->metric_count, error);
    }
    for (uint32_t i = 0; i < t->source_count && with_losses && status == PRN_OK; i++) {
        status = record_losses(t, i, error);
    }
    if (status == PRN_OK) {
        status = prn__ledger_stage_state(x->ledger, t->stage->key, state, x->state.seconds, x->state.last_loss, error);
    }
    if (status == PRN_OK) {
        status = prn__ledger_commit(x->ledger, error);
    }
    prn__ledger_rollback(x->ledger);
    if (status == PRN_OK) {
        t->metric_count = 0;
        t->last_flush = prn__now_s();
    }
    return status;
}

static prn_status take_state(training *t, prn_error *error)
{
    prn__stage_state *state = &t->x->state;
    return prn__trainer_get_state(t->x->trainer, state->weights, state->m, state->v, &state->updates, error);
}

static prn_status save_checkpoint(training *t, prn_error *error)
{
    prn_status status = take_state(t, error);
    if (status == PRN_OK) {
        status = prn__checkpoint_save(t->folder, t->stage->key, &t->x->state, error);
    }
    if (status == PRN_OK) {
        status = flush(t, 1, "partial", error);
    }
    t->last_save = prn__now_s();
    return status;
}

/* stage.json: what the finished folder holds and what made it. Caller frees with prn__free. */
static char *describe(const training *t)
{
    const prn__execution *x = t->x;
    const prn__stage *stage = t->stage;
    char digest[33];
    json_t *data = json_array();
    prn__digest_format(prn__hash_bytes(x->state.weights, (size_t)x->state.flat_elements * sizeof(float)), digest);
    for (uint32_t i = 0; i < stage->source_count; i++) {
        uint32_t step = stage->sources[i].time_step;
        (void)json_array_append_new(data, json_pack("{s:i, s:s, s:I, s:f}", "time_step", (int)step, "digest", x->data_digests[step - 1], "max_samples",
                                                    (json_int_t)stage->sources[i].max_samples, "weight", stage->sources[i].weight));
    }
    json_t *object = json_pack("{s:s, s:s, s:s, s:s?, s:i, s:I, s:I, s:s, s:f, s:o}", "format", "perennial-stage/1", "perennial", PRN_RELEASE, "key",
                               stage->key, "parent", stage->parent >= 0 ? x->plan->stages[stage->parent].key : NULL, "time_step",
                               (int)stage->time_step, "steps", (json_int_t)stage->steps, "samples", (json_int_t)stage->samples, "weights_digest",
                               digest, "seconds", x->state.seconds, "data", data);
    char *text = object != NULL ? json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) : NULL;
    char *copy = prn__strdup(text);
    free(text); /* jansson's own allocator */
    json_decref(object);
    return copy;
}

static prn_status finish(training *t, prn_error *error)
{
    prn__execution *x = t->x;
    prn_status status = take_state(t, error);
    char *description = status == PRN_OK ? describe(t) : NULL;
    if (status == PRN_OK && description == NULL) {
        status = no_memory(error);
    }
    if (status == PRN_OK) {
        status = prn__stage_finish(t->folder, t->stage->key, x->plan->model, &x->state, description, error);
    }
    prn__free(description);
    if (status == PRN_OK) {
        status = flush(t, 1, "done", error);
    }
    if (status == PRN_OK) {
        t->stage->is_done = 1;
        x->loaded_stage = t->index;
    }
    return status;
}

prn_status prn__finished_load(prn__execution *x, int32_t index, int optimizer, prn_error *error)
{
    const prn__stage *stage = &x->plan->stages[index];
    const char *folder = prn__execution_folder(x, stage);
    char *file = folder != NULL ? prn__path_join(folder, "stage.json") : NULL;
    char *text = NULL, digest[33];
    size_t bytes = 0;
    json_t *object = NULL;
    prn_status status;
    if (file == NULL) {
        return no_memory(error);
    }
    if ((status = prn__stage_load(folder, stage->key, x->plan->model, optimizer, &x->state, error)) != PRN_OK ||
        (status = prn__file_read(file, 1 << 20, &text, &bytes, error)) != PRN_OK) {
        goto done;
    }
    object = json_loadb(text, bytes, 0, NULL);
    const char *stated = json_string_value(json_object_get(object, "weights_digest"));
    prn__digest_format(prn__hash_bytes(x->state.weights, (size_t)x->state.flat_elements * sizeof(float)), digest);
    if (stated == NULL || strcmp(stated, digest) != 0) {
        status = prn_error_set(error, PRN_CORRUPT, "%s: the weights are not those that were saved there; remove the folder to train the stage again", folder);
    }
done:
    if (status == PRN_OK) {
        x->loaded_stage = index;
    }
    json_decref(object);
    prn__free(text);
    prn__free(file);
    return status;
}

/* ---- the loop ------------------------------------------------------------------------------------------------------------------ */

static void note_progress(training *t, const prn__step_result *result, double rate, double step_s, double wait_s)
{
    prn__execution *x = t->x;
    double waited = step_s > 0 ? wait_s / step_s : 0;
    x->step_seconds = x->step_seconds > 0 ? 0.9 * x->step_seconds + 0.1 * step_s : step_s;
    double remaining = (double)x->samples_left / (double)x->recipe->batch * x->step_seconds;
    if (x->evaluations_done > 0) {
        remaining += x->evaluation_seconds / (double)x->evaluations_done * (double)x->evaluations_left;
    }
    prn__progress progress = {
        .phase = "train",
        .label = t->label,
        .stage = (uint32_t)t->index + 1,
        .step = x->state.step,
        .steps = t->stage->steps,
        .loss = result->loss,
        .learning_rate = rate,
        .samples_per_s = x->step_seconds > 0 ? (double)x->recipe->batch / x->step_seconds : NAN,
        .data_wait_frac = waited,
        .remaining_s = remaining,
    };
    prn__execution_report(x, &progress, t->stage);
}

static prn_status one_step(training *t, prn_error *error)
{
    prn__execution *x = t->x;
    const int64_t step = x->state.step;
    const double rate = (double)t->stage->rates[step], begin = prn__now_s();
    const prn__batch *batch = NULL;
    double wait_s = 0;
    prn__step_result result;
    memset(&result, 0, sizeof result);
    prn_status status = prn__loader_next(t->loader, &batch, &wait_s, error);
    if (status == PRN_END) {
        status = prn_error_set(error, PRN_INTERNAL, "the data ended at update %" PRId64 " of %" PRId64 " of %s", step, t->stage->steps, t->label);
    }
    if (status == PRN_OK) {
        status = prn__trainer_step(x->trainer, batch, rate, &result, error);
    }
    if (status != PRN_OK) {
        if (status == PRN_NUMERIC) {
            (void)prn_error_context(error, status, "%s: update %" PRId64 " of %" PRId64 " (learning rate %g) failed, and everything before it is kept; lower"
                                    " the schedule's peak, lengthen its warm-up, or set clip_norm", t->label, step + 1, t->stage->steps, rate);
        } else {
            (void)prn_error_context(error, status, "%s, update %" PRId64 " of %" PRId64, t->label, step + 1, t->stage->steps);
        }
        return status;
    }
    double seconds = prn__now_s() - begin;
    x->state.step = step + 1;
    x->state.seconds += seconds;
    x->state.last_loss = result.loss;
    x->samples_left -= x->recipe->batch;
    t->metrics[t->metric_count++] = (prn__step_metric){.step = step, .loss = result.loss, .learning_rate = rate, .gradient_norm = result.gradient_norm,
                                                       .logit_scale = result.logit_scale, .seconds = seconds, .data_wait_s = wait_s};
    note_progress(t, &result, rate, seconds, wait_s);
    return PRN_OK;
}

static int is_save_due(const training *t)
{
    const prn__recipe *r = t->x->recipe;
    if (t->x->state.step >= t->stage->steps) {
        return 0; /* the finished stage follows at once */
    }
    return (r->save_every_steps > 0 && t->x->state.step % r->save_every_steps == 0) ||
           (r->save_every_s > 0 && prn__now_s() - t->last_save >= r->save_every_s);
}

static prn_status loop(training *t, prn_error *error)
{
    prn__execution *x = t->x;
    prn_status status = PRN_OK;
    t->last_flush = t->last_save = prn__now_s();
    while (status == PRN_OK && x->state.step < t->stage->steps) {
        if (prn__execution_stop(x)) {
            if (x->state.step > t->first_step) {
                status = save_checkpoint(t, error);
            }
            return status != PRN_OK ? status
                                    : prn_error_set(error, PRN_INTERRUPTED, "stopped at update %" PRId64 " of %" PRId64 " of %s; the same command goes on"
                                                    " from there", x->state.step, t->stage->steps, t->label);
        }
        status = one_step(t, error);
        if (status == PRN_OK && is_save_due(t)) {
            status = save_checkpoint(t, error);
        } else if (status == PRN_OK && (t->metric_count == METRIC_BUFFER || prn__now_s() - t->last_flush > FLUSH_EVERY_S)) {
            status = flush(t, 0, "partial", error);
        }
    }
    return status;
}

prn_status prn__stage_train(prn__execution *x, int32_t index, prn_error *error)
{
    training *t = prn__alloc(sizeof *t);
    if (t == NULL) {
        return no_memory(error);
    }
    t->x = x;
    t->index = index;
    t->stage = &x->plan->stages[index];
    t->folder = prn__execution_folder(x, t->stage);
    (void)prn__stage_label(x->plan, t->stage, t->label, sizeof t->label);
    prn_status status = t->folder != NULL ? start(t, error) : no_memory(error);
    if (status == PRN_OK) {
        x->samples_left -= t->first_step * x->recipe->batch;
        status = open_sources(t, error);
    }
    if (status == PRN_OK && t->first_step < t->stage->steps) {
        status = open_loader(t, error);
    }
    if (status == PRN_OK) {
        status = loop(t, error);
        if (status != PRN_OK && status != PRN_INTERRUPTED && t->metric_count > 0) { /* the steps up to the failure show what led to it */
            prn_error ignored = PRN_ERROR_INIT;
            (void)flush(t, 0, "partial", &ignored);
        }
    }
    if (t->loader != NULL) {
        prn__loader_destroy(t->loader); /* before `finish`: no worker counts a loss after it was written */
        t->loader = NULL;
    }
    if (status == PRN_OK) {
        status = finish(t, error);
    }
    for (uint32_t i = 0; i < t->source_count; i++) {
        if (t->datasets != NULL && t->datasets[i] != NULL) {
            prn__dataset_close(t->datasets[i]);
        }
        if (t->index_losses != NULL) {
            prn__free(t->index_losses[i]);
        }
    }
    prn__free(t->datasets);
    prn__free(t->sources);
    prn__free(t->index_losses);
    prn__free(t->flushed_losses);
    prn__free(t);
    return status;
}
