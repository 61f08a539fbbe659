/* core/base/rng.h: counter-based random numbers and keyed permutations.
 *
 * Purpose: every random value in perennial is a pure function of (seed, purpose, counter), so that resume is exact
 * and nothing depends on thread or call order.
 * Sources: SplitMix64 finaliser (Steele, Lea, Flood 2014); Feistel networks with cycle walking (Black, Rogaway 2002).
 */
#ifndef PRN_BASE_RNG_H
#define PRN_BASE_RNG_H

#include <stdint.h>

/* Purposes keep streams apart; append only, values enter checkpoints' meaning. */
typedef enum prn__rng_purpose {
    PRN__RNG_INIT = 1,      /* weight initialisation */
    PRN__RNG_SHARDS = 2,    /* order of shards */
    PRN__RNG_SAMPLES = 3,   /* order inside a window of shards */
    PRN__RNG_CROP = 4,      /* training transform */
    PRN__RNG_SUBSTITUTE = 5,/* replacement of a bad sample */
    PRN__RNG_SUBSET = 6,    /* bounded sources */
    PRN__RNG_MIX = 7,       /* which source a batch row draws from */
    PRN__RNG_CAPTION = 8,   /* which of several captions */
    PRN__RNG_SPLIT = 9      /* held-out splits */
} prn__rng_purpose;

/* 64 random bits for (seed, purpose, a, b). [any] */
uint64_t prn__rng_u64(uint64_t seed, prn__rng_purpose purpose, uint64_t a, uint64_t b);
double prn__rng_uniform(uint64_t seed, prn__rng_purpose purpose, uint64_t a, uint64_t b); /* [0, 1). [any] */
double prn__rng_normal(uint64_t seed, prn__rng_purpose purpose, uint64_t a, uint64_t b);  /* N(0,1). [any] */
/* Uniform in [0, bound) without modulo bias worth the name (128-bit multiply); bound > 0. [any] */
uint64_t prn__rng_below(uint64_t seed, prn__rng_purpose purpose, uint64_t a, uint64_t b, uint64_t bound);

/* A bijection of [0, size): position -> element, and back. `key` picks it. size >= 1. [any] */
uint64_t prn__permute(uint64_t key, uint64_t size, uint64_t position);
uint64_t prn__permute_inverse(uint64_t key, uint64_t size, uint64_t element);

#endif
