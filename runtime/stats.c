/* What reports ask the scheduler: counts, names, a walk over all coroutines.
 *
 * Counters are kept per P by the M that runs it and summed here; a coroutine that was spawned on one P
 * and ended on another is counted once on each, so only the sums mean anything.
 */
#include "os/clock.h"
#include "runtime/sched.h"

const char *sched_state_name(sched_state s)
{
    static const char *const names[SCHED_STATES] = {
        [SCHED_DEAD] = "dead",       [SCHED_RUNNABLE] = "runnable",   [SCHED_RUNNING] = "running",
        [SCHED_PARKING] = "waiting", [SCHED_WOKEN] = "runnable",      [SCHED_WAITING] = "waiting",
        [SCHED_SYSCALL] = "syscall", [SCHED_PREEMPTED] = "preempted",
    };
    return names[s];
}

const char *sched_reason_name(sched_reason r)
{
    static const char *const names[SCHED_REASONS] = {
        [SCHED_REASON_NONE] = "",
        [SCHED_REASON_CHAN_SEND] = "chan send",
        [SCHED_REASON_CHAN_RECV] = "chan receive",
        [SCHED_REASON_SLEEP] = "sleep",
        [SCHED_REASON_WAITGROUP] = "wait group",
        [SCHED_REASON_MUTEX] = "mutex",
        [SCHED_REASON_BLOCKING] = "blocking call",
    };
    return names[r];
}

static bool count_one(void *arg, sched_g *g)
{
    sched_stats *out = arg;
    uint32_t state = atomic_load_explicit(&g->state, memory_order_relaxed);
    out->by_state[state]++;
    if (state == SCHED_WAITING || state == SCHED_PARKING)
        out->by_reason[atomic_load_explicit(&g->reason, memory_order_relaxed)]++;
    return true;
}

static void add_p(sched_stats *out, sched_p *p)
{
    out->spawned += atomic_load_explicit(&p->spawned, memory_order_relaxed);
    out->coroutines -= atomic_load_explicit(&p->ended, memory_order_relaxed);
    out->local_queues +=
        sched_ring_length(p) + (atomic_load_explicit(&p->runnext, memory_order_relaxed) != NULL);
    out->syscall_procs += atomic_load_explicit(&p->state, memory_order_relaxed) == SCHED_P_SYSCALL;
}

static void add_machines(sched *s, sched_stats *out)
{
    os_mutex_lock(&s->machines_lock);
    out->threads = s->nmachines + 1 - atomic_load_explicit(&s->ended, memory_order_relaxed);
    os_mutex_unlock(&s->machines_lock);
    os_mutex_lock(&s->lock);
    out->idle_threads = s->nidle_ms;
    os_mutex_unlock(&s->lock);
}

static void add_stacks(sched *s, sched_stats *out)
{
    os_mutex_lock(&s->stacks_lock);
    for (uint32_t i = 0; i < SCHED_STACK_CLASSES; i++)
        out->unused_stacks += s->nstacks[i];
    out->stacks = s->made;
    out->stack_bytes_reserved = s->made_bytes;
    os_mutex_unlock(&s->stacks_lock);
    os_mutex_lock(&s->shared_lock);
    out->shared_stacks = s->nshared;
    os_mutex_unlock(&s->shared_lock);
    os_mutex_lock(&s->images.lock);
    out->images = s->images.count;
    out->image_bytes = s->images.bytes;
    os_mutex_unlock(&s->images.lock);
}

bool sched_read_stats(tri_heap *h, sched_stats *out, bool detail)
{
    sched *s = h->sched;
    *out = (sched_stats){0};
    if (!s)
        return false;
    /* Ends are read before spawns: a count that is too large for a moment, never below zero. */
    for (uint32_t i = 0; i < s->nprocs; i++)
        add_p(out, &s->ps[i]);
    out->spawned += atomic_load_explicit(&s->outside_spawned, memory_order_relaxed);
    out->coroutines += out->spawned;
    out->procs = s->nprocs;
    out->idle_procs = atomic_load_explicit(&s->nidle, memory_order_relaxed);
    out->spinning_threads = atomic_load_explicit(&s->nspinning, memory_order_relaxed);
    out->global_queue = atomic_load_explicit(&s->nglobal, memory_order_relaxed);
    out->demoted = atomic_load_explicit(&s->ndemoted, memory_order_relaxed);
    out->demotions = atomic_load_explicit(&s->demotions, memory_order_relaxed);
    add_machines(s, out);
    add_stacks(s, out);
    if (detail)
        sched_g_each(s, count_one, out);
    return true;
}

struct walk {
    bool (*fn)(void *arg, const sched_coroutine_info *);
    void *arg;
    int64_t now;
};

static bool visit(void *arg, sched_g *g)
{
    struct walk *w = arg;
    uint32_t state = atomic_load_explicit(&g->state, memory_order_relaxed);
    if (state == SCHED_DEAD)
        return true;
    bool waits = state == SCHED_WAITING || state == SCHED_PARKING;
    sched_coroutine_info info = {
        .id = __atomic_load_n(&g->id, __ATOMIC_RELAXED),
        .name = __atomic_load_n(&g->name, __ATOMIC_RELAXED),
        .state = (sched_state)state,
        .reason = waits ? (sched_reason)atomic_load_explicit(&g->reason, memory_order_relaxed)
                        : SCHED_REASON_NONE,
        .waiting_ns = waits ? w->now - atomic_load_explicit(&g->since, memory_order_relaxed) : 0,
    };
    return w->fn(w->arg, &info);
}

void sched_each_coroutine(tri_heap *h, bool (*fn)(void *arg, const sched_coroutine_info *),
                          void *arg)
{
    struct walk w = {fn, arg, os_now()};
    if (h->sched)
        sched_g_each(h->sched, visit, &w);
}
