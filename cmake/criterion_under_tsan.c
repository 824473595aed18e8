/* Lets Criterion run under ThreadSanitizer on x86-64.
 *
 * Criterion shares an arena with the process of each test. It looks for room with mincore at random addresses between
 * 0x2000'0000'0000 and 0x6000'0000'0000 and maps the arena there. ThreadSanitizer allows a program only a few ranges
 * of addresses and makes all others look taken, so the arena could almost never be mapped. Criterion takes whatever
 * address the mapping really has, and its child maps the same one again; so this stands before ThreadSanitizer's
 * functions, calls each address of that range free, and moves the mapping to where the sanitizer allows one and nothing
 * else is: below the program itself. Only the thread sanitizer's builds of the tests contain this file. */

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/types.h>

extern void *__interceptor_mmap64(void *addr, size_t size, int prot, int flags, int fd,
                                  off64_t offset);
extern int __interceptor_mincore(void *addr, size_t size, unsigned char *resident);

#if defined(__x86_64__)
#define ARENA_FIRST   UINT64_C(0x200000000000) /* where Criterion may place it */
#define ARENA_END     UINT64_C(0x600000000000)
#define ALLOWED_FIRST UINT64_C(0x550000000000) /* where it goes instead: 320 GiB */
#define ALLOWED_END   UINT64_C(0x555000000000)
#define ARENA_ALIGN   UINT64_C(0x1000000)

static int in_range(const void *addr, uint64_t first, uint64_t end)
{
    return (uintptr_t)addr >= first && (uintptr_t)addr < end;
}
#endif

void *mmap64(void *addr, size_t size, int prot, int flags, int fd, off64_t offset)
{
#if defined(__x86_64__)
    int is_arena = (flags & MAP_SHARED) && (flags & MAP_FIXED) && fd >= 0;
    if (is_arena && in_range(addr, ARENA_FIRST, ARENA_END)) {
        flags = (flags & ~MAP_FIXED) | MAP_FIXED_NOREPLACE;
        for (uint64_t at = ALLOWED_FIRST; at + size <= ALLOWED_END; at += ARENA_ALIGN) {
            addr = (void *)(uintptr_t)at;
            void *got = __interceptor_mmap64(addr, size, prot, flags, fd, offset);
            if (got != MAP_FAILED || errno != EEXIST)
                return got;
        }
        return MAP_FAILED;
    }
#endif
    return __interceptor_mmap64(addr, size, prot, flags, fd, offset);
}

int mincore(void *addr, size_t size, unsigned char *resident)
{
#if defined(__x86_64__)
    if (in_range(addr, ARENA_FIRST, ARENA_END)) {
        errno = ENOMEM;
        return -1;
    }
#endif
    return __interceptor_mincore(addr, size, resident);
}
