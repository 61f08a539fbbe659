/* core/recipe/lua_strategy_compose.c: composers and terms, as `loss`, `memory_loss` and `penalty` of a strategy in Lua see them.
 *
 * A composer's methods are the operations of <perennial/program.h> that a term can be made of; `+`, `-`, `*` and `/` on terms are axpby and multiply.
 * The graph infers and checks all shapes: an operation that does not fit is an error at the line that asked for it.
 */
#include "recipe/lua_strategy.h"

#include <math.h>
#include <string.h>

#include "base/text.h"

static const char COMPOSER[] = "prn.composer", TERM[] = "prn.term";

typedef struct term {
    uint64_t serial; /* of the call that made it */
    int32_t tensor;
} term;

/* What can be composed: operations on real tensors whose shapes follow from their inputs. */
static const struct operation {
    const char *name;
    prn_op_kind kind;
    int fewest, most;          /* inputs */
    const char *attributes[4]; /* that it looks at */
    const char *needed;        /* one that must be given */
} OPERATIONS[] = {
    {"linear", PRN_OP_LINEAR, 2, 4, {"activation", "transpose_w"}, NULL},
    {"l2_normalise", PRN_OP_L2_NORMALISE, 1, 1, {NULL}, NULL},
    {"similarity", PRN_OP_SIMILARITY, 2, 3, {NULL}, NULL},
    {"soft_cross_entropy", PRN_OP_SOFT_CROSS_ENTROPY, 2, 2, {"alpha"}, "alpha"},
    {"activation", PRN_OP_ACTIVATION, 1, 1, {"activation"}, "activation"},
    {"axpby", PRN_OP_AXPBY, 1, 2, {"alpha", "beta"}, "alpha"},
    {"multiply", PRN_OP_MULTIPLY, 2, 2, {NULL}, NULL},
    {"exp", PRN_OP_EXP, 1, 1, {NULL}, NULL},
    {"sum", PRN_OP_SUM, 1, 1, {NULL}, NULL},
    {"dot", PRN_OP_DOT, 2, 2, {NULL}, NULL},
    {"clamp", PRN_OP_CLAMP, 1, 1, {"alpha", "beta"}, "beta"},
};
enum { OPERATION_COUNT = sizeof OPERATIONS / sizeof OPERATIONS[0] };

static void push_term(lua_State *L, const prn__lua_call *call, int32_t tensor)
{
    term *made = lua_newuserdatauv(L, sizeof *made, 0);
    memset(made, 0, sizeof *made);
    made->serial = call->serial;
    made->tensor = tensor;
    luaL_setmetatable(L, TERM);
}

static prn__lua_call *composing(lua_State *L)
{
    prn__lua_call *call = prn__lua_call_now(L);
    if (call->composer == NULL) {
        prn__lua_blame(L, PRN_INVALID, "terms are composed in `loss`, `memory_loss` and `penalty` only");
    }
    return call;
}

/* Argument 1 is the composer of this call. */
static prn__lua_call *composer_at(lua_State *L, const char *name)
{
    prn__lua_call *call = composing(L);
    const term *given = luaL_testudata(L, 1, COMPOSER);
    if (given == NULL) {
        prn__lua_blame(L, PRN_INVALID, "c:%s is called with a colon, not with a dot", name);
    }
    if (given->serial != call->serial) {
        prn__lua_blame(L, PRN_INVALID, "this composer is of a call that is over; use the one that `%s` is given", prn__lua_function_names[call->which]);
    }
    return call;
}

static int32_t term_at(lua_State *L, const prn__lua_call *call, int index, const char *what)
{
    const term *given = luaL_testudata(L, index, TERM);
    if (given == NULL) {
        prn__lua_blame(L, PRN_INVALID, "%s must be a term, not %s%s", what, lua_isnoneornil(L, index) ? "nil: is it there in this stage? Terms of a teacher need"
                       " `teacher` in what `plan` returns" : "a ", lua_isnoneornil(L, index) ? "" : luaL_testudata(L, index, "prn.vector") != NULL
                       ? "vector; c:vector(v) makes it one, in `penalty`" : luaL_typename(L, index));
    }
    if (given->serial != call->serial) {
        prn__lua_blame(L, PRN_INVALID, "%s is a term of a call that is over; terms live as long as the call that they were made in", what);
    }
    return given->tensor;
}

