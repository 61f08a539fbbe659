/* tests/backends/test_binding.c: programs and bindings that do not fit are refused with a message, before anything is written; for both
 * host backends. */
#include "backends/support.h"

static const prn__device *devices_of(bench *b, int which)
{
    return which ? &b->cpu : &b->reference;
}

static void linear_rig(rig *r, const prn__device *device)
{
    rig_init(r, device, PRN_OP_LINEAR);
    rig_operand(r, 0, PRN_REAL, 3, 4, -1, -1);
    rig_operand(r, 1, PRN_REAL, 2, 4, -1, -1);
    rig_operand(r, 5, PRN_REAL, 3, 2, -1, -1);
}

static void each(void (*test)(const prn__device *))
{
    bench b;
    (void)bench_open(&b, 2, NULL);
    for (int which = 0; which < 2; which++) {
        const int64_t live = prn__alloc_live();
        test(devices_of(&b, which));
        assert_int_equal(prn__alloc_live(), live);
    }
    bench_close(&b);
}

static void refuse_compile(const prn__device *device)
{
    for (int flaw = 0; flaw < 9; flaw++) {
        rig r;
        prn_error error = PRN_ERROR_INIT;
        linear_rig(&r, device);
        switch (flaw) {
        case 0: r.op.input[1] = PRN_NO_TENSOR; break;
        case 1: r.op.input[1] = 8; break;
        case 2: r.op.input[1] = -7; break;
        case 3: r.op.kind = 9999; break;
        case 4: r.tensors[1].slot = 12; break;
        case 5: r.tensors[1].offset = -64; break;
        case 6: r.op.attrs.activation = 77; break;
        case 7: r.tensors[0].dim[0].symbol = 3; break;
        case 8: r.op.output[0] = PRN_NO_TENSOR; break;
        default: break;
        }
        assert_int_not_equal(rig_compile(&r, &error), PRN_OK);
        assert_null(r.executable);
        assert_true(error.message[0] != '\0');
        rig_fini(&r);
    }
}

static void refuse_shapes(const prn__device *device)
{
    rig r;
    prn_error error = PRN_ERROR_INIT;
    linear_rig(&r, device);
    r.tensors[1].dim[1].fixed = 5; /* K of w is not K of x */
    assert_int_equal(rig_compile(&r, &error), PRN_OK);
    assert_int_equal(rig_run(&r, &error), PRN_INVALID);
    assert_non_null(strstr(error.message, "shapes"));
    rig_fini(&r);

    linear_rig(&r, device);
    r.tensors[0].dim[0].fixed = INT64_MAX / 2; /* overflows */
    r.tensors[0].dim[1].fixed = 4;
    prn_tensor huge = r.tensors[0];
    r.tensors[0].dim[0].fixed = 3;
    assert_int_equal(rig_compile(&r, &error), PRN_OK);
    r.tensors[0] = huge;
    assert_int_equal(rig_run(&r, &error), PRN_INVALID);
    rig_fini(&r);
}

static void refuse_bindings(const prn__device *device)
{
    rig r;
    prn_error error = PRN_ERROR_INIT;
    const prn_backend *b = device->backend;
    linear_rig(&r, device);
    assert_int_equal(rig_compile(&r, &error), PRN_OK);
    const float seven[6] = {7, 7, 7, 7, 7, 7};
    rig_write(&r, 5, PRN_HOST_F32, seven);
    prn_buffer *small, *bytes, *kept[9];
    assert_int_equal(b->buffer_create(device->instance, PRN_REAL, 5, "test", &small, &error), PRN_OK);
    assert_int_equal(b->buffer_create(device->instance, PRN_U8, 100, "test", &bytes, &error), PRN_OK);
    memcpy(kept, r.buffers, sizeof kept);
    int64_t offsets[9] = {0};
    prn_binding binding = {.struct_size = (uint32_t)sizeof binding, .slot_count = 9, .buffers = r.buffers, .buffer_offsets = offsets};

    r.buffers[2] = small; /* w needs 8 */
    assert_int_equal(b->execute(device->instance, r.executable, 0, &binding, &error), PRN_INVALID);
    assert_non_null(strstr(error.message, "larger buffer"));
    r.buffers[2] = bytes;
    assert_int_equal(b->execute(device->instance, r.executable, 0, &binding, &error), PRN_INVALID);
    r.buffers[2] = NULL;
    assert_int_equal(b->execute(device->instance, r.executable, 0, &binding, &error), PRN_INVALID);
    memcpy(r.buffers, kept, sizeof kept);
    offsets[1] = 1;
    assert_int_equal(b->execute(device->instance, r.executable, 0, &binding, &error), PRN_INVALID);
    offsets[1] = -1;
    assert_int_equal(b->execute(device->instance, r.executable, 0, &binding, &error), PRN_INVALID);
    offsets[1] = INT64_MAX;
    assert_int_equal(b->execute(device->instance, r.executable, 0, &binding, &error), PRN_INVALID);
    offsets[1] = 0;
    assert_int_equal(b->execute(device->instance, r.executable, 1, &binding, &error), PRN_INVALID);
    binding.slot_count = 8;
    assert_int_equal(b->execute(device->instance, r.executable, 0, &binding, &error), PRN_INVALID);
    binding.slot_count = 9;
    binding.symbol_count = 1;
    assert_int_equal(b->execute(device->instance, r.executable, 0, &binding, &error), PRN_INVALID);
    binding.symbol_count = 0;

    float got[6];
    rig_read(&r, 5, PRN_HOST_F32, got);
    assert_memory_equal(got, seven, sizeof got);
    assert_int_equal(b->execute(device->instance, r.executable, 0, &binding, &error), PRN_OK);
    rig_read(&r, 5, PRN_HOST_F32, got);
    assert_true(got[0] == 0 && got[5] == 0);
    b->buffer_destroy(device->instance, small);
    b->buffer_destroy(device->instance, bytes);
    b->buffer_destroy(device->instance, NULL);
    rig_fini(&r);
}

