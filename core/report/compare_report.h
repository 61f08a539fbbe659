/* core/report/compare_report.h: runs side by side: scores and costs against the first, what their recipes differ in, and whether their
 * scores may be compared at all. */
#ifndef PRN_REPORT_COMPARE_REPORT_H
#define PRN_REPORT_COMPARE_REPORT_H

#include "base/text.h"
#include "ledger/metrics.h"
#include "ledger/timeline.h"

typedef struct prn__compared {
    const char *workspace;
    const prn__results *results;
    const prn__timeline *timeline;
    const prn__set_keys *sets;
} prn__compared;

typedef struct prn__compare_view {
    const char *score; /* of each task; NULL: the headline, a task's first */
    int all_metrics;   /* both families: the means, and the differences (next domain, GEM's transfer, regret) */
} prn__compare_view;

/* At least two runs; the first is what the others are set against. Appended to `target`; `target->failed` when out of memory. */
void prn__compare_print(const prn__compared *runs, size_t count, const prn__compare_view *view, prn__text *target);
void prn__compare_json(const prn__compared *runs, size_t count, const prn__compare_view *view, prn__text *target);

#endif
