/* What every C program of the comparison measures with: clocks, resident memory, a histogram of latencies, and the
 * lines in which figures are printed. bench/README.md says what each of them means.
 *
 * Each thread has a histogram of its own, and they are added up when the threads have ended: recording needs no atomic
 * operation. The maximum is kept beside the buckets and is exact.
 */
#ifndef PEERS_MEASURE_H
#define PEERS_MEASURE_H

#include <stdint.h>
#include <time.h>

enum { HISTOGRAM_BUCKETS = 60 * 32 };

struct histogram {
    uint64_t count, max;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

static inline uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static inline void histogram_record(struct histogram *h, uint64_t v)
{
    unsigned bucket = (unsigned)v;
    if (v >= 32) {
        unsigned log = 63 - (unsigned)__builtin_clzll(v);
        bucket = (log - 4) * 32 + (unsigned)(v >> (log - 5) & 31);
    }
    h->buckets[bucket]++;
    h->count++;
    if (v > h->max)
        h->max = v;
}

void histogram_add(struct histogram *to, const struct histogram *from);
uint64_t histogram_quantile(const struct histogram *h, double q);

/* User and system time of the whole process, in nanoseconds. */
uint64_t cpu_now(void);

/* Names what the functions below put in front. */
void print_as(const char *workload, const char *system);
void print(const char *metric, double value, const char *unit);
void print_checksum(uint64_t value);
void print_info(const char *key, const char *value);
void print_missing(const char *metric, const char *reason);

/* NAME_p50 NAME_p99 NAME_p99.9 NAME_p99.99 NAME_max, and all buckets. */
void print_latency(const char *name, const struct histogram *h);
void print_rss_peak(void);

#endif
