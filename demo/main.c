/* tricolor-demo: what the library can do, in twenty seconds, with a table at the end.
 *
 * Coroutines (or threads) build and drop trees, change a large live graph under the barrier, pass
 * objects between Ps, and sleep on what only they hold; all at once, as hard as they can, for the
 * given time. The exit status is 0 only if every checksum agreed: a program that says how fast a
 * collector is should first say that it lost nothing.
 */
#include "demo.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXIT_USAGE 2

static const char usage[] = "usage: tricolor-demo [options]\n"
                            "\n"
                            "  --seconds N   work for N seconds (20)\n"
                            "  --procs N     as if there were N processors (those there are)\n"
                            "  --live MiB    size of the live graph (256)\n"
                            "  --threads     plain attached threads in place of coroutines\n"
                            "  --poll        no signals: only calls of the library are safepoints\n"
                            "  --trace       a line for each collection\n"
                            "  --help        this text\n";

static __attribute__((noreturn)) void bad_usage(const char *option, const char *text, long least,
                                                long most)
{
    fprintf(stderr, "tricolor-demo: --%s: '%s' is not a whole number from %ld to %ld\n", option,
            text, least, most);
    exit(EXIT_USAGE);
}

static long number(const char *option, const char *text, long least, long most)
{
    char *end;
    errno = 0;
    long n = strtol(text, &end, 10);
    if (end == text || *end || errno || n < least || n > most)
        bad_usage(option, text, least, most);
    return n;
}

static void set_option(demo_options *o, int option)
{
    switch (option) {
    case 's': o->seconds = (unsigned)number("seconds", optarg, 1, 7 * 24 * 3600); break;
    case 'p': o->procs = (unsigned)number("procs", optarg, 1, 32); break;
    case 'l': o->live = (size_t)number("live", optarg, 1, 1 << 20) << 20; break;
    case 'T': o->threads = true; break;
    case 'P': o->poll = true; break;
    case 't': o->trace = true; break;
    case 'h': fputs(usage, stdout); exit(0);
    default: fputs(usage, stderr); exit(EXIT_USAGE);
    }
}

static unsigned processors(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > 32 ? 32 : (unsigned)n;
}

static demo_options parse(int argc, char **argv)
{
    static const struct option options[] = {
        {"seconds", required_argument, NULL, 's'}, {"procs", required_argument, NULL, 'p'},
        {"live", required_argument, NULL, 'l'},    {"threads", no_argument, NULL, 'T'},
        {"poll", no_argument, NULL, 'P'},          {"trace", no_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0}};
    demo_options o = {.seconds = 20, .procs = processors(), .live = (size_t)256 << 20};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        set_option(&o, option);
    if (optind < argc) {
        fprintf(stderr, "tricolor-demo: what is '%s'?\n%s", argv[optind], usage);
        exit(EXIT_USAGE);
    }
    return o;
}

/* On a coroutine, or on an attached thread. */
static void run(void *arg)
{
    demo *d = arg;
    d->heap = tri_current_heap();
    report *r = report_begin(d);
    graph_start(d);
    trees_start(d);
    passing_start(d);
    keepers_start(d);
    progress_until_done(d);
    report_end(r);
    atomic_store(&d->stop, true);
    demo_join(d);
    report_live(r);
    trees_finish(d);
    graph_finish(d);
    passing_finish(d);
    keepers_finish(d);
    if (atomic_load(&d->faults))
        printf("%s CHECKSUMS DO NOT AGREE\n", report_number(atomic_load(&d->faults)));
    else
        printf("all checksums agree\n");
    report_print(r);
}

static int run_on_threads(const tri_options *options, demo *d)
{
    tri_heap *heap;
    int error = tri_heap_create(options, &heap);
    if (error)
        return error;
    error = tri_attach(heap);
    if (!error) {
        run(d);
        tri_detach(heap);
    }
    int left = tri_heap_destroy(heap);
    return error ? error : left;
}

int main(int argc, char **argv)
{
    static demo d;
    d.options = parse(argc, argv);
    tri_options options;
    if (tri_options_init(&options))
        return EXIT_USAGE;
    options.procs = d.options.procs;
    options.poll_only |= d.options.poll;
    options.gctrace |= d.options.trace;
    printf("tricolor %s: %u s on %u processors, %s%s, a live graph of %zu MiB\n\n", tri_version(),
           d.options.seconds, d.options.procs, d.options.threads ? "threads" : "coroutines",
           d.options.poll ? " that poll" : "", d.options.live >> 20);
    fflush(stdout);
    int error = d.options.threads ? run_on_threads(&options, &d) : tri_run(&options, run, &d);
    if (error)
        fprintf(stderr, "tricolor-demo: %s\n", strerror(-error));
    return error || atomic_load(&d.faults) ? 1 : 0;
}
