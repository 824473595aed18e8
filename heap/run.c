/* Runs of slots: finding, reserving, and taking back.
 *
 * The order in which a reservation becomes visible is what conservative scanning rests on. A word
 * that points to a slot whose alloc bit is clear is not a reference; so whoever sees the bit set must
 * see a slot that is zero and has its colour. Therefore: zero, colour, set the alloc bits (release),
 * and a fence before the first slot is handed out, which keeps a pointer to the object from being
 * seen before its alloc bit (a marker that saw it in that order would take it for garbage, and lose
 * it).
 *
 * The alloc words of a held span have one writer, its holder; plain loads and stores of whole words
 * will do, but for heap_run_unreserve(), which may meet the sweeper (both only clear bits, each its
 * own, so both use atomic AND). Mark and scan words are shared with markers: atomic OR and AND.
 *
 * A run is at most 16 KiB, so that zeroing it stays in the first-level cache and takes well below a
 * microsecond. With 8 KiB, objects of 1 KiB came here every 200 ns.
 */
#include <string.h>

#include "heap/annotate.h"
#include "heap/numbers.h"
#include "heap/span.h"
#include "os/delay.h"

void heap_zero(void *p, size_t bytes)
{
#if TRI_TSAN
    for (size_t i = 0; i < bytes / 8; i++)
        __atomic_store_n((uint64_t *)p + i, 0, __ATOMIC_RELAXED);
#else
    memset(p, 0, bytes);
#endif
}

/* Later stores, in particular of pointers to the slots, become visible after earlier ones. */
static void publish_fence(void)
{
#if !TRI_TSAN
    atomic_thread_fence(
        memory_order_release); /* pairs with the address dependency in heap_find() */
#elif defined(__aarch64__)
    __asm__ volatile("dmb ish" ::: "memory"); /* ThreadSanitizer does not know fences */
#else
    __asm__ volatile("" ::: "memory");
#endif
}

/* Word w's slots that are not allocated. */
static uint64_t free_slots(const heap_span *s, uint32_t w)
{
    uint64_t free = ~__atomic_load_n(heap_alloc_at(s, w), __ATOMIC_RELAXED);
    uint32_t first = w * 64;
    if (s->nslots >= first + 64)
        return free;
    return s->nslots <= first ? 0 : free & (((uint64_t)1 << (s->nslots - first)) - 1);
}

/* The length of the run that begins at bit `at` of the free slots of word w. */
static uint32_t run_length(const heap_span *s, uint32_t w, uint32_t at, uint64_t free, uint32_t max)
{
    uint32_t n = 0;
    for (;;) {
        uint64_t taken = ~(free >> at);
        uint32_t here = taken ? (uint32_t)__builtin_ctzll(taken) : 64;
        if (here > 64 - at)
            here = 64 - at;
        n += here;
        if (n >= max || at + here < 64 || ++w == s->nwords)
            return n < max ? n : max;
        at = 0;
        free = free_slots(s, w);
    }
}

uint32_t heap_run_find(heap_span *s, uint32_t max, uint32_t *first)
{
    for (uint32_t w = s->search; w < s->nwords; w++) {
        uint64_t free = free_slots(s, w);
        if (!free)
            continue;
        uint32_t at = (uint32_t)__builtin_ctzll(free);
        s->search = w;
        *first = w * 64 + at;
        return run_length(s, w, at, free, max);
    }
    s->search = s->nwords;
    return 0;
}

/* Calls out `word` and `mask` for each word of the slots [first, first + n). */
#define EACH_WORD(word, mask, first, n)                                                \
    for (uint32_t word = (first) / 64, end_ = (first) + (n); word * 64 < end_; word++) \
        for (uint64_t mask = word_mask(word, first, end_); mask; mask = 0)

