// Random decisions that a seed replays.
//
// The problem: a torture build finds a fault by chance, and a fault found once is worth little. Rejected:
// one stream for all threads (the order in which they draw differs from run to run, so that the whole
// sequence does), and recording decisions (the recording changes the timing more than the decision does).
//
// The invariant: the n-th decision of a thread depends on the seed, the thread's number and n alone. It
// holds but for a signal handler that draws in the middle of its own thread's draw, when both may get the
// same number.

#include "os/replay.h"

#ifdef TRI_DELAYS

#include "os/random.h"
#include "os/report.h"

#include <stdatomic.h>

static _Atomic uint64_t chosen;
static _Atomic uint32_t generation; // 0: there is no seed yet
static _Atomic uint32_t threads;

// Drawn from in handlers: a model that allocates nothing at the first use.
static __thread struct {
    uint64_t state;
    uint32_t generation;
    uint32_t number; // 0: none
} stream __attribute__((tls_model("initial-exec")));

void os_replay_seed(uint64_t seed)
{
    atomic_store_explicit(&chosen, seed, memory_order_relaxed);
    // Release pairs with the acquire in os_replay_below: the seed is there when it counts.
    atomic_fetch_add_explicit(&generation, 1, memory_order_release);
}

uint64_t os_replay_get_seed(void)
{
    if (!atomic_load_explicit(&generation, memory_order_acquire))
        os_replay_seed(os_random() >> 32);
    return atomic_load_explicit(&chosen, memory_order_relaxed);
}

void os_replay_tell(void)
{
    if (atomic_load_explicit(&generation, memory_order_acquire))
        os_print("tricolor: torture: TRICOLOR=seed=%llu makes the same random decisions\n",
                 (unsigned long long)os_replay_get_seed());
}

uint32_t os_replay_number(void)
{
    return atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed) + 1;
}

void os_replay_begin(uint32_t number)
{
    stream.number = number;
}

static __attribute__((noinline)) void begin_stream(uint32_t now)
{
    if (!stream.number)
        stream.number = os_replay_number();
    uint64_t state = os_replay_get_seed() + stream.number;
    stream.state = os_random_next(&state);
    stream.generation = now;
}

// Never inlined: a coroutine must not keep the address of a thread's stream across a switch.
__attribute__((noinline)) uint32_t os_replay_below(uint32_t n)
{
    uint32_t now = atomic_load_explicit(&generation, memory_order_acquire);
    if (!now || stream.generation != now) {
        os_replay_get_seed();
        begin_stream(atomic_load_explicit(&generation, memory_order_acquire));
    }
    return os_random_below(&stream.state, n);
}

#endif
