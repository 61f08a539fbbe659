/* core/train/trainer.c: see trainer.h.
 *
 * A step, for a batch of n samples in micro-batches of at most k:
 *   1. embeddings (n,E) of both towers: one micro-batch keeps its activations; several run the forward-only programs;
 *   2. loss: for each tile of rows and each direction, similarity, cross-entropy and their gradients, added into the
 *      embedding gradients and the gradient of logit_scale;
 *   3. each tower's backward pass: with several micro-batches, forward again (with activations), then backward, gradients adding up;
 *   4. optimizer, after the host has seen that loss and gradient norm are finite.
 * With one micro-batch and nothing that needs the whole gradient (a penalty, a memory batch, a changed gradient), no vector of all gradients
 * exists: each tower updates a parameter as soon as its gradient is complete (step_held; memory.c says when).
 *
 * The loss is (1/2n) sum_i [-log softmax_j(s I_i.T_j)_i] + the same with images and texts exchanged: every row's cross-entropy has
 * the weight 1/(2n), which is the seed of the derived backward pass; the loss itself is a dot product of rows and weights.
 * Memory of step 2 is tile * n, not n * n.
 *
 * How a micro-batch goes through the towers: passes.c.
 *
 * Invariants: the order of all sums is a function of (n, configuration); nothing is allocated in a step, except in the first one and when its captions are
 * longer than all before; weights and moments are either as before a step or as after it, or the trainer says that they are lost.
 */
#include "train/trainer_internal.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/stop.h"

/* Elements of one tile of the similarity matrix when the caller does not choose: 16 MiB of fp32. */
static const int64_t TILE_ELEMENTS = 4 << 20;
enum { FLOAT_WHOLE = 1 << 24 }; /* numbers below it are exact in fp32 */

/* ---- constants --------------------------------------------------------------------------------------------------------- */

static prn_status constants_init(prn__trainer *t, prn_error *error)
{
    const int64_t batch = t->config.batch;
    prn_status status;
    int32_t *labels = prn__alloc_array((size_t)batch, sizeof *labels);
    t->host_losses = prn__alloc_array((size_t)(2 * t->tile_count), sizeof *t->host_losses);
    t->host_norms = prn__alloc_array(2 * t->model->parameter_count, sizeof *t->host_norms);
    t->host_weights = prn__alloc_array((size_t)batch, sizeof *t->host_weights);
    if (labels == NULL || t->host_losses == NULL || t->host_norms == NULL || t->host_weights == NULL) {
        prn__free(labels);
        return prn_error_set(error, PRN_NO_MEMORY, "no memory for the loss of %lld samples", (long long)batch);
    }
    for (int64_t i = 0; i < batch; i++) {
        labels[i] = (int32_t)i; /* row i's own pair is column i */
    }
    status = t->device.backend->buffer_write(t->device.instance, t->labels, 0, PRN_HOST_I32, labels, batch, error);
    prn__free(labels);
    return status;
}

/* ---- life ---------------------------------------------------------------------------------------------------------------- */

static prn_status check_config(const prn__trainer_config *config, prn_error *error)
{
    const prn__optimizer_config *o = &config->optimizer;
    if (config->batch < 2 || config->batch > 1 << 24) {
        return prn_error_set(error, PRN_INVALID, "batch is %lld; a contrastive loss needs 2 to %d samples", (long long)config->batch, 1 << 24);
    }
    if (config->micro_batch < 0 || config->micro_batch > config->batch) {
        return prn_error_set(error, PRN_INVALID, "micro_batch is %lld; it must lie in 1..%lld (the batch), or be 0 for the whole batch",
                             (long long)config->micro_batch, (long long)config->batch);
    }
    if (config->loss_tile < 0 || config->loss_tile > config->batch) {
        return prn_error_set(error, PRN_INVALID, "loss_tile is %lld; it must lie in 1..%lld (the batch), or be 0 to have it chosen",
                             (long long)config->loss_tile, (long long)config->batch);
    }
    if (!(o->beta1 >= 0 && o->beta1 < 1 && o->beta2 >= 0 && o->beta2 < 1)) {
        return prn_error_set(error, PRN_INVALID, "AdamW's beta1 and beta2 are %g and %g; both must lie in [0, 1)", o->beta1, o->beta2);
    }
    if (!(o->epsilon > 0 && isfinite(o->epsilon)) || !(o->decay >= 0 && isfinite(o->decay)) || !(o->clip_norm >= 0 && isfinite(o->clip_norm))) {
        return prn_error_set(error, PRN_INVALID, "AdamW's epsilon must be above 0, decay and clip_norm at least 0; they are %g, %g and %g", o->epsilon, o->decay,
                             o->clip_norm);
    }
    return PRN_OK;
}

