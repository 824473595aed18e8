/* Live objects by type.
 *
 * A span holds objects of one type, so each type's counters are those of its spans and nothing has
 * to be walked: a histogram of the heap costs as much as there are types, not objects. Other
 * systems need a heap dump for it.
 */
#include "heap/heap.h"
#include "tricolor/stats.h"

typedef struct visitor {
    bool (*fn)(void *arg, const tri_type_stats *stats);
    void *arg;
} visitor;

static bool visit(void *arg, const heap_type_stats *s)
{
    const visitor *v = arg;
    if (!s->mallocs)
        return true;
    tri_type_stats stats = {
        .name = s->layout->name,
        .type = s->layout->type,
        .array = s->layout->array,
        .live_objects = s->mallocs - s->frees,
        .live_bytes = s->alloc_bytes - s->free_bytes,
        .mallocs = s->mallocs,
        .frees = s->frees,
        .spans = s->spans,
    };
    return v->fn(v->arg, &stats);
}

void tri_each_type(tri_heap *heap, bool (*fn)(void *arg, const tri_type_stats *stats), void *arg)
{
    visitor v = {fn, arg};
    heap_each_type(heap, visit, &v);
}
