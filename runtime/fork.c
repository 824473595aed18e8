/* fork(): the scheduler in the child.
 *
 * Before the fork all locks are taken, so that nothing under them is half changed in the child. There,
 * one thread is left, and with it at most one M. Its coroutine goes on: it may allocate, store, make
 * blocking calls, and call exec or exit, which is what nearly all children do. All other coroutines
 * stay behind with the parent: running copies of them would do everything twice. So the queues and
 * the timers are emptied, nothing new is started (-ECHILD), and a coroutine that parks or ends in the
 * child, and would leave nothing to run, ends the process with a line that says so.
 *
 * Rejected: to start the scheduler anew in the child, with threads and all, on behalf of programs that
 * fork and stay. They can call tri_run() there, which makes a heap of its own.
 */
#include "os/report.h"
#include "runtime/sched.h"

void sched_fork_prepare(tri_heap *h)
{
    sched *s = h->sched;
    if (!s)
        return;
    os_mutex_lock(&s->machines_lock);
    os_mutex_lock(&s->pool_lock);
    os_mutex_lock(&s->stacks_lock);
    sched_shared_fork_prepare(s);
    os_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < s->nprocs; i++)
        os_mutex_lock(&s->ps[i].timers.lock);
}

void sched_fork_release(tri_heap *h)
{
    sched *s = h->sched;
    if (!s)
        return;
    for (uint32_t i = s->nprocs; i-- > 0;)
        os_mutex_unlock(&s->ps[i].timers.lock);
    os_mutex_unlock(&s->lock);
    sched_shared_fork_release(s);
    os_mutex_unlock(&s->stacks_lock);
    os_mutex_unlock(&s->pool_lock);
    os_mutex_unlock(&s->machines_lock);
}

/* Its M, if it is another one, may have been in the middle of anything. */
static void empty(sched_p *p, bool own)
{
    atomic_store_explicit(&p->runnext, NULL, memory_order_relaxed);
    atomic_store_explicit(&p->tail, atomic_load_explicit(&p->head, memory_order_relaxed),
                          memory_order_relaxed);
    p->timers.count = 0;
    atomic_store_explicit(&p->timers.next, INT64_MAX, memory_order_relaxed);
    if (own)
        return;
    p->free = NULL;
    p->nfree = 0;
    p->stacks = NULL;
    p->nstacks = 0;
    p->shared[0] = p->shared[1] = NULL;
    p->id_next = p->id_end = 0;
    atomic_store_explicit(&p->m, NULL, memory_order_relaxed);
    atomic_store_explicit(&p->state, SCHED_P_RUNNING, memory_order_relaxed); /* not to be taken */
}

/* The P that the calling M holds here: the monitor, which may have been about to take it, is gone. */
static sched_p *keep_own_p(sched *s)
{
    sched_m *m = sched_self();
    if (!m || m->sched != s || !m->p)
        return NULL;
    uint32_t lost = atomic_load_explicit(&m->lost, memory_order_relaxed);
    if (lost == SCHED_LOST)
        return NULL;
    atomic_store_explicit(&m->lost, SCHED_OWN, memory_order_relaxed);
    atomic_store_explicit(&m->p->m, m, memory_order_relaxed);
    return m->p;
}

/* The locks are still held. If the calling M has no P, it was demoted or is in a blocking call, and
 * finds an idle one when it comes back. Otherwise none is idle, so that nobody is ever woken. */
void sched_fork_child(tri_heap *h)
{
    sched *s = h->sched;
    if (!s)
        return;
    s->forked = true;
    s->first = s->last = NULL;
    atomic_store_explicit(&s->nglobal, 0, memory_order_relaxed);
    atomic_store_explicit(&s->nspinning, 0, memory_order_relaxed);
    atomic_store_explicit(&s->nidle, 0, memory_order_relaxed);
    atomic_store_explicit(&s->nwanted, 0, memory_order_relaxed); /* no collector runs here */
    sched_shared_fork_child(s);
    s->lent = NULL;
    s->idle_ps = NULL;
    s->idle_ms = NULL;
    s->nidle_ms = 0;
    sched_m *m = sched_self();
    bool ours = m && m->sched == s;
    if (ours)
        sched_fiber_forked(&m->fiber);
    bool demoted = ours && atomic_load_explicit(&m->lost, memory_order_relaxed) == SCHED_LOST;
    atomic_store_explicit(&s->ndemoted, demoted, memory_order_relaxed);
    sched_p *own = keep_own_p(s);
    uint32_t kept = own ? (uint32_t)(own - s->ps) : s->nprocs;
    for (uint32_t i = 0; i < s->nprocs; i++)
        empty(&s->ps[i], i == kept);
    if (!own)
        sched_p_put_idle_locked(s, &s->ps[0]);
}

/* The run tables of a P may have been bound to an M that is not there any more. */
void sched_fork_equip(sched_p *p)
{
    if (!p->cache && heap_cache_new(p->sched->heap, &p->cache))
        os_fatal("no memory for run tables in the child of a fork");
}

_Noreturn void sched_fork_nothing_to_run(void)
{
    os_fatal("in the child of a fork a coroutine waits or has ended, and no other is left");
}
