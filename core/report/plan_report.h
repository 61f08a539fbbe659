/* core/report/plan_report.h: a plan and its cost, before anything runs. */
#ifndef PRN_REPORT_PLAN_REPORT_H
#define PRN_REPORT_PLAN_REPORT_H

#include "run/plan.h"

/* "done", "partial" (a checkpoint lies in the workspace) or "missing". */
const char *prn__stage_state_name(const prn__plan *plan, const prn__stage *stage);

void prn__plan_print(const prn__plan *plan, prn__text *target);
/* `strategies.<label>`: forward_macs, total_macs, samples, steps[]; `stages[]`: key, used_by, state, ...; `with_schedule`: the
 * learning rates, too (schedule_report.h). */
void prn__plan_json(const prn__plan *plan, int with_schedule, prn__text *target);

#endif
