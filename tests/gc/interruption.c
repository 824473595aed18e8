/* Interruptions: quantiles against sorted arrays, utilisation against brute force, and totals that
 * stay right while mutators come, record and go.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "gc/interruption.h"
#include "gc/mmu.h"

static uint64_t seed = 0x9e3779b97f4a7c15;

static uint64_t next(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

/* ---- histogram ---------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int64_t draw_duration(void)
{
    return (int64_t)(next() >> (24 + next() % 40)) % ((int64_t)1 << 40);
}

static void check_quantile(const gc_histogram *h, const int64_t *sorted, size_t n, double q)
{
    size_t rank = (size_t)(q * (double)n);
    rank += (double)rank < q * (double)n;
    int64_t exact = sorted[rank ? rank - 1 : 0], got = gc_histogram_quantile(h, q);
    cr_assert(got >= exact, "quantile %g of %zu: %ld below %ld", q, n, got, exact);
    cr_assert(got <= exact + exact / 16 + 1, "quantile %g of %zu: %ld, not %ld", q, n, got, exact);
    cr_assert(got <= sorted[n - 1], "a quantile above the largest value");
}

Test(histogram, quantiles_are_those_of_the_sorted_values_within_a_sixteenth)
{
    static int64_t values[20000];
    static gc_histogram h;
    static const double qs[] = {0, 0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 0.9999, 1};
    for (size_t n = 1; n <= 20000; n = n * 3 + 1) {
        gc_histogram_clear(&h);
        for (size_t i = 0; i < n; i++)
            gc_histogram_add(&h, values[i] = draw_duration());
        qsort(values, n, sizeof *values, ascending);
        for (size_t i = 0; i < sizeof qs / sizeof *qs; i++)
            check_quantile(&h, values, n, qs[i]);
        cr_assert_eq(h.max, (uint64_t)values[n - 1]);
        cr_assert_eq(gc_histogram_quantile(&h, 1), values[n - 1]);
    }
}

Test(histogram, values_at_the_edges_of_buckets_fall_into_the_bucket_that_they_bound)
{
    static gc_histogram h;
    for (unsigned e = 0; e < 43; e++)
        for (int64_t d = -1; d <= 1; d++) {
            int64_t v = ((int64_t)1 << e) + d;
            gc_histogram_clear(&h);
            gc_histogram_add(&h, v);
            gc_histogram_add(&h, v * 2 + 100);
            int64_t got = gc_histogram_quantile(&h, 0.5);
            cr_assert(got >= v && got <= v + v / 16, "%ld became %ld", v, got);
        }
}

Test(histogram, an_empty_one_answers_zero_and_extremes_do_no_harm)
{
    static gc_histogram h;
    cr_assert_eq(gc_histogram_quantile(&h, 0.5), 0);
    gc_histogram_add(&h, -5);
    cr_assert_eq(gc_histogram_quantile(&h, 1), 0);
    gc_histogram_add(&h, INT64_MAX);
    cr_assert_eq(gc_histogram_quantile(&h, 1), INT64_MAX);
    cr_assert_eq(gc_histogram_quantile(&h, 0.5), 0);
    cr_assert_eq(h.count, 2);
}

Test(histogram, merged_ones_hold_the_values_of_both)
{
    static gc_histogram a, b;
    for (int i = 0; i < 100; i++)
        gc_histogram_add(&a, 10);
    for (int i = 0; i < 100; i++)
        gc_histogram_add(&b, 1000);
    gc_histogram_merge(&a, &b);
    cr_assert_eq(a.count, 200);
    cr_assert_eq(a.sum, 101000);
    cr_assert_eq(a.max, 1000);
    cr_assert_eq(gc_histogram_quantile(&a, 0.5), 10);
    cr_assert_eq(gc_histogram_quantile(&a, 0.51), 1000);
}

/* ---- utilisation --------------------------------------------------------------------------- */

typedef struct span {
    int64_t start, end;
} span;

static span spans[30000];
static int64_t sums[30001]; /* lost before spans[i] */
static size_t nspans;

/* Time lost before t. */
static int64_t lost_before(int64_t t)
{
    size_t lo = 0, hi = nspans;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (spans[mid].start < t)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (!lo)
        return 0;
    const span *s = &spans[lo - 1];
    return sums[lo - 1] + (t < s->end ? t : s->end) - s->start;
}

static int64_t worst_by_force(int64_t w)
{
    int64_t worst = 0;
    for (size_t i = 0; i < nspans; i++)
        sums[i + 1] = sums[i] + spans[i].end - spans[i].start;
    for (size_t i = 0; i < nspans; i++) {
        int64_t starts[] = {spans[i].start, spans[i].end - w, spans[i].start - w / 2,
                            spans[i].start + (int64_t)(next() % (uint64_t)w)};
        for (size_t j = 0; j < 4; j++) {
            int64_t lost = lost_before(starts[j] + w) - lost_before(starts[j]);
            worst = lost > worst ? lost : worst;
        }
    }
    return worst;
}

