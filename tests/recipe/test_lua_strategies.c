/* Strategies that a recipe defines itself: the plugins written again in Lua (tests/fixtures/lua_strategies.lua) end with the plugins'
 * bytes; keys, sharing, costs and interruptions are those of any other strategy. */
#include "recipe/lua_support.h"

#include "recipe/lua_strategy.h"
#include "recipe/sweep.h"

#include <signal.h>
#include <sys/wait.h>

static const char *const PAIRS[][2] = {
    {"sequential", "lua-sequential"}, {"cumulative", "lua-cumulative"}, {"replay", "lua-replay"}, {"lwf", "lua-lwf"}, {"patching", "lua-patching"},
    {"ewc", "lua-ewc"}, {"agem", "lua-agem"}, {"zscl", "lua-zscl"}, {"arithmetic", "lua-arithmetic"},
};
enum { PAIR_COUNT = sizeof PAIRS / sizeof PAIRS[0] };

static char *all_strategies(void)
{
    char *text;
    size_t length;
    read_path(PRN_SOURCE_DIR "/tests/fixtures/lua_strategies.lua", &text, &length);
    return text;
}

static void write_all(const ground *g)
{
    char *text = all_strategies();
    write_recipe(g, text);
    prn__free(text);
}

static int setup(void **state)
{
    static ground g;
    ground_open(&g, 2);
    make_stream(&g);
    write_all(&g);
    *state = &g;
    return 0;
}

static int teardown(void **state)
{
    ground_close(*state);
    return 0;
}

static void drop(const ground *g, const char *name)
{
    char command[160];
    (void)snprintf(command, sizeof command, "rm -rf '%s/%s'", g->folder, name);
    assert_int_equal(system(command), 0);
}

static watch run_whole(const ground *g, const prn__recipe *recipe)
{
    watch w = {.stop_at = -1};
    MUST(run_plan(g, recipe, &w, error_));
    assert_int_equal(w.bad, 0);
    return w;
}

/* ---- the plugins' bytes ------------------------------------------------------------------------------------------------------------ */

static void same_weights(const ground *g, const char *backend)
{
    prn__arena memory;
    int64_t before = prn__alloc_live();
    prn__recipe *recipe = must_load(g, backend, backend);
    prn__plan *plan = must_plan(g, recipe);
    run_whole(g, recipe);
    prn__arena_init(&memory, 1024);
    for (int i = 0; i < PAIR_COUNT; i++) {
        const prn__plan_line *c = line_of(plan, PAIRS[i][0]), *lua = line_of(plan, PAIRS[i][1]);
        for (uint32_t t = 0; t < plan->step_count; t++) {
            const int32_t stages[2][2] = {{c->trained[t], lua->trained[t]}, {c->deployed[t], lua->deployed[t]}};
            for (int k = 0; k < 2; k++) {
                const char *left = plan->stages[stages[k][0]].key, *right = plan->stages[stages[k][1]].key;
                assert_int_equal(plan->stages[stages[k][0]].hooks, plan->stages[stages[k][1]].hooks);
                if (!is_same_file(stage_file(&memory, recipe->workspace, left, "open_clip_model.safetensors"),
                                  stage_file(&memory, recipe->workspace, right, "open_clip_model.safetensors"))) {
                    fail_msg("%s: %s and %s differ after time step %u (%s)", backend, PAIRS[i][0], PAIRS[i][1], t + 1, k == 0 ? "trained" : "deployed");
                }
                /* stages with hooks are each strategy's own, others are shared */
                assert_int_equal(strcmp(left, right) == 0, plan->stages[stages[k][0]].hooks == 0 && (t == 0 || c->deployed[t - 1] == lua->deployed[t - 1] ||
                                                                                                    strcmp(PAIRS[i][0], "arithmetic") == 0));
            }
        }
        /* and their costs, exactly */
        assert_true(c->forward_macs == lua->forward_macs && c->total_macs == lua->total_macs && c->teacher_macs == lua->teacher_macs &&
                    c->tuning_macs == lua->tuning_macs && c->samples == lua->samples && c->memory_factor == lua->memory_factor &&
                    c->buffer_samples == lua->buffer_samples);
    }
    prn__arena_fini(&memory);
    prn__plan_destroy(plan);
    prn__recipe_destroy(recipe);
    assert_int_equal(prn__alloc_live(), before);
}

static void test_the_cpu_backend_gives_the_plugins_bytes(void **state)
{
    same_weights(*state, "cpu");
}

static void test_the_reference_backend_gives_the_plugins_bytes(void **state)
{
    same_weights(*state, "reference");
}

/* The comparison would see a term that is a little off. */
static void test_another_weight_gives_other_bytes(void **state)
{
    const ground *g = *state;
    const prn__option_pair pairs[] = {{"strategies", "lwf,lua-lwf"}, {"strategies.lua-lwf.weight", "1.001"}};
    prn__arena memory;
    prn__recipe *recipe = NULL;
    MUST(load_recipe(g, "cpu", "cpu", pairs, 2, &recipe, error_));
    prn__plan *plan = must_plan(g, recipe);
    run_whole(g, recipe);
    prn__arena_init(&memory, 1024);
    const char *left = plan->stages[line_of(plan, "lwf")->trained[1]].key, *right = plan->stages[line_of(plan, "lua-lwf")->trained[1]].key;
    assert_false(is_same_file(stage_file(&memory, recipe->workspace, left, "open_clip_model.safetensors"),
                              stage_file(&memory, recipe->workspace, right, "open_clip_model.safetensors")));
    assert_non_null(strstr(line_of(plan, "lua-lwf")->options, "1.001"));
    prn__arena_fini(&memory);
    prn__plan_destroy(plan);
    prn__recipe_destroy(recipe);
}

