/* The verifier is verified: a collector from which one piece of its protocol is left out loses objects, and
 * that is noticed.
 *
 * Each piece has a game that depends on it, and delays at named points (os/delay.h) that make the race
 * wide, for without them it is nanoseconds wide. The same game with the same delays and nothing left out must
 * find nothing. A game is over as soon as something is found: by verify=1, or by a magic that is wrong.
 *
 * Mutators of these games poll (no signals), so that the program says where a handshake can be
 * acknowledged and where not; "late" below means: without a poll.
 *
 * ctest: timeout=900
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "barrier/sabotage.h"
#include "os/delay.h"
#include "support/stress.h"

#ifdef TRI_SABOTAGE

#define CAUGHT_WITHIN 60.0 /* seconds */
#define SOUND_FOR     4.0

typedef struct item {
    struct item *next;
    uint64_t number, magic;
} item;
TRI_TYPE(item_type, item, next);

static int64_t deadline;
static tri_heap *heap;

static item *item_new(uint64_t number, item *next)
{
    return tri_make(item_type, .next = next, .number = number, .magic = stress_mix(number));
}

static void item_check(const item *x)
{
    STRESS_CHECK(x->magic == stress_mix(x->number), "item %llx is lost",
                 (unsigned long long)x->number);
}

static void chain_check(const item *x)
{
    for (; x; x = tri_load(&x->next))
        item_check(x);
}

/* Late, but not busy. */
static void linger(long us)
{
    nanosleep(&(struct timespec){.tv_nsec = us * 1000}, NULL);
}

static void poll_for(long us)
{
    for (long i = 0; i < us / 50; i++) {
        linger(50);
        tri_poll();
    }
}

/* What a function that has returned left below its caller's frame. */
static TRI_NOINLINE void clear_stack(void)
{
    volatile uint64_t dead[512];
    for (size_t i = 0; i < sizeof dead / sizeof *dead; i++)
        dead[i] = 0;
}

/* ---- threads ----------------------------------------------------------------------------------- */

enum { THREADS_MAX = 4 };

/* Starts one attached thread for each, and waits for them. */
static void play(void (*const *players)(void *), unsigned n)
{
    tri_thread *threads[THREADS_MAX];
    for (unsigned i = 0; i < n; i++)
        STRESS_CHECK(tri_thread_start(heap, players[i], NULL, &threads[i]) == 0, "no thread");
    for (unsigned i = 0; i < n; i++)
        tri_thread_join(threads[i]);
}

#define PLAY(...)                                                       \
    do {                                                                \
        void (*const players_[])(void *) = {__VA_ARGS__};               \
        play(players_, (unsigned)(sizeof players_ / sizeof *players_)); \
    } while (0)

/* ---- moving: from words that are to be scanned to words that were ------------------------------ */

/* So many that most are at rest throughout BOTH, in which the insertion half would shade them. */
enum { WORDS = 60000, MOVERS = 2, OWN = 4000 };

static item **words; /* root: a managed array */

typedef struct mover {
    uint64_t seed, number;
    size_t at[OWN];
} mover;

static mover movers[MOVERS];

static size_t empty_word(mover *m)
{
    size_t i;
    do
        i = stress_random(&m->seed) % (WORDS / MOVERS) * MOVERS + m->number % MOVERS;
    while (tri_load(&words[i]));
    return i;
}

static TRI_NOINLINE void move_one(mover *m, unsigned which)
{
    size_t to = empty_word(m), from = m->at[which];
    tri_set(&words[to], tri_load(&words[from]));
    tri_set(&words[from], NULL);
    m->at[which] = to;
}

static TRI_NOINLINE void replace_one(mover *m, unsigned which)
{
    chain_check(tri_load(&words[m->at[which]]));
    uint64_t n = m->number += 8;
    tri_set(&words[m->at[which]], item_new(n, item_new(n + 2, item_new(n + 4, NULL))));
}

