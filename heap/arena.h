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
 * From HEAP_CHUNK_PAGES on they start at a 2 MiB boundary. May release other memory first, if the
 * hard limit leaves no other way. */
size_t heap_pages_alloc(tri_heap *h, size_t npages, bool *zeroed);
void heap_pages_free(tri_heap *h, size_t first, size_t npages);

typedef struct heap_arena_stats {
    uint64_t sys;        /* bytes obtained: grown part of the reservation */
    uint64_t inuse;      /* bytes in spans */
    uint64_t idle;       /* sys - inuse */
    uint64_t released;   /* part of idle that the system has: given back, or never touched */
    uint64_t ahead;      /* what vacant chunks shall be kept warm */
    uint64_t last_goal;  /* what heap_arena_note_cycle() was told; 0: nothing yet */
    uint64_t last_inuse; /* inuse at such moments lately */
} heap_arena_stats;
void heap_arena_read(tri_heap *h, heap_arena_stats *out);

/* Remembers what the heap holds at the end of a cycle's marking, when it is fullest, for the
 * scavenger's goal; `goal` is the heap goal of that cycle. */
void heap_arena_note_cycle(tri_heap *h, uint64_t goal);

/* ---- the scavenger's side -------------------------------------------------------------------- */

/* Free pages in the scavenger's hands: idle, but nobody can allocate them. */
typedef struct heap_idle {
    size_t first, npages;
    bool breaks; /* the first hole in a chunk: huge pages should be advised against */
} heap_idle;

/* The free pages that are best released next, wholly free chunks before parts of others. False if
 * there are none. Every batch is returned before the next is taken: the scavenger's lock is held
 * from one to the other, so that an allocation that needs the batch can wait for it. */
bool heap_arena_take_idle(tri_heap *h, heap_idle *out);
/* `released`: the system has them, they read as zero. Returns how many pages are released now that
 * were not before. */
size_t heap_arena_return_idle(tri_heap *h, const heap_idle *idle, bool released);

/* ---- the warmer's side ----------------------------------------------------------------------- */

/* From now on, or no longer, somebody answers hooks.cold by warming chunks; cold ones are then used in
 * small pages. */
void heap_arena_warm_ahead(tri_heap *h, bool on);

/* A vacant chunk that nothing backs, if more of them should be warm. The same lock is held until it is
 * returned as with idle pages. */
bool heap_arena_take_cold(tri_heap *h, heap_idle *out);
/* Huge pages were allowed there, and all of it was touched, but reads as zero. */
void heap_arena_return_warm(tri_heap *h, const heap_idle *cold);

/* ---- fork, and checks ------------------------------------------------------------------------ */

/* Around fork(), in parent and child: no growth and no release is under way in between. */
void heap_arena_fork_prepare(tri_heap *h);
void heap_arena_fork_done(tri_heap *h);

/* Aborts if the page allocator's books disagree. Walks all chunks; for tests. */
void heap_arena_check(tri_heap *h);

#endif
