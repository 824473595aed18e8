/* trees: binary-trees of the Computer Language Benchmarks Game, one coroutine per depth.
 *
 * Almost everything dies young, beside one tree that lives. A tree is made bottom up by tri_make(),
 * which needs no barrier in any phase.
 */
#include "bench.h"

#include <stdlib.h>

struct tree {
    struct tree *left, *right;
};
TRI_TYPE(tree, struct tree, left, right);

static unsigned max_depth;
static tri_waitgroup done;
static uint64_t counts[64]; /* by depth; each written by one coroutine, read when all are done */

static struct tree *build(unsigned depth)
{
    if (depth == 0)
        return tri_make(tree, .left = NULL);
    struct tree *left = build(depth - 1);
    struct tree *right = build(depth - 1);
    return tri_make(tree, .left = left, .right = right);
}

static uint64_t count(const struct tree *t)
{
    return t->left ? 1 + count(t->left) + count(t->right) : 1;
}

static void grow(void *arg)
{
    unsigned depth = (unsigned)(uintptr_t)arg;
    uint64_t trees = UINT64_C(1) << (max_depth - depth + 4), sum = 0;
    for (uint64_t i = 0; i < trees; i++)
        sum += count(build(depth));
    counts[depth] = sum;
    tri_waitgroup_done(&done);
}

static bool prepare(bench *b)
{
    char *end;
    if (b->variant[0] != 'N')
        return false;
    unsigned long n = strtoul(b->variant + 1, &end, 10);
    if (*end || n < 6 || n > 30)
        return false;
    max_depth = n >= b->scale + 6 ? (unsigned)n - b->scale : 6;
    return true;
}

static void run(bench *b)
{
    bench_span begin = bench_begin();
    uint64_t sum = count(build(max_depth + 1));
    struct tree *lives = build(max_depth);
    for (unsigned depth = 4; depth <= max_depth; depth += 2) {
        tri_waitgroup_add(&done, 1);
        bench_go(grow, (void *)(uintptr_t)depth);
    }
    tri_waitgroup_wait(&done);
    for (unsigned depth = 4; depth <= max_depth; depth += 2)
        sum += counts[depth];
    sum += count(lives);
    bench_span took = bench_end(begin);

    bench_print(b, "wall", (double)took.wall / BENCH_SECOND, "s");
    bench_print(b, "cpu", (double)took.cpu / BENCH_SECOND, "s");
    bench_print_checksum(b, NULL, sum);
}

const workload bench_trees = {"trees", prepare, run};
