/* Channels.
 *
 * Invariants, under the lock:
 *   - at most one of the two queues of waiters is not empty;
 *   - count > 0 implies that no receiver waits;
 *   - count < capacity implies that no sender waits.
 * So a send looks for a waiting receiver first, then for room; a receive for a value in the buffer,
 * then for a waiting sender. A receive from a full buffer takes its first value and moves that of the
 * first waiting sender to its end: values leave in the order of the sends.
 *
 * A value never lies on a parked stack, where its owner could overwrite it unseen: it waits in the
 * buffer, which is heap, or in runtime slots that are scanned with the waiter's stack (value.c).
 * Values larger than the slots wait in a cell, a managed object that the waiter allocates before it
 * parks, without the lock.
 *
 * Whoever takes a waiter out of a queue moves its value, sets its result, and wakes it after the lock
 * is dropped. Rejected: leaving the woken to try again (a value could overtake); direct writes to the
 * receiver's variable as in Go (its stack may be scanned meanwhile by the collector).
 *
 * The channel is a managed object in which only the buffer is traced. A channel that nobody can reach
 * is freed even if coroutines wait in it: they are garbage in all but name.
 */
#include "runtime/channel.h"

#include <errno.h>

#include "os/report.h"

#define VALUE_MAX 65536

TRI_TYPE(chan_type, struct tri_chan, buffer);

static bool type_has_pointers(const tri_type *t)
{
    return t->kind == TRI_KIND_POINTERS || t->kind == TRI_KIND_WORDS ||
           (t->kind == TRI_KIND_STRUCT && t->field_count);
}

static void check_type(const tri_type *t, size_t capacity)
{
    if (t->kind == TRI_KIND_TRACE)
        os_fatal("tri_chan_new: type %s has a trace callback; send pointers to such objects",
                 t->name);
    if (t->size > VALUE_MAX || (type_has_pointers(t) && t->size % sizeof(void *)))
        os_fatal("tri_chan_new: values of type %s (%zu bytes) cannot be sent", t->name, t->size);
    if (capacity > INT32_MAX)
        os_fatal("tri_chan_new: a capacity of %zu is too large", capacity);
}

tri_chan *tri_chan_new(tri_type *type, size_t capacity)
{
    check_type(type, capacity);
    void *buffer = capacity ? tri_new_array(type, capacity) : NULL;
    return tri_make(chan_type, .buffer = buffer, .type = type, .size = (uint32_t)type->size,
                    .capacity = (uint32_t)capacity, .pointers = type_has_pointers(type),
                    .cells = type->size > SCHED_SLOTS * sizeof(void *));
}

/* ---- queues, under the lock ------------------------------------------------------------------- */

static void enqueue(sched_wait_queue *q, sched_waiter *w)
{
    w->next = NULL;
    if (q->last)
        q->last->next = w;
    else
        q->first = w;
    q->last = w;
}

static sched_waiter *dequeue(sched_wait_queue *q)
{
    sched_waiter *w = q->first;
    if (!w)
        return NULL;
    q->first = w->next;
    if (!q->first)
        q->last = NULL;
    w->result = 1;
    return w;
}

static uint32_t count_of(const tri_chan *c)
{
    return atomic_load_explicit(&c->count, memory_order_relaxed);
}

static void set_count(tri_chan *c, uint32_t n)
{
    atomic_store_explicit(&c->count, n, memory_order_relaxed);
}

/* The buffer slot of the i-th value from the head. */
static void *slot_at(const tri_chan *c, uint32_t i)
{
    uint64_t at = (uint64_t)c->head + i;
    if (at >= c->capacity)
        at -= c->capacity;
    return (char *)c->buffer + at * c->size;
}

/* ---- entering ----------------------------------------------------------------------------------- */

static sched_m *enter(void)
{
    sched_m *m = sched_enter();
    if (TRI_LIKELY(m))
        return m;
    gc_mutator *mu = gc_self();
    if (sched_is_trap(mu))
        os_fatal("a channel was used by a thread that is not attached to a heap");
    gc_deeper(mu);
    return NULL;
}

