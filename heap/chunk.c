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

/* A set of pages as a value. A run of k pages that starts at page i is bit i of `pages` after k - 1 of
 * its right shifts were intersected; doubling the shift makes that log k steps, whatever the set looks
 * like. Walking from run to run takes one step a run, and a chunk can have 128. */
typedef struct chunk_set {
    uint64_t w[HEAP_CHUNK_WORDS];
} chunk_set;

static inline chunk_set chunk_and_shifted(const chunk_set *a, const chunk_set *b, size_t shift)
{
    chunk_set out = {{0}};
    size_t words = shift / 64, bits = shift % 64;
    for (size_t i = 0; i + words < HEAP_CHUNK_WORDS; i++) {
        uint64_t x = b->w[i + words] >> bits;
        if (bits && i + words + 1 < HEAP_CHUNK_WORDS)
            x |= b->w[i + words + 1] << (64 - bits);
        out.w[i] = a->w[i] & x;
    }
    return out;
}

static bool chunk_set_empty(const chunk_set *s)
{
    return !(s->w[0] | s->w[1] | s->w[2] | s->w[3]);
}

/* Where the first run of at least k begins; there is one. */
static size_t chunk_set_find(chunk_set s, size_t k)
{
    for (size_t len = 1; len < k;) {
        size_t shift = k - len < len ? k - len : len;
        s = chunk_and_shifted(&s, &s, shift);
        len += shift;
    }
    return heap_bits_next(s.w, HEAP_CHUNK_PAGES, 0, 0);
}

static size_t chunk_set_longest(const chunk_set *s)
{
    chunk_set starts[9] = {*s}; /* [j]: of runs of at least 2^j */
    size_t j = 0;
    if (chunk_set_empty(s))
        return 0;
    while (j < 8) {
        starts[j + 1] = chunk_and_shifted(&starts[j], &starts[j], (size_t)1 << j);
        if (chunk_set_empty(&starts[j + 1]))
            break;
        j++;
    }
    size_t len = (size_t)1 << j;
    chunk_set best = starts[j];
    while (len < HEAP_CHUNK_PAGES && j-- > 0) {
        chunk_set longer = chunk_and_shifted(&best, &starts[j], len);
        if (chunk_set_empty(&longer))
            continue;
        best = longer;
        len += (size_t)1 << j;
    }
    return len;
}

static chunk_set chunk_free_pages(const heap_chunk *c)
{
    chunk_set s;
    memcpy(s.w, c->free, sizeof s.w);
    return s;
}

static chunk_set chunk_warm_pages(const heap_chunk *c)
{
    chunk_set s;
    for (size_t i = 0; i < HEAP_CHUNK_WORDS; i++)
        s.w[i] = c->free[i] & ~c->released[i];
    return s;
}

/* Mostly the first run is so long that the others together are no longer. */
static uint16_t chunk_longest(const chunk_set *s, size_t members)
{
    size_t at = 0, first = heap_bits_run(s->w, HEAP_CHUNK_PAGES, &at);
    return (uint16_t)(first * 2 >= members ? first : chunk_set_longest(s));
}

/* After any change. The counts are kept by whoever changes the bits: without a special instruction
 * it takes longer to count them than to look for a run. */
static void chunk_measure(heap_chunk *c)
{
    chunk_set free = chunk_free_pages(c);
    c->longest = chunk_longest(&free, c->nfree);
    c->warm = c->longest;
    if (c->nreleased) {
        chunk_set warm = chunk_warm_pages(c);
        c->warm = chunk_longest(&warm, c->nfree);
    }
}

/* How many members of the set end right before page `first`, and begin at page `end`. */
static void chunk_beside(const chunk_set *s, size_t first, size_t end, size_t *below, size_t *above)
{
    size_t at = first;
    while (at > 0) {
        size_t in = (at - 1) % 64 + 1; /* bits of the word below `at` */
        uint64_t gaps = ~s->w[(at - 1) / 64] << (64 - in);
        at -= gaps ? (size_t)__builtin_clzll(gaps) : in;
        if (gaps)
            break;
    }
    *below = first - at;
    *above = heap_bits_next(s->w, HEAP_CHUNK_PAGES, end, ~(uint64_t)0) - end;
}

/* After n pages from `first` on joined the set whose longest run this was. */
static uint16_t chunk_longer(const chunk_set *s, uint16_t longest, size_t first, size_t n)
{
    size_t below, above;
    chunk_beside(s, first, first + n, &below, &above);
    return below + n + above > longest ? (uint16_t)(below + n + above) : longest;
}

