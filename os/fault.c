// Fault injection: which call fails is chosen by site name and count, so that a failure found once is
// found again.
//
// The problem: the paths after a failed mmap or a failed thread creation are the least tested ones of any
// runtime, and the most damaging when wrong. Rejected: an LD_PRELOAD shim (sees libc's calls as well, and
// does not know why a call was made), random failure (not repeatable when threads interleave), and a
// counter over all sites only (a new call anywhere shifts every test); the last is still available as "*".
//
// A site is named after its function and not its line: lines move with every edit above them, and a table of
// sites (docs/errors.md) would never be true. That a name and function in two files would be one site to
// the rules is left to a test, which finds no such pair.
//
// Rejected for the environment: an option of TRICOLOR. That is read when a heap is created, its items are
// separated by the commas that separate rules, and programs that set their options themselves never look.
//
// The invariant: a site asks before it acts, so an injected failure is indistinguishable from a real one
// that happened at once; and with no rule configured the only effect is a counter.

#include "os/fault.h"

#include "os/report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef TRI_FAULTS

enum { MAX_RULES = 16, MAX_NAME = 80, MAX_FULL = 160 };

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
    {"ENOENT", ENOENT},
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

static void full_name(const struct os_fault_site *s, char *out)
{
    if (s->nth > 1)
        os_format(out, MAX_FULL, "%s@%s.%u", s->name, s->function, s->nth);
    else
        os_format(out, MAX_FULL, "%s@%s", s->name, s->function);
}

static bool matches(const struct rule *r, const struct os_fault_site *site)
{
    char full[MAX_FULL];
    if (!r->prefix && strcmp(r->name, site->name) == 0)
        return true;
    full_name(site, full);
    return r->prefix ? strncmp(r->name, full, strlen(r->name)) == 0 : strcmp(r->name, full) == 0;
}

int os_fault_ask(struct os_fault_site *site)
{
    __atomic_fetch_add(&site->calls, 1, __ATOMIC_RELAXED);
    // Acquire pairs with the release in os_fault_configure: the rules are whole once they are counted.
    int n = atomic_load_explicit(&rule_count, memory_order_acquire);
    int error = 0;
    for (int i = 0; i < n; i++) {
        struct rule *r = &rules[i];
        if (!matches(r, site))
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

static bool same_name(const struct os_fault_site *a, const struct os_fault_site *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->function, b->function) == 0 &&
           strcmp(a->file, b->file) == 0;
}

void os_fault_sites(void (*fn)(void *arg, const char *site, uint64_t calls), void *arg)
{
    for (struct os_fault_site *s = __start_os_fault_table; s < __stop_os_fault_table; s++) {
        char full[MAX_FULL];
        full_name(s, full);
        fn(arg, full, __atomic_load_n(&s->calls, __ATOMIC_RELAXED));
    }
}

// ---- from the environment ----

static char report_path[1024];

static void report_site(void *arg, const char *site, uint64_t calls)
{
    char line[MAX_FULL + 32];
    int n = os_format(line, sizeof line, "%s %llu\n", site, (unsigned long long)calls);
    if (write(*(int *)arg, line, (size_t)n) != n)
        os_print("tricolor: TRICOLOR_FAULTS: %s cannot be written\n", report_path);
}

static void report_sites(void)
{
    int fd = open(report_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0) {
        os_print("tricolor: TRICOLOR_FAULTS: %s cannot be opened\n", report_path);
        return;
    }
    os_fault_sites(report_site, &fd);
    close(fd);
}

// The rest of the text behind  report=FILE , or the text.
static const char *take_report(const char *text)
{
    static const char key[] = "report=";
    if (strncmp(text, key, sizeof key - 1) != 0)
        return text;
    text += sizeof key - 1;
    size_t n = strcspn(text, ",");
    if (n == 0 || n >= sizeof report_path)
        os_fatal("TRICOLOR_FAULTS: report=FILE needs a path of 1 to %zu bytes",
                 sizeof report_path - 1);
    memcpy(report_path, text, n);
    if (atexit(report_sites))
        os_fatal("TRICOLOR_FAULTS: no memory");
    return text + n + (text[n] == ',');
}

// Before other constructors, whose calls can then fail, too.
__attribute__((constructor(101))) static void number_sites_and_read_rules(void)
{
    for (struct os_fault_site *s = __start_os_fault_table; s < __stop_os_fault_table; s++)
        for (struct os_fault_site *t = __start_os_fault_table; t < __stop_os_fault_table; t++)
            s->nth += t->line < s->line && same_name(s, t);
    const char *text = getenv("TRICOLOR_FAULTS");
    if (text && os_fault_configure(take_report(text)))
        os_fatal("TRICOLOR_FAULTS: \"%s\" is not understood", text);
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
