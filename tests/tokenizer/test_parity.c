/* Ids equal to open_clip's, id by id, for every fixture caption; the captions that need ftfy's encoding repair are the one named difference. */
#include "support.h"

#include <dirent.h>
#include <jansson.h>

#define FIXTURES PRN_SOURCE_DIR "/tests/fixtures/tokenizer"

typedef struct tally {
    int captions, different, files;
} tally;

static void compare_line(const prn__tokenizer *tokenizer, const char *file, int number, const char *line, size_t length, int shows, tally *t)
{
    json_error_t problem;
    json_t *caption = json_loadb(line, length, JSON_REJECT_DUPLICATES, &problem);
    if (caption == NULL) {
        fail_msg("%s:%d: %s", file, number, problem.text);
    }
    const json_t *text = json_object_get(caption, "text"), *wanted = json_object_get(caption, "ids");
    assert_true(json_is_string(text) && json_is_array(wanted));
    int32_t ids[CONTEXT];
    int64_t count = prn__tokenizer_encode(tokenizer, json_string_value(text), json_string_length(text), CONTEXT, ids);
    assert_in_range(count, 2, CONTEXT);
    assert_int_equal(ids[0], START);
    assert_int_equal(ids[count - 1], STOP);
    int differs = (size_t)count != json_array_size(wanted);
    for (int64_t i = 0; i < count && !differs; i++) {
        differs = ids[i] != json_integer_value(json_array_get(wanted, (size_t)i));
    }
    if (differs && shows && t->different < 10) {
        char *shown = json_dumps(caption, JSON_COMPACT);
        print_message("%s:%d: got", file, number);
        for (int64_t i = 0; i < count; i++) {
            print_message(" %d", ids[i]);
        }
        print_message(", wanted %s\n", shown);
        free(shown);
    }
    t->captions++;
    t->different += differs;
    json_decref(caption);
}

/* All files captions-<group>-*.jsonl. */
static tally compare_group(const char *group, int shows)
{
    prn__tokenizer *tokenizer = open_clip_vocabulary();
    tally t = {0};
    char head[64];
    DIR *folder = opendir(FIXTURES);
    assert_non_null(folder);
    (void)snprintf(head, sizeof head, "captions-%s-", group);
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        if (strncmp(entry->d_name, head, strlen(head)) != 0) {
            continue;
        }
        prn_error error = PRN_ERROR_INIT;
        char *path = prn__path_join(FIXTURES, entry->d_name), *data;
        size_t bytes;
        int number = 0;
        assert_int_equal(prn__file_read(path, 1 << 24, &data, &bytes, &error), PRN_OK);
        for (char *line = data, *end; (end = memchr(line, '\n', bytes - (size_t)(line - data))) != NULL; line = end + 1) {
            compare_line(tokenizer, entry->d_name, ++number, line, (size_t)(end - line), shows, &t);
        }
        t.files++;
        prn__free(data);
        prn__free(path);
    }
    (void)closedir(folder);
    prn__tokenizer_close(tokenizer);
    return t;
}

static void test_plain_and_normalised_captions_are_equal(void **state)
{
    (void)state;
    tally plain = compare_group("plain", 1), normalise = compare_group("normalise", 1);
    print_message("plain: %d captions, %d differ; normalise: %d captions, %d differ\n", plain.captions, plain.different, normalise.captions,
                  normalise.different);
    assert_int_equal(plain.files, 6);
    assert_int_equal(normalise.files, 1);
    assert_true(plain.captions + normalise.captions > 5000);
    assert_true(normalise.captions > 1000);
    assert_int_equal(plain.different, 0);
    assert_int_equal(normalise.different, 0);
}

/* The notes: this group is exactly the captions whose ids ftfy's encoding repair changes, and it is left out here. Should one become
 * equal, the group no longer says what the notes say. */
static void test_mojibake_is_the_named_difference(void **state)
{
    (void)state;
    tally mojibake = compare_group("mojibake", 0);
    assert_int_equal(mojibake.files, 1);
    assert_int_equal(mojibake.captions, 62);
    assert_int_equal(mojibake.different, 62);
}

static void test_vocabulary_size(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    prn__tokenizer *tokenizer = open_clip_vocabulary();
    assert_int_equal(prn__tokenizer_vocab_size(tokenizer), 49408);
    prn__tokenizer_close(tokenizer);
    /* a limit replaces CLIP's rule, up to what the file has */
    assert_int_equal(prn__tokenizer_open(CLIP_VOCABULARY, 1000, &tokenizer, &error), PRN_OK);
    assert_int_equal(prn__tokenizer_vocab_size(tokenizer), 512 + 1000 + 2);
    prn__tokenizer_close(tokenizer);
    assert_int_equal(prn__tokenizer_open(CLIP_VOCABULARY, 10000000, &tokenizer, &error), PRN_OK);
    assert_int_equal(prn__tokenizer_vocab_size(tokenizer), 512 + 262144 + 2);
    prn__tokenizer_close(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vocabulary_size),
        cmocka_unit_test(test_plain_and_normalised_captions_are_equal),
        cmocka_unit_test(test_mojibake_is_the_named_difference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
