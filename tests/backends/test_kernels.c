/* tests/backends/test_kernels.c: the stated accuracy of the cpu backend's exponential and GELU over all of their range, for every
 * instruction set; values that are not numbers stay so; a long column sum does not lose digits. */
#include "backends/support.h"

static const char *const isas[] = {"baseline", "avx2", "avx512"};

static void apply(const prn__device *device, uint32_t kind, int activation, const float *x, float *y, int64_t n)
{
    rig r;
    prn_error error = PRN_ERROR_INIT;
    rig_init(&r, device, kind);
    rig_operand(&r, 0, PRN_REAL, n, -1, -1, -1);
    if (kind == PRN_OP_ACTIVATION_GRAD) {
        rig_operand(&r, 1, PRN_REAL, n, -1, -1, -1);
    }
    rig_operand(&r, 5, PRN_REAL, n, -1, -1, -1);
    r.op.attrs.activation = activation;
    assert_int_equal(rig_compile(&r, &error), PRN_OK);
    if (kind == PRN_OP_ACTIVATION_GRAD) {
        float *ones = prn__alloc_array((size_t)n, sizeof *ones);
        for (int64_t i = 0; i < n; i++) {
            ones[i] = 1;
        }
        rig_write(&r, 0, PRN_HOST_F32, ones);
        rig_write(&r, 1, PRN_HOST_F32, x);
        prn__free(ones);
    } else {
        rig_write(&r, 0, PRN_HOST_F32, x);
    }
    assert_int_equal(rig_run(&r, &error), PRN_OK);
    rig_read(&r, 5, PRN_HOST_F32, y);
    rig_fini(&r);
}

static void exponential(void **state)
{
    enum { N = 200001 };
    float *x = prn__alloc_array(N, sizeof *x), *y = prn__alloc_array(N, sizeof *y);
    (void)state;
    for (int i = 0; i < N; i++) {
        x[i] = -87.3f + 176.0f * (float)i / N;
    }
    for (int k = 0; k < 3; k++) {
        bench b;
        if (bench_open(&b, 1, isas[k])) {
            double worst = 0;
            apply(&b.cpu, PRN_OP_EXP, 0, x, y, N);
            for (int i = 0; i < N; i++) {
                const double want = exp((double)x[i]);
                worst = fmax(worst, want > 3.4e38 ? 0 : fabs((double)y[i] - want) / want);
            }
            print_message("%s: exp relative error %.3g\n", isas[k], worst);
            assert_true(worst < 2.4e-7);
            const float edge[] = {0, -0.0f, -200, -104, -INFINITY, 89.5f, INFINITY, NAN, 1};
            apply(&b.cpu, PRN_OP_EXP, 0, edge, y, 9);
            assert_true(y[0] == 1 && y[1] == 1 && y[2] == 0 && y[3] < 1e-44f && y[4] == 0 && isinf(y[5]) && isinf(y[6]) && isnan(y[7]));
        }
        bench_close(&b);
    }
    prn__free(x);
    prn__free(y);
}

/* n values from -12 up to 12. */
static float *evenly(int n)
{
    float *x = prn__alloc_array((size_t)n, sizeof *x);
    for (int i = 0; i < n; i++) {
        x[i] = -12 + 24.0f * (float)i / (float)n;
    }
    return x;
}

static void gelu(void **state)
{
    enum { N = 240001 };
    float *x = evenly(N), *y = prn__alloc_array(N, sizeof *y), *slope = prn__alloc_array(N, sizeof *slope);
    (void)state;
    for (int k = 0; k < 3; k++) {
        bench b;
        if (bench_open(&b, 1, isas[k])) {
            double erf_error = 0, worst = 0, worst_slope = 0, tail = 0;
            apply(&b.cpu, PRN_OP_ACTIVATION, PRN_ACT_GELU, x, y, N);
            apply(&b.cpu, PRN_OP_ACTIVATION_GRAD, PRN_ACT_GELU, x, slope, N);
            for (int i = 0; i < N; i++) {
                const double v = (double)x[i], phi = 0.5 * erfc(-v * sqrt(0.5)), want = v * phi;
                const double want_slope = phi + v * exp(-0.5 * v * v) / sqrt(2 * 3.14159265358979323846);
                if (fabs(v) > 1e-3) { /* seen through y = x (1 + erf) / 2, less the half unit that storing y costs */
                    erf_error = fmax(erf_error, 2 * (fabs((double)y[i] - want) - fabs(want) * 0x1p-24) / fabs(v));
                }
                worst = fmax(worst, fabs((double)y[i] - want) / fmax(1, fabs(want)));
                worst_slope = fmax(worst_slope, fabs((double)slope[i] - want_slope));
                if (v < 0 && v > -8) {
                    tail = fmax(tail, fabs((double)y[i] / want - 1));
                }
            }
            print_message("%s: erf %.3g, gelu %.3g, its slope %.3g, relative in the tail %.3g\n", isas[k], erf_error, worst, worst_slope, tail);
            assert_true(erf_error <= 2e-7);
            assert_true(worst <= 2e-7);
            assert_true(worst_slope <= 4e-7);
            assert_true(tail <= 5e-6);
            apply(&b.cpu, PRN_OP_ACTIVATION, PRN_ACT_QUICK_GELU, x, y, N);
            worst = 0;
            for (int i = 0; i < N; i++) {
                const double v = (double)x[i], want = v / (1 + exp(-1.702 * v));
                worst = fmax(worst, fabs((double)y[i] - want) / fmax(1, fabs(want)));
            }
            assert_true(worst <= 4e-7);
            const float edge[] = {NAN, 1e30f, 0};
            for (int activation = 0; activation < 3; activation++) {
                apply(&b.cpu, PRN_OP_ACTIVATION, activation, edge, y, 3);
                assert_true(isnan(y[0]) && y[1] == 1e30f && y[2] == 0);
            }
        }
        bench_close(&b);
    }
    prn__free(x);
    prn__free(y);
    prn__free(slope);
}

