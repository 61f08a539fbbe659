/* Encoding and decoding at the edges: empty, cut, broken, huge and nested text, no memory, many threads. Ids are open_clip's. */
#include "support.h"

#include <pthread.h>

#include "base/pool.h"
#include "data/tokenizer_text.h"

static prn__tokenizer *clip;

static int open_clip(void **state)
{
    (void)state;
    clip = open_clip_vocabulary();
    return 0;
}

static int close_clip(void **state)
{
    (void)state;
    prn__tokenizer_close(clip);
    return prn__alloc_live() == 0 ? 0 : -1;
}

static void test_plain_texts(void **state)
{
    (void)state;
    ASSERT_IDS(clip, "a photo of a cat", 320, 1125, 539, 320, 2368, STOP);
    ASSERT_IDS(clip, "  A  PHOTO\tof\n a cat ", 320, 1125, 539, 320, 2368, STOP);
    ASSERT_IDS(clip, "don't", 847, 713, STOP);
    ASSERT_IDS(clip, "<start_of_text>x<END_of_text>", START, 343, STOP, STOP);
    ASSERT_IDS(clip, "e\xCC\x81", 4166, STOP); /* composed */
    ASSERT_IDS(clip, "&notit; &EACUTE;", 126, 361, 585, 282, 4166, STOP);
    ASSERT_IDS(clip, "\xCE\x9F\xCE\x94\xCE\x9F\xCE\xA3 \xCE\xA3", 138, 123, 138, 112, 138, 123, 139, 480, 139, 481, STOP); /* final sigma */
    ASSERT_IDS(clip, "A\xC4\xB0", 2215, 16384, STOP);                                                                     /* I with a dot */
    ASSERT_IDS(clip, "\xE2\x91\xA0\xC2\xBD" "12", 158, 239, 510, 33613, 272, 273, STOP);                                     /* numbers one by one */
}

/* What the pattern's disregard of case does beyond lower-casing: U+017F is an s to it, U+0345 a letter and no letter at once. */
static void test_case_folding_of_the_pattern(void **state)
{
    (void)state;
    ASSERT_IDS(clip, "'\xC5\xBFx", 6, 129, 379, 343, STOP);
    ASSERT_IDS(clip, "<\xC5\xBFtart_of_text>", 27, 129, 123, 16707, 62, 684, 62, 18169, 285, STOP);
    ASSERT_IDS(clip, "a\xCD\x85" "b", 320, 321, STOP);
}

static void test_empty_texts(void **state)
{
    (void)state;
    ASSERT_IDS(clip, "", STOP);
    ASSERT_IDS(clip, " \t\r\n\xC2\xA0\xE3\x80\x80", STOP);
    ASSERT_IDS(clip, "\0\0\x01\x7F", STOP);
    ASSERT_IDS(clip, "&nbsp;&#0032;", STOP);
}

static void test_nul_bytes_are_removed_and_end_nothing(void **state)
{
    (void)state;
    ASSERT_IDS(clip, "a ph\0oto\0 of a cat\0", 320, 1125, 539, 320, 2368, STOP);
}

static void test_invalid_utf8_becomes_replacement_characters(void **state)
{
    (void)state;
    ASSERT_IDS(clip, "a\xFF" "b", 320, 39802, 321, STOP);
    ASSERT_IDS(clip, "\xC3", 39802, STOP);                       /* cut at the end */
    ASSERT_IDS(clip, "\xF0\x9F\x98", 39802, STOP);               /* one for the valid part */
    ASSERT_IDS(clip, "\xF0\x9F\x98" "a", 39802, 320, STOP);
    ASSERT_IDS(clip, "a\xC0\x80" "b", 320, 47356, 39802, 321, STOP); /* overlong: two */
    ASSERT_IDS(clip, "\xED\xA0\x80", 47356, 47356, 39802, STOP);  /* a surrogate: three */
    ASSERT_IDS(clip, "\xEF\xBF\xBD", 39802, STOP);
}

