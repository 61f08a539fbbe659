/* Vocabulary files: what is read, what is refused and in which words, and memory that runs out while one is read. */
#include "support.h"

#include <zlib.h>

#define GOOD "#version: 0.2\na b\nab c</w>\nc a\n"

static void refuse(const void *bytes, size_t count, prn_status wanted, const char *say)
{
    prn_error error = PRN_ERROR_INIT;
    prn__tokenizer *tokenizer = (prn__tokenizer *)1;
    char *path = temporary_path("vocabulary");
    int64_t live = prn__alloc_live();
    write_bytes(path, bytes, count);
    prn_status status = prn__tokenizer_open(path, 0, &tokenizer, &error);
    if (status != wanted || strstr(error.message, say) == NULL) {
        fail_msg("got %s '%s', wanted %s with '%s'", prn_status_name(status), error.message, prn_status_name(wanted), say);
    }
    assert_int_equal(error.status, wanted);
    assert_ptr_equal(strstr(error.message, path), error.message); /* says where */
    for (const char *c = error.message; *c != '\0'; c++) {
        assert_in_range(*c, 0x20, 0x7E); /* a file's bytes never reach a terminal as they are */
    }
    assert_null(tokenizer);
    assert_int_equal(prn__alloc_live(), live);
    remove_path(path);
}

#define REFUSE(text, status, say) refuse(text, sizeof text - 1, status, say)

static void test_bad_text_files(void **state)
{
    (void)state;
    REFUSE("", PRN_CORRUPT, "the file is empty");
    REFUSE("\n", PRN_CORRUPT, "the first line");
    REFUSE("a b\nc d\n", PRN_CORRUPT, "the first line of a CLIP vocabulary holds '#version'; here it is 'a b'");
    REFUSE("#version: 0.2", PRN_CORRUPT, "no merges");
    REFUSE("#version: 0.2\n", PRN_CORRUPT, "no merges");
    REFUSE("#version: 0.2\n\n", PRN_CORRUPT, "line 2: wants two symbols");
    REFUSE("#version: 0.2\na b\n\nb c\n", PRN_CORRUPT, "line 3: wants two symbols");
    REFUSE("#version: 0.2\nab\n", PRN_CORRUPT, "line 2: wants two symbols with one space between them, has 'ab'");
    REFUSE("#version: 0.2\na \n", PRN_CORRUPT, "line 2: wants two symbols");
    REFUSE("#version: 0.2\n b\n", PRN_CORRUPT, "line 2: wants two symbols");
    REFUSE("#version: 0.2\na  b\n", PRN_CORRUPT, "line 2: wants two symbols");
    REFUSE("#version: 0.2\na b c\n", PRN_CORRUPT, "line 2: wants two symbols");
    REFUSE("#version: 0.2\na b\na b\n", PRN_CORRUPT, "line 3: 'a b' repeats line 2");
    REFUSE("#version: 0.2\na b\nxy b\n", PRN_CORRUPT, "line 3: the left symbol of 'xy b' is made by no line before it");
    REFUSE("#version: 0.2\na b\nb xy</w>\n", PRN_CORRUPT, "line 3: the right symbol of 'b xy</w>'");
    REFUSE("#version: 0.2\na\tb c\n", PRN_CORRUPT, "stands for no byte");
    REFUSE("#version: 0.2\na \0\n", PRN_CORRUPT, "stands for no byte");
    REFUSE("#version: 0.2\na \xFF\xFE\n", PRN_CORRUPT, "stands for no byte");
    REFUSE("#version: 0.2\na \xC5\x84\n", PRN_CORRUPT, "stands for no byte"); /* U+0144: one behind the last */
    REFUSE("#version: 0.2\na \xE7\x8C\xAB\n", PRN_CORRUPT, "stands for no byte");
    REFUSE("\x89PNG\r\n\x1A\n\0\0\0\rIHDR", PRN_CORRUPT, "'?PNG?'");
}

static void test_binary_rubbish(void **state)
{
    (void)state;
    unsigned char bytes[5000];
    uint64_t seed = 9;
    for (int round = 0; round < 200; round++) {
        for (size_t i = 0; i < sizeof bytes; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            bytes[i] = (unsigned char)(seed >> 56);
        }
        if (round % 2 == 0) {
            memcpy(bytes, "#version\n", 9);
        }
        refuse(bytes, sizeof bytes, PRN_CORRUPT, round % 2 == 0 ? "line 2" : "the first line");
    }
}

