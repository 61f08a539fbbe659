/* A thousand damaged shards, made the same way everywhere: whatever the damage, nothing crashes, and every sample that the manifest
 * states is delivered or counted as lost. A shard whose whole headers hold another number than stated is refused with an error. */
#include "data_helpers.h"

#include <time.h>
#include <zlib.h>

#include "data/loader.h"

enum { SHARDS = 1000, BASES = 4, SIDE = 16, CONTEXT = 12, MAX_DAMAGE = 8 };

typedef struct base {
    test_tar tar;
    int samples;
} base;

static prn__tokenizer *tokenizer;
static base bases[BASES];

/* Image files of every kind, as small as they come. */
static void add_image(test_tar *tar, const char *key, int number)
{
    static const char *const files[] = {"rgb-13x11.png", "palette.png", "grey.jpg", "cmyk.jpg", "rgb-422-progressive.jpg", "rgb-lossless.webp", "grey-16bit.png"};
    const char *file = files[number % 7];
    char path[256], name[300];
    size_t bytes;
    (void)snprintf(path, sizeof path, "preprocess/images/%s", file);
    uint8_t *data = read_whole(fixture(path), &bytes);
    (void)snprintf(name, sizeof name, "%s.%s", key, strrchr(file, '.') + 1);
    test_tar_member(tar, name, '0', data, bytes);
    free(data);
}

static void make_bases(void)
{
    char key[256], name[300], text[400];
    for (int b = 0; b < BASES; b++) {
        test_tar *tar = &bases[b].tar;
        bases[b].samples = 6 + b;
        for (int i = 0; i < bases[b].samples; i++) {
            (void)snprintf(key, sizeof key, b == 1 ? "v1.0/part.%d/%05d" : "%05d", b == 1 ? i / 3 : i, i);
            if (b == 3) { /* pax names before each image */
                (void)snprintf(text, sizeof text, "%02d path=%s.png\n", (int)strlen(key) + 13, key);
                test_tar_member(tar, "PaxHeaders/x", 'x', text, strlen(text));
                add_png(tar, "short.png", 10 + i, i);
            } else if (b == 0) {
                (void)snprintf(name, sizeof name, "%s.png", key);
                add_png(tar, name, 10 + i, i);
            } else {
                add_image(tar, key, i);
            }
            if (i % 3 != 2) {
                (void)snprintf(name, sizeof name, "%s.txt", key);
                (void)snprintf(text, sizeof text, "a sample with the number %d", i);
                add_text(tar, name, text);
            }
            if (i % 3 != 0) {
                (void)snprintf(name, sizeof name, "%s.json", key);
                (void)snprintf(text, sizeof text, "{\"caption\": \"sample %d\", \"class\": %d}", i, i);
                add_text(tar, name, text);
            }
            if (b == 2) {
                (void)snprintf(name, sizeof name, "%s.cls", key);
                add_text(tar, name, "4");
            }
        }
        test_tar_end(tar);
    }
}

static int set_up(void **state)
{
    prn_error error = PRN_ERROR_INIT;
    if (make_folder(state) != 0) {
        return 1;
    }
    write_text(in_folder("vocabulary.txt"), "#version: 0.2\ns a\nsa m\nsam p\n");
    assert_ok(prn__tokenizer_open(in_folder("vocabulary.txt"), 0, &tokenizer, &error));
    make_bases();
    return 0;
}

static int tear_down(void **state)
{
    for (int b = 0; b < BASES; b++) {
        free(bases[b].tar.data);
    }
    prn__tokenizer_close(tokenizer);
    return remove_folder(state);
}

/* ---- damage ---- */

/* A member at random: the offset of its header, and its size. */
static size_t pick_member(const uint8_t *data, size_t bytes, uint64_t *random, size_t *size)
{
    size_t offsets[128], sizes[128], count = 0;
    for (size_t at = 0; at + 512 <= bytes && data[at] != 0 && count < 128;) {
        sizes[count] = (size_t)strtoull((const char *)data + at + 124, NULL, 8);
        offsets[count] = at;
        at += 512 + (sizes[count++] + 511) / 512 * 512;
    }
    size_t i = (size_t)random_below(random, count);
    *size = sizes[i];
    return offsets[i];
}

static void put_be(uint8_t *target, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        target[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
    }
}

