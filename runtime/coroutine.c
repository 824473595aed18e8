/* Coroutines: making, starting, ending, reusing them.
 *
 * A G is not its stack. It gets one when it runs for the first time and gives it back when it ends, so
 * coroutines that are spawned by the thousand and run to their end one after the other share one
 * stack per P, which stays warm in the caches and translations; ten thousand stacks, each touched at
 * its birth, cost two misses in the page tables per coroutine and ten times the whole rest. Until
 * then a G is an argument in a slot that the collector scans.
 *
 * Dead Gs wait in pools with their registration at the collector, so that spawning costs no lock and
 * no system call: one pool per P, without a lock, and one per scheduler, with which a P exchanges
 * half of its own at a time. They lie in slabs that are not freed before the scheduler, so that
 * reports can walk them; the dead ones are recognised by their state. Once there are very many, slabs
 * are huge pages: a million Gs are 70,000 first touches otherwise, and a miss in the translations for
 * each that the collector or a waker comes by.
 *
 * If there is no memory for another stack, the coroutine waits in the global queue until one comes
 * back. If none does for long the process ends, with a line that says why.
 *
 * One that shares its stack (shared.c) is bound to a stack when it first runs, and has it, in the sense
 * of g->memory, while it runs.
 *
 * Birth and the collector: the argument moves from the spawner's stack to the slot (a push), and from
 * there to the child's stack (a pull). Both shade it.
 */
#include <errno.h>

#include "os/clock.h"
#include "os/delay.h"
#include "os/memory.h"
#include "os/report.h"
#include "os/vm.h"
#include "runtime/sched.h"

#ifdef TRI_TORTURE
#define SLAB_GS  2
#define SLAB_FEW ((size_t)64)
#define ID_BLOCK 2
#else
#define SLAB_GS  62                 /* of the first slabs */
#define SLAB_FEW ((size_t)64 << 10) /* coroutines, from which on slabs are large */
#define ID_BLOCK 64
#endif
#define SLAB_HUGE ((size_t)2 << 20) /* bytes of a large one: a huge page */
#define SHORT_NS  10000000000       /* without a stack, until that is fatal */

struct sched_slab {
    struct sched_slab *next;
    uint32_t used, capacity;
    sched_g gs[];
};

#define SLAB_BYTES (sizeof(struct sched_slab) + SLAB_GS * sizeof(sched_g))

/* ---- pools, under the pool's lock ----------------------------------------------------------- */

static sched_g *pool_pop(sched *s)
{
    sched_g *g = s->pool;
    if (g) {
        s->pool = g->next;
        s->npool--;
    }
    return g;
}

static void pool_push(sched *s, sched_g *g)
{
    g->next = s->pool;
    s->pool = g;
    s->npool++;
}

static struct sched_slab *g_slab_huge(void)
{
    struct sched_slab *slab = os_reserve_rw(SLAB_HUGE, SLAB_HUGE);
    if (!slab)
        return NULL;
    os_huge(slab, SLAB_HUGE); /* a kernel without huge pages refuses, which is as good */
    slab->capacity = (uint32_t)((SLAB_HUGE - sizeof *slab) / sizeof(sched_g));
    return slab;
}

static struct sched_slab *g_slab_new(sched *s)
{
    if (s->ngs >= SLAB_FEW)
        return g_slab_huge();
    struct sched_slab *slab = os_alloc(SLAB_BYTES);
    if (slab)
        slab->capacity = SLAB_GS;
    return slab;
}

static void g_slab_free(struct sched_slab *slab)
{
    if (slab->capacity == SLAB_GS)
        os_free(slab, SLAB_BYTES);
    else
        os_unreserve(slab, SLAB_HUGE);
}

/* A G that never ran, known to the collector with an empty stack at no address in particular. */
static sched_g *g_create(sched *s)
{
    struct sched_slab *slab = s->slabs;
    if (!slab || slab->used == slab->capacity) {
        slab = g_slab_new(s);
        if (!slab)
            return NULL;
        slab->next = s->slabs;
        s->slabs = slab;
    }
    sched_g *g = &slab->gs[slab->used];
    g->sched = s;
    g->stack.extra = &g->arg;
    g->stack.lo = g->stack.hi = g->stack.sp = sizeof(void *);
    g->waiter.g = g;
    g->waiter.slots = g->slots;
    if (gc_stack_add(s->heap, &g->stack, NULL))
        return NULL;
    slab->used++;
    s->ngs++;
    return g;
}

static TRI_NOINLINE sched_g *refill(sched *s, sched_p *p)
{
    os_mutex_lock(&s->pool_lock);
    sched_g *g = pool_pop(s);
    while (p && s->pool && p->nfree < SCHED_POOL / 2) {
        sched_g *more = pool_pop(s);
        more->next = p->free;
        p->free = more;
        p->nfree++;
    }
    if (!g)
        g = g_create(s);
    os_mutex_unlock(&s->pool_lock);
    return g;
}

