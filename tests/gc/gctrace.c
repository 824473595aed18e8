/* The trace line, against what Go's own formatting functions print for the same numbers. */
#include <criterion/criterion.h>
#include <locale.h>
#include <regex.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "gc/gctrace.h"
#include "tricolor/heap.h"

static char line[GC_TRACE_LINE];

static const char *format(const gc_trace *t)
{
    cr_assert_eq(gc_format_trace(line, sizeof line, t), strlen(line));
    return line;
}

Test(gctrace, is_the_line_that_go_prints)
{
    gc_trace t = {
        .cycle = 12,
        .start_ns = 3456789012,
        .cpu_fraction = 0.0299,
        .begin_ns = 18999,
        .mark_ns = 1299999,
        .end_ns = 4200,
        .assist_cpu_ns = 123456,
        .dedicated_cpu_ns = 98765432,
        .idle_cpu_ns = 999,
        .heap_start = (uint64_t)4 << 20,
        .heap_end = ((uint64_t)6 << 20) - 1,
        .heap_live = ((uint64_t)1 << 20) + 1,
        .goal = (uint64_t)5 << 20,
        .stacks = 100,
        .globals = (uint64_t)2 << 20,
        .procs = 8,
    };
    cr_assert_str_eq(format(&t),
                     "gc 12 @3.456s 2%: 0.018+1.2+0.004 ms clock, 0.018+0.12/98/0+0.004 ms cpu, "
                     "4->5->1 MB, 5 MB goal, 0 MB stacks, 2 MB globals, 8 P");
    t.forced = true;
    cr_assert_str_eq(strchr(format(&t), 'P'), "P (forced)");
}

/* What fmtNSAsMS prints. */
static const struct {
    int64_t ns;
    const char *ms;
} durations[] = {
    {0, "0"},
    {1, "0"},
    {999, "0"},
    {1000, "0.001"},
    {1999, "0.001"},
    {9999, "0.009"},
    {10000, "0.010"},
    {54321, "0.054"},
    {99999, "0.099"},
    {100000, "0.10"},
    {100999, "0.10"},
    {123456, "0.12"},
    {999999, "0.99"},
    {1000000, "1.0"},
    {1234567, "1.2"},
    {9949999, "9.9"},
    {9999999, "9.9"},
    {10000000, "10"},
    {10999999, "10"},
    {99999999, "99"},
    {123456789, "123"},
    {1234567890, "1234"},
    {3600000000000, "3600000"},
    {86400000000000000, "86400000000"},
    {-5, "0"},
};

Test(gctrace, durations_are_cut_off_where_go_cuts_them_off)
{
    for (size_t i = 0; i < sizeof durations / sizeof *durations; i++) {
        gc_trace t = {.mark_ns = durations[i].ns};
        char want[64] = "+", *got = strchr(format(&t), '+');
        strcat(strcat(want, durations[i].ms), "+");
        cr_assert(!strncmp(got, want, strlen(want)), "%ld ns: %s", durations[i].ns, line);
    }
}

/* What itoaDiv prints with three decimals. */
static const struct {
    int64_t ms;
    const char *s;
} starts[] = {
    {0, "0.000"},
    {1, "0.001"},
    {9, "0.009"},
    {10, "0.010"},
    {99, "0.099"},
    {100, "0.100"},
    {999, "0.999"},
    {1000, "1.000"},
    {1001, "1.001"},
    {12345, "12.345"},
    {86400000, "86400.000"},
};

Test(gctrace, the_start_is_in_seconds_with_three_decimals)
{
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        gc_trace t = {.start_ns = starts[i].ms * 1000000 + 999999};
        char want[64] = "gc 0 @";
        strcat(strcat(want, starts[i].s), "s ");
        cr_assert(!strncmp(format(&t), want, strlen(want)), "%ld ms: %s", starts[i].ms, line);
    }
}