/* A managed object for a value that does not fit the slots. Outside the runtime: it may collect. */
static TRI_NOINLINE void *new_cell(const tri_chan *c)
{
    return tri_new_array(c->type, 1);
}

static void put_cell(sched_waiter *w, void *cell)
{
    gc_transfer(gc_self(), (uintptr_t)cell);
    __atomic_store_n(&w->slots[0], cell, __ATOMIC_RELAXED);
}

static void *take_cell(sched_waiter *w)
{
    void *cell = __atomic_load_n(&w->slots[0], __ATOMIC_RELAXED);
    gc_transfer(gc_self(), (uintptr_t)cell);
    __atomic_store_n(&w->slots[0], NULL, __ATOMIC_RELAXED);
    return cell;
}

/* ---- sending -------------------------------------------------------------------------------- */

static void hand_to_receiver(tri_chan *c, sched_waiter *w, const void *value)
{
    if (c->cells)
        sched_value_store(c, __atomic_load_n(&w->slots[0], __ATOMIC_RELAXED), value);
    else
        sched_value_push(c, w->slots, value);
}

/* 0, -EPIPE, or -EAGAIN: it would have to wait; then the lock is still held. */
static int send_now(tri_chan *c, const void *value)
{
    os_mutex_lock(&c->lock);
    if (TRI_UNLIKELY(c->closed)) {
        os_mutex_unlock_fast(&c->lock);
        return -EPIPE;
    }
    sched_waiter *w = dequeue(&c->receivers);
    if (w) {
        hand_to_receiver(c, w, value);
        os_mutex_unlock_fast(&c->lock);
        sched_waiter_wake(w);
        return 0;
    }
    uint32_t n = count_of(c);
    if (n == c->capacity)
        return -EAGAIN;
    sched_value_store(c, slot_at(c, n), value);
    set_count(c, n + 1);
    os_mutex_unlock_fast(&c->lock);
    return 0;
}

/* With the lock, which it drops. */
static int send_waiting(tri_chan *c, sched_m *m, const void *value, void *cell)
{
    sched_waiter *w = sched_waiter_get(m, SCHED_REASON_CHAN_SEND);
    if (cell)
        put_cell(w, cell);
    else
        sched_value_push(c, w->slots, value);
    enqueue(&c->senders, w);
    os_mutex_unlock(&c->lock);
    sched_waiter_wait(m, w);
    if (w->result)
        return 0;
    sched_value_drop(c, w->slots);
    return -EPIPE;
}

static TRI_NOINLINE int send_large(tri_chan *c, const void *value)
{
    void *cell = new_cell(c);
    sched_m *m = enter();
    sched_value_store(c, cell, value);
    int err = send_now(c, value);
    if (err == -EAGAIN)
        err = send_waiting(c, m, value, cell);
    sched_leave();
    return err;
}

int tri_chan_send(tri_chan *c, const void *value)
{
    sched_m *m = enter();
    int err = send_now(c, value);
    if (err == -EAGAIN && TRI_LIKELY(!c->cells)) {
        err = send_waiting(c, m, value, NULL);
    } else if (err == -EAGAIN) {
        os_mutex_unlock(&c->lock);
        sched_leave();
        return send_large(c, value);
    }
    sched_leave();
    return err;
}

int tri_chan_try_send(tri_chan *c, const void *value)
{
    enter();
    int err = send_now(c, value);
    if (err == -EAGAIN)
        os_mutex_unlock(&c->lock);
    sched_leave();
    return err;
}

/* ---- receiving --------------------------------------------------------------------------------- */

static void take_from_sender(tri_chan *c, sched_waiter *w, void *value)
{
    if (c->cells)
        sched_value_copy_cell(c, value, take_cell(w));
    else
        sched_value_pull(c, value, w->slots);
}

