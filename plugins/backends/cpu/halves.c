/* plugins/backends/cpu/halves.c: which tensors of the workspace are kept in bf16.
 *
 * With precision bf16 a product rounds its operands. What is only ever an operand of products is rounded where it is made instead, once: half the
 * bytes to write and to read, nothing to round when it is read, and the same results to the last bit. It lies in the first half of its place. That is
 * what goes into a linear layer (patches of images, and what is behind a layer norm, an activation or an attention); what goes into an attention; and the
 * gradients by all of these that a linear layer's gradients read: rows by columns, two neighbours of a row in a pair. What goes into an activation is
 * rounded wherever it lies (half_epilogue), so it may be kept in bf16 too.
 */
#include "operations.h"

/* A head's values lie in pairs of their own. `parts`: of that width in a row of the input, 3 of (query, key, value), 2 of (key, value). */
static int has_pairs_of_heads(const prn_program *program, const prn_op *op, int input, int64_t parts)
{
    const prn_tensor *rows = &program->tensors[op->input[input]];
    return rows->rank > 0 && rows->dim[rows->rank - 1].symbol < 0 && rows->dim[rows->rank - 1].fixed % (2 * parts * (int64_t)op->attrs.heads) == 0;
}

static int may_write(const prn_program *program, const prn_op *op, int output)
{
    switch (op->kind) {
    case PRN_OP_PATCHES:
    case PRN_OP_LAYER_NORM:
    case PRN_OP_ACTIVATION: return output == 0;
    case PRN_OP_LINEAR: return op->input[3] == PRN_NO_TENSOR && (output == 0 || linear_is_rounded(op)); /* a sum with a residual is added to again */
    case PRN_OP_LINEAR_GRAD_X: return !op->attrs.accumulate;
    case PRN_OP_ATTENTION: return output == 0 && has_pairs_of_heads(program, op, 0, 3);
    case PRN_OP_ATTENTION_GRAD: return output == 0 && !op->attrs.accumulate && has_pairs_of_heads(program, op, 1, 3);
    case PRN_OP_READ_ATTENTION_GRAD: return output == 1 && !op->attrs.accumulate && has_pairs_of_heads(program, op, 2, 2);
    default: return 0;
    }
}

static int may_read(const prn_program *program, const prn_op *op, int input)
{
    switch (op->kind) {
    case PRN_OP_LINEAR:
    case PRN_OP_ACTIVATION: return input == 0;
    case PRN_OP_ACTIVATION_GRAD: return input == 1;
    case PRN_OP_LINEAR_GRAD_X: return input != 1;
    case PRN_OP_LINEAR_GRAD_W: return op->output[0] != PRN_NO_TENSOR; /* a bias gradient alone is no product */
    case PRN_OP_ATTENTION: return input == 0 && has_pairs_of_heads(program, op, 0, 3);
    case PRN_OP_ATTENTION_GRAD: return input <= 2 && has_pairs_of_heads(program, op, 1, 3);
    default: return 0;
    }
}

/* At the symbols' largest values. */
static int overlap(const prn_tensor *a, const prn_tensor *b, const int64_t *maxima)
{
    operand x, y;
    if (a->slot != b->slot || !operand_size(a, maxima, &x) || !operand_size(b, maxima, &y)) {
        return a->slot == b->slot;
    }
    return a->offset < b->offset + y.elements && b->offset < a->offset + x.elements;
}

/* An operation that writes in the place of what it reads may not move its result to other bytes. */
static int is_apart(const prn_program *program, const int64_t *maxima, const prn_op *op, int output)
{
    const prn_tensor *y = &program->tensors[op->output[output]];
    for (int i = 0; i < PRN_OP_MAX_INPUTS; i++) {
        if (op->input[i] != PRN_NO_TENSOR && overlap(y, &program->tensors[op->input[i]], maxima)) {
            return 0;
        }
    }
    for (int i = 0; i < PRN_OP_MAX_OUTPUTS; i++) {
        if (i != output && op->output[i] != PRN_NO_TENSOR && overlap(y, &program->tensors[op->output[i]], maxima)) {
            return 0;
        }
    }
    return 1;
}

/* A linear layer has room for one block of sums until they are rounded: they must be complete at once. */
static int has_room(const prn_program *program, const prn_op *op)
{
    const int is_product = op->kind == PRN_OP_LINEAR || op->kind == PRN_OP_LINEAR_GRAD_X;
    const prn_tensor *x = is_product ? &program->tensors[op->input[0]] : NULL;
    return x == NULL || (x->rank > 0 && x->dim[x->rank - 1].symbol < 0 && x->dim[x->rank - 1].fixed > 0 &&
                         x->dim[x->rank - 1].fixed <= HALF_SPAN);
}

static int is_pairs(const prn_tensor *t)
{
    const prn_dim *last = t->rank >= 2 ? &t->dim[t->rank - 1] : NULL;
    return t->slot == PRN_SLOT_WORKSPACE && t->type == PRN_REAL && last != NULL && last->symbol < 0 && last->fixed > 0 && last->fixed % 2 == 0;
}

void halves_choose(const prn_program *program, const int64_t *maxima, uint8_t *is_half)
{
    enum { WRITTEN = 1, NEVER = 2 };
    for (uint32_t t = 0; t < program->tensor_count; t++) {
        is_half[t] = is_pairs(&program->tensors[t]) ? 0 : NEVER;
    }
    for (uint32_t i = 0; i < program->op_count; i++) {
        const prn_op *op = &program->ops[i];
        for (int k = 0; k < PRN_OP_MAX_INPUTS; k++) {
            if (op->input[k] != PRN_NO_TENSOR && !may_read(program, op, k)) {
                is_half[op->input[k]] |= NEVER;
            }
        }
        for (int k = 0; k < PRN_OP_MAX_OUTPUTS; k++) {
            if (op->output[k] != PRN_NO_TENSOR) {
                is_half[op->output[k]] |= may_write(program, op, k) && is_apart(program, maxima, op, k) && has_room(program, op) ? WRITTEN : NEVER;
            }
        }
    }
    for (uint32_t t = 0; t < program->tensor_count; t++) {
        is_half[t] = is_half[t] == WRITTEN;
    }
}
