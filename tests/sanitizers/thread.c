/* What ThreadSanitizer makes of programs on tricolor: it reports their races, and none where coroutines wait
 * for each other.
 *
 * The racing ones meet before each of their accesses, with relaxed atomics that order nothing, so that they run on two
 * threads at once: what one P runs one after the other is ordered for the sanitizer, too. They do so many times, since
 * the sanitizer keeps silent about a race whose other side it no longer remembers.
 *
 * ctest: build=thread timeout=120
 */
#include <criterion/criterion.h>

#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <tricolor/tricolor.h>

#include "support/program.h"
#include "support/stress.h"

#define REPORTED 66 /* the exit code of a program with a race */

struct box {
    struct box *next;
    long value;
};
TRI_TYPE(box, struct box, next);

struct shared {
    _Atomic int here;
    long plain;
    struct box *slot; /* a root */
    tri_waitgroup running;
    tri_mutex mutex;
    tri_chan *chan;
};

static struct shared s;

#define MEETINGS 50

/* Returns when both have met `times` times. */
static void meet_for_the(int times)
{
    atomic_fetch_add_explicit(&s.here, 1, memory_order_relaxed);
    while (atomic_load_explicit(&s.here, memory_order_relaxed) < 2 * times) {}
}

static void meet(void)
{
    meet_for_the(1);
}

static void run_two(void (*one)(void *), void (*other)(void *))
{
    tri_waitgroup_add(&s.running, 2);
    tri_go_named(one, NULL, "one");
    tri_go_named(other, NULL, "other");
    tri_waitgroup_wait(&s.running);
}

static void run(void (*main_fn)(void *))
{
    tri_options o;
    STRESS_CHECK(tri_options_init(&o) == 0, "the environment's options are wrong");
    o.procs = 2;
    STRESS_CHECK(tri_run(&o, main_fn, NULL) == 0, "does not run");
}

static int status_of(const char *name, char *said, size_t size)
{
    int status = program_run(name, NULL, NULL, said, size);
    cr_assert(WIFEXITED(status), "status %x: %s", status, said);
    return WEXITSTATUS(status);
}

static void is_a_race(const char *name, const char *where)
{
    static char said[16384];
    int status = status_of(name, said, sizeof said);
    cr_assert_eq(status, REPORTED, "exit status %d: %s", status, said);
    cr_assert(strstr(said, "data race"), "%s", said);
    cr_assert(strstr(said, where), "%s is not named: %s", where, said);
    cr_assert(strstr(said, "'one'") && strstr(said, "'other'"), "no names: %s", said);
}

static void is_none(const char *name)
{
    static char said[16384];
    int status = status_of(name, said, sizeof said);
    cr_assert_eq(status, 0, "exit status %d: %s", status, said);
    cr_assert_str_empty(said);
}

/* ---- races ------------------------------------------------------------------------------------- */

static TRI_NOINLINE void add_plainly(void)
{
    s.plain++;
}

static void adds(void *arg)
{
    (void)arg;
    for (int i = 1; i <= MEETINGS; i++) {
        meet_for_the(i);
        add_plainly();
    }
    tri_waitgroup_done(&s.running);
}

static void add_without_order(void *arg)
{
    (void)arg;
    run_two(adds, adds);
}

Test(thread_sanitizer, reports_two_coroutines_that_write_one_variable)
{
    is_a_race("add_without_order", "add_plainly");
}

/* One works in a loop, and was parked and moved between threads before the other comes. */
static void adds_after_a_while(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20; i++) {
        tri_sleep(100000);
        tri_yield();
    }
    adds(NULL);
}

static void add_after_a_while(void *arg)
{
    (void)arg;
    run_two(adds_after_a_while, adds_after_a_while);
}

Test(thread_sanitizer, reports_coroutines_that_have_parked_and_moved_before)
{
    is_a_race("add_after_a_while", "add_plainly");
}

static TRI_NOINLINE void store_plainly(void)
{
    s.slot = NULL;
}

static void stores_plainly(void *arg)
{
    (void)arg;
    for (int i = 1; i <= MEETINGS; i++) {
        meet_for_the(i);
        store_plainly();
    }
    tri_waitgroup_done(&s.running);
}

static void stores(void *arg)
{
    (void)arg;
    meet();
    for (int i = 0; i < 1000; i++)
        tri_set(&s.slot, tri_make(box, .value = i));
    tri_waitgroup_done(&s.running);
}