static void test_missing_file_and_folder(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    prn__tokenizer *tokenizer;
    assert_int_equal(prn__tokenizer_open("/tmp/prn-no-such-folder/vocabulary", 0, &tokenizer, &error), PRN_NOT_FOUND);
    assert_non_null(strstr(error.message, "/tmp/prn-no-such-folder/vocabulary"));
    assert_null(tokenizer);
    assert_int_equal(prn__tokenizer_open("/tmp", 0, &tokenizer, &error), PRN_INVALID);
    assert_int_equal(prn__tokenizer_open("/tmp", -1, &tokenizer, &error), PRN_INVALID);
    assert_non_null(strstr(error.message, "-1 merges"));
    assert_int_equal(prn__tokenizer_open("/tmp", INT64_MAX, &tokenizer, &error), PRN_INVALID);
    assert_int_equal(prn__tokenizer_open("/tmp", INT64_MAX, &tokenizer, NULL), PRN_INVALID);
}

/* ---- gzip ---- */

static size_t pack(const void *bytes, size_t count, unsigned char *packed, size_t room)
{
    z_stream stream = {0};
    assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    stream.next_in = (Bytef *)(uintptr_t)bytes;
    stream.avail_in = (uInt)count;
    stream.next_out = packed;
    stream.avail_out = (uInt)room;
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    (void)deflateEnd(&stream);
    return room - stream.avail_out;
}

static void test_gzip_files(void **state)
{
    (void)state;
    unsigned char packed[1024];
    prn_error error = PRN_ERROR_INIT;
    prn__tokenizer *tokenizer;
    size_t size = pack(GOOD, sizeof GOOD - 1, packed, sizeof packed);
    char *path = temporary_path("vocabulary"); /* known by its content, not by its name */
    write_bytes(path, packed, size);
    assert_int_equal(prn__tokenizer_open(path, 0, &tokenizer, &error), PRN_OK);
    assert_int_equal(prn__tokenizer_vocab_size(tokenizer), 512 + 3 + 2);
    prn__tokenizer_close(tokenizer);
    /* two members are one text */
    size = pack(GOOD, 20, packed, sizeof packed);
    size += pack(GOOD + 20, sizeof GOOD - 21, packed + size, sizeof packed - size);
    write_bytes(path, packed, size);
    assert_int_equal(prn__tokenizer_open(path, 0, &tokenizer, &error), PRN_OK);
    assert_int_equal(prn__tokenizer_vocab_size(tokenizer), 512 + 3 + 2);
    prn__tokenizer_close(tokenizer);
    remove_path(path);
    /* cut anywhere, also inside the checksum at its end */
    size = pack(GOOD, sizeof GOOD - 1, packed, sizeof packed);
    for (size_t cut = 2; cut < size; cut++) {
        refuse(packed, cut, PRN_CORRUPT, "ends too early");
    }
    for (size_t i = 10; i < size; i++) { /* the header's ten bytes hold fields that nothing depends on */
        packed[i] ^= 0x55;
        refuse(packed, size, PRN_CORRUPT, "gzip data");
        packed[i] ^= 0x55;
    }
    packed[size] = 'x';
    refuse(packed, size + 1, PRN_CORRUPT, "gzip data");
}

static void test_gzip_bomb(void **state)
{
    (void)state;
    const size_t size = (size_t)80 << 20, room = 1 << 20;
    unsigned char *packed = malloc(room);
    char *text = calloc(1, size);
    assert_non_null(packed);
    assert_non_null(text);
    memcpy(text, GOOD, sizeof GOOD - 1);
    size_t packed_size = pack(text, size, packed, room);
    free(text);
    assert_true(packed_size < 200000);
    refuse(packed, packed_size, PRN_INVALID, "unpacks to more than the 64 MiB");
    free(packed);
}

/* ---- what is read ---- */

