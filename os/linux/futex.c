// The futex and the mutex made of one.
//
// The problem: the library's locks are held for tens of nanoseconds, thousands of objects carry one, and
// a fork handler must be able to take and reset them all. pthread_mutex_t is 40 bytes, may allocate
// nothing but needs a destructor on paper, and does not spin. A pure spin lock burns a time slice whenever
// its holder is preempted. The futex mutex of three states (Drepper, "Futexes Are Tricky") lets everybody spin: what
// the lock protects lies in its own cache line, and with eight waiters on sixteen processors a value through a
// channel took 220 ns, five times what it takes without waiters.
//
// So one waiter at a time is AWAKE: it spins, and whoever lets go of the lock leaves the wake-up to it. The others sleep
// at once, ASLEEP. (The idea is that of Go's lock_spinbit.go.) AWAKE is set by a waiter for itself, or by an unlocker for
// the one that it wakes; it is cleared by that waiter, when it gets the lock or goes to sleep. An unlocker that finds
// ASLEEP without AWAKE wakes one. Until the woken one runs, microseconds later, the lock is fast for those that are
// still running, and no further wake-up is paid for.
//
// Bits can get lost, and then a waiter sleeps although nobody will wake it: os_mutex_unlock_fast() loads the word and
// stores 0, so a waiter's bits that came between the two are gone; an unlocker that woke nobody clears ASLEEP, perhaps
// just after somebody fell asleep. Both want a thread that stands still between two neighbouring instructions, or
// nearly so. Therefore nobody sleeps without end: 0.1 ms, and longer each time that this passes without a wake-up, for
// then the bit most likely stood there all the time, and whoever lets go sees it.

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
// later still: each takes the line from the holder in the middle of its work. With a look per pause, a value through a
// buffered channel that two processors contend for took 89 ns instead of 28.
#ifndef SILENT
#define SILENT 32
#endif
enum { PAUSES_LEAST = 16, PAUSES_SILENT = SILENT, PAUSES_MOST = 128 };
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

// True: woken, or the time is over. False: the word was not `expected`. *timeout is for the next time.
static bool sleep_on(os_mutex *m, uint32_t expected, struct timespec *timeout)
{
    int saved = errno, err = EINTR;
    if (!os_fault_here("futex.lock"))
        err = syscall(SYS_futex, &m->word, FUTEX_WAIT_PRIVATE, expected, timeout, NULL, 0) == 0
                  ? 0
                  : errno;
    errno = saved;
    if (err != ETIMEDOUT)
        timeout->tv_nsec = SLEEP_LEAST;
    else if (timeout->tv_nsec < SLEEP_MOST)
        timeout->tv_nsec *= 2;
    return err == 0 || err == ETIMEDOUT;
}

__attribute__((noinline, cold)) void os_mutex_lock_slow(os_mutex *m)
{
    struct timespec timeout = {.tv_nsec = SLEEP_LEAST};
    uint32_t own = 0; // AWAKE, if it is set for us
    int pauses = PAUSES_LEAST;
    for (;;) {
        uint32_t seen = atomic_load_explicit(&m->word, memory_order_relaxed);
        if (!(seen & OS_MUTEX_HELD)) {
            // Acquire pairs with the release in os_mutex_unlock.
            if (atomic_compare_exchange_weak_explicit(&m->word, &seen,
                                                      (seen & ~own) | OS_MUTEX_HELD,
                                                      memory_order_acquire, memory_order_relaxed))
                return;
            continue;
        }
        bool spin = pauses <= PAUSES_MOST && (own || !(seen & OS_MUTEX_AWAKE));
        if (spin && pauses <= PAUSES_SILENT) {
            for (int i = 0; i < pauses; i++)
                os_pause();
            pauses *= 2;
            continue;
        }
        uint32_t next = spin ? seen | OS_MUTEX_AWAKE : (seen & ~own) | OS_MUTEX_ASLEEP;
        if (next != seen && !atomic_compare_exchange_weak_explicit(
                                &m->word, &seen, next, memory_order_relaxed, memory_order_relaxed))
            continue;
        if (spin) {
            own = OS_MUTEX_AWAKE;
            for (int i = 0; i < pauses; i++)
                os_pause();
            pauses *= 2;
            continue;
        }
        // Who was woken has the bit. So has, for all it knows, who looks by itself: its owner may be a thread that
        // fork() left behind. At worst one more spins.
        own = sleep_on(m, next, &timeout) ? OS_MUTEX_AWAKE : 0;
        pauses = PAUSES_LEAST;
    }
}

__attribute__((noinline, cold)) void os_mutex_unlock_slow(os_mutex *m)
{
    uint32_t seen = atomic_load_explicit(&m->word, memory_order_relaxed);
    do {
        // The new holder, or the waiter that is awake, will find the sleepers.
        if (seen & (OS_MUTEX_HELD | OS_MUTEX_AWAKE) || !(seen & OS_MUTEX_ASLEEP))
            return;
    } while (!atomic_compare_exchange_weak_explicit(&m->word, &seen, seen | OS_MUTEX_AWAKE,
                                                    memory_order_relaxed, memory_order_relaxed));
    if (os_futex_wake(&m->word, 1) == 0)
        atomic_fetch_and_explicit(&m->word, ~(OS_MUTEX_AWAKE | OS_MUTEX_ASLEEP),
                                  memory_order_relaxed);
}

#ifdef OS_FENCE_TSAN
_Atomic unsigned os_fence_word;
#endif
