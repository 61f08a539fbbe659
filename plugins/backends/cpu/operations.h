/* plugins/backends/cpu/operations.h: an executable's memory, and running one checked operation on the host's threads.
 *
 * How an operation is cut into tasks is a function of its shapes (and, for ragged rows, of the offsets), never of the number of
 * threads; every task writes memory of its own; reductions over tasks are added in the order of the tasks.
 */
#ifndef PRN_CPU_OPERATIONS_H
#define PRN_CPU_OPERATIONS_H

#include <stdatomic.h>

#include "../common/operand.h"
#include "kernels.h"

/* By kind of operation. */
typedef struct op_clock {
    uint64_t calls;
    double seconds;
} op_clock;

struct prn_backend_instance {
    const prn_host *host; /* first: common/buffers.h */
    const kernels *k;
    const half_kernels *half; /* operands of the towers' products, and of attention's, are rounded to bf16; NULL: all is fp32 */
    op_clock times[PRN_OP_END];
};

/* What the values of a byte, 0 to 255, are of each colour: for images of one mean and standard deviation. */
typedef struct pixel_values {
    int is_made;
    float mean[3], std[3];
    float value[3][256];
    uint16_t half[3][256]; /* to bf16 */
} pixel_values;

/* Who runs an operation, and its scratch: all threads together, or one alone beside others that run theirs. Tasks are the same, and so are results. */
typedef struct lane {
    int64_t worker;   /* the one that runs all tasks; -1: they are handed out */
    float *sums;      /* pieces of column sums, and of long matrix sums */
    double *partials; /* pieces of whole sums */
    pixel_values *pixels;
    op_clock times[PRN_OP_END]; /* of one thread alone */
} lane;

/* Largest scratch that operation `v`, at its largest, needs; members are raised, never lowered. [any] */
typedef struct scratch_need {
    int64_t worker_floats, sums, partials, packed;
} scratch_need;
void operation_scratch(const prn_backend_instance *instance, const operation *v, scratch_need *need);

/* Panel `index` of the weights of operation `op`. */
typedef struct weights_panel {
    uint32_t op, index;
} weights_panel;

/* Where a tensor begins in its slot. */
typedef struct slot_span {
    uint32_t slot, tensor;
    int64_t first;
} slot_span;

struct prn_executable {
    prn_program *program;   /* program_fused */
    uint8_t *is_half;       /* (tensor_count) */
    operation *views;       /* (op_count), filled at each execution by all threads */
    float *worker_scratch;  /* (threads, need.worker_floats) */
    float *packed;          /* (need.packed): the right side of a product that all threads work on, in bf16 */
    scratch_need need;
    lane together;
    lane *alone;             /* (threads); NULL, and all that follows, until executions run side by side */
    uint8_t *in_order;       /* (op_count): 1 for what must be run in the order of the executions */
    uint8_t *shared;         /* (slot_count): 1 for what all executions have at one place */
    slot_span *spans;        /* (span_count): where tensors outside the workspace lie, by slot and place */
    uint32_t span_count;
    float *weights;          /* (weights_most): of the segment */
    float **weights_of;      /* (op_count): where in `weights` an operation's are, NULL for none */
    weights_panel *panels;   /* (weights_most): of the segment, the first panel_count */
    int64_t panel_count;
    void *each_members, *each_parties; /* (each_count): of executions that begin with one of this program */
    uint32_t each_count;
};

static inline float *worker_room(const prn_executable *executable, uint32_t worker)
{
    return executable->worker_scratch + (int64_t)worker * executable->need.worker_floats;
}

/* Element i of fp32, or of bf16. */
static inline void *element_at(const void *p, int64_t i, int is_half)
{
    return (void *)((uintptr_t)p + (uintptr_t)i * (is_half ? sizeof(uint16_t) : sizeof(float)));
}

/* Checks what only the data can tell (row offsets) and the library's limits. [orchestrator] */
prn_status operation_prepare(operation *v, prn_error *error);

/* Runs it; cannot fail. [orchestrator, or the thread of `l`] */
void operation_run(prn_backend_instance *instance, const prn_executable *executable, const lane *l, const operation *v);

/* All tasks of a lane's operation. */
static inline void lane_run(const prn_backend_instance *instance, const lane *l, int64_t count, prn_task task, void *context)
{
    if (l->worker < 0) {
        instance->host->parallel_for(instance->host->self, count, task, context);
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        task(context, i, (uint32_t)l->worker);
    }
}

/* ---- matmul.c ---- */

