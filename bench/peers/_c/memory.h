/* The allocation interface of the C programs: one source for malloc and free, whichever library they come from, and
 * for the Boehm collector. What is hot is inline, so that nothing stands between a workload and its allocator.
 *
 * Without a collector, what dies is given to memory_free(), and what is allocated is not cleared: a workload writes
 * the fields that it reads. With one, memory_free() does nothing, and data without pointers is allocated as such.
 * A failed allocation ends the program: a benchmark that ran out of memory has no result.
 */
#ifndef PEERS_MEMORY_H
#define PEERS_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#ifdef PEER_BOEHM
#define GC_THREADS /* pthread_create() registers its threads with the collector */
#include <gc.h>
#endif
#include <pthread.h>

static inline void *memory_checked(void *p)
{
    if (__builtin_expect(!p, 0))
        abort();
    return p;
}

/* An object that may hold pointers. */
static inline void *memory_new(size_t size)
{
#ifdef PEER_BOEHM
    return memory_checked(GC_MALLOC(size));
#else
    return memory_checked(malloc(size));
#endif
}

/* One that holds none. */
static inline void *memory_new_flat(size_t size)
{
#ifdef PEER_BOEHM
    return memory_checked(GC_MALLOC_ATOMIC(size));
#else
    return memory_checked(malloc(size));
#endif
}

/* A large array of null pointers, to whose beginning a pointer is kept for as long as it lives. */
static inline void *memory_new_array(size_t n)
{
#ifdef PEER_BOEHM
    return memory_checked(GC_MALLOC_IGNORE_OFF_PAGE(n * sizeof(void *)));
#else
    return memory_checked(calloc(n, sizeof(void *)));
#endif
}

static inline void memory_free(void *p)
{
#ifdef PEER_BOEHM
    (void)p;
#else
    free(p);
#endif
}

#ifdef PEER_BOEHM
enum { MEMORY_COLLECTS = true };
#else
enum { MEMORY_COLLECTS = false };
#endif

void memory_init(void);
void memory_expect(size_t heap);   /* a collector is given a heap of so many bytes to begin with */
void memory_print_info(void);      /* version and settings */
void memory_collect(void);         /* only where MEMORY_COLLECTS */
void memory_print_collector(void); /* cycles, processor time and pauses, if there is a collector */

#endif
