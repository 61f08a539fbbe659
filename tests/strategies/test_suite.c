/* The strategy suite: bundled strategies pass it, and each strategy that is made wrong in one way fails the check that is for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/pool.h"
#include "suite/strategy_ask.h"
#include "suite/strategy_suite.h"

/* Two strategies leak on purpose; a leak checker is to speak of others only. */
const char *__lsan_default_suppressions(void);
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void)
{
    return "leak:broken-strategies/leak.so\nleak:broken-strategies/losing.so\n";
}

static prn__pool *pool;
static prn__registry *registry;

/* Its many small files are synced: in memory, where there is such a folder, that costs nothing. */
static void use_memory(void)
{
    (void)(access("/dev/shm", W_OK) == 0 ? setenv("TMPDIR", "/dev/shm", 1) : unsetenv("TMPDIR"));
}

typedef struct seen {
    struct {
        const char *name;
        prn__suite_outcome outcome;
        char reason[PRN_ERROR_MESSAGE_BYTES];
    } checks[32];
    size_t count, announced;
    int64_t stop_at;
} seen;

static void on_check(void *context, const prn__suite_check *check)
{
    seen *s = context;
    assert_true(s->count < 32);
    assert_true(check->meaning[0] != '\0');
    s->checks[s->count].name = check->name;
    s->checks[s->count].outcome = check->outcome;
    (void)snprintf(s->checks[s->count].reason, sizeof s->checks[0].reason, "%s", check->reason);
    s->count++;
}

static void on_work(void *context, const char *name)
{
    assert_non_null(name);
    ((seen *)context)->announced++;
}

static int on_stop(void *context)
{
    seen *s = context;
    if (s->stop_at > 1) {
        s->stop_at--;
        return 0;
    }
    return s->stop_at == 1; /* once it is said, it stays said */
}

static prn_status run_suite(const char *strategy, const char *backend, const prn__option_pair *given, size_t count, seen *s, prn__suite_summary *summary,
                            prn_error *error)
{
    const prn__suite_options options = {.backend = backend, .given = given, .given_count = count, .report = on_check, .work = on_work,
                                        .should_stop = on_stop, .context = s};
    const int64_t live = prn__alloc_live();
    prn_status status = prn__strategy_suite_run(registry, strategy, &options, summary, error);
    if (status == PRN_OK) {
        assert_int_equal(summary->passed + summary->failed + summary->skipped, (int64_t)s->count);
    }
    if (strstr(strategy, "leak") == NULL && strcmp(strategy, "losing") != 0) { /* those leave what they leave */
        assert_int_equal(prn__alloc_live(), live);
    }
    return status;
}

static void passes(const char *strategy, const char *backend, const prn__option_pair *given, size_t count)
{
    prn_error error = PRN_ERROR_INIT;
    prn__suite_summary summary;
    seen s = {.count = 0};
    if (run_suite(strategy, backend, given, count, &s, &summary, &error) != PRN_OK) {
        fail_msg("%s: %s", strategy, error.message);
    }
    for (size_t i = 0; i < s.count; i++) {
        if (s.checks[i].outcome == PRN__SUITE_FAILED) {
            fail_msg("%s fails '%s': %s", strategy, s.checks[i].name, s.checks[i].reason);
        }
    }
    assert_int_equal(summary.failed, 0);
    assert_true(summary.passed >= 10);
}

