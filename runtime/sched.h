/* What the files of the runtime share: entering and leaving it, and each file's functions. The
 * structures are in gmp.h.
 */
#ifndef RUNTIME_SCHED_H
#define RUNTIME_SCHED_H

#include "runtime/gmp.h"

/* ---- entering and leaving the runtime ---------------------------------------------------------- */

TRI_NOINLINE void sched_rejoin(void);
TRI_NOINLINE void sched_leave_slow(void);

static inline bool sched_is_trap(const gc_mutator *mu)
{
    return mu->pub.barrier & TRI_BARRIER_TRAP;
}

/* The M of the calling coroutine, or NULL if it is none. Does not enter. */
static inline sched_m *sched_self(void)
{
    gc_mutator *mu = gc_self();
    if (TRI_UNLIKELY(sched_is_trap(mu)) || !mu->runtime)
        return NULL;
    sched_m *m = mu->runtime;
    return m->kind == SCHED_KIND_M ? m : NULL;
}

/* Enters the runtime on a coroutine: no acknowledgement by signal, and its P is its own until
 * sched_leave(). NULL, and not entered, for threads. */
static inline sched_m *sched_enter(void)
{
    sched_m *m = sched_self();
    if (TRI_UNLIKELY(!m))
        return NULL;
    gc_deeper(m->mu);
    /* The order of this store and the load below is made by the monitor's membarrier. */
    TRI_SIGNAL_FENCE();
    if (TRI_UNLIKELY(atomic_load_explicit(&m->lost, memory_order_relaxed) != SCHED_OWN)) {
        sched_rejoin();
        return gc_self()->runtime;
    }
    return m;
}

/* The caller may be on another thread than when it entered. */
static inline void sched_leave(void)
{
    gc_mutator *mu = gc_self();
    TRI_SIGNAL_FENCE();
    uint32_t depth = gc_depth(mu) - 1;
    gc_set_depth(mu, depth);
    if (TRI_UNLIKELY(gc_polled(mu)) && !depth)
        sched_leave_slow();
}

/* ---- switch.c: leaving a coroutine, arriving at another -------------------------------------- */

/* Leaves the current coroutine for `next`, or for the M's own stack if NULL. Returns when somebody
 * switches back, perhaps on another thread. In the runtime. */
TRI_NOINLINE void sched_switch(sched_m *m, sched_g *next, sched_after after);
/* The same to the M's own stack, at any depth of in_runtime. */
TRI_NOINLINE void sched_switch_deep(sched_m *m, sched_after after);
/* First thing on the side that a switch arrives at. Returns the M it is on. */
sched_m *sched_arrive(void);
/* From the M's own stack into a coroutine; returns when it or another comes back here. */
void sched_run(sched_m *m, sched_g *g);
/* Parks the current coroutine, which is PARKING and can be found by its waker. */
void sched_park(sched_m *m);
/* Makes a parked coroutine runnable: next on this P if the caller has one. In the runtime on an M;
 * any other thread at any time. */
void sched_ready(sched_g *g);
/* The same behind what the P has queued already. */
void sched_ready_last(sched_g *g);
/* The same for a chain linked by `next`, of any length. */
void sched_ready_all(sched_g *first);
/* What the current coroutine of the M shall be followed by; NULL: ask the scheduler. */
sched_g *sched_next(sched_m *m);

/* ---- runq.c --------------------------------------------------------------------------------- */

