/* core/data/dataset.h: WebDataset shards as one indexed, random-access set of samples.
 *
 * Each tar has an index (offsets, sizes, keys), built once, stored beside it (or under `cache` when that folder is not
 * writable), checked against the tar's size and modification time, and mapped. Nothing is unpacked.
 * Hostile input: a damaged tar gives the samples before and after the damage, and counts what was lost by reason. A count is in
 * samples where their number can be known (from the tar, or from the `samples` that the manifest states); a cut or missing shard
 * whose number of samples is stated nowhere counts as one. A stated number that differs from what whole shards hold is an error.
 */
#ifndef PRN_DATA_DATASET_H
#define PRN_DATA_DATASET_H

#include "data/manifest.h"

typedef enum prn__loss_reason {
    PRN__LOSS_TRUNCATED_TAR = 0, PRN__LOSS_BAD_TAR_HEADER, PRN__LOSS_NO_IMAGE, PRN__LOSS_NO_CAPTION, PRN__LOSS_IMAGE_DECODE,
    PRN__LOSS_IMAGE_DIMENSIONS, PRN__LOSS_DUPLICATE, PRN__LOSS_SHARD_MISSING, PRN__LOSS_BAD_METADATA, PRN__LOSS_COUNT
} prn__loss_reason;
const char *prn__loss_reason_name(prn__loss_reason reason); /* "truncated_tar", ... */

typedef struct prn__sample {
    const char *key;         /* not NUL-terminated */
    size_t key_length;
    const uint8_t *image;
    size_t image_bytes;
    const char *caption;     /* .txt, or "caption" of .json; may be NULL; not NUL-terminated */
    size_t caption_bytes;
    int32_t class_index;     /* .cls, or "class" of .json; -1 when absent */
} prn__sample;

typedef struct prn__dataset prn__dataset;

/* One or more shard lists (in order) as one dataset. Opens the tars lazily and keeps a bounded number open. Missing indexes are built
 * on several threads. */
prn_status prn__dataset_open(const prn__manifest *manifest, const prn__shard_list *const *lists, size_t list_count, const char *cache,
                             prn__dataset **dataset, prn_error *error);
/* A plain list of tar paths (brace ranges allowed), without a manifest. */
prn_status prn__dataset_open_paths(const char *const *patterns, size_t count, const char *cache, prn__dataset **dataset, prn_error *error);
void prn__dataset_close(prn__dataset *dataset);
int64_t prn__dataset_samples(const prn__dataset *dataset);
int64_t prn__dataset_shards(const prn__dataset *dataset);
const int64_t *prn__dataset_shard_samples(const prn__dataset *dataset); /* (shards) */
const char *prn__dataset_shard_path(const prn__dataset *dataset, int64_t shard);
/* Views valid until `prn__sample_release`. PRN_CORRUPT: its metadata is damaged; PRN_UNSUPPORTED: its image file is absurdly large; other
 * failures are those of the shard. Thread safe. */
typedef struct prn__sample_hold { void *memory; } prn__sample_hold;
prn_status prn__dataset_sample(prn__dataset *dataset, int64_t shard, int64_t index, prn__sample *sample, prn__sample_hold *hold, prn_error *error);
void prn__sample_release(prn__dataset *dataset, prn__sample_hold *hold);
/* Losses counted so far, by shard and reason. Thread safe. */
void prn__dataset_count_loss(prn__dataset *dataset, int64_t shard, prn__loss_reason reason, int64_t count);
int64_t prn__dataset_losses(const prn__dataset *dataset, int64_t shard, prn__loss_reason reason); /* shard -1: all */
/* Digest of all shards' bytes, in order (cached in the indexes). */
prn_status prn__dataset_digest(prn__dataset *dataset, char digest[33], prn_error *error);

#endif
