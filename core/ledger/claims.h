/* core/ledger/claims.h: how processes share a workspace: its lock, a claim on each stage, and who is there.
 *
 * Every process that works in a workspace holds its lock in shared mode; what rearranges the workspace (gc) takes it alone. A
 * process trains or scores a stage only while it holds that stage's claim, the file stages/<key>/claim. Who works on a run is a
 * file in processes/.
 * Invariants: all three are locks of open files, so the kernel gives them back when their process ends, however it ends; what the
 * files say is only for messages. A claim's file is never removed by those who use it, and a process's own is removed under its
 * lock, so that no two processes can hold locks on different files of one name.
 */
#ifndef PRN_LEDGER_CLAIMS_H
#define PRN_LEDGER_CLAIMS_H

#include <perennial/status.h>

/* Who holds a lock, as far as its file tells. */
typedef struct prn__holder {
    long process; /* 0: not told */
    char host[72];
    char what[96]; /* the recipe it runs */
} prn__holder;

/* "process 4711 on node3 (recipe 'quickstart')" into `target`; returns it. Another host is named, this one is not. [any] */
const char *prn__holder_format(const prn__holder *holder, char *target, size_t bytes);

/* The workspace (an existing folder), shared or alone, without waiting: PRN_CONFLICT when another process's mode forbids it, and then
 * the message names the processes. `lock` is -1 after a failure. [any] */
prn_status prn__workspace_lock(const char *workspace, int exclusive, int *lock, prn_error *error);
void prn__workspace_unlock(int lock); /* -1 is allowed */

/* Claims the stage, whose folder is made when it is not there, without waiting. `claim` is -1 when another one holds it; then `holder`
 * (may be NULL) says who. `what`: for the holder's record. [any] */
prn_status prn__claim_take(const char *workspace, const char *key, const char *what, int *claim, prn__holder *holder, prn_error *error);
void prn__claim_release(int claim); /* -1 is allowed */
/* 1 when some process holds it, this one included; takes nothing and makes nothing. `holder` may be NULL. [any] */
int prn__claim_is_held(const char *workspace, const char *key, prn__holder *holder);

/* This process as one of those that work on the run (identity: 32 hex digits); `presence` is for leaving. Caller holds the shared
 * lock. [any] */
typedef struct prn__presence prn__presence;
prn_status prn__presence_enter(const char *workspace, const char *identity, const char *what, prn__presence **presence, prn_error *error);
void prn__presence_leave(prn__presence *presence); /* NULL is allowed */
/* Processes in the workspace that are alive, of this run or (identity NULL) of any; up to `capacity` of them into `holders` (may be NULL
 * with 0). Removes what killed ones left. [any] */
uint32_t prn__presence_count(const char *workspace, const char *identity, prn__holder *holders, uint32_t capacity);

#endif
