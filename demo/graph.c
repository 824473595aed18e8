/* A large live graph that writers change under the barrier while readers walk it.
 *
 * Each writer does to its slots what hides objects from a collector that gets its barrier wrong:
 *   replace  a cluster by its next version: the old one dies while readers may still hold it;
 *   swap     two clusters through the writer's stack: for a moment one is in no slot at all;
 *   carry    take a cluster out, yield, and put it into an empty slot: meanwhile only a stack that
 *            may be parked, and may be black already, holds it;
 *   link     edges to clusters of other writers.
 * Whatever it touches, it verifies against the shadow outside the heap, and so does each reader.
 * At the end the magics of all that is reachable are added up and compared with the sum that the
 * shadow asks for.
 */
#include "graph.h"

#include <stdio.h>
#include <stdlib.h>

graph_node **graph_slots;
graph_shadow *graph_shadows;
size_t graph_slot_count;

static graph_worker *workers;
static unsigned worker_count, writer_count;

/* ---- the shadow -------------------------------------------------------------------------------- */

static void shadow_open(size_t slot)
{
    atomic_fetch_add(&graph_shadows[slot].sequence, 1);
}

static void shadow_close(size_t slot, uint64_t cluster, uint64_t version)
{
    atomic_store(&graph_shadows[slot].cluster, cluster);
    atomic_store(&graph_shadows[slot].version, version);
    atomic_fetch_add(&graph_shadows[slot].sequence, 1);
}

/* Whether `found` is what the shadow says, as far as both were of one moment. */
static void shadow_check(graph_worker *w, size_t slot, const graph_node *found, uint64_t sequence)
{
    graph_shadow *s = &graph_shadows[slot];
    uint64_t cluster = atomic_load(&s->cluster), version = atomic_load(&s->version);
    if (sequence % 2 || atomic_load(&s->sequence) != sequence)
        return;
    bool same = cluster == GRAPH_NO_CLUSTER
                    ? !found
                    : found && found->cluster == cluster && found->version == version;
    if (!same)
        demo_fault(w->d, "graph: slot %zu does not hold cluster %llu, version %llu", slot,
                   (unsigned long long)cluster, (unsigned long long)version);
}

static graph_node *look(graph_worker *w, size_t slot)
{
    uint64_t sequence = atomic_load(&graph_shadows[slot].sequence);
    graph_node *found = __atomic_load_n(&graph_slots[slot], __ATOMIC_SEQ_CST);
    shadow_check(w, slot, found, sequence);
    return found;
}

/* ---- writers ----------------------------------------------------------------------------------- */

static void put(size_t slot, graph_node *cluster)
{
    shadow_open(slot);
    tri_set_release(&graph_slots[slot], cluster);
    shadow_close(slot, cluster ? cluster->cluster : GRAPH_NO_CLUSTER,
                 cluster ? cluster->version : 0);
}

static size_t own_slot(graph_worker *w)
{
    return w->first + demo_random(&w->seed) % w->count;
}

static void replace(graph_worker *w)
{
    size_t slot = own_slot(w);
    graph_node *old = look(w, slot);
    if (!old || !graph_cluster_check(w, old))
        return;
    put(slot, graph_cluster_new(old->cluster, old->version + 1));
    graph_cluster_unlink(old);
    demo_add(&w->replaced, 1);
}

static void swap(graph_worker *w)
{
    size_t a = own_slot(w), b = own_slot(w);
    graph_node *in_a = look(w, a), *in_b = look(w, b);
    put(a, in_b);
    put(b, in_a);
    demo_add(&w->moved, 2);
}

static void carry(graph_worker *w)
{
    size_t from = own_slot(w), to = own_slot(w);
    if (from == to)
        return;
    graph_node *carried = look(w, from), *other = look(w, to);
    put(from, NULL);
    put(to, NULL);
    tri_yield();
    put(from, other);
    put(to, carried);
    demo_add(&w->moved, 2);
}

static void relink(graph_worker *w)
{
    graph_node *from = look(w, own_slot(w));
    graph_node *to = look(w, demo_random(&w->seed) % graph_slot_count);
    if (from && to)
        graph_cluster_link(w, from, to);
}