/* ---- interruptions -------------------------------------------------------------------------------------------------------------------- */

static prn__recipe *load_some(const ground *g, const char *labels, const char *workspace)
{
    const prn__option_pair pairs[] = {{"strategies", labels}, {"save_every.steps", "1"}};
    prn__recipe *recipe = NULL;
    MUST(load_recipe(g, "cpu", workspace, pairs, 2, &recipe, error_));
    return recipe;
}

static void assert_same_stages(const ground *g, const prn__recipe *left, const prn__recipe *right)
{
    prn__arena memory;
    prn__plan *a = must_plan(g, left), *b = must_plan(g, right);
    prn__arena_init(&memory, 1024);
    assert_int_equal(a->stage_count, b->stage_count);
    for (uint32_t i = 0; i < a->stage_count; i++) {
        const char *key = a->stages[i].key;
        assert_string_equal(key, b->stages[i].key);
        assert_true(b->stages[i].is_done);
        assert_same_file(stage_file(&memory, left->workspace, key, "open_clip_model.safetensors"),
                         stage_file(&memory, right->workspace, key, "open_clip_model.safetensors"));
        char *kept = stage_file(&memory, left->workspace, key, "kept.safetensors");
        if (prn__file_exists(kept)) {
            assert_same_file(kept, stage_file(&memory, right->workspace, key, "kept.safetensors"));
        }
    }
    prn__arena_fini(&memory);
    prn__plan_destroy(a);
    prn__plan_destroy(b);
}

/* Stopped at question `stride` of each attempt; the recipe is read anew for each, as another process would. Returns how often. */
static int go_on_until_done(const ground *g, const char *labels, const char *workspace, int64_t stride)
{
    int stops = 0;
    for (prn_status status = PRN_INTERRUPTED; status == PRN_INTERRUPTED; stops++) {
        prn_error error = PRN_ERROR_INIT;
        prn__recipe *part = load_some(g, labels, workspace);
        watch w = {.stop_at = stride};
        status = run_plan(g, part, &w, &error);
        prn__recipe_destroy(part);
        if (status != PRN_OK && status != PRN_INTERRUPTED) {
            fail_msg("%s", error.message);
        }
        if (stops >= 400) { fail_msg("%s, stride %lld: stopped 400 times", labels, (long long)stride); }
    }
    return stops;
}

static void test_stopped_again_and_again(void **state)
{
    static const struct {
        const char *labels;
        int64_t strides[3]; /* a finishing stage that was stopped is made again from its start: the stride must be longer than its scores */
        int fewest;
    } cases[] = {{"lua-lwf,lua-agem,lua-zscl", {1, 2, 5}, 10}, {"lua-ewc", {1, 3, 4}, 5}, {"lua-patching,lua-arithmetic", {12, 17, 25}, 2}};
    const ground *g = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        prn__recipe *whole = load_some(g, cases[i].labels, "whole");
        run_whole(g, whole);
        for (int k = 0; k < 3; k++) {
            assert_true(go_on_until_done(g, cases[i].labels, "parts", cases[i].strides[k]) >= cases[i].fewest);
            prn__recipe *part = load_some(g, cases[i].labels, "parts");
            assert_same_stages(g, whole, part);
            prn__recipe_destroy(part);
            drop(g, "parts");
        }
        prn__recipe_destroy(whole);
    }
}

static void test_killed_at_any_instant(void **state)
{
    static const char KILLED[] = "lua-lwf,lua-ewc,lua-agem,lua-patching";
    const ground *g = *state;
    prn__recipe *whole = load_some(g, KILLED, "whole");
    run_whole(g, whole);
    int killed = 0;
    for (int i = 0; i < 12; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) { /* the pool's threads are not there in a child: it gets a ground of its own */
            ground own = *g;
            prn_error error = PRN_ERROR_INIT;
            if (prn__pool_create(1, NULL, &own.pool, &error) != PRN_OK ||
                prn__registry_create(own.pool, PRN_BUILD_DIR "/plugins", &own.registry, &error) != PRN_OK) {
                _exit(9);
            }
            prn__recipe *recipe = load_some(&own, KILLED, "killed");
            watch w = {.stop_at = -1};
            _exit(run_plan(&own, recipe, &w, &error) == PRN_OK ? 0 : 8);
        }
        usleep((useconds_t)(15000 + 23000 * i));
        (void)kill(child, SIGKILL);
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
        killed += WIFSIGNALED(status);
    }
    assert_true(killed > 0);
    prn__recipe *rest = load_some(g, KILLED, "killed");
    run_whole(g, rest);
    assert_same_stages(g, whole, rest);
    prn__recipe_destroy(rest);
    prn__recipe_destroy(whole);
    drop(g, "killed");
}

/* ---- keys ---------------------------------------------------------------------------------------------------------------------------------- */

