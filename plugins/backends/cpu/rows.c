/* plugins/backends/cpu/rows.c: images cut to patches, rows looked up, gathered and put together, and their gradients. */
#include "share.h"

#include "../common/bf16.h"

static int64_t row_or_zero(int32_t id, int64_t rows)
{
    return id >= 0 && id < rows ? id : 0;
}

/* One patch of p rows of p pixels, (side) pixels apart, each of three colours: (3, p, p). `to_half` is a constant after inlining. */
static inline __attribute__((always_inline)) void patch_cut(void *y, const pixel_values *values, const uint8_t *corner, int64_t p, int64_t side,
                                                            const int to_half)
{
    for (int64_t i = 0; i < p; i++) {
        const uint8_t *line = corner + i * side * 3;
        for (int64_t j = 0; j < p; j++) {
            for (int64_t c = 0; c < 3; c++) {
                const int64_t at = (c * p + i) * p + j;
                const uint8_t byte = line[3 * j + c];
                if (to_half) {
                    ((uint16_t *)y)[at] = values->half[c][byte];
                } else {
                    ((float *)y)[at] = values->value[c][byte];
                }
            }
        }
    }
}

static void patches_task(void *context, int64_t index, uint32_t worker)
{
    const share *s = context;
    const operation *v = s->v;
    const uint8_t *images = v->in[0].data;
    const int64_t p = v->op->attrs.patch, side = v->k, across = side / p;
    const int to_half = is_half(s->executable, v->op->output[0]);
    (void)worker;
    for (int64_t row = first_of(s, index), end = row + count_of(s, index); row < end; row++) {
        const int64_t item = row / v->per_item, patch = row % v->per_item;
        const uint8_t *corner = images + ((item * side + patch / across * p) * side + patch % across * p) * 3;
        void *y = element_at(out(v, 0), row * v->n, to_half);
        if (to_half) {
            patch_cut(y, s->lane->pixels, corner, p, side, 1);
        } else {
            patch_cut(y, s->lane->pixels, corner, p, side, 0);
        }
    }
}

static void patches(share *s)
{
    const prn_op_attrs *a = &s->v->op->attrs;
    pixel_values *values = s->lane->pixels;
    if (!values->is_made || memcmp(values->mean, a->mean, sizeof values->mean) != 0 || memcmp(values->std, a->std, sizeof values->std) != 0) {
        for (int c = 0; c < 3; c++) {
            for (int i = 0; i < 256; i++) {
                values->value[c][i] = (float)(((double)i / 255 - (double)a->mean[c]) / (double)a->std[c]);
                values->half[c][i] = bf16_nearest(values->value[c][i]);
            }
        }
        memcpy(values->mean, a->mean, sizeof values->mean);
        memcpy(values->std, a->std, sizeof values->std);
        values->is_made = 1;
    }
    spread_rows(s, s->v->m, s->v->n, patches_task);
}

static void lookup_task(void *context, int64_t index, uint32_t worker)
{
    const share *s = context;
    const operation *v = s->v;
    const int32_t *ids = v->in[0].data;
    (void)worker;
    for (int64_t m = first_of(s, index), end = m + count_of(s, index); m < end; m++) {
        const float *row = in(v, 1) + row_or_zero(ids[m], v->k) * v->n;
        if (in(v, 2) != NULL) {
            s->k->axpby(out(v, 0) + m * v->n, row, in(v, 2) + m * v->n, 1, 1, v->n);
        } else {
            memcpy(out(v, 0) + m * v->n, row, (size_t)v->n * sizeof(float));
        }
    }
}

/* Columns of all rows, in the order of the rows: a row of the table may be named many times. */
static void lookup_grad_task(void *context, int64_t index, uint32_t worker)
{
    const share *s = context;
    const operation *v = s->v;
    const int32_t *ids = v->in[1].data;
    const int64_t c = first_of(s, index), n = count_of(s, index);
    (void)worker;
    for (int64_t m = 0; m < v->m; m++) {
        add_to(s->k, out(v, 0) + row_or_zero(ids[m], v->k) * v->n + c, in(v, 0) + m * v->n + c, n, 1);
    }
}

