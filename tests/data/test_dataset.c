/* Shards as one indexed data set: the index's life, captions and classes, what is lost and how it is counted. */
#include "data_helpers.h"

#include "base/stop.h"
#include "data/dataset.h"

static prn__dataset *open_paths(const char *pattern, const char *cache)
{
    prn__dataset *d;
    prn_error error = PRN_ERROR_INIT;
    assert_ok(prn__dataset_open_paths(&pattern, 1, cache, &d, &error));
    return d;
}

static prn_status open_stated(const char *pattern, int64_t samples, prn__dataset **d, prn_error *error)
{
    prn__manifest manifest = {.path = "stream.yaml", .root = test_folder};
    prn__shard_list list = {.pattern = pattern, .samples = samples};
    const prn__shard_list *lists[] = {&list};
    return prn__dataset_open(&manifest, lists, 1, NULL, d, error);
}

static int64_t all_losses(const prn__dataset *d)
{
    int64_t total = 0;
    for (int r = 0; r < PRN__LOSS_COUNT; r++) {
        total += prn__dataset_losses(d, -1, (prn__loss_reason)r);
    }
    return total;
}

static void assert_sample(prn__dataset *d, int64_t shard, int64_t index, const char *key, const char *caption, int32_t class_index)
{
    prn__sample sample;
    prn__sample_hold hold;
    prn_error error = PRN_ERROR_INIT;
    assert_ok(prn__dataset_sample(d, shard, index, &sample, &hold, &error));
    assert_int_equal(sample.key_length, strlen(key));
    assert_memory_equal(sample.key, key, strlen(key));
    if (caption == NULL) {
        assert_null(sample.caption);
    } else {
        assert_non_null(sample.caption);
        assert_int_equal(sample.caption_bytes, strlen(caption));
        assert_memory_equal(sample.caption, caption, strlen(caption));
    }
    assert_int_equal(sample.class_index, class_index);
    assert_true(sample.image_bytes > 0);
    prn__sample_release(d, &hold);
}

static void assert_numbered(prn__dataset *d, int64_t shard, int first, int count)
{
    assert_int_equal(prn__dataset_shard_samples(d)[shard], count);
    for (int i = 0; i < count; i++) {
        char key[16], caption[32];
        size_t bytes;
        prn__sample sample;
        prn__sample_hold hold;
        prn_error error = PRN_ERROR_INIT;
        (void)snprintf(key, sizeof key, "%06d", first + i);
        (void)snprintf(caption, sizeof caption, "sample %d", first + i);
        assert_sample(d, shard, i, key, caption, (first + i) % 3);
        uint8_t *png = test_png(8, first + i, &bytes);
        assert_ok(prn__dataset_sample(d, shard, i, &sample, &hold, &error));
        assert_int_equal(sample.image_bytes, bytes);
        assert_memory_equal(sample.image, png, bytes);
        prn__sample_release(d, &hold);
        free(png);
    }
}

/* ---- the index's life ---- */

static void test_index_is_built_once(void **state)
{
    (void)state;
    const char *tar = in_folder("once.tar"), *index = in_folder("once.tar.index");
    test_shard(tar, 0, 5, 8);
    prn__dataset *d = open_paths(tar, NULL);
    assert_int_equal(prn__dataset_samples(d), 5);
    assert_numbered(d, 0, 0, 5);
    assert_int_equal(all_losses(d), 0);
    prn__dataset_close(d);
    ino_t first = inode_of(index);
    assert_true(first != 0);
    for (int i = 0; i < 3; i++) {
        d = open_paths(tar, NULL);
        assert_numbered(d, 0, 0, 5);
        prn__dataset_close(d);
        assert_int_equal(inode_of(index), first);
    }
    /* the tar changes: its index follows */
    test_shard(tar, 100, 7, 8);
    d = open_paths(tar, NULL);
    assert_numbered(d, 0, 100, 7);
    prn__dataset_close(d);
    assert_int_equal(prn__alloc_live(), 0);
}

