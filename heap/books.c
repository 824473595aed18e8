/* Reading the page allocator's books, and checking that they agree.
 *
 * The counts that are read often are kept, not computed: a walk over all chunks under the lock would
 * make every allocation wait for a statistics call. What is kept can be wrong, so a check
 * walks the chunks and compares. It runs where nothing is under way (as before a fork): with pages on loan
 * or chunks claimed, the sums would differ by them, and a check that allows for that finds less.
 *
 * What the heap held at the end of a marking is remembered here, too: a reading tells it together with the
 * counts of the same moment, so it is under the same lock. */
#include "heap/books.h"

#include "heap/arena.h"
#include "heap/scavenger.h"
#include "os/clock.h"

void heap_arena_read(tri_heap *h, heap_arena_stats *out)
{
    struct heap_arena *a = h->arena;
    os_mutex_lock(&a->lock);
    out->sys = (uint64_t)a->sys * HEAP_PAGE;
    out->inuse = (uint64_t)a->inuse * HEAP_PAGE;
    out->released = (uint64_t)a->released * HEAP_PAGE;
    out->ahead = (uint64_t)heap_wanted_warm(a) * HEAP_CHUNK;
    out->last_goal = a->last_goal;
    out->last_inuse = heap_scavenge_recent(a->peak_inuse, a->last_inuse, os_now() - a->peak_at);
    os_mutex_unlock(&a->lock);
    out->idle = out->sys - out->inuse;
}

void heap_arena_note_cycle(tri_heap *h, uint64_t goal)
{
    struct heap_arena *a = h->arena;
    os_mutex_lock(&a->lock);
    a->last_goal = goal;
    uint64_t inuse = (uint64_t)a->inuse * HEAP_PAGE;
    int64_t now = os_now();
    uint64_t recent = heap_scavenge_recent(a->peak_inuse, a->last_inuse, now - a->peak_at);
    a->peak_inuse = inuse > recent ? inuse : recent;
    a->peak_at = now;
    a->last_inuse = inuse;
    os_mutex_unlock(&a->lock);
}

static void books_check_chunk(const struct heap_arena *a, size_t i, size_t *free, size_t *released)
{
    const heap_chunk *c = &a->fill.chunks[i];
    bool vacant = c->nfree == HEAP_CHUNK_PAGES;
    heap_chunk_check(c);
    for (size_t w = 0; w < HEAP_CHUNK_WORDS; w++)
        TRI_CHECK(!(c->released[w] & ~c->free[w]), "a page is in use and released");
    TRI_CHECK(c->filed == (c->nfree && !vacant), "a chunk is not filed as its free pages demand");
    TRI_CHECK(heap_bits_has(a->vacant, i) == vacant && heap_bits_has(a->vacant_ours, i) == vacant,
              "a chunk is not listed as vacant exactly when all of it is free");
    TRI_CHECK(heap_bits_has(a->vacant_warm, i) == (vacant && c->nreleased < HEAP_CHUNK_PAGES),
              "a chunk is not listed as warm exactly when a part of it is not released");
    *free += c->nfree;
    *released += c->nreleased;
}

void heap_arena_check(tri_heap *h)
{
    heap_arena_fork_prepare(h); /* nothing under way: the books must agree */
    struct heap_arena *a = h->arena;
    size_t grown = 0, free = 0, released = 0, broken = 0, ours = 0, warm = 0;
    for (size_t i = 0; i < a->nchunks; i++) {
        if (!heap_bits_has(a->grown, i)) {
            TRI_CHECK(heap_bits_has(a->vacant, i), "a chunk is neither grown nor vacant");
            continue;
        }
        grown++;
        TRI_CHECK(i < a->top, "a chunk above the top is grown");
        books_check_chunk(a, i, &free, &released);
        broken += a->fill.chunks[i].broken;
        ours += heap_bits_has(a->vacant_ours, i);
        warm += heap_bits_has(a->vacant_warm, i);
    }
    TRI_CHECK(a->sys == grown * HEAP_CHUNK_PAGES, "sys differs from the grown chunks");
    TRI_CHECK(a->inuse == a->sys - free, "inuse differs from the pages that are not free");
    TRI_CHECK(a->released == released, "released differs from the released pages");
    TRI_CHECK(a->broken == broken && a->nours == ours && a->nwarm == warm,
              "a count of chunks differs from the chunks");
    TRI_CHECK(!a->claimed && !a->claimed_held && !a->lent, "claims are left over");
    heap_arena_fork_done(h);
}
