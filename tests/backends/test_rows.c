/* tests/backends/test_rows.c: with flags of rows, the cpu backend's clearing, sums and AdamW give the same bytes as without them, for every instruction
 * set and number of threads; and rows that are said to be zero are not even read. Decay that comes later has the bytes of decay that does not.
 */
#include "backends/support.h"

static const char *const isas[] = {"baseline", "avx2", "avx512"};
enum { ROWS = 1501, MOST_COLUMNS = 160, OPERANDS = 8 };

typedef struct data {
    uint8_t flags[ROWS];
    float values[OPERANDS][ROWS * MOST_COLUMNS]; /* by operand: g (or a), then p, m, v from 5 on */
} data;

static void draw(data *d, int64_t columns, float otherwise)
{
    for (int64_t r = 0; r < ROWS; r++) {
        /* long runs of nothing, and short ones of all kinds */
        d->flags[r] = r % 300 < 200 ? 0 : (uint8_t)prn__rng_below(3, PRN__RNG_SUBSET, 0, (uint64_t)r, 4);
    }
    for (int i = 0; i < OPERANDS; i++) {
        for (int64_t e = 0; e < ROWS * columns; e++) {
            const int flags = d->flags[e / columns], needed = i == 0 ? PRN_ROW_GRADIENT : i < 6 ? 0 : PRN_ROW_MOMENTS;
            const float value = (float)prn__rng_normal(4, PRN__RNG_INIT, (uint64_t)i, (uint64_t)e) * 0.1f;
            d->values[i][e] = (flags & needed) == needed ? i == 7 ? fabsf(value) : value : otherwise;
        }
    }
}

/* Outputs of one operation. `spoil`: what is promised to be zero is not, in the operation's memory. */
static void run(const prn__device *device, uint32_t kind, const data *d, int64_t columns, int with_flags, int spoil, data *result)
{
    static const float hyper[8] = {1e-3f, 1.5f, 2.5f, 0.5f};
    const int is_update = kind == PRN_OP_ADAMW, outputs = is_update ? 3 : 1;
    float *gradient = prn__alloc_array((size_t)(ROWS * columns), sizeof *gradient);
    rig r;
    prn_error error = PRN_ERROR_INIT;
    for (int64_t e = 0; e < ROWS * columns; e++) {
        gradient[e] = spoil && !(d->flags[e / columns] & PRN_ROW_GRADIENT) ? NAN : d->values[0][e];
    }
    rig_init(&r, device, kind);
    if (kind != PRN_OP_FILL) {
        rig_operand(&r, 0, PRN_REAL, ROWS, columns, -1, -1);
    }
    if (is_update) {
        rig_operand(&r, 1, PRN_REAL, 8, -1, -1, -1);
    } else if (kind == PRN_OP_DOT) {
        rig_operand(&r, 1, PRN_REAL, ROWS, columns, -1, -1);
    }
    if (with_flags) {
        rig_operand(&r, kind == PRN_OP_FILL ? 0 : 2, PRN_U8, ROWS, -1, -1, -1);
    }
    for (int i = 5; i < 5 + outputs; i++) {
        if (kind == PRN_OP_DOT) {
            rig_operand(&r, i, PRN_REAL, -1, -1, -1, -1);
        } else {
            rig_operand(&r, i, PRN_REAL, ROWS, columns, -1, -1);
        }
    }
    r.op.attrs = (prn_op_attrs){.alpha = is_update ? 0.9 : 0, .beta = 0.98, .epsilon = 1e-6, .decay = 0.2};
    if (rig_compile(&r, &error) != PRN_OK) {
        fail_msg("%s", error.message);
    }
    if (kind != PRN_OP_FILL) {
        rig_write(&r, 0, PRN_HOST_F32, gradient);
        rig_write(&r, 1, PRN_HOST_F32, is_update ? hyper : gradient);
    }
    if (with_flags) {
        rig_write(&r, kind == PRN_OP_FILL ? 0 : 2, PRN_HOST_U8, d->flags);
    }
    for (int i = 5; i < 5 + outputs && kind != PRN_OP_DOT; i++) {
        rig_write(&r, i, PRN_HOST_F32, kind == PRN_OP_FILL ? d->values[0] : d->values[i]);
    }
    assert_int_equal(rig_run(&r, &error), PRN_OK);
    for (int i = 5; i < 5 + outputs; i++) {
        rig_read(&r, i, PRN_HOST_F32, result->values[i]);
    }
    rig_fini(&r);
    prn__free(gradient);
}