/* With precision bf16: five digits of what is around 1. */
static void gelu_near(void **state)
{
    enum { N = 240001 };
    float *x = evenly(N), *y = prn__alloc_array(N, sizeof *y), *slope = prn__alloc_array(N, sizeof *slope);
    (void)state;
    for (int k = 0; k < 3; k++) {
        for (int activation = PRN_ACT_GELU; activation <= PRN_ACT_QUICK_GELU; activation++) {
            bench b;
            if (bench_open_as(&b, 1, isas[k], "bf16")) {
                double worst = 0, worst_slope = 0;
                apply(&b.cpu, PRN_OP_ACTIVATION, activation, x, y, N);
                apply(&b.cpu, PRN_OP_ACTIVATION_GRAD, activation, x, slope, N);
                for (int i = 0; i < N; i++) {
                    const double v = (double)x[i], s = 1 / (1 + exp(-1.702 * v)), phi = activation == PRN_ACT_GELU ? 0.5 * erfc(-v * sqrt(0.5)) : s;
                    const double density = exp(-0.5 * v * v) / sqrt(2 * 3.14159265358979323846);
                    const double want = v * phi, want_slope = activation == PRN_ACT_GELU ? phi + v * density : s * (1 + 1.702 * v * (1 - s));
                    worst = fmax(worst, fabs((double)y[i] - want) / fmax(1, fabs(want)));
                    worst_slope = fmax(worst_slope, fabs((double)slope[i] - want_slope));
                }
                print_message("%s, bf16, activation %d: %.3g, its slope %.3g\n", isas[k], activation, worst, worst_slope);
                assert_true(worst <= 4e-6);
                assert_true(worst_slope <= 3e-5);
                const float edge[] = {NAN, 1e30f, 0, -1e30f};
                apply(&b.cpu, PRN_OP_ACTIVATION, activation, edge, y, 4);
                assert_true(isnan(y[0]) && y[1] == 1e30f && y[2] == 0 && fabsf(y[3]) < 1e-6f);
            }
            bench_close(&b);
        }
    }
    prn__free(x);
    prn__free(y);
    prn__free(slope);
}

/* A bias gradient over 200,000 rows of values near 1. */
static void long_sums(void **state)
{
    enum { M = 200000, N = 3 };
    float *ones = prn__alloc_array((size_t)M * N, sizeof *ones), sums[N];
    (void)state;
    for (int64_t i = 0; i < (int64_t)M * N; i++) {
        ones[i] = 1.1f;
    }
    for (int k = 0; k < 3; k++) {
        bench b;
        if (bench_open(&b, 2, isas[k])) {
            rig r;
            prn_error error = PRN_ERROR_INIT;
            rig_init(&r, &b.cpu, PRN_OP_LINEAR_GRAD_W);
            rig_operand(&r, 0, PRN_REAL, M, N, -1, -1);
            rig_operand(&r, 1, PRN_REAL, M, 1, -1, -1);
            rig_operand(&r, 6, PRN_REAL, N, -1, -1, -1);
            assert_int_equal(rig_compile(&r, &error), PRN_OK);
            rig_write(&r, 0, PRN_HOST_F32, ones);
            assert_int_equal(rig_run(&r, &error), PRN_OK);
            rig_read(&r, 6, PRN_HOST_F32, sums);
            rig_fini(&r);
            for (int c = 0; c < N; c++) {
                assert_true(fabs((double)sums[c] / ((double)1.1f * M) - 1) < 2e-5);
            }
        }
        bench_close(&b);
    }
    prn__free(ones);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(exponential), cmocka_unit_test(gelu), cmocka_unit_test(gelu_near), cmocka_unit_test(long_sums)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
