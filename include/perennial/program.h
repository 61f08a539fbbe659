/* perennial/program.h: programs as plain data, what a backend compiles and a loss term composes.
 *
 * A program is a static list of operations over typed tensors. The host writes it, derives its backward pass, plans
 * its memory, counts its multiply-accumulates, and hands the finished list to a backend.
 *
 * Shapes. A dimension is `fixed * symbol`: `symbol` names a size known only at run time (batch B, packed text rows N,
 * tile rows R) with a planned maximum, or PRN_NO_SYMBOL for 1. Only a leading dimension carries a
 * symbol; a matrix of similarities (R,M) has one in both. At the maxima a tensor has at most 2^59 elements.
 * Letters: B batch, T positions, N packed tokens, C channels, H heads, D head width, E embedding, V vocabulary,
 * M rows of any kind, K inner width, P patches, S image side, R tile rows.
 *
 * Storage. Every tensor lives at (slot, offset): a slot is a buffer bound at execution. Slot 0 is the workspace, its
 * offsets chosen by the memory plan; other slots (parameters, gradients, inputs, outputs) are bound by the caller.
 * Offsets and sizes count ELEMENTS, and one element occupies the backend's element size for that slot.
 *
 * Segments. A program's operations are split into consecutive segments (such as forward, then backward), executed
 * one at a time with the same workspace; what a later segment needs survives in it.
 *
 * Invariants: structures are append-only within one major version; all arrays are owned by the host and live as long
 * as anything compiled from them.
 */
#ifndef PERENNIAL_PROGRAM_H
#define PERENNIAL_PROGRAM_H

#include <perennial/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* PRN_REAL is "the backend's working precision": fp64 in `reference`, fp32 in `cpu`, fp32 or bf16 in `cuda`. PRN_BF16 is two bytes anywhere: the upper half
 * of an fp32. Only AdamW's moments may be of it (since 1.5). */
typedef enum prn_type { PRN_REAL = 1, PRN_I32 = 2, PRN_U8 = 3, PRN_BF16 = 4 } prn_type;

#define PRN_MAX_RANK 4
#define PRN_NO_SYMBOL (-1)
#define PRN_NO_TENSOR (-1)
#define PRN_SLOT_WORKSPACE 0

typedef struct prn_dim {
    int64_t fixed;  /* >= 0 */
    int32_t symbol; /* index into prn_program.symbols, or PRN_NO_SYMBOL */
    int32_t reserved;
} prn_dim;

typedef struct prn_symbol {
    const char *name;
    int64_t maximum; /* inclusive; a run-time value lies in [0, maximum] */
} prn_symbol;

typedef struct prn_slot {
    const char *name; /* "workspace", "parameters", "gradients", "images", ... */
    uint32_t type;    /* a prn_type: what the bound buffer holds (the workspace: PRN_REAL) */
    uint32_t is_written; /* 1 when some operation writes it */
} prn_slot;

typedef struct prn_tensor {
    const char *name; /* for printing; unique within the program */
    uint32_t type;    /* a prn_type */
    uint32_t rank;    /* 0..PRN_MAX_RANK; rank 0 is one element */
    prn_dim dim[PRN_MAX_RANK]; /* row-major, the last varies fastest */
    int32_t slot;
    int32_t reserved;
    int64_t offset; /* elements from the start of the slot's buffer */
} prn_tensor;

