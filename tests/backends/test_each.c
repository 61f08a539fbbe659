/* tests/backends/test_each.c: executions side by side (prn_backend.execute_each), of one program and of several: what all of one add to is added in their
 * order, to the last bit; what is no good is refused before anything is written.
 */
#include "backends/support.h"

enum { EXECUTIONS = 150, ROWS = 2, OUTPUTS = 2, INPUTS = 4, DY = ROWS * OUTPUTS, X = ROWS * INPUTS, DW = OUTPUTS * INPUTS };

/* dw += dy^T x, for many (dy, x) into one dw. */
typedef struct sums {
    rig r;
    prn_buffer *dy, *x, *dw;
    prn_buffer *buffers[EXECUTIONS][9];
    int64_t offsets[EXECUTIONS][9];
    prn_binding bindings[EXECUTIONS];
    prn_execution executions[EXECUTIONS];
} sums;

static prn_buffer *buffer_of(const prn__device *device, int64_t elements, uint64_t seed, double spread)
{
    prn_error error = PRN_ERROR_INIT;
    prn_buffer *buffer;
    float *values = prn__alloc_array((size_t)elements, sizeof *values);
    for (int64_t i = 0; i < elements; i++) { /* of very different sizes: another order gives another sum */
        const uint64_t drawn = prn__rng_below(seed, PRN__RNG_CROP, 7, (uint64_t)i, 1 << 20);
        values[i] = (float)(((double)drawn / (1 << 19) - 1) * pow(10, spread * (double)(drawn % 9)));
    }
    assert_int_equal(device->backend->buffer_create(device->instance, PRN_REAL, elements, "test", &buffer, &error), PRN_OK);
    assert_int_equal(device->backend->buffer_write(device->instance, buffer, 0, PRN_HOST_F32, values, elements, &error), PRN_OK);
    prn__free(values);
    return buffer;
}

/* `seed`: of the values. */
static void sums_init(sums *s, const prn__device *device, int accumulate, uint64_t seed)
{
    prn_error error = PRN_ERROR_INIT;
    memset(s, 0, sizeof *s);
    rig_init(&s->r, device, PRN_OP_LINEAR_GRAD_W);
    rig_operand(&s->r, 0, PRN_REAL, ROWS, OUTPUTS, -1, -1);
    rig_operand(&s->r, 1, PRN_REAL, ROWS, INPUTS, -1, -1);
    rig_operand(&s->r, 5, PRN_REAL, OUTPUTS, INPUTS, -1, -1);
    s->r.op.attrs.accumulate = accumulate;
    assert_int_equal(rig_compile(&s->r, &error), PRN_OK);
    s->dy = buffer_of(device, EXECUTIONS * DY, seed, 1);
    s->x = buffer_of(device, EXECUTIONS * X, seed + 1, 1);
    s->dw = buffer_of(device, DW, seed + 2, 0);
    for (int i = 0; i < EXECUTIONS; i++) {
        memcpy((void *)s->buffers[i], (const void *)s->r.buffers, sizeof s->buffers[i]);
        s->buffers[i][1] = s->dy;
        s->buffers[i][2] = s->x;
        s->buffers[i][6] = s->dw;
        s->offsets[i][1] = (int64_t)i * DY;
        s->offsets[i][2] = (int64_t)i * X;
        s->bindings[i] = (prn_binding){.struct_size = (uint32_t)sizeof(prn_binding), .slot_count = 9, .buffers = s->buffers[i], .buffer_offsets = s->offsets[i]};
        s->executions[i] = (prn_execution){.executable = s->r.executable, .binding = &s->bindings[i]};
    }
}

static void sums_fini(sums *s)
{
    const prn__device *device = s->r.device;
    device->backend->buffer_destroy(device->instance, s->dy);
    device->backend->buffer_destroy(device->instance, s->x);
    device->backend->buffer_destroy(device->instance, s->dw);
    rig_fini(&s->r);
}

static prn_status each(sums *s, uint32_t count, prn_error *error)
{
    return s->r.device->backend->execute_each(s->r.device->instance, s->executions, count, error);
}

static void dw_read(const sums *s, float values[DW])
{
    prn_error error = PRN_ERROR_INIT;
    assert_int_equal(s->r.device->backend->buffer_read(s->r.device->instance, s->dw, 0, PRN_HOST_F32, values, DW, &error), PRN_OK);
}

