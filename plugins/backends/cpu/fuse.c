/* plugins/backends/cpu/fuse.c: two operations that are faster as one.
 *
 * The gradient by what goes into an activation follows the product that gives the gradient by what comes out. In one, it is done block by block while a
 * block of the product lies in the cache, and may be kept in bf16 (halves.c). The results are the same, to the last bit.
 */
#include "operations.h"

static int is_slope_of(const prn_op *product, const prn_op *next)
{
    return product->kind == PRN_OP_LINEAR_GRAD_X && !product->attrs.accumulate && next->kind == PRN_OP_ACTIVATION_GRAD && !next->attrs.accumulate &&
           next->input[0] == product->output[0] && next->output[0] == product->output[0] && next->input[1] != product->output[0];
}

prn_program *program_fused(const prn_host *host, const prn_program *program)
{
    const size_t segments_at = (sizeof *program + 63) / 64 * 64, segment_bytes = program->segment_count * sizeof *program->segments;
    const size_t ops_at = segments_at + (segment_bytes + 63) / 64 * 64;
    size_t op_count = 1;
    for (uint32_t s = 0; s < program->segment_count; s++) {
        op_count += program->segments[s].op_count;
    }
    char *memory = host->allocate(host->self, ops_at + op_count * sizeof *program->ops, "cpu executable");
    if (memory == NULL) {
        return NULL;
    }
    prn_program *fused = (prn_program *)(void *)memory;
    prn_segment *segments = (prn_segment *)(void *)(memory + segments_at);
    prn_op *ops = (prn_op *)(void *)(memory + ops_at);
    *fused = *program;
    fused->segments = segments;
    fused->ops = ops;
    fused->op_count = 0;
    for (uint32_t s = 0; s < program->segment_count; s++) {
        const uint32_t first = program->segments[s].first_op, end = first + program->segments[s].op_count;
        segments[s] = program->segments[s];
        segments[s].first_op = fused->op_count;
        for (uint32_t i = first; i < end; i++) {
            prn_op *op = &ops[fused->op_count++];
            *op = program->ops[i];
            if (i + 1 < end && is_slope_of(op, &program->ops[i + 1])) {
                op->input[2] = program->ops[++i].input[1];
                op->attrs.activation = program->ops[i].attrs.activation;
            } else if (op->kind == PRN_OP_LINEAR_GRAD_X) {
                op->input[2] = PRN_NO_TENSOR;
            }
        }
        segments[s].op_count = fused->op_count - segments[s].first_op;
    }
    return fused;
}
