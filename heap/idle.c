/* Pages on loan: free memory that the scavenger releases and the warmer touches.
 *
 * The problem. What they ask of the system takes it 50 us to 7 ms for a chunk, and under the lock every
 * allocation would wait for that. So they take pages out of the sets, where no allocation finds them, work
 * without the lock, and put them back; scavenger.c and warmer.c do the work, here is decided on what.
 *
 * An allocation that fails while pages are on loan must not fail for that reason: it waits for them and tries
 * again. That is what `scavenging` is for, which is taken before `lock` and held from the taking to the
 * returning: there is one loan at a time, and who gets the mutex knows that there is none. Rejected: a condition
 * that is signalled on return; with a single loan it says no more than the mutex, and a fork would have to
 * wait for it, too.
 *
 * Which pages the scavenger gets: wholly free chunks from the top down, then runs in the emptiest chunk.
 * Which chunk the warmer gets: the lowest cold one, as would a mutator that finds no warm one. Before that the
 * heap is grown by some chunks if few are left (arena.c), so that no mutator makes that system call.
 *
 * Who pays for the first touch. A huge page is cheap by the byte and dear by the piece: 0.2 ms to find and
 * clear one, 7 ms where a hypervisor must find it first. That was the longest interruption of a mutator
 * by far, longer than anything the collector asks of it. So a thread (warmer.c) touches vacant chunks,
 * as huge pages, before they are needed. How many are kept warm grows with the heap; above half the memory
 * limit and at the hard limit no more are made, since they are held memory that nobody uses yet.
 *
 * The invariant: the books never say that too little is held. What is being released counts as held until
 * it is returned, what is being touched from before its first touch on. */
#include "heap/arena.h"
#include "heap/books.h"

/* Each chunk advised against huge pages can split a mapping in three, and the kernel allows 65,530
 * mappings in all. Beyond this many, the kernel may fill the holes again behind our back. */
#define BROKEN_MOST 8192

/* Vacant chunks that are kept warm, from the first of these sizes in use on: one, and one more for each
 * of the second. In a heap of 4 MiB they would be a third of its memory, and the collector waits for the
 * processor while a huge page is found. */
#define AHEAD_FROM  (((size_t)16 << 20) / HEAP_PAGE)
#define AHEAD_STEP  (((size_t)64 << 20) / HEAP_PAGE)
#define AHEAD_MOST  8

size_t heap_wanted_warm(const struct heap_arena *a)
{
    if (!a->ahead || a->inuse < AHEAD_FROM)
        return 0;
    size_t n = 1 + a->inuse / AHEAD_STEP;
    return n < AHEAD_MOST ? n : AHEAD_MOST;
}

/* ---- the scavenger's side -------------------------------------------------------------------- */

/* The chunk that is released next, and which of its pages. */
static size_t idle_next(struct heap_arena *a, size_t *first, size_t *n)
{
    size_t chunk = heap_bits_last(a->vacant_warm, a->top);
    *first = 0;
    *n = HEAP_CHUNK_PAGES;
    if (chunk != HEAP_NO_BIT)
        return chunk;
    chunk = heap_fill_emptiest(&a->fill, a->release_least);
    if (chunk != HEAP_NO_PAGE)
        *n = heap_chunk_warm_run(&a->fill.chunks[chunk], a->release_least, a->release_grain, first);
    return chunk;
}

bool heap_arena_take_idle(tri_heap *h, heap_idle *out)
{
    struct heap_arena *a = h->arena;
    os_mutex_lock(&a->scavenging);
    os_mutex_lock(&a->lock);
    size_t first, n, chunk = idle_next(a, &first, &n);
    if (chunk == HEAP_NO_PAGE) {
        os_mutex_unlock(&a->lock);
        os_mutex_unlock(&a->scavenging);
        return false;
    }
    heap_chunk *c = &a->fill.chunks[chunk];
    heap_books_detach(a, chunk);
    heap_chunk_lend(c, first, n);
    out->first = chunk * HEAP_CHUNK_PAGES + first;
    out->npages = n;
    out->breaks = n < HEAP_CHUNK_PAGES && !c->broken && a->broken < BROKEN_MOST;
    a->broken += out->breaks;
    c->broken |= out->breaks;
    heap_books_attach(a, chunk);
    a->lent += n;
    os_mutex_unlock(&a->lock);
    return true;
}

