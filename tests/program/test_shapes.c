/* tests/program/test_shapes.c: for every operation, the shapes it gives and each way of calling it that it refuses, with a message that names the
 * program, the operation, the operand and its shape; sizes that overflow; multiply-accumulates by hand.
 *
 * Shapes are written as text: a type letter (r real, i i32, u u8) and dimensions, each a number, a symbol or symbol*number; "r" is a scalar.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "program/graph.h"
#include "program/graph_internal.h"

enum { NONE = PRN_NO_TENSOR, CELLS = 3 };

static const char symbols[CELLS] = {'N', 'B', 'M'};
static const int64_t maxima[CELLS] = {9, 4, 7};

typedef struct world {
    prn__graph *g;
    int32_t slots[PRN_BF16 + 1]; /* by prn_type */
} world;

static void world_begin(world *w)
{
    prn_error error = PRN_ERROR_INIT;
    assert_int_equal(prn__graph_create("world", &w->g, &error), PRN_OK);
    for (int i = 0; i < CELLS; i++) {
        const char name[2] = {symbols[i], 0};
        assert_int_equal(prn__graph_symbol(w->g, name, maxima[i]), i);
    }
    w->slots[PRN_REAL] = prn__graph_slot(w->g, "reals", PRN_REAL);
    w->slots[PRN_I32] = prn__graph_slot(w->g, "integers", PRN_I32);
    w->slots[PRN_U8] = prn__graph_slot(w->g, "bytes", PRN_U8);
    w->slots[PRN_BF16] = prn__graph_slot(w->g, "halves", PRN_BF16);
}

static uint32_t parse(const char *text, prn_type *type, prn_dim *dims)
{
    uint32_t rank = 0;
    *type = *text == 'r' ? PRN_REAL : *text == 'i' ? PRN_I32 : *text == 'h' ? PRN_BF16 : PRN_U8;
    for (text++; *text != 0;) {
        prn_dim d = prn__fixed(1);
        text++; /* the blank before each dimension */
        for (int i = 0; i < CELLS; i++) {
            if (*text == symbols[i]) {
                d.symbol = i;
            }
        }
        text += d.symbol >= 0;
        text += *text == '*';
        if (*text >= '0' && *text <= '9') {
            char *end;
            d.fixed = strtoll(text, &end, 10);
            text = end;
        }
        dims[rank++] = d;
        assert_true(rank <= PRN_MAX_RANK && (*text == 0 || *text == ' '));
    }
    return rank;
}

static int32_t tensor(world *w, const char *text, const char *name, int64_t offset)
{
    prn_type type;
    prn_dim dims[PRN_MAX_RANK];
    if (text == NULL) {
        return NONE;
    }
    const uint32_t rank = parse(text, &type, dims);
    return prn__graph_bound(w->g, name, w->slots[type], offset, rank, dims);
}

typedef struct call {
    prn_op_kind kind;
    prn_op_attrs attrs;
    const char *in[PRN_OP_MAX_INPUTS];
    const char *out[PRN_OP_MAX_OUTPUTS]; /* a good call: what it gives; a "=" before it: given, because only the caller knows its shape */
    const char *operand, *part;           /* a refused call: what its message says */
} call;

static int32_t perform(world *w, const call *c, int32_t *out)
{
    int32_t in[PRN_OP_MAX_INPUTS];
    uint32_t wanted = 0;
    for (int i = 0; i < PRN_OP_MAX_INPUTS; i++) {
        const char name[4] = {'i', 'n', (char)('0' + i), 0};
        in[i] = tensor(w, c->in[i], name, 1000 * i);
    }
    for (int i = 0; i < PRN_OP_MAX_OUTPUTS; i++) {
        const char name[5] = {'o', 'u', 't', (char)('0' + i), 0};
        out[i] = c->out[i] != NULL && *c->out[i] == '=' ? tensor(w, c->out[i] + 1, name, 6000 + 1000 * i) : NONE;
        wanted |= c->out[i] != NULL && out[i] == NONE ? 1u << i : 0;
    }
    assert_int_equal(w->g->failure.status, PRN_OK); /* the operands are all right; only the call may not be */
    return prn__graph_op(w->g, c->kind, in, out, wanted, &c->attrs, "label");
}

#define PICTURE .attrs = {.patch = 4, .std = {1, 1, 1}}

