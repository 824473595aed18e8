/* `trees`: binary trees are built and counted by one thread for each depth, all at once, while a large one lives. */
#include <stdio.h>

#include "measure.h"
#include "memory.h"
#include "workload.h"

struct tree {
    struct tree *left, *right;
};

struct depth {
    pthread_t thread;
    unsigned depth, n;
    uint64_t nodes;
};

static struct tree *build(unsigned depth)
{
    struct tree *left = NULL, *right = NULL;
    if (depth) {
        left = build(depth - 1);
        right = build(depth - 1);
    }
    struct tree *t = memory_new(sizeof *t);
    t->left = left;
    t->right = right;
    return t;
}

static uint64_t count(const struct tree *t)
{
    return t->left ? 1 + count(t->left) + count(t->right) : 1;
}

static void drop(struct tree *t)
{
    if (MEMORY_COLLECTS)
        return;
    if (t->left) {
        drop(t->left);
        drop(t->right);
    }
    memory_free(t);
}

static uint64_t build_count_drop(unsigned depth)
{
    struct tree *t = build(depth);
    uint64_t nodes = count(t);
    drop(t);
    return nodes;
}

static void *run_depth(void *arg)
{
    struct depth *d = arg;
    for (uint64_t i = (uint64_t)1 << (d->n - d->depth + 4); i > 0; i--)
        d->nodes += build_count_drop(d->depth);
    return NULL;
}

void run_trees(const struct options *o, unsigned n)
{
    n = n >= o->scale + 6 ? n - o->scale : 6;
    struct depth depths[16];
    unsigned ndepths = 0;

    uint64_t start = now(), cpu = cpu_now();
    uint64_t checksum = build_count_drop(n + 1);
    struct tree *lasting = build(n);
    for (unsigned d = 4; d <= n; d += 2) {
        depths[ndepths] = (struct depth){.depth = d, .n = n};
        if (pthread_create(&depths[ndepths].thread, NULL, run_depth, &depths[ndepths]))
            abort();
        ndepths++;
    }
    for (unsigned i = 0; i < ndepths; i++) {
        pthread_join(depths[i].thread, NULL);
        checksum += depths[i].nodes;
    }
    checksum += count(lasting);
    drop(lasting);
    uint64_t wall = now() - start;
    cpu = cpu_now() - cpu;
    print("wall", (double)wall / 1e9, "s");
    print("cpu", (double)cpu / 1e9, "s");
    print_checksum(checksum);
}
