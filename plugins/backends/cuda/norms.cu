/* plugins/backends/cuda/norms.cu: layer norm, L2 normalisation, sums of columns. A warp a row; variance in a second pass. */
#include "device.cuh"

#define EACH_ROW(rows, row) \
    for (int64_t row = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP; row < (rows); row += (int64_t)gridDim.x * WARPS)
#define EACH_LANE_PACK(columns, c) for (int64_t c = (int64_t)(threadIdx.x % WARP) * 4; c < (columns); c += WARP * 4)

KERNEL(layer_norm, THREADS)
{
    EACH_ROW(a.rows, row)
    {
        const values x = row_of(a.x, row, a.columns), y = row_of(a.y, row, a.columns);
        float total = 0, square = 0;
        EACH_LANE_PACK(a.columns, c)
        {
            const four v = load4(x, c, a.columns);
            total += (v.v[0] + v.v[1]) + (v.v[2] + v.v[3]);
        }
        const float mean = warp_sum(total) / (float)a.columns;
        EACH_LANE_PACK(a.columns, c)
        {
            const four v = load4(x, c, a.columns);
            for (int j = 0; j < 4 && c + j < a.columns; j++) {
                square += (v.v[j] - mean) * (v.v[j] - mean);
            }
        }
        const float rstd = 1.0f / sqrtf(warp_sum(square) / (float)a.columns + a.epsilon);
        EACH_LANE_PACK(a.columns, c)
        {
            const four v = load4(x, c, a.columns), gain = load4(a.gain, c, a.columns), bias = load4(a.bias, c, a.columns);
            four r;
#pragma unroll
            for (int j = 0; j < 4; j++) {
                r.v[j] = (v.v[j] - mean) * rstd * gain.v[j] + bias.v[j];
            }
            store4(y, c, a.columns, r);
        }
        if (threadIdx.x % WARP == 0) {
            if (a.mean.data != nullptr) {
                store(a.mean, row, mean);
            }
            if (a.rstd.data != nullptr) {
                store(a.rstd, row, rstd);
            }
        }
    }
}

KERNEL(layer_norm_grad, THREADS)
{
    EACH_ROW(a.rows, row)
    {
        const values x = row_of(a.x, row, a.columns), dy = row_of(a.dy, row, a.columns), dx = row_of(a.dx, row, a.columns);
        const float mean = load(a.mean, row), rstd = load(a.rstd, row);
        float sum = 0, sum_hat = 0;
        EACH_LANE_PACK(a.columns, c)
        {
            const four v = load4(x, c, a.columns), d = load4(dy, c, a.columns), gain = load4(a.gain, c, a.columns);
            for (int j = 0; j < 4 && c + j < a.columns; j++) {
                const float dg = d.v[j] * gain.v[j];
                sum += dg;
                sum_hat += dg * ((v.v[j] - mean) * rstd);
            }
        }
        sum = warp_sum(sum) / (float)a.columns;
        sum_hat = warp_sum(sum_hat) / (float)a.columns;
        EACH_LANE_PACK(a.columns, c)
        {
            const four v = load4(x, c, a.columns), d = load4(dy, c, a.columns), gain = load4(a.gain, c, a.columns);
            four r = {{0, 0, 0, 0}};
            if (a.accumulate) {
                r = load4(dx, c, a.columns);
            }
#pragma unroll
            for (int j = 0; j < 4; j++) {
                r.v[j] += rstd * (d.v[j] * gain.v[j] - (sum + (v.v[j] - mean) * rstd * sum_hat));
            }
            store4(dx, c, a.columns, r);
        }
    }
}

