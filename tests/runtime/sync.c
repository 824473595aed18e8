/* Wait groups and mutexes: nobody is forgotten, nobody meets another inside. */
#include "fixture.h"

#include <pthread.h>
#include <signal.h>

static tri_waitgroup wg;

/* ---- wait groups ------------------------------------------------------------------------------ */

/* Two coroutines hand a turn to and fro, so that each park races with its wake-up. */
struct turn {
    tri_waitgroup to, fro;
    int rounds;
};

static void answer(void *arg)
{
    struct turn *t = arg;
    for (int i = 0; i < t->rounds; i++) {
        tri_waitgroup_wait(&t->to);
        tri_waitgroup_add(&t->to, 1);
        tri_waitgroup_done(&t->fro);
    }
    tri_waitgroup_done(&wg);
}

static void ask(void *arg)
{
    struct turn *t = arg;
    for (int i = 0; i < t->rounds; i++) {
        tri_waitgroup_done(&t->to);
        tri_waitgroup_wait(&t->fro);
        tri_waitgroup_add(&t->fro, 1);
    }
    tri_waitgroup_done(&wg);
}

static void hand_turns(void *arg)
{
    (void)arg;
    static struct turn turns[8];
    tri_waitgroup_add(&wg, 16);
    for (int i = 0; i < 8; i++) {
        turns[i].rounds = FEWER(50000, 2000);
        tri_waitgroup_add(&turns[i].to, 1);
        tri_waitgroup_add(&turns[i].fro, 1);
        tri_go(answer, &turns[i]);
        tri_go(ask, &turns[i]);
    }
    tri_waitgroup_wait(&wg);
}

Test(waitgroup, no_wake_up_is_lost_between_coroutines_on_several_ps, .timeout = 120)
{
    run_on(4, hand_turns, NULL);
}

static void *answer_thread(void *arg)
{
    answer(arg);
    return NULL;
}

static void hand_turns_to_threads(void *arg)
{
    (void)arg;
    static struct turn turns[2];
    pthread_t threads[2];
    tri_waitgroup_add(&wg, 4);
    for (int i = 0; i < 2; i++) {
        turns[i].rounds = 2000;
        tri_waitgroup_add(&turns[i].to, 1);
        tri_waitgroup_add(&turns[i].fro, 1);
        cr_assert_eq(pthread_create(&threads[i], NULL, answer_thread, &turns[i]), 0);
        tri_go(ask, &turns[i]);
    }
    tri_waitgroup_wait(&wg);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
}

Test(waitgroup, threads_and_coroutines_wait_for_each_other, .timeout = 120)
{
    run_on(2, hand_turns_to_threads, NULL);
}

static _Atomic int woken;

static void wait_and_count(void *arg)
{
    tri_waitgroup_wait(arg);
    woken++;
    tri_waitgroup_done(&wg);
}

static void wake_many(void *arg)
{
    (void)arg;
    tri_waitgroup gate = TRI_WAITGROUP_INIT;
    int n = FEWER(20000, 500);
    tri_waitgroup_add(&gate, 1);
    tri_waitgroup_add(&wg, n);
    for (int i = 0; i < n; i++)
        tri_go(wait_and_count, &gate);
    tri_sleep(MS);
    cr_assert_eq(woken, 0);
    tri_waitgroup_done(&gate);
    tri_waitgroup_wait(&wg);
    cr_assert_eq(woken, n);
}

Test(waitgroup, all_that_wait_are_woken)
{
    run_on(4, wake_many, NULL);
}

static void work(void *arg)
{
    tri_waitgroup_done(arg);
}

static void short_lived_groups(void *arg)
{
    (void)arg;
    for (int i = 0; i < FEWER(100000, 3000); i++) {
        tri_waitgroup w = TRI_WAITGROUP_INIT;
        tri_waitgroup_add(&w, 3);
        for (int k = 0; k < 3; k++)
            tri_go(work, &w);
        tri_waitgroup_wait(&w);
        w = (tri_waitgroup){.state_ = UINT64_MAX, .waiters_ = (void *)-1L};
        __asm__ volatile("" ::"r"(&w) : "memory");
    }
}

Test(waitgroup, the_group_may_be_gone_as_soon_as_the_wait_returns)
{
    run_on(4, short_lived_groups, NULL);
}

