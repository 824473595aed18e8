// Virtual memory on Linux.
//
// The problem: a garbage collector wants a large contiguous piece of address space of which it uses a
// changing part, wants memory to go back to the system when told so and not later, and wants tens of
// thousands of guard pages.
//
// Choices, and what was rejected:
// - Reservations are PROT_NONE and MAP_NORESERVE: neither counted as committed nor ever backed. Committing
//   is mprotect, not a second mmap with MAP_FIXED: that would leave a moment in which another thread's
//   mmap could take the range if the first step failed half-way.
// - Giving back is MADV_DONTNEED. MADV_FREE is cheaper, but the resident size then drops only under
//   pressure, and users look at the resident size.
// - Guards are MADV_GUARD_INSTALL (Linux 6.13): marks in the page tables, so the mapping stays whole. An
//   mprotect guard costs up to two more mappings, and vm.max_map_count (65530) then ends a program near
//   32,000 stacks. Old kernels and locked memory get mprotect.
// - Alignment: the kernel places large anonymous mappings at huge-page boundaries by itself nowadays, so
//   the exact size is tried first, and only a misaligned result is replaced by a larger one with its ends
//   cut off.
//
// The invariant: a range is given to at most one caller until it unreserves it, and a committed range that
// was released reads as zero.

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "os/vm.h"

#include "os/fault.h"
#include "os/linux/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

// From linux/mman.h, for C libraries older than the kernel.
enum {
    ADVICE_POPULATE_WRITE = 23,
    ADVICE_DONTNEED_LOCKED = 24,
    ADVICE_GUARD_INSTALL = 102,
    ADVICE_GUARD_REMOVE = 103,
};

size_t os_page_size(void)
{
    static _Atomic size_t cached;
    size_t size = atomic_load_explicit(&cached, memory_order_relaxed);
    if (__builtin_expect(size == 0, 0)) {
        size = (size_t)sysconf(_SC_PAGESIZE);
        atomic_store_explicit(&cached, size, memory_order_relaxed);
    }
    return size;
}

