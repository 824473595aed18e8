/* The system monitor: one thread without a P that looks after those that have one.
 *
 * What it does at each look:
 *   - fires due timers, and if all Ps are busy asks one of them to give way;
 *   - takes Ps of blocking calls that others could use (blocking.c);
 *   - asks a coroutine that has run for a whole slice to give way, if others wait;
 *   - demotes one that was asked and does not answer, since it makes no runtime call;
 *   - moves a coroutine that waits in runnext although a P is idle, and wakes an M where queues and
 *     idle Ps are seen together (the two things that idle.c leaves to it);
 *   - gives memory of unused stacks back.
 * How long it then sleeps follows from what it saw: 20 us where something is about to happen, 10 ms in
 * quiet times, without end when nothing runs.
 *
 * Demotion. C code cannot be stopped at any instruction, but it can be deprived: its P goes to another
 * M, with the run queue, and gets fresh run tables; the coroutine goes on as an ordinary thread that
 * the kernel time-slices, with its mutator, run tables and barrier buffer, which nobody has touched.
 * At its next runtime call it finds out (sched_rejoin) and queues up.
 *
 * The difficulty is that the M may be entering the runtime at this moment, where the P's private part
 * is its own. The entry of each runtime call stores in_runtime and then loads `lost`; the monitor
 * stores `lost` and then loads in_runtime. That needs a full fence on both sides, and the M's would be
 * paid by every runtime call: so the monitor makes both, with a membarrier:
 *
 *     M                                   monitor
 *       in_runtime = 1                      lost = TAKING
 *       (compiler barrier)                  membarrier()
 *       lost == OWN?  go on                 in_runtime == 0?  lost = LOST: the P is ours
 *       else wait while TAKING              else              lost = OWN: another time
 *
 * Without membarrier (old kernels, some sandboxes) nothing is demoted.
 *
 * Rejected: a signal that switches the coroutine away, as Go does (it may hold a lock of the C
 * library); doing it in the handshake's handler (the scheduler and the collector would have to agree
 * on every instruction at which that is safe).
 */
#include "os/clock.h"
#include "os/membarrier.h"
#include "os/report.h"
#include "runtime/sched.h"

#define US              1000
#define MS              1000000
#define SLICE_NS        (10 * MS)  /* as in Go */
#define ANSWER_NS       (2 * MS)   /* from the question to demotion */
#define URGENT_NS       (200 * US) /* the same while a due sleeper waits */
#define SYSCALL_NS      (20 * US)  /* a P of a blocking call is left alone for this long */
#define SYSCALL_IDLE_NS MS         /* looks at one that nobody could use */
#define SYSCALL_MAX_NS  (10 * MS) /* then it is taken nevertheless, so that it is idle if need be */
#define STALE_NS        (50 * US) /* runnext is left alone for this long */
#define QUIET_LOOKS     16        /* without a coroutine in runnext, until fast mode ends */
#define IDLE_LOOKS      8         /* with nothing running, until the monitor sleeps without end */
#define TRIM_NS         (100 * MS)
#define UNSTARTED_NS    (10000LL * MS) /* without any thread for coroutines, until that is fatal */

/* Of one monitor; its own thread's. */
typedef struct monitor {
    sched *s;
    int64_t now;
    int64_t period; /* until the next look; lowered by what is seen */
    unsigned quiet, idle;
    unsigned urgent; /* Ps that shall be asked to give way for sleepers */
    int64_t urgent_until;
    uint32_t first; /* P that is looked at first */
    int64_t trim_at;
    bool trimming;
    bool watching; /* somebody waits for a shared stack */
} monitor;

static void look_again(monitor *mon, int64_t ns)
{
    if (ns < mon->period)
        mon->period = ns;
}

/* ---- being told ------------------------------------------------------------------------------- */

void sched_monitor_kick(sched *s, int64_t when)
{
    /* seq_cst: pairs with the store in sleep_until_told(); what the caller did before is seen by the
     * monitor, or its alarm is seen here. */
    if (atomic_fetch_add_explicit(&s->monitor_until, 0, memory_order_seq_cst) <= when)
        return;
    atomic_fetch_add_explicit(&s->monitor_word, 1, memory_order_seq_cst);
    os_futex_wake(&s->monitor_word, 1);
}

TRI_NOINLINE void sched_monitor_go_fast(sched *s)
{
    atomic_store_explicit(&s->monitor_mode, SCHED_MONITOR_FAST, memory_order_relaxed);
    sched_monitor_kick(s, os_now() + STALE_NS);
}

