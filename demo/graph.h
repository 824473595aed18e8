/* The live graph of the demo: its objects, and what is written down about them outside the heap.
 *
 * A slot of the graph's table holds one cluster: a tree of a few nodes, each with a payload of its
 * own size and an edge to a node of another cluster. Clusters are replaced by a next version of
 * themselves, moved from slot to slot, taken out and put back; each slot belongs to one writer.
 *
 * The shadow of a slot (graph_shadow) says which cluster, in which version, it must hold. It is
 * written by the slot's writer around each change as a sequence lock, so that a reader that sees
 * the same even number before and after it loaded the slot knows exactly what it must have found.
 *
 * An edge's target, always a leaf, lives on as long as the edge does, whatever becomes of its
 * cluster; so a writer clears the edges of what it replaces. Otherwise old versions would point to
 * older ones, and the whole history would stay alive.
 */
#ifndef DEMO_GRAPH_H
#define DEMO_GRAPH_H

#include "demo.h"

#define GRAPH_FANOUT        2
#define GRAPH_NODES         7 /* of a cluster: a complete binary tree of three levels */
#define GRAPH_PAYLOAD_MIN   2
#define GRAPH_PAYLOAD_MAX   24   /* words */
#define GRAPH_CLUSTER_BYTES 1250 /* about, with its payloads and edges */

typedef struct graph_node {
    struct graph_node *child[GRAPH_FANOUT];
    struct graph_edge *edge;
    uint64_t *payload;
    uint64_t cluster, version, position;
    uint64_t magic;
} graph_node;

/* Never changed, only replaced: what it says of its target is then always true of its target. */
typedef struct graph_edge {
    graph_node *to;
    uint64_t magic; /* of the target */
} graph_edge;

typedef struct graph_shadow {
    _Atomic uint64_t sequence; /* odd while the slot is being changed */
    _Atomic uint64_t cluster, version;
} graph_shadow;
#define GRAPH_NO_CLUSTER UINT64_MAX

typedef struct graph_worker {
    demo *d;
    uint64_t seed;
    size_t first, count; /* a writer's slots */
    demo_count replaced, moved, linked, nodes, followed;
} __attribute__((aligned(TRI_CACHE_LINE))) graph_worker;

/* The table, a registered root; and its shadow. */
extern graph_node **graph_slots;
extern graph_shadow *graph_shadows;
extern size_t graph_slot_count;

/* ---- clusters (cluster.c) ---------------------------------------------------------------------- */

graph_node *graph_cluster_new(uint64_t cluster, uint64_t version);
/* Gives the nodes of one path down the cluster new edges to a leaf of the cluster `to`. */
void graph_cluster_link(graph_worker *w, graph_node *cluster, graph_node *to);
/* Clears all edges of a cluster that nobody will find any more. */
void graph_cluster_unlink(graph_node *cluster);
/* Visits all of it; says what is wrong, if anything, with a fault. False: something was. */
bool graph_cluster_check(graph_worker *w, graph_node *cluster);
/* The sum that a whole cluster's magics have. */
uint64_t graph_cluster_sum(uint64_t cluster, uint64_t version);
uint64_t graph_magic(uint64_t cluster, uint64_t version, uint64_t position);

#endif
