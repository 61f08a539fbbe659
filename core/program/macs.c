/* core/program/macs.c: multiply-accumulates of a program's matrix products, and finding things by name. */
#include "program/graph_internal.h"

#include <string.h>

/* Pairs of (query, key) positions over all items: what attention's cost is made of. */
static double pairs_of(const prn_program *program, const prn_op *op, int32_t qkv, const int64_t *values, double attention_pairs)
{
    const prn_tensor *t = &program->tensors[qkv];
    double rows = (double)prn_tensor_size(t, 0, values);
    if (op->attrs.positions > 0) {
        return rows * op->attrs.positions;
    }
    return attention_pairs > 0 ? attention_pairs : rows * rows;
}

double prn__program_op_macs(const prn_program *program, uint32_t index, const int64_t *values, double attention_pairs)
{
    const prn_op *op = &program->ops[index];
    const prn_tensor *a = op->input[0] >= 0 ? &program->tensors[op->input[0]] : NULL;
    const prn_tensor *b = op->input[1] >= 0 ? &program->tensors[op->input[1]] : NULL;
    switch ((prn_op_kind)op->kind) {
    case PRN_OP_LINEAR:
        return (double)prn_tensor_size(a, 0, values) * (double)prn_tensor_elements(b, values);
    case PRN_OP_LINEAR_GRAD_X:
        return (double)prn_tensor_size(a, 0, values) * (double)prn_tensor_elements(b, values);
    case PRN_OP_LINEAR_GRAD_W:
        return (double)prn_tensor_elements(a, values) * (double)prn_tensor_size(b, 1, values);
    case PRN_OP_ATTENTION:
        return 2.0 * pairs_of(program, op, op->input[0], values, attention_pairs) * (double)prn_tensor_size(a, 1, values) / 3.0;
    case PRN_OP_ATTENTION_GRAD: /* two products forward, each with two gradients */
        return 4.0 * pairs_of(program, op, op->input[1], values, attention_pairs) * (double)prn_tensor_size(b, 1, values) / 3.0;
    case PRN_OP_READ_ATTENTION: /* a query meets each row of its group twice: 2 M C */
        return (double)prn_tensor_elements(b, values);
    case PRN_OP_READ_ATTENTION_GRAD:
        return 2.0 * (double)prn_tensor_elements(&program->tensors[op->input[2]], values);
    case PRN_OP_SIMILARITY:
        return (double)prn_tensor_elements(a, values) * (double)prn_tensor_size(b, 0, values);
    case PRN_OP_SIMILARITY_GRAD: {
        double one = (double)prn_tensor_elements(a, values) * (double)prn_tensor_size(b, 1, values);
        return one * ((op->output[0] >= 0) + (op->output[1] >= 0));
    }
    default:
        return 0;
    }
}

double prn__program_macs(const prn_program *program, int32_t segment, const int64_t *values, double attention_pairs)
{
    double total = 0;
    for (uint32_t s = 0; s < program->segment_count; s++) {
        if (segment >= 0 && (uint32_t)segment != s) {
            continue;
        }
        for (uint32_t i = 0; i < program->segments[s].op_count; i++) {
            total += prn__program_op_macs(program, program->segments[s].first_op + i, values, attention_pairs);
        }
    }
    return total;
}

int32_t prn__program_segment(const prn_program *program, const char *name)
{
    for (uint32_t i = 0; i < program->segment_count; i++) {
        if (strcmp(program->segments[i].name, name) == 0) {
            return (int32_t)i;
        }
    }
    return -1;
}

int32_t prn__program_slot(const prn_program *program, const char *name)
{
    for (uint32_t i = 0; i < program->slot_count; i++) {
        if (strcmp(program->slots[i].name, name) == 0) {
            return (int32_t)i;
        }
    }
    return -1;
}
