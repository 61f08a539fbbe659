/* plugins/backends/cpu/weights.c: weights that executions side by side multiply by, laid out once for all of them, and rounded where products are of bf16.
 *
 * Each execution has few rows, so that laying down the weights again for every one would take as long as a good part of its products. They are laid
 * down when a segment begins, which reads them and does not change them.
 */
#include "operations.h"

static int has_weights(const prn_op *op)
{
    return op->kind == PRN_OP_LINEAR || op->kind == PRN_OP_LINEAR_GRAD_X;
}

/* One operation's weights as the right side of its product, (k, n); 0 where they are no constant of the segment, a symbol changes their sides, or the matrix
 * library multiplies by them. */
static int sides_of(const prn_backend_instance *instance, const prn_program *program, uint32_t index, int64_t *n, int64_t *k)
{
    const prn_op *op = &program->ops[index];
    const prn_tensor *w = &program->tensors[op->input[1]];
    if (w->slot == PRN_SLOT_WORKSPACE || program->slots[w->slot].is_written || w->rank != 2 || w->dim[0].symbol >= 0 || w->dim[1].symbol >= 0) {
        return 0;
    }
    /* (N, K), or (K, N) where transposed; LINEAR sums over K, its gradient over N */
    const int along_rows = (op->kind == PRN_OP_LINEAR) == !op->attrs.transpose_w;
    *n = w->dim[!along_rows].fixed;
    *k = w->dim[along_rows].fixed;
    return matmul_packs(instance, *n, *k);
}

static int64_t floats_of(const prn_backend_instance *instance, int64_t n, int64_t k)
{
    return instance->half != NULL ? half_packed_floats(n, k) : packed_floats(n, k);
}

void weights_most(const prn_backend_instance *instance, const prn_program *program, int64_t *floats, int64_t *panels)
{
    *floats = *panels = 0;
    for (uint32_t s = 0; s < program->segment_count; s++) {
        const uint32_t first = program->segments[s].first_op, end = first + program->segments[s].op_count;
        int64_t all_floats = 0, all_panels = 0, n, k;
        for (uint32_t i = first; i < end; i++) {
            if (has_weights(&program->ops[i]) && sides_of(instance, program, i, &n, &k)) {
                all_floats += floats_of(instance, n, k);
                all_panels += matmul_panels(instance, n);
            }
        }
        *floats = all_floats > *floats ? all_floats : *floats;
        *panels = all_panels > *panels ? all_panels : *panels;
    }
}

int weights_shared(const prn_backend_instance *instance, const prn_executable *executable, uint32_t segment)
{
    const prn_program *program = executable->program;
    const uint32_t first = program->segments[segment].first_op, end = first + program->segments[segment].op_count;
    for (uint32_t i = first; i < end && instance->half != NULL; i++) {
        const prn_op *op = &program->ops[i];
        int64_t n, k;
        if (has_weights(op) && (!sides_of(instance, program, i, &n, &k) || !executable->shared[program->tensors[op->input[1]].slot])) {
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
        int64_t n, k;
        executable->weights_of[i] = NULL;
        const prn_op *op = &program->ops[i];
        if (!has_weights(op) || !sides_of(instance, program, i, &n, &k) || !executable->shared[program->tensors[op->input[1]].slot]) {
            continue;
        }
        status = operation_resolve(program, i, binding, sizeof(float), &executable->views[i], error);
        for (int64_t p = 0; p < matmul_panels(instance, n) && status == PRN_OK; p++) {
            executable->panels[executable->panel_count++] = (weights_panel){i, (uint32_t)p};
        }
        executable->weights_of[i] = next;
        next += floats_of(instance, n, k);
    }
    return status;
}

void weights_pack(const prn_backend_instance *instance, const prn_executable *executable, int64_t index, uint32_t worker)
{
    const weights_panel *panel = &executable->panels[index];
    const matmul job = operation_product(instance, executable, &executable->views[panel->op]);
    matmul_pack(instance, &job, executable->weights_of[panel->op], worker_room(executable, worker), panel->index);
}