static const call good[] = {
    {PRN_OP_PATCHES, PICTURE, {"u B 8 8 3"}, {"r B*4 48"}, 0, 0},
    {PRN_OP_PATCHES, .attrs = {.patch = 8, .std = {1, 2, 3}}, {"u 5 8 8 3"}, {"r 5 192"}, 0, 0},
    {PRN_OP_LINEAR, {0}, {"r N 6", "r 5 6"}, {"r N 5"}, 0, 0},
    {PRN_OP_LINEAR, {.activation = PRN_ACT_GELU}, {"r N 6", "r 5 6", "r 5", "r N 5"}, {"r N 5", "r N 5"}, 0, 0},
    {PRN_OP_LINEAR, {.transpose_w = 1}, {"r B*3 6", "r 6 5"}, {"=r B*3 5"}, 0, 0},
    {PRN_OP_LAYER_NORM, {.epsilon = 1e-5}, {"r B*3 6", "r 6", "r 6"}, {"r B*3 6", "r B*3", "r B*3"}, 0, 0},
    {PRN_OP_ATTENTION, {.heads = 2}, {"r N 24", "i B"}, {"r N 8", "r N 2"}, 0, 0},
    {PRN_OP_ATTENTION, {.heads = 4, .positions = 5, .causal = 1}, {"r B*10 24"}, {"r B*10 8", "r B*10 4"}, 0, 0},
    {PRN_OP_LOOKUP, {0}, {"i N", "r 11 6"}, {"r N 6"}, 0, 0},
    {PRN_OP_LOOKUP, {0}, {"i N", "r 11 6", "r N 6"}, {"r N 6"}, 0, 0},
    {PRN_OP_CLASS_ROWS, {0}, {"r B*4 6", "r 6", "r 5 6"}, {"r B*5 6"}, 0, 0},
    {PRN_OP_READ_ATTENTION, {.heads = 2, .causal = 1}, {"r B 8", "r N 16", "i 5", "i B"}, {"r B 8"}, 0, 0},
    {PRN_OP_READ_ATTENTION, {.heads = 4, .positions = 5}, {"r B*2 8", "r B*10 16"}, {"r B*2 8"}, 0, 0},
    {PRN_OP_GATHER_ROWS, {0}, {"r N 6", "i B"}, {"r B 6"}, 0, 0},
    {PRN_OP_GATHER_ROWS, {.stride = 5}, {"r B*10 6"}, {"r B*2 6"}, 0, 0},
    {PRN_OP_L2_NORMALISE, {0}, {"r N 6"}, {"r N 6", "r N"}, 0, 0},
    {PRN_OP_SIMILARITY, {0}, {"r N 6", "r M 6"}, {"r N M"}, 0, 0},
    {PRN_OP_SIMILARITY, {0}, {"r 4 6", "r 3 6", "r"}, {"r 4 3"}, 0, 0},
    {PRN_OP_CROSS_ENTROPY, {0}, {"r N M", "i N"}, {"r N", "r N"}, 0, 0},
    {PRN_OP_SOFT_CROSS_ENTROPY, {.alpha = 2}, {"r N M", "r N M"}, {"r N", "r N", "r N"}, 0, 0},
    {PRN_OP_ACTIVATION, {.activation = 1}, {"r N 6"}, {"r N 6"}, 0, 0},
    {PRN_OP_AXPBY, {.alpha = 2}, {"r 2 3 4 5"}, {"r 2 3 4 5"}, 0, 0},
    {PRN_OP_AXPBY, {.alpha = 2, .beta = 1}, {"r N", "r N"}, {"r N"}, 0, 0},
    {PRN_OP_MULTIPLY, {0}, {"r N 3", "r N 3"}, {"r N 3"}, 0, 0},
    {PRN_OP_MULTIPLY, {0}, {"r N 3", "r"}, {"r N 3"}, 0, 0},
    {PRN_OP_MULTIPLY, {0}, {"r", "r"}, {"r"}, 0, 0},
    {PRN_OP_EXP, {0}, {"r"}, {"r"}, 0, 0},
    {PRN_OP_SUM, {0}, {"r N 3"}, {"r"}, 0, 0},
    {PRN_OP_DOT, {0}, {"r N 3", "r N 3"}, {"r"}, 0, 0},
    {PRN_OP_DOT, {0}, {"r 10 3", "r 10 3", "u 10"}, {"r"}, 0, 0},
    {PRN_OP_FILL, {.alpha = 1}, {NULL}, {"=r N 3"}, 0, 0},
    {PRN_OP_FILL, {.alpha = 1}, {"u 10"}, {"=r 10 3"}, 0, 0},
    {PRN_OP_CLAMP, {.alpha = 0, .beta = 1}, {"r"}, {"=r"}, 0, 0},
    {PRN_OP_LINEAR_GRAD_X, {0}, {"r N 5", "r 5 6"}, {"r N 6"}, 0, 0},
    {PRN_OP_LINEAR_GRAD_X, {.transpose_w = 1}, {"r N 5", "r 6 5"}, {"r N 6"}, 0, 0},
    {PRN_OP_LINEAR_GRAD_W, {0}, {"r N 5", "r N 6"}, {"r 5 6", "r 5"}, 0, 0},
    {PRN_OP_LINEAR_GRAD_W, {.transpose_w = 1}, {"r N 5", "r N 6"}, {"r 6 5"}, 0, 0},
    {PRN_OP_ACTIVATION_GRAD, {.activation = 1}, {"r N 5", "r N 5"}, {"r N 5"}, 0, 0},
    {PRN_OP_LAYER_NORM_GRAD, {0}, {"r N 6", "r N 6", "r 6", "r N", "r N"}, {"r N 6", "r 6", "r 6"}, 0, 0},
    {PRN_OP_ATTENTION_GRAD, {.heads = 2}, {"r N 8", "r N 24", "r N 8", "r N 2", "i B"}, {"r N 24"}, 0, 0},
    {PRN_OP_ATTENTION_GRAD, {.heads = 2, .positions = 3}, {"r B*3 8", "r B*3 24", "r B*3 8", "r B*3 2"}, {"r B*3 24"}, 0, 0},
    {PRN_OP_LOOKUP_GRAD, {0}, {"r N 6", "i N"}, {"=r 11 6"}, 0, 0},
    {PRN_OP_CLASS_ROWS_GRAD, {.positions = 5}, {"r B*5 6"}, {"r B*4 6", "r 6", "r 5 6"}, 0, 0},
    {PRN_OP_READ_ATTENTION_GRAD, {.heads = 2}, {"r B 8", "r B 8", "r N 16", "i 5", "i B"}, {"r B 8", "r N 16"}, 0, 0},
    {PRN_OP_READ_ATTENTION_GRAD, {.heads = 2, .positions = 3}, {"r B 8", "r B 8", "r B*3 16"}, {NULL, "r B*3 16"}, 0, 0},
    {PRN_OP_GATHER_ROWS_GRAD, {0}, {"r B 6", "i B"}, {"=r N 6"}, 0, 0},
    {PRN_OP_GATHER_ROWS_GRAD, {.stride = 5}, {"r B 6"}, {"r B*5 6"}, 0, 0},
    {PRN_OP_L2_NORMALISE_GRAD, {0}, {"r N 6", "r N 6", "r N"}, {"r N 6"}, 0, 0},
    {PRN_OP_SIMILARITY_GRAD, {0}, {"r N M", "r N 6", "r M 6", "r N M", "r"}, {"r N 6", "r M 6", "r"}, 0, 0},
    {PRN_OP_CROSS_ENTROPY_GRAD, {0}, {"r N", "r N M", "i N", "r N"}, {"r N M"}, 0, 0},
    {PRN_OP_SOFT_CROSS_ENTROPY_GRAD, {.alpha = 1}, {"r N", "r N M", "r N M", "r N", "r N"}, {"r N M"}, 0, 0},
    {PRN_OP_BROADCAST, {.alpha = 1}, {"r"}, {"=r N 6"}, 0, 0},
    {PRN_OP_ADAMW, {0}, {"r 100", "r 8"}, {"=r 100", "=r 100", "=r 100"}, 0, 0},
    {PRN_OP_ADAMW, {0}, {"r 10 10", "r 8"}, {"=r 10 10", "=r 10 10", "=r 10 10"}, 0, 0},
    {PRN_OP_ADAMW, {0}, {"r 10 4", "r 8", "u 10"}, {"=r 10 4", "=r 10 4", "=r 10 4"}, 0, 0},
    {PRN_OP_ADAMW, {0}, {"r 10 4", "r 8", "u 10"}, {"=r 10 4", "=h 10 4", "=h 10 4"}, 0, 0},
    {PRN_OP_DECAY_ROWS, {.decay = 0.1}, {"r N", "u 10"}, {"=r 10 4"}, 0, 0},
};

