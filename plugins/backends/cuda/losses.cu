/* plugins/backends/cuda/losses.cu: cross-entropy against labels or against another row of logits, and gradients. A block a row. */
#include "device.cuh"

/* log sum exp(x * factor) over a row. */
static __device__ float log_sum_exp(const values &x, int64_t columns, float factor, float *room)
{
    float most = NEGATIVE_INFINITY, total = 0;
    for (int64_t c = (int64_t)threadIdx.x * 4; c < columns; c += THREADS * 4) {
        const four v = load4(x, c, columns);
        for (int j = 0; j < 4 && c + j < columns; j++) {
            most = fmaxf(most, v.v[j] * factor);
        }
    }
    most = block_max(most, room);
    for (int64_t c = (int64_t)threadIdx.x * 4; c < columns; c += THREADS * 4) {
        const four v = load4(x, c, columns);
        for (int j = 0; j < 4 && c + j < columns; j++) {
            total += expf(v.v[j] * factor - most);
        }
    }
    return most + logf(block_sum(total, room));
}

KERNEL(cross_entropy, THREADS)
{
    SHARED(float, room);
    for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
        const values x = row_of(a.logits, row, a.columns);
        const float lse = log_sum_exp(x, a.columns, a.inverse_tau, room);
        float target_lse = 0, loss = 0;
        if (a.target.data != nullptr) {
            const values target = row_of(a.target, row, a.columns);
            target_lse = log_sum_exp(target, a.columns, a.inverse_tau, room);
            for (int64_t c = (int64_t)threadIdx.x * 4; c < a.columns; c += THREADS * 4) {
                const four v = load4(x, c, a.columns), t = load4(target, c, a.columns);
                for (int j = 0; j < 4 && c + j < a.columns; j++) {
                    const float log_target = t.v[j] * a.inverse_tau - target_lse;
                    loss += expf(log_target) * (log_target - (v.v[j] * a.inverse_tau - lse));
                }
            }
            loss = block_sum(loss, room);
        } else if (threadIdx.x == 0) {
            const int32_t label = a.labels[row];
            loss = label >= 0 && label < a.columns ? lse - load(x, label) : __int_as_float(0x7fffffff);
        }
        if (threadIdx.x == 0) {
            if (a.loss.data != nullptr) {
                store(a.loss, row, loss);
            }
            if (a.lse.data != nullptr) {
                store(a.lse, row, lse);
            }
            if (a.target_lse.data != nullptr) {
                store(a.target_lse, row, target_lse);
            }
        }
    }
}

KERNEL(cross_entropy_grad, THREADS)
{
    for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
        const values x = row_of(a.logits, row, a.columns), dx = row_of(a.dlogits, row, a.columns);
        const float lse = load(a.lse, row), factor = load(a.dloss, row) * a.inverse_tau;
        const int64_t label = a.labels != nullptr ? a.labels[row] : -1;
        values target = x;
        float target_lse = 0;
        if (a.target.data != nullptr) {
            target = row_of(a.target, row, a.columns);
            target_lse = load(a.target_lse, row);
        }
        for (int64_t c = (int64_t)threadIdx.x * 4; c < a.columns; c += THREADS * 4) {
            const four v = load4(x, c, a.columns);
            four t = {{0, 0, 0, 0}}, r = {{0, 0, 0, 0}};
            if (a.target.data != nullptr) {
                t = load4(target, c, a.columns);
            }
            if (a.accumulate) {
                r = load4(dx, c, a.columns);
            }
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const float want = a.target.data != nullptr ? expf(t.v[j] * a.inverse_tau - target_lse) : c + j == label ? 1.0f : 0.0f;
                r.v[j] += factor * (expf(v.v[j] * a.inverse_tau - lse) - want);
            }
            store4(dx, c, a.columns, r);
        }
    }
}
