/* core/run/training.c: trains one stage, from its parent's weights or its last checkpoint to a finished stage folder.
 *
 * Invariants: the bytes of the finished weights are a function of the stage's key: neither interruptions nor the
 * times at which checkpoints were saved change them. The ledger comes first, the checkpoint second: a kill between the two leaves
 * metrics of steps that are done again, and those are forgotten; the other way round, metrics would be lost.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/pool.h"
#include "run/hooks.h"
#include "run/stage_data.h"
#include "run/stage_note.h"

enum { METRIC_BUFFER = 256 };
static const double FLUSH_EVERY_S = 2.0, RATE_OVER_S = 20.0;

typedef struct training {
    prn__execution *x;
    prn__stage *stage;
    int32_t index;
    const char *folder;
    char label[256];
    char parent_weights[33]; /* digest */
    char identity[72];       /* of checkpoints: the key and, after a dot, a digest of the data and the parent's weights */
    prn__stage_data data;
    prn__hooks *hooks;       /* NULL for a plain stage */
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

/* What a checkpoint belongs to: the stage, its data, and the weights that it started from. */
static prn_status identify(training *t, prn_error *error)
{
    const prn__stage *stage = t->stage;
    prn_status status = PRN_OK;
    char data[33];
    prn__hasher *hasher = prn__hasher_create();
    if (hasher == NULL) {
        return no_memory(error);
    }
    for (uint32_t i = 0; i < stage->source_count + stage->memory_source_count && status == PRN_OK; i++) {
        const char *digest;
        const prn__plan_source *source = i < stage->source_count ? &stage->sources[i] : &stage->memory_sources[i - stage->source_count];
        status = prn__data_digest(t->x, source->time_step, NULL, &digest, error);
        if (status == PRN_OK) {
            prn__hasher_field(hasher, "data", digest);
        }
    }
    if (status == PRN_OK && stage->parent >= 0) {
        status = prn__stage_note(t->x, &t->x->plan->stages[stage->parent], "weights_digest", t->parent_weights, error);
        prn__hasher_field(hasher, "parent", t->parent_weights);
    }
    prn__digest_format(prn__hasher_digest(hasher), data);
    prn__hasher_destroy(hasher);
    (void)snprintf(t->identity, sizeof t->identity, "%s.%s", stage->key, data);
    return status;
}

/* The order of samples differs from time step to time step, and is the same for every strategy. */
static uint64_t stage_seed(uint64_t seed, uint32_t time_step)
{
    uint64_t parts[3] = {0x7374616765ull, seed, time_step};
    return prn__hash_bytes(parts, sizeof parts).low;
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
    int found = 0;
    prn_status status = PRN_OK;
    x->loaded_stage = -1;
    status = prn__trainer_ready(x, error);
    if (status == PRN_OK) {
        status = prn__folder_create(t->folder, error);
    }
    if (status == PRN_OK) {
        prn__stage_sweep(t->folder);
        status = prn__checkpoint_load(t->folder, t->identity, &x->state, &found, error);
    }
    if (status == PRN_OK) {
        status = prn__micro_resume(x, found, error);
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
        const double *wide = x->state.wide;
        const int64_t n = x->state.flat_elements;
        status = found && wide != NULL ? prn__trainer_set_wide(x->trainer, wide, wide + n, wide + 2 * n, x->state.updates, error)
                                       : prn__trainer_set_state(x->trainer, x->state.weights, x->state.m, x->state.v, x->state.updates, error);
    }
    if (status == PRN_OK) {
        status = prn__ledger_forget_after(x->ledger, t->stage->key, t->first_step, error);
    }
    return status;
}

/* ---- saving ------------------------------------------------------------------------------------------------------------------ */

