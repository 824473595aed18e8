/* The warmer: chunks are touched ahead, what overtakes it takes small pages, and no limit is passed by it. */
#include "pages.h"

#include <stdlib.h>
#include <string.h>

#include "heap/scavenger.h"
#include "heap/warmer.h"
#include "os/random.h"
#include "os/thread.h"
#include "os/vm.h"

static _Atomic unsigned asked;

static void on_cold(tri_heap *h)
{
    (void)h;
    atomic_fetch_add(&asked, 1);
}

static void open_with_warmer(tri_heap *h, size_t reserve)
{
    open_heap(h, reserve);
    h->hooks.cold = on_cold;
    heap_arena_warm_ahead(h, true);
}

/* As much in use as a heap must have before anything is touched in advance. */
#define LARGE 8

static size_t chunks(size_t n)
{
    return n * HEAP_CHUNK;
}

static void open_large_with_warmer(tri_heap *h)
{
    open_with_warmer(h, 256 * MIB);
    for (int i = 0; i < LARGE - 1; i++)
        alloc_touched(h, HEAP_CHUNK_PAGES);
    cr_assert_not(heap_warm_one(h), "a small heap needs nothing in advance");
    cr_assert_eq(atomic_load(&asked), 0);
    for (size_t n = 0; n < HEAP_CHUNK_PAGES; n++)
        alloc_touched(h, 1);
}

Test(heap_warmer, a_cold_chunk_is_backed_page_by_page)
{
    tri_heap h;
    open_with_warmer(&h, 64 * MIB);
    alloc_touched(&h, 1);
    cr_assert_eq(all_resident(&h), HEAP_PAGE, "the rest of the chunk is backed");
    heap_arena_stats s = stats_of(&h);
    cr_assert_eq(s.sys - s.released, HEAP_PAGE, "and it is counted so");
    alloc_touched(&h, 3);
    cr_assert_eq(all_resident(&h), 4 * HEAP_PAGE);
    cr_assert_eq(atomic_load(&asked), 0, "a small heap needs nothing in advance");
    cr_assert_not(heap_warm_one(&h));
    close_heap(&h);
}

Test(heap_warmer, a_large_span_is_touched_by_who_wants_it)
{
    tri_heap h;
    open_with_warmer(&h, 64 * MIB);
    alloc_touched(&h, 2 * HEAP_CHUNK_PAGES + 1);
    heap_arena_stats s = stats_of(&h);
    cr_assert_eq(s.sys - s.released, 2 * HEAP_CHUNK + HEAP_PAGE);
    cr_assert_eq(all_resident(&h), 2 * HEAP_CHUNK + HEAP_PAGE, "the last chunk in small pages");
    close_heap(&h);
}

Test(heap_warmer, stays_a_chunk_ahead)
{
    tri_heap h;
    open_large_with_warmer(&h);
    for (size_t n = 0; n < HEAP_CHUNK_PAGES; n++)
        alloc_touched(&h, 1);
    cr_assert_eq(atomic_load(&asked), 1, "who overtakes it asks once, not at each chunk");
    cr_assert_eq(stats_of(&h).ahead, HEAP_CHUNK);
    cr_assert(heap_warm_one(&h));
    cr_assert_not(heap_warm_one(&h), "one is enough");
    heap_arena_stats s = stats_of(&h);
    cr_assert_eq(s.sys - s.released, chunks(LARGE + 2), "the warm chunk counts as held");
    cr_assert_eq(all_resident(&h), chunks(LARGE + 2));
    cr_assert_gt(s.sys, chunks(LARGE + 2), "and others are grown, without memory");

    size_t first = alloc_touched(&h, 1);
    cr_assert_eq(resident(&h, first / HEAP_CHUNK_PAGES * HEAP_CHUNK_PAGES, HEAP_CHUNK_PAGES),
                 HEAP_CHUNK, "the warm chunk was not the next");
    cr_assert_eq(all_resident(&h), chunks(LARGE + 2));
    cr_assert_eq(atomic_load(&asked), 2);
    close_heap(&h);
}

Test(heap_warmer, what_it_is_about_to_touch_counts_as_held_already)
{
    tri_heap h;
    open_large_with_warmer(&h);
    heap_idle cold;
    cr_assert(heap_arena_take_cold(&h, &cold));
    heap_arena_stats s = stats_of(&h);
    cr_assert_eq(s.sys - s.released, chunks(LARGE + 1),
                 "another thread sees less than there may be");
    os_touch(address(&h, cold.first), cold.npages * HEAP_PAGE);
    heap_arena_return_warm(&h, &cold);
    s = stats_of(&h);
    cr_assert_eq(s.sys - s.released, chunks(LARGE + 1));
    close_heap(&h);
}

