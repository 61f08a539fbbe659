/* core/program/graph.c: building a program, one checked operation at a time; see graph.h.
 *
 * Invariants: after the first failure every building call returns PRN_NO_TENSOR and changes nothing.
 */
#include "program/graph_internal.h"

#include <string.h>

static const struct op_facts {
    const char *name;
    uint32_t kind, inputs, outputs;
} facts[] = {
#define OP_FACT(code, value, name, inputs, outputs) {name, value, inputs, outputs},
    PRN_OP_LIST(OP_FACT)
#undef OP_FACT
};

static const struct op_facts *facts_of(uint32_t kind)
{
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        if (facts[i].kind == kind) {
            return &facts[i];
        }
    }
    return NULL;
}

const char *prn__op_name(uint32_t kind)
{
    const struct op_facts *f = facts_of(kind);
    return f != NULL ? f->name : "unknown";
}

uint32_t prn__op_inputs(uint32_t kind)
{
    const struct op_facts *f = facts_of(kind);
    return f != NULL ? f->inputs : 0;
}

uint32_t prn__op_outputs(uint32_t kind)
{
    const struct op_facts *f = facts_of(kind);
    return f != NULL ? f->outputs : 0;
}

void prn__graph_fail(prn__graph *graph, prn_status status, const char *format, ...)
{
    va_list arguments;
    if (graph->failure.status != PRN_OK) {
        return;
    }
    va_start(arguments, format);
    (void)vsnprintf(graph->failure.message, sizeof graph->failure.message, format, arguments);
    va_end(arguments);
    graph->failure.status = (int32_t)status;
}

/* Room for one more item; 0 after a failure. */
static int reserve(prn__graph *graph, void **items, uint32_t count, uint32_t *capacity, size_t size)
{
    if (count < *capacity) {
        return 1;
    }
    uint32_t wanted = *capacity == 0 ? 32 : *capacity * 2;
    void *grown = prn__realloc(*items, (size_t)wanted * size);
    if (grown == NULL) {
        prn__graph_fail(graph, PRN_NO_MEMORY, "program '%s': out of memory while building", graph->name);
        return 0;
    }
    *items = grown;
    *capacity = wanted;
    return 1;
}

#define RESERVE(graph, field) \
    reserve(graph, (void **)&(graph)->field##s, (graph)->field##_count, &(graph)->field##_capacity, sizeof *(graph)->field##s)

static const char *keep(prn__graph *graph, const char *text)
{
    const char *copy = prn__arena_strdup(&graph->memory, text != NULL ? text : "");
    if (copy == NULL) {
        prn__graph_fail(graph, PRN_NO_MEMORY, "program '%s': out of memory while building", graph->name);
    }
    return copy;
}

prn_status prn__graph_create(const char *name, prn__graph **result, prn_error *error)
{
    *result = NULL;
    prn__graph *graph = prn__alloc(sizeof *graph);
    if (graph == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "program '%s': out of memory", name);
    }
    graph->failure.struct_size = sizeof graph->failure;
    graph->name = "";
    prn__arena_init(&graph->memory, 8192);
    graph->name = keep(graph, name);
    int32_t workspace = graph->name != NULL ? prn__graph_slot(graph, "workspace", PRN_REAL) : -1;
    if (workspace != 0) {
        prn__graph_destroy(graph);
        return prn_error_set(error, PRN_NO_MEMORY, "program '%s': out of memory", name);
    }
    *result = graph;
    return PRN_OK;
}

void prn__graph_destroy(prn__graph *graph)
{
    if (graph != NULL) {
        prn__free(graph->symbols);
        prn__free(graph->slots);
        prn__free(graph->tensors);
        prn__free(graph->ops);
        prn__free(graph->segments);
        prn__arena_fini(&graph->memory);
        prn__free(graph);
    }
}

int32_t prn__graph_symbol(prn__graph *graph, const char *name, int64_t maximum)
{
    if (graph->failure.status != PRN_OK) {
        return PRN_NO_SYMBOL;
    }
    if (maximum < 0) {
        prn__graph_fail(graph, PRN_INVALID, "program '%s': symbol '%s' has the maximum %lld; it must be at least 0", graph->name, name,
                        (long long)maximum);
        return PRN_NO_SYMBOL;
    }
    const char *kept = keep(graph, name);
    if (kept == NULL || !RESERVE(graph, symbol)) {
        return PRN_NO_SYMBOL;
    }
    prn_symbol *symbol = &graph->symbols[graph->symbol_count];
    symbol->name = kept;
    symbol->maximum = maximum;
    return (int32_t)graph->symbol_count++;
}

