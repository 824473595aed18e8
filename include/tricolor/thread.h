/* Threads as mutators: pthreads that allocate from a heap without being part of a scheduler.
 *
 * A thread may be attached to several heaps. One of them is its current heap: the one that tri_new()
 * allocates from and tri_set() stores into. Coroutines are attached by nature, to their scheduler's
 * heap alone.
 *
 * A thread detaches before it ends.
 */
#ifndef TRICOLOR_THREAD_H
#define TRICOLOR_THREAD_H

#include <tricolor/heap.h>

TRI_BEGIN_DECLS

/* Makes the calling thread a mutator of `heap`, which becomes its current one. -EEXIST: it is one
 * already. -ENOTSUP: called by a coroutine. -ENOMEM. -EAGAIN: signals could not be set up, or the
 * system does not say where the thread's stack is. */
TRI_API int tri_attach(tri_heap *heap);
/* Undoes it; some other heap that the thread is attached to, if any, becomes the current one. What
 * only the thread's stack kept alive is garbage from now on. -EPERM: not attached to `heap`, or a
 * coroutine. */
TRI_API int tri_detach(tri_heap *heap);

/* Makes `heap` the current one and returns the former. Aborts unless the thread is attached to it. */
TRI_API tri_heap *tri_enter(tri_heap *heap);
/* NULL if the thread is not attached to any. */
TRI_API tri_heap *tri_current_heap(void);

/* Starts a thread that attaches itself to `heap`, runs fn(arg) and detaches. `arg` may be a managed
 * pointer of that heap: it stays rooted with the caller until the new thread has it, so this returns
 * only then. -ENOMEM, -EAGAIN: no thread, or it could not attach. */
typedef struct tri_thread tri_thread;
TRI_API int tri_thread_start(tri_heap *heap, void (*fn)(void *), void *arg, tri_thread **thread);
/* Waits for its end and frees it. Every thread that was started is joined once. -EDEADLK: by
 * itself. */
TRI_API int tri_thread_join(tri_thread *thread);

/* A safepoint, for loops that make no runtime call; a few cycles when nobody asks. */
TRI_API void tri_poll(void);

/* Runs fn(arg), which may block for long or compute for long, and may use no heap that the caller is
 * attached to: not allocate, not load or store managed pointers, not call this library for the
 * caller's heap. Meanwhile the collector does not wait for the caller, and other coroutines run.
 * `arg` and the caller's own variables are kept alive. Works for coroutines, attached threads, and
 * threads that are not attached (a plain call). */
TRI_API void tri_blocking(void (*fn)(void *), void *arg);

/* For embedders that switch stacks themselves: says which stack the calling attached thread will run
 * on next, in all its heaps. To be called on the old stack, immediately before the switch; until the
 * stack pointer is inside [lo, hi) the thread acknowledges no handshake by signal. The stack that is
 * left is not scanned until it is switched to again: what only it refers to must be kept alive by
 * other means. -EPERM: not attached, or a coroutine. -EINVAL: lo or hi NULL, not aligned to a word,
 * or fewer than 4096 bytes between them. */
TRI_API int tri_stack_switch(void *lo, void *hi);

TRI_END_DECLS

#endif
