// The library's own C memory, for what is neither heap nor side table. Fault site "alloc".

#ifndef OS_MEMORY_H
#define OS_MEMORY_H

#include <stddef.h>

void *os_alloc(size_t size);        // zeroed; NULL if there is none
void os_free(void *p, size_t size); // the size it was allocated with; p may be NULL

#endif
