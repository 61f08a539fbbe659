/* core/data/tar.c: see tar.h. The layout is POSIX.1-2001's pax interchange format, with GNU's 'L' and base-256 sizes. */
#include "data/tar.h"

#include <string.h>

enum { BLOCK = 512, NAME = 0, NAME_BYTES = 100, SIZE = 124, SIZE_BYTES = 12, CHECKSUM = 148, TYPE = 156, MAGIC = 257, PREFIX = 345, PREFIX_BYTES = 155 };

/* A pax or long-name member larger than this is damage, not a name. */
enum { META_LIMIT = 1 << 20 };

void prn__tar_start(prn__tar_walk *walk, const uint8_t *data, size_t bytes)
{
    walk->data = data;
    walk->bytes = bytes;
    walk->at = 0;
    walk->end = PRN__TAR_WHOLE;
}

static int parse_number(const uint8_t *field, size_t bytes, uint64_t *value)
{
    uint64_t result = 0;
    if ((field[0] & 0x80) != 0) { /* base 256 */
        result = field[0] & 0x3f;
        for (size_t i = 1; i < bytes; i++) {
            if (result >> 55 != 0) {
                return 0;
            }
            result = result << 8 | field[i];
        }
        *value = result;
        return (field[0] & 0x40) == 0; /* no negative sizes */
    }
    size_t i = 0;
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
    if (!parse_number(header + CHECKSUM, 8, &stated)) {
        return 0;
    }
    for (int i = 0; i < BLOCK; i++) {
        uint8_t c = i >= CHECKSUM && i < CHECKSUM + 8 ? ' ' : header[i];
        sum += c;
        signed_sum += (int8_t)c;
    }
    return stated == sum || (int64_t)stated == signed_sum;
}

static int is_zero(const uint8_t *block)
{
    for (int i = 0; i < BLOCK; i++) {
        if (block[i] != 0) {
            return 0;
        }
    }
    return 1;
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
static void read_pax(const uint8_t *text, uint64_t bytes, char *name, uint64_t *size, int *has_size)
{
    uint64_t at = 0;
    while (at < bytes) {
        uint64_t length = 0, digits = at;
        while (digits < bytes && text[digits] >= '0' && text[digits] <= '9' && length < META_LIMIT) {
            length = length * 10 + (uint64_t)(text[digits++] - '0');
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
    walk->at = walk->bytes;
    return 0;
}

int prn__tar_next(prn__tar_walk *walk, prn__tar_member *member)
{
    char long_name[PRN__TAR_NAME_BYTES] = "";
    uint64_t pax_size = 0;
    int has_pax_size = 0;
    while (walk->at < walk->bytes) {
        if (walk->bytes - walk->at < BLOCK) {
            return stop(walk, PRN__TAR_TRUNCATED);
        }
        const uint8_t *header = walk->data + walk->at;
        if (is_zero(header)) {
            return stop(walk, PRN__TAR_WHOLE); /* the end mark; what follows it is padding */
        }
        uint64_t size;
        if (!checksum_holds(header) || !parse_number(header + SIZE, SIZE_BYTES, &size)) {
            return stop(walk, PRN__TAR_BAD_HEADER);
        }
        uint8_t type = header[TYPE];
        int is_file = type == '0' || type == 0 || type == '7';
        if (is_file && has_pax_size) {
            size = pax_size;
        }
        uint64_t data = walk->at + BLOCK;
        if (size > walk->bytes - data) {
            return stop(walk, PRN__TAR_TRUNCATED);
        }
        uint64_t padded = (size + BLOCK - 1) / BLOCK * BLOCK;
        walk->at = padded > walk->bytes - data ? walk->bytes : data + padded;
        if (type == 'L' || type == 'x') {
            if (size > META_LIMIT) {
                return stop(walk, PRN__TAR_BAD_HEADER);
            }
            if (type == 'L') {
                copy_text(long_name, walk->data + data, (size_t)size);
            } else {
                read_pax(walk->data + data, size, long_name, &pax_size, &has_pax_size);
            }
            continue;
        }
        if (!is_file) {
            long_name[0] = '\0';
            has_pax_size = 0;
            continue;
        }
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
        member->offset = data;
        member->bytes = size;
        return 1;
    }
    /* two zero blocks should close an archive; many writers are killed before that, and nothing is lost by it */
    return 0;
}
