/* plugins/backends/cpu/kernels.h: the vector kernels, one table for each instruction set.
 *
 * kernels.inc is compiled once for each of them (kernels_baseline.c, kernels_avx2.c, kernels_avx512.c); the table is chosen
 * when the backend is opened. A kernel works on one piece of an operation and never starts threads, allocates or fails.
 * Invariants: a kernel's result for a row or element does not depend on how the work was cut into pieces, except for the
 * reductions, whose pieces are fixed by shape (share.h); one table gives the same bits every time.
 */
#ifndef PRN_CPU_KERNELS_H
#define PRN_CPU_KERNELS_H

#include <perennial/program.h>

/* Longer rows of attention are taken in blocks of this many keys. */
enum { ATTENTION_KEYS_WHOLE = 640, ATTENTION_KEYS_BLOCK = 512, ATTENTION_QUERIES = 64, ATTENTION_QUERIES_CAUSAL = 16, KERNEL_MAX_WIDTH = 16 };

/* One head of one row group. Rows are `first` .. `first + rows`. With half_kernels each matrix of the towers may be bf16, of heads of an even width; one that
 * is fp32 is rounded as it is read. */
typedef struct attention_job {
    const void *qkv;   /* (M, 3C) */
    const void *dy;    /* (M, C); backward */
    const void *y_in;  /* (M, C); backward */
    void *y;           /* (M, C); forward */
    float *lse;        /* (M, H); forward, may be NULL */
    const float *lse_in; /* (M, H); backward */
    void *dqkv;        /* (M, 3C); backward; not bf16 when accumulating */
    int qkv_is_half, dy_is_half, y_is_half, dqkv_is_half; /* y_is_half: of y_in too */
    float *scratch;    /* attention_scratch_floats */
    int64_t first, rows, c, heads, head, width;
    float scale;
    int causal, accumulate;
} attention_job;

/* Keys that one query meets at a time, and heads of a job at most: what each needs of a thread's stack is 4 bytes for each of both, twice. */
enum { READ_KEYS = 512, READ_HEADS = 4 };

/* One query and some heads of one row group: every pointer is at the first head's first column, `kv` and `dkv` at the group's first row. */
typedef struct read_attention_job {
    const float *q, *dy; /* (heads, width) */
    float *y, *dq;       /* (heads, width); dq may be NULL */
    const float *kv;     /* (rows, 2C) */
    void *dkv;           /* (rows, 2C); may be NULL; may be bf16 when not accumulating, of heads of an even width */
    int dkv_is_half;
    int64_t rows, seen, c, heads, width; /* the query sees the first `seen` rows */
    float scale;
    int accumulate;
} read_attention_job;

/* c (m, n) = a b, or added to it, by `product` in fp32, by `half.product` of operands rounded to bf16; a(r, i) = a[r*a_row + i*a_inner], b(i, j) =
 * b[i*b_inner + j*b_column]. Of each side, one stride is 1; `product` takes a_inner 1, or a_row and b_column. A side of `half.product` may be bf16
 * itself: of b only with b_column 1, of rows of a (a_inner 1) with an even k. */
typedef struct product_job {
    const void *a, *b;
    float *c;        /* NULL, for `half.product` with `packed`: what follows gets a block that is complete, and nobody else needs. k <= HALF_SPAN */
    float *scratch;  /* PRODUCT_SCRATCH */
    const void *packed; /* b, from its first column on, as `pack` of the same kernels leaves it: `b` is not read; or NULL. Of `product`, with a_inner 1 */
    int64_t m, n, k; /* k > 0 */
    int64_t a_row, a_inner, b_inner, b_column, ldc;
    int a_is_half, b_is_half;
    int add;
    /* `half.product` without `finish`: (+)= sums over k of a's columns (m), or of b's (n), as they are rounded; NULL: none */
    float *a_sums, *b_sums;
    int sums_add;
    int is_far;    /* both sides come from memory: what is next is worth fetching */
    int64_t ahead; /* steps of k behind these that will be asked for next */
    int64_t deep;  /* of `product`, with a_inner not 1: steps of k that are summed in registers at most. A part of what results mean */
    /* What follows, block by block of c while each lies in the cache; NULL, or a_inner is 1 and `half.product` has `packed`. */
    void (*finish)(const void *context, float *c, int64_t ldc, int64_t row, int64_t column, int64_t rows, int64_t columns);
    const void *context;
} product_job;