static void refuse_offsets(const prn__device *device)
{
    static const int32_t flawed[][4] = {{1, 2, 4, 6}, {0, 4, 2, 6}, {0, 2, 4, 5}, {0, 2, 4, 7}, {0, -1, 4, 6}, {0, 0, 0, 0}};
    for (size_t i = 0; i < sizeof flawed / sizeof flawed[0]; i++) {
        rig r;
        prn_error error = PRN_ERROR_INIT;
        rig_init(&r, device, PRN_OP_ATTENTION);
        rig_operand(&r, 0, PRN_REAL, 6, 12, -1, -1);
        rig_operand(&r, 1, PRN_I32, 4, -1, -1, -1);
        rig_operand(&r, 5, PRN_REAL, 6, 4, -1, -1);
        r.op.attrs.heads = 2;
        assert_int_equal(rig_compile(&r, &error), PRN_OK);
        rig_write(&r, 1, PRN_HOST_I32, flawed[i]);
        assert_int_equal(rig_run(&r, &error), PRN_INVALID);
        assert_non_null(strstr(error.message, "offset"));
        rig_fini(&r);
    }
}

static void refuse_buffer_ranges(const prn__device *device)
{
    const prn_backend *b = device->backend;
    prn_error error = PRN_ERROR_INIT;
    prn_buffer *buffer, *other;
    double values[8] = {1, 2, 3, 4, 5, 6, 7, 8}, back[8];
    int32_t integers[8] = {0};
    assert_int_equal(b->buffer_create(device->instance, PRN_REAL, -1, "test", &buffer, &error), PRN_INVALID);
    assert_int_equal(b->buffer_create(device->instance, PRN_REAL, INT64_MAX, "test", &buffer, &error), PRN_INVALID);
    assert_int_equal(b->buffer_create(device->instance, (prn_type)9, 4, "test", &buffer, &error), PRN_INVALID);
    assert_int_equal(b->buffer_create(device->instance, PRN_REAL, 8, "test", &buffer, &error), PRN_OK);
    assert_int_equal(b->buffer_create(device->instance, PRN_I32, 8, "test", &other, &error), PRN_OK);
    assert_int_equal(b->buffer_read(device->instance, buffer, 0, PRN_HOST_F64, back, 8, &error), PRN_OK);
    assert_true(back[0] == 0 && back[7] == 0);
    assert_int_equal(b->buffer_write(device->instance, buffer, 1, PRN_HOST_F64, values, 8, &error), PRN_INVALID);
    assert_int_equal(b->buffer_write(device->instance, buffer, -1, PRN_HOST_F64, values, 2, &error), PRN_INVALID);
    assert_int_equal(b->buffer_write(device->instance, buffer, 0, PRN_HOST_F64, values, -2, &error), PRN_INVALID);
    assert_int_equal(b->buffer_write(device->instance, buffer, INT64_MAX, PRN_HOST_F64, values, 2, &error), PRN_INVALID);
    assert_int_equal(b->buffer_write(device->instance, buffer, 0, PRN_HOST_I32, integers, 2, &error), PRN_INVALID);
    assert_int_equal(b->buffer_write(device->instance, other, 0, PRN_HOST_F32, values, 2, &error), PRN_INVALID);
    assert_int_equal(b->buffer_write(device->instance, buffer, 0, PRN_HOST_F64, values, 8, &error), PRN_OK);
    assert_int_equal(b->buffer_copy(device->instance, buffer, 4, buffer, 0, 4, &error), PRN_OK);
    assert_int_equal(b->buffer_copy(device->instance, buffer, 5, buffer, 0, 4, &error), PRN_INVALID);
    assert_int_equal(b->buffer_copy(device->instance, buffer, 0, other, 0, 4, &error), PRN_INVALID);
    assert_int_equal(b->buffer_read(device->instance, buffer, 0, PRN_HOST_F64, back, 8, &error), PRN_OK);
    assert_true(back[4] == 1 && back[7] == 4);
    assert_int_equal(b->buffer_read(device->instance, buffer, 8, PRN_HOST_F64, back, 1, &error), PRN_INVALID);
    assert_int_equal(b->buffer_read(device->instance, buffer, 8, PRN_HOST_F64, back, 0, &error), PRN_OK);
    b->buffer_destroy(device->instance, buffer);
    b->buffer_destroy(device->instance, other);
}

