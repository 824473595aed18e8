/* A channel's own structure, shared by channel.c (the queueing) and value.c (moving values). */
#ifndef RUNTIME_CHANNEL_H
#define RUNTIME_CHANNEL_H

#include "runtime/sched.h"
#include "tricolor/channel.h"

typedef struct sched_wait_queue {
    sched_waiter *first, *last;
} sched_wait_queue;

struct tri_chan {
    /* Constant. */
    void *buffer; /* managed: capacity values */
    tri_type *type;
    uint32_t size; /* bytes of a value */
    uint32_t capacity;
    bool pointers; /* a value has pointers: every word of it goes through the barrier */
    bool cells;    /* a value does not fit the runtime slots of a waiter */

    /* Under lock. */
    os_mutex lock;
    uint32_t head; /* the value to be received next */
    _Atomic uint32_t count;
    bool closed;
    sched_wait_queue receivers, senders;
};

/* Moves of one value; value.c says which barrier each needs. In the runtime. */

/* From the caller's memory into the heap (a buffer slot, a cell). */
void sched_value_store(const tri_chan *c, void *to, const void *from);
/* Out of a buffer slot, which is cleared, or a cell, to wherever the caller wants it (NULL: away). */
void sched_value_take(const tri_chan *c, void *to, void *from);
void sched_value_copy_cell(const tri_chan *c, void *to, const void *cell);
/* Into the runtime slots of a parked waiter; and out of them, which clears them. */
void sched_value_push(const tri_chan *c, void **slots, const void *from);
void sched_value_pull(const tri_chan *c, void *to, void **slots);
/* Forgets what lies in the caller's own slots. */
void sched_value_drop(const tri_chan *c, void **slots);
/* From a parked sender's slots into a buffer slot. */
void sched_value_pull_to_buffer(const tri_chan *c, void *to, void **slots);
/* The value that a closed channel gives. */
void sched_value_clear(const tri_chan *c, void *to);

#endif
