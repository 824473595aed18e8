/* Run tables: refills, two tables, generations, mixed spans, and exhaustion. */
#include "heap/mcache.h"

#include "fixture.h"
#include "os/fault.h"

#define RESERVE ((size_t)256 << 20)

static void use_up_run(heap_cache *c, uint32_t cell, heap_colour colour)
{
    const tri_slots *run = &c->tables[c->active].runs[cell];
    while (run->cur < run->end)
        alloc_from(c, cell, colour);
}

Test(mcache, a_first_object_is_zeroed_and_found)
{
    tri_heap *h = heap_for_test(RESERVE);
    heap_cache *c = cache_of(h);
    tri_type t = type_of("first", 48);
    char *p = alloc_from(c, cell_of(h, &t), white(h));
    cr_assert(p && is_object(h, p));
    for (int i = 0; i < 48; i++)
        cr_assert_eq(p[i], 0);
    cr_assert_eq(tri_object_base(h, p + 47), p);
    cr_assert_eq(tri_object_type(h, p + 1), &t);
    cr_assert_geq(tri_object_size(h, p), 48);
    cr_assert_null(tri_object_base(h, &t));
    heap_cache_free(c);
    heap_for_test_end(h);
}

Test(mcache, a_type_with_its_own_spans_has_slots_of_exactly_its_size)
{
    tri_heap *h = heap_for_test(RESERVE);
    heap_cache *c = cache_of(h);
    tri_type t = type_of("exact", 72);
    uint32_t cell = own_cell_of(h, &t);
    char *p = alloc_from(c, cell, white(h)), *q = alloc_from(c, cell, white(h));
    cr_assert_eq(q - p, 72);
    cr_assert_eq(tri_object_size(h, p), 72);
    heap_cache_free(c);
    heap_for_test_end(h);
}

/* Allocates n objects and fills them, each with its own number. */
static uint64_t **many(heap_cache *c, uint32_t cell, heap_colour colour, size_t n, size_t size)
{
    uint64_t **p = malloc(n * sizeof *p);
    for (size_t i = 0; i < n; i++) {
        p[i] = alloc_from(c, cell, colour);
        cr_assert_not_null(p[i]);
        for (size_t k = 0; k < size / 8; k++) {
            cr_assert_eq(p[i][k], 0, "object %zu was not zero, or is two objects", i);
            p[i][k] = i + 1;
        }
    }
    return p;
}

Test(mcache, refills_only_clear_slots)
{
    tri_heap *h = heap_for_test(RESERVE);
    heap_cache *c = cache_of(h);
    tri_type t = type_of("refilled", 56);
    uint32_t cell = own_cell_of(h, &t);
    enum { N = 5000 };
    uint64_t **p = many(c, cell, white(h), N, 56);
    switch_and_retire(h, c);
    for (int i = 0; i < N; i += 1 + i % 5)
        mark_object(h, p[i]);
    sweep_all(h);
    uint64_t before = inuse(h);
    uint64_t **q = many(c, cell, white(h), N / 2, 56);
    for (int i = 0; i < N; i += 1 + i % 5)
        for (int k = 0; k < 7; k++)
            cr_assert_eq(p[i][k], (uint64_t)i + 1, "a live object was overwritten");
    cr_assert_leq(inuse(h), before + 8 * HEAP_PAGE, "swept slots were not used again");
    free(p);
    free(q);
    heap_cache_free(c);
    heap_for_test_end(h);
}

Test(mcache, slots_reserved_before_a_switch_are_not_issued_after_it)
{
    tri_heap *h = heap_for_test(RESERVE);
    heap_cache *c = cache_of(h);
    tri_type t = type_of("switched", 64);
    uint32_t cell = own_cell_of(h, &t);
    char *p = alloc_from(c, cell, white(h));
    tri_slots old = c->tables[c->active].runs[cell];
    heap_cache_switch(c, 1);
    char *q = alloc_from(c, cell, black(h));
    cr_assert((uintptr_t)q < old.cur || (uintptr_t)q >= old.end);
    heap_ref ref = found(h, q);
    cr_assert(heap_is_marked(ref.span, ref.index));
    ref = found(h, p);
    cr_assert_not(heap_is_marked(ref.span, ref.index));
    heap_cache_free(c);
    heap_for_test_end(h);
}

