/* Chunks, and the order in which they are filled.
 *
 * Which chunk gets the next span decides how much memory can ever be given back, and how often the
 * program pays for a first touch. A page that goes into a nearly full chunk helps to fill a huge page
 * that the processor maps with one TLB entry anyway; a page that goes into a nearly empty one keeps
 * 2 MiB from becoming free. So the fullest chunk that has room is taken, and among equals the lowest:
 * chunks at the top drain, and drained ones are released whole.
 *
 * Rejected: the lowest address alone (Go): cheap with its radix tree, but one long-lived span at the
 * top of every chunk keeps all of them, and the scavenger must then break huge pages. Lists by
 * longest free run (tcmalloc's filler): constant time, yet the order within a list is that of the
 * last change, and a chunk with a long run is not an empty one. Buckets by free count with a scan of
 * each: exact, but a scan is as long as the bucket.
 *
 * Here the partly used chunks are one treap ordered by (free pages, chunk number), where each node
 * knows the longest run of its subtree: the fullest chunk with room for n is one descent. The same
 * tree read from its other end, by longest run of warm pages, tells the scavenger where it does
 * least harm. Priorities are a hash of the chunk number, so the tree is a function of its set,
 * needs no randomness, and its depth is logarithmic in expectation: about 20 steps for 4 GiB of
 * partly used chunks. Full and empty chunks are not in it. */
#include "heap/chunk.h"

#include <string.h>

#include "heap/arena.h"
#include "heap/bits.h"

/* ---- one chunk ------------------------------------------------------------------------------- */

static void chunk_warm_pages(const heap_chunk *c, uint64_t *out)
{
    for (size_t i = 0; i < HEAP_CHUNK_WORDS; i++)
        out[i] = c->free[i] & ~c->released[i];
}

static size_t chunk_longest_warm(const heap_chunk *c)
{
    uint64_t warm[HEAP_CHUNK_WORDS];
    chunk_warm_pages(c, warm);
    return heap_bits_longest(warm, HEAP_CHUNK_PAGES);
}

static void chunk_measure(heap_chunk *c)
{
    c->nfree = (uint16_t)heap_bits_count(c->free, 0, HEAP_CHUNK_PAGES);
    c->nreleased = (uint16_t)heap_bits_count(c->released, 0, HEAP_CHUNK_PAGES);
    c->longest = (uint16_t)heap_bits_longest(c->free, HEAP_CHUNK_PAGES);
    c->warm = c->nreleased ? (uint16_t)chunk_longest_warm(c) : c->longest;
}

void heap_chunk_init(heap_chunk *c)
{
    memset(c, 0, sizeof *c);
    heap_bits_set(c->free, 0, HEAP_CHUNK_PAGES);
    heap_bits_set(c->released, 0, HEAP_CHUNK_PAGES);
    chunk_measure(c);
}

size_t heap_chunk_find(const heap_chunk *c, size_t n)
{
    TRI_ASSERT(n <= c->longest, "looking for more pages than the chunk has in a row");
    if (c->nreleased == 0 || c->warm < n)
        return heap_bits_find(c->free, HEAP_CHUNK_PAGES, n);
    uint64_t warm[HEAP_CHUNK_WORDS];
    chunk_warm_pages(c, warm);
    return heap_bits_find(warm, HEAP_CHUNK_PAGES, n);
}

void heap_chunk_take(heap_chunk *c, size_t first, size_t n)
{
    heap_chunk_lend(c, first, n);
    heap_bits_clear(c->released, first, n);
    chunk_measure(c);
}

void heap_chunk_give(heap_chunk *c, size_t first, size_t n)
{
    heap_chunk_return(c, first, n, false);
}

void heap_chunk_touch(heap_chunk *c)
{
    TRI_ASSERT(!c->filed, "changing a chunk while it is filed by what it was");
    memset(c->released, 0, sizeof c->released);
    chunk_measure(c);
}

void heap_chunk_lend(heap_chunk *c, size_t first, size_t n)
{
    TRI_ASSERT(!c->filed, "changing a chunk while it is filed by what it was");
    TRI_ASSERT(heap_bits_count(c->free, first, n) == n, "taking pages that are not free");
    heap_bits_clear(c->free, first, n);
    chunk_measure(c);
}

void heap_chunk_return(heap_chunk *c, size_t first, size_t n, bool released)
{
    TRI_ASSERT(!c->filed, "changing a chunk while it is filed by what it was");
    TRI_CHECK(heap_bits_count(c->free, first, n) == 0, "freeing pages that are free already");
    heap_bits_set(c->free, first, n);
    if (released) {
        heap_bits_set(c->released, first, n);
        heap_bits_clear(c->dirty, first, n);
    } else {
        heap_bits_clear(c->released, first, n);
        heap_bits_set(c->dirty, first, n);
    }
    chunk_measure(c);
}

size_t heap_chunk_warm_run(const heap_chunk *c, size_t min, size_t grain, size_t *first)
{
    uint64_t warm[HEAP_CHUNK_WORDS];
    chunk_warm_pages(c, warm);
    size_t at = 0, found = 0;
    for (size_t len; (len = heap_bits_run(warm, HEAP_CHUNK_PAGES, &at)); at += len) {
        size_t lo = (at + grain - 1) / grain * grain, hi = (at + len) / grain * grain;
        if (len < min || hi <= lo)
            continue;
        *first = lo;
        found = hi - lo;
    }
    return found;
}

