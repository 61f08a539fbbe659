/* What a bounded buffer holds, sample by sample: the same at every look, never again what it forgot, one memory for data and for gradients. */
#include "run/execute_support.h"

#include "run/stage_data.h"

enum { SAMPLES = 40, BATCH = 8 };

static int setup(void **state)
{
    static ground g;
    ground_open(&g, 1);
    make_stream(&g);
    *state = &g;
    return 0;
}

static int teardown(void **state)
{
    ground_close(*state);
    return 0;
}

typedef struct look { /* a run in its planning state, as far as data is concerned */
    prn__execution x;
    prn__recipe recipe;
    prn__arena memory;
} look;

static void look_open(look *l, const ground *g, const prn__recipe_strategy *strategy, uint64_t seed)
{
    memset(l, 0, sizeof *l);
    prn__arena_init(&l->memory, 1 << 14);
    recipe_init(&l->recipe, &l->memory, g, "buffers");
    l->recipe.strategies = strategy;
    l->recipe.strategy_count = 1;
    l->recipe.seed = seed;
    MUST(prn__plan_create(&l->recipe, g->registry, &l->x.plan, error_));
    l->x.recipe = &l->recipe;
    l->x.cache = path_in(g, "cache");
    MUST(prn__folder_create(l->x.cache, error_));
    MUST(prn__tokenizer_open(l->x.plan->manifest->vocabulary, l->x.plan->manifest->merges, &l->x.tokenizer, error_));
}

static void look_close(look *l)
{
    prn__tokenizer_close(l->x.tokenizer);
    prn__plan_destroy(l->x.plan);
    prn__free(l->x.cache);
    prn__arena_fini(&l->memory);
}

static const prn__stage *stage_of(const look *l, uint32_t step)
{
    return &l->x.plan->stages[l->x.plan->lines[0].trained[step - 1]];
}

/* Which samples of one source five epochs of it bring: `held[i]` is 1. Returns how many different ones. */
static int64_t draw(look *l, const prn__plan_source *source, uint64_t seed, uint32_t threads, int held[SAMPLES])
{
    const int64_t wanted = source->max_samples > 0 ? source->max_samples : source->samples, updates = (5 * wanted + BATCH - 1) / BATCH;
    const prn__batch *batch;
    prn__stage_data data;
    int64_t count = 0;
    memset(&data, 0, sizeof data);
    memset(held, 0, SAMPLES * sizeof *held);
    l->recipe.data_threads = threads;
    MUST(prn__stage_data_open(&l->x, source, 1, "a test", &data, error_));
    MUST(prn__stage_data_start(&data, seed, BATCH, 0, updates, error_));
    for (int64_t u = 0; u < updates; u++) {
        MUST(prn__loader_next(data.loader, &batch, NULL, error_));
        for (int64_t i = 0; i < batch->count; i++) {
            assert_in_range(batch->samples[i], 0, SAMPLES - 1);
            count += !held[batch->samples[i]];
            held[batch->samples[i]] = 1;
        }
    }
    prn__stage_data_close(&data);
    return count;
}

static void assert_part(const int *less, const int *more)
{
    for (int i = 0; i < SAMPLES; i++) {
        if (less[i] && !more[i]) {
            fail_msg("sample %d is there again after it was forgotten", i);
        }
    }
}

static int is_same(const int *a, const int *b)
{
    return memcmp(a, b, SAMPLES * sizeof *a) == 0;
}

static void test_a_buffer_never_sees_again_what_it_forgot(void **state)
{
    static const prn__option_pair pairs[] = {{"size", "24"}, {"unit", "samples"}};
    const prn__recipe_strategy replay = {.label = "replay", .strategy = "replay", .options = pairs, .option_count = 2};
    int second[SAMPLES], third[SAMPLES], again[SAMPLES], other[SAMPLES];
    look l;
    look_open(&l, *state, &replay, 3);
    const prn__stage *b = stage_of(&l, 2), *c = stage_of(&l, 3);
    assert_int_equal(b->sources[0].max_samples, 24);
    assert_true(c->sources[0].time_step == 1 && c->sources[0].max_samples == 12 && c->sources[1].time_step == 2 && c->sources[1].max_samples == 12);
    assert_int_equal(draw(&l, &b->sources[0], 1, 1, second), 24);
    assert_int_equal(draw(&l, &c->sources[0], 2, 1, third), 12); /* another stage, another order of samples */
    assert_part(third, second);
    assert_int_equal(draw(&l, &c->sources[0], 2, 3, again), 12);
    assert_true(is_same(third, again)); /* whatever the number of threads */
    assert_int_equal(draw(&l, &c->sources[1], 2, 1, other), 12);
    assert_false(is_same(third, other)); /* steps of one size are not cut alike */
    look_close(&l);
    look_open(&l, *state, &replay, 4);
    assert_int_equal(draw(&l, &stage_of(&l, 3)->sources[0], 2, 1, other), 12);
    assert_false(is_same(third, other)); /* the recipe's seed decides */
    look_close(&l);
}

/* Recorded: these samples, and no others, for this seed. */
static void test_exact_contents(void **state)
{
    static const int recorded[] = {1, 4, 13, 14, 16, 18, 25, 26, 28, 29, 30, 34};
    static const prn__option_pair pairs[] = {{"size", "12"}, {"unit", "samples"}, {"rule", "recent"}};
    const prn__recipe_strategy replay = {.label = "replay", .strategy = "replay", .options = pairs, .option_count = 3};
    int held[SAMPLES], expected[SAMPLES] = {0};
    look l;
    look_open(&l, *state, &replay, 3);
    const prn__stage *c = stage_of(&l, 3);
    assert_true(c->source_count == 2 && c->sources[0].time_step == 2 && c->sources[0].max_samples == 12);
    assert_int_equal(draw(&l, &c->sources[0], 9, 2, held), 12);
    for (size_t i = 0; i < sizeof recorded / sizeof recorded[0]; i++) {
        expected[recorded[i]] = 1;
    }
    if (!is_same(held, expected)) {
        for (int i = 0; i < SAMPLES; i++) {
            if (held[i]) {
                print_error("%d, ", i);
            }
        }
        fail_msg("this is what the buffer holds, and not what was recorded");
    }
    look_close(&l);
}

/* A memory for gradients holds what a buffer for training of the same size does. */
static void test_memories_are_the_same_buffer(void **state)
{
    static const prn__option_pair pairs[] = {{"size", "10"}, {"unit", "samples"}, {"memory_batch", "4"}};
    const prn__recipe_strategy replay = {.label = "replay", .strategy = "replay", .options = pairs, .option_count = 2};
    const prn__recipe_strategy agem = {.label = "agem", .strategy = "agem", .options = pairs, .option_count = 3};
    int buffer[SAMPLES], memory[SAMPLES];
    look l;
    look_open(&l, *state, &replay, 3);
    assert_int_equal(draw(&l, &stage_of(&l, 2)->sources[0], 1, 1, buffer), 10);
    look_close(&l);
    look_open(&l, *state, &agem, 3);
    const prn__stage *b = stage_of(&l, 2);
    assert_int_equal(b->memory_source_count, 1);
    assert_int_equal(draw(&l, &b->memory_sources[0], 77, 1, memory), 10);
    assert_true(is_same(buffer, memory));
    look_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_buffer_never_sees_again_what_it_forgot),
        cmocka_unit_test(test_exact_contents),
        cmocka_unit_test(test_memories_are_the_same_buffer),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
