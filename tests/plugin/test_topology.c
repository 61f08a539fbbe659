/* The machine as plain data: this one is plausible and agrees with the kernel; made-up ones say where threads go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/pool.h"
#include "plugin/topology.h"

static prn__topology *made_up(uint32_t threads, const char *description)
{
    prn_error error = PRN_ERROR_INIT;
    prn__topology *t = NULL;
    prn_status status = prn__topology_create(threads, description, &t, &error);
    if (status != PRN_OK) {
        fail_msg("%s", error.message);
    }
    return t;
}

static void this_machine(void **state)
{
    (void)state;
    int64_t live = prn__alloc_live();
    prn__topology *t = made_up(0, NULL);
    assert_true(t->processor_count >= 1);
    assert_true(t->core_count >= 1 && t->core_count <= t->processor_count);
    assert_true(t->package_count >= 1 && t->package_count <= t->core_count);
    assert_int_equal(t->allowed_processor_count, prn__cpu_count());
    assert_true(t->allowed_core_count >= 1 && t->allowed_core_count <= t->allowed_processor_count);
    assert_int_equal(t->thread_count, t->allowed_core_count);
    assert_true(t->binds);
    assert_true(t->memory_bytes > 1 << 20);
    assert_true(t->memory_free_bytes > 0 && t->memory_free_bytes <= t->memory_bytes);
    assert_true(strlen(t->architecture) > 0);
    for (uint32_t i = 0; i < t->cache_count; i++) {
        assert_true(t->caches[i].count >= 1 && t->caches[i].bytes > 0 && t->caches[i].shared_by >= 1);
    }
#if defined(__x86_64__)
    int has_avx2 = -1;
    for (uint32_t i = 0; i < t->extension_count; i++) {
        if (strcmp(t->extensions[i].name, "avx2") == 0) {
            has_avx2 = t->extensions[i].is_present;
        }
    }
    __builtin_cpu_init();
    assert_int_equal(has_avx2, __builtin_cpu_supports("avx2") != 0);
#endif
    prn__topology_destroy(t);
    assert_int_equal(prn__alloc_live(), live);
}

static void one_thread_a_core_first(void **state)
{
    (void)state;
    /* hardware threads of core c are 2c and 2c+1 */
    prn__topology *t = made_up(6, "package:2 core:2 pu:2");
    const int wanted[] = {0, 2, 4, 6, 1, 3};
    assert_int_equal(t->package_count, 2);
    assert_int_equal(t->core_count, 4);
    assert_int_equal(t->processor_count, 8);
    assert_int_equal(t->thread_count, 6);
    assert_true(t->binds);
    assert_memory_equal(t->binding, wanted, sizeof wanted);
    assert_int_equal(t->processors[5].core, 2);
    assert_int_equal(t->processors[5].package, 1);
    prn__topology_destroy(t);

    t = made_up(0, "package:2 core:2 pu:2");
    assert_int_equal(t->thread_count, 4);
    prn__topology_destroy(t);

    t = made_up(1024, "core:512 pu:2");
    assert_int_equal(t->binding[511], 1022);
    assert_int_equal(t->binding[512], 1);
    assert_int_equal(t->binding[1023], 1023);
    prn__topology_destroy(t);
}

static void more_threads_than_processors_are_unbound(void **state)
{
    (void)state;
    prn__topology *t = made_up(3, "core:2 pu:1");
    assert_int_equal(t->thread_count, 3);
    assert_false(t->binds);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(t->binding[i], -1);
    }
    prn__topology_destroy(t);
}

