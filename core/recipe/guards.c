/* core/recipe/guards.c: the library functions that a recipe sees.
 *
 * Those that can spin inside C for ever, where no hook runs, are wrapped: repetition, pattern matching (backtracking grows as a power
 * of the subject), and table functions over lengths that are not real. Finalisers run without hooks, so metatables with __gc are
 * refused; so do message handlers when the error comes from a hook, so xpcall calls them afterwards. `pairs` visits keys in one
 * order, because Lua's own order changes from process to process and a recipe is a function of its text.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "recipe/host.h"

enum { PRINT_LIMIT = 1000 };

static const lua_Integer LENGTH_LIMIT = 10000000; /* elements that one call of a table function may move */
static const double MATCH_LIMIT = 1e10;           /* steps that one match may take at worst: some seconds */

/* Runs the original function, upvalue 1, in this one's frame, so that its messages have the recipe's line (none of the originals has
 * upvalues of its own). What may be slow asks for the time before each call: two hundred slow calls between two hooks would
 * be too many. */
static int call_original(lua_State *L)
{
    prn__sandbox_check(L, 1);
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

/* table.*: only tables whose length is what it is, and not a mistake of the border search over a sparse table. */
static int guarded_table(lua_State *L)
{
    if (lua_istable(L, 1)) {
        if (luaL_getmetafield(L, 1, "__len") != LUA_TNIL) {
            return luaL_error(L, "table functions do not work on tables with __len in a recipe");
        }
        if (lua_rawlen(L, 1) > (lua_Unsigned)LENGTH_LIMIT) {
            return luaL_error(L, "this table is too long for a recipe");
        }
    }
    return call_original(L);
}

/* With __index, explicit bounds may span what no table holds. */
static int guarded_concat(lua_State *L)
{
    lua_Integer from = luaL_optinteger(L, 3, 1), to = luaL_optinteger(L, 4, 0);
    if (to >= from && (lua_Unsigned)to - (lua_Unsigned)from > (lua_Unsigned)LENGTH_LIMIT) {
        return luaL_error(L, "this range is too long for a recipe");
    }
    return guarded_table(L);
}

static int guarded_move(lua_State *L)
{
    lua_Integer from = luaL_checkinteger(L, 2), to = luaL_checkinteger(L, 3);
    if (to >= from && (lua_Unsigned)to - (lua_Unsigned)from > (lua_Unsigned)LENGTH_LIMIT) {
        return luaL_error(L, "this range is too long for a recipe");
    }
    return call_original(L);
}

static int guarded_rep(lua_State *L)
{
    if (luaL_checkinteger(L, 2) > LENGTH_LIMIT) {
        return luaL_error(L, "this repetition is too long for a recipe");
    }
    return call_original(L);
}

/* At worst each repetition in a pattern tries every length at every place, and each try looks at the whole pattern: a power of
 * the subject's length times the pattern's. %b and back references look at the rest of the subject, too. */
static int guarded_match(lua_State *L)
{
    size_t subject, length;
    (void)luaL_checklstring(L, 1, &subject);
    const char *pattern = luaL_checklstring(L, 2, &length);
    double steps = ((double)subject + 1) * ((double)length + 1);
    for (size_t i = 0; i < length; i++) {
        if (pattern[i] == '%') {
            i++;
            steps *= i < length && (pattern[i] == 'b' || (pattern[i] >= '0' && pattern[i] <= '9')) ? (double)subject + 1 : 1;
        } else if (pattern[i] == '*' || pattern[i] == '+' || pattern[i] == '-') {
            steps *= (double)subject + 1;
        } else if (pattern[i] == '?') {
            steps *= 2;
        }
    }
    if (steps > MATCH_LIMIT) {
        return luaL_error(L, "this pattern may take too long on a text of %d bytes; use a simpler one", (int)(subject < 1000000000 ? subject : 1000000000));
    }
    return call_original(L);
}

static int guarded_setmetatable(lua_State *L)
{
    if (lua_istable(L, 2)) {
        lua_pushliteral(L, "__gc");
        if (lua_rawget(L, 2) != LUA_TNIL) {
            return luaL_error(L, "metatables with __gc are not allowed in a recipe");
        }
        lua_pop(L, 1);
    }
    return call_original(L);
}

/* xpcall(f, handler, ...) that calls the handler when the error has unwound: without a debug library nothing can tell. */
static int call_handled(lua_State *L)
{
    int count = lua_gettop(L);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_rotate(L, 1, -1); /* f goes to the top ... */
    lua_insert(L, 2);     /* ... and below its arguments: handler, f, ... */
    if (lua_pcall(L, count - 2, LUA_MULTRET, 0) == LUA_OK) {
        lua_pushboolean(L, 1);
        lua_replace(L, 1);
        return lua_gettop(L);
    }
    lua_pushvalue(L, 1);
    lua_insert(L, 2);
    (void)lua_pcall(L, 1, 1, 0); /* a handler that fails gives its own error */
    lua_pushboolean(L, 0);
    lua_replace(L, 1);
    return lua_gettop(L);
}

typedef struct key_place {
    int rank; /* booleans, whole numbers, other numbers, strings, others */
    lua_Integer integer;
    lua_Number number;
    const char *text; /* alive in the list of keys */
    size_t length;
    int at; /* in the list of keys, from 1 */
} key_place;

static int compare_keys(const void *left, const void *right)
{
    const key_place *a = left, *b = right;
    int order = (a->rank > b->rank) - (a->rank < b->rank);
    if (order == 0 && a->text != NULL) {
        size_t shorter = a->length < b->length ? a->length : b->length;
        order = memcmp(a->text, b->text, shorter);
        order = order != 0 ? order : (a->length > b->length) - (a->length < b->length);
    } else if (order == 0) {
        order = (a->integer > b->integer) - (a->integer < b->integer);
        order = order != 0 ? order : (a->number > b->number) - (a->number < b->number);
    }
    return order != 0 ? order : (a->at > b->at) - (a->at < b->at);
}

/* Upvalues: the table, its keys in order, how many were visited. */
static int next_pair(lua_State *L)
{
    lua_Integer at = lua_tointeger(L, lua_upvalueindex(3)), count = (lua_Integer)lua_rawlen(L, lua_upvalueindex(2));
    while (at < count) {
        lua_settop(L, 0);
        (void)lua_rawgeti(L, lua_upvalueindex(2), ++at);
        lua_pushvalue(L, 1);
        if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) { /* it may have been removed meanwhile */
            lua_pushinteger(L, at);
            lua_replace(L, lua_upvalueindex(3));
            return 2;
        }
    }
    lua_pushnil(L);
    return 1;
}

