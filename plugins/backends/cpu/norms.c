/* plugins/backends/cpu/norms.c: layer norm, rows of length one, and their gradients. */
#include "share.h"

static void layer_norm_task(void *context, int64_t index, uint32_t worker)
{
    const share *s = context;
    const operation *v = s->v;
    const int64_t r = first_of(s, index), rows = count_of(s, index), at = r * v->n;
    float *mean = out(v, 1) != NULL ? out(v, 1) + r : NULL, *rstd = out(v, 2) != NULL ? out(v, 2) + r : NULL;
    const float epsilon = (float)v->op->attrs.epsilon;
    (void)worker;
    if (is_half(s->executable, v->op->output[0])) {
        s->instance->half->layer_norm(element_at(out(v, 0), at, 1), mean, rstd, in(v, 0) + at, in(v, 1), in(v, 2), rows, v->n, epsilon);
    } else {
        s->k->layer_norm(out(v, 0) + at, mean, rstd, in(v, 0) + at, in(v, 1), in(v, 2), rows, v->n, epsilon);
    }
}

static int64_t layer_norm_grad_step(int64_t rows, int64_t n)
{
    return most(most(1, TASK_ELEMENTS / most(1, n)), (rows + SUM_PIECES - 1) / SUM_PIECES);
}

static void layer_norm_grad_task(void *context, int64_t index, uint32_t worker)
{
    const share *s = context;
    const operation *v = s->v;
    const int64_t r = first_of(s, index), at = r * v->n;
    (void)worker;
    s->k->layer_norm_grad(out(v, 0) != NULL ? out(v, 0) + at : NULL, s->lane->sums + index * 2 * v->n, in(v, 0) + at, in(v, 1) + at, in(v, 2),
                          in(v, 3) + r, in(v, 4) + r, count_of(s, index), v->n, v->op->attrs.accumulate);
}

static void layer_norm_sums_task(void *context, int64_t index, uint32_t worker)
{
    const share *s = context;
    const operation *v = s->v;
    const int64_t c = first_of(s, index), n = count_of(s, index), pieces = pieces_of(v->m, layer_norm_grad_step(v->m, v->n));
    (void)worker;
    if (out(v, 1) != NULL) {
        s->k->column_sums(out(v, 1) + c, s->lane->sums + c, pieces, n, 2 * v->n, 1);
    }
    if (out(v, 2) != NULL) {
        s->k->column_sums(out(v, 2) + c, s->lane->sums + v->n + c, pieces, n, 2 * v->n, 1);
    }
}

static void layer_norm_grad(share *s)
{
    const operation *v = s->v;
    s->total = v->m;
    s->step = layer_norm_grad_step(v->m, v->n);
    spread(s, layer_norm_grad_task);
    if (out(v, 1) != NULL || out(v, 2) != NULL) {
        spread_columns(s, v->m > 0 ? v->n : 0, 2 * pieces_of(v->m, layer_norm_grad_step(v->m, v->n)), layer_norm_sums_task);
    }
}

static void l2_normalise_task(void *context, int64_t index, uint32_t worker)
{
    const share *s = context;
    const operation *v = s->v;
    const int64_t r = first_of(s, index);
    (void)worker;
    s->k->l2_normalise(out(v, 0) + r * v->n, out(v, 1) != NULL ? out(v, 1) + r : NULL, in(v, 0) + r * v->n, count_of(s, index), v->n);
}

static void l2_normalise_grad_task(void *context, int64_t index, uint32_t worker)
{
    const share *s = context;
    const operation *v = s->v;
    const int64_t r = first_of(s, index), at = r * v->n;
    (void)worker;
    s->k->l2_normalise_grad(out(v, 0) + at, in(v, 0) + at, in(v, 1) + at, in(v, 2) + r, count_of(s, index), v->n, v->op->attrs.accumulate);
}

void norms_run(share *s)
{
    const operation *v = s->v;
    switch (v->op->kind) {
    case PRN_OP_LAYER_NORM: spread_rows(s, v->m, v->n, layer_norm_task); break;
    case PRN_OP_LAYER_NORM_GRAD: layer_norm_grad(s); break;
    case PRN_OP_L2_NORMALISE: spread_rows(s, v->m, v->n, l2_normalise_task); break;
    case PRN_OP_L2_NORMALISE_GRAD: spread_rows(s, v->m, v->n, l2_normalise_grad_task); break;
    default: break;
    }
}
