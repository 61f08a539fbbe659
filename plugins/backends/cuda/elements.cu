/* plugins/backends/cuda/elements.cu: element-wise operations, the optimizer, whole sums. Four elements a thread and turn. */
#include "device.cuh"

KERNEL(element, THREADS)
{
    const int64_t stride = (int64_t)gridDim.x * THREADS * 4;
    const float number = a.scalar.data != nullptr ? load(a.scalar, 0) : 0.0f;
    for (int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * 4; i < a.n; i += stride) {
        four x = {{0, 0, 0, 0}}, z = {{0, 0, 0, 0}}, y = {{0, 0, 0, 0}};
        if (a.a.data != nullptr) {
            x = load4(a.a, i, a.n);
        }
        if (a.b.data != nullptr) {
            z = load4(a.b, i, a.n);
        }
        if (a.accumulate) {
            y = load4(a.y, i, a.n);
        }
#pragma unroll
        for (int j = 0; j < 4; j++) {
            float r;
            switch (a.kind) {
            case ELEMENT_ACTIVATION: r = activate(a.activation, x.v[j]); break;
            case ELEMENT_ACTIVATION_ADD: r = activate(a.activation, x.v[j]) + z.v[j]; break;
            case ELEMENT_ACTIVATION_GRAD: r = x.v[j] * activate_slope(a.activation, z.v[j]); break;
            case ELEMENT_AXPBY: r = a.alpha * x.v[j] + a.beta * z.v[j]; break;
            case ELEMENT_MULTIPLY: r = x.v[j] * z.v[j]; break;
            case ELEMENT_SCALE: r = x.v[j] * number; break;
            case ELEMENT_EXP: r = expf(x.v[j]); break;
            case ELEMENT_CLAMP: r = x.v[j] < a.alpha ? a.alpha : x.v[j] > a.beta ? a.beta : x.v[j]; break;
            case ELEMENT_FILL: r = a.alpha; break;
            case ELEMENT_BROADCAST: r = a.alpha * number; break;
            default: r = x.v[j]; break;
            }
            y.v[j] = a.accumulate ? y.v[j] + r : r;
        }
        store4(a.y, i, a.n, y);
    }
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
    const values of_g = {(void *)w.g, 0, w.is_wide}, of_p = {w.p, 0, w.is_wide}, of_m = {w.m, 0, w.is_wide}, of_v = {w.v, 0, w.is_wide};
    const float lr = load(a.hyper, 0), correction1 = load(a.hyper, 1), correction2 = load(a.hyper, 2), scale = load(a.hyper, 3);
    const float shrink = lr * w.decay;
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
