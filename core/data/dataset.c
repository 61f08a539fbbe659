/* core/data/dataset.c: see dataset.h.
 *
 * A shard's index is small and stays open; its tar is mapped when a sample of it is held and unmapped, least recently used
 * first, once more than a bounded number are mapped. A held shard is never unmapped.
 */
#include "data/dataset.h"

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "data/index.h"

enum { MAX_MAPPED = 256, MAX_SHARDS = 10000000 };

typedef struct shard {
    char *path;
    prn__index index;      /* zero when the shard is missing */
    int is_missing;
    prn__map tar;
    int64_t holds;         /* under mutex, as the rest below */
    uint64_t used;         /* for least recently used */
    int64_t losses[PRN__LOSS_COUNT];
} shard;

struct prn__dataset {
    pthread_mutex_t mutex;
    shard *shards;
    int64_t shard_count;
    int64_t *shard_samples;
    int64_t samples;
    int64_t mapped;
    uint64_t clock;
    char *cache;
};

const char *prn__loss_reason_name(prn__loss_reason reason)
{
    static const char *const names[PRN__LOSS_COUNT] = {"truncated_tar",    "bad_tar_header", "no_image",      "no_caption", "image_decode",
                                                       "image_dimensions", "duplicate",      "shard_missing", "bad_metadata"};
    return reason >= 0 && reason < PRN__LOSS_COUNT ? names[reason] : "unknown";
}

typedef struct collection {
    prn__dataset *dataset;
    const char *root;
    size_t capacity;
} collection;

static prn_status add_shard(void *context, const char *item, prn_error *error)
{
    collection *c = context;
    prn__dataset *d = c->dataset;
    if ((size_t)d->shard_count == c->capacity) {
        size_t wanted = c->capacity == 0 ? 16 : c->capacity * 2;
        shard *grown = prn__realloc(d->shards, wanted * sizeof *grown);
        if (grown == NULL) {
            return prn_error_set(error, PRN_NO_MEMORY, "out of memory for the list of shards");
        }
        d->shards = grown;
        c->capacity = wanted;
    }
    shard *s = &d->shards[d->shard_count];
    memset(s, 0, sizeof *s);
    s->path = c->root != NULL ? prn__path_join(c->root, item) : prn__strdup(item);
    if (s->path == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory for the list of shards");
    }
    d->shard_count++;
    return PRN_OK;
}

static prn_status open_indexes(prn__dataset *d, prn_error *error)
{
    d->shard_samples = prn__alloc_array((size_t)d->shard_count + 1, sizeof *d->shard_samples);
    if (d->shard_samples == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory for the list of shards");
    }
    for (int64_t i = 0; i < d->shard_count; i++) {
        shard *s = &d->shards[i];
        prn_error detail = PRN_ERROR_INIT;
        prn_status status = prn__index_open(s->path, d->cache, &s->index, &detail);
        if (status == PRN_NOT_FOUND || status == PRN_IO) {
            /* the caller learns of it through the counts; all missing is an error below */
            s->is_missing = 1;
            s->losses[PRN__LOSS_SHARD_MISSING]++;
            prn__log(PRN_LOG_WARNING, "shard missing: %s", detail.message);
            continue;
        }
        if (status != PRN_OK) {
            return prn_error_set(error, status, "%s", detail.message);
        }
        for (int r = 0; r < PRN__LOSS_COUNT; r++) {
            s->losses[r] = s->index.header->losses[r];
        }
        d->shard_samples[i] = (int64_t)s->index.header->sample_count;
        d->samples += d->shard_samples[i];
    }
    int64_t missing = prn__dataset_losses(d, -1, PRN__LOSS_SHARD_MISSING);
    if (missing == d->shard_count) {
        return prn_error_set(error, PRN_NOT_FOUND, "none of the %lld shards is there; the first is %s", (long long)d->shard_count,
                             d->shard_count > 0 ? d->shards[0].path : "(no shard is named)");
    }
    return PRN_OK;
}

static prn_status create(const char *cache, prn__dataset **result, prn_error *error)
{
    prn__dataset *d = prn__alloc(sizeof *d);
    *result = d;
    if (d == NULL || (cache != NULL && (d->cache = prn__strdup(cache)) == NULL)) {
        prn__free(d);
        *result = NULL;
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory for a data set");
    }
    (void)pthread_mutex_init(&d->mutex, NULL);
    return PRN_OK;
}

