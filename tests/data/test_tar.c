/* Walking tars: every kind of name and size, and every way in which an archive can be damaged. */
#include "data_helpers.h"

#include "data/tar.h"

typedef struct archive {
    const uint8_t *data;
    uint64_t bytes;
    uint64_t fails_at; /* reads beyond this byte fail */
} archive;

static int read_archive(void *context, uint64_t offset, void *target, size_t bytes)
{
    const archive *a = context;
    if (offset > a->bytes || bytes > a->bytes - offset) {
        fail_msg("a read of %zu bytes at %llu of %llu", bytes, (unsigned long long)offset, (unsigned long long)a->bytes);
    }
    if (offset + bytes > a->fails_at) {
        return 0;
    }
    memcpy(target, a->data + offset, bytes);
    return 1;
}

enum { MAX_MEMBERS = 64 };
typedef struct walked {
    prn__tar_member members[MAX_MEMBERS];
    int count;
    prn__tar_end end;
    int64_t gaps;
} walked;

static void walk_until(const uint8_t *data, uint64_t bytes, uint64_t fails_at, walked *w)
{
    static prn__tar_walk walk;
    archive a = {data, bytes, fails_at};
    prn__tar_member member;
    w->count = 0;
    memset(&walk, 0xa5, sizeof walk);
    prn__tar_start(&walk, read_archive, &a, bytes);
    while (prn__tar_next(&walk, &member)) {
        assert_true(member.offset >= 512 && member.offset <= bytes && member.bytes <= bytes - member.offset);
        assert_non_null(memchr(member.name, 0, sizeof member.name));
        assert_true(w->count < MAX_MEMBERS);
        w->members[w->count++] = member;
    }
    w->end = walk.end;
    w->gaps = walk.gaps;
    assert_int_equal(prn__tar_next(&walk, &member), 0); /* and stays at its end */
    assert_int_equal(w->end, walk.end);
}

static void walk_all(const test_tar *tar, walked *w)
{
    walk_until(tar->data, tar->bytes, UINT64_MAX, w);
}

static void clear(test_tar *tar)
{
    free(tar->data);
    memset(tar, 0, sizeof *tar);
}

static void assert_member(const test_tar *tar, const walked *w, int i, const char *name, const char *content)
{
    assert_true(i < w->count);
    assert_string_equal(w->members[i].name, name);
    assert_int_equal(w->members[i].bytes, strlen(content));
    assert_memory_equal(tar->data + w->members[i].offset, content, strlen(content));
}

static void assert_whole(const walked *w, int count)
{
    assert_int_equal(w->count, count);
    assert_int_equal(w->end, PRN__TAR_WHOLE);
    assert_int_equal(w->gaps, 0);
}

static walked w;

static void test_plain(void **state)
{
    (void)state;
    test_tar tar = {0};
    char text[1200];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    add_text(&tar, "a.txt", "one");
    add_text(&tar, "folder/b.txt", text);
    test_tar_member(&tar, "empty.txt", '0', NULL, 0);
    test_tar_member(&tar, "folder/", '5', NULL, 0);
    add_text(&tar, "d.txt", "last");
    test_tar_end(&tar);
    walk_all(&tar, &w);
    assert_whole(&w, 4);
    assert_member(&tar, &w, 0, "a.txt", "one");
    assert_member(&tar, &w, 1, "folder/b.txt", text);
    assert_member(&tar, &w, 2, "empty.txt", "");
    assert_member(&tar, &w, 3, "d.txt", "last");
    for (int i = 0; i < 4; i++) {
        assert_int_equal(w.members[i].follows_gap, 0);
    }
    clear(&tar);
    walk_until(NULL, 0, UINT64_MAX, &w);
    assert_int_equal(w.count, 0);
    test_tar_end(&tar);
    walk_all(&tar, &w);
    assert_whole(&w, 0);
    clear(&tar);
}

