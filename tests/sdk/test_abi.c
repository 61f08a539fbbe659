/* tests/sdk/test_abi.c: the layout of everything that crosses the plugin interface, pinned.
 *
 * A row that fails here breaks plugins that people have built. Within one major version a struct may only grow at its end: add rows,
 * change a SIZE, raise PRN_ABI_MINOR; never change the row of a member. The layout is that of 64-bit Linux (LP64).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <perennial/perennial.h>

typedef struct pin {
    const char *type, *member; /* member NULL: the size of the whole */
    size_t offset, size;       /* as they are */
    size_t offset_pinned, size_pinned;
} pin;

#define SIZE(type, bytes) {#type, NULL, 0, sizeof(type), 0, bytes}
#define MEMBER(type, member, at, bytes) {#type, #member, offsetof(type, member), sizeof(((type *)0)->member), at, bytes}

/* clang-format off */
static const pin PINS[] = {
    SIZE(prn_error, 1008),
    MEMBER(prn_error, struct_size, 0, 4),
    MEMBER(prn_error, status, 4, 4),
    MEMBER(prn_error, message, 8, 1000),
    SIZE(prn_dim, 16),
    MEMBER(prn_dim, fixed, 0, 8),
    MEMBER(prn_dim, symbol, 8, 4),
    MEMBER(prn_dim, reserved, 12, 4),
    SIZE(prn_symbol, 16),
    MEMBER(prn_symbol, name, 0, 8),
    MEMBER(prn_symbol, maximum, 8, 8),
    SIZE(prn_slot, 16),
    MEMBER(prn_slot, name, 0, 8),
    MEMBER(prn_slot, type, 8, 4),
    MEMBER(prn_slot, is_written, 12, 4),
    SIZE(prn_tensor, 96),
    MEMBER(prn_tensor, name, 0, 8),
    MEMBER(prn_tensor, type, 8, 4),
    MEMBER(prn_tensor, rank, 12, 4),
    MEMBER(prn_tensor, dim, 16, 64),
    MEMBER(prn_tensor, slot, 80, 4),
    MEMBER(prn_tensor, reserved, 84, 4),
    MEMBER(prn_tensor, offset, 88, 8),
    SIZE(prn_op_attrs, 88),
    MEMBER(prn_op_attrs, activation, 0, 4),
    MEMBER(prn_op_attrs, accumulate, 4, 4),
    MEMBER(prn_op_attrs, transpose_w, 8, 4),
    MEMBER(prn_op_attrs, causal, 12, 4),
    MEMBER(prn_op_attrs, heads, 16, 4),
    MEMBER(prn_op_attrs, positions, 20, 4),
    MEMBER(prn_op_attrs, patch, 24, 4),
    MEMBER(prn_op_attrs, stride, 28, 4),
    MEMBER(prn_op_attrs, mean, 32, 12),
    MEMBER(prn_op_attrs, std, 44, 12),
    MEMBER(prn_op_attrs, alpha, 56, 8),
    MEMBER(prn_op_attrs, beta, 64, 8),
    MEMBER(prn_op_attrs, epsilon, 72, 8),
    MEMBER(prn_op_attrs, decay, 80, 8),
    SIZE(prn_op, 128),
    MEMBER(prn_op, kind, 0, 4),
    MEMBER(prn_op, group, 4, 4),
    MEMBER(prn_op, input, 8, 20),
    MEMBER(prn_op, output, 28, 12),
    MEMBER(prn_op, attrs, 40, 88),
    SIZE(prn_segment, 16),
    MEMBER(prn_segment, name, 0, 8),
    MEMBER(prn_segment, first_op, 8, 4),
    MEMBER(prn_segment, op_count, 12, 4),
    SIZE(prn_program, 88),
    MEMBER(prn_program, struct_size, 0, 4),
    MEMBER(prn_program, reserved, 4, 4),
    MEMBER(prn_program, name, 8, 8),
    MEMBER(prn_program, symbols, 16, 8),
    MEMBER(prn_program, symbol_count, 24, 4),
    MEMBER(prn_program, slot_count, 28, 4),
    MEMBER(prn_program, slots, 32, 8),
    MEMBER(prn_program, tensors, 40, 8),
    MEMBER(prn_program, ops, 48, 8),
    MEMBER(prn_program, segments, 56, 8),
    MEMBER(prn_program, tensor_count, 64, 4),
    MEMBER(prn_program, op_count, 68, 4),
    MEMBER(prn_program, segment_count, 72, 4),
    MEMBER(prn_program, reserved2, 76, 4),
    MEMBER(prn_program, workspace_elements, 80, 8),
    SIZE(prn_host, 64),
    MEMBER(prn_host, struct_size, 0, 4),
    MEMBER(prn_host, abi_major, 4, 2),
    MEMBER(prn_host, abi_minor, 6, 2),
    MEMBER(prn_host, self, 8, 8),
    MEMBER(prn_host, log, 16, 8),
    MEMBER(prn_host, allocate, 24, 8),
    MEMBER(prn_host, release, 32, 8),
    MEMBER(prn_host, thread_count, 40, 8),
    MEMBER(prn_host, parallel_for, 48, 8),
    MEMBER(prn_host, interface_get, 56, 8),
    SIZE(prn_option, 64),
    MEMBER(prn_option, struct_size, 0, 4),
    MEMBER(prn_option, type, 4, 4),
    MEMBER(prn_option, name, 8, 8),
    MEMBER(prn_option, unit, 16, 8),
    MEMBER(prn_option, preset, 24, 8),
    MEMBER(prn_option, choices, 32, 8),
    MEMBER(prn_option, minimum, 40, 8),
    MEMBER(prn_option, maximum, 48, 8),
    MEMBER(prn_option, help, 56, 8),
    SIZE(prn_option_value, 48),
    MEMBER(prn_option_value, struct_size, 0, 4),
    MEMBER(prn_option_value, is_given, 4, 4),
    MEMBER(prn_option_value, integer, 8, 8),
    MEMBER(prn_option_value, real, 16, 8),
    MEMBER(prn_option_value, string, 24, 8),
    MEMBER(prn_option_value, list, 32, 8),
    MEMBER(prn_option_value, list_count, 40, 8),
    SIZE(prn_interface, 16),
    MEMBER(prn_interface, id, 0, 8),
    MEMBER(prn_interface, table, 8, 8),
    SIZE(prn_plugin, 56),
    MEMBER(prn_plugin, struct_size, 0, 4),
    MEMBER(prn_plugin, magic, 4, 4),
    MEMBER(prn_plugin, abi_major, 8, 2),
    MEMBER(prn_plugin, abi_minor, 10, 2),
    MEMBER(prn_plugin, interface_count, 12, 4),
    MEMBER(prn_plugin, name, 16, 8),
    MEMBER(prn_plugin, version, 24, 8),
    MEMBER(prn_plugin, license, 32, 8),
    MEMBER(prn_plugin, summary, 40, 8),
    MEMBER(prn_plugin, interfaces, 48, 8),
    SIZE(prn_device_info, 408),
    MEMBER(prn_device_info, struct_size, 0, 4),
    MEMBER(prn_device_info, index, 4, 4),
    MEMBER(prn_device_info, name, 8, 128),
    MEMBER(prn_device_info, detail, 136, 256),
    MEMBER(prn_device_info, memory_bytes, 392, 8),
    MEMBER(prn_device_info, memory_free_bytes, 400, 8),
    SIZE(prn_binding, 40),
    MEMBER(prn_binding, struct_size, 0, 4),
    MEMBER(prn_binding, slot_count, 4, 4),
    MEMBER(prn_binding, buffers, 8, 8),
    MEMBER(prn_binding, buffer_offsets, 16, 8),
    MEMBER(prn_binding, symbol_values, 24, 8),
    MEMBER(prn_binding, symbol_count, 32, 4),
    MEMBER(prn_binding, reserved, 36, 4),
    SIZE(prn_op_time, 24),
    MEMBER(prn_op_time, kind, 0, 4),
    MEMBER(prn_op_time, reserved, 4, 4),
    MEMBER(prn_op_time, calls, 8, 8),
    MEMBER(prn_op_time, seconds, 16, 8),
    SIZE(prn_execution, 24),
    MEMBER(prn_execution, executable, 0, 8),
    MEMBER(prn_execution, binding, 8, 8),
    MEMBER(prn_execution, segment, 16, 4),
    MEMBER(prn_execution, reserved, 20, 4),
    SIZE(prn_backend, 192),
    MEMBER(prn_backend, struct_size, 0, 4),
    MEMBER(prn_backend, option_count, 4, 4),
    MEMBER(prn_backend, name, 8, 8),
    MEMBER(prn_backend, summary, 16, 8),
    MEMBER(prn_backend, numerics, 24, 8),
    MEMBER(prn_backend, options, 32, 8),
    MEMBER(prn_backend, devices, 40, 8),
    MEMBER(prn_backend, open, 48, 8),
    MEMBER(prn_backend, close, 56, 8),
    MEMBER(prn_backend, buffer_create, 64, 8),
    MEMBER(prn_backend, buffer_destroy, 72, 8),
    MEMBER(prn_backend, buffer_write, 80, 8),
    MEMBER(prn_backend, buffer_read, 88, 8),
    MEMBER(prn_backend, buffer_copy, 96, 8),
    MEMBER(prn_backend, supports, 104, 8),
    MEMBER(prn_backend, compile, 112, 8),
    MEMBER(prn_backend, executable_destroy, 120, 8),
    MEMBER(prn_backend, execute, 128, 8),
    MEMBER(prn_backend, synchronise, 136, 8),
    MEMBER(prn_backend, op_times, 144, 8),
    MEMBER(prn_backend, error_bound, 152, 8),
    MEMBER(prn_backend, instance_error_bound, 160, 8),
    MEMBER(prn_backend, buffer_write_ahead, 168, 8),
    MEMBER(prn_backend, reserved_1_3, 176, 8),
    MEMBER(prn_backend, execute_each, 184, 8),
    SIZE(prn_vectors, 88),
    MEMBER(prn_vectors, struct_size, 0, 4),
    MEMBER(prn_vectors, reserved, 4, 4),
    MEMBER(prn_vectors, self, 8, 8),
    MEMBER(prn_vectors, elements, 16, 8),
    MEMBER(prn_vectors, create, 24, 8),
    MEMBER(prn_vectors, fill, 32, 8),
    MEMBER(prn_vectors, axpby, 40, 8),
    MEMBER(prn_vectors, multiply, 48, 8),
    MEMBER(prn_vectors, dot, 56, 8),
    MEMBER(prn_vectors, read, 64, 8),
    MEMBER(prn_vectors, write, 72, 8),
    MEMBER(prn_vectors, gap_elements, 80, 8),
    SIZE(prn_composer, 80),
    MEMBER(prn_composer, struct_size, 0, 4),
    MEMBER(prn_composer, reserved, 4, 4),
    MEMBER(prn_composer, self, 8, 8),
    MEMBER(prn_composer, logits, 16, 4),
    MEMBER(prn_composer, rows, 20, 4),
    MEMBER(prn_composer, columns, 24, 4),
    MEMBER(prn_composer, log_scale, 28, 4),
    MEMBER(prn_composer, teacher_logits, 32, 4),
    MEMBER(prn_composer, teacher_rows, 36, 4),
    MEMBER(prn_composer, teacher_columns, 40, 4),
    MEMBER(prn_composer, teacher_log_scale, 44, 4),
    MEMBER(prn_composer, weights, 48, 4),
    MEMBER(prn_composer, reserved2, 52, 4),
    MEMBER(prn_composer, operation, 56, 8),
    MEMBER(prn_composer, vector, 64, 8),
    MEMBER(prn_composer, add, 72, 8),
    SIZE(prn_stage, 120),
    MEMBER(prn_stage, struct_size, 0, 4),
    MEMBER(prn_stage, time_step, 4, 4),
    MEMBER(prn_stage, self, 8, 8),
    MEMBER(prn_stage, steps, 16, 8),
    MEMBER(prn_stage, step, 24, 8),
    MEMBER(prn_stage, vectors, 32, 8),
    MEMBER(prn_stage, weights, 40, 8),
    MEMBER(prn_stage, gradient, 48, 8),
    MEMBER(prn_stage, scratch, 56, 8),
    MEMBER(prn_stage, load_weights, 64, 8),
    MEMBER(prn_stage, keep, 72, 8),
    MEMBER(prn_stage, load_kept, 80, 8),
    MEMBER(prn_stage, data_gradient, 88, 8),
    MEMBER(prn_stage, memory_gradient, 96, 8),
    MEMBER(prn_stage, score, 104, 8),
    MEMBER(prn_stage, note, 112, 8),
    SIZE(prn_time_step, 24),
    MEMBER(prn_time_step, struct_size, 0, 4),
    MEMBER(prn_time_step, index, 4, 4),
    MEMBER(prn_time_step, name, 8, 8),
    MEMBER(prn_time_step, samples, 16, 8),
    SIZE(prn_time_line, 24),
    MEMBER(prn_time_line, struct_size, 0, 4),
    MEMBER(prn_time_line, step_count, 4, 4),
    MEMBER(prn_time_line, steps, 8, 8),
    MEMBER(prn_time_line, budget_samples, 16, 8),
    SIZE(prn_source, 24),
    MEMBER(prn_source, time_step, 0, 4),
    MEMBER(prn_source, reserved, 4, 4),
    MEMBER(prn_source, max_samples, 8, 8),
    MEMBER(prn_source, weight, 16, 8),
    SIZE(prn_stage_request, 104),
    MEMBER(prn_stage_request, struct_size, 0, 4),
    MEMBER(prn_stage_request, start_step, 4, 4),
    MEMBER(prn_stage_request, budget_multiple, 8, 8),
    MEMBER(prn_stage_request, sources, 16, 8),
    MEMBER(prn_stage_request, source_capacity, 24, 4),
    MEMBER(prn_stage_request, source_count, 28, 4),
    MEMBER(prn_stage_request, keep_optimizer, 32, 4),
    MEMBER(prn_stage_request, start_from, 36, 4),
    MEMBER(prn_stage_request, hooks, 40, 4),
    MEMBER(prn_stage_request, teacher, 44, 4),
    MEMBER(prn_stage_request, memory_sources, 48, 8),
    MEMBER(prn_stage_request, memory_source_count, 56, 4),
    MEMBER(prn_stage_request, evaluate, 60, 4),
    MEMBER(prn_stage_request, memory_batch, 64, 8),
    MEMBER(prn_stage_request, finish_gradient_batches, 72, 8),
    MEMBER(prn_stage_request, finish_scores, 80, 8),
    MEMBER(prn_stage_request, finish_set, 88, 8),
    MEMBER(prn_stage_request, kept_vectors, 96, 8),
    SIZE(prn_strategy, 96),
    MEMBER(prn_strategy, struct_size, 0, 4),
    MEMBER(prn_strategy, option_count, 4, 4),
    MEMBER(prn_strategy, name, 8, 8),
    MEMBER(prn_strategy, summary, 16, 8),
    MEMBER(prn_strategy, options, 24, 8),
    MEMBER(prn_strategy, open, 32, 8),
    MEMBER(prn_strategy, close, 40, 8),
    MEMBER(prn_strategy, plan, 48, 8),
    MEMBER(prn_strategy, compose_loss, 56, 8),
    MEMBER(prn_strategy, compose_memory_loss, 64, 8),
    MEMBER(prn_strategy, compose_penalty, 72, 8),
    MEMBER(prn_strategy, change_gradient, 80, 8),
    MEMBER(prn_strategy, finish, 88, 8),
};
/* clang-format on */

