/* Waits of one mutator for another are measured where they could happen, not assumed to be none. */
#include "fixture.h"

#include "os/thread.h"

static gc_histogram read_into;

static uint64_t waits(tri_heap *h)
{
    gc_histogram_clear(&read_into);
    gc_book_read_measure(gc_of(h)->book, GC_WAIT_MUTATOR, &read_into);
    return atomic_load(&read_into.count);
}

static heap_cache *held;

static void release_later(void *arg)
{
    (void)arg;
    os_sleep_ns(20000000);
    atomic_store_explicit(&held->owner, NULL, memory_order_release);
}

/* Binds run tables that `owner` holds for 20 ms more. */
static void bind_behind(tri_heap *h, void *owner)
{
    gc_mutator *m = gc_self();
    os_thread t;
    cr_assert_eq(heap_cache_new(h, &held), 0);
    atomic_store(&held->owner, owner);
    m->pub.in_runtime++;
    heap_cache *own = gc_unbind(m);
    cr_assert_eq(os_thread_start(&t, release_later, NULL, "holder", 0), 0);
    gc_bind(m, held);
    os_thread_join(&t);
    gc_unbind(m);
    gc_bind(m, own);
    m->pub.in_runtime--;
    heap_cache_free(held);
}

Test(waits, for_another_mutators_run_tables_are_counted)
{
    tri_heap *h = open_default();
    static gc_mutator other;
    cr_assert_eq(waits(h), 0);
    bind_behind(h, &other);
    cr_assert_eq(waits(h), 1);
    cr_assert_geq(atomic_load(&read_into.max), 10000000);
    close_heap(h);
}

Test(waits, for_the_collector_are_not_waits_for_a_mutator)
{
    tri_heap *h = open_default();
    bind_behind(h, HEAP_COLLECTOR);
    cr_assert_eq(waits(h), 0);
    tri_latency own;
    cr_assert_eq(tri_read_interruptions(h, TRI_INTERRUPTION_WAIT, &own), 0);
    cr_assert_geq(own.max, 10000000);
    close_heap(h);
}

static _Atomic bool locked;

static void hold_lock(void *arg)
{
    struct gc *gc = arg;
    os_mutex_lock(&gc->lock);
    atomic_store(&locked, true);
    os_sleep_ns(20000000);
    os_mutex_unlock(&gc->lock);
}

Test(waits, of_a_thread_that_attaches_behind_another_are_counted)
{
    tri_heap *h;
    tri_options o;
    tri_options_init(&o);
    cr_assert_eq(tri_heap_create(&o, &h), 0);
    os_thread t;
    cr_assert_eq(os_thread_start(&t, hold_lock, gc_of(h), "holder", 0), 0);
    while (!atomic_load(&locked))
        os_yield();
    cr_assert_eq(tri_attach(h), 0);
    os_thread_join(&t);
    cr_assert_eq(waits(h), 1);
    close_heap(h);
}
