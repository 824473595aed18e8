/* Wait groups.
 *
 * One 64-bit word holds the count (high half, signed) and the number of waiters, as in Go: the one
 * atomic subtraction of done() tells whether it was the last and whether anybody is to be woken. Only
 * then is the lock taken, under which the list of waiters hangs.
 *
 * Lifetime: often the group lies on the stack of the one who waits, and is gone once wait() returns.
 * done() therefore touches nothing after the subtraction unless there are waiters, and wakes them
 * after its last access; wait() that sees a count of zero was not counted as a waiter.
 */
#include "os/report.h"
#include "runtime/sched.h"
#include "tricolor/sync.h"

_Static_assert(sizeof(os_mutex) == sizeof(uint32_t), "the lock of a wait group is one word");

static os_mutex *lock_of(tri_waitgroup *wg)
{
    return (os_mutex *)&wg->lock_;
}

static int32_t count_of(uint64_t state)
{
    return (int32_t)(state >> 32);
}

/* Waiters are counted under the lock only, so those that were counted are in the list. */
static TRI_NOINLINE void wake_waiters(tri_waitgroup *wg)
{
    sched_m *m = sched_enter();
    os_mutex_lock(lock_of(wg));
    uint64_t state = __atomic_load_n(&wg->state_, __ATOMIC_RELAXED);
    sched_waiter *first = NULL;
    if (count_of(state) == 0) {
        first = wg->waiters_;
        wg->waiters_ = NULL;
        __atomic_fetch_sub(&wg->state_, (uint32_t)state, __ATOMIC_RELAXED);
    }
    os_mutex_unlock(lock_of(wg));
    sched_waiter_wake_all(first);
    if (m)
        sched_leave();
}

void tri_waitgroup_add(tri_waitgroup *wg, int n)
{
    uint64_t add = (uint64_t)(uint32_t)n << 32;
    /* Release: what was done before done() is seen by wait(); acquire: the last done() passes on what
     * the others released. */
    uint64_t old = __atomic_fetch_add(&wg->state_, add, __ATOMIC_ACQ_REL);
    int64_t now = (int64_t)count_of(old) + n;
    if (TRI_UNLIKELY(now < 0))
        os_fatal("wait group: the count fell below zero");
    if (TRI_UNLIKELY(now > INT32_MAX))
        os_fatal("wait group: the count exceeds 2^31 - 1");
    if (now == 0 && (uint32_t)old)
        wake_waiters(wg);
    tri_safepoint_();
}

void tri_waitgroup_done(tri_waitgroup *wg)
{
    tri_waitgroup_add(wg, -1);
}

/* Counts and lists the caller, unless the count is zero. */
static bool enlist(tri_waitgroup *wg, sched_waiter *w)
{
    os_mutex_lock(lock_of(wg));
    /* Acquire: pairs with tri_waitgroup_add(). */
    uint64_t old = __atomic_fetch_add(&wg->state_, 1, __ATOMIC_ACQUIRE);
    bool wait = count_of(old) != 0;
    if (wait) {
        w->next = wg->waiters_;
        wg->waiters_ = w;
    } else {
        __atomic_fetch_sub(&wg->state_, 1, __ATOMIC_RELAXED);
    }
    os_mutex_unlock(lock_of(wg));
    return wait;
}

void tri_waitgroup_wait(tri_waitgroup *wg)
{
    /* Acquire: pairs with tri_waitgroup_add(). */
    if (count_of(__atomic_load_n(&wg->state_, __ATOMIC_ACQUIRE)) == 0) {
        tri_safepoint_();
        return;
    }
    sched_m *m = sched_enter();
    sched_waiter *w = sched_waiter_get(m, SCHED_REASON_WAITGROUP);
    if (enlist(wg, w))
        sched_waiter_wait(m, w);
    else
        sched_waiter_cancel(m, w);
    if (m)
        sched_leave();
}