enum { PIN_COUNT = sizeof PINS / sizeof PINS[0] };

static void layouts_are_as_pinned(void **state)
{
    (void)state;
    int wrong = 0;
    for (size_t i = 0; i < PIN_COUNT; i++) {
        const pin *p = &PINS[i];
        if (p->offset != p->offset_pinned || p->size != p->size_pinned) {
            print_error("%s%s%s: offset %zu, size %zu, but pinned are offset %zu, size %zu\n", p->type, p->member != NULL ? "." : "",
                        p->member != NULL ? p->member : "", p->offset, p->size, p->offset_pinned, p->size_pinned);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
}

/* Members follow each other without holes, so every member is in the table, and no byte that crosses is left unset. */
static void no_member_is_missing(void **state)
{
    (void)state;
    size_t end = 0, whole = 0;
    const char *type = "";
    for (size_t i = 0; i <= PIN_COUNT; i++) {
        if (i == PIN_COUNT || PINS[i].member == NULL) {
            if (end != whole) {
                fail_msg("%s has %zu bytes, but its pinned members end at %zu; add the members that are missing (padding is spelled out"
                         " as 'reserved')", type, whole, end);
            }
            if (i < PIN_COUNT) {
                type = PINS[i].type;
                whole = PINS[i].size;
                end = 0;
            }
            continue;
        }
        assert_string_equal(PINS[i].type, type);
        if (PINS[i].offset != end) {
            fail_msg("%s.%s lies at %zu, but the member before it ends at %zu", type, PINS[i].member, PINS[i].offset, end);
        }
        end = PINS[i].offset + PINS[i].size;
    }
}

/* These begin with their size, which is how a host and a plugin of different ages agree. */
static void sizes_come_first(void **state)
{
    (void)state;
    static const char *const sized[] = {"prn_error", "prn_program", "prn_host", "prn_option", "prn_option_value", "prn_plugin", "prn_device_info",
                                        "prn_binding", "prn_backend", "prn_time_step", "prn_time_line", "prn_stage_request", "prn_strategy",
                                        "prn_vectors", "prn_composer", "prn_stage"};
    for (size_t s = 0; s < sizeof sized / sizeof sized[0]; s++) {
        size_t i = 0;
        while (i < PIN_COUNT && (strcmp(PINS[i].type, sized[s]) != 0 || PINS[i].member == NULL)) {
            i++;
        }
        if (i == PIN_COUNT) {
            fail_msg("%s is not pinned", sized[s]);
        }
        assert_string_equal(PINS[i].member, "struct_size");
        assert_int_equal(PINS[i].offset, 0);
        assert_int_equal(PINS[i].size, 4);
    }
}

typedef struct value {
    const char *name;
    long got, pinned;
} value;
#define VALUE(name, number) {#name, (long)(name), number}

/* clang-format off */
static const value VALUES[] = {
    VALUE(PRN_ABI_MAJOR, 1), VALUE(PRN_PLUGIN_MAGIC, 0x314e5250),
    VALUE(PRN_OK, 0), VALUE(PRN_INVALID, 1), VALUE(PRN_NOT_FOUND, 2), VALUE(PRN_NO_MEMORY, 3), VALUE(PRN_IO, 4), VALUE(PRN_CORRUPT, 5),
    VALUE(PRN_UNSUPPORTED, 6), VALUE(PRN_VERSION, 7), VALUE(PRN_CONFLICT, 8), VALUE(PRN_NUMERIC, 9), VALUE(PRN_INTERRUPTED, 10),
    VALUE(PRN_DEVICE, 11), VALUE(PRN_END, 12), VALUE(PRN_INTERNAL, 13),
    VALUE(PRN_REAL, 1), VALUE(PRN_I32, 2), VALUE(PRN_U8, 3), VALUE(PRN_BF16, 4),
    VALUE(PRN_ACT_NONE, 0), VALUE(PRN_ACT_GELU, 1), VALUE(PRN_ACT_QUICK_GELU, 2),
    VALUE(PRN_LOG_DEBUG, 0), VALUE(PRN_LOG_INFO, 1), VALUE(PRN_LOG_WARNING, 2), VALUE(PRN_LOG_ERROR, 3),
    VALUE(PRN_OPTION_BOOL, 1), VALUE(PRN_OPTION_INTEGER, 2), VALUE(PRN_OPTION_REAL, 3), VALUE(PRN_OPTION_STRING, 4),
    VALUE(PRN_OPTION_CHOICE, 5), VALUE(PRN_OPTION_REAL_LIST, 6),
    VALUE(PRN_HOST_F32, 1), VALUE(PRN_HOST_F64, 2), VALUE(PRN_HOST_I32, 3), VALUE(PRN_HOST_U8, 4),
    VALUE(PRN_MAX_RANK, 4), VALUE(PRN_NO_SYMBOL, -1), VALUE(PRN_NO_TENSOR, -1), VALUE(PRN_SLOT_WORKSPACE, 0),
    VALUE(PRN_OP_MAX_INPUTS, 5), VALUE(PRN_OP_MAX_OUTPUTS, 3), VALUE(PRN_START_RANDOM, 0), VALUE(PRN_ERROR_MESSAGE_BYTES, 1000),
    VALUE(PRN_WEIGHTS_DEPLOYED, 0), VALUE(PRN_WEIGHTS_TRAINED, 1), VALUE(PRN_HOOK_TRAIN, 1), VALUE(PRN_HOOK_FINISH, 2),
    VALUE(PRN_TEACHER_NONE, 0), VALUE(PRN_TEACHER_INITIAL, 1), VALUE(PRN_TEACHER_AFTER(1), 2), VALUE(PRN_SOURCE_REFERENCE, 0),
    VALUE(PRN_OP_PATCHES, 1), VALUE(PRN_OP_LINEAR, 2), VALUE(PRN_OP_LAYER_NORM, 3), VALUE(PRN_OP_ATTENTION, 4), VALUE(PRN_OP_LOOKUP, 5),
    VALUE(PRN_OP_CLASS_ROWS, 6), VALUE(PRN_OP_GATHER_ROWS, 7), VALUE(PRN_OP_L2_NORMALISE, 8), VALUE(PRN_OP_SIMILARITY, 9),
    VALUE(PRN_OP_CROSS_ENTROPY, 10), VALUE(PRN_OP_SOFT_CROSS_ENTROPY, 11), VALUE(PRN_OP_ACTIVATION, 12), VALUE(PRN_OP_AXPBY, 13),
    VALUE(PRN_OP_MULTIPLY, 14), VALUE(PRN_OP_EXP, 15), VALUE(PRN_OP_SUM, 16), VALUE(PRN_OP_DOT, 17), VALUE(PRN_OP_FILL, 18),
    VALUE(PRN_OP_CLAMP, 19), VALUE(PRN_OP_READ_ATTENTION, 20), VALUE(PRN_OP_LINEAR_GRAD_X, 32), VALUE(PRN_OP_LINEAR_GRAD_W, 33),
    VALUE(PRN_OP_ACTIVATION_GRAD, 34),
    VALUE(PRN_OP_LAYER_NORM_GRAD, 35), VALUE(PRN_OP_ATTENTION_GRAD, 36), VALUE(PRN_OP_LOOKUP_GRAD, 37),
    VALUE(PRN_OP_CLASS_ROWS_GRAD, 38), VALUE(PRN_OP_GATHER_ROWS_GRAD, 39), VALUE(PRN_OP_L2_NORMALISE_GRAD, 40),
    VALUE(PRN_OP_SIMILARITY_GRAD, 41), VALUE(PRN_OP_CROSS_ENTROPY_GRAD, 42), VALUE(PRN_OP_SOFT_CROSS_ENTROPY_GRAD, 43),
    VALUE(PRN_OP_BROADCAST, 44), VALUE(PRN_OP_READ_ATTENTION_GRAD, 45), VALUE(PRN_OP_ADAMW, 64),
};
/* clang-format on */

static void numbers_are_as_pinned(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof VALUES / sizeof VALUES[0]; i++) {
        if (VALUES[i].got != VALUES[i].pinned) {
            fail_msg("%s is %ld, but pinned is %ld", VALUES[i].name, VALUES[i].got, VALUES[i].pinned);
        }
    }
    assert_string_equal(PRN_PLUGIN_SYMBOL, "perennial_plugin");
    assert_string_equal(PRN_BACKEND_INTERFACE, "perennial.backend/1");
    assert_string_equal(PRN_STRATEGY_INTERFACE, "perennial.strategy/1");
}

/* Operations and statuses are lists that only grow: their numbers are used once. */
static void numbers_are_used_once(void **state)
{
    (void)state;
    static const int ops[] = {
#define OP_VALUE(code, value, name, inputs, outputs) value,
        PRN_OP_LIST(OP_VALUE)
    };
    static const int statuses[] = {
#define STATUS_VALUE(code, value, text) value,
        PRN_STATUS_LIST(STATUS_VALUE)
    };
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        for (size_t k = 0; k < i; k++) {
            assert_int_not_equal(ops[i], ops[k]);
        }
    }
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        assert_int_equal(statuses[i], (int)i);
        assert_string_not_equal(prn_status_name((prn_status)statuses[i]), "UNKNOWN");
    }
    assert_string_equal(prn_status_name((prn_status)999), "UNKNOWN");
    assert_string_equal(prn_status_text(PRN_CORRUPT), "corrupt data");
}

