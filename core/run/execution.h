/* core/run/execution.h: what the parts of the executor share while a run is under way.
 * Private to core/run. */
#ifndef PRN_RUN_EXECUTION_H
#define PRN_RUN_EXECUTION_H

#include "data/loader.h"
#include "model/embedder.h"
#include "run/attempt.h"
#include "run/executor.h"
#include "run/ledger.h"
#include "run/stage_files.h"

typedef struct prn__scored_set { /* one cell's column: an evaluation set of one time step */
    uint32_t time_step;
    const prn__evaluation_set *set;
    char key[33];
} prn__scored_set;

typedef struct prn__known_set { /* an evaluation set whose data has been looked at */
    const prn__evaluation_set *set;
    char digest[33];
    struct prn__known_set *next;
} prn__known_set;

typedef struct prn__sharing prn__sharing; /* sharing.c's */

typedef struct prn__execution {
    prn__plan *plan;
    const prn__recipe *recipe;
    prn__registry *registry;
    const prn__run_options *options;
    prn__arena memory;
    prn__ledger *ledger;
    int64_t run;             /* in the ledger */
    prn__attempt attempt;
    prn__sharing *sharing;
    prn__device device;
    prn__tokenizer *tokenizer;
    prn__trainer *trainer;   /* made for the first stage that trains, used for all; another one when the micro-batch changes */
    int64_t micro, trainer_micro; /* with micro_batch = "auto": this stage's micro-batch, and the trainer's */
    prn__embedder *embedder; /* made for the first evaluation */
    prn__stage_state state;
    int32_t loaded_stage;    /* whose finished weights `state` and the embedder hold; -1 for none */
    char *cache;             /* folder for shard indexes */
    const char **data_digests; /* (T), NULL where not asked for yet */
    const char *reference_digest; /* of the reference stream; the same */
    prn__known_set *known_sets;   /* evaluation sets whose digest was asked for */
    prn__scored_set *sets;
    size_t set_count;
    int64_t samples_left;    /* of all stages that are to be trained, this one included */
    double recent_steps, recent_seconds; /* of the last while, older ones counting less */
    double step_seconds;     /* their mean */
    double evaluation_seconds;
    int64_t evaluations_left, evaluations_done;
} prn__execution;

/* Folder of a stage; arena memory; NULL when out of memory. */
const char *prn__execution_folder(prn__execution *x, const prn__stage *stage);
/* "time step 2 (2016), strategies sequential, cumulative" into `target`; returns it. */
const char *prn__stage_label(const prn__plan *plan, const prn__stage *stage, char *target, size_t bytes);
int prn__execution_stop(const prn__execution *x);
void prn__execution_report(const prn__execution *x, prn__progress *progress, const prn__stage *stage);

/* The weights of a finished stage into x->state, checked against its stage.json. */
prn_status prn__finished_load(prn__execution *x, int32_t stage, int optimizer, prn_error *error);
/* x->trainer exists, for micro-batches of x->micro where the recipe says "auto". */
prn_status prn__trainer_ready(prn__execution *x, prn_error *error);
/* After a checkpoint was looked for: its micro-batch, when it is smaller, and what the next checkpoints say. */
prn_status prn__micro_resume(prn__execution *x, int found, prn_error *error);
/* `work` on a stage; with micro_batch = "auto" again with smaller ones while the device has too little memory. It leaves off where it can go on. */
typedef prn_status (*prn__stage_work)(prn__execution *x, int32_t stage, prn_error *error);
prn_status prn__stage_fitted(prn__execution *x, int32_t stage, prn__stage_work work, prn_error *error);
/* prn__stage_score, without the trainer when there is no memory for both. */
prn_status prn__score_fitted(prn__execution *x, int32_t stage, prn_error *error);
/* The stage started from the weights that its parent has now. */
prn_status prn__check_parent(prn__execution *x, const prn__stage *stage, prn_error *error);
/* Trains what is missing of a stage. PRN_INTERRUPTED after a stop. */
prn_status prn__stage_train(prn__execution *x, int32_t stage, prn_error *error);

/* Finds the sets to score and their keys, and tells the ledger. */
prn_status prn__scoring_prepare(prn__execution *x, prn_error *error);
/* Digest of an evaluation set's shards, checked against what the manifest states. PRN_NOT_FOUND when they are not there. */
prn_status prn__set_digest(prn__execution *x, uint32_t time_step, const prn__evaluation_set *set, char digest[33], prn_error *error);
/* Headline score of any weights (flat) on one evaluation set; nothing is recorded. */
prn_status prn__set_score(prn__execution *x, const float *weights, uint32_t time_step, const char *set, double *score, prn_error *error);
/* Scores of a stage that the ledger lacks. */
prn_status prn__scores_missing(prn__execution *x, const prn__stage *stage, int64_t *missing, prn_error *error);
prn_status prn__stage_score(prn__execution *x, int32_t stage, prn_error *error);

#endif
