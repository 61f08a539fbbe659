/* Strategies in Lua that are wrong: each is refused by this message, word for word, in the recipe, in the plan or in the run; nothing leaks,
 * and what had been finished stays. The ground's folder is left out of the messages. */
#include "recipe/lua_support.h"

typedef struct refusal {
    const char *name, *strategies, *message;
} refusal;

static const refusal REFUSALS[] = {
#include "recipe/lua_refusals.inc"
};
enum { REFUSAL_COUNT = sizeof REFUSALS / sizeof REFUSALS[0] };

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

/* The same words; behind a '*' at its end, `wanted` leaves the rest to others. */
static int is_as_wanted(const char *message, const char *wanted)
{
    const size_t length = strlen(wanted);
    return length > 0 && wanted[length - 1] == '*' ? strncmp(message, wanted, length - 1) == 0 : strcmp(message, wanted) == 0;
}

/* Everything the folder's name stands in front of. */
static void without_folder(const ground *g, const char *message, char *target, size_t bytes)
{
    size_t length = strlen(g->folder), used = 0;
    while (*message != '\0' && used + 1 < bytes) {
        if (strncmp(message, g->folder, length) == 0 && message[length] == '/') {
            message += length + 1;
        } else {
            target[used++] = *message++;
        }
    }
    target[used] = '\0';
}

static prn_status try_all(const ground *g, const char *strategies, prn_error *error)
{
    const prn__option_pair pairs[] = {{"budget.steps", "2"}};
    prn__recipe *recipe = NULL;
    write_recipe(g, strategies);
    prn_status status = load_recipe(g, "cpu", "refused", pairs, 1, &recipe, error);
    watch w = {.stop_at = -1};
    if (status == PRN_OK) {
        status = run_plan(g, recipe, &w, error);
    }
    prn__recipe_destroy(recipe);
    return status;
}

