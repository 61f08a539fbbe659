/* core/page/figures.c: see figures.h. */
#include "page/figures.h"

#include <math.h>
#include <string.h>

#include "base/file.h"
#include "page/chart.h"

enum { MATRICES_A_ROW = 4, GAP = 18, OVERHANG = 30 }; /* turned names reach beyond their matrix */
#define WIDTH 460.0
#define HEIGHT 250.0

typedef struct drawing {
    const prn__page_part *part;
    const prn__figure_options *options;
    prn__figure_files *files;
    prn__chart_line *lines;      /* (strategy_count) */
    prn__chart_point *points;    /* room of each line */
    size_t room;
} drawing;

static prn_status no_memory(prn_error *error)
{
    return prn_error_set(error, PRN_NO_MEMORY, "out of memory while drawing figures");
}

void prn__figure_files_fini(prn__figure_files *files)
{
    for (size_t i = 0; i < files->count; i++) {
        prn__free(files->paths[i]);
    }
    prn__free(files->paths);
    files->paths = NULL;
    files->count = 0;
}

/* ---- files --------------------------------------------------------------------------------------------------------------------- */

/* What a name of the stream may hold is more than what a file name should. */
static void put_name(prn__text *t, const char *name)
{
    for (const char *c = name; *c != '\0' && t->length < 150; c++) {
        const int is_plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || *c == '.' || *c == '_';
        if (is_plain || (t->length > 0 && t->data[t->length - 1] != '-')) {
            prn__text_append(t, is_plain ? c : "-", 1);
        }
    }
}

/* What is drawn: one of the two. */
typedef struct figure {
    const char *name, *task; /* `task` NULL: of the whole run */
    size_t task_index;
    const prn__chart *chart;
    const prn__heat *heats;
    size_t heat_count;
} figure;

static void draw_matrices(const prn__canvas *canvas, const figure *f, size_t across, double side, double tall)
{
    for (size_t i = 0; i < f->heat_count; i++) {
        prn__heat_draw(canvas, &f->heats[i], (double)(i % across) * (side + GAP), (double)(i / across) * (tall + 14), side, tall);
    }
    prn__heat_scale_draw(canvas, f->heats[0].top, 0, canvas->height - 11, 100);
}

static prn_status write_file(drawing *d, const figure *f, prn__canvas_kind kind, const char *stem, prn_error *error)
{
    const size_t across = f->heat_count < MATRICES_A_ROW ? f->heat_count : MATRICES_A_ROW, down = across > 0 ? (f->heat_count + across - 1) / across : 0;
    const double side = f->heat_count > 0 ? fmin(420, fmax(120, 34 + 22.0 * f->heats[0].steps)) : 0, tall = side * 0.82 + 22;
    const double width = f->chart != NULL ? WIDTH : (double)across * (side + GAP) - GAP + OVERHANG, height = f->chart != NULL ? HEIGHT : (double)down * (tall + 14) + 10;
    prn__canvas canvas;
    prn__text bytes, name;
    prn__text_init(&bytes);
    prn__text_init(&name);
    prn__text_printf(&name, "%s.%s", stem, kind == PRN__CANVAS_SVG ? "svg" : "pdf");
    char *path = name.failed ? NULL : prn__path_join(d->options->folder, name.data);
    char **paths = prn__realloc(d->files->paths, (d->files->count + 1) * sizeof *paths);
    d->files->paths = paths != NULL ? paths : d->files->paths;
    prn_status status = path != NULL && paths != NULL ? prn__canvas_open(&canvas, kind, width, height, stem, d->part->results->run.started, &bytes, error)
                                                      : no_memory(error);
    if (status == PRN_OK) {
        if (f->chart != NULL) {
            prn__chart_draw(&canvas, f->chart);
        } else {
            draw_matrices(&canvas, f, across, side, tall);
        }
        status = prn__canvas_close(&canvas, error);
    }
    if (status == PRN_OK) {
        status = prn__file_write_atomic(path, bytes.data, bytes.length, error);
    }
    if (status == PRN_OK) {
        d->files->paths[d->files->count++] = path;
        path = NULL;
    }
    prn__free(path);
    prn__text_fini(&name);
    prn__text_fini(&bytes);
    return status;
}

static prn_status write_figure(drawing *d, const figure *f, prn_error *error)
{
    prn__text stem, plain;
    prn_status status = PRN_OK;
    prn__text_init(&stem);
    prn__text_init(&plain);
    prn__text_printf(&stem, "%s%s", d->options->prefix, f->name);
    if (f->task != NULL) {
        put_name(&plain, f->task);
        prn__text_printf(&stem, "-%s", plain.length > 0 ? plain.data : "task");
        /* two names may look alike once they are file names */
        for (size_t k = 0; k < f->task_index; k++) {
            prn__text other;
            prn__text_init(&other);
            put_name(&other, d->part->results->strategies[0].tasks[k].name);
            if (!other.failed && !plain.failed && strcmp(other.data, plain.data) == 0) {
                prn__text_printf(&stem, "-%zu", f->task_index + 1);
                k = f->task_index;
            }
            prn__text_fini(&other);
        }
    }
    if (stem.failed || plain.failed) {
        status = no_memory(error);
    }
    if (status == PRN_OK && d->options->has_svg) {
        status = write_file(d, f, PRN__CANVAS_SVG, stem.data, error);
    }
    if (status == PRN_OK && d->options->has_pdf) {
        status = write_file(d, f, PRN__CANVAS_PDF, stem.data, error);
    }
    prn__text_fini(&stem);
    prn__text_fini(&plain);
    return status;
}

