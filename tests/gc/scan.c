/* Scan kernels against the scalar one, and the scalar one against a loop too plain to be wrong.
 *
 * Words are drawn around the edges of the range (base - 1, base, base + size - 1, base + size) as
 * often as from inside and from far away, since a comparison that is off by one, or signed where it
 * should not be, fails only there. The memory that is scanned lies between two inaccessible pages,
 * with its last chosen word, or its first, next to one of them.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "gc/scan.h"

#define AREA  ((size_t)64 * 32768)
#define GUARD ((size_t)65536)

static const char *const names[] = {"scalar", "avx2", "avx512"};
static uint64_t seed = 0x9e3779b97f4a7c15;
static uint8_t *area;
static uintptr_t *out, *expected;

static uint64_t next(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

static void open_area(void)
{
    uint8_t *p = mmap(NULL, AREA + 2 * GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert(p != MAP_FAILED);
    area = p + GUARD;
    cr_assert(mprotect(area, AREA, PROT_READ | PROT_WRITE) == 0);
    out = malloc((AREA / 8 + 8) * sizeof *out);
    expected = malloc((AREA / 8 + 8) * sizeof *expected);
}

static uintptr_t draw(uintptr_t base, size_t size)
{
    switch (next() % 10) {
    case 0: return base - 1;
    case 1: return base;
    case 2: return base + size - 1;
    case 3: return base + size;
    case 4: return 0;
    case 5: return next();
    case 6: return base ^ (uintptr_t)1 << 63;
    default: return size ? base + next() % size : base;
    }
}

static void draw_range(uintptr_t *base, size_t *size)
{
    static const uintptr_t bases[] = {0x7f0000000000,
                                      0x100000,
                                      0xfffffffff0000000,
                                      (uintptr_t)1 << 63,
                                      ((uintptr_t)1 << 63) - 4096,
                                      0};
    static const size_t sizes[] = {(size_t)1 << 38, 4096, 1, 0, SIZE_MAX, (size_t)1 << 63};
    *base = bases[next() % 6];
    *size = sizes[next() % 3 ? 0 : next() % 6];
}

static void fill(uintptr_t from, size_t words, uintptr_t base, size_t size)
{
    for (size_t i = 0; i < words; i++)
        ((uintptr_t *)from)[i] = draw(base, size);
}

static size_t plain_objects(uintptr_t first, size_t slot, uint64_t todo, uint64_t mask,
                            uintptr_t base, size_t size, uintptr_t *to)
{
    size_t n = 0;
    for (size_t s = 0; s < 64; s++)
        for (size_t w = 0; w < 64; w++) {
            if (!(todo >> s & 1) || !(mask >> w & 1))
                continue;
            uintptr_t v = *(uintptr_t *)(first + s * slot + w * 8);
            if (v - base < size)
                to[n++] = v;
        }
    return n;
}

static void check_same(const gc_scan_kernel *k, size_t n, size_t m, const char *what)
{
    cr_assert(n == m, "%s of %s found %zu words, not %zu", what, k->name, n, m);
    cr_assert(memcmp(out, expected, n * sizeof *out) == 0, "%s of %s found other words", what,
              k->name);
}

static const uintptr_t canary = 0xc0ffee;

static void check_filter(const gc_scan_kernel *k, uintptr_t from, size_t count, uintptr_t base,
                         size_t size)
{
    out[count] = canary;
    size_t n = k->filter((void *)from, count, base, size, out);
    cr_assert(out[count] == canary, "filter of %s wrote beyond `count` words", k->name);
    size_t m = 0;
    for (size_t i = 0; i < count; i++) {
        uintptr_t w = ((uintptr_t *)from)[i];
        if (w - base < size)
            expected[m++] = w;
    }
    check_same(k, n, m, "filter");
}

static void check_objects(const gc_scan_kernel *k, uintptr_t first, size_t slot, uint64_t todo,
                          uint64_t mask, uintptr_t base, size_t size)
{
    size_t most = (size_t)(__builtin_popcountll(todo) * __builtin_popcountll(mask));
    out[most + 8] = canary;
    size_t n = k->objects(first, slot, todo, mask, base, size, out);
    cr_assert(out[most + 8] == canary, "objects of %s wrote beyond its room", k->name);
    size_t m = plain_objects(first, slot, todo, mask, base, size, expected);
    check_same(k, n, m, "objects");
}

static void for_each_kernel(void (*fn)(const gc_scan_kernel *))
{
    open_area();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const gc_scan_kernel *k = gc_scan_named(names[i]);
        if (k)
            fn(k);
    }
}

static uint64_t draw_pattern(void)
{
    switch (next() % 5) {
    case 0: return ~(uint64_t)0;
    case 1: return (uint64_t)1 << next() % 64;
    case 2: return next() & next() & next();
    case 3: return next() | next();
    default: return next();
    }
}

static void filters_every_length(const gc_scan_kernel *k)
{
    for (size_t round = 0; round < 40; round++)
        for (size_t count = 0; count <= 70; count++) {
            uintptr_t base, from = (uintptr_t)area + next() % 64 * 8;
            size_t size;
            draw_range(&base, &size);
            fill(from, count, base, size);
            check_filter(k, from, count, base, size);
        }
}

Test(scan, filter_finds_what_a_plain_loop_finds_at_every_length_and_alignment)
{
    for_each_kernel(filters_every_length);
}

static void filters_between_guards(const gc_scan_kernel *k)
{
    uintptr_t base = 0x7f0000000000;
    for (size_t count = 0; count <= 40; count++) {
        uintptr_t last = (uintptr_t)area + AREA - count * 8;
        fill(last, count, base, 4096);
        check_filter(k, last, count, base, 4096);
        fill((uintptr_t)area, count, base, 4096);
        check_filter(k, (uintptr_t)area, count, base, 4096);
    }
}

Test(scan, filter_reads_no_word_beside_those_asked_for)
{
    for_each_kernel(filters_between_guards);
}

#if defined(__SANITIZE_ADDRESS__)
#define POISONING 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISONING 1
#endif
#endif

#ifdef POISONING
#include <sanitizer/asan_interface.h>

static void scans_poisoned(const gc_scan_kernel *k)
{
    uintptr_t base = 0x7f0000000000;
    fill((uintptr_t)area, 64, base, 4096);
    ASAN_POISON_MEMORY_REGION(area, 512);
    k->filter(area, 61, base, 4096, out);
    for (size_t slot = 8; slot <= 64; slot += 8)
        for (uint64_t mask = 1; mask < 256; mask = mask * 2 + 1)
            k->objects((uintptr_t)area, slot, 0x7f, mask & ((1u << slot / 8) - 1), base, 4096, out);
    ASAN_UNPOISON_MEMORY_REGION(area, 512);
}

Test(scan, red_zones_of_the_address_sanitizer_may_be_scanned)
{
    for_each_kernel(scans_poisoned);
}
#endif

static const size_t slots[] = {8,   16,  24,  32,  40,  48,  56,  64,  72,   80,   96,   112,
                               128, 160, 256, 320, 448, 512, 520, 768, 1024, 4096, 32768};

static uint64_t fitting(uint64_t mask, size_t slot)
{
    return slot >= 512 ? mask : mask & (((uint64_t)1 << slot / 8) - 1);
}

static void scans_random_objects(const gc_scan_kernel *k)
{
    for (size_t s = 0; s < sizeof slots / sizeof *slots; s++)
        for (size_t round = 0; round < 300; round++) {
            size_t slot = slots[s], size;
            uint64_t todo = draw_pattern(), mask = fitting(draw_pattern(), slot);
            uintptr_t base, first = (uintptr_t)area + (slot < 32768 ? next() % 8 * 8 : 0);
            draw_range(&base, &size);
            for (size_t i = 0; i < 64; i++)
                fill(first + i * slot, slot < 512 ? slot / 8 : 64, base, size);
            check_objects(k, first, slot, todo, mask, base, size);
        }
}

Test(scan, objects_finds_what_a_plain_loop_finds)
{
    for_each_kernel(scans_random_objects);
}

static void scans_small_exhaustively(const gc_scan_kernel *k)
{
    uintptr_t base = 0x7f0000000000, first = (uintptr_t)area;
    fill(first, 64, base, 4096);
    for (size_t slot = 8; slot <= 48; slot += 8)
        for (uint64_t mask = 0; mask < (uint64_t)1 << slot / 8; mask++)
            for (uint64_t todo = 0; todo < 256; todo++)
                check_objects(k, first, slot, todo, mask, base, 4096);
}

Test(scan, objects_is_right_for_every_mask_of_six_words_and_every_eight_slots)
{
    for_each_kernel(scans_small_exhaustively);
}

/* Gives every word that may be read a value, and leaves the gaps between large slots alone. */
static void fill_chosen(uintptr_t first, size_t slot, uint64_t todo, uint64_t mask, uintptr_t base)
{
    for (; todo; todo &= todo - 1)
        for (uint64_t m = mask; m; m &= m - 1)
            fill(first + (size_t)__builtin_ctzll(todo) * slot + (size_t)__builtin_ctzll(m) * 8, 1,
                 base, 4096);
}

