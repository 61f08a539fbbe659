/* core/report/results_report.h: the results of a run for people (matrices and a comparison), and for programs (JSON, CSV). */
#ifndef PRN_REPORT_RESULTS_REPORT_H
#define PRN_REPORT_RESULTS_REPORT_H

#include "base/text.h"
#include "ledger/results.h"

typedef struct prn__results_view {
    const char *score; /* shown for each task; NULL: the headline, a task's first */
    int all_scores;    /* every score of every task */
    int summary;       /* the comparison only, no matrices */
    int colours;       /* text: matrices are shaded with this many colours: 0, 256, or 1 << 24 */
} prn__results_view;

/* A score that no task has is PRN_NOT_FOUND, with a suggestion. A task that lacks it is left out. */
prn_status prn__results_check_score(const prn__results *results, const char *score, prn_error *error);

/* Appended to `target`; `target->failed` when out of memory. Percent in text, fractions in JSON and CSV. The text may be shown on a
 * terminal as it is: nothing of the ledger in it can steer one. */
void prn__results_print(const prn__results *results, const prn__results_view *view, prn__text *target);
/* `strategies.<label>.tasks.<task>`: matrix, in_domain, ... of `view->score` or the headline; `.scores` has them all. */
void prn__results_json(const prn__results *results, const prn__results_view *view, prn__text *target);
/* One line a value: run, strategy, task, kind, score, after_step, after_step_name, task_step, task_step_name, value. Every score,
 * or `view->score` alone. */
void prn__results_csv(const prn__results *results, const prn__results_view *view, prn__text *target);

/* All runs of a workspace. */
void prn__run_list_print(const prn__run_list *list, prn__text *target);
void prn__run_list_json(const prn__run_list *list, prn__text *target);

#endif
