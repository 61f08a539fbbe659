/* plugins/backends/common/operand.h: what host-memory backends share: buffers, and checked views of an operation's operands.
 *
 * Purpose: a kernel gets raw pointers and sizes; everything that could be wrong about them is refused here, before the
 * first operation of a segment runs: tensor and slot indices, types, shapes of one operation against each other,
 * extents against the bound buffers, row offsets against the rows they split.
 * Header only, so that a backend stays one shared object built from the SDK; all functions are static.
 * Never in here: arithmetic on tensor values.
 */
#ifndef PRN_BACKENDS_OPERAND_H
#define PRN_BACKENDS_OPERAND_H

#include <perennial/backend.h>
#include <string.h>

#define OPERATION_NAME_UNKNOWN "unknown operation"

struct prn_buffer {
    void *data; /* aligned to 64 bytes; never NULL, also when empty */
    void *pages; /* what to free for a large buffer (buffers.h); NULL: `data` is the host's */
    int64_t elements;
    uint32_t type; /* a prn_type */
    int wishes_huge; /* buffer_wish_huge has been called */
};

/* A tensor with its run-time sizes and memory. */
typedef struct operand {
    void *data; /* NULL when absent */
    int64_t first; /* elements before it in its slot's buffer */
    int64_t elements;
    int64_t rows, columns; /* rank >= 2: all but the last dimension, the last; rank 1: (n, 1); rank 0: (1, 1) */
    int64_t size[PRN_MAX_RANK];
    uint32_t rank;
    uint32_t type;
} operand;

/* One operation, ready to run. The letters are those of program.h; a kind uses those that its comment there names. */
typedef struct operation {
    const prn_op *op;
    operand in[PRN_OP_MAX_INPUTS];
    operand out[PRN_OP_MAX_OUTPUTS];
    int64_t m, n, k;  /* rows, outputs, inputs of a matrix product; m rows, n columns elsewhere */
    int64_t items;    /* B; of ragged rows, their groups, known when the data is (ragged_items) */
    int64_t per_item; /* T or P; 0 for ragged rows */
    int64_t heads, head_width;
} operation;

typedef struct operation_rule {
    uint8_t in_required, out_required; /* bit masks */
    uint8_t in_i32, in_u8;
} operation_rule;

static inline const char *operation_name(uint32_t kind)
{
    switch (kind) {
#define OPERATION_NAME(code, value, name, inputs, outputs) case value: return name;
        PRN_OP_LIST(OPERATION_NAME)
#undef OPERATION_NAME
    default: return OPERATION_NAME_UNKNOWN;
    }
}

