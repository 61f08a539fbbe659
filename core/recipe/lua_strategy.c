/* core/recipe/lua_strategy.c: see lua_strategy.h. The table in the recipe, its options, instances, and calls. */
#include "recipe/lua_strategy.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

/* Changes when the meaning of a function's arguments or answers changes. */
static const char FORMAT[] = "perennial-lua-strategy/2";
static const char OPTIONS[] = "prn.strategy.options"; /* metatable */
static const char INTERFACE[] = "perennial.lua-strategy/1"; /* of `services`: the definition itself */

const char *const prn__lua_function_names[PRN__LUA_FUNCTION_COUNT] = {"plan", "loss", "memory_loss", "penalty", "gradient", "finish"};

/* ---- errors -------------------------------------------------------------------------------------------------------------------- */

/* Where the recipe is: the innermost line of Lua that runs, else where the function of the call begins. */
static void place_of(lua_State *L, const char **file, int *line)
{
    prn__recipe_host *host = prn__recipe_host_of(L);
    lua_Debug record;
    *file = host->recipe->path;
    *line = 0;
    for (int level = 0; lua_getstack(L, level, &record); level++) {
        if (lua_getinfo(L, "Sl", &record) && record.currentline > 0 && record.source[0] == '@') {
            *file = record.source + 1;
            *line = record.currentline;
            return;
        }
    }
    if (host->call != NULL) {
        (void)lua_rawgeti(L, LUA_REGISTRYINDEX, host->call->instance->strategy->functions[host->call->which]);
        (void)lua_getinfo(L, ">S", &record); /* the text of `source` lives as long as the function */
        if (record.source[0] == '@') {
            *file = record.source + 1;
            *line = record.linedefined;
        }
    }
}

void prn__lua_blame(lua_State *L, prn_status status, const char *format, ...)
{
    char message[PRN_ERROR_MESSAGE_BYTES];
    const char *file;
    int line;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    place_of(L, &file, &line);
    prn__raise(L, status, file, line, "%s", message);
}

void prn__lua_blame_host(lua_State *L, prn__lua_call *call, const char *what)
{
    const char *file;
    int line;
    place_of(L, &file, &line);
    (void)prn_error_context(&call->failure, (prn_status)call->failure.status, "%s:%d: %s", file, line, what);
    (void)lua_pushstring(L, call->failure.message);
    (void)lua_error(L);
    __builtin_unreachable();
}

void prn__lua_check_keys(lua_State *L, int index, const char *what, const char *const *names, size_t count)
{
    char hint[160];
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        size_t i = 0;
        lua_pop(L, 1);
        if (lua_type(L, -1) != LUA_TSTRING) {
            prn__lua_blame(L, PRN_INVALID, "%s has a value without a key; write key = value", what);
        }
        while (i < count && strcmp(names[i], lua_tostring(L, -1)) != 0) {
            i++;
        }
        if (i == count) {
            prn__lua_blame(L, PRN_INVALID, "%s has no key '%.100s'%s", what, lua_tostring(L, -1),
                           prn__suggest_text(lua_tostring(L, -1), names, count, hint, sizeof hint));
        }
    }
}

double prn__lua_number(lua_State *L, int index, const char *what)
{
    if (lua_type(L, index) != LUA_TNUMBER) {
        prn__lua_blame(L, PRN_INVALID, "%s must be a number, not a %s", what, luaL_typename(L, index));
    }
    if (!isfinite(lua_tonumber(L, index))) {
        prn__lua_blame(L, PRN_INVALID, "%s is %s; it must be finite", what, isnan(lua_tonumber(L, index)) ? "no number (0/0)" : "infinite");
    }
    return lua_tonumber(L, index);
}

/* ---- in the recipe --------------------------------------------------------------------------------------------------------------- */

int prn__is_lua_strategy(lua_State *L)
{
    prn__tag tag;
    if (!lua_istable(L, -1)) {
        return 0;
    }
    if (prn__tag_of(L, -1, &tag)) {
        return strcmp(tag.kind, PRN__TAG_LUA_STRATEGY) == 0;
    }
    lua_pushliteral(L, "plan"); /* a plain table is one when it plans */
    int is_one = lua_rawget(L, -2) == LUA_TFUNCTION;
    lua_pop(L, 1);
    return is_one;
}

