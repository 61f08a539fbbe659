/* core/model/texts.c: see texts.h. */
#include "model/texts.h"

#include <string.h>

#include "base/memory.h"

prn_status prn__texts_init(prn__texts *texts, const prn__model *model, const prn__device *device, int64_t max_items, int64_t block, int64_t *bytes,
                           prn_error *error)
{
    const int64_t context = model->config.text.context_length, rows = max_items * context, blocks = prn__block_count(max_items, block);
    prn_status status;
    memset(texts, 0, sizeof *texts);
    texts->device = device;
    texts->max_items = max_items;
    texts->block = block;
    texts->context_length = context;
    texts->vocab_size = model->config.text.vocab_size;
    texts->staging = prn__alloc_array((size_t)(rows + blocks * (block + 1) + max_items), sizeof *texts->staging);
    texts->starts = prn__alloc_array((size_t)blocks + 1, sizeof *texts->starts);
    if (texts->staging == NULL || texts->starts == NULL) {
        prn__texts_fini(texts);
        return prn_error_set(error, PRN_NO_MEMORY, "no memory for the captions of %lld samples; use a smaller micro-batch", (long long)max_items);
    }
    if ((status = prn__buffer_create(device, PRN_I32, rows, "tokens", &texts->tokens, bytes, error)) == PRN_OK &&
        (status = prn__buffer_create(device, PRN_I32, rows, "positions", &texts->positions, bytes, error)) == PRN_OK &&
        (status = prn__buffer_create(device, PRN_I32, blocks * (block + 1), "offsets", &texts->offsets, bytes, error)) == PRN_OK) {
        status = prn__buffer_create(device, PRN_I32, max_items, "ends", &texts->ends, bytes, error);
    }
    if (status != PRN_OK) {
        prn__texts_fini(texts);
    }
    return status;
}

void prn__texts_fini(prn__texts *texts)
{
    if (texts->device != NULL) {
        prn__buffer_destroy(texts->device, texts->tokens);
        prn__buffer_destroy(texts->device, texts->positions);
        prn__buffer_destroy(texts->device, texts->offsets);
        prn__buffer_destroy(texts->device, texts->ends);
    }
    prn__free(texts->staging);
    prn__free(texts->starts);
    memset(texts, 0, sizeof *texts);
}

static prn_status check_item(const prn__texts *texts, const int32_t *tokens, int64_t begin, int64_t end, int64_t item, prn_error *error)
{
    if (begin < 0 || end <= begin || end - begin > texts->context_length) {
        return prn_error_set(error, PRN_INVALID, "caption %lld of the batch has %lld tokens; the model takes 1 to %lld", (long long)item,
                             (long long)(end - begin), (long long)texts->context_length);
    }
    for (int64_t i = begin; i < end; i++) {
        if (tokens[i] < 0 || tokens[i] >= texts->vocab_size) {
            return prn_error_set(error, PRN_INVALID,
                                 "caption %lld of the batch has token %d, but the model's vocabulary has %lld; use the tokenizer that the model was made for",
                                 (long long)item, tokens[i], (long long)texts->vocab_size);
        }
    }
    return PRN_OK;
}

prn_status prn__texts_fill(prn__texts *texts, const int32_t *tokens, const int64_t *offsets, int64_t first, int64_t count, prn_error *error)
{
    const prn_backend *backend = texts->device->backend;
    prn_backend_instance *instance = texts->device->instance;
    const int64_t base = offsets[first], block = texts->block, blocks = prn__block_count(texts->max_items, block);
    int32_t *position = texts->staging, *offset = position + texts->max_items * texts->context_length, *end = offset + blocks * (block + 1);
    int64_t rows = 0;
    prn_status status;

    for (int64_t b = 0; b < blocks; b++, offset++) {
        texts->starts[b] = rows;
        for (int64_t i = b * block; i < (b + 1) * block && i < count; i++) {
            const int64_t item_begin = offsets[first + i], item_end = offsets[first + i + 1];
            status = check_item(texts, tokens, item_begin, item_end, first + i, error);
            if (status != PRN_OK) {
                return status;
            }
            *offset++ = (int32_t)(rows - texts->starts[b]);
            for (int64_t j = 0; j < item_end - item_begin; j++) {
                position[rows + j] = (int32_t)j;
            }
            rows += item_end - item_begin;
            end[i] = (int32_t)(rows - 1 - texts->starts[b]);
        }
        /* The program has room for a whole block; the items that are not there are empty. */
        for (int64_t i = b * block > count ? b * block : count; i < (b + 1) * block; i++) {
            *offset++ = (int32_t)(rows - texts->starts[b]);
        }
        *offset = (int32_t)(rows - texts->starts[b]);
    }
    texts->starts[blocks] = rows;
    offset -= blocks * (block + 1);
    if ((status = backend->buffer_write(instance, texts->tokens, 0, PRN_HOST_I32, tokens + base, rows, error)) != PRN_OK ||
        (status = backend->buffer_write(instance, texts->positions, 0, PRN_HOST_I32, position, rows, error)) != PRN_OK ||
        (status = backend->buffer_write(instance, texts->offsets, 0, PRN_HOST_I32, offset, blocks * (block + 1), error)) != PRN_OK) {
        return status;
    }
    return backend->buffer_write(instance, texts->ends, 0, PRN_HOST_I32, end, count, error);
}

void prn__texts_bind(const prn__texts *texts, int64_t index, prn__compiled *tower)
{
    prn__compiled_bind(tower, "tokens", texts->tokens, texts->starts[index]);
    prn__compiled_bind(tower, "positions", texts->positions, texts->starts[index]);
    prn__compiled_bind(tower, "offsets", texts->offsets, index * (texts->block + 1));
    prn__compiled_bind(tower, "ends", texts->ends, index * texts->block);
    prn__compiled_set(tower, "N", texts->starts[index + 1] - texts->starts[index]);
}
