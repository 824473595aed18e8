/* Starting the loads that marking a word will need, some words ahead: side table, span, bitmaps. Each may
 * miss the cache, and each address is found in what the one before it loaded, so a word takes three
 * steps; the misses of different words overlap.
 *
 * The words are candidates: heap_contains() holds. What is read on the way may be in the middle of a change:
 * nothing but an address to start a load at is taken from it. Under ThreadSanitizer, which would report
 * that, and to which a cache means nothing, all of it is empty. */
#ifndef HEAP_PREFETCH_H
#define HEAP_PREFETCH_H

#include "heap/heap.h"

#if TRI_TSAN

static inline void heap_prefetch_page(const tri_heap *h, uintptr_t p)
{
    (void)h, (void)p;
}

static inline void heap_prefetch_span(const tri_heap *h, uintptr_t p)
{
    (void)h, (void)p;
}

static inline void heap_prefetch_bits(const tri_heap *h, uintptr_t p)
{
    (void)h, (void)p;
}

#else

static inline void heap_prefetch_page(const tri_heap *h, uintptr_t p)
{
    __builtin_prefetch(&h->pages[(p - h->base) >> HEAP_PAGE_SHIFT]);
}

static inline void heap_prefetch_span(const tri_heap *h, uintptr_t p)
{
    uint32_t id = atomic_load_explicit(&h->pages[(p - h->base) >> HEAP_PAGE_SHIFT].span,
                                       memory_order_relaxed);
    __builtin_prefetch(&h->spans[id]);
}

static inline void heap_prefetch_bits(const tri_heap *h, uintptr_t p)
{
    const heap_span *s = heap_span_at(h, (p - h->base) >> HEAP_PAGE_SHIFT);
    if (!s)
        return;
    uint32_t i = (uint32_t)(((uint64_t)(p - s->base) * s->magic) >> 32);
    __builtin_prefetch(heap_alloc_at(s, i / 64));
    __builtin_prefetch(heap_mark_at(s, i / 64), 1);
}

#endif

#endif
