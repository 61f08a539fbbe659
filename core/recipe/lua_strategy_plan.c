/* core/recipe/lua_strategy_plan.c: `plan` of a strategy in Lua: the time line as tables, and its answer as a prn_stage_request.
 *
 * The keys of an answer are the members of prn_stage_request. What the planner checks for every strategy (sources that have not
 * arrived, teachers, memory batches) is left to it; here is checked what only Lua can get wrong: types, names, whole numbers.
 */
#include "recipe/lua_strategy.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/text.h"

static const char *const ANSWER_KEYS[] = {"start_step", "start_from", "keep_optimizer", "budget_multiple", "sources", "hooks", "teacher", "memory_sources",
                                          "memory_batch", "evaluate", "finish_gradient_batches", "finish_scores", "finish_set", "kept_vectors"};
static const char *const SOURCE_KEYS[] = {"time_step", "max_samples", "weight"};
enum { ANSWER_KEY_COUNT = sizeof ANSWER_KEYS / sizeof ANSWER_KEYS[0], SOURCE_KEY_COUNT = sizeof SOURCE_KEYS / sizeof SOURCE_KEYS[0] };

void prn__lua_push_line(lua_State *L, const prn_time_line *line)
{
    lua_createtable(L, 0, 3);
    lua_pushinteger(L, line->step_count);
    lua_setfield(L, -2, "step_count");
    lua_pushinteger(L, line->budget_samples);
    lua_setfield(L, -2, "budget_samples");
    lua_createtable(L, (int)line->step_count, 0);
    for (uint32_t i = 0; i < line->step_count; i++) {
        const prn_time_step *step = (const prn_time_step *)(const void *)((const char *)line->steps + (size_t)i * line->steps->struct_size);
        lua_createtable(L, 0, 3);
        lua_pushinteger(L, step->index);
        lua_setfield(L, -2, "index");
        lua_pushstring(L, step->name);
        lua_setfield(L, -2, "name");
        lua_pushinteger(L, step->samples);
        lua_setfield(L, -2, "samples");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "steps");
}

/* Pushes the raw value of a key; its type. */
static int push_key(lua_State *L, int index, const char *key)
{
    lua_pushstring(L, key);
    return lua_rawget(L, index);
}

/* A whole number from 0 to `highest`; `fallback` when there is none. */
static int64_t whole(lua_State *L, int index, const char *what, const char *key, int64_t highest, int64_t fallback)
{
    char name[64];
    (void)snprintf(name, sizeof name, "%s%s%s", what, what[0] != '\0' ? "." : "", key);
    int64_t value = fallback;
    if (push_key(L, index, key) != LUA_TNIL) {
        double number = prn__lua_number(L, -1, name);
        if (number != floor(number) || number < 0 || number > (double)highest) {
            prn__lua_blame(L, PRN_INVALID, "%s is %.17g; it must be a whole number from 0 to %" PRId64, name, number, highest);
        }
        value = (int64_t)number;
    }
    lua_pop(L, 1);
    return value;
}

static double real(lua_State *L, int index, const char *key, double fallback)
{
    double value = push_key(L, index, key) != LUA_TNIL ? prn__lua_number(L, -1, key) : fallback;
    lua_pop(L, 1);
    return value;
}

/* "deployed" or "trained" */
static uint32_t which_weights(lua_State *L, int index, const char *key)
{
    uint32_t value = PRN_WEIGHTS_DEPLOYED;
    if (push_key(L, index, key) != LUA_TNIL) {
        const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
        value = strcmp(text, "trained") == 0 ? PRN_WEIGHTS_TRAINED : PRN_WEIGHTS_DEPLOYED;
        if (value == PRN_WEIGHTS_DEPLOYED && strcmp(text, "deployed") != 0) {
            prn__lua_blame(L, PRN_INVALID, "%s must be \"deployed\" or \"trained\"%s%.60s%s", key, text[0] != '\0' ? ", not \"" : "", text,
                           text[0] != '\0' ? "\"" : "");
        }
    }
    lua_pop(L, 1);
    return value;
}

