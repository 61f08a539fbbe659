/* tests/backends/test_products.c: matrix products of the cpu backend, for every instruction set and precision, at sizes on both sides of every block border,
 * against sums in int64. Values are small whole numbers, so that fp32 sums are exact in any order, bf16 holds each of them, and every bit must agree. */
#include "backends/support.h"

static const struct form {
    const char *isa, *precision;
} forms[] = {{"baseline", "fp32"}, {"avx2", "fp32"}, {"avx512", "fp32"}, {"baseline", "bf16"}, {"avx2", "bf16"}, {"avx512", "bf16"}};
enum { FORMS = sizeof forms / sizeof forms[0] };

typedef struct shape {
    int64_t m, n, k;
} shape;

/* Blocks: 6 rows by 16 or 64 columns in registers; 96 rows, 256 columns, 512 deep in the cache; 128 or 256 deep for sums over rows. In bf16 pairs of 512, or
 * of 256 by 192 rows, for sums over rows; several spans of those, where they are long. The third last is the library's in fp32, but for AVX-512. */
static const shape shapes[] = {
    {1, 1, 1},      {6, 64, 64},    {7, 65, 63},    {5, 16, 256},   {193, 48, 257},  {191, 257, 65}, {12, 300, 513},
    {400, 7, 40},   {389, 129, 12}, {64, 2, 700},   {97, 63, 128},  {1100, 130, 60}, {3, 520, 5},   {95, 70, 1030}, {97, 260, 511}, {514, 513, 515},
    {101, 70, 3001}, {60, 2900, 33},
};

static float *made(uint64_t which, int64_t n)
{
    float *values = prn__alloc_array((size_t)n, sizeof *values);
    for (int64_t i = 0; i < n; i++) {
        values[i] = (float)prn__rng_below(5, PRN__RNG_INIT, which, (uint64_t)i, 9) - 4;
    }
    return values;
}

/* The same twice side by side: of one left and one right side (weights, which are laid down once for both), each with an output of its own, into `got`. */
static void run_beside(rig *r, const float *before, int64_t elements, float *const got[2])
{
    const prn_backend *b = r->device->backend;
    prn_backend_instance *instance = r->device->instance;
    prn_error error = PRN_ERROR_INIT;
    prn_buffer *outputs[2] = {r->buffers[6], NULL}, *buffers[2][9];
    prn_binding bindings[2];
    prn_execution executions[2];
    assert_int_equal(b->buffer_create(instance, PRN_REAL, elements, "test", &outputs[1], &error), PRN_OK);
    for (int i = 0; i < 2; i++) {
        memcpy(buffers[i], r->buffers, sizeof buffers[i]);
        buffers[i][6] = outputs[i];
        bindings[i] = (prn_binding){.struct_size = (uint32_t)sizeof bindings[i], .slot_count = 9, .buffers = buffers[i]};
        executions[i] = (prn_execution){.executable = r->executable, .binding = &bindings[i]};
        assert_int_equal(b->buffer_write(instance, outputs[i], 0, PRN_HOST_F32, before, elements, &error), PRN_OK);
    }
    if (b->execute_each(instance, executions, 2, &error) != PRN_OK) {
        fail_msg("%s", error.message);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(b->buffer_read(instance, outputs[i], 0, PRN_HOST_F32, got[i], elements, &error), PRN_OK);
    }
    b->buffer_destroy(instance, outputs[1]);
}

/* One operation of three: y (d0, d1) = or += what `want` says; a, b its inputs, with their shapes. */
static void same(const prn__device *device, const struct form *form, const shape *s, uint32_t kind, const prn_op_attrs *attrs, const float *a, int64_t a0,
                 int64_t a1, const float *b, int64_t b0, int64_t b1, const float *before, const float *want, int64_t y0, int64_t y1)
{
    rig r;
    prn_error error = PRN_ERROR_INIT;
    float *got[3]; /* of one execution alone, and of two */
    for (int i = 0; i < 3; i++) {
        got[i] = prn__alloc_array((size_t)(y0 * y1), sizeof *got[i]);
    }
    rig_init(&r, device, kind);
    rig_operand(&r, 0, PRN_REAL, a0, a1, -1, -1);
    rig_operand(&r, 1, PRN_REAL, b0, b1, -1, -1);
    rig_operand(&r, 5, PRN_REAL, y0, y1, -1, -1);
    r.op.attrs = *attrs;
    assert_int_equal(rig_compile(&r, &error), PRN_OK);
    rig_write(&r, 0, PRN_HOST_F32, a);
    rig_write(&r, 1, PRN_HOST_F32, b);
    rig_write(&r, 5, PRN_HOST_F32, before);
    assert_int_equal(rig_run(&r, &error), PRN_OK);
    rig_read(&r, 5, PRN_HOST_F32, got[0]);
    run_beside(&r, before, y0 * y1, got + 1);
    for (int64_t i = 0; i < 3 * y0 * y1; i++) {
        const int64_t e = i / 3;
        const float value = got[i % 3][e];
        if (!(value == want[e] || (isnan(value) && isnan(want[e])))) {
            fail_msg("%s, %s, operation %u, m %lld, n %lld, k %lld, transposed %d, accumulating %d, execution %d: element %lld is %g, not %g", form->isa,
                     form->precision, kind, (long long)s->m, (long long)s->n, (long long)s->k, attrs->transpose_w, attrs->accumulate, (int)(i % 3), (long long)e,
                     (double)value, (double)want[e]);
        }
    }
    rig_fini(&r);
    for (int i = 0; i < 3; i++) {
        prn__free(got[i]);
    }
}

