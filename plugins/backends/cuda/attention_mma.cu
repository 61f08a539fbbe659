/* plugins/backends/cuda/attention_mma.cu: attention on matrix units for head widths of up to 128, multiples of eight: bf16 operands, fp32 sums.
 *
 * A block takes 64 queries (or keys) of one head of one row group; each of its four warps 16 of them. Products are made of mma m16n8k16, in pairs:
 * 16 rows by 16 columns. Scores of one product are the left operand of the next one as they lie in registers: queries by keys in the
 * forward pass and for dq, keys by queries for dk and dv. Tiles lie in shared memory as rows lie in device memory; what a product needs
 * turned is turned by ldmatrix. While one tile is worked on, the next is copied.
 * A head is padded with zeros to the width W that a kernel is made for. Pairs that nobody sees (behind a group's end, above the diagonal) are neither
 * copied nor computed. Groups of one tile have their whole gradient from one block: q, k, v and dy are read once, and delta is the sum of p dp.
 * Alternatives that lost: atomic sums for dq, which would have no fixed order.
 */
#include "device.cuh"

#define LOG2_E 1.4426950408889634f
#define LN_2 0.69314718055994531f

enum { MMA_STRIPES = MMA_TILE / 8, MMA_PAIRS = MMA_TILE / 16, CHANCE_PITCH = MMA_TILE + 8 };

/* ---- what only a device has ---- */

/* d += a b; a (16, 16), b (16, 8), d (16, 8), spread over a warp: of d, a lane has row lane / 4, columns 2 (lane % 4) and the next, and the same of
 * row lane / 4 + 8. */
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

/* Four pieces of 8 x 8 from shared memory: lane l says where row l % 8 of piece l / 8 is (16 bytes, aligned), and gets of each piece row lane / 4,
 * columns 2 (lane % 4) and the next; with `turned`, of each piece's transpose. */
static __device__ __forceinline__ void load_pieces(uint32_t r[4], const uint16_t *row)
{
#ifdef PRN_EMULATED
    emulated_ldmatrix(r, row, 0);
#else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"((uint32_t)__cvta_generic_to_shared(row)));
#endif
}

static __device__ __forceinline__ void load_pieces_turned(uint32_t r[4], const uint16_t *row)
{
#ifdef PRN_EMULATED
    emulated_ldmatrix(r, row, 1);
#else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"((uint32_t)__cvta_generic_to_shared(row)));
#endif
}

/* Begins a copy of 16 (4) bytes from device to shared memory; zeros when there is nothing to copy (`from` is then an address all the same). */
static __device__ __forceinline__ void copy_sixteen(void *to, const void *from, int is_there)
{
#ifdef PRN_EMULATED
    emulated_copy(to, from, 16, is_there);
#else
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"((uint32_t)__cvta_generic_to_shared(to)), "l"(__cvta_generic_to_global(from)),
                 "r"(is_there ? 16 : 0)
                 : "memory");
#endif
}

static __device__ __forceinline__ void copy_number(float *to, const float *from, int is_there)
{
#ifdef PRN_EMULATED
    emulated_copy(to, from, 4, is_there);
#else
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"((uint32_t)__cvta_generic_to_shared(to)), "l"(__cvta_generic_to_global(from)),
                 "r"(is_there ? 4 : 0)
                 : "memory");
#endif
}

