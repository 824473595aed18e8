// Threads, the futex and the mutex.

#include "os/thread.h"
#include "os/clock.h"
#include "os/fault.h"
#include "os/fork.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MS = 1000 * 1000 };

Test(os_futex, a_wait_for_another_value_returns_at_once)
{
    _Atomic uint32_t w = 1;
    cr_assert_eq(os_futex_wait(&w, 0, -1), -EAGAIN);
}

Test(os_futex, a_wait_times_out_after_its_time_and_not_before)
{
    _Atomic uint32_t w = 0;
    int64_t before = os_now();
    cr_assert_eq(os_futex_wait(&w, 0, 30 * MS), -ETIMEDOUT);
    int64_t took = os_now() - before;
    cr_assert_geq(took, 30 * MS);
    cr_assert_lt(took, 3000 * (int64_t)MS);
    cr_assert_eq(os_futex_wait(&w, 0, 0), -ETIMEDOUT);
}

static _Atomic uint32_t gate;
static _Atomic int passed;

static void wait_at_gate(void *arg)
{
    (void)arg;
    while (atomic_load(&gate) == 0)
        os_futex_wait(&gate, 0, -1);
    atomic_fetch_add(&passed, 1);
}

Test(os_futex, waking_says_how_many_it_woke)
{
    os_thread t[3];
    for (int i = 0; i < 3; i++)
        cr_assert_eq(os_thread_start(&t[i], wait_at_gate, NULL, "waiter", 0), 0);
    cr_assert_eq(os_futex_wake(&gate + 1, 8), 0);
    os_sleep_ns(50 * MS);
    atomic_store(&gate, 1);
    int woken = 0;
    for (int64_t until = os_now() + 5000 * (int64_t)MS; atomic_load(&passed) < 3;) {
        woken += os_futex_wake(&gate, 1);
        cr_assert_lt(os_now(), until);
    }
    cr_assert(woken >= 1 && woken <= 3, "%d", woken);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(os_thread_join(&t[i]), 0);
}

static void do_nothing(int sig)
{
    (void)sig;
}

static void interrupt_later(void *arg)
{
    int tid = *(int *)arg;
    while (atomic_load(&passed) == 0) {
        os_sleep_ns(5 * MS);
        os_thread_signal(tid, SIGUSR1);
    }
}

Test(os_futex, a_signal_ends_a_wait)
{
    struct sigaction sa = {.sa_handler = do_nothing};
    sigaction(SIGUSR1, &sa, NULL);
    int tid = os_thread_tid();
    os_thread t;
    cr_assert_eq(os_thread_start(&t, interrupt_later, &tid, NULL, 0), 0);
    _Atomic uint32_t w = 0;
    cr_assert_eq(os_futex_wait(&w, 0, 5000 * (int64_t)MS), -EINTR);
    atomic_store(&passed, 1);
    os_thread_join(&t);
}

// --- mutex ---

static os_mutex lock = OS_MUTEX_INIT;
static uint64_t protected, mirror;

enum { LOCKERS = 8, LOCKS = 50000 };

/* Half of them let go of it the fast way. */
static void add_under_lock(void *arg)
{
    void (*unlock)(os_mutex *) = (intptr_t)arg % 2 ? os_mutex_unlock : os_mutex_unlock_fast;
    for (int i = 0; i < LOCKS; i++) {
        os_mutex_lock(&lock);
        cr_assert_eq(protected, mirror);
        protected++;
        // Held across a descheduling now and then, so that others go to sleep on it.
        if (i % 1000 == (int)(intptr_t)arg)
            os_yield();
        mirror++;
        unlock(&lock);
    }
}

Test(os_mutex, holders_exclude_each_other)
{
    os_thread t[LOCKERS];
    for (int i = 0; i < LOCKERS; i++)
        cr_assert_eq(os_thread_start(&t[i], add_under_lock, (void *)(intptr_t)i, "locker", 0), 0);
    for (int i = 0; i < LOCKERS; i++)
        cr_assert_eq(os_thread_join(&t[i]), 0);
    cr_assert_eq(protected, (uint64_t)LOCKERS * LOCKS);
    cr_assert_eq(atomic_load(&lock.word), 0);
}

static void lock_and_note(void *arg)
{
    os_mutex_lock(&lock);
    atomic_store((_Atomic int64_t *)arg, os_cpu_thread());
    os_mutex_unlock(&lock);
}

