/* Sweeps: the choices a recipe asks for, every combination of them, names, --set grid.name, refusals with their lines. */
#include "recipe/support.h"

#include "recipe/sweep.h"

#define HEAD "local p = require 'perennial'\n"
#define RECIPE(inside)                                                                             \
    HEAD "return p.recipe {\n"                                                                     \
         "  stream = 'stream.yaml', model = 'micro', batch = 8, budget = p.samples(80),\n"         \
         inside "}\n"
#define SCHEDULE "  schedule = p.cosine { peak = 1e-3 },\n"
#define STRATEGIES "  strategies = { p.sequential {} },\n"

static prn_status load_set(bench *b, const char *text, const prn__option_pair *pairs, size_t count, prn__recipe_set **set, prn_error *error)
{
    const prn__recipe_settings settings = {.library = PRN_SOURCE_DIR "/lua", .settings = pairs, .setting_count = count};
    write_text(b->folder, "r.lua", text);
    return prn__recipe_set_load(b->recipe, &settings, b->registry, set, error);
}

static prn__recipe_set *sweep_with(bench *b, const char *text, const prn__option_pair *pairs, size_t count)
{
    prn_error error = PRN_ERROR_INIT;
    prn__recipe_set *set = NULL;
    if (load_set(b, text, pairs, count, &set, &error) != PRN_OK) {
        fail_msg("%s", error.message);
    }
    for (size_t i = 0; i < set->count && set->recipes[0]->sweep != NULL; i++) {
        assert_int_equal(set->recipes[i]->sweep->combination, i + 1);
        assert_int_equal(set->recipes[i]->sweep->combination_count, set->count);
    }
    return set;
}

#define sweep_of(b, text) sweep_with(b, text, NULL, 0)

/* "name=value" of one setting. */
static void has_setting(const prn__recipe *recipe, size_t index, const char *name, const char *value)
{
    assert_non_null(recipe->sweep);
    assert_true(index < recipe->sweep->setting_count);
    assert_string_equal(recipe->sweep->settings[index].name, name);
    assert_string_equal(recipe->sweep->settings[index].value, value);
}

static void set_refused_with(bench *b, const char *text, const prn__option_pair *pairs, size_t count, int line, ...)
{
    prn_error error = PRN_ERROR_INIT;
    prn__recipe_set *set = NULL;
    char place[128];
    va_list words;
    const int64_t before = prn__alloc_live();
    if (load_set(b, text, pairs, count, &set, &error) == PRN_OK) {
        prn__recipe_set_destroy(set);
        fail_msg("accepted: %s", text);
    }
    assert_null(set);
    assert_int_equal(prn__alloc_live(), before);
    (void)snprintf(place, sizeof place, "%s:%d: ", b->recipe, line);
    if (line > 0 && strstr(error.message, place) == NULL) {
        fail_msg("'%s' lacks '%s'", error.message, place);
    }
    va_start(words, line);
    for (const char *word; (word = va_arg(words, const char *)) != NULL;) {
        if (strstr(error.message, word) == NULL) {
            fail_msg("'%s' lacks '%s'", error.message, word);
        }
    }
    va_end(words);
}

#define set_refused(b, text, ...) set_refused_with(b, text, NULL, 0, __VA_ARGS__, (const char *)NULL)
#define set_refused_set(b, text, key, value, ...) \
    set_refused_with(b, text, &(const prn__option_pair){key, value}, 1, 0, "--set " key "=" value, __VA_ARGS__, (const char *)NULL)

static void test_no_sweep(void **state)
{
    const int64_t before = prn__alloc_live();
    prn__recipe_set *set = sweep_of(*state, RECIPE(SCHEDULE STRATEGIES));
    assert_int_equal(set->count, 1);
    assert_null(set->recipes[0]->sweep);
    prn__recipe_set_destroy(set);
    set = sweep_of(*state, RECIPE(SCHEDULE STRATEGIES "  sweep = p.sweep { criterion = 'backward', on = 'retrieval' },\n"));
    assert_int_equal(set->count, 1);
    assert_null(set->recipes[0]->sweep);
    prn__recipe_set_destroy(set);
    assert_int_equal(prn__alloc_live(), before);
}