static void scans_between_guards(const gc_scan_kernel *k)
{
    uintptr_t base = 0x7f0000000000;
    for (size_t s = 0; s < sizeof slots / sizeof *slots; s++)
        for (size_t round = 0; round < 300; round++) {
            size_t slot = slots[s];
            uint64_t todo = draw_pattern(), mask = fitting(draw_pattern(), slot);
            if (!todo || !mask)
                continue;
            size_t hi = (size_t)(63 - __builtin_clzll(todo)) * slot +
                        (size_t)(64 - __builtin_clzll(mask)) * 8;
            size_t lo = (size_t)__builtin_ctzll(todo) * slot + (size_t)__builtin_ctzll(mask) * 8;
            uintptr_t at_end = (uintptr_t)area + AREA - hi, at_start = (uintptr_t)area - lo;
            fill_chosen(at_end, slot, todo, mask, base);
            check_objects(k, at_end, slot, todo, mask, base, 4096);
            fill_chosen(at_start, slot, todo, mask, base);
            check_objects(k, at_start, slot, todo, mask, base, 4096);
        }
}

Test(scan, objects_reads_no_word_outside_the_first_and_the_last_one_chosen)
{
    for_each_kernel(scans_between_guards);
}

static void reads_only_the_mask(const gc_scan_kernel *k)
{
    /* Slots of 32 KiB, one word of each, every other page inaccessible. */
    uint64_t todo = 0x0f0f, mask = (uint64_t)1 << 3 | (uint64_t)1 << 40;
    for (size_t i = 0; i < 64; i++)
        cr_assert(mprotect(area + i * 32768, 4096,
                           todo >> i & 1 ? PROT_READ | PROT_WRITE : PROT_NONE) == 0);
    for (size_t i = 0; i < 64; i++)
        if (todo >> i & 1)
            fill((uintptr_t)area + i * 32768, 64, 0x7f0000000000, 4096);
    check_objects(k, (uintptr_t)area, 32768, todo, mask, 0x7f0000000000, 4096);
    cr_assert(mprotect(area, AREA, PROT_READ | PROT_WRITE) == 0);
}