static TRI_NOINLINE void spill(sched *s, sched_p *p)
{
    os_mutex_lock(&s->pool_lock);
    while (p->nfree > SCHED_POOL / 2) {
        sched_g *g = p->free;
        p->free = g->next;
        p->nfree--;
        pool_push(s, g);
    }
    os_mutex_unlock(&s->pool_lock);
}

static sched_g *take(sched *s, sched_p *p)
{
    if (TRI_UNLIKELY(!p || !p->free))
        return refill(s, p);
    sched_g *g = p->free;
    p->free = g->next;
    p->nfree--;
    return g;
}

/* ---- birth ------------------------------------------------------------------------------------ */

static uint64_t next_id(sched *s, sched_p *p)
{
    if (p && p->id_next != p->id_end)
        return ++p->id_next;
    os_mutex_lock(&s->pool_lock);
    uint64_t id = s->ids + 1;
    s->ids += p ? ID_BLOCK : 1;
    os_mutex_unlock(&s->pool_lock);
    if (p) {
        p->id_next = id;
        p->id_end = id + ID_BLOCK - 1;
    }
    return id;
}

static void exit_coroutine(void)
{
    sched_m *m = sched_enter();
    sched_p *p = m->p;
    atomic_store_explicit(&p->ended, atomic_load_explicit(&p->ended, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    atomic_store_explicit(&m->g->state, SCHED_DEAD, memory_order_relaxed);
    sched_switch(m, sched_next(m), SCHED_AFTER_EXIT);
    __builtin_unreachable();
}

static void coroutine_main(void *arg)
{
    sched_m *m = sched_arrive();
    sched_g *g = arg;
    void *value = g->arg;
    OS_DELAY("spawn.pull");
    gc_transfer(m->mu, (uintptr_t)value);
    __atomic_store_n(&g->arg, NULL, __ATOMIC_RELAXED);
    void (*fn)(void *) = g->fn;
    sched_leave();
    fn(value);
    exit_coroutine();
}

static void count_spawn(sched *s, sched_p *p)
{
    if (p)
        atomic_store_explicit(&p->spawned,
                              atomic_load_explicit(&p->spawned, memory_order_relaxed) + 1,
                              memory_order_relaxed);
    else
        atomic_fetch_add_explicit(&s->outside_spawned, 1, memory_order_relaxed);
}

int sched_g_new(sched *s, sched_m *m, gc_mutator *mu, void (*fn)(void *), void *arg,
                uint32_t size_log2, bool shares, sched_g **out)
{
    sched_p *p = m ? m->p : NULL;
    sched_g *g = take(s, p);
    if (TRI_UNLIKELY(!g))
        return -ENOMEM;
    g->fn = fn;
    /* Reports may be reading these. */
    __atomic_store_n(&g->name, NULL, __ATOMIC_RELAXED);
    __atomic_store_n(&g->id, next_id(s, p), __ATOMIC_RELAXED);
    __atomic_store_n(&g->arg, arg, __ATOMIC_RELAXED);
    __atomic_store_n(&g->stack.extra_count, 1 + SCHED_SLOTS, __ATOMIC_RELAXED);
    if (mu) { /* without one, the stack is new: gc_stack_add() has said that it is unscanned */
        gc_transfer(mu, (uintptr_t)arg);
        OS_DELAY("spawn.born");
        gc_stack_reborn(&g->stack, mu);
    }
    g->size_log2 = size_log2;
    g->shares = shares;
    atomic_store_explicit(&g->reason, SCHED_REASON_NONE, memory_order_relaxed);
    atomic_store_explicit(&g->state, SCHED_RUNNABLE, memory_order_relaxed);
    count_spawn(s, p);
    *out = g;
    return 0;
}

TRI_NOINLINE bool sched_g_postpone(sched *s, sched_g *g)
{
    sched_global_put(s, g, g, 1);
    os_mutex_lock(&s->stacks_lock);
    int64_t now = os_now();
    if (!s->short_since)
        s->short_since = now;
    if (now - s->short_since > SHORT_NS)
        os_fatal("no memory for the stack of another coroutine");
    os_mutex_unlock(&s->stacks_lock);
    os_yield();
    return false;
}

bool sched_g_equip(sched_m *m, sched_g *g)
{
    if (TRI_UNLIKELY(g->shares))
        return sched_shared_enter(m, g);
    g->memory = sched_stack_get(m->sched, m->p, g->size_log2);
    return TRI_LIKELY(g->memory) || sched_g_postpone(m->sched, g);
}

void sched_g_begin(gc_mutator *mu, sched_g *g)
{
    if (TRI_LIKELY(!g->bound))
        sched_fiber_stack_open(&g->memory->fiber, (void *)g->memory->lo, (void *)g->memory->hi);
    gc_stack_begin(mu, &g->stack, g->memory->lo, g->memory->hi);
    sched_fiber_born(&g->fiber, (void *)g->stack.lo, (void *)g->stack.hi, g->name);
    os_context_init(&g->ctx, (void *)g->stack.hi, coroutine_main, g);
}

void sched_g_retire(sched_m *m, sched_g *g)
{
    sched *s = m->sched;
    sched_p *p = m->p;
    g->stack.lo = g->stack.hi; /* the memory is another coroutine's soon */
    gc_stack_die(&g->stack);
    sched_fiber_died(&g->fiber);
    if (TRI_UNLIKELY(g->bound)) {
        sched_shared_end(m, g);
    } else {
        sched_fiber_stack_close(&g->memory->fiber, (void *)g->memory->lo, (void *)g->memory->hi);
        sched_stack_put(s, p, g->memory);
    }
    g->memory = NULL;
    g->next = p->free;
    p->free = g;
    if (TRI_UNLIKELY(++p->nfree >= SCHED_POOL))
        spill(s, p);
}

/* ---- the public side ----------------------------------------------------------------------------- */

static void submit(sched_m *m, sched *s, sched_g *g)
{
    if (!m) {
        sched_global_put(s, g, g, 1);
        sched_wake(s);
        return;
    }
    sched_runnext_put(m->p, g);
    if (TRI_LIKELY(!atomic_load_explicit(&s->nidle, memory_order_relaxed)))
        return;
    if (sched_ring_length(m->p))
        sched_wake(s);
    else
        sched_monitor_watch(m->p);
}

/* What a spawner may ask for. */
typedef struct wish {
    const char *name;
    size_t stack_size;
    bool shares;
} wish;

static int make(sched *s, sched_m *m, gc_mutator *mu, void (*fn)(void *), void *arg, wish w,
                sched_g **out)
{
    uint32_t log2 = w.stack_size ? sched_stack_log2(w.stack_size) : s->stack_log2;
    int err = sched_g_new(s, m, mu, fn, arg, log2, w.shares && s->can_share, out);
    if (!err)
        __atomic_store_n(&(*out)->name, w.name, __ATOMIC_RELAXED);
    return err;
}

static int go_from_m(sched_m *m, void (*fn)(void *), void *arg, wish w)
{
    sched *s = m->sched;
    sched_g *g;
    int err = make(s, m, m->mu, fn, arg, w, &g);
    if (!err)
        submit(m, s, g);
    sched_leave();
    return err;
}

static TRI_NOINLINE int go_from_thread(void (*fn)(void *), void *arg, wish w)
{
    gc_mutator *mu = gc_self();
    if (sched_is_trap(mu))
        return -EPERM;
    sched *s = mu->heap->sched;
    if (!s)
        return -ENOENT;
    if (s->forked)
        return -ECHILD;
    gc_deeper(mu);
    sched_g *g;
    int err = make(s, NULL, mu, fn, arg, w, &g);
    if (!err)
        submit(NULL, s, g);
    sched_leave();
    return err;
}

static inline int go(void (*fn)(void *), void *arg, wish w)
{
    if (w.stack_size > (size_t)1 << SCHED_STACK_MAX_LOG2)
        return -EINVAL;
    sched_m *m = sched_enter();
    if (m && TRI_UNLIKELY(m->sched->forked)) {
        sched_leave();
        return -ECHILD;
    }
    return TRI_LIKELY(m) ? go_from_m(m, fn, arg, w) : go_from_thread(fn, arg, w);
}

int tri_go(void (*fn)(void *), void *arg)
{
    return go(fn, arg, (wish){0});
}

int tri_go_sized(void (*fn)(void *), void *arg, size_t stack_size)
{
    return go(fn, arg, (wish){.stack_size = stack_size});
}

int tri_go_named(void (*fn)(void *), void *arg, const char *name)
{
    return go(fn, arg, (wish){.name = name});
}

int tri_go_shared(void (*fn)(void *), void *arg)
{
    return go(fn, arg, (wish){.shares = true});
}

uint64_t tri_coro_id(void)
{
    sched_m *m = sched_self();
    return m ? m->g->id : 0;
}

const char *tri_coro_name(void)
{
    sched_m *m = sched_self();
    if (!m)
        return NULL;
    return m->g->name ? m->g->name : "";
}

/* ---- all of them ------------------------------------------------------------------------------- */

void sched_g_each(sched *s, bool (*fn)(void *arg, sched_g *g), void *arg)
{
    os_mutex_lock(&s->pool_lock);
    for (struct sched_slab *slab = s->slabs; slab; slab = slab->next)
        for (uint32_t i = 0; i < slab->used; i++)
            if (!fn(arg, &slab->gs[i]))
                goto out;
out:
    os_mutex_unlock(&s->pool_lock);
}

void sched_g_free_all(sched *s)
{
    for (struct sched_slab *next, *slab = s->slabs; slab; slab = next) {
        next = slab->next;
        for (uint32_t i = 0; i < slab->used; i++) {
            gc_stack *stack = &slab->gs[i].stack;
            gc_stack_remove(s->heap, stack);
            if (stack->away)
                sched_image_free(&s->images, stack->away, gc_stack_live(stack));
            sched_fiber_died(&slab->gs[i].fiber);
        }
        g_slab_free(slab);
    }
    s->slabs = NULL;
    sched_shared_free_all(s);
    sched_stack_free_all(s);
}
