/* core/data/tokenizer_text.c: see tokenizer_text.h. The steps are in the order in which they are applied.
 *
 * Steps that cannot lengthen a text work in place; the others write to a second buffer. A text of plain ASCII without '&' and control
 * characters, which is nearly every caption, skips all of ftfy.
 */
#include "data/tokenizer_text.h"

#include <string.h>
#include <utf8proc.h>

#include "base/memory.h"

enum { REPLACEMENT = 0xFFFD, SEGMENT_LIMIT = 1000000, ENTITY_MOST = 34 };

/* ftfy repeats its steps until nothing changes; a text made for it ("&amp;amp;amp;...") would cost its length squared. A text has this many
 * code point visits in all: enough for nesting of any depth in texts below 8,000 characters, and for 64 rounds over a million. */
static const int64_t WORK_LIMIT = 64000000;

/* ---- code points ------------------------------------------------------------------------------------------------------- */

void prn__code_points_init(prn__code_points *points)
{
    points->data = points->own;
    points->length = 0;
    points->capacity = sizeof points->own / sizeof points->own[0];
    points->failed = 0;
}

void prn__code_points_fini(prn__code_points *points)
{
    if (points->data != points->own) {
        prn__free(points->data);
    }
    prn__code_points_init(points);
}

static int reserve(prn__code_points *points, size_t more)
{
    if (points->capacity - points->length >= more) {
        return 1;
    }
    size_t capacity = points->capacity * 2 > points->length + more ? points->capacity * 2 : points->length + more;
    uint32_t *grown = prn__alloc_array(capacity, sizeof *grown);
    if (grown == NULL) {
        points->failed = 1;
        return 0;
    }
    memcpy(grown, points->data, points->length * sizeof *grown);
    if (points->data != points->own) {
        prn__free(points->data);
    }
    points->data = grown;
    points->capacity = capacity;
    return 1;
}

void prn__code_points_append(prn__code_points *points, uint32_t point)
{
    if (points->length < points->capacity || reserve(points, 1)) {
        points->data[points->length++] = point;
    }
}

static void append_all(prn__code_points *points, const uint32_t *from, size_t count)
{
    if (reserve(points, count)) {
        memcpy(points->data + points->length, from, count * sizeof *from);
        points->length += count;
    }
}

int prn__utf8_put(uint32_t point, char bytes[4])
{
    if (point < 0x80) {
        bytes[0] = (char)point;
        return 1;
    }
    if (point < 0x800) {
        bytes[0] = (char)(0xC0 | point >> 6);
        bytes[1] = (char)(0x80 | (point & 0x3F));
        return 2;
    }
    if (point < 0x10000) {
        bytes[0] = (char)(0xE0 | point >> 12);
        bytes[1] = (char)(0x80 | (point >> 6 & 0x3F));
        bytes[2] = (char)(0x80 | (point & 0x3F));
        return 3;
    }
    bytes[0] = (char)(0xF0 | point >> 18);
    bytes[1] = (char)(0x80 | (point >> 12 & 0x3F));
    bytes[2] = (char)(0x80 | (point >> 6 & 0x3F));
    bytes[3] = (char)(0x80 | (point & 0x3F));
    return 4;
}

uint32_t prn__utf8_get(const char *text, size_t length, size_t *used)
{
    const unsigned char *at = (const unsigned char *)text;
    unsigned char first = at[0];
    *used = 1;
    if (first < 0x80) {
        return first;
    }
    int more = first >= 0xC2 && first <= 0xDF ? 1 : first >= 0xE0 && first <= 0xEF ? 2 : first >= 0xF0 && first <= 0xF4 ? 3 : 0;
    uint32_t point = more == 1 ? first & 0x1Fu : more == 2 ? first & 0x0Fu : first & 0x07u;
    if (more == 0) {
        return REPLACEMENT;
    }
    for (int i = 1; i <= more; i++) {
        /* the second byte's range keeps out overlong forms, surrogates and what is above U+10FFFF */
        unsigned char low = i == 1 && first == 0xE0 ? 0xA0 : i == 1 && first == 0xF0 ? 0x90 : 0x80;
        unsigned char high = i == 1 && first == 0xED ? 0x9F : i == 1 && first == 0xF4 ? 0x8F : 0xBF;
        if ((size_t)i >= length || at[i] < low || at[i] > high) {
            return REPLACEMENT; /* one for the part that was valid so far */
        }
        point = point << 6 | (at[i] & 0x3Fu);
        *used = (size_t)i + 1;
    }
    return point;
}

