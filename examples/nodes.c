/* Coroutines: a thousand of them build trees and send them through a channel; one counts the nodes. */
#include <stdio.h>
#include <stdlib.h>
#include <tricolor/tricolor.h>

struct tree {
    struct tree *left, *right;
};
TRI_TYPE(tree_type, struct tree, left, right);

static struct tree *build(int depth)
{
    struct tree *left = depth ? build(depth - 1) : NULL;
    struct tree *right = depth ? build(depth - 1) : NULL;
    return tri_make(tree_type, .left = left, .right = right);
}

static long count(const struct tree *t)
{
    return t ? count(t->left) + 1 + count(t->right) : 0;
}

static void worker(void *arg)
{
    tri_chan *trees = arg;
    struct tree *t = build(9);
    tri_chan_send(trees, &t);
}

static void first(void *arg)
{
    (void)arg;
    tri_chan *trees = tri_chan_new(&tri_pointers, 16);
    for (int i = 0; i < 1000; i++)
        if (tri_go(worker, trees))
            abort();
    long nodes = 0;
    for (int i = 0; i < 1000; i++) {
        struct tree *t;
        tri_chan_recv(trees, &t);
        nodes += count(t);
    }
    printf("%ld nodes\n", nodes);
}

int main(void)
{
    return tri_run(NULL, first, NULL) ? EXIT_FAILURE : EXIT_SUCCESS;
}
