/* A heap's life: creating the heap with its collector, and ending both.
 *
 * Creation builds from the bottom up and unwinds in reverse on any failure, so that a failed system
 * call leaves nothing behind.
 */
#include <errno.h>
#include <string.h>

#include "barrier/log.h"
#include "gc/fork.h"
#include "gc/state.h"
#include "gc/summary.h"
#include "gc/torture.h"
#include "heap/arena.h"
#include "heap/warmer.h"
#include "os/clock.h"
#include "os/context.h"
#include "os/memory.h"
#include "os/report.h"

void gc_set_hooks(tri_heap *h, const gc_hooks *hooks)
{
    /* Release: pairs with gc_hooks_of(). */
    atomic_store_explicit(&gc_of(h)->hooks, hooks, memory_order_release);
}

/* ---- hooks that the heap calls ------------------------------------------------------------------------ */

static void on_refill_swept(void *owner, int64_t start, int64_t end)
{
    gc_mutator *m = owner;
    if (m && owner != HEAP_COLLECTOR)
        gc_record(m->records, GC_REFILL_SWEEP, start, end);
}

static void on_drained(void *mutator, int64_t start, int64_t end)
{
    gc_record(((gc_mutator *)mutator)->records, GC_DRAIN, start, end);
}

static void on_cold(tri_heap *h)
{
    struct gc *gc = gc_of(h);
    atomic_fetch_add_explicit(&gc->warmer_wake, 1, memory_order_release); /* pairs with the wait */
    os_futex_wake(&gc->warmer_wake, 1);
}

static void on_lock_waited(tri_heap *h, int64_t ns)
{
    gc_book_measure(gc_of(h)->book, GC_LOCK_WAIT, ns);
}

/* ---- markers and threads ---------------------------------------------------------------------------------- */

static void free_markers(struct gc *gc)
{
    for (unsigned i = 0; i < gc->nmarkers; i++)
        gc_marker_free(gc->markers[i]);
    os_free(gc->markers, gc->markers_cap * sizeof *gc->markers);
}

/* The collector's own, one per worker thread, and one per processor for guests. */
static int make_markers(struct gc *gc)
{
    gc->markers_cap = 1 + gc->nworkers + (unsigned)os_cpu_count();
    gc->markers = os_alloc(gc->markers_cap * sizeof *gc->markers);
    if (!gc->markers)
        return -ENOMEM;
    while (gc->nmarkers < gc->markers_cap) {
        int err = gc_marker_new(gc, &gc->markers[gc->nmarkers]);
        if (err) {
            free_markers(gc);
            return err;
        }
        gc->markers[gc->nmarkers]->number = gc->nmarkers;
        gc->markers[gc->nmarkers]->reserve = gc->nmarkers > gc->nworkers - gc->nreserve;
        gc->nmarkers++;
    }
    return 0;
}

static void warmer_thread(void *arg)
{
    struct gc *gc = arg;
    gc_own_thread_begin();
    for (;;) {
        uint32_t seen = atomic_load_explicit(&gc->warmer_wake, memory_order_acquire);
        if (atomic_load_explicit(&gc->quit, memory_order_acquire))
            return;
        if (!heap_warm_one(gc->heap))
            os_futex_wait(&gc->warmer_wake, seen, -1);
    }
}

static void stop_threads(struct gc *gc, unsigned workers, bool warmer, bool collector)
{
    atomic_store_explicit(&gc->quit, true, memory_order_release); /* pairs with their loops */
    atomic_fetch_add(&gc->request_word, 1);
    atomic_fetch_add(&gc->markers_wake, 1);
    os_futex_wake(&gc->request_word, 1);
    atomic_fetch_add(&gc->warmer_wake, 1);
    os_futex_wake(&gc->markers_wake, 1 << 20);
    os_futex_wake(&gc->warmer_wake, 1);
    if (warmer)
        os_thread_join(&gc->warmer);
    if (collector)
        os_thread_join(&gc->thread);
    for (unsigned i = 0; i < workers; i++)
        os_thread_join(&gc->worker_threads[i]);
}

int gc_start_threads(struct gc *gc)
{
    unsigned workers = 0;
    bool warmer = false;
    atomic_store(&gc->quit, false);
    int err = 0;
    for (; workers < gc->nworkers; workers++) {
        err = os_thread_start(&gc->worker_threads[workers], gc_marker_thread,
                              gc->markers[1 + workers], "tricolor-mark", 0);
        if (err)
            break;
    }
    if (!err) {
        err = os_thread_start(&gc->warmer, warmer_thread, gc, "tricolor-warm", 0);
        warmer = !err;
    }
    if (!err)
        err = os_thread_start(&gc->thread, gc_collector_thread, gc, "tricolor-gc", 0);
    if (err)
        stop_threads(gc, workers, warmer, false);
    else
        heap_arena_warm_ahead(gc->heap, true);
    return err;
}

