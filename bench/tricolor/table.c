/* table: a hash table of 4 GiB, read and changed at random while the whole of it is marked again and
 * again; what does the slowest operation take, and how late does a sleeper wake beside busy workers?
 *
 * Nodes of one chain lie far apart, so an operation is a few loads that miss every cache: what a server
 * with a large heap does. Each worker has chains of its own (even, odd), so that no lock is measured.
 */
#include "bench.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define WORKERS 2
#define TICK    INT64_C(1000000)

struct node {
    struct node *next;
    uint64_t key, version, check, rest[4];
};
TRI_TYPE(node, struct node, next);

static bench *the;
static struct node **heads; /* a root */
static uint64_t chains, nodes;
static tri_waitgroup done;
static _Atomic bool stop;
static bool collections;

static bench_histogram latency[WORKERS], late;
static uint64_t operations[WORKERS];

static uint64_t check_of(uint64_t key, uint64_t version)
{
    return bench_mix(key + version * 0x9e3779b97f4a7c15);
}

static void build(void)
{
    tri_set(&heads, tri_new_array(&tri_pointers, chains));
    struct node **h = heads;
    for (uint64_t key = 0; key < nodes; key++) {
        struct node **head = &h[key & (chains - 1)];
        tri_set(head, tri_make(node, .next = *head, .key = key, .check = check_of(key, 0)));
    }
}

/* Where the pointer to the node of that key is. */
static struct node **find(struct node **h, uint64_t key)
{
    struct node **place = &h[key & (chains - 1)], *n;
    while ((n = *place) && n->key != key)
        place = &n->next;
    if (!n || n->check != check_of(key, n->version))
        bench_die("table: node %llu is lost or damaged", (unsigned long long)key);
    return place;
}

static void replace(struct node **place)
{
    const struct node *old = *place;
    uint64_t key = old->key, version = old->version + 1;
    tri_set(place, tri_make(node, .next = old->next, .key = key, .version = version,
                            .check = check_of(key, version)));
}

static void work(void *arg)
{
    uint64_t m = (uintptr_t)arg, seed = 100 + m, n = 0;
    struct node **h = tri_load(&heads);
    bench_histogram *mine = &latency[m];
    int64_t before = bench_now();
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        uint64_t r = bench_next(&seed);
        struct node **place = find(h, (r & (nodes - 1) & ~UINT64_C(1)) | m);
        if (r >> 63)
            replace(place);
        n++;
        int64_t now = bench_now();
        bench_add(mine, now - before);
        before = now;
    }
    operations[m] = n;
    tri_waitgroup_done(&done);
}

static void tick(void *arg)
{
    (void)arg;
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        int64_t before = bench_now();
        tri_sleep(TICK);
        bench_add(&late, bench_now() - before - TICK);
    }
    tri_waitgroup_done(&done);
}

static void collect(void *arg)
{
    (void)arg;
    int64_t next = bench_now() + BENCH_SECOND, end = bench_now() + the->seconds * BENCH_SECOND;
    while (collections && next < end) {
        tri_sleep(next - bench_now());
        bench_collect(the);
        next += 10 * BENCH_SECOND;
    }
    tri_waitgroup_done(&done);
}

static uint64_t sum_of_keys(void)
{
    uint64_t sum = 0, found = 0;
    for (uint64_t c = 0; c < chains; c++)
        for (const struct node *n = heads[c]; n; n = n->next, found++) {
            if (n->check != check_of(n->key, n->version))
                bench_fault(the, "node %llu is damaged", (unsigned long long)n->key);
            sum += bench_mix(n->key);
        }
    if (found != nodes)
        bench_fault(the, "%llu nodes of %llu", (unsigned long long)found,
                    (unsigned long long)nodes);
    return sum;
}

static bool prepare(bench *b)
{
    collections = !*b->variant;
    if (!collections && strcmp(b->variant, "nogc") != 0)
        return false;
    if (!b->options.procs)
        b->options.procs = 2;
    if (!b->seconds)
        b->seconds = 30;
    if (!collections)
        b->options.gogc = -1;
    return true;
}

static void run(bench *b)
{
    the = b;
    chains = bench_scaled(b, 1 << 24, 1 << 8);
    nodes = 4 * chains;
    if (tri_root_add(b->heap, &heads, 1))
        bench_die("no memory for a root");
    bench_span begin = bench_begin();
    build();
    bench_span took = bench_end(begin);
    bench_print(b, "create", (double)took.wall / BENCH_SECOND, "s");

    tri_reset_interruptions(b->heap);
    tri_waitgroup_add(&done, WORKERS + 2);
    begin = bench_begin();
    bench_go(collect, NULL);
    bench_go(tick, NULL);
    for (uintptr_t m = 0; m < WORKERS; m++)
        bench_go(work, (void *)m);
    tri_sleep(b->seconds * BENCH_SECOND);
    atomic_store(&stop, true);
    tri_waitgroup_wait(&done);
    took = bench_end(begin);

    bench_merge(&latency[0], &latency[1]);
    bench_print(b, "ops",
                (double)(operations[0] + operations[1]) / (double)took.wall * BENCH_SECOND, "1/s");
    bench_print_histogram(b, "op", &latency[0]);
    bench_print_histogram(b, "tick_late", &late);
    bench_print(b, "cpu", (double)took.cpu / BENCH_SECOND, "s");
    bench_print_checksum(b, NULL, sum_of_keys());
}

const workload bench_table = {"table", prepare, run};
