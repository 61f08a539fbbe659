/* Decoding and the transforms against Pillow (tests/fixtures/preprocess), and what damaged images do. */
#include "data_helpers.h"

#include <jansson.h>
#include <math.h>
#include <zlib.h>

#include "data/image.h"
#include "model/safetensors.h"

static prn__safetensors *open_expected(const char *name)
{
    prn__safetensors *file;
    prn_error error = PRN_ERROR_INIT;
    assert_ok(prn__safetensors_open(fixture(name), &file, &error));
    return file;
}

static json_t *open_cases(void)
{
    json_error_t detail;
    json_t *cases = json_load_file(fixture("preprocess/cases.json"), 0, &detail);
    assert_non_null(cases);
    return cases;
}

static void decode_fixture(const char *name, prn__image *image)
{
    char path[256];
    size_t bytes;
    prn_error error = PRN_ERROR_INIT;
    (void)snprintf(path, sizeof path, "preprocess/images/%s", name);
    uint8_t *data = read_whole(fixture(path), &bytes);
    prn_status status = prn__image_decode(data, bytes, image, &error);
    free(data);
    if (status != PRN_OK) {
        fail_msg("%s: %s", name, error.message);
    }
}

static int largest_difference(const uint8_t *a, const uint8_t *b, int64_t count)
{
    int largest = 0;
    for (int64_t i = 0; i < count; i++) {
        int d = abs(a[i] - b[i]);
        largest = d > largest ? d : largest;
    }
    return largest;
}

/* Every case of one group; the scratch and the image are reused, as a worker does. */
static void check_group(const char *group, const char *expected_file)
{
    prn_error error = PRN_ERROR_INIT;
    prn__safetensors *expected = open_expected(expected_file);
    json_t *cases = open_cases(), *one;
    prn__scratch *scratch = prn__scratch_create();
    prn__image image = {0};
    size_t i, count = 0, equal = 0;
    int largest = 0;
    const char *worst = "";
    json_array_foreach(json_object_get(cases, group), i, one) {
        const char *key = json_string_value(json_object_get(one, "key"));
        int64_t side = json_integer_value(json_object_get(one, "size"));
        const prn__st_tensor *tensor = prn__safetensors_find(expected, key);
        assert_non_null(tensor);
        assert_int_equal(tensor->type, PRN__ST_U8);
        assert_int_equal(tensor->bytes, side * side * 3);
        decode_fixture(json_string_value(json_object_get(one, "image")), &image);
        uint8_t *target = malloc((size_t)(side * side * 3));
        if (json_object_get(one, "top") != NULL) {
            int64_t top = json_integer_value(json_object_get(one, "top")), left = json_integer_value(json_object_get(one, "left"));
            int64_t h = json_integer_value(json_object_get(one, "height")), w = json_integer_value(json_object_get(one, "width"));
            assert_ok(prn__image_resized_crop(&image, top, left, h, w, side, scratch, target, &error));
        } else {
            assert_int_equal(image.width, json_integer_value(json_object_get(one, "width")));
            assert_int_equal(image.height, json_integer_value(json_object_get(one, "height")));
            assert_ok(prn__image_eval_transform(&image, side, scratch, target, &error));
        }
        int difference = largest_difference(target, tensor->data, side * side * 3);
        if (difference > 1) {
            print_error("%s: differs by %d\n", key, difference);
        }
        if (difference > largest) {
            largest = difference;
            worst = key;
        }
        equal += difference == 0;
        count++;
        free(target);
    }
    print_message("%s: %zu cases, %zu equal, largest difference %d/255 %s\n", group, count, equal, largest, worst);
    assert_true(count >= 10);
    assert_true(largest <= 1);
    prn__image_fini(&image);
    prn__scratch_destroy(scratch);
    json_decref(cases);
    prn__safetensors_close(expected);
    assert_int_equal(prn__alloc_live(), 0);
}

static void test_evaluation_transform(void **state)
{
    (void)state;
    check_group("eval", "preprocess/expected_rgb_first.safetensors");
}

static void test_crops(void **state)
{
    (void)state;
    check_group("crops", "preprocess/expected_crops.safetensors");
}

