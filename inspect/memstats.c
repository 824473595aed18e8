/* Memory statistics under the names that Go gave them.
 *
 * Go stops the world to read them. Here the rooms below keep their counters so that they can be
 * added up while everybody goes on, and each hands out a view of one moment; those moments differ
 * by microseconds between rooms, and an object allocated in between is in one field and not in
 * another. So that the equations that Go documents hold in every snapshot, and not only at rest,
 * each of them is between numbers of one room, or one side of it is computed from the other here.
 *
 * Invariant: mallocs - frees == heap_objects, heap_sys == heap_idle + heap_inuse, heap_released <=
 * heap_idle, and sys is the sum of all *_sys.
 */
#include <string.h>

#include "gc/summary.h"
#include "heap/heap.h"
#include "os/assert.h"
#include "tricolor/stats.h"

_Static_assert(TRI_PAUSES == GC_SUMMARY_PAUSES, "the ring of pauses is copied as it is");

static void fill_objects(tri_memstats *out, const heap_totals *t)
{
    TRI_ASSERT(t->frees <= t->mallocs, "an object is freed after it is allocated");
    out->mallocs = t->mallocs;
    out->frees = t->frees;
    out->heap_objects = t->mallocs - t->frees;
    out->total_alloc = t->total_alloc;
    out->heap_alloc = out->alloc = t->total_alloc - t->total_freed;
}

static void fill_bytes(tri_memstats *out, const heap_totals *t, const gc_summary *gc)
{
    out->heap_inuse = t->heap_inuse;
    out->heap_idle = t->heap_idle;
    out->heap_sys = t->heap_inuse + t->heap_idle;
    out->heap_released = t->heap_released < t->heap_idle ? t->heap_released : t->heap_idle;
    out->stack_inuse = out->stack_sys = gc->stacks;
    out->mspan_inuse = t->span_inuse;
    out->mspan_sys = t->span_sys;
    out->mcache_inuse = t->cache_inuse;
    out->mcache_sys = t->cache_sys;
    out->gc_sys = t->meta_sys + gc->sys;
    out->other_sys = t->other_sys;
    out->sys = out->heap_sys + out->stack_sys + out->mspan_sys + out->mcache_sys +
               out->buck_hash_sys + out->gc_sys + out->other_sys;
}

static void fill_collections(tri_memstats *out, const gc_summary *gc)
{
    out->next_gc = gc->next_gc;
    out->last_gc = (uint64_t)gc->last_end;
    out->pause_total_ns = gc->pause_total;
    memcpy(out->pause_ns, gc->pause_ns, sizeof out->pause_ns);
    memcpy(out->pause_end, gc->pause_end, sizeof out->pause_end);
    out->num_gc = (uint32_t)gc->cycles;
    out->num_forced_gc = (uint32_t)gc->forced;
    out->gc_cpu_fraction = gc->cpu_fraction;
    out->enable_gc = gc->enabled;
}

static void fill_sizes(tri_memstats *out, tri_heap *heap)
{
    heap_size_stats sizes[TRI_SIZE_CLASSES];
    size_t n = heap_read_sizes(heap, sizes, TRI_SIZE_CLASSES);
    for (size_t i = 0; i < n && i < TRI_SIZE_CLASSES; i++)
        out->by_size[i] = (tri_size_stats){sizes[i].size, sizes[i].mallocs, sizes[i].frees};
}

int tri_read_memstats(tri_heap *heap, tri_memstats *out)
{
    heap_totals totals;
    gc_summary gc;
    memset(out, 0, sizeof *out);
    heap_read_totals(heap, &totals);
    gc_read_summary(heap, &gc);
    fill_objects(out, &totals);
    fill_bytes(out, &totals, &gc);
    fill_collections(out, &gc);
    fill_sizes(out, heap);
    return 0;
}
