/* plugins/backends/cpu/elements.c: losses, what is done element by element, and sums. */
#include "share.h"

#include "../common/bf16.h"

#include <math.h>

/* ---- losses ---- */

static void cross_entropy_task(void *context, int64_t index, uint32_t worker)
{
    const share *s = context;
    const operation *v = s->v;
    const int32_t *labels = v->in[1].data;
    (void)worker;
    for (int64_t r = first_of(s, index), end = r + count_of(s, index); r < end; r++) {
        float lse;
        s->k->log_sum_exp(&lse, in(v, 0) + r * v->n, 1, v->n, 1);
        if (out(v, 0) != NULL) {
            out(v, 0)[r] = labels[r] >= 0 && labels[r] < v->n ? lse - in(v, 0)[r * v->n + labels[r]] : NAN;
        }
        if (out(v, 1) != NULL) {
            out(v, 1)[r] = lse;
        }
    }
}

static void cross_entropy_grad_task(void *context, int64_t index, uint32_t worker)
{
    const share *s = context;
    const operation *v = s->v;
    const int64_t r = first_of(s, index), at = r * v->n;
    (void)worker;
    s->k->softmax_grad(out(v, 0) + at, in(v, 0) + r, in(v, 1) + at, in(v, 3) + r, (const int32_t *)v->in[2].data + r, NULL, NULL, count_of(s, index), v->n, 1,
                       v->op->attrs.accumulate);
}

static void soft_cross_entropy_task(void *context, int64_t index, uint32_t worker)
{
    const share *s = context;
    const operation *v = s->v;
    const float inverse_tau = (float)(1 / v->op->attrs.alpha);
    (void)worker;
    for (int64_t r = first_of(s, index), end = r + count_of(s, index); r < end; r++) {
        const float *x = in(v, 0) + r * v->n, *target = in(v, 1) + r * v->n;
        float lse, target_lse;
        s->k->log_sum_exp(&lse, x, 1, v->n, inverse_tau);
        s->k->log_sum_exp(&target_lse, target, 1, v->n, inverse_tau);
        if (out(v, 0) != NULL) {
            s->k->divergence(out(v, 0) + r, x, &lse, target, &target_lse, 1, v->n, inverse_tau);
        }
        if (out(v, 1) != NULL) {
            out(v, 1)[r] = lse;
        }
        if (out(v, 2) != NULL) {
            out(v, 2)[r] = target_lse;
        }
    }
}

static void soft_cross_entropy_grad_task(void *context, int64_t index, uint32_t worker)
{
    const share *s = context;
    const operation *v = s->v;
    const int64_t r = first_of(s, index), at = r * v->n;
    (void)worker;
    s->k->softmax_grad(out(v, 0) + at, in(v, 0) + r, in(v, 1) + at, in(v, 3) + r, NULL, in(v, 2) + at, in(v, 4) + r, count_of(s, index), v->n,
                       (float)(1 / v->op->attrs.alpha), v->op->attrs.accumulate);
}

/* ---- element-wise and sums ---- */

/* AdamW of elements [i, i + n). */
static void update(const share *s, int64_t i, int64_t n, int has_moments, int has_gradient)
{
    const operation *v = s->v;
    const float *g = has_gradient ? in(v, 0) + i : NULL;
    if (v->out[1].type == PRN_BF16) {
        uint16_t *m = v->out[1].data, *squares = v->out[2].data;
        s->k->adamw_bf16(out(v, 0) + i, has_moments ? m + i : NULL, has_moments ? squares + i : NULL, g, n, (uint32_t)(v->out[1].first + i), s->more);
    } else {
        s->k->adamw(out(v, 0) + i, has_moments ? out(v, 1) + i : NULL, has_moments ? out(v, 2) + i : NULL, g, n, s->more);
    }
}

