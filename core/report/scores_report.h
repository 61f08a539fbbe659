/* core/report/scores_report.h: scores of one model on evaluation sets, as `perennial eval` prints them. */
#ifndef PRN_REPORT_SCORES_REPORT_H
#define PRN_REPORT_SCORES_REPORT_H

#include "base/text.h"
#include "eval/eval.h"

typedef struct prn__scored {
    uint32_t time_step;      /* from 1 */
    const char *step_name;
    const char *task;
    prn__task_kind kind;
    prn__scores scores;
    double seconds;
} prn__scored;

/* One table a task; tasks in order of their first appearance. */
void prn__scored_print(const prn__scored *scored, size_t count, prn__text *target);
/* `tasks.<task>.steps[]` with `scores.<name>`. */
void prn__scored_json(const char *model, const char *manifest, const char *backend, const prn__scored *scored, size_t count, prn__text *target);

#endif