/* c (m, n) = alpha op(a) op(b) + beta c, row-major; then, when `has_epilogue`, y = act(c + bias) + residual. beta is 0 or 1. */
typedef struct matmul {
    const void *a, *b;
    float *c; /* NULL where the sums lie nowhere */
    int64_t m, n, k, lda, ldb;
    int transpose_a, transpose_b;
    float alpha, beta;
    int has_epilogue, activation;
    int rounds; /* the epilogue is half_epilogue's */
    int is_half; /* a and b are rounded to bf16 */
    int a_is_half, b_is_half, y_is_half, pre_is_half, slope_is_half; /* kept in bf16: halves.c */
    const float *packed; /* b as `pack` of the kernels leaves it, when it has been there before; or NULL */
    void *y, *pre; /* `c` is `pre` when given, else y, unless that is bf16 */
    const float *bias, *residual;
    const void *slope_of; /* instead of these: y = c act'(slope_of), where c is y or lies nowhere */
    /* of a transposed product: sums (m, or n) (+)= a's, or b's, over their k rows. With `is_half`, of what they are rounded to, if there is a c. */
    float *sums;
    int sums_b, sums_accumulate;
} matmul;

/* Of a lane's `sums`, what a product with a transposed left side takes at most, of these sizes or smaller ones. */
int64_t matmul_sums_floats(int64_t m, int64_t n, int64_t k);

void matmul_run(prn_backend_instance *instance, const prn_executable *executable, const lane *l, const matmul *job);

/* Whether a product of ours may find its right side (k, n) laid down: of one that is not transposed on the left, and not scaled, is_own for
 * every number of rows. */
int matmul_packs(const prn_backend_instance *instance, int64_t n, int64_t k);
/* Lays panel `index` of b down in `packed`, with a thread's scratch. */
void matmul_pack(const prn_backend_instance *instance, const matmul *job, float *packed, float *scratch, int64_t index);
/* Panels of n columns. */
int64_t matmul_panels(const prn_backend_instance *instance, int64_t n);

/* ---- fuse.c ---- */

/* A copy of a program whose operations are its own, some of them two in one:
 *  LINEAR_GRAD_X  dpre (M,N), w (N,K), [pre (M,K)] -> dx (M,K) +=     with `pre`, the ACTIVATION_GRAD of dx that followed, in place: dx = (dpre w) act'(pre)
 * One allocation; NULL when there is no memory. [any] */
prn_program *program_fused(const prn_host *host, const prn_program *program);

/* ---- products of operations ---- */

/* The product of a LINEAR or LINEAR_GRAD_X. */
matmul operation_product(const prn_backend_instance *instance, const prn_executable *executable, const operation *v);

/* ---- halves.c ---- */

/* With precision bf16, 1 for a LINEAR whose `pre` is rounded before it is activated. */
static inline int linear_is_rounded(const prn_op *op)
{
    return op->attrs.activation != PRN_ACT_NONE && op->input[3] == PRN_NO_TENSOR;
}

/* maxima: of the symbols. is_half (tensor_count): 1 for what is bf16. */
void halves_choose(const prn_program *program, const int64_t *maxima, uint8_t *is_half);

/* ---- weights.c ---- */

/* Most floats, and panels, that any of the program's segments needs. */
void weights_most(const prn_backend_instance *instance, const prn_program *program, int64_t *floats, int64_t *panels);
/* With bf16: 1 when all weights of a segment are at one place for all executions (`shared`), and stay as they are. In fp32 they need not. */
int weights_shared(const prn_backend_instance *instance, const prn_executable *executable, uint32_t segment);
/* Then, before executions of that segment side by side: which panels there are, and each of them laid down. */
prn_status weights_find(const prn_backend_instance *instance, prn_executable *executable, uint32_t segment, const prn_binding *binding, prn_error *error);
void weights_pack(const prn_backend_instance *instance, const prn_executable *executable, int64_t index, uint32_t worker);

/* ---- execute.c, and execute_each of each.c: the table's functions of the same names ---- */

prn_status executable_compile(prn_backend_instance *instance, const prn_program *program, prn_executable **executable, prn_error *error);
void executable_destroy(prn_backend_instance *instance, prn_executable *executable);
prn_status execute(prn_backend_instance *instance, prn_executable *executable, uint32_t segment, const prn_binding *binding, prn_error *error);
prn_status execute_each(prn_backend_instance *instance, const prn_execution *executions, uint32_t count, prn_error *error);

/* `count` elements of `each` bytes; 1 when there is memory (or nothing is asked for). */
int reserve(const prn_host *host, int64_t count, size_t each, const char *purpose, void **memory);
int lane_init(const prn_host *host, lane *l, int64_t worker, const scratch_need *need);
/* Frees what an executable has for executions side by side. */
void alone_drop(const prn_host *host, prn_executable *executable);
/* One operation's view, checked. [any] */
prn_status operation_ready(const prn_program *program, uint32_t index, const prn_binding *binding, operation *view, prn_error *error);
/* Seconds of a steady clock. */
double now(void);

#endif
