/* Handshakes: how the collector changes what mutators do without stopping them.
 *
 * The collector publishes a step and raises each mutator's poll flag. Each mutator acknowledges for
 * itself, alone, at a safepoint: a runtime call that polls, or the handshake signal, whose handler
 * acknowledges on the spot unless it interrupted a busy unit or the runtime. A mutator that is
 * blocked or idle does not run: the collector acknowledges for it, holding its state word in ACKING
 * so that it cannot resume meanwhile. Nobody ever waits for all to have arrived, except the
 * collector; that is why there is no stop of the world here.
 *
 * The slowest to acknowledge is one that has no processor. With far more threads than processors each uses up its
 * slice before the next can run a handler; so when a request has waited half a millisecond, mutators that
 * allocate give their processor away at each slow path until it is through (`crowded`). They wait for
 * nobody: the kernel decides who runs.
 *
 * Rejected: a global safepoint (Go, Java: the slowest thread decides how long all the others stand);
 * page protection tricks for polls (a fault costs more than a signal and needs a page per mutator);
 * membarrier() in place of the acknowledgements (it orders memory, but says nothing about a unit
 * that was begun before).
 *
 * Orderings. step and target are written before epoch (seq_cst store); a mutator reads epoch
 * (acquire) and then them. Its acknowledgement is a seq_cst fence and a release store of `acked`,
 * which the collector reads with acquire, then a seq_cst fence of its own: everything the mutator
 * did before is visible to the collector, everything the collector did before the request is visible
 * to the mutator. On x86 the fence also empties the store buffer, which the protocol needs.
 *
 * state: RUNNING and BLOCKED are exchanged by the mutator, BLOCKED and ACKING by the collector, always
 * by compare-and-swap: whoever has it out of BLOCKED owns the mutator's private fields.
 */
#include <errno.h>

#include "barrier/log.h"
#include "barrier/sabotage.h"
#include "gc/state.h"
#include "os/clock.h"
#include "os/context.h"
#include "os/delay.h"
#include "os/fence.h"
#include "os/report.h"

#define SPIN_NS  ((int64_t)15000)
#define SLEEP_NS ((int64_t)20000)
#define GRACE_NS \
    ((int64_t)5000) /* who allocates has polled by then, for less than a signal costs */
#define RESIGNAL_NS ((int64_t)50000)      /* a busy unit is over by then; also the poll interval */
#define CROWDED_NS  ((int64_t)500000)     /* mutators that allocate give way from then on */
#define WATCHDOG_NS ((int64_t)1000000000) /* a thread that has not acknowledged by then is named */

static void adopt_h2(gc_mutator *m, const struct gc *gc)
{
    if (m->cache) {
        heap_cache_switch(m->cache, gc->target.h2);
        gc_show_runs(m);
    }
    m->black = true;
    m->h2 = gc->target.h2;
    barrier_turn(m, TRI_SHADE_OLD);
}

/* The mutator's own step. Runs on its thread (poll or handler), or on the collector's while the
 * mutator is held in ACKING. Async-signal-safe. sp: all live words of m->stack are at or above it. */
static void perform(gc_mutator *m, gc_step step, uintptr_t sp, const void *ucontext)
{
    struct gc *gc = gc_of(m->heap);
    barrier_log_settle(m);
    m->depth = m->stack && sp ? m->stack->hi - sp : 0;
    switch (step) {
    case GC_STEP_H1:
        m->cycle = gc->target.cycle;
        barrier_turn(m, TRI_SHADE_OLD | TRI_SHADE_NEW);
        break;
    case GC_STEP_H2:
        gc_stack_take(m, sp, ucontext);
        OS_DELAY("handshake.taken");
        adopt_h2(m, gc);
        break;
    case GC_STEP_ROUND:
        if (!BARRIER_LACKS(ROUND))
            barrier_yield_buffer(m);
        break;
    case GC_STEP_H5:
        barrier_turn(m, 0);
        m->nbuffer = 0;
        m->black = false;
        m->gen = gc->target.gen;
        break;
    case GC_STEP_NONE:
    case GC_STEP_H1B:
    case GC_STEP_SYNC:
    case GC_STEP_VERIFY: break;
    }
}

static void stand_still(struct gc *gc, gc_mutator *m)
{
    int64_t start = os_now();
    while (
        atomic_load_explicit(&gc->verify_stop, memory_order_acquire)) /* pairs with the release */
        os_futex_wait(&gc->verify_stop, 1, 10000000);
    gc_record(m->records, GC_VERIFY, start, os_now());
}