/* sum over j < depth of a[j * a_step] b[j * b_step] */
static float sum_of(const float *a, int64_t a_step, const float *b, int64_t b_step, int64_t depth)
{
    int64_t sum = 0;
    for (int64_t j = 0; j < depth; j++) {
        sum += (int64_t)a[j * a_step] * (int64_t)b[j * b_step];
    }
    return (float)sum;
}

static void add(float *to, const float *from, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        to[i] += from[i];
    }
}

/* y (m, n) = x (m, k) w^T; dx (m, k) = dy w; dw = dy^T x; w is (n, k), or (k, n) when transposed. */
static void products(bench *benches, const int *is_there, const shape *s, int transposed)
{
    const int64_t m = s->m, n = s->n, k = s->k, w0 = transposed ? k : n, w1 = transposed ? n : k, wn = transposed ? 1 : k, wk = transposed ? n : 1;
    float *x = made(0, m * k), *w = made(1, n * k), *dy = made(2, m * n), *y0 = made(3, m * n), *dx0 = made(4, m * k), *dw0 = made(5, n * k);
    float *y = prn__alloc_array((size_t)(m * n), 4), *dx = prn__alloc_array((size_t)(m * k), 4), *dw = prn__alloc_array((size_t)(n * k), 4);
    for (int64_t i = 0; i < m * n; i++) {
        y[i] = sum_of(x + i / n * k, 1, w + i % n * wn, wk, k);
    }
    for (int64_t i = 0; i < m * k; i++) {
        dx[i] = sum_of(dy + i / k * n, 1, w + i % k * wk, wn, n);
    }
    for (int64_t i = 0; i < n * k; i++) {
        dw[i] = sum_of(dy + (transposed ? i % n : i / k), n, x + (transposed ? i / n : i % k), k, m);
    }
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        const prn_op_attrs attrs = {.transpose_w = transposed, .accumulate = accumulate};
        for (int i = 0; i < FORMS; i++) {
            if (is_there[i] && !accumulate) {
                same(&benches[i].cpu, &forms[i], s, PRN_OP_LINEAR, &attrs, x, m, k, w, w0, w1, y0, y, m, n);
            }
            if (is_there[i]) {
                same(&benches[i].cpu, &forms[i], s, PRN_OP_LINEAR_GRAD_X, &attrs, dy, m, n, w, w0, w1, dx0, dx, m, k);
                same(&benches[i].cpu, &forms[i], s, PRN_OP_LINEAR_GRAD_W, &attrs, dy, m, n, x, m, k, dw0, dw, w0, w1);
            }
        }
        add(dx, dx0, m * k);
        add(dw, dw0, n * k);
    }
    float *const all[] = {x, w, dy, y0, dx0, dw0, y, dx, dw};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        prn__free(all[i]);
    }
}

static void exact(void **state)
{
    bench benches[FORMS];
    int is_there[FORMS];
    (void)state;
    for (int i = 0; i < FORMS; i++) {
        is_there[i] = bench_open_as(&benches[i], 2, forms[i].isa, forms[i].precision);
    }
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        products(benches, is_there, &shapes[s], 0);
        products(benches, is_there, &shapes[s], 1);
    }
    for (int i = 0; i < FORMS; i++) {
        bench_close(&benches[i]);
    }
}

