/* plugins/backends/cuda/device.cuh: what every kernel uses: typed loads and stores, sums over a warp and a block.
 *
 * Kernels are written so that they run on a device and in the emulator of tests/gpu alike: shared memory is dynamic and comes from
 * SHARED, a kernel is declared by KERNEL, and whatever only a device has (matrix units) is a function in here.
 */
#ifndef PRN_CUDA_DEVICE_CUH
#define PRN_CUDA_DEVICE_CUH

#include "kernels.h"

#ifdef PRN_EMULATED
#include <emulator.hpp>
#define SHARED(type, name) type *const name = (type *)emulated_shared()
#else
#include <cuda_bf16.h>
extern __shared__ __align__(16) unsigned char prn_shared[];
#define SHARED(type, name) type *const name = (type *)prn_shared
#endif

#define KERNEL(name, threads) extern "C" __global__ void __launch_bounds__(threads) prn_##name(const name##_arguments a)
#define KERNEL_TYPE(name, type, threads) typedef type name##_arguments;
CUDA_KERNELS(KERNEL_TYPE)
#undef KERNEL_TYPE

#define EVERY_LANE 0xffffffffu
#define NEGATIVE_INFINITY __int_as_float((int)0xff800000u)

struct alignas(16) four {
    float v[4];
};
struct eight {
    float v[8];
};
struct alignas(16) sixteen { /* bytes */
    uint32_t v[4];
};
struct alignas(8) two_words {
    uint32_t v[2];
};

static __device__ __forceinline__ float from_half(uint32_t bits)
{
    return __uint_as_float(bits << 16);
}

/* To the nearest, ties to even. The emulator's rounding is the device's, but for the bits of what is not a number. */
static __device__ __forceinline__ uint32_t two_halves(float low, float high)
{
#ifdef PRN_EMULATED
    return emulated_half(low) | emulated_half(high) << 16;
#else
    uint32_t packed;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
#endif
}

static __device__ __forceinline__ float load(const values &x, int64_t i)
{
    return x.is_half ? from_half(((const uint16_t *)x.data)[i]) : ((const float *)x.data)[i];
}

static __device__ __forceinline__ void store(const values &x, int64_t i, float value)
{
    if (x.is_half) {
        ((uint16_t *)x.data)[i] = (uint16_t)two_halves(value, 0.0f);
    } else {
        ((float *)x.data)[i] = value;
    }
}

static __device__ __forceinline__ void store_to(const values &x, int64_t i, float value, int accumulate)
{
    store(x, i, accumulate ? load(x, i) + value : value);
}

/* Four neighbours from `i`, a multiple of four; what lies at or after `end` is 0. */
static __device__ __forceinline__ four load4(const values &x, int64_t i, int64_t end)
{
    four r;
    if (x.is_wide && i + 4 <= end) {
        if (x.is_half) {
            const two_words w = *(const two_words *)((const uint16_t *)x.data + i);
            r.v[0] = from_half(w.v[0]);
            r.v[1] = __uint_as_float(w.v[0] & 0xffff0000u);
            r.v[2] = from_half(w.v[1]);
            r.v[3] = __uint_as_float(w.v[1] & 0xffff0000u);
        } else {
            r = *(const four *)((const float *)x.data + i);
        }
        return r;
    }
#pragma unroll
    for (int j = 0; j < 4; j++) {
        r.v[j] = i + j < end ? load(x, i + j) : 0.0f;
    }
    return r;
}

static __device__ __forceinline__ void store4(const values &x, int64_t i, int64_t end, const four &r)
{
    if (x.is_wide && i + 4 <= end) {
        if (x.is_half) {
            two_words w;
            w.v[0] = two_halves(r.v[0], r.v[1]);
            w.v[1] = two_halves(r.v[2], r.v[3]);
            *(two_words *)((uint16_t *)x.data + i) = w;
        } else {
            *(four *)((float *)x.data + i) = r;
        }
        return;
    }
#pragma unroll
    for (int j = 0; j < 4; j++) {
        if (i + j < end) {
            store(x, i + j, r.v[j]);
        }
    }
}

