/* The mesh: lists on shelves, a pool between workers, and their shadows. See mesh.h. */
#include "support/mesh.h"

#include <stdlib.h>
#include <string.h>

#define SHELVES        192
#define LENGTH_MAX     12
#define POOL           64
#define BLOB_WORDS_MAX 40
#define WALK_MAX       64

typedef struct thing {
    struct thing *next;
    uint64_t *blob;
    uint64_t number, magic;
} thing;
TRI_TYPE(mesh_thing, thing, next, blob);

typedef struct shelf_shadow {
    unsigned length;
    uint64_t numbers[LENGTH_MAX]; /* the head is the last */
} shelf_shadow;

typedef struct owner {
    mesh *mesh;
    uint64_t seed, next_number;
    size_t first; /* its shelves in the table */
    shelf_shadow shadows[SHELVES];
    uint64_t pooled; /* numbers put into the pool, less those taken out */
    uint64_t operations;
} owner;

struct mesh {
    unsigned workers;
    mesh_sabotage sabotage;
    int64_t deadline;
    thing **table; /* roots: each a managed array */
    thing **pool;
    owner *owners;
};

/* ---- things ------------------------------------------------------------------------------------ */

static size_t blob_words(uint64_t magic)
{
    return 1 + magic % BLOB_WORDS_MAX;
}

static uint64_t *blob_new(uint64_t magic)
{
    size_t words = blob_words(magic);
    uint64_t *blob = tri_new_array(&tri_bytes, words * sizeof *blob);
    for (size_t i = 0; i < words; i++)
        blob[i] = magic ^ i;
    return blob;
}

static void thing_check(const thing *t)
{
    STRESS_CHECK(t->magic == stress_mix(t->number), "thing %llx is lost: magic %llx",
                 (unsigned long long)t->number, (unsigned long long)t->magic);
    const uint64_t *blob = tri_load(&t->blob);
    STRESS_CHECK(blob, "thing %llx has lost its blob", (unsigned long long)t->number);
    for (size_t i = 0; i < blob_words(t->magic); i++)
        STRESS_CHECK(blob[i] == (t->magic ^ i), "the blob of %llx is lost",
                     (unsigned long long)t->number);
}

static void store(const mesh *m, thing **slot, thing *value)
{
    if (m->sabotage == MESH_NO_BARRIER)
        __atomic_store_n(slot, value, __ATOMIC_RELEASE);
    else
        tri_set_release(slot, value);
}

static thing *thing_made(uint64_t number, thing *next)
{
    uint64_t magic = stress_mix(number);
    uint64_t *blob = blob_new(magic);
    return tri_make(mesh_thing, .next = next, .blob = blob, .number = number, .magic = magic);
}

/* Empty for a while, in which handshakes, parkings and scans of it may fall. */
static thing *thing_initialised(const mesh *m, uint64_t number, thing *next)
{
    thing *t = tri_new(&mesh_thing);
    t->number = number;
    t->magic = stress_mix(number);
    if (number % 4 == 0)
        tri_yield();
    uint64_t *blob = blob_new(t->magic);
    if (m->sabotage == MESH_NO_INIT) {
        __atomic_store_n(&t->blob, blob, __ATOMIC_RELAXED);
        __atomic_store_n(&t->next, next, __ATOMIC_RELAXED);
    } else {
        tri_init(&t->blob, blob);
        tri_init(&t->next, next);
    }
    return t;
}

static thing *thing_new(owner *o, thing *next)
{
    uint64_t number = o->next_number++;
    return number % 2 ? thing_made(number, next) : thing_initialised(o->mesh, number, next);
}

/* ---- shelves ----------------------------------------------------------------------------------- */

static thing **slot_of(owner *o, unsigned shelf)
{
    return &o->mesh->table[o->first + shelf];
}

