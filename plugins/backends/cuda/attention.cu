/* plugins/backends/cuda/attention.cu: attention for any head width, fp32 arithmetic, by tiles of at most 32 queries and keys.
 *
 * A block takes one tile of one head of one row group. Scores never reach memory: the forward pass keeps a running maximum and sum for each
 * query, the gradients compute the scores again from `lse`. The gradient by keys and values loops over queries, the one by
 * queries over keys, so that every sum has one owner.
 */
#include "device.cuh"

struct place {
    int64_t first, end; /* rows of the group */
    int64_t at;         /* first row of this block's tile */
    int64_t head;
};

/* 0 when there is nothing to do. */
static __device__ int find_place(const attention_args &a, place *p)
{
    const int64_t block = blockIdx.x, tile = block % a.tiles, item = block / a.tiles / a.heads;
    p->head = block / a.tiles % a.heads;
    p->first = a.offsets != nullptr ? a.offsets[item] : item * a.positions;
    p->end = a.offsets != nullptr ? a.offsets[item + 1] : p->first + a.positions;
    p->at = p->first + tile * a.tile;
    return p->at < p->end;
}

/* Rows [row, row + tile) of `width` columns from `column` into shared memory; rows at or after `end` are zero. */
static __device__ void load_rows(float *to, const values &from, int64_t row, int64_t end, int64_t stride, int64_t column, const attention_args &a)
{
    const int width = (int)a.width, pitch = width + 1;
    for (int i = (int)threadIdx.x; i < a.tile * width; i += ATTENTION_THREADS) {
        const int r = i / width, d = i % width;
        to[r * pitch + d] = row + r < end ? load(from, (row + r) * stride + column + d) : 0.0f;
    }
}

static __device__ float dot(const float *x, const float *y, int width)
{
    float sum = 0;
    for (int d = 0; d < width; d++) {
        sum += x[d] * y[d];
    }
    return sum;
}

KERNEL(attention, ATTENTION_THREADS)
{
    SHARED(float, shared);
    const int tile = a.tile, width = (int)a.width, pitch = width + 1, score_pitch = tile + 1;
    const int64_t c = a.heads * a.width;
    float *const q = shared, *const k = q + tile * pitch, *const v = k + tile * pitch, *const sums = v + tile * pitch;
    float *const scores = sums + tile * pitch, *const most = scores + tile * score_pitch, *const total = most + tile, *const shrink = total + tile;
    place p;
    if (!find_place(a, &p)) {
        return;
    }
    load_rows(q, a.qkv, p.at, p.end, 3 * c, p.head * a.width, a);
    for (int i = (int)threadIdx.x; i < tile * pitch; i += ATTENTION_THREADS) {
        sums[i] = 0;
    }
    for (int i = (int)threadIdx.x; i < tile; i += ATTENTION_THREADS) {
        most[i] = NEGATIVE_INFINITY;
        total[i] = 0;
    }
    const int64_t last = a.causal && p.at + tile < p.end ? p.at + tile : p.end;
    for (int64_t key = p.first; key < last; key += tile) {
        __syncthreads();
        load_rows(k, a.qkv, key, p.end, 3 * c, c + p.head * a.width, a);
        load_rows(v, a.qkv, key, p.end, 3 * c, 2 * c + p.head * a.width, a);
        __syncthreads();
        for (int e = (int)threadIdx.x; e < tile * tile; e += ATTENTION_THREADS) {
            const int i = e / tile, j = e % tile;
            const int visible = key + j < p.end && (!a.causal || key + j <= p.at + i);
            scores[i * score_pitch + j] = visible ? dot(q + i * pitch, k + j * pitch, width) * a.scale : NEGATIVE_INFINITY;
        }
        __syncthreads();
        for (int i = (int)threadIdx.x / WARP; i < tile; i += ATTENTION_THREADS / WARP) {
            const int lane = (int)threadIdx.x % WARP;
            const float score = lane < tile ? scores[i * score_pitch + lane] : NEGATIVE_INFINITY;
            const float before = most[i], now = fmaxf(before, warp_max(score));
            const float e = now == NEGATIVE_INFINITY ? 0.0f : expf(score - now), sum = warp_sum(e);
            if (lane < tile) {
                scores[i * score_pitch + lane] = e;
            }
            if (lane == 0) {
                shrink[i] = now == NEGATIVE_INFINITY ? 1.0f : expf(before - now);
                total[i] = total[i] * shrink[i] + sum;
            }
            __syncwarp();
            if (lane == 0) {
                most[i] = now;
            }
        }
        __syncthreads();
        for (int e = (int)threadIdx.x; e < tile * width; e += ATTENTION_THREADS) {
            const int i = e / width, d = e % width;
            float sum = sums[i * pitch + d] * shrink[i];
            for (int j = 0; j < tile; j++) {
                sum += scores[i * score_pitch + j] * v[j * pitch + d];
            }
            sums[i * pitch + d] = sum;
        }
    }
    __syncthreads();
    for (int e = (int)threadIdx.x; e < tile * width; e += ATTENTION_THREADS) {
        const int i = e / width, d = e % width;
        if (p.at + i < p.end) {
            store(a.y, (p.at + i) * c + p.head * a.width + d, sums[i * pitch + d] / total[i]);
        }
    }
    for (int i = (int)threadIdx.x; i < tile; i += ATTENTION_THREADS) {
        if (p.at + i < p.end && a.lse.data != nullptr) {
            store(a.lse, (p.at + i) * a.heads + p.head, most[i] + logf(total[i]));
        }
    }
}

