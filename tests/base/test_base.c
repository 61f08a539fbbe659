/* The base room: memory, text, hashing, random numbers, files, the thread pool. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/pool.h"
#include "base/rng.h"
#include "base/text.h"

static void test_blocks_are_zero_aligned_and_counted(void **state)
{
    (void)state;
    int64_t before = prn__alloc_live();
    unsigned char *block = prn__alloc(100);
    assert_non_null(block);
    assert_int_equal((uintptr_t)block % 64, 0);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(block[i], 0);
        block[i] = (unsigned char)i;
    }
    block = prn__realloc(block, 5000);
    assert_non_null(block);
    assert_int_equal(block[99], 99);
    assert_int_equal(block[100], 0);
    assert_int_equal(block[4999], 0);
    assert_int_equal(prn__alloc_live(), before + 1);
    prn__free(block);
    assert_int_equal(prn__alloc_live(), before);
    assert_null(prn__alloc_array(SIZE_MAX / 2, 3));
    prn__alloc_fail_at(2);
    void *first = prn__alloc(1);
    assert_non_null(first);
    assert_null(prn__alloc(1));
    void *third = prn__alloc(1);
    assert_non_null(third);
    prn__free(first);
    prn__free(third);
}

static void test_arena(void **state)
{
    (void)state;
    prn__arena arena;
    int64_t before = prn__alloc_live();
    prn__arena_init(&arena, 512);
    for (int i = 0; i < 200; i++) {
        char *text = prn__arena_printf(&arena, "item %d", i);
        assert_non_null(text);
        assert_int_equal(atoi(text + 5), i);
    }
    assert_non_null(prn__arena_alloc(&arena, 100000));
    assert_null(prn__arena_alloc(&arena, SIZE_MAX - 4));
    prn__arena_fini(&arena);
    assert_int_equal(prn__alloc_live(), before);
}

static void test_suggestions(void **state)
{
    (void)state;
    const char *names[] = {"sequential", "cumulative", "oracle"};
    assert_string_equal(prn__suggest("sequental", names, 3), "sequential");
    assert_string_equal(prn__suggest("cumul", names, 3), "cumulative");
    assert_string_equal(prn__suggest("oralce", names, 3), "oracle");
    assert_null(prn__suggest("banana", names, 3));
    char target[64];
    assert_string_equal(prn__suggest_text("orakle", names, 3, target, sizeof target), " (did you mean 'oracle'?)");
    assert_string_equal(prn__suggest_text("zzz", names, 3, target, sizeof target), "");
}

static prn_status collect(void *context, const char *item, prn_error *error)
{
    (void)error;
    prn__text_printf(context, "%s;", item);
    return PRN_OK;
}

static void test_braces(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *want;
    } cases[] = {
        {"plain.tar", "plain.tar;"},
        {"a-{08..11}.tar", "a-08.tar;a-09.tar;a-10.tar;a-11.tar;"},
        {"{1..3}", "1;2;3;"},
        {"{8..11}", "8;9;10;11;"},
        {"{x,y}/{0..1}.tar", "x/0.tar;x/1.tar;y/0.tar;y/1.tar;"},
        {"{a,}b", "ab;b;"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        prn__text text;
        prn_error error = PRN_ERROR_INIT;
        prn__text_init(&text);
        assert_int_equal(prn__brace_expand(cases[i].pattern, 100, collect, &text, &error), PRN_OK);
        assert_string_equal(text.data, cases[i].want);
        prn__text_fini(&text);
    }
    static const char *const bad[] = {"{0..9", "{a..c}", "{9..0}", "{0..100}", "{0..99999999999999999999}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        prn__text text;
        prn_error error = PRN_ERROR_INIT;
        prn__text_init(&text);
        assert_int_equal(prn__brace_expand(bad[i], 100, collect, &text, &error), PRN_INVALID);
        assert_non_null(strstr(error.message, bad[i]));
        prn__text_fini(&text);
    }
}

static void test_units(void **state)
{
    (void)state;
    char target[64];
    assert_string_equal(prn__format_si(151277313, target, sizeof target), "151 M");
    assert_string_equal(prn__format_si(7, target, sizeof target), "7");
    assert_string_equal(prn__format_si(3.79e18, target, sizeof target), "3.79 E");
    assert_string_equal(prn__format_duration(200, target, sizeof target), "3 min 20 s");
    assert_string_equal(prn__format_duration(7260, target, sizeof target), "2 h 01 min");
    assert_string_equal(prn__format_duration(NAN, target, sizeof target), "?");
}

static void test_hash(void **state)
{
    (void)state;
    char text[33];
    /* XXH3-128 of no bytes, from the algorithm's published test values */
    prn__digest_format(prn__hash_bytes("", 0), text);
    assert_string_equal(text, "99aa06d3014798d86001c324468d497f");
    prn__hasher *a = prn__hasher_create(), *b = prn__hasher_create();
    prn__hasher_field(a, "ab", "c");
    prn__hasher_field(b, "a", "bc");
    prn__digest x = prn__hasher_digest(a), y = prn__hasher_digest(b);
    assert_true(x.high != y.high || x.low != y.low);
    prn__hasher_destroy(a);
    prn__hasher_destroy(b);
    prn_error error = PRN_ERROR_INIT;
    assert_int_equal(prn__hash_file("/nonexistent/file", &x, &error), PRN_NOT_FOUND);
    assert_non_null(strstr(error.message, "/nonexistent/file"));
}

