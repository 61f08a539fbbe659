/* core/data/resize.c: bicubic antialiased resizing of RGB images, as Pillow does it, and the transforms built on it.
 *
 * The filter is Keys's cubic with a = -0.5, stretched by the scale when shrinking; weights are normalised in double precision and
 * rounded to fixed point with 22 fractional bits; each of the two passes rounds to 8 bits and clips. Rows and columns that the crop
 * drops are never computed. The inner loops are in resize_kernels.h, and each set of them gives the same bytes. The order of the passes is
 * Pillow 13's: vertical first when that shrinks much more than the horizontal one.
 * Source of the rules: tests/fixtures/README.md and tests/fixtures/preprocess, which hold the figures this is tested against.
 */
#include "data/image.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "data/resize_kernels.h"

struct prn__scratch {
    const prn__resize_kernels *kernels;
    prn__axis axes[2]; /* horizontal, vertical */
    uint8_t *rows;     /* between the passes */
    uint8_t *lines;    /* copies of rows at whose end there is not enough to read */
    size_t row_capacity, line_capacity;
};

prn__scratch *prn__scratch_create(void)
{
    prn__scratch *scratch = prn__alloc(sizeof *scratch);
    if (scratch != NULL) {
        scratch->kernels = prn__resize_best();
    }
    return scratch;
}

void prn__scratch_use(prn__scratch *scratch, const struct prn__resize_kernels *kernels)
{
    scratch->kernels = kernels;
}

