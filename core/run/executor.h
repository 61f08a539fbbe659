/* core/run/executor.h: runs a plan: trains the stages that are missing, evaluates them, writes the ledger.
 *
 * Layout of a workspace: ledger.sqlite; stages/<key>/ with the model directory (open_clip_config.json,
 * open_clip_model.safetensors), optimizer.safetensors, stage.json (last, so that a folder with it is whole) and, while a stage is under
 * way, checkpoint-<step>.safetensors (the last two), and claim, which the process that works on it keeps locked; cache/ for shard
 * indexes; processes/ with a file for each process at work; lock; run.log. claims.h says how processes share it.
 */
#ifndef PRN_RUN_EXECUTOR_H
#define PRN_RUN_EXECUTOR_H

#include "run/plan.h"

typedef struct prn__progress {
    const char *phase;        /* "train", "finish", "evaluate", "index", "wait" (for another process) */
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
    int64_t kept_vectors, declared_kept_vectors; /* the same of vectors; declared -1: by a plugin that cannot say */
} prn__callback;

typedef struct prn__run_options {
    void (*progress)(void *context, const prn__progress *progress); /* may be NULL */
    void *progress_context;
    int (*should_stop)(void *context); /* asked between steps; non-zero: save and return PRN_INTERRUPTED; may be NULL */
    int (*should_leave)(void *context); /* the same, asked in the midst of what takes long (base/stop.h), with stop_context; may be NULL */
    void *stop_context;
    /* Told of every callback, before and after; a failure told before takes the place of the call. For the strategy suite; may be NULL. */
    prn_status (*callback)(void *context, const prn__callback *callback, prn_error *error);
    void *callback_context;
    int joins;        /* 1: one of the processes of a run that another one leads (prn__lead_open) */
    uint32_t device;  /* which of the backend's devices, from 1; 0: the recipe's or the backend's own choice */
    int64_t *run;     /* gets the run's number in the ledger as soon as it has one; may be NULL */
} prn__run_options;

/* Continues whatever a former, interrupted run of the same recipe left. Other processes may do the same at the same time, or run other
 * recipes in the workspace: each stage is trained by one of them, and all return when everything that they asked for is done. */
prn_status prn__run_execute(prn__plan *plan, prn__registry *registry, const prn__run_options *options, prn_error *error);

/* A run whose stages other processes, started by this one, work on (prn__run_execute with `joins`): its record, kept "running" until it
 * is closed. `jobs`: JSON for the environment, or NULL. [orchestrator] */
typedef struct prn__lead prn__lead;
prn_status prn__lead_open(prn__plan *plan, prn__registry *registry, const char *jobs, prn__lead **lead, prn_error *error);
int64_t prn__lead_run(const prn__lead *lead); /* its number in the ledger */
/* `how` it ended: PRN_OK, PRN_INTERRUPTED, or a failure with its message. NULL is allowed. */
prn_status prn__lead_close(prn__lead *lead, prn_status how, const char *message, prn_error *error);

#endif
