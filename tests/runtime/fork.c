/* The child of a fork: the coroutine that forked goes on alone. */
#include "fixture.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

struct cell {
    struct cell *next;
    long value;
};
TRI_TYPE(cell, struct cell, next);

static _Atomic bool stop;
static tri_waitgroup wg;

static void nothing(void *arg)
{
    (void)arg;
}

static void busy(void *arg)
{
    (void)arg;
    while (!stop) {
        tri_keep_alive(tri_make(cell, .value = 1));
        tri_yield();
    }
    tri_waitgroup_done(&wg);
}

static int in_child(struct cell *list)
{
    for (long i = 0; i < 10000; i++)
        list = tri_make(cell, .next = list, .value = i);
    if (tri_go(nothing, NULL) != -ECHILD)
        return 1;
    for (int i = 0; i < 200; i++)
        tri_yield();
    tri_blocking(nothing, NULL);
    for (long i = 10000; i-- > 0; list = list->next)
        if (list->value != i)
            return 2;
    return 0;
}

static int status_of(pid_t child)
{
    int status = 0;
    cr_assert_eq(waitpid(child, &status, 0), child);
    return status;
}

static void fork_beside_others(void *arg)
{
    (void)arg;
    tri_waitgroup_add(&wg, 3);
    for (int i = 0; i < 3; i++)
        tri_go(busy, NULL);
    for (int i = 0; i < FEWER(50, 5); i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(in_child(NULL));
        int status = status_of(child);
        cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child's status was %x",
                  status);
        tri_yield();
    }
    stop = true;
    tri_waitgroup_wait(&wg);
}

Test(fork, the_child_allocates_and_ends_while_the_parent_goes_on, .timeout = 60)
{
    run_on(3, fork_beside_others, NULL);
}

static void park_in_child(void *arg)
{
    (void)arg;
    pid_t child = fork();
    if (child == 0) {
        close(2);
        tri_waitgroup_add(&wg, 1);
        tri_waitgroup_wait(&wg);
        _exit(0);
    }
    int status = status_of(child);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "the child's status was %x",
              status);
}

Test(fork, waiting_in_the_child_ends_it_instead_of_hanging, .timeout = 60)
{
    run_on(2, park_in_child, NULL);
}
