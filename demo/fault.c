/* Faults: a checksum that does not agree is shown at once and remembered to the end.
 *
 * Aborting at the first would hide whether one object was lost or all of them; printing all could
 * fill a disk. So the first few are printed, all are counted, and the exit status tells.
 */
#include "demo.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN 10

void demo_fault(demo *d, const char *format, ...)
{
    if (atomic_fetch_add(&d->faults, 1) >= SHOWN)
        return;
    char line[256];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    fprintf(stderr, "\ntricolor-demo: FAULT: %s\n", line);
}

void *demo_calloc(size_t count, size_t size)
{
    /* Rounded up to whole cache lines, as some of the structs want. */
    size_t bytes = (count * size + TRI_CACHE_LINE - 1) / TRI_CACHE_LINE * TRI_CACHE_LINE;
    void *p = aligned_alloc(TRI_CACHE_LINE, bytes);
    if (!p) {
        fprintf(stderr, "tricolor-demo: out of memory\n");
        exit(1);
    }
    return memset(p, 0, bytes);
}
