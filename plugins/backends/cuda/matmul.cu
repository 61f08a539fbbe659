/* plugins/backends/cuda/matmul.cu: a plain tiled matrix product with the whole epilogue, for shapes and machines that the matrix
 * library does not serve. 32 x 32 results a block, four a thread. */
#include "device.cuh"

KERNEL(matmul, THREADS)
{
    enum { T = MATMUL_TILE, PITCH = T + 1, EACH = T * T / THREADS };
    SHARED(float, left); /* (T, PITCH), then the right side's */
    float *const right = left + T * PITCH;
    const int64_t across = (a.n + T - 1) / T, first_row = blockIdx.x / across * T, first_column = blockIdx.x % across * T;
    const int tx = (int)threadIdx.x % T, ty = (int)threadIdx.x / T;
    float sum[EACH];
#pragma unroll
    for (int e = 0; e < EACH; e++) {
        sum[e] = 0;
    }
    for (int64_t k0 = 0; k0 < a.k; k0 += T) {
        __syncthreads();
#pragma unroll
        for (int e = 0; e < EACH; e++) {
            const int fast = tx, slow = ty + e * (THREADS / T);
            /* along the side that is contiguous in memory */
            const int ai = a.a_column == 1 ? slow : fast, ak = a.a_column == 1 ? fast : slow;
            const int bj = a.b_column == 1 ? fast : slow, bk = a.b_column == 1 ? slow : fast;
            left[ai * PITCH + ak] = first_row + ai < a.m && k0 + ak < a.k ? load(a.a, (first_row + ai) * a.a_row + (k0 + ak) * a.a_column) : 0.0f;
            right[bk * PITCH + bj] = first_column + bj < a.n && k0 + bk < a.k ? load(a.b, (k0 + bk) * a.b_row + (first_column + bj) * a.b_column) : 0.0f;
        }
        __syncthreads();
        for (int k = 0; k < T; k++) {
            const float r = right[k * PITCH + tx];
#pragma unroll
            for (int e = 0; e < EACH; e++) {
                sum[e] += left[(ty + e * (THREADS / T)) * PITCH + k] * r;
            }
        }
    }
    const float alpha = a.alpha != nullptr ? *a.alpha : 1.0f;
    const int64_t column = first_column + tx;
#pragma unroll
    for (int e = 0; e < EACH; e++) {
        const int64_t row = first_row + ty + e * (THREADS / T), at = row * a.n + column;
        if (row < a.m && column < a.n) {
            float r = alpha * sum[e];
            if (a.accumulate) {
                r += load(a.d, at);
            }
            if (a.bias.data != nullptr) {
                r += load(a.bias, column);
            }
            if (a.pre.data != nullptr) {
                store(a.pre, at, r);
            }
            r = activate(a.activation, r);
            if (a.residual.data != nullptr) {
                r += load(a.residual, at);
            }
            store(a.d, at, r);
        }
    }
}
