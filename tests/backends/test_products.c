/* tests/backends/test_products.c: matrix products of the cpu backend, for every instruction set, at sizes on both sides of every block border, against
 * sums in int64. Values are small whole numbers, so that fp32 sums are exact in any order, and every bit must agree. */
#include "backends/support.h"

static const char *const isas[] = {"baseline", "avx2", "avx512"};

typedef struct shape {
    int64_t m, n, k;
} shape;

/* Blocks: 6 rows by 16 or 64 columns in registers; 96 rows, 256 columns, 512 deep in the cache; 64 or 128 deep for sums over rows. The last is the
 * library's, but for AVX-512. */
static const shape shapes[] = {
    {1, 1, 1},      {6, 64, 64},    {7, 65, 63},    {5, 16, 256},   {193, 48, 257},  {191, 257, 65}, {12, 300, 513},
    {400, 7, 40},   {389, 129, 12}, {64, 2, 700},   {97, 63, 128},  {1100, 130, 60}, {3, 520, 5},   {95, 70, 1030}, {97, 260, 511}, {514, 513, 515},
};

static float *made(uint64_t which, int64_t n)
{
    float *values = prn__alloc_array((size_t)n, sizeof *values);
    for (int64_t i = 0; i < n; i++) {
        values[i] = (float)prn__rng_below(5, PRN__RNG_INIT, which, (uint64_t)i, 9) - 4;
    }
    return values;
}

/* One operation of three: y (d0, d1) = or += what `want` says; a, b its inputs, with their shapes. */
static void same(const prn__device *device, const char *isa, const shape *s, uint32_t kind, const prn_op_attrs *attrs, const float *a, int64_t a0, int64_t a1,
                 const float *b, int64_t b0, int64_t b1, const float *before, const float *want, int64_t y0, int64_t y1)
{
    rig r;
    prn_error error = PRN_ERROR_INIT;
    float *got = prn__alloc_array((size_t)(y0 * y1), sizeof *got);
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
    rig_read(&r, 5, PRN_HOST_F32, got);
    for (int64_t i = 0; i < y0 * y1; i++) {
        if (got[i] != want[i]) {
            fail_msg("%s, operation %u, m %lld, n %lld, k %lld, transposed %d, accumulating %d: element %lld is %g, not %g", isa, kind, (long long)s->m,
                     (long long)s->n, (long long)s->k, attrs->transpose_w, attrs->accumulate, (long long)i, (double)got[i], (double)want[i]);
        }
    }
    rig_fini(&r);
    prn__free(got);
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
        for (int i = 0; i < 3; i++) {
            if (is_there[i] && !accumulate) {
                same(&benches[i].cpu, isas[i], s, PRN_OP_LINEAR, &attrs, x, m, k, w, w0, w1, y0, y, m, n);
            }
            if (is_there[i]) {
                same(&benches[i].cpu, isas[i], s, PRN_OP_LINEAR_GRAD_X, &attrs, dy, m, n, w, w0, w1, dx0, dx, m, k);
                same(&benches[i].cpu, isas[i], s, PRN_OP_LINEAR_GRAD_W, &attrs, dy, m, n, x, m, k, dw0, dw, w0, w1);
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
    bench benches[3];
    int is_there[3];
    (void)state;
    for (int i = 0; i < 3; i++) {
        is_there[i] = bench_open(&benches[i], 2, isas[i]);
    }
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        products(benches, is_there, &shapes[s], 0);
        products(benches, is_there, &shapes[s], 1);
    }
    for (int i = 0; i < 3; i++) {
        bench_close(&benches[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(exact)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
