/* barriercheck=1 says nothing about programs that keep the rules.
 *
 * ctest: timeout=120
 */
#include "racers.h"

static tri_heap *heap;

static void open_heap(void)
{
    tri_options o;
    cr_assert_eq(tri_options_init(&o), 0);
    o.barrier_check = RACE_CHECK;
    cr_assert_eq(tri_heap_create(&o, &heap), 0);
    cr_assert_eq(tri_attach(heap), 0);
}

/* A false report ends the process. */
static void settle(void)
{
    cr_assert_eq(tri_collect(heap), 0);
}

/* Destroying compares once more. */
static void close_heap(void)
{
    cr_assert_eq(tri_detach(heap), 0);
    cr_assert_eq(tri_heap_destroy(heap), 0);
}

TestSuite(barrier_check_faultless, .init = open_heap, .fini = close_heap);

Test(barrier_check_faultless, every_single_form_is_recorded_in_objects)
{
    struct racer *p = tri_new(&racer_type), *q = tri_make(racer_type, .left = p, .many = {p, p});
    void *expected = NULL;
    settle();
    tri_init(&p->left, q);
    settle();
    tri_set(&p->left, p);
    settle();
    cr_assert_eq(tri_exchange(&p->right, q), NULL);
    settle();
    cr_assert(!tri_compare_exchange(&p->right, &expected, p));
    settle();
    cr_assert(tri_compare_exchange(&p->right, &expected, p));
    settle();
    tri_set_release(&p->many[1], q);
    settle();
    tri_ref_set(&p->ref, q);
    settle();
    tri_ref_init(&q->ref, p);
    settle();
    tri_set(&q->left, NULL);
    settle();
    cr_assert(p->left == p && p->right == p && p->many[1] == q && tri_ref(p->ref) == q);
}

Test(barrier_check_faultless, bulk_forms_are_recorded_in_small_and_large_arrays)
{
    static const size_t sizes[] = {8, 600, 50000};
    for (int i = 0; i < 3; i++) {
        size_t n = sizes[i];
        struct racer **a = tri_new_array(&tri_pointers, n), **b = tri_new_array(&tri_pointers, n);
        for (size_t k = 0; k < n; k += 3)
            tri_set(&a[k], tri_make(racer_type, .key = (long)k));
        settle();
        tri_copy(b, a, n);
        settle();
        tri_move(b + 1, b, n - 1);
        tri_move(b, b + 3, n - 3);
        settle();
        tri_clear(a, n);
        settle();
    }
    struct racer *structs = tri_new_array(&racer_type, 100);
    tri_set(&structs[99].many[1], structs);
    settle();
}

Test(barrier_check_faultless, memory_that_is_used_again_has_a_fresh_record)
{
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 2000; i++) {
            struct racer *p = tri_new(&racer_type);
            tri_set(&p->right, p);
            struct racer **a = tri_new_array(&tri_pointers, (size_t)(i % 70));
            if (i % 70)
                tri_set(&a[i % 70 - 1], p);
            tri_make(racer_type, .left = p);
        }
        struct racer **large = tri_new_array(&tri_pointers, 300000);
        tri_set(&large[0], tri_new(&racer_type));
        tri_set(&large[299999], large[0]);
        settle();
    }
}

Test(barrier_check_faultless, roots_are_recorded_from_registration_to_removal)
{
    static struct racer *words[300];
    for (int i = 0; i < 300; i++)
        words[i] = i % 2 ? tri_make(racer_type, .key = i) : NULL; /* not registered yet */
    cr_assert_eq(tri_root_add(heap, words, 300), 0);
    cr_assert_eq(tri_root_add(heap, words + 100, 50), 0); /* words in two ranges */
    settle();
    for (int i = 0; i < 300; i++)
        tri_set(&words[i], words[(i * 7) % 300]);
    tri_move(words, words + 1, 299);
    settle();
    cr_assert_eq(tri_root_remove(heap, words), 0);
    words[0] = words[299] = tri_new(&racer_type); /* not registered any more */
    tri_set(&words[120], words[121]);
    settle();
    cr_assert_eq(tri_root_remove(heap, words + 100), 0);
    words[120] = NULL;
    settle();
}

Test(barrier_check_faultless, numbers_and_pointers_to_elsewhere_are_nobodys_business)
{
    static struct racer elsewhere;
    struct racer *p = tri_new(&racer_type);
    uintptr_t *words = tri_new_array(&tri_words, 10);
    p->key = (long)(uintptr_t)p; /* no pointer field */
    p->left = &elsewhere;        /* does not point into the heap, nor did what it replaces */
    words[3] = (uintptr_t)p;
    settle();
    tri_set(&p->left, p);
    tri_set(&p->left, &elsewhere);
    p->left = NULL;
    words[3] = 17;
    settle();
    words[3] = (uintptr_t)p;
    tri_set((void **)&words[3], p);
    words[3] = 18;
    tri_set((void **)&words[3], NULL);
    settle();
}

static void trace(tri_tracer *t, void *object, size_t size)
{
    (void)size;
    tri_trace(t, tri_load((void **)object));
}

struct traced {
    void *pointer;
    long n;
};
TRI_TYPE_TRACE(traced_type, struct traced, trace);

Test(barrier_check_faultless, types_that_trace_themselves_are_left_alone)
{
    struct traced *t = tri_new(&traced_type);
    void **word = (void *)&t->n;
    tri_set(&t->pointer, t);
    t->n = (long)(uintptr_t)t;
    settle();
    tri_set(word, NULL);
    t->n = (long)(uintptr_t)t;
    tri_set(word, t);
    settle();
}

Test(barrier_check_races, threads_that_store_into_the_same_words_are_not_reported)
{
    race(STRESS_THREADS, 4, race_work);
}

Test(barrier_check_races, coroutines_that_store_into_the_same_words_are_not_reported)
{
    race(STRESS_COROUTINES, 8, race_work);
}

Test(barrier_check_races, coroutines_and_threads_that_store_into_the_same_words_are_not_reported)
{
    race(STRESS_BOTH, 6, race_work);
}

Test(barrier_check_races, threads_that_hammer_one_word_are_not_reported)
{
    race(STRESS_THREADS, 4, race_hammer);
}

Test(barrier_check_races, objects_that_are_just_being_made_are_not_reported)
{
    race(STRESS_THREADS, 4, race_make);
}
