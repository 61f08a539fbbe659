/* core/program/derive.c: the backward pass, derived from the forward one.
 *
 * Operations are visited last to first. Each has a rule that writes the operations which carry the gradient of its result to
 * its inputs. A tensor with several uses receives several contributions: the first writes (or, for a residual, simply shares the
 * gradient's tensor), the later ones accumulate. Parameters' gradients always accumulate at the parameter's own offset.
 *
 * Sharing is safe because a gradient is read for the last time when its tensor's producer is visited, and whoever shares it is
 * produced earlier, so all that is added to it later is written after the last reading of the old value.
 *
 * A seed's gradient is the caller's: it is read, never added to, never shared, never overwritten.
 *
 * Checkpointing: when the visit enters a group, the group's forward operations are written again, on fresh tensors, and the rules then
 * read those; what of the copies nobody reads is removed by prn__graph_finish.
 *
 * Recomputation: a rule that reads what such an operation made reads a copy instead, made just before; the original then dies in the forward
 * pass. The copy's own inputs are kept, or are such copies.
 *
 * Parameters' gradients in the workspace: operations are visited last to first, so after the first operation that reads a parameter has been
 * visited, its gradient is complete and no rule or copy reads the parameter any more.
 */
#include "program/graph_internal.h"

#include <string.h>

typedef struct derivation {
    prn__graph *graph;
    int32_t *gradient;  /* by tensor: where its gradient is; PRN_NO_TENSOR: none so far */
    uint8_t *wanted;    /* by tensor: 1 when its gradient leads to a parameter or a target */
    int32_t *copy;      /* by tensor: the recomputed one that stands for it; itself when there is none */
    int32_t *again;     /* by tensor: the copy that its operation was written again for; PRN_NO_TENSOR: none so far */
    uint32_t *first_use; /* by tensor: the first operation that reads it */
    uint32_t tensors;   /* length of the five: tensors before the derivation, plus room for copies */
    const prn__gradient *seeds;
    uint32_t seed_count;
    const prn__gradient *targets;
    uint32_t target_count;
    uint8_t *target_state; /* TARGET_... */
    int32_t parameter_slot, gradient_slot;
    prn__recompute recompute;
} derivation;

/* A late target accumulates the gradient of a tensor that some operation makes: what was there before must not flow on through that
 * operation, so the gradient has a place of its own and is added when it is complete. */
enum { TARGET_UNTOUCHED = 0, TARGET_BEGUN = 1, TARGET_LATE = 2 };

#define NONE PRN_NO_TENSOR
#define INPUTS(...) ((int32_t[PRN_OP_MAX_INPUTS]){__VA_ARGS__})

static const prn_tensor *tensor(const derivation *d, int32_t t)
{
    return &d->graph->tensors[t];
}

static int is_parameter(const derivation *d, int32_t t)
{
    return d->parameter_slot != PRN_NO_SYMBOL && tensor(d, t)->slot == d->parameter_slot;
}

static int32_t target_of(const derivation *d, int32_t t)
{
    for (uint32_t i = 0; i < d->target_count; i++) {
        if ((d->targets[i].tensor == t || d->copy[d->targets[i].tensor] == t) && d->target_state[i] != TARGET_LATE) {
            return (int32_t)i;
        }
    }
    return -1;
}

static const char *gradient_name(const derivation *d, int32_t t, char *target, size_t bytes)
{
    (void)snprintf(target, bytes, "d %s", tensor(d, t)->name);
    return target;
}

/* Whether the rule should bother with input `t`. */
static int wants(const derivation *d, int32_t t)
{
    return t != NONE && d->wanted[t];
}

/* Whether the derivation made `g` itself, so that it may be written. */
static int is_owned(const derivation *d, int32_t g)
{
    for (uint32_t i = 0; i < d->seed_count; i++) {
        if (d->seeds[i].gradient == g) {
            return 0;
        }
    }
    return tensor(d, g)->slot == PRN_SLOT_WORKSPACE;
}

