/* core/data/tokenizer_learn.c: byte-pair learning over captions that are cleaned and split as the tokenizer does it.
 *
 * Distinct words are kept once with their counts. Pair counts are kept as merges change them: each pair knows the words that have held it,
 * and a queue gives the pair with the highest count, ties the smallest pair of symbol numbers. One thread, no hashing order in the result: the
 * same captions in the same order give the same file everywhere.
 * Never in here: a merge of a pair that occurs once; it would name one caption's word and help no other.
 */
#include "data/tokenizer.h"

#include <inttypes.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "data/tokenizer_strings.h"
#include "data/tokenizer_symbols.h"
#include "data/tokenizer_text.h"

/* Longer pieces (rows of one sign, base64) are no words, and each merge would go through them again. */
enum { WORD_LIMIT = 256, LEAST_COUNT = 2, NONE = UINT32_MAX };

typedef struct pair {
    uint32_t left, right; /* symbols */
    uint32_t words;       /* the first of its word entries, NONE at the end */
    uint32_t changed;     /* the merge that last changed its count: queued once a merge */
    int64_t count;
    int64_t queued; /* the queue has an entry with this count; 0: perhaps none */
} pair;

typedef struct word_entry {
    uint32_t word, next;
} word_entry;

typedef struct queued {
    int64_t count; /* the pair's when it was queued; it may have fallen since, and when it rises it is queued again */
    uint32_t pair;
} queued;

typedef struct learner {
    prn__strings words, symbols;
    int64_t *counts; /* of each word */
    size_t count_capacity;
    size_t *offsets;    /* of each word in `sequence` */
    uint32_t *lengths;  /* in symbols, as they are now */
    uint32_t *sequence; /* the words' symbols */
    pair *pairs;
    size_t pair_count, pair_capacity;
    uint32_t *slots; /* open addressing over pairs; number + 1, 0 is free */
    size_t slot_count;
    word_entry *entries;
    size_t entry_count, entry_capacity;
    queued *queue;
    size_t queue_count, queue_capacity;
    uint32_t *touched; /* pairs whose count the present merge raised */
    size_t touched_count, touched_capacity;
    uint32_t merge; /* the present merge's number, from 1 */
} learner;

/* Makes room for one more item; 0 when out of memory. */
static int room(void **items, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity) {
        return 1;
    }
    size_t larger = *capacity == 0 ? 1024 : *capacity * 2;
    void *grown = larger > SIZE_MAX / size ? NULL : prn__realloc(*items, larger * size);
    if (grown == NULL) {
        return 0;
    }
    *items = grown;
    *capacity = larger;
    return 1;
}

#define ROOM(l, items, count, capacity) room((void **)&(l)->items, (l)->count, &(l)->capacity, sizeof *(l)->items)

/* ---- words ---------------------------------------------------------------------------------------------------------------- */

static int add_word(learner *l, const uint32_t *points, size_t count)
{
    char bytes[WORD_LIMIT + 4];
    size_t length = 0;
    for (size_t i = 0; i < count; i++) {
        length += (size_t)prn__utf8_put(points[i], bytes + length);
        if (length > WORD_LIMIT) {
            return 1;
        }
    }
    size_t before = l->words.count;
    int64_t word = prn__strings_add(&l->words, bytes, length);
    if (word < 0) {
        return 0;
    }
    if ((size_t)word == before && !room((void **)&l->counts, before, &l->count_capacity, sizeof *l->counts)) {
        return 0;
    }
    l->counts[word] = (size_t)word == before ? 1 : l->counts[word] + 1;
    return 1;
}

static int add_caption(learner *l, const char *caption)
{
    prn__code_points clean;
    size_t at = 0, begin;
    prn__piece piece;
    prn__code_points_init(&clean);
    int fine = prn__text_clean(caption, strlen(caption), &clean) == PRN_OK;
    while (fine && (piece = prn__text_next(&clean, &at, &begin)) != PRN__PIECE_NONE) {
        fine = piece != PRN__PIECE_BYTES || add_word(l, clean.data + begin, at - begin);
    }
    prn__code_points_fini(&clean);
    return fine;
}

/* ---- pairs ------------------------------------------------------------------------------------------------------------------ */

static size_t pair_slot(const learner *l, uint32_t left, uint32_t right)
{
    uint64_t key = ((uint64_t)left << 32 | right) * 0x9E3779B97F4A7C15u;
    size_t mask = l->slot_count - 1, slot = (size_t)(key >> 32) & mask;
    while (l->slots[slot] != 0) {
        const pair *p = &l->pairs[l->slots[slot] - 1];
        if (p->left == left && p->right == right) {
            break;
        }
        slot = (slot + 1) & mask;
    }
    return slot;
}

static int grow_slots(learner *l)
{
    uint32_t *old = l->slots;
    size_t old_count = l->slot_count;
    l->slot_count = old_count == 0 ? 4096 : old_count * 2;
    l->slots = prn__alloc_array(l->slot_count, sizeof *l->slots);
    if (l->slots == NULL) {
        l->slots = old;
        l->slot_count = old_count;
        return 0;
    }
    for (size_t i = 0; i < l->pair_count; i++) {
        l->slots[pair_slot(l, l->pairs[i].left, l->pairs[i].right)] = (uint32_t)i + 1;
    }
    prn__free(old);
    return 1;
}