/* Operations. X(NAME, "name", inputs, outputs). Inputs and outputs in the order given; [x] may be PRN_NO_TENSOR.
 * "+=" marks an output that is accumulated into when attribute `accumulate` is 1, else overwritten.
 *
 * forward
 *  PATCHES        images u8 (B,S,S,3) -> y (B*P, 3*p*p)             y = (pixel/255 - mean)/std, columns ordered (channel,row,column); attrs patch, mean, std
 *  LINEAR         x (M,K), w (N,K), [bias (N)], [residual (M,N)] -> y (M,N), [pre (M,N)]
 *                                                                   pre = x w^T + bias; y = act(pre) + residual; attrs activation, transpose_w (1: w is (K,N)), alpha unused
 *  LAYER_NORM     x (M,C), gain (C), bias (C) -> y (M,C), mean (M), rstd (M)      attr epsilon
 *  ATTENTION      qkv (M,3C), [offsets i32 (B+1)] -> y (M,C), lse (M,H)           attrs heads, causal, positions (T>0: uniform rows of T, offsets absent)
 *                                                                   softmax(q k^T / sqrt(D)) v inside each row group; lse = log-sum-exp of the scaled scores
 *  LOOKUP         ids i32 (M), table (V,C), [residual (M,C)] -> y (M,C)           y = table[ids] + residual; an id outside [0,V) reads row 0 (the host has checked)
 *  CLASS_ROWS     patches (B*P,C), class (C), positions (T,C) -> y (B*T,C), T=P+1   row 0 of an item is class+positions[0], row 1+p is patch+positions[1+p]
 *  GATHER_ROWS    x (M,C), [rows i32 (B)] -> y (B,C)                              y[b] = x[rows[b]]; without `rows`, x[b*stride] (attr stride)
 *  L2_NORMALISE   x (M,E) -> y (M,E), rnorm (M)                                   y = x / max(|x|, 1e-12); rnorm = 1/max(|x|,1e-12)
 *  SIMILARITY     a (R,E), b (M,E), [log_scale ()] -> y (R,M)                     y = exp(log_scale) a b^T  (1 when absent)
 *  CROSS_ENTROPY  logits (R,M), labels i32 (R) -> loss (R), lse (R)               loss = lse - logits[label]
 *  SOFT_CROSS_ENTROPY  logits (R,M), target_logits (R,M) -> kl (R), lse (R), target_lse (R)
 *                                                                   kl = sum softmax(target/tau) (log softmax(target/tau) - log softmax(logits/tau)); attr alpha = tau
 *  ACTIVATION     x (M,C) -> y (M,C)                                              attr activation
 *  AXPBY          a (..), [b (..)] -> y (..)                                      y = alpha a + beta b
 *  MULTIPLY       a (..), b (..) -> y (..)                                        b may be rank 0 (a scalar)
 *  EXP            x (..) -> y (..)
 *  SUM            x (..) -> y ()
 *  DOT            a (..), b (..), [rows u8 (R)] -> y ()                           a sum of products; with `rows`, a and b are (R,C)
 *  FILL           [rows u8 (R)] -> y (..)                                         y = alpha; with `rows`, y is (R,C)
 *  CLAMP          x (..) -> y (..)                                                to [alpha, beta]; in place allowed
 *  READ_ATTENTION q (B,C), kv (M,2C), [offsets i32 (B+1)], [rows i32 (B)] -> y (B,C)   attrs as ATTENTION's; kv: keys, then values
 *                                                                   one query an item: y[b] = softmax(q[b] k^T / sqrt(D)) v over row group b, with `causal` over its rows
 *                                                                   up to rows[b] (a row of kv; the group's first when absent); 0 where there is no such row
 *
 * gradients: `d` before a name is the gradient of the loss by it
 *  LINEAR_GRAD_X  dpre (M,N), w (N,K) -> dx (M,K) +=
 *  LINEAR_GRAD_W  dpre (M,N), x (M,K) -> dw (N,K) +=, [dbias (N)] +=
 *  ACTIVATION_GRAD dy (M,N), pre (M,N) -> dpre (M,N) +=                           attr activation; in place (dpre is dy) allowed
 *  LAYER_NORM_GRAD dy, x, gain, mean, rstd -> dx (M,C) +=, dgain (C) +=, dbias (C) +=   `accumulate` speaks of dx; dgain and dbias always accumulate
 *  ATTENTION_GRAD dy (M,C), qkv (M,3C), y (M,C), lse (M,H), [offsets] -> dqkv (M,3C) +=
 *  LOOKUP_GRAD    dy (M,C), ids i32 (M) -> dtable (V,C)                           always accumulates, in the order of the rows
 *  CLASS_ROWS_GRAD dy (B*T,C) -> dpatches (B*P,C) +=, dclass (C), dpositions (T,C)      the last two always accumulate
 *  GATHER_ROWS_GRAD dy (B,C), [rows] -> dx (M,C) +=                               rows not named receive zero (or stay, when accumulating)
 *  L2_NORMALISE_GRAD dy, y, rnorm -> dx +=
 *  SIMILARITY_GRAD dy (R,M), a (R,E), b (M,E), y (R,M), [log_scale] -> [da (R,E)] +=, [db (M,E)] , [dlog_scale ()]   db and dlog_scale always accumulate
 *  CROSS_ENTROPY_GRAD dloss (R), logits, labels, lse -> dlogits +=
 *  SOFT_CROSS_ENTROPY_GRAD dkl (R), logits, target_logits, lse, target_lse -> dlogits +=   attr alpha = tau
 *  BROADCAST      x () -> y (..) +=                                               y = alpha x: the gradient of SUM
 *  READ_ATTENTION_GRAD dy (B,C), q (B,C), kv (M,2C), [offsets], [rows] -> [dq (B,C)] +=, [dkv (M,2C)] +=   rows not seen receive zero (or stay, when accumulating)
 *
 * optimizer
 *  ADAMW          g (n), hyper (8), [rows u8 (R)] -> p (n), m (n), v (n)      in place; hyper = {lr, 1/(1-beta1^t), 1/(1-beta2^t), gradient scale, t,0,0,0};
 *                 attrs alpha = beta1, beta = beta2, epsilon, decay:  p *= 1 - lr*decay; m,v as Adam on g*scale; p -= lr * (m c1) / (sqrt(v c2) + eps)
 *  DECAY_ROWS     lr (n), rows u8 (R) -> p (R,C)                              in place; attr decay; since 1.7
 *                 of rows with PRN_ROW_DUE: p *= 1 - lr[i]*decay for each i in turn; the bytes of n ADAMWs on rows whose gradient and moments are zero
 *
 * `rows` (prn_row_flags) says of each row of a matrix (R,C) what need not be read or written, because it is known: without PRN_ROW_GRADIENT a row of g (ADAMW), of
 * a (DOT) is zero, and one of y (FILL) is alpha already; without PRN_ROW_MOMENTS rows of m and v (ADAMW) are zero. Whoever binds `rows` makes that
 * true, and results are those without it: a backend may leave these two flags alone. For a large table of which a batch names few rows.
 * PRN_ROW_LATER (since 1.7) is an order: ADAMW leaves the row of p, of which gradient and moments are zero, as it is. Whoever gives it makes up for the decay by
 * DECAY_ROWS, with the learning rates of the updates that were left out, before the row is read. Only backends that support DECAY_ROWS are given it.
 *
 * m and v of ADAMW may both be PRN_BF16. Their new values, which p's are computed from, are then rounded stochastically, so that what changes by less than half a
 * step is not lost: up with the chance that is the part of a step by which it lies above. To the bits of the value as an fp32, r is added, 0 <= r < 2^16, and the lower
 * 16 are dropped. h = mix(e xor mix(t)) gives r: its lower half for m, its upper half for v; e is the number of m's element in its slot's buffer, t is hyper[4], both
 * modulo 2^32, and mix is the last step of MurmurHash3 (32 bits, A. Appleby): x ^= x >> 16, x *= 0x85ebca6b, x ^= x >> 13, x *= 0xc2b2ae35, x ^= x >> 16.
 */
