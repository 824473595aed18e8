/* Counting everything that the collector does to a mutator.
 *
 * Collectors report the pauses that they call pauses. What a request feels is the sum of those and
 * of everything done on its thread under other names: assists, sweeping before a refill, draining
 * a barrier buffer, scanning a stack before resuming it. Here all of them are recorded by the same
 * call, one histogram per kind and one for all, so that no kind can hide.
 *
 * Who writes, who reads. A mutator's records are written by its own thread (or by the collector
 * that acts for it while it is blocked) without a lock, since a signal handler records, too.
 * Readers add up relaxed counters under the book's lock, which keeps records from being freed
 * under them and makes the step from alive to gone one step: a mutator that detaches moves its
 * totals to the dead while nobody reads, so a sum counts it once, never twice and never not at
 * all.
 *
 * Resetting cannot ask each writer for its consent. Histograms are cleared from outside, so that
 * an interruption being recorded at that moment may be kept in part; the utilisation's history,
 * which only its writer may touch, carries an epoch instead.
 *
 * The records are a mapping of their own rather than from malloc: most of their 90 KiB are buckets
 * that no value ever falls into, and stay untouched.
 */
#include "gc/interruption.h"

#include <errno.h>

#include "gc/mmu.h"
#include "os/assert.h"
#include "os/thread.h"
#include "os/vm.h"

struct gc_records {
    gc_record_book *book;
    gc_records *next, *prev; /* under the book's lock */
    bool recording;          /* the writer's: recordings do not nest */
    gc_mmu mmu;
    gc_histogram kinds[GC_KINDS];
};

struct gc_record_book {
    _Atomic uint32_t epoch; /* of the utilisation's history */
    os_mutex lock;
    /* Under the lock. */
    gc_records *live;
    int64_t dead_worst[GC_MMU_WINDOWS];
    /* Cleared and merged into under the lock. */
    gc_histogram dead[GC_KINDS];
    /* Everybody. */
    gc_histogram measures[GC_MEASURES];
};

static size_t in_pages(size_t size)
{
    return (size + os_page_size() - 1) & ~(os_page_size() - 1);
}

int gc_book_new(gc_record_book **out)
{
    gc_record_book *b = os_reserve_rw(in_pages(sizeof *b), 0);
    if (!b)
        return -ENOMEM;
    *out = b;
    return 0;
}

void gc_book_free(gc_record_book *b)
{
    TRI_CHECK(!b->live, "a book of interruptions ends after all mutators");
    os_unreserve(b, in_pages(sizeof *b));
}

int gc_records_new(gc_record_book *b, gc_records **out)
{
    gc_records *r = os_reserve_rw(in_pages(sizeof *r), 0);
    if (!r)
        return -ENOMEM;
    r->book = b;
    os_mutex_lock(&b->lock);
    r->next = b->live;
    if (r->next)
        r->next->prev = r;
    b->live = r;
    os_mutex_unlock(&b->lock);
    *out = r;
    return 0;
}

static uint32_t epoch_of(const gc_record_book *b)
{
    return atomic_load_explicit(&b->epoch, memory_order_relaxed);
}

static void bury(gc_record_book *b, const gc_records *r)
{
    for (int k = 0; k < GC_KINDS; k++)
        gc_histogram_merge(&b->dead[k], &r->kinds[k]);
    for (int i = 0; i < GC_MMU_WINDOWS; i++) {
        int64_t worst = gc_mmu_worst(&r->mmu, epoch_of(b), i);
        if (b->dead_worst[i] < worst)
            b->dead_worst[i] = worst;
    }
}

void gc_records_free(gc_records *r)
{
    gc_record_book *b = r->book;
    os_mutex_lock(&b->lock);
    bury(b, r);
    if (r->prev)
        r->prev->next = r->next;
    else
        b->live = r->next;
    if (r->next)
        r->next->prev = r->prev;
    os_mutex_unlock(&b->lock);
    os_unreserve(r, in_pages(sizeof *r));
}

void gc_record(gc_records *r, gc_kind kind, int64_t start, int64_t end)
{
    TRI_ASSERT(kind < GC_ALL, "ALL is what the other kinds add up to");
    TRI_ASSERT(!r->recording, "one interruption is recorded at a time");
    r->recording = true;
    atomic_signal_fence(memory_order_seq_cst); /* with the handler on this thread */
    gc_histogram_add(&r->kinds[kind], end - start);
    if (kind != GC_VERIFY) {
        gc_histogram_add(&r->kinds[GC_ALL], end - start);
        gc_mmu_add(&r->mmu, epoch_of(r->book), start, end);
    }
    atomic_signal_fence(memory_order_seq_cst); /* with the handler on this thread */
    r->recording = false;
}

void gc_book_measure(gc_record_book *b, gc_measure m, int64_t ns)
{
    gc_histogram_add(&b->measures[m], ns);
}

void gc_book_read(gc_record_book *b, gc_kind kind, gc_histogram *out)
{
    gc_histogram_clear(out);
    os_mutex_lock(&b->lock);
    gc_histogram_merge(out, &b->dead[kind]);
    for (const gc_records *r = b->live; r; r = r->next)
        gc_histogram_merge(out, &r->kinds[kind]);
    os_mutex_unlock(&b->lock);
}

void gc_book_read_measure(gc_record_book *b, gc_measure m, gc_histogram *out)
{
    gc_histogram_clear(out);
    gc_histogram_merge(out, &b->measures[m]);
}

double gc_book_mmu(gc_record_book *b, int64_t window_ns)
{
    int i = gc_mmu_window_of(window_ns);
    TRI_CHECK(i >= 0, "utilisation is kept for windows of 1, 10 and 100 ms");
    os_mutex_lock(&b->lock);
    int64_t worst = b->dead_worst[i];
    for (const gc_records *r = b->live; r; r = r->next) {
        int64_t lost = gc_mmu_worst(&r->mmu, epoch_of(b), i);
        worst = lost > worst ? lost : worst;
    }
    os_mutex_unlock(&b->lock);
    return 1.0 - (double)worst / (double)window_ns;
}

void gc_book_lock(gc_record_book *b)
{
    os_mutex_lock(&b->lock);
}

void gc_book_unlock(gc_record_book *b)
{
    os_mutex_unlock(&b->lock);
}

uint64_t gc_book_resident(gc_record_book *b)
{
    os_mutex_lock(&b->lock);
    uint64_t n = os_resident(b, sizeof *b);
    for (const gc_records *r = b->live; r; r = r->next)
        n += os_resident(r, sizeof *r);
    os_mutex_unlock(&b->lock);
    return n;
}

void gc_book_reset(gc_record_book *b)
{
    os_mutex_lock(&b->lock);
    atomic_fetch_add_explicit(&b->epoch, 1, memory_order_relaxed);
    for (int i = 0; i < GC_MMU_WINDOWS; i++)
        b->dead_worst[i] = 0;
    for (int k = 0; k < GC_KINDS; k++) {
        gc_histogram_clear(&b->dead[k]);
        for (gc_records *r = b->live; r; r = r->next)
            gc_histogram_clear(&r->kinds[k]);
    }
    for (int m = 0; m < GC_MEASURES; m++)
        gc_histogram_clear(&b->measures[m]);
    os_mutex_unlock(&b->lock);
}
