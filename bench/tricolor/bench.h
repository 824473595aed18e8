/* What the workloads of tricolor-bench share: how one is chosen and run, clocks, latencies, output.
 *
 * bench/README.md says what each workload does; the programs for other systems follow the same text,
 * so nothing here may be done differently for being easier in C.
 *
 * A workload runs as the first coroutine of tri_run(). It is found by the part of its name before the
 * first dot; the rest (`N20`, `flat.16.t1`) is for its own prepare() to read. What it hands to other
 * coroutines lies in the heap or in static variables, never on a stack.
 */
#ifndef BENCH_TRICOLOR_BENCH_H
#define BENCH_TRICOLOR_BENCH_H

#include <tricolor/tricolor.h>

/* ---- one run ---------------------------------------------------------------------------------- */

typedef struct bench {
    const char *name;    /* as given, e.g. "alloc.flat.16.t1" */
    const char *variant; /* what follows the first dot; "" */
    const char *part;    /* --part, or NULL */
    unsigned scale;      /* --scale */
    unsigned seconds;    /* --seconds, or what prepare() says */
    tri_options options; /* procs: --procs, or what prepare() says */
    tri_heap *heap;
    int64_t start; /* when the heap was made */
    bool failed;   /* a self-check said no */
} bench;

typedef struct workload {
    const char *name;
    /* Reads the variant and sets what the user left open. False: there is no such variant. */
    bool (*prepare)(bench *b);
    void (*run)(bench *b);
} workload;

extern const workload bench_trees, bench_window, bench_alloc, bench_mark, bench_table, bench_sched,
    bench_parked, bench_mutate, bench_types, bench_threads64, bench_deep, bench_growth;

/* `n` divided by 2^scale, but at least `least`. */
uint64_t bench_scaled(const bench *b, uint64_t n, uint64_t least);
/* Says on standard error what is wrong; the process will fail. */
void bench_fault(bench *b, const char *format, ...) __attribute__((format(printf, 2, 3), cold));
/* For what cannot go on: prints and exits with 1. */
_Noreturn void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2), cold));

/* tri_go(), whose failure ends the program. */
void bench_go(void (*fn)(void *), void *arg);
/* A whole collection. */
void bench_collect(bench *b);

/* ---- time and memory (measure.c) -------------------------------------------------------------- */

#define BENCH_SECOND INT64_C(1000000000)

/* Monotonic nanoseconds. */
int64_t bench_now(void);
/* User and system time of the process, in nanoseconds. */
int64_t bench_cpu(void);
/* Bytes: resident now, and at the most. */
uint64_t bench_rss(void);
uint64_t bench_rss_peak(void);

typedef struct bench_span {
    int64_t wall, cpu;
} bench_span;
bench_span bench_begin(void);
/* How much has passed since. */
bench_span bench_end(bench_span begin);

int64_t bench_median(int64_t *values, size_t n);

/* ---- latencies (histogram.c) ------------------------------------------------------------------ */

/* Log-linear, 32 buckets for each power of two of nanoseconds. */
#define BENCH_BUCKETS (60 * 32)
typedef struct bench_histogram {
    uint64_t count;
    int64_t max;
    uint64_t bucket[BENCH_BUCKETS];
} bench_histogram;

static inline unsigned bench_bucket(uint64_t v)
{
    if (v < 32)
        return (unsigned)v;
    unsigned e = 63 - (unsigned)__builtin_clzll(v);
    return 32 * (e - 4) + (unsigned)(v >> (e - 5) & 31);
}

static inline void bench_add(bench_histogram *h, int64_t ns)
{
    ns = ns < 0 ? 0 : ns;
    h->count++;
    h->max = ns > h->max ? ns : h->max;
    h->bucket[bench_bucket((uint64_t)ns)]++;
}

void bench_merge(bench_histogram *into, const bench_histogram *from);
/* Prints <name>_p50 _p99 _p99.9 _p99.99 _max, and the buckets as `hist` lines. */
void bench_print_histogram(const bench *b, const char *name, const bench_histogram *h);

/* ---- output (output.c) ------------------------------------------------------------------------ */

void bench_print(const bench *b, const char *metric, double value, const char *unit);
void bench_print_checksum(const bench *b, const char *part, uint64_t sum);
void bench_print_missing(const bench *b, const char *metric, const char *reason);
void bench_print_rss_peak(const bench *b);
/* What the collector did since the heap was made, or interruptions since they were last reset. */
void bench_print_collector(const bench *b);
/* Library and settings. */
void bench_print_info(const bench *b);

/* ---- random numbers --------------------------------------------------------------------------- */

static inline uint64_t bench_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

/* Splitmix64. */
static inline uint64_t bench_next(uint64_t *state)
{
    return bench_mix(*state += 0x9e3779b97f4a7c15);
}

static inline uint64_t bench_below(uint64_t *state, uint64_t n)
{
    return ((bench_next(state) >> 32) * n) >> 32;
}

static inline uint64_t bench_fold(uint64_t sum, uint64_t value)
{
    return sum * 31 + value;
}

#endif
