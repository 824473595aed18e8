/* Spans: numbered structures, their bitmap records, their page entries.
 *
 * Three things are needed for a span besides its pages: a structure, a number that fits into the page
 * table, and bitmaps. All three come from reservations of the heap's own and are recycled, never
 * unmapped, because of readers that nobody waits for: a lock-free stack's popper reads the link of a
 * structure that was taken away under it, and a lookup of a word that is no reference may look at a
 * span that is just being made. Such readers get nonsense, which their own checks discard, but no
 * fault.
 *
 * Rejected: bitmaps inside the span's pages (one offset in each 8 KiB page falls into the same few
 * cache sets, and the sweep would touch the pages), bitmaps of a fixed size (a span of 4 slots would
 * carry those of 1,024), and malloc() for the structures (no type-stable memory).
 *
 * Bitmap records have the exact size their class needs and are kept by size when free, without
 * merging; there are few sizes, and what one class no longer needs another of the same size takes.
 *
 * Invariants:
 *   a page entry is written last, with release, when a span is made, and cleared first when it is
 *   unmade;
 *   a structure that is no span has state SPAN_NONE, from before its number lies below span_limit.
 */
#include "heap/span.h"

#include <errno.h>
#include <string.h>

#include "heap/annotate.h"
#include "heap/arena.h"
#include "heap/mcentral.h"
#include "heap/numbers.h"
#include "os/memory.h"
#include "os/vm.h"

/* ---- numbers and records ------------------------------------------------------------------ */

#define BITS_MAX_BYTES ((uint64_t)1 << 35) /* what 32 bits of 8-byte words reach */
#define BITS_MIN_BYTES ((uint64_t)1 << 20)

static uint64_t bits_bytes(const tri_heap *h)
{
    uint64_t bytes = h->reserved / 16;
    if (bytes < BITS_MIN_BYTES)
        bytes = BITS_MIN_BYTES;
    return bytes < BITS_MAX_BYTES ? bytes : BITS_MAX_BYTES;
}

int heap_numbers_open(tri_heap *h)
{
    struct heap_numbers *n = os_alloc(sizeof *n);
    if (!n)
        return -ENOMEM;
    n->valgrind = heap_on_valgrind();
    n->max = (uint32_t)(h->reserved >> HEAP_PAGE_SHIFT) + 1;
    n->bits_max = bits_bytes(h) / 8;
    n->bits_next = 8;
    n->next = 1;
    h->numbers = n;
    h->spans = os_reserve_rw(n->max * sizeof(heap_span), 0);
    h->bits = os_reserve_rw(n->bits_max * 8, 0);
    atomic_store_explicit(&h->span_limit, 1, memory_order_relaxed);
    if (h->spans && h->bits)
        return 0;
    heap_numbers_close(h);
    return -ENOMEM;
}

void heap_numbers_close(tri_heap *h)
{
    struct heap_numbers *n = h->numbers;
    if (h->bits)
        os_unreserve(h->bits, n->bits_max * 8);
    if (h->spans)
        os_unreserve(h->spans, n->max * sizeof(heap_span));
    os_free(n, sizeof *n);
    h->bits = NULL;
    h->spans = NULL;
    h->numbers = NULL;
}

static uint64_t *record_at(const tri_heap *h, uint64_t at)
{
    return (uint64_t *)(void *)(h->bits + 8 * at);
}

/* 0: there are none left. Under the lock. */
static uint64_t take_record(tri_heap *h, uint32_t words)
{
    struct heap_numbers *n = h->numbers;
    uint64_t at = n->free_records[words];
    if (at) {
        n->free_records[words] = (uint32_t)record_at(h, at)[words - 1];
        return at;
    }
    if (n->bits_next + words > n->bits_max)
        return 0;
    at = n->bits_next;
    n->bits_next += words;
    return at;
}

static void give_record(tri_heap *h, uint64_t at, uint32_t words)
{
    struct heap_numbers *n = h->numbers;
    record_at(h, at)[words - 1] = n->free_records[words];
    n->free_records[words] = (uint32_t)at;
}

static uint32_t take_number(tri_heap *h)
{
    struct heap_numbers *n = h->numbers;
    uint32_t id = n->free;
    if (id) {
        n->free = h->spans[id].first;
    } else {
        if (n->next == n->max)
            return 0;
        id = n->next++;
        atomic_store_explicit(&h->spans[id].state, SPAN_NONE, memory_order_relaxed);
        /* Release: pairs with the acquire of those who walk the numbers. */
        atomic_store_explicit(&h->span_limit, n->next, memory_order_release);
    }
    n->inuse++;
    return id;
}

