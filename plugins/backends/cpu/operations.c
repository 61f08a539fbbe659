/* plugins/backends/cpu/operations.c: see operations.h. One driver a kind: it says how the work is cut, kernels.inc does it. */
#include "operations.h"

#include <limits.h>
#include <math.h>

enum {
    TASK_ELEMENTS = 1 << 15,  /* element-wise work of one task, some 20 microseconds */
    SUM_ELEMENTS = 1 << 15,   /* one partial sum; a part of what results mean, as is SUM_PIECES */
    SUM_PIECES = 64,          /* pieces of layer norm's column sums */
    COLUMN_STEP = 64,         /* columns of one task where rows must be taken in order */
    ATTENTION_WORK = 3 << 19, /* multiply-accumulates of one task of small matrix products */
};

static const float *in(const operation *v, int i)
{
    return v->in[i].data;
}

static float *out(const operation *v, int i)
{
    return v->out[i].data;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
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

static int64_t first_of(const share *s, int64_t index)
{
    return index * s->step;
}

static int64_t count_of(const share *s, int64_t index)
{
    return least(s->step, s->total - index * s->step);
}

static int64_t pieces_of(int64_t total, int64_t step)
{
    return (total + step - 1) / step;
}

static void spread(const share *s, prn_task task)
{
    if (s->total > 0) {
        lane_run(s->instance, s->lane, pieces_of(s->total, s->step), task, (void *)(uintptr_t)s);
    }
}

/* Over rows of n elements. */
static void spread_rows(share *s, int64_t rows, int64_t n, prn_task task)
{
    s->total = rows;
    s->step = most(1, TASK_ELEMENTS / most(1, n));
    spread(s, task);
}

static void spread_elements(share *s, int64_t n, prn_task task)
{
    s->total = n;
    s->step = TASK_ELEMENTS;
    spread(s, task);
}

static void spread_columns(share *s, int64_t columns, int64_t rows, prn_task task)
{
    s->total = columns;
    s->step = most(COLUMN_STEP, TASK_ELEMENTS / most(1, rows) / COLUMN_STEP * COLUMN_STEP);
    spread(s, task);
}

static int is_half(const prn_executable *executable, int32_t tensor)
{
    return tensor != PRN_NO_TENSOR && executable->is_half[tensor];
}

static int64_t row_or_zero(int32_t id, int64_t rows)
{
    return id >= 0 && id < rows ? id : 0;
}

static void add_to(const kernels *k, float *target, const float *source, int64_t n, int accumulate)
{
    if (accumulate) {
        k->axpby(target, target, source, 1, 1, n);
    } else {
        memcpy(target, source, (size_t)n * sizeof *target);
    }
}

/* ---- images and rows ---- */

static void patches_task(void *context, int64_t index, uint32_t worker)
{
    const share *s = context;
    const operation *v = s->v;
    const uint8_t *images = v->in[0].data;
    const int64_t p = v->op->attrs.patch, side = v->k, across = side / p;
    (void)worker;
    for (int64_t row = first_of(s, index), end = row + count_of(s, index); row < end; row++) {
        const int64_t item = row / v->per_item, patch = row % v->per_item;
        const uint8_t *corner = images + ((item * side + patch / across * p) * side + patch % across * p) * 3;
        float *y = out(v, 0) + row * v->n;
        for (int64_t c = 0; c < 3; c++) {
            const float *values = s->lane->pixels + 256 * c;
            for (int64_t i = 0; i < p; i++) {
                const uint8_t *line = corner + i * side * 3 + c;
                for (int64_t j = 0; j < p; j++) {
                    *y++ = values[line[3 * j]];
                }
            }
        }
    }
}

static void patches(share *s)
{
    const prn_op_attrs *a = &s->v->op->attrs;
    for (int c = 0; c < 3; c++) {
        for (int i = 0; i < 256; i++) {
            s->lane->pixels[256 * c + i] = (float)(((double)i / 255 - (double)a->mean[c]) / (double)a->std[c]);
        }
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

/* ---- norms ---- */

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

/* ---- attention: a task is a range of (row group, head) pairs ---- */

static void attention_task(void *context, int64_t index, uint32_t worker)
{
    const share *s = context;
    const operation *v = s->v;
    const int is_grad = v->op->kind == PRN_OP_ATTENTION_GRAD;
    const int32_t *offsets = v->in[is_grad ? 4 : 1].data;
    const half_kernels *half = s->instance->half;
    void (*const kernel)(const attention_job *job) = is_grad ? (half != NULL ? half->attention_grad : s->k->attention_grad)
                                                             : (half != NULL ? half->attention : s->k->attention);
    attention_job job = {
        .qkv = in(v, is_grad ? 1 : 0),
        .qkv_is_half = is_half(s->executable, v->op->input[is_grad ? 1 : 0]),
        .y_is_half = is_half(s->executable, is_grad ? v->op->input[2] : v->op->output[0]),
        .scratch = worker_room(s->executable, worker),
        .c = v->n,
        .heads = v->heads,
        .width = v->head_width,
        .scale = (float)(1 / sqrt((double)v->head_width)),
        .causal = v->op->attrs.causal,
        .accumulate = v->op->attrs.accumulate,
    };
    if (is_grad) {
        job.dy = in(v, 0);
        job.y_in = in(v, 2);
        job.lse_in = in(v, 3);
        job.dqkv = out(v, 0);
        job.dy_is_half = is_half(s->executable, v->op->input[0]);
        job.dqkv_is_half = is_half(s->executable, v->op->output[0]);
    } else {
        job.y = out(v, 0);
        job.lse = out(v, 1);
    }
    for (int64_t pair = first_of(s, index), end = pair + count_of(s, index); pair < end; pair++) {
        const int64_t item = pair / v->heads;
        job.head = pair % v->heads;
        job.first = v->per_item > 0 ? item * v->per_item : offsets[item];
        job.rows = v->per_item > 0 ? v->per_item : offsets[item + 1] - job.first;
        if (job.rows > 0) {
            kernel(&job);
        }
    }
}

static void attention(share *s)
{
    const operation *v = s->v;
    const int is_grad = v->op->kind == PRN_OP_ATTENTION_GRAD;
    const int32_t *offsets = v->in[is_grad ? 4 : 1].data;
    double work = 0; /* pairs of a query and a key */
    if (v->per_item > 0) {
        work = (double)v->items * (double)v->per_item * (double)v->per_item;
    }
    for (int64_t i = 0; i < v->items && v->per_item == 0; i++) {
        const double rows = (double)offsets[i + 1] - (double)offsets[i];
        work += rows * rows;
    }
    /* two products of width D forward, five backward; `+ 32`: the exponentials and the copies */
    work *= (double)v->heads * ((double)v->head_width + 32) * (is_grad ? 5 : 2);
    s->total = v->items * v->heads;
    if (s->total > 0 && v->head_width > 0) {
        const double each = work / (double)s->total;
        s->step = each * (double)s->total <= (double)ATTENTION_WORK ? s->total : most(1, (int64_t)((double)ATTENTION_WORK / (each + 1)));
        spread(s, attention_task);
    }
}

static void read_attention_task(void *context, int64_t index, uint32_t worker)
{
    const share *s = context;
    const operation *v = s->v;
    const int is_grad = v->op->kind == PRN_OP_READ_ATTENTION_GRAD;
    (void)worker;
    for (int64_t pair = first_of(s, index), last = pair + count_of(s, index); pair < last; pair++) {
        const int64_t item = pair / v->heads, at = pair % v->heads * v->head_width, query = item * v->n + at;
        const int has_query = item < v->k;
        int64_t first, end, seen;
        read_group(v, item, &first, &end, &seen);
        const int64_t row = end > first ? first * 2 * v->n + at : 0;
        const read_attention_job job = {
            .q = in(v, is_grad) + (has_query ? query : 0),
            .dy = is_grad ? in(v, 0) + (has_query ? query : 0) : NULL,
            .y = is_grad ? NULL : out(v, 0) + query,
            .dq = is_grad && has_query && out(v, 0) != NULL ? out(v, 0) + query : NULL,
            .kv = in(v, 1 + is_grad) + row,
            .dkv = is_grad && out(v, 1) != NULL ? out(v, 1) + row : NULL,
            .rows = end - first,
            .seen = seen - first,
            .c = v->n,
            .width = v->head_width,
            .scale = (float)(1 / sqrt((double)v->head_width)),
            .accumulate = v->op->attrs.accumulate,
        };
        (is_grad ? s->k->read_attention_grad : s->k->read_attention)(&job);
    }
}

/* Backward also takes groups without a query: their rows receive zero. */
static void read_attention(share *s)
{
    const operation *v = s->v;
    const int is_grad = v->op->kind == PRN_OP_READ_ATTENTION_GRAD;
    s->total = (is_grad ? most(v->k, v->items) : v->k) * v->heads;
    if (s->total > 0 && v->head_width > 0) {
        const double work = (double)v->m * (double)v->n * (is_grad ? 6 : 2), each = work / (double)s->total;
        s->step = work <= (double)ATTENTION_WORK ? s->total : most(1, (int64_t)((double)ATTENTION_WORK / (each + 1)));
        spread(s, read_attention_task);
    }
}

/* ---- matrix products ---- */

matmul operation_product(const prn_backend_instance *instance, const prn_executable *executable, const operation *v)
{
    const prn_op_attrs *at = &v->op->attrs;
    matmul job = {.is_half = instance->half != NULL, .a_is_half = is_half(executable, v->op->input[0]), .a = in(v, 0), .b = in(v, 1), .m = v->m, .alpha = 1};
    if (v->op->kind == PRN_OP_LINEAR_GRAD_X) {
        job.n = v->k;
        job.k = v->n;
        job.transpose_b = at->transpose_w;
        job.beta = at->accumulate ? 1.0f : 0.0f;
        job.y = out(v, 0);
        job.y_is_half = is_half(executable, v->op->output[0]);
        job.c = job.y_is_half ? NULL : job.y;
        job.slope_of = in(v, 2);
        job.slope_is_half = is_half(executable, v->op->input[2]);
        job.activation = at->activation;
        job.has_epilogue = job.y_is_half || job.slope_of != NULL;
        job.rounds = instance->half != NULL && job.has_epilogue;
    } else {
        job.n = v->n;
        job.k = v->k;
        job.transpose_b = !at->transpose_w;
        job.y = out(v, 0);
        job.pre = out(v, 1);
        job.y_is_half = is_half(executable, v->op->output[0]);
        job.pre_is_half = is_half(executable, v->op->output[1]);
        job.rounds = instance->half != NULL && (job.y_is_half || linear_is_rounded(v->op));
        job.c = job.pre != NULL && !job.pre_is_half ? out(v, 1) : job.pre != NULL || job.y_is_half ? NULL : out(v, 0);
        job.bias = in(v, 2);
        job.residual = in(v, 3);
        job.activation = at->activation;
        job.has_epilogue = job.rounds || job.pre != NULL || job.bias != NULL || job.residual != NULL || at->activation != PRN_ACT_NONE;
    }
    job.lda = most(1, job.k);
    job.ldb = most(1, job.transpose_b ? job.k : job.n);
    return job;
}

static void linear(share *s)
{
    matmul job = operation_product(s->instance, s->executable, s->v);
    if (s->lane->worker >= 0) {
        job.packed = s->executable->weights_of[s->v->op - s->executable->program->ops];
    }
    matmul_run(s->instance, s->executable, s->lane, &job);
}

static void linear_grad_w(share *s)
{
    const operation *v = s->v;
    const int transposed = v->op->attrs.transpose_w;
    matmul job = {
        .is_half = s->instance->half != NULL, .a_is_half = is_half(s->executable, v->op->input[transposed]),
        .b_is_half = is_half(s->executable, v->op->input[!transposed]),
        .a = in(v, transposed ? 1 : 0), .lda = most(1, transposed ? v->k : v->n), .transpose_a = 1, .b = in(v, transposed ? 0 : 1),
        .ldb = most(1, transposed ? v->n : v->k), .m = transposed ? v->k : v->n, .n = transposed ? v->n : v->k, .k = v->m, .alpha = 1,
        .beta = v->op->attrs.accumulate ? 1.0f : 0.0f, .c = out(v, 0), .sums = out(v, 1), .sums_b = transposed,
        .sums_accumulate = v->op->attrs.accumulate,
    };
    matmul_run(s->instance, s->executable, s->lane, &job);
}

static float scale_of(const operand *log_scale)
{
    return log_scale->data != NULL ? (float)exp((double)*(const float *)log_scale->data) : 1.0f;
}

static double whole_sum(share *s, const float *a, const float *b, int64_t n);

static void similarity(share *s)
{
    const operation *v = s->v;
    matmul job = {
        .a = in(v, 0), .lda = most(1, v->k), .b = in(v, 1), .ldb = most(1, v->k), .transpose_b = 1, .m = v->m, .n = v->n, .k = v->k,
        .alpha = scale_of(&v->in[2]), .c = out(v, 0),
    };
    matmul_run(s->instance, s->executable, s->lane, &job);
}

static void similarity_grad(share *s)
{
    const operation *v = s->v;
    const float scale = scale_of(&v->in[4]);
    matmul by_a = {
        .a = in(v, 0), .lda = most(1, v->n), .b = in(v, 2), .ldb = most(1, v->k), .m = v->m, .n = v->k, .k = v->n, .alpha = scale,
        .beta = v->op->attrs.accumulate ? 1.0f : 0.0f, .c = out(v, 0),
    };
    matmul by_b = {
        .a = in(v, 0), .lda = most(1, v->n), .transpose_a = 1, .b = in(v, 1), .ldb = most(1, v->k), .m = v->n, .n = v->k, .k = v->m, .alpha = scale,
        .beta = 1, .c = out(v, 1),
    };
    matmul_run(s->instance, s->executable, s->lane, &by_a);
    matmul_run(s->instance, s->executable, s->lane, &by_b);
    if (out(v, 2) != NULL) {
        *out(v, 2) += (float)whole_sum(s, in(v, 0), in(v, 3), v->m * v->n);
    }
}

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
    case PRN_OP_ADAMW: s->k->adamw(y, out(v, 1) + i, out(v, 2) + i, a, n, s->more); break;
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

/* Elements [i, end) of a matrix: how many of them lie in rows with the flags of the first one's. */
static int64_t run_of(const uint8_t *rows, int64_t columns, int64_t i, int64_t end)
{
    const uint8_t *flags = rows + i / columns;
    const int64_t first = *flags;
    int64_t stop = (i / columns + 1) * columns;
    while (stop < end && *++flags == first) {
        stop += columns;
    }
    return least(stop, end) - i;
}

/* FILL and ADAMW of a matrix whose rows have flags: what is known to be zero is not touched. */
static void flagged_task(void *context, int64_t index, uint32_t worker)
{
    const share *s = context;
    const operation *v = s->v;
    const int is_update = v->op->kind == PRN_OP_ADAMW;
    const uint8_t *rows = v->in[is_update ? 2 : 0].data;
    const int64_t columns = v->out[0].columns, end = first_of(s, index) + count_of(s, index);
    (void)worker;
    for (int64_t i = first_of(s, index), n; i < end; i += n) {
        const int flags = rows[i / columns], has_gradient = flags & PRN_ROW_GRADIENT, has_moments = has_gradient || flags & PRN_ROW_MOMENTS;
        n = run_of(rows, columns, i, end);
        if (is_update) {
            s->k->adamw(out(v, 0) + i, has_moments ? out(v, 1) + i : NULL, has_moments ? out(v, 2) + i : NULL, has_gradient ? in(v, 0) + i : NULL, n,
                        s->more);
        } else if (has_gradient) {
            s->k->fill(out(v, 0) + i, (float)v->op->attrs.alpha, n, 0);
        }
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
                           .shrink = (float)((double)hyper[0] * at->decay)};
        s->more = &adam;
    }
    const int is_flagged = (v->op->kind == PRN_OP_ADAMW && v->in[2].data != NULL) || (v->op->kind == PRN_OP_FILL && v->in[0].data != NULL);
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

static double whole_sum(share *s, const float *a, const float *b, int64_t n)
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

/* ---- planning, and the one switch ---- */

/* Of the right side of a product in bf16. */
static int64_t packed_floats(const operation *v)
{
    const int transposed = v->op->attrs.transpose_w;
    switch (v->op->kind) {
    case PRN_OP_LINEAR: return half_packed_floats(v->n, v->k);
    case PRN_OP_LINEAR_GRAD_X: return half_packed_floats(v->k, v->n);
    case PRN_OP_LINEAR_GRAD_W: return half_packed_floats(transposed ? v->n : v->k, v->m);
    default: return 0;
    }
}

void operation_scratch(const prn_backend_instance *instance, const operation *v, scratch_need *need)
{
    if (instance->half != NULL) {
        need->packed = most(need->packed, packed_floats(v));
    }
    switch (v->op->kind) {
    case PRN_OP_ATTENTION:
    case PRN_OP_ATTENTION_GRAD:
        need->worker_floats = most(need->worker_floats, attention_scratch_floats(v->per_item > 0 ? v->per_item : v->m, v->head_width));
        break;
    case PRN_OP_LINEAR_GRAD_W:
        need->sums = most(need->sums, most(matmul_sums_floats(v->n, v->k, v->m), matmul_sums_floats(v->k, v->n, v->m)));
        need->worker_floats = most(need->worker_floats, PRODUCT_SCRATCH);
        break;
    case PRN_OP_LINEAR:
    case PRN_OP_LINEAR_GRAD_X:
    case PRN_OP_SIMILARITY:
        need->worker_floats = most(need->worker_floats, PRODUCT_SCRATCH);
        break;
    case PRN_OP_LAYER_NORM_GRAD:
        need->sums = most(need->sums, 2 * v->n * least(SUM_PIECES, most(1, v->m)));
        break;
    case PRN_OP_SUM:
    case PRN_OP_DOT:
        need->partials = most(need->partials, pieces_of(v->m, SUM_ELEMENTS));
        break;
    case PRN_OP_SIMILARITY_GRAD:
        need->partials = most(need->partials, pieces_of(v->m * v->n, SUM_ELEMENTS));
        need->sums = most(need->sums, matmul_sums_floats(v->n, v->k, v->m));
        need->worker_floats = most(need->worker_floats, PRODUCT_SCRATCH);
        break;
    default: break;
    }
}

prn_status operation_prepare(operation *v, prn_error *error)
{
    const int offsets = offsets_input(v->op->kind);
    if (v->m > INT_MAX || v->n > INT_MAX || v->k > INT_MAX) {
        switch (v->op->kind) {
        case PRN_OP_LINEAR:
        case PRN_OP_LINEAR_GRAD_X:
        case PRN_OP_LINEAR_GRAD_W:
        case PRN_OP_SIMILARITY:
        case PRN_OP_SIMILARITY_GRAD:
            return prn_error_set(error, PRN_UNSUPPORTED, "%s: a matrix side above %d is more than the matrix library takes; use smaller batches",
                                 operation_name(v->op->kind), INT_MAX);
        default: break;
        }
    }
    if (offsets >= 0 && v->per_item == 0) {
        return ragged_items(v->in[offsets].data, v->in[offsets].elements, v->m, &v->items, error);
    }
    return PRN_OK;
}

void operation_run(prn_backend_instance *instance, const prn_executable *executable, const lane *l, const operation *v)
{
    share s = {.instance = instance, .executable = executable, .lane = l, .v = v, .k = instance->k};
    switch (v->op->kind) {
    case PRN_OP_PATCHES: patches(&s); break;
    case PRN_OP_LINEAR: linear(&s); break;
    case PRN_OP_LAYER_NORM: spread_rows(&s, v->m, v->n, layer_norm_task); break;
    case PRN_OP_ATTENTION: attention(&s); break;
    case PRN_OP_LOOKUP: spread_rows(&s, v->m, v->n, lookup_task); break;
    case PRN_OP_CLASS_ROWS: spread_rows(&s, v->items * (v->per_item + 1), v->n, class_rows_task); break;
    case PRN_OP_GATHER_ROWS: spread_rows(&s, v->m, v->n, gather_rows_task); break;
    case PRN_OP_L2_NORMALISE: spread_rows(&s, v->m, v->n, l2_normalise_task); break;
    case PRN_OP_SIMILARITY: similarity(&s); break;
    case PRN_OP_CROSS_ENTROPY: spread_rows(&s, v->m, v->n, cross_entropy_task); break;
    case PRN_OP_SOFT_CROSS_ENTROPY: spread_rows(&s, v->m, v->n, soft_cross_entropy_task); break;
    case PRN_OP_READ_ATTENTION: read_attention(&s); break;
    case PRN_OP_SUM: out(v, 0)[0] = (float)whole_sum(&s, in(v, 0), NULL, v->m); break;
    case PRN_OP_DOT: dot(&s); break;
    case PRN_OP_LINEAR_GRAD_X: linear(&s); break;
    case PRN_OP_LINEAR_GRAD_W: linear_grad_w(&s); break;
    case PRN_OP_LAYER_NORM_GRAD: layer_norm_grad(&s); break;
    case PRN_OP_ATTENTION_GRAD: attention(&s); break;
    case PRN_OP_LOOKUP_GRAD: spread_columns(&s, v->n, v->m, lookup_grad_task); break;
    case PRN_OP_CLASS_ROWS_GRAD: spread_rows(&s, v->per_item + 1, v->items * v->n, class_rows_grad_task); break;
    case PRN_OP_GATHER_ROWS_GRAD:
        if (!v->op->attrs.accumulate) {
            spread_elements(&s, v->out[0].elements, zero_task);
        }
        spread_columns(&s, v->n, v->m, gather_rows_grad_task);
        break;
    case PRN_OP_L2_NORMALISE_GRAD: spread_rows(&s, v->m, v->n, l2_normalise_grad_task); break;
    case PRN_OP_SIMILARITY_GRAD: similarity_grad(&s); break;
    case PRN_OP_CROSS_ENTROPY_GRAD: spread_rows(&s, v->m, v->n, cross_entropy_grad_task); break;
    case PRN_OP_SOFT_CROSS_ENTROPY_GRAD: spread_rows(&s, v->m, v->n, soft_cross_entropy_grad_task); break;
    case PRN_OP_READ_ATTENTION_GRAD: read_attention(&s); break;
    default: element_wise(&s); break;
    }
}
