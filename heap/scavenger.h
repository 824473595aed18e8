/* Returning memory to the system: how much is due, and how fast. heap_scavenge() itself, which does
 * it, is declared in heap.h. */
#ifndef HEAP_SCAVENGER_H
#define HEAP_SCAVENGER_H

#include "heap/heap.h"

/* What the decision depends on, all in bytes. */
typedef struct heap_scavenge_view {
    uint64_t held;      /* of the arena: neither released nor never touched */
    uint64_t inuse;     /* of that: in spans */
    uint64_t goal;      /* heap goal now */
    uint64_t last_goal; /* of the cycle that ended last; 0: none has */
    uint64_t
        last_inuse; /* in spans when the markings of the last seconds ended; the most of them */
    uint64_t ahead; /* in vacant chunks that are kept warm */
    uint64_t memory_limit; /* 0: none */
    uint64_t other_sys;    /* what the library holds outside the arena */
} heap_scavenge_view;

/* What was needed lately: `peak` bytes `age` nanoseconds ago, `last` at the last cycle. */
uint64_t heap_scavenge_recent(uint64_t peak, uint64_t last, int64_t age);

/* How much should be released. A function of its argument alone. */
size_t heap_scavenge_due(const heap_scavenge_view *v);

/* The same for this heap at this moment. heap_arena_note_cycle() must have been called at the end of
 * each marking; before the first only the memory limit counts. */
size_t heap_scavenge_goal(tri_heap *h, uint64_t heap_goal, uint64_t memory_limit,
                          uint64_t other_sys);

/* How long to rest after `worked` nanoseconds of releasing, so that it stays at 1 % of one CPU. */
int64_t heap_scavenge_rest(int64_t worked);

#endif
