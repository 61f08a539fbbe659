/* core/recipe/sandbox.c: the Lua state that a recipe runs in: limits, files, protected calls.
 *
 * A recipe is code from someone else. It gets no files but those beside it and the library's, no clock, no random seed, and a
 * bounded share of memory, instructions and time. Chunks are text only: bytecode is not verified by Lua. guards.c holds what
 * it may call.
 */
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "recipe/host.h"

enum { HOOK_EVERY = 200, SOURCE_LIMIT = 1 << 20 };

static const double TIME_LIMIT_S = 10;       /* for what instructions do not measure, such as long strings */

static const char SOURCES[] = "prn.sources"; /* registry: path -> text */
static const char LOADED[] = "prn.loaded";   /* registry: module name -> value */

prn__recipe_host *prn__recipe_host_of(lua_State *L)
{
    return *(prn__recipe_host **)lua_getextraspace(L);
}

double prn__sandbox_clock_s(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
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

static void count_hook(lua_State *L, lua_Debug *record);

void prn__sandbox_check(lua_State *L, int level)
{
    prn__recipe_host *host = prn__recipe_host_of(L);
    int late = host->deadline_s > 0 && prn__sandbox_clock_s() > host->deadline_s;
    if (host->instructions_left <= 0 || late) {
        lua_sethook(L, count_hook, LUA_MASKCOUNT, 1); /* from now on at every instruction: a recipe cannot catch it and go on */
        luaL_where(L, level);
        (void)lua_pushfstring(L, late ? "%s%s ran for more than %d seconds; %s" : "%s%s ran for more than %d million instructions; %s", lua_tostring(L, -1),
                              host->call != NULL ? "this call of a strategy's function" : "the recipe",
                              late ? (int)TIME_LIMIT_S : (int)(host->call_instructions / 1000000),
                              host->call != NULL ? "what takes long belongs to terms and vectors" : "a recipe describes a run, it does not compute");
        (void)lua_error(L);
    }
}

static void count_hook(lua_State *L, lua_Debug *record)
{
    (void)record;
    prn__recipe_host_of(L)->instructions_left -= HOOK_EVERY;
    prn__sandbox_check(L, 0); /* in a hook, the running function is level 0 */
}

lua_State *prn__sandbox_open(prn__recipe_host *host)
{
    lua_State *L = lua_newstate(limited_alloc, host);
    if (L != NULL) {
        *(prn__recipe_host **)lua_getextraspace(L) = host;
    }
    return L;
}

/* ---- files ---------------------------------------------------------------------------------------------------------------- */

void prn__sandbox_source(lua_State *L, const char *file)
{
    lua_getfield(L, LUA_REGISTRYINDEX, SOURCES);
    lua_getfield(L, -1, file);
    lua_remove(L, -2);
}

void prn__sandbox_push_sources(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, SOURCES);
}

void prn__sandbox_push_loaded(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, LOADED);
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
    if (bytes > 0 && host->scratch[0] == LUA_SIGNATURE[0]) {
        prn__raise(L, PRN_INVALID, NULL, 0, "%s: is compiled Lua; a recipe is Lua text", path);
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
    if (host->call != NULL) { /* its text would not be in the stage's key */
        return luaL_error(L, "module '%s' is required inside a strategy's function; require it at the top of the recipe", name);
    }
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
    lua_newtable(L);
    lua_setfield(L, LUA_REGISTRYINDEX, SOURCES);
    lua_newtable(L);
    lua_setfield(L, LUA_REGISTRYINDEX, LOADED);
    prn__guards_open(L);
    lua_pushcfunction(L, require_module);
    lua_setglobal(L, "require");
    prn__lua_know_libraries(L);
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
    host->call_instructions = instructions;
    host->deadline_s = prn__sandbox_clock_s() + TIME_LIMIT_S;
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
