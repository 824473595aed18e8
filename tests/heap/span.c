/* Spans and runs of slots in them. */
#include "heap/span.h"

#include "fixture.h"
#include "heap/numbers.h"
#include "os/fault.h"
#include "os/random.h"

static heap_class *class_for(tri_heap *h, size_t size)
{
    return heap_class_new(h, 1, &h->types->cells[1].entry->layouts[0], size);
}

Test(span, every_byte_of_a_slot_finds_that_slot)
{
    tri_heap *h = heap_for_test((size_t)64 << 20);
    size_t sizes[] = {8, 24, 40, 48, 1016, 4104, 32768};
    for (int k = 0; k < 7; k++) {
        heap_span *s = heap_span_new(class_for(h, sizes[k]), 1);
        for (uint32_t i = 0; i < s->nslots; i++)
            heap_run_reserve(h, s, i, 1, false);
        for (uintptr_t p = s->base; p < s->base + s->npages * HEAP_PAGE; p++) {
            heap_ref ref;
            bool inside = p < s->base + s->nslots * s->size;
            cr_assert_eq(heap_find(h, p, &ref), inside);
            if (inside)
                cr_assert(ref.span == s && ref.index == (p - s->base) / s->size);
        }
    }
    heap_for_test_end(h);
}

Test(span, a_word_that_points_to_a_free_slot_is_no_reference)
{
    tri_heap *h = heap_for_test((size_t)64 << 20);
    heap_span *s = heap_span_new(class_for(h, 64), 1);
    heap_run_reserve(h, s, 3, 2, false);
    for (uint32_t i = 0; i < s->nslots; i++)
        cr_assert_eq(is_object(h, (void *)heap_slot(s, i)), i == 3 || i == 4);
    heap_for_test_end(h);
}

Test(span, a_freed_span_is_found_no_more_and_its_parts_are_used_again)
{
    tri_heap *h = heap_for_test((size_t)64 << 20);
    heap_class *c = class_for(h, 64);
    heap_numbers_stats before, after;
    heap_span *first = heap_span_new(c, 1);
    uint64_t *bits = first->bits;
    uint32_t id = first->id;
    heap_run_reserve(h, first, 0, 1, true);
    uintptr_t p = first->base;
    heap_numbers_read(h, &before);
    heap_span_free(h, first);
    heap_ref ref;
    cr_assert_not(heap_find(h, p, &ref));
    for (int i = 0; i < 10000; i++) {
        heap_span *s = heap_span_new(c, 1);
        cr_assert(s->id == id && s->bits == bits, "round %d", i);
        cr_assert(*heap_alloc_at(s, 0) == 0 && *heap_mark_at(s, 0) == 0 && *heap_scan_at(s, 0) == 0,
                  "a new span has the old one's bits");
        heap_run_reserve(h, s, 0, 1, true);
        heap_span_free(h, s);
    }
    heap_numbers_read(h, &after);
    cr_assert_eq(before.span_sys, after.span_sys);
    cr_assert_eq(before.meta_sys, after.meta_sys);
    cr_assert_eq(atomic_load(&c->spans), 0);
    heap_for_test_end(h);
}

Test(span, runs_are_the_clear_stretches_of_the_bitmap)
{
    tri_heap *h = heap_for_test((size_t)64 << 20);
    uint64_t seed = 7;
    heap_class *c = class_for(h, 40);
    for (int round = 0; round < 300; round++) {
        heap_span *s = heap_span_new(c, 1);
        bool taken[512] = {false};
        uint32_t some = os_random_below(&seed, 100);
        for (uint32_t i = 0; i < s->nslots; i++)
            if (os_random_below(&seed, 100) < some) {
                heap_run_reserve(h, s, i, 1, false);
                taken[i] = true;
            }
        uint32_t max = 1 + os_random_below(&seed, 80), first, n, at = 0;
        while ((n = heap_run_find(s, max, &first))) {
            for (; at < first; at++)
                cr_assert(taken[at], "a free slot was passed over");
            cr_assert(n <= max && first + n <= s->nslots);
            for (uint32_t i = first; i < first + n; i++) {
                cr_assert_not(taken[i], "a run of allocated slots");
                taken[i] = true;
            }
            cr_assert(n == max || first + n == s->nslots || taken[first + n], "a run cut short");
            heap_run_reserve(h, s, first, n, false);
        }
        for (uint32_t i = 0; i < s->nslots; i++)
            cr_assert(taken[i], "a free slot was never found");
        heap_span_free(h, s);
    }
    heap_for_test_end(h);
}

Test(span, a_reservation_overwrites_stale_colours)
{
    tri_heap *h = heap_for_test((size_t)64 << 20);
    heap_span *s = heap_span_new(class_for(h, 64), 1);
    for (uint32_t w = 0; w < s->nwords; w++)
        *heap_mark_at(s, w) = *heap_scan_at(s, w) = ~(uint64_t)0;
    heap_run_reserve(h, s, 60, 6, false);
    for (uint32_t i = 0; i < s->nslots; i++)
        cr_assert_eq(heap_is_marked(s, i), i < 60 || i >= 66, "slot %u", i);
    for (uint32_t w = 0; w < s->nwords; w++)
        *heap_mark_at(s, w) = *heap_scan_at(s, w) = 0;
    heap_run_reserve(h, s, 10, 54 - 10, true);
    for (uint32_t i = 0; i < s->nslots; i++) {
        cr_assert_eq(heap_is_marked(s, i), i >= 10 && i < 54, "slot %u", i);
        cr_assert_eq(*heap_scan_at(s, i / 64) >> i % 64 & 1, i >= 10 && i < 54, "slot %u", i);
    }
    heap_for_test_end(h);
}

Test(span, a_reserved_slot_is_zero_whatever_was_in_it)
{
    tri_heap *h = heap_for_test((size_t)64 << 20);
    heap_class *c = class_for(h, 128);
    heap_span *s = heap_span_new(c, 1);
    heap_run_reserve(h, s, 0, s->nslots, false);
    memset((void *)s->base, 0xaa, s->nslots * s->size);
    heap_span_free(h, s);
    s = heap_span_new(c, 1);
    heap_run_reserve(h, s, 5, 7, false);
    for (size_t i = 0; i < 7 * 128; i++)
        cr_assert_eq(((char *)heap_slot(s, 5))[i], 0);
    heap_for_test_end(h);
}

/* Some failures are survived: advice about huge pages. */
Test(span, opening_a_heap_unwinds_whatever_fails)
{
    enum { MORE_THAN_IT_ASKS = 64 };
    int refused = 0;
    for (int n = 1; n <= MORE_THAN_IT_ASKS; n++) {
        char spec[32];
        snprintf(spec, sizeof spec, "*:%d", n);
        int err = os_fault_configure(spec);
        if (err == -ENOSYS)
            cr_skip_test("built without fault injection");
        tri_heap *h = calloc(1, sizeof *h);
        h->options.reserve = (size_t)64 << 20;
        err = heap_open(h);
        os_fault_configure(NULL);
        if (err == 0) {
            heap_close(h);
        } else {
            refused++;
            cr_assert_eq(err, -ENOMEM);
            cr_assert(!h->types && !h->central && !h->numbers && !h->pages && !h->arena);
        }
        free(h);
    }
    cr_assert_gt(refused, 6, "fewer things can fail than expected");
}
