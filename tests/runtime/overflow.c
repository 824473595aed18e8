/* A stack that overflows ends the process with a line that says whose it was. */
#include "fixture.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

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

/* What a run of `fn` in a child says on standard error; its wait status. */
static int report(void (*fn)(void *), char *text, size_t size)
{
    int fd[2];
    cr_assert_eq(pipe(fd), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(fd[1], 2);
        tri_options o;
        tri_options_init(&o);
        o.procs = 2;
        tri_run(&o, fn, NULL);
        _exit(0);
    }
    close(fd[1]);
    size_t n = 0;
    for (ssize_t got; n < size - 1 && (got = read(fd[0], text + n, size - 1 - n)) > 0;)
        n += (size_t)got;
    text[n] = 0;
    close(fd[0]);
    int status;
    waitpid(child, &status, 0);
    return status;
}

Test(overflow, is_reported_with_the_name_of_the_coroutine)
{
    char text[4096];
    int status = report(spawn_named, text, sizeof text);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "status %x: %s", status, text);
    cr_assert(strstr(text, "stack overflow in coroutine"), "%s", text);
    cr_assert(strstr(text, "recursive descent"), "%s", text);
    cr_assert(strstr(text, "60 KiB"), "%s", text);
}

Test(overflow, is_reported_with_the_size_of_the_stack)
{
    char text[4096];
    int status = report(spawn_sized, text, sizeof text);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "status %x: %s", status, text);
    cr_assert(strstr(text, "unnamed"), "%s", text);
    cr_assert(strstr(text, "960 KiB"), "%s", text);
}
