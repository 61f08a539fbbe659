/* core/data/loader.c: see loader.h.
 *
 * A ring of batches. Workers take runs of rows of the batch that is being prepared; which samples those rows are is decided under the lock,
 * from the step alone. The batch is packed by whoever finishes its last row, and counted losses are handed to the data set only when the
 * batch is consumed, so that what was merely prepared ahead never shows in a run's record. A failure belongs to its batch and its first
 * bad row, and is reported when that batch is asked for: like the batches, it does not depend on which thread came first.
 */
#include "data/loader.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "base/memory.h"
#include "base/pool.h"
#include "base/rng.h"
#include "data/image.h"

enum { ROWS_AT_ONCE = 8, MAX_ATTEMPTS = 100, MAX_SOURCES = 4096, DEFAULT_SLOTS = 4 };
static const int64_t MAX_AHEAD_BYTES = (int64_t)2 << 30;

typedef struct loss {
    prn__dataset *dataset;
    int64_t shard;
    prn__loss_reason reason;
} loss;

typedef enum slot_state { SLOT_FREE = 0, SLOT_FILLING, SLOT_READY } slot_state;

typedef struct slot {
    slot_state state;
    int64_t step;
    int64_t rows, taken, done; /* of this batch; under mutex */
    prn__batch batch;
    int32_t *row_tokens;  /* (batch, context_length) */
    int32_t *row_counts;  /* (batch); 0: the row is left out */
    loss *losses;
    size_t loss_count, loss_capacity;
    int64_t failed_row;   /* the first one, -1: none */
    prn_error failure;
} slot;

typedef struct source {
    prn__dataset *dataset;
    prn__sampler *sampler;  /* under mutex; NULL for a bounded source */
    int64_t *starts;        /* (shards + 1) running totals of samples */
    int64_t samples;        /* all there are */
    int64_t bounded;        /* > 0: only so many of them */
    uint64_t share;         /* of the rows that the sources before left over; 1 << 32: all */
    uint64_t subset_key;
} source;

typedef struct pick {
    int64_t source, shard, index;
    uint64_t position;      /* in the source's own order */
} pick;

__extension__ typedef unsigned __int128 wide;

typedef struct worker {
    struct prn__loader *loader;
    pthread_t thread;
    prn__scratch *scratch;
    prn__image image;
} worker;

struct prn__loader {
    prn__loader_config config;
    pthread_mutex_t mutex;
    pthread_cond_t work, ready;
    source *sources;
    size_t source_count;
    slot *slots;
    uint32_t slot_count;
    worker *workers;
    uint32_t worker_count;  /* started */
    int64_t issue_step;     /* the next batch to start preparing */
    int64_t consume_step;   /* the next batch to hand out */
    int64_t last_step;      /* one beyond the last; -1: endless */
    int64_t held_step;      /* handed out, -1 none */
    int is_stopping;
};

/* ---- which samples ---- */

static void locate(const source *s, int64_t global, int64_t *shard, int64_t *index)
{
    int64_t low = 0, high = prn__dataset_shards(s->dataset);
    while (high - low > 1) { /* the last shard that starts at or before `global`; empty shards start where the next one does */
        int64_t middle = low + (high - low) / 2;
        if (s->starts[middle] <= global) {
            low = middle;
        } else {
            high = middle;
        }
    }
    *shard = low;
    *index = global - s->starts[low];
}

static uint64_t place_in_subset(const source *s, uint64_t place)
{
    return prn__permute(s->subset_key, (uint64_t)s->samples, place);
}

static void choose(prn__loader *loader, source *s, uint64_t position, int64_t *shard, int64_t *index)
{
    const prn__loader_config *config = &loader->config;
    if (s->bounded <= 0) {
        prn__sampler_at(s->sampler, position, shard, index);
        return;
    }
    uint64_t epoch = position / (uint64_t)s->bounded, place = position % (uint64_t)s->bounded;
    if (config->with_replacement) {
        place = prn__rng_below(config->seed, PRN__RNG_SAMPLES, position, UINT64_MAX, (uint64_t)s->bounded);
    } else if (config->shuffle) {
        place = prn__permute(prn__rng_u64(config->seed, PRN__RNG_SAMPLES, epoch, 0), (uint64_t)s->bounded, place);
    }
    locate(s, (int64_t)place_in_subset(s, place), shard, index);
}