static void test_permutations_are_bijections(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {1, 2, 3, 4, 5, 16, 17, 100, 1000, 4097};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        uint64_t size = sizes[s];
        unsigned char *seen = calloc(size, 1);
        for (uint64_t i = 0; i < size; i++) {
            uint64_t e = prn__permute(77 + s, size, i);
            assert_true(e < size);
            assert_int_equal(seen[e], 0);
            seen[e] = 1;
            assert_true(prn__permute_inverse(77 + s, size, e) == i);
        }
        free(seen);
    }
    uint64_t huge = 12700000000u;
    for (uint64_t i = 0; i < 1000; i++) {
        uint64_t position = i * 12345678 % huge, e = prn__permute(5, huge, position);
        assert_true(e < huge);
        assert_true(prn__permute_inverse(5, huge, e) == position);
    }
}

static void test_random_numbers(void **state)
{
    (void)state;
    enum { N = 200000 };
    double sum = 0, square = 0, uniform = 0;
    int64_t counts[7] = {0};
    for (uint64_t i = 0; i < N; i++) {
        double x = prn__rng_normal(1, PRN__RNG_INIT, 3, i);
        sum += x;
        square += x * x;
        uniform += prn__rng_uniform(1, PRN__RNG_CROP, 3, i);
        counts[prn__rng_below(9, PRN__RNG_MIX, i, 0, 7)]++;
    }
    assert_true(fabs(sum / N) < 0.01);
    assert_true(fabs(square / N - 1) < 0.02);
    assert_true(fabs(uniform / N - 0.5) < 0.005);
    for (int i = 0; i < 7; i++) {
        assert_true(fabs((double)counts[i] / N - 1.0 / 7) < 0.005);
    }
    assert_true(prn__rng_u64(1, PRN__RNG_INIT, 2, 3) != prn__rng_u64(1, PRN__RNG_INIT, 3, 2));
    assert_true(prn__rng_u64(1, PRN__RNG_INIT, 2, 3) != prn__rng_u64(1, PRN__RNG_CROP, 2, 3));
}

typedef struct loop {
    _Atomic int64_t hits[5000];
    _Atomic int bad_worker;
    uint32_t threads;
} loop;

static void loop_task(void *context, int64_t index, uint32_t worker)
{
    loop *l = context;
    atomic_fetch_add(&l->hits[index], 1);
    if (worker >= l->threads) {
        atomic_store(&l->bad_worker, 1);
    }
}

/* Runs to its end only when those below it do. */
static void chain_task(void *context, int64_t index, uint32_t worker)
{
    _Atomic int64_t *done = context;
    (void)worker;
    while (atomic_load(done) != index) {
        (void)sched_yield();
    }
    atomic_store(done, index + 1);
}

static void test_pool(void **state)
{
    (void)state;
    static const uint32_t threads[] = {1, 2, 3, 8};
    int64_t before = prn__alloc_live();
    for (size_t t = 0; t < 4; t++) {
        prn_error error = PRN_ERROR_INIT;
        prn__pool *pool;
        assert_int_equal(prn__pool_create(threads[t], NULL, &pool, &error), PRN_OK);
        assert_int_equal(prn__pool_threads(pool), threads[t]);
        loop *l = calloc(1, sizeof *l);
        l->threads = threads[t];
        for (int round = 0; round < 300; round++) {
            prn__pool_for(pool, round % 40, loop_task, l);
        }
        prn__pool_for(pool, 5000, loop_task, l);
        prn__pool_for(pool, 0, loop_task, l);
        for (int round = 0; round < 20; round++) {
            _Atomic int64_t done = 0;
            prn__pool_for(pool, 50 + round, chain_task, &done);
            assert_int_equal(done, 50 + round);
        }
        for (int64_t i = 0; i < 5000; i++) {
            int64_t want = 1;
            for (int round = 0; round < 300; round++) {
                want += i < round % 40;
            }
            assert_int_equal(l->hits[i], want);
        }
        assert_int_equal(l->bad_worker, 0);
        free(l);
        prn__pool_destroy(pool);
    }
    assert_int_equal(prn__alloc_live(), before);
}

