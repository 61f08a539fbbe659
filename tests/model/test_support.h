/* tests/model/test_support.h: what tests of the model and the trainer share: devices, golden fixtures, comparisons. */
#ifndef TESTS_MODEL_TEST_SUPPORT_H
#define TESTS_MODEL_TEST_SUPPORT_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/rng.h"
#include "data/batch.h"
#include "model/model.h"
#include "model/safetensors.h"
#include "plugin/registry.h"

#define OK(call)                                                                  \
    do {                                                                          \
        prn_error error_ = PRN_ERROR_INIT;                                        \
        prn_error *error = &error_;                                               \
        prn_status status_ = (call);                                              \
        if (status_ != PRN_OK) {                                                  \
            fail_msg("%s: %s: %s", #call, prn_status_name(status_), error->message); \
        }                                                                         \
    } while (0)

/* A device of its own, with a pool of `threads`. */
typedef struct test_device {
    prn__pool *pool;
    prn__registry *registry;
    prn__device device;
} test_device;

/* `precision` NULL: the backend's own. */
static inline void test_device_open_as(test_device *d, const char *backend, uint32_t threads, const char *precision)
{
    const prn__option_pair option = {"precision", precision};
    OK(prn__pool_create(threads, NULL, &d->pool, error));
    OK(prn__registry_create(d->pool, PRN_BUILD_DIR "/plugins", &d->registry, error));
    OK(prn__device_open(d->registry, backend, &option, precision != NULL, &d->device, error));
}

static inline void test_device_open(test_device *d, const char *backend, uint32_t threads)
{
    test_device_open_as(d, backend, threads, NULL);
}

static inline void test_device_close(test_device *d)
{
    prn__device_close(&d->device);
    prn__registry_destroy(d->registry);
    prn__pool_destroy(d->pool);
}

/* A batch of `count` samples; captions of random lengths in [2, context], the last token the highest id. */
static inline void test_batch_make(prn__batch *batch, const prn__model_config *config, int64_t count, uint64_t seed)
{
    const int64_t image = config->vision.image_size * config->vision.image_size * 3, context = config->text.context_length;
    memset(batch, 0, sizeof *batch);
    batch->count = count;
    batch->images = prn__alloc((size_t)(count * image));
    batch->tokens = prn__alloc_array((size_t)(count * context), sizeof *batch->tokens);
    batch->offsets = prn__alloc_array((size_t)count + 1, sizeof *batch->offsets);
    assert_non_null(batch->images);
    assert_non_null(batch->tokens);
    assert_non_null(batch->offsets);
    for (int64_t i = 0; i < count * image; i++) {
        batch->images[i] = (uint8_t)prn__rng_below(seed, PRN__RNG_CROP, 1, (uint64_t)i, 256);
    }
    for (int64_t b = 0; b < count; b++) {
        const int64_t length = 2 + (int64_t)prn__rng_below(seed, PRN__RNG_CROP, 2, (uint64_t)b, (uint64_t)(context - 1));
        int32_t *row = batch->tokens + batch->offsets[b];
        batch->offsets[b + 1] = batch->offsets[b] + length;
        for (int64_t i = 0; i < length; i++) {
            row[i] = (int32_t)prn__rng_below(seed, PRN__RNG_CROP, 3, (uint64_t)(b * context + i), (uint64_t)config->text.vocab_size - 2);
        }
        row[0] = (int32_t)config->text.vocab_size - 2;
        row[length - 1] = (int32_t)config->text.vocab_size - 1;
    }
    batch->token_count = batch->offsets[count];
}

static inline void test_batch_free(prn__batch *batch)
{
    prn__free(batch->images);
    prn__free(batch->tokens);
    prn__free(batch->offsets);
    memset(batch, 0, sizeof *batch);
}

/* Padded ids (B, T) to a packed batch: a caption ends at its highest id. Images are copied. */
static inline void test_batch_pack(prn__batch *batch, const uint8_t *images, size_t image_bytes, const int32_t *ids, int64_t count, int64_t context)
{
    memset(batch, 0, sizeof *batch);
    batch->count = count;
    batch->images = prn__alloc(image_bytes);
    batch->tokens = prn__alloc_array((size_t)(count * context), sizeof *batch->tokens);
    batch->offsets = prn__alloc_array((size_t)count + 1, sizeof *batch->offsets);
    memcpy(batch->images, images, image_bytes);
    for (int64_t b = 0; b < count; b++) {
        int64_t end = 0;
        for (int64_t i = 1; i < context; i++) {
            end = ids[b * context + i] > ids[b * context + end] ? i : end;
        }
        memcpy(batch->tokens + batch->offsets[b], ids + b * context, (size_t)(end + 1) * sizeof *ids);
        batch->offsets[b + 1] = batch->offsets[b] + end + 1;
    }
    batch->token_count = batch->offsets[count];
}

static inline const prn__st_tensor *test_tensor(const prn__safetensors *file, const char *name)
{
    const prn__st_tensor *tensor = prn__safetensors_find(file, name);
    if (tensor == NULL) {
        fail_msg("the fixture lacks '%s'", name);
    }
    return tensor;
}

/* As fp32; caller frees with prn__free. */
static inline float *test_read(const prn__safetensors *file, const char *name, int64_t *count)
{
    const prn__st_tensor *tensor = test_tensor(file, name);
    int64_t n = 1;
    for (uint32_t i = 0; i < tensor->rank; i++) {
        n *= tensor->shape[i];
    }
    float *values = prn__alloc_array((size_t)n, sizeof *values);
    assert_non_null(values);
    OK(prn__safetensors_read_f32(tensor, values, n, error));
    *count = n;
    return values;
}

static inline double test_max_difference(const float *a, const float *b, int64_t count)
{
    double worst = 0;
    for (int64_t i = 0; i < count; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        worst = d > worst || isnan(d) ? d : worst;
    }
    return worst;
}

/* |a - b| / |b| in the Euclidean norm. */
static inline double test_relative_f32(const float *a, const float *b, int64_t count)
{
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        norm += (double)b[i] * (double)b[i];
    }
    return sqrt(difference) / (sqrt(norm) > 1e-300 ? sqrt(norm) : 1e-300);
}

static inline double test_relative(const double *a, const double *b, int64_t count)
{
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        difference += (a[i] - b[i]) * (a[i] - b[i]);
        norm += b[i] * b[i];
    }
    return sqrt(difference) / (sqrt(norm) > 1e-300 ? sqrt(norm) : 1e-300);
}

/* Prints both sides when |got - want| is not within the bound. */
#define NEAR(got, want, bound)                                                                                          \
    do {                                                                                                                \
        double got_ = (got), want_ = (want), bound_ = (bound);                                                          \
        if (!(fabs(got_ - want_) <= bound_)) {                                                                          \
            fail_msg("%s is %.9g, wanted %.9g within %.3g", #got, got_, want_, bound_);                                 \
        }                                                                                                               \
    } while (0)

#define AT_MOST(got, bound)                                                                \
    do {                                                                                   \
        double got_ = (got), bound_ = (bound);                                             \
        if (!(got_ <= bound_)) {                                                           \
            fail_msg("%s is %.4g, wanted at most %.4g", #got, got_, bound_);               \
        }                                                                                  \
    } while (0)

#endif
