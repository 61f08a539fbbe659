/* plugins/backends/cuda/kernels.h: what host code and device code share: the list of kernels and each one's arguments.
 *
 * A kernel takes one structure by value, so that a launch is one pointer, and both compilers check the same declaration.
 * Values may be fp32 or bf16 in memory, told by `values.is_half`; arithmetic is fp32 throughout (whole sums fp64).
 * Invariant: how work is cut is a function of the arguments alone, and sums over pieces are added in their order: the same
 * bytes come out however blocks and threads are scheduled.
 * C and CUDA C++; no function bodies in here.
 */
#ifndef PRN_CUDA_KERNELS_H
#define PRN_CUDA_KERNELS_H

#ifdef __CUDACC_RTC__
#error "compiled ahead of time"
#endif
#include <stdint.h>

enum {
    WARP = 32,
    THREADS = 256,              /* of every block, unless its kernel says otherwise */
    WARPS = THREADS / WARP,
    GRID_LIMIT = 1 << 16,       /* blocks of a launch along x; kernels stride over the rest */
    SUM_PIECE = 1 << 15,        /* elements of one partial sum */
    COLUMN_TILE = 64,           /* columns of a block of column sums */
    COLUMN_PIECES = 128,        /* pieces of rows, at most, of a column sum */
    ATTENTION_TILE = 32,        /* most rows of a tile in the general attention kernels */
    ATTENTION_THREADS = 128,
    READ_TILE = THREADS,        /* keys that one query meets at a time */
    ADAMW_PIECES = 64,          /* parameters of one launch, at most */
    MATMUL_TILE = 32,           /* of the library-free matrix product */
    DELTA_LANES = 8,            /* of a row and head of attention_delta */
    MMA_TILE = 64,              /* rows of a tile in the bf16 attention kernels */
    MMA_THREADS = 128,
    MMA_STATISTICS = 2 * 2 * MMA_TILE * 4 /* bytes of lse and delta of two tiles */
};

/* X(head width of a bf16 attention kernel); smaller ones are padded to the next. Each has a forward kernel, and gradients: of groups of one tile, by
 * queries, by keys and values. */
#define MMA_WIDTHS(X) X(32) X(64) X(96) X(128)
/* Tiles of the other side that there is room for in shared memory at once. */
#define MMA_STAGES(width) ((width) <= 96 ? 2 : 1)

/* REAL values in device memory. */
typedef struct values {
    void *data; /* NULL when absent */
    int32_t is_half; /* 1: bf16 */
    int32_t is_wide; /* 1: four neighbours at a multiple of four may be read at once; 2: eight at a multiple of eight, too */
} values;

typedef enum element_kind {
    ELEMENT_COPY, ELEMENT_ACTIVATION, ELEMENT_ACTIVATION_GRAD, ELEMENT_AXPBY, ELEMENT_MULTIPLY, ELEMENT_SCALE, ELEMENT_EXP, ELEMENT_CLAMP, ELEMENT_FILL,
    ELEMENT_BROADCAST, ELEMENT_ACTIVATION_ADD
} element_kind;

/* y = f(a, b); SCALE and BROADCAST take the number `scalar`. ACTIVATION_ADD: act(a) + b. */
typedef struct element_args {
    values a, b, y, scalar;
    int64_t n;
    float alpha, beta;
    int32_t kind; /* an element_kind */
    int32_t activation;
    int32_t accumulate;
    int32_t reserved;
} element_args;

/* One parameter: fp32, but for moments in bf16 where is_bf16. Its blocks begin with number `first`. */
typedef struct adamw_piece {
    const float *g;
    float *p;
    void *m, *v;
    int64_t n;
    int32_t first;
    int16_t is_wide, is_bf16;
    float decay;
    uint32_t element; /* the number of m's first one in its buffer */
} adamw_piece;

/* Several parameters in one launch; arguments may take 4096 bytes. */
typedef struct adamw_args {
    adamw_piece pieces[ADAMW_PIECES];
    values hyper;
    float beta1, rest1, beta2, rest2, epsilon;
    int32_t count, blocks, reserved;
} adamw_args;

/* partials[i] = sum over piece i of a (times b). */
typedef struct sum_args {
    values a, b;
    double *partials;
    int64_t n;
} sum_args;