/* The check `name` fails, and its reason holds `word`; `others`: checks that may fail with it, separated by blanks. */
static void fails(const char *strategy, const char *name, const char *word, const char *others)
{
    prn_error error = PRN_ERROR_INIT;
    prn__suite_summary summary;
    int found = 0;
    seen s = {.count = 0};
    if (run_suite(strategy, NULL, NULL, 0, &s, &summary, &error) != PRN_OK) {
        fail_msg("%s: %s", strategy, error.message);
    }
    for (size_t i = 0; i < s.count; i++) {
        const int is_expected = strcmp(s.checks[i].name, name) == 0;
        if (is_expected && (s.checks[i].outcome != PRN__SUITE_FAILED || strstr(s.checks[i].reason, word) == NULL)) {
            fail_msg("%s: '%s' has outcome %d and says '%s', which lacks '%s'", strategy, name, (int)s.checks[i].outcome, s.checks[i].reason, word);
        }
        if (!is_expected && s.checks[i].outcome == PRN__SUITE_FAILED && strstr(others, s.checks[i].name) == NULL) {
            fail_msg("%s also fails '%s': %s", strategy, s.checks[i].name, s.checks[i].reason);
        }
        found |= is_expected;
    }
    assert_true(found);
}

/* ---- bundled strategies ---- */

static void test_bundled(void **state)
{
    static const char *const names[] = {"agem", "cumulative", "ewc", "lwf", "merge", "oracle", "patching", "replay", "restart", "sequential", "zscl"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        passes(names[i], NULL, NULL, 0);
    }
}

static void test_bundled_reference(void **state)
{
    (void)state;
    passes("ewc", "reference", NULL, 0);
    passes("agem", "reference", (const prn__option_pair[]){{"memory_batch", "8"}}, 1);
}

static void test_bundled_options(void **state)
{
    (void)state;
    passes("patching", NULL, (const prn__option_pair[]){{"grid", "0.2,0.8"}, {"validation", "it's held out"}}, 2);
    passes("merge", NULL, (const prn__option_pair[]){{"method", "ties"}, {"start", "initial"}, {"deploy", "trained"}}, 3);
    passes("merge", NULL, (const prn__option_pair[]){{"method", "task_arithmetic"}, {"start", "merged"}}, 2);
    passes("merge", NULL, (const prn__option_pair[]){{"method", "ties"}, {"start", "merged"}, {"base", "initial"}}, 3);
    passes("zscl", NULL, (const prn__option_pair[]){{"reference", "past"}, {"teacher", "initial"}, {"memory_batch", "6"}}, 3);
    passes("zscl", NULL, (const prn__option_pair[]){{"reference", "stream"}, {"teacher", "initial"}}, 2);
    passes("cumulative", NULL, (const prn__option_pair[]){{"budget_multiples", "1,1.5,2"}}, 1);
    passes("replay", NULL, (const prn__option_pair[]){{"rule", "reservoir"}, {"mix", "0,0.5,0.25"}, {"size", "30"}, {"unit", "samples"}}, 4);
}

/* ---- broken ones ---- */

static void test_whole(void **state)
{
    (void)state;
    passes("whole", NULL, NULL, 0);
    passes("older", NULL, NULL, 0); /* a plugin that cannot declare what it keeps may keep it */
}

static void test_options(void **state)
{
    (void)state;
    fails("no_help", "options", "share has no help", "");
    fails("silent", "options", "share = 1 is refused (INVALID) without a message", "");
}

static void test_plans(void **state)
{
    (void)state;
    fails("random", "deterministic", "its budget", "past");
    fails("counting", "deterministic", "where it starts from", "");
    fails("future", "past", "at time step 1 it wants the data of step 2", "plan");
    fails("future", "plan", "data of step 2, and only steps 1 to 1 have arrived", "past");
    fails("peeking", "past", "at time step 1 of 7: its data", "");
    fails("refusing", "plan", "no second step", "");
    fails("teacherless", "past", "a model that is not there yet", "plan");
}

static void test_memory(void **state)
{
    (void)state;
    fails("leak", "leaks", "blocks of the host's memory are left after `open`", "");
    fails("losing", "leaks", "after `finish` of time step 1, in which failed: ", "");
    fails("deaf", "failures", "goes on although the host had no memory", "");
    fails("swallowing", "failures", "`finish` of time step 2 says all is well although `load_weights` failed", "");
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    fails("malloc", "leaks", "bytes of the C library's memory", "");
#endif
}

