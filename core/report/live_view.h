/* core/report/live_view.h: the screen while a run is under way: stages done, running and to come, and how each running one gets on.
 *
 * A view is data and its text: nothing here writes to a terminal. Not thread-safe but where it says so; whoever draws it
 * holds a lock.
 */
#ifndef PRN_REPORT_LIVE_VIEW_H
#define PRN_REPORT_LIVE_VIEW_H

#include "base/text.h"
#include "run/executor.h"

typedef struct prn__live_view prn__live_view;

/* `jobs` processes work on the plan, whose finished stages are marked. `plan` outlives the view. */
prn__live_view *prn__live_view_create(const prn__plan *plan, uint32_t jobs); /* NULL when out of memory */
void prn__live_view_destroy(prn__live_view *view);                          /* NULL is allowed */
/* What job 0, 1, ... does now. */
void prn__live_view_update(prn__live_view *view, uint32_t job, const prn__progress *progress);
/* Its process number, so that what it works on is not shown as another's. */
void prn__live_view_process(prn__live_view *view, uint32_t job, long process);
/* The job has ended: nothing more is shown of it. */
void prn__live_view_end(prn__live_view *view, uint32_t job);
/* Looks for stages that other processes have finished or work on. May run beside the other calls: it waits for a disk. */
void prn__live_view_look(prn__live_view *view);

typedef struct prn__live_style {
    size_t columns, rows; /* of the terminal; a view never takes more */
    int is_utf8, is_coloured;
    int is_stopping;      /* it was asked to stop */
} prn__live_style;

/* Appends the view: lines that end in '\n', none wider than columns - 1; returns their number. */
size_t prn__live_view_print(const prn__live_view *view, const prn__live_style *style, prn__text *target);

#endif