static void class_rows_task(void *context, int64_t index, uint32_t worker)
{
    const share *s = context;
    const operation *v = s->v;
    const int64_t t = v->per_item + 1;
    (void)worker;
    for (int64_t row = first_of(s, index), end = row + count_of(s, index); row < end; row++) {
        const int64_t item = row / t, at = row % t;
        const float *base = at == 0 ? in(v, 1) : in(v, 0) + (item * v->per_item + at - 1) * v->n;
        s->k->axpby(out(v, 0) + row * v->n, base, in(v, 2) + at * v->n, 1, 1, v->n);
    }
}

/* Positions; each takes its row of every item in order. */
static void class_rows_grad_task(void *context, int64_t index, uint32_t worker)
{
    const share *s = context;
    const operation *v = s->v;
    const int64_t t = v->per_item + 1, stride = t * v->n;
    (void)worker;
    for (int64_t at = first_of(s, index), end = at + count_of(s, index); at < end; at++) {
        const float *dy = in(v, 0) + at * v->n;
        if (out(v, 2) != NULL) {
            s->k->column_sums(out(v, 2) + at * v->n, dy, v->items, v->n, stride, 1);
        }
        if (at == 0 && out(v, 1) != NULL) {
            s->k->column_sums(out(v, 1), dy, v->items, v->n, stride, 1);
        }
        for (int64_t item = 0; item < v->items && at > 0 && out(v, 0) != NULL; item++) {
            add_to(s->k, out(v, 0) + (item * v->per_item + at - 1) * v->n, dy + item * stride, v->n, v->op->attrs.accumulate);
        }
    }
}

static int64_t gathered(const operation *v, int64_t b)
{
    const int32_t *rows = v->in[1].data;
    return rows != NULL ? row_or_zero(rows[b], v->k) : b * v->op->attrs.stride;
}

static void gather_rows_task(void *context, int64_t index, uint32_t worker)
{
    const share *s = context;
    const operation *v = s->v;
    (void)worker;
    for (int64_t b = first_of(s, index), end = b + count_of(s, index); b < end; b++) {
        memcpy(out(v, 0) + b * v->n, in(v, 0) + gathered(v, b) * v->n, (size_t)v->n * sizeof(float));
    }
}

static void zero_task(void *context, int64_t index, uint32_t worker)
{
    const share *s = context;
    (void)worker;
    memset(out(s->v, 0) + first_of(s, index), 0, (size_t)count_of(s, index) * sizeof(float));
}

static void gather_rows_grad_task(void *context, int64_t index, uint32_t worker)
{
    const share *s = context;
    const operation *v = s->v;
    const int64_t c = first_of(s, index), n = count_of(s, index);
    (void)worker;
    for (int64_t b = 0; b < v->m; b++) {
        add_to(s->k, out(v, 0) + gathered(v, b) * v->n + c, in(v, 0) + b * v->n + c, n, 1);
    }
}

void rows_run(share *s)
{
    const operation *v = s->v;
    switch (v->op->kind) {
    case PRN_OP_PATCHES: patches(s); break;
    case PRN_OP_LOOKUP: spread_rows(s, v->m, v->n, lookup_task); break;
    case PRN_OP_LOOKUP_GRAD: spread_columns(s, v->n, v->m, lookup_grad_task); break;
    case PRN_OP_CLASS_ROWS: spread_rows(s, v->items * (v->per_item + 1), v->n, class_rows_task); break;
    case PRN_OP_CLASS_ROWS_GRAD: spread_rows(s, v->per_item + 1, v->items * v->n, class_rows_grad_task); break;
    case PRN_OP_GATHER_ROWS: spread_rows(s, v->m, v->n, gather_rows_task); break;
    case PRN_OP_GATHER_ROWS_GRAD:
        if (!v->op->attrs.accumulate) {
            spread_elements(s, v->out[0].elements, zero_task);
        }
        spread_columns(s, v->n, v->m, gather_rows_grad_task);
        break;
    default: break;
    }
}
