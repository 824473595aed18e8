/* The books of past cycles, for statistics.
 *
 * Kept apart from the collector's working state so that a reader never sees half a cycle: the
 * collector writes a cycle's results in one step when the cycle is over, and readers copy them in
 * one step. A sequence lock would spare the collector the mutex, but it takes it once a cycle, and
 * a reader of a sequence lock copies 4 KiB again and again while somebody forces collections.
 *
 * Invariant: under the lock, pause_total is the sum of all pauses ever noted, and the pause of
 * cycle n is at (n - 1) % 256, which is where Go's users look.
 */
#include "gc/summary.h"

#include <errno.h>

#include "gc/state.h"
#include "os/clock.h"
#include "os/memory.h"
#include "os/vm.h"

struct gc_summary_book {
    os_mutex lock;
    gc_summary past; /* lock; what is true of this moment only is filled in by the reader */
};

int gc_summary_open(struct gc *gc)
{
    gc->summary = os_alloc(sizeof *gc->summary);
    return gc->summary ? 0 : -ENOMEM;
}

void gc_summary_close(struct gc *gc)
{
    os_free(gc->summary, sizeof *gc->summary);
    gc->summary = NULL;
}

static double fraction(struct gc *gc, int64_t cpu, int64_t now)
{
    double all = (double)(now - gc->open_time) * gc_procs(gc);
    double share = all > 0 ? (double)cpu / all : 0;
    return share > 1 ? 1 : share;
}

void gc_summary_note(struct gc *gc, uint64_t number, int64_t now)
{
    const gc_cycle_stats *s = &gc->stats;
    int64_t pause = s->begin_max > s->end_max ? s->begin_max : s->end_max;
    int64_t cpu = atomic_load_explicit(&gc->cpu_total, memory_order_relaxed);
    double share = fraction(gc, cpu, now);
    int64_t wall = os_wall() - (os_now() - now);
    os_mutex_lock(&gc->summary->lock);
    gc_summary *p = &gc->summary->past;
    unsigned slot = (unsigned)((number - 1) % GC_SUMMARY_PAUSES);
    p->cycles = number;
    p->forced += s->forced;
    p->last_end = wall;
    p->pause_total += (uint64_t)pause;
    p->pause_ns[slot] = (uint64_t)pause;
    p->pause_end[slot] = (uint64_t)wall;
    p->cpu_total = cpu;
    p->cpu_mark += s->cpu_mark;
    p->cpu_assist += s->cpu_assist;
    p->cpu_idle += s->cpu_idle;
    p->cpu_fraction = share;
    os_mutex_unlock(&gc->summary->lock);
}

void gc_summary_lock(struct gc *gc)
{
    os_mutex_lock(&gc->summary->lock);
}

void gc_summary_unlock(struct gc *gc)
{
    os_mutex_unlock(&gc->summary->lock);
}

static uint64_t resident_tables(struct gc *gc)
{
    uint64_t n = sizeof *gc + sizeof *gc->summary + gc_book_resident(gc->book);
    for (unsigned i = 0; i < gc->nmarkers; i++) {
        n += os_resident(gc->markers[i]->ring, GC_RING * sizeof *gc->markers[i]->ring);
        n += os_resident(gc->markers[i]->found, GC_FOUND * sizeof *gc->markers[i]->found);
    }
    return n;
}

void gc_read_summary(tri_heap *h, gc_summary *out)
{
    struct gc *gc = gc_of(h);
    os_mutex_lock(&gc->summary->lock);
    *out = gc->summary->past;
    os_mutex_unlock(&gc->summary->lock);
    out->next_gc = atomic_load_explicit(&gc->goal, memory_order_relaxed);
    out->stacks = gc_hooks_of(gc)->stack_bytes ? gc_hooks_of(gc)->stack_bytes(h) : 0;
    out->sys = resident_tables(gc);
    out->enabled = true;
}

gc_record_book *gc_book(tri_heap *h)
{
    return gc_of(h)->book;
}
