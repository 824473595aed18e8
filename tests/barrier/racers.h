/* Programs that keep the rules, for the barrier checker to say nothing about: several mutators that store into the
 * same words by all forms at once, objects that are handed on as soon as they are made, channels of all
 * kinds of values, while collections follow each other. Included by tests that see the headers of a debug
 * build, and by one that sees those of a release build. A library without the checker just runs them. */
#ifndef TESTS_BARRIER_RACERS_H
#define TESTS_BARRIER_RACERS_H

#include <criterion/criterion.h>

#include <stdlib.h>

#include "support/stress.h"

#ifndef RACE_CHECK
#if defined(TRI_DEBUG) && TRI_DEBUG >= 1
#define RACE_CHECK TRI_BARRIER_CHECK_ABORT
#else
#define RACE_CHECK TRI_BARRIER_CHECK_OFF
#endif
#endif

struct racer {
    struct racer *left, *right;
    long key;
    TRI_REF(struct racer) ref;
    struct racer *many[2];
};
TRI_TYPE(racer_type, struct racer, left, right, ref, many);

#define WORDS      64 /* few: everybody stores into the same */
#define RACE_STEPS 256

static struct racer *race_roots[WORDS];
static tri_chan *race_small, *race_large;

static void race_setup(void *arg)
{
    (void)arg;
    STRESS_CHECK(tri_root_add(tri_current_heap(), race_roots, WORDS) == 0, "no root");
    STRESS_CHECK(tri_root_add(tri_current_heap(), &race_small, 1) == 0, "no root");
    STRESS_CHECK(tri_root_add(tri_current_heap(), &race_large, 1) == 0, "no root");
    for (int i = 0; i < WORDS; i++)
        tri_set(&race_roots[i], tri_make(racer_type, .key = i));
    tri_set(&race_small, tri_chan_new(&tri_pointers, 4));
    tri_set(&race_large, tri_chan_new(&racer_type, 4));
}

/* A slot that others store into, too: a root, or a field of an object in a root. */
static struct racer **race_slot(uint64_t *random)
{
    struct racer **root = &race_roots[stress_random(random) % WORDS];
    struct racer *p = tri_load(root);
    switch (p ? stress_random(random) % 5 : 0) {
    case 0: return root;
    case 1: return &p->left;
    case 2: return &p->right;
    case 3: return &p->ref.ref_;
    default: return &p->many[1];
    }
}

static void race_handed_on(void *arg)
{
    struct racer *p = arg;
    tri_set(&p->left, p);
    tri_set(&p->many[0], p->right);
}

static void race_through_channels(struct racer *p)
{
    struct racer *got = NULL, value = {.left = p, .right = p, .key = 1}, taken;
    if (tri_chan_try_send(race_small, &p) == 0)
        tri_chan_try_recv(race_small, &got);
    if (got)
        tri_set(&got->right, p);
    if (tri_chan_try_send(race_large, &value) == 0)
        tri_chan_try_recv(race_large, &taken);
    /* Straight into an object. */
    if (tri_chan_try_send(race_small, &p) == 0)
        tri_chan_try_recv(race_small, &p->many[1]);
}

static void race_step(uint64_t *random, unsigned index)
{
    struct racer **slot = race_slot(random), **other = race_slot(random);
    struct racer *p = tri_make(racer_type, .left = tri_load(other), .key = index);
    void *expected = tri_load(slot);
    switch (stress_random(random) % 9) {
    case 0: tri_set(slot, p); break;
    case 1: tri_exchange(slot, p); break;
    case 2: tri_compare_exchange(slot, &expected, p); break;
    case 3: tri_set_release(slot, p); break;
    case 4: tri_move(race_roots + 1, race_roots, WORDS / 2); break;
    case 5: tri_copy(slot, other, 1); break;
    case 6: tri_clear(slot, 1); break;
    case 7:
        if (index % 2 == 0)
            tri_go(race_handed_on, p);
        break;
    default: race_through_channels(p); break;
    }
    struct racer *q = tri_new(&racer_type);
    tri_init(&q->left, p);
    tri_ref_init(&q->ref, p);
    tri_set(&race_roots[stress_random(random) % WORDS], q);
}

static void race_work(void *arg, unsigned index)
{
    uint64_t random = index + 1;
    int64_t deadline = stress_deadline(*(double *)arg);
    while (!stress_over(deadline))
        for (int i = 0; i < RACE_STEPS; i++)
            race_step(&random, index);
}

static void race_check(void *arg)
{
    (void)arg;
    tri_heap *h = tri_current_heap();
    STRESS_CHECK(tri_root_remove(h, race_roots) == 0, "no root");
    STRESS_CHECK(tri_root_remove(h, &race_small) == 0, "no root");
    STRESS_CHECK(tri_root_remove(h, &race_large) == 0, "no root");
}

/* One word, by all forms, in the shortest of loops: stores overtake each other between any two instructions. */
static void race_hammer(void *arg, unsigned index)
{
    int64_t deadline = stress_deadline(*(double *)arg);
    struct racer *p = race_roots[0], *mine = tri_make(racer_type, .key = index);
    struct racer **slot = index % 2 ? &p->left : &race_roots[1];
    while (!stress_over(deadline))
        for (int i = 0; i < 1000; i++) {
            void *expected = tri_load(slot);
            tri_set(slot, mine);
            tri_exchange(slot, p);
            tri_compare_exchange(slot, &expected, mine);
            tri_set(i % 2 ? &p->left : &race_roots[1], mine);
        }
}

/* Objects that have something in them from the first, and makers that do not call the library for a while. */
static void race_make(void *arg, unsigned index)
{
    int64_t deadline = stress_deadline(*(double *)arg);
    struct racer *last = NULL;
    while (!stress_over(deadline))
        for (int i = 0; i < 100; i++) {
            last = tri_make(racer_type, .left = last, .many = {last, last}, .key = index);
            for (volatile int wait = 0; wait < 200; wait++)
                ;
            if (i % 10 == 0)
                last = NULL;
        }
}

static inline void race(stress_mode mode, unsigned workers, void (*work)(void *, unsigned))
{
    double seconds = 0.4;
    setenv("TRICOLOR", RACE_CHECK ? "barriercheck=1" : "barriercheck=0", 1);
    stress_job job = {.mode = mode,
                      .workers = workers,
                      .setup = race_setup,
                      .work = work,
                      .check = race_check,
                      .arg = &seconds};
    stress_run(&job);
    unsetenv("TRICOLOR");
    cr_assert_gt(job.cycles, 0, "no collection ran");
}

#endif
