/* The page allocator's interface to the rest of the heap room. */
#ifndef HEAP_ARENA_H
#define HEAP_ARENA_H

#include "heap/heap.h"

#define HEAP_NO_PAGE ((size_t)-1)

/* Reserves the address space; sets h->base, h->reserved. -ENOMEM. */
int heap_arena_open(tri_heap *h);
void heap_arena_close(tri_heap *h);

/* `npages` adjacent pages, committed and usable. HEAP_NO_PAGE when the hard limit, the reservation
 * or the system's memory is used up. *zeroed: they are known to read as zero. Counts as in use.
 * `aligned_chunk`: first page at a 2 MiB boundary wanted (large objects). */
size_t heap_pages_alloc(tri_heap *h, size_t npages, bool *zeroed);
void heap_pages_free(tri_heap *h, size_t first, size_t npages);

typedef struct heap_arena_stats {
    uint64_t sys;      /* bytes obtained: grown part of the reservation */
    uint64_t inuse;    /* bytes in spans */
    uint64_t idle;     /* sys - inuse */
    uint64_t released; /* part of idle that the system has back */
} heap_arena_stats;
void heap_arena_read(tri_heap *h, heap_arena_stats *out);

#endif
