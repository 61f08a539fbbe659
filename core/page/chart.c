/* core/page/chart.c: see chart.h. */
#include "page/chart.h"

#include <cairo-pdf.h>
#include <cairo-svg.h>
#include <fontconfig/fontconfig.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "report/score_colour.h"
#include "report/table.h"

enum { MAX_TICKS = 24, LABEL_CELLS = 22, MARGIN = 3 };
#define TEXT_SIZE 8.0
static const uint32_t INK = 0x1b1c1e, MUTED = 0x63666b, GRID = 0xe2e1da, BLANK = 0xefeee9;

/* ---- canvas ------------------------------------------------------------------------------------------------------------------ */

static cairo_status_t take_bytes(void *closure, const unsigned char *data, unsigned int length)
{
    prn__text *target = closure;
    prn__text_append(target, (const char *)data, length);
    return target->failed ? CAIRO_STATUS_NO_MEMORY : CAIRO_STATUS_SUCCESS;
}

static prn_status canvas_status(cairo_status_t status, prn_error *error)
{
    return status == CAIRO_STATUS_SUCCESS     ? PRN_OK
           : status == CAIRO_STATUS_NO_MEMORY ? prn_error_set(error, PRN_NO_MEMORY, "out of memory while drawing a figure")
                                              : prn_error_set(error, PRN_INTERNAL, "a figure could not be drawn: %s", cairo_status_to_string(status));
}