/* ---- one P ---------------------------------------------------------------------------------------- */

static void note_progress(monitor *mon, sched_p *p, uint32_t state, uint32_t tick)
{
    p->seen_state = state;
    p->seen_tick = tick;
    p->seen_at = mon->now;
    p->flagged_at = 0;
}

static bool work_waits(const sched *s, const sched_p *p)
{
    return !sched_queue_empty(p) || atomic_load_explicit(&s->nglobal, memory_order_relaxed) ||
           atomic_load_explicit(&s->nkept, memory_order_relaxed);
}

/* A moment's number of Ms or Ps that would find the work by themselves. */
static bool somebody_looks(const sched *s)
{
    return atomic_load_explicit(&s->nidle, memory_order_relaxed) ||
           atomic_load_explicit(&s->nspinning, memory_order_relaxed);
}

static void look_at_syscall(monitor *mon, sched_p *p)
{
    sched *s = mon->s;
    int64_t held = mon->now - p->seen_at;
    bool wanted = !sched_queue_empty(p) || !somebody_looks(s);
    if (held < (wanted ? SYSCALL_NS : SYSCALL_MAX_NS)) {
        look_again(mon, wanted ? SYSCALL_NS : SYSCALL_IDLE_NS);
        return;
    }
    uint32_t state = SCHED_P_SYSCALL;
    /* Acquire: pairs with leave_p()'s release. */
    if (atomic_compare_exchange_strong_explicit(&p->state, &state, SCHED_P_RUNNING,
                                                memory_order_acquire, memory_order_relaxed))
        sched_hand_off(s, p);
}

static bool take_from(sched_m *m, sched_p *p)
{
    uint32_t own = SCHED_OWN;
    if (!atomic_compare_exchange_strong_explicit(&m->lost, &own, SCHED_TAKING, memory_order_relaxed,
                                                 memory_order_relaxed))
        return false;
    bool ordered = os_membarrier() == 0; /* pairs with sched_enter(); see the essay */
    /* It may run another P by now: p->m is cleared by an M that gives p up, in the runtime. */
    bool outside = ordered && __atomic_load_n(&m->mu->pub.in_runtime, __ATOMIC_ACQUIRE) == 0 &&
                   atomic_load_explicit(&p->m, memory_order_relaxed) == m;
    if (outside) {
        atomic_store_explicit(&p->m, NULL, memory_order_relaxed);
        atomic_fetch_add_explicit(&m->sched->ndemoted, 1, memory_order_relaxed);
    }
    /* Release: pairs with sched_rejoin(). */
    atomic_store_explicit(&m->lost, outside ? SCHED_LOST : SCHED_OWN, memory_order_release);
    return outside;
}

static void demote(monitor *mon, sched_p *p)
{
    sched *s = mon->s;
    sched_m *m = atomic_load_explicit(&p->m, memory_order_acquire); /* pairs with sched_acquire() */
    if (!s->can_demote || !m)
        return;
    heap_cache *fresh = sched_spare_cache_get(s);
    if (!fresh)
        return;
    if (!take_from(m, p)) {
        sched_spare_cache_put(s, fresh);
        return;
    }
    atomic_fetch_add_explicit(&s->demotions, 1, memory_order_relaxed);
    p->cache = fresh;
    note_progress(mon, p, SCHED_P_RUNNING, atomic_load_explicit(&p->tick, memory_order_relaxed));
    sched_hand_off(s, p);
}

static void ask_to_yield(monitor *mon, sched_p *p)
{
    sched_m *m = atomic_load_explicit(&p->m, memory_order_acquire); /* pairs with sched_acquire() */
    if (!m)
        return;
    p->flagged_at = mon->now;
    gc_poll_raise(m->mu, GC_POLL_PREEMPT);
}

static void look_at_running(monitor *mon, sched_p *p)
{
    bool urgent = mon->urgent > 0;
    if (urgent)
        mon->urgent--;
    if (!work_waits(mon->s, p)) {
        p->flagged_at = 0;
        return;
    }
    int64_t answer = urgent ? URGENT_NS : ANSWER_NS;
    if (p->flagged_at) {
        if (mon->now - p->flagged_at >= answer)
            demote(mon, p);
        else
            look_again(mon, answer);
        return;
    }
    int64_t left = SLICE_NS - (mon->now - p->seen_at);
    if (urgent || left <= 0) {
        ask_to_yield(mon, p);
        look_again(mon, answer);
    } else {
        look_again(mon, left);
    }
}

