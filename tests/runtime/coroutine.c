/* Coroutines: being started, running, yielding, ending. ctest: timeout=300 */
#include "fixture.h"

#include <errno.h>
#include <string.h>

static tri_waitgroup wg;
static _Atomic uint64_t sum;

static void add(void *arg)
{
    atomic_fetch_add(&sum, (uint64_t)(uintptr_t)arg);
    tri_waitgroup_done(&wg);
}

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

Test(coroutine, main_runs_and_its_end_ends_the_run)
{
    bool ran = false;
    run_on(1, set_flag, &ran);
    cr_assert(ran);
}

static void spawn_a_million(void *arg)
{
    (void)arg;
    const uintptr_t all = FEWER(1000000, 20000), batch = FEWER(10000, 1000);
    for (uintptr_t i = 0; i < all; i += batch) {
        tri_waitgroup_add(&wg, (int)batch);
        for (uintptr_t k = 0; k < batch; k++)
            cr_assert_eq(tri_go(add, (void *)(i + k)), 0);
        tri_waitgroup_wait(&wg);
    }
    cr_assert_eq(sum, (uint64_t)all * (all - 1) / 2);
}

Test(coroutine, a_million_are_spawned_and_joined_on_one_p)
{
    run_on(1, spawn_a_million, NULL);
}

Test(coroutine, a_million_are_spawned_and_joined_on_four_ps)
{
    run_on(4, spawn_a_million, NULL);
}

/* Skynet: each spawns ten, down to single numbers; all sums meet at the top. */
struct sky {
    uint64_t first, size, sum;
    tri_waitgroup *up;
};

static void skynet(void *arg)
{
    struct sky *s = arg;
    if (s->size == 1) {
        s->sum = s->first;
    } else {
        struct sky down[10];
        tri_waitgroup w = TRI_WAITGROUP_INIT;
        tri_waitgroup_add(&w, 10);
        for (uint64_t i = 0; i < 10; i++) {
            down[i] = (struct sky){s->first + i * s->size / 10, s->size / 10, 0, &w};
            cr_assert_eq(tri_go(skynet, &down[i]), 0);
        }
        tri_waitgroup_wait(&w);
        s->sum = 0;
        for (int i = 0; i < 10; i++)
            s->sum += down[i].sum;
    }
    if (s->up)
        tri_waitgroup_done(s->up);
}

static void skynet_main(void *arg)
{
    (void)arg;
    uint64_t n = FEWER(100000, 1000);
    struct sky top = {0, n, 0, NULL};
    skynet(&top);
    cr_assert_eq(top.sum, n * (n - 1) / 2);
}

Test(coroutine, a_tree_of_them_comes_together_again)
{
    run_on(4, skynet_main, NULL);
}

/* ---- identity ---------------------------------------------------------------------------------- */

static uint64_t ids[100];

static void note_id(void *arg)
{
    ids[(uintptr_t)arg] = tri_coro_id();
    tri_waitgroup_done(&wg);
}

static void note_name(void *arg)
{
    *(const char **)arg = tri_coro_name();
    tri_waitgroup_done(&wg);
}

static void identities(void *arg)
{
    (void)arg;
    cr_assert_neq(tri_coro_id(), 0);
    cr_assert_str_eq(tri_coro_name(), "main");
    tri_waitgroup_add(&wg, 101);
    for (uintptr_t i = 0; i < 100; i++)
        tri_go(note_id, (void *)i);
    const char *name = NULL;
    tri_go_named(note_name, &name, "worker");
    tri_waitgroup_wait(&wg);
    cr_assert_str_eq(name, "worker");
    for (int i = 0; i < 100; i++)
        for (int k = 0; k < i; k++)
            cr_assert_neq(ids[i], ids[k], "two coroutines have the same number");
}

Test(coroutine, each_has_a_number_of_its_own_and_perhaps_a_name)
{
    cr_assert_eq(tri_coro_id(), 0, "a thread has no coroutine's number");
    cr_assert_null(tri_coro_name());
    run_on(2, identities, NULL);
}

static void count_procs(void *arg)
{
    *(unsigned *)arg = tri_procs();
}

Test(coroutine, the_scheduler_has_as_many_ps_as_were_asked_for)
{
    unsigned procs = 0;
    cr_assert_eq(tri_procs(), 0);
    run_on(3, count_procs, &procs);
    cr_assert_eq(procs, 3);
}

/* ---- stacks --------------------------------------------------------------------------------------- */

static TRI_NOINLINE int deep(int n)
{
    volatile char frame[1024];
    frame[0] = (char)n;
    return n ? deep(n - 1) + frame[0] - (char)n + 1 : 0;
}

static void go_deep(void *arg)
{
    cr_assert_eq(deep(2000), 2000);
    (void)arg;
    tri_waitgroup_done(&wg);
}

static void sized(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20; i++) {
        tri_waitgroup_add(&wg, 1);
        cr_assert_eq(tri_go_sized(go_deep, NULL, 8 << 20), 0);
        tri_waitgroup_wait(&wg);
    }
    cr_assert_eq(tri_go_sized(go_deep, NULL, ((size_t)1 << 30) + 1), -EINVAL);
}

