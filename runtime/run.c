/* Life of a scheduler: tri_run(), start and stop.
 *
 * tri_run()'s caller does not become an M, it waits: all Ms are alike then, none has the program's
 * main stack under it, and a scheduler beside attached threads (tri_sched_start) is the same thing
 * as one with a main coroutine. The price is one sleeping thread.
 *
 * References. The stopper holds one, each abandoned M one (machine.c). The last to go frees the
 * scheduler, and the heap with it if tri_run() made it.
 *
 * The collector's hooks find the scheduler through the heap. hooks_lock keeps it from being freed
 * under a hook; it is a leaf for the collector, and held only around a wake-up.
 */
#include <errno.h>

#include "os/membarrier.h"
#include "os/memory.h"
#include "os/vm.h"
#include "runtime/sched.h"

static os_mutex hooks_lock;

/* ---- hooks ------------------------------------------------------------------------------------- */

static void hook_wake_idle(tri_heap *h)
{
    os_mutex_lock(&hooks_lock);
    if (h->sched)
        sched_wake(h->sched);
    os_mutex_unlock(&hooks_lock);
}

static unsigned hook_procs(tri_heap *h)
{
    os_mutex_lock(&hooks_lock);
    unsigned n = h->sched ? h->sched->nprocs : 0;
    os_mutex_unlock(&hooks_lock);
    return n;
}

/* There may be processors without a P. */
static void hook_mark_begin(tri_heap *h, unsigned threads)
{
    os_mutex_lock(&hooks_lock);
    sched *s = h->sched;
    if (s && s->nprocs + threads > s->cpus) {
        uint32_t missing = s->nprocs + threads - s->cpus;
        sched_lend_begin(s, missing < threads ? missing : threads);
    }
    os_mutex_unlock(&hooks_lock);
}

static void hook_mark_end(tri_heap *h)
{
    os_mutex_lock(&hooks_lock);
    if (h->sched)
        sched_lend_end(h->sched);
    os_mutex_unlock(&hooks_lock);
}

/* At least a page for each stack that is somebody's, deeper ones are not known; and what lies beside
 * those that are shared. */
static uint64_t hook_stack_bytes(tri_heap *h)
{
    sched_stats st;
    os_mutex_lock(&hooks_lock);
    bool any = sched_read_stats(h, &st, false);
    os_mutex_unlock(&hooks_lock);
    return any ? (st.stacks - st.unused_stacks) * os_page_size() + st.image_bytes : 0;
}

/* hooks_lock guards one word, which is whole in the child whoever held it. */
static void hook_fork_child(tri_heap *h)
{
    hooks_lock = (os_mutex)OS_MUTEX_INIT;
    sched_fork_child(h);
}

static void set_sched(tri_heap *h, sched *s)
{
    os_mutex_lock(&hooks_lock);
    h->sched = s;
    os_mutex_unlock(&hooks_lock);
}

static void set_hooks(tri_heap *h)
{
    static const gc_hooks hooks = {
        .wake_idle = hook_wake_idle,
        .mark_begin = hook_mark_begin,
        .mark_end = hook_mark_end,
        .procs = hook_procs,
        .stack_bytes = hook_stack_bytes,
        .fork_prepare = sched_fork_prepare,
        .fork_release = sched_fork_release,
        .fork_child = hook_fork_child,
        .blocking = sched_blocking,
        .preempt = sched_preempt,
    };
    gc_set_hooks(h, &hooks);
}

/* ---- creation ---------------------------------------------------------------------------------- */

/* Zeroed, and aligned to cache lines; what was allocated lies in the word before. */
static void *lines_alloc(size_t size)
{
    char *whole = os_alloc(size + 2 * TRI_CACHE_LINE);
    if (!whole)
        return NULL;
    uintptr_t at = ((uintptr_t)whole + 2 * TRI_CACHE_LINE - 1) & ~(uintptr_t)(TRI_CACHE_LINE - 1);
    ((void **)at)[-1] = whole;
    return (void *)at;
}

static void lines_free(void *p, size_t size)
{
    if (p)
        os_free(((void **)p)[-1], size + 2 * TRI_CACHE_LINE);
}

static void free_p(sched_p *p)
{
    if (p->cache)
        heap_cache_free(p->cache);
    sched_timers_free(p);
}

static int init_p(sched *s, uint32_t i)
{
    sched_p *p = &s->ps[i];
    p->sched = s;
    p->id = i;
    p->random = os_random();
    p->fair = SCHED_FAIR;
    atomic_store_explicit(&p->timers.next, INT64_MAX, memory_order_relaxed);
    return heap_cache_new(s->heap, &p->cache);
}

static int new_ps(sched *s)
{
    s->ps = lines_alloc(s->nprocs * sizeof *s->ps);
    s->spare = os_alloc(s->nprocs * sizeof *s->spare);
    if (!s->ps || !s->spare)
        return -ENOMEM;
    for (uint32_t i = 0; i < s->nprocs; i++) {
        int err = init_p(s, i);
        if (err)
            return err;
    }
    for (uint32_t i = s->nprocs; i-- > 0;)
        sched_p_put_idle_locked(s, &s->ps[i]);
    return 0;
}

static void free_machines(sched *s)
{
    for (sched_m *next, *m = s->machines; m; m = next) {
        next = m->next;
        os_free(m, sizeof *m);
    }
}

