/* tests/model/test_safetensors.c: the file format: round trips, types, and files made to hurt. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/memory.h"
#include "model/safetensors.h"

static char folder[64], path[96];

static int setup(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/prn-st-XXXXXX");
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    (void)snprintf(path, sizeof path, "%s/x.safetensors", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    (void)unlink(path);
    (void)rmdir(folder);
    return 0;
}

static void write_bytes(const void *data, size_t bytes)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

/* A file of this header and `data_bytes` zero bytes; `claimed` overrides the header's length when not 0. */
static void write_file(const char *header, size_t data_bytes, uint64_t claimed)
{
    size_t length = strlen(header);
    uint64_t prefix = claimed != 0 ? claimed : length;
    unsigned char *bytes = calloc(1, 8 + length + data_bytes);
    assert_non_null(bytes);
    for (int i = 0; i < 8; i++) {
        bytes[i] = (unsigned char)(prefix >> 8 * i);
    }
    memcpy(bytes + 8, header, length);
    write_bytes(bytes, 8 + length + data_bytes);
    free(bytes);
}

static void expect_refused(prn_status want, const char *part)
{
    prn_error error = PRN_ERROR_INIT;
    prn__safetensors *file = (prn__safetensors *)1;
    int64_t live = prn__alloc_live();
    prn_status status = prn__safetensors_open(path, &file, &error);
    if (status != want || strstr(error.message, part) == NULL) {
        fail_msg("got %s \"%s\", wanted %s with \"%s\"", prn_status_name(status), error.message, prn_status_name(want), part);
    }
    assert_null(file);
    assert_int_equal(prn__alloc_live(), live);
}

static void test_round_trip(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    const float weights[6] = {1.5f, -2.25f, 0, 3e-20f, 7, INFINITY};
    const int32_t ids[3] = {1, -2, 3};
    const uint8_t bytes[5] = {1, 2, 3, 4, 255};
    const double scalar = 2.6592600369327783;
    const prn__st_tensor tensors[] = {
        {"bytes \"quoted\"/\xc3\xa9", PRN__ST_U8, 1, {5}, bytes, sizeof bytes},
        {"weights", PRN__ST_F32, 2, {2, 3}, weights, sizeof weights},
        {"ids", PRN__ST_I32, 1, {3}, ids, sizeof ids},
        {"scalar", PRN__ST_F64, 0, {0}, &scalar, sizeof scalar},
        {"empty", PRN__ST_F32, 2, {0, 4}, NULL, 0},
    };
    const char *const metadata[] = {"format", "pt", "note", "a \"b\"", NULL};
    int64_t live = prn__alloc_live();
    prn__safetensors *file;
    assert_int_equal(prn__safetensors_save(path, tensors, 5, metadata, &error), PRN_OK);
    assert_int_equal(prn__alloc_live(), live);
    assert_int_equal(prn__safetensors_open(path, &file, &error), PRN_OK);
    assert_int_equal(prn__safetensors_count(file), 5);
    assert_string_equal(prn__safetensors_metadata(file, "note"), "a \"b\"");
    assert_null(prn__safetensors_metadata(file, "absent"));
    assert_null(prn__safetensors_find(file, "absent"));
    assert_null(prn__safetensors_at(file, 5));
    for (size_t i = 0; i < 5; i++) {
        const prn__st_tensor *tensor = prn__safetensors_find(file, tensors[i].name);
        assert_non_null(tensor);
        assert_int_equal(tensor->type, tensors[i].type);
        assert_int_equal(tensor->rank, tensors[i].rank);
        assert_int_equal(tensor->bytes, tensors[i].bytes);
        for (uint32_t d = 0; d < tensor->rank; d++) {
            assert_int_equal(tensor->shape[d], tensors[i].shape[d]);
        }
        if (tensor->bytes > 0) {
            assert_memory_equal(tensor->data, tensors[i].data, tensor->bytes);
        }
    }
    /* Wide types come first, so that each tensor is aligned to its elements. */
    assert_int_equal((uintptr_t)prn__safetensors_find(file, "scalar")->data % 8, 0);
    assert_int_equal((uintptr_t)prn__safetensors_find(file, "weights")->data % 4, 0);
    float read[6];
    assert_int_equal(prn__safetensors_read_f32(prn__safetensors_find(file, "weights"), read, 6, &error), PRN_OK);
    assert_memory_equal(read, weights, sizeof weights);
    assert_int_equal(prn__safetensors_read_f32(prn__safetensors_find(file, "scalar"), read, 1, &error), PRN_OK);
    assert_true(read[0] == (float)scalar);
    assert_int_equal(prn__safetensors_read_f32(prn__safetensors_find(file, "weights"), read, 5, &error), PRN_INVALID);
    assert_int_equal(prn__safetensors_read_f32(prn__safetensors_find(file, "ids"), read, 3, &error), PRN_INVALID);
    prn__safetensors_close(file);
    assert_int_equal(prn__alloc_live(), live);
}