static void test_change_while_open(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    prn__sample sample;
    prn__sample_hold hold;
    const char *tar = in_folder("changes.tar");
    /* changed before its first sample is wanted */
    test_shard(tar, 0, 5, 8);
    prn__dataset *d = open_paths(tar, NULL);
    test_shard(tar, 50, 6, 8);
    assert_fails(prn__dataset_sample(d, 0, 0, &sample, &hold, &error), PRN_CONFLICT, "changed");
    assert_non_null(strstr(error.message, tar));
    prn__dataset_close(d);
    /* and its index built again by somebody else */
    test_shard(tar, 0, 5, 8);
    d = open_paths(tar, NULL);
    test_shard(tar, 50, 6, 8);
    prn__dataset *other = open_paths(tar, NULL);
    assert_fails(prn__dataset_sample(d, 0, 0, &sample, &hold, &error), PRN_CONFLICT, "changed");
    prn__dataset_close(d);
    assert_numbered(other, 0, 50, 6);
    /* cut while it is open: an error, not a signal */
    assert_int_equal(truncate(tar, 2000), 0);
    assert_fails(prn__dataset_sample(other, 0, 5, &sample, &hold, &error), PRN_CONFLICT, "shorter");
    prn__dataset_close(other);
    /* removed while not open yet */
    test_shard(tar, 0, 5, 8);
    d = open_paths(tar, NULL);
    assert_int_equal(unlink(tar), 0);
    assert_fails(prn__dataset_sample(d, 0, 0, &sample, &hold, &error), PRN_NOT_FOUND, tar);
    prn__dataset_close(d);
    assert_int_equal(prn__alloc_live(), 0);
}

static void test_damaged_index(void **state)
{
    (void)state;
    const char *tar = in_folder("damaged.tar"), *index = in_folder("damaged.tar.index");
    size_t bytes;
    test_shard(tar, 0, 3, 8);
    prn__dataset_close(open_paths(tar, NULL));
    uint8_t *good = read_whole(index, &bytes), *copy = malloc(bytes);
    for (size_t at = 0; at < bytes; at += 5) { /* any byte */
        memcpy(copy, good, bytes);
        copy[at] ^= 0x41;
        test_write(index, copy, bytes);
        prn__dataset *d = open_paths(tar, NULL);
        assert_numbered(d, 0, 0, 3);
        prn__dataset_close(d);
    }
    for (size_t cut = 0; cut < bytes; cut += 37) { /* any length */
        test_write(index, good, cut);
        prn__dataset *d = open_paths(tar, NULL);
        assert_numbered(d, 0, 0, 3);
        prn__dataset_close(d);
    }
    test_write(index, good, bytes);
    FILE *f = fopen(index, "ab");
    (void)fputs("more", f);
    (void)fclose(f);
    prn__dataset *d = open_paths(tar, NULL);
    assert_numbered(d, 0, 0, 3);
    prn__dataset_close(d);
    /* damaged or removed after the data set was opened: built again without notice */
    d = open_paths(tar, NULL);
    copy[bytes - 1] ^= 1;
    test_write(index, copy, bytes);
    assert_numbered(d, 0, 0, 3);
    prn__dataset_close(d);
    d = open_paths(tar, NULL);
    assert_int_equal(unlink(index), 0);
    assert_numbered(d, 0, 0, 3);
    prn__dataset_close(d);
    free(good);
    free(copy);
    assert_int_equal(prn__alloc_live(), 0);
}

