/* The scan kernel for processors with AVX2.
 *
 * Four words at a time. AVX2 compares signed only, so the base that is subtracted has its top bit
 * flipped, and so has the size: that turns an unsigned comparison into a signed one at no cost. It
 * cannot compress either: a table of sixteen permutations, indexed by which words passed, moves
 * them to the front. The vector is then stored whole; what scan_avx512.c says about the words
 * beyond the ones that count holds here with four in place of eight.
 *
 * Objects are read by masked loads, which fault on no word that the mask leaves out. Slots of one
 * and two words share a vector. BMI2's deposit instruction is avoided: it is microcode on Zen and
 * Zen 2, which are what this kernel is for, and a table of sixteen entries does the same.
 *
 * Invariant: each word is read once, into a register, whole. (That an aligned eight-byte element
 * of a vector load is not torn is not in the manuals before AVX implied atomic 16 bytes, but every
 * processor with AVX2 moves at least aligned 16-byte halves at once.)
 */
#include "gc/scan.h"

#ifdef __AVX2__

#include <immintrin.h>

typedef struct range {
    __m256i base, size;
    uintptr_t scalar_base;
    size_t scalar_size;
} range;

#define TOP ((uint64_t)1 << 63)

GC_SCAN_UNCHECKED
static inline range range_of(uintptr_t base, size_t size)
{
    return (range){_mm256_set1_epi64x((long long)(base + TOP)),
                   _mm256_set1_epi64x((long long)(size ^ TOP)), base, size};
}

/* Pairs of 32-bit lanes: entry h lists the words whose bits are set in h. */
#define W0 0, 1
#define W1 2, 3
#define W2 4, 5
#define W3 6, 7
#define NO 0, 0
static const uint32_t to_front[16][8] __attribute__((aligned(32))) = {
    {NO, NO, NO, NO}, {W0, NO, NO, NO}, {W1, NO, NO, NO}, {W0, W1, NO, NO},
    {W2, NO, NO, NO}, {W0, W2, NO, NO}, {W1, W2, NO, NO}, {W0, W1, W2, NO},
    {W3, NO, NO, NO}, {W0, W3, NO, NO}, {W1, W3, NO, NO}, {W0, W1, W3, NO},
    {W2, W3, NO, NO}, {W0, W2, W3, NO}, {W1, W2, W3, NO}, {W0, W1, W2, W3},
};

#define Y (-1LL)
static const long long lanes[16][4] __attribute__((aligned(32))) = {
    {0, 0, 0, 0}, {Y, 0, 0, 0}, {0, Y, 0, 0}, {Y, Y, 0, 0}, {0, 0, Y, 0}, {Y, 0, Y, 0},
    {0, Y, Y, 0}, {Y, Y, Y, 0}, {0, 0, 0, Y}, {Y, 0, 0, Y}, {0, Y, 0, Y}, {Y, Y, 0, Y},
    {0, 0, Y, Y}, {Y, 0, Y, Y}, {0, Y, Y, Y}, {Y, Y, Y, Y},
};

/* Bits of two slots spread over two words each. */
static const uint8_t pairs[4] = {0x0, 0x3, 0xc, 0xf};

/* Keeps the compiler from loading the words a second time: they may have changed. */
#define LOADED_ONCE(v) __asm__("" : "+x"(v))

GC_SCAN_UNCHECKED
static inline unsigned candidates(const range *r, __m256i words)
{
    __m256i offset = _mm256_sub_epi64(words, r->base);
    return (unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpgt_epi64(r->size, offset)));
}

GC_SCAN_UNCHECKED
static inline void store_front(uintptr_t *out, __m256i words, unsigned hit)
{
    __m256i order = _mm256_load_si256((const __m256i *)to_front[hit]);
    _mm256_storeu_si256((__m256i *)out, _mm256_permutevar8x32_epi32(words, order));
}

