/* The page allocator against a model of it, its order of filling, its limits, and its failures. */
#include "pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "heap/annotate.h"
#include "os/clock.h"
#include "os/fault.h"
#include "os/random.h"
#include "os/thread.h"
#include "os/vm.h"

static size_t alloc(tri_heap *h, size_t npages)
{
    bool zeroed;
    return heap_pages_alloc(h, npages, &zeroed);
}

static uint64_t *page_words(const tri_heap *h, size_t page)
{
    return (uint64_t *)(h->base + page * HEAP_PAGE);
}

/* ---- a model --------------------------------------------------------------------------------- */

typedef struct span {
    size_t first, npages;
} span;

typedef struct model {
    tri_heap *h;
    size_t npages;   /* of the reservation */
    uint32_t *owner; /* per page; 0: free */
    bool *dirty;     /* per page: was in use before */
    span spans[4096];
    size_t nspans, inuse;
    uint32_t next;
    uint64_t rng;
    bool scavenged; /* the model does not know which pages went */
} model;

static model *model_new(tri_heap *h, uint64_t seed)
{
    model *m = calloc(1, sizeof *m);
    m->h = h;
    m->npages = h->reserved / HEAP_PAGE;
    m->owner = calloc(m->npages, sizeof *m->owner);
    m->dirty = calloc(m->npages, sizeof *m->dirty);
    m->rng = seed;
    return m;
}

static void model_delete(model *m)
{
    free(m->owner);
    free(m->dirty);
    free(m);
}

static size_t model_size(model *m)
{
    uint32_t kind = os_random_below(&m->rng, 100);
    if (kind < 70)
        return 1 + os_random_below(&m->rng, 4);
    if (kind < 97)
        return 1 + os_random_below(&m->rng, 64);
    return 1 + os_random_below(&m->rng, 900);
}

static bool reads_as_zero(const uint64_t *w, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (w[i])
            return false;
    return true;
}

static bool model_alloc(model *m)
{
    size_t n = model_size(m);
    bool zeroed, was_dirty = false;
    size_t first = heap_pages_alloc(m->h, n, &zeroed);
    if (first == HEAP_NO_PAGE)
        return false;
    cr_assert_leq(first + n, m->npages, "pages outside the reservation");
    cr_assert(n < HEAP_CHUNK_PAGES || first % HEAP_CHUNK_PAGES == 0, "large and not aligned");
    m->next++;
    for (size_t i = first; i < first + n; i++) {
        cr_assert_eq(m->owner[i], 0, "page %zu was handed out twice", i);
        m->owner[i] = m->next;
        was_dirty |= m->dirty[i];
        if (zeroed)
            cr_assert(reads_as_zero(page_words(m->h, i), HEAP_PAGE / 8), "zeroed, and is not");
        page_words(m->h, i)[0] = page_words(m->h, i)[HEAP_PAGE / 8 - 1] = m->next;
    }
    if (!m->scavenged)
        cr_assert_eq(zeroed, !was_dirty, "clean pages are not known to be, or the reverse");
    m->spans[m->nspans++] = (span){first, n};
    m->inuse += n;
    return true;
}

static void model_free(model *m, size_t which)
{
    span s = m->spans[which];
    m->spans[which] = m->spans[--m->nspans];
    for (size_t i = s.first; i < s.first + s.npages; i++) {
        cr_assert_eq(page_words(m->h, i)[0], m->owner[i], "a page in use was changed");
        cr_assert_eq(page_words(m->h, i)[HEAP_PAGE / 8 - 1], m->owner[i]);
        m->owner[i] = 0;
        m->dirty[i] = true;
    }
    m->inuse -= s.npages;
    heap_pages_free(m->h, s.first, s.npages);
}

static void model_free_all(model *m)
{
    while (m->nspans)
        model_free(m, m->nspans - 1);
}

