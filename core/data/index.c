/* core/data/index.c: see index.h. */
#include "data/index.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "data/tar.h"

static const char MAGIC[8] = {'P', 'R', 'N', 'I', 'N', 'D', 'E', 'X'};
enum { VERSION = 2 };

/* Two threads that index the same shard write it one after the other: the temporary file's name is the process's. */
static pthread_mutex_t store_mutex = PTHREAD_MUTEX_INITIALIZER;

/* ---- building ---- */

typedef struct builder {
    prn__index_record *records;
    size_t count, capacity;
    char *keys;
    size_t key_bytes, key_capacity;
    int64_t losses[16];
    int is_open;      /* the last record is still being filled */
    int is_repeated;  /* a part of it came twice */
    int touches_gap;  /* damaged blocks lie before, in or after it */
    int64_t gaps_charged; /* damage that cost the samples counted so far */
} builder;

static int split_name(const char *name, size_t *key_bytes, const char **extension)
{
    /* WebDataset's rule: the key is the path up to the first dot of its last part */
    const char *slash = strrchr(name, '/'), *base = slash != NULL ? slash + 1 : name;
    const char *dot = strchr(base, '.');
    if (dot == NULL || dot == base) {
        return 0;
    }
    *key_bytes = (size_t)(dot - name);
    *extension = dot + 1;
    return 1;
}

typedef enum part { PART_NONE, PART_IMAGE, PART_CAPTION, PART_JSON, PART_CLASS } part;

static part part_of(const char *extension)
{
    static const struct {
        const char *extension;
        part kind;
    } known[] = {{"jpg", PART_IMAGE}, {"jpeg", PART_IMAGE}, {"png", PART_IMAGE}, {"webp", PART_IMAGE}, {"txt", PART_CAPTION}, {"json", PART_JSON},
                 {"cls", PART_CLASS}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcasecmp(extension, known[i].extension) == 0) {
            return known[i].kind;
        }
    }
    return PART_NONE;
}

static int grow(void **items, size_t need, size_t *capacity, size_t size)
{
    if (need <= *capacity) {
        return 1;
    }
    size_t wanted = need > *capacity * 2 ? need : *capacity * 2;
    void *grown = prn__realloc(*items, wanted * size);
    if (grown == NULL) {
        return 0;
    }
    *items = grown;
    *capacity = wanted;
    return 1;
}

/* The last group of members has ended: keep it when it can be a sample, else count why not. A group that is incomplete because blocks
 * beside it are damaged is counted as that damage; one that the archive's cut end runs through (`is_cut`) is counted with the cut. */
static void close_sample(builder *b, int is_cut)
{
    if (!b->is_open) {
        return;
    }
    const prn__index_record *r = &b->records[b->count - 1];
    b->is_open = 0;
    if (r->image_bytes > 0 && (r->caption_offset != 0 || r->json_offset != 0 || r->class_offset != 0)) {
        return;
    }
    if (b->touches_gap) {
        b->losses[PRN__LOSS_BAD_TAR_HEADER]++;
        b->gaps_charged++;
    } else if (!is_cut) {
        b->losses[r->image_bytes == 0 ? PRN__LOSS_NO_IMAGE : PRN__LOSS_NO_CAPTION]++;
    }
    b->key_bytes = (size_t)r->key_offset;
    b->count--;
}

static int open_sample(builder *b, const char *key, size_t key_bytes)
{
    if (!grow((void **)&b->records, b->count + 1, &b->capacity, sizeof *b->records) ||
        !grow((void **)&b->keys, b->key_bytes + key_bytes, &b->key_capacity, 1)) {
        return 0;
    }
    prn__index_record *r = &b->records[b->count++];
    memset(r, 0, sizeof *r);
    r->key_offset = b->key_bytes;
    r->key_bytes = (uint32_t)key_bytes;
    memcpy(b->keys + b->key_bytes, key, key_bytes);
    b->key_bytes += key_bytes;
    b->is_open = 1;
    b->is_repeated = 0;
    b->touches_gap = 0;
    return 1;
}

static void add_part(builder *b, part kind, const prn__tar_member *member)
{
    prn__index_record *r = &b->records[b->count - 1];
    uint64_t *offset, *bytes;
    switch (kind) {
    case PART_IMAGE: offset = &r->image_offset; bytes = &r->image_bytes; break;
    case PART_CAPTION: offset = &r->caption_offset; bytes = &r->caption_bytes; break;
    case PART_JSON: offset = &r->json_offset; bytes = &r->json_bytes; break;
    default: offset = &r->class_offset; bytes = &r->class_bytes; break;
    }
    if (*offset == 0) {
        *offset = member->offset;
        *bytes = member->bytes;
    } else if (!b->is_repeated) {
        b->is_repeated = 1; /* the first one counts; the parts that come again are one lost sample */
        b->losses[PRN__LOSS_DUPLICATE]++;
    }
}

