/* mcentral: the classes of spans, and the sets in which a class's spans wait until somebody needs
 * them.
 *
 * Each class has four sets: (parity of the generation) x (partial: has free slots; full). Spans of the
 * generation sweepgen have been swept, those of sweepgen - 1 have not, and so the increment of
 * sweepgen turns all swept sets into unswept ones at once. A span of generation sweepgen + 1, made by
 * a mutator that is past its own H5 while others are not, lies in the set that is unswept now
 * (and empty, since a cycle starts only when all is swept) and becomes swept with the
 * increment: just what it should be.
 *
 * The sets are lock-free stacks. Go uses arrays of blocks for the same purpose, since its spans cannot
 * be linked twice; a stack is smaller, and last in, first out suits warm caches.
 *
 * Who places. A span is in exactly one of four places: a run table HOLDs it; it is in one set, that
 * of its own generation's parity; it is in the hands of one thread on the way from one to the other;
 * or it is gone. SWEEPING says nothing about the place. A sweeper that walks the numbers therefore
 * claims only HELD spans; it cannot tell one that lies in a set from one in somebody's hands, and
 * leaves both: the former is found through its set. The holder who drops a span while it is being
 * swept leaves the placing to the sweeper, everyone else places what he has in his hands.
 *
 * Taking, cheapest first: a swept span with room, an unswept span that had room before the last
 * cycle, a few unswept full ones (some objects will have died), at last fresh pages. The
 * third may take an eighth of a mutator's time in vain: beside a large structure that lives most full spans still are, and
 * mutators that tried eight of them at each refill, every few microseconds, lost two thirds of a millisecond. The
 * background comes to them anyway.
 */
#include "heap/mcentral.h"

#include <errno.h>

#include "heap/numbers.h"
#include "heap/span.h"
#include "os/clock.h"
#include "os/memory.h"
#include "os/vm.h"

#define IN_VAIN_SHARE 8
#define IN_VAIN_MOST  10000 /* ns at a time */

/* ---- classes ------------------------------------------------------------------------------- */

static void shape(heap_class *c, size_t size)
{
    c->size = size;
    c->npages = size ? heap_span_pages(size) : 0;
    c->nslots = size ? (uint32_t)(c->npages * HEAP_PAGE / size) : 1;
    c->nwords = c->nslots / 64 + 1;
    c->magic = size ? heap_magic(size) : 0;
    c->record = HEAP_GROUP * c->nwords + (c->mixed ? (c->nslots + 1) / 2 : 0);
    TRI_ASSERT(c->nwords <= HEAP_GROUPS_MAX, "a span has more slots than a page of the smallest");
    TRI_ASSERT(c->record <= HEAP_RECORD_MAX, "a bitmap record is larger than any free list");
}

int heap_central_open(tri_heap *h)
{
    struct heap_central *c = os_alloc(sizeof *c);
    if (!c)
        return -ENOMEM;
    c->classes = os_reserve_rw(HEAP_CLASSES_MAX * sizeof(heap_class), 0);
    if (!c->classes) {
        os_free(c, sizeof *c);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < HEAP_SIZE_CLASSES; i++) {
        c->classes[i].heap = h;
        c->classes[i].mixed = i > 0;
        shape(&c->classes[i], heap_class_sizes[i]);
    }
    atomic_store_explicit(&c->nclasses, HEAP_SIZE_CLASSES, memory_order_relaxed);
    atomic_store_explicit(&h->sweepgen, 1, memory_order_relaxed);
    atomic_store_explicit(&c->swept, 1, memory_order_relaxed);
    h->central = c;
    return 0;
}

void heap_central_close(tri_heap *h)
{
    os_unreserve(h->central->classes, HEAP_CLASSES_MAX * sizeof(heap_class));
    os_free(h->central, sizeof *h->central);
    h->central = NULL;
}

heap_class *heap_class_new(tri_heap *h, uint32_t cell, heap_layout *layout, size_t size)
{
    struct heap_central *central = h->central;
    uint32_t i = atomic_load_explicit(&central->nclasses, memory_order_relaxed);
    if (i == HEAP_CLASSES_MAX)
        return NULL;
    heap_class *c = &central->classes[i];
    c->heap = h;
    c->layout = layout;
    c->cell = cell;
    shape(c, size);
    /* Release: pairs with the acquire of sweepers, who go through all classes. */
    atomic_store_explicit(&central->nclasses, i + 1, memory_order_release);
    return c;
}