Test(os_mutex, a_waiter_sleeps_and_is_woken)
{
    _Atomic int64_t used = -1;
    os_thread t;
    os_mutex_lock(&lock);
    cr_assert_not(os_mutex_trylock(&lock));
    cr_assert_eq(os_thread_start(&t, lock_and_note, (void *)&used, NULL, 0), 0);
    os_sleep_ns(200 * MS);
    cr_assert_eq(atomic_load(&lock.word), OS_MUTEX_HELD | OS_MUTEX_ASLEEP);
    cr_assert_eq(atomic_load(&used), -1);
    os_mutex_unlock(&lock);
    os_thread_join(&t);
    cr_assert_geq(atomic_load(&used), 0);
    cr_assert_lt(atomic_load(&used), 100 * MS, "the waiter spun instead of sleeping");
    cr_assert_not(os_mutex_is_held(&lock));
    cr_assert(os_mutex_trylock(&lock));
}

Test(os_mutex, one_let_go_of_the_fast_way_wakes_a_sleeper)
{
    _Atomic int64_t used = -1;
    os_thread t;
    os_mutex_lock(&lock);
    cr_assert_eq(os_thread_start(&t, lock_and_note, (void *)&used, NULL, 0), 0);
    os_sleep_ns(20 * MS);
    cr_assert_eq(atomic_load(&lock.word), OS_MUTEX_HELD | OS_MUTEX_ASLEEP);
    os_mutex_unlock_fast(&lock);
    os_thread_join(&t);
    cr_assert_geq(atomic_load(&used), 0);
    cr_assert_not(os_mutex_is_held(&lock));
}

Test(os_mutex, a_sleeper_that_was_overlooked_wakes_by_itself, .timeout = 60)
{
    _Atomic int64_t used = -1;
    os_thread t;
    os_mutex_lock(&lock);
    cr_assert_eq(os_thread_start(&t, lock_and_note, (void *)&used, NULL, 0), 0);
    os_sleep_ns(20 * MS);
    cr_assert_eq(atomic_load(&lock.word), OS_MUTEX_HELD | OS_MUTEX_ASLEEP);
    atomic_store(&lock.word, 0); // as by an unlocker that had seen 1
    os_thread_join(&t);
    cr_assert_geq(atomic_load(&used), 0);
}

enum { SLEEPERS = 3, ROUNDS = 8 };

/* How long it takes until all had the lock, on which they had slept for so long that their looks by themselves
 * are 25 ms and more apart. */
static int64_t pass_on(void (*unlock)(os_mutex *))
{
    _Atomic int64_t used[SLEEPERS];
    os_thread t[SLEEPERS];
    os_mutex_lock(&lock);
    for (int i = 0; i < SLEEPERS; i++)
        cr_assert_eq(os_thread_start(&t[i], lock_and_note, (void *)&used[i], NULL, 0), 0);
    os_sleep_ns(80 * MS);
    int64_t begin = os_now();
    unlock(&lock);
    for (int i = 0; i < SLEEPERS; i++)
        os_thread_join(&t[i]);
    cr_assert_not(os_mutex_is_held(&lock));
    return os_now() - begin;
}

static void overlook(os_mutex *m)
{
    atomic_store(&m->word, 0);
}

Test(os_mutex, each_that_is_woken_wakes_the_next, .timeout = 60)
{
    int64_t woken = 0, overlooked = 0;
    for (int i = 0; i < ROUNDS; i++) {
        woken += pass_on(os_mutex_unlock);
        overlooked += pass_on(overlook);
    }
    cr_assert_lt(woken, overlooked / 2, "%lld us, %lld without a wake-up", (long long)woken / 1000,
                 (long long)overlooked / 1000);
}

// --- threads ---

struct seen {
    int tid;
    char name[32];
    char *lo, *hi, *here;
};

static void look_around(void *arg)
{
    struct seen *s = arg;
    s->tid = os_thread_tid();
    pthread_getname_np(pthread_self(), s->name, sizeof s->name);
    void *lo, *hi;
    cr_assert_eq(os_stack_bounds(&lo, &hi), 0);
    s->lo = lo;
    s->hi = hi;
    s->here = __builtin_frame_address(0);
    // The lowest address is usable.
    *(volatile char *)lo = 1;
}

Test(os_thread, a_thread_has_its_name_its_id_and_its_stack)
{
    struct seen s = {0};
    os_thread t;
    cr_assert_eq(os_thread_start(&t, look_around, &s, "a name too long for it", 256 * 1024), 0);
    cr_assert_eq(os_thread_join(&t), 0);
    cr_assert_str_eq(s.name, "a name too long");
    cr_assert_neq(s.tid, os_thread_tid());
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    cr_assert(s.lo <= s.here && s.here < s.hi);
    cr_assert_leq((size_t)(s.hi - s.lo), (size_t)300 * 1024);
#endif
    // Joined as soon as it is dead, which the kernel has not quite noticed yet.
    for (int i = 0; os_thread_signal(s.tid, 0) != -ESRCH; i++) {
        cr_assert_lt(i, 1000, "a thread that was joined is still there");
        os_sleep_ns(5 * MS);
    }
}