static inline int operation_rule_of(uint32_t kind, operation_rule *rule)
{
    static const struct {
        uint32_t kind;
        operation_rule rule;
    } rules[] = {
        {PRN_OP_PATCHES, {0x01, 0x1, 0, 0x01}},
        {PRN_OP_LINEAR, {0x03, 0x1, 0, 0}},
        {PRN_OP_LAYER_NORM, {0x07, 0x1, 0, 0}},
        {PRN_OP_ATTENTION, {0x01, 0x1, 0x02, 0}},
        {PRN_OP_LOOKUP, {0x03, 0x1, 0x01, 0}},
        {PRN_OP_CLASS_ROWS, {0x07, 0x1, 0, 0}},
        {PRN_OP_GATHER_ROWS, {0x01, 0x1, 0x02, 0}},
        {PRN_OP_L2_NORMALISE, {0x01, 0x1, 0, 0}},
        {PRN_OP_SIMILARITY, {0x03, 0x1, 0, 0}},
        {PRN_OP_CROSS_ENTROPY, {0x03, 0, 0x02, 0}},
        {PRN_OP_SOFT_CROSS_ENTROPY, {0x03, 0, 0, 0}},
        {PRN_OP_ACTIVATION, {0x01, 0x1, 0, 0}},
        {PRN_OP_AXPBY, {0x01, 0x1, 0, 0}},
        {PRN_OP_MULTIPLY, {0x03, 0x1, 0, 0}},
        {PRN_OP_EXP, {0x01, 0x1, 0, 0}},
        {PRN_OP_SUM, {0x01, 0x1, 0, 0}},
        {PRN_OP_DOT, {0x03, 0x1, 0, 0x04}},
        {PRN_OP_FILL, {0x00, 0x1, 0, 0x01}},
        {PRN_OP_CLAMP, {0x01, 0x1, 0, 0}},
        {PRN_OP_READ_ATTENTION, {0x03, 0x1, 0x0c, 0}},
        {PRN_OP_LINEAR_GRAD_X, {0x03, 0x1, 0, 0}},
        {PRN_OP_LINEAR_GRAD_W, {0x03, 0, 0, 0}},
        {PRN_OP_ACTIVATION_GRAD, {0x03, 0x1, 0, 0}},
        {PRN_OP_LAYER_NORM_GRAD, {0x1f, 0, 0, 0}},
        {PRN_OP_ATTENTION_GRAD, {0x0f, 0x1, 0x10, 0}},
        {PRN_OP_LOOKUP_GRAD, {0x03, 0x1, 0x02, 0}},
        {PRN_OP_CLASS_ROWS_GRAD, {0x01, 0, 0, 0}},
        {PRN_OP_GATHER_ROWS_GRAD, {0x01, 0x1, 0x02, 0}},
        {PRN_OP_L2_NORMALISE_GRAD, {0x07, 0x1, 0, 0}},
        {PRN_OP_SIMILARITY_GRAD, {0x07, 0, 0, 0}},
        {PRN_OP_CROSS_ENTROPY_GRAD, {0x0f, 0x1, 0x04, 0}},
        {PRN_OP_SOFT_CROSS_ENTROPY_GRAD, {0x1f, 0x1, 0, 0}},
        {PRN_OP_BROADCAST, {0x01, 0x1, 0, 0}},
        {PRN_OP_READ_ATTENTION_GRAD, {0x07, 0, 0x18, 0}},
        {PRN_OP_ADAMW, {0x03, 0x7, 0, 0x04}},
        {PRN_OP_DECAY_ROWS, {0x03, 0x1, 0, 0x02}},
    };
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        if (rules[i].kind == kind) {
            *rule = rules[i].rule;
            return 1;
        }
    }
    return 0;
}

/* Which input of an attention holds the row offsets; -1 for any other operation. */
static inline int offsets_input(uint32_t kind)
{
    switch (kind) {
    case PRN_OP_ATTENTION: return 1;
    case PRN_OP_ATTENTION_GRAD: return 4;
    case PRN_OP_READ_ATTENTION: return 2;
    case PRN_OP_READ_ATTENTION_GRAD: return 3;
    default: return -1;
    }
}

/* Indices, types, presence and attributes of one operation: all that needs no sizes. Which outputs may be absent is read
 * generously: any operation may leave out what nobody needs, as long as it writes something. */
