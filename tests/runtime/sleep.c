/* Sleeping: long enough, in order, and not much longer, whatever else runs. ctest: serial */
#include "fixture.h"

#include <stdlib.h>

static tri_waitgroup wg;

static void sleeps_long_enough(void *arg)
{
    (void)arg;
    for (int64_t ns = 1; ns < 20 * MS; ns *= 3) {
        int64_t start = os_now();
        tri_sleep(ns);
        cr_assert_geq(os_now() - start, ns);
    }
    tri_sleep(0);
    tri_sleep(-1);
}

Test(sleep, never_ends_early)
{
    run_on(2, sleeps_long_enough, NULL);
    sleeps_long_enough(NULL); /* a thread that is attached to nothing */
}

static int order[100];
static int64_t base; /* when the first shall wake: all sleep by then */
static _Atomic int next;

static void sleep_by_number(void *arg)
{
    int n = (int)(intptr_t)arg;
    tri_sleep(base + n * MS / 2 - os_now());
    order[next++] = n;
    tri_waitgroup_done(&wg);
}

static void sleep_in_order(void *arg)
{
    (void)arg;
    base = os_now() + FEWER(50, 500) * MS;
    tri_waitgroup_add(&wg, 100);
    for (intptr_t i = 0; i < 100; i++)
        tri_go(sleep_by_number, (void *)(i * 37 % 100));
    tri_waitgroup_wait(&wg);
    int swapped = 0;
    for (int i = 1; i < 100; i++)
        for (int k = 0; k < i; k++)
            swapped += order[i] < order[k] - 20;
    /* On a machine at work neighbours may become runnable at one look; 10 ms apart that is rare. */
    cr_assert_leq(swapped, 20, "%d pairs of sleepers woke in the wrong order", swapped);
}

Test(sleep, sleepers_wake_in_the_order_of_their_times)
{
    run_on(1, sleep_in_order, NULL);
}

static _Atomic int awake;

static void sleep_at_random(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg;
    for (int i = 0; i < 3; i++)
        tri_sleep(os_random_below(&seed, 20 * MS));
    awake++;
    tri_waitgroup_done(&wg);
}

static void many_sleepers(void *arg)
{
    (void)arg;
    int n = FEWER(20000, 500);
    tri_waitgroup_add(&wg, n);
    for (intptr_t i = 0; i < n; i++)
        tri_go(sleep_at_random, (void *)(i + 1));
    tri_waitgroup_wait(&wg);
    cr_assert_eq(awake, n);
}

Test(sleep, nobody_of_many_sleepers_is_forgotten, .timeout = 60)
{
    run_on(4, many_sleepers, NULL);
}

/* ---- beside work ----------------------------------------------------------------------------------- */

static _Atomic bool stop;

static void call_the_runtime(void *arg)
{
    (void)arg;
    while (!stop) {
        compute(20000);
        tri_poll();
    }
    tri_waitgroup_done(&wg);
}

static void make_no_calls(void *arg)
{
    (void)arg;
    while (!stop) {}
    tri_waitgroup_done(&wg);
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int64_t median_lateness(void)
{
    static int64_t late[101];
    for (int i = 0; i < 101; i++) {
        int64_t start = os_now();
        tri_sleep(MS);
        late[i] = os_now() - start - MS;
    }
    qsort(late, 101, sizeof *late, compare);
    return late[50];
}

static int64_t median;

static void beside(void *busy)
{
    stop = false;
    tri_waitgroup_add(&wg, 2);
    for (int i = 0; i < 2; i++)
        tri_go((void (*)(void *))busy, NULL);
    tri_sleep(20 * MS);
    median = median_lateness();
    stop = true;
    tri_waitgroup_wait(&wg);
}

Test(sleep, a_sleeper_does_not_wait_for_busy_coroutines_to_use_their_slice, .timeout = 60)
{
    run_on(2, beside, (void *)call_the_runtime);
    cr_assert_lt(median, 5 * MS, "a sleeper woke %lld us late in the median",
                 (long long)(median / 1000));
}

Test(sleep, a_sleeper_does_not_wait_for_coroutines_that_make_no_runtime_call, .timeout = 60)
{
    run_on(2, beside, (void *)make_no_calls);
    cr_assert_lt(median, 8 * MS, "a sleeper woke %lld us late in the median",
                 (long long)(median / 1000));
}