int32_t prn__graph_slot(prn__graph *graph, const char *name, prn_type type)
{
    if (graph->failure.status != PRN_OK) {
        return -1;
    }
    const char *kept = keep(graph, name);
    if (kept == NULL || !RESERVE(graph, slot)) {
        return -1;
    }
    prn_slot *slot = &graph->slots[graph->slot_count];
    slot->name = kept;
    slot->type = type;
    slot->is_written = 0;
    return (int32_t)graph->slot_count++;
}

/* Whether a shape's elements can be counted at the symbols' maxima, with room to spare for offsets and bytes: whoever multiplies
 * sizes later need not look. */
static int is_countable(const prn__graph *graph, uint32_t rank, const prn_dim *dims, int64_t offset)
{
    int64_t n = 1;
    for (uint32_t i = 0; i < rank; i++) {
        int64_t size = dims[i].fixed;
        if ((dims[i].symbol >= 0 && __builtin_mul_overflow(size, graph->symbols[dims[i].symbol].maximum, &size)) || __builtin_mul_overflow(n, size, &n) ||
            size > PRN__MAX_ELEMENTS) {
            return 0;
        }
    }
    return n <= PRN__MAX_ELEMENTS && offset <= PRN__MAX_ELEMENTS;
}

static int32_t add_tensor(prn__graph *graph, const char *name, uint32_t type, uint32_t rank, const prn_dim *dims, int32_t slot, int64_t offset)
{
    if (!is_countable(graph, rank, dims, offset)) {
        const prn_tensor huge = {.rank = rank, .dim = {rank > 0 ? dims[0] : (prn_dim){0}, rank > 1 ? dims[1] : (prn_dim){0},
                                                       rank > 2 ? dims[2] : (prn_dim){0}, rank > 3 ? dims[3] : (prn_dim){0}}};
        char shape[96];
        prn__graph_fail(graph, PRN_INVALID, "program '%s': tensor '%s' %s is too large at its largest size", graph->name, name,
                        prn__shape_text(graph->symbols, &huge, shape, sizeof shape));
        return PRN_NO_TENSOR;
    }
    const char *kept = keep(graph, name);
    if (kept == NULL || !RESERVE(graph, tensor)) {
        return PRN_NO_TENSOR;
    }
    prn_tensor *tensor = &graph->tensors[graph->tensor_count];
    memset(tensor, 0, sizeof *tensor);
    tensor->name = kept;
    tensor->type = type;
    tensor->rank = rank;
    for (uint32_t i = 0; i < rank; i++) {
        tensor->dim[i] = dims[i];
    }
    tensor->slot = slot;
    tensor->offset = offset;
    return (int32_t)graph->tensor_count++;
}

int32_t prn__graph_temporary(prn__graph *graph, const char *name, const prn_tensor *like)
{
    if (graph->failure.status != PRN_OK) {
        return PRN_NO_TENSOR;
    }
    if (like->type != PRN_REAL) {
        prn__graph_fail(graph, PRN_INVALID, "program '%s': '%s' would put integers into the workspace; bind it to a slot", graph->name, name);
        return PRN_NO_TENSOR;
    }
    prn_tensor shape = *like; /* the array may move while the tensor is added */
    return add_tensor(graph, name, PRN_REAL, shape.rank, shape.dim, PRN_SLOT_WORKSPACE, -1);
}

int32_t prn__graph_bound(prn__graph *graph, const char *name, int32_t slot, int64_t offset, uint32_t rank, const prn_dim *dims)
{
    if (graph->failure.status != PRN_OK) {
        return PRN_NO_TENSOR;
    }
    if (slot <= PRN_SLOT_WORKSPACE || (uint32_t)slot >= graph->slot_count || rank > PRN_MAX_RANK || offset < 0) {
        prn__graph_fail(graph, PRN_INVALID, "program '%s': tensor '%s' is bound to slot %d, rank %u, offset %lld; that slot or shape does not exist",
                        graph->name, name, slot, rank, (long long)offset);
        return PRN_NO_TENSOR;
    }
    for (uint32_t i = 0; i < rank; i++) {
        if (dims[i].fixed < 0 || dims[i].symbol < PRN_NO_SYMBOL || dims[i].symbol >= (int32_t)graph->symbol_count) {
            prn__graph_fail(graph, PRN_INVALID, "program '%s': tensor '%s' has a negative dimension or an unknown symbol", graph->name, name);
            return PRN_NO_TENSOR;
        }
    }
    /* the same view asked for twice is one tensor, so that its gradient is one as well */
    for (uint32_t t = 0; t < graph->tensor_count; t++) {
        const prn_tensor *have = &graph->tensors[t];
        if (have->slot == slot && have->offset == offset && have->rank == rank && strcmp(have->name, name) == 0) {
            int same = 1;
            for (uint32_t i = 0; i < rank; i++) {
                same = same && have->dim[i].fixed == dims[i].fixed && have->dim[i].symbol == dims[i].symbol;
            }
            if (same) {
                return (int32_t)t;
            }
        }
    }
    return add_tensor(graph, name, graph->slots[slot].type, rank, dims, slot, offset);
}

