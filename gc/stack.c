/* Stacks: the registry, parking, resuming, and what each does to the scan.
 *
 * A stack is scanned once a cycle: running, in its mutator's acknowledgement of H2; parked, by the
 * collector after H2 is complete; or by the mutator that resumes it first. `scanned` holds the number
 * of the cycle in which that happened.
 *
 * At H2 nothing is looked up: the candidates (words that point into the reservation) are copied, which
 * a vector kernel does at memory speed, and marked later. That is what keeps the handshake short
 * whatever the depth of the stack.
 *
 * The state word keeps a parked stack still while it is read. PARKED to SCANNING by the collector, to
 * RUNNING by the resuming thread, both by compare-and-swap; a resuming thread that finds SCANNING waits
 * for the collector (for two stacks at most, not for a mutator). A dead stack is parked with sp == hi.
 *
 * A parked stack can be put away: its live words are copied to memory of its owner's, and others use
 * the range. That is a move of the stack by a mutator, which therefore claims it as one that resumes
 * it would, and owes the same: if it is past H2 and the stack is not scanned yet, it scans it first. So
 * the collector's single pass may leave out a stack that it finds claimed, whatever it is claimed for.
 * The copy changes nothing that the protocol knows of: the words are the same, and so is `scanned`.
 *
 * The registry is an array of pointers with a free list inside it, under a lock that is held for one
 * entry at a time, so that a million stacks never make a spawning coroutine wait for a walk.
 */
#include <errno.h>
#include <string.h>

#include "barrier/sabotage.h"
#include "gc/state.h"
#include "heap/annotate.h"
#include "os/clock.h"
#include "os/delay.h"
#include "os/report.h"
#include "os/vm.h"

#define RED_ZONE     128
#define AHEAD        8           /* stacks */
#define LINES_AHEAD  5           /* of a stack; most parked ones are no deeper */
#define REGISTRY_MAX (64u << 20) /* entries of address space; touched as needed */

/* Locals on AddressSanitizer's fake stacks would be out of the collector's sight: a frame that is on one
 * when the first heap is made stays there, so it is too late to turn them off. */
void gc_stack_check_real(void)
{
#ifdef HEAP_ASAN
    if (__asan_get_current_fake_stack())
        os_fatal("the collector does not scan AddressSanitizer's fake stacks: run the program with "
                 "ASAN_OPTIONS=detect_stack_use_after_return=0");
#endif
}

/* ---- registry ----------------------------------------------------------------------------------- */

/* Free slots hold the next free slot, shifted and tagged so that they are no pointer. */
static gc_stack *free_link(uint32_t next)
{
    return (gc_stack *)((uintptr_t)next << 1 | 1);
}

static bool is_free(const gc_stack *s)
{
    return !s || ((uintptr_t)s & 1);
}

/* A spawner that is in BOTH, or has not acknowledged H1, may put a white argument on the new stack:
 * unscanned. An unattached thread owns no managed pointers: as after the handshake in flight. */
static uint32_t born_scanned(struct gc *gc, const gc_mutator *m)
{
    if (m)
        return m->black ? m->h2 : 0;
    os_mutex_lock(&gc->lock);
    uint32_t scanned = gc->target.black ? gc->target.h2 : 0;
    os_mutex_unlock(&gc->lock);
    return scanned;
}

int gc_stack_add(tri_heap *h, gc_stack *s, gc_mutator *m)
{
    struct gc *gc = gc_of(h);
    atomic_store_explicit(&s->state, GC_STACK_PARKED, memory_order_relaxed);
    atomic_store_explicit(&s->scanned, born_scanned(gc, m), memory_order_relaxed);
    os_mutex_lock(&gc->stacks_lock);
    if (!gc->stacks)
        gc->stacks = os_reserve_rw(REGISTRY_MAX * sizeof(gc_stack *), 4096);
    if (!gc->stacks || (!gc->free_slots && gc->nstacks == REGISTRY_MAX)) {
        os_mutex_unlock(&gc->stacks_lock);
        return -ENOMEM;
    }
    if (gc->free_slots) {
        s->slot = gc->free_slots - 1;
        gc->free_slots = (uint32_t)((uintptr_t)gc->stacks[s->slot] >> 1);
    } else {
        s->slot = gc->nstacks++;
    }
    gc->stacks[s->slot] = s;
    os_mutex_unlock(&gc->stacks_lock);
    gc_stack_expect(h, s->hi - s->lo);
    return 0;
}

