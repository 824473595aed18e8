/* Threads as mutators: attaching, several heaps, arguments on their way, errors. */
#include "fixture.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

struct cell {
    struct cell *next;
    long value;
};
TRI_TYPE(cell, struct cell, next);

static tri_heap *new_heap(void)
{
    tri_heap *h;
    cr_assert_eq(tri_heap_create(NULL, &h), 0);
    return h;
}

Test(thread, attaches_once_and_detaches_once)
{
    tri_heap *h = new_heap();
    cr_assert_null(tri_current_heap());
    cr_assert_eq(tri_detach(h), -EPERM);
    cr_assert_eq(tri_attach(h), 0);
    cr_assert_eq(tri_attach(h), -EEXIST);
    cr_assert_eq(tri_current_heap(), h);
    cr_assert_eq(tri_heap_destroy(h), -EBUSY);
    cr_assert_eq(tri_detach(h), 0);
    cr_assert_eq(tri_detach(h), -EPERM);
    cr_assert_null(tri_current_heap());
    cr_assert_eq(tri_heap_destroy(h), 0);
}

Test(thread, uses_two_heaps_in_turn)
{
    tri_heap *a = new_heap(), *b = new_heap();
    cr_assert_eq(tri_attach(a), 0);
    cr_assert_eq(tri_attach(b), 0);
    cr_assert_eq(tri_current_heap(), b, "attaching makes a heap the current one");
    cr_assert_eq(tri_enter(a), b);
    struct cell *in_a = tri_make(cell, .value = 1);
    cr_assert_eq(tri_enter(b), a);
    struct cell *in_b = tri_make(cell, .value = 2);
    cr_assert_eq(tri_collect(a), 0);
    cr_assert_eq(tri_collect(b), 0);
    cr_assert_eq(in_a->value, 1);
    cr_assert_eq(in_b->value, 2);
    cr_assert_gt(tri_object_size(a, in_a), 0);
    cr_assert_eq(tri_object_size(b, in_a), 0);
    cr_assert_eq(tri_detach(b), 0);
    cr_assert_eq(tri_current_heap(), a);
    cr_assert_eq(tri_detach(a), 0);
    cr_assert_eq(tri_heap_destroy(a), 0);
    cr_assert_eq(tri_heap_destroy(b), 0);
}

Test(thread, entering_a_foreign_heap_aborts, .signal = SIGABRT)
{
    tri_enter(new_heap());
}

/* ---- starting threads --------------------------------------------------------------------------------- */

static void read_list(void *arg)
{
    struct cell *c = arg;
    for (long i = 100; i-- > 0; c = c->next)
        cr_assert_eq(c->value, i, "an argument was freed on its way to a thread");
}

static TRI_NOINLINE tri_thread *start_with_list(tri_heap *h)
{
    struct cell *list = NULL;
    for (long i = 0; i < 100; i++)
        list = tri_make(cell, .next = list, .value = i);
    tri_thread *t;
    cr_assert_eq(tri_thread_start(h, read_list, list, &t), 0);
    return t;
}

static _Atomic bool stop;

static void collect_all_the_time(void *arg)
{
    (void)arg;
    while (!stop)
        tri_collect(tri_current_heap());
}

Test(thread, takes_its_argument_alive_through_collections, .timeout = 60)
{
    tri_heap *h = new_heap();
    cr_assert_eq(tri_attach(h), 0);
    tri_thread *collector;
    cr_assert_eq(tri_thread_start(h, collect_all_the_time, NULL, &collector), 0);
    for (int i = 0; i < FEWER(500, 50); i++)
        cr_assert_eq(tri_thread_join(start_with_list(h)), 0);
    stop = true;
    cr_assert_eq(tri_thread_join(collector), 0);
    cr_assert_eq(tri_detach(h), 0);
    cr_assert_eq(tri_heap_destroy(h), 0);
}

static void join_self(void *arg)
{
    tri_thread *_Atomic *self = arg;
    while (!*self)
        tri_poll();
    cr_assert_eq(tri_thread_join(*self), -EDEADLK);
}

