/* core/run/plan.h: the graph of stages that a recipe asks for, with its cost, made without touching hardware.
 *
 * A stage = (initial weights, data mixture, budget, schedule, optimizer, model, seed) -> a checkpoint. Its key is a digest of
 * everything that can change its bytes; equal stages are one stage, whichever strategy asks.
 */
#ifndef PRN_RUN_PLAN_H
#define PRN_RUN_PLAN_H

#include "run/recipe.h"

typedef struct prn__plan_source {
    uint32_t time_step;
    int64_t samples;     /* in the source */
    int64_t max_samples;
    double weight;
} prn__plan_source;

typedef struct prn__stage {
    char key[33];
    int32_t parent;         /* stage whose weights it starts from; -1: random or `init` */
    uint32_t time_step;
    prn__plan_source *sources;
    uint32_t source_count;
    int64_t steps;          /* optimizer steps */
    int64_t samples;        /* steps * batch */
    int keep_optimizer;
    double forward_macs, total_macs;
    float *rates;           /* (steps) learning rate of each update */
    const char **used_by;   /* labels of strategies */
    uint32_t used_by_count;
    int is_done;            /* a finished checkpoint lies in the workspace */
    int is_scored;          /* some strategy's row of the matrix; else only something to go on from */

    /* Stages in which a strategy's own code runs: PRN_HOOK_TRAIN, or PRN_HOOK_FINISH for a stage without steps that makes the deployed
     * weights from its parent's. */
    uint32_t hooks;
    uint32_t line;          /* whose code: index into plan->lines */
    uint32_t teacher;       /* PRN_TEACHER_... */
    prn__plan_source *memory_sources;
    uint32_t memory_source_count;
    int64_t memory_batch;
    int64_t finish_gradient_batches, finish_scores;
    const char *finish_set;
} prn__stage;

typedef struct prn__plan_line { /* one strategy's way through the time steps */
    const char *label, *strategy;
    int32_t *stages;        /* (step_count) stage that is scored after each time step: one of the two below */
    int32_t *trained;       /* (step_count) the training stage */
    int32_t *deployed;      /* (step_count) what the next step starts from: the finishing stage where there is one, else the training stage */
    double *step_forward_macs, *step_total_macs; /* (step_count) of both together */
    int64_t *step_samples;
    char plugin[33];        /* digest of the plugin's file */
    double forward_macs, total_macs;
    int64_t samples;
    const char *options;    /* every option's value, JSON object */
} prn__plan_line;

typedef struct prn__plan {
    const prn__recipe *recipe;
    prn__manifest *manifest;
    prn__model *model;
    uint32_t step_count;    /* T */
    prn__stage *stages;     /* in an order where parents come first */
    uint32_t stage_count;
    prn__plan_line *lines;  /* (recipe->strategy_count) */
    double image_macs, text_macs; /* forward, one item, full context */
    prn__arena memory;
} prn__plan;

prn_status prn__plan_create(const prn__recipe *recipe, prn__registry *registry, prn__plan **plan, prn_error *error);
void prn__plan_destroy(prn__plan *plan);

#endif
