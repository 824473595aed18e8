/* The heap's own structures, and what the rooms above may call.
 *
 * Ownership, the rule that everything here rests on: a bitmap word of a span has one writer at a
 * time. The writer of `alloc` is whoever owns the span: the run table that HOLDs it, or whoever set
 * SWEEPING. The bits of `mark` and `scan` are set by atomic OR while the phase is not DONE, and
 * cleared only by the span's sweeper (after the last acknowledgement of H5, when nobody shades).
 *
 * Generations. heap->sweepgen is the number of the cycle whose marks are being gathered, or will be
 * next; it is incremented when the last mutator has acknowledged H5, which opens the sweep. A span
 * whose gen is smaller than sweepgen has not been swept yet. A span made by a mutator that is past
 * its own H5 while others are not is stamped sweepgen + 1, so the coming sweep skips it.
 *
 *   state = gen << 2 | SWEEPING | HELD
 *
 * Every change is a compare-and-swap on the whole word (acquire-release: it hands the bitmaps from
 * one owner to the next):
 *   HELD      set by whoever took the span from a set or created it; cleared by the same run table,
 *             which then puts the span into a set, unless SWEEPING is set: then the sweeper does.
 *   SWEEPING  set by compare-and-swap from gen < sweepgen; cleared together with gen = sweepgen.
 * A holder that needs its span swept while another sweeps it drops HELD and takes another span: no
 * mutator waits for another.
 */
#ifndef HEAP_HEAP_H
#define HEAP_HEAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "os/assert.h"
#include "os/thread.h"
#include "tricolor/heap.h"
#include "tricolor/mutator.h"
#include "tricolor/type.h"

#define HEAP_PAGE_SHIFT  13
#define HEAP_PAGE        ((size_t)1 << HEAP_PAGE_SHIFT)
#define HEAP_CHUNK_SHIFT 21
#define HEAP_CHUNK       ((size_t)1 << HEAP_CHUNK_SHIFT)
#define HEAP_CHUNK_PAGES (HEAP_CHUNK / HEAP_PAGE)
#define HEAP_SMALL_MAX   ((size_t)32768) /* larger objects have a span of their own */
#define HEAP_MAX_CELLS   65536

typedef struct heap_span heap_span;
typedef struct heap_class heap_class;
typedef struct heap_layout heap_layout;
typedef struct heap_cache heap_cache;

/* The dense side table, one entry per page. `span` is written last (release) when a span is made
 * and first (0) when it is freed; pages are freed only while nobody shades. Reading span with
 * acquire, or through a pointer into the page (address dependency), makes the rest valid. */
typedef struct heap_page {
    _Atomic uint32_t span; /* number of the span; 0: none */
    uint32_t first;        /* first page of the span */
    uint32_t magic;        /* ceil(2^32 / slot size); 0 for spans of one slot */
    uint32_t bits;         /* the span's bitmaps: heap->bits + 8 * bits bytes */
} heap_page;

/* How the objects of one (type, array or not) are scanned. Immutable once published. */
struct heap_layout {
    const char *name;
    tri_type *type;
    size_t size;   /* of one object, or of one element */
    tri_kind kind; /* STRUCT with no fields becomes BYTES */
    bool array;
    bool noscan;       /* no pointers: a mark bit is all it needs */
    uint32_t words;    /* size / 8 */
    uint32_t nptrs;    /* pointer words in one object or element */
    uint64_t mask;     /* pointer words of the first 64 words of one object or element */
    uint32_t *offsets; /* nptrs word indices, ascending */
    tri_trace_fn trace;
    uint32_t id; /* index into heap->layouts */
};

#define SPAN_HELD      1u
#define SPAN_SWEEPING  2u
#define SPAN_GEN_SHIFT 2

