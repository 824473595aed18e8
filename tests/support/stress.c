/* Running a stress test: its heap, its workers, its endless collections, its dying children.
 *
 * Each job gets a heap of its own, made and destroyed here, so that destroying one with a history
 * of thousands of cycles is tested by every stress test, too.
 */
#include "support/stress.h"

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "os/replay.h"

void stress_fail(const char *file, int line, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "%s:%d: %s\n", file, line, text);
    os_replay_tell();
    abort();
}

/* ---- time and memory --------------------------------------------------------------------------- */

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

double stress_seconds(void)
{
    const char *text = getenv("TRI_STRESS_SECONDS");
    double seconds = text ? atof(text) : 0;
    return seconds > 0 ? seconds : 1;
}

int64_t stress_deadline(double seconds)
{
    return now() + (int64_t)(seconds * 1e9);
}

bool stress_over(int64_t deadline)
{
    return now() >= deadline;
}

void *stress_calloc(size_t count, size_t size)
{
    void *p = calloc(count, size);
    STRESS_CHECK(p, "no C memory");
    return p;
}

/* ---- collections without end ------------------------------------------------------------------- */

struct stress_collector {
    tri_heap *heap;
    pthread_t thread;
    _Atomic bool stop;
    uint64_t cycles;
};

static void *collect(void *arg)
{
    stress_collector *c = arg;
    for (; !atomic_load(&c->stop); c->cycles++)
        STRESS_CHECK(tri_collect(c->heap) == 0, "a collection was refused");
    return NULL;
}

stress_collector *stress_collect(tri_heap *heap)
{
    stress_collector *c = stress_calloc(1, sizeof *c);
    c->heap = heap;
    STRESS_CHECK(pthread_create(&c->thread, NULL, collect, c) == 0, "no thread");
    return c;
}

static void join(void *arg)
{
    pthread_join(((stress_collector *)arg)->thread, NULL);
}

uint64_t stress_collect_end(stress_collector *c)
{
    atomic_store(&c->stop, true);
    tri_blocking(join, c);
    uint64_t cycles = c->cycles;
    free(c);
    return cycles;
}

/* ---- workers ----------------------------------------------------------------------------------- */

typedef struct crew {
    stress_job *job;
    tri_waitgroup running;
    struct worker {
        struct crew *crew;
        unsigned index;
        tri_thread *thread;
    } * workers;
} crew;

static void work(void *arg)
{
    struct worker *w = arg;
    w->crew->job->work(w->crew->job->arg, w->index);
    tri_waitgroup_done(&w->crew->running);
}

static bool is_thread(const stress_job *job, unsigned index)
{
    return job->mode == STRESS_THREADS || (job->mode == STRESS_BOTH && index % 2);
}

static void start(crew *c, unsigned index)
{
    struct worker *w = &c->workers[index];
    *w = (struct worker){.crew = c, .index = index};
    int error = is_thread(c->job, index) ? tri_thread_start(tri_current_heap(), work, w, &w->thread)
                                         : tri_go(work, w);
    STRESS_CHECK(error == 0, "worker %u does not start: %s", index, strerror(-error));
}

static void run_job(void *arg)
{
    stress_job *job = arg;
    crew c = {.job = job, .workers = stress_calloc(job->workers, sizeof *c.workers)};
    if (job->setup)
        job->setup(job->arg);
    stress_collector *collector = stress_collect(tri_current_heap());
    tri_waitgroup_add(&c.running, (int)job->workers);
    for (unsigned i = 0; i < job->workers; i++)
        start(&c, i);
    tri_waitgroup_wait(&c.running);
    for (unsigned i = 0; i < job->workers; i++)
        if (c.workers[i].thread)
            tri_thread_join(c.workers[i].thread);
    if (job->check)
        job->check(job->arg);
    job->cycles = stress_collect_end(collector);
    free(c.workers);
}

static void run_attached(stress_job *job)
{
    tri_heap *heap;
    STRESS_CHECK(tri_heap_create(&job->options, &heap) == 0, "no heap");
    STRESS_CHECK(tri_attach(heap) == 0, "cannot attach");
    if (job->mode == STRESS_BOTH)
        STRESS_CHECK(tri_sched_start(heap, 2) == 0, "no scheduler");
    run_job(job);
    if (job->mode == STRESS_BOTH)
        STRESS_CHECK(tri_sched_stop(heap) == 0, "the scheduler does not stop");
    STRESS_CHECK(tri_detach(heap) == 0, "cannot detach");
    int error = tri_heap_destroy(heap);
    STRESS_CHECK(error == 0, "the heap cannot be destroyed: %s", strerror(-error));
}

void stress_run(stress_job *job)
{
    tri_options asked = job->options;
    STRESS_CHECK(tri_options_init(&job->options) == 0, "the environment's options are wrong");
    job->options.poll_only |= job->poll_only;
    if (asked.stack_size)
        job->options.stack_size = asked.stack_size;
    if (asked.hard_limit)
        job->options.hard_limit = asked.hard_limit;
    if (job->mode != STRESS_COROUTINES) {
        run_attached(job);
        return;
    }
    job->options.procs = 2;
    int error = tri_run(&job->options, run_job, job);
    STRESS_CHECK(error == 0, "tri_run: %s", strerror(-error));
}

/* ---- dying children ---------------------------------------------------------------------------- */

static size_t read_all(int from, char *to, size_t size)
{
    size_t have = 0;
    char rest[256];
    ssize_t got;
    do {
        bool room = have < size - 1;
        got = read(from, room ? to + have : rest, room ? size - 1 - have : sizeof rest);
        if (got > 0 && room)
            have += (size_t)got;
    } while (got > 0);
    to[have] = 0;
    return have;
}

int stress_in_child(void (*fn)(void *), void *arg, char *said, size_t size)
{
    int ends[2], status;
    STRESS_CHECK(pipe(ends) == 0, "no pipe");
    fflush(NULL);
    pid_t pid = fork();
    STRESS_CHECK(pid >= 0, "no process");
    if (pid == 0) {
        /* Criterion's handlers would report the child's end as the test's. */
        signal(SIGABRT, SIG_DFL);
        signal(SIGSEGV, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        fn(arg);
        _exit(0);
    }
    close(ends[1]);
    read_all(ends[0], said, size);
    close(ends[0]);
    STRESS_CHECK(waitpid(pid, &status, 0) == pid, "the child is gone");
    return status;
}
