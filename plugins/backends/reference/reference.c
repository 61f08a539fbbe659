/* plugins/backends/reference/reference.c: the backend "reference": plain C, fp64, one thread. See operations.c.
 *
 * It exists to be read and trusted, not to be fast: `perennial backend test` compares every other backend with it.
 * To write a backend of your own: (1) buffers, (2) supports, (3) compile, (4) execute, (5) the table at the end.
 */
#include "../common/buffers.h"
#include "operations.h"

struct prn_backend_instance {
    const prn_host *host;
};

struct prn_executable {
    const prn_program *program;
};

/* ---- (1) buffers: host memory, PRN_REAL as double ---- */
PRN_HOST_BUFFERS(double)

static prn_status devices(const prn_host *host, prn_device_info *list, uint32_t capacity, uint32_t *count, prn_error *error)
{
    (void)host;
    (void)error;
    *count = 1;
    if (capacity > 0) {
        list[0].struct_size = (uint32_t)sizeof list[0];
        list[0].index = 0;
        (void)snprintf(list[0].name, sizeof list[0].name, "host, one thread");
        (void)snprintf(list[0].detail, sizeof list[0].detail, "fp64, plain C");
        list[0].memory_bytes = host_memory_bytes(0);
        list[0].memory_free_bytes = host_memory_bytes(1);
    }
    return PRN_OK;
}

static prn_status open_instance(const prn_host *host, const prn_option_value *values, prn_backend_instance **instance, prn_error *error)
{
    (void)values;
    *instance = host->allocate(host->self, sizeof **instance, "reference backend");
    if (*instance == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "no memory for the reference backend");
    }
    (*instance)->host = host;
    return PRN_OK;
}

static void close_instance(prn_backend_instance *instance)
{
    if (instance != NULL) {
        instance->host->release(instance->host->self, instance);
    }
}

/* ---- (2) what it can do: everything of this SDK version ---- */
static int supports(prn_backend_instance *instance, const prn_program *program, uint32_t op)
{
    (void)instance;
    return op < program->op_count && operation_check(program, op, NULL) == PRN_OK;
}

/* ---- (3) compile: nothing to prepare ---- */
static prn_status compile(prn_backend_instance *instance, const prn_program *program, prn_executable **executable, prn_error *error)
{
    *executable = NULL;
    prn_status status = program_check(program, error);
    if (status != PRN_OK) {
        return status;
    }
    prn_executable *made = instance->host->allocate(instance->host->self, sizeof *made, "reference executable");
    if (made == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "no memory to compile program '%s'", program->name);
    }
    made->program = program;
    *executable = made;
    return PRN_OK;
}

static void executable_destroy(prn_backend_instance *instance, prn_executable *executable)
{
    if (executable != NULL) {
        instance->host->release(instance->host->self, executable);
    }
}

/* ---- (4) execute: check everything, then run in order ---- */
static prn_status execute(prn_backend_instance *instance, prn_executable *executable, uint32_t segment, const prn_binding *binding, prn_error *error)
{
    const prn_program *program = executable->program;
    operation view;
    prn_status status = binding_check(program, segment, binding, error);
    (void)instance;
    if (status != PRN_OK) {
        return status;
    }
    const uint32_t first = program->segments[segment].first_op, end = first + program->segments[segment].op_count;
    for (uint32_t i = first; i < end && status == PRN_OK; i++) {
        status = operation_resolve(program, i, binding, sizeof(double), &view, error);
        if (status == PRN_OK) {
            status = reference_check(&view, error);
        }
    }
    for (uint32_t i = first; i < end && status == PRN_OK; i++) {
        status = operation_resolve(program, i, binding, sizeof(double), &view, error);
        if (status == PRN_OK) {
            status = reference_run(&view, error);
        }
    }
    return status;
}

static prn_status synchronise(prn_backend_instance *instance, prn_error *error)
{
    (void)instance;
    (void)error;
    return PRN_OK;
}

static void error_bound(uint32_t kind, double *absolute, double *relative)
{
    (void)kind;
    *absolute = 1e-300;
    *relative = 1e-11;
}

/* ---- (5) the table, and the symbol ---- */
static const prn_backend table = {
    .struct_size = (uint32_t)sizeof(prn_backend),
    .name = "reference",
    .summary = "plain C in fp64, one thread: the truth for tests",
    .numerics = "reference-1",
    .devices = devices,
    .open = open_instance,
    .close = close_instance,
    .buffer_create = buffer_create,
    .buffer_destroy = buffer_drop,
    .buffer_write = buffer_write,
    .buffer_read = buffer_read,
    .buffer_copy = buffer_copy,
    .supports = supports,
    .compile = compile,
    .executable_destroy = executable_destroy,
    .execute = execute,
    .synchronise = synchronise,
    .error_bound = error_bound,
};

static const prn_interface interfaces[] = {{PRN_BACKEND_INTERFACE, &table}};

PRN_PLUGIN_DECLARE = {
    .struct_size = (uint32_t)sizeof(prn_plugin),
    .magic = PRN_PLUGIN_MAGIC,
    .abi_major = PRN_ABI_MAJOR,
    .abi_minor = PRN_ABI_MINOR,
    .interface_count = 1,
    .name = "reference",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .summary = "The reference backend: every operation in fp64, as its formula says.",
    .interfaces = interfaces,
};
