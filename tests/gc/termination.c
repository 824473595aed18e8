/* The end of marking: a round in which a marker holds a span proves nothing.
 *
 * The thread that tests is the only mutator and polls, so it can stand in the middle of a round, and it
 * plays the marker that comes in at the wrong moment.
 */
#include "fixture.h"

#include "os/clock.h"
#include "os/thread.h"

static tri_heap *open_polling(void)
{
    tri_options o;
    cr_assert_eq(tri_options_init(&o), 0);
    o.poll_only = true;
    o.workers = 1; /* the collector alone */
    return open_heap(&o);
}

static uint32_t term_of(tri_heap *h)
{
    return atomic_load(&h->term);
}

/* Begins a cycle and acknowledges what comes before its first round; that is then asked for. term is
 * set before the poll flag is, and does not change before the acknowledgement. */
static void enter_round(tri_heap *h)
{
    gc_request(h);
    for (;;) {
        while (!__atomic_load_n(&gc_self()->pub.poll, __ATOMIC_ACQUIRE))
            os_yield();
        if (term_of(h) == TERM_CLEAN)
            return;
        tri_poll();
    }
}

static void finish_cycle(tri_heap *h, uint64_t number)
{
    while (gc_cycles(h) < number)
        tri_poll();
}

/* The first slots of a heap are what stray words most often point to. */
static TRI_NOINLINE uintptr_t make_hidden(void)
{
    for (uint64_t i = 0; i < 20; i++)
        (void)tri_make(node, .value = i);
    return hide(tri_make(node, .value = 20));
}

/* As a mutator does whose drain began before the round. */
static TRI_NOINLINE void grey(tri_heap *h, uintptr_t hidden)
{
    heap_ref ref = {0};
    bool first = false;
    cr_assert(heap_find(h, (uintptr_t)unhide(hidden), &ref));
    cr_assert(heap_mark(ref.span, ref.index, &first));
    cr_assert(first);
    heap_grey_push(h, ref.span);
}

Test(termination, a_span_that_a_marker_takes_makes_the_round_dirty, .timeout = 60)
{
    tri_heap *h = open_polling();
    struct gc *gc = h->gc;
    uintptr_t hidden = make_hidden();
    clear_stack();
    enter_round(h);
    grey(h, hidden);
    gc_marker *w;
    cr_assert_eq(gc_marker_new(gc, &w), 0);
    atomic_fetch_add(&gc->active, 1);
    cr_assert(gc_mark_some(w, 1));
    cr_assert_eq(term_of(h), TERM_DIRTY);
    while (gc_mark_some(w, 64))
        ;
    atomic_fetch_sub(&gc->active, 1);
    finish_cycle(h, 1);
    gc_marker_free(w);
    close_heap(h);
}

Test(termination, is_not_concluded_while_a_marker_is_active, .timeout = 60)
{
    tri_heap *h = open_polling();
    struct gc *gc = h->gc;
    enter_round(h);
    atomic_fetch_add(&gc->active, 1); /* it has taken a span, and has not looked at term yet */
    for (int64_t end = os_now() + 20000000; os_now() < end;) {
        tri_poll();
        cr_assert_neq(term_of(h), TERM_DONE);
    }
    atomic_fetch_sub(&gc->active, 1);
    finish_cycle(h, 1);
    cr_assert_eq(term_of(h), TERM_DONE);
    close_heap(h);
}

/* A program that stores without pause always has a block waiting. If whoever takes it made the round dirty,
 * marking would never end beside such a program and a marker that looks often. */
Test(termination, blocks_that_come_in_a_round_are_left_to_the_collector, .timeout = 60)
{
    tri_heap *h = open_polling();
    struct gc *gc = h->gc;
    gc_marker *w;
    cr_assert_eq(gc_marker_new(gc, &w), 0);
    struct node *marked = tri_make(node);
    enter_round(h);
    while (!barrier_blocks_wait(h)) {
        barrier_push(gc_self(), (uintptr_t)marked);
        barrier_yield_buffer(gc_self());
    }
    atomic_fetch_add(&gc->active, 1);
    cr_assert_not(gc_mark_some(w, 1));
    atomic_fetch_sub(&gc->active, 1);
    cr_assert(barrier_blocks_wait(h));
    cr_assert_eq(term_of(h), TERM_CLEAN);
    tri_keep_alive(marked);
    tri_poll();
    finish_cycle(h, 1);
    cr_assert_not(barrier_blocks_wait(h));
    gc_marker_free(w);
    close_heap(h);
}