static const call bad[] = {
    {PRN_OP_PATCHES, PICTURE, {"r B 8 8 3"}, {"x"}, "'in0' (B, 8, 8, 3)", "u8 of rank 4"},
    {PRN_OP_PATCHES, PICTURE, {"u 8 8 3"}, {"x"}, "'in0' (8, 8, 3)", "rank 4"},
    {PRN_OP_PATCHES, PICTURE, {"u B 8 9 3"}, {"x"}, "'in0' (B, 8, 9, 3)", "(B, S, S, 3)"},
    {PRN_OP_PATCHES, PICTURE, {"u B 8 8 4"}, {"x"}, "'in0' (B, 8, 8, 4)", "(B, S, S, 3)"},
    {PRN_OP_PATCHES, PICTURE, {"u B 10 10 3"}, {"x"}, "'in0' (B, 10, 10, 3)", "multiple of the patch"},
    {PRN_OP_PATCHES, PICTURE, {"u B 0 0 3"}, {"x"}, "'in0' (B, 0, 0, 3)", "(B, S, S, 3)"},
    {PRN_OP_PATCHES, PICTURE, {"u B N N 3"}, {"x"}, "'in0' (B, N, N, 3)", "(B, S, S, 3)"},
    {PRN_OP_PATCHES, .attrs = {.patch = 0, .std = {1, 1, 1}}, {"u B 8 8 3"}, {"x"}, "'in0'", "patch"},
    {PRN_OP_PATCHES, .attrs = {.patch = -8, .std = {1, 1, 1}}, {"u B 8 8 3"}, {"x"}, "'in0'", "patch"},
    {PRN_OP_PATCHES, .attrs = {.patch = 4, .std = {1, 0, 1}}, {"u B 8 8 3"}, {"x"}, "'in0'", "standard deviation"},
    {PRN_OP_LINEAR, {0}, {NULL, "r 5 6"}, {"x"}, "input 0", "missing"},
    {PRN_OP_LINEAR, {0}, {"r N 6"}, {"x"}, "input 1", "missing"},
    {PRN_OP_LINEAR, {0}, {"r 6", "r 5 6"}, {"x"}, "'in0' (6)", "rank 2"},
    {PRN_OP_LINEAR, {0}, {"r N 6", "i 5"}, {"x"}, "'in1' (5)", "real of rank 2"},
    {PRN_OP_LINEAR, {0}, {"r N 6", "r 6 5"}, {"x"}, "'in0' (N, 6) does not fit 'in1' (6, 5)", "w (N, K)"},
    {PRN_OP_LINEAR, {.transpose_w = 1}, {"r N 6", "r 5 6"}, {"x"}, "'in0' (N, 6) does not fit 'in1' (5, 6)", "w (K, N)"},
    {PRN_OP_LINEAR, {0}, {"r N 6", "r 5 6", "r 6"}, {"x"}, "'in2' (6)", "bias must be (N)"},
    {PRN_OP_LINEAR, {0}, {"r N 6", "r 5 6", "r 1 5"}, {"x"}, "'in2' (1, 5)", "rank 1"},
    {PRN_OP_LINEAR, {0}, {"r N 6", "r 5 6", NULL, "r N 6"}, {"x"}, "'in3' (N, 6)", "residual"},
    {PRN_OP_LINEAR, {0}, {"r N 6", "r 5 6", NULL, "r B 5"}, {"x"}, "'in3' (B, 5)", "residual"},
    {PRN_OP_LINEAR, {0}, {"r N 6", "r 5 6", NULL, "r 9 5"}, {"x"}, "'in3' (9, 5)", "residual"}, /* as many as N at most, still not N */
    {PRN_OP_LINEAR, {0}, {"r N 6", "r 5 6"}, {"=r B 5"}, "'out0' is (B, 5)", "the result is (N, 5)"},
    {PRN_OP_LINEAR, {0}, {"r N 6", "r 5 6"}, {"=i N 5"}, "'out0'", "integers"},
    {PRN_OP_LAYER_NORM, {0}, {"r N 6", "r 5", "r 6"}, {"x"}, "'in1' (5)", "(C)"},
    {PRN_OP_LAYER_NORM, {0}, {"r N 6", "r 6", "r 5"}, {"x"}, "'in2' (5)", "(C)"},
    {PRN_OP_LAYER_NORM, {0}, {"r N 6", "r 6"}, {"x"}, "input 2", "missing"},
    {PRN_OP_ATTENTION, {.heads = 0}, {"r N 24", "i B"}, {"x"}, "'in0' (N, 24)", "heads"},
    {PRN_OP_ATTENTION, {.heads = 3}, {"r N 24", "i B"}, {"x"}, "'in0' (N, 24)", "heads"},
    {PRN_OP_ATTENTION, {.heads = 2}, {"r N M", "i B"}, {"x"}, "'in0' (N, M)", "heads"},
    {PRN_OP_ATTENTION, {.heads = 2}, {"r N 24"}, {"x"}, "input 1", "missing"},
    {PRN_OP_ATTENTION, {.heads = 2}, {"r N 24", "r B"}, {"x"}, "'in1' (B)", "i32 of rank 1"},
    {PRN_OP_ATTENTION, {.heads = 2, .positions = 3}, {"r B*3 24", "i B"}, {"x"}, "'in0'", "no offsets"},
    {PRN_OP_ATTENTION, {.heads = 2, .positions = 3}, {"r N 24"}, {"x"}, "'in0' (N, 24)", "multiple of the positions"},
    {PRN_OP_LOOKUP, {0}, {"r N", "r 11 6"}, {"x"}, "'in0' (N)", "i32"},
    {PRN_OP_LOOKUP, {0}, {"i N", "r 11"}, {"x"}, "'in1' (11)", "rank 2"},
    {PRN_OP_LOOKUP, {0}, {"i N", "r 11 6", "r N 5"}, {"x"}, "'in2' (N, 5)", "residual"},
    {PRN_OP_READ_ATTENTION, {.heads = 0}, {"r B 8", "r N 16", "i 5"}, {"x"}, "'in0' (B, 8)", "heads"},
    {PRN_OP_READ_ATTENTION, {.heads = 3}, {"r B 8", "r N 16", "i 5"}, {"x"}, "'in0' (B, 8)", "heads"},
    {PRN_OP_READ_ATTENTION, {.heads = 2}, {"r B M", "r N 16", "i 5"}, {"x"}, "'in0' (B, M)", "heads"},
    {PRN_OP_READ_ATTENTION, {.heads = 2}, {"r B 8", "r N 24", "i 5"}, {"x"}, "'in1' (N, 24)", "2C"},
    {PRN_OP_READ_ATTENTION, {.heads = 2}, {"r B 8", "r N 16"}, {"x"}, "input 2", "missing"},
    {PRN_OP_READ_ATTENTION, {.heads = 2}, {"r B 8", "r N 16", "r 5"}, {"x"}, "'in2' (5)", "i32 of rank 1"},
    {PRN_OP_READ_ATTENTION, {.heads = 2}, {"r B 8", "r N 16", "i 5", "i N"}, {"x"}, "'in3' (N)", "rows must be (B)"},
    {PRN_OP_READ_ATTENTION, {.heads = 2}, {"r B 8", "r N 16", "i 5", "r B"}, {"x"}, "'in3' (B)", "i32 of rank 1"},
    {PRN_OP_READ_ATTENTION, {.heads = 2, .positions = 3}, {"r B 8", "r B*3 16", "i 5"}, {"x"}, "'in1' (B*3, 16)", "no offsets"},
    {PRN_OP_READ_ATTENTION, {.heads = 2, .positions = 3}, {"r B 8", "r B*4 16"}, {"x"}, "'in1' (B*4, 16)", "rows for each query"},
    {PRN_OP_CLASS_ROWS, {0}, {"r B*4 6", "r 6", "r 6 6"}, {"x"}, "'in2' (6, 6)", "P = T - 1"},
    {PRN_OP_CLASS_ROWS, {0}, {"r N 6", "r 6", "r 5 6"}, {"x"}, "'in0' (N, 6)", "P = T - 1"},
    {PRN_OP_CLASS_ROWS, {0}, {"r B*4 6", "r 5", "r 5 6"}, {"x"}, "'in0' (B*4, 6)", "class must be (C)"},
    {PRN_OP_CLASS_ROWS, {0}, {"r B*4 6", "r 6", "r 5 5"}, {"x"}, "'in2' (5, 5)", "(T, C)"},
    {PRN_OP_CLASS_ROWS, {0}, {"r B*4 6", "r 6", "r 1 6"}, {"x"}, "'in2' (1, 6)", "P = T - 1"},
    {PRN_OP_GATHER_ROWS, {0}, {"r N 6", "r B"}, {"x"}, "'in1' (B)", "i32"},
    {PRN_OP_GATHER_ROWS, {0}, {"r N 6"}, {"x"}, "'in0' (N, 6)", "stride"},
    {PRN_OP_GATHER_ROWS, {.stride = 3}, {"r B*10 6"}, {"x"}, "'in0' (B*10, 6)", "multiple of the stride"},
    {PRN_OP_L2_NORMALISE, {0}, {"r N"}, {"x"}, "'in0' (N)", "rank 2"},
    {PRN_OP_SIMILARITY, {0}, {"r N 6", "r M 5"}, {"x"}, "'in0' (N, 6) does not fit 'in1' (M, 5)", "(M, E)"},
    {PRN_OP_SIMILARITY, {0}, {"r N 6", "r M 6", "r 1"}, {"x"}, "'in2' (1)", "rank 0"},
    {PRN_OP_CROSS_ENTROPY, {0}, {"r N M", "i M"}, {"x"}, "'in1' (M)", "labels must be (R)"},
    {PRN_OP_CROSS_ENTROPY, {0}, {"r N M", "r N"}, {"x"}, "'in1' (N)", "i32"},
    {PRN_OP_SOFT_CROSS_ENTROPY, {.alpha = 1}, {"r N M", "r N 7"}, {"x"}, "'in1' (N, 7)", "one shape"},
    {PRN_OP_SOFT_CROSS_ENTROPY, {.alpha = 0}, {"r N M", "r N M"}, {"x"}, "'in0'", "temperature"},
    {PRN_OP_ACTIVATION, {0}, {"i N"}, {"x"}, "'in0' (N)", "must be real"},
    {PRN_OP_AXPBY, {0}, {"u B 8 8 3"}, {"x"}, "'in0' (B, 8, 8, 3)", "must be real"},
    {PRN_OP_AXPBY, {0}, {"r N 6", "r 6"}, {"x"}, "'in0' (N, 6) does not fit 'in1' (6)", "one shape"},
    {PRN_OP_MULTIPLY, {0}, {"r N 6", "r 6 N"}, {"x"}, "'in1' (6, N)", "scalar"},
    {PRN_OP_MULTIPLY, {0}, {"r", "r N"}, {"x"}, "'in1' (N)", "scalar"},
    {PRN_OP_EXP, {0}, {"i N"}, {"x"}, "'in0' (N)", "real"},
    {PRN_OP_SUM, {0}, {NULL}, {"x"}, "input 0", "missing"},
    {PRN_OP_DOT, {0}, {"r N 3", "r N 4"}, {"x"}, "'in1' (N, 4)", "one shape"},
    {PRN_OP_DOT, {0}, {"r N 3"}, {"x"}, "input 1", "missing"},
    {PRN_OP_DOT, {0}, {"r 10 3", "r 10 3", "u 9"}, {"x"}, "'in2' (9)", "rows must be (R)"},
    {PRN_OP_DOT, {0}, {"r 10", "r 10", "u 10"}, {"x"}, "'in0' (10)", "rank"},
    {PRN_OP_FILL, {0}, {NULL}, {"x"}, "output 0", "give a tensor"},
    {PRN_OP_FILL, {0}, {"i 10"}, {"=r 10 3"}, "'in0' (10)", "u8"},
    {PRN_OP_FILL, {0}, {NULL}, {"=i N"}, "'out0'", "integers"},
    {PRN_OP_CLAMP, {0}, {"r N"}, {"=r M"}, "'out0' is (M)", "result is (N)"},
    {PRN_OP_LINEAR_GRAD_X, {0}, {"r N 6", "r 5 6"}, {"x"}, "'in1' (5, 6)", "weights"},
    {PRN_OP_LINEAR_GRAD_X, {.transpose_w = 1}, {"r N 5", "r 5 6"}, {"x"}, "'in1' (5, 6)", "weights"},
    {PRN_OP_LINEAR_GRAD_W, {0}, {"r N 5", "r M 6"}, {"x"}, "'in1' (M, 6)", "same rows"},
    {PRN_OP_LINEAR_GRAD_W, {0}, {"r N 5", "r N 6"}, {"=r 6 5"}, "'out0' is (6, 5)", "(5, 6)"},
    {PRN_OP_ACTIVATION_GRAD, {0}, {"r N 5", "r N 6"}, {"x"}, "'in1' (N, 6)", "one shape"},
    {PRN_OP_LAYER_NORM_GRAD, {0}, {"r N 6", "r M 6", "r 6", "r N", "r N"}, {"x"}, "'in1' (M, 6)", "(M, C)"},
    {PRN_OP_LAYER_NORM_GRAD, {0}, {"r N 6", "r N 6", "r 5", "r N", "r N"}, {"x"}, "'in0' (N, 6)", "gain (C)"},
    {PRN_OP_LAYER_NORM_GRAD, {0}, {"r N 6", "r N 6", "r 6", "r M", "r N"}, {"x"}, "'in3' (M)", "mean and rstd"},
    {PRN_OP_LAYER_NORM_GRAD, {0}, {"r N 6", "r N 6", "r 6", "r N", "r M"}, {"x"}, "'in4' (M)", "mean and rstd"},
    {PRN_OP_ATTENTION_GRAD, {.heads = 2}, {"r N 8", "r N 24", "r M 8", "r N 2", "i B"}, {"x"}, "'in2' (M, 8)", "(M, C)"},
    {PRN_OP_ATTENTION_GRAD, {.heads = 2}, {"r N 8", "r N 12", "r N 8", "r N 2", "i B"}, {"x"}, "'in1' (N, 12)", "3C"},
    {PRN_OP_ATTENTION_GRAD, {.heads = 2}, {"r N 8", "r M 24", "r N 8", "r N 2", "i B"}, {"x"}, "'in1' (M, 24)", "3C"},
    {PRN_OP_ATTENTION_GRAD, {.heads = 2}, {"r N 8", "r N 24", "r N 8", "r N 3", "i B"}, {"x"}, "'in3' (N, 3)", "lse"},
    {PRN_OP_LOOKUP_GRAD, {0}, {"r N 6", "i M"}, {"=r 11 6"}, "'in1' (M)", "ids (M)"},
    {PRN_OP_LOOKUP_GRAD, {0}, {"r N 6", "i N"}, {"=r 11 5"}, "'out0' (11, 5)", "as many columns as 'in0' (N, 6)"},
    {PRN_OP_LOOKUP_GRAD, {0}, {"r N 6", "i N"}, {"=r 11"}, "'out0' (11)", "columns"},
    {PRN_OP_READ_ATTENTION_GRAD, {.heads = 2}, {"r N 8", "r B 8", "r N 16", "i 5"}, {"x"}, "'in0' (N, 8)", "(B, C)"},
    {PRN_OP_READ_ATTENTION_GRAD, {.heads = 2}, {"r B 8", "r B 8", "r N 24", "i 5"}, {"x"}, "'in2' (N, 24)", "2C"},
    {PRN_OP_CLASS_ROWS_GRAD, {.positions = 1}, {"r B*5 6"}, {"x"}, "'in0' (B*5, 6)", "positions T"},
    {PRN_OP_CLASS_ROWS_GRAD, {.positions = 4}, {"r B*5 6"}, {"x"}, "'in0' (B*5, 6)", "positions T"},
    {PRN_OP_GATHER_ROWS_GRAD, {0}, {"r B 6"}, {"x"}, "'in0' (B, 6)", "stride"},
    {PRN_OP_GATHER_ROWS_GRAD, {0}, {"r B 6", "i B"}, {"=r N 7"}, "'out0' (N, 7)", "columns"},
    {PRN_OP_L2_NORMALISE_GRAD, {0}, {"r N 6", "r N 7", "r N"}, {"x"}, "'in1' (N, 7)", "one shape"},
    {PRN_OP_L2_NORMALISE_GRAD, {0}, {"r N 6", "r N 6", "r M"}, {"x"}, "'in2' (M)", "rnorm"},
    {PRN_OP_SIMILARITY_GRAD, {0}, {"r N M", "r N 6", "r M 6", "r M N"}, {"x"}, "'in3' (M, N)", "(R, M)"},
    {PRN_OP_SIMILARITY_GRAD, {0}, {"r N M", "r M 6", "r N 6", "r N M"}, {"x"}, "'in1' (M, 6)", "a must be (R, E)"},
    {PRN_OP_SIMILARITY_GRAD, {0}, {"r N M", "r N 6", "r M 5", "r N M"}, {"x"}, "'in2' (M, 5)", "(M, E)"},
    {PRN_OP_SIMILARITY_GRAD, {0}, {"r N M", "r N 6", "r M 6", "r N M", "r 2"}, {"x"}, "'in4' (2)", "rank 0"},
    {PRN_OP_CROSS_ENTROPY_GRAD, {0}, {"r M", "r N M", "i N", "r N"}, {"x"}, "'in0' (M)", "(R)"},
    {PRN_OP_CROSS_ENTROPY_GRAD, {0}, {"r N", "r N M", "i M", "r N"}, {"x"}, "'in2' (M)", "(R)"},
    {PRN_OP_CROSS_ENTROPY_GRAD, {0}, {"r N", "r N M", "i N", "r M"}, {"x"}, "'in3' (M)", "(R)"},
    {PRN_OP_SOFT_CROSS_ENTROPY_GRAD, {.alpha = 1}, {"r N", "r N M", "r N N", "r N", "r N"}, {"x"}, "'in2' (N, N)", "one shape"},
    {PRN_OP_SOFT_CROSS_ENTROPY_GRAD, {.alpha = 1}, {"r M", "r N M", "r N M", "r N", "r N"}, {"x"}, "'in0' (M)", "(R)"},
    {PRN_OP_SOFT_CROSS_ENTROPY_GRAD, {.alpha = 1}, {"r N", "r N M", "r N M", "r M", "r N"}, {"x"}, "'in3' (M)", "(R)"},
    {PRN_OP_SOFT_CROSS_ENTROPY_GRAD, {.alpha = 1}, {"r N", "r N M", "r N M", "r N", "r M"}, {"x"}, "'in4' (M)", "(R)"},
    {PRN_OP_SOFT_CROSS_ENTROPY_GRAD, {.alpha = 0}, {"r N", "r N M", "r N M", "r N", "r N"}, {"x"}, "'in1'", "temperature"},
    {PRN_OP_BROADCAST, {0}, {NULL}, {"=r N"}, "input 0", "missing"},
    {PRN_OP_BROADCAST, {0}, {"r 2"}, {"=r N"}, "'in0' (2)", "rank 0"},
    {PRN_OP_BROADCAST, {0}, {"r"}, {"x"}, "output 0", "give a tensor"},
    {PRN_OP_ADAMW, {0}, {"r 100", "r 7"}, {"=r 100", "=r 100", "=r 100"}, "'in1' (7)", "(8)"},
    {PRN_OP_ADAMW, {0}, {"r 10 4", "r 8", "u 4"}, {"=r 10 4", "=r 10 4", "=r 10 4"}, "'in2' (4)", "rows must be (R)"},
    {PRN_OP_ADAMW, {0}, {"r 10 10", "r 8"}, {"=r 10 10", "=r 100", "=r 10 10"}, "'out1' is (100)", "result is (10, 10)"},
    {PRN_OP_ADAMW, {0}, {"r 100", "r 8"}, {"=r 100", "=r 99", "=r 100"}, "'out1' is (99)", "result is (100)"},
    {PRN_OP_ADAMW, {0}, {"r 100", "r 8"}, {"=r 100", "=h 100", "=r 100"}, "'out1' and 'out2'", "both be bf16, or neither"},
    {PRN_OP_ADAMW, {0}, {"r 100", "r 8"}, {"=h 100", "=h 100", "=h 100"}, "'out0' holds bf16", "results are real"},
    {PRN_OP_ADAMW, {0}, {"r 100", "r 8"}, {"=r 100", "=h 99", "=h 100"}, "'out1' is (99)", "result is (100)"},
    {PRN_OP_ADAMW, {0}, {"h 100", "r 8"}, {"=r 100", "=r 100", "=r 100"}, "'in0' (100)", "must be real"},
    {PRN_OP_DECAY_ROWS, {0}, {"r N 3", "u 10"}, {"=r 10 4"}, "'in0' (N, 3)", "real of rank 1"},
    {PRN_OP_DECAY_ROWS, {0}, {"r N", "r 10"}, {"=r 10 4"}, "'in1' (10)", "u8 of rank 1"},
    {PRN_OP_DECAY_ROWS, {0}, {"r N"}, {"=r 10 4"}, "input 1", "missing"},
    {PRN_OP_DECAY_ROWS, {0}, {"r N", "u 10"}, {"x"}, "output 0", "give a tensor"},
    {PRN_OP_EXP, {0}, {"r 10"}, {"=h 10"}, "'out0' holds bf16", "results are real"},
    {(prn_op_kind)63, {0}, {"r"}, {"x"}, "63", "does not exist"},
    {PRN_OP_NONE, {0}, {"r"}, {"x"}, "kind 0", "does not exist"},
};

