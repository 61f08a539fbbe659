/* core/data/resize.c: bicubic antialiased resizing of RGB images, as Pillow does it, and the transforms built on it.
 *
 * The filter is Keys's cubic with a = -0.5, stretched by the scale when shrinking; weights are normalised in double precision and
 * rounded to fixed point with 22 fractional bits; each of the two passes rounds to 8 bits and clips. Rows and columns that the crop
 * drops are never computed. The order of the passes is Pillow 13's: vertical first when that shrinks much more than the horizontal one.
 * Source of the rules: tests/fixtures/README.md and tests/fixtures/preprocess, which hold the figures this is tested against.
 */
#include "data/image.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"

enum { PRECISION_BITS = 32 - 8 - 2 };

struct prn__scratch {
    int32_t *weights[2];
    int64_t *starts[2];
    int64_t *counts[2];
    size_t weight_capacity[2], place_capacity[2];
    double *exact; /* the weights of one place, before rounding */
    size_t exact_capacity;
    uint8_t *rows; /* between the passes */
    size_t row_capacity;
};

prn__scratch *prn__scratch_create(void)
{
    return prn__alloc(sizeof(prn__scratch));
}

void prn__scratch_destroy(prn__scratch *scratch)
{
    if (scratch != NULL) {
        for (int a = 0; a < 2; a++) {
            prn__free(scratch->weights[a]);
            prn__free(scratch->starts[a]);
            prn__free(scratch->counts[a]);
        }
        prn__free(scratch->exact);
        prn__free(scratch->rows);
        prn__free(scratch);
    }
}

static double cubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1) {
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    }
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

/* The weights of output places [first, first + count) when `in` pixels become `out`. Returns the widest support, 0 when out of memory. */
static int64_t prepare_axis(prn__scratch *scratch, int axis, int64_t in, int64_t out, int64_t first, int64_t count)
{
    double scale = (double)in / (double)out, stretch = scale > 1 ? scale : 1, support = 2 * stretch, shrink = 1.0 / stretch;
    int64_t taps = (int64_t)ceil(support) * 2 + 1;
    size_t need = (size_t)(count * taps);
    if (scratch->weight_capacity[axis] < need) {
        prn__free(scratch->weights[axis]);
        scratch->weights[axis] = prn__alloc_array(need, sizeof(int32_t));
        scratch->weight_capacity[axis] = scratch->weights[axis] != NULL ? need : 0;
    }
    if (scratch->place_capacity[axis] < (size_t)count) {
        prn__free(scratch->starts[axis]);
        prn__free(scratch->counts[axis]);
        scratch->starts[axis] = prn__alloc_array((size_t)count, sizeof(int64_t));
        scratch->counts[axis] = prn__alloc_array((size_t)count, sizeof(int64_t));
        scratch->place_capacity[axis] = scratch->starts[axis] != NULL && scratch->counts[axis] != NULL ? (size_t)count : 0;
    }
    if (scratch->exact_capacity < (size_t)taps) {
        prn__free(scratch->exact);
        scratch->exact = prn__alloc_array((size_t)taps, sizeof(double));
        scratch->exact_capacity = scratch->exact != NULL ? (size_t)taps : 0;
    }
    if (scratch->weight_capacity[axis] < need || scratch->place_capacity[axis] < (size_t)count || scratch->exact_capacity < (size_t)taps) {
        return 0;
    }
    double *exact = scratch->exact;
    for (int64_t i = 0; i < count; i++) {
        double centre = ((double)(first + i) + 0.5) * scale, sum = 0;
        int64_t low = (int64_t)(centre - support + 0.5), high = (int64_t)(centre + support + 0.5);
        low = low < 0 ? 0 : low;
        high = high > in ? in : high;
        int32_t *w = scratch->weights[axis] + i * taps;
        for (int64_t k = low; k < high; k++) { /* the operations and their order are Pillow's: another rounding is another weight */
            exact[k - low] = cubic(((double)k - centre + 0.5) * shrink);
            sum += exact[k - low];
        }
        for (int64_t k = low; k < high; k++) {
            double value = sum != 0 ? exact[k - low] / sum : exact[k - low];
            w[k - low] = (int32_t)(value < 0 ? value * (1 << PRECISION_BITS) - 0.5 : value * (1 << PRECISION_BITS) + 0.5);
        }
        scratch->starts[axis][i] = low;
        scratch->counts[axis][i] = high - low;
    }
    return taps;
}

