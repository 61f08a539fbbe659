/* core/data/sampler.h: which sample comes at which position: a pure function of (seed, position).
 *
 * Without replacement: every sample exactly once an epoch. An epoch's order is a keyed permutation of the shards, cut into
 * windows of `window` shards, and a keyed permutation of the samples inside each window; each epoch has its own keys.
 * Memory is two numbers a shard of one window and one number a window, whatever the number of samples and positions drawn; nothing at
 * all when every shard has the same number of samples.
 */
#ifndef PRN_DATA_SAMPLER_H
#define PRN_DATA_SAMPLER_H

#include <perennial/status.h>

typedef struct prn__sampler_config {
    const int64_t *shard_samples; /* (shard_count), borrowed while the sampler lives; NULL: every shard has uniform_samples */
    int64_t shard_count;
    int64_t uniform_samples;
    uint64_t seed;
    int64_t window;               /* shards mixed together; 0: chosen */
    int shuffle;                  /* 0: in order, epoch after epoch */
    int with_replacement;
} prn__sampler_config;

typedef struct prn__sampler prn__sampler;

prn_status prn__sampler_create(const prn__sampler_config *config, prn__sampler **sampler, prn_error *error);
void prn__sampler_destroy(prn__sampler *sampler);
int64_t prn__sampler_samples(const prn__sampler *sampler); /* in one epoch */
/* Shard and index inside it of `position` (0, 1, 2, ... over all epochs). [any], but one thread at a time. */
void prn__sampler_at(prn__sampler *sampler, uint64_t position, int64_t *shard, int64_t *index);

#endif
