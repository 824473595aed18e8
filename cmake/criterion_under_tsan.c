/* Lets Criterion run under ThreadSanitizer on x86-64.
 *
 * Criterion shares an arena with the process of each test and maps it at a random address between 0x2000'0000'0000 and
 * 0x6000'0000'0000. ThreadSanitizer allows a program only a few ranges of addresses and refuses all others, so the
 * arena could almost never be mapped. Criterion takes whatever address the mapping really has, and its child maps the
 * same one again; so this stands before ThreadSanitizer's mmap and moves such a request into a range that is allowed:
 * below the program itself, where nothing else is. Only the thread sanitizer's builds of the tests contain this file. */

#include <stdint.h>
#include <sys/mman.h>
#include <sys/types.h>

extern void *__interceptor_mmap(void *addr, size_t size, int prot, int flags, int fd, off_t offset);

#if defined(__x86_64__)
#define ARENA_FIRST UINT64_C(0x200000000000) /* where Criterion may place it */
#define ARENA_END UINT64_C(0x600000000000)
#define ALLOWED_FIRST UINT64_C(0x550000000000) /* where it goes instead: 320 GiB below the program */
#define ALLOWED_SIZE UINT64_C(0x5000000000)
#endif

void *mmap(void *addr, size_t size, int prot, int flags, int fd, off_t offset)
{
#if defined(__x86_64__)
    uint64_t at = (uint64_t)(uintptr_t)addr;
    int is_arena = (flags & MAP_SHARED) && (flags & MAP_FIXED) && fd >= 0;
    if (is_arena && at >= ARENA_FIRST && at < ARENA_END)
        addr = (void *)(uintptr_t)(ALLOWED_FIRST + at % ALLOWED_SIZE); // NOLINT(performance-no-int-to-ptr)
#endif
    return __interceptor_mmap(addr, size, prot, flags, fd, offset);
}