static inline uint8_t clip(int32_t sum)
{
    int32_t value = sum >> PRECISION_BITS;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* One row of the horizontal pass. source: a whole row of RGB pixels. */
static void resize_row(const prn__scratch *scratch, int64_t taps, const uint8_t *source, int64_t count, uint8_t *target)
{
    for (int64_t i = 0; i < count; i++) {
        const int32_t *w = scratch->weights[0] + i * taps;
        const uint8_t *s = source + scratch->starts[0][i] * 3;
        int32_t r = 1 << (PRECISION_BITS - 1), g = r, b = r;
        for (int64_t k = 0; k < scratch->counts[0][i]; k++) {
            r += s[3 * k] * w[k];
            g += s[3 * k + 1] * w[k];
            b += s[3 * k + 2] * w[k];
        }
        target[3 * i] = clip(r);
        target[3 * i + 1] = clip(g);
        target[3 * i + 2] = clip(b);
    }
}

/* One output row of the vertical pass over `bytes` neighbouring values; in blocks, so that the sums stay in registers and cache. */
static void resize_column(const int32_t *w, int64_t taps, const uint8_t *source, int64_t stride, int64_t bytes, uint8_t *target)
{
    enum { BLOCK = 256 };
    int32_t sum[BLOCK];
    for (int64_t x = 0; x < bytes; x += BLOCK) {
        int64_t n = bytes - x < BLOCK ? bytes - x : BLOCK;
        for (int64_t i = 0; i < n; i++) {
            sum[i] = 1 << (PRECISION_BITS - 1);
        }
        for (int64_t k = 0; k < taps; k++) {
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

static int reserve_rows(prn__scratch *scratch, size_t bytes)
{
    if (scratch->row_capacity < bytes) {
        prn__free(scratch->rows);
        scratch->rows = prn__alloc(bytes);
        scratch->row_capacity = scratch->rows != NULL ? bytes : 0;
    }
    return scratch->row_capacity >= bytes;
}

/* Source (h, w) with `stride` bytes a row, resized to (out_h, out_w), of which the box (top, left, side, side) is written. */
static prn_status resize_box(const uint8_t *source, int64_t stride, int64_t h, int64_t w, int64_t out_h, int64_t out_w, int64_t top, int64_t left,
                             int64_t side, prn__scratch *scratch, uint8_t *target, prn_error *error)
{
    const int64_t columns = side * 3;
    const int has_x = w != out_w, has_y = h != out_h;
    if (!has_x && !has_y) {
        for (int64_t y = 0; y < side; y++) {
            memcpy(target + y * columns, source + (top + y) * stride + left * 3, (size_t)columns);
        }
        return PRN_OK;
    }
    int64_t taps_x = has_x ? prepare_axis(scratch, 0, w, out_w, left, side) : 1;
    int64_t taps_y = has_y ? prepare_axis(scratch, 1, h, out_h, top, side) : 1;
    if (taps_x == 0 || taps_y == 0) {
        goto no_memory;
    }
    if (!has_y) {
        for (int64_t y = 0; y < side; y++) {
            resize_row(scratch, taps_x, source + (top + y) * stride, side, target + y * columns);
        }
        return PRN_OK;
    }
    if (!has_x) {
        for (int64_t y = 0; y < side; y++) {
            resize_column(scratch->weights[1] + y * taps_y, scratch->counts[1][y], source + scratch->starts[1][y] * stride + left * 3, stride, columns,
                          target + y * columns);
        }
        return PRN_OK;
    }
    if (h > out_h && h - out_h > 2 * (w - out_w)) { /* vertical first */
        int64_t from = scratch->starts[0][0], to = scratch->starts[0][side - 1] + scratch->counts[0][side - 1];
        for (int64_t i = 0; i < side; i++) {
            from = scratch->starts[0][i] < from ? scratch->starts[0][i] : from;
            to = scratch->starts[0][i] + scratch->counts[0][i] > to ? scratch->starts[0][i] + scratch->counts[0][i] : to;
        }
        if (!reserve_rows(scratch, (size_t)(w * 3))) {
            goto no_memory;
        }
        for (int64_t y = 0; y < side; y++) {
            resize_column(scratch->weights[1] + y * taps_y, scratch->counts[1][y], source + scratch->starts[1][y] * stride + from * 3, stride,
                          (to - from) * 3, scratch->rows + from * 3);
            resize_row(scratch, taps_x, scratch->rows, side, target + y * columns);
        }
        return PRN_OK;
    }
    int64_t from = scratch->starts[1][0], to = scratch->starts[1][side - 1] + scratch->counts[1][side - 1];
    if (!reserve_rows(scratch, (size_t)((to - from) * columns))) {
        goto no_memory;
    }
    for (int64_t y = from; y < to; y++) {
        resize_row(scratch, taps_x, source + y * stride, side, scratch->rows + (y - from) * columns);
    }
    for (int64_t y = 0; y < side; y++) {
        resize_column(scratch->weights[1] + y * taps_y, scratch->counts[1][y], scratch->rows + (scratch->starts[1][y] - from) * columns, columns, columns,
                      target + y * columns);
    }
    return PRN_OK;
no_memory:
    return prn_error_set(error, PRN_NO_MEMORY, "out of memory while resizing a %lld x %lld image", (long long)w, (long long)h);
}

/* (n - side) / 2 rounded half to even. */
static int64_t crop_offset(int64_t n, int64_t side)
{
    int64_t spare = n - side, half = spare / 2;
    return spare % 2 != 0 && half % 2 != 0 ? half + 1 : half;
}

prn_status prn__image_eval_transform(const prn__image *image, int64_t side, prn__scratch *scratch, uint8_t *target, prn_error *error)
{
    int64_t w = image->width, h = image->height, out_w = side, out_h = side;
    if (w < 1 || h < 1 || side < 1) {
        return prn_error_set(error, PRN_INVALID, "an image of %lld x %lld pixels cannot be resized to %lld", (long long)w, (long long)h, (long long)side);
    }
    if (w <= h) {
        out_h = (int64_t)((double)side * (double)h / (double)w);
    } else {
        out_w = (int64_t)((double)side * (double)w / (double)h);
    }
    return resize_box(image->pixels, w * 3, h, w, out_h, out_w, crop_offset(out_h, side), crop_offset(out_w, side), side, scratch, target, error);
}

prn_status prn__image_resized_crop(const prn__image *image, int64_t top, int64_t left, int64_t height, int64_t width, int64_t side,
                                   prn__scratch *scratch, uint8_t *target, prn_error *error)
{
    if (top < 0 || left < 0 || height < 1 || width < 1 || side < 1 || height > image->height - top || width > image->width - left) {
        return prn_error_set(error, PRN_INVALID, "the crop (%lld, %lld, %lld, %lld) lies outside the %lld x %lld image", (long long)top, (long long)left,
                             (long long)height, (long long)width, (long long)image->width, (long long)image->height);
    }
    return resize_box(image->pixels + (top * image->width + left) * 3, image->width * 3, height, width, side, side, 0, 0, side, scratch, target, error);
}

prn_status prn__image_train_transform(const prn__image *image, int64_t side, double scale_low, double scale_high, uint64_t seed, uint64_t sample,
                                      uint64_t draw, prn__scratch *scratch, uint8_t *target, prn_error *error)
{
    /* Ten tries at a box with random area and aspect ratio, then the largest centred box of an allowed aspect: torchvision's rule. */
    const double area = (double)image->width * (double)image->height, low = log(3.0 / 4.0), high = log(4.0 / 3.0);
    for (uint64_t attempt = 0; attempt < 10; attempt++) {
        uint64_t counter = draw * 64 + attempt * 4;
        double wanted = area * (scale_low + (scale_high - scale_low) * prn__rng_uniform(seed, PRN__RNG_CROP, sample, counter));
        double aspect = exp(low + (high - low) * prn__rng_uniform(seed, PRN__RNG_CROP, sample, counter + 1));
        int64_t w = llround(sqrt(wanted * aspect)), h = llround(sqrt(wanted / aspect));
        if (w > 0 && h > 0 && w <= image->width && h <= image->height) {
            int64_t top = (int64_t)prn__rng_below(seed, PRN__RNG_CROP, sample, counter + 2, (uint64_t)(image->height - h + 1));
            int64_t left = (int64_t)prn__rng_below(seed, PRN__RNG_CROP, sample, counter + 3, (uint64_t)(image->width - w + 1));
            return prn__image_resized_crop(image, top, left, h, w, side, scratch, target, error);
        }
    }
    int64_t w = image->width, h = image->height;
    double ratio = (double)w / (double)h;
    if (ratio < 3.0 / 4.0) {
        h = llround((double)w / (3.0 / 4.0));
    } else if (ratio > 4.0 / 3.0) {
        w = llround((double)h * (4.0 / 3.0));
    }
    h = h < 1 ? 1 : h > image->height ? image->height : h;
    w = w < 1 ? 1 : w > image->width ? image->width : w;
    return prn__image_resized_crop(image, (image->height - h) / 2, (image->width - w) / 2, h, w, side, scratch, target, error);
}