/* runnext is stale if it is the same coroutine as at the last look and no switch came between. */
static void look_at_runnext(monitor *mon, sched_p *p)
{
    sched *s = mon->s;
    uint32_t watched = atomic_load_explicit(&p->watched, memory_order_relaxed);
    if (watched != p->seen_watched) {
        p->seen_watched = watched;
        mon->quiet = 0;
    }
    if (s->nprocs == 1)
        return; /* nobody to hand it to, and its M takes it without a locked instruction */
    /* Acquire: pairs with sched_runnext_put(), the coroutine is handed to another thread. */
    sched_g *g = atomic_load_explicit(&p->runnext, memory_order_acquire);
    uint32_t switches = atomic_load_explicit(&p->switches, memory_order_relaxed);
    bool stale = g && g == p->seen_runnext && switches == p->seen_switches &&
                 atomic_load_explicit(&s->nidle, memory_order_relaxed);
    p->seen_runnext = g;
    p->seen_switches = switches;
    if (!stale || !atomic_compare_exchange_strong_explicit(
                      &p->runnext, &g, NULL, memory_order_acq_rel, memory_order_relaxed))
        return;
    sched_global_put(s, g, g, 1);
    sched_wake(s);
}

static void look_at(monitor *mon, sched_p *p)
{
    /* Acquire: pairs with the release of whoever set it; the fields below are the monitor's own. */
    uint32_t state = atomic_load_explicit(&p->state, memory_order_acquire);
    uint32_t tick = atomic_load_explicit(&p->tick, memory_order_relaxed);
    if (state != p->seen_state || tick != p->seen_tick)
        note_progress(mon, p, state, tick);
    look_at_runnext(mon, p);
    if (state == SCHED_P_SYSCALL)
        look_at_syscall(mon, p);
    else if (state == SCHED_P_RUNNING)
        look_at_running(mon, p);
}

/* ---- one look ---------------------------------------------------------------------------------- */

/* Finds out how many sleepers became runnable that no idle P will run. */
static void fire_timers(monitor *mon)
{
    sched *s = mon->s;
    unsigned n = 0;
    for (uint32_t i = 0; i < s->nprocs; i++)
        if (atomic_load_explicit(&s->ps[i].timers.next, memory_order_acquire) <= mon->now)
            n += sched_timers_run(&s->ps[i], mon->now);
    if (n)
        mon->urgent_until = mon->now + SLICE_NS;
    bool urgent = mon->urgent_until > mon->now && !somebody_looks(s);
    mon->urgent = urgent ? atomic_load_explicit(&s->nglobal, memory_order_relaxed) : 0;
}

/* Coroutines are ready, and there is nobody to run them. */
static void check_starts(monitor *mon)
{
    sched *s = mon->s;
    int64_t since = atomic_load_explicit(&s->unstarted_since, memory_order_relaxed);
    if (atomic_load_explicit(&s->nidle, memory_order_relaxed) < s->nprocs)
        atomic_store_explicit(&s->unstarted_since, 0, memory_order_relaxed);
    else if (since && mon->now - since > UNSTARTED_NS)
        os_fatal("no thread can be started to run coroutines (error %d)",
                 -atomic_load_explicit(&s->unstarted_error, memory_order_relaxed));
}

/* What waits in runnext is its P's own affair, unless nobody runs that. */
static bool has_work_for_others(sched_p *p)
{
    return sched_ring_length(p) ||
           (atomic_load_explicit(&p->state, memory_order_relaxed) == SCHED_P_IDLE &&
            !sched_queue_empty(p));
}

static void look_at_idle(monitor *mon)
{
    sched *s = mon->s;
    if (!atomic_load_explicit(&s->nidle, memory_order_relaxed) ||
        atomic_load_explicit(&s->nspinning, memory_order_relaxed))
        return;
    bool work = atomic_load_explicit(&s->nglobal, memory_order_relaxed);
    for (uint32_t i = 0; i < s->nprocs && !work; i++)
        work = has_work_for_others(&s->ps[i]);
    if (!work)
        return;
    mon->idle = 0;
    look_again(mon, SLICE_NS);
    check_starts(mon);
    sched_wake(s);
}

