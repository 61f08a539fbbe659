/* tests/program/test_program.c: shapes and their errors, the memory plan, checkpointing, MAC counts, printing, failing allocations. What programs compute
 * is tested where a backend runs them (tests/backends). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "program/graph.h"
#include "program/plan_check.h"

enum { NONE = PRN_NO_TENSOR, WIDTH = 16, HEADS = 4, TOKENS = 10, ITEMS = 3 };

static prn__graph *graph_create(const char *name)
{
    prn_error error = PRN_ERROR_INIT;
    prn__graph *graph;
    assert_int_equal(prn__graph_create(name, &graph, &error), PRN_OK);
    return graph;
}

static int32_t bound(prn__graph *g, const char *name, int32_t slot, int64_t offset, uint32_t rank, prn_dim a, prn_dim b)
{
    const prn_dim dims[2] = {a, b};
    return prn__graph_bound(g, name, slot, offset, rank, dims);
}

/* Pre-norm transformer blocks over ragged rows, and the sum of squares of what comes out. Returns NULL when out of memory. */
static prn__graph *transformer(int blocks, int with_backward, int checkpoint, prn_status *status, prn_error *error)
{
    prn__graph *g;
    int64_t at = 0;
    char name[32];
    *status = prn__graph_create("transformer", &g, error);
    if (*status != PRN_OK) {
        return NULL;
    }
    const int32_t n = prn__graph_symbol(g, "N", TOKENS), b = prn__graph_symbol(g, "B", ITEMS);
    const int32_t weights = prn__graph_slot(g, "parameters", PRN_REAL), gradients = prn__graph_slot(g, "gradients", PRN_REAL);
    const int32_t x_slot = prn__graph_slot(g, "x", PRN_REAL), dx_slot = prn__graph_slot(g, "dx", PRN_REAL);
    const int32_t input = bound(g, "x", x_slot, 0, 2, prn__sized(1, n), prn__fixed(WIDTH));
    const int32_t offsets = prn__graph_bound(g, "offsets", prn__graph_slot(g, "offsets", PRN_I32), 0, 1, (const prn_dim[1]){prn__sized(1, b)});
    int32_t x = input;
    for (int i = 0; i < blocks; i++) {
        int32_t w[6];
        static const int rows[6] = {1, 1, 3, 1, 4, 1}; /* gain, bias, qkv, out, up, down: in units of WIDTH */
        for (int k = 0; k < 6; k++) {
            (void)snprintf(name, sizeof name, "w%d.%d", i, k);
            w[k] = k < 2 ? bound(g, name, weights, at, 1, prn__fixed(WIDTH), prn__fixed(0))
                         : bound(g, name, weights, at, 2, prn__fixed(rows[k] * WIDTH), prn__fixed(k == 5 ? 4 * WIDTH : WIDTH));
            at += k < 2 ? WIDTH : (int64_t)rows[k] * WIDTH * (k == 5 ? 4 : 1) * WIDTH;
        }
        prn__graph_group(g, (uint32_t)i + 1);
        int32_t h = prn__graph_layer_norm(g, "norm", x, w[0], w[1], 1e-5);
        h = prn__graph_linear(g, "qkv", h, w[2], NONE, NONE, PRN_ACT_NONE, 0);
        h = prn__graph_attention(g, "attention", h, offsets, HEADS, 1, 0);
        x = prn__graph_linear(g, "out", h, w[3], NONE, x, PRN_ACT_NONE, 0);
        h = prn__graph_linear(g, "up", x, w[4], NONE, NONE, PRN_ACT_GELU, 0);
        x = prn__graph_linear(g, "down", h, w[5], NONE, x, PRN_ACT_NONE, 0);
    }
    prn__graph_group(g, 0);
    const int32_t seed = bound(g, "seed", prn__graph_slot(g, "seed", PRN_REAL), 0, 2, prn__sized(1, n), prn__fixed(WIDTH));
    const int32_t out = bound(g, "out", prn__graph_slot(g, "out", PRN_REAL), 0, 2, prn__sized(1, n), prn__fixed(WIDTH));
    (void)prn__graph_axpby(g, "copy", 1, x, 0, NONE, out);
    if (with_backward) {
        const int32_t dx = bound(g, "dx", dx_slot, 0, 2, prn__sized(1, n), prn__fixed(WIDTH));
        *status = prn__graph_derive(g, "backward", &(prn__gradient){x, seed, 0}, 1, &(prn__gradient){input, dx, 0}, 1, weights, gradients, checkpoint, error);
    }
    return g;
}

