/* core/recipe/lua_strategy_watch.c: whether a call of a strategy's function changed anything that outlives it.
 *
 * A stage may be interrupted after any update and go on in another process, which starts from the recipe's text. So a counter in a
 * variable, a table that is filled, or a draw from math.random would make the result depend on interruptions. Before the call and after it,
 * everything that the function can reach is walked: variables of functions, tables and their metatables, contents of userdata.
 * Each has a digest that does not depend on the order of keys; those from before stay on the stack, and keep what they speak of alive.
 */
#include <string.h>

#include "base/hash.h"
#include "recipe/lua_strategy.h"

typedef struct walk {
    lua_State *L;
    int seen, list, names; /* digests by object; the objects in order; what leads to each */
    lua_Integer count;
    int before;            /* digests of the first walk; 0 in that one */
} walk;

uint64_t prn__lua_mix(uint64_t a, uint64_t b)
{
    uint64_t x = (a ^ (b + 0x9e3779b97f4a7c15ull + (a << 6) + (a >> 2))) * 0xff51afd7ed558ccdull;
    x = (x ^ (x >> 32)) * 0xc4ceb9fe1a85ec53ull;
    return x ^ (x >> 29);
}

uint64_t prn__lua_hash(lua_State *L, int index)
{
    int type = lua_type(L, index);
    size_t length;
    switch (type) {
    case LUA_TNIL:
        return 1;
    case LUA_TBOOLEAN:
        return prn__lua_mix(2, (uint64_t)lua_toboolean(L, index));
    case LUA_TNUMBER:
        if (lua_isinteger(L, index)) {
            return prn__lua_mix(3, (uint64_t)lua_tointeger(L, index));
        } else {
            double number = lua_tonumber(L, index);
            uint64_t bits;
            memcpy(&bits, &number, sizeof bits);
            return prn__lua_mix(4, bits);
        }
    case LUA_TSTRING: {
        const char *text = lua_tolstring(L, index, &length);
        return prn__lua_mix(5, prn__hash_bytes(text, length).low);
    }
    default:
        return prn__lua_mix(6 + (uint64_t)type, (uint64_t)(uintptr_t)lua_topointer(L, index));
    }
}

/* Puts the object on top of the stack, when it is one that can change, on the list. Leaves the stack as it is. */
static void meet(walk *w, const char *name)
{
    lua_State *L = w->L;
    int type = lua_type(L, -1);
    if (type != LUA_TTABLE && type != LUA_TUSERDATA && type != LUA_TFUNCTION) {
        return;
    }
    if (type == LUA_TFUNCTION) {
        if (lua_getupvalue(L, -1, 1) == NULL) {
            return;
        }
        lua_pop(L, 1);
    }
    lua_pushvalue(L, -1);
    if (lua_rawget(L, w->seen) != LUA_TNIL) {
        lua_pop(L, 1);
        return;
    }
    lua_pop(L, 1);
    lua_pushvalue(L, -1);
    lua_pushinteger(L, 0);
    lua_rawset(L, w->seen);
    w->count++;
    lua_pushvalue(L, -1);
    lua_rawseti(L, w->list, w->count);
    lua_pushstring(L, name);
    lua_rawseti(L, w->names, w->count);
}

