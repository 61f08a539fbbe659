/* core/report/score_colour.h: the colours of scores: viridis, by van der Walt and Smith (matplotlib, 2015, CC0).
 *
 * Perceptually uniform, readable without full colour vision, and lighter all the way, so that it reads in grey.
 */
#ifndef PRN_REPORT_SCORE_COLOUR_H
#define PRN_REPORT_SCORE_COLOUR_H

#include <stdint.h>

/* At `fraction` of the range, clamped to 0 to 1; 0xRRGGBB. [any] */
uint32_t prn__score_colour(double fraction);
/* Relative luminance as WCAG 2 defines it, 0 to 1. [any] */
double prn__colour_luminance(uint32_t colour);

#endif
