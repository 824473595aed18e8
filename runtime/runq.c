/* Run queues: a ring per P, one coroutine to run next, one global queue.
 *
 * The ring is written at its tail by the M that runs the P and taken from at its head by everybody,
 * as in Go: an entry is read first and owned by whoever then moves `head` past it. Rejected: a deque
 * whose owner takes from the tail (last in, first out starves), a lock per queue (the owner pays for
 * thieves that hardly ever come), one shared queue (its lock is the scheduler's ceiling).
 *
 * runnext holds the coroutine that was readied last: the two ends of a channel follow each other on
 * one P while their data is warm. It inherits the time slice, so that such a pair cannot starve the
 * ring. Thieves leave it alone, since it usually runs within a microsecond; only the monitor takes
 * it, when it has waited too long. Hence the compare-and-swap of the owner.
 *
 * Orderings. tail: release by the owner, acquire by thieves: they see the entries below it. head: the
 * compare-and-swap is a release so that the owner, who reads head with acquire, does not overwrite
 * an entry before it was read.
 *
 * Invariant: a RUNNABLE coroutine is in exactly one queue, once.
 */
#include "os/fence.h"
#include "runtime/sched.h"

uint32_t sched_ring_length(const sched_p *p)
{
    uint32_t head = atomic_load_explicit(&p->head, memory_order_relaxed);
    uint32_t tail = atomic_load_explicit(&p->tail, memory_order_relaxed);
    uint32_t n = tail - head;
    return n <= SCHED_RING ? n : 0; /* the two were of different moments */
}

bool sched_queue_empty(const sched_p *p)
{
    return sched_ring_length(p) == 0 && !atomic_load_explicit(&p->runnext, memory_order_relaxed);
}

/* ---- the ring ----------------------------------------------------------------------------------- */

static sched_g *entry(sched_p *p, uint32_t i)
{
    return atomic_load_explicit(&p->ring[i % SCHED_RING], memory_order_relaxed);
}

/* A coroutine that waits in a long queue is cold when its turn comes, and so is its stack, whose address
 * is in it. Both are fetched while those before it run. Entries that were taken meanwhile do no harm: a G
 * is never unmapped while its scheduler lives. */
static void fetch_ahead(sched_p *p, uint32_t head)
{
    sched_g *far = entry(p, head + 3), *near = entry(p, head + 1);
    __builtin_prefetch(far, 1);
    __builtin_prefetch((const char *)far + TRI_CACHE_LINE, 1);
    if (near && !TRI_TSAN) /* it may be another thread's by now, and the address of no use */
        __builtin_prefetch(__atomic_load_n(&near->ctx.sp, __ATOMIC_RELAXED), 1);
}

/* Half of the full ring and g, in this order, to the global queue. False: thieves made room. */
static TRI_NOINLINE bool overflow(sched_p *p, sched_g *g, uint32_t head)
{
    uint32_t n = SCHED_RING / 2;
    sched_g *first = entry(p, head);
    sched_g *last = first;
    sched_g *batch[SCHED_RING / 2];
    for (uint32_t i = 0; i < n; i++)
        batch[i] = entry(p, head + i);
    /* Release: pairs with the acquire of head in sched_ring_put(). */
    if (!atomic_compare_exchange_strong_explicit(&p->head, &head, head + n, memory_order_acq_rel,
                                                 memory_order_relaxed))
        return false;
    for (uint32_t i = 1; i < n; i++) {
        last->next = batch[i];
        last->ahead = batch[i + 5 < n ? i + 5 : n - 1];
        last = batch[i];
    }
    last->next = last->ahead = g;
    sched_global_put(p->sched, first, g, n + 1);
    return true;
}

void sched_ring_put(sched_p *p, sched_g *g)
{
    for (;;) {
        /* Acquire: pairs with the thieves' release, the slot was read before it is written. */
        uint32_t head = atomic_load_explicit(&p->head, memory_order_acquire);
        uint32_t tail = atomic_load_explicit(&p->tail, memory_order_relaxed);
        if (TRI_LIKELY(tail - head < SCHED_RING)) {
            atomic_store_explicit(&p->ring[tail % SCHED_RING], g, memory_order_relaxed);
            /* Release: pairs with the acquire in sched_ring_steal(). */
            atomic_store_explicit(&p->tail, tail + 1, memory_order_release);
            return;
        }
        if (overflow(p, g, head))
            return;
    }
}

sched_g *sched_ring_get(sched_p *p)
{
    uint32_t head = atomic_load_explicit(&p->head, memory_order_relaxed);
    for (;;) {
        if (head == atomic_load_explicit(&p->tail, memory_order_relaxed))
            return NULL;
        sched_g *g = entry(p, head);
        if (p->sched->nprocs == 1) { /* no thieves */
            atomic_store_explicit(&p->head, head + 1, memory_order_relaxed);
            fetch_ahead(p, head);
            return g;
        }
        /* Release as in overflow(); acquire is not needed, the entry is our own store. */
        if (TRI_LIKELY(atomic_compare_exchange_weak_explicit(
                &p->head, &head, head + 1, memory_order_acq_rel, memory_order_relaxed))) {
            fetch_ahead(p, head);
            return g;
        }
    }
}

