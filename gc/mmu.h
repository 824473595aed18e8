/* Minimum mutator utilisation of one mutator, kept as its interruptions are recorded; gc/mmu.c. */
#ifndef GC_MMU_H
#define GC_MMU_H

#include <stdatomic.h>
#include <stdint.h>

#define GC_MMU_WINDOWS 3 /* 1 ms, 10 ms, 100 ms */

/* How many interruptions a window may hold before old ones are merged, and into how many parts of
 * the window they are merged at the coarsest. */
#ifdef TRI_TORTURE
#define GC_MMU_RING 16
#else
#define GC_MMU_RING 1024
#endif
#define GC_MMU_GRAINS (GC_MMU_RING / 4)

/* One interruption, or several merged: `busy` nanoseconds within [end - span, end). */
typedef struct gc_mmu_entry {
    int64_t end;
    uint32_t span, busy;
} gc_mmu_entry;

/* The writer's alone. */
typedef struct gc_mmu_window {
    uint32_t head, tail; /* entries tail .. head - 1, modulo the ring's size; oldest at tail */
    int64_t busy;        /* sum over them */
    gc_mmu_entry ring[GC_MMU_RING];
} gc_mmu_window;

typedef struct gc_mmu {
    /* Epoch (upper half) and the most nanoseconds that any window of that epoch lost. One word, so
     * that a reader never takes a value from before a reset for one from after it. */
    _Atomic uint64_t worst[GC_MMU_WINDOWS];
    uint32_t epoch; /* the writer's */
    gc_mmu_window window[GC_MMU_WINDOWS];
} gc_mmu;

/* [start, end) was taken from the mutator. By one writer, in order of `end`; an interruption that
 * contains earlier ones, or overlaps them, is counted once. Async-signal-safe. `epoch` starts the
 * history anew when it changes. */
void gc_mmu_add(gc_mmu *m, uint32_t epoch, int64_t start, int64_t end);

/* Which of the windows has that length; -1: none. */
int gc_mmu_window_of(int64_t ns);
int64_t gc_mmu_window_ns(int window);
/* The most nanoseconds lost in a window of `epoch`. Any thread, at any time. */
int64_t gc_mmu_worst(const gc_mmu *m, uint32_t epoch, int window);

#endif