void prn__scratch_destroy(prn__scratch *scratch)
{
    if (scratch != NULL) {
        prn__axis_fini(&scratch->axes[0]);
        prn__axis_fini(&scratch->axes[1]);
        prn__free(scratch->rows);
        prn__free(scratch->lines);
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

static int reserve_axis(prn__axis *axis, int64_t places, int64_t taps)
{
    const size_t need = (size_t)(places * taps);
    if (axis->weight_capacity < need) {
        prn__free(axis->weights);
        axis->weights = prn__alloc_array(need, sizeof *axis->weights);
        axis->weight_capacity = axis->weights != NULL ? need : 0;
    }
    if (axis->place_capacity < (size_t)places) {
        prn__free(axis->starts);
        prn__free(axis->counts);
        axis->starts = prn__alloc_array((size_t)places, sizeof *axis->starts);
        axis->counts = prn__alloc_array((size_t)places, sizeof *axis->counts);
        axis->place_capacity = axis->starts != NULL && axis->counts != NULL ? (size_t)places : 0;
    }
    if (axis->exact_capacity < (size_t)taps) {
        prn__free(axis->exact);
        axis->exact = prn__alloc_array((size_t)taps, sizeof *axis->exact);
        axis->exact_capacity = axis->exact != NULL ? (size_t)taps : 0;
    }
    return axis->weight_capacity >= need && axis->place_capacity >= (size_t)places && axis->exact_capacity >= (size_t)taps;
}

/* The weights of output places [first, first + places) when `in` pixels become `out`. 0 when out of memory. */
static int prepare_axis(prn__scratch *scratch, int which, int64_t in, int64_t out, int64_t first, int64_t places)
{
    prn__axis *axis = &scratch->axes[which];
    double scale = (double)in / (double)out, stretch = scale > 1 ? scale : 1, support = 2 * stretch, shrink = 1.0 / stretch;
    int64_t taps = (int64_t)ceil(support) * 2 + 1;
    if (!reserve_axis(axis, places, taps)) {
        return 0;
    }
    axis->places = places;
    axis->taps = taps;
    double *exact = axis->exact;
    for (int64_t i = 0; i < places; i++) {
        double centre = ((double)(first + i) + 0.5) * scale, sum = 0;
        int64_t low = (int64_t)(centre - support + 0.5), high = (int64_t)(centre + support + 0.5);
        low = low < 0 ? 0 : low;
        high = high > in ? in : high;
        int32_t *w = axis->weights + i * taps;
        for (int64_t k = low; k < high; k++) { /* the operations and their order are Pillow's: another rounding is another weight */
            exact[k - low] = cubic(((double)k - centre + 0.5) * shrink);
            sum += exact[k - low];
        }
        for (int64_t k = low; k < high; k++) {
            double value = sum != 0 ? exact[k - low] / sum : exact[k - low];
            w[k - low] = (int32_t)(value < 0 ? value * (1 << PRN__RESIZE_BITS) - 0.5 : value * (1 << PRN__RESIZE_BITS) + 0.5);
        }
        axis->starts[i] = low;
        axis->counts[i] = high - low;
    }
    return !scratch->kernels->is_packed || (which == 0 ? prn__axis_pack_pixels(axis) : prn__axis_pack_lines(axis));
}

static int reserve_bytes(uint8_t **block, size_t *capacity, size_t bytes)
{
    if (*capacity < bytes) {
        prn__free(*block);
        *block = prn__alloc(bytes);
        *capacity = *block != NULL ? bytes : 0;
    }
    return *capacity >= bytes;
}

/* The pixels that are resized: (h, w) with `stride` bytes a row. Rows may be read up to `end`, whatever lies there. */
typedef struct pixels {
    const uint8_t *at, *end;
    int64_t stride, h, w;
} pixels;

/* The horizontal pass of `count` rows. A row near the end of memory is copied first when the kernels read whole registers. */
static void resize_rows(const prn__scratch *scratch, const pixels *source, int64_t first, int64_t count, uint8_t *target)
{
    const prn__axis *axis = &scratch->axes[0];
    const int64_t reach = scratch->kernels->is_packed ? axis->reach : 0, row_bytes = source->w * 3, columns = axis->places * 3;
    for (int64_t y = 0; y < count; y += PRN__RESIZE_ROWS) {
        const uint8_t *from[PRN__RESIZE_ROWS];
        uint8_t *to[PRN__RESIZE_ROWS];
        for (int64_t k = 0; k < PRN__RESIZE_ROWS; k++) {
            const int64_t row = y + k < count ? y + k : count - 1;
            from[k] = source->at + (first + row) * source->stride;
            to[k] = target + row * columns;
            if (source->end - from[k] < reach) {
                uint8_t *line = scratch->lines + k * reach;
                memcpy(line, from[k], (size_t)(row_bytes < reach ? row_bytes : reach));
                memset(line + (row_bytes < reach ? row_bytes : reach), 0, (size_t)(row_bytes < reach ? reach - row_bytes : 0));
                from[k] = line;
            }
        }
        scratch->kernels->rows(axis, from, to);
    }
}

/* Output rows [first, first + count) of the vertical pass, `bytes` values of each. `at` is where source row `row` starts. */
static void resize_columns(const prn__scratch *scratch, const uint8_t *at, int64_t row, int64_t stride, int64_t first, int64_t count, int64_t bytes,
                           uint8_t *target, int64_t target_stride)
{
    const prn__axis *axis = &scratch->axes[1];
    for (int64_t y = 0; y < count; y++) {
        scratch->kernels->column(axis, first + y, at + (axis->starts[first + y] - row) * stride, stride, bytes, target + y * target_stride);
    }
}

/* The source resized to (out_h, out_w), of which the box (top, left, side, side) is written. */
static prn_status resize_box(const pixels *source, int64_t out_h, int64_t out_w, int64_t top, int64_t left, int64_t side, prn__scratch *scratch,
                             uint8_t *target, prn_error *error)
{
    const int64_t columns = side * 3, h = source->h, w = source->w, stride = source->stride;
    const int has_x = w != out_w, has_y = h != out_h;
    const prn__axis *x = &scratch->axes[0], *y = &scratch->axes[1];
    if (!has_x && !has_y) {
        for (int64_t row = 0; row < side; row++) {
            memcpy(target + row * columns, source->at + (top + row) * stride + left * 3, (size_t)columns);
        }
        return PRN_OK;
    }
    if ((has_x && !prepare_axis(scratch, 0, w, out_w, left, side)) || (has_y && !prepare_axis(scratch, 1, h, out_h, top, side)) ||
        (has_x && scratch->kernels->is_packed && !reserve_bytes(&scratch->lines, &scratch->line_capacity, (size_t)(x->reach * PRN__RESIZE_ROWS)))) {
        goto no_memory;
    }
    if (!has_y) {
        resize_rows(scratch, source, top, side, target);
        return PRN_OK;
    }
    if (!has_x) {
        resize_columns(scratch, source->at + left * 3, 0, stride, 0, side, columns, target, columns);
        return PRN_OK;
    }
    if (h > out_h && h - out_h > 2 * (w - out_w)) { /* vertical first */
        const int64_t row_bytes = w * 3;
        int64_t from = x->starts[0], to = x->starts[side - 1] + x->counts[side - 1];
        for (int64_t i = 0; i < side; i++) {
            from = x->starts[i] < from ? x->starts[i] : from;
            to = x->starts[i] + x->counts[i] > to ? x->starts[i] + x->counts[i] : to;
        }
        if (!reserve_bytes(&scratch->rows, &scratch->row_capacity, (size_t)(row_bytes * PRN__RESIZE_ROWS))) {
            goto no_memory;
        }
        for (int64_t first = 0; first < side; first += PRN__RESIZE_ROWS) {
            const int64_t count = side - first < PRN__RESIZE_ROWS ? side - first : PRN__RESIZE_ROWS;
            const pixels between = {scratch->rows, scratch->rows + row_bytes * count, row_bytes, count, w};
            resize_columns(scratch, source->at + from * 3, 0, stride, first, count, (to - from) * 3, scratch->rows + from * 3, row_bytes);
            resize_rows(scratch, &between, 0, count, target + first * columns);
        }
        return PRN_OK;
    }
    const int64_t from = y->starts[0], to = y->starts[side - 1] + y->counts[side - 1];
    if (!reserve_bytes(&scratch->rows, &scratch->row_capacity, (size_t)((to - from) * columns))) {
        goto no_memory;
    }
    resize_rows(scratch, source, from, to - from, scratch->rows);
    resize_columns(scratch, scratch->rows, from, columns, 0, side, columns, target, columns);
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
    const pixels whole = {image->pixels, image->pixels + w * h * 3, w * 3, h, w};
    return resize_box(&whole, out_h, out_w, crop_offset(out_h, side), crop_offset(out_w, side), side, scratch, target, error);
}

prn_status prn__image_resized_crop(const prn__image *image, int64_t top, int64_t left, int64_t height, int64_t width, int64_t side,
                                   prn__scratch *scratch, uint8_t *target, prn_error *error)
{
    if (top < 0 || left < 0 || height < 1 || width < 1 || side < 1 || height > image->height - top || width > image->width - left) {
        return prn_error_set(error, PRN_INVALID, "the crop (%lld, %lld, %lld, %lld) lies outside the %lld x %lld image", (long long)top, (long long)left,
                             (long long)height, (long long)width, (long long)image->width, (long long)image->height);
    }
    const int64_t stride = image->width * 3;
    const pixels box = {image->pixels + top * stride + left * 3, image->pixels + image->height * stride, stride, height, width};
    return resize_box(&box, side, side, 0, 0, side, scratch, target, error);
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
