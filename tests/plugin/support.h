/* tests/plugin/support.h: folders of plugins made for a test. They live until the program ends: the loader knows libraries by their
 * inode, so a file must not take the place of one that was loaded before. */
#ifndef PRN_TESTS_PLUGIN_SUPPORT_H
#define PRN_TESTS_PLUGIN_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "plugin/registry.h"

#define FIXTURES PRN_BUILD_DIR "/tests/fixture-plugins/"

static char workplace[64];
static int folder_count;
static prn__pool *pool;

typedef struct path {
    char text[512];
} path;

static inline path folder_make(void)
{
    path p;
    (void)snprintf(p.text, sizeof p.text, "%s/%d", workplace, folder_count++);
    assert_int_equal(mkdir(p.text, 0755), 0);
    assert_int_equal(chmod(p.text, 0755), 0);
    return p;
}

static inline path in_folder(path folder, const char *name)
{
    path p;
    assert_true(snprintf(p.text, sizeof p.text, "%.300s/%.200s", folder.text, name) < (int)sizeof p.text);
    return p;
}

static inline path file_write(path folder, const char *name, const void *data, size_t bytes)
{
    path p = in_folder(folder, name);
    FILE *file = fopen(p.text, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(p.text, 0644), 0);
    return p;
}

/* The bytes of fixture `name`; freed with prn__free. */
static inline char *fixture_read(const char *name, size_t *bytes)
{
    prn_error error = PRN_ERROR_INIT;
    char from[512], *data = NULL;
    (void)snprintf(from, sizeof from, FIXTURES "%s.so", name);
    if (prn__file_read(from, 1 << 26, &data, bytes, &error) != PRN_OK) {
        fail_msg("%s", error.message);
    }
    return data;
}

static inline path fixture_copy(path folder, const char *name, const char *as)
{
    size_t bytes;
    char *data = fixture_read(name, &bytes);
    path p = file_write(folder, as, data, bytes);
    prn__free(data);
    return p;
}

static inline prn__registry *open_registry(const char *paths)
{
    prn_error error = PRN_ERROR_INIT;
    prn__registry *registry = NULL;
    if (prn__registry_create(pool, paths, &registry, &error) != PRN_OK) {
        fail_msg("%s", error.message);
    }
    return registry;
}

/* The entry whose path ends in `ending`, or NULL. */
static inline const prn__plugin_entry *entry_of(const prn__registry *registry, const char *ending)
{
    for (size_t i = 0; i < prn__registry_count(registry); i++) {
        const prn__plugin_entry *e = prn__registry_entry(registry, i);
        const size_t length = strlen(e->path), wanted = strlen(ending);
        if (length >= wanted && strcmp(e->path + length - wanted, ending) == 0) {
            return e;
        }
    }
    return NULL;
}

static inline void assert_loaded(const prn__registry *registry, const char *ending)
{
    const prn__plugin_entry *e = entry_of(registry, ending);
    if (e == NULL) {
        fail_msg("%s is not in the registry at all", ending);
    }
    if (e->plugin == NULL) {
        fail_msg("%s was refused: %s", ending, e->reason);
    }
    assert_null(e->reason);
}

static inline void assert_refused(const prn__registry *registry, const char *ending, const char *reason)
{
    const prn__plugin_entry *e = entry_of(registry, ending);
    if (e == NULL) {
        fail_msg("%s is not in the registry at all", ending);
    }
    if (e->plugin != NULL) {
        fail_msg("%s was loaded, but should be refused for '%s'", ending, reason);
    }
    assert_non_null(e->reason);
    if (strstr(e->reason, reason) == NULL) {
        fail_msg("%s was refused for '%s', not for '%s'", ending, e->reason, reason);
    }
    if (strstr(e->reason, e->path) == NULL) {
        fail_msg("the reason does not say which file: %s", e->reason);
    }
}

static inline int has_strategy(prn__registry *registry, const char *name)
{
    prn_error error = PRN_ERROR_INIT;
    const prn_strategy *strategy = NULL;
    return prn__registry_strategy(registry, name, &strategy, NULL, &error) == PRN_OK;
}

static inline int remove_one(const char *name, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(name);
}

static inline int group_setup(void **state)
{
    prn_error error = PRN_ERROR_INIT;
    (void)state;
    (void)snprintf(workplace, sizeof workplace, "/tmp/perennial-plugins.XXXXXX");
    (void)unsetenv("PERENNIAL_PLUGIN_PATH");
    return mkdtemp(workplace) != NULL && prn__pool_create(1, NULL, &pool, &error) == PRN_OK ? 0 : -1;
}

static inline int group_teardown(void **state)
{
    (void)state;
    prn__pool_destroy(pool);
    return nftw(workplace, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
