/* core/run/recipe.h: a recipe after all Lua has run: plain data that a plan is made from.
 *
 * core/recipe translates Lua into this; nothing here knows Lua. Everything is owned by the recipe's arena.
 */
#ifndef PRN_RUN_RECIPE_H
#define PRN_RUN_RECIPE_H

#include "base/memory.h"
#include "data/manifest.h"
#include "model/model.h"
#include "plugin/registry.h"
#include "train/trainer.h"

#define PRN__RECALL_K_MAX 8

typedef enum prn__schedule_kind { PRN__SCHEDULE_CONSTANT = 1, PRN__SCHEDULE_COSINE = 2, PRN__SCHEDULE_FUNCTION = 3 } prn__schedule_kind;

/* Learning rate at update `step` (0..total-1) of time step t (1..T). */
typedef struct prn__schedule {
    prn__schedule_kind kind;
    double peak;
    double final;          /* cosine: the value it ends at */
    int64_t warmup_steps;  /* linear from peak/warmup to peak, in stages that start from random weights or `init` */
    int64_t later_warmup_steps; /* the same in stages that go on from another one's weights */
    /* FUNCTION: filled in when the plan is made, by asking the recipe's Lua function; never called after that */
    prn_status (*function)(void *self, int64_t step, int64_t total, int64_t time_step, int is_fresh, double *rate, prn_error *error);
    void *function_self;
} prn__schedule;

typedef enum prn__budget_unit { PRN__BUDGET_SAMPLES = 1, PRN__BUDGET_STEPS = 2 } prn__budget_unit;

typedef struct prn__recipe_strategy {
    const char *label;    /* unique in the recipe; the plugin's name unless the recipe says `label` */
    const char *strategy; /* plugin component name */
    const prn__option_pair *options;
    size_t option_count;
    int line;             /* in the recipe, for messages */
} prn__recipe_strategy;

typedef struct prn__recipe {
    prn__arena memory;
    const char *path;      /* of the recipe file */
    const char *text;      /* its bytes, for the record */
    const char *name;
    const char *manifest_path;
    const char *workspace; /* folder; default "runs/<name>" below the working folder */
    prn__model_config model;
    const char *init;      /* model directory that "random" starts from instead, or NULL */
    const char *backend;   /* "cpu", "auto", ... */
    const prn__option_pair *backend_options;
    size_t backend_option_count;
    uint64_t seed;
    int64_t batch, micro_batch;
    int checkpointing;
    prn__decay_rule decay_rule;
    prn__optimizer_config optimizer;
    prn__schedule schedule;
    prn__budget_unit budget_unit;
    int64_t budget;        /* a step of cost 1, in budget_unit */
    int augment;           /* transform = "train" (1) or "eval" (0) */
    double scale_low, scale_high;
    int shuffle, with_replacement;
    int64_t window;
    uint32_t data_threads;
    int64_t save_every_steps; /* mid-stage checkpoints; 0: by time only */
    double save_every_s;
    int32_t recall_k[PRN__RECALL_K_MAX];
    size_t recall_k_count;
    int64_t eval_batch;
    const char *const *evaluate;  /* names of evaluation sets to score; NULL: all */
    size_t evaluate_count;
    const prn__recipe_strategy *strategies;
    size_t strategy_count;
    void *host;            /* the Lua state behind schedule functions; closed by prn__recipe_destroy (core/recipe) */
} prn__recipe;

#endif
