/* `alloc`: objects that die at once.
 *
 * The loop is written once and is compiled for each size and kind, so that the allocator sees a constant size, as in a
 * program that allocates objects of its own types.
 */
#include "measure.h"
#include "memory.h"
#include "workload.h"

#define HIDE(p) __asm__ volatile("" : "+r"(p) : : "memory")

struct churner {
    pthread_t thread;
    uint64_t m, n, sum;
    size_t size;
    bool pointers;
    pthread_barrier_t *warm;
};

static inline __attribute__((always_inline)) uint64_t churn(uint64_t m, uint64_t n, size_t size,
                                                            bool pointers)
{
    uint64_t sum = 0;
    size_t last = size / sizeof(uint64_t) - 1;
    void *anchor = pointers ? memory_new(size) : NULL;
    for (uint64_t i = 0; i < n; i++) {
        union {
            void *pointer;
            uint64_t word;
        } *o = pointers ? memory_new(size) : memory_new_flat(size);
        if (pointers)
            o[0].pointer = anchor;
        else
            o[0].word = i + m;
        o[last].word = i + m;
        HIDE(o);
        sum += o[last].word;
        if (pointers)
            sum += o[0].pointer == anchor ? 1 : 0;
        else
            sum += o[0].word;
        memory_free(o);
    }
    memory_free(anchor);
    return sum;
}

#define CASE(size) \
    case size: return pointers ? churn(m, n, size, true) : churn(m, n, size, false)

static uint64_t churn_any(uint64_t m, uint64_t n, size_t size, bool pointers)
{
    switch (size) {
        CASE(16);
        CASE(64);
        CASE(256);
        CASE(1024);
    default: abort();
    }
}

static void *run_churner(void *arg)
{
    struct churner *c = arg;
    uint64_t dropped = churn_any(c->m, c->n / 16, c->size, c->pointers);
    HIDE(dropped);
    pthread_barrier_wait(c->warm); /* all are warm: the clock is read now */
    pthread_barrier_wait(c->warm); /* it has been */
    c->sum = churn_any(c->m, c->n, c->size, c->pointers);
    return NULL;
}

void run_alloc(const struct options *o, bool pointers, unsigned size, unsigned threads)
{
    unsigned log = size == 16 ? 26 : size == 64 ? 25 : size == 256 ? 24 : 22;
    uint64_t n = scaled(o, (uint64_t)1 << log, 1), sum = 0;
    pthread_barrier_t warm;
    struct churner churners[64];
    memory_expect((size_t)64 << 20);
    if (pthread_barrier_init(&warm, NULL, threads + 1))
        abort();
    for (unsigned m = 0; m < threads; m++) {
        churners[m] =
            (struct churner){.m = m, .n = n, .size = size, .pointers = pointers, .warm = &warm};
        if (pthread_create(&churners[m].thread, NULL, run_churner, &churners[m]))
            abort();
    }
    pthread_barrier_wait(&warm);
    uint64_t start = now(), cpu = cpu_now();
    pthread_barrier_wait(&warm);
    for (unsigned m = 0; m < threads; m++) {
        pthread_join(churners[m].thread, NULL);
        sum += churners[m].sum;
    }
    uint64_t wall = now() - start;
    cpu = cpu_now() - cpu;
    print("alloc", (double)wall / (double)(n * threads), "ns");
    print("alloc_cpu", (double)cpu / (double)(n * threads), "ns");
    print_checksum(sum);
}
