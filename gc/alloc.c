/* Allocation slow paths: where a used-up run, a large object or an empty heap leads.
 *
 * A slow path is a safepoint on the way in, never between reserving a slot and handing it out: the
 * colour of a slot is its mutator's at the moment of reservation, and an acknowledgement in between
 * would make it another.
 *
 * When there is no memory, the allocation waits for one whole collection and tries once more before it
 * reports exhaustion; garbage that a collection could have found must never be the reason for failing.
 */
#include <errno.h>

#include "barrier/log.h"
#include "barrier/sabotage.h"
#include "gc/state.h"
#include "gc/torture.h"
#include "heap/sizeclass.h"
#include "os/context.h"
#include "os/report.h"
#include "os/thread.h"

static heap_colour colour(const gc_mutator *m)
{
    return (heap_colour){.black = m->black && !BARRIER_LACKS(BLACK), .gen = m->gen};
}

static gc_mutator *self_checked(void)
{
    gc_mutator *m = gc_self();
    if (m->pub.barrier & TRI_BARRIER_TRAP)
        os_fatal("this thread is not attached to a heap: object allocated before tri_attach() or "
                 "after tri_detach()");
    return m;
}

static TRI_NOINLINE void leave_runtime(gc_mutator *m)
{
    gc_shallower(m);
    if (TRI_UNLIKELY(__atomic_load_n(&m->pub.poll, __ATOMIC_RELAXED)))
        tri_safepoint_slow_();
}

/* Work that the collector may ask of a mutator that allocates; a safepoint. */
static void pay(gc_mutator *m)
{
    struct gc *gc = gc_of(m->heap);
    gc_torture_allocation(m);
    gc_poll(m);
    /* Others have not acknowledged, most likely because they have no processor: with 64 threads on two of them a
     * handshake took 40 ms, each thread using up its slice, and takes 7 now. */
    if (TRI_UNLIKELY(atomic_load_explicit(&gc->crowded, memory_order_relaxed)))
        os_yield();
    if (TRI_UNLIKELY(atomic_load_explicit(&m->heap->live, memory_order_relaxed) >
                     atomic_load_explicit(&gc->assist_bytes, memory_order_relaxed)))
        gc_mark_assist(m);
}

/* ---- exhaustion -------------------------------------------------------------------------------------- */

static TRI_NOINLINE _Noreturn void out_of_memory(gc_mutator *m, const tri_type *type, size_t bytes)
{
    tri_heap *h = m->heap;
    if (h->options.out_of_memory) {
        gc_shallower(m);
        h->options.out_of_memory(h, bytes, h->options.out_of_memory_arg);
    }
    size_t hard = atomic_load_explicit(&h->hard_limit, memory_order_relaxed);
    if (hard)
        os_fatal("out of memory: %zu bytes for type %s, hard limit %zu bytes, after a whole "
                 "collection",
                 bytes, type->name, hard);
    os_fatal("out of memory: %zu bytes for type %s: the system has none, or the heap's reservation "
             "is used up, after a whole collection",
             bytes, type->name);
}

static TRI_NOINLINE _Noreturn void bad_type(const tri_type *type, int err)
{
    if (err == -EEXIST)
        os_fatal("type %s: another type of that name has a different shape", type->name);
    if (err == -ENOSPC)
        os_fatal("type %s: more than %d types are in use", type->name, HEAP_MAX_CELLS - 1);
    os_fatal("type %s cannot be used: its description is invalid (error %d)",
             type->name ? type->name : "?", -err);
}

/* ---- one object ---------------------------------------------------------------------------------------- */

/* Zeroes in pieces with polls between, then publishes in the mutator's colour of that moment. */
static void *new_large(gc_mutator *m, tri_type *type, size_t bytes, bool array)
{
    heap_layout *layout = heap_type_layout(m->heap, type, array);
    heap_span *s = layout ? heap_large_new(m->heap, layout, bytes) : NULL;
    if (!s)
        return NULL;
    size_t done = 0;
    while (!heap_large_zero(s, &done))
        gc_poll(m);
    return heap_large_publish(m->heap, m->cache, s, colour(m));
}

