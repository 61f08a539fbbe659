/* core/data/index.c: see index.h. */
#include "data/index.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/memory.h"
#include "data/tar.h"

static const char MAGIC[8] = {'P', 'R', 'N', 'I', 'N', 'D', 'E', 'X'};
enum { VERSION = 1 };

typedef struct builder {
    prn__index_record *records;
    size_t count, capacity;
    char *keys;
    size_t key_bytes, key_capacity;
    int64_t losses[16];
} builder;

static int key_length_of(const char *name, size_t *key_bytes, const char **extension)
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

static int is_image(const char *extension)
{
    static const char *const known[] = {"jpg", "jpeg", "png", "webp"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcasecmp(extension, known[i]) == 0) {
            return 1;
        }
    }
    return 0;
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

/* The last group of members is whole: keep it when it can be a sample, else count why not. */
static void close_sample(builder *b, size_t *open)
{
    if (*open == 0) {
        return;
    }
    const prn__index_record *r = &b->records[b->count - 1];
    *open = 0;
    if (r->image_bytes == 0) {
        b->losses[PRN__LOSS_NO_IMAGE]++;
    } else if (r->caption_offset == 0 && r->json_offset == 0 && r->class_offset == 0) {
        b->losses[PRN__LOSS_NO_CAPTION]++;
    } else {
        return;
    }
    b->key_bytes = (size_t)r->key_offset;
    b->count--;
}

static prn_status build(const char *path, const prn__map *tar, builder *b, prn_error *error)
{
    prn__tar_walk walk;
    prn__tar_member member;
    size_t open = 0;
    prn__tar_start(&walk, tar->data, tar->bytes);
    while (prn__tar_next(&walk, &member)) {
        size_t key_bytes;
        const char *extension;
        if (!key_length_of(member.name, &key_bytes, &extension)) {
            continue;
        }
        prn__index_record *r = b->count > 0 && open ? &b->records[b->count - 1] : NULL;
        if (r == NULL || r->key_bytes != key_bytes || memcmp(b->keys + r->key_offset, member.name, key_bytes) != 0) {
            close_sample(b, &open);
            if (!grow((void **)&b->records, b->count + 1, &b->capacity, sizeof *b->records) ||
                !grow((void **)&b->keys, b->key_bytes + key_bytes, &b->key_capacity, 1)) {
                return prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory while indexing", path);
            }
            r = &b->records[b->count++];
            memset(r, 0, sizeof *r);
            r->key_offset = b->key_bytes;
            r->key_bytes = (uint32_t)key_bytes;
            memcpy(b->keys + b->key_bytes, member.name, key_bytes);
            b->key_bytes += key_bytes;
            open = 1;
        }
        uint64_t *offset = NULL, *bytes = NULL;
        if (is_image(extension)) {
            offset = &r->image_offset;
            bytes = &r->image_bytes;
        } else if (strcasecmp(extension, "txt") == 0) {
            offset = &r->caption_offset;
            bytes = &r->caption_bytes;
        } else if (strcasecmp(extension, "json") == 0) {
            offset = &r->json_offset;
            bytes = &r->json_bytes;
        } else if (strcasecmp(extension, "cls") == 0) {
            offset = &r->class_offset;
            bytes = &r->class_bytes;
        }
        if (offset != NULL) {
            if (*offset != 0) {
                b->losses[PRN__LOSS_DUPLICATE]++; /* the first one counts */
            } else {
                *offset = member.offset;
                *bytes = member.bytes;
            }
        }
    }
    close_sample(b, &open);
    if (walk.end == PRN__TAR_TRUNCATED) {
        b->losses[PRN__LOSS_TRUNCATED_TAR]++;
    } else if (walk.end == PRN__TAR_BAD_HEADER) {
        b->losses[PRN__LOSS_BAD_TAR_HEADER]++;
    }
    return PRN_OK;
}

static prn__digest content_digest(const prn__index_header *header, const void *records, const char *keys)
{
    prn__digest none = {0, 0};
    prn__hasher *hasher = prn__hasher_create();
    if (hasher == NULL) {
        return none;
    }
    prn__index_header plain = *header;
    plain.content_digest = none;
    prn__hasher_update(hasher, &plain, sizeof plain);
    prn__hasher_update(hasher, records, (size_t)header->sample_count * sizeof(prn__index_record));
    prn__hasher_update(hasher, keys, (size_t)header->key_bytes);
    prn__digest digest = prn__hasher_digest(hasher);
    prn__hasher_destroy(hasher);
    return digest;
}

