/* Pointers into the middle of objects are all that keeps them alive: to a member, to the last byte,
 * to an element of a large array; in a field, in a word that is scanned conservatively, on a stack.
 *
 * ctest: timeout=3600
 */
#include <criterion/criterion.h>
#include <string.h>

#include "support/stress.h"

#define SLOTS 512
#define LARGE (256 << 10)

typedef struct house {
    uint64_t number;
    char rooms[488];
    struct house *next;
    uint64_t magic;
} house;
TRI_TYPE(house_type, house, next);

typedef struct tenant {
    void *address; /* somewhere in a house */
    size_t offset;
} tenant;
TRI_TYPE(tenant_type, tenant, address);

static house *house_new(uint64_t number)
{
    return tri_make(house_type, .number = number, .magic = stress_mix(number));
}

static void house_check(const void *address, size_t offset, uint64_t number)
{
    const house *h = (const house *)((const char *)address - offset);
    STRESS_CHECK(h->number == number && h->magic == stress_mix(number), "house %llu is lost",
                 (unsigned long long)number);
}

/* Exact fields: tenants in a list whose houses only they hold. */
static void through_fields(uint64_t *seed)
{
    tenant **all = tri_new_array(&tri_pointers, SLOTS);
    for (uint64_t i = 0; i < SLOTS; i++) {
        size_t offset = stress_random(seed) % sizeof(house);
        char *inside = (char *)house_new(i) + offset;
        tri_set(&all[i], tri_make(tenant_type, .address = inside, .offset = offset));
    }
    tri_collect(tri_current_heap());
    for (uint64_t i = 0; i < SLOTS; i++)
        house_check(all[i]->address, all[i]->offset, i);
}

static void through_words(uint64_t *seed)
{
    uintptr_t *words = tri_new_array(&tri_words, 2 * SLOTS);
    for (uint64_t i = 0; i < SLOTS; i++) {
        size_t offset = stress_random(seed) % sizeof(house);
        tri_set((void **)&words[2 * i], (char *)house_new(i) + offset);
        words[2 * i + 1] = offset;
    }
    tri_collect(tri_current_heap());
    for (uint64_t i = 0; i < SLOTS; i++)
        house_check((void *)words[2 * i], words[2 * i + 1], i);
}

static void through_the_stack(uint64_t *seed)
{
    char *inside[64];
    size_t offsets[64];
    for (uint64_t i = 0; i < 64; i++) {
        offsets[i] = stress_random(seed) % sizeof(house);
        inside[i] = (char *)house_new(i) + offsets[i];
    }
    tri_yield();
    tri_collect(tri_current_heap());
    for (uint64_t i = 0; i < 64; i++)
        house_check(inside[i], offsets[i], i);
}

static void into_large_objects(uint64_t *seed)
{
    uint64_t *large = tri_new_array(&tri_bytes, LARGE);
    size_t words = LARGE / sizeof *large, at = stress_random(seed) % words;
    for (size_t i = 0; i < words; i++)
        large[i] = i;
    void **holder = tri_new_array(&tri_pointers, 1);
    tri_set(&holder[0], (char *)&large[at] + at % 8);
    large = NULL;
    tri_collect(tri_current_heap());
    const uint64_t *again = (const uint64_t *)((char *)holder[0] - at % 8) - at;
    for (size_t i = 0; i < words; i++)
        STRESS_CHECK(again[i] == i, "word %zu of a large object is lost", i);
}

static void work(void *arg, unsigned index)
{
    int64_t deadline = *(int64_t *)arg;
    uint64_t seed = index;
    while (!stress_over(deadline)) {
        through_fields(&seed);
        through_words(&seed);
        through_the_stack(&seed);
        into_large_objects(&seed);
    }
}

Test(stress_interior, an_interior_pointer_keeps_its_object)
{
    for (int mode = 0; mode < STRESS_MODES; mode++) {
        int64_t deadline = stress_deadline(stress_seconds());
        stress_job job = {.mode = (stress_mode)mode, .workers = 4, .work = work, .arg = &deadline};
        stress_run(&job);
    }
}
