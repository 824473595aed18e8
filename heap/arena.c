/* The page allocator: one reservation, grown by chunks of 2 MiB.
 *
 * The problem. Spans come and go in all sizes from 8 KiB up; the memory under them is dear when it
 * is touched for the first time (2 to 10 us per 4 KiB on a virtual machine) and when it is spread
 * over more pages than the processor has TLB entries for; and what is free should return to the
 * system without tearing huge pages apart. So: fill what is warm, keep it dense, and let whole
 * chunks drain. chunk.c says which of the partly used chunks is filled first. Here is decided, in
 * this order: a partly used chunk; a free chunk that is still warm; a free chunk that is not; growth.
 * Spans of a chunk or more take free chunks in a row (first fit), and leave what remains of the last
 * one to small spans.
 *
 * Rejected. Separate mappings per arena, as Go has on 64 bits in principle: a pointer test is then a
 * table look-up. Growth by exactly what is needed, page by page: many system calls, no huge pages.
 * A cache of pages per processor, as Go has: it would keep the lock from being taken, but it
 * spreads the spans of P processors over P x 64 pages, and the lock is only reached once for many
 * objects. If the waiting times that are measured below say otherwise, this is the place to add it.
 *
 * The lock (books.h) is let go of for every system call. Growth marks its chunks as taken, has the system
 * supply them without the lock, and comes back to enter them (or to undo the mark). Two threads may then
 * grow at the same time where one would have done: that costs a chunk of address space that the next span
 * uses, and is better than to let one wait for the other's system call. An allocation that fails while the
 * scavenger or the warmer has pages waits for them (idle.c) and tries again.
 *
 * The first touch. Vacant chunks are touched, as huge pages, before they are needed (idle.c says why). A
 * mutator that is faster than that takes a cold chunk in small pages: 2 us for each. A chunk then stays as it
 * is until it has drained and was released. Spans of a chunk or more are touched by whoever wants them, in
 * huge pages.
 *
 * The hard limit. Pages in use never exceed it; held memory never exceeds it by as much as a chunk (it
 * is compared with the limit rounded up to whole chunks). If the second is what stands in the
 * way, the allocation releases other free pages itself and tries again. What is grown but released
 * does not count: it is address space. Both are checked under the lock together with what growths
 * under way will add.
 *
 * Failing system calls change nothing: what a growth had marked is unmarked. */
#include "heap/arena.h"

#include <errno.h>

#include "heap/annotate.h"
#include "heap/books.h"
#include "heap/scavenger.h"
#include "os/clock.h"
#include "os/memory.h"
#include "os/vm.h"

#define RESERVE_DEFAULT  ((size_t)256 << 30)
#define RESERVE_CHECKED  ((size_t)32 << 30) /* barriercheck=1 takes three times as much */
#define RESERVE_LEAST    ((size_t)64 << 20)
#define RESERVE_VALGRIND ((size_t)4 << 30) /* its own tables grow with what we map */

/* Growth takes up to this many chunks more than it needs, and up to a sixteenth of what there is:
 * untouched they cost nothing, and a large heap needs fewer system calls. */
#define GROW_MOST        16

/* Runs of free pages shorter than this are not worth a system call and a torn huge page. */
#define RELEASE_LEAST    (((size_t)64 << 10) / HEAP_PAGE)

/* Chunks that are grown before they are needed. */
#define AHEAD_GROWN      16
/* With more chunks in small pages than these 384 MiB, mutators wait for huge ones again: a large heap without them
 * is half as fast, for good. */
#define SMALL_MOST       (192 + AHEAD_GROWN)

/* One allocation while it is being looked for. */
typedef struct arena_request {
    size_t npages;
    size_t page;           /* result */
    bool zeroed;           /* result */
    bool mend;             /* huge pages must be advised again */
    bool part;             /* but not in the last chunk, which is used in small pages */
    bool tear;             /* there they must be advised against */
    bool ask;              /* for warm chunks */
    size_t chunk, nchunks; /* claimed run, growth only */
    size_t extra;          /* chunks claimed beyond what is needed */
    bool small;            /* all of them without huge pages at first */
    size_t add_held;       /* what the claim adds to claimed_held */
    size_t excess;         /* pages to be released first */
    bool lent;             /* the scavenger had pages while this one was refused */
} arena_request;