/* What this thread has begun since the last one is one group. */
static __device__ __forceinline__ void copies_close()
{
#ifdef PRN_EMULATED
    emulated_copies_close();
#else
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/* Until at most `OPEN` of this thread's groups are on their way; a barrier makes them seen by others. */
template <int OPEN> static __device__ __forceinline__ void copies_wait()
{
#ifdef PRN_EMULATED
    emulated_copies_wait(OPEN);
#else
    asm volatile("cp.async.wait_group %0;" ::"n"(OPEN) : "memory");
#endif
}

/* ---- fragments ---- */

/* Left operand (16, 16) from row `row`, column `column` of a tile. */
template <int PITCH> static __device__ __forceinline__ void left_rows(uint32_t a[4], const uint16_t *tile, int row, int column)
{
    const int lane = (int)threadIdx.x % WARP;
    load_pieces(a, tile + (row + lane % 16) * PITCH + column + lane / 16 * 8);
}

/* Left operand (16, 16) whose transpose lies at row `row`, column `column`. */
template <int PITCH> static __device__ __forceinline__ void left_turned(uint32_t a[4], const uint16_t *tile, int row, int column)
{
    const int lane = (int)threadIdx.x % WARP;
    load_pieces_turned(a, tile + (row + lane % 8 + lane / 16 * 8) * PITCH + column + lane / 8 % 2 * 8);
}

/* Two right operands (16, 8), the second with the next eight columns, whose transposes lie at rows from `row`. */
template <int PITCH> static __device__ __forceinline__ void right_rows(uint32_t b[4], const uint16_t *tile, int row, int column)
{
    const int lane = (int)threadIdx.x % WARP;
    load_pieces(b, tile + (row + lane % 8 + lane / 16 * 8) * PITCH + column + lane / 8 % 2 * 8);
}

/* The same that lie as they are. */
template <int PITCH> static __device__ __forceinline__ void right_turned(uint32_t b[4], const uint16_t *tile, int row, int column)
{
    const int lane = (int)threadIdx.x % WARP;
    load_pieces_turned(b, tile + (row + lane % 16) * PITCH + column + lane / 16 * 8);
}

template <int N> static __device__ __forceinline__ void clear(float (&sums)[N][4])
{
#pragma unroll
    for (int n = 0; n < N; n++) {
        sums[n][0] = sums[n][1] = sums[n][2] = sums[n][3] = 0;
    }
}

/* Pairs of 16 rows of the other side that a warp has to do with: [first, end) of the tile's four, all of them with ALL. */
struct pairs {
    int first, end;
};

/* scores (16, 64) = 16 rows of `left` from `row` times the rows of `right`, over the width. */
template <int W, bool ALL>
static __device__ __forceinline__ void products(float (&scores)[MMA_STRIPES][4], const uint16_t *left, int row, const uint16_t *right, pairs of)
{
    clear(scores);
#pragma unroll
    for (int step = 0; step < W / 16; step++) {
        uint32_t a[4];
        left_rows<W + 8>(a, left, row, step * 16);
#pragma unroll
        for (int pair = 0; pair < MMA_PAIRS; pair++) {
            if (ALL || (pair >= of.first && pair < of.end)) {
                uint32_t b[4];
                right_rows<W + 8>(b, right, pair * 16, step * 16);
                multiply_add(scores[2 * pair], a, b[0], b[1]);
                multiply_add(scores[2 * pair + 1], a, b[2], b[3]);
            }
        }
    }
}

/* sums (16, W) += a (16, 16) times 16 rows of `right` from `row`. */
template <int W> static __device__ __forceinline__ void add_pair(float (&sums)[W / 8][4], const uint32_t a[4], const uint16_t *right, int row)
{
#pragma unroll
    for (int n = 0; n < W / 16; n++) {
        uint32_t b[4];
        right_turned<W + 8>(b, right, row, n * 16);
        multiply_add(sums[2 * n], a, b[0], b[1]);
        multiply_add(sums[2 * n + 1], a, b[2], b[3]);
    }
}

/* sums (16, W) += scores (16, 64) times the rows of `right`. */
template <int W, bool ALL>
static __device__ __forceinline__ void add_products(float (&sums)[W / 8][4], const float (&scores)[MMA_STRIPES][4], const uint16_t *right, pairs of)
{
#pragma unroll
    for (int pair = 0; pair < MMA_PAIRS; pair++) {
        if (ALL || (pair >= of.first && pair < of.end)) {
            const float *low = scores[2 * pair], *high = scores[2 * pair + 1];
            const uint32_t a[4] = {two_halves(low[0], low[1]), two_halves(low[2], low[3]), two_halves(high[0], high[1]), two_halves(high[2], high[3])};
            add_pair<W>(sums, a, right, pair * 16);
        }
    }
}

/* ---- tiles ---- */

struct tile_place {
    int64_t first, end; /* rows of the group */
    int64_t at;         /* first row of this block's tile */
    int64_t head;
};

static __device__ __forceinline__ int find_tile(const attention_args &a, tile_place *p)
{
    const uint32_t tiles = (uint32_t)a.tiles, heads = (uint32_t)a.heads, of_item = blockIdx.x / tiles, item = of_item / heads;
    p->head = of_item % heads;
    p->first = a.offsets != nullptr ? a.offsets[item] : item * a.positions;
    p->end = a.offsets != nullptr ? a.offsets[item + 1] : p->first + a.positions;
    p->at = p->first + (int64_t)(blockIdx.x % tiles) * MMA_TILE;
    return p->at < p->end;
}

static __device__ __forceinline__ int pairs_of(int64_t rows)
{
    return rows >= MMA_TILE ? (int)MMA_PAIRS : (int)(rows + 15) / 16;
}

/* Begins to copy a head's rows from `row`, 64 or whole pairs up to `end`, as bf16; what is behind `end` or the head's width is zero. */
template <int W>
static __device__ __forceinline__ void copy_rows(uint16_t *to, const values &from, int64_t row, int64_t end, int64_t stride, int64_t column, int width)
{
    const int packs = pairs_of(end - row) * 16 * (W / 8), is_direct = from.is_half && from.is_wide == 2;
    for (int i = (int)threadIdx.x; i < packs; i += MMA_THREADS) {
        const int r = i / (W / 8), c = i % (W / 8) * 8, is_there = row + r < end && c < width;
        const int64_t at = is_there ? (row + r) * stride + column + c : 0;
        uint16_t *const place = to + r * (W + 8) + c;
        if (is_direct) {
            copy_sixteen(place, (const uint16_t *)from.data + at, is_there);
        } else {
            sixteen bits = {{0, 0, 0, 0}};
            if (is_there) {
                const four low = load4(from, at, at + 8), high = load4(from, at + 4, at + 8);
                bits.v[0] = two_halves(low.v[0], low.v[1]);
                bits.v[1] = two_halves(low.v[2], low.v[3]);
                bits.v[2] = two_halves(high.v[0], high.v[1]);
                bits.v[3] = two_halves(high.v[2], high.v[3]);
            }
            *(sixteen *)place = bits;
        }
    }
}

/* This warp's 16 rows of a (., width) result, from row `at` on, as far as they are before `end`. `room`: 16 rows of a tile that nobody needs any more. */
template <int W>
static __device__ __forceinline__ void store_rows(const values &to, const float (&sums)[W / 8][4], uint16_t *room, int64_t at, int64_t end, int64_t stride,
                                                  int64_t column, int width, float low_factor, float high_factor, int accumulate)
{
    const int lane = (int)threadIdx.x % WARP, row = lane / 4;
    if (to.is_half && to.is_wide == 2 && !accumulate) {
        __syncwarp();
#pragma unroll
        for (int n = 0; n < W / 8; n++) {
            uint16_t *const place = room + row * (W + 8) + n * 8 + lane % 4 * 2;
            *(uint32_t *)place = two_halves(sums[n][0] * low_factor, sums[n][1] * low_factor);
            *(uint32_t *)(place + 8 * (W + 8)) = two_halves(sums[n][2] * high_factor, sums[n][3] * high_factor);
        }
        __syncwarp();
        for (int i = lane; i < 16 * (W / 8); i += WARP) {
            const int r = i / (W / 8), c = i % (W / 8) * 8;
            if (at + r < end && c < width) {
                *(sixteen *)((uint16_t *)to.data + (at + r) * stride + column + c) = *(const sixteen *)(room + r * (W + 8) + c);
            }
        }
        return;
    }
#pragma unroll
    for (int n = 0; n < W / 8; n++) {
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const int64_t r = at + row + e / 2 * 8;
            if (r < end && n * 8 < width) {
                store_to(to, r * stride + column + n * 8 + lane % 4 * 2 + e % 2, sums[n][e] * (e < 2 ? low_factor : high_factor), accumulate);
            }
        }
    }
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

/* ---- forward ---- */

/* What a warp knows of its 16 queries; each lane of two of them. Maxima are of scores times `factor`, a base-two exponent. */
template <int W> struct forward_state {
    float sums[W / 8][4], most[2], total[2];
    float factor;
    int64_t query, end; /* this lane's first query; the group's end */
    int causal;
};

template <int W, bool ALL>
static __device__ __forceinline__ void forward_tile(forward_state<W> &s, const uint16_t *q, int row, const uint16_t *k, const uint16_t *v, int64_t key, pairs of)
{
    float scores[MMA_STRIPES][4];
    const int column = (int)threadIdx.x % 4 * 2;
    products<W, ALL>(scores, q, row, k, of);
#pragma unroll
    for (int half = 0; half < 2; half++) {
        /* keys before it are seen */
        const int64_t end = s.causal && s.query + 8 * half + 1 < s.end ? s.query + 8 * half + 1 : s.end;
        const int seen = end - key < MMA_TILE ? (int)(end - key) : (int)MMA_TILE;
        float now = s.most[half], sum = 0;
#pragma unroll
        for (int n = 0; n < MMA_STRIPES; n++) {
            if (ALL || (n / 2 >= of.first && n / 2 < of.end)) {
#pragma unroll
                for (int j = 0; j < 2; j++) {
                    float *score = &scores[n][2 * half + j];
                    *score = ALL || n * 8 + column + j < seen ? *score * s.factor : NEGATIVE_INFINITY;
                    now = fmaxf(now, *score);
                }
            }
        }
        now = quad_max(now);
        const float base = now == NEGATIVE_INFINITY ? 0.0f : now, shrink = exp2f(s.most[half] - base);
#pragma unroll
        for (int n = 0; n < MMA_STRIPES; n++) {
            if (ALL || (n / 2 >= of.first && n / 2 < of.end)) {
#pragma unroll
                for (int j = 0; j < 2; j++) {
                    scores[n][2 * half + j] = exp2f(scores[n][2 * half + j] - base);
                    sum += scores[n][2 * half + j];
                }
            }
        }
#pragma unroll
        for (int n = 0; n < W / 8; n++) {
            s.sums[n][2 * half] *= shrink;
            s.sums[n][2 * half + 1] *= shrink;
        }
        s.total[half] = s.total[half] * shrink + quad_sum(sum);
        s.most[half] = now;
    }
    add_products<W, ALL>(s.sums, scores, v, of);
}

template <int W> static __device__ __forceinline__ void forward(const attention_args &a)
{
    enum { HALVES = MMA_TILE * (W + 8), STAGES = MMA_STAGES(W) };
    SHARED(uint16_t, shared);
    uint16_t *const q = shared, *const tiles = q + HALVES; /* keys, then values, of each stage */
    const int width = (int)a.width, lane = (int)threadIdx.x % WARP, row = (int)threadIdx.x / WARP * 16;
    const int64_t c = a.heads * a.width;
    tile_place p;
    if (!find_tile(a, &p)) {
        return;
    }
    const int64_t column = p.head * a.width, mine = p.at + row, last = a.causal && p.at + MMA_TILE < p.end ? p.at + MMA_TILE : p.end;
    forward_state<W> s;
    clear(s.sums);
    s.most[0] = s.most[1] = NEGATIVE_INFINITY;
    s.total[0] = s.total[1] = 0;
    s.factor = a.scale * LOG2_E;
    s.query = mine + lane / 4;
    s.end = p.end;
    s.causal = a.causal;
    copy_rows<W>(q, a.qkv, p.at, p.end, 3 * c, column, width);
    int stage = 0;
    for (int64_t key = p.first, next = p.first; key < last; key += MMA_TILE) {
        for (; next < last && next <= key + (STAGES - 1) * MMA_TILE; next += MMA_TILE) {
            uint16_t *const to = tiles + (next == key ? stage : 1 - stage) * 2 * HALVES;
            copy_rows<W>(to, a.qkv, next, last, 3 * c, c + column, width);
            copy_rows<W>(to + HALVES, a.qkv, next, last, 3 * c, 2 * c + column, width);
            copies_close();
        }
        if (next > key + MMA_TILE) {
            copies_wait<1>();
        } else {
            copies_wait<0>();
        }
        __syncthreads();
        const uint16_t *const k = tiles + stage * 2 * HALVES, *const v = k + HALVES;
        if (mine < p.end) {
            const int64_t seen_by_all = a.causal && mine + 1 < p.end ? mine + 1 : p.end, seen = a.causal && mine + 16 < p.end ? mine + 16 : p.end;
            if (key + MMA_TILE <= seen_by_all) {
                forward_tile<W, true>(s, q, row, k, v, key, {0, MMA_PAIRS});
            } else {
                forward_tile<W, false>(s, q, row, k, v, key, {0, pairs_of(seen - key)});
            }
        }
        __syncthreads(); /* before what comes next overwrites it */
        stage = STAGES - 1 - stage;
    }
    if (mine < p.end) {
        store_rows<W>(a.y, s.sums, q + row * (W + 8), mine, p.end, c, column, width, 1.0f / s.total[0], 1.0f / s.total[1], 0);
        for (int half = 0; half < 2; half++) {
            const int64_t query = s.query + 8 * half;
            if (lane % 4 == 0 && a.lse.data != nullptr && query < p.end) {
                store(a.lse, query * a.heads + p.head, s.most[half] * LN_2 + logf(s.total[half]));
            }
        }
    }
}

/* ---- gradients ---- */

/* A score and the product of dy and v become p and ds; 0 where the query does not see the key. `lse` is a base-two exponent. */
static __device__ __forceinline__ void score_gradient(float *score, float *product, int visible, float factor, float lse, float delta, float scale)
{
    const float chance = visible ? exp2f(*score * factor - lse) : 0.0f;
    *product = chance * (*product - delta) * scale;
    *score = chance;
}

template <int W, bool ALL>
static __device__ __forceinline__ void grad_q_tile(float (&sums)[W / 8][4], const attention_args &a, const uint16_t *q, const uint16_t *dy, int row,
                                                   const uint16_t *k, const uint16_t *v, int64_t key, int64_t query, int64_t group_end, const float lse[2],
                                                   const float delta[2], pairs of)
{
    float scores[MMA_STRIPES][4], slopes[MMA_STRIPES][4];
    const int column = (int)threadIdx.x % 4 * 2;
    products<W, ALL>(scores, q, row, k, of);
    products<W, ALL>(slopes, dy, row, v, of);
#pragma unroll
    for (int n = 0; n < MMA_STRIPES; n++) {
        if (ALL || (n / 2 >= of.first && n / 2 < of.end)) {
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const int64_t at = key + n * 8 + column + e % 2;
                score_gradient(&scores[n][e], &slopes[n][e], ALL || (at < group_end && (!a.causal || at <= query + e / 2 * 8)), a.scale * LOG2_E, lse[e / 2],
                               delta[e / 2], a.scale);
            }
        }
    }
    add_products<W, ALL>(sums, slopes, k, of);
}

