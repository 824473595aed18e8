/* barriercheck=1: remembering what the barrier saw.
 *
 * A store that bypasses the barrier loses an object only if a collection is at the right point, so tests
 * seldom notice it. The log notices it each time: beside every word of the heap, at a constant distance, is a
 * shadow word with what the barrier stored there last, and whoever finds the two different has found a
 * store that went past. check.c compares everything once in each collection; a store with the barrier
 * compares its own slot before it overwrites the evidence.
 *
 * Every store must come here, from code compiled against any header. So a mutator that logs has TRI_LOG in its
 * barrier byte, at all times, which sends the inline forms to their slow paths; and it shows an empty
 * run table to the inline allocation, so that each object comes by when it is made. In exchange
 * nothing is compiled into user code.
 *
 * No false report, whatever mutators do at the same time:
 *   - A word and its shadow change together under the word's stripe lock, and are compared under it. So two
 *     mutators that store into one slot leave both with the same value, and no comparison falls between
 *     the two writes. This needs no stop of the mutators. What is compared before the lock is taken
 *     only decides whether to take it.
 *   - A new object's shadow is cleared before its site is written (release), and no object is compared
 *     without a site (acquire); the sweep clears the sites of what it frees, before the slot can be
 *     reserved again.
 *   - tri_make() fills its object without a word. Until the object is settled, nobody compares it. It is
 *     settled by taking what it holds for its first contents, each word under its stripe, at its maker's
 *     next step into the library: another store or allocation, an acknowledgement, leaving.
 *     Headers of debug builds make that step at once. With other headers, a plain store between tri_make()
 *     and that step passes for part of the first contents. The object cannot be swept before: its maker
 *     acknowledges H5 first.
 *   - Only fields that the type declares as pointers are compared (check.c says which), and only if what
 *     is held or what was recorded points into the heap.
 *
 * Rejected: stopping the mutators to compare (they then meet the collector at other moments than in
 * production); a log of stores, replayed at the end of a cycle (order between mutators is not known);
 * write-protecting the heap (each store a fault, and no way to tell a field from its neighbour).
 *
 * The shadow takes as much memory as the objects with pointers, the sites at most as much again; both are
 * backed as they are touched.
 */
#include "barrier/record.h"

#if TRI_DEBUG >= 1

#include <errno.h>

#include "os/memory.h"
#include "os/vm.h"

/* ---- life ------------------------------------------------------------------------------------- */

#define EMPTY_BYTES (HEAP_MAX_CELLS * sizeof(tri_slots))

/* Runs that are beyond their end, so that even the attempt to take a slot writes nothing: all share them. */
static bool make_empty_table(struct barrier_log *log)
{
    log->empty = os_reserve_rw(EMPTY_BYTES, 0);
    for (size_t i = 0; log->empty && i < HEAP_MAX_CELLS; i++)
        log->empty[i].cur = 1;
    return log->empty;
}

tri_slots *barrier_log_runs(const tri_heap *h)
{
    return h->log->empty;
}

void barrier_log_close(tri_heap *h)
{
    struct barrier_log *log = h->log;
    if (!log)
        return;
    barrier_roots_close(log);
    if (log->empty)
        os_unreserve(log->empty, EMPTY_BYTES);
    if (log->shadow)
        os_unreserve(log->shadow, log->size);
    if (log->sites)
        os_unreserve((void *)log->sites, log->size);
    os_free(log, sizeof *log);
    h->log = NULL;
}

int barrier_log_open(tri_heap *h)
{
    if (!h->options.barrier_check)
        return 0;
    struct barrier_log *log = os_alloc(sizeof *log);
    if (!log)
        return -ENOMEM;
    log->heap = h;
    log->warn = h->options.barrier_check == TRI_BARRIER_CHECK_WARN;
    log->size = h->reserved;
    log->shadow = os_reserve_rw(log->size, 0);
    log->sites = os_reserve_rw(log->size, 0);
    h->log = log;
    if (log->shadow && log->sites && make_empty_table(log))
        return 0;
    barrier_log_close(h);
    return -ENOMEM;
}

/* ---- stripes ---------------------------------------------------------------------------------- */

static _Atomic uint8_t *stripe_of(struct barrier_log *log, uintptr_t slot)
{
    return &log->stripes[(slot >> RECORD_STRIPE_SHIFT) % RECORD_STRIPES];
}

static void spin(_Atomic uint8_t *lock)
{
    for (unsigned spins = 0;; spins++) {
        /* Acquire: pairs with the release of whoever had the stripe. */
        if (!atomic_load_explicit(lock, memory_order_relaxed) &&
            !atomic_exchange_explicit(lock, 1, memory_order_acquire))
            return;
        if (spins < 100)
            os_pause();
        else
            os_yield();
    }
}

void barrier_stripe_lock(struct barrier_log *log, uintptr_t slot)
{
    spin(stripe_of(log, slot));
}

void barrier_stripe_unlock(struct barrier_log *log, uintptr_t slot)
{
    atomic_store_explicit(stripe_of(log, slot), 0, memory_order_release); /* pairs with spin() */
}

void barrier_log_fork_prepare(tri_heap *h)
{
    if (!h->log)
        return;
    os_mutex_lock(&h->log->roots_lock);
    for (unsigned i = 0; i < RECORD_STRIPES; i++)
        spin(&h->log->stripes[i]);
}

void barrier_log_fork_release(tri_heap *h)
{
    if (!h->log)
        return;
    for (unsigned i = 0; i < RECORD_STRIPES; i++)
        atomic_store_explicit(&h->log->stripes[i], 0, memory_order_release); /* pairs with spin() */
    os_mutex_unlock(&h->log->roots_lock);
}