/* ---- scores --------------------------------------------------------------------------------------------------------------------- */

static const prn__result_score *score_of(const prn__result_task *task, const char *name)
{
    for (size_t i = 0; i < task->score_count; i++) {
        if (name == NULL || strcmp(task->scores[i].name, name) == 0) {
            return &task->scores[i];
        }
    }
    return NULL;
}

/* Mean over the tasks of the steps up to `i`. */
static double mean_so_far(const double *matrix, uint32_t steps, uint32_t i)
{
    double sum = 0;
    int count = 0;
    for (uint32_t j = 0; j <= i; j++) {
        if (isfinite(matrix[(size_t)i * steps + j])) {
            sum += matrix[(size_t)i * steps + j];
            count++;
        }
    }
    return count > 0 ? sum / count : NAN;
}

/* How far the best score of an earlier task lies above its score after step `i`, mean over earlier tasks. */
static double forgotten(const double *matrix, uint32_t steps, uint32_t i)
{
    double sum = 0;
    int count = 0;
    for (uint32_t j = 0; j < i; j++) {
        double best = NAN, now = matrix[(size_t)i * steps + j];
        for (uint32_t k = j; k <= i; k++) {
            best = fmax(best, matrix[(size_t)k * steps + j]);
        }
        if (isfinite(now)) {
            sum += best - now;
            count++;
        }
    }
    return count > 0 ? sum / count : NAN;
}

typedef enum over { OVER_COMPUTE, OVER_TIME, FORGETTING } over;

static void fill_score_lines(drawing *d, size_t task, const char *name, over what)
{
    const prn__results *results = d->part->results;
    const uint32_t steps = results->step_count;
    for (size_t s = 0; s < results->strategy_count; s++) {
        const prn__result_score *score = score_of(&results->strategies[s].tasks[task], name);
        double spent = 0;
        d->lines[s].count = steps;
        for (uint32_t i = 0; i < steps; i++) {
            prn__chart_point *p = &d->lines[s].points[i];
            spent += results->strategies[s].stages[i].total_macs;
            *p = (prn__chart_point){.x = what == OVER_COMPUTE ? spent : i, .y = NAN, .low = NAN, .high = NAN};
            if (score != NULL && (what != OVER_COMPUTE || spent > 0)) {
                p->y = what == FORGETTING ? forgotten(score->matrix, steps, i) : mean_so_far(score->matrix, steps, i);
            }
        }
    }
}

static prn_status write_matrices(drawing *d, size_t task, const char *name, prn_error *error)
{
    const prn__results *results = d->part->results;
    const size_t cells = (size_t)results->step_count * results->step_count;
    double top = 0;
    int any = 0;
    prn__heat *heats = prn__alloc_array(results->strategy_count, sizeof *heats);
    if (heats == NULL) {
        return no_memory(error);
    }
    for (size_t s = 0; s < results->strategy_count; s++) {
        const double *matrix = score_of(&results->strategies[s].tasks[task], name)->matrix;
        for (size_t i = 0; i < cells; i++) {
            any |= isfinite(matrix[i]);
            top = fmax(top, matrix[i]);
        }
        heats[s] = (prn__heat){.title = results->strategies[s].label, .style = d->lines[s].style, .matrix = matrix, .names = results->step_names,
                               .steps = results->step_count};
    }
    for (size_t s = 0; s < results->strategy_count; s++) {
        heats[s].top = top;
    }
    const figure f = {.name = "matrix", .task = results->strategies[0].tasks[task].name, .task_index = task, .heats = heats, .heat_count = results->strategy_count};
    prn_status status = any ? write_figure(d, &f, error) : PRN_OK;
    prn__free(heats);
    return status;
}

static prn_status write_task(drawing *d, size_t task, prn_error *error)
{
    static const char *const files[] = {"compute", "time", "forgetting"};
    const prn__results *results = d->part->results;
    const prn__result_task *first = &results->strategies[0].tasks[task];
    const prn__result_score *score = score_of(first, d->options->score);
    char title[128];
    if (score == NULL) {
        return PRN_OK; /* another task has it */
    }
    for (size_t s = 0; s < results->strategy_count; s++) {
        if (score_of(&results->strategies[s].tasks[task], score->name) == NULL) {
            return PRN_OK;
        }
    }
    prn_status status = write_matrices(d, task, score->name, error);
    for (over what = OVER_COMPUTE; what <= FORGETTING && status == PRN_OK; what++) {
        prn__chart chart = {.y_title = title, .x_title = what == OVER_COMPUTE ? "total MACs so far, log scale" : "after training on time step",
                            .y_format = PRN__NUMBER_PERCENT, .y_from_zero = 1, .x_is_log = what == OVER_COMPUTE, .has_markers = 1,
                            .x_labels = what == OVER_COMPUTE ? NULL : results->step_names, .x_label_count = results->step_count, .lines = d->lines,
                            .line_count = results->strategy_count};
        (void)snprintf(title, sizeof title, what == FORGETTING ? "forgetting of %s, in points" : "%s, mean of the tasks so far, in percent", score->name);
        fill_score_lines(d, task, score->name, what);
        const figure f = {.name = files[what], .task = first->name, .task_index = task, .chart = &chart};
        if (prn__chart_has_points(&chart)) {
            status = write_figure(d, &f, error);
        }
    }
    return status;
}

