/* core/recipe/sandbox.c: the Lua state that a recipe runs in.
 *
 * A recipe is code from someone else. It gets no files but those beside it and the library's, no clock, no random seed, and a
 * bounded share of memory and instructions. Library functions that can spin inside C for ever, where no hook runs, are wrapped:
 * repetition, pattern matching (backtracking grows as a power of the subject), and table functions over lengths that are not
 * real. Finalisers run without hooks, so metatables with __gc are refused. Chunks are text only: bytecode is not verified by Lua.
 */
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/pool.h"
#include "base/text.h"
#include "recipe/host.h"

enum { HOOK_EVERY = 1000, SOURCE_LIMIT = 1 << 20 };

static const lua_Integer LENGTH_LIMIT = 10000000;  /* elements that one call of a table function may move */
static const double MATCH_LIMIT = 1e9;             /* steps that one match may take at worst */
static const double TIME_LIMIT_S = 60;             /* for what instructions do not measure, such as long strings */

static const char SOURCES[] = "prn.sources"; /* registry: path -> text */
static const char LOADED[] = "prn.loaded";   /* registry: module name -> value */

prn__recipe_host *prn__recipe_host_of(lua_State *L)
{
    return *(prn__recipe_host **)lua_getextraspace(L);
}

/* ---- limits -------------------------------------------------------------------------------------------------------------- */

static void *limited_alloc(void *context, void *block, size_t old, size_t size)
{
    prn__recipe_host *host = context;
    size_t held = block != NULL ? old : 0; /* for a new block, `old` is a type */
    if (size == 0) {
        prn__free(block);
        host->memory_used -= held;
        return NULL;
    }
    if (size > held && size - held > host->memory_limit - host->memory_used) {
        return NULL;
    }
    void *moved = prn__realloc(block, size);
    if (moved == NULL) {
        if (size > held) {
            return NULL;
        }
        moved = block; /* Lua relies on shrinking to succeed */
    }
    host->memory_used = host->memory_used - held + size;
    return moved;
}

static void count_hook(lua_State *L, lua_Debug *record)
{
    prn__recipe_host *host = prn__recipe_host_of(L);
    (void)record;
    host->instructions_left -= HOOK_EVERY;
    int late = host->deadline_s > 0 && prn__now_s() > host->deadline_s;
    if (host->instructions_left <= 0 || late) {
        lua_sethook(L, count_hook, LUA_MASKCOUNT, 1); /* from now on at every instruction: a recipe cannot catch it and go on */
        luaL_where(L, 0); /* in a hook, the running function is level 0 */
        (void)lua_pushfstring(L, late ? "%sthe recipe ran for more than %d seconds; a recipe describes a run, it does not compute"
                                      : "%sthe recipe ran for more than %d million instructions; a recipe describes a run, it does not compute",
                              lua_tostring(L, -1), late ? (int)TIME_LIMIT_S : (int)(host->instruction_limit / 1000000));
        (void)lua_error(L);
    }
}

lua_State *prn__sandbox_open(prn__recipe_host *host)
{
    lua_State *L = lua_newstate(limited_alloc, host);
    if (L != NULL) {
        *(prn__recipe_host **)lua_getextraspace(L) = host;
    }
    return L;
}

/* ---- wrapped library functions ------------------------------------------------------------------------------------------------ */

/* Calls the original function, upvalue 1, with the same arguments. */
static int call_original(lua_State *L)
{
    int count = lua_gettop(L);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, count, LUA_MULTRET);
    return lua_gettop(L);
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

