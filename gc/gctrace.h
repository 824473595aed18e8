/* One line per collection, as Go's GODEBUG=gctrace=1 prints it, for the tools that read that. */
#ifndef GC_GCTRACE_H
#define GC_GCTRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GC_TRACE_LINE 512 /* room for any line */

typedef struct gc_trace {
    uint64_t cycle;
    int64_t start_ns;    /* of the cycle, since the heap was opened */
    double cpu_fraction; /* of all processors' time since then, spent collecting: 0..1 */

    /* Wall time. Go's stops of the world at both ends do not exist here; in their places stand the
     * longest interruption of one mutator in the handshakes of that end. */
    int64_t begin_ns, mark_ns, end_ns;
    /* Processor time; that of either end is the interruption itself, of one processor. */
    int64_t assist_cpu_ns, dedicated_cpu_ns, idle_cpu_ns;

    /* Bytes. */
    uint64_t heap_start, heap_end, heap_live; /* when it began, when marking was done, marked */
    uint64_t goal, stacks, globals;
    unsigned procs;
    bool forced; /* by a call of tri_collect() */
} gc_trace;

/* The line without its end, cut to n - 1 characters and terminated if n > 0. Returns the length of
 * the whole line. Depends on no locale; async-signal-safe. */
size_t gc_format_trace(char *buf, size_t n, const gc_trace *t);

#endif
