/* verify=1 finds what a forgotten barrier hides, and finds nothing where none is forgotten.
 *
 * One object, referred to by one word of a large array, is moved from word to word while the array is
 * marked in pieces. Moved with tri_set() it is always found. Moved with plain stores, it sooner or later
 * goes from a piece that is still to be scanned to one that has been.
 *
 * ctest: timeout=120
 */
#include "fixture.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/clock.h"
#include "os/thread.h"
#include "support/stress.h"

#define WORDS   400000
#define SECONDS 30

static _Atomic bool stop;
static struct node **words;

static void collect_on_and_on(void *heap)
{
    while (!atomic_load_explicit(&stop, memory_order_relaxed))
        tri_collect(heap);
}

typedef void (*move_fn)(struct node **to, struct node **from);

static void move_with_barrier(struct node **to, struct node **from)
{
    tri_set(to, *from);
    tri_set(from, NULL);
}

static void move_without_barrier(struct node **to, struct node **from)
{
    __atomic_store_n(to, *from, __ATOMIC_RELAXED);
    __atomic_store_n(from, NULL, __ATOMIC_RELAXED);
}

/* In a frame of its own: a copy of the pointer in the frame that moves it about would keep the object. */
static TRI_NOINLINE void make_words(void)
{
    tri_set(&words, tri_new_array(&tri_pointers, WORDS));
    tri_set(&words[0], tri_make(node, .value = 1));
}

static tri_heap *open_verified(void)
{
    tri_options o;
    tri_options_init(&o);
    o.verify = true;
    tri_heap *h;
    if (tri_heap_create(&o, &h) || tri_attach(h))
        _exit(2);
    return h;
}

static void move_about(move_fn move, int64_t ns)
{
    tri_heap *h = open_verified();
    /* A root, so that the walk comes by the array before it looks at this stack. */
    if (tri_root_add(h, &words, 1))
        _exit(5);
    make_words();
    os_thread collector;
    if (os_thread_start(&collector, collect_on_and_on, h, "collects", 0))
        _exit(3);
    int64_t end = os_now() + ns;
    size_t at = 0;
    for (uint64_t seed = 1; os_now() < end;) {
        for (int i = 0; i < 64; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            size_t to = (seed >> 33) % WORDS;
            if (to != at)
                move(&words[to], &words[at]);
            at = to;
        }
        if (TRI_TSAN) /* there are no handshakes by signal */
            tri_poll();
    }
    if (words[at]->value != 1)
        _exit(4);
    atomic_store(&stop, true);
    _exit(0);
}

/* Keeps on the stack what dead registers of an allocation may hold: the addresses after its run, and those
 * of some older garbage's slots. */
static void keep_ends_of_runs(move_fn move, int64_t ns)
{
    (void)move;
    tri_heap *h = open_verified();
    os_thread collector;
    if (os_thread_start(&collector, collect_on_and_on, h, "collects", 0))
        _exit(3);
    struct node *some[64] = {NULL};
    volatile uintptr_t words_after[2];
    int64_t end = os_now() + ns;
    for (size_t i = 0; i % 64 || os_now() < end; i++) {
        /* What survives leaves holes, so that runs end beside objects. */
        some[i * i % 61] = tri_make(node, .value = (long)i);
        const tri_slots *run = &tri_self()->runs[node.cell];
        words_after[0] = run->end;
        words_after[1] = run->end + run->size;
        (void)words_after[0], (void)words_after[1];
    }
    tri_keep_alive(some[0]);
    atomic_store(&stop, true);
    _exit(0);
}

/* Of a child: what it does, how and for how long. */
struct deed {
    void (*fn)(move_fn move, int64_t ns);
    move_fn move;
    int64_t ns;
};

static void do_deed(void *deed)
{
    const struct deed *d = deed;
    d->fn(d->move, d->ns);
}

/* Its status as of waitpid(), and what it wrote to standard error. */
static int run_child(void (*child)(move_fn, int64_t), move_fn move, int64_t ns, char *said,
                     size_t size)
{
    return stress_in_child(do_deed, &(struct deed){child, move, ns}, said, size);
}

Test(verify, finds_nothing_where_every_store_has_its_barrier)
{
    char said[4096];
    int status = run_child(move_about, move_with_barrier, 2000000000, said, sizeof said);
    cr_assert(WIFEXITED(status), "died of signal %d: %s", WTERMSIG(status), said);
    cr_assert_eq(WEXITSTATUS(status), 0);
}

Test(verify, finds_the_object_that_a_forgotten_barrier_hid_and_tells_the_path)
{
    char said[4096];
    int status = run_child(move_about, move_without_barrier, (int64_t)SECONDS * 1000000000, said,
                           sizeof said);
    cr_assert(WIFSIGNALED(status), "nothing was found in %d seconds", SECONDS);
    cr_assert_eq(WTERMSIG(status), SIGABRT);
    cr_assert(strstr(said, "the collector missed an object of type node"), "said: %s", said);
    cr_assert(strstr(said, "from pointers at"), "said: %s", said);
    cr_assert(strstr(said, "from a registered root"), "said: %s", said);
}

Test(verify, takes_the_address_after_a_run_for_no_reference)
{
    char said[4096];
    int status = run_child(keep_ends_of_runs, NULL, 2000000000, said, sizeof said);
    cr_assert(WIFEXITED(status), "died of signal %d: %s", WTERMSIG(status), said);
    cr_assert_eq(WEXITSTATUS(status), 0);
}
