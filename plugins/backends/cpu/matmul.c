/* plugins/backends/cpu/matmul.c: matrix products on the host's threads, by a kernel of ours or by OpenBLAS, one call a task.
 *
 * The pieces' number and borders, and who computes them, depend on the product's shape and the instruction set alone, never on the number of
 * threads. OpenBLAS runs single-threaded inside each task: its own split depends on the number of threads, and would compete with ours. Each of its
 * calls packs its parts of both matrices, which costs 12 % at sixteen pieces of a layer of ViT-B. product.inc copies one side at most, and that once: with
 * AVX-512 it is the faster one at every size, with AVX2 where the smallest of the three matrices is small. Without either, and for scaled
 * products, OpenBLAS does all.
 * What follows a product element by element (bias, activation, residual) is done by the same task while its piece is still in the cache.
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

static int is_own(const matmul *j, const kernels *k)
{
    const int64_t most = j->m > j->n ? (j->m > j->k ? j->m : j->k) : (j->n > j->k ? j->n : j->k);
    const double all = (double)j->m * (double)j->n * (double)j->k;
    return j->alpha == 1 && j->k > 0 && !(j->transpose_a && j->transpose_b) &&
           (k->width >= 16 || (k->width >= 8 && all <= (double)OWN_MOST * (double)most));
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
        /* what is read or packed again: a once for every piece across, b once for every piece down; and a share for pieces that do not come out even */
        const double packed = own && !j->transpose_a ? 1 + OWN_PACKING * (double)g.down / (double)m
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
    const prn_executable *executable;
    grid pieces;
    int own;
    int64_t products; /* tasks from here on are column sums */
    int64_t sums_step;
} matmul_context;

static void task(void *context, int64_t index, uint32_t worker)
{
    const matmul_context *x = context;
    const matmul *j = x->job;
    if (index >= x->products) {
        const int64_t first = (index - x->products) * x->sums_step, columns = least(x->sums_step, j->sums_columns - first);
        x->k->column_sums(j->sums + first, j->sums_of + first, j->sums_rows, columns, j->sums_columns, j->sums_accumulate);
        return;
    }
    const int64_t m0 = index / x->pieces.across * x->pieces.m_step, n0 = index % x->pieces.across * x->pieces.n_step;
    const int64_t m = least(x->pieces.m_step, j->m - m0), n = least(x->pieces.n_step, j->n - n0), at = m0 * j->n + n0;
    const float *a = j->a + (j->transpose_a ? m0 : m0 * j->lda), *b = j->b + (j->transpose_b ? n0 * j->ldb : n0);
    if (x->own) {
        x->k->product(&(product_job){
            .a = a, .b = b, .c = j->c + at, .scratch = x->executable->worker_scratch + (int64_t)worker * x->executable->worker_floats, .m = m, .n = n,
            .k = j->k, .a_row = j->transpose_a ? 1 : j->lda, .a_inner = j->transpose_a ? j->lda : 1, .b_inner = j->transpose_b ? 1 : j->ldb,
            .b_column = j->transpose_b ? j->ldb : 1, .ldc = j->n, .add = j->beta != 0});
    } else if (j->k > 0) {
        cblas_sgemm(CblasRowMajor, j->transpose_a ? CblasTrans : CblasNoTrans, j->transpose_b ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)j->k,
                    j->alpha, a, (int)j->lda, b, (int)j->ldb, j->beta, j->c + at, (int)j->n);
    } else if (j->beta == 0) {
        for (int64_t r = 0; r < m; r++) {
            x->k->fill(j->c + at + r * j->n, 0, n, 0);
        }
    }
    if (j->has_epilogue) {
        x->k->epilogue(j->y + at, j->pre != NULL ? j->pre + at : NULL, j->bias != NULL ? j->bias + n0 : NULL,
                       j->residual != NULL ? j->residual + at : NULL, m, n, j->n, j->activation);
    }
}

void matmul_run(prn_backend_instance *instance, const prn_executable *executable, const matmul *job)
{
    matmul_context x = {.job = job, .k = instance->k, .executable = executable, .own = is_own(job, instance->k)};
    int64_t sums = 0;
    if (job->c != NULL && job->m > 0 && job->n > 0) {
        x.pieces = grid_of(job, instance->k);
        x.products = x.pieces.down * x.pieces.across;
    }
    if (job->sums != NULL && job->sums_columns > 0) {
        const int64_t rows = job->sums_rows > 0 ? job->sums_rows : 1;
        x.sums_step = (SUMS_ELEMENTS / rows + 63) / 64 * 64;
        x.sums_step = x.sums_step < 64 ? 64 : x.sums_step;
        sums = (job->sums_columns + x.sums_step - 1) / x.sums_step;
    }
    if (x.products + sums > 0) {
        instance->host->parallel_for(instance->host->self, x.products + sums, task, &x);
    }
}
