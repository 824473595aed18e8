/* Marking: from grey objects to marked ones, while mutators go on.
 *
 * Small objects are queued by span, first in first out. While a span waits, more of its slots are
 * marked, and then all of them are scanned in one go with the type's mask: one pass over memory that
 * the prefetcher likes, instead of one cache miss per object (the idea is Go's Green Tea; the marks
 * of a span that are not scanned yet are mark & ~scan).
 *
 * What a span's objects refer to is collected as candidates and marked many at a time, in three
 * stages (page table, bitmaps, span), each a block ahead of the next, so that the misses of different
 * words overlap. References from a span into itself are the exception: they are marked and
 * scanned on the spot, since a tree that was allocated in one go would otherwise come back through the
 * queue once for each of its levels.
 *
 * Rejected: a mark stack of objects (one miss per object, and the order of a depth-first walk is the
 * worst for gathering); pushing object by object to shared queues (an atomic per object).
 *
 * Invariant: a span with a bit in mark & ~scan is flagged `queued` and lies in exactly one queue (a
 * marker's ring or heap->grey), or some marker that is counted in gc->active is about to read its
 * mark words. A marker clears `queued` before it reads the mark words; whoever marks sets the bit
 * before it reads `queued`. Both are sequentially consistent, so no mark is overlooked.
 *
 * Two markers may scan one span at the same time; each object is scanned by the one whose fetch-or
 * into `scan` set its bit.
 */
#include <errno.h>

#include "gc/state.h"
#include "heap/prefetch.h"
#include "heap/span.h"
#include "os/clock.h"
#include "os/delay.h"
#include "os/memory.h"
#include "os/vm.h"

/* Of a large object, at once. */
#ifdef TRI_TORTURE
#define PIECE       ((size_t)512)
#define BRIEF_PIECE ((size_t)64)
#else
#define PIECE       ((size_t)128 << 10)
#define BRIEF_PIECE ((size_t)4 << 10)
#endif

/* Spans that a marker without work takes from another at once. */
#define STEAL_MOST 256u

/* Spans in a ring that make it worth to wake an idle thread. */
#ifdef TRI_TORTURE
#define IDLE_SPANS 1
#else
#define IDLE_SPANS 64
#endif

/* ---- markers -------------------------------------------------------------------------------------- */

int gc_marker_new(struct gc *gc, gc_marker **out)
{
    gc_marker *w = os_alloc(sizeof *w);
    if (!w)
        return -ENOMEM;
    w->gc = gc;
    w->ring = os_reserve_rw(GC_RING * sizeof(heap_span *), 4096);
    w->found = os_reserve_rw((GC_FOUND + 64) * sizeof(uintptr_t), 4096);
    if (!w->ring || !w->found) {
        gc_marker_free(w);
        return -ENOMEM;
    }
    *out = w;
    return 0;
}

void gc_marker_free(gc_marker *w)
{
    if (w->ring)
        os_unreserve((void *)w->ring, GC_RING * sizeof(heap_span *));
    if (w->found)
        os_unreserve(w->found, (GC_FOUND + 64) * sizeof(uintptr_t));
    os_free(w, sizeof *w);
}

/* ---- the ring -------------------------------------------------------------------------------------- */

static void ring_push(gc_marker *w, heap_span *s)
{
    uint32_t tail = atomic_load_explicit(&w->tail, memory_order_relaxed);
    uint32_t head =
        atomic_load_explicit(&w->head, memory_order_acquire); /* pairs with the takers */
    if (TRI_UNLIKELY(tail - head == GC_RING)) {
        heap_grey_push(w->gc->heap, s);
        return;
    }
    atomic_store_explicit(&w->ring[tail % GC_RING], s, memory_order_relaxed);
    atomic_store_explicit(&w->tail, tail + 1, memory_order_release); /* pairs with ring_take */
}

/* By the owner and by thieves. */
static heap_span *ring_take(gc_marker *w)
{
    uint32_t head = atomic_load_explicit(&w->head, memory_order_acquire);
    for (;;) {
        uint32_t tail = atomic_load_explicit(&w->tail, memory_order_acquire);
        if ((int32_t)(tail - head) <= 0)
            return NULL;
        heap_span *s = atomic_load_explicit(&w->ring[head % GC_RING], memory_order_relaxed);
        /* Release: the owner may reuse the slot only after it was read. */
        if (atomic_compare_exchange_weak_explicit(&w->head, &head, head + 1, memory_order_acq_rel,
                                                  memory_order_acquire))
            return s;
    }
}

