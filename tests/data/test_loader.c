/* The loader: batches are a pure function of (data, seed, step), are always full, and every loss is counted. */
#include "data_helpers.h"

#include <time.h>

#include "data/image.h"
#include "data/loader.h"

enum { SIDE = 8, CONTEXT = 12 };

static prn__tokenizer *tokenizer;
static prn__dataset *many, *few, *damaged; /* 4 shards of 4..7 samples; 1 shard of 3; 12 samples, 4 of them bad */

static const char *const damaged_keys[] = {"b", "d", "f", "k"};

static prn__dataset *open_paths(const char *pattern)
{
    prn__dataset *d;
    prn_error error = PRN_ERROR_INIT;
    assert_ok(prn__dataset_open_paths(&pattern, 1, NULL, &d, &error));
    return d;
}

static void write_damaged(const char *path, int bad_only)
{
    test_tar tar = {0};
    for (int i = 0; i < 12; i++) {
        char name[16], text[32];
        size_t bytes;
        uint8_t *png = test_png(16, i, &bytes);
        const char key = (char)('a' + i);
        int is_bad = memchr("bdfk", key, 4) != NULL;
        if (bad_only && !is_bad) {
            free(png);
            continue;
        }
        if (key == 'b') {
            bytes -= 40; /* cut */
        } else if (key == 'd') {
            memcpy(png, "GIF89a..", 8); /* of no known kind */
        } else if (key == 'f') {
            png[16] = 0x7f; /* absurdly wide; the damaged check sum or the width is noticed */
        }
        (void)snprintf(name, sizeof name, "%c.png", key);
        test_tar_member(&tar, name, '0', png, bytes);
        free(png);
        (void)snprintf(name, sizeof name, "%c.%s", key, key == 'k' ? "json" : "txt");
        (void)snprintf(text, sizeof text, key == 'k' ? "{\"caption\": " : "caption %d", i);
        add_text(&tar, name, text);
    }
    finish_tar(&tar, path);
}

static int set_up(void **state)
{
    if (make_folder(state) != 0) {
        return 1;
    }
    prn_error error = PRN_ERROR_INIT;
    write_text(in_folder("vocabulary.txt"), "#version: 0.2\ns a\nsa m\nsam p\nl e</w>\nsamp le</w>\n");
    assert_ok(prn__tokenizer_open(in_folder("vocabulary.txt"), 0, &tokenizer, &error));
    for (int i = 0; i < 4; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "many-%d.tar", i);
        test_shard(in_folder(name), i * 100, 4 + i, 10 + 3 * i);
    }
    test_shard(in_folder("few.tar"), 900, 3, 12);
    write_damaged(in_folder("damaged.tar"), 0);
    many = open_paths(in_folder("many-{0..3}.tar"));
    few = open_paths(in_folder("few.tar"));
    damaged = open_paths(in_folder("damaged.tar"));
    return 0;
}

static int tear_down(void **state)
{
    prn__dataset_close(many);
    prn__dataset_close(few);
    prn__dataset_close(damaged);
    prn__tokenizer_close(tokenizer);
    if (prn__alloc_live() != 0) {
        print_error("%lld blocks are left\n", (long long)prn__alloc_live());
        return 1;
    }
    return remove_folder(state);
}

static prn__loader_source one_source;

static prn__loader_config plain(prn__dataset *dataset, int64_t batch)
{
    one_source = (prn__loader_source){.dataset = dataset};
    return (prn__loader_config){.sources = &one_source,
                                .source_count = 1,
                                .tokenizer = tokenizer,
                                .context_length = CONTEXT,
                                .image_side = SIDE,
                                .batch = batch,
                                .seed = 17,
                                .shuffle = 1,
                                .augment = 1,
                                .scale_low = 0.3,
                                .scale_high = 1,
                                .step_count = -1};
}