static int ordered_pairs(lua_State *L)
{
    luaL_checkany(L, 1);
    if (luaL_getmetafield(L, 1, "__pairs") != LUA_TNIL) {
        lua_pushvalue(L, 1);
        lua_call(L, 1, 3);
        return 3;
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    prn__sandbox_check(L, 1);
    int count = 0;
    lua_settop(L, 1);
    lua_newtable(L); /* 2: keys as they come */
    lua_pushnil(L);
    while (lua_next(L, 1) != 0) {
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        lua_rawseti(L, 2, ++count);
    }
    key_place *places = lua_newuserdatauv(L, ((size_t)count + 1) * sizeof *places, 0); /* 3 */
    memset(places, 0, ((size_t)count + 1) * sizeof *places);
    for (int i = 0; i < count; i++) {
        key_place *place = &places[i];
        int type = lua_rawgeti(L, 2, i + 1);
        place->at = i + 1;
        place->rank = type == LUA_TBOOLEAN ? 0 : lua_isinteger(L, -1) ? 1 : type == LUA_TNUMBER ? 2 : type == LUA_TSTRING ? 3 : 4;
        place->integer = type == LUA_TBOOLEAN ? lua_toboolean(L, -1) : lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0;
        place->number = place->rank == 2 ? lua_tonumber(L, -1) : 0;
        place->text = type == LUA_TSTRING ? lua_tolstring(L, -1, &place->length) : NULL;
        lua_pop(L, 1);
    }
    qsort(places, (size_t)count, sizeof *places, compare_keys);
    lua_pushvalue(L, 1);
    lua_createtable(L, count, 0);
    for (int i = 0; i < count; i++) {
        (void)lua_rawgeti(L, 2, places[i].at);
        lua_rawseti(L, -2, i + 1);
    }
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, next_pair, 3);
    lua_pushvalue(L, 1);
    lua_pushnil(L);
    return 3;
}

