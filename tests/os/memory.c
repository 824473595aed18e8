// The library's own memory, and its random numbers.

#include "os/memory.h"
#include "os/random.h"

#include <criterion/criterion.h>
#include <string.h>

Test(os_memory, what_is_allocated_is_zero)
{
    for (size_t size = 0; size < 5000; size += 37) {
        char *p = os_alloc(size);
        cr_assert_not_null(p);
        for (size_t i = 0; i < size; i++)
            cr_assert_eq(p[i], 0);
        memset(p, 0xff, size);
        os_free(p, size);
    }
    os_free(NULL, 8);
}

Test(os_memory, what_cannot_be_allocated_is_null)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    cr_skip_test("the sanitizer's allocator aborts instead");
#endif
    volatile size_t too_much = (size_t)1 << 62;
    cr_assert_null(os_alloc(too_much));
}

Test(os_random, seeds_differ)
{
    uint64_t a = os_random(), b = os_random();
    cr_assert_neq(a, b);
}

Test(os_random, numbers_below_a_bound_are_spread_evenly)
{
    uint64_t state = 1;
    int count[7] = {0};
    for (int i = 0; i < 70000; i++) {
        uint32_t r = os_random_below(&state, 7);
        cr_assert_lt(r, 7);
        count[r]++;
    }
    for (int i = 0; i < 7; i++)
        cr_assert(count[i] > 9500 && count[i] < 10500, "%d: %d", i, count[i]);
    cr_assert_eq(os_random_below(&state, 1), 0);
}

Test(os_random, every_bit_changes_about_half_the_time)
{
    uint64_t state = 0, last = 0;
    int flips[64] = {0};
    for (int i = 0; i < 10000; i++) {
        uint64_t r = os_random_next(&state);
        for (int b = 0; b < 64; b++)
            flips[b] += (r ^ last) >> b & 1;
        last = r;
    }
    for (int b = 0; b < 64; b++)
        cr_assert(flips[b] > 4700 && flips[b] < 5300, "bit %d: %d", b, flips[b]);
}