static prn__digest batch_digest(const prn__batch *b)
{
    prn__hasher *h = prn__hasher_create();
    prn__hasher_update(h, &b->count, sizeof b->count);
    prn__hasher_update(h, b->images, (size_t)b->count * SIDE * SIDE * 3);
    prn__hasher_update(h, b->tokens, (size_t)b->token_count * sizeof *b->tokens);
    prn__hasher_update(h, b->offsets, (size_t)(b->count + 1) * sizeof *b->offsets);
    prn__hasher_update(h, b->classes, (size_t)b->count * sizeof *b->classes);
    prn__hasher_update(h, b->samples, (size_t)b->count * sizeof *b->samples);
    prn__digest digest = prn__hasher_digest(h);
    prn__hasher_destroy(h);
    return digest;
}

static void check_shape(const prn__batch *b, int64_t most)
{
    assert_true(b->count >= 1 && b->count <= most);
    assert_int_equal(b->offsets[0], 0);
    for (int64_t i = 0; i < b->count; i++) {
        int64_t n = b->offsets[i + 1] - b->offsets[i];
        assert_true(n >= 2 && n <= CONTEXT);
        int64_t vocabulary = prn__tokenizer_vocab_size(tokenizer);
        assert_int_equal(b->tokens[b->offsets[i]], vocabulary - 2);
        assert_int_equal(b->tokens[b->offsets[i + 1] - 1], vocabulary - 1);
    }
    assert_int_equal(b->offsets[b->count], b->token_count);
}

/* The digests of `steps` batches. */
static void run(const prn__loader_config *config, int steps, prn__digest *digests)
{
    prn_error error = PRN_ERROR_INIT;
    prn__loader *loader;
    assert_ok(prn__loader_create(config, &loader, &error));
    for (int i = 0; i < steps; i++) {
        const prn__batch *b;
        double wait = -1;
        assert_ok(prn__loader_next(loader, &b, &wait, &error));
        assert_true(wait >= 0 && wait < 60);
        assert_int_equal(b->count, config->batch);
        check_shape(b, config->batch);
        digests[i] = batch_digest(b);
    }
    prn__loader_destroy(loader);
}

enum { STEPS = 30 };

static void assert_same(const prn__digest *a, const prn__digest *b, int count)
{
    for (int i = 0; i < count; i++) {
        if (a[i].high != b[i].high || a[i].low != b[i].low) {
            fail_msg("the batch of step %d differs", i);
        }
    }
}

static void test_threads_and_timing_never_show(void **state)
{
    (void)state;
    static const uint32_t threads[] = {1, 2, 5}, ahead[] = {0, 1, 2, 7, 40};
    prn__digest first[STEPS], other[STEPS];
    prn__loader_source two[] = {{many, 0.7, 0, 0}, {damaged, 0.3, 0, 0}};
    for (int kind = 0; kind < 4; kind++) { /* whole rows, more rows than a worker takes at once, bad samples, several sources */
        prn__loader_config config = plain(kind == 2 ? damaged : many, kind == 1 ? 37 : 5);
        if (kind == 3) {
            config.sources = two;
            config.source_count = 2;
        }
        config.threads = 1;
        config.ahead = 1;
        run(&config, STEPS, first);
        for (size_t t = 0; t < sizeof threads / sizeof threads[0]; t++) {
            for (size_t a = 0; a < sizeof ahead / sizeof ahead[0]; a++) {
                config.threads = threads[t];
                config.ahead = ahead[a];
                run(&config, STEPS, other);
                assert_same(first, other, STEPS);
            }
        }
        config.seed++;
        run(&config, STEPS, other);
        int different = 0;
        for (int i = 0; i < STEPS; i++) {
            different += first[i].low != other[i].low;
        }
        assert_int_equal(different, STEPS);
    }
}

static void test_resume(void **state)
{
    (void)state;
    prn__digest all[STEPS], rest[STEPS];
    for (int replacement = 0; replacement < 2; replacement++) {
        for (int64_t most = 0; most <= 9; most += 9) {
            prn__loader_config config = plain(many, 6);
            config.with_replacement = replacement;
            one_source.max_samples = most;
            run(&config, STEPS, all);
            for (int first = 1; first < STEPS; first += 7) {
                config.first_step = first;
                config.threads = 3;
                run(&config, STEPS - first, rest);
                assert_same(all + first, rest, STEPS - first);
            }
        }
    }
}

