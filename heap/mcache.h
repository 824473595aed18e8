/* What a cache keeps beside its run tables. */
#ifndef HEAP_MCACHE_H
#define HEAP_MCACHE_H

#include "heap/heap.h"
#include "heap/mcentral.h"
#include "heap/sizeclass.h"

/* Reserved by this cache for one cell, issued or not. Written by the owner alone. */
typedef struct heap_cache_count {
    _Atomic uint64_t objects, bytes;
} heap_cache_count;

typedef struct heap_cache_private {
    void *memory;             /* counts and tables: one reservation */
    heap_cache_count *counts; /* by cell */
    /* Per table: the mixed span of each size class that runs are cut from, and those that are used up
     * or may not be refilled from, linked by link[1]. All HELD. */
    heap_span *mixed[2][HEAP_SIZE_CLASSES];
    heap_span *spent[2];
    heap_refill refill; /* how the last one left it; its owner's */
} heap_cache_private;

/* Retires both tables; the caller is the only one who uses the cache. */
void heap_cache_retire_all(heap_cache *c);
/* Keeps what the cache has counted; the rest of it may be in any state and stays as it is. */
void heap_cache_abandon(heap_cache *c);

#endif