/* Where the index cannot stand beside the tar it goes to the cache, and where that cannot be either, it lives in memory. */
static void test_index_elsewhere(void **state)
{
    (void)state;
    const char *tar = in_folder("elsewhere.tar"), *cache = in_folder("cache/below"), *no_cache = in_folder("a-file/cache");
    char listing[600];
    test_shard(tar, 0, 4, 8);
    assert_int_equal(mkdir(in_folder("elsewhere.tar.index"), 0700), 0); /* a folder is in the way: also for root */
    write_text(in_folder("a-file"), "x");
    prn__dataset *d = open_paths(tar, cache);
    assert_numbered(d, 0, 0, 4);
    prn__dataset_close(d);
    char digest[33];
    prn__digest_format(prn__hash_bytes(tar, strlen(tar)), digest);
    (void)snprintf(listing, sizeof listing, "%s/%s.index", cache, digest);
    ino_t first = inode_of(listing);
    assert_true(first != 0);
    d = open_paths(tar, cache);
    assert_numbered(d, 0, 0, 4);
    prn__dataset_close(d);
    assert_int_equal(inode_of(listing), first);
    d = open_paths(tar, no_cache);
    assert_numbered(d, 0, 0, 4);
    prn__dataset_close(d);
    d = open_paths(tar, NULL);
    assert_numbered(d, 0, 0, 4);
    prn__dataset_close(d);
    assert_int_equal(prn__alloc_live(), 0);
}

static void test_unwritable_folder(void **state)
{
    (void)state;
    const char *folder = in_folder("locked"), *cache = in_folder("open");
    char tar[512], index[512];
    assert_int_equal(mkdir(folder, 0755), 0);
    assert_int_equal(mkdir(cache, 0777), 0);
    assert_int_equal(chmod(cache, 0777), 0);
    (void)snprintf(tar, sizeof tar, "%s/s.tar", folder);
    (void)snprintf(index, sizeof index, "%s/s.tar.index", folder);
    test_shard(tar, 0, 4, 8);
    assert_int_equal(chmod(test_folder, 0755), 0);
    assert_int_equal(chmod(folder, 0555), 0);
    uid_t own = geteuid();
    if (own == 0 && seteuid(65534) != 0) {
        print_message("skipped: permissions do not bind this user\n");
        skip();
    }
    prn__dataset *d = open_paths(tar, cache);
    assert_numbered(d, 0, 0, 4);
    prn__dataset_close(d);
    prn__dataset *in_memory = open_paths(tar, NULL);
    assert_numbered(in_memory, 0, 0, 4);
    prn__dataset_close(in_memory);
    assert_int_equal(seteuid(own), 0);
    assert_int_equal(chmod(folder, 0755), 0);
    assert_int_equal(inode_of(index), 0);
}

/* ---- names and parts ---- */

static void test_brace_ranges(void **state)
{
    (void)state;
    for (int i = 8; i <= 12; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "r-%03d.tar", i);
        test_shard(in_folder(name), i * 10, i - 7, 8);
    }
    prn__dataset *d = open_paths(in_folder("r-{008..012}.tar"), NULL);
    assert_int_equal(prn__dataset_shards(d), 5);
    assert_int_equal(prn__dataset_samples(d), 15);
    for (int i = 8; i <= 12; i++) {
        assert_numbered(d, i - 8, i * 10, i - 7);
    }
    assert_string_equal(prn__dataset_shard_path(d, 4), in_folder("r-012.tar"));
    prn__dataset_close(d);
    d = open_paths(in_folder("r-{010,009}.tar"), NULL);
    assert_int_equal(prn__dataset_shards(d), 2);
    assert_numbered(d, 0, 100, 3);
    assert_numbered(d, 1, 90, 2);
    prn__dataset_close(d);

    prn_error error = PRN_ERROR_INIT;
    prn__manifest manifest = {.path = "stream.yaml", .root = test_folder};
    prn__shard_list a = {.pattern = "r-{011..012}.tar", .samples = 9}, b = {.pattern = "r-008.tar", .samples = 1};
    const prn__shard_list *lists[] = {&a, &b};
    assert_ok(prn__dataset_open(&manifest, lists, 2, NULL, &d, &error)); /* lists in order, each with its own stated number */
    assert_int_equal(prn__dataset_shards(d), 3);
    assert_numbered(d, 0, 110, 4);
    assert_numbered(d, 2, 80, 1);
    prn__dataset_close(d);
    const char *bomb = "{0..99999}{0..99999}.tar";
    assert_fails(prn__dataset_open_paths(&bomb, 1, NULL, &d, &error), PRN_INVALID, "");
    assert_null(d);
    assert_int_equal(prn__alloc_live(), 0);
}

