// The futex and the mutex made of one.
//
// The problem: the library's locks are held for tens of nanoseconds, thousands of objects carry one, and
// a fork handler must be able to take and reset them all. pthread_mutex_t is 40 bytes, may allocate
// nothing but needs a destructor on paper, and does not spin. A pure spin lock burns a time slice whenever
// its holder is preempted. The futex mutex of three states (Drepper, "Futexes Are Tricky") lets everybody spin: the
// more look at the lock, the more often it changes processors, and what it protects with it. With eight threads on
// sixteen processors a value through a channel took 220 ns, five times what it takes one thread.
//
// So one waiter at a time spins for a lock, the others sleep at once, and whoever lets go of the lock leaves the
// wake-up to the one that is awake (the idea is that of Go's lock_spinbit.go). Who that is stands not in the lock,
// where it would take the line from the holder and the fast paths from everybody, but in a small table by the hash of
// the address: `awake` is the lock for which somebody spins. A waiter enters its lock there, or an unlocker does for
// the sleeper that it wakes; the waiter takes it out when it gets the lock or goes to sleep. Until a woken one
// runs, microseconds later, the lock is fast for those that are still running. If another lock has the place, a waiter
// spins, and an unlocker wakes, as if there were no table.
//
// Why nobody is forgotten. A waiter sets ASLEEP while the lock is held, and sleeps only if the word is still the
// same. An unlocker that sees ASLEEP clears it and wakes one, who sets it again when it gets the lock or goes back to sleep,
// since others may be asleep. Or, if one is awake, the unlocker leaves ASLEEP to that one, who either gets the lock
// with it, or leaves the table and then looks at the word once more, in the kernel, while the unlocker looks at the table
// once more when it has let go of the lock: one of them sees the other. Once it has let go, an unlocker writes
// nothing into the lock, for by then that may be gone.
//
// The exceptions. os_mutex_unlock_fast() loads the word and stores 0, so an ASLEEP that came between the two is
// gone; and a thread that fork() left behind may stand in the table. The first wants a thread that stands still between two
// neighbouring instructions. Therefore nobody sleeps without end: 0.1 ms, and longer each time that this passes without a
// wake-up, for then ASLEEP most likely stood there all the time, and whoever lets go sees it.

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

// A pause takes 10 to 50 ns by processor; all of them 20 to 90 us. The first look comes late and the next ones later
// still: each takes the line from the holder in the middle of its work. With a look per pause, a value through a
// buffered channel that two processors contend for took 89 ns instead of 28. And whoever gives up has paid for a
// sleep and a wake-up: on sixteen processors that value takes 124 ns, with 32 to 512 pauses 176, with 16 to 128 202.
enum { PAUSES_LEAST = 128, PAUSES_MOST = 1024 };
enum { SLEEP_LEAST = 100000, SLEEP_MOST = 50000000 }; // ns

enum { PLACES_LOG2 = 6 };
static struct {
    _Atomic uintptr_t awake __attribute__((aligned(64))); // the address of a lock, or 0
} places[1 << PLACES_LOG2];

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

static _Atomic uintptr_t *place_of(const os_mutex *m)
{
    return &places[((uint64_t)(uintptr_t)m * 0x9e3779b97f4a7c15u) >> (64 - PLACES_LOG2)].awake;
}

static bool enter(_Atomic uintptr_t *place, const os_mutex *m)
{
    uintptr_t none = 0;
    return atomic_compare_exchange_strong_explicit(place, &none, (uintptr_t)m, memory_order_relaxed,
                                                   memory_order_relaxed);
}

static void leave(_Atomic uintptr_t *place, const os_mutex *m)
{
    uintptr_t own = (uintptr_t)m;
    // seq_cst: comes before the look at the word, which is the kernel's; pairs with os_mutex_unlock_slow().
    atomic_compare_exchange_strong_explicit(place, &own, 0, memory_order_seq_cst,
                                            memory_order_relaxed);
}

static bool is_awake(_Atomic uintptr_t *place, const os_mutex *m)
{
    return atomic_load_explicit(place, memory_order_relaxed) == (uintptr_t)m;
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

__attribute__((noinline, cold)) void os_mutex_lock_slow(os_mutex *m, uint32_t seen)
{
    _Atomic uintptr_t *place = place_of(m);
    struct timespec timeout = {.tv_nsec = SLEEP_LEAST};
    bool own = false;  // the place
    uint32_t mine = 0; // ASLEEP, once it may have been cleared for our sake
    int pauses = PAUSES_LEAST;
    for (;; seen = atomic_load_explicit(&m->word, memory_order_relaxed)) {
        if (!(seen & OS_MUTEX_HELD)) {
            // Acquire pairs with the release in os_mutex_unlock.
            if (!atomic_compare_exchange_strong_explicit(
                    &m->word, &seen, seen | mine | OS_MUTEX_HELD, memory_order_acquire,
                    memory_order_relaxed))
                continue;
            if (own)
                leave(place, m);
            return;
        }
        own = own || enter(place, m);
        if (pauses <= PAUSES_MOST && (own || !is_awake(place, m))) {
            for (int i = 0; i < pauses; i++)
                os_pause();
            pauses *= 2;
            continue;
        }
        if (own)
            leave(place, m);
        own = false;
        if (!(seen & OS_MUTEX_ASLEEP) &&
            !atomic_compare_exchange_strong_explicit(&m->word, &seen, seen | OS_MUTEX_ASLEEP,
                                                     memory_order_relaxed, memory_order_relaxed))
            continue;
        // For a sleeper that was woken its lock stands in the table. One that looks by itself takes over what
        // may be nobody's: at worst one more spins.
        mine = OS_MUTEX_ASLEEP;
        if (sleep_on(m, seen | OS_MUTEX_ASLEEP, &timeout)) {
            own = is_awake(place, m);
            pauses = PAUSES_LEAST;
        }
    }
}

// ASLEEP is set, so nobody changes the word meanwhile.
__attribute__((noinline, cold)) void os_mutex_unlock_slow(os_mutex *m)
{
    _Atomic uintptr_t *place = place_of(m);
    bool awake = is_awake(place, m), entered = !awake && enter(place, m);
    atomic_store_explicit(&m->word, awake ? OS_MUTEX_ASLEEP : 0, memory_order_release);
    os_fence(memory_order_seq_cst); // the lock is let go of; pairs with leave()
    if (awake && is_awake(place, m))
        return;
    if (os_futex_wake(&m->word, 1) == 0 && entered)
        leave(place, m);
}

#ifdef OS_FENCE_TSAN
_Atomic unsigned os_fence_word;
#endif