static void keys_of(const ground *g, const char *label, const prn__option_pair *more, size_t count, char keys[2][33])
{
    prn__recipe *recipe = NULL;
    MUST(load_recipe(g, "cpu", "keys", more, count, &recipe, error_));
    prn__plan *plan = must_plan(g, recipe);
    memcpy(keys[0], plan->stages[line_of(plan, label)->deployed[0]].key, 33);
    memcpy(keys[1], plan->stages[line_of(plan, label)->deployed[1]].key, 33);
    prn__plan_destroy(plan);
    prn__recipe_destroy(recipe);
}

static void test_keys_follow_what_is_reached(void **state)
{
    const ground *g = *state;
    static const char own[] = "local other = require 'other'\n"
                              "local function train_from_two(step)\n"
                              "  return { start_step = step - 1, sources = step, hooks = step > 1 and { 'train' } or {}, teacher = step > 1 and step - 1 or nil }\n"
                              "end\n"
                              "local function held(label, weight)\n"
                              "  return entry { label = label, options = { weight = weight }, plan = train_from_two,\n"
                              "    loss = function(c, stage, o) c:add(c:soft_cross_entropy(c.logits, c.teacher_logits, { alpha = other.alpha }), o.weight) end }\n"
                              "end\n"
                              "local strategies = { held('a', 1), held('b', 1) }\n";
    char first[2][33], now[2][33], longer[sizeof own + 32];
    write_recipe(g, own);
    write_bytes(g, "other.lua", "return { alpha = 2 }", 20);
    keys_of(g, "a", NULL, 0, first);
    keys_of(g, "a", NULL, 0, now);
    assert_string_equal(first[0], now[0]);
    assert_string_equal(first[1], now[1]);

    keys_of(g, "b", NULL, 0, now); /* another strategy of the same recipe: what it trains with its function is its own */
    assert_string_equal(first[0], now[0]);
    assert_string_not_equal(first[1], now[1]);

    const prn__option_pair weight = {"strategies.a.weight", "2"};
    keys_of(g, "a", &weight, 1, now);
    assert_string_equal(first[0], now[0]);
    assert_string_not_equal(first[1], now[1]);

    write_bytes(g, "other.lua", "return { alpha = 3 }", 20); /* a file that the recipe loads */
    keys_of(g, "a", NULL, 0, now);
    assert_string_equal(first[0], now[0]);
    assert_string_not_equal(first[1], now[1]);

    write_bytes(g, "other.lua", "return { alpha = 2 }", 20);
    (void)snprintf(longer, sizeof longer, "-- one more line\n%s", own);
    write_recipe(g, longer);
    keys_of(g, "a", NULL, 0, now);
    assert_string_equal(first[0], now[0]);
    assert_string_equal(first[1], now[1]);

    write_recipe(g, own);
    keys_of(g, "a", NULL, 0, now);
    assert_string_equal(first[1], now[1]);

    write_bytes(g, "other.lua", "return { alpha = 2, [false] = { 1, { 'x' } } }", 46);
    keys_of(g, "a", NULL, 0, first);
    keys_of(g, "a", NULL, 0, now); /* whatever order a table has */
    assert_string_equal(first[1], now[1]); /* and the same in another folder, with the same stream */
    ground elsewhere = *g;
    char command[640];
    (void)snprintf(elsewhere.folder, sizeof elsewhere.folder, "%.40s/moved", g->folder);
    (void)snprintf(command, sizeof command, "mkdir '%s' && cp -r '%s/'*.lua '%s/stream.yaml' '%s/vocab.txt' '%s/train' '%s'", elsewhere.folder, g->folder, g->folder,
                   g->folder, g->folder, elsewhere.folder);
    assert_int_equal(system(command), 0);
    keys_of(&elsewhere, "a", NULL, 0, now);
    assert_string_equal(first[0], now[0]);
    assert_string_equal(first[1], now[1]);
    drop(g, "moved");
    drop(g, "keys");
    write_all(g);
}

static prn__digest content_of(const char *value)
{
    char text[512];
    lua_State *L = luaL_newstate();
    assert_non_null(L);
    luaL_openlibs(L);
    (void)snprintf(text, sizeof text, "local value = ...\nlocal function f() return value, f end\nreturn f");
    assert_int_equal(luaL_loadstring(L, text), LUA_OK);
    char expression[256];
    (void)snprintf(expression, sizeof expression, "return %s", value);
    assert_int_equal(luaL_dostring(L, expression), LUA_OK);
    assert_int_equal(lua_pcall(L, 1, 1, 0), LUA_OK);
    const int functions[3] = {LUA_NOREF, luaL_ref(L, LUA_REGISTRYINDEX), LUA_NOREF};
    int is_complete;
    prn__digest digest = prn__lua_content(L, functions, 3, &is_complete);
    lua_close(L);
    return digest;
}