/* After they left it; `members` remain. Only what was part of a longest run can have shortened it. */
static uint16_t chunk_shorter(const chunk_set *s, uint16_t longest, size_t first, size_t n,
                              size_t members)
{
    size_t below, above;
    chunk_beside(s, first, first + n, &below, &above);
    if (below + n + above < longest)
        return longest;
    size_t left = below > above ? below : above;
    return (uint16_t)(left * 2 >= members ? left : chunk_set_longest(s));
}

static void chunk_set_released(heap_chunk *c, size_t first, size_t n, bool released)
{
    size_t before = c->nreleased ? heap_bits_count(c->released, first, n) : 0;
    if (released)
        heap_bits_set(c->released, first, n);
    else
        heap_bits_clear(c->released, first, n);
    c->nreleased = (uint16_t)(c->nreleased - before + (released ? n : 0));
}

void heap_chunk_init(heap_chunk *c)
{
    memset(c, 0, sizeof *c);
    heap_bits_set(c->free, 0, HEAP_CHUNK_PAGES);
    c->nfree = HEAP_CHUNK_PAGES;
    chunk_set_released(c, 0, HEAP_CHUNK_PAGES, true);
    chunk_measure(c);
}

size_t heap_chunk_find(const heap_chunk *c, size_t n)
{
    TRI_ASSERT(n <= c->longest, "looking for more pages than the chunk has in a row");
    bool any = c->nreleased == 0 || c->warm < n;
    return chunk_set_find(any ? chunk_free_pages(c) : chunk_warm_pages(c), n);
}

static void chunk_remove(heap_chunk *c, size_t first, size_t n)
{
    TRI_ASSERT(!c->filed, "changing a chunk while it is filed by what it was");
    TRI_ASSERT(heap_bits_count(c->free, first, n) == n, "taking pages that are not free");
    heap_bits_clear(c->free, first, n);
    c->nfree = (uint16_t)(c->nfree - n);
}

static void chunk_add(heap_chunk *c, size_t first, size_t n)
{
    TRI_ASSERT(!c->filed, "changing a chunk while it is filed by what it was");
    TRI_CHECK(heap_bits_count(c->free, first, n) == 0, "freeing pages that are free already");
    heap_bits_set(c->free, first, n);
    c->nfree = (uint16_t)(c->nfree + n);
}

void heap_chunk_take(heap_chunk *c, size_t first, size_t n)
{
    chunk_remove(c, first, n);
    if (c->nreleased) {
        chunk_set_released(c, first, n, false);
        chunk_measure(c);
        return;
    }
    chunk_set free = chunk_free_pages(c);
    c->longest = c->warm = chunk_shorter(&free, c->longest, first, n, c->nfree);
}

void heap_chunk_lend(heap_chunk *c, size_t first, size_t n)
{
    chunk_remove(c, first, n);
    chunk_measure(c);
}

void heap_chunk_give(heap_chunk *c, size_t first, size_t n)
{
    chunk_add(c, first, n);
    heap_bits_set(c->dirty, first, n);
    chunk_set free = chunk_free_pages(c);
    c->longest = chunk_longer(&free, c->longest, first, n);
    if (!c->nreleased) {
        c->warm = c->longest;
        return;
    }
    chunk_set warm = chunk_warm_pages(c);
    c->warm = chunk_longer(&warm, c->warm, first, n);
}

void heap_chunk_touch(heap_chunk *c)
{
    TRI_ASSERT(!c->filed, "changing a chunk while it is filed by what it was");
    chunk_set_released(c, 0, HEAP_CHUNK_PAGES, false);
    chunk_measure(c);
}

void heap_chunk_return(heap_chunk *c, size_t first, size_t n, bool released)
{
    chunk_add(c, first, n);
    chunk_set_released(c, first, n, released);
    if (released)
        heap_bits_clear(c->dirty, first, n);
    else
        heap_bits_set(c->dirty, first, n);
    chunk_measure(c);
}

size_t heap_chunk_warm_run(const heap_chunk *c, size_t min, size_t grain, size_t *first)
{
    chunk_set warm = chunk_warm_pages(c);
    size_t at = 0, found = 0;
    for (size_t len; (len = heap_bits_run(warm.w, HEAP_CHUNK_PAGES, &at)); at += len) {
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
    chunk_set free = chunk_free_pages(c), warm = chunk_warm_pages(c);
    TRI_CHECK(c->nfree == heap_bits_count(c->free, 0, HEAP_CHUNK_PAGES) &&
                  c->nreleased == heap_bits_count(c->released, 0, HEAP_CHUNK_PAGES),
              "a chunk's counts differ from its bits");
    TRI_CHECK(c->longest == chunk_set_longest(&free) && c->warm == chunk_set_longest(&warm),
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