/* step, then the acknowledgement, with a full fence between. */
static void acknowledge_one(struct gc *gc, gc_mutator *m, uint64_t epoch, uintptr_t sp,
                            const void *ucontext)
{
    gc_step step = (gc_step)atomic_load_explicit(&gc->step, memory_order_relaxed);
    OS_DELAY("handshake.perform");
    perform(m, step, sp, ucontext);
    os_fence(memory_order_seq_cst);
    OS_DELAY("handshake.performed");
    atomic_store_explicit(&m->acked, epoch, memory_order_release);
}

void gc_acknowledge(gc_mutator *m, uintptr_t sp, const void *ucontext)
{
    struct gc *gc = gc_of(m->heap);
    gc_poll_lower(m, GC_POLL_HANDSHAKE);
    uint64_t epoch = atomic_load_explicit(&gc->epoch, memory_order_acquire);
    if (atomic_load_explicit(&m->acked, memory_order_relaxed) == epoch)
        return;
    int64_t start = os_now();
    gc_step step = (gc_step)atomic_load_explicit(&gc->step, memory_order_relaxed);
    m->blocked_sp = sp; /* for the verifier */
    m->stopped_context = ucontext;
    acknowledge_one(gc, m, epoch, sp, ucontext);
    if (step == GC_STEP_VERIFY) {
        stand_still(gc, m);
        m->stopped_context = NULL;
        return;
    }
    int64_t end = os_now();
    gc_record(m->records, GC_HANDSHAKE, start, end);
    int64_t longest = atomic_load_explicit(&gc->longest, memory_order_relaxed);
    while (end - start > longest &&
           !atomic_compare_exchange_weak_explicit(&gc->longest, &longest, end - start,
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}

/* ---- polls ---------------------------------------------------------------------------------- */

static void acknowledge_spilled(void *arg, void *sp)
{
    gc_mutator *m = arg;
    if (TRI_UNLIKELY(m->heap->options.verify))
        gc_verify_clear_below(m);
    gc_acknowledge(m, (uintptr_t)sp, NULL);
}

void gc_poll_slow(gc_mutator *m)
{
    gc_deeper(m); /* or the handler could acknowledge in the middle of acknowledging */
    TRI_SIGNAL_FENCE();
    os_call_spilled(acknowledge_spilled, m);
    TRI_SIGNAL_FENCE();
    gc_shallower(m);
}

void tri_safepoint_slow_(void)
{
    gc_mutator *m = gc_self();
    if (m->pub.barrier & TRI_BARRIER_TRAP)
        return;
    gc_deeper(m);
    gc_poll(m);
    gc_shallower(m);
    if (gc_polled(m) & GC_POLL_PREEMPT && !m->pub.in_runtime) {
        const gc_hooks *hooks = gc_hooks_of(gc_of(m->heap));
        if (hooks->preempt)
            hooks->preempt(m);
    }
}

/* ---- the signal ------------------------------------------------------------------------------ */

static void on_signal(void *ucontext)
{
    int saved = errno;
    tri_mutator *pub = tri_self();
    if (!(pub->barrier & TRI_BARRIER_TRAP) && !pub->busy && !pub->in_runtime) {
        uintptr_t sp = os_context_sp(ucontext);
        for (gc_mutator *m = ((gc_mutator *)pub); m; m = m->thread_next) {
            gc_stack *s = m->stack;
            /* A stack pointer outside the registered stack: an embedder's own stack, or code between
             * two stacks; what to scan is not known, so the collector asks again. */
            bool known = s && sp >= s->lo && sp <= s->hi;
            if (known && !m->pub.busy && !m->pub.in_runtime &&
                atomic_load_explicit(&m->state, memory_order_relaxed) == GC_RUNNING)
                gc_acknowledge(m, sp, ucontext);
        }
    }
    errno = saved;
}

int gc_signals_open(void)
{
    return gc_resource_error(os_handshake_install(on_signal));
}

void gc_signals_close(void)
{
    os_handshake_uninstall();
}

/* ---- the collector's side -------------------------------------------------------------------- */

/* A blocked mutator does not run: hold it and act for it. */
static bool acknowledge_for(struct gc *gc, gc_mutator *m, uint64_t epoch)
{
    uint32_t state = GC_BLOCKED;
    /* Acquire: pairs with gc_block()'s release, so blocked_sp and the stack below it are ours. */
    if (!atomic_compare_exchange_strong_explicit(&m->state, &state, GC_ACKING, memory_order_acq_rel,
                                                 memory_order_relaxed))
        return false;
    if (atomic_load_explicit(&m->acked, memory_order_relaxed) != epoch) {
        gc_step step = (gc_step)atomic_load_explicit(&gc->step, memory_order_relaxed);
        perform(m, step, m->blocked_sp, NULL);
        OS_DELAY("handshake.for");
        os_fence(memory_order_seq_cst);
        atomic_store_explicit(&m->acked, epoch, memory_order_release);
        gc_poll_lower(m, GC_POLL_HANDSHAKE);
        if (step == GC_STEP_VERIFY)
            return true; /* stays held until the verifier releases it */
    }
    atomic_store_explicit(&m->state, GC_BLOCKED,
                          memory_order_release); /* pairs with gc_unblock() */
    return true;
}

/* Looks at two bytes that belong to the mutator alone, for whoever reads the message: they may be old. */
__attribute__((no_sanitize("thread"), noinline)) static void complain(gc_mutator *m, int64_t waited)
{
    os_print("tricolor: thread %d has not acknowledged a handshake for %lld ms (state %u, busy %u, "
             "in runtime %u)\n",
             m->tid, (long long)(waited / 1000000), atomic_load(&m->state), m->pub.busy,
             m->pub.in_runtime);
}

/* Asks everyone once; the number that has not acknowledged. */
static unsigned ask_round(struct gc *gc, uint64_t epoch, int64_t now, int64_t start,
                          int64_t *complain_at)
{
    unsigned pending = 0;
    gc_collector_lock(gc);
    for (gc_mutator *m = gc->mutators; m; m = m->next) {
        if (atomic_load_explicit(&m->acked, memory_order_acquire) == epoch)
            continue;
        if (acknowledge_for(gc, m, epoch))
            continue;
        pending++;
        if (gc->signals && now - start >= GRACE_NS && now - m->signalled_at >= RESIGNAL_NS) {
            OS_DELAY("handshake.signal");
            m->signalled_at = now;
            os_handshake_send(m->tid);
        }
        if (now >= *complain_at)
            complain(m, now - start);
    }
    gc_collector_unlock(gc);
    if (now >= *complain_at)
        *complain_at = now + 10 * WATCHDOG_NS;
    return pending;
}

/* Acknowledging must be cheap, so nobody wakes the collector: a futex wake would be the larger part of
 * the interruption. It looks again instead, first at once (a signal takes some microseconds to arrive),
 * then with short sleeps that leave the processor to the mutators. */
static void wait_for_acks(int64_t now, int64_t start)
{
    if (now - start < SPIN_NS)
        os_pause();
    else
        os_sleep_ns(SLEEP_NS);
}

void gc_handshake(struct gc *gc, gc_step step, gc_target target)
{
    int64_t start = os_now();
    int64_t complain_at = start + WATCHDOG_NS;
    os_mutex_lock(&gc->handshake_lock);
    gc_collector_lock(gc);
    uint64_t epoch = atomic_load_explicit(&gc->epoch, memory_order_relaxed) + 1;
    gc->target = target;
    atomic_store_explicit(&gc->step, step, memory_order_relaxed);
    atomic_store_explicit(&gc->longest, 0, memory_order_relaxed);
    atomic_store_explicit(&gc->epoch, epoch, memory_order_seq_cst); /* pairs with gc_acknowledge */
    for (gc_mutator *m = gc->mutators; m; m = m->next) {
        m->signalled_at = 0;
        OS_DELAY("handshake.raise");
        if (step == GC_STEP_H2)
            OS_DELAY("h2.raise");
        gc_poll_raise(m, GC_POLL_HANDSHAKE);
    }
    gc_collector_unlock(gc);
    for (;;) {
        int64_t now = os_now();
        if (!ask_round(gc, epoch, now, start, &complain_at))
            break;
        if (now - start >= CROWDED_NS)
            atomic_store_explicit(&gc->crowded, true, memory_order_relaxed);
        wait_for_acks(now, start);
    }
    atomic_store_explicit(&gc->crowded, false, memory_order_relaxed);
    os_fence(memory_order_seq_cst);
    os_mutex_unlock(&gc->handshake_lock);
    gc_book_measure(gc->book, GC_REACH, os_now() - start);
}
