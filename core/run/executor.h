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

typedef struct prn__run_options {
    void (*progress)(void *context, const prn__progress *progress); /* may be NULL */
    void *progress_context;
    int (*should_stop)(void *context); /* asked between steps; non-zero: save and return PRN_INTERRUPTED; may be NULL */
    void *stop_context;
} prn__run_options;

/* `run_name` NULL: the recipe's name. Continues whatever a former, interrupted run of the same recipe left. */
prn_status prn__run_execute(prn__plan *plan, prn__registry *registry, const prn__run_options *options, prn_error *error);

#endif
