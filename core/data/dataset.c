/* core/data/dataset.c: see dataset.h.
 *
 * A shard costs some eighty bytes and its path until a sample of it is wanted. Then its tar is opened and its index mapped, and both
 * stay so until others, used more recently, need the place. A sample is read into memory of its own: a view into a mapping would
 * turn a shard that shrinks, or a disk that fails, into the end of the process.
 */
#include "data/dataset.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/pool.h"
#include "base/stop.h"
#include "base/text.h"
#include "data/index.h"

enum { MAX_OPEN = 256, FEW_OPEN = 8, MAX_SHARDS = 10000000, MAX_INDEX_THREADS = 16 };

/* What a sample's parts may have at most; larger is damage or abuse. A longer caption is cut: no tokenizer reads so far. */
enum { MAX_IMAGE_BYTES = 1 << 29, MAX_JSON_BYTES = 1 << 24, MAX_CAPTION_BYTES = 1 << 20, MAX_CLASS_BYTES = 64 };

typedef struct shard {
    const char *path;      /* in the data set's arena */
    prn__digest index;     /* of its index's header */
    prn__digest tar;       /* of its bytes */
    uint8_t *kept;         /* an index that could be stored nowhere, or NULL */
    int64_t *losses;       /* (PRN__LOSS_COUNT) or NULL: none; under mutex */
    int32_t place;         /* in `open`, -1: not open; under mutex */
    int32_t status;        /* a prn_status: how preparing its index went */
} shard;

typedef struct open_shard {
    int64_t shard;         /* -1: free */
    int64_t readers;
    uint64_t used;         /* for least recently used */
    int is_opening;
    int file;
    prn__index index;
} open_shard;

struct prn__dataset {
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* a place was opened or became free */
    prn__arena memory;
    shard *shards;
    int64_t shard_count;
    int64_t *shard_samples;
    int64_t samples;
    open_shard open[MAX_OPEN];
    int32_t open_count;    /* places used so far */
    uint64_t clock;
    char *cache;
};

/* Files that all data sets of this process have open: several data sets share what one process may open. */
static atomic_int open_files;

const char *prn__loss_reason_name(prn__loss_reason reason)
{
    static const char *const names[PRN__LOSS_COUNT] = {"truncated_tar",    "bad_tar_header", "no_image",      "no_caption", "image_decode",
                                                       "image_dimensions", "duplicate",      "shard_missing", "bad_metadata"};
    return (int)reason >= 0 && reason < PRN__LOSS_COUNT ? names[reason] : "unknown";
}

static prn_status no_memory(prn_error *error)
{
    return prn_error_set(error, PRN_NO_MEMORY, "out of memory for a data set");
}

/* ---- opening ---- */

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
            return no_memory(error);
        }
        d->shards = grown;
        c->capacity = wanted;
    }
    shard *s = &d->shards[d->shard_count];
    memset(s, 0, sizeof *s);
    s->place = -1;
    char *path = c->root != NULL ? prn__path_join(c->root, item) : prn__strdup(item);
    s->path = path != NULL ? prn__arena_strdup(&d->memory, path) : NULL;
    prn__free(path);
    if (s->path == NULL) {
        return no_memory(error);
    }
    d->shard_count++;
    return PRN_OK;
}

/* Under mutex, or while nobody else knows the data set. */
static int add_losses(prn__dataset *d, shard *s, prn__loss_reason reason, int64_t count)
{
    if (s->losses == NULL && (s->losses = prn__arena_alloc(&d->memory, PRN__LOSS_COUNT * sizeof *s->losses)) == NULL) {
        return 0;
    }
    s->losses[reason] += count;
    return 1;
}

typedef struct preparation {
    prn__dataset *dataset;
    pthread_mutex_t mutex;
    atomic_llong next;
    int64_t failed_shard; /* the first in order; -1: none */
    prn_error failure;
    pthread_t opener;     /* the thread that opens the data set: the one that may ask whether to stop */
    atomic_int stopped;
} preparation;

