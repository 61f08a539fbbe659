/* plugins/backends/cuda/launch.c: one operation to kernels and matrix products. See kernels.h for what each kernel does. */
#include "instance.h"

#include <math.h>

enum { DEFAULT_SHARED = 48 << 10 }; /* bytes that a launch may use unasked */

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t pieces_of(int64_t total, int64_t step)
{
    return (total + step - 1) / step;
}

prn_status kernel_launch(prn_backend_instance *d, kernel_id kernel, const void *arguments, int64_t blocks, int64_t blocks_y, uint32_t threads, size_t shared,
                         prn_error *error)
{
    void *parameters[1] = {(void *)(uintptr_t)arguments};
    if (blocks <= 0 || blocks_y <= 0) {
        return PRN_OK;
    }
    if (shared > DEFAULT_SHARED && (int32_t)shared > d->shared_bytes[kernel]) {
        const prn_status status =
            driver_status(&d->api, d->api.cuFuncSetAttribute(d->functions[kernel], CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)shared),
                          "asking for shared memory", error);
        if (status != PRN_OK) {
            return status;
        }
        d->shared_bytes[kernel] = (int32_t)shared;
    }
    return driver_status(&d->api,
                         d->api.cuLaunchKernel(d->functions[kernel], (unsigned)blocks, (unsigned)blocks_y, 1, threads, 1, 1, (unsigned)shared, d->stream,
                                               parameters, NULL),
                         "starting a kernel", error);
}

/* ---- operands as kernels see them ---- */

typedef struct work {
    prn_backend_instance *d;
    prn_executable *e;
    const operation *v;
    uint32_t index;
    prn_error *error;
} work;

static values values_at(void *data, int is_half)
{
    const int wide = (uintptr_t)data % 16 == 0 ? 2 : (uintptr_t)data % 8 == 0 && is_half;
    return (values){.data = data, .is_half = is_half, .is_wide = wide};
}

static values operand_values(const work *w, const operand *o, int32_t tensor)
{
    return o->data == NULL || tensor == PRN_NO_TENSOR ? (values){0} : values_at(o->data, w->e->is_half[tensor]);
}

static values in(const work *w, int i)
{
    return operand_values(w, &w->v->in[i], w->v->op->input[i]);
}

static values out(const work *w, int i)
{
    return operand_values(w, &w->v->out[i], w->v->op->output[i]);
}

static void *scratch_at(const work *w, size_t bytes)
{
    return device_pointer(w->d->scratch + bytes);
}

/* Blocks for so many threads' worth of work. */
static int64_t blocks_for(int64_t items, int64_t of_block)
{
    return least(pieces_of(items, of_block), GRID_LIMIT);
}

static prn_status launch(const work *w, kernel_id kernel, const void *arguments, int64_t blocks, size_t shared)
{
    return kernel_launch(w->d, kernel, arguments, blocks, 1, THREADS, shared, w->error);
}

prn_status elements_launch(prn_backend_instance *d, const element_args *arguments, prn_error *error)
{
    return kernel_launch(d, KERNEL_element, arguments, blocks_for(arguments->n, THREADS * 8), 1, THREADS, 0, error);
}

prn_status values_copy(prn_backend_instance *d, values target, values source, int64_t n, prn_error *error)
{
    const element_args arguments = {.a = source, .y = target, .n = n, .kind = ELEMENT_COPY};
    return elements_launch(d, &arguments, error);
}

/* Blocks for packs of four columns. */
static int64_t pack_blocks(int64_t rows, int64_t columns)
{
    return blocks_for(rows * pieces_of(columns, 4), THREADS);
}

static int64_t row_blocks(int64_t rows)
{
    return blocks_for(rows, WARPS);
}

/* ---- sums ---- */

static size_t sum_scratch(int64_t n)
{
    return aligned((size_t)pieces_of(n, SUM_PIECE) * sizeof(double));
}

static prn_status whole_sum(const work *w, values a, values b, int64_t n, values y, int accumulate, size_t at)
{
    double *const partials = scratch_at(w, at);
    const sum_args first = {.a = a, .b = b, .partials = partials, .n = n};
    const sum_finish_args second = {.partials = partials, .y = y, .count = pieces_of(n, SUM_PIECE), .accumulate = accumulate};
    const prn_status status = launch(w, KERNEL_sum, &first, blocks_for(n, SUM_PIECE), WARPS * sizeof(double));
    return status == PRN_OK ? launch(w, KERNEL_sum_finish, &second, 1, WARPS * sizeof(double)) : status;
}

