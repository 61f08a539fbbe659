/* TiC-Unicode: the same bytes twice; held-out things are held out; manifests tell the truth about the shards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "data/dataset.h"
#include "data/image.h"
#include "data/tokenizer.h"
#include "data/unicode.h"

enum { SIDE = 24, LIMIT = 40, CODES = 0x110000, TRAINED = 1, RENDERING = 2, CHARACTER = 4 };

static char folders[2][32] = {"/tmp/prn-unicode-XXXXXX", "/tmp/prn-unicode-XXXXXX"};
static prn__unicode_report reports[2];
static double last_progress;

static void on_progress(void *context, const char *what, double done)
{
    (void)context;
    assert_non_null(what);
    assert_true(done >= last_progress && done <= 1);
    last_progress = done;
}

static int build_both(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        prn_error error = PRN_ERROR_INIT;
        assert_non_null(mkdtemp(folders[i]));
        prn__unicode_options options = {.out = folders[i]};
        assert_int_equal(prn__unicode_preset("quickstart", &options, &error), PRN_OK);
        assert_ptr_equal(options.out, folders[i]);
        options.image_side = SIDE;
        options.fonts_per_character = 1;
        options.evaluation_limit = LIMIT;
        options.merges = 300;
        last_progress = 0;
        prn_status status = prn__unicode_build(&options, on_progress, NULL, &reports[i], &error);
        if (status != PRN_OK) {
            print_message("%s\n", error.message);
        }
        assert_int_equal(status, PRN_OK);
        assert_true(last_progress > 0.99);
    }
    return 0;
}

static int remove_both(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        char command[128];
        (void)snprintf(command, sizeof command, "rm -rf '%s'", folders[i]);
        assert_int_equal(system(command), 0);
    }
    return 0;
}

static prn__manifest *load(int folder, const char *name)
{
    char path[256];
    prn_error error = PRN_ERROR_INIT;
    prn__manifest *manifest = NULL;
    (void)snprintf(path, sizeof path, "%s/%s.yaml", folders[folder], name);
    if (prn__manifest_load(path, &manifest, &error) != PRN_OK) {
        fail_msg("%s", error.message);
    }
    return manifest;
}

static void test_same_bytes_twice(void **state)
{
    (void)state;
    char command[256];
    (void)snprintf(command, sizeof command, "diff -rq --exclude='*.index' '%s' '%s'", folders[0], folders[1]);
    assert_int_equal(system(command), 0);
    assert_memory_equal(&reports[0], &reports[1], sizeof reports[0]);
}

static void test_size(void **state)
{
    (void)state;
    const prn__unicode_report *r = &reports[0];
    print_message("%lld characters, %lld renderings, %lld fonts, %lld blank, %lld training, %lld evaluation\n", (long long)r->characters,
                  (long long)r->renderings, (long long)r->fonts, (long long)r->blank, (long long)r->training, (long long)r->evaluation);
    assert_true(r->characters > 30000 && r->renderings > 200000 && r->fonts > 250);
    assert_true(r->training > 25000 && r->training < r->characters && r->blank < r->characters / 100);
}

/* Reads every sample of a list; marks code points in `seen`; returns the number of samples. */
static int64_t read_list(const prn__manifest *manifest, const prn__shard_list *list, uint8_t mark, uint8_t *seen, int classes_wanted)
{
    prn_error error = PRN_ERROR_INIT;
    prn__dataset *dataset;
    char digest[33];
    int64_t count = 0;
    prn__image image = {0};
    if (prn__dataset_open(manifest, &list, 1, NULL, &dataset, &error) != PRN_OK) {
        fail_msg("%s", error.message);
    }
    assert_int_equal(prn__dataset_samples(dataset), list->samples);
    assert_int_equal(prn__dataset_digest(dataset, digest, &error), PRN_OK);
    assert_string_equal(digest, list->checksum);
    for (int64_t shard = 0; shard < prn__dataset_shards(dataset); shard++) {
        for (int64_t i = 0; i < prn__dataset_shard_samples(dataset)[shard]; i++) {
            prn__sample sample;
            prn__sample_hold hold;
            assert_int_equal(prn__dataset_sample(dataset, shard, i, &sample, &hold, &error), PRN_OK);
            unsigned long code = strtoul(sample.key, NULL, 16);
            assert_true(code < CODES && sample.caption_bytes > 2);
            seen[code] |= mark;
            assert_true(sample.class_index < (int32_t)manifest->class_count && (!classes_wanted || sample.class_index >= 0));
            if (i % 16 == 0) {
                int dark = 0;
                assert_int_equal(prn__image_decode(sample.image, sample.image_bytes, &image, &error), PRN_OK);
                assert_int_equal(image.width, SIDE);
                assert_int_equal(image.height, SIDE);
                for (int p = 0; p < SIDE * SIDE * 3; p++) {
                    dark |= image.pixels[p] < 230;
                }
                assert_true(dark);
            }
            prn__sample_release(dataset, &hold);
            count++;
        }
    }
    prn__image_fini(&image);
    prn__dataset_close(dataset);
    return count;
}

