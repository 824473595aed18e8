/* Clusters: making, linking and verifying the objects of the live graph.
 *
 * A cluster is made leaves first with tri_make(), its payloads with tri_new_array(&tri_bytes), whose
 * contents the collector never reads. All that a node holds follows from its cluster, version and
 * position, so it can be verified by whoever comes across it, also after its cluster was replaced.
 */
#include "graph.h"

uint64_t graph_magic(uint64_t cluster, uint64_t version, uint64_t position)
{
    return demo_mix(demo_mix(cluster) + demo_mix(version * GRAPH_NODES + position));
}

static size_t payload_words(uint64_t magic)
{
    return GRAPH_PAYLOAD_MIN + magic % (GRAPH_PAYLOAD_MAX - GRAPH_PAYLOAD_MIN + 1);
}

static uint64_t *payload_new(uint64_t magic)
{
    size_t words = payload_words(magic);
    uint64_t *p = tri_new_array(&tri_bytes, words * sizeof *p);
    for (size_t i = 0; i < words; i++)
        p[i] = magic + i;
    return p;
}

TRI_TYPE(graph_node_type, graph_node, child, edge, payload);
TRI_TYPE(graph_edge_type, graph_edge, to);

static graph_node *node_new(uint64_t cluster, uint64_t version, uint64_t position)
{
    graph_node *left = NULL, *right = NULL;
    if (2 * position + 2 < GRAPH_NODES) {
        left = node_new(cluster, version, 2 * position + 1);
        right = node_new(cluster, version, 2 * position + 2);
    }
    uint64_t magic = graph_magic(cluster, version, position);
    uint64_t *payload = payload_new(magic);
    return tri_make(graph_node_type, .child = {left, right}, .payload = payload, .cluster = cluster,
                    .version = version, .position = position, .magic = magic);
}

graph_node *graph_cluster_new(uint64_t cluster, uint64_t version)
{
    return node_new(cluster, version, 0);
}

void graph_cluster_link(graph_worker *w, graph_node *cluster, graph_node *to)
{
    while (to->child[0])
        to = to->child[demo_random(&w->seed) % GRAPH_FANOUT];
    for (graph_node *n = cluster; n; n = n->child[demo_random(&w->seed) % GRAPH_FANOUT]) {
        graph_edge *edge = tri_make(graph_edge_type, .to = to, .magic = to->magic);
        tri_set(&n->edge, edge);
        demo_add(&w->linked, 1);
    }
}

void graph_cluster_unlink(graph_node *cluster)
{
    if (!cluster)
        return;
    tri_set(&cluster->edge, NULL);
    for (int i = 0; i < GRAPH_FANOUT; i++)
        graph_cluster_unlink(cluster->child[i]);
}

static bool node_check(graph_worker *w, const graph_node *n, const char *how)
{
    uint64_t magic = graph_magic(n->cluster, n->version, n->position);
    bool good = n->magic == magic && n->position < GRAPH_NODES && n->payload;
    for (size_t i = 0; good && i < payload_words(magic); i++)
        good = n->payload[i] == magic + i;
    if (!good)
        demo_fault(w->d, "graph: a node %s is damaged: cluster %llu, version %llu, position %llu",
                   how, (unsigned long long)n->cluster, (unsigned long long)n->version,
                   (unsigned long long)n->position);
    demo_add(&w->nodes, 1);
    return good;
}

/* The target may be of any cluster and version; only the edge knows which it was. */
static bool edge_check(graph_worker *w, graph_node *n)
{
    graph_edge *edge = tri_load(&n->edge);
    if (!edge)
        return true;
    demo_add(&w->followed, 1);
    if (!edge->to || edge->to->magic != edge->magic) {
        demo_fault(w->d, "graph: an edge of cluster %llu does not lead to its target",
                   (unsigned long long)n->cluster);
        return false;
    }
    return node_check(w, edge->to, "at the end of an edge");
}

static bool subtree_check(graph_worker *w, graph_node *n, uint64_t cluster, uint64_t version,
                          uint64_t position)
{
    if (!n || n->position != position || n->cluster != cluster || n->version != version) {
        demo_fault(w->d, "graph: node %llu of cluster %llu is missing",
                   (unsigned long long)position, (unsigned long long)cluster);
        return false;
    }
    if (!node_check(w, n, "of a cluster") || !edge_check(w, n))
        return false;
    if (2 * position + 2 >= GRAPH_NODES)
        return true;
    return subtree_check(w, n->child[0], cluster, version, 2 * position + 1) &&
           subtree_check(w, n->child[1], cluster, version, 2 * position + 2);
}

bool graph_cluster_check(graph_worker *w, graph_node *cluster)
{
    return subtree_check(w, cluster, cluster->cluster, cluster->version, 0);
}

uint64_t graph_cluster_sum(uint64_t cluster, uint64_t version)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < GRAPH_NODES; i++)
        sum += graph_magic(cluster, version, i);
    return sum;
}