static void trim(monitor *mon)
{
    if (mon->now < mon->trim_at)
        return;
    bool more = sched_shared_trim(mon->s);
    mon->trimming = sched_stack_trim(mon->s) || more;
    mon->trim_at = mon->now + TRIM_NS;
}

/* Fast mode lasts while coroutines are readied into runnext beside idle Ps. */
static void choose_mode(monitor *mon)
{
    sched *s = mon->s;
    if (atomic_load_explicit(&s->monitor_mode, memory_order_relaxed) != SCHED_MONITOR_FAST)
        return;
    if (++mon->quiet > QUIET_LOOKS) {
        /* One that saw the old mode just now waits for the next look: a slice at most. */
        atomic_store_explicit(&s->monitor_mode, SCHED_MONITOR_SLOW, memory_order_relaxed);
        mon->quiet = 0;
        return;
    }
    look_again(mon, STALE_NS);
}

/* The time until the next look if nothing else lowers it. */
static int64_t longest(monitor *mon)
{
    sched *s = mon->s;
    if (atomic_load_explicit(&s->nidle, memory_order_relaxed) < s->nprocs)
        mon->idle = 0;
    else if (mon->idle < IDLE_LOOKS)
        mon->idle++;
    if (mon->idle < IDLE_LOOKS)
        return SLICE_NS;
    return mon->trimming || mon->watching ? TRIM_NS : INT64_MAX;
}

static void look(monitor *mon)
{
    sched *s = mon->s;
    mon->now = os_now();
    atomic_store_explicit(&s->now, mon->now, memory_order_relaxed);
    mon->watching = sched_shared_watch(s, mon->now);
    mon->period = longest(mon);
    fire_timers(mon);
    mon->first = (mon->first + 1) % s->nprocs; /* urgent ones do not always meet the same P */
    for (uint32_t i = 0; i < s->nprocs; i++)
        look_at(mon, &s->ps[(mon->first + i) % s->nprocs]);
    look_at_idle(mon);
    choose_mode(mon);
    trim(mon);
}

/* ---- the thread ----------------------------------------------------------------------------------- */

/* When nothing runs any more, whoever takes a P from the idle list kicks (sched_acquire). */
static bool sleep_deep(monitor *mon)
{
    sched *s = mon->s;
    if (mon->period != INT64_MAX)
        return false;
    /* seq_cst: set before nidle is read again; see sched_acquire(). */
    atomic_store_explicit(&s->monitor_deep, true, memory_order_seq_cst);
    return atomic_load_explicit(&s->nidle, memory_order_seq_cst) == s->nprocs;
}

/* `word` was read before the look: what was told since then makes the wait end at once. */
static void sleep_until_told(monitor *mon, uint32_t word)
{
    sched *s = mon->s;
    int64_t until =
        sleep_deep(mon) ? INT64_MAX : mon->now + (mon->period < SLICE_NS ? mon->period : SLICE_NS);
    /* seq_cst: see sched_monitor_kick() and set_next() in timer.c. */
    atomic_store_explicit(&s->monitor_until, until, memory_order_seq_cst);
    int64_t next = sched_timers_next(s);
    if (next < until) {
        until = next;
        atomic_store_explicit(&s->monitor_until, until, memory_order_seq_cst);
    }
    int64_t left = until == INT64_MAX ? INT64_MAX : until - os_now();
    if (left > 0)
        os_futex_wait(&s->monitor_word, word, left == INT64_MAX ? -1 : left);
    /* While it looks everybody kicks, so that it looks once more. */
    atomic_store_explicit(&s->monitor_until, INT64_MAX, memory_order_seq_cst);
    atomic_store_explicit(&s->monitor_deep, false, memory_order_relaxed);
}

void sched_monitor_main(void *arg)
{
    monitor mon = {.s = arg};
    os_thread_sharp_timers();
    for (;;) {
        uint32_t word = atomic_load_explicit(&mon.s->monitor_word, memory_order_seq_cst);
        /* Acquire: pairs with sched_monitor_stop(). */
        if (atomic_load_explicit(&mon.s->monitor_quit, memory_order_acquire))
            return;
        look(&mon);
        sleep_until_told(&mon, word);
    }
}

void sched_monitor_stop(sched *s)
{
    atomic_store_explicit(&s->monitor_quit, true, memory_order_release);
    atomic_fetch_add_explicit(&s->monitor_word, 1, memory_order_seq_cst);
    os_futex_wake(&s->monitor_word, 1);
    os_thread_join(&s->monitor);
}
