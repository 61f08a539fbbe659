/* core/base/memory.h: heap blocks that are counted, and arenas.
 *
 * Purpose: every heap block of the core goes through here, so that tests can count live blocks and fail the Nth
 * allocation. Blocks are aligned to 64 bytes and start as zeros.
 * Never in here: abort on failure; a NULL return is the caller's PRN_NO_MEMORY.
 */
#ifndef PRN_BASE_MEMORY_H
#define PRN_BASE_MEMORY_H

#include <perennial/status.h>

/* Zeroed block aligned to 64 bytes, or NULL. `bytes` 0 gives a valid block. [any] */
void *prn__alloc(size_t bytes);
/* count * size with overflow check; NULL on overflow. [any] */
void *prn__alloc_array(size_t count, size_t size);
/* Grows or shrinks; new bytes are zero; on failure the old block stays valid and NULL is returned. [any] */
void *prn__realloc(void *block, size_t bytes);
void prn__free(void *block); /* NULL is allowed. [any] */
char *prn__strdup(const char *text); /* NULL for NULL or no memory. [any] */

/* Test hooks: live blocks now; make the Nth allocation from now on fail (1 = the next; 0 = off). [any] */
int64_t prn__alloc_live(void);
void prn__alloc_fail_at(int64_t nth);

/* Growing block list; everything is freed at once. Not thread safe. */
typedef struct prn__arena {
    struct prn__arena_block *head;
    size_t block_bytes;
} prn__arena;

void prn__arena_init(prn__arena *arena, size_t block_bytes); /* [any] */
void prn__arena_fini(prn__arena *arena);
void *prn__arena_alloc(prn__arena *arena, size_t bytes); /* zeroed, aligned to 16; NULL when out of memory */
char *prn__arena_strdup(prn__arena *arena, const char *text);
/* Formatted string in the arena; NULL when out of memory. */
char *prn__arena_printf(prn__arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
