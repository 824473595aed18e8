/* The warmer: first touches that no mutator waits for.
 *
 * The first touch of a huge page clears 2 MiB, which takes 0.1 to 0.2 ms, and under a hypervisor that backs
 * its guest lazily 5 to 7 ms. A mutator that grows the heap used to pay this in the middle of an
 * allocation, and no handshake could reach it meanwhile: it was the longest wait in every measurement.
 * So somebody else stays ahead of it by a few chunks. How many is decided in idle.c, what happens to a
 * mutator that catches up in arena.c.
 *
 * Rejected: small pages everywhere (marking a large heap takes half as long again for want of
 * translations); to join small pages to huge ones later (MADV_COLLAPSE, khugepaged: copies 2 MiB while
 * whoever touches them waits); to have the collector's thread do it (a cycle would start late by
 * milliseconds, just when the program allocates fastest).
 *
 * Touched from user mode: MADV_POPULATE_WRITE holds the lock of the address space meanwhile, and a mutator
 * that grew the heap waited for it longer than it would have for the page. Where there are no huge pages small
 * ones are touched; not under Valgrind, which follows what is touched by whom. */
#include "heap/warmer.h"

#include "heap/arena.h"
#include "os/vm.h"

bool heap_warm_one(tri_heap *h)
{
    heap_idle cold;
    if (!heap_arena_take_cold(h, &cold))
        return false;
    void *p = (void *)(h->base + cold.first * HEAP_PAGE);
    size_t size = cold.npages * HEAP_PAGE;
    (void)os_huge(p, size);
    os_touch(p, size);
    heap_arena_return_warm(h, &cold);
    return true;
}
