/* What a torture build does to a program, and the options that only such builds have. */
#ifndef GC_TORTURE_H
#define GC_TORTURE_H

#include <errno.h>

#include "gc/gc.h"

#ifdef TRI_DELAYS

/* seed=, every=, delay=, sabotage=: for the whole process. -ENOENT: none of these. -EINVAL: a bad value. */
int gc_torture_option(const char *name, const char *value);
/* A heap is created: says once with which seed, and what is left out. */
void gc_torture_open(void);

#else

static inline int gc_torture_option(const char *name, const char *value)
{
    (void)name, (void)value;
    return -ENOENT;
}
static inline void gc_torture_open(void) {}

#endif

#ifdef TRI_TORTURE
/* An allocation takes the slow path, as nearly all do: every so often it starts a cycle. */
void gc_torture_allocation(gc_mutator *m);
#else
static inline void gc_torture_allocation(gc_mutator *m)
{
    (void)m;
}
#endif

#endif