static void test_files(void **state)
{
    (void)state;
    char folder[] = "/tmp/perennial-base-XXXXXX";
    prn_error error = PRN_ERROR_INIT;
    assert_non_null(mkdtemp(folder));
    char *deep = prn__path_join(folder, "a/b/c");
    assert_int_equal(prn__folder_create(deep, &error), PRN_OK);
    assert_int_equal(prn__folder_create(deep, &error), PRN_OK);
    char *path = prn__path_join(deep, "file");
    assert_int_equal(prn__file_write_atomic(path, "hello", 5, &error), PRN_OK);
    char *data;
    size_t bytes;
    assert_int_equal(prn__file_read(path, 100, &data, &bytes, &error), PRN_OK);
    assert_int_equal(bytes, 5);
    assert_string_equal(data, "hello");
    prn__free(data);
    assert_int_equal(prn__file_read(path, 4, &data, &bytes, &error), PRN_INVALID);
    assert_non_null(strstr(error.message, path));

    /* an aborted write leaves the old content and no temporary file */
    prn__writer *writer;
    assert_int_equal(prn__writer_open(path, &writer, &error), PRN_OK);
    assert_int_equal(prn__writer_write(writer, "other", 5, &error), PRN_OK);
    prn__writer_abort(writer);
    prn__map map;
    assert_int_equal(prn__map_open(path, &map, &error), PRN_OK);
    assert_int_equal(map.bytes, 5);
    assert_memory_equal(map.data, "hello", 5);
    prn__map_close(&map);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(deep), 0); /* fails when a temporary file is left */

    assert_int_equal(prn__map_open(folder, &map, &error), PRN_INVALID);
    assert_int_equal(prn__map_open("/nonexistent", &map, &error), PRN_NOT_FOUND);
    assert_int_equal(prn__file_bytes("/nonexistent"), -1);
    char *joined = prn__path_join("x/", "/abs");
    assert_string_equal(joined, "/abs");
    prn__free(joined);
    joined = prn__path_folder("file");
    assert_string_equal(joined, ".");
    prn__free(joined);
    char *up = prn__path_join(folder, "a/b");
    assert_int_equal(rmdir(up), 0);
    prn__free(up);
    up = prn__path_join(folder, "a");
    assert_int_equal(rmdir(up), 0);
    prn__free(up);
    assert_int_equal(rmdir(folder), 0);
    prn__free(deep);
    prn__free(path);
}

static void test_full_disk_is_a_clear_error(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    prn__writer *writer;
    if (access("/dev/full", W_OK) != 0) {
        print_message("skipped: no /dev/full here\n");
        return;
    }
    /* /dev/full stands for a full disk: every write to it fails with ENOSPC. The temporary name is a link to it. */
    char folder[] = "/tmp/perennial-full-XXXXXX", link_path[128], path[96];
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/out", folder);
    (void)snprintf(link_path, sizeof link_path, "%s.tmp-%ld", path, (long)getpid());
    assert_int_equal(symlink("/dev/full", link_path), 0);
    assert_int_equal(prn__writer_open(path, &writer, &error), PRN_OK);
    assert_int_equal(prn__writer_write(writer, "x", 1, &error), PRN_IO);
    assert_non_null(strstr(error.message, "free some space"));
    prn__writer_abort(writer);
    assert_int_equal(prn__file_exists(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

static void count_record(void *context, prn_log_level level, const char *message)
{
    int *count = context;
    *count += level == PRN_LOG_WARNING && strcmp(message, "shard 7 is short") == 0;
}

static void test_log(void **state)
{
    (void)state;
    int count = 0;
    prn__log(PRN_LOG_WARNING, "shard %d is short", 7);
    prn__log_set_sink(count_record, &count);
    prn__log(PRN_LOG_WARNING, "shard %d is short", 7);
    prn__log_set_sink(NULL, NULL);
    prn__log(PRN_LOG_WARNING, "shard %d is short", 7);
    assert_int_equal(count, 1);
}

static void test_errors(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    assert_int_equal(prn_error_set(&error, PRN_CORRUPT, "byte %d", 9), PRN_CORRUPT);
    assert_int_equal(prn_error_context(&error, PRN_CORRUPT, "shard %s", "a.tar"), PRN_CORRUPT);
    assert_string_equal(error.message, "shard a.tar: byte 9");
    assert_string_equal(prn_status_name(PRN_CORRUPT), "CORRUPT");
    assert_string_equal(prn_status_text(PRN_NOT_FOUND), "not found");
    assert_int_equal(prn_error_set(NULL, PRN_IO, "dropped"), PRN_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks_are_zero_aligned_and_counted),
        cmocka_unit_test(test_arena),
        cmocka_unit_test(test_suggestions),
        cmocka_unit_test(test_braces),
        cmocka_unit_test(test_units),
        cmocka_unit_test(test_hash),
        cmocka_unit_test(test_permutations_are_bijections),
        cmocka_unit_test(test_random_numbers),
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_full_disk_is_a_clear_error),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
