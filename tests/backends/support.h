/* tests/backends/support.h: opening the bundled backends of the build tree, and programs of a few operations. */
#ifndef PRN_TESTS_BACKENDS_SUPPORT_H
#define PRN_TESTS_BACKENDS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "plugin/registry.h"

typedef struct bench {
    prn__pool *pool;
    prn__registry *registry;
    prn__device reference, cpu;
} bench;

/* `isa` NULL for auto, `precision` too. Returns 0 when this processor lacks it. */
static inline int bench_open_as(bench *b, uint32_t threads, const char *isa, const char *precision)
{
    prn_error error = PRN_ERROR_INIT;
    const prn__option_pair options[] = {{"isa", isa != NULL ? isa : "auto"}, {"precision", precision != NULL ? precision : "fp32"}};
    memset(b, 0, sizeof *b);
    assert_int_equal(prn__pool_create(threads, NULL, &b->pool, &error), PRN_OK);
    if (prn__registry_create(b->pool, PRN_BUILD_DIR "/plugins", &b->registry, &error) != PRN_OK ||
        prn__device_open(b->registry, "reference", NULL, 0, &b->reference, &error) != PRN_OK) {
        fail_msg("%s", error.message);
    }
    prn_status status = prn__device_open(b->registry, "cpu", options, 2, &b->cpu, &error);
    if (status != PRN_OK && (status != PRN_UNSUPPORTED || strstr(error.message, "isa=") == NULL)) {
        fail_msg("%s", error.message); /* anything but a missing instruction set, such as a matrix library that is not thread-safe */
    }
    return status == PRN_OK;
}

static inline int bench_open(bench *b, uint32_t threads, const char *isa)
{
    return bench_open_as(b, threads, isa, NULL);
}

static inline void bench_close(bench *b)
{
    prn__device_close(&b->cpu);
    prn__device_close(&b->reference);
    prn__registry_destroy(b->registry);
    prn__pool_destroy(b->pool);
}

/* A program of one operation whose operands each have a slot; dimensions are fixed. */
typedef struct rig {
    const prn__device *device;
    prn_tensor tensors[8];
    prn_slot slots[9];
    prn_buffer *buffers[9];
    prn_op op;
    prn_segment segment;
    prn_program program;
    prn_executable *executable;
} rig;

static inline void rig_init(rig *r, const prn__device *device, uint32_t kind)
{
    memset(r, 0, sizeof *r);
    r->device = device;
    r->op.kind = kind;
    r->slots[0] = (prn_slot){"workspace", PRN_REAL, 0};
    for (int i = 0; i < 8; i++) {
        *(i < 5 ? &r->op.input[i] : &r->op.output[i - 5]) = PRN_NO_TENSOR;
        r->slots[i + 1] = (prn_slot){"operand", PRN_REAL, i >= 5};
        r->tensors[i] = (prn_tensor){.name = "operand", .type = PRN_REAL, .slot = i + 1};
    }
}

/* Operand `i` (0..4 inputs, 5..7 outputs) of the given shape; sizes below 0 end it. */
static inline void rig_operand(rig *r, int i, prn_type type, int64_t d0, int64_t d1, int64_t d2, int64_t d3)
{
    const int64_t sizes[4] = {d0, d1, d2, d3};
    r->tensors[i].type = r->slots[i + 1].type = (uint32_t)type;
    for (int d = 0; d < 4 && sizes[d] >= 0; d++) {
        r->tensors[i].dim[d] = (prn_dim){sizes[d], PRN_NO_SYMBOL, 0};
        r->tensors[i].rank = (uint32_t)d + 1;
    }
    *(i < 5 ? &r->op.input[i] : &r->op.output[i - 5]) = i;
}

static inline int64_t rig_elements(const rig *r, int i)
{
    for (uint32_t d = 0; d < r->tensors[i].rank; d++) {
        if (r->tensors[i].dim[d].symbol != PRN_NO_SYMBOL) {
            return 0; /* a flaw that a test has put there */
        }
    }
    return prn_tensor_elements(&r->tensors[i], NULL);
}

static inline prn_status rig_compile(rig *r, prn_error *error)
{
    const prn_backend *b = r->device->backend;
    r->segment = (prn_segment){"forward", 0, 1};
    r->program = (prn_program){.struct_size = (uint32_t)sizeof(prn_program), .name = "rig", .slot_count = 9, .slots = r->slots, .tensors = r->tensors,
                               .ops = &r->op, .segments = &r->segment, .tensor_count = 8, .op_count = 1, .segment_count = 1};
    for (int i = 0; i < 9; i++) {
        const int used = i > 0 && (i <= 5 ? r->op.input[i - 1] : r->op.output[i - 6]) != PRN_NO_TENSOR;
        assert_int_equal(b->buffer_create(r->device->instance, (prn_type)r->slots[i].type, used ? rig_elements(r, i - 1) : 0, "test", &r->buffers[i], error),
                         PRN_OK);
    }
    return b->compile(r->device->instance, &r->program, &r->executable, error);
}

static inline void rig_write(rig *r, int i, prn_host_type type, const void *values)
{
    prn_error error = PRN_ERROR_INIT;
    assert_int_equal(r->device->backend->buffer_write(r->device->instance, r->buffers[i + 1], 0, type, values, rig_elements(r, i), &error), PRN_OK);
}

static inline void rig_read(rig *r, int i, prn_host_type type, void *values)
{
    prn_error error = PRN_ERROR_INIT;
    assert_int_equal(r->device->backend->buffer_read(r->device->instance, r->buffers[i + 1], 0, type, values, rig_elements(r, i), &error), PRN_OK);
}

static inline prn_status rig_run(rig *r, prn_error *error)
{
    const prn_binding binding = {.struct_size = (uint32_t)sizeof binding, .slot_count = 9, .buffers = r->buffers};
    prn_status status = r->device->backend->execute(r->device->instance, r->executable, 0, &binding, error);
    return status == PRN_OK ? r->device->backend->synchronise(r->device->instance, error) : status;
}

static inline void rig_fini(rig *r)
{
    r->device->backend->executable_destroy(r->device->instance, r->executable);
    for (int i = 0; i < 9; i++) {
        r->device->backend->buffer_destroy(r->device->instance, r->buffers[i]);
    }
    memset(r, 0, sizeof *r);
}

#endif
