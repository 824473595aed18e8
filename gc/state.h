/* The collector's own state, one per heap. Fields are grouped by who may touch them. */
#ifndef GC_STATE_H
#define GC_STATE_H

#include "gc/gc.h"
#include "gc/scan.h"
#include "os/signal.h"
#include <errno.h>

/* What a handshake asks each mutator to do; design: docs/cycle.md. */
typedef enum gc_step {
    GC_STEP_NONE,
    GC_STEP_H1,     /* barrier = BOTH */
    GC_STEP_H1B,    /* nothing: waits out stores that began before H1 was complete */
    GC_STEP_H2,     /* take the running stack, allocate black, barrier = DELETE */
    GC_STEP_ROUND,  /* drain the buffer */
    GC_STEP_H5,     /* barrier = OFF, discard the buffer, allocate white */
    GC_STEP_VERIFY, /* stand still until released (verify=1 only) */
    GC_STEP_SYNC,   /* nothing: for fork and tests */
} gc_step;

/* What a mutator is after the current handshake: adopted at attach. */
typedef struct gc_target {
    uint8_t barrier;
    bool black;
    uint32_t gen;
    uint32_t cycle; /* of the last H1 */
    uint32_t h2;    /* cycle of the last H2 */
} gc_target;

/* Values of gc_mutator.state. */
enum { GC_RUNNING, GC_BLOCKED, GC_ACKING };

/* Candidate words of one running stack, copied at H2 and marked later. */
typedef struct gc_snapshot {
    struct gc_snapshot *next;
    size_t count, capacity;
    size_t warm;      /* words that have memory behind them */
    unsigned shallow; /* uses in a row that needed less than a quarter of them */
    uintptr_t words[];
} gc_snapshot;

/* A collector thread that displaces a mutator gives the processor back after about this long. */
#define GC_SLICE_NS ((int64_t)200000)

/* Spans a marker can queue; a power of two. */
#ifdef TRI_TORTURE
#define GC_RING 2u
#else
#define GC_RING 65536u
#endif

/* One marker: a collector thread, or a mutator that helps for a moment. The ring is first in, first
 * out, so that marks gather in a span while it waits: the owner pushes at tail and takes at head,
 * thieves take at head. */
typedef struct gc_marker {
    struct gc *gc;
    _Atomic uint32_t head; /* owner and thieves, by compare-and-swap (acquire-release) */
    _Atomic uint32_t tail; /* owner; release, pairs with the thieves' acquire */
    heap_span *_Atomic *ring;
    uintptr_t *found; /* candidates that are still to be marked */
    size_t nfound;
    _Atomic bool taken;    /* a guest works with it */
    int64_t deadline;      /* a brief guest's, os_now() nanoseconds; 0: none */
    bool brief;            /* a mutator that would rather do something else has it */
    bool reserve;          /* marks only while gc->behind */
    unsigned number;       /* index in gc->markers */
    uint64_t marked_bytes; /* by this marker in this cycle, not counting what was born black */
    struct gc_marker *next;
} gc_marker;

#define GC_FOUND 8192 /* words of gc_marker.found */

typedef struct gc_root {
    uintptr_t *start;
    size_t count;
    struct gc_root *next;
} gc_root;

typedef struct gc_cycle_stats {
    int64_t start, h2_done, mark_done, sweep_done; /* os_now() */
    int64_t cpu_start, assist_start, idle_start, worker_start;
    int64_t begin_max, end_max; /* longest single handshake interruption at either end */
    int64_t cpu_mark, cpu_assist, cpu_idle;   /* ns */
    uint64_t live_before, live_at_done, goal; /* bytes */
    bool forced;
} gc_cycle_stats;

struct gc {
    tri_heap *heap;
    _Atomic(const gc_hooks *) hooks; /* never NULL */
    gc_record_book *book;
    const gc_scan_kernel *kernel;
    bool signals;

