/* Timers and sleeping.
 *
 * Each P has a heap of timers under a lock of its own: the M that runs the P adds to it and, between
 * coroutines, fires what is due; so do other Ms that look for work, and the monitor, which sleeps
 * until the earliest timer of all. A timer thus waits for nobody: if all Ms are busy, the monitor
 * fires it and asks a running coroutine to give way (monitor.c).
 *
 * The heap is 4-ary: half as deep as a binary one, and the four children of an entry share a cache
 * line. Entries hold the time beside the pointer, so sifting does not touch the timers. Rejected: a
 * timer wheel (cheaper for timeouts that are cancelled, but it rounds, and few timers of a coroutine
 * program are cancelled before there are sockets); one heap for all (its lock).
 *
 * Invariant: heap[i].timer->index == i + 1; `next` is heap[0].when or INT64_MAX, changed under the
 * lock, read without.
 */
#include <errno.h>
#include <string.h>

#include "os/clock.h"
#include "os/memory.h"
#include "runtime/sched.h"

#define ARITY 4

struct sched_timer_entry {
    int64_t when;
    sched_timer *timer;
};

typedef struct sched_timer_entry entry;

static void place(sched_timers *q, uint32_t i, entry e)
{
    q->heap[i] = e;
    e.timer->index = i + 1;
}

static void sift_up(sched_timers *q, uint32_t i, entry e)
{
    while (i > 0) {
        uint32_t parent = (i - 1) / ARITY;
        if (q->heap[parent].when <= e.when)
            break;
        place(q, i, q->heap[parent]);
        i = parent;
    }
    place(q, i, e);
}

static void sift_down(sched_timers *q, uint32_t i, entry e)
{
    for (;;) {
        uint32_t first = i * ARITY + 1;
        uint32_t end = first + ARITY < q->count ? first + ARITY : q->count;
        uint32_t least = first;
        for (uint32_t c = first + 1; c < end; c++)
            if (q->heap[c].when < q->heap[least].when)
                least = c;
        if (first >= end || e.when <= q->heap[least].when)
            break;
        place(q, i, q->heap[least]);
        i = least;
    }
    place(q, i, e);
}

static void set_next(sched_timers *q)
{
    /* seq_cst: the monitor says how long it will sleep and reads this again, we write this and read
     * how long it sleeps; one sees the other. */
    atomic_store_explicit(&q->next, q->count ? q->heap[0].when : INT64_MAX, memory_order_seq_cst);
}

static void remove_at(sched_timers *q, uint32_t i)
{
    q->heap[i].timer->index = 0;
    entry last = q->heap[--q->count];
    if (i == q->count)
        return;
    if (i > 0 && q->heap[(i - 1) / ARITY].when > last.when)
        sift_up(q, i, last);
    else
        sift_down(q, i, last);
}

static int grow_timers(sched_timers *q)
{
    uint32_t capacity = q->capacity ? 2 * q->capacity : 64;
    entry *heap = os_alloc(capacity * sizeof *heap);
    if (!heap)
        return -ENOMEM;
    if (q->count)
        memcpy(heap, q->heap, q->count * sizeof *heap);
    if (q->heap)
        os_free(q->heap, q->capacity * sizeof *heap);
    q->heap = heap;
    q->capacity = capacity;
    return 0;
}

int sched_timer_add(sched_p *p, sched_timer *t, int64_t when)
{
    sched_timers *q = &p->timers;
    os_mutex_lock(&q->lock);
    if (q->count == q->capacity && grow_timers(q)) {
        os_mutex_unlock(&q->lock);
        return -ENOMEM;
    }
    t->when = when;
    t->in = q;
    sift_up(q, q->count++, (entry){when, t});
    set_next(q);
    os_mutex_unlock(&q->lock);
    sched_monitor_kick(p->sched, when);
    return 0;
}

bool sched_timer_remove(sched_timer *t)
{
    sched_timers *q = t->in;
    os_mutex_lock(&q->lock);
    bool there = t->index != 0;
    if (there) {
        remove_at(q, t->index - 1);
        set_next(q);
    }
    os_mutex_unlock(&q->lock);
    return there;
}

static sched_timer *take_due(sched_timers *q, int64_t now)
{
    os_mutex_lock(&q->lock);
    sched_timer *t = q->count && q->heap[0].when <= now ? q->heap[0].timer : NULL;
    if (t) {
        remove_at(q, 0);
        set_next(q);
    }
    os_mutex_unlock(&q->lock);
    return t;
}

#ifdef TRI_TORTURE
#define FIRE_PIECE 2
#else
#define FIRE_PIECE 64
#endif

unsigned sched_timers_run(sched_p *p, int64_t now)
{
    unsigned n = 0;
    sched_timer *t;
    while (n < FIRE_PIECE && (t = take_due(&p->timers, now))) {
        t->fire(t);
        n++;
    }
    return n;
}

int64_t sched_timers_next(sched *s)
{
    int64_t next = INT64_MAX;
    for (uint32_t i = 0; i < s->nprocs; i++) {
        int64_t t = atomic_load_explicit(&s->ps[i].timers.next, memory_order_seq_cst);
        next = t < next ? t : next;
    }
    return next;
}

void sched_timers_free(sched_p *p)
{
    if (p->timers.heap)
        os_free(p->timers.heap, p->timers.capacity * sizeof(entry));
}

/* ---- sleeping ------------------------------------------------------------------------------------ */

static void wake_sleeper(sched_timer *t)
{
    sched_g *g = (sched_g *)((char *)t - offsetof(sched_g, timer));
    sched_ready_last(g);
}

static void sleep_blocking(void *ns)
{
    os_sleep_ns(*(int64_t *)ns);
}

void tri_sleep(int64_t ns)
{
    if (ns <= 0) {
        tri_yield();
        return;
    }
    sched_m *m = sched_enter();
    if (!m) {
        sched_blocking(sleep_blocking, &ns);
        return;
    }
    int64_t now = os_now();
    int64_t when = ns < INT64_MAX - now ? now + ns : INT64_MAX - 1;
    sched_g *g = m->g;
    g->timer.fire = wake_sleeper;
    atomic_store_explicit(&g->reason, SCHED_REASON_SLEEP, memory_order_relaxed);
    atomic_store_explicit(&g->state, SCHED_PARKING, memory_order_relaxed);
    if (TRI_LIKELY(!sched_timer_add(m->p, &g->timer, when))) {
        sched_park(m);
    } else {
        atomic_store_explicit(&g->state, SCHED_RUNNING, memory_order_relaxed);
        sched_blocking(sleep_blocking, &ns);
    }
    sched_leave();
}
