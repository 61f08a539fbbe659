/* core/train/trainer.c: see trainer.h.
 *
 * A step, for a batch of n samples in micro-batches of at most k:
 *   1. embeddings (n,E) of both towers: one micro-batch keeps its activations; several run the forward-only programs;
 *   2. loss: for each tile of rows and each direction, similarity, cross-entropy and their gradients, added into the
 *      embedding gradients and the gradient of logit_scale;
 *   3. each tower's backward pass: with several micro-batches, forward again (with activations), then backward, gradients adding up;
 *   4. optimizer, after the host has seen that loss and gradient norm are finite.
 *
 * The loss is (1/2n) sum_i [-log softmax_j(s I_i.T_j)_i] + the same with images and texts exchanged: every row's cross-entropy has
 * the weight 1/(2n), which is the seed of the derived backward pass; the loss itself is a dot product of rows and weights.
 * Memory of step 2 is tile * n, not n * n.
 *
 * Invariants: the order of all sums is a function of (n, configuration); nothing is allocated in a step; weights and moments
 * change only in the optimizer segment, which runs last.
 */
#include "train/trainer_internal.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"

/* Elements of one tile of the similarity matrix when the caller does not choose: 16 MiB of fp32. */
static const int64_t TILE_ELEMENTS = 4 << 20;

/* ---- programs and buffers ---------------------------------------------------------------------------------------------- */

prn_status prn__tower_init(prn__trainer *t, int is_text, int training, prn__compiled *tower, prn_error *error)
{
    const prn__tower_options options = {.max_items = t->micro, .training = training, .checkpoint = training && t->config.checkpoint};
    prn__graph *graph;
    prn_status status = is_text ? prn__model_text_tower(t->model, &options, &graph, error) : prn__model_image_tower(t->model, &options, &graph, error);
    if (status == PRN_OK) {
        status = prn__compiled_init(tower, graph, &t->device, error);
    }
    return status;
}

static prn_status programs_init(prn__trainer *t, const prn__model *model, prn_error *error)
{
    prn__graph *graph;
    prn_status status;
    if ((status = prn__tower_init(t, 0, 1, &t->image, error)) != PRN_OK || (status = prn__tower_init(t, 1, 1, &t->text, error)) != PRN_OK) {
        return status;
    }
    if (t->is_split && ((status = prn__tower_init(t, 0, 0, &t->image_embed, error)) != PRN_OK ||
                        (status = prn__tower_init(t, 1, 0, &t->text_embed, error)) != PRN_OK)) {
        return status;
    }
    if ((status = prn__loss_graph(t, NULL, &graph, error)) != PRN_OK || (status = prn__compiled_init(&t->loss, graph, &t->device, error)) != PRN_OK ||
        (status = prn__optimizer_graph(t, model, &graph, error)) != PRN_OK || (status = prn__compiled_init(&t->optimizer, graph, &t->device, error)) != PRN_OK ||
        (status = prn__clear_graph(t, &graph, error)) != PRN_OK) {
        return status;
    }
    return prn__compiled_init(&t->clear, graph, &t->device, error);
}

/* ---- memory -------------------------------------------------------------------------------------------------------------- */

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t workspace_of(const prn__compiled *c)
{
    return c->program == NULL ? 0 : c->program->workspace_elements;
}

