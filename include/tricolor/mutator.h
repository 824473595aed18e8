/* The mutator's public half, and the allocation fast path.
 *
 * A mutator is one thread in one heap. What the inline fast paths touch lies here, at offsets that a
 * JIT compiler may rely on within a minor version; everything else is private to the library.
 *
 * One unit. A barrier's state check and its store, and an allocation's load and store of `cur`, must
 * not be split by an acknowledgement of a handshake, which may come by a signal at any instruction.
 * Each unit therefore sets `busy` first and clears it last; the handler does not acknowledge while
 * `busy` is set (the collector asks again). Handler and code run on one thread, so only the compiler
 * must be kept from moving accesses across: no fence instruction.
 *
 * tri_self() is an asm statement so that the compiler cannot keep a thread's address across a call
 * in which a coroutine moves to another thread.
 */
#ifndef TRICOLOR_MUTATOR_H
#define TRICOLOR_MUTATOR_H

#include <tricolor/base.h>
#include <tricolor/type.h>

TRI_BEGIN_DECLS

/* A run of reserved, zeroed slots: [cur, end) is still to be issued. */
typedef struct tri_slots {
    uintptr_t cur;
    uintptr_t end;
    size_t size; /* bytes of a slot; 0 in a run that was never filled */
    void *owner; /* private */
} tri_slots;

/* Bits of tri_mutator.barrier. */
#define TRI_SHADE_OLD    1u
#define TRI_SHADE_NEW    2u
#define TRI_LOG          64u  /* barriercheck=1: every store takes the slow path */
#define TRI_BARRIER_TRAP 128u /* this thread is not attached */

struct tri_mutator {
    volatile uint8_t busy;    /* inside a unit that must not be split */
    volatile uint8_t barrier; /* TRI_SHADE_* */
    volatile uint8_t poll;    /* somebody wants this mutator at a safepoint */
    volatile uint8_t pad_;
    volatile uint32_t in_runtime; /* depth of library calls; the handler does not acknowledge */
    tri_slots *volatile runs;     /* the run table in use, indexed by cell */
};

/* The current mutator of this thread; a trap mutator when not attached. */
extern TRI_API __thread tri_mutator *tri_current_ __attribute__((tls_model("initial-exec")));

TRI_INLINE tri_mutator *tri_self(void)
{
    tri_mutator *m;
#if defined(__x86_64__)
    __asm__ volatile("movq tri_current_@gottpoff(%%rip), %0\n\tmovq %%fs:(%0), %0" : "=r"(m));
#elif defined(__aarch64__)
    uintptr_t offset;
    __asm__ volatile("adrp %1, :gottprel:tri_current_\n\t"
                     "ldr %1, [%1, :gottprel_lo12:tri_current_]\n\t"
                     "mrs %0, tpidr_el0\n\t"
                     "ldr %0, [%0, %1]"
                     : "=&r"(m), "=&r"(offset));
#else
#error "tricolor: unsupported processor"
#endif
    return m;
}

/* barriercheck=1, headers of debug builds: where the next object is made, and that what tri_make() puts into
 * one is complete. Without them the checker makes do with the return address, and takes what an object
 * holds at its maker's next call of the library for its first contents. */
TRI_API void tri_site_(const char *file_line);
TRI_API void tri_made_(void);
#if defined(TRI_DEBUG) && TRI_DEBUG >= 1
TRI_INLINE void tri_here_(const char *file_line)
{
    if (TRI_UNLIKELY(tri_self()->barrier & TRI_LOG))
        tri_site_(file_line);
}
#define TRI_TEXT_(x) #x
#define TRI_LINE_(x) TRI_TEXT_(x)
#define TRI_HERE_()  tri_here_(__FILE__ ":" TRI_LINE_(__LINE__))
#define TRI_MADE_(m) (TRI_UNLIKELY((m)->barrier & TRI_LOG) ? tri_made_() : (void)0)
#else
#define TRI_HERE_()  ((void)0)
#define TRI_MADE_(m) ((void)0)
#endif

/* The slow paths; each expects and leaves `busy` as the fast path that calls it does. */
TRI_API void *tri_new_slow_(tri_type *type, size_t count, unsigned flags);
TRI_API void *tri_make_slow_(tri_type *type);
#define TRI_NEW_TRY_   1u
#define TRI_NEW_ARRAY_ 2u

/* Pops a slot off run `cell`, or NULL when the run is used up. Only within a busy unit. */
TRI_INLINE void *tri_run_pop_(tri_mutator *m, uint32_t cell)
{
    tri_slots *run = &m->runs[cell];
    uintptr_t cur = run->cur;
    uintptr_t next = cur + run->size;
    if (TRI_UNLIKELY(next > run->end))
        return NULL;
    run->cur = next;
    return (void *)cur;
}

TRI_INLINE uint32_t tri_cell_(const uint32_t *cell)
{
    return __atomic_load_n(cell, __ATOMIC_RELAXED);
}

