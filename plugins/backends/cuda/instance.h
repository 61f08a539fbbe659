/* plugins/backends/cuda/instance.h: an opened device, its buffers and executables, and what the plugin's files do for each other.
 *
 *   driver.c   the libraries' functions        memory.c     device memory, host-device copies
 *   backend.c  the table, devices, open        program.c    compile, execute, graphs
 *   launch.c   one operation to kernels        product.c    matrix products by cuBLASLt
 *   layout.c   bf16: which tensors, and where
 *
 * All work of an instance goes through one stream, in order; one scratch area serves all executables, because an operation has finished with
 * it when the next one starts. Only buffer_write_ahead has a stream of its own: its copies wait for the last use of their buffer, and the next use
 * waits for them.
 * Precision: with `half`, workspace tensors of the towers are bf16 in memory, and so are the operands of matrix products and attention;
 * everything bound by the caller (weights, gradients, moments, embeddings) stays fp32, and so do the loss and all statistics.
 * Invariant: nothing is allocated on the device by an execution, but for the first use of a larger workspace.
 */
#ifndef PRN_CUDA_INSTANCE_H
#define PRN_CUDA_INSTANCE_H

#include "../common/bf16.h"
#include "../common/operand.h"
#include "driver.h"
#include "kernels.h"

enum {
    STAGING_SLOTS = 4,
    STAGING_BYTES = 8 << 20,      /* of one slot */
    PRODUCT_LIMIT = 512,          /* matrix products remembered */
    PRODUCT_WORKSPACE = 32 << 20, /* bytes of the matrix library's own scratch */
    GRAPH_LIMIT = 64,             /* graphs of one executable */
    SCRATCH_ALIGNMENT = 256,      /* bytes */
    SHARED_LIMIT = 96 << 10,      /* bytes of shared memory that every supported device gives a block */
    BLOCK_LIMIT = 0x7fffffff      /* blocks of one launch */
};

/* A matrix product as the library is asked for it; D (rows, columns) = alpha A B + beta C, all by columns. */
typedef struct product_key {
    int64_t m, n, k, lda, ldb, ldd;
    int32_t transpose_a, transpose_b, is_half, d_is_half, epilogue, has_beta, device_alpha;
    int32_t align_a, align_b, align_d;
} product_key;

typedef struct product {
    product_key key;
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t a, b, d;
    cublasLtMatmulAlgo_t algorithm;
    int is_served; /* 0: the library has no algorithm */
} product;

/* Pinned host memory that copies go through, one slot after the other. */
typedef struct staging_ring {
    struct {
        void *memory; /* pinned; NULL before it is first needed */
        CUevent event;
        int is_busy;
    } slots[STAGING_SLOTS];
    uint32_t next;
} staging_ring;

struct prn_backend_instance {
    const prn_host *host; /* first */
    driver api;
    CUdevice device;
    CUcontext context;
    CUstream stream;
    CUmodule module;
    CUfunction functions[KERNEL_COUNT];
    int32_t shared_bytes[KERNEL_COUNT]; /* dynamic shared memory that each function has been allowed */
    cublasLtHandle_t lt; /* NULL: own kernel */
    product *products;   /* (PRODUCT_LIMIT) */
    uint32_t product_count, product_next;
    CUdeviceptr product_workspace, constants; /* constants: 0.0f, 1.0f */
    CUdeviceptr scratch;
    size_t scratch_bytes;
    uint64_t scratch_version; /* raised when `scratch` moves */
    staging_ring staging, ahead; /* for `stream` and for `copies` */
    CUstream copies;
    int half, fast, graphs, timing, told_refused;
    CUevent began, ended; /* timing */
    struct {
        uint64_t calls;
        double seconds;
    } times[PRN_OP_END];
};

typedef struct graph_key {
    uint32_t segment, count;
    uint64_t scratch_version;
    int64_t values[]; /* (count): symbol values, then slots' addresses, then groups and tiles of ragged attention */
} graph_key;