/* A moment's number. */
static uint32_t ring_length(const gc_marker *w)
{
    uint32_t head = atomic_load_explicit(&w->head, memory_order_acquire);
    uint32_t n = atomic_load_explicit(&w->tail, memory_order_acquire) - head;
    return n < GC_RING ? n : GC_RING;
}

/* Everything that mutators queued. */
static bool take_grey(gc_marker *w)
{
    tri_heap *h = w->gc->heap;
    if (!atomic_load_explicit(&h->grey, memory_order_relaxed))
        return false;
    /* Acquire: pairs with the release of heap_grey_push. Release: whoever finds the queue empty in
     * gc_mark_work_left() finds us counted in `active`. */
    heap_span *s = atomic_exchange_explicit(&h->grey, NULL, memory_order_acq_rel);
    bool any = s != NULL;
    while (s) {
        heap_span *next = s->grey_next;
        ring_push(w, s);
        s = next;
    }
    return any;
}

/* Moves half of what victim's ring holds, at most STEAL_MOST, to w's, which is empty, by one
 * compare-and-swap: the entries that were read are the ones taken if head has not moved, since the
 * owner overwrites none before. */
static bool ring_steal(gc_marker *w, gc_marker *victim)
{
    uint32_t own = atomic_load_explicit(&w->tail, memory_order_relaxed);
    uint32_t head = atomic_load_explicit(&victim->head, memory_order_acquire);
    for (;;) {
        uint32_t n = atomic_load_explicit(&victim->tail, memory_order_acquire) - head;
        if (n == 0 || n > GC_RING)
            return false; /* > GC_RING: head was read too long ago */
        n -= n / 2;
        n = n < STEAL_MOST ? n : STEAL_MOST;
        for (uint32_t i = 0; i < n; i++) {
            heap_span *s =
                atomic_load_explicit(&victim->ring[(head + i) % GC_RING], memory_order_relaxed);
            atomic_store_explicit(&w->ring[(own + i) % GC_RING], s, memory_order_relaxed);
        }
        /* As in ring_take(). */
        if (atomic_compare_exchange_weak_explicit(&victim->head, &head, head + n,
                                                  memory_order_acq_rel, memory_order_acquire)) {
            atomic_store_explicit(&w->tail, own + n, memory_order_release); /* pairs with takers */
            return true;
        }
    }
}

/* From the neighbours first: thieves that all began with the same ring would meet at its head. */
static heap_span *steal(gc_marker *w)
{
    struct gc *gc = w->gc;
    for (unsigned i = 1; i < gc->nmarkers; i++) {
        gc_marker *victim = gc->markers[(w->number + i) % gc->nmarkers];
        heap_span *s = NULL;
        if (w->brief)
            s = ring_take(victim);
        else if (ring_steal(w, victim))
            s = ring_take(w);
        if (s)
            return s;
    }
    return NULL;
}

/* The first lines of the objects that are to be scanned in one bitmap word. */
static void prefetch_objects(const heap_span *s, uint32_t word)
{
    uint64_t todo = __atomic_load_n(heap_mark_at(s, word), __ATOMIC_RELAXED) &
                    ~__atomic_load_n(heap_scan_at(s, word), __ATOMIC_RELAXED);
    uintptr_t first = heap_slot(s, word * 64);
    for (; todo; todo &= todo - 1)
        __builtin_prefetch((void *)(first + (uintptr_t)__builtin_ctzll(todo) * s->size));
}

/* The spans that come next, and their bitmaps. What lies behind tail is older than this cycle: such a span
 * may have become another. */
