/* core/run/executor.c: see executor.h. The order of a run: lock, device, ledger, data, then for each stage what is
 * missing of its training and of its scores.
 *
 * Invariants: whatever ends a run, what was finished before stays finished; a stage is worked on only under its claim.
 */
#include "run/executor.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/stop.h"
#include "run/attempt.h"
#include "run/hooks.h"
#include "run/sharing.h"
#include "run/stage_data.h"
#include "run/stage_note.h"

static prn_status no_memory(prn_error *error)
{
    return prn_error_set(error, PRN_NO_MEMORY, "out of memory while running");
}

const char *prn__execution_folder(prn__execution *x, const prn__stage *stage)
{
    char *folder = prn__stage_folder(x->recipe->workspace, stage->key);
    const char *kept = folder != NULL ? prn__arena_strdup(&x->memory, folder) : NULL;
    prn__free(folder);
    return kept;
}

const char *prn__stage_label(const prn__plan *plan, const prn__stage *stage, char *target, size_t bytes)
{
    int used = snprintf(target, bytes, "time step %u (%s), %s%s ", stage->time_step, plan->manifest->steps[stage->time_step - 1].name,
                        stage->is_branch ? "branch, " : stage->of_trunk ? "trunk, " : "",
                        stage->used_by_count == 1 ? "strategy" : "strategies");
    for (uint32_t i = 0; i < stage->used_by_count && used >= 0 && (size_t)used < bytes; i++) {
        int more = snprintf(target + used, bytes - (size_t)used, "%s%s", i > 0 ? ", " : "", stage->used_by[i]);
        used = more < 0 ? -1 : used + more;
    }
    return target;
}

int prn__execution_stop(const prn__execution *x)
{
    return x->options != NULL && x->options->should_stop != NULL && x->options->should_stop(x->options->stop_context);
}

void prn__execution_report(const prn__execution *x, prn__progress *progress, const prn__stage *stage)
{
    if (x->options == NULL || x->options->progress == NULL) {
        return;
    }
    if (stage == NULL) { /* before any stage: nothing is measured yet */
        progress->loss = progress->learning_rate = progress->samples_per_s = progress->data_wait_frac = progress->remaining_s = NAN;
    } else {
        progress->time_step = stage->time_step;
    }
    progress->stage_count = x->plan->stage_count;
    progress->step_count_t = x->plan->step_count;
    x->options->progress(x->options->progress_context, progress);
}

/* ---- preparation ------------------------------------------------------------------------------------------------------------ */

static prn_status open_tokenizer(prn__execution *x, prn_error *error)
{
    const prn__manifest *manifest = x->plan->manifest;
    if (manifest->vocabulary == NULL) {
        return prn_error_set(error, PRN_INVALID, "%s: names no vocabulary; add `vocabulary: FILE` with a CLIP vocabulary file", manifest->path);
    }
    prn_status status = prn__tokenizer_open(manifest->vocabulary, manifest->merges, &x->tokenizer, error);
    if (status != PRN_OK) {
        return prn_error_context(error, status, "%s: vocabulary", manifest->path);
    }
    int64_t size = prn__tokenizer_vocab_size(x->tokenizer);
    if (size > x->recipe->model.text.vocab_size) {
        return prn_error_set(error, PRN_INVALID, "%s: the vocabulary %s has %" PRId64 " tokens and the model room for %" PRId64 "; set the model's"
                             " vocab_size to %" PRId64 ", or leave it out", x->recipe->path, manifest->vocabulary, size, x->recipe->model.text.vocab_size, size);
    }
    return PRN_OK;
}

/* Another process, or an earlier run with another recipe, may have finished stages since the plan was made. */
static prn_status look_again(prn__execution *x, prn_error *error)
{
    prn_status status = PRN_OK;
    for (uint32_t i = 0; i < x->plan->stage_count && status == PRN_OK; i++) {
        prn__stage *stage = &x->plan->stages[i];
        stage->is_done = prn__stage_is_done(x->recipe->workspace, stage->key);
        if (stage->is_done) {
            const char *folder = prn__execution_folder(x, stage);
            if (folder != NULL) {
                prn__stage_sweep(folder);
            }
            status = prn__check_finished(x, stage, error);
        } else {
            x->samples_left += stage->samples;
        }
    }
    return status;
}