/* How many of the first `rows` rows of a run each source gives: the first source its share, rounded, the second its share of what that
 * leaves, and so on. Each count only grows with `rows`, so that any row's source is known without the rows before it, and shares are
 * exact over a run and not only on average. */
static uint64_t rows_given(const source *s, uint64_t *rows)
{
    uint64_t given = (uint64_t)(((wide)*rows * s->share + ((wide)1 << 31)) >> 32);
    *rows -= given;
    return given;
}

static void pick_row(prn__loader *loader, int64_t step, int64_t row, pick *p)
{
    uint64_t before = (uint64_t)step * (uint64_t)loader->config.batch, after = before + (uint64_t)loader->config.batch;
    for (size_t i = 0; i < loader->source_count; i++) {
        source *s = &loader->sources[i];
        uint64_t first = rows_given(s, &before), end = rows_given(s, &after);
        if ((uint64_t)row < end - first) {
            p->source = (int64_t)i;
            p->position = first + (uint64_t)row;
            choose(loader, s, p->position, &p->shard, &p->index);
            return;
        }
        row -= (int64_t)(end - first);
    }
}

/* ---- one row ---- */

static int note_loss(prn__loader *loader, slot *b, const source *s, int64_t shard, prn__loss_reason reason)
{
    int kept = 1;
    (void)pthread_mutex_lock(&loader->mutex);
    if (b->loss_count == b->loss_capacity) {
        size_t wanted = b->loss_capacity == 0 ? 64 : b->loss_capacity * 2;
        loss *grown = prn__realloc(b->losses, wanted * sizeof *grown);
        kept = grown != NULL;
        if (kept) {
            b->losses = grown;
            b->loss_capacity = wanted;
        }
    }
    if (kept) {
        b->losses[b->loss_count++] = (loss){s->dataset, shard, reason};
    }
    (void)pthread_mutex_unlock(&loader->mutex);
    return kept;
}

static prn_status transform(prn__loader *loader, worker *w, uint64_t sample, uint64_t draw, uint8_t *target, prn_error *error)
{
    const prn__loader_config *config = &loader->config;
    if (config->augment) {
        return prn__image_train_transform(&w->image, config->image_side, config->scale_low, config->scale_high, config->seed, sample, draw, w->scratch,
                                          target, error);
    }
    return prn__image_eval_transform(&w->image, config->image_side, w->scratch, target, error);
}

/* Reads one sample into its row. A bad sample gives PRN_CORRUPT and the reason. */
static prn_status load_sample(prn__loader *loader, worker *w, slot *b, int64_t row, const pick *p, prn__loss_reason *reason, prn_error *error)
{
    const prn__loader_config *config = &loader->config;
    const source *s = &loader->sources[p->source];
    prn__sample sample;
    prn__sample_hold hold;
    uint8_t *pixels = b->batch.images + row * config->image_side * config->image_side * 3;
    uint64_t global = (uint64_t)(s->starts[p->shard] + p->index);
    prn_status status = prn__dataset_sample(s->dataset, p->shard, p->index, &sample, &hold, error);
    if (status == PRN_CORRUPT || status == PRN_UNSUPPORTED) {
        *reason = status == PRN_CORRUPT ? PRN__LOSS_BAD_METADATA : PRN__LOSS_IMAGE_DIMENSIONS;
        return PRN_CORRUPT;
    }
    if (status != PRN_OK) {
        return status;
    }
    if (sample.caption == NULL && (!config->single_pass || config->needs_captions)) {
        *reason = PRN__LOSS_NO_CAPTION;
        status = prn_error_set(error, PRN_CORRUPT, "sample '%.*s' has no caption", (int)sample.key_length, sample.key);
    } else {
        status = prn__image_decode(sample.image, sample.image_bytes, &w->image, error);
        if (status != PRN_OK && status != PRN_NO_MEMORY) {
            *reason = status == PRN_INVALID ? PRN__LOSS_IMAGE_DIMENSIONS : PRN__LOSS_IMAGE_DECODE;
            status = prn_error_context(error, PRN_CORRUPT, "sample '%.*s'", (int)sample.key_length, sample.key);
        }
    }
    if (status == PRN_OK) {
        status = transform(loader, w, global, p->position, pixels, error);
    }
    if (status == PRN_OK) {
        b->row_counts[row] = (int32_t)prn__tokenizer_encode(config->tokenizer, sample.caption != NULL ? sample.caption : "",
                                                            sample.caption != NULL ? sample.caption_bytes : 0, config->context_length,
                                                            b->row_tokens + row * config->context_length);
        if (b->row_counts[row] == 0) {
            status = prn_error_set(error, PRN_NO_MEMORY, "sample '%.*s': out of memory for its caption", (int)sample.key_length, sample.key);
        }
        b->batch.classes[row] = sample.class_index;
        b->batch.samples[row] = global;
    }
    prn__sample_release(s->dataset, &hold);
    return status;
}