/* A function of the number of rows alone. */
static int64_t piece_rows(int64_t rows)
{
    return most(16, pieces_of(rows, COLUMN_PIECES));
}

static size_t column_scratch(int64_t rows, int64_t columns, int halves)
{
    return aligned((size_t)(pieces_of(rows, piece_rows(rows)) * columns * halves) * sizeof(float));
}

/* y (+)= column sums of dy; z (+)= those of dy * hat(x). */
static prn_status column_sums(const work *w, values dy, values x, values mean, values rstd, int64_t rows, int64_t columns, values y, values z, int accumulate)
{
    const int halves = x.data != NULL ? 2 : 1;
    const int64_t step = piece_rows(rows), pieces = pieces_of(rows, step);
    float *const partials = scratch_at(w, 0);
    const column_args first = {.dy = dy, .x = x, .mean = mean, .rstd = rstd, .partials = partials, .rows = rows, .columns = columns, .piece_rows = step,
                               .pieces = pieces};
    const column_finish_args second = {.partials = partials, .y = y, .z = z, .columns = columns, .pieces = pieces, .stride = columns * halves,
                                       .accumulate = accumulate};
    const prn_status status = kernel_launch(w->d, KERNEL_columns, &first, pieces_of(columns, COLUMN_TILE), pieces, THREADS,
                                            (size_t)(THREADS * 4 * halves) * sizeof(float), w->error);
    return status == PRN_OK ? launch(w, KERNEL_columns_finish, &second, blocks_for(columns, THREADS), 0) : status;
}

/* ---- matrix products ---- */

static prn_status linear(const work *w)
{
    const operation *v = w->v;
    int unused;
    const product_job job = {.a = in(w, 0), .b = in(w, 1), .y = out(w, 0), .bias = in(w, 2), .residual = in(w, 3), .pre = out(w, 1), .m = v->m, .n = v->n,
                             .k = v->k, .transpose_b = !v->op->attrs.transpose_w, .activation = v->op->attrs.activation, .may_be_half = 1};
    return product_run(w->d, &job, 0, &unused, w->error);
}

static prn_status linear_grad_x(const work *w)
{
    const operation *v = w->v;
    int unused;
    const product_job job = {.a = in(w, 0), .b = in(w, 1), .y = out(w, 0), .m = v->m, .n = v->k, .k = v->n, .transpose_b = v->op->attrs.transpose_w,
                             .accumulate = v->op->attrs.accumulate, .may_be_half = 1};
    return product_run(w->d, &job, 0, &unused, w->error);
}

static prn_status linear_grad_w(const work *w)
{
    const operation *v = w->v;
    const int turned = v->op->attrs.transpose_w;
    int did_sums = 0;
    const product_job job = {.a = in(w, turned ? 1 : 0), .b = in(w, turned ? 0 : 1), .y = out(w, 0), .m = turned ? v->k : v->n, .n = turned ? v->n : v->k,
                             .k = v->m, .transpose_a = 1, .accumulate = v->op->attrs.accumulate, .may_be_half = 1,
                             .sums = turned ? (values){0} : out(w, 1)};
    prn_status status = product_run(w->d, &job, 0, &did_sums, w->error);
    if (status == PRN_OK && v->out[1].data != NULL && !did_sums) {
        status = column_sums(w, in(w, 0), (values){0}, (values){0}, (values){0}, v->m, v->n, out(w, 1), (values){0}, v->op->attrs.accumulate);
    }
    return status;
}

/* exp(log_scale) at the start of the scratch area. */
static prn_status scale_ready(const work *w, values log_scale)
{
    const scale_args arguments = {.x = log_scale, .y = scratch_at(w, 0)};
    return launch(w, KERNEL_scale, &arguments, 1, 0);
}

static prn_status similarity(const work *w)
{
    const operation *v = w->v;
    int unused;
    const product_job job = {.a = in(w, 0), .b = in(w, 1), .y = out(w, 0), .alpha = scratch_at(w, 0), .m = v->m, .n = v->n, .k = v->k, .transpose_b = 1};
    const prn_status status = scale_ready(w, in(w, 2));
    return status == PRN_OK ? product_run(w->d, &job, SCRATCH_ALIGNMENT, &unused, w->error) : status;
}