/* A fresh scratch and one that has seen every size before give the same bytes. */
static void test_scratch_leaves_no_trace(void **state)
{
    (void)state;
    static const char *const names[] = {"rgb-160x120.png", "rgb-9x300.png", "rgb-1x1.png", "rgb-200x17.png", "rgb-1x40.png", "rgb-40x130.png"};
    prn_error error = PRN_ERROR_INIT;
    prn__scratch *used = prn__scratch_create();
    prn__image image = {0};
    uint8_t a[64 * 64 * 3], b[64 * 64 * 3];
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
            for (int64_t side = 1; side <= 64; side += 21) {
                prn__scratch *fresh = prn__scratch_create();
                decode_fixture(names[i], &image);
                assert_ok(prn__image_eval_transform(&image, side, used, a, &error));
                assert_ok(prn__image_eval_transform(&image, side, fresh, b, &error));
                assert_memory_equal(a, b, (size_t)(side * side * 3));
                prn__scratch_destroy(fresh);
            }
        }
    }
    prn__image_fini(&image);
    prn__scratch_destroy(used);
}

/* Training crops: a pure function of (seed, sample, draw); every box lies in the image; areas keep to the scale; none is like another. */
static void test_training_transform(void **state)
{
    (void)state;
    static const char *const names[] = {"rgb-160x120.png", "rgb-9x300.png", "rgb-1x1.png", "rgb-200x17.png", "rgb-1x40.png"};
    prn_error error = PRN_ERROR_INIT;
    prn__scratch *scratch = prn__scratch_create();
    prn__image image = {0};
    uint8_t a[32 * 32 * 3], b[32 * 32 * 3];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        decode_fixture(names[i], &image);
        for (uint64_t draw = 0; draw < 200; draw++) {
            assert_ok(prn__image_train_transform(&image, 32, 0.08, 1, 5, i, draw, scratch, a, &error));
            assert_ok(prn__image_train_transform(&image, 32, 0.08, 1, 5, i, draw, scratch, b, &error));
            assert_memory_equal(a, b, sizeof a);
        }
    }
    decode_fixture("rgb-160x120.png", &image);
    assert_ok(prn__image_train_transform(&image, 32, 0.5, 1, 5, 1, 1, scratch, a, &error));
    assert_ok(prn__image_train_transform(&image, 32, 0.5, 1, 5, 1, 2, scratch, b, &error));
    assert_memory_not_equal(a, b, sizeof a);
    assert_ok(prn__image_train_transform(&image, 32, 0.5, 1, 5, 2, 1, scratch, b, &error));
    assert_memory_not_equal(a, b, sizeof a);
    assert_ok(prn__image_train_transform(&image, 32, 0.5, 1, 6, 1, 1, scratch, b, &error));
    assert_memory_not_equal(a, b, sizeof a);

    /* a gradient image shows the box: red is x, green is y */
    image.width = image.height = 200;
    prn__free(image.pixels);
    image.capacity = 200 * 200 * 3;
    image.pixels = prn__alloc(image.capacity);
    for (int y = 0; y < 200; y++) {
        for (int x = 0; x < 200; x++) {
            image.pixels[(y * 200 + x) * 3] = (uint8_t)x;
            image.pixels[(y * 200 + x) * 3 + 1] = (uint8_t)y;
        }
    }
    double smallest = 1, largest = 0, sum = 0;
    for (uint64_t draw = 0; draw < 500; draw++) {
        assert_ok(prn__image_train_transform(&image, 32, 0.25, 0.75, 9, 0, draw, scratch, a, &error));
        double w = (a[31 * 3] - a[0]) * 32.0 / 31, h = (a[31 * 32 * 3 + 1] - a[1]) * 32.0 / 31, area = w * h / 40000;
        smallest = area < smallest ? area : smallest;
        largest = area > largest ? area : largest;
        sum += area / 500;
        assert_true(w / h > 0.70 && w / h < 1.43);
    }
    assert_true(smallest > 0.22 && smallest < 0.30);
    assert_true(largest > 0.70 && largest < 0.79);
    assert_true(fabs(sum - 0.5) < 0.03);
    prn__image_fini(&image);
    prn__scratch_destroy(scratch);
}

