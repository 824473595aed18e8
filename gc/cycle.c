/* The cycle: what would be stops of the world elsewhere, as a sequence of handshakes.
 *
 *   H1     barrier BOTH everywhere; stores begun before that are waited out by
 *   H1b    (nothing to do: an acknowledgement is enough)
 *   H2     each mutator takes its own running stack, allocates black, barrier DELETE
 *   mark   run tables are retired, roots, stack copies and parked stacks marked; then the graph
 *   round  each drains its buffer; over when nothing was newly marked anywhere in a whole round
 *   H5     barrier OFF, buffers discarded, white allocation; when all have acknowledged: sweep
 *
 * docs/cycle.md says why each step is there and what is lost without it. This file is the collector's
 * own thread; what each mutator does at its acknowledgement is in handshake.c.
 *
 * The next cycle may not start before every span is swept: mark bits are per span and would be
 * mistaken for the new cycle's.
 */
#include "barrier/log.h"
#include "barrier/sabotage.h"
#include "gc/gctrace.h"
#include "gc/state.h"
#include "gc/summary.h"
#include "os/clock.h"
#include "os/delay.h"
#include "os/report.h"
#include "os/vm.h"

#define SNAPSHOT_SHALLOW ((size_t)16384) /* words */
#define SNAPSHOT_USES    16

/* A mutator that copies a deep stack at its H2 should not find a copy without memory: first touches of 1 MiB
 * take longer than copying it. How deep it was a moment ago its last acknowledgement has told; what
 * cannot be had it touches itself. */
static void warm_snapshots(struct gc *gc)
{
    gc_collector_lock(gc);
    for (gc_mutator *m = gc->mutators; m; m = m->next) {
        gc_snapshot *s = m->snapshot;
        /* Acquire: what it wrote before it acknowledged. */
        (void)atomic_load_explicit(&m->acked, memory_order_acquire);
        size_t words = m->depth / sizeof(uintptr_t) + 64;
        if (!s || words <= s->warm || words <= SNAPSHOT_SHALLOW || words > s->capacity)
            continue;
        if (os_populate(s, sizeof *s + words * sizeof(uintptr_t)) == 0)
            s->warm = words;
    }
    gc_collector_unlock(gc);
}

static void prepare_snapshots(struct gc *gc)
{
    gc_collector_lock(gc);
    for (gc_mutator *m = gc->mutators; m; m = m->next)
        if (atomic_load_explicit(&m->acked, memory_order_acquire) ==
            atomic_load_explicit(&gc->epoch, memory_order_relaxed))
            gc_snapshot_prepare(gc, m);
    gc_collector_unlock(gc);
}

/* ---- after H2 ----------------------------------------------------------------------------------------- */

/* Run tables that no mutator holds did not take part in H2. After it is complete, whoever binds them
 * is black and switches them itself; those that stay idle are switched here, so that no run from
 * before H2 is issued after the sweep. */
static void switch_idle(struct gc *gc, heap_cache *c)
{
    void *owner = NULL;
    /* Acquire and release: pair with gc_bind() and gc_unbind(). */
    if (atomic_compare_exchange_strong_explicit(&c->owner, &owner, HEAP_COLLECTOR,
                                                memory_order_acquire, memory_order_relaxed)) {
        if (atomic_load_explicit(&c->switched, memory_order_relaxed) != gc->cycle)
            heap_cache_switch(c, gc->cycle);
        atomic_store_explicit(&c->owner, NULL, memory_order_release);
    }
}

static void retire_tables(struct gc *gc)
{
    tri_heap *h = gc->heap;
    os_mutex_lock(&h->caches_lock);
    for (heap_cache *c = h->caches; c; c = c->next) {
        /* Acquire: pairs with the release of heap_cache_switch() by a mutator that is binding it. */
        while (atomic_load_explicit(&c->switched, memory_order_acquire) != gc->cycle) {
            switch_idle(gc, c);
            os_pause();
        }
        heap_cache_retire_inactive(c);
    }
    os_mutex_unlock(&h->caches_lock);
}

static gc_snapshot *collect_snapshots(struct gc *gc)
{
    gc_collector_lock(gc);
    gc_snapshot *list = gc->orphans;
    gc->orphans = NULL;
    for (gc_mutator *m = gc->mutators; m; m = m->next) {
        gc_snapshot *s = m->snapshot;
        if (!s || !s->count)
            continue;
        m->snapshot = NULL;
        s->next = list;
        list = s;
    }
    gc_collector_unlock(gc);
    return list;
}