Test(mcache, retiring_takes_back_what_was_not_issued_and_nothing_else)
{
    tri_heap *h = heap_for_test(RESERVE);
    heap_cache *c = cache_of(h);
    tri_type a = type_of("own", 64), b = type_of("mixed", 64);
    uint32_t cells[2] = {own_cell_of(h, &a), cell_of(h, &b)};
    for (int k = 0; k < 2; k++) {
        char *p[10];
        for (int i = 0; i < 10; i++)
            p[i] = alloc_from(c, cells[k], white(h));
        tri_slots old = c->tables[c->active].runs[cells[k]];
        heap_span *s = found(h, p[0]).span;
        switch_and_retire(h, c);
        for (uintptr_t slot = old.cur; slot < old.end; slot += old.size)
            cr_assert_not(is_object(h, (void *)slot), "an unissued slot is still allocated");
        for (int i = 0; i < 10; i++)
            cr_assert(is_object(h, p[i]));
        cr_assert_not(atomic_load(&s->state) & SPAN_HELD, "a retired table holds a span");
        tri_slots now = c->tables[c->active ^ 1].runs[cells[k]];
        cr_assert(!now.cur && !now.end && !now.size && !now.owner);
        cr_assert_eq(c->tables[c->active ^ 1].nused, 0);
    }
    heap_cache_free(c);
    heap_for_test_end(h);
}

Test(mcache, a_retired_span_is_refilled_where_it_was_left)
{
    tri_heap *h = heap_for_test(RESERVE);
    heap_cache *c = cache_of(h);
    tri_type t = type_of("left", 64);
    uint32_t cell = own_cell_of(h, &t);
    for (uint32_t cycle = 0; cycle < 100; cycle++) {
        alloc_from(c, cell, white(h));
        switch_and_retire(h, c);
    }
    cr_assert_eq(atomic_load(&class_of(h, cell)->spans), 1);
    heap_cache_free(c);
    heap_for_test_end(h);
}

Test(mcache, a_mutator_past_h5_leaves_older_spans_alone_until_the_sweep)
{
    tri_heap *h = heap_for_test(RESERVE);
    heap_cache *c = cache_of(h);
    tri_type t = type_of("past", 64);
    uint32_t cell = own_cell_of(h, &t), gen = gen_of_heap(h);
    char *p = alloc_from(c, cell, black(h));
    heap_span *old = found(h, p).span;
    heap_colour ahead = {false, gen + 1};
    /* What is left of the run that was reserved black is issued, the rest comes from elsewhere. */
    char *q[200];
    for (int i = 0; i < 200; i++) {
        q[i] = alloc_from(c, cell, ahead);
        heap_ref ref = found(h, q[i]);
        bool is_black = heap_is_marked(ref.span, ref.index);
        cr_assert_eq(ref.span == old, is_black, "object %d", i);
    }
    cr_assert_neq(found(h, q[199]).span, old);
    sweep_all(h);
    for (int i = 0; i < 200; i++)
        cr_assert(is_object(h, q[i]), "the sweep took an object that was born after H5");
    cr_assert(is_object(h, p));
    sweep_all(h);
    for (int i = 0; i < 200; i++)
        cr_assert_not(is_object(h, q[i]), "a mark survived a sweep");
    heap_cache_free(c);
    heap_for_test_end(h);
}

Test(mcache, a_held_span_is_swept_in_place_and_its_run_survives)
{
    tri_heap *h = heap_for_test(RESERVE);
    heap_cache *c = cache_of(h);
    tri_type t = type_of("held", 64);
    uint32_t cell = own_cell_of(h, &t);
    char *dead = alloc_from(c, cell, white(h));
    switch_and_retire(h, c);
    char *p = alloc_from(c, cell, black(h));
    heap_span *s = found(h, p).span;
    cr_assert_eq(found(h, dead).span, s);
    sweep_all(h);
    cr_assert(atomic_load(&s->state) & SPAN_HELD);
    cr_assert_eq(heap_state_gen(atomic_load(&s->state)), gen_of_heap(h));
    cr_assert_not(is_object(h, dead));
    cr_assert(is_object(h, p));
    for (int i = 0; i < 20; i++)
        cr_assert(is_object(h, alloc_from(c, cell, white(h))), "a reserved slot was swept away");
    heap_cache_free(c);
    heap_for_test_end(h);
}

Test(mcache, a_refill_sweeps_its_own_held_span_before_it_goes_on)
{
    tri_heap *h = heap_for_test(RESERVE);
    heap_cache *c = cache_of(h);
    tri_type t = type_of("own_sweep", 4096);
    uint32_t cell = own_cell_of(h, &t);
    char *p = alloc_from(c, cell, black(h));
    use_up_run(c, cell, black(h));
    heap_span *s = found(h, p).span;
    heap_sweep_begin(h);
    alloc_from(c, cell, white(h));
    cr_assert_eq(heap_state_gen(atomic_load(&s->state)), gen_of_heap(h));
    for (uint32_t i = 0; i < s->nslots; i++)
        cr_assert_not(heap_is_marked(s, i));
    bool busy;
    while (heap_sweep_some(h, 100, &busy))
        ;
    heap_cache_free(c);
    heap_for_test_end(h);
}