static void test_long_captions_are_cut_with_their_end_kept(void **state)
{
    (void)state;
    static const int32_t cat[] = {START, 320, 1125, 539, 320, 2368, STOP}, cut[] = {START, 320, 1125, STOP}, least[] = {START, STOP};
    const char text[] = "a photo of a cat";
    assert_ids(clip, text, strlen(text), 8, cat, 7);
    assert_ids(clip, text, strlen(text), 7, cat, 7); /* fits exactly */
    assert_ids(clip, text, strlen(text), 4, cut, 4);
    assert_ids(clip, text, strlen(text), 2, least, 2);
    assert_ids(clip, "", 0, 2, least, 2);
    int32_t ids[CONTEXT];
    char many[400];
    for (int i = 0; i < 400; i++) {
        many[i] = i % 2 == 0 ? 'a' : ' ';
    }
    assert_int_equal(prn__tokenizer_encode(clip, many, sizeof many, CONTEXT, ids), CONTEXT);
    assert_int_equal(ids[CONTEXT - 2], 320);
    assert_int_equal(ids[CONTEXT - 1], STOP);
    assert_int_equal(prn__tokenizer_encode(clip, text, strlen(text), 1, ids), 0);
    assert_int_equal(prn__tokenizer_encode(clip, text, strlen(text), 0, ids), 0);
    assert_int_equal(prn__tokenizer_encode(clip, text, strlen(text), -5, ids), 0);
}

/* A million bytes of one kind: every step must stay linear. The bound is far above what is needed (under a second in a debug build), and far
 * below what a quadratic step would take. */
static void encode_a_megabyte_after(const char *head, const char *unit)
{
    const size_t size = 1 << 20, length = strlen(unit), begin = strlen(head);
    char *text = malloc(size);
    int32_t ids[CONTEXT];
    assert_non_null(text);
    memcpy(text, head, begin);
    for (size_t i = begin; i < size; i++) {
        text[i] = unit[(i - begin) % length];
    }
    double started = prn__now_s();
    int64_t count = prn__tokenizer_encode(clip, text, size, CONTEXT, ids);
    double took = prn__now_s() - started;
    assert_in_range(count, 2, CONTEXT);
    assert_int_equal(ids[0], START);
    assert_int_equal(ids[count - 1], STOP);
    if (took > 20) {
        fail_msg("a megabyte of '%s' after '%s' took %.1f s", unit, head, took);
    }
    free(text);
}

static void encode_a_megabyte(const char *unit)
{
    encode_a_megabyte_after("", unit);
}

static void test_huge_texts_take_linear_time(void **state)
{
    (void)state;
    encode_a_megabyte("a photo of a cat ");
    encode_a_megabyte("a"); /* one word */
    encode_a_megabyte("ab!");
    encode_a_megabyte(" ");
    encode_a_megabyte("&");
    encode_a_megabyte_after("&", "amp;"); /* nested a quarter of a million deep */
    encode_a_megabyte("&amp;");
    encode_a_megabyte("&#38;#38");
    encode_a_megabyte("&amp;amp;#65286;");
    encode_a_megabyte_after("&", "#65286;"); /* each round makes the reference of the next */
    encode_a_megabyte("\xCC\x81\xCC\xA3\xCC\xB8"); /* marks to sort */
    encode_a_megabyte("\xCE\xA3''''");           /* sigma looks both ways */
    encode_a_megabyte("\x1B[1;1;1");
    encode_a_megabyte("\xEF\xAC\x83");
    encode_a_megabyte("\xFF");
    encode_a_megabyte("\n");
}

/* ftfy unwraps references however deep they are. */
static void test_nested_references(void **state)
{
    (void)state;
    char text[4096] = "&";
    for (int i = 0; i < 500; i++) {
        strcat(text, "amp;");
    }
    strcat(text, "lt; a cat");
    static const int32_t wanted[] = {START, 283, 320, 2368, STOP};
    assert_ids(clip, text, strlen(text), CONTEXT, wanted, 5);
}