/* Composes, and pushes the result. */
static int compose(lua_State *L, prn__lua_call *call, const struct operation *operation, const int32_t *inputs, int count, const prn_op_attrs *attrs)
{
    const int32_t made = call->composer->operation(call->composer->self, operation->kind, inputs, (uint32_t)count, attrs);
    if (made == PRN_NO_TENSOR) {
        char what[96];
        (void)prn_error_set(&call->failure, PRN_INVALID, "the inputs do not fit together");
        (void)snprintf(what, sizeof what, "c:%s", operation->name);
        prn__lua_blame_host(L, call, what);
    }
    push_term(L, call, made);
    return 1;
}

static void read_attributes(lua_State *L, int index, const struct operation *operation, prn_op_attrs *attrs)
{
    size_t count = 0;
    char what[96];
    (void)snprintf(what, sizeof what, "the last argument of c:%s", operation->name);
    while (count < 4 && operation->attributes[count] != NULL) {
        count++;
    }
    memset(attrs, 0, sizeof *attrs);
    if (index != 0) {
        prn__lua_check_keys(L, index, what, operation->attributes, count);
    }
    for (size_t i = 0; i < count; i++) {
        const char *name = operation->attributes[i];
        int type = LUA_TNIL;
        if (index != 0) {
            lua_pushstring(L, name);
            type = lua_rawget(L, index);
        }
        (void)snprintf(what, sizeof what, "c:%s: %s", operation->name, name);
        if (type == LUA_TNIL && operation->needed != NULL && strcmp(operation->needed, name) == 0) {
            prn__lua_blame(L, PRN_INVALID, "c:%s needs { %s = ... } as its last argument", operation->name, name);
        }
        if (type == LUA_TNIL) {
            lua_pop(L, index != 0 ? 1 : 0);
            continue;
        }
        if (strcmp(name, "activation") == 0) {
            const char *text = type == LUA_TSTRING ? lua_tostring(L, -1) : "";
            attrs->activation = strcmp(text, "gelu") == 0 ? PRN_ACT_GELU : strcmp(text, "quick_gelu") == 0 ? PRN_ACT_QUICK_GELU : PRN_ACT_NONE;
            if (attrs->activation == PRN_ACT_NONE && strcmp(text, "none") != 0) {
                prn__lua_blame(L, PRN_INVALID, "%s must be \"gelu\", \"quick_gelu\" or \"none\"", what);
            }
        } else if (strcmp(name, "transpose_w") == 0) {
            attrs->transpose_w = lua_toboolean(L, -1);
        } else {
            *(strcmp(name, "alpha") == 0 ? &attrs->alpha : &attrs->beta) = prn__lua_number(L, -1, what);
        }
        lua_pop(L, 1);
    }
    if (operation->kind == PRN_OP_SOFT_CROSS_ENTROPY && attrs->alpha <= 0) {
        prn__lua_blame(L, PRN_INVALID, "c:soft_cross_entropy: alpha is %g; it is the temperature and must be above 0", attrs->alpha);
    }
}

/* c:multiply(a, b), c:soft_cross_entropy(a, b, { alpha = 2 }); false stands for an input that is left out. Upvalue: which operation. */
static int call_operation(lua_State *L)
{
    const struct operation *operation = &OPERATIONS[lua_tointeger(L, lua_upvalueindex(1))];
    prn__lua_call *call = composer_at(L, operation->name);
    int32_t inputs[PRN_OP_MAX_INPUTS];
    prn_op_attrs attrs;
    char what[64];
    int last = lua_gettop(L), has_attributes = last > 1 && lua_istable(L, last), count = last - 1 - has_attributes;
    if (count < operation->fewest || count > operation->most) {
        prn__lua_blame(L, PRN_INVALID, "c:%s takes %d%s%.0d input%s, not %d", operation->name, operation->fewest, operation->most > operation->fewest ? " to " : "",
                       operation->most > operation->fewest ? operation->most : 0, operation->most > 1 ? "s" : "", count);
    }
    for (int i = 0; i < count; i++) {
        (void)snprintf(what, sizeof what, "c:%s: input %d", operation->name, i + 1);
        int is_absent = lua_isboolean(L, i + 2) && !lua_toboolean(L, i + 2) && i >= operation->fewest;
        inputs[i] = is_absent ? PRN_NO_TENSOR : term_at(L, call, i + 2, what);
    }
    read_attributes(L, has_attributes ? last : 0, operation, &attrs);
    return compose(L, call, operation, inputs, count, &attrs);
}