/* The share of allocations swings, so that the heap fills and drains. */
static void model_step(model *m, size_t step, bool scavenge)
{
    uint32_t bias = (step / 1500) % 2 ? 35 : 65;
    if (scavenge && os_random_below(&m->rng, 64) == 0) {
        m->scavenged = true;
        heap_scavenge(m->h, os_random_below(&m->rng, 8 << 20));
    }
    bool more = os_random_below(&m->rng, 100) < bias && m->nspans < 4096;
    if (more || m->nspans == 0)
        model_alloc(m);
    else
        model_free(m, os_random_below(&m->rng, (uint32_t)m->nspans));
    if (step % 256 == 0) {
        heap_arena_check(m->h);
        cr_assert_eq(stats_of(m->h).inuse, m->inuse * HEAP_PAGE);
    }
}

static void run_model(uint64_t seed, bool scavenge)
{
    tri_heap h;
    open_heap(&h, 128 * MIB);
    model *m = model_new(&h, seed);
    for (size_t step = 0; step < 12000; step++)
        model_step(m, step, scavenge);
    model_free_all(m);
    cr_assert_eq(stats_of(&h).inuse, 0);
    model_delete(m);
    close_heap(&h);
}

Test(heap_arena, agrees_with_a_model_and_knows_exactly_what_is_zero)
{
    run_model(1, false);
    run_model(2, false);
}

Test(heap_arena, agrees_with_a_model_while_memory_is_released)
{
    run_model(3, true);
    run_model(4, true);
}

/* ---- order of filling ------------------------------------------------------------------------ */

static size_t fill_chunks(tri_heap *h, size_t nchunks)
{
    for (size_t i = 0; i < nchunks * HEAP_CHUNK_PAGES; i++)
        cr_assert_eq(alloc(h, 1), i, "a fresh heap is filled from its start");
    return nchunks * HEAP_CHUNK_PAGES;
}

static void free_scattered(tri_heap *h, size_t chunk, size_t count)
{
    for (size_t i = 0; i < count; i++)
        heap_pages_free(h, chunk * HEAP_CHUNK_PAGES + 2 * i, 1);
}

Test(heap_arena, fills_the_fullest_chunk_first_and_the_lowest_of_equals)
{
    tri_heap h;
    open_heap(&h, 64 * MIB);
    fill_chunks(&h, 4);
    free_scattered(&h, 0, 10);
    free_scattered(&h, 1, 5);
    free_scattered(&h, 2, 5);
    free_scattered(&h, 3, 7);
    for (size_t i = 0; i < 5; i++)
        cr_assert_eq(alloc(&h, 1), HEAP_CHUNK_PAGES + 2 * i);
    for (size_t i = 0; i < 5; i++)
        cr_assert_eq(alloc(&h, 1), 2 * HEAP_CHUNK_PAGES + 2 * i);
    for (size_t i = 0; i < 7; i++)
        cr_assert_eq(alloc(&h, 1), 3 * HEAP_CHUNK_PAGES + 2 * i);
    for (size_t i = 0; i < 10; i++)
        cr_assert_eq(alloc(&h, 1), 2 * i);
    close_heap(&h);
}

Test(heap_arena, passes_over_fuller_chunks_without_room_in_one_piece)
{
    tri_heap h;
    open_heap(&h, 64 * MIB);
    fill_chunks(&h, 3);
    free_scattered(&h, 0, 20);
    heap_pages_free(&h, HEAP_CHUNK_PAGES + 100, 30);
    free_scattered(&h, 2, 40);
    heap_pages_free(&h, 2 * HEAP_CHUNK_PAGES + 200, 3);
    cr_assert_eq(alloc(&h, 3), HEAP_CHUNK_PAGES + 100);
    cr_assert_eq(alloc(&h, 27), HEAP_CHUNK_PAGES + 103);
    cr_assert_eq(alloc(&h, 3), 2 * HEAP_CHUNK_PAGES + 200);
    close_heap(&h);
}

