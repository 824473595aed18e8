/* sched: what the scheduler's own operations cost, each part in a loop of its own.
 *
 * Channels are handed to coroutines in a managed object, since their creator's stack is no place for
 * what others can reach.
 */
#include "bench.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

TRI_TYPE(number, uint64_t);

/* What the coroutines of one part share. */
struct job {
    tri_chan *to, *from;
    uint64_t n;
};
TRI_TYPE(job, struct job, to, from);

static tri_waitgroup done, senders;
static tri_mutex lock;
static uint64_t counter; /* under lock */
static _Atomic uint64_t total;

static void add_total(uint64_t n)
{
    atomic_fetch_add_explicit(&total, n, memory_order_relaxed);
}

/* ---- yield -------------------------------------------------------------------------------------- */

#define YIELDERS 8

static void yield_loop(void *arg)
{
    uint64_t n = (uintptr_t)arg;
    for (uint64_t i = 0; i < n; i++)
        tri_yield();
    add_total(n);
    tri_waitgroup_done(&done);
}

static void yield(uint64_t n)
{
    tri_waitgroup_add(&done, YIELDERS);
    for (int i = 0; i < YIELDERS; i++)
        bench_go(yield_loop, (void *)(uintptr_t)(n / YIELDERS));
    tri_waitgroup_wait(&done);
}

/* ---- channels ----------------------------------------------------------------------------------- */

static void echo(void *arg)
{
    struct job *j = arg;
    uint64_t v;
    while (tri_chan_recv(j->to, &v)) {
        v++;
        tri_chan_send(j->from, &v);
    }
    tri_waitgroup_done(&done);
}

static void pingpong(uint64_t n)
{
    struct job *j = tri_make(job, .n = n);
    tri_set(&j->to, tri_chan_new(&number, 0));
    tri_set(&j->from, tri_chan_new(&number, 0));
    tri_waitgroup_add(&done, 1);
    bench_go(echo, j);
    uint64_t sum = 0, v;
    for (uint64_t i = 0; i < n; i++) {
        tri_chan_send(j->to, &i);
        tri_chan_recv(j->from, &v);
        sum += v;
    }
    tri_chan_close(j->to);
    tri_waitgroup_wait(&done);
    add_total(sum);
}

static void produce(void *arg)
{
    struct job *j = arg;
    for (uint64_t i = 0; i < j->n; i++)
        tri_chan_send(j->to, &i);
    tri_waitgroup_done(&senders);
}

static void consume(void *arg)
{
    struct job *j = arg;
    uint64_t sum = 0, v;
    while (tri_chan_recv(j->to, &v))
        sum += v;
    add_total(sum);
    tri_waitgroup_done(&done);
}

static void pipe(uint64_t n, int pairs)
{
    struct job *j = tri_make(job, .n = n / (unsigned)pairs);
    tri_set(&j->to, tri_chan_new(&number, 128));
    tri_waitgroup_add(&senders, pairs);
    tri_waitgroup_add(&done, pairs);
    for (int i = 0; i < pairs; i++) {
        bench_go(consume, j);
        bench_go(produce, j);
    }
    tri_waitgroup_wait(&senders);
    tri_chan_close(j->to);
    tri_waitgroup_wait(&done);
}

static void pipe1(uint64_t n)
{
    pipe(n, 1);
}

static void pipe4(uint64_t n)
{
    pipe(n, 4);
}

/* ---- coroutines and mutexes ---------------------------------------------------------------------- */

#define BATCH 10000

static void add_own(void *arg)
{
    add_total((uintptr_t)arg);
    tri_waitgroup_done(&done);
}

static void spawn_join(uint64_t n)
{
    for (uint64_t batch = 0; batch < n / BATCH; batch++) {
        tri_waitgroup_add(&done, BATCH);
        for (uintptr_t i = 0; i < BATCH; i++)
            bench_go(add_own, (void *)i);
        tri_waitgroup_wait(&done);
    }
}

static void lock_loop(void *arg)
{
    uint64_t n = (uintptr_t)arg;
    for (uint64_t i = 0; i < n; i++) {
        tri_mutex_lock(&lock);
        counter++;
        tri_mutex_unlock(&lock);
    }
    tri_waitgroup_done(&done);
}

static void lock_by(uint64_t n, unsigned coroutines)
{
    counter = 0;
    tri_waitgroup_add(&done, (int)coroutines);
    for (unsigned i = 0; i < coroutines; i++)
        bench_go(lock_loop, (void *)(uintptr_t)(n / coroutines));
    tri_waitgroup_wait(&done);
    add_total(counter);
}

static void mutex_uncontended(uint64_t n)
{
    lock_by(n, 1);
}

