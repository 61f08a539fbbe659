/* tests/backends/test_moments.c: AdamW's moments in bf16 keep what changes by less than half a step, on average; their rounding depends on nothing but the
 * update's number and the element's place; and only moments may be of that type.
 */
#include "backends/support.h"

enum { COUNT = 4099, UPDATES = 3000 };
static const double BETA1 = 0.99, BETA2 = 0.999;

typedef struct state_of {
    float p[COUNT], m[COUNT], v[COUNT];
} state_of;

static void rig_adamw(rig *r, const prn__device *device, prn_type moments)
{
    prn_error error = PRN_ERROR_INIT;
    rig_init(r, device, PRN_OP_ADAMW);
    rig_operand(r, 0, PRN_REAL, COUNT, -1, -1, -1);
    rig_operand(r, 1, PRN_REAL, 8, -1, -1, -1);
    rig_operand(r, 5, PRN_REAL, COUNT, -1, -1, -1);
    rig_operand(r, 6, moments, COUNT, -1, -1, -1);
    rig_operand(r, 7, moments, COUNT, -1, -1, -1);
    r->op.attrs = (prn_op_attrs){.alpha = BETA1, .beta = BETA2, .epsilon = 1e-6};
    if (rig_compile(r, &error) != PRN_OK) {
        fail_msg("%s", error.message);
    }
}

static void step(rig *r, int t)
{
    prn_error error = PRN_ERROR_INIT;
    const float hyper[8] = {1e-3f, (float)(1 / (1 - pow(BETA1, t))), (float)(1 / (1 - pow(BETA2, t))), 1, (float)t};
    rig_write(r, 1, PRN_HOST_F32, hyper);
    assert_int_equal(rig_run(r, &error), PRN_OK);
}

static void outcome(rig *r, state_of *s)
{
    rig_read(r, 5, PRN_HOST_F32, s->p);
    rig_read(r, 6, PRN_HOST_F32, s->m);
    rig_read(r, 7, PRN_HOST_F32, s->v);
}

/* Gradients of one size: to the nearest, the second moment would stop at a third of what it must come to, where a step of it becomes larger than twice what it
 * changes by. */
static void goes_on(const prn__device *device, state_of *got)
{
    static float gradient[COUNT];
    static state_of want;
    rig r, full;
    for (int i = 0; i < COUNT; i++) {
        gradient[i] = 0.5f + (float)i / COUNT;
    }
    rig_adamw(&r, device, PRN_BF16);
    rig_adamw(&full, device, PRN_REAL);
    rig_write(&r, 0, PRN_HOST_F32, gradient);
    rig_write(&full, 0, PRN_HOST_F32, gradient);
    for (int t = 1; t <= UPDATES; t++) {
        step(&r, t);
        step(&full, t);
    }
    outcome(&r, got);
    outcome(&full, &want);
    double m = 0, v = 0, p = 0;
    for (int i = 0; i < COUNT; i++) {
        uint32_t bits[2];
        memcpy(&bits[0], &got->m[i], 4);
        memcpy(&bits[1], &got->v[i], 4);
        assert_true((bits[0] & 0xffff) == 0 && (bits[1] & 0xffff) == 0);
        assert_true(fabs(got->v[i] / want.v[i] - 1) < 0.25);
        m += got->m[i] / want.m[i] / COUNT;
        v += got->v[i] / want.v[i] / COUNT;
        p += got->p[i] / want.p[i] / COUNT;
    }
    print_message("of what fp32 comes to: first moments %.5f, second %.5f, weights %.5f\n", m, v, p);
    assert_true(fabs(m - 1) < 0.002 && fabs(v - 1) < 0.005 && fabs(p - 1) < 0.005);
    rig_fini(&r);
    rig_fini(&full);
}

static void nothing_is_lost(void **state)
{
    static const char *const isas[] = {"baseline", "avx2", "avx512"};
    static const uint32_t threads[] = {1, 2, 5};
    static state_of first, other;
    (void)state;
    for (int isa = 0; isa < 3; isa++) {
        for (int t = 0; t < 3; t++) {
            bench b;
            if (bench_open(&b, threads[t], isas[isa])) {
                goes_on(&b.cpu, t == 0 ? &first : &other);
                assert_true(t == 0 || memcmp(&first, &other, sizeof first) == 0);
            }
            if (isa == 0 && t == 0) {
                goes_on(&b.reference, &other);
            }
            bench_close(&b);
        }
    }
}

/* Zeros stay zeros, whatever the chance; a number that is none stays none. */
static void limits(void **state)
{
    static float gradient[COUNT];
    static state_of s;
    bench b;
    rig r;
    (void)state;
    assert_true(bench_open(&b, 2, NULL));
    rig_adamw(&r, &b.cpu, PRN_BF16);
    gradient[7] = INFINITY;
    rig_write(&r, 0, PRN_HOST_F32, gradient);
    for (int t = 1; t <= 20; t++) {
        step(&r, t);
    }
    outcome(&r, &s);
    for (int i = 0; i < COUNT; i++) {
        assert_true(i == 7 ? isnan(s.p[i]) && !isfinite(s.m[i]) : s.p[i] == 0 && s.m[i] == 0 && s.v[i] == 0);
    }
    rig_fini(&r);
    bench_close(&b);
}

static void refused(void **state)
{
    static const struct {
        prn_type p, m, v;
        int64_t hyper;
    } flaws[] = {{PRN_REAL, PRN_BF16, PRN_REAL, 8}, {PRN_REAL, PRN_REAL, PRN_BF16, 8}, {PRN_BF16, PRN_BF16, PRN_BF16, 8}, {PRN_REAL, PRN_I32, PRN_I32, 8},
                 {PRN_REAL, PRN_BF16, PRN_BF16, 4}};
    bench b;
    (void)state;
    assert_true(bench_open(&b, 1, NULL));
    for (size_t i = 0; i < 2 * sizeof flaws / sizeof flaws[0]; i++) {
        rig r;
        prn_error error = PRN_ERROR_INIT;
        rig_init(&r, i % 2 == 0 ? &b.cpu : &b.reference, PRN_OP_ADAMW);
        rig_operand(&r, 0, PRN_REAL, 10, -1, -1, -1);
        rig_operand(&r, 1, PRN_REAL, flaws[i / 2].hyper, -1, -1, -1);
        rig_operand(&r, 5, flaws[i / 2].p, 10, -1, -1, -1);
        rig_operand(&r, 6, flaws[i / 2].m, 10, -1, -1, -1);
        rig_operand(&r, 7, flaws[i / 2].v, 10, -1, -1, -1);
        const prn_status compiled = rig_compile(&r, &error);
        assert_true(compiled == PRN_INVALID || (compiled == PRN_OK && rig_run(&r, &error) == PRN_INVALID));
        rig_fini(&r);
    }
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_is_lost), cmocka_unit_test(limits), cmocka_unit_test(refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
