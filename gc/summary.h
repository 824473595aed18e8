/* What the collector tells those who ask: collections so far, when, how long, at what cost. */
#ifndef GC_SUMMARY_H
#define GC_SUMMARY_H

#include "gc/interruption.h"

#define GC_SUMMARY_PAUSES 256

struct gc;

typedef struct gc_summary {
    uint64_t cycles, forced;
    uint64_t next_gc;                     /* bytes: the goal of the coming or current cycle */
    int64_t last_end;                     /* wall clock, 0: none yet */
    uint64_t pause_total;                 /* ns */
    uint64_t pause_ns[GC_SUMMARY_PAUSES]; /* cycle n at (n - 1) % 256 */
    uint64_t pause_end[GC_SUMMARY_PAUSES];
    int64_t cpu_total, cpu_mark, cpu_assist, cpu_idle; /* ns, all cycles; idle is not in total */
    double cpu_fraction; /* of the processors' time from opening the heap to the last cycle's end */
    uint64_t sys;        /* bytes resident in the collector's own tables */
    uint64_t stacks;     /* bytes in use by stacks of the scheduler */
    bool enabled;
} gc_summary;

int gc_summary_open(struct gc *gc); /* -ENOMEM */
void gc_summary_close(struct gc *gc);
/* Cycle `number` ended at `now` (os_now()), as gc->stats tells. By the collector. */
void gc_summary_note(struct gc *gc, uint64_t number, int64_t now);
/* Around fork(). A leaf lock. */
void gc_summary_lock(struct gc *gc);
void gc_summary_unlock(struct gc *gc);
/* One moment's view. Any thread. */
void gc_read_summary(tri_heap *h, gc_summary *out);

gc_record_book *gc_book(tri_heap *h);

#endif
