/* Roots: registered words outside the heap.
 *
 * They are written through the barrier like fields of the heap, and for the same reason: there is no
 * moment at which scanning an unbarriered shared word would be enough. What a range holds when it is
 * registered or removed in the middle of a cycle is shaded, so neither can hide an object.
 *
 * The list is walked under its lock, a bounded number of words at a time would be no gain: the lock
 * is only ever contended by registration, which may wait for the collector.
 */
#include <errno.h>

#include "barrier/log.h"
#include "gc/state.h"
#include "os/memory.h"

/* An attached thread acknowledges nothing in here: no cycle may end between looking a word up and marking
 * it, and verify=1 must not find the lock held by a thread that it has stopped. */
static gc_mutator *enter(tri_heap *h)
{
    gc_mutator *m = gc_mutator_in(h);
    if (m)
        gc_deeper(m);
    return m;
}

static void leave(gc_mutator *m)
{
    if (m)
        gc_shallower(m);
}

/* A thread that is not attached keeps the collector from its next handshake instead. */
static void shade_range(tri_heap *h, const gc_mutator *m, const uintptr_t *start, size_t count)
{
    struct gc *gc = gc_of(h);
    if (!m)
        os_mutex_lock(&gc->handshake_lock);
    for (size_t i = 0; i < count; i++)
        barrier_shade(h, __atomic_load_n(start + i, __ATOMIC_RELAXED));
    if (!m)
        os_mutex_unlock(&gc->handshake_lock);
}

int tri_root_add(tri_heap *h, void *start, size_t count)
{
    if (!start || (uintptr_t)start % sizeof(uintptr_t) || !count ||
        count > SIZE_MAX / sizeof(uintptr_t))
        return -EINVAL;
    struct gc *gc = gc_of(h);
    gc_root *root = os_alloc(sizeof *root);
    if (!root)
        return -ENOMEM;
    root->start = start;
    root->count = count;
    gc_mutator *m = enter(h);
    int err = barrier_log_root_add(h, start, count, __builtin_return_address(0));
    if (err) {
        leave(m);
        os_free(root, sizeof *root);
        return err;
    }
    os_mutex_lock(&gc->roots_lock);
    root->next = gc->roots;
    gc->roots = root;
    os_mutex_unlock(&gc->roots_lock);
    shade_range(h, m, start, count);
    leave(m);
    return 0;
}

int tri_root_remove(tri_heap *h, void *start)
{
    struct gc *gc = gc_of(h);
    gc_mutator *m = enter(h);
    os_mutex_lock(&gc->roots_lock);
    gc_root **at = &gc->roots;
    while (*at && (*at)->start != start)
        at = &(*at)->next;
    gc_root *root = *at;
    if (root)
        *at = root->next;
    os_mutex_unlock(&gc->roots_lock);
    if (root) {
        shade_range(h, m, root->start, root->count);
        barrier_log_root_remove(h, start, root->count);
    }
    leave(m);
    if (!root)
        return -ENOENT;
    os_free(root, sizeof *root);
    return 0;
}

void gc_roots_mark(struct gc *gc, gc_marker *w)
{
    os_mutex_lock(&gc->roots_lock);
    for (gc_root *r = gc->roots; r; r = r->next)
        gc_mark_filter(w, r->start, r->count);
    os_mutex_unlock(&gc->roots_lock);
}