/* ---- open and close ---------------------------------------------------------------------------------------- */

static void set_up(struct gc *gc, tri_heap *h)
{
    static const gc_hooks none;
    gc->heap = h;
    atomic_store_explicit(&gc->hooks, &none, memory_order_relaxed);
    gc->kernel = gc_scan_best();
    gc->cycle = atomic_load(&h->sweepgen);
    gc->target.gen = gc->cycle;
    gc->stack_max = (size_t)64 << 10;
    unsigned cpus = (unsigned)os_cpu_count();
    unsigned total = h->options.workers ? h->options.workers : (cpus + 3) / 4;
    total = total > cpus ? cpus : total;
    /* Twice as many when mutators outrun them, unless the user said how many. */
    gc->nreserve = h->options.workers ? 0 : total < cpus - total ? total : cpus - total;
    gc->nworkers = total + gc->nreserve - 1;
    atomic_store(&gc->gogc, h->options.gogc);
    atomic_store(&h->memory_limit, h->options.memory_limit);
    atomic_store(&h->hard_limit, h->options.hard_limit);
    atomic_store(&h->term, TERM_DONE);
    h->hooks = (heap_hooks){.trigger = gc_trigger,
                            .refill_swept = on_refill_swept,
                            .drained = on_drained,
                            .freed = barrier_logging(h) ? barrier_log_freed : NULL,
                            .cold = on_cold,
                            .lock_waited = on_lock_waited};
}

int gc_open(tri_heap *h)
{
    struct gc *gc = os_alloc(sizeof *gc);
    if (!gc)
        return -ENOMEM;
    h->gc = gc;
    gc_torture_open();
    set_up(gc, h);
    int err = gc_book_new(&gc->book);
    if (err)
        goto fail_book;
    if ((err = gc_summary_open(gc)))
        goto fail_summary;
    if ((err = barrier_open(h)))
        goto fail_blocks;
    if ((err = make_markers(gc)))
        goto fail_markers;
    gc->worker_threads = os_alloc((gc->nworkers + 1) * sizeof *gc->worker_threads);
    if (!gc->worker_threads) {
        err = -ENOMEM;
        goto fail_workers;
    }
    if (h->options.verify && (err = gc_verify_open(gc)))
        goto fail_verify;
    /* ThreadSanitizer delays handlers and hands them a context that is no longer true. */
    gc->signals = !h->options.poll_only && !TRI_TSAN;
    if (gc->signals && (err = gc_signals_open()))
        goto fail_signals;
    gc_pacer_open(gc);
    gc->last_end = os_now();
    if ((err = gc_fork_register(h)))
        goto fail_fork;
    if ((err = gc_start_threads(gc)))
        goto fail_threads;
    return 0;

fail_threads:
    gc_fork_unregister(h);
fail_fork:
    if (gc->signals)
        gc_signals_close();
fail_signals:
    gc_verify_close(gc);
fail_verify:
    os_free(gc->worker_threads, (gc->nworkers + 1) * sizeof *gc->worker_threads);
fail_workers:
    free_markers(gc);
fail_markers:
    barrier_close(h);
fail_blocks:
    gc_summary_close(gc);
fail_summary:
    gc_book_free(gc->book);
fail_book:
    os_free(gc, sizeof *gc);
    h->gc = NULL;
    return err;
}

static void free_gone(gc_mutator *m)
{
    while (m) {
        gc_mutator *next = m->next;
        if (m->snapshot)
            gc_snapshot_free(m->snapshot);
        gc_records_free(m->records);
        os_free(m, sizeof *m);
        m = next;
    }
}

static void free_snapshots(gc_snapshot *s)
{
    while (s) {
        gc_snapshot *next = s->next;
        gc_snapshot_free(s);
        s = next;
    }
}