template <int W> static __device__ __forceinline__ void grad_q(const attention_args &a)
{
    enum { HALVES = MMA_TILE * (W + 8), STAGES = MMA_STAGES(W) };
    SHARED(uint16_t, shared);
    uint16_t *const q = shared, *const dy = q + HALVES, *const tiles = dy + HALVES; /* keys, then values, of each stage */
    const int width = (int)a.width, lane = (int)threadIdx.x % WARP, row = (int)threadIdx.x / WARP * 16;
    const int64_t c = a.heads * a.width;
    float sums[W / 8][4], lse[2], delta[2];
    tile_place p;
    if (!find_tile(a, &p)) {
        return;
    }
    const int64_t column = p.head * a.width, mine = p.at + row, last = a.causal && p.at + MMA_TILE < p.end ? p.at + MMA_TILE : p.end;
    clear(sums);
    copy_rows<W>(q, a.qkv, p.at, p.end, 3 * c, column, width);
    copy_rows<W>(dy, a.dy, p.at, p.end, c, column, width);
    for (int half = 0; half < 2; half++) {
        const int64_t query = mine + lane / 4 + 8 * half, at = query * a.heads + p.head;
        lse[half] = query < p.end ? load(a.lse, at) * LOG2_E : 0.0f;
        delta[half] = query < p.end ? a.delta[at] : 0.0f;
    }
    int stage = 0;
    for (int64_t key = p.first, next = p.first; key < last; key += MMA_TILE) {
        for (; next < last && next <= key + (STAGES - 1) * MMA_TILE; next += MMA_TILE) {
            uint16_t *const to = tiles + (next == key ? stage : 1 - stage) * 2 * HALVES;
            copy_rows<W>(to, a.qkv, next, last, 3 * c, c + column, width);
            copy_rows<W>(to + HALVES, a.qkv, next, last, 3 * c, 2 * c + column, width);
            copies_close();
        }
        if (next > key + MMA_TILE) {
            copies_wait<1>();
        } else {
            copies_wait<0>();
        }
        __syncthreads();
        const uint16_t *const k = tiles + stage * 2 * HALVES, *const v = k + HALVES;
        if (mine < p.end) {
            const int64_t seen_by_all = a.causal && mine + 1 < p.end ? mine + 1 : p.end, seen = a.causal && mine + 16 < p.end ? mine + 16 : p.end;
            if (key + MMA_TILE <= seen_by_all) {
                grad_q_tile<W, true>(sums, a, q, dy, row, k, v, key, mine + lane / 4, p.end, lse, delta, {0, MMA_PAIRS});
            } else {
                grad_q_tile<W, false>(sums, a, q, dy, row, k, v, key, mine + lane / 4, p.end, lse, delta, {0, pairs_of(seen - key)});
            }
        }
        __syncthreads();
        stage = STAGES - 1 - stage;
    }
    if (mine < p.end) {
        store_rows<W>(a.dqkv, sums, q + row * (W + 8), mine, p.end, 3 * c, column, width, 1.0f, 1.0f, a.accumulate);
    }
}