static int read_archive(void *context, uint64_t offset, void *target, size_t bytes)
{
    const int *file = context;
    for (size_t done = 0; done < bytes;) {
        ssize_t got = pread(*file, (uint8_t *)target + done, bytes - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return 0; /* also when the file has become shorter */
        }
        done += (size_t)got;
    }
    return 1;
}

static prn_status build(const char *path, int file, uint64_t bytes, builder *b, prn_error *error)
{
    prn__tar_member member;
    prn_status status = PRN_OK;
    int64_t gaps_seen = 0;
    int after_gap = 0;
    prn__tar_walk *walk = prn__alloc(sizeof *walk);
    if (walk == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory while indexing", path);
    }
    prn__tar_start(walk, read_archive, &file, bytes);
    while (prn__tar_next(walk, &member)) {
        size_t key_bytes = 0;
        const char *extension = NULL;
        part kind = split_name(member.name, &key_bytes, &extension) ? part_of(extension) : PART_NONE;
        if (member.follows_gap) {
            b->touches_gap = after_gap = 1;
            gaps_seen = walk->gaps;
        }
        if (kind == PART_NONE) {
            continue;
        }
        const prn__index_record *r = b->is_open ? &b->records[b->count - 1] : NULL;
        if (r == NULL || r->key_bytes != key_bytes || memcmp(b->keys + r->key_offset, member.name, key_bytes) != 0) {
            close_sample(b, 0);
            if (!open_sample(b, member.name, key_bytes)) {
                status = prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory while indexing", path);
                goto done;
            }
            b->touches_gap = after_gap;
            after_gap = 0;
        }
        add_part(b, kind, &member);
    }
    if (walk->end == PRN__TAR_UNREADABLE) {
        status = prn_error_set(error, PRN_IO, "%s: cannot be read to its end; check the disk, or get the shard again", path);
        goto done;
    }
    b->touches_gap |= walk->gaps > gaps_seen;
    close_sample(b, walk->end == PRN__TAR_TRUNCATED);
    b->losses[PRN__LOSS_TRUNCATED_TAR] += walk->end == PRN__TAR_TRUNCATED;
    if (walk->gaps > b->gaps_charged) { /* damage that took whole samples: how many is unknown, at least one a gap */
        b->losses[PRN__LOSS_BAD_TAR_HEADER] += walk->gaps - b->gaps_charged;
    }
done:
    prn__free(walk);
    return status;
}

/* ---- the stored form ---- */

static prn__digest header_digest(const prn__index_header *header)
{
    return prn__hash_bytes(header, offsetof(prn__index_header, header_digest));
}

static int same_digest(prn__digest a, prn__digest b)
{
    return a.high == b.high && a.low == b.low;
}

static size_t body_bytes(const prn__index_header *header)
{
    return (size_t)header->sample_count * sizeof(prn__index_record) + (size_t)header->key_bytes;
}

static int64_t modified_ns(const struct stat *info)
{
    return info->st_mtim.tv_sec * 1000000000LL + info->st_mtim.tv_nsec;
}

/* Whether `header`, of an index file of `bytes` bytes, is whole. */
static int header_holds(const prn__index_header *header, uint64_t bytes)
{
    if (memcmp(header->magic, MAGIC, sizeof MAGIC) != 0 || header->version != VERSION || header->record_bytes != sizeof(prn__index_record) ||
        !same_digest(header->header_digest, header_digest(header)) || bytes < sizeof *header) {
        return 0;
    }
    uint64_t left = bytes - sizeof *header;
    return header->sample_count <= left / sizeof(prn__index_record) && header->key_bytes == left - header->sample_count * sizeof(prn__index_record) &&
           header->sample_count <= INT64_MAX / 1024;
}

static int is_current(const prn__index_header *header, const struct stat *tar)
{
    return header->tar_bytes == (uint64_t)tar->st_size && header->tar_modified_ns == modified_ns(tar);
}

