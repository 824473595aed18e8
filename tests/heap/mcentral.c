/* Sets of spans and the sweep: in order, and with everybody at once.
 *
 * ctest: timeout=600 */
#include "heap/mcentral.h"

#include <sched.h>

#include "fixture.h"
#include "heap/mcache.h"
#include "os/clock.h"
#include "os/random.h"
#include "os/thread.h"

#define RESERVE ((size_t)1 << 30)

static bool in_set(heap_class *class, uint32_t gen, bool full, heap_span *s)
{
    heap_stack *set = &class->sets[gen & 1][full];
    bool is_in = false;
    void **kept[100], **link;
    int n = 0;
    while ((link = heap_stack_pop(set)))
        kept[n++] = link;
    while (n > 0) {
        is_in |= kept[--n] == s->link;
        heap_stack_push(set, kept[n]);
    }
    return is_in;
}

Test(mcentral, stacks_are_last_in_first_out)
{
    heap_stack s = {0, 0};
    void *nodes[3][2] __attribute__((aligned(16)));
    cr_assert(heap_stack_is_empty(&s));
    for (int i = 0; i < 3; i++)
        heap_stack_push(&s, nodes[i]);
    for (int i = 3; i-- > 0;)
        cr_assert_eq(heap_stack_pop(&s), nodes[i]);
    cr_assert(heap_stack_is_empty(&s) && !heap_stack_pop(&s));
}

Test(mcentral, a_dropped_span_waits_in_the_set_of_its_generation_and_fullness)
{
    tri_heap *h = heap_for_test(RESERVE);
    tri_type t = type_of("set", 64);
    heap_class *class = class_of(h, own_cell_of(h, &t));
    for (uint32_t ahead = 0; ahead < 2; ahead++)
        for (int full = 0; full < 2; full++) {
            heap_span *s = heap_span_new(class, gen_of_heap(h) + ahead);
            heap_span_drop(s, full);
            for (uint32_t gen = 0; gen < 2; gen++)
                for (int f = 0; f < 2; f++)
                    cr_assert_eq(in_set(class, gen, f, s),
                                 f == full && gen == ((gen_of_heap(h) + ahead) & 1));
        }
    heap_for_test_end(h);
}

Test(mcentral, a_sweep_keeps_what_is_marked_and_gives_back_what_is_empty)
{
    tri_heap *h = heap_for_test(RESERVE);
    heap_cache *c = cache_of(h);
    tri_type t = type_of("swept", 128);
    uint32_t cell = own_cell_of(h, &t);
    enum { N = 64 * 100 };
    static void *p[N];
    for (int i = 0; i < N; i++)
        p[i] = alloc_from(c, cell, white(h));
    switch_and_retire(h, c);
    /* Of every 64, one page's worth, the first half are kept; of every fourth page, none. */
    for (int i = 0; i < N; i++)
        if (i / 64 % 4 && i % 64 < 32)
            mark_object(h, p[i]);
    sweep_all(h);
    for (int i = 0; i < N; i++)
        cr_assert_eq(is_object(h, p[i]), i / 64 % 4 && i % 64 < 32, "object %d", i);
    cr_assert_eq(inuse(h), 75 * HEAP_PAGE);
    cr_assert_eq(atomic_load(&class_of(h, cell)->spans), 75);
    heap_cache_free(c);
    heap_for_test_end(h);
}

Test(mcentral, a_sweep_leaves_its_class_as_many_empty_spans_as_it_may_until_the_next)
{
    tri_heap *h = heap_for_test(RESERVE);
    heap_cache *c = cache_of(h);
    tri_type t = type_of("kept", 128), large = type_of("large", 100000);
    uint32_t cell = own_cell_of(h, &t);
    heap_class *class = class_of(h, cell);
    for (int i = 0; i < 64 * 10; i++)
        memset(alloc_from(c, cell, white(h)), 0xff, 128);
    heap_large_publish(h, c, heap_large_new(h, heap_type_layout(h, &large, false), 100000),
                       white(h));
    switch_and_retire(h, c);
    heap_sweep_keep(h, 3 * HEAP_PAGE + 100);
    sweep_all(h);
    cr_assert_eq(atomic_load(&class->spans), 3);
    cr_assert_eq(inuse(h), 3 * HEAP_PAGE, "a large object's span stays");
    char *p = alloc_from(c, cell, white(h));
    for (int i = 0; i < 128; i++)
        cr_assert_eq(p[i], 0, "a span that was kept hands out what was in it");
    cr_assert_eq(atomic_load(&class->spans), 3, "a fresh span is made beside the kept ones");
    switch_and_retire(h, c);
    heap_sweep_keep(h, SIZE_MAX / 2);
    sweep_all(h);
    cr_assert_eq(atomic_load(&class->spans), 1, "spans that nobody took stay");
    heap_sweep_keep(h, 0);
    sweep_all(h);
    cr_assert_eq(inuse(h), 0);
    heap_cache_free(c);
    heap_for_test_end(h);
}