/* A row is full when this returns PRN_OK: a bad sample is replaced by others, chosen from the position and the attempt alone. */
static prn_status fill_row(prn__loader *loader, worker *w, slot *b, int64_t row, pick p, prn_error *error)
{
    const prn__loader_config *config = &loader->config;
    source *s = &loader->sources[p.source];
    for (uint64_t attempt = 1;; attempt++) {
        prn__loss_reason reason = PRN__LOSS_IMAGE_DECODE;
        prn_status status = load_sample(loader, w, b, row, &p, &reason, error);
        if (status != PRN_CORRUPT) {
            return status;
        }
        if (config->bad_policy == PRN__BAD_FAIL) {
            return prn_error_context(error, PRN_CORRUPT, "%s: %s", prn__dataset_shard_path(s->dataset, p.shard), prn__loss_reason_name(reason));
        }
        if (!note_loss(loader, b, s, p.shard, reason)) {
            return prn_error_set(error, PRN_NO_MEMORY, "out of memory while counting bad samples");
        }
        if (config->single_pass) {
            b->row_counts[row] = 0;
            return PRN_OK;
        }
        if (attempt > MAX_ATTEMPTS) {
            return prn_error_context(error, PRN_CORRUPT, "%s: %d samples in a row are bad; look at the data with 'perennial data verify'; the last one",
                                     prn__dataset_shard_path(s->dataset, p.shard), MAX_ATTEMPTS);
        }
        uint64_t all = (uint64_t)(s->bounded > 0 ? s->bounded : s->samples);
        uint64_t place = prn__rng_below(config->seed, PRN__RNG_SUBSTITUTE, p.position * MAX_SOURCES + (uint64_t)p.source, attempt, all);
        locate(s, (int64_t)(s->bounded > 0 ? place_in_subset(s, place) : place), &p.shard, &p.index);
    }
}

/* Rows left out are closed up; tokens are packed back to back. */
static void pack(const prn__loader *loader, slot *b)
{
    const int64_t row_bytes = loader->config.image_side * loader->config.image_side * 3, context = loader->config.context_length;
    prn__batch *batch = &b->batch;
    int64_t count = 0, tokens = 0;
    for (int64_t row = 0; row < b->rows; row++) {
        if (b->row_counts[row] == 0) {
            continue;
        }
        if (count != row) {
            memcpy(batch->images + count * row_bytes, batch->images + row * row_bytes, (size_t)row_bytes);
            batch->classes[count] = batch->classes[row];
            batch->samples[count] = batch->samples[row];
        }
        batch->offsets[count++] = tokens;
        memcpy(batch->tokens + tokens, b->row_tokens + row * context, (size_t)b->row_counts[row] * sizeof(int32_t));
        tokens += b->row_counts[row];
    }
    batch->offsets[count] = tokens;
    batch->count = count;
    batch->token_count = tokens;
}

/* ---- threads ---- */

