/* core/run/sharing.h: which stage this process works on next, when others may work in the same workspace. Private to core/run.
 *
 * A stage is ready when its parent is done, and free when no process holds its claim. What others finish is taken from the
 * disk, and checked as what earlier runs finished.
 * Invariant: a process waits only while it holds no claim, so that processes never wait for each other in a circle.
 */
#ifndef PRN_RUN_SHARING_H
#define PRN_RUN_SHARING_H

#include "run/execution.h"

typedef struct prn__turn {
    int32_t stage; /* to be trained where it is not done, and scored; -1: there is none, and everything is complete */
    int claim;     /* held, until prn__turn_end */
} prn__turn;

prn_status prn__sharing_open(prn__execution *x, prn_error *error); /* after prn__scoring_prepare */
/* Waits when all that is left is being done by others, and says so. PRN_INTERRUPTED after a stop. */
prn_status prn__turn_next(prn__execution *x, prn__turn *turn, prn_error *error);
/* Gives the claim back; `is_complete`: the stage is done and scored. */
void prn__turn_end(prn__execution *x, prn__turn *turn, int is_complete);

#endif
