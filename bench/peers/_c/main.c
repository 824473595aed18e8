/* The benchmark program of the malloc systems and of the Boehm collector: `PROGRAM WORKLOAD [--scale K] [--seconds N]
 * [--procs P]`, as bench/README.md defines it. With --procs the whole process keeps to that many processors.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "measure.h"
#include "memory.h"
#include "workload.h"

static _Noreturn void refuse(int status, const char *what, const char *why)
{
    fprintf(stderr, "%s: %s: %s\n", PEER_SYSTEM, what, why);
    exit(status);
}

static unsigned number(const char *option, const char *text, unsigned least, unsigned most)
{
    char *end;
    errno = 0;
    unsigned long v = text ? strtoul(text, &end, 10) : 0;
    if (!text || !*text || *end || errno || v < least || v > most)
        refuse(2, option, "not a number that it takes");
    return (unsigned)v;
}

/* The first of the processors that the process may use. */
static void restrict_to(unsigned processors)
{
    cpu_set_t may, keep;
    CPU_ZERO(&keep);
    if (sched_getaffinity(0, sizeof may, &may))
        refuse(1, "--procs", strerror(errno));
    for (unsigned i = 0; i < CPU_SETSIZE && processors; i++) {
        if (CPU_ISSET(i, &may)) {
            CPU_SET(i, &keep);
            processors--;
        }
    }
    if (sched_setaffinity(0, sizeof keep, &keep))
        refuse(1, "--procs", strerror(errno));
}

static void run_collections_of(const char *workload, const struct options *o)
{
    unsigned n;
    char rest;
    if (!MEMORY_COLLECTS)
        refuse(77, workload, "there is no collection to force");
    if (sscanf(workload, "mark.graph%u%c", &n, &rest) == 1 && n >= 10 && n <= 30)
        run_mark_graph(o, n);
    else if (sscanf(workload, "mark.tree%u%c", &n, &rest) == 1 && n >= 9 && n <= 30)
        run_mark_tree(o, n);
    else
        refuse(2, workload, "unknown workload");
}

static void run(const char *workload, const struct options *o)
{
    unsigned n, size, threads;
    char kind[5], rest;
    if (sscanf(workload, "trees.N%u%c", &n, &rest) == 1 && n >= 6 && n <= 26)
        run_trees(o, n);
    else if (strcmp(workload, "window") == 0)
        run_window(o);
    else if (sscanf(workload, "alloc.%4[a-z].%u.t%u%c", kind, &size, &threads, &rest) == 3 &&
             (strcmp(kind, "flat") == 0 || strcmp(kind, "ptrs") == 0) &&
             (size == 16 || size == 64 || size == 256 || size == 1024) && threads >= 1 &&
             threads <= 64)
        run_alloc(o, kind[0] == 'p', size, threads);
    else if (strcmp(workload, "table") == 0)
        run_table(o);
    else if (strncmp(workload, "mark.", 5) == 0)
        run_collections_of(workload, o);
    else if (strcmp(workload, "sched") == 0 || strcmp(workload, "sched.1") == 0 ||
             strcmp(workload, "parked") == 0 || strcmp(workload, "parked.shared") == 0)
        refuse(77, workload, "there are no coroutines");
    else
        refuse(2, workload, "unknown workload");
}

int main(int argc, char **argv)
{
    if (argc < 2)
        refuse(2, "usage", "WORKLOAD [--scale K] [--seconds N] [--procs P]");
    struct options o = {0};
    for (int i = 2; i < argc; i += 2) {
        const char *value = argv[i + 1];
        if (strcmp(argv[i], "--scale") == 0)
            o.scale = number(argv[i], value, 0, 30);
        else if (strcmp(argv[i], "--seconds") == 0)
            o.seconds = number(argv[i], value, 1, 86400);
        else if (strcmp(argv[i], "--procs") == 0)
            restrict_to(number(argv[i], value, 1, CPU_SETSIZE));
        else
            refuse(2, argv[i], "unknown option");
    }
    print_as(argv[1], PEER_SYSTEM);
    memory_init();
    run(argv[1], &o);
    memory_print_collector();
    print_rss_peak();
    memory_print_info();
    return 0;
}