/* ---- stores ----------------------------------------------------------------------------------- */

static void lock(struct barrier_log *log, uintptr_t slot)
{
    if (heap_contains(log->heap, slot))
        barrier_stripe_lock(log, slot);
    else
        os_mutex_lock(&log->roots_lock);
}

static bool differs(struct barrier_log *log, uintptr_t slot, record_fault *out)
{
    if (heap_contains(log->heap, slot))
        return barrier_compare_slot(log, slot, out);
    record_root *root = barrier_root_find(log, slot);
    return root && barrier_compare_root(root, log, out);
}

void barrier_log_lock(gc_mutator *m, const void *slot)
{
    struct barrier_log *log = m->heap->log;
    record_fault fault;
    barrier_log_settle(m);
    lock(log, (uintptr_t)slot);
    while (differs(log, (uintptr_t)slot, &fault)) {
        barrier_log_unlock(m, slot);
        barrier_report(log, &fault, "when the same word was next stored to, with a barrier");
        lock(log, (uintptr_t)slot);
    }
}

void barrier_log_unlock(gc_mutator *m, const void *slot)
{
    struct barrier_log *log = m->heap->log;
    if (heap_contains(m->heap, (uintptr_t)slot))
        barrier_stripe_unlock(log, (uintptr_t)slot);
    else
        os_mutex_unlock(&log->roots_lock);
}

void barrier_log_record(gc_mutator *m, const void *slot, uintptr_t value)
{
    struct barrier_log *log = m->heap->log;
    uintptr_t at = (uintptr_t)slot;
    if (heap_contains(m->heap, at)) {
        __atomic_store_n(barrier_shadow(log, at), value, __ATOMIC_RELAXED);
    } else {
        record_root *root = barrier_root_find(log, at);
        if (root)
            root->value = value;
    }
    barrier_log_unlock(m, slot);
}

/* ---- objects ---------------------------------------------------------------------------------- */

uint64_t barrier_log_site(gc_mutator *m, const void *caller)
{
    uint64_t site = m->site ? m->site : (uintptr_t)caller & RECORD_ADDRESS;
    m->site = 0;
    return site;
}

void barrier_log_caller(const void *caller)
{
    gc_mutator *m = gc_self();
    if (m->pub.barrier & TRI_LOG && !m->site)
        m->site = (uintptr_t)caller & RECORD_ADDRESS;
}

void tri_site_(const char *file_line)
{
    gc_self()->site = ((uintptr_t)file_line & RECORD_ADDRESS) | RECORD_TEXT;
}

#define RELEASE_BYTES ((size_t)1 << 20)

/* Large shadows are given back to the system, which is faster than writing them and as good. */
static void clear_shadow(struct barrier_log *log, uintptr_t object, size_t bytes)
{
    uintptr_t at = (uintptr_t)barrier_shadow(log, object), end = at + bytes;
    if (bytes >= RELEASE_BYTES) {
        uintptr_t within = os_page_size() - 1;
        uintptr_t lo = (at + within) & ~within, hi = end & ~within;
        if (os_release((void *)lo, hi - lo) == 0) {
            for (; at < lo; at += 8)
                *(uint64_t *)at = 0;
            at = hi;
        }
    }
    for (; at < end; at += 8)
        __atomic_store_n((uint64_t *)at, 0, __ATOMIC_RELAXED);
}

void barrier_log_born(gc_mutator *m, void *object, uint64_t site, bool make)
{
    struct barrier_log *log = m->heap->log;
    heap_ref ref;
    if (!log || !object || !heap_find(m->heap, (uintptr_t)object, &ref))
        return;
    barrier_log_settle(m);
    const heap_layout *l = heap_layout_of(m->heap, ref.span, ref.index);
    if (!l->noscan)
        clear_shadow(log, (uintptr_t)object, ref.span->size);
    /* Release: pairs with whoever compares the object. */
    atomic_store_explicit(barrier_site(log, (uintptr_t)object), make ? site : site | RECORD_SETTLED,
                          memory_order_release);
    if (make)
        m->made = (uintptr_t)object;
}

void barrier_log_settle_slow(gc_mutator *m)
{
    struct barrier_log *log = m->heap->log;
    uintptr_t object = m->made;
    m->made = 0;
    heap_ref ref;
    if (!heap_find(m->heap, object, &ref))
        return;
    uintptr_t end = object + ref.span->size;
    for (uintptr_t at = object; at < end; at += 8) {
        barrier_stripe_lock(log, at);
        uintptr_t value = __atomic_load_n((uintptr_t *)at, __ATOMIC_RELAXED);
        __atomic_store_n(barrier_shadow(log, at), value, __ATOMIC_RELAXED);
        barrier_stripe_unlock(log, at);
    }
    /* Release: pairs with whoever compares the object. */
    atomic_fetch_or_explicit(barrier_site(log, object), RECORD_SETTLED, memory_order_release);
}

void tri_made_(void)
{
    barrier_log_settle(gc_self());
}

void barrier_log_freed(const tri_heap *h, uintptr_t slot)
{
    /* Relaxed: whoever reserves the slot again has the span from the sweeper, and comparisons wait until
     * the sweep is complete. */
    atomic_store_explicit(barrier_site(h->log, slot), 0, memory_order_relaxed);
}

#else

/* Code compiled against the headers of a debug build finds them in every library. */
void tri_site_(const char *file_line)
{
    (void)file_line;
}

void tri_made_(void) {}

#endif
