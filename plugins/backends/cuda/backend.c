/* plugins/backends/cuda/backend.c: the backend "cuda": devices, opening one, the table.
 *
 * The module of all kernels is a part of this file's object (fatbin.h): machine code for sm_80 and sm_90, and PTX that the driver compiles
 * for what came later.
 */
#include "instance.h"

#include "../common/bounds.h"
#include "fatbin.h"

static const prn_option options[] = {
    {.struct_size = (uint32_t)sizeof(prn_option), .type = PRN_OPTION_INTEGER, .name = "device", .unit = "", .preset = "0", .minimum = 0, .maximum = 63,
     .help = "Which device, as `perennial backends` counts them."},
    {.struct_size = (uint32_t)sizeof(prn_option), .type = PRN_OPTION_CHOICE, .name = "precision", .unit = "", .preset = "fp32", .choices = "fp32|bf16",
     .help = "bf16: activations and the operands of matrix products are bf16; weights, optimizer state, sums, statistics and the loss stay fp32."},
    {.struct_size = (uint32_t)sizeof(prn_option), .type = PRN_OPTION_BOOL, .name = "fast", .unit = "", .preset = "false",
     .help = "Allows sums whose order may change from run to run (split matrix products, table gradients); without it the same bytes come out twice."},
    {.struct_size = (uint32_t)sizeof(prn_option), .type = PRN_OPTION_BOOL, .name = "graphs", .unit = "", .preset = "true",
     .help = "Replays a segment that comes back as one CUDA graph; changes no result."},
    {.struct_size = (uint32_t)sizeof(prn_option), .type = PRN_OPTION_BOOL, .name = "time_operations", .unit = "", .preset = "false",
     .help = "Waits after each operation to time it, as `perennial bench` shows; slow, and without graphs."},
};

enum { OPTION_DEVICE, OPTION_PRECISION, OPTION_FAST, OPTION_GRAPHS, OPTION_TIMING };

static const char *const kernel_names[KERNEL_COUNT] = {
#define KERNEL_NAME(name, type, threads) "prn_" #name,
    CUDA_KERNELS(KERNEL_NAME)
#undef KERNEL_NAME
};

static prn_status attribute(const driver *api, CUdevice device, CUdevice_attribute which, int *value, prn_error *error)
{
    return driver_status(api, api->cuDeviceGetAttribute(value, which, device), "asking what the device is", error);
}

/* What bits depend on: machine code of the chip, the libraries that choose algorithms, the number of multiprocessors they choose by. */
static prn_status describe(const driver *api, int index, prn_device_info *info, prn_error *error)
{
    CUdevice device = 0;
    CUcontext context = NULL;
    int major = 0, minor = 0, processors = 0, version = 0;
    size_t bytes = 0, free_bytes = 0;
    char name[96] = "";
    prn_status status = driver_status(api, api->cuDeviceGet(&device, index), "asking for a device", error);
    if (status == PRN_OK) {
        status = driver_status(api, api->cuDeviceGetName(name, (int)sizeof name, device), "asking a device's name", error);
    }
    if (status != PRN_OK || (status = attribute(api, device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, &major, error)) != PRN_OK ||
        (status = attribute(api, device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, &minor, error)) != PRN_OK ||
        (status = attribute(api, device, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, &processors, error)) != PRN_OK ||
        (status = driver_status(api, api->cuDeviceTotalMem(&bytes, device), "asking a device's memory", error)) != PRN_OK ||
        (status = driver_status(api, api->cuDriverGetVersion(&version), "asking the driver's version", error)) != PRN_OK) {
        return status;
    }
    /* Free memory needs a context; a device that cannot give one is listed all the same. */
    if (api->cuDevicePrimaryCtxRetain(&context, device) == CUDA_SUCCESS) {
        size_t all = 0;
        if (api->cuCtxSetCurrent(context) != CUDA_SUCCESS || api->cuMemGetInfo(&free_bytes, &all) != CUDA_SUCCESS) {
            free_bytes = 0;
        }
        (void)api->cuCtxSetCurrent(NULL);
        (void)api->cuDevicePrimaryCtxRelease(device);
    }
    info->struct_size = (uint32_t)sizeof *info;
    info->index = (uint32_t)index;
    (void)snprintf(info->name, sizeof info->name, "%s", name);
    (void)snprintf(info->detail, sizeof info->detail, "sm_%d%d, %d multiprocessors, driver %d.%d, %s %zu", major, minor, processors, version / 1000,
                   version % 1000 / 10, api->has_lt ? "cuBLASLt" : "own matrix products", api->has_lt ? api->cublasLtGetVersion() : 0);
    info->memory_bytes = bytes;
    info->memory_free_bytes = free_bytes;
    return PRN_OK;
}