static int log_print(lua_State *L)
{
    prn__recipe_host *host = prn__recipe_host_of(L);
    luaL_Buffer line;
    int count = lua_gettop(L);
    if (host->lines_printed >= PRINT_LIMIT) {
        return 0;
    }
    if (++host->lines_printed == PRINT_LIMIT) {
        prn__log(PRN_LOG_WARNING, "%s: printed %d lines; the rest is left out", host->recipe->path, PRINT_LIMIT);
    }
    luaL_buffinit(L, &line);
    for (int i = 1; i <= count; i++) {
        if (i > 1) {
            luaL_addchar(&line, '\t');
        }
        (void)luaL_tolstring(L, i, NULL);
        luaL_addvalue(&line);
    }
    luaL_pushresult(&line);
    prn__log(PRN_LOG_INFO, "recipe: %s", lua_tostring(L, -1));
    return 0;
}

/* Replaces field `name` of the table on top by `guard` around it. */
static void guard(lua_State *L, const char *name, lua_CFunction function)
{
    lua_getfield(L, -1, name);
    lua_pushcclosure(L, function, 1);
    lua_setfield(L, -2, name);
}

static void remove_fields(lua_State *L, const char *const *names)
{
    for (; *names != NULL; names++) {
        lua_pushnil(L);
        lua_setfield(L, -2, *names);
    }
}

void prn__guards_open(lua_State *L)
{
    static const char *const no_base[] = {"collectgarbage", "dofile", "load", "loadfile", "warn", NULL};
    static const char *const no_string[] = {"dump", NULL};
    static const char *const no_math[] = {"randomseed", NULL};
    static const char *const table_names[] = {"insert", "remove", "sort", "unpack"};
    static const char *const match_names[] = {"find", "match", "gmatch", "gsub"};

    luaL_requiref(L, LUA_GNAME, luaopen_base, 1);
    remove_fields(L, no_base);
    guard(L, "setmetatable", guarded_setmetatable);
    lua_pushcfunction(L, call_handled);
    lua_setfield(L, -2, "xpcall");
    lua_pushcfunction(L, ordered_pairs);
    lua_setfield(L, -2, "pairs");
    lua_pushcfunction(L, log_print);
    lua_setfield(L, -2, "print");
    lua_pop(L, 1);

    luaL_requiref(L, LUA_STRLIBNAME, luaopen_string, 1);
    remove_fields(L, no_string);
    guard(L, "rep", guarded_rep);
    for (size_t i = 0; i < sizeof match_names / sizeof match_names[0]; i++) {
        guard(L, match_names[i], guarded_match);
    }
    lua_pop(L, 1);

    luaL_requiref(L, LUA_TABLIBNAME, luaopen_table, 1);
    for (size_t i = 0; i < sizeof table_names / sizeof table_names[0]; i++) {
        guard(L, table_names[i], guarded_table);
    }
    guard(L, "concat", guarded_concat);
    guard(L, "move", guarded_move);
    lua_pop(L, 1);

    luaL_requiref(L, LUA_MATHLIBNAME, luaopen_math, 1);
    lua_getfield(L, -1, "randomseed"); /* the same numbers in every run: a recipe is a function of its text */
    lua_pushinteger(L, 0);
    lua_call(L, 1, 0);
    remove_fields(L, no_math);
    lua_pop(L, 1);

    luaL_requiref(L, LUA_UTF8LIBNAME, luaopen_utf8, 1);
    lua_pop(L, 1);
}
