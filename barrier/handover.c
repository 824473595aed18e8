/* Full barrier buffers on their way to a marker.
 *
 * A mutator that finds its buffer full used to shade the words itself: some ten microseconds, most of all the
 * interruptions that a program with many pointer stores had. Now it copies them into a block, which a
 * marker takes and treats like any other candidates. Only when the blocks are used up, which means that the
 * markers are behind, does the mutator shade on the spot: that bounds the memory and is the brake
 * that the markers need.
 *
 * Why that loses nothing. A block that nobody has taken is a longer buffer of the mutator that filled it,
 * and the protocol holds for buffers of any length: what was pushed before its owner acknowledged a
 * round must be shaded before the round counts as clean, what was pushed later need not. So the
 * collector, when all have acknowledged, shades every block that waits, turning CLEAN into DIRTY if a
 * word was not marked yet, before it tries DONE. Other markers take blocks only while no round runs
 * (take_blocks() in gc/mark.c). What waits then or comes later is discarded like
 * the buffers, at DONE by whoever would hand over, and by the collector after the last
 * acknowledgement of H5.
 *
 * Rejected: swapping the mutator's buffer for an empty one instead of copying (a kibibyte in the cache is
 * copied in the time of one cache miss, and every push would go through a pointer); counting waiting
 * blocks as work left when a round ends (a program that stores without pause always has some, and
 * marking would never end).
 */
#include "barrier/barrier.h"

#include <errno.h>
#include <string.h>

#include "heap/stack.h"
#include "os/delay.h"
#include "os/vm.h"

#ifdef TRI_TORTURE
#define BLOCKS 4
#else
#define BLOCKS 256
#endif

/* Two stacks on a cache line each: many mutators, one taker. */
struct barrier_blocks {
    heap_stack free __attribute__((aligned(TRI_CACHE_LINE)));
    heap_stack full __attribute__((aligned(TRI_CACHE_LINE)));
    barrier_block block[BLOCKS]; /* never unmapped while the heap lives: see heap/stack.h */
};

int barrier_open(tri_heap *h)
{
    struct barrier_blocks *b = os_reserve_rw(sizeof *b, TRI_CACHE_LINE);
    if (!b)
        return -ENOMEM;
    for (size_t i = BLOCKS; i-- > 0;)
        heap_stack_push(&b->free, b->block[i].link);
    h->blocks = b;
    return 0;
}

void barrier_close(tri_heap *h)
{
    os_unreserve(h->blocks, sizeof *h->blocks);
    h->blocks = NULL;
}

static barrier_block *block_of(void **link)
{
    return (barrier_block *)(void *)link; /* its first member */
}

bool barrier_hand_over(gc_mutator *m)
{
    struct barrier_blocks *blocks = m->heap->blocks;
    void **link = heap_stack_pop(&blocks->free);
    if (!link)
        return false;
    barrier_block *b = block_of(link);
    b->count = m->nbuffer;
    memcpy(b->words, m->buffer, m->nbuffer * sizeof m->buffer[0]);
    m->nbuffer = 0;
    OS_DELAY("handover.copied");
    heap_stack_push(&blocks->full, link);
    return true;
}

bool barrier_blocks_wait(const tri_heap *h)
{
    return !heap_stack_is_empty(&h->blocks->full);
}

barrier_block *barrier_take_blocks(tri_heap *h)
{
    void **link = heap_stack_take_all(&h->blocks->full);
    return link ? block_of(link) : NULL;
}

barrier_block *barrier_give_back(tri_heap *h, barrier_block *b)
{
    void **next = __atomic_load_n(&b->link[0], __ATOMIC_RELAXED);
    heap_stack_push(&h->blocks->free, b->link);
    return next ? block_of(next) : NULL;
}

void barrier_discard_blocks(tri_heap *h)
{
    for (barrier_block *b = barrier_take_blocks(h); b; b = barrier_give_back(h, b))
        ;
}
