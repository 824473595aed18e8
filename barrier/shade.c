/* Shading and the barrier buffer.
 *
 * A store that must shade does not mark: it pushes words into a small private buffer. Marking at
 * once would put a cache miss or three into every pointer store of the program while a collection
 * runs; a mutex-protected shared buffer would make mutators wait for each other. The private buffer
 * is handed to a marker (handover.c) when it is full and in the handshakes of a termination round, or
 * drained by its owner if that cannot be; what is still in it at H5 is discarded, because marking is
 * complete by then and its words may point to white objects of the next cycle.
 *
 * Invariant: a word in the buffer is either on its way to a marker or shaded before its mutator
 * acknowledges the next round, or was pushed after that acknowledgement. A round in which nobody marks
 * anything new, what was handed over included, therefore proves that no buffer hides a white object.
 *
 * The buffer holds 128 words, so that draining it on the spot stays below 10 microseconds even when
 * every word misses the cache; the torture build holds 2.
 */
#include "barrier/barrier.h"
#include "barrier/log.h"
#include "barrier/sabotage.h"

#include "heap/prefetch.h"
#include "os/clock.h"
#include "os/delay.h"
#include "os/report.h"

bool barrier_note_work(tri_heap *h)
{
    uint32_t term = atomic_load_explicit(&h->term, memory_order_seq_cst);
    if (term == TERM_CLEAN)
        atomic_compare_exchange_strong_explicit(&h->term, &term, TERM_DIRTY, memory_order_seq_cst,
                                                memory_order_seq_cst);
    return term != TERM_DONE;
}

/* The round is dirty before the mark can be seen: another mutator that finds the slot marked takes
 * that as leave not to report it, and the collector must not conclude between the mark and the push. And
 * again after it, for the round may have begun in between; this mutator cannot acknowledge it before
 * it is through here. */
void barrier_shade(tri_heap *h, uintptr_t word)
{
    /* Acquire: pairs with the collector's store of DONE. From DONE on a mutator that has not
     * acknowledged H5 would otherwise mark new white objects of one that has, and the next cycle,
     * finding them marked, would never scan them. */
    if (atomic_load_explicit(&h->term, memory_order_acquire) == TERM_DONE)
        return;
    heap_ref ref;
    bool first;
    if (!heap_find(h, word, &ref) || heap_is_marked(ref.span, ref.index) || !barrier_note_work(h))
        return;
    OS_DELAY("shade.mark");
    if (!heap_mark(ref.span, ref.index, &first))
        return;
    OS_DELAY("shade.marked");
    if (first)
        heap_grey_push(h, ref.span);
    barrier_note_work(h);
}

/* Word by word the misses would add up to most of the interruption. */
static void drain(gc_mutator *m)
{
    const tri_heap *h = m->heap;
    uint32_t n = m->nbuffer;
    for (uint32_t i = 0; i < n; i++)
        heap_prefetch_page(h, m->buffer[i]);
    for (uint32_t i = 0; i < n; i++)
        heap_prefetch_span(h, m->buffer[i]);
    for (uint32_t i = 0; i < n; i++)
        heap_prefetch_bits(h, m->buffer[i]);
    for (uint32_t i = 0; i < n; i++)
        barrier_shade(m->heap, m->buffer[i]);
    m->nbuffer = 0;
}

void barrier_drain(gc_mutator *m)
{
    if (m->nbuffer)
        drain(m);
}

void barrier_yield_buffer(gc_mutator *m)
{
    if (!m->nbuffer)
        return;
    /* Acquire: as in barrier_shade(). */
    if (atomic_load_explicit(&m->heap->term, memory_order_acquire) == TERM_DONE)
        m->nbuffer = 0;
    else if (!barrier_hand_over(m))
        drain(m);
}

static TRI_NOINLINE void empty_full(gc_mutator *m)
{
    int64_t start = os_now();
    barrier_yield_buffer(m);
    if (m->heap->hooks.drained)
        m->heap->hooks.drained(m, start, os_now());
}

void barrier_push(gc_mutator *m, uintptr_t word)
{
    if (!heap_contains(m->heap, word))
        return;
    if (m->nbuffer == BARRIER_BUFFER)
        empty_full(m);
    m->buffer[m->nbuffer++] = word;
}

static TRI_NOINLINE _Noreturn void not_attached(void)
{
    os_fatal("this thread is not attached to a heap: a managed pointer was stored or an object "
             "allocated before tri_attach() or after tri_detach()");
}

/* The pushes precede the store, and no handshake is acknowledged between the two (busy is set): a
 * collector that has our acknowledgement of a round knows the old value. */
