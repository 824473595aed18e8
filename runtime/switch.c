/* Switching coroutines: leave, arrive, park, ready, yield.
 *
 * A coroutine that parks goes straight into the next one of its P, without a stop on the M's own
 * stack: the common switch is one os_switch(). Only when the P has nothing at hand does the M return
 * to its own stack, to search (find.c).
 *
 * Switch, then publish. A coroutine that is leaving must not run elsewhere, and its stack must not be
 * scanned, before its context is saved. So the side that is leaving does nothing but remember itself
 * in m->prev; the side that the switch arrives at publishes it: gc_stack_park(), then the step that
 * lets others have it (sched_after). Every place that a switch can arrive at begins with
 * sched_arrive().
 *
 * Rejected: holding the lock of the wait queue across the switch, as Go does (the stack entered may
 * have to be scanned first, and all who want the lock would wait for that). Here a coroutine becomes
 * PARKING, enters the queue and drops the lock; a waker that finds it still PARKING marks it WOKEN,
 * and the arriving side queues it. That is one compare-and-swap for each park; a waker that finds
 * WAITING needs none, for it alone took the waiter out of its queue.
 *
 * in_runtime is the depth of the thread, not of the coroutine. It is 1 at every switch, so one entry
 * is open on either side, and whoever arrives closes its own with sched_leave().
 *
 * Nothing thread-local survives a switch: functions that switch are not inlined and read gc_self()
 * anew.
 */
#include "os/delay.h"
#include "os/report.h"
#include "runtime/sched.h"

static void queue_local(sched_m *m, sched_g *g)
{
    atomic_store_explicit(&g->state, SCHED_RUNNABLE, memory_order_relaxed);
    sched_ring_put(m->p, g);
}

static void queue_global(sched_m *m, sched_g *g)
{
    atomic_store_explicit(&g->state, SCHED_RUNNABLE, memory_order_relaxed);
    sched_global_put(m->sched, g, g, 1);
    sched_wake(m->sched);
}

static void finish_park(sched_m *m, sched_g *g)
{
    uint32_t state = SCHED_PARKING;
    OS_DELAY("switch.parking");
    /* Release: whoever readies it sees its context. Acquire on failure: pairs with the waker's
     * release of WOKEN, whose result the coroutine will read. */
    if (TRI_LIKELY(atomic_compare_exchange_strong_explicit(
            &g->state, &state, SCHED_WAITING, memory_order_acq_rel, memory_order_acquire)))
        return;
    TRI_ASSERT(state == SCHED_WOKEN, "a parking coroutine can only have been woken");
    queue_local(m, g);
}

/* What the coroutine that was left becomes. */
static void publish(sched_m *m, sched_g *prev)
{
    if (m->after == SCHED_AFTER_EXIT) {
        sched_g_retire(m, prev);
        return;
    }
    gc_stack_park(m->mu, &prev->stack, (uintptr_t)prev->ctx.sp);
    if (TRI_UNLIKELY(prev->bound))
        sched_shared_leave(m, prev);
    switch (m->after) {
    case SCHED_AFTER_PARK: finish_park(m, prev); break;
    case SCHED_AFTER_YIELD: queue_local(m, prev); break;
    case SCHED_AFTER_GLOBAL: queue_global(m, prev); break;
    case SCHED_AFTER_NONE:
    case SCHED_AFTER_EXIT: break;
    }
}

static inline sched_m *arrive(sched_m *m)
{
    sched_g *prev = m->prev;
    sched_fiber_arrive(m->g ? &m->g->fiber : &m->fiber, prev ? &prev->fiber : &m->fiber);
    TRI_ASSERT(gc_depth(m->mu) == 1, "every switch is made one call deep in the runtime");
    if (!m->g)
        m->mu->stack = NULL; /* the M's own stack has no managed pointers */
    m->prev = NULL;
    OS_DELAY("switch.arrive");
    if (prev)
        publish(m, prev);
    return m;
}

sched_m *sched_arrive(void)
{
    return arrive(gc_self()->runtime);
}

