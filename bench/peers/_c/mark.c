/* `mark`: what it costs to collect a heap in which everything lives. Only for systems with a collector. */
#include "measure.h"
#include "memory.h"
#include "random.h"
#include "workload.h"

enum { COLLECTIONS = 5 };

struct node {
    struct node *to[4];
    uint64_t id, zero[3];
};

struct tree {
    struct tree *left, *right;
    uint64_t id, zero;
};

/* Static data is a root. */
static struct node *graph;
static struct tree *tree;

/* A function of its own, so that no word of its frame keeps the array of all nodes in sight of the collections. */
static __attribute__((noinline)) struct node *make_graph(uint64_t n)
{
    struct node **nodes = memory_new_array(n);
    for (uint64_t i = 0; i < n; i++) {
        nodes[i] = memory_new(sizeof *nodes[i]);
        nodes[i]->id = i;
    }
    uint32_t *p = memory_checked(malloc(n * sizeof *p));
    uint64_t seed = 42;
    for (uint64_t i = 0; i < n; i++)
        p[i] = (uint32_t)i;
    for (uint64_t i = n - 1; i > 0; i--) {
        uint64_t k = below(&seed, i);
        uint32_t was = p[i];
        p[i] = p[k];
        p[k] = was;
    }
    for (uint64_t i = 0; i < n; i++) {
        nodes[i]->to[0] = nodes[p[i]];
        for (int k = 1; k < 4; k++)
            nodes[i]->to[k] = nodes[next(&seed) & (n - 1)];
    }
    struct node *first = nodes[0];
    free(p);
    return first;
}

static uint64_t walk_graph(uint64_t steps)
{
    uint64_t seed = 43, checksum = 0;
    const struct node *x = graph;
    for (uint64_t i = 0; i < steps; i++) {
        x = x->to[next(&seed) & 3];
        checksum = fold(checksum, x->id);
    }
    return checksum;
}

static struct tree *make_tree(unsigned depth, uint64_t *id)
{
    struct tree *left = depth ? make_tree(depth - 1, id) : NULL;
    struct tree *right = depth ? make_tree(depth - 1, id) : NULL;
    struct tree *t = memory_new(sizeof *t);
    t->left = left;
    t->right = right;
    t->id = (*id)++;
    return t;
}

static uint64_t walk_tree(uint64_t walks)
{
    uint64_t seed = 43, checksum = 0;
    for (uint64_t i = 0; i < walks; i++) {
        for (const struct tree *x = tree; x; x = next(&seed) & 1 ? x->right : x->left)
            checksum = fold(checksum, x->id);
    }
    return checksum;
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static double median(uint64_t *v)
{
    qsort(v, COLLECTIONS, sizeof *v, ascending);
    uint64_t middle = v[COLLECTIONS / 2];
    return (double)middle;
}

static void measure_collections(uint64_t objects)
{
    uint64_t wall[COLLECTIONS], cpu[COLLECTIONS];
    memory_collect();
    for (int i = 0; i < COLLECTIONS; i++) {
        uint64_t start = now(), start_cpu = cpu_now();
        memory_collect();
        wall[i] = now() - start;
        cpu[i] = cpu_now() - start_cpu;
    }
    print("gc_wall", median(wall) / 1e9, "s");
    print("per_object_wall", median(wall) / (double)objects, "ns");
    print("per_object_cpu", median(cpu) / (double)objects, "ns");
    print("objects", (double)objects, "count");
}

void run_mark_graph(const struct options *o, unsigned n)
{
    uint64_t nodes = scaled(o, (uint64_t)1 << n, 1 << 10), start = now();
    graph = make_graph(nodes);
    print("create", (double)(now() - start) / 1e9, "s");
    measure_collections(nodes);
    print_checksum(walk_graph(scaled(o, 1 << 20, 1)));
}

void run_mark_tree(const struct options *o, unsigned n)
{
    unsigned depth = n >= o->scale + 9 ? n - o->scale : 9;
    uint64_t nodes = 0, start = now();
    tree = make_tree(depth, &nodes);
    print("create", (double)(now() - start) / 1e9, "s");
    measure_collections(nodes);
    print_checksum(walk_tree(scaled(o, 1 << 16, 1)));
}