typedef struct graph_entry {
    graph_key *key;
    CUgraphExec graph; /* NULL: seen once */
    uint64_t used;     /* by the executable's clock */
} graph_entry;

struct prn_executable {
    const prn_program *program;
    operation *views;   /* (op_count), filled at each execution */
    uint8_t *is_half;   /* (tensor_count): the tensor is bf16 in the workspace */
    size_t *byte_at;    /* (tensor_count): where a workspace tensor lies, with bf16; NULL: where the host has planned it */
    size_t workspace_bytes;
    int64_t *longest;   /* (op_count): longest row group of ragged attention in whole tiles, this execution */
    int64_t *symbols;   /* (symbol_count), this execution's, after bucketing */
    CUdeviceptr tables; /* sorted rows of table gradients */
    size_t *table_at;   /* (op_count): bytes from the start of `tables` */
    size_t *table_capacity; /* (op_count): most rows */
    int32_t *table_host; /* room to sort in */
    size_t table_host_rows, table_host_ids;
    int32_t bucket_symbol; /* rows of this symbol may be padded; PRN_NO_SYMBOL */
    graph_key *room;       /* for a key, before it is kept */
    graph_entry graphs[GRAPH_LIMIT];
    uint64_t clock;
};

/* ---- memory.c ---- */

/* Device memory; an error says how much was wanted and how much is free. [orchestrator] */
prn_status device_allocate(prn_backend_instance *d, size_t bytes, const char *purpose, CUdeviceptr *memory, prn_error *error);
void device_release(prn_backend_instance *d, CUdeviceptr memory);
/* Makes this instance's context the calling thread's. [orchestrator] */
prn_status instance_enter(prn_backend_instance *d, prn_error *error);
/* At least so many bytes of scratch; only outside of executions. [orchestrator] */
prn_status scratch_reserve(prn_backend_instance *d, size_t bytes, prn_error *error);
prn_status staging_open(prn_backend_instance *d, prn_error *error);
void staging_close(prn_backend_instance *d);
/* Host memory to device memory in stream order; `source` may be reused on return. [orchestrator] */
prn_status upload(prn_backend_instance *d, CUdeviceptr target, const void *source, size_t bytes, prn_error *error);

/* At least the first `bytes` of a buffer's memory; what is new is zero, and what it holds is kept, unless it may be lost. [orchestrator] */
prn_status buffer_take(prn_backend_instance *d, prn_buffer *buffer, size_t bytes, int may_be_lost, prn_error *error);
/* Before and after work on `stream` that uses the buffer: waits for a copy that was begun ahead; lets the next such copy wait. [orchestrator] */
prn_status buffer_join(prn_backend_instance *d, prn_buffer *buffer, prn_error *error);
prn_status buffer_leave(prn_backend_instance *d, prn_buffer *buffer, prn_error *error);
prn_status buffer_write_ahead(prn_backend_instance *d, prn_buffer *buffer, int64_t offset, prn_host_type type, const void *source, int64_t count,
                              prn_error *error);
size_t buffer_bytes(const prn_buffer *buffer);
/* The host's copy of an I32 buffer, else NULL. [orchestrator] */
int32_t *buffer_integers(prn_buffer *buffer);
prn_status buffer_create(prn_backend_instance *d, prn_type type, int64_t elements, const char *purpose, prn_buffer **buffer, prn_error *error);
void buffer_destroy(prn_backend_instance *d, prn_buffer *buffer);
prn_status buffer_write(prn_backend_instance *d, prn_buffer *buffer, int64_t offset, prn_host_type type, const void *source, int64_t count, prn_error *error);
prn_status buffer_read(prn_backend_instance *d, prn_buffer *buffer, int64_t offset, prn_host_type type, void *target, int64_t count, prn_error *error);
prn_status buffer_copy(prn_backend_instance *d, prn_buffer *target, int64_t target_offset, prn_buffer *source, int64_t source_offset, int64_t count,
                       prn_error *error);

/* ---- launch.c ---- */

