/* Interruptions are counted whole: everything that the collector makes a mutator do goes into one
 * histogram per kind and one for all of them, per mutator, and the total survives detaching.
 * Minimum mutator utilisation is computed from the same intervals.
 *
 * Writers are the mutator's own thread, handler included (the handler never runs inside another
 * recording: recordings happen with in_runtime or busy set, or in the handler itself). Readers add
 * up relaxed counters at any time. */
#ifndef GC_INTERRUPTION_H
#define GC_INTERRUPTION_H

#include <stdatomic.h>
#include <stdint.h>

#include "heap/heap.h"

typedef enum gc_kind {
    GC_HANDSHAKE,    /* acknowledging, by signal or poll, stack copy included */
    GC_RESUME_SCAN,  /* scanning a stack before resuming it */
    GC_REFILL_SWEEP, /* sweeping before a refill */
    GC_DRAIN,        /* draining a full barrier buffer */
    GC_ASSIST,       /* marking on the mutator's own time */
    GC_WAIT_SCAN, /* waiting for the collector: to finish with the own stack or acknowledgement */
    GC_VERIFY,    /* stopped by verify=1 (not counted in ALL) */
    GC_ALL,       /* every interruption, all kinds but VERIFY */
    GC_KINDS
} gc_kind;

/* Log-linear: 16 buckets per power of two of nanoseconds. */
#define GC_HIST_SUB     16
#define GC_HIST_BUCKETS (40 * GC_HIST_SUB)
typedef struct gc_histogram {
    _Atomic uint64_t count, sum, max;
    _Atomic uint64_t bucket[GC_HIST_BUCKETS];
} gc_histogram;

void gc_histogram_add(gc_histogram *h, int64_t ns);
void gc_histogram_merge(gc_histogram *into, const gc_histogram *from);
/* Concurrent additions may be kept in part. */
void gc_histogram_clear(gc_histogram *h);
/* q in 0..1; the upper edge of the bucket, never above max. 0 if empty. */
int64_t gc_histogram_quantile(const gc_histogram *h, double q);

typedef struct gc_records gc_records;         /* per mutator */
typedef struct gc_record_book gc_record_book; /* per heap: live records, totals of the dead */

int gc_book_new(gc_record_book **out);
void gc_book_free(gc_record_book *b);
int gc_records_new(gc_record_book *b, gc_records **out);
/* Adds what it holds to the totals and frees it. */
void gc_records_free(gc_records *r);
/* One interruption of the mutator, [start, end) in os_now() nanoseconds. Async-signal-safe. */
void gc_record(gc_records *r, gc_kind kind, int64_t start, int64_t end);

/* Heap-wide measures, recorded where they can happen. */
typedef enum gc_measure {
    GC_REACH,        /* handshake: from the request to the last acknowledgement */
    GC_WAIT_MUTATOR, /* a mutator waited for another mutator on the collector's account */
    GC_LOCK_WAIT,    /* a mutator waited for the page heap's lock */
    GC_MEASURES
} gc_measure;
void gc_book_measure(gc_record_book *b, gc_measure m, int64_t ns);

/* Sums over all mutators, alive and gone. */
void gc_book_read(gc_record_book *b, gc_kind kind, gc_histogram *out);
void gc_book_read_measure(gc_record_book *b, gc_measure m, gc_histogram *out);
/* Lowest share of any window of `window_ns` that any mutator had to itself, 0..1; windows
 * supported: 1 ms, 10 ms, 100 ms. 1.0 if never interrupted. Exact, or where interruptions came by
 * the thousand too low by at most 0.4 % (gc/mmu.c); never too high. */
double gc_book_mmu(gc_record_book *b, int64_t window_ns);
/* Around fork(): no attaching, detaching or reading is under way in between. A leaf lock. */
void gc_book_lock(gc_record_book *b);
void gc_book_unlock(gc_record_book *b);
/* Bytes of memory that all of this occupies. */
uint64_t gc_book_resident(gc_record_book *b);
/* Forgets all of it. An interruption that is being recorded meanwhile may be kept in part. */
void gc_book_reset(gc_record_book *b);

#endif
