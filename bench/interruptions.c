/* What the collector does to a mutator while a large heap is live, beside what the machine does anyway.
 *
 *     interruptions [--live MiB] [--seconds N] [--procs N] [--off]
 *
 * Coroutines replace random nodes of a live graph (64 bytes, four pointers each) while collections are
 * forced one after the other. The library's own histograms say how long each interruption was.
 *
 * A histogram of interruptions alone proves little: on a shared machine the kernel takes the processor
 * away in the middle of anything. So each coroutine also times a probe, a fixed stretch of arithmetic of
 * about a microsecond that touches neither heap nor library. With --off no collection runs at all: the
 * probe's figures there are what the machine charges, and the difference is the collector's.
 *
 * Prints `workload system metric value unit` lines. The checksum is over ids that every visited node
 * must carry.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <tricolor/tricolor.h>

#define CHUNK 4096 /* nodes that one array refers to */

struct node {
    struct node *to[4];
    uint64_t id, magic, payload[2];
};
TRI_TYPE(node, struct node, to);

struct settings {
    uint64_t live_mib;
    int seconds;
    unsigned procs;
    bool off;
};

struct job {
    struct settings *settings;
    tri_heap *heap;
    uint64_t nchunks;
    _Atomic bool stop;
    _Atomic uint64_t replaced, bad;
};

/* Log-linear, 16 buckets per power of two. */
#define BUCKETS (48 * 16)
static _Atomic uint64_t probe_buckets[BUCKETS];
static _Atomic uint64_t probe_count, probe_max;

static struct job job;
static struct node ***chunks; /* a root */

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static unsigned bucket_of(uint64_t v)
{
    if (v < 16)
        return (unsigned)v;
    unsigned log = 63 - (unsigned)__builtin_clzll(v);
    return (log - 3) * 16 + (unsigned)(v >> (log - 4) & 15);
}

static uint64_t edge_of(unsigned b)
{
    return b < 16 ? b : (uint64_t)(16 + b % 16 + 1) << (b / 16 - 1);
}

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static void probe(uint64_t *seed)
{
    int64_t start = now();
    for (int i = 0; i < 300; i++)
        next_random(seed);
    uint64_t ns = (uint64_t)(now() - start);
    atomic_fetch_add_explicit(&probe_buckets[bucket_of(ns)], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&probe_count, 1, memory_order_relaxed);
    uint64_t max = atomic_load_explicit(&probe_max, memory_order_relaxed);
    while (ns > max && !atomic_compare_exchange_weak(&probe_max, &max, ns))
        ;
}

static uint64_t probe_quantile(double q)
{
    uint64_t rank = (uint64_t)(q * (double)atomic_load(&probe_count)), seen = 0;
    for (unsigned b = 0; b < BUCKETS; b++)
        if ((seen += atomic_load(&probe_buckets[b])) > rank)
            return edge_of(b);
    return atomic_load(&probe_max);
}

static struct node *random_node(uint64_t *seed)
{
    struct node **chunk = tri_load(&chunks[next_random(seed) % job.nchunks]);
    return tri_load(&chunk[next_random(seed) % CHUNK]);
}

static void check(const struct node *n)
{
    if (n->magic != (n->id ^ 0x7472696334u))
        atomic_fetch_add(&job.bad, 1);
}

static struct node *fresh(uint64_t id, struct node *to)
{
    return tri_make(node, .to = {to}, .id = id, .magic = id ^ 0x7472696334u);
}

static void build(void)
{
    job.nchunks = (job.settings->live_mib << 20) / (sizeof(struct node) * CHUNK);
    tri_set(&chunks, tri_new_array(&tri_pointers, job.nchunks));
    struct node *last = NULL;
    for (uint64_t i = 0; i < job.nchunks; i++) {
        struct node **chunk = tri_new_array(&tri_pointers, CHUNK);
        tri_set(&chunks[i], chunk);
        for (uint64_t k = 0; k < CHUNK; k++)
            tri_set(&chunk[k], last = fresh(i * CHUNK + k, k ? last : NULL));
    }
}

struct mutator {
    uint64_t seed;
    tri_waitgroup *done;
};

static void mutate(void *arg)
{
    struct mutator *m = arg;
    uint64_t seed = m->seed, replaced = 0;
    tri_waitgroup *done = m->done;
    while (!atomic_load_explicit(&job.stop, memory_order_relaxed)) {
        for (int i = 0; i < 16; i++) {
            struct node *from = random_node(&seed), *to = random_node(&seed);
            check(from);
            check(to);
            tri_set(&from->to[next_random(&seed) & 3], to);
            struct node **chunk = tri_load(&chunks[next_random(&seed) % job.nchunks]);
            uint64_t k = next_random(&seed) % CHUNK;
            tri_set(&chunk[k], fresh(tri_load(&chunk[k])->id, NULL));
            replaced++;
        }
        probe(&seed);
        tri_yield();
    }
    atomic_fetch_add(&job.replaced, replaced);
    tri_waitgroup_done(done);
}