/* A block a tile of columns (x) and a piece of rows (y): 16 threads across, 16 down; the 16 sums of a column are added in order. */
KERNEL(columns, THREADS)
{
    enum { ACROSS = COLUMN_TILE / 4, DOWN = THREADS / ACROSS };
    SHARED(float, room); /* (DOWN, COLUMN_TILE), twice with x */
    const int across = (int)threadIdx.x % ACROSS, down = (int)threadIdx.x / ACROSS;
    const int64_t column = (int64_t)blockIdx.x * COLUMN_TILE + across * 4, piece = blockIdx.y;
    const int64_t first = piece * a.piece_rows, end = first + a.piece_rows < a.rows ? first + a.piece_rows : a.rows;
    four plain = {{0, 0, 0, 0}}, hat = {{0, 0, 0, 0}};
    for (int64_t row = first + down; row < end && column < a.columns; row += DOWN) {
        const four d = load4(row_of(a.dy, row, a.columns), column, a.columns);
        four x = {{0, 0, 0, 0}};
        float mean = 0, rstd = 0;
        if (a.x.data != nullptr) {
            x = load4(row_of(a.x, row, a.columns), column, a.columns);
            mean = load(a.mean, row);
            rstd = load(a.rstd, row);
        }
#pragma unroll
        for (int j = 0; j < 4; j++) {
            plain.v[j] += d.v[j];
            hat.v[j] += d.v[j] * ((x.v[j] - mean) * rstd);
        }
    }
    for (int j = 0; j < 4; j++) {
        room[down * COLUMN_TILE + across * 4 + j] = plain.v[j];
        if (a.x.data != nullptr) {
            room[(DOWN + down) * COLUMN_TILE + across * 4 + j] = hat.v[j];
        }
    }
    __syncthreads();
    const int halves = a.x.data != nullptr ? 2 : 1, which = (int)threadIdx.x / COLUMN_TILE;
    const int64_t mine = (int64_t)blockIdx.x * COLUMN_TILE + threadIdx.x % COLUMN_TILE;
    if (which < halves && mine < a.columns) {
        float total = 0;
        for (int i = 0; i < DOWN; i++) {
            total += room[(which * DOWN + i) * COLUMN_TILE + (int)threadIdx.x % COLUMN_TILE];
        }
        a.partials[piece * a.columns * halves + which * a.columns + mine] = total;
    }
}

KERNEL(columns_finish, THREADS)
{
    for (int64_t c = (int64_t)blockIdx.x * THREADS + threadIdx.x; c < a.columns; c += (int64_t)gridDim.x * THREADS) {
        float y = 0, z = 0;
#pragma unroll 8
        for (int64_t piece = 0; piece < a.pieces; piece++) {
            y += a.partials[piece * a.stride + c];
        }
        const int64_t pieces_of_z = a.z.data != nullptr ? a.pieces : 0;
#pragma unroll 8
        for (int64_t piece = 0; piece < pieces_of_z; piece++) {
            z += a.partials[piece * a.stride + a.columns + c];
        }
        if (a.y.data != nullptr) {
            store_to(a.y, c, y, a.accumulate);
        }
        if (a.z.data != nullptr) {
            store_to(a.z, c, z, a.accumulate);
        }
    }
}

KERNEL(l2_normalise, THREADS)
{
    EACH_ROW(a.rows, row)
    {
        const values x = row_of(a.x, row, a.columns), y = row_of(a.y, row, a.columns);
        float square = 0;
        EACH_LANE_PACK(a.columns, c)
        {
            const four v = load4(x, c, a.columns);
            square += (v.v[0] * v.v[0] + v.v[1] * v.v[1]) + (v.v[2] * v.v[2] + v.v[3] * v.v[3]);
        }
        const float rnorm = 1.0f / fmaxf(sqrtf(warp_sum(square)), 1e-12f);
        EACH_LANE_PACK(a.columns, c)
        {
            four v = load4(x, c, a.columns);
#pragma unroll
            for (int j = 0; j < 4; j++) {
                v.v[j] *= rnorm;
            }
            store4(y, c, a.columns, v);
        }
        if (a.rnorm.data != nullptr && threadIdx.x % WARP == 0) {
            store(a.rnorm, row, rnorm);
        }
    }
}

KERNEL(l2_normalise_grad, THREADS)
{
    EACH_ROW(a.rows, row)
    {
        const values y = row_of(a.y, row, a.columns), dy = row_of(a.dy, row, a.columns), dx = row_of(a.dx, row, a.columns);
        const float rnorm = load(a.rnorm, row);
        float dot = 0;
        EACH_LANE_PACK(a.columns, c)
        {
            const four v = load4(y, c, a.columns), d = load4(dy, c, a.columns);
            dot += (v.v[0] * d.v[0] + v.v[1] * d.v[1]) + (v.v[2] * d.v[2] + v.v[3] * d.v[3]);
        }
        dot = warp_sum(dot);
        EACH_LANE_PACK(a.columns, c)
        {
            const four v = load4(y, c, a.columns), d = load4(dy, c, a.columns);
            four r = {{0, 0, 0, 0}};
            if (a.accumulate) {
                r = load4(dx, c, a.columns);
            }
#pragma unroll
            for (int j = 0; j < 4; j++) {
                r.v[j] += (d.v[j] - v.v[j] * dot) * rnorm;
            }
            store4(dx, c, a.columns, r);
        }
    }
}
