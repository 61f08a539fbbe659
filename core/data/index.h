/* core/data/index.h: the index of one shard: where each sample's parts lie. Built once, stored, mapped. Shared by the files of
 * this room only.
 *
 * File: a fixed header (magic, version, the tar's size and modification time, the digest of its bytes, counts of what was lost
 * while indexing, a digest of the rest), then fixed-size records, then the keys. Host byte order: an index is a cache, not an exchange format.
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
    uint64_t image_offset, image_bytes;   /* into the tar; bytes 0: absent */
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
} prn__index_header;

typedef struct prn__index {
    prn__map map;
    const prn__index_header *header;
    const prn__index_record *records;
    const char *keys;
} prn__index;

/* Opens the stored index of `tar_path` when it is there, whole and up to date; else builds it and stores it beside the tar, or under `cache`
 * when that folder cannot be written, or keeps it in memory only. */
prn_status prn__index_open(const char *tar_path, const char *cache, prn__index *index, prn_error *error);
void prn__index_close(prn__index *index);

#endif
