/* Vacant chunks are touched before they are needed. */
#ifndef HEAP_WARMER_H
#define HEAP_WARMER_H

#include "heap/heap.h"

/* Warms one chunk, if more of them should be warm. False: there is nothing to do; hooks.cold says when to
 * come again. One thread at a time; may take the system milliseconds. */
bool heap_warm_one(tri_heap *h);

#endif