static int compare_names(const void *left, const void *right)
{
    const char *const *a = left, *const *b = right;
    return strcmp(*a, *b);
}

/* Every text that was loaded, under names that do not depend on where the recipe lies. Raises only before `hasher` is made. */
static prn__hasher *hash_texts(const prn__view *view)
{
    lua_State *L = view->L;
    prn__recipe_host *host = view->host;
    size_t count = 0, folder = strlen(host->folder), library = strlen(host->library);
    int sources = (prn__sandbox_push_sources(L), lua_gettop(L));
    lua_pushnil(L);
    while (lua_next(L, sources) != 0) {
        count++;
        lua_pop(L, 1);
    }
    const char **paths = prn__view_alloc(view, (count + 1) * sizeof *paths);
    count = 0;
    lua_pushnil(L);
    while (lua_next(L, sources) != 0) {
        paths[count++] = lua_tostring(L, -2); /* alive in the table of sources */
        lua_pop(L, 1);
    }
    qsort(paths, count, sizeof *paths, compare_names);
    prn__hasher *hasher = prn__hasher_create(); /* nothing below raises */
    for (size_t i = 0; hasher != NULL && i < count; i++) {
        const char *name = paths[i];
        int is_recipe = strcmp(name, host->recipe->path) == 0;
        if (strncmp(name, host->library, library) == 0 && name[library] == '/') {
            name += library + 1;
            prn__hasher_field(hasher, "library", name);
        } else if (is_recipe) {
            prn__hasher_field(hasher, "recipe", "");
        } else {
            name += strncmp(name, host->folder, folder) == 0 && name[folder] == '/' ? folder + 1 : 0;
            prn__hasher_field(hasher, "file", name);
        }
        size_t length = 0;
        (void)lua_getfield(L, sources, paths[i]);
        const char *source = lua_tolstring(L, -1, &length);
        prn__hasher_update(hasher, &length, sizeof length);
        prn__hasher_update(hasher, source, length);
        lua_pop(L, 1);
    }
    lua_settop(L, sources - 1);
    return hasher;
}

/* What stands for the strategy in stage keys: what the functions that run inside stages are made of, and where that cannot be told, every text
 * besides. `plan` is not among them: its answers are in the keys. A schedule that is a function may have left something behind for them.
 * With the label, two strategies of one recipe are two, whatever their functions are. */
static const char *digest_of(const prn__view *view, const prn__lua_strategy *strategy)
{
    lua_State *L = view->L;
    int functions[PRN__LUA_FUNCTION_COUNT + 1], is_complete;
    memcpy(functions, strategy->functions, sizeof strategy->functions);
    functions[PRN__LUA_FUNCTION_COUNT] = view->host->schedule_ref;
    prn__digest made_of = prn__lua_content(L, functions + 1, PRN__LUA_FUNCTION_COUNT, &is_complete);
    if (!is_complete) {
        int ignored;
        made_of = prn__lua_content(L, functions, PRN__LUA_FUNCTION_COUNT + 1, &ignored);
    }
    char *text = prn__view_alloc(view, 33);
    prn__hasher *hasher = is_complete ? prn__hasher_create() : hash_texts(view); /* nothing below raises while there is one */
    if (hasher == NULL) {
        prn__raise(L, PRN_NO_MEMORY, NULL, 0, "%s: out of memory", view->host->recipe->path);
    }
    prn__hasher_field(hasher, "format", FORMAT);
    prn__hasher_field(hasher, "code", is_complete ? "complete" : "with texts");
    prn__hasher_field(hasher, "label", strategy->label);
    prn__hasher_update(hasher, &made_of, sizeof made_of);
    for (uint32_t i = 0; i < strategy->option_count; i++) { /* their values are in the keys; 1 and 1.0 are one there, and two for Lua */
        const unsigned char kind[2] = {(unsigned char)strategy->options[i].type, strategy->is_integer[i]};
        prn__hasher_field(hasher, "option", strategy->options[i].name);
        prn__hasher_update(hasher, kind, sizeof kind);
    }
    prn__digest_format(prn__hasher_digest(hasher), text);
    prn__hasher_destroy(hasher);
    return text;
}

/* ---- options ---- */

static int is_option_name(const char *name)
{
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");
    return length > 0 && length <= 64 && name[length] == '\0' && name[0] >= 'a' && name[0] <= 'z' && strcmp(name, "label") != 0;
}

