/* The conformance suite finds a backend that is wrong in one operation, in each way that it promises to find, and blames that operation
 * only. The wrong backends are the cpu one with something done around its calls. */
#include "plugin/support.h"

#include <math.h>

#include "plugin/conformance.h"

typedef enum fault {
    NO_FAULT,
    SLIGHTLY_OFF,     /* one element beyond the stated bound */
    NOT_A_NUMBER,
    WRITES_BEHIND,    /* one element after the output */
    WRITES_BEFORE,
    UNSTEADY,         /* other bits at each run, within the bound */
    IGNORES_ADDING,   /* overwrites where it should add */
    FAILS_WHEN_EMPTY,
    CANNOT_COMPILE,
    CANNOT_RUN,
    SAYS_UNSUPPORTED,
} fault;

static struct {
    const prn_backend *cpu;
    uint32_t kind;
    fault fault;
    const prn_program *program; /* of the executable that was compiled last: the suite has one at a time */
    int64_t runs;
} wrong;

static prn_status wrong_compile(prn_backend_instance *instance, const prn_program *program, prn_executable **executable, prn_error *error)
{
    wrong.program = program;
    if (wrong.fault == CANNOT_COMPILE && program->ops[0].kind == wrong.kind) {
        return prn_error_set(error, PRN_DEVICE, "the compiler is out of order");
    }
    return wrong.cpu->compile(instance, program, executable, error);
}

static int wrong_supports(prn_backend_instance *instance, const prn_program *program, uint32_t op)
{
    return !(wrong.fault == SAYS_UNSUPPORTED && program->ops[op].kind == wrong.kind) && wrong.cpu->supports(instance, program, op);
}

static prn_status poke(prn_backend_instance *instance, prn_buffer *buffer, int64_t at, double factor, double term, prn_error *error)
{
    double value = 0;
    prn_status status = wrong.cpu->buffer_read(instance, buffer, at, PRN_HOST_F64, &value, 1, error);
    value = value * factor + term;
    return status == PRN_OK ? wrong.cpu->buffer_write(instance, buffer, at, PRN_HOST_F64, &value, 1, error) : status;
}

static prn_status wrong_execute(prn_backend_instance *instance, prn_executable *executable, uint32_t segment, const prn_binding *binding, prn_error *error)
{
    const prn_op *op = &wrong.program->ops[0];
    if (op->kind != wrong.kind) {
        return wrong.cpu->execute(instance, executable, segment, binding, error);
    }
    const prn_tensor *y = &wrong.program->tensors[op->output[0]];
    prn_buffer *buffer = binding->buffers[y->slot];
    const int64_t elements = prn_tensor_elements(y, binding->symbol_values), at = y->offset + binding->buffer_offsets[y->slot];
    prn_status status = PRN_OK;
    wrong.runs++;
    if (wrong.fault == CANNOT_RUN || (wrong.fault == FAILS_WHEN_EMPTY && elements == 0)) {
        return prn_error_set(error, PRN_DEVICE, "the device is out of order");
    }
    if (wrong.fault == IGNORES_ADDING && op->attrs.accumulate) {
        for (int64_t e = 0; e < elements && status == PRN_OK; e++) {
            status = poke(instance, buffer, at + e, 0, 0, error);
        }
    }
    if (status == PRN_OK) {
        status = wrong.cpu->execute(instance, executable, segment, binding, error);
    }
    if (status == PRN_OK) {
        status = wrong.cpu->synchronise(instance, error);
    }
    if (status != PRN_OK) {
        return status;
    }
    switch (wrong.fault) {
    case SLIGHTLY_OFF: return elements > 0 ? poke(instance, buffer, at + elements - 1, 1, 0.01, error) : PRN_OK;
    case NOT_A_NUMBER: return elements > 0 ? poke(instance, buffer, at + elements / 2, 0, (double)NAN, error) : PRN_OK;
    case WRITES_BEHIND: return poke(instance, buffer, at + elements, 1, 1, error);
    case WRITES_BEFORE: return poke(instance, buffer, at - 1, 1, 1, error);
    case UNSTEADY: return elements > 0 ? poke(instance, buffer, at, 1 + 3e-7 * (double)(wrong.runs % 2), 0, error) : PRN_OK;
    default: return PRN_OK;
    }
}

typedef struct verdict {
    int64_t failed_here, failed_elsewhere, seen_here;
    const char *op;
    char reason[256];
} verdict;

static void judge(void *context, const prn__conformance_case *result)
{
    verdict *v = context;
    const int here = strcmp(result->op, v->op) == 0;
    v->seen_here += here;
    if (result->supported && !result->passed) {
        *(here ? &v->failed_here : &v->failed_elsewhere) += 1;
        if (v->reason[0] == '\0') {
            (void)snprintf(v->reason, sizeof v->reason, "%s", result->reason);
        }
    }
}

static struct {
    prn__registry *registry;
    prn__device cpu, reference, wrong;
    prn_backend table;
} bench;

