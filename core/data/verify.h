/* core/data/verify.h: looks at every byte of a data set: opens every shard, decodes every image, compares counts and checksums.
 *
 * Invariants: losses are counted as the loader counts them, so that what is found here is what a run would skip; the
 * outcome does not depend on the pool's threads.
 */
#ifndef PRN_DATA_VERIFY_H
#define PRN_DATA_VERIFY_H

#include "base/pool.h"
#include "data/dataset.h"

typedef enum prn__checksum_state { PRN__CHECKSUM_NOT_STATED = 0, PRN__CHECKSUM_EQUAL = 1, PRN__CHECKSUM_DIFFERS = 2 } prn__checksum_state;

typedef struct prn__verify_report {
    int64_t shards, samples, good; /* samples: that the shards' indexes hold; good: of those */
    int64_t losses[PRN__LOSS_COUNT]; /* of the index and of the samples */
    int64_t lost;                  /* their sum */
    prn__checksum_state checksum;
    char digest[33];               /* of the shards, "" when they could not all be read */
    prn_error problem;             /* the list as a whole: it cannot be opened, or holds other numbers than stated; PRN_OK for none */
} prn__verify_report;

typedef struct prn__verify_options {
    int needs_caption, needs_class;
    int64_t class_count; /* with needs_class: classes are 0 .. class_count-1 */
    prn__pool *pool;
    void (*progress)(void *context, int64_t done, int64_t all);
    /* A bad sample, in the data set's order; `message` says what is wrong with it. */
    void (*bad)(void *context, const char *shard, const char *key, prn__loss_reason reason, const char *message);
    /* A shard that lost samples, after all of its samples: by reason, index included. */
    void (*loss)(void *context, const char *shard, prn__loss_reason reason, int64_t count);
    void *context;
} prn__verify_options;

/* `list` of `manifest`, or (manifest NULL) the tar files that `patterns` name. Bad data is in the report; the status is for what kept
 * the check itself from being made (memory). */
prn_status prn__verify_shards(const prn__manifest *manifest, const prn__shard_list *list, const char *const *patterns, size_t pattern_count,
                              const prn__verify_options *options, prn__verify_report *report, prn_error *error);

#endif
