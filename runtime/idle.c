/* Idle Ps and idle Ms: how many threads look for work, and who wakes them.
 *
 * The problem is Go's. Keep enough threads awake to use the processors there are, and no more: a
 * thread too many burns a processor looking for nothing, one too few leaves work lying. Work can
 * appear on any P, is taken without a central lock, and nobody knows the future: a coroutine that is
 * readied now may be run by its waker a microsecond later.
 *
 * Rejected: waking a thread for every coroutine that becomes runnable (a futex call each, and the
 * woken find nothing); handing the P of the waker over (locality lost, a thread switch each time).
 *
 * An M that has a P and no work is *spinning* while it searches. Whoever makes work available wakes
 * one more M only if there is an idle P and nobody spins. A spinning M that finds work wakes the
 * next one if it was the last spinner. So wake-ups come one after the other, as long as each finds
 * something, and end when one does not.
 *
 *     submitter                       M that gives up
 *       queue the coroutine             leave the spinning state  (seq_cst)
 *       look for idle Ps, spinners      look through all queues once more
 *
 * With a full fence between the two lines of each, the submitter is seen by the M, or sees that nobody
 * spins. Submitters to the global queue have one, in sched_global_put(). Submitters to their
 * own P's queue have none, on purpose: a missed wake-up leaves the coroutine where its own P runs
 * it; what is lost is parallelism, until the monitor's next look at queues beside idle Ps. That
 * fence would cost as much as the rest of the wake-up.
 *
 * One thing more is left to the monitor: a coroutine alone in runnext wakes nobody at all, since most
 * of the time its waker parks at once and it runs here, with warm data. The monitor (told so by
 * sched_monitor_watch()) moves it to an idle P when it still waits at the next look, 50 us later.
 *
 * An idle M has no P and no run tables; it waits on its own futex word, blocked in the collector's
 * sense, so that nobody waits for it either.
 *
 * Invariant: nidle is the length of the idle list; a P in it has an empty queue, unless a submitter
 * just missed the wake-up as said above.
 */
#include "os/clock.h"
#include "runtime/sched.h"

/* ---- Ps --------------------------------------------------------------------------------------- */

void sched_p_put_idle_locked(sched *s, sched_p *p)
{
    /* Release: pairs with the acquire of whoever takes it; only under the lock, but the monitor
     * reads the state without. */
    atomic_store_explicit(&p->state, SCHED_P_IDLE, memory_order_release);
    p->next_idle = s->idle_ps;
    s->idle_ps = p;
    atomic_fetch_add_explicit(&s->nidle, 1, memory_order_seq_cst); /* see the essay */
}

sched_p *sched_p_take_idle_locked(sched *s)
{
    sched_p *p = s->idle_ps;
    if (!p)
        return NULL;
    s->idle_ps = p->next_idle;
    atomic_store_explicit(&p->state, SCHED_P_RUNNING, memory_order_relaxed);
    atomic_fetch_sub_explicit(&s->nidle, 1, memory_order_seq_cst); /* as in sched_acquire() */
    return p;
}

void sched_acquire(sched_m *m, sched_p *p)
{
    TRI_ASSERT(!m->p, "an M runs one P at a time");
    m->p = p;
    atomic_store_explicit(&m->lost, SCHED_OWN, memory_order_relaxed);
    atomic_store_explicit(&p->m, m, memory_order_release); /* pairs with the monitor's acquire */
    gc_bind(m->mu, p->cache);
    p->cache = NULL;
    /* seq_cst: nidle was lowered before this is read; the monitor sets it before it reads nidle. */
    if (TRI_UNLIKELY(atomic_load_explicit(&m->sched->monitor_deep, memory_order_seq_cst)))
        sched_monitor_kick(m->sched, 0);
}

sched_p *sched_release(sched_m *m)
{
    sched_p *p = m->p;
    p->cache = gc_unbind(m->mu);
    atomic_store_explicit(&p->m, NULL, memory_order_relaxed);
    m->p = NULL;
    return p;
}

/* ---- spare run tables -------------------------------------------------------------------------- */

void sched_spare_cache_put(sched *s, heap_cache *c)
{
    os_mutex_lock(&s->lock);
    bool kept = s->nspare < s->nprocs;
    if (kept)
        s->spare[s->nspare++] = c;
    os_mutex_unlock(&s->lock);
    if (!kept)
        heap_cache_free(c);
}

