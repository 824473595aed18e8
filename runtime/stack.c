/* Stacks of coroutines: address space, guards, and the report of an overflow.
 *
 * A stack is reserved address space, committed page by page as it is touched, with a guard at its
 * bottom. Many are cut from one slab, and guards are marks in the page tables (os_guard), so a
 * million stacks are a few thousand mappings at most, which the kernel merges further. Rejected: a
 * mapping per stack (vm.max_map_count ends that at 65,530); copying stacks as Go does (C has
 * pointers into them); segmented stacks (the cost of a call at a boundary in a loop).
 *
 * A parked coroutine costs the pages it has touched, at best one. The top of each stack is shifted
 * by a different small number of cache lines: all tops at one offset of a page would fall into the
 * same sets of the first-level cache.
 *
 * Huge pages are turned off: one would commit 32 stacks' worth of memory for the top page of one.
 *
 * An overflow hits the guard. The handler runs on the alternate stack, finds whose guard it is (only
 * the running coroutine, or the one being left, can be the one) and ends the process with its name,
 * instead of letting it corrupt its neighbour. A frame larger than the guard can jump over it; code
 * compiled with -fstack-clash-protection cannot.
 */
#include <errno.h>

#include "os/memory.h"
#include "os/report.h"
#include "os/signal.h"
#include "os/vm.h"
#include "runtime/sched.h"

#ifdef TRI_TORTURE
#define SLAB_SIZE ((size_t)256 << 10)
#else
#define SLAB_SIZE ((size_t)16 << 20)
#endif
#define COLOURS     16u
#define COLOUR_STEP 64u
#define GUARD_MAX   ((size_t)64 << 10)

struct sched_stack_slab {
    struct sched_stack_slab *next;
    char *base;
    size_t size;
};

size_t sched_stack_guard_size(uint32_t size_log2)
{
    size_t page = os_page_size();
    size_t guard = ((size_t)1 << size_log2) / 16;
    if (guard > GUARD_MAX)
        guard = GUARD_MAX;
    return guard < page ? page : guard;
}

static int slab_new(sched *s, uint32_t size_log2)
{
    uint32_t class = size_log2 - SCHED_STACK_MIN_LOG2;
    size_t stack = (size_t)1 << size_log2;
    size_t size = stack > SLAB_SIZE ? stack : SLAB_SIZE;
    struct sched_stack_slab *slab = os_alloc(sizeof *slab);
    if (!slab)
        return -ENOMEM;
    slab->size = size;
    slab->base = os_reserve_rw(size, os_page_size());
    if (!slab->base) {
        os_free(slab, sizeof *slab);
        return -ENOMEM;
    }
    os_no_huge(slab->base, size); /* a kernel without huge pages refuses, which is as good */
    slab->next = s->stack_slabs;
    s->stack_slabs = slab;
    s->stack_cur[class] = slab->base;
    s->stack_end[class] = slab->base + size;
    return 0;
}

int sched_stack_new(sched *s, sched_g *g, uint32_t size_log2)
{
    uint32_t class = size_log2 - SCHED_STACK_MIN_LOG2;
    size_t size = (size_t)1 << size_log2;
    if (s->stack_cur[class] == s->stack_end[class]) {
        int err = slab_new(s, size_log2);
        if (err)
            return err;
    }
    char *base = s->stack_cur[class];
    size_t guard = sched_stack_guard_size(size_log2);
    if (os_guard(base, guard))
        return -ENOMEM;
    s->stack_cur[class] += size;
    s->nstacks++;
    s->stack_bytes += size;
    g->base = base;
    g->size_log2 = size_log2;
    g->stack.lo = (uintptr_t)base + guard;
    g->stack.hi = (uintptr_t)base + size - s->stack_colour++ % COLOURS * COLOUR_STEP;
    g->stack.sp = g->stack.hi;
    sched_fiber_new(&g->fiber, (void *)g->stack.lo, (void *)g->stack.hi);
    return 0;
}

void sched_stack_free(sched *s, sched_g *g)
{
    sched_fiber_free(&g->fiber);
    os_unguard(g->base, sched_stack_guard_size(g->size_log2));
    /* It was the last to be cut. */
    s->stack_cur[g->size_log2 - SCHED_STACK_MIN_LOG2] = g->base;
    s->nstacks--;
    s->stack_bytes -= (size_t)1 << g->size_log2;
    g->base = NULL;
}

void sched_stack_release(sched_g *g)
{
    size_t guard = sched_stack_guard_size(g->size_log2);
    os_release(g->base + guard, ((size_t)1 << g->size_log2) - guard);
}

void sched_stack_free_all(sched *s)
{
    for (struct sched_stack_slab *next, *slab = s->stack_slabs; slab; slab = next) {
        next = slab->next;
        os_unreserve(slab->base, slab->size);
        os_free(slab, sizeof *slab);
    }
    s->stack_slabs = NULL;
}

/* ---- overflow ---------------------------------------------------------------------------------- */

static bool in_guard(const sched_g *g, uintptr_t addr)
{
    return g && g->base && addr >= (uintptr_t)g->base && addr < g->stack.lo;
}

static bool on_fault(void *addr, void *ucontext)
{
    (void)ucontext;
    sched_m *m = sched_self();
    if (!m)
        return false;
    sched_g *g = in_guard(m->g, (uintptr_t)addr) ? m->g : m->prev;
    if (!in_guard(g, (uintptr_t)addr))
        return false;
    os_fatal("stack overflow in coroutine %llu (%s), whose stack has %zu KiB; start it with "
             "tri_go_sized() or set stack_size",
             (unsigned long long)g->id, g->name ? g->name : "unnamed",
             (g->stack.hi - g->stack.lo + 1023) / 1024);
}

int sched_overflow_install(void)
{
    return os_fault_install(on_fault);
}

void sched_overflow_uninstall(void)
{
    os_fault_uninstall();
}
