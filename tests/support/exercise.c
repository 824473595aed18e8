/* See exercise.h. Each program ends in less than half a second, with every heap destroyed. */

#include "support/exercise.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <tricolor/tricolor.h>
#include <unistd.h>

#include "heap/heap.h"
#include "os/thread.h"

#define MS 1000000

/* ---- checks ------------------------------------------------------------------------------------ */

static _Noreturn void give_up(const char *format, ...) __attribute__((format(printf, 1, 2)));
static _Noreturn void give_up(const char *format, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    dprintf(STDERR_FILENO, "exercise: wrong: %s\n", text);
    _exit(2);
}

static void note(const char *function, int err)
{
    dprintf(STDERR_FILENO, "exercise: %s %s\n", function, strerrorname_np(-err));
}

/* Calls a function that returns 0 or an error, and after an error once more. */
#define CALL(function, ...)                                                 \
    do {                                                                    \
        int err_ = function(__VA_ARGS__);                                   \
        if (err_) {                                                         \
            note(#function, err_);                                          \
            err_ = function(__VA_ARGS__);                                   \
            if (err_)                                                       \
                give_up("%s failed twice: %s", #function, strerror(-err_)); \
        }                                                                   \
    } while (0)

#define CHECK(condition)               \
    do {                               \
        if (!(condition))              \
            give_up("%s", #condition); \
    } while (0)

/* ---- objects ----------------------------------------------------------------------------------- */

typedef struct bead {
    struct bead *next;
    uint64_t value, sum;
} bead;
TRI_TYPE(bead_type, bead, next);

/* Pointers beyond its 64th word. */
typedef struct wide {
    uint64_t before[70];
    bead *list;
} wide;
TRI_TYPE(wide_type, wide, list);

/* Too large for the slots of a waiter. */
typedef struct parcel {
    uint64_t words[40];
    bead *list;
} parcel;
TRI_TYPE(parcel_type, parcel, list);

static uint64_t sum_of(uint64_t value)
{
    return (value + 0x9e3779b97f4a7c15) * 0xbf58476d1ce4e5b9;
}

static bead *list_new(uint64_t length, uint64_t first)
{
    bead *list = NULL;
    for (uint64_t i = 0; i < length; i++)
        list = tri_make(bead_type, .next = list, .value = first + i, .sum = sum_of(first + i));
    return list;
}

static void list_check(const bead *list, uint64_t length, uint64_t first)
{
    for (uint64_t i = length; i-- > 0; list = list->next) {
        CHECK(list);
        CHECK(list->value == first + i);
        CHECK(list->sum == sum_of(first + i));
    }
    CHECK(!list);
}

/* ---- coroutines -------------------------------------------------------------------------------- */

#define SLEEPERS 140 /* more than a timer heap begins with */
#define SENT     40

static struct {
    tri_waitgroup done;
    tri_mutex mutex;
    uint64_t counter;
    bead *root;
    tri_chan *letters, *parcels; /* in a root */
    _Atomic bool stop;
} shared;

static void sleeper(void *arg)
{
    bead *list = arg;
    tri_sleep(MS);
    list_check(list, 3, 5);
    tri_mutex_lock(&shared.mutex);
    shared.counter++;
    tri_mutex_unlock(&shared.mutex);
    tri_waitgroup_done(&shared.done);
}

static void sender(void *arg)
{
    (void)arg;
    for (uint64_t i = 0; i < SENT; i++) {
        bead *list = list_new(50, i);
        CHECK(tri_chan_send(shared.letters, &list) == 0);
        parcel p = {.words = {i}, .list = list_new(20, i)};
        CHECK(tri_chan_send(shared.parcels, &p) == 0);
    }
    tri_waitgroup_done(&shared.done);
}

static void receiver(void *arg)
{
    (void)arg;
    for (uint64_t i = 0; i < SENT; i++) {
        bead *list;
        parcel p;
        CHECK(tri_chan_recv(shared.letters, &list) == 1);
        list_check(list, 50, i);
        CHECK(tri_chan_recv(shared.parcels, &p) == 1);
        CHECK(p.words[0] == i);
        list_check(p.list, 20, i);
    }
    tri_waitgroup_done(&shared.done);
}

static void nap(void *arg)
{
    usleep(*(unsigned *)arg);
}

static void blocker(void *arg)
{
    bead *list = arg;
    unsigned us = 3000;
    tri_blocking(nap, &us);
    list_check(list, 30, 1);
    tri_waitgroup_done(&shared.done);
}

/* No runtime call for longer than a slice: is demoted, and comes back. */
static void busy(void *arg)
{
    bead *list = arg;
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do
        clock_gettime(CLOCK_MONOTONIC, &now);
    while ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / MS < 30);
    list_check(list, 30, 1);
    tri_waitgroup_done(&shared.done);
}

static void yielder(void *arg)
{
    (void)arg;
    while (!atomic_load(&shared.stop)) {
        list_check(list_new(100, 9), 100, 9);
        tri_yield();
    }
    tri_waitgroup_done(&shared.done);
}

static void deep(void *arg)
{
    volatile char frame[100000];
    memset((void *)frame, 1, sizeof frame);
    list_check(arg, 30, 1);
    tri_waitgroup_done(&shared.done);
}

static void start(void (*fn)(void *), void *arg)
{
    tri_waitgroup_add(&shared.done, 1);
    CALL(tri_go_named, fn, arg, "exercise");
}

static bool count_type(void *arg, const tri_type_stats *stats)
{
    *(uint64_t *)arg += stats->mallocs > 0;
    return true;
}

static void read_everything(tri_heap *h)
{
    tri_memstats *m = malloc(sizeof *m);
    tri_latency l;
    uint64_t types = 0;
    CHECK(m);
    CHECK(tri_read_memstats(h, m) == 0);
    CHECK(m->mallocs >= m->frees && m->heap_sys == m->heap_idle + m->heap_inuse);
    free(m);
    CHECK(tri_read_interruptions(h, TRI_INTERRUPTION_ALL, &l) == 0);
    CHECK(tri_mmu(h, 10 * MS) >= 0);
    tri_each_type(h, count_type, &types);
    CHECK(types > 0);
}

/* Large ones, wide ones, arrays, and their end. */
static void shapes(tri_heap *h)
{
    bead **table = tri_new_array(&tri_pointers, 9000);
    wide *w = tri_new(&wide_type);
    tri_set(&w->list, list_new(10, 3));
    for (int i = 0; i < 9000; i += 1000)
        tri_set(&table[i], list_new(10, (uint64_t)i));
    for (int i = 0; i < 20; i++)
        memset(tri_new_array(&tri_bytes, 300000), 1, 300000);
    CHECK(tri_try_new_array(&tri_bytes, (size_t)1 << 50) == NULL);
    CALL(tri_collect, h);
    list_check(w->list, 10, 3);
    for (int i = 0; i < 9000; i += 1000)
        list_check(table[i], 10, (uint64_t)i);
    CALL(tri_free_os_memory, h);
    list_check(w->list, 10, 3);
    tri_keep_alive(table);
}

static void on_thread_of_run(void *arg)
{
    list_check(arg, 30, 1);
    list_check(list_new(2000, 4), 2000, 4);
}

static void first_coroutine(void *arg)
{
    tri_heap *h = tri_current_heap();
    tri_thread *thread;
    (void)arg;
    bead *mine = list_new(1000, 7);
    CALL(tri_root_add, h, &shared.root, 1);
    CALL(tri_root_add, h, &shared.letters, 2);
    tri_set(&shared.root, list_new(500, 11));
    tri_set(&shared.letters, tri_chan_new(&tri_pointers, 4));
    tri_set(&shared.parcels, tri_chan_new(&parcel_type, 0));
    for (int i = 0; i < SLEEPERS; i++)
        start(sleeper, list_new(3, 5));
    start(sender, NULL);
    start(receiver, NULL);
    start(blocker, list_new(30, 1));
    start(busy, list_new(30, 1));
    tri_waitgroup_add(&shared.done, 1);
    CALL(tri_go_sized, deep, list_new(30, 1), (size_t)256 << 10);
    tri_waitgroup_add(&shared.done, 1);
    CALL(tri_go, yielder, NULL);
    CALL(tri_thread_start, h, on_thread_of_run, list_new(30, 1), &thread);
    shapes(h);
    CALL(tri_collect, h);
    atomic_store(&shared.stop, true);
    tri_waitgroup_wait(&shared.done);
    CALL(tri_thread_join, thread);
    CALL(tri_collect, h);
    CHECK(shared.counter == SLEEPERS);
    list_check(shared.root, 500, 11);
    list_check(mine, 1000, 7);
    read_everything(h);
    tri_set(&shared.root, NULL);
    CALL(tri_root_remove, h, &shared.root);
    CALL(tri_root_remove, h, &shared.letters);
}

static void coroutines(void)
{
    tri_options o;
    CALL(tri_options_init, &o);
    o.procs = 2;
    o.workers = 2;
    CALL(tri_run, &o, first_coroutine, NULL);
}

/* ---- threads ------------------------------------------------------------------------------------- */

static void worker(void *arg)
{
    bead *list = arg;
    for (uint64_t i = 0; i < 20; i++) {
        bead *more = list_new(500, i);
        list_check(more, 500, i);
        tri_poll();
    }
    list_check(list, 30, 1);
}

/* A stack full of references. */
static void wide_frame(void *arg)
{
    bead *volatile frame[40000];
    for (int i = 0; i < 40000; i++)
        frame[i] = arg;
    CALL(tri_collect, tri_current_heap());
    for (int i = 0; i < 40000; i += 1000)
        list_check(frame[i], 30, 1);
}

static void count_down(void *arg)
{
    tri_sleep(2 * MS);
    list_check(arg, 30, 1);
    tri_waitgroup_done(&shared.done);
}

/* A thread in two heaps. */
static void in_two_heaps(tri_heap *h)
{
    tri_heap *other;
    tri_options o;
    CALL(tri_options_init, &o);
    o.reserve = (size_t)64 << 20;
    CALL(tri_heap_create, &o, &other);
    bead *here = list_new(100, 2);
    CALL(tri_attach, other);
    bead *there = list_new(100, 6);
    CALL(tri_collect, other);
    CALL(tri_collect, h);
    list_check(here, 100, 2);
    list_check(there, 100, 6);
    tri_enter(h);
    list_check(list_new(100, 6), 100, 6);
    CALL(tri_detach, other);
    CALL(tri_heap_destroy, other);
}

/* A scheduler that had nothing to do for long. */
static void coroutines_beside(tri_heap *h)
{
    CALL(tri_sched_start, h, 1);
    unsigned us = 150000;
    tri_blocking(nap, &us);
    start(count_down, list_new(30, 1));
    tri_waitgroup_wait(&shared.done);
    CALL(tri_sched_stop, h);
}

static void threads(void)
{
    tri_heap *h;
    tri_options o;
    tri_thread *t[2];
    CALL(tri_options_init, &o);
    CALL(tri_heap_create, &o, &h);
    CALL(tri_attach, h);
    bead *mine = list_new(1000, 7);
    for (int i = 0; i < 2; i++)
        CALL(tri_thread_start, h, worker, list_new(30, 1), &t[i]);
    wide_frame(list_new(30, 1));
    in_two_heaps(h);
    shapes(h);
    for (int i = 0; i < 2; i++)
        CALL(tri_thread_join, t[i]);
    coroutines_beside(h);
    list_check(mine, 1000, 7);
    read_everything(h);
    CALL(tri_detach, h);
    CALL(tri_heap_destroy, h);
}

/* ---- growth ---------------------------------------------------------------------------------------------- */

#define BLOCKS 140
#define SMALL  80   /* so many leave the heap so small that nothing is warmed ahead */
#define BEADS  8000 /* 192 KB: when they die, a run of pages that is worth releasing */

/* Then slowly enough to be overtaken by whoever warms chunks; then every other block dies, and holes are torn
 * into chunks that have huge pages. */
static void growth(void)
{
    tri_heap *h;
    tri_options o;
    CALL(tri_options_init, &o);
    CALL(tri_heap_create, &o, &h);
    CALL(tri_attach, h);
    bead *blocks[BLOCKS];
    for (uint64_t i = 0; i < BLOCKS; i++) {
        blocks[i] = list_new(BEADS, i);
        if (i >= SMALL)
            nanosleep(&(struct timespec){.tv_nsec = 5 * MS}, NULL);
    }
    for (uint64_t i = 0; i < BLOCKS; i += 2)
        blocks[i] = NULL;
    CALL(tri_free_os_memory, h);
    for (uint64_t i = 1; i < BLOCKS; i += 2)
        list_check(blocks[i], BEADS, i);
    CALL(tri_detach, h);
    CALL(tri_heap_destroy, h);
}

/* ---- chunks in small pages ----------------------------------------------------------------------------- */

#define KEPT      260                     /* more than may be in small pages */
#define KEPT_SIZE (((size_t)1 << 20) + 1) /* more than half a chunk: two do not fit into one */
#define HUGE_SIZE ((size_t)256 << 20)     /* more than is grown ahead */

static TRI_NOINLINE void use_huge_pages(void)
{
    for (int i = 0; i < 4; i++)
        CHECK(((unsigned char *)tri_new_array(&tri_bytes, 3 << 20))[0] == 0);
}

/* Arrays larger than a chunk get chunks in huge pages. They die and the chunks are released, so that these
 * are torn when small spans use them. Then chunk after chunk is used in small pages until these are too
 * many; from there on the heap grows in huge ones. That is a matter of one chunk more or less, which may be
 * lacking; then growth for the first of the last two arrays adds some more. The memory limit keeps the chunks
 * from being warmed before they are used. */
static void small_pages(void)
{
    static void *kept[KEPT + 2];
    tri_heap *h;
    tri_options o;
    CALL(tri_options_init, &o);
    o.memory_limit = (size_t)4 << 20;
    CALL(tri_heap_create, &o, &h);
    CALL(tri_attach, h);
    CALL(tri_root_add, h, kept, KEPT + 2);
    bead *list = list_new(1000, 7);
    use_huge_pages();
    CALL(tri_free_os_memory, h);
    for (int i = 0; i < KEPT; i++)
        tri_set(&kept[i], tri_new_array(&tri_bytes, KEPT_SIZE));
    for (int i = KEPT; i < KEPT + 2; i++)
        tri_set(&kept[i], tri_new_array(&tri_bytes, HUGE_SIZE));
    list_check(list, 1000, 7);
    CALL(tri_root_remove, h, kept);
    CALL(tri_detach, h);
    CALL(tri_heap_destroy, h);
}

/* ---- demotion ---------------------------------------------------------------------------------------- */

static void raise_stop(void *arg)
{
    list_check(arg, 30, 1);
    atomic_store(&shared.stop, true);
    tri_waitgroup_done(&shared.done);
}

/* Makes no call of the library until another coroutine has run, which on one P happens only once this one
 * is demoted. Where there is no membarrier(), nobody is: so for ten seconds at most. */
static void obstinate(void *arg)
{
    bead *list = arg;
    struct timespec from, now;
    start(raise_stop, list_new(30, 1));
    clock_gettime(CLOCK_MONOTONIC, &from);
    do
        clock_gettime(CLOCK_MONOTONIC, &now);
    while (!atomic_load(&shared.stop) && now.tv_sec - from.tv_sec < 10);
    list_check(list, 30, 1);
    tri_waitgroup_done(&shared.done);
}

static void wait_for_obstinate(void *arg)
{
    (void)arg;
    start(obstinate, list_new(30, 1));
    tri_waitgroup_wait(&shared.done);
}

static void demotion(void)
{
    tri_options o;
    CALL(tri_options_init, &o);
    o.procs = 1;
    CALL(tri_run, &o, wait_for_obstinate, NULL);
}

/* ---- deeper stacks than before ------------------------------------------------------------------------- */

static void *deeper(void *arg)
{
    CALL(tri_attach, arg);
    CALL(tri_detach, arg);
    return NULL;
}

/* Once a thread with a larger stack has come, copies of stacks need more room than they had: without it,
 * what the stack refers to is marked at once. */
static void *shallow(void *arg)
{
    tri_heap *h = arg;
    CALL(tri_attach, h);
    bead *list = list_new(1000, 7);
    for (int i = 0; i < 4; i++) {
        pthread_attr_t size;
        pthread_t t;
        CHECK(pthread_attr_init(&size) == 0);
        CHECK(pthread_attr_setstacksize(&size, (size_t)(i + 1) << 20) == 0);
        CHECK(pthread_create(&t, &size, deeper, h) == 0);
        CHECK(pthread_join(t, NULL) == 0);
        CHECK(pthread_attr_destroy(&size) == 0);
        CALL(tri_collect, h);
        list_check(list_new(5000, 1), 5000, 1);
        list_check(list, 1000, 7);
    }
    CALL(tri_detach, h);
    return NULL;
}

static void deeper_stacks(void)
{
    tri_options o;
    tri_heap *h;
    pthread_attr_t size;
    pthread_t t;
    CALL(tri_options_init, &o);
    CALL(tri_heap_create, &o, &h);
    CHECK(pthread_attr_init(&size) == 0);
    CHECK(pthread_attr_setstacksize(&size, (size_t)256 << 10) == 0);
    CHECK(pthread_create(&t, &size, shallow, h) == 0);
    CHECK(pthread_join(t, NULL) == 0);
    CHECK(pthread_attr_destroy(&size) == 0);
    CALL(tri_heap_destroy, h);
}

/* ---- fork ------------------------------------------------------------------------------------------ */

/* gcc's AddressSanitizer does not take the locks of its allocator at fork(): a child can hang in it. */
#ifdef __SANITIZE_ADDRESS__
#define FORK_WORKS false
#else
#define FORK_WORKS true
#endif

/* A child that aborts has said why; its parent then ends with this code. */
#define CHILD_ABORTED 3

static void wait_for(pid_t pid)
{
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT)
        _exit(CHILD_ABORTED);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void child_that_stays(tri_heap *h, const bead *list)
{
    list_check(list, 1000, 7);
    list_check(list_new(3000, 1), 3000, 1);
    CALL(tri_restart, h);
    CALL(tri_collect, h);
    list_check(list, 1000, 7);
    list_check(list_new(3000, 1), 3000, 1);
    CALL(tri_collect, h);
    _exit(0);
}

static void forking_coroutine(void *arg)
{
    (void)arg;
    bead *list = list_new(1000, 7);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        list_check(list_new(3000, 1), 3000, 1);
        unsigned us = 100;
        tri_blocking(nap, &us);
        list_check(list, 1000, 7);
        _exit(0);
    }
    wait_for(pid);
}

static void forks(void)
{
    tri_heap *h;
    tri_options o;
    if (!FORK_WORKS)
        return;
    CALL(tri_options_init, &o);
    CALL(tri_heap_create, &o, &h);
    CALL(tri_attach, h);
    bead *list = list_new(1000, 7);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        child_that_stays(h, list);
    wait_for(pid);
    list_check(list, 1000, 7);
    CALL(tri_detach, h);
    CALL(tri_heap_destroy, h);
    o.procs = 1;
    CALL(tri_run, &o, forking_coroutine, NULL);
}

/* ---- verify=1 ---------------------------------------------------------------------------------------- */

static void verified_coroutine(void *arg)
{
    tri_heap *h = tri_current_heap();
    (void)arg;
    bead *list = list_new(1000, 7);
    for (int i = 0; i < 10; i++)
        start(sleeper, list_new(3, 5));
    for (int i = 0; i < 3; i++) {
        list_check(list_new(3000, 1), 3000, 1);
        CALL(tri_collect, h);
        tri_yield();
    }
    tri_waitgroup_wait(&shared.done);
    list_check(list, 1000, 7);
}

static void *verified_thread(void *arg)
{
    tri_heap *h = arg;
    CALL(tri_attach, h);
    bead *list = list_new(1000, 7);
    for (int i = 0; i < 3; i++) {
        list_check(list_new(3000, 1), 3000, 1);
        CALL(tri_collect, h);
    }
    list_check(list, 1000, 7);
    CALL(tri_detach, h);
    return NULL;
}

/* Runs while it is stopped. */
static void *verified_runner(void *arg)
{
    tri_heap *h = arg;
    CALL(tri_attach, h);
    bead *list = list_new(1000, 7);
    while (!atomic_load(&shared.stop))
        list_check(list_new(100, 1), 100, 1);
    list_check(list, 1000, 7);
    CALL(tri_detach, h);
    return NULL;
}

/* Until the runner was stopped several times, however late it was started. */
static void collect_until_it_stood(tri_heap *h)
{
    CALL(tri_attach, h);
    tri_latency stops = {0};
    for (int i = 0; i < 10000 && stops.count < 5; i++) {
        CALL(tri_collect, h);
        CALL(tri_read_interruptions, h, TRI_INTERRUPTION_VERIFY, &stops);
    }
    CALL(tri_detach, h);
}

static void verified(void)
{
    tri_options o;
    tri_heap *h;
    pthread_t t, runner;
    CALL(tri_options_init, &o);
    o.verify = o.gctrace = true;
    o.reserve = (size_t)64 << 20;
    o.procs = 2;
    CALL(tri_run, &o, verified_coroutine, NULL);
    CALL(tri_heap_create, &o, &h);
    CHECK(pthread_create(&runner, NULL, verified_runner, h) == 0);
    verified_thread(h);
    CHECK(pthread_create(&t, NULL, verified_thread, h) == 0);
    CHECK(pthread_join(t, NULL) == 0);
    collect_until_it_stood(h);
    atomic_store(&shared.stop, true);
    CHECK(pthread_join(runner, NULL) == 0);
    CALL(tri_heap_destroy, h);
}

/* ---- what takes time --------------------------------------------------------------------------------- */

static void many_then_none(void *arg)
{
    (void)arg;
    for (int i = 0; i < 300; i++)
        start(sleeper, list_new(3, 5));
    tri_waitgroup_wait(&shared.done);
    for (int i = 0; i < 25; i++)
        tri_sleep(15 * (int64_t)MS);
    for (int i = 0; i < 300; i++)
        start(sleeper, list_new(3, 5));
    tri_waitgroup_wait(&shared.done);
    CHECK(shared.counter == 600);
}

static void passer(void *arg)
{
    list_check(arg, 1, 5);
    tri_mutex_lock(&shared.mutex);
    shared.counter++;
    tri_mutex_unlock(&shared.mutex);
    tri_waitgroup_done(&shared.done);
}

/* Beyond those that are made a few at a time; on one P they wait until the first waits. */
static void very_many(void *arg)
{
    (void)arg;
    tri_mutex_lock(&shared.mutex); /* should a slice end before */
    for (int i = 0; i < 70000; i++)
        start(passer, list_new(1, 5));
    tri_mutex_unlock(&shared.mutex);
    tri_waitgroup_wait(&shared.done);
    CHECK(shared.counter == 70000);
}

static void crowd(void)
{
    tri_options o;
    CALL(tri_options_init, &o);
    o.procs = 1;
    CALL(tri_run, &o, very_many, NULL);
}

static void unused_stacks(void)
{
    tri_options o;
    CALL(tri_options_init, &o);
    o.procs = 1;
    CALL(tri_run, &o, many_then_none, NULL);
}

/* ---- shared stacks ------------------------------------------------------------------------------------- */

/* Alive while it waits: some stacks' worth of images of several sizes, and one too large for the slabs. */
static void sharer(void *arg)
{
    bead *list = arg;
    volatile char frame[60];
    frame[0] = 1;
    tri_sleep(2 * MS);
    list_check(list, 3, 5);
    CHECK(frame[0] == 1);
    tri_mutex_lock(&shared.mutex);
    shared.counter++;
    tri_mutex_unlock(&shared.mutex);
    tri_waitgroup_done(&shared.done);
}

static void deep_sharer(void *arg)
{
    volatile char frame[30000];
    memset((void *)frame, 7, sizeof frame);
    sharer(arg);
    for (size_t i = 0; i < sizeof frame; i++)
        CHECK(frame[i] == 7);
}

static void first_of_sharers(void *arg)
{
    (void)arg;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 200; i++) {
            tri_waitgroup_add(&shared.done, 1);
            CALL(tri_go_shared, i % 20 ? sharer : deep_sharer, list_new(3, 5));
        }
        CALL(tri_collect, tri_current_heap());
        tri_waitgroup_wait(&shared.done);
    }
    CHECK(shared.counter == 600);
}

