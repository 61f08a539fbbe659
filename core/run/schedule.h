/* core/run/schedule.h: learning-rate schedules as functions of where an update stands in its run.
 *
 * Everything here is a pure function of the schedule and the place; the plan asks once for each update and keeps the table.
 */
#ifndef PRN_RUN_SCHEDULE_H
#define PRN_RUN_SCHEDULE_H

#include "run/recipe.h"

/* A training stage as a schedule sees it. `branch_steps` > 0: the branch of that many updates behind it. */
typedef struct prn__schedule_place {
    uint32_t time_step;   /* 1..T */
    int is_fresh;         /* starts from random weights or `init` */
    int64_t before;       /* updates of the stages that it goes on from, back to random weights or `init` */
    int64_t steps;        /* its own updates */
    int64_t branch_steps;
} prn__schedule_place;

/* "cosine", as a recipe writes it. [any] */
const char *prn__schedule_name(prn__schedule_kind kind);
/* "1-sqrt", as a recipe writes it. [any] */
const char *prn__shape_name(prn__shape shape);

/* 1 when each time step has a branch: the next step starts from the trunk, and the branch is what is evaluated. [any] */
int prn__schedule_has_branch(const prn__schedule *schedule);
/* A time step's updates as trunk and branch; `branch` 0 for schedules without one. */
prn_status prn__schedule_split(const prn__schedule *schedule, int64_t steps, int64_t *trunk, int64_t *branch, prn_error *error);

/* The peak of a time step: of a list the entry of that step, and the last one after its end. [any] */
double prn__schedule_peak(const prn__schedule *schedule, uint32_t time_step);
/* The rate of update `step` (from 0) of the stage or, with branch_steps, of its branch. */
prn_status prn__schedule_rate(const prn__schedule *schedule, const prn__schedule_place *place, int64_t step, double *rate, prn_error *error);

#endif