/* ---- memory plan ---------------------------------------------------------------------------------------------------------- */

static void test_memory_plan(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    int64_t workspace[3], sums[3];
    for (int kind = 0; kind < 3; kind++) { /* forward only; with backward; with checkpointing */
        prn_status status;
        prn__graph *g = transformer(12, kind > 0, kind == 2, &status, &error);
        const prn_program *p;
        assert_int_equal(status, PRN_OK);
        assert_int_equal(prn__graph_finish(g, &p, &error), PRN_OK);
        sums[kind] = check_plan(p);
        workspace[kind] = p->workspace_elements;
        prn__graph_destroy(g);
    }
    print_message("12 blocks: %lld elements forward, %lld with backward, %lld with checkpointing (unshared: %lld, %lld, %lld)\n", (long long)workspace[0],
                  (long long)workspace[1], (long long)workspace[2], (long long)sums[0], (long long)sums[1], (long long)sums[2]);
    assert_true(workspace[0] < sums[0] / 6);     /* a block's memory serves the next one */
    assert_true(workspace[1] < sums[1] * 3 / 4);
    assert_true(workspace[2] < workspace[1] / 3); /* one block's activations instead of twelve */
}

/* Checkpointing writes a group's forward operations again, and changes nothing else. */
static void test_checkpoint_operations(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    uint32_t forward[2], backward[2];
    for (int checkpoint = 0; checkpoint < 2; checkpoint++) {
        prn_status status;
        prn__graph *g = transformer(3, 1, checkpoint, &status, &error);
        const prn_program *p;
        assert_int_equal(status, PRN_OK);
        assert_int_equal(prn__graph_finish(g, &p, &error), PRN_OK);
        assert_int_equal(prn__program_segment(p, "forward"), 0);
        assert_int_equal(prn__program_segment(p, "backward"), 1);
        assert_int_equal(prn__program_segment(p, "sideways"), -1);
        forward[checkpoint] = p->segments[0].op_count;
        backward[checkpoint] = p->segments[1].op_count;
        prn__graph_destroy(g);
    }
    assert_int_equal(forward[0], forward[1]);
    assert_true(backward[1] > backward[0] && backward[1] <= backward[0] + 3 * 6);
}

static void test_dead_operations(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    prn__graph *g = graph_create("dead");
    const prn_program *p;
    const int32_t a = bound(g, "a", prn__graph_slot(g, "a", PRN_REAL), 0, 2, prn__fixed(4), prn__fixed(5));
    const int32_t y = bound(g, "y", prn__graph_slot(g, "y", PRN_REAL), 0, 2, prn__fixed(4), prn__fixed(5));
    (void)prn__graph_axpby(g, "useless", 3, a, 0, NONE, NONE);
    (void)prn__graph_axpby(g, "useful", 2, a, 0, NONE, y);
    assert_int_equal(prn__graph_finish(g, &p, &error), PRN_OK);
    assert_int_equal(p->op_count, 1);
    assert_int_equal(p->workspace_elements, 0);
    assert_true(p->ops[0].attrs.alpha == 2);
    prn__graph_destroy(g);
}

/* ---- shapes ------------------------------------------------------------------------------------------------------------------ */

static void refused(prn__graph *g, const char *what, const char *shape)
{
    const prn_program *p;
    prn_error error = PRN_ERROR_INIT;
    assert_int_equal(prn__graph_finish(g, &p, &error), PRN_INVALID);
    if (strstr(error.message, what) == NULL || strstr(error.message, shape) == NULL) {
        fail_msg("message '%s' lacks '%s' or '%s'", error.message, what, shape);
    }
    prn__graph_destroy(g);
}