Test(heap_arena, always_picks_the_fullest_chunk_that_fits)
{
    tri_heap h;
    open_heap(&h, 256 * MIB);
    size_t npages = 64 * HEAP_CHUNK_PAGES;
    bool *used = calloc(npages, 1);
    uint64_t rng = 7;
    fill_chunks(&h, 64);
    memset(used, 1, npages);
    for (size_t chunk = 0; chunk < 63; chunk++)
        for (uint32_t i = 0, n = 1 + os_random_below(&rng, 120); i < n; i++) {
            size_t page = chunk * HEAP_CHUNK_PAGES + os_random_below(&rng, HEAP_CHUNK_PAGES);
            if (used[page])
                heap_pages_free(&h, page, 1);
            used[page] = false;
        }
    for (int round = 0; round < 400; round++) {
        size_t want = 1 + os_random_below(&rng, 4), best = HEAP_NO_PAGE, best_free = SIZE_MAX;
        for (size_t chunk = 0; chunk < 64; chunk++) {
            size_t nfree = 0, run = 0, longest = 0;
            for (size_t i = chunk * HEAP_CHUNK_PAGES; i < (chunk + 1) * HEAP_CHUNK_PAGES; i++) {
                run = used[i] ? 0 : run + 1;
                longest = run > longest ? run : longest;
                nfree += !used[i];
            }
            if (longest >= want && nfree < best_free)
                best = chunk, best_free = nfree;
        }
        size_t got = alloc(&h, want);
        cr_assert_eq(got / HEAP_CHUNK_PAGES, best == HEAP_NO_PAGE ? 64 : best);
        if (got < npages)
            memset(used + got, 1, want);
        else
            heap_pages_free(&h, got, want);
    }
    free(used);
    close_heap(&h);
}

Test(heap_arena, prefers_warm_chunks_and_warm_pages_to_released_ones)
{
    tri_heap h;
    open_heap(&h, 64 * MIB);
    size_t a = alloc(&h, HEAP_CHUNK_PAGES), b = alloc(&h, HEAP_CHUNK_PAGES);
    heap_pages_free(&h, a, HEAP_CHUNK_PAGES);
    cr_assert_eq(heap_scavenge(&h, SIZE_MAX), HEAP_CHUNK);
    heap_pages_free(&h, b, HEAP_CHUNK_PAGES);
    cr_assert_eq(alloc(&h, 1), b, "the lower chunk is cold");
    cr_assert_eq(alloc(&h, HEAP_CHUNK_PAGES), a);
    heap_pages_free(&h, a, 32);
    cr_assert_gt(heap_scavenge(&h, SIZE_MAX), 0);
    heap_pages_free(&h, a + 100, 4);
    cr_assert_eq(alloc(&h, 4), a + 100, "the lower pages are cold");
    close_heap(&h);
}

/* ---- large spans ----------------------------------------------------------------------------- */

Test(heap_arena, large_spans_find_room_in_a_fragmented_heap)
{
    tri_heap h;
    open_heap(&h, 64 * MIB);
    size_t n = fill_chunks(&h, 32);
    cr_assert_eq(alloc(&h, 1), HEAP_NO_PAGE, "the reservation is used up");
    for (size_t i = 4 * HEAP_CHUNK_PAGES; i < n; i++)
        if (i % HEAP_CHUNK_PAGES || i / HEAP_CHUNK_PAGES % 8)
            heap_pages_free(&h, i, 1);
    cr_assert_eq(alloc(&h, 8 * HEAP_CHUNK_PAGES), HEAP_NO_PAGE, "7 chunks in a row are free");
    cr_assert_eq(alloc(&h, 7 * HEAP_CHUNK_PAGES), 9 * HEAP_CHUNK_PAGES);
    cr_assert_eq(alloc(&h, 3 * HEAP_CHUNK_PAGES), 5 * HEAP_CHUNK_PAGES - HEAP_CHUNK_PAGES);
    close_heap(&h);
}

Test(heap_arena, small_spans_use_what_a_large_one_leaves)
{
    tri_heap h;
    open_heap(&h, 64 * MIB);
    cr_assert_eq(alloc(&h, HEAP_CHUNK_PAGES + 1), 0);
    cr_assert_eq(alloc(&h, 1), HEAP_CHUNK_PAGES + 1);
    cr_assert_eq(alloc(&h, 3 * HEAP_CHUNK_PAGES), 2 * HEAP_CHUNK_PAGES);
    heap_pages_free(&h, 0, HEAP_CHUNK_PAGES + 1);
    cr_assert_eq(stats_of(&h).inuse, (3 * HEAP_CHUNK_PAGES + 1) * HEAP_PAGE);
    close_heap(&h);
}

