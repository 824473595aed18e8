/* Sweeping: alloc &= mark, mark = 0, for every span older than sweepgen, and giving back the pages of
 * those in which nothing lives.
 *
 * A sweep touches bitmaps and counters, never the objects (but for tools and the torture build), so a
 * span costs some ten nanoseconds, and the whole sweep is short beside the marking. It is done by
 * whoever comes first: a refill that wants the span, or the background through heap_sweep_some().
 *
 * All must be swept before the next cycle marks, or its marks would be swept away. How one knows: the
 * generation of a span never falls, and spans are born with sweepgen or more. So one walk over all
 * span numbers that meets no older span proves it. Held spans are swept where they are; an older span
 * that is not held lies in a set or is on its way into one, and the walk is begun again after the
 * sets.
 *
 * What becomes empty goes back to the page heap, but for a few MiB in each sweep that stay with their
 * class, if they were in use: a program that allocates fast takes the same number of spans again within
 * the next milliseconds, and to give up a span and to make one anew costs twice what sweeping it does. In the
 * next sweep those that nobody wanted go.
 *
 * Rejected: walking all numbers only, without sets, as the background's way (a refill must find
 * unswept spans of its class, and the walk could not take them out of its sets); walking the run
 * tables for held spans (their owners change them without a word).
 *
 * A held span has two parties at its alloc words: the sweeper, and its holder taking back reserved
 * slots when a run table is given up. Both only clear bits, by atomic AND. Its reserved slots
 * survive: they were reserved black, or are in a span that is young enough not to be swept.
 */
#include "heap/mcentral.h"
#include "heap/span.h"
#include "heap/types.h"
#include "os/delay.h"

/* ---- one span ------------------------------------------------------------------------------ */

/* Older than gen, nobody sweeping, held or not as asked: now SWEEPING. */
static bool claim(heap_span *s, uint32_t gen, uint32_t held)
{
    uint32_t state = atomic_load_explicit(&s->state, memory_order_relaxed);
    while (heap_state_gen(state) < gen && (state & (SPAN_HELD | SPAN_SWEEPING)) == held) {
        /* Acquire: the bitmaps as their last owner left them. */
        if (atomic_compare_exchange_weak_explicit(&s->state, &state, state | SPAN_SWEEPING,
                                                  memory_order_acq_rel, memory_order_relaxed))
            return true;
    }
    return false;
}

/* SWEEPING ends, and the span is of this generation, HELD if `hold` or if its holder still is.
 * Returns whether it is held. */
static bool finish(heap_span *s, uint32_t gen, bool hold)
{
    uint32_t state = atomic_load_explicit(&s->state, memory_order_relaxed);
    uint32_t next;
    do
        next = heap_state(gen, hold ? SPAN_HELD : state & SPAN_HELD);
    while (!atomic_compare_exchange_weak_explicit(&s->state, &state, next, memory_order_acq_rel,
                                                  memory_order_relaxed));
    return next & SPAN_HELD;
}

static void count_freed(heap_cell *cell, uint64_t objects, uint64_t bytes)
{
    atomic_fetch_add_explicit(&cell->frees, objects, memory_order_relaxed);
    atomic_fetch_add_explicit(&cell->freed_bytes, bytes, memory_order_relaxed);
}

static void count_mixed(tri_heap *h, const heap_span *s, uint32_t word, uint64_t freed)
{
    uint32_t size_class = (uint32_t)(s->class - h->central->classes);
    for (; freed; freed &= freed - 1) {
        heap_layout *l = heap_layout_of(h, s, word * 64 + (uint32_t)__builtin_ctzll(freed));
        uint32_t cell = heap_mixed_cell(heap_entry_of(l), l, size_class);
        count_freed(&h->types->cells[cell], 1, s->size);
    }
}

static void count_span(tri_heap *h, heap_span *s, uint32_t n)
{
    if (s->large) {
        heap_large_tally *t = &heap_entry_of(s->layout)->large[s->layout->array];
        atomic_fetch_add_explicit(&t->frees, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&t->freed_bytes, s->size, memory_order_relaxed);
    } else if (!s->class->mixed) {
        count_freed(&h->types->cells[s->class->cell], n, n * s->size);
    }
}