/* Where a contribution to `t`'s gradient goes. `*accumulate` says whether it must be added. */
static int32_t place(derivation *d, int32_t t, int32_t *accumulate)
{
    char name[200];
    prn__graph *graph = d->graph;
    int32_t target = target_of(d, t);
    if (target >= 0) {
        *accumulate = d->target_state[target] == TARGET_BEGUN || d->targets[target].accumulate;
        d->target_state[target] = TARGET_BEGUN;
        d->gradient[t] = d->targets[target].gradient;
        return d->gradient[t];
    }
    if (is_parameter(d, t) && d->gradient_slot != PRN_SLOT_WORKSPACE) {
        const prn_tensor p = *tensor(d, t);
        *accumulate = 1;
        return prn__graph_bound(graph, gradient_name(d, t, name, sizeof name), d->gradient_slot, p.offset, p.rank, p.dim);
    }
    const int32_t have = d->gradient[t];
    if (have != NONE && is_owned(d, have)) {
        *accumulate = 1;
        return have;
    }
    *accumulate = have != NONE;
    d->gradient[t] = prn__graph_temporary(graph, gradient_name(d, t, name, sizeof name), tensor(d, t));
    if (have != NONE && d->gradient[t] != NONE) {
        (void)prn__graph_axpby(graph, "seed", 1.0, have, 0.0, NONE, d->gradient[t]);
    }
    return d->gradient[t];
}

/* Whether the next contribution to `t`'s gradient is the first, in a place of its own. */
static int is_fresh(const derivation *d, int32_t t)
{
    return target_of(d, t) < 0 && !(is_parameter(d, t) && d->gradient_slot != PRN_SLOT_WORKSPACE) && d->gradient[t] == NONE;
}

/* The same for outputs that always accumulate: a new place is filled with zeros first. */
static int32_t place_zeroed(derivation *d, int32_t t)
{
    int32_t accumulate, where = place(d, t, &accumulate);
    if (where != NONE && !accumulate) {
        int32_t out[PRN_OP_MAX_OUTPUTS] = {where, NONE, NONE};
        (void)prn__graph_op(d->graph, PRN_OP_FILL, INPUTS(NONE, NONE, NONE, NONE, NONE), out, 1, NULL, "zero");
    }
    return where;
}

/* Adds scale * g to the gradient of `t`; shares g itself where that is safe. */
static void contribute(derivation *d, int32_t t, int32_t g, double scale, int may_share)
{
    if (!wants(d, t)) {
        return;
    }
    if (may_share && scale == 1.0 && d->gradient[t] == NONE && target_of(d, t) < 0 && !is_parameter(d, t) && is_owned(d, g)) {
        d->gradient[t] = g;
        return;
    }
    int32_t accumulate, where = place(d, t, &accumulate);
    (void)prn__graph_axpby(d->graph, "add", scale, g, accumulate ? 1.0 : 0.0, accumulate ? where : NONE, where);
}

/* One gradient operation with one wanted result. */
static void emit(derivation *d, prn_op_kind kind, const int32_t *inputs, int32_t t, prn_op_attrs attrs)
{
    if (!wants(d, t)) {
        return;
    }
    int32_t out[PRN_OP_MAX_OUTPUTS] = {NONE, NONE, NONE};
    out[0] = place(d, t, &attrs.accumulate);
    (void)prn__graph_op(d->graph, kind, inputs, out, 1, &attrs, prn__op_name((uint32_t)kind));
}

/* The operation that makes `t` as its first result. The copies of checkpointing come after the originals. */
static const prn_op *producer(const derivation *d, int32_t t)
{
    for (uint32_t i = d->graph->op_count; i-- > 0;) {
        if (d->graph->ops[i].output[0] == t) {
            return &d->graph->ops[i];
        }
    }
    return NULL;
}

static int is_activated(const prn_op *op)
{
    return op->kind == PRN_OP_LINEAR && op->attrs.activation != PRN_ACT_NONE && op->output[1] != NONE && op->input[3] == NONE; /* act(pre) */
}

/* Whether `t` is what some attention reads. */
static int feeds_attention(const derivation *d, int32_t t)
{
    for (uint32_t i = 0; i < d->graph->op_count; i++) {
        if (d->graph->ops[i].kind == PRN_OP_ATTENTION && d->graph->ops[i].input[0] == t) {
            return 1;
        }
    }
    return 0;
}

static int is_recomputed_linear(const derivation *d, const prn_op *op)
{
    if (op->attrs.activation != PRN_ACT_NONE) {
        return is_activated(op);
    }
    if (op->input[3] == NONE) {
        return d->recompute == PRN__RECOMPUTE_PROJECTIONS && feeds_attention(d, op->output[0]);
    }
    const prn_op *made_by = d->recompute == PRN__RECOMPUTE_SUMS ? producer(d, op->input[0]) : NULL;
    return made_by != NULL && made_by->kind == PRN_OP_ATTENTION;
}

