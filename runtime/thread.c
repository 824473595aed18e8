/* Plain threads as mutators: attaching, detaching, starting, joining.
 *
 * An attachment is a record per (thread, heap): the thread's stack as that heap's collector sees it,
 * run tables, slots for values handed over. The collector chains a thread's mutators; the current one
 * is the head.
 *
 * tri_thread_start() returns when the new thread has attached itself and shaded its argument. Until
 * then the argument lies on the creator's stack, which stands still in a blocking call. Rejected: a
 * root for it (a lock and an allocation, to save the creator 50 us once).
 */
#include <errno.h>

#include "os/delay.h"
#include "os/memory.h"
#include "os/report.h"
#include "runtime/sched.h"
#include "tricolor/thread.h"

typedef struct thread_record {
    sched_kind kind; /* first */
    gc_mutator *mu;
    gc_stack stack;
    sched_waiter waiter;
    void *slots[SCHED_SLOTS];
} thread_record;

sched_waiter *sched_thread_waiter(gc_mutator *mu)
{
    thread_record *r = mu->runtime;
    return &r->waiter;
}

/* ---- attach and detach ------------------------------------------------------------------------- */

static int bind_tables(gc_mutator *mu)
{
    heap_cache *c;
    int err = heap_cache_new(mu->heap, &c);
    if (err)
        return err;
    gc_bind(mu, c);
    return 0;
}

/* Leaves the thread in the runtime of that heap: nothing is acknowledged before in_runtime drops. */
static int attach(tri_heap *h, gc_mutator **out)
{
    thread_record *r = os_alloc(sizeof *r);
    if (!r)
        return -ENOMEM;
    void *lo, *hi;
    int err = os_stack_bounds(&lo, &hi);
    if (err) {
        err = err == -ENOMEM ? err : -EAGAIN;
        goto fail;
    }
    r->kind = SCHED_KIND_THREAD;
    r->stack.lo = (uintptr_t)lo;
    r->stack.hi = (uintptr_t)hi;
    r->stack.extra = r->slots;
    r->stack.extra_count = SCHED_SLOTS;
    r->waiter.slots = r->slots;
    err = gc_attach(h, &r->stack, &r->mu);
    if (err)
        goto fail;
    r->mu->runtime = r;
    err = bind_tables(r->mu);
    if (err)
        goto fail_tables;
    *out = r->mu;
    return 0;

fail_tables:
    gc_detach(r->mu);
fail:
    os_free(r, sizeof *r);
    return err;
}

int tri_attach(tri_heap *heap)
{
    if (sched_self())
        return -ENOTSUP;
    if (gc_mutator_in(heap))
        return -EEXIST;
    gc_mutator *mu;
    int err = attach(heap, &mu);
    if (err)
        return err;
    gc_shallower(mu);
    return 0;
}

int tri_detach(tri_heap *heap)
{
    gc_mutator *mu = sched_self() ? NULL : gc_mutator_in(heap);
    if (!mu)
        return -EPERM;
    gc_deeper(mu);
    thread_record *r = mu->runtime;
    heap_cache *c = gc_unbind(mu);
    heap_cache_free(c);
    gc_detach(mu);
    os_free(r, sizeof *r);
    return 0;
}

tri_heap *tri_enter(tri_heap *heap)
{
    tri_heap *former = tri_current_heap();
    gc_mutator *mu = gc_mutator_in(heap);
    if (!mu)
        os_fatal("tri_enter: the calling thread is not attached to that heap");
    gc_make_current(mu);
    return former;
}

tri_heap *tri_current_heap(void)
{
    gc_mutator *mu = gc_self();
    return sched_is_trap(mu) ? NULL : mu->heap;
}

void tri_poll(void)
{
    tri_safepoint_();
}

#define STACK_LEAST 4096

int tri_stack_switch(void *lo, void *hi)
{
    gc_mutator *mu = gc_self();
    if (sched_is_trap(mu) || sched_self())
        return -EPERM;
    uintptr_t l = (uintptr_t)lo, u = (uintptr_t)hi;
    if (!l || !u || (l | u) % sizeof(void *) || u < l || u - l < STACK_LEAST)
        return -EINVAL;
    for (; mu; mu = mu->thread_next) {
        thread_record *r = mu->runtime;
        gc_deeper(mu);
        TRI_SIGNAL_FENCE();
        r->stack.lo = l;
        r->stack.hi = u;
        TRI_SIGNAL_FENCE();
        gc_shallower(mu);
    }
    return 0;
}

/* ---- start and join ---------------------------------------------------------------------------- */

struct tri_thread {
    os_thread thread;
    tri_heap *heap;
    void (*fn)(void *);
    void *arg; /* kept alive by the creator until started != 0 */
    int err;
    _Atomic uint32_t started; /* futex */
    int tid;
};

static void announce(tri_thread *t, int err)
{
    t->err = err;
    /* Release: pairs with wait_started(). */
    atomic_store_explicit(&t->started, 1, memory_order_release);
    os_futex_wake(&t->started, 1);
}

static void thread_main(void *arg)
{
    tri_thread *t = arg;
    gc_mutator *mu;
    t->tid = os_thread_tid();
    int err = attach(t->heap, &mu);
    if (err) {
        announce(t, err);
        return;
    }
    /* A pull: from the creator to this stack. */
    void *value = t->arg;
    void (*fn)(void *) = t->fn;
    tri_heap *heap = t->heap;
    OS_DELAY("attach.pull");
    gc_transfer(mu, (uintptr_t)value);
    t->arg = NULL;
    announce(t, 0);
    gc_shallower(mu);
    fn(value);
    tri_detach(heap);
}

static void wait_started(void *arg)
{
    tri_thread *t = arg;
    while (!atomic_load_explicit(&t->started, memory_order_acquire)) /* pairs with announce() */
        os_futex_wait(&t->started, 0, -1);
}

static void join(void *arg)
{
    os_thread_join(&((tri_thread *)arg)->thread);
}

int tri_thread_start(tri_heap *heap, void (*fn)(void *), void *arg, tri_thread **thread)
{
    tri_thread *t = os_alloc(sizeof *t);
    if (!t)
        return -ENOMEM;
    t->heap = heap;
    t->fn = fn;
    t->arg = arg;
    int err = os_thread_start(&t->thread, thread_main, t, "tricolor-thr", 0);
    if (err)
        goto fail;
    sched_blocking(wait_started, t);
    tri_keep_alive(arg);
    err = t->err;
    if (err) {
        sched_blocking(join, t);
        goto fail;
    }
    *thread = t;
    tri_safepoint_();
    return 0;

fail:
    os_free(t, sizeof *t);
    return err;
}

int tri_thread_join(tri_thread *t)
{
    if (t->tid == os_thread_tid())
        return -EDEADLK;
    sched_blocking(join, t);
    os_free(t, sizeof *t);
    tri_safepoint_();
    return 0;
}
