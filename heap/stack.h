/* A lock-free stack of nodes, for mcentral's sets of spans.
 *
 * The head is a pair of a tag and a pointer, changed by one double-width compare-and-swap; each
 * change increments the tag, so a head that was replaced and came back (the ABA problem) does not
 * fool a slow popper.
 *
 * libatomic_ops has such a stack ready-made, AO_stack_t, which is not used here for two reasons: it
 * is in the part of that library that is under the GPL, and its layout depends on the flags that
 * library and user were compiled with (Debian's is built without -mcx16, so its functions and
 * our header's AO_stack_t would silently disagree). The double-width operation itself is an inline
 * function of the freely licensed part.
 *
 * Invariant: a node that was once pushed stays readable memory for ever, since a slow popper may
 * still read its link. Pushing hands a node over: what its owner wrote before, the popper sees.
 * ThreadSanitizer cannot see that in inline assembly, so it is told.
 */
#ifndef HEAP_STACK_H
#define HEAP_STACK_H

#include <atomic_ops.h>
#include <stdbool.h>
#include <stddef.h>

#include "tricolor/base.h"

#if TRI_TSAN
#include <sanitizer/tsan_interface.h>
#define HEAP_STACK_GIVE(link) __tsan_release(link)
#define HEAP_STACK_GET(link)  __tsan_acquire(link)
#else
#define HEAP_STACK_GIVE(link) ((void)0)
#define HEAP_STACK_GET(link)  ((void)0)
#endif

typedef struct heap_stack {
    AO_t tag, top; /* top: first link word, or 0 */
} __attribute__((aligned(2 * sizeof(AO_t)))) heap_stack;

#ifdef AO_HAVE_compare_double_and_swap_double_full
static inline bool heap_stack_swap(heap_stack *s, AO_t tag, AO_t top, AO_t next)
{
    return AO_compare_double_and_swap_double_full((volatile AO_double_t *)s, tag, top, tag + 1,
                                                  next);
}
#elif defined(__clang__) && TRI_TSAN && defined(__SIZEOF_INT128__)
/* For this one case libatomic_ops has none, and the compiler has its own. */
static inline bool heap_stack_swap(heap_stack *s, AO_t tag, AO_t top, AO_t next)
{
    unsigned __int128 from = (unsigned __int128)top << 64 | tag;
    unsigned __int128 to = (unsigned __int128)next << 64 | (tag + 1);
    return __sync_bool_compare_and_swap((unsigned __int128 *)(void *)s, from, to);
}
#else
#error "heap: no double-width compare-and-swap; x86-64 needs -mcx16"
#endif

static inline bool heap_stack_is_empty(const heap_stack *s)
{
    return AO_load(&s->top) == 0;
}

static inline void heap_stack_push(heap_stack *s, void **link)
{
    AO_t tag, top;
    HEAP_STACK_GIVE(link);
    do {
        /* The tag first: if it still is the same at the swap, nothing changed since. Acquire keeps
         * the two loads in order. */
        tag = AO_load_acquire(&s->tag);
        top = AO_load_acquire(&s->top);
        __atomic_store_n(link, (void *)top, __ATOMIC_RELAXED);
    } while (!heap_stack_swap(s, tag, top, (AO_t)link));
}

static inline void **heap_stack_pop(heap_stack *s)
{
    for (;;) {
        AO_t tag = AO_load_acquire(&s->tag);
        AO_t top = AO_load_acquire(&s->top);
        if (!top)
            return NULL;
        AO_t next = (AO_t)__atomic_load_n((void **)top, __ATOMIC_RELAXED);
        if (heap_stack_swap(s, tag, top, next)) {
            HEAP_STACK_GET((void *)top);
            return (void **)top;
        }
    }
}

/* All nodes at once, linked through their first words from the one pushed last; NULL: none. */
static inline void **heap_stack_take_all(heap_stack *s)
{
    for (;;) {
        AO_t tag = AO_load_acquire(&s->tag);
        AO_t top = AO_load_acquire(&s->top);
        if (!top)
            return NULL;
        if (heap_stack_swap(s, tag, top, 0)) {
#if TRI_TSAN
            for (void **at = (void **)top; at; at = __atomic_load_n((void ***)at, __ATOMIC_RELAXED))
                HEAP_STACK_GET(at);
#endif
            return (void **)top;
        }
    }
}

#endif
