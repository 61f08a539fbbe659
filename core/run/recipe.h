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

typedef enum prn__schedule_kind {
    PRN__SCHEDULE_CONSTANT = 1, PRN__SCHEDULE_COSINE = 2, PRN__SCHEDULE_FUNCTION = 3, PRN__SCHEDULE_LINEAR = 4, PRN__SCHEDULE_WARMUP_STABLE_DECAY = 5,
    PRN__SCHEDULE_INVERSE_SQRT = 6, PRN__SCHEDULE_INFINITE = 7, PRN__SCHEDULE_TRUNK = 8, PRN__SCHEDULE_AUTOREGRESSIVE_COSINE = 9
} prn__schedule_kind;

/* How a phase falls from one value to another. */
typedef enum prn__shape { PRN__SHAPE_LINEAR = 0, PRN__SHAPE_ONE_MINUS_SQRT = 1, PRN__SHAPE_COSINE = 2, PRN__SHAPE_EXPONENTIAL = 3 } prn__shape;

/* Learning rate at update `step` (0..total-1) of time step t (1..T); schedule.h computes it. */
typedef struct prn__schedule {
    prn__schedule_kind kind;
    double peak;           /* of the first time step */
    const double *peaks;   /* (peak_count) of each time step, the last one holds; NULL: `peak` always */
    size_t peak_count;
    double final;          /* the value that the last phase falls to */
    int64_t warmup_steps;  /* linear from peak/warmup to peak, in stages that start from random weights or `init` */
    int64_t later_warmup_steps; /* the same in stages that go on from another one's weights */
    prn__shape shape;      /* WARMUP_STABLE_DECAY: of the decay; TRUNK, INFINITE: of the branch */
    double decay;          /* WARMUP_STABLE_DECAY: share of the updates that decay */
    double offset;         /* INVERSE_SQRT: updates */
    double branch;         /* TRUNK, INFINITE: share of a time step's updates that the branch takes */
    double constant;       /* INFINITE: where the cooldown ends */
    int64_t cooldown_steps;
    prn__shape cooldown_shape;
    /* FUNCTION: filled in when the plan is made, by asking the recipe's Lua function; never called after that */
    prn_status (*function)(void *self, int64_t step, int64_t total, int64_t time_step, int is_fresh, double *rate, prn_error *error);
    void *function_self;
} prn__schedule;

typedef enum prn__budget_unit { PRN__BUDGET_SAMPLES = 1, PRN__BUDGET_STEPS = 2, PRN__BUDGET_EPOCHS = 3, PRN__BUDGET_MACS = 4 } prn__budget_unit;

typedef struct prn__recipe_strategy {
    const char *label;    /* unique in the recipe; the plugin's name unless the recipe says `label` */
    const char *strategy; /* plugin component name */
    const prn__option_pair *options;
    size_t option_count;
    int line;             /* in the recipe, for messages */
    /* A strategy that the recipe defines itself (core/recipe/lua_strategy.h); NULL: the plugin's of that name. */
    const prn_strategy *table;
    const prn_host *host;      /* what table->open gets; its other members serve nobody but this table */
    const char *source_digest; /* of the text that defines it: stands for the plugin file's digest in stage keys */
} prn__recipe_strategy;

/* What one combination of a sweep gave one p.grid or p.seeds of the recipe. */
typedef struct prn__sweep_setting {
    const char *name;
    const char *value;  /* JSON */
    int is_seeds;       /* of p.seeds: scores are averaged over these */
    uint32_t chosen;    /* which of the values, from 0 */
} prn__sweep_setting;

typedef enum prn__sweep_criterion {
    PRN__CRITERION_AVERAGE = 0, PRN__CRITERION_IN_DOMAIN = 1, PRN__CRITERION_BACKWARD = 2, PRN__CRITERION_FORWARD = 3
} prn__sweep_criterion;

/* A recipe with p.grid or p.seeds is a sweep: one recipe for each combination of their values. This is what one of them knows. */
typedef struct prn__recipe_sweep {
    const prn__sweep_setting *settings; /* in the order in which the recipe asked */
    size_t setting_count;
    uint32_t combination, combination_count; /* from 1 */
    prn__sweep_criterion criterion;
    const char *chosen_on; /* evaluation set that settings are chosen on; "" when nothing is scored */
    const char *score;     /* of that set; "" for its headline */
    char identity[33];     /* of the whole sweep: what all of its plans have in common (sweep.h); "" before it is known */
} prn__recipe_sweep;

enum { PRN__MICRO_BATCH_AUTO = -1 };

typedef struct prn__recipe {
    prn__arena memory;
    const char *path;      /* of the recipe file */
    const char *text;      /* its bytes, for the record */
    const char *name;
    const char *manifest_path;
    const char *reference_path; /* manifest of the reference stream, or NULL */
    const char *workspace; /* folder; default "runs/<name>" below the working folder */
    prn__model_config model;
    const char *init;      /* model directory that "random" starts from instead, or NULL */
    const char *backend;   /* "cpu", "auto", ... */
    const prn__option_pair *backend_options;
    size_t backend_option_count;
    uint64_t seed;
    int64_t batch, micro_batch; /* micro_batch 0: the whole batch; PRN__MICRO_BATCH_AUTO: the largest that fits */
    prn__checkpointing checkpointing;
    int keep_optimizer;    /* time steps that go on from earlier weights go on with their optimizer state, whatever the strategy asks for */
    prn__decay_rule decay_rule;
    prn__optimizer_config optimizer;
    prn__schedule schedule;
    prn__budget_unit budget_unit;
    int64_t budget;        /* a step of cost 1, in samples or steps */
    double budget_amount;  /* the same in epochs of a stage's own data or in forward MACs, for those units */
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
    prn__recipe_sweep *sweep; /* NULL: the recipe is no sweep */
    void *host;            /* the Lua state behind schedule functions; closed by prn__recipe_destroy (core/recipe) */
} prn__recipe;

#endif
