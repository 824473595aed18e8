/* The random numbers and the folding of checksums that all systems share. */
#ifndef PEERS_RANDOM_H
#define PEERS_RANDOM_H

#include <stdint.h>

static inline uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static inline uint64_t next(uint64_t *seed)
{
    return mix(*seed += 0x9e3779b97f4a7c15u);
}

static inline uint64_t below(uint64_t *seed, uint64_t n)
{
    return ((next(seed) >> 32) * n) >> 32;
}

static inline uint64_t fold(uint64_t checksum, uint64_t v)
{
    return checksum * 31 + v;
}

#endif
