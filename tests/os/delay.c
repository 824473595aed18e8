// Named delay points and the random decisions behind them.

#include "os/delay.h"
#include "os/replay.h"
#include "os/thread.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef TRI_DELAYS

static void pass_first(void)
{
    OS_DELAY("test.first");
}

static void pass_second(void)
{
    OS_DELAY("test.second");
}

struct counts {
    uint32_t first, second, others;
};

static void count(void *arg, const char *name, uint32_t delays)
{
    struct counts *c = arg;
    if (strcmp(name, "test.first") == 0)
        c->first += delays;
    else if (strcmp(name, "test.second") == 0)
        c->second += delays;
    else
        c->others++;
}

static struct counts pass_both(int times)
{
    struct counts before = {0}, after = {0};
    os_delay_points(count, &before);
    for (int i = 0; i < times; i++) {
        pass_first();
        pass_second();
    }
    os_delay_points(count, &after);
    return (struct counts){after.first - before.first, after.second - before.second, after.others};
}

Test(os_delay, only_who_passes_the_named_point_is_delayed)
{
    struct counts c = pass_both(10);
    cr_assert_eq(c.first + c.second, 0);
    cr_assert_eq(os_delay_configure("test.second:1:100"), 0);
    c = pass_both(10);
    cr_assert_eq(c.first, 0);
    cr_assert_eq(c.second, 10);
}

Test(os_delay, a_star_means_all_that_begin_so_and_a_later_rule_wins)
{
    cr_assert_eq(os_delay_configure("test.*:1:100,test.first:1:0"), 0);
    struct counts c = pass_both(10);
    cr_assert_eq(c.first, 0);
    cr_assert_eq(c.second, 10);
    cr_assert_eq(os_delay_configure(NULL), 0);
    c = pass_both(10);
    cr_assert_eq(c.first + c.second, 0);
}

Test(os_delay, a_percentage_means_about_so_many_and_may_have_decimals)
{
    os_replay_seed(1);
    cr_assert_eq(os_delay_configure("test.first:0:50,test.second:0:0.5"), 0);
    struct counts c = pass_both(10000);
    cr_assert(c.first > 4500 && c.first < 5500, "%u of 10000", c.first);
    cr_assert(c.second > 20 && c.second < 100, "%u of 10000", c.second);
}

Test(os_delay, what_is_not_understood_changes_nothing)
{
    static const char *const bad[] = {
        "test.first",       "test.first:1",   "test.first:1:101", ":1:1",
        "test.first:1.5:1", "test.first:x:1", "test.first:1:1:1", "test.first:-1:1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_eq(os_delay_configure(bad[i]), -EINVAL, "%s", bad[i]);
    cr_assert_eq(os_delay_configure("test.first:1:100,no.such.point:1:1"), -ENOENT);
    cr_assert_eq(pass_both(10).first, 0);
}

Test(os_delay, a_delay_keeps_errno)
{
    cr_assert_eq(os_delay_configure("test.first:100:100"), 0);
    errno = ERANGE;
    pass_first();
    cr_assert_eq(errno, ERANGE);
}

// ---- replay

enum { THREADS = 3, DRAWS = 8 };

static uint32_t drawn[THREADS + 1][DRAWS];

static void draw(void *to)
{
    uint32_t *d = to;
    for (int i = 0; i < DRAWS; i++)
        d[i] = os_replay_below(1000000);
}

// In a process of its own: numbers of threads are not used twice.
static void draw_in_child(uint64_t seed, uint32_t out[THREADS + 1][DRAWS])
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        os_replay_seed(seed);
        draw(drawn[THREADS]);
        for (int i = 0; i < THREADS; i++) {
            os_thread t;
            if (os_thread_start(&t, draw, drawn[i], NULL, 0) || os_thread_join(&t))
                _exit(1);
        }
        _exit(write(ends[1], drawn, sizeof drawn) != sizeof drawn);
    }
    cr_assert_eq(read(ends[0], out, sizeof drawn), sizeof drawn);
    close(ends[0]);
    close(ends[1]);
    int status;
    waitpid(pid, &status, 0);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

Test(os_replay, with_the_same_seed_each_thread_draws_the_same_again)
{
    uint32_t a[THREADS + 1][DRAWS], b[THREADS + 1][DRAWS], c[THREADS + 1][DRAWS];
    draw_in_child(5, a);
    draw_in_child(5, b);
    draw_in_child(6, c);
    cr_assert_eq(memcmp(a, b, sizeof a), 0);
    for (int i = 0; i <= THREADS; i++) {
        cr_assert_neq(memcmp(a[i], c[i], sizeof a[i]), 0, "another seed, thread %d", i);
        if (i < THREADS)
            cr_assert_neq(memcmp(a[i], a[i + 1], sizeof a[i]), 0, "thread %d draws as the next", i);
    }
}

#else

Test(os_delay, compiled_out_it_says_so)
{
    cr_assert_eq(os_delay_configure(NULL), 0);
    cr_assert_eq(os_delay_configure("*:1:1"), -ENOSYS);
}

#endif