/* Adds a word's occurrences of a pair; the word enters the pair's list. */
static int raise_pair(learner *l, uint32_t left, uint32_t right, uint32_t word)
{
    if (l->pair_count * 2 >= l->slot_count && !grow_slots(l)) {
        return 0;
    }
    size_t slot = pair_slot(l, left, right);
    if (l->slots[slot] == 0) {
        if (l->pair_count >= NONE - 1 || !ROOM(l, pairs, pair_count, pair_capacity)) {
            return 0;
        }
        l->pairs[l->pair_count] = (pair){left, right, NONE, 0, 0, 0};
        l->slots[slot] = (uint32_t)++l->pair_count;
    }
    uint32_t number = l->slots[slot] - 1;
    pair *p = &l->pairs[number];
    p->count += l->counts[word];
    if (p->words == NONE || l->entries[p->words].word != word) {
        if (l->entry_count >= NONE - 1 || !ROOM(l, entries, entry_count, entry_capacity)) {
            return 0;
        }
        l->entries[l->entry_count] = (word_entry){word, p->words};
        p->words = (uint32_t)l->entry_count++;
    }
    if (p->changed != l->merge) {
        if (!ROOM(l, touched, touched_count, touched_capacity)) {
            return 0;
        }
        p->changed = l->merge;
        l->touched[l->touched_count++] = number;
    }
    return 1;
}

static void lower_pair(learner *l, uint32_t left, uint32_t right, uint32_t word)
{
    l->pairs[l->slots[pair_slot(l, left, right)] - 1].count -= l->counts[word];
}

/* ---- the queue ----------------------------------------------------------------------------------------------------------------- */

static int comes_before(const learner *l, queued a, queued b)
{
    const pair *p = &l->pairs[a.pair], *q = &l->pairs[b.pair];
    if (a.count != b.count) {
        return a.count > b.count;
    }
    return p->left != q->left ? p->left < q->left : p->right < q->right;
}