Test(scan, objects_reads_nothing_of_slots_left_out)
{
    for_each_kernel(reads_only_the_mask);
}

Test(scan, unknown_kernels_have_no_name_and_the_best_one_has)
{
    cr_assert_null(gc_scan_named("mmx"));
    cr_assert_null(gc_scan_named(""));
    cr_assert_not_null(gc_scan_named("scalar"));
    cr_assert_eq(gc_scan_named(gc_scan_best()->name), gc_scan_best());
}

static double microseconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static double filter_time(const gc_scan_kernel *k, const void *words, size_t count)
{
    double best = 1e9;
    for (int i = 0; i < 20; i++) {
        double start = microseconds();
        k->filter(words, count, 0x7f0000000000, 4096, out);
        double took = microseconds() - start;
        best = took < best ? took : best;
    }
    cr_log_info("%s filters %zu words in %.0f us", k->name, count, best);
    return best;
}

Test(scan, the_best_kernel_is_no_slower_than_the_scalar_one)
{
    open_area();
    size_t count = (size_t)1 << 17;
    fill((uintptr_t)area, count, 0x7f0000000000, 4096);
    double plain = filter_time(&gc_scan_scalar, area, count);
    double best = filter_time(gc_scan_best(), area, count);
    /* Sanitizers and -O1 slow the intrinsics down more than the plain loop. */
    cr_assert(best < 3 * plain, "%.0f us against %.0f us", best, plain);
}
