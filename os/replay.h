// Random decisions of a torture build, which a seed replays.
//
// Each thread draws from a stream of its own, which follows from the seed and the thread's number: threads
// are numbered in the order in which they are started, others at their first decision. So with the same
// seed a thread decides the same things in the same order. What the threads do at which moment relative to
// each other is the kernel's, and no seed brings it back.

#ifndef OS_REPLAY_H
#define OS_REPLAY_H

#include <stdbool.h>
#include <stdint.h>

#ifdef TRI_DELAYS

// Restarts all streams from it. Not to be called while other threads draw.
void os_replay_seed(uint64_t seed);
// The seed in use; chosen at the first call if nobody did.
uint64_t os_replay_get_seed(void);

// Says on standard error how to replay, if there is a seed. Async-signal-safe.
void os_replay_tell(void);

// Uniform in [0, n), n > 0. Any thread; async-signal-safe once the seed is chosen.
uint32_t os_replay_below(uint32_t n);

// A number for a thread that is about to be started, and the thread's taking it over.
uint32_t os_replay_number(void);
void os_replay_begin(uint32_t number);

#else

static inline void os_replay_tell(void) {}
static inline uint32_t os_replay_number(void)
{
    return 0;
}
static inline void os_replay_begin(uint32_t number)
{
    (void)number;
}

#endif

#endif