/* No driver is no error, but the reason is left in `error` for whoever asks. */
static prn_status devices(const prn_host *host, prn_device_info *list, uint32_t capacity, uint32_t *count, prn_error *error)
{
    driver api;
    int found = 0;
    (void)host;
    *count = 0;
    prn_status status = driver_load(&api, error);
    if (status == PRN_OK) {
        status = driver_status(&api, api.cuDeviceGetCount(&found), "counting devices", error);
    }
    if (status != PRN_OK) {
        return PRN_OK;
    }
    for (int i = 0; i < found && (uint32_t)i < capacity && status == PRN_OK; i++) {
        status = describe(&api, i, &list[i], error);
    }
    *count = status == PRN_OK ? (uint32_t)found : 0;
    return status;
}

static void close_instance(prn_backend_instance *d)
{
    if (d == NULL) {
        return;
    }
    if (d->context != NULL && d->api.cuCtxSetCurrent(d->context) == CUDA_SUCCESS) {
        if (d->stream != NULL) {
            (void)d->api.cuStreamSynchronize(d->stream);
        }
        if (d->copies != NULL) {
            (void)d->api.cuStreamSynchronize(d->copies);
            (void)d->api.cuStreamDestroy(d->copies);
        }
        products_close(d);
        staging_close(d);
        device_release(d, d->scratch);
        device_release(d, d->constants);
        if (d->began != NULL) {
            (void)d->api.cuEventDestroy(d->began);
        }
        if (d->ended != NULL) {
            (void)d->api.cuEventDestroy(d->ended);
        }
        if (d->module != NULL) {
            (void)d->api.cuModuleUnload(d->module);
        }
        if (d->stream != NULL) {
            (void)d->api.cuStreamDestroy(d->stream);
        }
        (void)d->api.cuCtxSetCurrent(NULL);
    }
    if (d->context != NULL) {
        (void)d->api.cuDevicePrimaryCtxRelease(d->device);
    }
    d->host->release(d->host->self, d);
}

static prn_status load_kernels(prn_backend_instance *d, prn_error *error)
{
    const driver *api = &d->api;
    const CUresult result = api->cuModuleLoadData(&d->module, cuda_fatbin);
    if (result == CUDA_ERROR_NO_BINARY_FOR_GPU || result == CUDA_ERROR_UNSUPPORTED_PTX_VERSION) {
        return prn_error_set(error, PRN_UNSUPPORTED, "this device or its driver cannot run the kernels of this plugin; it needs an sm_80 device or a later one, "
                             "and a driver for CUDA 13 (version 580 or later)");
    }
    prn_status status = driver_status(api, result, "loading the kernels", error);
    for (int i = 0; i < KERNEL_COUNT && status == PRN_OK; i++) {
        status = driver_status(api, api->cuModuleGetFunction(&d->functions[i], d->module, kernel_names[i]), "loading a kernel", error);
    }
    return status;
}

static prn_status start(prn_backend_instance *d, int ordinal, prn_error *error)
{
    const driver *api = &d->api;
    static const float constants[2] = {0, 1};
    int count = 0;
    prn_status status = driver_status(api, api->cuDeviceGetCount(&count), "counting devices", error);
    if (status == PRN_OK && ordinal >= count) {
        return prn_error_set(error, PRN_NOT_FOUND, "option device=%d: there are %d devices; see `perennial backends`", ordinal, count);
    }
    if (status != PRN_OK || (status = driver_status(api, api->cuDeviceGet(&d->device, ordinal), "asking for a device", error)) != PRN_OK ||
        (status = driver_status(api, api->cuDevicePrimaryCtxRetain(&d->context, d->device), "starting the device", error)) != PRN_OK ||
        (status = instance_enter(d, error)) != PRN_OK ||
        (status = driver_status(api, api->cuStreamCreate(&d->stream, CU_STREAM_NON_BLOCKING), "making a stream", error)) != PRN_OK ||
        (status = driver_status(api, api->cuEventCreate(&d->began, CU_EVENT_DEFAULT), "creating an event", error)) != PRN_OK ||
        (status = driver_status(api, api->cuEventCreate(&d->ended, CU_EVENT_DEFAULT), "creating an event", error)) != PRN_OK ||
        (status = load_kernels(d, error)) != PRN_OK || (status = staging_open(d, error)) != PRN_OK || (status = products_open(d, error)) != PRN_OK ||
        (status = device_allocate(d, sizeof constants, "constants", &d->constants, error)) != PRN_OK) {
        return status;
    }
    return upload(d, d->constants, constants, sizeof constants, error);
}