template <int W, bool ALL>
static __device__ __forceinline__ void grad_kv_tile(float (&by_key)[W / 8][4], float (&by_value)[W / 8][4], const attention_args &a, const uint16_t *k,
                                                    const uint16_t *v, int row, const uint16_t *q, const uint16_t *dy, const float *lse, const float *delta,
                                                    int64_t query, int64_t key, int64_t group_end, pairs of)
{
    float scores[MMA_STRIPES][4], slopes[MMA_STRIPES][4]; /* keys by queries */
    const int column = (int)threadIdx.x % 4 * 2;
    products<W, ALL>(scores, k, row, q, of);
    products<W, ALL>(slopes, v, row, dy, of);
#pragma unroll
    for (int n = 0; n < MMA_STRIPES; n++) {
        if (ALL || (n / 2 >= of.first && n / 2 < of.end)) {
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const int i = n * 8 + column + e % 2;
                score_gradient(&scores[n][e], &slopes[n][e], ALL || (query + i < group_end && (!a.causal || key + e / 2 * 8 <= query + i)), a.scale * LOG2_E,
                               lse[i] * LOG2_E, delta[i], a.scale);
            }
        }
    }
    add_products<W, ALL>(by_value, scores, dy, of);
    add_products<W, ALL>(by_key, slopes, q, of);
}

