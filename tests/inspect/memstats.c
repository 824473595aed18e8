/* Statistics of a heap that works: the equations between the fields, what they count, and that
 * released memory has left the process.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "gc/interruption.h"
#include "gc/summary.h"
#include "heap/heap.h"
#include "os/vm.h"
#include "tricolor/tricolor.h"

struct pair {
    struct pair *next;
    long value;
};
TRI_TYPE(pair, struct pair, next);

struct wide {
    struct wide *next;
    char bytes[1016];
};
TRI_TYPE(wide, struct wide, next);

static tri_heap *heap;
static struct pair *root;

static void open_heap(int gogc)
{
    tri_options options;
    cr_assert_eq(tri_options_init(&options), 0);
    options.gogc = gogc;
    cr_assert_eq(tri_heap_create(&options, &heap), 0);
    cr_assert_eq(tri_root_add(heap, &root, 1), 0);
}

static void close_heap(void)
{
    cr_assert_eq(tri_root_remove(heap, &root), 0);
    cr_assert_eq(tri_heap_destroy(heap), 0);
}

static tri_memstats *stats(void)
{
    static tri_memstats m;
    cr_assert_eq(tri_read_memstats(heap, &m), 0);
    return &m;
}

/* Conservative scanning may find leftovers: what must die is made in a frame of its own. */
static TRI_NOINLINE void push_pairs(size_t n, bool keep)
{
    for (size_t i = 0; i < n; i++) {
        struct pair *p = tri_make(pair, .next = keep ? root : NULL, .value = (long)i);
        if (keep)
            tri_set(&root, p);
    }
}

static TRI_NOINLINE void waste_wide(size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct wide *w = tri_new(&wide);
        w->bytes[0] = 1; /* makes it resident */
    }
}

static TRI_NOINLINE void clear_stack(void)
{
    volatile char area[8192];
    memset((char *)area, 0, sizeof area);
}

static void check_equations(const tri_memstats *m)
{
    cr_assert_eq(m->mallocs - m->frees, m->heap_objects);
    cr_assert(m->frees <= m->mallocs);
    cr_assert_eq(m->alloc, m->heap_alloc);
    cr_assert(m->alloc <= m->total_alloc);
    cr_assert_eq(m->heap_sys, m->heap_idle + m->heap_inuse);
    cr_assert(m->heap_released <= m->heap_idle);
    cr_assert_eq(m->sys, m->heap_sys + m->stack_sys + m->mspan_sys + m->mcache_sys +
                             m->buck_hash_sys + m->gc_sys + m->other_sys);
    cr_assert(m->mspan_inuse <= m->mspan_sys);
    cr_assert(m->mcache_inuse <= m->mcache_sys);
    cr_assert(m->stack_inuse <= m->stack_sys);
    cr_assert(m->gc_cpu_fraction >= 0 && m->gc_cpu_fraction <= 1);
    cr_assert(m->enable_gc);
}

Test(memstats, equations_hold_from_the_first_moment_and_after_work)
{
    open_heap(100);
    check_equations(stats());
    cr_assert_eq(stats()->num_gc, 0);
    cr_assert_eq(stats()->last_gc, 0);
    cr_assert_eq(tri_attach(heap), 0);
    for (int i = 0; i < 20; i++) {
        push_pairs(20000, i % 4 == 0);
        waste_wide(500);
        check_equations(stats());
    }
    cr_assert_eq(tri_collect(heap), 0);
    check_equations(stats());
    cr_assert_eq(tri_detach(heap), 0);
    check_equations(stats());
    close_heap();
}

Test(memstats, every_object_is_counted_once_and_unissued_slots_are_none)
{
    open_heap(-1);
    cr_assert_eq(tri_attach(heap), 0);
    uint64_t before = stats()->mallocs, bytes = stats()->total_alloc;
    push_pairs(10001, false);
    cr_assert_eq(stats()->mallocs - before, 10001);
    cr_assert_eq(stats()->total_alloc - bytes, 10001 * sizeof(struct pair));
    cr_assert_eq(stats()->heap_objects, stats()->mallocs);
    clear_stack();
    cr_assert_eq(tri_collect(heap), 0);
    cr_assert(stats()->frees >= 9900, "only %lu of 10001 were freed", stats()->frees);
    cr_assert_eq(stats()->mallocs - before, 10001);
    cr_assert(stats()->heap_alloc <= 200 * sizeof(struct pair));
    cr_assert_eq(tri_detach(heap), 0);
    close_heap();
}

Test(memstats, large_objects_count_too)
{
    open_heap(-1);
    cr_assert_eq(tri_attach(heap), 0);
    uint64_t before = stats()->mallocs, inuse = stats()->heap_inuse;
    tri_keep_alive(tri_new_array(&tri_bytes, (size_t)4 << 20));
    cr_assert_eq(stats()->mallocs - before, 1);
    cr_assert(stats()->heap_inuse - inuse >= (uint64_t)4 << 20);
    cr_assert(stats()->heap_alloc >= (uint64_t)4 << 20);
    check_equations(stats());
    cr_assert_eq(tri_detach(heap), 0);
    close_heap();
}