Test(waitgroup, a_negative_count_aborts, .signal = SIGABRT)
{
    tri_waitgroup w = TRI_WAITGROUP_INIT;
    tri_waitgroup_done(&w);
}

/* ---- mutexes -------------------------------------------------------------------------------------- */

static tri_mutex mutex;
static long inside, total;

static void enter_often(void *arg)
{
    for (intptr_t i = (intptr_t)arg; i > 0; i--) {
        tri_mutex_lock(&mutex);
        cr_assert_eq(++inside, 1, "two hold the mutex");
        total++;
        if (i % 64 == 0)
            tri_yield();
        inside--;
        tri_mutex_unlock(&mutex);
    }
    tri_waitgroup_done(&wg);
}

static void *enter_often_thread(void *arg)
{
    enter_often(arg);
    return NULL;
}

static void contend(void *arg)
{
    (void)arg;
    intptr_t n = FEWER(50000, 1000);
    pthread_t thread;
    tri_waitgroup_add(&wg, 9);
    for (int i = 0; i < 8; i++)
        tri_go(enter_often, (void *)n);
    cr_assert_eq(pthread_create(&thread, NULL, enter_often_thread, (void *)n), 0);
    tri_waitgroup_wait(&wg);
    pthread_join(thread, NULL);
    cr_assert_eq(total, 9 * n);
}

Test(mutex, one_at_a_time_holds_it_coroutine_or_thread, .timeout = 120)
{
    run_on(4, contend, NULL);
}

static void hog(void *arg)
{
    while (!*(_Atomic bool *)arg) {
        tri_mutex_lock(&mutex);
        compute(50000);
        tri_mutex_unlock(&mutex);
        tri_yield();
    }
    tri_waitgroup_done(&wg);
}

static void wait_beside_hogs(void *arg)
{
    (void)arg;
    static _Atomic bool stop;
    tri_waitgroup_add(&wg, 4);
    for (int i = 0; i < 4; i++)
        tri_go(hog, (void *)&stop);
    for (int i = 0; i < 10; i++) {
        tri_mutex_lock(&mutex);
        tri_mutex_unlock(&mutex);
        tri_sleep(MS);
    }
    stop = true;
    tri_waitgroup_wait(&wg);
}

Test(mutex, a_waiter_is_not_starved_by_others_that_lock_again_and_again, .timeout = 60)
{
    run_on(2, wait_beside_hogs, NULL);
}

static tri_mutex crowded = TRI_MUTEX_INIT;
static int served;

static void be_served(void *arg)
{
    (void)arg;
    tri_mutex_lock(&crowded);
    served++;
    tri_mutex_unlock(&crowded);
    tri_waitgroup_done(&wg);
}

/* On one P, so that nobody else runs, unless it is preempted. */
static void unlock_twice(void *arg)
{
    (void)arg;
    tri_mutex_lock(&crowded);
    tri_waitgroup_add(&wg, 3);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(tri_go(be_served, NULL), 0);
    while (!crowded.last_ || crowded.first_ == crowded.last_ ||
           ((sched_waiter *)crowded.first_)->next == crowded.last_)
        tri_yield(); /* until all three wait */
    void *second = ((sched_waiter *)crowded.first_)->next;
    tri_mutex_unlock(&crowded);
    for (int i = 0; i < 100; i++) {
        tri_mutex_lock(&crowded);
        tri_mutex_unlock(&crowded);
    }
    cr_assert(crowded.first_ == second || served, "the first has not tried yet: no other is woken");
    tri_waitgroup_wait(&wg);
    cr_assert_eq(served, 3);
    cr_assert(tri_mutex_trylock(&crowded));
}

Test(mutex, wakes_one_waiter_at_a_time, .timeout = 60)
{
    run_on(1, unlock_twice, NULL);
}

Test(mutex, trylock_takes_a_free_one_and_leaves_a_held_one)
{
    tri_mutex m = TRI_MUTEX_INIT;
    cr_assert(tri_mutex_trylock(&m));
    cr_assert(!tri_mutex_trylock(&m));
    tri_mutex_unlock(&m);
    cr_assert(tri_mutex_trylock(&m));
}

Test(mutex, unlocking_a_free_one_aborts, .signal = SIGABRT)
{
    tri_mutex m = TRI_MUTEX_INIT;
    tri_mutex_unlock(&m);
}
