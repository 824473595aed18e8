/* Stores of managed pointers: the hybrid write barrier (Yuasa deletion, Dijkstra insertion).
 *
 *   tri_set(&p->f, v)    any store of a managed pointer into the heap or a registered root
 *   tri_init(&p->f, v)   the first store into a field of an object that only its creator can see
 *   tri_load(&p->f)      a read of a slot that another thread may be writing; plain reads will do
 *                        where the program's own synchronisation orders them
 *   tri_make(...)        allocate and initialise, no barrier (tricolor/mutator.h)
 *   TRI_REF(ctype)       a field type that makes `p->f = v` a compile error
 *
 * While no collection runs, a store costs a load and a test of one byte. Slots are written with
 * single word-sized relaxed atomic stores, so the collector never reads half a pointer; relaxed,
 * because ordering between mutators is the program's business, as in C.
 *
 * Reading needs no barrier. A word that is stored need not be a pointer to the heap: NULL and
 * pointers to elsewhere are ignored.
 */
#ifndef TRICOLOR_BARRIER_H
#define TRICOLOR_BARRIER_H

#include <tricolor/mutator.h>

TRI_BEGIN_DECLS

/* A pointer field of whatever type: stores through it alias any. */
typedef void *__attribute__((may_alias)) tri_slot_;

/* Shade as the state says, then store; the caller is in a busy unit. */
TRI_API void tri_set_slow_(tri_mutator *m, void *slot, void *value);
TRI_API void tri_init_slow_(tri_mutator *m, void *slot, void *value);

/* Builds for testing can be late between the check and the store. */
#ifdef TRI_DELAYS
TRI_API void tri_delay_store_(void);
#define TRI_DELAY_STORE_() tri_delay_store_()
#else
#define TRI_DELAY_STORE_() ((void)0)
#endif

TRI_INLINE void tri_set_(void *slot, void *value)
{
    tri_mutator *m = tri_self();
    m->busy = 1;
    TRI_SIGNAL_FENCE();
    if (TRI_UNLIKELY(m->barrier)) {
        tri_set_slow_(m, slot, value);
    } else {
        TRI_DELAY_STORE_();
        __atomic_store_n((tri_slot_ *)slot, value, __ATOMIC_RELAXED);
    }
    TRI_SIGNAL_FENCE();
    m->busy = 0;
}

TRI_INLINE void tri_init_(void *slot, void *value)
{
    tri_mutator *m = tri_self();
    m->busy = 1;
    TRI_SIGNAL_FENCE();
    if (TRI_UNLIKELY(m->barrier & (TRI_SHADE_NEW | TRI_LOG | TRI_BARRIER_TRAP)))
        tri_init_slow_(m, slot, value);
    else
        __atomic_store_n((tri_slot_ *)slot, value, __ATOMIC_RELAXED);
    TRI_SIGNAL_FENCE();
    m->busy = 0;
}

#define TRI_CHECK_SLOT_(slot, value) ((void)sizeof(*(slot) = (value)))

/* `slot` is the address of a bare pointer; `value` must be assignable to it. */
#define tri_set(slot, value)         (TRI_CHECK_SLOT_(slot, value), tri_set_((slot), (void *)(value)))
#define tri_init(slot, value)        (TRI_CHECK_SLOT_(slot, value), tri_init_((slot), (void *)(value)))
#define tri_load(slot)               __atomic_load_n((slot), __ATOMIC_RELAXED)

/* A one-word struct in place of a bare pointer. */
#define TRI_REF(ctype) \
    struct {           \
        ctype *ref_;   \
    }
#define tri_ref(r)             ((r).ref_)
#define tri_ref_set(r, value)  tri_set(&(r)->ref_, value)
#define tri_ref_init(r, value) tri_init(&(r)->ref_, value)
#define tri_ref_load(r)        tri_load(&(r)->ref_)

/* Atomic forms, sequentially consistent; each shades as tri_set() does. Return the former value. */
TRI_API void *tri_exchange(void *slot, void *value);
/* 1: `*expected` was there and was replaced. 0: it was not, and `*expected` now says what was. */
TRI_API bool tri_compare_exchange(void *slot, void **expected, void *desired);
/* A release store, to publish an object to readers that use acquire loads. */
TRI_API void tri_set_release(void *slot, void *value);

/* Bulk forms over slots of managed pointers, `count` words; areas may overlap in tri_move(). Work is
 * cut into pieces with safepoints between, so a large move is not atomic as a whole (nor is
 * memmove), but each word is. `to` and `from` are reachable from the caller's stack. Safepoint. */
TRI_API void tri_move(void *to, const void *from, size_t count);
TRI_API void tri_copy(void *to, const void *from, size_t count);
TRI_API void tri_clear(void *slots, size_t count);

TRI_END_DECLS

#endif
