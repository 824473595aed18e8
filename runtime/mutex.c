/* Mutexes for coroutines and threads.
 *
 * One word for the common case, a lock and a queue for the rest. An unlock wakes the first waiter but
 * leaves the mutex free, so that a running coroutine may take it first: handing it over each time
 * would make every contended lock a switch. A waiter that lost that race goes back to the front, and
 * once it has waited a millisecond the next unlock hands the mutex to it (Go's starvation mode, for
 * one waiter at a time).
 *
 *     word_   LOCKED, WAITERS (somebody is in the queue; changed under the lock only)
 *
 * Invariant: WAITERS is set exactly while the queue is not empty, as seen under the lock.
 */
#include "os/clock.h"
#include "os/report.h"
#include "runtime/sched.h"
#include "tricolor/sync.h"

#define LOCKED      1u
#define WAITERS     2u
#define STARVING_NS 1000000
#define HANDED_OVER 1 /* sched_waiter.result */

static os_mutex *lock_of(tri_mutex *m)
{
    return (os_mutex *)&m->lock_;
}

static bool try_lock(tri_mutex *m)
{
    uint32_t word = __atomic_load_n(&m->word_, __ATOMIC_RELAXED);
    while (!(word & LOCKED))
        /* Acquire: pairs with the release of the unlock. */
        if (__atomic_compare_exchange_n(&m->word_, &word, word | LOCKED, true, __ATOMIC_ACQUIRE,
                                        __ATOMIC_RELAXED))
            return true;
    return false;
}

bool tri_mutex_trylock(tri_mutex *m)
{
    return try_lock(m);
}

/* ---- the queue, under the lock ------------------------------------------------------------------- */

static void enqueue(tri_mutex *m, sched_waiter *w, bool at_front)
{
    sched_waiter *first = m->first_, *last = m->last_;
    w->next = at_front ? first : NULL;
    if (!first)
        m->first_ = m->last_ = w;
    else if (at_front)
        m->first_ = w;
    else
        last->next = m->last_ = w;
}

static sched_waiter *dequeue(tri_mutex *m)
{
    sched_waiter *w = m->first_;
    m->first_ = w->next;
    if (!m->first_)
        m->last_ = NULL;
    return w;
}

/* True: the caller is queued and will be woken. False: it has the mutex. */
static bool queue_or_lock(tri_mutex *m, sched_waiter *w, bool at_front)
{
    os_mutex_lock(lock_of(m));
    uint32_t word = __atomic_fetch_or(&m->word_, LOCKED | WAITERS, __ATOMIC_ACQUIRE);
    bool wait = word & LOCKED;
    if (wait)
        enqueue(m, w, at_front);
    else if (!m->first_)
        __atomic_fetch_and(&m->word_, ~WAITERS, __ATOMIC_RELAXED);
    os_mutex_unlock(lock_of(m));
    return wait;
}

/* ---- slow paths ------------------------------------------------------------------------------- */

static TRI_NOINLINE void lock_slow(tri_mutex *m)
{
    int64_t since = os_now();
    for (bool again = false;; again = true) {
        sched_m *self = sched_enter();
        sched_waiter *w = sched_waiter_get(self, SCHED_REASON_MUTEX);
        w->since = since;
        bool wait = queue_or_lock(m, w, again);
        if (wait)
            sched_waiter_wait(self, w);
        else
            sched_waiter_cancel(self, w);
        bool mine = !wait || w->result == HANDED_OVER;
        if (self)
            sched_leave();
        if (mine || try_lock(m))
            return;
    }
}

void tri_mutex_lock(tri_mutex *m)
{
    uint32_t word = 0;
    if (TRI_LIKELY(__atomic_compare_exchange_n(&m->word_, &word, LOCKED, false, __ATOMIC_ACQUIRE,
                                               __ATOMIC_RELAXED)))
        return;
    if (!try_lock(m))
        lock_slow(m);
    tri_safepoint_();
}

static TRI_NOINLINE void unlock_slow(tri_mutex *m)
{
    sched_m *self = sched_enter();
    os_mutex_lock(lock_of(m));
    sched_waiter *w = m->first_ ? dequeue(m) : NULL;
    bool hand_over = w && os_now() - w->since > STARVING_NS;
    uint32_t word = (hand_over ? LOCKED : 0) | (m->first_ ? WAITERS : 0);
    if (w)
        w->result = hand_over ? HANDED_OVER : 0;
    /* Release: pairs with the next lock; a waiter that gets it handed over sees it by its wake-up. */
    __atomic_store_n(&m->word_, word, __ATOMIC_RELEASE);
    os_mutex_unlock(lock_of(m));
    if (w)
        sched_waiter_wake(w);
    if (self)
        sched_leave();
}

void tri_mutex_unlock(tri_mutex *m)
{
    uint32_t word = LOCKED;
    /* Release: pairs with the next lock. */
    if (TRI_LIKELY(__atomic_compare_exchange_n(&m->word_, &word, 0, false, __ATOMIC_RELEASE,
                                               __ATOMIC_RELAXED)))
        return;
    if (!(word & LOCKED))
        os_fatal("mutex: unlocked while nobody holds it");
    unlock_slow(m);
}
