/* core/run/collect.h: what a workspace can do without, and removing it: `perennial gc`.
 *
 * Invariants: nothing that a kept run needs is touched: its stages, all their parents, what they keep, and the checkpoints of those
 * that are under way. The ledger forgets first and folders go after it, each in one step (a rename), so that whatever ends this
 * leaves stages that are whole and stages that are not there, and the next run or the next collection goes on from that.
 */
#ifndef PRN_RUN_COLLECT_H
#define PRN_RUN_COLLECT_H

#include "base/memory.h"

typedef enum prn__rubbish_kind {
    PRN__RUBBISH_STAGE,      /* a folder that no kept run needs */
    PRN__RUBBISH_CHECKPOINT, /* of a stage that is finished */
    PRN__RUBBISH_DAMAGED,    /* moved aside by a run */
    PRN__RUBBISH_TEMPORARY,  /* left by a process that was killed */
    PRN__RUBBISH_INDEX,      /* of a shard that no kept run's stream has any more */
    PRN__RUBBISH_OPTIMIZER,  /* of a finished stage that nothing under way goes on from */
    PRN__RUBBISH_KINDS
} prn__rubbish_kind;
extern const char *const prn__rubbish_names[PRN__RUBBISH_KINDS]; /* "stage", "checkpoint", ... */

typedef struct prn__rubbish {
    prn__rubbish_kind kind;
    const char *path; /* within the workspace */
    int64_t bytes;
} prn__rubbish;

typedef struct prn__collection {
    prn__rubbish *items; /* by path */
    size_t count;
    int64_t bytes, kept_bytes; /* of stages that stay: what is left of their folders */
    size_t kept_stages;
    prn__arena memory;
} prn__collection;

typedef struct prn__collect_options {
    const int64_t *forgotten; /* numbers of runs */
    size_t forgotten_count;
    int with_optimizer;
} prn__collect_options;

/* Looks only; a process that works there meanwhile may need what is listed as left by a killed one no more a moment later. */
prn_status prn__collection_create(const char *workspace, const prn__collect_options *options, prn__collection **collection, prn_error *error);
/* Looks and removes, alone in the workspace: PRN_CONFLICT while a run works there. `collection`: what is gone, also after a failure, as
 * far as it came; else NULL. */
prn_status prn__collect(const char *workspace, const prn__collect_options *options, prn__collection **collection, prn_error *error);
void prn__collection_destroy(prn__collection *collection); /* NULL is allowed */

/* Bytes of all regular files below a folder; symbolic links are not followed; 0 when it is not there. [any] */
int64_t prn__folder_bytes(const char *path);

#endif