static void *prepare_shards(void *argument)
{
    preparation *p = argument;
    prn__dataset *d = p->dataset;
    for (;;) {
        int64_t i = atomic_fetch_add(&p->next, 1);
        if (i >= d->shard_count || atomic_load(&p->stopped)) {
            return NULL;
        }
        shard *s = &d->shards[i];
        prn_error error = PRN_ERROR_INIT;
        prn__index_header header;
        int built = 0;
        prn_status status = prn__index_prepare(s->path, d->cache, &header, &s->kept, &built, &error);
        if (built && pthread_equal(pthread_self(), p->opener) && prn__stop_asked()) {
            atomic_store(&p->stopped, 1);
        }
        s->status = (int32_t)status;
        (void)pthread_mutex_lock(&p->mutex);
        if (status == PRN_OK) {
            s->index = header.header_digest;
            s->tar = header.tar_digest;
            d->shard_samples[i] = (int64_t)header.sample_count;
            for (int r = 0; r < PRN__LOSS_COUNT && status == PRN_OK; r++) {
                if (header.losses[r] > 0 && !add_losses(d, s, (prn__loss_reason)r, header.losses[r])) {
                    status = no_memory(&error);
                }
            }
        } else if (status == PRN_NOT_FOUND || status == PRN_IO) {
            prn__log(PRN_LOG_WARNING, "shard missing: %s", error.message);
            status = add_losses(d, s, PRN__LOSS_SHARD_MISSING, 1) ? PRN_OK : no_memory(&error);
        }
        if (status != PRN_OK && (p->failed_shard < 0 || i < p->failed_shard)) {
            p->failed_shard = i;
            p->failure = error;
            p->failure.status = (int32_t)status;
        }
        (void)pthread_mutex_unlock(&p->mutex);
    }
}

