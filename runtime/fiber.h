/* What the sanitizers and Valgrind must be told about stacks, in one place.
 *
 * AddressSanitizer keeps the bounds of the current stack and a fake stack per thread; ThreadSanitizer
 * keeps a shadow call stack and the happens-before state per fiber; Valgrind guesses from jumps of
 * the stack pointer which stack it is on. Each must hear of every switch, in exactly this order:
 *
 *     sched_fiber_leave(from, to, dies)    on the old stack, immediately before os_switch()
 *     sched_fiber_arrive(now, from)        on the new stack, immediately after it
 *
 * In builds without them all of it is empty.
 */
#ifndef RUNTIME_FIBER_H
#define RUNTIME_FIBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tricolor/base.h"

#if defined(__SANITIZE_ADDRESS__)
#define SCHED_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SCHED_ASAN 1
#endif
#endif
#ifndef SCHED_ASAN
#define SCHED_ASAN 0
#endif

#if defined(__has_include)
#if __has_include(<valgrind/memcheck.h>) && __has_include(<valgrind/valgrind.h>)
#include <valgrind/memcheck.h>
#include <valgrind/valgrind.h>
#define SCHED_VALGRIND 1
#endif
#endif
#ifndef SCHED_VALGRIND
#define SCHED_VALGRIND 0
#endif

#if SCHED_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if TRI_TSAN
#include <sanitizer/tsan_interface.h>
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
#endif

/* Of a coroutine, or of a thread that runs coroutines. */
typedef struct sched_fiber {
#if SCHED_ASAN
    void *fake;         /* the fake stack while it is off its thread */
    const void *bottom; /* NULL: a thread's own stack, learnt at the first switch away from it */
    size_t size;
#endif
#if TRI_TSAN
    void *tsan;
#endif
    char unused; /* so that the struct is never empty */
} sched_fiber;

/* Of a piece of memory that coroutines use as their stack, one after the other. */
typedef struct sched_fiber_stack {
    unsigned valgrind_id;
    bool on_valgrind; /* which a client request would tell, more slowly */
} sched_fiber_stack;

static inline void sched_fiber_stack_new(sched_fiber_stack *f, void *lo, void *hi)
{
    (void)f, (void)lo, (void)hi;
#if SCHED_VALGRIND
    f->on_valgrind = RUNNING_ON_VALGRIND != 0;
    f->valgrind_id = VALGRIND_STACK_REGISTER(lo, hi);
#endif
}

/* A coroutine gets it: what was there before is nobody's. */
static inline void sched_fiber_stack_open(sched_fiber_stack *f, void *lo, void *hi)
{
    (void)f, (void)lo, (void)hi;
#if SCHED_ASAN
    __asan_unpoison_memory_region(lo, (size_t)((char *)hi - (char *)lo));
#endif
#if SCHED_VALGRIND
    if (TRI_UNLIKELY(f->on_valgrind))
        (void)VALGRIND_MAKE_MEM_UNDEFINED(lo, (size_t)((char *)hi - (char *)lo));
#endif
}

/* Its coroutine ended: until another gets it, nobody has business there. */
static inline void sched_fiber_stack_close(sched_fiber_stack *f, void *lo, void *hi)
{
    (void)f, (void)lo, (void)hi;
#if SCHED_ASAN
    __asan_poison_memory_region(lo, (size_t)((char *)hi - (char *)lo));
#endif
#if SCHED_VALGRIND
    if (TRI_UNLIKELY(f->on_valgrind))
        (void)VALGRIND_MAKE_MEM_NOACCESS(lo, (size_t)((char *)hi - (char *)lo));
#endif
}

static inline void sched_fiber_stack_free(sched_fiber_stack *f, void *lo, void *hi)
{
    sched_fiber_stack_open(f, lo, hi); /* another mapping may get these addresses */
#if SCHED_VALGRIND
    VALGRIND_STACK_DEREGISTER(f->valgrind_id);
#endif
}

/* Whether the words of a stack may be moved away and back behind their backs. */
static inline bool sched_fiber_can_share(void)
{
#if SCHED_ASAN || TRI_TSAN
    return false;
#elif SCHED_VALGRIND
    return !RUNNING_ON_VALGRIND;
#else
    return true;
#endif
}

/* The calling thread, on its own stack, will run coroutines. */
static inline void sched_fiber_of_thread(sched_fiber *f)
{
    (void)f;
#if TRI_TSAN
    f->tsan = __tsan_get_current_fiber();
#endif
}

/* In the child of a fork, by the coroutine that forked: in a process that had threads, ThreadSanitizer
 * ignores from here on all that its fiber does, the synchronisation with its thread's own fiber
 * included; so that one must be ignored, too. */
static inline void sched_fiber_forked(sched_fiber *of_thread)
{
    (void)of_thread;
#if TRI_TSAN
    void *now = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(of_thread->tsan, 0);
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
    __tsan_switch_to_fiber(now, 0);
#endif
}

/* A coroutine begins on the stack [lo, hi). Reports call it by its name, if it has one. */
static inline void sched_fiber_born(sched_fiber *f, void *lo, void *hi, const char *name)
{
    (void)f, (void)lo, (void)hi, (void)name;
#if SCHED_ASAN
    f->fake = NULL;
    f->bottom = lo;
    f->size = (size_t)((char *)hi - (char *)lo);
#endif
#if TRI_TSAN
    f->tsan = __tsan_create_fiber(0);
    __tsan_set_fiber_name(f->tsan, name ? name : "coroutine");
#endif
}

/* It ended, and was left. */
static inline void sched_fiber_died(sched_fiber *f)
{
    (void)f;
#if SCHED_ASAN
    f->bottom = NULL;
#endif
#if TRI_TSAN
    if (f->tsan)
        __tsan_destroy_fiber(f->tsan);
    f->tsan = NULL;
#endif
}

static inline void sched_fiber_leave(sched_fiber *from, sched_fiber *to, bool dies)
{
    (void)from, (void)to, (void)dies;
#if SCHED_ASAN
    __sanitizer_start_switch_fiber(dies ? NULL : &from->fake, to->bottom, to->size);
#endif
#if TRI_TSAN
    __tsan_switch_to_fiber(to->tsan, 0);
#endif
}

/* `from`: the fiber that was left, or NULL if its struct may be gone. */
static inline void sched_fiber_arrive(sched_fiber *now, sched_fiber *from)
{
    (void)now, (void)from;
#if SCHED_ASAN
    const void *bottom;
    size_t size;
    __sanitizer_finish_switch_fiber(now->fake, &bottom, &size);
    now->fake = NULL;
    if (from && !from->bottom) {
        from->bottom = bottom;
        from->size = size;
    }
#endif
}

#endif