static void check_round_trip(const char *text, const char *wanted)
{
    int32_t ids[CONTEXT];
    int64_t count = prn__tokenizer_encode(clip, text, strlen(text), CONTEXT, ids);
    char *back = prn__tokenizer_decode(clip, ids, count);
    assert_non_null(back);
    assert_string_equal(back, wanted);
    prn__free(back);
}

static void test_decode_gives_the_cleaned_text(void **state)
{
    (void)state;
    check_round_trip("", "");
    check_round_trip("a photo of a cat", "a photo of a cat");
    check_round_trip("A  Photo, 12 Cats", "a photo , 1 2 cats");
    check_round_trip("caf\xC3\xA9 \xE7\x8C\xAB \xF0\x9F\x98\x80", "caf\xC3\xA9 \xE7\x8C\xAB \xF0\x9F\x98\x80");
    check_round_trip("a<end_of_text> b <start_of_text>", "a <end_of_text> b <start_of_text>");
    check_round_trip("internationalization", "internationalization");
    check_round_trip("\xFF", "\xEF\xBF\xBD");
}

static void test_decode_of_any_ids_is_valid_text(void **state)
{
    (void)state;
    const int32_t odd[] = {-1, 49408, INT32_MAX, INT32_MIN, 188, 220, STOP, START, 49405};
    char *back = prn__tokenizer_decode(clip, odd, sizeof odd / sizeof odd[0]);
    assert_non_null(back);
    for (size_t at = 0, used, length = strlen(back); at < length; at += used) {
        uint32_t point = prn__utf8_get(back + at, length - at, &used);
        assert_true(point != 0xFFFD || memcmp(back + at, "\xEF\xBF\xBD", 3) == 0);
    }
    prn__free(back);
    back = prn__tokenizer_decode(clip, NULL, 0);
    assert_string_equal(back, "");
    prn__free(back);
    /* every id by itself */
    for (int32_t id = 0; id < 49408; id += 7) {
        back = prn__tokenizer_decode(clip, &id, 1);
        assert_non_null(back);
        prn__free(back);
    }
}

/* Bytes without sense, and sense with damage: no crash, ends in place, the same ids twice. */
static void test_random_bytes(void **state)
{
    (void)state;
    static const char *const parts[] = {"&", "#", "x", ";", "amp", "lt;", "\x1B[", "\xCC\x81", "\xEF\xBC\x86", "\xF0\x9F", "<end_of_text>", "'s",
                                        "\xCE\xA3", " ", "\n", "<", "\xC2\x85", "\xEF\xAC\x83", "photo"};
    uint64_t seed = 1;
    for (int round = 0; round < 20000; round++) {
        char text[160];
        size_t length = 0;
        while (length < 100) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            uint32_t pick = (uint32_t)(seed >> 40);
            if (pick % 3 == 0) {
                text[length++] = (char)(pick >> 8);
            } else {
                const char *part = parts[(pick >> 2) % (sizeof parts / sizeof parts[0])];
                memcpy(text + length, part, strlen(part));
                length += strlen(part);
            }
            if (pick % 29 == 0) {
                break;
            }
        }
        int32_t ids[40], again[40];
        int64_t context = 2 + round % 39, count = prn__tokenizer_encode(clip, text, length, context, ids);
        assert_in_range(count, 2, context);
        assert_int_equal(ids[count - 1], STOP);
        for (int64_t i = 0; i < count; i++) {
            assert_in_range(ids[i], 0, STOP);
        }
        assert_int_equal(prn__tokenizer_encode(clip, text, length, context, again), count);
        assert_memory_equal(ids, again, (size_t)count * sizeof *ids);
    }
}

