/* The search for a coroutine to run, on the M's own stack.
 *
 * In this order: timers of the own P that are due; every SCHED_FAIR-th time, and after a preemption,
 * the global queue (else two coroutines that ready each other could starve it); the own queue; the
 * global queue; the queues of others, in random order, half of what is there; marking, if the
 * collector has work to give away. Then the P is given up and the M sleeps (idle.c has the rules).
 *
 * Marking is for processors that have nothing else to do. Who marks does not spin, has woken another
 * if there was more to mark, and looks between two spans whether it is needed. There may be more Ps
 * than processors, and each coroutine that was demoted runs without a P: so many idle Ps have no
 * processor behind them. They helped once: beside two workers of which one was always demoted, since a
 * third woke each millisecond, the helper took a third of both processors for as long as the collector
 * marked.
 *
 * At most half as many Ms spin as there are busy Ps: thieves beyond that only meet each other.
 */
#include "os/clock.h"
#include "os/fence.h"
#include "runtime/sched.h"

#define STEAL_ROUNDS 4
#define HELP_LOOK_NS 50000

static sched_g *from_global(sched *s, sched_p *p)
{
    if (!atomic_load_explicit(&s->nglobal, memory_order_relaxed))
        return NULL;
    os_mutex_lock(&s->lock);
    sched_g *g = sched_global_get_locked(s, p);
    os_mutex_unlock(&s->lock);
    return g;
}

static sched_g *from_own(sched_p *p)
{
    sched_g *g = sched_runnext_get(p);
    return g ? g : sched_ring_get(p);
}

static void run_timers(sched_p *p)
{
    /* Acquire: pairs with the release of whoever made the heap's first entry. */
    int64_t next = atomic_load_explicit(&p->timers.next, memory_order_acquire);
    if (next == INT64_MAX)
        return;
    int64_t now = os_now();
    if (next <= now)
        sched_timers_run(p, now);
}

static bool may_spin(const sched_m *m)
{
    const sched *s = m->sched;
    uint32_t busy = s->nprocs - atomic_load_explicit(&s->nidle, memory_order_relaxed);
    return m->spinning || 2 * atomic_load_explicit(&s->nspinning, memory_order_relaxed) < busy;
}

static void start_spinning(sched_m *m)
{
    if (m->spinning)
        return;
    m->spinning = true;
    atomic_fetch_add_explicit(&m->sched->nspinning, 1, memory_order_relaxed);
}

static uint32_t stop_spinning(sched_m *m)
{
    m->spinning = false;
    /* seq_cst: comes before the last look through the queues; see idle.c. */
    return atomic_fetch_sub_explicit(&m->sched->nspinning, 1, memory_order_seq_cst) - 1;
}

/* A P whose blocked M cannot run its runnext loses that to thieves as well. */
static sched_g *from_victim(sched_p *p, sched_p *victim)
{
    sched_g *g = sched_ring_steal(p, victim);
    if (!g && atomic_load_explicit(&victim->state, memory_order_relaxed) == SCHED_P_SYSCALL)
        g = sched_runnext_get(victim);
    return g;
}

static sched_g *from_others(sched_m *m)
{
    sched *s = m->sched;
    sched_p *p = m->p;
    for (int round = 0; round < STEAL_ROUNDS; round++) {
        uint32_t start = os_random_below(&m->random, s->nprocs);
        for (uint32_t i = 0; i < s->nprocs; i++) {
            sched_p *victim = &s->ps[(start + i) % s->nprocs];
            if (victim == p)
                continue;
            sched_g *g = from_victim(p, victim);
            if (!g && round == STEAL_ROUNDS - 1) {
                run_timers(victim);
                g = from_own(p); /* what its timers made runnable */
            }
            if (g)
                return g;
        }
        os_pause();
    }
    return NULL;
}

static bool work_anywhere(const sched *s)
{
    if (atomic_load_explicit(&s->nglobal, memory_order_relaxed))
        return true;
    for (uint32_t i = 0; i < s->nprocs; i++)
        if (sched_ring_length(&s->ps[i]))
            return true;
    return false;
}

