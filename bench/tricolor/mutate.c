/* mutate: two workers rewrite pointers of a random graph as fast as they can; how much of their rate is
 * left while the collector marks that graph without end?
 *
 * A worker draws two nodes and points one of the first's four fields at the second, through the write
 * barrier. All nodes stay reachable from an array, so the work is the same at all times.
 */
#include "bench.h"

#include <stdatomic.h>

#define WORKERS 2

struct node {
    struct node *to[4];
    uint64_t id, rest[3];
};
TRI_TYPE(node, struct node, to);

static struct node **nodes; /* a root */
static uint64_t count;
static _Atomic bool stop;
static tri_waitgroup done;
static uint64_t rewritten[WORKERS];

static void rewrite(void *arg)
{
    uint64_t m = (uintptr_t)arg, seed = 100 + m, n = 0;
    struct node **all = tri_load(&nodes);
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        uint64_t r = bench_next(&seed);
        struct node *from = all[r & (count - 1)], *to = all[r >> 32 & (count - 1)];
        tri_set(&from->to[r >> 62], to);
        n++;
    }
    rewritten[m] = n;
    tri_waitgroup_done(&done);
}

/* Stores per second for so long. */
static double rate(bench *b, int64_t ns, bool collecting)
{
    atomic_store(&stop, false);
    tri_waitgroup_add(&done, WORKERS);
    int64_t begin = bench_now();
    for (uintptr_t m = 0; m < WORKERS; m++)
        bench_go(rewrite, (void *)m);
    while (collecting && bench_now() - begin < ns)
        bench_collect(b);
    if (!collecting)
        tri_sleep(ns);
    atomic_store(&stop, true);
    tri_waitgroup_wait(&done);
    return (double)(rewritten[0] + rewritten[1]) / (double)(bench_now() - begin) * BENCH_SECOND;
}

/* Every pointer leads to a node that is whole. */
static void check(bench *b)
{
    for (uint64_t i = 0; i < count; i++)
        for (int k = 0; k < 4; k++) {
            const struct node *to = nodes[i]->to[k];
            if (nodes[i]->id != i || (to && (to->id >= count || nodes[to->id] != to)))
                bench_fault(b, "node %llu is damaged", (unsigned long long)i);
        }
}

static bool prepare(bench *b)
{
    if (!b->seconds)
        b->seconds = 10;
    if (!b->options.procs)
        b->options.procs = WORKERS;
    return !*b->variant;
}

static void run(bench *b)
{
    count = bench_scaled(b, 1 << 20, 1 << 10);
    if (tri_root_add(b->heap, &nodes, 1))
        bench_die("no memory for a root");
    tri_set(&nodes, tri_new_array(&tri_pointers, count));
    for (uint64_t i = 0; i < count; i++)
        tri_set(&nodes[i], tri_make(node, .id = i));
    bench_collect(b);
    tri_reset_interruptions(b->heap);

    int64_t half = b->seconds * BENCH_SECOND / 2;
    double off = rate(b, half, false), on = rate(b, half, true);
    check(b);
    bench_print(b, "rate_off", off, "1/s");
    bench_print(b, "rate_on", on, "1/s");
    bench_print(b, "rate_share", 100 * on / off, "%");
}

const workload bench_mutate = {"mutate", prepare, run};