/* A backend does not say how it keeps REAL values; a value that fp32 cannot hold tells. */
static prn_status find_width(prn__trainer *t, prn_error *error)
{
    const double fine = 1.0 + 0x1p-40, zero = 0;
    double kept = 0;
    const prn_backend *backend = t->device.backend;
    prn_status status = backend->buffer_write(t->device.instance, t->parameters, 0, PRN_HOST_F64, &fine, 1, error);
    if (status == PRN_OK) {
        status = backend->buffer_read(t->device.instance, t->parameters, 0, PRN_HOST_F64, &kept, 1, error);
    }
    if (status == PRN_OK) {
        status = backend->buffer_write(t->device.instance, t->parameters, 0, PRN_HOST_F64, &zero, 1, error);
    }
    t->is_wide = kept == fine;
    return status;
}

prn_status prn__trainer_create(const prn__model *model, const prn__device *device, const prn__trainer_config *config, prn__trainer **result,
                               prn_error *error)
{
    prn__trainer *t;
    prn_status status = check_config(config, error);
    *result = NULL;
    if (status != PRN_OK) {
        return status;
    }
    t = prn__alloc(sizeof *t);
    if (t == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "no memory for a trainer");
    }
    t->device = *device;
    t->model = model;
    t->config = *config;
    t->micro = config->micro_batch > 0 ? config->micro_batch : config->batch;
    t->is_split = t->micro < config->batch;
    for (int side = 0; side < 2; side++) {
        t->block[side] = prn__block_items(model, device, side, t->micro);
    }
    t->head_items = prn__head_items(t->micro);
    t->is_held = !t->is_split && !config->keep_all && t->block[0] == t->micro && t->block[1] == t->micro; /* blocks add to one vector of gradients */
    t->tile = config->loss_tile > 0 ? config->loss_tile : TILE_ELEMENTS / config->batch;
    t->tile = t->tile < 1 ? 1 : t->tile > config->batch ? config->batch : t->tile;
    t->tile_count = (config->batch + t->tile - 1) / t->tile;
    t->image_bytes = model->config.vision.image_size * model->config.vision.image_size * 3;
    t->embed_dim = model->config.embed_dim;
    t->flat_elements = model->flat_elements;
    t->logit_scale_offset = model->logit_scale_offset;
    if ((status = prn__rows_init(t, error)) != PRN_OK || (status = prn__programs_init(t, error)) != PRN_OK ||
        (status = prn__texts_init(&t->texts, model, &t->device, t->micro, t->block[1], &t->memory_bytes, error)) != PRN_OK ||
        (status = prn__buffers_init(t, error)) != PRN_OK || (status = constants_init(t, error)) != PRN_OK || (status = find_width(t, error)) != PRN_OK) {
        prn__trainer_destroy(t);
        return status;
    }
    prn__bindings_init(t);
    prn__vectors_init(t);
    *result = t;
    return PRN_OK;
}

void prn__trainer_destroy(prn__trainer *t)
{
    if (t == NULL) {
        return;
    }
    prn_error ignored = PRN_ERROR_INIT;
    (void)prn__trainer_set_terms(t, NULL, &ignored);
    prn__vectors_fini(t);
    prn__compiled *const programs[] = {&t->image_embed, &t->text_embed, &t->image, &t->text, &t->heads[0], &t->heads[1], &t->loss, &t->optimizer, &t->clear};
    prn_buffer *const buffers[] = {t->parameters, t->gradients, t->m, t->v, t->images[0], t->embeddings[0], t->embeddings[1], t->embedding_gradients[0],
                                   t->embedding_gradients[1], t->labels, t->row_weights, t->tile_losses, t->hyper, t->norms, t->scale_gradient,
                                   t->table_gradient, t->images[1], t->reads[0], t->reads[1], t->read_gradients[0], t->read_gradients[1],
                                   t->head_workspace[0], t->head_workspace[1], t->tower_workspace, t->text_workspace, t->small_workspace};
    for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++) {
        prn__compiled_fini(programs[i]);
    }
    prn__texts_fini(&t->texts);
    prn__rows_fini(t);
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        prn__buffer_destroy(&t->device, buffers[i]);
    }
    prn__free(t->host_losses);
    prn__free(t->host_norms);
    prn__free(t->host_weights);
    prn__free(t);
}