static void test_step_count(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    const prn__batch *b;
    prn__loader *loader;
    prn__loader_config config = plain(many, 4);
    config.first_step = 10;
    config.step_count = 3;
    assert_ok(prn__loader_create(&config, &loader, &error));
    for (int i = 0; i < 3; i++) {
        assert_ok(prn__loader_next(loader, &b, NULL, &error));
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(prn__loader_next(loader, &b, NULL, &error), PRN_END);
        assert_null(b);
    }
    prn__loader_destroy(loader);
    config.step_count = 0;
    assert_ok(prn__loader_create(&config, &loader, &error));
    assert_int_equal(prn__loader_next(loader, &b, NULL, &error), PRN_END);
    prn__loader_destroy(loader);
}

/* An epoch without replacement has every sample once, whatever the batch; and the next one has another order. */
static void test_epochs(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    const prn__batch *b;
    prn__loader *loader;
    prn__loader_config config = plain(many, 11);
    assert_int_equal(prn__dataset_samples(many), 22);
    assert_ok(prn__loader_create(&config, &loader, &error));
    uint64_t order[2][22];
    for (int epoch = 0; epoch < 2; epoch++) {
        int seen[22] = {0};
        for (int half = 0; half < 2; half++) {
            assert_ok(prn__loader_next(loader, &b, NULL, &error));
            for (int i = 0; i < 11; i++) {
                assert_true(b->samples[i] < 22);
                seen[b->samples[i]]++;
                order[epoch][half * 11 + i] = b->samples[i];
            }
        }
        for (int i = 0; i < 22; i++) {
            assert_int_equal(seen[i], 1);
        }
    }
    assert_memory_not_equal(order[0], order[1], sizeof order[0]);
    prn__loader_destroy(loader);
}

static void expect_images(const prn__batch *b, const int *numbers)
{
    prn_error error = PRN_ERROR_INIT;
    prn__scratch *scratch = prn__scratch_create();
    prn__image image = {0};
    for (int64_t i = 0; i < b->count; i++) {
        size_t bytes;
        char text[32];
        uint8_t expected[SIDE * SIDE * 3], *png = test_png(10 + 3 * (numbers[i] / 100), numbers[i], &bytes);
        int32_t ids[CONTEXT];
        assert_ok(prn__image_decode(png, bytes, &image, &error));
        assert_ok(prn__image_eval_transform(&image, SIDE, scratch, expected, &error));
        assert_memory_equal(b->images + i * SIDE * SIDE * 3, expected, sizeof expected);
        (void)snprintf(text, sizeof text, "sample %d", numbers[i]);
        int64_t n = prn__tokenizer_encode(tokenizer, text, strlen(text), CONTEXT, ids);
        assert_int_equal(b->offsets[i + 1] - b->offsets[i], n);
        assert_memory_equal(b->tokens + b->offsets[i], ids, (size_t)n * sizeof *ids);
        assert_int_equal(b->classes[i], numbers[i] % 3);
        free(png);
    }
    prn__image_fini(&image);
    prn__scratch_destroy(scratch);
}

/* In order, without augmentation: the data set itself, epoch after epoch, through the evaluation transform. */
static void test_plain_order(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    const prn__batch *b;
    prn__loader *loader;
    prn__loader_config config = plain(many, 4);
    int next = 0, numbers[22], count = 0;
    for (int shard = 0; shard < 4; shard++) {
        for (int i = 0; i < 4 + shard; i++) {
            numbers[count++] = shard * 100 + i;
        }
    }
    config.shuffle = config.augment = 0;
    assert_ok(prn__loader_create(&config, &loader, &error));
    for (int step = 0; step < 12; step++) {
        int wanted[4];
        assert_ok(prn__loader_next(loader, &b, NULL, &error));
        for (int i = 0; i < 4; i++, next++) {
            assert_int_equal(b->samples[i], next % 22);
            wanted[i] = numbers[next % 22];
        }
        expect_images(b, wanted);
    }
    prn__loader_destroy(loader);
    config.augment = 1; /* and augmentation does change them */
    prn__digest a, c;
    run(&config, 1, &a);
    config.augment = 0;
    run(&config, 1, &c);
    assert_true(a.low != c.low);
}

