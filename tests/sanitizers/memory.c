/* What AddressSanitizer and Valgrind's memcheck make of programs on tricolor: they report the use of objects
 * that were collected and of stacks of coroutines that have ended, and faults on the stack of a coroutine like
 * those on a thread's; and they report nothing else, whatever the collector reads.
 *
 * ctest: build=address,debug timeout=120
 */
#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <tricolor/tricolor.h>

#include "runtime/fiber.h"
#include "support/program.h"
#include "support/stress.h"

#define ASAN SCHED_ASAN
#if ASAN
#define EXIT_REPORTED 1
#define INVALID_READ  "use-after-poison"
#define INVALID_WRITE "use-after-poison"
static const char *const *const tool;
#else
#define EXIT_REPORTED 9
#define INVALID_READ  "Invalid read of size"
#define INVALID_WRITE "Invalid write of size"
static const char *const memcheck[] = {"valgrind", "-q", "--error-exitcode=9", "--fair-sched=try",
                                       NULL};
static const char *const *const tool = memcheck;
#endif

struct box {
    struct box *next;
    long value;
};
TRI_TYPE(box, struct box, next);

static void run(void (*main_fn)(void *))
{
    tri_options o;
    STRESS_CHECK(tri_options_init(&o) == 0, "the environment's options are wrong");
    o.procs = 1;
    STRESS_CHECK(tri_run(&o, main_fn, NULL) == 0, "does not run");
}

static int status_of(const char *name, const char *variable, char *said, size_t size)
{
    int status = program_run(name, tool, variable, said, size);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        cr_skip_test("there is no valgrind");
    return status;
}

static void is_reported(const char *name, const char *as, const char *where)
{
    static char said[32768];
    int status = status_of(name, NULL, said, sizeof said);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_REPORTED, "status %x: %s", status,
              said);
    cr_assert(strstr(said, as), "no %s: %s", as, said);
    cr_assert(strstr(said, where), "%s is not named: %s", where, said);
}

static void is_fine(const char *name)
{
    static char said[32768];
    int status = status_of(name, NULL, said, sizeof said);
    cr_assert_eq(status, 0, "status %x: %s", status, said);
    cr_assert_str_empty(said);
}

/* ---- objects ----------------------------------------------------------------------------------- */

static uintptr_t hidden; /* the address of an object, in disguise */
static tri_waitgroup made;

/* Not the first of its span, whose address is that of the span: words that mean that lie about for long. */
static void make_box(void *arg)
{
    (void)arg;
    for (int i = 0; i < 5; i++)
        tri_keep_alive(tri_make(box, .value = i));
    hidden = ~(uintptr_t)tri_make(box, .value = 7);
    tri_waitgroup_done(&made);
}

static void make_large(void *arg)
{
    (void)arg;
    hidden = ~(uintptr_t)tri_new_array(&tri_bytes, 1 << 20);
    tri_waitgroup_done(&made);
}

/* By a coroutine that ends, so that no word of its stack keeps the object. */
static void make_hidden(void (*make)(void *))
{
    tri_waitgroup_add(&made, 1);
    STRESS_CHECK(tri_go(make, NULL) == 0, "no coroutine");
    tri_waitgroup_wait(&made);
    tri_yield();
}

static TRI_NOINLINE void clear_stack(void)
{
    volatile char dead[8192];
    for (size_t i = 0; i < sizeof dead; i++)
        dead[i] = 0;
}

static TRI_NOINLINE void collect_now(void)
{
    STRESS_CHECK(tri_collect(tri_current_heap()) == 0, "does not collect");
}

static TRI_NOINLINE long read_box(uintptr_t disguised)
{
    return ((volatile struct box *)~disguised)->value;
}

static TRI_NOINLINE void write_byte(uintptr_t disguised)
{
    *(volatile char *)~disguised = 1;
}

static void collect(void)
{
    clear_stack();
    collect_now();
}

static void read_collected(void *arg)
{
    (void)arg;
    make_hidden(make_box);
    collect();
    printf("%ld\n", read_box(hidden));
}

Test(memory, reports_a_read_of_a_collected_object)
{
    is_reported("read_collected", INVALID_READ, "read_box");
}

static void write_collected(void *arg)
{
    (void)arg;
    make_hidden(make_box);
    collect();
    write_byte(hidden);
}

Test(memory, reports_a_write_to_a_collected_object)
{
    is_reported("write_collected", INVALID_WRITE, "write_byte");
}

static void write_collected_large(void *arg)
{
    (void)arg;
    make_hidden(make_large);
    write_byte(hidden - 100000);
    collect();
    write_byte(hidden - 100000);
}

Test(memory, reports_a_write_to_a_large_collected_object)
{
    is_reported("write_collected_large", INVALID_WRITE, "write_byte");
}

static TRI_NOINLINE struct box *last_box(void)
{
    struct box *first = tri_make(box, .value = 1);
    for (int i = 0; i < 5; i++)
        tri_keep_alive(tri_make(box, .next = first));
    return tri_make(box, .next = first, .value = 7);
}

static void keep_reached(void *arg)
{
    (void)arg;
    struct box *last = last_box();
    collect();
    STRESS_CHECK(last->value == 7 && last->next->value == 1, "it is there");
}

Test(memory, says_nothing_of_objects_that_are_there)
{
    is_fine("keep_reached");
}

/* ---- stacks of coroutines ------------------------------------------------------------------------ */