/* The first waiting sender's value goes to the end of the buffer, in which a slot became free. */
static void refill_from_sender(tri_chan *c, sched_waiter *w)
{
    void *slot = slot_at(c, count_of(c));
    if (c->cells)
        sched_value_store(c, slot, take_cell(w));
    else
        sched_value_pull_to_buffer(c, slot, w->slots);
    set_count(c, count_of(c) + 1);
}

static sched_waiter *receive_buffered(tri_chan *c, void *value)
{
    sched_value_take(c, value, slot_at(c, 0));
    c->head = c->head + 1 == c->capacity ? 0 : c->head + 1;
    set_count(c, count_of(c) - 1);
    sched_waiter *w = dequeue(&c->senders);
    if (w)
        refill_from_sender(c, w);
    return w;
}

/* 1, 0, or -EAGAIN: it would have to wait; then the lock is still held. */
static int receive_now(tri_chan *c, void *value)
{
    os_mutex_lock(&c->lock);
    sched_waiter *w;
    if (count_of(c)) {
        w = receive_buffered(c, value);
    } else if ((w = dequeue(&c->senders))) {
        take_from_sender(c, w, value);
    } else if (c->closed) {
        os_mutex_unlock_fast(&c->lock);
        sched_value_clear(c, value);
        return 0;
    } else {
        return -EAGAIN;
    }
    os_mutex_unlock_fast(&c->lock);
    if (w)
        sched_waiter_wake(w);
    return 1;
}

/* With the lock, which it drops. */
static int receive_waiting(tri_chan *c, sched_m *m, void *value, void *cell)
{
    sched_waiter *w = sched_waiter_get(m, SCHED_REASON_CHAN_RECV);
    if (cell)
        put_cell(w, cell);
    enqueue(&c->receivers, w);
    os_mutex_unlock(&c->lock);
    sched_waiter_wait(m, w);
    if (cell)
        cell = take_cell(w);
    if (!w->result)
        sched_value_clear(c, value);
    else if (cell)
        sched_value_copy_cell(c, value, cell);
    else
        sched_value_pull(c, value, w->slots);
    return w->result;
}

static TRI_NOINLINE int receive_large(tri_chan *c, void *value)
{
    void *cell = new_cell(c);
    sched_m *m = enter();
    int r = receive_now(c, value);
    if (r == -EAGAIN)
        r = receive_waiting(c, m, value, cell);
    sched_leave();
    return r;
}

int tri_chan_recv(tri_chan *c, void *value)
{
    sched_m *m = enter();
    int r = receive_now(c, value);
    if (r == -EAGAIN && TRI_LIKELY(!c->cells)) {
        r = receive_waiting(c, m, value, NULL);
    } else if (r == -EAGAIN) {
        os_mutex_unlock(&c->lock);
        sched_leave();
        return receive_large(c, value);
    }
    sched_leave();
    return r;
}

int tri_chan_try_recv(tri_chan *c, void *value)
{
    enter();
    int r = receive_now(c, value);
    if (r == -EAGAIN)
        os_mutex_unlock(&c->lock);
    sched_leave();
    return r;
}

/* ---- the rest ----------------------------------------------------------------------------------- */

/* At most one of the two queues has waiters. */
static sched_waiter *take_all(tri_chan *c)
{
    sched_waiter *first = c->receivers.first ? c->receivers.first : c->senders.first;
    c->receivers = c->senders = (sched_wait_queue){0};
    return first;
}

int tri_chan_close(tri_chan *c)
{
    enter();
    os_mutex_lock(&c->lock);
    bool was_closed = c->closed;
    c->closed = true;
    sched_waiter *first = take_all(c);
    os_mutex_unlock(&c->lock);
    sched_waiter_wake_all(first);
    sched_leave();
    return was_closed ? -EPIPE : 0;
}

size_t tri_chan_len(const tri_chan *c)
{
    return count_of(c);
}

size_t tri_chan_cap(const tri_chan *c)
{
    return c->capacity;
}