static void test_single_pass(void **state)
{
    (void)state;
    for (int64_t batch = 1; batch <= 25; batch += 6) {
        for (uint32_t threads = 1; threads <= 4; threads += 3) {
            prn_error error = PRN_ERROR_INIT;
            const prn__batch *b;
            prn__loader *loader;
            prn_status status;
            prn__loader_config config = plain(many, batch);
            uint64_t next = 0;
            config.single_pass = 1;
            config.augment = 0;
            config.threads = threads;
            assert_ok(prn__loader_create(&config, &loader, &error));
            while ((status = prn__loader_next(loader, &b, NULL, &error)) == PRN_OK) {
                check_shape(b, batch);
                assert_int_equal(b->count, 22 - next < (uint64_t)batch ? 22 - (int64_t)next : batch);
                for (int64_t i = 0; i < b->count; i++) {
                    assert_int_equal(b->samples[i], next++);
                }
            }
            assert_int_equal(status, PRN_END);
            assert_int_equal(next, 22);
            prn__loader_destroy(loader);
        }
    }
}

static int64_t losses_of(const prn__dataset *d)
{
    int64_t total = 0;
    for (int r = 0; r < PRN__LOSS_COUNT; r++) {
        total += prn__dataset_losses(d, -1, (prn__loss_reason)r);
    }
    return total;
}

/* A single pass leaves bad samples out, keeps the order of the others, and counts each loss once by its reason. */
static void test_single_pass_with_losses(void **state)
{
    (void)state;
    static const uint64_t good[] = {0, 2, 4, 6, 7, 8, 9, 11};
    for (int64_t batch = 1; batch <= 13; batch += 4) {
        prn_error error = PRN_ERROR_INIT;
        const prn__batch *b;
        prn__loader *loader;
        prn_status status;
        prn__dataset *d = open_paths(in_folder("damaged.tar"));
        prn__loader_config config = plain(d, batch);
        size_t next = 0;
        config.single_pass = 1;
        config.augment = 0;
        config.threads = 3;
        assert_ok(prn__loader_create(&config, &loader, &error));
        while ((status = prn__loader_next(loader, &b, NULL, &error)) == PRN_OK) {
            check_shape(b, batch);
            for (int64_t i = 0; i < b->count; i++) {
                assert_true(next < 8);
                assert_int_equal(b->samples[i], good[next++]);
            }
        }
        assert_int_equal(status, PRN_END);
        assert_int_equal(next, 8);
        assert_int_equal(losses_of(d), 4);
        assert_int_equal(prn__dataset_losses(d, 0, PRN__LOSS_BAD_METADATA), 1);
        assert_int_equal(prn__dataset_losses(d, 0, PRN__LOSS_IMAGE_DECODE) + prn__dataset_losses(d, 0, PRN__LOSS_IMAGE_DIMENSIONS), 3);
        prn__loader_destroy(loader);
        prn__dataset_close(d);
    }
}

/* Training: bad samples are replaced, so that batches stay full; what is counted depends on the batches consumed alone. */
static void test_replacement(void **state)
{
    (void)state;
    int64_t counted = -1;
    for (uint32_t threads = 1; threads <= 5; threads += 2) {
        for (uint32_t ahead = 1; ahead <= 21; ahead += 10) {
            prn__digest digests[12];
            prn__dataset *d = open_paths(in_folder("damaged.tar"));
            prn__loader_config config = plain(d, 6); /* 72 rows are 6 epochs of 12 with 4 bad ones */
            config.threads = threads;
            config.ahead = ahead;
            run(&config, 12, digests);
            int64_t lost = losses_of(d);
            assert_true(lost >= 24);
            assert_true(counted < 0 || lost == counted);
            counted = lost;
            prn__dataset_close(d);
        }
    }
    prn_error error = PRN_ERROR_INIT;
    const prn__batch *b;
    prn__loader *loader;
    prn__loader_config config = plain(damaged, 6);
    assert_ok(prn__loader_create(&config, &loader, &error));
    for (int i = 0; i < 10; i++) {
        assert_ok(prn__loader_next(loader, &b, NULL, &error));
        for (int64_t k = 0; k < b->count; k++) {
            assert_null(memchr("bdfk", (int)('a' + b->samples[k]), 4));
        }
    }
    prn__loader_destroy(loader);
}

