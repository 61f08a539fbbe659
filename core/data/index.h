/* core/data/index.h: the index of one shard: where each sample's parts lie. Built once, stored, mapped. Shared by the files of
 * this room only.
 *
 * File: a fixed header (magic, version, the tar's size and modification time, the digest of its bytes, counts of what was lost
 * while indexing, digests), then fixed-size records, then the keys. Host byte order: an index is a cache, not an exchange format.
 * Two steps, so that a data set of a million shards opens without mapping a million files: the header is read and checked when
 * the data set opens; records and keys are mapped and checked when a sample of the shard is wanted.
 */
#ifndef PRN_DATA_INDEX_H
#define PRN_DATA_INDEX_H

#include "base/file.h"
#include "base/hash.h"
#include "data/dataset.h"

typedef struct prn__index_record {
    uint64_t key_offset;     /* into the keys */
    uint32_t key_bytes;
    uint32_t reserved;
    uint64_t image_offset, image_bytes;   /* into the tar; offset 0: absent, for no part starts there */
    uint64_t caption_offset, caption_bytes;
    uint64_t json_offset, json_bytes;
    uint64_t class_offset, class_bytes;
} prn__index_record;

typedef struct prn__index_header {
    char magic[8];
    uint32_t version;
    uint32_t record_bytes;
    uint64_t tar_bytes;
    int64_t tar_modified_ns;
    prn__digest tar_digest;
    uint64_t sample_count;
    uint64_t key_bytes;
    int64_t losses[16]; /* by prn__loss_reason */
    prn__digest content_digest; /* of records and keys */
    prn__digest header_digest;  /* of all of the above */
} prn__index_header;

typedef struct prn__index {
    prn__map map;      /* the index file; without one, `owned` */
    uint8_t *owned;    /* an index that could not be stored anywhere */
    const prn__index_header *header;
    const prn__index_record *records;
    const char *keys;
} prn__index;

/* Makes sure that a whole, current index of `tar_path` is stored beside the tar, or under `cache` when that folder cannot be written,
 * and gives its header. Where it can be stored nowhere it is built in memory and handed over in `kept` (else *kept is NULL). `built`: 1 when it was
 * not there, which takes as long as reading the tar. [any] */
prn_status prn__index_prepare(const char *tar_path, const char *cache, prn__index_header *header, uint8_t **kept, int *built, prn_error *error);
/* Maps the index whose header has the digest `expected`; `kept` as from prepare, borrowed. A damaged one is built again; PRN_CONFLICT when
 * the tar has changed since. [any] */
prn_status prn__index_open(const char *tar_path, const char *cache, prn__digest expected, const uint8_t *kept, prn__index *index,
                           prn_error *error);
void prn__index_close(prn__index *index);

#endif