static void test_every_combination(void **state)
{
    static const double peaks[] = {1e-4, 3e-4, 1e-3};
    static const char *const texts[] = {"0.0001", "0.0003", "0.001"};
    const int64_t before = prn__alloc_live();
    prn__recipe_set *set = sweep_of(*state, RECIPE("  schedule = p.cosine { peak = p.grid { 1e-4, 3e-4, 1e-3 }, warmup = p.grid { 0, 10 } },\n" STRATEGIES
                                                   "  seed = p.seeds(2),\n"));
    assert_int_equal(set->count, 12);
    for (size_t i = 0; i < 12; i++) { /* the last one that is asked varies fastest */
        const prn__recipe *r = set->recipes[i];
        assert_true(r->schedule.peak == peaks[i / 4]);
        assert_int_equal(r->schedule.warmup_steps, i / 2 % 2 * 10);
        assert_int_equal(r->seed, i % 2 + 1);
        assert_int_equal(r->sweep->setting_count, 3);
        has_setting(r, 0, "peak", texts[i / 4]);
        has_setting(r, 1, "warmup", i / 2 % 2 == 0 ? "0" : "10");
        has_setting(r, 2, "seed", i % 2 == 0 ? "1" : "2");
        assert_int_equal(r->sweep->settings[0].is_seeds, 0);
        assert_int_equal(r->sweep->settings[2].is_seeds, 1);
        assert_int_equal(r->sweep->criterion, PRN__CRITERION_AVERAGE);
        assert_string_equal(r->sweep->chosen_on, "retrieval");
        assert_string_equal(r->sweep->identity, "");
    }
    prn__recipe_set_destroy(set);
    assert_int_equal(prn__alloc_live(), before);
}

static void test_values_of_every_kind(void **state)
{
    prn__recipe_set *set = sweep_of(*state, HEAD
        "local rule = p.grid('rule', { 'dimensions', 'no_embeddings' })\n"
        "local shape = p.grid { p.cosine { peak = 1e-3 }, p.constant { peak = 0.5 } }\n"
        "return p.recipe { stream = 'stream.yaml', model = 'micro', batch = p.grid { 8, 16 }, budget = p.samples(p.grid { 160 }),\n"
        "  optimizer = p.adamw { decay_rule = rule }, schedule = shape, shuffle = p.grid { true, false },\n"
        "  strategies = { p.cumulative { budget_multiples = p.grid { {1, 1, 1}, {1, 2, 3} } } } }\n");
    assert_int_equal(set->count, 2 * 2 * 2 * 2 * 2);
    has_setting(set->recipes[0], 0, "rule", "\"dimensions\"");
    has_setting(set->recipes[0], 1, "shape", "{\"p.cosine\":{\"peak\":0.001}}");
    has_setting(set->recipes[0], 2, "batch", "8");
    has_setting(set->recipes[0], 3, "budget", "160");
    has_setting(set->recipes[0], 4, "shuffle", "true");
    has_setting(set->recipes[0], 5, "budget_multiples", "[1,1,1]");
    const prn__recipe *last = set->recipes[31];
    has_setting(last, 0, "rule", "\"no_embeddings\"");
    has_setting(last, 1, "shape", "{\"p.constant\":{\"peak\":0.5}}");
    has_setting(last, 5, "budget_multiples", "[1,2,3]");
    assert_int_equal(last->decay_rule, PRN__DECAY_NO_EMBEDDINGS);
    assert_int_equal(last->schedule.kind, PRN__SCHEDULE_CONSTANT);
    assert_int_equal(last->batch, 16);
    assert_int_equal(last->shuffle, 0);
    assert_string_equal(last->strategies[0].options[0].value, "1,2,3");
    prn__recipe_set_destroy(set);
}

/* What is asked may depend on what was answered: a tree, not a box. */
static void test_nested_grids(void **state)
{
    prn__recipe_set *set = sweep_of(*state, HEAD
        "local kind = p.grid { 'patching', 'sequential' }\n"
        "local function one()\n"
        "  if kind == 'patching' then\n"
        "    return p.patching { a = p.grid { 0.25, 0.5, 0.75 } }\n"
        "  end\n"
        "  return p.sequential {}\n"
        "end\n"
        "return p.recipe { stream = 'stream.yaml', model = 'micro', batch = 8, budget = p.samples(80), schedule = p.cosine { peak = 1e-3 },\n"
        "  strategies = { one() }, seed = p.seeds { 7, 9 } }\n");
    assert_int_equal(set->count, 8);
    assert_int_equal(set->recipes[0]->sweep->setting_count, 3);
    has_setting(set->recipes[5], 1, "a", "0.75");
    assert_int_equal(set->recipes[5]->seed, 9);
    assert_int_equal(set->recipes[6]->sweep->setting_count, 2);
    has_setting(set->recipes[6], 0, "kind", "\"sequential\"");
    has_setting(set->recipes[6], 1, "seed", "7");
    assert_string_equal(set->recipes[7]->strategies[0].strategy, "sequential");
    prn__recipe_set_destroy(set);
}

