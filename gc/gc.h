/* The collector's interface to the rooms above: mutators, stacks, handshakes.
 *
 * The collector does not know what a coroutine is. It knows
 *   mutators  one operating-system thread in one heap,
 *   stacks    ranges to scan conservatively, running on a mutator or parked,
 *   roots     registered words.
 * The scheduler, attached threads and embedders plug in here.
 *
 * Who may call what: functions that take the current mutator `m` are called by its own thread with
 * m->pub.in_runtime > 0 (no acknowledgement by signal inside), unless they say otherwise.
 */
#ifndef GC_GC_H
#define GC_GC_H

#include "barrier/barrier.h"
#include "gc/interruption.h"
#include "heap/heap.h"

/* ---- stacks --------------------------------------------------------------------------------- */

enum gc_stack_state {
    GC_STACK_RUNNING,  /* on the mutator that resumed it, which alone may touch the rest */
    GC_STACK_PARKED,   /* still; sp is valid */
    GC_STACK_SCANNING, /* parked, and the collector reads it */
};

/* Embedded in what owns the stack (a coroutine, an attached thread). A stack is not its address
 * range: lo and hi may change while it is parked and being resumed (never while SCANNING). */
typedef struct gc_stack {
    _Atomic uint32_t state;   /* release at park, pairs with the collector's acquire claim */
    _Atomic uint32_t scanned; /* cycle in which it was last scanned */
    uintptr_t lo, hi;         /* usable range */
    uintptr_t sp;             /* when parked: all live words, registers included, lie in [sp, hi) */
    void *away;               /* gc_stack_put_away(): where those words are meanwhile; or NULL */
    /* Words outside the stack that belong to it, scanned with it: a coroutine's argument, the value
     * that a parked sender offers. NULL: none. */
    void **extra;
    uint32_t extra_count;
    uint32_t slot; /* registry position */
} gc_stack;

/* Makes a parked stack known to the collector: born unscanned if the spawner `m` is in BOTH or has
 * not acknowledged H1, else scanned (its argument is a transfer: gc_transfer() it). m NULL: from an
 * unattached thread, which has no managed pointer to put on it. sp = hi: nothing on it yet. -ENOMEM. */
int gc_stack_add(tri_heap *h, gc_stack *s, gc_mutator *m);
/* Like gc_stack_add for a stack that is registered already and is reused for a new coroutine (cheap:
 * no lock). The stack is dead (see gc_stack_die). */
void gc_stack_reborn(gc_stack *s, gc_mutator *m);
/* The stack holds nothing any more (its coroutine ended): parked with sp == hi. */
void gc_stack_die(gc_stack *s);
/* Stacks registered with less may grow to so many bytes: handshakes make room for copies of them. */
void gc_stack_expect(tri_heap *h, size_t bytes);
/* Forgets it. It must be parked; waits if the collector is scanning it. */
void gc_stack_remove(tri_heap *h, gc_stack *s);

/* The thread has left the stack (it runs on another one now): sp holds its saved stack pointer. */
void gc_stack_park(gc_mutator *m, gc_stack *s, uintptr_t sp);
/* The thread is about to enter the stack; scans it first when the protocol asks for that. */
void gc_stack_resume(gc_mutator *m, gc_stack *s);

/* A stack with nothing on it, just resumed, gets its range. */
void gc_stack_begin_dirty(gc_mutator *m, gc_stack *s);
static inline void gc_stack_begin(gc_mutator *m, gc_stack *s, uintptr_t lo, uintptr_t hi)
{
    s->lo = lo;
    s->hi = hi;
    if (__builtin_expect(m->pub.barrier, 0))
        gc_stack_begin_dirty(m, s);
}

/* Moves the live words of a parked stack elsewhere, so that others can use its range: `to` is
 * gc_stack_live() bytes of memory, 8-byte aligned, that is the stack's until they are brought back.
 * Nobody may resume, put away or bring back the stack at the same time. */
static inline size_t gc_stack_live(const gc_stack *s)
{
    return s->hi - (s->sp & ~(uintptr_t)7);
}
void gc_stack_put_away(gc_mutator *m, gc_stack *s, void *to);
/* Copies them back; returns the memory, which is the caller's again. */
void *gc_stack_bring_back(gc_mutator *m, gc_stack *s);

/* ---- mutators: attach, detach, block ---------------------------------------------------------- */

/* Whether the calling thread has a current mutator at all. */
bool gc_attached(void);
/* The calling thread's mutator in `h`, or NULL. */
gc_mutator *gc_mutator_in(tri_heap *h);
/* Makes `m`, one of the calling thread's, the current one. */
void gc_make_current(gc_mutator *m);

/* Makes the calling thread a mutator of `h` and its current one. `stack`: the stack it runs on, or
 * NULL (a scheduler thread on a stack without managed pointers). It has no run tables until
 * gc_bind(). -ENOMEM, -EAGAIN (signals could not be set up). */
int gc_attach(tri_heap *h, gc_stack *stack, gc_mutator **out);
/* Drains the buffer and forgets the mutator; run tables must be unbound. */
void gc_detach(gc_mutator *m);

/* Gives the mutator run tables to allocate from (a P's, or its own), after acknowledging what the
 * tables have already seen. */
void gc_bind(gc_mutator *m, heap_cache *c);
/* Takes them away, returns them. */
heap_cache *gc_unbind(gc_mutator *m);

