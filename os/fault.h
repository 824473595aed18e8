// Fault injection: makes a chosen call of a chosen site fail, the same way every time.
//
// Every system call and every allocation from the system asks before it is made, under a name of its own
// ("vm.commit", "thread.create", "alloc"), which is a string literal:
//
//     int e = os_fault_error("vm.commit");
//     if (e)
//         return e;
//
// Without TRI_FAULTS the question is the constant 0 and costs nothing.

#ifndef OS_FAULT_H
#define OS_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef TRI_FAULTS

struct os_fault_site {
    const char *name;
    uint64_t calls;
};

int os_fault_ask(struct os_fault_site *site);

// The sites lie in a linker section of their own, so that those never reached are listed as well. Its
// name must not be that of a function: the assembler would take one for the other.
#define os_fault_error(site)                                                           \
    (__extension__({                                                                   \
        static struct os_fault_site os_fault_site_here                                 \
            __attribute__((section("os_fault_table"), used, aligned(16))) = {site, 0}; \
        os_fault_ask(&os_fault_site_here);                                             \
    }))

#else

#define os_fault_error(site) ((void)(site), 0)

#endif

// True if this call is to fail; errno then holds the chosen error.
#define os_fault_here(site) (os_fault_error(site) != 0)

// Replaces all rules. `spec` is a list, separated by commas, of  site:which[:error]
//     site    a name, or a prefix and * ("vm.*", "*"); its calls are counted from now on
//     which   n: the n-th call fails (from 1);  n+: the n-th and all later ones;  *: all
//     error   a number or a name such as ENOMEM, EAGAIN, EINTR; ENOMEM if left out
// NULL or "" ends all injection. -EINVAL: not understood, nothing has changed. -ENOSYS: compiled out.
// Not to be called while other threads ask.
int os_fault_configure(const char *spec);

// Calls fn once for each site that is linked in, with how often it was asked. Nothing when compiled out.
void os_fault_sites(void (*fn)(void *arg, const char *site, uint64_t calls), void *arg);

#endif
