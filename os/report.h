// Words to people, from anywhere: no allocation, no lock, no stdio, async-signal-safe.
//
// The formatter knows %s %c %d %i %u %x %p %% with l, ll, z and h-less forms, a minimum width, `-` and
// `0`, a precision for %s, and * for either. Anything else is copied as it stands.

#ifndef OS_REPORT_H
#define OS_REPORT_H

#include <stdarg.h>
#include <stddef.h>

#define OS_PRINTF(f, a) __attribute__((format(printf, f, a)))

// One line "tricolor: fatal: ..." on standard error in one write, then abort().
_Noreturn void os_fatal(const char *fmt, ...) OS_PRINTF(1, 2);

// As given to standard error (nothing added), in one write up to 2 KiB, cut beyond that.
void os_print(const char *fmt, ...) OS_PRINTF(1, 2);

// Formats into buf (always terminated if n > 0) and returns the length it would have had.
int os_format(char *buf, size_t n, const char *fmt, ...) OS_PRINTF(3, 4);
int os_format_v(char *buf, size_t n, const char *fmt, va_list ap) OS_PRINTF(3, 0);

#endif
