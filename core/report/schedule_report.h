/* core/report/schedule_report.h: the learning rate of every strategy of a plan over its whole run. */
#ifndef PRN_REPORT_SCHEDULE_REPORT_H
#define PRN_REPORT_SCHEDULE_REPORT_H

#include "report/json.h"
#include "run/plan.h"

/* A plot in plain characters, `columns` wide (at least 40), and a table, for each group of strategies with the same rates. */
void prn__schedule_print(const prn__plan *plan, size_t columns, prn__text *target);
/* Adds `schedule` to a strategy: an array of its training stages in the order in which they run, each with at most 65 points
 * [update, rate]. */
void prn__schedule_put(prn__json *json, json_t *strategy, const prn__plan *plan, const prn__plan_line *line);

#endif