static int is_recomputed(const derivation *d, const prn_op *op)
{
    switch ((prn_op_kind)op->kind) {
    case PRN_OP_PATCHES: case PRN_OP_LAYER_NORM: case PRN_OP_ACTIVATION: return 1;
    case PRN_OP_ATTENTION: return d->recompute >= PRN__RECOMPUTE_ATTENTION;
    case PRN_OP_LINEAR: return is_recomputed_linear(d, op);
    default: return 0;
    }
}

/* What stands for the value of `t` in the backward pass: itself, or what its operation, written again here, makes of kept values. */
static int32_t read_again(derivation *d, int32_t t)
{
    prn__graph *graph = d->graph;
    char name[200];
    if (d->recompute == PRN__RECOMPUTE_NOTHING || t == NONE || (uint32_t)t >= d->tensors || tensor(d, t)->slot != PRN_SLOT_WORKSPACE) {
        return t;
    }
    if (d->again[t] != NONE) {
        return d->again[t];
    }
    const prn_op *made_by = producer(d, t);
    if (made_by == NULL || !is_recomputed(d, made_by)) {
        return t;
    }
    prn_op op = *made_by; /* a copy: the array may move */
    if (is_activated(&op)) {
        op = (prn_op){.kind = PRN_OP_ACTIVATION, .input = {op.output[1], NONE, NONE, NONE, NONE}, .output = {t, NONE, NONE},
                      .attrs = {.activation = op.attrs.activation}};
    } else {
        op.input[0] = read_again(d, op.input[0]);
    }
    int32_t fresh[PRN_OP_MAX_OUTPUTS] = {NONE, NONE, NONE};
    for (uint32_t k = 0; k < PRN_OP_MAX_OUTPUTS; k++) {
        if (op.output[k] != NONE) {
            (void)snprintf(name, sizeof name, "%s once more", graph->tensors[op.output[k]].name);
            fresh[k] = prn__graph_temporary(graph, name, &graph->tensors[op.output[k]]);
        }
    }
    (void)prn__graph_op(graph, (prn_op_kind)op.kind, op.input, fresh, 0, &op.attrs, "once more");
    d->again[t] = fresh[0];
    return fresh[0];
}

static void linear_rule(derivation *d, const prn_op *op, int32_t dy)
{
    int32_t x = op->input[0], w = op->input[1], bias = op->input[2], residual = op->input[3], dpre = dy;
    if (op->attrs.activation != PRN_ACT_NONE && (wants(d, x) || wants(d, w) || wants(d, bias))) {
        /* dy may be overwritten unless the residual still needs it or it belongs to the caller */
        int in_place = residual == NONE && is_owned(d, dy);
        int32_t out[PRN_OP_MAX_OUTPUTS] = {in_place ? dy : NONE, NONE, NONE};
        prn_op_attrs attrs = {.activation = op->attrs.activation};
        dpre = prn__graph_op(d->graph, PRN_OP_ACTIVATION_GRAD, INPUTS(dy, op->output[1], NONE, NONE, NONE), out, 1, &attrs, "d pre");
    }
    if (wants(d, w) || wants(d, bias)) {
        const int32_t value = read_again(d, x);
        int32_t out[PRN_OP_MAX_OUTPUTS] = {NONE, NONE, NONE};
        prn_op_attrs attrs = {.transpose_w = op->attrs.transpose_w, .accumulate = 1};
        if (wants(d, bias) && is_fresh(d, bias) && is_fresh(d, w)) { /* one attribute speaks of both */
            out[1] = place(d, bias, &attrs.accumulate);
            out[0] = place(d, w, &attrs.accumulate);
        } else if (wants(d, bias)) {
            out[1] = place_zeroed(d, bias);
            out[0] = place_zeroed(d, w);
        } else {
            out[0] = place(d, w, &attrs.accumulate);
        }
        (void)prn__graph_op(d->graph, PRN_OP_LINEAR_GRAD_W, INPUTS(dpre, value, NONE, NONE, NONE), out, 1, &attrs, "linear_grad_w");
    }
    prn_op_attrs attrs = {.transpose_w = op->attrs.transpose_w};
    emit(d, PRN_OP_LINEAR_GRAD_X, INPUTS(dpre, w, NONE, NONE, NONE), x, attrs);
    if (residual != NONE) {
        contribute(d, residual, dy, 1.0, 1);
    }
}

