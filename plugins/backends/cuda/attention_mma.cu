/* plugins/backends/cuda/attention_mma.cu: attention for head width 64 on matrix units: bf16 operands, fp32 sums.
 *
 * A block takes 64 queries (or keys) of one head of one row group; each of its four warps 16 of them. Products are made of mma m16n8k16:
 * a fragment's rows are lane / 4 and that + 8, its columns 2 (lane % 4) and the next. Scores of one product are the left operand of the
 * next one as they lie in registers: queries by keys in the forward pass and for dq, keys by queries for dk and dv.
 * Right operands lie in shared memory with the summed index along the row; where memory has it the other way round, it is turned while loaded.
 */
#include "device.cuh"

enum { MMA_PITCH = MMA_WIDTH + 8, MMA_TILE_HALVES = MMA_TILE * MMA_PITCH, MMA_STEPS = MMA_WIDTH / 16, MMA_STRIPES = MMA_TILE / 8 };

/* d += a b; a (16, 16), b (16, 8), d (16, 8), spread over a warp. */
static __device__ __forceinline__ void multiply_add(float d[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
#ifdef PRN_EMULATED
    emulated_mma(d, a, b0, b1);
#else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

static __device__ __forceinline__ uint32_t two_at(const uint16_t *tile, int row, int column)
{
    return *(const uint32_t *)(tile + row * MMA_PITCH + column);
}

/* The left operand: rows from `row`, 16 columns from 16 * step. */
static __device__ __forceinline__ void left_fragment(uint32_t a[4], const uint16_t *tile, int row, int step)
{
    const int lane = (int)threadIdx.x % WARP, r = row + lane / 4, c = step * 16 + lane % 4 * 2;
    a[0] = two_at(tile, r, c);
    a[1] = two_at(tile, r + 8, c);
    a[2] = two_at(tile, r, c + 8);
    a[3] = two_at(tile, r + 8, c + 8);
}

/* scores (16, 64) = left rows of this warp times the rows of `right`, over the width. */
static __device__ __forceinline__ void products(float scores[MMA_STRIPES][4], const uint16_t *left, const uint16_t *right)
{
    const int lane = (int)threadIdx.x % WARP, row = (int)threadIdx.x / WARP * 16;
#pragma unroll
    for (int n = 0; n < MMA_STRIPES; n++) {
        scores[n][0] = scores[n][1] = scores[n][2] = scores[n][3] = 0;
    }
#pragma unroll
    for (int step = 0; step < MMA_STEPS; step++) {
        uint32_t a[4];
        left_fragment(a, left, row, step);
#pragma unroll
        for (int n = 0; n < MMA_STRIPES; n++) {
            const int r = n * 8 + lane / 4, c = step * 16 + lane % 4 * 2;
            multiply_add(scores[n], a, two_at(right, r, c), two_at(right, r, c + 8));
        }
    }
}

/* sums (16, width) += scores (16, 64) times `turned`, which holds the right side with its 64 rows along its columns. */
static __device__ __forceinline__ void add_products(float sums[MMA_STRIPES][4], const float scores[MMA_STRIPES][4], const uint16_t *turned)
{
    const int lane = (int)threadIdx.x % WARP;
#pragma unroll
    for (int step = 0; step < MMA_TILE / 16; step++) {
        const float *low = scores[2 * step], *high = scores[2 * step + 1];
        const uint32_t a[4] = {two_halves(low[0], low[1]), two_halves(low[2], low[3]), two_halves(high[0], high[1]), two_halves(high[2], high[3])};
#pragma unroll
        for (int n = 0; n < MMA_STRIPES; n++) {
            const int r = n * 8 + lane / 4, c = step * 16 + lane % 4 * 2;
            multiply_add(sums[n], a, two_at(turned, r, c), two_at(turned, r, c + 8));
        }
    }
}

/* 64 rows of 64 columns as bf16, and turned when `turned` is given; rows at or after `end` are zero. */
static __device__ __forceinline__ void load_tile(uint16_t *plain, uint16_t *turned, const values &from, int64_t row, int64_t end, int64_t stride, int64_t column)
{
    for (int i = (int)threadIdx.x; i < MMA_TILE * MMA_WIDTH / 4; i += MMA_THREADS) {
        /* A warp takes 32 bytes of each of eight rows: whole sectors of memory, and turned stores that meet in two banks, not in eight. */
        const int lane = i % WARP, part = i / WARP, r = part / (MMA_WIDTH / 16) * 8 + lane / 4, c = (part % (MMA_WIDTH / 16) * 4 + lane % 4) * 4;
        four x = {{0, 0, 0, 0}};
        if (row + r < end) {
            x = load4(from, (row + r) * stride + column + c, (row + r) * stride + column + MMA_WIDTH);
        }
        const uint32_t low = two_halves(x.v[0], x.v[1]), high = two_halves(x.v[2], x.v[3]);
        if (plain != nullptr) {
            *(uint32_t *)(plain + r * MMA_PITCH + c) = low;
            *(uint32_t *)(plain + r * MMA_PITCH + c + 2) = high;
        }
        if (turned != nullptr) {
            turned[c * MMA_PITCH + r] = (uint16_t)low;
            turned[(c + 1) * MMA_PITCH + r] = (uint16_t)(low >> 16);
            turned[(c + 2) * MMA_PITCH + r] = (uint16_t)high;
            turned[(c + 3) * MMA_PITCH + r] = (uint16_t)(high >> 16);
        }
    }
}

struct tile_place {
    int64_t first, end, at, head;
};

static __device__ __forceinline__ int find_tile(const attention_args &a, tile_place *p)
{
    const int64_t block = blockIdx.x, tile = block % a.tiles, item = block / a.tiles / a.heads;
    p->head = block / a.tiles % a.heads;
    p->first = a.offsets != nullptr ? a.offsets[item] : item * a.positions;
    p->end = a.offsets != nullptr ? a.offsets[item + 1] : p->first + a.positions;
    p->at = p->first + tile * MMA_TILE;
    return p->at < p->end;
}

static __device__ __forceinline__ float quad_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(EVERY_LANE, x, 1));
    return fmaxf(x, __shfl_xor_sync(EVERY_LANE, x, 2));
}

