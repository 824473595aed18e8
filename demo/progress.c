/* The bar that shows how far the demo is, on a terminal; and the clock that ends it.
 *
 * It goes to standard error, so that the table can be redirected; and not at all beside the
 * collector's trace, which goes there too.
 */
#include "demo.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TICK_NS 100000000
#define WIDTH   50

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void draw(double share, size_t rss)
{
    char bar[WIDTH + 1];
    unsigned full = (unsigned)(share * WIDTH);
    memset(bar, '#', full);
    memset(bar + full, '.', WIDTH - full);
    bar[WIDTH] = 0;
    fprintf(stderr, "\r[%s] %3.0f %%  %zu MiB ", bar, share * 100, rss >> 20);
}

static void erase(void)
{
    fprintf(stderr, "\r%*s\r", WIDTH + 30, "");
}

void progress_until_done(demo *d)
{
    bool bar = isatty(STDERR_FILENO) && !d->options.trace;
    double start = now(), passed;
    while ((passed = now() - start) < d->options.seconds) {
        size_t rss = report_rss();
        if (rss > d->rss_peak)
            d->rss_peak = rss;
        if (bar)
            draw(passed / d->options.seconds, rss);
        tri_sleep(TICK_NS);
    }
    if (bar)
        erase();
}
