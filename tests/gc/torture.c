/* What a torture build does: it collects unasked, finds writes to what was freed, and tells its seed.
 *
 * ctest: timeout=120
 */
#include "fixture.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "barrier/sabotage.h"
#include "support/stress.h"

#ifdef TRI_TORTURE

static tri_heap *open_with(const char *environment)
{
    tri_options o;
    STRESS_CHECK(setenv("TRICOLOR", environment, 1) == 0, "no environment");
    STRESS_CHECK(tri_options_init(&o) == 0, "the options are wrong");
    tri_heap *h;
    STRESS_CHECK(tri_heap_create(&o, &h) == 0, "no heap");
    STRESS_CHECK(tri_attach(h) == 0, "cannot attach");
    return h;
}

/* ---- collections ---------------------------------------------------------------------------------- */

static uint64_t cycles_of_small_garbage(const char *environment)
{
    tri_heap *h = open_with(environment);
    for (int i = 0; i < 20000; i++)
        tri_new(&node);
    uint64_t n = gc_cycles(h);
    close_heap(h);
    return n;
}

Test(torture, allocations_start_collections_that_no_goal_asks_for)
{
    cr_assert_gt(cycles_of_small_garbage("every=10"), 3);
}

Test(torture, every_0_and_gogc_off_leave_collections_to_others)
{
    cr_assert_eq(cycles_of_small_garbage("every=0"), 0);
    cr_assert_eq(cycles_of_small_garbage("every=10,gogc=off"), 0);
}

/* ---- poison --------------------------------------------------------------------------------------- */

static int write_at; /* index of a word; -1: nothing is written */
static uint64_t write_what;

static TRI_NOINLINE uintptr_t make_garbage(size_t words)
{
    uint64_t *p = tri_new_array(&tri_bytes, words * sizeof *p);
    for (size_t i = 0; i < words; i++)
        p[i] = i;
    return hide(p);
}

/* Writes to the object when it is garbage and swept, and then uses the memory again. */
static void write_to_freed(void *words)
{
    tri_heap *h = open_with("every=0,gogc=off");
    /* Its neighbours stay, so that the system does not get the pages back: those would be zero. */
    void *before = tri_new_array(&tri_bytes, (size_t)words * 8);
    uintptr_t hidden = make_garbage((size_t)words);
    void *after = tri_new_array(&tri_bytes, (size_t)words * 8);
    clear_stack();
    STRESS_CHECK(tri_collect(h) == 0, "cannot collect");
    STRESS_CHECK(!alive(h, hidden), "it is still there");
    if (write_at >= 0)
        ((uint64_t *)unhide(hidden))[write_at] = write_what;
    for (int i = 0; i < 3000; i++) {
        make_garbage((size_t)words);
        if (i % 100 == 0)
            tri_collect(h);
    }
    tri_keep_alive(before);
    tri_keep_alive(after);
    close_heap(h);
}

static void expect_found(int at, uint64_t what, size_t words)
{
    char said[2048];
    write_at = at;
    write_what = what;
    int status = stress_in_child(write_to_freed, (void *)words, said, sizeof said);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "word %d: %s", at, said);
    cr_assert(strstr(said, "was written to"), "word %d: %s", at, said);
}

Test(torture, a_write_to_a_freed_object_is_found_when_its_memory_is_used_again)
{
    expect_found(0, 1, 4);
    expect_found(3, 77, 4);
    expect_found(2, 0, 4); /* as forgotten code often does: p->next = NULL */
    expect_found(400, 1, 500);
}

Test(torture, a_write_to_a_freed_large_object_is_found_as_well)
{
    expect_found(0, 1, 10000);
    expect_found(5000, 1, 10000);
}

Test(torture, where_nothing_was_written_nothing_is_found)
{
    char said[2048];
    write_at = -1;
    static const size_t sizes[] = {1, 4, 33, 500, 3000, 10000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int status = stress_in_child(write_to_freed, (void *)sizes[i], said, sizeof said);
        cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%zu words: %s", sizes[i], said);
    }
}

static volatile uint64_t *left_behind;

static void leave_an_address(void *arg)
{
    volatile uint64_t local = 1;
    left_behind = (volatile uint64_t *)((uintptr_t)&local ^ (uintptr_t)arg);
}

static void write_to_an_ended_stack(void *arg)
{
    (void)arg;
    tri_go(leave_an_address, NULL);
    while (!left_behind)
        tri_yield();
    *left_behind = 7;
    tri_go(leave_an_address, NULL);
    tri_yield();
}

static void run_on_one(void *arg)
{
    tri_options o;
    tri_options_init(&o);
    o.procs = 1;
    tri_run(&o, write_to_an_ended_stack, arg);
}

Test(torture, a_write_to_the_stack_of_a_coroutine_that_has_ended_is_found)
{
    char said[2048];
    int status = stress_in_child(run_on_one, NULL, said, sizeof said);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%s", said);
    cr_assert(strstr(said, "the stack of a coroutine that has ended was written to"), "%s", said);
}

/* ---- options -------------------------------------------------------------------------------------- */

static void open_sabotaged(void *arg)
{
    (void)arg;
    open_with("seed=77,delay=handshake.*:5:1,sabotage=deletion");
    STRESS_CHECK(strstr(tri_version(), "+sabotaged"), "version %s", tri_version());
}

Test(torture, the_seed_and_what_is_left_out_are_told_at_the_first_heap)
{
    char said[2048];
    int status = stress_in_child(open_sabotaged, NULL, said, sizeof said);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s", said);
    cr_assert(strstr(said, "TRICOLOR=seed=77 "), "%s", said);
    cr_assert(strstr(said, "SABOTAGED on purpose (deletion)"), "%s", said);
}

Test(torture, bad_values_of_its_options_are_errors)
{
    static const char *const bad[] = {"seed=x",
                                      "every=-1",
                                      "delay=no.such.point:1:1",
                                      "delay=handshake.*",
                                      "sabotage=everything",
                                      "sabotage"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        tri_options o;
        cr_assert_eq(setenv("TRICOLOR", bad[i], 1), 0);
        cr_assert_eq(tri_options_init(&o), -EINVAL, "%s", bad[i]);
    }
}

#elif !defined(TRI_DELAYS)

Test(torture, its_options_are_unknown_to_other_builds)
{
    static const char *const unknown[] = {"seed=1", "every=1", "delay=*:1:1", "sabotage=deletion"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        tri_options o;
        cr_assert_eq(setenv("TRICOLOR", unknown[i], 1), 0);
        cr_assert_eq(tri_options_init(&o), -EINVAL, "%s", unknown[i]);
    }
}

#endif
