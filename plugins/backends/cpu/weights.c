/* plugins/backends/cpu/weights.c: weights that executions side by side multiply by, rounded to bf16 and laid out once for all of them.
 *
 * Each execution has few rows, so that laying down the weights again for every one would take as long as a good part of its products. They are laid
 * down when a segment begins, which reads them and does not change them.
 */
#include "operations.h"

static int has_weights(const prn_op *op)
{
    return op->kind == PRN_OP_LINEAR || op->kind == PRN_OP_LINEAR_GRAD_X;
}

/* Floats that one operation's weights take; 0 where they are no constant of the segment, or a symbol changes their sides. */
static int64_t floats_of(const prn_program *program, uint32_t index)
{
    const prn_op *op = &program->ops[index];
    const prn_tensor *w = &program->tensors[op->input[1]];
    if (w->slot == PRN_SLOT_WORKSPACE || program->slots[w->slot].is_written || w->rank != 2 || w->dim[0].symbol >= 0 || w->dim[1].symbol >= 0) {
        return 0;
    }
    /* (N, K), or (K, N) where transposed; LINEAR sums over K, its gradient over N */
    const int64_t rows = w->dim[0].fixed, columns = w->dim[1].fixed;
    return (op->kind == PRN_OP_LINEAR) == !op->attrs.transpose_w ? half_packed_floats(rows, columns) : half_packed_floats(columns, rows);
}

int64_t weights_floats(const prn_backend_instance *instance, const prn_program *program)
{
    int64_t most = 0;
    for (uint32_t s = 0; s < program->segment_count && instance->half != NULL; s++) {
        const uint32_t first = program->segments[s].first_op, end = first + program->segments[s].op_count;
        int64_t all = 0;
        for (uint32_t i = first; i < end; i++) {
            all += has_weights(&program->ops[i]) ? floats_of(program, i) : 0;
        }
        most = all > most ? all : most;
    }
    return most;
}

int64_t weights_panels(const prn_backend_instance *instance, const prn_program *program)
{
    int64_t most = 0;
    for (uint32_t s = 0; s < program->segment_count && instance->half != NULL; s++) {
        const uint32_t first = program->segments[s].first_op, end = first + program->segments[s].op_count;
        int64_t all = 0;
        for (uint32_t i = first; i < end; i++) {
            const prn_op *op = &program->ops[i];
            if (has_weights(op) && floats_of(program, i) > 0) {
                const prn_tensor *w = &program->tensors[op->input[1]];
                const int64_t longer = w->dim[0].fixed > w->dim[1].fixed ? w->dim[0].fixed : w->dim[1].fixed;
                all += (longer + instance->half->panel - 1) / instance->half->panel;
            }
        }
        most = all > most ? all : most;
    }
    return most;
}

int weights_shared(const prn_backend_instance *instance, const prn_executable *executable, uint32_t segment)
{
    const prn_program *program = executable->program;
    const uint32_t first = program->segments[segment].first_op, end = first + program->segments[segment].op_count;
    for (uint32_t i = first; i < end && instance->half != NULL; i++) {
        const prn_op *op = &program->ops[i];
        if (has_weights(op) && (floats_of(program, i) == 0 || !executable->shared[program->tensors[op->input[1]].slot])) {
            return 0;
        }
    }
    return 1;
}

prn_status weights_find(const prn_backend_instance *instance, prn_executable *executable, uint32_t segment, const prn_binding *binding, prn_error *error)
{
    const prn_program *program = executable->program;
    const uint32_t first = program->segments[segment].first_op, end = first + program->segments[segment].op_count;
    float *next = executable->weights;
    prn_status status = PRN_OK;
    executable->panel_count = 0;
    for (uint32_t i = first; i < end && status == PRN_OK; i++) {
        executable->weights_of[i] = NULL;
        if (instance->half == NULL || !has_weights(&program->ops[i])) {
            continue;
        }
        status = operation_resolve(program, i, binding, sizeof(float), &executable->views[i], error);
        if (status == PRN_OK) {
            const matmul job = operation_product(instance, executable, &executable->views[i]);
            const int64_t panels = matmul_panels(instance, &job);
            for (int64_t p = 0; p < panels; p++) {
                executable->panels[executable->panel_count++] = (weights_panel){i, (uint32_t)p};
            }
            executable->weights_of[i] = next;
            next += floats_of(program, i);
        }
    }
    return status;
}

void weights_pack(const prn_backend_instance *instance, const prn_executable *executable, int64_t index, uint32_t worker)
{
    const weights_panel *panel = &executable->panels[index];
    const matmul job = operation_product(instance, executable, &executable->views[panel->op]);
    matmul_pack(instance, &job, executable->weights_of[panel->op], worker_room(executable, worker), panel->index);
}