int64_t prn__trainer_memory_bytes(const prn__trainer *t)
{
    return t->memory_bytes;
}

/* ---- a step -------------------------------------------------------------------------------------------------------------- */

/* The tiles of one direction: rows of `side` against all of the other side. */
static prn_status loss_direction(prn__trainer *t, prn__compiled *loss, int64_t n, int side, int64_t *tiles, prn_error *error)
{
    prn_status status = PRN_OK;
    prn__compiled_bind(loss, "columns", t->embeddings[1 - side], 0);
    prn__compiled_bind(loss, "column_gradients", t->embedding_gradients[1 - side], 0);
    prn__compiled_set(loss, "M", n);
    for (int64_t first = 0; first < n && status == PRN_OK; first += t->tile) {
        prn__compiled_set(loss, "R", n - first < t->tile ? n - first : t->tile);
        prn__compiled_bind(loss, "rows", t->embeddings[side], first * t->embed_dim);
        prn__compiled_bind(loss, "row_gradients", t->embedding_gradients[side], first * t->embed_dim);
        prn__compiled_bind(loss, "labels", t->labels, first);
        prn__compiled_bind(loss, "row_weights", t->row_weights, first);
        prn__compiled_bind(loss, "tile_loss", t->tile_losses, *tiles);
        prn__teacher_bind(t, loss, side, first);
        status = prn__compiled_run(loss, "forward", error);
        if (status == PRN_OK) {
            status = prn__compiled_run(loss, "backward", error);
        }
        (*tiles)++;
    }
    return status;
}

static prn_status loss_run(prn__trainer *t, prn__compiled *loss, int64_t n, int64_t *tiles, prn_error *error)
{
    prn_status status = PRN_OK;
    if (t->weights_for != n) {
        for (int64_t i = 0; i < n; i++) {
            t->host_weights[i] = (float)(1.0 / (2.0 * (double)n));
        }
        status = t->device.backend->buffer_write(t->device.instance, t->row_weights, 0, PRN_HOST_F32, t->host_weights, n, error);
        t->weights_for = status == PRN_OK ? n : 0;
    }
    *tiles = 0;
    for (int side = 0; side < 2 && status == PRN_OK; side++) {
        status = loss_direction(t, loss, n, side, tiles, error);
    }
    return status;
}

/* Between micro-batches: large batches take minutes on a small machine. Nothing of the update has been made yet: with several micro-batches the
 * weights change only when the whole gradient is there. */
static prn_status check_stop(const prn__trainer *t, prn_error *error)
{
    return t->is_split && prn__stop_asked() ? prn_error_set(error, PRN_INTERRUPTED, "stopped in update %lld, which is not made", (long long)t->updates + 1)
                                            : PRN_OK;
}

/* A batch that fits one micro-batch of a split trainer still takes turns on the one workspace, so it runs forward twice too. */
static prn_status embed_in_turn(prn__trainer *t, const prn__batch *batch, prn_error *error)
{
    prn__compiled *const embed[2] = {&t->image_embed, &t->text_embed};
    prn_status status;
    for (int side = 0; side < 2; side++) {
        for (int64_t first = 0; first < batch->count; first += t->micro) {
            if ((status = check_stop(t, error)) != PRN_OK ||
                (status = prn__tower_fill(t, batch, side, first, embed[side], t->embeddings[side], error)) != PRN_OK ||
                (status = prn__compiled_run_blocks(&embed[side], 1, "forward", error)) != PRN_OK ||
                (side == 0 && (status = prn__images_ahead(t, batch, first, 0, error)) != PRN_OK)) {
                return status;
            }
        }
    }
    return PRN_OK;
}

/* Both towers keep what the backward pass reads. */
static prn_status embed_whole(prn__trainer *t, const prn__batch *batch, prn_error *error)
{
    prn_status status = PRN_OK;
    for (int side = 0; side < 2 && status == PRN_OK; side++) {
        status = prn__training_fill(t, batch, side, 0, error);
    }
    return status == PRN_OK ? prn__training_run(t, 0, 2, "forward", error) : status;
}

