/* mcache: the run tables of a P, and the allocation slow path.
 *
 * The fast path pops slots off a run in the table; here runs are refilled, without a lock unless the
 * class needs pages. A table HOLDs the span that each of its runs was cut from, and so is the
 * single writer of its alloc bits.
 *
 * Two tables. Slots that were reserved white before a mutator's H2 must never be issued after it, and
 * to visit all runs at H2 would take time that grows with the number of types. So H2 only turns to
 * the other table, which is empty; the collector retires the first one at leisure: it takes the
 * alloc bits of its unissued slots back and drops its spans. Nobody can object: nobody was ever
 * given those slots, and a stale word that points to one and has it marked meanwhile marks a slot
 * that is zero, and whose mark the next reservation overwrites.
 *
 * From what a run may be cut. A span carries the generation it will be swept with, the mutator the one
 * it allocates for; they must be the same:
 *   equal            cut the next run;
 *   the span older   the mutator is past H5. If the sweep has begun, sweep the span, then go on; if
 *                    it has not (others are not past H5), or somebody else sweeps it: drop it.
 *                    What was cut from it was reserved black and survives the sweep.
 * Rejected: to let a mutator wait for the sweeper of its span, or for the others' H5.
 *
 * Rare types. A program with a thousand types and few objects of each would lose a span per type. So
 * every cell begins in a mixed span of its size class, which the cells of one table share and in
 * which each slot has its own layout number; runs there are of 1 slot, then as many as the type has
 * had, up to 8. When a cell has reserved half a span's bytes it gets spans of its own, at its next
 * refill. A mixed span stays held until the table is retired even when it is used up, because
 * several runs may still have slots in it; it only costs the chance to refill what a sweep
 * frees of it within the same cycle.
 *
 * Invariant, after each call: every run of a table was cut from a span that this table holds, the
 * slots [cur, end) of each run have their alloc bit set, and a cell whose run has a size is in
 * `used`.
 */
#include "heap/mcache.h"

#include <errno.h>

#include "heap/mcentral.h"
#include "heap/span.h"
#include "heap/types.h"
#include "os/clock.h"
#include "os/memory.h"
#include "os/vm.h"

#ifdef TRI_TORTURE
#define RUN_BYTES   1
#define FLUSH_BYTES 1
#else
#define RUN_BYTES   16384
#define FLUSH_BYTES 16384
#endif
#define MIXED_RUN_SLOTS 8
#define MIXED_RUN_BYTES 1024

/* ---- life ---------------------------------------------------------------------------------- */

#define TABLE_RUNS      (HEAP_MAX_CELLS * sizeof(tri_slots))
#define TABLE_USED      (HEAP_MAX_CELLS * sizeof(uint32_t))
#define CACHE_COUNTS    (HEAP_MAX_CELLS * sizeof(heap_cache_count))
#define CACHE_BYTES     (2 * (TABLE_RUNS + TABLE_USED) + CACHE_COUNTS)

int heap_cache_new(tri_heap *h, heap_cache **out)
{
    heap_cache *c = os_alloc(sizeof *c);
    heap_cache_private *p = os_alloc(sizeof *p);
    char *memory = c && p ? os_reserve_rw(CACHE_BYTES, 0) : NULL;
    if (!memory) {
        os_free(p, sizeof *p);
        os_free(c, sizeof *c);
        return -ENOMEM;
    }
    c->heap = h;
    c->private_ = p;
    p->memory = memory;
    p->counts = (heap_cache_count *)(void *)memory;
    memory += CACHE_COUNTS;
    for (int i = 0; i < 2; i++) {
        c->tables[i].runs = (tri_slots *)(void *)memory;
        c->tables[i].used = (uint32_t *)(void *)(memory + TABLE_RUNS);
        memory += TABLE_RUNS + TABLE_USED;
    }
    os_mutex_lock(&h->caches_lock);
    c->next = h->caches;
    h->caches = c;
    os_mutex_unlock(&h->caches_lock);
    *out = c;
    return 0;
}

/* What the cache has counted becomes the cells' own. Under caches_lock, so that no reader counts it
 * twice or not at all. */
static void fold_counts(heap_cache *c)
{
    heap_cache_private *p = c->private_;
    uint32_t limit = heap_cell_limit();
    for (uint32_t i = 1; i < limit; i++) {
        uint64_t objects = atomic_load_explicit(&p->counts[i].objects, memory_order_relaxed);
        uint64_t bytes = atomic_load_explicit(&p->counts[i].bytes, memory_order_relaxed);
        if (!objects)
            continue;
        heap_cell *cell = &c->heap->types->cells[i];
        atomic_fetch_add_explicit(&cell->mallocs, objects, memory_order_relaxed);
        atomic_fetch_add_explicit(&cell->bytes, bytes, memory_order_relaxed);
    }
}

static void retire(heap_cache *c, uint32_t table);

/* All of it under caches_lock: the collector visits all caches on the list, and readers add them
 * up. */