Test(mcentral, a_sweep_goes_on_where_its_budget_ended)
{
    tri_heap *h = heap_for_test(RESERVE);
    heap_cache *c = cache_of(h);
    tri_type t = type_of("budget", 1024);
    uint32_t cell = own_cell_of(h, &t);
    for (int i = 0; i < 3000; i++)
        alloc_from(c, cell, white(h));
    switch_and_retire(h, c);
    alloc_from(c, cell, black(h));
    heap_sweep_begin(h);
    bool busy;
    size_t steps = 0;
    for (size_t n; (n = heap_sweep_some(h, 1, &busy)) || busy; steps++)
        cr_assert_leq(n, 1);
    cr_assert_geq(steps, 3000 / 64);
    cr_assert_not(heap_sweep_is_active(h));
    cr_assert_eq(heap_sweep_some(h, 1, &busy), 0);
    heap_cache_free(c);
    heap_for_test_end(h);
}

Test(mcentral, a_refill_takes_swept_spans_then_unswept_ones_before_fresh_pages)
{
    tri_heap *h = heap_for_test(RESERVE);
    heap_cache *c = cache_of(h);
    tri_type t = type_of("order", 128);
    uint32_t cell = own_cell_of(h, &t);
    heap_class *class = class_of(h, cell);
    void *p[64 * 4];
    for (int i = 0; i < 64 * 4; i++)
        p[i] = alloc_from(c, cell, white(h));
    switch_and_retire(h, c);
    for (int i = 0; i < 64 * 4; i += 2)
        mark_object(h, p[i]);
    heap_sweep_begin(h);
    heap_refill r = {0};
    heap_span *s[5];
    for (int i = 0; i < 4; i++) {
        s[i] = heap_class_take(class, white(h), &r);
        cr_assert(r.start && !r.end && s[i]->live == 32 && atomic_load(&class->spans) == 4);
        r = (heap_refill){0};
    }
    heap_span_drop(s[2], false);
    cr_assert(heap_class_take(class, white(h), &r) == s[2] && !r.start);
    s[4] = heap_class_take(class, white(h), &r);
    cr_assert(!r.start && s[4]->live == 0 && atomic_load(&class->spans) == 5);
    heap_cache_free(c);
    heap_for_test_end(h);
}

Test(mcentral, a_mutator_that_is_ahead_gets_fresh_spans_only)
{
    tri_heap *h = heap_for_test(RESERVE);
    tri_type t = type_of("ahead", 128);
    heap_class *class = class_of(h, own_cell_of(h, &t));
    heap_refill r = {0};
    heap_span *s = heap_span_new(class, gen_of_heap(h));
    heap_span_drop(s, false);
    heap_span *fresh = heap_class_take(class, (heap_colour){false, gen_of_heap(h) + 1}, &r);
    cr_assert(fresh != s);
    cr_assert_eq(heap_state_gen(atomic_load(&fresh->state)), gen_of_heap(h) + 1);
    cr_assert_eq(heap_class_take(class, white(h), &r), s);
    heap_for_test_end(h);
}

/* Three spans of which all objects live, unswept. */
static heap_class *class_of_full_spans(tri_heap *h, tri_type *t)
{
    heap_cache *c = cache_of(h);
    uint32_t cell = own_cell_of(h, t);
    void *p[64 * 3];
    for (int i = 0; i < 64 * 3; i++)
        p[i] = alloc_from(c, cell, white(h));
    switch_and_retire(h, c);
    heap_cache_free(c);
    for (int i = 0; i < 64 * 3; i++)
        mark_object(h, p[i]);
    heap_sweep_begin(h);
    return class_of(h, cell);
}

Test(mcentral, who_has_swept_for_an_eighth_of_the_time_leaves_full_spans_to_others)
{
    tri_heap *h = heap_for_test(RESERVE);
    tri_type t = type_of("full", 128);
    heap_class *class = class_of_full_spans(h, &t);
    heap_refill none = {.since = os_now(), .credit = -1000000000};
    heap_span *s = heap_class_take(class, white(h), &none);
    cr_assert(s->live == 0 && !none.start && !none.end && atomic_load(&class->spans) == 4);
    heap_refill fresh = {0};
    s = heap_class_take(class, white(h), &fresh);
    cr_assert(s->live == 0 && fresh.start && fresh.end >= fresh.start);
    cr_assert(fresh.credit <= 0 || !heap_pop_unswept(class, gen_of_heap(h), true),
              "it stopped for want of time, or of spans");
    heap_for_test_end(h);
}

