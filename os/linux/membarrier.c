// membarrier(2), private expedited: the kernel interrupts the processors that run threads of this process.
//
// Rejected: changing the protection of a page, which had the same effect as a side effect of flushing
// translations, and lost it on processors that flush by broadcast.

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "os/membarrier.h"

#include "os/fault.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

// From linux/membarrier.h, for systems whose headers are older than the kernel.
enum {
    CMD_PRIVATE_EXPEDITED = 1 << 3,
    CMD_REGISTER_PRIVATE_EXPEDITED = 1 << 4,
};

int os_membarrier_init(void)
{
    int e = os_fault_error("membarrier.register");
    if (e)
        return e;
    return syscall(SYS_membarrier, CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0 ? 0 : -ENOSYS;
}

int os_membarrier(void)
{
    int e = os_fault_error("membarrier.run");
    if (e)
        return e;
    return syscall(SYS_membarrier, CMD_PRIVATE_EXPEDITED, 0, 0) == 0 ? 0 : -errno;
}
