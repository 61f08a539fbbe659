/* plugins/backends/cpu/backend.c: the backend "cpu": matrix products of our own and OpenBLAS's, hand-vectorised kernels for the rest, on the host's threads.
 *
 * The table: devices, options, what is supported, times; execute.c runs programs. Work is synchronous.
 */
#include "../common/bounds.h"
#include "../common/buffers.h"
#include "operations.h"

#include <cblas.h>

PRN_HOST_BUFFERS(float)

enum { OPTION_ISA, OPTION_PRECISION };

static const prn_option options[] = {
    {.struct_size = (uint32_t)sizeof(prn_option), .type = PRN_OPTION_CHOICE, .name = "isa", .unit = "", .preset = "auto",
     .choices = "auto|baseline|avx2|avx512",
     .help = "Instruction set of the kernels; auto takes the widest that this processor has. Results differ in the last bits between them."},
    {.struct_size = (uint32_t)sizeof(prn_option), .type = PRN_OPTION_CHOICE, .name = "precision", .unit = "", .preset = "fp32", .choices = "fp32|bf16",
     .help = "bf16: the operands of the towers' matrix products and of attention's are rounded to bf16; sums, activations, weights, optimizer "
             "state and the loss stay fp32. About half the time of a product on processors that have AVX-512's BF16 instructions, no gain on others."},
};

static int processor_has(const char *isa)
{
    if (strcmp(isa, "baseline") == 0) {
        return 1;
    }
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (strcmp(isa, "avx2") == 0) {
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    }
    if (strcmp(isa, "avx512") == 0) {
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
    }
#endif
    return 0;
}

/* Products of bf16 by the processor's own instruction. */
static const half_kernels *half_kernels_of(const kernels *k)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (k == &kernels_avx512 && __builtin_cpu_supports("avx512bf16")) {
        return &half_kernels_avx512_bf16;
    }
#endif
    return &k->half;
}

static const kernels *kernels_named(const char *isa)
{
#if defined(__x86_64__)
    if (strcmp(isa, "avx2") == 0) {
        return &kernels_avx2;
    }
    if (strcmp(isa, "avx512") == 0) {
        return &kernels_avx512;
    }
#endif
    return strcmp(isa, "baseline") == 0 ? &kernels_baseline : NULL;
}

static const char *best_isa(void)
{
    return processor_has("avx512") ? "avx512" : processor_has("avx2") ? "avx2" : "baseline";
}

/* "model name" of the first processor, where the system says it. */
static void processor_name(char *target, size_t bytes)
{
    char line[256];
    (void)snprintf(target, bytes, "host processor");
    FILE *file = fopen("/proc/cpuinfo", "r");
    if (file == NULL) {
        return;
    }
    while (fgets(line, sizeof line, file) != NULL) {
        const char *value = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && value != NULL && value[1] != '\0') {
            value += 2;
            (void)snprintf(target, bytes, "%.*s", (int)strcspn(value, "\n"), value);
            break;
        }
    }
    (void)fclose(file);
}

static prn_status devices(const prn_host *host, prn_device_info *list, uint32_t capacity, uint32_t *count, prn_error *error)
{
    (void)error;
    *count = 1;
    if (capacity > 0) {
        char name[96];
        processor_name(name, sizeof name);
        list[0].struct_size = (uint32_t)sizeof list[0];
        list[0].index = 0;
        (void)snprintf(list[0].name, sizeof list[0].name, "%s, %u threads", name, host->thread_count(host->self));
        const kernels *k = kernels_named(best_isa());
        (void)snprintf(list[0].detail, sizeof list[0].detail, "kernels %s%s; %s", k->name, half_kernels_of(k) != &k->half ? " with bf16" : "",
                       openblas_get_config());
        list[0].memory_bytes = host_memory_bytes(0);
        list[0].memory_free_bytes = host_memory_bytes(1);
    }
    return PRN_OK;
}

