// Fault injection: the chosen call fails, and no other.

#include "os/fault.h"
#include "os/memory.h"
#include "os/random.h"
#include "os/vm.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <tricolor/tricolor.h>

#ifdef TRI_FAULTS

static int ask_first(void)
{
    return os_fault_error("test.first");
}

static int ask_second(void)
{
    return os_fault_error("test.second");
}

static int ask_second_elsewhere(void)
{
    return os_fault_error("test.second");
}

Test(os_fault_injection, only_the_nth_call_fails)
{
    cr_assert_eq(os_fault_configure("test.first:3:EAGAIN"), 0);
    for (int i = 1; i <= 6; i++) {
        errno = 0;
        cr_assert_eq(ask_first(), i == 3 ? -EAGAIN : 0);
        cr_assert_eq(errno, i == 3 ? EAGAIN : 0);
        cr_assert_eq(ask_second(), 0);
    }
}

Test(os_fault_injection, a_plus_means_that_one_and_all_later_ones)
{
    cr_assert_eq(os_fault_configure("test.first:3+:11"), 0);
    for (int i = 1; i <= 6; i++)
        cr_assert_eq(ask_first(), i >= 3 ? -11 : 0);
}

Test(os_fault_injection, a_star_means_all_of_them_and_memory_is_the_default_error)
{
    cr_assert_eq(os_fault_configure("test.first:*"), 0);
    cr_assert_eq(ask_first(), -ENOMEM);
    cr_assert_eq(ask_first(), -ENOMEM);
    cr_assert_eq(ask_second(), 0);
    cr_assert_eq(os_fault_configure(NULL), 0);
    cr_assert_eq(ask_first(), 0);
}

Test(os_fault_injection, places_of_one_name_are_counted_together)
{
    cr_assert_eq(os_fault_configure("test.second:2"), 0);
    cr_assert_eq(ask_second(), 0);
    cr_assert_eq(ask_second_elsewhere(), -ENOMEM);
    cr_assert_eq(ask_second(), 0);
}

Test(os_fault_injection, a_prefix_counts_across_its_sites)
{
    cr_assert_eq(os_fault_configure("test.*:2:EIO"), 0);
    cr_assert_eq(ask_first(), 0);
    cr_assert_eq(ask_second(), -EIO);
    cr_assert_eq(ask_first(), 0);
}

Test(os_fault_injection, several_rules_work_side_by_side)
{
    cr_assert_eq(os_fault_configure("test.first:1:EIO,test.second:2:EINTR,alloc:1"), 0);
    cr_assert_eq(ask_second(), 0);
    cr_assert_eq(ask_first(), -EIO);
    cr_assert_eq(ask_second(), -EINTR);
    cr_assert_null(os_alloc(10));
    void *p = os_alloc(10);
    cr_assert_not_null(p);
    os_free(p, 10);
}

Test(os_fault_injection, what_is_not_understood_is_refused_and_changes_nothing)
{
    static const char *const bad[] = {
        "x",
        "x:",
        "x:0",
        ":1",
        "x:1:",
        "x:-1",
        "x:1:E",
        "x:1:ENOMEM:",
        "x:+",
        "x:1,y",
        "x:1:0",
        "x:12345678901234567890",
        "x:1:99999",
        "a name that is much longer than any name of a site that there is, or will ever be, here:1"};
    cr_assert_eq(os_fault_configure("test.first:1"), 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_assert_eq(os_fault_configure(bad[i]), -EINVAL, "%s", bad[i]);
    cr_assert_eq(ask_first(), -ENOMEM);
}

Test(os_fault_injection, a_place_of_a_name_can_be_chosen)
{
    cr_assert_eq(os_fault_configure("test.second@ask_second_elsewhere:2"), 0);
    for (int i = 1; i <= 3; i++) {
        cr_assert_eq(ask_second(), 0);
        cr_assert_eq(ask_second_elsewhere(), i == 2 ? -ENOMEM : 0);
    }
    cr_assert_eq(os_fault_configure("test.second@ask_second_else*:1"), 0);
    cr_assert_eq(ask_second(), 0);
    cr_assert_eq(ask_second_elsewhere(), -ENOMEM);
}

static int ask_twice(void)
{
    int first = os_fault_error("test.twice");
    return 2 * !first + !os_fault_error("test.twice");
}

Test(os_fault_injection, places_in_one_function_are_numbered)
{
    cr_assert_eq(os_fault_configure("test.twice@ask_twice:1"), 0);
    cr_assert_eq(ask_twice(), 1);
    cr_assert_eq(os_fault_configure("test.twice@ask_twice.2:1"), 0);
    cr_assert_eq(ask_twice(), 2);
}

static void *allocate_here(void)
{
    return os_alloc(10);
}

static void *allocate_there(void)
{
    return os_alloc(10);
}

Test(os_fault_injection, each_caller_of_a_wrapper_is_a_place)
{
    cr_assert_eq(os_fault_configure("alloc@allocate_there:1"), 0);
    cr_assert_not_null(allocate_here());
    cr_assert_null(allocate_there());
}

struct listing {
    int sites, seconds, vm, n;
    uint64_t seconds_calls;
    char names[400][160];
};

static void list(void *arg, const char *site, uint64_t calls)
{
    struct listing *l = arg;
    l->sites++;
    l->vm += strcmp(site, "vm.commit@arena_supply") == 0;
    if (strncmp(site, "test.second@", 12) == 0) {
        l->seconds++;
        l->seconds_calls += calls;
    }
    for (int i = 0; i < l->n; i++)
        cr_assert_str_neq(l->names[i], site, "two places are called %s", site);
    cr_assert_lt(l->n, 400);
    strcpy(l->names[l->n++], site);
}

static void do_nothing(void *arg)
{
    (void)arg;
}

Test(os_fault_injection, each_place_is_listed_once_reached_or_not_under_a_name_of_its_own)
{
    static struct listing l;
    cr_assert_eq(tri_run(NULL, do_nothing, NULL),
                 0); /* so that the sites of all rooms are linked in */
    ask_second();
    ask_second_elsewhere();
    os_fault_sites(list, &l);
    cr_assert_eq(l.seconds, 2);
    cr_assert_eq(l.seconds_calls, 2);
    cr_assert_eq(l.vm, 1);
    cr_assert_gt(l.sites, 80);
}

Test(os_fault_injection, seeds_come_from_elsewhere_when_the_kernel_has_none)
{
    cr_assert_eq(os_fault_configure("random.get:*:EAGAIN"), 0);
    cr_assert_neq(os_random(), os_random());
}

#else

Test(os_fault_injection, compiled_out_it_says_so_and_fails_nothing)
{
    cr_assert_eq(os_fault_configure(NULL), 0);
    cr_assert_eq(os_fault_configure("alloc:*"), -ENOSYS);
    cr_assert_eq(os_fault_error("test.first"), 0);
    cr_assert_not(os_fault_here("test.first"));
}

#endif
