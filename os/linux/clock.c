// Clocks.
//
// The problem: an interruption of a few hundred nanoseconds cannot be measured with a clock that takes
// fifty to read and, on some virtual machines, enters the kernel. The processor's counter takes ten, but
// its rate has to be found out, quickly (programs that run for a millisecond start the library too) and
// well (an error shows in every histogram).
//
// Rejected: reading the rate from the kernel's perf event page (often forbidden), CPUID leaf 0x16 (the
// marketing frequency, wrong by up to a percent), and a calibration of 10 ms or more at start.
//
// Chosen: a first rate from CPUID leaf 0x15 or the hypervisor's leaf where they are given, otherwise from
// 50 us of measuring (0.1 to 0.5 %); and once 100 ms have gone by since the program was loaded, one
// second rate from that whole stretch (a few parts per million), by whichever conversion comes next. On
// aarch64 the rate is in a register.
//
// The invariant: the rate is one word, so a conversion, in a signal handler too, sees one rate or the
// other and never half of each. A second rate that is off by more than 2 % is disbelieved (the machine was
// suspended or migrated in between).

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "os/clock.h"

#include "os/fault.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <string.h>
#endif

static int64_t read_clock(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t os_now(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

int64_t os_wall(void)
{
    return read_clock(CLOCK_REALTIME);
}

int64_t os_cpu_thread(void)
{
    return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

int64_t os_cpu_process(void)
{
    return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

enum { CALIBRATE_NS = 50 * 1000, REFINE_NS = 100 * 1000 * 1000 };

struct moment {
    uint64_t ticks;
    int64_t ns;
};

static struct moment loaded; // written before main, then only read

// Nanoseconds per tick, 32 bits before and 32 behind the point; 0 until known.
static _Atomic uint64_t rate;
static _Atomic bool refined;

// Both clocks at one moment: the tightest of a few tries, against interrupts between the two readings.
static struct moment take_moment(void)
{
    struct moment best = {0, 0};
    uint64_t width = UINT64_MAX;
    for (int i = 0; i < 4; i++) {
        uint64_t before = os_ticks();
        int64_t ns = os_now();
        uint64_t after = os_ticks();
        if (after - before < width) {
            width = after - before;
            best = (struct moment){before + width / 2, ns};
        }
    }
    return best;
}

// Before other constructors, which may already convert.
__attribute__((constructor(101))) static void note_load_time(void)
{
    loaded = take_moment();
}

static uint64_t rate_between(struct moment a, struct moment b)
{
    uint64_t ticks = b.ticks - a.ticks;
    int64_t ns = b.ns - a.ns;
    if (ticks == 0 || ns <= 0)
        return 0;
    return (uint64_t)(((unsigned __int128)ns << 32) / ticks);
}

static uint64_t rate_of_frequency(uint64_t hz)
{
    return hz ? (uint64_t)(((unsigned __int128)1000000000 << 32) / hz) : 0;
}

// The rate as the hardware tells it, or 0.
static uint64_t announced_rate(void)
{
#if defined(__aarch64__)
    uint64_t hz;
    __asm__ __volatile__("mrs %0, cntfrq_el0" : "=r"(hz));
    return rate_of_frequency(hz);
#elif defined(__x86_64__)
    unsigned a, b, c, d;
    if (__get_cpuid(0x15, &a, &b, &c, &d) && a && b && c)
        return rate_of_frequency((uint64_t)c * b / a);
    if (__get_cpuid(1, &a, &b, &c, &d) && (c & 1u << 31)) {
        char who[13] = {0};
        __cpuid(0x40000000, a, b, c, d);
        memcpy(who, &b, 4);
        memcpy(who + 4, &c, 4);
        memcpy(who + 8, &d, 4);
        bool known = strcmp(who, "KVMKVMKVM") == 0 || strcmp(who, "VMwareVMware") == 0;
        if (known && a >= 0x40000010) {
            __cpuid(0x40000010, a, b, c, d);
            return rate_of_frequency((uint64_t)a * 1000);
        }
    }
    return 0;
#else
    return rate_of_frequency(1000000000);
#endif
}

void os_clock_init(void)
{
    if (atomic_load_explicit(&rate, memory_order_relaxed))
        return;
    uint64_t found = os_fault_here("clock.announced") ? 0 : announced_rate();
    while (!found) {
        struct moment a = take_moment();
        while (os_now() - a.ns < CALIBRATE_NS) {}
        found = rate_between(a, take_moment());
    }
    uint64_t none = 0;
    atomic_compare_exchange_strong_explicit(&rate, &none, found, memory_order_relaxed,
                                            memory_order_relaxed);
}

__attribute__((noinline, cold)) static void refine(void)
{
    uint64_t old = atomic_load_explicit(&rate, memory_order_relaxed);
    uint64_t found = rate_between(loaded, take_moment());
    if (atomic_exchange_explicit(&refined, true, memory_order_relaxed))
        return;
    if (found > old - old / 50 && found < old + old / 50)
        atomic_store_explicit(&rate, found, memory_order_relaxed);
}

static int64_t convert(uint64_t delta, uint64_t r)
{
    return (int64_t)(((unsigned __int128)delta * r) >> 32);
}

int64_t os_ticks_to_ns(uint64_t delta)
{
    uint64_t r = atomic_load_explicit(&rate, memory_order_relaxed);
    if (__builtin_expect(r == 0, 0)) {
        os_clock_init();
        r = atomic_load_explicit(&rate, memory_order_relaxed);
    }
    if (__builtin_expect(!atomic_load_explicit(&refined, memory_order_relaxed), 0) &&
        convert(os_ticks() - loaded.ticks, r) >= REFINE_NS) {
        refine();
        r = atomic_load_explicit(&rate, memory_order_relaxed);
    }
    return convert(delta, r);
}