static __device__ __forceinline__ float quad_sum(float x)
{
    x += __shfl_xor_sync(EVERY_LANE, x, 1);
    return x + __shfl_xor_sync(EVERY_LANE, x, 2);
}

/* Two neighbouring results of a row. */
static __device__ __forceinline__ void store2(const values &to, int64_t i, float x, float y, int accumulate)
{
    if (to.is_half && !accumulate) {
        *(uint32_t *)((uint16_t *)to.data + i) = two_halves(x, y);
    } else {
        store_to(to, i, x, accumulate);
        store_to(to, i + 1, y, accumulate);
    }
}

/* This warp's 16 rows of a (., 64) result: row r of the tile goes to row `at + r` when that is before `end`. */
static __device__ __forceinline__ void store_tile(const values &to, const float sums[MMA_STRIPES][4], int64_t at, int64_t end, int64_t stride, int64_t column,
                                                  float low_factor, float high_factor, int accumulate)
{
    const int lane = (int)threadIdx.x % WARP;
    const int64_t low = at + threadIdx.x / WARP * 16 + lane / 4, high = low + 8;
#pragma unroll
    for (int n = 0; n < MMA_STRIPES; n++) {
        const int64_t c = column + n * 8 + lane % 4 * 2;
        if (low < end) {
            store2(to, low * stride + c, sums[n][0] * low_factor, sums[n][1] * low_factor, accumulate);
        }
        if (high < end) {
            store2(to, high * stride + c, sums[n][2] * high_factor, sums[n][3] * high_factor, accumulate);
        }
    }
}