heap_cache *sched_spare_cache_get(sched *s)
{
    os_mutex_lock(&s->lock);
    heap_cache *c = s->nspare ? s->spare[--s->nspare] : NULL;
    os_mutex_unlock(&s->lock);
    if (!c && heap_cache_new(s->heap, &c))
        return NULL;
    return c;
}

/* ---- Ms --------------------------------------------------------------------------------------- */

static void m_wake(sched_m *m)
{
    /* Release: pairs with the acquire in sleep_until_woken(), next_p is set. */
    atomic_store_explicit(&m->wake, 1, memory_order_release);
    os_futex_wake(&m->wake, 1);
}

void sched_start_m(sched *s, sched_p *p, bool spinning)
{
    os_mutex_lock(&s->lock);
    sched_m *m = s->idle_ms;
    if (m) {
        s->idle_ms = m->next_idle;
        s->nidle_ms--;
        m->next_p = p;
        m->next_spinning = spinning;
    }
    os_mutex_unlock(&s->lock);
    if (m) {
        m_wake(m);
        return;
    }
    int err = sched_machine_start(s, p, spinning);
    if (err)
        sched_unstarted(s, p, spinning, err);
}

TRI_NOINLINE void sched_unstarted(sched *s, sched_p *p, bool spinning, int err)
{
    int64_t never = 0;
    atomic_store_explicit(&s->unstarted_error, err, memory_order_relaxed);
    atomic_compare_exchange_strong_explicit(&s->unstarted_since, &never, os_now(),
                                            memory_order_relaxed, memory_order_relaxed);
    os_mutex_lock(&s->lock);
    sched_p_put_idle_locked(s, p);
    os_mutex_unlock(&s->lock);
    if (spinning)
        atomic_fetch_sub_explicit(&s->nspinning, 1, memory_order_seq_cst);
    /* It may have gone to sleep without end when nothing ran. */
    sched_monitor_kick(s, 0);
}

TRI_NOINLINE void sched_wake_one(sched *s)
{
    uint32_t none = 0;
    if (!atomic_compare_exchange_strong_explicit(&s->nspinning, &none, 1, memory_order_seq_cst,
                                                 memory_order_relaxed)) /* see the essay */
        return;
    os_mutex_lock(&s->lock);
    sched_p *p = atomic_load_explicit(&s->stopping, memory_order_relaxed)
                     ? NULL
                     : sched_p_take_idle_locked(s);
    os_mutex_unlock(&s->lock);
    if (!p) {
        atomic_fetch_sub_explicit(&s->nspinning, 1, memory_order_seq_cst);
        return;
    }
    sched_start_m(s, p, true);
}

void sched_hand_off(sched *s, sched_p *p)
{
    bool work = !sched_queue_empty(p) || atomic_load_explicit(&s->nglobal, memory_order_relaxed);
    if (work && !atomic_load_explicit(&s->stopping, memory_order_relaxed)) {
        sched_start_m(s, p, false);
        return;
    }
    os_mutex_lock(&s->lock);
    work = s->first;
    if (!work)
        sched_p_put_idle_locked(s, p);
    os_mutex_unlock(&s->lock);
    if (work)
        sched_start_m(s, p, false);
}

static void sleep_until_woken(sched_m *m)
{
    gc_block(m->mu, 0);
    while (!atomic_load_explicit(&m->wake, memory_order_acquire)) /* pairs with m_wake() */
        os_futex_wait(&m->wake, 0, -1);
    gc_unblock(m->mu);
}

bool sched_m_wait(sched_m *m)
{
    sched *s = m->sched;
    TRI_ASSERT(!m->p && !m->spinning, "an M gives up its P before it sleeps");
    os_mutex_lock(&s->lock);
    if (atomic_load_explicit(&s->stopping, memory_order_relaxed)) {
        os_mutex_unlock(&s->lock);
        return false;
    }
    m->next_p = NULL;
    atomic_store_explicit(&m->wake, 0, memory_order_relaxed);
    m->next_idle = s->idle_ms;
    s->idle_ms = m;
    s->nidle_ms++;
    os_mutex_unlock(&s->lock);
    sleep_until_woken(m);
    if (!m->next_p)
        return false;
    m->spinning = m->next_spinning;
    sched_acquire(m, m->next_p);
    return true;
}

void sched_idle_wake_all(sched *s)
{
    for (;;) {
        os_mutex_lock(&s->lock);
        sched_m *m = s->idle_ms;
        if (m) {
            s->idle_ms = m->next_idle;
            s->nidle_ms--;
            m->next_p = NULL;
        }
        os_mutex_unlock(&s->lock);
        if (!m)
            return;
        m_wake(m);
    }
}