prn_status prn__dataset_open(const prn__manifest *manifest, const prn__shard_list *const *lists, size_t list_count, const char *cache,
                             prn__dataset **result, prn_error *error)
{
    *result = NULL;
    prn__dataset *d;
    prn_status status = create(cache, &d, error);
    collection c = {d, manifest->root, 0};
    for (size_t i = 0; i < list_count && status == PRN_OK; i++) {
        status = prn__brace_expand(lists[i]->pattern, MAX_SHARDS, add_shard, &c, error);
    }
    if (status == PRN_OK) {
        status = open_indexes(d, error);
        if (status != PRN_OK) {
            (void)prn_error_context(error, status, "%s", manifest->path);
        }
    }
    if (status != PRN_OK) {
        prn__dataset_close(d);
        return status;
    }
    *result = d;
    return PRN_OK;
}

prn_status prn__dataset_open_paths(const char *const *patterns, size_t count, const char *cache, prn__dataset **result, prn_error *error)
{
    *result = NULL;
    prn__dataset *d;
    prn_status status = create(cache, &d, error);
    collection c = {d, NULL, 0};
    for (size_t i = 0; i < count && status == PRN_OK; i++) {
        status = prn__brace_expand(patterns[i], MAX_SHARDS, add_shard, &c, error);
    }
    if (status == PRN_OK) {
        status = open_indexes(d, error);
    }
    if (status != PRN_OK) {
        prn__dataset_close(d);
        return status;
    }
    *result = d;
    return PRN_OK;
}

void prn__dataset_close(prn__dataset *d)
{
    if (d == NULL) {
        return;
    }
    for (int64_t i = 0; i < d->shard_count; i++) {
        shard *s = &d->shards[i];
        prn__map_close(&s->tar);
        prn__index_close(&s->index);
        prn__free(s->path);
    }
    (void)pthread_mutex_destroy(&d->mutex);
    prn__free(d->shards);
    prn__free(d->shard_samples);
    prn__free(d->cache);
    prn__free(d);
}

int64_t prn__dataset_samples(const prn__dataset *d)
{
    return d->samples;
}

int64_t prn__dataset_shards(const prn__dataset *d)
{
    return d->shard_count;
}

const int64_t *prn__dataset_shard_samples(const prn__dataset *d)
{
    return d->shard_samples;
}

const char *prn__dataset_shard_path(const prn__dataset *d, int64_t i)
{
    return d->shards[i].path;
}

static void unmap_oldest(prn__dataset *d)
{
    shard *oldest = NULL;
    for (int64_t i = 0; i < d->shard_count; i++) {
        shard *s = &d->shards[i];
        if (s->tar.data != NULL && s->holds == 0 && (oldest == NULL || s->used < oldest->used)) {
            oldest = s;
        }
    }
    if (oldest != NULL) {
        prn__map_close(&oldest->tar);
        d->mapped--;
    }
}

static prn_status hold_shard(prn__dataset *d, shard *s, prn_error *error)
{
    prn_status status = PRN_OK;
    (void)pthread_mutex_lock(&d->mutex);
    if (s->tar.data == NULL) {
        if (d->mapped >= MAX_MAPPED) {
            unmap_oldest(d);
        }
        status = prn__map_open(s->path, &s->tar, error);
        if (status == PRN_OK && s->tar.bytes != s->index.header->tar_bytes) {
            prn__map_close(&s->tar);
            status = prn_error_set(error, PRN_CONFLICT, "%s: has changed since it was indexed; run the same command again", s->path);
        }
        d->mapped += status == PRN_OK;
    }
    if (status == PRN_OK) {
        s->holds++;
        s->used = ++d->clock;
    }
    (void)pthread_mutex_unlock(&d->mutex);
    return status;
}

static prn_status read_json(const shard *s, const prn__index_record *r, prn__sample *sample, prn__sample_hold *hold, prn_error *error)
{
    json_error_t detail;
    json_t *json = json_loadb((const char *)s->tar.data + r->json_offset, (size_t)r->json_bytes, JSON_ALLOW_NUL, &detail);
    if (json == NULL || !json_is_object(json)) {
        json_decref(json);
        return prn_error_set(error, PRN_CORRUPT, "%s: sample '%.*s': its .json is damaged: %s", s->path, (int)sample->key_length, sample->key, detail.text);
    }
    const json_t *caption = json_object_get(json, "caption"), *label = json_object_get(json, "class");
    if (sample->caption == NULL && json_is_string(caption)) {
        sample->caption_bytes = json_string_length(caption);
        hold->memory = prn__alloc(sample->caption_bytes + 1);
        if (hold->memory == NULL) {
            json_decref(json);
            return prn_error_set(error, PRN_NO_MEMORY, "out of memory for a caption");
        }
        memcpy(hold->memory, json_string_value(caption), sample->caption_bytes);
        sample->caption = hold->memory;
    }
    if (sample->class_index < 0 && json_is_integer(label) && json_integer_value(label) >= 0 && json_integer_value(label) < INT32_MAX) {
        sample->class_index = (int32_t)json_integer_value(label);
    }
    json_decref(json);
    return PRN_OK;
}

