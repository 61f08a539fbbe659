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
/* Of at most PRN__BENCH_REPEATS + 1. */
void prn__rate_of(const double *rates, int count, prn__rate *rate);
void prn__bench_note(const prn__bench_options *options, const char *what, int64_t done, int64_t all);

/* Peaks of the backend's own matrix product, 2e-9 * multiply-accumulates a second. Zero it first. */
typedef struct prn__peaks {
    double gflops[PRN__BENCH_REPEATS + 1]; /* of products of 1024 x 1024 x 1024 */
    int count;
    int is_fast; /* larger ones will have to tell */
} prn__peaks;

/* One more, now: before the first repeat, and after each. Takes 12 MiB while it lasts. */
prn_status prn__peaks_add(prn__peaks *peaks, const prn__device *device, prn_error *error);
/* `gflops`: their median; of a fast device, the best product of sides up to 8192, which take 768 MiB. */
prn_status prn__peaks_finish(prn__peaks *peaks, const prn__device *device, double *gflops, prn_error *error);

#endif