static int64_t single_pass_samples(const prn__loader *loader)
{
    const source *s = &loader->sources[0];
    return s->bounded > 0 ? s->bounded : s->samples;
}

static int64_t rows_of_step(const prn__loader *loader, int64_t step)
{
    if (!loader->config.single_pass) {
        return loader->config.batch;
    }
    int64_t left = single_pass_samples(loader) - step * loader->config.batch;
    return left < loader->config.batch ? left : loader->config.batch;
}

/* The batch whose rows are to be filled next, or NULL when nothing can be done now. Under mutex. */
static slot *next_work(prn__loader *loader)
{
    for (;;) {
        slot *b = &loader->slots[loader->issue_step % loader->slot_count];
        if (b->state == SLOT_FREE) {
            if (loader->last_step >= 0 && loader->issue_step >= loader->last_step) {
                return NULL;
            }
            b->state = SLOT_FILLING;
            b->step = loader->issue_step;
            b->rows = rows_of_step(loader, b->step);
            b->taken = b->done = 0;
            b->loss_count = 0;
            b->failed_row = -1;
        }
        if (b->step != loader->issue_step) {
            return NULL; /* the ring is full */
        }
        if (b->taken < b->rows) {
            return b;
        }
        loader->issue_step++;
    }
}

/* A worker that wakes must not push aside the thread that computes, which is the one that has just woken it: it takes a core when one is free,
 * or its fair turn. Where the system has no such wish the worker runs as any thread does. */
static void yield_to_computing(void)
{
#ifdef SCHED_BATCH
    const struct sched_param parameters = {0};
    (void)pthread_setschedparam(pthread_self(), SCHED_BATCH, &parameters);
#endif
}

static void *worker_main(void *argument)
{
    worker *w = argument;
    prn__loader *loader = w->loader;
    pick picks[ROWS_AT_ONCE];
    yield_to_computing();
    (void)pthread_mutex_lock(&loader->mutex);
    while (!loader->is_stopping) {
        slot *b = next_work(loader);
        if (b == NULL) {
            (void)pthread_cond_wait(&loader->work, &loader->mutex);
            continue;
        }
        int64_t first = b->taken, count = b->rows - first < ROWS_AT_ONCE ? b->rows - first : ROWS_AT_ONCE;
        b->taken += count;
        for (int64_t i = 0; i < count; i++) {
            pick_row(loader, b->step, first + i, &picks[i]);
        }
        (void)pthread_mutex_unlock(&loader->mutex);

        prn_error error = PRN_ERROR_INIT;
        prn_status status = PRN_OK;
        int64_t at = 0;
        while (at < count && (status = fill_row(loader, w, b, first + at, picks[at], &error)) == PRN_OK) {
            at++;
        }

        (void)pthread_mutex_lock(&loader->mutex);
        if (status != PRN_OK && (b->failed_row < 0 || first + at < b->failed_row)) {
            b->failed_row = first + at;
            b->failure = error;
            b->failure.status = (int32_t)status;
        }
        b->done += count;
        if (b->done < b->rows) {
            continue;
        }
        if (b->failed_row < 0) {
            pack(loader, b);
        }
        b->state = SLOT_READY;
        (void)pthread_cond_broadcast(&loader->ready);
    }
    (void)pthread_mutex_unlock(&loader->mutex);
    return NULL;
}

/* ---- life ---- */

