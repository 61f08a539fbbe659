/* core/report/export.h: a run for other programs: CSV tables, JSON Lines, TensorBoard event files.
 *
 * Invariants: step metrics pass one by one, so a run with millions of steps needs no more memory than a short one; every file appears
 * whole or not at all.
 */
#ifndef PRN_REPORT_EXPORT_H
#define PRN_REPORT_EXPORT_H

#include "ledger/results.h"
#include "ledger/timeline.h"

typedef enum prn__export_format { PRN__EXPORT_CSV, PRN__EXPORT_JSONL, PRN__EXPORT_TENSORBOARD } prn__export_format;
/* 1 when `name` is "csv", "jsonl" or "tensorboard". [any] */
int prn__export_format_parse(const char *name, prn__export_format *format);

typedef struct prn__export {
    const char *workspace;
    const prn__results *results;
    const prn__timeline *timeline; /* of the same run */
} prn__export;

/* CSV: a folder of matrix.csv, metrics.csv, summary.csv, stages.csv. JSON Lines: a file. TensorBoard: a folder with one folder a strategy. */
prn_status prn__export_write(const prn__export *source, prn__export_format format, const char *path, prn_error *error);

/* ---- between the files of this export ---- */

/* A step of a strategy's whole line of training. */
typedef struct prn__export_step {
    size_t strategy, stage;       /* indices in the time line */
    int64_t step;                 /* updates of all stages of the line so far, this one included: from 1 */
    double samples_per_s;         /* NaN when not measured */
    const prn__step_metric *metric;
} prn__export_step;
typedef prn_status (*prn__export_visit)(void *context, const prn__export_step *step, prn_error *error);
/* All steps of one strategy, in the order of training. */
prn_status prn__export_steps(const prn__export *source, size_t strategy, prn__export_visit visit, void *context, prn_error *error);
/* Updates of a strategy's line up to the end of time step `time_step` (from 1). */
int64_t prn__export_updates(const prn__export *source, size_t strategy, uint32_t time_step);
prn_status prn__export_tensorboard(const prn__export *source, const char *folder, prn_error *error);

#endif
