/* Mutexes for coroutines and threads.
 *
 * One word for the common case, a lock and a queue for the rest. An unlock wakes the first waiter but
 * leaves the mutex free, so that a running coroutine may take it first: handing it over each time
 * would make every contended lock a switch. Until the woken waiter has tried, unlocks wake nobody else:
 * with a wake-up at each, eight coroutines on eight Ps got the mutex every 250 ns, one alone every 20. A
 * waiter that lost the race goes back to the front, and once it has waited a millisecond the next unlock
 * hands the mutex to it (Go's starvation mode, for one waiter at a time).
 *
 *     word_   LOCKED
 *             WAITERS   somebody is in the queue
 *             WOKEN     a waiter was woken and has not tried yet
 *
 * Invariants: WAITERS is set exactly while the queue is not empty, as seen under the lock, and changed
 * under it only. WOKEN is set by the holder in unlock_slow(), when it is clear, and cleared by the waiter
 * that was woken: so it does not change under a holder that found it clear.
 *
 * Lifetime: who locks next may unlock and free the mutex. An unlock that wakes somebody touches it after it is free to
 * take, but before the wake-up, and the one to be woken will touch it, too; any other unlock does not.
 */
#include "os/clock.h"
#include "os/report.h"
#include "runtime/sched.h"
#include "tricolor/sync.h"

#define LOCKED      1u
#define WAITERS     2u
#define WOKEN       4u
#define STARVING_NS 1000000
#define HANDED_OVER 1 /* sched_waiter.result */

static os_mutex *lock_of(tri_mutex *m)
{
    return (os_mutex *)&m->lock_;
}

/* own: WOKEN, for a waiter that was; it is given up with the attempt that succeeds. */
static bool try_lock(tri_mutex *m, uint32_t own)
{
    uint32_t word = __atomic_load_n(&m->word_, __ATOMIC_RELAXED);
    while (!(word & LOCKED))
        /* Acquire: pairs with the release of the unlock. */
        if (__atomic_compare_exchange_n(&m->word_, &word, (word & ~own) | LOCKED, true,
                                        __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
            return true;
    return false;
}

bool tri_mutex_trylock(tri_mutex *m)
{
    return try_lock(m, 0);
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
static bool queue_or_lock(tri_mutex *m, sched_waiter *w, uint32_t own)
{
    os_mutex_lock(lock_of(m));
    uint32_t word = __atomic_load_n(&m->word_, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&m->word_, &word, (word & ~own) | LOCKED | WAITERS, true,
                                        __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {}
    bool wait = word & LOCKED;
    if (wait)
        enqueue(m, w, own);
    else if (!m->first_)
        __atomic_fetch_and(&m->word_, ~WAITERS, __ATOMIC_RELAXED);
    os_mutex_unlock(lock_of(m));
    return wait;
}

/* ---- slow paths ------------------------------------------------------------------------------- */

static TRI_NOINLINE void lock_slow(tri_mutex *m)
{
    int64_t since = os_now();
    for (uint32_t own = 0;; own = WOKEN) {
        sched_m *self = sched_enter();
        sched_waiter *w = sched_waiter_get(self, SCHED_REASON_MUTEX);
        w->since = since;
        bool wait = queue_or_lock(m, w, own);
        if (wait)
            sched_waiter_wait(self, w);
        else
            sched_waiter_cancel(self, w);
        bool mine = !wait || w->result == HANDED_OVER;
        if (self)
            sched_leave();
        if (mine || try_lock(m, WOKEN))
            return;
    }
}

void tri_mutex_lock(tri_mutex *m)
{
    uint32_t word = 0;
    if (TRI_LIKELY(__atomic_compare_exchange_n(&m->word_, &word, LOCKED, false, __ATOMIC_ACQUIRE,
                                               __ATOMIC_RELAXED)))
        return;
    if (!try_lock(m, 0))
        lock_slow(m);
    tri_safepoint_();
}

static TRI_NOINLINE void unlock_slow(tri_mutex *m)
{
    sched_m *self = sched_enter();
    os_mutex_lock(lock_of(m));
    sched_waiter *w = m->first_ ? dequeue(m) : NULL;
    bool hand_over = w && os_now() - w->since > STARVING_NS;
    uint32_t word = (hand_over ? LOCKED : w ? WOKEN : 0) | (m->first_ ? WAITERS : 0);
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
    while (TRI_UNLIKELY(!__atomic_compare_exchange_n(&m->word_, &word, word & ~LOCKED, false,
                                                     __ATOMIC_RELEASE, __ATOMIC_RELAXED))) {
        if (!(word & LOCKED))
            os_fatal("mutex: unlocked while nobody holds it");
        if (word & WAITERS && !(word & WOKEN)) {
            unlock_slow(m);
            return;
        }
    }
}
