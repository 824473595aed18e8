/* verify=1: an independent re-marking at the end of each cycle.
 *
 * It runs between DONE and H5: the collector claims that everything reachable is marked. All
 * mutators are stopped (this option is the one place that does so), the heap is walked again from
 * roots and stacks with a walker that shares nothing with the marker but the type layouts, and every
 * object it reaches must carry a mark. One that does not is reported with the path by which it was
 * reached, and the process aborts.
 *
 * The walk is exact about stacks, although they are scanned conservatively. A stale word in a dead
 * part of a stack may point to garbage that was rightly not marked, and a deeper call may bring that
 * word back to life without ever writing it. So while verify is on, the dead part of a stack is
 * cleared whenever the stack is scanned; every word that is found later was written after the scan,
 * by code that obtained it legally, and must point to a marked object. Registers are looked at only where
 * H2 saw all of them, too (it came by signal): otherwise a dead one may hold anything.
 *
 * One word is not obtained legally: popping a slot off a run computes the address after it, and at the
 * end of a run that is somebody else's slot. It may stay in a dead register, and be pushed with it (under
 * ThreadSanitizer, and where nothing is optimised, it is). So the ends of the runs that were cut since the
 * last walk are kept in a bitmap, and such a word on a stack proves nothing. Black runs only: white ones
 * were given up before any stack was scanned.
 *
 * The walk is breadth-first over an array that is never popped, so that the parent of each entry is
 * still there when a path must be told.
 */
#include <errno.h>
#include <string.h>

#include "gc/state.h"
#include "os/memory.h"
#include "os/report.h"
#include "os/vm.h"

typedef struct entry {
    uintptr_t object;
    uint64_t from; /* index of the parent + 1; 0: a root */
} entry;

typedef struct gc_verifier {
    tri_heap *heap;
    uint8_t *seen; /* a bit per 8 bytes of the heap */
    uint8_t *ends; /* the same: a run ended there. Set by mutators, forgotten while they stand */
    size_t seen_size;
    entry *queue;
    size_t queue_size;
    uint64_t tail;
    const char *root; /* what is being looked at, for the report */
} gc_verifier;

int gc_verify_open(struct gc *gc)
{
    gc_verifier *v = os_alloc(sizeof *v);
    if (!v)
        return -ENOMEM;
    v->heap = gc->heap;
    v->seen_size = gc->heap->reserved / 64;
    v->queue_size = gc->heap->reserved; /* an entry for each smallest slot in half the heap */
    v->seen = os_reserve_rw(v->seen_size, 4096);
    v->ends = os_reserve_rw(v->seen_size, 4096);
    v->queue = os_reserve_rw(v->queue_size, 4096);
    gc->verifier = v;
    if (v->seen && v->ends && v->queue)
        return 0;
    gc_verify_close(gc);
    return -ENOMEM;
}

void gc_verify_close(struct gc *gc)
{
    gc_verifier *v = gc->verifier;
    if (!v)
        return;
    if (v->seen)
        os_unreserve(v->seen, v->seen_size);
    if (v->ends)
        os_unreserve(v->ends, v->seen_size);
    if (v->queue)
        os_unreserve(v->queue, v->queue_size);
    os_free(v, sizeof *v);
    gc->verifier = NULL;
}

/* ---- clearing dead stack ------------------------------------------------------------------------------ */

/* The lower part of the main thread's stack may not be mapped yet: the system then says that memory is
 * missing, after it has done so for the rest. */
static bool give_back(uintptr_t lo, uintptr_t hi)
{
    int err = os_release((void *)lo, hi - lo);
    return !err || err == -ENOMEM;
}

/* Whole pages go back to the system, which is cheaper than touching them. */
__attribute__((no_sanitize("address", "thread"))) void gc_verify_clear_dead(uintptr_t lo,
                                                                            uintptr_t hi)
{
    if (hi <= lo)
        return;
    uintptr_t page = hi & ~(uintptr_t)(os_page_size() - 1);
    if (page <= lo || !give_back(lo, page))
        page = lo;
    for (volatile uintptr_t *p = (volatile uintptr_t *)page; (uintptr_t)p < hi; p++)
        *p = 0;
}

/* A leaf: below the stack pointer there is nothing of its own but the red zone. */
__attribute__((noinline, no_sanitize("address", "thread"))) static void clear_below_here(
    uintptr_t lo)
{
    uintptr_t sp;
#if defined(__x86_64__)
    __asm__ volatile("movq %%rsp, %0" : "=r"(sp));
#else
    __asm__ volatile("mov %0, sp" : "=r"(sp));
#endif
    for (uintptr_t p = lo; p < sp - 128; p += sizeof(uintptr_t))
        *(volatile uintptr_t *)p = 0;
}