Test(memstats, sizes_add_up_to_all_small_objects)
{
    open_heap(-1);
    cr_assert_eq(tri_attach(heap), 0);
    push_pairs(5000, true);
    waste_wide(300);
    const tri_memstats *m = stats();
    uint64_t mallocs = 0, frees = 0, last = 0;
    for (size_t i = 0; i < TRI_SIZE_CLASSES; i++) {
        cr_assert(i == 0 || m->by_size[i].size > last, "class %zu is no larger", i);
        last = m->by_size[i].size;
        mallocs += m->by_size[i].mallocs;
        frees += m->by_size[i].frees;
        if (m->by_size[i].size == 16)
            cr_assert(m->by_size[i].mallocs >= 5000);
    }
    cr_assert_eq(mallocs, m->mallocs);
    cr_assert_eq(frees, m->frees);
    cr_assert_eq(last, 32768);
    cr_assert_eq(tri_detach(heap), 0);
    close_heap();
}

static atomic_bool spinning;

/* Gives the collector somebody to interrupt: whoever forces a collection is asleep meanwhile. */
static void *spin(void *arg)
{
    (void)arg;
    cr_assert_eq(tri_attach(heap), 0);
    while (atomic_load(&spinning))
        tri_poll();
    cr_assert_eq(tri_detach(heap), 0);
    return NULL;
}

Test(memstats, collections_leave_their_pauses_where_go_leaves_them)
{
    open_heap(-1);
    pthread_t spinner;
    atomic_store(&spinning, true);
    cr_assert_eq(pthread_create(&spinner, NULL, spin, NULL), 0);
    cr_assert_eq(tri_attach(heap), 0);
    for (uint32_t n = 1; n <= 260; n++) {
        cr_assert_eq(tri_collect(heap), 0);
        if (n > 3 && n < 254)
            continue;
        const tri_memstats *m = stats();
        cr_assert_eq(m->num_gc, n);
        cr_assert_eq(m->num_forced_gc, n);
        cr_assert_eq(m->last_gc, m->pause_end[(n + 255) % 256]);
        cr_assert(m->pause_ns[(n + 255) % 256] < 1000000000);
        uint64_t sum = 0, newest = 0;
        for (size_t i = 0; i < TRI_PAUSES; i++) {
            sum += m->pause_ns[i];
            newest = m->pause_end[i] > newest ? m->pause_end[i] : newest;
        }
        cr_assert(n > 256 ? m->pause_total_ns >= sum : m->pause_total_ns == sum);
        cr_assert_eq(newest, m->last_gc);
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    cr_assert((uint64_t)now.tv_sec - stats()->last_gc / 1000000000 < 10, "no wall clock time");
    cr_assert(stats()->gc_cpu_fraction > 0);
    cr_assert(stats()->next_gc > 0);
    cr_assert_eq(tri_detach(heap), 0);
    atomic_store(&spinning, false);
    pthread_join(spinner, NULL);
    cr_assert(stats()->pause_total_ns > 0, "nobody was interrupted in 260 collections");
    close_heap();
}

/* Only what stands still can be compared: the warmer and the scavenger may go on while pages are counted. */
static void check_released(void)
{
    uint64_t before, after;
    size_t left, sys;
    do {
        before = stats()->heap_released;
        sys = stats()->heap_sys;
        left = os_resident((void *)heap->base, sys);
        after = stats()->heap_released;
    } while (before != after || sys != stats()->heap_sys);
    cr_assert(left <= sys - before, "%zu of %zu stay, %" PRIu64 " are called released", left, sys,
              before);
}

Test(memstats, released_memory_has_left_the_resident_set)
{
    open_heap(-1);
    cr_assert_eq(tri_attach(heap), 0);
    waste_wide(64 * 1024);
    clear_stack();
    cr_assert(os_resident((void *)heap->base, stats()->heap_sys) >= (size_t)64 << 20);
    cr_assert_eq(tri_collect(heap), 0);
    check_released();
    cr_assert_eq(tri_free_os_memory(heap), 0);
    check_released();
    cr_assert(stats()->heap_released >= (uint64_t)56 << 20, "only %lu went",
              stats()->heap_released);
    cr_assert_eq(tri_detach(heap), 0);
    close_heap();
}

static atomic_int working;

static void *work(void *arg)
{
    (void)arg;
    cr_assert_eq(tri_attach(heap), 0);
    for (int i = 0; i < 60; i++) {
        push_pairs(5000, false);
        waste_wide(200);
    }
    cr_assert_eq(tri_detach(heap), 0);
    atomic_fetch_sub(&working, 1);
    return NULL;
}

Test(memstats, every_snapshot_is_consistent_while_threads_allocate_and_collect)
{
    open_heap(50);
    pthread_t t[2];
    atomic_store(&working, 2);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&t[i], NULL, work, NULL), 0);
    uint64_t num_gc = 0, pauses = 0;
    while (atomic_load(&working)) {
        const tri_memstats *m = stats();
        check_equations(m);
        cr_assert(m->num_gc >= num_gc);
        cr_assert(m->pause_total_ns >= pauses);
        num_gc = m->num_gc;
        pauses = m->pause_total_ns;
    }
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    cr_assert_eq(stats()->mallocs, 2 * 60 * 5200);
    close_heap();
}