static void test_wrong_arguments(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    prn__scratch *scratch = prn__scratch_create();
    prn__image image = {0};
    uint8_t target[8 * 8 * 3];
    assert_int_equal(prn__image_eval_transform(&image, 8, scratch, target, &error), PRN_INVALID);
    decode_fixture("rgb-13x11.png", &image);
    assert_int_equal(prn__image_eval_transform(&image, 0, scratch, target, &error), PRN_INVALID);
    static const int64_t boxes[][4] = {{-1, 0, 5, 5}, {0, -1, 5, 5}, {0, 0, 0, 5}, {0, 0, 5, 0}, {0, 0, 12, 5}, {0, 0, 5, 14}, {7, 0, 5, 5}, {0, 9, 5, 5},
                                       {INT64_MAX, 0, 5, 5}, {0, 0, INT64_MAX, INT64_MAX}, {5, 5, INT64_MAX, 1}};
    for (size_t i = 0; i < sizeof boxes / sizeof boxes[0]; i++) {
        assert_fails(prn__image_resized_crop(&image, boxes[i][0], boxes[i][1], boxes[i][2], boxes[i][3], 8, scratch, target, &error), PRN_INVALID, "outside");
    }
    assert_ok(prn__image_resized_crop(&image, 6, 8, 5, 5, 8, scratch, target, &error));
    prn__image_fini(&image);
    prn__scratch_destroy(scratch);
}

/* ---- damaged images ---- */

static const char *const all_kinds[] = {"rgb-13x11.png", "palette.png", "grey-16bit.png", "rgb-16bit.png", "cmyk.jpg", "grey.jpg", "rgb-422-progressive.jpg",
                                        "rgb-quality75.jpg", "rgb-lossless.webp", "rgba-lossless.webp"};

static uint8_t *load_image(const char *name, size_t *bytes)
{
    char path[256];
    (void)snprintf(path, sizeof path, "preprocess/images/%s", name);
    return read_whole(fixture(path), bytes);
}

/* A cut image is an error, never a picture with made-up pixels: a result must equal the whole image. */
static void test_cut_images(void **state)
{
    (void)state;
    prn__image whole = {0}, image = {0};
    for (size_t k = 0; k < sizeof all_kinds / sizeof all_kinds[0]; k++) {
        size_t bytes, step, good = 0;
        uint8_t *data = load_image(all_kinds[k], &bytes);
        decode_fixture(all_kinds[k], &whole);
        step = bytes < 700 ? 1 : bytes / 700 + 1;
        for (size_t cut = 0; cut < bytes; cut += step) {
            prn_error error = PRN_ERROR_INIT;
            uint8_t *part = malloc(cut + 1); /* its own block: a read beyond the end is seen */
            memcpy(part, data, cut);
            uint8_t *exact = realloc(part, cut > 0 ? cut : 1);
            prn_status status = prn__image_decode(exact, cut, &image, &error);
            free(exact);
            if (status == PRN_OK) {
                good++;
                assert_int_equal(image.width, whole.width);
                assert_int_equal(image.height, whole.height);
                if (memcmp(image.pixels, whole.pixels, (size_t)(whole.width * whole.height * 3)) != 0) {
                    fail_msg("%s cut at %zu of %zu gives other pixels without an error", all_kinds[k], cut, bytes);
                }
            } else {
                assert_true(error.message[0] != '\0');
            }
        }
        assert_true(good * step <= 64); /* only the last few bytes of a file carry no pixels */
        free(data);
    }
    prn__image_fini(&whole);
    prn__image_fini(&image);
    assert_int_equal(prn__alloc_live(), 0);
}

static void test_flipped_bits(void **state)
{
    (void)state;
    prn__image image = {0};
    uint64_t random = 11;
    int refused = 0, all = 0;
    for (size_t k = 0; k < sizeof all_kinds / sizeof all_kinds[0]; k++) {
        size_t bytes;
        uint8_t *data = load_image(all_kinds[k], &bytes);
        for (int i = 0; i < 300; i++) {
            prn_error error = PRN_ERROR_INIT;
            uint8_t *copy = malloc(bytes);
            memcpy(copy, data, bytes);
            size_t reach = i % 2 == 0 && bytes > 64 ? 64 : bytes; /* half of the damage is in the headers */
            for (uint64_t n = 1 + random_below(&random, 4); n > 0; n--) {
                flip_bit(copy, reach, &random);
            }
            prn_status status = prn__image_decode(copy, bytes, &image, &error);
            if (status != PRN_OK) {
                refused++;
                assert_true(error.message[0] != '\0');
            } else {
                assert_true(image.width >= 1 && image.width <= PRN__IMAGE_MAX_SIDE && image.width * image.height <= PRN__IMAGE_MAX_PIXELS);
            }
            all++;
            free(copy);
        }
        free(data);
    }
    assert_true(refused > all / 4);
    prn__image_fini(&image);
    assert_int_equal(prn__alloc_live(), 0);
}

static void put_be32(uint8_t *target, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        target[i] = (uint8_t)(value >> (24 - 8 * i));
    }
}