void gc_stack_expect(tri_heap *h, size_t bytes)
{
    struct gc *gc = gc_of(h);
    if (bytes <= __atomic_load_n(&gc->stack_max, __ATOMIC_RELAXED))
        return;
    os_mutex_lock(&gc->lock);
    if (bytes > gc->stack_max)
        __atomic_store_n(&gc->stack_max, bytes, __ATOMIC_RELAXED);
    os_mutex_unlock(&gc->lock);
}

/* Takes a parked stack out of the collector's reach. */
static void claim(gc_stack *s, uint32_t to)
{
    uint32_t state = GC_STACK_PARKED;
    while (!atomic_compare_exchange_weak_explicit(&s->state, &state, to, memory_order_acquire,
                                                  memory_order_relaxed)) {
        TRI_CHECK(state != GC_STACK_RUNNING, "a running stack is not resumed, reused or removed");
        state = GC_STACK_PARKED;
        os_pause();
    }
}

void gc_stack_reborn(gc_stack *s, gc_mutator *m)
{
    atomic_store_explicit(&s->scanned, born_scanned(gc_of(m->heap), m), memory_order_relaxed);
}

void gc_stack_die(gc_stack *s)
{
    s->sp = s->hi;
    s->extra_count = 0;
    atomic_store_explicit(&s->state, GC_STACK_PARKED,
                          memory_order_release); /* pairs with claim() */
}

void gc_stack_remove(tri_heap *h, gc_stack *s)
{
    struct gc *gc = gc_of(h);
    claim(s, GC_STACK_RUNNING);
    os_mutex_lock(&gc->stacks_lock);
    gc->stacks[s->slot] = free_link(gc->free_slots);
    gc->free_slots = s->slot + 1;
    os_mutex_unlock(&gc->stacks_lock);
}

void gc_stacks_close(struct gc *gc)
{
    if (gc->stacks)
        os_unreserve(gc->stacks, REGISTRY_MAX * sizeof(gc_stack *));
}

/* Every registered stack, by the verifier (mutators stand still) and the dumps. */
void gc_stacks_each(struct gc *gc, void (*fn)(void *arg, gc_stack *s), void *arg)
{
    os_mutex_lock(&gc->stacks_lock);
    for (uint32_t i = 0; i < gc->nstacks; i++)
        if (!is_free(gc->stacks[i]))
            fn(arg, gc->stacks[i]);
    os_mutex_unlock(&gc->stacks_lock);
}

/* ---- park and resume ------------------------------------------------------------------------------ */

void gc_stack_park(gc_mutator *m, gc_stack *s, uintptr_t sp)
{
    if (m->stack == s)
        m->stack = NULL;
    s->sp = sp;
    OS_DELAY("stack.park");
    /* Release: whoever claims the stack sees its contents, sp and extra. */
    atomic_store_explicit(&s->state, GC_STACK_PARKED, memory_order_release);
}

#define SHADE_PIECE 64

/* The frames of others. The kernel may read what nobody has written, and red zones between variables. */
static void shade_words(tri_heap *h, const uintptr_t *p, size_t n)
{
    uintptr_t found[SHADE_PIECE];
    while (n) {
        size_t piece = n < SHADE_PIECE ? n : SHADE_PIECE;
        size_t k = gc_of(h)->kernel->filter(p, piece, h->base, h->reserved, found);
        for (size_t i = 0; i < k; i++)
            barrier_shade(h, found[i]);
        p += piece;
        n -= piece;
    }
}

static uintptr_t *live_words(const gc_stack *s)
{
    return s->away ? s->away : (uintptr_t *)(s->sp & ~(uintptr_t)7);
}

static void scan_on_resume(gc_mutator *m, gc_stack *s)
{
    int64_t start = os_now();
    tri_heap *h = m->heap;
    shade_words(h, live_words(s), gc_stack_live(s) / sizeof(uintptr_t));
    for (uint32_t i = 0; i < s->extra_count; i++)
        barrier_shade(h, (uintptr_t)__atomic_load_n(&s->extra[i], __ATOMIC_RELAXED));
    atomic_store_explicit(&s->scanned, m->h2, memory_order_relaxed);
    gc_record(m->records, GC_RESUME_SCAN, start, os_now());
}

