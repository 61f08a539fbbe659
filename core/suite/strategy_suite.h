/* core/suite/strategy_suite.h: the suite behind `perennial strategies test NAME`: what every strategy must keep, whatever it does.
 *
 * The strategy is asked for plans of made-up time lines, its callbacks are run on stand-ins whose services fail one after another, and it
 * trains a tiny model on a tiny stream in a temporary folder: to the end, again, with interruptions, with callbacks that fail.
 * A check that fails is a result, not an error: the status of a run says whether the suite itself could work.
 */
#ifndef PRN_SUITE_STRATEGY_SUITE_H
#define PRN_SUITE_STRATEGY_SUITE_H

#include "run/recipe.h"

typedef enum prn__suite_outcome { PRN__SUITE_PASSED = 0, PRN__SUITE_FAILED = 1, PRN__SUITE_SKIPPED = 2 } prn__suite_outcome;

typedef struct prn__suite_check {
    const char *name;    /* "resume" */
    const char *meaning; /* one line: what holds when it passes */
    prn__suite_outcome outcome;
    const char *reason;  /* why it failed or was skipped; of a passed one what was seen; lives while the callback runs */
    double seconds;
} prn__suite_check;

typedef struct prn__suite_options {
    const char *backend; /* NULL: "cpu" */
    const prn__recipe_strategy *own; /* one that a recipe defines itself; NULL: the plugin of that name */
    const prn__option_pair *given; /* the strategy's options, as everywhere */
    size_t given_count;
    void (*report)(void *context, const prn__suite_check *check); /* each check once, in order; may be NULL */
    void (*work)(void *context, const char *name);                /* the check that is about to be made; may be NULL */
    int (*should_stop)(void *context);                            /* PRN_INTERRUPTED when it says so; may be NULL */
    void *context;
} prn__suite_options;

typedef struct prn__suite_summary {
    int64_t passed, failed, skipped;
} prn__suite_summary;

/* Unknown strategies and backends, a full disk and no memory are errors. [orchestrator] */
prn_status prn__strategy_suite_run(prn__registry *registry, const char *strategy, const prn__suite_options *options, prn__suite_summary *summary,
                                   prn_error *error);

/* The checks, for a listing: name and meaning of the index-th; 0 beyond the last. */
int prn__strategy_suite_at(size_t index, const char **name, const char **meaning);

#endif