static prn_status open_indexes(prn__dataset *d, prn_error *error)
{
    pthread_t threads[MAX_INDEX_THREADS];
    uint32_t started = 0, wanted = prn__cpu_count();
    preparation p = {.dataset = d, .failed_shard = -1, .opener = pthread_self()};
    d->shard_samples = prn__alloc_array((size_t)d->shard_count + 1, sizeof *d->shard_samples);
    if (d->shard_samples == NULL) {
        return no_memory(error);
    }
    (void)pthread_mutex_init(&p.mutex, NULL);
    wanted = wanted > MAX_INDEX_THREADS ? MAX_INDEX_THREADS : wanted;
    while (started + 1 < wanted && (int64_t)started + 1 < d->shard_count &&
           pthread_create(&threads[started], NULL, prepare_shards, &p) == 0) {
        started++;
    }
    (void)prepare_shards(&p);
    for (uint32_t i = 0; i < started; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    (void)pthread_mutex_destroy(&p.mutex);
    if (p.failed_shard >= 0) {
        return prn_error_set(error, (prn_status)p.failure.status, "%s", p.failure.message);
    }
    if (atomic_load(&p.stopped)) {
        return prn_error_set(error, PRN_INTERRUPTED, "stopped while shards were being indexed; the same command goes on, with the indexes made so far");
    }
    int64_t missing = 0;
    for (int64_t i = 0; i < d->shard_count; i++) {
        d->samples += d->shard_samples[i];
        missing += d->shards[i].status != PRN_OK;
    }
    if (missing == d->shard_count) {
        return prn_error_set(error, PRN_NOT_FOUND, "none of the %lld shards can be read; the first is %s", (long long)d->shard_count,
                             d->shard_count > 0 ? d->shards[0].path : "(no shard is named)");
    }
    return PRN_OK;
}

static int64_t shard_losses(const shard *s)
{
    int64_t total = 0;
    for (int r = 0; s->losses != NULL && r < PRN__LOSS_COUNT; r++) {
        total += s->losses[r];
    }
    return total;
}

/* The reason by which a shard lost a number of samples that its own bytes do not tell. */
static int uncounted_reason(const shard *s, prn__loss_reason *reason)
{
    static const prn__loss_reason reasons[] = {PRN__LOSS_SHARD_MISSING, PRN__LOSS_TRUNCATED_TAR, PRN__LOSS_BAD_TAR_HEADER};
    for (size_t i = 0; s->losses != NULL && i < sizeof reasons / sizeof reasons[0]; i++) {
        if (s->losses[reasons[i]] > 0) {
            *reason = reasons[i];
            return 1;
        }
    }
    return 0;
}

/* Damage counts as one lost sample at least, also where it took none: the end blocks, or a part that its sample can do without. Takes
 * back up to `excess` such samples; returns how many. */
static int64_t forgive(prn__dataset *d, int64_t first, int64_t end, int64_t excess)
{
    static const prn__loss_reason reasons[] = {PRN__LOSS_TRUNCATED_TAR, PRN__LOSS_BAD_TAR_HEADER};
    int64_t left = excess;
    for (int64_t i = first; i < end && left > 0; i++) {
        for (size_t r = 0; r < sizeof reasons / sizeof reasons[0] && d->shards[i].losses != NULL; r++) {
            int64_t *count = &d->shards[i].losses[reasons[r]], taken = *count < left ? *count : left;
            *count -= taken;
            left -= taken;
        }
    }
    return excess - left;
}

/* What the manifest says that a list of shards holds must be there or be lost with a reason. The samples that a cut or missing shard
 * took with it are known only from the stated count; they are spread over the damaged shards of the list. */
static prn_status check_count(prn__dataset *d, const prn__shard_list *list, int64_t first, int64_t end, prn_error *error)
{
    int64_t found = 0, lost = 0, damaged = 0, missing = 0;
    prn__loss_reason reason;
    if (list->samples < 0) {
        return PRN_OK;
    }
    for (int64_t i = first; i < end; i++) {
        found += d->shard_samples[i];
        lost += shard_losses(&d->shards[i]);
        damaged += uncounted_reason(&d->shards[i], &reason);
        missing += d->shards[i].status != PRN_OK;
    }
    int64_t absent = list->samples - found - lost;
    if (absent < 0) {
        absent += forgive(d, first, end, -absent);
    }
    if (found > list->samples || (absent > 0 && damaged == 0) || (absent < 0 && missing == 0)) {
        return prn_error_set(error, PRN_CORRUPT, "%s: %lld samples are stated, but its shards hold %lld and %lld bad ones; correct the manifest, or get"
                             " the right shards ('perennial data verify' shows each shard)", list->pattern, (long long)list->samples, (long long)found,
                             (long long)lost);
    }
    for (int64_t i = first, left = damaged; i < end && absent > 0; i++) {
        if (uncounted_reason(&d->shards[i], &reason)) {
            int64_t share = absent / left--;
            (void)add_losses(d, &d->shards[i], reason, share);
            absent -= share;
        }
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
        return no_memory(error);
    }
    prn__arena_init(&d->memory, 1 << 16);
    (void)pthread_mutex_init(&d->mutex, NULL);
    (void)pthread_cond_init(&d->changed, NULL);
    return PRN_OK;
}

prn_status prn__dataset_open(const prn__manifest *manifest, const prn__shard_list *const *lists, size_t list_count, const char *cache,
                             prn__dataset **result, prn_error *error)
{
    *result = NULL;
    prn__dataset *d;
    prn_status status = create(cache, &d, error);
    collection c = {d, manifest->root, 0};
    int64_t *ends = prn__alloc_array(list_count + 1, sizeof *ends);
    if (status == PRN_OK && ends == NULL) {
        status = no_memory(error);
    }
    for (size_t i = 0; i < list_count && status == PRN_OK; i++) {
        status = prn__brace_expand(lists[i]->pattern, MAX_SHARDS, add_shard, &c, error);
        ends[i + 1] = d->shard_count;
    }
    if (status == PRN_OK) {
        status = open_indexes(d, error);
    }
    for (size_t i = 0; i < list_count && status == PRN_OK; i++) {
        status = check_count(d, lists[i], ends[i], ends[i + 1], error);
    }
    prn__free(ends);
    if (status != PRN_OK) {
        prn__dataset_close(d);
        return prn_error_context(error, status, "%s", manifest->path);
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

static void close_place(open_shard *o)
{
    if (o->file >= 0) {
        (void)close(o->file);
        atomic_fetch_sub(&open_files, 1);
    }
    prn__index_close(&o->index);
    o->file = -1;
}

void prn__dataset_close(prn__dataset *d)
{
    if (d == NULL) {
        return;
    }
    for (int32_t i = 0; i < d->open_count; i++) {
        close_place(&d->open[i]);
    }
    for (int64_t i = 0; i < d->shard_count; i++) {
        prn__free(d->shards[i].kept);
    }
    (void)pthread_cond_destroy(&d->changed);
    (void)pthread_mutex_destroy(&d->mutex);
    prn__arena_fini(&d->memory);
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

/* ---- shards that are open ---- */

static int32_t process_limit(void)
{
    struct rlimit limit;
    int32_t half = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < 1 << 20 ? (int32_t)(limit.rlim_cur / 2) : 4096;
    return half > 4096 ? 4096 : half;
}

/* A place to open a shard in: a new one while files may be opened, else that of the least recently used. NULL: all are in use. Under mutex. */
static open_shard *find_place(prn__dataset *d)
{
    open_shard *oldest = NULL;
    for (int32_t i = 0; i < d->open_count; i++) {
        open_shard *o = &d->open[i];
        if (o->shard < 0 && !o->is_opening) {
            return o;
        }
        if (o->readers == 0 && !o->is_opening && (oldest == NULL || o->used < oldest->used)) {
            oldest = o;
        }
    }
    if (d->open_count < MAX_OPEN && (oldest == NULL || d->open_count < FEW_OPEN || atomic_load(&open_files) < process_limit())) {
        open_shard *o = &d->open[d->open_count++];
        o->shard = -1;
        o->file = -1;
        return o;
    }
    return oldest;
}

static prn_status open_files_of(const prn__dataset *d, const shard *s, open_shard *o, prn_error *error)
{
    struct stat info;
    prn_status status = prn__index_open(s->path, d->cache, s->index, s->kept, &o->index, error);
    if (status != PRN_OK) {
        return status;
    }
    o->file = open(s->path, O_RDONLY | O_CLOEXEC);
    if (o->file < 0) {
        status = prn_error_set(error, errno == ENOENT ? PRN_NOT_FOUND : PRN_IO, "%s: %s%s", s->path, strerror(errno),
                               errno == EMFILE ? "; allow more open files with 'ulimit -n'" : "");
        prn__index_close(&o->index);
        return status;
    }
    atomic_fetch_add(&open_files, 1);
    const prn__index_header *h = o->index.header;
    if (fstat(o->file, &info) != 0 || (uint64_t)info.st_size != h->tar_bytes ||
        info.st_mtim.tv_sec * 1000000000LL + info.st_mtim.tv_nsec != h->tar_modified_ns) {
        close_place(o);
        return prn_error_set(error, PRN_CONFLICT, "%s: has changed since it was indexed; run the same command again", s->path);
    }
    return PRN_OK;
}

static prn_status acquire(prn__dataset *d, int64_t shard_index, open_shard **result, prn_error *error)
{
    shard *s = &d->shards[shard_index];
    prn_status status = PRN_OK;
    (void)pthread_mutex_lock(&d->mutex);
    for (;;) {
        open_shard *o = s->place >= 0 ? &d->open[s->place] : find_place(d);
        if (o == NULL || o->is_opening) {
            (void)pthread_cond_wait(&d->changed, &d->mutex); /* another thread opens it, or all places are being read: both end soon */
            continue;
        }
        if (s->place < 0) {
            if (o->shard >= 0) {
                d->shards[o->shard].place = -1;
            }
            o->shard = shard_index;
            o->is_opening = 1;
            s->place = (int32_t)(o - d->open);
            (void)pthread_mutex_unlock(&d->mutex);
            close_place(o);
            status = open_files_of(d, s, o, error);
            (void)pthread_mutex_lock(&d->mutex);
            o->is_opening = 0;
            if (status != PRN_OK) {
                o->shard = -1;
                s->place = -1;
            }
            (void)pthread_cond_broadcast(&d->changed);
            if (status != PRN_OK) {
                break;
            }
        }
        o->readers++;
        o->used = ++d->clock;
        *result = o;
        break;
    }
    (void)pthread_mutex_unlock(&d->mutex);
    return status;
}

static void release(prn__dataset *d, open_shard *o)
{
    (void)pthread_mutex_lock(&d->mutex);
    o->readers--;
    (void)pthread_cond_broadcast(&d->changed);
    (void)pthread_mutex_unlock(&d->mutex);
}

/* ---- samples ---- */

static prn_status read_part(const open_shard *o, const char *path, uint64_t offset, size_t bytes, void *target, prn_error *error)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t got = pread(o->file, (uint8_t *)target + done, bytes - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return prn_error_set(error, PRN_IO, "%s: cannot be read: %s", path, strerror(errno));
        }
        if (got == 0) {
            return prn_error_set(error, PRN_CONFLICT, "%s: has become shorter since it was indexed; run the same command again", path);
        }
        done += (size_t)got;
    }
    return PRN_OK;
}

/* `text` holds the .json, and takes the caption afterwards: a decoded string is never longer than its JSON form. */
static prn_status read_json(const char *path, char *text, size_t bytes, prn__sample *sample, prn_error *error)
{
    json_error_t detail;
    json_t *json = json_loadb(text, bytes, JSON_ALLOW_NUL, &detail);
    if (json == NULL || !json_is_object(json)) {
        prn_status status = prn_error_set(error, PRN_CORRUPT, "%s: sample '%.*s': its .json is damaged: %s", path, (int)sample->key_length, sample->key,
                                          json == NULL ? detail.text : "not a table");
        json_decref(json);
        return status;
    }
    const json_t *caption = json_object_get(json, "caption"), *label = json_object_get(json, "class");
    if (sample->class_index < 0 && json_is_integer(label) && json_integer_value(label) >= 0 && json_integer_value(label) < INT32_MAX) {
        sample->class_index = (int32_t)json_integer_value(label);
    }
    if (sample->caption == NULL && json_is_string(caption) && json_string_length(caption) <= bytes) {
        sample->caption_bytes = json_string_length(caption);
        memcpy(text, json_string_value(caption), sample->caption_bytes);
        sample->caption = text;
    }
    json_decref(json);
    return PRN_OK;
}

static int32_t parse_class(const char *text, size_t bytes)
{
    int64_t value = 0;
    size_t i = 0, first;
    while (i < bytes && (text[i] == ' ' || text[i] == '\t')) {
        i++;
    }
    for (first = i; i < bytes && text[i] >= '0' && text[i] <= '9' && value < INT32_MAX; i++) {
        value = value * 10 + (text[i] - '0');
    }
    int is_number = i > first && value < INT32_MAX;
    while (i < bytes && (text[i] == ' ' || text[i] == '\t' || text[i] == '\r' || text[i] == '\n' || text[i] == '\0')) {
        i++;
    }
    return is_number && i == bytes ? (int32_t)value : -1;
}

static prn_status read_sample(const open_shard *o, const char *path, int64_t index, prn__sample *sample, prn__sample_hold *hold, prn_error *error)
{
    const prn__index_record *r = &o->index.records[index];
    const char *key = o->index.keys + r->key_offset;
    size_t caption_bytes = r->caption_bytes < MAX_CAPTION_BYTES ? (size_t)r->caption_bytes : MAX_CAPTION_BYTES;
    size_t class_bytes = r->class_bytes < MAX_CLASS_BYTES ? (size_t)r->class_bytes : MAX_CLASS_BYTES;
    if (r->image_bytes > MAX_IMAGE_BYTES) {
        return prn_error_set(error, PRN_UNSUPPORTED, "%s: sample '%.*s': an image file of %llu bytes", path, (int)r->key_bytes, key,
                             (unsigned long long)r->image_bytes);
    }
    size_t image_bytes = (size_t)r->image_bytes;
    int wants_json = r->json_offset != 0 && (r->caption_offset == 0 || r->class_offset == 0), is_oversized = r->json_bytes > MAX_JSON_BYTES;
    size_t json_bytes = wants_json && !is_oversized ? (size_t)r->json_bytes : 0;
    uint8_t *block = prn__alloc(image_bytes + caption_bytes + class_bytes + json_bytes + r->key_bytes);
    if (block == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory for a sample of %zu bytes", path, image_bytes + caption_bytes + json_bytes);
    }
    char *caption = (char *)block + image_bytes, *label = caption + caption_bytes, *json = label + class_bytes, *name = json + json_bytes;
    hold->memory = block;
    memcpy(name, key, r->key_bytes);
    sample->key = name;
    sample->key_length = r->key_bytes;
    sample->image = block;
    sample->image_bytes = image_bytes;
    sample->class_index = -1;
    prn_status status = read_part(o, path, r->image_offset, image_bytes, block, error);
    if (status == PRN_OK && r->caption_offset != 0) {
        status = read_part(o, path, r->caption_offset, caption_bytes, caption, error);
        sample->caption = caption;
        sample->caption_bytes = caption_bytes;
    }
    if (status == PRN_OK && r->class_offset != 0) {
        status = read_part(o, path, r->class_offset, class_bytes, label, error);
        sample->class_index = status == PRN_OK ? parse_class(label, class_bytes) : -1;
    }
    if (status == PRN_OK && wants_json) {
        status = is_oversized ? prn_error_set(error, PRN_CORRUPT, "%s: sample '%.*s': a .json of %llu bytes", path, (int)r->key_bytes, name,
                                              (unsigned long long)r->json_bytes)
                              : read_part(o, path, r->json_offset, json_bytes, json, error);
        if (status == PRN_OK) {
            status = read_json(path, json, json_bytes, sample, error);
        }
        if (status == PRN_CORRUPT && sample->caption != NULL) {
            status = PRN_OK; /* the caption has its own file; the class stays unknown */
        }
    }
    return status;
}

prn_status prn__dataset_sample(prn__dataset *d, int64_t shard_index, int64_t index, prn__sample *sample, prn__sample_hold *hold, prn_error *error)
{
    open_shard *o = NULL;
    memset(sample, 0, sizeof *sample);
    memset(hold, 0, sizeof *hold);
    if (shard_index < 0 || shard_index >= d->shard_count || index < 0 || index >= d->shard_samples[shard_index]) {
        return prn_error_set(error, PRN_INVALID, "sample %lld of shard %lld does not exist", (long long)index, (long long)shard_index);
    }
    prn_status status = acquire(d, shard_index, &o, error);
    if (status != PRN_OK) {
        return status;
    }
    status = read_sample(o, d->shards[shard_index].path, index, sample, hold, error);
    release(d, o);
    if (status != PRN_OK) {
        prn__sample_release(d, hold);
    }
    return status;
}

void prn__sample_release(prn__dataset *d, prn__sample_hold *hold)
{
    (void)d;
    prn__free(hold->memory);
    memset(hold, 0, sizeof *hold);
}

/* ---- counts ---- */

void prn__dataset_count_loss(prn__dataset *d, int64_t shard_index, prn__loss_reason reason, int64_t count)
{
    (void)pthread_mutex_lock(&d->mutex);
    (void)add_losses(d, &d->shards[shard_index], reason, count);
    (void)pthread_mutex_unlock(&d->mutex);
}

int64_t prn__dataset_losses(const prn__dataset *d, int64_t shard_index, prn__loss_reason reason)
{
    int64_t total = 0;
    pthread_mutex_t *mutex = (pthread_mutex_t *)(uintptr_t)&d->mutex;
    (void)pthread_mutex_lock(mutex);
    for (int64_t i = shard_index < 0 ? 0 : shard_index; i < (shard_index < 0 ? d->shard_count : shard_index + 1); i++) {
        total += d->shards[i].losses != NULL ? d->shards[i].losses[reason] : 0;
    }
    (void)pthread_mutex_unlock(mutex);
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
        prn__hasher_update(hasher, &d->shards[i].tar, sizeof d->shards[i].tar); /* zero where the shard is missing */
    }
    prn__digest_format(prn__hasher_digest(hasher), digest);
    prn__hasher_destroy(hasher);
    return PRN_OK;
}