/* Eight lanes a row and head; every lane of a warp takes part in the sums. */
KERNEL(attention_delta, THREADS)
{
    const int64_t c = a.heads * a.width, all = a.rows * a.heads;
    const int lane = (int)threadIdx.x % DELTA_LANES;
    values dy = a.dy, y = a.y;
    dy.is_wide = a.width % 4 == 0 ? dy.is_wide : 0;
    y.is_wide = a.width % 4 == 0 ? y.is_wide : 0;
    for (int64_t base = (int64_t)blockIdx.x * (THREADS / DELTA_LANES); base < all; base += (int64_t)gridDim.x * (THREADS / DELTA_LANES)) {
        const int64_t at = base + threadIdx.x / DELTA_LANES, first = at / a.heads * c + at % a.heads * a.width, end = first + a.width;
        float sum = 0;
        for (int64_t i = first + lane * 4; at < all && i < end; i += DELTA_LANES * 4) {
            const four g = load4(dy, i, end), x = load4(y, i, end);
            sum += (g.v[0] * x.v[0] + g.v[1] * x.v[1]) + (g.v[2] * x.v[2] + g.v[3] * x.v[3]);
        }
#pragma unroll
        for (int step = DELTA_LANES / 2; step > 0; step /= 2) {
            sum += __shfl_xor_sync(EVERY_LANE, sum, step);
        }
        if (lane == 0 && at < all) {
            a.delta[at] = sum;
        }
    }
}

/* For queries from `query` and keys from `key`: p = softmax, ds = p (dp - delta) scale; zero where nothing is seen. */
static __device__ void score_gradients(const attention_args &a, const place &p, int64_t query, int64_t key, const float *q, const float *k, const float *v,
                                       const float *dy, float *chance, float *ds)
{
    const int tile = a.tile, width = (int)a.width, pitch = width + 1, score_pitch = tile + 1;
    for (int e = (int)threadIdx.x; e < tile * tile; e += ATTENTION_THREADS) {
        const int i = e / tile, j = e % tile;
        const int visible = query + i < p.end && key + j < p.end && (!a.causal || key + j <= query + i);
        float chance_ij = 0, ds_ij = 0;
        if (visible) {
            const int64_t at = (query + i) * a.heads + p.head;
            chance_ij = expf(dot(q + i * pitch, k + j * pitch, width) * a.scale - load(a.lse, at));
            ds_ij = chance_ij * (dot(dy + i * pitch, v + j * pitch, width) - a.delta[at]) * a.scale;
        }
        chance[i * score_pitch + j] = chance_ij;
        ds[i * score_pitch + j] = ds_ij;
    }
}

