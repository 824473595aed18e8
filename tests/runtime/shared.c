/* Coroutines that share stacks: what lay there is there again, whatever happened in between. ctest: timeout=300 */
#include "shared.h"

#include <stdlib.h>
#include <string.h>

#include "os/vm.h"
#include "tricolor/mutator.h"

/* ---- being put away ---------------------------------------------------------------------------------- */

/* Who was preempted behind its last word is put away once more. */
static void wait_until_no_image_is_left(void)
{
    for (int i = 0; stats().images; i++) {
        cr_assert_lt(i, 600, "%u images outlived their coroutines", (unsigned)stats().images);
        tri_sleep(50 * MS);
    }
    cr_assert_eq(stats().image_bytes, 0);
}

static void many_wait(void *arg)
{
    (void)arg;
    const long n = FEWER(20000, 2000);
    make_gate(0);
    tri_waitgroup_add(&wg, (int)n);
    for (long i = 0; i < n; i++)
        cr_assert_eq(tri_go_shared(wait_at_gate, (void *)i), 0);
    wait_until(&ready, n);
    sched_stats st = stats();
    tri_memstats m;
    if (SHARING) {
        cr_assert_geq(st.images, (uint64_t)(n - (long)st.shared_stacks));
        cr_assert_leq(st.shared_stacks, stacks_for(n), "%u", (unsigned)st.shared_stacks);
        cr_assert_leq(st.image_bytes / st.images, 1024);
        tri_read_memstats(tri_current_heap(), &m);
        cr_assert_geq(m.stack_inuse, st.image_bytes);
        cr_assert_leq(m.stack_inuse, st.image_bytes + (stacks_for(n) + 300) * os_page_size());
    }
    tri_chan_close(gate);
    tri_waitgroup_wait(&wg);
    wait_until_no_image_is_left();
}

Test(shared, thousands_wait_on_few_stacks_and_find_their_locals_again)
{
    run_with(1, 0, false, many_wait);
}

Test(shared, thousands_wait_on_few_stacks_and_find_their_locals_again_on_four_ps)
{
    run_with(4, 0, false, many_wait);
}

static void many_rounds(void *arg)
{
    (void)arg;
    const long n = FEWER(100000, 5000);
    for (long i = 0; i < n; i += 1000) {
        tri_waitgroup_add(&wg, 1000);
        make_gate(0);
        for (long k = 0; k < 1000; k++)
            tri_go_shared(wait_at_gate, (void *)(i + k));
        wait_until(&ready, i + 1000);
        tri_chan_close(gate);
        tri_waitgroup_wait(&wg);
        tri_root_remove(tri_current_heap(), &gate);
    }
    if (SHARING)
        cr_assert_leq(stats().shared_stacks, stacks_for(1000), "stacks are not used again");
    /* The monitor takes back what nobody is bound to, but for the two in each P's hand. */
    for (int i = 0; stats().shared_stacks > 8; i++) {
        cr_assert_lt(i, 600, "%u stacks are left", (unsigned)stats().shared_stacks);
        tri_sleep(50 * MS);
    }
}

Test(shared, stacks_are_used_again_and_given_back, .timeout = 120)
{
    run_with(4, 0, false, many_rounds);
}

/* ---- the collector ------------------------------------------------------------------------------------- */

/* Some wait once, some go round, so that images are made, freed and scanned all the time. */
static void hold_list(void *arg)
{
    long who = (long)(intptr_t)arg;
    node *list = make_list(who);
    ready++;
    long v;
    while (tri_chan_recv(gate, &v)) {
        check_list(list, who);
        if (v % 3 == 0)
            list = make_list(who);
        if (v % 7 == 0)
            tri_sleep(MS / 10);
    }
    check_list(list, who);
    tri_keep_alive(list);
    tri_waitgroup_done(&wg);
}