static void survive_memory(const prn__device *device)
{
    int64_t n = 1;
    for (;; n++) {
        const prn_backend *b = device->backend;
        prn_error error = PRN_ERROR_INIT;
        rig r;
        linear_rig(&r, device);
        assert_int_equal(rig_compile(&r, &error), PRN_OK);
        b->executable_destroy(device->instance, r.executable);
        r.executable = NULL;
        prn_buffer *buffer = NULL;
        prn__alloc_fail_at(n);
        prn_status status = b->compile(device->instance, &r.program, &r.executable, &error);
        if (status == PRN_OK) {
            status = b->buffer_create(device->instance, PRN_REAL, 10, "test", &buffer, &error);
        }
        prn__alloc_fail_at(0);
        if (buffer != NULL) {
            b->buffer_destroy(device->instance, buffer);
        }
        rig_fini(&r);
        if (status == PRN_OK) {
            break;
        }
        assert_int_equal(status, PRN_NO_MEMORY);
    }
    assert_true(n >= 3);
}

static void bad_programs_are_refused(void **state)
{
    (void)state;
    each(refuse_compile);
}

static void bad_shapes_are_refused(void **state)
{
    (void)state;
    each(refuse_shapes);
}

static void bad_bindings_are_refused(void **state)
{
    (void)state;
    each(refuse_bindings);
}

static void bad_offsets_are_refused(void **state)
{
    (void)state;
    each(refuse_offsets);
}

static void bad_ranges_are_refused(void **state)
{
    (void)state;
    each(refuse_buffer_ranges);
}

static void failed_allocations_are_errors(void **state)
{
    (void)state;
    each(survive_memory);
}

/* An impossible instruction set, the device's words, and time by operation. */
static void the_table_says_what_it_is(void **state)
{
    bench b;
    prn_error error = PRN_ERROR_INIT;
    prn_device_info info;
    uint32_t count;
    (void)state;
    assert_true(bench_open(&b, 2, "baseline"));
    const prn_host *host = prn__registry_host(b.registry);
    assert_int_equal(b.cpu.backend->devices(host, &info, 1, &count, &error), PRN_OK);
    assert_int_equal(count, 1);
    assert_non_null(strstr(info.name, "2 threads"));
    assert_non_null(strstr(info.detail, "kernels "));
    assert_true(info.memory_bytes > 0);
    assert_string_equal(b.cpu.backend->numerics, "cpu-5");
    assert_string_equal(b.reference.backend->numerics, "reference-1");
    const prn_option_value value = {.struct_size = (uint32_t)sizeof value, .is_given = 1, .string = "avx1024"};
    prn_backend_instance *instance;
    assert_int_equal(b.cpu.backend->open(host, &value, &instance, &error), PRN_UNSUPPORTED);
    assert_null(instance);

    rig r;
    prn_op_time times[4];
    linear_rig(&r, &b.cpu);
    assert_int_equal(rig_compile(&r, &error), PRN_OK);
    assert_int_equal(b.cpu.backend->op_times(b.cpu.instance, times, 4, &count, 1, &error), PRN_OK);
    assert_int_equal(rig_run(&r, &error), PRN_OK);
    assert_int_equal(rig_run(&r, &error), PRN_OK);
    assert_int_equal(b.cpu.backend->op_times(b.cpu.instance, times, 4, &count, 1, &error), PRN_OK);
    assert_int_equal(count, 1);
    assert_int_equal(times[0].kind, PRN_OP_LINEAR);
    assert_int_equal(times[0].calls, 2);
    assert_true(times[0].seconds > 0);
    assert_int_equal(b.cpu.backend->op_times(b.cpu.instance, times, 4, &count, 0, &error), PRN_OK);
    assert_int_equal(count, 0);
    rig_fini(&r);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_programs_are_refused), cmocka_unit_test(bad_shapes_are_refused), cmocka_unit_test(bad_bindings_are_refused),
        cmocka_unit_test(bad_offsets_are_refused), cmocka_unit_test(bad_ranges_are_refused), cmocka_unit_test(failed_allocations_are_errors),
        cmocka_unit_test(the_table_says_what_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
