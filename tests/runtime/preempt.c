/* Coroutines that run too long, and blocking calls: others go on meanwhile. */
#include "fixture.h"

#include <errno.h>

#include "tricolor/mutator.h"

static tri_waitgroup wg;
static _Atomic bool stop;
static _Atomic int turns;

static void count_turns(void *arg)
{
    (void)arg;
    while (!stop) {
        turns++;
        tri_yield();
    }
    tri_waitgroup_done(&wg);
}

/* ---- endless loops --------------------------------------------------------------------------------- */

static void loop_without_calls(void *arg)
{
    (void)arg;
    while (!stop) {}
    tri_waitgroup_done(&wg);
}

static void run_beside_loops(void *arg)
{
    int loops = (int)(intptr_t)arg;
    tri_waitgroup_add(&wg, loops + 1);
    for (int i = 0; i < loops; i++)
        tri_go(loop_without_calls, NULL);
    tri_go(count_turns, NULL);
    tri_sleep(200 * MS);
    int before = turns;
    tri_sleep(200 * MS);
    cr_assert_gt(turns, before, "a loop without runtime calls starved another coroutine");
    sched_stats st;
    sched_read_stats(tri_current_heap(), &st, false);
    cr_assert_geq(st.demotions, 1);
    cr_assert_geq(st.demoted, 1);
    stop = true;
    tri_waitgroup_wait(&wg);
}

Test(preempt, an_endless_loop_does_not_starve_others_on_its_p, .timeout = 60)
{
    run_on(1, run_beside_loops, (void *)1);
}

Test(preempt, more_endless_loops_than_ps_do_not_starve_others, .timeout = 60)
{
    run_on(2, run_beside_loops, (void *)4);
}

/* ---- loops with calls -------------------------------------------------------------------------------- */

static void set_stop(void *arg)
{
    (void)arg;
    stop = true;
}

/* Each preemption puts it into the global queue, from which it must not come back before the other one,
 * which waits in the queue of the P. */
static void call_until_stop(void *arg)
{
    sched_p *p = sched_self()->p;
    uint32_t before = p->switches;
    for (int round = 0; round < 20; round++) {
        stop = false;
        tri_go(set_stop, NULL);
        while (!stop)
            tri_safepoint_();
    }
    *(uint32_t *)arg = p->switches - before;
}

Test(preempt, one_that_is_preempted_does_not_overtake_those_in_the_queue_of_its_p, .timeout = 60)
{
    uint32_t switches = 0;
    run_on(1, call_until_stop, &switches);
    cr_assert_leq(switches, 20 * 2 + 10, "%u switches for 20 times to and fro", switches);
}

struct cell {
    struct cell *next;
    long value;
};
TRI_TYPE(cell, struct cell, next);

static void alternate(void *arg)
{
    (void)arg;
    struct cell *list = NULL;
    for (long i = 0; i < 30; i++) {
        compute(20 * MS); /* long enough to be demoted */
        list = tri_make(cell, .next = list, .value = i);
        tri_yield();
    }
    for (long i = 30; i-- > 0; list = list->next)
        cr_assert_eq(list->value, i, "an object of a demoted coroutine was lost");
    tri_waitgroup_done(&wg);
}

static void collect_beside(void *arg)
{
    (void)arg;
    while (!stop) {
        tri_collect(tri_current_heap());
        tri_sleep(MS);
    }
    tri_waitgroup_done(&wg);
}

static void demoted_again_and_again(void *arg)
{
    (void)arg;
    tri_waitgroup loops = TRI_WAITGROUP_INIT;
    (void)loops;
    tri_waitgroup_add(&wg, 3);
    for (int i = 0; i < 3; i++)
        tri_go(alternate, NULL);
    tri_waitgroup others = TRI_WAITGROUP_INIT;
    (void)others;
    tri_waitgroup_wait(&wg);
    stop = true;
    tri_waitgroup_add(&wg, 1);
    collect_beside(NULL);
}

static void keep_collecting(void *arg)
{
    tri_collect(tri_current_heap());
    tri_sleep(2 * MS);
    if (!stop)
        tri_go(keep_collecting, arg);
}

