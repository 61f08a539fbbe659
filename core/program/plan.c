/* core/program/plan.c: from a graph to a finished program: what nobody needs is removed, the workspace is planned.
 *
 * Memory plan: a workspace tensor lives from the first operation that writes it to the last that touches it. Tensors are placed
 * largest first at the lowest offset where they meet no placed tensor with an overlapping life. Sizes are those at the
 * symbols' maxima, so one plan serves every run-time size.
 */
#include "program/graph_internal.h"

#include <stdlib.h>
#include <string.h>

enum { PLAN_ALIGNMENT = 64 }; /* elements */

static int is_bound(const prn__graph *graph, int32_t t)
{
    return graph->tensors[t].slot != PRN_SLOT_WORKSPACE;
}

/* Outputs that an operation can do without. */
static int is_optional(uint32_t kind, uint32_t output)
{
    return (kind == PRN_OP_LINEAR && output == 1) || kind == PRN_OP_SIMILARITY_GRAD || (kind == PRN_OP_LINEAR_GRAD_W && output == 1) ||
           kind == PRN_OP_READ_ATTENTION_GRAD;
}

static prn_status remove_dead(prn__graph *graph, prn_error *error)
{
    uint8_t *needed = prn__alloc_array(graph->tensor_count + 1, 1);
    uint8_t *kept = prn__alloc_array(graph->op_count + 1, 1);
    if (needed == NULL || kept == NULL) {
        prn__free(needed);
        prn__free(kept);
        return prn_error_set(error, PRN_NO_MEMORY, "program '%s': out of memory while planning", graph->name);
    }
    /* `needed` is never taken back: an accumulating or in-place operation needs every earlier writer as well */
    for (uint32_t i = graph->op_count; i-- > 0;) {
        prn_op *op = &graph->ops[i];
        for (uint32_t k = 0; k < PRN_OP_MAX_OUTPUTS; k++) {
            if (op->output[k] != PRN_NO_TENSOR && (is_bound(graph, op->output[k]) || needed[op->output[k]])) {
                kept[i] = 1;
            }
        }
        if (!kept[i]) {
            continue;
        }
        for (uint32_t k = 0; k < PRN_OP_MAX_INPUTS; k++) {
            if (op->input[k] != PRN_NO_TENSOR) {
                needed[op->input[k]] = 1;
            }
        }
    }
    uint32_t next = 0;
    for (uint32_t s = 0; s < graph->segment_count; s++) {
        prn_segment *segment = &graph->segments[s];
        uint32_t first = next;
        for (uint32_t i = segment->first_op; i < segment->first_op + segment->op_count; i++) {
            if (kept[i]) {
                prn_op op = graph->ops[i];
                for (uint32_t k = 0; k < PRN_OP_MAX_OUTPUTS; k++) {
                    if (op.output[k] != PRN_NO_TENSOR && is_optional(op.kind, k) && !needed[op.output[k]] && !is_bound(graph, op.output[k])) {
                        op.output[k] = PRN_NO_TENSOR;
                    }
                }
                graph->ops[next++] = op;
            }
        }
        segment->first_op = first;
        segment->op_count = next - first;
    }
    graph->op_count = next;
    prn__free(needed);
    prn__free(kept);
    return PRN_OK;
}

typedef struct life {
    int32_t tensor;
    uint32_t first, last; /* operations */
    int64_t elements, offset;
} life;

static int by_size(const void *a, const void *b)
{
    const life *x = a, *y = b;
    if (x->elements != y->elements) {
        return x->elements < y->elements ? 1 : -1;
    }
    return x->tensor < y->tensor ? -1 : x->tensor > y->tensor;
}