static void test_losses(void **state)
{
    (void)state;
    fails("shape", "loss", "strategy 'shape', time step 2 (2), composing its loss: program", "");
    fails("compose", "loss", "composing its loss: this loss is for nobody", "");
    fails("nan_loss", "training", "time step 2 (2), strategy nan_loss", "");
    fails("nan_finish", "training", "strategy 'nan_finish', time step 1 (1), finishing: the deployed weights are not finite", "");
}

static void test_cost(void **state)
{
    (void)state;
    fails("cheating", "cost", "more gradients of the data than the 1 that `plan` declared", "");
    fails("boasting", "cost", "used 3 gradient batches and 0 scores, `plan` declared 12 and 0", "");
    fails("hoarding", "cost", "it keeps 'gradient', and `plan` declared 0 kept vectors", "");
    fails("wasteful", "cost", "it keeps 1 vector, and `plan` declared 2 as kept_vectors", "");
    fails("greedy", "training", "one memory batch twice", "");
    fails("secret_set", "training", "'retrieval', and `plan` declared none", "");
}

static void test_finish(void **state)
{
    (void)state;
    fails("idle", "finish", "of time step 1 leaves the weights as they were trained", "");
    fails("nan_kept", "kept", "'gradient', kept by time step 1, is not finite", "");
}

static void test_same_bytes(void **state)
{
    (void)state;
    fails("clock", "repeat", "the weights after training time step 2 are not the same", "resume reported");
    fails("stateful", "resume", "the weights after training time step 2 are not the same", "");
}

/* ---- the suite itself ---- */

static void test_wrong_calls(void **state)
{
    prn_error error = PRN_ERROR_INIT;
    prn__suite_summary summary;
    seen s = {.count = 0};
    (void)state;
    assert_int_equal(run_suite("sequental", NULL, NULL, 0, &s, &summary, &error), PRN_NOT_FOUND);
    assert_non_null(strstr(error.message, "sequential"));
    assert_int_not_equal(run_suite("sequential", "cpo", NULL, 0, &s, &summary, &error), PRN_OK);
    assert_non_null(strstr(error.message, "cpu"));
    assert_int_not_equal(run_suite("lwf", NULL, (const prn__option_pair[]){{"wieght", "1"}}, 1, &s, &summary, &error), PRN_OK);
    assert_non_null(strstr(error.message, "weight"));
    assert_int_equal(s.count, 0);
}

static void test_stopped(void **state)
{
    (void)state;
    for (int64_t at = 1; at <= 40; at += 13) {
        prn_error error = PRN_ERROR_INIT;
        prn__suite_summary summary;
        seen s = {.stop_at = at};
        prn_status status = run_suite("whole", NULL, NULL, 0, &s, &summary, &error);
        assert_int_equal(status, PRN_INTERRUPTED);
    }
}

static void test_folder(void **state)
{
    prn_error error = PRN_ERROR_INIT;
    prn__suite_summary summary;
    seen s = {.count = 0};
    char folder[] = "/tmp/prn-suite-test-XXXXXX";
    (void)state;
    assert_non_null(mkdtemp(folder));
    assert_int_equal(setenv("TMPDIR", folder, 1), 0);
    assert_int_equal(run_suite("sequential", NULL, NULL, 0, &s, &summary, &error), PRN_OK);
    assert_int_equal(rmdir(folder), 0); /* nothing was left in it */
    assert_int_equal(run_suite("sequential", NULL, NULL, 0, &s, &summary, &error), PRN_IO);
    assert_non_null(strstr(error.message, "TMPDIR"));
    use_memory();
}

