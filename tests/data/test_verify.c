/* Looking at every byte: finds what a single pass of the loader would lose, and nothing else, with any number of threads. */
#include "data_helpers.h"

#include "data/verify.h"

typedef struct seen {
    int64_t bad, losses, done;
    char keys[64];
} seen;

static void on_bad(void *context, const char *shard, const char *key, prn__loss_reason reason, const char *message)
{
    seen *s = context;
    assert_non_null(strstr(shard, ".tar"));
    assert_true(message[0] != '\0');
    assert_true(reason < PRN__LOSS_COUNT);
    (void)snprintf(s->keys + strlen(s->keys), sizeof s->keys - strlen(s->keys), "%s ", key);
    s->bad++;
}

static void on_loss(void *context, const char *shard, prn__loss_reason reason, int64_t count)
{
    (void)shard;
    (void)reason;
    ((seen *)context)->losses += count;
}

static void on_progress(void *context, int64_t done, int64_t all)
{
    assert_true(done <= all);
    ((seen *)context)->done = done;
}

static void verify(const char *pattern, int64_t samples, const char *checksum, uint32_t threads, prn__verify_report *report, seen *s)
{
    prn_error error = PRN_ERROR_INIT;
    prn__manifest manifest = {.path = "stream.yaml", .root = test_folder};
    prn__shard_list list = {.pattern = pattern, .samples = samples, .checksum = checksum};
    prn__verify_options options = {.needs_caption = 1, .progress = on_progress, .bad = on_bad, .loss = on_loss, .context = s};
    assert_ok(prn__pool_create(threads, NULL, &options.pool, &error));
    memset(s, 0, sizeof *s);
    assert_ok(prn__verify_shards(&manifest, &list, NULL, 0, &options, report, &error));
    prn__pool_destroy(options.pool);
}

static void test_good(void **state)
{
    (void)state;
    prn__verify_report report, again;
    seen s;
    test_shard(in_folder("g-0.tar"), 0, 5, 8);
    test_shard(in_folder("g-1.tar"), 5, 6, 8);
    verify("g-{0..1}.tar", 11, NULL, 1, &report, &s);
    assert_int_equal(report.problem.status, PRN_OK);
    assert_int_equal(report.shards, 2);
    assert_int_equal(report.samples, 11);
    assert_int_equal(report.good, 11);
    assert_int_equal(report.lost, 0);
    assert_int_equal(report.checksum, PRN__CHECKSUM_NOT_STATED);
    assert_int_equal(strlen(report.digest), 32);
    assert_int_equal(s.bad + s.losses, 0);
    assert_int_equal(s.done, 11);
    verify("g-{0..1}.tar", 11, report.digest, 3, &again, &s);
    assert_int_equal(again.checksum, PRN__CHECKSUM_EQUAL);
    verify("g-{1,0}.tar", 11, report.digest, 3, &again, &s);
    assert_int_equal(again.checksum, PRN__CHECKSUM_DIFFERS);
    verify("g-{0..1}.tar", 10, NULL, 1, &again, &s);
    assert_int_equal(again.problem.status, PRN_CORRUPT);
    assert_int_equal(prn__alloc_live(), 0);
}

static void test_bad(void **state)
{
    (void)state;
    test_tar tar = {0};
    for (int i = 0; i < 40; i++) {
        char name[16];
        size_t bytes;
        uint8_t *png = test_png(8, i, &bytes);
        (void)snprintf(name, sizeof name, "%02d.png", i);
        test_tar_member(&tar, name, '0', png, i % 10 == 3 ? bytes / 2 : bytes);
        free(png);
        (void)snprintf(name, sizeof name, "%02d.%s", i, i == 5 ? "cls" : "txt");
        if (i != 7) {
            add_text(&tar, name, "1");
        }
    }
    finish_tar(&tar, in_folder("b.tar"));
    for (uint32_t threads = 1; threads <= 4; threads += 3) {
        prn__verify_report report;
        seen s;
        verify("b.tar", 40, NULL, threads, &report, &s);
        assert_int_equal(report.problem.status, PRN_OK);
        assert_int_equal(report.samples, 39);
        assert_int_equal(report.good, 34);
        assert_int_equal(report.losses[PRN__LOSS_IMAGE_DECODE], 4);
        assert_int_equal(report.losses[PRN__LOSS_NO_CAPTION], 2); /* 7 in the index, 5 has a class only */
        assert_int_equal(report.lost, 6);
        assert_int_equal(s.losses, 6);
        assert_string_equal(s.keys, "03 05 13 23 33 ");
    }
    assert_int_equal(prn__alloc_live(), 0);
}

static void test_missing(void **state)
{
    (void)state;
    prn__verify_report report;
    seen s;
    test_shard(in_folder("m-0.tar"), 0, 5, 8);
    verify("m-{0..1}.tar", 9, NULL, 2, &report, &s);
    assert_int_equal(report.problem.status, PRN_OK);
    assert_int_equal(report.good, 5);
    assert_int_equal(report.losses[PRN__LOSS_SHARD_MISSING], 4);
    assert_string_equal(report.digest, ""); /* no checksum of half a list */
    verify("m-{0..1}.tar", 9, "00000000000000000000000000000000", 2, &report, &s);
    assert_int_equal(report.checksum, PRN__CHECKSUM_DIFFERS);
    verify("m-{5..6}.tar", 9, NULL, 2, &report, &s);
    assert_int_equal(report.problem.status, PRN_NOT_FOUND);
    assert_int_equal(prn__alloc_live(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_good), cmocka_unit_test(test_bad), cmocka_unit_test(test_missing)};
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
