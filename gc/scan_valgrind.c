/* The scan kernel under Valgrind, whose memcheck knows of each byte whether it may be read and was ever
 * written.
 *
 * A conservative scan reads dead parts of frames and the red zone below the stack pointer, and decides by
 * what it reads. Each is an error to memcheck, and what is copied stays "uninitialised" wherever it goes, so
 * that looking a word up and marking it would be reported, too. Therefore a few words at a time are copied
 * with reports turned off, the copy is declared to be defined, and the scalar kernel works on that.
 *
 * Rejected: suppressions for the kernels (they would have to name all that is ever done with a candidate);
 * declaring the stack itself to be defined (it is the program's, whose errors would be hidden).
 */
#include "gc/scan.h"

#include "heap/annotate.h"

#ifdef HEAP_VALGRIND

#define PIECE 64

static void copy(uintptr_t *to, const uintptr_t *from, size_t n)
{
    VALGRIND_DISABLE_ERROR_REPORTING;
    for (size_t i = 0; i < n; i++)
        to[i] = __atomic_load_n(from + i, __ATOMIC_RELAXED);
    VALGRIND_ENABLE_ERROR_REPORTING;
    (void)VALGRIND_MAKE_MEM_DEFINED(to, n * sizeof *to);
}

static size_t filter(const void *words, size_t count, uintptr_t base, size_t size, uintptr_t *out)
{
    uintptr_t piece[PIECE];
    size_t found = 0;
    for (size_t at = 0; at < count; at += PIECE) {
        size_t n = count - at < PIECE ? count - at : PIECE;
        copy(piece, (const uintptr_t *)words + at, n);
        found += gc_scan_scalar.filter(piece, n, base, size, out + found);
    }
    return found;
}

static size_t objects(uintptr_t first, size_t slot, uint64_t todo, uint64_t mask, uintptr_t base,
                      size_t size, uintptr_t *out)
{
    size_t words = mask ? 64 - (size_t)__builtin_clzll(mask) : 0;
    size_t found = 0;
    for (; todo; todo &= todo - 1) {
        uintptr_t piece[64];
        copy(piece, (const uintptr_t *)(first + (size_t)__builtin_ctzll(todo) * slot), words);
        found += gc_scan_scalar.objects((uintptr_t)piece, words * sizeof *piece, words != 0, mask,
                                        base, size, out + found);
    }
    return found;
}

static const gc_scan_kernel valgrind = {"valgrind", filter, objects};

const gc_scan_kernel *gc_scan_valgrind(void)
{
    return heap_on_valgrind() ? &valgrind : NULL;
}

#else

const gc_scan_kernel *gc_scan_valgrind(void)
{
    return NULL;
}

#endif
