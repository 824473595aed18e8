/* Objects that only a channel holds: in its buffer, in the slot of a parked sender, on the way from
 * stack to stack.
 *
 * Half of the workers produce, half consume, over channels of different capacities and two element
 * types. Each consumer sees the parcels of one producer in the order in which they were sent; the
 * numbers that went in are added up, and those that came out, and both sums must agree.
 *
 * ctest: timeout=3600
 */
#include <criterion/criterion.h>
#include <errno.h>

#include "support/stress.h"

#define WORKERS   6
#define PRODUCERS (WORKERS / 2)
#define CHANNELS  PRODUCERS
#define CHAIN     4

typedef struct chain {
    struct chain *next;
    uint64_t magic;
} chain;
TRI_TYPE(chain_type, chain, next);

/* What travels: by value, with pointers around a word that is none. */
typedef struct parcel {
    chain *head;
    uint64_t number;
    chain *again;
    uint32_t producer, pad;
} parcel;
TRI_TYPE(parcel_type, parcel, head, again);

static const size_t capacities[CHANNELS] = {0, 1, 64};

typedef struct post {
    tri_chan *channels[CHANNELS]; /* roots */
    int64_t deadline;
    _Atomic unsigned producing;
    _Atomic uint64_t in, out, parcels;
} post;

static void setup(void *arg)
{
    post *p = arg;
    STRESS_CHECK(tri_root_add(tri_current_heap(), p->channels, CHANNELS) == 0, "no root");
    for (unsigned i = 0; i < CHANNELS; i++)
        tri_set(&p->channels[i], tri_chan_new(&parcel_type, capacities[i]));
    p->producing = PRODUCERS;
    p->deadline = stress_deadline(stress_seconds());
}

static parcel parcel_new(uint32_t producer, uint64_t number)
{
    chain *head = NULL;
    for (unsigned i = 0; i < CHAIN; i++)
        head = tri_make(chain_type, .next = head, .magic = stress_mix(number + i));
    return (parcel){.head = head, .number = number, .again = head->next, .producer = producer};
}

static void parcel_check(const parcel *p)
{
    const chain *c = p->head;
    STRESS_CHECK(c && c->next == p->again, "a parcel has lost its second pointer");
    for (unsigned i = CHAIN; i-- > 0; c = c->next)
        STRESS_CHECK(c && c->magic == stress_mix(p->number + i), "link %u of a parcel is lost", i);
}

static void produce(post *p, unsigned index)
{
    uint64_t seed = stress_mix(index), number = (uint64_t)index << 40;
    while (!stress_over(p->deadline)) {
        parcel sent = parcel_new(index, number += CHAIN);
        tri_chan *c = p->channels[stress_random(&seed) % CHANNELS];
        p->in += number;
        if (number % 3 || tri_chan_try_send(c, &sent) == -EAGAIN)
            STRESS_CHECK(tri_chan_send(c, &sent) == 0, "a channel is closed too early");
    }
    if (atomic_fetch_sub(&p->producing, 1) > 1)
        return;
    for (unsigned i = 0; i < CHANNELS; i++)
        STRESS_CHECK(tri_chan_close(p->channels[i]) == 0, "a channel is closed already");
}

/* False: the channel is closed and empty. Receives to the stack or into a heap object. */
static bool consume_one(post *p, tri_chan *c, uint64_t *newest)
{
    parcel on_stack, *in_heap = tri_new(&parcel_type);
    parcel *to = p->parcels % 2 ? &on_stack : in_heap;
    int got = tri_chan_try_recv(c, to);
    if (got == -EAGAIN)
        got = tri_chan_recv(c, to);
    if (got == 0)
        return false;
    STRESS_CHECK(got == 1, "receiving fails: %d", got);
    parcel_check(to);
    STRESS_CHECK(to->producer < PRODUCERS && to->number > newest[to->producer],
                 "a parcel overtook another");
    newest[to->producer] = to->number;
    p->out += to->number;
    p->parcels++;
    return true;
}

static void consume(post *p, unsigned index)
{
    uint64_t newest[PRODUCERS] = {0};
    while (consume_one(p, p->channels[index], newest)) {}
}

static void work(void *arg, unsigned index)
{
    /* With threads at odd places, both roles shall be played by both kinds. */
    static const struct {
        bool produces;
        unsigned index;
    } roles[WORKERS] = {{true, 0}, {true, 1}, {false, 0}, {false, 1}, {true, 2}, {false, 2}};
    if (roles[index].produces)
        produce(arg, roles[index].index);
    else
        consume(arg, roles[index].index);
}

static void check(void *arg)
{
    post *p = arg;
    STRESS_CHECK(p->in == p->out, "what came out is not what went in");
    tri_clear(p->channels, CHANNELS);
    tri_root_remove(tri_current_heap(), p->channels);
}

static void run(stress_mode mode, bool poll_only)
{
    post p = {0};
    stress_job job = {.mode = mode,
                      .poll_only = poll_only,
                      .workers = WORKERS,
                      .setup = setup,
                      .work = work,
                      .check = check,
                      .arg = &p};
    stress_run(&job);
    STRESS_CHECK(job.cycles > 0 && p.parcels > 100, "too little happened");
}

Test(stress_channels, coroutines_lose_no_parcel)
{
    run(STRESS_COROUTINES, false);
}

Test(stress_channels, threads_lose_no_parcel)
{
    run(STRESS_THREADS, false);
}

Test(stress_channels, coroutines_and_threads_lose_no_parcel)
{
    run(STRESS_BOTH, false);
}

Test(stress_channels, polling_coroutines_and_threads_lose_no_parcel)
{
    run(STRESS_BOTH, true);
}
