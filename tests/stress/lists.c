/* Lists of a million: marking must neither recurse nor lose its place while the list is cut and
 * spliced under it.
 *
 * ctest: timeout=3600
 */
#include <criterion/criterion.h>

#include "support/stress.h"

#define LENGTH 1000000

typedef struct cell {
    struct cell *next;
    uint64_t magic;
} cell;
TRI_TYPE(cell_type, cell, next);

static cell *list_new(uint64_t from, uint64_t to)
{
    cell *list = NULL;
    while (to-- > from)
        list = tri_make(cell_type, .next = list, .magic = stress_mix(to));
    return list;
}

static void list_check(const cell *list, uint64_t from, uint64_t to)
{
    for (; from < to; from++, list = list->next) {
        STRESS_CHECK(list, "the list ends at %llu", (unsigned long long)from);
        STRESS_CHECK(list->magic == stress_mix(from), "cell %llu is lost",
                     (unsigned long long)from);
        if (from % 4096 == 0)
            tri_poll();
    }
    STRESS_CHECK(!list, "the list is too long");
}

static cell *walk(cell *list, uint64_t steps)
{
    while (steps-- > 0)
        list = list->next;
    return list;
}

/* Cuts the list in two, holds the second part on the stack alone, and joins them again with one
 * cell renewed at the seam. */
static void cut_and_join(cell *list, uint64_t at)
{
    cell *seam = walk(list, at - 1);
    cell *rest = seam->next;
    tri_set(&seam->next, NULL);
    tri_yield();
    cell *fresh = tri_make(cell_type, .next = rest->next, .magic = rest->magic);
    tri_set(&seam->next, fresh);
}

static void work(void *arg, unsigned index)
{
    int64_t deadline = *(int64_t *)arg;
    uint64_t seed = index;
    cell *list = list_new(0, LENGTH);
    do {
        for (int i = 0; i < 8; i++)
            cut_and_join(list, 1 + stress_random(&seed) % (i % 2 ? 100 : LENGTH / 2));
    } while (!stress_over(deadline));
    list_check(list, 0, LENGTH);
}

static void run(stress_mode mode)
{
    int64_t deadline = stress_deadline(stress_seconds());
    stress_job job = {.mode = mode, .workers = 2, .work = work, .arg = &deadline};
    stress_run(&job);
}

Test(stress_lists, coroutines_cut_and_join_a_list_of_a_million)
{
    run(STRESS_COROUTINES);
}

Test(stress_lists, threads_cut_and_join_a_list_of_a_million)
{
    run(STRESS_THREADS);
}
