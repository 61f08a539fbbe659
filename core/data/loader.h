/* core/data/loader.h: batches, prepared by worker threads ahead of whoever consumes them.
 *
 * Invariants: the batch of step s is a pure function of (datasets, seed, s): thread count and timing never show. A bad
 * sample is counted and replaced by another one chosen from (seed, position, attempt), so that a batch is always full; with the
 * `fail` policy it is an error naming shard, key and reason.
 */
#ifndef PRN_DATA_LOADER_H
#define PRN_DATA_LOADER_H

#include "data/batch.h"
#include "data/dataset.h"
#include "data/sampler.h"
#include "data/tokenizer.h"

typedef struct prn__loader_source {
    prn__dataset *dataset;
    double weight;       /* 0 with a single source */
    int64_t max_samples; /* 0: all */
    uint64_t subset_seed; /* which max_samples: with one seed, fewer of them are a part of more, whatever the loader's own seed */
} prn__loader_source;

typedef struct prn__loader_config {
    const prn__loader_source *sources; /* one joined dataset, or several with weights */
    size_t source_count;
    const prn__tokenizer *tokenizer;
    int64_t context_length;
    int64_t image_side;    /* S */
    int64_t batch;
    uint64_t seed;
    int shuffle;           /* 0: dataset order */
    int with_replacement;
    int64_t window;        /* shards; 0: chosen */
    int augment;           /* 1: training transform; 0: evaluation transform */
    double scale_low, scale_high;
    prn__bad_policy bad_policy;
    uint32_t threads;      /* 0: chosen */
    uint32_t ahead;        /* batches prepared ahead; 0: chosen */
    int64_t first_step;    /* the first batch is this step's: resume */
    int64_t step_count;    /* after that many, PRN_END; -1: endless */
    int single_pass;       /* 1: evaluation: every sample once in order, the last batch may be smaller; bad ones are left out */
    int needs_captions;    /* 1: a sample without a caption is a bad one in a single pass, too; without, its text is empty */
} prn__loader_config;

typedef struct prn__loader prn__loader;

prn_status prn__loader_create(const prn__loader_config *config, prn__loader **loader, prn_error *error);
void prn__loader_destroy(prn__loader *loader); /* stops the threads */
/* The next step's batch, borrowed until the next call. PRN_END after the last. `wait_s` (may be NULL): how long this call waited. */
prn_status prn__loader_next(prn__loader *loader, const prn__batch **batch, double *wait_s, prn_error *error);
/* What the next call of prn__loader_next will give, when it is ready by now, else NULL; it stays as it is until then. Never waits. */
const prn__batch *prn__loader_peek(prn__loader *loader);

#endif
