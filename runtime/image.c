/* Images: memory for what lies on the stacks of coroutines that share one, while another runs there.
 *
 * A million coroutines that wait have a million images of a few hundred bytes, each made when the
 * coroutine is put away and freed when it is resumed, often on another thread. malloc() would cost
 * 16 bytes of header each, and keeps what it once had. So images come from chunks of one size each, in
 * steps of 32 bytes; the chunk of an image is found by its address, and chunks lie in regions of the
 * size of a huge page, which is what makes a million first touches cheap. A region in which no image
 * is left goes back to the system if another one has room, so that a program at the edge does not
 * give back and take anew all the time. The first region gets no huge page: small programs have few
 * images.
 *
 * Images above 2 KiB are rare (a coroutine that waits deep in a recursion) and come from malloc().
 *
 * Rejected: an arena for each shared stack, under the lock of that (it saves a lock, but with some
 * hundred coroutines each, a quarter of it is unused room of a dozen sizes).
 *
 * Invariant, under the lock: a chunk is in the list of its size exactly while it has room and is not
 * empty; an empty one has its bit set in its region.
 */
#include <string.h>

#include "os/memory.h"
#include "os/vm.h"
#include "runtime/sched.h"

#define STEP      32u
#define CHUNK     ((size_t)64 << 10)
#define CHUNKS    32u
#define REGION    (CHUNKS * CHUNK)
#define CHUNK_ALL UINT32_MAX

typedef struct sched_image_region {
    struct sched_image_region *next;      /* all of them */
    struct sched_image_region *next_room; /* those with empty chunks */
    char *base;
    uint32_t empty; /* a bit per chunk */
    bool has_room;  /* in the list */
} region;

/* At the start of each chunk that is not empty. */
typedef struct sched_image_chunk {
    struct sched_image_chunk *next, *prev; /* of its size, with room */
    region *region;
    void *free; /* images that were freed, linked by their first words */
    uint32_t class;
    uint32_t used;
    uint32_t fresh; /* offset of what was never used */
    bool listed;
} chunk;

#define FIRST ((sizeof(chunk) + STEP - 1) / STEP * STEP)

static uint32_t class_of(size_t size)
{
    return (uint32_t)((size - 1) / STEP);
}

static uint32_t class_size(uint32_t class)
{
    return (class + 1) * STEP;
}

/* ---- regions and chunks, under the lock -------------------------------------------------------- */

static region *region_new(sched_images *im)
{
    region *r = os_alloc(sizeof *r);
    if (!r)
        return NULL;
    r->base = os_reserve_rw(REGION, REGION);
    if (!r->base) {
        os_free(r, sizeof *r);
        return NULL;
    }
    if (im->regions)
        os_huge(r->base, REGION); /* a kernel without huge pages refuses, which is as good */
    r->empty = CHUNK_ALL;
    r->next = im->regions;
    im->regions = r;
    return r;
}

static region *room(sched_images *im)
{
    region *r = im->room;
    if (r)
        return r;
    r = region_new(im);
    if (!r)
        return NULL;
    r->has_room = true;
    im->room = r;
    return r;
}

static void list(sched_images *im, chunk *c)
{
    chunk **head = &im->open[c->class];
    c->prev = NULL;
    c->next = *head;
    if (*head)
        (*head)->prev = c;
    *head = c;
    c->listed = true;
}

static void unlist(sched_images *im, chunk *c)
{
    if (c->prev)
        c->prev->next = c->next;
    else
        im->open[c->class] = c->next;
    if (c->next)
        c->next->prev = c->prev;
    c->listed = false;
}

static chunk *chunk_new(sched_images *im, uint32_t class)
{
    region *r = room(im);
    if (!r)
        return NULL;
    uint32_t i = (uint32_t)__builtin_ctz(r->empty);
    r->empty &= r->empty - 1;
    if (!r->empty) {
        im->room = r->next_room;
        r->has_room = false;
    }
    chunk *c = (chunk *)(r->base + i * CHUNK);
    *c = (chunk){.region = r, .class = class, .fresh = FIRST};
    list(im, c);
    return c;
}

static void chunk_empty(sched_images *im, chunk *c)
{
    region *r = c->region;
    unlist(im, c);
    r->empty |= 1u << ((size_t)((char *)c - r->base) / CHUNK);
    if (r->empty == CHUNK_ALL && (im->room != r || r->next_room))
        os_release(r->base, REGION);
    if (r->has_room)
        return;
    r->has_room = true;
    r->next_room = im->room;
    im->room = r;
}

/* ---- images ------------------------------------------------------------------------------------ */

static void *take(chunk *c)
{
    void *p = c->free;
    if (p) {
        c->free = *(void **)p;
    } else {
        p = (char *)c + c->fresh;
        c->fresh += class_size(c->class);
    }
    c->used++;
    return p;
}

static bool is_full(const chunk *c)
{
    return !c->free && c->fresh + class_size(c->class) > CHUNK;
}

void *sched_image_new(sched_images *im, size_t size)
{
    uint32_t class = class_of(size);
    void *p = NULL;
    os_mutex_lock(&im->lock);
    if (TRI_LIKELY(class < SCHED_IMAGE_CLASSES)) {
        chunk *c = im->open[class];
        if (!c)
            c = chunk_new(im, class);
        if (c) {
            p = take(c);
            if (is_full(c))
                unlist(im, c);
        }
        size = class_size(class);
    } else {
        p = os_alloc(size);
    }
    if (p) {
        im->count++;
        im->bytes += size;
    }
    os_mutex_unlock(&im->lock);
    return p;
}

void sched_image_free(sched_images *im, void *p, size_t size)
{
    uint32_t class = class_of(size);
    os_mutex_lock(&im->lock);
    if (TRI_LIKELY(class < SCHED_IMAGE_CLASSES)) {
        chunk *c = (chunk *)((uintptr_t)p & ~(uintptr_t)(CHUNK - 1));
        *(void **)p = c->free;
        c->free = p;
        if (!c->listed)
            list(im, c);
        if (--c->used == 0)
            chunk_empty(im, c);
        size = class_size(class);
    } else {
        os_free(p, size);
    }
    im->count--;
    im->bytes -= size;
    os_mutex_unlock(&im->lock);
}

void sched_images_free_all(sched_images *im)
{
    for (region *next, *r = im->regions; r; r = next) {
        next = r->next;
        os_unreserve(r->base, REGION);
        os_free(r, sizeof *r);
    }
    im->regions = im->room = NULL;
}