Test(thread, cannot_wait_for_its_own_end)
{
    tri_heap *h = new_heap();
    tri_thread *_Atomic self = NULL;
    tri_thread *t;
    cr_assert_eq(tri_thread_start(h, join_self, (void *)&self, &t), 0);
    self = t;
    cr_assert_eq(tri_thread_join(t), 0);
    cr_assert_eq(tri_heap_destroy(h), 0);
}

/* ---- coroutines are no plain threads ------------------------------------------------------------------ */

static void refuse(void *arg)
{
    tri_heap *other = arg, *own = tri_current_heap();
    cr_assert_eq(tri_attach(other), -ENOTSUP);
    cr_assert_eq(tri_attach(own), -ENOTSUP);
    cr_assert_eq(tri_detach(own), -EPERM);
    cr_assert_eq(tri_enter(own), own);
    char stack[8192] __attribute__((aligned(16)));
    cr_assert_eq(tri_stack_switch(stack, stack + sizeof stack), -EPERM);
}

Test(thread, attaching_is_not_for_coroutines)
{
    tri_heap *h = new_heap();
    run_on(1, refuse, h);
    cr_assert_eq(tri_heap_destroy(h), 0);
}

static void start_from_coroutine(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20; i++)
        cr_assert_eq(tri_thread_join(start_with_list(tri_current_heap())), 0);
}

Test(thread, a_coroutine_starts_threads_and_waits_for_them)
{
    run_on(2, start_from_coroutine, NULL);
}

static void detach_late(void *arg)
{
    tri_heap *h = arg;
    while (!stop)
        tri_sleep(MS);
    (void)h;
}

static tri_thread *left_behind;

static void leave_a_thread(void *arg)
{
    *(tri_heap **)arg = tri_current_heap();
    cr_assert_eq(
        tri_thread_start(tri_current_heap(), detach_late, tri_current_heap(), &left_behind), 0);
}

Test(thread, one_that_stays_attached_keeps_the_heap_of_a_run, .timeout = 60)
{
    tri_heap *h;
    cr_assert_eq(tri_run(NULL, leave_a_thread, &h), -EBUSY);
    stop = true;
    cr_assert_eq(tri_thread_join(left_behind), 0);
    cr_assert_eq(tri_heap_destroy(h), 0);
}

/* ---- stacks of the embedder ------------------------------------------------------------------------ */

static void on_other_stack(void *arg)
{
    struct cell *list = NULL;
    for (long i = 0; i < 100; i++) {
        list = tri_make(cell, .next = list, .value = i);
        if (i % 10 == 0)
            tri_collect(arg);
    }
    read_list(list);
}

Test(thread, a_stack_of_the_embedder_is_scanned_once_it_is_announced)
{
    tri_heap *h = new_heap();
    size_t size = 256 << 10;
    char *stack = aligned_alloc(16, size);
    void *lo, *hi;
    cr_assert_eq(tri_stack_switch(stack, stack + size), -EPERM);
    cr_assert_eq(tri_attach(h), 0);
    cr_assert_eq(tri_stack_switch(NULL, stack + size), -EINVAL);
    cr_assert_eq(tri_stack_switch(stack + 1, stack + size), -EINVAL);
    cr_assert_eq(tri_stack_switch(stack + size, stack), -EINVAL);
    cr_assert_eq(tri_stack_switch(stack, stack + 4088), -EINVAL);
    cr_assert_eq(os_stack_bounds(&lo, &hi), 0);
    cr_assert_eq(tri_stack_switch(stack, stack + size), 0);
    os_call_on_stack(stack + size, on_other_stack, h);
    cr_assert_eq(tri_stack_switch(lo, hi), 0);
    cr_assert_eq(tri_detach(h), 0);
    cr_assert_eq(tri_heap_destroy(h), 0);
    free(stack);
}

/* ---- without a heap ---------------------------------------------------------------------------------- */

static void set(void *arg)
{
    *(bool *)arg = true;
}

Test(thread, one_without_a_heap_may_poll_yield_block_and_sleep)
{
    bool called = false;
    tri_poll();
    tri_yield();
    tri_sleep(1000);
    tri_blocking(set, &called);
    cr_assert(called);
}