/* Of values that are no whole numbers, whose sums depend on their order: in pieces by all threads, and whole by one beside another, to the bit. */
static void same_order(void **state)
{
    static const shape s = {700, 300, 260}; /* a result too large for a long sum, in pieces that are not */
    (void)state;
    for (int i = 0; i < FORMS; i++) {
        bench cpu;
        rig r;
        prn_error error = PRN_ERROR_INIT;
        if (!bench_open_as(&cpu, 2, forms[i].isa, forms[i].precision)) {
            bench_close(&cpu);
            continue;
        }
        float *dy = made(2, s.m * s.n), *x = made(0, s.m * s.k), *before = made(5, s.n * s.k), *got[3];
        for (int64_t e = 0; e < s.m * s.n; e++) {
            dy[e] = dy[e] / 3 + 0.1F;
        }
        for (int e = 0; e < 3; e++) {
            got[e] = prn__alloc_array((size_t)(s.n * s.k), sizeof *got[e]);
        }
        rig_init(&r, &cpu.cpu, PRN_OP_LINEAR_GRAD_W);
        rig_operand(&r, 0, PRN_REAL, s.m, s.n, -1, -1);
        rig_operand(&r, 1, PRN_REAL, s.m, s.k, -1, -1);
        rig_operand(&r, 5, PRN_REAL, s.n, s.k, -1, -1);
        r.op.attrs = (prn_op_attrs){.accumulate = 1};
        assert_int_equal(rig_compile(&r, &error), PRN_OK);
        rig_write(&r, 0, PRN_HOST_F32, dy);
        rig_write(&r, 1, PRN_HOST_F32, x);
        rig_write(&r, 5, PRN_HOST_F32, before);
        assert_int_equal(rig_run(&r, &error), PRN_OK);
        rig_read(&r, 5, PRN_HOST_F32, got[0]);
        run_beside(&r, before, s.n * s.k, got + 1);
        for (int e = 1; e < 3; e++) {
            assert_memory_equal(got[e], got[0], (size_t)(s.n * s.k) * sizeof *got[e]);
        }
        rig_fini(&r);
        float *const all[] = {dy, x, before, got[0], got[1], got[2]};
        for (size_t e = 0; e < sizeof all / sizeof all[0]; e++) {
            prn__free(all[e]);
        }
        bench_close(&cpu);
    }
}

/* dw (n, k), or its transpose, and db (n), of dy (m, n) and x (m, k). */
static void long_sum(const prn__device *device, const struct form *form, const shape *s, const prn_op_attrs *attrs, const float *dy, const float *x,
                     const float *dw0, const float *db0, const float *dw, const float *db)
{
    const int64_t n = s->n, k = s->k;
    float *got = prn__alloc_array((size_t)(n * k), sizeof *got);
    rig r;
    prn_error error = PRN_ERROR_INIT;
    rig_init(&r, device, PRN_OP_LINEAR_GRAD_W);
    rig_operand(&r, 0, PRN_REAL, s->m, n, -1, -1);
    rig_operand(&r, 1, PRN_REAL, s->m, k, -1, -1);
    rig_operand(&r, 5, PRN_REAL, attrs->transpose_w ? k : n, attrs->transpose_w ? n : k, -1, -1);
    rig_operand(&r, 6, PRN_REAL, n, -1, -1, -1);
    r.op.attrs = *attrs;
    assert_int_equal(rig_compile(&r, &error), PRN_OK);
    rig_write(&r, 0, PRN_HOST_F32, dy);
    rig_write(&r, 1, PRN_HOST_F32, x);
    rig_write(&r, 5, PRN_HOST_F32, dw0);
    rig_write(&r, 6, PRN_HOST_F32, db0);
    assert_int_equal(rig_run(&r, &error), PRN_OK);
    rig_read(&r, 5, PRN_HOST_F32, got);
    for (int64_t e = 0; e < n * k; e++) {
        const float want = dw[attrs->transpose_w ? e % n * k + e / n : e] + (attrs->accumulate ? dw0[e] : 0);
        if (got[e] != want) {
            fail_msg("%s, %s, transposed %d, accumulating %d, %lld x %lld over %lld: element %lld is %g, not %g", form->isa, form->precision,
                     attrs->transpose_w, attrs->accumulate, (long long)n, (long long)k, (long long)s->m, (long long)e, (double)got[e], (double)want);
        }
    }
    rig_read(&r, 6, PRN_HOST_F32, got);
    for (int64_t e = 0; e < n; e++) {
        assert_true(got[e] == db[e] + (attrs->accumulate ? db0[e] : 0));
    }
    rig_fini(&r);
    prn__free(got);
}