/* Own P: to the end of the ring; half of it goes to the global queue when it is full. */
void sched_ring_put(sched_p *p, sched_g *g);
/* Own P: the first of the ring, or NULL. */
sched_g *sched_ring_get(sched_p *p);
/* Own P: half of victim's ring goes to p's, and one of them is returned. NULL: nothing there. */
sched_g *sched_ring_steal(sched_p *p, sched_p *victim);
sched_g *sched_runnext_get(sched_p *p);
/* Replaces runnext; the former, if any, goes to the ring. */
void sched_runnext_put(sched_p *p, sched_g *g);
bool sched_queue_empty(const sched_p *p); /* ring and runnext; a moment's truth */
uint32_t sched_ring_length(const sched_p *p);
/* The global queue. */
void sched_global_put(sched *s, sched_g *first, sched_g *last, uint32_t n); /* takes the lock */
void sched_global_put_locked(sched *s, sched_g *first, sched_g *last, uint32_t n);
/* A share of it: one is returned, the rest goes to p's ring. Lock held. */
sched_g *sched_global_get_locked(sched *s, sched_p *p);

/* ---- lend.c ----------------------------------------------------------------------------------- */

/* By the collector: asks for n Ps; gives all back. */
void sched_lend_begin(sched *s, uint32_t n);
void sched_lend_end(sched *s);
/* By an M on its own stack, not spinning: lends its P. False: it was not wanted any more. */
bool sched_lend(sched_m *m);
static inline bool sched_lend_wanted(const sched *s)
{
    return TRI_UNLIKELY(atomic_load_explicit(&s->nwanted, memory_order_relaxed) != 0);
}

/* ---- idle.c: idle Ps and Ms, spinning, waking ---------------------------------------------------- */

/* There is new work: wakes an idle P if nobody is looking for work already. Anybody. */
void sched_wake_one(sched *s);
static inline void sched_wake(sched *s)
{
    if (atomic_load_explicit(&s->nidle, memory_order_relaxed) &&
        !atomic_load_explicit(&s->nspinning, memory_order_relaxed))
        sched_wake_one(s);
}
sched_p *sched_p_take_idle_locked(sched *s);
void sched_p_put_idle_locked(sched *s, sched_p *p);
/* Runs P on some idle or new M. P is RUNNING and nobody's. */
void sched_start_m(sched *s, sched_p *p, bool spinning);
/* No thread for p: it waits in the idle list until the monitor tries again. */
void sched_unstarted(sched *s, sched_p *p, bool spinning, int err);
/* Gives P, which is nobody's, to an M if there may be work for it, else to the idle list. */
void sched_hand_off(sched *s, sched_p *p);
/* The M has no P: sleeps until it gets one. False: the scheduler stops. */
bool sched_m_wait(sched_m *m);
void sched_idle_wake_all(sched *s);         /* to end */
void sched_acquire(sched_m *m, sched_p *p); /* binds the run tables */
sched_p *sched_release(sched_m *m);         /* unbinds them */
void sched_spare_cache_put(sched *s, heap_cache *c);
heap_cache *sched_spare_cache_get(sched *s);

/* ---- find.c: the search for work ------------------------------------------------------------- */

/* A coroutine to run; sleeps until there is one. NULL: the scheduler stops. The M may have another P
 * afterwards. */
sched_g *sched_find(sched_m *m);

/* ---- machine.c -------------------------------------------------------------------------------- */

/* A new M that runs P, which is RUNNING and nobody's. -ENOMEM, -EAGAIN, -ECANCELED (stopping). */
int sched_machine_start(sched *s, sched_p *p, bool spinning);
/* Ends all Ms that can be ended within the grace time, abandons the others; their number. */
uint32_t sched_machines_stop(sched *s);

/* ---- run.c: life of a scheduler ---------------------------------------------------------------- */

/* Drops one of sched.refs; the last one frees everything. False: others are left. */
bool sched_unref(sched *s);

/* ---- coroutine.c, stack.c ---------------------------------------------------------------------- */

/* A new coroutine, RUNNABLE, in no queue. m NULL: from a thread that is no M of this scheduler; mu
 * its mutator, or NULL. -ENOMEM. */
int sched_g_new(sched *s, sched_m *m, gc_mutator *mu, void (*fn)(void *), void *arg,
                uint32_t size_log2, bool shares, sched_g **out);
