/* Lending Ps to the collector: it gets them when it asks, gives them all back, and no coroutine is
 * left behind on a P that nobody runs. The scheduler is asked directly, without a collection. */
#include "fixture.h"
#include "gc/state.h"

static sched *mine(void)
{
    return tri_current_heap()->sched;
}

static uint32_t lent(sched *s)
{
    uint32_t n = 0;
    os_mutex_lock(&s->lock);
    for (sched_p *p = s->lent; p; p = p->next_idle)
        n++;
    os_mutex_unlock(&s->lock);
    return n;
}

static void wait_for_lent(sched *s, uint32_t n)
{
    for (int64_t end = os_now() + 20000 * MS; lent(s) != n;) {
        cr_assert_lt(os_now(), end, "%u Ps are lent, not %u", lent(s), n);
        tri_yield();
    }
}

static _Atomic bool stop;
static _Atomic uint64_t turns[64];

static void turn(void *arg)
{
    while (!atomic_load(&stop)) {
        atomic_fetch_add((_Atomic uint64_t *)arg, 1);
        tri_yield();
    }
}

static void lends_what_is_idle(void *arg)
{
    (void)arg;
    sched *s = mine();
    tri_sleep(20 * MS);
    sched_lend_begin(s, 2);
    cr_assert_geq(lent(s), 2, "idle Ps are lent at once");
    sched_lend_end(s);
    cr_assert_eq(lent(s), 0);
}

Test(lend, takes_idle_ps_at_once)
{
    run_on(4, lends_what_is_idle, NULL);
}

/* How many of four Ps a scheduler lends that found so many processors when it was started. No M runs
 * before mark_end() starts one, so the number may be chosen. */
static uint32_t lends(uint32_t cpus, uint32_t threads)
{
    tri_options o;
    tri_heap *h;
    cr_assert_eq(tri_options_init(&o), 0);
    cr_assert_eq(tri_heap_create(&o, &h), 0);
    cr_assert_eq(tri_sched_start(h, 4), 0);
    const gc_hooks *hooks = gc_hooks_of(gc_of(h));
    h->sched->cpus = cpus;
    hooks->mark_begin(h, threads);
    uint32_t n = lent(h->sched);
    hooks->mark_end(h);
    cr_assert_eq(lent(h->sched), 0);
    cr_assert_eq(tri_sched_stop(h), 0);
    cr_assert_eq(tri_heap_destroy(h), 0);
    return n;
}

Test(lend, takes_none_for_threads_that_have_a_processor)
{
    static const struct {
        uint32_t cpus, threads, lent;
    } cases[] = {{6, 2, 0}, {6, 3, 1}, {4, 1, 1}, {4, 3, 3}, {2, 1, 1}, {2, 2, 2}, {64, 16, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t n = lends(cases[i].cpus, cases[i].threads);
        cr_assert_eq(n, cases[i].lent, "case %zu: %u", i, n);
    }
}

static void lends_what_is_busy(void *arg)
{
    (void)arg;
    sched *s = mine();
    for (int i = 0; i < 64; i++)
        cr_assert_eq(tri_go(turn, (void *)&turns[i]), 0);
    for (int round = 0; round < 20; round++) {
        sched_lend_begin(s, 1);
        wait_for_lent(s, 1);
        /* All go on on the P that is left. */
        uint64_t before[64];
        for (int i = 0; i < 64; i++)
            before[i] = atomic_load(&turns[i]);
        for (int i = 0; i < 64; i++)
            while (atomic_load(&turns[i]) == before[i])
                tri_yield();
        sched_lend_end(s);
        cr_assert_eq(lent(s), 0);
    }
    atomic_store(&stop, true);
}

Test(lend, a_busy_p_is_given_and_its_coroutines_run_elsewhere, .timeout = 60)
{
    run_on(2, lends_what_is_busy, NULL);
}

static void keeps_one(void *arg)
{
    (void)arg;
    sched *s = mine();
    sched_lend_begin(s, 100);
    for (int i = 0; i < 1000; i++)
        tri_yield();
    cr_assert_leq(lent(s), s->nprocs - 1);
    sched_lend_end(s);
    cr_assert_eq(lent(s), 0);
}

Test(lend, never_gives_the_last_p)
{
    run_on(1, keeps_one, NULL);
    run_on(2, keeps_one, NULL);
    run_on(4, keeps_one, NULL);
}

static void ends_while_lent(void *arg)
{
    (void)arg;
    sched_lend_begin(mine(), 1);
    for (int i = 0; i < 100; i++)
        tri_yield();
}

Test(lend, a_scheduler_may_stop_while_ps_are_lent)
{
    for (int i = 0; i < 20; i++)
        run_on(2, ends_while_lent, NULL);
}

static void collects(void *arg)
{
    (void)arg;
    for (int i = 0; i < 64; i++)
        cr_assert_eq(tri_go(turn, (void *)&turns[i]), 0);
    for (int i = 0; i < 30; i++)
        cr_assert_eq(tri_collect(tri_current_heap()), 0);
    atomic_store(&stop, true);
    tri_yield();
    /* The collector gives back before it says that the cycle is complete. */
    cr_assert_eq(lent(mine()), 0);
}

Test(lend, every_collection_gives_back_what_it_took, .timeout = 60)
{
    run_on(2, collects, NULL);
}