static const char *option_text(const prn__view *view, const char *key, int index, prn_option *option)
{
    lua_State *L = view->L;
    char text[40];
    switch (lua_type(L, index)) {
    case LUA_TBOOLEAN:
        option->type = PRN_OPTION_BOOL;
        return lua_toboolean(L, index) ? "true" : "false";
    case LUA_TNUMBER:
        option->type = PRN_OPTION_REAL;
        (void)snprintf(text, sizeof text, "%.17g", lua_tonumber(L, index));
        if (!isfinite(lua_tonumber(L, index))) {
            prn__view_bad(view, "options", PRN_INVALID, "%s: the option '%s' is not finite", view->what, key);
        }
        return prn__view_copy(view, text);
    case LUA_TSTRING:
        option->type = PRN_OPTION_STRING;
        if (strlen(lua_tostring(L, index)) != lua_rawlen(L, index)) {
            prn__view_bad(view, "options", PRN_INVALID, "%s: the option '%s' holds a zero byte", view->what, key);
        }
        return prn__view_copy(view, lua_tostring(L, index));
    case LUA_TTABLE: {
        size_t count = lua_rawlen(L, index), used = 0, bytes = count * 40 + 1, keys = 0;
        prn__tag tag;
        lua_pushnil(L);
        while (lua_next(L, index) != 0) {
            keys++;
            lua_pop(L, 1);
        }
        if (keys != count || count > 10000 || prn__tag_of(L, index, &tag)) {
            break;
        }
        char *list = prn__view_alloc(view, bytes);
        option->type = PRN_OPTION_REAL_LIST;
        for (size_t i = 1; i <= count; i++) {
            if (lua_rawgeti(L, index, (lua_Integer)i) != LUA_TNUMBER || !isfinite(lua_tonumber(L, -1))) {
                prn__view_bad(view, "options", PRN_INVALID, "%s: entry %zu of the option '%s' is no finite number", view->what, i, key);
            }
            used += (size_t)snprintf(list + used, bytes - used, "%s%.17g", i > 1 ? "," : "", lua_tonumber(L, -1));
            lua_pop(L, 1);
        }
        return list;
    }
    default:
        break;
    }
    prn__view_bad(view, "options", PRN_INVALID, "%s: the option '%s' is a %s; an option is a number, true or false, a text or a list of numbers: its default",
                  view->what, key, luaL_typename(L, index));
}

static int compare_options(const void *left, const void *right)
{
    const prn_option *a = left, *b = right;
    return strcmp(a->name, b->name);
}

/* The table of options on top of the stack, in the order of their names. */
static void read_declared(const prn__view *view, prn__lua_strategy *strategy)
{
    lua_State *L = view->L;
    int index = lua_gettop(L);
    uint32_t count = 0;
    if (!lua_istable(L, index)) {
        prn__view_bad(view, "options", PRN_INVALID, "%s: `options` is a table of names and their defaults, { weight = 1 }, not a %s", view->what,
                      luaL_typename(L, index));
    }
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        lua_pop(L, 1);
        if (lua_type(L, -1) != LUA_TSTRING || !is_option_name(lua_tostring(L, -1))) {
            prn__view_bad(view, "options", PRN_INVALID, "%s: the name of an option has lower-case letters, digits and '_', and is not `label`: options = {"
                          " weight = 1 }", view->what);
        }
        count++;
    }
    strategy->options = prn__view_alloc(view, (count + 1) * sizeof *strategy->options);
    strategy->is_integer = prn__view_alloc(view, count + 1);
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        prn_option *option = &strategy->options[strategy->option_count++];
        option->struct_size = sizeof *option;
        option->name = prn__view_copy(view, lua_tostring(L, -2));
        option->unit = "";
        option->minimum = -DBL_MAX;
        option->maximum = DBL_MAX;
        option->help = "of this recipe's own strategy";
        option->preset = option_text(view, option->name, lua_gettop(L), option);
        lua_pop(L, 1);
    }
    qsort(strategy->options, count, sizeof *strategy->options, compare_options);
    for (uint32_t i = 0; i < count; i++) {
        lua_pushstring(L, strategy->options[i].name);
        (void)lua_rawget(L, index);
        strategy->is_integer[i] = (unsigned char)lua_isinteger(L, -1);
        lua_pop(L, 1);
    }
}

