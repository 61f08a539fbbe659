/* perennial/backend.h: the table of a hardware backend ("perennial.backend/1").
 *
 * Invariants: calls on one instance come from one thread at a time; work may be asynchronous until `synchronise`
 * or `buffer_read` returns; the result of an executable does not depend on the host's thread count.
 * Ownership: the backend frees what it created; the host destroys executables and buffers before it closes the instance.
 */
#ifndef PERENNIAL_BACKEND_H
#define PERENNIAL_BACKEND_H

#include <perennial/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct prn_backend_instance prn_backend_instance; /* the backend's own */
typedef struct prn_buffer prn_buffer;                     /* the backend's own */
typedef struct prn_executable prn_executable;             /* the backend's own */

typedef enum prn_host_type { PRN_HOST_F32 = 1, PRN_HOST_F64 = 2, PRN_HOST_I32 = 3, PRN_HOST_U8 = 4 } prn_host_type;

typedef struct prn_device_info {
    uint32_t struct_size; /* bytes */
    uint32_t index;
    char name[128];       /* "AMD EPYC 7B13, 2 cores" */
    char detail[256];     /* instruction sets, library and driver versions: what bits depend on, no thread count; part of stage keys */
    uint64_t memory_bytes;
    uint64_t memory_free_bytes;
} prn_device_info;

/* What an execution works on. `buffers[slot]` with an element offset added to every tensor's own; slot 0 is the
 * workspace. `symbol_values[i]` for prn_program.symbols[i]. */
typedef struct prn_binding {
    uint32_t struct_size; /* bytes */
    uint32_t slot_count;
    prn_buffer *const *buffers;
    const int64_t *buffer_offsets; /* elements; NULL for all zero */
    const int64_t *symbol_values;
    uint32_t symbol_count;
    uint32_t reserved;
} prn_binding;

/* One of several executions (execute_each). */
typedef struct prn_execution {
    prn_executable *executable;
    const prn_binding *binding;
    uint32_t segment;
    uint32_t reserved;
} prn_execution;

/* Time spent per operation kind since the instance was opened or the counters were reset. */
typedef struct prn_op_time {
    uint32_t kind; /* a prn_op_kind */
    uint32_t reserved;
    uint64_t calls;
    double seconds;
} prn_op_time;

typedef struct prn_backend {
    uint32_t struct_size; /* bytes */
    uint32_t option_count;
    const char *name;     /* what --backend takes */
    const char *summary;  /* one line */
    const char *numerics; /* changes whenever results may change in any bit; part of stage keys */
    const prn_option *options;

    /* Writes up to `capacity` devices and their number; zero devices (no hardware, no driver) is not an error. [orchestrator] */
    prn_status (*devices)(const prn_host *host, prn_device_info *devices, uint32_t capacity, uint32_t *count, prn_error *error);
    /* `values` has one entry an option. [orchestrator] */
    prn_status (*open)(const prn_host *host, const prn_option_value *values, prn_backend_instance **instance, prn_error *error);
    void (*close)(prn_backend_instance *instance); /* [orchestrator] */

    /* Contents start as zero bytes. `elements` may be 0. [orchestrator] */
    prn_status (*buffer_create)(prn_backend_instance *instance, prn_type type, int64_t elements, const char *purpose,
                                prn_buffer **buffer, prn_error *error);
    void (*buffer_destroy)(prn_backend_instance *instance, prn_buffer *buffer); /* NULL is allowed. [orchestrator] */
    /* Host memory to buffer, converting from `type` (F32 or F64 for REAL, and for BF16 to the nearest, ties to even; I32, U8); the host may reuse its
     * memory on return. [orchestrator] */
    prn_status (*buffer_write)(prn_backend_instance *instance, prn_buffer *buffer, int64_t offset, prn_host_type type,
                               const void *source, int64_t count, prn_error *error);
    /* Waits for everything before it. [orchestrator] */
    prn_status (*buffer_read)(prn_backend_instance *instance, prn_buffer *buffer, int64_t offset, prn_host_type type,
                              void *target, int64_t count, prn_error *error);
    /* Same types only; ranges must not overlap. [orchestrator] */
    prn_status (*buffer_copy)(prn_backend_instance *instance, prn_buffer *target, int64_t target_offset,
                              prn_buffer *source, int64_t source_offset, int64_t count, prn_error *error);
    /* 1 when this operation of this program can be compiled. [orchestrator] */
    int (*supports)(prn_backend_instance *instance, const prn_program *program, uint32_t op);
    /* `program` and all it points to outlive the executable. [orchestrator] */
    prn_status (*compile)(prn_backend_instance *instance, const prn_program *program, prn_executable **executable, prn_error *error);
    void (*executable_destroy)(prn_backend_instance *instance, prn_executable *executable); /* NULL is allowed. [orchestrator] */
    prn_status (*execute)(prn_backend_instance *instance, prn_executable *executable, uint32_t segment,
                          const prn_binding *binding, prn_error *error); /* [orchestrator] */
    prn_status (*synchronise)(prn_backend_instance *instance, prn_error *error); /* [orchestrator] */
    /* Time by operation kind; `reset` 1 starts again. May be NULL. [orchestrator] */
    prn_status (*op_times)(prn_backend_instance *instance, prn_op_time *times, uint32_t capacity, uint32_t *count, int reset,
                           prn_error *error);
    /* Stated error bound of one operation on this backend against fp64: |got - want| <= absolute + relative * scale,
     * where scale is the largest magnitude in the wanted tensor. [any] */
    void (*error_bound)(uint32_t kind, double *absolute, double *relative);
    /* The same of an opened instance, where its options change the bound (a working precision); NULL: error_bound holds. [orchestrator] */
    void (*instance_error_bound)(prn_backend_instance *instance, uint32_t kind, double *absolute, double *relative);
    /* since 1.2 */
    /* As buffer_write, beside the work that was begun before: the copy waits for what uses this buffer, and for nothing else; whatever uses the
     * buffer later waits for the copy. Not for I32 buffers. The host may reuse its memory on return. NULL: there is no such way. [orchestrator] */
    prn_status (*buffer_write_ahead)(prn_backend_instance *instance, prn_buffer *buffer, int64_t offset, prn_host_type type,
                                     const void *source, int64_t count, prn_error *error);
    void *reserved_1_3; /* NULL: what 1.3 to 1.5 had here is no longer called */
    /* since 1.6 */
    /* Executions with the same results, to the last bit, as `execute` of one after the other; they may run side by side. What one writes, no other reads or
     * writes, but for slots that all executions of a program bind to the same place, and that their segment only adds to. Those of a large program come
     * before those of a small one. When one is refused, none is run. For a backend that gains from blocks of a batch that stay in a core's cache; NULL: it
     * does not. [orchestrator] */
    prn_status (*execute_each)(prn_backend_instance *instance, const prn_execution *executions, uint32_t count, prn_error *error);
} prn_backend;

#ifdef __cplusplus
}
#endif
#endif
