/* plugins/backends/cpu/matmul.c: matrix products by a kernel of ours or by OpenBLAS, one call a task.
 *
 * The pieces' number and borders, and who computes them, depend on the product's shape and the instruction set alone, never on the number of
 * threads. OpenBLAS runs single-threaded inside each task: its own split depends on the number of threads, and would compete with ours. Each of its
 * calls packs its parts of both matrices, which costs 12 % at sixteen pieces of a layer of ViT-B. product.inc copies one side at most, and that once: with
 * AVX-512 it is the faster one at every size, with AVX2 where the smallest of the three matrices is small. Without either, and for scaled
 * products, OpenBLAS does all. Products of bf16 are ours (product_half.inc).
 * What follows a product element by element (bias, activation or its slope, residual) is done by the same task while its piece, or with ours its block,
 * is still in the cache; sums over the rows of a side that is packed to bf16 are taken where it is packed. A gradient by weights of a narrow layer is
 * cut along its rows: see the end.
 */
#include <cblas.h>

#include "operations.h"

/* A piece of fewer multiply-accumulates than this costs more in packing and hand-out than a second thread brings. */
static const int64_t PIECE_LEAST = 6 << 20;
/* Larger products are cut further, so that they balance on many cores. */
static const int64_t PIECE_MOST = 384 << 20;
enum { PIECES = 16, PIECE_ALIGN = 16, SUMS_ELEMENTS = 1 << 16 };
/* Pieces of ours end where blocks of registers do: rows by rows, columns by vectors. */
enum { OWN_ALIGN_ROWS = 24, OWN_ALIGN_VECTORS = 4 };
/* With vectors of 8, products whose smallest matrix has at most so many elements are ours (two sides of 256 and 1024: a layer of width 256). */
static const int64_t OWN_MOST = 1 << 18;
/* What packing an element of ours costs, in multiply-accumulates. */
static const double OWN_PACKING = 8;
/* Sides of so many elements do not stay in the third-level cache: rows are asked for ahead. */
static const int64_t FETCHED = 1 << 20;
/* Long sums: elements of a result that every piece has for itself; rows of a piece, at least; rows at a time, which stay in the second-level cache for
 * their column sums; elements of one task of adding up. */
static const int64_t LONG_RESULT = 1 << 16, LONG_LEAST = 300, LONG_ROWS = 256, LONG_SUMS = 1 << 13;

typedef struct grid {
    int64_t down, across; /* pieces along m and n */
    int64_t m_step, n_step;
} grid;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t step_of(int64_t n, int64_t pieces, int64_t align)
{
    const int64_t step = (n + pieces - 1) / pieces;
    return (step + align - 1) / align * align;
}

/* How much longer `pieces` equal ones take than an even share would, summed over 2, 4, 8 and 16 threads: the choice may not know how many there are. */
static double imbalance(int64_t pieces)
{
    double sum = 0;
    for (int64_t threads = 2; threads <= PIECES; threads *= 2) {
        sum += (double)((pieces + threads - 1) / threads * threads) / (double)pieces;
    }
    return sum;
}

int matmul_packs(const prn_backend_instance *instance, int64_t n, int64_t k)
{
    const int width = instance->k->width;
    return instance->half != NULL || width >= 16 || (width >= 8 && n * k <= OWN_MOST);
}

static int is_own(const matmul *j, const kernels *k)
{
    const int64_t most = j->m > j->n ? (j->m > j->k ? j->m : j->k) : (j->n > j->k ? j->n : j->k);
    const double all = (double)j->m * (double)j->n * (double)j->k;
    if (j->is_half || j->k == 0) {
        return j->k > 0;
    }
    return j->alpha == 1 && !(j->transpose_a && j->transpose_b) && (k->width >= 16 || (k->width >= 8 && all <= (double)OWN_MOST * (double)most));
}

