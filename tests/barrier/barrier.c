/* The barrier's three states, driven by hand: what each store shades. The mutator's state is set
 * directly; no cycle runs, so what was shaded stays to be seen. */
#include <criterion/criterion.h>

#include <string.h>

#include "gc/state.h"
#include "tricolor/tricolor.h"

struct cell {
    struct cell *next;
    long n;
};
TRI_TYPE(cell, struct cell, next);

static tri_heap *heap;
static gc_mutator *self;

static void open_marking(void)
{
    tri_options o;
    tri_options_init(&o);
    o.gogc = -1;
    cr_assert_eq(tri_heap_create(&o, &heap), 0);
    cr_assert_eq(tri_attach(heap), 0);
    self = gc_self();
    atomic_store(&heap->term, TERM_OPEN);
}

static void close_marking(void)
{
    self->pub.barrier = 0;
    self->nbuffer = 0;
    barrier_discard_blocks(heap);
    atomic_store(&heap->term, TERM_DONE);
    atomic_store(&heap->grey, NULL);
    cr_assert_eq(tri_detach(heap), 0);
    cr_assert_eq(tri_heap_destroy(heap), 0);
}

TestSuite(barrier, .init = open_marking, .fini = close_marking);

#define BOTH (TRI_SHADE_OLD | TRI_SHADE_NEW)

/* As the collector does when all have acknowledged a round. */
static size_t shade_blocks(void)
{
    size_t words = 0;
    for (barrier_block *b = barrier_take_blocks(heap); b; b = barrier_give_back(heap, b))
        for (uint32_t i = 0; i < b->count; i++, words++)
            barrier_shade(heap, b->words[i]);
    return words;
}

static bool marked(const void *p)
{
    heap_ref ref = {0};
    shade_blocks();
    barrier_drain(self);
    cr_assert(heap_find(heap, (uintptr_t)p, &ref));
    return heap_is_marked(ref.span, ref.index);
}

/* Stores `new` over `old` in each state and tells which of the two became marked. */
struct outcome {
    bool old, new;
};

typedef void (*store_fn)(struct cell **slot, struct cell *value);

static struct outcome try_store(uint8_t state, store_fn store)
{
    struct cell *holder = tri_new(&cell), *old = tri_new(&cell), *new = tri_new(&cell);
    tri_set(&holder->next, old);
    self->pub.barrier = state;
    store(&holder->next, new);
    struct outcome o = {marked(old), marked(new)};
    self->pub.barrier = 0;
    cr_assert_eq(holder->next, new);
    return o;
}

static void by_set(struct cell **slot, struct cell *value)
{
    tri_set(slot, value);
}
static void by_exchange(struct cell **slot, struct cell *value)
{
    tri_exchange(slot, value);
}
static void by_cas(struct cell **slot, struct cell *value)
{
    void *expected = *slot;
    cr_assert(tri_compare_exchange(slot, &expected, value));
}
static void by_release(struct cell **slot, struct cell *value)
{
    tri_set_release(slot, value);
}
static void by_copy(struct cell **slot, struct cell *value)
{
    tri_copy(slot, &value, 1);
}
static void by_move(struct cell **slot, struct cell *value)
{
    tri_move(slot, &value, 1);
}

Test(barrier, every_kind_of_store_shades_by_the_state)
{
    static const store_fn all[] = {by_set, by_exchange, by_cas, by_release, by_copy, by_move};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct outcome off = try_store(0, all[i]);
        cr_assert(!off.old && !off.new, "store %zu shades while the barrier is off", i);
        struct outcome both = try_store(BOTH, all[i]);
        cr_assert(both.old && both.new, "store %zu does not shade both in BOTH", i);
        struct outcome del = try_store(TRI_SHADE_OLD, all[i]);
        cr_assert(del.old && !del.new, "store %zu does not shade the old value in DELETE", i);
    }
}

Test(barrier, clearing_shades_what_was_there)
{
    struct cell *holder = tri_new(&cell), *old = tri_new(&cell);
    tri_set(&holder->next, old);
    self->pub.barrier = TRI_SHADE_OLD;
    tri_clear(&holder->next, 1);
    cr_assert_null(holder->next);
    cr_assert(marked(old));
}

Test(barrier, an_initialising_store_shades_the_new_value_in_both_only)
{
    static const struct {
        uint8_t state;
        bool shades;
    } cases[] = {{0, false}, {BOTH, true}, {TRI_SHADE_OLD, false}};
    for (size_t i = 0; i < 3; i++) {
        struct cell *holder = tri_new(&cell), *new = tri_new(&cell);
        self->pub.barrier = cases[i].state;
        tri_init(&holder->next, new);
        cr_assert_eq(marked(new), cases[i].shades);
        self->pub.barrier = 0;
    }
}

