/* core/report/table.c: see table.h. */
#include "report/table.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <utf8proc.h>

#include "base/memory.h"

enum { GAP = 2 };

static const char REPLACEMENT[] = "\xef\xbf\xbd";
static const char ELLIPSIS[] = "\xe2\x80\xa6";

static size_t cells_of(utf8proc_int32_t code)
{
    int width = utf8proc_charwidth(code);
    return width > 0 ? (size_t)width : 0;
}

/* One character of at least one byte; -1 for invalid bytes. */
static utf8proc_int32_t next_character(const char *bytes, size_t length, size_t *used)
{
    utf8proc_int32_t code;
    utf8proc_ssize_t got = utf8proc_iterate((const utf8proc_uint8_t *)bytes, (utf8proc_ssize_t)length, &code);
    *used = got > 0 ? (size_t)got : 1;
    return got > 0 ? code : -1;
}

size_t prn__text_cells(const char *string)
{
    size_t length = strlen(string), cells = 0, used;
    for (size_t i = 0; i < length; i += used) {
        utf8proc_int32_t code = next_character(string + i, length - i, &used);
        cells += code < 0 ? 1 : cells_of(code);
    }
    return cells;
}

/* Characters that could steer a terminal or turn the direction of the text around them. */
static int is_unsafe(utf8proc_int32_t code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || (code >= 0x200e && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
           (code >= 0x2066 && code <= 0x2069) || code == 0xfeff;
}

void prn__text_append_safe(prn__text *text, const char *bytes, size_t length, size_t limit)
{
    size_t cells = 0, used, room_mark = text->length;
    for (size_t i = 0; i < length; i += used) {
        utf8proc_int32_t code = next_character(bytes + i, length - i, &used);
        const char *part = bytes + i;
        size_t part_length = used, width;
        if (code == '\n' || code == '\r' || code == '\t') {
            part = " ";
            part_length = width = 1;
        } else if (is_unsafe(code)) {
            part = REPLACEMENT;
            part_length = sizeof REPLACEMENT - 1;
            width = 1;
        } else {
            width = cells_of(code);
        }
        if (limit > 0 && cells + width > limit) { /* room_mark: the last place where the ellipsis still fits */
            text->length = room_mark;
            if (text->data != NULL) {
                text->data[room_mark] = '\0';
            }
            prn__text_append(text, ELLIPSIS, sizeof ELLIPSIS - 1);
            return;
        }
        prn__text_append(text, part, part_length);
        cells += width;
        if (limit > 0 && cells + 1 <= limit) {
            room_mark = text->length;
        }
    }
}

/* ---- tables ---- */

typedef struct cell {
    const char *text;
    size_t cells;
} cell;

typedef struct column {
    cell header;
    char align;
    size_t width;
} column;

struct prn__table {
    prn__arena memory;
    column *columns;
    size_t column_count, column_capacity;
    cell *body; /* row by row */
    size_t cell_count, cell_capacity;
    int has_head, failed;
};

prn__table *prn__table_create(void)
{
    prn__table *table = prn__alloc(sizeof *table);
    if (table != NULL) {
        prn__arena_init(&table->memory, 4096);
    }
    return table;
}

void prn__table_destroy(prn__table *table)
{
    if (table != NULL) {
        prn__free(table->columns);
        prn__free(table->body);
        prn__arena_fini(&table->memory);
        prn__free(table);
    }
}

static int grow(void **items, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity) {
        return 1;
    }
    size_t wanted = *capacity == 0 ? 16 : *capacity * 2;
    void *grown = prn__realloc(*items, wanted * size);
    if (grown != NULL) {
        *items = grown;
        *capacity = wanted;
    }
    return grown != NULL;
}

static int make_cell(prn__table *table, const char *string, cell *result)
{
    prn__text safe;
    prn__text_init(&safe);
    prn__text_append_safe(&safe, string, strlen(string), 0);
    result->text = safe.failed ? NULL : prn__arena_strdup(&table->memory, safe.data);
    result->cells = result->text != NULL ? prn__text_cells(result->text) : 0;
    prn__text_fini(&safe);
    return result->text != NULL;
}

