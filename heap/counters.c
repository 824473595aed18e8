/* Counters: what the heap holds, by type, by size, and in all.
 *
 * Two readers want different things. The pacer wants to know at any moment, cheaply, how much was
 * allocated since the last cycle: heap->live, to which caches add in batches of 16 KiB and from which
 * sweeping subtracts. People want exact numbers, seldom: those are gathered here, cell by cell.
 *
 * An allocation counts nothing. A refill counts the slots it reserves, in its cache's own memory
 * (one writer, no locked instruction); a cache that ends adds its counts to the cell's. What a
 * reader finds reserved, less what lies unissued in the runs, is what was allocated. Runs are read
 * while their owners change them, so the difference can be off by a run while threads allocate, and is
 * exact when they do not.
 *
 * Frees are counted by sweeps, later than the allocation in any case; they are read first, so that a
 * cell never shows more frees than mallocs for that reason, and are clamped for the other.
 */
#include "heap/arena.h"
#include "heap/mcache.h"
#include "heap/mcentral.h"
#include "heap/span.h"
#include "heap/types.h"

/* ---- live ---------------------------------------------------------------------------------- */

void heap_live_add(tri_heap *h, uint64_t bytes)
{
    uint64_t live = atomic_fetch_add_explicit(&h->live, bytes, memory_order_relaxed) + bytes;
    if (live >= atomic_load_explicit(&h->trigger, memory_order_relaxed) && h->hooks.trigger)
        h->hooks.trigger(h);
}

