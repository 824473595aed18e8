// Threads and processors on Linux.
//
// pthreads underneath, since user code on these threads expects libc's thread-local storage, cancellation
// and debuggers to work; a raw clone() would give none of them. The start block is allocated, not kept in
// os_thread, so that a detached thread does not depend on its creator's variable.
//
// The invariant: nothing about a thread is cached across a fork or across a point at which a coroutine can
// change threads.

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "os/thread.h"

#include "os/delay.h"
#include "os/fault.h"
#include "os/linux/cgroup.h"
#include "os/memory.h"
#include "os/replay.h"
#include "os/vm.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

_Static_assert(sizeof(pthread_t) <= sizeof(uintptr_t), "a thread handle fits a word");

struct start {
    void (*fn)(void *);
    void *arg;
    uint32_t number; // in the order of starting, for os/replay.h
    char name[16];
};

static void *thread_main(void *p)
{
    struct start s = *(struct start *)p;
    os_free(p, sizeof s);
    if (s.name[0])
        prctl(PR_SET_NAME, s.name);
    os_replay_begin(s.number);
    OS_DELAY("thread.start");
    s.fn(s.arg);
    return NULL;
}

// A size that the system does not take is no reason to have no thread: it gets the default one.
static void set_stack_size(pthread_attr_t *attr, size_t size)
{
    if (size == 0)
        return;
    size_t page = os_page_size();
    long least = sysconf(_SC_THREAD_STACK_MIN);
    if (least > 0 && size < (size_t)least)
        size = (size_t)least;
    if (!os_fault_here("thread.stack_size"))
        pthread_attr_setstacksize(attr, (size + page - 1) & ~(page - 1));
}

int(os_thread_start)(os_thread *t, void (*fn)(void *), void *arg, const char *name,
                     size_t stack_size)
{
    struct start *s = os_alloc(sizeof *s);
    if (!s)
        return -ENOMEM;
    s->fn = fn;
    s->arg = arg;
    s->number = os_replay_number();
    if (name)
        strncpy(s->name, name, sizeof s->name - 1);

    pthread_attr_t attr;
    pthread_t handle;
    int e = -os_fault_error("thread.attributes");
    if (!e)
        e = pthread_attr_init(&attr);
    if (e)
        goto no_attr;
    set_stack_size(&attr, stack_size);
    e = -os_fault_error("thread.pthread_create");
    if (!e)
        e = pthread_create(&handle, &attr, thread_main, s);
    if (e)
        goto no_thread;
    pthread_attr_destroy(&attr);
    t->handle = (uintptr_t)handle;
    return 0;

no_thread:
    pthread_attr_destroy(&attr);
no_attr:
    os_free(s, sizeof *s);
    return -e;
}

int os_thread_join(os_thread *t)
{
    return -pthread_join((pthread_t)t->handle, NULL);
}

void os_thread_detach(os_thread *t)
{
    pthread_detach((pthread_t)t->handle);
}

// The C library has no declaration of it.
struct sched_attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

void os_thread_slices(int64_t ns)
{
    struct sched_attributes a = {.size = sizeof a};
    if (os_fault_here("thread.get_slices") || syscall(SYS_sched_getattr, 0, &a, sizeof a, 0) != 0 ||
        a.policy != SCHED_OTHER)
        return;
    a.runtime = (uint64_t)ns;
    if (!os_fault_here("thread.set_slices"))
        syscall(SYS_sched_setattr, 0, &a, 0);
}

int os_thread_tid(void)
{
    return (int)syscall(SYS_gettid);
}

int os_thread_signal(int tid, int sig)
{
    int saved = errno;
    int e = os_fault_error("signal.tgkill");
    if (!e && syscall(SYS_tgkill, getpid(), tid, sig) != 0)
        e = -errno;
    errno = saved;
    return e;
}

int os_stack_bounds(void **lo, void **hi)
{
    pthread_attr_t attr;
    void *base;
    size_t size;
    int e = -os_fault_error("thread.stack_bounds");
    if (!e)
        e = pthread_getattr_np(pthread_self(), &attr);
    if (e)
        return -e;
    e = pthread_attr_getstack(&attr, &base, &size);
    pthread_attr_destroy(&attr);
    if (e)
        return -e;
    *lo = base;
    *hi = (char *)base + size;
    return 0;
}

static int affinity_count(void)
{
    for (size_t bits = 1024; bits <= 1 << 20; bits *= 4) {
        cpu_set_t *set = os_fault_here("affinity.alloc") ? NULL : CPU_ALLOC(bits);
        if (!set)
            break;
        size_t size = CPU_ALLOC_SIZE(bits);
        CPU_ZERO_S(size, set);
        int ok = !os_fault_here("affinity.get") && sched_getaffinity(0, size, set) == 0;
        int n = ok ? CPU_COUNT_S(size, set) : 0;
        CPU_FREE(set);
        if (ok && n > 0)
            return n;
        if (errno != EINVAL)
            break;
    }
    long n = os_fault_here("affinity.online") ? -1 : sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}

// "quota period", both in microseconds, or "max period".
static bool lower_quota(const char *text, void *arg)
{
    int *least = arg;
    uint64_t quota, period;
    if (os_cgroup_number(&text, &quota) && os_cgroup_number(&text, &period) && period > 0) {
        uint64_t n = (quota + period - 1) / period;
        if (n < 1)
            n = 1;
        if (n < (uint64_t)*least)
            *least = (int)n;
    }
    return true;
}

int os_cpu_count(void)
{
    int n = affinity_count();
    os_cgroup_each("cpu.max", lower_quota, &n);
    return n;
}

void os_yield(void)
{
    sched_yield();
}

void os_sleep_ns(int64_t ns)
{
    if (ns <= 0)
        return;
    // An absolute time, so that signals do not add up to a longer sleep.
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t nsec = until.tv_nsec + ns % 1000000000;
    time_t sec = (time_t)(ns / 1000000000) + (nsec >= 1000000000);
    if (__builtin_add_overflow(until.tv_sec, sec, &until.tv_sec))
        until.tv_sec = (time_t)INT64_MAX;
    until.tv_nsec = nsec % 1000000000;
    while (os_fault_here("thread.sleep") ||
           clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) {}
}

int os_thread_priority_low(void)
{
    int e = 0;
    struct sched_param p = {0};
    if (os_fault_here("thread.priority") || sched_setscheduler(0, SCHED_BATCH, &p) != 0)
        e = -errno;
    // Here 0 is the calling thread, not the process: Linux keeps a nice value per thread.
    if ((os_fault_here("thread.nice") || setpriority(PRIO_PROCESS, 0, 5) != 0) && !e)
        e = -errno;
    return e;
}

void os_thread_sharp_timers(void)
{
    prctl(PR_SET_TIMERSLACK, 1UL, 0, 0, 0);
}
