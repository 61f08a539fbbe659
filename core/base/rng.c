/* core/base/rng.c: see rng.h. */
#include "base/rng.h"

#include <math.h>

/* SplitMix64's finaliser: a bijection of 64 bits in which every input bit reaches every output bit. */
static uint64_t mix(uint64_t z)
{
    z ^= z >> 30;
    z *= 0xbf58476d1ce4e5b9u;
    z ^= z >> 27;
    z *= 0x94d049bb133111ebu;
    z ^= z >> 31;
    return z;
}

__extension__ typedef unsigned __int128 wide;

static const uint64_t GOLDEN = 0x9e3779b97f4a7c15u;

uint64_t prn__rng_u64(uint64_t seed, prn__rng_purpose purpose, uint64_t a, uint64_t b)
{
    uint64_t z = mix(seed + GOLDEN * (uint64_t)purpose);
    z = mix(z + GOLDEN * (a + 1));
    return mix(z ^ mix((b + 1) * GOLDEN));
}

double prn__rng_uniform(uint64_t seed, prn__rng_purpose purpose, uint64_t a, uint64_t b)
{
    return (double)(prn__rng_u64(seed, purpose, a, b) >> 11) * 0x1p-53;
}

double prn__rng_normal(uint64_t seed, prn__rng_purpose purpose, uint64_t a, uint64_t b)
{
    /* Box-Muller on two halves of the counter space; 1 - u keeps the logarithm finite. */
    uint64_t first = prn__rng_u64(seed, purpose, a, b);
    uint64_t second = mix(first + GOLDEN);
    double u = 1.0 - (double)(first >> 11) * 0x1p-53;
    double angle = 6.283185307179586476925 * ((double)(second >> 11) * 0x1p-53);
    return sqrt(-2.0 * log(u)) * cos(angle);
}

uint64_t prn__rng_below(uint64_t seed, prn__rng_purpose purpose, uint64_t a, uint64_t b, uint64_t bound)
{
    return (uint64_t)((wide)prn__rng_u64(seed, purpose, a, b) * bound >> 64);
}

/* A balanced Feistel network on 2*half bits, walked until it lands inside [0, size): at most four expected rounds of
 * walking, because the domain is less than four times `size`. */
enum { ROUNDS = 6 };

static unsigned half_bits(uint64_t size)
{
    unsigned bits = 2;
    while (bits < 64 && (size - 1) >> bits != 0) {
        bits += 2;
    }
    return bits / 2;
}

static uint64_t round_value(uint64_t key, unsigned round, uint64_t half, uint64_t mask)
{
    return mix(key + GOLDEN * (round + 1) + mix(half)) & mask;
}

static uint64_t feistel(uint64_t key, unsigned bits, uint64_t value)
{
    uint64_t mask = ((uint64_t)1 << bits) - 1, left = value >> bits, right = value & mask;
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint64_t next = left ^ round_value(key, round, right, mask);
        left = right;
        right = next;
    }
    return left << bits | right;
}

static uint64_t feistel_inverse(uint64_t key, unsigned bits, uint64_t value)
{
    uint64_t mask = ((uint64_t)1 << bits) - 1, left = value >> bits, right = value & mask;
    for (unsigned round = ROUNDS; round-- > 0;) {
        uint64_t before = right ^ round_value(key, round, left, mask);
        right = left;
        left = before;
    }
    return left << bits | right;
}

uint64_t prn__permute(uint64_t key, uint64_t size, uint64_t position)
{
    if (size < 2) {
        return position;
    }
    unsigned bits = half_bits(size);
    do {
        position = feistel(key, bits, position);
    } while (position >= size);
    return position;
}

uint64_t prn__permute_inverse(uint64_t key, uint64_t size, uint64_t element)
{
    if (size < 2) {
        return element;
    }
    unsigned bits = half_bits(size);
    do {
        element = feistel_inverse(key, bits, element);
    } while (element >= size);
    return element;
}