static TRI_NOINLINE void claim_slow(gc_mutator *m, gc_stack *s)
{
    int64_t start = os_now();
    claim(s, GC_STACK_RUNNING);
    gc_record(m->records, GC_WAIT_SCAN, start, os_now());
}

static TRI_NOINLINE void resume_in_cycle(gc_mutator *m, gc_stack *s)
{
    if (m->pub.barrier & TRI_SHADE_NEW) {
        /* BOTH: it may put white objects on the stack, so an earlier scan counts no more. */
        if (!BARRIER_LACKS(REGREY))
            atomic_store_explicit(&s->scanned, 0, memory_order_relaxed);
        return;
    }
    if (!m->black || atomic_load_explicit(&s->scanned, memory_order_relaxed) == m->h2)
        return;
    /* Acquire: pairs with the collector's DONE; from then on nothing is owed. */
    if (atomic_load_explicit(&m->heap->term, memory_order_acquire) != TERM_DONE &&
        !BARRIER_LACKS(RESUME))
        scan_on_resume(m, s);
}

static TRI_NOINLINE void resume_with_barrier(gc_mutator *m, gc_stack *s)
{
    uint32_t state = GC_STACK_PARKED;
    /* Acquire: pairs with gc_stack_park() of the thread that left it, and with the collector. */
    if (!atomic_compare_exchange_strong_explicit(&s->state, &state, GC_STACK_RUNNING,
                                                 memory_order_acquire, memory_order_relaxed))
        claim_slow(m, s);
    OS_DELAY("stack.resume");
    resume_in_cycle(m, s);
}

/* The collector claims stacks only while every mutator has a barrier: between the last
 * acknowledgement of H2 and DONE, which comes before the first of H5. So one that has none is alone
 * with the stack, and needs no locked instruction. */
void gc_stack_resume(gc_mutator *m, gc_stack *s)
{
    m->stack = s;
    if (TRI_UNLIKELY(m->pub.barrier)) {
        resume_with_barrier(m, s);
        if (m->heap->options.verify)
            gc_verify_clear_dead(s->lo, s->sp & ~(uintptr_t)7);
        return;
    }
    /* Acquire: pairs with gc_stack_park() and with the collector, which left it PARKED. */
    uint32_t state = atomic_load_explicit(&s->state, memory_order_acquire);
    TRI_ASSERT(state == GC_STACK_PARKED, "without a barrier nobody else has the stack");
    (void)state;
    atomic_store_explicit(&s->state, GC_STACK_RUNNING, memory_order_relaxed);
}

/* What others left there may come to light in its frames, and is not its own: gc/verify.c. */
void gc_stack_begin_dirty(gc_mutator *m, gc_stack *s)
{
    if (m->heap->options.verify)
        gc_verify_clear_dead(s->lo, s->hi);
}

/* ---- putting away -------------------------------------------------------------------------------- */

/* As gc_stack_resume(): without a barrier it is alone with the stack. */
static void claim_to_move(gc_mutator *m, gc_stack *s)
{
    if (TRI_UNLIKELY(m->pub.barrier))
        resume_with_barrier(m, s);
}

static void end_move(gc_stack *s, void *away)
{
    s->away = away;
    /* Release: whoever claims the stack sees where its words are. */
    atomic_store_explicit(&s->state, GC_STACK_PARKED, memory_order_release);
}

void gc_stack_put_away(gc_mutator *m, gc_stack *s, void *to)
{
    claim_to_move(m, s);
    OS_DELAY("stack.moving");
    memcpy(to, (const void *)(s->sp & ~(uintptr_t)7), gc_stack_live(s));
    end_move(s, to);
}

void *gc_stack_bring_back(gc_mutator *m, gc_stack *s)
{
    claim_to_move(m, s);
    OS_DELAY("stack.moving");
    void *from = s->away;
    memcpy((void *)(s->sp & ~(uintptr_t)7), from, gc_stack_live(s));
    end_move(s, NULL);
    return from;
}

/* ---- H2 ----------------------------------------------------------------------------------------- */

static void take_words(void *arg, const uintptr_t *words, size_t n)
{
    gc_mutator *m = arg;
    gc_snapshot *out = m->snapshot;
    struct gc *gc = gc_of(m->heap);
    if (out && out->capacity - out->count >= n + 8) {
        out->count +=
            gc->kernel->filter(words, n, m->heap->base, m->heap->reserved, out->words + out->count);
        return;
    }
    /* No room (the copy could not be allocated before this cycle): slower, not wrong. */
    shade_words(m->heap, words, n);
}

