/* core/eval/topk.c: streamed top-k; see eval.h and topk.h. Each query keeps a short sorted list, so a push costs one comparison for almost
 * every score. */
#include "eval/topk.h"

#include <math.h>

#include "base/memory.h"

struct prn__topk {
    int64_t queries;
    int32_t k;
    float *scores;    /* (queries, k), best first */
    int64_t *indices; /* (queries, k), -1: none yet */
};

prn_status prn__topk_create(int64_t queries, int32_t k, prn__topk **result, prn_error *error)
{
    *result = NULL;
    if (queries < 0 || k < 1) {
        return prn_error_set(error, PRN_INVALID, "a top-k needs k of at least 1");
    }
    int64_t entries;
    const int is_huge = __builtin_mul_overflow(queries, (int64_t)k, &entries);
    prn__topk *topk = is_huge ? NULL : prn__alloc(sizeof *topk);
    if (topk != NULL) {
        topk->queries = queries;
        topk->k = k;
        topk->scores = prn__alloc_array((size_t)entries + 1, sizeof *topk->scores);
        topk->indices = prn__alloc_array((size_t)entries + 1, sizeof *topk->indices);
    }
    if (topk == NULL || topk->scores == NULL || topk->indices == NULL) {
        prn__topk_destroy(topk);
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory for the top %d of %lld queries", (int)k, (long long)queries);
    }
    for (int64_t i = 0; i < entries; i++) {
        topk->scores[i] = -INFINITY;
        topk->indices[i] = -1;
    }
    *result = topk;
    return PRN_OK;
}

void prn__topk_destroy(prn__topk *topk)
{
    if (topk != NULL) {
        prn__free(topk->scores);
        prn__free(topk->indices);
        prn__free(topk);
    }
}

static int is_better(float score, int64_t index, float than, int64_t than_index)
{
    return score > than || (score == than && (than_index < 0 || index < than_index));
}

/* Puts candidate `index` into a list whose last entry it beats. */
static void insert(float *best, int64_t *indices, int32_t k, float score, int64_t index)
{
    int32_t at = k - 1;
    for (; at > 0 && is_better(score, index, best[at - 1], indices[at - 1]); at--) {
        best[at] = best[at - 1];
        indices[at] = indices[at - 1];
    }
    best[at] = score;
    indices[at] = index;
}

void prn__topk_push_tile(prn__topk *topk, int64_t first_query, int64_t query_count, const float *scores, int64_t query_stride, int64_t first,
                         int64_t count, int64_t candidate_stride)
{
    const int32_t k = topk->k;
    float *const lists = topk->scores + first_query * k;
    int64_t *const list_indices = topk->indices + first_query * k;
    /* memory is walked as it lies, whichever side asks; the order of candidates never shows. A NaN is never better. */
    if (query_stride < candidate_stride) {
        for (int64_t c = 0; c < count; c++) {
            const float *row = scores + c * candidate_stride, *worst = lists + k - 1;
            for (int64_t q = 0; q < query_count; q++, row += query_stride, worst += k) {
                if (*row >= *worst && is_better(*row, first + c, *worst, list_indices[q * k + k - 1])) {
                    insert(lists + q * k, list_indices + q * k, k, *row, first + c);
                }
            }
        }
        return;
    }
    for (int64_t q = 0; q < query_count; q++) {
        float *best = lists + q * k;
        int64_t *indices = list_indices + q * k;
        const float *row = scores + q * query_stride;
        float worst = best[k - 1];
        for (int64_t c = 0; c < count; c++, row += candidate_stride) {
            if (*row >= worst && is_better(*row, first + c, worst, indices[k - 1])) {
                insert(best, indices, k, *row, first + c);
                worst = best[k - 1];
            }
        }
    }
}

void prn__topk_push(prn__topk *topk, const float *scores, int64_t first, int64_t count)
{
    prn__topk_push_tile(topk, 0, topk->queries, scores, count, first, count, 1);
}

const int64_t *prn__topk_indices(const prn__topk *topk)
{
    return topk->indices;
}
