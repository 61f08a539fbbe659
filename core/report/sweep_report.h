/* core/report/sweep_report.h: a sweep before it runs (its combinations, shared stages and cost), and its results: mean and standard
 * deviation over seeds, the best setting of each strategy, the cost of finding it. For people and for programs. */
#ifndef PRN_REPORT_SWEEP_REPORT_H
#define PRN_REPORT_SWEEP_REPORT_H

#include "ledger/sweep.h"
#include "report/results_report.h"
#include "run/sweep.h"

/* "peak=0.001, seed=2" of a combination, as messages show it. */
void prn__sweep_settings_text(const prn__recipe_sweep *sweep, prn__text *target);

void prn__sweep_plan_print(const prn__sweep_plan *sweep, prn__text *target);
/* `sweep`, `combinations[]`: settings, cost, and `own`: of the stages that no combination before has; cost of all, each stage once. */
void prn__sweep_plan_json(const prn__sweep_plan *sweep, prn__text *target);

/* A score that no task has is PRN_NOT_FOUND, with a suggestion. */
prn_status prn__sweep_check_score(const prn__sweep_results *sweep, const char *score, prn_error *error);
/* Percent in text, fractions in JSON and CSV. */
void prn__sweep_results_print(const prn__sweep_results *sweep, const prn__results_view *view, prn__text *target);
void prn__sweep_results_json(const prn__sweep_results *sweep, const prn__results_view *view, prn__text *target);
/* One line a mean: sweep, strategy, setting, best, task, kind, chosen_on, score, metric, n, mean, standard_deviation. */
void prn__sweep_results_csv(const prn__sweep_results *sweep, const prn__results_view *view, prn__text *target);

#endif