static void messages_are_cut_not_overrun(void **state)
{
    (void)state;
    struct {
        prn_error error;
        char guard[16];
    } box = {PRN_ERROR_INIT, "intact"};
    char longest[3000];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(prn_error_set(&box.error, PRN_IO, "%s", longest), PRN_IO);
    assert_int_equal(strlen(box.error.message), PRN_ERROR_MESSAGE_BYTES - 1);
    assert_int_equal(prn_error_context(&box.error, PRN_IO, "%s", "where"), PRN_IO);
    assert_memory_equal(box.error.message, "where: xxx", 10);
    assert_int_equal(strlen(box.error.message), PRN_ERROR_MESSAGE_BYTES - 1);
    assert_int_equal(prn_error_context(&box.error, PRN_CORRUPT, "%s", longest), PRN_CORRUPT);
    assert_int_equal(strlen(box.error.message), PRN_ERROR_MESSAGE_BYTES - 1);
    assert_string_equal(box.guard, "intact");
    (void)prn_error_set(&box.error, PRN_INVALID, "tail");
    (void)prn_error_context(&box.error, PRN_INVALID, "%s", "head");
    assert_string_equal(box.error.message, "head: tail");
    assert_int_equal(prn_error_set(NULL, PRN_END, "nowhere"), PRN_END);
    assert_int_equal(prn_error_context(NULL, PRN_END, "nowhere"), PRN_END);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layouts_are_as_pinned), cmocka_unit_test(no_member_is_missing),  cmocka_unit_test(sizes_come_first),
        cmocka_unit_test(numbers_are_as_pinned), cmocka_unit_test(numbers_are_used_once), cmocka_unit_test(messages_are_cut_not_overrun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
