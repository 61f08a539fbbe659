/* plugins/backends/cpu/share.h: how the work of one operation is cut, for the files that say it (rows.c, norms.c, attention.c, products.c, elements.c).
 *
 * One driver a kind: it says how the work is cut, the kernels do it. All of it is internal to the backend.
 */
#ifndef PRN_CPU_SHARE_H
#define PRN_CPU_SHARE_H

#include "operations.h"

enum {
    TASK_ELEMENTS = 1 << 15,  /* element-wise work of one task, some 20 microseconds */
    SUM_ELEMENTS = 1 << 15,   /* one partial sum; a part of what results mean, as is SUM_PIECES */
    SUM_PIECES = 64,          /* pieces of layer norm's column sums */
    COLUMN_STEP = 64,         /* columns of one task where rows must be taken in order */
};

static inline const float *in(const operation *v, int i)
{
    return v->in[i].data;
}

static inline float *out(const operation *v, int i)
{
    return v->out[i].data;
}

static inline int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* What a task sees: the operation, and `step` rows, columns or elements of `total` for each index. */
typedef struct share {
    prn_backend_instance *instance;
    const prn_executable *executable;
    const lane *lane;
    const operation *v;
    const kernels *k;
    int64_t total, step;
    float scale;
    const void *more;
} share;

static inline int64_t first_of(const share *s, int64_t index)
{
    return index * s->step;
}

static inline int64_t count_of(const share *s, int64_t index)
{
    return least(s->step, s->total - index * s->step);
}

static inline int64_t pieces_of(int64_t total, int64_t step)
{
    return (total + step - 1) / step;
}

static inline void spread(const share *s, prn_task task)
{
    if (s->total > 0) {
        lane_run(s->instance, s->lane, pieces_of(s->total, s->step), task, (void *)(uintptr_t)s);
    }
}

/* Over rows of n elements. */
static inline void spread_rows(share *s, int64_t rows, int64_t n, prn_task task)
{
    s->total = rows;
    s->step = most(1, TASK_ELEMENTS / most(1, n));
    spread(s, task);
}

static inline void spread_elements(share *s, int64_t n, prn_task task)
{
    s->total = n;
    s->step = TASK_ELEMENTS;
    spread(s, task);
}

static inline void spread_columns(share *s, int64_t columns, int64_t rows, prn_task task)
{
    s->total = columns;
    s->step = most(COLUMN_STEP, TASK_ELEMENTS / most(1, rows) / COLUMN_STEP * COLUMN_STEP);
    spread(s, task);
}

static inline int is_half(const prn_executable *executable, int32_t tensor)
{
    return tensor != PRN_NO_TENSOR && executable->is_half[tensor];
}

static inline void add_to(const kernels *k, float *target, const float *source, int64_t n, int accumulate)
{
    if (accumulate) {
        k->axpby(target, target, source, 1, 1, n);
    } else {
        memcpy(target, source, (size_t)n * sizeof *target);
    }
}

/* Sum of a, or of a times b where that is not NULL, in fp64. elements.c */
double whole_sum(share *s, const float *a, const float *b, int64_t n);

/* Each runs the operations of its file. */
void rows_run(share *s);
void norms_run(share *s);
void attention_run(share *s);
void products_run(share *s);
void elements_run(share *s);

#endif
