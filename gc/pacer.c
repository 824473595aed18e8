/* Pacing: when to start a cycle, how much help to ask for, when to return memory.
 *
 * The formulas are Go's (runtime/mgcpacer.go and proposals 44167, 48409): the goal is the live heap
 * plus GOGC percent of it and of the stacks; the trigger lies below the goal by the runway, what
 * the program is expected to allocate while the collector marks, and between 50 % and 95 % of the way
 * from what the last cycle left to the goal. A memory limit lowers the goal, unless the collector used
 * more than half of the CPU lately (the limiter: better to exceed the limit than to stop working).
 *
 * What differs. Allocation assists are the worst latency complaint of Go's users, so passing the goal
 * makes a mutator pay at most a tenth of its time and wakes as many markers again, and the soft goal
 * may be exceeded by what mutators allocate meanwhile; only the hard limit is never passed, which the
 * page allocator enforces.
 *
 * Hence a program that allocates fast has, after a cycle, much that was born while it marked, and most
 * of that is dead. Go counts it as live, which is near the truth where assists keep it small; here
 * the goal would feed on it (1.6 GB/s into a heap of 60 MiB: goals of 500 MiB). So the goal is computed
 * from what the cycle found by tracing. If more than the goal is left, the next cycle starts soon: it
 * can tell the dead from the living. Not at once, for where a cycle's cost is given and what is
 * allocated between two of them is what it buys, a short rest buys much: a third of what was allocated
 * while it marked makes a program that outruns its collector a fifth faster, in a heap a fifth larger.
 *
 * All of this runs on the collector's thread; setters only store atomics and wake it.
 */
#include "gc/gctrace.h"
#include "gc/state.h"
#include "gc/summary.h"
#include "heap/arena.h"
#include "heap/scavenger.h"
#include "os/clock.h"
#include "os/report.h"

#define MIN_HEAP       ((uint64_t)4 << 20) /* times gogc / 100, as in Go */
#define LIMIT_HEADROOM ((uint64_t)1 << 20)

static uint64_t stack_bytes(struct gc *gc)
{
    return gc_hooks_of(gc)->stack_bytes ? gc_hooks_of(gc)->stack_bytes(gc->heap) : 0;
}

unsigned gc_procs(struct gc *gc)
{
    unsigned n = gc_hooks_of(gc)->procs ? gc_hooks_of(gc)->procs(gc->heap) : 0;
    return n ? n : (unsigned)os_cpu_count();
}

static uint64_t goal_by_gogc(struct gc *gc, uint64_t stacks)
{
    int gogc = atomic_load_explicit(&gc->gogc, memory_order_relaxed);
    if (gogc < 0)
        return UINT64_MAX;
    uint64_t goal = gc->live_traced + (gc->live_traced + stacks) / 100 * (uint64_t)gogc;
    uint64_t least = MIN_HEAP * (uint64_t)gogc / 100;
    return goal > least ? goal : least;
}

/* What the limit leaves for objects: everything the library has, less what is not objects or free
 * pages that can still be used. */
static uint64_t goal_by_limit(struct gc *gc)
{
    uint64_t limit = atomic_load_explicit(&gc->heap->memory_limit, memory_order_relaxed);
    uint64_t hard = atomic_load_explicit(&gc->heap->hard_limit, memory_order_relaxed);
    if (hard && (!limit || hard < limit))
        limit = hard;
    if (!limit)
        return UINT64_MAX;
    heap_totals t;
    heap_read_totals(gc->heap, &t);
    uint64_t objects = atomic_load_explicit(&gc->heap->live, memory_order_relaxed);
    uint64_t spans = t.heap_inuse > objects ? t.heap_inuse - objects : 0;
    uint64_t overhead = spans + t.span_inuse + t.cache_inuse + t.meta_sys + stack_bytes(gc);
    uint64_t headroom = limit / 33 > LIMIT_HEADROOM ? limit / 33 : LIMIT_HEADROOM;
    return limit > overhead + headroom ? limit - overhead - headroom : 0;
}