KERNEL(attention_grad_q, ATTENTION_THREADS)
{
    SHARED(float, shared);
    const int tile = a.tile, width = (int)a.width, pitch = width + 1, score_pitch = tile + 1;
    const int64_t c = a.heads * a.width;
    float *const q = shared, *const k = q + tile * pitch, *const v = k + tile * pitch, *const dy = v + tile * pitch, *const dq = dy + tile * pitch;
    float *const chance = dq + tile * pitch, *const ds = chance + tile * score_pitch;
    place p;
    if (!find_place(a, &p)) {
        return;
    }
    load_rows(q, a.qkv, p.at, p.end, 3 * c, p.head * a.width, a);
    load_rows(dy, a.dy, p.at, p.end, c, p.head * a.width, a);
    for (int i = (int)threadIdx.x; i < tile * pitch; i += ATTENTION_THREADS) {
        dq[i] = 0;
    }
    const int64_t last = a.causal && p.at + tile < p.end ? p.at + tile : p.end;
    for (int64_t key = p.first; key < last; key += tile) {
        __syncthreads();
        load_rows(k, a.qkv, key, p.end, 3 * c, c + p.head * a.width, a);
        load_rows(v, a.qkv, key, p.end, 3 * c, 2 * c + p.head * a.width, a);
        __syncthreads();
        score_gradients(a, p, p.at, key, q, k, v, dy, chance, ds);
        __syncthreads();
        for (int e = (int)threadIdx.x; e < tile * width; e += ATTENTION_THREADS) {
            const int i = e / width, d = e % width;
            float sum = dq[i * pitch + d];
            for (int j = 0; j < tile; j++) {
                sum += ds[i * score_pitch + j] * k[j * pitch + d];
            }
            dq[i * pitch + d] = sum;
        }
    }
    __syncthreads();
    for (int e = (int)threadIdx.x; e < tile * width; e += ATTENTION_THREADS) {
        const int i = e / width, d = e % width;
        if (p.at + i < p.end) {
            store_to(a.dqkv, (p.at + i) * 3 * c + p.head * a.width + d, dq[i * pitch + d], a.accumulate);
        }
    }
}

KERNEL(attention_grad_kv, ATTENTION_THREADS)
{
    SHARED(float, shared);
    const int tile = a.tile, width = (int)a.width, pitch = width + 1, score_pitch = tile + 1;
    const int64_t c = a.heads * a.width;
    float *const q = shared, *const k = q + tile * pitch, *const v = k + tile * pitch, *const dy = v + tile * pitch, *const dk = dy + tile * pitch;
    float *const dv = dk + tile * pitch, *const chance = dv + tile * pitch, *const ds = chance + tile * score_pitch;
    place p;
    if (!find_place(a, &p)) {
        return;
    }
    load_rows(k, a.qkv, p.at, p.end, 3 * c, c + p.head * a.width, a);
    load_rows(v, a.qkv, p.at, p.end, 3 * c, 2 * c + p.head * a.width, a);
    for (int i = (int)threadIdx.x; i < tile * pitch; i += ATTENTION_THREADS) {
        dk[i] = 0;
        dv[i] = 0;
    }
    for (int64_t query = a.causal ? p.at : p.first; query < p.end; query += tile) {
        __syncthreads();
        load_rows(q, a.qkv, query, p.end, 3 * c, p.head * a.width, a);
        load_rows(dy, a.dy, query, p.end, c, p.head * a.width, a);
        __syncthreads();
        score_gradients(a, p, query, p.at, q, k, v, dy, chance, ds);
        __syncthreads();
        for (int e = (int)threadIdx.x; e < tile * width; e += ATTENTION_THREADS) {
            const int j = e / width, d = e % width;
            float by_key = dk[j * pitch + d], by_value = dv[j * pitch + d];
            for (int i = 0; i < tile; i++) {
                by_key += ds[i * score_pitch + j] * q[i * pitch + d];
                by_value += chance[i * score_pitch + j] * dy[i * pitch + d];
            }
            dk[j * pitch + d] = by_key;
            dv[j * pitch + d] = by_value;
        }
    }
    __syncthreads();
    for (int e = (int)threadIdx.x; e < tile * width; e += ATTENTION_THREADS) {
        const int j = e / width, d = e % width;
        if (p.at + j < p.end) {
            const int64_t at = (p.at + j) * 3 * c + c + p.head * a.width + d;
            store_to(a.dqkv, at, dk[j * pitch + d], a.accumulate);
            store_to(a.dqkv, at + c, dv[j * pitch + d], a.accumulate);
        }
    }
}
