/* Size classes and the shape of spans. */
#ifndef HEAP_SIZECLASS_H
#define HEAP_SIZECLASS_H

#include "heap/heap.h"

/* Class 0 is not used, so that class numbers are those of Go's MemStats.BySize. */
#define HEAP_SIZE_CLASSES   68
/* The largest span of small objects. Its bytes times the largest slot are 2^32: see heap_magic(). */
#define HEAP_SPAN_PAGES_MAX 16

extern const uint16_t heap_class_sizes[HEAP_SIZE_CLASSES];

/* The smallest class that holds `bytes`, 1 <= bytes <= HEAP_SMALL_MAX. */
uint32_t heap_size_class(size_t bytes);

/* Pages of a span of slots of `size` bytes, a multiple of 8 up to HEAP_SMALL_MAX. */
uint32_t heap_span_pages(size_t size);

/* ceil(2^32 / size): offset * magic >> 32 is offset / size for all offsets in a span. */
uint32_t heap_magic(size_t size);

#endif
