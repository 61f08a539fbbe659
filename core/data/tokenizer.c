/* core/data/tokenizer.c: see tokenizer.h. A vocabulary file is read once into a table of merges; encoding only reads it.
 *
 * Symbols are known by their bytes: two merges that make the same bytes make the same symbol, whose id is that of the later merge, as in
 * the original. Invariant: a file that opens is one that encodes any text; everything wrong with it is found in prn__tokenizer_open.
 * Never in here: state that encoding changes.
 */
#include "data/tokenizer.h"

#include <inttypes.h>
#include <string.h>
#include <zlib.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "data/tokenizer_strings.h"
#include "data/tokenizer_symbols.h"
#include "data/tokenizer_text.h"

enum { FILE_LIMIT = 64 * 1024 * 1024, NO_MERGE = UINT32_MAX, STACK_SYMBOLS = 128, NONE = -1 };

typedef struct merge_slot {
    uint32_t left, right; /* symbols */
    uint32_t rank;        /* the merge's number, NO_MERGE when the slot is free */
} merge_slot;

typedef struct merge {
    uint32_t left, right, made; /* symbols */
} merge;

struct prn__tokenizer {
    prn__strings symbols; /* their bytes; "</w>" in letters */
    int32_t *ids;         /* of a symbol */
    int32_t *symbol_of;   /* of an id below start-of-text */
    merge *merges;        /* in the file's order */
    int64_t merge_count;
    merge_slot *slots; /* open addressing over `merges` */
    size_t slot_mask;
};

/* ---- the table of merges -------------------------------------------------------------------------------------------------- */

static size_t first_slot(const prn__tokenizer *t, uint32_t left, uint32_t right)
{
    uint64_t key = ((uint64_t)left << 32 | right) * 0x9E3779B97F4A7C15u;
    return (size_t)(key >> 32) & t->slot_mask;
}

static merge_slot *find_slot(const prn__tokenizer *t, uint32_t left, uint32_t right)
{
    size_t slot = first_slot(t, left, right);
    while (t->slots[slot].rank != NO_MERGE && (t->slots[slot].left != left || t->slots[slot].right != right)) {
        slot = (slot + 1) & t->slot_mask;
    }
    return &t->slots[slot];
}

/* ---- reading a file --------------------------------------------------------------------------------------------------------- */

static void *zlib_alloc(void *opaque, unsigned count, unsigned size)
{
    (void)opaque;
    return prn__alloc_array(count, size);
}

static void zlib_free(void *opaque, void *block)
{
    (void)opaque;
    prn__free(block);
}

/* Unpacks a gzip file (members one after another, as gzip allows) of at most FILE_LIMIT bytes. */
static prn_status unpack(const char *path, const char *packed, size_t packed_bytes, char **data, size_t *bytes, prn_error *error)
{
    z_stream stream = {.zalloc = zlib_alloc, .zfree = zlib_free};
    size_t capacity = packed_bytes < FILE_LIMIT / 4 ? packed_bytes * 4 + 4096 : FILE_LIMIT;
    prn_status status = PRN_OK;
    *data = NULL;
    *bytes = 0;
    if (inflateInit2(&stream, 15 + 16) != Z_OK) {
        return prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory while unpacking", path);
    }
    char *out = prn__alloc(capacity);
    if (out == NULL) {
        status = prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory while unpacking", path);
        goto done;
    }
    stream.next_in = (Bytef *)(uintptr_t)packed;
    stream.avail_in = (uInt)packed_bytes;
    for (;;) {
        if (*bytes == capacity) {
            size_t larger = capacity * 2 < FILE_LIMIT ? capacity * 2 : FILE_LIMIT;
            if (capacity >= FILE_LIMIT) {
                status = prn_error_set(error, PRN_INVALID, "%s: unpacks to more than the %d MiB that a vocabulary may have", path, FILE_LIMIT >> 20);
                goto done;
            }
            char *grown = prn__realloc(out, larger);
            if (grown == NULL) {
                status = prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory while unpacking", path);
                goto done;
            }
            out = grown;
            capacity = larger;
        }
        stream.next_out = (Bytef *)(out + *bytes);
        stream.avail_out = (uInt)(capacity - *bytes);
        int code = inflate(&stream, Z_NO_FLUSH);
        *bytes = capacity - stream.avail_out;
        if (code == Z_STREAM_END) {
            if (stream.avail_in == 0) {
                break;
            }
            code = inflateReset(&stream);
        } else if (code == Z_BUF_ERROR || (code == Z_OK && stream.avail_in == 0 && stream.avail_out > 0)) {
            status = prn_error_set(error, PRN_CORRUPT, "%s: the gzip data ends too early; get the file again", path);
            goto done;
        }
        if (code == Z_MEM_ERROR) {
            status = prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory while unpacking", path);
            goto done;
        }
        if (code != Z_OK) {
            status = prn_error_set(error, PRN_CORRUPT, "%s: damaged gzip data (%s); get the file again", path,
                                   stream.msg != NULL ? stream.msg : "not a gzip stream");
            goto done;
        }
    }
    *data = out;
    out = NULL;
done:
    prn__free(out);
    (void)inflateEnd(&stream);
    return status;
}