static void test_shape_errors(void **state)
{
    (void)state;
    for (int i = 0; i < 11; i++) {
        prn__graph *g = graph_create("shapes");
        const int32_t slot = prn__graph_slot(g, "data", PRN_REAL), ids = prn__graph_slot(g, "ids", PRN_I32), n = prn__graph_symbol(g, "N", 9);
        const int32_t a = bound(g, "a", slot, 0, 2, prn__fixed(4), prn__fixed(6)), b = bound(g, "b", slot, 100, 2, prn__fixed(5), prn__fixed(6));
        const int32_t v = bound(g, "v", slot, 200, 1, prn__fixed(7), prn__fixed(0));
        const int32_t ragged = bound(g, "ragged", slot, 300, 2, prn__sized(1, n), prn__fixed(6)), id = bound(g, "id", ids, 0, 1, prn__fixed(4), prn__fixed(0));
        const int32_t out = bound(g, "out", slot, 400, 2, prn__fixed(2), prn__fixed(2));
        int32_t in[PRN_OP_MAX_INPUTS] = {NONE, NONE, NONE, NONE, NONE}, o[PRN_OP_MAX_OUTPUTS] = {NONE, NONE, NONE};
        switch (i) {
        case 0: /* widths differ */
            (void)prn__graph_linear(g, "l", a, bound(g, "w", slot, 500, 2, prn__fixed(3), prn__fixed(5)), NONE, NONE, PRN_ACT_NONE, 0);
            refused(g, "linear", "5");
            break;
        case 1: /* bias of another length */
            (void)prn__graph_linear(g, "l", a, b, v, NONE, PRN_ACT_NONE, 0);
            refused(g, "linear", "7");
            break;
        case 2: /* residual of another shape */
            (void)prn__graph_linear(g, "l", a, b, NONE, b, PRN_ACT_NONE, 0);
            refused(g, "linear", "'b'");
            break;
        case 3:
            (void)prn__graph_axpby(g, "sum", 1, a, 1, b, NONE);
            refused(g, "axpby", "(5, 6)");
            break;
        case 4: /* ragged against fixed rows */
            (void)prn__graph_axpby(g, "sum", 1, a, 1, ragged, NONE);
            refused(g, "axpby", "N");
            break;
        case 5: /* 6 columns are no q, k, v of 4 heads */
            (void)prn__graph_attention(g, "attention", a, NONE, 4, 0, 2);
            refused(g, "attention", "6");
            break;
        case 6:
            (void)prn__graph_layer_norm(g, "norm", a, v, v, 1e-5);
            refused(g, "layer_norm", "7");
            break;
        case 7: /* ids are whole numbers */
            (void)prn__graph_lookup(g, "lookup", v, a, NONE);
            refused(g, "lookup", "v");
            break;
        case 8: /* reals are no ids the other way round */
            (void)prn__graph_axpby(g, "sum", 1, id, 0, NONE, NONE);
            refused(g, "axpby", "id");
            break;
        case 9: /* a given output of the wrong shape */
            (void)prn__graph_axpby(g, "sum", 1, a, 0, NONE, out);
            refused(g, "axpby", "(2, 2)");
            break;
        default: /* a missing input */
            in[0] = a;
            (void)prn__graph_op(g, PRN_OP_SIMILARITY, in, o, 1, NULL, "similarity");
            refused(g, "similarity", "input");
            break;
        }
    }
}

/* The first failure is the one that is told; what follows from it is not. */
static void test_first_failure(void **state)
{
    (void)state;
    prn__graph *g = graph_create("first");
    const int32_t slot = prn__graph_slot(g, "data", PRN_REAL);
    const int32_t a = bound(g, "a", slot, 0, 2, prn__fixed(4), prn__fixed(6)), b = bound(g, "b", slot, 100, 2, prn__fixed(5), prn__fixed(6));
    const int32_t broken = prn__graph_axpby(g, "broken", 1, a, 1, b, NONE);
    assert_int_equal(broken, NONE);
    assert_int_equal(prn__graph_linear(g, "later", broken, a, NONE, NONE, PRN_ACT_NONE, 0), NONE);
    refused(g, "axpby", "(5, 6)");
}

static void test_hostile_sizes(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    const prn_program *p;
    prn__graph *g = graph_create("huge");
    const int32_t slot = prn__graph_slot(g, "data", PRN_REAL);
    const int32_t a = bound(g, "a", slot, 0, 2, prn__fixed(INT64_MAX / 2), prn__fixed(8));
    const int32_t y = bound(g, "y", slot, 0, 0, prn__fixed(0), prn__fixed(0));
    (void)prn__graph_dot(g, "dot", prn__graph_axpby(g, "copy", 1, a, 0, NONE, NONE), a, NONE, y);
    assert_int_equal(prn__graph_finish(g, &p, &error), PRN_INVALID);
    assert_non_null(strstr(error.message, "too large"));
    prn__graph_destroy(g);
}