/* The fail policy: an error with shard, key and reason, the same one whatever the threads, and again when asked again. */
static void test_fail_policy(void **state)
{
    (void)state;
    char first[PRN_ERROR_MESSAGE_BYTES] = "";
    for (uint32_t threads = 1; threads <= 5; threads += 2) {
        prn_error error = PRN_ERROR_INIT;
        const prn__batch *b;
        prn__loader *loader;
        prn_status status;
        int named = 0, steps = 0;
        prn__dataset *d = open_paths(in_folder("damaged.tar"));
        prn__loader_config config = plain(d, 4);
        config.bad_policy = PRN__BAD_FAIL;
        config.threads = threads;
        assert_ok(prn__loader_create(&config, &loader, &error));
        while ((status = prn__loader_next(loader, &b, NULL, &error)) == PRN_OK) {
            assert_true(++steps < 3);
        }
        assert_int_equal(status, PRN_CORRUPT);
        assert_null(b);
        assert_non_null(strstr(error.message, "damaged.tar"));
        for (size_t i = 0; i < 4; i++) {
            char key[8];
            (void)snprintf(key, sizeof key, "'%s'", damaged_keys[i]);
            named += strstr(error.message, key) != NULL;
        }
        assert_int_equal(named, 1);
        assert_true(strstr(error.message, "image_decode") != NULL || strstr(error.message, "bad_metadata") != NULL ||
                    strstr(error.message, "image_dimensions") != NULL);
        if (first[0] == '\0') {
            (void)snprintf(first, sizeof first, "%s", error.message);
        }
        assert_string_equal(error.message, first);
        prn_error again = PRN_ERROR_INIT;
        assert_int_equal(prn__loader_next(loader, &b, NULL, &again), PRN_CORRUPT);
        assert_string_equal(again.message, first);
        prn__loader_destroy(loader);
        prn__dataset_close(d);
    }
    /* in a single pass: the first bad one */
    prn_error error = PRN_ERROR_INIT;
    const prn__batch *b;
    prn__loader *loader;
    prn__dataset *d = open_paths(in_folder("damaged.tar"));
    prn__loader_config config = plain(d, 12);
    config.bad_policy = PRN__BAD_FAIL;
    config.single_pass = 1;
    config.threads = 5;
    assert_ok(prn__loader_create(&config, &loader, &error));
    assert_fails(prn__loader_next(loader, &b, NULL, &error), PRN_CORRUPT, "'b'");
    prn__loader_destroy(loader);
    prn__dataset_close(d);
    /* damage that the index already knows */
    prn__dataset *cut;
    size_t bytes;
    uint8_t *tar = read_whole(in_folder("few.tar"), &bytes);
    test_write(in_folder("cut.tar"), tar, bytes - 2048);
    free(tar);
    cut = open_paths(in_folder("cut.tar"));
    config = plain(cut, 2);
    config.bad_policy = PRN__BAD_FAIL;
    assert_fails(prn__loader_create(&config, &loader, &error), PRN_CORRUPT, "truncated_tar");
    prn__dataset_close(cut);
}