static void prefetch_ring(gc_marker *w)
{
    uint32_t head = atomic_load_explicit(&w->head, memory_order_relaxed);
    uint32_t n = atomic_load_explicit(&w->tail, memory_order_relaxed) - head;
    if (n > GC_RING) /* a thief's head is ahead of the tail that was read */
        return;
    if (n > 6)
        __builtin_prefetch(
            atomic_load_explicit(&w->ring[(head + 6) % GC_RING], memory_order_relaxed));
    if (n > 2) {
        const heap_span *near =
            atomic_load_explicit(&w->ring[(head + 2) % GC_RING], memory_order_relaxed);
        __builtin_prefetch(near->bits);
    }
    if (n > 0)
        prefetch_objects(atomic_load_explicit(&w->ring[head % GC_RING], memory_order_relaxed), 0);
}

static heap_span *next_span(gc_marker *w)
{
    heap_span *s = ring_take(w);
    prefetch_ring(w);
    /* Who stays for microseconds takes one span at a time, and no chain of which most would be left. */
    if (!s && !w->brief && take_grey(w))
        s = ring_take(w);
    return s ? s : steal(w);
}

/* ---- candidates ------------------------------------------------------------------------------------- */

/* Scanning appends the words that point into the reservation to w->found; marking takes them from
 * there, many at a time, so that the misses of each overlap with those of the others: the page table
 * two blocks ahead, the bitmaps one block ahead. A marker that holds candidates is counted in
 * gc->active, like one that holds a span, and marks them all before it is not. */

#define BLOCK 32
#ifdef TRI_TORTURE
#define FLUSH_AT BLOCK
#else
#define FLUSH_AT 1024 /* candidates; who has microseconds marks them as they come */
#endif
#define KERNEL_MAX (64 * 64 + 8) /* words that one call of gc_scan_kernel.objects may write */
_Static_assert(FLUSH_AT + KERNEL_MAX <= GC_FOUND, "no room for what a kernel may find");

/* Where the bits of a candidate are. */
typedef struct target {
    uint64_t *group; /* of its bitmap word; see HEAP_GROUP */
    uint64_t bit;
    heap_span *span;
} target;

static void queue(gc_marker *w, heap_span *s)
{
    if (heap_must_queue(s))
        ring_push(w, s);
}

/* Sets mark bits, of one bitmap word, that were found clear. */
static void mark_bits(gc_marker *w, const target *t, uint64_t bits)
{
    /* As heap_mark(): the bits, then `queued`. */
    bits &= ~__atomic_fetch_or(&t->group[HEAP_MARK], bits, __ATOMIC_SEQ_CST);
    if (!bits)
        return;
    w->marked_bytes += heap_popcount(bits) * (uint64_t)t->span->size;
    queue(w, t->span);
}

static void mark_one(gc_marker *w, uintptr_t word)
{
    heap_ref ref;
    bool first;
    if (!heap_find(w->gc->heap, word, &ref) || !heap_mark(ref.span, ref.index, &first))
        return;
    w->marked_bytes += ref.span->size;
    if (first)
        ring_push(w, ref.span);
}

/* The page entry says all that is needed to find the bits, without the span. */
static void find_bits(gc_marker *w, uintptr_t word, target *out)
{
    static uint64_t no_bits[HEAP_GROUP]; /* never written: no slot is allocated in it */
    const tri_heap *h = w->gc->heap;
    uintptr_t at = word - h->base;
    const heap_page *page = &h->pages[at >> HEAP_PAGE_SHIFT];
    uint32_t id = atomic_load_explicit(&page->span, memory_order_acquire); /* heap_span_enter() */
    if (TRI_UNLIKELY(!id || !page->magic)) {
        if (id)
            mark_one(w, word); /* one slot, whose end only the span knows */
        *out = (target){no_bits, 0, h->spans};
        return;
    }
    at -= (uintptr_t)page->first << HEAP_PAGE_SHIFT;
    uint32_t i = (uint32_t)(((uint64_t)at * page->magic) >> 32);
    out->group = (uint64_t *)(void *)(h->bits + 8 * (uint64_t)page->bits) + i / 64 * HEAP_GROUP;
    out->bit = (uint64_t)1 << (i % 64);
    out->span = &h->spans[id];
    __builtin_prefetch(out->group, 1);
}

