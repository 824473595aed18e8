/* Coroutines that keep the stack that they share: how they are made to give it away, and what is said of those that
 * cannot, that need more than there is, or that touch what is another's. ctest: timeout=120 */
#include "shared.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/stress.h"

/* ---- those who keep their stack ---------------------------------------------------------------------------- */

static _Atomic bool flag;

static void yield_until_flag(void *arg)
{
    pattern p;
    fill(&p, (uint64_t)(uintptr_t)arg);
    ready++;
    while (!flag)
        tri_yield();
    verify(&p, (uint64_t)(uintptr_t)arg);
    tri_waitgroup_done(&wg);
}

/* Calls the runtime, but gives way only when it is asked to. */
static void allocate_until_flag(void *arg)
{
    pattern p;
    fill(&p, (uint64_t)(uintptr_t)arg);
    ready++;
    while (!flag)
        check_list(make_list(7), 7);
    verify(&p, (uint64_t)(uintptr_t)arg);
    tri_waitgroup_done(&wg);
}

/* Nobody but the one that waits for the stack is there to make its holder give way. */
#define SLEEPERS 1000
static sched_shared *_Atomic wanted, *_Atomic sleeps_on[SLEEPERS];
static _Atomic int nsleepers;

static void sleep_until_wanted(void *arg)
{
    (void)arg;
    sched_shared *own = sched_self()->g->bound;
    sleeps_on[nsleepers++] = own;
    while (!wanted)
        tri_sleep(MS);
    if (wanted == own) {
        tri_sleep(30 * MS);
        flag = true;
    }
    tri_waitgroup_done(&wg);
}

static void hold_if_shared(void *arg)
{
    (void)arg;
    sched_shared *own = sched_self()->g->bound, *nobody = NULL;
    bool alone = true;
    for (int i = 0; i < nsleepers; i++)
        alone &= sleeps_on[i] != own;
    if (!alone && atomic_compare_exchange_strong(&wanted, &nobody, own))
        while (!flag) /* no collections, which ask for processors as well */
            tri_chan_try_recv(gate, NULL);
    tri_waitgroup_done(&wg);
}

/* A P begins new ones on stacks of its own, so there is another sleeper for each that would hold a stack:
 * those of the other P alone would never meet it. */
static void one_on_two_ps(void *arg)
{
    (void)arg;
    make_gate(1);
    for (int i = 0; i < SLEEPERS && !wanted; i++) {
        tri_waitgroup_add(&wg, 2);
        tri_go_shared(sleep_until_wanted, NULL);
        tri_go_shared(hold_if_shared, NULL);
        tri_sleep(MS);
    }
    check(wanted != NULL);
    tri_waitgroup_wait(&wg);
}

static void compute_long(void *arg)
{
    pattern p;
    fill(&p, (uint64_t)(uintptr_t)arg);
    ready++;
    compute(30 * MS);
    verify(&p, (uint64_t)(uintptr_t)arg);
    tri_waitgroup_done(&wg);
}

static void sleep_for_real(void *arg)
{
    os_sleep_ns(*(int64_t *)arg);
}

static void block_long(void *arg)
{
    pattern p;
    fill(&p, (uint64_t)(uintptr_t)arg);
    ready++;
    int64_t ns = 5 * MS; /* on the stack that it keeps meanwhile */
    tri_blocking(sleep_for_real, &ns);
    check(ns == 5 * MS);
    verify(&p, (uint64_t)(uintptr_t)arg);
    tri_waitgroup_done(&wg);
}

static void raise_flag(void *arg)
{
    (void)arg;
    long v;
    ready++;
    tri_chan_recv(gate, &v);
    flag = true;
    tri_waitgroup_done(&wg);
}

/* More than two coroutines on one P begin on two stacks: the one that raises the flag shares its own
 * with some of those that wait for it. */
static void beside(void (*fn)(void *))
{
    make_gate(0);
    tri_waitgroup_add(&wg, 12);
    tri_go_shared(raise_flag, NULL);
    tri_go_shared(raise_flag, NULL);
    wait_until(&ready, 2);
    for (uintptr_t i = 0; i < 10; i++)
        tri_go_shared(fn, (void *)i);
    wait_until(&ready, 3);
    tri_chan_close(gate);
    tri_waitgroup_wait(&wg);
}

static void beside_yielding(void *arg)
{
    (void)arg;
    beside(yield_until_flag);
}

static void beside_allocating(void *arg)
{
    (void)arg;
    beside(allocate_until_flag);
}

static void beside_computing(void *arg)
{
    (void)arg;
    beside(compute_long);
}

static void beside_blocking(void *arg)
{
    (void)arg;
    beside(block_long);
}

