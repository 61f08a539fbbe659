/* core/recipe/lua_strategy_stage.c: stages and vectors, as the functions of a strategy in Lua see them.
 *
 * A vector lives on the backend. What a call makes serves in that call and is used again afterwards: the host frees vectors when the stage
 * ends, not before. What was loaded from earlier time steps is loaded once a stage and cannot be written to, so it is there again, and the
 * same, at the next update and after an interruption.
 */
#include "recipe/lua_strategy.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/text.h"

static const char STAGE[] = "prn.stage", VECTOR[] = "prn.vector";

typedef struct handle {
    uint64_t serial;    /* of the call that it was given to */
    prn_vector *vector; /* NULL: a stage */
    int64_t is_constant;
} handle;

static void push_handle(lua_State *L, const prn__lua_call *call, prn_vector *vector, int is_constant)
{
    handle *made = lua_newuserdatauv(L, sizeof *made, 0);
    memset(made, 0, sizeof *made);
    made->serial = call->serial;
    made->vector = vector;
    made->is_constant = is_constant;
    luaL_setmetatable(L, vector != NULL ? VECTOR : STAGE);
}

prn_vector *prn__lua_vector(lua_State *L, int index, int is_target, const char *what)
{
    const prn__lua_call *call = prn__lua_call_now(L);
    const handle *given = luaL_testudata(L, index, VECTOR);
    if (given == NULL) {
        prn__lua_blame(L, PRN_INVALID, "%s must be a vector, not %s%s", what, lua_isnoneornil(L, index) ? "nil" : "a ",
                       lua_isnoneornil(L, index) ? "" : luaL_testudata(L, index, "prn.term") != NULL ? "term" : luaL_typename(L, index));
    }
    if (given->serial != call->serial) {
        prn__lua_blame(L, PRN_INVALID, "%s is a vector of a call that is over; vectors live as long as the call that they were made in, and stage:keep keeps"
                       " what they hold for later time steps", what);
    }
    if (is_target && given->is_constant) {
        prn__lua_blame(L, PRN_INVALID, "%s cannot be written to: %s; make a vector with stage:vector() and copy it, v:axpby(1, that)", what,
                       given->vector == call->stage->weights ? "`finish` alone decides about weights" : "it was loaded from an earlier time step, or a penalty"
                       " uses it");
    }
    return given->vector;
}

static prn__lua_call *stage_at(lua_State *L, int index)
{
    prn__lua_call *call = prn__lua_call_now(L);
    const handle *given = luaL_testudata(L, index, STAGE);
    if (given == NULL || call->stage == NULL) {
        prn__lua_blame(L, PRN_INVALID, "a stage's functions are called with a colon: stage:vector()");
    }
    if (given->serial != call->serial) {
        prn__lua_blame(L, PRN_INVALID, "this stage is of a call that is over; use the one that `%s` is given", prn__lua_function_names[call->which]);
    }
    return call;
}

/* ---- values in Lua --------------------------------------------------------------------------------------------------------------- */

void prn__lua_settle(lua_State *L, prn__lua_call *call)
{
    prn_strategy_instance *instance = call->instance;
    const prn_vectors *v = call->stage->vectors;
    prn_vector *vector = instance->room_of;
    int is_newer = instance->room_is_newer;
    instance->room_of = NULL;
    instance->room_is_newer = 0;
    if (vector != NULL && is_newer) {
        PRN__LUA_SERVE(L, call, "v:write", v->write(v->self, vector, instance->room, &call->failure));
    }
}

/* Has the vector's values in `room`. */
static void bring(lua_State *L, prn__lua_call *call, prn_vector *vector)
{
    prn_strategy_instance *instance = call->instance;
    const prn_vectors *v = call->stage->vectors;
    if (instance->room_of == vector) {
        return;
    }
    prn__lua_settle(L, call);
    if (instance->room == NULL && (instance->room = prn__alloc_array((size_t)v->elements, sizeof *instance->room)) == NULL) {
        prn__lua_blame(L, PRN_NO_MEMORY, "out of memory for the values of a vector");
    }
    PRN__LUA_SERVE(L, call, "v:read", v->read(v->self, vector, instance->room, &call->failure));
    instance->room_of = vector;
}