static void test_streams(void **state)
{
    (void)state;
    static const char *const names[] = {"coarse", "yearly"};
    static const size_t steps[] = {6, 21};
    for (int level = 0; level < 2; level++) {
        prn__manifest *manifest = load(0, names[level]);
        uint8_t *seen = prn__alloc(CODES);
        int64_t training = 0, held_characters = 0, sets = 0;
        assert_int_equal(manifest->step_count, steps[level]);
        for (size_t t = 0; t < manifest->step_count; t++) {
            const prn__manifest_step *step = &manifest->steps[t];
            training += read_list(manifest, &step->train, TRAINED, seen, 0);
            for (size_t e = 0; e < step->evaluation_count; e++) {
                const prn__evaluation_set *set = &step->evaluations[e];
                int is_classification = set->kind == PRN__TASK_CLASSIFICATION;
                int64_t n = read_list(manifest, &set->shards,
                                      is_classification ? 0 : strcmp(set->name, "retrieval-characters") == 0 ? CHARACTER : RENDERING, seen,
                                      is_classification);
                assert_true(n >= 20 && n <= LIMIT);
                sets++;
            }
        }
        assert_int_equal(training, reports[0].training);
        assert_true(sets > (level == 0 ? 17 : 30)); /* each coarse step has its three */
        for (size_t code = 0; code < CODES; code++) {
            assert_false((seen[code] & CHARACTER) != 0 && (seen[code] & (TRAINED | RENDERING)) != 0);
            assert_false((seen[code] & RENDERING) != 0 && (seen[code] & TRAINED) == 0);
            held_characters += (seen[code] & CHARACTER) != 0;
        }
        assert_true(held_characters >= 20);
        prn__free(seen);
        prn__manifest_destroy(manifest);
    }
}

static void test_shift_is_real(void **state)
{
    /* scripts of the last coarse step that the first one does not have: the distribution moves */
    (void)state;
    prn__manifest *manifest = load(0, "coarse");
    uint8_t first[512] = {0};
    int64_t fresh = 0, all = 0;
    for (int part = 0; part < 2; part++) {
        const prn__shard_list *list = &manifest->steps[part == 0 ? 0 : manifest->step_count - 1].train;
        prn_error error = PRN_ERROR_INIT;
        prn__dataset *dataset;
        assert_int_equal(prn__dataset_open(manifest, &list, 1, NULL, &dataset, &error), PRN_OK);
        for (int64_t shard = 0; shard < prn__dataset_shards(dataset); shard++) {
            for (int64_t i = 0; i < prn__dataset_shard_samples(dataset)[shard]; i++) {
                prn__sample sample;
                prn__sample_hold hold;
                assert_int_equal(prn__dataset_sample(dataset, shard, i, &sample, &hold, &error), PRN_OK);
                if (sample.class_index >= 0 && part == 0) {
                    first[sample.class_index] = 1;
                } else if (sample.class_index >= 0) {
                    all++;
                    fresh += !first[sample.class_index];
                }
                prn__sample_release(dataset, &hold);
            }
        }
        prn__dataset_close(dataset);
    }
    print_message("%lld of %lld samples of the last step are in scripts that the first step does not know\n", (long long)fresh, (long long)all);
    assert_true(fresh > all / 2);
    prn__manifest_destroy(manifest);
}

static void test_vocabulary(void **state)
{
    (void)state;
    prn__manifest *manifest = load(0, "coarse");
    prn_error error = PRN_ERROR_INIT;
    prn__tokenizer *tokenizer;
    int32_t ids[77];
    assert_int_equal(prn__tokenizer_open(manifest->vocabulary, 0, &tokenizer, &error), PRN_OK);
    assert_int_equal(prn__tokenizer_vocab_size(tokenizer), 514 + 300);
    /* the commonest word of all is one token */
    assert_int_equal(prn__tokenizer_encode(tokenizer, "letter", 6, 77, ids), 3);
    prn__tokenizer_close(tokenizer);
    prn__manifest_destroy(manifest);
}

static void test_errors(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    prn__unicode_options options = {.out = "/proc/no-such-folder"};
    assert_int_equal(prn__unicode_preset("quikstart", &options, &error), PRN_NOT_FOUND);
    assert_non_null(strstr(error.message, "quickstart"));
    assert_int_equal(prn__unicode_preset("full", &options, &error), PRN_OK);
    assert_int_not_equal(prn__unicode_build(&options, NULL, NULL, NULL, &error), PRN_OK);
    assert_non_null(strstr(error.message, "/proc/no-such-folder"));
    options.image_side = 4;
    assert_int_equal(prn__unicode_build(&options, NULL, NULL, NULL, &error), PRN_INVALID);
    assert_int_equal(prn__alloc_live(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes_twice), cmocka_unit_test(test_size),       cmocka_unit_test(test_streams),
        cmocka_unit_test(test_shift_is_real),    cmocka_unit_test(test_vocabulary), cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, build_both, remove_both);
}