static prn_status open_instance(const prn_host *host, const prn_option_value *values, prn_backend_instance **instance, prn_error *error)
{
    const char *isa = values != NULL && values[OPTION_ISA].string != NULL ? values[OPTION_ISA].string : "auto";
    *instance = NULL;
    if (strcmp(isa, "auto") == 0) {
        isa = best_isa();
    }
    if (kernels_named(isa) == NULL || !processor_has(isa)) {
        return prn_error_set(error, PRN_UNSUPPORTED, "option isa=%s: this processor lacks it; use isa=auto", isa);
    }
    if (openblas_get_parallel() == OPENBLAS_SEQUENTIAL && host->thread_count(host->self) > 1) {
        /* that build shares its packing buffers without a lock: concurrent products overwrite each other */
        return prn_error_set(error, PRN_UNSUPPORTED, "the serial build of OpenBLAS is not safe with several threads; install libopenblas0-pthread, or run "
                             "with --threads 1");
    }
    prn_backend_instance *made = host->allocate(host->self, sizeof *made, "cpu backend");
    if (made == NULL) {
        return prn_error_set(error, PRN_NO_MEMORY, "no memory for the cpu backend");
    }
    memset(made, 0, sizeof *made);
    made->host = host;
    made->k = kernels_named(isa);
    if (values != NULL && values[OPTION_PRECISION].string != NULL && strcmp(values[OPTION_PRECISION].string, "bf16") == 0) {
        made->half = half_kernels_of(made->k);
    }
    openblas_set_num_threads(1);
    *instance = made;
    return PRN_OK;
}

static void close_instance(prn_backend_instance *instance)
{
    if (instance != NULL) {
        instance->host->release(instance->host->self, instance);
    }
}

static int supports(prn_backend_instance *instance, const prn_program *program, uint32_t op)
{
    (void)instance;
    return op < program->op_count && operation_check(program, op, NULL) == PRN_OK;
}

static prn_status synchronise(prn_backend_instance *instance, prn_error *error)
{
    (void)instance;
    (void)error;
    return PRN_OK;
}

static prn_status op_times(prn_backend_instance *instance, prn_op_time *times, uint32_t capacity, uint32_t *count, int reset, prn_error *error)
{
    (void)error;
    *count = 0;
    for (uint32_t kind = 0; kind < PRN_OP_END; kind++) {
        if (instance->times[kind].calls > 0) {
            if (*count < capacity) {
                times[*count] = (prn_op_time){kind, 0, instance->times[kind].calls, instance->times[kind].seconds};
            }
            ++*count;
        }
    }
    if (reset) {
        memset(instance->times, 0, sizeof instance->times);
    }
    return PRN_OK;
}

static void instance_error_bound(prn_backend_instance *instance, uint32_t kind, double *absolute, double *relative)
{
    (instance->half != NULL ? error_bound_bf16 : error_bound)(kind, absolute, relative);
    if (instance->half != NULL && kind == PRN_OP_ATTENTION_GRAD) {
        *relative = 2e-1; /* steep rows: the chances' own error, beside that of the gradient by them */
    }
}

static const prn_backend table = {
    .struct_size = (uint32_t)sizeof(prn_backend),
    .option_count = sizeof options / sizeof options[0],
    .name = "cpu",
    .summary = "matrix products and vectorised kernels in fp32, or products of bf16, on all threads",
    .numerics = "cpu-5",
    .options = options,
    .devices = devices,
    .open = open_instance,
    .close = close_instance,
    .buffer_create = buffer_create,
    .buffer_destroy = buffer_drop,
    .buffer_write = buffer_write,
    .buffer_read = buffer_read,
    .buffer_copy = buffer_copy,
    .supports = supports,
    .compile = executable_compile,
    .executable_destroy = executable_destroy,
    .execute = execute,
    .execute_each = execute_each,
    .synchronise = synchronise,
    .op_times = op_times,
    .error_bound = error_bound,
    .instance_error_bound = instance_error_bound,
};

static const prn_interface interfaces[] = {{PRN_BACKEND_INTERFACE, &table}};

PRN_PLUGIN_DECLARE = {
    .struct_size = (uint32_t)sizeof(prn_plugin),
    .magic = PRN_PLUGIN_MAGIC,
    .abi_major = PRN_ABI_MAJOR,
    .abi_minor = PRN_ABI_MINOR,
    .interface_count = 1,
    .name = "cpu",
    .version = "1.0.0",
    .license = "Apache-2.0",
    .summary = "Computes on the processor's cores: OpenBLAS, AVX2 and AVX-512 kernels.",
    .interfaces = interfaces,
};