#define PRN_OP_LIST(X)                                                       \
    X(PATCHES, 1, "patches", 1, 1)                                           \
    X(LINEAR, 2, "linear", 4, 2)                                             \
    X(LAYER_NORM, 3, "layer_norm", 3, 3)                                     \
    X(ATTENTION, 4, "attention", 2, 2)                                       \
    X(LOOKUP, 5, "lookup", 3, 1)                                             \
    X(CLASS_ROWS, 6, "class_rows", 3, 1)                                     \
    X(GATHER_ROWS, 7, "gather_rows", 2, 1)                                   \
    X(L2_NORMALISE, 8, "l2_normalise", 1, 2)                                 \
    X(SIMILARITY, 9, "similarity", 3, 1)                                     \
    X(CROSS_ENTROPY, 10, "cross_entropy", 2, 2)                              \
    X(SOFT_CROSS_ENTROPY, 11, "soft_cross_entropy", 2, 3)                    \
    X(ACTIVATION, 12, "activation", 1, 1)                                    \
    X(AXPBY, 13, "axpby", 2, 1)                                              \
    X(MULTIPLY, 14, "multiply", 2, 1)                                        \
    X(EXP, 15, "exp", 1, 1)                                                  \
    X(SUM, 16, "sum", 1, 1)                                                  \
    X(DOT, 17, "dot", 3, 1)                                                  \
    X(FILL, 18, "fill", 1, 1)                                                \
    X(CLAMP, 19, "clamp", 1, 1)                                              \
    X(READ_ATTENTION, 20, "read_attention", 4, 1)                            \
    X(LINEAR_GRAD_X, 32, "linear_grad_x", 2, 1)                              \
    X(LINEAR_GRAD_W, 33, "linear_grad_w", 2, 2)                              \
    X(ACTIVATION_GRAD, 34, "activation_grad", 2, 1)                          \
    X(LAYER_NORM_GRAD, 35, "layer_norm_grad", 5, 3)                          \
    X(ATTENTION_GRAD, 36, "attention_grad", 5, 1)                            \
    X(LOOKUP_GRAD, 37, "lookup_grad", 2, 1)                                  \
    X(CLASS_ROWS_GRAD, 38, "class_rows_grad", 1, 3)                          \
    X(GATHER_ROWS_GRAD, 39, "gather_rows_grad", 2, 1)                        \
    X(L2_NORMALISE_GRAD, 40, "l2_normalise_grad", 3, 1)                      \
    X(SIMILARITY_GRAD, 41, "similarity_grad", 5, 3)                          \
    X(CROSS_ENTROPY_GRAD, 42, "cross_entropy_grad", 4, 1)                    \
    X(SOFT_CROSS_ENTROPY_GRAD, 43, "soft_cross_entropy_grad", 5, 1)          \
    X(BROADCAST, 44, "broadcast", 1, 1)                                      \
    X(READ_ATTENTION_GRAD, 45, "read_attention_grad", 5, 2)                  \
    X(ADAMW, 64, "adamw", 3, 3)                                              \
    X(DECAY_ROWS, 65, "decay_rows", 2, 1)

