/* The table at the end.
 *
 * Everything in it is measured, by the library or by the kernel, over the whole run, the building
 * of the live graph included; nothing is assumed. `longest wait of a mutator for another` comes
 * from the library's record of such waits: one that happened would stand there.
 *
 * The figures are taken while the workers still work. Only what is live is learnt afterwards, by a
 * collection of what they left: while they allocate, no count tells the living from the newborn.
 */
#include "demo.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000

struct report {
    demo *d;
    double start, seconds;
    tri_memstats before, after;
    tri_latency interruptions[TRI_INTERRUPTION_KINDS], reach, waits, lock_waits;
    double mmu[3];
    size_t rss;
    uint64_t live;
};

static const int64_t windows[3] = {1 * MS, 10 * MS, 100 * MS};

static const char *const kinds[TRI_INTERRUPTION_KINDS] = {
    [TRI_INTERRUPTION_ALL] = "all kinds",
    [TRI_INTERRUPTION_HANDSHAKE] = "handshake",
    [TRI_INTERRUPTION_RESUME_SCAN] = "stack scanned on resume",
    [TRI_INTERRUPTION_REFILL_SWEEP] = "sweeping for a refill",
    [TRI_INTERRUPTION_DRAIN] = "barrier buffer drained",
    [TRI_INTERRUPTION_ASSIST] = "assist",
    [TRI_INTERRUPTION_WAIT] = "wait for a stack scan",
    [TRI_INTERRUPTION_VERIFY] = "verification (not in all)",
};

/* ---- measuring --------------------------------------------------------------------------------- */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

size_t report_rss(void)
{
    unsigned long size, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f)
        return 0;
    if (fscanf(f, "%lu %lu", &size, &resident) != 2)
        resident = 0;
    fclose(f);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

report *report_begin(demo *d)
{
    report *r = demo_calloc(1, sizeof *r);
    r->d = d;
    r->start = now();
    tri_read_memstats(d->heap, &r->before);
    return r;
}

void report_end(report *r)
{
    tri_heap *heap = r->d->heap;
    r->rss = report_rss();
    r->seconds = now() - r->start;
    tri_read_memstats(heap, &r->after);
    for (int kind = 0; kind < TRI_INTERRUPTION_KINDS; kind++)
        tri_read_interruptions(heap, (tri_interruption)kind, &r->interruptions[kind]);
    tri_reach_time(heap, &r->reach);
    tri_mutator_waits(heap, &r->waits);
    tri_lock_waits(heap, &r->lock_waits);
    for (int i = 0; i < 3; i++)
        r->mmu[i] = tri_mmu(heap, windows[i]);
}

void report_live(report *r)
{
    tri_memstats stats;
    tri_collect(r->d->heap);
    tri_read_memstats(r->d->heap, &stats);
    r->live = stats.heap_alloc;
}

/* ---- printing ---------------------------------------------------------------------------------- */

/* The next of a few buffers, so that one printf can have several. */
static char *buffer(void)
{
    static char buffers[8][32];
    static unsigned next;
    return buffers[next++ % 8];
}

const char *report_number(uint64_t n)
{
    char digits[24], *text = buffer();
    int length = snprintf(digits, sizeof digits, "%" PRIu64, n), to = 0;
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0)
            text[to++] = ',';
        text[to++] = digits[i];
    }
    text[to] = 0;
    return text;
}

static const char *duration(int64_t ns)
{
    char *text = buffer();
    if (ns < 1000)
        snprintf(text, 32, "%" PRId64 " ns", ns);
    else if (ns < MS)
        snprintf(text, 32, "%.1f us", (double)ns / 1e3);
    else
        snprintf(text, 32, "%.2f ms", (double)ns / 1e6);
    return text;
}

static void print_latency(const char *name, const tri_latency *l)
{
    printf("  %-30s %12s %10s %10s %10s %10s\n", name, report_number(l->count), duration(l->p50),
           duration(l->p99), duration(l->p999), duration(l->max));
}

static void print_interruptions(report *r)
{
    printf("%-32s %12s %10s %10s %10s %10s\n", "interruptions of a mutator", "count", "p50", "p99",
           "p99.9", "max");
    for (int kind = 0; kind < TRI_INTERRUPTION_KINDS; kind++)
        if (kind != TRI_INTERRUPTION_VERIFY || r->interruptions[kind].count)
            print_latency(kinds[kind], &r->interruptions[kind]);
    print_latency("(handshake reaches all, within)", &r->reach);
}

static void print_memory(report *r)
{
    double rss = (double)r->rss / (1 << 20), live = (double)r->live / (1 << 20);
    printf("resident memory                  %.0f MiB (peak %.0f MiB) against a live heap of %.0f "
           "MiB: %.2f\n",
           rss, (double)r->d->rss_peak / (1 << 20), live, live > 0 ? rss / live : 0);
}

void report_print(report *r)
{
    uint64_t objects = r->after.mallocs - r->before.mallocs;
    uint64_t cycles = r->after.num_gc - r->before.num_gc;
    puts("");
    printf("objects allocated                %s in %.1f s: %s per second\n", report_number(objects),
           r->seconds, report_number((uint64_t)((double)objects / r->seconds)));
    printf("collection cycles                %s\n", report_number(cycles));
    print_interruptions(r);
    printf("longest wait of a mutator for another: %s\n", duration(r->waits.max));
    printf("longest wait of a mutator for the page-heap lock: %s\n", duration(r->lock_waits.max));
    printf("minimum mutator utilisation      1 ms: %.1f %%   10 ms: %.1f %%   100 ms: %.1f %%\n",
           r->mmu[0] * 100, r->mmu[1] * 100, r->mmu[2] * 100);
    printf("the collector's share of the CPU %.1f %%\n", r->after.gc_cpu_fraction * 100);
    print_memory(r);
    free(r);
}
