/* core/report/runs_report.h: the runs of one or many workspaces, and what a collection removes, as text and as JSON. */
#ifndef PRN_REPORT_RUNS_REPORT_H
#define PRN_REPORT_RUNS_REPORT_H

#include "base/text.h"
#include "ledger/results.h"
#include "run/collect.h"

typedef struct prn__run_row {
    const char *workspace;
    const prn__run_info *run;
    const char *strategies;   /* labels, "sequential, oracle" */
    const char *labels_json;  /* array of them */
    int64_t bytes;            /* of all stages that it needs, whoever else does */
} prn__run_row;

/* Appended to `target`; `target->failed` when out of memory. */
void prn__run_rows_print(const prn__run_row *rows, size_t count, prn__text *target);
void prn__run_rows_json(const prn__run_row *rows, size_t count, prn__text *target);

typedef struct prn__collection_view {
    const char *workspace;
    int is_done;                      /* 0: what would go */
    const prn__run_info *const *forgotten;
    size_t forgotten_count;
} prn__collection_view;
void prn__collection_print(const prn__collection *collection, const prn__collection_view *view, prn__text *target);
void prn__collection_json(const prn__collection *collection, const prn__collection_view *view, prn__text *target);

#endif