size_t heap_arena_return_idle(tri_heap *h, const heap_idle *idle, bool released)
{
    struct heap_arena *a = h->arena;
    size_t chunk = idle->first / HEAP_CHUNK_PAGES;
    heap_chunk *c = &a->fill.chunks[chunk];
    os_mutex_lock(&a->lock);
    heap_books_detach(a, chunk);
    size_t before = c->nreleased;
    heap_chunk_return(c, idle->first % HEAP_CHUNK_PAGES, idle->npages, released);
    size_t now = c->nreleased;
    a->released = a->released - before + now;
    a->lent -= idle->npages;
    heap_books_attach(a, chunk);
    os_mutex_unlock(&a->lock);
    os_mutex_unlock(&a->scavenging);
    return now > before ? now - before : 0;
}

/* ---- the warmer's side ----------------------------------------------------------------------- */

void heap_arena_warm_ahead(tri_heap *h, bool on)
{
    os_mutex_lock(&h->arena->lock);
    h->arena->ahead = on && !h->arena->valgrind;
    os_mutex_unlock(&h->arena->lock);
}

static size_t idle_coldest(tri_heap *h)
{
    struct heap_arena *a = h->arena;
    uint64_t limit = atomic_load_explicit(&h->memory_limit, memory_order_relaxed);
    if (a->nwarm >= heap_wanted_warm(a) || heap_books_excess(h, HEAP_CHUNK_PAGES) ||
        (limit && (a->sys - a->released) * HEAP_PAGE > limit / 2))
        return HEAP_NO_BIT;
    return heap_bits_first_without(a->vacant_ours, a->vacant_warm, a->top);
}

bool heap_arena_take_cold(tri_heap *h, heap_idle *out)
{
    struct heap_arena *a = h->arena;
    os_mutex_lock(&a->scavenging);
    os_mutex_lock(&a->lock);
    while (heap_grow_ahead(h))
        ;
    size_t chunk = idle_coldest(h);
    if (chunk == HEAP_NO_BIT) {
        a->asked = false;
        os_mutex_unlock(&a->lock);
        os_mutex_unlock(&a->scavenging);
        return false;
    }
    heap_books_detach(a, chunk);
    heap_chunk_lend(&a->fill.chunks[chunk], 0, HEAP_CHUNK_PAGES);
    heap_chunk_touch(&a->fill.chunks[chunk]); /* from now on, as far as anybody can tell */
    a->released -= HEAP_CHUNK_PAGES;
    a->lent += HEAP_CHUNK_PAGES;
    *out = (heap_idle){.first = chunk * HEAP_CHUNK_PAGES, .npages = HEAP_CHUNK_PAGES};
    os_mutex_unlock(&a->lock);
    return true;
}

void heap_arena_return_warm(tri_heap *h, const heap_idle *cold)
{
    struct heap_arena *a = h->arena;
    size_t chunk = cold->first / HEAP_CHUNK_PAGES;
    heap_chunk *c = &a->fill.chunks[chunk];
    os_mutex_lock(&a->lock);
    heap_chunk_return(c, 0, HEAP_CHUNK_PAGES, true); /* it reads as zero */
    heap_chunk_touch(c);
    heap_books_set_broken(a, c, false);
    a->lent -= HEAP_CHUNK_PAGES;
    heap_books_attach(a, chunk);
    os_mutex_unlock(&a->lock);
    os_mutex_unlock(&a->scavenging);
}