static prn_status similarity_grad(const work *w)
{
    const operation *v = w->v;
    int unused;
    const product_job by_a = {.a = in(w, 0), .b = in(w, 2), .y = out(w, 0), .alpha = scratch_at(w, 0), .m = v->m, .n = v->k, .k = v->n,
                              .accumulate = v->op->attrs.accumulate};
    const product_job by_b = {.a = in(w, 0), .b = in(w, 1), .y = out(w, 1), .alpha = scratch_at(w, 0), .m = v->n, .n = v->k, .k = v->m, .transpose_a = 1,
                              .accumulate = 1};
    prn_status status = scale_ready(w, in(w, 4));
    if (status == PRN_OK) {
        status = product_run(w->d, &by_a, SCRATCH_ALIGNMENT, &unused, w->error);
    }
    if (status == PRN_OK) {
        status = product_run(w->d, &by_b, SCRATCH_ALIGNMENT, &unused, w->error);
    }
    if (status == PRN_OK && v->out[2].data != NULL) {
        status = whole_sum(w, in(w, 0), in(w, 3), v->m * v->n, out(w, 2), 1, SCRATCH_ALIGNMENT);
    }
    return status;
}

/* ---- attention ---- */

static size_t general_shared(int64_t tile, int64_t width, int64_t matrices)
{
    return (size_t)(matrices * tile * (width + 1) + 2 * tile * (tile + 1) + 3 * tile) * sizeof(float);
}

/* Rows of a tile: what the widest of the three kernels has room for; 0 when there is none. */
static int32_t general_tile(int64_t width)
{
    int32_t tile = ATTENTION_TILE;
    while (tile > 0 && general_shared(tile, width, 6) > SHARED_LIMIT) {
        tile /= 2;
    }
    return tile;
}

/* ---- attention on matrix units ---- */

enum { MMA_FORWARD, MMA_GRAD, MMA_GRAD_Q, MMA_GRAD_KV }; /* in the order of the kernels of one width */

/* Which of the widths that there are kernels for, or -1. */
static int mma_index(const prn_backend_instance *d, int64_t head_width)
{
    static const int64_t widths[] = {
#define WIDTH(width) width,
        MMA_WIDTHS(WIDTH)
#undef WIDTH
    };
    int i = 0, count = sizeof widths / sizeof widths[0];
    while (i < count && widths[i] < head_width) {
        i++;
    }
    return d->half && head_width % 8 == 0 && i < count ? i : -1;
}

static size_t mma_shared(int index, int which, int64_t tiles)
{
    static const struct {
        size_t tile;
        int stages;
    } sizes[] = {
#define SIZE(width) {(size_t)MMA_TILE * ((width) + 8) * sizeof(uint16_t), MMA_STAGES(width)},
        MMA_WIDTHS(SIZE)
#undef SIZE
    };
    const size_t tile = sizes[index].tile, stages = tiles > 1 ? (size_t)sizes[index].stages : 1; /* a second one is not reached by groups of one tile */
    switch (which) {
    case MMA_FORWARD: return tile + stages * 2 * tile;
    case MMA_GRAD: return 4 * tile + 2 * (size_t)MMA_TILE * (MMA_TILE + 8) * sizeof(uint16_t);
    case MMA_GRAD_Q: return 2 * tile + stages * 2 * tile;
    default: return MMA_STATISTICS + 2 * tile + stages * 2 * tile;
    }
}

static prn_status attention_launch(const work *w, kernel_id kernel, const attention_args *a, uint32_t threads, size_t shared)
{
    int64_t blocks;
    if (__builtin_mul_overflow(a->items * a->heads, a->tiles, &blocks) || blocks > BLOCK_LIMIT) {
        return prn_error_set(w->error, PRN_UNSUPPORTED, "attention over %lld groups is more than a device takes at once; use a smaller micro_batch",
                             (long long)a->items);
    }
    return kernel_launch(w->d, kernel, a, blocks, 1, threads, shared, w->error);
}

/* Padding of a bucket: rows that belong to no group. */
static prn_status clear_tail(const work *w, values y, int64_t columns, values z, int64_t z_columns, const int32_t *offsets)
{
    const zero_tail_args arguments = {.offsets = offsets, .y = y, .z = z, .items = w->v->items, .rows = w->v->m, .columns = columns, .z_columns = z_columns};
    return offsets == NULL || w->e->bucket_symbol == PRN_NO_SYMBOL ? PRN_OK
                                                                   : launch(w, KERNEL_zero_tail, &arguments, least(pack_blocks(w->v->m, columns), 1024), 0);
}

