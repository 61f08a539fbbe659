/* core/recipe/lua_strategy.h: strategies that a recipe defines itself, as a prn_strategy whose callbacks call the recipe's Lua functions.
 *
 * Invariants: a function leaves everything outside of it as it was, so what it computes does not depend on how often a run was
 * interrupted; what it is handed (stage, composer, terms, vectors) serves during that call only and says so afterwards; a service of the
 * host that fails ends the call with that failure, whatever the function makes of it. Private to core/recipe.
 *
 *   lua_strategy.c          the table in the recipe, instances, calls
 *   lua_strategy_plan.c     `plan`: the time line to Lua, its answer to a prn_stage_request
 *   lua_strategy_compose.c  `loss`, `memory_loss`, `penalty`: terms
 *   lua_strategy_stage.c    stages and vectors, as all functions but `plan` see them
 *   lua_strategy_watch.c    whether a call changed what outlives it
 *   lua_strategy_code.c     what the functions are made of, for stage keys
 */
#ifndef PRN_RECIPE_LUA_STRATEGY_H
#define PRN_RECIPE_LUA_STRATEGY_H

#include <perennial/strategy.h>

#include "base/hash.h"
#include "base/memory.h"
#include "recipe/translate.h"

#define PRN__LUA_VECTORS 64 /* that one stage may have at a time */

typedef enum prn__lua_function {
    PRN__LUA_PLAN, PRN__LUA_LOSS, PRN__LUA_MEMORY_LOSS, PRN__LUA_PENALTY, PRN__LUA_GRADIENT, PRN__LUA_FINISH, PRN__LUA_FUNCTION_COUNT
} prn__lua_function;

extern const char *const prn__lua_function_names[PRN__LUA_FUNCTION_COUNT];

/* In the recipe's arena. */
typedef struct prn__lua_strategy {
    prn__recipe_host *host;
    const char *label;
    int functions[PRN__LUA_FUNCTION_COUNT]; /* references; LUA_NOREF where there is none */
    prn_option *options;
    unsigned char *is_integer; /* (option_count) written as a whole number in the recipe */
    uint32_t option_count;
    prn_strategy table;
    prn_host services;         /* what `table` asks for is this: interface_get finds it, also through a host that wraps this one */
} prn__lua_strategy;

/* A vector of the stage that the host has made. They live until the stage ends, so they are used again. */
typedef struct prn__lua_slot {
    prn_vector *vector;
    enum { PRN__SLOT_FREE, PRN__SLOT_CALL, PRN__SLOT_KEPT } use; /* KEPT: of this content until the stage ends */
    char source[96]; /* KEPT: what was loaded into it; "" for one of a penalty's terms */
} prn__lua_slot;

struct prn_strategy_instance {
    const prn_host *host;
    const prn__lua_strategy *strategy;
    const prn_option_value *values; /* alive while this is */
    prn__arena memory;              /* strings that requests point to */
    prn__lua_slot slots[PRN__LUA_VECTORS];
    size_t slot_count;
    float *room;                    /* (n) a vector's values, on their way to or from Lua */
    prn_vector *room_of;            /* whose values those are; NULL for nobody's */
    int room_is_newer;              /* ... and the vector must still be given them */
};

/* One call of one function. */
typedef struct prn__lua_call {
    prn_strategy_instance *instance;
    prn__lua_function which;
    uint64_t serial;
    const prn_time_line *line; /* plan */
    uint32_t step;
    prn_stage_request *request;
    const prn_stage *stage;    /* all others */
    const prn_composer *composer;
    int32_t one_each;          /* composing: a term of the shape that terms have; PRN_NO_TENSOR until it is needed */
    prn_error failure;         /* of the host: ends the call even when Lua caught it */
} prn__lua_call;

/* ---- lua_strategy.c ---- */

/* 1 when the value on top of the stack is a strategy that the recipe defines. Never raises. */
int prn__is_lua_strategy(lua_State *L);
/* Reads it. Raises. */
void prn__lua_strategy_read(const prn__view *view, prn__recipe_strategy *strategy);
/* Raises with the place in the recipe that is running, else with that of the function that was called. */
_Noreturn void prn__lua_blame(lua_State *L, prn_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same with `call->failure`, which stays the call's result. Raises. */
_Noreturn void prn__lua_blame_host(lua_State *L, prn__lua_call *call, const char *what);
/* Keys of the table at `index` that `names` lacks are refused. Raises. */
void prn__lua_check_keys(lua_State *L, int index, const char *what, const char *const *names, size_t count);
/* A finite number. Raises. */
double prn__lua_number(lua_State *L, int index, const char *what);
/* The call that is under way; raises when there is none. */
prn__lua_call *prn__lua_call_now(lua_State *L);
/* Runs the function of the call. */
prn_status prn__lua_call_run(prn__lua_call *call, prn_error *error);

/* ---- lua_strategy_plan.c ---- */

prn_status prn__lua_plan(prn_strategy_instance *instance, const prn_time_line *line, uint32_t step, prn_stage_request *request, prn_error *error);
void prn__lua_push_line(lua_State *L, const prn_time_line *line);
/* Reads what `plan` returned, on top of the stack, into call->request. Raises. */
void prn__lua_take_request(lua_State *L, prn__lua_call *call);

/* ---- lua_strategy_compose.c ---- */

void prn__lua_push_composer(lua_State *L, prn__lua_call *call);
/* Reads what a composing function returned: nothing, or one more term. Raises. */
void prn__lua_take_term(lua_State *L, prn__lua_call *call);

/* ---- lua_strategy_stage.c ---- */

void prn__lua_push_stage(lua_State *L, prn__lua_call *call);
/* The vector at `index`; `is_target`: it is written to. Raises. */
prn_vector *prn__lua_vector(lua_State *L, int index, int is_target, const char *what);
/* Keeps it as it is until the stage ends. */
void prn__lua_pin(prn_strategy_instance *instance, const prn_vector *vector);
/* Gives a vector the values that Lua wrote. Raises. */
void prn__lua_settle(lua_State *L, prn__lua_call *call);

/* A service of the host: its time is not the function's. A failure ends the call. */
#define PRN__LUA_SERVE(L, call, what, expression)                                     \
    do {                                                                              \
        const double begin_ = prn__sandbox_clock_s();                                 \
        const prn_status status_ = (expression);                                      \
        prn__recipe_host_of(L)->deadline_s += prn__sandbox_clock_s() - begin_;        \
        if (status_ != PRN_OK) {                                                      \
            (call)->failure.status = (int32_t)status_;                                \
            prn__lua_blame_host(L, call, what);                                       \
        }                                                                             \
    } while (0)

/* ---- lua_strategy_watch.c ---- */

/* Pushes a table of digests of all that the function at `function` can reach, the loaded modules and the strings' metatable. Raises. */
void prn__lua_watch(lua_State *L, int function);
/* Walks again and raises when something differs from the table at `before`. */
void prn__lua_watch_check(lua_State *L, int function, int before);
/* Of the value itself; an object counts by its identity. [any] */
uint64_t prn__lua_hash(lua_State *L, int index);
uint64_t prn__lua_mix(uint64_t a, uint64_t b); /* [any] */

/* ---- lua_strategy_code.c ---- */

/* Digest of functions (references, LUA_NOREF among them): their code, and all that it reaches; the same in every process. `is_complete` is 0
 * when something that can change what they compute is not in it. Raises. */
prn__digest prn__lua_content(lua_State *L, const int *functions, size_t count, int *is_complete);

#endif
