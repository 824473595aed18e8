/* deep: a running coroutine whose stack is a mebibyte of managed pointers; how long does the handshake
 * take in which it copies that stack?
 *
 * Frames of 512 pointers each, down to the depth; at the bottom it computes and polls, as an interpreter
 * does in a deep recursion, while the first coroutine forces collections. On the way back every object is
 * visited: only the stack kept them alive.
 */
#include "bench.h"

#include <stdatomic.h>
#include <string.h>

#define FRAME 512

struct leaf {
    uint64_t id, rest;
};
TRI_TYPE(leaf, struct leaf);

static _Atomic bool stop;
static tri_waitgroup done;
static uint64_t frames, sum;

static TRI_NOINLINE void descend(uint64_t depth)
{
    struct leaf *volatile held[FRAME];
    for (uint64_t i = 0; i < FRAME; i++)
        held[i] = tri_make(leaf, .id = depth * FRAME + i);
    if (depth + 1 < frames)
        descend(depth + 1);
    else
        while (!atomic_load_explicit(&stop, memory_order_relaxed))
            tri_poll();
    for (uint64_t i = 0; i < FRAME; i++)
        sum = bench_fold(sum, held[i]->id);
}

static void dive(void *arg)
{
    (void)arg;
    descend(0);
    tri_waitgroup_done(&done);
}

static bool prepare(bench *b)
{
    if (!b->seconds)
        b->seconds = 10;
    return !*b->variant;
}

static void run(bench *b)
{
    frames = bench_scaled(b, (1 << 20) / (FRAME * sizeof(void *)), 2);
    tri_waitgroup_add(&done, 1);
    int err = tri_go_sized(dive, NULL, 2 << 20);
    if (err)
        bench_die("a coroutine could not be started: %s", strerror(-err));
    int64_t begin = bench_now();
    while (bench_now() - begin < b->seconds * BENCH_SECOND)
        bench_collect(b);
    atomic_store(&stop, true);
    tri_waitgroup_wait(&done);

    bench_print(b, "stack", (double)(frames * FRAME * sizeof(void *)), "B");
    bench_print_checksum(b, NULL, sum);
}

const workload bench_deep = {"deep", prepare, run};
