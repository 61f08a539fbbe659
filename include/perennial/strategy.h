/* perennial/strategy.h: the table of a continual-learning strategy ("perennial.strategy/1").
 *
 * A strategy is a rule: given the time line so far, it says what the next stage is. It is asked once for each time
 * step, in order, before anything runs; the plan's cost is therefore known before it runs. What it wants to do while its
 * stages run (stage.h) it declares there, too.
 * Invariants: `plan` is a pure function of (options, time line, step): the same question gets the same answer.
 *
 * A time step is a training stage and, with PRN_HOOK_FINISH, a finishing stage behind it, whose weights are the ones that are
 * deployed: evaluated, and what the next step starts from unless it says otherwise. So strategies that train alike and
 * finish differently share their training.
 * Some schedules put a branch behind the training stage, which decays the learning rate for evaluation: then the branch's weights are those
 * "as trained", for `finish`, teachers and load_weights, and a next step that starts from trained weights goes on from before the branch.
 * Where a later step starts from deployed weights, `finish` runs once more, on the trunk's weights; there all weights and kept vectors of
 * earlier steps are those of the trunks, and what comes of it is what the later step starts from.
 */
#ifndef PERENNIAL_STRATEGY_H
#define PERENNIAL_STRATEGY_H

#include <perennial/plugin.h>
#include <perennial/stage.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct prn_strategy_instance prn_strategy_instance; /* the strategy's own */

typedef struct prn_time_step {
    uint32_t struct_size; /* bytes; the stride of the array */
    uint32_t index;       /* 1..T */
    const char *name;     /* "2016" */
    int64_t samples;      /* training samples that arrive at this step */
} prn_time_step;

typedef struct prn_time_line {
    uint32_t struct_size; /* bytes */
    uint32_t step_count;  /* T */
    const prn_time_step *steps;
    int64_t budget_samples; /* C: samples a step of cost 1 may draw; for budgets in epochs those of the largest time step */
} prn_time_line;

/* What a request says of the callbacks below. A stage without hooks is one that any strategy may share. */
#define PRN_HOOK_TRAIN 1u  /* compose_loss, compose_memory_loss, compose_penalty, change_gradient */
#define PRN_HOOK_FINISH 2u /* finish */

#define PRN_TEACHER_NONE 0u
#define PRN_TEACHER_INITIAL 1u             /* what the time line began with: the recipe's `init`, or random weights */
#define PRN_TEACHER_AFTER(k) ((uint32_t)(k) + 1u) /* this strategy's deployed weights after time step k */

#define PRN_SOURCE_REFERENCE 0u /* as a memory source's time_step: the recipe's reference stream */

#define PRN_START_RANDOM 0u /* freshly initialised weights (or the recipe's `init`) */

/* One part of a stage's training data. Sources without a weight (0) are joined and drawn in proportion to their size;
 * with weights, each batch draws from each source in proportion to its weight. All weighted or none. */
typedef struct prn_source {
    uint32_t time_step;  /* 1..T: D_t */
    uint32_t reserved;
    int64_t max_samples; /* only this many of the step's samples, chosen by the seed; 0 for all. At every later step the same ones: fewer are a part of
                          * more, so that a share that shrinks never sees again what it forgot */
    double weight;       /* >= 0 */
} prn_source;

typedef struct prn_stage_request {
    uint32_t struct_size;     /* bytes, set by the host */
    uint32_t start_step;      /* PRN_START_RANDOM, or k: this strategy's weights after step k */
    double budget_multiple;   /* times C; set to 1 by the host */
    prn_source *sources;      /* the host's array, room for `source_capacity` (at least T) */
    uint32_t source_capacity;
    uint32_t source_count;    /* written by the strategy, at least 1 */
    uint32_t keep_optimizer;  /* 1: go on with the optimizer state of start_step */
    uint32_t start_from;      /* PRN_WEIGHTS_DEPLOYED or PRN_WEIGHTS_TRAINED of start_step */
    /* since 1.1 */
    uint32_t hooks;           /* PRN_HOOK_TRAIN | PRN_HOOK_FINISH */
    uint32_t teacher;         /* PRN_TEACHER_...: a model whose logits loss terms may use; one more forward pass of each batch */
    prn_source *memory_sources; /* the host's array, room for `source_capacity`; a second batch, drawn from these, comes with each update */
    uint32_t memory_source_count;
    uint32_t evaluate;        /* which weights of this time step are scored: PRN_WEIGHTS_DEPLOYED or PRN_WEIGHTS_TRAINED */
    int64_t memory_batch;     /* samples in it, 0 for none, at most the recipe's batch */
    int64_t finish_gradient_batches; /* how often `finish` calls data_gradient */
    int64_t finish_scores;    /* how often `finish` scores the set `finish_set` of each time step so far */
    const char *finish_set;   /* name of an evaluation set; the strategy's, while the instance lives */
    /* since 1.2 */
    int64_t kept_vectors;     /* how many vectors `finish` keeps under different names: exactly so many, 0 to 8 */
} prn_stage_request;

typedef struct prn_strategy {
    uint32_t struct_size; /* bytes */
    uint32_t option_count;
    const char *name;
    const char *summary;  /* one line */
    const prn_option *options;
    prn_status (*open)(const prn_host *host, const prn_option_value *values, prn_strategy_instance **instance, prn_error *error); /* [orchestrator] */
    void (*close)(prn_strategy_instance *instance); /* [orchestrator] */
    /* Fills `request` for time step `step` (1..T). [orchestrator] */
    prn_status (*plan)(prn_strategy_instance *instance, const prn_time_line *line, uint32_t step, prn_stage_request *request,
                       prn_error *error);
    /* since 1.1; each may be NULL */
    /* Terms on the stage's own batches, on memory batches (which have no other loss), and on the parameters. Called once when
     * the stage starts or is resumed, in this order. [orchestrator] */
    prn_status (*compose_loss)(prn_strategy_instance *instance, const prn_stage *stage, const prn_composer *composer, prn_error *error);
    prn_status (*compose_memory_loss)(prn_strategy_instance *instance, const prn_stage *stage, const prn_composer *composer, prn_error *error); /* [orchestrator] */
    prn_status (*compose_penalty)(prn_strategy_instance *instance, const prn_stage *stage, const prn_composer *composer, prn_error *error); /* [orchestrator] */
    /* Between the backward pass and the optimizer. [orchestrator] */
    prn_status (*change_gradient)(prn_strategy_instance *instance, const prn_stage *stage, prn_error *error);
    /* After training: stage->weights are the trained ones and become the deployed ones. [orchestrator] */
    prn_status (*finish)(prn_strategy_instance *instance, const prn_stage *stage, prn_error *error);
} prn_strategy;

#ifdef __cplusplus
}
#endif
#endif