static attention_args attention_of(const work *w, int32_t tile)
{
    const operation *v = w->v;
    const int64_t longest = v->per_item > 0 ? v->per_item : w->e->longest[w->index];
    return (attention_args){.rows = v->m, .items = v->items, .positions = v->per_item, .heads = v->heads, .width = v->head_width,
                            .tiles = pieces_of(longest, tile), .scale = (float)(1 / sqrt((double)v->head_width)), .causal = v->op->attrs.causal,
                            .accumulate = v->op->attrs.accumulate, .tile = tile};
}

static prn_status mma_launch(const work *w, const attention_args *a, int index, int which)
{
    return attention_launch(w, (kernel_id)(KERNEL_attention_mma_32 + 4 * index + which), a, MMA_THREADS, mma_shared(index, which, a->tiles));
}

static prn_status attention(const work *w)
{
    const operation *v = w->v;
    const int mma = mma_index(w->d, v->head_width);
    attention_args a = attention_of(w, mma >= 0 ? (int32_t)MMA_TILE : general_tile(v->head_width));
    a.qkv = in(w, 0);
    a.y = out(w, 0);
    a.lse = out(w, 1);
    a.offsets = v->per_item > 0 ? NULL : v->in[1].data;
    const prn_status status = mma >= 0 ? mma_launch(w, &a, mma, MMA_FORWARD)
                                       : attention_launch(w, KERNEL_attention, &a, ATTENTION_THREADS, general_shared(a.tile, a.width, 4));
    return status == PRN_OK ? clear_tail(w, a.y, v->n, a.lse, v->heads, a.offsets) : status;
}

static prn_status attention_grad(const work *w)
{
    const operation *v = w->v;
    const int mma = mma_index(w->d, v->head_width);
    prn_status status = PRN_OK;
    attention_args a = attention_of(w, mma >= 0 ? (int32_t)MMA_TILE : general_tile(v->head_width));
    a.dy = in(w, 0);
    a.qkv = in(w, 1);
    a.y = in(w, 2);
    a.lse = in(w, 3);
    a.offsets = v->per_item > 0 ? NULL : v->in[4].data;
    a.dqkv = out(w, 0);
    a.delta = scratch_at(w, 0);
    if (mma >= 0 && a.tiles <= 1) {
        status = mma_launch(w, &a, mma, MMA_GRAD);
    } else {
        status = launch(w, KERNEL_attention_delta, &a, blocks_for(v->m * v->heads, THREADS / DELTA_LANES), 0);
        if (status == PRN_OK) {
            status = mma >= 0 ? mma_launch(w, &a, mma, MMA_GRAD_Q)
                              : attention_launch(w, KERNEL_attention_grad_q, &a, ATTENTION_THREADS, general_shared(a.tile, a.width, 5));
        }
        if (status == PRN_OK) {
            status = mma >= 0 ? mma_launch(w, &a, mma, MMA_GRAD_KV)
                              : attention_launch(w, KERNEL_attention_grad_kv, &a, ATTENTION_THREADS, general_shared(a.tile, a.width, 6));
        }
    }
    return status == PRN_OK && !a.accumulate ? clear_tail(w, a.dqkv, 3 * v->n, (values){0}, 0, a.offsets) : status;
}

static prn_status clear(const work *w, values x, int64_t elements)
{
    const size_t bytes = (size_t)elements * (x.is_half ? 2 : 4);
    return x.data == NULL || bytes == 0 ? PRN_OK
                                        : driver_status(&w->d->api, w->d->api.cuMemsetD8Async(device_address(x.data), 0, bytes, w->d->stream),
                                                        "clearing device memory", w->error);
}

