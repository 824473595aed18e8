/* Whole collections, one thread: what is kept, what goes, and what the caller may rely on. */
#include "fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "os/thread.h"

static TRI_NOINLINE uintptr_t make_garbage(void)
{
    struct node *n = build(6, 1);
    return hide(n);
}

Test(cycle, frees_what_nothing_refers_to)
{
    tri_heap *h = open_default();
    uintptr_t garbage = make_garbage();
    cr_assert(alive(h, garbage));
    collect(h);
    cr_assert(!alive(h, garbage), "garbage survived a collection");
    close_heap(h);
}

Test(cycle, keeps_what_the_stack_refers_to)
{
    tri_heap *h = open_default();
    struct node *tree = build(14, 1);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(tri_collect(h), 0);
    cr_assert_eq(count(tree, 1), (1u << 15) - 1);
    close_heap(h);
}

Test(cycle, keeps_what_an_interior_pointer_refers_to)
{
    tri_heap *h = open_default();
    uint64_t *volatile inside = &tri_make(node, .value = 77)->value;
    collect(h);
    cr_assert_eq(*inside, 77);
    cr_assert_eq(tri_object_base(h, inside), (char *)inside - offsetof(struct node, value));
    close_heap(h);
}

static struct node *root_words[3];

static TRI_NOINLINE void fill_roots(void)
{
    for (uint64_t i = 0; i < 3; i++)
        tri_set(&root_words[i], build(3, i + 1));
}

static TRI_NOINLINE uintptr_t check_roots(void)
{
    for (uint64_t i = 0; i < 3; i++)
        cr_assert_eq(count(root_words[i], i + 1), 15);
    return hide(root_words[0]);
}

Test(cycle, keeps_what_a_root_refers_to_until_it_is_removed)
{
    tri_heap *h = open_default();
    cr_assert_eq(tri_root_add(h, root_words, 3), 0);
    fill_roots();
    collect(h);
    uintptr_t first = check_roots();
    cr_assert(alive(h, first));
    cr_assert_eq(tri_root_remove(h, root_words), 0);
    memset(root_words, 0, sizeof root_words);
    collect(h);
    collect(h);
    cr_assert(!alive(h, first));
    close_heap(h);
}

Test(cycle, refuses_bad_roots)
{
    tri_heap *h = open_default();
    static char bytes[64] __attribute__((aligned(8)));
    cr_assert_eq(tri_root_add(h, NULL, 1), -EINVAL);
    cr_assert_eq(tri_root_add(h, bytes + 1, 1), -EINVAL);
    cr_assert_eq(tri_root_add(h, bytes, 0), -EINVAL);
    cr_assert_eq(tri_root_remove(h, bytes), -ENOENT);
    close_heap(h);
}

static TRI_NOINLINE uintptr_t fill_bytes(uintptr_t *bytes)
{
    tri_keep_alive(
        tri_make(node)); /* the caller may still have the end of its last node in a register */
    struct node *n = tri_make(node, .value = 5);
    bytes[0] = (uintptr_t)n;
    return hide(n);
}

Test(cycle, scans_every_kind_as_its_type_says)
{
    tri_heap *h = open_default();
    struct node **pointers = tri_new_array(&tri_pointers, 100);
    uintptr_t *words = tri_new_array(&tri_words, 100);
    uintptr_t *bytes = tri_new_array(&tri_bytes, 800);
    for (size_t i = 0; i < 100; i++)
        tri_set(&pointers[i], tri_make(node, .value = i));
    for (size_t i = 0; i < 100; i++)
        tri_set(&words[i], (uintptr_t)tri_make(node, .value = i));
    uintptr_t lost = fill_bytes(bytes);
    collect(h);
    for (size_t i = 0; i < 100; i++) {
        cr_assert_eq(pointers[i]->value, i);
        cr_assert_eq(((struct node *)words[i])->value, i);
    }
    cr_assert(!alive(h, lost), "bytes were scanned");
    tri_keep_alive(bytes);
    close_heap(h);
}

Test(cycle, marks_large_arrays_in_pieces_and_completely)
{
    tri_heap *h = open_default();
    size_t n = 300000;
    struct node **all = tri_new_array(&tri_pointers, n);
    for (size_t i = 0; i < n; i += 97)
        tri_set(&all[i], tri_make(node, .value = i));
    clear_stack();
    for (int round = 0; round < 3; round++)
        cr_assert_eq(tri_collect(h), 0);
    for (size_t i = 0; i < n; i += 97)
        cr_assert_eq(all[i]->value, i);
    close_heap(h);
}