/* The device as the recipe has it, and with jobs the one of a machine's several that is this worker's. */
static prn_status open_device(prn__execution *x, prn_error *error)
{
    const prn__recipe *r = x->recipe;
    const size_t count = r->backend_option_count;
    char number[16];
    if (x->options == NULL || x->options->device == 0) {
        return prn__device_open(x->registry, r->backend, r->backend_options, count, &x->device, error);
    }
    prn__option_pair *pairs = prn__arena_alloc(&x->memory, (count + 1) * sizeof *pairs);
    if (pairs == NULL) {
        return no_memory(error);
    }
    for (size_t i = 0; i < count; i++) {
        pairs[i] = r->backend_options[i];
    }
    (void)snprintf(number, sizeof number, "%" PRIu32, x->options->device - 1);
    pairs[count] = (prn__option_pair){"device", number};
    return prn__device_open(x->registry, r->backend, pairs, count + 1, &x->device, error);
}

static prn_status prepare(prn__execution *x, prn_error *error)
{
    const prn__recipe *r = x->recipe;
    prn_status status;
    x->loaded_stage = -1;
    x->cache = prn__path_join(r->workspace, "cache");
    x->data_digests = prn__arena_alloc(&x->memory, x->plan->step_count * sizeof *x->data_digests);
    if (x->cache == NULL || x->data_digests == NULL) {
        return no_memory(error);
    }
    if ((status = prn__folder_create(x->cache, error)) != PRN_OK || (status = open_tokenizer(x, error)) != PRN_OK ||
        (status = open_device(x, error)) != PRN_OK ||
        (status = prn__stage_state_init(&x->state, x->plan->model->flat_elements, error)) != PRN_OK ||
        (status = prn__ledger_open(r->workspace, &x->ledger, error)) != PRN_OK || (x->attempt.ledger = x->ledger, status = look_again(x, error)) != PRN_OK ||
        (status = prn__attempt_begin(&x->attempt, &x->device, x->data_digests, NULL, error)) != PRN_OK) {
        return status;
    }
    x->run = x->attempt.run;
    if (x->options != NULL && x->options->run != NULL) {
        *x->options->run = x->run;
    }
    return PRN_OK;
}

static void release(prn__execution *x)
{
    if (x->trainer != NULL) {
        prn__trainer_destroy(x->trainer);
    }
    if (x->embedder != NULL) {
        prn__embedder_destroy(x->embedder);
    }
    if (x->tokenizer != NULL) {
        prn__tokenizer_close(x->tokenizer);
    }
    prn__stage_state_fini(&x->state);
    if (x->device.instance != NULL) {
        prn__device_close(&x->device);
    }
    prn__ledger_close(x->ledger);
    prn__free(x->cache);
    prn__arena_fini(&x->memory);
}

/* ---- the run ---------------------------------------------------------------------------------------------------------------- */

/* A parent that was removed and trained again, on data that had changed, leaves children of other weights behind. */
prn_status prn__check_parent(prn__execution *x, const prn__stage *stage, prn_error *error)
{
    char from[33], now[33];
    prn_status status = PRN_OK;
    if (stage->parent < 0) {
        return PRN_OK;
    }
    if ((status = prn__stage_note(x, stage, "parent_weights", from, error)) == PRN_OK &&
        (status = prn__stage_note(x, &x->plan->stages[stage->parent], "weights_digest", now, error)) == PRN_OK && strcmp(from, now) != 0) {
        status = prn_error_set(error, PRN_CONFLICT, "%s/stages/%s: started from weights that stage %s does not have any more; remove the folder to train"
                               " the stage again", x->recipe->workspace, stage->key, x->plan->stages[stage->parent].key);
    }
    return status;
}

static prn_status run_stage(prn__execution *x, int32_t index, prn_error *error)
{
    const prn__stage *stage = &x->plan->stages[index];
    prn_status status = stage->is_done ? PRN_OK
                                       : prn__stage_fitted(x, index, (stage->hooks & PRN_HOOK_FINISH) ? prn__stage_finish_weights : prn__stage_train, error);
    return status == PRN_OK && stage->is_scored ? prn__score_fitted(x, index, error) : status;
}

static prn_status run_stages(prn__execution *x, prn_error *error)
{
    prn__turn turn = {.stage = 0, .claim = -1};
    prn_status status = prn__scoring_prepare(x, error);
    if (status == PRN_OK) {
        status = prn__sharing_open(x, error);
    }
    while (status == PRN_OK && (status = prn__turn_next(x, &turn, error)) == PRN_OK && turn.stage >= 0) {
        status = run_stage(x, turn.stage, error);
        prn__turn_end(x, &turn, status == PRN_OK);
    }
    return status;
}

