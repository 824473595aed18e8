/* Deep stacks: a megabyte of frames, each holding the only reference to its own object; running
 * when the handshake comes, parked when the collector comes, and unwound and deepened in between.
 *
 * ctest: timeout=3600
 */
#include <criterion/criterion.h>
#include <pthread.h>

#include "support/stress.h"

#define DEPTH (1 << 20) /* bytes */

typedef struct leaf {
    uint64_t number, magic;
} leaf;
TRI_TYPE(leaf_type, leaf);

static leaf *leaf_new(uint64_t number)
{
    return tri_make(leaf_type, .number = number, .magic = stress_mix(number));
}

typedef struct diver {
    const char *top;
    uint64_t seed, dives;
    int64_t deadline;
} diver;

/* Nothing but this frame holds the leaf, and the frame needs it after the call. */
static __attribute__((noinline)) void dive(diver *d, uint64_t number)
{
    volatile char filling[200];
    leaf *held = leaf_new(number);
    filling[0] = filling[199] = 1;
    tri_poll();
    if (d->top - (const char *)&filling[0] < DEPTH)
        dive(d, number + 1);
    else if (d->dives % 2)
        tri_sleep(2000000);
    else
        tri_collect(tri_current_heap());
    /* Sometimes it turns round half-way and goes down again: frames that a scan has seen are gone,
     * and others lie in their place. */
    if (stress_random(&d->seed) % 8192 == 0 && !stress_over(d->deadline))
        dive(d, number + 1);
    STRESS_CHECK(held->number == number && held->magic == stress_mix(number),
                 "the leaf of frame %llu is lost", (unsigned long long)number);
    filling[1] = 0;
}

static void dive_for(diver *d)
{
    d->top = __builtin_frame_address(0);
    while (!stress_over(d->deadline)) {
        dive(d, 0);
        d->dives++;
    }
}

static void work(void *arg, unsigned index)
{
    diver d = {.seed = index, .deadline = *(int64_t *)arg, .dives = index};
    dive_for(&d);
}

static void run(stress_mode mode, bool poll_only)
{
    int64_t deadline = stress_deadline(stress_seconds());
    stress_job job = {.mode = mode,
                      .poll_only = poll_only,
                      .workers = 3,
                      .options.stack_size = 4 << 20,
                      .work = work,
                      .arg = &deadline};
    stress_run(&job);
    STRESS_CHECK(job.cycles > 0, "no collection ran");
}

Test(stress_stacks, a_megabyte_of_frames_of_a_coroutine_is_scanned)
{
    run(STRESS_COROUTINES, false);
}

Test(stress_stacks, a_megabyte_of_frames_of_a_thread_is_scanned)
{
    run(STRESS_THREADS, false);
}

Test(stress_stacks, a_megabyte_of_frames_that_polls_is_scanned)
{
    run(STRESS_BOTH, true);
}

/* ---- many short-lived stacks ------------------------------------------------------------------- */

typedef struct birth {
    leaf *leaf;
    tri_waitgroup *born;
} birth;
TRI_TYPE(birth_type, birth, leaf);

/* Its argument is a managed object that nobody else holds. */
static void child(void *arg)
{
    birth *b = arg;
    leaf *held = b->leaf;
    tri_waitgroup *born = b->born;
    uint64_t number = held->number;
    for (int i = 0; i < 3; i++) {
        tri_yield();
        leaf_new(~number);
        STRESS_CHECK(held->magic == stress_mix(number), "what a coroutine was born with is lost");
    }
    tri_waitgroup_done(born);
}

static void breed(void *arg, unsigned index)
{
    int64_t deadline = *(int64_t *)arg;
    uint64_t number = (uint64_t)index << 40;
    while (!stress_over(deadline)) {
        tri_waitgroup born = TRI_WAITGROUP_INIT;
        tri_waitgroup_add(&born, 200);
        for (int i = 0; i < 200; i++) {
            leaf *l = leaf_new(++number);
            STRESS_CHECK(tri_go(child, tri_make(birth_type, .leaf = l, .born = &born)) == 0,
                         "a coroutine does not start");
        }
        tri_waitgroup_wait(&born);
    }
}

Test(stress_stacks, coroutines_keep_what_they_are_born_with)
{
    int64_t deadline = stress_deadline(stress_seconds());
    stress_job job = {.mode = STRESS_COROUTINES, .workers = 3, .work = breed, .arg = &deadline};
    stress_run(&job);
}

Test(stress_stacks, threads_breed_coroutines)
{
    int64_t deadline = stress_deadline(stress_seconds());
    stress_job job = {.mode = STRESS_BOTH, .workers = 4, .work = breed, .arg = &deadline};
    stress_run(&job);
}
