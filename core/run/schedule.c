/* core/run/schedule.c: see schedule.h. docs/recipes.md has the same formulas for readers.
 *
 * Progress runs from 0 at a phase's first update to (n - 1) / n at its last, so a phase's end value is that of the update after
 * it: phases that follow each other meet, and no update is spent at a final rate of zero.
 *
 * Sources: warm-up + stable + decay and its 1-sqrt form: Haegele et al. 2024 (arXiv:2405.18392). Inverse square root: Vaswani et al.
 * 2017. Infinite: Ibrahim et al. 2024 (arXiv:2403.08763). Autoregressive cosine: Roth et al. 2024 (arXiv:2408.14471).
 */
#include "run/schedule.h"

#include <inttypes.h>
#include <math.h>

static const double PI = 3.14159265358979323846;

const char *prn__schedule_name(prn__schedule_kind kind)
{
    static const char *const names[] = {
        [PRN__SCHEDULE_CONSTANT] = "constant",
        [PRN__SCHEDULE_COSINE] = "cosine",
        [PRN__SCHEDULE_FUNCTION] = "function",
        [PRN__SCHEDULE_LINEAR] = "linear",
        [PRN__SCHEDULE_WARMUP_STABLE_DECAY] = "warmup_stable_decay",
        [PRN__SCHEDULE_INVERSE_SQRT] = "inverse_sqrt",
        [PRN__SCHEDULE_INFINITE] = "infinite",
        [PRN__SCHEDULE_TRUNK] = "trunk",
        [PRN__SCHEDULE_AUTOREGRESSIVE_COSINE] = "autoregressive_cosine",
    };
    return (size_t)kind < sizeof names / sizeof names[0] && names[kind] != NULL ? names[kind] : "unknown";
}

const char *prn__shape_name(prn__shape shape)
{
    static const char *const names[] = {"linear", "1-sqrt", "cosine", "exponential"};
    return (size_t)shape < sizeof names / sizeof names[0] ? names[shape] : "unknown";
}

int prn__schedule_has_branch(const prn__schedule *schedule)
{
    return schedule->kind == PRN__SCHEDULE_INFINITE || schedule->kind == PRN__SCHEDULE_TRUNK;
}

prn_status prn__schedule_split(const prn__schedule *schedule, int64_t steps, int64_t *trunk, int64_t *branch, prn_error *error)
{
    *trunk = steps;
    *branch = 0;
    if (!prn__schedule_has_branch(schedule)) {
        return PRN_OK;
    }
    *branch = (int64_t)floor((double)steps * schedule->branch * (1 + 1e-12));
    *branch = *branch < 1 ? 1 : *branch;
    *trunk = steps - *branch;
    if (*trunk < 1) {
        return prn_error_set(error, PRN_INVALID, "its %" PRId64 " update%s cannot be parted into a trunk and a branch of %g of them; raise `budget` or lower"
                             " the schedule's `branch`", steps, steps == 1 ? "" : "s", schedule->branch);
    }
    return PRN_OK;
}

double prn__schedule_peak(const prn__schedule *schedule, uint32_t time_step)
{
    if (schedule->peak_count == 0) {
        return schedule->peak;
    }
    return schedule->peaks[time_step <= schedule->peak_count ? time_step - 1 : schedule->peak_count - 1];
}

static double between(prn__shape shape, double from, double to, double progress)
{
    switch (shape) {
    case PRN__SHAPE_ONE_MINUS_SQRT:
        return to + (from - to) * (1.0 - sqrt(progress));
    case PRN__SHAPE_COSINE:
        return to + (from - to) * 0.5 * (1.0 + cos(PI * progress));
    case PRN__SHAPE_EXPONENTIAL:
        return from > 0 ? from * pow(to / from, progress) : 0;
    case PRN__SHAPE_LINEAR:
        break;
    }
    return to + (from - to) * (1.0 - progress);
}

/* Its warm-up and cooldown belong to the run: they are counted from where the line of stages began. */
static double infinite_at(const prn__schedule *s, const prn__schedule_place *place, int64_t step)
{
    const int64_t at = place->before + step, cooled = at - s->warmup_steps;
    double rate = s->constant;
    if (cooled < 0) {
        rate = s->peak * (double)(at + 1) / (double)s->warmup_steps;
    } else if (cooled < s->cooldown_steps) {
        rate = between(s->cooldown_shape, s->peak, s->constant, (double)cooled / (double)s->cooldown_steps);
    }
    return !place->is_fresh && step < s->later_warmup_steps ? rate * (double)(step + 1) / (double)s->later_warmup_steps : rate;
}

/* Behind the warm-up: update `step` of `steps`, `warmup` of which are over. */
static double decayed(const prn__schedule *s, double peak, int64_t step, int64_t warmup, int64_t steps)
{
    const double progress = (double)(step - warmup) / (double)(steps - warmup);
    switch (s->kind) {
    case PRN__SCHEDULE_COSINE:
    case PRN__SCHEDULE_AUTOREGRESSIVE_COSINE:
        return between(PRN__SHAPE_COSINE, peak, s->final, progress);
    case PRN__SCHEDULE_LINEAR:
        return between(PRN__SHAPE_LINEAR, peak, s->final, progress);
    case PRN__SCHEDULE_INVERSE_SQRT:
        return peak * sqrt(s->offset / (s->offset + (double)(step - warmup)));
    case PRN__SCHEDULE_WARMUP_STABLE_DECAY: {
        const int64_t decay = (int64_t)floor((double)steps * s->decay * (1 + 1e-12)), start = steps - decay;
        return step < start ? peak : between(s->shape, peak, s->final, (double)(step - start) / (double)decay);
    }
    default:
        return peak;
    }
}

/* The value that one cosine over this step and all before it would have where this step begins. */
static double autoregressive_peak(const prn__schedule *s, const prn__schedule_place *place)
{
    return between(PRN__SHAPE_COSINE, s->peak, s->final, (double)place->before / (double)(place->before + place->steps));
}

static double stage_rate(const prn__schedule *s, const prn__schedule_place *place, int64_t step)
{
    const int64_t warmup = place->is_fresh ? s->warmup_steps : s->later_warmup_steps; /* an oracle starts anew at every time step */
    if (s->kind == PRN__SCHEDULE_INFINITE) {
        return infinite_at(s, place, step);
    }
    const double peak = s->kind == PRN__SCHEDULE_AUTOREGRESSIVE_COSINE ? autoregressive_peak(s, place) : prn__schedule_peak(s, place->time_step);
    return step < warmup ? peak * (double)(step + 1) / (double)warmup : decayed(s, peak, step, warmup, place->steps);
}

prn_status prn__schedule_rate(const prn__schedule *schedule, const prn__schedule_place *place, int64_t step, double *rate, prn_error *error)
{
    if (schedule->kind == PRN__SCHEDULE_FUNCTION) {
        return schedule->function(schedule->function_self, step, place->steps, place->time_step, place->is_fresh, rate, error);
    }
    if (place->branch_steps > 0) { /* from where the trunk would go on */
        *rate = between(schedule->shape, stage_rate(schedule, place, place->steps), schedule->final, (double)step / (double)place->branch_steps);
    } else {
        *rate = stage_rate(schedule, place, step);
    }
    return PRN_OK;
}