/* A manifest that knows its samples only roughly describes data of others. */
static prn_status of_others_data(const prn__manifest *manifest, prn_status status, prn_error *error)
{
    int is_rough = 0;
    for (size_t t = 0; t < manifest->step_count; t++) {
        is_rough |= manifest->steps[t].train.samples < 0 && manifest->steps[t].train.about >= 0;
    }
    return is_rough ? prn_error_context(error, status, "%s: this data must be obtained from its owners first; the first lines of that file say where, and how"
                                        " to lay it out (`perennial plan` works without it)", manifest->path)
                    : status;
}

prn_status prn__run_execute(prn__plan *plan, prn__registry *registry, const prn__run_options *options, prn_error *error)
{
    prn_error own = PRN_ERROR_INIT, ignored = PRN_ERROR_INIT;
    prn__execution *x;
    int lock = -1;
    error = error != NULL ? error : &own; /* the ledger keeps the message */
    prn_status status = prn__folder_create(plan->recipe->workspace, error);
    if (status == PRN_OK) {
        status = prn__workspace_lock(plan->recipe->workspace, 0, &lock, error);
    }
    if (status != PRN_OK) {
        return status;
    }
    x = prn__alloc(sizeof *x);
    if (x == NULL) {
        prn__workspace_unlock(lock);
        return no_memory(error);
    }
    x->plan = plan;
    x->recipe = plan->recipe;
    x->registry = registry;
    x->options = options;
    x->attempt = (prn__attempt){.plan = plan, .registry = registry, .joins = options != NULL && options->joins};
    prn__arena_init(&x->memory, 1 << 16);
    prn__stop_set(options != NULL ? options->should_leave : NULL, options != NULL ? options->stop_context : NULL);
    status = prepare(x, error);
    if (status == PRN_OK) {
        status = run_stages(x, error);
    }
    if (status == PRN_NOT_FOUND) {
        status = of_others_data(plan->manifest, status, error);
    }
    if (status == PRN_OK) {
        status = prn__attempt_complete(&x->attempt, &x->device, x->data_digests, error);
    }
    prn__stop_set(NULL, NULL);
    prn_status recorded = prn__attempt_end(&x->attempt, status, error->message, status == PRN_OK ? error : &ignored);
    status = status == PRN_OK ? recorded : status;
    release(x);
    prn__free(x);
    prn__workspace_unlock(lock);
    return status;
}

/* ---- leading ---------------------------------------------------------------------------------------------------------------- */

struct prn__lead {
    prn__ledger *ledger;
    prn__attempt attempt;
    int lock;
};

prn_status prn__lead_open(prn__plan *plan, prn__registry *registry, const char *jobs, prn__lead **result, prn_error *error)
{
    prn__lead *lead = prn__alloc(sizeof *lead);
    *result = NULL;
    if (lead == NULL) {
        return no_memory(error);
    }
    lead->lock = -1;
    lead->attempt = (prn__attempt){.plan = plan, .registry = registry};
    prn_status status = prn__folder_create(plan->recipe->workspace, error);
    if (status == PRN_OK) {
        status = prn__workspace_lock(plan->recipe->workspace, 0, &lead->lock, error);
    }
    if (status == PRN_OK) {
        status = prn__ledger_open(plan->recipe->workspace, &lead->ledger, error);
    }
    lead->attempt.ledger = lead->ledger;
    if (status == PRN_OK) {
        status = prn__attempt_begin(&lead->attempt, NULL, NULL, jobs, error);
    }
    if (status != PRN_OK) {
        prn_error ignored = PRN_ERROR_INIT;
        (void)prn__lead_close(lead, status, "", &ignored);
        return status;
    }
    *result = lead;
    return PRN_OK;
}

int64_t prn__lead_run(const prn__lead *lead)
{
    return lead->attempt.run;
}

prn_status prn__lead_close(prn__lead *lead, prn_status how, const char *message, prn_error *error)
{
    prn_status status = PRN_OK;
    if (lead != NULL) {
        status = prn__attempt_end(&lead->attempt, how, message, error);
        prn__ledger_close(lead->ledger);
        prn__workspace_unlock(lead->lock);
        prn__free(lead);
    }
    return status;
}
