/* Interruptions and utilisation for those outside: percentiles in place of histograms.
 *
 * The histograms themselves stay private. Their buckets are an implementation's choice, and five
 * numbers are what people compare; the Prometheus text, which needs buckets, is made in this room.
 */
#include <errno.h>

#include "gc/mmu.h"
#include "gc/summary.h"
#include "tricolor/stats.h"

static const gc_kind kinds[TRI_INTERRUPTION_KINDS] = {
    [TRI_INTERRUPTION_ALL] = GC_ALL,
    [TRI_INTERRUPTION_HANDSHAKE] = GC_HANDSHAKE,
    [TRI_INTERRUPTION_RESUME_SCAN] = GC_RESUME_SCAN,
    [TRI_INTERRUPTION_REFILL_SWEEP] = GC_REFILL_SWEEP,
    [TRI_INTERRUPTION_DRAIN] = GC_DRAIN,
    [TRI_INTERRUPTION_ASSIST] = GC_ASSIST,
    [TRI_INTERRUPTION_WAIT] = GC_WAIT_SCAN,
    [TRI_INTERRUPTION_VERIFY] = GC_VERIFY,
};
_Static_assert((int)TRI_INTERRUPTION_KINDS == (int)GC_KINDS, "every kind has a public name");

static void summarise(const gc_histogram *h, tri_latency *out)
{
    *out = (tri_latency){
        .count = atomic_load_explicit(&h->count, memory_order_relaxed),
        .p50 = gc_histogram_quantile(h, 0.5),
        .p99 = gc_histogram_quantile(h, 0.99),
        .p999 = gc_histogram_quantile(h, 0.999),
        .max = (int64_t)atomic_load_explicit(&h->max, memory_order_relaxed),
        .total = (int64_t)atomic_load_explicit(&h->sum, memory_order_relaxed),
    };
}

int tri_read_interruptions(tri_heap *heap, tri_interruption kind, tri_latency *out)
{
    if ((unsigned)kind >= TRI_INTERRUPTION_KINDS)
        return -EINVAL;
    gc_histogram h;
    gc_book_read(gc_book(heap), kinds[kind], &h);
    summarise(&h, out);
    return 0;
}

static int read_measure(tri_heap *heap, gc_measure measure, tri_latency *out)
{
    gc_histogram h;
    gc_book_read_measure(gc_book(heap), measure, &h);
    summarise(&h, out);
    return 0;
}

int tri_reach_time(tri_heap *heap, tri_latency *out)
{
    return read_measure(heap, GC_REACH, out);
}

int tri_mutator_waits(tri_heap *heap, tri_latency *out)
{
    return read_measure(heap, GC_WAIT_MUTATOR, out);
}

int tri_lock_waits(tri_heap *heap, tri_latency *out)
{
    return read_measure(heap, GC_LOCK_WAIT, out);
}

double tri_mmu(tri_heap *heap, int64_t window_ns)
{
    return gc_mmu_window_of(window_ns) < 0 ? -1 : gc_book_mmu(gc_book(heap), window_ns);
}

void tri_reset_interruptions(tri_heap *heap)
{
    gc_book_reset(gc_book(heap));
}
