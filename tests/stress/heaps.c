/* Several heaps in one process: they collect at their own times, share nothing, and a thread may
 * work in all of them in turn.
 *
 * What could leak from one into another is what is process-wide: the current mutator, the signal
 * handlers, and the cell numbers of types, which are the same in all heaps.
 *
 * ctest: timeout=3600
 */
#include <criterion/criterion.h>
#include <pthread.h>

#include "support/mesh.h"

/* ---- heaps beside each other ------------------------------------------------------------------- */

static void *run_mesh(void *arg)
{
    mesh *m = mesh_new(3, MESH_SOUND);
    stress_job job = {
        .mode = *(stress_mode *)arg,
        .workers = 3,
        .setup = mesh_setup,
        .work = mesh_work,
        .check = mesh_check,
        .arg = m,
    };
    stress_run(&job);
    STRESS_CHECK(job.cycles > 0, "no collection ran");
    mesh_free(m);
    return NULL;
}

Test(stress_heaps, programs_of_all_kinds_run_beside_each_other)
{
    stress_mode modes[STRESS_MODES] = {STRESS_COROUTINES, STRESS_THREADS, STRESS_BOTH};
    pthread_t threads[STRESS_MODES];
    for (int i = 0; i < STRESS_MODES; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, run_mesh, &modes[i]), 0);
    for (int i = 0; i < STRESS_MODES; i++)
        pthread_join(threads[i], NULL);
}

Test(stress_heaps, heaps_come_and_go_beside_others)
{
    stress_mode threads_mode = STRESS_THREADS;
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, run_mesh, &threads_mode), 0);
    int64_t deadline = stress_deadline(stress_seconds());
    while (!stress_over(deadline)) {
        tri_heap *heap;
        STRESS_CHECK(tri_heap_create(NULL, &heap) == 0, "no heap");
        STRESS_CHECK(tri_attach(heap) == 0, "cannot attach");
        tri_new_array(&tri_bytes, 100000);
        STRESS_CHECK(tri_collect(heap) == 0, "cannot collect");
        STRESS_CHECK(tri_detach(heap) == 0, "cannot detach");
        STRESS_CHECK(tri_heap_destroy(heap) == 0, "cannot destroy");
    }
    pthread_join(thread, NULL);
}

/* ---- one thread in several heaps --------------------------------------------------------------- */

#define HEAPS 4
#define RING  500

typedef struct link {
    struct link *next;
    uint64_t magic;
} link;
TRI_TYPE(link_type, link, next);

/* A queue of links in one heap: the head is a root, so is the tail. */
typedef struct place {
    tri_heap *heap;
    link *head, *tail;
    uint64_t first, last;
    stress_collector *collector;
} place;

static void place_open(place *p, uint64_t number)
{
    STRESS_CHECK(tri_heap_create(NULL, &p->heap) == 0, "no heap");
    STRESS_CHECK(tri_attach(p->heap) == 0, "cannot attach");
    STRESS_CHECK(tri_root_add(p->heap, &p->head, 2) == 0, "no root");
    p->first = p->last = number << 32;
    tri_set(&p->head, tri_make(link_type, .magic = stress_mix(p->first)));
    tri_set(&p->tail, p->head);
    p->collector = stress_collect(p->heap);
}

static void place_step(place *p)
{
    tri_enter(p->heap);
    link *fresh = tri_make(link_type, .magic = stress_mix(++p->last));
    tri_set(&p->tail->next, fresh);
    tri_set(&p->tail, fresh);
    STRESS_CHECK(p->head->magic == stress_mix(p->first), "a link is lost");
    if (p->last - p->first < RING)
        return;
    tri_set(&p->head, p->head->next);
    p->first++;
}

static void place_close(place *p)
{
    STRESS_CHECK(stress_collect_end(p->collector) > 0, "no collection ran");
    tri_enter(p->heap);
    for (link *l = p->head; l; l = l->next)
        STRESS_CHECK(l->magic == stress_mix(p->first++), "a link is lost");
    STRESS_CHECK(p->first == p->last + 1, "links are lost");
    STRESS_CHECK(tri_detach(p->heap) == 0, "cannot detach");
    STRESS_CHECK(tri_heap_destroy(p->heap) == 0, "cannot destroy");
}

static void *in_all_heaps(void *arg)
{
    place places[HEAPS] = {0};
    uint64_t seed = (uintptr_t)arg;
    for (unsigned i = 0; i < HEAPS; i++)
        place_open(&places[i], i + 1);
    int64_t deadline = stress_deadline(stress_seconds());
    while (!stress_over(deadline))
        for (int i = 0; i < 100; i++)
            place_step(&places[stress_random(&seed) % HEAPS]);
    for (unsigned i = 0; i < HEAPS; i++)
        place_close(&places[i]);
    return NULL;
}

Test(stress_heaps, a_thread_works_in_four_heaps_in_turn)
{
    in_all_heaps((void *)1);
}

Test(stress_heaps, two_threads_work_in_four_heaps_each)
{
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, in_all_heaps, (void *)2), 0);
    in_all_heaps((void *)3);
    pthread_join(thread, NULL);
}