Test(heap_warmer, a_chunk_that_is_torn_too_late_counts_as_held)
{
    tri_heap h;
    open_with_warmer(&h, 64 * MIB);
    heap_arena_warm_ahead(&h, false);
    heap_pages_free(&h, alloc_touched(&h, 1), 1);
    heap_scavenge(&h, SIZE_MAX);
    heap_arena_warm_ahead(&h, true);
    bool zeroed;
    cr_assert_neq(heap_pages_alloc(&h, 1, &zeroed), HEAP_NO_PAGE);
    heap_arena_stats s = stats_of(&h);
    cr_assert_eq(s.sys - s.released, HEAP_CHUNK,
                 "a second thread may have touched it before the advice");
    close_heap(&h);
}

Test(heap_warmer, what_the_scavenger_took_is_warmed_again)
{
    tri_heap h;
    open_large_with_warmer(&h);
    size_t first[4];
    for (int i = 0; i < 4; i++)
        first[i] = alloc_touched(&h, HEAP_CHUNK_PAGES);
    heap_pages_free(&h, first[3], HEAP_CHUNK_PAGES);
    heap_pages_free(&h, first[2] + 10, 100); /* a torn one */
    heap_scavenge(&h, SIZE_MAX);
    heap_pages_free(&h, first[2], 10);
    heap_pages_free(&h, first[2] + 110, HEAP_CHUNK_PAGES - 110);
    heap_scavenge(&h, SIZE_MAX);
    cr_assert_eq(all_resident(&h), chunks(LARGE + 2));
    cr_assert(heap_warm_one(&h));
    cr_assert_eq(all_resident(&h), chunks(LARGE + 3), "a torn chunk is whole again");
    cr_assert_eq(alloc_touched(&h, 1), first[2]);
    close_heap(&h);
}

Test(heap_warmer, passes_no_limit)
{
    tri_heap h;
    open_large_with_warmer(&h);
    atomic_store(&h.hard_limit, chunks(LARGE) + 1 * MIB);
    cr_assert(heap_warm_one(&h), "the limit counts in whole chunks");
    atomic_store(&h.hard_limit, chunks(LARGE + 1));
    cr_assert_not(heap_warm_one(&h));
    alloc_touched(&h, 1);
    cr_assert_not(heap_warm_one(&h), "there is room for no other chunk");
    atomic_store(&h.hard_limit, 0);
    atomic_store(&h.memory_limit, 2 * chunks(LARGE + 1) - 1 * MIB);
    cr_assert_not(heap_warm_one(&h), "more than half of the memory limit is held");
    atomic_store(&h.memory_limit, 0);
    cr_assert(heap_warm_one(&h));
    close_heap(&h);
}

/* ---- side by side ---------------------------------------------------------------------------- */

static _Atomic bool stop;

static void warm(void *arg)
{
    while (!atomic_load(&stop))
        if (!heap_warm_one(arg))
            os_yield();
}

static void scavenge(void *arg)
{
    while (!atomic_load(&stop)) {
        heap_scavenge(arg, HEAP_CHUNK);
        os_yield();
    }
}

static void use(void *arg)
{
    tri_heap *h = arg;
    enum { SPANS = 400, ROUNDS = 6000 };
    static _Thread_local size_t first[SPANS], npages[SPANS];
    uint64_t seed = (uintptr_t)&h;
    for (int i = 0; i < ROUNDS; i++) {
        size_t k = os_random_below(&seed, SPANS);
        if (npages[k]) {
            heap_pages_free(h, first[k], npages[k]);
            npages[k] = 0;
        } else {
            npages[k] =
                os_random_below(&seed, 50) ? 1 + os_random_below(&seed, 16) : HEAP_CHUNK_PAGES + 3;
            first[k] = alloc_touched(h, npages[k]);
        }
    }
    for (size_t k = 0; k < SPANS; k++)
        if (npages[k])
            heap_pages_free(h, first[k], npages[k]);
}

Test(heap_warmer, works_beside_mutators_and_the_scavenger)
{
    tri_heap h;
    open_with_warmer(&h, 1024 * MIB);
    os_thread warmer, scavenger, users[2];
    cr_assert_eq(os_thread_start(&warmer, warm, &h, "warm", 0), 0);
    cr_assert_eq(os_thread_start(&scavenger, scavenge, &h, "scavenge", 0), 0);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(os_thread_start(&users[i], use, &h, "use", 0), 0);
    for (int i = 0; i < 2; i++)
        os_thread_join(&users[i]);
    atomic_store(&stop, true);
    os_thread_join(&warmer);
    os_thread_join(&scavenger);
    heap_arena_check(&h);
    heap_scavenge(&h, SIZE_MAX);
    cr_assert_eq(all_resident(&h), 0, "everything was freed");
    heap_arena_stats s = stats_of(&h);
    cr_assert_eq(s.sys, s.released);
    close_heap(&h);
}
