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

/* Word 0 holds the object's number and type, word 1 its magic; some of the rest are pointers. */
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

static void **field(made_type *t, void *object, unsigned i)
{
    return (void **)((char *)object + t->at[i].offset);
}

static uint64_t *animal_new(zoo *z, uint64_t *seed, uint64_t number)
{
    /* Mostly of a few types: those earn spans, the others do not. */
    uint64_t type = stress_random(seed) % (stress_random(seed) % 2 ? 8 : TYPES);
    uint64_t *a = tri_new(&z->types[type].type);
    a[0] = number * TYPES + type;
    a[1] = stress_mix(a[0]);
    return a;
}

static made_type *type_of(zoo *z, const uint64_t *a)
{
    STRESS_CHECK(a && a[0] && a[1] == stress_mix(a[0]), "an object is lost: word 0 is %llx",
                 a ? (unsigned long long)a[0] : 0);
    return &z->types[a[0] % TYPES];
}

static void animal_check(zoo *z, uint64_t *a, unsigned depth)
{
    made_type *t = type_of(z, a);
    for (unsigned i = 0; depth > 0 && i < t->fields; i++) {
        uint64_t *next = tri_load(field(t, a, i));
        if (next)
            animal_check(z, next, depth - 1);
    }
}

typedef struct keeper {
    zoo *zoo;
    uint64_t seed, number;
    uint64_t **cages;
    uint64_t shadow[OBJECTS];
} keeper;

/* The one that leaves forgets its friends; else no one would ever be forgotten. */
static void replace(keeper *k, size_t i)
{
    uint64_t *old = k->cages[i], *fresh = animal_new(k->zoo, &k->seed, ++k->number);
    tri_set(&k->cages[i], fresh);
    k->shadow[i] = fresh[0];
    if (!old)
        return;
    made_type *t = type_of(k->zoo, old);
    for (unsigned f = 0; f < t->fields; f++)
        tri_set(field(t, old, f), NULL);
}

static void befriend(keeper *k, size_t i)
{
    made_type *t = type_of(k->zoo, k->cages[i]);
    for (unsigned f = 0; f < t->fields; f++)
        tri_set(field(t, k->cages[i], f), k->cages[stress_random(&k->seed) % OBJECTS]);
}

static void cage_check(keeper *k, size_t i)
{
    animal_check(k->zoo, k->cages[i], 3);
    STRESS_CHECK(k->cages[i][0] == k->shadow[i], "the wrong object is in a cage");
}

static void zoo_work(void *arg, unsigned index)
{
    keeper *k = stress_calloc(1, sizeof *k);
    k->zoo = arg;
    k->seed = index;
    uint64_t **cages = k->cages = tri_new_array(&tri_pointers, OBJECTS);
    for (size_t i = 0; i < OBJECTS; i++)
        replace(k, i);
    while (!stress_over(k->zoo->deadline)) {
        size_t i = stress_random(&k->seed) % OBJECTS;
        cage_check(k, i);
        befriend(k, i);
        replace(k, stress_random(&k->seed) % OBJECTS);
    }
    for (size_t i = 0; i < OBJECTS; i++)
        cage_check(k, i);
    tri_keep_alive(cages); /* k itself lies in C memory */
    free(k);
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

#define VECTORS 300

/* A fresh vector that knows another, in place of one that then knows nobody. */
static void vector_replace(vector **all, size_t at, vector *friend)
{
    vector *old = all[at];
    tri_set(&all[at], tri_make(vector_type, .magic = VECTOR_MAGIC,
                               .values = {(value) friend, (value)old | TAG_PAIR}));
    for (int i = 0; i < VALUES; i++)
        tri_set(&old->values[i], (value)TAG_NUMBER);
}

static void tag_work(void *arg, unsigned index)
{
    int64_t deadline = *(int64_t *)arg;
    uint64_t seed = index;
    vector **all = tri_new_array(&tri_pointers, VECTORS);
    for (size_t i = 0; i < VECTORS; i++)
        tri_set(&all[i], tri_make(vector_type, .magic = VECTOR_MAGIC));
    while (!stress_over(deadline)) {
        vector *v = all[stress_random(&seed) % VECTORS], *to = all[stress_random(&seed) % VECTORS];
        value x = stress_random(&seed) % 4 ? (value)to | TAG_PAIR : (value)to | TAG_NUMBER;
        tri_set(&v->values[stress_random(&seed) % VALUES], x);
        vector_check(v, 4);
        vector_replace(all, stress_random(&seed) % VECTORS, v);
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
