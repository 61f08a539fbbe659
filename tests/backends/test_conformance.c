/* tests/backends/test_conformance.c: the cpu backend passes the suite with every instruction set that this processor has, and the
 * suite can fail: a backend that states too small a bound, and one that computes something else, are found out. */
#include "backends/support.h"

#include "plugin/conformance.h"

typedef struct tally {
    char first[512]; /* the first failing case */
    int64_t kinds_seen;
    char last_op[64];
} tally;

static void note(void *context, const prn__conformance_case *result)
{
    tally *t = context;
    if (strcmp(t->last_op, result->op) != 0) {
        t->kinds_seen++;
        (void)snprintf(t->last_op, sizeof t->last_op, "%s", result->op);
    }
    if (!result->passed && result->supported) {
        print_message("FAIL %s %s: %s (error %.3g, bound %.3g)\n", result->op, result->text, result->reason, result->error, result->bound);
        if (t->first[0] == '\0') {
            (void)snprintf(t->first, sizeof t->first, "%s: %s", result->op, result->reason);
        }
    }
}

/* `filter` NULL: all kinds, of which there are many cases. */
static void run_as(const char *isa, const char *precision, const char *filter)
{
    bench b;
    if (!bench_open_as(&b, 2, isa, precision)) {
        print_message("SKIP: this processor lacks %s\n", isa);
        bench_close(&b);
        return;
    }
    prn_error error = PRN_ERROR_INIT;
    prn__conformance_summary summary;
    tally t = {.first = ""};
    assert_int_equal(prn__conformance_run(&b.cpu, &b.reference, filter, note, &t, &summary, &error), PRN_OK);
    print_message("cpu isa=%s, %s: %lld cases, %lld passed, %lld failed, %lld unsupported\n", isa, precision, (long long)summary.cases,
                  (long long)summary.passed, (long long)summary.failed, (long long)summary.unsupported);
    assert_int_equal(summary.failed, 0);
    assert_int_equal(summary.unsupported, 0);
    assert_true(summary.cases > (filter == NULL ? 600 : 60));
    bench_close(&b);
}

static void baseline_passes(void **state)
{
    (void)state;
    run_as("baseline", "fp32", NULL);
    run_as("baseline", "bf16", NULL);
}

static void avx2_passes(void **state)
{
    (void)state;
    run_as("avx2", "fp32", NULL);
    run_as("avx2", "bf16", "linear");
    run_as("avx2", "bf16", "attention");
}

static void avx512_passes(void **state)
{
    (void)state;
    run_as("avx512", "fp32", NULL);
    run_as("avx512", "bf16", "linear");
    run_as("avx512", "bf16", "attention");
}

static void every_kind_has_cases(void **state)
{
    bench b;
    (void)state;
    (void)bench_open(&b, 1, NULL);
#define HAS_CASES(code, value, name, inputs, outputs)                                                                      \
    {                                                                                                                      \
        prn__conformance_summary summary;                                                                                  \
        prn_error error = PRN_ERROR_INIT;                                                                                  \
        assert_int_equal(prn__conformance_run(&b.reference, &b.reference, name, NULL, NULL, &summary, &error), PRN_OK);    \
        assert_true(summary.cases > 4);                                                                                    \
        assert_int_equal(summary.failed, 0);                                                                               \
    }
    PRN_OP_LIST(HAS_CASES)
#undef HAS_CASES
    prn_error error = PRN_ERROR_INIT;
    prn__conformance_summary summary;
    assert_int_equal(prn__conformance_run(&b.cpu, &b.reference, "convolution", NULL, NULL, &summary, &error), PRN_NOT_FOUND);
    assert_non_null(strstr(error.message, "convolution"));
    bench_close(&b);
}

static prn_status (*cpu_each)(prn_backend_instance *, const prn_execution *, uint32_t, prn_error *);

static void no_error(uint32_t kind, double *absolute, double *relative)
{
    (void)kind;
    *absolute = *relative = 0;
}

static prn_status do_nothing(prn_backend_instance *instance, prn_executable *executable, uint32_t segment, const prn_binding *binding, prn_error *error)
{
    (void)instance;
    (void)executable;
    (void)segment;
    (void)binding;
    (void)error;
    return PRN_OK;
}

/* Leaves out the last. */
static prn_status do_fewer(prn_backend_instance *instance, const prn_execution *executions, uint32_t count, prn_error *error)
{
    return count > 1 ? cpu_each(instance, executions, count - 1, error) : PRN_OK;
}

static void the_suite_can_fail(void **state)
{
    bench b;
    (void)state;
    (void)bench_open(&b, 1, NULL);
    prn_error error = PRN_ERROR_INIT;
    prn__conformance_summary summary;
    prn_backend wrong = *b.cpu.backend;
    prn__device device = b.cpu;
    device.backend = &wrong;
    wrong.error_bound = no_error;
    wrong.instance_error_bound = NULL;
    assert_int_equal(prn__conformance_run(&device, &b.reference, "layer_norm", NULL, NULL, &summary, &error), PRN_OK);
    assert_true(summary.failed > summary.cases / 2);
    wrong = *b.cpu.backend;
    wrong.execute = do_nothing;
    assert_int_equal(prn__conformance_run(&device, &b.reference, "linear", NULL, NULL, &summary, &error), PRN_OK);
    assert_true(summary.failed > summary.cases / 2); /* empty cases pass */
    wrong = *b.cpu.backend;
    cpu_each = wrong.execute_each;
    wrong.execute_each = do_fewer;
    tally t = {.first = ""};
    assert_int_equal(prn__conformance_run(&device, &b.reference, "linear", note, &t, &summary, &error), PRN_OK);
    assert_true(summary.failed > summary.cases / 2);
    assert_non_null(strstr(t.first, "execute_each"));
    wrong.error_bound = NULL;
    assert_int_equal(prn__conformance_run(&device, &b.reference, NULL, NULL, NULL, &summary, &error), PRN_UNSUPPORTED);
    bench_close(&b);
}

static void memory_failures_are_errors(void **state)
{
    bench b;
    int64_t n = 1;
    (void)state;
    (void)bench_open(&b, 1, NULL);
    const int64_t live = prn__alloc_live();
    for (;; n += 1 + n / 16) {
        prn_error error = PRN_ERROR_INIT;
        prn__conformance_summary summary;
        prn__alloc_fail_at(n);
        const prn_status status = prn__conformance_run(&b.cpu, &b.reference, "clamp", NULL, NULL, &summary, &error);
        const int64_t left = prn__alloc_live();
        prn__alloc_fail_at(0);
        assert_int_equal(left, live);
        if (status == PRN_OK && summary.failed == 0) {
            break; /* the failure lay beyond the last allocation */
        }
        assert_true(status == PRN_NO_MEMORY || summary.failed > 0);
    }
    assert_true(n > 20);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(baseline_passes), cmocka_unit_test(avx2_passes), cmocka_unit_test(avx512_passes), cmocka_unit_test(every_kind_has_cases),
        cmocka_unit_test(the_suite_can_fail), cmocka_unit_test(memory_failures_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