/* Whether the records lead nowhere outside of the tar and the keys: an index comes from a folder that others may write. */
static int body_holds(const prn__index_header *header, const uint8_t *body)
{
    const prn__index_record *records = (const prn__index_record *)(const void *)body;
    if (!same_digest(prn__hash_bytes(body, body_bytes(header)), header->content_digest)) {
        return 0;
    }
    for (uint64_t i = 0; i < header->sample_count; i++) {
        const prn__index_record *r = &records[i];
        const uint64_t parts[4][2] = {{r->image_offset, r->image_bytes}, {r->caption_offset, r->caption_bytes}, {r->json_offset, r->json_bytes},
                                      {r->class_offset, r->class_bytes}};
        for (int p = 0; p < 4; p++) {
            if (parts[p][0] > header->tar_bytes || parts[p][1] > header->tar_bytes - parts[p][0]) {
                return 0;
            }
        }
        if (r->key_offset > header->key_bytes || r->key_bytes > header->key_bytes - r->key_offset) {
            return 0;
        }
    }
    return 1;
}

static char *index_name(const char *tar_path, const char *folder)
{
    size_t bytes = strlen(tar_path) + (folder != NULL ? strlen(folder) : 0) + 64;
    char *name = prn__alloc(bytes);
    if (name == NULL) {
        return NULL;
    }
    if (folder == NULL) {
        (void)snprintf(name, bytes, "%s.index", tar_path);
    } else {
        char digest[33];
        prn__digest_format(prn__hash_bytes(tar_path, strlen(tar_path)), digest);
        (void)snprintf(name, bytes, "%s/%s.index", folder, digest);
    }
    return name;
}

static int read_header(const char *path, const struct stat *tar, prn__index_header *header)
{
    struct stat info;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return 0;
    }
    int found = fstat(file, &info) == 0 && S_ISREG(info.st_mode) && read(file, header, sizeof *header) == (ssize_t)sizeof *header &&
                header_holds(header, (uint64_t)info.st_size) && is_current(header, tar);
    (void)close(file);
    return found;
}

static int store(const char *path, const uint8_t *whole, size_t bytes)
{
    (void)pthread_mutex_lock(&store_mutex);
    prn_status status = prn__file_write_atomic(path, whole, bytes, NULL);
    (void)pthread_mutex_unlock(&store_mutex);
    return status == PRN_OK;
}

/* The whole index of a tar, as it is stored. */
static prn_status build_whole(const char *tar_path, prn__index_header *header, uint8_t **whole, size_t *bytes, prn_error *error)
{
    struct stat info, after;
    builder b = {0};
    prn_status status;
    *whole = NULL;
    int file = open(tar_path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &info) != 0) {
        status = prn_error_set(error, errno == ENOENT ? PRN_NOT_FOUND : PRN_IO, "%s: %s", tar_path, strerror(errno));
        goto done;
    }
    (void)posix_fadvise(file, 0, 0, POSIX_FADV_SEQUENTIAL);
    memset(header, 0, sizeof *header);
    status = prn__hash_file(tar_path, &header->tar_digest, error);
    if (status == PRN_OK) {
        status = build(tar_path, file, (uint64_t)info.st_size, &b, error);
    }
    if (status == PRN_OK && (fstat(file, &after) != 0 || after.st_size != info.st_size || modified_ns(&after) != modified_ns(&info))) {
        status = prn_error_set(error, PRN_CONFLICT, "%s: is being written; wait until it is complete, then run the same command again", tar_path);
    }
    if (status != PRN_OK) {
        goto done;
    }
    memcpy(header->magic, MAGIC, sizeof MAGIC);
    header->version = VERSION;
    header->record_bytes = sizeof(prn__index_record);
    header->tar_bytes = (uint64_t)info.st_size;
    header->tar_modified_ns = modified_ns(&info);
    header->sample_count = b.count;
    header->key_bytes = b.key_bytes;
    memcpy(header->losses, b.losses, sizeof b.losses);
    *bytes = sizeof *header + body_bytes(header);
    *whole = prn__alloc(*bytes);
    if (*whole == NULL) {
        status = prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory while indexing", tar_path);
        goto done;
    }
    if (b.count > 0) {
        memcpy(*whole + sizeof *header, b.records, b.count * sizeof *b.records);
        memcpy(*whole + sizeof *header + b.count * sizeof *b.records, b.keys, b.key_bytes);
    }
    header->content_digest = prn__hash_bytes(*whole + sizeof *header, body_bytes(header));
    header->header_digest = header_digest(header);
    memcpy(*whole, header, sizeof *header);
