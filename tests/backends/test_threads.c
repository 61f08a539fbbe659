/* tests/backends/test_threads.c: results of the cpu backend are the same bytes with 1, 2, 3 and 7 threads, in either precision, on shapes large
 * enough to be cut into many tasks; and repeated runs on several threads at once agree (OpenBLAS is called from all of them). */
#include "backends/support.h"

#include "base/hash.h"

enum { MOST = 8 };

typedef struct setup {
    const char *name;
    uint32_t kind;
    int64_t shape[8][4]; /* 0 0 0 0: absent; unused sizes -1 */
    prn_op_attrs attrs;
    int64_t index_below; /* for i32 operands */
    int i32_operand;     /* -1: none */
    uint32_t repeats;
} setup;

#define ROWS(m, n) {m, n, -1, -1}
#define ROW(n) {n, -1, -1, -1}
#define ONE {-1, -1, -1, -1}
#define NONE {0, 0, 0, 0}

static const setup setups[] = {
    {"linear", PRN_OP_LINEAR, {ROWS(1100, 192), ROWS(576, 192), ROW(576), ROWS(1100, 576), NONE, ROWS(1100, 576), ROWS(1100, 576), NONE},
     {.activation = PRN_ACT_GELU}, 0, -1, 20},
    {"linear, uneven", PRN_OP_LINEAR, {ROWS(1601, 387), ROWS(770, 387), ROW(770), NONE, NONE, ROWS(1601, 770), NONE, NONE}, {.activation = PRN_ACT_NONE}, 0,
     -1, 20},
    {"linear_grad_x", PRN_OP_LINEAR_GRAD_X, {ROWS(1100, 576), ROWS(576, 192), NONE, NONE, NONE, ROWS(1100, 192), NONE, NONE}, {.accumulate = 1}, 0, -1, 10},
    {"linear_grad_w", PRN_OP_LINEAR_GRAD_W, {ROWS(3000, 576), ROWS(3000, 192), NONE, NONE, NONE, ROWS(576, 192), ROW(576), NONE}, {.accumulate = 1}, 0, -1,
     10},
    {"linear_grad_w, long sums", PRN_OP_LINEAR_GRAD_W, {ROWS(3001, 192), ROWS(3001, 160), NONE, NONE, NONE, ROWS(192, 160), ROW(192), NONE},
     {.accumulate = 1}, 0, -1, 10},
    {"layer_norm_grad", PRN_OP_LAYER_NORM_GRAD, {ROWS(5000, 192), ROWS(5000, 192), ROW(192), ROW(5000), ROW(5000), ROWS(5000, 192), ROW(192), ROW(192)},
     {.accumulate = 0}, 0, -1, 4},
    {"attention", PRN_OP_ATTENTION, {ROWS(50 * 24, 3 * 192), NONE, NONE, NONE, NONE, ROWS(50 * 24, 192), ROWS(50 * 24, 6), NONE},
     {.heads = 6, .positions = 50}, 0, -1, 4},
    {"attention_grad", PRN_OP_ATTENTION_GRAD,
     {ROWS(50 * 24, 192), ROWS(50 * 24, 3 * 192), ROWS(50 * 24, 192), ROWS(50 * 24, 6), NONE, ROWS(50 * 24, 3 * 192), NONE, NONE},
     {.heads = 6, .positions = 50, .causal = 1}, 0, -1, 4},
    {"read_attention", PRN_OP_READ_ATTENTION, {ROWS(240, 192), ROWS(50 * 240, 2 * 192), NONE, NONE, NONE, ROWS(240, 192), NONE, NONE},
     {.heads = 6, .positions = 50}, 0, -1, 4},
    {"read_attention_grad", PRN_OP_READ_ATTENTION_GRAD,
     {ROWS(240, 192), ROWS(240, 192), ROWS(50 * 240, 2 * 192), NONE, NONE, ROWS(240, 192), ROWS(50 * 240, 2 * 192), NONE}, {.heads = 6, .positions = 50}, 0,
     -1, 4},
    {"lookup_grad", PRN_OP_LOOKUP_GRAD, {ROWS(4000, 256), ROW(4000), NONE, NONE, NONE, ROWS(60, 256), NONE, NONE}, {.alpha = 0}, 60, 1, 4},
    {"class_rows_grad", PRN_OP_CLASS_ROWS_GRAD, {ROWS(17 * 300, 128), NONE, NONE, NONE, NONE, ROWS(16 * 300, 128), ROW(128), ROWS(17, 128)},
     {.positions = 17}, 0, -1, 4},
    {"gather_rows_grad", PRN_OP_GATHER_ROWS_GRAD, {ROWS(900, 256), ROW(900), NONE, NONE, NONE, ROWS(400, 256), NONE, NONE}, {.alpha = 0}, 400, 1, 4},
    {"similarity_grad", PRN_OP_SIMILARITY_GRAD, {ROWS(300, 700), ROWS(300, 128), ROWS(700, 128), ROWS(300, 700), ONE, ROWS(300, 128), ROWS(700, 128), ONE},
     {.alpha = 0}, 0, -1, 4},
    {"similarity_grad, unscaled", PRN_OP_SIMILARITY_GRAD,
     {ROWS(600, 400), ROWS(600, 128), ROWS(400, 128), ROWS(600, 400), NONE, ROWS(600, 128), ROWS(400, 128), NONE}, {.alpha = 0}, 0, -1, 4},
    {"cross_entropy", PRN_OP_CROSS_ENTROPY, {ROWS(500, 700), ROW(500), NONE, NONE, NONE, ROW(500), ROW(500), NONE}, {.alpha = 0}, 700, 1, 4},
    {"sum", PRN_OP_SUM, {ROWS(1000, 333), NONE, NONE, NONE, NONE, ONE, NONE, NONE}, {.alpha = 0}, 0, -1, 4},
    {"dot", PRN_OP_DOT, {ROWS(1000, 333), ROWS(1000, 333), NONE, NONE, NONE, ONE, NONE, NONE}, {.alpha = 0}, 0, -1, 4},
    {"adamw", PRN_OP_ADAMW, {ROW(300001), ROW(8), NONE, NONE, NONE, ROW(300001), ROW(300001), ROW(300001)},
     {.alpha = 0.9, .beta = 0.98, .epsilon = 1e-6, .decay = 0.1}, 0, -1, 4},
};
enum { SETUPS = sizeof setups / sizeof setups[0] };

