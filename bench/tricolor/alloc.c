/* alloc: objects that die at once, by size, with and without pointers, on one and two Ps.
 *
 * Small objects with pointers are made by tri_make(), which writes all of them; for larger ones
 * tri_new() has already cleared the memory, and tri_init() writes the one field that is not empty. A
 * shape has a loop of its own, in which the compiler knows type and size, as in a user's program.
 */
#include "bench.h"

#include <stdio.h>
#include <string.h>

/* A type, and the loop that makes objects of it. */
#define FLAT(size)                                            \
    struct flat##size {                                       \
        uint64_t first, rest[(size) / 8 - 2], last;           \
    };                                                        \
    TRI_TYPE(flat##size, struct flat##size);                  \
    static uint64_t flat##size##_loop(uint64_t m, uint64_t n) \
    {                                                         \
        uint64_t sum = 0;                                     \
        for (uint64_t i = 0; i < n; i++) {                    \
            struct flat##size *o = tri_new(&flat##size);      \
            o->first = i + m;                                 \
            o->last = i + m;                                  \
            tri_keep_alive(o);                                \
            sum += o->first + o->last;                        \
        }                                                     \
        return sum;                                           \
    }                                                         \
    _Static_assert(sizeof(struct flat##size) == (size), "a shape has its size")

#define PTRS_TYPE(size)                                     \
    struct ptrs##size {                                     \
        struct ptrs##size *first, *others[(size) / 16 - 1]; \
        uint64_t rest[(size) / 16 - 1], last;               \
    };                                                      \
    TRI_TYPE(ptrs##size, struct ptrs##size, first, others)

#define PTRS_LOOP(size, make)                                       \
    static uint64_t ptrs##size##_loop(uint64_t m, uint64_t n)       \
    {                                                               \
        struct ptrs##size *anchor = tri_new(&ptrs##size);           \
        uint64_t sum = 0;                                           \
        for (uint64_t i = 0; i < n; i++) {                          \
            struct ptrs##size *o = make(ptrs##size, anchor, i + m); \
            tri_keep_alive(o);                                      \
            sum += o->last + (o->first == anchor ? 1 : 0);          \
        }                                                           \
        tri_keep_alive(anchor);                                     \
        return sum;                                                 \
    }                                                               \
    _Static_assert(sizeof(struct ptrs##size) == (size), "a shape has its size")

#define WHOLE(type, anchor, v) tri_make(type, .first = (anchor), .last = (v))

#define CLEARED(type, anchor, v)              \
    __extension__({                           \
        struct type *new_ = tri_new(&(type)); \
        tri_init(&new_->first, anchor);       \
        new_->last = (v);                     \
        new_;                                 \
    })

FLAT(16);
FLAT(64);
FLAT(256);
FLAT(1024);

/* 16 bytes have no room for other fields. */
struct ptrs16 {
    struct ptrs16 *first;
    uint64_t last;
};
TRI_TYPE(ptrs16, struct ptrs16, first);
PTRS_TYPE(64);
PTRS_TYPE(256);
PTRS_TYPE(1024);
PTRS_LOOP(16, WHOLE);
PTRS_LOOP(64, WHOLE);
PTRS_LOOP(256, CLEARED);
PTRS_LOOP(1024, CLEARED);

static const struct shape {
    const char *name;
    uint64_t objects;
    uint64_t (*loop)(uint64_t m, uint64_t n);
} shapes[] = {
    {"flat.16", UINT64_C(1) << 26, flat16_loop}, {"flat.64", 1 << 25, flat64_loop},
    {"flat.256", 1 << 24, flat256_loop},         {"flat.1024", 1 << 22, flat1024_loop},
    {"ptrs.16", UINT64_C(1) << 26, ptrs16_loop}, {"ptrs.64", 1 << 25, ptrs64_loop},
    {"ptrs.256", 1 << 24, ptrs256_loop},         {"ptrs.1024", 1 << 22, ptrs1024_loop},
};

static const struct shape *shape;
static unsigned mutators;
static uint64_t objects;
static tri_waitgroup warm, done;
static tri_chan *start; /* a root: closed when all are warm */
static uint64_t sums[2];

static void allocate(void *arg)
{
    uint64_t m = (uintptr_t)arg;
    shape->loop(m, objects / 16);
    tri_waitgroup_done(&warm);
    tri_chan_recv(tri_load(&start), NULL);
    sums[m] = shape->loop(m, objects);
    tri_waitgroup_done(&done);
}

static bool prepare(bench *b)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        size_t length = strlen(shapes[i].name);
        const char *rest = b->variant + length;
        if (strncmp(b->variant, shapes[i].name, length) != 0)
            continue;
        if (strcmp(rest, ".t1") == 0 || strcmp(rest, ".t2") == 0) {
            shape = &shapes[i];
            mutators = rest[2] == '1' ? 1 : 2;
        }
    }
    if (!b->options.procs)
        b->options.procs = mutators;
    return shape != NULL;
}

static void run(bench *b)
{
    objects = bench_scaled(b, shape->objects, 1);
    if (tri_root_add(b->heap, &start, 1))
        bench_die("no memory for a root");
    tri_set(&start, tri_chan_new(&tri_words, 0));
    tri_waitgroup_add(&warm, (int)mutators);
    tri_waitgroup_add(&done, (int)mutators);
    for (uintptr_t m = 0; m < mutators; m++)
        bench_go(allocate, (void *)m);
    tri_waitgroup_wait(&warm);
    bench_span begin = bench_begin();
    tri_chan_close(tri_load(&start));
    tri_waitgroup_wait(&done);
    bench_span took = bench_end(begin);

    double all = (double)objects * mutators;
    bench_print(b, "alloc", (double)took.wall / all, "ns");
    bench_print(b, "alloc_cpu", (double)took.cpu / all, "ns");
    bench_print_checksum(b, NULL, sums[0] + sums[1]);
}

const workload bench_alloc = {"alloc", prepare, run};