static void collect_lists(void *arg)
{
    (void)arg;
    const long n = FEWER(3000, 300), turns = FEWER(20000, 2000);
    make_gate(0);
    tri_waitgroup_add(&wg, (int)n);
    for (long i = 0; i < n; i++)
        tri_go_shared(hold_list, (void *)i);
    wait_until(&ready, n);
    if (SHARING)
        cr_assert_gt(stats().images, 0);
    for (int i = 0; i < 3; i++)
        tri_collect(tri_current_heap()); /* nobody runs: all is found in images */
    uint64_t last = gc_cycles(tri_current_heap()) + 5;
    for (long i = 0; i < turns; i++) {
        if (i % (turns / 16) == 0)
            gc_request(tri_current_heap());
        tri_chan_send(gate, &i);
    }
    while (gc_cycles(tri_current_heap()) < last)
        tri_collect(tri_current_heap());
    tri_chan_close(gate);
    tri_waitgroup_wait(&wg);
}

Test(shared, what_only_a_coroutine_that_is_put_away_holds_survives, .timeout = 200)
{
    run_with(1, 0, true, collect_lists);
}

Test(shared, what_only_a_coroutine_that_is_put_away_holds_survives_on_four_ps, .timeout = 200)
{
    run_with(4, 5, true, collect_lists);
}

/* ---- each way to wait ------------------------------------------------------------------------------------ */

typedef struct large {
    node *list;
    long words[20];
} large;
TRI_TYPE(large_type, large, list);

static tri_chan *larges, *lists;

static void send_values(void *arg)
{
    long who = (long)(intptr_t)arg;
    pattern p;
    fill(&p, (uint64_t)who);
    large l = {.list = make_list(who), .words = {[0] = who, [19] = ~who}};
    check(tri_chan_send(larges, &l) == 0);
    node *list = make_list(who);
    check(tri_chan_send(lists, &list) == 0);
    verify(&p, (uint64_t)who);
    tri_waitgroup_done(&wg);
}

static void receive_values(void *arg)
{
    pattern p;
    fill(&p, (uint64_t)(uintptr_t)arg);
    large l;
    check(tri_chan_recv(larges, &l) == 1 && l.words[0] == ~l.words[19]);
    check_list(l.list, l.words[0]);
    node *list;
    check(tri_chan_recv(lists, &list) == 1);
    check_list(list, list->value / 10);
    verify(&p, (uint64_t)(uintptr_t)arg);
    tri_waitgroup_done(&wg);
}

static void values(void *arg)
{
    bool receivers_first = arg;
    const long n = FEWER(2000, 200);
    cr_assert_eq(tri_root_add(tri_current_heap(), &larges, 1), 0);
    cr_assert_eq(tri_root_add(tri_current_heap(), &lists, 1), 0);
    tri_set(&larges, tri_chan_new(&large_type, 0));
    tri_set(&lists, tri_chan_new(&tri_pointers, 3));
    for (int round = 0; round < 2; round++, receivers_first = !receivers_first) {
        tri_waitgroup_add(&wg, (int)(2 * n));
        for (long i = 0; i < n; i++)
            tri_go_shared(receivers_first ? receive_values : send_values, (void *)(i + 1));
        tri_sleep(5 * MS);
        tri_collect(tri_current_heap());
        for (long i = 0; i < n; i++)
            tri_go_shared(receivers_first ? send_values : receive_values, (void *)(i + 1));
        tri_collect(tri_current_heap());
        tri_waitgroup_wait(&wg);
    }
}

Test(shared, values_reach_and_leave_coroutines_that_are_put_away)
{
    run_with(2, 7, true, values);
}

static tri_mutex mutex;
static long guarded;
static tri_waitgroup start;

static void wait_in_turn(void *arg)
{
    uint64_t who = (uint64_t)(uintptr_t)arg;
    pattern p;
    fill(&p, who);
    tri_waitgroup_wait(&start);
    verify(&p, who);
    for (int i = 0; i < 3; i++) {
        tri_sleep((int64_t)(who * 7919 % 3000) * 1000);
        verify(&p, who);
        tri_mutex_lock(&mutex);
        long seen = guarded;
        tri_yield();
        check(guarded == seen);
        guarded = seen + 1;
        tri_mutex_unlock(&mutex);
        verify(&p, who);
    }
    tri_waitgroup_done(&wg);
}