/* ---- the table that the planner and the executor see ---- */

static const void *find_interface(void *self, const char *id)
{
    return strcmp(id, INTERFACE) == 0 ? self : NULL;
}

static void *allocate(void *self, size_t bytes, const char *purpose)
{
    (void)self;
    (void)purpose;
    return prn__alloc(bytes);
}

static void release(void *self, void *memory)
{
    (void)self;
    prn__free(memory);
}

static prn_status open_instance(const prn_host *host, const prn_option_value *values, prn_strategy_instance **result, prn_error *error)
{
    const prn__lua_strategy *strategy = host->interface_get(host->self, INTERFACE);
    prn_strategy_instance *instance = strategy != NULL ? host->allocate(host->self, sizeof *instance, "a strategy in Lua") : NULL;
    *result = instance;
    if (strategy == NULL) {
        return prn_error_set(error, PRN_INTERNAL, "a recipe's own strategy is opened without its recipe");
    }
    if (instance == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory for a strategy");
    }
    memset(instance, 0, sizeof *instance);
    instance->host = host;
    instance->strategy = strategy;
    instance->values = values;
    prn__arena_init(&instance->memory, 256);
    return PRN_OK;
}

static void close_instance(prn_strategy_instance *instance)
{
    prn__arena_fini(&instance->memory);
    prn__free(instance->room);
    instance->host->release(instance->host->self, instance);
}

static prn_status call_stage(prn_strategy_instance *instance, prn__lua_function which, const prn_stage *stage, const prn_composer *composer, prn_error *error)
{
    prn__lua_call call = {.instance = instance, .which = which, .stage = stage, .composer = composer, .one_each = PRN_NO_TENSOR};
    return prn__lua_call_run(&call, error);
}

static prn_status compose_loss(prn_strategy_instance *instance, const prn_stage *stage, const prn_composer *composer, prn_error *error)
{
    return call_stage(instance, PRN__LUA_LOSS, stage, composer, error);
}

static prn_status compose_memory_loss(prn_strategy_instance *instance, const prn_stage *stage, const prn_composer *composer, prn_error *error)
{
    return call_stage(instance, PRN__LUA_MEMORY_LOSS, stage, composer, error);
}

static prn_status compose_penalty(prn_strategy_instance *instance, const prn_stage *stage, const prn_composer *composer, prn_error *error)
{
    return call_stage(instance, PRN__LUA_PENALTY, stage, composer, error);
}

static prn_status change_gradient(prn_strategy_instance *instance, const prn_stage *stage, prn_error *error)
{
    return call_stage(instance, PRN__LUA_GRADIENT, stage, NULL, error);
}

static prn_status finish(prn_strategy_instance *instance, const prn_stage *stage, prn_error *error)
{
    return call_stage(instance, PRN__LUA_FINISH, stage, NULL, error);
}

static void make_table(prn__lua_strategy *strategy)
{
    const int *functions = strategy->functions;
    strategy->table = (prn_strategy){
        .struct_size = sizeof strategy->table, .option_count = strategy->option_count, .name = strategy->label, .summary = "defined by its recipe",
        .options = strategy->options, .open = open_instance, .close = close_instance, .plan = prn__lua_plan,
        .compose_loss = functions[PRN__LUA_LOSS] != LUA_NOREF ? compose_loss : NULL,
        .compose_memory_loss = functions[PRN__LUA_MEMORY_LOSS] != LUA_NOREF ? compose_memory_loss : NULL,
        .compose_penalty = functions[PRN__LUA_PENALTY] != LUA_NOREF ? compose_penalty : NULL,
        .change_gradient = functions[PRN__LUA_GRADIENT] != LUA_NOREF ? change_gradient : NULL,
        .finish = functions[PRN__LUA_FINISH] != LUA_NOREF ? finish : NULL,
    };
    strategy->services = (prn_host){.struct_size = sizeof strategy->services, .self = strategy, .allocate = allocate, .release = release,
                                    .interface_get = find_interface};
}

