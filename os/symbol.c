// Addresses in the program, for people.
//
// Turning an address into a file and a line takes the debugging information of the program, which is large
// and for others to read. What is cheap to know is the file that holds the address, how far into it, and
// the nearest name that it exports. Rejected: backtrace_symbols(), which allocates, and says no more.

#include "os/symbol.h"

#include <dlfcn.h>
#include <elf.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "os/fault.h"
#include "os/report.h"

// What addr2line counts from: the file's beginning, but for programs that have a fixed address.
static uintptr_t base_of(const Dl_info *info)
{
    const Elf64_Ehdr *head = info->dli_fbase;
    return head->e_type == ET_EXEC ? 0 : (uintptr_t)info->dli_fbase;
}

// The dynamic linker calls the program what its caller called it (argv[0]), which need be no path.
static const char *file_of(const Dl_info *info, char *buf, size_t n)
{
    Dl_info program;
    if (!dladdr((void *)getauxval(AT_ENTRY), &program) || program.dli_fbase != info->dli_fbase)
        return info->dli_fname;
    ssize_t len = os_fault_here("symbol.exe") ? -1 : readlink("/proc/self/exe", buf, n - 1);
    if (len <= 0)
        return info->dli_fname;
    buf[len] = 0;
    return buf;
}

void os_symbol(const void *address, char *buf, size_t n)
{
    Dl_info info;
    char path[384];
    if (!dladdr(address, &info) || !info.dli_fname) {
        os_format(buf, n, "%p", (void *)(uintptr_t)address);
        return;
    }
    size_t at = 0;
    if (info.dli_sname) {
        int len = os_format(buf, n, "%s+0x%lx ", info.dli_sname,
                            (unsigned long)((uintptr_t)address - (uintptr_t)info.dli_saddr));
        at = (size_t)len < n ? (size_t)len : n;
    }
    os_format(buf + at, n - at, "(%s+0x%lx)", file_of(&info, path, sizeof path),
              (unsigned long)((uintptr_t)address - base_of(&info)));
}

void os_symbol_call(const void *return_address, char *buf, size_t n)
{
    os_symbol((const char *)return_address - 1, buf, n);
}
