/* The scan kernel for processors with AVX-512.
 *
 * Eight words at a time: subtract the base, compare unsigned with the size, compress the words
 * that passed to the front of a register, store the register whole, advance by the number that
 * passed. Compressing straight to memory would say the same in one instruction, but is microcode
 * on Zen 4, more than a hundred cycles each. Storing the whole register writes up to eight words
 * beyond the ones that count: filter() has them in hand because its output never overtakes its
 * input, objects() asks its caller for them, and filter()'s last, partial vector is stored under a
 * mask.
 *
 * Objects. A masked load fetches exactly the words of the type's mask and, by the architecture's
 * rules, faults on none of the others, so a span that ends at the end of a mapping needs no
 * special case. Objects of one and two words share a vector: the mask is repeated and the bits of
 * `todo` are spread over the words of their slots. (For four words, one vector each measures
 * better.) Gathering one word out of each of eight objects was rejected: a gather is tens of
 * micro-operations on Zen 4 and worse wherever the downfall mitigation is in force; slots with one
 * pointer are read by scalar code instead.
 *
 * Invariant: each word is read once, into a register, and aligned words are never torn: no
 * processor with these instructions splits an aligned eight-byte element of a vector load.
 */
#include "gc/scan.h"

#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__BMI2__)

#include <immintrin.h>

typedef struct range {
    __m512i base, size;
    uintptr_t scalar_base;
    size_t scalar_size;
} range;

GC_SCAN_UNCHECKED
static inline range range_of(uintptr_t base, size_t size)
{
    return (range){_mm512_set1_epi64((long long)base), _mm512_set1_epi64((long long)size), base,
                   size};
}

/* Keeps the compiler from loading the words a second time: they may have changed. */
#define LOADED_ONCE(v) __asm__("" : "+v"(v))

GC_SCAN_UNCHECKED
static inline __mmask8 candidates(const range *r, __mmask8 among, __m512i words)
{
    return _mm512_mask_cmplt_epu64_mask(among, _mm512_sub_epi64(words, r->base), r->size);
}

/* Appends the candidates among the words of `among`; may write eight words whatever it returns. */
GC_SCAN_UNCHECKED
static inline size_t append_masked(const range *r, const void *p, __mmask8 among, uintptr_t *out)
{
    __m512i words = _mm512_maskz_loadu_epi64(among, p);
    LOADED_ONCE(words);
    __mmask8 hit = candidates(r, among, words);
    _mm512_storeu_si512(out, _mm512_maskz_compress_epi64(hit, words));
    return (size_t)__builtin_popcount(hit);
}

GC_SCAN_UNCHECKED
static size_t filter_tail(const range *r, const uintptr_t *in, size_t count, uintptr_t *out)
{
    __mmask8 among = (__mmask8)_bzhi_u32(0xff, (unsigned)count);
    __m512i words = _mm512_maskz_loadu_epi64(among, in);
    LOADED_ONCE(words);
    __mmask8 hit = candidates(r, among, words);
    unsigned n = (unsigned)__builtin_popcount(hit);
    _mm512_mask_storeu_epi64(out, (__mmask8)_bzhi_u32(0xff, n),
                             _mm512_maskz_compress_epi64(hit, words));
    return n;
}

GC_SCAN_UNCHECKED
static size_t filter(const void *from, size_t count, uintptr_t base, size_t size, uintptr_t *out)
{
    range r = range_of(base, size);
    const uintptr_t *in = from;
    size_t n = 0, i = 0;
    for (; count - i >= 8; i += 8) {
        __m512i words = _mm512_loadu_si512(in + i);
        LOADED_ONCE(words);
        __mmask8 hit = candidates(&r, 0xff, words);
        _mm512_storeu_si512(out + n, _mm512_maskz_compress_epi64(hit, words));
        n += (size_t)__builtin_popcount(hit);
    }
    return i < count ? n + filter_tail(&r, in + i, count - i, out + n) : n;
}

/* Slots of 8 or 16 bytes: eight or four of them are one vector. */
GC_SCAN_UNCHECKED
static size_t packed_objects(uintptr_t first, size_t slot, uint64_t todo, unsigned mask,
                             const range *r, uintptr_t *out)
{
    unsigned group = 64 / (unsigned)slot, lows = slot == 8 ? 0xff : 0x55;
    unsigned all = mask * lows, words = slot == 8 ? 1 : 3;
    size_t n = 0;
    for (; todo; todo >>= group, first += 64) {
        unsigned among = _pdep_u32((unsigned)todo, lows) * words & all;
        if (among)
            n += append_masked(r, (const void *)first, (__mmask8)among, out + n);
    }
    return n;
}

GC_SCAN_UNCHECKED
static size_t single_words(uintptr_t word, size_t slot, uint64_t todo, const range *r,
                           uintptr_t *out)
{
    size_t n = 0;
    for (; todo; todo &= todo - 1) {
        const uintptr_t *p = (const uintptr_t *)(word + (size_t)__builtin_ctzll(todo) * slot);
        uintptr_t w = __atomic_load_n(p, __ATOMIC_RELAXED);
        out[n] = w;
        n += w - r->scalar_base < r->scalar_size;
    }
    return n;
}

GC_SCAN_UNCHECKED
static size_t one_vector_objects(uintptr_t first, size_t slot, uint64_t todo, __mmask8 mask,
                                 const range *r, uintptr_t *out)
{
    size_t n = 0;
    for (; todo; todo &= todo - 1) {
        uintptr_t object = first + (size_t)__builtin_ctzll(todo) * slot;
        n += append_masked(r, (const void *)object, mask, out + n);
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
            n += append_masked(r, (const void *)(object + at * 8), (__mmask8)(m >> at), out + n);
            m = at < 56 ? m & ~(uint64_t)0 << (at + 8) : 0;
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
    uint64_t shifted = mask >> low;
    if (shifted == 1)
        return single_words(first + low * 8, slot, todo, &r, out);
    if (shifted <= 0xff)
        return one_vector_objects(first + low * 8, slot, todo, (__mmask8)shifted, &r, out);
    return long_objects(first, slot, todo, mask, &r, out);
}

static const gc_scan_kernel kernel = {"avx512", filter, objects};
const gc_scan_kernel *const gc_scan_avx512 = &kernel;

#elif defined(__x86_64__)

const gc_scan_kernel *const gc_scan_avx512 = NULL;

#endif
