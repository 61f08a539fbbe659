/* core/data/tar.c: see tar.h. The layout is POSIX.1-2001's pax interchange format, with GNU's 'L' and base-256 sizes. */
#include "data/tar.h"

#include <string.h>

enum { BLOCK = PRN__TAR_BLOCK, NAME = 0, NAME_BYTES = 100, SIZE = 124, SIZE_BYTES = 12, CHECKSUM = 148, CHECKSUM_BYTES = 8, TYPE = 156, MAGIC = 257, PREFIX = 345,
       PREFIX_BYTES = 155 };

/* A pax or long-name member larger than this is damage, not a name; it must fit into the window. */
enum { META_LIMIT = PRN__TAR_WINDOW / 2 };

void prn__tar_start(prn__tar_walk *walk, prn__tar_read read, void *context, uint64_t bytes)
{
    memset(walk, 0, offsetof(prn__tar_walk, window));
    walk->read = read;
    walk->context = context;
    walk->bytes = bytes;
}

/* `bytes` bytes at `offset`, which must lie inside the archive; NULL when they cannot be read. The pointer holds until the next call. */
static const uint8_t *peek(prn__tar_walk *walk, uint64_t offset, size_t bytes)
{
    if (offset < walk->window_start || offset - walk->window_start > walk->window_bytes ||
        walk->window_bytes - (offset - walk->window_start) < bytes) {
        /* a small window after a jump: what follows a header is mostly data that nobody wants here */
        uint64_t left = walk->bytes - offset;
        size_t wanted = walk->in_gap || bytes > 8 * BLOCK ? sizeof walk->window : 8 * BLOCK;
        wanted = left < wanted ? (size_t)left : wanted;
        walk->window_bytes = 0;
        if (!walk->read(walk->context, offset, walk->window, wanted)) {
            return NULL;
        }
        walk->window_start = offset;
        walk->window_bytes = wanted;
    }
    return walk->window + (offset - walk->window_start);
}

static int parse_number(const uint8_t *field, size_t bytes, uint64_t *value)
{
    uint64_t result = 0;
    size_t i = 0;
    if ((field[0] & 0x80) != 0) { /* base 256; 0xff would be a negative number */
        result = field[0] & 0x7f;
        for (i = 1; i < bytes; i++) {
            if (result >> 55 != 0) {
                return 0;
            }
            result = result << 8 | field[i];
        }
        *value = result;
        return 1;
    }
    while (i < bytes && (field[i] == ' ' || field[i] == '0')) {
        i++;
    }
    for (; i < bytes && field[i] >= '0' && field[i] <= '7'; i++) {
        result = result << 3 | (uint64_t)(field[i] - '0');
    }
    if (i < bytes && field[i] != 0 && field[i] != ' ') {
        return 0;
    }
    *value = result;
    return 1;
}

static int checksum_holds(const uint8_t *header)
{
    uint64_t stated;
    uint32_t sum = 0;
    int32_t signed_sum = 0; /* some old writers summed signed characters */
    if (!parse_number(header + CHECKSUM, CHECKSUM_BYTES, &stated)) {
        return 0;
    }
    for (int i = 0; i < BLOCK; i++) {
        uint8_t c = i >= CHECKSUM && i < CHECKSUM + CHECKSUM_BYTES ? ' ' : header[i];
        sum += c;
        signed_sum += (int8_t)c;
    }
    return stated == sum || (signed_sum >= 0 && stated == (uint64_t)signed_sum);
}

static int is_zero(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] != 0) {
            return 0;
        }
    }
    return 1;
}

static int is_header(const uint8_t *header, uint64_t *size)
{
    return checksum_holds(header) && parse_number(header + SIZE, SIZE_BYTES, size);
}

static void copy_text(char *target, const uint8_t *text, size_t bytes)
{
    size_t n = 0;
    while (n < bytes && n + 1 < PRN__TAR_NAME_BYTES && text[n] != 0) {
        target[n] = (char)text[n];
        n++;
    }
    target[n] = '\0';
}

/* The records "LENGTH key=value\n" that matter here. */
static void read_pax(const uint8_t *text, size_t bytes, char *name, uint64_t *size, int *has_size)
{
    size_t at = 0;
    while (at < bytes) {
        size_t length = 0, digits = at;
        while (digits < bytes && text[digits] >= '0' && text[digits] <= '9' && length <= META_LIMIT) {
            length = length * 10 + (size_t)(text[digits++] - '0');
        }
        if (digits == at || digits >= bytes || text[digits] != ' ' || length > bytes - at || length < digits - at + 3) {
            return;
        }
        const uint8_t *key = text + digits + 1, *end = text + at + length - 1; /* without the newline */
        if (end - key > 5 && memcmp(key, "path=", 5) == 0) {
            copy_text(name, key + 5, (size_t)(end - key - 5));
        } else if (end - key > 5 && memcmp(key, "size=", 5) == 0) {
            uint64_t value = 0;
            const uint8_t *c = key + 5;
            while (c < end && *c >= '0' && *c <= '9' && value < (uint64_t)1 << 58) {
                value = value * 10 + (uint64_t)(*c++ - '0');
            }
            *size = value;
            *has_size = c == end;
        }
        at += length;
    }
}

static int stop(prn__tar_walk *walk, prn__tar_end end)
{
    walk->end = end;
    walk->has_ended = 1;
    walk->at = walk->bytes;
    return 0;
}

