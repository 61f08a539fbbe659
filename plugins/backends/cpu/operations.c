/* plugins/backends/cpu/operations.c: what an operation needs and whether it can be run, and the one switch; see operations.h. */
#include "share.h"

#include <limits.h>

/* Of the right side of a product in bf16. */
static int64_t right_floats(const operation *v)
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
        need->packed = most(need->packed, right_floats(v));
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
    case PRN_OP_PATCHES:
    case PRN_OP_LOOKUP:
    case PRN_OP_LOOKUP_GRAD:
    case PRN_OP_CLASS_ROWS:
    case PRN_OP_CLASS_ROWS_GRAD:
    case PRN_OP_GATHER_ROWS:
    case PRN_OP_GATHER_ROWS_GRAD: rows_run(&s); break;
    case PRN_OP_LAYER_NORM:
    case PRN_OP_LAYER_NORM_GRAD:
    case PRN_OP_L2_NORMALISE:
    case PRN_OP_L2_NORMALISE_GRAD: norms_run(&s); break;
    case PRN_OP_ATTENTION:
    case PRN_OP_ATTENTION_GRAD:
    case PRN_OP_READ_ATTENTION:
    case PRN_OP_READ_ATTENTION_GRAD: attention_run(&s); break;
    case PRN_OP_LINEAR:
    case PRN_OP_LINEAR_GRAD_X:
    case PRN_OP_LINEAR_GRAD_W:
    case PRN_OP_SIMILARITY:
    case PRN_OP_SIMILARITY_GRAD: products_run(&s); break;
    default: elements_run(&s); break;
    }
}