static void test_each_mistake_has_its_message(void **state)
{
    const ground *g = *state;
    const char *list = getenv("PRN_LIST_REFUSALS"); /* a file for the messages as they are, to be read before they are taken over */
    FILE *file = list != NULL ? fopen(list, "w") : NULL;
    char message[PRN_ERROR_MESSAGE_BYTES];
    int wrong = 0;
    for (size_t i = 0; i < REFUSAL_COUNT; i++) {
        const int64_t before = prn__alloc_live();
        prn_error error = PRN_ERROR_INIT;
        prn_status status = try_all(g, REFUSALS[i].strategies, &error);
        assert_int_equal(prn__alloc_live(), before);
        without_folder(g, status == PRN_OK ? "accepted" : error.message, message, sizeof message);
        if (file != NULL) {
            (void)fprintf(file, "%s\t%s\n", REFUSALS[i].name, message);
        }
        if (status != PRN_OK && error.status != (int32_t)status) {
            print_error("%s: status %d, error %d\n", REFUSALS[i].name, (int)status, (int)error.status);
            wrong++;
        }
        if (!is_as_wanted(message, REFUSALS[i].message)) {
            print_error("%s\n  is       %s\n  must be  %s\n", REFUSALS[i].name, message, REFUSALS[i].message);
            wrong++;
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    assert_int_equal(wrong, 0);
}

/* ---- what was handed to a call that is over ------------------------------------------------------------------------------------------ */

/* The first run keeps something and is refused for that. The second, of the same Lua state, uses it. */
static void refused_later(const ground *g, const char *function, const char *message)
{
    prn__text text;
    prn_error error = PRN_ERROR_INIT;
    prn__recipe *recipe = NULL;
    watch w = {.stop_at = -1};
    char found[PRN_ERROR_MESSAGE_BYTES];
    prn__text_init(&text);
    prn__text_printf(&text, "local kept\nlocal strategies = { entry { label = 'x', plan = function(step) return { start_step = step - 1, sources = step } end,\n"
                            "%s } }\n", function);
    write_recipe(g, text.data);
    prn__text_fini(&text);
    MUST(load_recipe(g, "cpu", "kept", NULL, 0, &recipe, error_));
    if (run_plan(g, recipe, &w, &error) != PRN_INVALID) {
        fail_msg("%s: %s", function, error.message);
    }
    assert_message(&error, "changed its variable `kept`");
    if (run_plan(g, recipe, &w, &error) != PRN_INVALID) {
        fail_msg("%s: %s", function, error.message);
    }
    without_folder(g, error.message, found, sizeof found);
    if (strstr(found, message) == NULL) {
        fail_msg("'%s' lacks '%s'", found, message);
    }
    prn__recipe_destroy(recipe);
}

static void test_handles_of_calls_that_are_over(void **state)
{
    const ground *g = *state;
    static const char ends[] = "vectors live as long as the call that they were made in, and stage:keep keeps what they hold for later time steps";
    char message[300];
    (void)snprintf(message, sizeof message, "r.lua:5: v:fill: its vector is a vector of a call that is over; %s", ends);
    refused_later(g, "gradient = function(stage) if kept then kept:fill(0) end kept = stage:vector() end", message);
    (void)snprintf(message, sizeof message, "r.lua:5: v:dot: the other vector is a vector of a call that is over; %s", ends);
    refused_later(g, "gradient = function(stage) if kept then stage.gradient:dot(kept) end kept = stage.gradient end", message);
    refused_later(g, "gradient = function(stage) if kept then kept:vector() end kept = stage end",
                  "r.lua:5: this stage is of a call that is over; use the one that `gradient` is given");
    refused_later(g, "gradient = function(stage) if kept then kept(stage) end kept = stage.score end", "stage:score: the weights must be a vector, not nil");
    refused_later(g, "loss = function(c) if kept then c:exp(kept) end kept = c.logits end",
                  "r.lua:5: c:exp: input 1 is a term of a call that is over; terms live as long as the call that they were made in");
    refused_later(g, "loss = function(c) if kept then kept:exp(c.logits) end kept = c end",
                  "r.lua:5: this composer is of a call that is over; use the one that `loss` is given");
    refused_later(g, "loss = function(c) if kept then return kept - c.logits end kept = c.logits end",
                  "r.lua:5: each side of `-` is a term of a call that is over; terms live as long as the call that they were made in");
    refused_later(g, "loss = function(c) if kept then return kept end kept = c.logits end",
                  "r.lua:5: what `loss` returned is a term of a call that is over; terms live as long as the call that they were made in");
    refused_later(g, "finish = function(stage) if kept then stage:keep('mine', kept) end kept = stage:load_weights(0) end",
                  "stage:keep: what is kept is a vector of a call that is over");
}

static void test_handles_outside_of_all_calls(void **state)
{
    const ground *g = *state;
    prn_error error = PRN_ERROR_INIT;
    prn__recipe *recipe = NULL;
    watch w = {.stop_at = -1};
    write_recipe(g, "local kept\nlocal strategies = { entry { label = 'x', plan = function(step) return { start_step = step - 1, sources = step } end,\n"
                    "gradient = function(stage) kept = stage:vector() end } }\n"
                    "local recipe = p.recipe\n"
                    "p = { recipe = function(t) t.schedule = function() return kept and kept:dot(kept) or 1e-3 end return recipe(t) end,\n"
                    "      steps = p.steps, seconds = p.seconds, model = p.model, cosine = p.cosine }\n");
    MUST(load_recipe(g, "cpu", "outside", NULL, 0, &recipe, error_));
    assert_int_equal(run_plan(g, recipe, &w, &error), PRN_INVALID);
    assert_message(&error, "changed its variable `kept`");
    assert_int_equal(run_plan(g, recipe, &w, &error), PRN_INVALID);
    assert_message(&error, "this works inside a strategy's functions only");
    prn__recipe_destroy(recipe);
}

/* ---- anything at all ----------------------------------------------------------------------------------------------------------------- */

/* Compositions drawn at random: each is taken or refused with a message, and does no harm. */
static void test_random_compositions(void **state)
{
    static const char text[] =
        "local names = { 'linear', 'l2_normalise', 'similarity', 'soft_cross_entropy', 'activation', 'axpby', 'multiply', 'exp', 'sum', 'dot', 'clamp' }\n"
        "local fields = { 'logits', 'rows', 'columns', 'log_scale', 'teacher_logits', 'teacher_rows', 'teacher_columns', 'teacher_log_scale', 'weights' }\n"
        "local attributes = { { alpha = 1 }, { alpha = 2, beta = -1 }, { alpha = -1, beta = 1 }, { activation = 'gelu' }, { activation = 'quick_gelu',\n"
        "  transpose_w = true }, { transpose_w = true }, {} }\n"
        "local orders = {}\n"
        "for i = 1, 4000 do orders[i] = math.random(1000000) end\n"
        "local function compose(c, from)\n"
        "  local at, made = from, {}\n"
        "  local function draw(n) at = at + 1 return orders[at] % n + 1 end\n"
        "  local function input() local k = draw(#fields + #made) return c[fields[k]] or made[k - #fields] or made[#made] or c.weights or c.logits end\n"
        "  for _ = 1, draw(6) do\n"
        "    local name, a, b, x = names[draw(#names)], input(), input(), attributes[draw(#attributes)]\n"
        "    local one = name == 'l2_normalise' or name == 'activation' or name == 'exp' or name == 'sum' or name == 'clamp'\n"
        "    local plain = name ~= 'linear' and name ~= 'soft_cross_entropy' and name ~= 'activation' and name ~= 'axpby' and name ~= 'clamp'\n"
        "    if name == 'soft_cross_entropy' then x = { alpha = 2 } elseif name == 'axpby' or name == 'clamp' then x = { alpha = 1, beta = 2 } end\n"
        "    if name == 'activation' then x = { activation = 'gelu' } elseif name == 'linear' then x = { transpose_w = draw(2) == 1 } end\n"
        "    if plain then made[#made + 1] = one and c[name](c, a) or not one and c[name](c, a, b)\n"
        "    else made[#made + 1] = one and c[name](c, a, x) or not one and c[name](c, a, b, x) end\n"
        "  end\n"
        "  return made[#made]\n"
        "end\n"
        "local strategies = {}\n"
        "for k = 1, 40 do strategies[k] = entry { label = 'x' .. k, options = { from = FROM + 90 * k },\n"
        "  plan = function(step) return { start_step = 0, sources = step, teacher = 0 } end,\n"
        "  [k % 2 == 0 and 'loss' or 'penalty'] = function(c, stage, o) return compose(c, o.from) end } end\n";
    const ground *g = *state;
    int taken = 0, refused = 0;
    for (int k = 1; k <= 40; k++) {
        char recipe_text[sizeof text + 64], label[16];
        const char *from = strstr(text, "FROM");
        prn__recipe *recipe = NULL;
        prn_error error = PRN_ERROR_INIT;
        watch w = {.stop_at = -1};
        (void)snprintf(label, sizeof label, "x%d", k);
        (void)snprintf(recipe_text, sizeof recipe_text, "%.*s0%s", (int)(from - text), text, from + 4);
        write_recipe(g, recipe_text);
        const prn__option_pair pairs[] = {{"strategies", label}, {"budget.steps", "1"}, {"evaluate", ""}};
        MUST(load_recipe(g, "cpu", "random", pairs, 2, &recipe, error_));
        prn_status status = run_plan(g, recipe, &w, &error);
        assert_true(status == PRN_OK || status == PRN_INVALID || status == PRN_NUMERIC || status == PRN_UNSUPPORTED);
        assert_true(status == PRN_OK || (strlen(error.message) > 40 && strstr(error.message, label) != NULL));
        taken += status == PRN_OK;
        refused += status != PRN_OK;
        prn__recipe_destroy(recipe);
    }
    assert_true(taken >= 1 && refused >= 10);
}

/* ---- memory that runs out ------------------------------------------------------------------------------------------------------------ */

static prn_status load_and_run(const ground *g, const char *workspace, int64_t nth, prn_error *error)
{
    const prn__option_pair pairs[] = {{"strategies", "lua-ewc,lua-lwf"}, {"budget.steps", "1"}, {"evaluate", ""}};
    prn__recipe *recipe = NULL;
    watch w = {.stop_at = -1};
    prn__alloc_fail_at(nth);
    prn_status status = load_recipe(g, "cpu", workspace, pairs, 2, &recipe, error);
    if (status == PRN_OK) {
        status = run_plan(g, recipe, &w, error);
    }
    prn__alloc_fail_at(0);
    prn__recipe_destroy(recipe);
    return status;
}

/* Each time one allocation fails, further and further on: an error, nothing leaks, and the run goes on from what it has. */
static void test_allocations_that_fail(void **state)
{
    const ground *g = *state;
    char *text;
    size_t length;
    int failed = 0;
    read_path(PRN_SOURCE_DIR "/tests/fixtures/lua_strategies.lua", &text, &length);
    write_recipe(g, text);
    prn__free(text);
    for (int64_t nth = 3; nth < 400000; nth += 1 + nth / 12) { /* the first are the test's own */
        const int64_t before = prn__alloc_live();
        prn_error error = PRN_ERROR_INIT;
        prn_status status = load_and_run(g, "memory", nth, &error);
        assert_int_equal(prn__alloc_live(), before);
        if (status != PRN_OK) {
            assert_true(error.status == (int32_t)status && error.message[0] != '\0');
            failed++;
        }
        if (status == PRN_OK && nth % 3 != 0) { /* a third of the attempts goes on from what is there */
            char command[160];
            (void)snprintf(command, sizeof command, "rm -rf '%s/memory'", g->folder);
            assert_int_equal(system(command), 0);
        }
    }
    if (failed < 20) { /* Lua tries again after collecting what it can: what fails is what belongs to no Lua state */
        fail_msg("%d", failed);
    }
    prn_error error = PRN_ERROR_INIT;
    if (load_and_run(g, "memory", 0, &error) != PRN_OK) {
        fail_msg("%s", error.message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_mistake_has_its_message),
        cmocka_unit_test(test_handles_of_calls_that_are_over),
        cmocka_unit_test(test_handles_outside_of_all_calls),
        cmocka_unit_test(test_random_compositions),
        cmocka_unit_test(test_allocations_that_fail),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