static void test_names(void **state)
{
    bench *b = *state;
    prn__recipe_set *set = sweep_of(b, RECIPE(SCHEDULE
        "  strategies = { p.patching { a = p.grid { 0.25, 0.5 } }, p.merge { label = 'm', decay = p.grid('ema_decay', { 0.5 }) },\n"
        "                 p.patching { label = 'other', a = p.grid { 0.1 } }, p.patching { label = 'third', ['a'] = p.grid { 0.2 } } },\n"
        "  batch = p.grid { 8 }, seed = p.seeds('restarts', 1), micro_batch = p.grid\n    { 4 }, window = (p.grid { 2 }),\n"));
    assert_int_equal(set->count, 2);
    has_setting(set->recipes[0], 0, "a", "0.25");
    has_setting(set->recipes[0], 1, "ema_decay", "0.5");
    has_setting(set->recipes[0], 2, "a@6", "0.1");
    has_setting(set->recipes[0], 3, "grid", "0.2");
    has_setting(set->recipes[0], 4, "batch", "8");
    has_setting(set->recipes[0], 5, "restarts", "1");
    assert_int_equal(set->recipes[0]->sweep->settings[5].is_seeds, 1);
    has_setting(set->recipes[0], 7, "window", "2");
    prn__recipe_set_destroy(set);
    set = sweep_of(b, HEAD "local list = {}\nfor i = 1, 3 do list[i] = p.grid { i, 10 + i } end\n"
                           "return p.recipe { stream = 'stream.yaml', model = 'micro', batch = 8, budget = p.samples(80), schedule = p.cosine { peak = list },\n"
                           "  strategies = { p.sequential {} } }\n");
    assert_int_equal(set->count, 8);
    has_setting(set->recipes[0], 0, "grid", "1");
    has_setting(set->recipes[0], 1, "grid@3", "2");
    has_setting(set->recipes[0], 2, "grid@3.2", "3");
    assert_true(set->recipes[7]->schedule.peaks[2] == 13);
    prn__recipe_set_destroy(set);
}

static void test_settings_leave_some(void **state)
{
    bench *b = *state;
    static const char text[] = RECIPE("  schedule = p.cosine { peak = p.grid { 1e-4, 3e-4, 1e-3 }, warmup = p.grid { 0, 10 } },\n" STRATEGIES
                                      "  seed = p.seeds(3), transform = p.grid { 'train', 'eval' },\n");
    prn__option_pair pairs[] = {{"grid.peak", "1e-3"}, {"grid.seed", "3,1"}, {"grid.transform", "eval"}};
    prn__recipe_set *set = sweep_with(b, text, pairs, 3);
    assert_int_equal(set->count, 4);
    has_setting(set->recipes[0], 0, "peak", "0.001");
    has_setting(set->recipes[0], 2, "seed", "3");
    has_setting(set->recipes[0], 3, "transform", "\"eval\"");
    assert_int_equal(set->recipes[1]->seed, 1);
    prn__recipe_set_destroy(set);
    set_refused_set(b, text, "grid.peak", "2e-3", "has no value '2e-3'", "0.0001, 0.0003, 0.001", "r.lua:4");
    set_refused_set(b, text, "grid.peek", "1e-3", "did you mean 'peak'?");
    set_refused_set(b, text, "grid.seed", "", "has no value ''");
    set_refused_set(b, RECIPE(SCHEDULE STRATEGIES), "grid.peak", "1", "no p.grid");
    set_refused_set(b, RECIPE(SCHEDULE STRATEGIES), "gird.peak", "1", "no key 'gird'");
    /* of a nested one it is enough that some combination has it */
    set = sweep_with(b, HEAD "local a, b = p.grid('a', { 1, 2 })\nif a == 1 then b = p.grid { 3, 4 } end\n"
                             "return p.recipe { stream = 'stream.yaml', model = 'micro', batch = 8, budget = p.samples(80),\n"
                             "  schedule = p.cosine { peak = a }, strategies = { p.sequential {} } }\n", &(prn__option_pair){"grid.b", "4"}, 1);
    assert_int_equal(set->count, 2);
    has_setting(set->recipes[0], 1, "b", "4");
    assert_int_equal(set->recipes[1]->sweep->setting_count, 1);
    prn__recipe_set_destroy(set);
}

