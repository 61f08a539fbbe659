/* tests/tokenizer/support.h: the CLIP vocabulary, small vocabularies and temporary folders for the tokenizer's tests. */
#ifndef TESTS_TOKENIZER_SUPPORT_H
#define TESTS_TOKENIZER_SUPPORT_H

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
#include "base/memory.h"
#include "data/tokenizer.h"

#define CLIP_VOCABULARY PRN_SOURCE_DIR "/build/assets/bpe_simple_vocab_16e6.txt.gz"

enum { START = 49406, STOP = 49407, CONTEXT = 77 };

/* The original vocabulary; a failure, not a skip, when it is not there: parity is what this room promises. */
static inline prn__tokenizer *open_clip_vocabulary(void)
{
    prn_error error = PRN_ERROR_INIT;
    prn__tokenizer *tokenizer = NULL;
    if (!prn__file_exists(CLIP_VOCABULARY)) {
        fail_msg("%s is not there. Run ./check, or: tools/fetch-clip-vocabulary build/assets/bpe_simple_vocab_16e6.txt.gz", CLIP_VOCABULARY);
    }
    if (prn__tokenizer_open(CLIP_VOCABULARY, 0, &tokenizer, &error) != PRN_OK) {
        fail_msg("%s", error.message);
    }
    return tokenizer;
}

/* A path in a fresh folder; remove_folder removes both. */
static inline char *temporary_path(const char *name)
{
    char folder[] = "/tmp/prn-tokenizer-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char *path = malloc(sizeof folder + strlen(name) + 1);
    assert_non_null(path);
    (void)sprintf(path, "%s/%s", folder, name);
    return path;
}

static inline void remove_path(char *path)
{
    (void)unlink(path);
    *strrchr(path, '/') = '\0';
    assert_int_equal(rmdir(path), 0); /* nothing else was left behind */
    free(path);
}

static inline void write_bytes(const char *path, const void *bytes, size_t count)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    assert_int_equal(fclose(file), 0);
}

static inline prn__tokenizer *open_text(const char *vocabulary)
{
    prn_error error = PRN_ERROR_INIT;
    prn__tokenizer *tokenizer = NULL;
    char *path = temporary_path("vocabulary.txt");
    write_bytes(path, vocabulary, strlen(vocabulary));
    if (prn__tokenizer_open(path, 0, &tokenizer, &error) != PRN_OK) {
        fail_msg("%s", error.message);
    }
    remove_path(path);
    return tokenizer;
}

/* Encodes text of `length` bytes and compares all ids, printing both sides when they differ. */
static inline void assert_ids(const prn__tokenizer *tokenizer, const char *text, size_t length, int64_t context, const int32_t *wanted, int64_t count)
{
    int32_t *ids = calloc((size_t)context + 1, sizeof *ids);
    assert_non_null(ids);
    ids[context] = -77; /* must stay */
    int64_t got = prn__tokenizer_encode(tokenizer, text, length, context, ids);
    if (got != count || memcmp(ids, wanted, (size_t)count * sizeof *ids) != 0) {
        print_message("text '%.*s'\n  got   ", (int)length, text);
        for (int64_t i = 0; i < got; i++) {
            print_message(" %d", ids[i]);
        }
        print_message("\n  wanted");
        for (int64_t i = 0; i < count; i++) {
            print_message(" %d", wanted[i]);
        }
        print_message("\n");
        fail();
    }
    assert_int_equal(ids[context], -77);
    free(ids);
}

#define ASSERT_IDS(tokenizer, text, ...)                                                                     \
    do {                                                                                                     \
        const int32_t wanted_[] = {START, __VA_ARGS__};                                                      \
        assert_ids(tokenizer, text, sizeof text - 1, CONTEXT, wanted_, (int64_t)(sizeof wanted_ / sizeof wanted_[0])); \
    } while (0)

#endif