static bool limited(struct gc *gc)
{
    return gc->limiter_fill >= (double)gc_procs(gc);
}

/* What mutators may allocate before the next cycle even if the goal is reached, or the collector would
 * run back to back: a third of what they did while it marked, as far as the limit allows. */
static uint64_t rest(const struct gc *gc, uint64_t marked, uint64_t by_limit)
{
    uint64_t most = by_limit > marked ? by_limit - marked : 0;
    uint64_t room = gc->allocated_marking / 3;
    room = room < marked / 2 ? room : marked / 2;
    return room < most ? room : most;
}

void gc_pacer_update(struct gc *gc)
{
    tri_heap *h = gc->heap;
    uint64_t marked = gc->live_marked;
    uint64_t goal = goal_by_gogc(gc, stack_bytes(gc));
    uint64_t by_limit = goal_by_limit(gc);
    if (by_limit < goal && !limited(gc))
        goal = by_limit;
    uint64_t least = marked + rest(gc, marked, by_limit) + marked / 32 + (64u << 10);
    if (goal < least)
        goal = least;
    uint64_t room = goal == UINT64_MAX ? 0 : goal - marked;
    double runway = gc->cons_mark * (double)gc->live_traced;
    uint64_t low = marked + room / 2, high = marked + room / 20 * 19;
    uint64_t trigger = goal == UINT64_MAX       ? UINT64_MAX
                       : runway >= (double)room ? low
                                                : goal - (uint64_t)runway;
    if (goal != UINT64_MAX) {
        trigger = trigger < low ? low : trigger;
        trigger = trigger > high ? high : trigger;
    }
    atomic_store_explicit(&gc->goal, goal, memory_order_relaxed);
    atomic_store_explicit(&h->trigger, trigger, memory_order_relaxed);
}

void gc_pacer_open(struct gc *gc)
{
    gc->open_time = os_now();
    gc->cons_mark = 0.25;
    atomic_store(&gc->assist_bytes, UINT64_MAX);
    gc_pacer_update(gc);
}

void gc_pacer_cycle_start(struct gc *gc)
{
    tri_heap *h = gc->heap;
    gc->stats.live_before = atomic_load_explicit(&h->live, memory_order_relaxed);
    gc->stats.goal = atomic_load_explicit(&gc->goal, memory_order_relaxed);
    gc->stats.cpu_start = os_cpu_thread();
    gc->stats.assist_start = atomic_load_explicit(&gc->cpu_assist, memory_order_relaxed);
    gc->stats.idle_start = atomic_load_explicit(&gc->cpu_idle, memory_order_relaxed);
    gc->stats.worker_start = atomic_load_explicit(&gc->cpu_total, memory_order_relaxed);
    atomic_store_explicit(&h->trigger, UINT64_MAX, memory_order_relaxed);
    atomic_store_explicit(&gc->assist_bytes, gc->stats.goal, memory_order_relaxed);
    atomic_store_explicit(&gc->behind, false, memory_order_relaxed);
}

/* Marking is over; what was allocated meanwhile is the runway that this cycle needed. */
void gc_pacer_mark_done(struct gc *gc)
{
    gc->stats.mark_done = os_now();
    gc->stats.live_at_done = atomic_load_explicit(&gc->heap->live, memory_order_relaxed);
    heap_arena_note_cycle(gc->heap, gc->stats.goal);
    atomic_store_explicit(&gc->assist_bytes, UINT64_MAX, memory_order_relaxed);
}

/* What this cycle marked by tracing, rather than at birth. */
static uint64_t traced(struct gc *gc)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < gc->nmarkers; i++) {
        bytes += gc->markers[i]->marked_bytes;
        gc->markers[i]->marked_bytes = 0;
    }
    return bytes;
}

static void note_runway(struct gc *gc)
{
    const gc_cycle_stats *s = &gc->stats;
    double allocated =
        s->live_at_done > s->live_before ? (double)(s->live_at_done - s->live_before) : 0;
    gc->allocated_marking = (uint64_t)allocated;
    double ratio = gc->live_traced ? allocated / (double)gc->live_traced : 0;
    if (ratio > 4)
        ratio = 4;
    gc->cons_mark = (gc->cons_mark * 3 + ratio) / 4;
}

