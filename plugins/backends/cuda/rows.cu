/* plugins/backends/cuda/rows.cu: patches, table look-ups, class rows, gathering of rows, and their gradients. */
#include "device.cuh"

/* Four columns a thread of `rows` x `columns`; packs do not cross rows. */
#define EACH_PACK(rows, columns, row, column)                                                                                       \
    const int64_t packs_of_row = ((columns) + 3) / 4, all_packs = (rows) * packs_of_row;                                             \
    for (int64_t pack = (int64_t)blockIdx.x * THREADS + threadIdx.x, row = pack / packs_of_row, column = pack % packs_of_row * 4;    \
         pack < all_packs; pack += (int64_t)gridDim.x * THREADS, row = pack / packs_of_row, column = pack % packs_of_row * 4)

static __device__ __forceinline__ four add(const four &x, const four &y)
{
    four r;
#pragma unroll
    for (int j = 0; j < 4; j++) {
        r.v[j] = x.v[j] + y.v[j];
    }
    return r;
}

KERNEL(patches, THREADS)
{
    const int size = (int)a.patch, area = size * size, across = (int)(a.side / a.patch), per_item = (int)a.per_item;
    EACH_PACK(a.rows, a.columns, row, column)
    {
        const int64_t item = row / per_item;
        const int patch = (int)(row - item * per_item), top = patch / across * size, left = patch % across * size;
        four y;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const int at = (int)(column + j < a.columns ? column + j : column), channel = at / area, i = at % area / size, k = at % size;
            const float pixel = (float)a.images[((item * a.side + top + i) * a.side + left + k) * 3 + channel];
            /* chosen, not indexed: an index would put both tables into local memory */
            const float shift = channel == 0 ? a.shift[0] : channel == 1 ? a.shift[1] : a.shift[2];
            const float scale = channel == 0 ? a.scale[0] : channel == 1 ? a.scale[1] : a.scale[2];
            y.v[j] = (pixel - shift) * scale;
        }
        store4(row_of(a.y, row, a.columns), column, a.columns, y);
    }
}

KERNEL(gather, THREADS)
{
    EACH_PACK(a.rows, a.columns, row, column)
    {
        const int64_t from = a.ids != nullptr ? row_or_zero(a.ids[row], a.table_rows) : row * a.stride;
        four y = load4(row_of(a.x, from, a.columns), column, a.columns);
        if (a.residual.data != nullptr) {
            y = add(y, load4(row_of(a.residual, row, a.columns), column, a.columns));
        }
        store4(row_of(a.y, row, a.columns), column, a.columns, y);
    }
}

/* A block a segment (a table row that some row names). Rows are added one after the other, as the operation promises. */
KERNEL(lookup_grad, THREADS)
{
    const int64_t segments = *a.segments;
    for (int64_t s = blockIdx.x; s < segments; s += gridDim.x) {
        const values to = row_of(a.dtable, a.ids[s], a.columns);
        const int32_t first = a.starts[s], end = a.starts[s + 1];
        for (int64_t c = (int64_t)threadIdx.x * 4; c < a.columns; c += THREADS * 4) {
            four total = load4(to, c, a.columns);
            int32_t i = first;
            for (; i + 4 <= end; i += 4) { /* four on their way at once: the first and last tokens of captions have as many rows as there are captions */
                four x[4];
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    x[j] = load4(row_of(a.dy, a.order[i + j], a.columns), c, a.columns);
                }
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    total = add(total, x[j]);
                }
            }
            for (; i < end; i++) {
                total = add(total, load4(row_of(a.dy, a.order[i], a.columns), c, a.columns));
            }
            store4(to, c, a.columns, total);
        }
    }
}

