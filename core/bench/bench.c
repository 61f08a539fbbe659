/* core/bench/bench.c: what all measurements share: made-up batches and medians. */
#include "bench/bench_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void prn__rate_of(const double *rates, int count, prn__rate *rate)
{
    double sorted[PRN__BENCH_REPEATS + 1];
    memcpy(sorted, rates, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, by_value);
    rate->least = sorted[0];
    rate->most = sorted[count - 1];
    rate->median = count % 2 == 1 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

void prn__bench_note(const prn__bench_options *options, const char *what, int64_t done, int64_t all)
{
    if (options->progress != NULL) {
        options->progress(options->progress_context, what, done, all);
    }
}

prn_status prn__bench_batch_init(prn__batch *batch, const prn__model_config *config, const prn__bench_options *options, prn_error *error)
{
    const int64_t image = config->vision.image_size * config->vision.image_size * 3, count = options->batch;
    int64_t low = options->caption_low, high = options->caption_high;
    memset(batch, 0, sizeof *batch);
    high = high > config->text.context_length ? config->text.context_length : high;
    low = low > high ? high : low;
    if (low < 2) {
        return prn_error_set(error, PRN_INVALID, "a caption has at least 2 tokens, start and end");
    }
    batch->count = count;
    batch->images = prn__alloc_array((size_t)count, (size_t)image);
    batch->tokens = prn__alloc_array((size_t)(count * high), sizeof *batch->tokens);
    batch->offsets = prn__alloc_array((size_t)count + 1, sizeof *batch->offsets);
    if (batch->images == NULL || batch->tokens == NULL || batch->offsets == NULL) {
        prn__bench_batch_fini(batch);
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory for a batch of %lld samples", (long long)count);
    }
    for (int64_t i = 0; i < count * image; i += 8) {
        const uint64_t bits = prn__rng_u64(1, PRN__RNG_CROP, 1, (uint64_t)i);
        memcpy(batch->images + i, &bits, (size_t)(count * image - i < 8 ? count * image - i : 8));
    }
    for (int64_t b = 0; b < count; b++) {
        const int64_t length = low + (int64_t)prn__rng_below(1, PRN__RNG_CAPTION, (uint64_t)b, 0, (uint64_t)(high - low + 1));
        int32_t *row = batch->tokens + batch->offsets[b];
        batch->offsets[b + 1] = batch->offsets[b] + length;
        for (int64_t i = 0; i < length; i++) {
            row[i] = (int32_t)prn__rng_below(1, PRN__RNG_CAPTION, (uint64_t)b, (uint64_t)i + 1, (uint64_t)(config->text.vocab_size - 2));
        }
        row[0] = (int32_t)config->text.vocab_size - 2;
        row[length - 1] = (int32_t)config->text.vocab_size - 1;
    }
    batch->token_count = batch->offsets[count];
    return PRN_OK;
}

void prn__bench_batch_fini(prn__batch *batch)
{
    prn__free(batch->images);
    prn__free(batch->tokens);
    prn__free(batch->offsets);
    memset(batch, 0, sizeof *batch);
}

double prn__bench_pairs(const prn__batch *batch)
{
    double pairs = 0;
    for (int64_t b = 0; b < batch->count; b++) {
        const double length = (double)(batch->offsets[b + 1] - batch->offsets[b]);
        pairs += length * length;
    }
    return pairs;
}