static prn_status buffers_init(prn__trainer *t, prn_error *error)
{
    const int64_t batch = t->config.batch, embeddings = batch * t->embed_dim;
    /* One micro-batch keeps both towers' activations until the loss is known; several take turns on one workspace. */
    const int64_t image = larger(workspace_of(&t->image), workspace_of(&t->image_embed)), text = larger(workspace_of(&t->text), workspace_of(&t->text_embed));
    const struct {
        prn_buffer **buffer;
        prn_type type;
        int64_t elements;
        const char *purpose;
    } wanted[] = {
        {&t->parameters, PRN_REAL, t->flat_elements, "parameters"},
        {&t->gradients, PRN_REAL, t->flat_elements, "gradients"},
        {&t->m, PRN_REAL, t->flat_elements, "first moments"},
        {&t->v, PRN_REAL, t->flat_elements, "second moments"},
        {&t->images, PRN_U8, t->micro * t->image_bytes, "images"},
        {&t->embeddings[0], PRN_REAL, embeddings, "image embeddings"},
        {&t->embeddings[1], PRN_REAL, embeddings, "text embeddings"},
        {&t->embedding_gradients[0], PRN_REAL, embeddings, "image embedding gradients"},
        {&t->embedding_gradients[1], PRN_REAL, embeddings, "text embedding gradients"},
        {&t->labels, PRN_I32, batch, "labels"},
        {&t->row_weights, PRN_REAL, batch, "row weights"},
        {&t->tile_losses, PRN_REAL, 2 * t->tile_count, "losses"},
        {&t->hyper, PRN_REAL, PRN__HYPER_COUNT, "hyper-parameters"},
        {&t->norm, PRN_REAL, 1, "gradient norm"},
        {&t->tower_workspace, PRN_REAL, t->is_split ? larger(image, text) : image, "tower activations"},
        {&t->text_workspace, PRN_REAL, t->is_split ? 0 : text, "text activations"},
        {&t->small_workspace, PRN_REAL, larger(workspace_of(&t->loss), larger(workspace_of(&t->optimizer), workspace_of(&t->clear))), "loss tiles"},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        prn_status status = prn__buffer_create(&t->device, wanted[i].type, wanted[i].elements, wanted[i].purpose, wanted[i].buffer, &t->memory_bytes, error);
        if (status != PRN_OK) {
            return prn_error_context(error, status, "training needs %lld more values for %s (a smaller micro_batch, or checkpointing, needs less)",
                                     (long long)wanted[i].elements, wanted[i].purpose);
        }
    }
    return PRN_OK;
}

static prn_status constants_init(prn__trainer *t, prn_error *error)
{
    const int64_t batch = t->config.batch;
    prn_status status;
    int32_t *labels = prn__alloc_array((size_t)batch, sizeof *labels);
    t->host_losses = prn__alloc_array((size_t)(2 * t->tile_count), sizeof *t->host_losses);
    t->host_weights = prn__alloc_array((size_t)batch, sizeof *t->host_weights);
    if (labels == NULL || t->host_losses == NULL || t->host_weights == NULL) {
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

static void bindings_init(prn__trainer *t)
{
    prn__compiled *const towers[4] = {&t->image, &t->text, &t->image_embed, &t->text_embed};
    prn__compiled *const others[3] = {&t->loss, &t->optimizer, &t->clear};
    for (int i = 0; i < 4; i++) {
        if (towers[i]->program != NULL) {
            prn__compiled_bind(towers[i], "workspace", i == 1 && !t->is_split ? t->text_workspace : t->tower_workspace, 0);
            prn__compiled_bind(towers[i], "parameters", t->parameters, 0);
            prn__compiled_bind(towers[i], "gradients", t->gradients, 0);
            prn__compiled_bind(towers[i], "images", t->images, 0);
        }
    }
    for (int i = 0; i < 3; i++) {
        prn__compiled_bind(others[i], "workspace", t->small_workspace, 0);
        prn__compiled_bind(others[i], "parameters", t->parameters, 0);
        prn__compiled_bind(others[i], "gradients", t->gradients, 0);
    }
    prn__compiled_bind(&t->optimizer, "m", t->m, 0);
    prn__compiled_bind(&t->optimizer, "v", t->v, 0);
    prn__compiled_bind(&t->optimizer, "hyper", t->hyper, 0);
    prn__compiled_bind(&t->optimizer, "norm", t->norm, 0);
    prn__compiled_bind(&t->clear, "image_gradients", t->embedding_gradients[0], 0);
    prn__compiled_bind(&t->clear, "text_gradients", t->embedding_gradients[1], 0);
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
    t->tile = config->loss_tile > 0 ? config->loss_tile : TILE_ELEMENTS / config->batch;
    t->tile = t->tile < 1 ? 1 : t->tile > config->batch ? config->batch : t->tile;
    t->tile_count = (config->batch + t->tile - 1) / t->tile;
    t->image_bytes = model->config.vision.image_size * model->config.vision.image_size * 3;
    t->embed_dim = model->config.embed_dim;
    t->flat_elements = model->flat_elements;
    t->logit_scale_offset = model->logit_scale_offset;
    if ((status = programs_init(t, model, error)) != PRN_OK ||
        (status = prn__texts_init(&t->texts, model, &t->device, t->micro, &t->memory_bytes, error)) != PRN_OK ||
        (status = buffers_init(t, error)) != PRN_OK || (status = constants_init(t, error)) != PRN_OK || (status = find_width(t, error)) != PRN_OK) {
        prn__trainer_destroy(t);
        return status;
    }
    bindings_init(t);
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
    prn__compiled *const programs[] = {&t->image_embed, &t->text_embed, &t->image, &t->text, &t->loss, &t->optimizer, &t->clear};
    prn_buffer *const buffers[] = {t->parameters, t->gradients, t->m, t->v, t->images, t->embeddings[0], t->embeddings[1], t->embedding_gradients[0],
                                   t->embedding_gradients[1], t->labels, t->row_weights, t->tile_losses, t->hyper, t->norm, t->tower_workspace,
                                   t->text_workspace, t->small_workspace};
    for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++) {
        prn__compiled_fini(programs[i]);
    }
    prn__texts_fini(&t->texts);
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        prn__buffer_destroy(&t->device, buffers[i]);
    }
    prn__free(t->host_losses);
    prn__free(t->host_weights);
    prn__free(t);
}

