/* A page allocator alone: a heap that has nothing else. */
#ifndef TESTS_HEAP_PAGES_H
#define TESTS_HEAP_PAGES_H

#include <criterion/criterion.h>
#include <string.h>

#include "heap/arena.h"
#include "os/vm.h"

#define MIB ((size_t)1 << 20)

static inline void open_heap(tri_heap *h, size_t reserve)
{
    memset(h, 0, sizeof *h);
    h->options.reserve = reserve;
    cr_assert_eq(heap_arena_open(h), 0);
}

static inline void close_heap(tri_heap *h)
{
    heap_arena_check(h);
    heap_arena_close(h);
}

static inline char *address(const tri_heap *h, size_t page)
{
    return (char *)h->base + page * HEAP_PAGE;
}

/* Pages that were written to. */
static inline size_t alloc_touched(tri_heap *h, size_t npages)
{
    bool zeroed;
    size_t first = heap_pages_alloc(h, npages, &zeroed);
    cr_assert_neq(first, HEAP_NO_PAGE);
    for (size_t i = 0; i < npages * HEAP_PAGE; i += 4096)
        cr_assert(!zeroed || address(h, first)[i] == 0, "zeroed pages are not zero");
    memset(address(h, first), 1, npages * HEAP_PAGE);
    return first;
}

static inline heap_arena_stats stats_of(tri_heap *h)
{
    heap_arena_stats s;
    heap_arena_read(h, &s);
    cr_assert_eq(s.sys, s.inuse + s.idle);
    cr_assert_leq(s.released, s.idle);
    return s;
}

static inline uint64_t released(tri_heap *h)
{
    return stats_of(h).released;
}

static inline size_t resident(const tri_heap *h, size_t first, size_t npages)
{
    return os_resident(address(h, first), npages * HEAP_PAGE);
}

static inline size_t all_resident(const tri_heap *h)
{
    return os_resident((void *)h->base, h->reserved);
}

#endif