/* What marking a slot touches comes first, in one cache line. */
struct heap_span {
    /* Constant while the span exists, but for `queued`. */
    uintptr_t base;
    size_t size;         /* of a slot, bytes */
    uint64_t *bits;      /* nwords groups of three words: HEAP_ALLOC, HEAP_MARK, HEAP_SCAN */
    heap_layout *layout; /* NULL in mixed spans */
    uint32_t magic;
    uint32_t nwords; /* groups of bitmap words; at least one spare bit: nwords * 64 > nslots */
    bool large;
    bool noscan;            /* layout->noscan; false in mixed spans */
    _Atomic uint8_t queued; /* everybody: whether it is in a grey queue; see heap_mark() */
    heap_span *grey_next;   /* the grey queue's, while queued */

    uint32_t nslots;
    uint32_t id;
    uint32_t first; /* page number */
    uint32_t npages;
    uint32_t *slot_layouts; /* mixed spans: layout id per slot, written before the alloc bit */
    heap_class *class;      /* its mcentral; all large objects have one */

    /* Everybody, by compare-and-swap. */
    _Atomic uint32_t state;

    /* Large objects are scanned in pieces: bytes taken so far in this cycle (markers, fetch-add);
     * reset by the sweeper. */
    _Atomic uint64_t large_pos;

    /* The owner's. */
    uint32_t search;                            /* bitmap word where the next run is looked for */
    uint32_t live;                              /* set alloc bits after the last sweep */
    bool needzero;                              /* slots may hold old contents */
    void *link[2] __attribute__((aligned(16))); /* mcentral's sets: link word of AO_stack */
} __attribute__((aligned(TRI_CACHE_LINE)));

/* The three bits of a slot lie in neighbouring words: marking asks whether it is allocated and whether it
 * is marked, sweeping reads and writes all three, and each is one miss this way. */
enum {
    HEAP_ALLOC, /* slots issued or reserved */
    HEAP_MARK,
    HEAP_SCAN, /* marked slots that were already scanned */
    HEAP_GROUP
};
#define HEAP_GROUPS_MAX \
    (HEAP_PAGE / 8 / 64 + 1) /* of a span: the smallest slots are in spans of one page */

static inline uint64_t *heap_alloc_at(const heap_span *s, uint32_t word)
{
    return s->bits + (size_t)word * HEAP_GROUP + HEAP_ALLOC;
}

static inline uint64_t *heap_mark_at(const heap_span *s, uint32_t word)
{
    return s->bits + (size_t)word * HEAP_GROUP + HEAP_MARK;
}

static inline uint64_t *heap_scan_at(const heap_span *s, uint32_t word)
{
    return s->bits + (size_t)word * HEAP_GROUP + HEAP_SCAN;
}

/* What an allocation slow path must know of the mutator that it works for. */
typedef struct heap_colour {
    bool black;   /* set mark and scan bits of what is reserved */
    uint32_t gen; /* stamp of new spans; other than heap->sweepgen: take fresh spans only */
} heap_colour;

/* A run table with what belongs to it. Owned by the mutator it is bound to, or by the collector
 * after a switch (the inactive table) or while nobody holds it. */
typedef struct heap_table {
    tri_slots *runs; /* HEAP_MAX_CELLS entries of lazily touched memory */
    uint32_t *used;  /* cells whose run is or was filled since the table was emptied */
    uint32_t nused;
} heap_table;

/* mcache: the run tables of a P (or of an attached thread). */
struct heap_cache {
    tri_heap *heap;
    heap_table tables[2];
    uint32_t active;           /* the table that heap_cache_switch() chose */
    _Atomic uint32_t switched; /* cycle in which it did; release, pairs with the collector */
    _Atomic(void *) owner;     /* mutator, NULL, or HEAP_COLLECTOR while it works on it */
    heap_cache *next;          /* heap->caches, under caches_lock */
    uint64_t bytes_unflushed;  /* reserved bytes not yet added to heap->live */
    void *private_;            /* mcache.c's: mixed runs, counters, scratch */
};

