/* What the collector's tests share: a heap with the calling thread attached, and nodes to hang on it. */
#ifndef TESTS_GC_FIXTURE_H
#define TESTS_GC_FIXTURE_H

#include <criterion/criterion.h>

#include "gc/state.h"
#include "tricolor/tricolor.h"

struct node {
    struct node *left, *right;
    uint64_t value;
};
TRI_TYPE(node, struct node, left, right);

static inline tri_heap *open_heap(const tri_options *options)
{
    tri_heap *h;
    cr_assert_eq(tri_heap_create(options, &h), 0);
    cr_assert_eq(tri_attach(h), 0);
    return h;
}

static inline tri_heap *open_default(void)
{
    tri_options o;
    cr_assert_eq(tri_options_init(&o), 0);
    return open_heap(&o);
}

static inline void close_heap(tri_heap *h)
{
    cr_assert_eq(tri_detach(h), 0);
    cr_assert_eq(tri_heap_destroy(h), 0);
}

static inline struct node *build(int depth, uint64_t value)
{
    struct node *left = depth ? build(depth - 1, value * 2) : NULL;
    struct node *right = depth ? build(depth - 1, value * 2 + 1) : NULL;
    return tri_make(node, .left = left, .right = right, .value = value);
}

static inline uint64_t count(const struct node *n, uint64_t value)
{
    if (!n)
        return 0;
    cr_assert_eq(n->value, value, "a node was overwritten");
    return 1 + count(n->left, value * 2) + count(n->right, value * 2 + 1);
}

/* Runs fn(arg) deeper on the stack and clears what it left there, so that no stale word of it keeps
 * anything alive. */
__attribute__((unused)) static TRI_NOINLINE void clear_stack(void)
{
    volatile char dead[8192];
    for (size_t i = 0; i < sizeof dead; i++)
        dead[i] = 0;
}

__attribute__((unused)) static TRI_NOINLINE void collect_now(tri_heap *h)
{
    cr_assert_eq(tri_collect(h), 0);
}

/* Collects with nothing of the caller's past left on the stack or in registers. Part of the caller, so that
 * what is cleared begins where the frame of collect_now() will: a frame has holes that nobody writes. */
__attribute__((unused, always_inline)) static inline void collect(tri_heap *h)
{
    clear_stack();
    collect_now(h);
}

/* Addresses in disguise, so that the conservative scan does not take them for references. */
static inline uintptr_t hide(const void *p)
{
    return ~(uintptr_t)p;
}
static inline void *unhide(uintptr_t hidden)
{
    return (void *)~hidden;
}

/* Whether the object is still allocated; leaves no trace of its address that outlives the next call. */
__attribute__((unused)) static TRI_NOINLINE bool alive(tri_heap *h, uintptr_t hidden)
{
    return tri_object_size(h, unhide(hidden)) != 0;
}

#endif