static prn_status flush(training *t, int with_losses, const char *state, prn_error *error)
{
    prn__execution *x = t->x;
    prn_status status = prn__ledger_begin(x->ledger, error);
    if (status == PRN_OK) {
        status = prn__ledger_metrics(x->ledger, t->stage->key, t->metrics, t->metric_count, error);
    }
    if (status == PRN_OK && with_losses) {
        status = prn__stage_data_record(&t->data, t->stage->key, t->first_step, error);
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
    prn__stage_state *state = &t->x->state;
    const int64_t n = state->flat_elements;
    prn_status status = state->wide != NULL ? prn__trainer_get_wide(t->x->trainer, state->wide, state->wide + n, state->wide + 2 * n, &state->updates, error)
                                            : take_state(t, error);
    if (status == PRN_OK) {
        status = flush(t, 1, "partial", error);
    }
    if (status == PRN_OK) {
        status = prn__checkpoint_save(t->folder, t->identity, state, error);
    }
    t->last_save = prn__now_s();
    return status;
}

/* stage.json: what the finished folder holds and what made it. Caller frees with prn__free. */
static char *describe(const training *t, prn_error *error)
{
    prn__execution *x = t->x;
    const prn__stage *stage = t->stage;
    char digest[33];
    json_t *data = prn__stage_note_data(x, stage, error);
    if (data == NULL) {
        return NULL;
    }
    prn__digest_format(prn__hash_bytes(x->state.weights, (size_t)x->state.flat_elements * sizeof(float)), digest);
    json_t *object = json_pack("{s:s, s:s, s:s, s:s?, s:s?, s:i, s:I, s:I, s:s, s:f, s:o}", "format", "perennial-stage/1", "perennial", PRN_RELEASE,
                               "key", stage->key, "parent", stage->parent >= 0 ? x->plan->stages[stage->parent].key : NULL, "parent_weights",
                               stage->parent >= 0 ? t->parent_weights : NULL, "time_step",
                               (int)stage->time_step, "steps", (json_int_t)stage->steps, "samples", (json_int_t)stage->samples, "weights_digest",
                               digest, "seconds", x->state.seconds, "data", data);
    if (object != NULL && x->state.micro_batch > 0) { /* chosen; a fixed one is in the recipe */
        (void)json_object_set_new(object, "micro_batch", json_integer(x->state.micro_batch));
        (void)json_object_set_new(object, "micro_batch_since", json_integer(x->state.micro_since));
    }
    char *text = object != NULL ? json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) : NULL;
    char *copy = prn__strdup(text);
    free(text); /* jansson's own allocator */
    json_decref(object);
    if (copy == NULL) {
        (void)no_memory(error);
    }
    return copy;
}