done:
    if (file >= 0) {
        (void)close(file);
    }
    prn__free(b.records);
    prn__free(b.keys);
    return status;
}

static prn_status prepare(const char *tar_path, const char *cache, int must_build, prn__index_header *header, uint8_t **kept, int *built,
                          prn_error *error)
{
    struct stat info;
    prn_status status = PRN_OK;
    uint8_t *whole = NULL;
    size_t bytes = 0;
    *kept = NULL;
    *built = 0;
    if (stat(tar_path, &info) != 0) {
        return prn_error_set(error, errno == ENOENT || errno == ENOTDIR ? PRN_NOT_FOUND : PRN_IO, "%s: %s", tar_path, strerror(errno));
    }
    if (!S_ISREG(info.st_mode)) {
        return prn_error_set(error, PRN_IO, "%s: not a regular file", tar_path);
    }
    char *beside = index_name(tar_path, NULL), *cached = cache != NULL ? index_name(tar_path, cache) : NULL;
    if (beside == NULL || (cache != NULL && cached == NULL)) {
        status = prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory while indexing", tar_path);
        goto done;
    }
    if (!must_build && (read_header(beside, &info, header) || (cached != NULL && read_header(cached, &info, header)))) {
        goto done;
    }
    *built = 1;
    status = build_whole(tar_path, header, &whole, &bytes, error);
    if (status != PRN_OK) {
        goto done;
    }
    if (!store(beside, whole, bytes) && !(cached != NULL && prn__folder_create(cache, NULL) == PRN_OK && store(cached, whole, bytes))) {
        *kept = whole;
        whole = NULL;
    }
done:
    prn__free(whole);
    prn__free(beside);
    prn__free(cached);
    return status;
}

prn_status prn__index_prepare(const char *tar_path, const char *cache, prn__index_header *header, uint8_t **kept, int *built, prn_error *error)
{
    return prepare(tar_path, cache, 0, header, kept, built, error);
}

static void point_into(prn__index *index, const uint8_t *whole)
{
    index->header = (const prn__index_header *)(const void *)whole;
    index->records = (const prn__index_record *)(const void *)(whole + sizeof *index->header);
    index->keys = (const char *)(index->records + index->header->sample_count);
}

static int map_stored(const char *path, prn__digest expected, prn__index *index)
{
    if (path == NULL || prn__map_open(path, &index->map, NULL) != PRN_OK) {
        return 0;
    }
    const prn__index_header *header = (const prn__index_header *)(const void *)index->map.data;
    if (index->map.bytes >= sizeof *header && header_holds(header, index->map.bytes) && same_digest(header->header_digest, expected) &&
        body_holds(header, index->map.data + sizeof *header)) {
        point_into(index, index->map.data);
        return 1;
    }
    prn__map_close(&index->map);
    return 0;
}

prn_status prn__index_open(const char *tar_path, const char *cache, prn__digest expected, const uint8_t *kept, prn__index *index,
                           prn_error *error)
{
    prn_status status = PRN_OK;
    memset(index, 0, sizeof *index);
    if (kept != NULL) {
        point_into(index, kept);
        return PRN_OK;
    }
    char *beside = index_name(tar_path, NULL), *cached = cache != NULL ? index_name(tar_path, cache) : NULL;
    if (beside == NULL || (cache != NULL && cached == NULL)) {
        status = prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory", tar_path);
        goto done;
    }
    if (!map_stored(beside, expected, index) && !map_stored(cached, expected, index)) {
        /* removed or damaged since the data set was opened: it can be made again as long as the tar is the same */
        prn__index_header again;
        int built;
        status = prepare(tar_path, cache, 1, &again, &index->owned, &built, error);
        if (status == PRN_OK && !same_digest(again.header_digest, expected)) {
            status = prn_error_set(error, PRN_CONFLICT, "%s: has changed since the data set was opened; run the same command again", tar_path);
        } else if (status == PRN_OK && index->owned != NULL) {
            point_into(index, index->owned);
        } else if (status == PRN_OK && !map_stored(beside, expected, index) && !map_stored(cached, expected, index)) {
            status = prn_error_set(error, PRN_IO, "%s: its index cannot be read back; check the disk", tar_path);
        }
    }
done:
    prn__free(beside);
    prn__free(cached);
    if (status != PRN_OK) {
        prn__index_close(index);
    }
    return status;
}

void prn__index_close(prn__index *index)
{
    prn__map_close(&index->map);
    prn__free(index->owned);
    memset(index, 0, sizeof *index);
}
