/* Huge arrays of pointers that change while they are marked, slot by slot and in bulk.
 *
 * An array of more than 128 KiB is scanned in pieces with mutators running in between: what moves
 * from a piece that is still to come into one that is done is seen only through the barrier. Each
 * worker owns a stretch of one array and permutes it; a shadow says which object must be where.
 *
 * ctest: timeout=3600
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "support/stress.h"

#define WORKERS 3
#define STRETCH 24000 /* slots: 187 KiB */

typedef struct coin {
    uint64_t number, magic;
} coin;
TRI_TYPE(coin_type, coin);

typedef struct board {
    coin **slots; /* a root */
    uint64_t *shadow;
    int64_t deadline;
    bool sabotage; /* moves of single slots are plain stores */
} board;

typedef struct player {
    board *board;
    coin **slots;     /* its stretch */
    uint64_t *shadow; /* numbers; 0: empty */
    uint64_t seed, next;
} player;

static void setup(void *arg)
{
    board *b = arg;
    STRESS_CHECK(tri_root_add(tri_current_heap(), &b->slots, 1) == 0, "no root");
    tri_set(&b->slots, tri_new_array(&tri_pointers, (size_t)WORKERS * STRETCH));
    b->shadow = stress_calloc((size_t)WORKERS * STRETCH, sizeof *b->shadow);
    b->deadline = stress_deadline(stress_seconds());
}

static size_t some_slot(player *p)
{
    return stress_random(&p->seed) % STRETCH;
}

static void slot_check(const coin *c, uint64_t number)
{
    if (number == 0)
        STRESS_CHECK(!c, "an empty slot is not");
    else
        STRESS_CHECK(c && c->number == number && c->magic == stress_mix(number),
                     "coin %llx is lost", (unsigned long long)number);
}

static void place(player *p, size_t i)
{
    uint64_t number = ++p->next;
    coin *c = tri_make(coin_type, .number = number, .magic = stress_mix(number));
    tri_set(&p->slots[i], c);
    p->shadow[i] = number;
}

/* From an arbitrary slot to an arbitrary one: over the marker's head, in both directions. */
static void move_one(player *p)
{
    size_t from = some_slot(p), to = some_slot(p);
    coin *c = tri_load(&p->slots[from]);
    slot_check(c, p->shadow[from]);
    if (p->board->sabotage) {
        __atomic_store_n(&p->slots[from], NULL, __ATOMIC_RELAXED);
        __atomic_store_n(&p->slots[to], c, __ATOMIC_RELAXED);
    } else {
        tri_set(&p->slots[from], NULL);
        tri_set(&p->slots[to], c);
    }
    uint64_t number = p->shadow[from];
    p->shadow[from] = 0;
    p->shadow[to] = number;
}

static void bulk(player *p, unsigned what)
{
    size_t count = 1 + stress_random(&p->seed) % (what == 0 ? STRETCH / 2 : 1000);
    size_t from = stress_random(&p->seed) % (STRETCH - count + 1);
    size_t to = stress_random(&p->seed) % (STRETCH - count + 1);
    if (what < 2) {
        tri_move(&p->slots[to], &p->slots[from], count);
        memmove(&p->shadow[to], &p->shadow[from], count * sizeof *p->shadow);
    } else if (from + count <= to || to + count <= from) {
        tri_copy(&p->slots[to], &p->slots[from], count);
        memcpy(&p->shadow[to], &p->shadow[from], count * sizeof *p->shadow);
    } else {
        count = 1 + count / 16;
        tri_clear(&p->slots[to], count);
        memset(&p->shadow[to], 0, count * sizeof *p->shadow);
    }
}

/* Out of the array into one that only this stack holds, and back in. */
static void through_another(player *p)
{
    size_t count = 1 + stress_random(&p->seed) % 4000;
    size_t at = stress_random(&p->seed) % (STRETCH - count + 1);
    coin **other = tri_new_array(&tri_pointers, count);
    tri_copy(other, &p->slots[at], count);
    tri_clear(&p->slots[at], count);
    tri_yield();
    tri_copy(&p->slots[at], other, count);
    tri_keep_alive(other);
}

static void check_all(player *p)
{
    for (size_t i = 0; i < STRETCH; i++)
        slot_check(tri_load(&p->slots[i]), p->shadow[i]);
}

static void work(void *arg, unsigned index)
{
    board *b = arg;
    size_t first = (size_t)index * STRETCH;
    player p = {b, b->slots + first, b->shadow + first, index + 1, (uint64_t)(index + 1) << 40};
    while (!stress_over(b->deadline)) {
        for (int i = 0; i < 400; i++)
            place(&p, some_slot(&p));
        for (int i = 0; i < 4000; i++)
            move_one(&p);
        bulk(&p, stress_random(&p.seed) % 4);
        through_another(&p);
        tri_poll();
    }
    check_all(&p);
}

static void check(void *arg)
{
    board *b = arg;
    for (size_t i = 0; i < (size_t)WORKERS * STRETCH; i++)
        slot_check(b->slots[i], b->shadow[i]);
    tri_set(&b->slots, NULL);
    tri_root_remove(tri_current_heap(), &b->slots);
    free(b->shadow);
}

static void run(stress_mode mode, bool poll_only, bool sabotage)
{
    board b = {.sabotage = sabotage};
    stress_job job = {.mode = mode,
                      .poll_only = poll_only,
                      .workers = WORKERS,
                      .setup = setup,
                      .work = work,
                      .check = check,
                      .arg = &b};
    stress_run(&job);
    STRESS_CHECK(job.cycles > 0, "no collection ran");
}

Test(stress_arrays, coroutines_permute_a_huge_array)
{
    run(STRESS_COROUTINES, false, false);
}

Test(stress_arrays, threads_permute_a_huge_array)
{
    run(STRESS_THREADS, false, false);
}

Test(stress_arrays, polling_threads_permute_a_huge_array)
{
    run(STRESS_THREADS, true, false);
}

static void sabotaged(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20; i++)
        run(STRESS_THREADS, false, true);
}

Test(stress_arrays, moves_without_a_barrier_are_noticed)
{
    char said[4096];
    cr_assert_neq(stress_in_child(sabotaged, NULL, said, sizeof said), 0,
                  "nothing was lost without a barrier: the test is blind");
}
