/* A thousand types with few objects each, made at run time; and types with a trace callback whose
 * words are tagged.
 *
 * Rare types share mixed spans and earn spans of their own as they grow, under collections; the
 * pattern of pointer fields differs from type to type, so that an object scanned as if it were of
 * its neighbour's type loses something.
 *
 * ctest: timeout=3600
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "support/stress.h"

/* ---- a thousand types -------------------------------------------------------------------------- */

#define TYPES      1000
#define WORDS_MAX  24
#define FIELDS_MAX 6
#define OBJECTS    4000

/* Word 0 holds the number of the object's type, word 1 its magic; some of the rest are pointers. */
typedef struct made_type {
    tri_type type;
    char name[16];
    size_t words;
    unsigned fields;
    tri_field at[FIELDS_MAX];
} made_type;

static made_type *make_types(void)
{
    made_type *all = stress_calloc(TYPES, sizeof *all);
    for (unsigned i = 0; i < TYPES; i++) {
        made_type *t = &all[i];
        uint64_t seed = i;
        t->words = 3 + stress_random(&seed) % (WORDS_MAX - 3);
        for (uint32_t word = 2; word < t->words && t->fields < FIELDS_MAX; word++)
            if (stress_random(&seed) % 2)
                t->at[t->fields++] = (tri_field){word * 8, 1};
        snprintf(t->name, sizeof t->name, "made %u", i);
        STRESS_CHECK(tri_type_init(&t->type, t->name, t->words * 8,
                                   t->fields ? TRI_KIND_STRUCT : TRI_KIND_BYTES, t->at, t->fields,
                                   NULL) == 0,
                     "type %u is refused", i);
    }
    return all;
}

typedef struct zoo {
    made_type *types;
    int64_t deadline;
} zoo;

static uint64_t magic_of(const void *object, uint64_t type)
{
    (void)object;
    return stress_mix(type);
}

static void **field(made_type *t, void *object, unsigned i)
{
    return (void **)((char *)object + t->at[i].offset);
}

static uint64_t *animal_new(zoo *z, uint64_t *seed)
{
    /* Mostly of a few types: those earn spans, the others do not. */
    uint64_t type = stress_random(seed) % (stress_random(seed) % 2 ? 8 : TYPES);
    uint64_t *a = tri_new(&z->types[type].type);
    a[0] = type;
    a[1] = magic_of(a, type);
    return a;
}

static void animal_check(zoo *z, uint64_t *a, unsigned depth)
{
    STRESS_CHECK(a[0] < TYPES && a[1] == magic_of(a, a[0]), "an object is lost: word 0 is %llx",
                 (unsigned long long)a[0]);
    made_type *t = &z->types[a[0]];
    for (unsigned i = 0; depth > 0 && i < t->fields; i++) {
        uint64_t *next = tri_load(field(t, a, i));
        if (next)
            animal_check(z, next, depth - 1);
    }
}

static void zoo_work(void *arg, unsigned index)
{
    zoo *z = arg;
    uint64_t seed = index;
    uint64_t **cages = tri_new_array(&tri_pointers, OBJECTS);
    for (size_t i = 0; i < OBJECTS; i++)
        tri_set(&cages[i], animal_new(z, &seed));
    while (!stress_over(z->deadline)) {
        size_t i = stress_random(&seed) % OBJECTS;
        animal_check(z, cages[i], 3);
        made_type *t = &z->types[cages[i][0]];
        for (unsigned f = 0; f < t->fields; f++)
            tri_set(field(t, cages[i], f), cages[stress_random(&seed) % OBJECTS]);
        tri_set(&cages[stress_random(&seed) % OBJECTS], animal_new(z, &seed));
        if (i % 4 == 0)
            tri_set(&cages[i], animal_new(z, &seed));
    }
    for (size_t i = 0; i < OBJECTS; i++)
        animal_check(z, cages[i], 3);
}

static void run_zoo(stress_mode mode)
{
    zoo z = {make_types(), stress_deadline(stress_seconds())};
    stress_job job = {.mode = mode, .workers = 4, .work = zoo_work, .arg = &z};
    stress_run(&job);
    free(z.types);
}

Test(stress_types, coroutines_use_a_thousand_types)
{
    run_zoo(STRESS_COROUTINES);
}

Test(stress_types, threads_use_a_thousand_types)
{
    run_zoo(STRESS_THREADS);
}

/* ---- tagged words ------------------------------------------------------------------------------ */

#define TAG_NUMBER 1u /* the lowest bit: the rest is a number */
#define TAG_PAIR   2u /* the next: a pointer to a pair, with this tag in it */
#define VALUES     4

typedef uintptr_t value;

typedef struct vector {
    uint64_t magic;
    value values[VALUES];
} vector;

static void trace_vector(tri_tracer *tracer, void *object, size_t size)
{
    vector *v = object;
    STRESS_CHECK(size >= sizeof *v, "a vector of %zu bytes", size);
    for (int i = 0; i < VALUES; i++) {
        value x = __atomic_load_n(&v->values[i], __ATOMIC_RELAXED);
        if (!(x & TAG_NUMBER))
            tri_trace(tracer, (void *)(x & ~(uintptr_t)TAG_PAIR));
    }
}
TRI_TYPE_TRACE(vector_type, vector, trace_vector);

#define VECTOR_MAGIC UINT64_C(0x7665637426f72213)

/* All values of `v` lead to vectors, or are the number that stands where a pointer could. */
static void vector_check(const vector *v, unsigned depth)
{
    STRESS_CHECK(v->magic == VECTOR_MAGIC, "a vector is lost: %llx", (unsigned long long)v->magic);
    for (int i = 0; depth > 0 && i < VALUES; i++) {
        value x = v->values[i];
        if (!(x & TAG_NUMBER) && x)
            vector_check((const vector *)(x & ~(uintptr_t)TAG_PAIR), depth - 1);
    }
}

static void tag_work(void *arg, unsigned index)
{
    int64_t deadline = *(int64_t *)arg;
    uint64_t seed = index;
    vector **all = tri_new_array(&tri_pointers, 300);
    for (size_t i = 0; i < 300; i++)
        tri_set(&all[i], tri_make(vector_type, .magic = VECTOR_MAGIC));
    while (!stress_over(deadline)) {
        vector *v = all[stress_random(&seed) % 300], *to = all[stress_random(&seed) % 300];
        value x = stress_random(&seed) % 4 ? (value)to | TAG_PAIR : (index << 1) | TAG_NUMBER;
        tri_set((void **)&v->values[stress_random(&seed) % VALUES], (void *)x);
        vector *fresh = tri_make(vector_type, .magic = VECTOR_MAGIC, .values = {(value)v});
        size_t at = stress_random(&seed) % 300;
        tri_set((void **)&fresh->values[1], (void *)(all[at]->values[0] | TAG_PAIR));
        if (all[at]->values[0] & TAG_NUMBER)
            tri_set((void **)&fresh->values[1], NULL);
        tri_set(&all[at], fresh);
        if (at % 8 == 0)
            tri_set((void **)&fresh->values[0], NULL);
        vector_check(all[at], 4);
        tri_poll();
    }
}

Test(stress_types, tagged_words_are_followed_by_a_trace_callback)
{
    for (int mode = 0; mode < STRESS_MODES; mode++) {
        int64_t deadline = stress_deadline(stress_seconds());
        stress_job job = {
            .mode = (stress_mode)mode, .workers = 3, .work = tag_work, .arg = &deadline};
        stress_run(&job);
    }
}