/* Eight neighbours from `i`, a multiple of eight, likewise. */
static __device__ __forceinline__ eight load8(const values &x, int64_t i, int64_t end)
{
    eight r;
    if (x.is_half && x.is_wide == 2 && i + 8 <= end) {
        const sixteen w = *(const sixteen *)((const uint16_t *)x.data + i);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            r.v[2 * j] = from_half(w.v[j]);
            r.v[2 * j + 1] = __uint_as_float(w.v[j] & 0xffff0000u);
        }
        return r;
    }
    const four low = load4(x, i, end), high = load4(x, i + 4, end);
#pragma unroll
    for (int j = 0; j < 4; j++) {
        r.v[j] = low.v[j];
        r.v[4 + j] = high.v[j];
    }
    return r;
}

static __device__ __forceinline__ void store8(const values &x, int64_t i, int64_t end, const eight &r)
{
    if (x.is_half && x.is_wide == 2 && i + 8 <= end) {
        sixteen w;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            w.v[j] = two_halves(r.v[2 * j], r.v[2 * j + 1]);
        }
        *(sixteen *)((uint16_t *)x.data + i) = w;
        return;
    }
    four low, high;
#pragma unroll
    for (int j = 0; j < 4; j++) {
        low.v[j] = r.v[j];
        high.v[j] = r.v[4 + j];
    }
    store4(x, i, end, low);
    store4(x, i + 4, end, high);
}

/* Row `row` of a matrix with `columns` columns: neighbours are read at once only when every row begins at a multiple of so many. */
static __device__ __forceinline__ values row_of(const values &x, int64_t row, int64_t columns)
{
    values r = x;
    r.data = x.is_half ? (void *)((uint16_t *)x.data + row * columns) : (void *)((float *)x.data + row * columns);
    r.is_wide = columns % 8 == 0 ? x.is_wide : columns % 4 == 0 ? x.is_wide != 0 : 0;
    return r;
}

static __device__ __forceinline__ float warp_sum(float x)
{
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2) {
        x += __shfl_xor_sync(EVERY_LANE, x, step);
    }
    return x;
}

static __device__ __forceinline__ double warp_sum(double x)
{
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2) {
        x += __shfl_xor_sync(EVERY_LANE, x, step);
    }
    return x;
}

static __device__ __forceinline__ float warp_max(float x)
{
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2) {
        x = fmaxf(x, __shfl_xor_sync(EVERY_LANE, x, step));
    }
    return x;
}

/* Over a block of THREADS; `room` holds WARPS numbers. The same in every thread. */
template <class T> static __device__ __forceinline__ T block_sum(T x, T *room)
{
    x = warp_sum(x);
    __syncthreads(); /* `room` may still be read from the time before */
    if (threadIdx.x % WARP == 0) {
        room[threadIdx.x / WARP] = x;
    }
    __syncthreads();
    T total = room[0];
    for (int w = 1; w < WARPS; w++) {
        total += room[w];
    }
    return total;
}

static __device__ __forceinline__ float block_max(float x, float *room)
{
    x = warp_max(x);
    __syncthreads();
    if (threadIdx.x % WARP == 0) {
        room[threadIdx.x / WARP] = x;
    }
    __syncthreads();
    float most = room[0];
    for (int w = 1; w < WARPS; w++) {
        most = fmaxf(most, room[w]);
    }
    return most;
}

static __device__ __forceinline__ float activate(int32_t kind, float x)
{
    switch (kind) {
    case 1: return 0.5f * x * erfcf(-x * 0.70710678118654752f);
    case 2: return x / (1.0f + expf(-1.702f * x));
    default: return x;
    }
}

static __device__ __forceinline__ float activate_slope(int32_t kind, float x)
{
    switch (kind) {
    case 1: return 0.5f * erfcf(-x * 0.70710678118654752f) + x * 0.39894228040143268f * expf(-0.5f * x * x);
    case 2: {
        const float s = 1.0f / (1.0f + expf(-1.702f * x));
        return s * (1.0f + 1.702f * x * (1.0f - s));
    }
    default: return 1.0f;
    }
}

static __device__ __forceinline__ int64_t row_or_zero(int64_t id, int64_t rows)
{
    return id >= 0 && id < rows ? id : 0;
}

#endif