/* Equal texts whose functions were made with different values are different strategies. */
static void test_keys_follow_what_functions_were_made_with(void **state)
{
    static const char *const different[] = {
        "nil", "false", "true", "0", "1", "1.5", "'1'", "''", "'\\0'", "{}", "{ 1 }", "{ 1, 2 }", "{ 2, 1 }", "{ a = 1 }", "{ b = 1 }", "{ a = 2 }", "{ a = { 1 } }",
        "{ a = { 2 } }", "{ [false] = 1 }", "{ [1.5] = 1 }", "{ ['1'] = 1 }", "setmetatable({}, { 1 })", "setmetatable({}, { 2 })", "{ [{}] = 1 }", "{ [{}] = 2 }", "{ [{}] = {} }", "string.gmatch('aa', 'b')", "string.gmatch('ab', 'b')",
        "function() end", "(function() local x = 1 return function() return x end end)()", "(function() local x = 2 return function() return x end end)()",
        "(function() local x = 2 return function() return 0, x end, 3 end)()", "(function() local t = {} t.t = t return t end)()", "{ t = {} }", "{ {}, {} }",
        "(function() local t = {} return { t, t } end)()"};
    static const char *const equal[][2] = {
        {"{ a = 1, b = 2, c = 3, d = 4, e = 5, f = 6, [1] = 'x', [true] = 0 }", "(function() local t = {} for i, k in ipairs { 'f', 'e', 'd', 'c', 'b', 'a' } do t[k] = 7 - i"
         " end t[true] = 0 t[1] = 'x' t.z = 1 t.z = nil return t end)()"},
        {"{ print, {} }", "{ print, {} }"}, {"1", "1"}, {"1 // 1", "1"}, {"'a' .. 'b'", "'ab'"}};
    enum { COUNT = sizeof different / sizeof different[0] };
    prn__digest digests[COUNT];
    (void)state;
    for (int i = 0; i < COUNT; i++) {
        digests[i] = content_of(different[i]);
        for (int k = 0; k < i; k++) {
            if (digests[i].low == digests[k].low || digests[i].high == digests[k].high) {
                fail_msg("%s and %s are one", different[i], different[k]);
            }
        }
    }
    for (size_t i = 0; i < sizeof equal / sizeof equal[0]; i++) {
        prn__digest a = content_of(equal[i][0]), b = content_of(equal[i][1]);
        assert_true(a.low == b.low && a.high == b.high);
    }
}

