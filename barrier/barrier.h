/* The mutator as the barrier and the collector see it, and shading.
 *
 * Fields are grouped by who may touch them. "Own thread" includes the handshake's signal handler on
 * that thread, and the collector while the mutator is blocked and the collector holds it in ACKING.
 */
#ifndef BARRIER_BARRIER_H
#define BARRIER_BARRIER_H

#include "heap/heap.h"
#include "tricolor/barrier.h"

#ifdef TRI_TORTURE
#define BARRIER_BUFFER 2
#else
#define BARRIER_BUFFER 128 /* a drain stays below 10 us even when every shade misses the cache */
#endif

/* heap->term: who may still mark. CLEAN: a termination round runs and nothing was newly marked in
 * it; DIRTY: something was; DONE: marking is over, shading does nothing; OPEN: anything else. */
enum { TERM_DONE, TERM_OPEN, TERM_CLEAN, TERM_DIRTY };

typedef struct gc_mutator gc_mutator;
struct gc_stack;
struct gc_records;

struct gc_mutator {
    tri_mutator pub; /* first: tri_self() returns its address */
    tri_heap *heap;

    /* Own thread. */
    uint32_t nbuffer;
    uintptr_t buffer[BARRIER_BUFFER];
    heap_cache *cache;
    bool black;                 /* colour of what it allocates */
    uint32_t gen;               /* stamp of the spans it makes */
    uint32_t cycle;             /* cycle of its last H1 */
    uint32_t h2;                /* cycle of its last H2 */
    struct gc_stack *stack;     /* the stack it runs on; NULL: one without managed pointers */
    struct gc_records *records; /* interruptions, gc/interruption.h */
    void *runtime;              /* the scheduler's M or thread record */
#if TRI_DEBUG >= 1
    uint64_t
        site; /* barriercheck=1: where the next object is made, as barrier/log.c writes sites */
    uintptr_t made; /* an object whose first contents are not recorded yet */
#endif

    /* Handshakes: gc/handshake.c says how. */
    _Atomic uint32_t state;
    _Atomic uint64_t acked;
    uintptr_t blocked_sp;        /* at the last acknowledgement or gc_block() */
    size_t depth;                /* bytes on its stack at the last acknowledgement */
    const void *stopped_context; /* verify=1: of the handler that stands still */
    bool registers_taken;        /* the last H2 came by signal and saw all registers */
    int tid;
    struct gc_snapshot *snapshot; /* receives the running stack's candidates at H2 */
    int64_t signalled_at;         /* the collector's */
    int64_t assist_window, assist_spent;

    /* All mutators of this thread, one per heap; the handler walks it. Own thread, signals blocked
     * or in an order that keeps the list whole. */
    gc_mutator *thread_next;

    /* heap->gc's list, under its lock. */
    gc_mutator *next, *prev;
};

/* Shades one word: if it points into an allocated, unmarked slot, marks it and queues its span.
 * Does nothing from DONE on. Async-signal-safe, any thread that the heap knows. */
void barrier_shade(tri_heap *h, uintptr_t word);

/* Work is about to be done or found: turns CLEAN into DIRTY, so that the round under way proves nothing.
 * The collector's CLEAN to DONE is a compare-and-swap on the same word, so one of the two sees the
 * other: false if marking is over. */
bool barrier_note_work(tri_heap *h);

/* Buffers a word for shading; a full buffer is handed over, or drained. Own thread, in a busy unit or in_runtime. */
void barrier_push(gc_mutator *m, uintptr_t word);
/* Empties the buffer: hands it over, or, if that cannot be, shades what is in it. */
void barrier_yield_buffer(gc_mutator *m);
/* Shades everything in the buffer and empties it. */
void barrier_drain(gc_mutator *m);

/* ---- handover.c: full buffers that wait for a marker ------------------------------------------- */

typedef struct barrier_block {
    void *link[2] __attribute__((aligned(16)));
    uint32_t count;
    uintptr_t words[BARRIER_BUFFER];
} barrier_block;

int barrier_open(tri_heap *h); /* -ENOMEM */
void barrier_close(tri_heap *h);
/* Empties the buffer into a block. False: there is none left. Own thread; async-signal-safe. */
bool barrier_hand_over(gc_mutator *m);
bool barrier_blocks_wait(const tri_heap *h);
/* All that wait, or NULL; the next one is what giving the first one back returns. Any marker. */
barrier_block *barrier_take_blocks(tri_heap *h);
barrier_block *barrier_give_back(tri_heap *h, barrier_block *b);
/* When nobody needs them any more: marking is complete. */
void barrier_discard_blocks(tri_heap *h);

static inline gc_mutator *gc_self(void)
{
    return (gc_mutator *)tri_self();
}

#endif