    /* Mutators: list and membership under lock; held briefly, never while waiting for anyone. */
    os_mutex lock;
    _Atomic bool lock_is_collectors; /* the collector holds it; a hint for statistics */
    gc_mutator *mutators;
    unsigned nmutators;
    gc_mutator *gone;     /* of threads that fork() left behind */
    gc_target target;     /* lock */
    gc_snapshot *orphans; /* lock: snapshots of mutators that detached before they were marked */
    gc_snapshot *spare;   /* lock */
    size_t stack_max;     /* lock: largest stack registered */

    os_mutex handshake_lock; /* held by the collector throughout a handshake, and by fork() */

    /* The handshake in flight. step is written before epoch (release) and read after it (acquire);
     * it does not change until all have acknowledged. */
    _Atomic uint32_t step;
    _Atomic uint64_t epoch;
    _Atomic int64_t longest;      /* longest single acknowledgement in the current handshake, ns */
    _Atomic uint32_t verify_stop; /* futex: 1 while mutators stand still */

    /* Stacks: slots of the registry under stacks_lock. */
    os_mutex stacks_lock;
    gc_stack **stacks;
    uint32_t nstacks, stacks_cap; /* slots ever used; room */
    uint32_t free_slots;          /* head of the list of free slots, +1 */

    os_mutex roots_lock;
    gc_root *roots;

    /* Marking. */
    _Atomic uint32_t active;       /* markers that may still find work */
    _Atomic uint32_t markers_wake; /* futex */
    _Atomic bool marking;
    _Atomic bool crowded; /* a handshake waits for mutators that have no processor */
    _Atomic bool behind;  /* the goal was passed while this cycle marks */
    gc_marker **markers;  /* constant after gc_open: collector's, workers', guests' */
    unsigned nmarkers, markers_cap;

    /* The collector thread. */
    os_thread thread;
    os_thread warmer;             /* heap/warmer.c */
    _Atomic uint32_t warmer_wake; /* futex */
    os_thread *worker_threads;
    unsigned nworkers; /* threads beside the collector */
    unsigned nreserve; /* of those, the last: they mark only when mutators outrun the others */
    uint32_t cycle;    /* collector's: number of the current or next cycle */
    os_mutex request_lock;
    _Atomic uint32_t request_word; /* futex */
    _Atomic uint32_t done_word;    /* futex */
    _Atomic uint64_t requested;    /* cycle number asked for */
    _Atomic uint64_t completed;
    _Atomic bool triggered;
    _Atomic bool quit;
    bool running; /* a cycle is in flight; collector's */
    uint64_t num_forced;
    gc_cycle_stats stats;

    /* Pacing: gc/pacer.c. */
    _Atomic int gogc;
    _Atomic uint64_t goal;
    uint64_t allocated_marking; /* bytes, in the last cycle */
    double cons_mark;
    uint64_t live_marked; /* what the last cycle left, bytes */
    uint64_t live_traced; /* of that, what it found by tracing; the rest was born while it marked */
    _Atomic uint64_t assist_bytes; /* live above which allocating mutators assist; UINT64_MAX: no */
    int64_t open_time, last_end, scavenge_next;
    _Atomic bool repace;
    _Atomic int64_t cpu_total; /* ns of CPU the collector used */
    _Atomic int64_t cpu_assist, cpu_idle;
    double limiter_fill; /* seconds of CPU in the limiter's bucket */
    struct gc_summary_book *summary;

    struct gc_verifier *verifier;
    bool forked;         /* this is a child of fork(): no collector threads */
    tri_heap *fork_next; /* list of heaps for the fork handlers */
};

/* Acquire: pairs with gc_set_hooks(), which may come while the collector runs. */
static inline const gc_hooks *gc_hooks_of(struct gc *gc)
{
    return atomic_load_explicit(&gc->hooks, memory_order_acquire);
}

static inline struct gc *gc_of(tri_heap *h)
{
    return h->gc;
}