/* Appends the candidates among the words of `among`; may write four words whatever it returns. */
GC_SCAN_UNCHECKED
static inline size_t append_masked(const range *r, uintptr_t p, unsigned among, uintptr_t *out)
{
    __m256i chosen = _mm256_load_si256((const __m256i *)lanes[among]);
    __m256i words = _mm256_maskload_epi64((const long long *)p, chosen);
    LOADED_ONCE(words);
    unsigned hit = candidates(r, words) & among;
    store_front(out, words, hit);
    return (size_t)__builtin_popcount(hit);
}

GC_SCAN_UNCHECKED
static inline size_t append_word(const range *r, const uintptr_t *p, uintptr_t *out)
{
    uintptr_t w = __atomic_load_n(p, __ATOMIC_RELAXED);
    *out = w;
    return w - r->scalar_base < r->scalar_size;
}

GC_SCAN_UNCHECKED
static size_t filter(const void *from, size_t count, uintptr_t base, size_t size, uintptr_t *out)
{
    range r = range_of(base, size);
    const uintptr_t *in = from;
    size_t n = 0, i = 0;
    for (; count - i >= 4; i += 4) {
        __m256i words = _mm256_loadu_si256((const __m256i *)(in + i));
        LOADED_ONCE(words);
        unsigned hit = candidates(&r, words);
        store_front(out + n, words, hit);
        n += (size_t)__builtin_popcount(hit);
    }
    for (; i < count; i++)
        n += append_word(&r, &in[i], out + n);
    return n;
}

/* Slots of 8 or 16 bytes: four or two of them are one vector. */
GC_SCAN_UNCHECKED
static size_t packed_objects(uintptr_t first, size_t slot, uint64_t todo, unsigned mask,
                             const range *r, uintptr_t *out)
{
    unsigned group = 32 / (unsigned)slot;
    unsigned all = slot == 8 ? mask * 0xf : mask * 0x5;
    size_t n = 0;
    for (; todo; todo >>= group, first += 32) {
        unsigned among = (slot == 8 ? (unsigned)todo & 0xf : pairs[todo & 3]) & all;
        if (among)
            n += append_masked(r, first, among, out + n);
    }
    return n;
}

GC_SCAN_UNCHECKED
static size_t single_words(uintptr_t word, size_t slot, uint64_t todo, const range *r,
                           uintptr_t *out)
{
    size_t n = 0;
    for (; todo; todo &= todo - 1) {
        uintptr_t p = word + (size_t)__builtin_ctzll(todo) * slot;
        n += append_word(r, (const uintptr_t *)p, out + n);
    }
    return n;
}

GC_SCAN_UNCHECKED
static size_t long_objects(uintptr_t first, size_t slot, uint64_t todo, uint64_t mask,
                           const range *r, uintptr_t *out)
{
    size_t n = 0;
    for (; todo; todo &= todo - 1) {
        uintptr_t object = first + (size_t)__builtin_ctzll(todo) * slot;
        for (uint64_t m = mask; m;) {
            unsigned at = (unsigned)__builtin_ctzll(m);
            n += append_masked(r, object + at * 8, (unsigned)(m >> at) & 0xf, out + n);
            m = at < 60 ? m & ~(uint64_t)0 << (at + 4) : 0;
        }
    }
    return n;
}

GC_SCAN_UNCHECKED
static size_t objects(uintptr_t first, size_t slot, uint64_t todo, uint64_t mask, uintptr_t base,
                      size_t size, uintptr_t *out)
{
    if (!mask)
        return 0;
    range r = range_of(base, size);
    if (slot <= 16)
        return packed_objects(first, slot, todo, (unsigned)mask, &r, out);
    unsigned low = (unsigned)__builtin_ctzll(mask);
    if (mask >> low == 1)
        return single_words(first + low * 8, slot, todo, &r, out);
    return long_objects(first, slot, todo, mask, &r, out);
}

static const gc_scan_kernel kernel = {"avx2", filter, objects};
const gc_scan_kernel *const gc_scan_avx2 = &kernel;

#elif defined(__x86_64__)

const gc_scan_kernel *const gc_scan_avx2 = NULL;

#endif
