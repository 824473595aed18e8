/* Size classes and the shape of spans.
 *
 * Arrays, whose sizes nobody knows beforehand, are rounded up to one of 67 sizes. They are Go's: the
 * loss by rounding stays below 12.5 % for nearly all sizes, and tools that read MemStats.BySize know
 * them. Single objects of a type are not rounded up to a class: a span belongs to one type, so its
 * slots may have exactly the type's size, and a struct of 72 bytes does not cost 80.
 *
 * A span costs a trip to the page heap, a few cache lines of metadata, and whatever does not fit at
 * its end. So it shall have many slots, but not so many bytes that one long-lived object in each span
 * holds much memory. A span is the smallest with 64 slots (one page for slots of up to 128 bytes), or,
 * beyond what 16 pages hold, the one with the most slots; either way less than an eighth is lost at
 * the end. With 32 slots, allocating and sweeping 256-byte objects took twice the time.
 *
 * Go instead minimises the loss and lets the number of slots fall to one; a span of one 32 KiB
 * object would make each such allocation a trip to the page heap.
 *
 * Invariant: a span is at most 128 KiB and a slot at most 32 KiB, so the division by multiplication
 * is exact (heap_magic).
 */
#include "heap/sizeclass.h"

const uint16_t heap_class_sizes[HEAP_SIZE_CLASSES] = {
    0,     8,     16,    24,    32,    48,    64,    80,    96,    112,   128,   144,
    160,   176,   192,   208,   224,   240,   256,   288,   320,   352,   384,   416,
    448,   480,   512,   576,   640,   704,   768,   896,   1024,  1152,  1280,  1408,
    1536,  1792,  2048,  2304,  2688,  3072,  3200,  3456,  4096,  4864,  5376,  6144,
    6528,  6784,  6912,  8192,  9472,  9728,  10240, 10880, 12288, 13568, 14336, 16384,
    18432, 19072, 20480, 21760, 24576, 27264, 28672, 32768,
};

/* By (bytes + 7) / 8 up to 1024 bytes; by (bytes - 1024 + 127) / 128 beyond: all sizes of classes
 * above 1024 are multiples of 128. */
static const uint8_t class_by_8[1024 / 8 + 1] = {
    0,  1,  2,  3,  4,  5,  5,  6,  6,  7,  7,  8,  8,  9,  9,  10, 10, 11, 11, 12, 12, 13,
    13, 14, 14, 15, 15, 16, 16, 17, 17, 18, 18, 19, 19, 19, 19, 20, 20, 20, 20, 21, 21, 21,
    21, 22, 22, 22, 22, 23, 23, 23, 23, 24, 24, 24, 24, 25, 25, 25, 25, 26, 26, 26, 26, 27,
    27, 27, 27, 27, 27, 27, 27, 28, 28, 28, 28, 28, 28, 28, 28, 29, 29, 29, 29, 29, 29, 29,
    29, 30, 30, 30, 30, 30, 30, 30, 30, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31,
    31, 31, 31, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32, 32,
};
static const uint8_t class_by_128[(HEAP_SMALL_MAX - 1024) / 128 + 1] = {
    32, 33, 34, 35, 36, 37, 37, 38, 38, 39, 39, 40, 40, 40, 41, 41, 41, 42, 43, 43, 44, 44, 44,
    44, 44, 45, 45, 45, 45, 45, 45, 46, 46, 46, 46, 47, 47, 47, 47, 47, 47, 48, 48, 48, 49, 49,
    50, 51, 51, 51, 51, 51, 51, 51, 51, 51, 51, 52, 52, 52, 52, 52, 52, 52, 52, 52, 52, 53, 53,
    54, 54, 54, 54, 55, 55, 55, 55, 55, 56, 56, 56, 56, 56, 56, 56, 56, 56, 56, 56, 57, 57, 57,
    57, 57, 57, 57, 57, 57, 57, 58, 58, 58, 58, 58, 58, 59, 59, 59, 59, 59, 59, 59, 59, 59, 59,
    59, 59, 59, 59, 59, 59, 60, 60, 60, 60, 60, 60, 60, 60, 60, 60, 60, 60, 60, 60, 60, 60, 61,
    61, 61, 61, 61, 62, 62, 62, 62, 62, 62, 62, 62, 62, 62, 62, 63, 63, 63, 63, 63, 63, 63, 63,
    63, 63, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64,
    64, 65, 65, 65, 65, 65, 65, 65, 65, 65, 65, 65, 65, 65, 65, 65, 65, 65, 65, 65, 65, 65, 66,
    66, 66, 66, 66, 66, 66, 66, 66, 66, 66, 67, 67, 67, 67, 67, 67, 67, 67, 67, 67, 67, 67, 67,
    67, 67, 67, 67, 67, 67, 67, 67, 67, 67, 67, 67, 67, 67, 67, 67, 67, 67, 67,
};

uint32_t heap_size_class(size_t bytes)
{
    TRI_ASSERT(bytes > 0 && bytes <= HEAP_SMALL_MAX, "size class of a large object, or of nothing");
    if (bytes <= 1024)
        return class_by_8[(bytes + 7) / 8];
    return class_by_128[(bytes - 1024 + 127) / 128];
}

#ifdef TRI_TORTURE
#define WANTED_SLOTS 1 /* one page, or as few as lose little */
#else
#define WANTED_SLOTS 64
#endif

uint32_t heap_span_pages(size_t size)
{
    TRI_ASSERT(size >= 8 && size <= HEAP_SMALL_MAX && size % 8 == 0, "no size of a slot");
    uint32_t best = 0;
    size_t best_slots = 0;
    for (uint32_t pages = 1; pages <= HEAP_SPAN_PAGES_MAX; pages++) {
        size_t bytes = pages * HEAP_PAGE;
        size_t slots = bytes / size;
        if ((bytes - slots * size) * 8 >= bytes || slots <= best_slots)
            continue;
        best = pages;
        best_slots = slots;
        if (slots >= WANTED_SLOTS)
            break;
    }
    return best;
}

/* Let e = magic * size - 2^32 < size. offset * magic / 2^32 exceeds offset / size by
 * offset * e / (size * 2^32), which must stay below 1 / size: offset * e < 2^32. A span has at most
 * 2^17 bytes and a slot at most 2^15, and offset and e are smaller still. */
uint32_t heap_magic(size_t size)
{
    return (uint32_t)((((uint64_t)1 << 32) + size - 1) / size);
}