KERNEL(attention_mma, MMA_THREADS)
{
    SHARED(uint16_t, shared);
    uint16_t *const q = shared, *const k = q + MMA_TILE_HALVES, *const turned_v = k + MMA_TILE_HALVES;
    const int64_t c = a.heads * MMA_WIDTH;
    const int lane = (int)threadIdx.x % WARP;
    float sums[MMA_STRIPES][4], most[2] = {NEGATIVE_INFINITY, NEGATIVE_INFINITY}, total[2] = {0, 0};
    tile_place p;
    if (!find_tile(a, &p)) {
        return;
    }
    const int64_t query[2] = {p.at + threadIdx.x / WARP * 16 + lane / 4, p.at + threadIdx.x / WARP * 16 + lane / 4 + 8};
#pragma unroll
    for (int n = 0; n < MMA_STRIPES; n++) {
        sums[n][0] = sums[n][1] = sums[n][2] = sums[n][3] = 0;
    }
    load_tile(q, nullptr, a.qkv, p.at, p.end, 3 * c, p.head * MMA_WIDTH);
    const int64_t last = a.causal && p.at + MMA_TILE < p.end ? p.at + MMA_TILE : p.end;
    for (int64_t key = p.first; key < last; key += MMA_TILE) {
        float scores[MMA_STRIPES][4];
        __syncthreads();
        load_tile(k, nullptr, a.qkv, key, p.end, 3 * c, c + p.head * MMA_WIDTH);
        load_tile(nullptr, turned_v, a.qkv, key, p.end, 3 * c, 2 * c + p.head * MMA_WIDTH);
        __syncthreads();
        products(scores, q, k);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float now = most[half], sum = 0;
#pragma unroll
            for (int n = 0; n < MMA_STRIPES; n++) {
#pragma unroll
                for (int j = 0; j < 2; j++) {
                    const int64_t at = key + n * 8 + lane % 4 * 2 + j;
                    float *score = &scores[n][2 * half + j];
                    *score = at < p.end && (!a.causal || at <= query[half]) ? *score * a.scale : NEGATIVE_INFINITY;
                    now = fmaxf(now, *score);
                }
            }
            now = quad_max(now);
            const float base = now == NEGATIVE_INFINITY ? 0.0f : now, shrink = expf(most[half] - base);
#pragma unroll
            for (int n = 0; n < MMA_STRIPES; n++) {
#pragma unroll
                for (int j = 0; j < 2; j++) {
                    scores[n][2 * half + j] = expf(scores[n][2 * half + j] - base);
                    sum += scores[n][2 * half + j];
                    sums[n][2 * half + j] *= shrink;
                }
            }
            total[half] = total[half] * shrink + quad_sum(sum);
            most[half] = now;
        }
        add_products(sums, scores, turned_v);
    }
    store_tile(a.y, sums, p.at, p.end, c, p.head * MMA_WIDTH, 1.0f / total[0], 1.0f / total[1], 0);
    if (lane % 4 == 0 && a.lse.data != nullptr) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            if (query[half] < p.end) {
                store(a.lse, query[half] * a.heads + p.head, most[half] + logf(total[half]));
            }
        }
    }
}

/* lse and delta of 64 queries into shared memory. */
static __device__ __forceinline__ void load_statistics(float *lse, float *delta, const attention_args &a, const tile_place &p, int64_t query)
{
    for (int i = (int)threadIdx.x; i < MMA_TILE; i += MMA_THREADS) {
        const int64_t at = (query + i) * a.heads + p.head;
        lse[i] = query + i < p.end ? load(a.lse, at) : 0.0f;
        delta[i] = query + i < p.end ? a.delta[at] : 0.0f;
    }
}

/* A score and the product of dy and v become p and ds; 0 where the query does not see the key. */
static __device__ __forceinline__ void score_gradient(float *score, float *product, int visible, float lse, float delta, float scale)
{
    const float chance = visible ? expf(*score * scale - lse) : 0.0f;
    *product = chance * (*product - delta) * scale;
    *score = chance;
}