Test(heap_arena, growth_uses_the_free_chunks_at_the_end)
{
    tri_heap h;
    open_heap(&h, 64 * MIB);
    alloc(&h, 1);
    size_t b = alloc(&h, 3 * HEAP_CHUNK_PAGES);
    heap_pages_free(&h, b, 3 * HEAP_CHUNK_PAGES);
    cr_assert_eq(alloc(&h, 31 * HEAP_CHUNK_PAGES), HEAP_CHUNK_PAGES);
    cr_assert_eq(stats_of(&h).sys, 64 * MIB);
    cr_assert_eq(alloc(&h, 32 * HEAP_CHUNK_PAGES + 1), HEAP_NO_PAGE);
    close_heap(&h);
}

/* ---- limits ---------------------------------------------------------------------------------- */

Test(heap_arena, never_uses_more_than_the_hard_limit)
{
    tri_heap h;
    open_heap(&h, 64 * MIB);
    size_t limit = 5 * MIB + 3 * HEAP_PAGE, n = 0;
    atomic_store(&h.hard_limit, limit);
    cr_assert_eq(alloc(&h, limit / HEAP_PAGE + 1), HEAP_NO_PAGE);
    while (alloc(&h, 1) != HEAP_NO_PAGE)
        n++;
    cr_assert_eq(n, limit / HEAP_PAGE);
    heap_pages_free(&h, 17, 1);
    cr_assert_eq(alloc(&h, 1), 17);
    cr_assert_eq(alloc(&h, 1), HEAP_NO_PAGE);
    atomic_store(&h.hard_limit, 0);
    cr_assert_neq(alloc(&h, 1), HEAP_NO_PAGE);
    atomic_store(&h.hard_limit, MIB);
    cr_assert_eq(alloc(&h, 1), HEAP_NO_PAGE, "a limit below what is in use allows nothing more");
    close_heap(&h);
}

Test(heap_arena, gives_up_other_memory_before_it_holds_more_than_the_hard_limit)
{
    tri_heap h;
    open_heap(&h, 64 * MIB);
    atomic_store(&h.hard_limit, 8 * MIB);
    size_t n = fill_chunks(&h, 4);
    for (size_t i = 0; i < n; i++) {
        page_words(&h, i)[0] = 1;
        if (i % 128 < 127)
            heap_pages_free(&h, i, 1);
    }
    cr_assert_eq(stats_of(&h).released, 0);
    size_t large = alloc(&h, 3 * HEAP_CHUNK_PAGES);
    cr_assert_eq(large, n);
    heap_arena_stats s = stats_of(&h);
    cr_assert_leq(s.sys - s.released, 8 * MIB);
    cr_assert_eq(s.sys, 14 * MIB);
    close_heap(&h);
}

static void alloc_one_chunk(void *arg)
{
    size_t *out = arg;
    tri_heap *h = (tri_heap *)out[0];
    out[1] = alloc(h, HEAP_CHUNK_PAGES);
}

Test(heap_arena, waits_for_pages_in_the_scavengers_hands_rather_than_fail)
{
    tri_heap h;
    open_heap(&h, 2 * MIB);
    cr_assert_eq(alloc(&h, HEAP_CHUNK_PAGES), 0);
    heap_pages_free(&h, 0, HEAP_CHUNK_PAGES);
    heap_idle idle;
    cr_assert(heap_arena_take_idle(&h, &idle));
    cr_assert_eq(idle.npages, HEAP_CHUNK_PAGES);
    size_t out[2] = {(size_t)&h, 12345};
    os_thread t;
    cr_assert_eq(os_thread_start(&t, alloc_one_chunk, out, "alloc", 0), 0);
    os_sleep_ns(20000000);
    cr_assert_eq(heap_arena_return_idle(&h, &idle, false), 0);
    os_thread_join(&t);
    cr_assert_eq(out[1], 0);
    close_heap(&h);
}

