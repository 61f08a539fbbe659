/* core/data/tokenizer_strings.c: see tokenizer_strings.h. */
#include "data/tokenizer_strings.h"

#include <string.h>

#include "base/hash.h"
#include "base/memory.h"

void prn__strings_fini(prn__strings *strings)
{
    prn__free(strings->bytes);
    prn__free(strings->items);
    prn__free(strings->slots);
    *strings = (prn__strings){0};
}

/* The slot that holds the string, or the free one where it would go. */
static size_t slot_of(const prn__strings *strings, const char *bytes, size_t length, uint32_t hash)
{
    size_t mask = strings->slot_count - 1, slot = hash & mask;
    while (strings->slots[slot] != 0) {
        const prn__string_item *item = &strings->items[strings->slots[slot] - 1];
        if (item->hash == hash && item->length == length && memcmp(strings->bytes + item->offset, bytes, length) == 0) {
            break;
        }
        slot = (slot + 1) & mask;
    }
    return slot;
}

int64_t prn__strings_find(const prn__strings *strings, const char *bytes, size_t length)
{
    if (strings->count == 0) {
        return -1;
    }
    return (int64_t)strings->slots[slot_of(strings, bytes, length, (uint32_t)prn__hash_bytes(bytes, length).low)] - 1;
}

static int grow_slots(prn__strings *strings)
{
    size_t count = strings->slot_count == 0 ? 1024 : strings->slot_count * 2;
    uint32_t *slots = prn__alloc_array(count, sizeof *slots);
    if (slots == NULL) {
        return 0;
    }
    for (size_t i = 0; i < strings->count; i++) {
        size_t slot = strings->items[i].hash & (count - 1);
        while (slots[slot] != 0) {
            slot = (slot + 1) & (count - 1);
        }
        slots[slot] = (uint32_t)i + 1;
    }
    prn__free(strings->slots);
    strings->slots = slots;
    strings->slot_count = count;
    return 1;
}

int64_t prn__strings_add(prn__strings *strings, const char *bytes, size_t length)
{
    if (strings->count >= INT32_MAX || length > INT32_MAX) {
        return -1;
    }
    if (strings->count * 2 >= strings->slot_count && !grow_slots(strings)) {
        return -1;
    }
    uint32_t hash = (uint32_t)prn__hash_bytes(bytes, length).low;
    size_t slot = slot_of(strings, bytes, length, hash);
    if (strings->slots[slot] != 0) {
        return (int64_t)strings->slots[slot] - 1;
    }
    if (strings->count == strings->item_capacity) {
        size_t capacity = strings->item_capacity == 0 ? 512 : strings->item_capacity * 2;
        prn__string_item *items = prn__realloc(strings->items, capacity * sizeof *items);
        if (items == NULL) {
            return -1;
        }
        strings->items = items;
        strings->item_capacity = capacity;
    }
    if (strings->capacity - strings->used < length + 1) { /* the one more byte keeps `bytes` from being NULL for an empty string */
        size_t capacity = strings->capacity * 2 + length + 4096;
        char *grown = prn__realloc(strings->bytes, capacity);
        if (grown == NULL) {
            return -1;
        }
        strings->bytes = grown;
        strings->capacity = capacity;
    }
    memcpy(strings->bytes + strings->used, bytes, length);
    strings->items[strings->count] = (prn__string_item){strings->used, (uint32_t)length, hash};
    strings->used += length;
    strings->slots[slot] = (uint32_t)++strings->count;
    return (int64_t)strings->count - 1;
}