struct tagged {
    uintptr_t value; /* low bit set: an integer */
};

static void trace_tagged(tri_tracer *t, void *object, size_t size)
{
    cr_assert_eq(size, sizeof(struct tagged));
    uintptr_t v = tri_load(&((struct tagged *)object)->value);
    if (!(v & 1))
        tri_trace(t, (void *)v);
}
TRI_TYPE_TRACE(tagged, struct tagged, trace_tagged);

Test(cycle, asks_the_trace_callback)
{
    tri_heap *h = open_default();
    struct tagged *kept = tri_new(&tagged), *number = tri_new(&tagged);
    struct node *target = tri_make(node, .value = 9), *other = tri_make(node, .value = 8);
    tri_set(&kept->value, (uintptr_t)target);
    number->value = (uintptr_t)other | 1;
    uintptr_t hidden = hide(other), kept_target = hide(target);
    target = other = NULL;
    collect(h);
    cr_assert_eq(((struct node *)unhide(kept_target))->value, 9);
    cr_assert_eq(tri_object_size(h, unhide(kept_target)), sizeof(struct node));
    tri_keep_alive(kept);
    tri_keep_alive(number);
    (void)hidden;
    close_heap(h);
}

Test(cycle, starts_by_itself_when_the_heap_has_grown)
{
    tri_heap *h = open_default();
    /* The collector's thread may get no processor for a while: the bound is generous. */
    uint64_t bytes = 0;
    for (; gc_cycles(h) < 4 && bytes < (uint64_t)100 << 30; bytes += 256)
        tri_keep_alive(tri_new_array(&tri_bytes, 256));
    cr_assert_geq(gc_cycles(h), 4, "100 GiB of garbage caused no four cycles");
    close_heap(h);
}

Test(cycle, does_not_start_by_itself_when_gogc_is_off)
{
    tri_options o;
    tri_options_init(&o);
    o.gogc = -1;
    tri_heap *h = open_heap(&o);
    for (int i = 0; i < 100000; i++)
        tri_keep_alive(tri_new_array(&tri_bytes, 256));
    cr_assert_eq(gc_cycles(h), 0);
    cr_assert_eq(tri_collect(h), 0);
    cr_assert_eq(gc_cycles(h), 1);
    close_heap(h);
}

Test(cycle, collect_means_a_cycle_that_starts_after_the_call)
{
    tri_heap *h = open_default();
    for (int i = 0; i < 20; i++) {
        uintptr_t garbage = make_garbage();
        collect(h);
        cr_assert(!alive(h, garbage));
    }
    close_heap(h);
}

/* ---- threads that do not cooperate ------------------------------------------------------------------ */

static _Atomic bool stop, looping;

static void loop_without_calls(void *arg)
{
    struct node *mine = arg;
    atomic_store(&looping, true);
    while (!atomic_load_explicit(&stop, memory_order_relaxed))
        tri_keep_alive(mine);
    cr_assert_eq(count(mine, 1), 127);
}

/* By its signal alone, which ThreadSanitizer keeps from a thread until that makes a system call. */
Test(cycle, reaches_a_thread_that_makes_no_calls, .disabled = TRI_TSAN)
{
    tri_heap *h = open_default();
    tri_thread *t;
    cr_assert_eq(tri_thread_start(h, loop_without_calls, build(6, 1), &t), 0);
    while (!atomic_load(&looping))
        os_yield();
    clear_stack();
    for (int i = 0; i < 10; i++)
        cr_assert_eq(tri_collect(h), 0);
    atomic_store(&stop, true);
    cr_assert_eq(tri_thread_join(t), 0);
    close_heap(h);
}

static void sleep_long(void *arg)
{
    (void)arg;
    while (!atomic_load_explicit(&stop, memory_order_relaxed))
        os_sleep_ns(1000000);
}

static void block_with_a_tree(void *arg)
{
    struct node *mine = build(6, 1);
    atomic_store(&looping, true);
    tri_blocking(sleep_long, arg);
    cr_assert_eq(count(mine, 1), 127);
}

