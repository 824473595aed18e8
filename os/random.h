// Randomness for seeds, and a generator for schedulers and sampling. Not for secrets.

#ifndef OS_RANDOM_H
#define OS_RANDOM_H

#include <stdint.h>

// 64 bits from the kernel, or, should it have none, from clocks and addresses.
uint64_t os_random(void);

// wyrand: one multiplication, any state is good, period 2^64. The state belongs to one thread.
static inline uint64_t os_random_next(uint64_t *state)
{
    *state += 0xa0761d6478bd642fULL;
    unsigned __int128 m = (unsigned __int128)*state * (*state ^ 0xe7037ed1a0b428dbULL);
    return (uint64_t)(m >> 64) ^ (uint64_t)m;
}

// Uniform in [0, n), n > 0, without a division; the bias is below n / 2^32.
static inline uint32_t os_random_below(uint64_t *state, uint32_t n)
{
    return (uint32_t)(((os_random_next(state) & 0xffffffffu) * n) >> 32);
}

#endif