static void begin_moving(mover *m, unsigned index)
{
    *m = (mover){.seed = index, .number = index};
    for (unsigned i = 0; i < OWN; i++) {
        m->at[i] = empty_word(m);
        replace_one(m, i);
    }
}

/* Few new ones: they are black. */
static void move_for_a_while(mover *m)
{
    for (unsigned i = 0; i < OWN; i++) {
        move_one(m, i);
        tri_poll();
    }
    replace_one(m, stress_random(&m->seed) % OWN);
    clear_stack();
}

static void move_about(mover *m)
{
    while (!stress_over(deadline))
        move_for_a_while(m);
}

static void first_mover(void *arg)
{
    (void)arg;
    begin_moving(&movers[0], 0);
    move_about(&movers[0]);
}

static void second_mover(void *arg)
{
    (void)arg;
    begin_moving(&movers[1], 1);
    move_about(&movers[1]);
}

static void open_words(void)
{
    STRESS_CHECK(tri_root_add(heap, &words, 1) == 0, "no root");
    tri_set(&words, tri_new_array(&tri_pointers, WORDS));
}

/* Few moves, and nothing after them: what is in the buffer stays there. */
static void move_and_pause(mover *m)
{
    for (unsigned i = 0; !stress_over(deadline); i++) {
        move_one(m, i % OWN);
        clear_stack();
        poll_for(500);
    }
}

static void first_pauser(void *arg)
{
    (void)arg;
    begin_moving(&movers[0], 0);
    move_and_pause(&movers[0]);
}

static void second_pauser(void *arg)
{
    (void)arg;
    begin_moving(&movers[1], 1);
    move_and_pause(&movers[1]);
}

static void moving(void)
{
    open_words();
    PLAY(first_mover, second_mover);
}

static void pausing(void)
{
    open_words();
    PLAY(first_pauser, second_pauser);
}

/* Attached for a few moves at a time: what is in the buffer at detach is all that tells of them. */
static void *visitor(void *arg)
{
    mover *m = &movers[(uintptr_t)arg];
    STRESS_CHECK(tri_attach(heap) == 0, "cannot attach");
    begin_moving(m, (unsigned)(uintptr_t)arg);
    STRESS_CHECK(tri_detach(heap) == 0, "cannot detach");
    for (unsigned i = 0; !stress_over(deadline); i++) {
        STRESS_CHECK(tri_attach(heap) == 0, "cannot attach");
        move_one(m, i % OWN);
        STRESS_CHECK(tri_detach(heap) == 0, "cannot detach");
    }
    return NULL;
}

static void join_visitors(void *arg)
{
    pthread_t *threads = arg;
    for (unsigned i = 0; i < MOVERS; i++)
        pthread_join(threads[i], NULL);
}

static void visiting(void)
{
    pthread_t threads[MOVERS];
    open_words();
    for (uintptr_t i = 0; i < MOVERS; i++)
        STRESS_CHECK(pthread_create(&threads[i], NULL, visitor, (void *)i) == 0, "no thread");
    tri_blocking(join_visitors, threads);
}

/* ---- giving: a white item into another thread's black object ------------------------------------- */

enum { GIFTS = 64 };

static item *shelf[GIFTS], *kept[GIFTS]; /* roots */

/* Black as soon as it can be. */
static void keeper(void *arg)
{
    (void)arg;
    for (uint64_t n = 0; !stress_over(deadline); n++)
        tri_set(&shelf[n % GIFTS], item_new(n, NULL));
}

static TRI_NOINLINE void give(uint64_t number)
{
    item *volatile gifts[GIFTS];
    for (unsigned i = 0; i < GIFTS; i++)
        gifts[i] = item_new(number + i, NULL);
    linger(2000); /* late: the keeper turns black meanwhile */
    for (unsigned i = 0; i < GIFTS; i++) {
        item *to = tri_load(&shelf[i]);
        if (to) {
            tri_set(&to->next, gifts[i]);
            tri_set(&kept[i], to);
        }
        gifts[i] = NULL;
    }
}

/* The gifts are white, for they are made in BOTH, and their maker does not poll again before he has given
 * them away. */