static void fill(graph_worker *w)
{
    for (size_t i = 0; i < w->count && !demo_stopped(w->d); i++)
        put(w->first + i, graph_cluster_new(w->first + i, 0));
}

static void write_on(void *arg)
{
    graph_worker *w = arg;
    fill(w);
    while (!demo_stopped(w->d)) {
        unsigned dice = demo_random(&w->seed) % 16;
        if (dice < 6)
            replace(w);
        else if (dice < 10)
            relink(w);
        else if (dice < 15)
            swap(w);
        else
            carry(w);
        tri_poll();
    }
}

/* ---- readers ----------------------------------------------------------------------------------- */

static void read_on(void *arg)
{
    graph_worker *w = arg;
    while (!demo_stopped(w->d)) {
        for (int i = 0; i < 256; i++) {
            graph_node *n = look(w, demo_random(&w->seed) % graph_slot_count);
            if (n)
                graph_cluster_check(w, n);
            tri_poll();
        }
        tri_yield();
    }
}

/* ---- the part ---------------------------------------------------------------------------------- */

static void start_worker(demo *d, unsigned number, const char *name, void (*fn)(void *))
{
    graph_worker *w = &workers[number];
    w->d = d;
    w->seed = demo_mix(number + 1000);
    if (number < writer_count) {
        w->first = graph_slot_count / writer_count * number;
        w->count = graph_slot_count / writer_count;
    }
    demo_start(d, name, fn, w);
}

static void make_table(demo *d)
{
    size_t slots = d->options.live / GRAPH_CLUSTER_BYTES;
    graph_slot_count = slots - slots % writer_count;
    graph_shadows = demo_calloc(graph_slot_count, sizeof *graph_shadows);
    for (size_t i = 0; i < graph_slot_count; i++)
        atomic_store(&graph_shadows[i].cluster, GRAPH_NO_CLUSTER);
    if (tri_root_add(d->heap, &graph_slots, 1)) {
        fprintf(stderr, "tricolor-demo: cannot register a root\n");
        exit(1);
    }
    tri_set(&graph_slots, tri_new_array(&tri_pointers, graph_slot_count));
}

void graph_start(demo *d)
{
    writer_count = d->options.procs;
    worker_count = writer_count + (writer_count + 1) / 2;
    workers = demo_calloc(worker_count, sizeof *workers);
    make_table(d);
    for (unsigned i = 0; i < worker_count; i++)
        start_worker(d, i, i < writer_count ? "graph writer" : "graph reader",
                     i < writer_count ? write_on : read_on);
}

/* Walks all of it, and compares sums: one over what is reachable, one over what must be. */
static void check_all(graph_worker *w, uint64_t *found, uint64_t *asked)
{
    for (size_t i = 0; i < graph_slot_count; i++) {
        graph_node *n = look(w, i);
        if (n && graph_cluster_check(w, n))
            *found += graph_cluster_sum(n->cluster, n->version);
        uint64_t cluster = atomic_load(&graph_shadows[i].cluster);
        if (cluster != GRAPH_NO_CLUSTER)
            *asked += graph_cluster_sum(cluster, atomic_load(&graph_shadows[i].version));
        tri_poll();
    }
}

void graph_finish(demo *d)
{
    graph_worker all = {.d = d};
    uint64_t found = 0, asked = 0;
    check_all(&all, &found, &asked);
    if (found != asked)
        demo_fault(d, "graph: checksum %016llx, not %016llx", (unsigned long long)found,
                   (unsigned long long)asked);
    for (unsigned i = 0; i < worker_count; i++) {
        all.replaced += workers[i].replaced;
        all.moved += workers[i].moved;
        all.linked += workers[i].linked;
        all.nodes += workers[i].nodes;
        all.followed += workers[i].followed;
    }
    printf("graph    %s subgraphs replaced, %s moved, %s edges set, %s followed, %s nodes "
           "verified; checksum %016llx\n",
           report_number(all.replaced), report_number(all.moved), report_number(all.linked),
           report_number(all.followed), report_number(all.nodes), (unsigned long long)found);
    tri_set(&graph_slots, NULL);
    tri_root_remove(d->heap, &graph_slots);
    free(graph_shadows);
    free(workers);
}