/* y (+)= sum of the partials. */
typedef struct sum_finish_args {
    const double *partials;
    values y;
    int64_t count;
    int32_t accumulate;
    int32_t reserved;
} sum_finish_args;

typedef struct patches_args {
    const uint8_t *images;
    values y;
    int64_t rows, columns, per_item, side, patch;
    float scale[3], shift[3]; /* y = pixel * scale + shift */
    int32_t reserved[2];
} patches_args;

/* LOOKUP: y[m] = x[ids[m]] + residual[m]; GATHER_ROWS likewise, or x[m * stride] without ids. */
typedef struct gather_args {
    const int32_t *ids;
    values x, residual, y;
    int64_t rows, columns, table_rows, stride;
} gather_args;

/* dtable[id of the segment] += the rows of dy that order[starts[s]..starts[s + 1]) names. */
typedef struct lookup_grad_args {
    values dy, dtable;
    const int32_t *segments; /* how many there are */
    const int32_t *order;    /* rows, grouped by id, in their order */
    const int32_t *starts;   /* (segments + 1) */
    const int32_t *ids;      /* (segments) */
    int64_t columns;
} lookup_grad_args;

/* dx[row of b] += dy[b], by the first b of each row, for all of them in order. */
typedef struct gather_grad_args {
    const int32_t *ids;
    values dy, dx;
    int64_t rows, columns, table_rows, stride;
} gather_grad_args;

/* Adds dy to the named row, whichever block comes first: fast mode only. */
typedef struct scatter_args {
    const int32_t *ids;
    values dy, dx; /* dx fp32 */
    int64_t rows, columns, table_rows;
} scatter_args;

typedef struct class_rows_args {
    values x, class_row, positions, y;
    int64_t items, per_item, columns;
} class_rows_args;

typedef struct class_rows_grad_args {
    values dy, dx, dclass, dpositions;
    int64_t items, per_item, columns;
    int32_t accumulate;
    int32_t reserved;
} class_rows_grad_args;

/* Rows from offsets[items] to `rows` of y (and z) become zero: what padding a bucket leaves. */
typedef struct zero_tail_args {
    const int32_t *offsets;
    values y, z;
    int64_t items, rows, columns, z_columns;
} zero_tail_args;

typedef struct layer_norm_args {
    values x, gain, bias, y, mean, rstd;
    int64_t rows, columns;
    float epsilon;
    int32_t reserved;
} layer_norm_args;

typedef struct layer_norm_grad_args {
    values dy, x, gain, mean, rstd, dx;
    int64_t rows, columns;
    int32_t accumulate;
    int32_t reserved;
} layer_norm_grad_args;

/* partials[piece][column] = sum over the piece's rows of dy, and in the second half, of dy * hat(x) when x is given. */
typedef struct column_args {
    values dy, x, mean, rstd;
    float *partials;
    int64_t rows, columns, piece_rows, pieces;
} column_args;

/* y[c] (+)= sum over pieces of partials[piece][first + c], rows of `stride`. */
typedef struct column_finish_args {
    const float *partials;
    values y, z; /* z: from the second half */
    int64_t columns, pieces, stride;
    int32_t accumulate;
    int32_t reserved;
} column_finish_args;

typedef struct l2_args {
    values x, y, rnorm;
    int64_t rows, columns;
} l2_args;

typedef struct l2_grad_args {
    values dy, y, rnorm, dx;
    int64_t rows, columns;
    int32_t accumulate;
    int32_t reserved;
} l2_grad_args;

/* Cross-entropy against labels, or against softmax(target / tau) when `target` is given. */
typedef struct cross_entropy_args {
    values logits, target, loss, lse, target_lse;
    const int32_t *labels;
    int64_t rows, columns;
    float inverse_tau;
    int32_t reserved;
} cross_entropy_args;

typedef struct cross_entropy_grad_args {
    values dloss, logits, target, lse, target_lse, dlogits;
    const int32_t *labels;
    int64_t rows, columns;
    float inverse_tau;
    int32_t accumulate;
} cross_entropy_grad_args;

/* d (m, n) = alpha a b + beta d; a[i, p] lies at i * a_row + p * a_column, b[p, j] at p * b_row + j * b_column. Then, when any is given:
 * pre = d + bias, y = act(pre) + residual. */
