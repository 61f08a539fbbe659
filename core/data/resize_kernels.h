/* core/data/resize_kernels.h: the two inner loops of resizing, once in plain C and once for each instruction set worth it. Shared by the
 * files of this room only.
 *
 * Invariant: every set gives the same bytes as the plain one. Sums are whole numbers: a weight of 22 fractional bits is taken as two
 * 16-bit parts, weight = high * 2^11 + low with 0 <= low < 2^11, so that products of pairs can be added by one instruction without losing
 * a bit; sums may wrap on the way, the whole is below 2^31.
 */
#ifndef PRN_DATA_RESIZE_KERNELS_H
#define PRN_DATA_RESIZE_KERNELS_H

#include <stddef.h>
#include <stdint.h>

enum { PRN__RESIZE_BITS = 32 - 8 - 2, PRN__RESIZE_LOW_BITS = 11, PRN__RESIZE_ROWS = 4, PRN__RESIZE_GROUP = 8 };

/* One axis of one resizing: output place i is the sum over k < counts[i] of source place starts[i] + k times weights[i * taps + k]. */
typedef struct prn__axis {
    int64_t places, taps;
    int32_t *weights;  /* (places, taps); what lies beyond counts[i] is not read */
    int64_t *starts, *counts;
    double *exact;     /* (taps) the weights of one place, before rounding */
    int16_t *packed;   /* for kernels that want it; see prn__axis_pack_pixels and prn__axis_pack_lines */
    int64_t groups;    /* of packed weights, a place */
    int64_t reach;     /* bytes from a row's start that the horizontal pass may read */
    size_t weight_capacity, place_capacity, exact_capacity, packed_capacity;
} prn__axis;

void prn__axis_fini(prn__axis *axis);
/* Packs for the horizontal pass: (places, groups, 2, 32), groups of 8 taps, padded with zeros; first the high parts, then the low ones. Of
 * each, four times 8 values: two neighbouring taps' weights, for red, green, blue and a place unused. 0 when out of memory. */
int prn__axis_pack_pixels(prn__axis *axis);
/* Packs for the vertical pass: (places, groups, 2, 2), groups of 2 taps: their high parts, their low parts. 0 when out of memory. */
int prn__axis_pack_lines(prn__axis *axis);

typedef struct prn__resize_kernels {
    const char *name;
    int is_packed; /* wants packed axes, and may read up to `reach` bytes from each row's start */
    /* The horizontal pass of four rows of RGB pixels (rows may be repeated); axis->places pixels each are written. */
    void (*rows)(const prn__axis *axis, const uint8_t *const source[PRN__RESIZE_ROWS], uint8_t *const target[PRN__RESIZE_ROWS]);
    /* Output row `place` of the vertical pass over `bytes` neighbouring values. source: the first of the rows that it is made of. */
    void (*column)(const prn__axis *axis, int64_t place, const uint8_t *source, int64_t stride, int64_t bytes, uint8_t *target);
} prn__resize_kernels;

extern const prn__resize_kernels prn__resize_plain;
/* NULL where the compiler or this processor has no such instructions. */
const prn__resize_kernels *prn__resize_avx2(void);
const prn__resize_kernels *prn__resize_avx512(void);
/* The fastest one here. */
const prn__resize_kernels *prn__resize_best(void);

#endif