/* Both towers forward, and the loss with the gradients by the embeddings; the loss itself is still on the device, in `tiles` parts. */
static prn_status forward(prn__trainer *t, const prn__batch *batch, prn__compiled *loss, int64_t *tiles, prn_error *error)
{
    const int64_t n = batch->count;
    prn_status status;

    if (n < 2 || n > t->config.batch) {
        return prn_error_set(error, PRN_INVALID, "the batch has %lld samples; this trainer takes 2 to %lld", (long long)n, (long long)t->config.batch);
    }
    prn__compiled_set(&t->clear, "M", n);
    if ((status = prn__text_fit(t, batch, error)) != PRN_OK || (status = prn__rows_use(t, batch, error)) != PRN_OK ||
        (status = prn__compiled_run(&t->clear, "embeddings", error)) != PRN_OK || (status = prn__teacher_embed(t, batch, loss, error)) != PRN_OK ||
        (status = (t->is_split ? embed_in_turn : embed_whole)(t, batch, error)) != PRN_OK) {
        return status;
    }
    status = loss_run(t, loss, n, tiles, error);
    /* as late as it can be said before the host waits: the device has work meanwhile */
    return status == PRN_OK && !t->is_split ? prn__images_ahead(t, batch, 0, 1, error) : status;
}

/* What `forward` has begun: the parameters' gradients, added to the device's, or used up at once where the towers hold them. */
static prn_status backward(prn__trainer *t, const prn__batch *batch, prn_error *error)
{
    prn_status status = PRN_OK;
    if (!t->is_split) {
        return prn__training_run(t, 0, 2, "backward", error);
    }
    for (int side = 0; side < 2; side++) {
        for (int64_t first = 0; first < batch->count; first += t->micro) {
            if ((status = check_stop(t, error)) != PRN_OK ||
                (status = prn__training_fill(t, batch, side, first, error)) != PRN_OK ||
                (status = prn__training_run(t, side, side + 1, "forward", error)) != PRN_OK ||
                (status = prn__training_run(t, side, side + 1, "backward", error)) != PRN_OK ||
                (side == 0 && (status = prn__images_ahead(t, batch, first, 1, error)) != PRN_OK)) {
                return status;
            }
        }
    }
    return PRN_OK;
}

/* Waits for the device. */
static prn_status loss_read(prn__trainer *t, int64_t tiles, double *loss, prn_error *error)
{
    prn_status status = t->device.backend->buffer_read(t->device.instance, t->tile_losses, 0, PRN_HOST_F64, t->host_losses, tiles, error);
    *loss = 0;
    for (int64_t i = 0; i < tiles && status == PRN_OK; i++) {
        *loss += t->host_losses[i];
    }
    return status;
}

prn_status prn__gradients_clear(prn__trainer *t, prn_error *error)
{
    const prn_status status = prn__compiled_run(&t->clear, "gradients", error);
    if (status == PRN_OK) {
        prn__rows_cleared(t);
    }
    return status;
}

prn_status prn__gradients_add(prn__trainer *t, const prn__batch *batch, prn__compiled *loss, double *value, prn_error *error)
{
    int64_t tiles = 0;
    prn_status status = forward(t, batch, loss, &tiles, error);
    if (status == PRN_OK) {
        status = backward(t, batch, error);
    }
    if (status != PRN_OK) {
        t->ahead.batch = NULL; /* this batch may be another one when it comes back */
    }
    return status == PRN_OK ? loss_read(t, tiles, value, error) : status;
}

/* The whole loss of a step and its gradient, with what a strategy adds. */
static prn_status step_gradients(prn__trainer *t, const prn__batch *batch, const prn__batch *memory, double *loss, prn_error *error)
{
    double memory_loss = 0, penalty = 0;
    prn_status status = PRN_OK;
    if (t->terms.has_memory && memory == NULL) {
        return prn_error_set(error, PRN_INTERNAL, "a step of this stage needs a memory batch");
    }
    status = prn__gradients_clear(t, error);
    if (status == PRN_OK && t->memory_loss.program != NULL) {
        t->after = batch;
        status = prn__gradients_add(t, memory, &t->memory_loss, &memory_loss, error);
    }
    t->after = t->next;
    if (status == PRN_OK) {
        status = prn__gradients_add(t, batch, t->terms_loss.program != NULL ? &t->terms_loss : &t->loss, loss, error);
    }
    if (status == PRN_OK && t->penalty.program != NULL) {
        status = prn__penalty_run(t, &penalty, error);
    }
    *loss += memory_loss + penalty;
    return status;
}