static bool fits_the_ring(int64_t w)
{
    for (size_t i = GC_MMU_RING; i < nspans; i++)
        if (spans[i - GC_MMU_RING].end > spans[i].end - w)
            return false;
    return true;
}

static void check_windows(const gc_mmu *m, uint32_t epoch)
{
    for (int i = 0; i < GC_MMU_WINDOWS; i++) {
        int64_t w = gc_mmu_window_ns(i), truth = worst_by_force(w), got = gc_mmu_worst(m, epoch, i);
        int64_t room = fits_the_ring(w) ? 0 : w / GC_MMU_GRAINS;
        cr_assert(got >= truth, "a window of %ld lost %ld, only %ld are reported", w, truth, got);
        cr_assert(got <= truth + room, "a window of %ld lost %ld, not %ld", w, truth, got);
    }
}

/* Busy and free times up to the given lengths; now and then a burst or a long pause. */
static void draw_spans(size_t n, uint64_t busy, uint64_t free)
{
    int64_t t = 1000000000;
    nspans = n;
    for (size_t i = 0; i < n; i++) {
        uint64_t b = next() % 50 ? busy : busy * 20, f = next() % 30 ? free : free * 30;
        t += (int64_t)(next() % f);
        spans[i].start = t;
        t += 1 + (int64_t)(next() % b);
        spans[i].end = t;
    }
}

static void compare_with_force(size_t n, uint64_t busy, uint64_t free)
{
    static uint32_t epoch;
    static gc_mmu m;
    draw_spans(n, busy, free);
    epoch++;
    for (size_t i = 0; i < n; i++)
        gc_mmu_add(&m, epoch, spans[i].start, spans[i].end);
    check_windows(&m, epoch);
}

Test(utilisation, is_what_brute_force_finds)
{
    for (int round = 0; round < 300; round++) {
        compare_with_force(1 + next() % 20, 400000, 600000);
        compare_with_force(1 + next() % 500, 20000, 300000);
        compare_with_force(1 + next() % 500, 2000000, 9000000);
        compare_with_force(1 + next() % 500, 30000000, 200000000);
    }
}

Test(utilisation, is_never_too_high_and_hardly_too_low_when_interruptions_come_by_the_thousand)
{
    for (int round = 0; round < 4; round++) {
        compare_with_force(30000, 500, 500);
        compare_with_force(30000, 900, 9000);
        compare_with_force(30000, 100, 4000);
        compare_with_force(30000, 10000, 10000);
        compare_with_force(30000, 1, 3000);
    }
}

Test(utilisation, counts_time_within_nested_and_overlapping_interruptions_once)
{
    static gc_mmu m;
    int64_t t = 1000000000;
    gc_mmu_add(&m, 1, t + 100, t + 200);
    gc_mmu_add(&m, 1, t + 300, t + 400);
    gc_mmu_add(&m, 1, t, t + 1000);
    cr_assert_eq(gc_mmu_worst(&m, 1, 0), 1000);
    gc_mmu_add(&m, 1, t + 900, t + 1500);
    cr_assert_eq(gc_mmu_worst(&m, 1, 0), 1500);
    gc_mmu_add(&m, 1, t - 5000000, t + 1600);
    cr_assert_eq(gc_mmu_worst(&m, 1, 0), 1000000);
    cr_assert_eq(gc_mmu_worst(&m, 1, 1), 5001600);
}

Test(utilisation, of_an_interruption_longer_than_the_window_is_zero)
{
    static gc_mmu m;
    gc_mmu_add(&m, 0, 1000, 1000 + (int64_t)3600 * 1000000000);
    for (int i = 0; i < GC_MMU_WINDOWS; i++)
        cr_assert_eq(gc_mmu_worst(&m, 0, i), gc_mmu_window_ns(i));
}

Test(utilisation, starts_anew_with_the_epoch)
{
    static gc_mmu m;
    gc_mmu_add(&m, 0, 1000, 500000);
    cr_assert_eq(gc_mmu_worst(&m, 1, 0), 0);
    gc_mmu_add(&m, 1, 600000, 600010);
    cr_assert_eq(gc_mmu_worst(&m, 1, 0), 10);
    cr_assert_eq(gc_mmu_worst(&m, 0, 0), 0);
}

/* ---- the book -------------------------------------------------------------------------------- */

static gc_histogram read_into; /* 5 KiB each: off the stack */

static uint64_t count_of(gc_record_book *b, gc_kind kind)
{
    gc_book_read(b, kind, &read_into);
    return read_into.count;
}

