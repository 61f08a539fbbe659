/* core/data/unicode.h: TiC-Unicode, the time-stamped benchmark that any machine can build from distribution packages.
 *
 * Images: glyphs of Unicode characters from many fonts (colour emoji included). Caption: the character's name in lower case, for
 * some renderings followed by its CLDR keywords. Time stamp: the year of the Unicode version that added the character. Class: its script.
 * Left out: ideographs, Hangul syllables, controls, format characters, spaces, private use, and glyphs that draw nothing.
 * Held out by a keyed hash: whole characters (never in training), and single renderings of known characters.
 * The same packages and options give the same bytes.
 */
#ifndef PRN_DATA_UNICODE_H
#define PRN_DATA_UNICODE_H

#include <perennial/status.h>

typedef struct prn__unicode_options {
    const char *out;             /* folder to write: train/, eval/, vocab.txt, scripts.txt, coarse.yaml, yearly.yaml */
    int64_t image_side;          /* pixels; 32 */
    int64_t fonts_per_character; /* at most so many renderings of a character in training; 0: all */
    int64_t evaluation_limit;    /* at most so many images in an evaluation set; 0: 1000 */
    int64_t merges;              /* of the vocabulary learned from the training captions; 0: 1500 */
    uint64_t seed;
} prn__unicode_options;

typedef struct prn__unicode_report {
    int64_t characters, renderings;       /* found: characters with at least one glyph, (character, font) pairs */
    int64_t training, evaluation;         /* samples written */
    int64_t fonts, blank;                 /* fonts opened; renderings left out because they draw nothing */
} prn__unicode_report;

typedef void (*prn__unicode_progress)(void *context, const char *what, double done_frac);

/* "quickstart" or "full"; unknown names suggest. Sets all but `out`. */
prn_status prn__unicode_preset(const char *name, prn__unicode_options *options, prn_error *error);
/* A missing package is PRN_NOT_FOUND, named. The manifests come last, so that a folder with them is whole. */
prn_status prn__unicode_build(const prn__unicode_options *options, prn__unicode_progress progress, void *context, prn__unicode_report *report,
                              prn_error *error);

#endif
