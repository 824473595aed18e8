/* Channels: queues of typed values between coroutines and attached threads.
 *
 *     struct job { struct node *input; int n; };
 *     TRI_TYPE(job, struct job, input);
 *
 *     tri_chan *c = tri_chan_new(&job, 16);
 *     tri_chan_send(c, &(struct job){node, 7});     // by one
 *     while (tri_chan_recv(c, &j)) ...              // by another
 *
 * A channel is a managed object: the collector frees it. Values are copied, their pointers traced.
 * With capacity 0 a send waits for a receiver. Values arrive in the order they were sent; waiting
 * senders and receivers are served first come, first served. What a sender did before it sent a
 * value is visible to whoever receives it.
 *
 * Callers are coroutines of the heap's scheduler or attached threads; others abort. All functions
 * are safepoints.
 */
#ifndef TRICOLOR_CHANNEL_H
#define TRICOLOR_CHANNEL_H

#include <tricolor/type.h>

TRI_BEGIN_DECLS

typedef struct tri_chan tri_chan;

/* A channel of values laid out as `type` says, in the current heap. Never NULL: without memory it
 * does as tri_new() does. Aborts for types with a trace callback (send pointers to such objects),
 * for values of more than 64 KiB, and for a capacity of more than 2^31 - 1. For single pointers pass
 * &tri_pointers. */
TRI_API tri_chan *tri_chan_new(tri_type *type, size_t capacity);

/* Sends a copy of *value, waiting for room or a receiver. 0, or -EPIPE: the channel is closed, or
 * was while the caller waited. */
TRI_API int tri_chan_send(tri_chan *c, const void *value);
/* Receives into *value (NULL: the value is dropped), which may lie on the stack, in C memory, in an
 * object or in a registered root. 1: received. 0: the channel is closed and empty; *value is then
 * cleared. */
TRI_API int tri_chan_recv(tri_chan *c, void *value);

/* The same without waiting; -EAGAIN: it would have had to. */
TRI_API int tri_chan_try_send(tri_chan *c, const void *value);
TRI_API int tri_chan_try_recv(tri_chan *c, void *value);

/* No more values will be sent: waiting senders get -EPIPE, receivers 0 once it is empty. -EPIPE: it
 * was closed already. */
TRI_API int tri_chan_close(tri_chan *c);

/* Values that wait in the buffer, at this moment; and how many fit. */
TRI_API size_t tri_chan_len(const tri_chan *c);
TRI_API size_t tri_chan_cap(const tri_chan *c);

TRI_END_DECLS

#endif