template <int W> static __device__ __forceinline__ void grad_kv(const attention_args &a)
{
    enum { HALVES = MMA_TILE * (W + 8), STAGES = MMA_STAGES(W) };
    SHARED(uint16_t, shared);
    float *const statistics = (float *)shared; /* lse, then delta, of each stage */
    uint16_t *const k = shared + MMA_STATISTICS / sizeof(uint16_t), *const v = k + HALVES, *const tiles = v + HALVES; /* queries, then dy, of each stage */
    const int width = (int)a.width, lane = (int)threadIdx.x % WARP, row = (int)threadIdx.x / WARP * 16;
    const int64_t c = a.heads * a.width;
    float by_key[W / 8][4], by_value[W / 8][4];
    tile_place p;
    if (!find_tile(a, &p)) {
        return;
    }
    const int64_t column = p.head * a.width, mine = p.at + row;
    clear(by_key);
    clear(by_value);
    copy_rows<W>(k, a.qkv, p.at, p.end, 3 * c, c + column, width);
    copy_rows<W>(v, a.qkv, p.at, p.end, 3 * c, 2 * c + column, width);
    int stage = 0;
    for (int64_t query = a.causal ? p.at : p.first, next = query; query < p.end; query += MMA_TILE) {
        for (; next < p.end && next <= query + (STAGES - 1) * MMA_TILE; next += MMA_TILE) {
            const int of = next == query ? stage : 1 - stage;
            uint16_t *const to = tiles + of * 2 * HALVES;
            copy_rows<W>(to, a.qkv, next, p.end, 3 * c, column, width);
            copy_rows<W>(to + HALVES, a.dy, next, p.end, c, column, width);
            for (int i = (int)threadIdx.x; i < 2 * MMA_TILE; i += MMA_THREADS) {
                const int64_t at = next + i % MMA_TILE;
                const float *const from = i < MMA_TILE ? (const float *)a.lse.data : a.delta;
                copy_number(statistics + of * 2 * MMA_TILE + i, from + (at < p.end ? at * a.heads + p.head : 0), at < p.end);
            }
            copies_close();
        }
        if (next > query + MMA_TILE) {
            copies_wait<1>();
        } else {
            copies_wait<0>();
        }
        __syncthreads();
        const uint16_t *const q = tiles + stage * 2 * HALVES, *const dy = q + HALVES;
        const float *const lse = statistics + stage * 2 * MMA_TILE, *const delta = lse + MMA_TILE;
        if (mine < p.end) {
            if (query + MMA_TILE <= p.end && (!a.causal || mine + 15 <= query)) {
                grad_kv_tile<W, true>(by_key, by_value, a, k, v, row, q, dy, lse, delta, query, mine + lane / 4, p.end, {0, MMA_PAIRS});
            } else {
                const int first = a.causal && query == p.at ? row / 16 : 0; /* earlier queries see none of these keys */
                grad_kv_tile<W, false>(by_key, by_value, a, k, v, row, q, dy, lse, delta, query, mine + lane / 4, p.end, {first, pairs_of(p.end - query)});
            }
        }
        __syncthreads();
        stage = STAGES - 1 - stage;
    }
    if (mine < p.end) {
        store_rows<W>(a.dqkv, by_key, k + row * (W + 8), mine, p.end, 3 * c, c + column, width, 1.0f, 1.0f, a.accumulate);
        store_rows<W>(a.dqkv, by_value, v + row * (W + 8), mine, p.end, 3 * c, 2 * c + column, width, 1.0f, 1.0f, a.accumulate);
    }
}