Test(shared_kept, one_that_yields_gives_way_to_another_of_its_stack, .timeout = 60)
{
    run_with(1, 0, false, beside_yielding);
    run_with(3, 0, false, beside_yielding);
}

Test(shared_kept, one_that_only_allocates_gives_way_to_another_of_its_stack, .timeout = 60)
{
    run_with(1, 0, false, beside_allocating);
}

Test(shared_kept, one_that_does_not_wait_is_asked_to_give_its_stack_away, .timeout = 60,
     .disabled = SCHED_ASAN || TRI_TSAN)
{
    run_with(2, 0, false, one_on_two_ps);
}

Test(shared_kept, one_that_is_demoted_comes_back_to_its_stack, .timeout = 60)
{
    run_with(2, 0, false, beside_computing);
}

Test(shared_kept, a_blocking_call_keeps_the_stack_and_the_others_follow, .timeout = 60)
{
    run_with(2, 0, false, beside_blocking);
}

/* ---- what ends the process -------------------------------------------------------------------------------------- */

static TRI_NOINLINE int recurse(int n)
{
    volatile char frame[512];
    frame[0] = (char)n;
    return n < 0 ? 0 : recurse(n + 1) + frame[0];
}

static void overflow(void *arg)
{
    long v;
    tri_yield();
    tri_chan_recv(gate, &v);
    *(volatile int *)arg = recurse(0);
}

static void overflow_after_waiting(void *arg)
{
    (void)arg;
    static volatile int sink;
    make_gate(0);
    for (int i = 0; i < 20; i++)
        tri_go_shared(overflow, (void *)&sink);
    tri_sleep(5 * MS);
    tri_chan_close(gate);
    tri_sleep(5000 * MS);
}

static pattern *_Atomic somebody;

static void show_local(void *arg)
{
    (void)arg;
    pattern p;
    fill(&p, 1);
    somebody = &p;
    long v;
    tri_chan_recv(gate, &v);
    verify(&p, 1);
}

static void touch_local_of_another(void *arg)
{
    (void)arg;
    make_gate(0);
    tri_go_shared(show_local, NULL);
    tri_sleep(5 * MS);
    verify(somebody, 1);
    tri_chan_close(gate);
    tri_sleep(5 * MS);
}

static void keep_stack(void *arg)
{
    (void)arg;
    int64_t ns = 400 * MS;
    tri_blocking(sleep_for_real, &ns);
}

/* More of them than there are stacks on which coroutines begin. */
static void many_keep_their_stacks(void *arg)
{
    (void)arg;
    tri_current_heap()->sched->kept_ns = 100 * MS;
    make_gate(0);
    tri_waitgroup_add(&wg, 8);
    for (int i = 0; i < 8; i++)
        tri_go_shared(wait_at_gate, NULL);
    wait_until(&ready, 8);
    for (int i = 0; i < 8; i++)
        tri_go_shared(keep_stack, NULL);
    tri_sleep(20 * MS);
    tri_chan_close(gate);
    tri_sleep(600 * MS);
}

struct ending {
    void (*fn)(void *);
    bool check_stacks;
};

static void run_to_its_end(void *arg)
{
    const struct ending *e = arg;
    tri_options o;
    tri_options_init(&o);
    o.procs = 2;
    o.stack_check = e->check_stacks;
    tri_run(&o, e->fn, NULL);
    _exit(wrong ? 3 : 0);
}

static int in_child(void (*fn)(void *), bool check_stacks, char *text, size_t size)
{
    return stress_in_child(run_to_its_end, &(struct ending){fn, check_stacks}, text, size);
}

Test(shared_kept, an_overflow_is_reported_after_others_used_the_stack,
     .disabled = SCHED_ASAN || TRI_TSAN)
{
    char text[4096];
    int status = in_child(overflow_after_waiting, false, text, sizeof text);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "status %x: %s", status, text);
    cr_assert(strstr(text, "stack overflow in coroutine"), "%s", text);
}

Test(shared_kept, one_that_keeps_its_stack_from_others_is_named, .disabled = SCHED_ASAN || TRI_TSAN)
{
    char text[4096];
    int status = in_child(many_keep_their_stacks, false, text, sizeof text);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x: %s", status, text);
    cr_assert(strstr(text, "has kept its shared stack from others for 100 ms"), "%s", text);
}

Test(shared_kept, stackcheck_reports_an_access_to_the_locals_of_one_that_waits,
     .disabled = SCHED_ASAN || TRI_TSAN)
{
    char text[4096];
    int status = in_child(touch_local_of_another, true, text, sizeof text);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "status %x: %s", status, text);
    cr_assert(strstr(text, "access to the stack of coroutine"), "%s", text);
}
