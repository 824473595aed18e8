// The library's own C memory, for what is neither heap nor side table. Fault sites "alloc@...".

#ifndef OS_MEMORY_H
#define OS_MEMORY_H

#include "os/fault.h"

#include <stddef.h>

void *os_alloc(size_t size);        // zeroed; NULL if there is none
void os_free(void *p, size_t size); // the size it was allocated with; p may be NULL

#ifdef TRI_FAULTS
#define os_alloc(size) (os_fault_here("alloc") ? NULL : os_alloc(size))
#endif

#endif