static void layer_norm_rule(derivation *d, const prn_op *op, int32_t dy)
{
    int32_t x = op->input[0], gain = op->input[1], bias = op->input[2];
    prn_op_attrs attrs = op->attrs;
    if (!wants(d, x) && !wants(d, gain) && !wants(d, bias)) {
        return;
    }
    /* a result nobody wants still needs a place, because the operation has three */
    int32_t out[PRN_OP_MAX_OUTPUTS] = {NONE, NONE, NONE};
    out[1] = wants(d, gain) ? place_zeroed(d, gain) : NONE;
    out[2] = wants(d, bias) ? place_zeroed(d, bias) : NONE;
    attrs.accumulate = 0;
    out[0] = wants(d, x) ? place(d, x, &attrs.accumulate) : NONE;
    (void)prn__graph_op(d->graph, PRN_OP_LAYER_NORM_GRAD, INPUTS(dy, read_again(d, x), gain, op->output[1], op->output[2]), out, 7, &attrs, "layer_norm_grad");
}

/* The log-sum-exp is small, and kept. */
static void attention_rule(derivation *d, const prn_op *op, int32_t dy)
{
    const int32_t qkv = op->input[0];
    if (wants(d, qkv)) {
        const int32_t y = read_again(d, op->output[0]), value = read_again(d, qkv);
        emit(d, PRN_OP_ATTENTION_GRAD, INPUTS(dy, value, y, op->output[1], op->input[1]), qkv, op->attrs);
    }
}

static void read_attention_rule(derivation *d, const prn_op *op, int32_t dy)
{
    const int32_t q = op->input[0], kv = op->input[1];
    int32_t out[PRN_OP_MAX_OUTPUTS] = {NONE, NONE, NONE};
    prn_op_attrs attrs = op->attrs;
    if (!wants(d, q) && !wants(d, kv)) {
        return;
    }
    attrs.accumulate = 1;
    if (wants(d, q) && wants(d, kv) && !(is_fresh(d, q) && is_fresh(d, kv))) { /* one attribute speaks of both */
        out[0] = place_zeroed(d, q);
        out[1] = place_zeroed(d, kv);
    } else {
        out[0] = wants(d, q) ? place(d, q, &attrs.accumulate) : NONE;
        out[1] = wants(d, kv) ? place(d, kv, &attrs.accumulate) : NONE;
    }
    (void)prn__graph_op(d->graph, PRN_OP_READ_ATTENTION_GRAD, INPUTS(dy, q, kv, op->input[2], op->input[3]), out, 0, &attrs, "read_attention_grad");
}

static void class_rows_rule(derivation *d, const prn_op *op, int32_t dy)
{
    int32_t out[PRN_OP_MAX_OUTPUTS] = {NONE, NONE, NONE};
    prn_op_attrs attrs = {.positions = (int32_t)tensor(d, op->input[2])->dim[0].fixed};
    if (!wants(d, op->input[0]) && !wants(d, op->input[1]) && !wants(d, op->input[2])) {
        return;
    }
    out[1] = wants(d, op->input[1]) ? place_zeroed(d, op->input[1]) : NONE;
    out[2] = wants(d, op->input[2]) ? place_zeroed(d, op->input[2]) : NONE;
    out[0] = wants(d, op->input[0]) ? place(d, op->input[0], &attrs.accumulate) : NONE;
    (void)prn__graph_op(d->graph, PRN_OP_CLASS_ROWS_GRAD, INPUTS(dy, NONE, NONE, NONE, NONE), out, 7, &attrs, "class_rows_grad");
}

static void similarity_rule(derivation *d, const prn_op *op, int32_t dy)
{
    int32_t a = op->input[0], b = op->input[1], log_scale = op->input[2];
    int32_t out[PRN_OP_MAX_OUTPUTS] = {NONE, NONE, NONE};
    prn_op_attrs attrs = {0};
    if (!wants(d, a) && !wants(d, b) && !wants(d, log_scale)) {
        return;
    }
    out[2] = wants(d, log_scale) ? place_zeroed(d, log_scale) : NONE;
    out[1] = wants(d, b) ? place_zeroed(d, b) : NONE;
    out[0] = wants(d, a) ? place(d, a, &attrs.accumulate) : NONE;
    (void)prn__graph_op(d->graph, PRN_OP_SIMILARITY_GRAD, INPUTS(dy, a, b, op->output[0], log_scale), out, 0, &attrs, "similarity_grad");
}

