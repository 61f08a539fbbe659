/* The sampler: every sample exactly once an epoch, a pure function of (seed, position), in constant memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "data/sampler.h"

static void check_epochs(const int64_t *sizes, int64_t shards, int64_t window, int shuffle, uint64_t seed)
{
    prn_error error = PRN_ERROR_INIT;
    prn__sampler_config config = {.shard_samples = sizes, .shard_count = shards, .seed = seed, .window = window, .shuffle = shuffle};
    prn__sampler *sampler;
    assert_int_equal(prn__sampler_create(&config, &sampler, &error), PRN_OK);
    int64_t total = prn__sampler_samples(sampler), most = 0;
    for (int64_t i = 0; i < shards; i++) {
        most = sizes[i] > most ? sizes[i] : most;
    }
    unsigned char *seen = calloc((size_t)(shards * most), 1);
    for (int epoch = 0; epoch < 3; epoch++) {
        for (int64_t p = 0; p < total; p++) {
            int64_t shard, index;
            prn__sampler_at(sampler, (uint64_t)(epoch * total + p), &shard, &index);
            assert_in_range(shard, 0, shards - 1);
            assert_true(index >= 0 && index < sizes[shard]);
            assert_int_equal(seen[shard * most + index], epoch);
            seen[shard * most + index]++;
        }
    }
    free(seen);
    prn__sampler_destroy(sampler);
}

static void test_exactly_once(void **state)
{
    (void)state;
    static const int64_t sizes[] = {5, 0, 17, 1, 0, 0, 9, 30, 2, 2, 8, 0};
    static const int64_t windows[] = {0, 1, 2, 3, 5, 12, 100};
    for (int64_t shards = 1; shards <= 12; shards++) {
        for (size_t w = 0; w < sizeof windows / sizeof windows[0]; w++) {
            check_epochs(sizes, shards, windows[w], 1, 7 + w);
            check_epochs(sizes, shards, windows[w], 0, 7);
        }
    }
}

static void test_order_is_pure(void **state)
{
    (void)state;
    static const int64_t sizes[] = {100, 50, 75, 25};
    prn_error error = PRN_ERROR_INIT;
    prn__sampler_config config = {.shard_samples = sizes, .shard_count = 4, .seed = 3, .window = 2, .shuffle = 1};
    prn__sampler *forward, *backward, *other;
    assert_int_equal(prn__sampler_create(&config, &forward, &error), PRN_OK);
    assert_int_equal(prn__sampler_create(&config, &backward, &error), PRN_OK);
    config.seed = 4;
    assert_int_equal(prn__sampler_create(&config, &other, &error), PRN_OK);
    int64_t order[1000][2], same = 0;
    for (uint64_t p = 0; p < 1000; p++) {
        prn__sampler_at(forward, p, &order[p][0], &order[p][1]);
    }
    for (uint64_t p = 1000; p-- > 0;) {
        int64_t shard, index;
        prn__sampler_at(backward, p, &shard, &index);
        assert_int_equal(shard, order[p][0]);
        assert_int_equal(index, order[p][1]);
        prn__sampler_at(other, p, &shard, &index);
        same += shard == order[p][0] && index == order[p][1];
    }
    assert_true(same < 50); /* another seed is another order */
    int64_t repeated = 0;
    for (int p = 0; p < 250; p++) {
        repeated += order[p][0] == order[p + 250][0] && order[p][1] == order[p + 250][1];
    }
    assert_true(repeated < 50); /* and so is another epoch */
    prn__sampler_destroy(forward);
    prn__sampler_destroy(backward);
    prn__sampler_destroy(other);
}

static void test_unshuffled_is_in_order(void **state)
{
    (void)state;
    static const int64_t sizes[] = {3, 2, 4};
    prn_error error = PRN_ERROR_INIT;
    prn__sampler_config config = {.shard_samples = sizes, .shard_count = 3};
    prn__sampler *sampler;
    assert_int_equal(prn__sampler_create(&config, &sampler, &error), PRN_OK);
    static const int want[9][2] = {{0, 0}, {0, 1}, {0, 2}, {1, 0}, {1, 1}, {2, 0}, {2, 1}, {2, 2}, {2, 3}};
    for (uint64_t p = 0; p < 18; p++) {
        int64_t shard, index;
        prn__sampler_at(sampler, p, &shard, &index);
        assert_int_equal(shard, want[p % 9][0]);
        assert_int_equal(index, want[p % 9][1]);
    }
    prn__sampler_destroy(sampler);
}

