/* plugins/backends/cuda/layout.c: with bf16, which workspace tensors are bf16, and where each one lies.
 *
 * The host plans a workspace in elements, four bytes each. As long as its own plan keeps tensors apart that live at the same time, this one may be put
 * in its place: it does the same, in bytes. Otherwise tensors stay where the host wants them, and bf16 ones use half of their room.
 */
#include "instance.h"

#include <stdlib.h>

static const half_rule half_rules[] = {
    {PRN_OP_PATCHES, 0x0, 0x1, 1, 0},
    {PRN_OP_LINEAR, 0x9, 0x3, 1, 1},
    {PRN_OP_LAYER_NORM, 0x1, 0x1, 1, 1},
    {PRN_OP_ATTENTION, 0x1, 0x1, 1, 1},
    {PRN_OP_READ_ATTENTION, 0x3, 0x1, 1, 1},
    {PRN_OP_LOOKUP, 0x4, 0x1, 1, 1},
    {PRN_OP_CLASS_ROWS, 0x1, 0x1, 1, 0},
    {PRN_OP_GATHER_ROWS, 0x1, 0x1, 1, 1},
    {PRN_OP_ACTIVATION, 0x1, 0x1, 0, 1},
    {PRN_OP_AXPBY, 0x3, 0x1, 0, 1},
    {PRN_OP_FILL, 0x0, 0x1, 0, 0},
    {PRN_OP_LINEAR_GRAD_X, 0x1, 0x1, 1, 1},
    {PRN_OP_LINEAR_GRAD_W, 0x3, 0x0, 1, 1},
    {PRN_OP_ACTIVATION_GRAD, 0x3, 0x1, 0, 1},
    {PRN_OP_LAYER_NORM_GRAD, 0x3, 0x1, 1, 1},
    {PRN_OP_ATTENTION_GRAD, 0x7, 0x1, 1, 1},
    {PRN_OP_READ_ATTENTION_GRAD, 0x7, 0x3, 1, 1},
    {PRN_OP_LOOKUP_GRAD, 0x1, 0x0, 1, 1},
    {PRN_OP_CLASS_ROWS_GRAD, 0x1, 0x1, 1, 0},
    {PRN_OP_GATHER_ROWS_GRAD, 0x1, 0x1, 1, 1},
};

const half_rule *half_rule_of(uint32_t kind)
{
    for (size_t i = 0; i < sizeof half_rules / sizeof half_rules[0]; i++) {
        if (half_rules[i].kind == kind) {
            return &half_rules[i];
        }
    }
    return NULL;
}

/* is_half[t]: 0 no, 1 yes; while deciding, bit 2: touched by a tower, bit 4: never. */
static void choose_halves(const prn_program *program, uint8_t *is_half)
{
    enum { TOWER = 2, NEVER = 4 };
    for (uint32_t i = 0; i < program->op_count; i++) {
        const prn_op *op = &program->ops[i];
        const half_rule *rule = half_rule_of(op->kind);
        for (int k = 0; k < PRN_OP_MAX_INPUTS + PRN_OP_MAX_OUTPUTS; k++) {
            const int is_output = k >= PRN_OP_MAX_INPUTS, at = is_output ? k - PRN_OP_MAX_INPUTS : k;
            const int32_t t = is_output ? op->output[at] : op->input[at];
            if (t != PRN_NO_TENSOR) {
                const int may = rule != NULL && (((is_output ? rule->out : rule->in) >> at) & 1);
                is_half[t] |= (uint8_t)((may ? 0 : NEVER) | (may && rule->is_tower ? TOWER : 0));
            }
        }
    }
    for (uint32_t t = 0; t < program->tensor_count; t++) {
        const prn_tensor *tensor = &program->tensors[t];
        is_half[t] = tensor->slot == PRN_SLOT_WORKSPACE && tensor->type == PRN_REAL && tensor->rank >= 2 && is_half[t] == TOWER;
    }
}

/* ---- where they lie ---- */

typedef struct life {
    uint32_t tensor, first, last; /* operations */
    int is_alive, is_read_first;
    int64_t elements;
    size_t bytes, at;
} life;

static int by_size(const void *a, const void *b)
{
    const life *x = a, *y = b;
    if (x->bytes != y->bytes) {
        return x->bytes < y->bytes ? 1 : -1;
    }
    return x->tensor < y->tensor ? -1 : x->tensor > y->tensor;
}