/* One that was deep and has been shallow for some cycles gives its memory back; others stay warm. Not at
 * once, since a deep mutator gets another copy each time. */
static void recycle_snapshot(struct gc *gc, gc_snapshot *s)
{
    size_t capacity = s->capacity;
    if (s->warm < s->count)
        s->warm = s->count;
    s->shallow = s->count < s->warm / 4 ? s->shallow + 1 : 0;
    if (s->warm > SNAPSHOT_SHALLOW && s->shallow == SNAPSHOT_USES) {
        os_release(s, sizeof *s + s->capacity * sizeof(uintptr_t));
        s->capacity = capacity; /* os_release() wiped it */
        s->warm = s->shallow = 0;
    }
    s->count = 0;
    gc_collector_lock(gc);
    s->next = gc->spare;
    gc->spare = s;
    gc_collector_unlock(gc);
}

static void mark_snapshots(struct gc *gc, gc_marker *w)
{
    gc_snapshot *s = collect_snapshots(gc);
    while (s) {
        gc_snapshot *next = s->next;
        gc_mark_words(w, s->words, s->count);
        recycle_snapshot(gc, s);
        s = next;
    }
}

/* ---- marking ------------------------------------------------------------------------------------------- */

static void wake_markers(struct gc *gc)
{
    gc_wake_markers(gc);
    if (gc_hooks_of(gc)->wake_idle)
        gc_hooks_of(gc)->wake_idle(gc->heap);
}

/* seq_cst on term throughout: it is compared-and-swapped against note_new_mark(). */
static void set_term(tri_heap *h, uint32_t term)
{
    atomic_store_explicit(&h->term, term, memory_order_seq_cst);
}

/* What mutators handed over belongs to their buffers: what they pushed before they acknowledged the round
 * must be marked for it to be clean. Word by word, since a word that is marked already leaves it clean. */
static void shade_blocks(tri_heap *h)
{
    for (barrier_block *b = barrier_take_blocks(h); b; b = barrier_give_back(h, b))
        for (uint32_t i = 0; i < b->count; i++)
            barrier_shade(h, b->words[i]);
}

/* One round. True: marking is complete, term is DONE. */
static bool round_is_clean(struct gc *gc)
{
    tri_heap *h = gc->heap;
    uint32_t clean = TERM_CLEAN;
    set_term(h, TERM_CLEAN);
    /* A marker that entered before term was CLEAN counts in `active`; one that enters later sees
     * CLEAN before it scans anything and makes it DIRTY. */
    if (atomic_load_explicit(&gc->active, memory_order_seq_cst) > 1) {
        set_term(h, TERM_OPEN);
        return false;
    }
    OS_DELAY("round.begun");
    gc_handshake(gc, GC_STEP_ROUND, gc->target);
    OS_DELAY("round.blocks");
    if (!BARRIER_LACKS(BLOCKS))
        shade_blocks(h);
    if (BARRIER_LACKS(RECHECK)) {
        set_term(h, TERM_DONE);
        return true;
    }
    OS_DELAY("round.acknowledged");
    /* The queues first, then `active`: a marker that emptied one may not have come to DIRTY yet, but is
     * counted until it has. */
    if (!gc_mark_work_left(gc) && atomic_load_explicit(&gc->active, memory_order_seq_cst) == 1 &&
        atomic_compare_exchange_strong_explicit(&h->term, &clean, TERM_DONE, memory_order_seq_cst,
                                                memory_order_relaxed))
        return true;
    set_term(h, TERM_OPEN);
    return false;
}

/* Small heaps are marked by the collector alone before another thread has woken. */
#ifdef TRI_TORTURE
#define ALONE_SPANS 1
#else
#define ALONE_SPANS 64
#endif

/* True: there is more to mark than that, and the others know. */
static bool wake_if_large(struct gc *gc, gc_marker *w)
{
    bool large = gc_mark_some(w, ALONE_SPANS) && gc_mark_work_left(gc);
    if (large)
        wake_markers(gc);
    return large;
}

