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

size_t sched_stack_guard_size(uint32_t size_log2)
{
    size_t page = os_page_size();
    size_t guard = ((size_t)1 << size_log2) / 16;
    if (guard > GUARD_MAX)
        guard = GUARD_MAX;
    return guard < page ? page : guard;
}

uint32_t sched_stack_log2(size_t bytes)
{
    uint32_t log = SCHED_STACK_MIN_LOG2;
    while (((size_t)1 << log) < bytes)
        log++;
    return log;
}

static uint32_t class_of(uint32_t size_log2)
{
    return size_log2 - SCHED_STACK_MIN_LOG2;
}

/* ---- making them, under stacks_lock ------------------------------------------------------------ */

/* Address space for some stacks of one size, and what describes them. */
struct sched_stack_slab {
    struct sched_stack_slab *next;
    char *base;
    size_t size;
    uint32_t used, capacity;
    sched_stack stacks[];
};

static size_t slab_bytes(uint32_t capacity)
{
    return sizeof(struct sched_stack_slab) + capacity * sizeof(sched_stack);
}

static struct sched_stack_slab *slab_new(sched *s, uint32_t size_log2)
{
    size_t stack = (size_t)1 << size_log2;
    size_t size = stack > SLAB_SIZE ? stack : SLAB_SIZE;
    uint32_t capacity = (uint32_t)(size >> size_log2);
    struct sched_stack_slab *slab = os_alloc(slab_bytes(capacity));
    if (!slab)
        return NULL;
    slab->size = size;
    slab->capacity = capacity;
    slab->base = os_reserve_rw(size, os_page_size());
    if (!slab->base) {
        os_free(slab, slab_bytes(capacity));
        return NULL;
    }
    os_no_huge(slab->base, size); /* a kernel without huge pages refuses, which is as good */
    gc_stack_expect(s->heap, stack);
    slab->next = s->stack_slabs;
    s->stack_slabs = slab;
    return slab;
}

static sched_stack *make(sched *s, uint32_t size_log2)
{
    struct sched_stack_slab **open = &s->open_slabs[class_of(size_log2)];
    if (!*open || (*open)->used == (*open)->capacity) {
        struct sched_stack_slab *slab = slab_new(s, size_log2);
        if (!slab)
            return NULL;
        *open = slab;
    }
    uint32_t i = (*open)->used;
    size_t size = (size_t)1 << size_log2;
    char *base = (*open)->base + i * size;
    size_t guard = sched_stack_guard_size(size_log2);
    if (os_guard(base, guard))
        return NULL;
    sched_stack *st = &(*open)->stacks[i];
    st->base = base;
    st->size_log2 = size_log2;
    st->lo = (uintptr_t)base + guard;
    st->hi = (uintptr_t)base + size - (size_t)i % COLOURS * COLOUR_STEP;
    sched_fiber_stack_new(&st->fiber, (void *)st->lo, (void *)st->hi);
    (*open)->used++;
    s->made++;
    s->made_bytes += size;
    return st;
}

void sched_stack_free_all(sched *s)
{
    for (struct sched_stack_slab *next, *slab = s->stack_slabs; slab; slab = next) {
        next = slab->next;
        for (uint32_t i = 0; i < slab->used; i++)
            sched_fiber_stack_free(&slab->stacks[i].fiber, (void *)slab->stacks[i].lo,
                                   (void *)slab->stacks[i].hi);
        os_unreserve(slab->base, slab->size);
        os_free(slab, slab_bytes(slab->capacity));
    }
    s->stack_slabs = NULL;
}

/* ---- pools -------------------------------------------------------------------------------------- */

#ifdef TRI_TORTURE
#define POISON UINT64_C(0xdbdbdbdbdbdbdbdb)

/* The words of the topmost page: every coroutine has touched it. */
static uint64_t *top_page(const sched_stack *st)
{
    return (uint64_t *)((st->hi - 1) & ~(uintptr_t)4095);
}

static void poison(sched_stack *st)
{
    for (uint64_t *p = top_page(st); (uintptr_t)p < st->hi; p++)
        *p = POISON;
}

/* Zero where the system had it in between. */
static sched_stack *check_poison(sched_stack *st)
{
    if (!st)
        return NULL;
    uint64_t first = *top_page(st);
    for (const uint64_t *p = top_page(st); (uintptr_t)p < st->hi; p++)
        if (*p != first || (first && first != POISON))
            os_fatal("the stack of a coroutine that has ended was written to at %p",
                     (const void *)p);
    return st;
}
#else
static void poison(sched_stack *st)
{
    (void)st;
}
static sched_stack *check_poison(sched_stack *st)
{
    return st;
}
#endif

static sched_stack *pool_pop(sched *s, uint32_t class)
{
    sched_stack *st = s->stacks[class];
    if (!st)
        return NULL;
    s->stacks[class] = st->next;
    s->nstacks[class]--;
    if (class == class_of(s->stack_log2) && s->nstacks[class] < s->low_water)
        s->low_water = s->nstacks[class];
    return st;
}

