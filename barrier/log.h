/* The log behind barriercheck=1: what the barrier saw, word by word, and where each object was made.
 * Builds without TRI_DEBUG have none of it: everything here is empty there. */
#ifndef BARRIER_LOG_H
#define BARRIER_LOG_H

#include "barrier/barrier.h"

#if TRI_DEBUG >= 1

static inline bool barrier_logging(const tri_heap *h)
{
    return h->log != NULL;
}

/* Life; opening does nothing unless options.barrier_check asks for it. -ENOMEM. */
int barrier_log_open(tri_heap *h);
void barrier_log_close(tri_heap *h);

/* The run table that a mutator shows to the inline allocation: one without a slot. */
tri_slots *barrier_log_runs(const tri_heap *h);

/* ---- stores ----------------------------------------------------------------------------------- */

void barrier_log_lock(gc_mutator *m, const void *slot);
void barrier_log_record(gc_mutator *m, const void *slot, uintptr_t value);
void barrier_log_unlock(gc_mutator *m, const void *slot);

/* Around a store of `value` into `slot`, in its busy unit. begin also looks whether somebody stored
 * there without the barrier. */
static inline void barrier_log_begin(tri_mutator *pub, const void *slot)
{
    if (TRI_UNLIKELY(pub->barrier & TRI_LOG))
        barrier_log_lock((gc_mutator *)pub, slot);
}
static inline void barrier_log_end(tri_mutator *pub, const void *slot, const void *value)
{
    if (TRI_UNLIKELY(pub->barrier & TRI_LOG))
        barrier_log_record((gc_mutator *)pub, slot, (uintptr_t)value);
}
/* Instead of end: nothing was stored. */
static inline void barrier_log_cancel(tri_mutator *pub, const void *slot)
{
    if (TRI_UNLIKELY(pub->barrier & TRI_LOG))
        barrier_log_unlock((gc_mutator *)pub, slot);
}

/* ---- objects ---------------------------------------------------------------------------------- */

/* What the mutator was told about where its next object is made, or else the address of the caller. */
uint64_t barrier_log_site(gc_mutator *m, const void *caller);
/* An out-of-line allocation function tells its caller, if nobody told better. */
void barrier_log_caller(const void *caller);
/* A new object (NULL: there is none) before anybody else can see it. `make`: its first contents are still
 * to come, in the same unit. in_runtime. */
void barrier_log_born(gc_mutator *m, void *object, uint64_t site, bool make);
/* What `make` announced is complete. Own thread in a unit, or whoever holds the mutator. */
void barrier_log_settle_slow(gc_mutator *m);
static inline void barrier_log_settle(gc_mutator *m)
{
    if (m->made)
        barrier_log_settle_slow(m);
}
/* The sweep's hook. */
void barrier_log_freed(const tri_heap *h, uintptr_t slot);

/* ---- roots ------------------------------------------------------------------------------------ */

/* -ENOMEM. `site` is what the report calls the place of registration. */
int barrier_log_root_add(tri_heap *h, const void *start, size_t count, const void *site);
void barrier_log_root_remove(tri_heap *h, const void *start, size_t count);

/* ---- check.c ---------------------------------------------------------------------------------- */

/* Compares every object and root. By the collector, while nothing is swept. */
void barrier_log_check(tri_heap *h);
/* Objects only, for the last time; nobody is attached. Says how many faults there were, if any. */
void barrier_log_end_of_heap(tri_heap *h);
uint64_t barrier_log_faults(const tri_heap *h);

/* ---- fork ------------------------------------------------------------------------------------- */

/* Until release no store is between its slot and its record. */
void barrier_log_fork_prepare(tri_heap *h);
void barrier_log_fork_release(tri_heap *h);

#else

static inline bool barrier_logging(const tri_heap *h)
{
    (void)h;
    return false;
}
static inline int barrier_log_open(tri_heap *h)
{
    (void)h;
    return 0;
}
static inline void barrier_log_close(tri_heap *h)
{
    (void)h;
}
static inline tri_slots *barrier_log_runs(const tri_heap *h)
{
    (void)h;
    return NULL;
}
static inline void barrier_log_begin(tri_mutator *pub, const void *slot)
{
    (void)pub, (void)slot;
}
static inline void barrier_log_end(tri_mutator *pub, const void *slot, const void *value)
{
    (void)pub, (void)slot, (void)value;
}
static inline void barrier_log_cancel(tri_mutator *pub, const void *slot)
{
    (void)pub, (void)slot;
}
static inline uint64_t barrier_log_site(gc_mutator *m, const void *caller)
{
    (void)m, (void)caller;
    return 0;
}
static inline void barrier_log_caller(const void *caller)
{
    (void)caller;
}
static inline void barrier_log_born(gc_mutator *m, void *object, uint64_t site, bool make)
{
    (void)m, (void)object, (void)site, (void)make;
}
static inline void barrier_log_settle(gc_mutator *m)
{
    (void)m;
}
static inline void barrier_log_freed(const tri_heap *h, uintptr_t slot)
{
    (void)h, (void)slot;
}
static inline int barrier_log_root_add(tri_heap *h, const void *start, size_t count,
                                       const void *site)
{
    (void)h, (void)start, (void)count, (void)site;
    return 0;
}
static inline void barrier_log_root_remove(tri_heap *h, const void *start, size_t count)
{
    (void)h, (void)start, (void)count;
}
static inline void barrier_log_check(tri_heap *h)
{
    (void)h;
}
static inline void barrier_log_end_of_heap(tri_heap *h)
{
    (void)h;
}
static inline uint64_t barrier_log_faults(const tri_heap *h)
{
    (void)h;
    return 0;
}
static inline void barrier_log_fork_prepare(tri_heap *h)
{
    (void)h;
}
static inline void barrier_log_fork_release(tri_heap *h)
{
    (void)h;
}

#endif

/* The mutator's barrier state changes; that it logs does not. */
static inline void barrier_turn(gc_mutator *m, uint8_t shades)
{
    m->pub.barrier = barrier_logging(m->heap) ? shades | TRI_LOG : shades;
}

#endif