/* Keeps the targets that are allocated and not marked, and returns how many. */
static size_t keep_unmarked(target *t, size_t n)
{
    target *out = t;
    for (const target *end = t + n; t < end; t++) {
        if (!(__atomic_load_n(&t->group[HEAP_ALLOC], __ATOMIC_RELAXED) & t->bit) ||
            __atomic_load_n(&t->group[HEAP_MARK], __ATOMIC_RELAXED) & t->bit)
            continue;
        __builtin_prefetch(t->span);
        *out++ = *t;
    }
    return (size_t)(out - (t - n));
}

/* Neighbours in memory are often neighbours among the candidates: those of one bitmap word are marked by
 * one locked instruction. */
static void mark_targets(gc_marker *w, const target *t, size_t n)
{
    for (size_t i = 0; i < n;) {
        const target *first = &t[i];
        uint64_t bits = 0;
        for (; i < n && t[i].group == first->group; i++)
            bits |= t[i].bit;
        mark_bits(w, first, bits);
    }
}

void gc_mark_words(gc_marker *w, const uintptr_t *words, size_t n)
{
    const tri_heap *h = w->gc->heap;
    target targets[3][BLOCK];
    size_t counts[2] = {0}; /* of the block found last, and of the one looked at last */
    for (size_t i = 0; i < n && i < BLOCK; i++)
        heap_prefetch_page(h, words[i]);
    for (size_t at = 0, turn = 0; at < n || counts[0] || counts[1]; turn = (turn + 1) % 3) {
        size_t here = n - at < BLOCK ? n - at : BLOCK;
        for (size_t i = at + here; i < n && i < at + here + BLOCK; i++)
            heap_prefetch_page(h, words[i]);
        for (size_t i = 0; i < here; i++)
            find_bits(w, words[at + i], &targets[turn][i]);
        size_t unmarked = keep_unmarked(targets[(turn + 2) % 3], counts[0]);
        mark_targets(w, targets[(turn + 1) % 3], counts[1]);
        counts[1] = unmarked;
        counts[0] = here;
        at += here;
    }
}

static void flush(gc_marker *w)
{
    size_t n = w->nfound;
    w->nfound = 0;
    gc_mark_words(w, w->found, n);
}

static inline uintptr_t *room(gc_marker *w)
{
    if (TRI_UNLIKELY(w->nfound >= FLUSH_AT))
        flush(w);
    return w->found + w->nfound;
}

void gc_mark_word(gc_marker *w, uintptr_t word)
{
    if (heap_contains(w->gc->heap, word)) {
        *room(w) = word;
        w->nfound++;
    }
}

void gc_mark_filter(gc_marker *w, const void *words, size_t n)
{
    const tri_heap *h = w->gc->heap;
    const uintptr_t *p = words;
    while (n) {
        size_t piece = n < KERNEL_MAX ? n : KERNEL_MAX;
        uintptr_t *out = room(w);
        w->nfound += w->gc->kernel->filter(p, piece, h->base, h->reserved, out);
        p += piece;
        n -= piece;
    }
}

/* ---- scanning objects --------------------------------------------------------------------------------- */

void tri_trace(tri_tracer *tracer, const void *pointer)
{
    if (TRI_LIKELY(tracer->marker != NULL))
        gc_mark_word(tracer->marker, (uintptr_t)pointer);
    else
        gc_verify_traced(tracer->verifier, (uintptr_t)pointer, tracer->from);
}

/* Up to 64 slots, or array elements, chosen by `todo`, of a layout with a mask. */
static void scan_masked(gc_marker *w, uintptr_t first, size_t slot, uint64_t todo, uint64_t mask)
{
    const tri_heap *h = w->gc->heap;
    uintptr_t *out = room(w);
    w->nfound += w->gc->kernel->objects(first, slot, todo, mask, h->base, h->reserved, out);
}

/* An object with pointers beyond its 64th word. */
static void scan_offsets(gc_marker *w, uintptr_t object, const heap_layout *l)
{
    for (uint32_t i = 0; i < l->nptrs; i++)
        gc_mark_word(w, __atomic_load_n((uintptr_t *)object + l->offsets[i], __ATOMIC_RELAXED));
}

