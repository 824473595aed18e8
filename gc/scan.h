/* Scan kernels: from memory to the candidate words in it.
 *
 * A candidate is a word w with w - base < size: a pointer into the reservation. Kernels only
 * filter; looking candidates up and marking them is gc/mark.c's. All kernels produce exactly the
 * same words in the same order as the scalar one; one is chosen at start by what the processor
 * has. They read memory that mutators write with whole-word stores: no word is read in halves.
 */
#ifndef GC_SCAN_H
#define GC_SCAN_H

#include <stddef.h>
#include <stdint.h>

typedef struct gc_scan_kernel {
    const char *name;
    /* Candidates among `count` adjacent words (word-aligned). `out` has room for count and does
     * not overlap them. */
    size_t (*filter)(const void *words, size_t count, uintptr_t base, size_t size, uintptr_t *out);
    /* Candidates in the words chosen by `mask` (bit i: word i) of the slots chosen by `todo` (bit
     * i: the slot at first + i * slot), in ascending order of address. slot is a multiple of 8,
     * mask has no bit at or beyond slot / 8. `out` has room for popcount(todo) * popcount(mask) +
     * 8. */
    size_t (*objects)(uintptr_t first, size_t slot, uint64_t todo, uint64_t mask, uintptr_t base,
                      size_t size, uintptr_t *out);
} gc_scan_kernel;

/* The best kernel of this processor. Async-signal-safe after the first call. */
const gc_scan_kernel *gc_scan_best(void);
/* By name (scalar, avx2, avx512); NULL if the processor or the build lacks it. For tests, and for
 * TRICOLOR=kernel=..., which whoever reads the options passes on. */
const gc_scan_kernel *gc_scan_named(const char *name);

/* The kernels' own. NULL where the compiler had no such instructions. */
extern const gc_scan_kernel gc_scan_scalar;
extern const gc_scan_kernel *const gc_scan_avx2;
extern const gc_scan_kernel *const gc_scan_avx512;
/* NULL where the program does not run under Valgrind. */
const gc_scan_kernel *gc_scan_valgrind(void);

/* Kernels read red zones of stacks and words that mutators are writing, both on purpose. */
#define GC_SCAN_UNCHECKED __attribute__((no_sanitize("address", "thread")))

#endif