void heap_chunk_check(const heap_chunk *c)
{
    heap_chunk copy = *c;
    chunk_measure(&copy);
    TRI_CHECK(copy.nfree == c->nfree && copy.nreleased == c->nreleased,
              "a chunk's counts differ from its bits");
    TRI_CHECK(copy.longest == c->longest && copy.warm == c->warm,
              "a chunk's longest runs differ from its bits");
    for (size_t i = 0; i < HEAP_CHUNK_WORDS; i++)
        TRI_CHECK(!(c->released[i] & c->dirty[i]), "a page is released and dirty");
}

/* ---- the set --------------------------------------------------------------------------------- */

static heap_chunk *fill_node(const heap_fill *f, uint32_t t)
{
    return &f->chunks[t - 1];
}

static uint64_t fill_key(const heap_fill *f, uint32_t t)
{
    return (uint64_t)fill_node(f, t)->nfree << 32 | t;
}

/* A bijection, so that no two priorities are equal. */
static uint32_t fill_priority(uint32_t t)
{
    t *= 0x9e3779b1u;
    t ^= t >> 15;
    return t * 0x85ebca6bu;
}

static uint16_t fill_max(uint16_t a, uint16_t b)
{
    return a > b ? a : b;
}

static void fill_update(const heap_fill *f, uint32_t t)
{
    heap_chunk *c = fill_node(f, t);
    c->best_longest = c->longest;
    c->best_warm = c->warm;
    for (int side = 0; side < 2; side++) {
        uint32_t child = side ? c->right : c->left;
        if (!child)
            continue;
        c->best_longest = fill_max(c->best_longest, fill_node(f, child)->best_longest);
        c->best_warm = fill_max(c->best_warm, fill_node(f, child)->best_warm);
    }
}

/* The nodes of t with keys below `key` go to *lo, the others to *hi. */
static void fill_split(const heap_fill *f, uint32_t t, uint64_t key, uint32_t *lo, uint32_t *hi)
{
    if (!t) {
        *lo = *hi = 0;
        return;
    }
    heap_chunk *c = fill_node(f, t);
    if (fill_key(f, t) < key) {
        fill_split(f, c->right, key, &c->right, hi);
        *lo = t;
    } else {
        fill_split(f, c->left, key, lo, &c->left);
        *hi = t;
    }
    fill_update(f, t);
}

static uint32_t fill_join(const heap_fill *f, uint32_t lo, uint32_t hi)
{
    if (!lo || !hi)
        return lo ? lo : hi;
    if (fill_priority(lo) > fill_priority(hi)) {
        fill_node(f, lo)->right = fill_join(f, fill_node(f, lo)->right, hi);
        fill_update(f, lo);
        return lo;
    }
    fill_node(f, hi)->left = fill_join(f, lo, fill_node(f, hi)->left);
    fill_update(f, hi);
    return hi;
}

static uint32_t fill_insert_below(const heap_fill *f, uint32_t t, uint32_t node)
{
    heap_chunk *c = fill_node(f, node);
    if (!t || fill_priority(node) > fill_priority(t)) {
        fill_split(f, t, fill_key(f, node), &c->left, &c->right);
        t = node;
    } else if (fill_key(f, node) < fill_key(f, t)) {
        fill_node(f, t)->left = fill_insert_below(f, fill_node(f, t)->left, node);
    } else {
        fill_node(f, t)->right = fill_insert_below(f, fill_node(f, t)->right, node);
    }
    fill_update(f, t);
    return t;
}

static uint32_t fill_remove_below(const heap_fill *f, uint32_t t, uint32_t node)
{
    TRI_CHECK(t != 0, "a filed chunk is not where its free count says");
    heap_chunk *c = fill_node(f, t);
    if (t == node)
        return fill_join(f, c->left, c->right);
    if (fill_key(f, node) < fill_key(f, t))
        c->left = fill_remove_below(f, c->left, node);
    else
        c->right = fill_remove_below(f, c->right, node);
    fill_update(f, t);
    return t;
}

void heap_fill_insert(heap_fill *f, size_t chunk)
{
    heap_chunk *c = &f->chunks[chunk];
    TRI_ASSERT(!c->filed, "filing a chunk twice");
    f->root = fill_insert_below(f, f->root, (uint32_t)chunk + 1);
    c->filed = true;
}

void heap_fill_remove(heap_fill *f, size_t chunk)
{
    heap_chunk *c = &f->chunks[chunk];
    TRI_ASSERT(c->filed, "removing a chunk that is not filed");
    f->root = fill_remove_below(f, f->root, (uint32_t)chunk + 1);
    c->filed = false;
    c->left = c->right = 0;
}

size_t heap_fill_fullest(const heap_fill *f, size_t n)
{
    uint32_t t = f->root;
    if (!t || fill_node(f, t)->best_longest < n)
        return HEAP_NO_PAGE;
    for (;;) {
        const heap_chunk *c = fill_node(f, t);
        if (c->left && fill_node(f, c->left)->best_longest >= n)
            t = c->left;
        else if (c->longest >= n)
            return t - 1;
        else
            t = c->right;
    }
}

size_t heap_fill_emptiest(const heap_fill *f, size_t n)
{
    uint32_t t = f->root;
    if (!t || fill_node(f, t)->best_warm < n)
        return HEAP_NO_PAGE;
    for (;;) {
        const heap_chunk *c = fill_node(f, t);
        if (c->right && fill_node(f, c->right)->best_warm >= n)
            t = c->right;
        else if (c->warm >= n)
            return t - 1;
        else
            t = c->left;
    }
}
