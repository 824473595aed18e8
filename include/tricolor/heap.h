/* Heaps: creating one, its limits and its collections.
 *
 * A process may have several heaps, isolated from each other: a pointer from one heap into another
 * is invisible to both collectors. A thread uses a heap after tri_attach() (tricolor/thread.h) or as
 * part of the heap's scheduler (tricolor/coro.h).
 *
 * What keeps an object alive: a pointer to its first byte or to any byte inside it (not one past its
 * end) in a stack or register of an attached thread or coroutine, in a registered root, or in a
 * pointer field of a live object. Memory from malloc() is not scanned unless it is registered as a
 * root. A managed pointer that another coroutine or thread can reach must live in the heap or in a
 * root, never on a stack: its owner overwrites its own locals without a barrier.
 */
#ifndef TRICOLOR_HEAP_H
#define TRICOLOR_HEAP_H

#include <tricolor/base.h>

TRI_BEGIN_DECLS

/* What to do about a store that bypassed the write barrier: not look for it, report it and abort, or
 * report it, count it and go on. */
enum { TRI_BARRIER_CHECK_OFF, TRI_BARRIER_CHECK_ABORT, TRI_BARRIER_CHECK_WARN };

typedef struct tri_options {
    size_t reserve;      /* bytes of address space, at least 16 MiB; 0: 256 GiB, less under
                          * RLIMIT_AS, Valgrind or barrier_check */
    size_t memory_limit; /* soft limit in bytes on what the library takes; 0: none */
    size_t hard_limit;   /* limit in bytes on the heap, at least 4 MiB; 0: none */
    int gogc;            /* percent; 0: 100; negative: collect only for limits and on request */
    unsigned workers;    /* marking threads; 0: a quarter of the processors, at least one */
    unsigned procs;      /* Ps of the scheduler; 0: one per processor */
    size_t stack_size;   /* bytes reserved per coroutine stack; 0: 64 KiB */
    unsigned sharers;    /* coroutines of tri_go_shared() to one stack at most; 0: 128 */
    bool stack_check;    /* abort at an access to the stack of a waiting one of these */
    bool poll_only;      /* no signals: only runtime calls and tri_poll() are safepoints */
    bool verify;         /* re-mark independently at each cycle's end, stopping the mutators */
    bool gctrace;        /* one line per cycle on standard error, in Go's format */
    int barrier_check;   /* TRI_BARRIER_CHECK_*; debug builds only (docs/barrier-checker.md) */
    /* Called when an allocation finds the hard limit reached, or the system out of memory, after a
     * whole collection did not help, before the process aborts. May longjmp or exit. */
    void (*out_of_memory)(tri_heap *heap, size_t bytes, void *arg);
    void *out_of_memory_arg;
} tri_options;

/* The defaults, then whatever the environment variable TRICOLOR says, e.g.
 * TRICOLOR=gctrace=1,gogc=200,memlimit=512MiB,hardlimit=1GiB,verify=1,procs=4,workers=1,poll=1 .
 * One line on standard error and -EINVAL for an unknown or malformed option, -ENOTSUP for one that is not
 * in this build. */
TRI_API int tri_options_init(tri_options *options);

/* A new heap and its collector threads. NULL options: tri_options_init().
 * -ENOMEM: no address space or memory. -EAGAIN: no thread could be started, or no signal handler
 * installed. -EINVAL: options out of range. -ENOTSUP: an option that is not in this build, and one
 * line on standard error. */
TRI_API int tri_heap_create(const tri_options *options, tri_heap **heap);

/* Ends the collector and gives all memory back. -EBUSY: a thread is still attached. */
TRI_API int tri_heap_destroy(tri_heap *heap);

/* Runs one whole collection that starts after the call, and sweeps. The caller, if attached to the
 * heap, waits parked or blocked; others go on. -EDEADLK: from a trace callback or the collector.
 * -ECHILD: in the child of a fork(), which may allocate but does not collect; see tri_restart(). */
TRI_API int tri_collect(tri_heap *heap);

/* In the child of a fork(), by its one thread: makes the heap collect again. What other threads of the
 * parent alone kept alive is garbage here. -EALREADY: it does. -ENOTSUP: the heap has a scheduler,
 * whose threads the child lacks. -ENOMEM. -EAGAIN: no thread could be started. */
TRI_API int tri_restart(tri_heap *heap);

/* How many stores barrier_check has found that bypassed the write barrier. 0 without it. */
TRI_API uint64_t tri_barrier_faults(tri_heap *heap);

/* Each returns the former setting. Any thread; takes effect with the next pacing decision. */
TRI_API int tri_set_gogc(tri_heap *heap, int percent);
TRI_API size_t tri_set_memory_limit(tri_heap *heap, size_t bytes);
TRI_API size_t tri_set_hard_limit(tri_heap *heap, size_t bytes);

/* Returns as much free memory to the system as possible, after a collection.
 * (Go: debug.FreeOSMemory) */
TRI_API int tri_free_os_memory(tri_heap *heap);

/* Bytes of the slot that holds the object `p` points into; 0 if `p` points to no live object. */
TRI_API size_t tri_object_size(tri_heap *heap, const void *p);
/* First byte of that object, or NULL. Its type, or NULL. */
TRI_API void *tri_object_base(tri_heap *heap, const void *p);
TRI_API const tri_type *tri_object_type(tri_heap *heap, const void *p);

/* Registers `count` words at `start` as exact roots, each a managed pointer or NULL, to be written
 * with tri_set() like a field. -EINVAL: not aligned. -ENOMEM. Any thread. */
TRI_API int tri_root_add(tri_heap *heap, void *start, size_t count);
/* -ENOENT: `start` is not registered. The words must be NULL, or no longer matter. */
TRI_API int tri_root_remove(tri_heap *heap, void *start);

TRI_END_DECLS

#endif