static void test_parts(void **state)
{
    (void)state;
    test_tar tar = {0};
    add_png(&tar, "a.png", 8, 1);
    add_text(&tar, "a.json", "{\"caption\": \"from json \\u00e9\", \"class\": 7, \"other\": [1, {}]}");
    add_png(&tar, "b.PNG", 8, 1); /* extensions in any case */
    add_text(&tar, "b.txt", "text wins");
    add_text(&tar, "b.json", "{\"caption\": \"not this\", \"class\": 3}");
    add_png(&tar, "c.png", 8, 1);
    add_text(&tar, "c.cls", " 12\n");
    add_png(&tar, "d.png", 8, 1);
    add_text(&tar, "d.txt", "");
    add_text(&tar, "d.cls", "12x");
    add_png(&tar, "e.png", 8, 1);
    add_text(&tar, "e.json", "{\"class\": \"9\", \"caption\": 4}");
    add_png(&tar, "f.png", 8, 1);
    add_text(&tar, "f.json", "{\"caption\": ");
    add_text(&tar, "f.txt", "has its own");
    add_text(&tar, "f.npy", "not known here");
    add_png(&tar, "g.png", 8, 1);
    add_text(&tar, "g.json", "[1, 2]");
    add_png(&tar, "v1.2/x.y/h.png", 8, 1); /* dots in folders are no extension */
    add_text(&tar, "v1.2/x.y/h.txt", "dots");
    add_png(&tar, "i.seg.png", 8, 1); /* the extension is everything after the first dot: no image */
    add_text(&tar, "i.txt", "i");
    add_text(&tar, "README", "no extension");
    add_text(&tar, ".hidden", "no key");
    add_png(&tar, "j.png", 8, 1);
    add_text(&tar, "j.cls", "99999999999999999999");
    add_text(&tar, "j.txt", "j");
    add_png(&tar, "k.png", 8, 1);
    add_text(&tar, "k.json", "{\"caption\": \"nul \\u0000 inside\", \"class\": -4}");
    finish_tar(&tar, in_folder("parts.tar"));
    prn__dataset *d = open_paths(in_folder("parts.tar"), NULL);
    assert_int_equal(prn__dataset_samples(d), 10);
    assert_sample(d, 0, 0, "a", "from json \xc3\xa9", 7);
    assert_sample(d, 0, 1, "b", "text wins", 3);
    assert_sample(d, 0, 2, "c", NULL, 12);
    assert_sample(d, 0, 3, "d", "", -1);
    assert_sample(d, 0, 4, "e", NULL, -1);
    assert_sample(d, 0, 5, "f", "has its own", -1);
    prn_error error = PRN_ERROR_INIT;
    prn__sample sample;
    prn__sample_hold hold;
    assert_fails(prn__dataset_sample(d, 0, 6, &sample, &hold, &error), PRN_CORRUPT, "'g'");
    assert_null(hold.memory);
    assert_sample(d, 0, 7, "v1.2/x.y/h", "dots", -1);
    assert_sample(d, 0, 8, "j", "j", -1);
    assert_ok(prn__dataset_sample(d, 0, 9, &sample, &hold, &error));
    assert_int_equal(sample.caption_bytes, 12);
    assert_memory_equal(sample.caption, "nul \0 inside", 12);
    assert_int_equal(sample.class_index, -1);
    prn__sample_release(d, &hold);
    assert_int_equal(prn__dataset_losses(d, 0, PRN__LOSS_NO_IMAGE), 1);
    assert_int_equal(all_losses(d), 1);
    static const int64_t wrong[][2] = {{-1, 0}, {1, 0}, {0, -1}, {0, 10}, {INT64_MAX, 0}, {0, INT64_MIN}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_fails(prn__dataset_sample(d, wrong[i][0], wrong[i][1], &sample, &hold, &error), PRN_INVALID, "does not exist");
    }
    prn__dataset_close(d);
    assert_int_equal(prn__alloc_live(), 0);
}