Test(barrier, a_failed_compare_exchange_shades_no_old_value)
{
    struct cell *holder = tri_new(&cell), *old = tri_new(&cell), *new = tri_new(&cell);
    tri_set(&holder->next, old);
    self->pub.barrier = TRI_SHADE_OLD;
    void *expected = new;
    cr_assert(!tri_compare_exchange(&holder->next, &expected, new));
    cr_assert_eq(expected, old);
    cr_assert(!marked(old));
}

static bool marked_already(const void *p)
{
    heap_ref ref = {0};
    cr_assert(heap_find(heap, (uintptr_t)p, &ref));
    return heap_is_marked(ref.span, ref.index);
}

/* Pushes the same word until the buffer was emptied so often. */
static void fill_buffer(struct cell **slot, struct cell *p, int times)
{
    for (int i = 0; i < times * BARRIER_BUFFER + 1; i++)
        tri_set(slot, p);
}

Test(barrier, a_full_buffer_is_handed_over_and_its_owner_marks_nothing)
{
    struct cell *holder = tri_new(&cell), *p = tri_new(&cell);
    self->pub.barrier = TRI_SHADE_NEW;
    fill_buffer(&holder->next, p, 3);
    cr_assert_eq(self->nbuffer, 1);
    cr_assert(!marked_already(p));
    cr_assert_eq(shade_blocks(), 3 * BARRIER_BUFFER);
    cr_assert(marked_already(p));
}

Test(barrier, a_full_buffer_is_drained_on_the_spot_when_no_block_is_left)
{
    struct cell *holder = tri_new(&cell), *p = tri_new(&cell), *q = tri_new(&cell);
    self->pub.barrier = TRI_SHADE_NEW;
    fill_buffer(&holder->next, p, 1);
    self->nbuffer = 0;
    while (barrier_hand_over(self))
        ;
    fill_buffer(&holder->next, q, 1);
    cr_assert(marked_already(q));
    cr_assert(!marked_already(p));
    shade_blocks();
    cr_assert(marked_already(p));
    cr_assert(barrier_hand_over(self), "blocks that were given back can be used again");
}

Test(barrier, from_done_on_a_full_buffer_is_discarded)
{
    struct cell *holder = tri_new(&cell), *p = tri_new(&cell);
    self->pub.barrier = TRI_SHADE_NEW;
    atomic_store(&heap->term, TERM_DONE);
    fill_buffer(&holder->next, p, 2);
    atomic_store(&heap->term, TERM_OPEN);
    cr_assert_eq(shade_blocks(), 0);
    cr_assert(!marked_already(p));
}

Test(barrier, a_full_buffer_loses_nothing)
{
    enum { N = 5 * BARRIER_BUFFER + 3 };
    struct cell **all = tri_new_array(&tri_pointers, N);
    for (int i = 0; i < N; i++)
        tri_set(&all[i], tri_new(&cell));
    struct cell *seen[N];
    memcpy(seen, all, sizeof seen);
    self->pub.barrier = TRI_SHADE_OLD;
    tri_clear(all, N);
    for (int i = 0; i < N; i++)
        cr_assert(marked(seen[i]), "object %d was lost in the buffer", i);
}

Test(barrier, nothing_is_shaded_from_done_on)
{
    struct cell *p = tri_new(&cell);
    atomic_store(&heap->term, TERM_DONE);
    barrier_shade(heap, (uintptr_t)p);
    cr_assert(!marked(p));
}

Test(barrier, shading_turns_clean_into_dirty_only_if_something_was_newly_marked)
{
    struct cell *p = tri_new(&cell);
    atomic_store(&heap->term, TERM_CLEAN);
    barrier_shade(heap, (uintptr_t)p);
    cr_assert_eq(atomic_load(&heap->term), TERM_DIRTY);
    atomic_store(&heap->term, TERM_CLEAN);
    barrier_shade(heap, (uintptr_t)p);
    cr_assert_eq(atomic_load(&heap->term), TERM_CLEAN);
}

Test(barrier, words_that_are_no_references_are_ignored)
{
    struct cell *p = tri_new(&cell);
    heap_ref ref = {0};
    cr_assert(heap_find(heap, (uintptr_t)p, &ref));
    uintptr_t end = ref.span->base + ref.span->nslots * ref.span->size;
    barrier_shade(heap, 0);
    barrier_shade(heap, 1);
    barrier_shade(heap, (uintptr_t)&p);
    barrier_shade(heap, end);
    barrier_shade(heap, heap->base + heap->reserved - 8);
    cr_assert_null(atomic_load(&heap->grey));
}

Test(barrier, moves_overlapping_areas_in_both_directions)
{
    struct cell **a = tri_new_array(&tri_pointers, 2000);
    struct cell *c[1000];
    for (int i = 0; i < 1000; i++)
        tri_set(&a[i], c[i] = tri_new(&cell));
    tri_move(a + 10, a, 1000);
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(a[i + 10], c[i]);
    tri_move(a + 3, a + 10, 1000);
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(a[i + 3], c[i]);
}