Test(mcentral, a_holder_that_drops_a_span_being_swept_leaves_it_to_the_sweeper)
{
    tri_heap *h = heap_for_test(RESERVE);
    tri_type t = type_of("left", 128);
    heap_class *class = class_of(h, own_cell_of(h, &t));
    heap_span *s = heap_span_new(class, gen_of_heap(h));
    uint32_t gen = gen_of_heap(h);
    heap_sweep_begin(h);
    atomic_fetch_or(&s->state, SPAN_SWEEPING);
    heap_span_drop(s, true);
    cr_assert_not(in_set(class, gen, true, s));
    cr_assert_not(in_set(class, gen + 1, true, s));
    heap_for_test_end(h);
}

/* ---- everybody at once ------------------------------------------------------------------------ */

/* Holders allocate, fill, check and forget objects, and obey a collector that drives cycles as the
 * real one does: H2 (switch tables, black, and mark all that they hold), H5 (white, next
 * generation), sweep; and nothing waits for the sweep but the next cycle. The shadow is a byte per
 * word of the heap: whose object it is. A slot that is issued must be zero and nobody's. */

enum { HOLDERS = 3, KEEP = 3000, KINDS = 40, NOBODY = 0 };

#ifdef TRI_TORTURE
enum { CYCLES = 12 };
#else
enum { CYCLES = 60 };
#endif

typedef struct object {
    uint64_t *p;
    size_t words;
    uint64_t tag;
} object;

typedef struct holder {
    heap_cache *cache;
    uint8_t number;
    _Atomic uint32_t asked, done; /* handshakes: 2 * cycle for H2, 2 * cycle + 1 for H5 */
    heap_colour colour;
    uint64_t seed, allocated, swept;
    object kept[KEEP];
} holder;

static tri_heap *heap;
static tri_type kinds[KINDS];
static _Atomic uint8_t *shadow;
static holder holders[HOLDERS];
static _Atomic bool over;

static void check_object(const object *o)
{
    for (size_t i = 0; i < o->words; i += 1 + o->words / 32)
        if (__atomic_load_n(&o->p[i], __ATOMIC_RELAXED) != o->tag + i)
            cr_assert_fail("word %zu of %zu of a live object was overwritten", i, o->words);
}

static void paint(const object *o, uint8_t from, uint8_t to)
{
    size_t at = ((uintptr_t)o->p - heap->base) / 8;
    for (size_t i = 0; i < o->words; i++)
        if (atomic_exchange(&shadow[at + i], to) != from)
            cr_assert_fail("word %zu of %zu belongs to two objects", i, o->words);
}

static uint64_t *get_large(holder *me, size_t words)
{
    heap_span *s = heap_large_new(heap, heap_type_layout(heap, &tri_words, true), words * 8);
    if (!s)
        return NULL;
    size_t done = 0;
    while (!heap_large_zero(s, &done))
        ;
    return heap_large_publish(heap, me->cache, s, me->colour);
}

static void allocate(holder *me, object *o)
{
    uint32_t k = os_random_below(&me->seed, 1 + os_random_below(&me->seed, KINDS));
    o->words = kinds[k].size / 8;
    if (os_random_below(&me->seed, 2000) == 0) {
        o->words = 4097 + os_random_below(&me->seed, 4000);
        o->p = get_large(me, o->words);
    } else {
        o->p = alloc_from(me->cache, cell_of(heap, &kinds[k]), me->colour);
    }
    if (!o->p)
        cr_assert_fail("no memory");
    o->tag = os_random_next(&me->seed);
    me->allocated++;
    for (size_t i = 0; i < o->words; i++)
        if (__atomic_load_n(&o->p[i], __ATOMIC_RELAXED))
            cr_assert_fail("word %zu of a new object of %zu words is not zero", i, o->words);
    paint(o, NOBODY, me->number);
    for (size_t i = 0; i < o->words; i++)
        __atomic_store_n(&o->p[i], o->tag + i, __ATOMIC_RELAXED);
}

static void forget(holder *me, object *o)
{
    check_object(o);
    paint(o, me->number, NOBODY);
    o->p = NULL;
}

