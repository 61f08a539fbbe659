/* Every set of inner loops gives the same bytes as the plain one: at all sizes near a register's width, from memory that ends where the
 * image does, with weights whose sums clip at both ends, and under a box that leaves neighbours beside it. */
#include "data_helpers.h"

#include "data/image.h"
#include "data/resize_kernels.h"

static uint64_t random_state = 5;

/* Runs of black and white beside noise: bicubic overshoots there, so that clipping is met. The pixels end where their block ends. */
static void fill(prn__image *image, int64_t width, int64_t height)
{
    const size_t bytes = (size_t)(width * height * 3);
    prn__image_fini(image);
    image->pixels = prn__alloc(bytes);
    assert_non_null(image->pixels);
    image->capacity = bytes;
    image->width = width;
    image->height = height;
    for (size_t i = 0; i < bytes; i++) {
        const uint64_t kind = random_below(&random_state, 4);
        image->pixels[i] = (uint8_t)(kind == 0 ? 0 : kind == 1 ? 255 : random_below(&random_state, 256));
    }
}

static const prn__resize_kernels *const *all_kernels(size_t *count)
{
    static const prn__resize_kernels *found[3];
    const prn__resize_kernels *const candidates[] = {prn__resize_avx2(), prn__resize_avx512()};
    *count = 0;
    for (size_t i = 0; i < sizeof candidates / sizeof candidates[0]; i++) {
        if (candidates[i] != NULL) {
            found[(*count)++] = candidates[i];
        }
    }
    return found;
}

static void compare(const prn__image *image, int64_t top, int64_t left, int64_t height, int64_t width, int64_t side)
{
    size_t count;
    const prn__resize_kernels *const *kernels = all_kernels(&count);
    prn_error error = PRN_ERROR_INIT;
    const size_t bytes = (size_t)(side * side * 3);
    uint8_t *expected = malloc(bytes), *got = malloc(bytes); /* exact blocks: a byte written beyond the end is seen */
    prn__scratch *scratch = prn__scratch_create();
    prn__scratch_use(scratch, &prn__resize_plain);
    assert_ok(height > 0 ? prn__image_resized_crop(image, top, left, height, width, side, scratch, expected, &error)
                         : prn__image_eval_transform(image, side, scratch, expected, &error));
    prn__scratch_destroy(scratch);
    for (size_t k = 0; k < count; k++) {
        scratch = prn__scratch_create();
        prn__scratch_use(scratch, kernels[k]);
        memset(got, 0xA5, bytes);
        assert_ok(height > 0 ? prn__image_resized_crop(image, top, left, height, width, side, scratch, got, &error)
                             : prn__image_eval_transform(image, side, scratch, got, &error));
        for (size_t i = 0; i < bytes; i++) {
            if (got[i] != expected[i]) {
                fail_msg("%s: box %lld %lld %lld %lld of %lld x %lld to %lld: byte %zu is %d, not %d", kernels[k]->name, (long long)top, (long long)left,
                         (long long)height, (long long)width, (long long)image->width, (long long)image->height, (long long)side, i, got[i], expected[i]);
            }
        }
        prn__scratch_destroy(scratch);
    }
    free(expected);
    free(got);
}

static void test_every_small_size(void **state)
{
    (void)state;
    static const int64_t sides[] = {1, 2, 3, 5, 6, 10, 11, 12, 16, 21, 22, 33};
    prn__image image = {0};
    for (int64_t height = 1; height <= 40; height += 3) {
        for (int64_t width = 1; width <= 40; width += 1 + (height + width) % 3) {
            fill(&image, width, height);
            for (size_t s = 0; s < sizeof sides / sizeof sides[0]; s++) {
                compare(&image, 0, 0, height, width, sides[s]);
                compare(&image, 0, 0, 0, 0, sides[s]);
            }
        }
    }
    prn__image_fini(&image);
    assert_int_equal(prn__alloc_live(), 0);
}

static void test_random_boxes(void **state)
{
    (void)state;
    prn__image image = {0};
    for (int i = 0; i < 200; i++) {
        const int64_t width = 1 + (int64_t)random_below(&random_state, 300), height = 1 + (int64_t)random_below(&random_state, 300);
        fill(&image, width, height);
        for (int j = 0; j < 4; j++) {
            const int64_t w = 1 + (int64_t)random_below(&random_state, (uint64_t)width), h = 1 + (int64_t)random_below(&random_state, (uint64_t)height);
            const int64_t left = j == 0 ? width - w : (int64_t)random_below(&random_state, (uint64_t)(width - w + 1)); /* also against the end */
            const int64_t top = j == 0 ? height - h : (int64_t)random_below(&random_state, (uint64_t)(height - h + 1));
            compare(&image, top, left, h, w, 1 + (int64_t)random_below(&random_state, 96));
        }
    }
    prn__image_fini(&image);
}

/* Hundreds of taps: the sums of parts wrap on the way. */
static void test_strong_shrinking(void **state)
{
    (void)state;
    static const int64_t sizes[][2] = {{4000, 3}, {3, 4000}, {4000, 40}, {40, 4000}, {1500, 1400}};
    prn__image image = {0};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        fill(&image, sizes[i][0], sizes[i][1]);
        for (int64_t side = 1; side <= 4; side++) {
            compare(&image, 0, 0, sizes[i][1], sizes[i][0], side);
        }
        if (sizes[i][0] > 1000 && sizes[i][1] > 1000) {
            compare(&image, 0, 0, 0, 0, 16);
        }
    }
    memset(image.pixels, 255, image.capacity); /* white stays white: weights add up */
    compare(&image, 0, 0, image.height, image.width, 7);
    prn__image_fini(&image);
}

static void test_the_best_is_one_of_them(void **state)
{
    (void)state;
    size_t count;
    const prn__resize_kernels *const *kernels = all_kernels(&count), *best = prn__resize_best();
    print_message("kernels: plain");
    for (size_t k = 0; k < count; k++) {
        print_message(", %s", kernels[k]->name);
    }
    print_message("; best: %s\n", best->name);
    assert_ptr_equal(best, count > 0 ? kernels[count - 1] : &prn__resize_plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_small_size),
        cmocka_unit_test(test_random_boxes),
        cmocka_unit_test(test_strong_shrinking),
        cmocka_unit_test(test_the_best_is_one_of_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
