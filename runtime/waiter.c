/* Waiting, for coroutines and threads alike.
 *
 * Everything that makes callers wait (channels, wait groups, mutexes) links waiters and never asks
 * what they are. A coroutine's waiter lies in its G, since it waits for one thing at a time; a
 * thread's in thread-local memory or, so that its slots are scanned with its stack, in the record of
 * its attachment.
 *
 * A thread that waits is blocked in the collector's sense, in all its heaps.
 *
 * Invariant: a waiter is in at most one queue; who takes it out, under that queue's lock, alone may
 * write its result and slots and wake it, once, and does not touch it afterwards: the thread may be
 * gone by then, the G be another coroutine.
 */
#include "runtime/sched.h"

#ifdef TRI_TORTURE
#define WAKE_PIECE 2
#else
#define WAKE_PIECE 64
#endif

static __thread sched_waiter own_waiter;

static TRI_NOINLINE sched_waiter *thread_waiter(void)
{
    gc_mutator *mu = gc_self();
    sched_waiter *w = &own_waiter;
    if (!sched_is_trap(mu))
        w = sched_thread_waiter(mu);
    atomic_store_explicit(&w->word, 0, memory_order_relaxed);
    return w;
}

sched_waiter *sched_waiter_get(sched_m *m, sched_reason reason)
{
    sched_waiter *w;
    if (TRI_LIKELY(m)) {
        w = &m->g->waiter;
        atomic_store_explicit(&m->g->reason, reason, memory_order_relaxed);
        atomic_store_explicit(&m->g->state, SCHED_PARKING, memory_order_relaxed);
    } else {
        w = thread_waiter();
    }
    w->next = w->prev = NULL;
    w->result = 0;
    return w;
}

static void wait_on_word(void *arg, void *sp)
{
    sched_waiter *w = arg;
    sched_block_thread((uintptr_t)sp);
    while (!atomic_load_explicit(&w->word, memory_order_acquire)) /* pairs with sched_waiter_wake */
        os_futex_wait(&w->word, 0, -1);
    sched_unblock_thread();
}

void sched_waiter_wait(sched_m *m, sched_waiter *w)
{
    if (TRI_LIKELY(m))
        sched_park(m);
    else
        os_call_spilled(wait_on_word, w);
}

void sched_waiter_cancel(sched_m *m, sched_waiter *w)
{
    (void)w;
    if (m)
        atomic_store_explicit(&m->g->state, SCHED_RUNNING, memory_order_relaxed);
}

void sched_waiter_wake(sched_waiter *w)
{
    if (TRI_LIKELY(w->g)) {
        sched_ready(w->g);
        return;
    }
    /* Release: pairs with wait_on_word(). The address may be gone when the kernel looks at it: a
     * wake-up of nobody, or one for no reason, which all sleepers expect. */
    atomic_store_explicit(&w->word, 1, memory_order_release);
    os_futex_wake(&w->word, 1);
}

/* Takes up to WAKE_PIECE waiters off the list: threads are woken, coroutines chained. */
static sched_g *take_piece(sched_waiter **list)
{
    sched_g *first = NULL, *last = NULL;
    for (int i = 0; *list && i < WAKE_PIECE; i++) {
        sched_waiter *w = *list;
        *list = w->next;
        if (!w->g) {
            sched_waiter_wake(w);
            continue;
        }
        w->g->next = NULL;
        if (last)
            last->next = w->g;
        else
            first = w->g;
        last = w->g;
    }
    return first;
}

void sched_waiter_wake_all(sched_waiter *first)
{
    while (first) {
        sched_g *g = take_piece(&first);
        if (g)
            sched_ready_all(g);
        gc_mutator *mu = gc_self();
        if (first && !sched_is_trap(mu))
            gc_poll(mu);
    }
}
