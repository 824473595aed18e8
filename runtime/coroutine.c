/* Coroutines: making, starting, ending, reusing them.
 *
 * A G and its stack stay together when the coroutine ends and wait in a pool for the next one, with
 * the collector's registration: spawning then costs no lock and no system call. Three pools, as in
 * the allocators of the field: per P without a lock, per scheduler under one, and a cold one whose
 * memory went back to the system. A P exchanges half of its pool with the scheduler's at a time, so
 * that a producer on one P and its short-lived children on another do not take the lock for each.
 *
 * Gs lie in slabs that are never freed before the scheduler, so that reports can walk them; the dead
 * ones are recognised by their state. A G is not in its stack: a stack is only an address range,
 * which may one day be shared or replaced while the coroutine is parked.
 *
 * Birth and the collector: the argument moves from the spawner's stack to a slot that is scanned with
 * the child's stack (a push), and from there to the child's stack (a pull). Both shade it.
 */
#include <errno.h>

#include "os/memory.h"
#include "runtime/sched.h"

#define SLAB_GS  62
#define ID_BLOCK 64

struct sched_slab {
    struct sched_slab *next;
    uint32_t used;
    sched_g gs[SLAB_GS];
};

/* ---- pools -------------------------------------------------------------------------------------- */

static uint32_t class_of(uint32_t size_log2)
{
    return size_log2 - SCHED_STACK_MIN_LOG2;
}

/* Pool lock held. */
static sched_g *pool_pop(sched *s, uint32_t class)
{
    sched_g *g = s->pool[class];
    if (g) {
        s->pool[class] = g->next;
        s->npool[class]--;
        if (class == class_of(s->stack_log2) && s->npool[class] < s->low_water)
            s->low_water = s->npool[class];
        return g;
    }
    if (class != class_of(s->stack_log2) || !s->cold)
        return NULL;
    g = s->cold;
    s->cold = g->next;
    return g;
}

static void pool_push(sched *s, uint32_t class, sched_g *g)
{
    g->next = s->pool[class];
    s->pool[class] = g;
    s->npool[class]++;
}

static sched_g *slab_take(sched *s)
{
    struct sched_slab *slab = s->g_slabs;
    if (!slab || slab->used == SLAB_GS) {
        slab = os_alloc(sizeof *slab);
        if (!slab)
            return NULL;
        slab->next = s->g_slabs;
        s->g_slabs = slab;
    }
    sched_g *g = &slab->gs[slab->used];
    g->sched = s;
    g->stack.extra = &g->arg;
    g->waiter.g = g;
    g->waiter.slots = g->slots;
    __atomic_store_n(&slab->used, slab->used + 1, __ATOMIC_RELEASE); /* pairs with sched_g_each() */
    return g;
}

/* A G that never ran, with a stack that the collector knows. Pool lock held. */
static sched_g *g_create(sched *s, uint32_t size_log2)
{
    sched_g *g = s->unused_gs;
    if (g)
        s->unused_gs = g->next;
    else if (!(g = slab_take(s)))
        return NULL;
    if (sched_stack_new(s, g, size_log2))
        goto no_stack;
    if (gc_stack_add(s->heap, &g->stack, NULL))
        goto no_registration;
    return g;

no_registration:
    sched_stack_free(s, g);
no_stack:
    g->next = s->unused_gs;
    s->unused_gs = g;
    return NULL;
}

/* Takes half a pool for a P at once; the first is returned. */
static TRI_NOINLINE sched_g *refill(sched *s, sched_p *p, uint32_t size_log2)
{
    uint32_t class = class_of(size_log2);
    os_mutex_lock(&s->pool_lock);
    sched_g *g = pool_pop(s, class);
    while (p && g && p->nfree < SCHED_POOL / 2 && s->pool[class]) {
        sched_g *more = pool_pop(s, class);
        more->next = p->free;
        p->free = more;
        p->nfree++;
    }
    if (!g)
        g = g_create(s, size_log2);
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
        pool_push(s, class_of(s->stack_log2), g);
    }
    os_mutex_unlock(&s->pool_lock);
}

static sched_g *take(sched *s, sched_p *p, uint32_t size_log2)
{
    if (size_log2 != s->stack_log2)
        return refill(s, NULL, size_log2);
    if (TRI_UNLIKELY(!p || !p->free))
        return refill(s, p, size_log2);
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
    sched_switch(m, sched_next(p), SCHED_AFTER_EXIT);
    __builtin_unreachable();
}