/* Out of memory anywhere: an error or a check that fails, and nothing is lost. */
static void test_allocation(void **state)
{
    static const int64_t ways[] = {1, 2, 3, 4, 5, 6, 7, 8, 13, 21, 34, 89, 500, 5000};
    (void)state;
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        prn_error error = PRN_ERROR_INIT;
        prn__suite_summary summary;
        seen s = {.count = 0};
        prn__alloc_fail_at(ways[i]);
        prn_status status = run_suite("whole", NULL, NULL, 0, &s, &summary, &error);
        prn__alloc_fail_at(0);
        assert_true(status != PRN_OK || summary.passed + summary.failed + summary.skipped == 14);
        assert_true(status == PRN_OK || error.message[0] != '\0');
    }
}

static void test_list(void **state)
{
    const char *name, *meaning;
    size_t count = 0;
    (void)state;
    while (prn__strategy_suite_at(count, &name, &meaning)) {
        assert_true(name[0] != '\0' && meaning[0] != '\0');
        count++;
    }
    assert_int_equal(count, 14);
}

/* ---- asking ---- */

static void test_asking(void **state)
{
    const prn_strategy *table = NULL;
    prn__answers answers;
    prn_time_line line;
    prn_error error = PRN_ERROR_INIT;
    const int64_t live = prn__alloc_live();
    (void)state;
    assert_int_equal(prn__registry_strategy(registry, "replay", &table, NULL, &error), PRN_OK);
    assert_int_equal(prn__time_line_make(4, 100, 10, 1000, &line, &error), PRN_OK);
    assert_string_equal(line.steps[3].name, "4");
    assert_int_equal(line.steps[3].samples, 130);
    for (int order = PRN__ASK_FORWARD; order <= PRN__ASK_TWICE; order++) {
        const prn__option_pair given[] = {{"size", "60"}, {"unit", "samples"}};
        assert_int_equal(prn__strategy_ask(prn__registry_host(registry), table, given, 2, &line, (prn__ask_order)order, &answers, &error), PRN_OK);
        assert_int_equal(answers.step_count, 4);
        assert_int_equal(answers.requests[0].source_count, 1);
        assert_int_equal(answers.requests[3].source_count, 4);
        assert_int_equal(answers.requests[3].sources[1].max_samples, 20);
        assert_int_equal(answers.requests[3].start_step, 3);
        assert_null(prn__request_difference(&answers.requests[3], &answers.requests[3]));
        assert_non_null(prn__request_difference(&answers.requests[2], &answers.requests[3]));
        prn__answers_drop(&answers);
    }
    const prn__option_pair wrong[] = {{"size", "-1"}};
    assert_int_equal(prn__strategy_ask(prn__registry_host(registry), table, wrong, 1, &line, PRN__ASK_FORWARD, &answers, &error), PRN_INVALID);
    prn__answers_drop(&answers);
    prn__time_line_drop(&line);
    assert_int_equal(prn__alloc_live(), live);
}

static int set_up(void **state)
{
    prn_error error = PRN_ERROR_INIT;
    (void)state;
    use_memory();
    if (prn__pool_create(2, NULL, &pool, &error) != PRN_OK ||
        prn__registry_create(pool, PRN_BUILD_DIR "/plugins:" PRN_BUILD_DIR "/tests/broken-strategies", &registry, &error) != PRN_OK) {
        print_error("%s\n", error.message);
        return -1;
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    prn__registry_destroy(registry);
    prn__pool_destroy(pool);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_asking), cmocka_unit_test(test_list), cmocka_unit_test(test_whole), cmocka_unit_test(test_options),
        cmocka_unit_test(test_plans), cmocka_unit_test(test_memory), cmocka_unit_test(test_losses), cmocka_unit_test(test_cost),
        cmocka_unit_test(test_finish), cmocka_unit_test(test_same_bytes), cmocka_unit_test(test_wrong_calls), cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_folder), cmocka_unit_test(test_allocation), cmocka_unit_test(test_bundled), cmocka_unit_test(test_bundled_options), cmocka_unit_test(test_bundled_reference),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