Test(mcache, a_refill_leaves_a_span_to_the_one_who_sweeps_it)
{
    tri_heap *h = heap_for_test(RESERVE);
    heap_cache *c = cache_of(h);
    tri_type t = type_of("other_sweeper", 4096);
    uint32_t cell = own_cell_of(h, &t);
    char *p = alloc_from(c, cell, black(h));
    use_up_run(c, cell, black(h));
    heap_span *s = found(h, p).span;
    heap_sweep_begin(h);
    atomic_fetch_or(&s->state, SPAN_SWEEPING);
    char *q = alloc_from(c, cell, white(h));
    cr_assert(q && found(h, q).span != s);
    uint32_t old = gen_of_heap(h) - 1;
    cr_assert_eq(atomic_load(&s->state), heap_state(old, SPAN_SWEEPING));
    bool busy = false;
    while (heap_sweep_some(h, 100, &busy))
        ;
    cr_assert(busy, "the sweep counts as complete while somebody sweeps");
    atomic_fetch_and(&s->state, ~SPAN_SWEEPING);
    heap_span_place(s, true);
    while (heap_sweep_some(h, 100, &busy) || busy)
        ;
    cr_assert(is_object(h, p));
    heap_cache_free(c);
    heap_for_test_end(h);
}

static int64_t swept_ns = -1;
static void *swept_owner;
static void note_swept(void *owner, int64_t start, int64_t end)
{
    swept_owner = owner;
    swept_ns = end - start;
}

Test(mcache, only_a_refill_that_sweeps_reports_it)
{
    tri_heap *h = heap_for_test(RESERVE);
    heap_cache *c = cache_of(h);
    tri_type t = type_of("reported", 64);
    uint32_t cell = own_cell_of(h, &t);
    h->hooks.refill_swept = note_swept;
    atomic_store(&c->owner, &t);
    free(many(c, cell, white(h), 1000, 64));
    cr_assert_eq(swept_ns, -1);
    switch_and_retire(h, c);
    heap_sweep_begin(h);
    alloc_from(c, cell, white(h));
    cr_assert_geq(swept_ns, 0);
    cr_assert_eq(swept_owner, &t);
    bool busy;
    while (heap_sweep_some(h, 100, &busy))
        ;
    heap_cache_free(c);
    heap_for_test_end(h);
}

/* ---- mixed spans ----------------------------------------------------------------------------- */

Test(mcache, a_thousand_rare_types_share_spans_and_keep_their_types)
{
    enum { TYPES = 1000, EACH = 10 };
    tri_heap *h = heap_for_test(RESERVE);
    heap_cache *c = cache_of(h);
    tri_type *types = calloc(TYPES, sizeof *types);
    char(*names)[16] = calloc(TYPES, sizeof *names);
    void *(*p)[EACH] = calloc(TYPES, sizeof *p);
    size_t bytes = 0;
    for (int i = 0; i < TYPES; i++) {
        snprintf(names[i], sizeof names[i], "rare%d", i);
        types[i] = type_of(names[i], 16 + (size_t)(i % 10) * 8);
    }
    for (int k = 0; k < EACH; k++)
        for (int i = 0; i < TYPES; i++) {
            p[i][k] = alloc_from(c, cell_of(h, &types[i]), white(h));
            bytes += types[i].size;
        }
    cr_assert_lt(inuse(h), 2 * bytes, "%lu bytes of spans for %zu bytes of objects",
                 (unsigned long)inuse(h), bytes);
    for (int i = 0; i < TYPES; i++)
        for (int k = 0; k < EACH; k++) {
            cr_assert_eq(tri_object_type(h, p[i][k]), &types[i]);
            cr_assert(is_object(h, p[i][k]));
        }
    switch_and_retire(h, c);
    for (int i = 0; i < TYPES; i += 2)
        mark_object(h, p[i][i % EACH]);
    sweep_all(h);
    for (int i = 0; i < TYPES; i++)
        for (int k = 0; k < EACH; k++)
            cr_assert_eq(is_object(h, p[i][k]), i % 2 == 0 && k == i % EACH);
    heap_cache_free(c);
    heap_for_test_end(h);
}

Test(mcache, a_type_gets_spans_of_its_own_when_it_has_earned_them)
{
    tri_heap *h = heap_for_test(RESERVE);
    heap_cache *c = cache_of(h);
    tri_type t = type_of("grows", 64);
    uint32_t cell = cell_of(h, &t);
    cr_assert(class_of(h, cell)->mixed);
    free(many(c, cell, white(h), 20, 64));
    cr_assert(class_of(h, cell)->mixed);
    free(many(c, cell, white(h), 60, 64));
    cr_assert_not(class_of(h, cell)->mixed);
    void *p = NULL;
    for (int i = 0; i < 10; i++)
        p = alloc_from(c, cell, white(h));
    cr_assert_eq(found(h, p).span->layout, heap_type_layout(h, &t, false));
    heap_cache_free(c);
    sweep_all(h);
    sweep_all(h);
    cr_assert_eq(inuse(h), 0);
    heap_for_test_end(h);
}

