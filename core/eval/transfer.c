/* core/eval/transfer.c: the time-continual metrics over a matrix of scores; see eval.h for each one's definition.
 * Raw means as TiC-CLIP (Garg et al. 2024) and CLEAR (Lin et al. 2021) define them; the differences as GEM (Lopez-Paz, Ranzato 2017) does. */
#include <math.h>

#include "eval/eval.h"

typedef struct mean {
    double sum;
    int64_t count;
} mean;

static void add(mean *m, double value)
{
    if (!isnan(value)) {
        m->sum += value;
        m->count++;
    }
}

static double value_of(const mean *m)
{
    return m->count > 0 ? m->sum / (double)m->count : NAN;
}

void prn__transfer_compute(const double *matrix, const double *oracle, const double *baseline, int64_t steps, prn__transfer *transfer)
{
    mean in_domain = {0}, backward = {0}, forward = {0}, next = {0}, bwt = {0}, fwt = {0}, forgetting = {0}, regret = {0};
    const double *last = matrix + (steps - 1) * steps;
    for (int64_t i = 0; i < steps; i++) {
        mean gap = {0};
        for (int64_t j = 0; j < steps; j++) {
            double a = matrix[i * steps + j];
            add(i == j ? &in_domain : j < i ? &backward : &forward, a);
            if (j == i + 1) {
                add(&next, a);
                if (baseline != NULL) {
                    add(&fwt, a - baseline[j]);
                }
            }
            if (j <= i && oracle != NULL) {
                add(&gap, oracle[i * steps + j] - a);
            }
        }
        add(&regret, value_of(&gap));
    }
    for (int64_t j = 0; j + 1 < steps; j++) {
        double best = NAN;
        add(&bwt, last[j] - matrix[j * steps + j]);
        for (int64_t i = 0; i < steps; i++) {
            best = fmax(best, matrix[i * steps + j]); /* fmax passes over a NaN */
        }
        add(&forgetting, best - last[j]);
    }
    transfer->in_domain = value_of(&in_domain);
    transfer->backward = value_of(&backward);
    transfer->forward = value_of(&forward);
    transfer->next_domain = value_of(&next);
    transfer->gem_bwt = value_of(&bwt);
    transfer->gem_fwt = value_of(&fwt);
    transfer->forgetting = value_of(&forgetting);
    transfer->regret = value_of(&regret);
}
