// Seeds. The kernel's generator when it answers at once; early at boot, or where a filter forbids the
// call, a mix of clocks, addresses and the thread's id instead: a scheduler needs different seeds, not
// secret ones, and must start. Rejected: blocking until the kernel has gathered entropy, and reading
// /dev/urandom (fails without file descriptors).

#include "os/random.h"

#include "os/clock.h"
#include "os/fault.h"
#include "os/thread.h"

#include <sys/random.h>

uint64_t os_random(void)
{
    uint64_t v;
    if (!os_fault_here("random.get") && getrandom(&v, sizeof v, GRND_NONBLOCK) == sizeof v)
        return v;
    v = (uint64_t)os_now() ^ os_ticks() << 17 ^ (uint64_t)(uintptr_t)&v ^
        (uint64_t)os_thread_tid() << 40;
    os_random_next(&v);
    return os_random_next(&v);
}
