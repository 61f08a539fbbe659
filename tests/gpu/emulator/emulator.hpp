/* tests/gpu/emulator/emulator.hpp: what CUDA C++ sources need to run on the host, one block at a time.
 *
 * A block's threads are fibers: each runs until it waits for the others (__syncthreads, a shuffle), then the next one runs. Shared memory is
 * allocated to the byte for each block and holds what is no number, so that reading what nothing wrote shows, and (with
 * AddressSanitizer) so does reaching past its end. PRN_EMULATOR_ORDER=forward|backward|mixed chooses the order in which blocks and
 * threads run: results that depend on it are races.
 */
#ifndef PRN_EMULATOR_HPP
#define PRN_EMULATOR_HPP

#include <cmath>
#include <cstdint>
#include <cstring>

#include "half.hpp"

struct emulated_index {
    unsigned x, y, z;
};

extern emulated_index threadIdx, blockIdx, blockDim, gridDim;

void *emulated_shared();
/* Waits for every thread of the block, of the warp. An error of the launch when one has ended. */
void emulated_block_barrier();
void emulated_warp_barrier();
/* Ends the program with a message: what a device would call an error of the launch. */
[[noreturn]] void emulated_fault(const char *what);
/* Copies to shared memory (cp.async): begun by a thread, done when it waits for them, and no earlier. What it has begun since the last one closes as a
 * group; waiting leaves at most `open` groups open. */
void emulated_copy(void *to, const void *from, unsigned bytes, int is_there);
void emulated_copies_close();
void emulated_copies_wait(unsigned open);
/* 64 bytes of the caller's own, that the other lanes of its warp can read between barriers. */
void *emulated_lane_room(unsigned lane);

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(threads)
#define __restrict__

static inline void __syncthreads()
{
    emulated_block_barrier();
}

static inline void __syncwarp()
{
    emulated_warp_barrier();
}

template <class T> static inline T __shfl_xor_sync(unsigned, T value, int mask)
{
    T other;
    const unsigned lane = threadIdx.x % 32;
    std::memcpy(emulated_lane_room(lane), &value, sizeof value);
    emulated_warp_barrier();
    std::memcpy(&other, emulated_lane_room(lane ^ (unsigned)mask), sizeof other);
    emulated_warp_barrier();
    return other;
}

static inline float __uint_as_float(uint32_t bits)
{
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint32_t __float_as_uint(float x)
{
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float __int_as_float(int32_t bits)
{
    return __uint_as_float((uint32_t)bits);
}

static inline float atomicAdd(float *at, float x)
{
    const float before = *at;
    *at = before + x;
    return before;
}

/* ldmatrix, four pieces, as the PTX manual has it: rows of 16 bytes, which must be aligned. */
static inline void emulated_ldmatrix(uint32_t r[4], const uint16_t *row, int turned)
{
    const unsigned lane = threadIdx.x % 32;
    const uint16_t *rows[32];
    if ((uintptr_t)row % 16 != 0) {
        emulated_fault("ldmatrix from an address that is not aligned");
    }
    std::memcpy(emulated_lane_room(lane), &row, sizeof row);
    emulated_warp_barrier();
    for (unsigned l = 0; l < 32; l++) {
        std::memcpy(&rows[l], emulated_lane_room(l), sizeof rows[l]);
    }
    for (unsigned piece = 0; piece < 4; piece++) {
        const unsigned line = lane / 4, first = lane % 4 * 2;
        const uint32_t low = turned ? rows[piece * 8 + first][line] : rows[piece * 8 + line][first];
        const uint32_t high = turned ? rows[piece * 8 + first + 1][line] : rows[piece * 8 + line][first + 1];
        r[piece] = low | high << 16;
    }
    emulated_warp_barrier();
}

/* mma m16n8k16 of bf16 with fp32 sums, as the PTX manual lays out its fragments. */
static inline void emulated_mma(float d[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
    struct fragments {
        uint32_t a[4], b[2];
    } mine = {{a[0], a[1], a[2], a[3]}, {b0, b1}}, other;
    const unsigned lane = threadIdx.x % 32, row = lane / 4, column = lane % 4 * 2;
    float left[2][16], right[16][2];
    std::memcpy(emulated_lane_room(lane), &mine, sizeof mine);
    emulated_warp_barrier();
    for (unsigned t = 0; t < 4; t++) {
        std::memcpy(&other, emulated_lane_room(row * 4 + t), sizeof other);
        for (unsigned half = 0; half < 2; half++) {
            for (unsigned j = 0; j < 2; j++) {
                left[half][t * 2 + j] = __uint_as_float(other.a[half] >> (16 * j) << 16);
                left[half][8 + t * 2 + j] = __uint_as_float(other.a[2 + half] >> (16 * j) << 16);
            }
        }
        for (unsigned n = 0; n < 2; n++) {
            std::memcpy(&other, emulated_lane_room((column + n) * 4 + t), sizeof other);
            for (unsigned j = 0; j < 2; j++) {
                right[t * 2 + j][n] = __uint_as_float(other.b[0] >> (16 * j) << 16);
                right[8 + t * 2 + j][n] = __uint_as_float(other.b[1] >> (16 * j) << 16);
            }
        }
    }
    emulated_warp_barrier();
    for (unsigned half = 0; half < 2; half++) {
        for (unsigned n = 0; n < 2; n++) {
            float sum = 0;
            for (unsigned k = 0; k < 16; k++) {
                sum += left[half][k] * right[k][n];
            }
            d[half * 2 + n] += sum;
        }
    }
}

#endif
