/* Waiting for each other: wait groups and mutexes.
 *
 * Plain structs, zero when unused, to be embedded anywhere (in C memory, in managed objects, on a
 * stack); they hold no managed pointers. They work for coroutines and threads alike, in any mixture,
 * attached or not. A coroutine that waits parks; a thread that waits blocks, and the collector does
 * not wait for it.
 */
#ifndef TRICOLOR_SYNC_H
#define TRICOLOR_SYNC_H

#include <tricolor/base.h>

TRI_BEGIN_DECLS

/* Counts work that is under way. */
typedef struct tri_waitgroup {
    uint64_t state_; /* count << 32 | waiters */
    uint32_t lock_;
    uint32_t pad_;
    void *waiters_;
} tri_waitgroup;

#define TRI_WAITGROUP_INIT \
    {                      \
        0, 0, 0, 0         \
    }

/* Adds `n`, which may be negative, to the count. At zero all that wait go on. A count below zero, or
 * above 2^31 - 1, aborts. */
TRI_API void tri_waitgroup_add(tri_waitgroup *wg, int n);
/* tri_waitgroup_add(wg, -1) */
TRI_API void tri_waitgroup_done(tri_waitgroup *wg);
/* Waits until the count is zero. What was done before each tri_waitgroup_done() is visible after
 * it. */
TRI_API void tri_waitgroup_wait(tri_waitgroup *wg);

/* Mutual exclusion. Not recursive. Whoever unlocks it need not be whoever locked it. First come,
 * first served among those that have waited a millisecond; before that, whoever is fastest. */
typedef struct tri_mutex {
    uint32_t word_; /* 1: locked, 2: somebody waits */
    uint32_t lock_;
    void *first_, *last_;
} tri_mutex;

#define TRI_MUTEX_INIT \
    {                  \
        0, 0, 0, 0     \
    }

TRI_API void tri_mutex_lock(tri_mutex *m);
/* False: somebody holds it. */
TRI_API bool tri_mutex_trylock(tri_mutex *m);
/* Aborts if it is not locked. */
TRI_API void tri_mutex_unlock(tri_mutex *m);

TRI_END_DECLS

#endif
