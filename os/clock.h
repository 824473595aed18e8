// Time. All values are nanoseconds, except ticks, which are whatever the processor counts.

#ifndef OS_CLOCK_H
#define OS_CLOCK_H

#include <stdint.h>

int64_t os_now(void);         // monotonic
int64_t os_wall(void);        // since 1970
int64_t os_cpu_thread(void);  // processor time of the calling thread
int64_t os_cpu_process(void); // of all threads of the process

// The cheapest timestamp, for durations below a microsecond. Not ordered against the surrounding
// instructions. The difference of two is meaningful also across processors (invariant TSC).
static inline uint64_t os_ticks(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t t;
    __asm__ __volatile__("mrs %0, cntvct_el0" : "=r"(t));
    return t;
#else
    return (uint64_t)os_now();
#endif
}

// Finds the tick rate; well under a millisecond. Idempotent, any thread.
void os_clock_init(void);

// Converts a difference of ticks. Calls os_clock_init if nobody has; async-signal-safe after that.
// The rate may change by the calibration error (below 1 %) once, about 100 ms after os_clock_init.
int64_t os_ticks_to_ns(uint64_t delta);

#endif