static void scan_elements(gc_marker *w, uintptr_t start, size_t bytes, const heap_layout *l)
{
    size_t n = bytes / l->size;
    if (l->words > 64) {
        for (size_t i = 0; i < n; i++)
            scan_offsets(w, start + i * l->size, l);
        return;
    }
    for (size_t i = 0; i < n; i += 64) {
        size_t left = n - i;
        uint64_t todo = left >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << left) - 1;
        scan_masked(w, start + i * l->size, l->size, todo, l->mask);
    }
}

/* `bytes` at `start`, which begins at an object, or at an element of an array. */
static void scan_range(gc_marker *w, uintptr_t start, size_t bytes, const heap_layout *l)
{
    switch (l->kind) {
    case TRI_KIND_BYTES: return;
    case TRI_KIND_WORDS:
    case TRI_KIND_POINTERS:
        gc_mark_filter(w, (const void *)start, bytes / sizeof(uintptr_t));
        return;
    case TRI_KIND_TRACE: {
        tri_tracer tracer = {.marker = w};
        size_t step = l->size;
        for (size_t at = 0; at + step <= bytes; at += step)
            l->trace(&tracer, (void *)(start + at), step);
        return;
    }
    case TRI_KIND_STRUCT:
        if (l->array)
            scan_elements(w, start, bytes, l);
        else if (l->words > 64)
            scan_offsets(w, start, l);
        else
            scan_masked(w, start, l->size, 1, l->mask);
        return;
    }
}

/* The slots of one bitmap word. */
static void scan_slots(gc_marker *w, heap_span *s, uint32_t word, uint64_t todo)
{
    const heap_layout *l = s->layout;
    uintptr_t first = heap_slot(s, word * 64);
    /* A stale word may have marked a slot that was reserved, never issued, and taken back since. */
    todo &= __atomic_load_n(heap_alloc_at(s, word), __ATOMIC_RELAXED);
    if (l && l->kind == TRI_KIND_STRUCT && !l->array && l->words <= 64) {
        scan_masked(w, first, s->size, todo, l->mask);
        return;
    }
    for (; todo; todo &= todo - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(todo);
        const heap_layout *of = l ? l : heap_layout_of(w->gc->heap, s, word * 64 + i);
        /* A single object's slot is rounded up; its layout says where it ends. */
        size_t bytes = of->array || of->kind != TRI_KIND_STRUCT ? s->size : of->size;
        if (of->kind == TRI_KIND_TRACE && !of->array)
            bytes = of->size;
        scan_range(w, first + (uintptr_t)i * s->size, bytes, of);
    }
}

static void requeue(gc_marker *w, heap_span *s)
{
    if (!atomic_exchange_explicit(&s->queued, 1, memory_order_seq_cst)) /* as heap_mark */
        ring_push(w, s);
}

/* One piece of a large object; the rest goes back to the queue first, for others to take. */
static void scan_large(gc_marker *w, heap_span *s)
{
    const heap_layout *l = s->layout;
    if (__atomic_load_n(heap_scan_at(s, 0), __ATOMIC_RELAXED) & 1 || !heap_is_marked(s, 0))
        return;
    size_t most = w->brief ? BRIEF_PIECE : PIECE, piece = most;
    if (l->array && l->size > 8)
        piece = l->size > most ? l->size : most / l->size * l->size;
    if (!l->array && l->kind != TRI_KIND_WORDS && l->kind != TRI_KIND_POINTERS)
        piece = s->size;
    uint64_t at = atomic_fetch_add_explicit(&s->large_pos, piece, memory_order_relaxed);
    if (at >= s->size)
        return;
    if (at + piece < s->size) {
        requeue(w, s);
    } else {
        __atomic_fetch_or(heap_scan_at(s, 0), 1, __ATOMIC_SEQ_CST);
    }
    size_t bytes = s->size - at < piece ? s->size - at : piece;
    scan_range(w, s->base + at, bytes, l);
}

static bool out_of_time(const gc_marker *w)
{
    return w->deadline && os_now() >= w->deadline;
}

/* A span whose objects refer to each other is going to be read from end to end. */
static void prefetch_span(const heap_span *s)
{
    size_t bytes = (size_t)s->npages * HEAP_PAGE;
    for (size_t at = 0; at < bytes && at < 2 * HEAP_PAGE; at += 64)
        __builtin_prefetch((void *)(s->base + at));
}