/* Moves on to the next block that is a header beyond doubt: magic and checksum. 0 when there is none. */
static int find_header(prn__tar_walk *walk)
{
    uint64_t size;
    while (walk->bytes - walk->at >= BLOCK) {
        const uint8_t *block = peek(walk, walk->at, BLOCK);
        if (block == NULL) {
            return stop(walk, PRN__TAR_UNREADABLE);
        }
        if (memcmp(block + MAGIC, "ustar", 5) == 0 && is_header(block, &size)) {
            return 1;
        }
        walk->at += BLOCK;
    }
    return 0;
}

/* Called at a block of zeros. Two of them end an archive, and mostly only padding follows; but archives are also joined with
 * `cat`, and files have holes, so that a header further on is taken up again. 1: at such a header; 0: the archive's end. */
static int pass_zeros(prn__tar_walk *walk)
{
    uint64_t start = walk->at, size;
    walk->in_gap = 1; /* read in large steps */
    while (walk->bytes - walk->at >= BLOCK) {
        const uint8_t *block = peek(walk, walk->at, BLOCK);
        if (block == NULL) {
            return stop(walk, PRN__TAR_UNREADABLE);
        }
        if (!is_zero(block, BLOCK)) {
            break;
        }
        walk->at += BLOCK;
    }
    uint64_t zeros = (walk->at - start) / BLOCK;
    walk->in_gap = 0;
    if (walk->bytes - walk->at < BLOCK) {
        return stop(walk, PRN__TAR_WHOLE);
    }
    const uint8_t *block = peek(walk, walk->at, BLOCK);
    if (block != NULL && zeros >= 2 && memcmp(block + MAGIC, "ustar", 5) == 0 && is_header(block, &size)) {
        return 1; /* the next of several joined archives */
    }
    walk->in_gap = 1;
    if (block == NULL || !find_header(walk)) {
        if (walk->end == PRN__TAR_UNREADABLE || block == NULL) {
            return stop(walk, PRN__TAR_UNREADABLE);
        }
        walk->gaps += zeros < 2;
        walk->in_gap = 0;
        return stop(walk, PRN__TAR_WHOLE); /* two zero blocks did end it; what follows them is nobody's */
    }
    walk->gaps++;
    return 1;
}

int prn__tar_next(prn__tar_walk *walk, prn__tar_member *member)
{
    char long_name[PRN__TAR_NAME_BYTES] = "";
    uint64_t pax_size = 0, size = 0;
    int has_pax_size = 0, follows_gap = 0;
    while (walk->at < walk->bytes) {
        uint64_t left = walk->bytes - walk->at;
        const uint8_t *header = peek(walk, walk->at, left < BLOCK ? (size_t)left : BLOCK);
        if (header == NULL) {
            return stop(walk, PRN__TAR_UNREADABLE);
        }
        if (left < BLOCK) {
            return stop(walk, is_zero(header, (size_t)left) ? PRN__TAR_WHOLE : PRN__TAR_TRUNCATED);
        }
        int is_end = is_zero(header, BLOCK);
        if (is_end || !is_header(header, &size)) {
            int64_t before = walk->gaps;
            long_name[0] = '\0';
            has_pax_size = 0;
            if (is_end) {
                if (!pass_zeros(walk)) {
                    return 0;
                }
            } else {
                walk->in_gap = 1;
                walk->gaps++;
                walk->at += BLOCK;
                if (!find_header(walk)) {
                    return stop(walk, walk->end == PRN__TAR_UNREADABLE ? PRN__TAR_UNREADABLE : PRN__TAR_WHOLE);
                }
            }
            walk->in_gap = 0;
            follows_gap |= walk->gaps != before;
            continue;
        }
        uint8_t type = header[TYPE];
        int is_file = type == '0' || type == 0 || type == '7';
        if (is_file && has_pax_size) {
            size = pax_size;
        } else if (type >= '1' && type <= '6') {
            size = 0; /* links, devices and folders may state a size, but no data follows */
        }
        uint64_t data = walk->at + BLOCK, room = walk->bytes - data;
        if (size > room) {
            return stop(walk, PRN__TAR_TRUNCATED);
        }
        uint64_t padded = size + (BLOCK - size % BLOCK) % BLOCK;
        if (type == 'L' || type == 'x') {
            const uint8_t *text = size <= META_LIMIT ? peek(walk, data, (size_t)size) : NULL;
            if (text != NULL && type == 'L') {
                copy_text(long_name, text, (size_t)size);
            } else if (text != NULL) {
                read_pax(text, (size_t)size, long_name, &pax_size, &has_pax_size);
            } else if (size <= META_LIMIT) {
                return stop(walk, PRN__TAR_UNREADABLE);
            }
        } else if (is_file) {
            member->offset = data;
            member->bytes = size;
            member->follows_gap = follows_gap;
            if (long_name[0] != '\0') {
                memcpy(member->name, long_name, sizeof long_name);
            } else if (memcmp(header + MAGIC, "ustar", 6) == 0 && header[PREFIX] != 0) {
                copy_text(member->name, header + PREFIX, PREFIX_BYTES);
                size_t used = strlen(member->name);
                member->name[used] = '/';
                copy_text(member->name + used + 1, header + NAME, NAME_BYTES);
            } else {
                copy_text(member->name, header + NAME, NAME_BYTES);
            }
        } else if (type != 'g' && type != 'K') {
            long_name[0] = '\0';
            has_pax_size = 0;
        }
        walk->at = padded > room ? walk->bytes : data + padded;
        if (is_file) {
            return 1;
        }
    }
    /* An archive ends with zeros. Without them its writer was stopped or its tail was cut off, and what is missing is unknown. */
    return walk->has_ended ? 0 : stop(walk, PRN__TAR_TRUNCATED);
}
