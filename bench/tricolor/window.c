/* window: a ring of live messages, each push a fresh one; how long does the slowest push take?
 *
 * The clock is read once per push, and a push lasts from the reading before, so whatever interrupts
 * the loop anywhere is in some push's latency.
 */
#include "bench.h"

#include <string.h>

#define MESSAGE 1024

static bool prepare(bench *b)
{
    return !*b->variant;
}

static void run(bench *b)
{
    static bench_histogram latency;
    uint64_t slots = bench_scaled(b, 200000, 16), pushes = bench_scaled(b, 5000000, 1), slot = 0;
    unsigned char **ring = tri_new_array(&tri_pointers, slots);
    bench_span begin = bench_begin();
    int64_t before = bench_now();
    for (uint64_t i = 0; i < pushes; i++) {
        unsigned char *message = tri_new_array(&tri_bytes, MESSAGE);
        memset(message, (int)(i & 255), MESSAGE);
        tri_set(&ring[slot], message);
        slot = slot + 1 == slots ? 0 : slot + 1;
        int64_t now = bench_now();
        bench_add(&latency, now - before);
        before = now;
    }
    bench_span took = bench_end(begin);

    uint64_t sum = 0;
    for (uint64_t i = 0; i < slots; i++) {
        const unsigned char *m = ring[i];
        sum = bench_fold(sum, m ? m[0] * 256u + m[MESSAGE - 1] : 0);
    }
    bench_print_histogram(b, "push", &latency);
    bench_print(b, "wall", (double)took.wall / BENCH_SECOND, "s");
    bench_print(b, "cpu", (double)took.cpu / BENCH_SECOND, "s");
    bench_print_checksum(b, NULL, sum);
}

const workload bench_window = {"window", prepare, run};