typedef enum arena_answer {
    ARENA_DONE,
    ARENA_CLAIMED, /* chunks are claimed that the system must supply first */
    ARENA_HELD,    /* too much held: release something */
    ARENA_FULL,
} arena_answer;

/* ---- the lock -------------------------------------------------------------------------------- */

/* Returns how long the caller waited, 0 if it did not. */
static int64_t arena_lock(struct heap_arena *a)
{
    if (__builtin_expect(os_mutex_trylock(&a->lock), 1))
        return 0;
    int64_t start = os_now();
    os_mutex_lock(&a->lock);
    return os_now() - start;
}

static void arena_unlock(tri_heap *h, int64_t waited)
{
    os_mutex_unlock(&h->arena->lock);
    if (waited && h->hooks.lock_waited)
        h->hooks.lock_waited(h, waited);
}

/* ---- chunks in and out of the sets ----------------------------------------------------------- */

static void *arena_address(const tri_heap *h, size_t page)
{
    return (void *)(h->base + page * HEAP_PAGE);
}

/* Whether cold chunks are used in small pages. */
static bool arena_small(const struct heap_arena *a)
{
    return a->ahead && a->broken < SMALL_MOST;
}

/* How many vacant chunks shall be grown but cold: address space that costs nothing but the system call. */
static size_t arena_wanted_grown(const struct heap_arena *a)
{
    return heap_wanted_warm(a) ? AHEAD_GROWN : 0;
}

/* Takes pages [first, first + n) of a detached chunk into a span. */
static void arena_take(struct heap_arena *a, arena_request *r, size_t chunk, size_t first, size_t n)
{
    heap_chunk *c = &a->fill.chunks[chunk];
    size_t before = c->nreleased;
    if (before == HEAP_CHUNK_PAGES && n < HEAP_CHUNK_PAGES && arena_small(a)) {
        if (!c->broken) { /* others may touch its other pages before the advice */
            heap_chunk_touch(c);
            r->tear = true;
        }
        heap_books_set_broken(a, c, true);
    } else if (before == HEAP_CHUNK_PAGES || n == HEAP_CHUNK_PAGES) {
        /* Its first touch may back the whole of it. */
        heap_chunk_touch(c);
        r->mend |= c->broken;
        heap_books_set_broken(a, c, false);
    }
    r->zeroed &= heap_bits_next(c->dirty, first + n, first, 0) == first + n;
    r->part = c->broken;
    heap_chunk_take(c, first, n);
    a->released -= before - c->nreleased;
}

/* The request's pages from the first of k detached chunks on. */
static void arena_take_chunks(struct heap_arena *a, arena_request *r, size_t chunk, size_t k)
{
    size_t left = r->npages;
    r->page = chunk * HEAP_CHUNK_PAGES;
    r->zeroed = true;
    for (size_t i = 0; i < k; i++) {
        size_t n = left < HEAP_CHUNK_PAGES ? left : HEAP_CHUNK_PAGES;
        arena_take(a, r, chunk + i, 0, n);
        heap_books_attach(a, chunk + i);
        left -= n;
    }
    a->inuse += r->npages;
}

/* ---- limits ---------------------------------------------------------------------------------- */

static bool arena_use_allowed(tri_heap *h, size_t npages)
{
    size_t used = h->arena->inuse + h->arena->claimed, limit = heap_books_limit(h);
    return used <= limit && npages <= limit - used;
}

/* Whether `more` pages may be held on top of what is; if not, r->excess says by how much not. */
static bool arena_hold_allowed(tri_heap *h, arena_request *r, size_t more)
{
    r->excess = heap_books_excess(h, more);
    return r->excess == 0;
}

/* ---- finding pages, under the lock ----------------------------------------------------------- */

static arena_answer arena_try_partial(tri_heap *h, arena_request *r, size_t chunk)
{
    struct heap_arena *a = h->arena;
    heap_chunk *c = &a->fill.chunks[chunk];
    size_t first = heap_chunk_find(c, r->npages);
    if (!arena_hold_allowed(h, r,
                            c->nreleased ? heap_bits_count(c->released, first, r->npages) : 0))
        return ARENA_HELD;
    heap_books_detach(a, chunk);
    r->page = chunk * HEAP_CHUNK_PAGES + first;
    r->zeroed = true;
    arena_take(a, r, chunk, first, r->npages);
    heap_books_attach(a, chunk);
    a->inuse += r->npages;
    return ARENA_DONE;
}