/* ---- training -------------------------------------------------------------------------------------------------------------------- */

typedef enum trained { LOSS, RATE, SPEED, WAIT, MEMORY, TRAINED_COUNT } trained;

static double value_of(const prn__curve_point *p, trained what, int64_t batch)
{
    switch (what) {
    case LOSS: return p->loss_mean;
    case RATE: return p->rate_high;
    case SPEED: return prn__curve_speed(p, batch);
    case WAIT: return prn__curve_wait(p);
    default: return p->memory_bytes;
    }
}

static void fill_curve(prn__chart_line *line, const prn__curve *curve, uint32_t steps, trained what, int64_t batch)
{
    uint32_t step = 0;
    line->count = curve->count;
    for (size_t i = 0; i < curve->count; i++) {
        const prn__curve_point *p = &curve->points[i];
        while (step + 1 < steps && p->update >= curve->starts[step + 1]) {
            step++;
        }
        const int64_t room = curve->starts[step + 1] - curve->starts[step];
        line->points[i] = (prn__chart_point){.x = step + (room > 0 ? fmin(1, (double)(p->update - curve->starts[step]) / (double)room) : 0),
                                             .y = value_of(p, what, batch), .low = what == LOSS ? p->loss_low : NAN,
                                             .high = what == LOSS ? p->loss_high : NAN,
                                             .is_apart = i > 0 && p->update - p[-1].update > curve->width};
    }
}

static prn_status write_training(drawing *d, prn_error *error)
{
    static const struct {
        const char *file, *title;
        prn__number_format format;
    } kinds[TRAINED_COUNT] = {
        {"loss", "loss: mean, and from lowest to highest", PRN__NUMBER_PLAIN}, {"learning-rate", "learning rate", PRN__NUMBER_PLAIN},
        {"throughput", "samples per second", PRN__NUMBER_SI}, {"data-wait", "waiting for data, percent of the time", PRN__NUMBER_PERCENT},
        {"memory", "peak memory of the process so far, bytes", PRN__NUMBER_SI}};
    const prn__results *results = d->part->results;
    prn_status status = PRN_OK;
    for (trained what = LOSS; what < TRAINED_COUNT && status == PRN_OK; what++) {
        const prn__chart chart = {.y_title = kinds[what].title, .x_title = "time step, each as wide as the others", .y_format = kinds[what].format,
                                  .y_from_zero = what != LOSS, .x_labels = results->step_names, .x_label_count = results->step_count, .x_is_span = 1,
                                  .lines = d->lines, .line_count = results->strategy_count};
        for (size_t s = 0; s < results->strategy_count; s++) {
            fill_curve(&d->lines[s], &d->part->curves[s], results->step_count, what, results->run.batch);
        }
        const figure f = {.name = kinds[what].file, .chart = &chart};
        if (prn__chart_has_points(&chart)) {
            status = write_figure(d, &f, error);
        }
    }
    return status;
}

/* ---- all ------------------------------------------------------------------------------------------------------------------------- */

prn_status prn__figures_write(const prn__page_part *part, const prn__figure_options *options, prn__figure_files *files, prn_error *error)
{
    const prn__results *results = part->results;
    drawing d = {.part = part, .options = options, .files = files, .room = results->step_count};
    prn_status status = PRN_OK;
    if (results->strategy_count == 0 || results->step_count == 0) {
        return PRN_OK;
    }
    for (size_t s = 0; s < results->strategy_count; s++) {
        d.room = part->curves[s].count > d.room ? part->curves[s].count : d.room;
    }
    d.lines = prn__alloc_array(results->strategy_count, sizeof *d.lines);
    d.points = prn__alloc_array(results->strategy_count * d.room, sizeof *d.points);
    if (d.lines == NULL || d.points == NULL) {
        status = no_memory(error);
        goto end;
    }
    for (size_t s = 0, plain = 0; s < results->strategy_count; s++) {
        const int is_oracle = strcmp(results->strategies[s].strategy, "oracle") == 0;
        d.lines[s] = (prn__chart_line){.label = results->strategies[s].label, .style = prn__line_style_of(plain, is_oracle), .points = d.points + s * d.room};
        plain += !is_oracle;
    }
    for (size_t k = 0; k < results->task_count && status == PRN_OK; k++) {
        status = write_task(&d, k, error);
    }
    if (status == PRN_OK) {
        status = write_training(&d, error);
    }
end:
    prn__canvas_release_fonts();
    prn__free(d.lines);
    prn__free(d.points);
    return status;
}
