/* core/page/curves.c: see curves.h.
 *
 * The stages of a strategy stand one behind the other on one axis of updates. A stage that is not trained yet, or only in part,
 * keeps its planned room, so that equal places of two curves are equal work.
 */
#include "page/curves.h"

#include <math.h>

void prn__curve_add(prn__curve *curve, int64_t update, const prn__step_metric *m)
{
    int64_t first = update / curve->width * curve->width;
    prn__curve_point *point = curve->count > 0 ? &curve->points[curve->count - 1] : NULL;
    if (point == NULL || point->update != first) {
        point = &curve->points[curve->count++];
        *point = (prn__curve_point){.update = first, .loss_low = NAN, .loss_high = NAN, .loss_mean = NAN, .rate_low = NAN, .rate_high = NAN,
                                    .memory_bytes = NAN};
    }
    point->count++;
    if (isfinite(m->loss)) { /* fmin and fmax pass over what is NaN */
        double mean = point->finite > 0 ? point->loss_mean : 0;
        point->finite++;
        point->loss_low = fmin(point->loss_low, m->loss);
        point->loss_high = fmax(point->loss_high, m->loss);
        point->loss_mean = mean + (m->loss - mean) / (double)point->finite;
    }
    point->rate_low = fmin(point->rate_low, m->learning_rate);
    point->rate_high = fmax(point->rate_high, m->learning_rate);
    point->memory_bytes = fmax(point->memory_bytes, m->memory_bytes);
    point->seconds += isfinite(m->seconds) ? m->seconds : 0;
    point->wait_s += isfinite(m->data_wait_s) ? m->data_wait_s : 0;
}

double prn__curve_speed(const prn__curve_point *point, int64_t batch)
{
    return point->seconds > 0 ? (double)point->count * (double)batch / point->seconds : NAN;
}

double prn__curve_wait(const prn__curve_point *point)
{
    return point->seconds > 0 ? point->wait_s / point->seconds : NAN;
}

/* A damaged ledger may claim anything. */
static int64_t updates_of(const prn__timeline_stage *stage)
{
    return stage->steps > 0 && stage->steps < INT32_MAX ? stage->steps : 0;
}

static prn_status load_curve(const char *workspace, int64_t stretches, prn__page_part *part, const prn__timeline_strategy *line, prn__curve *curve,
                             prn_error *error)
{
    uint32_t steps = part->results->step_count, reached = 0;
    curve->starts = prn__arena_alloc(&part->memory, (steps + 1u) * sizeof *curve->starts);
    if (curve->starts == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory while reading training curves");
    }
    for (size_t i = 0; i < line->stage_count; i++) {
        for (; reached < line->stages[i].time_step && reached < steps; reached++) {
            curve->starts[reached] = curve->updates;
        }
        curve->updates += updates_of(&line->stages[i]);
        curve->seconds += line->stages[i].seconds;
    }
    for (; reached <= steps; reached++) {
        curve->starts[reached] = curve->updates;
    }
    curve->width = curve->updates > stretches ? (curve->updates + stretches - 1) / stretches : 1;
    curve->points = prn__arena_alloc(&part->memory, ((size_t)(curve->updates / curve->width) + 2) * sizeof *curve->points);
    if (curve->points == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory while reading training curves");
    }
    int64_t offset = 0;
    for (size_t i = 0; i < line->stage_count; i++) {
        prn__step_metric *metrics = NULL;
        size_t count = 0;
        int64_t updates = updates_of(&line->stages[i]), last = -1;
        if (updates == 0) {
            continue;
        }
        prn_status status = prn__results_metrics(workspace, line->stages[i].key, 0, &metrics, &count, error);
        if (status != PRN_OK) {
            return status;
        }
        for (size_t k = 0; k < count; k++) {
            if (metrics[k].step > last && metrics[k].step < updates) {
                last = metrics[k].step;
                prn__curve_add(curve, offset + last, &metrics[k]);
            }
        }
        prn__free(metrics);
        offset += updates;
    }
    return PRN_OK;
}

prn_status prn__curves_load(const char *workspace, int64_t stretches, prn__page_part *part, prn_error *error)
{
    const size_t count = part->results->strategy_count;
    prn_status status = PRN_OK;
    part->curves = prn__arena_alloc(&part->memory, (count + 1) * sizeof *part->curves);
    if (part->curves == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "out of memory while reading training curves");
    }
    for (size_t s = 0; s < count && status == PRN_OK; s++) {
        static const prn__timeline_strategy none = {.label = ""};
        /* a run that is under way may have gained a strategy between the two reads */
        status = load_curve(workspace, stretches, part, s < part->timeline->strategy_count ? &part->timeline->strategies[s] : &none, &part->curves[s],
                            error);
    }
    return status;
}
