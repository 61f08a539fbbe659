/* core/data/tokenizer_strings.h: byte strings numbered in the order in which they first came (the symbols of a vocabulary, the
 * distinct words of a collection of captions).
 *
 * Invariants: equal bytes have one number; numbers start at 0 and have no holes; a string's bytes move when the set grows.
 */
#ifndef PRN_DATA_TOKENIZER_STRINGS_H
#define PRN_DATA_TOKENIZER_STRINGS_H

#include <perennial/status.h>

typedef struct prn__string_item {
    size_t offset; /* in `bytes` */
    uint32_t length;
    uint32_t hash;
} prn__string_item;

/* All zeros is an empty set. Not thread safe while it grows. */
typedef struct prn__strings {
    char *bytes;
    size_t used, capacity;
    prn__string_item *items;
    size_t count, item_capacity;
    uint32_t *slots; /* open addressing; number + 1, 0 is free */
    size_t slot_count; /* a power of two */
} prn__strings;

void prn__strings_fini(prn__strings *strings);
/* The number of a string, -1 when it is not in the set. [any] */
int64_t prn__strings_find(const prn__strings *strings, const char *bytes, size_t length);
/* The number, new or old; -1 when out of memory or beyond 2^31 strings: the set stays as it was. */
int64_t prn__strings_add(prn__strings *strings, const char *bytes, size_t length);

#endif
