/* plugins/backends/cuda/read_attention.cu: attention with one query an item, any head width, fp32 arithmetic.
 *
 * A block takes one query and head. A warp takes a key at a time; a running maximum and sum serve rows longer than a tile. The gradient takes two
 * passes: what the softmax's sums are, then what each row receives. No row belongs to two queries, so that every sum has one owner.
 */
#include "device.cuh"

/* What a query and head sees: rows [first, end). */
struct read_place {
    int64_t query, head, first, end;
};

static __device__ read_place find_read(const read_attention_args &a, int64_t pair)
{
    read_place p = {pair / a.heads, pair % a.heads, 0, 0};
    if (a.offsets == nullptr) {
        p.first = p.query * a.positions;
        p.end = p.first + a.positions;
    } else if (p.query < a.items) {
        p.first = a.offsets[p.query];
        p.end = a.offsets[p.query + 1];
    }
    if (a.causal) {
        const int64_t next = (a.rows != nullptr ? (int64_t)a.rows[p.query] : p.first) + 1;
        p.end = next < p.first ? p.first : next < p.end ? next : p.end;
    }
    return p;
}

/* to[j] = scale * (x . columns [column, column + width) of row `row` + j) */
static __device__ void read_products(float *to, const float *x, const read_attention_args &a, int64_t row, int keys, int64_t column, float scale)
{
    for (int j = (int)threadIdx.x / WARP; j < keys; j += WARPS) {
        const int64_t at = (row + j) * 2 * a.heads * a.width + column;
        float sum = 0;
        for (int64_t d = threadIdx.x % WARP; d < a.width; d += WARP) {
            sum += x[d] * load(a.kv, at + d);
        }
        sum = warp_sum(sum);
        if (threadIdx.x % WARP == 0) {
            to[j] = sum * scale;
        }
    }
}

static __device__ int read_keys(const read_place &p, int64_t row)
{
    return p.end - row < READ_TILE ? (int)(p.end - row) : (int)READ_TILE;
}

KERNEL(read_attention, THREADS)
{
    SHARED(float, shared);
    const int64_t c = a.heads * a.width, width = a.width;
    float *const q = shared, *const sums = q + width, *const scores = sums + width, *const room = scores + READ_TILE;
    for (int64_t pair = blockIdx.x; pair < a.queries * a.heads; pair += gridDim.x) {
        const read_place p = find_read(a, pair);
        const int64_t at = p.query * c + p.head * width;
        float most = NEGATIVE_INFINITY, total = 0;
        __syncthreads(); /* the one before may still be read */
        for (int64_t d = threadIdx.x; d < width; d += THREADS) {
            q[d] = load(a.q, at + d);
            sums[d] = 0;
        }
        __syncthreads();
        for (int64_t row = p.first; row < p.end; row += READ_TILE) {
            const int keys = read_keys(p, row);
            read_products(scores, q, a, row, keys, p.head * width, a.scale);
            __syncthreads();
            const float score = (int)threadIdx.x < keys ? scores[threadIdx.x] : NEGATIVE_INFINITY;
            const float now = fmaxf(most, block_max(score, room)), shrink = row > p.first ? expf(most - now) : 0.0f;
            const float e = (int)threadIdx.x < keys ? expf(score - now) : 0.0f;
            scores[threadIdx.x] = e;
            total = total * shrink + block_sum(e, room);
            most = now;
            for (int64_t d = threadIdx.x; d < width; d += THREADS) {
                float sum = sums[d] * shrink;
                for (int j = 0; j < keys; j++) {
                    sum += scores[j] * load(a.kv, (row + j) * 2 * c + c + p.head * width + d);
                }
                sums[d] = sum;
            }
            __syncthreads();
        }
        for (int64_t d = threadIdx.x; d < width; d += THREADS) {
            store(a.y, at + d, p.end > p.first ? sums[d] / total : 0.0f);
        }
    }
}

KERNEL(read_attention_grad, THREADS)
{
    SHARED(float, shared);
    const int64_t c = a.heads * a.width, width = a.width;
    float *const q = shared, *const dy = q + width, *const sums = dy + width, *const scores = sums + width, *const chances = scores + READ_TILE;
    float *const room = chances + READ_TILE;
    for (int64_t pair = blockIdx.x; pair < a.queries * a.heads; pair += gridDim.x) {
        const read_place p = find_read(a, pair);
        const int64_t at = p.query * c + p.head * width;
        float most = NEGATIVE_INFINITY, total = 0, weighted = 0;
        __syncthreads();
        for (int64_t d = threadIdx.x; d < width; d += THREADS) {
            q[d] = load(a.q, at + d);
            dy[d] = load(a.dy, at + d);
            sums[d] = 0;
        }
        __syncthreads();
        for (int64_t row = p.first; row < p.end; row += READ_TILE) {
            const int keys = read_keys(p, row);
            read_products(scores, q, a, row, keys, p.head * width, a.scale);
            read_products(chances, dy, a, row, keys, c + p.head * width, 1.0f);
            __syncthreads();
            const float score = (int)threadIdx.x < keys ? scores[threadIdx.x] : NEGATIVE_INFINITY;
            const float by_chance = (int)threadIdx.x < keys ? chances[threadIdx.x] : 0.0f;
            const float now = fmaxf(most, block_max(score, room)), shrink = row > p.first ? expf(most - now) : 0.0f;
            const float e = (int)threadIdx.x < keys ? expf(score - now) : 0.0f;
            total = total * shrink + block_sum(e, room);
            weighted = weighted * shrink + block_sum(e * by_chance, room);
            most = now;
            __syncthreads();
        }
        for (int64_t row = p.first; row < p.end; row += READ_TILE) {
            const int keys = read_keys(p, row);
            if (p.end - p.first > READ_TILE) {
                read_products(scores, q, a, row, keys, p.head * width, a.scale);
                read_products(chances, dy, a, row, keys, c + p.head * width, 1.0f);
            }
            __syncthreads();
            if ((int)threadIdx.x < keys) {
                const float chance = expf(scores[threadIdx.x] - most) / total;
                scores[threadIdx.x] = chance * (chances[threadIdx.x] - weighted / total) * a.scale; /* by the score */
                chances[threadIdx.x] = chance;
            }
            __syncthreads();
            for (int64_t i = threadIdx.x; i < keys * width && a.dkv.data != nullptr; i += THREADS) {
                const int64_t j = i / width, d = i % width, to = (row + j) * 2 * c + p.head * width + d;
                store_to(a.dkv, to, scores[j] * q[d], a.accumulate);
                store_to(a.dkv, to + c, chances[j] * dy[d], a.accumulate);
            }
            for (int64_t d = threadIdx.x; d < width; d += THREADS) {
                float sum = sums[d];
                for (int j = 0; j < keys; j++) {
                    sum += scores[j] * load(a.kv, (row + j) * 2 * c + p.head * width + d);
                }
                sums[d] = sum;
            }
            __syncthreads();
        }
        for (int64_t d = threadIdx.x; d < width && a.dq.data != nullptr; d += THREADS) {
            store_to(a.dq, at + d, sums[d], a.accumulate);
        }
    }
}
