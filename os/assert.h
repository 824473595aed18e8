// Assertions in tiers. Each states the invariant in words; the words say what went wrong:
//
//     TRI_ASSERT(span->swept, "allocating from an unswept span")
//
//     TRI_CHECK        always on: costs nothing next to what it guards
//     TRI_ASSERT       TRI_DEBUG >= 1: may cost a few instructions on a fast path
//     TRI_ASSERT_SLOW  TRI_DEBUG >= 2: may walk a list or look into a bitmap

#ifndef OS_ASSERT_H
#define OS_ASSERT_H

#ifndef TRI_DEBUG
#define TRI_DEBUG 0
#endif

_Noreturn void os_check_failed(const char *file, int line, const char *words, const char *cond);

#define TRI_CHECK(cond, words) \
    (__builtin_expect(!!(cond), 1) ? (void)0 : os_check_failed(__FILE__, __LINE__, words, #cond))

// Compiled, so that it cannot rot, but never evaluated.
#define OS_UNCHECKED(cond) ((void)sizeof(!(cond)))

#if TRI_DEBUG >= 1
#define TRI_ASSERT(cond, words) TRI_CHECK(cond, words)
#else
#define TRI_ASSERT(cond, words) OS_UNCHECKED(cond)
#endif

#if TRI_DEBUG >= 2
#define TRI_ASSERT_SLOW(cond, words) TRI_CHECK(cond, words)
#else
#define TRI_ASSERT_SLOW(cond, words) OS_UNCHECKED(cond)
#endif

#endif