static prn_status read_attention(const work *w)
{
    const operation *v = w->v;
    const int is_grad = v->op->kind == PRN_OP_READ_ATTENTION_GRAD;
    const values none = {0};
    const read_attention_args a = {.q = in(w, is_grad), .kv = in(w, 1 + is_grad), .y = is_grad ? none : out(w, 0), .dy = is_grad ? in(w, 0) : none,
                                   .dq = is_grad ? out(w, 0) : none, .dkv = is_grad ? out(w, 1) : none, .offsets = v->in[2 + is_grad].data,
                                   .rows = v->in[3 + is_grad].data, .queries = v->k, .items = v->items, .positions = v->per_item, .heads = v->heads,
                                   .width = v->head_width, .scale = (float)(1 / sqrt((double)v->head_width)), .causal = v->op->attrs.causal,
                                   .accumulate = v->op->attrs.accumulate};
    /* rows that no query sees, of padding too */
    const prn_status status = a.accumulate ? PRN_OK : clear(w, a.dkv, v->out[1].elements);
    const size_t shared = (size_t)(3 * v->head_width + 2 * READ_TILE + WARPS) * sizeof(float);
    return status == PRN_OK ? launch(w, is_grad ? KERNEL_read_attention_grad : KERNEL_read_attention, &a,
                                     v->head_width > 0 ? least(v->k * v->heads, GRID_LIMIT) : 0, shared)
                            : status;
}

/* ---- rows ---- */

static prn_status patches(const work *w)
{
    const operation *v = w->v;
    patches_args a = {.images = v->in[0].data, .y = out(w, 0), .rows = v->m, .columns = v->n, .per_item = v->per_item, .side = v->k, .patch = v->op->attrs.patch};
    for (int c = 0; c < 3; c++) {
        a.scale[c] = (float)(1 / (255 * (double)v->op->attrs.std[c]));
        a.shift[c] = (float)(255 * (double)v->op->attrs.mean[c]);
    }
    return launch(w, KERNEL_patches, &a, pack_blocks(v->m, v->n), 0);
}

static prn_status layer_norm_grad(const work *w)
{
    const operation *v = w->v;
    const layer_norm_grad_args a = {.dy = in(w, 0), .x = in(w, 1), .gain = in(w, 2), .mean = in(w, 3), .rstd = in(w, 4), .dx = out(w, 0), .rows = v->m,
                                    .columns = v->n, .accumulate = v->op->attrs.accumulate};
    prn_status status = a.dx.data != NULL ? launch(w, KERNEL_layer_norm_grad, &a, row_blocks(v->m), 0) : PRN_OK;
    if (status == PRN_OK && (v->out[1].data != NULL || v->out[2].data != NULL)) {
        status = column_sums(w, a.dy, a.x, a.mean, a.rstd, v->m, v->n, out(w, 2), out(w, 1), 1);
    }
    return status;
}

static prn_status lookup_grad(const work *w)
{
    const operation *v = w->v;
    if (w->d->fast) {
        const scatter_args a = {.ids = v->in[1].data, .dy = in(w, 0), .dx = out(w, 0), .rows = v->m, .columns = v->n, .table_rows = v->k};
        return launch(w, KERNEL_scatter, &a, pack_blocks(v->m, v->n), 0);
    }
    const size_t capacity = w->e->table_capacity[w->index];
    const int32_t *const table = device_pointer(w->e->tables + w->e->table_at[w->index]);
    const lookup_grad_args a = {.dy = in(w, 0), .dtable = out(w, 0), .segments = table, .starts = table + 1, .ids = table + 2 + capacity,
                                .order = table + 2 + 2 * capacity, .columns = v->n};
    return launch(w, KERNEL_lookup_grad, &a, v->n > 0 ? least(v->m, 1 << 14) : 0, 0);
}

static prn_status class_rows_grad(const work *w)
{
    const operation *v = w->v;
    const class_rows_grad_args a = {.dy = in(w, 0), .dx = out(w, 0), .dclass = out(w, 1), .dpositions = out(w, 2), .items = v->items, .per_item = v->per_item,
                                    .columns = v->n, .accumulate = v->op->attrs.accumulate};
    prn_status status = a.dx.data != NULL ? launch(w, KERNEL_class_rows_grad, &a, pack_blocks(v->items * v->per_item, v->n), 0) : PRN_OK;
    if (status == PRN_OK && (a.dclass.data != NULL || a.dpositions.data != NULL)) {
        status = launch(w, KERNEL_class_sums, &a, pack_blocks(a.dpositions.data != NULL ? v->per_item + 1 : 1, v->n), 0);
    }
    return status;
}