static void giver(void *arg)
{
    (void)arg;
    for (uint64_t n = 1 << 20; !stress_over(deadline); n += GIFTS) {
        while (!(tri_self()->barrier & TRI_SHADE_NEW) && !stress_over(deadline))
            poll_for(50);
        give(n);
        clear_stack();
        poll_for(5000);
        for (unsigned i = 0; i < GIFTS; i++)
            chain_check(tri_load(&kept[i]));
    }
}

static void giving(void)
{
    STRESS_CHECK(tri_root_add(heap, shelf, GIFTS) == 0, "no root");
    STRESS_CHECK(tri_root_add(heap, kept, GIFTS) == 0, "no root");
    PLAY(keeper, giver);
}

/* ---- overwriting: a slow store against one that has no barrier yet --------------------------------- */

static item *common, *filler; /* roots */

/* Is in the middle of a store most of the time, once it has a barrier. */
static void slow_writer(void *arg)
{
    (void)arg;
    while (!stress_over(deadline)) {
        tri_set(&common, tri_load(&filler));
        linger(20);
        tri_poll();
    }
}

static TRI_NOINLINE void write_late(uint64_t number)
{
    item *volatile x = item_new(number, NULL);
    linger(1000); /* late */
    tri_set(&common, x);
    x = NULL;
}

/* At intervals that differ: a fixed one and the cycles, which wait for him, fall into step, and he may then
 * have a barrier at each of his stores. */
static void late_writer(void *arg)
{
    (void)arg;
    for (uint64_t n = 1; !stress_over(deadline); n++) {
        write_late(n);
        clear_stack();
        poll_for((long)(stress_mix(n) % 8000));
    }
}

/* Looks now and then, and polls all the time. */
static void reader(void *arg)
{
    (void)arg;
    item *volatile seen[16] = {0};
    for (unsigned n = 0; !stress_over(deadline);) {
        item *x = tri_load(&common);
        if (x && x != tri_load(&filler))
            seen[n++ % 16] = x;
        for (unsigned i = 0; i < 16; i++)
            if (seen[i])
                item_check(seen[i]);
        poll_for(500);
    }
}

static void overwriting(void)
{
    STRESS_CHECK(tri_root_add(heap, &common, 1) == 0, "no root");
    STRESS_CHECK(tri_root_add(heap, &filler, 1) == 0, "no root");
    tri_set(&filler, item_new(0, NULL));
    PLAY(slow_writer, late_writer, reader);
}

/* ---- parking: items that only a stack holds, which moves between threads ------------------------------ */

enum { SLEEPERS = 24, HELD = 512 };

static TRI_NOINLINE void fill(item *to, uint64_t number)
{
    tri_init(&to->next, item_new(number, NULL));
}

/* Makes an item at every resume, and fills the one that it made at the last: then it ran on another thread,
 * perhaps on one that was black. */
static void sleeper(void *arg)
{
    tri_waitgroup *all = arg;
    item *volatile held[HELD] = {0};
    for (uint64_t n = 1; !stress_over(deadline); n++) {
        item *last = held[(n - 1) % HELD], *x = tri_new(&item_type);
        x->number = n;
        x->magic = stress_mix(n);
        chain_check(held[n % HELD]);
        held[n % HELD] = x;
        if (last)
            fill(last, ~n);
        clear_stack();
        tri_yield();
    }
    tri_waitgroup_done(all);
}

static void parking(void)
{
    tri_waitgroup all = TRI_WAITGROUP_INIT;
    STRESS_CHECK(tri_sched_start(heap, 4) == 0,
                 "no scheduler"); /* one P is lent to the collector */
    tri_waitgroup_add(&all, SLEEPERS);
    for (unsigned i = 0; i < SLEEPERS; i++)
        STRESS_CHECK(tri_go(sleeper, &all) == 0, "no coroutine");
    tri_waitgroup_wait(&all);
    STRESS_CHECK(tri_sched_stop(heap) == 0, "the scheduler does not stop");
}

/* ---- passing: items that only a waiter's slots hold ---------------------------------------------------- */