/* Whether some slot was marked that w, who has the span in hand, must scan now. Candidates from
 * w->found[from] on that point into the span itself are marked at once, while it is in the nearest cache:
 * what was allocated together often refers to itself, and a tree would otherwise come back through
 * the queue once for each of its levels. */
static bool mark_local(gc_marker *w, heap_span *s, size_t from)
{
    uint64_t local[HEAP_GROUPS_MAX] = {0};
    size_t bytes = s->npages * HEAP_PAGE, kept = from;
    bool any = false;
    for (size_t i = from; i < w->nfound; i++) {
        uintptr_t at = w->found[i] - s->base;
        w->found[kept] = w->found[i];
        kept += at >= bytes;
        if (at < bytes) {
            uint32_t slot = (uint32_t)(((uint64_t)at * s->magic) >> 32);
            local[slot / 64] |= (uint64_t)1 << (slot % 64);
            any = true;
        }
    }
    w->nfound = kept;
    if (!any)
        return false;
    any = false;
    for (uint32_t i = 0; i < s->nwords; i++) {
        uint64_t bits = local[i] & __atomic_load_n(heap_alloc_at(s, i), __ATOMIC_RELAXED) &
                        ~__atomic_load_n(heap_mark_at(s, i), __ATOMIC_RELAXED);
        if (!bits)
            continue;
        bits &= ~__atomic_fetch_or(heap_mark_at(s, i), bits, __ATOMIC_SEQ_CST); /* as heap_mark() */
        w->marked_bytes += heap_popcount(bits) * (uint64_t)s->size;
        any |= bits != 0;
    }
    return any;
}

/* One pass over the span. False: it was cut short, and the span is queued again. */
static bool scan_words(gc_marker *w, heap_span *s)
{
    for (uint32_t i = 0; i < s->nwords; i++) {
        uint64_t todo = __atomic_load_n(heap_mark_at(s, i), __ATOMIC_SEQ_CST) &
                        ~__atomic_load_n(heap_scan_at(s, i), __ATOMIC_RELAXED);
        if (!todo)
            continue;
        todo &= ~__atomic_fetch_or(heap_scan_at(s, i), todo, __ATOMIC_SEQ_CST);
        if (!todo)
            continue;
        if (i + 1 < s->nwords)
            prefetch_objects(s, i + 1);
        scan_slots(w, s, i, todo);
        if (w->brief)
            flush(w);
        if (out_of_time(w)) {
            requeue(w, s);
            return false;
        }
    }
    return true;
}

static void scan_span(gc_marker *w, heap_span *s)
{
    OS_DELAY("mark.taken");
    /* A worker or guest that has taken a span out of a queue while a round runs: what it is about to read
     * may be in the buffer of a mutator that has acknowledged already. */
    barrier_note_work(w->gc->heap);
    OS_DELAY("mark.noted");
    atomic_exchange_explicit(&s->queued, 0, memory_order_seq_cst); /* pairs with heap_mark */
    OS_DELAY("mark.scan");
    if (s->large) {
        scan_large(w, s);
        if (w->brief)
            flush(w);
        return;
    }
    for (bool first = true;; first = false) {
        size_t from = w->nfound;
        if (!scan_words(w, s))
            return;
        /* Unless what was found was marked on the way, for want of room. */
        if (from >= w->nfound || !mark_local(w, s, from))
            return;
        if (first)
            prefetch_span(s);
    }
}

/* What mutators handed over. That is not progress in itself: a program that stores without pause always
 * has some, most of it marked already.
 *
 * During a round it is the collector's, which waits for all to acknowledge and then shades it word by word. If other
 * markers took it and made the round dirty, as one must that takes a span, no round would ever be clean beside
 * such a program, once handshakes take longer than the markers sleep. OPEN is read by a marker that is counted in
 * `active`: a round that begins while it has the words in hand finds it there, and is given up.
 */
static void take_blocks(gc_marker *w)
{
    tri_heap *h = w->gc->heap;
    if (w->brief || !barrier_blocks_wait(h))
        return;
    /* seq_cst: pairs with round_is_clean(), which writes term before it reads `active`. */
    if (atomic_load_explicit(&h->term, memory_order_seq_cst) != TERM_OPEN)
        return;
    OS_DELAY("mark.blocks");
    for (barrier_block *b = barrier_take_blocks(h); b; b = barrier_give_back(h, b))
        for (uint32_t i = 0; i < b->count; i++)
            gc_mark_word(w, b->words[i]);
}