/* ---- what is lost ---- */

static void test_losses_by_reason(void **state)
{
    (void)state;
    test_tar tar = {0};
    add_png(&tar, "a.png", 8, 1);
    add_text(&tar, "a.txt", "good");
    add_png(&tar, "b.png", 8, 1); /* no caption, no class */
    add_text(&tar, "c.txt", "no image");
    test_tar_member(&tar, "d.png", '0', NULL, 0); /* an empty image */
    add_text(&tar, "d.txt", "d");
    add_png(&tar, "e.png", 8, 1);
    add_png(&tar, "e.png", 8, 2); /* twice */
    add_text(&tar, "e.txt", "e");
    add_png(&tar, "f.png", 8, 1);
    add_text(&tar, "f.txt", "good");
    finish_tar(&tar, in_folder("losses.tar"));
    prn__dataset *d = open_paths(in_folder("losses.tar"), NULL);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(prn__dataset_samples(d), 3);
        assert_int_equal(prn__dataset_losses(d, 0, PRN__LOSS_NO_CAPTION), 1);
        assert_int_equal(prn__dataset_losses(d, 0, PRN__LOSS_NO_IMAGE), 2);
        assert_int_equal(prn__dataset_losses(d, 0, PRN__LOSS_DUPLICATE), 1);
        assert_int_equal(all_losses(d), 4);
        assert_sample(d, 0, 0, "a", "good", -1);
        assert_sample(d, 0, 1, "e", "e", -1);
        assert_sample(d, 0, 2, "f", "good", -1);
        prn__dataset_close(d);
        d = open_paths(in_folder("losses.tar"), NULL); /* losses are stored in the index */
    }
    prn__dataset_count_loss(d, 0, PRN__LOSS_IMAGE_DECODE, 2);
    assert_int_equal(prn__dataset_losses(d, -1, PRN__LOSS_IMAGE_DECODE), 2);
    prn__dataset_close(d);
    for (int r = 0; r < PRN__LOSS_COUNT; r++) {
        assert_string_not_equal(prn__loss_reason_name((prn__loss_reason)r), "unknown");
    }
    assert_string_equal(prn__loss_reason_name((prn__loss_reason)-1), "unknown");
    assert_string_equal(prn__loss_reason_name(PRN__LOSS_COUNT), "unknown");
    assert_int_equal(prn__alloc_live(), 0);
}

static void test_missing_shards(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    prn__dataset *d;
    test_shard(in_folder("m-0.tar"), 0, 4, 8);
    test_shard(in_folder("m-2.tar"), 20, 4, 8);
    d = open_paths(in_folder("m-{0..2}.tar"), NULL);
    assert_int_equal(prn__dataset_samples(d), 8);
    assert_int_equal(prn__dataset_losses(d, 1, PRN__LOSS_SHARD_MISSING), 1);
    assert_int_equal(all_losses(d), 1);
    assert_numbered(d, 2, 20, 4);
    prn__dataset_close(d);
    /* the manifest knows how many went with it */
    assert_ok(open_stated("m-{0..2}.tar", 12, &d, &error));
    assert_int_equal(prn__dataset_samples(d), 8);
    assert_int_equal(prn__dataset_losses(d, 1, PRN__LOSS_SHARD_MISSING), 4);
    assert_int_equal(all_losses(d), 4);
    prn__dataset_close(d);
    assert_fails(open_stated("m-{5..9}.tar", -1, &d, &error), PRN_NOT_FOUND, "m-5.tar");
    assert_null(d);
    assert_int_equal(mkdir(in_folder("m-3.tar"), 0700), 0); /* a folder is no shard */
    d = open_paths(in_folder("m-{2..3}.tar"), NULL);
    assert_int_equal(prn__dataset_losses(d, 1, PRN__LOSS_SHARD_MISSING), 1);
    prn__dataset_close(d);
    assert_int_equal(prn__alloc_live(), 0);
}

