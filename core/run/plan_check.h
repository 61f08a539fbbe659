/* core/run/plan_check.h: what a strategy asks for at a time step, held against what there is. Private to core/run. */
#ifndef PRN_RUN_PLAN_CHECK_H
#define PRN_RUN_PLAN_CHECK_H

#include "run/plan.h"

/* PRN_OK, or what is wrong with the request and what may stand there. Needs the plan's recipe, manifests and step_count only. */
prn_status prn__plan_check_request(const prn__plan *plan, const prn_stage_request *request, uint32_t step, prn_error *error);

#endif