static void test_half_types(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    /* 1, -2, largest, smallest normal, smallest subnormal, a subnormal, -0, infinity, NaN */
    const uint16_t half[9] = {0x3c00, 0xc000, 0x7bff, 0x0400, 0x0001, 0x0123, 0x8000, 0x7c00, 0x7e01};
    const float want[9] = {1, -2, 65504, 0x1p-14f, 0x1p-24f, 0x123 * 0x1p-24f, -0.0f, INFINITY, NAN};
    const uint16_t brain[4] = {0x3f80, 0xc040, 0x7f80, 0x0001};
    const float want_brain[4] = {1, -3, INFINITY, 0x1p-133f};
    const prn__st_tensor tensors[] = {{"half", PRN__ST_F16, 1, {9}, half, sizeof half}, {"brain", PRN__ST_BF16, 1, {4}, brain, sizeof brain}};
    float got[9];
    prn__safetensors *file;
    assert_int_equal(prn__safetensors_save(path, tensors, 2, NULL, &error), PRN_OK);
    assert_int_equal(prn__safetensors_open(path, &file, &error), PRN_OK);
    assert_int_equal(prn__safetensors_read_f32(prn__safetensors_find(file, "half"), got, 9, &error), PRN_OK);
    assert_memory_equal(got, want, 8 * sizeof *want);
    assert_true(isnan(got[8]));
    assert_int_equal(prn__safetensors_read_f32(prn__safetensors_find(file, "brain"), got, 4, &error), PRN_OK);
    assert_memory_equal(got, want_brain, sizeof want_brain);
    prn__safetensors_close(file);
}

