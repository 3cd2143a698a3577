/* SPDX-License-Identifier: MIT */
/* prng: numbers that look random and come again with their seed. */
#ifndef PRNG_H
#define PRNG_H

#include <stdint.h>

/* Any seed is good, 0 too. */
struct prng {
    uint64_t state;
};

/* The next number: splitmix64, by Sebastiano Vigna. */
static inline uint64_t
prng_next(struct prng *prng)
{
    uint64_t z = prng->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* A number below `limit`, which is not 0; a little uneven for a large one. */
static inline uint64_t
prng_below(struct prng *prng, uint64_t limit)
{
    return prng_next(prng) % limit;
}

#endif
