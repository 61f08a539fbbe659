/* core/model/embedder.c: see embedder.h. Forward programs only; the two towers take turns on one workspace. */
#include "model/embedder.h"

#include <string.h>

#include "base/memory.h"
#include "model/texts.h"

struct prn__embedder {
    prn__device device; /* a copy of the handles; the device itself is the caller's and outlives the embedder */
    int64_t max_items, image_bytes, embed_dim, flat_elements;
    int64_t block[2]; /* items that the image and the text tower take at a time */
    prn__compiled image, text;
    prn__texts texts;
    prn_buffer *parameters, *images, *embeddings, *workspace;
};

static prn_status tower_init(prn__embedder *e, const prn__model *model, int is_text, prn__compiled *tower, prn_error *error)
{
    const prn__tower_options options = {.max_items = e->block[is_text]};
    prn__graph *graph;
    prn_status status = is_text ? prn__model_text_tower(model, &options, &graph, error) : prn__model_image_tower(model, &options, &graph, error);
    if (status == PRN_OK && (status = prn__compiled_init(tower, graph, &e->device, error)) == PRN_OK) {
        status = prn__compiled_reserve_blocks(tower, (uint32_t)prn__block_count(e->max_items, e->block[is_text]), 0, error);
    }
    return status;
}

prn_status prn__embedder_create(const prn__model *model, const prn__device *device, int64_t max_items, prn__embedder **result, prn_error *error)
{
    prn_status status;
    int64_t workspace;
    prn__embedder *e;

    *result = NULL;
    if (max_items < 1 || max_items > 1 << 20) {
        return prn_error_set(error, PRN_INVALID, "an embedder needs chunks of 1..%d items, not %lld", 1 << 20, (long long)max_items);
    }
    e = prn__alloc(sizeof *e);
    if (e == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "no memory for an embedder");
    }
    e->device = *device;
    e->max_items = max_items;
    e->image_bytes = model->config.vision.image_size * model->config.vision.image_size * 3;
    e->embed_dim = model->config.embed_dim;
    e->flat_elements = model->flat_elements;
    for (int side = 0; side < 2; side++) {
        e->block[side] = prn__block_items(model, device, side, max_items);
    }
    if ((status = tower_init(e, model, 0, &e->image, error)) != PRN_OK || (status = tower_init(e, model, 1, &e->text, error)) != PRN_OK ||
        (status = prn__texts_init(&e->texts, model, &e->device, max_items, e->block[1], NULL, error)) != PRN_OK ||
        (status = prn__buffer_create(&e->device, PRN_REAL, e->flat_elements, "parameters", &e->parameters, NULL, error)) != PRN_OK ||
        (status = prn__buffer_create(&e->device, PRN_U8, max_items * e->image_bytes, "images", &e->images, NULL, error)) != PRN_OK ||
        (status = prn__buffer_create(&e->device, PRN_REAL, max_items * e->embed_dim, "embeddings", &e->embeddings, NULL, error)) != PRN_OK) {
        goto failed;
    }
    const int64_t image = prn__block_count(max_items, e->block[0]) * prn__block_elements(&e->image);
    const int64_t text = prn__block_count(max_items, e->block[1]) * prn__block_elements(&e->text);
    workspace = image > text ? image : text;
    status = prn__buffer_create(&e->device, PRN_REAL, workspace, "workspace", &e->workspace, NULL, error);
    if (status != PRN_OK) {
        goto failed;
    }
    for (int i = 0; i < 2; i++) {
        prn__compiled *tower = i == 0 ? &e->image : &e->text;
        prn__compiled_bind(tower, "workspace", e->workspace, 0);
        prn__compiled_bind(tower, "parameters", e->parameters, 0);
    }
    *result = e;
    return PRN_OK;
failed:
    prn__embedder_destroy(e);
    return status;
}

void prn__embedder_destroy(prn__embedder *e)
{
    if (e == NULL) {
        return;
    }
    prn__compiled_fini(&e->image);
    prn__compiled_fini(&e->text);
    prn__texts_fini(&e->texts);
    prn__buffer_destroy(&e->device, e->parameters);
    prn__buffer_destroy(&e->device, e->images);
    prn__buffer_destroy(&e->device, e->embeddings);
    prn__buffer_destroy(&e->device, e->workspace);
    prn__free(e);
}

prn_status prn__embedder_set_weights(prn__embedder *e, const float *flat, prn_error *error)
{
    return e->device.backend->buffer_write(e->device.instance, e->parameters, 0, PRN_HOST_F32, flat, e->flat_elements, error);
}

/* Runs the tower on a chunk that has been written to the device. */
static prn_status read_chunk(prn__embedder *e, int side, int64_t count, float *target, prn_error *error)
{
    prn__compiled *tower = side == 0 ? &e->image : &e->text;
    const int64_t block = e->block[side];
    prn__compiled_forget_blocks(tower);
    for (int64_t b = 0; b * block < count; b++) {
        prn__block_bind(tower, b, block, count);
        prn__compiled_bind(tower, "images", e->images, b * block * e->image_bytes);
        prn__compiled_bind(tower, "embeddings", e->embeddings, b * block * e->embed_dim);
        if (side == 1) {
            prn__texts_bind(&e->texts, b, tower);
        }
        prn__compiled_keep_block(tower);
    }
    prn_status status = prn__compiled_run_blocks(&tower, 1, "forward", error);
    if (status == PRN_OK) {
        status = e->device.backend->buffer_read(e->device.instance, e->embeddings, 0, PRN_HOST_F32, target, count * e->embed_dim, error);
    }
    return status;
}

prn_status prn__embedder_images(prn__embedder *e, const uint8_t *images, int64_t count, float *embeddings, prn_error *error)
{
    for (int64_t first = 0; first < count; first += e->max_items) {
        const int64_t chunk = count - first < e->max_items ? count - first : e->max_items;
        prn_status status = e->device.backend->buffer_write(e->device.instance, e->images, 0, PRN_HOST_U8, images + first * e->image_bytes,
                                                            chunk * e->image_bytes, error);
        if (status == PRN_OK) {
            status = read_chunk(e, 0, chunk, embeddings + first * e->embed_dim, error);
        }
        if (status != PRN_OK) {
            return status;
        }
    }
    return PRN_OK;
}

prn_status prn__embedder_texts(prn__embedder *e, const int32_t *tokens, const int64_t *offsets, int64_t count, float *embeddings, prn_error *error)
{
    for (int64_t first = 0; first < count; first += e->max_items) {
        const int64_t chunk = count - first < e->max_items ? count - first : e->max_items;
        prn_status status = prn__texts_fill(&e->texts, tokens, offsets, first, chunk, error);
        if (status == PRN_OK) {
            status = read_chunk(e, 1, chunk, embeddings + first * e->embed_dim, error);
        }
        if (status != PRN_OK) {
            return status;
        }
    }
    return PRN_OK;
}
