/* core/base/text.h: growing strings, name suggestions, brace ranges, human units.
 *
 * Invariants: `prn__text.data` is always NUL-terminated once init succeeded; a failed append sets `failed` and
 * leaves what was there; check `failed` once at the end.
 */
#ifndef PRN_BASE_TEXT_H
#define PRN_BASE_TEXT_H

#include <perennial/status.h>

typedef struct prn__text {
    char *data; /* owned */
    size_t length;
    size_t capacity;
    int failed; /* 1 after an allocation failed */
} prn__text;

void prn__text_init(prn__text *text);
void prn__text_fini(prn__text *text);
void prn__text_clear(prn__text *text);
void prn__text_append(prn__text *text, const char *bytes, size_t length);
void prn__text_puts(prn__text *text, const char *string);
void prn__text_printf(prn__text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The candidate nearest to `name` by edit distance when it is near enough to be meant, else NULL. [any] */
const char *prn__suggest(const char *name, const char *const *candidates, size_t count);

/* " (did you mean 'x'?)" or "" into `target`; returns target. [any] */
const char *prn__suggest_text(const char *name, const char *const *candidates, size_t count, char *target, size_t bytes);

/* Expands "a-{000..012}.tar" forms (several braces allowed, zero padding kept, {x,y} lists too); calls `visit` with each
 * result. A count above `limit` is PRN_INVALID. [any] */
prn_status prn__brace_expand(const char *pattern, int64_t limit, prn_status (*visit)(void *context, const char *item, prn_error *error),
                             void *context, prn_error *error);

/* "1.23 G" style into `target`; returns target. [any] */
const char *prn__format_si(double value, char *target, size_t bytes);
const char *prn__format_duration(double seconds, char *target, size_t bytes); /* "3 min 20 s" */

#endif