bool gc_mark_some(gc_marker *w, uint64_t spans)
{
    bool any = false;
    for (; spans; spans--) {
        take_blocks(w);
        heap_span *s = next_span(w);
        if (!s && w->nfound) {
            flush(w);
            s = next_span(w);
        }
        if (!s)
            return any;
        any = true;
        scan_span(w, s);
    }
    return true;
}

/* ---- several markers ------------------------------------------------------------------------------------- */

bool gc_mark_work_left(struct gc *gc)
{
    if (atomic_load_explicit(&gc->heap->grey, memory_order_seq_cst))
        return true;
    for (unsigned i = 0; i < gc->nmarkers; i++)
        if (ring_length(gc->markers[i]))
            return true;
    return false;
}

/* A kernel that looks at slices with its tick alone lets a mutator wait up to 4 ms for the processor that a
 * marker was woken on. So the collector's threads ask it to look. True: a slice is over. */
bool gc_make_way(void)
{
    static _Thread_local int64_t since;
    int64_t now = os_now();
    if (now - since < GC_SLICE_NS)
        return false;
    os_yield();
    since = os_now();
    return true;
}

/* Idle threads that came when there was little to mark have gone to sleep; others have become idle. */
static void wake_idle(gc_marker *w)
{
    const gc_hooks *hooks = gc_hooks_of(w->gc);
    if (ring_length(w) >= IDLE_SPANS && hooks->wake_idle)
        hooks->wake_idle(w->gc->heap);
}

/* A marker that is not counted in `active` holds no span and no candidates; what a guest left in its ring
 * counts as work like any queue's. So when the collector finds itself the only active one and then no
 * queue with work, there is none: whoever could still add some is a mutator, and that is what the
 * termination round is for. */
void gc_mark_all(struct gc *gc, gc_marker *w)
{
    for (;;) {
        while (gc_mark_some(w, 64))
            if (gc_make_way())
                wake_idle(w);
        if (atomic_load_explicit(&gc->active, memory_order_seq_cst) > 1) {
            os_yield();
            continue;
        }
        if (!gc_mark_work_left(gc))
            return;
    }
}

/* Entering is announced before looking for work, so gc_mark_all() cannot conclude in between. */
static bool enter(struct gc *gc)
{
    atomic_fetch_add_explicit(&gc->active, 1, memory_order_seq_cst);
    if (atomic_load_explicit(&gc->marking, memory_order_seq_cst))
        return true;
    atomic_fetch_sub_explicit(&gc->active, 1, memory_order_seq_cst);
    return false;
}

static void leave(struct gc *gc)
{
    atomic_fetch_sub_explicit(&gc->active, 1, memory_order_seq_cst);
}

static _Thread_local bool own_thread;

bool gc_is_own_thread(void)
{
    return own_thread;
}

void gc_own_thread_begin(void)
{
    own_thread = true;
    os_thread_slices(GC_SLICE_NS);
}

void gc_wake_markers(struct gc *gc)
{
    atomic_fetch_add_explicit(&gc->markers_wake, 1, memory_order_release); /* pairs with the wait */
    os_futex_wake(&gc->markers_wake, 1 << 20);
}

static bool wanted(const gc_marker *w)
{
    return !w->reserve || atomic_load_explicit(&w->gc->behind, memory_order_relaxed);
}

void gc_marker_thread(void *marker)
{
    gc_marker *w = marker;
    struct gc *gc = w->gc;
    gc_own_thread_begin();
    int64_t cpu = os_cpu_thread();
    while (!atomic_load_explicit(&gc->quit, memory_order_acquire)) {
        uint32_t seen = atomic_load_explicit(&gc->markers_wake, memory_order_acquire);
        bool worked = false;
        if (wanted(w) && enter(gc)) {
            while (gc_mark_some(w, 64)) {
                worked = true;
                gc_make_way();
            }
            leave(gc);
        }
        int64_t now = os_cpu_thread();
        atomic_fetch_add_explicit(&gc->cpu_total, now - cpu, memory_order_relaxed);
        cpu = now;
        if (worked)
            continue;
        bool marking = atomic_load_explicit(&gc->marking, memory_order_relaxed);
        os_futex_wait(&gc->markers_wake, seen, marking && wanted(w) ? 200000 : -1);
    }
}