static void test_refusals(void **state)
{
    (void)state;
    write_bytes("", 0);
    expect_refused(PRN_CORRUPT, "0 bytes");
    write_bytes("abc", 3);
    expect_refused(PRN_CORRUPT, "no safetensors file");
    write_file("{}", 0, UINT64_MAX);
    expect_refused(PRN_CORRUPT, "claims a header");
    write_file("{}", 0, 3);
    expect_refused(PRN_CORRUPT, "claims a header");
    write_file("{}", 0, 1);
    expect_refused(PRN_CORRUPT, "no JSON object");
    write_file("[1,2]", 0, 0);
    expect_refused(PRN_CORRUPT, "no JSON object");
    write_file("{\"a\":1}", 0, 0);
    expect_refused(PRN_CORRUPT, "'a'");
    write_file("{\"__metadata__\":[]}", 0, 0);
    expect_refused(PRN_CORRUPT, "__metadata__");
    write_file("{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4, 0);
    expect_refused(PRN_UNSUPPORTED, "F8_E4M3");
    write_file("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8, 0);
    expect_refused(PRN_CORRUPT, "shape of tensor 'a'");
    write_file("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4, 0);
    expect_refused(PRN_CORRUPT, "claims bytes 0 to 8 of 4");
    write_file("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, 0);
    expect_refused(PRN_CORRUPT, "claims bytes");
    write_file("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", 8, 0);
    expect_refused(PRN_CORRUPT, "claims bytes");
    write_file("{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, 0);
    expect_refused(PRN_CORRUPT, "natural number");
    write_file("{\"a\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}", 8, 0);
    expect_refused(PRN_CORRUPT, "natural number");
    write_file("{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}", 8, 0);
    expect_refused(PRN_UNSUPPORTED, "9 dimensions");
    write_file("{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0, 0);
    expect_refused(PRN_CORRUPT, "shape of tensor 'a'");
    write_file("{\"a\":{\"dtype\":\"F32\",\"shape\":[2305843009213693952,8],\"data_offsets\":[0,0]}}", 0, 0);
    expect_refused(PRN_CORRUPT, "shape of tensor 'a'");
    write_file("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[2,6]}}", 6, 0);
    expect_refused(PRN_CORRUPT, "overlaps");
    write_file("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[5,7]}}", 7, 0);
    expect_refused(PRN_CORRUPT, "hole");
    write_file("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 9, 0);
    expect_refused(PRN_CORRUPT, "belong to nothing");
    write_file("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4, 0);
    expect_refused(PRN_CORRUPT, "duplicate");
    write_file("{\"a\\u0000b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4, 0);
    expect_refused(PRN_CORRUPT, "no JSON object");
    unlink(path);
    expect_refused(PRN_NOT_FOUND, "x.safetensors");
    /* deep nesting must not exhaust the stack */
    char *deep = malloc(200001);
    assert_non_null(deep);
    memset(deep, '[', 200000);
    deep[200000] = 0;
    write_file(deep, 0, 0);
    free(deep);
    expect_refused(PRN_CORRUPT, "no JSON object");
}

static void test_save_refusals(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    const float one[2] = {1, 2};
    const prn__st_tensor same[] = {{"a", PRN__ST_F32, 1, {1}, one, 4}, {"a", PRN__ST_F32, 1, {1}, one, 4}};
    const prn__st_tensor odd = {"a", PRN__ST_F32, 1, {2}, one, 4};
    const prn__st_tensor wild = {"\xff", PRN__ST_F32, 1, {1}, one, 4};
    assert_int_equal(prn__safetensors_save(path, same, 2, NULL, &error), PRN_INVALID);
    assert_int_equal(prn__safetensors_save(path, &odd, 1, NULL, &error), PRN_INVALID);
    assert_int_equal(prn__safetensors_save(path, &wild, 1, NULL, &error), PRN_INVALID);
    assert_false(prn__file_exists(path));
    assert_int_equal(prn__safetensors_save("/nonexistent-folder/x", same, 1, NULL, &error), PRN_NOT_FOUND);
}

/* Every byte of a small file flipped, every length cut: opened or refused, never a crash, no leak; what opens can be read whole. */
static void test_damage(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    const float weights[4] = {1, 2, 3, 4};
    const prn__st_tensor tensors[] = {{"first", PRN__ST_F32, 1, {2}, weights, 8}, {"second", PRN__ST_F32, 2, {1, 2}, weights + 2, 8}};
    char *original;
    size_t bytes, opened = 0;
    int64_t live = prn__alloc_live();
    assert_int_equal(prn__safetensors_save(path, tensors, 2, NULL, &error), PRN_OK);
    assert_int_equal(prn__file_read(path, 1 << 20, &original, &bytes, &error), PRN_OK);
    for (size_t trial = 0; trial < bytes * 9; trial++) {
        const size_t at = trial / 9, kind = trial % 9;
        size_t length = kind == 8 ? at : bytes;
        char saved = original[at];
        if (kind < 8) {
            original[at] = (char)(original[at] ^ 1 << kind);
        }
        write_bytes(original, length);
        original[at] = saved;
        prn__safetensors *file;
        if (prn__safetensors_open(path, &file, &error) == PRN_OK) {
            unsigned sum = 0;
            opened++;
            for (size_t i = 0; i < prn__safetensors_count(file); i++) {
                const prn__st_tensor *tensor = prn__safetensors_at(file, i);
                for (size_t j = 0; j < tensor->bytes; j++) {
                    sum += ((const uint8_t *)tensor->data)[j];
                }
            }
            assert_true(sum > 0);
            prn__safetensors_close(file);
        } else {
            assert_true(strlen(error.message) > 0);
        }
    }
    prn__free(original);
    assert_true(opened >= 16 * 8); /* flips inside the data are no damage that the format can see */
    assert_true(opened < bytes * 9);
    assert_int_equal(prn__alloc_live(), live);
}

static void test_no_memory(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    const float weights[4] = {1, 2, 3, 4};
    const prn__st_tensor tensor = {"w", PRN__ST_F32, 1, {4}, weights, sizeof weights};
    int64_t live = prn__alloc_live();
    assert_int_equal(prn__safetensors_save(path, &tensor, 1, NULL, &error), PRN_OK);
    int finished = 0;
    for (int64_t nth = 1; nth < 50 && !finished; nth++) {
        prn__safetensors *file;
        prn__alloc_fail_at(nth);
        prn_status status = prn__safetensors_open(path, &file, &error);
        prn__alloc_fail_at(0);
        if (status == PRN_OK) {
            finished = 1;
            prn__safetensors_close(file);
        } else {
            assert_int_equal(status, PRN_NO_MEMORY);
        }
        assert_int_equal(prn__alloc_live(), live);
    }
    assert_true(finished);
    finished = 0;
    for (int64_t nth = 1; nth < 50 && !finished; nth++) {
        prn__alloc_fail_at(nth);
        finished = prn__safetensors_save(path, &tensor, 1, NULL, &error) == PRN_OK;
        prn__alloc_fail_at(0);
        assert_int_equal(prn__alloc_live(), live);
    }
    assert_true(finished);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),   cmocka_unit_test_setup_teardown(test_half_types, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),     cmocka_unit_test_setup_teardown(test_save_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage, setup, teardown),       cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