void prn__trainer_expect(prn__trainer *t, const prn__batch *next)
{
    t->next = next;
}

prn_status prn__trainer_step(prn__trainer *t, const prn__batch *batch, double learning_rate, prn__step_result *result, prn_error *error)
{
    return prn__trainer_step_with(t, batch, NULL, learning_rate, result, error);
}

static prn_status not_finite(const prn__trainer *t, const char *what, double value, const char *rest, prn_error *error)
{
    return prn_error_set(error, PRN_NUMERIC, "update %lld: the %s is %g; %s; lower the learning rate or clip the gradient", (long long)t->updates + 1, what,
                         value, rest);
}

/* Squares of the norms of the parameters' gradients, added in the model's order. */
static prn_status norm_read(prn__trainer *t, double *norm, prn_error *error)
{
    const int64_t count = (int64_t)t->model->parameter_count;
    double squared = 0;
    int64_t elements[2];
    prn_status status = prn__compiled_run(&t->optimizer, "norm", error);
    if (status == PRN_OK) {
        status = t->device.backend->buffer_read(t->device.instance, t->norms, 0, PRN_HOST_F64, t->host_norms, 2 * count, error);
    }
    for (int64_t i = 0; i < count && status == PRN_OK; i++) {
        squared += t->host_norms[2 * i];
        squared += prn__parameter_parts(t->model, &t->model->parameters[i], elements) > 1 ? t->host_norms[2 * i + 1] : 0;
    }
    *norm = sqrt(squared);
    return status;
}

static prn_status hyper_write(prn__trainer *t, double learning_rate, double scale, prn_error *error)
{
    const prn__optimizer_config *o = &t->config.optimizer;
    const double next = (double)(t->updates + 1);
    double hyper[PRN__HYPER_COUNT] = {learning_rate, 1 / (1 - pow(o->beta1, next)), 1 / (1 - pow(o->beta2, next)), scale,
                                      (double)((t->updates + 1) % FLOAT_WHOLE)};
    return t->device.backend->buffer_write(t->device.instance, t->hyper, 0, PRN_HOST_F64, hyper, PRN__HYPER_COUNT, error);
}

static double clip_scale(const prn__trainer *t, double norm)
{
    const double most = t->config.optimizer.clip_norm;
    return most > 0 && norm > most ? most / (norm + 1e-6) : 1; /* as PyTorch's clip_grad_norm_ */
}

/* The whole gradient first, then the update. */
static prn_status step_whole(prn__trainer *t, const prn__batch *batch, const prn__batch *memory, double learning_rate, double *loss, double *norm,
                             prn_error *error)
{
    prn_status status = step_gradients(t, batch, memory, loss, error);
    if (status != PRN_OK ||
        (isfinite(*loss) && t->terms.change_gradient != NULL && (status = t->terms.change_gradient(t->terms.context, error)) != PRN_OK) ||
        (status = norm_read(t, norm, error)) != PRN_OK) {
        return status;
    }
    if (!isfinite(*loss) || !isfinite(*norm)) {
        return prn_error_set(error, PRN_NUMERIC,
                             "update %lld: the loss is %g and the gradient norm %g; the weights are as before it; lower the learning rate or clip the gradient",
                             (long long)t->updates + 1, *loss, *norm);
    }
    if ((status = hyper_write(t, learning_rate, clip_scale(t, *norm), error)) == PRN_OK &&
        (status = prn__compiled_run(&t->optimizer, "update", error)) == PRN_OK) {
        prn__rows_updated(t, learning_rate);
    }
    return status;
}

/* The towers update their own parameters, while they run backward or, to clip, after the norm is known. The results are those of
 * `step_whole`: a parameter is updated after everything that reads it. */