/* ---- guests: mutators that mark for a moment, idle threads for longer ------------------------------- */

static gc_marker *borrow(struct gc *gc)
{
    for (unsigned i = gc->nworkers + 1; i < gc->nmarkers; i++) {
        gc_marker *w = gc->markers[i];
        bool taken = false;
        if (!atomic_load_explicit(&w->taken, memory_order_relaxed) &&
            atomic_compare_exchange_strong_explicit(&w->taken, &taken, true, memory_order_acquire,
                                                    memory_order_relaxed)) /* pairs with below */
            return w;
    }
    return NULL;
}

static void give_back(gc_marker *w)
{
    atomic_store_explicit(&w->taken, false, memory_order_release);
}

static bool mark_briefly(struct gc *gc, int64_t until)
{
    gc_marker *w = borrow(gc);
    if (!w)
        return false;
    bool any = false;
    w->brief = true;
    w->deadline = until;
    if (enter(gc)) {
        while (gc_mark_some(w, 1)) {
            any = true;
            if (out_of_time(w))
                break;
        }
        flush(w);
        leave(gc);
    }
    give_back(w);
    return any;
}

static bool mark_until(struct gc *gc, bool (*disturbed)(void *), void *arg)
{
    gc_marker *w = borrow(gc);
    if (!w)
        return false;
    bool any = false;
    w->brief = false;
    w->deadline = 0;
    if (enter(gc)) {
        while (!disturbed(arg) && gc_mark_some(w, 1))
            any = true;
        flush(w);
        leave(gc);
    }
    give_back(w);
    return any;
}

bool gc_mark_wants_help(tri_heap *h)
{
    struct gc *gc = gc_of(h);
    return atomic_load_explicit(&gc->marking, memory_order_relaxed) && gc_mark_work_left(gc);
}

bool gc_help_mark(tri_heap *h, gc_mutator *m, bool (*disturbed)(void *), void *arg)
{
    struct gc *gc = gc_of(h);
    int64_t cpu = os_cpu_thread();
    bool any = mark_until(gc, disturbed, arg);
    atomic_fetch_add_explicit(&gc->cpu_idle, os_cpu_thread() - cpu, memory_order_relaxed);
    gc_poll(m);
    return any;
}

#define ASSIST_WINDOW 200000
#define ASSIST_MAX    20000

/* The soft goal was passed while marking runs: the reserve of markers is woken, once a cycle, and a
 * mutator that allocates marks a little, never more than ASSIST_MAX in any ASSIST_WINDOW. The goal may
 * be exceeded further; the hard limit is enforced elsewhere. */
void gc_mark_assist(gc_mutator *m)
{
    struct gc *gc = gc_of(m->heap);
    /* A cycle of a small heap passes the goal while its handshakes are under way: nothing to help with. */
    if (!atomic_load_explicit(&gc->marking, memory_order_relaxed) || !gc_mark_work_left(gc))
        return;
    if (!atomic_load_explicit(&gc->behind, memory_order_relaxed) &&
        !atomic_exchange_explicit(&gc->behind, true, memory_order_relaxed) && gc->nreserve)
        gc_wake_markers(gc);
    /* There may be more threads than processors now. One that goes on until the kernel takes its processor away, every
     * 4 ms, loses it for milliseconds and anywhere, in the middle of marking as well. */
    gc_make_way();
    int64_t start = os_now();
    if (start - m->assist_window >= ASSIST_WINDOW) {
        m->assist_window = start;
        m->assist_spent = 0;
    }
    if (m->assist_spent >= ASSIST_MAX * 3 / 4)
        return;
    if (!mark_briefly(gc, start + ASSIST_MAX / 2 - m->assist_spent / 2))
        return;
    int64_t end = os_now();
    m->assist_spent += end - start;
    atomic_fetch_add_explicit(&gc->cpu_assist, end - start, memory_order_relaxed);
    gc_record(m->records, GC_ASSIST, start, end);
}
