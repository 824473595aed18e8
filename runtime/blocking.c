/* Blocking calls, and the way back of a coroutine whose M has lost its P.
 *
 * A blocking call is a callback, so that the caller's frame stands still: its registers are spilled,
 * everything it holds lies above one address, and the collector may scan it and acknowledge for the
 * thread while the callback runs.
 *
 * The P is not handed off, it is left lying: the M unbinds the run tables, sets the P to SYSCALL and
 * goes. Whoever wants the P takes it by compare-and-swap from SYSCALL: the M itself when it is back
 * soon, which is the common case and costs no thread switch; the monitor when the call lasts longer
 * than a look or two and somebody could use the P. Rejected: handing off at once (a futex call and
 * two thread switches for a call of a microsecond).
 *
 * An M that comes back and finds its P gone takes an idle one, or queues its coroutine and sleeps.
 * A demoted M (monitor.c) comes back the same way, at its next runtime call; but its run tables were
 * bound all the time, and go to the spares.
 */
#include "os/clock.h"
#include "runtime/sched.h"
#include "tricolor/thread.h"

#define RETAKE_NS 20000

struct blocking {
    void (*fn)(void *);
    void *arg;
};

/* ---- threads ----------------------------------------------------------------------------------- */

/* gc_block() and gc_unblock() take the whole chain of the thread's mutators. */
void sched_block_thread(uintptr_t sp)
{
    if (!gc_attached())
        return;
    gc_mutator *mu = gc_self();
    gc_deeper(mu);
    gc_block(mu, sp);
}

void sched_unblock_thread(void)
{
    if (!gc_attached()) /* asks whose it is, not what is in it: that is the collector's just now */
        return;
    gc_mutator *mu = gc_self();
    gc_unblock(mu);
    gc_shallower(mu);
}

static void on_thread(void *arg, void *sp)
{
    struct blocking *b = arg;
    sched_block_thread((uintptr_t)sp);
    b->fn(b->arg);
    sched_unblock_thread();
}

/* ---- coroutines ----------------------------------------------------------------------------------- */

static sched_p *leave_p(sched_m *m)
{
    sched_p *p = sched_release(m);
    /* A look of the monitor at a later call must not take it for this one. */
    atomic_store_explicit(&p->tick, atomic_load_explicit(&p->tick, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    atomic_store_explicit(&m->g->reason, SCHED_REASON_BLOCKING, memory_order_relaxed);
    atomic_store_explicit(&m->g->state, SCHED_SYSCALL, memory_order_relaxed);
    /* Release: pairs with the acquire of whoever takes the P. */
    atomic_store_explicit(&p->state, SCHED_P_SYSCALL, memory_order_release);
    return p;
}

/* Whether anybody could use the P before the monitor looks by itself. */
static void tell_monitor(sched *s, sched_p *p)
{
    if (sched_queue_empty(p) && atomic_load_explicit(&s->nidle, memory_order_relaxed))
        return;
    sched_monitor_kick(s, os_now() + RETAKE_NS);
}

static sched_p *idle_p(sched *s)
{
    if (!atomic_load_explicit(&s->nidle, memory_order_relaxed))
        return NULL;
    os_mutex_lock(&s->lock);
    sched_p *p = atomic_load_explicit(&s->stopping, memory_order_relaxed)
                     ? NULL
                     : sched_p_take_idle_locked(s);
    os_mutex_unlock(&s->lock);
    return p;
}

/* With a P on return, perhaps on another thread. */
static void return_p(sched_m *m, sched_p *old)
{
    uint32_t state = SCHED_P_SYSCALL;
    /* Acquire: pairs with leave_p()'s release, or that of another M which has since left the same
     * P lying: then it is as good as an idle one. */
    if (old &&
        atomic_compare_exchange_strong_explicit(&old->state, &state, SCHED_P_RUNNING,
                                                memory_order_acquire, memory_order_relaxed)) {
        sched_acquire(m, old);
        return;
    }
    sched_p *p = idle_p(m->sched);
    if (p && TRI_UNLIKELY(m->sched->forked))
        sched_fork_equip(p);
    if (p)
        sched_acquire(m, p);
    else
        sched_switch_deep(m, SCHED_AFTER_GLOBAL);
}

static void on_coroutine(void *arg, void *sp)
{
    struct blocking *b = arg;
    sched_m *m = sched_enter();
    sched_g *g = m->g;
    sched_p *p = leave_p(m);
    gc_block(m->mu, (uintptr_t)sp);
    tell_monitor(m->sched, p);
    atomic_store_explicit(&m->blocked, true, memory_order_relaxed);
    b->fn(b->arg);
    atomic_store_explicit(&m->blocked, false, memory_order_relaxed);
    gc_unblock(m->mu);
    atomic_store_explicit(&g->state, SCHED_RUNNING, memory_order_relaxed);
    return_p(m, p);
    gc_shallower(gc_self());
}

void sched_blocking(void (*fn)(void *), void *arg)
{
    struct blocking b = {fn, arg};
    os_call_spilled(sched_self() ? on_coroutine : on_thread, &b);
}

void tri_blocking(void (*fn)(void *), void *arg)
{
    sched_blocking(fn, arg);
    tri_safepoint_();
}

/* ---- rejoining --------------------------------------------------------------------------------------- */

TRI_NOINLINE void sched_rejoin(void)
{
    sched_m *m = gc_self()->runtime;
    uint32_t lost;
    /* Acquire: pairs with the monitor's decision. */
    while ((lost = atomic_load_explicit(&m->lost, memory_order_acquire)) == SCHED_TAKING)
        os_pause();
    if (lost == SCHED_OWN)
        return;
    m->p = NULL; /* it has been another's for a while */
    atomic_store_explicit(&m->lost, SCHED_OWN, memory_order_relaxed);
    atomic_fetch_sub_explicit(&m->sched->ndemoted, 1, memory_order_relaxed);
    gc_poll_lower(m->mu, GC_POLL_PREEMPT);
    sched_spare_cache_put(m->sched, gc_unbind(m->mu));
    return_p(m, NULL);
}