Test(cycle, does_not_wait_for_a_blocked_thread_and_keeps_its_objects)
{
    tri_options o;
    tri_options_init(&o);
    o.poll_only = true;
    tri_heap *h = open_heap(&o);
    tri_thread *t;
    cr_assert_eq(tri_thread_start(h, block_with_a_tree, NULL, &t), 0);
    while (!atomic_load(&looping))
        tri_poll();
    for (int i = 0; i < 10; i++)
        cr_assert_eq(tri_collect(h), 0);
    atomic_store(&stop, true);
    cr_assert_eq(tri_thread_join(t), 0);
    close_heap(h);
}

/* ---- heaps ------------------------------------------------------------------------------------------- */

Test(cycle, heaps_are_isolated_and_collected_apart)
{
    tri_heap *a = open_default(), *b = open_default();
    cr_assert_eq(tri_enter(a), b);
    struct node *in_a = build(8, 1);
    cr_assert_eq(tri_enter(b), a);
    struct node *in_b = build(8, 1);
    cr_assert_eq(tri_collect(a), 0);
    cr_assert_eq(tri_collect(b), 0);
    cr_assert_eq(count(in_a, 1), 511);
    cr_assert_eq(count(in_b, 1), 511);
    cr_assert_eq(tri_object_size(a, in_b), 0);
    cr_assert_neq(tri_object_size(b, in_b), 0);
    close_heap(b);
    close_heap(a);
}

Test(cycle, a_heap_with_attached_threads_is_not_destroyed)
{
    tri_heap *h = open_default();
    cr_assert_eq(tri_heap_destroy(h), -EBUSY);
    close_heap(h);
}

Test(cycle, options_out_of_range_are_refused)
{
    tri_heap *h;
    tri_options o;
    tri_options_init(&o);
    o.reserve = 4096;
    cr_assert_eq(tri_heap_create(&o, &h), -EINVAL);
    tri_options_init(&o);
    o.hard_limit = 1;
    cr_assert_eq(tri_heap_create(&o, &h), -EINVAL);
    tri_options_init(&o);
    o.workers = 100000;
    cr_assert_eq(tri_heap_create(&o, &h), -EINVAL);
}

Test(cycle, the_environment_sets_options)
{
    tri_options o;
    setenv("TRICOLOR", "gogc=50,memlimit=512MiB,hardlimit=1GiB,verify=1,procs=3,poll=1", 1);
    cr_assert_eq(tri_options_init(&o), 0);
    cr_assert_eq(o.gogc, 50);
    cr_assert_eq(o.memory_limit, 512u << 20);
    cr_assert_eq(o.hard_limit, 1u << 30);
    cr_assert(o.verify);
    cr_assert_eq(o.procs, 3);
    cr_assert(o.poll_only);
    static const char *const bad[] = {"gogc",         "gogc=x",      "gogc=-2",    "nothing=1",
                                      "memlimit=1MB", "memlimit=-1", "procs=5000", "verify=2"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        setenv("TRICOLOR", bad[i], 1);
        cr_assert_eq(tri_options_init(&o), -EINVAL, "%s was accepted", bad[i]);
    }
    unsetenv("TRICOLOR");
}

/* ---- limits ------------------------------------------------------------------------------------------- */

Test(cycle, at_the_hard_limit_try_fails_and_the_heap_goes_on)
{
    tri_options o;
    tri_options_init(&o);
    o.hard_limit = 32 << 20;
    tri_heap *h = open_heap(&o);
    struct node *list = NULL;
    uint64_t n = 0;
    for (struct node *next; (next = tri_try_new(&node)); n++) {
        tri_init(&next->left, list);
        list = next;
    }
    cr_assert_gt(n, 500000);
    uint64_t seen = 0;
    for (struct node *at = list; at; at = at->left)
        seen++;
    cr_assert_eq(seen, n);
    list = NULL;
    clear_stack();
    for (int i = 0; i < 1000000; i++)
        cr_assert_not_null(tri_try_new(&node));
    close_heap(h);
}

Test(cycle, garbage_is_never_the_reason_for_running_out)
{
    tri_options o;
    tri_options_init(&o);
    o.hard_limit = 16 << 20;
    o.gogc = -1;
    tri_heap *h = open_heap(&o);
    for (int i = 0; i < 2000; i++)
        memset(tri_new_array(&tri_bytes, 100000), 1, 100000);
    close_heap(h);
}