/* ---- counting and printing ----------------------------------------------------------------------------------------------------- */

static void test_macs(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    prn_status status;
    prn__graph *g = transformer(2, 1, 0, &status, &error);
    const prn_program *p;
    assert_int_equal(status, PRN_OK);
    assert_int_equal(prn__graph_finish(g, &p, &error), PRN_OK);
    const int64_t values[2] = {TOKENS, ITEMS};
    /* a block: qkv 3 C^2, out C^2, up and down 8 C^2 a row; attention two products over all pairs that it may look at */
    const double linear = 12.0 * WIDTH * WIDTH * TOKENS, pairs = 30;
    assert_true(prn__program_macs(p, 0, values, pairs) == 2 * (linear + 2 * pairs * WIDTH));
    /* backward: each product has two of its own; attention's also makes its scores again */
    const double backward = prn__program_macs(p, 1, values, pairs);
    assert_true(backward >= 2 * (2 * linear + 4 * pairs * WIDTH) && backward <= 2 * (2 * linear + 5 * pairs * WIDTH));
    assert_true(prn__program_macs(p, -1, values, pairs) == backward + prn__program_macs(p, 0, values, pairs));
    prn__graph_destroy(g);
}

static void test_print(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    prn__graph *g = graph_create("small");
    const prn_program *p;
    prn__text text;
    const int32_t m = prn__graph_symbol(g, "M", 8), slot = prn__graph_slot(g, "data", PRN_REAL), target = prn__graph_slot(g, "target", PRN_REAL);
    const int32_t x = bound(g, "x", slot, 0, 2, prn__sized(1, m), prn__fixed(4)), w = bound(g, "w", slot, 32, 2, prn__fixed(2), prn__fixed(4));
    const int32_t y = bound(g, "y", target, 0, 2, prn__sized(1, m), prn__fixed(2));
    (void)prn__graph_axpby(g, "twice", 2, prn__graph_linear(g, "product", x, w, NONE, NONE, PRN_ACT_NONE, 0), 0, NONE, y);
    assert_int_equal(prn__graph_finish(g, &p, &error), PRN_OK);
    prn__text_init(&text);
    prn__program_print(p, &text);
    assert_string_equal(text.data, "program small\n"
                                   "  size   M                    at most 8\n"
                                   "  slot   workspace            real written\n"
                                   "  slot   data                 real read only\n"
                                   "  slot   target               real written\n"
                                   "  workspace 64 elements at these sizes\n"
                                   "segment forward: 2 operations, 64 MACs\n"
                                   "    0   0 linear                          64  product(M, 2)@0  <-  x(M, 4)@data+0, w(2, 4)@data+32\n"
                                   "    1   0 axpby                               y(M, 2)@target+0  <-  product(M, 2)@0\n");
    prn__text_fini(&text);
    prn__graph_destroy(g);
}

static void test_no_memory(void **state)
{
    (void)state;
    int finished = 0;
    const int64_t live = prn__alloc_live();
    for (int64_t nth = 1; nth < 100000 && !finished; nth++) {
        prn_error error = PRN_ERROR_INIT;
        prn_status status;
        const prn_program *p;
        prn__alloc_fail_at(nth);
        prn__graph *g = transformer(2, 1, 1, &status, &error);
        if (status == PRN_OK) {
            status = prn__graph_finish(g, &p, &error);
        }
        prn__alloc_fail_at(0);
        prn__graph_destroy(g);
        finished = status == PRN_OK;
        if (!finished && status != PRN_NO_MEMORY) {
            fail_msg("allocation %lld: %s: %s", (long long)nth, prn_status_name(status), error.message);
        }
        assert_int_equal(prn__alloc_live(), live);
    }
    assert_true(finished);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_plan),   cmocka_unit_test(test_checkpoint_operations), cmocka_unit_test(test_dead_operations),
        cmocka_unit_test(test_shape_errors),  cmocka_unit_test(test_first_failure),         cmocka_unit_test(test_hostile_sizes),
        cmocka_unit_test(test_macs),          cmocka_unit_test(test_print),                 cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
