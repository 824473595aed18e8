/* Channels: order, completeness, closing, and what the collector makes of values under way. */
#include "fixture.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

TRI_TYPE(number, long);

struct large {
    void *object;
    long words[10];
};
TRI_TYPE(large, struct large, object);

struct box {
    long value;
    struct box *self;
};
TRI_TYPE(box, struct box, self);

static tri_waitgroup wg;
static tri_chan *chan; /* a root */

static void with_root(void (*fn)(void))
{
    cr_assert_eq(tri_root_add(tri_current_heap(), &chan, 1), 0);
    fn();
    tri_set(&chan, NULL);
    tri_root_remove(tri_current_heap(), &chan);
}

#define RUN(procs, fn) run_on(procs, (void (*)(void *))with_root, (void *)(fn))

/* ---- order -------------------------------------------------------------------------------------- */

static void send_in_order(void *arg)
{
    for (long i = 0; i < (long)(intptr_t)arg; i++)
        cr_assert_eq(tri_chan_send(chan, &i), 0);
    tri_chan_close(chan);
}

static void receive_in_order(size_t capacity)
{
    long n = FEWER(200000, 5000);
    tri_set(&chan, tri_chan_new(&number, capacity));
    tri_go(send_in_order, (void *)(intptr_t)n);
    long v, expected = 0;
    while (tri_chan_recv(chan, &v))
        cr_assert_eq(v, expected++, "a value came out of turn");
    cr_assert_eq(expected, n);
}

static void in_order(void)
{
    static const size_t capacities[] = {0, 1, 2, 7, 128};
    for (size_t i = 0; i < sizeof capacities / sizeof *capacities; i++)
        receive_in_order(capacities[i]);
}

Test(channel, values_arrive_in_the_order_they_were_sent_on_one_p)
{
    RUN(1, in_order);
}

Test(channel, values_arrive_in_the_order_they_were_sent_on_four_ps)
{
    RUN(4, in_order);
}

/* ---- many to many ------------------------------------------------------------------------------ */

#define SENDERS   8
#define RECEIVERS 5
static tri_waitgroup senders;
static _Atomic long total, received;

static void send_range(void *arg)
{
    long n = FEWER(20000, 1000), first = (long)(intptr_t)arg * n;
    for (long i = 0; i < n; i++) {
        long v = first + i;
        cr_assert_eq(tri_chan_send(chan, &v), 0);
    }
    tri_waitgroup_done(&senders);
}

/* What one sender sent arrives in its order, also at one of several receivers. */
static void receive_all(void *arg)
{
    (void)arg;
    long n = FEWER(20000, 1000), last[SENDERS], v;
    memset(last, -1, sizeof last);
    while (tri_chan_recv(chan, &v)) {
        cr_assert_gt(v % n, last[v / n], "a sender's values came out of turn");
        last[v / n] = v % n;
        total += v;
        received++;
    }
    tri_waitgroup_done(&wg);
}

static void many(size_t capacity)
{
    long n = FEWER(20000, 1000);
    total = received = 0;
    tri_set(&chan, tri_chan_new(&number, capacity));
    tri_waitgroup_add(&senders, SENDERS);
    tri_waitgroup_add(&wg, RECEIVERS);
    for (intptr_t i = 0; i < SENDERS; i++)
        tri_go(send_range, (void *)i);
    for (int i = 0; i < RECEIVERS; i++)
        tri_go(receive_all, NULL);
    tri_waitgroup_wait(&senders);
    tri_chan_close(chan);
    tri_waitgroup_wait(&wg);
    cr_assert_eq(received, SENDERS * n);
    cr_assert_eq(total, SENDERS * n * (SENDERS * n - 1) / 2);
}

static void many_unbuffered(void)
{
    many(0);
}

static void many_buffered(void)
{
    many(16);
}

Test(channel, nothing_is_lost_or_doubled_between_many_senders_and_receivers_unbuffered)
{
    RUN(4, many_unbuffered);
}

Test(channel, nothing_is_lost_or_doubled_between_many_senders_and_receivers_buffered)
{
    RUN(4, many_buffered);
}

/* ---- closing -------------------------------------------------------------------------------------- */

static _Atomic int refused, ended;

