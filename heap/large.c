/* Large objects: more than 32 KiB, each in a span of its own.
 *
 * The difficulty is that they are large: zeroing a gigabyte takes a tenth of a second, in which the
 * mutator must stay at everyone's service. So the caller zeroes in pieces with safepoints between,
 * and nothing of the object exists for anybody else until it is published: the alloc bit is clear,
 * its state is that of no span, and the sweep does not see it. Writing the page entries (one per 8 KiB)
 * is spread over the pieces likewise. Publishing then takes the colour that the mutator has at that
 * moment, in one step with the alloc bit. Colouring at the beginning instead would let a cycle end
 * between, and the sweep of the next one find a black object that it takes for a marked one.
 *
 * A span that is given up before it was published cannot be freed at once: a marker may have looked up
 * a stale word that points into it, and its structure must not become another span under it. It goes
 * the way of garbage: into the set of its generation with its alloc bit clear, and the next sweep
 * frees it.
 *
 * Large spans of all types share one class, which only has sets (full ones).
 */
#include "heap/annotate.h"
#include "heap/mcentral.h"
#include "heap/span.h"
#include "heap/types.h"

#ifdef TRI_TORTURE
#define PIECE HEAP_PAGE
#else
#define PIECE ((size_t)128 << 10)
#endif

heap_span *heap_large_new(tri_heap *h, heap_layout *layout, size_t bytes)
{
    if (bytes > h->reserved)
        return NULL;
    return heap_span_new_large(heap_large_class(h), layout, bytes ? (bytes + 7) & ~(size_t)7 : 8);
}

bool heap_large_zero(heap_span *s, size_t *done)
{
    size_t left = s->npages * HEAP_PAGE - *done;
    size_t piece = left < PIECE ? left : PIECE;
    heap_check_poison((void *)(s->base + *done), piece);
    if (s->needzero)
        heap_zero((void *)(s->base + *done), piece);
    heap_span_enter(s->class->heap, s, *done >> HEAP_PAGE_SHIFT, piece >> HEAP_PAGE_SHIFT);
    *done += piece;
    return piece == left;
}

/* The span becomes one for everybody, in the hands of the sets. */
static void settle(heap_span *s, uint32_t gen)
{
    /* Release: pairs with whoever takes it out of its set. */
    atomic_store_explicit(&s->state, heap_state(gen, 0), memory_order_release);
    heap_span_place(s, true);
}

void *heap_large_publish(tri_heap *h, heap_cache *c, heap_span *s, heap_colour colour)
{
    TRI_ASSERT(s->class->heap == h && c->heap == h, "a large object of another heap");
    heap_large_tally *t = &heap_entry_of(s->layout)->large[s->layout->array];
    atomic_fetch_add_explicit(&t->mallocs, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&t->bytes, s->size, memory_order_relaxed);
    c->bytes_unflushed += s->size;
    s->needzero = true;
    s->live = 1;
    void *p = (void *)s->base;
    heap_run_publish(s, 0, 1, colour.black);
    settle(s, colour.gen);
    heap_cache_flush(c);
    return p;
}
