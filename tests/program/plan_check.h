/* tests/program/plan_check.h: a checker of memory plans that shares nothing with the planner. Include after cmocka.h. */
#ifndef PRN_TESTS_PROGRAM_PLAN_CHECK_H
#define PRN_TESTS_PROGRAM_PLAN_CHECK_H

#include <stdlib.h>

#include <perennial/program.h>

/* Whether the operation adds to what is in output k. */
static inline int adds_to(const prn_op *op, int k)
{
    switch ((prn_op_kind)op->kind) {
    case PRN_OP_LOOKUP_GRAD: case PRN_OP_ADAMW: return 1;
    case PRN_OP_LAYER_NORM_GRAD: case PRN_OP_CLASS_ROWS_GRAD: case PRN_OP_SIMILARITY_GRAD: return k > 0 || op->attrs.accumulate;
    default: return op->attrs.accumulate;
    }
}

/* No two workspace tensors that are alive at the same operation share an element; what is read has been written; everything lies inside the
 * workspace at a multiple of 64 elements. Gives the sum of all workspace tensors, rounded up, as if no memory were shared. */
static inline int64_t check_plan(const prn_program *p)
{
    int64_t values[80] = {0}, sum = 0;
    uint32_t *first = calloc(p->tensor_count + 1, sizeof *first), *last = calloc(p->tensor_count + 1, sizeof *last);
    uint8_t *is_hollow = calloc(p->tensor_count + 1, 1); /* added to before anything was written: fine as long as nobody reads it */
    assert_non_null(first);
    assert_non_null(last);
    assert_non_null(is_hollow);
    assert_true(p->symbol_count <= 80);
    for (uint32_t i = 0; i < p->symbol_count; i++) {
        values[i] = p->symbols[i].maximum;
    }
    for (uint32_t i = 0; i < p->op_count; i++) {
        const prn_op *op = &p->ops[i];
        for (int k = 0; k < PRN_OP_MAX_INPUTS; k++) {
            const int32_t t = op->input[k];
            if (t >= 0 && p->tensors[t].slot == PRN_SLOT_WORKSPACE) {
                if (first[t] == 0 || is_hollow[t]) {
                    fail_msg("operation %u reads '%s' before it is written", i, p->tensors[t].name);
                }
                last[t] = i + 1;
            }
        }
        for (int k = 0; k < PRN_OP_MAX_OUTPUTS; k++) {
            const int32_t t = op->output[k];
            if (t >= 0 && p->tensors[t].slot == PRN_SLOT_WORKSPACE) {
                is_hollow[t] = (first[t] == 0 || is_hollow[t]) && adds_to(op, k);
                first[t] = first[t] == 0 ? i + 1 : first[t];
                last[t] = i + 1;
            }
        }
    }
    for (uint32_t a = 0; a < p->tensor_count; a++) {
        if (first[a] == 0) {
            continue;
        }
        const int64_t start = p->tensors[a].offset, end = start + prn_tensor_elements(&p->tensors[a], values);
        if (start < 0 || start % 64 != 0 || end > p->workspace_elements) {
            fail_msg("'%s' lies at [%lld, %lld) of %lld", p->tensors[a].name, (long long)start, (long long)end, (long long)p->workspace_elements);
        }
        sum += (end - start + 63) / 64 * 64;
        for (uint32_t b = 0; b < a; b++) {
            if (first[b] != 0 && first[a] <= last[b] && first[b] <= last[a]) {
                const int64_t from = p->tensors[b].offset, to = from + prn_tensor_elements(&p->tensors[b], values);
                if (start < to && from < end) {
                    fail_msg("'%s' and '%s' are alive together and overlap", p->tensors[a].name, p->tensors[b].name);
                }
            }
        }
    }
    if (p->workspace_elements > sum) {
        fail_msg("the workspace has %lld elements, its tensors together %lld", (long long)p->workspace_elements, (long long)sum);
    }
    free(first);
    free(last);
    free(is_hollow);
    return sum;
}

#endif
