/* Moving the values of channels without hiding a pointer from the collector.
 *
 * A value passes through up to three kinds of memory, and each move has its rule:
 *
 *   the heap (the buffer; a cell for values too large for slots)
 *       ordinary stores with the barrier, in and out: a slot that is emptied is overwritten by NULL,
 *       which shades what it held
 *   runtime slots of a waiter, scanned with the waiter's stack
 *       moves between stacks: whoever moves a word shades it while its own barrier is on, when it
 *       pushes it in and when it pulls it out; one of the two stacks may have been scanned already
 *   where the caller wants it
 *       its own stack: a plain store, like any assignment to a local. Elsewhere it may be an object or
 *       a root: a store with the barrier, which does no harm to C memory
 *
 * Every word of a value with pointers is treated as one; the barrier ignores those that are none.
 * Words are moved whole, since the collector may be reading them.
 */
#include <string.h>

#include "barrier/sabotage.h"
#include "os/delay.h"
#include "runtime/channel.h"

static size_t words_of(const tri_chan *c)
{
    return (c->size + sizeof(void *) - 1) / sizeof(void *);
}

static void *word(const void *p, size_t i)
{
    return __atomic_load_n((void *const *)p + i, __ATOMIC_RELAXED);
}

static void set_word(void *p, size_t i, void *value)
{
    __atomic_store_n((void **)p + i, value, __ATOMIC_RELAXED);
}

/* Who moves a value between stacks shades it, on either side. */
static void pushes(gc_mutator *mu, const void *value)
{
    if (!BARRIER_LACKS(PUSH))
        gc_transfer(mu, (uintptr_t)value);
    OS_DELAY("value.push");
}

static void pulls(gc_mutator *mu, const void *value)
{
    OS_DELAY("value.pull");
    if (!BARRIER_LACKS(PULL))
        gc_transfer(mu, (uintptr_t)value);
}

static bool on_own_stack(const void *p)
{
    const gc_stack *s = gc_self()->stack;
    return s && (uintptr_t)p - s->lo < s->hi - s->lo;
}

static void give_word(void *to, size_t i, void *value, bool own)
{
    if (own)
        set_word(to, i, value);
    else
        tri_set_((void **)to + i, value);
}

/* ---- the heap ------------------------------------------------------------------------------- */

void sched_value_store(const tri_chan *c, void *to, const void *from)
{
    if (!c->pointers) {
        memcpy(to, from, c->size);
        return;
    }
    for (size_t i = 0; i < words_of(c); i++)
        tri_set_((void **)to + i, word(from, i));
}

void sched_value_copy_cell(const tri_chan *c, void *to, const void *cell)
{
    if (!to)
        return;
    if (!c->pointers) {
        memcpy(to, cell, c->size);
        return;
    }
    bool own = on_own_stack(to);
    for (size_t i = 0; i < words_of(c); i++)
        give_word(to, i, word(cell, i), own);
}

void sched_value_take(const tri_chan *c, void *to, void *from)
{
    sched_value_copy_cell(c, to, from);
    if (c->pointers)
        for (size_t i = 0; i < words_of(c); i++)
            tri_set_((void **)from + i, NULL);
}

void sched_value_clear(const tri_chan *c, void *to)
{
    if (!to)
        return;
    if (!c->pointers) {
        memset(to, 0, c->size);
        return;
    }
    bool own = on_own_stack(to);
    for (size_t i = 0; i < words_of(c); i++)
        give_word(to, i, NULL, own);
}

/* ---- runtime slots -------------------------------------------------------------------------- */

void sched_value_push(const tri_chan *c, void **slots, const void *from)
{
    gc_mutator *mu = gc_self();
    if (!c->pointers) {
        void *whole[SCHED_SLOTS] = {0};
        memcpy(whole, from, c->size);
        for (size_t i = 0; i < words_of(c); i++)
            set_word(slots, i, whole[i]);
        return;
    }
    for (size_t i = 0; i < words_of(c); i++) {
        void *value = word(from, i);
        pushes(mu, value);
        set_word(slots, i, value);
    }
}

static void pull_bytes(const tri_chan *c, void *to, void **slots)
{
    void *whole[SCHED_SLOTS];
    for (size_t i = 0; i < words_of(c); i++)
        whole[i] = word(slots, i);
    if (to)
        memcpy(to, whole, c->size);
}

/* What stays behind in slots would be kept alive. */
static void clear_slots(const tri_chan *c, void **slots)
{
    size_t n = c->cells ? 1 : words_of(c);
    for (size_t i = 0; i < n; i++)
        set_word(slots, i, NULL);
}

void sched_value_drop(const tri_chan *c, void **slots)
{
    clear_slots(c, slots);
}

void sched_value_pull(const tri_chan *c, void *to, void **slots)
{
    if (!c->pointers) {
        pull_bytes(c, to, slots);
        return;
    }
    gc_mutator *mu = gc_self();
    bool own = on_own_stack(to);
    for (size_t i = 0; i < words_of(c); i++) {
        void *value = word(slots, i);
        pulls(mu, value);
        if (to)
            give_word(to, i, value, own);
    }
    clear_slots(c, slots);
}

void sched_value_pull_to_buffer(const tri_chan *c, void *to, void **slots)
{
    if (!c->pointers) {
        pull_bytes(c, to, slots);
        return;
    }
    gc_mutator *mu = gc_self();
    for (size_t i = 0; i < words_of(c); i++) {
        void *value = word(slots, i);
        pulls(mu, value);
        tri_set_((void **)to + i, value);
    }
    clear_slots(c, slots);
}
