/* Large objects: pieces, publication, and giving up. */
#include "fixture.h"

#define RESERVE ((size_t)256 << 20)

static heap_span *zeroed(tri_heap *h, heap_layout *l, size_t bytes, int *pieces)
{
    heap_span *s = heap_large_new(h, l, bytes);
    if (!s)
        return NULL;
    size_t done = 0;
    *pieces = 1;
    while (!heap_large_zero(s, &done))
        ++*pieces;
    return s;
}

static char *large(tri_heap *h, heap_cache *c, size_t bytes, heap_colour colour)
{
    int pieces;
    heap_span *s = zeroed(h, heap_type_layout(h, &tri_bytes, true), bytes, &pieces);
    return s ? heap_large_publish(h, c, s, colour) : NULL;
}

Test(large, is_no_object_until_it_is_published)
{
    tri_heap *h = heap_for_test(RESERVE);
    heap_cache *c = cache_of(h);
    int pieces;
    heap_span *s = zeroed(h, heap_type_layout(h, &tri_words, true), 1000000, &pieces);
#ifdef TRI_TORTURE
    cr_assert_eq(pieces, 123);
#else
    cr_assert_eq(pieces, 8);
#endif
    cr_assert_not(is_object(h, (void *)s->base));
    sweep_all(h);
    char *p = heap_large_publish(h, c, s, white(h));
    cr_assert(is_object(h, p));
    heap_cache_free(c);
    heap_for_test_end(h);
}

Test(large, every_byte_of_it_finds_it_and_one_past_its_end_does_not)
{
    tri_heap *h = heap_for_test(RESERVE);
    heap_cache *c = cache_of(h);
    size_t bytes = 5 * HEAP_PAGE + 8;
    char *p = large(h, c, bytes, white(h));
    for (size_t i = 0; i < bytes; i++)
        cr_assert_eq(tri_object_base(h, p + i), p);
    for (size_t i = bytes; i < 6 * HEAP_PAGE; i++)
        cr_assert_null(tri_object_base(h, p + i));
    cr_assert_eq(tri_object_size(h, p), bytes);
    cr_assert_eq(tri_object_type(h, p + 40000), &tri_bytes);
    heap_cache_free(c);
    heap_for_test_end(h);
}

Test(large, is_zero_also_where_others_were_before)
{
    tri_heap *h = heap_for_test(RESERVE);
    heap_cache *c = cache_of(h);
    for (int round = 0; round < 3; round++) {
        char *p = large(h, c, 300000, white(h));
        for (int i = 0; i < 300000; i++)
            cr_assert_eq(p[i], 0);
        memset(p, 0x55, 300000);
        sweep_all(h);
        cr_assert_eq(inuse(h), 0);
    }
    heap_cache_free(c);
    heap_for_test_end(h);
}

Test(large, lives_as_long_as_it_is_marked)
{
    tri_heap *h = heap_for_test(RESERVE);
    heap_cache *c = cache_of(h);
    char *p = large(h, c, 100000, black(h)), *q = large(h, c, 100000, white(h));
    sweep_all(h);
    cr_assert(is_object(h, p));
    cr_assert_not(is_object(h, q));
    mark_object(h, p + 99999);
    atomic_store(&found(h, p).span->large_pos, 77);
    sweep_all(h);
    cr_assert(is_object(h, p));
    cr_assert_eq(atomic_load(&found(h, p).span->large_pos), 0);
    sweep_all(h);
    cr_assert_not(is_object(h, p));
    heap_cache_free(c);
    heap_for_test_end(h);
}

Test(large, published_past_h5_is_skipped_by_the_coming_sweep)
{
    tri_heap *h = heap_for_test(RESERVE);
    heap_cache *c = cache_of(h);
    char *p = large(h, c, 100000, (heap_colour){false, gen_of_heap(h) + 1});
    sweep_all(h);
    cr_assert(is_object(h, p));
    sweep_all(h);
    cr_assert_not(is_object(h, p));
    heap_cache_free(c);
    heap_for_test_end(h);
}

Test(large, of_more_than_there_is_is_refused)
{
    tri_heap *h = heap_for_test(RESERVE);
    heap_layout *l = heap_type_layout(h, &tri_bytes, true);
    size_t sizes[] = {RESERVE + 1, SIZE_MAX, SIZE_MAX - 6, SIZE_MAX / 2};
    for (int i = 0; i < 4; i++)
        cr_assert_null(heap_large_new(h, l, sizes[i]));
    atomic_store(&h->hard_limit, (uint64_t)2 << 20);
    cr_assert_null(heap_large_new(h, l, (size_t)3 << 20));
    heap_cache *c = cache_of(h);
    cr_assert_not_null(large(h, c, (size_t)1 << 20, white(h)));
    heap_cache_free(c);
    heap_for_test_end(h);
}

Test(large, counts_at_once_in_live_and_in_its_types_statistics)
{
    tri_heap *h = heap_for_test(RESERVE);
    heap_cache *c = cache_of(h);
    large(h, c, 1 << 20, white(h));
    cr_assert_geq(atomic_load(&h->live), 1 << 20);
    heap_totals t;
    heap_read_totals(h, &t);
    cr_assert(t.mallocs == 1 && t.frees == 0 && t.total_alloc == 1 << 20);
    sweep_all(h);
    heap_read_totals(h, &t);
    cr_assert(t.mallocs == 1 && t.frees == 1 && t.total_freed == 1 << 20);
    cr_assert_eq(atomic_load(&h->live), 0);
    heap_cache_free(c);
    heap_for_test_end(h);
}