/* Gives the P up. True: there was work after all, and the M has a P again. */
static bool give_up(sched_m *m)
{
    sched *s = m->sched;
    sched_p *p = sched_release(m);
    os_mutex_lock(&s->lock);
    bool work = s->first && !atomic_load_explicit(&s->stopping, memory_order_relaxed);
    if (!work)
        sched_p_put_idle_locked(s, p);
    os_mutex_unlock(&s->lock);
    if (work) {
        sched_acquire(m, p);
        return true;
    }
    if (!m->spinning)
        return false;
    stop_spinning(m);
    /* Pairs with the one in sched_global_put(). */
    os_fence(memory_order_seq_cst);
    if (!work_anywhere(s))
        return false;
    os_mutex_lock(&s->lock);
    p = sched_p_take_idle_locked(s);
    os_mutex_unlock(&s->lock);
    if (!p)
        return false;
    sched_acquire(m, p);
    start_spinning(m);
    return true;
}

/* One pass; NULL: nothing found. */
static sched_g *look(sched_m *m)
{
    sched *s = m->sched;
    sched_p *p = m->p;
    run_timers(p);
    sched_g *g = NULL;
    /* The count begins anew only when the global queue was looked at: a coroutine that yields with an empty
     * ring comes here at every turn. */
    if (p->fair == 0 || m->prefer_global) {
        g = from_global(s, p);
        p->fair = SCHED_FAIR;
    }
    m->prefer_global = false;
    if (!g)
        g = from_own(p);
    if (!g)
        g = from_global(s, p);
    if (g || s->nprocs == 1 || !may_spin(m))
        return g;
    start_spinning(m);
    return from_others(m);
}

static void found(sched_m *m)
{
    sched *s = m->sched;
    sched_p *p = m->p;
    atomic_store_explicit(&p->tick, atomic_load_explicit(&p->tick, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    if (m->spinning && stop_spinning(m) == 0)
        sched_wake(s);
}

static bool stopping(const sched_m *m)
{
    return atomic_load_explicit(&m->sched->stopping, memory_order_acquire); /* pairs with stop's */
}

/* The caller's P is not among the idle ones. */
static bool processor_is_idle(const sched *s)
{
    uint32_t without = s->nprocs > s->cpus ? s->nprocs - s->cpus : 0;
    return without + atomic_load_explicit(&s->ndemoted, memory_order_relaxed) <=
           atomic_load_explicit(&s->nidle, memory_order_relaxed);
}

typedef struct helper {
    sched_m *m;
    int64_t look_at; /* os_now(); when to look at what costs cache misses */
} helper;

static bool is_needed(void *arg)
{
    helper *h = arg;
    const sched *s = h->m->sched;
    if (gc_polled(h->m->mu) || atomic_load_explicit(&s->nglobal, memory_order_relaxed) ||
        stopping(h->m))
        return true;
    int64_t now = os_now();
    if (now < h->look_at)
        return false;
    h->look_at = now + HELP_LOOK_NS;
    return work_anywhere(s) ||
           atomic_load_explicit(&h->m->p->timers.next, memory_order_relaxed) <= now;
}

/* True: look for coroutines again. */
static bool help_collector(sched_m *m)
{
    sched *s = m->sched;
    if (!processor_is_idle(s) || !gc_mark_wants_help(s->heap))
        return false;
    /* The next idle M, as if a coroutine had been found. */
    bool spinning = m->spinning;
    if (spinning && stop_spinning(m) == 0)
        sched_wake(s);
    os_fence(memory_order_seq_cst); /* as in give_up(), before the look of is_needed() */
    helper h = {m, 0};
    return gc_help_mark(s->heap, m->mu, is_needed, &h) || (spinning && work_anywhere(s));
}

sched_g *sched_find(sched_m *m)
{
    for (;;) {
        gc_poll(m->mu);
        if (gc_polled(m->mu) & GC_POLL_PREEMPT)
            gc_poll_lower(m->mu, GC_POLL_PREEMPT);
        if (stopping(m))
            return NULL;
        if (m->p && sched_lend_wanted(m->sched)) {
            if (m->spinning)
                stop_spinning(m);
            sched_lend(m);
        }
        if (!m->p && !sched_m_wait(m))
            return NULL;
        sched_g *g = look(m);
        if (g) {
            found(m);
            if (g->memory || sched_g_equip(m, g))
                return g;
            continue;
        }
        if (TRI_UNLIKELY(m->sched->forked))
            sched_fork_nothing_to_run();
        if (help_collector(m))
            continue;
        give_up(m);
    }
}