/* Not below 0: bytes may be freed before their cache has added them. */
void heap_live_sub(tri_heap *h, uint64_t bytes)
{
    uint64_t live = atomic_load_explicit(&h->live, memory_order_relaxed);
    while (bytes &&
           !atomic_compare_exchange_weak_explicit(&h->live, &live, live > bytes ? live - bytes : 0,
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}

/* ---- one cell ------------------------------------------------------------------------------ */

typedef struct tally {
    uint64_t mallocs, bytes, frees, freed_bytes;
} tally;

/* Slots of a run that were not issued, as far as one can tell while its owner changes it. */
#if TRI_TSAN
__attribute__((no_sanitize("thread")))
#endif
static uint64_t
unissued(const tri_slots *run, uint64_t *bytes)
{
    const volatile tri_slots *r = run;
    uintptr_t cur = r->cur, end = r->end;
    size_t size = r->size;
    if (!size || end <= cur || end - cur > HEAP_SPAN_PAGES_MAX * HEAP_PAGE)
        return 0;
    *bytes += end - cur;
    return (end - cur) / size;
}

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* Under caches_lock. */
static void add_cell(tri_heap *h, uint32_t number, tally *out)
{
    heap_cell *cell = &h->types->cells[number];
    uint64_t frees = atomic_load_explicit(&cell->frees, memory_order_relaxed);
    uint64_t freed_bytes = atomic_load_explicit(&cell->freed_bytes, memory_order_relaxed);
    uint64_t mallocs = atomic_load_explicit(&cell->mallocs, memory_order_relaxed);
    uint64_t bytes = atomic_load_explicit(&cell->bytes, memory_order_relaxed);
    uint64_t waiting = 0, waiting_bytes = 0;
    for (heap_cache *c = h->caches; c; c = c->next) {
        heap_cache_count *count = &((heap_cache_private *)c->private_)->counts[number];
        mallocs += atomic_load_explicit(&count->objects, memory_order_relaxed);
        bytes += atomic_load_explicit(&count->bytes, memory_order_relaxed);
        for (int i = 0; i < 2; i++)
            waiting += unissued(&c->tables[i].runs[number], &waiting_bytes);
    }
    mallocs = less(mallocs, waiting);
    bytes = less(bytes, waiting_bytes);
    out->mallocs += mallocs;
    out->bytes += bytes;
    out->frees += frees < mallocs ? frees : mallocs;
    out->freed_bytes += freed_bytes < bytes ? freed_bytes : bytes;
}

static void add_large(heap_large_tally *t, tally *out)
{
    uint64_t frees = atomic_load_explicit(&t->frees, memory_order_acquire);
    uint64_t freed_bytes = atomic_load_explicit(&t->freed_bytes, memory_order_acquire);
    out->mallocs += atomic_load_explicit(&t->mallocs, memory_order_relaxed);
    out->bytes += atomic_load_explicit(&t->bytes, memory_order_relaxed);
    out->frees += frees;
    out->freed_bytes += freed_bytes;
}

/* ---- by type ------------------------------------------------------------------------------- */

static uint64_t own_spans(tri_heap *h, uint32_t number)
{
    heap_class *class = atomic_load_explicit(&h->types->cells[number].class, memory_order_acquire);
    return class && class->cell == number
               ? atomic_load_explicit(&class->spans, memory_order_relaxed)
               : 0;
}

static heap_type_stats layout_stats(tri_heap *h, heap_type_entry *e, bool array)
{
    tally sum = {0};
    uint64_t spans = 0;
    add_large(&e->large[array], &sum);
    spans += less(sum.mallocs, sum.frees);
    os_mutex_lock(&h->caches_lock);
    heap_cell_block *b = atomic_load_explicit(&e->blocks, memory_order_acquire); /* add_block() */
    for (; b; b = b->next) {
        for (uint32_t i = b->first; b->array == array && i < b->first + b->count; i++) {
            add_cell(h, i, &sum);
            spans += own_spans(h, i);
        }
    }
    os_mutex_unlock(&h->caches_lock);
    return (heap_type_stats){&e->layouts[array], sum.mallocs,     sum.frees,
                             sum.bytes,          sum.freed_bytes, spans};
}

void heap_each_type(tri_heap *h, bool (*fn)(void *arg, const heap_type_stats *), void *arg)
{
    heap_type_entry *e = atomic_load_explicit(&h->types->first, memory_order_acquire);
    for (; e; e = e->next) { /* acquire above pairs with the registry's release */
        for (int array = 0; array < 2; array++) {
            heap_type_stats stats = layout_stats(h, e, array);
            if (!fn(arg, &stats))
                return;
        }
    }
}

/* ---- by size, and in all ------------------------------------------------------------------- */

size_t heap_read_sizes(tri_heap *h, heap_size_stats *out, size_t n)
{
    tally sums[HEAP_SIZE_CLASSES] = {0};
    uint32_t limit = heap_cell_limit();
    os_mutex_lock(&h->caches_lock);
    for (uint32_t i = 1; i < limit; i++) {
        heap_cell *cell = &h->types->cells[i];
        /* Acquire: pairs with the registration of the cell. */
        if (atomic_load_explicit(&cell->class, memory_order_acquire))
            add_cell(h, i, &sums[cell->size_class]);
    }
    os_mutex_unlock(&h->caches_lock);
    if (n > HEAP_SIZE_CLASSES)
        n = HEAP_SIZE_CLASSES;
    for (size_t i = 0; i < n; i++)
        out[i] = (heap_size_stats){heap_class_sizes[i], sums[i].mallocs, sums[i].frees};
    return n;
}

/* Run tables and counts are touched up to the highest cell. */
static uint64_t cache_bytes(uint32_t limit)
{
    return sizeof(heap_cache) + sizeof(heap_cache_private) +
           limit * (2 * (sizeof(tri_slots) + sizeof(uint32_t)) + sizeof(heap_cache_count));
}

static void read_objects(tri_heap *h, heap_totals *out)
{
    tally sum = {0};
    uint32_t limit = heap_cell_limit();
    heap_type_entry *e = atomic_load_explicit(&h->types->first, memory_order_acquire);
    for (; e; e = e->next) { /* acquire above pairs with the registry's release */
        add_large(&e->large[0], &sum);
        add_large(&e->large[1], &sum);
    }
    os_mutex_lock(&h->caches_lock);
    for (uint32_t i = 1; i < limit; i++)
        if (atomic_load_explicit(&h->types->cells[i].class, memory_order_acquire)) /* open_cell() */
            add_cell(h, i, &sum);
    for (heap_cache *c = h->caches; c; c = c->next)
        out->cache_sys += cache_bytes(limit);
    os_mutex_unlock(&h->caches_lock);
    out->cache_inuse = out->cache_sys;
    out->mallocs = sum.mallocs;
    out->frees = sum.frees;
    out->total_alloc = sum.bytes;
    out->total_freed = sum.freed_bytes;
}

void heap_read_totals(tri_heap *h, heap_totals *out)
{
    *out = (heap_totals){0};
    read_objects(h, out);
    heap_arena_stats arena;
    heap_arena_read(h, &arena);
    out->heap_sys = arena.sys;
    out->heap_idle = arena.idle;
    out->heap_inuse = arena.inuse;
    out->heap_released = arena.released;
    heap_numbers_stats numbers;
    heap_numbers_read(h, &numbers);
    out->span_sys = numbers.span_sys;
    out->span_inuse = numbers.span_inuse;
    out->meta_sys = numbers.meta_sys + arena.sys / HEAP_PAGE * sizeof(heap_page);
    out->other_sys =
        atomic_load_explicit(&h->central->nclasses, memory_order_relaxed) * sizeof(heap_class) +
        heap_cell_limit() * sizeof(heap_cell) + sizeof(struct heap_types);
}