static void test_good(void **state)
{
    (void)state;
    uint8_t seen[256] = {0};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        world w;
        int32_t out[PRN_OP_MAX_OUTPUTS];
        world_begin(&w);
        (void)perform(&w, &good[i], out);
        if (w.g->failure.status != PRN_OK) {
            fail_msg("case %zu: %s", i, w.g->failure.message);
        }
        seen[good[i].kind] = 1;
        for (int k = 0; k < PRN_OP_MAX_OUTPUTS; k++) {
            prn_tensor want = {.rank = 0};
            char text[2][96];
            if (good[i].out[k] == NULL) {
                assert_int_equal(out[k], NONE);
                continue;
            }
            prn_type type;
            want.rank = parse(good[i].out[k] + (*good[i].out[k] == '='), &type, want.dim);
            const prn_tensor *got = &w.g->tensors[out[k]];
            assert_int_equal(got->type, type);
            assert_string_equal(prn__shape_text(w.g->symbols, got, text[0], sizeof text[0]), prn__shape_text(w.g->symbols, &want, text[1], sizeof text[1]));
        }
        prn__graph_destroy(w.g);
    }
#define EACH(code, value, name, inputs, outputs) \
    if (!seen[value]) {                          \
        fail_msg("%s has no good case", name);   \
    }
    PRN_OP_LIST(EACH)
