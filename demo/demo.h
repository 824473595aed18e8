/* What the parts of the demo share: the run, its workers, and how a lost object is noticed.
 *
 * The demo is a user of the library: it includes <tricolor/tricolor.h> and nothing else of it. Each
 * part (trees, graph, passing, keepers) starts workers, which go on until `stop`, and then says
 * whether what it has in the heap agrees with what it wrote down outside.
 *
 * Why magics and not only sums: memory that is freed by mistake is zeroed and given to somebody
 * else within milliseconds, but a sum at the end could be right again by then. So every object
 * carries a word that follows from its identity, and whoever visits the object computes it anew.
 *
 * All of this lives in C memory: the collector never sees it, and so cannot spoil it.
 */
#ifndef DEMO_DEMO_H
#define DEMO_DEMO_H

#include <stdatomic.h>
#include <tricolor/tricolor.h>

typedef struct demo_options {
    unsigned seconds;
    unsigned procs;
    size_t live; /* bytes of the live graph */
    bool trace, threads, poll;
} demo_options;

typedef struct demo_crew demo_crew;

typedef struct demo {
    demo_options options;
    tri_heap *heap;
    demo_crew *crew;
    _Atomic bool stop;
    _Atomic uint64_t faults;
    size_t rss_peak;
} demo;

/* ---- workers (crew.c) ------------------------------------------------------------------------ */

/* As many workers as may be cheap coroutines, or have to be threads. */
unsigned demo_many(const demo *d, unsigned coroutines, unsigned threads);
/* Starts fn(arg) as a coroutine or an attached thread; exits when it cannot. */
void demo_start(demo *d, const char *name, void (*fn)(void *), void *arg);
/* Waits until all have returned. */
void demo_join(demo *d);

static inline bool demo_stopped(demo *d)
{
    return atomic_load_explicit(&d->stop, memory_order_relaxed);
}

/* ---- magics and faults (fault.c) -------------------------------------------------------------- */

/* Splitmix64: neighbouring numbers get unrelated magics, and no magic is 0 in practice. */
static inline uint64_t demo_mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

/* The next of a worker's own random numbers. */
static inline uint64_t demo_random(uint64_t *state)
{
    return demo_mix(*state += 0x632be59bd9b4e019);
}

/* Notes a checksum that does not agree; the first few are shown. */
void demo_fault(demo *d, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

/* Ends the program when C memory is short: not what is shown here. */
void *demo_calloc(size_t count, size_t size);

/* A counter of one worker, read by others at any time. */
typedef _Atomic uint64_t demo_count;
static inline void demo_add(demo_count *c, uint64_t n)
{
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

/* ---- parts ------------------------------------------------------------------------------------ */

/* Each starts its workers; and, when they have ended, checks what is left and prints a line about
 * what was done. */
void trees_start(demo *d);
void trees_finish(demo *d);
void graph_start(demo *d);
void graph_finish(demo *d);
void passing_start(demo *d);
void passing_finish(demo *d);
void keepers_start(demo *d);
void keepers_finish(demo *d);

/* ---- what the user sees ----------------------------------------------------------------------- */

/* Draws a bar until the time is over, and watches the resident memory meanwhile. */
void progress_until_done(demo *d);

/* What the whole run showed, as a table on standard output. */
typedef struct report report;
report *report_begin(demo *d);
/* The measuring ends here, while the workers still work. */
void report_end(report *r);
/* The workers have ended, what they made is still there. */
void report_live(report *r);
void report_print(report *r);

/* 12345678 as 12,345,678, in one of a few buffers that are used in turn. */
const char *report_number(uint64_t n);

/* Bytes that the process has resident now. */
size_t report_rss(void);

#endif