/* Set by the rooms above before any allocation; each may be NULL. */
typedef struct heap_hooks {
    /* heap->live passed heap->trigger. Called by a slow path; cheap, any lock may be held: none of
     * the heap's is needed by it. */
    void (*trigger)(tri_heap *h);
    /* A refill spent [start, end) of os_now() sweeping on behalf of the cache's owner. */
    void (*refill_swept)(void *owner, int64_t start, int64_t end);
    /* A mutator spent [start, end) draining its full barrier buffer. */
    void (*drained)(void *mutator, int64_t start, int64_t end);
    /* A sweep freed the object in this slot. */
    void (*freed)(const tri_heap *h, uintptr_t slot);
    /* Vacant chunks should be warmed (heap/warmer.h). Called without locks, once until that was done. */
    void (*cold)(tri_heap *h);
    /* A mutator waited that long for the page heap's lock. */
    void (*lock_waited)(tri_heap *h, int64_t ns);
} heap_hooks;

/* ---- tri_heap ----------------------------------------------------------------------------- */

struct heap_arena;   /* books.h: page allocator */
struct heap_numbers; /* span.c: span structures, their numbers, bitmap records */
struct heap_types;   /* types.c: registry */
struct heap_central; /* mcentral.c: classes with their sets of spans, and how far the sweep is */

struct tri_heap {
    /* Constant after creation. */
    uintptr_t base;
    size_t reserved;
    heap_page *pages; /* side table */
    uint8_t *bits;    /* bitmap records */
    heap_span *spans; /* by number; a structure is made before its number is published */
    tri_options options;

    /* Sweep generation: written by the collector alone, when all have acknowledged H5 (release);
     * read by refills (acquire). */
    _Atomic uint32_t sweepgen;
    _Atomic uint32_t span_limit; /* numbers below this may be in use */

    /* The collection phase as seen by shading: TERM_*; see barrier/shade.h. */
    _Atomic uint32_t term;

    /* Spans with marked, unscanned slots: a stack pushed by compare-and-swap (release) and taken
     * whole by exchange (acquire), so no tag is needed. */
    _Atomic(heap_span *) grey;

    /* Pacing. When a slow path sees live >= trigger it calls hooks.trigger. */
    /* Bytes: found live by the last sweep + reserved since. While a sweep runs, what it has not come
     * to yet counts in full. The heap room adds and subtracts; nobody sets it. */
    _Atomic uint64_t live;
    _Atomic uint64_t trigger;

    _Atomic uint64_t memory_limit;
    _Atomic uint64_t hard_limit;

    heap_hooks hooks;
    struct heap_arena *arena;
    struct heap_numbers *numbers;
    struct heap_types *types;
    struct heap_central *central;
    struct barrier_blocks *blocks; /* barrier/handover.c */

    os_mutex caches_lock;
    heap_cache *caches;

    /* The rooms above hang their parts here; each casts its own. */
    struct barrier_log *log; /* barriercheck=1 */
    struct gc *gc;
    struct sched *sched;
    struct inspect *inspect;
};

#define HEAP_COLLECTOR ((void *)1)

/* ---- heap.c: life ------------------------------------------------------------------------ */

/* Everything of the heap room in `h` (which the caller zeroed, with options set). -ENOMEM, -EINVAL. */
int heap_open(tri_heap *h);
void heap_close(tri_heap *h);

/* ---- lookup (inline) ------------------------------------------------------------------------ */

static inline bool heap_contains(const tri_heap *h, uintptr_t p)
{
    return p - h->base < h->reserved;
}

typedef struct heap_ref {
    heap_span *span;
    uint32_t index;
} heap_ref;

/* The span of a page number, or NULL. */
static inline heap_span *heap_span_at(const tri_heap *h, size_t page)
{
    uint32_t id = atomic_load_explicit(&h->pages[page].span, memory_order_acquire);
    return id ? &h->spans[id] : NULL;
}

/* The allocated slot that `p` points into. Valid for any word; ignores slots whose alloc bit is
 * clear. Safe while the span exists: in a cycle before H5 is complete, or from its owner. */
