/* fork(): the child has this heap's memory, one thread, and whatever state the rest were in.
 *
 * Before the fork, the forking thread takes every lock of every heap, with no handshake open, so that
 * no structure under a lock is half changed in the child. It waits for a handshake as a blocked
 * mutator, or the handshake would wait for it.
 *
 * In the child there are no collector threads. A cycle that was under way is abandoned: the barrier
 * is off, marking never becomes complete, so nothing is swept that was not already being swept, and
 * nothing is freed. The child may read, store and allocate, until it calls exec or ends; it does not
 * collect (tri_collect() says -ECHILD), so at the hard limit allocation fails at once. If it means to
 * stay, tri_restart() brings the heap into the state between two cycles and starts new threads.
 *
 * Rejected: to do that in every child. Most call exec, and threads in the child of a fork are not for
 * everyone.
 *
 * The list of heaps is process-wide because pthread_atfork() is; it cannot be undone either, so the
 * handlers are installed once.
 */
#include "gc/fork.h"

#include <errno.h>

#include "barrier/log.h"
#include "gc/state.h"
#include "gc/summary.h"
#include "os/context.h"
#include "os/fork.h"

static os_mutex list_lock = OS_MUTEX_INIT;
static tri_heap *list;
static bool installed;

/* ---- prepare ---------------------------------------------------------------------------------------- */

static void lock_blocked(void *arg, void *sp)
{
    struct gc *gc = arg;
    gc_mutator *m = gc_self();
    gc_block(m, (uintptr_t)sp);
    os_mutex_lock(&gc->handshake_lock);
    gc_unblock(m);
}

/* A thread that forks in a blocking call is blocked already. */
static bool is_running(void)
{
    return gc_attached() &&
           atomic_load_explicit(&gc_self()->state, memory_order_relaxed) == GC_RUNNING;
}

static void stop_handshakes(tri_heap *h)
{
    struct gc *gc = gc_of(h);
    if (is_running())
        os_call_spilled(lock_blocked, gc);
    else
        os_mutex_lock(&gc->handshake_lock);
}

static void lock_heap(tri_heap *h)
{
    struct gc *gc = gc_of(h);
    if (gc_hooks_of(gc)->fork_prepare)
        gc_hooks_of(gc)->fork_prepare(h);
    os_mutex_lock(&gc->request_lock);
    os_mutex_lock(&gc->stacks_lock);
    os_mutex_lock(&gc->roots_lock);
    heap_fork_prepare(h);
    os_mutex_lock(&gc->lock);
    gc_book_lock(gc->book);
    gc_summary_lock(gc);
    barrier_log_fork_prepare(h);
}

/* Handshakes of all heaps first: one of them may wait for a thread that is in several heaps and would
 * never acknowledge if it waited for a lock that we have taken. */
static void prepare(void)
{
    os_mutex_lock(&list_lock);
    for (tri_heap *h = list; h; h = gc_of(h)->fork_next)
        stop_handshakes(h);
    for (tri_heap *h = list; h; h = gc_of(h)->fork_next)
        lock_heap(h);
}

/* ---- parent ------------------------------------------------------------------------------------------ */

static void release_heap(tri_heap *h)
{
    struct gc *gc = gc_of(h);
    barrier_log_fork_release(h);
    gc_summary_unlock(gc);
    gc_book_unlock(gc->book);
    os_mutex_unlock(&gc->lock);
    heap_fork_release(h);
    os_mutex_unlock(&gc->roots_lock);
    os_mutex_unlock(&gc->stacks_lock);
    os_mutex_unlock(&gc->request_lock);
    if (gc_hooks_of(gc)->fork_release)
        gc_hooks_of(gc)->fork_release(h);
    os_mutex_unlock(&gc->handshake_lock);
}

static void parent(void)
{
    for (tri_heap *h = list; h; h = gc_of(h)->fork_next)
        release_heap(h);
    os_mutex_unlock(&list_lock);
}

/* ---- child -------------------------------------------------------------------------------------------- */

static bool is_mine(const gc_mutator *m)
{
    if (gc_attached())
        for (gc_mutator *each = gc_self(); each; each = each->thread_next)
            if (each == m)
                return true;
    return false;
}

