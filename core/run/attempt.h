/* core/run/attempt.h: one process's part in a run's record: begun or joined, and left. Private to core/run.
 *
 * Several processes may work on one run. Each that begins it by itself is an attempt with its own environment; the workers that one of
 * them starts (jobs) join its attempt.
 * Invariants: a run is "running" while a process that works on it is alive, and whoever leaves last says how it ended; a killed
 * process counts for nothing. Entering and leaving happen inside ledger transactions, so that of two that leave at once one is last.
 */
#ifndef PRN_RUN_ATTEMPT_H
#define PRN_RUN_ATTEMPT_H

#include "ledger/claims.h"
#include "run/ledger.h"

typedef struct prn__attempt {
    prn__ledger *ledger; /* borrowed */
    const prn__plan *plan;
    prn__registry *registry;
    int64_t run;         /* in the ledger; 0 before it is begun */
    int joins;
    prn__presence *presence;
    char identity[33];
} prn__attempt;

/* `jobs`: JSON for the environment's "jobs", or NULL. `device` may be NULL, `digests` (T) too: what is known so far. */
prn_status prn__attempt_begin(prn__attempt *attempt, const prn__device *device, const char *const *digests, const char *jobs, prn_error *error);
/* The environment again, when all digests are known. */
prn_status prn__attempt_complete(prn__attempt *attempt, const prn__device *device, const char *const *digests, prn_error *error);
/* `how` this process ended, and its message. */
prn_status prn__attempt_end(prn__attempt *attempt, prn_status how, const char *message, prn_error *error);

#endif
