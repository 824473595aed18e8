/* Mutators: attaching, detaching, run tables, blocking.
 *
 * Attach and detach happen under the lock that handshakes use, so a mutator is either asked by a
 * handshake or not in its list at all. A new one adopts the state that each has after the handshake
 * in flight and owes no acknowledgement for it: it has no stores or allocations behind it that the
 * handshake would have to wait out. One that leaves does what it was asked, drains its buffer and is
 * gone; a stack copy of its that was not marked yet goes to the collector's list of orphans.
 *
 * The lock is held for a few hundred instructions, by the collector too (it never waits for an
 * acknowledgement while holding it), so attaching does not wait for a slow mutator.
 */
#include <errno.h>

#include "barrier/log.h"
#include "barrier/sabotage.h"
#include "gc/state.h"
#include "os/clock.h"
#include "os/context.h"
#include "os/delay.h"
#include "os/memory.h"
#include "os/report.h"
#include "os/vm.h"

/* A thread that is not attached runs into these: no run is ever filled, every store is a slow path
 * that aborts with a clear message. The table is zero pages that are never touched otherwise. */
static tri_slots no_runs[HEAP_MAX_CELLS];
static tri_mutator no_mutator = {.barrier = TRI_BARRIER_TRAP, .runs = no_runs};

__thread tri_mutator *tri_current_ __attribute__((tls_model("initial-exec"))) = &no_mutator;

bool gc_attached(void)
{
    return tri_self() != &no_mutator;
}

static gc_snapshot *snapshot_new(size_t stack_bytes)
{
    size_t bytes = sizeof(gc_snapshot) + stack_bytes + 16384;
    gc_snapshot *s = os_reserve_rw(bytes, 4096);
    if (!s)
        return NULL;
    s->capacity = (bytes - sizeof *s) / sizeof(uintptr_t);
    return s;
}

void gc_snapshot_free(gc_snapshot *s)
{
    os_unreserve(s, sizeof *s + s->capacity * sizeof(uintptr_t));
}

/* Before H1, with the lock held by the caller: every mutator can take a copy of any stack. */
void gc_snapshot_prepare(struct gc *gc, gc_mutator *m)
{
    if (m->snapshot && m->snapshot->capacity * sizeof(uintptr_t) >= gc->stack_max)
        return;
    gc_snapshot *s = gc->spare;
    if (s && s->capacity * sizeof(uintptr_t) >= gc->stack_max)
        gc->spare = s->next;
    else
        s = os_fault_here("vm.snapshot") ? NULL : snapshot_new(gc->stack_max);
    if (!s)
        return; /* H2 marks what does not fit at once: slower, not wrong */
    s->count = 0;
    gc_snapshot *old = m->snapshot;
    m->snapshot = s;
    if (old)
        gc_snapshot_free(old);
}

/* The lock that handshakes use, by a mutator. A wait for another mutator that holds it is a wait on the
 * collector's account, and counted as one; waits for the collector end within its few instructions. */
static void lock_as_mutator(struct gc *gc)
{
    if (os_mutex_trylock(&gc->lock))
        return;
    bool collector = atomic_load_explicit(&gc->lock_is_collectors, memory_order_relaxed);
    int64_t start = os_now();
    os_mutex_lock(&gc->lock);
    if (!collector)
        gc_book_measure(gc->book, GC_WAIT_MUTATOR, os_now() - start);
}

void gc_collector_lock(struct gc *gc)
{
    os_mutex_lock(&gc->lock);
    atomic_store_explicit(&gc->lock_is_collectors, true, memory_order_relaxed);
}

void gc_collector_unlock(struct gc *gc)
{
    atomic_store_explicit(&gc->lock_is_collectors, false, memory_order_relaxed);
    os_mutex_unlock(&gc->lock);
}

static void adopt(gc_mutator *m, const gc_target *t)
{
    barrier_turn(m, t->barrier);
    m->black = t->black;
    m->gen = t->gen;
    m->cycle = t->cycle;
    m->h2 = t->h2;
}

/* The thread's chain is what the handler walks: link with one store. */
static void chain(gc_mutator *m)
{
    tri_mutator *old = tri_self();
    m->thread_next = old == &no_mutator ? NULL : (gc_mutator *)old;
    TRI_SIGNAL_FENCE();
    tri_current_ = &m->pub;
}

static void unchain(gc_mutator *m)
{
    gc_mutator *head = gc_self();
    if (head == m) {
        tri_current_ = m->thread_next ? &m->thread_next->pub : &no_mutator;
        return;
    }
    while (head->thread_next != m)
        head = head->thread_next;
    head->thread_next = m->thread_next;
}

gc_mutator *gc_mutator_in(tri_heap *h)
{
    if (!gc_attached())
        return NULL;
    for (gc_mutator *m = gc_self(); m; m = m->thread_next)
        if (m->heap == h)
            return m;
    return NULL;
}

