/* Making and unmaking spans, and runs of slots in them. */
#ifndef HEAP_SPAN_H
#define HEAP_SPAN_H

#include "heap/heap.h"

/* The state of a structure that is no span: older than nothing, held by nobody one could ask. */
#define SPAN_NONE (~(uint32_t)0)

static inline uint32_t heap_state_gen(uint32_t state)
{
    return state >> SPAN_GEN_SHIFT;
}

static inline uint32_t heap_state(uint32_t gen, uint32_t flags)
{
    return gen << SPAN_GEN_SHIFT | flags;
}

/* The baseline of x86-64 has no instruction for it, and the compiler's function is a table. */
static inline uint32_t heap_popcount(uint64_t x)
{
#if defined(__POPCNT__) || defined(__aarch64__)
    return (uint32_t)__builtin_popcountll(x);
#else
    x -= x >> 1 & 0x5555555555555555u;
    x = (x & 0x3333333333333333u) + (x >> 2 & 0x3333333333333333u);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    return (uint32_t)(x * 0x0101010101010101u >> 56);
#endif
}

int heap_numbers_open(tri_heap *h);
void heap_numbers_close(tri_heap *h);

/* A span of `class`, none of its slots allocated, in the page table. A small one is HELD by the
 * caller and stamped `gen`. A large one has
 * no page entries yet and state SPAN_NONE: see large.c. NULL: no memory. */
heap_span *heap_span_new(heap_class *class, uint32_t gen);
heap_span *heap_span_new_large(heap_class *class, heap_layout *layout, size_t size);
/* Writes the page entries of n pages of the span from its page `from` on. */
void heap_span_enter(tri_heap *h, heap_span *s, size_t from, size_t n);
/* The span has no live slot, is in no set, and is the caller's alone. */
void heap_span_free(tri_heap *h, heap_span *s);

/* The next run of clear alloc bits, at most `max` slots; moves s->search. 0: none is left. */
uint32_t heap_run_find(heap_span *s, uint32_t max, uint32_t *first);
/* Zeroes, colours and then allocates those slots. By the holder. */
void heap_run_reserve(tri_heap *h, heap_span *s, uint32_t first, uint32_t n, bool black);
/* The same for slots that are zero. By the holder or maker. */
void heap_run_publish(heap_span *s, uint32_t first, uint32_t n, bool black);
/* Takes back reserved slots that were never issued, and returns how many of them a sweep had not taken
 * before. By the holder, also while another sweeps. */
uint32_t heap_run_unreserve(tri_heap *h, heap_span *s, uint32_t first, uint32_t n);

/* Zeroes memory that a conservative scan may read meanwhile. */
void heap_zero(void *p, size_t bytes);

/* Slots of freed objects: tells tools, poisons in the torture build. */
void heap_note_freed(const tri_heap *h, const heap_span *s, uint32_t word, uint64_t freed);
/* Whether heap_note_freed() has anything to do. */
bool heap_notes(const tri_heap *h);

typedef struct heap_numbers_stats {
    uint64_t span_sys, span_inuse; /* bytes of structures */
    uint64_t meta_sys;             /* bytes of bitmaps and the number table */
} heap_numbers_stats;
void heap_numbers_read(tri_heap *h, heap_numbers_stats *out);

#endif
