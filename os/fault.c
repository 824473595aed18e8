// Fault injection: which call fails is chosen by site name and count, so that a failure found once is
// found again.
//
// The problem: the paths after a failed mmap or a failed thread creation are the least tested ones of any
// runtime, and the most damaging when wrong. Rejected: an LD_PRELOAD shim (sees libc's calls as well, and
// does not know why a call was made), random failure (not repeatable when threads interleave), and a
// counter over all sites only (a new call anywhere shifts every test); the last is still available as "*".
//
// The invariant: a site asks before it acts, so an injected failure is indistinguishable from a real one
// that happened at once; and with no rule configured the only effect is a counter.

#include "os/fault.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#ifdef TRI_FAULTS

enum { MAX_RULES = 16, MAX_NAME = 48 };

struct rule {
    char name[MAX_NAME]; // without the final *, if it is a prefix
    bool prefix;
    bool onwards;   // from `first` on; otherwise only that call
    uint64_t first; // counted from 1
    int error;      // positive
    _Atomic uint64_t calls;
};

static struct rule rules[MAX_RULES];
static _Atomic int rule_count;

extern struct os_fault_site __start_os_fault_table[] __attribute__((weak, visibility("hidden")));
extern struct os_fault_site __stop_os_fault_table[] __attribute__((weak, visibility("hidden")));

static const struct {
    const char *name;
    int error;
} error_names[] = {
    {"EPERM", EPERM},
    {"EINTR", EINTR},
    {"EIO", EIO},
    {"EBADF", EBADF},
    {"EAGAIN", EAGAIN},
    {"ENOMEM", ENOMEM},
    {"EACCES", EACCES},
    {"EFAULT", EFAULT},
    {"EBUSY", EBUSY},
    {"EEXIST", EEXIST},
    {"EINVAL", EINVAL},
    {"ENFILE", ENFILE},
    {"EMFILE", EMFILE},
    {"ENOSPC", ENOSPC},
    {"EPIPE", EPIPE},
    {"ENOSYS", ENOSYS},
    {"ENOBUFS", ENOBUFS},
    {"ESRCH", ESRCH},
    {"ECONNRESET", ECONNRESET},
    {"ECONNREFUSED", ECONNREFUSED},
    {"ETIMEDOUT", ETIMEDOUT},
    {"ECONNABORTED", ECONNABORTED},
    {"EADDRINUSE", EADDRINUSE},
};

static bool matches(const struct rule *r, const char *site)
{
    return r->prefix ? strncmp(r->name, site, strlen(r->name)) == 0 : strcmp(r->name, site) == 0;
}

int os_fault_ask(struct os_fault_site *site)
{
    __atomic_fetch_add(&site->calls, 1, __ATOMIC_RELAXED);
    // Acquire pairs with the release in os_fault_configure: the rules are whole once they are counted.
    int n = atomic_load_explicit(&rule_count, memory_order_acquire);
    int error = 0;
    for (int i = 0; i < n; i++) {
        struct rule *r = &rules[i];
        if (!matches(r, site->name))
            continue;
        uint64_t call = atomic_fetch_add_explicit(&r->calls, 1, memory_order_relaxed) + 1;
        if (!error && (r->onwards ? call >= r->first : call == r->first))
            error = r->error;
    }
    if (error)
        errno = error;
    return -error;
}

static int parse_error(const char *s, size_t n)
{
    for (size_t i = 0; i < sizeof error_names / sizeof error_names[0]; i++)
        if (strlen(error_names[i].name) == n && strncmp(s, error_names[i].name, n) == 0)
            return error_names[i].error;
    int v = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9' || v > 4095)
            return 0;
        v = v * 10 + (s[i] - '0');
    }
    return v <= 4095 ? v : 0;
}

static bool parse_which(struct rule *r, const char *s, size_t n)
{
    if (n == 1 && s[0] == '*') {
        r->first = 1;
        r->onwards = true;
        return true;
    }
    if (n > 1 && s[n - 1] == '+') {
        r->onwards = true;
        n--;
    }
    if (n == 0 || n > 18)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9')
            return false;
        r->first = r->first * 10 + (uint64_t)(s[i] - '0');
    }
    return r->first > 0;
}

static bool parse_rule(struct rule *r, const char *s, size_t n)
{
    memset(r, 0, sizeof *r);
    const char *colon = memchr(s, ':', n);
    if (!colon || colon == s || (size_t)(colon - s) >= MAX_NAME)
        return false;
    size_t name = (size_t)(colon - s);
    if (s[name - 1] == '*') {
        r->prefix = true;
        memcpy(r->name, s, name - 1);
    } else {
        memcpy(r->name, s, name);
    }

    const char *which = colon + 1;
    size_t left = n - name - 1;
    const char *second = memchr(which, ':', left);
    size_t which_len = second ? (size_t)(second - which) : left;
    r->error = second ? parse_error(second + 1, left - which_len - 1) : ENOMEM;
    return r->error != 0 && parse_which(r, which, which_len);
}

int os_fault_configure(const char *spec)
{
    struct rule parsed[MAX_RULES];
    int n = 0;
    const char *s = spec ? spec : "";
    while (*s) {
        size_t len = strcspn(s, ",");
        if (n == MAX_RULES || !parse_rule(&parsed[n], s, len))
            return -EINVAL;
        n++;
        s += len + (s[len] == ',');
    }
    atomic_store_explicit(&rule_count, 0, memory_order_relaxed);
    if (n)
        memcpy(rules, parsed, (size_t)n * sizeof rules[0]);
    // Release pairs with the acquire in os_fault_ask.
    atomic_store_explicit(&rule_count, n, memory_order_release);
    return 0;
}

void os_fault_sites(void (*fn)(void *arg, const char *site, uint64_t calls), void *arg)
{
    struct os_fault_site *begin = __start_os_fault_table, *end = __stop_os_fault_table;
    for (struct os_fault_site *s = begin; s < end; s++) {
        bool seen = false;
        for (struct os_fault_site *t = begin; t < s && !seen; t++)
            seen = strcmp(t->name, s->name) == 0;
        if (seen)
            continue;
        uint64_t calls = 0;
        for (struct os_fault_site *t = s; t < end; t++)
            if (strcmp(t->name, s->name) == 0)
                calls += __atomic_load_n(&t->calls, __ATOMIC_RELAXED);
        fn(arg, s->name, calls);
    }
}

#else

int os_fault_configure(const char *spec)
{
    return spec && *spec ? -ENOSYS : 0;
}

void os_fault_sites(void (*fn)(void *arg, const char *site, uint64_t calls), void *arg)
{
    (void)fn;
    (void)arg;
}

#endif