static tri_chan *channel; /* root */

/* The letter lies in C memory between its making and its sending, where no safepoint is, so that the
 * sender's frame does not keep it alive. */
static void send_letters(uint64_t number, long late)
{
    item **letter = stress_calloc(1, sizeof *letter);
    for (; !stress_over(deadline); number++) {
        item *volatile x = item_new(number, NULL);
        if (late)
            linger(late);
        *letter = x;
        x = NULL;
        clear_stack();
        tri_chan_send(channel, letter);
        *letter = NULL;
    }
    /* Nobody stays behind with nobody to send to him. */
    tri_chan_close(channel);
}

enum { SENDERS = 60, RECEIVERS = 2, LETTERS = 2048 };

/* Letters are kept for long enough that the end of the cycle finds them. */
static void receive_letters(void)
{
    item *volatile seen[LETTERS] = {0};
    item *got;
    for (unsigned n = 0; tri_chan_recv(channel, &got) == 1; n++) {
        item_check(got);
        item *old = seen[n % LETTERS];
        if (old)
            item_check(old);
        seen[n % LETTERS] = got;
        got = NULL;
        tri_yield();
    }
}

static void late_sender(void *arg)
{
    (void)arg;
    send_letters(1, 300);
}

static void thread_receiver(void *arg)
{
    (void)arg;
    receive_letters();
}

static void open_channel(void)
{
    STRESS_CHECK(tri_root_add(heap, &channel, 1) == 0, "no root");
    tri_set(&channel, tri_chan_new(&tri_pointers, 0));
}

/* To threads that wait: the collector acknowledges for them early. */
static void passing(void)
{
    open_channel();
    PLAY(late_sender, thread_receiver, thread_receiver);
}

static void coroutine_sender(void *arg)
{
    send_letters(1, 0);
    tri_waitgroup_done(arg);
}

static void coroutine_receiver(void *arg)
{
    receive_letters();
    tri_waitgroup_done(arg);
}

/* From coroutines that wait: the collector comes to them late. */
static void fetching(void)
{
    tri_waitgroup all = TRI_WAITGROUP_INIT;
    open_channel();
    STRESS_CHECK(tri_sched_start(heap, 4) == 0,
                 "no scheduler"); /* one P is lent to the collector */
    tri_waitgroup_add(&all, SENDERS + RECEIVERS);
    for (unsigned i = 0; i < SENDERS + RECEIVERS; i++)
        STRESS_CHECK(tri_go(i < SENDERS ? coroutine_sender : coroutine_receiver, &all) == 0,
                     "no coroutine");
    tri_waitgroup_wait(&all);
    STRESS_CHECK(tri_sched_stop(heap) == 0, "the scheduler does not stop");
}

/* ---- running a game ------------------------------------------------------------------------------- */

typedef struct game {
    void (*run)(void);
    const char *delays;
    const char *piece; /* what is left out; NULL: nothing */
    double seconds;
} game;

static void run(void *arg)
{
    const game *g = arg;
    tri_options o;
    STRESS_CHECK(barrier_sabotage(g->piece) == 0, "no such piece: %s", g->piece);
    STRESS_CHECK(tri_options_init(&o) == 0, "the environment's options are wrong");
    o.verify = true;
    o.poll_only = true;
    o.barrier_check = 0; /* it sends every store the slow way, and into its delays */
    STRESS_CHECK(tri_heap_create(&o, &heap) == 0, "no heap");
    STRESS_CHECK(os_delay_configure(NULL) == 0 && os_delay_configure(g->delays) == 0,
                 "the delays are wrong: %s", g->delays);
    STRESS_CHECK(tri_attach(heap) == 0, "cannot attach");
    deadline = stress_deadline(g->seconds);
    stress_collector *c = stress_collect(heap);
    g->run();
    uint64_t cycles = stress_collect_end(c);
    STRESS_CHECK(cycles > 10, "only %llu collections ran", (unsigned long long)cycles);
    fprintf(stderr, "%llu collections\n", (unsigned long long)cycles);
}

