/* parked: a million coroutines that wait on one channel: what they cost in memory, and in time to
 * make, to collect beside, and to wake. parked.shared: the same on shared stacks.
 */
#include "bench.h"

#include <stdatomic.h>
#include <string.h>

static tri_chan *gate; /* a root */
static _Atomic uint64_t arrived, sum;
static tri_waitgroup ended;
static bool shared;

static void wait_at_gate(void *arg)
{
    uint64_t i = (uintptr_t)arg;
    atomic_fetch_add_explicit(&arrived, 1, memory_order_relaxed);
    tri_chan_recv(tri_load(&gate), NULL);
    atomic_fetch_add_explicit(&sum, bench_mix(i), memory_order_relaxed);
    tri_waitgroup_done(&ended);
}

static void start(uintptr_t i)
{
    if (!shared)
        bench_go(wait_at_gate, (void *)i);
    else if (tri_go_shared(wait_at_gate, (void *)i))
        bench_die("a coroutine could not be started");
}

static bool prepare(bench *b)
{
    if (!b->options.procs)
        b->options.procs = 2;
    shared = strcmp(b->variant, "shared") == 0;
    return shared || !*b->variant;
}

static void run(bench *b)
{
    uint64_t n = bench_scaled(b, 1000000, 16);
    if (tri_root_add(b->heap, &gate, 1))
        bench_die("no memory for a root");
    tri_set(&gate, tri_chan_new(&tri_words, 0));
    uint64_t rss = bench_rss();
    tri_waitgroup_add(&ended, (int)n);

    bench_span begin = bench_begin();
    for (uintptr_t i = 0; i < n; i++)
        start(i);
    while (atomic_load_explicit(&arrived, memory_order_relaxed) < n)
        tri_sleep(1000000);
    bench_span create = bench_end(begin);

    tri_sleep(100000000);
    double each = ((double)bench_rss() - (double)rss) / (double)n;

    begin = bench_begin();
    bench_collect(b);
    bench_span collection = bench_end(begin);

    begin = bench_begin();
    tri_chan_close(tri_load(&gate));
    tri_waitgroup_wait(&ended);
    bench_span wake = bench_end(begin);

    bench_print(b, "rss_each", each, "B");
    bench_print(b, "create", (double)create.wall / BENCH_SECOND, "s");
    bench_print(b, "gc_wall", (double)collection.wall / BENCH_SECOND, "s");
    bench_print(b, "wake_and_end", (double)wake.wall / BENCH_SECOND, "s");
    bench_print_checksum(b, NULL, sum);
}

const workload bench_parked = {"parked", prepare, run};