static void collect(void *arg)
{
    tri_waitgroup *done = arg;
    while (!atomic_load_explicit(&job.stop, memory_order_relaxed)) {
        if (job.settings->off)
            tri_sleep(10000000);
        else if (tri_collect(job.heap))
            abort();
    }
    tri_waitgroup_done(done);
}

static void print(const char *metric, double value, const char *unit)
{
    printf("interruptions tricolor%s %s %.0f %s\n", job.settings->off ? ".off" : "", metric, value,
           unit);
}

static void print_latency(const char *name, const tri_latency *l)
{
    char metric[64];
    static const char *const suffix[] = {"count", "p50", "p99.9", "max"};
    const double value[] = {(double)l->count, (double)l->p50, (double)l->p999, (double)l->max};
    for (int i = 0; i < 4; i++) {
        snprintf(metric, sizeof metric, "%s_%s", name, suffix[i]);
        print(metric, value[i], i ? "ns" : "count");
    }
}

static void report(void)
{
    static const char *const kinds[] = {"all",   "handshake", "resume_scan", "refill_sweep",
                                        "drain", "assist",    "wait_scan"};
    for (int i = 0; i < 7; i++) {
        tri_latency l;
        tri_read_interruptions(job.heap, (tri_interruption)i, &l);
        print_latency(kinds[i], &l);
    }
    tri_latency waits, reach;
    tri_mutator_waits(job.heap, &waits);
    tri_reach_time(job.heap, &reach);
    print("wait_for_mutator_max", (double)waits.max, "ns");
    print_latency("reach", &reach);
    print("probe_count", (double)atomic_load(&probe_count), "count");
    print("probe_p50", (double)probe_quantile(0.5), "ns");
    print("probe_p99.9", (double)probe_quantile(0.999), "ns");
    print("probe_p99.99", (double)probe_quantile(0.9999), "ns");
    print("probe_max", (double)atomic_load(&probe_max), "ns");
    print("mmu_1ms", tri_mmu(job.heap, 1000000) * 100, "%");
    print("mmu_10ms", tri_mmu(job.heap, 10000000) * 100, "%");
    tri_memstats s;
    tri_read_memstats(job.heap, &s);
    print("gc_cycles", (double)s.num_gc, "count");
    print("heap_alloc", (double)(s.heap_alloc >> 20), "MiB");
    print("replaced", (double)atomic_load(&job.replaced), "count");
    print("wrong_nodes", (double)atomic_load(&job.bad), "count");
}

static void first(void *arg)
{
    job.settings = arg;
    job.heap = tri_current_heap();
    if (tri_root_add(job.heap, &chunks, 1))
        abort();
    build();
    tri_reset_interruptions(job.heap);
    tri_waitgroup done = TRI_WAITGROUP_INIT;
    struct mutator mutators[64];
    unsigned n = tri_procs() * 2;
    tri_waitgroup_add(&done, (int)n + 1);
    for (unsigned i = 0; i < n && i < 64; i++) {
        mutators[i] = (struct mutator){i * 7919 + 1, &done};
        if (tri_go(mutate, &mutators[i]))
            abort();
    }
    if (tri_go(collect, &done))
        abort();
    tri_sleep((int64_t)job.settings->seconds * 1000000000);
    atomic_store(&job.stop, true);
    tri_waitgroup_wait(&done);
    report();
}

static int usage(void)
{
    fprintf(stderr, "usage: interruptions [--live MiB] [--seconds N] [--procs N] [--off]\n");
    return 2;
}

int main(int argc, char **argv)
{
    struct settings s = {.live_mib = 256, .seconds = 10};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--off") == 0)
            s.off = true;
        else if (i + 1 < argc && strcmp(argv[i], "--live") == 0)
            s.live_mib = strtoull(argv[++i], NULL, 10);
        else if (i + 1 < argc && strcmp(argv[i], "--seconds") == 0)
            s.seconds = atoi(argv[++i]);
        else if (i + 1 < argc && strcmp(argv[i], "--procs") == 0)
            s.procs = (unsigned)strtoul(argv[++i], NULL, 10);
        else
            return usage();
    }
    tri_options o;
    if (!s.live_mib || s.seconds <= 0 || s.procs > 32 || tri_options_init(&o))
        return usage();
    o.procs = s.procs;
    if (s.off)
        o.gogc = -1;
    int err = tri_run(&o, first, &s);
    if (err)
        fprintf(stderr, "interruptions: %s\n", strerror(-err));
    return err || atomic_load(&job.bad) ? EXIT_FAILURE : EXIT_SUCCESS;
}