static void shade_store(tri_mutator *pub, const void *slot, const void *value)
{
    if (pub->barrier & TRI_BARRIER_TRAP)
        not_attached();
    gc_mutator *m = (gc_mutator *)pub;
    if (pub->barrier & TRI_SHADE_OLD && !BARRIER_LACKS(DELETION))
        barrier_push(m, __atomic_load_n((const uintptr_t *)slot, __ATOMIC_RELAXED));
    if (pub->barrier & TRI_SHADE_NEW && !BARRIER_LACKS(INSERTION))
        barrier_push(m, (uintptr_t)value);
    OS_DELAY("barrier.between");
}

void tri_set_slow_(tri_mutator *pub, void *slot, void *value)
{
    shade_store(pub, slot, value);
    barrier_log_begin(pub, slot);
    __atomic_store_n((tri_slot_ *)slot, value, __ATOMIC_RELAXED);
    barrier_log_end(pub, slot, value);
}

void tri_init_slow_(tri_mutator *pub, void *slot, void *value)
{
    if (pub->barrier & TRI_BARRIER_TRAP)
        not_attached();
    if (pub->barrier & TRI_SHADE_NEW && !BARRIER_LACKS(INIT))
        barrier_push((gc_mutator *)pub, (uintptr_t)value);
    barrier_log_begin(pub, slot);
    OS_DELAY("barrier.init");
    __atomic_store_n((tri_slot_ *)slot, value, __ATOMIC_RELAXED);
    barrier_log_end(pub, slot, value);
}

/* ---- atomic forms ---------------------------------------------------------------------------
 * The value that an exchange really replaced is the one to shade, so they shade after the operation;
 * busy keeps a handshake from coming between. The new value is shaded before it can be seen. */

void *tri_exchange(void *slot, void *value)
{
    tri_mutator *pub = tri_self();
    pub->busy = 1;
    TRI_SIGNAL_FENCE();
    if (TRI_UNLIKELY(pub->barrier & TRI_BARRIER_TRAP))
        not_attached();
    if (TRI_UNLIKELY(pub->barrier & TRI_SHADE_NEW) && !BARRIER_LACKS(INSERTION))
        barrier_push((gc_mutator *)pub, (uintptr_t)value);
    barrier_log_begin(pub, slot);
    /* The program's own ordering: pairs with whatever other mutators do to the slot. */
    void *old = __atomic_exchange_n((tri_slot_ *)slot, value, __ATOMIC_SEQ_CST);
    OS_DELAY("barrier.exchanged");
    barrier_log_end(pub, slot, value);
    if (TRI_UNLIKELY(pub->barrier & TRI_SHADE_OLD) && !BARRIER_LACKS(DELETION))
        barrier_push((gc_mutator *)pub, (uintptr_t)old);
    TRI_SIGNAL_FENCE();
    pub->busy = 0;
    return old;
}

bool tri_compare_exchange(void *slot, void **expected, void *desired)
{
    tri_mutator *pub = tri_self();
    void *old = *expected;
    pub->busy = 1;
    TRI_SIGNAL_FENCE();
    if (TRI_UNLIKELY(pub->barrier & TRI_BARRIER_TRAP))
        not_attached();
    if (TRI_UNLIKELY(pub->barrier & TRI_SHADE_NEW) && !BARRIER_LACKS(INSERTION))
        barrier_push((gc_mutator *)pub, (uintptr_t)desired);
    barrier_log_begin(pub, slot);
    bool done = __atomic_compare_exchange_n((tri_slot_ *)slot, expected, desired, false,
                                            __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    OS_DELAY("barrier.exchanged");
    if (done)
        barrier_log_end(pub, slot, desired);
    else
        barrier_log_cancel(pub, slot);
    if (TRI_UNLIKELY(done && (pub->barrier & TRI_SHADE_OLD)) && !BARRIER_LACKS(DELETION))
        barrier_push((gc_mutator *)pub, (uintptr_t)old);
    TRI_SIGNAL_FENCE();
    pub->busy = 0;
    return done;
}

#ifdef TRI_DELAYS
void tri_delay_store_(void)
{
    OS_DELAY("barrier.store");
}
#endif

void tri_set_release(void *slot, void *value)
{
    tri_mutator *pub = tri_self();
    pub->busy = 1;
    TRI_SIGNAL_FENCE();
    if (TRI_UNLIKELY(pub->barrier))
        shade_store(pub, slot, value);
    barrier_log_begin(pub, slot);
    /* Pairs with the acquire loads of the program's readers. */
    __atomic_store_n((tri_slot_ *)slot, value, __ATOMIC_RELEASE);
    barrier_log_end(pub, slot, value);
    TRI_SIGNAL_FENCE();
    pub->busy = 0;
}