/* Moves m to the head of the chain: the current one. */
void gc_make_current(gc_mutator *m)
{
    gc_mutator *head = gc_self();
    if (head == m)
        return;
    /* The handler may run between any two of these; a mutator that it misses is asked again. */
    unchain(m);
    TRI_SIGNAL_FENCE();
    m->thread_next = gc_self();
    TRI_SIGNAL_FENCE();
    tri_current_ = &m->pub;
}

int gc_attach(tri_heap *h, gc_stack *stack, gc_mutator **out)
{
    struct gc *gc = gc_of(h);
    gc_mutator *m = os_alloc(sizeof *m);
    if (!m)
        return -ENOMEM;
    int err = gc_records_new(gc->book, &m->records);
    if (err)
        goto fail_records;
    m->snapshot = snapshot_new(stack ? stack->hi - stack->lo
                                     : __atomic_load_n(&gc->stack_max, __ATOMIC_RELAXED));
    if (!m->snapshot) {
        err = -ENOMEM;
        goto fail_snapshot;
    }
    if (gc->signals && (err = gc_resource_error(os_altstack_enter())))
        goto fail_altstack;
    m->heap = h;
    m->tid = os_thread_tid();
    m->stack = stack;
    m->pub.in_runtime = 1;
    m->pub.runs = no_runs;
    OS_DELAY("attach.adopt");
    lock_as_mutator(gc);
    /* verify=1 stops all that were asked; one that comes later would run on beside its walk. */
    while (atomic_load_explicit(&gc->verify_stop, memory_order_acquire)) {
        os_mutex_unlock(&gc->lock);
        os_futex_wait(&gc->verify_stop, 1, 10000000);
        lock_as_mutator(gc);
    }
    adopt(m, &gc->target);
    if (stack) {
        atomic_store_explicit(&stack->state, GC_STACK_RUNNING, memory_order_relaxed);
        atomic_store_explicit(&stack->scanned, m->black ? m->h2 : 0, memory_order_relaxed);
        if (stack->hi - stack->lo > gc->stack_max)
            __atomic_store_n(&gc->stack_max, stack->hi - stack->lo, __ATOMIC_RELAXED);
    }
    atomic_store_explicit(&m->acked, atomic_load_explicit(&gc->epoch, memory_order_relaxed),
                          memory_order_relaxed);
    m->next = gc->mutators;
    if (m->next)
        m->next->prev = m;
    gc->mutators = m;
    gc->nmutators++;
    chain(m);
    os_mutex_unlock(&gc->lock);
    *out = m;
    return 0;

fail_altstack:
    gc_snapshot_free(m->snapshot);
fail_snapshot:
    gc_records_free(m->records);
fail_records:
    os_free(m, sizeof *m);
    return err;
}

static void unlist(gc_mutator *m)
{
    struct gc *gc = gc_of(m->heap);
    /* Nobody else would drain the buffer. From DONE on shading does nothing, which discards it. */
    if (!BARRIER_LACKS(DETACH))
        barrier_yield_buffer(m);
    if (m->snapshot && m->snapshot->count) {
        m->snapshot->next = gc->orphans;
        gc->orphans = m->snapshot;
        m->snapshot = NULL;
    }
    if (m->next)
        m->next->prev = m->prev;
    if (m->prev)
        m->prev->next = m->next;
    else
        gc->mutators = m->next;
}

/* Acknowledges what is asked for, outside the lock (verify=1 holds mutators for long), until it has
 * the lock with nothing owed. */
static void leave(void *arg, void *sp)
{
    gc_mutator *m = arg;
    struct gc *gc = gc_of(m->heap);
    OS_DELAY("detach.leave");
    for (;;) {
        gc_acknowledge(m, (uintptr_t)sp, NULL);
        lock_as_mutator(gc);
        if (atomic_load_explicit(&m->acked, memory_order_relaxed) ==
            atomic_load_explicit(&gc->epoch, memory_order_relaxed))
            break;
        os_mutex_unlock(&gc->lock);
    }
    unlist(m);
    os_mutex_unlock(&gc->lock);
}

void gc_detach(gc_mutator *m)
{
    struct gc *gc = gc_of(m->heap);
    TRI_CHECK(!m->cache, "a mutator that detaches has given its run tables back");
    gc_deeper(m);
    barrier_log_settle(m);
    os_call_spilled(leave, m);
    unchain(m);
    if (gc->signals)
        os_altstack_leave();
    if (m->snapshot)
        gc_snapshot_free(m->snapshot);
    gc_records_free(m->records);
    os_free(m, sizeof *m);
    /* Last of all: until it is counted out, tri_heap_destroy() by another thread is refused. */
    lock_as_mutator(gc);
    gc->nmutators--;
    os_mutex_unlock(&gc->lock);
}