/* How much more would be held if all of these vacant chunks were used. */
static size_t arena_unheld(const struct heap_arena *a, size_t chunk, size_t k)
{
    size_t n = 0;
    for (size_t i = chunk; i < chunk + k; i++)
        n += heap_bits_has(a->grown, i) ? a->fill.chunks[i].nreleased : HEAP_CHUNK_PAGES;
    return n;
}

static arena_answer arena_try_vacant(tri_heap *h, arena_request *r, size_t chunk, size_t k)
{
    struct heap_arena *a = h->arena;
    if (!arena_hold_allowed(h, r, arena_unheld(a, chunk, k)))
        return ARENA_HELD;
    for (size_t i = 0; i < k; i++)
        heap_books_detach(a, chunk + i);
    arena_take_chunks(a, r, chunk, k);
    return ARENA_DONE;
}

/* Chunks above [chunk, chunk + k) that this growth takes along; they must adjoin what is missing. */
static size_t arena_extra(const struct heap_arena *a, size_t chunk, size_t k)
{
    size_t most = a->sys / HEAP_CHUNK_PAGES / 16, n = 0;
    if (heap_bits_has(a->grown, chunk + k - 1))
        return 0;
    if (most > GROW_MOST)
        most = GROW_MOST;
    for (size_t i = chunk + k; n < most && i < a->nchunks; i++, n++)
        if (!heap_bits_has(a->vacant, i) || heap_bits_has(a->grown, i))
            break;
    return n;
}

static arena_answer arena_claim(tri_heap *h, arena_request *r, size_t chunk, size_t k)
{
    struct heap_arena *a = h->arena;
    r->add_held = arena_unheld(a, chunk, k);
    if (!arena_hold_allowed(h, r, r->add_held))
        return ARENA_HELD;
    r->chunk = chunk;
    r->nchunks = k;
    r->extra = arena_extra(a, chunk, k);
    r->small = arena_small(a);
    for (size_t i = 0; i < k + r->extra; i++)
        heap_books_detach(a, chunk + i);
    a->claimed += r->npages;
    a->claimed_held += r->add_held;
    a->growing++;
    return ARENA_CLAIMED;
}

static arena_answer arena_try(tri_heap *h, arena_request *r)
{
    struct heap_arena *a = h->arena;
    size_t k = (r->npages + HEAP_CHUNK_PAGES - 1) / HEAP_CHUNK_PAGES, at;
    r->lent = a->lent != 0;
    r->mend = r->part = r->tear = r->ask = false;
    if (!arena_use_allowed(h, r->npages)) {
        r->lent = false; /* those pages would not help */
        return ARENA_FULL;
    }
    if (r->npages < HEAP_CHUNK_PAGES &&
        (at = heap_fill_fullest(&a->fill, r->npages)) != HEAP_NO_PAGE)
        return arena_try_partial(h, r, at);
    /* One of them is taken now. */
    r->ask = !a->asked && heap_wanted_warm(a) &&
             (a->nwarm <= heap_wanted_warm(a) || a->nours - a->nwarm <= arena_wanted_grown(a) / 2);
    a->asked |= r->ask;
    if (k == 1 && (at = heap_bits_find(a->vacant_warm, a->top, 1)) != HEAP_NO_BIT)
        return arena_try_vacant(h, r, at, 1);
    if ((at = heap_bits_find(a->vacant_ours, a->top, k)) != HEAP_NO_BIT)
        return arena_try_vacant(h, r, at, k);
    if ((at = heap_bits_find(a->vacant, a->nchunks, k)) != HEAP_NO_BIT)
        return arena_claim(h, r, at, k);
    return ARENA_FULL;
}

/* ---- growing --------------------------------------------------------------------------------- */

static void arena_enter_new(struct heap_arena *a, size_t chunk, bool small)
{
    if (heap_bits_has(a->grown, chunk))
        return;
    heap_chunk_init(&a->fill.chunks[chunk]);
    heap_books_set_broken(a, &a->fill.chunks[chunk], small);
    heap_bits_put(a->grown, chunk, true);
    a->sys += HEAP_CHUNK_PAGES;
    a->released += HEAP_CHUNK_PAGES;
    if (chunk >= a->top)
        a->top = chunk + 1;
}

