/* The sandbox: what a recipe cannot reach, and what it cannot use up. */
#include "recipe/support.h"

#include <time.h>

#include "base/log.h"
#include "base/pool.h"

#define EXPECT(condition) "if not (" condition ") then error('" #condition "', 0) end\n"

static void test_only_the_allow_list(void **state)
{
    bench *b = *state;
    static const char *const gone[] = {"os", "io", "debug", "package", "coroutine", "load", "loadfile", "dofile", "collectgarbage", "warn",
                                       "string.dump", "math.randomseed", "loadstring"};
    for (size_t i = 0; i < sizeof gone / sizeof gone[0]; i++) {
        char text[256];
        (void)snprintf(text, sizeof text, "if %s ~= nil then error('reachable') end error('gone: %s')", gone[i], gone[i]);
        refused(b, text, 1, "gone: ");
    }
    refused(b, "error(string.upper('ok') .. table.concat({1,2}) .. math.floor(2.5) .. utf8.char(65) .. select('#', pcall(error)))", 1, "OK122A2");
}

static void test_modules(void **state)
{
    bench *b = *state;
    write_text(b->folder, "beside.lua", "return { value = ... }");
    write_text(b->folder, "loop.lua", "return require 'loop'");
    write_text(b->folder, "broken.lua", "\nreturn = 1");
    refused(b, "error(require('beside').value)", 1, "beside");
    refused(b, "error(tostring(require('beside') == require('beside')))", 1, "true");
    refused(b, "require 'loop'", 0, "loop.lua:1: ", "requires itself");
    refused(b, "require 'broken'", 0, "broken.lua:2: ");
    refused(b, "require 'absent'", 1, "no module 'absent'", "beside it");
    refused(b, "require '../beside'", 1, "no module");
    refused(b, "require '/etc/passwd'", 1, "no module");
    refused(b, "require 'os'", 1, "no module 'os'");
    refused(b, "require 'perennial.nothing'", 1, "no module");
    refused(b, "require ''", 1, "no module");
    refused(b, "require 'a..b'", 1, "no module");
    refused(b, "\x1bLua", 0, "text");
}

