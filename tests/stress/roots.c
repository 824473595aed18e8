/* Roots that come and go while collections run: registered, written under the barrier, read by
 * other threads, and removed.
 *
 * ctest: timeout=3600
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>

#include "support/stress.h"

#define WORDS  40
#define RANGES 16

typedef struct seed_corn {
    struct seed_corn *next;
    uint64_t magic, number;
} seed_corn;
TRI_TYPE(seed_corn_type, seed_corn, next);

typedef struct field {
    seed_corn *words[WORDS];
    uint64_t numbers[WORDS]; /* the shadow */
    bool registered;
} field;

static void field_open(field *f)
{
    STRESS_CHECK(tri_root_add(tri_current_heap(), f->words, WORDS) == 0, "no root");
    f->registered = true;
}

static void field_close(field *f)
{
    tri_clear(f->words, WORDS);
    for (unsigned i = 0; i < WORDS; i++)
        f->numbers[i] = 0;
    STRESS_CHECK(tri_root_remove(tri_current_heap(), f->words) == 0, "the root is gone");
    STRESS_CHECK(tri_root_remove(tri_current_heap(), f->words) == -ENOENT, "the root is back");
    f->registered = false;
}

static void check_word(const field *f, unsigned i)
{
    const seed_corn *c = f->words[i];
    uint64_t number = f->numbers[i];
    STRESS_CHECK(!c == !number, "a root was changed");
    for (unsigned length = 0; c && length < 3; length++, c = c->next)
        STRESS_CHECK(c->magic == stress_mix(c->number) && (length || c->number == number),
                     "an object that a root holds is lost");
}

static void plant(field *f, unsigned i, uint64_t number)
{
    seed_corn *next = tri_make(seed_corn_type, .number = ~number, .magic = stress_mix(~number));
    tri_set(&f->words[i],
            tri_make(seed_corn_type, .next = next, .number = number, .magic = stress_mix(number)));
    f->numbers[i] = number;
}

/* From a root that may be scanned already to one that may not, or the other way round. */
static void transplant(field *from, unsigned i, field *to, unsigned j)
{
    seed_corn *c = from->words[i];
    uint64_t number = from->numbers[i];
    tri_set(&from->words[i], NULL);
    from->numbers[i] = 0;
    tri_set(&to->words[j], c);
    to->numbers[j] = number;
}

static void step(field *fields, uint64_t *seed, uint64_t *number)
{
    uint64_t dice = stress_random(seed);
    field *f = &fields[(dice >> 8) % RANGES], *g = &fields[(dice >> 16) % RANGES];
    unsigned i = (dice >> 24) % WORDS, j = (dice >> 32) % WORDS;
    if (!f->registered) {
        field_open(f);
        return;
    }
    check_word(f, i);
    if (dice % 64 == 0)
        field_close(f);
    else if (dice % 2)
        plant(f, i, ++*number);
    else if (g->registered)
        transplant(f, i, g, j);
    tri_poll();
}

static void work(void *arg, unsigned index)
{
    int64_t deadline = *(int64_t *)arg;
    uint64_t seed = index, number = (uint64_t)(index + 1) << 40;
    field *fields = stress_calloc(RANGES, sizeof *fields);
    while (!stress_over(deadline))
        for (int i = 0; i < 100; i++)
            step(fields, &seed, &number);
    for (unsigned i = 0; i < RANGES; i++) {
        for (unsigned word = 0; fields[i].registered && word < WORDS; word++)
            check_word(&fields[i], word);
        if (fields[i].registered)
            field_close(&fields[i]);
    }
    free(fields);
}

Test(stress_roots, roots_come_and_go_while_collections_run)
{
    for (int mode = 0; mode < STRESS_MODES; mode++) {
        int64_t deadline = stress_deadline(stress_seconds());
        stress_job job = {.mode = (stress_mode)mode, .workers = 4, .work = work, .arg = &deadline};
        stress_run(&job);
    }
}