static void test_criterion(void **state)
{
    bench *b = *state;
    static const char two[] =
        "stream: two\nsteps:\n  - name: \"1\"\n    train: { shards: \"t.tar\", samples: 1000 }\n    evaluations:\n"
        "      - { name: seen, kind: retrieval, shards: \"e.tar\" }\n      - { name: unseen, kind: retrieval, shards: \"f.tar\" }\n"
        "      - { name: kinds, kind: classification, shards: \"f.tar\" }\n";
#define TWO(inside)                                                                                \
    HEAD "return p.recipe {\n"                                                                     \
         "  stream = 'two.yaml', model = 'micro', batch = 8, budget = p.samples(80),\n"            \
         "  schedule = p.cosine { peak = p.grid { 1, 2 } },\n" STRATEGIES inside "}\n"
    write_text(b->folder, "two.yaml", two);
    prn__recipe_set *set = sweep_of(b, TWO("  sweep = p.sweep { criterion = 'backward', on = 'unseen', score = 'i2t_recall@5' },\n"));
    assert_int_equal(set->recipes[1]->sweep->criterion, PRN__CRITERION_BACKWARD);
    assert_string_equal(set->recipes[1]->sweep->chosen_on, "unseen");
    assert_string_equal(set->recipes[1]->sweep->score, "i2t_recall@5");
    prn__recipe_set_destroy(set);
    set = sweep_with(b, TWO("  sweep = p.sweep { on = 'unseen' },\n"), &(prn__option_pair){"sweep.on", "kinds"}, 1);
    assert_string_equal(set->recipes[0]->sweep->chosen_on, "kinds");
    prn__recipe_set_destroy(set);
    set = sweep_of(b, TWO("  evaluate = { 'seen' },\n")); /* the only one that is scored */
    assert_string_equal(set->recipes[0]->sweep->chosen_on, "seen");
    prn__recipe_set_destroy(set);
    set = sweep_of(b, TWO("  evaluate = {},\n"));
    assert_string_equal(set->recipes[0]->sweep->chosen_on, "");
    prn__recipe_set_destroy(set);
    set_refused(b, TWO(""), 4, "which evaluation set", "seen, unseen, kinds", "p.sweep { on =");
    set_refused(b, TWO("  sweep = p.sweep { criterion = 'forward' },\n"), 6, "p.sweep needs `on`");
    set_refused(b, TWO("  sweep = p.sweep { on = 'sen' },\n"), 6, "did you mean 'seen'?");
    set_refused(b, TWO("  sweep = p.sweep { on = 'unseen' }, evaluate = { 'seen' },\n"), 6, "no evaluation set 'unseen' is scored");
    set_refused(b, TWO("  sweep = p.sweep { on = 'kinds', score = 'recall@1' },\n"), 6, "no score 'recall@1'", "top1");
    set_refused(b, TWO("  sweep = p.sweep { on = 'seen', score = 'recall@2' },\n"), 6, "no score 'recall@2'", "recall@10");
    set_refused(b, TWO("  sweep = p.sweep { on = 'seen', criterion = 'best' },\n"), 6, "average|in_domain|backward|forward");
    set_refused(b, TWO("  sweep = p.sweep { at = 'seen' },\n"), 6, "p.sweep has no key 'at'");
    set_refused(b, TWO("  sweep = 'backward',\n"), 6, "`sweep` is p.sweep");
    set_refused(b, TWO("  sweep = p.adamw {},\n"), 6, "not p.adamw");
    /* seeds alone choose nothing */
    set = sweep_of(b, HEAD "return p.recipe { stream = 'two.yaml', model = 'micro', batch = 8, budget = p.samples(80), seed = p.seeds(2),\n" SCHEDULE STRATEGIES "}\n");
    assert_int_equal(set->count, 2);
    prn__recipe_set_destroy(set);
}