/* Two recipes whose strategy 'a' computes the same, or may not. */
static void test_keys_follow_nothing_else(void **state)
{
    static const char plan[] = "local function on(step) return { start_step = step - 1, sources = step, hooks = step > 1 and { 'finish' } or {} } end\n";
    static const char head[] = "local strategies = { entry { label = 'a', plan = on, finish = function(stage) ", tail[] = " end } }\n";
    static const char mix[] = "stage.weights:axpby(0.5, stage.weights)";
    const struct {
        const char *name, *before, *body, *other_before, *other_body;
        int is_same;
    } pairs[] = {
        {"a comment above", "", mix, "-- above\n\n\n", mix, 1},
        {"a comment inside", "", mix, "", "--[[ inside\n ]] stage.weights:axpby(0.5, --\n stage.weights)", 1},
        {"the name of a local", "", "local x = 0.5 stage.weights:axpby(x, stage.weights)", "", "local share = 0.5 stage.weights:axpby(share, stage.weights)", 1},
        {"a constant", "", mix, "", "stage.weights:axpby(0.25, stage.weights)", 0},
        {"1 and 1.0", "", "stage.weights:axpby(#tostring(1) / 4, stage.weights)", "", "stage.weights:axpby(#tostring(1.0) / 4, stage.weights)", 0},
        {"a helper", "local function share() return 0.5 end\n", "stage.weights:axpby(share(), stage.weights)", "local function share() return 0.25 end\n",
         "stage.weights:axpby(share(), stage.weights)", 0},
        {"a helper of a helper", "local function one() return 0.5 end local function share() return one() end\n", "stage.weights:axpby(share(), stage.weights)",
         "local function one() return 0.25 end local function share() return one() end\n", "stage.weights:axpby(share(), stage.weights)", 0},
        {"a comment in a helper", "local function share() return 0.5 end\n", "stage.weights:axpby(share(), stage.weights)",
         "local function share()\n -- a half\n return 0.5 end\n", "stage.weights:axpby(share(), stage.weights)", 1},
        {"a function that is not reached", "local function share() return 0.5 end local function other() return 1 end\n", "stage.weights:axpby(share(), stage.weights)",
         "local function share() return 0.5 end local function other() return 2 end\n", "stage.weights:axpby(share(), stage.weights)", 1},
        {"a table", "local t = { share = { 0.5 } }\n", "stage.weights:axpby(t.share[1], stage.weights)", "local t = { share = { 0.25 } }\n",
         "stage.weights:axpby(t.share[1], stage.weights)", 0},
        {"a function in a table", "local t = { share = function() return 0.5 end }\n", "stage.weights:axpby(t.share(), stage.weights)",
         "local t = { share = function() return 0.25 end }\n", "stage.weights:axpby(t.share(), stage.weights)", 0},
        {"a metatable", "local t = setmetatable({}, { __index = function() return 0.5 end })\n", "stage.weights:axpby(t.share, stage.weights)",
         "local t = setmetatable({}, { __index = function() return 0.25 end })\n", "stage.weights:axpby(t.share, stage.weights)", 0},
        {"a global", "share = 0.5\n", "stage.weights:axpby(share, stage.weights)", "share = 0.25\n", "stage.weights:axpby(share, stage.weights)", 0},
        {"a global function", "function share() return 0.5 end\n", "stage.weights:axpby(share(), stage.weights)", "function share() return 0.25 end\n",
         "stage.weights:axpby(share(), stage.weights)", 0},
        {"a global of a global function", "function share() return x end x = 0.5\n", "stage.weights:axpby(share(), stage.weights)",
         "function share() return x end x = 0.25\n", "stage.weights:axpby(share(), stage.weights)", 0},
        {"a global of a function inside", "x = 0.5\n", "local function f() return (function() return x end)() end stage.weights:axpby(f(), stage.weights)", "x = 0.25\n",
         "local function f() return (function() return x end)() end stage.weights:axpby(f(), stage.weights)", 0},
        {"another global", "share = 0.5\n", "stage.weights:axpby(share, stage.weights)", "share = 0.5 another = 1\n", "stage.weights:axpby(share, stage.weights)", 1},
        {"a global that is not there", "", "stage.weights:axpby(share or 0.5, stage.weights)", "share = 0.25\n", "stage.weights:axpby(share or 0.5, stage.weights)", 0},
        {"globals as a table", "share = 0.5\n", "stage.weights:axpby(_ENV['sh' .. 'are'], stage.weights)", "share = 0.25\n",
         "stage.weights:axpby(_ENV['sh' .. 'are'], stage.weights)", 0},
        {"globals as a table, and a comment", "share = 0.5\n", "stage.weights:axpby(_ENV['sh' .. 'are'], stage.weights)", "share = 0.5 --\n",
         "stage.weights:axpby(_ENV['sh' .. 'are'], stage.weights)", 0},
        {"_G", "share = 0.5\n", "stage.weights:axpby(_G.share, stage.weights)", "share = 0.25\n", "stage.weights:axpby(_G.share, stage.weights)", 0},
        {"globals with a metatable", "setmetatable(_G, { __index = function() return 0.5 end })\n", "stage.weights:axpby(share, stage.weights)",
         "setmetatable(_G, { __index = function() return 0.25 end })\n", "stage.weights:axpby(share, stage.weights)", 0},
        {"a library function", "local f = math.sin\n", "stage.weights:axpby(f(0.5), stage.weights)", "local f = math.cos\n", "stage.weights:axpby(f(0.5), stage.weights)", 0},
        {"a library function by its name", "", "stage.weights:axpby(math.sin(0.5), stage.weights)", "", "stage.weights:axpby(math.cos(0.5), stage.weights)", 0},
        {"a library with a comment", "", "stage.weights:axpby(math.sin(0.5), stage.weights)", "--\n", "stage.weights:axpby(math.sin(0.5), stage.weights)", 1},
        {"a library that was changed", "", "stage.weights:axpby(math.sin(0.5), stage.weights)", "math.sin = function() return 0.25 end\n",
         "stage.weights:axpby(math.sin(0.5), stage.weights)", 0},
        {"a library function in another one's place", "", "stage.weights:axpby(math.sin(0.5), stage.weights)", "math.sin = math.cos\n",
         "stage.weights:axpby(math.sin(0.5), stage.weights)", 0},
        {"a method of texts", "function string.share() return 0.5 end\n", "stage.weights:axpby((''):share(), stage.weights)", "function string.share() return 0.25 end\n",
         "stage.weights:axpby((''):share(), stage.weights)", 0},
        {"lines in a message", "", "local _, m = pcall(error, 'x', 2) stage.weights:axpby(#m / 1000, stage.weights)", "--\n",
         "local _, m = pcall(error, 'x', 2) stage.weights:axpby(#m / 1000, stage.weights)", 0},
        {"the order of `next`", "local t = { 1, 2 }\n", "stage.weights:axpby(next(t) / 2, stage.weights)", "local t = {} t[2] = 2 t[1] = 1\n",
         "stage.weights:axpby(next(t) / 2, stage.weights)", 0},
        {"a function of C with something in it", "local f = string.gmatch('aa', 'a')\n", "stage.weights:axpby(f and 0.5, stage.weights)",
         "local f = string.gmatch('ab', 'a')\n", "stage.weights:axpby(f and 0.5, stage.weights)", 0},
        {"a library of the recipe's", "local l = p\n", "stage.weights:axpby(l and 0.5, stage.weights)", "local l = p --\n", "stage.weights:axpby(l and 0.5, stage.weights)", 0},
        {"holes", "local t = { 1, nil, 3 }\n", "stage.weights:axpby(1 / #t, stage.weights)", "local t = {} t[3] = 3 t[1] = 1\n", "stage.weights:axpby(1 / #t, stage.weights)", 0},
        {"one variable of two functions", "local x = 0 local function set(v) x = v end local function get() return x end\n",
         "set(0.5) stage.weights:axpby(get(), stage.weights) set(0)", "local x, y = 0, 0 local function set(v) x = v end local function get() return y end\n",
         "set(0.5) stage.weights:axpby(get(), stage.weights) set(0)", 0},
        {"one table or two", "local a = { 1 } local b = a\n", "stage.weights:axpby(a == b and 0.5 or 1, stage.weights)", "local a, b = { 1 }, { 1 }\n",
         "stage.weights:axpby(a == b and 0.5 or 1, stage.weights)", 0},
        {"what a schedule leaves behind", "share = 0.5 schedule = function() share = 0.5 return 1e-3 end\n", "stage.weights:axpby(share, stage.weights)",
         "share = 0.5 schedule = function() share = 0.25 return 1e-3 end\n", "stage.weights:axpby(share, stage.weights)", 0},
        {"a module", "local m = require 'module'\n", "stage.weights:axpby(m.half, stage.weights)", "local m = require 'other'\n", "stage.weights:axpby(m.half, stage.weights)", 1},
        {"more than 255 constants", "", "local t = {} stage.weights:axpby(0.5, stage.weights)", "share = 1\n", "local t = {} stage.weights:axpby(0.5, stage.weights)", 1},
    };
    const ground *g = *state;
    write_bytes(g, "module.lua", "return { half = 0.5 }", 21);
    write_bytes(g, "other.lua", "-- the same\nreturn { half = 0.5 }", 33);
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        char keys[2][2][33];
        for (int k = 0; k < 2; k++) {
            prn__text text;
            prn__text_init(&text);
            prn__text_printf(&text, "%s%s%s%s%s", k == 0 ? pairs[i].before : pairs[i].other_before, plan, head, k == 0 ? pairs[i].body : pairs[i].other_body, tail);
            if (strstr(text.data, "schedule = function") != NULL) {
                prn__text_puts(&text, "local recipe = p.recipe\np = { recipe = function(t) t.schedule = schedule return recipe(t) end, steps = p.steps, seconds = p.seconds,"
                                      " model = p.model, cosine = p.cosine }\n");
            }
            write_recipe(g, text.data);
            prn__text_fini(&text);
            char again[2][33];
            keys_of(g, "a", NULL, 0, keys[k]);
            keys_of(g, "a", NULL, 0, again);
            assert_string_equal(keys[k][1], again[1]);
        }
        assert_string_equal(keys[0][0], keys[1][0]);
        if ((strcmp(keys[0][1], keys[1][1]) == 0) != pairs[i].is_same) {
            fail_msg("%s: the keys %s", pairs[i].name, pairs[i].is_same ? "differ" : "are the same");
        }
    }
    /* another strategy of the recipe, and the plan: what comes of it counts, not how it is written */
    static const char *const recipes[] = {
        "local strategies = { entry { label = 'a', plan = on, finish = function(stage) stage.weights:axpby(0.5, stage.weights) end },\n"
        " entry { label = 'b', plan = on, finish = function(stage) stage.weights:axpby(0.25, stage.weights) end } }\n",
        "local strategies = { entry { label = 'b', plan = on, finish = function(stage) stage.weights:axpby(0.75, stage.weights) end },\n"
        " entry { label = 'a', plan = function(step) local answer = on(step) return answer end, finish = function(stage) stage.weights:axpby(0.5, stage.weights) end } }\n",
        "local strategies = { entry { label = 'a', options = { x = 1 }, plan = on, finish = function(stage, o) stage.weights:axpby(o.x, stage.weights) end } }\n",
        "local strategies = { entry { label = 'a', options = { x = 1.0 }, plan = on, finish = function(stage, o) stage.weights:axpby(o.x, stage.weights) end } }\n"};
    char keys[4][2][33];
    for (size_t i = 0; i < 4; i++) {
        prn__text text;
        prn__text_init(&text);
        prn__text_printf(&text, "%s%s", plan, recipes[i]);
        write_recipe(g, text.data);
        prn__text_fini(&text);
        keys_of(g, "a", NULL, 0, keys[i]);
    }
    assert_string_equal(keys[0][1], keys[1][1]);
    assert_string_not_equal(keys[1][1], keys[2][1]);
    assert_string_not_equal(keys[2][1], keys[3][1]);
    drop(g, "keys");
    write_all(g);
}

