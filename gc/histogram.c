/* A histogram of durations that never loses the tail.
 *
 * What is asked of it is p99.9 and the maximum of a distribution that spans seven orders of
 * magnitude, written from a signal handler. Linear buckets are too coarse at one end or too many;
 * a reservoir of samples forgets exactly the rare long ones; a sketch that adapts (t-digest,
 * DDSketch with collapsing) allocates or sorts. Log-linear buckets (HdrHistogram's, and Go's for
 * its own latencies) need neither: sixteen per power of two make every answer right within 1/16,
 * and adding is a count of leading zeros. The maximum is kept apart, exactly.
 *
 * Invariant: every recorded value is in exactly one bucket. `count` of a merged histogram is the
 * sum of the buckets that were read, so a quantile never asks for a value that is not there, even
 * while others write; `sum` and `max` may be one record ahead of it or behind.
 *
 * Adding uses locked instructions though most histograms have one writer: a reset from elsewhere
 * could otherwise be undone by the writer's store of an older count.
 */
#include "gc/interruption.h"
#include "os/assert.h"
#include "os/fence.h"

#define SUB_SHIFT 4
_Static_assert(1 << SUB_SHIFT == GC_HIST_SUB, "the shift says how many buckets a power of two has");

static unsigned bucket_of(uint64_t ns)
{
    if (ns < GC_HIST_SUB)
        return (unsigned)ns;
    unsigned e = 63 - (unsigned)__builtin_clzll(ns);
    unsigned i =
        (e - SUB_SHIFT + 1) * GC_HIST_SUB + ((unsigned)(ns >> (e - SUB_SHIFT)) & (GC_HIST_SUB - 1));
    return i < GC_HIST_BUCKETS ? i : GC_HIST_BUCKETS - 1;
}

static uint64_t upper_edge(unsigned i)
{
    if (i < GC_HIST_SUB)
        return i;
    unsigned e = i / GC_HIST_SUB - 1, sub = i % GC_HIST_SUB;
    return ((uint64_t)(GC_HIST_SUB + sub + 1) << e) - 1;
}

static uint64_t load(const _Atomic uint64_t *p)
{
    return atomic_load_explicit(p, memory_order_relaxed);
}

static void add(_Atomic uint64_t *p, uint64_t n)
{
    atomic_fetch_add_explicit(p, n, memory_order_relaxed);
}

static void raise_to(_Atomic uint64_t *p, uint64_t n)
{
    uint64_t was = load(p);
    while (was < n && !atomic_compare_exchange_weak_explicit(p, &was, n, memory_order_relaxed,
                                                             memory_order_relaxed))
        continue;
}

void gc_histogram_add(gc_histogram *h, int64_t ns)
{
    uint64_t v = ns > 0 ? (uint64_t)ns : 0;
    raise_to(&h->max, v);
    add(&h->sum, v);
    add(&h->count, 1);
    /* Pairs with the fence in gc_histogram_merge(): who counts a value knows a max that covers it. */
    os_fence(memory_order_release);
    add(&h->bucket[bucket_of(v)], 1);
}

void gc_histogram_merge(gc_histogram *into, const gc_histogram *from)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < GC_HIST_BUCKETS; i++) {
        uint64_t n = load(&from->bucket[i]);
        if (!n)
            continue;
        add(&into->bucket[i], n);
        count += n;
    }
    os_fence(memory_order_acquire); /* pairs with gc_histogram_add() */
    add(&into->count, count);
    add(&into->sum, load(&from->sum));
    raise_to(&into->max, load(&from->max));
}

void gc_histogram_clear(gc_histogram *h)
{
    for (unsigned i = 0; i < GC_HIST_BUCKETS; i++)
        atomic_store_explicit(&h->bucket[i], 0, memory_order_relaxed);
    atomic_store_explicit(&h->count, 0, memory_order_relaxed);
    atomic_store_explicit(&h->sum, 0, memory_order_relaxed);
    atomic_store_explicit(&h->max, 0, memory_order_relaxed);
}

/* The rank of the quantile, from 1: the smallest r with r >= q * count. */
static uint64_t rank_of(double q, uint64_t count)
{
    double exact = q * (double)count;
    uint64_t r = exact > 0 ? (uint64_t)exact : 0;
    r += (double)r < exact;
    return r < 1 ? 1 : r > count ? count : r;
}

int64_t gc_histogram_quantile(const gc_histogram *h, double q)
{
    TRI_ASSERT(q >= 0 && q <= 1, "a quantile is a share between 0 and 1");
    uint64_t count = load(&h->count), max = load(&h->max), seen = 0;
    if (!count)
        return 0;
    uint64_t rank = rank_of(q, count);
    for (unsigned i = 0; i < GC_HIST_BUCKETS - 1; i++) {
        seen += load(&h->bucket[i]);
        if (seen >= rank)
            return (int64_t)(upper_edge(i) < max ? upper_edge(i) : max);
    }
    return (int64_t)max;
}
