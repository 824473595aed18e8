// Threads, a futex and a mutex on top of it, processors, and the calling thread's stack.

#ifndef OS_THREAD_H
#define OS_THREAD_H

#include "os/fault.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A hint to the processor that this is a spin loop.
static inline void os_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    // `yield` is a no-op on cores without SMT; `isb` costs about what x86's pause does.
    __asm__ __volatile__("isb" ::: "memory");
#else
    atomic_signal_fence(memory_order_seq_cst);
#endif
}

// --- futex ---

// Sleeps while *w == expected, at most timeout_ns (negative: for ever).
// 0: woken, perhaps for no reason. -EAGAIN: *w differed. -ETIMEDOUT. -EINTR: a signal handler ran.
int os_futex_wait(_Atomic uint32_t *w, uint32_t expected, int64_t timeout_ns);

// Wakes up to n sleepers and returns how many. Async-signal-safe.
int os_futex_wake(_Atomic uint32_t *w, int n);

// --- mutex ---

// Bits of OS_MUTEX_; futex.c says who sets them. One word, no destructor, zero is a free mutex, not recursive, not fair,
// not usable from signal handlers, not shared between processes.
typedef struct os_mutex {
    _Atomic uint32_t word;
} os_mutex;

#define OS_MUTEX_INIT \
    {                 \
        0             \
    }

#define OS_MUTEX_HELD   1u
#define OS_MUTEX_ASLEEP 2u // somebody may be

void os_mutex_lock_slow(os_mutex *m, uint32_t seen);
void os_mutex_unlock_slow(os_mutex *m);

static inline bool os_mutex_trylock(os_mutex *m)
{
    uint32_t was = atomic_load_explicit(&m->word, memory_order_relaxed);
    // Acquire pairs with the release in os_mutex_unlock.
    return !(was & OS_MUTEX_HELD) &&
           atomic_compare_exchange_strong_explicit(&m->word, &was, was | OS_MUTEX_HELD,
                                                   memory_order_acquire, memory_order_relaxed);
}

static inline void os_mutex_lock(os_mutex *m)
{
    uint32_t was = 0;
    // Acquire pairs as above.
    if (__builtin_expect(!atomic_compare_exchange_strong_explicit(&m->word, &was, OS_MUTEX_HELD,
                                                                  memory_order_acquire,
                                                                  memory_order_relaxed),
                         0))
        os_mutex_lock_slow(m, was);
}

static inline void os_mutex_unlock(os_mutex *m)
{
    uint32_t was = OS_MUTEX_HELD;
    // Release pairs with the acquire in os_mutex_lock, os_mutex_trylock and os_mutex_lock_slow.
    if (__builtin_expect(!atomic_compare_exchange_strong_explicit(
                             &m->word, &was, 0, memory_order_release, memory_order_relaxed),
                         0))
        os_mutex_unlock_slow(m);
}

// The same by a load and a store where nobody waits, for locks that are taken millions of times a second: the exchange
// is half of what an uncontended lock costs. No full fence on any processor. A waiter that comes between the two is
// overlooked; it looks again by itself within 0.1 ms.
static inline void os_mutex_unlock_fast(os_mutex *m)
{
    if (__builtin_expect(atomic_load_explicit(&m->word, memory_order_relaxed) == OS_MUTEX_HELD, 1))
        atomic_store_explicit(&m->word, 0, memory_order_release); // pairs as in os_mutex_unlock
    else
        os_mutex_unlock_slow(m);
}

// For assertions: held by somebody, not necessarily by the caller.
static inline bool os_mutex_is_held(const os_mutex *m)
{
    return atomic_load_explicit(&m->word, memory_order_relaxed) & OS_MUTEX_HELD;
}

// --- threads ---

typedef struct os_thread {
    uintptr_t handle;
} os_thread;

// Runs fn(arg) on a new thread. `name` (may be NULL) is cut to 15 bytes. `stack_size` 0 means the
// system's default. The thread inherits the signal mask of its creator. `*t` may be dropped after
// os_thread_detach; every started thread is joined or detached exactly once.
int os_thread_start(os_thread *t, void (*fn)(void *), void *arg, const char *name,
                    size_t stack_size);
int os_thread_join(os_thread *t);
void os_thread_detach(os_thread *t);

// The kernel's id of the calling thread. Asks the kernel each time: a cached id would be wrong in the
// child of a fork and in a coroutine that moved. Async-signal-safe.
int os_thread_tid(void);

// Sends `sig` to one thread of this process. -ESRCH if it is gone. Handshakes go through
// os_handshake_send (os/signal.h), which also marks the signal as ours.
int os_thread_signal(int tid, int sig);

// The calling thread's own stack (not that of a coroutine it may be running): [*lo, *hi).
// The main thread's stack grows on demand, so its lower end need not be mapped yet. Not
// async-signal-safe.
int os_stack_bounds(void **lo, void **hi);

// Processors this process may use: its affinity mask, cut by a cgroup v2 cpu.max quota rounded up.
// At least 1. Reads files: not for fast paths.
int os_cpu_count(void);

void os_yield(void);

// Sleeps at least ns, whatever signals arrive.
void os_sleep_ns(int64_t ns);

// Asks that the calling thread yield to others (batch scheduling, nicer by 5). Failure is harmless. It
// cannot be undone without privileges: only for threads of the library's own.
int os_thread_priority_low(void);

// Lets timed waits of the calling thread end as close to their time as the hardware can, instead of up to
// 50 us later. Failure is harmless.
void os_thread_sharp_timers(void);

// For a background thread that shares the processors with busy ones: asks the kernel to run it in slices of
// about `ns` (100 us to 100 ms) instead of the default of some milliseconds, so that whoever it displaces
// is back soon. Its share stays the same. Kernels before 6.12 ignore it. Failure is harmless.
void os_thread_slices(int64_t ns);

#ifdef TRI_FAULTS
#define os_futex_wait(w, expected, timeout_ns) \
    os_fault_or("futex.wait", os_futex_wait(w, expected, timeout_ns))
#define os_thread_start(t, fn, arg, name, stack_size) \
    os_fault_or("thread.create", os_thread_start(t, fn, arg, name, stack_size))
#endif

#endif