static void test_limits(void **state)
{
    bench *b = *state;
    const clock_t begin = clock(); /* of work, not on the wall: a busy machine fails nothing */
    refused(b, "local function f(...) return f(1, ...) end f()", 1, "10 seconds");
    refused(b, "while true do end", 1, "200 million instructions");
    b->instruction_limit = 20000000; /* the rest need not take as long */
    refused(b, "while true do pcall(function() while true do end end) end", 1, "instructions");
    refused(b, "local function f() return pcall(f) end while true do f() end", 1, "the recipe ran for more than");
    refused(b, "repeat until xpcall(function() while true do end end, function() while true do end end) == 1", 0, b->recipe);
    refused(b, "local t = {} for i = 1, 1e9 do t[i] = {i} end", 0, "memory", "256 MiB");
    refused(b, "local s = 'x' while true do s = s .. s end", 0, "memory");
    refused(b, "local s = ('x'):rep(1e9)", 1, "too long");
    refused(b, "local s = (''):rep(1e15)", 1, "too long");
    refused(b, "local s = ('x'):rep(1e7):rep(100)", 0, "memory");
    refused(b, "string.find(('a'):rep(1e5), ('.-'):rep(20) .. 'b')", 1, "pattern");
    refused(b, "(('a'):rep(1e4)):gsub('a*a*a*b', '')", 1, "pattern");
    refused(b, "table.move({}, 1, 1 << 60, 2)", 1, "too long");
    refused(b, "local t = {} for i = 0, 50 do t[1 << i] = 1 end table.insert(t, 1, 0) error('quick')", 1);
    refused(b, "table.insert(setmetatable({}, {__len = function() return 1 << 60 end}), 1, 0)", 1, "__len");
    refused(b, "setmetatable({}, {__gc = function() while true do end end})", 1, "__gc");
    refused(b, "local function f() return f() + 1 end f()", 1, "stack overflow");
    refused(b, "table.concat(setmetatable({}, {__index = table.concat}), '', 1, 1 << 60)", 1, "too long");
    refused(b, "table.concat({}, ',', math.mininteger, math.maxinteger)", 1, "too long");
    refused(b, "('('):rep(1e6):find('%b()')", 1, "pattern");
    refused(b, "('a'):rep(3e5):find(('a'):rep(1e5) .. 'b', 1, true)", 1, "pattern");
    refused(b, "('a'):rep(1e5):find('(.*)%1b')", 1, "pattern");
    refused(b, "local t = setmetatable({}, {}) getmetatable(t).__index = t local x = t.y", 1, "loop");
    refused(b, "local t = setmetatable({}, {__index = function(t, k) return t[k + 1] end}) local x = t[1]", 1, "stack overflow");
    refused(b, "local t = {} for i = 1, 1e5 do t = setmetatable({}, {__index = t}) end local x = t.y", 1);
    refused(b, "local s = ('x'):rep(100) for i = 1, 1e9 do s = s:upper() end", 1, "the recipe ran for more than");
    refused(b, "local x <close> = setmetatable({}, {__close = function() while true do end end}) while true do end", 0, "instructions");
    refused(b, "for i = 1, 1e9 do local x <close> = setmetatable({}, {__close = function() error('' .. i) end}) if i == 3 then error('out') end end", 1);
    refused(b, "table.sort({3, 1, 2, 5, 4, 9, 7}, function() return true end) error('sorted')", 1);
    refused(b, "\n('x'):rep({})", 2, "bad argument #1 to 'rep'");
    refused(b, "\ntable.insert({}, 'a', 'b', 'c')", 2, "wrong number of arguments to 'insert'");
    refused(b, "for k in ('a,b'):gmatch('%a') do if k == 'b' then error('second', 0) end end", 0, "second");
    refused(b, "table.unpack({}, 1, 1e8)", 1, "too many results");
    refused(b, "string.format(('%s'):rep(1000), table.unpack({}, 1, 1000)) error('formatted')", 1, "formatted");
    refused(b, "error('' .. string.format('%99.99f', 1e308):len())", 1, "409");
    refused(b, "local t = {} for i = 1, 2e6 do t[i] = i end local n = 0 while true do for k in pairs(t) do break end end", 0);
    refused(b, "local s = '' for i = 1, 300 do s = s .. '(' end error(select(2, pcall(string.find, 'x', s)))", 0, "captures");
    b->instruction_limit = 0;
    assert_true((double)(clock() - begin) / CLOCKS_PER_SEC < 120);
}

/* The limits of one recipe may be set; they are then what the message says. */
static void test_given_limits(void **state)
{
    bench *b = *state;
    prn_error error = PRN_ERROR_INIT;
    prn__recipe *recipe = NULL;
    const prn__recipe_settings small = {.library = PRN_SOURCE_DIR "/lua", .memory_limit_bytes = 3 << 20, .instruction_limit = 5000000};
    write_text(b->folder, "r.lua", "local t = {} for i = 1, 1e6 do t[i] = i end");
    assert_int_equal(prn__recipe_load(b->recipe, &small, b->registry, &recipe, &error), PRN_NO_MEMORY);
    assert_non_null(strstr(error.message, "3 MiB"));
    write_text(b->folder, "r.lua", "while true do end");
    assert_int_not_equal(prn__recipe_load(b->recipe, &small, b->registry, &recipe, &error), PRN_OK);
    assert_non_null(strstr(error.message, "5 million"));
    const prn__recipe_settings tiny = {.library = PRN_SOURCE_DIR "/lua", .memory_limit_bytes = 1000};
    assert_int_equal(prn__recipe_load(b->recipe, &tiny, b->registry, &recipe, &error), PRN_NO_MEMORY);
    assert_null(recipe);
}

/* Whatever is raised becomes a message that names the recipe. */
static void test_error_objects(void **state)
{
    bench *b = *state;
    static const char *const raised[] = {"nil", "{}", "42", "true", "print", "setmetatable({}, {__tostring = function() while true do end end})",
                                         "setmetatable({}, {__tostring = function() error('again') end})", "setmetatable({}, {__name = ('x'):rep(1e6)})",
                                         "('x'):rep(1e6)", "'a\\0b'", "'%s%n%d'", "''", "'\\xff\\xfe'"};
    for (size_t i = 0; i < sizeof raised / sizeof raised[0]; i++) {
        char text[256];
        (void)snprintf(text, sizeof text, "error(%s)", raised[i]);
        refused(b, text, 0, b->recipe);
        (void)snprintf(text, sizeof text, "error(%s, 0)", raised[i]);
        refused(b, text, 0, b->recipe);
        (void)snprintf(text, sizeof text, "local ok, e = pcall(error, %s) assert(not ok) xpcall(error, error, e) error('caught', 0)", raised[i]);
        refused(b, text, 0, "caught");
    }
}