Test(book, totals_of_mutators_that_are_gone_survive)
{
    gc_record_book *b;
    gc_records *r, *other;
    cr_assert_eq(gc_book_new(&b), 0);
    cr_assert_eq(gc_records_new(b, &other), 0);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(gc_records_new(b, &r), 0);
        gc_record(r, GC_DRAIN, 1000, 251000);
        gc_record(r, GC_ASSIST, 300000, 300100);
        gc_records_free(r);
    }
    cr_assert_eq(count_of(b, GC_DRAIN), 3);
    cr_assert_eq(count_of(b, GC_ALL), 6);
    cr_assert_eq(read_into.max, 250000);
    cr_assert_eq(read_into.sum, 3 * 250100);
    cr_assert_float_eq(gc_book_mmu(b, 1000000), 1 - 0.2501, 1e-9);
    gc_record(other, GC_DRAIN, 1000, 501000);
    cr_assert_float_eq(gc_book_mmu(b, 1000000), 0.5, 1e-9);
    cr_assert_float_eq(gc_book_mmu(b, 10000000), 0.95, 1e-9);
    gc_records_free(other);
    cr_assert_float_eq(gc_book_mmu(b, 100000000), 0.995, 1e-9);
    gc_book_free(b);
}

Test(book, stops_of_the_verifier_are_no_interruptions)
{
    gc_record_book *b;
    gc_records *r;
    cr_assert_eq(gc_book_new(&b), 0);
    cr_assert_eq(gc_records_new(b, &r), 0);
    gc_record(r, GC_VERIFY, 1000, 900000);
    cr_assert_eq(count_of(b, GC_VERIFY), 1);
    cr_assert_eq(count_of(b, GC_ALL), 0);
    cr_assert_eq(gc_book_mmu(b, 1000000), 1.0);
    gc_records_free(r);
    gc_book_free(b);
}

Test(book, a_reset_forgets_the_living_and_the_dead)
{
    gc_record_book *b;
    gc_records *r, *gone;
    cr_assert_eq(gc_book_new(&b), 0);
    cr_assert_eq(gc_records_new(b, &r), 0);
    cr_assert_eq(gc_records_new(b, &gone), 0);
    gc_record(r, GC_DRAIN, 1000, 901000);
    gc_record(gone, GC_DRAIN, 1000, 901000);
    gc_records_free(gone);
    gc_book_measure(b, GC_REACH, 77);
    gc_book_reset(b);
    cr_assert_eq(count_of(b, GC_ALL), 0);
    cr_assert_eq(read_into.max, 0);
    gc_book_read_measure(b, GC_REACH, &read_into);
    cr_assert_eq(read_into.count, 0);
    cr_assert_eq(gc_book_mmu(b, 1000000), 1.0);
    /* The window of this one reaches back to before the reset. */
    gc_record(r, GC_DRAIN, 902000, 903000);
    cr_assert_float_eq(gc_book_mmu(b, 1000000), 0.999, 1e-9);
    gc_records_free(r);
    gc_book_free(b);
}

#define WRITERS 3
#define LIVES   40
#define EACH    500

static gc_record_book *shared;
static atomic_int writing;

static void *come_record_and_go(void *arg)
{
    int64_t t = (int64_t)(intptr_t)arg;
    for (int life = 0; life < LIVES; life++) {
        gc_records *r;
        cr_assert_eq(gc_records_new(shared, &r), 0);
        for (int i = 0; i < EACH; i++, t += 100000)
            gc_record(r, (gc_kind)(i % GC_VERIFY), t, t + 1000);
        gc_records_free(r);
    }
    atomic_fetch_sub(&writing, 1);
    return NULL;
}

Test(book, sums_never_fall_while_mutators_record_and_go_and_are_exact_in_the_end)
{
    pthread_t t[WRITERS];
    uint64_t last = 0;
    cr_assert_eq(gc_book_new(&shared), 0);
    atomic_store(&writing, WRITERS);
    for (intptr_t i = 0; i < WRITERS; i++)
        cr_assert_eq(pthread_create(&t[i], NULL, come_record_and_go, (void *)(i * 10000000)), 0);
    while (atomic_load(&writing)) {
        uint64_t now = count_of(shared, GC_ALL);
        cr_assert(now >= last, "the sum fell from %lu to %lu", last, now);
        cr_assert(now == 0 || gc_histogram_quantile(&read_into, 1) >= 1000,
                  "a count without value");
        double u = gc_book_mmu(shared, 1000000);
        cr_assert(u >= 0.99 - 1e-9 && u <= 1.0, "utilisation %g", u);
        last = now;
    }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(t[i], NULL);
    cr_assert_eq(count_of(shared, GC_ALL), WRITERS * LIVES * EACH);
    cr_assert_eq(read_into.sum, (uint64_t)WRITERS * LIVES * EACH * 1000);
    cr_assert_float_eq(gc_book_mmu(shared, 1000000), 0.99, 1e-9);
    gc_book_free(shared);
}

Test(book, resets_while_mutators_record_leave_no_old_utilisation)
{
    pthread_t t;
    cr_assert_eq(gc_book_new(&shared), 0);
    atomic_store(&writing, 1);
    cr_assert_eq(pthread_create(&t, NULL, come_record_and_go, NULL), 0);
    while (atomic_load(&writing)) {
        gc_book_reset(shared);
        sched_yield(); /* the lock is not fair */
    }
    pthread_join(t, NULL);
    cr_assert(gc_book_mmu(shared, 1000000) >= 0.99 - 1e-9);
    cr_assert(count_of(shared, GC_ALL) <= LIVES * EACH);
    gc_book_free(shared);
}
