/* Coroutines that sleep most of the time, and hold on their stacks what nobody else holds.
 *
 * A parked stack is scanned by the collector, or by whoever resumes it first; either way before it
 * can change. A keeper wakes, verifies a list that only its own frame refers to, replaces a part of
 * it, and sleeps again: a stack that was forgotten in one cycle loses its list in that cycle.
 */
#include "demo.h"

#include <stdio.h>
#include <stdlib.h>

#define KEEPERS        2000
#define KEEPER_THREADS 8
#define LIST_LENGTH    12
#define SLEEP_MIN_MS   20
#define SLEEP_MAX_MS   400

typedef struct bead {
    struct bead *next;
    uint64_t magic;
    uint64_t number;
} bead;
TRI_TYPE(bead_type, bead, next);

typedef struct keeper {
    demo *d;
    uint64_t salt;
    demo_count wakes;
} __attribute__((aligned(TRI_CACHE_LINE))) keeper;

static keeper *keepers;
static unsigned keeper_count;

static bead *bead_new(keeper *k, uint64_t number, bead *next)
{
    return tri_make(bead_type, .next = next, .magic = demo_mix(k->salt + number), .number = number);
}

static void verify(keeper *k, const bead *list, uint64_t newest)
{
    for (unsigned i = 0; i < LIST_LENGTH; i++, list = list->next) {
        if (!list || list->number != newest - i || list->magic != demo_mix(k->salt + newest - i)) {
            demo_fault(k->d, "keepers: bead %u of a list is lost", i);
            return;
        }
    }
}

/* Puts a new bead at the head and drops the last. */
static bead *renew(keeper *k, bead *list, uint64_t number)
{
    list = bead_new(k, number, list);
    bead *b = list;
    for (unsigned i = 1; b && i < LIST_LENGTH; i++)
        b = b->next;
    if (b)
        tri_set(&b->next, NULL);
    return list;
}

static void keep(void *arg)
{
    keeper *k = arg;
    uint64_t seed = k->salt, newest = 0;
    bead *list = NULL;
    while (newest < LIST_LENGTH)
        list = bead_new(k, ++newest, list);
    while (!demo_stopped(k->d)) {
        int64_t ms = SLEEP_MIN_MS + (int64_t)(demo_random(&seed) % (SLEEP_MAX_MS - SLEEP_MIN_MS));
        tri_sleep(ms * 1000000);
        verify(k, list, newest);
        list = renew(k, list, ++newest);
        demo_add(&k->wakes, 1);
    }
    verify(k, list, newest);
}

void keepers_start(demo *d)
{
    keeper_count = demo_many(d, KEEPERS, KEEPER_THREADS);
    keepers = demo_calloc(keeper_count, sizeof *keepers);
    for (unsigned i = 0; i < keeper_count; i++) {
        keepers[i].d = d;
        keepers[i].salt = demo_mix(i + 3000);
        demo_start(d, "keeper", keep, &keepers[i]);
    }
}

void keepers_finish(demo *d)
{
    uint64_t wakes = 0;
    for (unsigned i = 0; i < keeper_count; i++)
        wakes += keepers[i].wakes;
    printf("keepers  %u %s woke %s times and found what they hold\n", keeper_count,
           d->options.threads ? "threads" : "coroutines", report_number(wakes));
    free(keepers);
}
