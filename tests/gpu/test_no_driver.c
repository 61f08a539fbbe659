/* tests/gpu/test_no_driver.c: on a machine without a driver the cuda plugin loads, says why there is no device, and nothing else is worse off. */
#include "model/test_support.h"

#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

static void test_no_driver(void **state)
{
    prn__pool *pool;
    prn__registry *registry;
    const prn_backend *backend;
    prn_error failure = PRN_ERROR_INIT;
    prn_device_info info = {.struct_size = sizeof info};
    uint32_t count = 7;
    prn__device device;
    (void)state;
    OK(prn__pool_create(1, NULL, &pool, error));
    OK(prn__registry_create(pool, PRN_BUILD_DIR "/plugins", &registry, error));
    OK(prn__registry_backend(registry, "cuda", &backend, NULL, error));
    assert_int_equal(backend->devices(prn__registry_host(registry), &info, 1, &count, &failure), PRN_OK);
    assert_int_equal(count, 0);
    assert_non_null(strstr(failure.message, "libcuda.so.1"));
    failure = (prn_error)PRN_ERROR_INIT;
    assert_int_equal(prn__device_open(registry, "cuda", NULL, 0, &device, &failure), PRN_NOT_FOUND);
    assert_non_null(strstr(failure.message, "--backend cpu"));
    OK(prn__device_open(registry, "auto", NULL, 0, &device, error));
    assert_string_equal(device.backend->name, "cpu");
    prn__device_close(&device);
    prn__registry_destroy(registry);
    prn__pool_destroy(pool);
    assert_int_equal(prn__alloc_live(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_driver)};
    void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (driver != NULL || access(PRN_BUILD_DIR "/plugins/backend_cuda.so", F_OK) != 0) {
        (void)printf("%s\n", driver != NULL ? "this machine has a driver" : "the cuda backend was left out of this build");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