/* Blocks of a product: of b, (inner, columns) in the second-level cache, beside (rows, inner) of a; and rows at a time of a long sum into a small result. */
enum { PRODUCT_INNER = 512, PRODUCT_ROWS = 96, PRODUCT_COLUMNS = 256, PRODUCT_DEEP = 128,
       PRODUCT_SCRATCH = PRODUCT_INNER * PRODUCT_COLUMNS,
       HALF_SPAN = PRODUCT_SCRATCH / PRODUCT_ROWS / 256 * 256 * 2 }; /* steps of a sum that are always taken before what follows */

typedef struct adamw_job {
    float lr, correction1, correction2, gradient_scale;
    float beta1, rest1, beta2, rest2; /* rest = 1 - beta, rounded once */
    float epsilon, shrink;            /* shrink = lr * decay */
    uint32_t key;                     /* mix(t) of program.h, for moments in bf16 */
} adamw_job;

/* What follows a linear layer in bf16: pre = x + bias, rounded whether it is kept or not; y = act(pre). Or its gradient: y = x act'(slope_of). */
typedef struct half_epilogue {
    const float *x;    /* (rows, columns), rows ldx apart */
    const float *bias; /* (columns), or NULL */
    void *y, *pre;     /* rows ld apart; pre may be NULL, or x where it is fp32; so may y */
    const void *slope_of; /* rows ld apart; or NULL */
    int64_t rows, columns, ld, ldx;
    int y_is_half, pre_is_half, slope_is_half, activation;
} half_epilogue;

/* Matrix products of operands that are rounded to bf16, and attention by such products. */
typedef struct half_kernels {
    void (*product)(const product_job *job);
    int panel; /* columns of one */
    /* Of b (k, n) the panels [first, first + count), each where it belongs among all of them, which take half_packed_floats. Of the job, b, its strides, n
     * and k count. */
    void (*pack)(void *packed, float *scratch, const product_job *job, int64_t first, int64_t count);
    /* y is bf16 */
    void (*layer_norm)(void *y, float *mean, float *rstd, const float *x, const float *gain, const float *bias, int64_t rows, int64_t n, float epsilon);
    void (*epilogue)(const half_epilogue *job);
    void (*activation)(void *y, int y_is_half, const void *x, int x_is_half, int64_t n, int activation);
    void (*activation_grad)(float *dpre, const float *dy, const void *pre, int pre_is_half, int64_t n, int activation, int accumulate);
    void (*attention)(const attention_job *job);
    void (*attention_grad)(const attention_job *job);
} half_kernels;

