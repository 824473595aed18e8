/* The lines that bench/run reads: `workload system metric value unit`, and what the collector did.
 *
 * tricolor never stops all mutators, so where other systems report pauses it reports interruptions of
 * one mutator, all kinds together, and each kind beside.
 */
#include "bench.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define MIB (1024.0 * 1024.0)

void bench_print(const bench *b, const char *metric, double value, const char *unit)
{
    printf("%s tricolor %s %.10g %s\n", b->name, metric, value, unit);
}

void bench_print_checksum(const bench *b, const char *part, uint64_t sum)
{
    printf("%s tricolor checksum%s%s %016" PRIx64 " -\n", b->name, part ? "." : "",
           part ? part : "", sum);
}

void bench_print_missing(const bench *b, const char *metric, const char *reason)
{
    printf("missing %s tricolor %s %s\n", b->name, metric, reason);
}

void bench_print_rss_peak(const bench *b)
{
    bench_print(b, "rss_peak", (double)bench_rss_peak() / MIB, "MiB");
}

void bench_print_info(const bench *b)
{
    printf("info tricolor version %s\n", tri_version());
    printf("info tricolor settings procs=%u gogc=%d scale=%u seconds=%u\n", tri_procs(),
           b->options.gogc, b->scale, b->seconds);
}

/* Of kinds that never occurred only that is said. */
static void print_kind(const bench *b, const char *kind, tri_interruption which)
{
    tri_latency l;
    tri_read_interruptions(b->heap, which, &l);
    const struct {
        const char *name, *unit;
        double value;
    } metrics[] = {{"count", "count", (double)l.count},
                   {"p50", "ns", (double)l.p50},
                   {"p99", "ns", (double)l.p99},
                   {"p99.9", "ns", (double)l.p999},
                   {"max", "ns", (double)l.max}};
    char metric[64];
    for (unsigned i = 0; i < sizeof metrics / sizeof *metrics && (i == 0 || l.count); i++) {
        snprintf(metric, sizeof metric, "intr_%s_%s", kind, metrics[i].name);
        bench_print(b, metric, metrics[i].value, metrics[i].unit);
    }
}

static void print_interruptions(const bench *b)
{
    print_kind(b, "all", TRI_INTERRUPTION_ALL);
    print_kind(b, "handshake", TRI_INTERRUPTION_HANDSHAKE);
    print_kind(b, "resume_scan", TRI_INTERRUPTION_RESUME_SCAN);
    print_kind(b, "refill_sweep", TRI_INTERRUPTION_REFILL_SWEEP);
    print_kind(b, "drain", TRI_INTERRUPTION_DRAIN);
    print_kind(b, "assist", TRI_INTERRUPTION_ASSIST);
    print_kind(b, "wait", TRI_INTERRUPTION_WAIT);
}

void bench_print_collector(const bench *b)
{
    tri_memstats s;
    tri_read_memstats(b->heap, &s);
    /* The fraction is of what all Ps could have done since the heap was made. */
    double procs = b->options.procs ? b->options.procs : (double)sysconf(_SC_NPROCESSORS_ONLN);
    double capacity = (double)(bench_now() - b->start) * procs;
    bench_print(b, "gc_cycles", s.num_gc, "count");
    bench_print(b, "gc_cpu", s.gc_cpu_fraction * capacity / BENCH_SECOND, "s");

    tri_latency l;
    tri_read_interruptions(b->heap, TRI_INTERRUPTION_ALL, &l);
    bench_print(b, "gc_pause_p50", (double)l.p50, "ns");
    bench_print(b, "gc_pause_max", (double)l.max, "ns");
    bench_print_missing(b, "gc_all_stopped_max", "nothing ever stops all mutators");
    print_interruptions(b);

    tri_mutator_waits(b->heap, &l);
    bench_print(b, "mutator_wait_count", (double)l.count, "count");
    bench_print(b, "mutator_wait_max", (double)l.max, "ns");
    tri_reach_time(b->heap, &l);
    bench_print(b, "reach_count", (double)l.count, "count");
    bench_print(b, "reach_p50", (double)l.p50, "ns");
    bench_print(b, "reach_p99", (double)l.p99, "ns");
    bench_print(b, "reach_max", (double)l.max, "ns");
    bench_print(b, "mmu_1ms", 100 * tri_mmu(b->heap, 1000000), "%");
    bench_print(b, "mmu_10ms", 100 * tri_mmu(b->heap, 10000000), "%");
}
