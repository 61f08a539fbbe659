/* core/page/page.h: the report of runs: one page for a browser, and figures for papers.
 *
 * A part is one run, read whole: its results, what it was run from, and its training curves, down-sampled so that the lowest and the
 * highest value of every stretch stay. The page is one file that reaches for nothing: style, script and data are in it, and its
 * policy forbids the network. Everything that comes from the ledger is data to the page, never markup.
 */
#ifndef PRN_PAGE_PAGE_H
#define PRN_PAGE_PAGE_H

#include "base/text.h"
#include "ledger/results.h"
#include "ledger/timeline.h"

/* A stretch of updates. NaN where nothing was recorded. */
typedef struct prn__curve_point {
    int64_t update;              /* the first of the stretch; from 0, over the whole run of the strategy */
    int64_t count, finite;       /* updates recorded in it; those whose loss was a number */
    double loss_low, loss_high, loss_mean;
    double rate_low, rate_high;  /* learning rate */
    double seconds, wait_s;      /* their time, and how much of it was waiting for data */
    double memory_bytes;         /* peak so far of the process that trained */
} prn__curve_point;

typedef struct prn__curve {
    prn__curve_point *points;
    size_t count;
    int64_t updates;             /* planned, over all stages */
    int64_t width;               /* updates a stretch */
    int64_t *starts;             /* (T + 1) the first update of each time step, and the end */
    double seconds;              /* of training */
} prn__curve;

typedef struct prn__page_part {
    prn__results *results;
    prn__timeline *timeline;
    prn__curve *curves;          /* (strategy_count) */
    prn__arena memory;
} prn__page_part;

/* `run` as in prn__results_load. At most `stretches` points a curve. */
prn_status prn__page_part_load(const char *workspace, const char *run, int64_t stretches, prn__page_part **part, prn_error *error);
void prn__page_part_destroy(prn__page_part *part); /* NULL is allowed */
/* Of a point, NaN when nothing was timed: samples over time, waiting included; the share of that time spent waiting. [any] */
double prn__curve_speed(const prn__curve_point *point, int64_t batch);
double prn__curve_wait(const prn__curve_point *point);

typedef struct prn__page {
    prn__page_part *const *parts;
    size_t part_count;
    const char *const *sweeps;   /* results of sweeps as JSON, see prn__sweep_results_json; their runs may be among the parts */
    size_t sweep_count;
} prn__page;

/* Appends the page; `target->failed` when out of memory. */
void prn__page_print(const prn__page *page, prn__text *target);

/* What the page's script draws from, as one line of JSON that may stand inside a script element: no '<', '>' or '&' in it. */
void prn__page_data(const prn__page *page, prn__text *target);

#endif