/* On the mutator's own stack: everything below this function's frame. */
TRI_NOINLINE void gc_verify_clear_below(gc_mutator *m)
{
    gc_stack *s = m->stack;
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    if (!s || here < s->lo || here > s->hi)
        return;
    /* Whole pages by a system call, whose frames are in those that are left. */
    uintptr_t page = (here & ~(uintptr_t)(os_page_size() - 1)) - os_page_size();
    clear_below_here(page > s->lo && give_back(s->lo, page) ? page : s->lo);
}

/* ---- the report ------------------------------------------------------------------------------------------ */

static const char *type_name(tri_heap *h, uintptr_t object)
{
    heap_ref ref;
    if (!heap_find(h, object, &ref))
        return "?";
    return heap_layout_of(h, ref.span, ref.index)->name;
}

static _Noreturn void report(gc_verifier *v, uintptr_t object, uint64_t from)
{
    tri_heap *h = v->heap;
    os_print("tricolor: verify: the collector missed an object of type %s at %p\n",
             type_name(h, object), (void *)object);
    unsigned shown = 0;
    for (; from && shown < 32; shown++) {
        entry *e = &v->queue[from - 1];
        os_print("tricolor: verify:   from %s at %p\n", type_name(h, e->object), (void *)e->object);
        from = e->from;
    }
    os_print("tricolor: verify:   from %s%s\n", from ? "... " : "", v->root);
    os_fatal("verify: a reachable object was not marked");
}

/* ---- the walk --------------------------------------------------------------------------------------------- */

static void reach(gc_verifier *v, uintptr_t word, uint64_t from)
{
    heap_ref ref;
    if (!heap_find(v->heap, word, &ref))
        return;
    uintptr_t object = heap_slot(ref.span, ref.index);
    if (!heap_is_marked(ref.span, ref.index))
        report(v, object, from);
    size_t bit = (object - v->heap->base) / 8;
    if (v->seen[bit / 8] & (1u << bit % 8))
        return;
    v->seen[bit / 8] |= (uint8_t)(1u << bit % 8);
    if ((v->tail + 1) * sizeof(entry) > v->queue_size)
        os_fatal("verify: the heap is too full to be verified");
    v->queue[v->tail++] = (entry){object, from};
}

static void reach_words(gc_verifier *v, uintptr_t at, size_t bytes, uint64_t from)
{
    for (size_t i = 0; i + 8 <= bytes; i += 8)
        reach(v, *(uintptr_t *)(at + i), from);
}

static void reach_fields(gc_verifier *v, uintptr_t at, const heap_layout *l, uint64_t from)
{
    for (uint32_t i = 0; i < l->nptrs; i++)
        reach(v, ((uintptr_t *)at)[l->offsets[i]], from);
}

static void reach_traced(gc_verifier *v, uintptr_t at, const heap_layout *l, uint64_t from)
{
    struct tri_tracer tracer = {.verifier = v, .from = from};
    l->trace(&tracer, (void *)at, l->size);
}

static void walk_object(gc_verifier *v, uintptr_t object, uint64_t self)
{
    heap_ref ref;
    if (!heap_find(v->heap, object, &ref))
        return;
    const heap_layout *l = heap_layout_of(v->heap, ref.span, ref.index);
    size_t bytes = ref.span->size;
    switch (l->kind) {
    case TRI_KIND_BYTES: return;
    case TRI_KIND_WORDS:
    case TRI_KIND_POINTERS: reach_words(v, object, bytes, self); return;
    case TRI_KIND_STRUCT:
    case TRI_KIND_TRACE:
        for (size_t at = 0; at + l->size <= (l->array ? bytes : l->size); at += l->size)
            if (l->kind == TRI_KIND_STRUCT)
                reach_fields(v, object + at, l, self);
            else
                reach_traced(v, object + at, l, self);
        return;
    }
}

void gc_verify_traced(struct gc_verifier *v, uintptr_t word, uint64_t from)
{
    reach(v, word, from);
}

static void drain(gc_verifier *v, uint64_t *head)
{
    for (; *head < v->tail; (*head)++)
        walk_object(v, v->queue[*head].object, *head + 1);
}

/* ---- roots --------------------------------------------------------------------------------------------------- */

static void note_end(gc_verifier *v, uintptr_t end)
{
    size_t bit = (end - v->heap->base) / 8;
    if (bit / 8 < v->seen_size)
        __atomic_fetch_or(&v->ends[bit / 8], (uint8_t)(1u << bit % 8), __ATOMIC_RELAXED);
}

