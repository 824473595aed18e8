/* The registry of types: checking, layouts, and cells. */
#include "heap/types.h"

#include "fixture.h"

#define RESERVE ((size_t)64 << 20)

static void trace(tri_tracer *tracer, void *object, size_t size)
{
    (void)tracer, (void)object, (void)size;
}

Test(types, a_description_that_is_none_is_refused)
{
    tri_type t;
    tri_field outside = {16, 1}, crooked = {4, 1}, long_one = {8, 2}, huge = {8, UINT32_MAX},
              good = {8, 1};
    cr_assert_eq(tri_type_init(&t, "t", 0, TRI_KIND_BYTES, NULL, 0, NULL), -EINVAL);
    cr_assert_eq(tri_type_init(&t, NULL, 8, TRI_KIND_BYTES, NULL, 0, NULL), -EINVAL);
    cr_assert_eq(tri_type_init(&t, "t", ((size_t)1 << 30) + 1, TRI_KIND_BYTES, NULL, 0, NULL),
                 -EINVAL);
    cr_assert_eq(tri_type_init(&t, "t", 16, TRI_KIND_STRUCT, &outside, 1, NULL), -EINVAL);
    cr_assert_eq(tri_type_init(&t, "t", 16, TRI_KIND_STRUCT, &crooked, 1, NULL), -EINVAL);
    cr_assert_eq(tri_type_init(&t, "t", 16, TRI_KIND_STRUCT, &long_one, 1, NULL), -EINVAL);
    cr_assert_eq(tri_type_init(&t, "t", 16, TRI_KIND_STRUCT, &huge, 1, NULL), -EINVAL);
    cr_assert_eq(tri_type_init(&t, "t", 16, TRI_KIND_STRUCT, NULL, 1, NULL), -EINVAL);
    cr_assert_eq(tri_type_init(&t, "t", 16, TRI_KIND_WORDS, &good, 1, NULL), -EINVAL);
    cr_assert_eq(tri_type_init(&t, "t", 16, TRI_KIND_POINTERS, &good, 1, NULL), -EINVAL);
    cr_assert_eq(tri_type_init(&t, "t", 16, TRI_KIND_BYTES, &good, 1, NULL), -EINVAL);
    cr_assert_eq(tri_type_init(&t, "t", 16, TRI_KIND_TRACE, NULL, 0, NULL), -EINVAL);
    cr_assert_eq(tri_type_init(&t, "t", 16, TRI_KIND_STRUCT, NULL, 0, trace), -EINVAL);
    cr_assert_eq(tri_type_init(&t, "t", 16, (tri_kind)9, NULL, 0, NULL), -EINVAL);
    cr_assert_eq(tri_type_init(&t, "t", 16, TRI_KIND_STRUCT, &good, 1, NULL), 0);
    cr_assert_eq(tri_type_init(&t, "t", 16, TRI_KIND_TRACE, NULL, 0, trace), 0);
    tri_heap *h = heap_for_test(RESERVE);
    tri_type wrong = {"wrong", 12, &outside, 1, TRI_KIND_STRUCT, NULL, 0, 0, NULL};
    cr_assert_eq(tri_type_register(h, &wrong), -EINVAL);
    cr_assert_eq(heap_type_cell(h, &wrong, SIZE_MAX), -EINVAL);
    cr_assert_null(heap_type_layout(h, &wrong, false));
    heap_for_test_end(h);
}

struct shape {
    void *a;
    long n;
    void *b[2];
    long rest[66];
    void *far;
};
TRI_TYPE(shape, struct shape, far, b, a);
struct flat {
    long n[3];
};
TRI_TYPE(flat, struct flat);

Test(types, a_layout_lists_each_pointer_word_once_and_in_order)
{
    tri_heap *h = heap_for_test(RESERVE);
    heap_layout *l = heap_type_layout(h, &shape, false);
    uint32_t expected[] = {0, 2, 3, 70};
    cr_assert_eq(l->nptrs, 4);
    cr_assert_arr_eq(l->offsets, expected, sizeof expected);
    cr_assert_eq(l->mask, 13);
    cr_assert_eq(l->words, 71);
    cr_assert_not(l->noscan);
    tri_field twice[] = {{16, 2}, {8, 2}};
    tri_type t;
    cr_assert_eq(tri_type_init(&t, "union", 32, TRI_KIND_STRUCT, twice, 2, NULL), 0);
    l = heap_type_layout(h, &t, true);
    cr_assert(l->nptrs == 3 && l->mask == 14 && l->array);
    cr_assert_eq(heap_layout_by_id(h, l->id), l);
    heap_for_test_end(h);
}

Test(types, without_pointers_nothing_is_scanned)
{
    tri_heap *h = heap_for_test(RESERVE);
    heap_layout *l = heap_type_layout(h, &flat, false);
    cr_assert(l->noscan && l->kind == TRI_KIND_BYTES && l->nptrs == 0);
    cr_assert(heap_type_layout(h, &tri_bytes, true)->noscan);
    cr_assert_not(heap_type_layout(h, &tri_words, true)->noscan);
    l = heap_type_layout(h, &tri_pointers, true);
    cr_assert(!l->noscan && l->mask == 1 && l->nptrs == 1);
    heap_for_test_end(h);
}

Test(types, a_cell_is_the_same_in_every_heap)
{
    tri_heap *a = heap_for_test(RESERVE), *b = heap_for_test(RESERVE);
    tri_type t = type_of("everywhere", 40), other = type_of("other", 40);
    cr_assert_eq(t.cell, 0);
    uint32_t cell = cell_of(a, &t);
    cr_assert_neq(cell_of(a, &other), cell);
    cr_assert_eq(cell_of(b, &t), cell);
    cr_assert_eq(t.cell, cell);
    cr_assert_neq(heap_type_layout(a, &t, false), heap_type_layout(b, &t, false));
    heap_for_test_end(a);
    heap_for_test_end(b);
}

