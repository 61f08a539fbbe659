/* Learning a vocabulary: equal to a slow second implementation, the same file twice, readable, useful, fast, and safe without memory. */
#include "support.h"

#include "base/pool.h"

static prn_status learn(const char *const *captions, size_t count, int64_t merges, const char *path, prn_error *error)
{
    error->message[0] = '\0';
    return prn__tokenizer_learn(captions, count, merges, path, error);
}

static char *file_text(const char *path)
{
    prn_error error = PRN_ERROR_INIT;
    char *data;
    size_t bytes;
    assert_int_equal(prn__file_read(path, 1 << 26, &data, &bytes, &error), PRN_OK);
    return data;
}

static void test_merges_by_hand(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    char *path = temporary_path("vocabulary.txt");
    /* low x3, lower x1: "l o" has 4; "lo w</w>" 3; then nothing of "lower" occurs twice */
    static const char *const captions[] = {"low LOW", "low lower"};
    assert_int_equal(learn(captions, 2, 100, path, &error), PRN_OK);
    char *text = file_text(path);
    assert_string_equal(text, "#version: 0.2\nl o\nlo w</w>\n");
    prn__free(text);
    /* "a b</w>" has 2 as all others, and is the smallest pair by symbol number: bytes, bytes that end words, merges */
    static const char *const ties[] = {"zy zy ba ba", "b bab b bab"};
    assert_int_equal(learn(ties, 2, 100, path, &error), PRN_OK);
    text = file_text(path);
    assert_string_equal(text, "#version: 0.2\na b</w>\nb a</w>\nb ab</w>\nz y</w>\n");
    prn__free(text);
    /* a run counts each "a a" it holds (3 here, twice) and is joined from the left; bytes C3 and A9 are symbols 127 and 102, so that of the
     * pairs with 2 "A9 C3" comes first, then each pair that the last merge left smallest */
    static const char *const runs[] = {"aaaaa aaaaa \xC3\xA9\xC3\xA9 \xC3\xA9\xC3\xA9"};
    assert_int_equal(learn(runs, 1, 100, path, &error), PRN_OK);
    text = file_text(path);
    assert_string_equal(text, "#version: 0.2\na a\n\xC2\xA9 \xC3\x83\n\xC3\x83 \xC2\xA9\xC3\x83\naa a</w>\naa aaa</w>\n"
                              "\xC3\x83\xC2\xA9\xC3\x83 \xC2\xA9</w>\n");
    prn__free(text);
    remove_path(path);
}

/* ---- a second implementation: counts everything anew for each merge ---- */

enum { WORDS = 60, LONGEST = 12 };

typedef struct slow_word {
    int symbols[LONGEST], length, count;
} slow_word;

static char slow_names[600][LONGEST * 2 + 8];

static int slow_name(const char *name, int *symbols)
{
    for (int i = 0; i < *symbols; i++) {
        if (strcmp(slow_names[i], name) == 0) {
            return i;
        }
    }
    assert_true(strlen(name) < sizeof slow_names[0]);
    memcpy(slow_names[*symbols], name, strlen(name) + 1);
    return (*symbols)++;
}

/* Lower-case letters only: symbol numbers of letters are in alphabetical order, those that end words after them. */
static void slow_learn(slow_word *words, int count, int merges, char *out)
{
    int symbols = 0;
    for (int i = 0; i < 52; i++) {
        (void)snprintf(slow_names[symbols++], sizeof slow_names[0], "%c%s", 'a' + i % 26, i < 26 ? "" : "</w>");
    }
    out += sprintf(out, "#version: 0.2\n");
    for (int m = 0; m < merges; m++) {
        static int counts[600][600];
        int left = -1, right = -1;
        memset(counts, 0, sizeof counts);
        for (int w = 0; w < count; w++) {
            for (int i = 0; i + 1 < words[w].length; i++) {
                counts[words[w].symbols[i]][words[w].symbols[i + 1]] += words[w].count;
            }
        }
        for (int a = 0; a < symbols; a++) {
            for (int b = 0; b < symbols; b++) {
                if (counts[a][b] >= 2 && (left < 0 || counts[a][b] > counts[left][right])) {
                    left = a;
                    right = b;
                }
            }
        }
        if (left < 0) {
            break;
        }
        char name[2 * sizeof slow_names[0]] = {0};
        strcat(strcpy(name, slow_names[left]), slow_names[right]);
        out += sprintf(out, "%s %s\n", slow_names[left], slow_names[right]);
        int made = slow_name(name, &symbols);
        for (int w = 0; w < count; w++) {
            int to = 0;
            for (int i = 0; i < words[w].length; i++) {
                int here = i + 1 < words[w].length && words[w].symbols[i] == left && words[w].symbols[i + 1] == right;
                words[w].symbols[to++] = here ? made : words[w].symbols[i];
                i += here;
            }
            words[w].length = to;
        }
    }
}