static void mutex_8(uint64_t n)
{
    lock_by(n, 8);
}

/* ---- sleep --------------------------------------------------------------------------------------- */

#define TICK INT64_C(1000000)

static void sleep_late(bench *b)
{
    static bench_histogram late;
    uint64_t n = bench_scaled(b, 500, 1);
    for (uint64_t i = 0; i < n; i++) {
        int64_t before = bench_now();
        tri_sleep(TICK);
        bench_add(&late, bench_now() - before - TICK);
    }
    bench_print_histogram(b, "sleep_late", &late);
    bench_print_checksum(b, "sleep_late", late.count);
}

/* ---- skynet -------------------------------------------------------------------------------------- */

struct cell {
    tri_chan *parent;
    uint64_t first, size;
};
TRI_TYPE(cell, struct cell, parent);

static void skynet_cell(void *arg)
{
    const struct cell *c = arg;
    if (c->size == 1) {
        tri_chan_send(c->parent, &c->first);
        return;
    }
    tri_chan *children = tri_chan_new(&number, 0);
    for (uint64_t k = 0; k < 10; k++)
        bench_go(skynet_cell,
                 tri_make(cell, .parent = children, .first = c->first + k * (c->size / 10),
                          .size = c->size / 10));
    uint64_t sum = 0, v;
    for (int k = 0; k < 10; k++) {
        tri_chan_recv(children, &v);
        sum += v;
    }
    tri_chan_send(c->parent, &sum);
}

static int64_t skynet_once(uint64_t leaves)
{
    uint64_t sum;
    int64_t begin = bench_now();
    tri_chan *root = tri_chan_new(&number, 0);
    bench_go(skynet_cell, tri_make(cell, .parent = root, .size = leaves));
    tri_chan_recv(root, &sum);
    add_total(sum);
    return bench_now() - begin;
}

static void skynet(bench *b)
{
    unsigned digits = 6 - (b->scale + 2) / 3;
    uint64_t leaves = 100;
    for (unsigned i = 2; i < digits && b->scale < 12; i++)
        leaves *= 10;
    atomic_store(&total, 0);
    bench_print(b, "skynet_cold", (double)skynet_once(leaves) / BENCH_SECOND, "s");
    int64_t warm[3];
    for (int i = 0; i < 3; i++)
        warm[i] = skynet_once(leaves);
    bench_print(b, "skynet_warm", (double)bench_median(warm, 3) / BENCH_SECOND, "s");
    bench_print_checksum(b, "skynet", atomic_load(&total));
}

/* ---- all parts ----------------------------------------------------------------------------------- */

/* n: all operations of the part; least: what its coroutines divide among them. NULL: not there. */
static const struct part {
    const char *name;
    uint64_t n, least;
    void (*run)(uint64_t n);
} parts[] = {
    {"yield", 8 * 500000, YIELDERS, yield},
    {"pingpong_roundtrip", 1000000, 1, pingpong},
    {"chan128_1p1c", 4000000, 1, pipe1},
    {"chan128_4p4c", 4 * 1000000, 4, pipe4},
    {"select4_unbuffered", 0, 0, NULL},
    {"select4_ready", 0, 0, NULL},
    {"spawn_join", 100 * BATCH, BATCH, spawn_join},
    {"mutex_uncontended", 20000000, 1, mutex_uncontended},
    {"mutex_8", 8 * 500000, 8, mutex_8},
};

static bool wanted(const bench *b, const char *part)
{
    return !b->part || strcmp(b->part, part) == 0;
}

/* A multiple of `least`, so that nothing is left over when it is divided. */
static uint64_t whole(uint64_t n, uint64_t least)
{
    return n < least ? least : n - n % least;
}

static void measure(const bench *b, const struct part *p)
{
    if (!p->run) {
        bench_print_missing(b, p->name, "there is no select yet");
        return;
    }
    uint64_t n = whole(bench_scaled(b, p->n, 1), p->least);
    p->run(whole(n / 16, p->least));
    atomic_store(&total, 0);
    int64_t begin = bench_now();
    p->run(n);
    bench_print(b, p->name, (double)(bench_now() - begin) / (double)n, "ns");
    bench_print_checksum(b, p->name, atomic_load(&total));
}

static bool prepare(bench *b)
{
    if (*b->variant && strcmp(b->variant, "1") != 0)
        return false;
    if (!b->options.procs)
        b->options.procs = *b->variant ? 1 : 2;
    return true;
}

static void run(bench *b)
{
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (wanted(b, parts[i].name))
            measure(b, &parts[i]);
    if (wanted(b, "sleep_late"))
        sleep_late(b);
    if (wanted(b, "skynet"))
        skynet(b);
}

const workload bench_sched = {"sched", prepare, run};
