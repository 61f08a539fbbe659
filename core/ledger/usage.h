/* core/ledger/usage.h: which stages of a workspace its runs need.
 *
 * A run needs the stages that its rows of the matrix name, and all their parents: what they keep for later time steps, and what a
 * resume or the next stage starts from, is among these.
 * Invariants: as results.h. What the ledger says of a parent counts even when it does not know that parent.
 */
#ifndef PRN_LEDGER_USAGE_H
#define PRN_LEDGER_USAGE_H

#include "base/memory.h"

typedef struct prn__stage_use {
    const char *key;
    int is_needed;          /* by a run that counts */
    const char *parent;     /* key; "" for none, and for a stage that only another's parent names */
} prn__stage_use;

typedef struct prn__stage_uses {
    prn__stage_use *stages; /* rising keys, each once */
    size_t count;
    prn__arena memory;
} prn__stage_uses;

/* As if the runs with these numbers were not there. */
prn_status prn__stage_uses_load(const char *workspace, const int64_t *forgotten, size_t forgotten_count, prn__stage_uses **uses, prn_error *error);
/* Only what this run needs is marked. */
prn_status prn__stage_uses_of_run(const char *workspace, int64_t run, prn__stage_uses **uses, prn_error *error);
const prn__stage_use *prn__stage_uses_find(const prn__stage_uses *uses, const char *key); /* NULL: no run and no parent */
void prn__stage_uses_destroy(prn__stage_uses *uses); /* NULL is allowed */

#endif
