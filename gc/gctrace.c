/* The line that gctrace=1 prints.
 *
 * People have scripts for Go's line, so this is that line to the letter:
 *
 *   gc 7 @0.512s 2%: 0.018+1.2+0.004 ms clock, 0.018+0.10/1.1/0+0.004 ms cpu, 4->5->1 MB,
 *   4 MB goal, 0 MB stacks, 0 MB globals, 2 P (forced)
 *
 * (in one line). printf's %g or %.2g would round where Go cuts off, and would print a comma in
 * half of the world's locales; the numbers are therefore made of integers, by Go's rules:
 * durations of 10 ms and more in whole milliseconds; shorter ones with two digits but at most
 * three decimals; below a microsecond a bare 0; percentages and MB (of 2^20 bytes) cut off, not
 * rounded.
 */
#include "gc/gctrace.h"

#include "os/report.h"

#define NUMBER 24 /* characters that hold any of the numbers below */

/* value / 10^decimals with that many decimals, at least one. */
static const char *with_decimals(char out[NUMBER], uint64_t value, int decimals)
{
    uint64_t unit = 1;
    for (int i = 0; i < decimals; i++)
        unit *= 10;
    os_format(out, NUMBER, "%lu.%0*lu", value / unit, decimals, value % unit);
    return out;
}

static const char *as_ms(char out[NUMBER], int64_t ns)
{
    uint64_t us = ns > 0 ? (uint64_t)ns / 1000 : 0;
    if (us >= 10000 || us == 0) {
        os_format(out, NUMBER, "%lu", us / 1000);
        return out;
    }
    int decimals = 3;
    for (; us >= 100; us /= 10)
        decimals--;
    return with_decimals(out, us, decimals);
}

static unsigned long mb(uint64_t bytes)
{
    return bytes >> 20;
}

static unsigned long percent(double share)
{
    return share > 0 ? (unsigned long)(share * 100) : 0;
}

size_t gc_format_trace(char *buf, size_t n, const gc_trace *t)
{
    char start[NUMBER], begin[NUMBER], mark[NUMBER], end[NUMBER];
    char assist[NUMBER], dedicated[NUMBER], idle[NUMBER];
    uint64_t start_ms = t->start_ns > 0 ? (uint64_t)t->start_ns / 1000000 : 0;
    as_ms(begin, t->begin_ns);
    as_ms(end, t->end_ns);
    return (size_t)os_format(
        buf, n,
        "gc %lu @%ss %lu%%: %s+%s+%s ms clock, %s+%s/%s/%s+%s ms cpu, %lu->%lu->%lu MB, "
        "%lu MB goal, %lu MB stacks, %lu MB globals, %u P%s",
        t->cycle, with_decimals(start, start_ms, 3), percent(t->cpu_fraction), begin,
        as_ms(mark, t->mark_ns), end, begin, as_ms(assist, t->assist_cpu_ns),
        as_ms(dedicated, t->dedicated_cpu_ns), as_ms(idle, t->idle_cpu_ns), end, mb(t->heap_start),
        mb(t->heap_end), mb(t->heap_live), mb(t->goal), mb(t->stacks), mb(t->globals), t->procs,
        t->forced ? " (forced)" : "");
}