/* Another size in an image's own header. */
static void absurd_image(uint8_t *image, size_t size, uint64_t *random)
{
    static const uint32_t sides[] = {0, 1, 7, 4000, 16384, 32768, 32769, 65535, 0x7fffffff, 0xffffffff};
    uint32_t width = sides[random_below(random, 10)], height = sides[random_below(random, 10)];
    if (size > 33 && memcmp(image + 1, "PNG", 3) == 0) {
        put_be(image + 16, width, 4);
        put_be(image + 20, height, 4);
        put_be(image + 29, crc32(0, image + 12, 17), 4);
    } else if (size > 16 && image[0] == 0xff && image[1] == 0xd8) {
        for (size_t at = 2; at + 9 < size; at += 2 + (size_t)(image[at + 2] << 8 | image[at + 3])) {
            if (image[at] != 0xff) {
                return;
            }
            if (image[at + 1] == 0xc0 || image[at + 1] == 0xc2) { /* not both huge at once: decoding grey for seconds shows nothing */
                put_be(image + at + 5, height & 0xffff, 2);
                put_be(image + at + 7, width > 4000 && height >= 4000 ? 40000 : width & 0xffff, 2);
                return;
            }
        }
    } else if (size > 30 && memcmp(image, "RIFF", 4) == 0) {
        for (size_t at = 12; at + 13 < size; at++) {
            if (memcmp(image + at, "VP8L", 4) == 0) {
                put_be(image + at + 9, next_random(random), 4);
                return;
            }
        }
    }
}

static const char *damage(uint8_t *data, size_t *bytes, int kind, uint64_t *random)
{
    size_t size, at = pick_member(data, *bytes, random, &size);
    uint64_t shift, value;
    char octal[32];
    switch (kind) {
    case 0: /* flipped bits anywhere */
        for (uint64_t n = 1 + random_below(random, 20); n > 0; n--) {
            flip_bit(data, *bytes, random);
        }
        return "flipped bits";
    case 1: /* cut anywhere */
        *bytes = (size_t)random_below(random, *bytes);
        return "cut";
    case 2: /* another size in a header that is otherwise whole */
        shift = 31 + random_below(random, 33); /* one draw a statement: C leaves the order of operands open */
        value = random_below(random, 2) != 0 ? random_below(random, size * 4 + 1024) : next_random(random) >> shift;
        (void)snprintf(octal, sizeof octal, "%011llo", (unsigned long long)value);
        memcpy(data + at + 124, octal, 11);
        if (random_below(random, 4) == 0) {
            data[at + 124] = (uint8_t)(0x80 | (random_below(random, 2) != 0 ? next_random(random) : 0));
            shift = random_below(random, 64);
            put_be(data + at + 128, next_random(random) >> shift, 8);
        }
        fix_checksum(data + at);
        return "size in a header";
    case 3:
        for (int i = 0; i < 20 && !(strstr((const char *)data + at, ".png") != NULL || strstr((const char *)data + at, ".jpg") != NULL ||
                                    strstr((const char *)data + at, ".webp") != NULL); i++) {
            at = pick_member(data, *bytes, random, &size);
        }
        absurd_image(data + at + 512, size, random);
        return "absurd dimensions";
    case 4: /* a member's data cut: zeros from some byte on */
        if (size > 0) {
            size_t from = (size_t)random_below(random, size);
            memset(data + at + 512 + from, 0, size - from);
        }
        return "cut member";
    case 5: { /* a run of random bytes */
        size_t start = (size_t)random_below(random, *bytes), length = (size_t)random_below(random, 3000);
        for (size_t i = start; i < *bytes && i < start + length; i++) {
            data[i] = (uint8_t)next_random(random);
        }
        return "random bytes";
    }
    case 6: /* a header of zeros, or of rubbish */
        memset(data + at, random_below(random, 2) != 0 ? 0 : 0xa7, 512 * (1 + random_below(random, 3)) <= *bytes - at ? 512 : *bytes - at);
        return "lost header";
    default: { /* a piece taken out: not at block boundaries, as a disk that lost bytes */
        size_t start = (size_t)random_below(random, *bytes), length = (size_t)random_below(random, 2000);
        length = length > *bytes - start ? *bytes - start : length;
        memmove(data + start, data + start + length, *bytes - start - length);
        *bytes -= length;
        return "missing piece";
    }
    }
}

/* ---- one shard ---- */

typedef struct tally {
    int64_t delivered, lost, refused, untouched;
} tally;

