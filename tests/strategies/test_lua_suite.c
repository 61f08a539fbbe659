/* The strategy suite on strategies that a recipe defines itself: the plugins in Lua keep all that plugins must keep, and wrong ones fail. */
#include "recipe/lua_support.h"

#include "suite/strategy_suite.h"

typedef struct seen {
    char failed[512], last_reason[PRN_ERROR_MESSAGE_BYTES];
    int passed, skipped, failures;
} seen;

static void note_check(void *context, const prn__suite_check *check)
{
    seen *s = context;
    s->passed += check->outcome == PRN__SUITE_PASSED;
    s->skipped += check->outcome == PRN__SUITE_SKIPPED;
    if (check->outcome == PRN__SUITE_FAILED) {
        size_t used = strlen(s->failed);
        s->failures++;
        (void)snprintf(s->failed + used, sizeof s->failed - used, "%s ", check->name);
        (void)snprintf(s->last_reason, sizeof s->last_reason, "%s", check->reason);
    }
}

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

static seen test_of(const ground *g, const prn__recipe *recipe, size_t index)
{
    seen s;
    prn__suite_summary summary;
    memset(&s, 0, sizeof s);
    const prn__recipe_strategy *own = &recipe->strategies[index];
    const prn__suite_options options = {.own = own, .given = own->options, .given_count = own->option_count, .report = note_check, .context = &s};
    MUST(prn__strategy_suite_run(g->registry, own->label, &options, &summary, error_));
    assert_int_equal(summary.passed, s.passed);
    assert_int_equal(summary.failed, s.failures);
    return s;
}

static void test_the_plugins_in_lua_pass(void **state)
{
    const ground *g = *state;
    char *text;
    size_t length;
    int tested = 0;
    read_path(PRN_SOURCE_DIR "/tests/fixtures/lua_strategies.lua", &text, &length);
    write_recipe(g, text);
    prn__free(text);
    const int64_t before = prn__alloc_live();
    prn__recipe *recipe = must_load(g, "cpu", "suite");
    for (size_t i = 0; i < recipe->strategy_count; i++) {
        if (recipe->strategies[i].table != NULL) {
            seen s = test_of(g, recipe, i);
            if (s.failures > 0) {
                fail_msg("%s: %s: %s", recipe->strategies[i].label, s.failed, s.last_reason);
            }
            assert_true(s.passed >= 9);
            tested++;
        }
    }
    assert_int_equal(tested, 9);
    prn__recipe_destroy(recipe);
    assert_int_equal(prn__alloc_live(), before);
}

static void test_wrong_ones_fail(void **state)
{
    static const struct {
        const char *body, *failed, *reason;
    } cases[] = {
        {"plan = function(step, line) return { start_step = step - 1, sources = step, budget_multiple = 1 + line.steps[line.step_count].samples / 1000 } end",
         "past ", "later time steps bring"},
        {"plan = function(step) return { start_step = step - 1, sources = step } end, loss = function(c) return c.logits end", "loss ", "one number for each row"},
        {"plan = function(step) return { start_step = step - 1, sources = step, finish_gradient_batches = 2 } end,\n"
         "finish = function(stage) stage:data_gradient(stage:vector()) end", "cost finish ", NULL},
        {"plan = function(step) if step > 2 then error('enough') end return { start_step = step - 1, sources = step } end", "plan ", "enough"},
    };
    const ground *g = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[1024];
        (void)snprintf(text, sizeof text, "local strategies = { entry { label = 'wrong', %s } }\n", cases[i].body);
        write_recipe(g, text);
        prn__recipe *recipe = must_load(g, "cpu", "suite");
        seen s = test_of(g, recipe, 0);
        if (strstr(s.failed, cases[i].failed) == NULL || (cases[i].reason != NULL && strstr(s.last_reason, cases[i].reason) == NULL)) {
            fail_msg("%s: failed: '%s', not '%s': %s", cases[i].body, s.failed, cases[i].failed, s.last_reason);
        }
        prn__recipe_destroy(recipe);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_plugins_in_lua_pass),
        cmocka_unit_test(test_wrong_ones_fail),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