void heap_cache_free(heap_cache *c)
{
    tri_heap *h = c->heap;
    heap_cache_private *p = c->private_;
    heap_cache_flush(c);
    os_mutex_lock(&h->caches_lock);
    heap_cache_retire_all(c);
    fold_counts(c);
    heap_cache **at = &h->caches;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    os_mutex_unlock(&h->caches_lock);
    os_unreserve(p->memory, CACHE_BYTES);
    os_free(p, sizeof *p);
    os_free(c, sizeof *c);
}

void heap_cache_retire_all(heap_cache *c)
{
    retire(c, 0);
    retire(c, 1);
}

void heap_cache_abandon(heap_cache *c)
{
    fold_counts(c);
}

/* ---- two tables ---------------------------------------------------------------------------- */

void heap_cache_switch(heap_cache *c, uint32_t cycle)
{
    uint32_t next = c->active ^ 1;
    TRI_CHECK(c->tables[next].nused == 0, "switching to a run table that was not retired");
    c->active = next;
    /* Release: pairs with the collector, which retires the other table when it sees the cycle. */
    atomic_store_explicit(&c->switched, cycle, memory_order_release);
}

/* Takes back what the run never issued. */
static void unreserve(tri_heap *h, const tri_slots *run, uint32_t cell)
{
    heap_span *s = run->owner;
    if (run->cur == run->end)
        return;
    uint32_t first = (uint32_t)((run->cur - s->base) / s->size);
    uint32_t n = heap_run_unreserve(h, s, first, (uint32_t)((run->end - run->cur) / s->size));
    uint64_t bytes = n * (uint64_t)s->size;
    heap_cell *info = &h->types->cells[cell];
    atomic_fetch_sub_explicit(&info->mallocs, n, memory_order_relaxed);
    atomic_fetch_sub_explicit(&info->bytes, bytes, memory_order_relaxed);
    heap_live_sub(h, bytes);
}

/* The holder lets go of a span that may have free slots again below s->search. */
static void let_go(heap_span *s)
{
    /* As heap_span_drop(), but nobody else may look before `search` is lowered. */
    uint32_t was = atomic_fetch_and_explicit(&s->state, ~SPAN_HELD, memory_order_acq_rel);
    TRI_ASSERT(was & SPAN_HELD, "retiring a span that nobody holds");
    if (was & SPAN_SWEEPING)
        return;
    s->search = 0;
    uint32_t first;
    heap_span_place(s, heap_run_find(s, 1, &first) == 0);
}

static void retire(heap_cache *c, uint32_t table)
{
    heap_table *t = &c->tables[table];
    heap_cache_private *p = c->private_;
    for (uint32_t i = 0; i < t->nused; i++) {
        tri_slots *run = &t->runs[t->used[i]];
        heap_span *s = run->owner;
        if (s) {
            unreserve(c->heap, run, t->used[i]);
            if (!s->class->mixed)
                let_go(s);
        }
        *run = (tri_slots){0, 0, 0, NULL};
    }
    for (heap_span *s = p->spent[table], *next; s; s = next) {
        next = s->link[1];
        let_go(s);
    }
    p->spent[table] = NULL;
    for (uint32_t i = 0; i < HEAP_SIZE_CLASSES; i++) {
        if (p->mixed[table][i])
            let_go(p->mixed[table][i]);
        p->mixed[table][i] = NULL;
    }
    /* Release: heap_cache_switch() in a handler on another thread expects an empty table. */
    __atomic_store_n(&t->nused, 0, __ATOMIC_RELEASE);
}

void heap_cache_retire_inactive(heap_cache *c)
{
    retire(c, c->active ^ 1);
}

void heap_cache_flush(heap_cache *c)
{
    uint64_t bytes = c->bytes_unflushed;
    c->bytes_unflushed = 0;
    if (bytes)
        heap_live_add(c->heap, bytes);
}

/* ---- refilling ----------------------------------------------------------------------------- */

static uint32_t gen_of(const heap_span *s)
{
    /* Acquire: pairs with the sweeper that gave it its generation. */
    return heap_state_gen(atomic_load_explicit(&s->state, memory_order_acquire));
}

/* Whether runs may be cut from a span that the table holds; sweeps it if that is all it takes. */
static bool refillable(tri_heap *h, heap_span *s, heap_colour colour, heap_refill *r)
{
    uint32_t gen = gen_of(s);
    if (gen == colour.gen)
        return true;
    /* Tables that changed hands: whoever filled them was past H5, the mutator that has them now is not. */
    if (gen > colour.gen)
        return false;
    /* Acquire: pairs with heap_sweep_begin(). */
    if (atomic_load_explicit(&h->sweepgen, memory_order_acquire) != colour.gen)
        return false;
    heap_note_sweep(r);
    return heap_sweep_held(h, s) || gen_of(s) == colour.gen;
}

/* The next run of a cell that has spans of its own; 0: no memory. */
static uint32_t cut_own(tri_slots *run, heap_class *class, heap_colour colour, heap_refill *r,
                        uint32_t *first)
{
    uint32_t max = (uint32_t)(RUN_BYTES / class->size);
    heap_span *s = run->owner;
    if (s && s->class != class)
        s = NULL; /* a mixed span, which the table holds for others, too */
    for (;;) {
        if (s) {
            bool may = refillable(class->heap, s, colour, r);
            uint32_t n = may ? heap_run_find(s, max ? max : 1, first) : 0;
            if (n)
                return n;
            heap_span_drop(s, may);
        }
        run->owner = s = heap_class_take(class, colour, r);
        if (!s)
            return 0;
    }
}