static void read_functions(const prn__view *own, prn__lua_strategy *strategy)
{
    lua_State *L = own->L;
    for (int i = 0; i < PRN__LUA_FUNCTION_COUNT; i++) {
        const char *name = prn__lua_function_names[i];
        int type = prn__view_push(own, name);
        if (type == LUA_TNIL && i == PRN__LUA_PLAN) {
            prn__raise(L, PRN_INVALID, own->file, own->line, "p.strategy needs `plan`: function(step, line, options), which returns what to do at a time step");
        }
        if (type != LUA_TNIL && (type != LUA_TFUNCTION || lua_iscfunction(L, -1))) {
            prn__view_bad(own, name, PRN_INVALID, "p.strategy: `%s` must be a Lua function, not a %s", name,
                          type == LUA_TFUNCTION ? "function of a library" : luaL_typename(L, -1));
        }
        strategy->functions[i] = LUA_NOREF;
        if (type == LUA_TNIL) {
            lua_pop(L, 1);
        } else {
            strategy->functions[i] = luaL_ref(L, LUA_REGISTRYINDEX);
        }
    }
}

void prn__lua_strategy_read(const prn__view *view, prn__recipe_strategy *result)
{
    lua_State *L = view->L;
    prn_option_value value;
    prn__tag tag;
    prn__lua_strategy *strategy = prn__view_alloc(view, sizeof *strategy);
    prn__view own = prn__view_of(L, PRN__TABLE_LUA_STRATEGY, "", lua_gettop(L), view->file, view->line);
    if (prn__tag_of(L, -1, &tag)) {
        own.file = tag.file;
        own.line = tag.line;
    } else { /* a plain table: near its first function */
        lua_Debug record;
        lua_pushliteral(L, "plan");
        (void)lua_rawget(L, own.index);
        (void)lua_getinfo(L, ">S", &record);
        own.line = record.linedefined > 0 && record.source[0] == '@' && strcmp(record.source + 1, view->file) == 0 ? record.linedefined : view->line;
    }
    own.path = "\n"; /* no setting reaches these keys: what can be set are the options, below */
    prn__view_check_keys(&own);
    (void)prn__view_read(&own, "label", &value);
    if (!prn__is_label(value.string)) {
        prn__view_bad(&own, "label", PRN_INVALID, "the label '%.100s' may have letters, digits, '_', '+' and '-' only, 1 to 64 of them", value.string);
    }
    strategy->host = view->host;
    strategy->label = value.string;
    read_functions(&own, strategy);

    prn__view options = {.L = L, .host = view->host, .file = own.file, .line = own.line,
                         .path = prn__view_path(&(prn__view){.L = L, .host = view->host, .path = "strategies"}, strategy->label)};
    char *what = prn__view_alloc(view, strlen(strategy->label) + 16);
    (void)snprintf(what, strlen(strategy->label) + 16, "strategy '%s'", strategy->label);
    options.what = what;
    if (prn__view_push(&own, "options") != LUA_TNIL) {
        read_declared(&own, strategy);
    }
    lua_pop(L, 1);
    options.fields = strategy->options;
    options.count = strategy->option_count;
    prn__view_check_keys(&options);
    prn__read_options(&options, &result->options, &result->option_count);

    make_table(strategy);
    result->label = strategy->label;
    result->strategy = "lua";
    result->line = own.line;
    result->table = &strategy->table;
    result->host = &strategy->services;
    result->source_digest = digest_of(view, strategy);
    view->host->has_strategies = 1;
}

/* ---- calls ----------------------------------------------------------------------------------------------------------------------- */

prn__lua_call *prn__lua_call_now(lua_State *L)
{
    prn__lua_call *call = prn__recipe_host_of(L)->call;
    if (call == NULL) {
        prn__raise(L, PRN_INVALID, NULL, 0, "%s: this works inside a strategy's functions only", prn__recipe_host_of(L)->recipe->path);
    }
    if (call->failure.status != PRN_OK) { /* Lua caught it; it counts all the same */
        (void)lua_pushstring(L, call->failure.message);
        (void)lua_error(L);
    }
    return call;
}

/* options.<name> that the strategy does not have: nil would be taken for "not given", and a misspelt name would never be found. */
static int no_option(lua_State *L)
{
    const prn__lua_strategy *strategy = prn__lua_call_now(L)->instance->strategy;
    enum { NAME_LIMIT = 64 }; /* of those that may be suggested */
    const char *names[NAME_LIMIT];
    char hint[160];
    size_t count = 0;
    for (; count < strategy->option_count && count < NAME_LIMIT; count++) {
        names[count] = strategy->options[count].name;
    }
    if (lua_type(L, 2) != LUA_TSTRING) {
        prn__lua_blame(L, PRN_NOT_FOUND, "options are read by name, not by a %s", luaL_typename(L, 2));
    }
    prn__lua_blame(L, PRN_NOT_FOUND, "the strategy has no option '%.100s'%s; those it has are in its table `options`, with their defaults", lua_tostring(L, 2),
                   prn__suggest_text(lua_tostring(L, 2), names, count, hint, sizeof hint));
}

