// Words to people, from any place: a signal handler, the middle of an allocation, a corrupted heap.
//
// The problem: the moment at which a message matters most is the moment at which nothing can be relied
// on. stdio locks and allocates; vsnprintf is not async-signal-safe (it may allocate and reads the
// locale); several writes for one message interleave with those of other threads.
//
// So the formatter below is our own, small, and works into a buffer on the stack; the message goes out in
// one write. Rejected: a static buffer under a lock (a handler could interrupt its holder), and writev of
// the pieces (no padding, and no single place to test).
//
// The invariant: nothing here allocates, locks, reads the locale or changes errno, and every message is
// one write of whole lines.

#include "os/report.h"

#include "os/assert.h"
#include "os/fault.h"
#include "os/replay.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Where output goes: `len` counts what the whole text needs, also beyond the end of the buffer.
struct sink {
    char *buf;
    size_t size;
    size_t len;
};

struct spec {
    bool left;
    bool zero;
    int width;
    int precision; // -1: none
    int longs;     // 0 int, 1 long or size_t, 2 long long
};

static void put(struct sink *s, char c)
{
    if (s->len + 1 < s->size)
        s->buf[s->len] = c;
    s->len++;
}

static void put_padded(struct sink *s, const struct spec *sp, const char *prefix, const char *text,
                       size_t n)
{
    size_t used = strlen(prefix) + n;
    size_t pad = sp->width > 0 && (size_t)sp->width > used ? (size_t)sp->width - used : 0;
    bool zeroes = sp->zero && !sp->left;

    for (size_t i = 0; !sp->left && !zeroes && i < pad; i++)
        put(s, ' ');
    while (*prefix)
        put(s, *prefix++);
    for (size_t i = 0; zeroes && i < pad; i++)
        put(s, '0');
    for (size_t i = 0; i < n; i++)
        put(s, text[i]);
    for (size_t i = 0; sp->left && i < pad; i++)
        put(s, ' ');
}

static void put_number(struct sink *s, const struct spec *sp, const char *prefix, uint64_t v,
                       unsigned base)
{
    char digits[24];
    size_t at = sizeof digits;
    do {
        digits[--at] = "0123456789abcdef"[v % base];
        v /= base;
    } while (v);
    put_padded(s, sp, prefix, digits + at, sizeof digits - at);
}

static void put_string(struct sink *s, struct spec *sp, const char *text)
{
    if (!text)
        text = "(null)";
    size_t n = sp->precision >= 0 ? strnlen(text, (size_t)sp->precision) : strlen(text);
    sp->zero = false;
    put_padded(s, sp, "", text, n);
}

static const char *read_number(const char *f, int *out)
{
    int v = 0;
    while (*f >= '0' && *f <= '9') {
        if (v < 100000)
            v = v * 10 + (*f - '0');
        f++;
    }
    *out = v;
    return f;
}

int os_format_v(char *buf, size_t n, const char *fmt, va_list ap_in)
{
    struct sink s = {buf, n, 0};
    va_list ap;
    va_copy(ap, ap_in);

    for (const char *f = fmt; *f; f++) {
        if (*f != '%') {
            put(&s, *f);
            continue;
        }
        const char *start = f++;
        struct spec sp = {.precision = -1};
        for (; *f == '-' || *f == '0'; f++) {
            if (*f == '-')
                sp.left = true;
            else
                sp.zero = true;
        }
        if (*f == '*') {
            sp.width = va_arg(ap, int);
            if (sp.width < 0) {
                sp.left = true;
                sp.width = sp.width > -100000 ? -sp.width : 0;
            }
            f++;
        } else {
            f = read_number(f, &sp.width);
        }
        if (*f == '.') {
            if (*++f == '*') {
                sp.precision = va_arg(ap, int);
                f++;
            } else {
                f = read_number(f, &sp.precision);
            }
        }
        for (; *f == 'l' || *f == 'z'; f++)
            sp.longs++;

        switch (*f) {
        case '%': put(&s, '%'); break;
        case 'c': {
            char c = (char)va_arg(ap, int);
            put_padded(&s, &sp, "", &c, 1);
            break;
        }
        case 's': put_string(&s, &sp, va_arg(ap, const char *)); break;
        case 'd':
        case 'i': {
            int64_t v = sp.longs == 0   ? va_arg(ap, int)
                        : sp.longs == 1 ? va_arg(ap, long)
                                        : va_arg(ap, long long);
            put_number(&s, &sp, v < 0 ? "-" : "", v < 0 ? 0 - (uint64_t)v : (uint64_t)v, 10);
            break;
        }
        case 'u':
        case 'x': {
            uint64_t v = sp.longs == 0   ? va_arg(ap, unsigned)
                         : sp.longs == 1 ? va_arg(ap, unsigned long)
                                         : va_arg(ap, unsigned long long);
            put_number(&s, &sp, "", v, *f == 'x' ? 16 : 10);
            break;
        }
        case 'p': put_number(&s, &sp, "0x", (uintptr_t)va_arg(ap, void *), 16); break;
        default:
            // Not ours: shown as it stands. The arguments are out of step from here on, so stop reading
            // them.
            for (f = start; *f; f++)
                put(&s, *f);
            f--;
            break;
        }
    }
    if (n)
        buf[s.len < n ? s.len : n - 1] = 0;
    va_end(ap);
    return (int)s.len;
}

int os_format(char *buf, size_t n, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int len = os_format_v(buf, n, fmt, ap);
    va_end(ap);
    return len;
}

static void write_all(const char *p, size_t n)
{
    int saved = errno;
    while (n) {
        ssize_t done = os_fault_here("report.write") ? -1 : write(STDERR_FILENO, p, n);
        if (done < 0 && errno != EINTR)
            break;
        if (done > 0) {
            p += done;
            n -= (size_t)done;
        }
    }
    errno = saved;
}

void os_print(const char *fmt, ...)
{
    char line[2048];
    va_list ap;
    va_start(ap, fmt);
    int len = os_format_v(line, sizeof line, fmt, ap);
    va_end(ap);
    write_all(line, (size_t)len < sizeof line ? (size_t)len : sizeof line - 1);
}

static void fatal_v(const char *fmt, va_list ap)
{
    static const char head[] = "tricolor: fatal: ";
    char line[1024];
    memcpy(line, head, sizeof head - 1);
    size_t room = sizeof line - (sizeof head - 1) - 1;
    size_t len = (size_t)os_format_v(line + sizeof head - 1, room, fmt, ap);
    len = sizeof head - 1 + (len < room ? len : room - 1);

    // Exactly one line, whatever the words contain.
    for (size_t i = 0; i < len; i++)
        if (line[i] == '\n')
            line[i] = ' ';
    line[len++] = '\n';
    write_all(line, len);
}

void os_fatal(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fatal_v(fmt, ap);
    va_end(ap);
    os_replay_tell();
    abort();
}

void os_check_failed(const char *file, int line, const char *words, const char *cond)
{
    os_fatal("%s:%d: %s (violated: %s)", file, line, words, cond);
}