/* Points into `data` when it is a whole, current index. */
static int accept(const uint8_t *data, size_t bytes, const struct stat *info, prn__index *index)
{
    const prn__index_header *header = (const prn__index_header *)(const void *)data;
    if (bytes < sizeof *header || memcmp(header->magic, MAGIC, sizeof MAGIC) != 0 || header->version != VERSION ||
        header->record_bytes != sizeof(prn__index_record) || header->tar_bytes != (uint64_t)info->st_size ||
        header->tar_modified_ns != info->st_mtim.tv_sec * 1000000000LL + info->st_mtim.tv_nsec) {
        return 0;
    }
    size_t left = bytes - sizeof *header;
    if (header->sample_count > left / sizeof(prn__index_record) || header->key_bytes != left - header->sample_count * sizeof(prn__index_record)) {
        return 0;
    }
    index->header = header;
    index->records = (const prn__index_record *)(const void *)(data + sizeof *header);
    index->keys = (const char *)(index->records + header->sample_count);
    prn__digest want = content_digest(header, index->records, index->keys);
    if (want.high != header->content_digest.high || want.low != header->content_digest.low) {
        return 0;
    }
    /* a damaged or foreign index must not lead outside of the tar */
    for (uint64_t i = 0; i < header->sample_count; i++) {
        const prn__index_record *r = &index->records[i];
        const uint64_t part[4][2] = {{r->image_offset, r->image_bytes}, {r->caption_offset, r->caption_bytes}, {r->json_offset, r->json_bytes},
                                     {r->class_offset, r->class_bytes}};
        for (int p = 0; p < 4; p++) {
            if (part[p][0] > header->tar_bytes || part[p][1] > header->tar_bytes - part[p][0]) {
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

static int try_stored(const char *path, const struct stat *info, prn__index *index)
{
    if (path != NULL && prn__map_open(path, &index->map, NULL) == PRN_OK) {
        if (accept(index->map.data, index->map.bytes, info, index)) {
            return 1;
        }
        prn__map_close(&index->map);
    }
    return 0;
}

prn_status prn__index_open(const char *tar_path, const char *cache, prn__index *index, prn_error *error)
{
    struct stat info;
    prn_status status = PRN_OK;
    builder b = {0};
    prn__map tar = {NULL, 0};
    char *beside = NULL, *cached = NULL;
    uint8_t *whole = NULL;
    memset(index, 0, sizeof *index);
    if (stat(tar_path, &info) != 0 || !S_ISREG(info.st_mode)) {
        return prn_error_set(error, PRN_NOT_FOUND, "%s: %s", tar_path, errno != 0 ? strerror(errno) : "not a file");
    }
    beside = index_name(tar_path, NULL);
    cached = cache != NULL ? index_name(tar_path, cache) : NULL;
    if (try_stored(beside, &info, index) || try_stored(cached, &info, index)) {
        goto done;
    }
    status = prn__map_open(tar_path, &tar, error);
    if (status == PRN_OK) {
        status = build(tar_path, &tar, &b, error);
    }
    if (status != PRN_OK) {
        goto done;
    }
    prn__index_header header = {.version = VERSION, .record_bytes = sizeof(prn__index_record), .tar_bytes = tar.bytes,
                                .tar_modified_ns = info.st_mtim.tv_sec * 1000000000LL + info.st_mtim.tv_nsec, .sample_count = b.count,
                                .key_bytes = b.key_bytes};
    memcpy(header.magic, MAGIC, sizeof MAGIC);
    memcpy(header.losses, b.losses, sizeof b.losses);
    header.tar_digest = prn__hash_bytes(tar.data, tar.bytes);
    header.content_digest = content_digest(&header, b.records, b.keys);
    size_t bytes = sizeof header + b.count * sizeof *b.records + b.key_bytes;
    whole = prn__alloc(bytes);
    if (whole == NULL) {
        status = prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory while indexing", tar_path);
        goto done;
    }
    memcpy(whole, &header, sizeof header);
    if (b.count > 0) {
        memcpy(whole + sizeof header, b.records, b.count * sizeof *b.records);
        memcpy(whole + sizeof header + b.count * sizeof *b.records, b.keys, b.key_bytes);
    }
    if (prn__file_write_atomic(beside, whole, bytes, NULL) != PRN_OK && cached != NULL && prn__folder_create(cache, NULL) == PRN_OK) {
        (void)prn__file_write_atomic(cached, whole, bytes, NULL); /* a cache: the index in memory serves as well */
    }
    index->map.data = NULL; /* heap, told apart from a mapping by map.bytes 0 */
    if (!accept(whole, bytes, &info, index)) {
        status = prn_error_set(error, PRN_INTERNAL, "%s: the index just built does not hold", tar_path);
        goto done;
    }
    whole = NULL;
done:
    prn__free(whole);
    prn__free(b.records);
    prn__free(b.keys);
    prn__free(beside);
    prn__free(cached);
    prn__map_close(&tar);
    return status;
}

void prn__index_close(prn__index *index)
{
    if (index->map.data != NULL) {
        prn__map_close(&index->map);
    } else {
        prn__free((void *)(uintptr_t)index->header);
    }
    memset(index, 0, sizeof *index);
}
