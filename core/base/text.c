/* core/base/text.c: see text.h. */
#include "base/text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

void prn__text_init(prn__text *text)
{
    memset(text, 0, sizeof *text);
    text->data = prn__alloc(64);
    text->capacity = text->data != NULL ? 64 : 0;
    text->failed = text->data == NULL;
}

void prn__text_fini(prn__text *text)
{
    prn__free(text->data);
    memset(text, 0, sizeof *text);
}

void prn__text_clear(prn__text *text)
{
    text->length = 0;
    if (text->data != NULL) {
        text->data[0] = '\0';
    }
}

static int text_reserve(prn__text *text, size_t extra)
{
    if (text->failed) {
        return 0;
    }
    if (extra >= SIZE_MAX / 4 - text->length) {
        text->failed = 1;
        return 0;
    }
    size_t need = text->length + extra + 1;
    if (need > text->capacity) {
        size_t capacity = text->capacity * 2 > need ? text->capacity * 2 : need;
        char *grown = prn__realloc(text->data, capacity);
        if (grown == NULL) {
            text->failed = 1;
            return 0;
        }
        text->data = grown;
        text->capacity = capacity;
    }
    return 1;
}

void prn__text_append(prn__text *text, const char *bytes, size_t length)
{
    if (length > 0 && text_reserve(text, length)) {
        memcpy(text->data + text->length, bytes, length);
        text->length += length;
        text->data[text->length] = '\0';
    }
}

void prn__text_puts(prn__text *text, const char *string)
{
    prn__text_append(text, string, strlen(string));
}

void prn__text_printf(prn__text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0 || !text_reserve(text, (size_t)length)) {
        text->failed = 1;
        return;
    }
    va_start(arguments, format);
    (void)vsnprintf(text->data + text->length, (size_t)length + 1, format, arguments);
    va_end(arguments);
    text->length += (size_t)length;
}

/* ---- suggestions ---- */

enum { NAME_LIMIT = 64 };

/* Optimal string alignment distance: insertions, deletions, substitutions and neighbour swaps each cost 1. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t rows[3][NAME_LIMIT + 1];
    size_t n = strlen(a), m = strlen(b);
    if (n > NAME_LIMIT || m > NAME_LIMIT) {
        return SIZE_MAX;
    }
    for (size_t j = 0; j <= m; j++) {
        rows[0][j] = j;
    }
    for (size_t i = 1; i <= n; i++) {
        size_t *now = rows[i % 3], *before = rows[(i - 1) % 3], *two_before = rows[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            int same = tolower((unsigned char)a[i - 1]) == tolower((unsigned char)b[j - 1]);
            size_t best = before[j - 1] + (same ? 0 : 1);
            best = before[j] + 1 < best ? before[j] + 1 : best;
            best = now[j - 1] + 1 < best ? now[j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && two_before[j - 2] + 1 < best) {
                best = two_before[j - 2] + 1;
            }
            now[j] = best;
        }
    }
    return rows[n % 3][m];
}

const char *prn__suggest(const char *name, const char *const *candidates, size_t count)
{
    const char *best = NULL;
    size_t best_distance = SIZE_MAX, length = strlen(name);
    for (size_t i = 0; i < count; i++) {
        size_t distance = edit_distance(name, candidates[i]);
        int is_prefix = length >= 3 && strncmp(name, candidates[i], length) == 0;
        if (is_prefix && distance > 1) {
            distance = 1;
        }
        if (distance < best_distance) {
            best_distance = distance;
            best = candidates[i];
        }
    }
    size_t allowed = length <= 3 ? 1 : length <= 7 ? 2 : 3;
    return best_distance <= allowed ? best : NULL;
}

const char *prn__suggest_text(const char *name, const char *const *candidates, size_t count, char *target, size_t bytes)
{
    const char *found = prn__suggest(name, candidates, count);
    if (bytes > 0) {
        target[0] = '\0';
        if (found != NULL) {
            (void)snprintf(target, bytes, " (did you mean '%s'?)", found);
        }
    }
    return target;
}

/* ---- brace ranges ---- */

enum { MAX_BRACES = 32 };

typedef struct expansion {
    int64_t left; /* how many more items may be visited */
    int64_t limit;
    const char *pattern;
    prn_status (*visit)(void *context, const char *item, prn_error *error);
    void *context;
} expansion;