static void test_refusals(void **state)
{
    bench *b = *state;
    set_refused(b, RECIPE("  schedule = p.cosine { peak = p.grid {} },\n" STRATEGIES), 4, "p.grid takes 1 to 1000 values, not 0");
    set_refused(b, RECIPE("  schedule = p.cosine { peak = p.grid(1e-3, 1e-4) },\n" STRATEGIES), 4, "p.grid takes a list of values");
    set_refused(b, RECIPE("  schedule = p.cosine { peak = p.grid(1e-3) },\n" STRATEGIES), 4, "in braces, not a number");
    set_refused(b, RECIPE("  schedule = p.cosine { peak = p.grid() },\n" STRATEGIES), 4, "p.grid takes a list of values");
    set_refused(b, RECIPE("  schedule = p.cosine { peak = p.grid { low = 1 } },\n" STRATEGIES), 4, "without names");
    set_refused(b, RECIPE("  schedule = p.grid(p.cosine { peak = 1 }),\n" STRATEGIES), 4, "a constructor's result");
    set_refused(b, RECIPE("  schedule = p.cosine { peak = p.grid { 1, nil, 2 } },\n" STRATEGIES), 4, "nil");
    set_refused(b, RECIPE("  schedule = p.cosine { peak = p.grid { 1e-3, 3e-3, 0.001 } },\n" STRATEGIES), 4, "values 1 and 3 are the same, 0.001");
    set_refused(b, RECIPE("  schedule = p.cosine { peak = p.grid { 1, 1/0 } },\n" STRATEGIES), 4, "not finite");
    set_refused(b, RECIPE("  schedule = p.cosine { peak = p.grid('a b', { 1 }) },\n" STRATEGIES), 4, "the name 'a b'");
    set_refused(b, RECIPE("  schedule = p.cosine { peak = p.grid('x', { 1 }) },\n" STRATEGIES "  seed = p.seeds('x', 2),\n"), 6, "called 'x'", "line 4");
    set_refused(b, RECIPE(SCHEDULE STRATEGIES "  seed = p.seeds(0),\n"), 6, "1 to 1000 seeds");
    set_refused(b, RECIPE(SCHEDULE STRATEGIES "  seed = p.seeds(2.5),\n"), 6, "1 to 1000 seeds");
    set_refused(b, RECIPE(SCHEDULE STRATEGIES "  seed = p.seeds { 1, -1 },\n"), 6, "value 2 is no seed");
    set_refused(b, RECIPE(SCHEDULE STRATEGIES "  seed = p.seeds { 1, 1 },\n"), 6, "values 1 and 2 are the same");
    set_refused(b, RECIPE(SCHEDULE STRATEGIES "  seed = p.seeds 'three',\n"), 6, "p.seeds takes a number");
    set_refused(b, RECIPE("  schedule = p.cosine { peak = p.grid { 1e-3, 'high' } },\n" STRATEGIES), 4, "`peak` must be");
    set_refused(b, RECIPE(SCHEDULE STRATEGIES "  name = p.grid { 'a', 'b' },\n"), 0, "`name` depends on a p.grid");
    set_refused(b, RECIPE(SCHEDULE STRATEGIES "  workspace = p.grid { 'a', 'b' },\n"), 0, "`workspace` depends on a p.grid");
    set_refused(b, RECIPE("  schedule = p.cosine { peak = p.grid { 1, 2 } },\n" STRATEGIES "  sweep = p.sweep { criterion = p.grid { 'forward', 'backward' } },\n"),
                0, "`sweep` depends on a p.grid");
    set_refused(b, HEAD "local t = {}\nfor i = 1, 40 do t[i] = p.grid { i } end\nreturn p.recipe {}\n", 3, "32 grids and seeds", "in a loop?");
    set_refused(b, RECIPE(SCHEDULE STRATEGIES "  seed = p.seeds(1000), batch = p.grid { 8, 16 },\n"), 0, "more than 1000 combinations", "--set grid.");
    set_refused(b, HEAD "local t = {}\nt[1] = t\nlocal x = p.grid { t }\nreturn p.recipe {}\n", 4, "tables inside each other");
    set_refused(b, HEAD "local x = p.grid { { 1, a = 2 } }\nreturn p.recipe {}\n", 2, "with and without names");
    set_refused(b, HEAD "local x = p.grid { { [1.5] = 2 } }\nreturn p.recipe {}\n", 2, "neither names nor");
}