/* dy (an elementwise product's gradient) times `factor`, added to `t`. */
static void product_rule(derivation *d, int32_t t, int32_t dy, int32_t factor)
{
    if (wants(d, t)) {
        int32_t out[PRN_OP_MAX_OUTPUTS] = {NONE, NONE, NONE};
        int32_t g = prn__graph_op(d->graph, PRN_OP_MULTIPLY, INPUTS(dy, factor, NONE, NONE, NONE), out, 1, NULL, "product");
        if (g != NONE) {
            contribute(d, t, g, 1.0, 1);
        }
    }
}

static void multiply_rule(derivation *d, const prn_op *op, int32_t dy)
{
    int32_t a = op->input[0], b = op->input[1];
    product_rule(d, a, dy, b);
    if (tensor(d, b)->rank == tensor(d, a)->rank) {
        product_rule(d, b, dy, a);
    } else if (wants(d, b)) { /* a scalar factor gathers over all elements */
        int32_t g = prn__graph_dot(d->graph, "scalar_grad", dy, a, NONE, NONE);
        if (g != NONE) {
            contribute(d, b, g, 1.0, 1);
        }
    }
}

/* The gradient of y = sum over products with a scalar dy: dy * factor for every element. */
static void scaled_rule(derivation *d, int32_t t, int32_t dy, int32_t factor)
{
    product_rule(d, t, factor, dy);
}

static void rule(derivation *d, const prn_op *op, int32_t dy)
{
    const int32_t *in = op->input;
    switch ((prn_op_kind)op->kind) {
    case PRN_OP_LINEAR:
        linear_rule(d, op, dy);
        break;
    case PRN_OP_LAYER_NORM:
        layer_norm_rule(d, op, dy);
        break;
    case PRN_OP_ATTENTION:
        attention_rule(d, op, dy);
        break;
    case PRN_OP_READ_ATTENTION:
        read_attention_rule(d, op, dy);
        break;
    case PRN_OP_LOOKUP:
        if (wants(d, in[1])) {
            int32_t out[PRN_OP_MAX_OUTPUTS] = {place_zeroed(d, in[1]), NONE, NONE};
            (void)prn__graph_op(d->graph, PRN_OP_LOOKUP_GRAD, INPUTS(dy, in[0], NONE, NONE, NONE), out, 1, NULL, "lookup_grad");
        }
        if (in[2] != NONE) {
            contribute(d, in[2], dy, 1.0, 1);
        }
        break;
    case PRN_OP_CLASS_ROWS:
        class_rows_rule(d, op, dy);
        break;
    case PRN_OP_GATHER_ROWS:
        emit(d, PRN_OP_GATHER_ROWS_GRAD, INPUTS(dy, in[1], NONE, NONE, NONE), in[0], op->attrs);
        break;
    case PRN_OP_L2_NORMALISE:
        emit(d, PRN_OP_L2_NORMALISE_GRAD, INPUTS(dy, op->output[0], op->output[1], NONE, NONE), in[0], op->attrs);
        break;
    case PRN_OP_SIMILARITY:
        similarity_rule(d, op, dy);
        break;
    case PRN_OP_CROSS_ENTROPY:
        emit(d, PRN_OP_CROSS_ENTROPY_GRAD, INPUTS(dy, in[0], in[1], op->output[1], NONE), in[0], op->attrs);
        break;
    case PRN_OP_SOFT_CROSS_ENTROPY:
        emit(d, PRN_OP_SOFT_CROSS_ENTROPY_GRAD, INPUTS(dy, in[0], in[1], op->output[1], op->output[2]), in[0], op->attrs);
        break;
    case PRN_OP_ACTIVATION:
        emit(d, PRN_OP_ACTIVATION_GRAD, INPUTS(dy, in[0], NONE, NONE, NONE), in[0], op->attrs);
        break;
    case PRN_OP_AXPBY:
        contribute(d, in[0], dy, op->attrs.alpha, 1);
        if (in[1] != NONE) {
            contribute(d, in[1], dy, op->attrs.beta, wants(d, in[0]) ? 0 : 1); /* one may share, not both */
        }
        break;
    case PRN_OP_MULTIPLY:
        multiply_rule(d, op, dy);
        break;
    case PRN_OP_EXP:
        product_rule(d, in[0], dy, op->output[0]);
        break;
    case PRN_OP_SUM: {
        prn_op_attrs attrs = {.alpha = 1};
        emit(d, PRN_OP_BROADCAST, INPUTS(dy, NONE, NONE, NONE, NONE), in[0], attrs);
        break;
    }
    case PRN_OP_DOT:
        scaled_rule(d, in[0], dy, in[1]);
        scaled_rule(d, in[1], dy, in[0]);
        break;
    default:
        for (uint32_t i = 0; i < PRN_OP_MAX_INPUTS; i++) {
            if (wants(d, in[i])) {
                prn__graph_fail(d->graph, PRN_UNSUPPORTED, "program '%s': %s has no derivative, but the gradient of '%s' is wanted through it",
                                d->graph->name, prn__op_name(op->kind), tensor(d, in[i])->name);
            }
        }
        break;
    }
}

