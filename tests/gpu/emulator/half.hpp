/* tests/gpu/emulator/half.hpp: bf16 on the host. */
#ifndef PRN_EMULATOR_HALF_HPP
#define PRN_EMULATOR_HALF_HPP

#include <cstdint>
#include <cstring>

/* Zeros in front of a bf16's bits make it an fp32. */
static inline float emulated_number(uint32_t half_bits)
{
    const uint32_t bits = half_bits << 16;
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

/* bf16 by rounding to nearest, ties to even. */
static inline uint32_t emulated_half(float x)
{
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return 0x7fff;
    }
    return ((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16) & 0xffffu;
}

#endif
