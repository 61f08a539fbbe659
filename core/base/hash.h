/* core/base/hash.h: 128-bit content hashes (XXH3) for keys and checksums.
 * Written as 32 hexadecimal digits. Not cryptographic: keys guard against accident, not attack. */
#ifndef PRN_BASE_HASH_H
#define PRN_BASE_HASH_H

#include <perennial/status.h>

typedef struct prn__digest {
    uint64_t high, low;
} prn__digest;

typedef struct prn__hasher prn__hasher; /* heap, streaming */

prn__hasher *prn__hasher_create(void); /* NULL when out of memory */
void prn__hasher_destroy(prn__hasher *hasher);
void prn__hasher_update(prn__hasher *hasher, const void *bytes, size_t length);
/* Length-prefixed, so that ("ab","c") and ("a","bc") differ. */
void prn__hasher_field(prn__hasher *hasher, const char *name, const char *value);
prn__digest prn__hasher_digest(const prn__hasher *hasher);

prn__digest prn__hash_bytes(const void *bytes, size_t length); /* [any] */
/* Whole file, streamed. [any] */
prn_status prn__hash_file(const char *path, prn__digest *digest, prn_error *error);
void prn__digest_format(prn__digest digest, char target[33]); /* 32 digits and NUL */

#endif
