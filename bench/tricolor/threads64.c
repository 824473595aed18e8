/* threads64: far more attached threads than processors; how long until a handshake has reached all of
 * them, and what is left of their speed?
 *
 * Each thread makes short lists and drops them. The first coroutine forces collections without end.
 */
#include "bench.h"

#include <stdatomic.h>
#include <string.h>

#define THREADS 64
#define LENGTH  64

struct link {
    struct link *next;
    uint64_t id, rest[6];
};
TRI_TYPE(link, struct link, next);

static _Atomic bool stop;
static _Atomic uint64_t allocated, damaged;

static void make_lists(void *arg)
{
    (void)arg;
    uint64_t n = 0;
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        struct link *head = NULL;
        for (uint64_t i = 0; i < LENGTH; i++)
            head = tri_make(link, .next = head, .id = i);
        uint64_t expected = LENGTH;
        for (const struct link *l = head; l; l = l->next)
            if (l->id != --expected)
                atomic_fetch_add(&damaged, 1);
        n += LENGTH;
    }
    atomic_fetch_add(&allocated, n);
}

static bool prepare(bench *b)
{
    if (!b->seconds)
        b->seconds = 10;
    return !*b->variant;
}

static void run(bench *b)
{
    tri_thread *threads[THREADS];
    int64_t begin = bench_now();
    for (int i = 0; i < THREADS; i++) {
        int err = tri_thread_start(b->heap, make_lists, NULL, &threads[i]);
        if (err)
            bench_die("a thread could not be started: %s", strerror(-err));
    }
    while (bench_now() - begin < b->seconds * BENCH_SECOND)
        bench_collect(b);
    atomic_store(&stop, true);
    for (int i = 0; i < THREADS; i++)
        tri_thread_join(threads[i]);
    int64_t took = bench_now() - begin;

    if (atomic_load(&damaged))
        bench_fault(b, "lists were damaged");
    bench_print(b, "allocs", (double)atomic_load(&allocated) / (double)took * BENCH_SECOND, "1/s");
}

const workload bench_threads64 = {"threads64", prepare, run};
