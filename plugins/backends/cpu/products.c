/* plugins/backends/cpu/products.c: linear layers and similarities as matrix products (matmul.c), and their gradients. */
#include "share.h"

#include <math.h>

matmul operation_product(const prn_backend_instance *instance, const prn_executable *executable, const operation *v)
{
    const prn_op_attrs *at = &v->op->attrs;
    matmul job = {.is_half = instance->half != NULL, .a_is_half = is_half(executable, v->op->input[0]), .a = in(v, 0), .b = in(v, 1), .m = v->m, .alpha = 1,
                  .y = out(v, 0), .y_is_half = is_half(executable, v->op->output[0])};
    if (v->op->kind == PRN_OP_LINEAR_GRAD_X) {
        job.n = v->k;
        job.k = v->n;
        job.transpose_b = at->transpose_w;
        job.beta = at->accumulate ? 1.0f : 0.0f;
        job.c = job.y_is_half ? NULL : job.y;
        job.slope_of = in(v, 2);
        job.slope_is_half = is_half(executable, v->op->input[2]);
        job.activation = job.slope_of != NULL ? at->activation : PRN_ACT_NONE;
        job.has_epilogue = job.y_is_half || job.slope_of != NULL;
        job.rounds = instance->half != NULL && job.has_epilogue;
    } else {
        job.n = v->n;
        job.k = v->k;
        job.transpose_b = !at->transpose_w;
        job.pre = out(v, 1);
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

void products_run(share *s)
{
    switch (s->v->op->kind) {
    case PRN_OP_LINEAR:
    case PRN_OP_LINEAR_GRAD_X: linear(s); break;
    case PRN_OP_LINEAR_GRAD_W: linear_grad_w(s); break;
    case PRN_OP_SIMILARITY: similarity(s); break;
    case PRN_OP_SIMILARITY_GRAD: similarity_grad(s); break;
    default: break;
    }
}
