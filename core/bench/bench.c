/* core/bench/bench.c: what all measurements share: made-up batches, medians, and the peak of the matrix product. */
#include "bench/bench_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/pool.h"
#include "base/rng.h"
#include "model/compiled.h"

enum { PEAK_RUNS = 12 };
static const double PEAK_ENOUGH_S = 2e-3; /* a product that takes less says more of starting it than of the machine: a larger one is measured */
static const double PEAK_PATIENCE_S = 3;

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void prn__rate_of(const double *rates, int count, prn__rate *rate)
{
    double sorted[64];
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

static prn_status peak_program(const prn__device *device, int64_t side, prn__compiled *product, prn_error *error)
{
    static const char *const names[3] = {"x", "w", "y"};
    prn__graph *g;
    int32_t tensors[3], inputs[PRN_OP_MAX_INPUTS], outputs[PRN_OP_MAX_OUTPUTS] = {PRN_NO_TENSOR, PRN_NO_TENSOR, PRN_NO_TENSOR};
    const prn_dim dims[2] = {prn__fixed(side), prn__fixed(side)};
    prn_status status = prn__graph_create("sgemm", &g, error);
    if (status != PRN_OK) {
        return status;
    }
    for (int i = 0; i < 3; i++) {
        tensors[i] = prn__graph_bound(g, names[i], prn__graph_slot(g, names[i], PRN_REAL), 0, 2, dims);
    }
    for (int i = 0; i < PRN_OP_MAX_INPUTS; i++) {
        inputs[i] = i < 2 ? tensors[i] : PRN_NO_TENSOR;
    }
    outputs[0] = tensors[2];
    (void)prn__graph_op(g, PRN_OP_LINEAR, inputs, outputs, 1, NULL, "product");
    return prn__compiled_init(product, g, device, error);
}

/* `seconds`: the best run's. */
static prn_status peak_of(const prn__device *device, int64_t side, double *seconds, prn_error *error)
{
    static const char *const names[4] = {"x", "w", "y", "workspace"};
    const int64_t n = side * side;
    const double start = prn__now_s();
    prn__compiled product;
    prn_buffer *buffers[4] = {NULL, NULL, NULL, NULL};
    float *values = prn__alloc_array((size_t)n, sizeof *values);
    prn_status status;
    memset(&product, 0, sizeof product);
    *seconds = 0;
    if (values == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory for a matrix product");
    }
    for (int64_t i = 0; i < n; i++) {
        values[i] = (float)(i % 17) / 16 - 0.5f;
    }
    status = peak_program(device, side, &product, error);
    for (int i = 0; i < 4 && status == PRN_OK; i++) {
        status = prn__buffer_create(device, PRN_REAL, i < 3 ? n : product.program->workspace_elements, "a matrix product", &buffers[i], NULL, error);
        if (status == PRN_OK) {
            prn__compiled_bind(&product, names[i], buffers[i], 0);
        }
    }
    for (int i = 0; i < 2 && status == PRN_OK; i++) {
        status = device->backend->buffer_write(device->instance, buffers[i], 0, PRN_HOST_F32, values, n, error);
    }
    for (int run = 0; run < PEAK_RUNS && status == PRN_OK && (run < 2 || prn__now_s() - start < PEAK_PATIENCE_S); run++) {
        const double begin = prn__now_s();
        status = prn__compiled_run(&product, "forward", error);
        if (status == PRN_OK) {
            status = device->backend->synchronise(device->instance, error);
        }
        const double took = prn__now_s() - begin;
        *seconds = run == 0 || took < *seconds ? took : *seconds;
    }
    prn__compiled_fini(&product);
    for (int i = 0; i < 4; i++) {
        prn__buffer_destroy(device, buffers[i]);
    }
    prn__free(values);
    return status;
}

prn_status prn__bench_peak(const prn__device *device, double *gflops, prn_error *error)
{
    static const int64_t sides[] = {1024, 4096, 8192};
    prn_status status = PRN_OK;
    double seconds = 0;
    *gflops = 0;
    for (size_t i = 0; i < sizeof sides / sizeof sides[0] && status == PRN_OK && seconds < PEAK_ENOUGH_S; i++) {
        status = peak_of(device, sides[i], &seconds, error);
        const double side = (double)sides[i], rate = seconds > 0 ? 2e-9 * side * side * side / seconds : 0;
        *gflops = rate > *gflops ? rate : *gflops;
    }
    return status;
}