static void test_handlers(void **state)
{
    bench *b = *state;
    refused(b, "local ok, e = xpcall(function() error('x', 0) end, function(m) return m .. 'y' end) error(tostring(ok) .. e, 0)", 0, "falsexy");
    refused(b, "local ok, a, c = xpcall(function(...) return ... end, print, 1, 2) error(tostring(ok) .. a .. c, 0)", 0, "true12");
    refused(b, "local ok, e = xpcall(error, function(m) error('inner', 0) end, 'm') error(tostring(ok) .. e, 0)", 0, "falseinner");
    refused(b, "xpcall(print)", 1, "function expected");
    refused(b, "xpcall(print, 3)", 1, "function expected");
    refused(b, "error(tostring(select('#', xpcall(print, print))), 0)", 0, ": 1");
}

/* Lua's own order follows a random seed of the process; ours is numbers, then strings. */
static void test_pairs_have_an_order(void **state)
{
    bench *b = *state;
    refused(b, "local t, s = {10, 20, 30, z = 1, a = 2, m = 3, [2.5] = 4, [-1] = 5, [true] = 6, [false] = 7}, ''\n"
               "for k, v in pairs(t) do s = s .. tostring(k) .. '=' .. v .. ' ' end error(s, 0)", 0,
            "false=7 true=6 -1=5 1=10 2=20 3=30 2.5=4 a=2 m=3 z=1");
    refused(b, "local t, n = {a = 1, b = 2, c = 3}, 0 for k in pairs(t) do t[k] = nil t.c = nil n = n + 1 end error(n .. tostring(next(t)), 0)", 0, "2nil");
    refused(b, "local t = setmetatable({}, {__pairs = function() return function(_, k) if not k then return 'k', 'v' end end end})\n"
               "for k, v in pairs(t) do error(k .. v, 0) end", 0, "kv");
    refused(b, "pairs(nil)", 1, "table expected");
    refused(b, "pairs()", 1);
    refused(b, "for k, v in pairs {} do error 'none' end error('end', 0)", 0, "end");
    refused(b, "local s = '' for k in pairs {['a\\0b'] = 1, ['a'] = 1, ['a\\0a'] = 1} do s = s .. #k .. k:byte(-1) .. ' ' end error(s, 0)", 0, "197 397 398");
}

static int lines;

static void count_lines(void *context, prn_log_level level, const char *message)
{
    (void)context;
    (void)level;
    lines += strstr(message, "recipe: ") != NULL;
}

static void test_printing_is_bounded(void **state)
{
    bench *b = *state;
    lines = 0;
    prn__log_set_sink(count_lines, NULL);
    refused(b, "for i = 1, 1e5 do print(i, {}, nil, setmetatable({}, {__tostring = function() return 'x' end})) end error('done', 0)", 0, "done");
    prn__log_set_sink(NULL, NULL);
    assert_int_equal(lines, 1000);
}

static void test_constructors_see_through_no_metatable(void **state)
{
    bench *b = *state;
    static const char HEAD[] = "local p = require 'perennial'\n";
    static const char *const attacks[] = {
        "p.recipe(setmetatable({}, {__pairs = function() while true do end end, __len = error, __newindex = error, __index = error}))",
        "p.adamw(setmetatable({}, {__call = error}))", "p.cosine()", "p.cosine({}, {})", "p.cosine(nil)", "p.recipe.x = 1", "p.samples()", "p.samples({})",
        "p.samples('1')", "p.strategy()", "p.strategy {}", "p.strategy 'sequential' 'x'", "p.backend()", "p.backend {}", "p[1]", "p[{}]", "p[nil]",
        "p[('x'):rep(1e6)]", "p['a\\0b']", "setmetatable(p, {}).recip()", "getmetatable(p).__index(nil, 'x')", "getmetatable(p).__index(p, {})",
        "getmetatable(p).__index(3, 'recip')", "getmetatable('').__index = nil local x = ('x'):rep(3)", "require 'perennial'.recipe = nil return p.recipe {}",
    };
    for (size_t i = 0; i < sizeof attacks / sizeof attacks[0]; i++) {
        char text[512];
        (void)snprintf(text, sizeof text, "%slocal r = %s\nreturn r", HEAD, attacks[i]);
        refused(b, text, 0, b->recipe);
        (void)snprintf(text, sizeof text, "%s%s", HEAD, attacks[i]);
        refused(b, text, 0, b->recipe);
    }
    /* what a constructor took is a copy: later changes, and metatables, do not reach it */
    refused(b, "local p = require 'perennial'\nlocal a = p.adamw { decay = 0.1 }\nsetmetatable(a, {__index = error, __gc = print})", 3, "__gc");
}