static int64_t waited;
static void note_wait(tri_heap *h, int64_t ns)
{
    (void)h;
    waited += ns;
}

Test(heap_arena, reports_how_long_a_mutator_waited_for_the_lock)
{
    tri_heap h;
    open_heap(&h, 64 * MIB);
    h.hooks.lock_waited = note_wait;
    alloc(&h, 1);
    cr_assert_eq(waited, 0, "nobody held the lock");
    heap_arena_fork_prepare(&h);
    size_t out[2] = {(size_t)&h, 0};
    os_thread t;
    cr_assert_eq(os_thread_start(&t, alloc_one_chunk, out, "alloc", 0), 0);
    os_sleep_ns(50000000);
    heap_arena_fork_done(&h);
    os_thread_join(&t);
    cr_assert_gt(waited, 1000000);
    cr_assert_eq(out[1], HEAP_CHUNK_PAGES);
    close_heap(&h);
}

/* ---- what tools see -------------------------------------------------------------------------- */

Test(heap_arena, free_pages_are_out_of_bounds_and_poisoned_where_a_tool_can_tell)
{
    tri_heap h;
    open_heap(&h, 64 * MIB);
    size_t first = alloc(&h, 2);
    page_words(&h, first)[0] = 1;
    page_words(&h, first + 1)[0] = 1;
    heap_pages_free(&h, first, 1);
#ifdef HEAP_ASAN
    cr_assert(__asan_address_is_poisoned(page_words(&h, first)));
    cr_assert(__asan_address_is_poisoned(page_words(&h, first + 2)), "never used");
    cr_assert_not(__asan_address_is_poisoned(page_words(&h, first + 1)));
#endif
#ifdef HEAP_VALGRIND
    uint64_t undefined = 1;
    if (heap_on_valgrind()) {
        cr_assert_eq(VALGRIND_GET_VBITS(page_words(&h, first), &undefined, 8), 3, "addressable");
        cr_assert_eq(VALGRIND_GET_VBITS(page_words(&h, first + 2), &undefined, 8), 3, "never used");
        cr_assert_eq(VALGRIND_GET_VBITS(page_words(&h, first + 1), &undefined, 8), 1);
        cr_assert_eq(undefined, 0);
    }
#endif
#if defined(TRI_TORTURE) && !defined(HEAP_ASAN)
    if (!heap_on_valgrind())
        cr_assert_eq(page_words(&h, first)[0], 0xdbdbdbdbdbdbdbdbu);
#endif
    bool zeroed;
    cr_assert_eq(heap_pages_alloc(&h, 1, &zeroed), first);
    page_words(&h, first)[1] = 1;
#ifdef HEAP_VALGRIND
    if (heap_on_valgrind()) {
        cr_assert_eq(VALGRIND_GET_VBITS(page_words(&h, first), &undefined, 8), 1);
        cr_assert_eq(undefined, UINT64_MAX, "pages with old contents are not defined");
    }
#endif
    close_heap(&h);
}

/* ---- the reservation ------------------------------------------------------------------------- */

Test(heap_arena, the_reservation_is_as_large_as_asked_for)
{
    tri_heap h;
    open_heap(&h, 5 * MIB);
    cr_assert_eq(h.reserved, 6 * MIB);
    cr_assert_eq(h.base % HEAP_CHUNK, 0);
    close_heap(&h);
    cr_assert_eq(h.base, 0);
}

Test(heap_arena, a_limited_address_space_makes_the_reservation_smaller)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    cr_skip_test("sanitizers need their address space");
#endif
    struct rlimit limit = {(rlim_t)6 << 30, (rlim_t)6 << 30};
    cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);
    tri_heap h;
    open_heap(&h, 0);
    cr_assert_leq(h.reserved, (size_t)3 << 30, "the rest of the process needs some, too");
    cr_assert_geq(h.reserved, 64 * MIB);
    cr_assert_neq(alloc(&h, 1), HEAP_NO_PAGE);
    close_heap(&h);
}

static void need_faults(void)
{
    if (os_fault_configure("vm.none:1") == -ENOSYS)
        cr_skip_test("faults are compiled out");
}