static void test_equal_to_a_slow_implementation(void **state)
{
    (void)state;
    static char expected[200000];
    uint64_t seed = 3;
    char *path = temporary_path("vocabulary.txt");
    for (int round = 0; round < 40; round++) {
        prn_error error = PRN_ERROR_INIT;
        slow_word words[WORDS];
        char letters[WORDS][LONGEST + 1];
        const char *captions[WORDS * 5];
        size_t lines = 0;
        int letters_used = 2 + round % 4, merges = 5 + round * 10;
        for (int w = 0; w < WORDS; w++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            int length = 1 + (int)((seed >> 33) % LONGEST);
            words[w].length = length;
            words[w].count = 1 + (int)((seed >> 50) % 5);
            for (int i = 0; i < length; i++) {
                seed = seed * 6364136223846793005u + 1442695040888963407u;
                letters[w][i] = (char)('a' + (seed >> 40) % (uint64_t)letters_used);
                words[w].symbols[i] = letters[w][i] - 'a' + (i == length - 1 ? 26 : 0);
            }
            letters[w][length] = '\0';
            for (int i = 0; i < words[w].count; i++) {
                captions[lines++] = letters[w];
            }
        }
        slow_learn(words, WORDS, merges, expected);
        assert_int_equal(learn(captions, lines, merges, path, &error), PRN_OK);
        char *text = file_text(path);
        assert_string_equal(text, expected);
        prn__free(text);
    }
    remove_path(path);
}

/* ---- a collection of captions ---- */

static const char *const nouns[] = {"letter", "glyph", "symbol", "arrow", "digit", "ideograph", "syllable", "ornament", "bracket", "numeral"};
static const char *const scripts[] = {"greek", "cyrillic", "armenian", "hebrew", "arabic", "thai", "hangul", "cherokee",
                                      "\xE6\xBC\xA2\xE5\xAD\x97", "caf\xC3\xA9"};

static char **make_captions(size_t count)
{
    char **captions = calloc(count, sizeof *captions);
    assert_non_null(captions);
    for (size_t i = 0; i < count; i++) {
        char text[160];
        uint64_t mixed = (i + 1) * 0x9E3779B97F4A7C15u;
        int word = (int)(mixed >> 40) % 30000;
        (void)snprintf(text, sizeof text, "the %s %s %c%c%c%c%s in bold", scripts[(mixed >> 20) % 10], nouns[(mixed >> 30) % 10], 'a' + word % 26,
                       "aeiou"[word / 26 % 5], 'a' + word / 130 % 26, "aeiou"[word / 3380 % 5], word % 3 == 0 ? "stan" : "");
        captions[i] = strdup(text);
        assert_non_null(captions[i]);
    }
    return captions;
}

static void free_captions(char **captions, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(captions[i]);
    }
    free(captions);
}

static void test_large_collection(void **state)
{
    (void)state;
    enum { COUNT = 100000, MERGES = 5000 };
    prn_error error = PRN_ERROR_INIT;
    char **captions = make_captions(COUNT), *path = temporary_path("vocabulary.txt");
    double started = prn__now_s();
    assert_int_equal(learn((const char *const *)captions, COUNT, MERGES, path, &error), PRN_OK);
    double took = prn__now_s() - started;
    print_message("%d captions, %d merges: %.2f s\n", COUNT, MERGES, took);
    assert_true(took < 60); /* with sanitizers on a loaded machine; about a second else */
    char *first = file_text(path), *second;
    assert_int_equal(learn((const char *const *)captions, COUNT, MERGES, path, &error), PRN_OK);
    second = file_text(path);
    assert_string_equal(first, second);
    prn__free(first);
    prn__free(second);

    prn__tokenizer *tokenizer;
    int32_t ids[32];
    assert_int_equal(prn__tokenizer_open(path, 0, &tokenizer, &error), PRN_OK);
    assert_int_equal(prn__tokenizer_vocab_size(tokenizer), 512 + MERGES + 2);
    for (size_t i = 0; i < 10; i++) { /* the words of nearly every caption are one token each */
        assert_int_equal(prn__tokenizer_encode(tokenizer, nouns[i], strlen(nouns[i]), 32, ids), 3);
        assert_int_equal(prn__tokenizer_encode(tokenizer, scripts[i], strlen(scripts[i]), 32, ids), 3);
        char *back = prn__tokenizer_decode(tokenizer, ids, 3);
        assert_string_equal(back, scripts[i]);
        prn__free(back);
    }
    assert_int_equal(prn__tokenizer_encode(tokenizer, "qqq", 3, 32, ids), 5); /* never seen, still encoded */
    prn__tokenizer_close(tokenizer);
    free_captions(captions, COUNT);
    remove_path(path);
}

