/* core/ledger/metrics.h: step metrics one by one, and the identities of a run's evaluation sets.
 *
 * Invariants: as results.h; however many steps a stage has, one of them at a time is in memory.
 */
#ifndef PRN_LEDGER_METRICS_H
#define PRN_LEDGER_METRICS_H

#include "ledger/results.h"

/* Anything but PRN_OK ends the reading and is what it returns. */
typedef prn_status (*prn__metric_visit)(void *context, const prn__step_metric *metric, prn_error *error);
/* All metrics of a stage in the order of its steps. */
prn_status prn__metrics_visit(const char *workspace, const char *stage_key, prn__metric_visit visit, void *context, prn_error *error);

typedef struct prn__set_key {
    uint32_t time_step; /* from 1 */
    const char *task, *key;
} prn__set_key;

typedef struct prn__set_keys {
    prn__set_key *sets; /* by time step, then by name */
    size_t count;
    prn__arena memory;
} prn__set_keys;

/* `run`: prn__run_info.id. */
prn_status prn__set_keys_load(const char *workspace, int64_t run, prn__set_keys **keys, prn_error *error);
void prn__set_keys_destroy(prn__set_keys *keys); /* NULL is allowed */

#endif
