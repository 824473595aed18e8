/* Size classes and the shape of spans, by going through all of them. */
#include "heap/sizeclass.h"

#include "fixture.h"
#include "heap/numbers.h"

Test(sizeclass, a_size_gets_the_smallest_class_that_holds_it)
{
    for (size_t n = 1; n <= HEAP_SMALL_MAX; n++) {
        uint32_t c = heap_size_class(n);
        cr_assert_lt(c, HEAP_SIZE_CLASSES, "%zu", n);
        cr_assert_geq(heap_class_sizes[c], n, "%zu", n);
        cr_assert_lt(heap_class_sizes[c - 1], n, "%zu", n);
    }
}

Test(sizeclass, every_span_loses_less_than_an_eighth_at_its_end)
{
    for (size_t size = 8; size <= HEAP_SMALL_MAX; size += 8) {
        uint32_t pages = heap_span_pages(size);
        cr_assert(pages >= 1 && pages <= HEAP_SPAN_PAGES_MAX, "%zu", size);
        size_t bytes = pages * HEAP_PAGE;
        cr_assert_lt(bytes % size * 8, bytes, "%zu", size);
#ifdef TRI_TORTURE
        cr_assert_geq(bytes / size, 1, "%zu", size);
#else
        cr_assert_geq(bytes / size, 4, "%zu", size);
#endif
    }
}

Test(sizeclass, spans_of_slots_up_to_128_bytes_are_one_page)
{
    for (size_t size = 8; size <= 128; size += 8)
        cr_assert_eq(heap_span_pages(size), 1, "%zu", size);
}

Test(sizeclass, division_by_multiplication_is_exact_for_every_offset_in_every_span)
{
    for (size_t size = 8; size <= HEAP_SMALL_MAX; size += 8) {
        uint64_t magic = heap_magic(size);
        uint32_t bytes = heap_span_pages(size) * (uint32_t)HEAP_PAGE;
        uint32_t slot = 0, left = (uint32_t)size;
        for (uint32_t offset = 0; offset < bytes; offset++) {
            if (offset * magic >> 32 != slot)
                cr_assert_fail("offset %u of slots of %zu", offset, size);
            if (--left == 0) {
                slot++;
                left = (uint32_t)size;
            }
        }
    }
}

Test(sizeclass, bitmaps_have_a_spare_bit_for_the_tail_of_the_span)
{
    tri_heap *h = heap_for_test((size_t)64 << 20);
    for (size_t size = 8; size <= HEAP_SMALL_MAX; size += 8) {
        heap_class *c = heap_class_new(h, 1, NULL, size);
        cr_assert_gt(c->nwords * 64, c->nslots, "%zu", size);
        uint64_t last = c->npages * HEAP_PAGE - 1;
        cr_assert_lt(last * c->magic >> 32, c->nwords * 64, "%zu", size);
        cr_assert_leq(c->record, HEAP_RECORD_MAX, "%zu", size);
    }
    for (uint32_t i = 1; i < HEAP_SIZE_CLASSES; i++)
        cr_assert_leq(heap_mixed_class(h, i)->record, HEAP_RECORD_MAX);
    heap_for_test_end(h);
}