static inline prn_status operation_check(const prn_program *program, uint32_t index, prn_error *error)
{
    const prn_op *op = &program->ops[index];
    const char *name = operation_name(op->kind);
    operation_rule rule;
    int outputs = 0;
    uint32_t moments = 0; /* the type of the first one: both are of it */
    if (!operation_rule_of(op->kind, &rule)) {
        return prn_error_set(error, PRN_UNSUPPORTED, "program '%s', operation %u: kind %u is not known to this backend; use a newer backend",
                             program->name, index, op->kind);
    }
    for (int i = 0; i < PRN_OP_MAX_INPUTS + PRN_OP_MAX_OUTPUTS; i++) {
        const int is_output = i >= PRN_OP_MAX_INPUTS, at = is_output ? i - PRN_OP_MAX_INPUTS : i;
        const int32_t tensor = is_output ? op->output[at] : op->input[at];
        const int required = ((is_output ? rule.out_required : rule.in_required) >> at) & 1;
        const char *side = is_output ? "output" : "input";
        uint32_t want = PRN_REAL;
        if (tensor == PRN_NO_TENSOR) {
            if (required) {
                return prn_error_set(error, PRN_INVALID, "program '%s', operation %u (%s): %s %d is missing", program->name, index, name, side, at);
            }
            continue;
        }
        if (tensor < 0 || (uint32_t)tensor >= program->tensor_count) {
            return prn_error_set(error, PRN_INVALID, "program '%s', operation %u (%s): %s %d is tensor %d, but the program has %u",
                                 program->name, index, name, side, at, tensor, program->tensor_count);
        }
        outputs += is_output;
        if (!is_output && ((rule.in_i32 >> at) & 1)) {
            want = PRN_I32;
        } else if (!is_output && ((rule.in_u8 >> at) & 1)) {
            want = PRN_U8;
        }
        const prn_tensor *t = &program->tensors[tensor];
        if (is_output && op->kind == PRN_OP_ADAMW && at > 0) { /* the moments */
            want = moments = moments != 0 ? moments : t->type == PRN_BF16 ? PRN_BF16 : PRN_REAL;
        }
        if (t->type != want || t->rank > PRN_MAX_RANK || t->slot < 0 || (uint32_t)t->slot >= program->slot_count || t->offset < 0 ||
            program->slots[t->slot].type != t->type) {
            return prn_error_set(error, PRN_INVALID,
                                 "program '%s', operation %u (%s): tensor '%s' (%s %d) has a type, rank, slot or offset that does not fit",
                                 program->name, index, name, t->name, side, at);
        }
        for (uint32_t d = 0; d < t->rank; d++) {
            if (t->dim[d].fixed < 0 || t->dim[d].symbol < PRN_NO_SYMBOL || t->dim[d].symbol >= (int32_t)program->symbol_count) {
                return prn_error_set(error, PRN_INVALID, "program '%s', operation %u (%s): dimension %u of tensor '%s' is not valid",
                                     program->name, index, name, d, t->name);
            }
        }
    }
    const prn_op_attrs *a = &op->attrs;
    const int at_offsets = offsets_input(op->kind);
    if (outputs == 0) {
        return prn_error_set(error, PRN_INVALID, "program '%s', operation %u (%s) writes nothing", program->name, index, name);
    }
    if (a->activation < PRN_ACT_NONE || a->activation > PRN_ACT_QUICK_GELU) {
        return prn_error_set(error, PRN_UNSUPPORTED, "program '%s', operation %u (%s): activation %d is not known to this backend",
                             program->name, index, name, a->activation);
    }
    if (at_offsets >= 0 && (a->heads < 1 || a->positions < 0 || (a->positions == 0) != (op->input[at_offsets] != PRN_NO_TENSOR))) {
        return prn_error_set(error, PRN_INVALID, "program '%s', operation %u (%s): needs heads >= 1, and either positions or offsets",
                             program->name, index, name);
    }
    if (op->kind == PRN_OP_PATCHES && (a->patch < 1 || !(a->std[0] != 0 && a->std[1] != 0 && a->std[2] != 0))) {
        return prn_error_set(error, PRN_INVALID, "program '%s', operation %u (%s): needs patch >= 1 and std other than 0", program->name, index, name);
    }
    if ((op->kind == PRN_OP_SOFT_CROSS_ENTROPY || op->kind == PRN_OP_SOFT_CROSS_ENTROPY_GRAD) && !(a->alpha > 0)) {
        return prn_error_set(error, PRN_INVALID, "program '%s', operation %u (%s): the temperature (alpha) must be above 0", program->name, index, name);
    }
    if ((op->kind == PRN_OP_GATHER_ROWS || op->kind == PRN_OP_GATHER_ROWS_GRAD) && op->input[1] == PRN_NO_TENSOR && a->stride < 1) {
        return prn_error_set(error, PRN_INVALID, "program '%s', operation %u (%s): needs rows or a stride >= 1", program->name, index, name);
    }
    return PRN_OK;
}

/* The whole program, as far as sizes are not needed. */
static inline prn_status program_check(const prn_program *program, prn_error *error)
{
    if (program == NULL || program->struct_size < offsetof(prn_program, reserved2)) {
        return prn_error_set(error, PRN_INVALID, "the program's description is too small for this version of the SDK");
    }
    for (uint32_t s = 0; s < program->segment_count; s++) {
        const prn_segment *segment = &program->segments[s];
        if (segment->first_op > program->op_count || segment->op_count > program->op_count - segment->first_op) {
            return prn_error_set(error, PRN_INVALID, "program '%s': segment '%s' reaches past the last operation", program->name, segment->name);
        }
    }
    for (uint32_t i = 0; i < program->op_count; i++) {
        prn_status status = operation_check(program, i, error);
        if (status != PRN_OK) {
            return status;
        }
    }
    return PRN_OK;
}

