/* core/data/resize_kernels.c: see resize_kernels.h; the plain loops, packing, and the choice. */
#include "data/resize_kernels.h"

#include <string.h>

#include "base/memory.h"

void prn__axis_fini(prn__axis *axis)
{
    prn__free(axis->weights);
    prn__free(axis->starts);
    prn__free(axis->counts);
    prn__free(axis->exact);
    prn__free(axis->packed);
    memset(axis, 0, sizeof *axis);
}

static int reserve_packed(prn__axis *axis, int64_t values)
{
    if (axis->packed_capacity < (size_t)values) {
        prn__free(axis->packed);
        axis->packed = prn__alloc_array((size_t)values, sizeof *axis->packed);
        axis->packed_capacity = axis->packed != NULL ? (size_t)values : 0;
    }
    return axis->packed != NULL;
}

/* The parts of a place's tap k, zero beyond the last. */
static void split(const prn__axis *axis, int64_t place, int64_t k, int16_t *high, int16_t *low)
{
    const int32_t w = k < axis->counts[place] ? axis->weights[place * axis->taps + k] : 0;
    *high = (int16_t)(w >> PRN__RESIZE_LOW_BITS);
    *low = (int16_t)(w & ((1 << PRN__RESIZE_LOW_BITS) - 1));
}

int prn__axis_pack_pixels(prn__axis *axis)
{
    int64_t widest = 1;
    for (int64_t i = 0; i < axis->places; i++) {
        widest = axis->counts[i] > widest ? axis->counts[i] : widest;
    }
    axis->groups = (widest + PRN__RESIZE_GROUP - 1) / PRN__RESIZE_GROUP;
    axis->reach = 0;
    if (!reserve_packed(axis, axis->places * axis->groups * 64)) {
        return 0;
    }
    for (int64_t i = 0; i < axis->places; i++) {
        for (int64_t pair = 0; pair < axis->groups * 4; pair++) {
            int16_t *to = axis->packed + (i * axis->groups + pair / 4) * 64 + pair % 4 * 8, parts[4];
            split(axis, i, 2 * pair, &parts[0], &parts[2]);
            split(axis, i, 2 * pair + 1, &parts[1], &parts[3]);
            for (int c = 0; c < 4; c++) {
                memcpy(to + 2 * c, parts, 2 * sizeof *parts);
                memcpy(to + 32 + 2 * c, parts + 2, 2 * sizeof *parts);
            }
        }
        const int64_t end = (axis->starts[i] + axis->groups * PRN__RESIZE_GROUP) * 3 + 8; /* whole registers are read */
        axis->reach = end > axis->reach ? end : axis->reach;
    }
    return 1;
}

int prn__axis_pack_lines(prn__axis *axis)
{
    axis->groups = (axis->taps + 1) / 2;
    if (!reserve_packed(axis, axis->places * axis->groups * 4)) {
        return 0;
    }
    for (int64_t i = 0; i < axis->places; i++) {
        for (int64_t pair = 0; pair < axis->groups; pair++) {
            int16_t *to = axis->packed + (i * axis->groups + pair) * 4;
            split(axis, i, 2 * pair, &to[0], &to[2]);
            split(axis, i, 2 * pair + 1, &to[1], &to[3]);
        }
    }
    return 1;
}

static inline uint8_t clip(int32_t sum)
{
    const int32_t value = sum >> PRN__RESIZE_BITS;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

static void plain_rows(const prn__axis *axis, const uint8_t *const source[PRN__RESIZE_ROWS], uint8_t *const target[PRN__RESIZE_ROWS])
{
    for (int row = 0; row < PRN__RESIZE_ROWS; row++) {
        if (row > 0 && target[row] == target[row - 1]) { /* a repeated row */
            continue;
        }
        for (int64_t i = 0; i < axis->places; i++) {
            const int32_t *w = axis->weights + i * axis->taps;
            const uint8_t *s = source[row] + axis->starts[i] * 3;
            int32_t r = 1 << (PRN__RESIZE_BITS - 1), g = r, b = r;
            for (int64_t k = 0; k < axis->counts[i]; k++) {
                r += s[3 * k] * w[k];
                g += s[3 * k + 1] * w[k];
                b += s[3 * k + 2] * w[k];
            }
            target[row][3 * i] = clip(r);
            target[row][3 * i + 1] = clip(g);
            target[row][3 * i + 2] = clip(b);
        }
    }
}

/* In blocks, so that the sums stay in registers and cache. */
static void plain_column(const prn__axis *axis, int64_t place, const uint8_t *source, int64_t stride, int64_t bytes, uint8_t *target)
{
    enum { BLOCK = 256 };
    const int32_t *w = axis->weights + place * axis->taps;
    int32_t sum[BLOCK];
    for (int64_t x = 0; x < bytes; x += BLOCK) {
        const int64_t n = bytes - x < BLOCK ? bytes - x : BLOCK;
        for (int64_t i = 0; i < n; i++) {
            sum[i] = 1 << (PRN__RESIZE_BITS - 1);
        }
        for (int64_t k = 0; k < axis->counts[place]; k++) {
            const uint8_t *s = source + k * stride + x;
            const int32_t weight = w[k];
            for (int64_t i = 0; i < n; i++) {
                sum[i] += s[i] * weight;
            }
        }
        for (int64_t i = 0; i < n; i++) {
            target[x + i] = clip(sum[i]);
        }
    }
}

const prn__resize_kernels prn__resize_plain = {"plain", 0, plain_rows, plain_column};

const prn__resize_kernels *prn__resize_best(void)
{
    const prn__resize_kernels *wide = prn__resize_avx512(), *narrow = prn__resize_avx2();
    return wide != NULL ? wide : narrow != NULL ? narrow : &prn__resize_plain;
}
