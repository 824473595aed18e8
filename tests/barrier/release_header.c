/* barriercheck=1 works for code that was compiled against the headers of a release build: nothing of it is in that
 * code, and what it makes is told by the address of the call.
 *
 * ctest: timeout=120
 */
#if defined(TRI_DEBUG) && TRI_DEBUG >= 1
#define CHECKED    1
#define RACE_CHECK TRI_BARRIER_CHECK_ABORT
#endif
#undef TRI_DEBUG

#include "racers.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#ifdef CHECKED

static int line_made;

/* A call that is the last thing a function does is made a jump, and the place is lost; hence tri_keep_alive(). */

static TRI_NOINLINE struct racer *make(struct racer *left)
{
    line_made = __LINE__ + 1;
    struct racer *p = tri_make(racer_type, .left = left);
    tri_keep_alive(p);
    return p;
}

static TRI_NOINLINE struct racer **make_array(size_t n)
{
    line_made = __LINE__ + 1;
    struct racer **a = tri_new_array(&tri_pointers, n);
    tri_keep_alive(a);
    return a;
}

static void attach(tri_heap **heap)
{
    tri_options o;
    STRESS_CHECK(tri_options_init(&o) == 0, "options");
    o.barrier_check = TRI_BARRIER_CHECK_ABORT;
    STRESS_CHECK(tri_heap_create(&o, heap) == 0 && tri_attach(*heap) == 0, "no heap");
}

static void forget(void *arg)
{
    tri_heap *heap;
    (void)arg;
    attach(&heap);
    struct racer *a = make(NULL), *p = make(a);
    fprintf(stderr, "line %d\n", line_made);
    tri_set(&a->right, p); /* from here on its first contents are recorded */
    p->left = p;
    tri_collect(heap);
}

static void forget_in_array(void *arg)
{
    tri_heap *heap;
    (void)arg;
    attach(&heap);
    struct racer *a = make(NULL), **array = make_array(5);
    fprintf(stderr, "line %d\n", line_made);
    array[4] = a;
    tri_collect(heap);
}

static void forget_initialising(void *arg)
{
    tri_heap *heap;
    (void)arg;
    attach(&heap);
    struct racer *a = make(NULL);
    line_made = __LINE__ + 1;
    struct racer *p = tri_new(&racer_type);
    fprintf(stderr, "line %d\n", line_made);
    p->left = a;
    tri_collect(heap);
}

/* What addr2line makes of the first "(file+0x...)" of the report, with the calls that were built in. */
static void resolve(const char *said, char *out, size_t size)
{
    char command[1024], file[512];
    const char *at = strstr(said, "made at (");
    cr_assert(at && sscanf(at, "made at (%511[^)])", file) == 1, "said: %s", said);
    char *plus = strrchr(file, '+');
    cr_assert(plus, "said: %s", said);
    *plus = 0;
    snprintf(command, sizeof command, "addr2line -f -i -e '%s' %s", file, plus + 1);
    FILE *p = popen(command, "r");
    cr_assert(p, "no addr2line");
    out[fread(out, 1, size - 1, p)] = 0;
    pclose(p);
}

static void expect_fault(void (*fn)(void *), const char *function, const char *object,
                         const char *field)
{
    char said[4096], resolved[1024], expected[64];
    int status = stress_in_child(fn, NULL, said, sizeof said), line;
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "said: %s", said);
    cr_assert(strstr(said, object) && strstr(said, field), "said: %s", said);
    const char *told = strstr(said, "line "); /* a torture build says something before */
    cr_assert(told && sscanf(told, "line %d", &line) == 1, "said: %s", said);
    resolve(said, resolved, sizeof resolved);
    cr_assert(strstr(resolved, function), "made at %s, not in %s; said: %s", resolved, function,
              said);
    snprintf(expected, sizeof expected, "release_header.c:%d", line);
    /* addr2line of binutils 2.40 does not follow what clang 14 says of calls that were built in. */
#ifndef __clang__
    cr_assert(strstr(resolved, expected), "made at %s, not at %s; said: %s", resolved, expected,
              said);
#endif
}

Test(barrier_check_release_header, reports_a_store_into_an_object_of_tri_make_and_where_it_was_made)
{
    expect_fault(forget, "make", "object    racer_type at ", "field     left, at offset 0");
}

Test(barrier_check_release_header, reports_a_store_into_an_object_of_tri_new_and_where_it_was_made)
{
    expect_fault(forget_initialising, "forget_initialising", "object    racer_type at ",
                 "field     left, at offset 0");
}

Test(barrier_check_release_header, reports_a_store_into_an_array_and_where_it_was_made)
{
    expect_fault(forget_in_array, "make_array", "object    pointers[] at ",
                 "field     [4], at offset 32");
}

#endif

Test(barrier_check_release_header, says_nothing_about_threads_that_keep_the_rules)
{
    race(STRESS_THREADS, 4, race_work);
}

Test(barrier_check_release_header, says_nothing_about_coroutines_and_threads_that_keep_the_rules)
{
    race(STRESS_BOTH, 8, race_work);
}

Test(barrier_check_release_header, says_nothing_about_objects_that_are_just_being_made)
{
    race(STRESS_THREADS, 4, race_make);
}

Test(barrier_check_release_header, says_nothing_about_threads_that_hammer_one_word)
{
    race(STRESS_THREADS, 4, race_hammer);
}