static void demotion_and_collection(void *arg)
{
    tri_go(keep_collecting, NULL);
    demoted_again_and_again(arg);
}

Test(preempt, a_demoted_coroutine_allocates_is_scanned_and_comes_back, .timeout = 120)
{
    run_on(2, demotion_and_collection, NULL);
}

static void allocate_without_other_calls(void *arg)
{
    (void)arg;
    while (!stop)
        tri_keep_alive(tri_make(cell, .value = 1));
    tri_waitgroup_done(&wg);
}

static void beside_an_allocator(void *arg)
{
    (void)arg;
    tri_waitgroup_add(&wg, 2);
    tri_go(allocate_without_other_calls, NULL);
    tri_go(count_turns, NULL);
    tri_sleep(300 * MS);
    cr_assert_gt(turns, 0);
    stop = true;
    tri_waitgroup_wait(&wg);
}

Test(preempt, one_that_only_allocates_gives_way, .timeout = 60)
{
    run_on(1, beside_an_allocator, NULL);
}

/* ---- blocking calls ---------------------------------------------------------------------------------- */

static void sleep_blocking(void *arg)
{
    os_sleep_ns((int64_t)(intptr_t)arg);
}

static void block(void *arg)
{
    int64_t before = os_now();
    tri_blocking(sleep_blocking, arg);
    cr_assert_geq(os_now() - before, (int64_t)(intptr_t)arg);
    tri_waitgroup_done(&wg);
}

static void run_beside_blocked(void *arg)
{
    (void)arg;
    tri_waitgroup_add(&wg, 2);
    tri_go(block, (void *)(intptr_t)(300 * MS));
    tri_go(count_turns, NULL);
    tri_sleep(100 * MS);
    cr_assert_gt(turns, 100, "a blocking call kept others from running");
    stop = true;
    tri_waitgroup_wait(&wg);
}

Test(blocking, others_run_during_a_blocking_call_on_the_only_p, .timeout = 60)
{
    run_on(1, run_beside_blocked, NULL);
}

static void many_blocked(void *arg)
{
    (void)arg;
    int64_t start = os_now();
    tri_waitgroup_add(&wg, 50);
    for (int i = 0; i < 50; i++)
        tri_go(block, (void *)(intptr_t)(100 * MS));
    tri_waitgroup_wait(&wg);
    cr_assert_lt(os_now() - start, 3000 * MS, "blocking calls ran one after the other");
}

Test(blocking, blocking_calls_overlap_whatever_the_number_of_ps, .timeout = 60)
{
    run_on(1, many_blocked, NULL);
}

static void nothing(void *arg)
{
    ++*(int *)arg;
}

static void short_calls(void *arg)
{
    for (int i = 0; i < FEWER(20000, 1000); i++) {
        struct cell *c = tri_make(cell, .value = i);
        int n = i;
        tri_blocking(nothing, &n);
        cr_assert_eq(n, i + 1);
        cr_assert_eq(c->value, i);
    }
    (void)arg;
    tri_waitgroup_done(&wg);
}

static void short_blocking_calls(void *arg)
{
    (void)arg;
    tri_go(keep_collecting, NULL);
    tri_waitgroup_add(&wg, 8);
    for (int i = 0; i < 8; i++)
        tri_go(short_calls, NULL);
    tri_waitgroup_wait(&wg);
    stop = true;
}

Test(blocking, short_calls_come_back_while_the_collector_works, .timeout = 120)
{
    run_on(3, short_blocking_calls, NULL);
}

static void collect_once(void *arg)
{
    (void)arg;
    cr_assert_eq(tri_collect(tri_current_heap()), 0);
    tri_waitgroup_done(&wg);
}

static void collections_from_coroutines(void *arg)
{
    (void)arg;
    tri_waitgroup_add(&wg, 40);
    for (int i = 0; i < 40; i++)
        tri_go(collect_once, NULL);
    tri_waitgroup_wait(&wg);
}

Test(blocking, many_coroutines_ask_for_collections_at_once, .timeout = 60)
{
    run_on(2, collections_from_coroutines, NULL);
}