const prn_tensor *prn__graph_tensor(const prn__graph *graph, int32_t tensor)
{
    return tensor >= 0 && (uint32_t)tensor < graph->tensor_count ? &graph->tensors[tensor] : NULL;
}

void prn__graph_group(prn__graph *graph, uint32_t group)
{
    graph->group = group;
}

void prn__graph_segment(prn__graph *graph, const char *name)
{
    if (graph->failure.status != PRN_OK) {
        return;
    }
    const char *kept = keep(graph, name);
    if (kept == NULL || !RESERVE(graph, segment)) {
        return;
    }
    prn_segment *segment = &graph->segments[graph->segment_count++];
    segment->name = kept;
    segment->first_op = graph->op_count;
    segment->op_count = 0;
}

const char *prn__shape_text(const prn_symbol *symbols, const prn_tensor *tensor, char *target, size_t bytes)
{
    size_t used = 0;
    int put = snprintf(target, bytes, "(");
    used += put > 0 ? (size_t)put : 0;
    for (uint32_t i = 0; i < tensor->rank && used < bytes; i++) {
        const prn_dim *d = &tensor->dim[i];
        const char *comma = i > 0 ? ", " : "";
        if (d->symbol < 0) {
            put = snprintf(target + used, bytes - used, "%s%lld", comma, (long long)d->fixed);
        } else if (d->fixed == 1) {
            put = snprintf(target + used, bytes - used, "%s%s", comma, symbols[d->symbol].name);
        } else {
            put = snprintf(target + used, bytes - used, "%s%s*%lld", comma, symbols[d->symbol].name, (long long)d->fixed);
        }
        used += put > 0 ? (size_t)put : 0;
    }
    if (used < bytes) {
        (void)snprintf(target + used, bytes - used, ")");
    }
    return target;
}

int prn__same_shape(const prn_tensor *a, const prn_tensor *b)
{
    if (a->rank != b->rank || a->type != b->type) {
        return 0;
    }
    for (uint32_t i = 0; i < a->rank; i++) {
        if (a->dim[i].fixed != b->dim[i].fixed || a->dim[i].symbol != b->dim[i].symbol) {
            return 0;
        }
    }
    return 1;
}

static const prn_op_attrs no_attrs;