/* handshake.c */
void gc_handshake(struct gc *gc, gc_step step, gc_target target);
void gc_acknowledge(gc_mutator *m, uintptr_t sp, const void *ucontext);
int gc_signals_open(void);
/* What the public functions say of a system that refuses: no memory, or something else that may work at
 * another time; which call it was is told by tests with faults, not by an error code. */
static inline int gc_resource_error(int err)
{
    return !err || err == -ENOMEM ? err : -EAGAIN;
}
void gc_signals_close(void);

/* mutator.c */
void gc_collector_lock(struct gc *gc); /* gc->lock, by the collector's threads */
void gc_collector_unlock(struct gc *gc);
void gc_snapshot_prepare(struct gc *gc, gc_mutator *m);
void gc_snapshot_free(gc_snapshot *s);
void gc_show_runs(
    gc_mutator *m); /* the active run table, to the inline allocation. Async-signal-safe */

/* stack.c */
/* Aborts if a tool keeps locals elsewhere than on the stack. */
void gc_stack_check_real(void);
void gc_stacks_mark_parked(struct gc *gc, gc_marker *w);
void gc_stacks_each(struct gc *gc, void (*fn)(void *arg, gc_stack *s), void *arg);
void gc_stacks_close(struct gc *gc);
void gc_stack_take(gc_mutator *m, uintptr_t sp, const void *ucontext);

/* mark.c */
int gc_marker_new(struct gc *gc, gc_marker **out);
void gc_marker_free(gc_marker *w);
void gc_mark_word(gc_marker *w, uintptr_t word);
void gc_mark_words(gc_marker *w, const uintptr_t *words, size_t n);
void gc_mark_filter(gc_marker *w, const void *words, size_t n); /* conservative range */
bool gc_mark_some(gc_marker *w, uint64_t spans);                /* false: found nothing to do */
void gc_mark_all(struct gc *gc, gc_marker *w);                  /* until no marker finds work */
bool gc_mark_work_left(struct gc *gc);
void gc_mark_assist(gc_mutator *m);
void gc_marker_thread(void *marker);
void gc_wake_markers(struct gc *gc);
void gc_own_thread_begin(void);
/* On those threads, now and then: leaves the processor to whoever waits for it. */
bool gc_make_way(void);
bool gc_is_own_thread(void); /* of some heap's collector */

/* root.c */
void gc_roots_mark(struct gc *gc, gc_marker *w);

/* pacer.c */
unsigned gc_procs(struct gc *gc); /* Ps, or processors without a scheduler */
void gc_pacer_open(struct gc *gc);
void gc_pacer_cycle_start(struct gc *gc);
void gc_pacer_cycle_end(struct gc *gc);
void gc_pacer_mark_done(struct gc *gc);
void gc_pacer_update(struct gc *gc);
void gc_pacer_nudge(struct gc *gc); /* a setting changed: pace anew. Any thread */
void gc_pacer_scavenge(struct gc *gc);

/* What a trace callback reports to: a marker, or the verifier. */
struct tri_tracer {
    gc_marker *marker;
    struct gc_verifier *verifier;
    uint64_t from;
};

/* verify.c */
void gc_verify_traced(struct gc_verifier *v, uintptr_t word, uint64_t from);
/* A black run that ends there has been cut. Any mutator, in a busy unit or in the runtime. */
void gc_verify_note_run(struct gc_verifier *v, const tri_slots *run);
int gc_verify_open(struct gc *gc);
void gc_verify_close(struct gc *gc);
void gc_verify(struct gc *gc);
void gc_verify_clear_dead(uintptr_t lo, uintptr_t hi);
void gc_verify_clear_below(gc_mutator *m);

/* options.c: 0, or -ENOTSUP and a line on standard error. */
int gc_options_supported(const tri_options *o);

/* cycle.c */
void gc_collector_thread(void *arg);
void gc_trigger(tri_heap *h);

/* collector.c */
int gc_start_threads(struct gc *gc);

#endif
