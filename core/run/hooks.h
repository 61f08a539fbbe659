/* core/run/hooks.h: runs a strategy's callbacks inside its stages (perennial/stage.h). Private to core/run.
 *
 * A training stage with hooks goes through open, train, then `next_memory` before each update, close. A finishing stage goes through
 * prn__stage_finish_weights, which does all of it.
 */
#ifndef PRN_RUN_HOOKS_H
#define PRN_RUN_HOOKS_H

#include "run/execution.h"

typedef struct prn__hooks prn__hooks;

/* Opens the stage's strategy with its options; `x->trainer` exists. */
prn_status prn__hooks_open(prn__execution *x, const prn__stage *stage, prn__hooks **hooks, prn_error *error);
void prn__hooks_close(prn__hooks *hooks); /* gives the trainer its plain step back; NULL is allowed */
/* Has the strategy compose its terms, and readies memory batches from `first_step` on. */
prn_status prn__hooks_train(prn__hooks *hooks, int64_t first_step, prn_error *error);
/* The memory batch of update `step`; NULL where the stage has none. */
prn_status prn__hooks_next_memory(prn__hooks *hooks, int64_t step, const prn__batch **memory, prn_error *error);

/* 1 when the last error already says whose it is, at which time step and update; NULL is allowed. */
int prn__hooks_has_named(const prn__hooks *hooks);

/* Makes what is missing of a finishing stage: the deployed weights from the trained ones, and what the strategy keeps. */
prn_status prn__stage_finish_weights(prn__execution *x, int32_t stage, prn_error *error);

#endif