/* What GNU tar, Python and old writers vary: type NUL and '7', blanks for zeros, no magic at all, padding to 10 KiB. */
static void test_writers(void **state)
{
    (void)state;
    test_tar tar = {0};
    uint8_t *h = add_member(&tar, "nul.txt", 0, "a", 1);
    h = add_member(&tar, "seven.txt", '7', "b", 1);
    h = add_member(&tar, "blanks.txt", '0', "c", 1);
    memcpy(h + 124, "          1 ", 12);
    fix_checksum(h);
    h = add_member(&tar, "v7.txt", '0', "d", 1);
    memset(h + 257, 0, 255);
    fix_checksum(h);
    h = add_member(&tar, "twelve.txt", '0', "e", 1);
    memcpy(h + 124, "000000000001", 12); /* no terminator */
    fix_checksum(h);
    char name[101];
    memset(name, 'n', 100);
    memcpy(name + 96, ".txt", 5);
    (void)add_member(&tar, name, '0', "f", 1); /* a name of 100 characters has no terminator */
    h = add_member(&tar, "\xc3\xa9.txt", '0', "g", 1); /* summed as signed characters */
    int sum = 0;
    memset(h + 148, ' ', 8);
    for (int i = 0; i < 512; i++) {
        sum += (int8_t)h[i];
    }
    (void)snprintf((char *)h + 148, 8, "%06o", (unsigned)sum);
    test_tar_end(&tar);
    size_t used = tar.bytes, padded = (used + 10239) / 10240 * 10240;
    tar.data = realloc(tar.data, padded);
    memset(tar.data + used, 0, padded - used);
    tar.bytes = padded;
    walk_all(&tar, &w);
    assert_whole(&w, 7);
    assert_member(&tar, &w, 0, "nul.txt", "a");
    assert_member(&tar, &w, 1, "seven.txt", "b");
    assert_member(&tar, &w, 2, "blanks.txt", "c");
    assert_member(&tar, &w, 3, "v7.txt", "d");
    assert_member(&tar, &w, 4, "twelve.txt", "e");
    assert_member(&tar, &w, 5, name, "f");
    assert_member(&tar, &w, 6, "\xc3\xa9.txt", "g");
    clear(&tar);
}

static void test_prefix(void **state)
{
    (void)state;
    test_tar tar = {0};
    uint8_t *h = add_member(&tar, "000.txt", '0', "a", 1);
    memcpy(h + 345, "some/folder", 11);
    fix_checksum(h);
    h = add_member(&tar, "001.txt", '0', "b", 1);
    memset(h + 345, 'p', 155); /* full: no terminator */
    fix_checksum(h);
    h = add_member(&tar, "002.txt", '0', "c", 1); /* GNU's own format has other things there */
    memcpy(h + 257, "ustar  ", 8);
    memcpy(h + 345, "12345670123", 11);
    fix_checksum(h);
    test_tar_end(&tar);
    walk_all(&tar, &w);
    assert_whole(&w, 3);
    assert_member(&tar, &w, 0, "some/folder/000.txt", "a");
    assert_int_equal(strlen(w.members[1].name), 155 + 1 + 7);
    assert_string_equal(w.members[1].name + 155, "/001.txt");
    assert_member(&tar, &w, 2, "002.txt", "c");
    clear(&tar);
}

/* One pax record, its length counted in. */
static void pax_record(char *target, const char *key, const char *value)
{
    size_t body = strlen(key) + strlen(value) + 3, length = body, digits;
    char number[24];
    do {
        digits = (size_t)snprintf(number, sizeof number, "%zu", length);
        length = body + digits;
    } while ((size_t)snprintf(number, sizeof number, "%zu", length) != digits);
    (void)sprintf(target + strlen(target), "%s %s=%s\n", number, key, value);
}