/* The documented format as a pattern; N stands for a duration. */
static void compile_format(regex_t *re)
{
    static const char pattern[] =
        "^gc [0-9]+ @[0-9]+\\.[0-9]{3}s [0-9]+%: N\\+N\\+N ms clock, N\\+N/N/N\\+N ms cpu, "
        "[0-9]+->[0-9]+->[0-9]+ MB, [0-9]+ MB goal, [0-9]+ MB stacks, [0-9]+ MB globals, "
        "[0-9]+ P( \\(forced\\))?$";
    char expanded[512], *to = expanded;
    for (const char *p = pattern; *p; p++)
        if (*p == 'N')
            to = stpcpy(to, "[0-9]+(\\.[0-9]{1,3})?");
        else
            *to++ = *p;
    *to = 0;
    cr_assert_eq(regcomp(re, expanded, REG_EXTENDED | REG_NOSUB), 0);
}

Test(gctrace, every_line_parses_by_the_documented_format)
{
    regex_t re;
    compile_format(&re);
    int64_t ns = 1;
    for (int i = 0; i < 60; i++, ns = ns * 2 + 1) {
        gc_trace t = {.cycle = (uint64_t)ns,
                      .start_ns = ns,
                      .cpu_fraction = (double)i / 60,
                      .begin_ns = ns,
                      .mark_ns = ns,
                      .end_ns = ns,
                      .assist_cpu_ns = ns,
                      .dedicated_cpu_ns = ns,
                      .idle_cpu_ns = ns,
                      .heap_start = (uint64_t)ns,
                      .goal = UINT64_MAX,
                      .procs = 1,
                      .forced = i & 1};
        cr_assert_eq(regexec(&re, format(&t), 0, NULL, 0), 0, "%s", line);
    }
    regfree(&re);
}

static void collect_with_trace(int n)
{
    tri_options options;
    tri_heap *heap;
    cr_assert_eq(tri_options_init(&options), 0);
    options.gctrace = true;
    options.gogc = -1;
    cr_assert_eq(tri_heap_create(&options, &heap), 0);
    for (int i = 0; i < n; i++)
        cr_assert_eq(tri_collect(heap), 0);
    cr_assert_eq(tri_heap_destroy(heap), 0);
}

Test(gctrace, each_collection_prints_one_line_to_standard_error)
{
    int ends[2], saved = dup(2);
    cr_assert_eq(pipe(ends), 0);
    /* A torture build says something at the first heap. */
    tri_heap *first;
    cr_assert_eq(tri_heap_create(NULL, &first), 0);
    cr_assert_eq(tri_heap_destroy(first), 0);
    dup2(ends[1], 2);
    collect_with_trace(3);
    dup2(saved, 2);
    close(ends[1]);
    FILE *in = fdopen(ends[0], "r");
    regex_t re;
    compile_format(&re);
    for (int i = 1; i <= 3; i++) {
        char start[32], *end;
        cr_assert(fgets(line, sizeof line, in), "only %d lines", i - 1);
        cr_assert((end = strchr(line, '\n')));
        *end = 0;
        cr_assert_eq(regexec(&re, line, 0, NULL, 0), 0, "%s", line);
        snprintf(start, sizeof start, "gc %d @", i);
        cr_assert(!strncmp(line, start, strlen(start)), "%s", line);
        cr_assert(strstr(line, " P (forced)"), "%s", line);
    }
    cr_assert(!fgets(line, sizeof line, in), "more than a line per collection: %s", line);
    regfree(&re);
    fclose(in);
}

Test(gctrace, a_short_buffer_gets_a_terminated_beginning_and_the_length_of_all)
{
    gc_trace t = {.cycle = 1};
    char small[8];
    size_t all = strlen(format(&t));
    memset(small, 'x', sizeof small);
    cr_assert_eq(gc_format_trace(small, 5, &t), all);
    cr_assert_str_eq(small, "gc 1");
    cr_assert_eq(small[5], 'x');
    cr_assert_eq(gc_format_trace(NULL, 0, &t), all);
}

Test(gctrace, no_locale_changes_the_line)
{
    gc_trace t = {.start_ns = 1500000000, .mark_ns = 2500000};
    setlocale(LC_ALL, "de_DE.UTF-8");
    cr_assert(strstr(format(&t), "@1.500s 0%: 0+2.5+0 ms"), "%s", line);
}
