/* plugins/backends/common/bf16.h: bf16, the upper half of an fp32, and how AdamW's moments are rounded to it (perennial/program.h). */
#ifndef PRN_BACKENDS_BF16_H
#define PRN_BACKENDS_BF16_H

#include <stdint.h>
#include <string.h>

static inline float bf16_value(uint16_t half)
{
    const uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* To the nearest, ties to even; what is no number stays none. */
static inline uint16_t bf16_nearest(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((value != value ? bits | 0x400000u : bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static inline uint32_t bf16_mix(uint32_t x)
{
    x = (x ^ x >> 16) * 0x85ebca6bu;
    x = (x ^ x >> 13) * 0xc2b2ae35u;
    return x ^ x >> 16;
}

/* The `chance` (16 bits) decides whether up or down. */
static inline uint16_t bf16_by_chance(float value, uint32_t chance)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + chance) >> 16);
}

#endif