static void test_pax(void **state)
{
    (void)state;
    test_tar tar = {0};
    char text[4096] = "", name[600], longest[3000];
    memset(name, 'd', 500);
    (void)snprintf(name + 500, 100, "/x.txt");
    pax_record(text, "mtime", "1234567890.5");
    pax_record(text, "path", name);
    pax_record(text, "comment", "a = b\nc");
    test_tar_member(&tar, "PaxHeaders/x", 'x', text, strlen(text));
    add_text(&tar, "short", "a");
    add_text(&tar, "next.txt", "b"); /* the name held for one member */
    text[0] = '\0';
    pax_record(text, "path", "for-everyone.txt");
    test_tar_member(&tar, "global", 'g', text, strlen(text));
    add_text(&tar, "own.txt", "c");
    text[0] = '\0';
    pax_record(text, "size", "3");
    test_tar_member(&tar, "PaxHeaders/y", 'x', text, strlen(text));
    uint8_t *h = add_member(&tar, "sized.txt", '0', "def", 3);
    memcpy(h + 124, "00000000000", 12); /* the real size stands in the pax header only */
    fix_checksum(h);
    text[0] = '\0';
    pax_record(text, "path", "not-a-file");
    pax_record(text, "size", "512");
    test_tar_member(&tar, "PaxHeaders/z", 'x', text, strlen(text));
    test_tar_member(&tar, "folder/", '5', NULL, 0);
    add_text(&tar, "after.txt", "g");
    memset(longest, 'l', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    text[0] = '\0';
    pax_record(text, "path", longest);
    test_tar_member(&tar, "PaxHeaders/l", 'x', text, strlen(text));
    add_text(&tar, "cut", "h");
    test_tar_end(&tar);
    walk_all(&tar, &w);
    assert_whole(&w, 6);
    assert_member(&tar, &w, 0, name, "a");
    assert_member(&tar, &w, 1, "next.txt", "b");
    assert_member(&tar, &w, 2, "own.txt", "c");
    assert_member(&tar, &w, 3, "sized.txt", "def");
    assert_member(&tar, &w, 4, "after.txt", "g");
    assert_int_equal(strlen(w.members[5].name), PRN__TAR_NAME_BYTES - 1);
    clear(&tar);
}

static void test_hostile_pax(void **state)
{
    (void)state;
    static const char *const records[] = {
        "",
        "x",
        "5",
        "5 ",
        "0 path=a\n",
        "1 path=a\n",
        "3 p\n",
        "99999999999999999999999999 path=a\n",
        "18446744073709551615 path=a\n",
        "4294967296 path=a\n",
        "12 path=",
        "13 path=abc",
        "-5 path=a\n",
        "10 path=a\n10 path=",
        "28 size=9999999999999999999\n",
        "21 size=18446744073709551616\n",
        "10 size=\n\n",
        "10 size=-1\n",
        "12 size=0x10\n",
        "99 path=a\n",
        "11 path=a/\n7 path=\n",
    };
    for (size_t i = 0; i < sizeof records / sizeof records[0]; i++) {
        test_tar tar = {0};
        test_tar_member(&tar, "PaxHeaders/x", 'x', records[i], strlen(records[i]));
        add_text(&tar, "a.txt", "a");
        add_text(&tar, "b.txt", "b");
        test_tar_end(&tar);
        walk_all(&tar, &w);
        assert_true(w.count <= 2);
        assert_true(w.count == 2 || w.end != PRN__TAR_WHOLE || w.gaps > 0); /* what is lost shows */
        clear(&tar);
    }
}

static void test_gnu_long_names(void **state)
{
    (void)state;
    test_tar tar = {0};
    char name[400], longest[3000];
    memset(name, 'g', 300);
    (void)snprintf(name + 300, 100, "/x.txt");
    uint8_t *h = add_member(&tar, "././@LongLink", 'L', name, strlen(name) + 1);
    memcpy(h + 257, "ustar  ", 8);
    fix_checksum(h);
    add_text(&tar, "short", "a");
    add_text(&tar, "next.txt", "b");
    test_tar_member(&tar, "././@LongLink", 'K', "target", 6); /* a link's long target */
    h = add_member(&tar, "link", '2', NULL, 0);
    memcpy(h + 124, "00000001000", 12); /* links may state a size that has no data */
    fix_checksum(h);
    test_tar_member(&tar, "././@LongLink", 'L', name, strlen(name));
    test_tar_member(&tar, "folder/", '5', NULL, 0);
    add_text(&tar, "plain.txt", "c");
    memset(longest, 'l', sizeof longest);
    test_tar_member(&tar, "././@LongLink", 'L', longest, sizeof longest);
    add_text(&tar, "cut", "d");
    test_tar_end(&tar);
    walk_all(&tar, &w);
    assert_whole(&w, 4);
    assert_member(&tar, &w, 0, name, "a");
    assert_member(&tar, &w, 1, "next.txt", "b");
    assert_member(&tar, &w, 2, "plain.txt", "c");
    assert_int_equal(strlen(w.members[3].name), PRN__TAR_NAME_BYTES - 1);
    clear(&tar);
}

static void test_base_256(void **state)
{
    (void)state;
    test_tar tar = {0};
    uint8_t *h = add_member(&tar, "a.txt", '0', "abc", 3);
    memset(h + 124, 0, 12);
    h[124] = 0x80;
    h[135] = 3;
    fix_checksum(h);
    add_text(&tar, "b.txt", "b");
    test_tar_end(&tar);
    walk_all(&tar, &w);
    assert_whole(&w, 2);
    assert_member(&tar, &w, 0, "a.txt", "abc");
    assert_member(&tar, &w, 1, "b.txt", "b");
    clear(&tar);
}

/* A size beyond the archive, however it is written, ends the walk as a cut does; a size that is no number is a damaged header. */
static void test_absurd_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *field;
        int is_number;
    } sizes[] = {
        {"77777777777\0", 1},                                     {"777777777777", 1},
        {"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", 1},        {"\x80\0\0\0\x3f\xff\xff\xff\xff\xff\xfe\x00", 1},
        {"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", 0},        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 0},
        {"\x80\0\0\1\0\0\0\0\0\0\0\0", 0},                        {"99999999999\0", 0},
        {"-0000000001\0", 0},                                     {"0x000000001\0", 0},
        {"00000010000\0", 1},
    };
    static const char types[] = {'0', 'L', 'x', 'g', 'V'};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (size_t k = 0; k < sizeof types; k++) {
            test_tar tar = {0};
            add_text(&tar, "a.txt", "a");
            uint8_t *h = add_member(&tar, "b.txt", types[k], "b", 1);
            memcpy(h + 124, sizes[i].field, 12);
            fix_checksum(h);
            add_text(&tar, "c.txt", "c");
            test_tar_end(&tar);
            walk_all(&tar, &w);
            assert_member(&tar, &w, 0, "a.txt", "a");
            if (sizes[i].is_number) {
                assert_int_equal(w.count, 1);
                assert_int_equal(w.end, PRN__TAR_TRUNCATED);
            } else {
                assert_int_equal(w.count, 2);
                assert_member(&tar, &w, 1, "c.txt", "c");
                assert_int_equal(w.members[1].follows_gap, 1);
                assert_int_equal(w.gaps, 1);
            }
            clear(&tar);
        }
    }
}

