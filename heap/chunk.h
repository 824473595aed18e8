/* A chunk is 2 MiB of the reservation: the unit in which the heap grows, and the size of a huge
 * page. What is known of each is in an array beside the heap, 128 bytes a chunk, so that looking for
 * pages touches neither the pages nor their side table. Guarded by the arena's lock.
 *
 * Invariants, which heap_chunk_check() tests unless another is named:
 *   released is a subset of free, but for pages in the scavenger's hands: a page in use is its
 *   user's, whatever the system has of it (heap_arena_check)
 *   dirty and released are disjoint: what the system has back reads as zero
 *   nfree, longest, warm and nreleased are what the bits say. */
#ifndef HEAP_CHUNK_H
#define HEAP_CHUNK_H

#include "heap/heap.h"

#define HEAP_CHUNK_WORDS (HEAP_CHUNK_PAGES / 64)

typedef struct heap_chunk {
    uint64_t free[HEAP_CHUNK_WORDS];     /* neither in a span nor in the scavenger's hands */
    uint64_t released[HEAP_CHUNK_WORDS]; /* of those: the system has their memory */
    uint64_t dirty[HEAP_CHUNK_WORDS]; /* may read as something else than zero; if free, that is */
    uint16_t nfree;
    uint16_t nreleased;
    uint16_t longest; /* run of free pages */
    uint16_t warm;    /* run of free pages that are not released */
    /* In the set of partly used chunks: a treap whose nodes know the best of their subtree. */
    uint16_t best_longest;
    uint16_t best_warm;
    uint32_t left, right; /* chunk number + 1; 0: none */
    bool filed;           /* in that set */
    bool broken;          /* huge pages were advised against, since a part was released */
} __attribute__((aligned(128))) heap_chunk;

/* A chunk that the system just supplied: all free, all zero, nothing touched. */
void heap_chunk_init(heap_chunk *c);

/* Where n free pages are, n <= c->longest: memory that is warm rather than memory that the system
 * would have to find and clear, then the lowest address. */
size_t heap_chunk_find(const heap_chunk *c, size_t n);

/* Changes of a chunk that is not filed. `first` counts from the start of the chunk. */
void heap_chunk_take(heap_chunk *c, size_t first, size_t n); /* into a span */
void heap_chunk_give(heap_chunk *c, size_t first, size_t n); /* out of one; it may be written */
void heap_chunk_touch(heap_chunk *c);                        /* all of it is backed from now on */
/* The scavenger's: out of the free set without a change of what they hold, and back again. */
void heap_chunk_lend(heap_chunk *c, size_t first, size_t n);
void heap_chunk_return(heap_chunk *c, size_t first, size_t n, bool released);

/* The last run of at least `min` free, warm pages, cut to multiples of `grain` pages; its length. */
size_t heap_chunk_warm_run(const heap_chunk *c, size_t min, size_t grain, size_t *first);

void heap_chunk_check(const heap_chunk *c);

/* ---- the set of partly used chunks, fullest first -------------------------------------------- */

typedef struct heap_fill {
    heap_chunk *chunks;
    uint32_t root; /* chunk number + 1; 0: empty */
} heap_fill;

void heap_fill_insert(heap_fill *f, size_t chunk);
void heap_fill_remove(heap_fill *f, size_t chunk);
/* The fullest chunk with n free pages in a row, the lowest of equals; HEAP_NO_PAGE if none has. */
size_t heap_fill_fullest(const heap_fill *f, size_t n);
/* The emptiest chunk with n free, warm pages in a row, the highest of equals; or HEAP_NO_PAGE. */
size_t heap_fill_emptiest(const heap_fill *f, size_t n);

#endif
