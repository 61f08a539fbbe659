/* plugins/backends/cuda/driver.c: see driver.h. */
#include "driver.h"

#include <dlfcn.h>
#include <string.h>

#define TEXT_OF(name) #name
#define SYMBOL_OF(name) TEXT_OF(name) /* the headers rename functions to their newest version */

static int find(void *library, const char *name, void *function)
{
    void *const found = dlsym(library, name);
    memcpy(function, &found, sizeof found);
    return found != NULL;
}

#define FIND(name)                                               \
    if (!find(library, SYMBOL_OF(name), &d->name)) {             \
        return SYMBOL_OF(name);                                  \
    }

/* The first function that is missing, or NULL. */
static const char *find_driver(driver *d, void *library)
{
    DRIVER_FUNCTIONS(FIND)
    return NULL;
}

static const char *find_lt(driver *d, void *library)
{
    LT_FUNCTIONS(FIND)
    return NULL;
}

prn_status driver_load(driver *d, prn_error *error)
{
    memset(d, 0, sizeof *d);
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        return prn_error_set(error, PRN_NOT_FOUND, "no NVIDIA driver: libcuda.so.1 is not on the library path; install the driver, or use --backend cpu");
    }
    const char *missing = find_driver(d, library);
    if (missing != NULL) {
        return prn_error_set(error, PRN_NOT_FOUND, "the NVIDIA driver has no %s; this plugin needs a driver for CUDA 13 (version 580 or later)", missing);
    }
    const CUresult result = d->cuInit(0);
    if (result != CUDA_SUCCESS) {
        return driver_status(d, result, "starting the NVIDIA driver", error);
    }
    library = dlopen("libcublasLt.so.13", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) { /* a toolkit that the loader was not told of */
        library = dlopen("/usr/local/cuda/lib64/libcublasLt.so.13", RTLD_NOW | RTLD_LOCAL);
    }
    d->has_lt = library != NULL && find_lt(d, library) == NULL;
    return PRN_OK;
}

prn_status driver_status(const driver *d, CUresult result, const char *doing, prn_error *error)
{
    const char *name = NULL;
    if (result == CUDA_SUCCESS) {
        return PRN_OK;
    }
    if (d->cuGetErrorName(result, &name) != CUDA_SUCCESS || name == NULL) {
        name = "unknown error";
    }
    const prn_status status = result == CUDA_ERROR_OUT_OF_MEMORY ? PRN_NO_MEMORY : result == CUDA_ERROR_NO_DEVICE ? PRN_NOT_FOUND : PRN_INTERNAL;
    return prn_error_set(error, status, "%s: the NVIDIA driver says %s (%d)", doing, name, (int)result);
}