/* ---- run tables ------------------------------------------------------------------------------- */

static bool take_cache(gc_mutator *m, heap_cache *c)
{
    void *owner = NULL;
    /* Acquire: pairs with the release of gc_unbind() and of the collector, which holds an idle cache
     * only for the instant of a switch. */
    return atomic_compare_exchange_strong_explicit(&c->owner, &owner, m, memory_order_acquire,
                                                   memory_order_relaxed);
}

static TRI_NOINLINE void wait_for_cache(gc_mutator *m, heap_cache *c)
{
    int64_t start = os_now();
    bool mutator = false;
    while (!take_cache(m, c)) {
        void *owner = atomic_load_explicit(&c->owner, memory_order_relaxed);
        mutator |= owner && owner != HEAP_COLLECTOR;
        os_pause();
    }
    int64_t end = os_now();
    gc_record(m->records, GC_WAIT_SCAN, start, end);
    if (mutator)
        gc_book_measure(gc_of(m->heap)->book, GC_WAIT_MUTATOR, end - start);
}

/* With barriercheck=1 the inline allocation finds no run, so that each object comes by the slow path. */
void gc_show_runs(gc_mutator *m)
{
    m->pub.runs = barrier_logging(m->heap) ? barrier_log_runs(m->heap)
                                           : m->cache->tables[m->cache->active].runs;
}

void gc_bind(gc_mutator *m, heap_cache *c)
{
    TRI_CHECK(!m->cache, "a mutator has one set of run tables at a time");
    if (!take_cache(m, c))
        wait_for_cache(m, c);
    /* Tables that were switched in a cycle whose H2 we have not acknowledged hold black runs; a
     * mutator that is not black must not allocate from them. That H2 is under way: take part. The
     * other way round, tables that slept through an H2 which we have behind us hold white runs. */
    while ((int32_t)(atomic_load_explicit(&c->switched, memory_order_relaxed) - m->h2) > 0)
        gc_poll_slow(m);
    if (m->black && atomic_load_explicit(&c->switched, memory_order_relaxed) != m->h2)
        heap_cache_switch(c, m->h2);
    /* What a white mutator fills belongs to the time after its H2; a black one of the same cycle may go
     * on with it, since its span is not swept in that cycle. */
    if (!m->black)
        atomic_store_explicit(&c->switched, m->h2, memory_order_release); /* as heap_cache_switch */
    m->cache = c;
    gc_show_runs(m);
}

heap_cache *gc_unbind(gc_mutator *m)
{
    heap_cache *c = m->cache;
    TRI_CHECK(c, "run tables are given back once");
    heap_cache_flush(c);
    m->cache = NULL;
    m->pub.runs = no_runs;
    atomic_store_explicit(&c->owner, NULL, memory_order_release); /* pairs with gc_bind() */
    return c;
}

/* ---- blocking ----------------------------------------------------------------------------------
 * A thread that blocks does so for each heap that it is attached to. */

void gc_block(gc_mutator *m, uintptr_t sp)
{
    for (gc_mutator *each = m; each; each = each->thread_next) {
        each->blocked_sp = sp;
        /* Release: the collector that takes the state to ACKING sees the stack and our private
         * fields. */
        atomic_store_explicit(&each->state, GC_BLOCKED, memory_order_release);
    }
}

static TRI_NOINLINE void wait_for_collector(gc_mutator *m)
{
    int64_t start = os_now();
    uint32_t state = GC_BLOCKED;
    for (unsigned spins = 0;; spins++) {
        state = GC_BLOCKED;
        if (atomic_compare_exchange_weak_explicit(&m->state, &state, GC_RUNNING,
                                                  memory_order_acq_rel, memory_order_relaxed))
            break;
        if (spins < 100)
            os_pause();
        else
            os_yield();
    }
    gc_record(m->records, GC_WAIT_SCAN, start, os_now());
}

void gc_unblock(gc_mutator *m)
{
    for (gc_mutator *each = m; each; each = each->thread_next) {
        uint32_t state = GC_BLOCKED;
        OS_DELAY("block.return");
        gc_deeper(each); /* from RUNNING on the handler could acknowledge, and record */
        TRI_SIGNAL_FENCE();
        /* Acquire: pairs with the collector's release of ACKING. */
        if (!atomic_compare_exchange_strong_explicit(&each->state, &state, GC_RUNNING,
                                                     memory_order_acq_rel, memory_order_relaxed))
            wait_for_collector(each);
        if (TRI_UNLIKELY(each->heap->options.verify))
            gc_verify_clear_below(each);
        gc_poll(each);
        TRI_SIGNAL_FENCE();
        gc_shallower(each);
    }
}