Test(heap_arena, halves_the_reservation_until_there_is_room_for_it)
{
    need_faults();
    tri_heap h;
    cr_assert_eq(os_fault_configure("vm.reserve:1,vm.reserve:2"), 0);
    open_heap(&h, 1024 * MIB);
    os_fault_configure(NULL);
    cr_assert_eq(h.reserved, 256 * MIB);
    close_heap(&h);
    cr_assert_eq(os_fault_configure("vm.reserve:*"), 0);
    h.options.reserve = 0;
    cr_assert_eq(heap_arena_open(&h), -ENOMEM);
    cr_assert_eq(os_fault_configure("vm.reserve_rw:*"), 0);
    cr_assert_eq(heap_arena_open(&h), -ENOMEM);
    cr_assert_eq(h.base, 0);
    cr_assert_eq(os_fault_configure("alloc:*"), 0);
    cr_assert_eq(heap_arena_open(&h), -ENOMEM);
    os_fault_configure(NULL);
}

/* ---- failures -------------------------------------------------------------------------------- */

Test(heap_arena, a_failed_growth_changes_nothing)
{
    need_faults();
    tri_heap h;
    open_heap(&h, 64 * MIB);
    alloc(&h, 1);
    size_t b = alloc(&h, 2 * HEAP_CHUNK_PAGES);
    heap_pages_free(&h, b, 2 * HEAP_CHUNK_PAGES);
    heap_arena_stats before = stats_of(&h);
    cr_assert_eq(os_fault_configure("vm.commit:*"), 0);
    cr_assert_eq(alloc(&h, 5 * HEAP_CHUNK_PAGES), HEAP_NO_PAGE);
    heap_arena_check(&h);
    heap_arena_stats after = stats_of(&h);
    cr_assert_arr_eq(&before, &after, sizeof before);
    cr_assert_eq(alloc(&h, HEAP_CHUNK_PAGES), b, "what is grown is usable");
    os_fault_configure(NULL);
    cr_assert_eq(alloc(&h, 30 * HEAP_CHUNK_PAGES), b + HEAP_CHUNK_PAGES);
    close_heap(&h);
}

Test(heap_arena, a_growth_that_takes_more_than_it_needs_tries_again_with_less)
{
    need_faults();
    tri_heap h;
    open_heap(&h, 256 * MIB);
    alloc(&h, 64 * HEAP_CHUNK_PAGES);
    cr_assert_eq(os_fault_configure("vm.commit:1"), 0);
    cr_assert_eq(alloc(&h, 1), 64 * HEAP_CHUNK_PAGES);
    cr_assert_eq(stats_of(&h).sys, 65 * HEAP_CHUNK);
    cr_assert_eq(alloc(&h, HEAP_CHUNK_PAGES), 65 * HEAP_CHUNK_PAGES);
    cr_assert_eq(stats_of(&h).sys, 70 * HEAP_CHUNK, "four more than needed");
    os_fault_configure(NULL);
    close_heap(&h);
}

Test(heap_arena, agrees_with_a_model_while_system_calls_fail)
{
    need_faults();
    tri_heap h;
    open_heap(&h, 128 * MIB);
    model *m = model_new(&h, 11);
    static const char *const rules[] = {"vm.commit:2", "vm.*:3+",      NULL,         "vm.release:*",
                                        "vm.huge:*",   "vm.no_huge:*", "vm.commit:*"};
    for (size_t step = 0; step < 8000; step++) {
        if (step % 50 == 0)
            os_fault_configure(rules[step / 50 % 7]);
        model_step(m, step, true);
    }
    os_fault_configure(NULL);
    model_free_all(m);
    model_delete(m);
    close_heap(&h);
}

/* ---- threads --------------------------------------------------------------------------------- */

typedef struct hammer {
    tri_heap *h;
    uint64_t id;
    uint64_t allocated, refused;
    _Atomic bool *stop;
} hammer;

static void mark_span(tri_heap *h, span s, uint64_t id)
{
    for (size_t i = s.first; i < s.first + s.npages; i++)
        page_words(h, i)[0] = id;
}