void gc_close(tri_heap *h)
{
    struct gc *gc = gc_of(h);
    gc_fork_unregister(h);
    if (!gc->forked)
        stop_threads(gc, gc->nworkers, true, true);
    if (gc->signals)
        gc_signals_close();
    gc_verify_close(gc);
    free_gone(gc->gone);
    free_snapshots(gc->spare);
    free_snapshots(gc->orphans);
    while (gc->roots) {
        gc_root *next = gc->roots->next;
        os_free(gc->roots, sizeof *gc->roots);
        gc->roots = next;
    }
    gc_stacks_close(gc);
    os_free(gc->worker_threads, (gc->nworkers + 1) * sizeof *gc->worker_threads);
    free_markers(gc);
    barrier_close(gc->heap);
    gc_summary_close(gc);
    gc_book_free(gc->book);
    os_free(gc, sizeof *gc);
    h->gc = NULL;
}

/* ---- the public side ------------------------------------------------------------------------------------------ */

static int check_options(const tri_options *o)
{
    if (o->reserve && o->reserve < (size_t)16 << 20)
        return -EINVAL;
    if (o->hard_limit && o->hard_limit < (size_t)4 << 20)
        return -EINVAL;
    if (o->gogc > 1000000 || o->workers > 1024 || o->procs > 1024)
        return -EINVAL;
    if (o->barrier_check < TRI_BARRIER_CHECK_OFF || o->barrier_check > TRI_BARRIER_CHECK_WARN)
        return -EINVAL;
    return gc_options_supported(o);
}

int tri_heap_create(const tri_options *options, tri_heap **out)
{
    tri_options o;
    int err = 0;
    if (options)
        o = *options;
    else
        err = tri_options_init(&o);
    if (err || (err = check_options(&o)))
        return err;
    if (o.gogc == 0)
        o.gogc = 100;
    gc_stack_check_real();
    os_clock_init();
    tri_heap *h = os_alloc(sizeof *h);
    if (!h)
        return -ENOMEM;
    h->options = o;
    if ((err = heap_open(h)))
        goto fail_heap;
    if ((err = barrier_log_open(h)))
        goto fail_log;
    if ((err = gc_open(h)))
        goto fail_gc;
    *out = h;
    return 0;

fail_gc:
    barrier_log_close(h);
fail_log:
    heap_close(h);
fail_heap:
    os_free(h, sizeof *h);
    return err;
}

int tri_heap_destroy(tri_heap *h)
{
    struct gc *gc = gc_of(h);
    os_mutex_lock(&gc->lock);
    bool busy = gc->nmutators > 0 || h->sched;
    os_mutex_unlock(&gc->lock);
    if (busy)
        return -EBUSY;
    gc_close(h);
    barrier_log_end_of_heap(h);
    barrier_log_close(h);
    heap_close(h);
    os_free(h, sizeof *h);
    return 0;
}

uint64_t tri_barrier_faults(tri_heap *h)
{
    return barrier_log_faults(h);
}

/* ---- tri_collect ------------------------------------------------------------------------------------------------- */

typedef struct collect_call {
    tri_heap *heap;
    uint64_t cycle;
} collect_call;

static void wait_blocked(void *arg)
{
    collect_call *call = arg;
    gc_wait(call->heap, call->cycle);
}

static void block_and_wait(void *arg, void *sp)
{
    gc_mutator *m = gc_self();
    gc_block(m, (uintptr_t)sp);
    wait_blocked(arg);
    gc_unblock(m);
}

int tri_collect(tri_heap *h)
{
    struct gc *gc = gc_of(h);
    if (gc->forked)
        return -ECHILD;
    gc_mutator *m = gc_mutator_in(h);
    if (m && m->pub.in_runtime)
        return -EDEADLK;
    if (gc_is_own_thread())
        return -EDEADLK;
    collect_call call = {h, gc_request(h)};
    if (!gc_attached())
        wait_blocked(&call);
    else if (m && gc_hooks_of(gc)->blocking)
        gc_hooks_of(gc)->blocking(wait_blocked, &call);
    else
        os_call_spilled(block_and_wait, &call);
    return 0;
}

int tri_set_gogc(tri_heap *h, int percent)
{
    struct gc *gc = gc_of(h);
    int old = atomic_exchange(&gc->gogc, percent);
    gc_pacer_nudge(gc);
    return old;
}

size_t tri_set_memory_limit(tri_heap *h, size_t bytes)
{
    size_t old = atomic_exchange(&h->memory_limit, bytes);
    gc_pacer_nudge(gc_of(h));
    return old;
}

size_t tri_set_hard_limit(tri_heap *h, size_t bytes)
{
    size_t old = atomic_exchange(&h->hard_limit, bytes);
    gc_pacer_nudge(gc_of(h));
    return old;
}

int tri_free_os_memory(tri_heap *h)
{
    int err = tri_collect(h);
    if (err)
        return err;
    heap_scavenge(h, SIZE_MAX);
    return 0;
}