#undef EACH
}

static void test_bad(void **state)
{
    (void)state;
    uint8_t seen[256] = {0};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        world w;
        int32_t out[PRN_OP_MAX_OUTPUTS];
        const prn_program *p;
        prn_error error = PRN_ERROR_INIT;
        world_begin(&w);
        assert_int_equal(perform(&w, &bad[i], out), NONE);
        assert_int_equal(prn__graph_finish(w.g, &p, &error), PRN_INVALID);
        assert_null(p);
        assert_int_equal(w.g->op_count, 0);
        const char *name = prn__op_name(bad[i].kind);
        const int is_known = strcmp(name, "unknown") != 0;
        if (strstr(error.message, bad[i].operand) == NULL || strstr(error.message, bad[i].part) == NULL || strstr(error.message, "program 'world'") == NULL ||
            (is_known && (strstr(error.message, name) == NULL || strstr(error.message, "'label'") == NULL))) {
            fail_msg("case %zu: '%s' lacks '%s' or '%s'", i, error.message, bad[i].operand, bad[i].part);
        }
        seen[bad[i].kind] = 1;
        prn__graph_destroy(w.g);
    }
#define EACH(code, value, name, inputs, outputs) \
    if (!seen[value]) {                          \
        fail_msg("%s has no bad case", name);    \
    }
    PRN_OP_LIST(EACH)