/* Back to where it was before the claim. */
static void arena_unclaim(struct heap_arena *a, size_t chunk)
{
    if (heap_bits_has(a->grown, chunk))
        heap_books_attach(a, chunk);
    else
        heap_bits_put(a->vacant, chunk, true);
}

/* Chunks [chunk, chunk + k), which are claimed; grown ones among them stay as they are. Without the
 * lock. */
static int arena_supply(tri_heap *h, size_t chunk, size_t k, bool small)
{
    char *p = arena_address(h, chunk * HEAP_CHUNK_PAGES);
    int e = os_commit(p, k * HEAP_CHUNK);
    if (e)
        return e;
    /* Without huge pages it works as well, only slower; with too many, as well, with longer waits. */
    if (small)
        (void)os_no_huge(p, k * HEAP_CHUNK);
    else
        (void)os_huge(p, k * HEAP_CHUNK);
    return 0;
}

/* What the system must supply of the claimed run: from the first chunk that is not grown to the last.
 * Under the lock, since others change their own bits of the same words. */
static void arena_missing(const struct heap_arena *a, const arena_request *r, size_t *first,
                          size_t *n)
{
    size_t end = r->chunk + r->nchunks;
    *first = heap_bits_next(a->grown, end, r->chunk, ~(uint64_t)0);
    while (end > *first && heap_bits_has(a->grown, end - 1))
        end--;
    *n = end - *first;
}

static void arena_settle(tri_heap *h, arena_request *r, bool supplied, bool supplied_extra)
{
    struct heap_arena *a = h->arena;
    a->claimed -= r->npages;
    a->claimed_held -= r->add_held;
    a->growing--;
    for (size_t i = r->chunk; supplied && i < r->chunk + r->nchunks; i++)
        arena_enter_new(a, i, r->small);
    for (size_t i = r->chunk + r->nchunks; i < r->chunk + r->nchunks + r->extra; i++) {
        if (supplied_extra)
            arena_enter_new(a, i, r->small);
        arena_unclaim(a, i);
    }
    if (supplied)
        arena_take_chunks(a, r, r->chunk, r->nchunks);
    for (size_t i = r->chunk; !supplied && i < r->chunk + r->nchunks; i++)
        arena_unclaim(a, i);
}

/* The second half of a growth. On failure the claim is undone. */
static bool arena_grow(tri_heap *h, arena_request *r, size_t first, size_t n)
{
    struct heap_arena *a = h->arena;
    bool with_extra = arena_supply(h, first, n + r->extra, r->small) == 0;
    bool supplied = with_extra || (r->extra && arena_supply(h, first, n, r->small) == 0);
    if (supplied)
        heap_annotate_free(a->valgrind, arena_address(h, first * HEAP_CHUNK_PAGES),
                           (n + (with_extra ? r->extra : 0)) * HEAP_CHUNK);
    int64_t waited = arena_lock(a);
    arena_settle(h, r, supplied, with_extra);
    arena_unlock(h, waited);
    return supplied;
}

bool heap_grow_ahead(tri_heap *h)
{
    struct heap_arena *a = h->arena;
    size_t least = arena_wanted_grown(a),
           chunk = heap_bits_first_without(a->vacant, a->grown, a->nchunks);
    if (!least || chunk == HEAP_NO_BIT || a->nours - a->nwarm > least / 2)
        return false;
    arena_request r = {.chunk = chunk, .small = true};
    for (size_t i = chunk; i < a->nchunks && r.extra < least; i++, r.extra++) {
        if (!heap_bits_has(a->vacant, i) || heap_bits_has(a->grown, i))
            break;
        heap_books_detach(a, i);
    }
    a->growing++;
    os_mutex_unlock(&a->lock);
    bool supplied = arena_supply(h, chunk, r.extra, true) == 0;
    if (supplied)
        heap_annotate_free(a->valgrind, arena_address(h, chunk * HEAP_CHUNK_PAGES),
                           r.extra * HEAP_CHUNK);
    os_mutex_lock(&a->lock);
    arena_settle(h, &r, false, supplied);
    return supplied;
}