/* The same from the mixed span that the cells of one size class share. */
static uint32_t cut_mixed(heap_cache *c, tri_slots *run, heap_class *class, heap_colour colour,
                          uint32_t max, heap_refill *r, uint32_t *first)
{
    heap_cache_private *p = c->private_;
    heap_span **at = &p->mixed[c->active][class - heap_mixed_class(c->heap, 0)];
    for (;;) {
        heap_span *s = *at;
        if (s) {
            uint32_t n = refillable(c->heap, s, colour, r) ? heap_run_find(s, max, first) : 0;
            run->owner = s;
            if (n)
                return n;
            s->link[1] = p->spent[c->active];
            p->spent[c->active] = s;
        }
        *at = heap_class_take(class, colour, r);
        if (!*at)
            return 0;
    }
}

static uint32_t mixed_run_slots(const heap_cache_count *count, size_t size)
{
    uint64_t n = atomic_load_explicit(&count->objects, memory_order_relaxed);
    if (n > MIXED_RUN_SLOTS)
        n = MIXED_RUN_SLOTS;
    if (n > MIXED_RUN_BYTES / size)
        n = MIXED_RUN_BYTES / size;
#ifdef TRI_TORTURE
    n = 1;
#endif
    return n ? (uint32_t)n : 1;
}

static void add_relaxed(_Atomic uint64_t *at, uint64_t n)
{
    atomic_store_explicit(at, atomic_load_explicit(at, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

/* Those n slots become the run, and the first of them is issued. */
static void *fill(heap_cache *c, uint32_t cell, tri_slots *run, uint32_t first, uint32_t n,
                  heap_colour colour)
{
    tri_heap *h = c->heap;
    heap_span *s = run->owner;
    heap_table *t = &c->tables[c->active];
    if (s->slot_layouts) {
        uint32_t id = h->types->cells[cell].layout->id;
        for (uint32_t i = first; i < first + n; i++)
            __atomic_store_n(&s->slot_layouts[i], id, __ATOMIC_RELAXED);
    }
    heap_run_reserve(h, s, first, n, colour.black);
    if (run->size == 0)
        t->used[t->nused++] = cell;
    uintptr_t slot = heap_slot(s, first);
    run->size = s->size;
    run->end = slot + n * s->size;
    run->cur = slot + s->size;

    heap_cache_count *count = &((heap_cache_private *)c->private_)->counts[cell];
    add_relaxed(&count->objects, n);
    add_relaxed(&count->bytes, n * s->size);
    c->bytes_unflushed += n * s->size;
    if (c->bytes_unflushed >= FLUSH_BYTES)
        heap_cache_flush(c);
    return (void *)slot;
}

/* A cell leaves the mixed spans when it has reserved half a span's worth. */
static void consider_promotion(heap_cache *c, uint32_t cell)
{
    const heap_cache_count *count = &((heap_cache_private *)c->private_)->counts[cell];
    uint64_t span = c->heap->types->cells[cell].pages * HEAP_PAGE;
    if (atomic_load_explicit(&count->bytes, memory_order_relaxed) >= span / 2)
        heap_cell_promote(c->heap, cell);
}

/* Pages that were taken after it are no part of the sweep. */
static void note_refill(heap_cache *c, heap_refill *r)
{
    heap_cache_private *p = c->private_;
    if (r->start) {
        int64_t end = r->end ? r->end : os_now();
        r->since = end;
        if (c->heap->hooks.refill_swept)
            c->heap->hooks.refill_swept(atomic_load_explicit(&c->owner, memory_order_relaxed),
                                        r->start, end);
    }
    p->refill = (heap_refill){.since = r->since, .credit = r->credit};
}

void *heap_alloc_slow(heap_cache *c, uint32_t cell, heap_colour colour)
{
    tri_heap *h = c->heap;
    tri_slots *run = &c->tables[c->active].runs[cell];
    if (run->cur < run->end) {
        run->cur += run->size;
        return (void *)(run->cur - run->size);
    }
    /* Acquire: pairs with the registration of the type and with its promotion. */
    heap_class *class = atomic_load_explicit(&h->types->cells[cell].class, memory_order_acquire);
    TRI_ASSERT(class && class->size, "allocating from a cell that this heap has no runs for");

    heap_cache_private *p = c->private_;
    heap_refill refill = p->refill;
    uint32_t first = 0, n;
    if (class->mixed) {
        n = cut_mixed(c, run, class, colour, mixed_run_slots(&p->counts[cell], class->size),
                      &refill, &first);
    } else {
        n = cut_own(run, class, colour, &refill, &first);
    }
    note_refill(c, &refill);
    if (!n)
        return NULL;
    void *slot = fill(c, cell, run, first, n, colour);
    if (class->mixed)
        consider_promotion(c, cell);
    return slot;
}
