/* The scavenger: memory that nobody needs goes back to the system.
 *
 * The problem has two halves. Keep too much, and the process looks as large as it ever was. Return too
 * much, and the next cycle pays for first touches what it just gave away, with huge pages torn to
 * pieces. How much to keep follows Go's two goals (mgcscavenge.go), since its users can predict them:
 *
 *     by the heap goal: as many bytes as spans took at the end of a marking, in proportion
 *         to how the heap goal has changed since, and 10 % more for fragmentation and for change.
 *         Go takes the last marking. Here that of the last ten seconds counts that needed most: where
 *         mutators are not stopped at the goal, small heaps are collected hundreds of times a
 *         second and overshoot by different amounts, and what one cycle returned the next
 *         touched anew (a third of the CPU of a program that allocates objects of 1 KiB). And on top
 *         of that the chunks that are kept warm for what comes
 *     by the memory limit: 95 % of it, for everything the library holds together
 *
 * Held memory above the smaller of them is due, as far as it is free. The first goal works slowly, in the
 * background, at 1 % of a CPU; how the caller hurries when the limit is near is its affair.
 *
 * What to return first: wholly free chunks, from the top of the heap down, since to lose them costs no
 * huge page; then runs of free pages of at least 64 KiB, in the emptiest chunk first, which the
 * allocator fills last. Go's scavenger asks in addition whether a chunk was dense lately, to spare
 * huge pages that will be filled again; the order of filling makes that question moot here: what is
 * emptiest is what no allocation will go to for longest.
 *
 * MADV_DONTNEED, not MADV_FREE: users look at the resident size and must see it drop. A chunk of which a
 * part is released is advised against huge pages, because the kernel would otherwise join the rest
 * with fresh memory for the hole, and undo in silence what was counted as released (Go, issue 55328).
 * The advice is withdrawn when the chunk has drained and is used anew.
 *
 * Rejected: releasing under the lock. It would keep an allocation from being refused while pages are in
 * our hands, but 2 MiB take the kernel 50 us and more. Instead such an allocation waits and tries again
 * (arena.c). */
#include "heap/scavenger.h"

#include "heap/arena.h"
#include "os/vm.h"

#define RETAIN_EXTRA  10          /* one part in that many above what the last cycle needed */
#define LIMIT_RESERVE 20          /* one part in that many below the memory limit */
#define RECENT_NS     10000000000 /* how long a peak is remembered; it fades all the while */
#define LEAST_DUE     ((uint64_t)64 << 10) /* what a single release is worth */

static size_t scavenge_batch(tri_heap *h, const heap_idle *idle, bool *failed)
{
    void *p = (void *)(h->base + idle->first * HEAP_PAGE);
    if (idle->breaks)
        (void)os_no_huge(p, idle->npages * HEAP_PAGE);
    *failed = os_release(p, idle->npages * HEAP_PAGE) != 0;
    return heap_arena_return_idle(h, idle, !*failed) * HEAP_PAGE;
}

/* Goes on until `bytes` are released, in whole chunks and whole runs: up to 2 MiB too much. */
size_t heap_scavenge(tri_heap *h, size_t bytes)
{
    size_t done = 0;
    bool failed = false;
    heap_idle idle;
    while (done < bytes && !failed && heap_arena_take_idle(h, &idle))
        done += scavenge_batch(h, &idle, &failed);
    return done;
}

static uint64_t scavenge_keep_for_goal(const heap_scavenge_view *v)
{
    if (v->last_goal == 0)
        return UINT64_MAX;
    double keep = (double)v->last_inuse * ((double)v->goal / (double)v->last_goal);
    keep += keep / RETAIN_EXTRA + (double)v->ahead;
    return keep < 0x1p63 ? (uint64_t)keep : UINT64_MAX;
}

static uint64_t scavenge_keep_for_limit(const heap_scavenge_view *v)
{
    if (v->memory_limit == 0)
        return UINT64_MAX;
    uint64_t all = v->memory_limit - v->memory_limit / LIMIT_RESERVE;
    return all > v->other_sys ? all - v->other_sys : 0;
}

uint64_t heap_scavenge_recent(uint64_t peak, uint64_t last, int64_t age)
{
    if (peak <= last || age >= RECENT_NS)
        return last;
    double left = 1 - (double)age / RECENT_NS;
    return last + (uint64_t)((double)(peak - last) * left);
}

size_t heap_scavenge_due(const heap_scavenge_view *v)
{
    uint64_t keep = scavenge_keep_for_goal(v), limit = scavenge_keep_for_limit(v);
    if (keep > limit)
        keep = limit;
    if (keep < v->inuse)
        keep = v->inuse;
    uint64_t due = v->held > keep ? v->held - keep : 0;
    return due < LEAST_DUE ? 0 : due;
}

size_t heap_scavenge_goal(tri_heap *h, uint64_t heap_goal, uint64_t memory_limit,
                          uint64_t other_sys)
{
    heap_arena_stats s;
    heap_arena_read(h, &s);
    heap_scavenge_view v = {
        .held = s.sys - s.released,
        .inuse = s.inuse,
        .goal = heap_goal,
        .ahead = s.ahead,
        .last_goal = s.last_goal,
        .last_inuse = s.last_inuse,
        .memory_limit = memory_limit,
        .other_sys = other_sys,
    };
    return heap_scavenge_due(&v);
}

int64_t heap_scavenge_rest(int64_t worked)
{
    return worked * 99;
}