static inline uint64_t word_mask(uint32_t word, uint32_t first, uint32_t end)
{
    uint64_t mask = ~(uint64_t)0;
    if (first > word * 64)
        mask <<= first - word * 64;
    if (end < word * 64 + 64)
        mask &= ((uint64_t)1 << (end - word * 64)) - 1;
    return mask;
}

// NOLINTNEXTLINE(readability-non-const-parameter): written by an atomic built-in
static inline void set_bits(uint64_t *word, uint64_t mask)
{
    if ((__atomic_load_n(word, __ATOMIC_RELAXED) & mask) != mask)
        __atomic_fetch_or(word, mask, __ATOMIC_RELAXED);
}

// NOLINTNEXTLINE(readability-non-const-parameter): written by an atomic built-in
static inline void clear_bits(uint64_t *word, uint64_t mask)
{
    if (__atomic_load_n(word, __ATOMIC_RELAXED) & mask)
        __atomic_fetch_and(word, ~mask, __ATOMIC_RELAXED);
}

void heap_run_reserve(tri_heap *h, heap_span *s, uint32_t first, uint32_t n, bool black)
{
    TRI_ASSERT(first + n <= s->nslots, "reserving slots beyond the end of the span");
    TRI_ASSERT(atomic_load(&s->state) & SPAN_HELD, "reserving slots of a span that nobody holds");
    void *p = (void *)heap_slot(s, first);
    heap_annotate_alloc(h->numbers->valgrind, p, n * s->size, true);
    for (uint32_t i = 0; i < n; i++)
        heap_check_poison((void *)heap_slot(s, first + i), s->size);
    if (s->needzero)
        heap_zero(p, n * s->size);
    heap_run_publish(s, first, n, black);
}

void heap_run_publish(heap_span *s, uint32_t first, uint32_t n, bool black)
{
    EACH_WORD(w, mask, first, n)
    {
        uint64_t alloc = __atomic_load_n(heap_alloc_at(s, w), __ATOMIC_RELAXED);
        TRI_ASSERT((alloc & mask) == 0, "reserving a slot that is allocated");
        if (black) {
            set_bits(heap_mark_at(s, w), mask);
            set_bits(heap_scan_at(s, w), mask);
        } else {
            clear_bits(heap_mark_at(s, w), mask);
            clear_bits(heap_scan_at(s, w), mask);
        }
        OS_DELAY("alloc.set");
        /* Release: pairs with the address dependency from the bit to the slot in whoever scans. */
        __atomic_store_n(heap_alloc_at(s, w), alloc | mask, __ATOMIC_RELEASE);
    }
    publish_fence();
    OS_DELAY("alloc.published");
}

uint32_t heap_run_unreserve(tri_heap *h, heap_span *s, uint32_t first, uint32_t n)
{
    uint32_t cleared = 0;
    EACH_WORD(w, mask, first, n)
    {
        uint64_t was = __atomic_fetch_and(heap_alloc_at(s, w), ~mask, __ATOMIC_RELAXED);
        cleared += heap_popcount(was & mask);
    }
    /* Tools are not told: a stale word may have had such a slot marked, and its marker be reading it now. The
     * slots are zero, and nobody ever had them. */
    (void)h;
    return cleared;
}

bool heap_notes(const tri_heap *h)
{
#if defined(HEAP_ASAN) || defined(TRI_TORTURE)
    (void)h;
    return true;
#elif TRI_DEBUG >= 1
    return h->numbers->valgrind || h->hooks.freed;
#else
    return h->numbers->valgrind;
#endif
}

void heap_note_freed(const tri_heap *h, const heap_span *s, uint32_t word, uint64_t freed)
{
    for (; freed; freed &= freed - 1) {
        void *p = (void *)heap_slot(s, word * 64 + (uint32_t)__builtin_ctzll(freed));
        if (h->hooks.freed)
            h->hooks.freed(h, (uintptr_t)p);
        heap_annotate_poison(p, s->size);
        heap_annotate_free(h->numbers->valgrind, p, s->size);
    }
}