static void mark(struct gc *gc)
{
    gc_marker *w = gc->markers[0];
    atomic_fetch_add_explicit(&gc->active, 1, memory_order_seq_cst);
    atomic_store_explicit(&gc->marking, true, memory_order_seq_cst); /* pairs with enter() */
    OS_DELAY("mark.tables");
    retire_tables(gc);
    OS_DELAY("mark.roots");
    gc_roots_mark(gc, w);
    OS_DELAY("mark.snapshots");
    mark_snapshots(gc, w);
    bool woken = wake_if_large(gc, w);
    OS_DELAY("mark.stacks");
    gc_stacks_mark_parked(gc, w);
    if (!woken)
        (void)wake_if_large(gc, w);
    do
        gc_mark_all(gc, w);
    while (!round_is_clean(gc));
    atomic_store_explicit(&gc->marking, false, memory_order_seq_cst);
    atomic_fetch_sub_explicit(&gc->active, 1, memory_order_seq_cst);
    while (atomic_load_explicit(&gc->active, memory_order_seq_cst))
        os_yield(); /* guests that are just leaving */
}

/* ---- sweeping ------------------------------------------------------------------------------------------- */

#ifdef TRI_TORTURE
#define SWEEP_PIECE 1
#else
#define SWEEP_PIECE 128 /* spans */
#endif

static void sweep(struct gc *gc)
{
    bool busy;
    for (;;) {
        gc_make_way();
        if (heap_sweep_some(gc->heap, SWEEP_PIECE, &busy))
            continue;
        if (!busy)
            return;
        os_yield();
    }
}

/* ---- the cycle ------------------------------------------------------------------------------------------- */

static gc_target target_now(struct gc *gc, uint8_t barrier, bool black)
{
    return (gc_target){.barrier = barrier,
                       .black = black,
                       .gen = gc->cycle,
                       .cycle = gc->cycle,
                       .h2 = black ? gc->cycle : gc->target.h2};
}

static int64_t longest(struct gc *gc)
{
    return atomic_load_explicit(&gc->longest, memory_order_relaxed);
}

static void begin(struct gc *gc)
{
    prepare_snapshots(gc);
    set_term(gc->heap, TERM_OPEN);
    gc_target both = target_now(gc, TRI_SHADE_OLD | TRI_SHADE_NEW, false);
    gc_handshake(gc, GC_STEP_H1, both);
    gc->stats.begin_max = longest(gc);
    OS_DELAY("cycle.h1");
    if (!BARRIER_LACKS(H1B))
        gc_handshake(gc, GC_STEP_H1B, both);
    warm_snapshots(gc);
    OS_DELAY("cycle.h1b");
    gc_handshake(gc, GC_STEP_H2, target_now(gc, TRI_SHADE_OLD, true));
    if (longest(gc) > gc->stats.begin_max)
        gc->stats.begin_max = longest(gc);
    gc->stats.h2_done = os_now();
    OS_DELAY("cycle.h2");
}

#define KEEP_EMPTY ((uint64_t)4 << 20)

/* Who asks for a collection wants to see the memory free, and a limit leaves nothing to spare. */
static uint64_t kept_empty(struct gc *gc)
{
    bool limit = atomic_load_explicit(&gc->heap->memory_limit, memory_order_relaxed) ||
                 atomic_load_explicit(&gc->heap->hard_limit, memory_order_relaxed);
    return gc->stats.forced || limit ? 0 : KEEP_EMPTY;
}

static void end(struct gc *gc)
{
    gc_target off = target_now(gc, 0, false);
    off.gen = gc->cycle + 1;
    off.h2 = gc->cycle;
    OS_DELAY("cycle.done");
    gc_handshake(gc, GC_STEP_H5, off);
    barrier_discard_blocks(gc->heap);
    gc->stats.end_max = longest(gc);
    OS_DELAY("cycle.h5");
    heap_sweep_keep(gc->heap, kept_empty(gc));
    heap_sweep_begin(gc->heap);
}