/* A bucket of CPU seconds: filled by the collector's, drained by the rest, one second per P deep. */
static void note_limiter(struct gc *gc, int64_t gc_cpu, int64_t wall)
{
    double all = (double)wall * gc_procs(gc);
    gc->limiter_fill += ((double)gc_cpu - (all - (double)gc_cpu)) / 1e9;
    if (gc->limiter_fill < 0)
        gc->limiter_fill = 0;
    if (gc->limiter_fill > gc_procs(gc))
        gc->limiter_fill = gc_procs(gc);
}

static double percent_of_cpu(struct gc *gc)
{
    double all = (double)(os_now() - gc->open_time) * gc_procs(gc);
    return all > 0 ? (double)atomic_load(&gc->cpu_total) / all : 0;
}

static void trace(struct gc *gc, uint64_t number)
{
    const gc_cycle_stats *s = &gc->stats;
    gc_trace t = {
        .cycle = number,
        .start_ns = s->start - gc->open_time,
        .cpu_fraction = percent_of_cpu(gc),
        .begin_ns = s->begin_max,
        .mark_ns = s->mark_done - s->h2_done,
        .end_ns = s->end_max,
        .assist_cpu_ns = s->cpu_assist,
        .dedicated_cpu_ns = s->cpu_mark,
        .idle_cpu_ns = s->cpu_idle,
        .heap_start = s->live_before,
        .heap_end = s->live_at_done,
        .heap_live = gc->live_marked,
        .goal = s->goal,
        .stacks = stack_bytes(gc),
        .globals = 0,
        .procs = gc_procs(gc),
        .forced = s->forced,
    };
    char line[GC_TRACE_LINE];
    size_t n = gc_format_trace(line, sizeof line, &t);
    if (n)
        os_print("%s\n", line);
}

void gc_pacer_cycle_end(struct gc *gc)
{
    gc_cycle_stats *s = &gc->stats;
    int64_t now = os_now();
    int64_t own = os_cpu_thread() - s->cpu_start;
    s->cpu_assist = atomic_load(&gc->cpu_assist) - s->assist_start;
    s->cpu_idle = atomic_load(&gc->cpu_idle) - s->idle_start;
    s->cpu_mark = own + atomic_load(&gc->cpu_total) - s->worker_start;
    atomic_fetch_add_explicit(&gc->cpu_total, own + s->cpu_assist, memory_order_relaxed);
    uint64_t live = atomic_load_explicit(&gc->heap->live, memory_order_relaxed);
    uint64_t since = live > s->live_at_done ? 0 : s->live_at_done - live;
    gc->live_marked = s->live_at_done - since;
    gc->live_traced = traced(gc);
    if (gc->live_traced > gc->live_marked)
        gc->live_traced = gc->live_marked;
    note_runway(gc);
    note_limiter(gc, s->cpu_mark + s->cpu_assist, now - gc->last_end);
    gc->last_end = now;
    gc_pacer_update(gc);
    uint64_t number = atomic_load_explicit(&gc->completed, memory_order_relaxed) + 1;
    gc_summary_note(gc, number, now);
    if (gc->heap->options.gctrace)
        trace(gc, number);
}

/* ---- the scavenger, at about 1 % of one CPU -------------------------------------------------------------- */

void gc_pacer_scavenge(struct gc *gc)
{
    int64_t now = os_now();
    if (now < gc->scavenge_next)
        return;
    heap_totals t;
    heap_read_totals(gc->heap, &t);
    size_t want =
        heap_scavenge_goal(gc->heap, atomic_load(&gc->goal), atomic_load(&gc->heap->memory_limit),
                           t.span_sys + t.cache_sys + t.meta_sys + t.other_sys);
    if (!want)
        return;
    size_t piece = want < (size_t)4 << 20 ? want : (size_t)4 << 20;
    heap_scavenge(gc->heap, piece);
    gc->scavenge_next = os_now() + heap_scavenge_rest(os_now() - now);
}