static int by_place(const void *a, const void *b)
{
    const life *x = *(life *const *)a, *y = *(life *const *)b;
    return x->at < y->at ? -1 : x->at > y->at;
}

static void touch(const prn_program *program, life *lives, int32_t t, uint32_t op, int is_input)
{
    if (t != PRN_NO_TENSOR && program->tensors[t].slot == PRN_SLOT_WORKSPACE) {
        if (!lives[t].is_alive) {
            lives[t].is_alive = 1;
            lives[t].first = op;
            lives[t].is_read_first = is_input;
        }
        lives[t].last = op;
    }
}

static int live_together(const life *a, const life *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/* 1 when each tensor has memory of its own while it lives, and is written before it is read. */
static int keeps_apart(const prn_program *program, const life *lives, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const int64_t at = program->tensors[lives[i].tensor].offset;
        if (lives[i].is_read_first) {
            return 0;
        }
        for (uint32_t j = 0; j < i; j++) {
            const int64_t other = program->tensors[lives[j].tensor].offset;
            if (live_together(&lives[i], &lives[j]) && at < other + lives[j].elements && other < at + lives[i].elements) {
                return 0;
            }
        }
    }
    return 1;
}

/* Largest first, each at the lowest place where it meets none that lives with it. Bytes in all. */
static size_t place(life *lives, uint32_t count, life **near)
{
    size_t total = 0;
    qsort(lives, count, sizeof *lives, by_size);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t neighbours = 0;
        for (uint32_t j = 0; j < i; j++) {
            if (live_together(&lives[i], &lives[j])) {
                near[neighbours++] = &lives[j];
            }
        }
        qsort(near, neighbours, sizeof(life *), by_place);
        size_t at = 0;
        for (uint32_t j = 0; j < neighbours && near[j]->at < at + lives[i].bytes; j++) {
            const size_t end = near[j]->at + near[j]->bytes;
            at = end > at ? end : at;
        }
        lives[i].at = at;
        total = at + lives[i].bytes > total ? at + lives[i].bytes : total;
    }
    return total;
}

prn_status layout_plan(const prn_host *host, prn_executable *e, const int64_t *maxima, prn_error *error)
{
    const prn_program *program = e->program;
    const size_t tensors = (size_t)program->tensor_count + 1;
    life *lives = host->allocate(host->self, tensors * sizeof *lives, "cuda layout");
    life **near = host->allocate(host->self, tensors * sizeof *near, "cuda layout");
    size_t *byte_at = host->allocate(host->self, tensors * sizeof *byte_at, "cuda layout");
    uint32_t count = 0;
    if (lives == NULL || near == NULL || byte_at == NULL) {
        host->release(host->self, lives);
        host->release(host->self, near);
        host->release(host->self, byte_at);
        return prn_error_set(error, PRN_NO_MEMORY, "no memory to plan program '%s'", program->name);
    }
    choose_halves(program, e->is_half);
    memset(lives, 0, tensors * sizeof *lives);
    memset(byte_at, 0, tensors * sizeof *byte_at);
    for (uint32_t i = 0; i < program->op_count; i++) {
        for (int k = 0; k < PRN_OP_MAX_INPUTS; k++) {
            touch(program, lives, program->ops[i].input[k], i, 1);
        }
        for (int k = 0; k < PRN_OP_MAX_OUTPUTS; k++) {
            touch(program, lives, program->ops[i].output[k], i, 0);
        }
    }
    int fits = 1;
    for (uint32_t t = 0; t < program->tensor_count; t++) {
        operand o;
        if (lives[t].is_alive) {
            fits &= operand_size(&program->tensors[t], maxima, &o) && o.elements < (int64_t)1 << 40;
            lives[count] = lives[t];
            lives[count].tensor = t;
            lives[count].elements = fits ? o.elements : 0;
            lives[count].bytes = aligned((size_t)lives[count].elements * (e->is_half[t] ? 2 : 4));
            count++;
        }
    }
    if (fits && keeps_apart(program, lives, count)) {
        e->workspace_bytes = place(lives, count, near);
        for (uint32_t i = 0; i < count; i++) {
            byte_at[lives[i].tensor] = lives[i].at;
        }
        e->byte_at = byte_at;
        byte_at = NULL;
    }
    host->release(host->self, lives);
    host->release(host->self, near);
    host->release(host->self, byte_at);
    return PRN_OK;
}
