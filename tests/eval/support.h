/* tests/eval/support.h: what tests of evaluation share. */
#ifndef PRN_TESTS_EVAL_SUPPORT_H
#define PRN_TESTS_EVAL_SUPPORT_H

#include "model/test_support.h"

#include "base/pool.h"
#include "eval/eval.h"
#include "eval/topk.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static inline float *random_embeddings(int64_t n, int64_t e, uint64_t seed)
{
    float *x = prn__alloc_array((size_t)(n * e), sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) {
        double length = 0;
        for (int64_t j = 0; j < e; j++) {
            x[i * e + j] = (float)(2 * prn__rng_uniform(seed, PRN__RNG_SUBSET, (uint64_t)i, (uint64_t)j) - 1);
            length += (double)x[i * e + j] * (double)x[i * e + j];
        }
        for (int64_t j = 0; j < e; j++) {
            x[i * e + j] /= (float)sqrt(length);
        }
    }
    return x;
}

static inline double score_of(const prn__scores *scores, const char *name)
{
    for (size_t i = 0; i < scores->count; i++) {
        if (strcmp(scores->score[i].name, name) == 0) {
            return scores->score[i].value;
        }
    }
    fail_msg("there is no score '%s'", name);
    return 0;
}

static inline double dot(const float *a, const float *b, int64_t e)
{
    double sum = 0;
    for (int64_t i = 0; i < e; i++) {
        sum += (double)a[i] * (double)b[i];
    }
    return sum;
}

#endif
