/* What the scavenger gives back, in which order, and how much it thinks is due. */
#include "pages.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "heap/scavenger.h"
#include "os/fault.h"
#include "os/vm.h"

/* Everything grown that is not counted as released is resident, if all of it was touched. */
static void check_resident(tri_heap *h)
{
    heap_arena_stats s = stats_of(h);
    cr_assert_eq(all_resident(h), s.sys - s.released);
}

/* ---- what goes ------------------------------------------------------------------------------- */

Test(heap_scavenger, released_memory_is_no_longer_resident)
{
    tri_heap h;
    open_heap(&h, 128 * MIB);
    size_t first = alloc_touched(&h, 32 * HEAP_CHUNK_PAGES);
    check_resident(&h);
    size_t before = os_rss();
    cr_assert_eq(heap_scavenge(&h, SIZE_MAX), released(&h), "what is in use stays");
    heap_pages_free(&h, first, 32 * HEAP_CHUNK_PAGES);
    size_t was = released(&h);
    cr_assert_eq(heap_scavenge(&h, 10 * MIB), 10 * MIB);
    cr_assert_eq(released(&h), was + 10 * MIB);
    check_resident(&h);
    cr_assert_eq(heap_scavenge(&h, SIZE_MAX), 54 * MIB);
    check_resident(&h);
    cr_assert_eq(all_resident(&h), 0);
    cr_assert_lt(os_rss() + 50 * MIB, before, "the process did not shrink");
    cr_assert_eq(heap_scavenge(&h, SIZE_MAX), 0, "nothing is left to release");
    close_heap(&h);
}

Test(heap_scavenger, memory_never_touched_counts_as_released_until_its_chunk_is_used)
{
    tri_heap h;
    open_heap(&h, 256 * MIB);
    bool zeroed;
    heap_pages_alloc(&h, 32 * HEAP_CHUNK_PAGES, &zeroed);
    cr_assert_eq(released(&h), 0);
    heap_pages_alloc(&h, 1, &zeroed);
    heap_arena_stats s = stats_of(&h);
    cr_assert_eq(s.sys, 35 * HEAP_CHUNK, "two chunks more than needed");
    cr_assert_eq(s.released, 2 * HEAP_CHUNK);
    close_heap(&h);
}

Test(heap_scavenger, reused_memory_is_zero_and_no_longer_released)
{
    tri_heap h;
    open_heap(&h, 64 * MIB);
    size_t first = alloc_touched(&h, 64);
    alloc_touched(&h, HEAP_CHUNK_PAGES - 64);
    heap_pages_free(&h, first, 64);
    cr_assert_eq(heap_scavenge(&h, SIZE_MAX), 64 * HEAP_PAGE);
    bool zeroed = false;
    cr_assert_eq(heap_pages_alloc(&h, 24, &zeroed), first);
    cr_assert(zeroed);
    for (size_t i = 0; i < 24 * HEAP_PAGE; i++)
        cr_assert_eq(address(&h, first)[i], 0);
    cr_assert_eq(released(&h), 40 * HEAP_PAGE);
    heap_pages_free(&h, first, 24);
    cr_assert_eq(released(&h), 40 * HEAP_PAGE);
    cr_assert_eq(heap_pages_alloc(&h, 64, &zeroed), first);
    cr_assert_not(zeroed, "a part of it was in use");
    cr_assert_eq(released(&h), 0);
    close_heap(&h);
}

Test(heap_scavenger, whole_chunks_go_before_parts_and_the_highest_first)
{
    tri_heap h;
    open_heap(&h, 64 * MIB);
    size_t n = 4 * HEAP_CHUNK_PAGES;
    alloc_touched(&h, n);
    heap_pages_free(&h, 0, HEAP_CHUNK_PAGES);
    heap_pages_free(&h, HEAP_CHUNK_PAGES, HEAP_CHUNK_PAGES);
    heap_pages_free(&h, 3 * HEAP_CHUNK_PAGES, HEAP_CHUNK_PAGES - 1);
    cr_assert_eq(heap_scavenge(&h, 1), HEAP_CHUNK, "no huge page is split");
    cr_assert_eq(resident(&h, HEAP_CHUNK_PAGES, HEAP_CHUNK_PAGES), 0);
    cr_assert_eq(resident(&h, 0, HEAP_CHUNK_PAGES), HEAP_CHUNK);
    cr_assert_eq(heap_scavenge(&h, 1), HEAP_CHUNK);
    cr_assert_eq(resident(&h, 0, HEAP_CHUNK_PAGES), 0);
    cr_assert_eq(resident(&h, 3 * HEAP_CHUNK_PAGES, HEAP_CHUNK_PAGES), HEAP_CHUNK);
    cr_assert_eq(heap_scavenge(&h, 1), HEAP_CHUNK - HEAP_PAGE);
    check_resident(&h);
    close_heap(&h);
}