#undef EACH
}

/* Indices that are no tensors, on either side. */
static void test_indices(void **state)
{
    (void)state;
    static const int32_t wrong[] = {-2, 1, 1000, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        for (int side = 0; side < 2; side++) {
            world w;
            world_begin(&w);
            const int32_t x = tensor(&w, "r N", "x", 0);
            assert_int_equal(x, 0);
            const int32_t in[PRN_OP_MAX_INPUTS] = {side == 0 ? wrong[i] : x, NONE, NONE, NONE, NONE};
            int32_t out[PRN_OP_MAX_OUTPUTS] = {side == 1 ? wrong[i] : NONE, NONE, NONE};
            assert_int_equal(prn__graph_op(w.g, PRN_OP_EXP, in, out, 1, NULL, "e"), NONE);
            assert_non_null(strstr(w.g->failure.message, side == 0 ? "input 0 is not a tensor" : "output 0 is not a tensor"));
            prn__graph_destroy(w.g);
        }
    }
}

static void expect_failure(world *w, const char *part)
{
    if (w->g->failure.status != PRN_INVALID || strstr(w->g->failure.message, part) == NULL) {
        fail_msg("%s: '%s' lacks '%s'", prn_status_name((prn_status)w->g->failure.status), w->g->failure.message, part);
    }
    prn__graph_destroy(w->g);
}

static void test_bindings(void **state)
{
    (void)state;
    const prn_dim plain[5] = {prn__fixed(2), prn__fixed(2), prn__fixed(2), prn__fixed(2), prn__fixed(2)};
    world w;
    for (int i = 0; i < 8; i++) {
        prn_dim dim = prn__fixed(3);
        world_begin(&w);
        switch (i) {
        case 0: (void)prn__graph_bound(w.g, "t", 99, 0, 1, plain); break;
        case 1: (void)prn__graph_bound(w.g, "t", -1, 0, 1, plain); break;
        case 2: (void)prn__graph_bound(w.g, "t", PRN_SLOT_WORKSPACE, 0, 1, plain); break; /* the plan's, nobody else's */
        case 3: (void)prn__graph_bound(w.g, "t", 1, -1, 1, plain); break;
        case 4: (void)prn__graph_bound(w.g, "t", 1, 0, 5, plain); break;
        case 5: dim.fixed = -1; (void)prn__graph_bound(w.g, "t", 1, 0, 1, &dim); break;
        case 6: dim.symbol = CELLS; (void)prn__graph_bound(w.g, "t", 1, 0, 1, &dim); break;
        default: dim.symbol = -2; (void)prn__graph_bound(w.g, "t", 1, 0, 1, &dim); break;
        }
        expect_failure(&w, "'t'");
    }
    world_begin(&w);
    assert_int_equal(prn__graph_symbol(w.g, "K", -1), PRN_NO_SYMBOL);
    expect_failure(&w, "'K'");
    /* the same view twice is one tensor; another name, place or shape is another */
    world_begin(&w);
    const int32_t x = tensor(&w, "r N 3", "x", 5);
    assert_int_equal(tensor(&w, "r N 3", "x", 5), x);
    assert_int_not_equal(tensor(&w, "r N 3", "y", 5), x);
    assert_int_not_equal(tensor(&w, "r N 3", "x", 6), x);
    assert_int_not_equal(tensor(&w, "r M 3", "x", 5), x);
    assert_int_not_equal(tensor(&w, "r N", "x", 5), x);
    prn__graph_destroy(w.g);
    /* no operation may follow the plan */
    world_begin(&w);
    const prn_program *p;
    prn_error error = PRN_ERROR_INIT;
    const int32_t a = tensor(&w, "r N", "a", 0), b = tensor(&w, "r N", "b", 100);
    (void)prn__graph_axpby(w.g, "copy", 1, a, 0, NONE, b);
    assert_int_equal(prn__graph_finish(w.g, &p, &error), PRN_OK);
    assert_int_equal(prn__graph_axpby(w.g, "late", 1, a, 0, NONE, NONE), NONE);
    expect_failure(&w, "finished");
}

