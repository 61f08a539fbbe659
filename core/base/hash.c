/* core/base/hash.c: see hash.h. XXH3, 128 bits, from the xxHash library. */
#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/memory.h"

struct prn__hasher {
    XXH3_state_t *state;
};

prn__hasher *prn__hasher_create(void)
{
    prn__hasher *hasher = prn__alloc(sizeof *hasher);
    if (hasher == NULL) {
        return NULL;
    }
    hasher->state = XXH3_createState();
    if (hasher->state == NULL) {
        prn__free(hasher);
        return NULL;
    }
    (void)XXH3_128bits_reset(hasher->state);
    return hasher;
}

void prn__hasher_destroy(prn__hasher *hasher)
{
    if (hasher != NULL) {
        (void)XXH3_freeState(hasher->state);
        prn__free(hasher);
    }
}

void prn__hasher_update(prn__hasher *hasher, const void *bytes, size_t length)
{
    if (length > 0) {
        (void)XXH3_128bits_update(hasher->state, bytes, length);
    }
}

void prn__hasher_field(prn__hasher *hasher, const char *name, const char *value)
{
    uint64_t lengths[2] = {strlen(name), strlen(value)};
    prn__hasher_update(hasher, lengths, sizeof lengths);
    prn__hasher_update(hasher, name, lengths[0]);
    prn__hasher_update(hasher, value, lengths[1]);
}

static prn__digest digest_of(XXH128_hash_t hash)
{
    prn__digest digest = {hash.high64, hash.low64};
    return digest;
}

prn__digest prn__hasher_digest(const prn__hasher *hasher)
{
    return digest_of(XXH3_128bits_digest(hasher->state));
}

prn__digest prn__hash_bytes(const void *bytes, size_t length)
{
    return digest_of(XXH3_128bits(bytes, length));
}

prn_status prn__hash_file(const char *path, prn__digest *digest, prn_error *error)
{
    enum { CHUNK = 1 << 18 };
    prn_status status = PRN_OK;
    prn__hasher *hasher = NULL;
    char *chunk = NULL;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return prn_error_set(error, errno == ENOENT ? PRN_NOT_FOUND : PRN_IO, "%s: %s", path, strerror(errno));
    }
    hasher = prn__hasher_create();
    chunk = prn__alloc(CHUNK);
    if (hasher == NULL || chunk == NULL) {
        status = prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory while hashing", path);
        goto done;
    }
    for (;;) {
        ssize_t got = read(file, chunk, CHUNK);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            status = prn_error_set(error, PRN_IO, "%s: %s", path, strerror(errno));
            goto done;
        }
        if (got == 0) {
            break;
        }
        prn__hasher_update(hasher, chunk, (size_t)got);
    }
    *digest = prn__hasher_digest(hasher);
done:
    prn__free(chunk);
    prn__hasher_destroy(hasher);
    (void)close(file);
    return status;
}

void prn__digest_format(prn__digest digest, char target[33])
{
    (void)snprintf(target, 33, "%016llx%016llx", (unsigned long long)digest.high, (unsigned long long)digest.low);
}