static inline bool heap_find(const tri_heap *h, uintptr_t p, heap_ref *out)
{
    if (!heap_contains(h, p))
        return false;
    heap_span *s = heap_span_at(h, (p - h->base) >> HEAP_PAGE_SHIFT);
    if (!s)
        return false;
    uint32_t i = s->magic ? (uint32_t)(((uint64_t)(p - s->base) * s->magic) >> 32) : 0;
    uint64_t word = __atomic_load_n(heap_alloc_at(s, i / 64), __ATOMIC_RELAXED);
    if (!(word >> (i % 64) & 1))
        return false;
    if (s->large && p - s->base >= s->size)
        return false;
    out->span = s;
    out->index = i;
    return true;
}

static inline uintptr_t heap_slot(const heap_span *s, uint32_t i)
{
    return s->base + (uintptr_t)i * s->size;
}

static inline bool heap_is_marked(const heap_span *s, uint32_t i)
{
    return __atomic_load_n(heap_mark_at(s, i / 64), __ATOMIC_RELAXED) >> (i % 64) & 1;
}

heap_layout *heap_layout_by_id(tri_heap *h, uint32_t id);
static inline heap_layout *heap_layout_of(tri_heap *h, const heap_span *s, uint32_t i)
{
    return s->layout ? s->layout
                     : heap_layout_by_id(h, __atomic_load_n(&s->slot_layouts[i], __ATOMIC_RELAXED));
}

/* ---- types.c ------------------------------------------------------------------------------- */

/* The cell for single objects (count SIZE_MAX) or for arrays of `count` elements; registers the type
 * at first use, and repoints nothing. >0: cell; 0: the object is large (no cell); <0: errno. */
int heap_type_cell(tri_heap *h, tri_type *type, size_t count);
heap_layout *heap_type_layout(tri_heap *h, tri_type *type, bool array);

/* ---- mcache.c ------------------------------------------------------------------------------- */

int heap_cache_new(tri_heap *h, heap_cache **out);
/* Retires both tables and frees it; nobody may hold it. */
void heap_cache_free(heap_cache *c);

/* One slot of `cell` (a positive result of heap_type_cell()), refilling the run. NULL: no memory
 * (hard limit, or the system's). May sweep. Caller is inside the runtime (no acknowledgement). */
void *heap_alloc_slow(heap_cache *c, uint32_t cell, heap_colour colour);

/* H2: take the other, empty table into use. Constant time, async-signal-safe. The caller stores the
 * new table's runs into its mutator. */
void heap_cache_switch(heap_cache *c, uint32_t cycle);
/* Releases every span that the inactive table holds and empties it: alloc bits of slots that were
 * never issued are cleared, spans go back to mcentral. By the collector, after the switch. */
void heap_cache_retire_inactive(heap_cache *c);
/* Adds bytes not yet counted to heap->live. By the owner. */
void heap_cache_flush(heap_cache *c);

/* ---- large.c ------------------------------------------------------------------------------- */

/* Reserves the span of one large object, neither zeroed nor published (no alloc bit). NULL: no
 * memory. */
heap_span *heap_large_new(tri_heap *h, heap_layout *layout, size_t bytes);
/* Zeroes the next piece (at most 128 KiB); true when all is zero. Poll between calls. */
bool heap_large_zero(heap_span *s, size_t *done);
/* Publishes and colours in one step; the colour must be the mutator's at this moment, with no
 * safepoint in between. */
void *heap_large_publish(tri_heap *h, heap_cache *c, heap_span *s, heap_colour colour);

/* ---- sweep of spans (sweep.c) ---------------------------------------------------------------- */

/* Sweeps up to `budget` spans out of the unswept sets, then stragglers by number. Returns how many it
 * swept (numbers looked at in vain count, too, many of them as one span); 0 when all spans are swept,
 * or, with *busy then true, when others are still at it. */
size_t heap_sweep_some(tri_heap *h, size_t budget, bool *busy);
/* How many bytes of spans the next sweep may leave with their classes when they become empty, instead of
 * giving them back to the page heap. */
