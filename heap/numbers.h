/* Span structures and bitmap records: span.c's storage. */
#ifndef HEAP_NUMBERS_H
#define HEAP_NUMBERS_H

#include "heap/heap.h"

/* The largest record, in words of 8 bytes: a mixed span of 1,024 slots has 3 * 17 words of bitmaps
 * and 512 of layout numbers. */
#define HEAP_RECORD_MAX 576

struct heap_numbers {
    bool valgrind; /* constant */
    uint32_t max;  /* constant: numbers from 1 up to below this one */
    uint64_t bits_max;

    os_mutex lock;
    uint32_t next; /* never used so far */
    uint32_t free; /* list of numbers, linked by `first` */
    uint32_t inuse;
    uint64_t bits_next;                         /* words carved so far */
    uint32_t free_records[HEAP_RECORD_MAX + 1]; /* by words; linked by their last word */
};

#endif
