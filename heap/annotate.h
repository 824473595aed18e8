/* What tools and torture builds are told of memory that the page allocator has or hands out.
 *
 * AddressSanitizer and Valgrind watch malloc; of a reservation they know nothing, and a stray pointer
 * into a free page would read quietly. So free pages are poisoned for the one and inaccessible for
 * the other. The torture build fills them with a pattern that is no address, which finds what neither
 * tool is there to see. Without any of them each function is empty, or one predictable branch. */
#ifndef HEAP_ANNOTATE_H
#define HEAP_ANNOTATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef TRI_TORTURE
#include "os/report.h"
#endif

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HEAP_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define HEAP_ASAN 1
#endif
#ifdef HEAP_ASAN
#include <sanitizer/asan_interface.h>
#endif

#if defined(__has_include)
#if __has_include(<valgrind/memcheck.h>) && __has_include(<valgrind/valgrind.h>)
#include <valgrind/memcheck.h>
#include <valgrind/valgrind.h>
#define HEAP_VALGRIND 1
#endif
#endif

#define HEAP_POISON_BYTE 0xdb

static inline bool heap_on_valgrind(void)
{
#ifdef HEAP_VALGRIND
    return RUNNING_ON_VALGRIND != 0;
#else
    return false;
#endif
}

/* Free memory: nobody may touch it. */
static inline void heap_annotate_free(bool valgrind, void *p, size_t n)
{
    (void)valgrind, (void)p, (void)n;
#ifdef HEAP_ASAN
    __asan_poison_memory_region(p, n);
#endif
#ifdef HEAP_VALGRIND
    if (valgrind)
        (void)VALGRIND_MAKE_MEM_NOACCESS(p, n);
#endif
}

/* Memory of a span from now on. */
static inline void heap_annotate_alloc(bool valgrind, void *p, size_t n, bool zeroed)
{
    (void)valgrind, (void)p, (void)n, (void)zeroed;
#ifdef HEAP_ASAN
    __asan_unpoison_memory_region(p, n);
#endif
#ifdef HEAP_VALGRIND
    if (valgrind && zeroed)
        (void)VALGRIND_MAKE_MEM_DEFINED(p, n);
    else if (valgrind)
        (void)VALGRIND_MAKE_MEM_UNDEFINED(p, n);
#endif
}

/* The end of the reservation: another mapping may get these addresses. */
static inline void heap_annotate_gone(void *p, size_t n)
{
    (void)p, (void)n;
#ifdef HEAP_ASAN
    __asan_unpoison_memory_region(p, n);
#endif
}

#ifdef TRI_TORTURE
/* Free memory that is about to be used again: poison, or zero where the system had it in between, as far
 * as each page goes. Anything else was written by somebody who had no business there any more. */
static inline void heap_check_poison(const void *p, size_t n)
{
    const uint64_t *words = p;
    const uint64_t poison = HEAP_POISON_BYTE * UINT64_C(0x0101010101010101);
    uint64_t page = 0;
    for (size_t i = 0; i < n / sizeof *words; i++) {
        if (i == 0 || (uintptr_t)(words + i) % 4096 == 0)
            page = words[i];
        if (words[i] != page || (page && page != poison))
            os_fatal("the freed word at %p was written to, and holds %lx instead of %lx",
                     (const void *)(words + i), words[i], page ? poison : 0);
    }
}
#else
static inline void heap_check_poison(const void *p, size_t n)
{
    (void)p, (void)n;
}
#endif

/* Before heap_annotate_free, by the last owner. */
static inline void heap_annotate_poison(void *p, size_t n)
{
    (void)p, (void)n;
#ifdef TRI_TORTURE
    memset(p, HEAP_POISON_BYTE, n);
#endif
}

#endif