/* The span is SWEEPING by the caller. Returns the bytes freed. */
static uint64_t sweep_bits(tri_heap *h, heap_span *s)
{
    uint32_t freed = 0, live = 0;
    bool notes = heap_notes(h);
    for (uint32_t w = 0; w < s->nwords; w++) {
        uint64_t mark = __atomic_load_n(heap_mark_at(s, w), __ATOMIC_RELAXED);
        uint64_t alloc = __atomic_load_n(heap_alloc_at(s, w), __ATOMIC_RELAXED);
        uint64_t dead = alloc & ~mark;
        if (dead) {
            alloc = __atomic_fetch_and(heap_alloc_at(s, w), mark, __ATOMIC_RELAXED);
            dead = alloc & ~mark;
            freed += heap_popcount(dead);
            if (s->class->mixed)
                count_mixed(h, s, w, dead);
            if (notes)
                heap_note_freed(h, s, w, dead);
        }
        OS_DELAY("sweep.freed");
        live += heap_popcount(alloc & mark);
        __atomic_store_n(heap_mark_at(s, w), 0, __ATOMIC_RELAXED);
        __atomic_store_n(heap_scan_at(s, w), 0, __ATOMIC_RELAXED);
    }
    OS_DELAY("sweep.span");
    s->live = live;
    s->search = 0;
    s->needzero |= freed > 0;
    atomic_store_explicit(&s->large_pos, 0, memory_order_relaxed);
    if (freed)
        count_span(h, s, freed);
    return freed * (uint64_t)s->size;
}

/* Whether a span that has just become empty stays with its class. One that stayed empty for a whole cycle does
 * not: nobody wanted it. */
static bool keep(tri_heap *h, const heap_span *s, uint64_t freed)
{
    _Atomic int64_t *left = &h->central->keep;
    int64_t bytes = (int64_t)(s->npages * HEAP_PAGE);
    if (!freed || s->large || atomic_load_explicit(left, memory_order_relaxed) < bytes)
        return false;
    return atomic_fetch_sub_explicit(left, bytes, memory_order_relaxed) >= bytes;
}

/* An empty span goes back to the page heap while it still counts as being swept: pages must be gone
 * before the sweep is complete and the next cycle's markers look up words again. */
uint64_t heap_sweep_popped(tri_heap *h, heap_span *s, uint32_t gen, bool hold)
{
    bool claimed = claim(s, gen, 0);
    TRI_CHECK(claimed, "a span out of an unswept set belongs to somebody else");
    uint64_t bytes = sweep_bits(h, s);
    if (s->live == 0 && !hold && !keep(h, s, bytes))
        heap_span_free(h, s);
    else if (!finish(s, gen, hold))
        heap_span_place(s, s->live == s->nslots);
    return bytes;
}

/* A span that is held by the caller or another: -1 if it is not, or not old, or being swept. */
static int64_t sweep_held(tri_heap *h, heap_span *s, uint32_t gen)
{
    if (!claim(s, gen, SPAN_HELD))
        return -1;
    uint64_t bytes = sweep_bits(h, s);
    if (!finish(s, gen, false))
        heap_span_place(s, s->live == s->nslots);
    return (int64_t)bytes;
}

bool heap_sweep_held(tri_heap *h, heap_span *s)
{
    uint32_t gen =
        atomic_load_explicit(&h->sweepgen, memory_order_acquire); /* heap_sweep_begin() */
    int64_t bytes = sweep_held(h, s, gen);
    if (bytes > 0)
        heap_live_sub(h, (uint64_t)bytes);
    return bytes >= 0;
}

/* ---- all spans ----------------------------------------------------------------------------- */

bool heap_sweep_is_active(tri_heap *h)
{
    return atomic_load_explicit(&h->central->swept, memory_order_relaxed) !=
           atomic_load_explicit(&h->sweepgen, memory_order_relaxed);
}

void heap_sweep_keep(tri_heap *h, uint64_t bytes)
{
    atomic_store_explicit(&h->central->keep, (int64_t)bytes, memory_order_relaxed);
}

void heap_sweep_begin(tri_heap *h)
{
    struct heap_central *c = h->central;
    TRI_CHECK(!heap_sweep_is_active(h), "a sweep begins before the last one has ended");
    uint32_t gen = atomic_load_explicit(&h->sweepgen, memory_order_relaxed) + 1;
    atomic_store_explicit(&c->cursor, (uint64_t)gen << 32, memory_order_relaxed);
    /* Release: pairs with the acquire of refills and sweepers; the marks are complete. */
    atomic_store_explicit(&h->sweepgen, gen, memory_order_release);
}