static void loads(void *arg)
{
    (void)arg;
    meet();
    for (int i = 0; i < 1000; i++)
        tri_keep_alive(tri_load(&s.slot));
    tri_waitgroup_done(&s.running);
}

static void loads_at_meetings(void *arg)
{
    (void)arg;
    for (int i = 1; i <= MEETINGS; i++) {
        meet_for_the(i);
        tri_keep_alive(tri_load(&s.slot));
    }
    tri_waitgroup_done(&s.running);
}

static void with_root(void (*one)(void *), void (*other)(void *))
{
    tri_heap *heap = tri_current_heap();
    STRESS_CHECK(tri_root_add(heap, &s.slot, 1) == 0, "no root");
    stress_collector *c = stress_collect(heap);
    run_two(one, other);
    STRESS_CHECK(stress_collect_end(c) > 0, "no collection");
    STRESS_CHECK(tri_root_remove(heap, &s.slot) == 0, "no root");
}

static void set_beside_plain_store(void *arg)
{
    (void)arg;
    run_two(loads_at_meetings, stores_plainly);
}

Test(thread_sanitizer, reports_a_plain_store_to_a_slot_that_is_loaded)
{
    is_a_race("set_beside_plain_store", "store_plainly");
}

/* ---- order ------------------------------------------------------------------------------------- */

static void set_beside_load(void *arg)
{
    (void)arg;
    with_root(stores, loads);
}

Test(thread_sanitizer, takes_slots_for_atomic)
{
    is_none("set_beside_load");
}

#define ROUNDS 2000

static void adds_locked(void *arg)
{
    (void)arg;
    meet();
    for (int i = 0; i < ROUNDS; i++) {
        tri_mutex_lock(&s.mutex);
        add_plainly();
        tri_mutex_unlock(&s.mutex);
    }
    tri_waitgroup_done(&s.running);
}

static void add_locked(void *arg)
{
    (void)arg;
    run_two(adds_locked, adds_locked);
    STRESS_CHECK(s.plain == 2 * ROUNDS, "increments were lost");
}

Test(thread_sanitizer, sees_the_order_of_a_mutex)
{
    is_none("add_locked");
}

static void sends(void *arg)
{
    (void)arg;
    meet();
    for (long i = 0; i < ROUNDS; i++) {
        struct box *b = tri_make(box, .value = i);
        b->value++;
        STRESS_CHECK(tri_chan_send(s.chan, &b) == 0, "closed");
    }
    tri_waitgroup_done(&s.running);
}

static void receives(void *arg)
{
    (void)arg;
    meet();
    for (long i = 0; i < ROUNDS; i++) {
        struct box *b;
        STRESS_CHECK(tri_chan_recv(s.chan, &b) == 1, "closed");
        b->value++;
        STRESS_CHECK(b->value == i + 2, "out of order");
    }
    tri_waitgroup_done(&s.running);
}

static void send_and_receive(size_t capacity)
{
    s.chan = tri_chan_new(&tri_pointers, capacity);
    run_two(sends, receives);
}

static void send_unbuffered(void *arg)
{
    (void)arg;
    send_and_receive(0);
}

static void send_buffered(void *arg)
{
    (void)arg;
    send_and_receive(7);
}

Test(thread_sanitizer, sees_the_order_of_a_channel)
{
    is_none("send_unbuffered");
    is_none("send_buffered");
}

static long results[2];

static void fills(void *arg)
{
    meet();
    *(long *)arg = 7;
    tri_waitgroup_done(&s.running);
}

static void wait_for_results(void *arg)
{
    (void)arg;
    tri_waitgroup_add(&s.running, 2);
    tri_go(fills, &results[0]);
    tri_go(fills, &results[1]);
    tri_waitgroup_wait(&s.running);
    STRESS_CHECK(results[0] + results[1] == 14, "a result is missing");
}

Test(thread_sanitizer, sees_the_order_of_a_wait_group)
{
    is_none("wait_for_results");
}

static const program programs[] = {
    {"add_after_a_while", add_after_a_while},
    {"add_locked", add_locked},
    {"add_without_order", add_without_order},
    {"send_buffered", send_buffered},
    {"send_unbuffered", send_unbuffered},
    {"set_beside_load", set_beside_load},
    {"set_beside_plain_store", set_beside_plain_store},
    {"wait_for_results", wait_for_results},
    {NULL, NULL},
};

__attribute__((constructor)) static void be_program(void)
{
    program_be(programs, run);
}