static void shelf_check(owner *o, unsigned shelf)
{
    const shelf_shadow *s = &o->shadows[shelf];
    thing *t = tri_load(slot_of(o, shelf));
    for (unsigned left = s->length; left > 0; left--) {
        STRESS_CHECK(t, "shelf %u has lost %u things", shelf, left);
        thing_check(t);
        STRESS_CHECK(t->number == s->numbers[left - 1], "thing %llx in place of %llx",
                     (unsigned long long)t->number, (unsigned long long)s->numbers[left - 1]);
        t = tri_load(&t->next);
    }
    STRESS_CHECK(!t, "shelf %u has too many things", shelf);
}

/* Takes the head off; the caller's stack alone holds it then. */
static thing *pop(owner *o, unsigned shelf)
{
    shelf_shadow *s = &o->shadows[shelf];
    if (s->length == 0)
        return NULL;
    thing *t = tri_load(slot_of(o, shelf));
    thing_check(t);
    STRESS_CHECK(t->number == s->numbers[--s->length], "the wrong thing on a shelf");
    store(o->mesh, slot_of(o, shelf), tri_load(&t->next));
    return t;
}

static void push(owner *o, unsigned shelf, thing *t)
{
    shelf_shadow *s = &o->shadows[shelf];
    if (s->length == LENGTH_MAX) {
        store(o->mesh, slot_of(o, shelf), NULL);
        s->length = 0;
    }
    store(o->mesh, &t->next, tri_load(slot_of(o, shelf)));
    store(o->mesh, slot_of(o, shelf), t);
    s->numbers[s->length++] = t->number;
}

static void push_new(owner *o, unsigned shelf)
{
    shelf_shadow *s = &o->shadows[shelf];
    if (s->length == LENGTH_MAX)
        return;
    thing *t = thing_new(o, tri_load(slot_of(o, shelf)));
    store(o->mesh, slot_of(o, shelf), t);
    s->numbers[s->length++] = t->number;
}

/* ---- what a worker does ------------------------------------------------------------------------ */

static void move(owner *o, unsigned from, unsigned to)
{
    thing *t = pop(o, from);
    if (!t)
        return;
    if (t->number % 8 == 0)
        tri_yield();
    push(o, to, t);
}

/* Exchanges whole shelves through the stack. */
static void swap(owner *o, unsigned a, unsigned b)
{
    thing *in_a = tri_load(slot_of(o, a)), *in_b = tri_load(slot_of(o, b));
    store(o->mesh, slot_of(o, a), in_b);
    store(o->mesh, slot_of(o, b), in_a);
    shelf_shadow s = o->shadows[a];
    o->shadows[a] = o->shadows[b];
    o->shadows[b] = s;
}

/* Builds the list anew from its end, as a copy that shares the blobs. */
static void rebuild(owner *o, unsigned shelf)
{
    const shelf_shadow *s = &o->shadows[shelf];
    thing *old[LENGTH_MAX], *t = tri_load(slot_of(o, shelf)), *list = NULL;
    for (unsigned i = 0; i < s->length; i++, t = tri_load(&t->next))
        old[i] = t;
    for (unsigned i = s->length; i-- > 0;) {
        uint64_t *blob = tri_load(&old[i]->blob);
        list = tri_make(mesh_thing, .next = list, .blob = blob, .number = old[i]->number,
                        .magic = old[i]->magic);
    }
    store(o->mesh, slot_of(o, shelf), list);
}

static thing *swap_with_pool(owner *o, thing **slot, thing *mine)
{
    if (stress_random(&o->seed) % 2)
        return tri_exchange(slot, mine);
    void *found = tri_load(slot);
    while (!tri_compare_exchange(slot, &found, mine)) {}
    return found;
}

/* Gives a thing to the pool and gets another one, made by who knows whom. */
static void trade(owner *o, unsigned shelf)
{
    thing *mine = pop(o, shelf);
    if (mine) {
        store(o->mesh, &mine->next, NULL);
        o->pooled += mine->number;
    }
    thing *got = swap_with_pool(o, &o->mesh->pool[stress_random(&o->seed) % POOL], mine);
    if (!got)
        return;
    thing_check(got);
    o->pooled -= got->number;
    push(o, shelf, got);
}