static void answer(holder *me, uint32_t asked)
{
    if (asked % 2 == 0) {
        heap_cache_switch(me->cache, asked / 2);
        me->colour.black = true;
        for (int i = 0; i < KEEP; i++)
            if (me->kept[i].p)
                mark_object(heap, me->kept[i].p);
    } else {
        me->colour = (heap_colour){false, me->colour.gen + 1};
    }
    atomic_store(&me->done, asked);
}

static void hold(void *arg)
{
    holder *me = arg;
    while (!atomic_load(&over)) {
        uint32_t asked = atomic_load(&me->asked);
        if (asked != atomic_load(&me->done))
            answer(me, asked);
        object *o = &me->kept[os_random_below(&me->seed, KEEP)];
        if (!o->p)
            allocate(me, o);
        else if (os_random_below(&me->seed, 2))
            forget(me, o);
        else
            check_object(o);
    }
}

static void sweep_in_background(void *arg)
{
    (void)arg;
    while (!atomic_load(&over)) {
        bool busy;
        if (heap_sweep_some(heap, 3, &busy) == 0)
            sched_yield();
    }
}

static void handshake(uint32_t number)
{
    for (int i = 0; i < HOLDERS; i++)
        atomic_store(&holders[i].asked, number);
    for (int i = 0; i < HOLDERS; i++)
        while (atomic_load(&holders[i].done) != number)
            sched_yield();
}

static void cycles(void)
{
    for (uint32_t cycle = 1; cycle <= CYCLES; cycle++) {
        handshake(2 * cycle);
        for (int i = 0; i < HOLDERS; i++)
            heap_cache_retire_inactive(holders[i].cache);
        os_sleep_ns(500000);
        handshake(2 * cycle + 1);
        heap_sweep_begin(heap);
        bool busy = true;
        for (int k = 0; k < 3 && busy; k++) {
            heap_sweep_some(heap, 5, &busy);
            os_sleep_ns(100000);
        }
        while (heap_sweep_some(heap, 100, &busy) || busy)
            sched_yield();
    }
}

static void open_everything(void)
{
    static char names[KINDS][16];
    heap = heap_for_test(RESERVE);
    shadow = calloc(RESERVE / 8, 1);
    for (int i = 0; i < KINDS; i++) {
        size_t size = i < 30 ? 8 + (size_t)i * 8 : (size_t)256 << (i - 30) / 2;
        snprintf(names[i], 16, "kind%d", i);
        kinds[i] = type_of(names[i], size);
    }
    for (int i = 0; i < HOLDERS; i++) {
        holders[i].cache = cache_of(heap);
        holders[i].number = (uint8_t)(i + 1);
        holders[i].colour = white(heap);
        holders[i].seed = 42 + (uint64_t)i;
    }
}

static void close_everything(void)
{
    heap_totals t;
    uint64_t allocated = 0, kept = 0;
    for (int i = 0; i < HOLDERS; i++) {
        allocated += holders[i].allocated;
        for (int k = 0; k < KEEP; k++) {
            if (!holders[i].kept[k].p)
                continue;
            kept++;
            check_object(&holders[i].kept[k]);
            cr_assert(is_object(heap, holders[i].kept[k].p));
        }
    }
    heap_read_totals(heap, &t);
    cr_assert_eq(t.mallocs, allocated);
    cr_assert_geq(t.mallocs - t.frees, kept);
    for (int i = 0; i < HOLDERS; i++)
        heap_cache_free(holders[i].cache);
    sweep_all(heap);
    sweep_all(heap);
    heap_read_totals(heap, &t);
    cr_assert(t.mallocs == allocated && t.frees == allocated);
    cr_assert_eq(t.total_alloc, t.total_freed);
    cr_assert_eq(inuse(heap), 0, "spans were lost");
    cr_assert_eq(t.span_inuse, 0);
    heap_arena_check(heap);
    heap_for_test_end(heap);
    free((void *)shadow);
}

Test(mcentral, holders_and_sweepers_never_share_a_slot_nor_lose_one)
{
    open_everything();
    os_thread threads[HOLDERS + 1];
    for (int i = 0; i < HOLDERS; i++)
        cr_assert_eq(os_thread_start(&threads[i], hold, &holders[i], "holder", 0), 0);
    cr_assert_eq(os_thread_start(&threads[HOLDERS], sweep_in_background, NULL, "sweeper", 0), 0);
    cycles();
    atomic_store(&over, true);
    for (int i = 0; i <= HOLDERS; i++)
        os_thread_join(&threads[i]);
    close_everything();
}