/* The time step on top of the stack, of a source. */
static uint32_t source_step(lua_State *L, const char *key)
{
    if (lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), "reference") == 0) {
        return PRN_SOURCE_REFERENCE;
    }
    if (lua_type(L, -1) != LUA_TNUMBER) {
        prn__lua_blame(L, PRN_INVALID, "an entry of %s must be a time step, \"reference\" or { time_step = 1, max_samples = 100, weight = 0.5 }, not a %s", key,
                       luaL_typename(L, -1));
    }
    double number = lua_tonumber(L, -1);
    if (!(number >= 1 && number <= 4294967295.0) || number != floor(number)) {
        prn__lua_blame(L, PRN_INVALID, "an entry of %s is time step %s; time steps are whole numbers from 1", key, lua_tostring(L, -1));
    }
    return (uint32_t)number;
}

static uint32_t read_sources(lua_State *L, int index, const char *key, prn_source *sources, uint32_t capacity)
{
    int type = push_key(L, index, key), list = lua_gettop(L);
    if (type == LUA_TNIL) {
        lua_pop(L, 1);
        return 0;
    }
    if (type != LUA_TTABLE) { /* sources = step: a list of one */
        lua_createtable(L, 1, 0);
        lua_insert(L, list);
        lua_rawseti(L, list, 1);
    }
    size_t count = lua_rawlen(L, list), keys = 0;
    lua_pushnil(L);
    while (lua_next(L, list) != 0) {
        keys++;
        lua_pop(L, 1);
    }
    if (keys != count) {
        prn__lua_blame(L, PRN_INVALID, "%s must be a list: { step - 1, step }, or { { time_step = step, weight = 1 } }", key);
    }
    if (count > capacity) {
        prn__lua_blame(L, PRN_INVALID, "%s has %zu entries; the time line has %u steps, and each can be named once", key, count, capacity);
    }
    for (size_t i = 0; i < count; i++) {
        memset(&sources[i], 0, sizeof sources[i]);
        if (lua_rawgeti(L, list, (lua_Integer)i + 1) != LUA_TTABLE) {
            sources[i].time_step = source_step(L, key);
        } else {
            char name[64];
            int entry = lua_gettop(L);
            (void)snprintf(name, sizeof name, "entry %zu of %s", i + 1, key);
            prn__lua_check_keys(L, entry, name, SOURCE_KEYS, SOURCE_KEY_COUNT);
            if (push_key(L, entry, "time_step") == LUA_TNIL) {
                prn__lua_blame(L, PRN_INVALID, "%s has no time_step", name);
            }
            sources[i].time_step = source_step(L, key);
            lua_pop(L, 1);
            sources[i].max_samples = whole(L, entry, name, "max_samples", (int64_t)1 << 53, 0);
            if (push_key(L, entry, "weight") != LUA_TNIL) {
                (void)snprintf(name, sizeof name, "the weight of entry %zu of %s", i + 1, key);
                sources[i].weight = prn__lua_number(L, -1, name);
                if (sources[i].weight <= 0) {
                    prn__lua_blame(L, PRN_INVALID, "%s is %g; it must be above 0, or leave the entry out", name, sources[i].weight);
                }
            }
            lua_pop(L, 1);
        }
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return (uint32_t)count;
}

/* A time step whose model teaches; 0 or "initial": what the time line began with. */
static uint32_t read_teacher(lua_State *L, int index)
{
    uint32_t teacher = PRN_TEACHER_NONE;
    int type = push_key(L, index, "teacher");
    if (type == LUA_TSTRING && strcmp(lua_tostring(L, -1), "initial") == 0) {
        teacher = PRN_TEACHER_INITIAL;
    } else if (type == LUA_TSTRING) {
        prn__lua_blame(L, PRN_INVALID, "teacher is \"%.60s\"; it is a time step, such as step - 1, or \"initial\"", lua_tostring(L, -1));
    } else if (type != LUA_TNIL) {
        lua_pop(L, 1);
        return PRN_TEACHER_AFTER(whole(L, index, "", "teacher", 1000000000, 0));
    }
    lua_pop(L, 1);
    return teacher;
}

static int has(const prn__lua_strategy *strategy, prn__lua_function which)
{
    return strategy->functions[which] != LUA_NOREF;
}

/* Without `hooks`, all functions that the strategy has run; { "train" }, { "finish" } and {} choose. */
static uint32_t read_hooks(lua_State *L, int index, const prn__lua_strategy *strategy, int has_memory)
{
    static const char wanted[] = "hooks must be a list of \"train\" and \"finish\", or {}";
    const int trains = has(strategy, PRN__LUA_LOSS) || has(strategy, PRN__LUA_PENALTY) || has(strategy, PRN__LUA_GRADIENT) ||
                       (has(strategy, PRN__LUA_MEMORY_LOSS) && has_memory);
    const int finishes = has(strategy, PRN__LUA_FINISH);
    uint32_t hooks = 0;
    int type = push_key(L, index, "hooks"), list = lua_gettop(L);
    if (type == LUA_TNIL) {
        lua_pop(L, 1);
        return (trains ? PRN_HOOK_TRAIN : 0u) | (finishes ? PRN_HOOK_FINISH : 0u);
    }
    if (type != LUA_TTABLE) {
        prn__lua_blame(L, PRN_INVALID, "%s, not a %s", wanted, luaL_typename(L, list));
    }
    lua_pushnil(L);
    while (lua_next(L, list) != 0) {
        const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
        int is_train = strcmp(text, "train") == 0;
        if (!is_train && strcmp(text, "finish") != 0) {
            prn__lua_blame(L, PRN_INVALID, "%s%s%.60s%s", wanted, text[0] != '\0' ? ", not \"" : "", text, text[0] != '\0' ? "\"" : "");
        }
        if (!(is_train ? trains : finishes)) {
            prn__lua_blame(L, PRN_INVALID, "hooks has \"%s\", and the strategy has no %s", text,
                           is_train ? "function for it: `loss`, `penalty`, `gradient`, or `memory_loss` with a memory batch" : "`finish` function");
        }
        hooks |= is_train ? PRN_HOOK_TRAIN : PRN_HOOK_FINISH;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return hooks;
}

static const char *read_set(lua_State *L, int index, prn_strategy_instance *instance)
{
    const char *set = NULL;
    if (push_key(L, index, "finish_set") != LUA_TNIL) {
        if (lua_type(L, -1) != LUA_TSTRING) {
            prn__lua_blame(L, PRN_INVALID, "finish_set must be the name of an evaluation set, not a %s", luaL_typename(L, -1));
        }
        set = prn__arena_strdup(&instance->memory, lua_tostring(L, -1));
        if (set == NULL) {
            prn__lua_blame(L, PRN_NO_MEMORY, "out of memory while planning");
        }
    }
    lua_pop(L, 1);
    return set;
}

void prn__lua_take_request(lua_State *L, prn__lua_call *call)
{
    prn_stage_request *request = call->request;
    int index = lua_gettop(L);
    if (!lua_istable(L, index)) {
        prn__lua_blame(L, PRN_INVALID, "`plan` returned %s%s; it returns a table: { start_step = step - 1, sources = { step } }",
                       lua_isnil(L, index) ? "nothing" : "a ", lua_isnil(L, index) ? "" : luaL_typename(L, index));
    }
    prn__lua_check_keys(L, index, "what `plan` returned", ANSWER_KEYS, ANSWER_KEY_COUNT);
    if (push_key(L, index, "start_step") == LUA_TNIL) {
        prn__lua_blame(L, PRN_INVALID, "`plan` returned no start_step: the time step whose weights this one starts from, step - 1 to go on, 0 for random weights");
    }
    lua_pop(L, 1);
    request->start_step = (uint32_t)whole(L, index, "", "start_step", 1000000000, 0);
    request->start_from = which_weights(L, index, "start_from");
    request->evaluate = which_weights(L, index, "evaluate");
    request->budget_multiple = real(L, index, "budget_multiple", 1);
    if (request->budget_multiple <= 0) {
        prn__lua_blame(L, PRN_INVALID, "budget_multiple is %g; it must be above 0", request->budget_multiple);
    }
    int type = push_key(L, index, "keep_optimizer");
    if (type != LUA_TNIL && type != LUA_TBOOLEAN) {
        prn__lua_blame(L, PRN_INVALID, "keep_optimizer must be true or false, not a %s", luaL_typename(L, -1));
    }
    request->keep_optimizer = (uint32_t)lua_toboolean(L, -1);
    lua_pop(L, 1);
    request->source_count = read_sources(L, index, "sources", request->sources, request->source_capacity);
    if (request->source_count == 0) {
        prn__lua_blame(L, PRN_INVALID, "`plan` returned no sources: the time steps whose data is trained on, such as { step }");
    }
    request->memory_source_count = read_sources(L, index, "memory_sources", request->memory_sources, request->source_capacity);
    request->memory_batch = whole(L, index, "", "memory_batch", (int64_t)1 << 53, 0);
    request->teacher = read_teacher(L, index);
    request->hooks = read_hooks(L, index, call->instance->strategy, request->memory_batch > 0);
    if ((request->hooks & PRN_HOOK_TRAIN) == 0 && (request->teacher != PRN_TEACHER_NONE || request->memory_batch > 0)) {
        prn__lua_blame(L, PRN_INVALID, "`plan` asks for a %s, and no function uses it at this time step: give the strategy `loss`, `memory_loss`, `penalty` or"
                       " `gradient`, and do not leave \"train\" out of `hooks`", request->teacher != PRN_TEACHER_NONE ? "teacher" : "memory batch");
    }
    request->finish_gradient_batches = whole(L, index, "", "finish_gradient_batches", 1000000000, 0);
    request->finish_scores = whole(L, index, "", "finish_scores", 1000000000, 0);
    request->finish_set = read_set(L, index, call->instance);
    request->kept_vectors = whole(L, index, "", "kept_vectors", 8, 0);
    if ((request->hooks & PRN_HOOK_FINISH) == 0 && (request->finish_gradient_batches > 0 || request->finish_scores > 0 || request->finish_set != NULL ||
                                                    request->kept_vectors > 0)) {
        prn__lua_blame(L, PRN_INVALID, "`plan` declares what `finish` uses, and no `finish` runs at this time step");
    }
    if ((request->finish_scores > 0) != (request->finish_set != NULL)) {
        prn__lua_blame(L, PRN_INVALID, "finish_scores and finish_set go together: how many weights `finish` scores at each time step, and on which evaluation set");
    }
}

/* ---- asking twice ------------------------------------------------------------------------------------------------------------------ */

static int same_sources(const prn_source *a, uint32_t m, const prn_source *b, uint32_t n)
{
    int same = m == n;
    for (uint32_t i = 0; same && i < m; i++) {
        same = a[i].time_step == b[i].time_step && a[i].max_samples == b[i].max_samples && a[i].weight == b[i].weight;
    }
    return same;
}

/* The first member in which two answers differ; NULL when they agree. */
static const char *difference(const prn_stage_request *a, const prn_stage_request *b)
{
    return a->start_step != b->start_step                             ? "start_step"
           : a->start_from != b->start_from                           ? "start_from"
           : a->keep_optimizer != b->keep_optimizer                   ? "keep_optimizer"
           : a->budget_multiple != b->budget_multiple                 ? "budget_multiple"
           : a->hooks != b->hooks                                     ? "hooks"
           : a->teacher != b->teacher                                 ? "teacher"
           : a->memory_batch != b->memory_batch                       ? "memory_batch"
           : a->evaluate != b->evaluate                               ? "evaluate"
           : a->finish_gradient_batches != b->finish_gradient_batches ? "finish_gradient_batches"
           : a->finish_scores != b->finish_scores                     ? "finish_scores"
           : a->kept_vectors != b->kept_vectors                       ? "kept_vectors"
           : strcmp(a->finish_set != NULL ? a->finish_set : "", b->finish_set != NULL ? b->finish_set : "") != 0 ? "finish_set"
           : !same_sources(a->sources, a->source_count, b->sources, b->source_count)                             ? "sources"
           : !same_sources(a->memory_sources, a->memory_source_count, b->memory_sources, b->memory_source_count) ? "memory_sources"
                                                                                                                 : NULL;
}

prn_status prn__lua_plan(prn_strategy_instance *instance, const prn_time_line *line, uint32_t step, prn_stage_request *request, prn_error *error)
{
    prn_stage_request again = *request;
    prn__lua_call call = {.instance = instance, .which = PRN__LUA_PLAN, .line = line, .step = step, .request = request, .one_each = PRN_NO_TENSOR};
    prn_status status = prn__lua_call_run(&call, error);
    if (status != PRN_OK) {
        return status;
    }
    prn_source *sources = prn__alloc_array(2 * (size_t)request->source_capacity, sizeof *sources);
    if (sources == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory while planning");
    }
    again.sources = sources;
    again.memory_sources = sources + request->source_capacity;
    call.request = &again;
    status = prn__lua_call_run(&call, error);
    const char *differs = status == PRN_OK ? difference(request, &again) : NULL;
    if (differs != NULL) {
        status = prn_error_set(error, PRN_INVALID, "`plan` was asked the same twice and gave two different answers (%s); it must depend on its arguments alone",
                               differs);
    }
    prn__free(sources);
    return status;
}