/* Which inputs a gradient can flow into at all. */
static int is_differentiable(uint32_t kind, uint32_t input)
{
    switch ((prn_op_kind)kind) {
    case PRN_OP_PATCHES: case PRN_OP_FILL: return 0;
    case PRN_OP_CROSS_ENTROPY: case PRN_OP_SOFT_CROSS_ENTROPY: return input == 0;
    default: return 1;
    }
}

/* Writes the operations [first, last] again on fresh tensors and lets d->copy point to them. */
static prn_status recompute(derivation *d, uint32_t first, uint32_t last)
{
    prn__graph *graph = d->graph;
    char name[200];
    for (uint32_t i = first; i <= last; i++) {
        prn_op op = graph->ops[i]; /* a copy: the array may move */
        int32_t out[PRN_OP_MAX_OUTPUTS];
        int32_t fresh[PRN_OP_MAX_OUTPUTS];
        for (uint32_t k = 0; k < PRN_OP_MAX_INPUTS; k++) {
            op.input[k] = op.input[k] == NONE ? NONE : d->copy[op.input[k]];
        }
        for (uint32_t k = 0; k < PRN_OP_MAX_OUTPUTS; k++) {
            out[k] = op.output[k];
            fresh[k] = NONE;
            if (out[k] != NONE) {
                (void)snprintf(name, sizeof name, "%s again", graph->tensors[out[k]].name);
                fresh[k] = prn__graph_temporary(graph, name, &graph->tensors[out[k]]);
            }
        }
        (void)prn__graph_op(graph, (prn_op_kind)op.kind, op.input, fresh, 0, &op.attrs, "again");
        if (graph->failure.status != PRN_OK) {
            return (prn_status)graph->failure.status;
        }
        for (uint32_t k = 0; k < PRN_OP_MAX_OUTPUTS; k++) {
            if (out[k] != NONE) {
                d->copy[out[k]] = fresh[k];
                d->gradient[fresh[k]] = NONE;
                d->wanted[fresh[k]] = d->wanted[out[k]];
                d->copy[fresh[k]] = fresh[k];
            }
        }
    }
    return PRN_OK;
}

/* Lets the copies that stand for the group's tensors carry their gradients. */
static void move_gradients(derivation *d, uint32_t first, uint32_t last)
{
    for (uint32_t i = first; i <= last; i++) {
        for (uint32_t k = 0; k < PRN_OP_MAX_OUTPUTS; k++) {
            int32_t t = d->graph->ops[i].output[k];
            if (t != NONE && d->copy[t] != t) {
                d->gradient[d->copy[t]] = d->gradient[t];
            }
        }
    }
}

static void complete(derivation *d, const prn__derive_options *options, uint32_t index)
{
    for (uint32_t k = 0; k < PRN_OP_MAX_INPUTS && options->complete != NULL; k++) {
        const int32_t t = d->graph->ops[index].input[k];
        if (t != NONE && is_parameter(d, t) && d->first_use[t] == index && d->gradient[t] != NONE) {
            d->first_use[t] = UINT32_MAX; /* once, also when the operation reads it twice */
            options->complete(options->context, d->graph, t, d->gradient[t]);
        }
    }
}

/* Two views of one parameter would have two gradients. */
static void check_views(derivation *d, uint32_t count)
{
    for (uint32_t a = 0; a < count && d->gradient_slot == PRN_SLOT_WORKSPACE; a++) {
        for (uint32_t b = 0; b < a && is_parameter(d, (int32_t)a); b++) {
            const prn_tensor *x = tensor(d, (int32_t)a), *y = tensor(d, (int32_t)b);
            if (is_parameter(d, (int32_t)b) && x->offset < y->offset + prn_tensor_elements(y, NULL) &&
                y->offset < x->offset + prn_tensor_elements(x, NULL)) {
                prn__graph_fail(d->graph, PRN_UNSUPPORTED, "program '%s': '%s' and '%s' share parameters, whose gradient can then not lie in the workspace",
                                d->graph->name, x->name, y->name);
            }
        }
    }
}