/* g's stack becomes the M's; nothing may poll from here to the switch. */
static void enter(sched_m *m, sched_g *g)
{
    TRI_ASSERT(atomic_load_explicit(&g->state, memory_order_relaxed) == SCHED_RUNNABLE,
               "only a runnable coroutine is run");
    gc_stack_resume(m->mu, &g->stack);
    if (g->stack.sp == g->stack.hi) /* nothing on its stack: it has not begun */
        sched_g_begin(m->mu, g);
    atomic_store_explicit(&g->state, SCHED_RUNNING, memory_order_relaxed);
    atomic_store_explicit(&m->p->switches,
                          atomic_load_explicit(&m->p->switches, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    g->m = m;
    m->g = g;
}

void sched_switch(sched_m *m, sched_g *next, sched_after after)
{
    sched_g *g = m->g;
    TRI_ASSERT(gc_depth(m->mu) == 1, "every switch is made one call deep in the runtime");
    m->prev = g;
    m->after = after;
    bool dies = after == SCHED_AFTER_EXIT;
    if (next) {
        enter(m, next);
        sched_fiber_leave(&g->fiber, &next->fiber, dies);
        os_switch(&g->ctx, &next->ctx);
    } else {
        m->g = NULL;
        sched_fiber_leave(&g->fiber, &m->fiber, dies);
        os_switch(&g->ctx, &m->ctx);
    }
    arrive(g->m); /* who switched here wrote g->m */
}

void sched_run(sched_m *m, sched_g *g)
{
    m->prev = NULL;
    enter(m, g);
    sched_fiber_leave(&m->fiber, &g->fiber, false);
    os_switch(&m->ctx, &g->ctx);
    arrive(m);
}

sched_g *sched_next(sched_m *m)
{
    sched_p *p = m->p;
    if (TRI_UNLIKELY(p->fair <= 1)) {
        p->fair = 0;
        return NULL;
    }
    p->fair--;
    sched_g *g = sched_runnext_get(p);
    if (!g) {
        g = sched_ring_get(p);
        if (!g)
            return NULL;
        atomic_store_explicit(&p->tick, atomic_load_explicit(&p->tick, memory_order_relaxed) + 1,
                              memory_order_relaxed);
    }
    return TRI_LIKELY(g->memory) || sched_g_equip(m, g) ? g : NULL;
}

/* ---- park and ready ------------------------------------------------------------------------------- */

void sched_park(sched_m *m)
{
    sched_g *g = m->g;
    uint32_t state = SCHED_WOKEN;
    /* Acquire: pairs with the waker's release in ready_parking(). */
    if (atomic_load_explicit(&g->state, memory_order_relaxed) == SCHED_WOKEN &&
        atomic_compare_exchange_strong_explicit(&g->state, &state, SCHED_RUNNING,
                                                memory_order_acquire, memory_order_relaxed))
        return;
    atomic_store_explicit(&g->since, atomic_load_explicit(&m->sched->now, memory_order_relaxed),
                          memory_order_relaxed);
    sched_switch(m, sched_next(m), SCHED_AFTER_PARK);
}

/* True if g is the caller's to queue; false if it was still on its stack, and its M will. */
static bool ready_claim(sched_g *g)
{
    /* Acquire: pairs with the release in finish_park(), its context is saved. */
    uint32_t state = atomic_load_explicit(&g->state, memory_order_acquire);
    if (state == SCHED_PARKING) {
        OS_DELAY("switch.wake");
        /* Release: the coroutine sees what its waker did; pairs with finish_park(). */
        if (atomic_compare_exchange_strong_explicit(&g->state, &state, SCHED_WOKEN,
                                                    memory_order_acq_rel, memory_order_acquire))
            return false;
    }
    TRI_CHECK(state == SCHED_WAITING, "only a parked coroutine is made runnable");
    atomic_store_explicit(&g->state, SCHED_RUNNABLE, memory_order_relaxed);
    return true;
}

/* The M that the caller may queue on: it holds a P of g's scheduler. */
static sched_m *ready_m(const sched *s)
{
    gc_mutator *mu = gc_self();
    if (sched_is_trap(mu) || !mu->runtime)
        return NULL;
    sched_m *m = mu->runtime;
    return m->kind == SCHED_KIND_M && m->sched == s && m->p && gc_depth(mu) ? m : NULL;
}

/* Queues g and returns the M it was queued on, or NULL if that was the global queue. */
static sched_m *ready_outside(sched *s, sched_g *g)
{
    sched_m *m = ready_m(s);
    if (m)
        return m;
    sched_global_put(s, g, g, 1);
    sched_wake(s);
    return NULL;
}

/* A wake-up missed here costs parallelism until the monitor's next look, not progress: this P runs
 * what it has queued. So no fence stands between queueing and looking for idle Ps. */
void sched_ready(sched_g *g)
{
    sched *s = g->sched;
    sched_m *m = ready_claim(g) ? ready_outside(s, g) : NULL;
    if (!m)
        return;
    sched_runnext_put(m->p, g);
    if (!atomic_load_explicit(&s->nidle, memory_order_relaxed))
        return;
    if (sched_ring_length(m->p))
        sched_wake(s);
    else
        sched_monitor_watch(m->p);
}

void sched_ready_last(sched_g *g)
{
    sched *s = g->sched;
    sched_m *m = ready_claim(g) ? ready_outside(s, g) : NULL;
    if (!m)
        return;
    sched_ring_put(m->p, g);
    sched_wake(s);
}

void sched_ready_all(sched_g *first)
{
    sched *s = first->sched;
    sched_g *head = NULL, *last = NULL;
    uint32_t n = 0;
    for (sched_g *next, *g = first; g; g = next) {
        next = g->next;
        if (!ready_claim(g))
            continue;
        if (last)
            last->next = g;
        else
            head = g;
        last = g;
        n++;
    }
    if (!n)
        return;
    sched_global_put(s, head, last, n);
    sched_wake(s);
}

/* ---- yielding ------------------------------------------------------------------------------- */

static TRI_NOINLINE void yield_thread(void)
{
    if (!sched_is_trap(gc_self()))
        tri_safepoint_();
    os_yield();
}

void tri_yield(void)
{
    sched_m *m = sched_enter();
    if (TRI_UNLIKELY(!m)) {
        yield_thread();
        return;
    }
    sched_g *next = sched_next(m);
    if (next || m->p->fair == 0 || atomic_load_explicit(&m->sched->nglobal, memory_order_relaxed))
        sched_switch(m, next, SCHED_AFTER_YIELD);
    sched_leave();
}

/* Runnable coroutines wait, or the scheduler stops. */
static bool must_give_way(const sched_m *m)
{
    const sched *s = m->sched;
    return sched_lend_wanted(s) || !sched_queue_empty(m->p) || sched_shared_wanted(m->g) ||
           atomic_load_explicit(&s->nglobal, memory_order_relaxed) ||
           atomic_load_explicit(&s->stopping, memory_order_acquire); /* pairs with sched_stop's */
}

/* Gives way as the monitor asked. On a coroutine, one call deep in the runtime, with its P. */
static void preempt(sched_m *m)
{
    gc_poll_lower(m->mu, GC_POLL_PREEMPT);
    if (!must_give_way(m))
        return;
    atomic_store_explicit(&m->g->state, SCHED_PREEMPTED, memory_order_relaxed);
    /* By turns: g itself goes to the global queue, and would come back from it before those that wait
     * in the own one. */
    m->p->global_turn = !m->p->global_turn;
    m->prefer_global =
        m->p->global_turn && atomic_load_explicit(&m->sched->nglobal, memory_order_relaxed);
    sched_switch(m, NULL, SCHED_AFTER_GLOBAL);
}

void sched_preempt(gc_mutator *mu)
{
    sched_m *m = sched_enter();
    if (!m) {
        gc_poll_lower(mu, GC_POLL_PREEMPT);
        return;
    }
    if (gc_depth(m->mu) == 1)
        preempt(m);
    gc_shallower(gc_self());
}

static void leave_thread(gc_mutator *mu)
{
    gc_deeper(mu);
    gc_poll(mu);
    gc_poll_lower(mu, GC_POLL_PREEMPT);
    gc_shallower(mu);
}

void sched_leave_slow(void)
{
    sched_m *m = sched_enter();
    if (!m) {
        leave_thread(gc_self());
        return;
    }
    gc_poll(m->mu);
    if (gc_polled(m->mu) & GC_POLL_PREEMPT)
        preempt(m);
    gc_shallower(gc_self());
}

void sched_switch_deep(sched_m *m, sched_after after)
{
    uint32_t depth = gc_depth(m->mu);
    gc_set_depth(m->mu, 1);
    sched_switch(m, NULL, after);
    gc_set_depth(gc_self(), depth);
}
