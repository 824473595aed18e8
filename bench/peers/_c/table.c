/* `table`: a large table of chains that two threads read and replace nodes in, beside a sleeper and, where there is a
 * collector, a thread that forces collections.
 *
 * Nothing is locked: keys of one parity belong to one worker, and a chain holds keys of one parity. So a plain pointer
 * to the place that refers to a node is all that replacing needs.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>

#include "measure.h"
#include "memory.h"
#include "random.h"
#include "workload.h"

struct node {
    struct node *next;
    uint64_t key, version, check, zero[4];
};

struct worker {
    pthread_t thread;
    uint64_t m, ops;
    struct histogram latency;
};

static struct node **heads; /* static data is a root */
static uint64_t chains;
static _Atomic bool stop;

static uint64_t check_of(uint64_t key, uint64_t version)
{
    return mix(key + version * 0x9e3779b97f4a7c15u);
}

static struct node *new_node(struct node *after, uint64_t key, uint64_t version)
{
    struct node *n = memory_new(sizeof *n);
    *n = (struct node){.next = after, .key = key, .version = version};
    n->check = check_of(key, version);
    return n;
}

static _Noreturn void wrong(uint64_t key)
{
    fprintf(stderr, "%s: table: node %llu is lost or damaged\n", PEER_SYSTEM,
            (unsigned long long)key);
    exit(1);
}

static void make_table(void)
{
    heads = memory_new_array(chains);
    for (uint64_t key = 0; key < 4 * chains; key++) {
        struct node **head = &heads[key & (chains - 1)];
        *head = new_node(*head, key, 0);
    }
}

static void operate(uint64_t r, uint64_t m)
{
    uint64_t key = (r & (4 * chains - 1) & ~(uint64_t)1) | m;
    struct node **place = &heads[key & (chains - 1)];
    while (*place && (*place)->key != key)
        place = &(*place)->next;
    struct node *n = *place;
    if (!n || n->check != check_of(key, n->version))
        wrong(key);
    if (r >> 63) {
        *place = new_node(n->next, key, n->version + 1);
        memory_free(n);
    }
}

static void *work(void *arg)
{
    struct worker *w = arg;
    uint64_t seed = 100 + w->m, ops = 0, last = now();
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        operate(next(&seed), w->m);
        uint64_t t = now();
        histogram_record(&w->latency, t - last);
        last = t;
        ops++;
    }
    w->ops = ops;
    return NULL;
}

static void sleep_for(uint64_t ns)
{
    struct timespec left = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    while (nanosleep(&left, &left) && errno == EINTR)
        ; /* signals stop the world here */
}

static void *tick(void *arg)
{
    struct histogram *late = arg;
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        uint64_t t = now();
        sleep_for(1000000);
        histogram_record(late, now() - t - 1000000);
    }
    return NULL;
}

/* One second after the start, and ten after each before, while time is left. */
static void *collect(void *arg)
{
    uint64_t at = now() + 1000000000, end = *(const uint64_t *)arg;
    for (; at < end; at += (uint64_t)10000000000) {
        uint64_t t = now();
        if (t < at)
            sleep_for(at - t);
        memory_collect();
    }
    return NULL;
}

static uint64_t verify_all(void)
{
    uint64_t sum = 0;
    for (uint64_t c = 0; c < chains; c++) {
        for (const struct node *n = heads[c]; n; n = n->next) {
            if (n->check != check_of(n->key, n->version))
                wrong(n->key);
            sum += mix(n->key);
        }
    }
    return sum;
}

void run_table(const struct options *o)
{
    static struct worker workers[2];
    static struct histogram late;
    pthread_t ticker, collector;
    uint64_t seconds = o->seconds ? o->seconds : 30, ops = 0;
    chains = scaled(o, 1 << 24, 1 << 8);

    uint64_t start = now();
    make_table();
    print("create", (double)(now() - start) / 1e9, "s");

    uint64_t cpu = cpu_now();
    start = now();
    uint64_t end = start + seconds * 1000000000;
    for (uint64_t m = 0; m < 2; m++) {
        workers[m].m = m;
        if (pthread_create(&workers[m].thread, NULL, work, &workers[m]))
            abort();
    }
    if (pthread_create(&ticker, NULL, tick, &late) ||
        (MEMORY_COLLECTS && pthread_create(&collector, NULL, collect, &end)))
        abort();
    sleep_for(seconds * 1000000000);
    atomic_store_explicit(&stop, true, memory_order_relaxed);
    for (uint64_t m = 0; m < 2; m++) {
        pthread_join(workers[m].thread, NULL);
        ops += workers[m].ops;
    }
    uint64_t wall = now() - start;
    cpu = cpu_now() - cpu;
    pthread_join(ticker, NULL);
    if (MEMORY_COLLECTS)
        pthread_join(collector, NULL);
    histogram_add(&workers[0].latency, &workers[1].latency);

    print("ops", (double)ops / ((double)wall / 1e9), "1/s");
    print("cpu", (double)cpu / 1e9, "s");
    print_latency("op", &workers[0].latency);
    print_latency("tick_late", &late);
    print_checksum(verify_all());
}
