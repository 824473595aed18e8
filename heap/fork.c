/* The heap's locks around fork(), in the order in which they nest. The lock of the page heap is the
 * innermost. What threads other than the forking one had begun without a lock (a span popped off a
 * set, say) stays begun in the child; every such span is still found by its number. */
#include "heap/arena.h"
#include "heap/mcentral.h"
#include "heap/numbers.h"
#include "heap/types.h"

void heap_fork_prepare(tri_heap *h)
{
    os_mutex_lock(&h->caches_lock);
    os_mutex_lock(&h->central->walk_lock);
    os_mutex_lock(&h->types->lock);
    os_mutex_lock(&h->numbers->lock);
    heap_arena_fork_prepare(h);
}

void heap_fork_release(tri_heap *h)
{
    heap_arena_fork_done(h);
    os_mutex_unlock(&h->numbers->lock);
    os_mutex_unlock(&h->types->lock);
    os_mutex_unlock(&h->central->walk_lock);
    os_mutex_unlock(&h->caches_lock);
}