static void test_stated_counts(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    prn__dataset *d;
    size_t bytes;
    test_shard(in_folder("c-0.tar"), 0, 6, 8);
    test_shard(in_folder("c-1.tar"), 10, 6, 8);
    assert_ok(open_stated("c-{0..1}.tar", 12, &d, &error));
    prn__dataset_close(d);
    assert_fails(open_stated("c-{0..1}.tar", 13, &d, &error), PRN_CORRUPT, "13 samples are stated");
    assert_non_null(strstr(error.message, "stream.yaml"));
    assert_fails(open_stated("c-{0..1}.tar", 11, &d, &error), PRN_CORRUPT, "11 samples are stated");
    assert_fails(open_stated("c-{0..1}.tar", 0, &d, &error), PRN_CORRUPT, "0 samples are stated");
    /* cut anywhere: what is there and what is lost make up what is stated, in that shard */
    uint8_t *whole = read_whole(in_folder("c-1.tar"), &bytes);
    for (size_t cut = 0; cut < bytes; cut += 512) {
        test_write(in_folder("c-1.tar"), whole, cut);
        assert_ok(open_stated("c-{0..1}.tar", 12, &d, &error));
        int64_t here = prn__dataset_shard_samples(d)[1], lost = prn__dataset_losses(d, 1, PRN__LOSS_TRUNCATED_TAR);
        if (here + lost != 6 || all_losses(d) != lost) {
            fail_msg("cut at %zu of %zu: %lld samples, %lld cut off, %lld lost", cut, bytes, (long long)here, (long long)lost, (long long)all_losses(d));
        }
        prn__dataset_close(d);
    }
    /* more than is stated is wrong however damaged the shard is */
    test_write(in_folder("c-1.tar"), whole, bytes - 3000);
    assert_fails(open_stated("c-{0..1}.tar", 5, &d, &error), PRN_CORRUPT, "5 samples are stated");
    /* one damaged header costs one sample, or a part that is not needed */
    for (size_t member = 0; member < 3; member++) {
        size_t at = 0;
        for (size_t k = 0; k < 3 + member; k++) {
            at += 512 + (strtoull((const char *)whole + at + 124, NULL, 8) + 511) / 512 * 512;
        }
        whole[at + 3] ^= 4;
        test_write(in_folder("c-1.tar"), whole, bytes);
        whole[at + 3] ^= 4;
        assert_ok(open_stated("c-{0..1}.tar", 12, &d, &error));
        int64_t here = prn__dataset_shard_samples(d)[1];
        assert_int_equal(here, member == 0 ? 5 : 6); /* without .txt or .cls the other still makes a sample */
        assert_int_equal(here + prn__dataset_losses(d, 1, PRN__LOSS_BAD_TAR_HEADER), 6);
        assert_int_equal(all_losses(d), 6 - here);
        prn__dataset_close(d);
    }
    free(whole);
    assert_int_equal(prn__alloc_live(), 0);
}

