/* The Nth allocation fails, for every N: a clean error or a whole result, and no block left. */
#include "data_helpers.h"

#include "data/image.h"
#include "data/loader.h"

enum { MOST = 3000 };

static prn__tokenizer *tokenizer;

static int set_up(void **state)
{
    prn_error error = PRN_ERROR_INIT;
    if (make_folder(state) != 0) {
        return 1;
    }
    write_text(in_folder("vocabulary.txt"), "#version: 0.2\ns a\nsa m\n");
    assert_ok(prn__tokenizer_open(in_folder("vocabulary.txt"), 0, &tokenizer, &error));
    return 0;
}

static int tear_down(void **state)
{
    prn__tokenizer_close(tokenizer);
    return remove_folder(state);
}

/* Runs `once` with failures until it no longer meets one. once: a status; NO_MEMORY is expected, nothing else but success. */
static void every_allocation(prn_status (*once)(prn_error *error), const char *what)
{
    int64_t live = prn__alloc_live(), n, failures = 0;
    for (n = 1; n < MOST; n++) {
        prn_error error = PRN_ERROR_INIT;
        prn__alloc_fail_at(n);
        prn_status status = once(&error);
        prn__alloc_fail_at(0);
        if (prn__alloc_live() != live) {
            fail_msg("%s: allocation %lld: %lld blocks are left (status %d: %s)", what, (long long)n, (long long)(prn__alloc_live() - live), (int)status,
                     error.message);
        }
        if (status == PRN_NO_MEMORY) {
            assert_true(strstr(error.message, "memory") != NULL);
            failures++;
        } else if (status != PRN_OK) {
            fail_msg("%s: allocation %lld: status %d: %s", what, (long long)n, (int)status, error.message);
        } else if (n > failures + 64) {
            break; /* far beyond the last one */
        }
    }
    print_message("%s: %lld allocations failed, each cleanly\n", what, (long long)failures);
    assert_true(failures >= 1);
    assert_true(n < MOST);
}

static prn_status load_manifest(prn_error *error)
{
    prn__manifest *m = (prn__manifest *)error;
    prn_status status = prn__manifest_load(in_folder("stream.yaml"), &m, error);
    if (status != PRN_OK) {
        assert_null(m);
    } else {
        assert_int_equal(m->class_count, 2);
        assert_int_equal(m->steps[1].evaluation_count, 1);
    }
    prn__manifest_destroy(m);
    return status;
}

static void test_manifest(void **state)
{
    (void)state;
    write_text(in_folder("classes.txt"), "one\ntwo\n");
    write_text(in_folder("stream.yaml"), "stream: s\nvocabulary: v.txt\nclasses: classes.txt\ntemplates: ['a {}']\nsteps:\n"
               "- {name: a, train: {shards: 'a-{0..9}.tar', samples: 3}}\n"
               "- {name: b, train: {shards: b.tar}, evaluations: [{name: e, kind: retrieval, shards: e.tar, checksum: 00000000000000000000000000000000}]}\n");
    every_allocation(load_manifest, "manifest_load");
}

static int removes_index;

static prn_status open_dataset(prn_error *error)
{
    prn__manifest manifest = {.path = "stream.yaml", .root = test_folder};
    prn__shard_list list = {.pattern = "a-{0..2}.tar", .samples = 12};
    const prn__shard_list *lists[] = {&list};
    prn__dataset *d = (prn__dataset *)error;
    prn__sample sample;
    prn__sample_hold hold;
    char digest[33];
    for (int i = 0; removes_index && i < 3; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "a-%d.tar.index", i);
        (void)unlink(in_folder(name));
    }
    prn_status status = prn__dataset_open(&manifest, lists, 1, in_folder("cache"), &d, error);
    if (status != PRN_OK) {
        assert_null(d);
        return status;
    }
    for (int64_t shard = 0; shard < 3 && status == PRN_OK; shard++) {
        status = prn__dataset_sample(d, shard, 0, &sample, &hold, error);
        if (status == PRN_OK) {
            prn__sample_release(d, &hold);
        }
    }
    if (status == PRN_OK) {
        status = prn__dataset_digest(d, digest, error);
    }
    if (status == PRN_OK) {
        assert_int_equal(prn__dataset_samples(d), 9);
        assert_int_equal(prn__dataset_losses(d, -1, PRN__LOSS_TRUNCATED_TAR), 3);
    }
    prn__dataset_close(d);
    return status;
}

static void test_dataset(void **state)
{
    (void)state;
    test_shard(in_folder("a-0.tar"), 0, 4, 8);
    test_shard(in_folder("a-1.tar"), 4, 4, 8);
    test_shard(in_folder("a-2.tar"), 8, 4, 8);
    assert_int_equal(truncate(in_folder("a-2.tar"), 4200), 0);
    removes_index = 1;
    every_allocation(open_dataset, "dataset_open without indexes");
    removes_index = 0;
    every_allocation(open_dataset, "dataset_open with indexes");
}