typedef struct kernels {
    const char *name;
    int width; /* floats of one vector */
    /* y = act(x + bias) + residual over a block; x lies in `pre` when given (then pre = x + bias), else in y. ld: floats from row to row. */
    void (*epilogue)(float *y, float *pre, const float *bias, const float *residual, int64_t rows, int64_t columns, int64_t ld, int activation);
    void (*activation)(float *y, const float *x, int64_t n, int activation);
    void (*activation_grad)(float *dpre, const float *dy, const float *pre, int64_t n, int activation, int accumulate);
    void (*layer_norm)(float *y, float *mean, float *rstd, const float *x, const float *gain, const float *bias, int64_t rows, int64_t n, float epsilon);
    /* `sums` (2, n): dgain, then dbias of these rows, overwritten. dx may be NULL. */
    void (*layer_norm_grad)(float *dx, float *sums, const float *dy, const float *x, const float *gain, const float *mean, const float *rstd, int64_t rows,
                            int64_t n, int accumulate);
    void (*attention)(const attention_job *job);
    void (*attention_grad)(const attention_job *job);
    void (*read_attention)(const read_attention_job *job);
    void (*read_attention_grad)(const read_attention_job *job); /* rows that are not seen become zero, or stay when accumulating */
    void (*axpby)(float *y, const float *a, const float *b, float alpha, float beta, int64_t n); /* b may be NULL */
    void (*multiply)(float *y, const float *a, const float *b, int64_t n);
    void (*exponential)(float *y, const float *x, int64_t n);
    void (*clamp)(float *y, const float *x, float low, float high, int64_t n);
    void (*fill)(float *y, float value, int64_t n, int accumulate);
    void (*l2_normalise)(float *y, float *rnorm, const float *x, int64_t rows, int64_t n);
    void (*l2_normalise_grad)(float *dx, const float *dy, const float *y, const float *rnorm, int64_t rows, int64_t n, int accumulate);
    void (*log_sum_exp)(float *lse, const float *x, int64_t rows, int64_t n, float inverse_tau);
    /* dx = d[row] * (exp(x*s - lse) - q) * s, q = exp(t*s - target_lse) or, without t, 1 at the label */
    void (*softmax_grad)(float *dx, const float *d, const float *x, const float *lse, const int32_t *labels, const float *t, const float *target_lse,
                         int64_t rows, int64_t n, float inverse_tau, int accumulate);
    void (*divergence)(float *kl, const float *x, const float *lse, const float *t, const float *target_lse, int64_t rows, int64_t n, float inverse_tau);
    double (*sum)(const float *a, int64_t n);
    double (*dot)(const float *a, const float *b, int64_t n);
    /* The same of elements [first, first + n) of matrices, without the rows that have no PRN_ROW_GRADIENT, which are zero in `a`: the same bits. All three
     * numbers are multiples of the width. */
    double (*dot_rows)(const float *a, const float *b, const uint8_t *rows, int64_t first, int64_t n, int64_t columns);
    /* g NULL: it is zero; m and v NULL: so are they, and stay it. */
    void (*adamw)(float *p, float *m, float *v, const float *g, int64_t n, const adamw_job *job);
    /* The same with moments in bf16; `first`: the number, in its buffer, of the first of these elements of m. */
    void (*adamw_bf16)(float *p, uint16_t *m, uint16_t *v, const float *g, int64_t n, uint32_t first, const adamw_job *job);
    /* What `updates` calls of adamw with no gradient and no moments do to p, one after the other. */
    void (*decay)(float *p, int64_t n, const float *lr, int64_t updates, double decay);
    /* out[c] (+)= sum over rows of x[r*ld + c] */
    void (*column_sums)(float *out, const float *x, int64_t rows, int64_t columns, int64_t ld, int accumulate);
    void (*product)(const product_job *job);
    int panel; /* as half_kernels.panel and pack, in packed_floats */
    void (*pack)(void *packed, float *scratch, const product_job *job, int64_t first, int64_t count);
    half_kernels half;
} kernels;

/* Of b (k, n) in panels, for whatever width of them. */
static inline int64_t packed_floats(int64_t n, int64_t k)
{
    return (n + 63) / 64 * 64 * k;
}

static inline int64_t half_packed_floats(int64_t n, int64_t k)
{
    return packed_floats(n, (k + 1) / 2);
}

/* Floats of scratch that one attention job needs, for rows up to `rows` long. */
static inline int64_t attention_scratch_floats(int64_t rows, int64_t width)
{
    const int64_t w = KERNEL_MAX_WIDTH;
    const int64_t keys = ((rows < ATTENTION_KEYS_WHOLE ? rows : ATTENTION_KEYS_WHOLE) + w - 1) / w * w, wide = (width + w - 1) / w * w;
    const int64_t queries = ATTENTION_QUERIES;
    const int64_t pairs = (keys * wide + queries * keys + queries * wide) / 2, chances = queries * keys; /* rounded to bf16 */
    const int64_t dq = rows > ATTENTION_KEYS_WHOLE ? rows * wide : 0;
    return 2 * width * keys + 3 * keys * wide + 2 * queries * keys + 3 * queries * wide + 3 * queries + pairs + chances + dq + 8 * w;
}

extern const kernels kernels_baseline;
#if defined(__x86_64__)
extern const kernels kernels_avx2;
extern const kernels kernels_avx512;
/* For processors with AVX-512's BF16 instructions: in the place of kernels_avx512.half. */
extern const half_kernels half_kernels_avx512_bf16;
#endif

#endif