static prn_status gather_rows_grad(const work *w)
{
    const operation *v = w->v;
    const gather_grad_args a = {.ids = v->in[1].data, .dy = in(w, 0), .dx = out(w, 0), .rows = v->m, .columns = v->n, .table_rows = v->k,
                                .stride = v->op->attrs.stride};
    const prn_status status = v->op->attrs.accumulate ? PRN_OK : clear(w, a.dx, v->out[0].elements);
    return status == PRN_OK ? launch(w, KERNEL_gather_grad, &a, v->n > 0 ? least(v->m, GRID_LIMIT) : 0, WARPS * sizeof(float)) : status;
}

/* ---- element-wise ---- */

static prn_status element_wise(const work *w)
{
    static const struct {
        uint32_t op;
        element_kind kind;
    } kinds[] = {
        {PRN_OP_ACTIVATION, ELEMENT_ACTIVATION}, {PRN_OP_ACTIVATION_GRAD, ELEMENT_ACTIVATION_GRAD}, {PRN_OP_AXPBY, ELEMENT_AXPBY},
        {PRN_OP_MULTIPLY, ELEMENT_MULTIPLY}, {PRN_OP_EXP, ELEMENT_EXP}, {PRN_OP_CLAMP, ELEMENT_CLAMP}, {PRN_OP_FILL, ELEMENT_FILL},
        {PRN_OP_BROADCAST, ELEMENT_BROADCAST},
    };
    const prn_op_attrs *at = &w->v->op->attrs;
    element_args a = {.a = in(w, 0), .b = in(w, 1), .y = out(w, 0), .n = w->v->m, .alpha = (float)at->alpha, .beta = (float)at->beta,
                      .activation = at->activation};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (kinds[i].op == w->v->op->kind) {
            a.kind = kinds[i].kind;
        }
    }
    switch (w->v->op->kind) {
    case PRN_OP_MULTIPLY:
        if (w->v->in[1].rank == 0) {
            a.kind = ELEMENT_SCALE;
            a.scalar = a.b;
            a.b = (values){0};
        }
        break;
    case PRN_OP_BROADCAST:
        a.scalar = a.a;
        a.a = (values){0};
        a.accumulate = at->accumulate;
        break;
    case PRN_OP_ACTIVATION_GRAD: a.accumulate = at->accumulate; break;
    case PRN_OP_FILL: a.a = (values){0}; break; /* flags of rows */
    default: break;
    }
    return elements_launch(w->d, &a, w->error);
}

/* ---- updates ---- */

static int overlap(const operand *a, const operand *b)
{
    const char *const x = a->data, *const y = b->data; /* a bf16 tensor takes less than this says, which only ends a run early */
    const size_t each_a = operand_element_bytes(a->type, sizeof(float)), each_b = operand_element_bytes(b->type, sizeof(float));
    return x != NULL && y != NULL && x < y + (size_t)b->elements * each_b && y < x + (size_t)a->elements * each_a;
}

int updates_meet(const updates *pending, const operation *view)
{
    for (int32_t i = 0; i < pending->count; i++) {
        const operation *u = pending->views[i];
        for (int k = 0; k < PRN_OP_MAX_OUTPUTS; k++) {
            for (int j = 0; j < PRN_OP_MAX_INPUTS; j++) {
                if (overlap(&view->in[j], &u->out[k])) {
                    return 1;
                }
            }
            for (int j = 0; j < PRN_OP_MAX_OUTPUTS; j++) {
                if (overlap(&view->out[j], &u->out[k])) {
                    return 1;
                }
            }
            if (overlap(&view->out[k], &u->in[0]) || overlap(&view->out[k], &u->in[1])) {
                return 1;
            }
        }
    }
    return 0;
}

