/* What the tests of coroutines that share stacks have in common. */
#ifndef TESTS_RUNTIME_SHARED_H
#define TESTS_RUNTIME_SHARED_H

#include "fixture.h"

/* Where nothing can be shared (sanitizers), the same must hold, but nothing is put away. */
#define SHARING (sched_fiber_can_share())

TRI_TYPE(number, long);

typedef struct node {
    struct node *next;
    long value;
} node;
TRI_TYPE(node_type, node, next);

static tri_waitgroup wg;
static _Atomic long wrong; /* checks that failed in coroutines, which cannot assert */
static _Atomic long ready;
static tri_chan *gate;

static inline void check(bool ok)
{
    if (!ok)
        wrong++;
}

static inline void run_with(unsigned procs, unsigned sharers, bool verify, void (*fn)(void *))
{
    tri_options o;
    cr_assert_eq(tri_options_init(&o), 0);
    o.procs = procs;
    o.sharers = sharers;
    o.verify = verify;
    cr_assert_eq(tri_run(&o, fn, NULL), 0);
    cr_assert_eq(wrong, 0, "%ld checks failed in coroutines", wrong);
}

static inline void make_gate(size_t capacity)
{
    cr_assert_eq(tri_root_add(tri_current_heap(), &gate, 1), 0);
    tri_set(&gate, tri_chan_new(&number, capacity));
}

static inline void wait_until(_Atomic long *count, long n)
{
    while (*count < n)
        tri_sleep(MS);
}

static inline sched_stats stats(void)
{
    sched_stats st;
    cr_assert(sched_read_stats(tri_current_heap(), &st, true));
    return st;
}

/* Stacks for n coroutines: those that are in a P's hand or not wholly used may be as many again. */
static inline uint64_t stacks_for(long n)
{
    return 2 * (uint64_t)n / tri_current_heap()->sched->sharers + 16;
}

/* Locals whose values say whose they are. Opaque, so that they lie on the stack. */
typedef struct pattern {
    uint64_t word[16];
} pattern;

static TRI_NOINLINE void fill(pattern *p, uint64_t who)
{
    for (int i = 0; i < 16; i++)
        p->word[i] = who * 0x9e3779b97f4a7c15u + (uint64_t)i;
    __asm__ volatile("" : : "r"(p) : "memory");
}

static TRI_NOINLINE void verify(const pattern *p, uint64_t who)
{
    __asm__ volatile("" : : "r"(p) : "memory");
    for (int i = 0; i < 16; i++)
        check(p->word[i] == who * 0x9e3779b97f4a7c15u + (uint64_t)i);
}

static inline void wait_at_gate(void *arg)
{
    pattern p;
    fill(&p, (uint64_t)(uintptr_t)arg);
    ready++;
    long v = -1;
    check(tri_chan_recv(gate, &v) == 0 && v == 0);
    verify(&p, (uint64_t)(uintptr_t)arg);
    tri_waitgroup_done(&wg);
}

static TRI_NOINLINE node *make_list(long who)
{
    node *list = NULL;
    for (long i = 0; i < 5; i++)
        list = tri_make(node_type, .next = list, .value = who * 10 + i);
    return list;
}

static TRI_NOINLINE void check_list(const node *list, long who)
{
    for (long i = 5; i-- > 0; list = list->next) {
        check(list && list->value == who * 10 + i);
        if (!list)
            return;
    }
    check(!list);
}

#endif