Test(mcache, mixed_spans_that_are_used_up_stay_held_until_their_table_is_retired)
{
    tri_heap *h = heap_for_test(RESERVE);
    heap_cache *c = cache_of(h);
    enum { TYPES = 200 };
    tri_type types[TYPES];
    char names[TYPES][16];
    void *first = NULL;
    for (int i = 0; i < TYPES; i++) {
        snprintf(names[i], 16, "held%d", i);
        types[i] = type_of(names[i], 128);
        for (int k = 0; k < 3; k++) {
            void *p = alloc_from(c, cell_of(h, &types[i]), black(h));
            first = first ? first : p;
        }
    }
    heap_span *s = found(h, first).span;
    cr_assert(atomic_load(&s->state) & SPAN_HELD);
    sweep_all(h);
    for (int i = 0; i < TYPES; i++)
        for (int k = 0; k < 3; k++)
            cr_assert(is_object(h, alloc_from(c, cell_of(h, &types[i]), white(h))));
    switch_and_retire(h, c);
    cr_assert_not(atomic_load(&s->state) & SPAN_HELD);
    sweep_all(h);
    cr_assert_eq(inuse(h), 0);
    heap_cache_free(c);
    heap_for_test_end(h);
}

/* ---- pacing and exhaustion --------------------------------------------------------------------- */

static int triggered;
static void trigger(tri_heap *h)
{
    (void)h;
    triggered++;
}

Test(mcache, the_trigger_is_pulled_when_live_passes_it)
{
    tri_heap *h = heap_for_test(RESERVE);
    heap_cache *c = cache_of(h);
    tri_type t = type_of("trigger", 1024);
    uint32_t cell = own_cell_of(h, &t);
    h->hooks.trigger = trigger;
    atomic_store(&h->trigger, (uint64_t)1 << 20);
    for (int i = 0; i < 900; i++)
        alloc_from(c, cell, white(h));
    cr_assert_eq(triggered, 0);
    for (int i = 0; i < 200; i++)
        alloc_from(c, cell, white(h));
    cr_assert_gt(triggered, 0);
    heap_cache_flush(c);
    uint64_t live = atomic_load(&h->live);
    cr_assert(live >= 1100 * 1024 && live <= 1100 * 1024 + 65536);
    switch_and_retire(h, c);
    sweep_all(h);
    cr_assert_eq(atomic_load(&h->live), 0);
    heap_cache_free(c);
    heap_for_test_end(h);
}

Test(mcache, at_the_hard_limit_there_is_null_and_the_heap_stays_usable)
{
    tri_heap *h = heap_for_test(RESERVE);
    heap_cache *c = cache_of(h);
    atomic_store(&h->hard_limit, (uint64_t)4 << 20);
    tri_type types[3] = {type_of("limit0", 64), type_of("limit1", 2000), type_of("limit2", 32768)};
    for (int round = 0; round < 5; round++) {
        size_t n = 0;
        for (int k = 0; k < 3; k++)
            while (alloc_from(c, cell_of(h, &types[k]), white(h)))
                n++;
        cr_assert_gt(n, 100);
        cr_assert_leq(inuse(h), (uint64_t)4 << 20);
        switch_and_retire(h, c);
        sweep_all(h);
        cr_assert_eq(inuse(h), 0);
    }
    heap_cache_free(c);
    heap_for_test_end(h);
}

Test(mcache, failing_system_calls_cost_the_allocation_only)
{
    if (os_fault_configure("none:1") == -ENOSYS)
        cr_skip_test("built without fault injection");
    for (int n = 1; n < 40; n++) {
        tri_heap *h = heap_for_test(RESERVE);
        char spec[32];
        snprintf(spec, sizeof spec, "*:%d+", n);
        os_fault_configure(spec);
        heap_cache *c;
        int err = heap_cache_new(h, &c);
        tri_type t = type_of("failing", 512);
        int cell = 0;
        size_t got = 0;
        if (!err && (cell = heap_type_cell(h, &t, SIZE_MAX)) > 0)
            while (got < 20000 && alloc_from(c, (uint32_t)cell, white(h)))
                got++;
        os_fault_configure(NULL);
        if (err)
            c = cache_of(h);
        for (int i = 0; i < 100; i++)
            cr_assert_not_null(alloc_from(c, cell_of(h, &t), white(h)));
        heap_cache_free(c);
        sweep_all(h);
        cr_assert_eq(inuse(h), 0);
        heap_for_test_end(h);
    }
}