static prn_status open_source(prn__loader *loader, size_t i, prn_error *error)
{
    const prn__loader_source *from = &loader->config.sources[i];
    source *s = &loader->sources[i];
    int64_t shards = prn__dataset_shards(from->dataset);
    const int64_t *samples = prn__dataset_shard_samples(from->dataset);
    s->dataset = from->dataset;
    s->samples = prn__dataset_samples(from->dataset);
    s->subset_key = prn__rng_u64(from->subset_seed, PRN__RNG_SUBSET, 0, 0);
    if (s->samples < 1) {
        return prn_error_set(error, PRN_INVALID, "none of the %lld shards from %s on has a usable sample; look at them with 'perennial data verify'",
                             (long long)shards, prn__dataset_shard_path(s->dataset, 0));
    }
    s->starts = prn__alloc_array((size_t)shards + 1, sizeof *s->starts);
    if (s->starts == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory for the loader");
    }
    for (int64_t k = 0; k < shards; k++) {
        s->starts[k + 1] = s->starts[k] + samples[k];
    }
    if (loader->config.bad_policy == PRN__BAD_FAIL) {
        for (int r = 0; r < PRN__LOSS_COUNT; r++) {
            if (prn__dataset_losses(s->dataset, -1, (prn__loss_reason)r) > 0) {
                return prn_error_set(error, PRN_CORRUPT, "the data has damage (%s) and 'on_bad_sample' is fail; 'perennial data verify' says where",
                                     prn__loss_reason_name((prn__loss_reason)r));
            }
        }
    }
    if (from->max_samples > 0 && from->max_samples < s->samples) {
        s->bounded = from->max_samples;
        return PRN_OK;
    }
    prn__sampler_config config = {
        .shard_samples = samples,
        .shard_count = shards,
        .seed = loader->config.seed,
        .window = loader->config.window,
        .shuffle = loader->config.shuffle,
        .with_replacement = loader->config.with_replacement,
    };
    return prn__sampler_create(&config, &s->sampler, error);
}

/* Each source's share of what the sources before it leave, in 1/2^32: whole numbers, so that counts never depend on rounding. */
static prn_status apportion(prn__loader *loader, prn_error *error)
{
    double left = 0;
    for (size_t i = 0; i < loader->source_count; i++) {
        double weight = loader->source_count == 1 ? 1 : loader->config.sources[i].weight;
        if (!(weight >= 0 && weight < 1e300)) {
            return prn_error_set(error, PRN_INVALID, "the weight of a data source is %g; weights are 0 or more", weight);
        }
        left += weight;
    }
    if (!(left > 0)) {
        return prn_error_set(error, PRN_INVALID, "several data sources need weights that add up to more than 0");
    }
    size_t last = 0;
    for (size_t i = 0; i < loader->source_count; i++) {
        double weight = loader->source_count == 1 ? 1 : loader->config.sources[i].weight;
        double share = weight > 0 && left > 0 ? weight / left : 0;
        loader->sources[i].share = (uint64_t)((share < 1 ? share : 1) * 4294967296.0 + 0.5);
        last = weight > 0 ? i : last;
        left -= weight;
    }
    loader->sources[last].share = (uint64_t)1 << 32; /* whatever the subtractions left over */
    return PRN_OK;
}

static prn_status open_slots(prn__loader *loader, prn_error *error)
{
    const prn__loader_config *config = &loader->config;
    size_t batch = (size_t)config->batch, context = (size_t)config->context_length;
    loader->slots = prn__alloc_array(loader->slot_count, sizeof *loader->slots);
    for (uint32_t i = 0; loader->slots != NULL && i < loader->slot_count; i++) {
        slot *b = &loader->slots[i];
        b->batch.images = prn__alloc_array(batch, (size_t)(config->image_side * config->image_side * 3));
        b->batch.tokens = prn__alloc_array(batch * context, sizeof(int32_t));
        b->batch.offsets = prn__alloc_array(batch + 1, sizeof(int64_t));
        b->batch.classes = prn__alloc_array(batch, sizeof(int32_t));
        b->batch.samples = prn__alloc_array(batch, sizeof(uint64_t));
        b->row_tokens = prn__alloc_array(batch * context, sizeof(int32_t));
        b->row_counts = prn__alloc_array(batch, sizeof(int32_t));
        if (b->batch.images == NULL || b->batch.tokens == NULL || b->batch.offsets == NULL || b->batch.classes == NULL || b->batch.samples == NULL ||
            b->row_tokens == NULL || b->row_counts == NULL) {
            return prn_error_set(error, PRN_NO_MEMORY, "out of memory for batches of %lld samples; ask for a smaller batch", (long long)config->batch);
        }
    }
    return loader->slots != NULL ? PRN_OK : prn_error_set(error, PRN_NO_MEMORY, "out of memory for the loader");
}

