/* core/recipe/library.c: the constructors that lua/perennial hands to recipes.
 *
 * A constructor copies its table and remembers, beside it and out of the recipe's reach, what it is and where it was written.
 * It checks no values: that is done once, when the whole recipe is there, by translate.c.
 * Constructors are C functions, because a Lua function in tail position ("return p.recipe {...}") loses its caller's line.
 */
#include <string.h>

#include "base/text.h"
#include "recipe/host.h"
#include "recipe/sweep_choices.h"

static const char TAGS[] = "prn.tags"; /* registry: table -> its tag, by weak key */

void prn__library_caller(lua_State *L, const char **file, int *line)
{
    const char *library = prn__recipe_host_of(L)->library;
    size_t length = strlen(library);
    lua_Debug record;
    *file = prn__recipe_host_of(L)->recipe->path;
    *line = 0;
    for (int level = 1; lua_getstack(L, level, &record); level++) {
        if (lua_getinfo(L, "Sl", &record) && record.currentline > 0 && record.source[0] == '@' &&
            !(strncmp(record.source + 1, library, length) == 0 && record.source[1 + length] == '/')) {
            *file = record.source + 1; /* lives as long as the function that is running */
            *line = record.currentline;
            return;
        }
    }
}

int prn__tag_of(lua_State *L, int index, prn__tag *tag)
{
    int found = 0;
    memset(tag, 0, sizeof *tag);
    if (!lua_istable(L, index)) {
        return 0;
    }
    lua_pushvalue(L, index);
    if (lua_getfield(L, LUA_REGISTRYINDEX, TAGS) != LUA_TTABLE) { /* the recipe has not loaded the library */
        lua_pop(L, 2);
        return 0;
    }
    lua_insert(L, -2);
    if (lua_rawget(L, -2) == LUA_TTABLE) { /* the strings stay alive in the tag */
        lua_getfield(L, -1, "kind");
        lua_getfield(L, -2, "name");
        lua_getfield(L, -3, "file");
        lua_getfield(L, -4, "line");
        tag->kind = lua_tostring(L, -4);
        tag->name = lua_tostring(L, -3);
        tag->file = lua_tostring(L, -2);
        tag->line = (int)lua_tointeger(L, -1);
        lua_pop(L, 4);
        found = 1;
    }
    lua_pop(L, 2);
    return found;
}

/* Tags the table on top of the stack with upvalues 1 (kind) and 2 (name) and the caller's place. */
static void attach(lua_State *L)
{
    const char *file;
    int line;
    prn__library_caller(L, &file, &line);
    lua_getfield(L, LUA_REGISTRYINDEX, TAGS);
    lua_pushvalue(L, -2);
    lua_createtable(L, 0, 4);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_setfield(L, -2, "kind");
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_setfield(L, -2, "name");
    lua_pushstring(L, file);
    lua_setfield(L, -2, "file");
    lua_pushinteger(L, line);
    lua_setfield(L, -2, "line");
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

/* p.name { ... } */
static int construct_table(lua_State *L)
{
    const char *file, *name = lua_tostring(L, lua_upvalueindex(2));
    int line;
    if (!lua_istable(L, 1) || lua_gettop(L) != 1) {
        prn__library_caller(L, &file, &line);
        prn__raise(L, PRN_INVALID, file, line, "p.%s takes one table: p.%s { ... }", name, name);
    }
    lua_newtable(L);
    lua_pushnil(L);
    while (lua_next(L, 1) != 0) { /* `next` itself: a metatable has no say */
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, 2);
        lua_settop(L, 3);
    }
    lua_settop(L, 2);
    attach(L);
    return 1;
}

/* p.name(number) */
static int construct_amount(lua_State *L)
{
    const char *file, *name = lua_tostring(L, lua_upvalueindex(2));
    int line;
    if (lua_type(L, 1) != LUA_TNUMBER || lua_gettop(L) != 1) {
        prn__library_caller(L, &file, &line);
        prn__raise(L, PRN_INVALID, file, line, "p.%s takes one number: p.%s(1000)", name, name);
    }
    lua_createtable(L, 0, 1);
    lua_pushvalue(L, 1);
    lua_setfield(L, -2, name);
    attach(L);
    return 1;
}

static void push_constructor(lua_State *L, lua_CFunction function, const char *kind, const char *name)
{
    lua_pushstring(L, kind);
    lua_pushstring(L, name);
    lua_pushcclosure(L, function, 2);
}

/* host.table(kind, name), host.amount(name): for the library's own modules. */
static int make_table(lua_State *L)
{
    push_constructor(L, construct_table, luaL_checkstring(L, 1), luaL_checkstring(L, 2));
    return 1;
}