typedef enum prn_op_kind {
    PRN_OP_NONE = 0,
#define PRN_OP_ENUM(code, value, name, inputs, outputs) PRN_OP_##code = value,
    PRN_OP_LIST(PRN_OP_ENUM)
#undef PRN_OP_ENUM
    PRN_OP_END /* above all of them */
} prn_op_kind;

/* GELU is the exact form x Phi(x); QuickGELU is x sigmoid(1.702 x). */
typedef enum prn_activation { PRN_ACT_NONE = 0, PRN_ACT_GELU = 1, PRN_ACT_QUICK_GELU = 2 } prn_activation;

typedef enum prn_row_flags { PRN_ROW_GRADIENT = 1, PRN_ROW_MOMENTS = 2, PRN_ROW_LATER = 4, PRN_ROW_DUE = 8 } prn_row_flags;

#define PRN_OP_MAX_INPUTS 5
#define PRN_OP_MAX_OUTPUTS 3

typedef struct prn_op_attrs {
    int32_t activation; /* a prn_activation */
    int32_t accumulate; /* 1: outputs marked += are added to */
    int32_t transpose_w;
    int32_t causal;
    int32_t heads;      /* H */
    int32_t positions;  /* T, uniform row groups; 0: by offsets */
    int32_t patch;      /* p, pixels */
    int32_t stride;     /* rows */
    float mean[3];
    float std[3];
    double alpha;
    double beta;
    double epsilon;
    double decay;
} prn_op_attrs;

typedef struct prn_op {
    uint32_t kind;      /* a prn_op_kind */
    uint32_t group;     /* which block the operation belongs to, for printing and checkpointing; 0 for none */
    int32_t input[PRN_OP_MAX_INPUTS];   /* tensor indices, PRN_NO_TENSOR for absent ones */
    int32_t output[PRN_OP_MAX_OUTPUTS];
    prn_op_attrs attrs;
} prn_op;

typedef struct prn_segment {
    const char *name;
    uint32_t first_op;
    uint32_t op_count;
} prn_segment;

typedef struct prn_program {
    uint32_t struct_size; /* bytes */
    uint32_t reserved;
    const char *name;
    const prn_symbol *symbols;
    uint32_t symbol_count;
    uint32_t slot_count;
    const prn_slot *slots;
    const prn_tensor *tensors;
    const prn_op *ops;
    const prn_segment *segments;
    uint32_t tensor_count;
    uint32_t op_count;
    uint32_t segment_count;
    uint32_t reserved2;
    int64_t workspace_elements; /* what slot 0 needs at the symbols' maxima */
} prn_program;

/* Rows (product of all but the last dimension) and elements of a tensor for given symbol values. `values` has one
 * entry for each symbol. [any] */
static inline int64_t prn_tensor_elements(const prn_tensor *tensor, const int64_t *values)
{
    int64_t n = 1;
    uint32_t i;
    for (i = 0; i < tensor->rank; i++) {
        n *= tensor->dim[i].fixed * (tensor->dim[i].symbol >= 0 ? values[tensor->dim[i].symbol] : 1);
    }
    return n;
}

/* The last dimension, 1 for rank 0 and for rank 1 tensors read as a column. [any] */
static inline int64_t prn_tensor_columns(const prn_tensor *tensor, const int64_t *values)
{
    const prn_dim *last;
    if (tensor->rank < 2) {
        return 1;
    }
    last = &tensor->dim[tensor->rank - 1];
    return last->fixed * (last->symbol >= 0 ? values[last->symbol] : 1);
}

/* One dimension's size. [any] */
static inline int64_t prn_tensor_size(const prn_tensor *tensor, uint32_t axis, const int64_t *values)
{
    const prn_dim *d = &tensor->dim[axis];
    return axis < tensor->rank ? d->fixed * (d->symbol >= 0 ? values[d->symbol] : 1) : 1;
}

#ifdef __cplusplus
}
#endif
#endif