/* ---- allocating and freeing ------------------------------------------------------------------ */

static size_t arena_hand_out(tri_heap *h, const arena_request *r, bool *zeroed)
{
    void *p = arena_address(h, r->page);
    /* Another thread may use the rest of a chunk already: advice is right at any time. */
    size_t chunk = r->page / HEAP_CHUNK_PAGES;
    size_t last = (r->page + r->npages - 1) / HEAP_CHUNK_PAGES;
    if (r->mend)
        (void)os_huge(arena_address(h, chunk * HEAP_CHUNK_PAGES),
                      (last + !r->part - chunk) * HEAP_CHUNK);
    if (r->tear)
        (void)os_no_huge(arena_address(h, last * HEAP_CHUNK_PAGES), HEAP_CHUNK);
    if (r->ask && h->hooks.cold)
        h->hooks.cold(h);
    heap_annotate_alloc(h->arena->valgrind, p, r->npages * HEAP_PAGE, r->zeroed);
    *zeroed = r->zeroed;
    return r->page;
}

/* Makes room below the hard limit, or waits for pages that the scavenger has. False: no use. */
static bool arena_make_room(tri_heap *h, const arena_request *r, arena_answer why)
{
    if (why == ARENA_HELD && heap_scavenge(h, r->excess * HEAP_PAGE))
        return true;
    if (r->lent) {
        os_mutex_lock(&h->arena->scavenging);
        os_mutex_unlock(&h->arena->scavenging);
    }
    return r->lent;
}

size_t heap_pages_alloc(tri_heap *h, size_t npages, bool *zeroed)
{
    TRI_ASSERT(npages > 0, "allocating no pages");
    if (npages > h->reserved / HEAP_PAGE)
        return HEAP_NO_PAGE;
    arena_request r = {.npages = npages};
    for (;;) {
        size_t first = 0, missing = 0;
        int64_t waited = arena_lock(h->arena);
        arena_answer answer = arena_try(h, &r);
        if (answer == ARENA_CLAIMED)
            arena_missing(h->arena, &r, &first, &missing);
        arena_unlock(h, waited);
        if (answer == ARENA_DONE)
            return arena_hand_out(h, &r, zeroed);
        if (answer == ARENA_CLAIMED)
            return arena_grow(h, &r, first, missing) ? arena_hand_out(h, &r, zeroed) : HEAP_NO_PAGE;
        if (!arena_make_room(h, &r, answer))
            return HEAP_NO_PAGE;
    }
}

/* The part of pages [first, end) that lies in the chunk of `first`. */
static size_t arena_piece(size_t first, size_t end)
{
    size_t rest = HEAP_CHUNK_PAGES - first % HEAP_CHUNK_PAGES;
    return end - first < rest ? end - first : rest;
}

void heap_pages_free(tri_heap *h, size_t first, size_t npages)
{
    struct heap_arena *a = h->arena;
    TRI_CHECK(npages && first < h->reserved / HEAP_PAGE &&
                  npages <= h->reserved / HEAP_PAGE - first,
              "freeing pages outside the heap");
    heap_annotate_poison(arena_address(h, first), npages * HEAP_PAGE);
    heap_annotate_free(a->valgrind, arena_address(h, first), npages * HEAP_PAGE);
    int64_t waited = arena_lock(a);
    for (size_t at = first, n; at < first + npages; at += n) {
        n = arena_piece(at, first + npages);
        size_t chunk = at / HEAP_CHUNK_PAGES;
        heap_books_detach(a, chunk);
        heap_chunk_give(&a->fill.chunks[chunk], at % HEAP_CHUNK_PAGES, n);
        heap_books_attach(a, chunk);
    }
    TRI_CHECK(a->inuse >= npages, "freeing more pages than are in use");
    a->inuse -= npages;
    arena_unlock(h, waited);
}

/* ---- fork ------------------------------------------------------------------------------------ */

void heap_arena_fork_prepare(tri_heap *h)
{
    struct heap_arena *a = h->arena;
    os_mutex_lock(&a->scavenging);
    os_mutex_lock(&a->lock);
    /* A growth under way would stay so for ever in the child. It needs no lock but ours to end. */
    while (a->growing) {
        os_mutex_unlock(&a->lock);
        os_yield();
        os_mutex_lock(&a->lock);
    }
}

