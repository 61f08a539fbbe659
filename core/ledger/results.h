/* core/ledger/results.h: reading a workspace's ledger: its runs, their matrices of scores, their metrics.
 *
 * Invariants: a reader never changes what the ledger says and may read while a run writes it (after a kill it may have to
 * undo the transaction that was under way, as the next run would). Everything handed out lives in one
 * arena and is freed at once. What was not evaluated is NaN.
 */
#ifndef PRN_LEDGER_RESULTS_H
#define PRN_LEDGER_RESULTS_H

#include "base/memory.h"
#include "data/manifest.h"
#include "eval/eval.h"

typedef struct prn__run_info {
    int64_t id;
    const char *name, *state;     /* "running", "done", "interrupted", "failed"; one whose processes were all killed is interrupted */
    const char *message;          /* why it stopped; "" when nothing is to be said */
    const char *started, *finished; /* UTC, "2026-01-31T12:00:00Z"; `finished` "" while it runs */
    const char *recipe_path, *manifest_path, *stream, *model, *backend;
    int64_t seed, batch;
    uint32_t step_count;          /* T */
    uint32_t strategy_count;
    uint32_t stage_count, stages_done;
    /* prn__run_list_load alone fills these; "" for a run of no sweep */
    const char *sweep;            /* identity */
    const char *settings;         /* "peak=0.001, seed=2" */
    const char *settings_json;    /* object */
} prn__run_info;

typedef struct prn__run_list {
    prn__run_info *runs; /* latest first */
    size_t count;
    prn__arena memory;
} prn__run_list;

/* All runs of a workspace. No ledger there is PRN_NOT_FOUND. */
prn_status prn__run_list_load(const char *workspace, prn__run_list **list, prn_error *error);
void prn__run_list_destroy(prn__run_list *list); /* NULL is allowed */

/* One kind of score of one task. */
typedef struct prn__result_score {
    const char *name;        /* "recall@1", "i2t_recall@5", "top1", ... */
    const double *matrix;    /* (T,T) row-major: row i = after step i, column j = the task of step j; NaN where not evaluated */
    prn__transfer transfer;  /* over `matrix`; regret against the run's oracle when it has one */
} prn__result_score;

typedef struct prn__result_task {
    const char *name;        /* of the evaluation set, as the manifest writes it: "retrieval-character" */
    prn__task_kind kind;
    prn__result_score *scores; /* the headline first: "recall@1" or "top1" */
    size_t score_count;
} prn__result_task;

typedef struct prn__result_stage { /* one row of the matrix; figures include the stages of the same time step that it stands on */
    const char *key;         /* "" when not planned */
    const char *state;       /* "done", "partial", "missing" */
    int64_t steps, samples;
    double forward_macs, total_macs;
    double seconds;          /* training time, all attempts together; 0 when not trained yet */
    double last_loss;        /* NaN when not trained yet */
    int64_t skipped;         /* samples left out while it was trained, all reasons */
} prn__result_stage;

typedef struct prn__result_strategy {
    const char *label, *strategy;
    const char *options;     /* JSON object of the resolved options */
    prn__result_task *tasks; /* (task_count of the results), same order for every strategy */
    prn__result_stage *stages; /* (step_count) */
    double forward_macs, total_macs; /* of all its stages, whoever else uses them */
    double teacher_macs, tuning_macs; /* parts of total_macs; 0 in ledgers of schema 1 */
    int64_t samples;
} prn__result_strategy;

typedef struct prn__skip_count {
    const char *stage;       /* key */
    const char *shard, *reason;
    int64_t count;
} prn__skip_count;

typedef struct prn__results {
    prn__run_info run;
    uint32_t step_count;     /* T */
    const char *const *step_names; /* (T) */
    size_t task_count;
    prn__result_strategy *strategies; /* (strategy_count), in the recipe's order */
    size_t strategy_count;
    prn__skip_count *skips;
    size_t skip_count;
    double forward_macs, total_macs;  /* of the distinct stages: what the run costs */
    int64_t samples;
    const char *environment; /* JSON: what produced the run (docs/ledger.md) */
    prn__arena memory;
} prn__results;

/* `run`: an id, a name, or NULL for the latest. Unknown ones suggest. */
prn_status prn__results_load(const char *workspace, const char *run, prn__results **results, prn_error *error);
prn_status prn__results_load_number(const char *workspace, int64_t run, prn__results **results, prn_error *error);
void prn__results_destroy(prn__results *results); /* NULL is allowed */

/* Metrics of one stage's optimizer steps. */
typedef struct prn__step_metric {
    int64_t step; /* 0-based */
    double loss, learning_rate, gradient_norm, logit_scale, seconds, data_wait_s;
    double memory_bytes; /* peak resident memory of the process so far; NaN in ledgers before schema 3 */
} prn__step_metric;
/* At most `limit` of them, evenly spread over the stage (0: all); caller frees with prn__free. */
prn_status prn__results_metrics(const char *workspace, const char *stage_key, size_t limit, prn__step_metric **metrics, size_t *count,
                                prn_error *error);

#endif