static void make_sample_tar(test_tar *tar, size_t ends[3])
{
    char text[1000];
    memset(text, 't', sizeof text);
    text[999] = '\0';
    add_text(tar, "a.txt", "one");
    ends[0] = tar->bytes;
    add_text(tar, "b.txt", text);
    ends[1] = tar->bytes;
    add_text(tar, "c.txt", "three");
    ends[2] = tar->bytes;
    test_tar_end(tar);
}

/* Cut at every byte, block boundaries among them: all members before the cut, never one that runs over it, and a cut never looks whole. */
static void test_truncated_everywhere(void **state)
{
    (void)state;
    test_tar tar = {0};
    static const size_t sizes[3] = {3, 999, 5};
    size_t ends[3];
    make_sample_tar(&tar, ends);
    for (size_t cut = 0; cut <= tar.bytes; cut++) {
        uint8_t *part = malloc(cut > 0 ? cut : 1);
        memcpy(part, tar.data, cut);
        walk_until(part, cut, UINT64_MAX, &w);
        int expected = 0;
        for (int i = 0; i < 3; i++) {
            size_t data = ends[i] - (sizes[i] + 511) / 512 * 512;
            expected += cut >= data + sizes[i];
        }
        assert_int_equal(w.count, expected);
        assert_int_equal(w.end, cut > ends[2] ? PRN__TAR_WHOLE : PRN__TAR_TRUNCATED);
        assert_int_equal(w.gaps, 0);
        free(part);
    }
    clear(&tar);
}

static void test_damaged_headers(void **state)
{
    (void)state;
    test_tar tar = {0};
    size_t ends[3];
    make_sample_tar(&tar, ends);
    /* any flipped bit of a header is noticed, and costs that member alone */
    for (size_t at = 0; at < 512; at += 3) {
        tar.data[ends[0] + at] ^= 0x10;
        walk_all(&tar, &w);
        if (at >= 148 + 7 && at < 156) { /* what follows the checksum's digits says nothing */
            assert_true(w.count >= 2);
        } else {
            assert_int_equal(w.count, 2);
            assert_string_equal(w.members[1].name, "c.txt");
            assert_int_equal(w.members[1].follows_gap, 1);
            assert_int_equal(w.gaps, 1);
            assert_int_equal(w.end, PRN__TAR_WHOLE);
        }
        tar.data[ends[0] + at] ^= 0x10;
    }
    /* a header full of zeros: a hole, not the end */
    memset(tar.data + ends[0], 0, 512);
    walk_all(&tar, &w);
    assert_int_equal(w.count, 2);
    assert_int_equal(w.gaps, 1);
    assert_int_equal(w.members[1].follows_gap, 1);
    /* the first header too: one stretch without a whole header */
    tar.data[0] ^= 1;
    walk_all(&tar, &w);
    assert_int_equal(w.count, 1);
    assert_int_equal(w.gaps, 1);
    assert_int_equal(w.members[0].follows_gap, 1);
    tar.data[0] ^= 1;
    /* the last header: only the end follows */
    tar.data[ends[1]] ^= 1;
    walk_all(&tar, &w);
    assert_int_equal(w.count, 1);
    assert_true(w.gaps >= 1);
    clear(&tar);
}