/* Combinations of a sweep share what their choices do not reach. */
static void test_sweeps_share_what_no_choice_reaches(void **state)
{
    const ground *g = *state;
    prn__recipe_set *set = NULL;
    char *path = recipe_path(g);
    const prn__recipe_settings settings = {.library = PRN_SOURCE_DIR "/lua"};
    write_recipe(g, "local share, other, both = p.grid('share', { 0.25, 0.5 }), p.grid('other', { 1, 2 }), p.grid('both', { true, false })\n"
                    "local blend = function(stage) stage.weights:axpby(share, stage.weights, 1 - share, stage:load_weights(0)) end\n"
                    "local idle = both and function() return 1 end or function() return 2 end\n"
                    "local function go(step) return { start_step = step - 1, sources = step } end\n"
                    "local strategies = { entry { label = 'x', plan = go, finish = blend }, entry { label = 'y', plan = go, finish = idle },\n"
                    "  p.cumulative { budget_multiples = other } }\n"
                    "local recipe = p.recipe\n"
                    "p = setmetatable({ recipe = function(t) t.sweep, t.evaluate = p.sweep { on = 'retrieval' }, nil return recipe(t) end }, { __index = p })\n");
    MUST(prn__recipe_set_load(path, &settings, g->registry, &set, error_));
    assert_int_equal(set->count, 8); /* share, other, both: the last varies fastest */
    for (size_t i = 0; i < 8; i++) {
        for (size_t k = 0; k < i; k++) {
            const prn__recipe_strategy *a = set->recipes[i]->strategies, *b = set->recipes[k]->strategies;
            assert_int_equal(strcmp(a[0].source_digest, b[0].source_digest) == 0, i / 4 == k / 4);
            assert_int_equal(strcmp(a[1].source_digest, b[1].source_digest) == 0, i % 2 == k % 2); /* two functions of one line */
            assert_string_not_equal(a[0].source_digest, a[1].source_digest);
        }
    }
    prn__recipe_set_destroy(set);
    prn__free(path);
    write_all(g);
}