Test(coroutine, a_large_stack_is_given_on_request)
{
    run_on(2, sized, NULL);
}

/* ---- yielding -------------------------------------------------------------------------------------- */

static int turns[2];

static void take_turns(void *arg)
{
    int me = (int)(intptr_t)arg;
    for (int i = 0; i < 1000; i++) {
        turns[me]++;
        int ahead = turns[0] - turns[1];
        cr_assert(ahead >= -3 && ahead <= 3, "one of two that yield got %d turns more", ahead);
        tri_yield();
    }
    tri_waitgroup_done(&wg);
}

static void two_yielders(void *arg)
{
    (void)arg;
    tri_waitgroup_add(&wg, 2);
    tri_go(take_turns, (void *)0);
    tri_go(take_turns, (void *)1);
    tri_waitgroup_wait(&wg);
}

Test(coroutine, those_that_yield_take_turns)
{
    run_on(1, two_yielders, NULL);
}

static _Atomic bool pair_runs;

static void hot_pair(void *arg)
{
    tri_waitgroup *w = arg;
    while (pair_runs) {
        tri_waitgroup_add(w, 1);
        tri_go((void (*)(void *))tri_waitgroup_done, w);
        tri_waitgroup_wait(w);
    }
    tri_waitgroup_done(&wg);
}

static void starve(void *arg)
{
    (void)arg;
    tri_waitgroup w = TRI_WAITGROUP_INIT;
    tri_waitgroup_add(&wg, 1);
    pair_runs = true;
    tri_go(hot_pair, &w);
    for (int i = 0; i < 20; i++)
        tri_yield();
    pair_runs = false;
    tri_waitgroup_wait(&wg);
}

Test(coroutine, two_that_wake_each_other_do_not_starve_a_third, .timeout = 60)
{
    run_on(1, starve, NULL);
}

static _Atomic bool spawned_outside, spawned_outside_ran;

static void note_run(void *arg)
{
    (void)arg;
    spawned_outside_ran = true;
}

/* From a thread without a P: it goes to the global queue. */
static void spawn_outside(void *arg)
{
    (void)arg;
    cr_assert_eq(tri_go(note_run, NULL), 0);
    spawned_outside = true;
}

static void yields_alone(void *arg)
{
    (void)arg;
    tri_thread *thread;
    cr_assert_eq(tri_thread_start(tri_current_heap(), spawn_outside, NULL, &thread), 0);
    while (!spawned_outside)
        tri_yield();
    int yields = 0;
    for (; !spawned_outside_ran; yields++)
        tri_yield();
    cr_assert_leq(yields, 2 * (int)SCHED_FAIR, "it ran after %d turns of the other", yields);
    cr_assert_eq(tri_thread_join(thread), 0);
}

Test(coroutine, one_that_yields_alone_does_not_starve_the_global_queue, .timeout = 60)
{
    run_on(1, yields_alone, NULL);
}

/* ---- stealing ---------------------------------------------------------------------------------------- */

static _Atomic int seen_threads;
static _Atomic int tids[64];

static void note_thread(void *arg)
{
    (void)arg;
    compute(2 * MS);
    int tid = os_thread_tid();
    int n = atomic_load(&seen_threads);
    bool known = false;
    for (int i = 0; i < n && i < 64; i++)
        known |= tids[i] == tid;
    if (!known)
        tids[atomic_fetch_add(&seen_threads, 1) % 64] = tid;
    tri_waitgroup_done(&wg);
}

static void spread(void *arg)
{
    (void)arg;
    tri_waitgroup_add(&wg, 100);
    for (int i = 0; i < 100; i++)
        tri_go(note_thread, NULL);
    tri_waitgroup_wait(&wg);
}

Test(coroutine, work_spreads_over_all_ps)
{
    run_on(4, spread, NULL);
    cr_assert_geq(seen_threads, 4, "100 coroutines of 2 ms ran on %d threads", seen_threads);
}

static void lone_child(void *arg)
{
    *(_Atomic bool *)arg = true;
}

static void computing_spawner(void *arg)
{
    (void)arg;
    _Atomic bool ran = false;
    tri_go(lone_child, (void *)&ran);
    int64_t start = os_now();
    while (!ran && os_now() - start < 1000 * MS) {}
    cr_assert(ran, "the only child of a computing coroutine found no idle P");
}

Test(coroutine, a_single_child_runs_beside_a_spawner_that_never_yields)
{
    run_on(2, computing_spawner, NULL);
}

/* ---- the end ----------------------------------------------------------------------------------------- */

static void wait_for_ever(void *arg)
{
    tri_waitgroup_wait(arg);
    cr_assert_fail("an abandoned coroutine went on");
}

static void abandon(void *arg)
{
    tri_waitgroup_add(arg, 1);
    for (int i = 0; i < 1000; i++)
        tri_go(wait_for_ever, arg);
    for (int i = 0; i < 10; i++)
        tri_yield();
}

