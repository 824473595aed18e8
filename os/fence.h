// Fences, for where no single atomic access can carry the ordering.
//
// ThreadSanitizer does not understand them (gcc refuses to compile them with it), so there each is an
// exchange on a word that all share: stronger, slower, and understood.

#ifndef OS_FENCE_H
#define OS_FENCE_H

#include <stdatomic.h>

#if defined(__SANITIZE_THREAD__)
#define OS_FENCE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define OS_FENCE_TSAN 1
#endif
#endif

#ifdef OS_FENCE_TSAN
extern _Atomic unsigned os_fence_word;
static inline void os_fence(memory_order order)
{
    (void)order;
    atomic_fetch_add(&os_fence_word, 1);
}
#else
static inline void os_fence(memory_order order)
{
    atomic_thread_fence(order);
}
#endif

#endif
