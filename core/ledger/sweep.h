/* core/ledger/sweep.h: reading a sweep: its runs, means and standard deviations over seeds, which setting is best, and what finding it cost.
 *
 * A setting is what p.grid chose for a run; runs of one setting differ in seeds alone. A row is a strategy under one setting, or under
 * several which train it in the same way (a strategy without the swept value).
 * Invariants: a run counts for a strategy only when every stage of that is trained and scored; everything lives in one arena,
 * but for the runs' results, which are destroyed with it.
 */
#ifndef PRN_LEDGER_SWEEP_H
#define PRN_LEDGER_SWEEP_H

#include "ledger/results.h"

typedef struct prn__sweep_value {
    const char *name, *value; /* value: JSON */
    int is_seeds;
} prn__sweep_value;

typedef struct prn__sweep_run {
    prn__results *results;
    prn__sweep_value *values;
    size_t value_count;
    uint32_t setting;         /* index */
} prn__sweep_run;

/* Over the seeds whose runs are complete. */
typedef struct prn__statistic {
    double mean;              /* NaN when n is 0 */
    double deviation;         /* sample standard deviation, divided by n - 1; NaN when n is below 2 */
    size_t n;
} prn__statistic;

enum { PRN__SWEEP_AVERAGE, PRN__SWEEP_IN_DOMAIN, PRN__SWEEP_BACKWARD, PRN__SWEEP_FORWARD, PRN__SWEEP_FORGETTING, PRN__SWEEP_METRICS };
extern const char *const prn__sweep_metric_names[PRN__SWEEP_METRICS]; /* "average", "in_domain", ...; the first four are the criteria */

typedef struct prn__sweep_score {
    const char *name;
    prn__statistic metrics[PRN__SWEEP_METRICS];
} prn__sweep_score;

typedef struct prn__sweep_task {
    const char *name;
    prn__task_kind kind;
    int is_chosen_on;
    prn__sweep_score *scores;
    size_t score_count;
} prn__sweep_task;

typedef struct prn__sweep_row {
    uint32_t *settings;       /* indices, rising; more than one when they train the same */
    size_t setting_count;
    uint32_t *runs;           /* of the first of these settings: indices */
    size_t run_count, complete_count;
    prn__statistic criterion;
    prn__sweep_task *tasks;   /* (task_count of the sweep) */
    double forward_macs, total_macs; /* of its distinct stages, all seeds */
    int is_best;
} prn__sweep_row;

typedef struct prn__sweep_strategy {
    const char *label, *strategy;
    prn__sweep_row *rows;
    size_t row_count;
    int64_t best;             /* row; -1: none, nothing is complete */
    double training_macs;     /* of the best row's stages: what training with the chosen setting costs */
    double tuning_macs;       /* of the distinct stages that only other rows have */
} prn__sweep_strategy;

typedef struct prn__sweep_setting_values {
    prn__sweep_value *values; /* without seeds */
    size_t value_count;
    double criterion;         /* mean of the strategies' means; NaN unless all strategies have one */
} prn__sweep_setting_values;

typedef struct prn__sweep_results {
    const char *identity, *name, *workspace;
    const char *criterion, *chosen_on, *score; /* score: of the set that is chosen on, resolved */
    int is_held_out;          /* 0: settings are chosen on the only set, which is reported, too */
    uint32_t combinations;    /* of the whole sweep */
    prn__sweep_run *runs;     /* those that are begun, in the ledger's order */
    size_t run_count, done_count;
    const char **names;       /* of the grids, in the order in which runs have them */
    size_t name_count;
    prn__sweep_setting_values *settings;
    size_t setting_count;
    size_t task_count;
    prn__sweep_strategy *strategies;
    size_t strategy_count;
    int64_t best;             /* setting that is best over all strategies; -1: none */
    double training_macs, tuning_macs; /* of it, all strategies together, each stage once */
    double forward_macs, total_macs;   /* of all distinct stages */
    int is_provisional;       /* runs are missing, or not complete */
    prn__arena memory;
} prn__sweep_results;

/* `run`: a name, the beginning of a sweep's identity (6 digits or more), or NULL for the latest run. *results is NULL when that run belongs
 * to no sweep, and when `run` is a number: a single run is asked for then. */
prn_status prn__sweep_results_load(const char *workspace, const char *run, prn__sweep_results **results, prn_error *error);
/* The sweep with this identity. */
prn_status prn__sweep_results_load_identity(const char *workspace, const char *identity, prn__sweep_results **results, prn_error *error);
void prn__sweep_results_destroy(prn__sweep_results *results); /* NULL is allowed */

/* Mean and sample standard deviation of those values that are not NaN. [any] */
prn__statistic prn__statistic_of(const double *values, size_t count);

#endif