static int by_offset(const void *a, const void *b)
{
    const life *x = *(life *const *)a, *y = *(life *const *)b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static void touch(const prn__graph *graph, life *lives, int32_t t, uint32_t op)
{
    if (t != PRN_NO_TENSOR && !is_bound(graph, t)) {
        if (lives[t].tensor < 0) {
            lives[t].tensor = t;
            lives[t].first = op;
        }
        lives[t].last = op;
    }
}

prn_status prn__graph_plan_memory(prn__graph *graph, prn_error *error)
{
    prn_status status = PRN_OK;
    life *lives = prn__alloc_array(graph->tensor_count + 1, sizeof *lives);
    life **near = prn__alloc_array(graph->tensor_count + 1, sizeof *near);
    int64_t *maxima = prn__alloc_array(graph->symbol_count + 1, sizeof *maxima);
    uint32_t count = 0;
    int64_t total = 0;
    if (lives == NULL || near == NULL || maxima == NULL) {
        status = prn_error_set(error, PRN_NO_MEMORY, "program '%s': out of memory while planning", graph->name);
        goto done;
    }
    for (uint32_t i = 0; i < graph->symbol_count; i++) {
        maxima[i] = graph->symbols[i].maximum;
    }
    for (uint32_t t = 0; t < graph->tensor_count; t++) {
        lives[t].tensor = -1;
    }
    for (uint32_t i = 0; i < graph->op_count; i++) {
        const prn_op *op = &graph->ops[i];
        for (uint32_t k = 0; k < PRN_OP_MAX_INPUTS; k++) {
            if (op->input[k] != PRN_NO_TENSOR && !is_bound(graph, op->input[k]) && lives[op->input[k]].tensor < 0) {
                status = prn_error_set(error, PRN_INVALID, "program '%s': %s reads '%s' before anything has written it", graph->name,
                                       prn__op_name(op->kind), graph->tensors[op->input[k]].name);
                goto done;
            }
            touch(graph, lives, op->input[k], i);
        }
        for (uint32_t k = 0; k < PRN_OP_MAX_OUTPUTS; k++) {
            touch(graph, lives, op->output[k], i);
        }
    }
    for (uint32_t t = 0; t < graph->tensor_count; t++) {
        if (lives[t].tensor >= 0) {
            int64_t n = 1;
            const prn_tensor *tensor = &graph->tensors[t];
            for (uint32_t a = 0; a < tensor->rank; a++) {
                if (__builtin_mul_overflow(n, prn_tensor_size(tensor, a, maxima), &n)) {
                    n = INT64_MAX;
                }
            }
            if (n > PRN__MAX_ELEMENTS) {
                status = prn_error_set(error, PRN_INVALID, "program '%s': tensor '%s' is too large", graph->name, tensor->name);
                goto done;
            }
            lives[count] = lives[t];
            lives[count].elements = (n + PLAN_ALIGNMENT - 1) / PLAN_ALIGNMENT * PLAN_ALIGNMENT;
            count++;
        }
    }
    qsort(lives, count, sizeof *lives, by_size);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t neighbours = 0;
        for (uint32_t j = 0; j < i; j++) {
            if (lives[j].first <= lives[i].last && lives[i].first <= lives[j].last) {
                near[neighbours++] = &lives[j];
            }
        }
        qsort(near, neighbours, sizeof(life *), by_offset);
        int64_t offset = 0;
        for (uint32_t j = 0; j < neighbours && near[j]->offset < offset + lives[i].elements; j++) {
            int64_t end = near[j]->offset + near[j]->elements;
            offset = end > offset ? end : offset;
        }
        if (offset > PRN__MAX_ELEMENTS) {
            status = prn_error_set(error, PRN_INVALID, "program '%s': the workspace is too large", graph->name);
            goto done;
        }
        lives[i].offset = offset;
        graph->tensors[lives[i].tensor].offset = offset;
        total = offset + lives[i].elements > total ? offset + lives[i].elements : total;
    }
    graph->program.workspace_elements = total;
done:
    prn__free(lives);
    prn__free(near);
    prn__free(maxima);
    return status;
}

prn_status prn__graph_finish(prn__graph *graph, const prn_program **result, prn_error *error)
{
    *result = NULL;
    if (graph->failure.status != PRN_OK) {
        return prn_error_set(error, (prn_status)graph->failure.status, "%s", graph->failure.message);
    }
    if (!graph->is_finished) {
        prn_status status = remove_dead(graph, error);
        if (status == PRN_OK) {
            status = prn__graph_plan_memory(graph, error);
        }
        if (status != PRN_OK) {
            return status;
        }
        graph->is_finished = 1;
    }
    prn_program *program = &graph->program;
    program->struct_size = sizeof *program;
    program->name = graph->name;
    program->symbols = graph->symbols;
    program->symbol_count = graph->symbol_count;
    program->slots = graph->slots;
    program->slot_count = graph->slot_count;
    program->tensors = graph->tensors;
    program->tensor_count = graph->tensor_count;
    program->ops = graph->ops;
    program->op_count = graph->op_count;
    program->segments = graph->segments;
    program->segment_count = graph->segment_count;
    *result = program;
    return PRN_OK;
}