static void test_all_bad(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    const prn__batch *b;
    prn__loader *loader;
    write_damaged(in_folder("hopeless.tar"), 1);
    prn__dataset *d = open_paths(in_folder("hopeless.tar"));
    assert_int_equal(prn__dataset_samples(d), 4);
    prn__loader_config config = plain(d, 3);
    config.threads = 3;
    assert_ok(prn__loader_create(&config, &loader, &error));
    assert_fails(prn__loader_next(loader, &b, NULL, &error), PRN_CORRUPT, "in a row are bad");
    assert_non_null(strstr(error.message, "hopeless.tar"));
    prn__loader_destroy(loader);
    config.single_pass = 1; /* nothing is left: the end at once, and all counted */
    prn__dataset_close(d);
    d = open_paths(in_folder("hopeless.tar"));
    one_source.dataset = d;
    assert_ok(prn__loader_create(&config, &loader, &error));
    assert_int_equal(prn__loader_next(loader, &b, NULL, &error), PRN_END);
    assert_int_equal(losses_of(d), 4);
    prn__loader_destroy(loader);
    prn__dataset_close(d);
    /* no sample at all */
    test_tar empty = {0};
    finish_tar(&empty, in_folder("empty.tar"));
    d = open_paths(in_folder("empty.tar"));
    config = plain(d, 3);
    assert_fails(prn__loader_create(&config, &loader, &error), PRN_INVALID, "empty.tar");
    assert_null(loader);
    prn__dataset_close(d);
}

static void test_weights(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    const prn__batch *b;
    prn__loader *loader;
    prn__loader_config config = plain(many, 10);
    prn__loader_source sources[] = {{many, 3, 0, 0}, {few, 0, 0, 0}, {damaged, 1, 0, 0}};
    config.sources = sources;
    config.source_count = 3;
    config.shuffle = 0;
    config.augment = 0;
    assert_ok(prn__loader_create(&config, &loader, &error));
    /* whose row it is shows in the class: `many` has classes 0..2, `damaged` none */
    int64_t from_many = 0, rows = 0;
    for (int step = 0; step < 20; step++) {
        assert_ok(prn__loader_next(loader, &b, NULL, &error));
        for (int64_t i = 0; i < b->count; i++) {
            from_many += b->classes[i] >= 0;
        }
        rows += b->count;
        assert_true(llabs(from_many * 4 - rows * 3) <= 4); /* exact at every moment, up to a row */
    }
    assert_int_equal(from_many, 150);
    prn__loader_destroy(loader);
    static const double wrong[] = {-1, 1e301, 0.0 / 0.0};
    for (size_t i = 0; i < 3; i++) {
        sources[1].weight = wrong[i];
        assert_fails(prn__loader_create(&config, &loader, &error), PRN_INVALID, "weight");
    }
    sources[0].weight = sources[1].weight = sources[2].weight = 0;
    assert_fails(prn__loader_create(&config, &loader, &error), PRN_INVALID, "weights");
}

/* A bounded source: the same subset in every epoch, of that size, spread over the shards. */
static void test_max_samples(void **state)
{
    (void)state;
    for (int shuffle = 0; shuffle < 2; shuffle++) {
        prn_error error = PRN_ERROR_INIT;
        const prn__batch *b;
        prn__loader *loader;
        prn__loader_config config = plain(many, 9);
        int chosen[22] = {0}, distinct = 0;
        one_source.max_samples = 9;
        config.shuffle = shuffle;
        assert_ok(prn__loader_create(&config, &loader, &error));
        for (int epoch = 0; epoch < 6; epoch++) {
            assert_ok(prn__loader_next(loader, &b, NULL, &error));
            for (int i = 0; i < 9; i++) {
                assert_int_equal(chosen[b->samples[i]], epoch);
                chosen[b->samples[i]]++;
            }
        }
        for (int i = 0; i < 22; i++) {
            distinct += chosen[i] > 0;
        }
        assert_int_equal(distinct, 9);
        prn__loader_destroy(loader);
        config.single_pass = 1;
        config.batch = 4;
        assert_ok(prn__loader_create(&config, &loader, &error));
        int64_t rows = 0;
        while (prn__loader_next(loader, &b, NULL, &error) == PRN_OK) {
            rows += b->count;
        }
        assert_int_equal(rows, 9);
        prn__loader_destroy(loader);
        one_source.max_samples = 1000; /* more than there are: all */
        config.single_pass = 1;
        assert_ok(prn__loader_create(&config, &loader, &error));
        for (rows = 0; prn__loader_next(loader, &b, NULL, &error) == PRN_OK;) {
            rows += b->count;
        }
        assert_int_equal(rows, 22);
        prn__loader_destroy(loader);
    }
}