/* The mutators of threads that do not exist here leave the list. What they recorded stays in the sums. */
static void keep_own_mutators(struct gc *gc)
{
    gc_mutator *m = gc->mutators;
    gc->mutators = NULL;
    gc->nmutators = 0;
    while (m) {
        gc_mutator *next = m->next;
        if (is_mine(m)) {
            m->prev = NULL;
            m->next = gc->mutators;
            if (m->next)
                m->next->prev = m;
            gc->mutators = m;
            gc->nmutators++;
        } else {
            m->next = gc->gone;
            gc->gone = m;
        }
        m = next;
    }
}

static void calm(gc_mutator *m)
{
    struct gc *gc = gc_of(m->heap);
    barrier_turn(m, 0);
    m->pub.poll = 0;
    m->nbuffer = 0;
    m->black = false;
    m->tid = os_thread_tid();
    /* The collector that held it (for verify=1) is not here to let go. */
    uint32_t held = GC_ACKING;
    atomic_compare_exchange_strong(&m->state, &held, GC_BLOCKED);
    atomic_store(&m->acked, atomic_load(&gc->epoch));
}

static void child_heap(tri_heap *h)
{
    struct gc *gc = gc_of(h);
    gc->forked = true;
    atomic_store(&h->term, TERM_DONE);
    atomic_store(&h->trigger, UINT64_MAX);
    atomic_store(&gc->assist_bytes, UINT64_MAX);
    atomic_store(&gc->marking, false);
    atomic_store(&gc->active, 0);
    gc->running = false;
    keep_own_mutators(gc);
    for (gc_mutator *m = gc->mutators; m; m = m->next)
        calm(m);
    gc->target.barrier = 0;
    gc->target.black = false;
}

static void child(void)
{
    for (tri_heap *h = list; h; h = gc_of(h)->fork_next) {
        child_heap(h);
        if (gc_hooks_of(gc_of(h))->fork_child)
            gc_hooks_of(gc_of(h))->fork_child(h);
    }
    /* This thread holds the locks here as it did in the parent. */
    parent();
}

/* ---- registration --------------------------------------------------------------------------------------- */

int gc_fork_register(tri_heap *h)
{
    os_mutex_lock(&list_lock);
    int err = installed ? 0 : os_atfork(prepare, parent, child);
    if (!err) {
        installed = true;
        gc_of(h)->fork_next = list;
        list = h;
    }
    os_mutex_unlock(&list_lock);
    return err;
}

void gc_fork_unregister(tri_heap *h)
{
    os_mutex_lock(&list_lock);
    tri_heap **at = &list;
    while (*at != h)
        at = &gc_of(*at)->fork_next;
    *at = gc_of(h)->fork_next;
    os_mutex_unlock(&list_lock);
}

/* ---- a child that stays ----------------------------------------------------------------------- */

static bool owner_is_mine(void *owner)
{
    return is_mine(owner);
}

static void reset_markers(struct gc *gc)
{
    for (unsigned i = 0; i < gc->nmarkers; i++) {
        gc_marker *w = gc->markers[i];
        atomic_store(&w->head, 0);
        atomic_store(&w->tail, 0);
        atomic_store(&w->taken, false);
        w->nfound = 0;
        w->marked_bytes = 0;
    }
}

int tri_restart(tri_heap *h)
{
    struct gc *gc = gc_of(h);
    if (!gc->forked)
        return -EALREADY;
    if (h->sched)
        return -ENOTSUP;
    /* Beyond every generation that a span or a mutator of the parent can have. */
    uint32_t gen = atomic_load(&h->sweepgen) + 2;
    heap_restart(h, gen, owner_is_mine);
    reset_markers(gc);
    barrier_discard_blocks(h);
    gc->cycle = gen;
    gc->target = (gc_target){.gen = gen, .cycle = gen - 1, .h2 = gen - 1};
    for (gc_mutator *m = gc->mutators; m; m = m->next) {
        m->gen = gen;
        m->cycle = m->h2 = gen - 1;
        if (m->snapshot)
            m->snapshot->count = 0;
    }
    atomic_store(&gc->triggered, false);
    atomic_store(&gc->requested, atomic_load(&gc->completed));
    gc_pacer_update(gc);
    int err = gc_start_threads(gc);
    gc->forked = err != 0;
    return err;
}
