/* A folder with a stream's manifest, where recipes are written and loaded. */
#ifndef TESTS_RECIPE_SUPPORT_H
#define TESTS_RECIPE_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "recipe/recipe_host.h"

typedef struct bench {
    char folder[64];
    char recipe[96];
    prn__pool *pool;
    prn__registry *registry;
    int64_t instruction_limit; /* 0: the usual one */
} bench;

static inline void write_text(const char *folder, const char *name, const char *text)
{
    prn_error error = PRN_ERROR_INIT;
    char *path = prn__path_join(folder, name);
    assert_non_null(path);
    if (prn__file_write_atomic(path, text, strlen(text), &error) != PRN_OK) {
        fail_msg("%s", error.message);
    }
    prn__free(path);
}

static const char STREAM_TEXT[] =
    "stream: tiny\n"
    "steps:\n"
    "  - name: \"2016\"\n"
    "    train: { shards: \"train/2016-{0..1}.tar\", samples: 1000 }\n"
    "    evaluations:\n"
    "      - { name: retrieval, kind: retrieval, shards: \"eval/2016.tar\" }\n"
    "  - name: \"2017\"\n"
    "    train: { shards: \"train/2017-{0..1}.tar\", samples: 3000 }\n"
    "    evaluations:\n"
    "      - { name: retrieval, kind: retrieval, shards: \"eval/2017.tar\" }\n"
    "  - name: \"2018\"\n"
    "    train: { shards: \"train/2018-{0..1}.tar\", samples: 2000 }\n"
    "    evaluations:\n"
    "      - { name: retrieval, kind: retrieval, shards: \"eval/2018.tar\" }\n";

static inline int bench_setup(void **state)
{
    static bench b;
    prn_error error = PRN_ERROR_INIT;
    (void)snprintf(b.folder, sizeof b.folder, "/tmp/prn-recipe-XXXXXX");
    if (mkdtemp(b.folder) == NULL) {
        return -1;
    }
    (void)snprintf(b.recipe, sizeof b.recipe, "%s/r.lua", b.folder);
    if (prn__pool_create(1, NULL, &b.pool, &error) != PRN_OK ||
        prn__registry_create(b.pool, PRN_BUILD_DIR "/plugins", &b.registry, &error) != PRN_OK) {
        print_error("%s\n", error.message);
        return -1;
    }
    write_text(b.folder, "stream.yaml", STREAM_TEXT);
    *state = &b;
    return 0;
}

static inline int bench_teardown(void **state)
{
    bench *b = *state;
    char command[128];
    prn__registry_destroy(b->registry);
    prn__pool_destroy(b->pool);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", b->folder);
    return system(command);
}

static inline prn_status load_with(bench *b, const char *text, const prn__option_pair *pairs, size_t count, prn__recipe **recipe, prn_error *error)
{
    const prn__recipe_settings settings = {.library = PRN_SOURCE_DIR "/lua", .settings = pairs, .setting_count = count,
                                            .instruction_limit = b->instruction_limit};
    write_text(b->folder, "r.lua", text);
    return prn__recipe_load(b->recipe, &settings, b->registry, recipe, error);
}

static inline prn__recipe *load(bench *b, const char *text)
{
    prn_error error = PRN_ERROR_INIT;
    prn__recipe *recipe = NULL;
    if (load_with(b, text, NULL, 0, &recipe, &error) != PRN_OK) {
        fail_msg("%s", error.message);
    }
    return recipe;
}

/* The recipe is refused, at this line (0: no line), with all of these words (up to NULL). */
static inline void refused_with(bench *b, const char *text, const prn__option_pair *pairs, size_t count, int line, ...)
{
    prn_error error = PRN_ERROR_INIT;
    prn__recipe *recipe = NULL;
    char place[128];
    va_list words;
    int64_t before = prn__alloc_live();
    prn_status status = load_with(b, text, pairs, count, &recipe, &error);
    if (status == PRN_OK) {
        prn__recipe_destroy(recipe);
        fail_msg("accepted: %s", text);
    }
    assert_null(recipe);
    assert_int_equal(prn__alloc_live(), before);
    assert_int_equal(error.status, status);
    if (line > 0) {
        (void)snprintf(place, sizeof place, "%s:%d: ", b->recipe, line);
        if (strstr(error.message, place) == NULL) {
            fail_msg("'%s' lacks '%s'", error.message, place);
        }
    }
    va_start(words, line);
    for (const char *word; (word = va_arg(words, const char *)) != NULL;) {
        if (strstr(error.message, word) == NULL) {
            fail_msg("'%s' lacks '%s'", error.message, word);
        }
    }
    va_end(words);
}

#define refused(b, text, ...) refused_with(b, text, NULL, 0, __VA_ARGS__, (const char *)NULL)
#define refused_set(b, text, key, value, ...) \
    refused_with(b, text, &(const prn__option_pair){key, value}, 1, 0, "--set " key "=" value, __VA_ARGS__, (const char *)NULL)

#endif