static void free_sched(sched *s)
{
    sched_g_free_all(s);
    for (uint32_t i = 0; s->ps && i < s->nprocs; i++)
        free_p(&s->ps[i]);
    while (s->nspare)
        heap_cache_free(s->spare[--s->nspare]);
    free_machines(s);
    if (s->spare)
        os_free(s->spare, s->nprocs * sizeof *s->spare);
    lines_free(s->ps, s->nprocs * sizeof *s->ps);
    lines_free(s, sizeof *s);
}

bool sched_unref(sched *s)
{
    os_mutex_lock(&s->lock);
    bool last = --s->refs == 0;
    os_mutex_unlock(&s->lock);
    if (!last)
        return false;
    tri_heap *h = s->heap;
    bool owns_heap = s->owns_heap;
    set_sched(h, NULL);
    free_sched(s);
    sched_overflow_uninstall();
    if (owns_heap)
        tri_heap_destroy(h);
    return true;
}

static int start_monitor(sched *s)
{
    return os_thread_start(&s->monitor, sched_monitor_main, s, "tricolor-mon", (size_t)128 << 10);
}

static int new_sched(tri_heap *h, unsigned procs, sched **out)
{
    sched *s = lines_alloc(sizeof *s);
    if (!s)
        return -ENOMEM;
    s->heap = h;
    s->nprocs = procs;
    s->cpus = (uint32_t)os_cpu_count();
    s->stack_log2 = sched_stack_log2(h->options.stack_size ? h->options.stack_size : 65536);
    s->can_demote = os_membarrier_init() == 0;
    sched_shared_init(s);
    atomic_store_explicit(&s->monitor_until, INT64_MAX, memory_order_relaxed);
    s->refs = 1;
    int err = sched_overflow_install();
    if (err)
        goto fail_overflow;
    err = new_ps(s);
    if (err)
        goto fail;
    set_hooks(h);
    set_sched(h, s);
    err = start_monitor(s);
    if (err)
        goto fail_monitor;
    *out = s;
    return 0;

fail_monitor:
    set_sched(h, NULL);
fail:
    sched_overflow_uninstall();
    free_sched(s);
    return err;
fail_overflow:
    lines_free(s, sizeof *s);
    return err;
}

#define PROCS_MAX 1024u

int tri_sched_start(tri_heap *h, unsigned procs)
{
    if (!procs)
        procs = h->options.procs ? h->options.procs : (unsigned)os_cpu_count();
    if (procs > PROCS_MAX)
        return -EINVAL;
    if (h->sched)
        return -EEXIST;
    sched *s;
    return new_sched(h, procs, &s);
}

/* ---- the end ------------------------------------------------------------------------------------ */

static void stop(void *arg)
{
    sched *s = arg;
    sched_monitor_stop(s);
    sched_machines_stop(s);
}

int tri_sched_stop(tri_heap *h)
{
    sched *s = h->sched;
    if (!s)
        return -ENOENT;
    sched_m *m = sched_self();
    if (m && m->sched == s)
        return -EPERM;
    if (atomic_load_explicit(&s->stopping, memory_order_acquire))
        return -EBUSY;
    sched_blocking(stop, s);
    return sched_unref(s) ? 0 : -EBUSY;
}

/* ---- tri_run ------------------------------------------------------------------------------------ */

struct main_call {
    void (*fn)(void *);
    void *arg;
    _Atomic uint32_t done; /* futex */
};

static void main_coroutine(void *arg)
{
    struct main_call *call = arg;
    call->fn(call->arg);
    /* Release: pairs with wait_for_main(). The caller stays until the scheduler has stopped. */
    atomic_store_explicit(&call->done, 1, memory_order_release);
    os_futex_wake(&call->done, 1);
}

static void wait_for_main(void *arg)
{
    struct main_call *call = arg;
    while (!atomic_load_explicit(&call->done, memory_order_acquire)) /* pairs with main_coroutine */
        os_futex_wait(&call->done, 0, -1);
}

static int start_main(sched *s, struct main_call *call)
{
    sched_g *g;
    int err = sched_g_new(s, NULL, NULL, main_coroutine, call, s->stack_log2, false, &g);
    if (err)
        return err;
    g->name = "main";
    sched_global_put(s, g, g, 1);
    sched_wake(s);
    return 0;
}

/* The heap goes with the scheduler, now or when the last abandoned M ends. */
static int stop_with_heap(tri_heap *h, sched *s)
{
    sched_blocking(stop, s);
    os_mutex_lock(&s->lock);
    bool alone = s->refs == 1;
    s->owns_heap = !alone;
    os_mutex_unlock(&s->lock);
    if (!sched_unref(s) || !alone)
        return 0;
    return tri_heap_destroy(h);
}

int tri_run(const tri_options *options, void (*main_fn)(void *), void *arg)
{
    tri_heap *h;
    int err = tri_heap_create(options, &h);
    if (err)
        return err;
    err = tri_sched_start(h, 0);
    if (err) {
        tri_heap_destroy(h);
        return err;
    }
    struct main_call call = {.fn = main_fn, .arg = arg};
    err = start_main(h->sched, &call);
    if (!err)
        sched_blocking(wait_for_main, &call);
    int end = stop_with_heap(h, h->sched);
    return err ? err : end;
}

unsigned tri_procs(void)
{
    gc_mutator *mu = gc_self();
    if (sched_is_trap(mu) || !mu->heap->sched)
        return 0;
    return mu->heap->sched->nprocs;
}
