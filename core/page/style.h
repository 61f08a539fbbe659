/* core/page/style.h: how figures look, on the page and in files: colours, markers, dashes.
 *
 * Invariants: a strategy is told from the others by its colour, its marker and its dashes, so that neither colour vision nor a
 * colour printer is needed; the oracle is ink, for it is what the others are held against.
 */
#ifndef PRN_PAGE_STYLE_H
#define PRN_PAGE_STYLE_H

#include "base/text.h"

enum { PRN__PALETTE_COLOURS = 8, PRN__MARKERS = 8, PRN__DASHES = 4, PRN__INK = PRN__PALETTE_COLOURS - 1, PRN__DASH_PARTS = 4 };

typedef struct prn__line_style {
    int colour, marker, dash;
} prn__line_style;

/* The `index`-th strategy of those that are no oracle; `is_oracle`: the oracle. [any] */
prn__line_style prn__line_style_of(size_t index, int is_oracle);
/* 0xRRGGBB for a light or a dark background. [any] */
uint32_t prn__palette_colour(int colour, int is_dark);
/* Lengths of ink and gap in points, `count` of them; 0: a full line. [any] */
const double *prn__dash_parts(int dash, int *count);
/* A marker's closed outline as x, y pairs within [-1.3, 1.3], y down; `target` has room for PRN__MARKER_POINTS pairs. Returns their number. [any] */
enum { PRN__MARKER_POINTS = 24 };
int prn__marker_outline(int marker, double target[2 * PRN__MARKER_POINTS]);

#endif
