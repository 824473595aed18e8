/* What the stress tests share: time, random numbers, magics, workers, collections without end.
 *
 * A stress test compares what is in the heap with what it wrote down in C memory, from several
 * mutators at once, while collections follow each other without a pause. It finds nothing by being
 * run once, and much by being run for long: TRI_STRESS_SECONDS=1800 makes each last half an hour.
 *
 * A check that fails ends the process at once, with one line, where it failed: Criterion's own
 * assertions unwind to the test with longjmp, which no coroutine and no second thread can do.
 */
#ifndef TESTS_SUPPORT_STRESS_H
#define TESTS_SUPPORT_STRESS_H

#include <stdatomic.h>
#include <tricolor/tricolor.h>

/* ---- checks ------------------------------------------------------------------------------------ */

void stress_fail(const char *file, int line, const char *format, ...)
    __attribute__((noreturn, cold, format(printf, 3, 4)));
#define STRESS_CHECK(condition, ...)                      \
    do {                                                  \
        if (!(condition))                                 \
            stress_fail(__FILE__, __LINE__, __VA_ARGS__); \
    } while (0)

/* ---- time and numbers -------------------------------------------------------------------------- */

/* How long the test that calls it shall go on: TRI_STRESS_SECONDS, or a second. */
double stress_seconds(void);
/* A time `seconds` from now, and whether it has come. */
int64_t stress_deadline(double seconds);
bool stress_over(int64_t deadline);

/* Splitmix64. */
static inline uint64_t stress_mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

static inline uint64_t stress_random(uint64_t *state)
{
    return stress_mix(*state += 0x632be59bd9b4e019);
}

void *stress_calloc(size_t count, size_t size);

/* ---- collections without end ------------------------------------------------------------------- */

typedef struct stress_collector stress_collector;

/* A thread, not attached, that forces collections one after the other. */
stress_collector *stress_collect(tri_heap *heap);
/* Ends it; the number of collections. */
uint64_t stress_collect_end(stress_collector *c);

/* ---- workers ----------------------------------------------------------------------------------- */

typedef enum stress_mode {
    STRESS_COROUTINES, /* of a scheduler with 2 Ps; the main program is one, too */
    STRESS_THREADS,
    STRESS_BOTH, /* every other worker is a thread */
    STRESS_MODES
} stress_mode;

typedef struct stress_job {
    stress_mode mode;
    bool poll_only;
    unsigned workers;
    tri_options options; /* stack_size and hard_limit; the rest is the environment's */
    /* setup and check run on an attached thread or coroutine, before and after the workers; NULL:
     * nothing. Collections go on all the time. */
    void (*setup)(void *arg);
    void (*work)(void *arg, unsigned index);
    void (*check)(void *arg);
    void *arg;
    uint64_t cycles; /* out: collections that ran meanwhile */
} stress_job;

/* Makes a heap, does the job in it, and destroys it. */
void stress_run(stress_job *job);

/* ---- dying children ---------------------------------------------------------------------------- */

/* Runs fn(arg) in a child of this process, and gives what it wrote to standard error (at most
 * size - 1 bytes). The status is that of waitpid(). */
int stress_in_child(void (*fn)(void *), void *arg, char *said, size_t size);

#endif
