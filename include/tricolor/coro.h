/* Coroutines: thousands to millions of call chains on a few threads.
 *
 *     static void hello(void *arg) { puts(arg); }
 *     static void first(void *arg) { tri_go(hello, "hello"); tri_sleep(1000000); }
 *     int main(void) { return tri_run(NULL, first, NULL); }
 *
 * A coroutine runs until it parks (in a channel, a wait group, a sleep), yields, ends, or is
 * preempted in a runtime call. One that makes no runtime call for long goes on as an ordinary thread
 * which the kernel time-slices, and rejoins the others at its next runtime call.
 *
 * After any call that can park, a coroutine may be on another thread: do not keep errno, other
 * thread-local variables or locks of the C library across one.
 *
 * An argument may be a managed pointer; it is kept alive for the coroutine that gets it.
 */
#ifndef TRICOLOR_CORO_H
#define TRICOLOR_CORO_H

#include <tricolor/heap.h>

TRI_BEGIN_DECLS

/* Creates a heap with a scheduler, runs main_fn(arg) as its first coroutine, and returns when that
 * returns. Coroutines that have not ended by then are abandoned, as in Go, and everything is freed.
 * One that is in a blocking call, or in a loop without runtime calls, cannot be stopped: its thread
 * ends, and the last of these frees everything, when the coroutine comes to a runtime call.
 * NULL options: tri_options_init(). Errors as tri_heap_create(); -EBUSY: main_fn has returned, but a
 * thread that was attached to the heap still is, so the heap was not freed. */
TRI_API int tri_run(const tri_options *options, void (*main_fn)(void *), void *arg);

/* Gives a heap a scheduler with `procs` Ps (0: as the heap's options say), for threads that want
 * coroutines beside them. -EEXIST: it has one. -ENOMEM. -EAGAIN: no thread could be started, or no
 * signal handler installed.
 * -EINVAL: more than 1024 Ps. */
TRI_API int tri_sched_start(tri_heap *heap, unsigned procs);
/* Stops it, abandoning the coroutines that there are. -ENOENT: there is none. -EPERM: called by one
 * of its own coroutines. -EBUSY: a coroutine could not be stopped yet (see tri_run()); the scheduler
 * goes when it can, and until then the heap cannot be destroyed. */
TRI_API int tri_sched_stop(tri_heap *heap);

/* Starts fn(arg) as a coroutine on the scheduler of the current heap, from one of its coroutines or
 * from an attached thread. -ENOMEM. -EPERM: the caller is not attached. -ENOENT: the current heap
 * has no scheduler. -ECHILD: this is the child of a fork(): there the coroutine that forked goes on
 * alone, without others to wait for; it may allocate, make blocking calls, and call exec or exit. */
TRI_API int tri_go(void (*fn)(void *), void *arg);
/* The same with a stack of at least `stack_size` bytes. 0: the heap's default. -EINVAL: more than
 * 1 GiB. */
TRI_API int tri_go_sized(void (*fn)(void *), void *arg, size_t stack_size);
/* The same with a name for reports and dumps, kept by reference. */
TRI_API int tri_go_named(void (*fn)(void *), void *arg, const char *name);
/* tri_go() for coroutines that mostly wait: many share one stack, and of those that do not run only
 * the live part of it is kept, a few hundred bytes. Worth its while from some ten thousand on
 * (docs/stacks.md has figures). Two rules:
 *   - While it waits, its locals are not where they were: nobody else may use a pointer to one (a wait
 *     group, a buffer that another coroutine fills). TRICOLOR=stackcheck=1 finds such accesses.
 *     Passing them to the calls of this library that wait is fine, to a callback of tri_blocking() too.
 *   - In a blocking call, or a loop without runtime calls, it keeps its stack, and the others of that
 *     stack wait for it, so it must not wait there for one of them.
 * In builds with AddressSanitizer or ThreadSanitizer, and under Valgrind, it is tri_go(). */
TRI_API int tri_go_shared(void (*fn)(void *), void *arg);

/* Lets other runnable coroutines go first. On a thread that is none: a safepoint, and the kernel's
 * yield. */
TRI_API void tri_yield(void);

/* Parks the coroutine, or blocks the thread, for at least `ns` nanoseconds; 0 or less: tri_yield(). */
TRI_API void tri_sleep(int64_t ns);

/* Number of the calling coroutine, from 1, never reused within a scheduler; 0 if it is none. */
TRI_API uint64_t tri_coro_id(void);
/* The name it was given; "" if none, NULL if the caller is no coroutine. */
TRI_API const char *tri_coro_name(void);

/* Ps of the current heap's scheduler; 0 if it has none. */
TRI_API unsigned tri_procs(void);

TRI_END_DECLS

#endif
