/* core/run/ledger.h: the SQLite record of a workspace: runs, stages, step metrics, evaluations, skipped samples, environment.
 *
 * docs/ledger.md documents the schema (core/ledger/schema.c). Reading is core/ledger's.
 * Invariants: recording the same thing twice leaves one record, so that a resumed run may repeat what it is not sure
 * of; a failed call leaves the ledger as it was before that call.
 */
#ifndef PRN_RUN_LEDGER_H
#define PRN_RUN_LEDGER_H

#include "eval/eval.h"
#include "run/plan.h"
#include "ledger/results.h"

typedef struct prn__ledger prn__ledger;

/* Creates the ledger when the workspace (an existing folder) has none. [orchestrator] */
prn_status prn__ledger_open(const char *workspace, prn__ledger **ledger, prn_error *error);
void prn__ledger_close(prn__ledger *ledger); /* NULL is allowed */

/* Several records in one transaction: all or none. Not nested. */
prn_status prn__ledger_begin(prn__ledger *ledger, prn_error *error);
prn_status prn__ledger_commit(prn__ledger *ledger, prn_error *error);
void prn__ledger_rollback(prn__ledger *ledger); /* harmless outside a transaction */

/* What identifies a run: the same recipe, resolved the same way, planned the same way. Going on with it keeps its row.
 * `environment` is JSON. Writes strategies, stages and their use too, and forgets scores of stages that are not there. */
typedef struct prn__run_record {
    const char *identity;    /* 32 hex digits */
    const char *environment; /* JSON object */
    const char *resolved;    /* the resolved recipe, JSON object */
    int joins;               /* 1: a process of an attempt that another one has begun and still leads; `environment` is not looked at */
} prn__run_record;
/* Inside a transaction, or one of its own. */
prn_status prn__ledger_run_begin(prn__ledger *ledger, const prn__plan *plan, const prn__run_record *record, int64_t *run, prn_error *error);
/* What this attempt has recorded about its environment; caller frees with prn__free. */
prn_status prn__ledger_environment_get(prn__ledger *ledger, int64_t run, char **environment, prn_error *error);
/* Replaces it. */
prn_status prn__ledger_environment(prn__ledger *ledger, int64_t run, const char *environment, prn_error *error);
/* Of a run that is "running": one that some process has brought to its end stays "done". */
prn_status prn__ledger_run_end(prn__ledger *ledger, int64_t run, const char *state, const char *message, prn_error *error);

/* The task of (time step, name) of a run is scored on the set with this identity. */
prn_status prn__ledger_task(prn__ledger *ledger, int64_t run, uint32_t time_step, const char *name, prn__task_kind kind, const char *set_key,
                            prn_error *error);
/* 1 into `known` when this stage was scored on this set. */
prn_status prn__ledger_has_scores(prn__ledger *ledger, const char *stage, const char *set_key, int *known, prn_error *error);
prn_status prn__ledger_scores(prn__ledger *ledger, const char *stage, const char *set_key, const prn__scores *scores, double seconds,
                              prn_error *error);

/* Metrics replace those of the same stage and step. */
prn_status prn__ledger_metrics(prn__ledger *ledger, const char *stage, const prn__step_metric *metrics, size_t count, prn_error *error);
/* Before a stage is trained from `first_step` on: forgets metrics of that step and later, and skip counts of parts that began there or
 * later or that an index found: they are made again. */
prn_status prn__ledger_forget_after(prn__ledger *ledger, const char *stage, int64_t first_step, prn_error *error);
/* `first_step` names the part of the stage (from one start or resume to the next) that counted it; -1 for what the shard
 * index found. Replaces the same part's count. */
prn_status prn__ledger_skip(prn__ledger *ledger, const char *stage, int64_t first_step, const char *shard, const char *reason, int64_t count,
                            prn_error *error);
/* state: "missing", "partial", "done". */
prn_status prn__ledger_stage_state(prn__ledger *ledger, const char *stage, const char *state, double seconds, double last_loss, prn_error *error);
/* "done", when it is recorded as anything else: nothing else of it changes. */
prn_status prn__ledger_stage_done(prn__ledger *ledger, const char *stage, prn_error *error);

/* Forgets these runs (numbers), and all stages that no other run needs, with their metrics and scores, in one transaction. */
prn_status prn__ledger_collect(prn__ledger *ledger, const int64_t *runs, size_t count, prn_error *error);

#endif