int32_t prn__graph_op(prn__graph *graph, prn_op_kind kind, const int32_t *inputs, int32_t *outputs, uint32_t wanted, const prn_op_attrs *attrs,
                      const char *name)
{
    inference inferred;
    prn_error error = PRN_ERROR_INIT;
    char have[96], want[96], label[160];
    int32_t bf16_as = PRN_NO_TENSOR; /* an output that may be bf16: the others are as it is */
    if (graph->failure.status != PRN_OK) {
        return PRN_NO_TENSOR;
    }
    const struct op_facts *f = facts_of((uint32_t)kind);
    if (f == NULL) {
        prn__graph_fail(graph, PRN_INVALID, "program '%s': operation kind %d does not exist", graph->name, (int)kind);
        return PRN_NO_TENSOR;
    }
    if (graph->is_finished) {
        prn__graph_fail(graph, PRN_INVALID, "program '%s': %s '%s' comes after the program was finished", graph->name, f->name, name);
        return PRN_NO_TENSOR;
    }
    if (attrs == NULL) {
        attrs = &no_attrs;
    }
    for (uint32_t i = 0; i < f->inputs; i++) {
        if (inputs[i] != PRN_NO_TENSOR && (inputs[i] < 0 || (uint32_t)inputs[i] >= graph->tensor_count)) {
            prn__graph_fail(graph, PRN_INVALID, "program '%s': %s '%s': input %u is not a tensor of this program", graph->name, f->name, name, i);
            return PRN_NO_TENSOR;
        }
    }
    prn_status status = prn__infer(graph, kind, inputs, attrs, &inferred, &error);
    if (status != PRN_OK) {
        prn__graph_fail(graph, status, "program '%s': %s '%s': %s", graph->name, f->name, name, error.message);
        return PRN_NO_TENSOR;
    }
    for (uint32_t i = 0; i < f->outputs; i++) {
        if (outputs[i] == PRN_NO_TENSOR) {
            if ((wanted >> i & 1u) == 0) {
                continue;
            }
            if ((inferred.known >> i & 1u) == 0) {
                prn__graph_fail(graph, PRN_INVALID, "program '%s': %s '%s': output %u has no shape of its own; give a tensor", graph->name, f->name,
                                name, i);
                return PRN_NO_TENSOR;
            }
            (void)snprintf(label, sizeof label, i == 0 ? "%s" : "%s#%u", name, i);
            outputs[i] = prn__graph_temporary(graph, label, &inferred.shape[i]);
            if (outputs[i] == PRN_NO_TENSOR) {
                return PRN_NO_TENSOR;
            }
            continue;
        }
        if (outputs[i] < 0 || (uint32_t)outputs[i] >= graph->tensor_count) {
            prn__graph_fail(graph, PRN_INVALID, "program '%s': %s '%s': output %u is not a tensor of this program", graph->name, f->name, name, i);
            return PRN_NO_TENSOR;
        }
        const prn_tensor *given = &graph->tensors[outputs[i]];
        const int may_be_bf16 = inferred.may_be_bf16 >> i & 1u;
        if (given->type != PRN_REAL && !(may_be_bf16 && given->type == PRN_BF16)) {
            prn__graph_fail(graph, PRN_INVALID, "program '%s': %s '%s': output '%s' holds %s; results are real%s", graph->name, f->name, name, given->name,
                            given->type == PRN_BF16 ? "bf16" : "integers", may_be_bf16 ? ", or bf16" : "");
            return PRN_NO_TENSOR;
        }
        if (may_be_bf16 && bf16_as != PRN_NO_TENSOR && graph->tensors[bf16_as].type != given->type) {
            prn__graph_fail(graph, PRN_INVALID, "program '%s': %s '%s': outputs '%s' and '%s' must both be bf16, or neither", graph->name, f->name, name,
                            graph->tensors[bf16_as].name, given->name);
            return PRN_NO_TENSOR;
        }
        bf16_as = may_be_bf16 ? outputs[i] : bf16_as;
        inferred.shape[i].type = given->type;
        if ((kind == PRN_OP_LOOKUP_GRAD || kind == PRN_OP_GATHER_ROWS_GRAD) && (inferred.known >> i & 1u) == 0) { /* only the rows are free */
            const prn_tensor *dy = &graph->tensors[inputs[0]];
            if (given->rank != 2 || given->dim[1].fixed != dy->dim[1].fixed || given->dim[1].symbol != dy->dim[1].symbol) {
                prn__graph_fail(graph, PRN_INVALID, "program '%s': %s '%s': output '%s' %s must have as many columns as '%s' %s", graph->name, f->name, name,
                                given->name, prn__shape_text(graph->symbols, given, have, sizeof have), dy->name,
                                prn__shape_text(graph->symbols, dy, want, sizeof want));
                return PRN_NO_TENSOR;
            }
        }
        if ((inferred.known >> i & 1u) != 0 && !prn__same_shape(given, &inferred.shape[i])) {
            prn__graph_fail(graph, PRN_INVALID, "program '%s': %s '%s': output '%s' is %s but the result is %s", graph->name, f->name, name, given->name,
                            prn__shape_text(graph->symbols, given, have, sizeof have),
                            prn__shape_text(graph->symbols, &inferred.shape[i], want, sizeof want));
            return PRN_NO_TENSOR;
        }
    }
    if (graph->segment_count == 0) {
        prn__graph_segment(graph, "forward");
    }
    if (graph->failure.status != PRN_OK || !RESERVE(graph, op)) {
        return PRN_NO_TENSOR;
    }
    prn_op *op = &graph->ops[graph->op_count++];
    memset(op, 0, sizeof *op);
    op->kind = (uint32_t)kind;
    op->group = graph->group;
    op->attrs = *attrs;
    for (uint32_t i = 0; i < PRN_OP_MAX_INPUTS; i++) {
        op->input[i] = i < f->inputs ? inputs[i] : PRN_NO_TENSOR;
    }
    for (uint32_t i = 0; i < PRN_OP_MAX_OUTPUTS; i++) {
        op->output[i] = i < f->outputs ? outputs[i] : PRN_NO_TENSOR;
        if (op->output[i] != PRN_NO_TENSOR) {
            graph->slots[graph->tensors[op->output[i]].slot].is_written = 1;
        }
    }
    graph->segments[graph->segment_count - 1].op_count++;
    return outputs[0];
}

