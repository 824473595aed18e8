/* Threads: a managed heap for a program of plain pthreads.
 *
 * A cache that many threads share: a table of immutable entries, looked up without a lock and
 * replaced by compare-and-swap. Without a collector this is the hard case: when may a replaced entry
 * be freed, while somebody may still be reading it? Hazard pointers, epochs and reference counts
 * exist for that question. Here nobody asks it: what no thread can reach any more goes away.
 *
 * What to notice: threads attach and detach; the table is a registered root, since it lies in C
 * memory; a call that blocks is made through tri_blocking(), so that no collection waits for it.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <tricolor/tricolor.h>

#define THREADS 4
#define SLOTS   1024
#define LOOKUPS 300000

struct entry {
    unsigned key;
    unsigned long square;
};
TRI_TYPE(entry, struct entry);

static struct entry *table[SLOTS];

typedef struct visitor {
    pthread_t thread;
    tri_heap *heap;
    unsigned seed;
    unsigned long sum, misses, lost_races;
} visitor;

/* Another thread may replace the entry at any time; the one that we found stays as it is for as long
 * as we hold it. */
static unsigned long look_up(visitor *v, unsigned key)
{
    struct entry **slot = &table[key % SLOTS];
    struct entry *found = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
    if (found && found->key == key)
        return found->square;
    v->misses++;
    void *expected = found;
    struct entry *fresh = tri_make(entry, .key = key, .square = (unsigned long)key * key);
    if (!tri_compare_exchange(slot, &expected, fresh))
        v->lost_races++;
    return fresh->square;
}

static void nap(void *arg)
{
    nanosleep(arg, NULL);
}

static void *visit(void *arg)
{
    visitor *v = arg;
    struct timespec briefly = {.tv_nsec = 1000000};
    if (tri_attach(v->heap))
        abort();
    for (int i = 0; i < LOOKUPS; i++) {
        unsigned key = (v->seed = v->seed * 1103515245 + 12345) >> 16 & 0x3fff;
        v->sum += look_up(v, key) - (unsigned long)key * key;
        if (i % 100000 == 0)
            tri_blocking(nap, &briefly);
    }
    tri_detach(v->heap);
    return NULL;
}

int main(void)
{
    tri_heap *heap;
    static visitor visitors[THREADS];
    if (tri_heap_create(NULL, &heap) || tri_root_add(heap, table, SLOTS))
        return 1;
    for (unsigned i = 0; i < THREADS; i++) {
        visitors[i] = (visitor){.heap = heap, .seed = i};
        if (pthread_create(&visitors[i].thread, NULL, visit, &visitors[i]))
            return 1;
    }
    unsigned long wrong = 0, misses = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(visitors[i].thread, NULL);
        wrong += visitors[i].sum;
        misses += visitors[i].misses;
    }
    tri_memstats stats;
    tri_read_memstats(heap, &stats);
    fprintf(stderr, "%lu entries made, %u collections\n", misses, stats.num_gc);
    printf("%d lookups by %d threads, sum of errors %lu\n", THREADS * LOOKUPS, THREADS, wrong);
    tri_root_remove(heap, table);
    return tri_heap_destroy(heap) ? 1 : 0;
}