static prn_status open_instance(const prn_host *host, const prn_option_value *given, prn_backend_instance **instance, prn_error *error)
{
    *instance = NULL;
    prn_backend_instance *made = host->allocate(host->self, sizeof *made, "cuda backend");
    if (made == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "no memory for the cuda backend");
    }
    memset(made, 0, sizeof *made);
    made->host = host;
    made->graphs = 1;
    if (given != NULL) {
        made->half = given[OPTION_PRECISION].string != NULL && strcmp(given[OPTION_PRECISION].string, "bf16") == 0;
        made->fast = given[OPTION_FAST].integer != 0;
        made->graphs = given[OPTION_GRAPHS].integer != 0;
        made->timing = given[OPTION_TIMING].integer != 0;
    }
    prn_status status = driver_load(&made->api, error);
    if (status == PRN_OK) {
        status = start(made, given != NULL ? (int)given[OPTION_DEVICE].integer : 0, error);
    }
    if (status != PRN_OK) {
        close_instance(made);
        return status;
    }
    *instance = made;
    return PRN_OK;
}

static prn_status synchronise(prn_backend_instance *d, prn_error *error)
{
    prn_status status = instance_enter(d, error);
    if (status == PRN_OK && d->copies != NULL) {
        status = driver_status(&d->api, d->api.cuStreamSynchronize(d->copies), "waiting for the device", error);
    }
    return status == PRN_OK ? driver_status(&d->api, d->api.cuStreamSynchronize(d->stream), "waiting for the device", error) : status;
}

static prn_status op_times(prn_backend_instance *d, prn_op_time *times, uint32_t capacity, uint32_t *count, int reset, prn_error *error)
{
    (void)error;
    *count = 0;
    for (uint32_t kind = 0; kind < PRN_OP_END; kind++) {
        if (d->times[kind].calls > 0) {
            if (*count < capacity) {
                times[*count] = (prn_op_time){kind, 0, d->times[kind].calls, d->times[kind].seconds};
            }
            ++*count;
        }
    }
    if (reset) {
        memset(d->times, 0, sizeof d->times);
    }
    return PRN_OK;
}

static void instance_error_bound(prn_backend_instance *instance, uint32_t kind, double *absolute, double *relative)
{
    (instance->half ? error_bound_bf16 : error_bound)(kind, absolute, relative);
}

static const prn_backend table = {
    .struct_size = (uint32_t)sizeof(prn_backend),
    .option_count = sizeof options / sizeof options[0],
    .name = "cuda",
    .summary = "NVIDIA devices from sm_80 on: cuBLASLt and fused kernels, fp32 or bf16",
    .numerics = "cuda-2",
    .options = options,
    .devices = devices,
    .open = open_instance,
    .close = close_instance,
    .buffer_create = buffer_create,
    .buffer_destroy = buffer_destroy,
    .buffer_write = buffer_write,
    .buffer_read = buffer_read,
    .buffer_copy = buffer_copy,
    .supports = program_supports,
    .compile = program_compile,
    .executable_destroy = executable_destroy,
    .execute = program_execute,
    .synchronise = synchronise,
    .op_times = op_times,
    .error_bound = error_bound,
    .instance_error_bound = instance_error_bound,
    .buffer_write_ahead = buffer_write_ahead,
};

static const prn_interface interfaces[] = {{PRN_BACKEND_INTERFACE, &table}};

PRN_PLUGIN_DECLARE = {
    .struct_size = (uint32_t)sizeof(prn_plugin),
    .magic = PRN_PLUGIN_MAGIC,
    .abi_major = PRN_ABI_MAJOR,
    .abi_minor = PRN_ABI_MINOR,
    .interface_count = 1,
    .name = "cuda",
    .version = "0.1.0",
    .license = "Apache-2.0",
    .summary = "Computes on NVIDIA devices.",
    .interfaces = interfaces,
};