Test(coroutine, those_that_have_not_ended_when_main_returns_are_abandoned)
{
    tri_waitgroup never = TRI_WAITGROUP_INIT;
    for (int i = 0; i < 5; i++)
        run_on(2, abandon, &never);
}

static _Atomic bool spin;

static void spin_without_calls(void *arg)
{
    (void)arg;
    while (spin) {}
    tri_yield();
    cr_assert_fail("an abandoned coroutine came back from a runtime call");
}

static void leave_spinner(void *arg)
{
    (void)arg;
    spin = true;
    tri_go(spin_without_calls, NULL);
    tri_sleep(20 * MS);
}

Test(coroutine, one_that_cannot_be_stopped_does_not_keep_the_run_from_returning, .timeout = 60)
{
    int64_t start = os_now();
    run_on(2, leave_spinner, NULL);
    cr_assert_lt(os_now() - start, 5000 * MS);
    spin = false;
    os_sleep_ns(100 * MS); /* its thread ends, and frees what is left, at its next runtime call */
}

/* ---- errors --------------------------------------------------------------------------------------------- */

Test(coroutine, starting_one_needs_a_heap_with_a_scheduler)
{
    bool ran = false;
    cr_assert_eq(tri_go(set_flag, &ran), -EPERM);
    tri_heap *h;
    cr_assert_eq(tri_heap_create(NULL, &h), 0);
    cr_assert_eq(tri_attach(h), 0);
    cr_assert_eq(tri_go(set_flag, &ran), -ENOENT);
    cr_assert_eq(tri_detach(h), 0);
    cr_assert_eq(tri_heap_destroy(h), 0);
}

static void stop_own(void *arg)
{
    *(int *)arg = tri_sched_stop(tri_current_heap());
    tri_waitgroup_done(&wg);
}

Test(coroutine, a_scheduler_is_started_and_stopped_beside_attached_threads)
{
    tri_heap *h;
    cr_assert_eq(tri_heap_create(NULL, &h), 0);
    cr_assert_eq(tri_sched_stop(h), -ENOENT);
    cr_assert_eq(tri_sched_start(h, 1025), -EINVAL);
    cr_assert_eq(tri_attach(h), 0);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(tri_sched_start(h, 2), 0);
        cr_assert_eq(tri_sched_start(h, 2), -EEXIST);
        int err = 0;
        tri_waitgroup_add(&wg, 101);
        cr_assert_eq(tri_go(stop_own, &err), 0);
        for (uintptr_t k = 0; k < 100; k++)
            cr_assert_eq(tri_go(add, (void *)k), 0);
        tri_waitgroup_wait(&wg);
        cr_assert_eq(err, -EPERM);
        cr_assert_eq(tri_sched_stop(h), 0);
    }
    cr_assert_eq(sum, 3 * 4950);
    cr_assert_eq(tri_detach(h), 0);
    cr_assert_eq(tri_heap_destroy(h), 0);
}

static void inner(void *arg)
{
    ++*(int *)arg;
}

static void outer(void *arg)
{
    run_on(2, inner, arg);
    ++*(int *)arg;
}

Test(coroutine, a_run_inside_a_coroutine_is_a_blocking_call)
{
    int n = 0;
    run_on(1, outer, &n);
    cr_assert_eq(n, 2);
}

/* ---- statistics ------------------------------------------------------------------------------------- */

static bool count_waiting(void *arg, const sched_coroutine_info *info)
{
    if (info->name && !strcmp(info->name, "parked")) {
        cr_assert_eq(info->reason, SCHED_REASON_WAITGROUP);
        cr_assert_str_eq(sched_reason_name(info->reason), "wait group");
        ++*(int *)arg;
    }
    return true;
}

static void park_in(void *arg)
{
    tri_waitgroup_done(&wg);
    tri_waitgroup_wait(arg);
}

static void look_at_stats(void *arg)
{
    (void)arg;
    tri_waitgroup gate = TRI_WAITGROUP_INIT;
    tri_waitgroup_add(&gate, 1);
    tri_waitgroup_add(&wg, 50);
    for (int i = 0; i < 50; i++)
        tri_go_named(park_in, &gate, "parked");
    tri_waitgroup_wait(&wg);
    tri_sleep(5 * MS);
    sched_stats st;
    cr_assert(sched_read_stats(tri_current_heap(), &st, true));
    cr_assert_eq(st.coroutines, 51);
    cr_assert_eq(st.spawned, 51);
    cr_assert_eq(st.procs, 2);
    cr_assert_eq(st.by_reason[SCHED_REASON_WAITGROUP], 50);
    cr_assert_eq(st.by_state[SCHED_RUNNING], 1);
    int waiting = 0;
    sched_each_coroutine(tri_current_heap(), count_waiting, &waiting);
    cr_assert_eq(waiting, 50);
    tri_waitgroup_done(&gate);
}

Test(coroutine, reports_know_how_many_there_are_and_what_they_wait_for)
{
    run_on(2, look_at_stats, NULL);
}