static prn_status check_gradients(const prn__graph *graph, const char *what, const prn__gradient *list, uint32_t count, prn_error *error)
{
    for (uint32_t i = 0; i < count; i++) {
        const int32_t t = list[i].tensor, g = list[i].gradient;
        if (t < 0 || (uint32_t)t >= graph->tensor_count || g < 0 || (uint32_t)g >= graph->tensor_count) {
            return prn_error_set(error, PRN_INVALID, "program '%s': %s %u names a tensor that the program does not have", graph->name, what, i);
        }
        if (!prn__same_shape(&graph->tensors[t], &graph->tensors[g])) {
            char have[96], want[96];
            return prn_error_set(error, PRN_INVALID, "program '%s': %s %u: the gradient '%s' %s must have the type and shape of '%s' %s", graph->name, what, i,
                                 graph->tensors[g].name, prn__shape_text(graph->symbols, &graph->tensors[g], have, sizeof have), graph->tensors[t].name,
                                 prn__shape_text(graph->symbols, &graph->tensors[t], want, sizeof want));
        }
    }
    return PRN_OK;
}

static int makes(const prn_op *op, int32_t t)
{
    return op->output[0] == t || op->output[1] == t || op->output[2] == t;
}

/* A seed: read where it lies when nothing else has to be added, otherwise one contribution among others. */
static void enter(derivation *d, int32_t t, int32_t g)
{
    if (d->gradient[t] == NONE && target_of(d, t) < 0 && !is_parameter(d, t)) {
        d->gradient[t] = g;
    } else {
        contribute(d, t, g, 1.0, 0);
    }
}

static void add_late(derivation *d, int32_t t, int32_t g)
{
    for (uint32_t i = 0; i < d->target_count; i++) {
        if (d->target_state[i] == TARGET_LATE && d->copy[d->targets[i].tensor] == t) {
            (void)prn__graph_axpby(d->graph, "add", 1.0, g, 1.0, d->targets[i].gradient, d->targets[i].gradient);
        }
    }
}

prn_status prn__graph_derive(prn__graph *graph, const char *segment, const prn__gradient *seeds, uint32_t seed_count, const prn__gradient *targets,
                             uint32_t target_count, int32_t parameter_slot, int32_t gradient_slot, int checkpoint, prn_error *error)
{
    const prn__derive_options options = {.checkpoint = checkpoint};
    return prn__graph_derive_with(graph, segment, seeds, seed_count, targets, target_count, parameter_slot, gradient_slot, &options, error);
}

