/* After a fork: the child's heap is brought into the state between two cycles.
 *
 * The threads that are gone had no lock (heap_fork_prepare() saw to that), but they may have been in
 * the middle of anything that needs none: a span popped off a set, half swept, made and not yet in
 * the page table, held by a run table whose run is half written. The child has one thread, so what
 * each span's place is can simply be decided anew: nobody holds any, all count as swept, none is marked,
 * and the sets are filled from the list of numbers.
 *
 * What was garbage at the fork stays allocated until the next cycle finds that nothing refers to it;
 * half a sweep could not be completed, since the marks of the half that was done are gone. Structures
 * that were being made (SPAN_NONE) and pages on their way back are lost to the child.
 *
 * Rejected: to let the forking thread wait until nobody is in the heap; fork() would wait for every
 * thread to reach a safepoint.
 */
#include <string.h>

#include "heap/mcache.h"
#include "heap/mcentral.h"
#include "heap/span.h"

static void settle_caches(tri_heap *h, bool (*mine)(void *owner))
{
    heap_cache **at = &h->caches;
    while (*at) {
        heap_cache *c = *at;
        void *owner = atomic_load_explicit(&c->owner, memory_order_relaxed);
        if (owner == HEAP_COLLECTOR)
            atomic_store_explicit(&c->owner, owner = NULL, memory_order_relaxed);
        if (owner && !mine(owner)) {
            heap_cache_abandon(c);
            *at = c->next;
        } else {
            heap_cache_retire_all(c);
            at = &c->next;
        }
    }
}

static void settle_span(tri_heap *h, heap_span *s, uint32_t gen)
{
    uint32_t live = 0;
    for (uint32_t w = 0; w < s->nwords; w++) {
        *heap_mark_at(s, w) = 0;
        *heap_scan_at(s, w) = 0;
        live += heap_popcount(*heap_alloc_at(s, w));
    }
    s->live = live;
    s->search = 0;
    s->needzero = true;
    atomic_store_explicit(&s->queued, 0, memory_order_relaxed);
    atomic_store_explicit(&s->large_pos, 0, memory_order_relaxed);
    atomic_store_explicit(&s->state, heap_state(gen, 0), memory_order_relaxed);
    heap_span_enter(h, s, 0, s->npages);
    heap_span_place(s, live == s->nslots);
}

void heap_restart(tri_heap *h, uint32_t gen, bool (*mine)(void *owner))
{
    struct heap_central *c = h->central;
    settle_caches(h, mine);
    for (uint32_t i = 0; i < atomic_load_explicit(&c->nclasses, memory_order_relaxed); i++)
        memset(c->classes[i].sets, 0, sizeof c->classes[i].sets);
    uint32_t limit = atomic_load_explicit(&h->span_limit, memory_order_relaxed);
    for (uint32_t id = 1; id < limit; id++)
        if (atomic_load_explicit(&h->spans[id].state, memory_order_relaxed) != SPAN_NONE)
            settle_span(h, &h->spans[id], gen);
    atomic_store_explicit(&h->grey, NULL, memory_order_relaxed);
    atomic_store_explicit(&c->swept, gen, memory_order_relaxed);
    atomic_store_explicit(&h->sweepgen, gen, memory_order_relaxed);
}
