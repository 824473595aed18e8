/* What every other public header needs: linkage, hints, and the error convention.
 *
 * Errors. Functions that can fail return 0 or a negative errno value (-EINVAL, -ENOMEM, ...); the
 * header names each one where it is declared. A programming error (using a heap from a thread that
 * is not attached, unlocking what is not locked, ...) is not returned: the process aborts with one
 * line on standard error that says which rule was broken.
 */
#ifndef TRICOLOR_BASE_H
#define TRICOLOR_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define TRI_BEGIN_DECLS extern "C" {
#define TRI_END_DECLS   }
#else
#define TRI_BEGIN_DECLS
#define TRI_END_DECLS
#endif

#define TRI_API         __attribute__((visibility("default")))
#define TRI_LIKELY(x)   __builtin_expect(!!(x), 1)
#define TRI_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define TRI_NOINLINE    __attribute__((noinline))
#define TRI_INLINE      static inline __attribute__((always_inline))
#define TRI_CACHE_LINE  64

#if defined(__SANITIZE_THREAD__)
#define TRI_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TRI_TSAN 1
#endif
#endif
#ifndef TRI_TSAN
#define TRI_TSAN 0
#endif

/* Keeps the compiler, and with it a signal handler on this thread, from seeing the accesses on
 * either side in another order. No instruction. */
#define TRI_SIGNAL_FENCE() __asm__ volatile("" ::: "memory")

TRI_BEGIN_DECLS

typedef struct tri_heap tri_heap;
typedef struct tri_mutator tri_mutator;
typedef struct tri_type tri_type;

/* Of the header; tri_version() tells the library's. */
#define TRI_VERSION "0.1.0"
TRI_API const char *tri_version(void);

TRI_END_DECLS

#endif