static void *map(size_t size, int prot)
{
    void *p = mmap(NULL, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static void *reserve(size_t size, size_t align, int prot)
{
    size_t page = os_page_size();
    if (align < page)
        align = page;
    if (size == 0 || (align & (align - 1)) != 0) {
        errno = EINVAL;
        return NULL;
    }

    char *p = map(size, prot);
    if (!p || ((uintptr_t)p & (align - 1)) == 0)
        return p;
    os_unreserve(p, size);

    size_t slack = align - page;
    if (size > SIZE_MAX - slack) {
        errno = ENOMEM;
        return NULL;
    }
    p = os_fault_here("vm.map_aligned") ? NULL : map(size + slack, prot);
    if (!p)
        return NULL;
    size_t before = (size_t)(-(uintptr_t)p & (align - 1));
    if (before)
        os_unreserve(p, before);
    if (slack - before)
        os_unreserve(p + before + size, slack - before);
    return p + before;
}

void *(os_reserve)(size_t size, size_t align)
{
    return reserve(size, align, PROT_NONE);
}

void *(os_reserve_rw)(size_t size, size_t align)
{
    return reserve(size, align, PROT_READ | PROT_WRITE);
}

void os_unreserve_refused(void *p, size_t size)
{
    madvise(p, size, MADV_DONTNEED);
    mprotect(p, size, PROT_NONE);
}

void(os_unreserve)(void *p, size_t size)
{
    if (munmap(p, size) != 0)
        os_unreserve_refused(p, size);
}

int(os_commit)(void *p, size_t size)
{
    return mprotect(p, size, PROT_READ | PROT_WRITE) == 0 ? 0 : -errno;
}

// EAGAIN is the kernel saying that it was short of something for a moment.
static int advise(void *p, size_t size, int advice)
{
    for (int tries = 0;; tries++) {
        if (!os_fault_here("vm.advise") && madvise(p, size, advice) == 0)
            return 0;
        if ((errno != EAGAIN && errno != EINTR) || tries == 16)
            return -errno;
    }
}

int(os_huge)(void *p, size_t size)
{
    return advise(p, size, MADV_HUGEPAGE);
}

int(os_no_huge)(void *p, size_t size)
{
    return advise(p, size, MADV_NOHUGEPAGE);
}

int(os_release)(void *p, size_t size)
{
    int e = advise(p, size, MADV_DONTNEED);
    // Refused for memory that the program locked with mlockall.
    if (e == -EINVAL)
        e = advise(p, size, ADVICE_DONTNEED_LOCKED);
    return e;
}

int(os_populate)(void *p, size_t size)
{
    int e = os_fault_error("vm.populate_write");
    if (!e)
        e = advise(p, size, ADVICE_POPULATE_WRITE);
    if (e != -EINVAL)
        return e;
    os_touch(p, size); // before Linux 5.14
    return 0;
}

// Adds nothing to one byte of each page. Atomic, since others may write there.
__attribute__((no_sanitize("address"))) void os_touch(void *p, size_t size)
{
    for (size_t at = 0; at < size; at += os_page_size())
        __atomic_fetch_or((char *)p + at, 0, __ATOMIC_RELAXED);
}

// Whether the kernel knows guard marks. Asking it is not enough: user-mode emulators take any advice and
// do nothing. A mark drops what was in the page, so a page that keeps its contents was not marked.
static bool marks_work(void)
{
    enum { UNKNOWN, YES, NO };
    static _Atomic int cached;
    int known = atomic_load_explicit(&cached, memory_order_relaxed);
    if (__builtin_expect(known == UNKNOWN, 0)) {
        size_t page = os_page_size();
        char *p = os_fault_here("vm.map_probe") ? NULL : map(page, PROT_READ | PROT_WRITE);
        if (!p)
            return false;
        *(volatile char *)p = 1;
        bool ok = advise(p, page, ADVICE_GUARD_INSTALL) == 0 &&
                  advise(p, page, ADVICE_GUARD_REMOVE) == 0 && *(volatile char *)p == 0;
        os_unreserve(p, page);
        known = ok ? YES : NO;
        atomic_store_explicit(&cached, known, memory_order_relaxed);
    }
    return known == YES;
}

// Set once a guard had to be made with mprotect: taking one away must then undo that as well.
static _Atomic bool guards_by_protection;

int(os_guard)(void *p, size_t size)
{
    int e = os_fault_error("vm.guard_install");
    if (!e)
        e = !marks_work() ? -EINVAL : advise(p, size, ADVICE_GUARD_INSTALL);
    if (e != -EINVAL)
        return e;
    atomic_store_explicit(&guards_by_protection, true, memory_order_relaxed);
    if (os_fault_here("vm.guard_protect") || mprotect(p, size, PROT_NONE) != 0)
        return -errno;
    // The contents are lost in the other case, so they are lost in this one.
    advise(p, size, MADV_DONTNEED);
    return 0;
}

int(os_unguard)(void *p, size_t size)
{
    int e = os_fault_error("vm.guard_remove");
    if (!e)
        e = !marks_work() ? -EINVAL : advise(p, size, ADVICE_GUARD_REMOVE);
    // Relaxed is enough: whoever takes a guard away learnt of it after it was made.
    bool by_protection = atomic_load_explicit(&guards_by_protection, memory_order_relaxed);
    if (!by_protection || (e && e != -EINVAL))
        return e;
    if (os_fault_here("vm.guard_unprotect") || mprotect(p, size, PROT_READ | PROT_WRITE) != 0)
        return -errno;
    return 0;
}

size_t os_resident(const void *p, size_t size)
{
    enum { PIECE = 4096, TRIES = 16 };
    unsigned char present[PIECE];
    size_t page = os_page_size();
    uintptr_t at = (uintptr_t)p & ~(uintptr_t)(page - 1);
    uintptr_t end = ((uintptr_t)p + size + page - 1) & ~(uintptr_t)(page - 1);
    size_t pages = 0;
    size_t piece = PIECE;
    int refusals = 0;

    while (at < end) {
        size_t n = (end - at) / page;
        if (n > piece)
            n = piece;
        if (!os_fault_here("vm.resident") && mincore((void *)at, n * page, present) == 0) {
            for (size_t i = 0; i < n; i++)
                pages += present[i] & 1;
            at += n * page;
            piece = PIECE;
        } else if (errno == ENOMEM && n > 1) {
            // A hole somewhere in the piece: look at it in smaller ones.
            piece = n / 2;
        } else if (errno == ENOMEM) {
            at += page;
        } else if (errno != EAGAIN || ++refusals == TRIES) {
            break;
        }
    }
    return pages * page;
}

size_t os_rss(void)
{
    char text[128];
    int fd = os_fault_here("rss.open") ? -1 : open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = os_fault_here("rss.read") ? -1 : read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return 0;
    text[n] = 0;

    // The second number, in pages.
    const char *s = text;
    while (*s >= '0' && *s <= '9')
        s++;
    while (*s == ' ')
        s++;
    size_t pages = 0;
    for (; *s >= '0' && *s <= '9'; s++)
        pages = pages * 10 + (size_t)(*s - '0');
    return pages * os_page_size();
}

static bool lower_limit(const char *text, void *arg)
{
    uint64_t limit;
    uint64_t *least = arg;
    if (os_cgroup_number(&text, &limit) && limit < *least)
        *least = limit;
    return true;
}

size_t os_memory_total(void)
{
    long phys = os_fault_here("vm.phys_pages") ? -1 : sysconf(_SC_PHYS_PAGES);
    uint64_t least = phys > 0 ? (uint64_t)phys * os_page_size() : SIZE_MAX;
    os_cgroup_each("memory.max", lower_limit, &least);
    return (size_t)least;
}

size_t os_address_limit(void)
{
    struct rlimit r;
    if (os_fault_here("vm.address_limit") || getrlimit(RLIMIT_AS, &r) != 0 ||
        r.rlim_cur == RLIM_INFINITY)
        return SIZE_MAX;
    return (size_t)r.rlim_cur;
}
