/* Minimum mutator utilisation: the worst share of any window that a mutator had to itself.
 *
 * A pause histogram cannot tell one pause of a millisecond from a hundred of ten microseconds in a
 * row, and the latter hurts as much. Keeping all intervals and sweeping a window over them
 * afterwards, as those who coined the measure do, needs memory without bound. But only the worst
 * window matters, and it can be found as the intervals arrive:
 *
 *   Slide a window [t, t + w) over the line and look at the time it loses, L(t). L changes at the
 *   rate busy(t + w) - busy(t). Take a worst window. If its right end lies inside an interruption,
 *   slide it right: L cannot fall before that interruption ends, since the rate is 1 - busy(t) >= 0.
 *   If its right end lies in free time, slide it left to the last end of an interruption: L cannot
 *   fall, since going left the rate is busy(t) - 0 >= 0. So among the windows that end where an
 *   interruption ends there is a worst one; those that start where one starts need no look.
 *
 * Each interruption is therefore asked once, when it ends: how much did the last w lose? A ring of
 * the intervals in the last w and their sum answer that in constant amortised time. Time before
 * the mutator existed counts as its own; the window that starts with the mutator loses as much.
 *
 * The ring is bounded. When it is full, neighbours are merged that together span no more than a
 * 256th of the window, which at least halves it (two neighbours that could not be merged span more
 * than that, and the window has room for 256 such pairs). A merged entry knows how much it lost,
 * not where. The only time that matters is when the window's left edge cuts it; then all it lost
 * is taken to lie on the near side, as far as there is room. So the utilisation reported is exact
 * as long as no window holds more than a thousand interruptions; beyond that it may be lower than
 * the truth, by at most 0.4 % of the window, and is never higher. Merging the oldest first and
 * counting gaps as lost, the simpler scheme, would report a utilisation near zero for what is
 * really a drizzle of short interruptions.
 *
 * Invariant: `busy` is the sum over the ring, entries are disjoint and ascend, and none ended
 * before the newest window began.
 */
#include "gc/mmu.h"

#include <stdbool.h>

#include "os/assert.h"

static const int64_t lengths[GC_MMU_WINDOWS] = {1000000, 10000000, 100000000};

static gc_mmu_entry *entry(gc_mmu_window *v, uint32_t i)
{
    return &v->ring[i % GC_MMU_RING];
}

static int64_t start_of(const gc_mmu_entry *e)
{
    return e->end - e->span;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Grows an entry to the right by an interruption that overlaps it or follows it. */
static void absorb(gc_mmu_window *v, gc_mmu_entry *e, int64_t w, int64_t end, int64_t busy)
{
    int64_t start = start_of(e), lost = e->busy + busy;
    if (e->end < end)
        e->end = end;
    e->span = (uint32_t)least(e->end - start, w);
    v->busy -= e->busy;
    e->busy = (uint32_t)least(lost, e->span);
    v->busy += e->busy;
}

static void compact(gc_mmu_window *v, int64_t w)
{
    uint32_t kept = v->tail;
    for (uint32_t i = v->tail + 1; i != v->head; i++) {
        gc_mmu_entry *into = entry(v, kept), *from = entry(v, i);
        if (from->end - start_of(into) <= w / GC_MMU_GRAINS)
            absorb(v, into, w, from->end, from->busy), v->busy -= from->busy;
        else
            *entry(v, ++kept) = *from;
    }
    v->head = kept + 1;
    TRI_ASSERT(v->head - v->tail < GC_MMU_RING, "merging neighbours makes room in a full ring");
}

static void forget_before(gc_mmu_window *v, int64_t left)
{
    while (v->tail != v->head && entry(v, v->tail)->end <= left)
        v->busy -= entry(v, v->tail++)->busy;
}

static void forget_inside(gc_mmu_window *v, int64_t start)
{
    while (v->tail != v->head && start_of(entry(v, v->head - 1)) >= start)
        v->busy -= entry(v, --v->head)->busy;
}

static void append(gc_mmu_window *v, int64_t w, int64_t start, int64_t end)
{
    if (v->tail != v->head && entry(v, v->head - 1)->end > start) {
        absorb(v, entry(v, v->head - 1), w, end, end - start);
        return;
    }
    if (v->head - v->tail == GC_MMU_RING)
        compact(v, w);
    *entry(v, v->head++) = (gc_mmu_entry){end, (uint32_t)(end - start), (uint32_t)(end - start)};
    v->busy += end - start;
}

/* What the window of length w that ends at `end` lost. */
static int64_t lost(gc_mmu_window *v, int64_t w, int64_t end)
{
    const gc_mmu_entry *oldest = entry(v, v->tail);
    int64_t inside = least(oldest->busy, oldest->end - (end - w));
    return least(v->busy - oldest->busy + inside, w);
}

static void publish(_Atomic uint64_t *worst, uint32_t epoch, int64_t ns)
{
    uint64_t was = atomic_load_explicit(worst, memory_order_relaxed);
    uint64_t now = (uint64_t)epoch << 32 | (uint64_t)ns;
    if ((uint32_t)(was >> 32) != epoch || (uint32_t)was < (uint64_t)ns)
        atomic_store_explicit(worst, now, memory_order_relaxed);
}

static void start_anew(gc_mmu *m, uint32_t epoch)
{
    for (int i = 0; i < GC_MMU_WINDOWS; i++) {
        m->window[i].head = m->window[i].tail = 0;
        m->window[i].busy = 0;
    }
    m->epoch = epoch;
}

void gc_mmu_add(gc_mmu *m, uint32_t epoch, int64_t start, int64_t end)
{
    if (m->epoch != epoch)
        start_anew(m, epoch);
    if (end <= start)
        return;
    for (int i = 0; i < GC_MMU_WINDOWS; i++) {
        gc_mmu_window *v = &m->window[i];
        int64_t w = lengths[i], left = end - w, from = start > left ? start : left;
        forget_before(v, left);
        forget_inside(v, from);
        append(v, w, from, end);
        publish(&m->worst[i], epoch, lost(v, w, end));
    }
}

int gc_mmu_window_of(int64_t ns)
{
    for (int i = 0; i < GC_MMU_WINDOWS; i++)
        if (lengths[i] == ns)
            return i;
    return -1;
}

int64_t gc_mmu_window_ns(int window)
{
    return lengths[window];
}

int64_t gc_mmu_worst(const gc_mmu *m, uint32_t epoch, int window)
{
    uint64_t worst = atomic_load_explicit(&m->worst[window], memory_order_relaxed);
    return (uint32_t)(worst >> 32) == epoch ? (int64_t)(uint32_t)worst : 0;
}
