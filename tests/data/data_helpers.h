/* tests/data/data_helpers.h: what the data room's tests share: temporary folders, manifests, batches as digests, tar headers. */
#ifndef TESTS_DATA_DATA_HELPERS_H
#define TESTS_DATA_DATA_HELPERS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "data_support.h"

/* ---- folders and files ---- */

static char test_folder[64];

__attribute__((unused)) static int make_folder(void **state)
{
    (void)state;
    (void)snprintf(test_folder, sizeof test_folder, "/tmp/prn-data-XXXXXX");
    return mkdtemp(test_folder) == NULL;
}

static inline int remove_entry(const char *path, const struct stat *info, int flag, struct FTW *where)
{
    (void)info;
    (void)flag;
    (void)where;
    return remove(path);
}

__attribute__((unused)) static int remove_folder(void **state)
{
    (void)state;
    return nftw(test_folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* A path in the test's folder; eight are valid at a time. */
static inline const char *in_folder(const char *name)
{
    static char paths[8][512];
    static int next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, 512, "%s/%s", test_folder, name);
    return path;
}

static inline uint8_t *read_whole(const char *path, size_t *bytes)
{
    char *data;
    prn_error error = PRN_ERROR_INIT;
    if (prn__file_read(path, (size_t)1 << 30, &data, bytes, &error) != PRN_OK) {
        fail_msg("%s", error.message);
    }
    uint8_t *copy = malloc(*bytes + 1);
    memcpy(copy, data, *bytes + 1);
    prn__free(data);
    return copy;
}

static inline const char *fixture(const char *name)
{
    static char paths[4][1024];
    static int next;
    char *path = paths[next++ % 4];
    const char *root = getenv("PRN_SOURCE_DIR");
#ifdef PRN_SOURCE_DIR
    root = root != NULL ? root : PRN_SOURCE_DIR;
#endif
    (void)snprintf(path, 1024, "%s/tests/fixtures/%s", root != NULL ? root : ".", name);
    return path;
}

static inline void write_text(const char *path, const char *text)
{
    test_write(path, text, strlen(text));
}

static inline ino_t inode_of(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? info.st_ino : 0;
}

/* ---- a small deterministic generator, so that the tests' damage is the same everywhere ---- */

static inline uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static inline uint64_t random_below(uint64_t *state, uint64_t limit)
{
    return next_random(state) % limit;
}

/* Statements of their own: C leaves open which operand draws first. */
static inline void flip_bit(uint8_t *data, size_t reach, uint64_t *state)
{
    size_t at = (size_t)random_below(state, reach);
    unsigned bit = (unsigned)random_below(state, 8);
    data[at] ^= (uint8_t)(1u << bit);
}

/* ---- tar headers ---- */

static inline void fix_checksum(uint8_t *header)
{
    unsigned sum = 0;
    memset(header + 148, ' ', 8);
    for (int i = 0; i < 512; i++) {
        sum += header[i];
    }
    (void)snprintf((char *)header + 148, 8, "%06o", sum);
}

/* Adds a member and gives its header, valid until the next one is added; fix_checksum after a change. */
static inline uint8_t *add_member(test_tar *tar, const char *name, char type, const void *content, size_t bytes)
{
    size_t start = tar->bytes;
    test_tar_member(tar, name, type, content, bytes);
    return tar->data + start;
}

static inline void add_text(test_tar *tar, const char *name, const char *text)
{
    test_tar_member(tar, name, '0', text, strlen(text));
}

static inline void add_png(test_tar *tar, const char *name, int side, int value)
{
    size_t bytes;
    uint8_t *png = test_png(side, value, &bytes);
    test_tar_member(tar, name, '0', png, bytes);
    free(png);
}

static inline void finish_tar(test_tar *tar, const char *path)
{
    test_tar_end(tar);
    test_write(path, tar->data, tar->bytes);
    free(tar->data);
    tar->data = NULL;
    tar->bytes = 0;
}

#define assert_ok(call) \
    do { \
        prn_status status_of_call = (call); \
        if (status_of_call != PRN_OK) { \
            fail_msg("%s: status %d: %s", #call, (int)status_of_call, error.message); \
        } \
    } while (0)

#define assert_fails(call, expected, text) \
    do { \
        error = (prn_error)PRN_ERROR_INIT; \
        prn_status status_of_call = (call); \
        if (status_of_call != (expected) || strstr(error.message, (text)) == NULL) { \
            fail_msg("%s: status %d (expected %d), message '%s' (expected '%s' in it)", #call, (int)status_of_call, (int)(expected), \
                     error.message, (text)); \
        } \
    } while (0)

#endif