static void check_span(tri_heap *h, span s, uint64_t id)
{
    for (size_t i = s.first; i < s.first + s.npages; i++)
        TRI_CHECK(page_words(h, i)[0] == id, "another thread wrote to our page");
}

static void hammer_run(void *arg)
{
    hammer *w = arg;
    uint64_t rng = w->id;
    span mine[64] = {{0, 0}};
    for (int i = 0; i < 6000; i++) {
        span *s = &mine[os_random_below(&rng, 64)];
        if (s->npages) {
            check_span(w->h, *s, w->id);
            heap_pages_free(w->h, s->first, s->npages);
            s->npages = 0;
            continue;
        }
        size_t n = 1 + os_random_below(&rng, os_random_below(&rng, 20) ? 20 : 600);
        bool zeroed;
        size_t first = heap_pages_alloc(w->h, n, &zeroed);
        if (first == HEAP_NO_PAGE) {
            w->refused++;
            continue;
        }
        if (zeroed)
            TRI_CHECK(page_words(w->h, first)[0] == 0, "zeroed pages are not zero");
        *s = (span){first, n};
        mark_span(w->h, *s, w->id);
        w->allocated++;
    }
    for (size_t i = 0; i < 64; i++)
        if (mine[i].npages) {
            check_span(w->h, mine[i], w->id);
            heap_pages_free(w->h, mine[i].first, mine[i].npages);
        }
}

static void hammer_scavenge(void *arg)
{
    hammer *w = arg;
    while (!atomic_load_explicit(w->stop, memory_order_relaxed)) {
        heap_scavenge(w->h, 1 << 20);
        heap_arena_stats s = stats_of(w->h);
        TRI_CHECK(s.inuse <= 40 * MIB, "more in use than the hard limit");
        TRI_CHECK(s.sys - s.released <= 40 * MIB, "more held than the hard limit");
        os_sleep_ns(20000);
    }
}

Test(heap_arena, threads_never_share_a_page_nor_pass_the_hard_limit)
{
    tri_heap h;
    open_heap(&h, 96 * MIB);
    atomic_store(&h.hard_limit, 40 * MIB);
    _Atomic bool stop = false;
    hammer w[5];
    os_thread t[5];
    for (uint64_t i = 0; i < 5; i++) {
        w[i] = (hammer){&h, i + 1, 0, 0, &stop};
        cr_assert_eq(os_thread_start(&t[i], i ? hammer_run : hammer_scavenge, &w[i], "hammer", 0),
                     0);
    }
    uint64_t allocated = 0;
    for (size_t i = 5; i-- > 1;) {
        os_thread_join(&t[i]);
        allocated += w[i].allocated;
    }
    atomic_store(&stop, true);
    os_thread_join(&t[0]);
    cr_assert_gt(allocated, 5000);
    cr_assert_eq(stats_of(&h).inuse, 0);
    close_heap(&h);
}

Test(heap_arena, threads_survive_each_others_failed_growths)
{
    need_faults();
    tri_heap h;
    _Atomic bool stop = false;
    hammer w[4];
    os_thread t[4];
    open_heap(&h, 256 * MIB);
    cr_assert_eq(os_fault_configure("vm.commit:2,vm.commit:3,vm.commit:5,vm.commit:6,vm.commit:9,"
                                    "vm.commit:11,vm.commit:14,vm.commit:17"),
                 0);
    for (uint64_t i = 0; i < 4; i++) {
        w[i] = (hammer){&h, i + 1, 0, 0, &stop};
        cr_assert_eq(os_thread_start(&t[i], hammer_run, &w[i], "hammer", 0), 0);
    }
    uint64_t refused = 0;
    for (size_t i = 0; i < 4; i++) {
        os_thread_join(&t[i]);
        refused += w[i].refused;
    }
    os_fault_configure(NULL);
    cr_assert_gt(refused, 0);
    cr_assert_eq(alloc(&h, h.reserved / HEAP_PAGE), 0, "all of it can still be had");
    heap_pages_free(&h, 0, h.reserved / HEAP_PAGE);
    close_heap(&h);
}