static prn_status expand_from(expansion *state, prn__text *prefix, const char *rest, prn_error *error)
{
    const char *open = strchr(rest, '{');
    if (open == NULL) {
        size_t mark = prefix->length;
        if (state->left-- <= 0) {
            return prn_error_set(error, PRN_INVALID, "'%s' names more than %lld files; split the pattern", state->pattern,
                                 (long long)state->limit);
        }
        prn__text_puts(prefix, rest);
        if (prefix->failed) {
            return prn_error_set(error, PRN_NO_MEMORY, "out of memory while expanding '%s'", state->pattern);
        }
        prn_status status = state->visit(state->context, prefix->data, error);
        prefix->length = mark;
        prefix->data[mark] = '\0';
        return status;
    }
    const char *close = strchr(open, '}');
    if (close == NULL) {
        return prn_error_set(error, PRN_INVALID, "'%s' has a '{' without its '}'", state->pattern);
    }
    size_t mark = prefix->length;
    prn__text_append(prefix, rest, (size_t)(open - rest));
    size_t base = prefix->length;
    prn_status status = PRN_OK;
    const char *dots = NULL;
    for (const char *c = open + 1; c + 1 < close; c++) {
        if (c[0] == '.' && c[1] == '.') {
            dots = c;
            break;
        }
    }
    if (dots != NULL) {
        size_t width_low = (size_t)(dots - open - 1), width_high = (size_t)(close - dots - 2);
        int digits = width_low > 0 && width_high > 0 && width_low <= 18 && width_high <= 18;
        for (const char *c = open + 1; digits && c < close; c++) {
            digits = (c >= dots && c < dots + 2) || isdigit((unsigned char)*c);
        }
        if (!digits) {
            return prn_error_set(error, PRN_INVALID, "'%s': a range is written {000..012}, digits on both sides", state->pattern);
        }
        int64_t low = strtoll(open + 1, NULL, 10), high = strtoll(dots + 2, NULL, 10);
        int width = open[1] == '0' || width_low == width_high ? (int)width_low : 1;
        if (high < low) {
            return prn_error_set(error, PRN_INVALID, "'%s': the range runs downwards", state->pattern);
        }
        for (int64_t i = low; i <= high && status == PRN_OK; i++) {
            prn__text_printf(prefix, "%0*lld", width, (long long)i);
            status = expand_from(state, prefix, close + 1, error);
            prefix->length = base;
        }
    } else {
        const char *item = open + 1;
        while (status == PRN_OK) {
            const char *end = item;
            while (end < close && *end != ',') {
                end++;
            }
            prn__text_append(prefix, item, (size_t)(end - item));
            status = expand_from(state, prefix, close + 1, error);
            prefix->length = base;
            if (end >= close) {
                break;
            }
            item = end + 1;
        }
    }
    prefix->length = mark;
    if (prefix->data != NULL) {
        prefix->data[mark] = '\0';
    }
    return status;
}

prn_status prn__brace_expand(const char *pattern, int64_t limit, prn_status (*visit)(void *context, const char *item, prn_error *error),
                             void *context, prn_error *error)
{
    expansion state = {limit, limit, pattern, visit, context};
    prn__text prefix;
    int braces = 0;
    for (const char *c = pattern; *c != '\0'; c++) {
        braces += *c == '{' && braces <= MAX_BRACES;
    }
    if (braces > MAX_BRACES) { /* each is one level of calls */
        return prn_error_set(error, PRN_INVALID, "'%.60s...' has more than %d braces", pattern, MAX_BRACES);
    }
    prn__text_init(&prefix);
    prn_status status = prefix.failed ? prn_error_set(error, PRN_NO_MEMORY, "out of memory while expanding '%s'", pattern)
                                      : expand_from(&state, &prefix, pattern, error);
    prn__text_fini(&prefix);
    return status;
}

/* ---- human units ---- */

const char *prn__format_si(double value, char *target, size_t bytes)
{
    static const char *const unit[] = {"", "k", "M", "G", "T", "P", "E"};
    double size = value < 0 ? -value : value;
    size_t i = 0;
    while (size >= 999.5 && i + 1 < sizeof unit / sizeof unit[0]) {
        size /= 1000;
        value /= 1000;
        i++;
    }
    (void)snprintf(target, bytes, "%.*f%s%s", i == 0 && size == (double)(int64_t)size ? 0 : size < 9.995 ? 2 : size < 99.95 ? 1 : 0,
                   value, i > 0 ? " " : "", unit[i]);
    return target;
}

const char *prn__format_duration(double seconds, char *target, size_t bytes)
{
    if (!(seconds >= 0) || seconds > 1e9) {
        (void)snprintf(target, bytes, "?");
    } else if (seconds < 1) {
        (void)snprintf(target, bytes, "%.0f ms", seconds * 1e3);
    } else if (seconds < 60) {
        (void)snprintf(target, bytes, "%.*f s", seconds < 10 ? 1 : 0, seconds);
    } else if (seconds < 3600) {
        (void)snprintf(target, bytes, "%d min %02d s", (int)(seconds / 60), (int)seconds % 60);
    } else {
        (void)snprintf(target, bytes, "%d h %02d min", (int)(seconds / 3600), (int)(seconds / 60) % 60);
    }
    return target;
}
