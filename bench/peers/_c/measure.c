/* Processor time, resident memory, quantiles and the lines of the output; see measure.h. */
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "measure.h"

static const char *printed_workload, *printed_system;

void histogram_add(struct histogram *to, const struct histogram *from)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        to->buckets[i] += from->buckets[i];
    to->count += from->count;
    if (from->max > to->max)
        to->max = from->max;
}

static uint64_t upper_edge(unsigned bucket)
{
    return bucket < 32 ? bucket : ((uint64_t)(32 + bucket % 32 + 1) << (bucket / 32 - 1)) - 1;
}

uint64_t histogram_quantile(const struct histogram *h, double q)
{
    uint64_t rank = (uint64_t)ceil(q * (double)h->count), seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        if ((seen += h->buckets[i]) >= rank && seen)
            return upper_edge(i) < h->max ? upper_edge(i) : h->max;
    return h->max;
}

uint64_t cpu_now(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (uint64_t)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1000000000 +
           (uint64_t)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) * 1000;
}

void print_as(const char *workload, const char *system)
{
    printed_workload = workload;
    printed_system = system;
}

void print(const char *metric, double value, const char *unit)
{
    bool whole = value >= 10000 || floor(value) == value;
    printf("%s %s %s %.*f %s\n", printed_workload, printed_system, metric, whole ? 0 : 6, value,
           unit);
}

void print_checksum(uint64_t value)
{
    printf("%s %s checksum %016" PRIx64 " -\n", printed_workload, printed_system, value);
}

void print_info(const char *key, const char *value)
{
    printf("info %s %s %s\n", printed_system, key, value);
}

void print_missing(const char *metric, const char *reason)
{
    printf("missing %s %s %s %s\n", printed_workload, printed_system, metric, reason);
}

void print_latency(const char *name, const struct histogram *h)
{
    static const struct {
        const char *suffix;
        double q;
    } quantiles[] = {{"p50", 0.5}, {"p99", 0.99}, {"p99.9", 0.999}, {"p99.99", 0.9999}};
    char metric[64];
    for (unsigned i = 0; i < sizeof quantiles / sizeof *quantiles; i++) {
        snprintf(metric, sizeof metric, "%s_%s", name, quantiles[i].suffix);
        print(metric, (double)histogram_quantile(h, quantiles[i].q), "ns");
    }
    snprintf(metric, sizeof metric, "%s_max", name);
    print(metric, (double)h->max, "ns");
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        if (h->buckets[i])
            printf("hist %s %s %s %" PRIu64 " %" PRIu64 "\n", printed_workload, printed_system,
                   name, upper_edge(i), h->buckets[i]);
}

/* Not getrusage(): its peak begins with that of the shell which executed this program. */
void print_rss_peak(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    if (!f)
        abort();
    char line[256];
    double kib = 0;
    while (fgets(line, sizeof line, f))
        if (strncmp(line, "VmHWM:", 6) == 0)
            kib = strtod(line + 6, NULL);
    fclose(f);
    print("rss_peak", kib / 1024, "MiB");
}
