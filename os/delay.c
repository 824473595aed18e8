// Named delay points: a thread that passes one sleeps there, so often and so long as it was asked for.
//
// The problem: what a collector gets wrong shows only if a thread is displaced between two particular
// instructions while others do a hundred things, and the kernel displaces it there once in a year.
// Rejected: a debugger's breakpoints (they stop all threads), single-stepping under ptrace (a thousand
// times slower everywhere), and delays at random instructions alone (there are millions; the few that
// matter are known).
//
// The invariant: a delay changes when something happens, never what. A point may stand anywhere, in a signal
// handler, under a lock, in a busy unit: the thread sleeps, and takes no lock for it.

#include "os/delay.h"

#include <errno.h>
#include <stddef.h>

#ifdef TRI_DELAYS

#include "os/clock.h"
#include "os/replay.h"
#include "os/thread.h"

#include <stdbool.h>
#include <string.h>

#define SPIN_US 20u // the kernel's own slack is more

extern struct os_delay_site __start_os_delay_table[] __attribute__((weak, visibility("hidden")));
extern struct os_delay_site __stop_os_delay_table[] __attribute__((weak, visibility("hidden")));

void os_delay_here(struct os_delay_site *site)
{
    uint32_t chance = atomic_load_explicit(&site->chance, memory_order_relaxed);
    if (os_replay_below(10000) >= chance)
        return;
    uint32_t us = atomic_load_explicit(&site->microseconds, memory_order_relaxed);
    atomic_fetch_add_explicit(&site->delays, 1, memory_order_relaxed);
    if (us > SPIN_US) {
        int saved = errno;
        os_sleep_ns((int64_t)us * 1000);
        errno = saved;
        return;
    }
    for (int64_t end = os_now() + (int64_t)us * 1000; os_now() < end;)
        os_pause();
}

struct rule {
    const char *name;
    size_t length;
    bool prefix;
    uint32_t us, chance;
};

static bool matches(const struct rule *r, const char *point)
{
    return strncmp(r->name, point, r->length) == 0 && (r->prefix || point[r->length] == 0);
}

// A number with up to two decimals, times a hundred; the rest of the text, or NULL.
static const char *hundredths(const char *s, uint32_t *out)
{
    uint32_t v = 0;
    const char *start = s;
    int decimals = -1;
    for (; (*s >= '0' && *s <= '9') || (*s == '.' && decimals < 0); s++) {
        if (*s == '.') {
            decimals = 0;
            continue;
        }
        if (v > 10000000 || decimals == 2)
            return NULL;
        v = v * 10 + (uint32_t)(*s - '0');
        decimals += decimals >= 0;
    }
    for (int i = decimals < 0 ? 0 : decimals; i < 2; i++)
        v *= 10;
    *out = v;
    return s == start ? NULL : s;
}

static int read_rule(struct rule *r, const char *s, size_t n)
{
    const char *colon = memchr(s, ':', n);
    if (!colon || colon == s)
        return -EINVAL;
    r->name = s;
    r->length = (size_t)(colon - s);
    r->prefix = colon[-1] == '*';
    r->length -= r->prefix;
    const char *at = hundredths(colon + 1, &r->us);
    if (!at || *at != ':' || r->us % 100 || r->us > 1000000000)
        return -EINVAL;
    r->us /= 100;
    at = hundredths(at + 1, &r->chance);
    return at == s + n && r->chance <= 10000 ? 0 : -EINVAL;
}

// Applies it, or only looks whether there is anything to apply it to.
static bool apply(const struct rule *r, bool really)
{
    bool any = false;
    for (struct os_delay_site *s = __start_os_delay_table; s < __stop_os_delay_table; s++) {
        if (!matches(r, s->name))
            continue;
        any = true;
        if (!really)
            continue;
        atomic_store_explicit(&s->microseconds, r->us, memory_order_relaxed);
        atomic_store_explicit(&s->chance, r->chance, memory_order_relaxed);
    }
    return any;
}

static int each_rule(const char *spec, bool really)
{
    for (const char *s = spec; *s;) {
        struct rule r;
        size_t n = strcspn(s, ",");
        int err = read_rule(&r, s, n);
        if (err)
            return err;
        if (!apply(&r, really))
            return -ENOENT;
        s += n + (s[n] == ',');
    }
    return 0;
}

int os_delay_configure(const char *spec)
{
    if (!spec)
        spec = "*:0:0";
    os_replay_get_seed(); // handlers draw, and must not be the ones to choose it
    int err = each_rule(spec, false);
    return err ? err : each_rule(spec, true);
}

void os_delay_points(void (*fn)(void *arg, const char *name, uint32_t delays), void *arg)
{
    for (struct os_delay_site *s = __start_os_delay_table; s < __stop_os_delay_table; s++)
        fn(arg, s->name, atomic_load_explicit(&s->delays, memory_order_relaxed));
}

#else

int os_delay_configure(const char *spec)
{
    return spec && *spec ? -ENOSYS : 0;
}

void os_delay_points(void (*fn)(void *arg, const char *name, uint32_t delays), void *arg)
{
    (void)fn;
    (void)arg;
}

#endif