static void test_joined(void **state)
{
    (void)state;
    test_tar tar = {0};
    add_text(&tar, "a.txt", "a");
    test_tar_end(&tar);
    add_text(&tar, "b.txt", "b");
    test_tar_end(&tar);
    walk_all(&tar, &w);
    assert_whole(&w, 2);
    assert_member(&tar, &w, 1, "b.txt", "b");
    /* rubbish behind the end is nobody's */
    size_t end = tar.bytes;
    tar.data = realloc(tar.data, end + 1000);
    memset(tar.data + end, 0x5a, 1000);
    tar.bytes += 1000;
    walk_all(&tar, &w);
    assert_whole(&w, 2);
    clear(&tar);
}

static void test_unreadable(void **state)
{
    (void)state;
    test_tar tar = {0};
    char text[3000];
    memset(text, 'u', sizeof text);
    text[sizeof text - 1] = '\0';
    for (int i = 0; i < 40; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "%02d.txt", i);
        add_text(&tar, name, text);
    }
    test_tar_end(&tar);
    for (uint64_t fails_at = 0; fails_at < tar.bytes; fails_at += 1024) {
        walk_until(tar.data, tar.bytes, fails_at, &w);
        assert_int_equal(w.end, PRN__TAR_UNREADABLE);
        assert_true(w.count < 40 || fails_at > tar.bytes - 5000);
    }
    clear(&tar);
}

/* Anything at all: the walk ends, stays inside, and says so when it met damage. */
static void test_random_damage(void **state)
{
    (void)state;
    uint64_t random = 3;
    test_tar tar = {0};
    size_t ends[3];
    char text[600] = "";
    pax_record(text, "path", "some/long/name.txt");
    test_tar_member(&tar, "PaxHeaders/x", 'x', text, strlen(text));
    test_tar_member(&tar, "././@LongLink", 'L', "another/name.txt", 16);
    make_sample_tar(&tar, ends);
    uint8_t *copy = malloc(tar.bytes);
    for (int round = 0; round < 20000; round++) {
        memcpy(copy, tar.data, tar.bytes);
        for (uint64_t n = 1 + random_below(&random, 3); n > 0; n--) {
            size_t block = (size_t)random_below(&random, tar.bytes / 512);
            uint64_t size;
            switch (random_below(&random, 4)) {
            case 0: flip_bit(copy + block * 512, 512, &random); break;
            case 1: /* a whole header with another size */
                size = next_random(&random);
                size >>= 31 + random_below(&random, 33);
                (void)snprintf((char *)copy + block * 512 + 124, 12, "%011llo", (unsigned long long)size);
                fix_checksum(copy + block * 512);
                break;
            case 2: /* of another type */
                copy[block * 512 + 156] = (uint8_t)"0123457xgLKVS"[random_below(&random, 13)];
                fix_checksum(copy + block * 512);
                break;
            default: memset(copy + block * 512, random_below(&random, 2) != 0 ? 0 : 0x5a, 512); break;
            }
        }
        walk_until(copy, 1 + random_below(&random, tar.bytes), UINT64_MAX, &w);
    }
    free(copy);
    clear(&tar);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),           cmocka_unit_test(test_writers),    cmocka_unit_test(test_prefix),
        cmocka_unit_test(test_pax),             cmocka_unit_test(test_hostile_pax), cmocka_unit_test(test_gnu_long_names),
        cmocka_unit_test(test_base_256),        cmocka_unit_test(test_absurd_sizes), cmocka_unit_test(test_truncated_everywhere),
        cmocka_unit_test(test_damaged_headers), cmocka_unit_test(test_joined),     cmocka_unit_test(test_unreadable),
        cmocka_unit_test(test_random_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