/* At worst each repetition in a pattern tries every length at every place: a power of the subject's length. */
static int guarded_match(lua_State *L)
{
    size_t subject, length;
    (void)luaL_checklstring(L, 1, &subject);
    const char *pattern = luaL_checklstring(L, 2, &length);
    double steps = (double)subject + 1;
    for (size_t i = 0; i < length; i++) {
        if (pattern[i] == '%') {
            i++;
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

static int log_print(lua_State *L)
{
    luaL_Buffer line;
    int count = lua_gettop(L);
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

/* ---- files ---------------------------------------------------------------------------------------------------------------- */

void prn__sandbox_source(lua_State *L, const char *file)
{
    lua_getfield(L, LUA_REGISTRYINDEX, SOURCES);
    lua_getfield(L, -1, file);
    lua_remove(L, -2);
}

/* Leaves the compiled chunk on the stack; 0 when there is no such file. Raises for all else. */
static int load_file(lua_State *L, const char *path)
{
    prn__recipe_host *host = prn__recipe_host_of(L);
    prn_error problem = PRN_ERROR_INIT;
    size_t bytes = 0;
    prn__free(host->scratch);
    host->scratch = NULL;
    prn_status status = prn__file_read(path, SOURCE_LIMIT, &host->scratch, &bytes, &problem);
    if (status == PRN_NOT_FOUND) {
        return 0;
    }
    if (status != PRN_OK) {
        prn__raise(L, status, NULL, 0, "%s", problem.message);
    }
    lua_getfield(L, LUA_REGISTRYINDEX, SOURCES);
    lua_pushlstring(L, host->scratch, bytes);
    lua_setfield(L, -2, path);
    lua_pop(L, 1);
    (void)lua_pushfstring(L, "@%s", path);
    int code = luaL_loadbufferx(L, host->scratch, bytes, lua_tostring(L, -1), "t");
    lua_remove(L, -2);
    if (code != LUA_OK) {
        (void)lua_error(L);
    }
    return 1;
}

static int is_module_name(const char *name)
{
    int at_start = 1;
    for (const char *c = name; *c != '\0'; c++) {
        int letter = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || *c == '_' || *c == '-';
        if (!letter && (*c != '.' || at_start)) {
            return 0;
        }
        at_start = *c == '.';
    }
    return !at_start;
}

static int require_module(lua_State *L)
{
    prn__recipe_host *host = prn__recipe_host_of(L);
    const char *name = luaL_checkstring(L, 1);
    int is_library = strcmp(name, "perennial") == 0 || strncmp(name, "perennial.", 10) == 0;
    if (!is_module_name(name)) {
        return luaL_error(L, "no module '%s': a name is letters, digits, '_' and '-', with dots between the parts", name);
    }
    lua_settop(L, 1);
    lua_getfield(L, LUA_REGISTRYINDEX, LOADED); /* 2 */
    if (lua_getfield(L, 2, name) == LUA_TLIGHTUSERDATA) {
        return luaL_error(L, "module '%s' requires itself", name);
    }
    if (!lua_isnil(L, -1)) {
        return 1;
    }
    lua_pop(L, 1);
    const char *relative = luaL_gsub(L, name, ".", "/"); /* 3 */
    const char *path = lua_pushfstring(L, strcmp(name, "perennial") == 0 ? "%s/%s/init.lua" : "%s/%s.lua",
                                       is_library ? host->library : host->folder, relative); /* 4 */
    lua_pushlightuserdata(L, host); /* under way */
    lua_setfield(L, 2, name);
    if (!load_file(L, path)) {
        lua_pushnil(L);
        lua_setfield(L, 2, name);
        return luaL_error(L, "no module '%s' (%s is not there): a recipe may load perennial, perennial.*, and files beside it", name, path);
    }
    lua_pushvalue(L, 1);
    if (is_library) {
        prn__library_push(L);
    }
    lua_call(L, is_library ? 2 : 1, 1);
    if (lua_isnil(L, -1)) {
        lua_pushboolean(L, 1);
        lua_replace(L, -2);
    }
    lua_pushvalue(L, -1);
    lua_setfield(L, 2, name);
    return 1;
}

void prn__sandbox_libraries(lua_State *L)
{
    static const char *const no_base[] = {"collectgarbage", "dofile", "load", "loadfile", "warn", NULL};
    static const char *const no_string[] = {"dump", NULL};
    static const char *const no_math[] = {"randomseed", NULL};
    static const char *const table_names[] = {"concat", "insert", "remove", "sort", "unpack"};
    static const char *const match_names[] = {"find", "match", "gmatch", "gsub"};

    lua_newtable(L);
    lua_setfield(L, LUA_REGISTRYINDEX, SOURCES);
    lua_newtable(L);
    lua_setfield(L, LUA_REGISTRYINDEX, LOADED);

    luaL_requiref(L, LUA_GNAME, luaopen_base, 1);
    remove_fields(L, no_base);
    guard(L, "setmetatable", guarded_setmetatable);
    lua_pushcfunction(L, log_print);
    lua_setfield(L, -2, "print");
    lua_pushcfunction(L, require_module);
    lua_setfield(L, -2, "require");
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

void prn__sandbox_run_recipe(lua_State *L)
{
    const char *path = prn__recipe_host_of(L)->recipe->path;
    if (!load_file(L, path)) {
        prn__raise(L, PRN_NOT_FOUND, NULL, 0, "%s: no such recipe", path);
    }
    lua_call(L, 0, 1);
}

/* ---- protected calls --------------------------------------------------------------------------------------------------------- */

void prn__raise(lua_State *L, prn_status status, const char *file, int line, const char *format, ...)
{
    prn__recipe_host *host = prn__recipe_host_of(L);
    char message[PRN_ERROR_MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (file == NULL) {
        (void)prn_error_set(&host->error, status, "%s", message);
    } else {
        (void)prn_error_set(&host->error, status, "%s:%d: %s", file, line, message);
    }
    (void)lua_pushstring(L, host->error.message);
    (void)lua_error(L);
    __builtin_unreachable();
}

/* "file:12: " at the start. */
static int has_place(const char *message)
{
    for (const char *colon = strchr(message, ':'); colon != NULL; colon = strchr(colon + 1, ':')) {
        size_t digits = strspn(colon + 1, "0123456789");
        if (digits > 0 && colon[1 + digits] == ':') {
            return 1;
        }
    }
    return 0;
}

/* Lua shortens long paths in its own messages; the whole path is put back, or added where there is none. */
static void long_path(const prn__recipe_host *host, const char *message, prn_error *error)
{
    const char *path = host->recipe->path;
    if (!has_place(message)) {
        (void)prn_error_set(error, PRN_INVALID, "%s: %s", path, message);
        return;
    }
    size_t length = strlen(path);
    if (length + 1 >= LUA_IDSIZE && strncmp(message, "...", 3) == 0) {
        const char *colon = strchr(message, ':');
        size_t tail = colon != NULL ? (size_t)(colon - message) - 3 : 0;
        if (tail > 0 && tail < length && strncmp(path + length - tail, message + 3, tail) == 0) {
            (void)prn_error_set(error, PRN_INVALID, "%s%s", path, colon);
            return;
        }
    }
    (void)prn_error_set(error, PRN_INVALID, "%s", message);
}

static prn_status explain(prn__recipe_host *host, int code, prn_error *error)
{
    lua_State *L = host->L;
    if (code == LUA_ERRMEM) {
        return prn_error_set(error, PRN_NO_MEMORY, "%s: the recipe needs more than %zu MiB of memory", host->recipe->path, host->memory_limit >> 20);
    }
    const char *message = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL; /* of a string, this allocates nothing */
    if (message == NULL) {
        return prn_error_set(error, PRN_INVALID, "%s: the recipe raised an error that is no text", host->recipe->path);
    }
    if (host->error.status != PRN_OK && strcmp(message, host->error.message) == 0) {
        return prn_error_set(error, (prn_status)host->error.status, "%s", message);
    }
    long_path(host, message, error);
    return PRN_INVALID;
}

prn_status prn__sandbox_call(prn__recipe_host *host, lua_CFunction function, void *argument, int results, int64_t instructions, prn_error *error)
{
    lua_State *L = host->L;
    host->instructions_left = instructions;
    host->deadline_s = prn__now_s() + TIME_LIMIT_S;
    lua_sethook(L, count_hook, LUA_MASKCOUNT, HOOK_EVERY);
    lua_settop(L, 0);
    lua_pushcfunction(L, function); /* neither of the two allocates */
    lua_pushlightuserdata(L, argument);
    int code = lua_pcall(L, 1, results, 0);
    if (code != LUA_OK) {
        prn_status status = explain(host, code, error);
        lua_settop(L, 0);
        return status;
    }
    return PRN_OK;
}