static grid grid_of(const matmul *j, const kernels *table)
{
    const int own = is_own(j, table);
    const int64_t m = j->m, n = j->n, k = j->k, across_align = own ? OWN_ALIGN_VECTORS * table->width : PIECE_ALIGN;
    const int64_t down_align = own ? OWN_ALIGN_ROWS : PIECE_ALIGN;
    const double work = (double)m * (double)n * (double)(k > 0 ? k : 1);
    int64_t wanted = (int64_t)(work / (double)PIECE_LEAST);
    if (wanted > PIECES) {
        wanted = (int64_t)(work / (double)PIECE_MOST);
        wanted = wanted < PIECES ? PIECES : wanted;
    }
    grid best = {1, 1, m, n};
    double best_cost = -1;
    for (int64_t down = 1; down <= wanted; down++) {
        const int64_t across = (wanted + down - 1) / down;
        grid g = {0, 0, step_of(m, down, down_align), step_of(n, across, across_align)};
        g.down = (m + g.m_step - 1) / g.m_step;
        g.across = (n + g.n_step - 1) / g.n_step;
        /* what is read or packed again: a once for every piece across, b once for every piece down (not in bf16, where all of it has been packed
         * before); and a share for pieces that do not come out even */
        const double packed = j->is_half ? 1 + OWN_PACKING * (double)g.across / (double)n
                              : own && !j->transpose_a ? 1 + OWN_PACKING * (double)g.down / (double)m
                                                       : (double)g.across * (double)m + (double)g.down * (double)n;
        const double uneven = (double)(g.down * g.m_step) / (double)m * ((double)(g.across * g.n_step) / (double)n);
        const double cost = packed * uneven * imbalance(g.down * g.across);
        if (best_cost < 0 || cost < best_cost) {
            best_cost = cost;
            best = g;
        }
    }
    return best;
}

typedef struct matmul_context {
    const matmul *job;
    const kernels *k;
    const half_kernels *half;
    void (*product)(const product_job *job);
    const prn_executable *executable;
    const lane *lane;
    const float *packed; /* b; NULL: each piece packs its own */
    grid pieces;
    int own;
    int64_t products; /* tasks from here on are column sums */
    int64_t sums_step, sums_columns;
} matmul_context;

/* One piece: its own corner of the result. */
typedef struct piece {
    const matmul_context *x;
    int64_t m0, n0;
} piece;

static void finish(const void *context, float *c, int64_t ldc, int64_t row, int64_t column, int64_t rows, int64_t columns)
{
    const piece *p = context;
    const matmul *j = p->x->job;
    const int64_t n0 = p->n0 + column, at = (p->m0 + row) * j->n + n0;
    if (j->rounds) {
        const half_epilogue job = {.x = c, .ldx = ldc, .bias = j->bias != NULL ? j->bias + n0 : NULL, .rows = rows, .columns = columns, .ld = j->n,
                                   .y = element_at(j->y, at, j->y_is_half), .y_is_half = j->y_is_half, .pre_is_half = j->pre_is_half,
                                   .pre = j->pre != NULL ? element_at(j->pre, at, j->pre_is_half) : NULL, .activation = j->activation,
                                   .slope_of = j->slope_of != NULL ? element_at(j->slope_of, at, j->slope_is_half) : NULL,
                                   .slope_is_half = j->slope_is_half};
        p->x->half->epilogue(&job);
    } else if (j->slope_of != NULL) {
        for (int64_t r = 0; r < rows; r++) {
            float *y = (float *)j->y + at + r * j->n;
            p->x->k->activation_grad(y, y, (const float *)j->slope_of + at + r * j->n, columns, j->activation, 0);
        }
    } else {
        p->x->k->epilogue((float *)j->y + at, j->pre != NULL ? (float *)j->pre + at : NULL, j->bias != NULL ? j->bias + n0 : NULL,
                          j->residual != NULL ? j->residual + at : NULL, rows, columns, j->n, j->activation);
    }
}

/* Sides as they lie, from a's row m0, b's column n0 and step k0 of the inner dimension on. */
static product_job own_job(const matmul_context *x, int64_t m0, int64_t n0, int64_t k0, uint32_t worker)
{
    const matmul *j = x->job;
    product_job job = {.scratch = worker_room(x->executable, worker), .ldc = j->n};
    job.a_row = j->transpose_a ? 1 : j->lda;
    job.a_inner = j->transpose_a ? j->lda : 1;
    job.b_inner = j->transpose_b ? 1 : j->ldb;
    job.b_column = j->transpose_b ? j->ldb : 1;
    job.a = element_at(j->a, m0 * job.a_row + k0 * job.a_inner, j->a_is_half);
    job.b = element_at(j->b, n0 * job.b_column + k0 * job.b_inner, j->b_is_half);
    job.a_is_half = j->a_is_half;
    job.b_is_half = j->b_is_half;
    job.is_far = j->transpose_a && j->k * (j->lda + j->ldb) >= FETCHED;
    job.deep = j->m * j->n <= LONG_RESULT ? PRODUCT_DEEP : 2 * PRODUCT_DEEP; /* a large result is not to be read so often */
    return job;
}