/* Slot count, symbol values and buffer types of a binding. */
static inline prn_status binding_check(const prn_program *program, uint32_t segment, const prn_binding *binding, prn_error *error)
{
    if (segment >= program->segment_count) {
        return prn_error_set(error, PRN_INVALID, "program '%s' has %u segments; segment %u was asked for", program->name, program->segment_count, segment);
    }
    if (binding == NULL || binding->slot_count != program->slot_count || binding->symbol_count != program->symbol_count ||
        (program->slot_count > 0 && binding->buffers == NULL) || (program->symbol_count > 0 && binding->symbol_values == NULL)) {
        return prn_error_set(error, PRN_INVALID, "program '%s' has %u slots and %u symbols; the binding has %u and %u", program->name,
                             program->slot_count, program->symbol_count, binding != NULL ? binding->slot_count : 0,
                             binding != NULL ? binding->symbol_count : 0);
    }
    for (uint32_t i = 0; i < program->symbol_count; i++) {
        if (binding->symbol_values[i] < 0 || binding->symbol_values[i] > program->symbols[i].maximum) {
            return prn_error_set(error, PRN_INVALID, "program '%s': symbol '%s' is %lld, planned for 0 to %lld", program->name, program->symbols[i].name,
                                 (long long)binding->symbol_values[i], (long long)program->symbols[i].maximum);
        }
    }
    return PRN_OK;
}

/* Sizes of a tensor for given symbol values, with overflow refused. */
static inline int operand_size(const prn_tensor *t, const int64_t *values, operand *o)
{
    o->rank = t->rank;
    o->type = t->type;
    o->elements = 1;
    for (uint32_t d = 0; d < t->rank; d++) {
        int64_t size = t->dim[d].fixed;
        if (t->dim[d].symbol >= 0 && __builtin_mul_overflow(size, values[t->dim[d].symbol], &size)) {
            return 0;
        }
        o->size[d] = size;
        if (__builtin_mul_overflow(o->elements, size, &o->elements)) {
            return 0;
        }
    }
    o->columns = t->rank >= 2 ? o->size[t->rank - 1] : 1;
    o->rows = 1;
    for (uint32_t d = 0; d < t->rank && (d + 1 < t->rank || t->rank == 1); d++) {
        o->rows *= o->size[d]; /* no overflow that matters: with a last dimension of 0 nothing is touched */
    }
    return 1;
}

static inline size_t operand_element_bytes(uint32_t type, size_t real_bytes)
{
    return type == PRN_REAL ? real_bytes : type == PRN_I32 ? 4 : type == PRN_BF16 ? 2 : 1;
}

/* Sizes (and memory when `binding` is given) of one operation; `sizes` alone serves planning at the symbols' maxima. */
static inline prn_status operation_view(const prn_program *program, uint32_t index, const int64_t *values, const prn_binding *binding,
                                        size_t real_bytes, operation *view, prn_error *error)
{
    const prn_op *op = &program->ops[index];
    memset(view, 0, sizeof *view);
    view->op = op;
    for (int i = 0; i < PRN_OP_MAX_INPUTS + PRN_OP_MAX_OUTPUTS; i++) {
        const int is_output = i >= PRN_OP_MAX_INPUTS, at = is_output ? i - PRN_OP_MAX_INPUTS : i;
        const int32_t tensor = is_output ? op->output[at] : op->input[at];
        operand *o = is_output ? &view->out[at] : &view->in[at];
        if (tensor == PRN_NO_TENSOR) {
            continue;
        }
        const prn_tensor *t = &program->tensors[tensor];
        if (!operand_size(t, values, o)) {
            return prn_error_set(error, PRN_INVALID, "program '%s', operation %u (%s): tensor '%s' is too large", program->name, index,
                                 operation_name(op->kind), t->name);
        }
        if (binding == NULL) {
            o->data = view; /* present */
            continue;
        }
        prn_buffer *buffer = binding->buffers[t->slot];
        const int64_t shift = binding->buffer_offsets != NULL ? binding->buffer_offsets[t->slot] : 0;
        int64_t first, end;
        if (buffer == NULL) {
            return prn_error_set(error, PRN_INVALID, "program '%s': slot '%s' is not bound", program->name, program->slots[t->slot].name);
        }
        if (buffer->type != t->type) {
            return prn_error_set(error, PRN_INVALID, "program '%s': slot '%s' is bound to a buffer of another type", program->name,
                                 program->slots[t->slot].name);
        }
        if (shift < 0 || __builtin_add_overflow(t->offset, shift, &first) || __builtin_add_overflow(first, o->elements, &end) ||
            end > buffer->elements) {
            /* an empty tensor may lie anywhere */
            if (o->elements != 0) {
                return prn_error_set(error, PRN_INVALID, "program '%s': tensor '%s' needs %lld elements at offset %lld of slot '%s', whose buffer has %lld; bind a larger buffer",
                                     program->name, t->name, (long long)o->elements, (long long)(t->offset + shift), program->slots[t->slot].name,
                                     (long long)buffer->elements);
            }
            first = 0;
        }
        o->first = first;
        o->data = (char *)buffer->data + (size_t)first * operand_element_bytes(t->type, real_bytes);
    }
    return PRN_OK;
}

