/* core/train/passes.c: a micro-batch's way through the towers: what is written to the device for it, and the programs that are run on it.
 *
 * A narrow tower takes it in blocks (model/blocks.h), and is trained as two programs (model/model.h): the body, in blocks of few items, and the head, in
 * blocks of more. Each block's gradients are added to those of the blocks before it. Both towers' blocks run side by side where the backend does that.
 * Towers that take turns have one workspace: the text tower's activations are gone when its embeddings are there, and are made again for its backward pass.
 */
#include "train/trainer_internal.h"

#include <string.h>

static prn_status images_fill(prn__trainer *t, const prn__batch *batch, int64_t first, int64_t count, prn_error *error)
{
    if (t->ahead.batch == batch && t->ahead.first == first && t->ahead.count == count) {
        t->images_at = 1 - t->images_at;
        t->ahead.batch = NULL;
        return PRN_OK;
    }
    return t->device.backend->buffer_write(t->device.instance, t->images[t->images_at], 0, PRN_HOST_U8, batch->images + first * t->image_bytes,
                                           count * t->image_bytes, error);
}

/* What lies between body and head, from item `item` of the micro-batch on. */
static void reads_bind(const prn__trainer *t, int side, int64_t item, prn__compiled *program)
{
    const int64_t width = side == 0 ? t->model->config.vision.width : t->model->config.text.width, all = t->micro * width;
    prn__compiled_bind(program, "attended", t->reads[side], item * width);
    prn__compiled_bind(program, "residual", t->reads[side], all + item * width);
    prn__compiled_bind(program, "attended_gradients", t->read_gradients[side], item * width);
    prn__compiled_bind(program, "residual_gradients", t->read_gradients[side], all + item * width);
}

prn_status prn__tower_fill(prn__trainer *t, const prn__batch *batch, int side, int64_t first, prn__compiled *tower, prn_buffer *embeddings, prn_error *error)
{
    const int64_t count = batch->count - first < t->micro ? batch->count - first : t->micro, block = t->block[side];
    const prn_status status = side == 0 ? images_fill(t, batch, first, count, error)
                                        : prn__texts_fill(&t->texts, batch->tokens, batch->offsets, first, count, error);
    prn__compiled_forget_blocks(tower);
    for (int64_t b = 0; b * block < count && status == PRN_OK; b++) {
        prn__block_bind(tower, b, block, count);
        prn__compiled_bind(tower, "images", t->images[t->images_at], b * block * t->image_bytes);
        prn__compiled_bind(tower, "embeddings", embeddings, (first + b * block) * t->embed_dim);
        prn__compiled_bind(tower, "embedding_gradients", t->embedding_gradients[side], (first + b * block) * t->embed_dim);
        if (side == 1) {
            prn__texts_bind(&t->texts, b, tower);
        }
        reads_bind(t, side, b * block, tower);
        prn__compiled_keep_block(tower);
    }
    return status;
}

/* Readies the blocks of a head for items [first, ..), as prn__tower_fill does those of its body. */
static void head_fill(prn__trainer *t, const prn__batch *batch, int side, int64_t first)
{
    const int64_t count = batch->count - first < t->micro ? batch->count - first : t->micro;
    prn__compiled *head = &t->heads[side];
    prn__compiled_forget_blocks(head);
    for (int64_t b = 0; b * t->head_items < count && prn__has_head(t, side); b++) {
        prn__block_bind(head, b, t->head_items, count);
        prn__compiled_bind(head, "embeddings", t->embeddings[side], (first + b * t->head_items) * t->embed_dim);
        prn__compiled_bind(head, "embedding_gradients", t->embedding_gradients[side], (first + b * t->head_items) * t->embed_dim);
        reads_bind(t, side, b * t->head_items, head);
        prn__compiled_keep_block(head);
    }
}

prn_status prn__training_fill(prn__trainer *t, const prn__batch *batch, int side, int64_t first, prn_error *error)
{
    head_fill(t, batch, side, first);
    return prn__tower_fill(t, batch, side, first, side == 0 ? &t->image : &t->text, t->embeddings[side], error);
}

static prn_status run_sides(prn__trainer *t, int side, int end, const char *segment, prn_error *error)
{
    const int is_backward = strcmp(segment, "backward") == 0;
    prn__compiled *bodies[2], *heads[2];
    uint32_t body_count = 0, head_count = 0;
    for (; side < end; side++) {
        bodies[body_count++] = side == 0 ? &t->image : &t->text;
        if (prn__has_head(t, side)) {
            heads[head_count++] = &t->heads[side];
        }
    }
    prn_status status = PRN_OK;
    for (int turn = 0; turn < 2 && status == PRN_OK; turn++) {
        if (turn == is_backward) {
            status = prn__compiled_run_blocks(bodies, body_count, segment, error);
        } else if (head_count > 0) {
            status = prn__compiled_run_blocks(heads, head_count, segment, error);
        }
    }
    return status;
}

prn_status prn__training_run(prn__trainer *t, int side, int end, const char *segment, prn_error *error)
{
    prn_status status;
    if (!prn__takes_turns(t)) {
        return run_sides(t, side, end, segment, error);
    }
    if (strcmp(segment, "forward") == 0) {
        status = run_sides(t, 1, 2, "forward", error);
        return status == PRN_OK ? run_sides(t, 0, 1, "forward", error) : status;
    }
    if ((status = run_sides(t, 0, 1, "backward", error)) == PRN_OK && (status = run_sides(t, 1, 2, "forward", error)) == PRN_OK) {
        status = run_sides(t, 1, 2, "backward", error);
    }
    return status;
}

prn_status prn__images_ahead(prn__trainer *t, const prn__batch *batch, int64_t first, int is_last_pass, prn_error *error)
{
    const prn_backend *backend = t->device.backend;
    int64_t at = first + t->micro;
    if (at >= batch->count) { /* from the start: in the backward pass, or of what comes after */
        at = 0;
        batch = is_last_pass ? t->after : batch;
    }
    t->ahead.batch = NULL;
    if (backend->buffer_write_ahead == NULL || batch == NULL || batch->count < 2 || batch->count > t->config.batch) {
        return PRN_OK;
    }
    const int64_t count = batch->count - at < t->micro ? batch->count - at : t->micro;
    const prn_status status = backend->buffer_write_ahead(t->device.instance, t->images[1 - t->images_at], 0, PRN_HOST_U8,
                                                          batch->images + at * t->image_bytes, count * t->image_bytes, error);
    if (status == PRN_OK) {
        t->ahead.batch = batch;
        t->ahead.first = at;
        t->ahead.count = count;
    }
    return status;
}