int64_t prn__trainer_memory_bytes(const prn__trainer *t)
{
    return t->memory_bytes;
}

/* ---- a step -------------------------------------------------------------------------------------------------------------- */

prn_status prn__tower_fill(prn__trainer *t, const prn__batch *batch, int side, int64_t first, int64_t count, prn__compiled *tower, prn_error *error)
{
    prn__compiled_bind(tower, "embeddings", t->embeddings[side], first * t->embed_dim);
    prn__compiled_bind(tower, "embedding_gradients", t->embedding_gradients[side], first * t->embed_dim);
    if (side == 1) {
        return prn__texts_fill(&t->texts, batch->tokens, batch->offsets, first, count, tower, error);
    }
    prn__compiled_set(tower, "B", count);
    return t->device.backend->buffer_write(t->device.instance, t->images, 0, PRN_HOST_U8, batch->images + first * t->image_bytes, count * t->image_bytes,
                                           error);
}

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

/* Gradients added to the device's; the loss itself is still on the device, in `tiles` parts. */
static prn_status accumulate(prn__trainer *t, const prn__batch *batch, prn__compiled *loss, int64_t *tiles, prn_error *error)
{
    const int64_t n = batch->count;
    prn__compiled *const training[2] = {&t->image, &t->text}, *const embed[2] = {&t->image_embed, &t->text_embed};
    prn_status status;

    if (n < 2 || n > t->config.batch) {
        return prn_error_set(error, PRN_INVALID, "the batch has %lld samples; this trainer takes 2 to %lld", (long long)n, (long long)t->config.batch);
    }
    prn__compiled_set(&t->clear, "M", n);
    if ((status = prn__compiled_run(&t->clear, "embeddings", error)) != PRN_OK || (status = prn__teacher_embed(t, batch, loss, error)) != PRN_OK) {
        return status;
    }
    /* A batch that fits one micro-batch of a split trainer still takes turns on the one workspace, so it runs forward twice too. */
    for (int side = 0; side < 2; side++) {
        prn__compiled *tower = t->is_split ? embed[side] : training[side];
        for (int64_t first = 0; first < n; first += t->micro) {
            status = prn__tower_fill(t, batch, side, first, n - first < t->micro ? n - first : t->micro, tower, error);
            if (status == PRN_OK) {
                status = prn__compiled_run(tower, "forward", error);
            }
            if (status != PRN_OK) {
                return status;
            }
        }
    }
    status = loss_run(t, loss, n, tiles, error);
    for (int side = 0; side < 2 && status == PRN_OK; side++) {
        for (int64_t first = 0; first < n && status == PRN_OK; first += t->micro) {
            if (t->is_split) {
                status = prn__tower_fill(t, batch, side, first, n - first < t->micro ? n - first : t->micro, training[side], error);
                if (status == PRN_OK) {
                    status = prn__compiled_run(training[side], "forward", error);
                }
            }
            if (status == PRN_OK) {
                status = prn__compiled_run(training[side], "backward", error);
            }
        }
    }
    return status;
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
    return prn__compiled_run(&t->clear, "gradients", error);
}

prn_status prn__gradients_add(prn__trainer *t, const prn__batch *batch, prn__compiled *loss, double *value, prn_error *error)
{
    int64_t tiles = 0;
    prn_status status = accumulate(t, batch, loss, &tiles, error);
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
        status = prn__gradients_add(t, memory, &t->memory_loss, &memory_loss, error);
    }
    if (status == PRN_OK) {
        status = prn__gradients_add(t, batch, t->terms_loss.program != NULL ? &t->terms_loss : &t->loss, loss, error);
    }
    if (status == PRN_OK && t->penalty.program != NULL) {
        status = prn__penalty_run(t, &penalty, error);
    }
    *loss += memory_loss + penalty;
    return status;
}