static void all_waits(void *arg)
{
    (void)arg;
    const long n = FEWER(1500, 150);
    tri_waitgroup_add(&start, 1);
    tri_waitgroup_add(&wg, (int)n);
    for (long i = 0; i < n; i++)
        tri_go_shared(wait_in_turn, (void *)(i + 1));
    tri_sleep(5 * MS);
    tri_waitgroup_done(&start);
    tri_waitgroup_wait(&wg);
    check(guarded == 3 * n);
}

Test(shared, sleepers_and_those_who_wait_in_mutexes_and_wait_groups_find_their_locals_again,
     .timeout = 120)
{
    run_with(4, 6, false, all_waits);
}

/* ---- wake-ups that race with putting away ------------------------------------------------------------------ */

#define RING 60
static tri_chan *ring[RING];

static void pass_on(void *arg)
{
    uint64_t who = (uint64_t)(uintptr_t)arg;
    pattern p;
    fill(&p, who);
    long v;
    while (tri_chan_recv(ring[who], &v)) {
        verify(&p, who);
        v--;
        if (v <= 0) {
            tri_waitgroup_done(&start);
            continue;
        }
        tri_chan_send(ring[(who * 7 + 1) % RING], &v);
        verify(&p, who);
    }
    tri_waitgroup_done(&wg);
}

/* Several tokens on the way of one ring: the stack of each is wanted by others all the time. */
static void ring_of_tokens(void *arg)
{
    (void)arg;
    const int tokens = 12;
    cr_assert_eq(tri_root_add(tri_current_heap(), ring, RING), 0);
    for (int i = 0; i < RING; i++)
        tri_set(&ring[i], tri_chan_new(&number, 16));
    tri_waitgroup_add(&wg, RING);
    tri_waitgroup_add(&start, tokens);
    for (uintptr_t i = 0; i < RING; i++)
        tri_go_shared(pass_on, (void *)i);
    for (int i = 0; i < tokens; i++) {
        long hops = FEWER(20000, 1000);
        tri_chan_send(ring[i * 5 % RING], &hops);
    }
    tri_waitgroup_wait(&start);
    for (int i = 0; i < RING; i++)
        tri_chan_close(ring[i]);
    tri_waitgroup_wait(&wg);
    cr_assert_eq(atomic_load(&tri_current_heap()->sched->nkept), 0);
}

Test(shared, tokens_race_round_a_ring_whose_members_share_stacks_on_four_ps, .timeout = 120)
{
    run_with(4, 30, false, ring_of_tokens);
}

Test(shared, tokens_race_round_a_ring_whose_members_share_stacks_on_one_p, .timeout = 120)
{
    run_with(1, 30, false, ring_of_tokens);
}

/* ---- deep ones ------------------------------------------------------------------------------------------------ */

static TRI_NOINLINE void descend(uint64_t who, int depth)
{
    pattern p;
    fill(&p, who + (uint64_t)depth);
    if (depth > 0) {
        descend(who, depth - 1);
    } else {
        ready++;
        long v;
        tri_chan_recv(gate, &v);
    }
    verify(&p, who + (uint64_t)depth);
}

static void wait_deep(void *arg)
{
    uint64_t who = (uint64_t)(uintptr_t)arg;
    descend(who, (int)(who % 150)); /* up to some 30 KiB */
    tri_waitgroup_done(&wg);
}

static void deep(void *arg)
{
    (void)arg;
    const long n = FEWER(600, 100);
    make_gate(0);
    tri_waitgroup_add(&wg, (int)n);
    for (long i = 0; i < n; i++)
        tri_go_shared(wait_deep, (void *)(i * 1009));
    wait_until(&ready, n);
    tri_collect(tri_current_heap());
    tri_chan_close(gate);
    tri_waitgroup_wait(&wg);
    wait_until_no_image_is_left();
}