static TRI_NOINLINE void write_beyond(volatile char *p, volatile int i)
{
    p[i] = 1;
}

static TRI_NOINLINE void overrun_array(void)
{
    volatile char array[40];
    array[0] = 0;
    write_beyond(array, 44);
}

static void overrun(void *arg)
{
    (void)arg;
    tri_yield();
    overrun_array();
}

/* Memcheck cannot see it. */
Test(memory, reports_an_overrun_on_the_stack_of_a_coroutine, .disabled = !ASAN)
{
    is_reported("overrun", "stack-buffer-overflow", "overrun_array");
}

static uintptr_t local;

static void leave_local(void *done)
{
    char mine[64];
    memset(mine, 1, sizeof mine);
    local = ~(uintptr_t)mine;
    tri_waitgroup_done(done);
}

static void write_local_of_dead(void *arg)
{
    (void)arg;
    static tri_waitgroup done;
    tri_waitgroup_add(&done, 1);
    STRESS_CHECK(tri_go(leave_local, &done) == 0, "no coroutine");
    tri_waitgroup_wait(&done);
    tri_yield();
    write_byte(local);
}

Test(memory, reports_a_write_to_the_stack_of_a_coroutine_that_has_ended)
{
    is_reported("write_local_of_dead", INVALID_WRITE, "write_byte");
}

/* Ends deep in calls with red zones, many on one stack one after the other, and others parked amid theirs. */
static TRI_NOINLINE long deep(int depth, const volatile char *above)
{
    volatile char here[48];
    for (size_t i = 0; i < sizeof here; i++)
        here[i] = (char)(above[i] + 1);
    if (depth % 7 == 0)
        tri_yield();
    return depth ? deep(depth - 1, here) + here[3] : here[0];
}

static void go_deep(void *done)
{
    volatile char top[48] = {0};
    long sum = deep((int)(tri_coro_id() % 50), top);
    STRESS_CHECK(sum != 0, "sums of ones");
    tri_waitgroup_done(done);
}

static void come_and_go(void *arg)
{
    (void)arg;
    static tri_waitgroup done;
    for (int i = 0; i < 50; i++) {
        tri_waitgroup_add(&done, 40);
        for (int k = 0; k < 40; k++)
            STRESS_CHECK(tri_go(go_deep, &done) == 0, "no coroutine");
        tri_waitgroup_wait(&done);
    }
}

Test(memory, says_nothing_of_coroutines_that_come_and_go)
{
    is_fine("come_and_go");
}

/* ---- what nobody has written ----------------------------------------------------------------------- */

static TRI_NOINLINE void branch_on(const volatile int *p)
{
    if (*p == 3)
        tri_yield();
}

/* The collector copies the whole stack, and decides by what it finds; the program's own mistake stays one. */
static void branch_on_unwritten(void *arg)
{
    (void)arg;
    int unwritten[4];
    tri_keep_alive(unwritten); /* for all that the compiler knows, this writes it */
    for (int i = 0; i < 10; i++) {
        tri_yield();
        collect();
    }
    branch_on(&unwritten[2]);
}

/* AddressSanitizer cannot see it. */
Test(memory, reports_a_branch_on_what_nobody_has_written_after_the_stack_was_scanned,
     .disabled = ASAN)
{
    is_reported("branch_on_unwritten", "uninitialised value", "branch_on");
}

/* ---- leaks ----------------------------------------------------------------------------------------- */

static char *volatile leaked;

static void leak(void *arg)
{
    (void)arg;
    leaked = malloc(100);
    leaked = NULL;
}

#define LEAKS "ASAN_OPTIONS=detect_stack_use_after_return=0:detect_leaks=1"

static int status_with_leak_checker(const char *name, char *said, size_t size)
{
    int status = status_of(name, LEAKS, said, size);
    if (strstr(said, "LeakSanitizer has encountered a fatal error"))
        cr_skip_test("the leak checker may not trace here");
    return status;
}

Test(memory, finds_leaks_of_the_program_and_none_of_the_library, .disabled = !ASAN)
{
    static char said[32768];
    int status = status_with_leak_checker("leak", said, sizeof said);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status), "status %x: %s", status, said);
    cr_assert(strstr(said, "100 byte(s) leaked in 1 allocation(s)"), "said: %s", said);
    status = status_with_leak_checker("come_and_go", said, sizeof said);
    cr_assert_eq(status, 0, "status %x: %s", status, said);
}

/* ---- fake stacks ----------------------------------------------------------------------------------- */

Test(memory, with_fake_stacks_is_refused_since_the_collector_does_not_scan_them, .disabled = !ASAN)
{
    static char said[32768];
    int status = status_of("keep_reached", "ASAN_OPTIONS=detect_stack_use_after_return=1", said,
                           sizeof said);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "status %x: %s", status, said);
    cr_assert(strstr(said, "detect_stack_use_after_return=0"), "said: %s", said);
}

static const program programs[] = {
    {"read_collected", read_collected},
    {"write_collected", write_collected},
    {"write_collected_large", write_collected_large},
    {"keep_reached", keep_reached},
    {"overrun", overrun},
    {"write_local_of_dead", write_local_of_dead},
    {"come_and_go", come_and_go},
    {"leak", leak},
    {"branch_on_unwritten", branch_on_unwritten},
    {NULL, NULL},
};

__attribute__((constructor)) static void be_program(void)
{
    program_be(programs, run);
}