static void expect_sound(game g)
{
    char said[4096];
    g.seconds = SOUND_FOR;
    int status = stress_in_child(run, &g, said, sizeof said);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "nothing is left out, but: %s", said);
}

static void expect_caught(game g, const char *piece)
{
    char said[4096];
    g.piece = piece;
    g.seconds = CAUGHT_WITHIN;
    int64_t start = stress_deadline(0);
    int status = stress_in_child(run, &g, said, sizeof said);
    cr_assert(strstr(said, "SABOTAGED on purpose"), "%s", said);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT,
              "%s was left out, and nothing was noticed: %s", piece, said);
    cr_assert(strstr(said, "missed an object") || strstr(said, "is lost") ||
                  strstr(said, "was not scanned in this cycle"),
              "%s was left out, and something else was noticed: %s", piece, said);
    cr_log_info("%s: after %.2f s: %s", piece, (double)(stress_deadline(0) - start) / 1e9, said);
}

static const game moves = {.run = moving, .delays = "mark.scan:20:2,round.begun:300:100"};
static const game visits = {.run = visiting, .delays = "mark.scan:20:2,round.begun:300:100"};
static const game pauses = {.run = pausing, .delays = "mark.scan:20:2"};
static const game gifts = {.run = giving, .delays = "cycle.h1b:1000:100"};
static const game writes = {.run = overwriting, .delays = "barrier.between:3000:100"};
static const game parks = {.run = parking, .delays = "h2.raise:1000:100"};
static const game posts = {.run = passing, .delays = "block.return:3000:100,cycle.h1b:200:100"};
static const game fetches = {.run = fetching, .delays = "mark.stacks:2000:100"};

Test(stress_sabotage, without_the_deletion_half_objects_are_lost)
{
    expect_caught(moves, "deletion");
}

Test(stress_sabotage, without_draining_in_rounds_objects_are_lost)
{
    expect_caught(pauses, "round");
}

Test(stress_sabotage, without_shading_what_was_handed_over_objects_are_lost)
{
    expect_caught(pauses, "blocks");
}

Test(stress_sabotage, without_the_recheck_at_termination_objects_are_lost)
{
    expect_caught(pauses, "recheck");
}

Test(stress_sabotage, without_draining_at_detach_objects_are_lost)
{
    expect_caught(visits, "detach");
}

Test(stress_sabotage, without_the_insertion_half_objects_are_lost)
{
    expect_caught(gifts, "insertion");
}

Test(stress_sabotage, without_black_allocation_objects_are_lost)
{
    expect_caught(moves, "black");
}

Test(stress_sabotage, without_waiting_out_old_stores_objects_are_lost)
{
    expect_caught(writes, "h1b");
}

Test(stress_sabotage, without_scanning_a_stack_on_resume_objects_are_lost)
{
    expect_caught(parks, "resume");
}

Test(stress_sabotage, without_rescanning_a_stack_that_is_resumed_in_both_objects_are_lost)
{
    expect_caught(parks, "regrey");
}

Test(stress_sabotage, without_shading_by_initialising_stores_in_both_objects_are_lost)
{
    expect_caught(parks, "init");
}

Test(stress_sabotage, without_shading_on_the_pushing_side_objects_are_lost)
{
    expect_caught(posts, "push");
}

Test(stress_sabotage, without_shading_on_the_pulling_side_objects_are_lost)
{
    expect_caught(fetches, "pull");
}

Test(stress_sabotage, nothing_is_lost_in_any_game_if_nothing_is_left_out)
{
    const game games[] = {moves, visits, pauses, gifts, writes, parks, posts, fetches};
    for (size_t i = 0; i < sizeof games / sizeof *games; i++)
        expect_sound(games[i]);
}

#else

Test(stress_sabotage, cannot_be_asked_of_a_build_that_is_meant_to_work)
{
    cr_assert_eq(barrier_sabotage("deletion"), -ENOSYS);
    cr_assert_null(barrier_sabotage_name());
}

#endif
