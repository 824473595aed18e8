/* A heap without collector and mutators, and the collector's steps by hand. */
#ifndef TESTS_HEAP_FIXTURE_H
#define TESTS_HEAP_FIXTURE_H

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "heap/arena.h"
#include "heap/heap.h"
#include "heap/mcentral.h"
#include "heap/span.h"
#include "heap/types.h"
#include "tricolor/barrier.h"

static inline tri_heap *heap_for_test(size_t reserve)
{
    tri_heap *h = aligned_alloc(64, (sizeof *h + 63) & ~(size_t)63);
    memset(h, 0, sizeof *h);
    h->options.reserve = reserve;
    atomic_store(&h->trigger, UINT64_MAX);
    cr_assert_eq(heap_open(h), 0);
    return h;
}

static inline void heap_for_test_end(tri_heap *h)
{
    heap_close(h);
    free(h);
}

static inline heap_cache *cache_of(tri_heap *h)
{
    heap_cache *c;
    cr_assert_eq(heap_cache_new(h, &c), 0);
    return c;
}

static inline uint32_t gen_of_heap(tri_heap *h)
{
    return atomic_load(&h->sweepgen);
}

static inline heap_colour white(tri_heap *h)
{
    return (heap_colour){false, gen_of_heap(h)};
}

static inline heap_colour black(tri_heap *h)
{
    return (heap_colour){true, gen_of_heap(h)};
}

/* As the inline fast path does. */
static inline void *alloc_from(heap_cache *c, uint32_t cell, heap_colour colour)
{
    tri_mutator m = {.runs = c->tables[c->active].runs};
    void *p = tri_run_pop_(&m, cell);
    return p ? p : heap_alloc_slow(c, cell, colour);
}

static inline heap_ref found(tri_heap *h, const void *p)
{
    heap_ref ref = {NULL, 0};
    heap_find(h, (uintptr_t)p, &ref);
    return ref;
}

static inline bool is_object(tri_heap *h, const void *p)
{
    heap_ref ref;
    return heap_find(h, (uintptr_t)p, &ref) && heap_slot(ref.span, ref.index) == (uintptr_t)p;
}

static inline void mark_object(tri_heap *h, const void *p)
{
    heap_ref ref = {NULL, 0};
    bool first;
    cr_assert(heap_find(h, (uintptr_t)p, &ref), "marking what is no object");
    heap_mark(ref.span, ref.index, &first);
    atomic_store(&ref.span->queued, 0);
}

static inline void sweep_all(tri_heap *h)
{
    bool busy;
    heap_sweep_begin(h);
    while (heap_sweep_some(h, 16, &busy) || busy)
        ;
}

/* What the collector does for this cache between H1 and the sweep. */
static inline void switch_and_retire(tri_heap *h, heap_cache *c)
{
    heap_cache_switch(c, gen_of_heap(h));
    heap_cache_retire_inactive(c);
}

static inline tri_type type_of(const char *name, size_t size)
{
    tri_type t;
    cr_assert_eq(tri_type_init(&t, name, size, TRI_KIND_BYTES, NULL, 0, NULL), 0);
    return t;
}

static inline uint32_t cell_of(tri_heap *h, tri_type *type)
{
    int cell = heap_type_cell(h, type, SIZE_MAX);
    cr_assert_gt(cell, 0);
    return (uint32_t)cell;
}

/* Gives the cell spans of its own at once. */
static inline uint32_t own_cell_of(tri_heap *h, tri_type *type)
{
    uint32_t cell = cell_of(h, type);
    heap_cell_promote(h, cell);
    return cell;
}

static inline heap_class *class_of(tri_heap *h, uint32_t cell)
{
    return atomic_load(&h->types->cells[cell].class);
}

static inline uint64_t inuse(tri_heap *h)
{
    heap_arena_stats a;
    heap_arena_read(h, &a);
    return a.inuse;
}

#endif