/* Sizes that no honest image has: refused by the header alone. */
static void test_absurd_dimensions(void **state)
{
    (void)state;
    static const uint32_t sizes[][2] = {{0, 10}, {10, 0}, {32769, 1}, {1, 32769}, {32768, 32768}, {0x7fffffff, 0x7fffffff}, {0xffffffff, 0xffffffff},
                                        {0x80000000, 1}, {32768, 3052}, {10001, 10000}};
    prn__image image = {0};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t bytes;
        prn_error error = PRN_ERROR_INIT;
        uint8_t *png = load_image("rgb-13x11.png", &bytes);
        put_be32(png + 16, sizes[i][0]);
        put_be32(png + 20, sizes[i][1]);
        put_be32(png + 29, (uint32_t)crc32(0, png + 12, 17));
        prn_status status = prn__image_decode(png, bytes, &image, &error);
        assert_true(status == PRN_INVALID || status == PRN_CORRUPT);
        assert_true(strstr(error.message, "PNG") != NULL || strstr(error.message, "pixels") != NULL);
        free(png);
        assert_null(image.pixels);
    }
    static const uint32_t jpeg_sizes[][2] = {{0, 10}, {65535, 65535}, {32769, 8}, {8, 32769}, {20000, 20000}};
    for (size_t i = 0; i < sizeof jpeg_sizes / sizeof jpeg_sizes[0]; i++) {
        size_t bytes, at = 2;
        prn_error error = PRN_ERROR_INIT;
        uint8_t *jpeg = load_image("rgb-quality75.jpg", &bytes);
        while (at + 9 < bytes && !(jpeg[at] == 0xff && (jpeg[at + 1] == 0xc0 || jpeg[at + 1] == 0xc2))) {
            at += 2 + (size_t)(jpeg[at + 2] << 8 | jpeg[at + 3]);
        }
        assert_true(at + 9 < bytes);
        jpeg[at + 5] = (uint8_t)(jpeg_sizes[i][1] >> 8);
        jpeg[at + 6] = (uint8_t)jpeg_sizes[i][1];
        jpeg[at + 7] = (uint8_t)(jpeg_sizes[i][0] >> 8);
        jpeg[at + 8] = (uint8_t)jpeg_sizes[i][0];
        prn_status status = prn__image_decode(jpeg, bytes, &image, &error);
        assert_true(status == PRN_INVALID || status == PRN_CORRUPT);
        assert_null(image.pixels);
        free(jpeg);
    }
    /* a lossless WebP of 16384 x 16384 */
    size_t bytes, at;
    uint8_t *webp = load_image("rgb-lossless.webp", &bytes);
    for (at = 12; at + 9 < bytes && memcmp(webp + at, "VP8L", 4) != 0; at++) {
    }
    assert_true(at + 13 < bytes);
    memset(webp + at + 9, 0xff, 3);
    webp[at + 12] |= 0x0f;
    prn_error error = PRN_ERROR_INIT;
    assert_int_equal(prn__image_decode(webp, bytes, &image, &error), PRN_INVALID);
    assert_null(image.pixels);
    free(webp);
    assert_int_equal(prn__alloc_live(), 0);
}

static void test_not_an_image(void **state)
{
    (void)state;
    static const char *const junk[] = {"", "x", "\xff", "\xff\xd8", "\xff\xd8\xff", "\x89PNG\r\n\x1a\n", "RIFF1234WEBP", "RIFF1234WEBPVP8 ", "GIF89a......", "BM......"};
    prn__image image = {0};
    for (size_t i = 0; i < sizeof junk / sizeof junk[0]; i++) {
        prn_error error = PRN_ERROR_INIT;
        prn_status status = prn__image_decode((const uint8_t *)junk[i], strlen(junk[i]), &image, &error);
        if (status != PRN_UNSUPPORTED && status != PRN_CORRUPT) {
            fail_msg("input %zu: status %d: %s", i, (int)status, error.message);
        }
        assert_true(error.message[0] != '\0');
    }
    assert_null(image.pixels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_evaluation_transform), cmocka_unit_test(test_crops),          cmocka_unit_test(test_scratch_leaves_no_trace),
        cmocka_unit_test(test_training_transform),   cmocka_unit_test(test_wrong_arguments), cmocka_unit_test(test_cut_images),
        cmocka_unit_test(test_flipped_bits),         cmocka_unit_test(test_absurd_dimensions), cmocka_unit_test(test_not_an_image),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