void heap_sweep_keep(tri_heap *h, uint64_t bytes);
/* Starts a sweep: increments sweepgen. By the collector, after the last acknowledgement of H5. */
void heap_sweep_begin(tri_heap *h);

/* ---- scavenger.c ---------------------------------------------------------------------------- */

/* Returns up to `bytes` of free pages to the system; the number of bytes that went. */
size_t heap_scavenge(tri_heap *h, size_t bytes);

/* ---- fork.c --------------------------------------------------------------------------------- */

/* Takes every lock of the room; releases them, in parent and child. */
void heap_fork_prepare(tri_heap *h);
void heap_fork_release(tri_heap *h);

/* restart.c: in the child, before it collects again. All spans count as swept, with generation `gen`,
 * which becomes sweepgen (mutators that stay allocate for it, white); nothing is marked, the grey
 * queue is empty. Caches whose owner is neither NULL nor mine() are forgotten, the others'
 * tables are empty. */
void heap_restart(tri_heap *h, uint32_t gen, bool (*mine)(void *owner));

/* ---- grey queue ----------------------------------------------------------------------------- */

/* Async-signal-safe, lock-free. */
static inline void heap_grey_push(tri_heap *h, heap_span *s)
{
    heap_span *top = atomic_load_explicit(&h->grey, memory_order_relaxed);
    do
        s->grey_next = top;
    while (!atomic_compare_exchange_weak_explicit(&h->grey, &top, s, memory_order_release,
                                                  memory_order_relaxed)); /* pairs with take_all */
}

/* After a slot was marked: whether the caller must queue the span, which is flagged as queued now. */
static inline bool heap_must_queue(heap_span *s)
{
    return !s->noscan && !atomic_load_explicit(&s->queued, memory_order_seq_cst) &&
           !atomic_exchange_explicit(&s->queued, 1, memory_order_seq_cst);
}

/* Marks one slot. True if it was not marked before; then *first tells whether the span must be
 * queued by the caller (it is now flagged as queued).
 *
 * mark then queued here, queued then mark in the scanner: each side writes one and reads the other,
 * so both use sequentially consistent read-modify-writes (a plain locked instruction on x86). */
static inline bool heap_mark(heap_span *s, uint32_t i, bool *first)
{
    uint64_t bit = (uint64_t)1 << (i % 64);
    *first = false;
    if (__atomic_load_n(heap_mark_at(s, i / 64), __ATOMIC_RELAXED) & bit)
        return false;
    if (__atomic_fetch_or(heap_mark_at(s, i / 64), bit, __ATOMIC_SEQ_CST) & bit)
        return false;
    *first = heap_must_queue(s);
    return true;
}

/* ---- counters (counters.c): totals for memstats and pacing ---------------------------------- */

typedef struct heap_totals {
    uint64_t mallocs, frees;           /* objects, large ones included; unissued slots are not */
    uint64_t total_alloc, total_freed; /* bytes */
    uint64_t heap_sys, heap_idle, heap_inuse, heap_released; /* bytes of the reservation */
    uint64_t span_sys, span_inuse;                           /* span structures */
    uint64_t cache_sys, cache_inuse;                         /* mcaches: run tables */
    uint64_t meta_sys; /* side tables and bitmaps, resident estimate */
    uint64_t other_sys;
} heap_totals;
void heap_read_totals(tri_heap *h, heap_totals *out);

/* Live objects and bytes of one layout, for inspect. Walks classes, not objects. */
typedef struct heap_type_stats {
    const heap_layout *layout;
    uint64_t mallocs, frees, alloc_bytes, free_bytes;
    uint64_t spans;
} heap_type_stats;
/* Calls fn for each layout; stops when it returns false. */
void heap_each_type(tri_heap *h, bool (*fn)(void *arg, const heap_type_stats *), void *arg);
/* Per size class for MemStats.BySize: index 0..67 as in Go. */
typedef struct heap_size_stats {
    uint32_t size;
    uint64_t mallocs, frees;
} heap_size_stats;
size_t heap_read_sizes(tri_heap *h, heap_size_stats *out, size_t n);

#endif