/* Moves half of victim's entries to p's ring without publishing them; the number. */
static uint32_t grab(sched_p *p, sched_p *victim, uint32_t tail)
{
    for (;;) {
        uint32_t from = atomic_load_explicit(&victim->head, memory_order_acquire);
        /* Acquire: pairs with the release in sched_ring_put(). */
        uint32_t to = atomic_load_explicit(&victim->tail, memory_order_acquire);
        uint32_t n = to - from;
        n -= n / 2;
        if (n == 0)
            return 0;
        if (n > SCHED_RING / 2)
            continue; /* head and tail were of different moments */
        for (uint32_t i = 0; i < n; i++)
            atomic_store_explicit(&p->ring[(tail + i) % SCHED_RING], entry(victim, from + i),
                                  memory_order_relaxed);
        if (atomic_compare_exchange_strong_explicit(&victim->head, &from, from + n,
                                                    memory_order_acq_rel, memory_order_relaxed))
            return n;
    }
}

sched_g *sched_ring_steal(sched_p *p, sched_p *victim)
{
    uint32_t tail = atomic_load_explicit(&p->tail, memory_order_relaxed);
    TRI_ASSERT(tail == atomic_load_explicit(&p->head, memory_order_relaxed),
               "only a P with an empty ring steals");
    uint32_t n = grab(p, victim, tail);
    if (n == 0)
        return NULL;
    sched_g *g = entry(p, tail + n - 1);
    atomic_store_explicit(&p->tail, tail + n - 1, memory_order_release); /* as in sched_ring_put */
    return g;
}

/* ---- runnext -------------------------------------------------------------------------------- */

sched_g *sched_runnext_get(sched_p *p)
{
    sched_g *g = atomic_load_explicit(&p->runnext, memory_order_relaxed);
    if (g && p->sched->nprocs == 1) {
        atomic_store_explicit(&p->runnext, NULL, memory_order_relaxed);
        return g;
    }
    /* Acquire and release: the monitor may have it, and hands it to another thread. */
    while (g && !atomic_compare_exchange_weak_explicit(&p->runnext, &g, NULL, memory_order_acq_rel,
                                                       memory_order_relaxed))
        ;
    return g;
}

void sched_runnext_put(sched_p *p, sched_g *g)
{
    sched_g *old = atomic_load_explicit(&p->runnext, memory_order_relaxed);
    if (TRI_LIKELY(!old)) {
        /* Nobody but the owner fills it. Release: pairs with the monitor's acquire. */
        atomic_store_explicit(&p->runnext, g, memory_order_release);
        return;
    }
    old = atomic_exchange_explicit(&p->runnext, g, memory_order_acq_rel);
    if (old)
        sched_ring_put(p, old);
}

/* ---- the global queue ---------------------------------------------------------------------------- */

void sched_global_put_locked(sched *s, sched_g *first, sched_g *last, uint32_t n)
{
    last->next = NULL;
    if (s->last)
        s->last->next = first;
    else
        s->first = first;
    s->last = last;
    atomic_fetch_add_explicit(&s->nglobal, n, memory_order_relaxed);
}

void sched_global_put(sched *s, sched_g *first, sched_g *last, uint32_t n)
{
    os_mutex_lock(&s->lock);
    sched_global_put_locked(s, first, last, n);
    os_mutex_unlock(&s->lock);
    /* Pairs with the one in give_up(): see the essay in idle.c. */
    os_fence(memory_order_seq_cst);
}

static sched_g *global_pop(sched *s)
{
    sched_g *g = s->first;
    s->first = g->next;
    __builtin_prefetch(g->ahead, 1); /* a list of cold nodes would be walked a miss at a time */
    if (!s->first)
        s->last = NULL;
    return g;
}

sched_g *sched_global_get_locked(sched *s, sched_p *p)
{
    uint32_t all = atomic_load_explicit(&s->nglobal, memory_order_relaxed);
    if (all == 0)
        return NULL;
    uint32_t n = all / s->nprocs + 1;
    uint32_t room = SCHED_RING / 2 - sched_ring_length(p) % (SCHED_RING / 2);
    n = n > all ? all : n;
    n = n > room ? room : n;
    if (sched_ring_length(p) >= SCHED_RING / 2)
        n = 1;
    atomic_fetch_sub_explicit(&s->nglobal, n, memory_order_relaxed);
    sched_g *g = global_pop(s);
    while (--n > 0)
        sched_ring_put(p, global_pop(s));
    return g;
}