/* ---- plain composition ---- */

#define INPUTS(...) ((int32_t[PRN_OP_MAX_INPUTS]){__VA_ARGS__})
#define NONE PRN_NO_TENSOR

int32_t prn__graph_linear(prn__graph *graph, const char *name, int32_t x, int32_t w, int32_t bias, int32_t residual, prn_activation activation,
                          int transpose_w)
{
    prn_op_attrs attrs = {.activation = (int32_t)activation, .transpose_w = transpose_w};
    int32_t out[PRN_OP_MAX_OUTPUTS] = {NONE, NONE, NONE};
    return prn__graph_op(graph, PRN_OP_LINEAR, INPUTS(x, w, bias, residual, NONE), out, activation != PRN_ACT_NONE ? 3u : 1u, &attrs, name);
}

int32_t prn__graph_layer_norm(prn__graph *graph, const char *name, int32_t x, int32_t gain, int32_t bias, double epsilon)
{
    prn_op_attrs attrs = {.epsilon = epsilon};
    int32_t out[PRN_OP_MAX_OUTPUTS] = {NONE, NONE, NONE};
    return prn__graph_op(graph, PRN_OP_LAYER_NORM, INPUTS(x, gain, bias, NONE, NONE), out, 7u, &attrs, name);
}

int32_t prn__graph_attention(prn__graph *graph, const char *name, int32_t qkv, int32_t offsets, int32_t heads, int causal, int32_t positions)
{
    prn_op_attrs attrs = {.heads = heads, .causal = causal != 0, .positions = positions};
    int32_t out[PRN_OP_MAX_OUTPUTS] = {NONE, NONE, NONE};
    return prn__graph_op(graph, PRN_OP_ATTENTION, INPUTS(qkv, offsets, NONE, NONE, NONE), out, 3u, &attrs, name);
}

int32_t prn__graph_read_attention(prn__graph *graph, const char *name, int32_t q, int32_t kv, int32_t offsets, int32_t rows, int32_t heads, int causal,
                                  int32_t positions, int32_t out)
{
    prn_op_attrs attrs = {.heads = heads, .causal = causal != 0, .positions = positions};
    int32_t outputs[PRN_OP_MAX_OUTPUTS] = {out, NONE, NONE};
    return prn__graph_op(graph, PRN_OP_READ_ATTENTION, INPUTS(q, kv, offsets, rows, NONE), outputs, 1u, &attrs, name);
}

int32_t prn__graph_lookup(prn__graph *graph, const char *name, int32_t ids, int32_t table, int32_t residual)
{
    int32_t out[PRN_OP_MAX_OUTPUTS] = {NONE, NONE, NONE};
    return prn__graph_op(graph, PRN_OP_LOOKUP, INPUTS(ids, table, residual, NONE, NONE), out, 1u, NULL, name);
}

int32_t prn__graph_gather_rows(prn__graph *graph, const char *name, int32_t x, int32_t rows, int32_t stride, int32_t out)
{
    prn_op_attrs attrs = {.stride = stride};
    int32_t outputs[PRN_OP_MAX_OUTPUTS] = {out, NONE, NONE};
    return prn__graph_op(graph, PRN_OP_GATHER_ROWS, INPUTS(x, rows, NONE, NONE, NONE), outputs, 1u, &attrs, name);
}

int32_t prn__graph_l2_normalise(prn__graph *graph, const char *name, int32_t x, int32_t out)
{
    int32_t outputs[PRN_OP_MAX_OUTPUTS] = {out, NONE, NONE};
    return prn__graph_op(graph, PRN_OP_L2_NORMALISE, INPUTS(x, NONE, NONE, NONE, NONE), outputs, 3u, NULL, name);
}

int32_t prn__graph_axpby(prn__graph *graph, const char *name, double alpha, int32_t a, double beta, int32_t b, int32_t out)
{
    prn_op_attrs attrs = {.alpha = alpha, .beta = beta};
    int32_t outputs[PRN_OP_MAX_OUTPUTS] = {out, NONE, NONE};
    return prn__graph_op(graph, PRN_OP_AXPBY, INPUTS(a, b, NONE, NONE, NONE), outputs, 1u, &attrs, name);
}

int32_t prn__graph_dot(prn__graph *graph, const char *name, int32_t a, int32_t b, int32_t rows, int32_t out)
{
    int32_t outputs[PRN_OP_MAX_OUTPUTS] = {out, NONE, NONE};
    return prn__graph_op(graph, PRN_OP_DOT, INPUTS(a, b, rows, NONE, NONE), outputs, 1u, NULL, name);
}