/* Bytes of scratch that the operation needs at the sizes of `v`. [any] */
size_t operation_scratch(const prn_backend_instance *d, const operation *v);
/* 1 when its kernels serve these attributes (head widths, ...). [any] */
int operation_served(const operation *v);
prn_status operation_launch(prn_backend_instance *d, prn_executable *e, uint32_t index, prn_error *error);
prn_status kernel_launch(prn_backend_instance *d, kernel_id kernel, const void *arguments, int64_t blocks, int64_t blocks_y, uint32_t threads, size_t shared,
                         prn_error *error);
prn_status elements_launch(prn_backend_instance *d, const element_args *arguments, prn_error *error);
prn_status values_copy(prn_backend_instance *d, values target, values source, int64_t n, prn_error *error);

/* Updates of parameters that are still to be launched, several at once. They may wait, because nothing else in between needs what they write or
 * writes what they read; each element is computed as it would be alone. */
typedef struct updates {
    adamw_args arguments;
    const operation *views[ADAMW_PIECES];
    int32_t count;
} updates;

/* 1 when `view` must come after what is pending. [any] */
int updates_meet(const updates *pending, const operation *view);
/* 0 when the update does not go with what is pending, or there are enough. [any] */
int updates_take(updates *pending, const operation *view);
/* Launches them; then there are none. [orchestrator] */
prn_status updates_launch(prn_backend_instance *d, updates *pending, prn_error *error);

/* ---- product.c ---- */

/* y (m, n) = act(alpha a b + beta y + bias) + residual, row-major; a is (m, k), or (k, m) with transpose_a; b (k, n), or (n, k) with transpose_b. */
typedef struct product_job {
    values a, b, y, bias, residual, pre;
    values sums;         /* (n of b's other side): sums over a's rows, see LINEAR_GRAD_W */
    const float *alpha;  /* device; NULL: 1 */
    int64_t m, n, k;
    int32_t transpose_a, transpose_b, activation, accumulate;
    int32_t may_be_half; /* operands may be rounded to bf16 when the instance says so */
    int32_t reserved;
} product_job;

prn_status products_open(prn_backend_instance *d, prn_error *error);
void products_close(prn_backend_instance *d);
/* Bytes of scratch of a product of these sizes. [any] */
size_t product_scratch(const prn_backend_instance *d, int64_t m, int64_t n, int64_t k);
/* `scratch_at`: bytes of the scratch area that the caller uses itself. `did_sums` says whether `sums` came with it. [orchestrator] */
prn_status product_run(prn_backend_instance *d, const product_job *job, size_t scratch_at, int *did_sums, prn_error *error);

/* ---- layout.c ---- */

/* Which tensors are bf16, and a workspace of just the bytes that they and the others need. [orchestrator] */
prn_status layout_plan(const prn_host *host, prn_executable *e, const int64_t *maxima, prn_error *error);

typedef struct half_rule {
    uint32_t kind;
    uint8_t in, out;       /* operands that may be bf16, as bits */
    uint8_t is_tower;      /* 1: says that what it touches is a tower's activation */
    uint8_t keeps_padding; /* 1: rows of padding stay numbers, and their gradients zero */
} half_rule;

/* NULL when there is none. [any] */
const half_rule *half_rule_of(uint32_t kind);

/* ---- program.c ---- */

int program_supports(prn_backend_instance *d, const prn_program *program, uint32_t op);
prn_status program_compile(prn_backend_instance *d, const prn_program *program, prn_executable **executable, prn_error *error);
void executable_destroy(prn_backend_instance *d, prn_executable *e);
prn_status program_execute(prn_backend_instance *d, prn_executable *e, uint32_t segment, const prn_binding *binding, prn_error *error);

static inline size_t aligned(size_t bytes)
{
    return (bytes + SCRATCH_ALIGNMENT - 1) / SCRATCH_ALIGNMENT * SCRATCH_ALIGNMENT;
}

static inline void *device_pointer(CUdeviceptr memory)
{
    return (void *)(uintptr_t)memory; /* never read through by the host */
}

static inline CUdeviceptr device_address(const void *pointer)
{
    return (CUdeviceptr)(uintptr_t)pointer;
}

#endif