/* ---- sets ---------------------------------------------------------------------------------- */

static heap_span *span_of_link(void **link)
{
    return link ? (heap_span *)(void *)((char *)link - offsetof(heap_span, link)) : NULL;
}

void heap_span_place(heap_span *s, bool full)
{
    uint32_t state = atomic_load_explicit(&s->state, memory_order_relaxed);
    TRI_ASSERT(!(state & (SPAN_HELD | SPAN_SWEEPING)),
               "putting a span into a set that has an owner");
    heap_stack_push(&s->class->sets[heap_state_gen(state) & 1][full], s->link);
}

void heap_span_drop(heap_span *s, bool full)
{
    /* Release: hands the bitmaps on; acquire: if we meet the sweeper's result, we see it whole. */
    uint32_t was = atomic_fetch_and_explicit(&s->state, ~SPAN_HELD, memory_order_acq_rel);
    TRI_ASSERT(was & SPAN_HELD, "dropping a span that nobody holds");
    if (!(was & SPAN_SWEEPING))
        heap_span_place(s, full);
}

heap_span *heap_pop_unswept(heap_class *class, uint32_t gen, bool full)
{
    heap_stack *set = &class->sets[(gen - 1) & 1][full];
    if (heap_stack_is_empty(set))
        return NULL;
    heap_span *s = span_of_link(heap_stack_pop(set));
    if (!s)
        return NULL;
    /* A sweeper that is late by a whole cycle finds the next generation in this set. */
    if (heap_state_gen(atomic_load_explicit(&s->state, memory_order_acquire)) < gen)
        return s;
    heap_span_place(s, full);
    return NULL;
}

/* A swept span with room, now held; or NULL. */
static heap_span *take_swept(heap_class *class, uint32_t gen)
{
    heap_stack *set = &class->sets[gen & 1][0];
    if (heap_stack_is_empty(set))
        return NULL;
    heap_span *s = span_of_link(heap_stack_pop(set));
    if (!s)
        return NULL;
    /* Acquire: pairs with the release of whoever had the span before. */
    uint32_t was = atomic_fetch_or_explicit(&s->state, SPAN_HELD, memory_order_acq_rel);
    TRI_ASSERT(was == heap_state(gen, 0), "a swept set holds a span that is not swept");
    (void)was;
    return s;
}

/* Swept and held by the caller if it has room. */
static bool sweep_for_room(heap_span *s, uint32_t gen, heap_refill *r)
{
    heap_note_sweep(r);
    heap_live_sub(s->class->heap, heap_sweep_popped(s->class->heap, s, gen, true));
    if (s->live < s->nslots)
        return true;
    heap_span_drop(s, true);
    return false;
}

/* An unswept span that turns out to have room, now swept and held; or NULL. */
static heap_span *take_unswept(heap_class *class, uint32_t gen, heap_refill *r)
{
    heap_span *s;
    while ((s = heap_pop_unswept(class, gen, false)))
        if (sweep_for_room(s, gen, r))
            return s;
    int64_t at = os_now(), own = (at - r->since) / IN_VAIN_SHARE;
    r->since = at;
    r->credit = r->credit + own < IN_VAIN_MOST ? r->credit + own : IN_VAIN_MOST;
    while (r->credit > 0 && (s = heap_pop_unswept(class, gen, true))) {
        if (sweep_for_room(s, gen, r))
            return s;
        int64_t now = os_now();
        r->credit -= now - at;
        at = now;
    }
    return NULL;
}

heap_span *heap_class_take(heap_class *class, heap_colour colour, heap_refill *r)
{
    tri_heap *h = class->heap;
    /* Acquire: pairs with heap_sweep_begin(). While it equals the mutator's generation it cannot
     * change before the mutator acknowledges again, which is not within this call. */
    uint32_t gen = atomic_load_explicit(&h->sweepgen, memory_order_acquire);
    if (gen == colour.gen) {
        heap_span *s = take_swept(class, gen);
        if (!s && heap_sweep_is_active(h))
            s = take_unswept(class, gen, r);
        if (s)
            return s;
    }
    if (r->start)
        r->end = os_now();
    return heap_span_new(class, colour.gen);
}