static void pool_push(sched *s, sched_stack *st)
{
    uint32_t class = class_of(st->size_log2);
    st->next = s->stacks[class];
    s->stacks[class] = st;
    s->nstacks[class]++;
    s->short_since = 0;
}

static sched_stack *cold_pop(sched *s, uint32_t class)
{
    sched_stack *st = class == class_of(s->stack_log2) ? s->cold : NULL;
    if (st)
        s->cold = st->next;
    return st;
}

/* Half of what a P may keep is taken for it at once, if there is so much. */
static TRI_NOINLINE sched_stack *refill(sched *s, sched_p *p, uint32_t size_log2)
{
    uint32_t class = class_of(size_log2);
    os_mutex_lock(&s->stacks_lock);
    sched_stack *st = pool_pop(s, class);
    while (p && st && s->stacks[class] && p->nstacks < SCHED_POOL / 2) {
        sched_stack *more = pool_pop(s, class);
        more->next = p->stacks;
        p->stacks = more;
        p->nstacks++;
    }
    if (!st)
        st = cold_pop(s, class);
    if (!st)
        st = make(s, size_log2);
    if (st)
        s->short_since = 0;
    os_mutex_unlock(&s->stacks_lock);
    return st;
}

sched_stack *sched_stack_get(sched *s, sched_p *p, uint32_t size_log2)
{
    if (TRI_UNLIKELY(size_log2 != s->stack_log2))
        return check_poison(refill(s, NULL, size_log2));
    sched_stack *st = p->stacks;
    if (TRI_UNLIKELY(!st))
        return check_poison(refill(s, p, size_log2));
    p->stacks = st->next;
    p->nstacks--;
    return check_poison(st);
}

static TRI_NOINLINE void spill(sched *s, sched_p *p)
{
    os_mutex_lock(&s->stacks_lock);
    while (p->nstacks > SCHED_POOL / 2) {
        sched_stack *st = p->stacks;
        p->stacks = st->next;
        p->nstacks--;
        pool_push(s, st);
    }
    os_mutex_unlock(&s->stacks_lock);
}

void sched_stack_put(sched *s, sched_p *p, sched_stack *st)
{
    poison(st);
    if (TRI_UNLIKELY(!p || st->size_log2 != s->stack_log2)) {
        os_mutex_lock(&s->stacks_lock);
        pool_push(s, st);
        os_mutex_unlock(&s->stacks_lock);
        return;
    }
    st->next = p->stacks;
    p->stacks = st;
    if (TRI_UNLIKELY(++p->nstacks >= SCHED_POOL))
        spill(s, p);
}

/* ---- giving memory back ------------------------------------------------------------------------ */

#define TRIM_SHARE 10 /* of what was not needed since the last look */
#define TRIM_MAX   4096

static sched_stack *trim_take(sched *s)
{
    sched_stack *first = NULL;
    os_mutex_lock(&s->stacks_lock);
    uint32_t n = s->low_water / TRIM_SHARE;
    for (n = n < TRIM_MAX ? n : TRIM_MAX; n > 0; n--) {
        sched_stack *st = pool_pop(s, class_of(s->stack_log2));
        st->next = first;
        first = st;
    }
    s->low_water = s->nstacks[class_of(s->stack_log2)];
    os_mutex_unlock(&s->stacks_lock);
    return first;
}

bool sched_stack_trim(sched *s)
{
    sched_stack *first = trim_take(s);
    if (!first)
        return false;
    sched_stack *last = first;
    for (sched_stack *st = first; st; last = st, st = st->next) {
        uintptr_t end = (uintptr_t)st->base + ((uintptr_t)1 << st->size_log2);
        os_release((void *)st->lo, end - st->lo);
    }
    os_mutex_lock(&s->stacks_lock);
    last->next = s->cold;
    s->cold = first;
    os_mutex_unlock(&s->stacks_lock);
    return true;
}

/* ---- overflow ---------------------------------------------------------------------------------- */

static bool in_guard(const sched_g *g, uintptr_t addr)
{
    return g && g->memory && addr >= (uintptr_t)g->memory->base && addr < g->memory->lo;
}

static bool on_fault(void *addr, void *ucontext)
{
    (void)ucontext;
    gc_mutator *mu = gc_self();
    if (sched_is_trap(mu) || !mu->heap->sched)
        return false;
    const sched_g *owner = mu->heap->options.stack_check
                               ? sched_shared_guards(mu->heap->sched, (uintptr_t)addr)
                               : NULL;
    if (owner)
        os_fatal("access to the stack of coroutine %llu (%s), which waits: locals of a coroutine "
                 "that was started with tri_go_shared() are its own",
                 (unsigned long long)owner->id, owner->name ? owner->name : "unnamed");
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
    return os_fault_install(on_fault) ? -EAGAIN : 0;
}

void sched_overflow_uninstall(void)
{
    os_fault_uninstall();
}