Test(os_thread, the_main_threads_stack_holds_its_frames)
{
    void *lo, *hi;
    char *here = __builtin_frame_address(0);
    cr_assert_eq(os_stack_bounds(&lo, &hi), 0);
    cr_assert((char *)lo < here && here < (char *)hi);
    cr_assert_eq(os_thread_tid(), getpid());
}

Test(os_thread, a_tiny_stack_is_made_big_enough)
{
    struct seen s = {0};
    os_thread t;
    cr_assert_eq(os_thread_start(&t, look_around, &s, NULL, 1), 0);
    cr_assert_eq(os_thread_join(&t), 0);
    cr_assert_gt(s.tid, 0);
}

Test(os_thread, a_detached_thread_needs_nothing_of_its_creator)
{
    for (int i = 0; i < 20; i++) {
        os_thread t;
        atomic_store(&gate, 1);
        cr_assert_eq(os_thread_start(&t, wait_at_gate, NULL, "detached", 0), 0);
        os_thread_detach(&t);
        memset(&t, 0xff, sizeof t);
    }
    for (int64_t until = os_now() + 5000 * (int64_t)MS; atomic_load(&passed) < 20; os_yield())
        cr_assert_lt(os_now(), until);
}

Test(os_thread, the_id_is_right_in_the_child_of_a_fork)
{
    int parent = os_thread_tid();
    pid_t pid = fork();
    if (pid == 0)
        _exit(os_thread_tid() == getpid() && os_thread_tid() != parent ? 0 : 1);
    int status;
    waitpid(pid, &status, 0);
    cr_assert_eq(status, 0);
}

Test(os_thread, the_number_of_processors_follows_the_affinity_mask)
{
    int n = os_cpu_count();
    cr_assert_geq(n, 1);
    cpu_set_t all, one;
    cr_assert_eq(sched_getaffinity(0, sizeof all, &all), 0);
    cr_assert_leq(n, CPU_COUNT(&all));
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE; i++) {
        if (CPU_ISSET(i, &all)) {
            CPU_SET(i, &one);
            break;
        }
    }
    cr_assert_eq(sched_setaffinity(0, sizeof one, &one), 0);
    cr_assert_eq(os_cpu_count(), 1);
}

Test(os_thread, a_sleep_outlasts_signals)
{
    struct sigaction sa = {.sa_handler = do_nothing};
    sigaction(SIGUSR1, &sa, NULL);
    int tid = os_thread_tid();
    os_thread t;
    cr_assert_eq(os_thread_start(&t, interrupt_later, &tid, NULL, 0), 0);
    int64_t before = os_now();
    os_sleep_ns(40 * MS);
    cr_assert_geq(os_now() - before, 40 * MS);
    os_sleep_ns(-1);
    atomic_store(&passed, 1);
    os_thread_join(&t);
}

static void lower_priority(void *arg)
{
    *(int *)arg = os_thread_priority_low();
    *(int *)arg |= sched_getscheduler(0) != SCHED_BATCH;
}

Test(os_thread, low_priority_is_the_threads_own)
{
    int e = -1;
    os_thread t;
    cr_assert_eq(os_thread_start(&t, lower_priority, &e, NULL, 0), 0);
    os_thread_join(&t);
    cr_assert_eq(e, 0);
    cr_assert_eq(sched_getscheduler(0), SCHED_OTHER);
}

#ifdef TRI_FAULTS

Test(os_thread, a_failed_start_is_reported_and_leaves_nothing)
{
    os_thread t;
    struct seen s = {0};
    cr_assert_eq(os_fault_configure("thread.create:1:EAGAIN"), 0);
    cr_assert_eq(os_thread_start(&t, look_around, &s, NULL, 0), -EAGAIN);
    cr_assert_eq(os_fault_configure("alloc:1"), 0);
    cr_assert_eq(os_thread_start(&t, look_around, &s, NULL, 0), -ENOMEM);
    cr_assert_eq(s.tid, 0);
    cr_assert_eq(os_thread_start(&t, look_around, &s, NULL, 0), 0);
    os_thread_join(&t);
    cr_assert_neq(s.tid, 0);
}

#endif

static char order[8];

static void before_fork(void)
{
    strcat(order, "p");
}

static void in_parent(void)
{
    strcat(order, "P");
}

static void in_child(void)
{
    strcat(order, "c");
}

Test(os_fork, handlers_run_around_a_fork)
{
    cr_assert_eq(os_atfork(before_fork, in_parent, in_child), 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(strcmp(order, "pc") == 0 ? 0 : 1);
    int status;
    waitpid(pid, &status, 0);
    cr_assert_eq(status, 0);
    cr_assert_str_eq(order, "pP");
}
