/* core/run/executor.h: runs a plan: trains the stages that are missing, evaluates them, writes the ledger.
 *
 * Layout of a workspace: ledger.sqlite; stages/<key>/ with the model directory (open_clip_config.json,
 * open_clip_model.safetensors), optimizer.safetensors, stage.json (last, so that a folder with it is whole) and, while a stage is under
 * way, checkpoint-<step>.safetensors (the last two); cache/ for shard indexes; run.log.
 */
#ifndef PRN_RUN_EXECUTOR_H
#define PRN_RUN_EXECUTOR_H

#include "run/plan.h"

typedef struct prn__progress {
    const char *phase;        /* "train", "evaluate", "index" */
    const char *label;        /* which stage or task, in words */
    uint32_t stage, stage_count;
    uint32_t time_step, step_count_t;
    int64_t step, steps;      /* in this stage */
    double loss, learning_rate, samples_per_s, data_wait_frac, remaining_s; /* NaN when unknown */
} prn__progress;

/* One call of a strategy's code inside a stage. */
typedef struct prn__callback {
    const char *label;        /* of the strategy in the recipe */
    const char *name;         /* "compose_loss", ..., "finish"; "training" (is_over) when its terms are in place */
    uint32_t time_step;
    int is_over;              /* 0: about to be called; 1: it has returned `status` */
    prn_status status;
    int64_t gradient_batches, scores;                   /* finish: what it has used */
    int64_t declared_gradient_batches, declared_scores; /* and what the plan counted */
} prn__callback;

typedef struct prn__run_options {
    void (*progress)(void *context, const prn__progress *progress); /* may be NULL */
    void *progress_context;
    int (*should_stop)(void *context); /* asked between steps; non-zero: save and return PRN_INTERRUPTED; may be NULL */
    void *stop_context;
    /* Told of every callback, before and after; a failure told before takes the place of the call. For the strategy suite; may be NULL. */
    prn_status (*callback)(void *context, const prn__callback *callback, prn_error *error);
    void *callback_context;
} prn__run_options;

/* `run_name` NULL: the recipe's name. Continues whatever a former, interrupted run of the same recipe left. */
prn_status prn__run_execute(prn__plan *plan, prn__registry *registry, const prn__run_options *options, prn_error *error);

#endif
