/* What main() and the workloads know of each other. */
#ifndef PEERS_WORKLOAD_H
#define PEERS_WORKLOAD_H

#include <stdbool.h>
#include <stdint.h>

struct options {
    unsigned scale;   /* sizes are shifted right by this */
    unsigned seconds; /* 0: the workload's own */
};

static inline uint64_t scaled(const struct options *o, uint64_t size, uint64_t least)
{
    uint64_t n = size >> o->scale;
    return n > least ? n : least;
}

/* Each prints its metrics and its checksum. */
void run_trees(const struct options *o, unsigned n);
void run_window(const struct options *o);
void run_alloc(const struct options *o, bool pointers, unsigned size, unsigned threads);
void run_mark_graph(const struct options *o, unsigned n);
void run_mark_tree(const struct options *o, unsigned n);
void run_table(const struct options *o);

#endif