/* A place in a vector, from 1. */
static int64_t position(lua_State *L, int index, int64_t fallback, int64_t lowest, int64_t highest, const char *what)
{
    if (lua_isnoneornil(L, index)) {
        return fallback;
    }
    double number = prn__lua_number(L, index, what);
    if (number != floor(number) || number < (double)lowest || number > (double)highest) {
        prn__lua_blame(L, PRN_INVALID, "%s is %.17g; it must be a whole number from %" PRId64 " to %" PRId64, what, number, lowest, highest);
    }
    return (int64_t)number;
}

/* v:read([first[, count]]) -> list */
static int vector_read(lua_State *L)
{
    prn_vector *vector = prn__lua_vector(L, 1, 0, "v:read: its vector");
    prn__lua_call *call = prn__lua_call_now(L);
    const int64_t n = call->stage->vectors->elements;
    const int64_t first = position(L, 2, 1, 1, n, "v:read: the first element"), count = position(L, 3, n - first + 1, 0, n - first + 1, "v:read: the count");
    bring(L, call, vector);
    lua_createtable(L, (int)(count < 1 << 24 ? count : 1 << 24), 0);
    for (int64_t i = 0; i < count; i++) {
        lua_pushnumber(L, (double)call->instance->room[first - 1 + i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

/* v:write(first, list) */
static int vector_write(lua_State *L)
{
    prn_vector *vector = prn__lua_vector(L, 1, 1, "v:write: its vector");
    prn__lua_call *call = prn__lua_call_now(L);
    const int64_t n = call->stage->vectors->elements;
    const int64_t first = position(L, 2, 1, 1, n, "v:write: the first element");
    if (!lua_istable(L, 3)) {
        prn__lua_blame(L, PRN_INVALID, "v:write takes the first element's place and a list of numbers, not a %s", luaL_typename(L, 3));
    }
    const int64_t count = (int64_t)lua_rawlen(L, 3);
    if (count > n - first + 1) {
        prn__lua_blame(L, PRN_INVALID, "v:write: %" PRId64 " numbers from element %" PRId64 " on; the vector has %" PRId64 " elements", count, first, n);
    }
    bring(L, call, vector);
    for (int64_t i = 0; i < count; i++) {
        (void)lua_rawgeti(L, 3, i + 1);
        call->instance->room[first - 1 + i] = (float)prn__lua_number(L, -1, "v:write: a number of the list");
        call->instance->room_is_newer = 1;
        lua_pop(L, 1);
    }
    lua_settop(L, 1);
    return 1;
}

/* ---- arithmetic -------------------------------------------------------------------------------------------------------------------- */

static int vector_fill(lua_State *L)
{
    prn_vector *y = prn__lua_vector(L, 1, 1, "v:fill: its vector");
    prn__lua_call *call = prn__lua_call_now(L);
    const prn_vectors *v = call->stage->vectors;
    double value = prn__lua_number(L, 2, "v:fill: the value");
    prn__lua_settle(L, call);
    PRN__LUA_SERVE(L, call, "v:fill", v->fill(v->self, y, value, &call->failure));
    lua_settop(L, 1);
    return 1;
}

/* y:axpby(alpha, a[, beta, b]) */
static int vector_axpby(lua_State *L)
{
    prn_vector *y = prn__lua_vector(L, 1, 1, "v:axpby: its vector");
    prn__lua_call *call = prn__lua_call_now(L);
    const prn_vectors *v = call->stage->vectors;
    double alpha = prn__lua_number(L, 2, "v:axpby: alpha"), beta = 0;
    const prn_vector *a = prn__lua_vector(L, 3, 0, "v:axpby: a"), *b = NULL;
    if (!lua_isnoneornil(L, 4) || !lua_isnoneornil(L, 5)) {
        beta = prn__lua_number(L, 4, "v:axpby: beta");
        b = prn__lua_vector(L, 5, 0, "v:axpby: b");
    }
    prn__lua_settle(L, call);
    PRN__LUA_SERVE(L, call, "v:axpby", v->axpby(v->self, y, alpha, a, beta, b, &call->failure));
    lua_settop(L, 1);
    return 1;
}

/* y:multiply(a, b) */
static int vector_multiply(lua_State *L)
{
    prn_vector *y = prn__lua_vector(L, 1, 1, "v:multiply: its vector");
    prn__lua_call *call = prn__lua_call_now(L);
    const prn_vectors *v = call->stage->vectors;
    const prn_vector *a = prn__lua_vector(L, 2, 0, "v:multiply: a"), *b = prn__lua_vector(L, 3, 0, "v:multiply: b");
    prn__lua_settle(L, call);
    PRN__LUA_SERVE(L, call, "v:multiply", v->multiply(v->self, y, a, b, &call->failure));
    lua_settop(L, 1);
    return 1;
}

/* a:dot(b) -> number */
static int vector_dot(lua_State *L)
{
    const prn_vector *a = prn__lua_vector(L, 1, 0, "v:dot: its vector"), *b = prn__lua_vector(L, 2, 0, "v:dot: the other vector");
    prn__lua_call *call = prn__lua_call_now(L);
    const prn_vectors *v = call->stage->vectors;
    double result = 0;
    prn__lua_settle(L, call);
    PRN__LUA_SERVE(L, call, "v:dot", v->dot(v->self, a, b, &result, &call->failure));
    lua_pushnumber(L, result);
    return 1;
}

static int vector_length(lua_State *L)
{
    (void)prn__lua_vector(L, 1, 0, "the vector");
    lua_pushinteger(L, prn__lua_call_now(L)->stage->vectors->elements);
    return 1;
}

/* ---- vectors of a stage -------------------------------------------------------------------------------------------------------------- */

static prn__lua_slot *take_slot(lua_State *L, prn__lua_call *call, int is_zero)
{
    prn_strategy_instance *instance = call->instance;
    const prn_vectors *v = call->stage->vectors;
    prn__lua_slot *slot = NULL;
    for (size_t i = 0; i < instance->slot_count && slot == NULL; i++) {
        slot = instance->slots[i].use == PRN__SLOT_FREE ? &instance->slots[i] : NULL;
    }
    if (slot != NULL) {
        slot->use = PRN__SLOT_CALL;
        if (is_zero) {
            PRN__LUA_SERVE(L, call, "stage:vector", v->fill(v->self, slot->vector, 0, &call->failure));
        }
        return slot;
    }
    if (instance->slot_count == PRN__LUA_VECTORS) {
        prn__lua_blame(L, PRN_INVALID, "this makes more than %d vectors; make one outside of the loop and write to it again", PRN__LUA_VECTORS);
    }
    slot = &instance->slots[instance->slot_count];
    PRN__LUA_SERVE(L, call, "a new vector", v->create(v->self, &slot->vector, &call->failure));
    slot->use = PRN__SLOT_CALL;
    instance->slot_count++;
    return slot;
}

void prn__lua_pin(prn_strategy_instance *instance, const prn_vector *vector)
{
    for (size_t i = 0; i < instance->slot_count; i++) {
        if (instance->slots[i].vector == vector) {
            instance->slots[i].use = PRN__SLOT_KEPT;
        }
    }
}

/* The slot that holds what `source` names; NULL when nobody has asked for it in this stage. */
static prn__lua_slot *find_slot(prn_strategy_instance *instance, const char *source)
{
    for (size_t i = 0; i < instance->slot_count; i++) {
        if (instance->slots[i].use == PRN__SLOT_KEPT && strcmp(instance->slots[i].source, source) == 0) {
            return &instance->slots[i];
        }
    }
    return NULL;
}

/* ---- services of a stage --------------------------------------------------------------------------------------------------------------- */

static int stage_vector(lua_State *L)
{
    prn__lua_call *call = stage_at(L, 1);
    push_handle(L, call, take_slot(L, call, 1)->vector, 0);
    return 1;
}

static uint32_t time_step_at(lua_State *L, int index, const char *what)
{
    if (lua_isnoneornil(L, index)) {
        prn__lua_blame(L, PRN_INVALID, "%s is missing", what);
    }
    return (uint32_t)position(L, index, 0, 0, 1000000000, what);
}

/* stage:load_weights(after_step[, "deployed" or "trained"[, target]]) -> vector: one that is there until the stage ends, or the target */
static int stage_load_weights(lua_State *L)
{
    prn__lua_call *call = stage_at(L, 1);
    char source[sizeof call->instance->slots[0].source];
    const uint32_t after = time_step_at(L, 2, "stage:load_weights: the time step");
    const char *text = lua_isnoneornil(L, 3) ? "deployed" : lua_type(L, 3) == LUA_TSTRING ? lua_tostring(L, 3) : "";
    if (strcmp(text, "deployed") != 0 && strcmp(text, "trained") != 0) {
        prn__lua_blame(L, PRN_INVALID, "stage:load_weights: which weights must be \"deployed\" or \"trained\"");
    }
    const uint32_t which = strcmp(text, "trained") == 0 ? PRN_WEIGHTS_TRAINED : PRN_WEIGHTS_DEPLOYED;
    if (!lua_isnoneornil(L, 4)) {
        prn_vector *target = prn__lua_vector(L, 4, 1, "stage:load_weights: the target");
        prn__lua_settle(L, call);
        PRN__LUA_SERVE(L, call, "stage:load_weights", call->stage->load_weights(call->stage->self, after, which, target, &call->failure));
        lua_settop(L, 4);
        return 1;
    }
    (void)snprintf(source, sizeof source, "weights %" PRIu32 " %s", after, text);
    prn__lua_slot *slot = find_slot(call->instance, source);
    if (slot == NULL) {
        prn__lua_settle(L, call);
        slot = take_slot(L, call, 0);
        PRN__LUA_SERVE(L, call, "stage:load_weights", call->stage->load_weights(call->stage->self, after, which, slot->vector, &call->failure));
        (void)snprintf(slot->source, sizeof slot->source, "%s", source);
        slot->use = PRN__SLOT_KEPT;
    }
    push_handle(L, call, slot->vector, 1);
    return 1;
}

static const char *name_at(lua_State *L, int index, const char *what)
{
    if (lua_type(L, index) != LUA_TSTRING) {
        prn__lua_blame(L, PRN_INVALID, "%s must be a text, not a %s", what, lua_isnoneornil(L, index) ? "nil" : luaL_typename(L, index));
    }
    return lua_tostring(L, index);
}

/* What that step kept, into `target`; 0 and why on the stack when it kept none of that name. */
static int load_kept(lua_State *L, prn__lua_call *call, uint32_t after, const char *name, prn_vector *target)
{
    prn__lua_settle(L, call);
    const double begin = prn__sandbox_clock_s();
    const prn_status status = call->stage->load_kept(call->stage->self, after, name, target, &call->failure);
    prn__recipe_host_of(L)->deadline_s += prn__sandbox_clock_s() - begin;
    if (status == PRN_NOT_FOUND) {
        lua_pushnil(L);
        lua_pushstring(L, call->failure.message);
        call->failure = (prn_error)PRN_ERROR_INIT;
        return 0;
    }
    PRN__LUA_SERVE(L, call, "stage:load_kept", status);
    return 1;
}

/* stage:load_kept(after_step, name[, target]) -> vector as from load_weights; nil and why when that step kept none */
static int stage_load_kept(lua_State *L)
{
    prn__lua_call *call = stage_at(L, 1);
    char source[sizeof call->instance->slots[0].source];
    const uint32_t after = time_step_at(L, 2, "stage:load_kept: the time step");
    const char *name = name_at(L, 3, "stage:load_kept: the name");
    if (!lua_isnoneornil(L, 4)) {
        prn_vector *target = prn__lua_vector(L, 4, 1, "stage:load_kept: the target");
        lua_settop(L, 4);
        return load_kept(L, call, after, name, target) ? 1 : 2;
    }
    (void)snprintf(source, sizeof source, "kept %" PRIu32 " %.64s", after, name);
    prn__lua_slot *slot = find_slot(call->instance, source);
    if (slot == NULL) {
        slot = take_slot(L, call, 0);
        if (!load_kept(L, call, after, name, slot->vector)) {
            slot->use = PRN__SLOT_FREE;
            return 2;
        }
        (void)snprintf(slot->source, sizeof slot->source, "%s", source);
        slot->use = PRN__SLOT_KEPT;
    }
    push_handle(L, call, slot->vector, 1);
    return 1;
}

/* stage:keep(name, vector) */
static int stage_keep(lua_State *L)
{
    prn__lua_call *call = stage_at(L, 1);
    const char *name = name_at(L, 2, "stage:keep: the name");
    const prn_vector *vector = prn__lua_vector(L, 3, 0, "stage:keep: what is kept");
    prn__lua_settle(L, call);
    PRN__LUA_SERVE(L, call, "stage:keep", call->stage->keep(call->stage->self, name, vector, &call->failure));
    return 0;
}

/* stage:data_gradient(target) -> loss */
static int stage_data_gradient(lua_State *L)
{
    prn__lua_call *call = stage_at(L, 1);
    prn_vector *target = prn__lua_vector(L, 2, 1, "stage:data_gradient: the vector for the gradient");
    double loss = 0;
    prn__lua_settle(L, call);
    PRN__LUA_SERVE(L, call, "stage:data_gradient", call->stage->data_gradient(call->stage->self, target, &loss, &call->failure));
    lua_pushnumber(L, loss);
    return 1;
}

/* stage:memory_gradient(target) -> loss */
static int stage_memory_gradient(lua_State *L)
{
    prn__lua_call *call = stage_at(L, 1);
    prn_vector *target = prn__lua_vector(L, 2, 1, "stage:memory_gradient: the vector for the gradient");
    double loss = 0;
    prn__lua_settle(L, call);
    PRN__LUA_SERVE(L, call, "stage:memory_gradient", call->stage->memory_gradient(call->stage->self, target, &loss, &call->failure));
    lua_pushnumber(L, loss);
    return 1;
}

/* stage:score(weights, time_step, set) -> number */
static int stage_score(lua_State *L)
{
    prn__lua_call *call = stage_at(L, 1);
    const prn_vector *weights = prn__lua_vector(L, 2, 0, "stage:score: the weights");
    const uint32_t step = time_step_at(L, 3, "stage:score: the time step");
    const char *set = name_at(L, 4, "stage:score: the evaluation set");
    double score = 0;
    prn__lua_settle(L, call);
    PRN__LUA_SERVE(L, call, "stage:score", call->stage->score(call->stage->self, weights, step, set, &score, &call->failure));
    lua_pushnumber(L, score);
    return 1;
}

/* stage:note(name, value) */
static int stage_note(lua_State *L)
{
    prn__lua_call *call = stage_at(L, 1);
    const char *name = name_at(L, 2, "stage:note: the name");
    double value = prn__lua_number(L, 3, "stage:note: the value");
    PRN__LUA_SERVE(L, call, "stage:note", call->stage->note(call->stage->self, name, value, &call->failure));
    return 0;
}

/* ---- fields ------------------------------------------------------------------------------------------------------------------------------- */

static int push_own_vector(lua_State *L, const prn__lua_call *call, const char *key, prn_vector *vector, int is_constant)
{
    if (vector == NULL || (call->which != PRN__LUA_GRADIENT && strcmp(key, "weights") != 0)) {
        prn__lua_blame(L, PRN_INVALID, "stage.%s is there in `gradient` only", key);
    }
    push_handle(L, call, vector, is_constant);
    return 1;
}

static int index_stage(lua_State *L)
{
    static const luaL_Reg functions[] = {{"vector", stage_vector}, {"load_weights", stage_load_weights}, {"load_kept", stage_load_kept}, {"keep", stage_keep},
                                         {"data_gradient", stage_data_gradient}, {"memory_gradient", stage_memory_gradient}, {"score", stage_score},
                                         {"note", stage_note}};
    static const char *const names[] = {"vector", "load_weights", "load_kept", "keep", "data_gradient", "memory_gradient", "score", "note", "time_step", "steps",
                                        "step", "weights", "gradient", "scratch", "elements", "gap_elements"};
    const prn__lua_call *call = stage_at(L, 1);
    const prn_stage *stage = call->stage;
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    char hint[160];
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        if (strcmp(key, functions[i].name) == 0) {
            lua_pushcfunction(L, functions[i].func);
            return 1;
        }
    }
    if (strcmp(key, "weights") == 0 && call->composer != NULL) {
        prn__lua_blame(L, PRN_INVALID, "stage.weights change while a stage trains, and `%s` is called again when it is resumed: stage:load_weights(after_step)"
                       " gives those of earlier time steps%s", prn__lua_function_names[call->which],
                       call->which == PRN__LUA_PENALTY ? ", c.weights a term of those that are trained" : "");
    }
    if (strcmp(key, "weights") == 0) {
        return push_own_vector(L, call, key, stage->weights, call->which != PRN__LUA_FINISH);
    }
    if (strcmp(key, "gradient") == 0) {
        return push_own_vector(L, call, key, stage->gradient, 0);
    }
    if (strcmp(key, "scratch") == 0) {
        return push_own_vector(L, call, key, stage->scratch, 0);
    }
    if (strcmp(key, "step") == 0 && call->which != PRN__LUA_GRADIENT) {
        prn__lua_blame(L, PRN_INVALID, "stage.step is there in `gradient` only: the update that is about to be made, from 0");
    }
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {{"time_step", stage->time_step}, {"steps", stage->steps}, {"step", stage->step}, {"elements", stage->vectors->elements},
                   {"gap_elements", stage->vectors->gap_elements}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (strcmp(key, numbers[i].name) == 0) {
            lua_pushinteger(L, numbers[i].value);
            return 1;
        }
    }
    prn__lua_blame(L, PRN_INVALID, "a stage has no '%.60s'%s", key, prn__suggest_text(key, names, sizeof names / sizeof names[0], hint, sizeof hint));
}

static int index_vector(lua_State *L)
{
    static const luaL_Reg functions[] = {{"fill", vector_fill}, {"axpby", vector_axpby}, {"multiply", vector_multiply}, {"dot", vector_dot},
                                         {"read", vector_read}, {"write", vector_write}};
    static const char *const names[] = {"fill", "axpby", "multiply", "dot", "read", "write"};
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    char hint[160];
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        if (strcmp(key, functions[i].name) == 0) {
            lua_pushcfunction(L, functions[i].func);
            return 1;
        }
    }
    prn__lua_blame(L, PRN_INVALID, "a vector has no '%.60s'%s", key, prn__suggest_text(key, names, sizeof names / sizeof names[0], hint, sizeof hint));
}

void prn__lua_push_stage(lua_State *L, prn__lua_call *call)
{
    if (luaL_newmetatable(L, VECTOR)) {
        lua_pushcfunction(L, index_vector);
        lua_setfield(L, -2, "__index");
        lua_pushcfunction(L, vector_length);
        lua_setfield(L, -2, "__len");
        lua_pushliteral(L, "vector");
        lua_setfield(L, -2, "__name");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    if (luaL_newmetatable(L, STAGE)) {
        lua_pushcfunction(L, index_stage);
        lua_setfield(L, -2, "__index");
        lua_pushliteral(L, "stage");
        lua_setfield(L, -2, "__name");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    lua_pop(L, 2);
    push_handle(L, call, NULL, 0);
}