prn_status prn__canvas_open(prn__canvas *canvas, prn__canvas_kind kind, double width, double height, const char *title, const char *date,
                            prn__text *target, prn_error *error)
{
    canvas->width = width;
    canvas->height = height;
    canvas->surface = (kind == PRN__CANVAS_SVG ? cairo_svg_surface_create_for_stream : cairo_pdf_surface_create_for_stream)(
        take_bytes, target, width + 2 * MARGIN, height + 2 * MARGIN);
    if (kind == PRN__CANVAS_PDF && cairo_surface_status(canvas->surface) == CAIRO_STATUS_SUCCESS) {
        prn__text safe;
        prn__text_init(&safe);
        prn__text_append_safe(&safe, title, strlen(title), 0);
        cairo_pdf_surface_set_metadata(canvas->surface, CAIRO_PDF_METADATA_TITLE, safe.failed ? "" : safe.data);
        cairo_pdf_surface_set_metadata(canvas->surface, CAIRO_PDF_METADATA_CREATOR, "perennial " PRN_RELEASE);
        /* of the run, not of now: the same ledger gives the same file */
        cairo_pdf_surface_set_metadata(canvas->surface, CAIRO_PDF_METADATA_CREATE_DATE, date);
        prn__text_fini(&safe);
    }
    canvas->cairo = cairo_create(canvas->surface);
    cairo_translate(canvas->cairo, MARGIN, MARGIN);
    cairo_select_font_face(canvas->cairo, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(canvas->cairo, TEXT_SIZE);
    cairo_set_line_join(canvas->cairo, CAIRO_LINE_JOIN_ROUND);
    cairo_status_t status = cairo_status(canvas->cairo);
    if (status != CAIRO_STATUS_SUCCESS) {
        (void)prn__canvas_close(canvas, NULL);
        return canvas_status(status, error);
    }
    return PRN_OK;
}

prn_status prn__canvas_close(prn__canvas *canvas, prn_error *error)
{
    cairo_status_t status = cairo_status(canvas->cairo);
    cairo_destroy(canvas->cairo);
    cairo_surface_finish(canvas->surface);
    status = status == CAIRO_STATUS_SUCCESS ? cairo_surface_status(canvas->surface) : status;
    cairo_surface_destroy(canvas->surface);
    return canvas_status(status, error);
}

void prn__canvas_release_fonts(void)
{
    cairo_debug_reset_static_data(); /* the only call that does; meant for programs that leak checkers look at, as this one is */
    FcFini();
}

/* ---- marks ------------------------------------------------------------------------------------------------------------------- */

static void ink(const prn__canvas *c, uint32_t colour, double alpha)
{
    cairo_set_source_rgba(c->cairo, (colour >> 16 & 255) / 255.0, (colour >> 8 & 255) / 255.0, (colour & 255) / 255.0, alpha);
}

static void line(const prn__canvas *c, double x1, double y1, double x2, double y2, uint32_t colour, double width)
{
    ink(c, colour, 1);
    cairo_set_line_width(c->cairo, width);
    cairo_set_dash(c->cairo, NULL, 0, 0);
    cairo_move_to(c->cairo, x1, y1);
    cairo_line_to(c->cairo, x2, y2);
    cairo_stroke(c->cairo);
}

static void line_style(const prn__canvas *c, prn__line_style style, double width, double alpha)
{
    int count;
    const double *parts = prn__dash_parts(style.dash, &count);
    ink(c, prn__palette_colour(style.colour, 0), alpha);
    cairo_set_line_width(c->cairo, width);
    cairo_set_dash(c->cairo, parts, count, 0);
}

static void put_marker(const prn__canvas *c, prn__line_style style, double x, double y, double size)
{
    double outline[2 * PRN__MARKER_POINTS];
    int points = prn__marker_outline(style.marker, outline);
    for (int i = 0; i < points; i++) {
        cairo_line_to(c->cairo, x + size * outline[2 * i], y + size * outline[2 * i + 1]);
    }
    cairo_close_path(c->cairo);
    ink(c, prn__palette_colour(style.colour, 0), 1);
    cairo_fill_preserve(c->cairo);
    ink(c, 0xffffff, 1);
    cairo_set_line_width(c->cairo, 0.4);
    cairo_set_dash(c->cairo, NULL, 0, 0);
    cairo_stroke(c->cairo);
}

/* `at`: 0 the text starts at x, 0.5 is centred on it, 1 ends there. Returns its width. */
static double put_text(const prn__canvas *c, const char *string, size_t cells, double x, double y, double at, uint32_t colour)
{
    cairo_text_extents_t extents = {0};
    prn__text safe;
    prn__text_init(&safe);
    prn__text_append_safe(&safe, string, strlen(string), cells);
    if (!safe.failed) {
        cairo_text_extents(c->cairo, safe.data, &extents);
        ink(c, colour, 1);
        cairo_move_to(c->cairo, x - at * extents.x_advance, y);
        cairo_show_text(c->cairo, safe.data);
        cairo_new_path(c->cairo);
    }
    prn__text_fini(&safe);
    return extents.x_advance;
}

static double text_width(const prn__canvas *c, const char *string, size_t cells)
{
    cairo_text_extents_t extents = {0};
    prn__text safe;
    prn__text_init(&safe);
    prn__text_append_safe(&safe, string, strlen(string), cells);
    if (!safe.failed) {
        cairo_text_extents(c->cairo, safe.data, &extents);
    }
    prn__text_fini(&safe);
    return extents.x_advance;
}

/* ---- scales ------------------------------------------------------------------------------------------------------------------ */

typedef struct scale {
    double low, high, from, to; /* values, and where they stand */
    int is_log;
    double ticks[MAX_TICKS];
    int tick_count;
} scale;

static double place(const scale *s, double value)
{
    double fraction = s->is_log ? log(value / s->low) / log(s->high / s->low) : (value - s->low) / (s->high - s->low);
    return s->from + fraction * (s->to - s->from);
}

static void linear_ticks(scale *s, int wanted)
{
    static const double steps[] = {1, 2, 5, 10};
    double raw = (s->high - s->low) / wanted, base = pow(10, floor(log10(raw))), step = 10 * base;
    for (int i = 3; i >= 0; i--) {
        step = steps[i] * base >= raw * 0.999 ? steps[i] * base : step;
    }
    for (double k = ceil(s->low / step - 1e-9); k * step <= s->high + 1e-9 * step && s->tick_count < MAX_TICKS; k++) {
        s->ticks[s->tick_count++] = k == 0 ? 0 : k * step; /* not -0 */
    }
}

static void log_ticks(scale *s, int wanted)
{
    static const double lists[][8] = {{1}, {1, 3}, {1, 2, 5}, {1, 1.5, 2, 3, 4, 5, 6, 8}};
    static const int lengths[] = {1, 2, 3, 8};
    for (size_t list = 0; list < sizeof lengths / sizeof lengths[0]; list++) {
        double ticks[MAX_TICKS];
        int count = 0;
        for (double decade = floor(log10(s->low)); decade <= ceil(log10(s->high)); decade++) {
            for (int i = 0; i < lengths[list]; i++) {
                double value = lists[list][i] * pow(10, decade);
                if (value >= s->low * 0.999 && value <= s->high * 1.001 && count < MAX_TICKS) {
                    ticks[count++] = value;
                }
            }
        }
        if (count > wanted && s->tick_count >= 2) {
            return;
        }
        memcpy(s->ticks, ticks, sizeof ticks);
        s->tick_count = count;
        if (count >= 4) {
            return;
        }
    }
}

static const char *format_number(double value, prn__number_format format, char target[40])
{
    static const char *const prefixes[] = {"", " k", " M", " G", " T", " P", " E", " Z", " Y"};
    size_t prefix = 0;
    if (format == PRN__NUMBER_SI) { /* as short as a tick should be: "1 T", not "1.00 T" */
        for (; value >= 999.5 && prefix + 1 < sizeof prefixes / sizeof prefixes[0]; prefix++) {
            value /= 1000;
        }
    }
    (void)snprintf(target, 40, "%.4g%s", format == PRN__NUMBER_PERCENT ? 100 * value : value, prefixes[prefix]);
    return target;
}

/* ---- line charts --------------------------------------------------------------------------------------------------------------- */

int prn__chart_has_points(const prn__chart *chart)
{
    for (size_t l = 0; l < chart->line_count; l++) {
        for (size_t i = 0; i < chart->lines[l].count; i++) {
            if (isfinite(chart->lines[l].points[i].y)) {
                return 1;
            }
        }
    }
    return 0;
}

static void ranges(const prn__chart *chart, scale *x, scale *y)
{
    x->low = y->low = INFINITY;
    x->high = y->high = -INFINITY;
    for (size_t l = 0; l < chart->line_count; l++) {
        for (size_t i = 0; i < chart->lines[l].count; i++) {
            const prn__chart_point *p = &chart->lines[l].points[i];
            if (isfinite(p->y)) {
                x->low = fmin(x->low, p->x);
                x->high = fmax(x->high, p->x);
                y->low = fmin(y->low, isfinite(p->low) ? p->low : p->y);
                y->high = fmax(y->high, isfinite(p->high) ? p->high : p->y);
            }
        }
    }
    if (chart->y_from_zero) {
        y->low = fmin(0, y->low);
        y->high = fmax(0, y->high);
    }
    if (y->high - y->low < 1e-12) {
        y->high += y->high != 0 ? fabs(y->high) : 1e-3;
    }
    double pad = 0.05 * (y->high - y->low);
    y->high += pad;
    y->low -= y->low != 0 ? pad : 0;
    if (chart->x_labels != NULL) {
        double free = chart->x_is_span ? 0 : 0.35;
        x->low = -free;
        x->high = (double)chart->x_label_count - 1 + free + (chart->x_is_span ? 1 : 0);
    } else if (chart->x_is_log) {
        x->is_log = 1;
        x->low = fmax(x->low, 1e-300) / 1.12;
        x->high = fmax(x->high, x->low) * 1.12;
    }
    if (x->high <= x->low) {
        x->high = x->low + 1;
    }
}

static void draw_axes(const prn__canvas *c, const prn__chart *chart, const scale *x, const scale *y)
{
    char number[40];
    (void)put_text(c, chart->y_title, 0, 0, 9, 0, INK);
    for (int i = 0; i < y->tick_count; i++) {
        double at = place(y, y->ticks[i]);
        line(c, x->from, at, x->to, at, fabs(y->ticks[i]) < 1e-12 ? MUTED : GRID, 0.5);
        (void)put_text(c, format_number(y->ticks[i], chart->y_format, number), 0, x->from - 5, at + 2.8, 1, MUTED);
    }
    if (chart->x_labels != NULL) {
        double widest = 1, room = (x->to - x->from) / (double)chart->x_label_count;
        for (size_t i = 0; i < chart->x_label_count; i++) {
            widest = fmax(widest, text_width(c, chart->x_labels[i], 14));
        }
        size_t every = (size_t)fmax(1, ceil((widest + 6) / room));
        for (size_t i = 0; i < chart->x_label_count; i++) {
            double at = place(x, (double)i);
            if (chart->x_is_span) {
                line(c, at, y->to, at, y->from + 3, GRID, 0.5);
            } else {
                line(c, at, y->from, at, y->from + 3, MUTED, 0.5);
            }
            if (i % every == 0) {
                (void)put_text(c, chart->x_labels[i], 14, at + (chart->x_is_span ? room / 2 : 0), y->from + 13, 0.5, MUTED);
            }
        }
    }
    for (int i = 0; i < x->tick_count; i++) {
        double at = place(x, x->ticks[i]);
        line(c, at, y->from, at, y->from + 3, MUTED, 0.5);
        (void)put_text(c, format_number(x->ticks[i], PRN__NUMBER_SI, number), 0, at, y->from + 13, 0.5, MUTED);
    }
    line(c, x->from, y->from, x->to, y->from, MUTED, 0.6);
    (void)put_text(c, chart->x_title, 0, (x->from + x->to) / 2, c->height - 3, 0.5, MUTED);
}

/* The points from `first` on that are joined, up to but without the one returned. */
static size_t part_end(const prn__chart_line *l, size_t first)
{
    size_t end = first + 1;
    while (end < l->count && isfinite(l->points[end].y) && !l->points[end].is_apart) {
        end++;
    }
    return end;
}

static void draw_line(const prn__canvas *c, const prn__chart *chart, const prn__chart_line *l, const scale *x, const scale *y)
{
    const int is_oracle = l->style.colour == PRN__INK;
    for (size_t first = 0; first < l->count;) {
        if (!isfinite(l->points[first].y)) {
            first++;
            continue;
        }
        size_t end = part_end(l, first);
        int has_band = 0;
        for (size_t i = first; i < end; i++) {
            const prn__chart_point *p = &l->points[i];
            has_band |= isfinite(p->low) && p->high > p->low;
            cairo_line_to(c->cairo, place(x, p->x), place(y, isfinite(p->high) ? p->high : p->y));
        }
        for (size_t i = end; i > first; i--) {
            const prn__chart_point *p = &l->points[i - 1];
            cairo_line_to(c->cairo, place(x, p->x), place(y, isfinite(p->low) ? p->low : p->y));
        }
        if (has_band) {
            cairo_close_path(c->cairo);
            ink(c, prn__palette_colour(l->style.colour, 0), fmin(0.16, 0.9 / (double)chart->line_count));
            cairo_fill(c->cairo);
        }
        cairo_new_path(c->cairo);
        for (size_t i = first; i < end; i++) {
            cairo_line_to(c->cairo, place(x, l->points[i].x), place(y, l->points[i].y));
        }
        line_style(c, l->style, (chart->has_markers ? 1.1 : 0.8) * (is_oracle ? 1.5 : 1), 1);
        cairo_stroke(c->cairo);
        for (size_t i = first; i < end && (chart->has_markers || end - first == 1); i++) {
            put_marker(c, l->style, place(x, l->points[i].x), place(y, l->points[i].y), is_oracle ? 3.4 : 2.7);
        }
        first = end;
    }
}

typedef struct line_end {
    const prn__chart_line *line;
    double x, y, label;
} line_end;

/* At the right, beside the line's end, pushed apart where they would meet. */
static void draw_names(const prn__canvas *c, const prn__chart *chart, const scale *x, const scale *y, double row)
{
    line_end *ends = prn__alloc_array(chart->line_count, sizeof *ends);
    size_t count = 0;
    if (ends == NULL) {
        return;
    }
    for (size_t k = 0; k < chart->line_count; k++) {
        const prn__chart_line *l = &chart->lines[k];
        size_t last = l->count;
        while (last > 0 && !isfinite(l->points[last - 1].y)) {
            last--;
        }
        if (last == 0) {
            continue;
        }
        line_end end = {l, place(x, l->points[last - 1].x), place(y, l->points[last - 1].y), 0};
        size_t at = count++;
        for (; at > 0 && ends[at - 1].y > end.y; at--) {
            ends[at] = ends[at - 1];
        }
        end.label = end.y;
        ends[at] = end;
    }
    double floor_y = y->from + 3;
    for (size_t i = 1; i < count; i++) {
        ends[i].label = fmax(ends[i].label, ends[i - 1].label + row);
    }
    for (size_t i = count; i > 0; i--) {
        ends[i - 1].label = fmin(ends[i - 1].label, floor_y);
        floor_y = ends[i - 1].label - row;
    }
    for (size_t i = 0; i < count; i++) {
        prn__line_style full = ends[i].line->style;
        full.dash = 0;
        line_style(c, full, 0.4, 0.6);
        cairo_move_to(c->cairo, ends[i].x + 4, ends[i].y);
        cairo_line_to(c->cairo, x->to + 8, ends[i].label);
        cairo_stroke(c->cairo);
        line_style(c, ends[i].line->style, 1.1, 1);
        cairo_move_to(c->cairo, x->to + 9, ends[i].label);
        cairo_line_to(c->cairo, x->to + 27, ends[i].label);
        cairo_stroke(c->cairo);
        put_marker(c, ends[i].line->style, x->to + 18, ends[i].label, 2.7);
        (void)put_text(c, ends[i].line->label, LABEL_CELLS, x->to + 31, ends[i].label + 2.8, 0, INK);
    }
    prn__free(ends);
}

void prn__chart_draw(const prn__canvas *c, const prn__chart *chart)
{
    scale x = {0}, y = {0};
    char number[40];
    double label = 0, names = 0, row = 10;
    ranges(chart, &x, &y);
    linear_ticks(&y, 6);
    for (int i = 0; i < y.tick_count; i++) {
        label = fmax(label, text_width(c, format_number(y.ticks[i], chart->y_format, number), 0));
    }
    for (size_t l = 0; l < chart->line_count; l++) {
        names = fmax(names, text_width(c, chart->lines[l].label, LABEL_CELLS));
    }
    y.from = c->height - 30;
    y.to = 18;
    x.from = label + 8;
    x.to = c->width - names - 34;
    if (chart->x_labels == NULL) {
        if (chart->x_is_log) {
            log_ticks(&x, 7);
        } else {
            linear_ticks(&x, 6);
        }
    }
    draw_axes(c, chart, &x, &y);
    for (int oracle = 0; oracle < 2; oracle++) { /* on top */
        for (size_t l = 0; l < chart->line_count; l++) {
            if ((chart->lines[l].style.colour == PRN__INK) == oracle) {
                draw_line(c, chart, &chart->lines[l], &x, &y);
            }
        }
    }
    if ((double)chart->line_count * row > y.from - y.to) {
        row = (y.from - y.to) / (double)chart->line_count;
    }
    draw_names(c, chart, &x, &y, row);
}

/* ---- heat maps ------------------------------------------------------------------------------------------------------------------ */

void prn__heat_draw(const prn__canvas *c, const prn__heat *heat, double x, double y, double width, double height)
{
    const uint32_t steps = heat->steps;
    double left = 0;
    put_marker(c, heat->style, x + 4, y + 5, 3);
    (void)put_text(c, heat->title, 30, x + 11, y + 8, 0, INK);
    for (uint32_t i = 0; i < steps; i++) {
        left = fmax(left, text_width(c, heat->names[i], 11));
    }
    left += 5;
    const double cell = (width - left) / steps, is_turned = left + 1 > cell, top = PRN__HEAT_TITLE + (is_turned ? fmin(45, 0.75 * left + 6) : 11);
    const double tall = (height - top) / steps;
    const uint32_t every = cell < TEXT_SIZE || tall < TEXT_SIZE ? (uint32_t)ceil(TEXT_SIZE / fmin(cell, tall)) : 1;
    for (uint32_t i = 0; i < steps; i += every) {
        double at = x + left + (i + 0.5) * cell;
        if (is_turned) {
            cairo_save(c->cairo);
            cairo_translate(c->cairo, at + 2, y + top - 3);
            cairo_rotate(c->cairo, -3.14159265358979323846 / 4);
            (void)put_text(c, heat->names[i], 11, 0, 0, 0, MUTED);
            cairo_restore(c->cairo);
        } else {
            (void)put_text(c, heat->names[i], 11, at, y + top - 3, 0.5, MUTED);
        }
        (void)put_text(c, heat->names[i], 11, x + left - 4, y + top + (i + 0.5) * tall + 2.8, 1, MUTED);
    }
    for (uint32_t k = 0; k < steps * steps; k++) {
        const double value = heat->matrix[k], cx = x + left + k % steps * cell, cy = y + top + k / steps * tall;
        const uint32_t colour = isfinite(value) ? prn__score_colour(heat->top > 0 ? value / heat->top : 0) : BLANK;
        ink(c, colour, 1);
        cairo_rectangle(c->cairo, cx + 0.4, cy + 0.4, cell - 0.8, tall - 0.8);
        cairo_fill(c->cairo);
        if (k / steps == k % steps) {
            ink(c, INK, 1);
            cairo_set_line_width(c->cairo, 0.6);
            cairo_set_dash(c->cairo, NULL, 0, 0);
            cairo_rectangle(c->cairo, cx + 0.7, cy + 0.7, cell - 1.4, tall - 1.4);
            cairo_stroke(c->cairo);
        }
        char number[40] = "\xe2\x80\x93";
        if (isfinite(value)) {
            (void)snprintf(number, sizeof number, "%.1f", 100 * value);
        }
        if (cell >= 19 && tall >= 10) {
            (void)put_text(c, number, 0, cx + cell / 2, cy + tall / 2 + 2.8, 0.5,
                           !isfinite(value) ? MUTED : prn__colour_luminance(colour) > 0.28 ? 0x17181a : 0xffffff);
        }
    }
}

void prn__heat_scale_draw(const prn__canvas *c, double top, double x, double y, double width)
{
    char number[40];
    cairo_pattern_t *shades = cairo_pattern_create_linear(x + 8, 0, x + 8 + width, 0);
    for (int i = 0; i <= 16; i++) {
        uint32_t colour = prn__score_colour(i / 16.0);
        cairo_pattern_add_color_stop_rgb(shades, i / 16.0, (colour >> 16 & 255) / 255.0, (colour >> 8 & 255) / 255.0, (colour & 255) / 255.0);
    }
    (void)put_text(c, "0", 0, x, y + 7, 0, MUTED);
    cairo_rectangle(c->cairo, x + 8, y, width, 8);
    cairo_set_source(c->cairo, shades);
    cairo_fill(c->cairo);
    cairo_pattern_destroy(shades);
    (void)snprintf(number, sizeof number, "%.1f %%", 100 * top);
    (void)put_text(c, number, 0, x + width + 12, y + 7, 0, MUTED);
}
