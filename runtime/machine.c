/* Ms: the threads that run coroutines, from start to end.
 *
 * An M is started when a P has work and no idle M is there to take it, and stays until the scheduler
 * stops: blocking calls come in waves, and a thread costs 50 us to start and nothing to keep asleep.
 * Its own stack is small and holds no managed pointer, so the collector need not look at it.
 *
 * The end. Nobody can stop a thread that is in a blocking call or runs user code without runtime
 * calls. sched_machines_stop() waits a moment for all, then abandons those that did not come: their
 * threads are detached, each holds a reference to the scheduler, and whoever drops the last one
 * frees it. `fate` decides, by one compare-and-swap, whether an M ended in time or was abandoned.
 */
#include <errno.h>

#include "os/clock.h"
#include "os/memory.h"
#include "os/signal.h"
#include "runtime/sched.h"

#define MACHINE_STACK    ((size_t)256 << 10)
#define GRACE_NS         1000000000 /* for coroutines that run */
#define GRACE_BLOCKED_NS 20000000   /* for those in blocking calls */

enum { FATE_RUNNING, FATE_ENDED, FATE_ABANDONED };

static void machine_loop(sched_m *m)
{
    sched_g *g;
    while ((g = sched_find(m)))
        sched_run(m, g);
}

static void give_back(sched_m *m)
{
    if (m->spinning)
        atomic_fetch_sub_explicit(&m->sched->nspinning, 1, memory_order_seq_cst);
    m->spinning = false;
    if (m->p)
        sched_release(m);
}

static void set_attached(sched_m *m, bool attached)
{
    os_mutex_lock(&m->sched->lock);
    m->attached = attached;
    os_mutex_unlock(&m->sched->lock);
}

/* The thread could not become a mutator. */
static void refuse(sched_m *m, int err)
{
    sched_unstarted(m->sched, m->next_p, m->next_spinning, err);
}

static void end(sched_m *m)
{
    sched *s = m->sched;
    uint32_t fate = FATE_RUNNING;
    /* Release: pairs with the stopper's acquire. */
    if (atomic_compare_exchange_strong_explicit(&m->fate, &fate, FATE_ENDED, memory_order_acq_rel,
                                                memory_order_relaxed)) {
        atomic_fetch_add_explicit(&s->ended, 1, memory_order_release);
        os_futex_wake(&s->ended, 1);
        return; /* the stopper joins this thread before it frees anything */
    }
    sched_unref(s);
}

static void machine_main(void *arg)
{
    sched_m *m = arg;
    int err = os_altstack_enter();
    if (err) {
        refuse(m, err);
        end(m);
        return;
    }
    err = gc_attach(m->sched->heap, NULL, &m->mu);
    if (err) {
        refuse(m, err);
    } else {
        m->mu->runtime = m;
        sched_fiber_of_thread(&m->fiber);
        set_attached(m, true);
        m->spinning = m->next_spinning;
        sched_acquire(m, m->next_p);
        machine_loop(m);
        give_back(m);
        set_attached(m, false);
        gc_detach(m->mu);
    }
    os_altstack_leave();
    end(m);
}

static int start_locked(sched *s, sched_m *m)
{
    if (atomic_load_explicit(&s->stopping, memory_order_relaxed))
        return -ECANCELED;
    int err = os_thread_start(&m->thread, machine_main, m, "tricolor", MACHINE_STACK);
    if (err)
        return err;
    m->next = s->machines;
    s->machines = m;
    s->nmachines++;
    return 0;
}

int sched_machine_start(sched *s, sched_p *p, bool spinning)
{
    sched_m *m = os_alloc(sizeof *m);
    if (!m)
        return -ENOMEM;
    m->kind = SCHED_KIND_M;
    m->sched = s;
    m->random = os_random();
    m->fate = FATE_RUNNING;
    m->next_p = p;
    m->next_spinning = spinning;
    os_mutex_lock(&s->machines_lock);
    int err = start_locked(s, m);
    os_mutex_unlock(&s->machines_lock);
    if (err)
        os_free(m, sizeof *m);
    return err;
}

/* ---- stopping ---------------------------------------------------------------------------------- */

/* Asks every M to come: those asleep are woken, those that run coroutines see their poll flag. */
static void ask_all(sched *s)
{
    sched_idle_wake_all(s);
    os_mutex_lock(&s->lock);
    for (sched_m *m = s->machines; m; m = m->next)
        if (m->attached)
            gc_poll_raise(m->mu, GC_POLL_PREEMPT);
    os_mutex_unlock(&s->lock);
}

static uint32_t blocked(const sched *s)
{
    uint32_t n = 0;
    for (const sched_m *m = s->machines; m; m = m->next)
        n += atomic_load_explicit(&m->blocked, memory_order_relaxed);
    return n;
}

static void wait_ended(sched *s, uint32_t all)
{
    int64_t start = os_now();
    for (;;) {
        uint32_t ended =
            atomic_load_explicit(&s->ended, memory_order_acquire); /* pairs with end() */
        int64_t waited = os_now() - start;
        bool hopeless = waited > GRACE_BLOCKED_NS && ended + blocked(s) >= all;
        if (ended == all || hopeless || waited > GRACE_NS)
            return;
        os_futex_wait(&s->ended, ended, GRACE_BLOCKED_NS);
    }
}

static uint32_t join_or_abandon(sched *s)
{
    uint32_t abandoned = 0;
    for (sched_m *next, *m = s->machines; m; m = next) {
        next = m->next;
        os_mutex_lock(&s->lock);
        s->refs++;
        os_mutex_unlock(&s->lock);
        uint32_t fate = FATE_RUNNING;
        /* Acquire: pairs with end(). */
        if (atomic_compare_exchange_strong_explicit(&m->fate, &fate, FATE_ABANDONED,
                                                    memory_order_acq_rel, memory_order_acquire)) {
            os_thread_detach(&m->thread);
            abandoned++;
            continue;
        }
        os_thread_join(&m->thread);
        sched_unref(s);
    }
    return abandoned;
}

uint32_t sched_machines_stop(sched *s)
{
    os_mutex_lock(&s->machines_lock);
    atomic_store_explicit(&s->stopping, true, memory_order_release); /* pairs with the search's */
    uint32_t all = s->nmachines;
    os_mutex_unlock(&s->machines_lock);
    ask_all(s);
    wait_ended(s, all);
    return join_or_abandon(s);
}