Test(types, of_the_same_name_must_have_the_same_shape)
{
    tri_heap *a = heap_for_test(RESERVE), *b = heap_for_test(RESERVE);
    tri_field f = {0, 1}, g = {8, 1}, pair = {0, 2};
    tri_type t, same, other;
    tri_type_init(&t, "twin", 16, TRI_KIND_STRUCT, &pair, 1, NULL);
    tri_field separate[] = {g, f};
    tri_type_init(&same, "twin", 16, TRI_KIND_STRUCT, separate, 2, NULL);
    tri_type_init(&other, "twin", 16, TRI_KIND_STRUCT, &g, 1, NULL);
    cr_assert_eq(tri_type_register(b, &same), 0);
    cr_assert_eq(tri_type_register(a, &t), 0);
    cr_assert_neq(t.cell, same.cell);
    cr_assert_eq(tri_type_register(a, &same), 0);
    cr_assert_eq(tri_type_register(a, &other), -EEXIST);
    cr_assert_eq(other.cell, 0);
    cr_assert_eq(heap_type_layout(a, &t, false), heap_type_layout(a, &same, false));
    /* Both numbers work, and count as one type. */
    heap_cache *c = cache_of(a);
    for (int i = 0; i < 10; i++) {
        cr_assert_not_null(alloc_from(c, cell_of(a, &t), white(a)));
        cr_assert_not_null(alloc_from(c, cell_of(a, &same), white(a)));
    }
    tri_type third;
    tri_type_init(&third, "twin", 16, TRI_KIND_STRUCT, &pair, 1, NULL);
    cr_assert_eq(cell_of(a, &third), t.cell);
    heap_cache_free(c);
    sweep_all(a);
    cr_assert_eq(inuse(a), 0);
    heap_for_test_end(a);
    heap_for_test_end(b);
}

Test(types, arrays_go_to_the_cell_of_their_size_class)
{
    tri_heap *h = heap_for_test(RESERVE);
    heap_cache *c = cache_of(h);
    tri_type t = type_of("element", 24);
    cr_assert_gt(heap_type_cell(h, &t, 1), 0);
    for (size_t n = 0; n <= HEAP_SMALL_MAX / 24; n++) {
        int cell = heap_type_cell(h, &t, n);
        cr_assert_gt(cell, 0);
        uint32_t size_class = heap_size_class(n ? n * 24 : 24);
        cr_assert_eq(h->types->cells[cell].size, heap_class_sizes[size_class]);
        cr_assert_eq(h->types->cells[cell].layout, heap_type_layout(h, &t, true));
    }
    cr_assert_eq(heap_type_cell(h, &t, HEAP_SMALL_MAX / 24 + 1), 0);
    cr_assert_eq(heap_type_cell(h, &t, SIZE_MAX / 2), 0);
    cr_assert_neq(heap_type_cell(h, &t, 1), heap_type_cell(h, &t, SIZE_MAX));
    cr_assert_gt(heap_type_cell(h, &tri_bytes, 0), 0);
    cr_assert_gt(heap_type_cell(h, &tri_bytes, HEAP_SMALL_MAX), 0);
    void *p = alloc_from(c, (uint32_t)heap_type_cell(h, &tri_bytes, 1000), white(h));
    cr_assert_eq(tri_object_size(h, p), 1024);
    heap_cache_free(c);
    heap_for_test_end(h);
}

Test(types, large_ones_have_a_layout_but_no_run)
{
    tri_heap *h = heap_for_test(RESERVE);
    tri_type t = type_of("large", HEAP_SMALL_MAX + 8), full = type_of("full", HEAP_SMALL_MAX);
    cr_assert_eq(heap_type_cell(h, &t, SIZE_MAX), 0);
    cr_assert_eq(heap_type_cell(h, &t, 1), 0);
    cr_assert_not_null(heap_type_layout(h, &t, false));
    cr_assert_gt(heap_type_cell(h, &full, SIZE_MAX), 0);
    heap_for_test_end(h);
}

Test(types, arrays_of_elements_that_leave_pointers_crooked_are_refused)
{
    tri_heap *h = heap_for_test(RESERVE);
    tri_field f = {0, 1};
    tri_type t;
    cr_assert_eq(tri_type_init(&t, "crooked", 12, TRI_KIND_STRUCT, &f, 1, NULL), 0);
    cr_assert_gt(heap_type_cell(h, &t, SIZE_MAX), 0);
    cr_assert_eq(heap_type_cell(h, &t, 3), -EINVAL);
    heap_for_test_end(h);
}

Test(types, when_the_numbers_are_used_up_the_rest_goes_on)
{
    tri_heap *h = heap_for_test(RESERVE);
    heap_cache *c = cache_of(h);
    enum { N = 1100 };
    tri_type *types = calloc(N, sizeof *types);
    char(*names)[16] = calloc(N, sizeof *names);
    int i = 0, cell = 1;
    for (; i < N && cell > 0; i++) {
        snprintf(names[i], 16, "many%d", i);
        types[i] = type_of(names[i], 8);
        cell = heap_type_cell(h, &types[i], 3);
    }
    cr_assert_eq(cell, -ENOSPC);
    cr_assert_gt(i, 900);
    tri_type *last = &types[i - 2];
    cr_assert_not_null(alloc_from(c, (uint32_t)heap_type_cell(h, last, 4096), white(h)));
    heap_totals totals;
    heap_read_totals(h, &totals);
    cr_assert_eq(totals.mallocs, 1);
    heap_cache_free(c);
    heap_for_test_end(h);
}