static prn_status read_file(const char *path, char **data, size_t *bytes, prn_error *error)
{
    prn_status status = prn__file_read(path, FILE_LIMIT, data, bytes, error);
    if (status != PRN_OK) {
        return status;
    }
    if (*bytes >= 2 && memcmp(*data, "\x1f\x8b", 2) == 0) {
        char *packed = *data;
        status = unpack(path, packed, *bytes, data, bytes, error);
        prn__free(packed);
    }
    return status;
}

/* A line's bytes for a message: what is not printable ASCII as '?', cut. */
static const char *shown(const char *line, size_t length, char target[48])
{
    size_t count = length < 40 ? length : 40;
    for (size_t i = 0; i < count; i++) {
        target[i] = (char)(line[i] >= 0x20 && line[i] < 0x7F ? line[i] : '?');
    }
    (void)snprintf(target + count, 48 - count, "%s", length > count ? "..." : "");
    return target;
}

/* The bytes that a symbol of the file stands for, in place of its characters (never more). -1 for a character that stands for none. */
static int64_t symbol_bytes(char *symbol, size_t length)
{
    size_t to = 0;
    for (size_t at = 0; at < length;) {
        size_t used;
        int byte = prn__byte_of_character(prn__utf8_get(symbol + at, length - at, &used));
        if (byte < 0) {
            return -1;
        }
        at += used;
        symbol[to++] = (char)byte;
    }
    return (int64_t)to;
}

/* One line "left right"; the bytes of both are left in `line`. */
static prn_status take_merge(prn__tokenizer *t, const char *path, int64_t number, char *line, size_t length, prn__text *made, prn_error *error)
{
    char quoted[48];
    const char *space = memchr(line, ' ', length);
    size_t left_length = space != NULL ? (size_t)(space - line) : 0, right_length = space != NULL ? length - left_length - 1 : 0;
    (void)shown(line, length, quoted); /* before the bytes change */
    if (left_length == 0 || right_length == 0 || memchr(space + 1, ' ', right_length) != NULL) {
        return prn_error_set(error, PRN_CORRUPT, "%s: line %" PRId64 ": wants two symbols with one space between them, has '%s'", path, number,
                             quoted);
    }
    char *right_at = line + left_length + 1;
    int64_t left_bytes = symbol_bytes(line, left_length), right_bytes = symbol_bytes(right_at, right_length);
    if (left_bytes < 0 || right_bytes < 0) {
        return prn_error_set(error, PRN_CORRUPT, "%s: line %" PRId64 ": '%s' has a character that stands for no byte; this is not a CLIP vocabulary",
                             path, number, quoted);
    }
    int64_t left = prn__strings_find(&t->symbols, line, (size_t)left_bytes), right = prn__strings_find(&t->symbols, right_at, (size_t)right_bytes);
    if (left < 0 || right < 0) {
        return prn_error_set(error, PRN_CORRUPT, "%s: line %" PRId64 ": the %s symbol of '%s' is made by no line before it", path, number,
                             left < 0 ? "left" : "right", quoted);
    }
    merge_slot *slot = find_slot(t, (uint32_t)left, (uint32_t)right);
    if (slot->rank != NO_MERGE) {
        return prn_error_set(error, PRN_CORRUPT, "%s: line %" PRId64 ": '%s' repeats line %" PRId64, path, number, quoted, (int64_t)slot->rank + 2);
    }
    prn__text_clear(made);
    prn__text_append(made, line, (size_t)left_bytes);
    prn__text_append(made, right_at, (size_t)right_bytes);
    int64_t symbol = made->failed ? -1 : prn__strings_add(&t->symbols, made->data, made->length);
    if (symbol < 0) {
        return prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory for its symbols", path);
    }
    int64_t rank = t->merge_count++;
    *slot = (merge_slot){(uint32_t)left, (uint32_t)right, (uint32_t)rank};
    t->merges[rank] = (merge){(uint32_t)left, (uint32_t)right, (uint32_t)symbol};
    t->ids[symbol] = (int32_t)(PRN__BASE_SYMBOLS + rank);
    t->symbol_of[PRN__BASE_SYMBOLS + rank] = (int32_t)symbol;
    return PRN_OK;
}

