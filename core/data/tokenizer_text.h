/* core/data/tokenizer_text.h: what happens to a caption before its bytes are merged: cleaning and splitting.
 *
 * Cleaning is open_clip's: ftfy's character steps, html.unescape twice, white space, lower case. ftfy's guess at a wrong
 * character set ("mojibake" repair) is left out: it needs ftfy's own tables and changes few captions.
 * Unicode tables are utf8proc's (15.0 in version 2.8); open_clip has Python 3.11's (14.0) and those of its `regex` module (17.0 in the
 * version compared with). The ids are the same for every code point that 14.0 assigns; what differs is letters and numbers assigned later.
 * Invariants: pure functions of the bytes; work is linear in the length, whatever the text holds.
 */
#ifndef PRN_DATA_TOKENIZER_TEXT_H
#define PRN_DATA_TOKENIZER_TEXT_H

#include <perennial/status.h>

typedef struct prn__entity {
    const char *name; /* without the '&', with the ';' where it has one */
    uint32_t code_points[2]; /* the second is 0 when there is one */
} prn__entity;

extern const prn__entity prn__entities[]; /* sorted by name in byte order */
extern const size_t prn__entity_count;

/* Growing code points. Short texts stay in `own`, so that a caption needs no heap. Must not be copied. */
typedef struct prn__code_points {
    uint32_t *data;
    size_t length, capacity;
    int failed; /* 1 after an allocation failed */
    uint32_t own[768];
} prn__code_points;

void prn__code_points_init(prn__code_points *points);
void prn__code_points_fini(prn__code_points *points);
void prn__code_points_append(prn__code_points *points, uint32_t point);

/* Decodes UTF-8 (U+FFFD for each invalid part, as Python's "replace") and cleans into `clean`, which the caller has initialised and
 * finishes. PRN_NO_MEMORY is the only failure. [any] */
prn_status prn__text_clean(const char *text, size_t length, prn__code_points *clean);

typedef enum prn__piece {
    PRN__PIECE_NONE, /* the text is at its end */
    PRN__PIECE_BYTES,
    PRN__PIECE_START, /* <start_of_text> */
    PRN__PIECE_END    /* <end_of_text> */
} prn__piece;

/* The next piece of a cleaned text from `*at` on: code points *begin to *at (moved behind it). [any] */
prn__piece prn__text_next(const prn__code_points *text, size_t *at, size_t *begin);

/* UTF-8 of one code point into `bytes`; returns its length, 1 to 4. [any] */
int prn__utf8_put(uint32_t point, char bytes[4]);
/* One code point of UTF-8, `length` at least 1; *used bytes were read. U+FFFD for an invalid part. [any] */
uint32_t prn__utf8_get(const char *text, size_t length, size_t *used);

#endif
