// Named delay points: they make races wide that are nanoseconds wide by nature.
//
//     uintptr_t old = *slot;
//     OS_DELAY("barrier.between");
//     *slot = new;
//
// Without TRI_DELAYS a point is nothing. With it, a point costs a load until somebody asks for a delay at it.

#ifndef OS_DELAY_H
#define OS_DELAY_H

#include <stdatomic.h>
#include <stdint.h>

#ifdef TRI_DELAYS

struct os_delay_site {
    const char *name;
    _Atomic uint32_t chance; // in 10,000; 0: never
    _Atomic uint32_t microseconds;
    _Atomic uint32_t delays; // how often it did
} __attribute__((aligned(32)));

void os_delay_here(struct os_delay_site *site);

// The sites lie in a linker section of their own, so that a name that does not exist is told, and the rest
// can be listed.
#define OS_DELAY(point)                                                                          \
    do {                                                                                         \
        static struct os_delay_site os_delay_site_here                                           \
            __attribute__((section("os_delay_table"), used, aligned(32))) = {point, 0, 0, 0};    \
        if (__builtin_expect(                                                                    \
                atomic_load_explicit(&os_delay_site_here.chance, memory_order_relaxed) != 0, 0)) \
            os_delay_here(&os_delay_site_here);                                                  \
    } while (0)

#else

#define OS_DELAY(point) ((void)sizeof(point))

#endif

// Adds rules; a later one replaces an earlier one at the same point. `spec` is a list, separated by commas, of
//     name:microseconds:percent
//     name        of a point, or a prefix and * ("barrier.*", "*")
//     percent     of the times that somebody passes; up to two decimals; 0 ends the delays there
// NULL ends all delays. -EINVAL: not understood; -ENOENT: there is no such point; nothing has changed then.
// -ENOSYS: compiled out. Any thread, any time.
int os_delay_configure(const char *spec);

// Calls fn once for each place, with how often somebody was delayed at it; several places may share a
// name. Nothing when compiled out.
void os_delay_points(void (*fn)(void *arg, const char *name, uint32_t delays), void *arg);

#endif