Test(heap_scavenger, parts_go_from_the_emptiest_chunk_and_only_if_64_KiB_long)
{
    tri_heap h;
    open_heap(&h, 64 * MIB);
    size_t n = HEAP_CHUNK_PAGES;
    alloc_touched(&h, 3 * n);
    heap_pages_free(&h, 10, 8);
    heap_pages_free(&h, 30, 7);
    heap_pages_free(&h, n + 50, 20);
    for (size_t i = 0; i < n; i += 8)
        heap_pages_free(&h, 2 * n + i, 7);
    cr_assert_eq(heap_scavenge(&h, 1), 20 * HEAP_PAGE);
    cr_assert_eq(resident(&h, n + 50, 20), 0);
    cr_assert_eq(heap_scavenge(&h, 1), 8 * HEAP_PAGE);
    cr_assert_eq(resident(&h, 10, 8), 0);
    cr_assert_eq(heap_scavenge(&h, SIZE_MAX), 0, "shorter runs are kept");
    check_resident(&h);
    close_heap(&h);
}

Test(heap_scavenger, a_torn_chunk_that_drains_is_released_and_used_as_a_whole)
{
    tri_heap h;
    open_heap(&h, 64 * MIB);
    alloc_touched(&h, HEAP_CHUNK_PAGES);
    heap_pages_free(&h, 0, 100);
    cr_assert_eq(heap_scavenge(&h, SIZE_MAX), 100 * HEAP_PAGE);
    check_resident(&h);
    heap_pages_free(&h, 100, 156);
    cr_assert_eq(heap_scavenge(&h, SIZE_MAX), 156 * HEAP_PAGE, "only what was not released yet");
    check_resident(&h);
    cr_assert_eq(released(&h), HEAP_CHUNK);
    bool zeroed = false;
    cr_assert_eq(heap_pages_alloc(&h, 1, &zeroed), 0);
    cr_assert(zeroed);
    cr_assert_eq(released(&h), 0, "a huge page may back all of it");
    close_heap(&h);
}

/* Whether the kernel's flags of the mapping around p contain `flag`. */
static bool mapping_has(const void *p, const char *flag)
{
    FILE *f = fopen("/proc/self/smaps", "r");
    char line[512];
    bool inside = false, has = false;
    cr_assert(f);
    while (fgets(line, sizeof line, f)) {
        uintptr_t lo, hi;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &lo, &hi) == 2)
            inside = (uintptr_t)p >= lo && (uintptr_t)p < hi;
        else if (inside && strncmp(line, "VmFlags:", 8) == 0)
            has = strstr(line, flag) != NULL;
    }
    fclose(f);
    return has;
}

Test(heap_scavenger, the_kernel_is_told_not_to_fill_the_holes_of_a_torn_chunk_again)
{
    tri_heap h;
    open_heap(&h, 64 * MIB);
    alloc_touched(&h, HEAP_CHUNK_PAGES);
    if (!mapping_has(address(&h, 0), " hg"))
        cr_skip_test("this kernel has no huge pages");
    heap_pages_free(&h, 32, 32);
    heap_scavenge(&h, SIZE_MAX);
    cr_assert(mapping_has(address(&h, 32), " nh"));
    heap_pages_free(&h, 0, 32);
    heap_pages_free(&h, 64, HEAP_CHUNK_PAGES - 64);
    heap_scavenge(&h, SIZE_MAX);
    alloc_touched(&h, 1);
    cr_assert(mapping_has(address(&h, 32), " hg"), "used as a whole, it may be huge again");
    close_heap(&h);
}

Test(heap_scavenger, a_failed_release_counts_as_nothing_and_makes_memory_dirty)
{
    if (os_fault_configure("vm.none:1") == -ENOSYS)
        cr_skip_test("faults are compiled out");
    tri_heap h;
    open_heap(&h, 64 * MIB);
    alloc_touched(&h, 2 * HEAP_CHUNK_PAGES);
    heap_pages_free(&h, 0, 2 * HEAP_CHUNK_PAGES);
    cr_assert_eq(os_fault_configure("vm.release:*"), 0);
    cr_assert_eq(heap_scavenge(&h, SIZE_MAX), 0);
    cr_assert_eq(released(&h), 0);
    os_fault_configure(NULL);
    bool zeroed = true;
    cr_assert_neq(heap_pages_alloc(&h, HEAP_CHUNK_PAGES, &zeroed), HEAP_NO_PAGE);
    cr_assert_not(zeroed);
    cr_assert_eq(heap_scavenge(&h, SIZE_MAX), HEAP_CHUNK);
    close_heap(&h);
}

/* ---- how much is due ------------------------------------------------------------------------- */

static heap_scavenge_view view(void)
{
    return (heap_scavenge_view){.held = 200 * MIB,
                                .inuse = 50 * MIB,
                                .goal = 100 * MIB,
                                .last_goal = 100 * MIB,
                                .last_inuse = 100 * MIB};
}

