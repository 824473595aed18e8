/* Programs that run out of memory and go on: at the hard limit an allocation waits for a whole
 * collection; then tri_try_new() gives NULL and leaves the heap as it was, and tri_new() asks the
 * handler, then aborts and says why.
 */
#include <criterion/criterion.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "support/stress.h"

#define LIMIT (32 << 20)

typedef struct brick {
    struct brick *next;
    uint64_t number;
    char filling[1008];
} brick;
TRI_TYPE(brick_type, brick, next);

static tri_heap *limited_heap(tri_options options)
{
    tri_heap *heap;
    options.hard_limit = LIMIT;
    cr_assert_eq(tri_heap_create(&options, &heap), 0);
    cr_assert_eq(tri_attach(heap), 0);
    return heap;
}

static void end(tri_heap *heap)
{
    cr_assert_eq(tri_detach(heap), 0);
    cr_assert_eq(tri_heap_destroy(heap), 0);
}

/* Builds a wall until there is no memory left; all of it must stand then. The list grows at its
 * head, from a fresh brick that nobody else can see. It is taken apart in the end: a stale word on
 * the stack could otherwise keep all of it. */
static __attribute__((noinline)) uint64_t build_to_the_limit(void)
{
    brick *wall = NULL;
    uint64_t bricks = 0;
    for (brick *b; (b = tri_try_new(&brick_type)); wall = b) {
        tri_init(&b->next, wall);
        b->number = bricks++;
    }
    uint64_t left = bricks;
    for (brick *b = wall, *next; b; b = next) {
        STRESS_CHECK(b->number == --left, "a brick is lost at the limit");
        next = b->next;
        tri_set(&b->next, NULL);
    }
    STRESS_CHECK(left == 0, "bricks are missing at the limit");
    return bricks;
}

/* Far enough from the frames of the builder that no stale word keeps its wall. */
static __attribute__((noinline)) void wipe_stack(void)
{
    volatile char gone[8192];
    memset((char *)gone, 0, sizeof gone);
}

Test(stress_limit, a_heap_that_was_full_is_usable_again)
{
    tri_heap *heap = limited_heap((tri_options){0});
    for (int round = 0; round < 4; round++) {
        uint64_t bricks = build_to_the_limit();
        cr_assert_leq(bricks * sizeof(brick), LIMIT);
        cr_assert_geq(bricks * sizeof(brick), LIMIT / 2, "full at %llu bricks",
                      (unsigned long long)bricks);
        wipe_stack();
    }
    end(heap);
}

Test(stress_limit, garbage_never_reaches_the_limit)
{
    tri_heap *heap = limited_heap((tri_options){0});
    for (int i = 0; i < 10 * (LIMIT >> 10); i++)
        cr_assert(tri_try_new(&brick_type), "allocation %d fails, though all is garbage", i);
    for (int i = 0; i < 100; i++)
        cr_assert(tri_try_new_array(&tri_bytes, LIMIT / 8), "large garbage reaches the limit");
    end(heap);
}

Test(stress_limit, an_array_beyond_the_limit_is_refused_and_small_ones_are_not)
{
    tri_heap *heap = limited_heap((tri_options){0});
    cr_assert_null(tri_try_new_array(&tri_bytes, 2 * (size_t)LIMIT));
    cr_assert_null(tri_try_new_array(&tri_pointers, SIZE_MAX / 4));
    cr_assert_null(tri_try_new_array(&tri_pointers, SIZE_MAX));
    cr_assert_not_null(tri_try_new_array(&tri_bytes, 1000));
    cr_assert_not_null(tri_try_new(&brick_type));
    end(heap);
}

static void fill_and_free(void *arg, unsigned index)
{
    (void)index;
    int64_t deadline = *(int64_t *)arg;
    while (!stress_over(deadline)) {
        build_to_the_limit();
        wipe_stack();
        tri_yield();
    }
}

static void at_the_limit(stress_mode mode)
{
    int64_t deadline = stress_deadline(stress_seconds());
    stress_job job = {.mode = mode,
                      .workers = 4,
                      .options.hard_limit = LIMIT,
                      .work = fill_and_free,
                      .arg = &deadline};
    stress_run(&job);
}

Test(stress_limit, threads_at_the_limit_together_go_on)
{
    at_the_limit(STRESS_THREADS);
}

Test(stress_limit, coroutines_at_the_limit_together_go_on)
{
    at_the_limit(STRESS_COROUTINES);
}

/* ---- tri_new() at the limit -------------------------------------------------------------------- */

static void note(tri_heap *heap, size_t bytes, void *arg)
{
    fprintf(stderr, "handler: %s, %s\n", (const char *)arg,
            heap == tri_current_heap() && bytes >= sizeof(brick) ? "in order" : "wrong arguments");
}

static void exhaust(void *arg)
{
    limited_heap((tri_options){.out_of_memory = arg ? note : NULL, .out_of_memory_arg = arg});
    for (brick *b, *wall = NULL;; wall = b) {
        b = tri_new(&brick_type);
        tri_init(&b->next, wall);
    }
}

Test(stress_limit, tri_new_says_why_it_aborts)
{
    char said[4096];
    int status = stress_in_child(exhaust, NULL, said, sizeof said);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "status %x", status);
    cr_assert(strstr(said, "memory") && strstr(said, "limit"), "it says: %s", said);
}

Test(stress_limit, tri_new_asks_the_handler_before_it_aborts)
{
    char said[4096];
    int status = stress_in_child(exhaust, "the argument", said, sizeof said);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "status %x", status);
    cr_assert(strstr(said, "handler: the argument, in order"), "it says: %s", said);
}

static jmp_buf way_out;

static void leave(tri_heap *heap, size_t bytes, void *arg)
{
    (void)heap, (void)bytes, (void)arg;
    longjmp(way_out, 1);
}

static __attribute__((noinline)) void build_for_ever(void)
{
    for (brick *b, *wall = NULL;; wall = b) {
        b = tri_new(&brick_type);
        tri_init(&b->next, wall);
    }
}

Test(stress_limit, a_handler_may_jump_out_and_the_heap_is_usable)
{
    tri_heap *heap = limited_heap((tri_options){.out_of_memory = leave});
    for (volatile int round = 0; round < 3; round++) {
        if (!setjmp(way_out))
            build_for_ever();
        wipe_stack();
        cr_assert_eq(tri_collect(heap), 0);
        cr_assert_not_null(tri_try_new(&brick_type));
    }
    end(heap);
}
