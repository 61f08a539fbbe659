/* core/base/memory.c: see memory.h. A block's header keeps its size, so that growing can zero what is new. */
#include "base/memory.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 }; /* one cache line, and the width of a 512-bit vector */

typedef struct block_header {
    size_t bytes;
    uint64_t magic;
} block_header;

static const uint64_t BLOCK_MAGIC = 0x70726e626c6f636bu;

static _Atomic int64_t live_blocks;
static _Atomic int64_t fail_countdown;

static int must_fail(void)
{
    int64_t left = atomic_load(&fail_countdown);
    if (left <= 0) {
        return 0;
    }
    return atomic_fetch_sub(&fail_countdown, 1) == 1;
}

static block_header *header_of(void *block)
{
    return (block_header *)(void *)((char *)block - ALIGNMENT);
}

void *prn__alloc(size_t bytes)
{
    void *base = NULL;
    if (must_fail() || bytes > SIZE_MAX - 2 * ALIGNMENT) {
        return NULL;
    }
    size_t total = (bytes + 2 * ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (posix_memalign(&base, ALIGNMENT, total) != 0) {
        return NULL;
    }
    memset(base, 0, total);
    char *block = (char *)base + ALIGNMENT;
    block_header *header = header_of(block);
    header->bytes = bytes;
    header->magic = BLOCK_MAGIC;
    atomic_fetch_add(&live_blocks, 1);
    return block;
}

void *prn__alloc_array(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        return NULL;
    }
    return prn__alloc(bytes);
}

void *prn__realloc(void *block, size_t bytes)
{
    if (block == NULL) {
        return prn__alloc(bytes);
    }
    void *grown = prn__alloc(bytes);
    if (grown == NULL) {
        return NULL;
    }
    size_t old = header_of(block)->bytes;
    memcpy(grown, block, old < bytes ? old : bytes);
    prn__free(block);
    return grown;
}

void prn__free(void *block)
{
    if (block == NULL) {
        return;
    }
    block_header *header = header_of(block);
    header->magic = 0;
    atomic_fetch_sub(&live_blocks, 1);
    free(header);
}

char *prn__strdup(const char *text)
{
    if (text == NULL) {
        return NULL;
    }
    size_t length = strlen(text);
    char *copy = prn__alloc(length + 1);
    if (copy != NULL) {
        memcpy(copy, text, length);
    }
    return copy;
}

int64_t prn__alloc_live(void)
{
    return atomic_load(&live_blocks);
}

void prn__alloc_fail_at(int64_t nth)
{
    atomic_store(&fail_countdown, nth);
}

/* ---- arenas ---- */

struct prn__arena_block {
    struct prn__arena_block *next;
    size_t used, capacity; /* bytes after the header */
};

enum { ARENA_HEADER = 64, ARENA_ALIGNMENT = 16 };

void prn__arena_init(prn__arena *arena, size_t block_bytes)
{
    arena->head = NULL;
    arena->block_bytes = block_bytes < 256 ? 256 : block_bytes;
}

void prn__arena_fini(prn__arena *arena)
{
    struct prn__arena_block *block = arena->head;
    while (block != NULL) {
        struct prn__arena_block *next = block->next;
        prn__free(block);
        block = next;
    }
    arena->head = NULL;
}

void *prn__arena_alloc(prn__arena *arena, size_t bytes)
{
    if (bytes > SIZE_MAX / 2) {
        return NULL;
    }
    size_t rounded = (bytes + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT;
    struct prn__arena_block *block = arena->head;
    if (block == NULL || block->capacity - block->used < rounded) {
        size_t capacity = rounded > arena->block_bytes ? rounded : arena->block_bytes;
        block = prn__alloc(ARENA_HEADER + capacity);
        if (block == NULL) {
            return NULL;
        }
        block->capacity = capacity;
        block->next = arena->head;
        arena->head = block;
    }
    void *result = (char *)block + ARENA_HEADER + block->used;
    block->used += rounded;
    return result;
}

char *prn__arena_strdup(prn__arena *arena, const char *text)
{
    if (text == NULL) {
        return NULL;
    }
    size_t length = strlen(text);
    char *copy = prn__arena_alloc(arena, length + 1);
    if (copy != NULL) {
        memcpy(copy, text, length + 1);
    }
    return copy;
}

char *prn__arena_printf(prn__arena *arena, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0) {
        return NULL;
    }
    char *text = prn__arena_alloc(arena, (size_t)length + 1);
    if (text != NULL) {
        va_start(arguments, format);
        (void)vsnprintf(text, (size_t)length + 1, format, arguments);
        va_end(arguments);
    }
    return text;
}