static void send_one(void *arg)
{
    long v = (long)(intptr_t)arg;
    if (tri_chan_send(chan, &v) == -EPIPE)
        refused++;
    tri_waitgroup_done(&wg);
}

static void receive_one(void *arg)
{
    (void)arg;
    long v = 99;
    if (tri_chan_recv(chan, &v) == 0 && v == 0)
        ended++;
    tri_waitgroup_done(&wg);
}

static void closing(void)
{
    tri_set(&chan, tri_chan_new(&number, 2));
    long v = 1, w = 2;
    cr_assert_eq(tri_chan_send(chan, &v), 0);
    cr_assert_eq(tri_chan_send(chan, &w), 0);
    cr_assert_eq(tri_chan_len(chan), 2);
    cr_assert_eq(tri_chan_cap(chan), 2);
    cr_assert_eq(tri_chan_close(chan), 0);
    cr_assert_eq(tri_chan_close(chan), -EPIPE);
    cr_assert_eq(tri_chan_send(chan, &v), -EPIPE);
    cr_assert_eq(tri_chan_try_send(chan, &v), -EPIPE);
    cr_assert(tri_chan_recv(chan, &v) == 1 && v == 1, "what was sent before is still received");
    cr_assert(tri_chan_recv(chan, NULL) == 1);
    v = 99;
    cr_assert(tri_chan_recv(chan, &v) == 0 && v == 0, "a closed, empty channel gives a zero");
    cr_assert_eq(tri_chan_try_recv(chan, &v), 0);
}

Test(channel, a_closed_channel_is_emptied_and_then_says_so)
{
    RUN(2, closing);
}

static void close_on_waiters(void)
{
    tri_set(&chan, tri_chan_new(&number, 0));
    tri_waitgroup_add(&wg, 200);
    for (intptr_t i = 0; i < 200; i++)
        tri_go(send_one, (void *)i);
    tri_sleep(5 * MS);
    tri_chan_close(chan);
    tri_waitgroup_wait(&wg);
    cr_assert_eq(refused, 200);
    tri_set(&chan, tri_chan_new(&number, 0));
    tri_waitgroup_add(&wg, 200);
    for (int i = 0; i < 200; i++)
        tri_go(receive_one, NULL);
    tri_sleep(5 * MS);
    tri_chan_close(chan);
    tri_waitgroup_wait(&wg);
    cr_assert_eq(ended, 200);
}

Test(channel, closing_sends_all_that_wait_home)
{
    RUN(2, close_on_waiters);
}

static void tries(void)
{
    tri_set(&chan, tri_chan_new(&number, 1));
    long v = 5, w = 0;
    cr_assert_eq(tri_chan_try_recv(chan, &w), -EAGAIN);
    cr_assert_eq(tri_chan_try_send(chan, &v), 0);
    cr_assert_eq(tri_chan_try_send(chan, &v), -EAGAIN);
    cr_assert(tri_chan_try_recv(chan, &w) == 1 && w == 5);
    tri_set(&chan, tri_chan_new(&number, 0));
    cr_assert_eq(tri_chan_try_send(chan, &v), -EAGAIN, "nobody waits for it");
    cr_assert_eq(tri_chan_try_recv(chan, &w), -EAGAIN);
}

Test(channel, a_try_never_waits)
{
    RUN(2, tries);
}

/* ---- values the collector must see ------------------------------------------------------------------ */

static struct box *new_box(long value)
{
    struct box *b = tri_make(box, .value = value);
    tri_set(&b->self, b);
    return b;
}

static void check_box(struct box *b, long value)
{
    cr_assert_eq(b->value, value, "an object was freed on its way through a channel");
    cr_assert_eq(b->self, b);
}

static void send_boxes(void *arg)
{
    long n = (long)(intptr_t)arg;
    for (long i = 0; i < n; i++) {
        struct box *b = new_box(i);
        cr_assert_eq(tri_chan_send(chan, &b), 0);
    }
    tri_waitgroup_done(&senders);
}

static void receive_boxes(void *arg)
{
    (void)arg;
    struct box *b;
    while (tri_chan_recv(chan, &b))
        check_box(b, b->value);
    tri_waitgroup_done(&wg);
}

