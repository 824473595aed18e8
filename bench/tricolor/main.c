/* tricolor-bench: one workload of bench/README.md, run and measured.
 *
 *     tricolor-bench WORKLOAD [--scale K] [--seconds N] [--procs P] [--part NAME]
 *
 * One workload per process, so that none inherits memory, pools or a heap size from another.
 */
#include "bench.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const workload *const workloads[] = {
    &bench_trees,  &bench_window, &bench_alloc, &bench_mark,      &bench_table, &bench_sched,
    &bench_parked, &bench_mutate, &bench_types, &bench_threads64, &bench_deep,  &bench_growth};
#define WORKLOADS (sizeof workloads / sizeof *workloads)

static const workload *chosen;

uint64_t bench_scaled(const bench *b, uint64_t n, uint64_t least)
{
    n = b->scale < 64 ? n >> b->scale : 0;
    return n < least ? least : n;
}

void bench_fault(bench *b, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    fprintf(stderr, "tricolor-bench: %s: ", b->name);
    vfprintf(stderr, format, ap);
    fputc('\n', stderr);
    va_end(ap);
    b->failed = true;
}

void bench_die(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    fprintf(stderr, "tricolor-bench: ");
    vfprintf(stderr, format, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(EXIT_FAILURE);
}

void bench_go(void (*fn)(void *), void *arg)
{
    int err = tri_go(fn, arg);
    if (err)
        bench_die("a coroutine could not be started: %s", strerror(-err));
}

void bench_collect(bench *b)
{
    int err = tri_collect(b->heap);
    if (err)
        bench_die("a collection failed: %s", strerror(-err));
}

static void first(void *arg)
{
    bench *b = arg;
    b->heap = tri_current_heap();
    bench_print_info(b);
    chosen->run(b);
    bench_print_rss_peak(b);
    bench_print_collector(b);
}

static int usage(void)
{
    fprintf(stderr, "usage: tricolor-bench WORKLOAD [--scale K] [--seconds N] [--procs P] "
                    "[--part NAME]\nworkloads:");
    for (size_t i = 0; i < WORKLOADS; i++)
        fprintf(stderr, " %s", workloads[i]->name);
    fprintf(stderr, "; see bench/README.md\n");
    return 2;
}

static bool number(const char *text, unsigned max, unsigned *out)
{
    char *end;
    errno = 0;
    unsigned long n = strtoul(text, &end, 10);
    if (end == text || *end || errno || *text == '-' || n > max)
        return false;
    *out = (unsigned)n;
    return true;
}

static bool choose(bench *b, const char *name)
{
    size_t length = strcspn(name, ".");
    b->name = name;
    b->variant = name[length] ? name + length + 1 : "";
    for (size_t i = 0; i < WORKLOADS; i++)
        if (strlen(workloads[i]->name) == length && memcmp(workloads[i]->name, name, length) == 0)
            chosen = workloads[i];
    return chosen != NULL;
}

static bool parse(bench *b, int argc, char **argv)
{
    if (argc < 2 || !choose(b, argv[1]))
        return false;
    for (int i = 2; i < argc; i += 2) {
        if (i + 1 == argc)
            return false;
        const char *option = argv[i], *value = argv[i + 1];
        bool ok = false;
        if (strcmp(option, "--scale") == 0)
            ok = number(value, 32, &b->scale);
        else if (strcmp(option, "--seconds") == 0)
            ok = number(value, 86400, &b->seconds) && b->seconds;
        else if (strcmp(option, "--procs") == 0)
            ok = number(value, 1024, &b->options.procs) && b->options.procs;
        else if (strcmp(option, "--part") == 0)
            ok = (b->part = value);
        if (!ok)
            return false;
    }
    return chosen->prepare(b);
}

int main(int argc, char **argv)
{
    bench b = {0};
    if (tri_options_init(&b.options))
        return 2;
    if (!parse(&b, argc, argv))
        return usage();
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    b.start = bench_now();
    int err = tri_run(&b.options, first, &b);
    if (err)
        bench_die("%s: %s", b.name, strerror(-err));
    return b.failed || fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}