/* Another worker's list may change under us, so only the things themselves can be checked. */
static void walk_another(owner *o)
{
    const mesh *m = o->mesh;
    thing *t = __atomic_load_n(&m->table[stress_random(&o->seed) % (m->workers * SHELVES)],
                               __ATOMIC_ACQUIRE);
    for (unsigned i = 0; t && i < WALK_MAX; i++) {
        thing_check(t);
        t = __atomic_load_n(&t->next, __ATOMIC_ACQUIRE);
    }
}

static void step(owner *o)
{
    uint64_t dice = stress_random(&o->seed);
    unsigned a = (dice >> 8) % SHELVES, b = (dice >> 24) % SHELVES;
    switch (dice % 16) {
    case 0:
    case 1:
    case 2:
    case 3: push_new(o, a); break;
    case 4:
    case 5:
    case 6: move(o, a, b); break;
    case 7:
    case 8: swap(o, a, b); break;
    case 9: rebuild(o, a); break;
    case 10:
    case 11: trade(o, a); break;
    case 12:
    case 13: walk_another(o); break;
    case 14: pop(o, a); break;
    default: shelf_check(o, a); break;
    }
    o->operations++;
    tri_poll();
}

/* ---- the job ----------------------------------------------------------------------------------- */

mesh *mesh_new(unsigned workers, mesh_sabotage sabotage)
{
    mesh *m = stress_calloc(1, sizeof *m);
    m->workers = workers;
    m->sabotage = sabotage;
    m->owners = stress_calloc(workers, sizeof *m->owners);
    for (unsigned i = 0; i < workers; i++) {
        owner *o = &m->owners[i];
        o->mesh = m;
        o->seed = stress_mix(i + 1);
        o->next_number = ((uint64_t)i + 1) << 40;
        o->first = (size_t)i * SHELVES;
    }
    return m;
}

void mesh_free(mesh *m)
{
    free(m->owners);
    free(m);
}

void mesh_setup(void *arg)
{
    mesh *m = arg;
    STRESS_CHECK(tri_root_add(tri_current_heap(), &m->table, 1) == 0, "no root");
    STRESS_CHECK(tri_root_add(tri_current_heap(), &m->pool, 1) == 0, "no root");
    tri_set(&m->table, tri_new_array(&tri_pointers, (size_t)m->workers * SHELVES));
    tri_set(&m->pool, tri_new_array(&tri_pointers, POOL));
    m->deadline = stress_deadline(stress_seconds());
}

void mesh_work(void *arg, unsigned index)
{
    mesh *m = arg;
    owner *o = &m->owners[index];
    while (!stress_over(m->deadline)) {
        for (int i = 0; i < 64; i++)
            step(o);
        tri_yield();
    }
}

void mesh_check(void *arg)
{
    mesh *m = arg;
    uint64_t pooled = 0;
    for (unsigned i = 0; i < m->workers; i++) {
        for (unsigned shelf = 0; shelf < SHELVES; shelf++)
            shelf_check(&m->owners[i], shelf);
        pooled += m->owners[i].pooled;
    }
    for (unsigned i = 0; i < POOL; i++) {
        thing *t = tri_load(&m->pool[i]);
        if (!t)
            continue;
        thing_check(t);
        pooled -= t->number;
    }
    STRESS_CHECK(pooled == 0, "the pool has lost a thing");
    tri_set(&m->table, NULL);
    tri_set(&m->pool, NULL);
    tri_root_remove(tri_current_heap(), &m->table);
    tri_root_remove(tri_current_heap(), &m->pool);
}

uint64_t mesh_operations(const mesh *m)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < m->workers; i++)
        sum += m->owners[i].operations;
    return sum;
}