static void test_small_vocabulary(void **state)
{
    (void)state;
    prn__tokenizer *tokenizer = open_text(GOOD);
    int32_t ids[16];
    assert_int_equal(prn__tokenizer_vocab_size(tokenizer), 517);
    /* abc -> "ab" "c</w>" -> "abc</w>" (merge 1); cab -> "ca" is merge 2, "ab" merge 0 comes first but "b" ends the word */
    assert_int_equal(prn__tokenizer_encode(tokenizer, "abc cab", 7, 16, ids), 5);
    assert_int_equal(ids[0], 515);
    assert_int_equal(ids[1], 512 + 1);
    assert_int_equal(ids[2], 512 + 2);
    assert_int_equal(ids[3], 256 + 'b' - 0x21);
    assert_int_equal(ids[4], 516);
    prn__tokenizer_close(tokenizer);
    /* line ends of other systems, no line end at the end */
    tokenizer = open_text("#version: 0.2\r\na b\r\nab c</w>");
    assert_int_equal(prn__tokenizer_vocab_size(tokenizer), 516);
    assert_int_equal(prn__tokenizer_encode(tokenizer, "abc", 3, 16, ids), 3);
    assert_int_equal(ids[1], 513);
    prn__tokenizer_close(tokenizer);
}

static void test_merge_limit(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    prn__tokenizer *tokenizer;
    char *path = temporary_path("vocabulary");
    const char text[] = GOOD "this line is not read\n";
    write_bytes(path, text, sizeof text - 1);
    for (int64_t limit = 1; limit <= 3; limit++) {
        assert_int_equal(prn__tokenizer_open(path, limit, &tokenizer, &error), PRN_OK);
        assert_int_equal(prn__tokenizer_vocab_size(tokenizer), 512 + limit + 2);
        prn__tokenizer_close(tokenizer);
    }
    assert_int_equal(prn__tokenizer_open(path, 4, &tokenizer, &error), PRN_CORRUPT);
    assert_non_null(strstr(error.message, "line 5"));
    remove_path(path);
}

/* The original joins one merge everywhere before it looks for the next, also when the result has an earlier merge; and a symbol that two
 * merges make has the later one's id. */
static void test_order_of_merges(void **state)
{
    (void)state;
    int32_t ids[8];
    /* "ab c ab c x": merge 4 makes both "abc" before merge 3 ("abc ab") is looked for, which then finds nothing */
    prn__tokenizer *tokenizer = open_text("#version\na b\nb c\na bc\nabc ab\nab c\n");
    assert_int_equal(prn__tokenizer_encode(tokenizer, "abcabcx", 7, 8, ids), 5);
    assert_int_equal(ids[1], 516); /* "abc" is made by merges 2 and 4 */
    assert_int_equal(ids[2], 516);
    assert_int_equal(ids[3], 256 + 'x' - 0x21);
    prn__tokenizer_close(tokenizer);
    /* runs join from the left */
    tokenizer = open_text("#version\na a\naa aa\n");
    assert_int_equal(prn__tokenizer_encode(tokenizer, "aaaaaaax", 8, 8, ids), 6);
    assert_int_equal(ids[1], 513);
    assert_int_equal(ids[2], 512);
    assert_int_equal(ids[3], 'a' - 0x21);
    prn__tokenizer_close(tokenizer);
}

static void test_no_memory_while_opening(void **state)
{
    (void)state;
    unsigned char packed[1024];
    size_t size = pack(GOOD, sizeof GOOD - 1, packed, sizeof packed);
    char *path = temporary_path("vocabulary");
    write_bytes(path, packed, size);
    int64_t live = prn__alloc_live(), failures = 0;
    for (int64_t nth = 1;; nth++) {
        prn_error error = PRN_ERROR_INIT;
        prn__tokenizer *tokenizer;
        assert_true(nth < 100);
        prn__alloc_fail_at(nth);
        prn_status status = prn__tokenizer_open(path, 0, &tokenizer, &error);
        prn__alloc_fail_at(0);
        if (status == PRN_OK) {
            prn__tokenizer_close(tokenizer);
            assert_int_equal(prn__alloc_live(), live);
            break;
        }
        assert_int_equal(status, PRN_NO_MEMORY);
        assert_non_null(strstr(error.message, "out of memory"));
        assert_null(tokenizer);
        assert_int_equal(prn__alloc_live(), live);
        failures++;
    }
    assert_true(failures >= 8);
    remove_path(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_text_files),
        cmocka_unit_test(test_binary_rubbish),
        cmocka_unit_test(test_missing_file_and_folder),
        cmocka_unit_test(test_gzip_files),
        cmocka_unit_test(test_gzip_bomb),
        cmocka_unit_test(test_small_vocabulary),
        cmocka_unit_test(test_merge_limit),
        cmocka_unit_test(test_order_of_merges),
        cmocka_unit_test(test_no_memory_while_opening),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