prn_status prn__graph_derive_with(prn__graph *graph, const char *segment, const prn__gradient *seeds, uint32_t seed_count, const prn__gradient *targets,
                                  uint32_t target_count, int32_t parameter_slot, int32_t gradient_slot, const prn__derive_options *options,
                                  prn_error *error)
{
    derivation d = {.graph = graph, .seeds = seeds, .seed_count = seed_count, .targets = targets, .target_count = target_count,
                    .parameter_slot = parameter_slot, .gradient_slot = gradient_slot, .recompute = options->recompute};
    prn_status status = PRN_OK;
    uint32_t forward_ops = graph->op_count;
    if (graph->failure.status != PRN_OK) {
        return prn_error_set(error, (prn_status)graph->failure.status, "%s", graph->failure.message);
    }
    /* gradients and copies are new tensors; only copies are looked up by index: at most three an operation, interleaved with
     * gradients, hence a generous table */
    if ((status = check_gradients(graph, "seed", seeds, seed_count, error)) != PRN_OK ||
        (status = check_gradients(graph, "target", targets, target_count, error)) != PRN_OK) {
        return status;
    }
    d.tensors = graph->tensor_count + forward_ops * 32 + 64;
    d.gradient = prn__alloc_array(d.tensors, sizeof *d.gradient);
    d.wanted = prn__alloc_array(d.tensors, 1);
    d.copy = prn__alloc_array(d.tensors, sizeof *d.copy);
    d.again = prn__alloc_array(d.tensors, sizeof *d.again);
    d.first_use = prn__alloc_array(d.tensors, sizeof *d.first_use);
    d.target_state = prn__alloc_array(target_count > 0 ? target_count : 1, 1);
    if (d.gradient == NULL || d.wanted == NULL || d.copy == NULL || d.again == NULL || d.first_use == NULL || d.target_state == NULL) {
        status = prn_error_set(error, PRN_NO_MEMORY, "program '%s': out of memory while deriving", graph->name);
        goto done;
    }
    for (uint32_t t = 0; t < d.tensors; t++) {
        d.gradient[t] = NONE;
        d.copy[t] = (int32_t)t;
        d.again[t] = NONE;
        d.first_use[t] = UINT32_MAX;
    }
    for (uint32_t t = 0; t < graph->tensor_count; t++) {
        d.wanted[t] = is_parameter(&d, (int32_t)t) || target_of(&d, (int32_t)t) >= 0;
    }
    for (uint32_t i = 0; i < forward_ops; i++) {
        const prn_op *op = &graph->ops[i];
        for (uint32_t k = 0; k < PRN_OP_MAX_INPUTS; k++) {
            if (op->input[k] != NONE && d.first_use[op->input[k]] > i) {
                d.first_use[op->input[k]] = i;
            }
            if (op->input[k] != NONE && d.wanted[op->input[k]] && is_differentiable(op->kind, k)) {
                for (uint32_t o = 0; o < PRN_OP_MAX_OUTPUTS; o++) {
                    if (op->output[o] != NONE) {
                        d.wanted[op->output[o]] = 1;
                    }
                }
            }
        }
        for (uint32_t k = 0; k < target_count; k++) {
            if (targets[k].accumulate && makes(op, targets[k].tensor)) {
                d.target_state[k] = TARGET_LATE;
            }
        }
    }
    check_views(&d, graph->tensor_count);
    prn__graph_group(graph, 0);
    prn__graph_segment(graph, segment);
    for (uint32_t i = 0; i < seed_count; i++) {
        enter(&d, seeds[i].tensor, seeds[i].gradient);
    }
    for (uint32_t i = forward_ops; i-- > 0 && graph->failure.status == PRN_OK;) {
        uint32_t group = graph->ops[i].group;
        prn__graph_group(graph, group);
        if (options->checkpoint && group != 0 && (i + 1 == forward_ops || graph->ops[i + 1].group != group)) {
            uint32_t first = i;
            while (first > 0 && graph->ops[first - 1].group == group) {
                first--;
            }
            if (graph->tensor_count + (i - first + 1) * 3 > d.tensors) {
                status = prn_error_set(error, PRN_INTERNAL, "program '%s': the table of copies is too small", graph->name);
                goto done;
            }
            status = recompute(&d, first, i);
            if (status != PRN_OK) {
                status = prn_error_set(error, status, "%s", graph->failure.message);
                goto done;
            }
            move_gradients(&d, first, i);
        }
        prn_op op = graph->ops[i];
        for (uint32_t k = 0; k < PRN_OP_MAX_INPUTS; k++) {
            op.input[k] = op.input[k] == NONE ? NONE : d.copy[op.input[k]];
        }
        for (uint32_t k = 0; k < PRN_OP_MAX_OUTPUTS; k++) {
            op.output[k] = op.output[k] == NONE ? NONE : d.copy[op.output[k]];
        }
        for (uint32_t k = 1; k < PRN_OP_MAX_OUTPUTS; k++) {
            if (op.output[k] != NONE && d.wanted[op.output[k]] && d.gradient[op.output[k]] != NONE) {
                prn__graph_fail(graph, PRN_UNSUPPORTED, "program '%s': %s has a derivative for its first result only, but a gradient is wanted through '%s'",
                                graph->name, prn__op_name(op.kind), tensor(&d, op.output[k])->name);
            }
        }
        int32_t dy = op.output[0] != NONE ? d.gradient[op.output[0]] : NONE;
        if (dy != NONE && d.wanted[op.output[0]]) {
            add_late(&d, op.output[0], dy);
            rule(&d, &op, dy);
        }
        complete(&d, options, i);
    }
    for (uint32_t i = 0; i < target_count; i++) { /* a target that nothing depends on has the gradient zero */
        if (d.target_state[i] == TARGET_UNTOUCHED && !targets[i].accumulate) {
            int32_t out[PRN_OP_MAX_OUTPUTS] = {targets[i].gradient, NONE, NONE};
            (void)prn__graph_op(graph, PRN_OP_FILL, INPUTS(NONE, NONE, NONE, NONE, NONE), out, 1, NULL, "zero");
        }
    }
    prn__graph_group(graph, 0);
    if (graph->failure.status != PRN_OK) {
        status = prn_error_set(error, (prn_status)graph->failure.status, "%s", graph->failure.message);
    }
done:
    prn__free(d.gradient);
    prn__free(d.wanted);
    prn__free(d.copy);
    prn__free(d.again);
    prn__free(d.first_use);
    prn__free(d.target_state);
    return status;
}