/* Notes the digest under the key on top of the stack and pops that; `kind` and `name` say what it is. */
static void note(walk *w, uint64_t digest, const char *kind, const char *name)
{
    lua_State *L = w->L;
    prn__lua_call *call = prn__recipe_host_of(L)->call;
    if (w->before != 0) {
        lua_pushvalue(L, -1);
        int changed = lua_rawget(L, w->before) != LUA_TNIL && (uint64_t)lua_tointeger(L, -1) != digest;
        lua_pop(L, 1);
        if (changed && strcmp(kind, "userdata") == 0) {
            prn__lua_blame(L, PRN_INVALID, "`%s` draws from math.random, whose numbers would be others after an interruption; compute what you need from"
                           " the time step, or draw it where the recipe is read", prn__lua_function_names[call->which]);
        }
        if (changed) {
            int is_global = strcmp(name, "_ENV") == 0 || strcmp(name, "_G") == 0;
            prn__lua_blame(L, PRN_INVALID, "`%s` changed %s%s%.100s%s; what outlives the call must stay as it is, because the result must not depend on how"
                           " often a run is interrupted: use local variables, and keep vectors with stage:keep", prn__lua_function_names[call->which],
                           is_global ? "global variables" : kind, is_global ? "" : " `", is_global ? "" : name, is_global ? "" : "`");
        }
    }
    lua_pushinteger(L, (lua_Integer)digest);
    lua_rawset(L, w->seen);
}

static void look_at_table(walk *w, int index, const char *name)
{
    lua_State *L = w->L;
    uint64_t digest = 7;
    if (lua_getmetatable(L, index)) {
        lua_pushliteral(L, "__mode");
        if (lua_rawget(L, -2) != LUA_TNIL) {
            prn__lua_blame(L, PRN_INVALID, "the weak table `%.100s` can be reached from a strategy's function, and its content changes by itself; use a plain"
                           " table", name);
        }
        lua_pop(L, 1);
        digest = prn__lua_mix(digest, prn__lua_hash(L, -1));
        meet(w, "a metatable");
        lua_pop(L, 1);
    }
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        digest += prn__lua_mix(prn__lua_hash(L, -2), prn__lua_hash(L, -1)); /* a sum: in any order */
        meet(w, lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : name);
        lua_pop(L, 1);
        meet(w, name);
    }
    lua_pushvalue(L, index);
    note(w, digest, "the table", name);
}

static void look_at_function(walk *w, int index)
{
    lua_State *L = w->L;
    const char *name;
    for (int i = 1; (name = lua_getupvalue(L, index, i)) != NULL; i++) {
        meet(w, name);
        uint64_t digest = prn__lua_hash(L, -1);
        lua_pop(L, 1);
        lua_pushlightuserdata(L, lua_upvalueid(L, index, i)); /* a variable that functions share is one */
        note(w, digest, "its variable", name);
    }
}

static void walk_all(lua_State *L, int function, int before)
{
    walk w = {.L = L, .before = before};
    luaL_checkstack(L, 40, "a strategy's function");
    lua_newtable(L);
    w.seen = lua_gettop(L);
    lua_newtable(L);
    w.list = lua_gettop(L);
    lua_newtable(L);
    w.names = lua_gettop(L);
    lua_pushvalue(L, function);
    meet(&w, "");
    prn__sandbox_push_loaded(L);
    meet(&w, "a module");
    lua_pushliteral(L, "");
    if (lua_getmetatable(L, -1)) {
        meet(&w, "string");
    }
    lua_settop(L, w.names);
    for (lua_Integer i = 1; i <= w.count; i++) {
        (void)lua_rawgeti(L, w.names, i);
        (void)lua_rawgeti(L, w.list, i);
        const char *name = lua_tostring(L, -2);
        int index = lua_gettop(L);
        if (lua_type(L, index) == LUA_TTABLE) {
            look_at_table(&w, index, name);
        } else if (lua_type(L, index) == LUA_TFUNCTION) {
            look_at_function(&w, index);
        } else {
            uint64_t digest = prn__hash_bytes(lua_touserdata(L, index), lua_rawlen(L, index)).low;
            lua_pushvalue(L, index);
            note(&w, digest, "userdata", name);
        }
        lua_settop(L, w.names);
    }
    lua_settop(L, w.seen);
}

void prn__lua_watch(lua_State *L, int function)
{
    walk_all(L, function, 0);
}

void prn__lua_watch_check(lua_State *L, int function, int before)
{
    walk_all(L, function, before);
    lua_pop(L, 1);
}