static int bench_setup(void **state)
{
    prn_error error = PRN_ERROR_INIT;
    if (group_setup(state) != 0 || prn__registry_create(pool, PRN_BUILD_DIR "/plugins", &bench.registry, &error) != PRN_OK ||
        prn__device_open(bench.registry, "cpu", NULL, 0, &bench.cpu, &error) != PRN_OK ||
        prn__device_open(bench.registry, "reference", NULL, 0, &bench.reference, &error) != PRN_OK) {
        print_error("%s\n", error.message);
        return -1;
    }
    wrong.cpu = bench.cpu.backend;
    bench.table = *bench.cpu.backend;
    bench.table.compile = wrong_compile;
    bench.table.execute = wrong_execute;
    bench.table.supports = wrong_supports;
    bench.wrong = bench.cpu;
    bench.wrong.backend = &bench.table;
    return 0;
}

static int bench_teardown(void **state)
{
    prn__device_close(&bench.reference);
    prn__device_close(&bench.cpu);
    prn__registry_destroy(bench.registry);
    return group_teardown(state);
}

/* Runs the operations whose names contain `filter` with one fault in `kind`. */
static verdict tried(uint32_t kind, const char *op, const char *filter, fault what, prn__conformance_summary *summary)
{
    prn_error error = PRN_ERROR_INIT;
    verdict v = {.op = op};
    wrong.kind = kind;
    wrong.fault = what;
    const int64_t live = prn__alloc_live();
    const prn_status status = prn__conformance_run(&bench.wrong, &bench.reference, filter, judge, &v, summary, &error);
    if (status != PRN_OK) {
        fail_msg("%s", error.message);
    }
    assert_int_equal(prn__alloc_live(), live);
    assert_int_equal(summary->failed, v.failed_here + v.failed_elsewhere);
    assert_int_equal(v.failed_elsewhere, 0); /* blame lies where the fault is */
    assert_true(v.seen_here > 0);
    return v;
}

static void wrong_in_any_way_is_found(void **state)
{
    static const struct {
        uint32_t kind;
        const char *op, *filter;
    } operations[] = {{PRN_OP_LAYER_NORM_GRAD, "layer_norm_grad", "layer_norm"},
                      {PRN_OP_ACTIVATION, "activation", "activation"},
                      {PRN_OP_GATHER_ROWS_GRAD, "gather_rows_grad", "gather_rows"}};
    static const struct {
        fault fault;
        const char *reason;
    } faults[] = {{SLIGHTLY_OFF, "output 0 differs by"},          {NOT_A_NUMBER, "output 0 differs by inf"},
                  {WRITES_BEHIND, "wrote outside output 0"},      {WRITES_BEFORE, "wrote outside output 0 (element -1"},
                  {UNSTEADY, "not the same bytes when run twice"}, {CANNOT_COMPILE, "the compiler is out of order"},
                  {CANNOT_RUN, "the device is out of order"}};
    (void)state;
    for (size_t o = 0; o < sizeof operations / sizeof operations[0]; o++) {
        prn__conformance_summary summary;
        verdict v = tried(operations[o].kind, operations[o].op, operations[o].filter, NO_FAULT, &summary);
        assert_int_equal(v.failed_here, 0);
        assert_int_equal(summary.passed, summary.cases);
        for (size_t f = 0; f < sizeof faults / sizeof faults[0]; f++) {
            v = tried(operations[o].kind, operations[o].op, operations[o].filter, faults[f].fault, &summary);
            if (v.failed_here == 0) {
                fail_msg("%s: '%s' was not found", operations[o].op, faults[f].reason);
            }
            if (strstr(v.reason, faults[f].reason) == NULL) {
                fail_msg("%s: found for '%s', not for '%s'", operations[o].op, v.reason, faults[f].reason);
            }
        }
    }
}

static void overwriting_instead_of_adding_is_found(void **state)
{
    (void)state;
    prn__conformance_summary summary;
    const verdict v = tried(PRN_OP_LINEAR_GRAD_X, "linear_grad_x", "linear_grad_x", IGNORES_ADDING, &summary);
    assert_true(v.failed_here > 0 && v.failed_here < summary.cases); /* those that do not add are right */
    assert_non_null(strstr(v.reason, "output 0 differs"));
}

static void failing_on_nothing_is_found(void **state)
{
    (void)state;
    prn__conformance_summary summary;
    const verdict v = tried(PRN_OP_L2_NORMALISE, "l2_normalise", "l2_normalise", FAILS_WHEN_EMPTY, &summary);
    assert_true(v.failed_here > 0 && v.failed_here < v.seen_here);
    assert_string_equal(v.reason, "the device is out of order");
}

static void unsupported_is_not_failed(void **state)
{
    (void)state;
    prn__conformance_summary summary;
    const verdict v = tried(PRN_OP_EXP, "exp", "exp", SAYS_UNSUPPORTED, &summary);
    assert_int_equal(v.failed_here, 0);
    assert_int_equal(summary.unsupported, v.seen_here);
    assert_int_equal(summary.cases, summary.passed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_in_any_way_is_found),
        cmocka_unit_test(overwriting_instead_of_adding_is_found),
        cmocka_unit_test(failing_on_nothing_is_found),
        cmocka_unit_test(unsupported_is_not_failed),
    };
    return cmocka_run_group_tests(tests, bench_setup, bench_teardown);
}
