// Virtual memory: what each state of a range allows, and what is given back.

#include "os/vm.h"
#include "os/fault.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MIB = 1 << 20 };

// How a child that writes to p ends: 0, or the signal.
static int touch_in_child(volatile char *p)
{
    pid_t pid = fork();
    if (pid == 0) {
        // Sanitizers and Criterion have handlers of their own.
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
        *p = 1;
        _exit(0);
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}

Test(os_vm, a_reservation_is_aligned_and_costs_nothing)
{
    for (size_t align = 1; align <= (size_t)64 * MIB; align *= 2) {
        char *p = os_reserve((size_t)3 * MIB, align);
        cr_assert(p);
        cr_assert_eq((uintptr_t)p % align, 0);
        cr_assert_eq(os_resident(p, (size_t)3 * MIB), 0);
        os_unreserve(p, (size_t)3 * MIB);
    }
}

Test(os_vm, a_quarter_of_a_tebibyte_can_be_reserved)
{
    size_t size = (size_t)256 << 30;
    char *p = os_reserve(size, (size_t)2 * MIB);
    if (!p && (os_address_limit() != SIZE_MAX || getenv("LD_PRELOAD")))
        cr_skip_test("address space is limited, or Valgrind's");
    cr_assert(p);
    cr_assert_eq(os_commit(p + size - MIB, MIB), 0);
    p[size - 1] = 1;
    os_unreserve(p, size);
}

Test(os_vm, a_reservation_with_a_bad_alignment_or_no_size_is_refused)
{
    cr_assert_null(os_reserve(MIB, 3 * 4096));
    cr_assert_null(os_reserve(0, 0));
    cr_assert_null(os_reserve(SIZE_MAX - 4096, (size_t)2 * MIB));
}

Test(os_vm, reserved_memory_faults_until_it_is_committed)
{
    char *p = os_reserve(MIB, 0);
    cr_assert_eq(touch_in_child(p + 5000), SIGSEGV);
    cr_assert_eq(os_commit(p, MIB), 0);
    cr_assert_eq(touch_in_child(p + 5000), 0);
    cr_assert_eq(p[5000], 0);
    cr_assert_eq(os_commit(p, MIB), 0);
    os_unreserve(p, MIB);
    cr_assert_eq(touch_in_child(p), SIGSEGV);
}

Test(os_vm, a_side_table_reads_as_zero_and_is_backed_page_by_page)
{
    size_t size = (size_t)1024 * MIB;
    char *p = os_reserve_rw(size, 0);
    cr_assert(p);
    os_no_huge(p, size);
    cr_assert_eq(os_resident(p, size), 0);
    p[size / 2] = 1;
    cr_assert_eq(os_resident(p, size), os_page_size());
    cr_assert_eq(p[size - 1], 0);
    os_unreserve(p, size);
}

Test(os_vm, releasing_gives_the_memory_back_at_once_and_leaves_zeroes)
{
    size_t size = (size_t)32 * MIB;
    char *p = os_reserve(size, (size_t)2 * MIB);
    cr_assert_eq(os_commit(p, size), 0);
    memset(p, 0x5a, size);
    size_t before = os_rss();
    cr_assert_eq(os_resident(p, size), size);
    cr_assert_eq(os_release(p, size / 2), 0);
    cr_assert_eq(os_resident(p, size), size / 2);
    cr_assert_lt(os_rss(), before - size / 4);
    cr_assert_eq(p[0], 0);
    cr_assert_eq(p[size / 2 - 1], 0);
    cr_assert_eq(p[size / 2], 0x5a);
}

Test(os_vm, populating_backs_every_page_and_keeps_the_contents)
{
    char *p = os_reserve_rw(MIB, 0);
    p[4096] = 7;
    cr_assert_eq(os_populate(p, MIB), 0);
    cr_assert_eq(os_resident(p, MIB), MIB);
    cr_assert_eq(p[4096], 7);
}

static void check_guards(void)
{
    size_t page = os_page_size();
    char *p = os_reserve_rw(4 * page, 0);
    memset(p, 1, 4 * page);
    cr_assert_eq(os_guard(p + page, page), 0);
    cr_assert_eq(touch_in_child(p + page - 1), 0);
    cr_assert_eq(touch_in_child(p + page), SIGSEGV);
    cr_assert_eq(touch_in_child(p + 2 * page - 1), SIGSEGV);
    cr_assert_eq(touch_in_child(p + 2 * page), 0);
    cr_assert_eq(os_resident(p, 4 * page), 3 * page);
    cr_assert_eq(os_unguard(p + page, page), 0);
    cr_assert_eq(p[page], 0, "the contents of a guarded page are lost");
    p[page] = 2;
    cr_assert_eq(p[2 * page], 1);
}

Test(os_vm, a_guard_faults_until_it_is_taken_away)
{
    check_guards();
}

#ifdef TRI_FAULTS

Test(os_vm, guards_work_on_kernels_without_guard_marks)
{
    cr_assert_eq(os_fault_configure("vm.guard_install:*:EINVAL,vm.guard_remove:*:EINVAL"), 0);
    check_guards();
}

Test(os_vm, a_guard_made_by_protection_is_undone_when_marks_work_later)
{
    char *p = os_reserve_rw(MIB, 0);
    cr_assert_not_null(p);
    cr_assert_eq(os_fault_configure("vm.guard_install:1:EINVAL"), 0);
    cr_assert_eq(os_guard(p, 4096), 0);
    cr_assert_eq(os_unguard(p, 4096), 0);
    p[0] = 1;
}

Test(os_vm, populating_works_on_kernels_that_cannot)
{
    cr_assert_eq(os_fault_configure("vm.populate_write:*:EINVAL"), 0);
    char *p = os_reserve_rw(MIB, 0);
    p[4096] = 7;
    cr_assert_eq(os_populate(p, MIB), 0);
    cr_assert_eq(os_resident(p, MIB), MIB);
    cr_assert_eq(p[4096], 7);
}

Test(os_vm, every_call_can_be_made_to_fail)
{
    char *p = os_reserve_rw(MIB, 0);
    cr_assert_eq(os_fault_configure("vm.*:*:EAGAIN"), 0);
    cr_assert_null(os_reserve(MIB, 0));
    cr_assert_eq(errno, EAGAIN);
    cr_assert_null(os_reserve_rw(MIB, 0));
    cr_assert_eq(os_commit(p, MIB), -EAGAIN);
    cr_assert_eq(os_release(p, MIB), -EAGAIN);
    cr_assert_eq(os_populate(p, MIB), -EAGAIN);
    cr_assert_eq(os_guard(p, MIB), -EAGAIN);
    cr_assert_eq(os_unguard(p, MIB), -EAGAIN);
    cr_assert_eq(os_huge(p, MIB), -EAGAIN);
    cr_assert_eq(os_no_huge(p, MIB), -EAGAIN);
}

#endif

Test(os_vm, guards_split_no_mapping_where_the_kernel_can)
{
    // 70,000 guards are more than vm.max_map_count allows by default if each splits a mapping.
    size_t page = os_page_size(), n = 70000;
    char *p = os_reserve_rw(2 * n * page, 0);
    if (madvise(p, page, 102) != 0)
        cr_skip_test("this kernel has no guard marks");
    for (size_t i = 0; i < n; i++)
        cr_assert_eq(os_guard(p + 2 * i * page, page), 0, "guard %zu", i);
    cr_assert_eq(touch_in_child(p + 2 * (n - 1) * page), SIGSEGV);
}

Test(os_vm, residency_counts_holes_as_nothing_and_takes_odd_ends)
{
    size_t page = os_page_size();
    char *p = os_reserve_rw(64 * page, 0);
    os_no_huge(p, 64 * page);
    memset(p, 1, 64 * page);
    os_unreserve(p + 10 * page, 7 * page);
    cr_assert_eq(os_resident(p, 64 * page), 57 * page);
    cr_assert_eq(os_resident(p + 1, page), 2 * page);
    cr_assert_eq(os_resident(p + 11 * page, 3 * page), 0);
}

Test(os_vm, the_limits_are_those_of_the_system)
{
    cr_assert_gt(os_memory_total(), (size_t)16 * MIB);
    cr_assert_leq(os_memory_total(), (size_t)sysconf(_SC_PHYS_PAGES) * os_page_size());
    cr_assert_gt(os_rss(), 100000);
    cr_assert_lt(os_rss(), os_memory_total());
}

Test(os_vm, an_address_space_limit_is_seen_and_makes_reservations_fail)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    cr_skip_test("the sanitizer's own address space is beyond any limit");
#endif
    struct rlimit r = {(rlim_t)4 << 30, RLIM_INFINITY};
    cr_assert_eq(setrlimit(RLIMIT_AS, &r), 0);
    cr_assert_eq(os_address_limit(), (size_t)4 << 30);
    cr_assert_null(os_reserve((size_t)8 << 30, 0));
    cr_assert_eq(errno, ENOMEM);
}
