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
 * still read its link. What a node holds is handed over by its owner's own synchronisation (spans:
 * the compare-and-swap of their state), not by the stack.
 */
#ifndef HEAP_STACK_H
#define HEAP_STACK_H

#include <atomic_ops.h>
#include <stdbool.h>
#include <stddef.h>

#ifndef AO_HAVE_compare_double_and_swap_double_full
#error "heap: no double-width compare-and-swap; x86-64 needs -mcx16"
#endif

typedef struct heap_stack {
    AO_double_t head; /* AO_val1: tag, AO_val2: first link word or 0 */
} heap_stack;

static inline bool heap_stack_is_empty(const heap_stack *s)
{
    return AO_load((const AO_t *)&s->head.AO_val2) == 0;
}

static inline void heap_stack_push(heap_stack *s, void **link)
{
    AO_t tag, top;
    do {
        /* The tag first: if it still is the same at the swap, nothing changed since. Acquire keeps
         * the two loads in order. */
        tag = AO_load_acquire(&s->head.AO_val1);
        top = AO_load_acquire(&s->head.AO_val2);
        __atomic_store_n(link, (void *)top, __ATOMIC_RELAXED);
    } while (!AO_compare_double_and_swap_double_full(&s->head, tag, top, tag + 1, (AO_t)link));
}

static inline void **heap_stack_pop(heap_stack *s)
{
    for (;;) {
        AO_t tag = AO_load_acquire(&s->head.AO_val1);
        AO_t top = AO_load_acquire(&s->head.AO_val2);
        if (!top)
            return NULL;
        AO_t next = (AO_t)__atomic_load_n((void **)top, __ATOMIC_RELAXED);
        if (AO_compare_double_and_swap_double_full(&s->head, tag, top, tag + 1, next))
            return (void **)top;
    }
}

#endif