int updates_take(updates *pending, const operation *view)
{
    const prn_op_attrs *at = &view->op->attrs;
    adamw_args *a = &pending->arguments;
    const int64_t blocks = blocks_for(view->m, THREADS * 4);
    const float settings[5] = {(float)at->alpha, (float)(1 - at->alpha), (float)at->beta, (float)(1 - at->beta), (float)at->epsilon};
    const float had[5] = {a->beta1, a->rest1, a->beta2, a->rest2, a->epsilon};
    if (blocks == 0) {
        return 1;
    }
    if (pending->count == ADAMW_PIECES || (pending->count > 0 && (a->hyper.data != view->in[1].data || memcmp(settings, had, sizeof had) != 0))) {
        return 0;
    }
    if (pending->count == 0) {
        a->hyper = values_at(view->in[1].data, 0);
        a->beta1 = settings[0];
        a->rest1 = settings[1];
        a->beta2 = settings[2];
        a->rest2 = settings[3];
        a->epsilon = settings[4];
        a->blocks = 0;
    }
    const uintptr_t together =
        (uintptr_t)view->in[0].data | (uintptr_t)view->out[0].data | (uintptr_t)view->out[1].data | (uintptr_t)view->out[2].data;
    a->pieces[pending->count] = (adamw_piece){.g = view->in[0].data, .p = view->out[0].data, .m = view->out[1].data, .v = view->out[2].data, .n = view->m,
                                              .first = a->blocks, .is_wide = together % 16 == 0, .is_bf16 = view->out[1].type == PRN_BF16,
                                              .decay = (float)at->decay, .element = (uint32_t)view->out[1].first};
    pending->views[pending->count++] = view;
    a->count = pending->count;
    a->blocks += (int32_t)blocks;
    return 1;
}

prn_status updates_launch(prn_backend_instance *d, updates *pending, prn_error *error)
{
    const int32_t count = pending->count;
    pending->count = 0;
    return count > 0 ? kernel_launch(d, KERNEL_adamw, &pending->arguments, pending->arguments.blocks, 1, THREADS, 0, error) : PRN_OK;
}

static prn_status adamw(const work *w)
{
    updates one = {.count = 0};
    (void)updates_take(&one, w->v);
    return updates_launch(w->d, &one, w->error);
}

/* ---- planning, and the one switch ---- */

size_t operation_scratch(const prn_backend_instance *d, const operation *v)
{
    switch (v->op->kind) {
    case PRN_OP_LINEAR: return product_scratch(d, v->m, v->n, v->k);
    case PRN_OP_LINEAR_GRAD_X: return product_scratch(d, v->m, v->k, v->n);
    case PRN_OP_LINEAR_GRAD_W: {
        const size_t operands = product_scratch(d, v->n, v->k, v->m), sums = column_scratch(v->m, v->n, 1);
        return operands > sums ? operands : sums;
    }
    case PRN_OP_SIMILARITY: return SCRATCH_ALIGNMENT;
    case PRN_OP_SIMILARITY_GRAD: return SCRATCH_ALIGNMENT + sum_scratch(v->m * v->n);
    case PRN_OP_LAYER_NORM_GRAD: return column_scratch(v->m, v->n, 2);
    case PRN_OP_SUM:
    case PRN_OP_DOT: return sum_scratch(v->m);
    case PRN_OP_ATTENTION_GRAD: return aligned((size_t)(v->m * v->heads) * sizeof(float));
    default: return 0;
    }
}

int operation_served(const operation *v)
{
    return offsets_input(v->op->kind) < 0 || general_tile(v->head_width) > 0;
}