/* An unswept span of the class under the cursor, which moves on past classes that have none. */
static heap_span *next_unswept(tri_heap *h, uint32_t gen)
{
    struct heap_central *c = h->central;
    for (;;) {
        uint64_t at = atomic_load_explicit(&c->cursor, memory_order_relaxed);
        if (at >> 32 != gen ||
            (uint32_t)at >= atomic_load_explicit(&c->nclasses, memory_order_acquire))
            return NULL;
        heap_class *class = &c->classes[(uint32_t)at];
        heap_span *s = heap_pop_unswept(class, gen, false);
        if (!s)
            s = heap_pop_unswept(class, gen, true);
        if (s)
            return s;
        atomic_compare_exchange_strong_explicit(&c->cursor, &at, at + 1, memory_order_relaxed,
                                                memory_order_relaxed);
    }
}

#define SWEEP_BATCH 128

/* Some at a time: their structures and bitmaps were last written by another processor, and are fetched side
 * by side. Last popped, first placed: what was used last comes out of a set first, and should be on top of the
 * next one, where its class finds it while it is still in a cache. A small heap would otherwise go round the same
 * memory in the same direction, and a cache that is smaller has always just dropped what comes next. Returns how many. */
static size_t sweep_batch(tri_heap *h, uint32_t gen, size_t most, uint64_t *bytes)
{
    heap_span *batch[SWEEP_BATCH];
    size_t n = 0;
    while (n < SWEEP_BATCH && n < most && (batch[n] = next_unswept(h, gen))) {
        __builtin_prefetch(batch[n]);
        n++;
    }
    for (size_t i = 0; i < n; i++)
        __builtin_prefetch(batch[i]->bits, 1);
    for (size_t i = n; i-- > 0;)
        *bytes += heap_sweep_popped(h, batch[i], gen, false);
    return n;
}

/* So many numbers looked at cost about what one span swept does. */
#ifdef TRI_TORTURE
#define NUMBERS_PER_SPAN 1
#else
#define NUMBERS_PER_SPAN 32
#endif

/* Looks at span number `id`; false if it is old and was not swept here. */
static bool visit(tri_heap *h, uint32_t id, uint32_t gen, size_t *n, uint64_t *bytes)
{
    heap_span *s = &h->spans[id];
    uint32_t state = atomic_load_explicit(&s->state, memory_order_acquire); /* as claim() */
    if (heap_state_gen(state) >= gen)
        return true;
    int64_t freed = sweep_held(h, s, gen);
    if (freed < 0)
        return false;
    ++*n;
    *bytes += (uint64_t)freed;
    return true;
}

/* The walk, under its lock. Returns what it did in units of spans; sets *busy if at its end it must
 * be begun again. */
static size_t walk(tri_heap *h, uint32_t gen, size_t budget, uint64_t *bytes, bool *busy)
{
    struct heap_central *c = h->central;
    if (c->walk_gen != gen) {
        c->walk_gen = gen;
        c->walk_at = 1;
        c->walk_again = false;
    }
    uint32_t looked = 0;
    size_t swept = 0;
    for (; c->walk_at < atomic_load_explicit(&h->span_limit, memory_order_acquire); c->walk_at++) {
        if (swept + looked / NUMBERS_PER_SPAN >= budget)
            return budget;
        if (!visit(h, c->walk_at, gen, &swept, bytes))
            c->walk_again = true;
        looked++;
    }
    if (c->walk_again) {
        *busy = true;
        c->walk_at = 1;
        c->walk_again = false;
        atomic_store_explicit(&c->cursor, (uint64_t)gen << 32, memory_order_relaxed);
    } else {
        /* Release: who sees the sweep complete sees its results. */
        atomic_store_explicit(&c->swept, gen, memory_order_release);
    }
    return swept;
}

size_t heap_sweep_some(tri_heap *h, size_t budget, bool *busy)
{
    struct heap_central *c = h->central;
    uint32_t gen =
        atomic_load_explicit(&h->sweepgen, memory_order_acquire); /* heap_sweep_begin() */
    *busy = false;
    if (atomic_load_explicit(&c->swept, memory_order_acquire) == gen) /* walk() */
        return 0;
    size_t n = 0;
    uint64_t bytes = 0;
    for (size_t k; n < budget && (k = sweep_batch(h, gen, budget - n, &bytes));)
        n += k;
    if (n < budget) {
        if (os_mutex_trylock(&c->walk_lock)) {
            n += walk(h, gen, budget - n, &bytes, busy);
            os_mutex_unlock(&c->walk_lock);
        } else {
            *busy = true;
        }
    }
    heap_live_sub(h, bytes);
    *busy = *busy && n == 0;
    return n;
}
