// Fault injection: makes a chosen call of a chosen site fail, the same way every time.
//
// Every system call and every allocation from the system asks before it is made, under a name, which is a
// string literal:
//
//     int e = os_fault_error("vm.commit");
//     if (e)
//         return e;
//
// Each place in the source that asks is a site of its own, called  name@function , or  name@function.2  for
// the second place that asks under that name in that function. Functions of os/ that are called from many
// places (os_alloc, os_commit, ...) are macros where faults are compiled in, so that the place is that of
// their caller: a new call cannot be without a site.
//
// Without TRI_FAULTS the question is the constant 0 and costs nothing.
//
// From outside, before main: the environment variable TRICOLOR_FAULTS holds the rules of os_fault_configure,
// and may begin with  report=FILE  to have every site and how often it was reached appended to a file when
// the program exits:
//
//     TRICOLOR_FAULTS=report=/tmp/sites,thread.create@gc_start_threads:1:EAGAIN ./program

#ifndef OS_FAULT_H
#define OS_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef TRI_FAULTS

struct os_fault_site {
    const char *name;
    const char *function;
    const char *file;
    int line;
    uint32_t nth; // of the places with this name in this function; known before main
    uint64_t calls;
} __attribute__((aligned(16))); // the linker puts them side by side

int os_fault_ask(struct os_fault_site *site);

// The sites lie in a linker section of their own, so that those never reached are listed as well. Its
// name must not be that of a function: the assembler would take one for the other.
#define os_fault_error(site)                                                  \
    (__extension__({                                                          \
        static struct os_fault_site os_fault_site_here                        \
            __attribute__((section("os_fault_table"), used, aligned(16))) = { \
                site, __func__, __FILE__, __LINE__, 1, 0};                    \
        os_fault_ask(&os_fault_site_here);                                    \
    }))

// What `call`, which returns 0 or a negative errno, returns if it is made.
#define os_fault_or(site, call)                \
    (__extension__({                           \
        int os_fault_e = os_fault_error(site); \
        if (!os_fault_e)                       \
            os_fault_e = (call);               \
        os_fault_e;                            \
    }))

#else

#define os_fault_error(site) ((void)(site), 0)

#endif

// True if this call is to fail; errno then holds the chosen error.
#define os_fault_here(site) (os_fault_error(site) != 0)

// Replaces all rules. `spec` is a list, separated by commas, of  site:which[:error]
//     site    a name (all its places), a name with its place, or a prefix of either and * ("vm.*", "*");
//             calls are counted from now on, and by rule
//     which   n: the n-th call fails (from 1);  n+: the n-th and all later ones;  *: all
//     error   a number or a name such as ENOMEM, EAGAIN, EINTR; ENOMEM if left out
// NULL or "" ends all injection. -EINVAL: not understood, nothing has changed. -ENOSYS: compiled out.
// Not to be called while other threads ask.
int os_fault_configure(const char *spec);

// Calls fn once for each site that is linked in, with its name and place and how often it was asked. Nothing
// when compiled out.
void os_fault_sites(void (*fn)(void *arg, const char *site, uint64_t calls), void *arg);

#endif