static const struct operation *operation_of(prn_op_kind kind)
{
    size_t i = 0;
    while (OPERATIONS[i].kind != kind) {
        i++;
    }
    return &OPERATIONS[i];
}

/* c:vector(v) */
static int composer_vector(lua_State *L)
{
    prn__lua_call *call = composer_at(L, "vector");
    if (call->which != PRN__LUA_PENALTY) {
        prn__lua_blame(L, PRN_INVALID, "c:vector: vectors are for terms of `penalty`; those of `%s` are on batches", prn__lua_function_names[call->which]);
    }
    prn_vector *vector = prn__lua_vector(L, 2, 0, "c:vector: its argument");
    prn__lua_settle(L, call);
    const int32_t tensor = call->composer->vector(call->composer->self, vector);
    if (tensor == PRN_NO_TENSOR) {
        (void)prn_error_set(&call->failure, PRN_INVALID, "the penalty uses too many vectors");
        prn__lua_blame_host(L, call, "c:vector");
    }
    prn__lua_pin(call->instance, vector); /* its values are read at each update */
    push_term(L, call, tensor);
    return 1;
}

/* A term of the shape that all have here is composed once, of what is there; nothing uses it, so it is not computed. */
static int32_t one_each(const prn__lua_call *call)
{
    const prn_composer *composer = call->composer;
    const prn_op_attrs attrs = {.alpha = 1};
    if (call->which == PRN__LUA_PENALTY) {
        return composer->operation(composer->self, PRN_OP_SUM, &composer->weights, 1, NULL);
    }
    const int32_t inputs[2] = {composer->logits, composer->logits};
    return composer->operation(composer->self, PRN_OP_SOFT_CROSS_ENTROPY, inputs, 2, &attrs);
}

static void add(lua_State *L, prn__lua_call *call, int32_t tensor, double weight, const char *what)
{
    const prn_op_attrs attrs = {.alpha = 1, .beta = 1};
    if (call->one_each == PRN_NO_TENSOR) {
        call->one_each = one_each(call);
    }
    const int32_t inputs[2] = {call->one_each, tensor};
    if (call->composer->operation(call->composer->self, PRN_OP_AXPBY, inputs, 2, &attrs) == PRN_NO_TENSOR) {
        (void)prn_error_set(&call->failure, PRN_INVALID, call->which == PRN__LUA_PENALTY ? "a term of `penalty` is one number; c:sum and c:dot make one"
                            : "a term of `%s` is (R), one number for each row, such as c:soft_cross_entropy gives", prn__lua_function_names[call->which]);
        prn__lua_blame_host(L, call, what);
    }
    call->composer->add(call->composer->self, tensor, weight);
}

/* c:add(term[, weight]) */
static int composer_add(lua_State *L)
{
    prn__lua_call *call = composer_at(L, "add");
    const int32_t tensor = term_at(L, call, 2, "c:add: its first argument");
    add(L, call, tensor, lua_isnoneornil(L, 3) ? 1 : prn__lua_number(L, 3, "c:add: the weight"), "c:add");
    return 0;
}

void prn__lua_take_term(lua_State *L, prn__lua_call *call)
{
    char what[64];
    if (!lua_isnil(L, -1)) {
        (void)snprintf(what, sizeof what, "what `%s` returned", prn__lua_function_names[call->which]);
        add(L, call, term_at(L, call, -1, what), 1, what);
    }
}

/* ---- fields and operators ------------------------------------------------------------------------------------------------------------- */

