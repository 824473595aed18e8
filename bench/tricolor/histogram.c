/* Latencies in a log-linear histogram, and their percentiles.
 *
 * A percentile is the upper edge of the bucket in which it falls, so it is never too good, and at most
 * 1/32 too bad; it is never above the maximum, which is exact. All programs compute it this way.
 */
#include "bench.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static int64_t upper_edge(unsigned bucket)
{
    if (bucket < 32)
        return bucket;
    return (int64_t)(33 + bucket % 32) * (INT64_C(1) << (bucket / 32 - 1)) - 1;
}

static int64_t percentile(const bench_histogram *h, double q)
{
    uint64_t rank = (uint64_t)ceil(q * (double)h->count), seen = 0;
    for (unsigned i = 0; i < BENCH_BUCKETS; i++)
        if ((seen += h->bucket[i]) >= rank && seen)
            return upper_edge(i) < h->max ? upper_edge(i) : h->max;
    return h->max;
}

void bench_merge(bench_histogram *into, const bench_histogram *from)
{
    into->count += from->count;
    into->max = from->max > into->max ? from->max : into->max;
    for (unsigned i = 0; i < BENCH_BUCKETS; i++)
        into->bucket[i] += from->bucket[i];
}

void bench_print_histogram(const bench *b, const char *name, const bench_histogram *h)
{
    static const struct {
        const char *name;
        double q;
    } tail[] = {{"p50", .5}, {"p99", .99}, {"p99.9", .999}, {"p99.99", .9999}};
    char metric[64];
    for (unsigned i = 0; i < sizeof tail / sizeof *tail; i++) {
        snprintf(metric, sizeof metric, "%s_%s", name, tail[i].name);
        bench_print(b, metric, (double)percentile(h, tail[i].q), "ns");
    }
    snprintf(metric, sizeof metric, "%s_max", name);
    bench_print(b, metric, (double)h->max, "ns");
    for (unsigned i = 0; i < BENCH_BUCKETS; i++)
        if (h->bucket[i])
            printf("hist %s tricolor %s %" PRId64 " %" PRIu64 "\n", b->name, name, upper_edge(i),
                   h->bucket[i]);
}