/* ---- what functions are given ------------------------------------------------------------------------------------------------------------ */

static void test_functions_see_what_they_should(void **state)
{
    const ground *g = *state;
    write_recipe(g,
                 "local function same(a, b, what) if a ~= b then error(what .. ': ' .. tostring(a) .. ' is not ' .. tostring(b), 2) end end\n"
                 "local strategies = { entry { label = 'seeing',\n"
                 "  options = { whole = 3, real = 0.5, text = 'a text', on = true, off = false, list = { 1, 2.5 }, none = {} },\n"
                 "  plan = function(step, line, o)\n"
                 "    same(line.step_count, 3, 'steps') same(#line.steps, 3, 'steps') same(line.steps[2].name, 'b', 'name')\n"
                 "    same(line.steps[3].index, 3, 'index') same(line.steps[1].samples, 40, 'samples') same(line.budget_samples, 32, 'budget')\n"
                 "    same(math.type(o.whole), 'integer', 'type') same(o.whole, 3, 'whole') same(o.real, 0.5, 'real') same(o.text, 'a text', 'text')\n"
                 "    same(o.on, true, 'on') same(o.off, false, 'off') same(#o.list, 2, 'list') same(o.list[2], 2.5, 'list') same(#o.none, 0, 'none')\n"
                 "    o.whole = 4; line.steps = nil\n" /* its own copies */
                 "    return { start_step = step - 1, sources = { step }, teacher = step > 1 and 'initial' or nil, memory_batch = step > 1 and 4 or nil,\n"
                 "             memory_sources = step > 1 and { { time_step = 1, max_samples = 10 } } or nil, hooks = step == 1 and { 'finish' } or nil,\n"
                 "             finish_gradient_batches = 1, kept_vectors = 1, keep_optimizer = step == 3 }\n"
                 "  end,\n"
                 "  loss = function(c, stage, o)\n"
                 "    same(o.whole, 3, 'whole') same(stage.steps, 4, 'updates') same(c.weights, nil, 'weights')\n"
                 "    for _, name in ipairs { 'logits', 'rows', 'columns', 'log_scale', 'teacher_logits', 'teacher_rows', 'teacher_columns', 'teacher_log_scale' } do\n"
                 "      assert(c[name], name)\n"
                 "    end\n"
                 "    local student, teacher = c:similarity(c.rows, c.columns, c.log_scale), c.teacher_logits\n"
                 "    local term = c:soft_cross_entropy(0.5 * student + student / 2, -(-teacher), { alpha = 1 })\n"
                 "    c:add(term - term * 0.5, 0.25)\n"
                 "    local held = c:clamp(teacher, { alpha = -1, beta = 1 })\n"
                 "    c:add(c:multiply(c:exp(0.01 * term), c:soft_cross_entropy(student, held, { alpha = 2 })), 1e-3)\n"
                 "  end,\n"
                 "  penalty = function(c, stage)\n"
                 "    same(c.logits, nil, 'logits')\n"
                 "    local anchor = stage:load_weights(stage.time_step - 1)\n"
                 "    same(anchor:dot(anchor), stage:load_weights(stage.time_step - 1):dot(anchor), 'anchor')\n"
                 "    local change = c:axpby(c.weights, c:vector(anchor), { alpha = 1, beta = -1 })\n"
                 "    return c:axpby(c:sum(change * change), { alpha = 1e-4 })\n"
                 "  end,\n"
                 "  gradient = function(stage)\n"
                 "    local memory, half = stage:vector(), stage:vector()\n"
                 "    assert(stage.step >= 0 and stage.step < stage.steps, 'step')\n"
                 "    assert(stage:memory_gradient(memory) > 0, 'loss')\n"
                 "    half:axpby(0.5, stage.gradient, 0.5, memory)\n"
                 "    stage.scratch:axpby(1, half)\n"
                 "    stage.gradient:axpby(1, stage.scratch)\n"
                 "    same(stage:load_weights(0):dot(stage.weights) ~= 0, true, 'weights')\n"
                 "  end,\n"
                 "  finish = function(stage, o)\n"
                 "    local v, n = stage:vector(), stage.elements\n"
                 "    same(#v, n, 'length') same(v:dot(v), 0.0, 'zeros')\n"
                 "    v:fill(2)\n"
                 "    same(v:dot(v), 4.0 * (n - stage.gap_elements), 'fill')\n"
                 "    v:write(3, { 5, 7 }):write(9, { 0.5 })\n"
                 "    local got = v:read(2, 4)\n"
                 "    same(#got, 4, 'read') same(got[1], 2.0, 'read') same(got[2], 5.0, 'read') same(got[3], 7.0, 'read') same(got[4], 2.0, 'read')\n"
                 "    same(v:dot(v), 4.0 * (n - stage.gap_elements - 3) + 25 + 49 + 0.25, 'written')\n"
                 "    same(v:read()[9], 0.5, 'ninth') same(#v:read(n), 1, 'rest') same(#v:read(), n, 'all')\n"
                 "    assert(stage.gap_elements >= 0 and stage.gap_elements < n, 'gaps')\n"
                 "    assert(stage:data_gradient(v) > 0, 'loss')\n"
                 "    if stage.time_step == 1 then same(stage.steps, 0, 'a finishing stage has no updates') end\n"
                 "    if stage.time_step > 1 then\n"
                 "      local why = select(2, stage:load_kept(stage.time_step - 1, 'nothing'))\n"
                 "      assert(why:find(\"no 'nothing'\"), why)\n"
                 "      same(select('#', stage:load_kept(stage.time_step - 1, 'mine', stage:vector())), 1, 'kept')\n"
                 "      same(stage:load_kept(stage.time_step - 1, 'mine'):dot(v) ~= 0, true, 'kept')\n"
                 "    end\n"
                 "    stage:keep('mine', v)\n"
                 "    stage:note('elements', n)\n"
                 "    stage.weights:axpby(0.5, stage.weights, 0.5, stage:load_weights(stage.time_step, 'trained'))\n"
                 "  end } }\n");
    prn__recipe *recipe = must_load(g, "cpu", "seeing");
    prn__plan *plan = must_plan(g, recipe);
    const prn__plan_line *line = line_of(plan, "seeing");
    assert_string_equal(line->strategy, "lua");
    assert_string_equal(plan->lines[0].plugin, recipe->strategies[0].source_digest);
    assert_int_equal(strlen(line->plugin), 32);
    assert_int_equal(plan->stages[line->trained[0]].hooks, 0);
    assert_int_equal(plan->stages[line->trained[1]].hooks, PRN_HOOK_TRAIN);
    assert_int_equal(plan->stages[line->trained[1]].teacher, PRN_TEACHER_INITIAL);
    assert_int_equal(plan->stages[line->trained[2]].keep_optimizer, 1);
    assert_int_equal(plan->stages[line->deployed[1]].hooks, PRN_HOOK_FINISH);
    prn__plan_destroy(plan);
    run_whole(g, recipe);
    prn__recipe_destroy(recipe);
    drop(g, "seeing");
    write_all(g);
}