static prn__dataset *shared;

static prn_status run_loader(prn_error *error)
{
    prn__loader_source sources[] = {{shared, 1, 0, 0}, {shared, 2, 5, 0}};
    prn__loader_config config = {.sources = sources, .source_count = 2, .tokenizer = tokenizer, .context_length = 8, .image_side = 8, .batch = 3,
                                 .shuffle = 1, .augment = 1, .scale_low = 0.5, .scale_high = 1, .step_count = 3, .threads = 1, .ahead = 2};
    prn__loader *loader = (prn__loader *)error;
    const prn__batch *b;
    prn_status status = prn__loader_create(&config, &loader, error);
    if (status != PRN_OK) {
        assert_null(loader);
        return status;
    }
    for (int i = 0; i < 3 && status == PRN_OK; i++) {
        status = prn__loader_next(loader, &b, NULL, error);
    }
    prn__loader_destroy(loader);
    return status;
}

static void test_loader(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    const char *path = in_folder("a-{0..1}.tar");
    test_shard(in_folder("a-0.tar"), 0, 4, 12);
    test_shard(in_folder("a-1.tar"), 4, 4, 12);
    assert_ok(prn__dataset_open_paths(&path, 1, NULL, &shared, &error));
    prn__sample sample;
    prn__sample_hold hold;
    for (int64_t shard = 0; shard < 2; shard++) { /* opened beforehand: what is open counts as live */
        assert_ok(prn__dataset_sample(shared, shard, 0, &sample, &hold, &error));
        prn__sample_release(shared, &hold);
    }
    every_allocation(run_loader, "loader");
    prn__dataset_close(shared);
}

static const char *image_name;

static prn_status decode_and_transform(prn_error *error)
{
    char path[256];
    size_t bytes;
    uint8_t target[24 * 24 * 3];
    (void)snprintf(path, sizeof path, "%s/tests/fixtures/preprocess/images/%s", getenv("PRN_SOURCE_DIR") != NULL ? getenv("PRN_SOURCE_DIR") : ".", image_name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    static uint8_t data[1 << 18];
    bytes = fread(data, 1, sizeof data, f);
    (void)fclose(f);
    prn__image image = {0};
    prn__scratch *scratch = prn__scratch_create();
    prn_status status = scratch != NULL ? PRN_OK : prn_error_set(error, PRN_NO_MEMORY, "out of memory for the scratch");
    if (status == PRN_OK) {
        status = prn__image_decode(data, bytes, &image, error);
    }
    if (status == PRN_OK) {
        status = prn__image_eval_transform(&image, 24, scratch, target, error);
    }
    if (status == PRN_OK) {
        status = prn__image_train_transform(&image, 16, 0.2, 0.9, 1, 2, 3, scratch, target, error);
    }
    if (status == PRN_OK) { /* and once more after a failure: the scratch must still be whole */
        status = prn__image_eval_transform(&image, 20, scratch, target, error);
    }
    prn__image_fini(&image);
    prn__scratch_destroy(scratch);
    return status;
}

static void test_images(void **state)
{
    (void)state;
    static const char *const names[] = {"rgb-64x48.png", "grey-16bit.png", "rgb-16bit.png", "cmyk.jpg", "rgb-quality75.jpg", "rgb-lossless.webp"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        image_name = names[i];
        every_allocation(decode_and_transform, names[i]);
    }
}

/* A scratch and an image that ran out of memory work again afterwards, and give what fresh ones give. */
static void test_use_after_failure(void **state)
{
    (void)state;
    static uint8_t pixels[200 * 100 * 3], expected[32 * 32 * 3], got[32 * 32 * 3];
    for (size_t i = 0; i < sizeof pixels; i++) {
        pixels[i] = (uint8_t)(i * 7 + i / 300);
    }
    prn_error error = PRN_ERROR_INIT;
    prn__image image = {.pixels = pixels, .width = 200, .height = 100};
    prn__scratch *fresh = prn__scratch_create();
    assert_ok(prn__image_eval_transform(&image, 32, fresh, expected, &error));
    prn__scratch_destroy(fresh);
    for (int64_t n = 1; n < 12; n++) {
        prn__scratch *scratch = prn__scratch_create();
        assert_ok(prn__image_eval_transform(&image, 8, scratch, got, &error)); /* smaller first: what is there must grow */
        prn__alloc_fail_at(n);
        prn_status status = prn__image_eval_transform(&image, 32, scratch, got, &error);
        prn__alloc_fail_at(0);
        assert_true(status == PRN_OK || status == PRN_NO_MEMORY);
        assert_ok(prn__image_eval_transform(&image, 32, scratch, got, &error));
        assert_memory_equal(got, expected, sizeof got);
        prn__scratch_destroy(scratch);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_manifest), cmocka_unit_test(test_dataset),           cmocka_unit_test(test_loader),
        cmocka_unit_test(test_images),   cmocka_unit_test(test_use_after_failure),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