static prn_status start_workers(prn__loader *loader, uint32_t threads, prn_error *error)
{
    loader->workers = prn__alloc_array(threads, sizeof *loader->workers);
    if (loader->workers == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory for the loader");
    }
    for (uint32_t i = 0; i < threads; i++) {
        worker *w = &loader->workers[i];
        w->loader = loader;
        w->scratch = prn__scratch_create();
        if (w->scratch == NULL) {
            return prn_error_set(error, PRN_NO_MEMORY, "out of memory for the loader");
        }
        int failure = pthread_create(&w->thread, NULL, worker_main, w);
        if (failure != 0) {
            prn__scratch_destroy(w->scratch);
            w->scratch = NULL;
            return prn_error_set(error, PRN_NO_MEMORY, "cannot start a loader thread: %s", strerror(failure));
        }
        loader->worker_count++;
    }
    return PRN_OK;
}

prn_status prn__loader_create(const prn__loader_config *config, prn__loader **result, prn_error *error)
{
    *result = NULL;
    if (config->first_step < 0 || config->first_step > INT64_MAX / 2 || config->step_count > INT64_MAX / 2 || config->ahead > 1024 ||
        config->threads > 4096 ||
        (config->augment && !(config->scale_low > 0 && config->scale_low <= config->scale_high && config->scale_high <= 1))) {
        return prn_error_set(error, PRN_INVALID, "a loader needs a first step of at least 0, at most 1024 batches ahead and 4096 threads, and a crop scale"
                             " in (0, 1]");
    }
    if (config->source_count < 1 || config->source_count >= MAX_SOURCES || config->batch < 1 || config->batch > 1 << 24 || config->image_side < 1 ||
        config->image_side > 8192 || config->context_length < 2 || config->context_length > 1 << 20 || (config->single_pass && config->source_count != 1)) {
        return prn_error_set(error, PRN_INVALID, "a loader needs sources, a batch of 1 to %d, images of 1 to 8192 pixels and a context of at least 2", 1 << 24);
    }
    prn__loader *loader = prn__alloc(sizeof *loader);
    if (loader == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory for the loader");
    }
    uint32_t cores = prn__cpu_count(), threads = config->threads != 0 ? config->threads : cores <= 2 ? 1 : cores / 2 < 16 ? cores / 2 : 16;
    loader->config = *config;
    if (config->single_pass) {
        loader->config.shuffle = loader->config.with_replacement = 0;
    }
    loader->source_count = config->source_count;
    loader->slot_count = config->ahead != 0 ? config->ahead + 1 : DEFAULT_SLOTS;
    int64_t batch_bytes = config->batch * (config->image_side * config->image_side * 3 + config->context_length * 8);
    while (config->ahead == 0 && loader->slot_count > 2 && batch_bytes > MAX_AHEAD_BYTES / loader->slot_count) {
        loader->slot_count--;
    }
    loader->issue_step = loader->consume_step = config->first_step;
    loader->last_step = config->step_count >= 0 ? config->first_step + config->step_count : -1;
    loader->held_step = -1;
    (void)pthread_mutex_init(&loader->mutex, NULL);
    (void)pthread_cond_init(&loader->work, NULL);
    (void)pthread_cond_init(&loader->ready, NULL);
    prn_status status = PRN_OK;
    loader->sources = prn__alloc_array(config->source_count, sizeof *loader->sources);
    if (loader->sources == NULL) {
        status = prn_error_set(error, PRN_NO_MEMORY, "out of memory for the loader");
    }
    for (size_t i = 0; i < config->source_count && status == PRN_OK; i++) {
        status = open_source(loader, i, error);
    }
    if (status == PRN_OK) {
        status = apportion(loader, error);
    }
    if (status == PRN_OK && config->single_pass) {
        int64_t all = (single_pass_samples(loader) + config->batch - 1) / config->batch;
        loader->last_step = loader->last_step >= 0 && loader->last_step < all ? loader->last_step : all;
    }
    if (status == PRN_OK) {
        status = open_slots(loader, error);
    }
    if (status == PRN_OK) {
        status = start_workers(loader, threads, error);
    }
    if (status != PRN_OK) {
        prn__loader_destroy(loader);
        return status;
    }
    *result = loader;
    return PRN_OK;
}