static void push_options(lua_State *L, const prn__lua_call *call)
{
    const prn__lua_strategy *strategy = call->instance->strategy;
    lua_createtable(L, 0, (int)strategy->option_count);
    for (uint32_t i = 0; i < strategy->option_count; i++) {
        const prn_option_value *value = (const prn_option_value *)(const void *)((const char *)call->instance->values +
                                                                                   (size_t)i * call->instance->values->struct_size);
        switch (strategy->options[i].type) {
        case PRN_OPTION_BOOL:
            lua_pushboolean(L, value->integer != 0);
            break;
        case PRN_OPTION_REAL:
            if (strategy->is_integer[i] && value->real == floor(value->real) && fabs(value->real) <= 9007199254740992.0) {
                lua_pushinteger(L, (lua_Integer)value->real);
            } else {
                lua_pushnumber(L, value->real);
            }
            break;
        case PRN_OPTION_REAL_LIST:
            lua_createtable(L, (int)value->list_count, 0);
            for (uint64_t k = 0; k < value->list_count; k++) {
                lua_pushnumber(L, value->list[k]);
                lua_rawseti(L, -2, (lua_Integer)k + 1);
            }
            break;
        default:
            lua_pushstring(L, value->string);
            break;
        }
        lua_setfield(L, -2, strategy->options[i].name);
    }
    if (luaL_newmetatable(L, OPTIONS)) {
        lua_pushcfunction(L, no_option);
        lua_setfield(L, -2, "__index");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    (void)lua_setmetatable(L, -2);
}

static int run_call(lua_State *L)
{
    prn__lua_call *call = lua_touserdata(L, 1);
    prn__recipe_host *host = prn__recipe_host_of(L);
    int results = call->which == PRN__LUA_GRADIENT || call->which == PRN__LUA_FINISH ? 0 : 1;
    if (host->memory_used > host->memory_limit / 8) { /* what former calls left behind is not this one's */
        (void)lua_gc(L, LUA_GCCOLLECT, 0);
    }
    (void)lua_rawgeti(L, LUA_REGISTRYINDEX, call->instance->strategy->functions[call->which]); /* 2 */
    prn__lua_watch(L, 2);                                                                     /* 3 */
    lua_pushvalue(L, 2);
    if (call->which == PRN__LUA_PLAN) {
        lua_pushinteger(L, call->step);
        prn__lua_push_line(L, call->line);
    } else {
        if (call->composer != NULL) {
            prn__lua_push_composer(L, call);
        }
        prn__lua_push_stage(L, call);
    }
    push_options(L, call);
    lua_call(L, lua_gettop(L) - 4, results);
    if (call->which == PRN__LUA_PLAN) {
        prn__lua_take_request(L, call);
    } else {
        if (results > 0) {
            prn__lua_take_term(L, call);
        }
        prn__lua_settle(L, call);
    }
    lua_settop(L, 3);
    prn__lua_watch_check(L, 2, 3);
    return 0;
}

prn_status prn__lua_call_run(prn__lua_call *call, prn_error *error)
{
    prn_strategy_instance *instance = call->instance;
    prn__recipe_host *host = instance->strategy->host;
    call->failure = (prn_error)PRN_ERROR_INIT;
    call->serial = ++host->call_serial;
    host->call = call;
    prn_status status = prn__sandbox_call(host, run_call, call, 0, host->instruction_limit, error);
    host->call = NULL;
    if (call->failure.status != PRN_OK) {
        status = prn_error_set(error, (prn_status)call->failure.status, "%s", call->failure.message);
    }
    instance->room_of = NULL;
    instance->room_is_newer = 0;
    for (size_t i = 0; i < instance->slot_count; i++) {
        instance->slots[i].use = instance->slots[i].use == PRN__SLOT_CALL ? PRN__SLOT_FREE : instance->slots[i].use;
    }
    return status;
}
