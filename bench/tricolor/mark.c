/* mark: forced collections of a live heap, a random graph or a binary tree.
 *
 * The graph is the worst case for caches: every pointer leads to a random place. One of a node's four
 * pointers follows one single cycle over all nodes, so all are reached, whatever the others say; since
 * the others lead everywhere within a few steps, marking never has to walk that cycle alone.
 */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

#define COLLECTIONS 5

struct node {
    struct node *to[4];
    uint64_t id, rest[3];
};
TRI_TYPE(node, struct node, to);

struct branch {
    struct branch *left, *right;
    uint64_t id, rest;
};
TRI_TYPE(branch, struct branch, left, right);

static bool graph;
static unsigned size_log; /* graph: 2^n nodes; tree: depth */
static uint64_t steps;

static struct node *build_graph(uint64_t n)
{
    uint64_t seed = 42;
    struct node **nodes = tri_new_array(&tri_pointers, n);
    uint32_t *p = malloc(n * sizeof *p);
    if (!p)
        bench_die("no memory");
    for (uint64_t i = 0; i < n; i++) {
        p[i] = (uint32_t)i;
        tri_set(&nodes[i], tri_make(node, .id = i));
    }
    for (uint64_t i = n - 1; i > 0; i--) {
        uint64_t j = bench_below(&seed, i);
        uint32_t old = p[i];
        p[i] = p[j];
        p[j] = old;
    }
    for (uint64_t i = 0; i < n; i++) {
        tri_set(&nodes[i]->to[0], nodes[p[i]]);
        for (int k = 1; k < 4; k++)
            tri_set(&nodes[i]->to[k], nodes[bench_next(&seed) & (n - 1)]);
    }
    free(p);
    return nodes[0];
}

static uint64_t walk_graph(const struct node *x)
{
    uint64_t seed = 43, sum = 0;
    for (uint64_t i = 0; i < steps; i++) {
        x = x->to[bench_next(&seed) & 3];
        sum = bench_fold(sum, x->id);
    }
    return sum;
}

static struct branch *build_tree(unsigned depth, uint64_t *id)
{
    if (depth == 0)
        return tri_make(branch, .id = (*id)++);
    struct branch *left = build_tree(depth - 1, id);
    struct branch *right = build_tree(depth - 1, id);
    return tri_make(branch, .left = left, .right = right, .id = (*id)++);
}

static uint64_t walk_tree(const struct branch *root)
{
    uint64_t seed = 43, sum = 0;
    for (uint64_t i = 0; i < steps; i++)
        for (const struct branch *x = root; x; x = bench_next(&seed) & 1 ? x->right : x->left)
            sum = bench_fold(sum, x->id);
    return sum;
}

static bool prepare(bench *b)
{
    char *end;
    graph = strncmp(b->variant, "graph", 5) == 0;
    if (!graph && strncmp(b->variant, "tree", 4) != 0)
        return false;
    unsigned long n = strtoul(b->variant + (graph ? 5 : 4), &end, 10);
    if (*end || n < 4 || n > 31)
        return false;
    unsigned least = graph ? 10 : 9;
    size_log = n >= b->scale + least ? (unsigned)n - b->scale : least;
    steps = bench_scaled(b, graph ? 1 << 20 : 1 << 16, 1);
    return true;
}

static void run(bench *b)
{
    uint64_t objects = 0;
    bench_span begin = bench_begin();
    void *root;
    if (graph)
        root = build_graph(objects = UINT64_C(1) << size_log);
    else
        root = build_tree(size_log, &objects);
    bench_span took = bench_end(begin);
    bench_print(b, "create", (double)took.wall / BENCH_SECOND, "s");

    bench_collect(b);
    int64_t wall[COLLECTIONS], cpu[COLLECTIONS];
    for (int i = 0; i < COLLECTIONS; i++) {
        begin = bench_begin();
        bench_collect(b);
        took = bench_end(begin);
        wall[i] = took.wall;
        cpu[i] = took.cpu;
    }
    uint64_t sum = graph ? walk_graph(root) : walk_tree(root);

    double gc_wall = (double)bench_median(wall, COLLECTIONS);
    bench_print(b, "gc_wall", gc_wall / BENCH_SECOND, "s");
    bench_print(b, "per_object_wall", gc_wall / (double)objects, "ns");
    bench_print(b, "per_object_cpu", (double)bench_median(cpu, COLLECTIONS) / (double)objects,
                "ns");
    bench_print(b, "objects", (double)objects, "count");
    bench_print_checksum(b, NULL, sum);
}

const workload bench_mark = {"mark", prepare, run};
