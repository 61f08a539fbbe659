/* core/data/shard_writer.h: shards that the program makes itself: glyphs of TiC-Unicode, the small stream of the strategy suite. */
#ifndef PRN_DATA_SHARD_WRITER_H
#define PRN_DATA_SHARD_WRITER_H

#include "base/hash.h"
#include "base/text.h"

/* A tar of samples that is put together in memory. Bytes depend on nothing but what is added: times and owners are fixed. */
typedef struct prn__shard {
    prn__text tar;
    int64_t samples;
} prn__shard;

void prn__shard_init(prn__shard *shard);
void prn__shard_fini(prn__shard *shard);
/* Adds KEY.png (RGB, or one grey channel when `is_colour` is 0) and KEY.json. `pixels` is (side,side,3). */
prn_status prn__shard_add(prn__shard *shard, const char *key, const uint8_t *pixels, int64_t side, int is_colour, const char *json, prn_error *error);
/* Ends the tar, writes it, gives the digest of its bytes, and empties the shard. */
prn_status prn__shard_write(prn__shard *shard, const char *path, prn__digest *digest, prn_error *error);

#endif
