/* Threads that come and go all the time, and threads that block for long, while collections run:
 * no handshake may miss one, nor wait for one that is gone or asleep.
 *
 * ctest: timeout=3600
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "support/stress.h"

typedef struct bead {
    struct bead *next;
    uint64_t magic;
} bead;
TRI_TYPE(bead_type, bead, next);

static bead *string_new(uint64_t number, unsigned length)
{
    bead *b = NULL;
    while (length-- > 0)
        b = tri_make(bead_type, .next = b, .magic = stress_mix(number + length));
    return b;
}

static void string_check(const bead *b, uint64_t number, unsigned length)
{
    for (unsigned i = 0; i < length; i++, b = b->next)
        STRESS_CHECK(b && b->magic == stress_mix(number + i), "bead %u is lost", i);
    STRESS_CHECK(!b, "there are too many beads");
}

/* ---- attach and detach ------------------------------------------------------------------------- */

typedef struct storm {
    tri_heap *heap;
    int64_t deadline;
    bead *shared[8]; /* roots: written by whoever is attached just now */
    _Atomic uint64_t attached;
} storm;

static void visit(storm *s, uint64_t number)
{
    STRESS_CHECK(tri_attach(s->heap) == 0, "cannot attach");
    STRESS_CHECK(tri_attach(s->heap) == -EEXIST, "attached twice");
    STRESS_CHECK(tri_current_heap() == s->heap, "the current heap is another one");
    bead *own = string_new(number, 20);
    bead *theirs = tri_exchange(&s->shared[number % 8], string_new(0, 5));
    if (theirs)
        string_check(theirs, 0, 5);
    string_check(own, number, 20);
    STRESS_CHECK(tri_detach(s->heap) == 0, "cannot detach");
    STRESS_CHECK(tri_detach(s->heap) == -EPERM, "detached twice");
    s->attached++;
}

static void *come_and_go(void *arg)
{
    storm *s = arg;
    for (uint64_t n = 1; !stress_over(s->deadline); n++)
        visit(s, n);
    return NULL;
}

static void *visit_once(void *arg)
{
    visit(arg, 3);
    return NULL;
}

static void *send_visitors(void *arg)
{
    storm *s = arg;
    while (!stress_over(s->deadline)) {
        pthread_t visitors[4];
        for (int i = 0; i < 4; i++)
            STRESS_CHECK(pthread_create(&visitors[i], NULL, visit_once, s) == 0, "no thread");
        for (int i = 0; i < 4; i++)
            pthread_join(visitors[i], NULL);
    }
    return NULL;
}

static void start_child(void *arg)
{
    string_check(arg, 77, 10);
}

/* The argument is rooted with the caller until the new thread has it. */
static void *start_threads(void *arg)
{
    storm *s = arg;
    STRESS_CHECK(tri_attach(s->heap) == 0, "cannot attach");
    while (!stress_over(s->deadline)) {
        tri_thread *threads[4];
        for (int i = 0; i < 4; i++)
            STRESS_CHECK(tri_thread_start(s->heap, start_child, string_new(77, 10), &threads[i]) ==
                             0,
                         "no thread");
        for (int i = 0; i < 4; i++)
            STRESS_CHECK(tri_thread_join(threads[i]) == 0, "cannot join");
    }
    STRESS_CHECK(tri_detach(s->heap) == 0, "cannot detach");
    return NULL;
}

static void weather(bool poll_only)
{
    tri_options options = {.poll_only = poll_only};
    storm s = {.deadline = stress_deadline(stress_seconds())};
    cr_assert_eq(tri_heap_create(&options, &s.heap), 0);
    cr_assert_eq(tri_root_add(s.heap, s.shared, 8), 0);
    stress_collector *collector = stress_collect(s.heap);
    void *(*const kinds[])(void *) = {come_and_go, come_and_go, send_visitors, start_threads};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, kinds[i], &s), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    STRESS_CHECK(stress_collect_end(collector) > 0, "no collection ran");
    STRESS_CHECK(s.attached > 20, "hardly anybody came"); /* 150 with ThreadSanitizer */
    cr_assert_eq(tri_root_remove(s.heap, s.shared), 0);
    cr_assert_eq(tri_heap_destroy(s.heap), 0);
}

Test(stress_attach, threads_come_and_go_while_collections_run)
{
    weather(false);
}

Test(stress_attach, polling_threads_come_and_go_while_collections_run)
{
    weather(true);
}

/* ---- blocked ----------------------------------------------------------------------------------- */

static void sleep_a_while(void *arg)
{
    usleep(*(useconds_t *)arg);
}

static void block_often(void *arg, unsigned index)
{
    int64_t deadline = *(int64_t *)arg;
    uint64_t seed = index, number = (uint64_t)index << 40;
    while (!stress_over(deadline)) {
        bead *held = string_new(number, 50);
        useconds_t us = stress_random(&seed) % 2 ? 10 : 3000;
        tri_blocking(sleep_a_while, &us);
        string_check(held, number, 50);
        number += 50;
    }
}

static void collect_between(void *arg, unsigned index)
{
    int64_t deadline = *(int64_t *)arg;
    while (!stress_over(deadline)) {
        bead *held = string_new(index, 100);
        tri_collect(tri_current_heap());
        string_check(held, index, 100);
    }
}

static void block_or_collect(void *arg, unsigned index)
{
    if (index < 4)
        block_often(arg, index);
    else
        collect_between(arg, index);
}

Test(stress_attach, blocked_callers_keep_what_they_hold)
{
    for (int mode = 0; mode < STRESS_MODES; mode++) {
        int64_t deadline = stress_deadline(stress_seconds());
        stress_job job = {
            .mode = (stress_mode)mode, .workers = 6, .work = block_or_collect, .arg = &deadline};
        stress_run(&job);
        STRESS_CHECK(job.cycles > 0, "no collection ran");
    }
}

typedef struct gate {
    pthread_mutex_t lock;
    _Atomic bool inside;
} gate;

static void wait_at(void *arg)
{
    gate *g = arg;
    g->inside = true;
    pthread_mutex_lock(&g->lock);
    pthread_mutex_unlock(&g->lock);
}

static void wait_in_blocking(void *arg)
{
    bead *held = string_new(5, 9);
    tri_blocking(wait_at, arg);
    string_check(held, 5, 9);
}

Test(stress_attach, no_collection_waits_for_a_thread_that_is_blocked)
{
    tri_heap *heap;
    gate g = {.lock = PTHREAD_MUTEX_INITIALIZER};
    tri_thread *thread;
    cr_assert_eq(tri_heap_create(&(tri_options){0}, &heap), 0);
    cr_assert_eq(tri_attach(heap), 0);
    pthread_mutex_lock(&g.lock);
    cr_assert_eq(tri_thread_start(heap, wait_in_blocking, &g, &thread), 0);
    while (!g.inside)
        usleep(100);
    for (int i = 0; i < 20; i++)
        cr_assert_eq(tri_collect(heap), 0);
    pthread_mutex_unlock(&g.lock);
    cr_assert_eq(tri_thread_join(thread), 0);
    cr_assert_eq(tri_detach(heap), 0);
    cr_assert_eq(tri_heap_destroy(heap), 0);
}
