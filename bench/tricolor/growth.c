/* growth: what a handshake costs as the program grows in one direction, all else being small.
 *
 *     growth.coroutinesN   N parked coroutines
 *     growth.heapN         N MiB of live objects (lists of 64-byte nodes, 64 KiB each)
 *     growth.stackN        a running stack of N KiB
 *
 * One mutator allocates and computes all the time while collections are forced, COLLECTIONS of them; the
 * interruptions of that mutator are what is printed (by bench_print_collector()), and should not grow.
 * How marking grows is told by mark.graphN for other N.
 */
#include "bench.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define COLLECTIONS 50
#define LIST        1024

struct link {
    struct link *next;
    uint64_t id, rest[6];
};
TRI_TYPE(link, struct link, next);

static uint64_t amount;
static struct link **lists; /* a root */
static tri_chan *gate;      /* a root */
static uint64_t list_count;
static _Atomic bool stop;
static _Atomic uint64_t arrived;
static tri_waitgroup done;

static void wait_at_gate(void *arg)
{
    (void)arg;
    atomic_fetch_add_explicit(&arrived, 1, memory_order_relaxed);
    tri_chan_recv(tri_load(&gate), NULL);
    tri_waitgroup_done(&done);
}

static void add_coroutines(void)
{
    tri_set(&gate, tri_chan_new(&tri_words, 0));
    tri_waitgroup_add(&done, (int)amount);
    for (uint64_t i = 0; i < amount; i++)
        bench_go(wait_at_gate, NULL);
    while (atomic_load_explicit(&arrived, memory_order_relaxed) < amount)
        tri_sleep(1000000);
}

static void remove_coroutines(void)
{
    tri_chan_close(tri_load(&gate));
    tri_waitgroup_wait(&done);
}

static void add_heap(void)
{
    list_count = (amount << 20) / (LIST * sizeof(struct link));
    tri_set(&lists, tri_new_array(&tri_pointers, list_count));
    for (uint64_t i = 0; i < list_count; i++) {
        struct link *head = NULL;
        for (uint64_t k = 0; k < LIST; k++)
            head = tri_make(link, .next = head, .id = i * LIST + k);
        tri_set(&lists[i], head);
    }
}

static void check_heap(bench *b)
{
    for (uint64_t i = 0; i < list_count; i++) {
        uint64_t id = (i + 1) * LIST;
        const struct link *l = lists[i];
        while (l && l->id == --id)
            l = l->next;
        if (l || id != i * LIST)
            bench_fault(b, "list %llu is damaged", (unsigned long long)i);
    }
}

/* An allocation about every microsecond: what matters is that there is a mutator, not how fast it
 * fills the heap. */
static void work(void)
{
    uint64_t seed = 1, x = 0;
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        for (int i = 0; i < 300; i++)
            x += bench_next(&seed);
        struct link *l = tri_make(link, .id = x);
        tri_keep_alive(l);
    }
}

/* Works with so many bytes of stack in use, full of pointers to one object. */
static TRI_NOINLINE void work_deep(size_t bytes, struct link *l)
{
    struct link *volatile held[512];
    for (size_t i = 0; i < sizeof held / sizeof *held; i++)
        held[i] = l;
    if (bytes > sizeof held)
        work_deep(bytes - sizeof held, l);
    else
        work();
    tri_keep_alive(held[0]);
}

static void worker(void *arg)
{
    size_t deep = (uintptr_t)arg;
    if (deep)
        work_deep(deep, tri_make(link, .id = 1));
    else
        work();
    tri_waitgroup_done(&done);
}

static enum { COROUTINES, HEAP, STACK } direction;

static bool prepare(bench *b)
{
    static const char *const names[] = {"coroutines", "heap", "stack"};
    for (unsigned d = 0; d < 3; d++) {
        size_t length = strlen(names[d]);
        if (strncmp(b->variant, names[d], length) == 0) {
            char *end;
            direction = d;
            amount = strtoull(b->variant + length, &end, 10);
            if (!*end && amount)
                amount = bench_scaled(b, amount, 1);
            return !*end && amount && amount <= (1 << 24);
        }
    }
    return false;
}

static void run(bench *b)
{
    if (tri_root_add(b->heap, &lists, 1) || tri_root_add(b->heap, &gate, 1))
        bench_die("no memory for a root");
    if (direction == COROUTINES)
        add_coroutines();
    if (direction == HEAP)
        add_heap();

    size_t deep = direction == STACK ? amount << 10 : 0;
    tri_waitgroup_add(&done, 1);
    int err = tri_go_sized(worker, (void *)deep, deep + (deep / 8) + (64 << 10));
    if (err)
        bench_die("a coroutine could not be started: %s", strerror(-err));
    bench_collect(b);
    tri_reset_interruptions(b->heap);
    int64_t wall[COLLECTIONS];
    for (int i = 0; i < COLLECTIONS; i++) {
        int64_t begin = bench_now();
        bench_collect(b);
        wall[i] = bench_now() - begin;
    }
    bench_print(b, "gc_wall", (double)bench_median(wall, COLLECTIONS) / BENCH_SECOND, "s");
    bench_print(b, "amount", (double)amount, "count");

    atomic_store(&stop, true);
    if (direction == COROUTINES)
        remove_coroutines();
    tri_waitgroup_wait(&done);
    check_heap(b);
}

const workload bench_growth = {"growth", prepare, run};
