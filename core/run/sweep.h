/* core/run/sweep.h: the plans of all combinations of a sweep, taken together: which stages they share, and what all of it costs.
 *
 * The plans are made one after another and not kept: a sweep may have a thousand.
 */
#ifndef PRN_RUN_SWEEP_H
#define PRN_RUN_SWEEP_H

#include "run/plan.h"

typedef struct prn__sweep_cost {
    uint32_t stages, done;
    double forward_macs, total_macs, teacher_macs, tuning_macs;
    int64_t samples;
} prn__sweep_cost;

typedef struct prn__sweep_member {
    const prn__recipe *recipe;
    prn__sweep_cost all; /* as if it were alone */
    prn__sweep_cost own; /* of the stages that no combination before it has */
} prn__sweep_member;

typedef struct prn__sweep_plan {
    prn__sweep_member *members;
    uint32_t member_count;
    prn__sweep_cost cost; /* each stage once */
    uint32_t same_count;  /* combinations that train exactly what one before them does: their choices have no effect */
    uint32_t first_same;  /* the first of them, from 1; 0: none */
    prn__arena memory;
} prn__sweep_plan;

/* `recipes` outlive it; each one's sweep->identity is set. */
prn_status prn__sweep_plan_create(prn__recipe *const *recipes, size_t count, prn__registry *registry, prn__sweep_plan **sweep, prn_error *error);
void prn__sweep_plan_destroy(prn__sweep_plan *sweep); /* NULL is allowed */

const char *prn__criterion_name(prn__sweep_criterion criterion); /* "in_domain" [any] */

#endif