static void test_order(void **state)
{
    (void)state;
    float want[DW], backward[DW], got[DW];
    for (uint32_t threads = 1; threads <= 5; threads++) {
        bench b;
        sums s;
        prn_error error = PRN_ERROR_INIT;
        const int64_t live = prn__alloc_live();
        (void)bench_open(&b, threads, NULL);
        for (int turn = 0; threads == 1 && turn < 2; turn++) { /* one by one, and from the last to the first */
            sums_init(&s, &b.cpu, 1, 1);
            for (int i = 0; i < EXECUTIONS; i++) {
                const prn_binding *binding = &s.bindings[turn == 0 ? i : EXECUTIONS - 1 - i];
                assert_int_equal(b.cpu.backend->execute(b.cpu.instance, s.r.executable, 0, binding, &error), PRN_OK);
            }
            dw_read(&s, turn == 0 ? want : backward);
            sums_fini(&s);
        }
        assert_memory_not_equal(want, backward, sizeof want); /* so that the order is seen */
        for (int turn = 0; turn < 20; turn++) {
            sums_init(&s, &b.cpu, 1, 1);
            assert_int_equal(each(&s, EXECUTIONS, &error), PRN_OK);
            dw_read(&s, got);
            assert_memory_equal(got, want, sizeof want);
            sums_fini(&s);
        }
        bench_close(&b);
        assert_int_equal(prn__alloc_live(), live);
    }
}

/* Executions of two programs in turn, or those of one behind those of the other; `parts` of them at a time. */
static void mix(sums *one, sums *other, int is_mixed, uint32_t parts)
{
    prn_execution all[2 * EXECUTIONS];
    const prn_backend *backend = one->r.device->backend;
    prn_error error = PRN_ERROR_INIT;
    for (int i = 0; i < EXECUTIONS; i++) {
        all[is_mixed ? 2 * i : i] = one->executions[i];
        all[is_mixed ? 2 * i + 1 : EXECUTIONS + i] = other->executions[i];
    }
    for (uint32_t first = 0; first < 2 * EXECUTIONS; first += parts) {
        const uint32_t count = 2 * EXECUTIONS - first < parts ? 2 * EXECUTIONS - first : parts;
        assert_int_equal(backend->execute_each(one->r.device->instance, all + first, count, &error), PRN_OK);
    }
}

static void test_programs(void **state)
{
    (void)state;
    float want[2][DW], got[2][DW];
    for (uint32_t threads = 1; threads <= 5; threads++) {
        bench b;
        sums s[2];
        const int64_t live = prn__alloc_live();
        (void)bench_open(&b, threads, NULL);
        for (int turn = 0; turn < 20; turn++) {
            static const uint32_t parts[] = {1, 2 * EXECUTIONS, 2 * EXECUTIONS, 7, 64};
            for (int i = 0; i < 2; i++) {
                sums_init(&s[i], &b.cpu, 1, 1 + 10 * (uint64_t)i);
            }
            mix(&s[0], &s[1], turn % 2, parts[turn % 5]);
            for (int i = 0; i < 2; i++) {
                dw_read(&s[i], threads == 1 && turn == 0 ? want[i] : got[i]);
                assert_true((threads == 1 && turn == 0) || memcmp(got[i], want[i], sizeof want[i]) == 0);
                sums_fini(&s[i]);
            }
        }
        bench_close(&b);
        assert_int_equal(prn__alloc_live(), live);
    }
    assert_memory_not_equal(want[0], want[1], sizeof want[0]);
}

/* Programs that write to what another one reads or writes: no order of theirs is the right one. */
static void test_programs_apart(void **state)
{
    (void)state;
    bench b;
    (void)bench_open(&b, 2, NULL);
    for (int flaw = 0; flaw < 5; flaw++) {
        sums s[2];
        float before[DW], after[DW];
        prn_error error = PRN_ERROR_INIT;
        for (int i = 0; i < 2; i++) {
            sums_init(&s[i], &b.cpu, 1, 1 + 10 * (uint64_t)i);
        }
        prn_buffer *both = buffer_of(&b.cpu, 4 * DW, 5, 0);
        for (int i = 0; i < EXECUTIONS; i++) {
            const int64_t shift = flaw == 0 ? DW : flaw == 1 ? DW - 1 : flaw == 2 ? 1 - DW : 0;
            s[0].buffers[i][6] = s[1].buffers[i][6] = both;
            s[0].offsets[i][6] = 2 * DW;
            s[1].offsets[i][6] = 2 * DW + shift;
            if (flaw == 4) { /* the first one's x is where the second one adds */
                s[0].buffers[i][6] = s[0].dw;
                s[0].offsets[i][6] = 0;
                s[0].buffers[i][2] = both;
                s[0].offsets[i][2] = 2 * DW;
            }
        }
        const prn_execution executions[4] = {s[0].executions[0], s[1].executions[0], s[0].executions[1], s[1].executions[1]};
        dw_read(&s[0], before);
        const prn_status status = b.cpu.backend->execute_each(b.cpu.instance, executions, 4, &error);
        dw_read(&s[0], after);
        assert_int_equal(status, flaw == 0 ? PRN_OK : PRN_INVALID);
        assert_true(flaw == 0 || strstr(error.message, "share memory") != NULL);
        assert_memory_equal(before, after, sizeof before);
        b.cpu.backend->buffer_destroy(b.cpu.instance, both);
        for (int i = 0; i < 2; i++) {
            sums_fini(&s[i]);
        }
    }
    bench_close(&b);
}