void heap_arena_fork_done(tri_heap *h)
{
    os_mutex_unlock(&h->arena->lock);
    os_mutex_unlock(&h->arena->scavenging);
}

/* ---- opening and closing --------------------------------------------------------------------- */

static size_t arena_wanted(const tri_heap *h, bool valgrind)
{
    size_t want = h->options.barrier_check ? RESERVE_CHECKED : RESERVE_DEFAULT;
    if (h->options.reserve)
        want = h->options.reserve;
    size_t limit = os_address_limit();
    if (valgrind && want > RESERVE_VALGRIND)
        want = RESERVE_VALGRIND;
    /* Stacks, side tables and the program need address space, too. */
    if (limit != SIZE_MAX && want > limit / 2)
        want = limit / 2;
    if (want > SIZE_MAX / 4)
        want = SIZE_MAX / 4;
    want = (want + HEAP_CHUNK - 1) / HEAP_CHUNK * HEAP_CHUNK;
    return want ? want : HEAP_CHUNK;
}

/* Other heaps may have used up the address space, or a limit that we cannot see: half is better
 * than none, down to a size below which no heap is worth having, unless one was asked for. */
static int arena_reserve(tri_heap *h, bool valgrind)
{
    size_t want = arena_wanted(h, valgrind);
    size_t least = want < RESERVE_LEAST ? want : RESERVE_LEAST;
    for (; want >= least; want = want / 2 / HEAP_CHUNK * HEAP_CHUNK) {
        void *p = os_reserve(want, HEAP_CHUNK);
        if (!p)
            continue;
        h->base = (uintptr_t)p;
        h->reserved = want;
        return 0;
    }
    return -ENOMEM;
}

static size_t arena_words(const struct heap_arena *a)
{
    return (a->nchunks + 63) / 64;
}

/* The struct, followed by its four bitmaps. */
static struct heap_arena *arena_new(size_t nchunks)
{
    size_t words = (nchunks + 63) / 64;
    struct heap_arena *a = os_alloc(sizeof *a + 4 * words * sizeof(uint64_t));
    if (!a)
        return NULL;
    a->nchunks = nchunks;
    a->vacant = (uint64_t *)(a + 1);
    a->vacant_ours = a->vacant + words;
    a->vacant_warm = a->vacant_ours + words;
    a->grown = a->vacant_warm + words;
    heap_bits_set(a->vacant, 0, nchunks);
    a->release_grain = os_page_size() > HEAP_PAGE ? os_page_size() / HEAP_PAGE : 1;
    a->release_least = 2 * a->release_grain - 1;
    if (a->release_least < RELEASE_LEAST)
        a->release_least = RELEASE_LEAST;
    return a;
}

static void arena_delete(struct heap_arena *a)
{
    os_free(a, sizeof *a + 4 * arena_words(a) * sizeof(uint64_t));
}

int heap_arena_open(tri_heap *h)
{
    bool valgrind = heap_on_valgrind();
    int e = arena_reserve(h, valgrind);
    if (e)
        goto no_reservation;
    struct heap_arena *a = arena_new(h->reserved / HEAP_CHUNK);
    if (!a)
        goto no_arena;
    a->valgrind = valgrind;
    a->chunks_size = a->nchunks * sizeof(heap_chunk);
    a->chunks_size = (a->chunks_size + os_page_size() - 1) / os_page_size() * os_page_size();
    a->fill.chunks = os_reserve_rw(a->chunks_size, 0);
    if (!a->fill.chunks)
        goto no_chunks;
    h->arena = a;
    return 0;

no_chunks:
    arena_delete(a);
no_arena:
    os_unreserve((void *)h->base, h->reserved);
no_reservation:
    h->base = 0;
    h->reserved = 0;
    return -ENOMEM;
}

void heap_arena_close(tri_heap *h)
{
    struct heap_arena *a = h->arena;
    if (!a)
        return;
    heap_annotate_gone((void *)h->base, a->top * HEAP_CHUNK);
    os_unreserve((void *)h->base, h->reserved);
    os_unreserve(a->fill.chunks, a->chunks_size);
    arena_delete(a);
    h->arena = NULL;
    h->base = 0;
    h->reserved = 0;
}
