/* core/eval/topk.h: what this room shares: a top-k that takes a tile of a similarity matrix from either side, and the
 * tiles themselves, computed on the device. */
#ifndef PRN_EVAL_TOPK_H
#define PRN_EVAL_TOPK_H

#include "eval/eval.h"

/* scores of queries [first_query, first_query + query_count) against candidates [first, first + count); the score of query q and
 * candidate c lies at scores[q * query_stride + c * candidate_stride]. Ties go to the lower candidate, whatever the order of pushes. */
void prn__topk_push_tile(prn__topk *topk, int64_t first_query, int64_t query_count, const float *scores, int64_t query_stride, int64_t first,
                         int64_t count, int64_t candidate_stride);

/* Calls `visit` with every tile of the similarity matrix a b^T, a (n,E) and b (m,E) fp32: rows [row, row+rows), columns
 * [column, column+columns), scores row-major with `columns` a row. Memory is one tile, whatever n and m. */
typedef void (*prn__tile_visit)(void *context, const float *scores, int64_t row, int64_t rows, int64_t column, int64_t columns);
prn_status prn__similarity_tiles(const prn__device *device, const float *a, int64_t n, const float *b, int64_t m, int64_t embed_dim,
                                 prn__tile_visit visit, void *context, prn_error *error);

#endif
