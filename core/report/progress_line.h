/* core/report/progress_line.h: the state of long work on one line. */
#ifndef PRN_REPORT_PROGRESS_LINE_H
#define PRN_REPORT_PROGRESS_LINE_H

#include "run/executor.h"

/* `columns` 0, a line that stands alone: "stage 2/11, time step 1 (1993), strategy sequential | 120/400 | 812 samples/s |
 * 3 min 20 s left | loss 2.341 | lr 1.50e-03 | data wait 3 %". Else a line that is rewritten below its stage's heading: without the
 * label, shortened and at last cut from its end to that many cells. Unknown parts are left out. */
void prn__progress_print(const prn__progress *progress, size_t columns, prn__text *target);
/* "stage 2/11: time step 1 (1993), strategy sequential" */
void prn__progress_heading(const prn__progress *progress, prn__text *target);

#endif
