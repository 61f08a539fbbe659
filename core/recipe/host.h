/* core/recipe/host.h: what the parts of the recipe host share. Private to core/recipe.
 *
 * Invariants: functions marked "raises" run under a protected call and leave by a Lua error, so they own nothing that
 * is not in the host's arena or in the Lua state; everything else never raises.
 */
#ifndef PRN_RECIPE_HOST_H
#define PRN_RECIPE_HOST_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "data/tokenizer.h"
#include "recipe/recipe_host.h"

/* Kinds of tagged tables that the library's constructors make. */
#define PRN__TAG_RECIPE "recipe"
#define PRN__TAG_MODEL "model"
#define PRN__TAG_AMOUNT "amount"       /* samples, steps, epochs, macs, seconds */
#define PRN__TAG_OPTIMIZER "optimizer"
#define PRN__TAG_SCHEDULE "schedule"
#define PRN__TAG_STRATEGY "strategy"
#define PRN__TAG_LUA_STRATEGY "lua_strategy"
#define PRN__TAG_EVALUATE "evaluate"
#define PRN__TAG_BACKEND "backend"
#define PRN__TAG_SWEEP "sweep"

typedef struct prn__recipe_host {
    lua_State *L;
    prn__recipe *recipe;      /* owns this host */
    prn__registry *registry;
    const char *library;      /* folder */
    const char *folder;       /* of the recipe */
    const prn__option_pair *settings;
    size_t setting_count;
    unsigned char *setting_used; /* (setting_count) */
    size_t memory_used, memory_limit; /* bytes of the Lua state */
    int64_t instructions_left, instruction_limit;
    int64_t call_instructions; /* of the protected call that runs */
    double deadline_s;        /* prn__sandbox_clock_s; 0 for none */
    int lines_printed;
    int schedule_ref;         /* LUA_NOREF when the schedule is no function */
    int has_strategies;       /* of the recipe's own: their functions are called while it lives */
    struct prn__lua_call *call; /* of a strategy's function that is under way (lua_strategy.h), or NULL */
    uint64_t call_serial;
    prn__manifest *manifest;  /* while translating */
    prn__tokenizer *tokenizer;
    struct prn__sweep_path *path; /* which choices the recipe is given while it runs (sweep_choices.h); NULL when it has run */
    char *scratch;            /* a file's text on its way into Lua; kept here so that a raise leaks nothing */
    prn_error error;          /* the last error that `raise` made */
} prn__recipe_host;

prn__recipe_host *prn__recipe_host_of(lua_State *L);

/* ---- sandbox.c ---- */

/* A state with a limited allocator and nothing in it; NULL when out of memory. */
lua_State *prn__sandbox_open(prn__recipe_host *host);
/* What the limit on time is counted in: the calling thread's own work. A machine that is busy with other things fails no recipe. [any] */
double prn__sandbox_clock_s(void);
/* Libraries on the allow-list, and `require`. Raises. */
void prn__sandbox_libraries(lua_State *L);
/* Raises when the instructions or the time are used up; `level`: of the function that the message names. */
void prn__sandbox_check(lua_State *L, int level);
/* Runs the recipe's file and leaves what it returns on the stack. Raises. */
void prn__sandbox_run_recipe(lua_State *L);
/* Runs function(L) with `argument` as its light userdata, protected, with `results` values left on the stack. */
prn_status prn__sandbox_call(prn__recipe_host *host, lua_CFunction function, void *argument, int results, int64_t instructions, prn_error *error);
/* Text of a file that was run, by its path; pushes a string or nil. Raises only when out of memory. */
void prn__sandbox_source(lua_State *L, const char *file);
/* Pushes the table of those texts, and that of what `require` has loaded. */
void prn__sandbox_push_sources(lua_State *L);
void prn__sandbox_push_loaded(lua_State *L);

/* ---- guards.c ---- */

/* Opens the base, string, table, math and utf8 libraries, without what a recipe must not have. Raises. */
void prn__guards_open(lua_State *L);

/* ---- lua_strategy_code.c ---- */

/* Notes the libraries' functions as they are before the recipe runs. Raises. */
void prn__lua_know_libraries(lua_State *L);

/* ---- library.c: the constructors behind lua/perennial ---- */

/* Pushes the table that library modules get as their second argument. Raises. */
void prn__library_push(lua_State *L);
typedef struct prn__tag {
    const char *kind, *name, *file; /* in the Lua state while the table lives */
    int line;
} prn__tag;
/* 1 when the value at `index` is a table that a constructor made. */
int prn__tag_of(lua_State *L, int index, prn__tag *tag);

/* The innermost place outside the recipe library; `file` lives as long as the function that is running. */
void prn__library_caller(lua_State *L, const char **file, int *line);

/* ---- lines.c ---- */

/* The line of `key = ` inside a table that opens on `line` of `text`; `line` itself when it is not found. [any] */
int prn__key_line(const char *text, size_t length, int line, const char *key);

/* ---- translate.c ---- */

/* Reads the table on top of the stack into host->recipe. Raises. */
void prn__recipe_translate(lua_State *L);

/* Makes an error (file NULL: no position) and raises it. */
_Noreturn void prn__raise(lua_State *L, prn_status status, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

#endif