static void run_cycle(struct gc *gc)
{
    gc->stats = (gc_cycle_stats){.start = os_now(), .forced = gc->stats.forced};
    gc_pacer_cycle_start(gc);
    if (gc_hooks_of(gc)->mark_begin)
        gc_hooks_of(gc)->mark_begin(gc->heap, gc->nworkers - gc->nreserve + 1);
    begin(gc);
    mark(gc);
    gc_pacer_mark_done(gc);
    if (gc->heap->options.verify)
        gc_verify(gc);
    if (barrier_logging(gc->heap))
        barrier_log_check(gc->heap);
    end(gc);
    sweep(gc);
    if (gc_hooks_of(gc)->mark_end)
        gc_hooks_of(gc)->mark_end(gc->heap);
    gc->stats.sweep_done = os_now();
    gc->cycle++;
    gc_pacer_cycle_end(gc);
}

/* ---- requests --------------------------------------------------------------------------------------------- */

static void wake_collector(struct gc *gc)
{
    atomic_fetch_add_explicit(&gc->request_word, 1, memory_order_seq_cst); /* pairs with idle() */
    os_futex_wake(&gc->request_word, 1);
}

void gc_pacer_nudge(struct gc *gc)
{
    atomic_store_explicit(&gc->repace, true, memory_order_release); /* pairs with the loop below */
    wake_collector(gc);
}

/* The heap's trigger hook: cheap when a cycle was asked for already. */
void gc_trigger(tri_heap *h)
{
    struct gc *gc = gc_of(h);
    if (atomic_load_explicit(&gc->triggered, memory_order_relaxed) ||
        atomic_exchange_explicit(&gc->triggered, true, memory_order_seq_cst))
        return;
    wake_collector(gc);
}

uint64_t gc_cycles(tri_heap *h)
{
    return atomic_load_explicit(&gc_of(h)->completed, memory_order_acquire);
}

uint64_t gc_request(tri_heap *h)
{
    struct gc *gc = gc_of(h);
    os_mutex_lock(&gc->request_lock);
    /* A cycle in flight began before this call. */
    uint64_t want = atomic_load_explicit(&gc->completed, memory_order_relaxed) + 1 + gc->running;
    if (want > atomic_load_explicit(&gc->requested, memory_order_relaxed))
        atomic_store_explicit(&gc->requested, want, memory_order_relaxed);
    os_mutex_unlock(&gc->request_lock);
    wake_collector(gc);
    return want;
}

void gc_wait(tri_heap *h, uint64_t cycle)
{
    struct gc *gc = gc_of(h);
    for (;;) {
        uint32_t seen = atomic_load_explicit(&gc->done_word, memory_order_acquire);
        if (gc_cycles(h) >= cycle)
            return;
        os_futex_wait(&gc->done_word, seen, -1);
    }
}

/* Whether to start a cycle now; takes note that it runs. */
static bool start_wanted(struct gc *gc)
{
    os_mutex_lock(&gc->request_lock);
    uint64_t done = atomic_load_explicit(&gc->completed, memory_order_relaxed);
    bool forced = atomic_load_explicit(&gc->requested, memory_order_relaxed) > done;
    bool triggered = atomic_load_explicit(&gc->triggered, memory_order_seq_cst);
    gc->running = forced || triggered;
    gc->stats.forced = forced;
    os_mutex_unlock(&gc->request_lock);
    return gc->running;
}

static void finish(struct gc *gc)
{
    os_mutex_lock(&gc->request_lock);
    gc->running = false;
    gc->num_forced += gc->stats.forced;
    atomic_store_explicit(&gc->triggered, false, memory_order_relaxed);
    atomic_fetch_add_explicit(&gc->completed, 1, memory_order_release); /* pairs with gc_cycles */
    os_mutex_unlock(&gc->request_lock);
    atomic_fetch_add_explicit(&gc->done_word, 1, memory_order_release);
    os_futex_wake(&gc->done_word, 1 << 20);
}

#define IDLE_NS 50000000 /* between looks at what the scavenger might return */

void gc_collector_thread(void *arg)
{
    struct gc *gc = arg;
    gc_own_thread_begin();
    os_thread_sharp_timers();
    while (!atomic_load_explicit(&gc->quit, memory_order_acquire)) {
        uint32_t seen = atomic_load_explicit(&gc->request_word, memory_order_seq_cst);
        if (start_wanted(gc)) {
            run_cycle(gc);
            finish(gc);
            continue;
        }
        if (atomic_exchange_explicit(&gc->repace, false, memory_order_acquire))
            gc_pacer_update(gc);
        gc_pacer_scavenge(gc);
        os_futex_wait(&gc->request_word, seen, IDLE_NS);
    }
}
