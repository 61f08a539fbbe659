/* core/page/chart.h: drawing line charts and heat maps with cairo into SVG or PDF. Private to core/page.
 *
 * Sizes are in points. Text from outside is cut and repaired before it is drawn, because cairo stops at what is not UTF-8.
 */
#ifndef PRN_PAGE_CHART_H
#define PRN_PAGE_CHART_H

#include <cairo.h>

#include "base/text.h"
#include "page/style.h"

typedef enum prn__canvas_kind { PRN__CANVAS_SVG, PRN__CANVAS_PDF } prn__canvas_kind;

typedef struct prn__canvas {
    cairo_t *cairo;
    cairo_surface_t *surface;
    double width, height;
} prn__canvas;

/* Room for a drawing of this size, with a small margin around. Drawn bytes are appended to `target`, which outlives the canvas. `date`: of the document, "2026-01-31T12:00:00Z". */
prn_status prn__canvas_open(prn__canvas *canvas, prn__canvas_kind kind, double width, double height, const char *title, const char *date,
                            prn__text *target, prn_error *error);
/* Ends the document; after a failure `target` is no use. */
prn_status prn__canvas_close(prn__canvas *canvas, prn_error *error);

/* Gives back the fonts that cairo keeps for later drawings. No canvas is open, in no thread. */
void prn__canvas_release_fonts(void);

/* Where nothing was measured y is NaN, and the line has a gap. `low` and `high` bound a band, NaN where there is none. */
typedef struct prn__chart_point {
    double x, y, low, high;
    int is_apart; /* 1: not joined to the point before */
} prn__chart_point;

typedef struct prn__chart_line {
    const char *label;
    prn__line_style style;
    prn__chart_point *points;
    size_t count;
} prn__chart_line;

typedef enum prn__number_format { PRN__NUMBER_PLAIN, PRN__NUMBER_PERCENT, PRN__NUMBER_SI } prn__number_format;

typedef struct prn__chart {
    const char *y_title, *x_title;
    prn__number_format y_format;
    int y_from_zero;
    int x_is_log;                /* without labels */
    const char *const *x_labels; /* x is an index into them; NULL: x is a number */
    size_t x_label_count;
    int x_is_span;               /* a label names the stretch from its index to the next */
    int has_markers;
    const prn__chart_line *lines;
    size_t line_count;
} prn__chart;

/* 1 when any line has a point. [any] */
int prn__chart_has_points(const prn__chart *chart);
void prn__chart_draw(const prn__canvas *canvas, const prn__chart *chart);

/* A (steps,steps) matrix in the square at x, y; fractions are coloured from 0 to `top`. */
typedef struct prn__heat {
    const char *title;
    prn__line_style style;
    const double *matrix;
    const char *const *names;
    uint32_t steps;
    double top;
} prn__heat;
enum { PRN__HEAT_TITLE = 16 }; /* room above the square and what stands around it */
void prn__heat_draw(const prn__canvas *canvas, const prn__heat *heat, double x, double y, double width, double height);
/* The bar that explains the colours. */
void prn__heat_scale_draw(const prn__canvas *canvas, double top, double x, double y, double width);

#endif