static prn_status finish(training *t, prn_error *error)
{
    prn__execution *x = t->x;
    prn_status status = take_state(t, error);
    char *description = NULL;
    if (status == PRN_OK && (description = describe(t, error)) == NULL) {
        status = (prn_status)error->status;
    }
    if (status == PRN_OK) {
        status = flush(t, 1, "partial", error);
    }
    if (status == PRN_OK) {
        status = prn__stage_finish(t->folder, t->stage->key, x->plan->model, &x->state, description, error);
    }
    prn__free(description);
    if (status == PRN_OK) {
        status = prn__ledger_stage_state(x->ledger, t->stage->key, "done", x->state.seconds, x->state.last_loss, error);
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
    if (folder == NULL) {
        return no_memory(error);
    }
    prn_status status = prn__stage_load(folder, stage->key, x->plan->model, optimizer, &x->state, error);
    if (status != PRN_OK && optimizer && prn__stage_is_done(x->recipe->workspace, stage->key) &&
        !prn__file_exists(prn__arena_printf(&x->memory, "%s/optimizer.safetensors", folder))) {
        status = prn_error_context(error, status, "this run goes on from the optimizer state of a finished stage, which is not there any more (`perennial gc"
                                   " --optimizer` takes it); remove the folder %s to train the stage again, to the same bytes", folder);
    }
    if (status == PRN_OK) {
        status = prn__check_weights(x, stage, x->state.weights, error);
    }
    if (status == PRN_OK) {
        x->loaded_stage = index;
    }
    return status;
}

/* ---- the loop ------------------------------------------------------------------------------------------------------------------ */

static void note_progress(training *t, const prn__step_result *result, double rate, double step_s, double wait_s)
{
    prn__execution *x = t->x;
    double waited = step_s > 0 ? wait_s / step_s : 0;
    const double keeps = exp(-step_s / RATE_OVER_S); /* by time, not by steps: one that was held up must not make the time left jump */
    x->recent_steps = keeps * x->recent_steps + 1;
    x->recent_seconds = keeps * x->recent_seconds + step_s;
    x->step_seconds = x->recent_seconds / x->recent_steps;
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
    const prn__batch *batch = NULL, *memory = NULL;
    double wait_s = 0;
    prn__step_result result;
    memset(&result, 0, sizeof result);
    prn_status status = prn__loader_next(t->data.loader, &batch, &wait_s, error);
    if (status == PRN_END) {
        status = prn_error_set(error, PRN_INTERNAL, "the data ended at update %" PRId64 " of %" PRId64 " of %s", step, t->stage->steps, t->label);
    }
    if (status == PRN_OK) {
        status = t->hooks != NULL ? prn__hooks_next_memory(t->hooks, step, &memory, error) : PRN_OK;
    }
    if (status == PRN_OK) {
        prn__trainer_expect(x->trainer, memory == NULL ? prn__loader_peek(t->data.loader) : NULL); /* a memory batch would come first */
        status = prn__trainer_step_with(x->trainer, batch, memory, rate, &result, error);
    }
    if (status != PRN_OK) {
        if (status == PRN_INTERRUPTED || prn__hooks_has_named(t->hooks)) {
            return status;
        }
        if (status == PRN_NUMERIC) {
            (void)prn_error_context(error, status, "%s: update %" PRId64 " of %" PRId64 " (learning rate %g) failed, and everything before it is kept; %s"
                                    " the schedule's peak, lengthen its warm-up, or set clip_norm", t->label, step + 1, t->stage->steps, rate,
                                    t->hooks != NULL ? "look at what the strategy adds to the loss or does to the gradient; when that is right, lower" : "lower");
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
                                                       .logit_scale = result.logit_scale, .seconds = seconds, .data_wait_s = wait_s,
                                                       .memory_bytes = (double)prn__peak_memory_bytes()};
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

/* Saves what this attempt has added, all of whose updates are whole. */
static prn_status save_and_stop(training *t, prn_error *error)
{
    const prn__stage_state *state = &t->x->state;
    prn_status status = state->step > t->first_step ? save_checkpoint(t, error) : PRN_OK;
    return status != PRN_OK ? status
                            : prn_error_set(error, PRN_INTERRUPTED, "stopped at update %" PRId64 " of %" PRId64 " of %s; the same command goes on from there",
                                            state->step, t->stage->steps, t->label);
}

static prn_status loop(training *t, prn_error *error)
{
    prn__execution *x = t->x;
    prn_status status = PRN_OK;
    t->last_flush = t->last_save = prn__now_s();
    while (status == PRN_OK && x->state.step < t->stage->steps) {
        if (prn__execution_stop(x)) {
            return save_and_stop(t, error);
        }
        status = one_step(t, error);
        if (status == PRN_INTERRUPTED) { /* in the midst of an update, which was not made */
            return save_and_stop(t, error);
        }
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
    prn_status status = t->folder != NULL ? identify(t, error) : no_memory(error);
    if (status == PRN_OK) {
        status = prn__stage_data_open(x, t->stage->sources, t->stage->source_count, t->label, &t->data, error);
    }
    if (status == PRN_OK) {
        status = start(t, error);
    }
    if (status == PRN_OK) {
        status = prn__stage_data_record_index(&t->data, t->stage->key, error);
    }
    if (status == PRN_OK) {
        x->samples_left -= t->first_step * x->recipe->batch;
    }
    if (status == PRN_OK && t->first_step < t->stage->steps) {
        status = prn__stage_data_start(&t->data, stage_seed(x->recipe->seed, t->stage->time_step), x->recipe->batch,
                                       t->stage->data_step + t->first_step,
                                       t->stage->steps - t->first_step, error);
    }
    if (status == PRN_OK && t->stage->hooks != 0 && t->first_step < t->stage->steps) {
        status = prn__hooks_open(x, t->stage, &t->hooks, error);
        if (status == PRN_OK) {
            status = prn__hooks_train(t->hooks, t->first_step, error);
        }
    }
    if (status == PRN_OK) {
        status = loop(t, error);
        if (status != PRN_OK && status != PRN_INTERRUPTED && t->metric_count > 0) { /* the steps up to the failure show what led to it */
            prn_error ignored = PRN_ERROR_INIT;
            (void)flush(t, 0, "partial", &ignored);
        }
        if (status == PRN_NO_MEMORY && x->micro > 0 && x->state.step > t->first_step) { /* with smaller micro-batches it goes on from here */
            prn_error ignored = PRN_ERROR_INIT;
            (void)save_checkpoint(t, &ignored);
        }
    }
    prn__stage_data_stop(&t->data); /* before `finish`: no worker counts a loss after it was written */
    prn__hooks_close(t->hooks);
    if (status == PRN_OK) {
        status = finish(t, error);
    }
    prn__stage_data_close(&t->data);
    prn__free(t);
    return status;
}