/* ---- interruptions ---------------------------------------------------------------------------- */

Test(interruptions, handshakes_are_recorded_and_a_reset_forgets_them)
{
    open_heap(-1);
    cr_assert_eq(tri_attach(heap), 0);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(tri_collect(heap), 0);
    tri_latency all, reach, waits;
    cr_assert_eq(tri_read_interruptions(heap, TRI_INTERRUPTION_ALL, &all), 0);
    cr_assert_eq(tri_reach_time(heap, &reach), 0);
    cr_assert_eq(tri_mutator_waits(heap, &waits), 0);
    cr_assert(reach.count >= 5 * 4, "%lu handshakes", reach.count);
    cr_assert_eq(waits.count, 0);
    cr_assert(all.p50 <= all.p99 && all.p99 <= all.p999 && all.p999 <= all.max);
    cr_assert(all.total >= all.max);
    cr_assert_eq(tri_detach(heap), 0);
    tri_reset_interruptions(heap);
    cr_assert_eq(tri_read_interruptions(heap, TRI_INTERRUPTION_ALL, &all), 0);
    cr_assert_eq(all.count, 0);
    cr_assert_eq(tri_mmu(heap, 1000000), 1.0);
    close_heap();
}

Test(interruptions, kinds_add_up_to_all)
{
    open_heap(50);
    cr_assert_eq(tri_attach(heap), 0);
    for (int i = 0; i < 30; i++)
        push_pairs(20000, i % 3 == 0);
    cr_assert_eq(tri_detach(heap), 0);
    tri_latency one, all;
    uint64_t count = 0;
    int64_t total = 0;
    for (int k = TRI_INTERRUPTION_ALL + 1; k < TRI_INTERRUPTION_VERIFY; k++) {
        cr_assert_eq(tri_read_interruptions(heap, (tri_interruption)k, &one), 0);
        count += one.count;
        total += one.total;
    }
    cr_assert_eq(tri_read_interruptions(heap, TRI_INTERRUPTION_ALL, &all), 0);
    cr_assert_eq(all.count, count);
    cr_assert_eq(all.total, total);
    close_heap();
}

Test(interruptions, unknown_kinds_and_windows_are_refused)
{
    open_heap(-1);
    tri_latency l;
    cr_assert_eq(tri_read_interruptions(heap, TRI_INTERRUPTION_KINDS, &l), -EINVAL);
    cr_assert_eq(tri_read_interruptions(heap, (tri_interruption)-1, &l), -EINVAL);
    cr_assert_eq(tri_mmu(heap, 5), -1.0);
    cr_assert_eq(tri_mmu(heap, 10000000), 1.0);
    close_heap();
}

/* ---- types -------------------------------------------------------------------------------------- */

typedef struct tally {
    uint64_t pairs, pair_bytes, wides, arrays, others;
} tally;

static bool count_type(void *arg, const tri_type_stats *s)
{
    tally *t = arg;
    cr_assert_eq(s->live_objects, s->mallocs - s->frees);
    if (s->type == &pair) {
        cr_assert_str_eq(s->name, "pair");
        t->pairs += s->live_objects;
        t->pair_bytes += s->live_bytes;
    } else if (s->type == &wide) {
        t->wides += s->live_objects;
    } else if (s->type == &tri_bytes && s->array) {
        t->arrays += s->live_objects;
    } else {
        t->others += s->mallocs;
    }
    return true;
}

static bool stop_at_once(void *arg, const tri_type_stats *s)
{
    (void)s;
    ++*(int *)arg;
    return false;
}

Test(types, live_objects_are_told_by_type)
{
    open_heap(-1);
    cr_assert_eq(tri_attach(heap), 0);
    push_pairs(3000, true);
    waste_wide(100);
    tri_keep_alive(tri_new_array(&tri_bytes, 40));
    tally t = {0};
    tri_each_type(heap, count_type, &t);
    cr_assert_eq(t.pairs, 3000);
    cr_assert_eq(t.pair_bytes, 3000 * sizeof(struct pair));
    cr_assert_eq(t.wides, 100);
    cr_assert_eq(t.arrays, 1);
    cr_assert_eq(t.others, 0);
    clear_stack();
    cr_assert_eq(tri_collect(heap), 0);
    t = (tally){0};
    tri_each_type(heap, count_type, &t);
    cr_assert_eq(t.pairs, 3000);
    cr_assert(t.wides < 10, "%lu of 100 dead objects are still there", t.wides);
    int calls = 0;
    tri_each_type(heap, stop_at_once, &calls);
    cr_assert_eq(calls, 1);
    cr_assert_eq(tri_detach(heap), 0);
    close_heap();
}