static void test_digest(void **state)
{
    (void)state;
    char a[33], b[33];
    prn_error error = PRN_ERROR_INIT;
    test_shard(in_folder("d-0.tar"), 0, 3, 8);
    test_shard(in_folder("d-1.tar"), 5, 3, 8);
    prn__dataset *d = open_paths(in_folder("d-{0..1}.tar"), NULL);
    assert_ok(prn__dataset_digest(d, a, &error));
    assert_int_equal(strlen(a), 32);
    prn__dataset_close(d);
    d = open_paths(in_folder("d-{0..1}.tar"), NULL); /* from the index */
    assert_ok(prn__dataset_digest(d, b, &error));
    assert_string_equal(a, b);
    prn__dataset_close(d);
    d = open_paths(in_folder("d-{1,0}.tar"), NULL); /* the order counts */
    assert_ok(prn__dataset_digest(d, b, &error));
    assert_string_not_equal(a, b);
    prn__dataset_close(d);
    size_t bytes;
    uint8_t *tar = read_whole(in_folder("d-1.tar"), &bytes);
    tar[bytes - 1] ^= 1; /* every byte counts, padding too */
    test_write(in_folder("d-1.tar"), tar, bytes);
    d = open_paths(in_folder("d-{0..1}.tar"), NULL);
    assert_ok(prn__dataset_digest(d, b, &error));
    assert_string_not_equal(a, b);
    prn__dataset_close(d);
    tar[bytes - 1] ^= 1;
    test_write(in_folder("copy.tar"), tar, bytes); /* names and times do not */
    d = open_paths(in_folder("{d-0,copy}.tar"), NULL);
    assert_ok(prn__dataset_digest(d, b, &error));
    assert_string_equal(a, b);
    prn__dataset_close(d);
    free(tar);
}

/* More shards than are kept open at a time. */
static void test_many_shards(void **state)
{
    (void)state;
    for (int i = 0; i < 300; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "many-%03d.tar", i);
        test_shard(in_folder(name), i, 1, 8);
    }
    prn__dataset *d = open_paths(in_folder("many-{000..299}.tar"), NULL);
    assert_int_equal(prn__dataset_samples(d), 300);
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < 300; i++) {
            assert_numbered(d, i * 7 % 300, i * 7 % 300, 1);
        }
    }
    prn__dataset_close(d);
    assert_int_equal(prn__alloc_live(), 0);
}

static int yes(void *asked)
{
    (*(int *)asked)++;
    return 1;
}

/* A stop is heard after an index was built, which takes long, and not where indexes are there. What was built stays. */
static void test_a_stop_while_indexing(void **state)
{
    const char *pattern = in_folder("stop.tar");
    int asked = 0;
    prn__dataset *d = NULL;
    prn_error error = PRN_ERROR_INIT;
    (void)state;
    test_shard(pattern, 0, 3, 8);
    const int64_t before = prn__alloc_live();
    prn__stop_set(yes, &asked);
    const prn_status stopped = prn__dataset_open_paths(&pattern, 1, NULL, &d, &error);
    const int64_t after = prn__alloc_live();
    const ino_t index = inode_of(in_folder("stop.tar.index"));
    const prn_status again = stopped == PRN_INTERRUPTED ? prn__dataset_open_paths(&pattern, 1, NULL, &d, &error) : PRN_OK;
    prn__stop_set(NULL, NULL);
    assert_int_equal(stopped, PRN_INTERRUPTED);
    assert_int_equal(after, before);
    assert_true(index != 0);
    assert_int_equal(again, PRN_OK);
    assert_int_equal(asked, 1);
    assert_int_equal(prn__dataset_samples(d), 3);
    assert_true(inode_of(in_folder("stop.tar.index")) == index);
    prn__dataset_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_index_is_built_once), cmocka_unit_test(test_change_while_open), cmocka_unit_test(test_damaged_index),
        cmocka_unit_test(test_index_elsewhere),     cmocka_unit_test(test_unwritable_folder), cmocka_unit_test(test_brace_ranges),
        cmocka_unit_test(test_parts),               cmocka_unit_test(test_losses_by_reason),  cmocka_unit_test(test_missing_shards),
        cmocka_unit_test(test_stated_counts),       cmocka_unit_test(test_digest),            cmocka_unit_test(test_many_shards),
        cmocka_unit_test(test_a_stop_while_indexing),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