Test(heap_scavenger, keeps_a_tenth_more_than_the_last_cycle_needed)
{
    heap_scavenge_view v = view();
    cr_assert_eq(heap_scavenge_due(&v), 90 * MIB);
    v.held = 110 * MIB;
    cr_assert_eq(heap_scavenge_due(&v), 0);
    v.held = 110 * MIB + 1000;
    cr_assert_eq(heap_scavenge_due(&v), 0, "too little to be worth a call");
}

Test(heap_scavenger, keeps_in_proportion_to_the_heap_goal)
{
    heap_scavenge_view v = view();
    v.goal = 50 * MIB;
    cr_assert_eq(heap_scavenge_due(&v), 145 * MIB);
    v.goal = 180 * MIB;
    cr_assert_eq(heap_scavenge_due(&v), 2 * MIB);
    v.goal = 400 * MIB;
    cr_assert_eq(heap_scavenge_due(&v), 0);
    v.goal = UINT64_MAX;
    v.last_goal = 1;
    cr_assert_eq(heap_scavenge_due(&v), 0, "collection is off");
}

Test(heap_scavenger, keeps_everything_before_the_first_cycle_unless_a_limit_says_otherwise)
{
    heap_scavenge_view v = view();
    v.last_goal = 0;
    cr_assert_eq(heap_scavenge_due(&v), 0);
    v.memory_limit = 100 * MIB;
    cr_assert_eq(heap_scavenge_due(&v), 105 * MIB);
}

Test(heap_scavenger, stays_a_twentieth_below_the_memory_limit_with_all_memory_counted)
{
    heap_scavenge_view v = view();
    v.goal = 1000 * MIB;
    v.memory_limit = 200 * MIB;
    cr_assert_eq(heap_scavenge_due(&v), 10 * MIB);
    v.other_sys = 20 * MIB;
    cr_assert_eq(heap_scavenge_due(&v), 30 * MIB);
    v.other_sys = 500 * MIB;
    cr_assert_eq(heap_scavenge_due(&v), 150 * MIB, "what is in use cannot be released");
    v.memory_limit = 1000 * MIB;
    cr_assert_eq(heap_scavenge_due(&v), 0);
}

Test(heap_scavenger, the_goal_of_a_heap_is_reached_by_releasing_it)
{
    tri_heap h;
    open_heap(&h, 128 * MIB);
    alloc_touched(&h, 20 * HEAP_CHUNK_PAGES);
    heap_arena_note_cycle(&h, 40 * MIB);
    heap_pages_free(&h, 0, 15 * HEAP_CHUNK_PAGES);
    cr_assert_eq(heap_scavenge_goal(&h, 40 * MIB, 0, 0), 0);
    size_t due = heap_scavenge_goal(&h, 20 * MIB, 0, 0);
    uint64_t was = released(&h);
    cr_assert_geq(due + was, 17 * MIB);
    cr_assert_geq(heap_scavenge(&h, due), due);
    cr_assert_eq(heap_scavenge_goal(&h, 20 * MIB, 0, 0), 0);
    cr_assert_gt(heap_scavenge_goal(&h, 20 * MIB, 20 * MIB, 4 * MIB), 0);
    close_heap(&h);
}

Test(heap_scavenger, what_a_cycle_needed_is_kept_for_the_next_ones_for_some_seconds)
{
    int64_t second = 1000000000;
    cr_assert_eq(heap_scavenge_recent(80 * MIB, 8 * MIB, 0), 80 * MIB);
    cr_assert_eq(heap_scavenge_recent(80 * MIB, 8 * MIB, 5 * second), 44 * MIB);
    cr_assert_eq(heap_scavenge_recent(80 * MIB, 8 * MIB, 10 * second), 8 * MIB);
    cr_assert_eq(heap_scavenge_recent(80 * MIB, 8 * MIB, 100 * second), 8 * MIB);
    cr_assert_eq(heap_scavenge_recent(8 * MIB, 80 * MIB, 0), 80 * MIB);

    tri_heap h;
    open_heap(&h, 128 * MIB);
    alloc_touched(&h, 20 * HEAP_CHUNK_PAGES);
    heap_arena_note_cycle(&h, 40 * MIB);
    heap_pages_free(&h, 0, 15 * HEAP_CHUNK_PAGES);
    heap_arena_note_cycle(&h, 40 * MIB);
    heap_arena_stats s = stats_of(&h);
    cr_assert_gt(s.last_inuse, 39 * MIB, "the larger of two cycles counts");
    cr_assert_leq(s.last_inuse, 40 * MIB);
    close_heap(&h);
}

Test(heap_scavenger, works_one_part_in_a_hundred)
{
    cr_assert_eq(heap_scavenge_rest(1000000), 99000000);
    cr_assert_eq(heap_scavenge_rest(0), 0);
}