static void check_shard(const char *name, int64_t stated, const char *what, int number, tally *t)
{
    prn_error error = PRN_ERROR_INIT;
    prn__manifest manifest = {.path = "stream.yaml", .root = test_folder};
    prn__shard_list list = {.pattern = name, .shard_count = 1, .samples = stated};
    const prn__shard_list *lists[] = {&list};
    prn__dataset *d;
    prn__loader *loader;
    const prn__batch *b;
    int64_t delivered = 0, lost = 0;
    prn_status status = prn__dataset_open(&manifest, lists, 1, NULL, &d, &error);
    if (status != PRN_OK) { /* whole headers that hold another number: nothing is lost in silence */
        if (status != PRN_CORRUPT || strstr(error.message, "samples are stated") == NULL) {
            fail_msg("shard %d (%s): status %d: %s", number, what, (int)status, error.message);
        }
        t->refused++;
        return;
    }
    prn__loader_source source = {.dataset = d};
    prn__loader_config config = {.sources = &source, .source_count = 1, .tokenizer = tokenizer, .context_length = CONTEXT, .image_side = SIDE,
                                 .batch = 4, .step_count = -1, .single_pass = 1, .threads = 2, .ahead = 2};
    status = prn__loader_create(&config, &loader, &error);
    if (status == PRN_OK) {
        while ((status = prn__loader_next(loader, &b, NULL, &error)) == PRN_OK) {
            delivered += b->count;
        }
        prn__loader_destroy(loader);
        if (status != PRN_END) {
            fail_msg("shard %d (%s): status %d: %s", number, what, (int)status, error.message);
        }
    } else {
        assert_int_equal(status, PRN_INVALID); /* not one sample is left */
        assert_int_equal(prn__dataset_samples(d), 0);
    }
    for (int r = 0; r < PRN__LOSS_COUNT; r++) {
        int64_t count = prn__dataset_losses(d, 0, (prn__loss_reason)r);
        assert_true(count >= 0);
        lost += count;
    }
    prn__dataset_close(d);
    if (delivered + lost != stated) {
        fail_msg("shard %d (%s): %lld delivered and %lld lost, of %lld", number, what, (long long)delivered, (long long)lost, (long long)stated);
    }
    t->delivered += delivered;
    t->lost += lost;
    t->untouched += lost == 0;
}

static void test_good_shards(void **state)
{
    (void)state;
    tally t = {0};
    for (int b = 0; b < BASES; b++) {
        test_write(in_folder("good.tar"), bases[b].tar.data, bases[b].tar.bytes);
        check_shard("good.tar", bases[b].samples, "whole", b, &t);
    }
    assert_int_equal(t.lost, 0);
    assert_int_equal(t.refused, 0);
    assert_int_equal(t.delivered, 6 + 7 + 8 + 9);
}

static void test_thousand_shards(void **state)
{
    (void)state;
    tally t = {0};
    int64_t stated = 0, live = prn__alloc_live();
    for (int i = 0; i < SHARDS; i++) {
        uint64_t random = (uint64_t)i * 7919 + 1;
        const base *from = &bases[i % BASES];
        size_t bytes = from->tar.bytes;
        uint8_t *data = malloc(bytes);
        char name[32];
        memcpy(data, from->tar.data, bytes);
        const char *what = damage(data, &bytes, i / BASES % MAX_DAMAGE, &random);
        (void)snprintf(name, sizeof name, "s%d.tar", i);
        test_write(in_folder(name), data, bytes);
        free(data);
        check_shard(name, from->samples, what, i, &t);
        stated += from->samples;
        (void)unlink(in_folder(name));
        (void)snprintf(name, sizeof name, "s%d.tar.index", i);
        (void)unlink(in_folder(name));
        if (prn__alloc_live() != live) {
            fail_msg("shard %d (%s): %lld blocks are left", i, what, (long long)(prn__alloc_live() - live));
        }
    }
    print_message("%d shards, %lld samples: %lld delivered, %lld lost and counted; %lld shards refused; %lld lost nothing\n", SHARDS, (long long)stated,
                  (long long)t.delivered, (long long)t.lost, (long long)t.refused, (long long)t.untouched);
    assert_true(t.refused <= SHARDS / 20);
    assert_true(t.lost > 0 && t.delivered > t.lost);
}

/* The same damage without a stated number: never a crash, and a shard that lost samples says so, unless whole members vanished between
 * whole headers, which nothing in the shard can show. */
static void test_nothing_stated(void **state)
{
    (void)state;
    tally t = {0};
    int silent = 0;
    for (int i = 0; i < 200; i++) {
        uint64_t random = (uint64_t)i * 104729 + 5;
        const base *from = &bases[i % BASES];
        size_t bytes = from->tar.bytes;
        uint8_t *data = malloc(bytes);
        prn_error error = PRN_ERROR_INIT;
        prn__dataset *d;
        memcpy(data, from->tar.data, bytes);
        (void)damage(data, &bytes, i / BASES % MAX_DAMAGE, &random);
        const char *path = in_folder("unstated.tar");
        (void)unlink(in_folder("unstated.tar.index"));
        test_write(path, data, bytes);
        free(data);
        assert_ok(prn__dataset_open_paths(&path, 1, NULL, &d, &error));
        int64_t lost = 0;
        for (int r = 0; r < PRN__LOSS_COUNT; r++) {
            lost += prn__dataset_losses(d, 0, (prn__loss_reason)r);
        }
        silent += prn__dataset_samples(d) < from->samples && lost == 0;
        prn__dataset_close(d);
        t.lost += lost;
    }
    print_message("200 shards without a stated number: %d lost samples without a trace in their own bytes\n", silent);
    assert_true(t.lost > 50);
    assert_true(silent <= 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_shards),
        cmocka_unit_test(test_thousand_shards),
        cmocka_unit_test(test_nothing_stated),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
