/* Numbers about a heap: memory, collections, interruptions, types.
 *
 * tri_memstats has the fields of Go's runtime.MemStats under their C names, so that tools and
 * habits carry over. Where a Go term has no counterpart the comment says what stands in its place.
 * The functions here may be called by any thread, attached or not, at any time; they take no lock
 * that an allocation needs for long, and stop nobody.
 */
#ifndef TRICOLOR_STATS_H
#define TRICOLOR_STATS_H

#include <tricolor/base.h>

TRI_BEGIN_DECLS

/* ---- memory --------------------------------------------------------------------------------- */

#define TRI_PAUSES       256
#define TRI_SIZE_CLASSES 68

typedef struct tri_size_stats {
    uint32_t size;    /* bytes of a slot; class 0 has size 0 and counts nothing */
    uint64_t mallocs; /* objects ever allocated in it */
    uint64_t frees;
} tri_size_stats;

/* Bytes, unless it says otherwise. Objects are counted when their slots are issued, not when a run
 * of slots is reserved, and are freed when they are swept. While threads allocate, the part of a
 * run that is being issued may be counted or not; at rest all is exact. */
typedef struct tri_memstats {
    /* General. sys is the sum of the *_sys fields. */
    uint64_t alloc;       /* of objects, live or dead and not swept yet; = heap_alloc */
    uint64_t total_alloc; /* ever allocated */
    uint64_t sys;         /* taken from the system */
    uint64_t lookups;     /* always 0, as in Go */
    uint64_t mallocs;     /* objects ever allocated; mallocs - frees == heap_objects */
    uint64_t frees;       /* objects ever freed */

    /* The heap. heap_sys == heap_idle + heap_inuse. */
    uint64_t heap_alloc;
    uint64_t heap_sys;      /* of the reservation: what was ever taken into use */
    uint64_t heap_idle;     /* in no span: can be given back, or reused */
    uint64_t heap_inuse;    /* in spans with at least one object, or held by a run table */
    uint64_t heap_released; /* of heap_idle, what the system has: not in the resident set */
    uint64_t heap_objects;  /* objects: live, or dead and not swept yet */

    /* What else the library keeps. */
    uint64_t stack_inuse; /* stacks of coroutines; threads' own stacks are the system's business */
    uint64_t stack_sys;
    uint64_t mspan_inuse; /* span structures */
    uint64_t mspan_sys;
    uint64_t mcache_inuse; /* run tables */
    uint64_t mcache_sys;
    uint64_t buck_hash_sys; /* tables of profilers */
    uint64_t gc_sys;        /* bitmaps and tables by page, queues of markers, histograms */
    uint64_t other_sys;

    /* The collector. A pause of Go's is a stop of the world; there is none here. In its place
     * stands the longest single interruption of any one mutator in a handshake of that
     * collection. */
    uint64_t next_gc;               /* heap_alloc at which a collection is meant to be done */
    uint64_t last_gc;               /* nanoseconds since 1970 of the last collection's end, or 0 */
    uint64_t pause_total_ns;        /* sum over all collections */
    uint64_t pause_ns[TRI_PAUSES];  /* the last one's at [(num_gc + 255) % 256] */
    uint64_t pause_end[TRI_PAUSES]; /* when that collection ended, nanoseconds since 1970 */
    uint32_t num_gc;                /* collections completed */
    uint32_t num_forced_gc;         /* of those, by tri_collect() */
    double gc_cpu_fraction;         /* of all processor time since the heap was made: 0..1 */
    bool enable_gc;                 /* always true; a gogc below 0 leaves limits and requests */
    bool debug_gc;                  /* always false, as in Go */

    /* Objects of up to 32 KiB; larger ones are in no class. */
    tri_size_stats by_size[TRI_SIZE_CLASSES];
} tri_memstats;

/* A snapshot in which the equations above hold. The struct is large (6 KiB). Always 0. */
TRI_API int tri_read_memstats(tri_heap *heap, tri_memstats *out);

/* ---- interruptions -------------------------------------------------------------------------- */

/* Everything that the collector makes a mutator do, by what it was. */
typedef enum tri_interruption {
    TRI_INTERRUPTION_ALL,          /* all of the following but VERIFY */
    TRI_INTERRUPTION_HANDSHAKE,    /* acknowledging, copying of the own stack included */
    TRI_INTERRUPTION_RESUME_SCAN,  /* scanning a coroutine's stack before resuming it */
    TRI_INTERRUPTION_REFILL_SWEEP, /* sweeping before allocating */
    TRI_INTERRUPTION_DRAIN,        /* emptying a full barrier buffer */
    TRI_INTERRUPTION_ASSIST,       /* marking, because allocation outran the collector */
    TRI_INTERRUPTION_WAIT,         /* waiting until the collector lets go of the own stack */
    TRI_INTERRUPTION_VERIFY,       /* stopped by the option verify */
    TRI_INTERRUPTION_KINDS
} tri_interruption;

/* Nanoseconds; percentiles are at most 1/16 above the truth, max is exact. */
typedef struct tri_latency {
    uint64_t count;
    int64_t p50, p99, p999, max, total;
} tri_latency;

/* Over all mutators of the heap, those that are gone included. -EINVAL: no such kind. */
TRI_API int tri_read_interruptions(tri_heap *heap, tri_interruption kind, tri_latency *out);
/* From asking for a handshake until the last mutator has acknowledged. Always 0. */
TRI_API int tri_reach_time(tri_heap *heap, tri_latency *out);
/* How long mutators waited for other mutators on the collector's account; the count is meant to be
 * 0. Always returns 0. */
TRI_API int tri_mutator_waits(tri_heap *heap, tri_latency *out);
/* How long mutators waited for the lock of the page heap, which refills and large objects take.
 * Always returns 0. */
TRI_API int tri_lock_waits(tri_heap *heap, tri_latency *out);

/* Minimum mutator utilisation: the lowest share of any window of that length that any mutator had
 * to itself, 0..1; 1 if none was ever interrupted. Windows: 1, 10 and 100 ms, in nanoseconds; any
 * other: -1. Where interruptions come by the thousand in one window it may be 0.4 % too low, never
 * too high. */
TRI_API double tri_mmu(tri_heap *heap, int64_t window_ns);

/* Forgets all interruptions, reach times and waits, and starts utilisation anew. An interruption
 * that is in progress may be kept in part. */
TRI_API void tri_reset_interruptions(tri_heap *heap);

/* ---- types ---------------------------------------------------------------------------------- */

typedef struct tri_type_stats {
    const char *name;
    const tri_type *type;
    bool array;            /* made by tri_new_array(): counted apart from single objects */
    uint64_t live_objects; /* or dead and not swept yet */
    uint64_t live_bytes;   /* of their slots */
    uint64_t mallocs, frees;
    uint64_t spans; /* spans of their own; a rare type has none */
} tri_type_stats;

/* Calls fn for each type that was ever allocated from, until it returns false; costs nothing per
 * object. fn must not use the heap. */
TRI_API void tri_each_type(tri_heap *heap, bool (*fn)(void *arg, const tri_type_stats *stats),
                           void *arg);

TRI_END_DECLS

#endif