static void send_large(void *arg)
{
    long n = (long)(intptr_t)arg;
    for (long i = 0; i < n; i++) {
        struct large l = {.object = new_box(i)};
        for (int k = 0; k < 10; k++)
            l.words[k] = i + k;
        cr_assert_eq(tri_chan_send(chan, &l), 0);
    }
    tri_waitgroup_done(&senders);
}

static void receive_large(void *arg)
{
    (void)arg;
    struct large l;
    while (tri_chan_recv(chan, &l)) {
        long i = ((struct box *)l.object)->value;
        check_box(l.object, i);
        for (int k = 0; k < 10; k++)
            cr_assert_eq(l.words[k], i + k);
    }
    tri_waitgroup_done(&wg);
}

static _Atomic bool collecting;

static void collect_all_the_time(void *arg)
{
    (void)arg;
    while (collecting)
        tri_collect(tri_current_heap());
    tri_waitgroup_done(&wg);
}

static void under_collection(tri_type *type, size_t capacity, void (*send)(void *),
                             void (*receive)(void *))
{
    tri_set(&chan, tri_chan_new(type, capacity));
    collecting = true;
    tri_waitgroup_add(&senders, 4);
    tri_waitgroup_add(&wg, 5);
    tri_go(collect_all_the_time, NULL);
    for (int i = 0; i < 4; i++) {
        tri_go(send, (void *)(intptr_t)FEWER(20000, 500));
        tri_go(receive, NULL);
    }
    tri_waitgroup_wait(&senders);
    tri_chan_close(chan);
    collecting = false;
    tri_waitgroup_wait(&wg);
}

static void boxes_under_collection(void)
{
    under_collection(&tri_pointers, 0, send_boxes, receive_boxes);
    under_collection(&tri_pointers, 4, send_boxes, receive_boxes);
}

static void large_under_collection(void)
{
    under_collection(&large, 0, send_large, receive_large);
    under_collection(&large, 4, send_large, receive_large);
}

Test(channel, pointers_survive_collections_on_their_way, .timeout = 120)
{
    RUN(4, boxes_under_collection);
}

Test(channel, values_too_large_for_a_waiter_survive_collections_on_their_way, .timeout = 120)
{
    RUN(4, large_under_collection);
}

static void into_the_heap(void)
{
    tri_set(&chan, tri_chan_new(&tri_pointers, 1));
    struct box *a = new_box(1), *b = new_box(2);
    cr_assert_eq(tri_chan_send(chan, &b), 0);
    cr_assert_eq(tri_chan_recv(chan, &a->self), 1);
    cr_assert_eq(a->self, b, "a value is received into a field of an object");
}

Test(channel, a_value_may_be_received_into_an_object)
{
    RUN(1, into_the_heap);
}

/* ---- threads --------------------------------------------------------------------------------------- */

static void echo_thread(void *arg)
{
    tri_chan *back = arg;
    long v;
    while (tri_chan_recv(chan, &v))
        cr_assert_eq(tri_chan_send(back, &v), 0);
    tri_chan_close(back);
}

static void with_a_thread(void)
{
    tri_set(&chan, tri_chan_new(&number, 0));
    tri_chan *back = tri_chan_new(&number, 0);
    tri_thread *thread;
    cr_assert_eq(tri_thread_start(tri_current_heap(), echo_thread, back, &thread), 0);
    long v = 0;
    for (long i = 0; i < 2000; i++) {
        cr_assert_eq(tri_chan_send(chan, &i), 0);
        cr_assert(tri_chan_recv(back, &v) && v == i);
    }
    tri_chan_close(chan);
    cr_assert_eq(tri_chan_recv(back, &v), 0);
    cr_assert_eq(tri_thread_join(thread), 0);
}

Test(channel, a_thread_and_a_coroutine_talk)
{
    RUN(2, with_a_thread);
}

/* ---- misuse ------------------------------------------------------------------------------------------ */

static void trace_nothing(tri_tracer *tracer, void *object, size_t size)
{
    (void)tracer, (void)object, (void)size;
}

TRI_TYPE_TRACE(traced, struct box, trace_nothing);

static void new_traced(void *arg)
{
    (void)arg;
    tri_chan_new(&traced, 1);
}

Test(channel, a_type_with_a_trace_callback_is_refused, .signal = SIGABRT)
{
    run_on(1, new_traced, NULL);
}
