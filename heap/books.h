/* The page allocator's books: which chunks there are, what of them is in use, held, released or on loan.
 *
 * Three files keep them, each with its own reasons to move pages: arena.c, for whoever wants some;
 * idle.c, for the scavenger and for the warmer, who take pages out, work on them and put them back.
 * books.c reads and checks them. Nobody else includes this header.
 *
 * The lock. One mutex guards everything; it is held for some hundred nanoseconds and never across a
 * system call. Whoever needs the system takes pages or chunks out of every set, lets go of the lock, and
 * comes back to enter the outcome. Advice and annotations happen outside as well, while the pages
 * belong to one thread alone. Lock order: `scavenging`, then `lock`.
 *
 * Three kinds of bytes. Held memory is what the system may have put behind our addresses: everything
 * grown that is not released. A chunk that may have huge pages and of which one page is touched may be
 * backed at once, so it counts as entirely held from its first use on: `released` may say too little,
 * never too much.
 *
 *     sys = grown chunks        inuse + idle = sys        held = sys - released >= inuse
 *
 * Every chunk is in one place: vacant (wholly free, or not grown), among the partly used ones (`fill`), full,
 * or detached by whoever changes it. A grown one is changed between heap_books_detach() and
 * heap_books_attach(), which keep the sets and the counts of their members in step with it. */
#ifndef HEAP_BOOKS_H
#define HEAP_BOOKS_H

#include "heap/bits.h"
#include "heap/chunk.h"

struct heap_arena {
    /* Constant after opening. */
    size_t nchunks;
    size_t chunks_size;
    bool valgrind;
    size_t release_grain; /* pages: the system's smallest page */
    size_t release_least; /* pages: a run of this length contains a whole grain */

    /* Held by the scavenger or the warmer while it has pages; taken before `lock`. */
    os_mutex scavenging;

    os_mutex lock;
    /* The rest under `lock`; all counts in pages. */
    heap_fill fill;
    uint64_t *vacant;      /* chunks that are wholly free or not grown, and not claimed */
    uint64_t *vacant_ours; /* of those, the grown ones */
    uint64_t *vacant_warm; /* of those, the ones that are not entirely released */
    uint64_t *grown;       /* chunks that the system has supplied */
    size_t top;            /* chunks below this may be grown */
    size_t sys, inuse, released;
    size_t claimed;                 /* will be in use when the growths under way are done */
    size_t claimed_held;            /* will be held */
    size_t growing;                 /* growths under way */
    size_t lent;                    /* in the hands of either */
    size_t broken;                  /* chunks */
    size_t nours, nwarm;            /* in vacant_ours, in vacant_warm */
    bool ahead;                     /* somebody warms vacant chunks */
    bool asked;                     /* and was asked to, since it last found nothing to do */
    uint64_t last_goal, last_inuse; /* bytes */
    uint64_t
        peak_inuse; /* what the cycles until peak_at needed, as heap_scavenge_recent() has it */
    int64_t peak_at;
};

/* ---- chunks in and out of the sets ----------------------------------------------------------- */

static inline void heap_books_list_ours(struct heap_arena *a, size_t chunk, bool ours, bool warm)
{
    a->nours -= heap_bits_has(a->vacant_ours, chunk);
    a->nwarm -= heap_bits_has(a->vacant_warm, chunk);
    a->nours += ours;
    a->nwarm += warm;
    heap_bits_put(a->vacant_ours, chunk, ours);
    heap_bits_put(a->vacant_warm, chunk, warm);
}

/* Out of the set that it is in, so that it can be changed. */
static inline void heap_books_detach(struct heap_arena *a, size_t chunk)
{
    if (a->fill.chunks[chunk].filed)
        heap_fill_remove(&a->fill, chunk);
    heap_bits_put(a->vacant, chunk, false);
    heap_books_list_ours(a, chunk, false, false);
}

/* Into the set where it belongs; a full one, or one in the scavenger's hands, is in none. */
static inline void heap_books_attach(struct heap_arena *a, size_t chunk)
{
    heap_chunk *c = &a->fill.chunks[chunk];
#if TRI_DEBUG >= 2
    heap_chunk_check(c);
#endif
    if (c->nfree == HEAP_CHUNK_PAGES) {
        heap_bits_put(a->vacant, chunk, true);
        heap_books_list_ours(a, chunk, true, c->nreleased < HEAP_CHUNK_PAGES);
    } else if (c->nfree) {
        heap_fill_insert(&a->fill, chunk);
    }
}

static inline void heap_books_set_broken(struct heap_arena *a, heap_chunk *c, bool broken)
{
    a->broken -= c->broken;
    a->broken += broken;
    c->broken = broken;
}

/* ---- limits ---------------------------------------------------------------------------------- */

/* Pages. */
static inline size_t heap_books_limit(tri_heap *h)
{
    uint64_t limit = atomic_load_explicit(&h->hard_limit, memory_order_relaxed);
    return limit ? limit / HEAP_PAGE : SIZE_MAX / 2;
}

/* By how many pages `more` held ones, on top of what is held, would be too many; 0: they may be held. */
static inline size_t heap_books_excess(tri_heap *h, size_t more)
{
    struct heap_arena *a = h->arena;
    size_t limit =
        (heap_books_limit(h) + HEAP_CHUNK_PAGES - 1) / HEAP_CHUNK_PAGES * HEAP_CHUNK_PAGES;
    size_t held = a->sys - a->released + a->claimed_held + more;
    return more && held > limit ? held - limit : 0;
}

/* ---- what the files ask each other, under the lock ------------------------------------------- */

/* idle.c: how many vacant chunks shall be warm. */
size_t heap_wanted_warm(const struct heap_arena *a);

/* arena.c: has the system supply some chunks that nobody needs yet, without the lock meanwhile. False: there
 * are enough, or it would not. */
bool heap_grow_ahead(tri_heap *h);

#endif
