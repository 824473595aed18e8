// Virtual memory: reserve address space, back it, give the memory back, guard pages.
//
// A range passes through these states, and every function below names the ones it needs:
//
//     nothing  --os_reserve-->     reserved (no access)  --os_commit-->  committed (read/write)
//     nothing  --os_reserve_rw-->  committed
//     committed  --os_release-->   committed, memory given back, reads as zero
//     committed  --os_guard-->     guarded (an access faults, contents lost)  --os_unguard-->  committed
//     any  --os_unreserve-->       nothing
//
// Sizes and addresses are multiples of the page size unless a function says otherwise. Functions that
// return int return 0 or a negative errno; those that return a pointer return NULL on failure.
// None of them takes a lock in user space.

#ifndef OS_VM_H
#define OS_VM_H

#include "os/fault.h"

#include <stddef.h>

// The size of the smallest page, a power of two. Async-signal-safe after the first call.
size_t os_page_size(void);

// `size` bytes of inaccessible address space at a multiple of `align` (a power of two, 0 for one page).
// Costs no memory and is not charged against the system's commit limit.
void *os_reserve(size_t size, size_t align);

// The same, readable and writable at once, backed page by page on first touch. For side tables that are
// mostly never touched. Reads as zero.
void *os_reserve_rw(size_t size, size_t align);

// Ends a reservation, or a whole part of one. What was there is gone. The system may refuse (cutting a hole
// takes one more mapping): the address space is then lost, but not the memory, and nobody can use it by
// mistake.
void os_unreserve(void *p, size_t size);
void os_unreserve_refused(void *p, size_t size); // what is left to do then

// Makes reserved memory readable and writable. It reads as zero until it is written. Idempotent.
int os_commit(void *p, size_t size);

// Advice about huge pages. A kernel without them makes these fail, which callers may ignore.
int os_huge(void *p, size_t size);
int os_no_huge(void *p, size_t size);

// Gives the memory behind a committed range back at once (the resident size drops before the return).
// The range stays committed. Returns 0 only if it reads as zero from now on; after a failure the
// contents are unspecified.
int os_release(void *p, size_t size);

// Touches every page of a committed range for writing, keeping its contents.
int os_populate(void *p, size_t size);
// The same from user mode. The system call holds the lock of the address space until it is done, and
// mmap, mprotect and madvise of all threads wait for it; a touch holds no more than its own mapping.
void os_touch(void *p, size_t size);

// Makes any access fault. Where the kernel can (Linux 6.13) this splits no mapping, so that the number
// of guards is not bounded by vm.max_map_count; elsewhere it is mprotect. Contents are lost either way.
int os_guard(void *p, size_t size);
int os_unguard(void *p, size_t size);

// Bytes of the range that are resident. The range need not be aligned or entirely mapped: it is widened
// to whole pages, and unmapped parts count as nothing.
size_t os_resident(const void *p, size_t size);

// Resident bytes of the whole process; 0 if the system does not tell. Async-signal-safe.
size_t os_rss(void);

// Bytes of memory that this process may hope to use: the machine's, or its control group's if less.
size_t os_memory_total(void);

// How much address space the process may map (RLIMIT_AS), SIZE_MAX if unlimited.
size_t os_address_limit(void);

#ifdef TRI_FAULTS
#define os_reserve(size, align) (os_fault_here("vm.reserve") ? NULL : os_reserve(size, align))
#define os_reserve_rw(size, align) \
    (os_fault_here("vm.reserve_rw") ? NULL : os_reserve_rw(size, align))
#define os_unreserve(p, size) \
    (os_fault_here("vm.unreserve") ? os_unreserve_refused(p, size) : os_unreserve(p, size))
#define os_commit(p, size)   os_fault_or("vm.commit", os_commit(p, size))
#define os_huge(p, size)     os_fault_or("vm.huge", os_huge(p, size))
#define os_no_huge(p, size)  os_fault_or("vm.no_huge", os_no_huge(p, size))
#define os_release(p, size)  os_fault_or("vm.release", os_release(p, size))
#define os_populate(p, size) os_fault_or("vm.populate", os_populate(p, size))
#define os_guard(p, size)    os_fault_or("vm.guard", os_guard(p, size))
#define os_unguard(p, size)  os_fault_or("vm.unguard", os_unguard(p, size))
#endif

#endif