/* It is about to run for the first time: gets a stack. False: there is none; it is queued again. */
bool sched_g_equip(sched_m *m, sched_g *g);
/* g goes back to the global queue until there is memory for its stack. False. */
bool sched_g_postpone(sched *s, sched_g *g);
/* The same, when it was resumed for the collector: sets its context up. */
void sched_g_begin(gc_mutator *mu, sched_g *g);
/* It ended, and its stack was left. */
void sched_g_retire(sched_m *m, sched_g *g);
void sched_g_free_all(sched *s);
/* Stops at false. Under the pool's lock: fn must not spawn or end coroutines. */
void sched_g_each(sched *s, bool (*fn)(void *arg, sched_g *g), void *arg);

/* A stack of 2^size_log2 bytes; NULL: no memory. p: own P, or NULL. */
sched_stack *sched_stack_get(sched *s, sched_p *p, uint32_t size_log2);
/* It is unused. */
void sched_stack_put(sched *s, sched_p *p, sched_stack *stack);
/* Forgets all stacks of the scheduler. */
void sched_stack_free_all(sched *s);
uint32_t sched_stack_log2(size_t bytes); /* the class for a stack of so many */
size_t sched_stack_guard_size(uint32_t size_log2);
int sched_overflow_install(void);
void sched_overflow_uninstall(void);
/* Gives back some of the memory of stacks that were not needed lately. The monitor's. False: there
 * was nothing to give. */
bool sched_stack_trim(sched *s);

/* ---- shared.c: coroutines that share a stack ----------------------------------------------------- */

void sched_shared_init(sched *s);
/* g, which shares its stack, is about to run: gets it, with its words in place. False: it is held, or
 * there is no memory; g is queued and comes again. */
bool sched_shared_enter(sched_m *m, sched_g *g);
/* g has left its stack, parked in the collector's sense, and can be found by nobody yet. */
void sched_shared_leave(sched_m *m, sched_g *g);
/* The same when it has ended. */
void sched_shared_end(sched_m *m, sched_g *g);
/* Whether the running g should give way to another of its stack. */
static inline bool sched_shared_wanted(const sched_g *g)
{
    return TRI_UNLIKELY(g->bound != NULL) && /* a moment's truth */
           __atomic_load_n(&g->bound->first, __ATOMIC_RELAXED);
}
/* Tells of a coroutine that has kept its stack from others for very long. The monitor's. False: nobody
 * waits for a stack. */
bool sched_shared_watch(sched *s, int64_t now);
/* Gives back stacks that nobody is bound to. The monitor's. False: there are none. */
bool sched_shared_trim(sched *s);
/* Whose waiting stack addr is on, with stackcheck=1; NULL: nobody's. In a signal handler. */
const sched_g *sched_shared_guards(const sched *s, uintptr_t addr);
void sched_shared_free_all(sched *s);
void sched_shared_fork_prepare(sched *s);
void sched_shared_fork_release(sched *s);
void sched_shared_fork_child(sched *s); /* before the release */

/* ---- image.c ----------------------------------------------------------------------------------- */

void *sched_image_new(sched_images *im, size_t size); /* NULL: no memory */
void sched_image_free(sched_images *im, void *p, size_t size);
void sched_images_free_all(sched_images *im);

/* ---- waiter.c -------------------------------------------------------------------------------- */

/* The caller's waiter, reset. Its G is PARKING from here on: queue the waiter where a waker finds
 * it, then sched_wait(). m: what sched_enter() returned. */
sched_waiter *sched_waiter_get(sched_m *m, sched_reason reason);
/* Parks or blocks until sched_waiter_wake(). */
void sched_waiter_wait(sched_m *m, sched_waiter *w);
/* Takes back sched_waiter_get(): nobody will wake it. */
void sched_waiter_cancel(sched_m *m, sched_waiter *w);
/* The waiter belongs to nobody else any more; it must not be touched afterwards. */
void sched_waiter_wake(sched_waiter *w);
/* All of a list linked by `next`; polls between pieces. */
void sched_waiter_wake_all(sched_waiter *first);