/* A caption needs no heap; a long text that finds none says so, and leaves nothing behind. */
static void test_no_memory(void **state)
{
    (void)state;
    int32_t ids[CONTEXT], wanted[CONTEXT];
    char text[8192];
    prn__alloc_fail_at(1);
    assert_int_equal(prn__tokenizer_encode(clip, "a photo of a \xC3\xA9 cat", 18, CONTEXT, ids), 8);
    prn__alloc_fail_at(0);
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = "\xEF\xAC\x83 a&amp;b \xCC\x81"[i % 13];
    }
    memset(text + 4000, 'w', 600); /* one word that needs room of its own */
    int64_t context = CONTEXT, count = prn__tokenizer_encode(clip, text, sizeof text, context, wanted), live = prn__alloc_live();
    int failures = 0;
    for (int64_t nth = 1;; nth++) {
        assert_true(nth < 1000);
        prn__alloc_fail_at(nth);
        int64_t got = prn__tokenizer_encode(clip, text, sizeof text, context, ids);
        prn__alloc_fail_at(0);
        assert_int_equal(prn__alloc_live(), live);
        if (got != 0) {
            assert_int_equal(got, count);
            assert_memory_equal(ids, wanted, (size_t)count * sizeof *ids);
            break;
        }
        failures++;
    }
    assert_true(failures > 3);
    /* a long word early in the text, so that the pieces' own memory is reached */
    failures = 0;
    for (int64_t nth = 1;; nth++) {
        prn__alloc_fail_at(nth);
        int64_t got = prn__tokenizer_encode(clip, text + 4000, 600, context, ids);
        prn__alloc_fail_at(0);
        assert_int_equal(prn__alloc_live(), live);
        if (got != 0) {
            break;
        }
        failures++;
    }
    assert_true(failures >= 2);
    for (int64_t nth = 1; nth < 5; nth++) {
        prn__alloc_fail_at(nth);
        char *back = prn__tokenizer_decode(clip, wanted, count);
        prn__alloc_fail_at(0);
        prn__free(back);
        assert_int_equal(prn__alloc_live(), live);
    }
}

/* ---- threads ---- */

enum { THREADS = 8, CAPTIONS = 200 };

static char captions[CAPTIONS][120];
static int32_t alone[CAPTIONS][CONTEXT];
static int64_t alone_counts[CAPTIONS];

static void *encode_all(void *argument)
{
    intptr_t first = (intptr_t)argument, different = 0;
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < CAPTIONS; i++) {
            int at = (int)(((intptr_t)i + first * 25) % CAPTIONS);
            int32_t ids[CONTEXT];
            int64_t count = prn__tokenizer_encode(clip, captions[at], strlen(captions[at]), CONTEXT, ids);
            different += count != alone_counts[at] || memcmp(ids, alone[at], (size_t)count * sizeof *ids) != 0;
        }
    }
    return (void *)different; /* cmocka's assertions belong to the main thread */
}

static void test_threads_share_one_tokenizer(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    for (int i = 0; i < CAPTIONS; i++) {
        (void)snprintf(captions[i], sizeof captions[i], "Caption no. %d: it's a \xE7\x8C\xAB &amp; %s caf\xC3\xA9 at %d\xC2\xBD", i * 7919,
                       i % 2 == 0 ? "\xEF\xAC\x83 rainy" : "antidisestablishmentarianism", i);
        alone_counts[i] = prn__tokenizer_encode(clip, captions[i], strlen(captions[i]), CONTEXT, alone[i]);
        assert_in_range(alone_counts[i], 10, CONTEXT);
    }
    for (intptr_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, encode_all, (void *)i), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *different;
        assert_int_equal(pthread_join(threads[i], &different), 0);
        assert_int_equal((intptr_t)different, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_texts),
        cmocka_unit_test(test_case_folding_of_the_pattern),
        cmocka_unit_test(test_empty_texts),
        cmocka_unit_test(test_nul_bytes_are_removed_and_end_nothing),
        cmocka_unit_test(test_invalid_utf8_becomes_replacement_characters),
        cmocka_unit_test(test_long_captions_are_cut_with_their_end_kept),
        cmocka_unit_test(test_huge_texts_take_linear_time),
        cmocka_unit_test(test_nested_references),
        cmocka_unit_test(test_decode_gives_the_cleaned_text),
        cmocka_unit_test(test_decode_of_any_ids_is_valid_text),
        cmocka_unit_test(test_random_bytes),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_threads_share_one_tokenizer),
    };
    return cmocka_run_group_tests(tests, open_clip, close_clip);
}