/* The pop that finds the run used up computes the address of yet another slot. */
void gc_verify_note_run(struct gc_verifier *v, const tri_slots *run)
{
    note_end(v, run->end);
    note_end(v, run->end + run->size);
}

static bool is_end_of_run(const gc_verifier *v, uintptr_t word)
{
    size_t bit = (word - v->heap->base) / 8;
    return word % 8 == 0 && __atomic_load_n(&v->ends[bit / 8], __ATOMIC_RELAXED) >> bit % 8 & 1;
}

/* The library's own slow paths, which interrupt the program anywhere, leave addresses of spans in dead
 * registers and stack slots, and that of the heap; they are those of first slots, too. */
static void reach_conservatively(gc_verifier *v, uintptr_t word)
{
    heap_ref ref;
    if (heap_find(v->heap, word, &ref) && (word == ref.span->base || is_end_of_run(v, word)) &&
        !heap_is_marked(ref.span, ref.index))
        return;
    reach(v, word, 0);
}

__attribute__((no_sanitize("address", "thread"))) static void reach_stack(gc_verifier *v,
                                                                          const gc_stack *s,
                                                                          uintptr_t sp)
{
    sp &= ~(uintptr_t)7;
    const char *words = s->away ? s->away : (const char *)sp;
    for (size_t at = 0; at + 8 <= s->hi - sp; at += 8)
        reach_conservatively(v, *(const uintptr_t *)(words + at));
    for (uint32_t i = 0; i < s->extra_count; i++)
        reach(v, (uintptr_t)s->extra[i], 0);
}

static void reach_registers(void *arg, const uintptr_t *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        reach_conservatively(arg, words[i]);
}

static void reach_parked(void *arg, gc_stack *s)
{
    gc_verifier *v = arg;
    if (atomic_load(&s->state) != GC_STACK_PARKED || s->sp == s->hi)
        return;
    if (atomic_load(&s->scanned) != gc_of(v->heap)->cycle)
        os_fatal("verify: a parked stack was not scanned in this cycle");
    v->root = "a parked stack";
    reach_stack(v, s, s->sp);
}

static void reach_running(struct gc *gc, gc_verifier *v)
{
    for (gc_mutator *m = gc->mutators; m; m = m->next) {
        if (!m->stack)
            continue;
        v->root = "the stack of a running thread";
        reach_stack(v, m->stack, m->blocked_sp);
        if (m->stopped_context && m->registers_taken) {
            v->root = "a register of a running thread";
            os_context_registers(m->stopped_context, reach_registers, v);
        }
    }
}

static void walk_all(struct gc *gc, gc_verifier *v)
{
    uint64_t head = 0;
    v->root = "a registered root";
    for (gc_root *r = gc->roots; r; r = r->next)
        reach_words(v, (uintptr_t)r->start, r->count * sizeof(uintptr_t), 0);
    drain(v, &head);
    reach_running(gc, v);
    v->root = "the stack or a register of a running thread";
    drain(v, &head);
    gc_stacks_each(gc, reach_parked, v);
    v->root = "a parked stack";
    drain(v, &head);
}

/* ---- stopping ------------------------------------------------------------------------------------------------- */

static void release_all(struct gc *gc)
{
    for (gc_mutator *m = gc->mutators; m; m = m->next) {
        uint32_t held = GC_ACKING;
        atomic_compare_exchange_strong(&m->state, &held, GC_BLOCKED);
    }
    atomic_store_explicit(&gc->verify_stop, 0, memory_order_release); /* pairs with stand_still */
    os_futex_wake(&gc->verify_stop, 1 << 20);
}

/* Bits that the system does not take away would hide those objects from the next walk. */
static void forget(gc_verifier *v)
{
    bool gone = os_release(v->seen, v->seen_size) == 0;
    for (uint64_t i = 0; i < v->tail && !gone; i++)
        v->seen[(v->queue[i].object - v->heap->base) / 64] = 0;
    os_release(v->ends, v->seen_size); /* should it fail, more words prove nothing */
    os_release(v->queue, (v->tail * sizeof(entry) + 4095) & ~(size_t)4095);
}

void gc_verify(struct gc *gc)
{
    gc_verifier *v = gc->verifier;
    atomic_store_explicit(&gc->verify_stop, 1, memory_order_release);
    gc_handshake(gc, GC_STEP_VERIFY, gc->target);
    /* Nobody attaches, detaches or registers a root meanwhile. */
    os_mutex_lock(&gc->roots_lock); /* in the order of gc/fork.c */
    gc_collector_lock(gc);
    v->tail = 0;
    walk_all(gc, v);
    forget(v);
    release_all(gc);
    gc_collector_unlock(gc);
    os_mutex_unlock(&gc->roots_lock);
}