static void caches_and_memory(void **state)
{
    (void)state;
    prn__topology *t = made_up(0, "numa:2(memory=1073741824) l3:1(size=8388608) l2:2(size=1048576) l1d:1(size=32768) core:1 pu:2");
    assert_int_equal(t->numa_node_count, 2);
    assert_int_equal(t->numa_nodes[1].memory_bytes, 1073741824);
    assert_int_equal(t->numa_nodes[1].processor_count, 4);
    assert_int_equal(t->memory_bytes, 2147483648);
    assert_int_equal(t->memory_free_bytes, 0); /* nobody knows of a made-up machine */
    assert_int_equal(t->processors[7].numa_node, 1);
    assert_int_equal(t->cache_count, 3);
    assert_string_equal(t->caches[0].name, "L1d");
    assert_int_equal(t->caches[0].count, 4);
    assert_int_equal(t->caches[0].bytes, 32768);
    assert_int_equal(t->caches[0].shared_by, 2);
    assert_string_equal(t->caches[2].name, "L3");
    assert_int_equal(t->caches[2].count, 2);
    assert_int_equal(t->caches[2].shared_by, 4);
    prn__topology_destroy(t);
}

static void check_split(const char *machine, uint32_t jobs, const char *wanted, int disjoint)
{
    prn_error error = PRN_ERROR_INIT;
    prn__topology *t;
    prn__topology_share shares[16];
    char got[512];
    size_t used = 0;
    int are_disjoint = -1;
    assert_int_equal(prn__topology_create(0, machine, &t, &error), PRN_OK);
    assert_int_equal(prn__topology_split(t, jobs, shares, &are_disjoint, &error), PRN_OK);
    got[0] = '\0';
    for (uint32_t j = 0; j < jobs; j++) {
        for (uint32_t i = 0; i < shares[j].processor_count; i++) {
            used += (size_t)snprintf(got + used, sizeof got - used, "%s%u", i > 0 ? "," : j > 0 ? " " : "", shares[j].processors[i]);
        }
    }
    assert_string_equal(got, wanted);
    assert_int_equal(are_disjoint, disjoint);
    prn__topology_destroy(t);
}

static void jobs_get_neighbouring_cores(void **state)
{
    (void)state;
    check_split("core:4 pu:1", 1, "0,1,2,3", 1);
    check_split("core:4 pu:1", 2, "0,1 2,3", 1);
    check_split("core:4 pu:1", 3, "0 1 2,3", 1);
    check_split("core:4 pu:1", 4, "0 1 2 3", 1);
    check_split("core:2 pu:1", 5, "0 1 0 1 0", 0);
    check_split("core:2 pu:2", 2, "0,1 2,3", 1);                  /* a core's hardware threads stay together */
    check_split("package:2 core:4 pu:1", 2, "0,1,2,3 4,5,6,7", 1); /* and a package's cores */
    check_split("package:2 l3:2 core:2 pu:2", 4, "0,1,2,3 4,5,6,7 8,9,10,11 12,13,14,15", 1);
    check_split("package:2 core:3 pu:1", 4, "0 1,2 3 4,5", 1);
}

static void refusals(void **state)
{
    (void)state;
    prn_error error = PRN_ERROR_INIT;
    prn__topology *t = (prn__topology *)&error;
    assert_int_equal(prn__topology_create(0, "nonsense", &t, &error), PRN_INVALID);
    assert_null(t);
    assert_non_null(strstr(error.message, "nonsense"));
    assert_int_equal(prn__topology_create(1025, NULL, &t, &error), PRN_INVALID);
    assert_null(t);
    prn__topology_destroy(NULL);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    int64_t live = prn__alloc_live();
    for (int64_t n = 1;; n++) {
        prn_error error = PRN_ERROR_INIT;
        prn__topology *t = NULL;
        prn__alloc_fail_at(n);
        prn_status status = prn__topology_create(0, "core:2 pu:2", &t, &error);
        prn__alloc_fail_at(0);
        if (status == PRN_OK) {
            prn__topology_destroy(t);
            assert_true(n > 2);
            break;
        }
        assert_int_equal(status, PRN_NO_MEMORY);
        assert_null(t);
        assert_int_equal(prn__alloc_live(), live);
        assert_true(n < 100);
    }
    assert_int_equal(prn__alloc_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(this_machine),      cmocka_unit_test(one_thread_a_core_first),
        cmocka_unit_test(more_threads_than_processors_are_unbound), cmocka_unit_test(caches_and_memory),
        cmocka_unit_test(jobs_get_neighbouring_cores), cmocka_unit_test(refusals),          cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