void prn__loader_destroy(prn__loader *loader)
{
    if (loader == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&loader->mutex);
    loader->is_stopping = 1;
    (void)pthread_cond_broadcast(&loader->work);
    (void)pthread_mutex_unlock(&loader->mutex);
    for (uint32_t i = 0; i < loader->worker_count; i++) {
        (void)pthread_join(loader->workers[i].thread, NULL);
        prn__scratch_destroy(loader->workers[i].scratch);
        prn__image_fini(&loader->workers[i].image);
    }
    for (uint32_t i = 0; loader->slots != NULL && i < loader->slot_count; i++) {
        slot *b = &loader->slots[i];
        prn__free(b->batch.images);
        prn__free(b->batch.tokens);
        prn__free(b->batch.offsets);
        prn__free(b->batch.classes);
        prn__free(b->batch.samples);
        prn__free(b->row_tokens);
        prn__free(b->row_counts);
        prn__free(b->losses);
    }
    for (size_t i = 0; loader->sources != NULL && i < loader->source_count; i++) {
        prn__sampler_destroy(loader->sources[i].sampler);
        prn__free(loader->sources[i].starts);
    }
    (void)pthread_cond_destroy(&loader->work);
    (void)pthread_cond_destroy(&loader->ready);
    (void)pthread_mutex_destroy(&loader->mutex);
    prn__free(loader->workers);
    prn__free(loader->slots);
    prn__free(loader->sources);
    prn__free(loader);
}

static void give_back(prn__loader *loader)
{
    if (loader->held_step >= 0) {
        loader->slots[loader->held_step % loader->slot_count].state = SLOT_FREE;
        loader->held_step = -1;
        (void)pthread_cond_broadcast(&loader->work);
    }
}

/* Losses reach the data set once, with the batch that met them. */
static void hand_over_losses(slot *b)
{
    for (size_t i = 0; i < b->loss_count; i++) {
        prn__dataset_count_loss(b->losses[i].dataset, b->losses[i].shard, b->losses[i].reason, 1);
    }
    b->loss_count = 0;
}

prn_status prn__loader_next(prn__loader *loader, const prn__batch **batch, double *wait_s, prn_error *error)
{
    prn_status status = PRN_OK;
    double start = prn__now_s();
    *batch = NULL;
    (void)pthread_mutex_lock(&loader->mutex);
    while (*batch == NULL && status == PRN_OK) {
        give_back(loader);
        if (loader->last_step >= 0 && loader->consume_step >= loader->last_step) {
            status = PRN_END;
            break;
        }
        slot *b = &loader->slots[loader->consume_step % loader->slot_count];
        while (b->state != SLOT_READY || b->step != loader->consume_step) {
            (void)pthread_cond_wait(&loader->ready, &loader->mutex);
        }
        hand_over_losses(b);
        if (b->failed_row >= 0) { /* and again, when asked again */
            status = prn_error_set(error, (prn_status)b->failure.status, "%s", b->failure.message);
            break;
        }
        loader->held_step = loader->consume_step++;
        *batch = b->batch.count > 0 ? &b->batch : NULL; /* a single pass leaves bad samples out, if need be all of a batch */
    }
    (void)pthread_mutex_unlock(&loader->mutex);
    if (wait_s != NULL) {
        *wait_s = prn__now_s() - start;
    }
    return status;
}

const prn__batch *prn__loader_peek(prn__loader *loader)
{
    const prn__batch *batch = NULL;
    (void)pthread_mutex_lock(&loader->mutex);
    const slot *b = &loader->slots[loader->consume_step % loader->slot_count];
    if ((loader->last_step < 0 || loader->consume_step < loader->last_step) &&
        b->state == SLOT_READY && b->step == loader->consume_step && b->failed_row < 0 && b->batch.count > 0) {
        batch = &b->batch;
    }
    (void)pthread_mutex_unlock(&loader->mutex);
    return batch;
}
