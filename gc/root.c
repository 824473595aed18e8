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

#include "gc/state.h"
#include "os/memory.h"

/* No cycle may end between looking a word up and marking it: an attached thread acknowledges nothing in
 * here, one that is not attached keeps the collector from its next handshake. */
static void shade_range(tri_heap *h, const uintptr_t *start, size_t count)
{
    struct gc *gc = gc_of(h);
    gc_mutator *m = gc_mutator_in(h);
    if (m)
        gc_deeper(m);
    else
        os_mutex_lock(&gc->handshake_lock);
    TRI_SIGNAL_FENCE();
    for (size_t i = 0; i < count; i++)
        barrier_shade(h, __atomic_load_n(start + i, __ATOMIC_RELAXED));
    TRI_SIGNAL_FENCE();
    if (m)
        gc_shallower(m);
    else
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
    os_mutex_lock(&gc->roots_lock);
    root->next = gc->roots;
    gc->roots = root;
    os_mutex_unlock(&gc->roots_lock);
    shade_range(h, start, count);
    return 0;
}

int tri_root_remove(tri_heap *h, void *start)
{
    struct gc *gc = gc_of(h);
    os_mutex_lock(&gc->roots_lock);
    gc_root **at = &gc->roots;
    while (*at && (*at)->start != start)
        at = &(*at)->next;
    gc_root *root = *at;
    if (root)
        *at = root->next;
    os_mutex_unlock(&gc->roots_lock);
    if (!root)
        return -ENOENT;
    shade_range(h, root->start, root->count);
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
