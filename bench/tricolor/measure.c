/* Clocks and resident memory, as the kernel tells them.
 *
 * Processor time is that of the whole process: a collector that works on another processor while the
 * program runs is not free.
 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

int64_t bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * BENCH_SECOND + t.tv_nsec;
}

static int64_t nanoseconds(struct timeval t)
{
    return (int64_t)t.tv_sec * BENCH_SECOND + (int64_t)t.tv_usec * 1000;
}

int64_t bench_cpu(void)
{
    struct rusage u;
    if (getrusage(RUSAGE_SELF, &u))
        bench_die("getrusage failed");
    return nanoseconds(u.ru_utime) + nanoseconds(u.ru_stime);
}

/* The value of a line of /proc/self/status that is in kB. */
static uint64_t status(const char *key)
{
    FILE *f = fopen("/proc/self/status", "r");
    if (!f)
        bench_die("/proc/self/status cannot be read");
    char line[256];
    uint64_t kib = 0;
    while (fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0)
            kib = strtoull(line + strlen(key), NULL, 10);
    fclose(f);
    return kib << 10;
}

uint64_t bench_rss(void)
{
    return status("VmRSS:");
}

uint64_t bench_rss_peak(void)
{
    return status("VmHWM:");
}

bench_span bench_begin(void)
{
    return (bench_span){.wall = bench_now(), .cpu = bench_cpu()};
}

bench_span bench_end(bench_span begin)
{
    return (bench_span){.wall = bench_now() - begin.wall, .cpu = bench_cpu() - begin.cpu};
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int64_t bench_median(int64_t *values, size_t n)
{
    qsort(values, n, sizeof *values, compare);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}
