/* The scan kernel in plain C: what every processor runs, and the meaning of all other kernels.
 *
 * The obvious loop has a branch per word, "is it a pointer into the heap", which real memory
 * answers without any pattern: a misprediction costs as much as ten words. So each word is stored
 * unconditionally and the output index advances by the comparison's result. That is also why `out`
 * of objects() has room to spare: the last rejected word is written too. filter() needs none,
 * since its output index never passes its input index.
 *
 * Invariant: each word is read exactly once, whole, by a relaxed atomic load. What was compared is
 * what is returned, whatever a mutator writes meanwhile.
 */
#include "gc/scan.h"

GC_SCAN_UNCHECKED
static size_t filter(const void *words, size_t count, uintptr_t base, size_t size, uintptr_t *out)
{
    const uintptr_t *in = words;
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        uintptr_t w = __atomic_load_n(&in[i], __ATOMIC_RELAXED);
        out[n] = w;
        n += w - base < size;
    }
    return n;
}

GC_SCAN_UNCHECKED
static size_t objects(uintptr_t first, size_t slot, uint64_t todo, uint64_t mask, uintptr_t base,
                      size_t size, uintptr_t *out)
{
    size_t n = 0;
    for (; todo; todo &= todo - 1) {
        const uintptr_t *object = (const uintptr_t *)(first + (size_t)__builtin_ctzll(todo) * slot);
        for (uint64_t m = mask; m; m &= m - 1) {
            uintptr_t w = __atomic_load_n(&object[__builtin_ctzll(m)], __ATOMIC_RELAXED);
            out[n] = w;
            n += w - base < size;
        }
    }
    return n;
}

const gc_scan_kernel gc_scan_scalar = {"scalar", filter, objects};
