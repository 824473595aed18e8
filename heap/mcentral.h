/* Classes of spans, and the sets in which spans wait. */
#ifndef HEAP_MCENTRAL_H
#define HEAP_MCENTRAL_H

#include "heap/heap.h"
#include "heap/sizeclass.h"
#include "heap/stack.h"
#include "os/clock.h"

struct heap_class {
    /* Constant once the class is in use. */
    tri_heap *heap;
    heap_layout *layout; /* NULL: mixed, and large */
    size_t size;         /* of a slot; 0: large */
    uint32_t npages, nslots, nwords, magic;
    uint32_t record; /* 8-byte words of a span's bitmaps, and of its slot layouts if mixed */
    uint32_t cell;   /* whose objects it holds; 0: mixed, and large */
    bool mixed;

    _Atomic uint32_t spans;

    /* By parity of the generation, then 0 partial, 1 full. Only spans that nobody holds. */
    heap_stack sets[2][2] __attribute__((aligned(64)));
} __attribute__((aligned(64)));

/* Classes 1 to HEAP_SIZE_CLASSES - 1 are the mixed ones, class 0 that of large objects. */
#define HEAP_CLASSES_MAX (HEAP_MAX_CELLS + HEAP_SIZE_CLASSES)

struct heap_central {
    heap_class *classes;
    _Atomic uint32_t nclasses;

    /* The sweep that was completed last. */
    _Atomic uint32_t swept;
    /* generation << 32 | class whose unswept sets are emptied next. */
    _Atomic uint64_t cursor;
    /* Bytes of spans that may yet be kept empty by this sweep; a little less than nothing when used up. */
    _Atomic int64_t keep;

    /* The walk over span numbers; under its lock, which nobody waits for. */
    os_mutex walk_lock;
    uint32_t walk_gen, walk_at;
    bool walk_again;
};

int heap_central_open(tri_heap *h);
void heap_central_close(tri_heap *h);

static inline heap_class *heap_mixed_class(tri_heap *h, uint32_t size_class)
{
    return &h->central->classes[size_class];
}

static inline heap_class *heap_large_class(tri_heap *h)
{
    return &h->central->classes[0];
}

/* A class of its own for the cell's objects. The caller holds the lock of the registry. NULL: there
 * are too many. */
heap_class *heap_class_new(tri_heap *h, uint32_t cell, heap_layout *layout, size_t size);

/* What a refill sweeps; one that sweeps nothing need not look at the clock. */
typedef struct heap_refill {
    int64_t since;      /* the mutator's own time from here on is not credited yet */
    int64_t credit;     /* ns that it may still sweep in vain, heap_class_take() */
    int64_t start, end; /* of sweeping in this refill; 0: not yet */
} heap_refill;

static inline void heap_note_sweep(heap_refill *r)
{
    if (!r->start)
        r->start = os_now();
}

/* A span with free slots of the colour's generation, HELD by the caller: one that has been swept,
 * one that is swept now (noted in *r), or a fresh one. NULL: no memory. */
heap_span *heap_class_take(heap_class *class, heap_colour colour, heap_refill *r);
/* The holder lets go. `full`: it has no free slot. A sweeper that is at it places the span. */
void heap_span_drop(heap_span *s, bool full);
/* Puts a span that is in the caller's hands into its set. */
void heap_span_place(heap_span *s, bool full);

/* sweep.c: the holder of an older span sweeps it where it is. False: somebody else is sweeping. */
bool heap_sweep_held(tri_heap *h, heap_span *s);
/* A span that the caller took out of an unswept set: sweeps it and leaves it with the caller, HELD
 * if `hold`. Returns the bytes freed. */
uint64_t heap_sweep_popped(tri_heap *h, heap_span *s, uint32_t gen, bool hold);
/* Takes a span out of an unswept set, or NULL. */
heap_span *heap_pop_unswept(heap_class *class, uint32_t gen, bool full);
bool heap_sweep_is_active(tri_heap *h);

/* counters.c: heap->live. */
void heap_live_add(tri_heap *h, uint64_t bytes);
void heap_live_sub(tri_heap *h, uint64_t bytes);

#endif
