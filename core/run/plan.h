/* core/run/plan.h: the graph of stages that a recipe asks for, with its cost, made without touching hardware.
 *
 * A time step of a strategy is a training stage; with schedules that have a branch, a second one behind it; and with a strategy
 * that decides which weights are deployed, a finishing stage behind that. Where a later step starts from deployed weights in spite of
 * the branch, the training stage has a finishing stage of its own: trunks go on from trunks, and branches are what is deployed.
 *
 * A stage = (initial weights, data mixture, budget, schedule, optimizer, model, seed) -> a checkpoint. Its key is a digest of
 * everything that can change its bytes; equal stages are one stage, whichever strategy asks.
 */
#ifndef PRN_RUN_PLAN_H
#define PRN_RUN_PLAN_H

#include "run/recipe.h"

#define PRN__KEPT_LIMIT 8 /* vectors that one finishing stage may keep */

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
    int64_t updates_before; /* of the stages that it goes on from, back to random weights or `init` */
    int64_t data_step;      /* batches of its data that are passed over: a branch goes on where its trunk stopped */
    int is_branch;          /* behind the training stage that is its parent, which the next time step starts from (schedule.h) */
    int keep_optimizer;
    double forward_macs, total_macs;
    double teacher_macs, tuning_macs; /* parts of total_macs: a teacher's forward passes; what a finishing stage computes */
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
    int of_trunk;           /* finishing stage of a trunk: the strategy sees the trunks of earlier steps, and not the branches */
    int64_t kept_vectors;   /* that `finish` keeps; -1: its plugin is older than the declaration */
} prn__stage;

typedef struct prn__plan_line { /* one strategy's way through the time steps */
    const char *label, *strategy;
    int32_t *stages;        /* (step_count) stage that is scored after each time step: `trained` or `deployed` */
    int32_t *trunk;         /* (step_count) the training stage; behind schedules with a branch only this one is gone on from */
    int32_t *trained;       /* (step_count) the weights as trained: the branch where the schedule has one, else the training stage */
    int32_t *deployed;      /* (step_count) the finishing stage where there is one, else `trained`; what the next step starts from, branches apart */
    int32_t *trunk_deployed; /* (step_count) behind schedules with a branch, where a later step starts from deployed weights: the finishing stage of
                              * the trunk, or the trunk where the step has no `finish`; else -1 */
    double *step_forward_macs, *step_total_macs, *step_teacher_macs, *step_tuning_macs; /* (step_count) of all its stages together */
    double *step_budget;    /* (step_count) what the strategy asks for, in multiples of C */
    int64_t *step_samples, *step_updates;
    char plugin[33];        /* digest of the plugin's file, or of the recipe's text where that defines the strategy */
    double forward_macs, total_macs, teacher_macs, tuning_macs;
    double budget;          /* sum of step_budget */
    int64_t samples;
    const char *options;    /* every option's value, JSON object */
    /* storage.c */
    double checkpoint_bytes; /* of the finished stages: weights, optimizer state and kept vectors */
    double kept_bytes;       /* part of it: vectors that the strategy keeps beside them */
    int64_t buffer_samples;  /* the most samples of earlier time steps that one step draws from */
    double buffer_bytes;     /* of those, from the sizes of the shards; NaN while these are not there */
    double memory_factor;    /* parameters, optimizer state and teacher, relative to training without a teacher, at its highest */
    double memory_adjusted_flops; /* 2 total_macs memory_factor */
} prn__plan_line;

typedef struct prn__plan {
    const prn__recipe *recipe;
    prn__manifest *manifest;
    prn__manifest *reference; /* of the recipe's reference stream, or NULL: PRN_SOURCE_REFERENCE, all of its training data */
    int64_t reference_samples;
    prn__model *model;
    uint32_t step_count;    /* T */
    prn__stage *stages;     /* in an order where parents come first */
    uint32_t stage_count;
    prn__plan_line *lines;  /* (recipe->strategy_count) */
    double image_macs, text_macs; /* forward, one item, full context */
    prn__arena memory;
} prn__plan;

prn_status prn__plan_create(const prn__recipe *recipe, prn__registry *registry, prn__plan **plan, prn_error *error);
/* 1 when all that the stage needs is done: its parent, and what its strategy's code may look at of earlier time steps. [any] */
int prn__stage_is_ready(const prn__plan *plan, const prn__stage *stage);
void prn__plan_destroy(prn__plan *plan);

#endif