/* ---- sizes that overflow ------------------------------------------------------------------------------------------------------------ */

static void test_overflow(void **state)
{
    (void)state;
    static const int64_t big = INT64_MAX, root = (int64_t)1 << 32;
    world w;
    for (int i = 0; i < 12; i++) {
        int32_t out[PRN_OP_MAX_OUTPUTS] = {NONE, NONE, NONE}, in[PRN_OP_MAX_INPUTS] = {NONE, NONE, NONE, NONE, NONE};
        prn_op_attrs attrs = {.patch = INT32_MAX, .std = {1, 1, 1}, .stride = INT32_MAX};
        prn_dim d[4] = {prn__fixed(big), prn__fixed(2), prn__fixed(1), prn__fixed(1)};
        world_begin(&w);
        switch (i) {
        case 0: (void)prn__graph_bound(w.g, "t", 1, 0, 2, d); break;
        case 1: d[0] = d[1] = prn__fixed(root); (void)prn__graph_bound(w.g, "t", 1, 0, 2, d); break;
        case 2: d[0] = d[1] = d[2] = d[3] = prn__fixed(1 << 20); (void)prn__graph_bound(w.g, "t", 1, 0, 4, d); break;
        case 3: d[0] = prn__sized(big / 4, 0); (void)prn__graph_bound(w.g, "t", 1, 0, 1, d); break; /* times N */
        case 4: d[0] = prn__sized(1, prn__graph_symbol(w.g, "H", big)); (void)prn__graph_bound(w.g, "t", 1, 0, 1, d); break;
        case 5: d[1] = prn__fixed(0); (void)prn__graph_bound(w.g, "t", 1, 0, 2, d); break; /* nothing, but not countable in any order */
        case 6: (void)prn__graph_bound(w.g, "t", 1, big, 0, d); break;
        case 7: /* 3 p p columns */
            d[0] = prn__fixed(0);
            d[1] = d[2] = prn__fixed(INT32_MAX);
            d[3] = prn__fixed(3);
            in[0] = prn__graph_bound(w.g, "images", 3, 0, 4, d);
            (void)prn__graph_op(w.g, PRN_OP_PATCHES, in, out, 1, &attrs, "t");
            break;
        case 8: /* a product of two that are small enough */
            d[0] = prn__fixed((int64_t)1 << 40);
            d[1] = prn__fixed(1);
            in[0] = prn__graph_bound(w.g, "x", 1, 0, 2, d);
            in[1] = prn__graph_bound(w.g, "w", 1, 7, 2, d);
            (void)prn__graph_op(w.g, PRN_OP_LINEAR, in, out, 1, NULL, "t");
            break;
        case 9: /* B*P rows to B*T */
            d[0] = prn__fixed((int64_t)1 << 59);
            d[0].fixed -= 1;
            d[1] = prn__fixed(1);
            in[0] = prn__graph_bound(w.g, "patches", 1, 0, 2, d);
            in[1] = tensor(&w, "r 1", "class", 0);
            in[2] = tensor(&w, "r 2 1", "positions", 0);
            (void)prn__graph_op(w.g, PRN_OP_CLASS_ROWS, in, out, 1, &attrs, "t");
            break;
        case 10: /* rows times stride */
            d[0] = prn__fixed((int64_t)1 << 50);
            in[0] = prn__graph_bound(w.g, "x", 1, 0, 2, d);
            (void)prn__graph_op(w.g, PRN_OP_GATHER_ROWS_GRAD, in, out, 1, &attrs, "t");
            break;
        default: /* every pair of rows */
            d[0] = prn__fixed((int64_t)1 << 40);
            in[0] = in[1] = prn__graph_bound(w.g, "x", 1, 0, 2, d);
            (void)prn__graph_op(w.g, PRN_OP_SIMILARITY, in, out, 1, NULL, "t");
            break;
        }
        expect_failure(&w, "too large");
    }
    /* each is small enough, together they are not */
    world_begin(&w);
    prn_error error = PRN_ERROR_INIT;
    const prn_program *p;
    const prn_dim d = prn__fixed(INT64_MAX / 32);
    int32_t x = prn__graph_bound(w.g, "x", 1, 0, 1, &d), all = NONE;
    int32_t made[40];
    for (int i = 0; i < 40; i++) {
        made[i] = prn__graph_axpby(w.g, "made", 1, x, 0, NONE, NONE);
    }
    for (int i = 0; i < 40; i++) {
        all = all == NONE ? made[i] : prn__graph_axpby(w.g, "all", 1, made[i], 1, all, NONE);
    }
    (void)prn__graph_axpby(w.g, "out", 1, all, 0, NONE, prn__graph_bound(w.g, "y", 1, 0, 1, &d));
    assert_int_equal(prn__graph_finish(w.g, &p, &error), PRN_INVALID);
    assert_non_null(strstr(error.message, "workspace is too large"));
    prn__graph_destroy(w.g);
}

/* ---- multiply-accumulates --------------------------------------------------------------------------------------------------------------- */

