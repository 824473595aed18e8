/* Lending Ps to the collector: while it marks, it takes the place of coroutines, not of the threads
 * that run them.
 *
 * A collector thread beside a busy M on each processor is one thread too many. The kernel then takes
 * processors away from Ms in the middle of anything, for milliseconds: in a handshake, with the lock of
 * the page heap held, with the run queue of a P in hand. So for each marking thread for which there is
 * no processor without a P, one P stands idle: its M moves what it had queued to where the others find
 * it, and sleeps. What coroutines lose is the same, and nobody is interrupted at a bad moment.
 *
 * The last P is never lent. An M gives its P when it next comes to the scheduler: it is asked like one
 * whose time slice is over. A coroutine that does not come keeps it, for the collector does not wait:
 * it marks with or without.
 *
 * Rejected: marking on Ms, as coroutines of the scheduler (a worker per P, Go's way): the kernel could
 * no longer preempt marking for a sleeper that is due, and a heap without a scheduler would need another
 * way.
 *
 * Invariant, under sched.lock: nlent + nwanted < nprocs; a lent P is RUNNING with no M, its queue is
 * empty, and it is in the list `lent`.
 */
#include "runtime/sched.h"

/* What is queued on a P that nobody will run goes where every M looks. */
static void empty_queue(sched_p *p)
{
    for (sched_g *g; (g = sched_runnext_get(p)) || (g = sched_ring_get(p));)
        sched_global_put(p->sched, g, g, 1);
}

static void ask_all(sched *s)
{
    for (uint32_t i = 0; i < s->nprocs; i++) {
        /* Acquire: pairs with sched_acquire(). Ms are not freed before the scheduler is. */
        sched_m *m = atomic_load_explicit(&s->ps[i].m, memory_order_acquire);
        if (m)
            gc_poll_raise(m->mu, GC_POLL_PREEMPT);
    }
}

void sched_lend_begin(sched *s, uint32_t n)
{
    if (n >= s->nprocs)
        n = s->nprocs - 1;
    os_mutex_lock(&s->lock);
    bool ask = !atomic_load_explicit(&s->stopping, memory_order_relaxed);
    while (ask && n && s->idle_ps) {
        sched_p *p = sched_p_take_idle_locked(s);
        p->next_idle = s->lent;
        s->lent = p;
        n--;
    }
    ask = ask && n;
    if (ask)
        atomic_store_explicit(&s->nwanted, n, memory_order_relaxed);
    os_mutex_unlock(&s->lock);
    if (ask)
        ask_all(s);
}

void sched_lend_end(sched *s)
{
    bool stopping;
    os_mutex_lock(&s->lock);
    atomic_store_explicit(&s->nwanted, 0, memory_order_relaxed);
    while (s->lent) {
        sched_p *p = s->lent;
        s->lent = p->next_idle;
        sched_p_put_idle_locked(s, p);
    }
    stopping = atomic_load_explicit(&s->stopping, memory_order_relaxed);
    os_mutex_unlock(&s->lock);
    if (!stopping)
        sched_wake(s);
}

/* Puts the P that the M has just released into the list, unless enough were given meanwhile. */
static bool put_lent(sched *s, sched_p *p)
{
    os_mutex_lock(&s->lock);
    uint32_t wanted = atomic_load_explicit(&s->nwanted, memory_order_relaxed);
    if (wanted) {
        atomic_store_explicit(&s->nwanted, wanted - 1, memory_order_relaxed);
        p->next_idle = s->lent;
        s->lent = p;
    }
    os_mutex_unlock(&s->lock);
    return wanted;
}

bool sched_lend(sched_m *m)
{
    sched *s = m->sched;
    sched_p *p = sched_release(m);
    if (!put_lent(s, p)) {
        sched_acquire(m, p);
        return false;
    }
    empty_queue(p);
    /* Another P may have become idle after this M last looked for work to leave to it. */
    sched_wake(s);
    return true;
}