prn_status prn__trainer_step(prn__trainer *t, const prn__batch *batch, double learning_rate, prn__step_result *result, prn_error *error)
{
    return prn__trainer_step_with(t, batch, NULL, learning_rate, result, error);
}

prn_status prn__trainer_step_with(prn__trainer *t, const prn__batch *batch, const prn__batch *memory, double learning_rate, prn__step_result *result,
                                  prn_error *error)
{
    const prn__optimizer_config *o = &t->config.optimizer;
    const double begin = prn__now_s(), next = (double)(t->updates + 1);
    double loss = 0, squared, norm, scale = 1, hyper[PRN__HYPER_COUNT] = {0}, logit_scale;
    prn_status status;

    if (!isfinite(learning_rate) || learning_rate < 0) {
        return prn_error_set(error, PRN_INVALID, "the learning rate of update %lld is %g; it must be a number of at least 0", (long long)t->updates + 1,
                             learning_rate);
    }
    if ((status = step_gradients(t, batch, memory, &loss, error)) != PRN_OK ||
        (isfinite(loss) && t->terms.change_gradient != NULL && (status = t->terms.change_gradient(t->terms.context, error)) != PRN_OK) ||
        (status = prn__compiled_run(&t->optimizer, "norm", error)) != PRN_OK ||
        (status = t->device.backend->buffer_read(t->device.instance, t->norm, 0, PRN_HOST_F64, &squared, 1, error)) != PRN_OK) {
        return status;
    }
    norm = sqrt(squared);
    if (!isfinite(loss) || !isfinite(norm)) {
        return prn_error_set(error, PRN_NUMERIC,
                             "update %lld: the loss is %g and the gradient norm %g; the weights are as before it; lower the learning rate or clip the gradient",
                             (long long)t->updates + 1, loss, norm);
    }
    if (o->clip_norm > 0 && norm > o->clip_norm) {
        scale = o->clip_norm / (norm + 1e-6); /* as PyTorch's clip_grad_norm_ */
    }
    hyper[0] = learning_rate;
    hyper[1] = 1 / (1 - pow(o->beta1, next));
    hyper[2] = 1 / (1 - pow(o->beta2, next));
    hyper[3] = scale;
    if ((status = t->device.backend->buffer_write(t->device.instance, t->hyper, 0, PRN_HOST_F64, hyper, PRN__HYPER_COUNT, error)) != PRN_OK ||
        (status = prn__compiled_run(&t->optimizer, "update", error)) != PRN_OK) {
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
    prn_status status = PRN_OK;
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

prn_status prn__trainer_set_state(prn__trainer *t, const float *weights, const float *m, const float *v, int64_t updates, prn_error *error)
{
    prn_buffer *const buffers[3] = {t->parameters, t->m, t->v};
    const float *const sources[3] = {weights, m, v};
    prn_status status = PRN_OK;
    float *zeros = NULL;
    if (updates < 0 || weights == NULL) {
        return prn_error_set(error, PRN_INVALID, "a trainer's state needs weights and a number of updates of at least 0");
    }
    if (m == NULL || v == NULL) {
        zeros = prn__alloc_array((size_t)t->flat_elements, sizeof *zeros);
        if (zeros == NULL) {
            return prn_error_set(error, PRN_NO_MEMORY, "no memory to reset the optimizer");
        }
    }
    for (int i = 0; i < 3 && status == PRN_OK; i++) {
        status = t->device.backend->buffer_write(t->device.instance, buffers[i], 0, PRN_HOST_F32, sources[i] != NULL ? sources[i] : zeros, t->flat_elements,
                                                 error);
    }
    if (status == PRN_OK) {
        t->updates = updates;
    }
    prn__free(zeros);
    return status;
}

int prn__trainer_is_wide(const prn__trainer *t)
{
    return t->is_wide;
}

prn_status prn__trainer_get_wide(prn__trainer *t, double *weights, double *m, double *v, int64_t *updates, prn_error *error)
{
    prn_buffer *const buffers[3] = {t->parameters, t->m, t->v};
    double *const targets[3] = {weights, m, v};
    prn_status status = PRN_OK;
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
    prn_status status = updates >= 0 ? PRN_OK : prn_error_set(error, PRN_INVALID, "a trainer's state needs a number of updates of at least 0");
    for (int i = 0; i < 3 && status == PRN_OK; i++) {
        status = t->device.backend->buffer_write(t->device.instance, buffers[i], 0, PRN_HOST_F64, sources[i], t->flat_elements, error);
    }
    if (status == PRN_OK) {
        t->updates = updates;
    }
    return status;
}