static int is_there(const setup *x, int i)
{
    return x->shape[i][0] != 0;
}

static prn__digest run_setup(const prn__device *device, const setup *x)
{
    rig r;
    prn_error error = PRN_ERROR_INIT;
    prn__digest first = {0, 0};
    float *values[MOST] = {NULL};
    rig_init(&r, device, x->kind);
    for (int i = 0; i < MOST; i++) {
        if (is_there(x, i)) {
            rig_operand(&r, i, i == x->i32_operand ? PRN_I32 : PRN_REAL, x->shape[i][0], x->shape[i][1], x->shape[i][2], x->shape[i][3]);
        }
    }
    r.op.attrs = x->attrs;
    if (rig_compile(&r, &error) != PRN_OK) {
        fail_msg("%s: %s", x->name, error.message);
    }
    for (int i = 0; i < MOST; i++) {
        const int64_t n = is_there(x, i) ? rig_elements(&r, i) : 0;
        values[i] = prn__alloc_array((size_t)n + 1, sizeof(float));
        for (int64_t e = 0; e < n; e++) {
            if (i == x->i32_operand) {
                ((int32_t *)(void *)values[i])[e] = (int32_t)prn__rng_below(5, PRN__RNG_SUBSET, (uint64_t)i, (uint64_t)e, (uint64_t)x->index_below);
            } else {
                values[i][e] = (float)fabs(prn__rng_normal(5, PRN__RNG_INIT, (uint64_t)i, (uint64_t)e)) * 0.5f;
            }
        }
    }
    for (uint32_t run = 0; run < x->repeats; run++) {
        prn__hasher *hasher = prn__hasher_create();
        for (int i = 0; i < MOST; i++) {
            if (is_there(x, i)) {
                rig_write(&r, i, i == x->i32_operand ? PRN_HOST_I32 : PRN_HOST_F32, values[i]);
            }
        }
        if (rig_run(&r, &error) != PRN_OK) {
            fail_msg("%s: %s", x->name, error.message);
        }
        for (int i = 5; i < MOST; i++) {
            if (is_there(x, i)) {
                const int64_t n = rig_elements(&r, i);
                float *result = prn__alloc_array((size_t)n, sizeof *result);
                rig_read(&r, i, PRN_HOST_F32, result);
                for (int64_t e = 0; e < n; e++) {
                    assert_true(isfinite(result[e]));
                }
                prn__hasher_update(hasher, result, (size_t)n * sizeof *result);
                prn__free(result);
            }
        }
        const prn__digest digest = prn__hasher_digest(hasher);
        prn__hasher_destroy(hasher);
        if (run == 0) {
            first = digest;
        }
        if (digest.low != first.low || digest.high != first.high) {
            fail_msg("%s: run %u gave other bytes than run 0", x->name, run);
        }
    }
    for (int i = 0; i < MOST; i++) {
        prn__free(values[i]);
    }
    rig_fini(&r);
    return first;
}

/* What computes otherwise in bf16. */
static int is_product(uint32_t kind)
{
    return kind == PRN_OP_LINEAR || kind == PRN_OP_LINEAR_GRAD_X || kind == PRN_OP_LINEAR_GRAD_W || kind == PRN_OP_ATTENTION || kind == PRN_OP_ATTENTION_GRAD;
}

static void same_bytes(const char *precision)
{
    const int all = strcmp(precision, "fp32") == 0;
    static const uint32_t threads[] = {1, 2, 3, 7};
    prn__digest digests[4][SETUPS];
    for (int t = 0; t < 4; t++) {
        bench b;
        assert_true(bench_open_as(&b, threads[t], NULL, precision));
        for (int i = 0; i < SETUPS; i++) {
            if (!all && !is_product(setups[i].kind)) {
                continue;
            }
            digests[t][i] = run_setup(&b.cpu, &setups[i]);
            if (digests[t][i].low != digests[0][i].low || digests[t][i].high != digests[0][i].high) {
                fail_msg("%s, %s: %u threads gave other bytes than 1", setups[i].name, precision, threads[t]);
            }
        }
        bench_close(&b);
    }
    assert_true(digests[0][0].low != digests[0][1].low);
}

static void same_bytes_in_fp32(void **state) { (void)state; same_bytes("fp32"); }
static void same_bytes_in_bf16(void **state) { (void)state; same_bytes("bf16"); }

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_bytes_in_fp32), cmocka_unit_test(same_bytes_in_bf16)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