/* Around a blocking call or idleness: from gc_block() to gc_unblock() the collector acknowledges for
 * the mutator, the thread's current one, and for its others. All live words of its stack lie above
 * `sp` (os_call_spilled()); sp 0: it has no stack. The mutator may not touch the heap in between.
 * gc_unblock() waits while the collector works for it. in_runtime may be 0 between, the collector
 * does not signal a blocked mutator. */
void gc_block(gc_mutator *m, uintptr_t sp);
void gc_unblock(gc_mutator *m);

/* The depth of library calls of the mutator's own thread. The scheduler's monitor reads it from
 * another one, and takes what the thread did in the runtime over when it sees 0: hence the release. */
static inline uint32_t gc_depth(const gc_mutator *m)
{
    return __atomic_load_n(&m->pub.in_runtime, __ATOMIC_RELAXED);
}
static inline void gc_set_depth(gc_mutator *m, uint32_t depth)
{
    __atomic_store_n(&m->pub.in_runtime, depth,
                     __ATOMIC_RELEASE); /* pairs with the monitor's load */
}
static inline void gc_deeper(gc_mutator *m)
{
    gc_set_depth(m, gc_depth(m) + 1);
    TRI_SIGNAL_FENCE(); /* nothing that the handler changes is read before */
}
static inline void gc_shallower(gc_mutator *m)
{
    TRI_SIGNAL_FENCE(); /* as in gc_deeper() */
    gc_set_depth(m, gc_depth(m) - 1);
}

/* The poll byte, by its own thread. */
static inline uint8_t gc_polled(const gc_mutator *m)
{
    return __atomic_load_n(&m->pub.poll, __ATOMIC_RELAXED);
}

/* Acknowledges pending handshakes, on the stack m->stack (or none). Any depth of in_runtime. */
void gc_poll_slow(gc_mutator *m);
#define GC_POLL_HANDSHAKE 1u /* the collector's bit of pub.poll */
#define GC_POLL_PREEMPT   2u /* the scheduler's */
static inline void gc_poll(gc_mutator *m)
{
    if (__builtin_expect(gc_polled(m) & GC_POLL_HANDSHAKE, 0))
        gc_poll_slow(m);
}
/* Sets or clears bits of another thread's poll byte. */
static inline void gc_poll_raise(gc_mutator *m, uint8_t bits)
{
    __atomic_fetch_or(&m->pub.poll, bits, __ATOMIC_SEQ_CST); /* pairs with gc_poll_lower */
}
static inline void gc_poll_lower(gc_mutator *m, uint8_t bits)
{
    __atomic_fetch_and(&m->pub.poll, (uint8_t)~bits, __ATOMIC_SEQ_CST);
}

/* Moves of values between stacks, or between a stack and a buffer of the runtime: shades the word
 * whenever the own barrier is on. */
static inline void gc_transfer(gc_mutator *m, uintptr_t word)
{
    if (__builtin_expect(m->pub.barrier & (TRI_SHADE_OLD | TRI_SHADE_NEW), 0))
        barrier_push(m, word);
}

/* ---- hooks of the scheduler -------------------------------------------------------------------- */

/* Called by the collector; all may be NULL. */
typedef struct gc_hooks {
    /* Asks the scheduler to preempt (raise poll is done by the collector itself). */
    void (*wake_idle)(tri_heap *h); /* mark work is available: wake idle threads to help */
    /* From now on so many collector threads are busy, until the end of marking: the scheduler leaves
     * them as many processors. */
    void (*mark_begin)(tri_heap *h, unsigned threads);
    void (*mark_end)(tri_heap *h);
    uint64_t (*stack_bytes)(tri_heap *h); /* in use by stacks, for pacing */
    unsigned (*procs)(tri_heap *h);       /* number of Ps, for the CPU share and gctrace's "n P" */
    /* Runs fn(arg) as a blocking call of the current coroutine or thread: its stack stands still and
     * its P is handed off. Default: gc_block() around the call. */
    void (*blocking)(void (*fn)(void *), void *arg);
    /* Around fork(): take the scheduler's locks, release them, drop what the child has not. */
    void (*fork_prepare)(tri_heap *h);
    void (*fork_release)(tri_heap *h);
    void (*fork_child)(tri_heap *h);
    /* poll bit 1 was seen at a safepoint outside the runtime: yield. */
    void (*preempt)(gc_mutator *m);
} gc_hooks;
/* Kept by reference. May come while the collector runs. */
void gc_set_hooks(tri_heap *h, const gc_hooks *hooks);

/* A moment's answer. */
bool gc_mark_wants_help(tri_heap *h);
/* Idle threads may mark: until there is nothing to mark or disturbed(arg), asked before each span, says that
 * there is something else to do. False: nothing was marked. Not a mutator's business: m need not be attached to
 * a stack. Safepoint. */
bool gc_help_mark(tri_heap *h, gc_mutator *m, bool (*disturbed)(void *), void *arg);

/* ---- collections ------------------------------------------------------------------------------- */

int gc_open(tri_heap *h);   /* starts the collector threads */
void gc_close(tri_heap *h); /* ends them; no mutator may be left */
/* The number of the last cycle that was completed, swept included. */
uint64_t gc_cycles(tri_heap *h);
/* Asks for a cycle that starts after this call; returns the number that gc_cycles() will reach. */
uint64_t gc_request(tri_heap *h);
/* Waits until gc_cycles() >= cycle; for an attached caller only between gc_block and gc_unblock. */
void gc_wait(tri_heap *h, uint64_t cycle);

#endif
