/* What a fork can leave behind, and what heap_restart() makes of it. */
#include "fixture.h"
#include "heap/numbers.h"

#define RESERVE ((size_t)256 << 20)

static int gone, here;
static bool mine(void *owner)
{
    return owner == &here;
}

Test(restart, finds_every_span_and_loses_no_object)
{
    tri_heap *h = heap_for_test(RESERVE);
    heap_cache *kept = cache_of(h), *lost = cache_of(h), *idle = cache_of(h);
    atomic_store(&kept->owner, &here);
    atomic_store(&lost->owner, &gone);
    tri_type t = type_of("child", 1024);
    uint32_t cell = own_cell_of(h, &t);
    heap_class *class = class_of(h, cell);
    enum { N = 900 };
    static void *p[N];
    heap_cache *by[] = {kept, lost, idle};
    for (int i = 0; i < N; i++)
        p[i] = alloc_from(by[i % 3], cell, white(h));
    switch_and_retire(h, lost);
    for (int i = 0; i < N; i++)
        mark_object(h, p[i]);

    /* One span swept half, one popped, one in a set, one held that is not in the page table. */
    heap_sweep_begin(h);
    heap_span *half = heap_pop_unswept(class, gen_of_heap(h), true);
    cr_assert_not_null(half);
    atomic_fetch_or(&half->state, SPAN_SWEEPING);
    *heap_mark_at(half, 0) = 0;
    cr_assert_not_null(heap_pop_unswept(class, gen_of_heap(h), true));
    heap_span *made = heap_span_new(class, gen_of_heap(h));
    for (uint32_t i = 0; i < made->npages; i++)
        atomic_store(&h->pages[made->first + i].span, 0);
    atomic_store(&half->queued, 1);
    heap_grey_push(h, half);

    heap_restart(h, gen_of_heap(h) + 1, mine);
    cr_assert_not(heap_sweep_is_active(h));
    cr_assert_null(atomic_load(&h->grey));
    cr_assert(h->caches && h->caches->next && !h->caches->next->next);
    for (int i = 0; i < N; i++) {
        cr_assert(is_object(h, p[i]), "object %d was lost", i);
        heap_ref ref = found(h, p[i]);
        cr_assert_not(heap_is_marked(ref.span, ref.index));
        cr_assert_eq(atomic_load(&ref.span->state), heap_state(gen_of_heap(h), 0));
    }
    for (int i = 0; i < 2000; i++)
        cr_assert(is_object(h, alloc_from(kept, cell, white(h))));
    switch_and_retire(h, kept);
    for (int i = 0; i < N; i++)
        mark_object(h, p[i]);
    sweep_all(h);
    for (int i = 0; i < N; i++)
        cr_assert(is_object(h, p[i]));
    switch_and_retire(h, kept);
    sweep_all(h);
    cr_assert_eq(inuse(h), 0);
    cr_assert_eq(h->numbers->inuse, 0);
    heap_cache_free(kept);
    heap_cache_free(idle);
    heap_for_test_end(h);
}