static void element_task(void *context, int64_t index, uint32_t worker)
{
    const share *s = context;
    const operation *v = s->v;
    const prn_op_attrs *at = &v->op->attrs;
    const int64_t i = first_of(s, index), n = count_of(s, index);
    const float *a = in(v, 0) != NULL ? in(v, 0) + i : NULL, *b = in(v, 1) != NULL ? in(v, 1) + i : NULL;
    float *y = out(v, 0) + i;
    (void)worker;
    switch (v->op->kind) {
    case PRN_OP_ACTIVATION: s->k->activation(y, a, n, at->activation); break;
    case PRN_OP_ACTIVATION_GRAD: s->k->activation_grad(y, a, b, n, at->activation, at->accumulate); break;
    case PRN_OP_AXPBY: s->k->axpby(y, a, b, (float)at->alpha, (float)at->beta, n); break;
    case PRN_OP_MULTIPLY:
        if (v->in[1].rank == 0) {
            s->k->axpby(y, a, NULL, s->scale, 0, n);
        } else {
            s->k->multiply(y, a, b, n);
        }
        break;
    case PRN_OP_EXP: s->k->exponential(y, a, n); break;
    case PRN_OP_CLAMP: s->k->clamp(y, a, (float)at->alpha, (float)at->beta, n); break;
    case PRN_OP_FILL: s->k->fill(y, (float)at->alpha, n, 0); break;
    case PRN_OP_BROADCAST: s->k->fill(y, s->scale, n, at->accumulate); break;
    case PRN_OP_ADAMW: update(s, i, n, 1, 1); break;
    default: break;
    }
}

/* ACTIVATION and its gradient with precision bf16; each side may be kept in it. */
static void half_activation_task(void *context, int64_t index, uint32_t worker)
{
    const share *s = context;
    const operation *v = s->v;
    const prn_op *op = v->op;
    const int x_is_half = is_half(s->executable, op->input[0]), y_is_half = is_half(s->executable, op->output[0]);
    const int pre_is_half = is_half(s->executable, op->input[1]);
    const int64_t i = first_of(s, index), n = count_of(s, index);
    (void)worker;
    if (op->kind == PRN_OP_ACTIVATION_GRAD) {
        s->instance->half->activation_grad(out(v, 0) + i, in(v, 0) + i, element_at(in(v, 1), i, pre_is_half), pre_is_half, n, op->attrs.activation,
                                           op->attrs.accumulate);
        return;
    }
    s->instance->half->activation(element_at(out(v, 0), i, y_is_half), y_is_half, element_at(in(v, 0), i, x_is_half), x_is_half, n, op->attrs.activation);
}

/* How many of `count` flags are as the first one. */
static int64_t run_of(const uint8_t *flags, int64_t count)
{
    uint64_t same, eight;
    int64_t n = 1;
    for (memset(&same, *flags, sizeof same); n + 8 <= count; n += 8) { /* mostly there are long runs */
        memcpy(&eight, flags + n, sizeof eight);
        if (eight != same) {
            break;
        }
    }
    while (n < count && flags[n] == *flags) {
        n++;
    }
    return n;
}

/* Elements [i, i + n) of a matrix, whose rows all have these flags: what is known to be zero is not touched. */
static void flagged(const share *s, int flags, int64_t i, int64_t n)
{
    const operation *v = s->v;
    const int has_gradient = flags & PRN_ROW_GRADIENT, has_moments = has_gradient || flags & PRN_ROW_MOMENTS;
    if (v->op->kind == PRN_OP_FILL && has_gradient) {
        s->k->fill(out(v, 0) + i, (float)v->op->attrs.alpha, n, 0);
    } else if (v->op->kind == PRN_OP_ADAMW && !(flags & PRN_ROW_LATER)) {
        update(s, i, n, has_moments, has_gradient);
    } else if (v->op->kind == PRN_OP_DECAY_ROWS && flags & PRN_ROW_DUE) {
        s->k->decay(out(v, 0) + i, n, in(v, 0), v->in[0].elements, v->op->attrs.decay);
    }
}

/* The input with a flag for each row of the matrix that is written; -1: that operation has none. */
static int flags_input(uint32_t kind)
{
    return kind == PRN_OP_FILL ? 0 : kind == PRN_OP_DECAY_ROWS ? 1 : kind == PRN_OP_ADAMW ? 2 : -1;
}

static void flagged_task(void *context, int64_t index, uint32_t worker)
{
    const share *s = context;
    const operation *v = s->v;
    const uint8_t *rows = v->in[flags_input(v->op->kind)].data;
    const int64_t columns = v->out[0].columns, end = first_of(s, index) + count_of(s, index), last = (end - 1) / columns;
    (void)worker;
    for (int64_t i = first_of(s, index), n; i < end; i += n) {
        const int64_t row = i / columns;
        n = least((row + run_of(rows + row, last - row + 1)) * columns, end) - i;
        flagged(s, rows[row], i, n);
    }
}

