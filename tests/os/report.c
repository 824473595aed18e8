// The formatter against the C library's, and last words.

#include "os/report.h"
#include "os/assert.h"

#include <criterion/criterion.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SAME(...)                                             \
    do {                                                      \
        char ours[256], theirs[256];                          \
        int n = os_format(ours, sizeof ours, __VA_ARGS__);    \
        int m = snprintf(theirs, sizeof theirs, __VA_ARGS__); \
        cr_assert_str_eq(ours, theirs);                       \
        cr_assert_eq(n, m);                                   \
    } while (0)

Test(os_report, the_formatter_agrees_with_the_c_library)
{
    SAME("plain");
    SAME("%s", "");
    SAME("%s and %s|%c", "one", "two", 'x');
    SAME("%d %d %d %i", 0, INT_MAX, INT_MIN, -1);
    SAME("%u %x", UINT_MAX, 0xdeadbeefu);
    SAME("%ld %lu %lx", LONG_MIN, ULONG_MAX, ULONG_MAX);
    SAME("%lld %llu %llx", LLONG_MIN, ULLONG_MAX, 255ull);
    SAME("%zu %zd %zx", SIZE_MAX, (ssize_t)-5, (size_t)16);
    SAME("%p", (void *)0x7f12345678);
    SAME("100%%");
    SAME("[%5d] [%-5d] [%05d] [%1d]", 42, 42, -42, 42);
    SAME("[%8s] [%-8s] [%.3s] [%8.3s]", "abcde", "abcde", "abcde", "abcde");
    SAME("[%*d] [%*d] [%.*s]", 6, 7, -6, 7, 2, "abc");
    SAME("[%016lx]", 0x1234ul);
}

Test(os_report, a_null_string_is_shown_as_such)
{
    char buf[32];
    const char *volatile none = NULL;
    os_format(buf, sizeof buf, "<%s>", none);
    cr_assert_str_eq(buf, "<(null)>");
}

Test(os_report, output_is_cut_to_the_buffer_and_terminated)
{
    char buf[16];
    for (size_t n = 0; n <= 12; n++) {
        memset(buf, '#', sizeof buf);
        cr_assert_eq(os_format(buf, n, "%s%d", "12345", 678), 8);
        cr_assert_eq(buf[n], '#', "size %zu", n);
        if (n)
            cr_assert_eq(strlen(buf), n - 1 < 8 ? n - 1 : 8);
    }
}

Test(os_report, an_unknown_conversion_is_copied)
{
    char buf[64];
    const char *volatile format = "a %d %q %d";
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-security"
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    os_format(buf, sizeof buf, format, 1);
#pragma GCC diagnostic pop
    cr_assert_str_eq(buf, "a 1 %q %d");
}

// What fn writes to standard error in a child, and how that ends.
static int output_of(void (*fn)(void), char *buf, size_t size)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], 2);
        fn();
        _exit(0);
    }
    close(ends[1]);
    size_t used = 0;
    ssize_t n;
    while ((n = read(ends[0], buf + used, size - 1 - used)) > 0)
        used += (size_t)n;
    buf[used] = 0;
    close(ends[0]);
    int status;
    waitpid(pid, &status, 0);
    return status;
}

static void die(void)
{
    os_fatal("out of %s\nafter %d", "luck", 13);
}

Test(os_report, fatal_says_one_line_and_aborts)
{
    char buf[4096];
    int status = output_of(die, buf, sizeof buf);
    cr_assert_str_eq(buf, "tricolor: fatal: out of luck after 13\n");
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static char long_word[5000];

static void die_at_length(void)
{
    os_fatal("%s", long_word);
}

Test(os_report, a_fatal_message_that_is_too_long_is_still_a_line)
{
    char buf[8192];
    memset(long_word, 'w', sizeof long_word - 1);
    output_of(die_at_length, buf, sizeof buf);
    cr_assert_gt(strlen(buf), 500);
    cr_assert_eq(strchr(buf, '\n'), buf + strlen(buf) - 1);
}

static void say(void)
{
    os_print("%s %d\n", "words", 3);
}

Test(os_report, print_adds_nothing)
{
    char buf[256];
    cr_assert_eq(output_of(say, buf, sizeof buf), 0);
    cr_assert_str_eq(buf, "words 3\n");
}

static int evaluated;

static void check_fails(void)
{
    TRI_CHECK(1 + 1 == 3, "arithmetic broke");
}

Test(os_report, a_failed_check_says_what_was_violated_and_where)
{
    char buf[1024];
    int status = output_of(check_fails, buf, sizeof buf);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    cr_assert_not_null(strstr(buf, ": arithmetic broke (violated: 1 + 1 == 3)\n"), "%s", buf);
    cr_assert_not_null(strstr(buf, "report.c:"), "%s", buf);
}

Test(os_report, assertions_are_evaluated_by_tier)
{
    TRI_CHECK(++evaluated, "always");
    cr_assert_eq(evaluated, 1);
    TRI_ASSERT(++evaluated, "in debug builds");
    TRI_ASSERT_SLOW(++evaluated, "in slow debug builds");
    cr_assert_eq(evaluated, 1 + (TRI_DEBUG >= 1) + (TRI_DEBUG >= 2));
}
