/* micro_batch = "auto": the largest micro-batch that the device has room for is taken by itself, wherever memory runs out, and a run that was
 * interrupted goes on to the same bytes. The device is the cpu backend with limits (fixtures/narrow.c). */
#include "run/execute_support.h"

#include <jansson.h>

enum { BATCH = 8, UPDATES = 6 };

static int setup(void **state)
{
    static ground g;
    assert_int_equal(setenv("PERENNIAL_PLUGIN_PATH", PRN_BUILD_DIR "/tests/narrow-plugins", 1), 0);
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

static int no_limits(void **state)
{
    (void)state;
    return unsetenv("PRN_NARROW_BYTES") + unsetenv("PRN_NARROW_ITEMS");
}

/* Limits come into force, and a stop, after so many updates of the whole run. */
typedef struct plot {
    int64_t updates, limit_at, stop_at; /* -1: never */
    const char *items;
} plot;

static void follow(void *context, const prn__progress *progress)
{
    plot *p = context;
    if (strcmp(progress->phase, "train") == 0 && ++p->updates == p->limit_at) {
        assert_int_equal(setenv("PRN_NARROW_ITEMS", p->items, 1), 0);
    }
}

static int stop(void *context)
{
    const plot *p = context;
    return p->updates == p->stop_at;
}

static prn_status go(const ground *g, const prn__recipe *recipe, plot *p, prn_error *error)
{
    prn__plan *plan = NULL;
    const prn__run_options options = {.progress = follow, .progress_context = p, .should_stop = stop, .stop_context = p};
    const int64_t before = prn__alloc_live();
    prn_status status = prn__plan_create(recipe, g->registry, &plan, error);
    if (status == PRN_OK) {
        status = prn__run_execute(plan, g->registry, &options, error);
    }
    prn__plan_destroy(plan);
    assert_int_equal(prn__alloc_live(), before);
    return status;
}

static void go_through(const ground *g, const prn__recipe *recipe, int64_t limit_at, const char *items)
{
    plot p = {.limit_at = limit_at, .stop_at = -1, .items = items};
    MUST(go(g, recipe, &p, error_));
}

static void sequential(prn__recipe *r, prn__arena *memory, const ground *g, const char *workspace, int64_t micro)
{
    recipe_init(r, memory, g, workspace);
    r->backend = "narrow";
    r->strategy_count = 1;
    r->batch = BATCH;
    r->budget = UPDATES;
    r->evaluate = (const char *const[]){NULL};
    r->micro_batch = micro;
}

/* stage.json of time step `t` (from 0) must hold these; -1: must not have the key. Weights as in `other` when that is given. */
static void check_stage(const ground *g, prn__arena *memory, const prn__recipe *r, uint32_t t, int64_t micro, int64_t since, const prn__recipe *other)
{
    prn__plan *plan = NULL, *others = NULL;
    char *bytes;
    size_t length;
    MUST(prn__plan_create(r, g->registry, &plan, error_));
    assert_true(plan->stages[t].is_done);
    read_path(stage_file(memory, r->workspace, plan->stages[t].key, "stage.json"), &bytes, &length);
    json_t *object = json_loadb(bytes, length, 0, NULL);
    assert_non_null(object);
    if (micro < 0) {
        assert_null(json_object_get(object, "micro_batch"));
    } else {
        assert_int_equal(json_integer_value(json_object_get(object, "micro_batch")), micro);
        assert_int_equal(json_integer_value(json_object_get(object, "micro_batch_since")), since);
    }
    json_decref(object);
    prn__free(bytes);
    prn__step_metric *metrics = NULL;
    size_t count = 0;
    MUST(prn__results_metrics(r->workspace, plan->stages[t].key, 0, &metrics, &count, error_));
    assert_int_equal(count, UPDATES);
    prn__free(metrics);
    if (other != NULL) {
        MUST(prn__plan_create(other, g->registry, &others, error_));
        assert_same_file(stage_file(memory, r->workspace, plan->stages[t].key, "open_clip_model.safetensors"),
                         stage_file(memory, other->workspace, others->stages[t].key, "open_clip_model.safetensors"));
    }
    prn__plan_destroy(plan);
    prn__plan_destroy(others);
}

static void test_all_of_it_fits(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe fixed, chosen;
    prn__arena_init(&memory, 1024);
    sequential(&fixed, &memory, g, "fixed", 0);
    sequential(&chosen, &memory, g, "chosen", PRN__MICRO_BATCH_AUTO);
    go_through(g, &fixed, -1, NULL);
    go_through(g, &chosen, -1, NULL);
    for (uint32_t t = 0; t < STEPS; t++) {
        check_stage(g, &memory, &fixed, t, -1, -1, NULL);
        check_stage(g, &memory, &chosen, t, BATCH, 0, &fixed);
    }
    prn__arena_fini(&memory);
}

/* From the beginning: the same bytes as with that micro-batch in the recipe. */
static void test_smaller_ones_are_taken(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe fixed, chosen;
    prn__arena_init(&memory, 1024);
    sequential(&fixed, &memory, g, "quarter", BATCH / 4);
    sequential(&chosen, &memory, g, "chosen-quarter", PRN__MICRO_BATCH_AUTO);
    assert_int_equal(setenv("PRN_NARROW_ITEMS", "2", 1), 0);
    go_through(g, &fixed, -1, NULL);
    go_through(g, &chosen, -1, NULL);
    for (uint32_t t = 0; t < STEPS; t++) {
        check_stage(g, &memory, &chosen, t, BATCH / 4, 0, &fixed);
    }
    prn__arena_fini(&memory);
}

/* A fixed one stays, and the error says what to change. So it does where not even one sample fits. */
static void test_errors(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe fixed, chosen;
    prn_error error = PRN_ERROR_INIT;
    plot p = {.limit_at = -1, .stop_at = -1};
    prn__arena_init(&memory, 1024);
    sequential(&fixed, &memory, g, "refused", 4);
    assert_int_equal(setenv("PRN_NARROW_BYTES", "1000", 1), 0);
    assert_int_equal(go(g, &fixed, &p, &error), PRN_NO_MEMORY);
    assert_message(&error, "micro_batch");
    sequential(&chosen, &memory, g, "refused-too", PRN__MICRO_BATCH_AUTO);
    error = (prn_error)PRN_ERROR_INIT;
    assert_int_equal(go(g, &chosen, &p, &error), PRN_NO_MEMORY);
    assert_message(&error, "one sample");
    assert_message(&error, "checkpointing");
    assert_int_equal(no_limits(NULL), 0);
    go_through(g, &chosen, -1, NULL); /* nothing was lost by it */
    check_stage(g, &memory, &chosen, 0, BATCH, 0, NULL);
    prn__arena_fini(&memory);
}

/* Memory runs out in the second of three stages, at its third update. */
static void test_in_the_middle(void **state)
{
    ground *g = *state;
    prn__arena memory;
    prn__recipe through, broken, later;
    prn_error error = PRN_ERROR_INIT;
    prn__arena_init(&memory, 1024);
    sequential(&through, &memory, g, "through", PRN__MICRO_BATCH_AUTO);
    go_through(g, &through, UPDATES + 2, "4");
    check_stage(g, &memory, &through, 0, BATCH, 0, NULL);
    check_stage(g, &memory, &through, 1, BATCH / 2, 2, NULL);
    check_stage(g, &memory, &through, 2, BATCH / 2, 0, NULL);

    /* stopped before that, and gone on to the same limit */
    assert_int_equal(no_limits(NULL), 0);
    sequential(&broken, &memory, g, "broken", PRN__MICRO_BATCH_AUTO);
    plot p = {.limit_at = -1, .stop_at = UPDATES + 1};
    assert_int_equal(go(g, &broken, &p, &error), PRN_INTERRUPTED);
    go_through(g, &broken, 1, "4");
    /* stopped after it, and gone on with room enough: what the checkpoint says holds */
    assert_int_equal(no_limits(NULL), 0);
    sequential(&later, &memory, g, "later", PRN__MICRO_BATCH_AUTO);
    p = (plot){.limit_at = UPDATES + 2, .stop_at = UPDATES + 4, .items = "4"};
    error = (prn_error)PRN_ERROR_INIT;
    assert_int_equal(go(g, &later, &p, &error), PRN_INTERRUPTED);
    assert_int_equal(no_limits(NULL), 0);
    go_through(g, &later, -1, NULL);
    for (uint32_t t = 0; t < STEPS; t++) {
        const int64_t micro = t == 0 ? BATCH : BATCH / 2, since = t == 1 ? 2 : 0;
        check_stage(g, &memory, &broken, t, micro, since, &through);
        check_stage(g, &memory, &later, t, micro, since, &through);
    }
    prn__arena_fini(&memory);
}

/* Where a strategy sees every step's gradient, with a memory batch beside it, and finishes with its own gradients. */
static void test_with_a_strategy(void **state)
{
    ground *g = *state;
    static const prn__recipe_strategy ewc = {.label = "ewc", .strategy = "ewc", .line = 11};
    prn__arena memory;
    prn__recipe through, broken;
    prn_error error = PRN_ERROR_INIT;
    prn__arena_init(&memory, 1024);
    sequential(&through, &memory, g, "ewc", PRN__MICRO_BATCH_AUTO);
    through.strategies = &ewc;
    broken = through;
    broken.workspace = prn__arena_printf(&memory, "%s/ewc-broken", g->folder);
    go_through(g, &through, UPDATES + 2, "4");
    assert_int_equal(no_limits(NULL), 0);
    plot p = {.limit_at = UPDATES + 2, .stop_at = UPDATES + 4, .items = "4"};
    assert_int_equal(go(g, &broken, &p, &error), PRN_INTERRUPTED);
    assert_int_equal(no_limits(NULL), 0);
    go_through(g, &broken, -1, NULL);
    prn__plan *plan = NULL;
    MUST(prn__plan_create(&through, g->registry, &plan, error_));
    assert_true(plan->stage_count > STEPS);
    for (uint32_t i = 0; i < plan->stage_count; i++) {
        assert_true(plan->stages[i].is_done);
        assert_same_file(stage_file(&memory, through.workspace, plan->stages[i].key, "open_clip_model.safetensors"),
                         stage_file(&memory, broken.workspace, plan->stages[i].key, "open_clip_model.safetensors"));
    }
    prn__plan_destroy(plan);
    prn__arena_fini(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_all_of_it_fits, no_limits),
        cmocka_unit_test_teardown(test_smaller_ones_are_taken, no_limits),
        cmocka_unit_test_teardown(test_errors, no_limits),
        cmocka_unit_test_teardown(test_in_the_middle, no_limits),
        cmocka_unit_test_teardown(test_with_a_strategy, no_limits),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