static void test_hostile_results(void **state)
{
    bench *b = *state;
    refused(b, "return setmetatable({}, {__index = function() error('trap') end})", 0, "return p.recipe");
    refused(b, "local p = require 'perennial' return p.recipe(setmetatable({}, {__index = function() error('trap') end, __pairs = error}))", 1, "`stream`");
    refused(b, "return {}", 0, "return p.recipe", "table");
    refused(b, "local p = require 'perennial' return setmetatable(p.recipe {}, {__index = {stream = 'stream.yaml'}})", 1, "`stream`");
    refused(b, "local p = require 'perennial' return p.recipe { [1e300] = 1 }", 1, "without a key");
    refused(b, "local p = require 'perennial' return p.recipe { stream = 'a\\0b' }", 1, "zero byte");
    refused(b, "local p = require 'perennial' return p.recipe { stream = ('x'):rep(1e6) }", 1, "`stream`");
    refused(b, "local p = require 'perennial' local t = {} t.strategies = t return p.recipe(t)", 1, "`stream`");
    refused(b, "local p = require 'perennial' return p.recipe { stream = 'stream.yaml', budget = setmetatable({samples = 1}, {}) }", 1, "`budget`");
}

static void test_random_numbers_are_the_same_every_time(void **state)
{
    bench *b = *state;
    prn_error first = PRN_ERROR_INIT, second = PRN_ERROR_INIT;
    prn__recipe *recipe = NULL;
    assert_int_not_equal(load_with(b, "error(tostring(math.random()) .. ' ' .. math.random(1000000))", NULL, 0, &recipe, &first), PRN_OK);
    assert_int_not_equal(load_with(b, "error(tostring(math.random()) .. ' ' .. math.random(1000000))", NULL, 0, &recipe, &second), PRN_OK);
    assert_string_equal(first.message, second.message);
}

static void test_files_that_are_no_recipes(void **state)
{
    bench *b = *state;
    prn_error error = PRN_ERROR_INIT;
    prn__recipe *recipe = NULL;
    const prn__recipe_settings settings = {.library = PRN_SOURCE_DIR "/lua"}, nowhere = {.library = "/no/such/library"}, none = {0};
    assert_int_equal(prn__recipe_load("/no/such/recipe.lua", &settings, b->registry, &recipe, &error), PRN_NOT_FOUND);
    assert_non_null(strstr(error.message, "/no/such/recipe.lua"));
    assert_int_not_equal(prn__recipe_load(b->folder, &settings, b->registry, &recipe, &error), PRN_OK);
    write_text(b->folder, "r.lua", "require 'perennial'");
    assert_int_not_equal(prn__recipe_load(b->recipe, &nowhere, b->registry, &recipe, &error), PRN_OK);
    assert_non_null(strstr(error.message, "no module 'perennial'"));
    assert_int_not_equal(prn__recipe_load(b->recipe, &none, b->registry, &recipe, &error), PRN_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_the_allow_list), cmocka_unit_test(test_modules),
        cmocka_unit_test(test_limits),              cmocka_unit_test(test_hostile_results),
        cmocka_unit_test(test_given_limits),        cmocka_unit_test(test_error_objects),
        cmocka_unit_test(test_handlers),            cmocka_unit_test(test_pairs_have_an_order),
        cmocka_unit_test(test_printing_is_bounded), cmocka_unit_test(test_constructors_see_through_no_metatable),
        cmocka_unit_test(test_random_numbers_are_the_same_every_time), cmocka_unit_test(test_files_that_are_no_recipes),
    };
    return cmocka_run_group_tests(tests, bench_setup, bench_teardown);
}
