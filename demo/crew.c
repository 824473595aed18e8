/* Workers: the same functions as coroutines or as attached threads.
 *
 * The parts of the demo do not know which they are. What differs is how many one can afford, and
 * how one waits for their end: a wait group for coroutines, a join for threads. A wait group would
 * do for threads too, but a thread that has called tri_waitgroup_done() is still attached for a
 * moment, and the heap could then not be destroyed.
 */
#include "demo.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_THREADS 256

typedef struct worker {
    demo_crew *crew;
    void (*fn)(void *);
    void *arg;
} worker;

struct demo_crew {
    tri_waitgroup running;
    tri_thread *threads[MAX_THREADS];
    unsigned count;
};

static void work(void *arg)
{
    worker w = *(worker *)arg;
    free(arg);
    w.fn(w.arg);
    tri_waitgroup_done(&w.crew->running);
}

unsigned demo_many(const demo *d, unsigned coroutines, unsigned threads)
{
    return d->options.threads ? threads : coroutines;
}

static void start_failed(int error)
{
    fprintf(stderr, "tricolor-demo: cannot start a worker: %s\n", strerror(-error));
    exit(1);
}

void demo_start(demo *d, const char *name, void (*fn)(void *), void *arg)
{
    if (!d->crew)
        d->crew = demo_calloc(1, sizeof *d->crew);
    demo_crew *crew = d->crew;
    worker *w = demo_calloc(1, sizeof *w);
    *w = (worker){crew, fn, arg};
    tri_waitgroup_add(&crew->running, 1);
    int error;
    if (!d->options.threads)
        error = tri_go_named(work, w, name);
    else if (crew->count == MAX_THREADS)
        error = -EAGAIN;
    else
        error = tri_thread_start(d->heap, work, w, &crew->threads[crew->count]);
    if (error)
        start_failed(error);
    crew->count += d->options.threads;
}

void demo_join(demo *d)
{
    demo_crew *crew = d->crew;
    tri_waitgroup_wait(&crew->running);
    for (unsigned i = 0; i < crew->count; i++)
        tri_thread_join(crew->threads[i]);
    free(crew);
    d->crew = NULL;
}
