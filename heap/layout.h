/* From a type's description to what the collector scans by. */
#ifndef HEAP_LAYOUT_H
#define HEAP_LAYOUT_H

#include "heap/heap.h"

/* -EINVAL: the description is not one. */
int heap_layout_check(const tri_type *type);
bool heap_layout_has_pointers(const tri_type *type);
/* Whether the layout was made from this description or one that says the same. */
bool heap_layout_same(const heap_layout *l, const tri_type *type);
/* Fills a zeroed layout of single objects, all but `id`. -ENOMEM. The type was checked. */
int heap_layout_make(tri_type *type, heap_layout *l);
/* What heap_layout_make() allocated; copies of the layout share it. */
void heap_layout_free(heap_layout *l);

#endif