static void same_bytes(void **state)
{
    static data given, with, without;
    static const uint32_t kinds[] = {PRN_OP_FILL, PRN_OP_DOT, PRN_OP_ADAMW};
    static const int64_t columns[] = {1, 33, 48, 128, 160};
    static const uint32_t threads[] = {1, 2, 5};
    (void)state;
    for (int isa = 0; isa < 3; isa++) {
        for (int t = 0; t < 3; t++) {
            bench b;
            const int can = bench_open(&b, threads[t], isas[isa]);
            for (int i = 0; i < 15 && can; i++) {
                const uint32_t kind = kinds[i / 5];
                const int64_t c = columns[i % 5];
                draw(&given, c, 0);
                run(&b.cpu, kind, &given, c, 0, 0, &without);
                /* rows that are not in whole vectors are summed as if there were no flags */
                run(&b.cpu, kind, &given, c, 1, kind == PRN_OP_ADAMW || (kind == PRN_OP_DOT && c % 16 == 0), &with);
                for (int k = 5; k < (kind == PRN_OP_ADAMW ? 8 : 6); k++) {
                    const size_t bytes = sizeof(float) * (kind == PRN_OP_DOT ? 1 : (size_t)(ROWS * c));
                    assert_memory_equal(with.values[k], without.values[k], bytes);
                }
            }
            bench_close(&b);
        }
    }
}

/* Rows without a flag stay as they are. */
static void untouched(void **state)
{
    static data given, result;
    enum { C = 48 };
    bench b;
    (void)state;
    assert_true(bench_open(&b, 2, NULL));
    draw(&given, C, 7);
    run(&b.cpu, PRN_OP_FILL, &given, C, 1, 0, &result);
    for (int64_t e = 0; e < ROWS * C; e++) {
        assert_true(result.values[5][e] == (given.flags[e / C] & PRN_ROW_GRADIENT ? 0 : 7));
    }
    run(&b.cpu, PRN_OP_ADAMW, &given, C, 1, 1, &result);
    for (int64_t e = 0; e < ROWS * C; e++) {
        const int is_idle = given.flags[e / C] == 0;
        assert_true(!is_idle || (result.values[6][e] == 7 && result.values[7][e] == 7));
        assert_true(isfinite(result.values[5][e]));
    }
    bench_close(&b);
}

enum { UPDATES = 9 };

/* p after each of UPDATES calls of ADAMW on rows of zero gradient and moments, with these flags; then after one DECAY_ROWS of as many. */
static void decays_of(const prn__device *device, const data *d, const uint8_t *flags, int64_t columns, float *updated, float *decayed)
{
    static const float rates[UPDATES] = {1e-3f, 0, 0.7f, 3e-7f, 1e-2f, 0.1f, 2e-3f, 0.03f, 5e-4f};
    prn_error error = PRN_ERROR_INIT;
    for (int together = 0; together < 2; together++) {
        rig r;
        rig_init(&r, device, together ? PRN_OP_DECAY_ROWS : PRN_OP_ADAMW);
        if (together) {
            rig_operand(&r, 0, PRN_REAL, UPDATES, -1, -1, -1);
            rig_operand(&r, 1, PRN_U8, ROWS, -1, -1, -1);
        } else {
            rig_operand(&r, 0, PRN_REAL, ROWS, columns, -1, -1);
            rig_operand(&r, 1, PRN_REAL, 8, -1, -1, -1);
            rig_operand(&r, 2, PRN_U8, ROWS, -1, -1, -1);
        }
        for (int i = 5; i < (together ? 6 : 8); i++) {
            rig_operand(&r, i, PRN_REAL, ROWS, columns, -1, -1);
        }
        r.op.attrs = (prn_op_attrs){.alpha = 0.9, .beta = 0.98, .epsilon = 1e-6, .decay = 0.2};
        assert_int_equal(rig_compile(&r, &error), PRN_OK);
        rig_write(&r, 5, PRN_HOST_F32, d->values[5]);
        rig_write(&r, together ? 1 : 2, PRN_HOST_U8, flags);
        if (together) {
            rig_write(&r, 0, PRN_HOST_F32, rates);
        }
        for (int u = 0; u < (together ? 1 : UPDATES); u++) {
            const float hyper[8] = {rates[u], 1.5f, 2.5f, 1};
            if (!together) {
                rig_write(&r, 1, PRN_HOST_F32, hyper);
            }
            assert_int_equal(rig_run(&r, &error), PRN_OK);
        }
        rig_read(&r, 5, PRN_HOST_F32, together ? decayed : updated);
        rig_fini(&r);
    }
}

