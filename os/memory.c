// The library's own C memory. One place, so that every such allocation can be made to fail and can be
// counted; sized frees, so that it could move to an allocator without headers.
//
// The invariant: nothing here is ever scanned by a collector, and nothing here is called from a signal
// handler or between the prepare and the parent or child halves of a fork.

#include "os/memory.h"

#include <stdlib.h>

void *(os_alloc)(size_t size)
{
    return calloc(1, size ? size : 1);
}

void os_free(void *p, size_t size)
{
    (void)size;
    free(p);
}
