/* types: many types with few objects each, as a language virtual machine has them; what does a heap that
 * keeps the types apart waste on them?
 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>

#define TYPES 1000

/* The pointer field of every type; all objects are in one list. */
struct head {
    struct head *next;
    uint64_t id;
};

static struct head *list; /* a root */
static tri_type types[TYPES];
static char names[TYPES][16];
static const tri_field next_field = {0, 1};

static bool prepare(bench *b)
{
    return !*b->variant;
}

static void run(bench *b)
{
    uint64_t each = bench_scaled(b, 10, 1), live = 0, sum = 0, id = 0;
    if (tri_root_add(b->heap, &list, 1))
        bench_die("no memory for a root");
    for (unsigned t = 0; t < TYPES; t++) {
        snprintf(names[t], sizeof names[t], "type%u", t);
        if (tri_type_init(&types[t], names[t], 16 * (1 + t % 32), TRI_KIND_STRUCT, &next_field, 1,
                          NULL))
            bench_die("types: a type was refused");
    }
    bench_collect(b);
    uint64_t rss = bench_rss();
    for (unsigned t = 0; t < TYPES; t++)
        for (uint64_t i = 0; i < each; i++) {
            struct head *h = tri_new(&types[t]);
            h->id = id++;
            tri_init(&h->next, list);
            tri_set(&list, h);
            live += types[t].size;
        }
    bench_collect(b);
    double grown = (double)bench_rss() - (double)rss;
    tri_memstats s;
    tri_read_memstats(b->heap, &s);
    for (const struct head *h = list; h; h = h->next)
        sum = bench_fold(sum, h->id);

    bench_print(b, "live", (double)live, "B");
    bench_print(b, "rss_per_live_byte", grown / (double)live, "B");
    bench_print(b, "inuse_per_live_byte", (double)s.heap_inuse / (double)live, "B");
    bench_print_checksum(b, NULL, sum);
}

const workload bench_types = {"types", prepare, run};