static inline int operand_is(const operand *o, int64_t rows, int64_t columns)
{
    return o->data == NULL || (o->elements == rows * columns && (o->rank < 2 || o->columns == columns || columns == 1));
}

static inline int operand_has(const operand *o, int64_t elements)
{
    return o->data == NULL || o->elements == elements;
}

/* `rows`, when given, has a flag for each row of the matrix. */
static inline int row_flags_fit(const operand *rows, const operand *matrix)
{
    return rows->data == NULL || (matrix->rank >= 2 && rows->elements == matrix->rows);
}

/* Checks the shapes of one operation against each other and fills the letters. */
static inline prn_status operation_shape(const prn_program *program, uint32_t index, operation *v, prn_error *error)
{
    operand *in = v->in, *out = v->out;
    const prn_op_attrs *a = &v->op->attrs;
    int ok = 1;
    switch (v->op->kind) {
    case PRN_OP_PATCHES:
        v->items = in[0].size[0];
        ok = in[0].rank == 4 && in[0].size[1] == in[0].size[2] && in[0].size[3] == 3 && in[0].size[1] % a->patch == 0;
        v->k = in[0].size[1];
        v->per_item = (v->k / a->patch) * (v->k / a->patch);
        v->m = v->items * v->per_item;
        v->n = 3 * (int64_t)a->patch * a->patch;
        ok = ok && operand_is(&out[0], v->m, v->n);
        break;
    case PRN_OP_LINEAR:
        v->m = in[0].rows;
        v->k = in[0].columns;
        v->n = a->transpose_w ? in[1].columns : in[1].rows;
        ok = in[0].rank >= 2 && in[1].rank >= 2 && operand_is(&in[1], a->transpose_w ? v->k : v->n, a->transpose_w ? v->n : v->k) &&
             operand_has(&in[2], v->n) && operand_is(&in[3], v->m, v->n) && operand_is(&out[0], v->m, v->n) && operand_is(&out[1], v->m, v->n);
        break;
    case PRN_OP_LINEAR_GRAD_X:
        v->m = in[0].rows;
        v->n = in[0].columns;
        v->k = a->transpose_w ? in[1].rows : in[1].columns;
        ok = in[0].rank >= 2 && in[1].rank >= 2 && operand_is(&in[1], a->transpose_w ? v->k : v->n, a->transpose_w ? v->n : v->k) &&
             operand_is(&out[0], v->m, v->k);
        break;
    case PRN_OP_LINEAR_GRAD_W:
        v->m = in[0].rows;
        v->n = in[0].columns;
        v->k = in[1].columns;
        ok = in[0].rank >= 2 && in[1].rank >= 2 && operand_is(&in[1], v->m, v->k) &&
             operand_is(&out[0], a->transpose_w ? v->k : v->n, a->transpose_w ? v->n : v->k) && operand_has(&out[1], v->n);
        break;
    case PRN_OP_LAYER_NORM:
        v->m = in[0].rows;
        v->n = in[0].columns;
        ok = in[0].rank >= 2 && operand_has(&in[1], v->n) && operand_has(&in[2], v->n) && operand_is(&out[0], v->m, v->n) &&
             operand_has(&out[1], v->m) && operand_has(&out[2], v->m);
        break;
    case PRN_OP_LAYER_NORM_GRAD:
        v->m = in[1].rows;
        v->n = in[1].columns;
        ok = in[1].rank >= 2 && operand_is(&in[0], v->m, v->n) && operand_has(&in[2], v->n) && operand_has(&in[3], v->m) &&
             operand_has(&in[4], v->m) && operand_is(&out[0], v->m, v->n) && operand_has(&out[1], v->n) && operand_has(&out[2], v->n);
        break;
    case PRN_OP_ATTENTION:
    case PRN_OP_ATTENTION_GRAD: {
        const operand *qkv = &in[v->op->kind == PRN_OP_ATTENTION ? 0 : 1];
        v->m = qkv->rows;
        v->n = qkv->columns / 3;
        v->heads = a->heads;
        v->head_width = v->n / v->heads;
        v->per_item = a->positions;
        ok = qkv->rank >= 2 && qkv->columns % 3 == 0 && v->n % v->heads == 0 && (v->per_item == 0 || v->m % v->per_item == 0);
        if (v->op->kind == PRN_OP_ATTENTION) {
            ok = ok && operand_is(&out[0], v->m, v->n) && operand_is(&out[1], v->m, v->heads);
        } else {
            ok = ok && operand_is(&in[0], v->m, v->n) && operand_is(&in[2], v->m, v->n) && operand_is(&in[3], v->m, v->heads) &&
                 operand_is(&out[0], v->m, 3 * v->n);
        }
        v->items = v->per_item > 0 ? v->m / v->per_item : 0;
        break;
    }
    case PRN_OP_READ_ATTENTION:
    case PRN_OP_READ_ATTENTION_GRAD: {
        const operand *q = &in[v->op->kind == PRN_OP_READ_ATTENTION ? 0 : 1], *kv = q + 1, *rows = q + 3;
        v->m = kv->rows;
        v->n = q->columns;
        v->k = q->rows;
        v->heads = a->heads;
        v->head_width = v->n / v->heads;
        v->per_item = a->positions;
        ok = q->rank >= 2 && kv->rank >= 2 && kv->columns % 2 == 0 && kv->columns / 2 == v->n && v->n % v->heads == 0 && operand_has(rows, v->k) &&
             (v->per_item == 0 || (v->m % v->per_item == 0 && v->m / v->per_item == v->k));
        if (v->op->kind == PRN_OP_READ_ATTENTION) {
            ok = ok && operand_is(&out[0], v->k, v->n);
        } else {
            ok = ok && operand_is(&in[0], v->k, v->n) && operand_is(&out[0], v->k, v->n) && operand_is(&out[1], v->m, 2 * v->n);
        }
        v->items = v->per_item > 0 ? v->k : 0;
        break;
    }
    case PRN_OP_LOOKUP:
        v->m = in[0].elements;
        v->n = in[1].columns;
        v->k = in[1].rows;
        ok = in[1].rank >= 2 && operand_is(&in[2], v->m, v->n) && operand_is(&out[0], v->m, v->n) && (v->k > 0 || v->m * v->n == 0);
        break;
    case PRN_OP_LOOKUP_GRAD:
        v->m = in[1].elements;
        v->n = out[0].columns;
        v->k = out[0].rows;
        ok = out[0].rank >= 2 && operand_is(&in[0], v->m, v->n) && (v->k > 0 || v->m * v->n == 0);
        break;
    case PRN_OP_CLASS_ROWS:
        v->n = in[2].columns;
        v->per_item = in[2].rows - 1;
        ok = in[2].rank >= 2 && in[0].rank >= 2 && v->per_item >= 1 && in[0].columns == v->n && operand_has(&in[1], v->n) &&
             in[0].rows % v->per_item == 0;
        v->items = ok ? in[0].rows / v->per_item : 0;
        ok = ok && operand_is(&out[0], v->items * (v->per_item + 1), v->n);
        break;
    case PRN_OP_CLASS_ROWS_GRAD:
        v->n = in[0].columns;
        /* T: from dpositions, else from the rows of dpatches: B = rows(dy) - rows(dpatches) */
        if (out[2].data != NULL) {
            v->per_item = out[2].rows - 1;
        } else if (out[0].data != NULL && in[0].rows > out[0].rows) {
            v->per_item = out[0].rows / (in[0].rows - out[0].rows);
        } else {
            v->per_item = a->positions - 1;
        }
        ok = in[0].rank >= 2;
        if (in[0].rows == 0 && v->per_item < 1) {
            v->per_item = 1;
        }
        ok = ok && v->per_item >= 1 && in[0].rows % (v->per_item + 1) == 0;
        v->items = ok ? in[0].rows / (v->per_item + 1) : 0;
        ok = ok && operand_is(&out[0], v->items * v->per_item, v->n) && operand_has(&out[1], v->n) && operand_is(&out[2], v->per_item + 1, v->n);
        break;
    case PRN_OP_GATHER_ROWS:
        v->k = in[0].rows;
        v->n = in[0].columns;
        v->m = out[0].rows;
        ok = in[0].rank >= 2 && operand_is(&out[0], v->m, v->n) && operand_has(&in[1], v->m) && (v->k > 0 || v->m * v->n == 0) &&
             (in[1].data != NULL || v->m == 0 || (v->m - 1) * a->stride < v->k);
        break;
    case PRN_OP_GATHER_ROWS_GRAD:
        v->k = out[0].rows;
        v->n = out[0].columns;
        v->m = in[0].rows;
        ok = out[0].rank >= 2 && operand_is(&in[0], v->m, v->n) && operand_has(&in[1], v->m) && (v->k > 0 || v->m * v->n == 0) &&
             (in[1].data != NULL || v->m == 0 || (v->m - 1) * a->stride < v->k);
        break;
    case PRN_OP_L2_NORMALISE:
        v->m = in[0].rows;
        v->n = in[0].columns;
        ok = in[0].rank >= 2 && operand_is(&out[0], v->m, v->n) && operand_has(&out[1], v->m);
        break;
    case PRN_OP_L2_NORMALISE_GRAD:
        v->m = in[1].rows;
        v->n = in[1].columns;
        ok = in[1].rank >= 2 && operand_is(&in[0], v->m, v->n) && operand_has(&in[2], v->m) && operand_is(&out[0], v->m, v->n);
        break;
    case PRN_OP_SIMILARITY:
        v->m = in[0].rows; /* R */
        v->n = in[1].rows; /* M */
        v->k = in[0].columns;
        ok = in[0].rank >= 2 && in[1].rank >= 2 && in[1].columns == v->k && operand_has(&in[2], 1) && operand_is(&out[0], v->m, v->n);
        break;
    case PRN_OP_SIMILARITY_GRAD:
        v->m = in[1].rows;
        v->n = in[2].rows;
        v->k = in[1].columns;
        ok = in[1].rank >= 2 && in[2].rank >= 2 && in[2].columns == v->k && operand_is(&in[0], v->m, v->n) && operand_is(&in[3], v->m, v->n) &&
             operand_has(&in[4], 1) && operand_is(&out[0], v->m, v->k) && operand_is(&out[1], v->n, v->k) && operand_has(&out[2], 1) &&
             (out[2].data == NULL || in[3].data != NULL);
        break;
    case PRN_OP_CROSS_ENTROPY:
        v->m = in[0].rows;
        v->n = in[0].columns;
        ok = in[0].rank >= 2 && operand_has(&in[1], v->m) && operand_has(&out[0], v->m) && operand_has(&out[1], v->m);
        break;
    case PRN_OP_CROSS_ENTROPY_GRAD:
        v->m = in[1].rows;
        v->n = in[1].columns;
        ok = in[1].rank >= 2 && operand_has(&in[0], v->m) && operand_has(&in[2], v->m) && operand_has(&in[3], v->m) && operand_is(&out[0], v->m, v->n);
        break;
    case PRN_OP_SOFT_CROSS_ENTROPY:
        v->m = in[0].rows;
        v->n = in[0].columns;
        ok = in[0].rank >= 2 && operand_is(&in[1], v->m, v->n) && operand_has(&out[0], v->m) && operand_has(&out[1], v->m) && operand_has(&out[2], v->m);
        break;
    case PRN_OP_SOFT_CROSS_ENTROPY_GRAD:
        v->m = in[1].rows;
        v->n = in[1].columns;
        ok = in[1].rank >= 2 && operand_has(&in[0], v->m) && operand_is(&in[2], v->m, v->n) && operand_has(&in[3], v->m) &&
             operand_has(&in[4], v->m) && operand_is(&out[0], v->m, v->n);
        break;
    case PRN_OP_ACTIVATION_GRAD:
        v->m = out[0].elements;
        ok = operand_has(&in[0], v->m) && operand_has(&in[1], v->m);
        break;
    case PRN_OP_ACTIVATION:
    case PRN_OP_EXP:
    case PRN_OP_CLAMP:
    case PRN_OP_AXPBY:
        v->m = out[0].elements;
        ok = operand_has(&in[0], v->m) && operand_has(&in[1], v->m);
        break;
    case PRN_OP_MULTIPLY:
        v->m = out[0].elements;
        ok = operand_has(&in[0], v->m) && (in[1].rank == 0 || operand_has(&in[1], v->m));
        break;
    case PRN_OP_SUM:
        v->m = in[0].elements;
        ok = out[0].elements == 1;
        break;
    case PRN_OP_DOT:
        v->m = in[0].elements;
        ok = in[1].elements == v->m && out[0].elements == 1 && row_flags_fit(&in[2], &in[0]);
        break;
    case PRN_OP_FILL:
        v->m = out[0].elements;
        ok = row_flags_fit(&in[0], &out[0]);
        break;
    case PRN_OP_BROADCAST:
        v->m = out[0].elements;
        ok = in[0].elements == 1;
        break;
    case PRN_OP_ADAMW:
        v->m = in[0].elements;
        ok = in[1].elements >= (out[1].type == PRN_BF16 ? 5 : 4) && operand_has(&out[0], v->m) && operand_has(&out[1], v->m) && operand_has(&out[2], v->m) &&
             row_flags_fit(&in[2], &in[0]);
        break;
    case PRN_OP_DECAY_ROWS:
        v->m = out[0].elements;
        ok = row_flags_fit(&in[1], &out[0]);
        break;
    default:
        ok = 0;
        break;
    }
    if (!ok) {
        const int32_t first = v->op->input[0] != PRN_NO_TENSOR ? v->op->input[0] : v->op->output[0];
        return prn_error_set(error, PRN_INVALID, "program '%s', operation %u (%s, first tensor '%s'): the shapes do not fit each other", program->name,
                             index, operation_name(v->op->kind), first >= 0 ? program->tensors[first].name : "?");
    }
    return PRN_OK;
}

