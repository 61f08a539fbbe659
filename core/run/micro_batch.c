/* core/run/micro_batch.c: the trainer of a run, what of it and of the embedder is let go when memory is short, and `micro_batch = "auto"`: the largest micro-batch that the device has room for.
 *
 * Sizes are tried, not guessed: the whole batch, and on PRN_NO_MEMORY half of it, and so on. When that comes in the middle of a stage (captions
 * longer than all before), what was trained is saved, and the stage goes on from there with the next smaller one, as if it had been interrupted.
 * A host promises more memory than it has; there the plan is held against what is free.
 *
 * A stage starts with the micro-batch that its parent ended with, and a first stage with the whole batch, whatever else this process has trained; one
 * that goes on takes the smaller of that and its checkpoint's. So a stage's bytes depend on its key and on what the device has room for, not on
 * where it was interrupted; stage.json says which micro-batch it was, and since which step.
 */
#include <inttypes.h>
#include <jansson.h>

#include "base/file.h"
#include "base/log.h"
#include "plugin/topology.h"
#include "run/execution.h"

static int is_auto(const prn__execution *x)
{
    return x->recipe->micro_batch == PRN__MICRO_BATCH_AUTO;
}

static void drop_trainer(prn__execution *x)
{
    if (x->trainer != NULL) {
        prn__trainer_destroy(x->trainer);
        x->trainer = NULL;
    }
    x->trainer_micro = 0;
}

static void drop_embedder(prn__execution *x)
{
    if (x->embedder != NULL) {
        prn__embedder_destroy(x->embedder);
        x->embedder = NULL;
    }
    x->loaded_stage = -1;
}

/* What is free where device memory is the host's; 0 where the device itself says when it has no more. */
static int64_t memory_limit(prn__execution *x)
{
    prn_error ignored = PRN_ERROR_INIT;
    prn_device_info info = {.struct_size = (uint32_t)sizeof info};
    prn__topology *topology = NULL;
    uint32_t count = 0;
    int64_t limit = 0;
    if (x->device.backend->devices(prn__registry_host(x->registry), &info, 1, &count, &ignored) == PRN_OK && count > 0 && info.memory_bytes > 0 &&
        prn__topology_create(1, NULL, &topology, &ignored) == PRN_OK && topology->memory_bytes == info.memory_bytes) {
        limit = (int64_t)(topology->memory_free_bytes / 8 * 7); /* the rest for batches on their way, and for who else is there */
    }
    prn__topology_destroy(topology);
    return limit;
}

prn_status prn__trainer_ready(prn__execution *x, prn_error *error)
{
    const prn__recipe *r = x->recipe;
    prn__trainer_config config = {.batch = r->batch, .micro_batch = r->micro_batch, .checkpoint = r->checkpointing, .optimizer = r->optimizer};
    prn_status status = PRN_OK;
    if (is_auto(x) && x->trainer != NULL && x->trainer_micro != x->micro) {
        drop_trainer(x);
    }
    if (x->trainer == NULL && is_auto(x)) {
        drop_embedder(x); /* whether one is there must not decide what fits */
        config.micro_batch = x->micro;
        config.memory_limit = memory_limit(x);
    }
    if (x->trainer == NULL) {
        status = prn__trainer_create(x->plan->model, &x->device, &config, &x->trainer, error);
        if (status == PRN_NO_MEMORY && x->embedder != NULL) {
            drop_embedder(x);
            *error = (prn_error)PRN_ERROR_INIT;
            status = prn__trainer_create(x->plan->model, &x->device, &config, &x->trainer, error);
        }
        x->trainer_micro = status == PRN_OK ? x->micro : 0;
    }
    return status == PRN_OK && prn__trainer_is_wide(x->trainer) ? prn__stage_state_widen(&x->state, error) : status;
}

/* What the nearest ancestor that says so has ended with; else the whole batch. */
static int64_t first_micro(prn__execution *x, const prn__stage *stage)
{
    int64_t micro = 0;
    for (int32_t at = stage->parent; at >= 0 && micro == 0; at = x->plan->stages[at].parent) {
        prn_error ignored = PRN_ERROR_INIT;
        const char *folder = prn__execution_folder(x, &x->plan->stages[at]);
        char *file = folder != NULL ? prn__path_join(folder, "stage.json") : NULL, *text = NULL;
        size_t bytes = 0;
        if (file != NULL && prn__file_read(file, 1 << 20, &text, &bytes, &ignored) == PRN_OK) {
            json_t *object = json_loadb(text, bytes, 0, NULL);
            micro = json_integer_value(json_object_get(object, "micro_batch"));
            json_decref(object);
        }
        prn__free(text);
        prn__free(file);
    }
    return micro > 0 && micro < x->recipe->batch ? micro : x->recipe->batch;
}

prn_status prn__micro_resume(prn__execution *x, int found, prn_error *error)
{
    prn__stage_state *state = &x->state;
    if (!is_auto(x)) {
        state->micro_batch = state->micro_since = 0;
        return PRN_OK;
    }
    if (found && state->micro_batch > 0 && state->micro_batch < x->micro) {
        x->micro = state->micro_batch;
        return prn__trainer_ready(x, error);
    }
    if (!found || state->micro_batch != x->micro) {
        state->micro_since = found ? state->step : 0;
        state->micro_batch = x->micro;
    }
    return PRN_OK;
}

prn_status prn__stage_fitted(prn__execution *x, int32_t index, prn__stage_work work, prn_error *error)
{
    const int64_t left = x->samples_left;
    char label[256];
    if (!is_auto(x)) {
        return work(x, index, error);
    }
    x->micro = first_micro(x, &x->plan->stages[index]);
    for (;;) {
        prn_status status = work(x, index, error);
        if (status != PRN_NO_MEMORY) {
            return status;
        }
        drop_trainer(x);
        if (x->micro <= 1) {
            return prn_error_context(error, status, "micro_batch = \"auto\" went down to one sample and even that does not fit; set checkpointing = true, or "
                                     "make the model or the batch smaller");
        }
        prn__log(PRN_LOG_WARNING, "%s: %" PRId64 " samples at a time do not fit (%s); going on with micro-batches of %" PRId64,
                 prn__stage_label(x->plan, &x->plan->stages[index], label, sizeof label), x->micro, error->message, (x->micro + 1) / 2);
        x->micro = (x->micro + 1) / 2;
        x->loaded_stage = -1;
        x->samples_left = left;
        *error = (prn_error)PRN_ERROR_INIT;
    }
}

prn_status prn__score_fitted(prn__execution *x, int32_t index, prn_error *error)
{
    prn_status status = prn__stage_score(x, index, error);
    if (status == PRN_NO_MEMORY && x->trainer != NULL) { /* nothing of it is needed any more: the stage has been saved */
        drop_trainer(x);
        drop_embedder(x);
        *error = (prn_error)PRN_ERROR_INIT;
        status = prn__stage_score(x, index, error);
    }
    return status == PRN_NO_MEMORY ? prn_error_context(error, status, "there is too little memory to score with; make `batch` of p.evaluate smaller") : status;
}