static prn_status step_held(prn__trainer *t, const prn__batch *batch, double learning_rate, double *loss, double *norm, prn_error *error)
{
    const int is_late = prn__updates_late(t);
    int64_t tiles = 0;
    prn_status status;
    if ((status = prn__gradients_clear(t, error)) != PRN_OK ||
        (status = forward(t, batch, t->terms_loss.program != NULL ? &t->terms_loss : &t->loss, &tiles, error)) != PRN_OK ||
        (status = loss_read(t, tiles, loss, error)) != PRN_OK) {
        return status;
    }
    if (!isfinite(*loss)) {
        return not_finite(t, "loss", *loss, "the weights are as before it", error);
    }
    if ((status = hyper_write(t, learning_rate, 1, error)) != PRN_OK) {
        return status;
    }
    t->is_spoiled = !is_late; /* until all is done */
    if ((status = backward(t, batch, error)) != PRN_OK || (status = norm_read(t, norm, error)) != PRN_OK) {
        return status;
    }
    if (!isfinite(*norm)) {
        return not_finite(t, "gradient norm", *norm, is_late ? "the weights are as before it" : "the weights in memory are lost, those that were saved are not",
                          error);
    }
    if (is_late) {
        if ((status = hyper_write(t, learning_rate, clip_scale(t, *norm), error)) != PRN_OK) {
            return status;
        }
        t->is_spoiled = 1;
        if ((status = prn__compiled_run(&t->image, "update", error)) != PRN_OK || (status = prn__compiled_run(&t->text, "update", error)) != PRN_OK) {
            return status;
        }
    }
    if ((status = prn__compiled_run(&t->optimizer, "update", error)) == PRN_OK) {
        t->is_spoiled = 0;
    }
    return status;
}

static prn_status check_state(const prn__trainer *t, prn_error *error)
{
    return t->is_spoiled ? prn_error_set(error, PRN_NUMERIC, "update %lld failed half-way, so these weights are no model; load the last saved state",
                                         (long long)t->updates + 1)
                         : PRN_OK;
}

prn_status prn__trainer_step_with(prn__trainer *t, const prn__batch *batch, const prn__batch *memory, double learning_rate, prn__step_result *result,
                                  prn_error *error)
{
    const double begin = prn__now_s();
    double loss = 0, norm = 0, logit_scale;
    prn_status status;

    if (!isfinite(learning_rate) || learning_rate < 0) {
        return prn_error_set(error, PRN_INVALID, "the learning rate of update %lld is %g; it must be a number of at least 0", (long long)t->updates + 1,
                             learning_rate);
    }
    if ((status = check_state(t, error)) != PRN_OK) {
        return status;
    }
    t->has_moments = 1;
    t->after = t->next;
    status = t->is_held ? step_held(t, batch, learning_rate, &loss, &norm, error) : step_whole(t, batch, memory, learning_rate, &loss, &norm, error);
    t->after = t->next = NULL;
    if (status != PRN_OK) {
        t->ahead.batch = NULL;
        return status;
    }
    t->updates++;
    status = t->device.backend->buffer_read(t->device.instance, t->parameters, t->logit_scale_offset, PRN_HOST_F64, &logit_scale, 1, error);
    if (status == PRN_OK && result != NULL) {
        result->loss = loss;
        result->gradient_norm = norm;
        result->logit_scale = exp(logit_scale);
        result->seconds = prn__now_s() - begin;
    }
    return status;
}

prn_status prn__trainer_gradients(prn__trainer *t, const prn__batch *batch, double *loss, double *gradients, prn_error *error)
{
    return prn__trainer_gradients_with(t, batch, NULL, loss, gradients, error);
}

prn_status prn__trainer_gradients_with(prn__trainer *t, const prn__batch *batch, const prn__batch *memory, double *loss, double *gradients, prn_error *error)
{
    prn_status status;
    *loss = 0;
    if ((status = prn__trainer_make_whole(t, error)) != PRN_OK || (status = check_state(t, error)) != PRN_OK) {
        return status;
    }
    status = step_gradients(t, batch, memory, loss, error);
    if (status == PRN_OK && gradients != NULL) {
        status = t->device.backend->buffer_read(t->device.instance, t->gradients, 0, PRN_HOST_F64, gradients, t->flat_elements, error);
    }
    return status;
}

/* ---- state --------------------------------------------------------------------------------------------------------------- */

