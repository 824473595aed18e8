/* What the tests of the runtime share. */
#ifndef TESTS_RUNTIME_FIXTURE_H
#define TESTS_RUNTIME_FIXTURE_H

#include <criterion/criterion.h>

#include "os/clock.h"
#include "os/thread.h"
#include "runtime/sched.h"
#include "tricolor/tricolor.h"

#define MS 1000000LL

/* Fewer rounds where everything is slow. ThreadSanitizer also has only 8,000 fibers. */
#if TRI_TSAN || SCHED_ASAN || defined(TRI_TORTURE)
#define FEWER(n, slow) (slow)
#else
#define FEWER(n, slow) (n)
#endif

static inline void run_on(unsigned procs, void (*fn)(void *), void *arg)
{
    tri_options o;
    cr_assert_eq(tri_options_init(&o), 0);
    o.procs = procs;
    cr_assert_eq(tri_run(&o, fn, arg), 0);
}

/* Computes for so long without calling the runtime. */
static inline void compute(int64_t ns)
{
    int64_t end = os_now() + ns;
    while (os_now() < end) {}
}

#endif
