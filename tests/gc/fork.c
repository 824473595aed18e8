/* fork(): the child finds its objects, may allocate, and may exec; the parent notices nothing. */
#include "fixture.h"

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs in the child: no assertion of the test library, which belongs to the parent. */
static int child_works(tri_heap *h, const struct node *tree)
{
    if (tree->value != 1 || tree->left->left->value != 4)
        return 1;
    struct node *list = NULL;
    for (uint64_t i = 0; i < 200000; i++) {
        struct node *n = tri_make(node, .left = list, .value = i);
        tri_set(&n->right, list);
        list = n;
    }
    for (uint64_t i = 200000; i-- > 0; list = list->left)
        if (!list || list->value != i)
            return 2;
    if (tri_new_array(&tri_bytes, 1 << 20) == NULL)
        return 3;
    return tri_collect(h) == -ECHILD ? 0 : 4;
}

/* ThreadSanitizer lets the child of a program with threads live (die_after_fork=0), but its registry still
 * has the parent's threads in it: the first new one of the child that gets the address of one of them is the
 * end ("dup thread with used id"). So there the child starts no collector. */
#define CHILD_CAN_START_THREADS (!TRI_TSAN)

/* As a program that stays would: many collections over what was there at the fork. */
static int child_stays(tri_heap *h, const struct node *tree)
{
    if (tri_restart(h) || tri_restart(h) != -EALREADY)
        return 1;
    for (int i = 0; i < 20; i++) {
        struct node *mine = build(12, 1);
        if (tri_collect(h))
            return 2;
        if (count(mine, 1) != 8191 || count(tree->left, 2) != 1023)
            return 3;
    }
    return tri_detach(h) || tri_heap_destroy(h) ? 4 : 0;
}

static int status_of(pid_t pid)
{
    int status = -1;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

static void fork_and_check(int (*child)(tri_heap *, const struct node *), tri_heap *h,
                           const struct node *tree)
{
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0)
        _exit(child(h, tree));
    int status = status_of(pid);
    cr_assert(WIFEXITED(status), "the child died of signal %d", WTERMSIG(status));
    cr_assert_eq(WEXITSTATUS(status), 0, "the child failed at check %d", WEXITSTATUS(status));
}

Test(fork, the_child_finds_its_objects_and_may_allocate)
{
    tri_heap *h = open_default();
    struct node *tree = build(10, 1);
    fork_and_check(child_works, h, tree);
    if (CHILD_CAN_START_THREADS)
        fork_and_check(child_stays, h, tree);
    collect(h);
    cr_assert_eq(count(tree, 1), 2047);
    close_heap(h);
}

static _Atomic bool stop;

static void churn(void *arg)
{
    struct node *keep = arg;
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        tri_set(&keep->left, build(8, 1));
        tri_keep_alive(tri_new_array(&tri_bytes, 5000));
    }
}

static void collect_on_and_on(void *arg)
{
    while (!atomic_load_explicit(&stop, memory_order_relaxed))
        tri_collect(arg);
}

static void on_thread(void *arg)
{
    collect_on_and_on(tri_current_heap());
    tri_keep_alive(arg);
}

Test(fork, in_the_middle_of_cycles_and_of_other_threads_work)
{
    tri_heap *h = open_default();
    tri_thread *churner, *collector;
    cr_assert_eq(tri_thread_start(h, churn, tri_new(&node), &churner), 0);
    cr_assert_eq(tri_thread_start(h, on_thread, NULL, &collector), 0);
    struct node *tree = build(10, 1);
    for (int i = 0; i < 30; i++) {
        fork_and_check(i % 2 || !CHILD_CAN_START_THREADS ? child_works : child_stays, h, tree);
        tri_set(&tree->right, build(9, 3));
    }
    atomic_store(&stop, true);
    cr_assert_eq(tri_thread_join(churner), 0);
    cr_assert_eq(tri_thread_join(collector), 0);
    cr_assert_eq(count(tree, 1), 2047);
    close_heap(h);
}

Test(fork, the_child_may_exec)
{
    tri_heap *h = open_default();
    struct node *tree = build(10, 1);
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        tri_keep_alive(build(10, 1));
        execl("/bin/sh", "sh", "-c", "exit 7", (char *)NULL);
        _exit(1);
    }
    int status = status_of(pid);
    cr_assert(WIFEXITED(status));
    cr_assert_eq(WEXITSTATUS(status), 7);
    cr_assert_eq(count(tree, 1), 2047);
    close_heap(h);
}

static void forks(void *arg)
{
    struct node *tree = build(10, 1);
    for (int i = 0; i < 5; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            bool good = tree->value == 1 && build(12, 1)->value == 1;
            _exit(good ? 0 : 1);
        }
        cr_assert_eq(status_of(pid), 0);
        tri_yield();
    }
    *(uint64_t *)arg = count(tree, 1);
}

Test(fork, from_a_coroutine)
{
    tri_options o;
    tri_options_init(&o);
    uint64_t counted = 0;
    cr_assert_eq(tri_run(&o, forks, &counted), 0);
    cr_assert_eq(counted, 2047);
}