/* Functions of a recipe are called when it has long been read. */
static void test_asked_too_late(void **state)
{
    prn_error error = PRN_ERROR_INIT;
    double rate;
    prn__recipe_set *set = sweep_of(*state, RECIPE("  schedule = function(step) return p.grid { 1, 2 } end,\n" STRATEGIES));
    const prn__schedule *schedule = &set->recipes[0]->schedule;
    assert_int_equal(schedule->function(schedule->function_self, 0, 10, 1, 1, &rate, &error), PRN_INVALID);
    assert_non_null(strstr(error.message, "r.lua:4: p.grid is asked while the recipe is read"));
    prn__recipe_set_destroy(set);
}

/* The plain loader takes one recipe. */
static void test_one_recipe(void **state)
{
    refused(*state, RECIPE(SCHEDULE STRATEGIES "  seed = p.seeds(2),\n"), 0, "is a sweep of 2 combinations");
}

static void test_largest(void **state)
{
    prn__recipe_set *set = sweep_of(*state, RECIPE(SCHEDULE STRATEGIES "  seed = p.seeds(1000),\n"));
    assert_int_equal(set->count, 1000);
    assert_int_equal(set->recipes[999]->seed, 1000);
    prn__recipe *one = prn__recipe_set_take(set, 41);
    assert_int_equal(one->seed, 42);
    prn__recipe_destroy(one);
}

/* A recipe's own strategies hold what was chosen: their stages are not those of another choice. */
static void test_own_strategies(void **state)
{
    prn__recipe_set *set = sweep_of(*state, HEAD
        "local share = p.grid { 0.25, 0.5 }\n"
        "return p.recipe { stream = 'stream.yaml', model = 'micro', batch = 8, budget = p.samples(80), schedule = p.cosine { peak = 1e-3 },\n"
        "  strategies = { p.strategy { label = 'blend',\n"
        "    plan = function(step) return { start_step = step - 1, sources = { step }, hooks = step > 1 and { 'finish' } or {} } end,\n"
        "    finish = function(stage) stage.weights:axpby(share, stage.weights, 1 - share, stage:load_weights(stage.time_step - 1)) end } } }\n");
    assert_int_equal(set->count, 2);
    assert_string_not_equal(set->recipes[0]->strategies[0].source_digest, set->recipes[1]->strategies[0].source_digest);
    prn__recipe_set_destroy(set);
}

static void test_failing_allocations(void **state)
{
    bench *b = *state;
    static const char text[] = RECIPE("  schedule = p.cosine { peak = p.grid { 1e-4, 3e-4 } },\n" STRATEGIES "  seed = p.seeds(2),\n");
    const int64_t before = prn__alloc_live();
    prn__recipe_set *set = NULL;
    prn_error error = PRN_ERROR_INIT;
    int failures = 0;
    const prn__recipe_settings settings = {.library = PRN_SOURCE_DIR "/lua"};
    write_text(b->folder, "r.lua", text);
    for (int64_t nth = 1; set == NULL && nth < 100000; nth += nth < 400 ? 1 : 37) {
        prn__alloc_fail_at(nth);
        prn_status status = prn__recipe_set_load(b->recipe, &settings, b->registry, &set, &error);
        prn__alloc_fail_at(0);
        if (status == PRN_OK) {
            break;
        }
        assert_null(set);
        assert_int_equal(prn__alloc_live(), before);
        failures++;
    }
    assert_non_null(set);
    assert_true(failures > 50);
    prn__recipe_set_destroy(set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_sweep),       cmocka_unit_test(test_every_combination), cmocka_unit_test(test_values_of_every_kind),
        cmocka_unit_test(test_nested_grids),   cmocka_unit_test(test_names),             cmocka_unit_test(test_settings_leave_some),
        cmocka_unit_test(test_criterion),      cmocka_unit_test(test_refusals),          cmocka_unit_test(test_one_recipe),
        cmocka_unit_test(test_asked_too_late),
        cmocka_unit_test(test_largest),        cmocka_unit_test(test_own_strategies),    cmocka_unit_test(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, bench_setup, bench_teardown);
}