static int index_composer(lua_State *L)
{
    static const char *const NAMES[] = {"logits", "rows", "columns", "log_scale", "teacher_logits", "teacher_rows", "teacher_columns", "teacher_log_scale",
                                        "weights"};
    enum { TENSORS = sizeof NAMES / sizeof NAMES[0] };
    const char *names[TENSORS + OPERATION_COUNT + 2];
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    prn__lua_call *call = composer_at(L, key);
    const prn_composer *c = call->composer;
    const int32_t tensors[TENSORS] = {c->logits, c->rows, c->columns, c->log_scale, c->teacher_logits, c->teacher_rows, c->teacher_columns,
                                      c->teacher_log_scale, c->weights};
    char hint[160];
    size_t count = 0;
    for (size_t i = 0; i < TENSORS; i++) {
        names[count++] = NAMES[i];
        if (strcmp(key, NAMES[i]) == 0) {
            if (tensors[i] == PRN_NO_TENSOR) {
                lua_pushnil(L);
            } else {
                push_term(L, call, tensors[i]);
            }
            return 1;
        }
    }
    for (size_t i = 0; i < OPERATION_COUNT; i++) {
        names[count++] = OPERATIONS[i].name;
        if (strcmp(key, OPERATIONS[i].name) == 0) {
            lua_pushinteger(L, (lua_Integer)i);
            lua_pushcclosure(L, call_operation, 1);
            return 1;
        }
    }
    names[count++] = "add";
    names[count++] = "vector";
    if (strcmp(key, "add") == 0 || strcmp(key, "vector") == 0) {
        lua_pushcfunction(L, strcmp(key, "add") == 0 ? composer_add : composer_vector);
        return 1;
    }
    prn__lua_blame(L, PRN_INVALID, "a composer has no '%.60s'%s", key, prn__suggest_text(key, names, count, hint, sizeof hint));
}

/* alpha a + beta b; no `b` when its index is 0. */
static int combine(lua_State *L, double alpha, int a, double beta, int b, const char *what)
{
    prn__lua_call *call = composing(L);
    const prn_op_attrs attrs = {.alpha = alpha, .beta = beta};
    int32_t inputs[2] = {term_at(L, call, a, what), PRN_NO_TENSOR};
    if (b != 0) {
        inputs[1] = term_at(L, call, b, what);
    }
    return compose(L, call, operation_of(PRN_OP_AXPBY), inputs, b != 0 ? 2 : 1, &attrs);
}

static int term_sum(lua_State *L)
{
    return combine(L, 1, 1, 1, 2, "each side of `+`");
}

static int term_difference(lua_State *L)
{
    return combine(L, 1, 1, -1, 2, "each side of `-`");
}

static int term_negative(lua_State *L)
{
    return combine(L, -1, 1, 0, 0, "what `-` is applied to");
}

static int term_product(lua_State *L)
{
    prn__lua_call *call = composing(L);
    for (int i = 1; i <= 2; i++) {
        if (lua_type(L, i) == LUA_TNUMBER) {
            return combine(L, prn__lua_number(L, i, "a factor"), 3 - i, 0, 0, "the other side of `*`");
        }
    }
    const int32_t inputs[2] = {term_at(L, call, 1, "each side of `*`"), term_at(L, call, 2, "each side of `*`")};
    return compose(L, call, operation_of(PRN_OP_MULTIPLY), inputs, 2, NULL);
}

static int term_quotient(lua_State *L)
{
    double factor = 1 / prn__lua_number(L, 2, "what a term is divided by");
    if (!isfinite(factor)) {
        prn__lua_blame(L, PRN_INVALID, "a term is divided by %g", lua_tonumber(L, 2));
    }
    return combine(L, factor, 1, 0, 0, "what is divided");
}

void prn__lua_push_composer(lua_State *L, prn__lua_call *call)
{
    static const luaL_Reg operators[] = {{"__add", term_sum}, {"__sub", term_difference}, {"__mul", term_product}, {"__div", term_quotient},
                                         {"__unm", term_negative}, {NULL, NULL}};
    if (luaL_newmetatable(L, TERM)) {
        luaL_setfuncs(L, operators, 0);
        lua_pushliteral(L, "term");
        lua_setfield(L, -2, "__name");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    if (luaL_newmetatable(L, COMPOSER)) {
        lua_pushcfunction(L, index_composer);
        lua_setfield(L, -2, "__index");
        lua_pushliteral(L, "composer");
        lua_setfield(L, -2, "__name");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "__metatable");
    }
    lua_pop(L, 2);
    push_term(L, call, PRN_NO_TENSOR); /* all that a composer says is in the call */
    luaL_setmetatable(L, COMPOSER);
}