TRI_INLINE void *tri_new_(tri_type *type, unsigned flags)
{
    tri_mutator *m = tri_self();
    m->busy = 1;
    TRI_SIGNAL_FENCE();
    void *p = tri_run_pop_(m, tri_cell_(&type->cell));
    TRI_SIGNAL_FENCE();
    m->busy = 0;
    if (TRI_UNLIKELY(!p))
        return tri_new_slow_(type, 1, flags);
    return p;
}

/* A new, zeroed object of `type` in the current heap. Never NULL: at the hard limit, or when the
 * system has no memory, the heap's out-of-memory handler runs, then the process aborts.
 * Safepoint. */
TRI_INLINE void *tri_new(tri_type *type)
{
    return tri_new_(type, 0);
}

/* The same, but NULL when there is no memory even after a whole collection; the heap stays
 * usable. */
TRI_INLINE void *tri_try_new(tri_type *type)
{
    return tri_new_(type, TRI_NEW_TRY_);
}

/* `count` adjacent, zeroed elements of `type`, as one object. A count of 0 gives an object of one
 * byte at least. Safepoint. */
TRI_API void *tri_new_array(tri_type *type, size_t count);
TRI_API void *tri_try_new_array(tri_type *type, size_t count);

#if defined(TRI_DEBUG) && TRI_DEBUG >= 1
#define tri_new(type)                  (TRI_HERE_(), tri_new(type))
#define tri_try_new(type)              (TRI_HERE_(), tri_try_new(type))
#define tri_new_array(type, count)     (TRI_HERE_(), tri_new_array(type, count))
#define tri_try_new_array(type, count) (TRI_HERE_(), tri_try_new_array(type, count))
#endif

/* A safepoint: acknowledges a pending handshake, gives way to other coroutines if asked to. */
TRI_API void tri_safepoint_slow_(void);
TRI_INLINE void tri_safepoint_(void)
{
    if (TRI_UNLIKELY(__atomic_load_n(&tri_self()->poll, __ATOMIC_RELAXED)))
        tri_safepoint_slow_();
}

/* Keeps the object alive up to this point of the program, whatever the optimiser does. */
TRI_INLINE void tri_keep_alive(const void *p)
{
    __asm__ volatile("" ::"r"(p) : "memory");
}

TRI_END_DECLS

/* tri_make(type, .field = value, ...): allocates and initialises in one step that no handshake can
 * split, so it needs no barrier in any phase. The values are evaluated before the allocation. */
#define tri_make(type_name, ...)                                                          \
    __extension__({                                                                       \
        const type_name##_tri_object tri_value_ = {__VA_ARGS__};                          \
        TRI_HERE_();                                                                      \
        tri_mutator *tri_m_ = tri_self();                                                 \
        tri_m_->busy = 1;                                                                 \
        TRI_SIGNAL_FENCE();                                                               \
        type_name##_tri_object *tri_p_ =                                                  \
            (type_name##_tri_object *)tri_run_pop_(tri_m_, tri_cell_(&(type_name).cell)); \
        if (TRI_UNLIKELY(!tri_p_)) {                                                      \
            tri_p_ = (type_name##_tri_object *)tri_make_slow_(&(type_name));              \
            tri_m_ = tri_self();                                                          \
        }                                                                                 \
        tri_fill_(tri_p_, &tri_value_, sizeof tri_value_);                                \
        TRI_MADE_(tri_m_);                                                                \
        TRI_SIGNAL_FENCE();                                                               \
        tri_m_->busy = 0;                                                                 \
        tri_p_;                                                                           \
    })

/* A conservative scan may read the new object while it is filled: whole words, and under
 * ThreadSanitizer atomically so. Word by word also because the value was put together in words of
 * different sizes just now, and a vector that is loaded across several stores waits for all of them to
 * reach the cache: 3 to 4 ns for an object of 32 to 64 bytes. Two words are in registers. */
TRI_INLINE void tri_fill_(void *to, const void *from, size_t size)
{
#if TRI_TSAN
    size_t i = 0;
    for (; i + sizeof(uintptr_t) <= size; i += sizeof(uintptr_t))
        __atomic_store_n((uintptr_t *)((char *)to + i),
                         *(const uintptr_t *)((const char *)from + i), __ATOMIC_RELAXED);
    for (; i < size; i++)
        ((char *)to)[i] = ((const char *)from)[i];
#else
    if (size <= 16 || size > 128 || size % sizeof(uintptr_t)) {
        __builtin_memcpy(to, from, size);
        return;
    }
#pragma GCC unroll 16
    for (size_t i = 0; i < size; i += sizeof(uintptr_t))
        __atomic_store_n((uintptr_t *)((char *)to + i),
                         *(const volatile uintptr_t *)((const char *)from + i), __ATOMIC_RELAXED);
#endif
}

#endif
