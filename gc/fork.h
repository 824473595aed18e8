/* What happens to a heap in fork(). */
#ifndef GC_FORK_H
#define GC_FORK_H

#include "gc/gc.h"

/* Adds the heap to those that the fork handlers take care of (-ENOMEM); forgets it. */
int gc_fork_register(tri_heap *h);
void gc_fork_unregister(tri_heap *h);

#endif
