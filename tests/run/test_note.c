/* What a finished stage was made from is still there when the stage is needed again: the sets that chose, reference batches, teachers, kept vectors. */
#include "run/execute_support.h"

static int setup(void **state)
{
    static ground g;
    ground_open(&g, 2);
    make_stream(&g);
    *state = &g;
    return 0;
}

static int teardown(void **state)
{
    ground_close(*state);
    return 0;
}

/* One strategy, three time steps of three updates. */
static void recipe_of(const ground *g, prn__arena *memory, const char *workspace, const prn__recipe_strategy *strategy, prn__recipe *r)
{
    recipe_init(r, memory, g, workspace);
    r->budget = 3;
    r->strategies = strategy;
    r->strategy_count = 1;
}

static prn__plan *plan_of(const ground *g, const prn__recipe *r)
{
    prn__plan *plan = NULL;
    MUST(prn__plan_create(r, g->registry, &plan, error_));
    return plan;
}

static void remove_stage(prn__arena *memory, const prn__recipe *r, const char *key)
{
    assert_int_equal(system(prn__arena_printf(memory, "rm -r '%s/stages/%s'", r->workspace, key)), 0);
}

static void flip_last_byte(const char *path)
{
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, -1, SEEK_END), 0);
    const int byte = fgetc(file);
    assert_int_equal(fseek(file, -1, SEEK_END), 0);
    assert_int_equal(fputc(byte ^ 1, file), byte ^ 1);
    assert_int_equal(fclose(file), 0);
}

static void refused(const ground *g, const prn__recipe *r, prn_status expected, const char *word, const char *other)
{
    prn_error error = PRN_ERROR_INIT;
    assert_int_equal(execute(g, r, &(watch){.stop_at = -1}, &error), expected);
    assert_message(&error, word);
    assert_message(&error, other);
}

/* The stage that deploys time step `t` of the only strategy. */
static const char *deployed_key(const prn__plan *plan, uint32_t t)
{
    return plan->stages[plan->lines[0].deployed[t - 1]].key;
}

static void test_sets_that_chose(void **state)
{
    const ground *g = *state;
    static const prn__option_pair options[] = {{"grid", "0.25,0.75"}, {"validation", "retrieval"}};
    static const prn__recipe_strategy patching = {.label = "patching", .strategy = "patching", .options = options, .option_count = 2};
    prn__arena memory;
    prn__recipe r;
    prn__arena_init(&memory, 1024);
    recipe_of(g, &memory, "chosen", &patching, &r);
    const watch first = complete(g, &r);
    const watch again = complete(g, &r);
    assert_true(first.trained > 0);
    assert_int_equal(again.trained, 0);
    prn__plan *plan = plan_of(g, &r);
    make_shard(g, "eval/b.tar", 4242, 12, 0);
    refused(g, &r, PRN_CONFLICT, "another evaluation set 'retrieval' than step 'b'", deployed_key(plan, 2));
    make_shard(g, "eval/b.tar", 1500, 12, 0); /* as make_stream had it */
    const watch back = complete(g, &r);
    assert_int_equal(back.trained, 0);
    prn__plan_destroy(plan);
    prn__arena_fini(&memory);
}

static void test_reference_streams(void **state)
{
    const ground *g = *state;
    static const prn__option_pair options[] = {{"reference", "stream"}, {"teacher", "initial"}, {"memory_batch", "4"}};
    static const prn__recipe_strategy zscl = {.label = "zscl", .strategy = "zscl", .options = options, .option_count = 3};
    static const char manifest[] = "stream: reference\nsteps:\n  - name: \"all\"\n    train: { shards: \"reference.tar\", samples: 20 }\n";
    prn__arena memory;
    prn__recipe r;
    prn__arena_init(&memory, 1024);
    recipe_of(g, &memory, "reference", &zscl, &r);
    write_bytes(g, "reference.yaml", manifest, strlen(manifest));
    make_shard(g, "reference.tar", 9000, 20, 0);
    r.reference_path = prn__arena_printf(&memory, "%s/reference.yaml", g->folder);
    (void)complete(g, &r);
    make_shard(g, "reference.tar", 9100, 20, 0);
    refused(g, &r, PRN_CONFLICT, "the reference stream 'reference'", "other data");
    make_shard(g, "reference.tar", 9000, 20, 0);
    const watch back = complete(g, &r);
    assert_int_equal(back.trained, 0);
    prn__arena_fini(&memory);
}

static void test_teachers(void **state)
{
    const ground *g = *state;
    static const prn__option_pair options[] = {{"memory_batch", "4"}}; /* reference and teacher: the first time step's */
    static const prn__recipe_strategy zscl = {.label = "zscl", .strategy = "zscl", .options = options, .option_count = 1};
    prn__arena memory;
    prn__recipe r;
    prn__arena_init(&memory, 1024);
    recipe_of(g, &memory, "teacher", &zscl, &r);
    (void)complete(g, &r);
    prn__plan *plan = plan_of(g, &r);
    char *model = stage_file(&memory, r.workspace, deployed_key(plan, 1), "open_clip_model.safetensors");
    flip_last_byte(model);
    remove_stage(&memory, &r, deployed_key(plan, 3)); /* whose parent is whole */
    refused(g, &r, PRN_CORRUPT, "the weights are not those", deployed_key(plan, 1));
    flip_last_byte(model);
    const watch back = complete(g, &r);
    assert_int_equal(back.trained, 3);
    prn__plan_destroy(plan);
    prn__arena_fini(&memory);
}

static void test_kept_vectors(void **state)
{
    const ground *g = *state;
    static const prn__option_pair options[] = {{"batches", "2"}, {"weight", "1"}};
    static const prn__recipe_strategy ewc = {.label = "ewc", .strategy = "ewc", .options = options, .option_count = 2};
    prn__arena memory;
    prn__recipe r;
    prn__arena_init(&memory, 1024);
    recipe_of(g, &memory, "kept", &ewc, &r);
    (void)complete(g, &r);
    prn__plan *plan = plan_of(g, &r);
    char *kept = stage_file(&memory, r.workspace, deployed_key(plan, 1), "kept.safetensors");
    flip_last_byte(kept);
    for (uint32_t t = 2; t <= 3; t++) {
        remove_stage(&memory, &r, deployed_key(plan, t));
        if (plan->lines[0].trained[t - 1] != plan->lines[0].deployed[t - 1]) {
            remove_stage(&memory, &r, plan->stages[plan->lines[0].trained[t - 1]].key);
        }
    }
    refused(g, &r, PRN_CORRUPT, "the kept vector", deployed_key(plan, 1));
    flip_last_byte(kept);
    const watch back = complete(g, &r);
    assert_int_equal(back.trained, 6);
    prn__plan_destroy(plan);
    prn__arena_fini(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sets_that_chose),
        cmocka_unit_test(test_reference_streams),
        cmocka_unit_test(test_teachers),
        cmocka_unit_test(test_kept_vectors),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