/* What belongs to no parameter stays zero, whatever a vector is filled with: files have no room for it, and a weight that was read again
 * must be the weight that was written. */
static void test_filled_vectors_leave_gaps_alone(void **state)
{
    const ground *g = *state;
    write_recipe(g, "local strategies = { entry { label = 'filled',\n"
                    "  plan = function(step) return { start_step = step - 1, sources = step, keep_optimizer = step > 1, kept_vectors = 1 } end,\n"
                    "  gradient = function(stage)\n"
                    "    local v, list = stage:vector(), {}\n"
                    "    for i = 1, #v do list[i] = 1e-3 end\n"
                    "    v:write(1, list)\n"
                    "    stage.gradient:axpby(1, stage.gradient, 1, v)\n"
                    "    stage.gradient:axpby(1, stage.gradient, 1, v:fill(1e-3))\n"
                    "  end,\n"
                    "  finish = function(stage)\n"
                    "    local v = stage:vector():fill(1e-2)\n"
                    "    stage.weights:axpby(1, stage.weights, 1, v)\n"
                    "    stage:keep('filled', v)\n"
                    "  end } }\n");
    const prn__option_pair pairs[] = {{"save_every.steps", "1"}};
    prn__recipe *recipe = NULL;
    MUST(load_recipe(g, "cpu", "filled", pairs, 1, &recipe, error_));
    run_whole(g, recipe);
    assert_true(ask(recipe->workspace, "SELECT COUNT(*) FROM stages WHERE state = 'done'") == 6);
    prn__recipe_destroy(recipe);
    MUST(load_recipe(g, "cpu", "filled", pairs, 1, &recipe, error_)); /* everything is read and checked again */
    run_whole(g, recipe);
    prn__recipe_destroy(recipe);
    drop(g, "filled");
    write_all(g);
}

/* Many updates must not pile up vectors, nor what Lua leaves behind. */
static void test_memory_does_not_grow_with_updates(void **state)
{
    const ground *g = *state;
    write_recipe(g, "local strategies = { entry { label = 'many', plan = function(step) return { start_step = step - 1, sources = step } end,\n"
                    "  gradient = function(stage)\n"
                    "    local list = {}\n"
                    "    for i = 1, 20000 do list[i] = { i } end\n"
                    "    for i = 1, 30 do stage:vector():axpby(1, stage.gradient) end\n"
                    "  end } }\n");
    const prn__option_pair pairs[] = {{"budget.steps", "60"}};
    prn__recipe *recipe = NULL;
    MUST(load_recipe(g, "cpu", "many", pairs, 1, &recipe, error_));
    run_whole(g, recipe);
    prn__recipe_destroy(recipe);
    drop(g, "many");
    write_all(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_cpu_backend_gives_the_plugins_bytes),
        cmocka_unit_test(test_the_reference_backend_gives_the_plugins_bytes),
        cmocka_unit_test(test_another_weight_gives_other_bytes),
        cmocka_unit_test(test_stopped_again_and_again),
        cmocka_unit_test(test_killed_at_any_instant),
        cmocka_unit_test(test_keys_follow_what_is_reached),
        cmocka_unit_test(test_keys_follow_what_functions_were_made_with),
        cmocka_unit_test(test_keys_follow_nothing_else),
        cmocka_unit_test(test_sweeps_share_what_no_choice_reaches),
        cmocka_unit_test(test_functions_see_what_they_should),
        cmocka_unit_test(test_filled_vectors_leave_gaps_alone),
        cmocka_unit_test(test_memory_does_not_grow_with_updates),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
