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
    prn__topk *topk = prn__alloc(sizeof *topk);
    if (topk != NULL) {
        topk->queries = queries;
        topk->k = k;
        topk->scores = prn__alloc_array((size_t)queries * (size_t)k + 1, sizeof *topk->scores);
        topk->indices = prn__alloc_array((size_t)queries * (size_t)k + 1, sizeof *topk->indices);
    }
    if (topk == NULL || topk->scores == NULL || topk->indices == NULL) {
        prn__topk_destroy(topk);
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory for the top %d of %lld queries", (int)k, (long long)queries);
    }
    for (int64_t i = 0; i < queries * k; i++) {
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

void prn__topk_push_tile(prn__topk *topk, int64_t first_query, int64_t query_count, const float *scores, int64_t query_stride, int64_t first,
                         int64_t count, int64_t candidate_stride)
{
    const int32_t k = topk->k;
    for (int64_t q = 0; q < query_count; q++) {
        float *best = topk->scores + (first_query + q) * k;
        int64_t *indices = topk->indices + (first_query + q) * k;
        for (int64_t c = 0; c < count; c++) {
            float score = scores[q * query_stride + c * candidate_stride];
            if (!is_better(score, first + c, best[k - 1], indices[k - 1])) {
                continue; /* a NaN is never better */
            }
            int32_t at = k - 1;
            for (; at > 0 && is_better(score, first + c, best[at - 1], indices[at - 1]); at--) {
                best[at] = best[at - 1];
                indices[at] = indices[at - 1];
            }
            best[at] = score;
            indices[at] = first + c;
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