/* 12.7 billion samples in 1.3 million shards: nothing is held, whatever is drawn. */
static void test_huge_in_constant_memory(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    int64_t before = prn__alloc_live();
    prn__sampler_config config = {.shard_count = 1300000, .uniform_samples = 9770, .seed = 11, .window = 64, .shuffle = 1};
    prn__sampler *sampler;
    assert_int_equal(prn__sampler_create(&config, &sampler, &error), PRN_OK);
    assert_int_equal(prn__sampler_samples(sampler), 12701000000);
    assert_int_equal(prn__alloc_live(), before + 1); /* the sampler itself */
    int64_t first_shard = -1, changes = 0;
    for (uint64_t p = 0; p < 100000; p++) {
        int64_t shard, index;
        prn__sampler_at(sampler, p * 126000, &shard, &index);
        assert_true(shard >= 0 && shard < 1300000 && index >= 0 && index < 9770);
        changes += shard != first_shard;
        first_shard = shard;
    }
    assert_true(changes > 90000);
    /* inside one window every sample comes exactly once */
    size_t window = 64 * 9770;
    unsigned char *seen = calloc(1300000, 2);
    uint16_t *per_shard = (uint16_t *)(void *)seen;
    for (uint64_t p = 0; p < window; p++) {
        int64_t shard, index;
        prn__sampler_at(sampler, p, &shard, &index);
        per_shard[shard]++;
    }
    int64_t shards = 0;
    for (int64_t i = 0; i < 1300000; i++) {
        assert_true(per_shard[i] == 0 || per_shard[i] == 9770);
        shards += per_shard[i] != 0;
    }
    assert_int_equal(shards, 64);
    free(seen);
    prn__sampler_destroy(sampler);
    assert_int_equal(prn__alloc_live(), before);
}

static void test_with_replacement(void **state)
{
    (void)state;
    static const int64_t sizes[] = {10, 0, 30};
    prn_error error = PRN_ERROR_INIT;
    prn__sampler_config config = {.shard_samples = sizes, .shard_count = 3, .seed = 5, .shuffle = 1, .with_replacement = 1};
    prn__sampler *sampler;
    assert_int_equal(prn__sampler_create(&config, &sampler, &error), PRN_OK);
    int counts[40] = {0}, repeats = 0;
    for (uint64_t p = 0; p < 40000; p++) {
        int64_t shard, index;
        prn__sampler_at(sampler, p, &shard, &index);
        assert_int_not_equal(shard, 1);
        counts[(shard == 2 ? 10 : 0) + index]++;
        repeats += p < 40 && counts[(shard == 2 ? 10 : 0) + index] > 1;
    }
    for (int i = 0; i < 40; i++) {
        assert_in_range(counts[i], 800, 1200);
    }
    assert_true(repeats > 0);
    prn__sampler_destroy(sampler);
}

static void test_refusals(void **state)
{
    (void)state;
    static const int64_t none[] = {0, 0}, negative[] = {3, -1};
    prn_error error = PRN_ERROR_INIT;
    prn__sampler *sampler;
    prn__sampler_config config = {.shard_samples = none, .shard_count = 2};
    assert_int_equal(prn__sampler_create(&config, &sampler, &error), PRN_INVALID);
    assert_non_null(strstr(error.message, "data verify"));
    config.shard_samples = negative;
    assert_int_equal(prn__sampler_create(&config, &sampler, &error), PRN_INVALID);
    config = (prn__sampler_config){.shard_count = INT64_MAX / 2, .uniform_samples = 100};
    assert_int_equal(prn__sampler_create(&config, &sampler, &error), PRN_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exactly_once),        cmocka_unit_test(test_order_is_pure),    cmocka_unit_test(test_unshuffled_is_in_order),
        cmocka_unit_test(test_huge_in_constant_memory), cmocka_unit_test(test_with_replacement), cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
