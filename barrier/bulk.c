/* Bulk stores of managed pointers: copy, move, clear.
 *
 * One state check per piece instead of one per word, and a safepoint between pieces: a piece is one
 * busy unit, so its size bounds how long a handshake can be put off (256 words: about 100 ns with the
 * barrier off, some microseconds with it on, when the buffer drains on the way).
 *
 * memcpy() is not used, even with the barrier off: it may store bytes, and a collector that reads
 * half a pointer sees a wild one. Words are stored whole.
 */
#include "barrier/barrier.h"

#ifdef TRI_TORTURE
#define PIECE 2
#else
#define PIECE 256
#endif

static inline void put(tri_mutator *m, uintptr_t *slot, uintptr_t value)
{
    if (TRI_UNLIKELY(m->barrier))
        tri_set_slow_(m, slot, (void *)value);
    else
        __atomic_store_n(slot, value, __ATOMIC_RELAXED);
}

static inline uintptr_t get(const uintptr_t *slot)
{
    return __atomic_load_n(slot, __ATOMIC_RELAXED);
}

static void piece_up(uintptr_t *to, const uintptr_t *from, size_t n)
{
    tri_mutator *m = tri_self();
    m->busy = 1;
    TRI_SIGNAL_FENCE();
    for (size_t i = 0; i < n; i++)
        put(m, to + i, get(from + i));
    TRI_SIGNAL_FENCE();
    m->busy = 0;
}

static void piece_down(uintptr_t *to, const uintptr_t *from, size_t n)
{
    tri_mutator *m = tri_self();
    m->busy = 1;
    TRI_SIGNAL_FENCE();
    for (size_t i = n; i-- > 0;)
        put(m, to + i, get(from + i));
    TRI_SIGNAL_FENCE();
    m->busy = 0;
}

void tri_copy(void *to, const void *from, size_t count)
{
    uintptr_t *t = to;
    const uintptr_t *f = from;
    while (count) {
        size_t n = count < PIECE ? count : PIECE;
        piece_up(t, f, n);
        t += n;
        f += n;
        count -= n;
        tri_safepoint_();
    }
}

void tri_move(void *to, const void *from, size_t count)
{
    uintptr_t t = (uintptr_t)to, f = (uintptr_t)from;
    if (t - f >= count * sizeof(uintptr_t)) { /* also when to lies below from */
        tri_copy(to, from, count);
        return;
    }
    while (count) {
        size_t n = count < PIECE ? count : PIECE;
        count -= n;
        piece_down((uintptr_t *)to + count, (const uintptr_t *)from + count, n);
        tri_safepoint_();
    }
}

void tri_clear(void *slots, size_t count)
{
    uintptr_t *t = slots;
    while (count) {
        size_t n = count < PIECE ? count : PIECE;
        tri_mutator *m = tri_self();
        m->busy = 1;
        TRI_SIGNAL_FENCE();
        for (size_t i = 0; i < n; i++)
            put(m, t + i, 0);
        TRI_SIGNAL_FENCE();
        m->busy = 0;
        t += n;
        count -= n;
        tri_safepoint_();
    }
}