static void test_destroyed_while_busy(void **state)
{
    (void)state;
    uint64_t random = 1;
    for (int i = 0; i < 60; i++) {
        prn_error error = PRN_ERROR_INIT;
        const prn__batch *b;
        prn__loader *loader;
        prn__loader_config config = plain(i % 2 == 0 ? many : damaged, 50);
        config.threads = 5;
        config.ahead = 8;
        assert_ok(prn__loader_create(&config, &loader, &error));
        for (uint64_t n = random_below(&random, 3); n > 0; n--) {
            assert_ok(prn__loader_next(loader, &b, NULL, &error));
        }
        struct timespec pause = {0, (long)random_below(&random, 2000000)};
        (void)nanosleep(&pause, NULL);
        prn__loader_destroy(loader);
    }
    prn__loader_destroy(NULL);
}

/* A shard that is changed under a running loader is an error that says so, in the batch that needs it. */
static void test_shard_vanishes(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    const prn__batch *b;
    prn__loader *loader;
    test_shard(in_folder("short.tar"), 0, 6, 12);
    prn__dataset *d = open_paths(in_folder("short.tar"));
    prn__loader_config config = plain(d, 3);
    config.ahead = 1;
    assert_ok(prn__loader_create(&config, &loader, &error));
    assert_ok(prn__loader_next(loader, &b, NULL, &error));
    assert_int_equal(truncate(in_folder("short.tar"), 700), 0);
    prn_status status = PRN_OK;
    for (int i = 0; i < 20 && status == PRN_OK; i++) {
        status = prn__loader_next(loader, &b, NULL, &error);
    }
    assert_int_equal(status, PRN_CONFLICT);
    assert_non_null(strstr(error.message, "short.tar"));
    assert_int_equal(losses_of(d), 0);
    prn__loader_destroy(loader);
    prn__dataset_close(d);
}

static void test_wrong_arguments(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    prn__loader *loader;
    prn__loader_config good = plain(many, 4), config;
#define REFUSED(change) \
    do { \
        config = good; \
        config.change; \
        loader = (prn__loader *)&error; \
        assert_int_equal(prn__loader_create(&config, &loader, &error), PRN_INVALID); \
        assert_null(loader); \
    } while (0)
    REFUSED(batch = 0);
    REFUSED(batch = -1);
    REFUSED(batch = INT64_MAX);
    REFUSED(image_side = 0);
    REFUSED(image_side = INT64_MAX);
    REFUSED(context_length = 1);
    REFUSED(context_length = INT64_MAX);
    REFUSED(source_count = 0);
    REFUSED(first_step = -1);
    REFUSED(first_step = INT64_MAX);
    REFUSED(step_count = INT64_MAX);
    REFUSED(ahead = UINT32_MAX);
    REFUSED(threads = UINT32_MAX);
    REFUSED(scale_low = 0);
    REFUSED(scale_low = 0.0 / 0.0);
    REFUSED(scale_high = 1.5);
    REFUSED(scale_high = 0.1);
#undef REFUSED
    config = good;
    config.first_step = INT64_MAX / 2; /* far steps are steps too */
    config.step_count = 1;
    const prn__batch *b;
    assert_ok(prn__loader_create(&config, &loader, &error));
    assert_ok(prn__loader_next(loader, &b, NULL, &error));
    prn__loader_destroy(loader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_and_timing_never_show),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_step_count),
        cmocka_unit_test(test_epochs),
        cmocka_unit_test(test_plain_order),
        cmocka_unit_test(test_single_pass),
        cmocka_unit_test(test_single_pass_with_losses),
        cmocka_unit_test(test_replacement),
        cmocka_unit_test(test_fail_policy),
        cmocka_unit_test(test_all_bad),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_max_samples),
        cmocka_unit_test(test_destroyed_while_busy),
        cmocka_unit_test(test_shard_vanishes),
        cmocka_unit_test(test_wrong_arguments),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
