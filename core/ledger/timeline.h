/* core/ledger/timeline.h: what a run trained, strategy by strategy, in the order of training, and the text that it was run from.
 *
 * Invariants: as results.h. A time step is one to three stages, each the parent of the next; all of them are listed, where a row
 * of the matrix is only the last.
 */
#ifndef PRN_LEDGER_TIMELINE_H
#define PRN_LEDGER_TIMELINE_H

#include "base/memory.h"

typedef struct prn__timeline_stage {
    const char *key;
    const char *state;           /* "done", "partial", "missing" */
    uint32_t time_step;          /* from 1 */
    int64_t steps, samples;      /* as planned */
    double seconds;              /* of training, all attempts that count */
} prn__timeline_stage;

typedef struct prn__timeline_strategy {
    const char *label;
    prn__timeline_stage *stages; /* in the order of training */
    size_t stage_count;
} prn__timeline_strategy;

typedef struct prn__timeline {
    const char *recipe_text;     /* "" when none was recorded */
    const char *resolved;        /* JSON: every value of the recipe, defaults too */
    const char *settings;        /* what a sweep chose for it: "seed = 2, peak = 0.001"; "" for a run of no sweep */
    int64_t attempts;
    prn__timeline_strategy *strategies; /* in the recipe's order */
    size_t strategy_count;
    prn__arena memory;
} prn__timeline;

/* `run`: prn__run_info.id. */
prn_status prn__timeline_load(const char *workspace, int64_t run, prn__timeline **timeline, prn_error *error);
void prn__timeline_destroy(prn__timeline *timeline); /* NULL is allowed */

#endif