/* The side whose rows are summed, of fp32. */
static const float *summed(const matmul *j)
{
    return j->sums_b ? j->b : j->a;
}

static void task(void *context, int64_t index, uint32_t worker)
{
    const matmul_context *x = context;
    const matmul *j = x->job;
    if (index >= x->products) {
        const int64_t first = (index - x->products) * x->sums_step, columns = least(x->sums_step, x->sums_columns - first);
        x->k->column_sums(j->sums + first, summed(j) + first, j->k, columns, x->sums_columns, j->sums_accumulate);
        return;
    }
    const piece here = {x, index / x->pieces.across * x->pieces.m_step, index % x->pieces.across * x->pieces.n_step};
    const int64_t m = least(x->pieces.m_step, j->m - here.m0), n = least(x->pieces.n_step, j->n - here.n0);
    product_job job = own_job(x, here.m0, here.n0, 0, worker);
    float *c = j->c != NULL ? j->c + here.m0 * j->n + here.n0 : NULL;
    if (x->own) {
        job.c = c;
        job.m = m;
        job.n = n;
        job.k = j->k;
        job.add = j->beta != 0;
        job.finish = j->has_epilogue ? finish : NULL;
        job.context = &here;
        job.packed = x->packed != NULL ? x->packed + here.n0 * (j->is_half ? (j->k + 1) / 2 : j->k) : NULL;
        if (j->sums != NULL && j->is_half) { /* those of the first pieces */
            job.a_sums = !j->sums_b && here.n0 == 0 ? j->sums + here.m0 : NULL;
            job.b_sums = j->sums_b && here.m0 == 0 ? j->sums + here.n0 : NULL;
            job.sums_add = j->sums_accumulate;
        }
        x->product(&job);
        return;
    }
    if (j->k > 0) {
        cblas_sgemm(CblasRowMajor, j->transpose_a ? CblasTrans : CblasNoTrans, j->transpose_b ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)j->k,
                    j->alpha, job.a, (int)j->lda, job.b, (int)j->ldb, j->beta, c, (int)j->n);
    } else if (j->beta == 0) {
        for (int64_t r = 0; r < m; r++) {
            x->k->fill(c + r * j->n, 0, n, 0);
        }
    }
    if (j->has_epilogue) {
        finish(&here, c, j->n, 0, 0, m, n);
    }
}

/* ---- right sides packed once ---- */

static product_job whole_side(const matmul *j)
{
    return (product_job){.b = j->b, .b_is_half = j->b_is_half, .b_inner = j->transpose_b ? 1 : j->ldb, .b_column = j->transpose_b ? j->ldb : 1, .n = j->n,
                         .k = j->k};
}

int64_t matmul_panels(const prn_backend_instance *instance, int64_t n)
{
    const int panel = instance->half != NULL ? instance->half->panel : instance->k->panel;
    return (n + panel - 1) / panel;
}

void matmul_pack(const prn_backend_instance *instance, const matmul *job, float *packed, float *scratch, int64_t index)
{
    const product_job side = whole_side(job);
    (instance->half != NULL ? instance->half->pack : instance->k->pack)(packed, scratch, &side, index, 1);
}

typedef struct pack_context {
    const prn_backend_instance *instance;
    const prn_executable *executable;
    const matmul *job;
} pack_context;

static void pack_task(void *context, int64_t index, uint32_t worker)
{
    const pack_context *x = context;
    matmul_pack(x->instance, x->job, x->executable->packed, worker_room(x->executable, worker), index);
}

/* ---- long sums into small results: gradients by weights of narrow layers ---- */

/* Pieces along the inner dimension: each reads whole rows of both sides, one behind the other, and has a result of its own; these are added in the order
 * of the pieces. */
static int64_t splits_of(int64_t m, int64_t n, int64_t k)
{
    int64_t splits = m * n <= LONG_RESULT ? PIECES : 1;
    while (splits > 1 && (k / splits < LONG_LEAST || m * n * k / splits < PIECE_LEAST)) {
        splits /= 2;
    }
    return splits;
}

int64_t matmul_sums_floats(int64_t m, int64_t n, int64_t k)
{
    const int64_t splits = least(PIECES, k / LONG_LEAST), longer = m > n ? m : n;
    return splits > 1 ? splits * (least(m * n, LONG_RESULT) + least(longer, LONG_RESULT)) : 0;
}