static void *new_once(gc_mutator *m, tri_type *type, size_t count, bool array, int *err)
{
    int cell = heap_type_cell(m->heap, type, array ? count : SIZE_MAX);
    *err = cell < 0 ? cell : 0;
    if (TRI_UNLIKELY(cell < 0))
        return NULL;
    if (TRI_UNLIKELY(cell == 0))
        return new_large(m, type, array ? type->size * count : type->size, array);
    heap_colour now = colour(m);
    void *p = heap_alloc_slow(m->cache, (uint32_t)cell, now);
    struct gc_verifier *v = gc_of(m->heap)->verifier;
    if (TRI_UNLIKELY(v && now.black))
        gc_verify_note_run(v, &m->pub.runs[cell]);
    return p;
}

/* in_runtime is held; the mutator may be another one afterwards (a coroutine may have moved). */
static void *new_checked(tri_type *type, size_t count, bool array, bool try)
{
    int err;
    gc_mutator *m = gc_self();
    pay(m);
    void *p = new_once(m, type, count, array, &err);
    if (TRI_LIKELY(p != NULL))
        return p;
    if (!err || err == -ENOMEM) {
        tri_heap *h = m->heap;
        gc_shallower(m);
        int collected = tri_collect(h);
        m = gc_self();
        gc_deeper(m);
        p = collected == 0 ? new_once(m, type, count, array, &err) : NULL;
        if (p || try)
            return p;
        out_of_memory(m, type, array ? type->size * count : type->size);
    }
    bad_type(type, err);
}

void *tri_new_slow_(tri_type *type, size_t count, unsigned flags)
{
    gc_mutator *m = self_checked();
    gc_deeper(m);
    TRI_CHECK(m->cache, "an allocating mutator has run tables");
    uint64_t site = barrier_log_site(m, __builtin_return_address(0));
    void *p = new_checked(type, count, flags & TRI_NEW_ARRAY_, flags & TRI_NEW_TRY_);
    barrier_log_born(gc_self(), p, site, false);
    leave_runtime(gc_self());
    return p;
}

/* Called and left with busy set: the caller fills the object before any acknowledgement. */
void *tri_make_slow_(tri_type *type)
{
    gc_mutator *m = self_checked();
    uint64_t site = barrier_log_site(m, __builtin_return_address(0));
    m->pub.busy = 0;
    TRI_SIGNAL_FENCE();
    tri_safepoint_(); /* there is none after the allocation; the thread may be another one */
    m = gc_self();
    gc_deeper(m);
    TRI_CHECK(m->cache, "an allocating mutator has run tables");
    void *p = new_checked(type, 1, false, false);
    m = gc_self();
    barrier_log_born(m, p, site, true);
    m->pub.busy = 1;
    TRI_SIGNAL_FENCE();
    gc_shallower(m);
    return p;
}

/* ---- arrays -------------------------------------------------------------------------------------------- */

static void *new_array(tri_type *type, size_t count, unsigned flags)
{
    size_t bytes;
    if (TRI_UNLIKELY(__builtin_mul_overflow(type->size, count, &bytes) || bytes > PTRDIFF_MAX)) {
        if (flags & TRI_NEW_TRY_)
            return NULL;
        os_fatal("array of %zu elements of type %s: its size overflows", count, type->name);
    }
    uint32_t cells = tri_cell_(&type->array_cells);
    if (TRI_LIKELY(cells && bytes && bytes <= HEAP_SMALL_MAX)) {
        /* The block begins with the class of a single element: no array is smaller. */
        uint32_t cell = cells + heap_size_class(bytes) - heap_size_class(type->size);
        tri_mutator *m = tri_self();
        m->busy = 1;
        TRI_SIGNAL_FENCE();
        void *p = tri_run_pop_(m, cell);
        TRI_SIGNAL_FENCE();
        m->busy = 0;
        if (TRI_LIKELY(p != NULL))
            return p;
    }
    return tri_new_slow_(type, count, flags | TRI_NEW_ARRAY_);
}

void *(tri_new_array)(tri_type *type, size_t count)
{
    barrier_log_caller(__builtin_return_address(0));
    return new_array(type, count, 0);
}

void *(tri_try_new_array)(tri_type *type, size_t count)
{
    barrier_log_caller(__builtin_return_address(0));
    return new_array(type, count, TRI_NEW_TRY_);
}
