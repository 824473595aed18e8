/* Sets of small numbers as words of ones: runs and ranges of them.
 *
 * The page allocator asks the same few questions of two kinds of set, the pages of one chunk (four
 * words) and the chunks of the heap (up to a few thousand): where is the first run of k members, how
 * long is the longest (chunk.c), which of this range are members. Go answers them with a radix tree of (start,
 * longest, end) summaries, which pays off when a run may lie anywhere in the heap. Here runs of pages
 * never leave their chunk and runs of chunks are looked for once per 2 MiB, so plain words will do.
 *
 * `n` is the number of bits. Bits at and above n are never looked at. */
#ifndef HEAP_BITS_H
#define HEAP_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEAP_NO_BIT ((size_t)-1)

static inline bool heap_bits_has(const uint64_t *w, size_t i)
{
    return w[i / 64] >> (i % 64) & 1;
}

static inline void heap_bits_put(uint64_t *w, size_t i, bool member)
{
    uint64_t bit = (uint64_t)1 << (i % 64);
    w[i / 64] = member ? w[i / 64] | bit : w[i / 64] & ~bit;
}

/* The part of the range [first, end) that lies in word i. */
static inline uint64_t heap_bits_mask(size_t i, size_t first, size_t end)
{
    uint64_t mask = ~(uint64_t)0;
    if (i == first / 64)
        mask &= ~(uint64_t)0 << (first % 64);
    if (i == end / 64)
        mask &= ~(~(uint64_t)0 << (end % 64));
    return mask;
}

#define HEAP_BITS_EACH_WORD(i, first, end) for (size_t i = (first) / 64; i * 64 < (end); i++)

static inline void heap_bits_set(uint64_t *w, size_t first, size_t n)
{
    HEAP_BITS_EACH_WORD(i, first, first + n)
    w[i] |= heap_bits_mask(i, first, first + n);
}

static inline void heap_bits_clear(uint64_t *w, size_t first, size_t n)
{
    HEAP_BITS_EACH_WORD(i, first, first + n)
    w[i] &= ~heap_bits_mask(i, first, first + n);
}

static inline size_t heap_bits_count(const uint64_t *w, size_t first, size_t n)
{
    size_t count = 0;
    HEAP_BITS_EACH_WORD(i, first, first + n)
    count += (size_t)__builtin_popcountll(w[i] & heap_bits_mask(i, first, first + n));
    return count;
}

/* The first number from `from` that is a member (or, with flip = ~0, that is none); n if there is
 * no such. */
static inline size_t heap_bits_next(const uint64_t *w, size_t n, size_t from, uint64_t flip)
{
    for (size_t i = from / 64; i * 64 < n; i++) {
        uint64_t x = w[i] ^ flip;
        if (i == from / 64)
            x &= ~(uint64_t)0 << (from % 64);
        if (x) {
            size_t at = i * 64 + (size_t)__builtin_ctzll(x);
            return at < n ? at : n;
        }
    }
    return n;
}

/* The next run of members from *at on: its length, and its start in *at; 0 if there is none. */
static inline size_t heap_bits_run(const uint64_t *w, size_t n, size_t *at)
{
    *at = heap_bits_next(w, n, *at, 0);
    return *at < n ? heap_bits_next(w, n, *at, ~(uint64_t)0) - *at : 0;
}

/* The start of the first run of at least k members, or HEAP_NO_BIT. */
static inline size_t heap_bits_find(const uint64_t *w, size_t n, size_t k)
{
    size_t at = 0;
    for (size_t len; (len = heap_bits_run(w, n, &at)); at += len)
        if (len >= k)
            return at;
    return HEAP_NO_BIT;
}

/* The first number that is a member, but not one of the set `out`; or HEAP_NO_BIT. */
static inline size_t heap_bits_first_without(const uint64_t *w, const uint64_t *out, size_t n)
{
    for (size_t i = 0; i * 64 < n; i++) {
        uint64_t bits = w[i] & ~out[i];
        if (bits && i * 64 + (size_t)__builtin_ctzll(bits) < n)
            return i * 64 + (size_t)__builtin_ctzll(bits);
    }
    return HEAP_NO_BIT;
}

/* The highest member, or HEAP_NO_BIT. Members at and above n must not exist. */
static inline size_t heap_bits_last(const uint64_t *w, size_t n)
{
    for (size_t i = (n + 63) / 64; i-- > 0;)
        if (w[i])
            return i * 64 + 63 - (size_t)__builtin_clzll(w[i]);
    return HEAP_NO_BIT;
}

#endif