typedef struct long_context {
    matmul_context base;
    int64_t splits, step; /* rows of one */
    int64_t elements;     /* of one result: c, then column sums */
} long_context;

static void long_task(void *context, int64_t index, uint32_t worker)
{
    const long_context *x = context;
    const matmul *j = x->base.job;
    const int64_t first = index * x->step, end = least(first + x->step, j->k);
    float *c = x->base.lane->sums + index * x->elements, *sums = c + j->m * j->n;
    for (int64_t k0 = first; k0 < end; k0 += LONG_ROWS) {
        const int64_t rows = least(LONG_ROWS, end - k0);
        product_job job = own_job(&x->base, 0, 0, k0, worker);
        job.c = c;
        job.m = j->m;
        job.n = j->n;
        job.k = rows;
        job.ahead = j->k - k0 - rows;
        job.add = job.sums_add = k0 > first;
        if (j->sums != NULL && j->is_half) {
            *(j->sums_b ? &job.b_sums : &job.a_sums) = sums;
        } else if (j->sums != NULL) {
            const int64_t columns = x->base.sums_columns;
            x->base.k->column_sums(sums, summed(j) + k0 * columns, rows, columns, columns, k0 > first);
        }
        x->base.product(&job);
    }
}

static void long_sum_task(void *context, int64_t index, uint32_t worker)
{
    const long_context *x = context;
    const matmul *j = x->base.job;
    const int64_t first = index * LONG_SUMS, all = j->m * j->n;
    const float *parts = x->base.lane->sums;
    (void)worker;
    if (first < all) {
        x->base.k->column_sums(j->c + first, parts + first, x->splits, least(LONG_SUMS, all - first), x->elements, j->beta != 0);
    } else {
        x->base.k->column_sums(j->sums, parts + all, x->splits, x->base.sums_columns, x->elements, j->sums_accumulate);
    }
}

static void long_run(prn_backend_instance *instance, const matmul_context *base, int64_t splits)
{
    const matmul *j = base->job;
    const int64_t all = j->m * j->n, step = ((j->k + splits - 1) / splits + 1) / 2 * 2;
    long_context x = {.base = *base, .splits = (j->k + step - 1) / step, .step = step, .elements = all + (j->sums != NULL ? base->sums_columns : 0)};
    lane_run(instance, base->lane, x.splits, long_task, &x);
    lane_run(instance, base->lane, (all + LONG_SUMS - 1) / LONG_SUMS + (j->sums != NULL), long_sum_task, &x);
}

void matmul_run(prn_backend_instance *instance, const prn_executable *executable, const lane *l, const matmul *job)
{
    matmul_context x = {.job = job, .k = instance->k, .half = instance->half, .executable = executable, .lane = l, .own = is_own(job, instance->k)};
    int64_t sums = 0;
    x.sums_columns = job->sums_b ? job->n : job->m;
    x.product = job->is_half ? instance->half->product : instance->k->product;
    if ((job->c != NULL || job->y != NULL) && job->m > 0 && job->n > 0) {
        const int64_t splits = x.own && job->transpose_a ? splits_of(job->m, job->n, job->k) : 1;
        if (splits > 1) {
            long_run(instance, &x, splits);
            return;
        }
        /* one thread alone gains nothing from pieces; of ours, they change no result */
        x.pieces = x.own && l->worker >= 0 ? (grid){1, 1, job->m, job->n} : grid_of(job, instance->k);
        x.products = x.pieces.down * x.pieces.across;
        x.packed = job->packed;
        if (job->is_half && x.own && l->worker < 0) {
            pack_context pack = {instance, executable, job};
            x.packed = executable->packed;
            lane_run(instance, l, matmul_panels(instance, job->n), pack_task, &pack);
        }
    }
    if (job->sums != NULL && !(job->is_half && x.own && x.products > 0)) {
        const int64_t rows = job->k > 0 ? job->k : 1;
        x.sums_step = (SUMS_ELEMENTS / rows + 63) / 64 * 64;
        x.sums_step = x.sums_step < 64 ? 64 : x.sums_step;
        sums = (x.sums_columns + x.sums_step - 1) / x.sums_step;
    }
    if (x.products + sums > 0) {
        lane_run(instance, l, x.products + sums, task, &x);
    }
}