static void element_wise(share *s)
{
    const operation *v = s->v;
    const prn_op_attrs *at = &v->op->attrs;
    adamw_job adam;
    if (v->op->kind == PRN_OP_MULTIPLY && v->in[1].rank == 0) {
        s->scale = in(v, 1)[0];
    } else if (v->op->kind == PRN_OP_BROADCAST) {
        s->scale = (float)(at->alpha * (double)in(v, 0)[0]);
    } else if (v->op->kind == PRN_OP_ADAMW) {
        const float *hyper = in(v, 1);
        adam = (adamw_job){.lr = hyper[0], .correction1 = hyper[1], .correction2 = hyper[2], .gradient_scale = hyper[3], .beta1 = (float)at->alpha,
                           .rest1 = (float)(1 - at->alpha), .beta2 = (float)at->beta, .rest2 = (float)(1 - at->beta), .epsilon = (float)at->epsilon,
                           .shrink = (float)((double)hyper[0] * at->decay), .key = v->out[1].type == PRN_BF16 ? bf16_mix((uint32_t)hyper[4]) : 0};
        s->more = &adam;
    }
    const int at_flags = flags_input(v->op->kind), is_flagged = at_flags >= 0 && v->in[at_flags].data != NULL;
    const int is_near = s->instance->half != NULL && (v->op->kind == PRN_OP_ACTIVATION || v->op->kind == PRN_OP_ACTIVATION_GRAD);
    spread_elements(s, v->m, is_flagged ? flagged_task : is_near ? half_activation_task : element_task);
}

typedef struct sum_job {
    const float *a, *b;
    const uint8_t *rows; /* of `a`, that may be other than zero; NULL: all may */
    int64_t columns;
} sum_job;

static void sum_task(void *context, int64_t index, uint32_t worker)
{
    const share *s = context;
    const sum_job *job = s->more;
    const int64_t i = first_of(s, index), n = count_of(s, index);
    (void)worker;
    if (job->rows != NULL) {
        s->lane->partials[index] = s->k->dot_rows(job->a, job->b, job->rows, i, n, job->columns);
    } else {
        s->lane->partials[index] = job->b != NULL ? s->k->dot(job->a + i, job->b + i, n) : s->k->sum(job->a + i, n);
    }
}

/* In fp64, over pieces of fixed length, added in their order. */
static double sum_all(share *s, const sum_job *job, int64_t n)
{
    double total = 0;
    s->more = job;
    s->total = n;
    s->step = SUM_ELEMENTS;
    spread(s, sum_task);
    for (int64_t i = 0; i < pieces_of(n, SUM_ELEMENTS); i++) {
        total += s->lane->partials[i];
    }
    return total;
}

double whole_sum(share *s, const float *a, const float *b, int64_t n)
{
    return sum_all(s, &(sum_job){.a = a, .b = b}, n);
}

static void dot(share *s)
{
    const operation *v = s->v;
    sum_job job = {.a = in(v, 0), .b = in(v, 1), .rows = v->in[2].data, .columns = v->in[0].columns};
    if (job.columns % s->k->width != 0) { /* rows begin in the midst of a vector: leaving some out would change the order of the sum */
        job.rows = NULL;
    }
    out(v, 0)[0] = (float)sum_all(s, &job, v->m);
}

void elements_run(share *s)
{
    const operation *v = s->v;
    switch (v->op->kind) {
    case PRN_OP_CROSS_ENTROPY: spread_rows(s, v->m, v->n, cross_entropy_task); break;
    case PRN_OP_CROSS_ENTROPY_GRAD: spread_rows(s, v->m, v->n, cross_entropy_grad_task); break;
    case PRN_OP_SOFT_CROSS_ENTROPY: spread_rows(s, v->m, v->n, soft_cross_entropy_task); break;
    case PRN_OP_SOFT_CROSS_ENTROPY_GRAD: spread_rows(s, v->m, v->n, soft_cross_entropy_grad_task); break;
    case PRN_OP_SUM: out(v, 0)[0] = (float)whole_sum(s, in(v, 0), NULL, v->m); break;
    case PRN_OP_DOT: dot(s); break;
    default: element_wise(s); break;
    }
}
