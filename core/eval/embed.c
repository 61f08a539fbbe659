/* core/eval/embed.c: see embed.h. */
#include "eval/embed.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "model/safetensors.h"

enum { LARGEST_METADATA = 8 << 20 }; /* readers bound the size of a header */

typedef struct key_reader { /* keys are asked for in rising order: one walk over the shards */
    prn__dataset *dataset;
    const int64_t *shard_samples;
    int64_t shard, start;
    prn__text json;
    int64_t count;
} key_reader;

/* Bytes that are not UTF-8 become '?', so that the list is always valid JSON. */
static json_t *key_string(const char *bytes, size_t length)
{
    json_t *string = json_stringn(bytes, length);
    char *repaired = string == NULL ? prn__alloc(length + 1) : NULL;
    if (repaired != NULL) {
        for (size_t i = 0; i < length; i++) {
            repaired[i] = (unsigned char)bytes[i] < 0x80 ? bytes[i] : '?';
        }
        string = json_stringn(repaired, length);
        prn__free(repaired);
    }
    return string;
}

static int append(const char *bytes, size_t length, void *context)
{
    prn__text *text = context;
    prn__text_append(text, bytes, length);
    return text->failed ? -1 : 0;
}

static prn_status add_key(key_reader *r, int64_t number, prn_error *error)
{
    prn__sample sample;
    prn__sample_hold hold;
    while (number >= r->start + r->shard_samples[r->shard]) {
        r->start += r->shard_samples[r->shard++];
    }
    prn_status status = prn__dataset_sample(r->dataset, r->shard, number - r->start, &sample, &hold, error);
    if (status != PRN_OK) {
        return status;
    }
    json_t *string = key_string(sample.key, sample.key_length);
    prn__text_puts(&r->json, r->count++ > 0 ? "," : "");
    if (string == NULL || json_dump_callback(string, append, &r->json, JSON_ENCODE_ANY) != 0) {
        status = prn_error_set(error, PRN_NO_MEMORY, "out of memory for the keys of %" PRId64 " samples", r->count);
    }
    json_decref(string);
    prn__sample_release(r->dataset, &hold);
    return status;
}

static prn_status embed_batch(prn__embedder *embedder, const prn__batch *batch, prn__embeddings *e, key_reader *keys, prn_error *error)
{
    const int64_t at = e->count * e->embed_dim;
    prn_status status = prn__embedder_images(embedder, batch->images, batch->count, e->images + at, error);
    if (status == PRN_OK) {
        status = prn__embedder_texts(embedder, batch->tokens, batch->offsets, batch->count, e->texts + at, error);
    }
    for (int64_t i = 0; i < batch->count && status == PRN_OK; i++) {
        status = add_key(keys, (int64_t)batch->samples[i], error);
    }
    e->count += batch->count;
    return status;
}

prn_status prn__embed_dataset(prn__embedder *embedder, const prn__model_config *model, prn__dataset *dataset, const prn__embed_options *options,
                              prn__embeddings *e, prn_error *error)
{
    const int64_t samples = prn__dataset_samples(dataset);
    const prn__loader_source source = {.dataset = dataset};
    const prn__loader_config loading = {
        .sources = &source, .source_count = 1, .tokenizer = options->tokenizer, .context_length = model->text.context_length,
        .image_side = model->vision.image_size, .batch = options->batch > 0 ? options->batch : 256, .bad_policy = options->bad_policy,
        .step_count = -1, .single_pass = 1,
    };
    key_reader keys = {.dataset = dataset, .shard_samples = prn__dataset_shard_samples(dataset)};
    prn__loader *loader = NULL;
    prn__text_init(&keys.json);
    prn__text_puts(&keys.json, "[");
    e->embed_dim = model->embed_dim;
    e->images = prn__alloc_array((size_t)samples + 1, (size_t)e->embed_dim * sizeof(float));
    e->texts = prn__alloc_array((size_t)samples + 1, (size_t)e->embed_dim * sizeof(float));
    prn_status status = e->images != NULL && e->texts != NULL
                            ? prn__loader_create(&loading, &loader, error)
                            : prn_error_set(error, PRN_NO_MEMORY, "out of memory for %" PRId64 " embeddings; embed fewer shards at a time", samples);
    while (status == PRN_OK) {
        const prn__batch *batch;
        status = prn__loader_next(loader, &batch, NULL, error);
        if (status == PRN_OK) {
            status = embed_batch(embedder, batch, e, &keys, error);
        }
        if (status == PRN_OK && options->progress != NULL) {
            options->progress(options->context, e->count, samples);
        }
    }
    if (loader != NULL) {
        prn__loader_destroy(loader);
    }
    if (status == PRN_END) {
        prn__text_puts(&keys.json, "]");
        for (int r = 0; r < PRN__LOSS_COUNT; r++) {
            e->skipped += prn__dataset_losses(dataset, -1, (prn__loss_reason)r);
        }
        e->keys = keys.json.failed ? NULL : prn__strdup(keys.json.data);
        status = e->keys != NULL ? PRN_OK : prn_error_set(error, PRN_NO_MEMORY, "out of memory for the keys of %" PRId64 " samples", e->count);
    }
    prn__text_fini(&keys.json);
    return status;
}

void prn__embeddings_fini(prn__embeddings *e)
{
    prn__free(e->images);
    prn__free(e->texts);
    prn__free(e->keys);
    memset(e, 0, sizeof *e);
}

prn_status prn__embeddings_save(const prn__embeddings *e, const char *model_name, const char *path, prn_error *error)
{
    char count[24], skipped[24];
    const size_t bytes = (size_t)(e->count * e->embed_dim) * sizeof(float), key_bytes = strlen(e->keys);
    const int is_large = key_bytes > LARGEST_METADATA;
    const prn__st_tensor tensors[] = {
        {.name = "image_embeddings", .type = PRN__ST_F32, .rank = 2, .shape = {e->count, e->embed_dim}, .data = e->images, .bytes = bytes},
        {.name = "text_embeddings", .type = PRN__ST_F32, .rank = 2, .shape = {e->count, e->embed_dim}, .data = e->texts, .bytes = bytes},
        {.name = "keys_json", .type = PRN__ST_U8, .rank = 1, .shape = {(int64_t)key_bytes}, .data = e->keys, .bytes = key_bytes},
    };
    (void)snprintf(count, sizeof count, "%" PRId64, e->count);
    (void)snprintf(skipped, sizeof skipped, "%" PRId64, e->skipped);
    const char *const metadata[] = {"format", "perennial-embeddings/1", "model", model_name, "count", count, "skipped", skipped,
                                    is_large ? NULL : "keys", e->keys, NULL};
    return prn__safetensors_save(path, tensors, is_large ? 3 : 2, metadata, error);
}