/* A structure with its number and a zeroed record of so many words; NULL if either is used up. */
static heap_span *take_struct(tri_heap *h, uint32_t words)
{
    struct heap_numbers *n = h->numbers;
    os_mutex_lock(&n->lock);
    uint64_t record = take_record(h, words);
    uint32_t id = record ? take_number(h) : 0;
    if (record && !id)
        give_record(h, record, words);
    os_mutex_unlock(&n->lock);
    if (!id)
        return NULL;
    heap_span *s = &h->spans[id];
    s->id = id;
    s->bits = record_at(h, record);
    memset(s->bits, 0, 8 * (size_t)words);
    return s;
}

static void give_struct(tri_heap *h, heap_span *s, uint32_t words)
{
    struct heap_numbers *n = h->numbers;
    /* Release: whoever makes it a span again comes through the lock, walkers come through here. */
    atomic_store_explicit(&s->state, SPAN_NONE, memory_order_release);
    os_mutex_lock(&n->lock);
    give_record(h, (uint64_t)((uint8_t *)s->bits - h->bits) / 8, words);
    s->first = n->free;
    n->free = s->id;
    n->inuse--;
    os_mutex_unlock(&n->lock);
}

void heap_numbers_read(tri_heap *h, heap_numbers_stats *out)
{
    struct heap_numbers *n = h->numbers;
    os_mutex_lock(&n->lock);
    out->span_sys = (uint64_t)n->next * sizeof(heap_span);
    out->span_inuse = (uint64_t)n->inuse * sizeof(heap_span);
    out->meta_sys = n->bits_next * 8;
    os_mutex_unlock(&n->lock);
}

/* ---- spans --------------------------------------------------------------------------------- */

/* Fills in everything but size and state; `link` and `grey_next` stay as they are: slow poppers may
 * be reading the former. */
static heap_span *make(heap_class *class, uint32_t npages)
{
    tri_heap *h = class->heap;
    bool zeroed = false;
    size_t first = heap_pages_alloc(h, npages, &zeroed);
    if (first == HEAP_NO_PAGE)
        return NULL;
    heap_span *s = take_struct(h, class->record);
    if (!s) {
        heap_pages_free(h, first, npages);
        return NULL;
    }
    s->base = h->base + (first << HEAP_PAGE_SHIFT);
    s->first = (uint32_t)first;
    s->npages = npages;
    s->nslots = class->nslots;
    s->nwords = class->nwords;
    s->magic = class->magic;
    s->layout = class->layout;
    s->noscan = class->layout && class->layout->noscan;
    s->slot_layouts =
        class->mixed ? (uint32_t *)(void *)(s->bits + (size_t)HEAP_GROUP * s->nwords) : NULL;
    s->class = class;
    s->search = 0;
    s->live = 0;
    s->needzero = !zeroed;
    s->large = class->size == 0;
    atomic_store_explicit(&s->large_pos, 0, memory_order_relaxed);
    atomic_store_explicit(&s->queued, 0, memory_order_relaxed);
    atomic_fetch_add_explicit(&class->spans, 1, memory_order_relaxed);
    return s;
}

heap_span *heap_span_new(heap_class *class, uint32_t gen)
{
    heap_span *s = make(class, class->npages);
    if (!s)
        return NULL;
    s->size = class->size;
    heap_annotate_free(class->heap->numbers->valgrind, (void *)s->base, s->npages * HEAP_PAGE);
    /* Release: pairs with the acquire of whoever changes the state next. */
    atomic_store_explicit(&s->state, heap_state(gen, SPAN_HELD), memory_order_release);
    heap_span_enter(class->heap, s, 0, s->npages);
    return s;
}

heap_span *heap_span_new_large(heap_class *class, heap_layout *layout, size_t size)
{
    size_t npages = (size + HEAP_PAGE - 1) >> HEAP_PAGE_SHIFT;
    if (npages > class->heap->reserved >> HEAP_PAGE_SHIFT)
        return NULL;
    heap_span *s = make(class, (uint32_t)npages);
    if (!s)
        return NULL;
    s->size = size;
    s->layout = layout;
    s->noscan = layout->noscan;
    return s;
}

void heap_span_enter(tri_heap *h, heap_span *s, size_t from, size_t n)
{
    heap_page *p = &h->pages[s->first + from];
    for (heap_page *end = p + n; p < end; p++) {
        p->first = s->first;
        p->magic = s->magic;
        p->bits = (uint32_t)((uint64_t)((uint8_t *)s->bits - h->bits) / 8);
        /* Release: pairs with heap_span_at(). */
        atomic_store_explicit(&p->span, s->id, memory_order_release);
    }
}

void heap_span_free(tri_heap *h, heap_span *s)
{
    heap_class *class = s->class;
    size_t first = s->first, npages = s->npages;
    for (size_t i = first; i < first + npages; i++)
        atomic_store_explicit(&h->pages[i].span, 0, memory_order_relaxed);
    atomic_fetch_sub_explicit(&class->spans, 1, memory_order_relaxed);
    give_struct(h, s, class->record);
    heap_pages_free(h, first, npages);
}