void gc_stack_take(gc_mutator *m, uintptr_t sp, const void *ucontext)
{
    gc_stack *s = m->stack;
    m->registers_taken = ucontext != NULL;
    if (!s)
        return;
    uintptr_t lo = (sp - RED_ZONE) & ~(uintptr_t)7;
    if (lo < s->lo)
        lo = s->lo;
    take_words(m, (const uintptr_t *)lo, (s->hi - lo) / sizeof(uintptr_t));
    if (ucontext)
        os_context_registers(ucontext, take_words, m);
    if (s->extra_count)
        take_words(m, (const uintptr_t *)s->extra, s->extra_count);
    atomic_store_explicit(&s->scanned, gc_of(m->heap)->target.h2, memory_order_relaxed);
    if (ucontext && m->heap->options.verify)
        gc_verify_clear_dead(s->lo, lo); /* the handler runs on another stack */
}

/* ---- parked stacks, by the collector --------------------------------------------------------------- */

static void mark_still(gc_marker *w, gc_stack *s)
{
    gc_mark_filter(w, live_words(s), gc_stack_live(s) / sizeof(uintptr_t));
    /* One that was dead may be getting its next argument now, which is shaded by whoever hands it over. */
    uint32_t extra = __atomic_load_n(&s->extra_count, __ATOMIC_RELAXED);
    for (uint32_t i = 0; i < extra; i++)
        gc_mark_word(w, (uintptr_t)__atomic_load_n(&s->extra[i], __ATOMIC_RELAXED));
    /* A stack with nothing on it may have no memory of its own, and the range of one that was put away
     * is another's; they are cleared when they are resumed. */
    if (w->gc->heap->options.verify && s->sp != s->hi && !s->away)
        gc_verify_clear_dead(s->lo, s->sp & ~(uintptr_t)7);
}

/* Claims the stack of one slot if it is parked and not scanned in this cycle. The lock keeps the
 * entry from being removed between reading and claiming it. */
static gc_stack *claim_slot(struct gc *gc, uint32_t slot)
{
    os_mutex_lock(&gc->stacks_lock);
    gc_stack *s = slot < gc->nstacks ? gc->stacks[slot] : NULL;
    if (slot + AHEAD < gc->nstacks)
        __builtin_prefetch(gc->stacks[slot + AHEAD]); /* whatever a free slot holds */
    uint32_t state = GC_STACK_PARKED;
    if (is_free(s) || atomic_load_explicit(&s->scanned, memory_order_relaxed) == gc->cycle ||
        !atomic_compare_exchange_strong_explicit(&s->state, &state, GC_STACK_SCANNING,
                                                 memory_order_acquire, memory_order_relaxed))
        s = NULL;
    os_mutex_unlock(&gc->stacks_lock);
    return s;
}

static void mark_claimed(struct gc *gc, gc_marker *w, gc_stack *s)
{
    mark_still(w, s);
    atomic_store_explicit(&s->scanned, gc->cycle, memory_order_relaxed);
    atomic_store_explicit(&s->state, GC_STACK_PARKED, memory_order_release);
}

/* After H2 is complete. One pass is enough: from here on a stack only ever becomes scanned (nobody is
 * in BOTH, and new stacks are born scanned), and one that is running now was scanned at its
 * mutator's H2 or is scanned by the mutator that resumed it before that acknowledges anything. */
void gc_stacks_mark_parked(struct gc *gc, gc_marker *w)
{
    os_mutex_lock(&gc->stacks_lock);
    uint32_t n = gc->nstacks;
    os_mutex_unlock(&gc->stacks_lock);
    /* The words of the next one come from memory while those of one are looked at. */
    gc_stack *claimed = NULL;
    for (uint32_t i = 0; i < n; i++) {
        gc_stack *s = claim_slot(gc, i);
        if (!s)
            continue;
        OS_DELAY("stack.claimed");
        for (unsigned line = 0; line < LINES_AHEAD; line++)
            __builtin_prefetch((const char *)live_words(s) + line * TRI_CACHE_LINE);
        if (claimed)
            mark_claimed(gc, w, claimed);
        claimed = s;
    }
    if (claimed)
        mark_claimed(gc, w, claimed);
}