void prn__table_column(prn__table *table, const char *header, char align)
{
    if (table == NULL || table->failed) {
        return;
    }
    column made = {.align = align};
    if (!make_cell(table, header, &made.header) || !grow((void **)&table->columns, table->column_count, &table->column_capacity, sizeof made)) {
        table->failed = 1;
        return;
    }
    made.width = made.header.cells;
    table->has_head |= header[0] != '\0';
    table->columns[table->column_count++] = made;
}

static void add_cell(prn__table *table, const char *string)
{
    cell made;
    if (table == NULL || table->failed || table->column_count == 0) {
        return;
    }
    if (!make_cell(table, string, &made) || !grow((void **)&table->body, table->cell_count, &table->cell_capacity, sizeof made)) {
        table->failed = 1;
        return;
    }
    column *c = &table->columns[table->cell_count % table->column_count];
    c->width = made.cells > c->width ? made.cells : c->width;
    table->body[table->cell_count++] = made;
}

void prn__table_cell(prn__table *table, const char *format, ...)
{
    va_list arguments;
    char small[256];
    va_start(arguments, format);
    int length = vsnprintf(small, sizeof small, format, arguments);
    va_end(arguments);
    if (length >= 0 && (size_t)length < sizeof small) {
        add_cell(table, small);
        return;
    }
    char *large = length > 0 ? prn__alloc((size_t)length + 1) : NULL;
    if (large == NULL) {
        if (table != NULL) {
            table->failed = 1;
        }
        return;
    }
    va_start(arguments, format);
    (void)vsnprintf(large, (size_t)length + 1, format, arguments);
    va_end(arguments);
    add_cell(table, large);
    prn__free(large);
}

static void put_blanks(prn__text *target, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        prn__text_append(target, " ", 1);
    }
}

static void print_cell(const column *c, const cell *item, size_t *pending, prn__text *target)
{
    size_t blanks = c->width - item->cells;
    if (c->align == 'r') {
        *pending += blanks;
        blanks = 0;
    }
    if (item->cells > 0) { /* blanks are written only before something, so that no line ends in them */
        put_blanks(target, *pending);
        prn__text_puts(target, item->text);
        *pending = blanks;
    } else {
        *pending += blanks;
    }
}

void prn__table_print(const prn__table *table, size_t indent, prn__text *target)
{
    if (table == NULL || table->failed) {
        target->failed = 1;
        return;
    }
    size_t pending = indent;
    for (size_t i = 0; table->has_head && i < table->column_count; i++) {
        print_cell(&table->columns[i], &table->columns[i].header, &pending, target);
        pending += GAP;
    }
    prn__text_puts(target, table->has_head ? "\n" : "");
    for (size_t i = 0; i < table->cell_count; i++) {
        size_t at = i % table->column_count;
        pending = at == 0 ? indent : pending + GAP;
        print_cell(&table->columns[at], &table->body[i], &pending, target);
        if (at + 1 == table->column_count || i + 1 == table->cell_count) {
            prn__text_puts(target, "\n");
        }
    }
}

/* ---- numbers ---- */

void prn__table_percent(prn__table *table, double fraction)
{
    if (isfinite(fraction)) {
        double percent = fraction * 100;
        prn__table_cell(table, "%.1f", fabs(percent) < 0.05 ? 0.0 : percent); /* no "-0.0" */
    } else {
        prn__table_cell(table, "-");
    }
}

void prn__table_si(prn__table *table, double value)
{
    char text[32];
    prn__table_cell(table, "%s", isfinite(value) ? prn__format_si(value, text, sizeof text) : "-");
}

void prn__table_count(prn__table *table, int64_t value)
{
    char text[32];
    prn__table_cell(table, "%s", prn__format_count(value, text, sizeof text));
}

const char *prn__format_count(int64_t value, char *target, size_t bytes)
{
    char digits[24];
    uint64_t size = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    int length = snprintf(digits, sizeof digits, "%" PRIu64, size);
    size_t used = 0;
    if (value < 0 && used + 1 < bytes) {
        target[used++] = '-';
    }
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0 && used + 1 < bytes) {
            target[used++] = ',';
        }
        if (used + 1 < bytes) {
            target[used++] = digits[i];
        }
    }
    if (bytes > 0) {
        target[used] = '\0';
    }
    return target;
}

const char *prn__format_bytes(double value, char *target, size_t bytes)
{
    char number[32];
    (void)prn__format_si(value, number, sizeof number);
    (void)snprintf(target, bytes, "%s%sB", number, strchr(number, ' ') != NULL ? "" : " ");
    return target;
}
