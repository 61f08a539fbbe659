/* plugins/backends/cpu/operations.h: an executable's memory, and running one checked operation on the host's threads.
 *
 * How an operation is cut into tasks is a function of its shapes (and, for ragged rows, of the offsets), never of the number of
 * threads; every task writes memory of its own; reductions over tasks are added in the order of the tasks.
 */
#ifndef PRN_CPU_OPERATIONS_H
#define PRN_CPU_OPERATIONS_H

#include "../common/operand.h"
#include "kernels.h"

struct prn_backend_instance {
    const prn_host *host; /* first: common/buffers.h */
    const kernels *k;
    const half_kernels *half; /* operands of the towers' products, and of attention's, are rounded to bf16; NULL: all is fp32 */
    struct {
        uint64_t calls;
        double seconds;
    } times[PRN_OP_ADAMW + 1]; /* by kind */
};

struct prn_executable {
    const prn_program *program;
    operation *views; /* (op_count), filled at each execution */
    float *worker_scratch; /* (threads, worker_floats) */
    int64_t worker_floats;
    float *sums;      /* pieces of column sums, and of long matrix sums */
    double *partials; /* pieces of whole sums */
    float *pixels;    /* (3, 256): normalised values of a byte */
};

/* Largest scratch that operation `v`, at its largest, needs; members are raised, never lowered. [any] */
typedef struct scratch_need {
    int64_t worker_floats, sums, partials;
} scratch_need;
void operation_scratch(const operation *v, scratch_need *need);

/* Checks what only the data can tell (row offsets) and the library's limits. [orchestrator] */
prn_status operation_prepare(operation *v, prn_error *error);

/* Runs it; cannot fail. [orchestrator] */
void operation_run(prn_backend_instance *instance, prn_executable *executable, const operation *v);

/* ---- matmul.c ---- */

/* c (m, n) = alpha op(a) op(b) + beta c, row-major; then, when `has_epilogue`, y = act(c + bias) + residual. beta is 0 or 1. */
typedef struct matmul {
    const float *a, *b;
    float *c;
    int64_t m, n, k, lda, ldb;
    int transpose_a, transpose_b;
    float alpha, beta;
    int has_epilogue, activation;
    int is_half; /* a and b are rounded to bf16 */
    float *y, *pre; /* `c` is `pre` when given, else y */
    const float *bias, *residual;
    /* more work for the same round of tasks, of a transposed product: out (columns) (+)= sums over rows of x (rows, columns) */
    const float *sums_of;
    float *sums;
    int64_t sums_rows, sums_columns;
    int sums_accumulate;
} matmul;

/* Of prn_executable's `sums`, what a product with a transposed left side takes at most, of these sizes or smaller ones. */
int64_t matmul_sums_floats(int64_t m, int64_t n, int64_t k);

void matmul_run(prn_backend_instance *instance, const prn_executable *executable, const matmul *job);

#endif
