/* The registry of types: which types a heap knows, and their cells. */
#ifndef HEAP_TYPES_H
#define HEAP_TYPES_H

#include "heap/heap.h"
#include "heap/sizeclass.h"

typedef struct heap_type_entry heap_type_entry;

/* A cell is a place in run tables: objects of one type and one slot size. Its number is the same in
 * all heaps, the rest is per heap, in lazily touched memory indexed by the number. */
typedef struct heap_cell {
    /* Where refills take their spans: a mixed class at first, one of its own when the type has earned
     * it. NULL: this heap does not know the cell. Release when set, since it publishes the rest. */
    _Atomic(heap_class *) class;
    heap_layout *layout;
    heap_type_entry *entry;
    uint32_t size;      /* of a slot in spans of its own */
    uint8_t size_class; /* of a slot in mixed spans */
    uint8_t pages;      /* of a span of its own */

    /* Relaxed counters. What live caches have reserved is not in `mallocs` and `bytes` yet, what
     * they have reserved but not issued is counted. Modular: a retired run may be subtracted before
     * its cache's own count is added. */
    _Atomic uint64_t mallocs, bytes;
    _Atomic uint64_t frees, freed_bytes;
} heap_cell;

/* Adjacent cells of a type: the single one for single objects, or those for arrays, beginning with
 * the size class of one element. A type described twice, in two translation units, may have several. */
typedef struct heap_cell_block {
    struct heap_cell_block *next;
    uint32_t first, count;
    bool array;
} heap_cell_block;

typedef struct heap_large_tally {
    _Atomic uint64_t mallocs, bytes, frees, freed_bytes;
} heap_large_tally;

struct heap_type_entry {
    heap_type_entry *next;  /* all of the heap; release when it becomes the first */
    heap_type_entry *chain; /* of the same hash */
    uint32_t hash;
    heap_layout layouts[2]; /* single objects, arrays */
    uint32_t home[2];       /* first cells; home[1] 0: no arrays yet */
    _Atomic(heap_cell_block *) blocks;
    heap_large_tally large[2];
};

#define HEAP_TYPE_BUCKETS 1024
#define HEAP_MAX_LAYOUTS  (2 * HEAP_MAX_CELLS)

struct heap_types {
    heap_cell *cells;      /* by number */
    heap_layout **layouts; /* by id */
    _Atomic(heap_type_entry *) first;

    os_mutex lock;
    uint32_t nlayouts;
    heap_type_entry *buckets[HEAP_TYPE_BUCKETS];
};

int heap_types_open(tri_heap *h);
void heap_types_close(tri_heap *h);

static inline heap_type_entry *heap_entry_of(heap_layout *l)
{
    return (heap_type_entry *)(void *)((char *)(l - l->array) - offsetof(heap_type_entry, layouts));
}

/* Cells with numbers from this one on do not exist in any heap. */
uint32_t heap_cell_limit(void);

/* The cell that counts an object of this layout in a mixed span of that size class. */
static inline uint32_t heap_mixed_cell(const heap_type_entry *e, const heap_layout *l,
                                       uint32_t size_class)
{
    if (!l->array)
        return e->home[0];
    uint32_t first = heap_size_class(l->size);
    return e->home[1] + size_class - first;
}

/* Gives the cell spans of its own. Failing is harmless: it stays with the mixed ones. */
void heap_cell_promote(tri_heap *h, uint32_t cell);

#endif