/* One program's segments are run one after the other. */
static void test_segments(void **state)
{
    (void)state;
    bench b;
    sums s;
    prn_error error = PRN_ERROR_INIT;
    float want[DW], got[DW];
    (void)bench_open(&b, 3, NULL);
    for (int turn = 0; turn < 2; turn++) {
        const prn_segment segments[2] = {{"one", 0, 1}, {"other", 0, 1}};
        sums_init(&s, &b.cpu, 1, 1);
        if (turn == 1) {
            b.cpu.backend->executable_destroy(b.cpu.instance, s.r.executable);
            s.r.program.segments = segments;
            s.r.program.segment_count = 2;
            assert_int_equal(b.cpu.backend->compile(b.cpu.instance, &s.r.program, &s.r.executable, &error), PRN_OK);
        }
        for (uint32_t i = 0; i < EXECUTIONS; i++) {
            s.executions[i].executable = s.r.executable;
            s.executions[i].segment = turn == 1 && i % 3 == 0;
        }
        assert_int_equal(each(&s, EXECUTIONS, &error), PRN_OK);
        dw_read(&s, turn == 0 ? want : got);
        sums_fini(&s);
    }
    assert_memory_equal(got, want, sizeof want);
    bench_close(&b);
}

static void test_times(void **state)
{
    (void)state;
    bench b;
    sums s;
    prn_error error = PRN_ERROR_INIT;
    prn_op_time times[64];
    uint32_t count = 0;
    (void)bench_open(&b, 2, NULL);
    sums_init(&s, &b.cpu, 1, 1);
    assert_int_equal(each(&s, EXECUTIONS, &error), PRN_OK);
    assert_int_equal(each(&s, 1, &error), PRN_OK);
    assert_int_equal(each(&s, 0, &error), PRN_OK);
    assert_int_equal(b.cpu.backend->op_times(b.cpu.instance, times, 64, &count, 1, &error), PRN_OK);
    assert_int_equal(count, 1);
    assert_int_equal(times[0].kind, PRN_OP_LINEAR_GRAD_W);
    assert_int_equal(times[0].calls, EXECUTIONS + 1);
    assert_true(times[0].seconds > 0);
    sums_fini(&s);
    bench_close(&b);
}

static void test_refused(void **state)
{
    (void)state;
    bench b;
    sums s;
    float before[DW], after[DW];
    (void)bench_open(&b, 2, NULL);
    for (int flaw = 0; flaw < 5; flaw++) {
        prn_error error = PRN_ERROR_INIT;
        sums_init(&s, &b.cpu, flaw != 0, 1);
        switch (flaw) {
        case 1: /* dw, to which all add, is read, too */
            for (int i = 0; i < EXECUTIONS; i++) {
                s.buffers[i][2] = s.dw;
                s.offsets[i][2] = 0;
            }
            s.r.tensors[1].slot = 6;
            break;
        case 2: s.offsets[EXECUTIONS - 3][1] = EXECUTIONS * DY - 1; break; /* past the end */
        case 3: s.bindings[EXECUTIONS - 1].slot_count = 8; break;
        case 4: s.executions[EXECUTIONS - 1].segment = 1; break;
        default: break;
        }
        dw_read(&s, before);
        assert_int_equal(b.cpu.backend->execute_each(b.cpu.instance, s.executions, EXECUTIONS, &error), PRN_INVALID);
        assert_true(error.message[0] != '\0');
        assert_true(flaw > 1 || strstr(error.message, "share slot") != NULL);
        dw_read(&s, after);
        assert_memory_equal(before, after, sizeof before);
        s.r.tensors[1].slot = 2;
        sums_fini(&s);
    }
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_order), cmocka_unit_test(test_programs), cmocka_unit_test(test_programs_apart),
                                       cmocka_unit_test(test_segments), cmocka_unit_test(test_times), cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