typedef struct matmul_args {
    values a, b, d, bias, residual, pre;
    const float *alpha; /* in device memory; NULL: 1 */
    int64_t m, n, k, a_row, a_column, b_row, b_column;
    int32_t activation;
    int32_t accumulate;
} matmul_args;

/* y = exp(x), one number; 1 when x is absent. */
typedef struct scale_args {
    values x;
    float *y;
} scale_args;

typedef struct attention_args {
    values qkv, y, lse;        /* forward */
    values dy, dqkv;           /* gradient */
    float *delta;              /* (rows, heads): sum over a row of dy * y */
    const int32_t *offsets;    /* (items + 1), or NULL: groups of `positions` rows */
    int64_t rows, items, positions, heads, width, tiles; /* tiles: query (or key) tiles of the longest group */
    float scale;
    int32_t causal, accumulate, tile; /* tile: rows of one */
} attention_args;

/* READ_ATTENTION. The gradient writes rows of dkv that are seen, no others. */
typedef struct read_attention_args {
    values q, kv, y;        /* forward: (queries, C), (M, 2C), (queries, C) */
    values dy, dq, dkv;     /* gradient */
    const int32_t *offsets; /* (items + 1), or NULL: groups of `positions` rows */
    const int32_t *rows;    /* (queries): the last row that each sees, when causal; NULL: its group's first */
    int64_t queries, items, positions, heads, width;
    float scale;
    int32_t causal, accumulate, reserved;
} read_attention_args;

#define OF_MMA_WIDTH(X, width)                                             \
    X(attention_mma_##width, attention_args, MMA_THREADS)                  \
    X(attention_mma_grad_##width, attention_args, MMA_THREADS)             \
    X(attention_mma_grad_q_##width, attention_args, MMA_THREADS)           \
    X(attention_mma_grad_kv_##width, attention_args, MMA_THREADS)

/* X(name, its argument type, threads of a block at most) */
#define CUDA_KERNELS(X)                                                    \
    X(element, element_args, THREADS)                                      \
    X(adamw, adamw_args, THREADS)                                          \
    X(sum, sum_args, THREADS)                                              \
    X(sum_finish, sum_finish_args, THREADS)                                \
    X(patches, patches_args, THREADS)                                      \
    X(gather, gather_args, THREADS)                                        \
    X(lookup_grad, lookup_grad_args, THREADS)                              \
    X(gather_grad, gather_grad_args, THREADS)                              \
    X(scatter, scatter_args, THREADS)                                      \
    X(class_rows, class_rows_args, THREADS)                                \
    X(class_rows_grad, class_rows_grad_args, THREADS)                      \
    X(class_sums, class_rows_grad_args, THREADS)                           \
    X(zero_tail, zero_tail_args, THREADS)                                  \
    X(layer_norm, layer_norm_args, THREADS)                                \
    X(layer_norm_grad, layer_norm_grad_args, THREADS)                      \
    X(columns, column_args, THREADS)                                       \
    X(columns_finish, column_finish_args, THREADS)                         \
    X(l2_normalise, l2_args, THREADS)                                      \
    X(l2_normalise_grad, l2_grad_args, THREADS)                            \
    X(cross_entropy, cross_entropy_args, THREADS)                          \
    X(cross_entropy_grad, cross_entropy_grad_args, THREADS)                \
    X(matmul, matmul_args, THREADS)                                        \
    X(scale, scale_args, THREADS)                                          \
    X(attention, attention_args, ATTENTION_THREADS)                        \
    X(attention_delta, attention_args, THREADS)                            \
    X(attention_grad_q, attention_args, ATTENTION_THREADS)                 \
    X(attention_grad_kv, attention_args, ATTENTION_THREADS)                \
    OF_MMA_WIDTH(X, 32) OF_MMA_WIDTH(X, 64) OF_MMA_WIDTH(X, 96) OF_MMA_WIDTH(X, 128)                    \
    X(read_attention, read_attention_args, THREADS)                        \
    X(read_attention_grad, read_attention_args, THREADS)

typedef enum kernel_id {
#define KERNEL_ENUM(name, type, threads) KERNEL_##name,
    CUDA_KERNELS(KERNEL_ENUM)
#undef KERNEL_ENUM
    KERNEL_COUNT
} kernel_id;

#endif