static void decode(const char *text, size_t length, prn__code_points *points)
{
    if (!reserve(points, length)) { /* never more code points than bytes */
        return;
    }
    for (size_t at = 0; at < length;) {
        size_t used;
        points->data[points->length++] = prn__utf8_get(text + at, length - at, &used);
        at += used;
    }
}

/* ---- HTML ---------------------------------------------------------------------------------------------------------------- */

static const uint16_t windows_1252[32] = {
    0x20AC, 0x81, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0x8D, 0x017D, 0x8F,
    0x90, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x9D, 0x017E, 0x0178};

static int is_digit(uint32_t c)
{
    return c >= '0' && c <= '9';
}

static int hex_value(uint32_t c)
{
    return is_digit(c) ? (int)c - '0' : c >= 'a' && c <= 'f' ? (int)c - 'a' + 10 : c >= 'A' && c <= 'F' ? (int)c - 'A' + 10 : -1;
}

static int is_letter_ascii(uint32_t c)
{
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z' && c < 0x80;
}

/* `name` is ASCII. */
static const prn__entity *find_entity(const char *name, size_t length)
{
    size_t low = 0, high = prn__entity_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strncmp(prn__entities[middle].name, name, length);
        if (order == 0 && prn__entities[middle].name[length] == '\0') {
            return &prn__entities[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

/* The longest proper prefix of at least two characters that is a name; its length in *prefix. */
static const prn__entity *find_prefix(const char *name, size_t length, size_t *prefix)
{
    for (*prefix = length; *prefix >= 2; --*prefix) {
        const prn__entity *entity = find_entity(name, *prefix);
        if (entity != NULL) {
            return entity;
        }
    }
    return NULL;
}

/* What html.unescape makes of a number: the code point, or -1 for nothing at all. */
static int64_t numeric_value(uint32_t number)
{
    if (number >= 0x80 && number <= 0x9F) {
        return windows_1252[number - 0x80];
    }
    if (number == 0 || number > 0x10FFFF || (number >= 0xD800 && number <= 0xDFFF)) {
        return REPLACEMENT;
    }
    if (number <= 0x08 || number == 0x0B || (number >= 0x0E && number <= 0x1F) || number == 0x7F || (number >= 0xFDD0 && number <= 0xFDEF) ||
        (number & 0xFFFE) == 0xFFFE) {
        return -1;
    }
    return number;
}

/* The digits of "#38" or "#x26" at `from`: the number (kept in range) and the length up to behind them, 0 when there are none. */
static size_t take_number(const uint32_t *from, size_t left, uint32_t *number)
{
    size_t at = 1;
    uint32_t value = 0;
    int base = 10;
    if (left < 2 || from[0] != '#') {
        return 0;
    }
    if (from[1] == 'x' || from[1] == 'X') {
        base = 16;
        at = 2;
    }
    size_t start = at;
    for (; at < left; at++) {
        int digit = hex_value(from[at]);
        if (digit < 0 || digit >= base) {
            break;
        }
        value = value > 0x10FFFF ? value : value * (uint32_t)base + (uint32_t)digit;
    }
    *number = value;
    return at == start ? 0 : at;
}

static size_t put_entity(const prn__entity *entity, uint32_t *to)
{
    to[0] = entity->code_points[0];
    to[1] = entity->code_points[1];
    return entity->code_points[1] != 0 ? 2 : 1;
}

/* Python's html.unescape, once, in place: a reference is never shorter than what it stands for. */
static void html_unescape(prn__code_points *text)
{
    uint32_t *data = text->data;
    size_t length = text->length, to = 0;
    for (size_t at = 0; at < length;) {
        if (data[at] != '&') {
            data[to++] = data[at++];
            continue;
        }
        const uint32_t *from = data + at + 1;
        size_t left = length - at - 1, taken = 0, ascii = 0, prefix;
        uint32_t number;
        char name[ENTITY_MOST];
        if (left > 0 && from[0] == '#') {
            taken = take_number(from, left, &number);
            if (taken == 0) {
                data[to++] = data[at++];
                continue;
            }
            taken += taken < left && from[taken] == ';';
            int64_t value = numeric_value(number);
            if (value >= 0) {
                data[to++] = (uint32_t)value;
            }
            at += 1 + taken;
            continue;
        }
        while (taken < left && taken < 32 && from[taken] != '\t' && from[taken] != '\n' && from[taken] != '\f' && from[taken] != ' ' &&
               from[taken] != '<' && from[taken] != '&' && from[taken] != '#' && from[taken] != ';') {
            if (from[taken] < 0x80 && ascii == taken) {
                name[ascii++] = (char)from[taken];
            }
            taken++;
        }
        const prn__entity *entity = NULL;
        if (taken > 0 && ascii == taken && taken < left && from[taken] == ';') {
            name[ascii] = ';';
            entity = find_entity(name, ascii + 1);
            prefix = ascii + 1;
        }
        if (entity == NULL) { /* without ';' the whole match is one of the prefixes */
            entity = find_prefix(name, ascii, &prefix);
        }
        if (entity != NULL) {
            to += put_entity(entity, data + to);
            at += 1 + prefix;
            taken -= prefix < taken ? prefix : taken;
        } else {
            data[to++] = data[at++];
        }
        while (taken-- > 0) { /* the rest of the match is kept and not looked at again */
            data[to++] = data[at++];
        }
    }
    text->length = to;
}

/* Upper case as in Python's str.upper for the characters that have a named reference. */
static size_t put_upper(uint32_t point, uint32_t *to)
{
    static const struct {
        uint32_t point, upper[3];
    } longer[] = {{0xDF, {'S', 'S'}}, {0x149, {0x2BC, 'N'}}, {0xFB00, {'F', 'F'}}, {0xFB01, {'F', 'I'}}, {0xFB02, {'F', 'L'}},
                  {0xFB03, {'F', 'F', 'I'}}, {0xFB04, {'F', 'F', 'L'}}};
    for (size_t i = 0; i < sizeof longer / sizeof longer[0]; i++) {
        if (longer[i].point == point) {
            memcpy(to, longer[i].upper, sizeof longer[i].upper);
            return longer[i].upper[2] != 0 ? 3 : 2;
        }
    }
    to[0] = (uint32_t)utf8proc_toupper((utf8proc_int32_t)point);
    return 1;
}

/* ftfy's reading of one reference of `length` characters, ';' the last: how many code points went to `to`, or -1 to keep it. */
static int ftfy_entity(const uint32_t *from, size_t length, uint32_t *to)
{
    char name[ENTITY_MOST], lower[ENTITY_MOST];
    uint32_t number;
    size_t prefix, count = 0;
    int capital = 1;
    if (from[0] == '#') {
        if (take_number(from, length, &number) != length - 1 || number == ';') {
            return -1;
        }
        int64_t value = numeric_value(number);
        to[0] = (uint32_t)value;
        return value >= 0;
    }
    for (size_t i = 0; i < length; i++) {
        name[i] = (char)from[i];
        lower[i] = (char)(from[i] >= 'A' && from[i] <= 'Z' ? from[i] + 32 : from[i]);
        capital = capital && !(from[i] >= 'a' && from[i] <= 'z');
    }
    const prn__entity *entity = find_entity(name, length);
    if (entity != NULL) {
        return (int)put_entity(entity, to);
    }
    entity = capital && find_prefix(name, length, &prefix) == NULL ? find_entity(lower, length) : NULL;
    if (entity == NULL) {
        return -1;
    }
    count = put_upper(entity->code_points[0], to);
    return (int)(entity->code_points[1] != 0 ? count + put_upper(entity->code_points[1], to + count) : count);
}

/* ftfy's own HTML step, in place. Returns whether anything changed. */
static int ftfy_html(prn__code_points *text)
{
    uint32_t *data = text->data;
    size_t length = text->length, to = 0;
    int changed = 0;
    for (size_t at = 0; at < length;) {
        if (data[at] == '&') {
            const uint32_t *from = data + at + 1;
            size_t left = length - at - 1, start = left > 0 && from[0] == '#', end = start;
            uint32_t made[6];
            while (end < left && end - start < 24 && (is_digit(from[end]) || is_letter_ascii(from[end]))) {
                end++;
            }
            if (end > start && end < left && from[end] == ';') {
                int count = ftfy_entity(from, end + 1, made);
                if (count >= 0) {
                    memcpy(data + to, made, (size_t)count * sizeof *made);
                    to += (size_t)count;
                    at += end + 2;
                    changed = 1;
                    continue;
                }
            }
        }
        data[to++] = data[at++];
    }
    text->length = to;
    return changed;
}

/* ---- ftfy's character steps ------------------------------------------------------------------------------------------------ */

static size_t put_ascii(const char *letters, uint32_t *to)
{
    size_t count = 0;
    while (letters[count] != '\0') {
        to[count] = (unsigned char)letters[count];
        count++;
    }
    return count;
}

static size_t put_ligature(uint32_t point, uint32_t *to)
{
    static const char *const digraphs[] = {"LJ", "Lj", "lj", "NJ", "Nj", "nj"};    /* U+01C7 to 01CC */
    static const char *const latin[] = {"ff", "fi", "fl", "ffi", "ffl", "", "st"}; /* U+FB00 to FB06 */
    switch (point) {
    case 0x132: return put_ascii("IJ", to);
    case 0x133: return put_ascii("ij", to);
    case 0x149: to[0] = 0x2BC; to[1] = 'n'; return 2;
    case 0x1F1: return put_ascii("DZ", to);
    case 0x1F2: return put_ascii("Dz", to);
    case 0x1F3: return put_ascii("dz", to);
    case 0xFB05: to[0] = 0x17F; to[1] = 't'; return 2;
    default: break;
    }
    if (point >= 0x1C4 && point <= 0x1C6) {
        to[0] = point == 0x1C6 ? 'd' : 'D';
        to[1] = point == 0x1C4 ? 0x17D : 0x17E;
        return 2;
    }
    if (point >= 0x1C7 && point <= 0x1CC) {
        return put_ascii(digraphs[point - 0x1C7], to);
    }
    if (point >= 0xFB00 && point <= 0xFB06) {
        return put_ascii(latin[point - 0xFB00], to);
    }
    to[0] = point;
    return 1;
}

static uint32_t straight_quote(uint32_t point)
{
    return point >= 0x201C && point <= 0x201F ? '"' : point == 0x2BC || (point >= 0x2018 && point <= 0x201B) ? '\'' : point;
}

/* Steps 3 to 6 for one character: Windows-1252 controls, ligatures, width, quotes. At most four code points. */
static size_t put_mapped(uint32_t point, uint32_t *to)
{
    size_t count;
    if (point < 0x80) {
        to[0] = point;
        return 1;
    }
    if (point <= 0x9F) {
        point = windows_1252[point - 0x80];
    }
    if (point == 0x3000) {
        to[0] = ' ';
        return 1;
    }
    if (point >= 0xFF01 && point <= 0xFFEF) {
        utf8proc_int32_t made[8];
        int boundary = 0;
        utf8proc_ssize_t size = utf8proc_decompose_char((utf8proc_int32_t)point, made, 4, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT,
                                                           &boundary);
        count = size > 0 && size <= 4 ? (size_t)size : 0;
        for (size_t i = 0; i < count; i++) {
            to[i] = (uint32_t)made[i];
        }
        if (count == 0) {
            to[count++] = point;
        }
    } else {
        count = put_ligature(point, to);
    }
    for (size_t i = 0; i < count; i++) {
        to[i] = straight_quote(to[i]);
    }
    return count;
}

static int ftfy_map(prn__code_points *text, prn__code_points *spare)
{
    uint32_t made[8];
    size_t same = 0;
    while (same < text->length && put_mapped(text->data[same], made) == 1 && made[0] == text->data[same]) {
        same++;
    }
    if (same == text->length) {
        return 0;
    }
    spare->length = 0;
    append_all(spare, text->data, same);
    for (size_t i = same; i < text->length; i++) {
        append_all(spare, made, put_mapped(text->data[i], made));
    }
    text->length = 0;
    append_all(text, spare->data, spare->length);
    return 1;
}

/* Line breaks, in place. */
static int ftfy_lines(prn__code_points *text)
{
    uint32_t *data = text->data;
    size_t to = 0;
    int changed = 0;
    for (size_t at = 0; at < text->length; at++) {
        uint32_t c = data[at];
        if (c == '\r' || c == 0x2028 || c == 0x2029 || c == 0x85) {
            at += c == '\r' && at + 1 < text->length && data[at + 1] == '\n';
            c = '\n';
            changed = 1;
        }
        data[to++] = c;
    }
    text->length = to;
    return changed;
}

static int is_removed_control(uint32_t c)
{
    return c < 0x20 ? c != '\t' && c != '\n' && c != '\f' && c != '\r'
                    : c == 0x7F || (c >= 0x206A && c <= 0x206F) || c == 0xFEFF || (c >= 0xFFF9 && c <= 0xFFFC);
}

/* Terminal escapes, then control characters, in place. */
static int ftfy_controls(prn__code_points *text)
{
    uint32_t *data = text->data;
    size_t to = 0, length = text->length;
    for (size_t at = 0; at < length; at++) {
        if (data[at] == 0x1B && at + 1 < length && data[at + 1] == '[') {
            size_t end = at + 2;
            while (end < length && (data[end] == ';' || utf8proc_category((utf8proc_int32_t)data[end]) == UTF8PROC_CATEGORY_ND)) {
                end++;
            }
            if (end < length && is_letter_ascii(data[end])) {
                at = end;
                continue;
            }
        }
        data[to++] = data[at];
    }
    length = to;
    to = 0;
    for (size_t at = 0; at < length; at++) {
        if (!is_removed_control(data[at])) {
            data[to++] = data[at];
        }
    }
    int changed = to != text->length;
    text->length = to;
    return changed;
}

static int combining_class(uint32_t point)
{
    return point < 0x300 ? 0 : utf8proc_get_property((utf8proc_int32_t)point)->combining_class;
}

/* Sorts runs of combining marks by class, equal classes in their order. Long runs by counting: an insertion sort alone would cost a
 * hostile text its length squared. `spare` is scratch. */
static void order_marks(prn__code_points *text, prn__code_points *spare)
{
    uint32_t *data = text->data;
    for (size_t begin = 0; begin < text->length;) {
        if (combining_class(data[begin]) == 0) {
            begin++;
            continue;
        }
        size_t end = begin;
        size_t counts[257] = {0};
        while (end < text->length && combining_class(data[end]) != 0) {
            end++;
        }
        if (end - begin < 32) {
            for (size_t i = begin + 1; i < end; i++) {
                uint32_t point = data[i];
                int order = combining_class(point);
                size_t j = i;
                for (; j > begin && combining_class(data[j - 1]) > order; j--) {
                    data[j] = data[j - 1];
                }
                data[j] = point;
            }
        } else {
            spare->length = 0;
            if (!reserve(spare, end - begin)) {
                return;
            }
            for (size_t i = begin; i < end; i++) {
                counts[combining_class(data[i]) + 1]++;
            }
            for (size_t i = 1; i < 257; i++) {
                counts[i] += counts[i - 1];
            }
            for (size_t i = begin; i < end; i++) {
                spare->data[counts[combining_class(data[i])]++] = data[i];
            }
            memcpy(data + begin, spare->data, (end - begin) * sizeof *data);
        }
        begin = end;
    }
}

static int ftfy_nfc(prn__code_points *text, prn__code_points *spare)
{
    size_t plain = 0;
    while (plain < text->length && text->data[plain] < 0x300) { /* nothing below U+0300 is touched */
        plain++;
    }
    if (plain == text->length) {
        return 0;
    }
    plain -= plain > 0; /* the character before may take part in a composition */
    spare->length = 0;
    for (size_t i = plain; i < text->length; i++) {
        utf8proc_int32_t made[8];
        int boundary = 0;
        utf8proc_ssize_t size = utf8proc_decompose_char((utf8proc_int32_t)text->data[i], made, 8, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, &boundary);
        if (size <= 0 || size > 8) {
            made[0] = (utf8proc_int32_t)text->data[i];
            size = 1;
        }
        for (utf8proc_ssize_t j = 0; j < size; j++) {
            prn__code_points_append(spare, (uint32_t)made[j]);
        }
    }
    prn__code_points sorting;
    prn__code_points_init(&sorting);
    order_marks(spare, &sorting);
    spare->failed |= sorting.failed;
    prn__code_points_fini(&sorting);
    utf8proc_ssize_t length =
        utf8proc_normalize_utf32((utf8proc_int32_t *)(void *)spare->data, (utf8proc_ssize_t)spare->length, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (length < 0 || spare->failed) {
        return 0;
    }
    if ((size_t)length == text->length - plain && memcmp(spare->data, text->data + plain, (size_t)length * sizeof *spare->data) == 0) {
        return 0;
    }
    text->length = plain;
    append_all(text, spare->data, (size_t)length);
    return 1;
}

static int has_nothing_to_fix(const prn__code_points *text)
{
    for (size_t i = 0; i < text->length; i++) {
        uint32_t c = text->data[i];
        if (c >= 0x7F || c == '&' || c == '\r' || (c < 0x20 && is_removed_control(c))) {
            return 0;
        }
    }
    return 1;
}

/* ftfy.fix_text without its repair of wrong character sets, piece by piece. */
static void ftfy_fix(const prn__code_points *text, prn__code_points *fixed)
{
    prn__code_points segment, spare;
    int64_t work = 0;
    int html = 1;
    prn__code_points_init(&segment);
    prn__code_points_init(&spare);
    for (size_t at = 0, end; at < text->length; at = end) {
        for (end = at; end < text->length && text->data[end] != '\n'; end++) {
        }
        end += end < text->length;
        end = end - at > SEGMENT_LIMIT ? at + SEGMENT_LIMIT : end;
        for (size_t i = at; i < end && html; i++) {
            html = text->data[i] != '<';
        }
        segment.length = 0;
        append_all(&segment, text->data + at, end - at);
        int changed;
        do {
            work += (int64_t)segment.length;
            changed = html && ftfy_html(&segment);
            changed |= ftfy_map(&segment, &spare);
            changed |= ftfy_lines(&segment);
            changed |= ftfy_controls(&segment);
            changed |= ftfy_nfc(&segment, &spare);
        } while (changed && work < WORK_LIMIT && !segment.failed && !spare.failed);
        append_all(fixed, segment.data, segment.length);
    }
    fixed->failed |= segment.failed | spare.failed;
    prn__code_points_fini(&spare);
    prn__code_points_fini(&segment);
}

/* ---- white space and lower case ------------------------------------------------------------------------------------------------ */

static int is_space(uint32_t c)
{
    return c <= 0x20 ? c == ' ' || (c >= 0x09 && c <= 0x0D) || c >= 0x1C
                     : c >= 0x85 && (c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
                                     c == 0x202F || c == 0x205F || c == 0x3000);
}

static void collapse_spaces(prn__code_points *text)
{
    size_t to = 0;
    for (size_t at = 0; at < text->length; at++) {
        if (!is_space(text->data[at])) {
            text->data[to++] = text->data[at];
        } else if (to > 0 && text->data[to - 1] != ' ') {
            text->data[to++] = ' ';
        }
    }
    text->length = to - (to > 0 && text->data[to - 1] == ' ');
}

/* Unicode's Cased, for characters that are not case-ignorable (all others were skipped before it is asked). */
static int is_cased(uint32_t c)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL || category == UTF8PROC_CATEGORY_LT || c == 0xAA || c == 0xBA ||
           (c >= 0x2160 && c <= 0x217F) || (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
           (c >= 0x1F170 && c <= 0x1F189);
}

static int is_case_ignorable(uint32_t c)
{
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK: return 1;
    default: break;
    }
    /* Word_Break MidLetter, MidNumLet, Single_Quote */
    return c == '\'' || c == '.' || c == ':' || c == 0xB7 || c == 0x387 || c == 0x55F || c == 0x5F4 || c == 0x2018 || c == 0x2019 || c == 0x2024 ||
           c == 0x2027 || c == 0xFE13 || c == 0xFE52 || c == 0xFE55 || c == 0xFF07 || c == 0xFF0E || c == 0xFF1A;
}

static int is_final_sigma(const prn__code_points *text, size_t at)
{
    size_t before = at, after = at + 1;
    while (before > 0 && is_case_ignorable(text->data[before - 1])) {
        before--;
    }
    if (before == 0 || !is_cased(text->data[before - 1])) {
        return 0;
    }
    while (after < text->length && is_case_ignorable(text->data[after])) {
        after++;
    }
    return after == text->length || !is_cased(text->data[after]);
}

static void lower_case(const prn__code_points *text, prn__code_points *lowered)
{
    if (!reserve(lowered, text->length)) {
        return;
    }
    for (size_t i = 0; i < text->length; i++) {
        uint32_t c = text->data[i];
        if (c < 0x80) {
            prn__code_points_append(lowered, c >= 'A' && c <= 'Z' ? c + 32 : c);
        } else if (c == 0x130) {
            prn__code_points_append(lowered, 'i');
            prn__code_points_append(lowered, 0x307);
        } else if (c == 0x3A3) {
            prn__code_points_append(lowered, is_final_sigma(text, i) ? 0x3C2 : 0x3C3);
        } else {
            prn__code_points_append(lowered, (uint32_t)utf8proc_tolower((utf8proc_int32_t)c));
        }
    }
}

prn_status prn__text_clean(const char *text, size_t length, prn__code_points *clean)
{
    prn__code_points given, fixed;
    prn__code_points *now = &given;
    prn__code_points_init(&given);
    prn__code_points_init(&fixed);
    decode(text, length, &given);
    if (!given.failed && !has_nothing_to_fix(&given)) {
        ftfy_fix(&given, &fixed);
        now = &fixed;
    }
    html_unescape(now);
    html_unescape(now);
    collapse_spaces(now);
    lower_case(now, clean);
    int failed = given.failed | fixed.failed | clean->failed;
    prn__code_points_fini(&fixed);
    prn__code_points_fini(&given);
    return failed ? PRN_NO_MEMORY : PRN_OK;
}

/* ---- splitting -------------------------------------------------------------------------------------------------------------------- */

typedef enum kind { SPACE, LETTER, NUMBER, OTHER } kind; /* SPACE: what no alternative of the pattern matches */

static kind kind_of(uint32_t c)
{
    if (c < 0x80) {
        return is_letter_ascii(c) ? LETTER : is_digit(c) ? NUMBER : is_space(c) ? SPACE : OTHER;
    }
    if (c == 0x345) { /* a mark, but the pattern ignores case and this folds to a letter: it is in no class, as the original has it */
        return SPACE;
    }
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return NUMBER;
    default: return is_space(c) ? SPACE : OTHER;
    }
}

/* Does `word` stand at `from`? The pattern ignores case: U+017F stands for an s; *exact becomes 0 then. */
static size_t match(const uint32_t *from, size_t left, const char *word, int *exact)
{
    size_t i = 0;
    *exact = 1;
    for (; word[i] != '\0'; i++) {
        if (i >= left || (from[i] != (unsigned char)word[i] && !(from[i] == 0x17F && word[i] == 's'))) {
            return 0;
        }
        *exact = *exact && from[i] == (unsigned char)word[i];
    }
    return i;
}

prn__piece prn__text_next(const prn__code_points *text, size_t *at, size_t *begin)
{
    static const char *const contractions[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    const uint32_t *data = text->data;
    size_t from = *at, taken;
    int exact;
    while (from < text->length && kind_of(data[from]) == SPACE) {
        from++;
    }
    *begin = *at = from;
    if (from == text->length) {
        return PRN__PIECE_NONE;
    }
    size_t left = text->length - from;
    if (data[from] == '<') {
        if ((taken = match(data + from, left, "<start_of_text>", &exact)) > 0) {
            *at = from + taken;
            return exact ? PRN__PIECE_START : PRN__PIECE_BYTES;
        }
        if ((taken = match(data + from, left, "<end_of_text>", &exact)) > 0) {
            *at = from + taken;
            return PRN__PIECE_END;
        }
    }
    if (data[from] == '\'') {
        for (size_t i = 0; i < sizeof contractions / sizeof contractions[0]; i++) {
            if ((taken = match(data + from, left, contractions[i], &exact)) > 0) {
                *at = from + taken;
                return PRN__PIECE_BYTES;
            }
        }
    }
    kind first = kind_of(data[from]);
    size_t end = from + 1;
    while (first != NUMBER && end < text->length && kind_of(data[end]) == first) {
        end++;
    }
    *at = end;
    return PRN__PIECE_BYTES;
}
