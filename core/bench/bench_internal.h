/* core/bench/bench_internal.h: what the files of the room share. */
#ifndef PRN_BENCH_BENCH_INTERNAL_H
#define PRN_BENCH_BENCH_INTERNAL_H

#include "bench/bench.h"
#include "data/batch.h"

/* A made-up batch: random pixels, random tokens, captions of the options' lengths. */
prn_status prn__bench_batch_init(prn__batch *batch, const prn__model_config *config, const prn__bench_options *options, prn_error *error);
void prn__bench_batch_fini(prn__batch *batch);
/* Sum over captions of length squared: the pairs that attention looks at. */
double prn__bench_pairs(const prn__batch *batch);
void prn__rate_of(const double *rates, int count, prn__rate *rate);
void prn__bench_note(const prn__bench_options *options, const char *what, int64_t done, int64_t all);

#endif