static void coroutine_main(void *arg)
{
    sched_m *m = sched_arrive();
    sched_g *g = arg;
    void *value = g->arg;
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
                uint32_t size_log2, sched_g **out)
{
    sched_p *p = m ? m->p : NULL;
    sched_g *g = take(s, p, size_log2);
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
        gc_stack_reborn(&g->stack, mu);
    }
    sched_fiber_born(&g->fiber);
    os_context_init(&g->ctx, (void *)g->stack.hi, coroutine_main, g);
    atomic_store_explicit(&g->reason, SCHED_REASON_NONE, memory_order_relaxed);
    atomic_store_explicit(&g->state, SCHED_RUNNABLE, memory_order_relaxed);
    count_spawn(s, p);
    *out = g;
    return 0;
}

void sched_g_retire(sched_m *m, sched_g *g)
{
    sched *s = m->sched;
    sched_p *p = m->p;
    gc_stack_die(&g->stack);
    sched_fiber_died(&g->fiber);
    if (g->size_log2 != s->stack_log2) {
        os_mutex_lock(&s->pool_lock);
        pool_push(s, class_of(g->size_log2), g);
        os_mutex_unlock(&s->pool_lock);
        return;
    }
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

static int go_from_m(sched_m *m, void (*fn)(void *), void *arg, const char *name, size_t stack_size)
{
    sched *s = m->sched;
    sched_g *g;
    uint32_t log2 = stack_size ? sched_stack_log2(stack_size) : s->stack_log2;
    int err = sched_g_new(s, m, m->mu, fn, arg, log2, &g);
    if (!err) {
        __atomic_store_n(&g->name, name, __ATOMIC_RELAXED);
        submit(m, s, g);
    }
    sched_leave();
    return err;
}

static TRI_NOINLINE int go_from_thread(void (*fn)(void *), void *arg, const char *name,
                                       size_t stack_size)
{
    gc_mutator *mu = gc_self();
    if (sched_is_trap(mu))
        return -EPERM;
    sched *s = mu->heap->sched;
    if (!s)
        return -ENOENT;
    mu->pub.in_runtime++;
    sched_g *g;
    uint32_t log2 = stack_size ? sched_stack_log2(stack_size) : s->stack_log2;
    int err = sched_g_new(s, NULL, mu, fn, arg, log2, &g);
    if (!err) {
        __atomic_store_n(&g->name, name, __ATOMIC_RELAXED);
        submit(NULL, s, g);
    }
    sched_leave();
    return err;
}

static int go(void (*fn)(void *), void *arg, const char *name, size_t stack_size)
{
    if (stack_size > (size_t)1 << SCHED_STACK_MAX_LOG2)
        return -EINVAL;
    sched_m *m = sched_enter();
    return TRI_LIKELY(m) ? go_from_m(m, fn, arg, name, stack_size)
                         : go_from_thread(fn, arg, name, stack_size);
}

int tri_go(void (*fn)(void *), void *arg)
{
    return go(fn, arg, NULL, 0);
}

int tri_go_sized(void (*fn)(void *), void *arg, size_t stack_size)
{
    return go(fn, arg, NULL, stack_size);
}

int tri_go_named(void (*fn)(void *), void *arg, const char *name)
{
    return go(fn, arg, name, 0);
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
    for (struct sched_slab *slab = s->g_slabs; slab; slab = slab->next)
        for (uint32_t i = 0; i < slab->used; i++)
            if (!fn(arg, &slab->gs[i]))
                goto out;
out:
    os_mutex_unlock(&s->pool_lock);
}

void sched_g_free_all(sched *s)
{
    for (struct sched_slab *next, *slab = s->g_slabs; slab; slab = next) {
        next = slab->next;
        for (uint32_t i = 0; i < slab->used; i++) {
            sched_g *g = &slab->gs[i];
            if (!g->base)
                continue;
            gc_stack_remove(s->heap, &g->stack);
            sched_fiber_free(&g->fiber);
        }
        os_free(slab, sizeof *slab);
    }
    s->g_slabs = NULL;
    sched_stack_free_all(s);
}

#define TRIM_SHARE 10 /* of what was not needed since the last look */
#define TRIM_MAX   4096

static sched_g *trim_take(sched *s)
{
    uint32_t class = class_of(s->stack_log2);
    sched_g *first = NULL;
    os_mutex_lock(&s->pool_lock);
    uint32_t n = s->low_water / TRIM_SHARE;
    for (n = n < TRIM_MAX ? n : TRIM_MAX; n > 0 && s->pool[class]; n--) {
        sched_g *g = pool_pop(s, class);
        g->next = first;
        first = g;
    }
    s->low_water = s->npool[class];
    os_mutex_unlock(&s->pool_lock);
    return first;
}

bool sched_pool_trim(sched *s)
{
    sched_g *first = trim_take(s);
    if (!first)
        return false;
    sched_g *last = first;
    for (sched_g *g = first; g; last = g, g = g->next)
        sched_stack_release(g);
    os_mutex_lock(&s->pool_lock);
    last->next = s->cold;
    s->cold = first;
    os_mutex_unlock(&s->pool_lock);
    return true;
}