/* A block a row of dy: the first that names a row of dx adds all that do. */
KERNEL(gather_grad, THREADS)
{
    SHARED(float, room);
    for (int64_t b = blockIdx.x; b < a.rows; b += gridDim.x) {
        const int64_t to = a.ids != nullptr ? row_or_zero(a.ids[b], a.table_rows) : b * a.stride;
        float earlier = 0, later = 0;
        for (int64_t i = threadIdx.x; a.ids != nullptr && i < a.rows; i += THREADS) {
            const int same = row_or_zero(a.ids[i], a.table_rows) == to;
            earlier += same && i < b ? 1.0f : 0.0f;
            later += same && i > b ? 1.0f : 0.0f;
        }
        earlier = block_sum(earlier, room);
        later = block_sum(later, room);
        const values target = row_of(a.dx, to, a.columns);
        for (int64_t c = (int64_t)threadIdx.x * 4; earlier == 0 && c < a.columns; c += THREADS * 4) {
            four total = add(load4(target, c, a.columns), load4(row_of(a.dy, b, a.columns), c, a.columns));
            for (int64_t i = b + 1; later > 0 && i < a.rows; i++) {
                if (row_or_zero(a.ids[i], a.table_rows) == to) {
                    total = add(total, load4(row_of(a.dy, i, a.columns), c, a.columns));
                }
            }
            store4(target, c, a.columns, total);
        }
    }
}

KERNEL(scatter, THREADS)
{
    EACH_PACK(a.rows, a.columns, row, column)
    {
        const four x = load4(row_of(a.dy, row, a.columns), column, a.columns);
        float *to = (float *)a.dx.data + row_or_zero(a.ids[row], a.table_rows) * a.columns + column;
        for (int j = 0; j < 4 && column + j < a.columns; j++) {
            atomicAdd(to + j, x.v[j]);
        }
    }
}

KERNEL(class_rows, THREADS)
{
    const int64_t t = a.per_item + 1;
    EACH_PACK(a.items * t, a.columns, row, column)
    {
        const int64_t item = row / t, at = row % t;
        const values from = at == 0 ? row_of(a.class_row, 0, a.columns) : row_of(a.x, item * a.per_item + at - 1, a.columns);
        store4(row_of(a.y, row, a.columns), column, a.columns,
               add(load4(from, column, a.columns), load4(row_of(a.positions, at, a.columns), column, a.columns)));
    }
}

KERNEL(class_rows_grad, THREADS)
{
    EACH_PACK(a.items * a.per_item, a.columns, row, column)
    {
        const int64_t from = row / a.per_item * (a.per_item + 1) + row % a.per_item + 1;
        const values to = row_of(a.dx, row, a.columns);
        four x = load4(row_of(a.dy, from, a.columns), column, a.columns);
        if (a.accumulate) {
            x = add(load4(to, column, a.columns), x);
        }
        store4(to, column, a.columns, x);
    }
}

/* Sums over the items, one position and four columns a thread; position 0 is the class row's as well. */
KERNEL(class_sums, THREADS)
{
    const int64_t t = a.per_item + 1;
    EACH_PACK(a.dpositions.data != nullptr ? t : (int64_t)1, a.columns, at, column)
    {
        four total = {{0, 0, 0, 0}};
        int64_t item = 0;
        for (; item + 8 <= a.items; item += 8) { /* there are few threads, so that each has much on its way */
            four x[8];
#pragma unroll
            for (int j = 0; j < 8; j++) {
                x[j] = load4(row_of(a.dy, (item + j) * t + at, a.columns), column, a.columns);
            }
#pragma unroll
            for (int j = 0; j < 8; j++) {
                total = add(total, x[j]);
            }
        }
        for (; item < a.items; item++) {
            total = add(total, load4(row_of(a.dy, item * t + at, a.columns), column, a.columns));
        }
        if (a.dpositions.data != nullptr) {
            const values to = row_of(a.dpositions, at, a.columns);
            store4(to, column, a.columns, add(load4(to, column, a.columns), total));
        }
        if (at == 0 && a.dclass.data != nullptr) {
            store4(row_of(a.dclass, 0, a.columns), column, a.columns, add(load4(row_of(a.dclass, 0, a.columns), column, a.columns), total));
        }
    }
}

KERNEL(zero_tail, THREADS)
{
    const int64_t first = a.offsets[a.items], rows = a.rows - first;
    const four zero = {{0, 0, 0, 0}};
    if (rows <= 0) {
        return;
    }
    EACH_PACK(rows, a.columns, row, column)
    {
        store4(row_of(a.y, first + row, a.columns), column, a.columns, zero);
        for (int64_t c = column; a.z.data != nullptr && column == 0 && c < a.z_columns; c++) {
            store(a.z, (first + row) * a.z_columns + c, 0.0f);
        }
    }
}