/* sums (16, W) = the transpose of this warp's 16 columns of `chances` (queries by keys) times the rows of `right`. */
template <int W>
static __device__ __forceinline__ void turned_products(float (&sums)[W / 8][4], const uint16_t *chances, int column, const uint16_t *right, pairs of)
{
    clear(sums);
#pragma unroll
    for (int pair = 0; pair < MMA_PAIRS; pair++) {
        if (pair >= of.first && pair < of.end) {
            uint32_t left[4];
            left_turned<CHANCE_PITCH>(left, chances, pair * 16, column);
            add_pair<W>(sums, left, right, pair * 16);
        }
    }
}

/* All of a group that is one tile. */
template <int W> static __device__ __forceinline__ void grad(const attention_args &a)
{
    enum { HALVES = MMA_TILE * (W + 8) };
    SHARED(uint16_t, shared);
    uint16_t *const q = shared, *const k = q + HALVES, *const v = k + HALVES, *const dy = v + HALVES;
    uint16_t *const chances = dy + HALVES, *const slopes_at = chances + MMA_TILE * CHANCE_PITCH; /* p and ds: queries by keys */
    const int width = (int)a.width, lane = (int)threadIdx.x % WARP, row = (int)threadIdx.x / WARP * 16;
    const int64_t c = a.heads * a.width;
    float sums[W / 8][4];
    tile_place p;
    if (!find_tile(a, &p)) {
        return;
    }
    const int64_t column = p.head * a.width, mine = p.at + row;
    const int rows = (int)(p.end - p.at), groups = pairs_of(rows);
    copy_rows<W>(q, a.qkv, p.at, p.end, 3 * c, column, width);
    copy_rows<W>(k, a.qkv, p.at, p.end, 3 * c, c + column, width);
    copy_rows<W>(v, a.qkv, p.at, p.end, 3 * c, 2 * c + column, width);
    copy_rows<W>(dy, a.dy, p.at, p.end, c, column, width);
    copies_close();
    copies_wait<0>();
    __syncthreads();
    clear(sums);
    if (mine < p.end) {
        const pairs of = {0, a.causal ? row / 16 + 1 : groups};
        float scores[MMA_STRIPES][4], slopes[MMA_STRIPES][4];
        products<W, false>(scores, q, row, k, of);
        products<W, false>(slopes, dy, row, v, of);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int query = row + lane / 4 + 8 * half, seen = query >= rows ? 0 : a.causal ? query + 1 : rows;
            const float lse = query < rows ? load(a.lse, (p.at + query) * a.heads + p.head) * LOG2_E : 0.0f;
            float total = 0, delta = 0;
#pragma unroll
            for (int n = 0; n < MMA_STRIPES; n++) {
                if (n / 2 < of.end) {
#pragma unroll
                    for (int j = 0; j < 2; j++) {
                        float *const score = &scores[n][2 * half + j];
                        *score = n * 8 + lane % 4 * 2 + j < seen ? exp2f(*score * (a.scale * LOG2_E) - lse) : 0.0f;
                        total += *score;
                        delta += *score * slopes[n][2 * half + j];
                    }
                }
            }
            /* chances add up to one although scores are rounded: a query of one key has no gradient */
            total = quad_sum(total);
            const float share = seen > 0 ? 1.0f / total : 0.0f;
            delta = quad_sum(delta) * share;
#pragma unroll
            for (int n = 0; n < MMA_STRIPES; n++) {
                if (n / 2 < of.end) {
                    float *const slope = &slopes[n][2 * half];
                    const int at = query * CHANCE_PITCH + n * 8 + lane % 4 * 2;
                    const float low = scores[n][2 * half] * share, high = scores[n][2 * half + 1] * share;
                    slope[0] = low * (slope[0] - delta) * a.scale;
                    slope[1] = high * (slope[1] - delta) * a.scale;
                    *(uint32_t *)(chances + at) = two_halves(low, high);
                    *(uint32_t *)(slopes_at + at) = two_halves(slope[0], slope[1]);
                }
            }
        }
        add_products<W, false>(sums, slopes, k, of);
    }
    __syncthreads(); /* p and ds are there, and nobody needs v any more */
    if (mine < p.end) {
        const pairs of = {a.causal ? row / 16 : 0, groups};
        uint16_t *const room = v + row * (W + 8);
        store_rows<W>(a.dqkv, sums, room, mine, p.end, 3 * c, column, width, 1.0f, 1.0f, a.accumulate);
        turned_products<W>(sums, slopes_at, row, q, of);
        store_rows<W>(a.dqkv, sums, room, mine, p.end, 3 * c, c + column, width, 1.0f, 1.0f, a.accumulate);
        turned_products<W>(sums, chances, row, dy, of);
        store_rows<W>(a.dqkv, sums, room, mine, p.end, 3 * c, 2 * c + column, width, 1.0f, 1.0f, a.accumulate);
    }
}

#define OF_WIDTH(W)                                                                      \
    KERNEL(attention_mma_##W, MMA_THREADS) { forward<W>(a); }                            \
    KERNEL(attention_mma_grad_##W, MMA_THREADS) { grad<W>(a); }                          \
    KERNEL(attention_mma_grad_q_##W, MMA_THREADS) { grad_q<W>(a); }                      \
    KERNEL(attention_mma_grad_kv_##W, MMA_THREADS) { grad_kv<W>(a); }
MMA_WIDTHS(OF_WIDTH)
#undef OF_WIDTH