/* ---- timer.c ---------------------------------------------------------------------------------- */

int sched_timer_add(sched_p *p, sched_timer *t, int64_t when); /* -ENOMEM */
bool sched_timer_remove(sched_timer *t);                       /* false: it fired or will */
/* Fires what is due on p; the number. */
unsigned sched_timers_run(sched_p *p, int64_t now);
int64_t sched_timers_next(sched *s); /* over all Ps */
void sched_timers_free(sched_p *p);

/* ---- blocking.c, thread.c ---------------------------------------------------------------------- */

/* Around a wait of a thread that is no coroutine, attached or not, in all its heaps. */
void sched_block_thread(uintptr_t sp);
void sched_unblock_thread(void);
/* The waiter of an attached thread. */
sched_waiter *sched_thread_waiter(gc_mutator *mu);

/* fn(arg) as a blocking call of the current coroutine or thread. In the runtime or not. */
void sched_blocking(void (*fn)(void *), void *arg);

/* The preemption hook: a safepoint outside the runtime with the scheduler's poll bit raised. */
void sched_preempt(gc_mutator *mu);

/* ---- monitor.c -------------------------------------------------------------------------------- */

void sched_monitor_main(void *arg); /* the sched */
void sched_monitor_stop(sched *s);  /* and waits for its end */
/* Wakes it unless it wakes before `when` by itself. */
void sched_monitor_kick(sched *s, int64_t when);
/* The monitor's period while coroutines are readied into runnext beside idle Ps, and while not. */
enum { SCHED_MONITOR_SLOW, SCHED_MONITOR_FAST };
TRI_NOINLINE void sched_monitor_go_fast(sched *s);
/* A coroutine was made runnable in p's runnext beside an idle P, and nobody was woken for it. */
static inline void sched_monitor_watch(sched_p *p)
{
    atomic_store_explicit(&p->watched, atomic_load_explicit(&p->watched, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    if (TRI_UNLIKELY(atomic_load_explicit(&p->sched->monitor_mode, memory_order_relaxed) !=
                     SCHED_MONITOR_FAST))
        sched_monitor_go_fast(p->sched);
}

/* ---- fork.c: hooks of the collector's fork handlers -------------------------------------------------- */

void sched_fork_prepare(tri_heap *h);
void sched_fork_release(tri_heap *h);
void sched_fork_child(tri_heap *h);
_Noreturn void sched_fork_nothing_to_run(void);
void sched_fork_equip(sched_p *p); /* before it is acquired in a child */

/* ---- stats.c ------------------------------------------------------------------------------------ */

const char *sched_state_name(sched_state s);
const char *sched_reason_name(sched_reason r);

typedef struct sched_stats {
    uint64_t coroutines, spawned; /* alive; ever */
    uint32_t threads, idle_threads, spinning_threads, demoted;
    uint32_t procs, idle_procs, syscall_procs;
    uint32_t global_queue, local_queues;
    uint64_t stacks, stack_bytes_reserved, unused_stacks; /* made; those in no P's pool */
    uint64_t shared_stacks, images, image_bytes; /* images: of coroutines that are put away */
    uint64_t demotions;                          /* ever */
    uint64_t by_state[SCHED_STATES];
    uint64_t by_reason[SCHED_REASONS]; /* of those waiting */
} sched_stats;

/* False: the heap has no scheduler. by_state and by_reason walk all coroutines: `detail`. */
bool sched_read_stats(tri_heap *h, sched_stats *out, bool detail);

typedef struct sched_coroutine_info {
    uint64_t id;
    const char *name;
    sched_state state;
    sched_reason reason;
    int64_t waiting_ns; /* since its last park, coarse */
} sched_coroutine_info;

/* All that are alive, in no order; the states are of slightly different moments. */
void sched_each_coroutine(tri_heap *h, bool (*fn)(void *arg, const sched_coroutine_info *),
                          void *arg);

#endif
