/* plugins/backends/cuda/elements.cu: element-wise operations, the optimizer, whole sums. */
#include "device.cuh"

/* y = f(a, b), eight neighbours a thread and turn. */
template <class F> static __device__ __forceinline__ void each_element(const element_args &a, const F &f)
{
    const int64_t stride = (int64_t)gridDim.x * THREADS * 8;
    for (int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * 8; i < a.n; i += stride) {
        eight x = {}, z = {}, y = {};
        if (a.a.data != nullptr) {
            x = load8(a.a, i, a.n);
        }
        if (a.b.data != nullptr) {
            z = load8(a.b, i, a.n);
        }
        if (a.accumulate) {
            y = load8(a.y, i, a.n);
        }
#pragma unroll
        for (int j = 0; j < 8; j++) {
            const float r = f(x.v[j], z.v[j]);
            y.v[j] = a.accumulate ? y.v[j] + r : r;
        }
        store8(a.y, i, a.n, y);
    }
}

/* What is done is chosen once, not for each element. */
KERNEL(element, THREADS)
{
    const float number = a.scalar.data != nullptr ? load(a.scalar, 0) : 0.0f, alpha = a.alpha, beta = a.beta;
    const int is_gelu = a.activation == 1, is_quick = a.activation == 2;
    switch (a.kind) {
    case ELEMENT_ACTIVATION:
    case ELEMENT_ACTIVATION_ADD: /* b is absent, or added */
        if (is_gelu) {
            each_element(a, [](float x, float z) { return activate(1, x) + z; });
        } else if (is_quick) {
            each_element(a, [](float x, float z) { return activate(2, x) + z; });
        } else {
            each_element(a, [](float x, float z) { return x + z; });
        }
        break;
    case ELEMENT_ACTIVATION_GRAD:
        if (is_gelu) {
            each_element(a, [](float x, float z) { return x * activate_slope(1, z); });
        } else if (is_quick) {
            each_element(a, [](float x, float z) { return x * activate_slope(2, z); });
        } else {
            each_element(a, [](float x, float) { return x; });
        }
        break;
    case ELEMENT_AXPBY: each_element(a, [=](float x, float z) { return alpha * x + beta * z; }); break;
    case ELEMENT_MULTIPLY: each_element(a, [](float x, float z) { return x * z; }); break;
    case ELEMENT_SCALE: each_element(a, [=](float x, float) { return x * number; }); break;
    case ELEMENT_EXP: each_element(a, [](float x, float) { return expf(x); }); break;
    case ELEMENT_CLAMP: each_element(a, [=](float x, float) { return x < alpha ? alpha : x > beta ? beta : x; }); break;
    case ELEMENT_FILL: each_element(a, [=](float, float) { return alpha; }); break;
    case ELEMENT_BROADCAST: each_element(a, [=](float, float) { return alpha * number; }); break;
    default: each_element(a, [](float x, float) { return x; }); break;
    }
}

/* perennial/program.h, ADAMW: how moments are rounded to bf16. */
static __device__ __forceinline__ uint32_t mix(uint32_t x)
{
    x = (x ^ x >> 16) * 0x85ebca6bu;
    x = (x ^ x >> 13) * 0xc2b2ae35u;
    return x ^ x >> 16;
}

/* A value that bf16 has, so that storing it rounds nothing. */
static __device__ __forceinline__ float by_chance(float x, uint32_t chance)
{
    return __uint_as_float((__float_as_uint(x) + chance) & 0xffff0000u);
}

KERNEL(adamw, THREADS)
{
    int at = 0;
    while (at + 1 < a.count && (int)blockIdx.x >= a.pieces[at + 1].first) {
        at++;
    }
    const adamw_piece w = a.pieces[at];
    const int blocks = (at + 1 < a.count ? a.pieces[at + 1].first : a.blocks) - w.first;
    const int64_t stride = (int64_t)blocks * THREADS * 4;
    const values of_g = {(void *)w.g, 0, w.is_wide}, of_p = {w.p, 0, w.is_wide}, of_m = {w.m, w.is_bf16, w.is_wide}, of_v = {w.v, w.is_bf16, w.is_wide};
    const float lr = load(a.hyper, 0), correction1 = load(a.hyper, 1), correction2 = load(a.hyper, 2), scale = load(a.hyper, 3);
    const float shrink = lr * w.decay;
    const uint32_t key = w.is_bf16 ? mix((uint32_t)load(a.hyper, 4)) : 0;
    for (int64_t i = ((int64_t)((int)blockIdx.x - w.first) * THREADS + threadIdx.x) * 4; i < w.n; i += stride) {
        const four g = load4(of_g, i, w.n);
        four p = load4(of_p, i, w.n), m = load4(of_m, i, w.n), v = load4(of_v, i, w.n);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const float d = g.v[j] * scale;
            m.v[j] = a.beta1 * m.v[j] + a.rest1 * d;
            v.v[j] = a.beta2 * v.v[j] + a.rest2 * d * d;
            p.v[j] -= shrink * p.v[j];
            p.v[j] -= lr * (m.v[j] * correction1) / (sqrtf(v.v[j] * correction2) + a.epsilon);
            if (w.is_bf16) {
                const uint32_t chance = mix((w.element + (uint32_t)(i + j)) ^ key);
                m.v[j] = by_chance(m.v[j], chance & 0xffffu);
                v.v[j] = by_chance(v.v[j], chance >> 16);
            }
        }
        store4(of_p, i, w.n, p);
        store4(of_m, i, w.n, m);
        store4(of_v, i, w.n, v);
    }
}

/* A block a piece, in fp64: the pieces of the sum of a large vector may cancel. */
KERNEL(sum, THREADS)
{
    SHARED(double, room);
    const int64_t pieces = (a.n + SUM_PIECE - 1) / SUM_PIECE;
    for (int64_t piece = blockIdx.x; piece < pieces; piece += gridDim.x) {
        const int64_t first = piece * SUM_PIECE, end = first + SUM_PIECE < a.n ? first + SUM_PIECE : a.n;
        double total = 0;
        for (int64_t i = first + (int64_t)threadIdx.x * 4; i < end; i += THREADS * 4) {
            const four x = load4(a.a, i, end);
            if (a.b.data != nullptr) {
                const four z = load4(a.b, i, end);
                total += ((double)x.v[0] * z.v[0] + (double)x.v[1] * z.v[1]) + ((double)x.v[2] * z.v[2] + (double)x.v[3] * z.v[3]);
            } else {
                total += ((double)x.v[0] + x.v[1]) + ((double)x.v[2] + x.v[3]);
            }
        }
        total = block_sum(total, room);
        if (threadIdx.x == 0) {
            a.partials[piece] = total;
        }
    }
}

/* One block. */
KERNEL(sum_finish, THREADS)
{
    SHARED(double, room);
    double total = 0;
    for (int64_t i = threadIdx.x; i < a.count; i += THREADS) {
        total += a.partials[i];
    }
    total = block_sum(total, room);
    if (threadIdx.x == 0) {
        store(a.y, 0, a.accumulate ? (float)(load(a.y, 0) + total) : (float)total);
    }
}

KERNEL(scale, THREADS)
{
    if (threadIdx.x == 0 && blockIdx.x == 0) {
        *a.y = a.x.data != nullptr ? (float)exp((double)load(a.x, 0)) : 1.0f;
    }
}
