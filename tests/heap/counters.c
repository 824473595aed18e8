/* Counters: exact when nobody allocates. */
#include "fixture.h"
#include "os/random.h"

#define RESERVE ((size_t)256 << 20)
enum { TYPES = 40 };

typedef struct expected {
    const tri_type *type;
    bool array;
    uint64_t mallocs, frees, alloc_bytes, free_bytes;
    bool seen;
} expected;

static bool compare(void *arg, const heap_type_stats *s)
{
    for (expected *e = arg; e->type; e++) {
        if (s->layout->type != e->type || s->layout->array != e->array)
            continue;
        e->seen = true;
        cr_assert_eq(s->mallocs, e->mallocs, "%s: %lu of %lu", s->layout->name, s->mallocs,
                     e->mallocs);
        cr_assert_eq(s->frees, e->frees, "%s: %lu of %lu", s->layout->name, s->frees, e->frees);
        cr_assert_eq(s->alloc_bytes, e->alloc_bytes, "%s", s->layout->name);
        cr_assert_eq(s->free_bytes, e->free_bytes, "%s", s->layout->name);
    }
    return true;
}

static void check(tri_heap *h, expected *e)
{
    uint64_t mallocs = 0, frees = 0, bytes = 0, freed = 0, small = 0;
    for (expected *x = e; x->type; x++) {
        mallocs += x->mallocs;
        frees += x->frees;
        bytes += x->alloc_bytes;
        freed += x->free_bytes;
    }
    heap_each_type(h, compare, e);
    heap_totals t;
    heap_read_totals(h, &t);
    cr_assert_eq(t.mallocs, mallocs);
    cr_assert_eq(t.frees, frees);
    cr_assert_eq(t.total_alloc, bytes);
    cr_assert_eq(t.total_freed, freed);
    heap_size_stats sizes[HEAP_SIZE_CLASSES];
    cr_assert_eq(heap_read_sizes(h, sizes, 100), HEAP_SIZE_CLASSES);
    for (int i = 0; i < HEAP_SIZE_CLASSES; i++)
        small += sizes[i].mallocs;
    cr_assert_eq(small, mallocs);
}

Test(counters, by_type_and_in_all_are_exact_through_growth_switches_sweeps_and_ended_caches)
{
    tri_heap *h = heap_for_test(RESERVE);
    heap_cache *caches[2] = {cache_of(h), cache_of(h)};
    static tri_type types[TYPES];
    static char names[TYPES][24];
    static expected e[TYPES * 2 + 1];
    for (int i = 0; i < TYPES; i++) {
        snprintf(names[i], sizeof names[i], "counted%d", i);
        types[i] = type_of(names[i], 8 + (size_t)(i * 24 % 500));
        e[2 * i] = (expected){.type = &types[i]};
        e[2 * i + 1] = (expected){.type = &types[i], .array = true};
    }
    enum { N = 20000 };
    static struct {
        void *p;
        expected *of;
    } live[N];
    uint64_t seed = 3;
    for (int round = 0; round < 8; round++) {
        for (int i = 0; i < N; i++) {
            if (live[i].p)
                continue;
            /* Some types often, most of them rarely. */
            uint32_t k = os_random_below(&seed, 1 + os_random_below(&seed, TYPES));
            bool array = os_random_below(&seed, 8) == 0;
            size_t count = array ? os_random_below(&seed, 20) : SIZE_MAX;
            int cell = heap_type_cell(h, &types[k], count);
            heap_cache *c = caches[os_random_below(&seed, 2)];
            live[i].p = alloc_from(c, (uint32_t)cell, white(h));
            live[i].of = &e[2 * k + array];
            live[i].of->mallocs++;
            live[i].of->alloc_bytes += tri_object_size(h, live[i].p);
        }
        check(h, e);
        for (int k = 0; k < 2; k++)
            switch_and_retire(h, caches[k]);
        check(h, e);
        for (int i = 0; i < N; i++) {
            if (os_random_below(&seed, 3)) {
                mark_object(h, live[i].p);
            } else {
                live[i].of->frees++;
                live[i].of->free_bytes += tri_object_size(h, live[i].p);
                live[i].p = NULL;
            }
        }
        sweep_all(h);
        check(h, e);
        if (round % 3 == 2) {
            heap_cache_free(caches[0]);
            check(h, e);
            caches[0] = cache_of(h);
        }
    }
    for (int i = 0; i < 2; i++)
        heap_cache_free(caches[i]);
    check(h, e);
    heap_for_test_end(h);
}

Test(counters, live_is_what_was_reserved_less_what_sweeps_found_dead)
{
    tri_heap *h = heap_for_test(RESERVE);
    heap_cache *c = cache_of(h);
    tri_type t = type_of("living", 512);
    uint32_t cell = own_cell_of(h, &t);
    static void *p[4000];
    for (int i = 0; i < 4000; i++)
        p[i] = alloc_from(c, cell, white(h));
    heap_cache_flush(c);
    switch_and_retire(h, c);
    cr_assert_eq(atomic_load(&h->live), 4000 * 512);
    for (int i = 0; i < 4000; i += 4)
        mark_object(h, p[i]);
    sweep_all(h);
    cr_assert_eq(atomic_load(&h->live), 1000 * 512);
    heap_cache_free(c);
    heap_for_test_end(h);
}