/* Gradients by weights of narrow layers over many rows are cut along the rows. */
static void long_sums(void **state)
{
    static const shape longs[] = {{2501, 257, 250}, {1601, 130, 257}, {3000, 64, 1000}, {2311, 1024, 64}, {2777, 300, 301}};
    bench benches[FORMS];
    int is_there[FORMS];
    (void)state;
    for (int f = 0; f < FORMS; f++) {
        is_there[f] = bench_open_as(&benches[f], 2, forms[f].isa, forms[f].precision);
    }
    for (size_t i = 0; i < sizeof longs / sizeof longs[0]; i++) {
        const int64_t m = longs[i].m, n = longs[i].n, k = longs[i].k;
        float *dy = made(2, m * n), *x = made(0, m * k), *dw0 = made(5, n * k), *db0 = made(6, n);
        float *dw = prn__alloc_array((size_t)(n * k), sizeof *dw), *db = prn__alloc_array((size_t)n, sizeof *db);
        memset(dw, 0, (size_t)(n * k) * sizeof *dw);
        memset(db, 0, (size_t)n * sizeof *db);
        for (int64_t row = 0; row < m; row++) { /* whole numbers below 2^24: fp32 is exact */
            for (int64_t e = 0; e < n; e++) {
                const float one = dy[row * n + e];
                db[e] += one;
                for (int64_t c = 0; c < k && one != 0; c++) {
                    dw[e * k + c] += one * x[row * k + c];
                }
            }
        }
        for (int form = 0; form < 4 * FORMS; form++) {
            const int f = form / 4;
            const prn_op_attrs attrs = {.transpose_w = form & 1, .accumulate = form >> 1 & 1};
            if (is_there[f]) {
                long_sum(&benches[f].cpu, &forms[f], &longs[i], &attrs, dy, x, dw0, db0, dw, db);
            }
        }
        float *const all[] = {dy, x, dw0, db0, dw, db};
        for (size_t p = 0; p < sizeof all / sizeof all[0]; p++) {
            prn__free(all[p]);
        }
    }
    for (int f = 0; f < FORMS; f++) {
        bench_close(&benches[f]);
    }
}

/* One value a row, and one a column, beside zeros, times one: what comes out is the value, rounded to bf16 where the form says so. */
static void rounding(void **state)
{
    static const struct {
        float value, rounded;
    } cases[] = {
        {0x1.00p0f, 0x1.00p0f},      {0x1.01p0f, 0x1.00p0f},      {0x1.03p0f, 0x1.04p0f},    {0x1.010002p0f, 0x1.02p0f}, {0x1.02fffep0f, 0x1.02p0f},
        {-0x1.05p-90f, -0x1.04p-90f}, {-0x1.07p90f, -0x1.08p90f}, {0x1.ffp0f, 0x1p1f},       {0x1.fep0f, 0x1.fep0f},      {3.14159274f, 3.140625f},
        {1e30f, 0x1.94p99f},         {-1e-30f, -0x1.44p-100f},    {0x1p-126f, 0x1p-126f},    {0, 0},                      {65537, 65536},
        {0x1.fep127f, 0x1.fep127f},
    };
    enum { CASES = sizeof cases / sizeof cases[0], WIDE = 71 };
    (void)state;
    for (int f = 0; f < FORMS; f++) {
        const int half = strcmp(forms[f].precision, "bf16") == 0;
        const shape s = {CASES, 1, WIDE};
        float x[CASES * WIDE] = {0}, ones[WIDE], y0[CASES] = {0}, dw0[WIDE] = {0}, y[CASES], dw[WIDE] = {0};
        bench b;
        if (!bench_open_as(&b, 1, forms[f].isa, forms[f].precision)) {
            bench_close(&b);
            continue;
        }
        for (int i = 0; i < WIDE; i++) {
            ones[i] = 1;
        }
        for (int i = 0; i < CASES; i++) {
            const int at = i * 17 % WIDE;
            x[i * WIDE + at] = cases[i].value;
            y[i] = dw[at] = half ? cases[i].rounded : cases[i].value;
        }
        const prn_op_attrs attrs = {0};
        same(&b.cpu, &forms[f], &s, PRN_OP_LINEAR, &attrs, x, CASES, WIDE, ones, 1, WIDE, y0, y, CASES, 1);
        same(&b.cpu, &forms[f], &s, PRN_OP_LINEAR_GRAD_W, &attrs, ones, CASES, 1, x, CASES, WIDE, dw0, dw, 1, WIDE);
        /* a diverged run must be seen */
        x[3 * WIDE + 2] = NAN;
        y[3] = dw[2] = NAN;
        x[5 * WIDE + 70] = INFINITY;
        y[5] = dw[70] = INFINITY;
        same(&b.cpu, &forms[f], &s, PRN_OP_LINEAR, &attrs, x, CASES, WIDE, ones, 1, WIDE, y0, y, CASES, 1);
        same(&b.cpu, &forms[f], &s, PRN_OP_LINEAR_GRAD_W, &attrs, ones, CASES, 1, x, CASES, WIDE, dw0, dw, 1, WIDE);
        bench_close(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(exact), cmocka_unit_test(same_order), cmocka_unit_test(long_sums), cmocka_unit_test(rounding)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
