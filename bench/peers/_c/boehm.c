/* memory.h with the Boehm collector: how it is set up, and what its collections cost.
 *
 * Two settings are changed before it starts, as its documentation advises for programs like these. Pointers in the heap
 * that point into the middle of an object do not keep it (pointers on stacks and in registers still do): none of the
 * programs has any, and this saves the byte that is otherwise added to each object, which is half of the memory of
 * 16-byte objects. And the threads that help to mark are started at once. All else is as the library is built and
 * starts: thread-local free lists, marking by as many threads as there are processors, the world stopped for all of it.
 * Where nothing lives, in `alloc`, the heap would stay at a few hundred KiB and be collected every 10,000 objects, so
 * there it is given 64 MiB to begin with.
 * With PEER_INCREMENTAL it collects in small steps instead, as far as it can.
 *
 * The library calls back at each step of a collection. From the moment before it asks the first thread to stop until
 * all are let go is one pause, for which all mutators stand still at once. Nobody but the collector runs meanwhile, so
 * the process's clock between the two tells what marking costs on all threads together. Left out: sweeping, which the
 * allocating threads do as they go, and in incremental mode the steps, which they take as they allocate; so there the
 * stops are not all the pauses, and the collector's processor time is not known.
 */
#include <stdio.h>

#include "measure.h"
#include "memory.h"

static struct histogram pauses;
static size_t expected;
static uint64_t cycles, collector_cpu, stop_time, stop_cpu;

/* Called with the allocation lock held, for one collection at a time: plain variables suffice. */
static void on_event(GC_EventType event)
{
    if (event == GC_EVENT_PRE_STOP_WORLD) {
        stop_cpu = cpu_now();
        stop_time = now();
    } else if (event == GC_EVENT_POST_START_WORLD) {
        histogram_record(&pauses, now() - stop_time);
        collector_cpu += cpu_now() - stop_cpu;
    } else if (event == GC_EVENT_RECLAIM_END) {
        cycles++;
    }
}

void memory_init(void)
{
    GC_set_all_interior_pointers(0);
    GC_INIT();
#ifdef PEER_INCREMENTAL
    GC_enable_incremental();
#endif
    GC_start_mark_threads();
    GC_set_on_collection_event(on_event);
}

void memory_expect(size_t heap)
{
    expected = heap;
    if (!GC_expand_hp(heap))
        abort();
}

void memory_print_info(void)
{
    char text[128];
    unsigned v = GC_get_version();
    snprintf(text, sizeof text, "bdwgc %u.%u.%u", v >> 16, v >> 8 & 255, v & 255);
    print_info("version", text);
    snprintf(text, sizeof text,
             "all_interior_pointers=0 markers=%d incremental=%d initial_heap=%zuMiB",
             GC_get_parallel() + 1, GC_is_incremental_mode(), expected >> 20);
    print_info("settings", text);
}

void memory_collect(void)
{
    GC_gcollect();
}

void memory_print_collector(void)
{
    print("gc_cycles", (double)cycles, "count");
    print("gc_all_stopped_max", (double)pauses.max, "ns");
#ifdef PEER_INCREMENTAL
    static const char why[] = "marking in steps inside allocations is not reported";
    print_missing("gc_cpu", why);
    print_missing("gc_pause_p50", why);
    print_missing("gc_pause_max", why);
#else
    print("gc_cpu", (double)collector_cpu / 1e9, "s");
    print("gc_pause_p50", (double)histogram_quantile(&pauses, 0.5), "ns");
    print("gc_pause_max", (double)pauses.max, "ns");
#endif
}
