// The futex and the mutex made of one.
//
// The problem: the library's locks are held for tens of nanoseconds, thousands of objects carry one, and
// a fork handler must be able to take and reset them all. pthread_mutex_t is 40 bytes, may allocate
// nothing but needs a destructor on paper, and does not spin. A pure spin lock burns a time slice whenever
// its holder is preempted. So: one word with three states, after Drepper's "Futexes Are Tricky" and Go's
// lock_futex.go, that spins for about two microseconds and then sleeps.
//
// The pattern that both sides keep. A waiter exchanges 2 into the word before each sleep and sleeps only
// while it is 2; whoever gets the lock that way leaves it at 2, since others may be asleep. An unlocker
// exchanges 0 into the word and, if it was 2, wakes one. So a sleeper always finds the word at 2 with a
// holder that will see the 2. The cost is a wake-up too many, never one too few.
//
// But os_mutex_unlock_fast() loads the word and stores 0. Nobody gets the lock between the two, for it is held;
// what may come between is a waiter's 2, which is then gone. The waiter falls asleep only if it finds its 2 still
// there, some hundred instructions later: so it sleeps unseen only if the unlocker stood still between its two.
// Therefore nobody sleeps without end: 0.1 ms, and longer each time that this passes without a wake-up, for then its 2
// most likely stood there all the time, and whoever lets go sees it.

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "os/fault.h"
#include "os/fence.h"
#include "os/thread.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// A pause takes 10 to 50 ns by processor; 240 of them are 2 us or more. The first look comes late and the next ones
// later still: what the lock protects lies mostly in its own cache line, and each look takes that line from the
// holder in the middle of its work. With a look per pause, a value through a buffered channel that two processors
// contend for took 89 ns instead of 28.
enum { PAUSES_LEAST = 16, PAUSES_MOST = 128 };
enum { SLEEP_LEAST = 100000, SLEEP_MOST = 50000000 }; // ns

int(os_futex_wait)(_Atomic uint32_t *w, uint32_t expected, int64_t timeout_ns)
{
    struct timespec t, *tp = NULL;
    if (timeout_ns >= 0) {
        t.tv_sec = (time_t)(timeout_ns / 1000000000);
        t.tv_nsec = (long)(timeout_ns % 1000000000);
        tp = &t;
    }
    int saved = errno;
    int e = syscall(SYS_futex, w, FUTEX_WAIT_PRIVATE, expected, tp, NULL, 0) == 0 ? 0 : -errno;
    errno = saved;
    return e;
}

int os_futex_wake(_Atomic uint32_t *w, int n)
{
    int saved = errno;
    long woken = syscall(SYS_futex, w, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
    int r = woken >= 0 ? (int)woken : -errno;
    errno = saved;
    return r;
}

__attribute__((noinline, cold)) void os_mutex_lock_slow(os_mutex *m)
{
    for (int pauses = PAUSES_LEAST; pauses <= PAUSES_MOST; pauses *= 2) {
        for (int i = 0; i < pauses; i++)
            os_pause();
        uint32_t seen = atomic_load_explicit(&m->word, memory_order_relaxed);
        if (seen == 0 && os_mutex_trylock(m))
            return;
        // Somebody is asleep already: spinning past them only makes it less fair.
        if (seen == 2)
            break;
    }
    struct timespec t = {.tv_nsec = SLEEP_LEAST};
    // Acquire pairs with the release in os_mutex_unlock.
    while (atomic_exchange_explicit(&m->word, 2, memory_order_acquire) != 0) {
        int saved = errno;
        bool long_held = !os_fault_here("futex.lock") &&
                         syscall(SYS_futex, &m->word, FUTEX_WAIT_PRIVATE, 2, &t, NULL, 0) != 0 &&
                         errno == ETIMEDOUT;
        errno = saved;
        t.tv_nsec = !long_held ? SLEEP_LEAST : t.tv_nsec < SLEEP_MOST ? t.tv_nsec * 2 : SLEEP_MOST;
    }
}

__attribute__((noinline, cold)) void os_mutex_unlock_slow(os_mutex *m)
{
    os_futex_wake(&m->word, 1);
}

#ifdef OS_FENCE_TSAN
_Atomic unsigned os_fence_word;
#endif