static int64_t count_lines(const char *data, size_t bytes)
{
    int64_t lines = 0;
    for (const char *at = data, *end = data + bytes; at < end; lines++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        at = stop != NULL ? stop + 1 : end;
    }
    return lines;
}

static prn_status make_tables(prn__tokenizer *t, const char *path, int64_t merges, prn_error *error)
{
    size_t symbols = (size_t)merges + PRN__BASE_SYMBOLS, slots = 1024;
    while (slots < (size_t)merges * 2) {
        slots *= 2;
    }
    t->merges = prn__alloc_array((size_t)merges, sizeof *t->merges);
    t->ids = prn__alloc_array(symbols, sizeof *t->ids);
    t->symbol_of = prn__alloc_array(symbols, sizeof *t->symbol_of);
    t->slots = prn__alloc_array(slots, sizeof *t->slots);
    t->slot_mask = slots - 1;
    if (t->merges == NULL || t->ids == NULL || t->symbol_of == NULL || t->slots == NULL || prn__symbols_init(&t->symbols) != PRN_OK) {
        return prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory for %" PRId64 " merges", path, merges);
    }
    for (size_t i = 0; i < slots; i++) {
        t->slots[i].rank = NO_MERGE;
    }
    for (int32_t i = 0; i < PRN__BASE_SYMBOLS; i++) {
        t->ids[i] = t->symbol_of[i] = i;
    }
    return PRN_OK;
}

prn_status prn__tokenizer_open(const char *path, int64_t merge_limit, prn__tokenizer **tokenizer, prn_error *error)
{
    static const char version[] = "#version";
    char *data = NULL;
    size_t bytes = 0;
    prn__tokenizer *t = NULL;
    prn__text made = {0};
    *tokenizer = NULL;
    if (merge_limit < 0 || merge_limit > PRN__MOST_MERGES) {
        return prn_error_set(error, PRN_INVALID, "%s: %" PRId64 " merges asked for; want 0 (as many as CLIP uses) to %d", path, merge_limit,
                             PRN__MOST_MERGES);
    }
    prn_status status = read_file(path, &data, &bytes, error);
    if (status != PRN_OK) {
        return status;
    }
    const char *end = data + bytes;
    const char *head_end = bytes > 0 ? memchr(data, '\n', bytes) : NULL;
    size_t head = head_end != NULL ? (size_t)(head_end - data) : bytes;
    if (head < sizeof version - 1 || memmem(data, head, version, sizeof version - 1) == NULL) {
        char quoted[48];
        status = prn_error_set(error, PRN_CORRUPT, "%s: the first line of a CLIP vocabulary holds '%s'; here it is '%s'%s", path, version,
                               shown(data, head, quoted), bytes == 0 ? " (the file is empty)" : "");
        goto done;
    }
    int64_t lines = count_lines(data, bytes) - 1, limit = merge_limit > 0 ? merge_limit : PRN__CLIP_MERGES;
    limit = lines < limit ? lines : limit;
    if (limit == 0) {
        status = prn_error_set(error, PRN_CORRUPT, "%s: has no merges behind its version line", path);
        goto done;
    }
    prn__text_init(&made);
    t = prn__alloc(sizeof *t);
    if (t == NULL) {
        status = prn_error_set(error, PRN_NO_MEMORY, "%s: out of memory", path);
        goto done;
    }
    status = make_tables(t, path, limit, error);
    char *line = data + head + 1;
    for (int64_t number = 2; status == PRN_OK && t->merge_count < limit && line < end; number++) {
        char *stop = memchr(line, '\n', (size_t)(end - line)), *next;
        stop = stop != NULL ? stop : data + bytes;
        next = stop < end ? stop + 1 : stop;
        stop -= stop > line && stop[-1] == '\r';
        status = take_merge(t, path, number, line, (size_t)(stop - line), &made, error);
        line = next;
    }
    if (status == PRN_OK) {
        *tokenizer = t;
        t = NULL;
    }
done:
    prn__tokenizer_close(t);
    prn__text_fini(&made);
    prn__free(data);
    return status;
}