/* Row groups of ragged attention: offsets[0] = 0, never falling; the group that ends at row M is the last, and entries
 * after it are not read as groups (a program plans for the largest batch). Writes the number of groups. */
static inline prn_status ragged_items(const int32_t *offsets, int64_t count, int64_t rows, int64_t *items, prn_error *error)
{
    int64_t i = 0;
    *items = 0;
    if (rows == 0) {
        return PRN_OK;
    }
    if (count < 1 || offsets[0] != 0) {
        return prn_error_set(error, PRN_INVALID, "attention: row offsets must start at 0");
    }
    while (i + 1 < count && offsets[i] < rows) {
        if (offsets[i + 1] < offsets[i]) {
            return prn_error_set(error, PRN_INVALID, "attention: row offset %lld (%d) is below the one before it (%d)", (long long)(i + 1), offsets[i + 1],
                                 offsets[i]);
        }
        i++;
    }
    if (offsets[i] != rows) {
        return prn_error_set(error, PRN_INVALID, "attention: row offsets end at %d, but there are %lld rows", offsets[i], (long long)rows);
    }
    *items = i;
    return PRN_OK;
}

/* READ_ATTENTION's row group `item`: rows [*first, *end), of which the query sees [*first, *seen). Items without a group have no rows, groups
 * without a query are not seen. */
static inline void read_group(const operation *v, int64_t item, int64_t *first, int64_t *end, int64_t *seen)
{
    const int is_grad = v->op->kind == PRN_OP_READ_ATTENTION_GRAD;
    const int32_t *offsets = v->in[is_grad ? 3 : 2].data, *rows = v->in[is_grad ? 4 : 3].data;
    if (v->per_item > 0) {
        *first = item * v->per_item;
        *end = *first + v->per_item;
    } else {
        *first = item < v->items ? offsets[item] : v->m;
        *end = item < v->items ? offsets[item + 1] : v->m;
    }
    *seen = item < v->k ? *end : *first;
    if (v->op->attrs.causal && item < v->k) {
        const int64_t next = (rows != NULL ? rows[item] : *first) + 1;
        *seen = next < *first ? *first : next < *end ? next : *end;
    }
}

/* Everything of one operation before it may run. */
static inline prn_status operation_resolve(const prn_program *program, uint32_t index, const prn_binding *binding, size_t real_bytes, operation *view,
                                           prn_error *error)
{
    prn_status status = operation_view(program, index, binding->symbol_values, binding, real_bytes, view, error);
    if (status == PRN_OK) {
        status = operation_shape(program, index, view, error);
    }
    return status;
}

#endif