/* The decay of many updates at once has the bytes of as many updates; rows that wait stay as they are, and rows that are not due. */
static void later(void **state)
{
    static data given;
    static float updated[ROWS * MOST_COLUMNS], decayed[ROWS * MOST_COLUMNS];
    static const int64_t columns[] = {1, 33, 128, 160};
    static const uint32_t threads[] = {1, 3};
    uint8_t due[ROWS], none[ROWS] = {0}, wait[ROWS];
    (void)state;
    memset(wait, PRN_ROW_LATER, sizeof wait);
    for (int64_t r = 0; r < ROWS; r++) {
        due[r] = r % 300 < 100 || r % 7 == 0 ? PRN_ROW_DUE | (r % 2 == 0 ? PRN_ROW_LATER : PRN_ROW_GRADIENT) : r % 2 == 0 ? PRN_ROW_LATER : PRN_ROW_MOMENTS;
    }
    for (int isa = 0; isa < 3; isa++) {
        for (int t = 0; t < 2; t++) {
            bench b;
            const int can = bench_open(&b, threads[t], isas[isa]);
            for (int i = 0; i < 4 && can; i++) {
                const int64_t c = columns[i];
                draw(&given, c, 0);
                decays_of(&b.cpu, &given, none, c, updated, decayed);
                assert_memory_equal(decayed, given.values[5], sizeof(float) * (size_t)(ROWS * c)); /* nothing was due */
                static float other[ROWS * MOST_COLUMNS];
                decays_of(&b.cpu, &given, due, c, other, decayed);
                for (int64_t r = 0; r < ROWS; r++) {
                    const float *want = due[r] & PRN_ROW_DUE ? updated : given.values[5];
                    assert_memory_equal(decayed + r * c, want + r * c, sizeof(float) * (size_t)c);
                }
                decays_of(&b.cpu, &given, wait, c, other, decayed);
                assert_memory_equal(other, given.values[5], sizeof(float) * (size_t)(ROWS * c));
            }
            bench_close(&b);
        }
    }
}

/* A flag for each row, no more and no less. */
static void refused(void **state)
{
    bench b;
    rig r;
    prn_error error = PRN_ERROR_INIT;
    (void)state;
    assert_true(bench_open(&b, 1, NULL));
    const prn__device *const devices[] = {&b.cpu, &b.reference};
    for (int i = 0; i < 4; i++) {
        rig_init(&r, devices[i % 2], i < 2 ? PRN_OP_FILL : PRN_OP_DECAY_ROWS);
        rig_operand(&r, i / 2, PRN_U8, 5, -1, -1, -1);
        if (i >= 2) {
            rig_operand(&r, 0, PRN_REAL, 3, -1, -1, -1);
        }
        rig_operand(&r, 5, PRN_REAL, 6, 16, -1, -1);
        const prn_status compiled = rig_compile(&r, &error);
        assert_true(compiled == PRN_INVALID || (compiled == PRN_OK && rig_run(&r, &error) == PRN_INVALID));
        assert_non_null(strstr(error.message, "do not fit"));
        rig_fini(&r);
    }
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_bytes), cmocka_unit_test(untouched), cmocka_unit_test(later), cmocka_unit_test(refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