static int queue_push(learner *l, queued item)
{
    if (!ROOM(l, queue, queue_count, queue_capacity)) {
        return 0;
    }
    size_t at = l->queue_count++;
    while (at > 0 && comes_before(l, item, l->queue[(at - 1) / 2])) {
        l->queue[at] = l->queue[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    l->queue[at] = item;
    return 1;
}

static queued queue_pop(learner *l)
{
    queued top = l->queue[0], last = l->queue[--l->queue_count];
    size_t at = 0;
    for (;;) {
        size_t child = at * 2 + 1;
        if (child >= l->queue_count) {
            break;
        }
        child += child + 1 < l->queue_count && comes_before(l, l->queue[child + 1], l->queue[child]);
        if (!comes_before(l, l->queue[child], last)) {
            break;
        }
        l->queue[at] = l->queue[child];
        at = child;
    }
    l->queue[at] = last;
    return top;
}

static int queue_touched(learner *l)
{
    for (size_t i = 0; i < l->touched_count; i++) {
        pair *p = &l->pairs[l->touched[i]];
        if (p->count >= LEAST_COUNT && p->count > p->queued) {
            if (!queue_push(l, (queued){p->count, l->touched[i]})) {
                return 0;
            }
            p->queued = p->count;
        }
    }
    l->touched_count = 0;
    return 1;
}

/* The pair to merge next; NONE when no pair is left that occurs often enough. */
static uint32_t best_pair(learner *l)
{
    while (l->queue_count > 0) {
        queued top = queue_pop(l);
        pair *p = &l->pairs[top.pair];
        p->queued = 0;
        if (p->count == top.count) {
            return top.pair;
        }
        if (p->count >= LEAST_COUNT && p->count < top.count) {
            (void)queue_push(l, (queued){p->count, top.pair}); /* fits: its place in the queue was just freed */
            p->queued = p->count;
        }
    }
    return NONE;
}

/* ---- learning --------------------------------------------------------------------------------------------------------------------- */

static int start_sequences(learner *l)
{
    size_t total = 0;
    for (size_t w = 0; w < l->words.count; w++) {
        total += l->words.items[w].length;
    }
    l->offsets = prn__alloc_array(l->words.count + 1, sizeof *l->offsets);
    l->lengths = prn__alloc_array(l->words.count + 1, sizeof *l->lengths);
    l->sequence = prn__alloc_array(total + 1, sizeof *l->sequence);
    if (l->offsets == NULL || l->lengths == NULL || l->sequence == NULL) {
        return 0;
    }
    l->merge = 1;
    for (size_t w = 0, at = 0; w < l->words.count; w++) {
        const prn__string_item *item = &l->words.items[w];
        uint32_t *symbols = l->sequence + at;
        for (size_t i = 0; i < item->length; i++) {
            symbols[i] = (uint32_t)prn__symbol_of_byte((uint8_t)l->words.bytes[item->offset + i]);
        }
        symbols[item->length - 1] += 256;
        for (size_t i = 0; i + 1 < item->length; i++) {
            if (!raise_pair(l, symbols[i], symbols[i + 1], (uint32_t)w)) {
                return 0;
            }
        }
        l->offsets[w] = at;
        l->lengths[w] = item->length;
        at += item->length;
    }
    return queue_touched(l);
}

/* Joins a pair in one word, from left to right. Only pairs that touch a join change. */
static int merge_word(learner *l, uint32_t word, uint32_t left, uint32_t right, uint32_t made)
{
    uint32_t *symbols = l->sequence + l->offsets[word];
    uint32_t length = l->lengths[word], to = 0;
    unsigned char joined[WORD_LIMIT + 1] = {0};
    for (uint32_t i = 0; i + 1 < length; i++) {
        if (symbols[i] == left && symbols[i + 1] == right) {
            joined[i] = joined[i + 1] = 1;
            i++;
        }
    }
    for (uint32_t i = 0; i + 1 < length; i++) {
        if (joined[i] || joined[i + 1]) {
            lower_pair(l, symbols[i], symbols[i + 1], word);
        }
    }
    for (uint32_t i = 0; i < length; i++) {
        unsigned char here = joined[i];
        symbols[to] = here ? made : symbols[i];
        joined[to++] = here;
        i += here;
    }
    l->lengths[word] = to;
    for (uint32_t i = 0; i + 1 < to; i++) {
        if ((joined[i] || joined[i + 1]) && !raise_pair(l, symbols[i], symbols[i + 1], word)) {
            return 0;
        }
    }
    return 1;
}

/* The file's form of a symbol. */
static void write_symbol(const prn__strings *symbols, uint32_t symbol, prn__text *out)
{
    const prn__string_item *item = &symbols->items[symbol];
    for (size_t i = 0; i < item->length; i++) {
        char utf8[4];
        int length = prn__utf8_put(prn__character_of_byte((uint8_t)symbols->bytes[item->offset + i]), utf8);
        prn__text_append(out, utf8, (size_t)length);
    }
}

/* One merge: writes its line and joins its pair everywhere. */
static int merge_pair(learner *l, uint32_t number, prn__text *out, prn__text *bytes)
{
    const uint32_t left = l->pairs[number].left, right = l->pairs[number].right, words = l->pairs[number].words;
    const prn__string_item *a = &l->symbols.items[left], *b = &l->symbols.items[right];
    prn__text_clear(bytes);
    prn__text_append(bytes, l->symbols.bytes + a->offset, a->length);
    prn__text_append(bytes, l->symbols.bytes + b->offset, b->length);
    write_symbol(&l->symbols, left, out);
    prn__text_puts(out, " ");
    write_symbol(&l->symbols, right, out);
    prn__text_puts(out, "\n");
    int64_t made = bytes->failed || out->failed ? -1 : prn__strings_add(&l->symbols, bytes->data, bytes->length);
    if (made < 0) {
        return 0;
    }
    l->merge++;
    for (uint32_t at = words; at != NONE; at = l->entries[at].next) {
        if (!merge_word(l, l->entries[at].word, left, right, (uint32_t)made)) {
            return 0;
        }
    }
    return queue_touched(l);
}

static void learner_fini(learner *l)
{
    prn__strings_fini(&l->words);
    prn__strings_fini(&l->symbols);
    prn__free(l->counts);
    prn__free(l->offsets);
    prn__free(l->lengths);
    prn__free(l->sequence);
    prn__free(l->pairs);
    prn__free(l->slots);
    prn__free(l->entries);
    prn__free(l->queue);
    prn__free(l->touched);
}

prn_status prn__tokenizer_learn(const char *const *captions, size_t count, int64_t merges, const char *path, prn_error *error)
{
    learner l = {0};
    prn__text out, bytes;
    prn_status status = PRN_OK;
    if (merges < 1 || merges > PRN__MOST_MERGES) {
        return prn_error_set(error, PRN_INVALID, "%s: a vocabulary of %" PRId64 " merges asked for; want 1 to %d", path, merges, PRN__MOST_MERGES);
    }
    prn__text_init(&out);
    prn__text_init(&bytes);
    prn__text_puts(&out, "#version: 0.2\n");
    int fine = prn__symbols_init(&l.symbols) == PRN_OK;
    for (size_t i = 0; i < count && fine; i++) {
        fine = add_caption(&l, captions[i]);
    }
    fine = fine && start_sequences(&l);
    int64_t learned = 0;
    while (fine && learned < merges) {
        uint32_t best = best_pair(&l);
        if (best == NONE) {
            break;
        }
        fine = merge_pair(&l, best, &out, &bytes);
        learned++;
    }
    if (!fine || out.failed) {
        status = prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory while learning from %zu captions", path, count);
    } else if (learned == 0) {
        status = prn_error_set(error, PRN_INVALID, "%s: nothing to learn: no two neighbouring letters occur twice in the %zu captions", path, count);
    } else {
        status = prn__file_write_atomic(path, out.data, out.length, error);
    }
    prn__text_fini(&bytes);
    prn__text_fini(&out);
    learner_fini(&l);
    return status;
}