static void test_macs(void **state)
{
    (void)state;
    /* N = 5, B = 2, M = 3; `pairs` as if the items had 2 and 3 rows */
    static const int64_t values[CELLS] = {5, 2, 3};
    static const double pairs = 13;
    static const struct {
        call c;
        double macs, dense; /* dense: without `pairs` all rows attend to all */
    } cases[] = {
        {{PRN_OP_PATCHES, PICTURE, {"u B 8 8 3"}, {"r"}, 0, 0}, 0, 0},
        {{PRN_OP_LINEAR, {0}, {"r N 6", "r 4 6"}, {"r"}, 0, 0}, 5 * 6 * 4, 0},
        {{PRN_OP_LINEAR, {.transpose_w = 1}, {"r B*3 6", "r 6 4", "r 4", "r B*3 4"}, {"r"}, 0, 0}, 6 * 6 * 4, 0},
        {{PRN_OP_LAYER_NORM, {0}, {"r N 6", "r 6", "r 6"}, {"r", "r", "r"}, 0, 0}, 0, 0},
        {{PRN_OP_ATTENTION, {.heads = 2}, {"r N 24", "i B"}, {"r", "r"}, 0, 0}, 2 * 13 * 8, 2 * 25 * 8},
        {{PRN_OP_ATTENTION, {.heads = 2, .causal = 1, .positions = 4}, {"r B*4 24"}, {"r", "r"}, 0, 0}, 2 * (2 * 4 * 4) * 8, 0},
        {{PRN_OP_READ_ATTENTION, {.heads = 2}, {"r B 8", "r N 16", "i 3"}, {"r"}, 0, 0}, 2 * 5 * 8, 0},
        {{PRN_OP_READ_ATTENTION, {.heads = 2, .positions = 4}, {"r B 8", "r B*4 16"}, {"r"}, 0, 0}, 2 * (2 * 4) * 8, 0},
        {{PRN_OP_READ_ATTENTION_GRAD, {.heads = 2}, {"r B 8", "r B 8", "r N 16", "i 3"}, {"r", "r"}, 0, 0}, 4 * 5 * 8, 0},
        {{PRN_OP_LOOKUP, {0}, {"i N", "r 11 6"}, {"r"}, 0, 0}, 0, 0},
        {{PRN_OP_SIMILARITY, {0}, {"r N 6", "r M 6", "r"}, {"r"}, 0, 0}, 5 * 3 * 6, 0},
        {{PRN_OP_CROSS_ENTROPY, {0}, {"r N M", "i N"}, {"r", "r"}, 0, 0}, 0, 0},
        {{PRN_OP_DOT, {0}, {"r N 6", "r N 6"}, {"r"}, 0, 0}, 0, 0},
        {{PRN_OP_LINEAR_GRAD_X, {0}, {"r N 4", "r 4 6"}, {"r"}, 0, 0}, 5 * 4 * 6, 0},
        {{PRN_OP_LINEAR_GRAD_X, {.transpose_w = 1}, {"r N 4", "r 6 4"}, {"r"}, 0, 0}, 5 * 4 * 6, 0},
        {{PRN_OP_LINEAR_GRAD_W, {0}, {"r N 4", "r N 6"}, {"r", "r"}, 0, 0}, 5 * 4 * 6, 0},
        {{PRN_OP_ATTENTION_GRAD, {.heads = 2}, {"r N 8", "r N 24", "r N 8", "r N 2", "i B"}, {"r"}, 0, 0}, 4 * 13 * 8, 4 * 25 * 8},
        {{PRN_OP_SIMILARITY_GRAD, {0}, {"r N M", "r N 6", "r M 6", "r N M"}, {"r", "r"}, 0, 0}, 2 * 5 * 3 * 6, 0},
        {{PRN_OP_SIMILARITY_GRAD, {0}, {"r N M", "r N 6", "r M 6", "r N M"}, {NULL, "r"}, 0, 0}, 5 * 3 * 6, 0},
        {{PRN_OP_ADAMW, {0}, {"r 100", "r 8"}, {"=r 100", "=r 100", "=r 100"}, 0, 0}, 0, 0},
        {{PRN_OP_DECAY_ROWS, {0}, {"r N", "u 10"}, {"=r 10 4"}, 0, 0}, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        world w;
        int32_t out[PRN_OP_MAX_OUTPUTS];
        const prn_program *p;
        prn_error error = PRN_ERROR_INIT;
        world_begin(&w);
        (void)perform(&w, &cases[i].c, out);
        for (int k = 0; k < PRN_OP_MAX_OUTPUTS; k++) { /* somebody must need each result */
            if (out[k] != NONE && cases[i].c.out[k][0] != '=') {
                (void)prn__graph_dot(w.g, "use", out[k], out[k], NONE, tensor(&w, "r", "used", 9000));
            }
        }
        if (prn__graph_finish(w.g, &p, &error) != PRN_OK) {
            fail_msg("case %zu: %s", i, error.message);
        }
        const double got = prn__program_op_macs(p, 0, values, pairs), all = prn__program_macs(p, -1, values, pairs);
        const double dense = prn__program_op_macs(p, 0, values, 0), want_dense = cases[i].dense > 0 ? cases[i].dense : cases[i].macs;
        if (got != cases[i].macs || all != got || dense != want_dense) {
            fail_msg("case %zu, %s: %g and %g, wanted %g and %g", i, prn__op_name(p->ops[0].kind), got, dense, cases[i].macs, want_dense);
        }
        prn__graph_destroy(w.g);
    }
}

/* More sizes than anyone has: printing must cope. */
static void test_print_many_symbols(void **state)
{
    (void)state;
    enum { MANY = 70 };
    prn_error error = PRN_ERROR_INIT;
    prn__graph *g;
    prn__text text;
    const prn_program *p;
    int32_t last = NONE;
    char name[16];
    assert_int_equal(prn__graph_create("many", &g, &error), PRN_OK);
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(name, sizeof name, "S%d", i);
        last = prn__graph_symbol(g, name, i + 1);
    }
    const int32_t s = prn__graph_slot(g, "data", PRN_REAL);
    const prn_dim d[2] = {prn__sized(1, last), prn__fixed(3)}, v[2] = {prn__fixed(2), prn__fixed(3)};
    const int32_t x = prn__graph_bound(g, "x", s, 0, 2, d), weights = prn__graph_bound(g, "w", s, 500, 2, v);
    const prn_dim y[2] = {prn__sized(1, last), prn__fixed(2)};
    int32_t in[PRN_OP_MAX_INPUTS] = {x, weights, NONE, NONE, NONE}, out[PRN_OP_MAX_OUTPUTS] = {prn__graph_bound(g, "y", s, 900, 2, y), NONE, NONE};
    (void)prn__graph_op(g, PRN_OP_LINEAR, in, out, 1, NULL, "product");
    assert_int_equal(prn__graph_finish(g, &p, &error), PRN_OK);
    prn__text_init(&text);
    prn__program_print(p, &text);
    assert_non_null(strstr(text.data, "segment forward: 1 operations, 420 MACs\n")); /* 70 * 3 * 2 */
    assert_non_null(strstr(text.data, "y(S69, 2)@data+900  <-  x(S69, 3)@data+0, w(2, 3)@data+500\n"));
    prn__text_fini(&text);
    prn__graph_destroy(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),     cmocka_unit_test(test_bad),  cmocka_unit_test(test_indices),            cmocka_unit_test(test_bindings),
        cmocka_unit_test(test_overflow), cmocka_unit_test(test_macs), cmocka_unit_test(test_print_many_symbols),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