static int32_t parse_class(const uint8_t *text, uint64_t bytes)
{
    int64_t value = 0;
    uint64_t i = 0;
    for (; i < bytes && text[i] >= '0' && text[i] <= '9' && value < INT32_MAX; i++) {
        value = value * 10 + (text[i] - '0');
    }
    return i > 0 && value < INT32_MAX ? (int32_t)value : -1;
}

prn_status prn__dataset_sample(prn__dataset *d, int64_t shard_index, int64_t index, prn__sample *sample, prn__sample_hold *hold, prn_error *error)
{
    memset(sample, 0, sizeof *sample);
    memset(hold, 0, sizeof *hold);
    if (shard_index < 0 || shard_index >= d->shard_count || index < 0 || index >= d->shard_samples[shard_index]) {
        return prn_error_set(error, PRN_INVALID, "sample %lld of shard %lld does not exist", (long long)index, (long long)shard_index);
    }
    shard *s = &d->shards[shard_index];
    prn_status status = hold_shard(d, s, error);
    if (status != PRN_OK) {
        return status;
    }
    const prn__index_record *r = &s->index.records[index];
    hold->shard = s;
    sample->key = s->index.keys + r->key_offset;
    sample->key_length = r->key_bytes;
    sample->image = s->tar.data + r->image_offset;
    sample->image_bytes = (size_t)r->image_bytes;
    sample->class_index = -1;
    if (r->caption_offset != 0) {
        sample->caption = (const char *)s->tar.data + r->caption_offset;
        sample->caption_bytes = (size_t)r->caption_bytes;
    }
    if (r->class_offset != 0) {
        sample->class_index = parse_class(s->tar.data + r->class_offset, r->class_bytes);
    }
    if (r->json_offset != 0 && (sample->caption == NULL || sample->class_index < 0)) {
        status = read_json(s, r, sample, hold, error);
        if (status == PRN_CORRUPT && sample->caption != NULL) {
            status = PRN_OK; /* the caption has its own file; the class stays unknown */
        }
    }
    if (status != PRN_OK) {
        prn__sample_release(d, hold);
    }
    return status;
}

void prn__sample_release(prn__dataset *d, prn__sample_hold *hold)
{
    shard *s = hold->shard;
    prn__free(hold->memory);
    if (s != NULL) {
        (void)pthread_mutex_lock(&d->mutex);
        s->holds--;
        (void)pthread_mutex_unlock(&d->mutex);
    }
    memset(hold, 0, sizeof *hold);
}

void prn__dataset_count_loss(prn__dataset *d, int64_t shard_index, prn__loss_reason reason, int64_t count)
{
    (void)pthread_mutex_lock(&d->mutex);
    d->shards[shard_index].losses[reason] += count;
    (void)pthread_mutex_unlock(&d->mutex);
}

int64_t prn__dataset_losses(const prn__dataset *d, int64_t shard_index, prn__loss_reason reason)
{
    int64_t total = 0;
    (void)pthread_mutex_lock((pthread_mutex_t *)(uintptr_t)&d->mutex);
    for (int64_t i = shard_index < 0 ? 0 : shard_index; i < (shard_index < 0 ? d->shard_count : shard_index + 1); i++) {
        total += d->shards[i].losses[reason];
    }
    (void)pthread_mutex_unlock((pthread_mutex_t *)(uintptr_t)&d->mutex);
    return total;
}

prn_status prn__dataset_digest(prn__dataset *d, char digest[33], prn_error *error)
{
    /* the digest of the shards' digests, in order: every byte counts, and each tar is read once, when it is indexed */
    prn__hasher *hasher = prn__hasher_create();
    if (hasher == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory for a checksum");
    }
    for (int64_t i = 0; i < d->shard_count; i++) {
        prn__digest none = {0, 0};
        const prn__digest *one = d->shards[i].is_missing ? &none : &d->shards[i].index.header->tar_digest;
        prn__hasher_update(hasher, one, sizeof *one);
    }
    prn__digest_format(prn__hasher_digest(hasher), digest);
    prn__hasher_destroy(hasher);
    return PRN_OK;
}