Test(shared, one_that_waits_deep_in_a_recursion_is_put_away_as_well)
{
    run_with(2, 0, true, deep);
}

/* A few that are deep, so that moving them takes long, and that displace each other at each turn, while
 * the collector looks for parked stacks all the time: one that it finds on its way to or from its
 * image must not be left out. */
static _Atomic bool collecting;
static _Atomic long turn;

static TRI_NOINLINE void take_turns(long who, int depth)
{
    pattern p;
    fill(&p, (uint64_t)who);
    node *list = make_list(who);
    if (depth > 0) {
        take_turns(who, depth - 1);
    } else {
        long v;
        while (tri_chan_recv(ring[who], &v)) {
            turn++;
            tri_chan_send(ring[(who + 1) % 4], &v);
        }
    }
    check_list(list, who);
    verify(&p, (uint64_t)who);
}

static void turn_deep(void *arg)
{
    take_turns((long)(intptr_t)arg, 100);
    tri_waitgroup_done(&wg);
}

static void collect_meanwhile(void *arg)
{
    (void)arg;
    while (collecting)
        tri_collect(tri_current_heap());
    tri_waitgroup_done(&wg);
}

static void move_deep_ones(void *arg)
{
    (void)arg;
    cr_assert_eq(tri_root_add(tri_current_heap(), ring, RING), 0);
    for (int i = 0; i < 4; i++)
        tri_set(&ring[i], tri_chan_new(&number, 4));
    tri_waitgroup_add(&wg, 5);
    for (long i = 0; i < 4; i++)
        tri_go_shared(turn_deep, (void *)i);
    long v = 1;
    tri_chan_send(ring[0], &v);
    tri_chan_send(ring[2], &v);
    collecting = true;
    tri_go(collect_meanwhile, NULL);
    uint64_t last = gc_cycles(tri_current_heap()) + FEWER(150, 20);
    while (gc_cycles(tri_current_heap()) < last || turn <= 100)
        tri_sleep(MS);
    collecting = false;
    for (int i = 0; i < 4; i++)
        tri_chan_close(ring[i]);
    tri_waitgroup_wait(&wg);
}

Test(shared, the_collector_misses_nobody_who_is_moved_while_it_looks, .timeout = 120)
{
    run_with(2, 4, true, move_deep_ones);
}

static void abandon(void *arg)
{
    (void)arg;
    make_gate(0);
    for (long i = 0; i < 300; i++)
        tri_go_shared(wait_deep, (void *)i);
    wait_until(&ready, 300);
}

Test(shared, those_put_away_can_be_abandoned)
{
    run_with(2, 0, false, abandon);
}

static void spawn_from_thread(void *arg)
{
    (void)arg;
    tri_heap *h;
    cr_assert_eq(tri_heap_create(NULL, &h), 0);
    cr_assert_eq(tri_sched_start(h, 2), 0);
    cr_assert_eq(tri_attach(h), 0);
    make_gate(0);
    tri_waitgroup_add(&wg, 100);
    for (long i = 0; i < 100; i++)
        cr_assert_eq(tri_go_shared(wait_at_gate, (void *)i), 0);
    while (ready < 100)
        tri_sleep(MS);
    tri_chan_close(gate);
    tri_waitgroup_wait(&wg);
    tri_detach(h);
    cr_assert_eq(tri_sched_stop(h), 0);
    cr_assert_eq(tri_heap_destroy(h), 0);
    cr_assert_eq(wrong, 0);
}

Test(shared, threads_can_start_them)
{
    spawn_from_thread(NULL);
}

Test(shared, stackcheck_finds_nothing_in_a_correct_program, .timeout = 120)
{
    tri_options o;
    cr_assert_eq(tri_options_init(&o), 0);
    o.procs = 3;
    o.stack_check = true;
    cr_assert_eq(tri_run(&o, all_waits, NULL), 0);
    cr_assert_eq(wrong, 0);
    cr_assert_eq(guarded % 3, 0);
}
