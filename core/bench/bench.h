/* core/bench/bench.h: measures this program on this machine: training, embedding, the data path, operations.
 *
 * Invariants: every rate comes with the peak of the machine's matrix product, measured by the same process on the same threads; a
 * repeat is a whole measurement, and the median of repeats is what is told, with the least and the greatest beside it. Only
 * multiply-accumulates that the model needs are counted: padding that is not computed is not work.
 */
#ifndef PRN_BENCH_BENCH_H
#define PRN_BENCH_BENCH_H

#include "data/manifest.h"
#include "model/model.h"
#include "plugin/registry.h"

#define PRN__BENCH_OPS 64
#define PRN__BENCH_REPEATS 64 /* at most */

typedef struct prn__rate { /* of something, a second */
    double median, least, most;
} prn__rate;

typedef struct prn__bench_op {
    const char *name;
    uint64_t calls;
    double seconds, share; /* of all operations' time */
} prn__bench_op;

typedef struct prn__bench_options {
    int64_t batch, micro_batch; /* micro_batch 0: the whole batch */
    int64_t caption_low, caption_high; /* tokens of a caption, start and end included: drawn evenly from this range */
    int64_t steps;              /* a repeat; 0: as many as take about two seconds */
    int repeats;
    prn__checkpointing checkpointing;
    int bf16_moments;           /* 1: of AdamW */
    const prn_host *host;       /* to ask how much device memory is used; NULL: not asked */
    void (*progress)(void *context, const char *what, int64_t done, int64_t all); /* may be NULL */
    void *progress_context;
} prn__bench_options;

typedef struct prn__bench_result {
    prn__rate samples_per_s;    /* training: samples; embedding: images; data: samples */
    prn__rate texts_per_s;      /* embedding only */
    double gflops;              /* 2e-9 * multiply-accumulates needed, at the median */
    double sgemm_peak_gflops;   /* of the backend's own matrix product, in the same precision: see peak.c */
    double step_s;              /* one step, median */
    int64_t peak_bytes;         /* the trainer's or embedder's device memory */
    int64_t device_used_bytes;  /* of the device's memory after the steps, by whoever; 0: the device does not say */
    int64_t process_peak_bytes; /* largest resident memory of the process so far; training: up to the first repeat */
    double tokens;              /* mean length of the captions drawn */
    double image_bytes;         /* data: mean size of a compressed image */
    double cpu_ms;              /* data: processor time of a sample, of all threads, user and system */
    prn__bench_op ops[PRN__BENCH_OPS];
    size_t op_count;
} prn__bench_result;

/* Whole optimizer steps on made-up batches. */
prn_status prn__bench_train(const prn__model *model, const prn__device *device, const prn__bench_options *options, prn__bench_result *result,
                            prn_error *error);
/* Embeddings of made-up images and captions. */
prn_status prn__bench_embed(const prn__model *model, const prn__device *device, const prn__bench_options *options, prn__bench_result *result,
                            prn_error *error);
/* Batches of a stream's first time step as training draws them: read, decoded, cropped, tokenized; no model. `threads` 0: one. */
prn_status prn__bench_data(const prn__manifest *manifest, const char *vocabulary, int64_t merges, const prn__model_config *model, uint32_t threads,
                           const prn__bench_options *options, prn__bench_result *result, prn_error *error);

#endif
