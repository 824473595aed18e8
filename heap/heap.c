/* The heap room's life, and looking up what a pointer points into.
 *
 * A heap's parts stand on each other: the page allocator fixes the reservation, whose size decides how
 * large the page table and the span numbers are; the classes need spans, the types need classes. They
 * are opened in that order and closed in the reverse one. All side tables are reservations that the
 * system backs as they are touched, so a heap of 256 GiB costs a small program almost nothing.
 *
 * Looking up takes no lock. It is safe for a pointer to an object that the caller keeps alive; for any
 * other word it answers, without a fault, something that was true a moment ago or will be.
 */
#include "heap/heap.h"

#include <errno.h>

#include "heap/arena.h"
#include "heap/mcentral.h"
#include "heap/span.h"
#include "heap/types.h"
#include "os/vm.h"

static size_t page_table_bytes(const tri_heap *h)
{
    return (h->reserved >> HEAP_PAGE_SHIFT) * sizeof(heap_page);
}

static int open_page_table(tri_heap *h)
{
    h->pages = os_reserve_rw(page_table_bytes(h), 0);
    return h->pages ? 0 : -ENOMEM;
}

static void close_page_table(tri_heap *h)
{
    os_unreserve(h->pages, page_table_bytes(h));
    h->pages = NULL;
}

int heap_open(tri_heap *h)
{
    int err = heap_arena_open(h);
    if (err)
        return err;
    err = open_page_table(h);
    if (err)
        goto no_pages;
    err = heap_numbers_open(h);
    if (err)
        goto no_numbers;
    err = heap_central_open(h);
    if (err)
        goto no_central;
    err = heap_types_open(h);
    if (err)
        goto no_types;
    return 0;

no_types:
    heap_central_close(h);
no_central:
    heap_numbers_close(h);
no_numbers:
    close_page_table(h);
no_pages:
    heap_arena_close(h);
    return err;
}

void heap_close(tri_heap *h)
{
    TRI_CHECK(!h->caches, "closing a heap that still has run tables");
    heap_types_close(h);
    heap_central_close(h);
    heap_numbers_close(h);
    close_page_table(h);
    heap_arena_close(h);
}

size_t tri_object_size(tri_heap *h, const void *p)
{
    heap_ref ref;
    return heap_find(h, (uintptr_t)p, &ref) ? ref.span->size : 0;
}

void *tri_object_base(tri_heap *h, const void *p)
{
    heap_ref ref;
    return heap_find(h, (uintptr_t)p, &ref) ? (void *)heap_slot(ref.span, ref.index) : NULL;
}

const tri_type *tri_object_type(tri_heap *h, const void *p)
{
    heap_ref ref;
    return heap_find(h, (uintptr_t)p, &ref) ? heap_layout_of(h, ref.span, ref.index)->type : NULL;
}