void prn__tokenizer_close(prn__tokenizer *tokenizer)
{
    if (tokenizer != NULL) {
        prn__strings_fini(&tokenizer->symbols);
        prn__free(tokenizer->ids);
        prn__free(tokenizer->symbol_of);
        prn__free(tokenizer->merges);
        prn__free(tokenizer->slots);
        prn__free(tokenizer);
    }
}

int64_t prn__tokenizer_vocab_size(const prn__tokenizer *tokenizer)
{
    return PRN__BASE_SYMBOLS + tokenizer->merge_count + 2;
}

/* ---- encoding ----------------------------------------------------------------------------------------------------------------- */

/* A piece as a list of symbols. */
typedef struct node {
    uint32_t symbol;
    int32_t previous, next; /* NONE at the ends; `previous` is GONE once the node was joined to the one before */
} node;

enum { GONE = -2 };

/* Candidates, lowest (rank, position) first. Those found while a merge is joined wait at the array's other end until it is joined everywhere:
 * a vocabulary may give a later merge's result an earlier merge, and the original finishes one merge before it looks for the next. */
typedef struct queue {
    uint64_t *items; /* rank << 32 | position */
    size_t count, waiting, capacity;
} queue;

static void queue_push(queue *q, uint64_t item)
{
    size_t at = q->count++;
    while (at > 0 && q->items[(at - 1) / 2] > item) {
        q->items[at] = q->items[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    q->items[at] = item;
}

static uint64_t queue_pop(queue *q)
{
    uint64_t top = q->items[0], last = q->items[--q->count];
    size_t at = 0;
    for (;;) {
        size_t child = at * 2 + 1;
        if (child >= q->count) {
            break;
        }
        child += child + 1 < q->count && q->items[child + 1] < q->items[child];
        if (q->items[child] >= last) {
            break;
        }
        q->items[at] = q->items[child];
        at = child;
    }
    q->items[at] = last;
    return top;
}

/* The candidate of the pair that starts at `left`; UINT64_MAX when it is no merge. */
static uint64_t candidate(const prn__tokenizer *t, const node *nodes, int32_t left)
{
    if (left < 0 || nodes[left].next < 0) {
        return UINT64_MAX;
    }
    uint32_t rank = find_slot(t, nodes[left].symbol, nodes[nodes[left].next].symbol)->rank;
    return rank == NO_MERGE ? UINT64_MAX : (uint64_t)rank << 32 | (uint32_t)left;
}

/* Joins what the merges join. Each join leaves at most two new candidates, so 3 * count items are room enough. */
static void join(const prn__tokenizer *t, node *nodes, size_t count, uint64_t *items)
{
    queue q = {items, 0, 0, 3 * count};
    for (size_t i = 0; i + 1 < count; i++) {
        uint64_t item = candidate(t, nodes, (int32_t)i);
        if (item != UINT64_MAX) {
            queue_push(&q, item);
        }
    }
    while (q.count > 0) {
        uint32_t rank = (uint32_t)(q.items[0] >> 32);
        const merge *m = &t->merges[rank];
        while (q.count > 0 && (uint32_t)(q.items[0] >> 32) == rank) {
            int32_t at = (int32_t)(uint32_t)queue_pop(&q);
            node *left = &nodes[at];
            if (left->previous == GONE || left->next < 0 || left->symbol != m->left || nodes[left->next].symbol != m->right) {
                continue; /* the pair is no more */
            }
            node *right = &nodes[left->next];
            left->symbol = m->made;
            left->next = right->next;
            right->previous = GONE;
            if (left->next >= 0) {
                nodes[left->next].previous = at;
            }
            const uint64_t fresh[2] = {candidate(t, nodes, left->previous), candidate(t, nodes, at)};
            for (int i = 0; i < 2; i++) {
                if (fresh[i] != UINT64_MAX) {
                    q.items[q.capacity - ++q.waiting] = fresh[i];
                }
            }
        }
        while (q.waiting > 0) {
            queue_push(&q, q.items[q.capacity - q.waiting--]);
        }
    }
}

/* The symbols of one piece; returns how many there are. */
static size_t piece_nodes(const uint32_t *points, size_t count, node *nodes)
{
    size_t made = 0;
    for (size_t i = 0; i < count; i++) {
        char bytes[4];
        int length = prn__utf8_put(points[i], bytes);
        for (int j = 0; j < length; j++, made++) {
            nodes[made] = (node){(uint32_t)prn__symbol_of_byte((uint8_t)bytes[j]), (int32_t)made - 1, (int32_t)made + 1};
        }
    }
    nodes[made - 1].symbol += 256;
    nodes[made - 1].next = NONE;
    return made;
}

int64_t prn__tokenizer_encode(const prn__tokenizer *tokenizer, const char *text, size_t length, int64_t context_length, int32_t *ids)
{
    const int32_t start = (int32_t)(PRN__BASE_SYMBOLS + tokenizer->merge_count), stop = start + 1;
    node stack_nodes[STACK_SYMBOLS];
    uint64_t stack_items[3 * STACK_SYMBOLS];
    prn__code_points clean;
    size_t at = 0, begin;
    prn__piece piece;
    if (context_length < 2 || length > INT32_MAX / 16) { /* the second: positions must fit, also when cleaning lengthens the text */
        return 0;
    }
    prn__code_points_init(&clean);
    int64_t count = prn__text_clean(text, length, &clean) == PRN_OK ? 1 : 0;
    ids[0] = start;
    while (count > 0 && count < context_length && (piece = prn__text_next(&clean, &at, &begin)) != PRN__PIECE_NONE) {
        if (piece != PRN__PIECE_BYTES) {
            ids[count++] = piece == PRN__PIECE_START ? start : stop;
            continue;
        }
        node *nodes = stack_nodes;
        uint64_t *items = stack_items;
        size_t bytes = 0;
        for (size_t i = begin; i < at; i++) {
            bytes += clean.data[i] < 0x80 ? 1 : clean.data[i] < 0x800 ? 2 : clean.data[i] < 0x10000 ? 3 : 4;
        }
        if (bytes > STACK_SYMBOLS) {
            nodes = prn__alloc_array(bytes, sizeof *nodes);
            items = prn__alloc_array(bytes, 3 * sizeof *items);
        }
        if (nodes != NULL && items != NULL) {
            join(tokenizer, nodes, piece_nodes(clean.data + begin, at - begin, nodes), items);
            for (int32_t n = 0; n >= 0 && count < context_length; n = nodes[n].next) {
                ids[count++] = tokenizer->ids[nodes[n].symbol];
            }
        } else {
            count = 0;
        }
        if (bytes > STACK_SYMBOLS) {
            prn__free(nodes);
            prn__free(items);
        }
    }
    if (count > 0) {
        count = count < context_length ? count + 1 : context_length;
        ids[count - 1] = stop;
    }
    prn__code_points_fini(&clean);
    return count;
}

/* ---- decoding --------------------------------------------------------------------------------------------------------------------- */

/* Appends bytes with U+FFFD for what is no UTF-8, so that the result can be shown. */
static void append_valid(prn__text *text, const char *bytes, size_t length)
{
    for (size_t at = 0; at < length;) {
        size_t used;
        char utf8[4];
        int count = prn__utf8_put(prn__utf8_get(bytes + at, length - at, &used), utf8);
        prn__text_append(text, utf8, (size_t)count);
        at += used;
    }
}

char *prn__tokenizer_decode(const prn__tokenizer *tokenizer, const int32_t *ids, int64_t count)
{
    const int32_t start = (int32_t)(PRN__BASE_SYMBOLS + tokenizer->merge_count), stop = start + 1;
    const size_t mark = sizeof PRN__WORD_END - 1;
    prn__text raw, text;
    prn__text_init(&raw);
    prn__text_init(&text);
    for (int64_t i = 0; i < count; i++) {
        if ((ids[i] == start && i == 0) || (ids[i] == stop && i == count - 1)) {
            continue; /* the caption's own ends; in its middle they were written out */
        }
        if (ids[i] == start || ids[i] == stop) {
            prn__text_puts(&raw, ids[i] == start ? "<start_of_text> " : "<end_of_text> ");
        } else if (ids[i] >= 0 && ids[i] < start) {
            const prn__string_item *item = &tokenizer->symbols.items[tokenizer->symbol_of[ids[i]]];
            const char *bytes = tokenizer->symbols.bytes + item->offset;
            int ends = item->length > mark && memcmp(bytes + item->length - mark, PRN__WORD_END, mark) == 0;
            prn__text_append(&raw, bytes, ends ? item->length - mark : item->length);
            prn__text_append(&raw, " ", ends ? 1 : 0);
        } else {
            prn__text_puts(&raw, "\xEF\xBF\xBD"); /* no id of this vocabulary */
        }
    }
    while (raw.length > 0 && raw.data[raw.length - 1] == ' ') {
        raw.length--;
    }
    append_valid(&text, raw.data, raw.length);
    char *result = raw.failed || text.failed ? NULL : prn__strdup(text.data != NULL ? text.data : "");
    prn__text_fini(&raw);
    prn__text_fini(&text);
    return result;
}