prn_status prn__trainer_get_state(prn__trainer *t, float *weights, float *m, float *v, int64_t *updates, prn_error *error)
{
    prn_buffer *const buffers[3] = {t->parameters, t->m, t->v};
    float *const targets[3] = {weights, m, v};
    prn_status status = check_state(t, error);
    if (status == PRN_OK && weights != NULL) {
        status = prn__rows_settle(t, error);
    }
    for (int i = 0; i < 3 && status == PRN_OK; i++) {
        if (targets[i] != NULL) {
            status = t->device.backend->buffer_read(t->device.instance, buffers[i], 0, PRN_HOST_F32, targets[i], t->flat_elements, error);
        }
    }
    if (status == PRN_OK && updates != NULL) {
        *updates = t->updates;
    }
    return status;
}

static prn_status write_zeros(prn__trainer *t, prn_buffer *buffer, prn_error *error)
{
    static const float zeros[1 << 12] = {0}; /* a piece at a time: a whole vector of them would be a fifth of all memory */
    const int64_t piece = (int64_t)(sizeof zeros / sizeof zeros[0]);
    prn_status status = PRN_OK;
    for (int64_t first = 0; first < t->flat_elements && status == PRN_OK; first += piece) {
        const int64_t count = t->flat_elements - first < piece ? t->flat_elements - first : piece;
        status = t->device.backend->buffer_write(t->device.instance, buffer, first, PRN_HOST_F32, zeros, count, error);
    }
    return status;
}

static prn_status set_updates(prn__trainer *t, prn_status status, int64_t updates)
{
    t->is_spoiled = status != PRN_OK;
    t->updates = status == PRN_OK ? updates : t->updates;
    return status;
}

prn_status prn__trainer_set_state(prn__trainer *t, const float *weights, const float *m, const float *v, int64_t updates, prn_error *error)
{
    prn_buffer *const buffers[3] = {t->parameters, t->m, t->v};
    const float *const sources[3] = {weights, m, v};
    prn_status status = PRN_OK;
    if (updates < 0 || weights == NULL) {
        return prn_error_set(error, PRN_INVALID, "a trainer's state needs weights and a number of updates of at least 0");
    }
    for (int i = 0; i < 3 && status == PRN_OK; i++) {
        if (sources[i] == NULL && !t->has_moments) {
            continue; /* zeros since they were made, and their pages not even touched */
        }
        status = sources[i] == NULL ? write_zeros(t, buffers[i], error)
                                    : t->device.backend->buffer_write(t->device.instance, buffers[i], 0, PRN_HOST_F32, sources[i], t->flat_elements, error);
    }
    t->has_moments |= m != NULL || v != NULL;
    prn__rows_set_moments(t, m, v, sizeof *m);
    return set_updates(t, status, updates);
}

int prn__trainer_is_wide(const prn__trainer *t)
{
    return t->is_wide;
}

prn_status prn__trainer_get_wide(prn__trainer *t, double *weights, double *m, double *v, int64_t *updates, prn_error *error)
{
    prn_buffer *const buffers[3] = {t->parameters, t->m, t->v};
    double *const targets[3] = {weights, m, v};
    prn_status status = check_state(t, error);
    if (status == PRN_OK) {
        status = prn__rows_settle(t, error);
    }
    for (int i = 0; i < 3 && status == PRN_OK; i++) {
        status = t->device.backend->buffer_read(t->device.instance, buffers[i], 0, PRN_HOST_F64, targets[i], t->flat_elements, error);
    }
    if (status == PRN_OK) {
        *updates = t->updates;
    }
    return status;
}

prn_status prn__trainer_set_wide(prn__trainer *t, const double *weights, const double *m, const double *v, int64_t updates, prn_error *error)
{
    prn_buffer *const buffers[3] = {t->parameters, t->m, t->v};
    const double *const sources[3] = {weights, m, v};
    prn_status status = PRN_OK;
    if (updates < 0) {
        return prn_error_set(error, PRN_INVALID, "a trainer's state needs a number of updates of at least 0");
    }
    for (int i = 0; i < 3 && status == PRN_OK; i++) {
        status = t->device.backend->buffer_write(t->device.instance, buffers[i], 0, PRN_HOST_F64, sources[i], t->flat_elements, error);
    }
    t->has_moments = 1;
    prn__rows_set_moments(t, m, v, sizeof *m);
    return set_updates(t, status, updates);
}
