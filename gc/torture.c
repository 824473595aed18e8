/* The torture build: a cycle at every so many allocations, delays at named points, a seed.
 *
 * The other half of a torture build are its constants (runs of one slot, buffers of two words, ...), which stand
 * where they are defined. Here is what is random. The decisions are drawn from os/replay.h, so that a
 * seed brings them back; docs/torture.md says how far that goes.
 *
 * Rejected: to wait for the cycle that an allocation starts. Waiting would make the program meet each
 * cycle at the same point; it shall be everywhere when a handshake comes.
 *
 * A program that has turned collections off (gogc=-1) is left alone by the allocations, for it depends on that.
 */
#include "gc/torture.h"

#ifdef TRI_DELAYS

#include <stdlib.h>
#include <string.h>

#include "barrier/sabotage.h"
#include "gc/state.h"
#include "os/delay.h"
#include "os/replay.h"
#include "os/report.h"

#define EVERY 64u

static _Atomic uint32_t every = EVERY;
static _Atomic bool opened, delays_chosen;

static int read_number(const char *text, uint64_t most, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (end == text || *end || errno || n > most || *text == '-')
        return -EINVAL;
    *out = n;
    return 0;
}

static int set_delay(const char *rule)
{
    if (strcmp(rule, "none") == 0)
        rule = NULL;
    /* The first rule takes the place of the default ones. */
    if (!atomic_exchange(&delays_chosen, true))
        os_delay_configure(NULL);
    return os_delay_configure(rule) ? -EINVAL : 0;
}

int gc_torture_option(const char *name, const char *value)
{
    bool is_seed = strcmp(name, "seed") == 0, is_every = strcmp(name, "every") == 0;
    uint64_t n;
    if (is_seed || is_every) {
        if (!value || read_number(value, is_seed ? UINT64_MAX : UINT32_MAX / 2, &n))
            return -EINVAL;
        if (is_every)
            atomic_store_explicit(&every, (uint32_t)n, memory_order_relaxed);
        else if (n != os_replay_get_seed())
            os_replay_seed(n);
        return 0;
    }
    if (strcmp(name, "delay") == 0)
        return value ? set_delay(value) : -EINVAL;
    if (strcmp(name, "sabotage") == 0)
        return value && barrier_sabotage(value) == 0 ? 0 : -EINVAL;
    return -ENOENT;
}

/* What a torture build does unless it is told otherwise: everything is late now and then, handshakes and new
 * threads often. */
#ifdef TRI_TORTURE
#define DEFAULT_DELAYS "*:60:0.5,handshake.*:60:5,cycle.*:200:10,thread.start:500:50"
#else
#define DEFAULT_DELAYS "*:0:0"
#endif

void gc_torture_open(void)
{
    if (atomic_exchange(&opened, true))
        return;
    if (!atomic_exchange(&delays_chosen, true))
        os_delay_configure(DEFAULT_DELAYS);
    os_replay_tell();
    if (barrier_sabotage_name())
        os_print("tricolor: SABOTAGED on purpose (%s): %s\n", barrier_sabotage_name(),
                 barrier_sabotage_words());
}

#endif

#ifdef TRI_TORTURE

void gc_torture_allocation(gc_mutator *m)
{
    uint32_t n = atomic_load_explicit(&every, memory_order_relaxed);
    if (!n || os_replay_below(n))
        return;
    if (atomic_load_explicit(&gc_of(m->heap)->gogc, memory_order_relaxed) >= 0)
        gc_trigger(m->heap);
}

#endif