static void sharers(void)
{
    tri_options o;
    CALL(tri_options_init, &o);
    o.procs = 2;
    o.sharers = 8;
    o.stack_check = true;
    CALL(tri_run, &o, first_of_sharers, NULL);
}

/* ---- a lock that another thread has ----------------------------------------------------------------------- */

static void *read_stats(void *heap)
{
    tri_memstats s;
    tri_read_memstats(heap, &s);
    return NULL;
}

/* Waiters spin for a while, and whether one goes to sleep is otherwise left to chance. */
static void contended(void)
{
    tri_heap *h;
    pthread_t reader;
    CALL(tri_heap_create, NULL, &h);
    os_mutex_lock(&h->caches_lock);
    CHECK(pthread_create(&reader, NULL, read_stats, h) == 0);
    while (!(atomic_load(&h->caches_lock.word) & OS_MUTEX_ASLEEP))
        usleep(1000);
    os_mutex_unlock(&h->caches_lock);
    CHECK(pthread_join(reader, NULL) == 0);
    CALL(tri_heap_destroy, h);
}

/* ---- barriercheck=1 ------------------------------------------------------------------------------------ */

static void checked(void)
{
#if TRI_DEBUG >= 1
    static bead *roots[100];
    tri_heap *h;
    tri_options o;
    CALL(tri_options_init, &o);
    o.barrier_check = TRI_BARRIER_CHECK_ABORT;
    o.reserve = (size_t)64 << 20;
    CALL(tri_heap_create, &o, &h);
    CALL(tri_attach, h);
    CALL(tri_root_add, h, roots, 100);
    for (uint64_t i = 0; i < 100; i++)
        tri_set(&roots[i], list_new(10, i));
    bead **table = tri_new_array(&tri_pointers, 300000);
    tri_set(&table[0], list_new(10, 3));
    CALL(tri_collect, h);
    for (uint64_t i = 0; i < 100; i++)
        list_check(roots[i], 10, i);
    list_check(table[0], 10, 3);
    CALL(tri_root_remove, h, roots);
    CALL(tri_detach, h);
    CALL(tri_heap_destroy, h);
#endif
}

const exercise exercises[] = {
    {"coroutines", coroutines, NULL},
    {"threads", threads, NULL},
    {"growth", growth, "warm scavenge_batch"},
    {"small pages", small_pages, "huge@arena"},
    {"demotion", demotion, "membarrier.run"},
    {"deeper stacks", deeper_stacks, "snapshot"},
    {"forks", forks, "restart gc_start_threads futex alloc@gc_open"},
    {"verified", verified, "verify forget give_back report futex stand_still"},
    {"contended", contended, "futex.lock"},
    {"crowd", crowd, "g_slab_huge g_slab_free"},
    {"unused stacks", unused_stacks, "trim"},
    {"sharers", sharers, "image region chunk_empty bind_new guard@guard unguard"},
    {"checked", checked, "barrier_log grow_roots clear_shadow make_empty_table"},
    {NULL, NULL, NULL},
};
