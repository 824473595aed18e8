/* Binary trees that are built and dropped, beside one that lives long and is patched all the time.
 *
 * This is the part that allocates: most nodes die within milliseconds, so it decides how often the
 * collector runs. A tree is built from its leaves up with tri_make(), which needs no barrier; the
 * long-lived tree gets new subtrees with tri_set(), by one worker while the collector reads it.
 *
 * A node's magic follows from its number in the tree (root 1, children 2n and 2n + 1) and from the
 * tree's salt. Visiting a tree therefore needs nothing but the salt to know what every node must
 * hold, and how many there must be: a subtree that was cut off is noticed like one that was
 * overwritten.
 */
#include "demo.h"

#include <stdio.h>
#include <stdlib.h>

#define LONG_DEPTH      16
#define SHORT_DEPTH_MIN 4
#define SHORT_DEPTH_MAX 16
#define PATCH_DEPTH     7

struct tree {
    struct tree *left, *right;
    uint64_t magic;
};
TRI_TYPE(tree, struct tree, left, right);

typedef struct grower {
    demo *d;
    uint64_t salt;
    demo_count trees, nodes, patches, visits;
} __attribute__((aligned(TRI_CACHE_LINE))) grower;

static grower *growers;
static unsigned grower_count;

static struct tree *build(uint64_t salt, uint64_t number, unsigned depth)
{
    uint64_t magic = demo_mix(salt + number);
    if (depth == 0)
        return tri_make(tree, .magic = magic);
    struct tree *left = build(salt, 2 * number, depth - 1);
    struct tree *right = build(salt, 2 * number + 1, depth - 1);
    return tri_make(tree, .left = left, .right = right, .magic = magic);
}

/* How many nodes there are; 0 for a subtree in which anything is wrong. */
static uint64_t visit(const struct tree *t, uint64_t salt, uint64_t number, unsigned depth)
{
    if (!t || t->magic != demo_mix(salt + number))
        return 0;
    if (depth == 0)
        return t->left || t->right ? 0 : 1;
    if (depth % 8 == 0)
        tri_poll();
    uint64_t left = visit(t->left, salt, 2 * number, depth - 1);
    uint64_t right = visit(t->right, salt, 2 * number + 1, depth - 1);
    return left && right ? left + right + 1 : 0;
}

static uint64_t nodes_of(unsigned depth)
{
    return (UINT64_C(2) << depth) - 1;
}

static void check(grower *g, const struct tree *t, uint64_t salt, unsigned depth)
{
    uint64_t found = visit(t, salt, 1, depth);
    if (found != nodes_of(depth))
        demo_fault(g->d, "trees: a tree of depth %u is damaged (%llu nodes of %llu)", depth,
                   (unsigned long long)found, (unsigned long long)nodes_of(depth));
    demo_add(&g->visits, nodes_of(depth));
}

/* Replaces one subtree of the long-lived tree by a new one that must look the same. */
static void patch(grower *g, struct tree *t, uint64_t *seed)
{
    uint64_t number = 1, path = demo_random(seed);
    for (unsigned depth = LONG_DEPTH; depth > PATCH_DEPTH + 1; depth--, path >>= 1) {
        number = 2 * number + (path & 1);
        t = path & 1 ? t->right : t->left;
        if (!t) {
            demo_fault(g->d, "trees: a node of the long-lived tree has lost a child");
            return;
        }
    }
    struct tree *fresh = build(g->salt, 2 * number + (path & 1), PATCH_DEPTH);
    tri_set(path & 1 ? &t->right : &t->left, fresh);
    demo_add(&g->patches, 1);
    demo_add(&g->nodes, nodes_of(PATCH_DEPTH));
}

static void grow(void *arg)
{
    grower *g = arg;
    uint64_t seed = g->salt;
    struct tree *keep = build(g->salt, 1, LONG_DEPTH);
    demo_add(&g->nodes, nodes_of(LONG_DEPTH));
    for (uint64_t round = 0; !demo_stopped(g->d); round++) {
        unsigned depth =
            SHORT_DEPTH_MIN + (unsigned)(round % (SHORT_DEPTH_MAX - SHORT_DEPTH_MIN + 1));
        uint64_t salt = demo_random(&seed);
        struct tree *t = build(salt, 1, depth);
        demo_add(&g->trees, 1);
        demo_add(&g->nodes, nodes_of(depth));
        check(g, t, salt, depth);
        patch(g, keep, &seed);
        if (round % 64 == 0)
            check(g, keep, g->salt, LONG_DEPTH);
        tri_yield();
    }
    check(g, keep, g->salt, LONG_DEPTH);
}

void trees_start(demo *d)
{
    grower_count = d->options.procs;
    growers = demo_calloc(grower_count, sizeof *growers);
    for (unsigned i = 0; i < grower_count; i++) {
        growers[i].d = d;
        growers[i].salt = demo_mix(i + 1);
        demo_start(d, "trees", grow, &growers[i]);
    }
}

void trees_finish(demo *d)
{
    (void)d;
    uint64_t trees = 0, nodes = 0, patches = 0, visits = 0;
    for (unsigned i = 0; i < grower_count; i++) {
        trees += growers[i].trees;
        nodes += growers[i].nodes;
        patches += growers[i].patches;
        visits += growers[i].visits;
    }
    printf("trees    %s built of %s nodes, %s subtrees patched in, %s nodes verified\n",
           report_number(trees), report_number(nodes), report_number(patches),
           report_number(visits));
    free(growers);
}