static int make_amount(lua_State *L)
{
    push_constructor(L, construct_amount, PRN__TAG_AMOUNT, luaL_checkstring(L, 1));
    return 1;
}

/* Pushes an array of the names of all loaded strategies. */
static void push_strategy_names(lua_State *L)
{
    prn__registry *registry = prn__recipe_host_of(L)->registry;
    lua_newtable(L);
    for (size_t i = 0; registry != NULL && i < prn__registry_count(registry); i++) {
        const prn_plugin *plugin = prn__registry_entry(registry, i)->plugin;
        for (uint32_t k = 0; plugin != NULL && k < plugin->interface_count; k++) {
            if (strcmp(plugin->interfaces[k].id, PRN_STRATEGY_INTERFACE) == 0) {
                lua_pushstring(L, ((const prn_strategy *)plugin->interfaces[k].table)->name);
                lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
            }
        }
    }
}

static int is_strategy(lua_State *L, const char *name)
{
    const prn_strategy *table;
    prn_error ignored = PRN_ERROR_INIT;
    prn__registry *registry = prn__recipe_host_of(L)->registry;
    return registry != NULL && prn__registry_strategy(registry, name, &table, NULL, &ignored) == PRN_OK;
}

/* Raises "no such name", with a suggestion from the array at `names` on the stack. */
static int unknown_name(lua_State *L, const char *what, const char *name, int names)
{
    enum { NAME_LIMIT = 256 };
    const char *candidates[NAME_LIMIT], *file;
    char suggestion[160];
    size_t count = 0;
    int line;
    luaL_checkstack(L, NAME_LIMIT + 8, "names");
    for (lua_Integer i = 1; i <= (lua_Integer)lua_rawlen(L, names) && count < NAME_LIMIT; i++) {
        if (lua_rawgeti(L, names, i) == LUA_TSTRING) {
            candidates[count++] = lua_tostring(L, -1); /* stays on the stack until the message is made */
        }
    }
    prn__library_caller(L, &file, &line);
    prn__raise(L, PRN_NOT_FOUND, file, line, "%s '%.100s'%s; `perennial strategies` lists the strategies that are loaded (those built outside perennial need --plugin-path or"
               " PERENNIAL_PLUGIN_PATH), docs/recipes.md the rest", what, name,
               prn__suggest_text(name, candidates, count, suggestion, sizeof suggestion));
}

/* p.anything: __index of the library, so that p.<strategy> { ... } works for every plugin. Upvalue 1: the library's table. */
static int index_library(lua_State *L)
{
    const char *name = luaL_checkstring(L, 2);
    if (is_strategy(L, name)) {
        push_constructor(L, construct_table, PRN__TAG_STRATEGY, name);
        return 1;
    }
    push_strategy_names(L);
    int names = lua_gettop(L);
    lua_pushnil(L);
    while (lua_istable(L, 1) && lua_next(L, 1) != 0) {
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        lua_rawseti(L, names, (lua_Integer)lua_rawlen(L, names) + 1);
    }
    return unknown_name(L, "the recipe library has no", name, names);
}

/* p.strategy "name" { ... }; or p.strategy { label = "...", plan = function ... }, which is one of the recipe's own */
static int named_strategy(lua_State *L)
{
    if (lua_istable(L, 1)) {
        return construct_table(L);
    }
    const char *name = luaL_checkstring(L, 1);
    if (!is_strategy(L, name)) {
        push_strategy_names(L);
        return unknown_name(L, "no strategy", name, lua_gettop(L));
    }
    push_constructor(L, construct_table, PRN__TAG_STRATEGY, name);
    return 1;
}

/* p.backend "name" { ... } */
static int named_backend(lua_State *L)
{
    push_constructor(L, construct_table, PRN__TAG_BACKEND, luaL_checkstring(L, 1));
    return 1;
}

void prn__library_push(lua_State *L)
{
    static const luaL_Reg functions[] = {{"table", make_table}, {"amount", make_amount}, {"index", index_library}, {"backend", named_backend},
                                         {"grid", prn__sweep_grid}, {"seeds", prn__sweep_seeds}, {NULL, NULL}};
    if (lua_getfield(L, LUA_REGISTRYINDEX, TAGS) != LUA_TTABLE) {
        lua_newtable(L);
        lua_createtable(L, 0, 1);
        lua_pushliteral(L, "k");
        lua_setfield(L, -2, "__mode");
        lua_setmetatable(L, -2);
        lua_setfield(L, LUA_REGISTRYINDEX, TAGS);
    }
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    push_constructor(L, named_strategy, PRN__TAG_LUA_STRATEGY, "strategy");
    lua_setfield(L, -2, "strategy");
}
