/* A stack that overflows ends the process with a line that says whose it was. */
#include "fixture.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "support/stress.h"

static TRI_NOINLINE int recurse(int n)
{
    volatile char frame[512];
    frame[0] = (char)n;
    return n < 0 ? 0 : recurse(n + 1) + frame[0];
}

static void overflow(void *arg)
{
    *(volatile int *)arg = recurse(0);
}

static volatile int sink;

static void spawn_named(void *arg)
{
    (void)arg;
    tri_go_named(overflow, (void *)&sink, "recursive descent");
    tri_sleep(5000 * MS);
}

static void spawn_sized(void *arg)
{
    (void)arg;
    tri_go_sized(overflow, (void *)&sink, 1 << 20);
    tri_sleep(5000 * MS);
}

static void run(void *fn)
{
    tri_options o;
    tri_options_init(&o);
    o.procs = 2;
    tri_run(&o, *(void (**)(void *))fn, NULL);
}

Test(overflow, is_reported_with_the_name_of_the_coroutine)
{
    char text[4096];
    int status = stress_in_child(run, &(void (*)(void *)){spawn_named}, text, sizeof text);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "status %x: %s", status, text);
    cr_assert(strstr(text, "stack overflow in coroutine"), "%s", text);
    cr_assert(strstr(text, "recursive descent"), "%s", text);
    cr_assert(strstr(text, "60 KiB"), "%s", text);
}

Test(overflow, is_reported_with_the_size_of_the_stack)
{
    char text[4096];
    int status = stress_in_child(run, &(void (*)(void *)){spawn_sized}, text, sizeof text);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "status %x: %s", status, text);
    cr_assert(strstr(text, "unnamed"), "%s", text);
    cr_assert(strstr(text, "960 KiB"), "%s", text);
}