prn_status operation_launch(prn_backend_instance *d, prn_executable *e, uint32_t index, prn_error *error)
{
    const operation *v = &e->views[index];
    const work work_of = {.d = d, .e = e, .v = v, .index = index, .error = error}, *const w = &work_of;
    switch (v->op->kind) {
    case PRN_OP_PATCHES: return patches(w);
    case PRN_OP_LINEAR: return linear(w);
    case PRN_OP_LAYER_NORM: {
        const layer_norm_args a = {.x = in(w, 0), .gain = in(w, 1), .bias = in(w, 2), .y = out(w, 0), .mean = out(w, 1), .rstd = out(w, 2), .rows = v->m,
                                   .columns = v->n, .epsilon = (float)v->op->attrs.epsilon};
        return launch(w, KERNEL_layer_norm, &a, row_blocks(v->m), 0);
    }
    case PRN_OP_ATTENTION: return attention(w);
    case PRN_OP_LOOKUP: {
        const gather_args a = {.ids = v->in[0].data, .x = in(w, 1), .residual = in(w, 2), .y = out(w, 0), .rows = v->m, .columns = v->n, .table_rows = v->k};
        return launch(w, KERNEL_gather, &a, pack_blocks(v->m, v->n), 0);
    }
    case PRN_OP_GATHER_ROWS: {
        const gather_args a = {.ids = v->in[1].data, .x = in(w, 0), .y = out(w, 0), .rows = v->m, .columns = v->n, .table_rows = v->k,
                               .stride = v->op->attrs.stride};
        return launch(w, KERNEL_gather, &a, pack_blocks(v->m, v->n), 0);
    }
    case PRN_OP_CLASS_ROWS: {
        const class_rows_args a = {.x = in(w, 0), .class_row = in(w, 1), .positions = in(w, 2), .y = out(w, 0), .items = v->items, .per_item = v->per_item,
                                   .columns = v->n};
        return launch(w, KERNEL_class_rows, &a, pack_blocks(v->items * (v->per_item + 1), v->n), 0);
    }
    case PRN_OP_L2_NORMALISE: {
        const l2_args a = {.x = in(w, 0), .y = out(w, 0), .rnorm = out(w, 1), .rows = v->m, .columns = v->n};
        return launch(w, KERNEL_l2_normalise, &a, row_blocks(v->m), 0);
    }
    case PRN_OP_L2_NORMALISE_GRAD: {
        const l2_grad_args a = {.dy = in(w, 0), .y = in(w, 1), .rnorm = in(w, 2), .dx = out(w, 0), .rows = v->m, .columns = v->n,
                                .accumulate = v->op->attrs.accumulate};
        return launch(w, KERNEL_l2_normalise_grad, &a, row_blocks(v->m), 0);
    }
    case PRN_OP_SIMILARITY: return similarity(w);
    case PRN_OP_SIMILARITY_GRAD: return similarity_grad(w);
    case PRN_OP_CROSS_ENTROPY: {
        const cross_entropy_args a = {.logits = in(w, 0), .loss = out(w, 0), .lse = out(w, 1), .labels = v->in[1].data, .rows = v->m, .columns = v->n,
                                      .inverse_tau = 1};
        return launch(w, KERNEL_cross_entropy, &a, least(v->m, GRID_LIMIT), WARPS * sizeof(float));
    }
    case PRN_OP_SOFT_CROSS_ENTROPY: {
        const cross_entropy_args a = {.logits = in(w, 0), .target = in(w, 1), .loss = out(w, 0), .lse = out(w, 1), .target_lse = out(w, 2), .rows = v->m,
                                      .columns = v->n, .inverse_tau = (float)(1 / v->op->attrs.alpha)};
        return launch(w, KERNEL_cross_entropy, &a, least(v->m, GRID_LIMIT), WARPS * sizeof(float));
    }
    case PRN_OP_CROSS_ENTROPY_GRAD: {
        const cross_entropy_grad_args a = {.dloss = in(w, 0), .logits = in(w, 1), .labels = v->in[2].data, .lse = in(w, 3), .dlogits = out(w, 0), .rows = v->m,
                                           .columns = v->n, .inverse_tau = 1, .accumulate = v->op->attrs.accumulate};
        return launch(w, KERNEL_cross_entropy_grad, &a, v->n > 0 ? least(v->m, GRID_LIMIT) : 0, 0);
    }
    case PRN_OP_SOFT_CROSS_ENTROPY_GRAD: {
        const cross_entropy_grad_args a = {.dloss = in(w, 0), .logits = in(w, 1), .target = in(w, 2), .lse = in(w, 3), .target_lse = in(w, 4),
                                           .dlogits = out(w, 0), .rows = v->m, .columns = v->n, .inverse_tau = (float)(1 / v->op->attrs.alpha),
                                           .accumulate = v->op->attrs.accumulate};
        return launch(w, KERNEL_cross_entropy_grad, &a, v->n > 0 ? least(v->m, GRID_LIMIT) : 0, 0);
    }
    case PRN_OP_SUM:
    case PRN_OP_DOT: return whole_sum(w, in(w, 0), in(w, 1), v->m, out(w, 0), 0, 0);
    case PRN_OP_LINEAR_GRAD_X: return linear_grad_x(w);
    case PRN_OP_LINEAR_GRAD_W: return linear_grad_w(w);
    case PRN_OP_LAYER_NORM_GRAD: return layer_norm_grad(w);
    case PRN_OP_ATTENTION_GRAD: return attention_grad(w);
    case PRN_OP_LOOKUP_GRAD: return lookup_grad(w);
    case PRN_OP_CLASS_ROWS_GRAD: return class_rows_grad(w);
    case PRN_OP_GATHER_ROWS_GRAD: return gather_rows_grad(w);
    case PRN_OP_READ_ATTENTION:
    case PRN_OP_READ_ATTENTION_GRAD: return read_attention(w);
    case PRN_OP_ADAMW: return adamw(w);
    default: return element_wise(w);
    }
}