KERNEL(attention_mma_grad_q, MMA_THREADS)
{
    SHARED(uint16_t, shared);
    uint16_t *const q = shared, *const dy = q + MMA_TILE_HALVES, *const k = dy + MMA_TILE_HALVES, *const v = k + MMA_TILE_HALVES;
    uint16_t *const turned_k = v + MMA_TILE_HALVES;
    float *const lse = (float *)(turned_k + MMA_TILE_HALVES), *const delta = lse + MMA_TILE;
    const int64_t c = a.heads * MMA_WIDTH;
    const int lane = (int)threadIdx.x % WARP, row = (int)threadIdx.x / WARP * 16 + lane / 4;
    float sums[MMA_STRIPES][4];
    tile_place p;
    if (!find_tile(a, &p)) {
        return;
    }
#pragma unroll
    for (int n = 0; n < MMA_STRIPES; n++) {
        sums[n][0] = sums[n][1] = sums[n][2] = sums[n][3] = 0;
    }
    load_tile(q, nullptr, a.qkv, p.at, p.end, 3 * c, p.head * MMA_WIDTH);
    load_tile(dy, nullptr, a.dy, p.at, p.end, c, p.head * MMA_WIDTH);
    load_statistics(lse, delta, a, p, p.at);
    const int64_t last = a.causal && p.at + MMA_TILE < p.end ? p.at + MMA_TILE : p.end;
    for (int64_t key = p.first; key < last; key += MMA_TILE) {
        float scores[MMA_STRIPES][4], slopes[MMA_STRIPES][4];
        __syncthreads();
        load_tile(k, turned_k, a.qkv, key, p.end, 3 * c, c + p.head * MMA_WIDTH);
        load_tile(v, nullptr, a.qkv, key, p.end, 3 * c, 2 * c + p.head * MMA_WIDTH);
        __syncthreads();
        products(scores, q, k);
        products(slopes, dy, v);
#pragma unroll
        for (int n = 0; n < MMA_STRIPES; n++) {
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const int r = row + e / 2 * 8;
                const int64_t at = key + n * 8 + lane % 4 * 2 + e % 2;
                score_gradient(&scores[n][e], &slopes[n][e], p.at + r < p.end && at < p.end && (!a.causal || at <= p.at + r), lse[r], delta[r], a.scale);
            }
        }
        add_products(sums, slopes, turned_k);
    }
    store_tile(a.dqkv, sums, p.at, p.end, 3 * c, p.head * MMA_WIDTH, 1.0f, 1.0f, a.accumulate);
}

KERNEL(attention_mma_grad_kv, MMA_THREADS)
{
    SHARED(uint16_t, shared);
    uint16_t *const k = shared, *const v = k + MMA_TILE_HALVES, *const q = v + MMA_TILE_HALVES, *const turned_q = q + MMA_TILE_HALVES;
    uint16_t *const dy = turned_q + MMA_TILE_HALVES, *const turned_dy = dy + MMA_TILE_HALVES;
    float *const lse = (float *)(turned_dy + MMA_TILE_HALVES), *const delta = lse + MMA_TILE;
    const int64_t c = a.heads * MMA_WIDTH;
    const int lane = (int)threadIdx.x % WARP, row = (int)threadIdx.x / WARP * 16 + lane / 4;
    float by_key[MMA_STRIPES][4], by_value[MMA_STRIPES][4];
    tile_place p;
    if (!find_tile(a, &p)) {
        return;
    }
#pragma unroll
    for (int n = 0; n < MMA_STRIPES; n++) {
        by_key[n][0] = by_key[n][1] = by_key[n][2] = by_key[n][3] = 0;
        by_value[n][0] = by_value[n][1] = by_value[n][2] = by_value[n][3] = 0;
    }
    load_tile(k, nullptr, a.qkv, p.at, p.end, 3 * c, c + p.head * MMA_WIDTH);
    load_tile(v, nullptr, a.qkv, p.at, p.end, 3 * c, 2 * c + p.head * MMA_WIDTH);
    for (int64_t query = a.causal ? p.at : p.first; query < p.end; query += MMA_TILE) {
        float scores[MMA_STRIPES][4], slopes[MMA_STRIPES][4]; /* keys by queries */
        __syncthreads();
        load_tile(q, turned_q, a.qkv, query, p.end, 3 * c, p.head * MMA_WIDTH);
        load_tile(dy, turned_dy, a.dy, query, p.end, c, p.head * MMA_WIDTH);
        load_statistics(lse, delta, a, p, query);
        __syncthreads();
        products(scores, k, q);
        products(slopes, v, dy);
#pragma unroll
        for (int n = 0; n < MMA_STRIPES; n++) {
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const int r = row + e / 2 * 8, i = n * 8 + lane % 4 * 2 + e % 2;
                score_gradient(&scores[n][e], &slopes[n][e], p.at + r < p.end && query + i < p.end && (!a.causal || p.at + r <= query + i), lse[i], delta[i],
                               a.scale);
            }
        }
        add_products(by_value, scores, turned_dy);
        add_products(by_key, slopes, turned_q);
    }
    store_tile(a.dqkv, by_key, p.at, p.end, 3 * c, c + p.head * MMA_WIDTH, 1.0f, 1.0f, a.accumulate);
    store_tile(a.dqkv, by_value, p.at, p.end, 3 * c, 2 * c + p.head * MMA_WIDTH, 1.0f, 1.0f, a.accumulate);
}