static void test_order_of_captions_is_no_part_of_the_result(void **state)
{
    (void)state;
    enum { COUNT = 3000 };
    prn_error error = PRN_ERROR_INIT;
    char **captions = make_captions(COUNT), *path = temporary_path("vocabulary.txt");
    assert_int_equal(learn((const char *const *)captions, COUNT, 800, path, &error), PRN_OK);
    char *forth = file_text(path);
    for (size_t i = 0; i < COUNT / 2; i++) {
        char *kept = captions[i];
        captions[i] = captions[COUNT - 1 - i];
        captions[COUNT - 1 - i] = kept;
    }
    assert_int_equal(learn((const char *const *)captions, COUNT, 800, path, &error), PRN_OK);
    char *back = file_text(path);
    assert_string_equal(forth, back);
    prn__free(forth);
    prn__free(back);
    free_captions(captions, COUNT);
    remove_path(path);
}

static void test_what_cannot_be_learned(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    char *path = temporary_path("vocabulary.txt");
    static const char *const captions[] = {"", "a b c", "  ", "<end_of_text> <end_of_text>", "xy"};
    assert_int_equal(learn(captions, 5, 100, path, &error), PRN_INVALID);
    assert_non_null(strstr(error.message, "nothing to learn"));
    assert_int_equal(learn(captions, 0, 100, path, &error), PRN_INVALID);
    assert_int_equal(learn(captions, 5, 0, path, &error), PRN_INVALID);
    assert_int_equal(learn(captions, 5, -3, path, &error), PRN_INVALID);
    assert_non_null(strstr(error.message, "-3 merges"));
    assert_int_equal(learn(captions, 5, INT64_MAX, path, &error), PRN_INVALID);
    assert_false(prn__file_exists(path));
    static const char *const good[] = {"low low"};
    assert_int_equal(learn(good, 1, 10, "/tmp/prn-no-such-folder/vocabulary.txt", &error), PRN_NOT_FOUND);
    assert_non_null(strstr(error.message, "/tmp/prn-no-such-folder"));
    /* pieces too long to be words are left out, the rest is learned */
    char *longer = malloc(100000);
    memset(longer, 'q', 99999);
    longer[99999] = '\0';
    const char *mixed[] = {longer, "low low", longer};
    assert_int_equal(learn(mixed, 3, 100, path, &error), PRN_OK);
    char *text = file_text(path);
    assert_string_equal(text, "#version: 0.2\nl o\nlo w</w>\n");
    prn__free(text);
    free(longer);
    remove_path(path);
}

static void test_no_memory_while_learning(void **state)
{
    (void)state;
    enum { COUNT = 400 };
    char **captions = make_captions(COUNT), *path = temporary_path("vocabulary.txt");
    int64_t live = prn__alloc_live(), failures = 0;
    for (int64_t nth = 1;; nth++) {
        prn_error error = PRN_ERROR_INIT;
        assert_true(nth < 1000);
        prn__alloc_fail_at(nth);
        prn_status status = prn__tokenizer_learn((const char *const *)captions, COUNT, 600, path, &error);
        prn__alloc_fail_at(0);
        assert_int_equal(prn__alloc_live(), live);
        if (status == PRN_OK && prn__file_exists(path)) {
            /* the last allocation of all belongs to syncing the folder, which may fail without harm */
            char *text = file_text(path);
            assert_memory_equal(text, "#version: 0.2\n", 14);
            prn__free(text);
            if (failures > 20) {
                break;
            }
        }
        assert_int_equal(status, PRN_NO_MEMORY);
        assert_non_null(strstr(error.message, "out of memory"));
        assert_false(prn__file_exists(path));
        failures++;
    }
    free_captions(captions, COUNT);
    remove_path(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merges_by_hand),
        cmocka_unit_test(test_equal_to_a_slow_implementation),
        cmocka_unit_test(test_large_collection),
        cmocka_unit_test(test_order_of_captions_is_no_part_of_the_result),
        cmocka_unit_test(test_what_cannot_be_learned),
        cmocka_unit_test(test_no_memory_while_learning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
