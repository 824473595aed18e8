/* barriercheck=1 reports each way to forget the barrier: the type, the field, the object, where it was made,
 * and both values.
 *
 * Each way is a program of its own, in a child, that says first what the report must say ("expect: ...") and then
 * forgets the barrier. The parent compares. Without TRI_DEBUG there is no checker, and that is what is
 * tested then.
 *
 * ctest: timeout=120
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/stress.h"
#include "tricolor/tricolor.h"

#if defined(TRI_DEBUG) && TRI_DEBUG >= 1

struct node {
    struct node *left, *right;
    long key;
    struct node *more[3];
};
TRI_TYPE(node, struct node, left, right, more);

static tri_heap *heap;

static tri_heap *open_heap(int check)
{
    tri_options o;
    tri_heap *h;
    STRESS_CHECK(tri_options_init(&o) == 0, "options");
    o.barrier_check = check;
    STRESS_CHECK(tri_heap_create(&o, &h) == 0, "no heap");
    STRESS_CHECK(tri_attach(h) == 0, "cannot attach");
    return h;
}

/* ---- what is expected ------------------------------------------------------------------------- */

#define expect(format, ...) \
    STRESS_CHECK(dprintf(2, "expect: " format "\n", ##__VA_ARGS__) > 0, "nobody listens")

static void expect_value(const char *what, const void *value)
{
    if (value)
        expect("  %-9s %p, ", what, value);
    else
        expect("  %-9s NULL\n", what);
}

static void expect_fault(const char *type, const void *object, int line, const char *field,
                         const void *held, const void *recorded)
{
    expect("  object    %s at %p, made at %s:%d\n", type, object, __FILE__, line);
    expect("  field     %s\n", field);
    expect_value("holds", held);
    expect_value("recorded", recorded);
}

/* Objects that know the line they were made in. */
static int line_made;
#define MAKE(...)      (line_made = __LINE__, tri_make(node, __VA_ARGS__))
#define ARRAY(type, n) (line_made = __LINE__, tri_new_array(&(type), n))

/* ---- ways to forget it ------------------------------------------------------------------------ */

static struct node *root[4];

static void by_assignment(void)
{
    struct node *old = MAKE(.key = 1), *new = MAKE(.key = 2), *p = MAKE(.left = old);
    expect_fault("node", p, line_made, "left, at offset 0", new, old);
    p->left = new;
}

static void by_memcpy_over_an_object(void)
{
    struct node *a = MAKE(.key = 1), *from = MAKE(.right = a), *to = MAKE(.key = 3);
    expect_fault("node", to, line_made, "right, at offset 8", a, NULL);
    memcpy(to, from, sizeof *to);
}

static void by_struct_assignment(void)
{
    struct node *a = MAKE(.key = 1), *from = MAKE(.more = {NULL, a}), *to = MAKE(.key = 3);
    expect_fault("node", to, line_made, "more[1], at offset 32", a, NULL);
    *to = *from;
}

static void by_memmove_of_pointers(void)
{
    struct node *a = MAKE(.key = 1);
    struct node **array = ARRAY(tri_pointers, 10);
    tri_set(&array[4], a);
    expect_fault("pointers[]", array, line_made, "[5], at offset 40", a, NULL);
    memmove(array + 1, array, 9 * sizeof *array);
    array[4] = a; /* as it was: one word differs */
}

static void by_growing_like_realloc(void)
{
    struct node *a = MAKE(.key = 1);
    struct node **small = ARRAY(tri_pointers, 3);
    tri_set(&small[2], a);
    struct node **large = ARRAY(tri_pointers, 6);
    expect_fault("pointers[]", large, line_made, "[2], at offset 16", a, NULL);
    memcpy(large, small, 3 * sizeof *small);
}

static void into_a_root(void)
{
    struct node *a = MAKE(.key = 1), *b = MAKE(.key = 2);
    tri_set(&root[3], a);
    expect("  root      word 3 of 4 registered at %p, by tri_root_add() at ", (void *)root);
    expect_value("holds", b);
    expect_value("recorded", a);
    expect("test_barrier_check+0x");
    root[3] = b;
}

static void by_an_atomic_builtin(void)
{
    struct node *a = MAKE(.key = 1), *p = MAKE(.left = a, .right = a);
    expect_fault("node", p, line_made, "right, at offset 8", p, a);
    (void)__atomic_exchange_n(&p->right, p, __ATOMIC_SEQ_CST);
}

static void through_a_cast(void)
{
    struct node *a = MAKE(.key = 1), *p = MAKE(.key = 2);
    expect_fault("node", p, line_made, "more[2], at offset 40", a, NULL);
    *(uintptr_t *)((char *)p + offsetof(struct node, more) + 16) = (uintptr_t)a;
}

static int by_key(const void *a, const void *b)
{
    long x = (*(struct node *const *)a)->key, y = (*(struct node *const *)b)->key;
    return (x > y) - (x < y);
}

static void by_qsort_of_pointers(void)
{
    struct node *first = MAKE(.key = 1), *second = MAKE(.key = 2);
    struct node **array = ARRAY(tri_pointers, 2);
    tri_set(&array[0], second);
    tri_set(&array[1], first);
    expect_fault("pointers[]", array, line_made, "[0], at offset 0", first, second);
    qsort(array, 2, sizeof *array, by_key);
}

static void by_swapping_by_hand(void)
{
    struct node *a = MAKE(.key = 1), *b = MAKE(.key = 2), *p = MAKE(.left = a, .right = b);
    expect_fault("node", p, line_made, "left, at offset 0", b, a);
    struct node *t = p->left;
    p->left = p->right;
    p->right = t;
}

static void by_initialising_after_the_escape(void)
{
    struct node *a = MAKE(.key = 1);
    line_made = __LINE__ + 1;
    struct node *p = tri_new(&node);
    expect_fault("node", p, line_made, "left, at offset 0", a, NULL);
    tri_set(&root[0], p);
    p->left = a;
}

static void by_clearing_with_memset(void)
{
    struct node *a = MAKE(.key = 1), *p = MAKE(.right = a);
    expect_fault("node", p, line_made, "right, at offset 8", NULL, a);
    memset(p, 0, sizeof *p);
}

static void into_an_element_of_an_array(void)
{
    struct node *a = MAKE(.key = 1), *array = ARRAY(node, 7);
    expect_fault("node[]", array, line_made, "[5].more[0], at offset 264", a, NULL);
    array[5].more[0] = a;
}

#define MANY 100000

static void into_a_large_array(void)
{
    struct node *a = MAKE(.key = 1), **array = ARRAY(tri_pointers, MANY);
    tri_set(&array[MANY - 1], a);
    expect_fault("pointers[]", array, line_made, "[99999], at offset 799992", NULL, a);
    array[MANY - 1] = NULL;
}

struct wide {
    long numbers[80];
    struct wide *next;
};
TRI_TYPE(wide, struct wide, next);

static void into_a_field_beyond_the_mask(void)
{
    line_made = __LINE__ + 1;
    struct wide *p = tri_make(wide, .numbers = {1});
    expect_fault("wide", p, line_made, "next, at offset 640", p, NULL);
    p->next = p;
}

static void store_plainly(void *arg)
{
    struct node *p = arg;
    p->left = p;
}

static void by_another_thread(void)
{
    struct node *p = MAKE(.key = 1);
    expect_fault("node", p, line_made, "left, at offset 0", p, NULL);
    tri_thread *t;
    STRESS_CHECK(tri_thread_start(heap, store_plainly, p, &t) == 0, "no thread");
    tri_thread_join(t);
}

/* The barrier of another heap is none for this one. */
static void with_another_heap_current(void)
{
    struct node *a = MAKE(.key = 1), *p = MAKE(.key = 2);
    expect_fault("node", p, line_made, "left, at offset 0", a, NULL);
    tri_heap *other = open_heap(TRI_BARRIER_CHECK_ABORT);
    tri_enter(other);
    tri_set(&p->left, a);
    tri_enter(heap);
}

static const struct way {
    const char *name;
    void (*forget)(void);
} ways[] = {
    {"p->f = v", by_assignment},
    {"memcpy over an object", by_memcpy_over_an_object},
    {"struct assignment", by_struct_assignment},
    {"memmove of pointers", by_memmove_of_pointers},
    {"copying into a larger array", by_growing_like_realloc},
    {"a store into a root", into_a_root},
    {"an atomic builtin", by_an_atomic_builtin},
    {"a store through a cast", through_a_cast},
    {"qsort of pointers", by_qsort_of_pointers},
    {"swapping by hand", by_swapping_by_hand},
    {"initialising after the escape", by_initialising_after_the_escape},
    {"memset", by_clearing_with_memset},
    {"an element of an array of structs", into_an_element_of_an_array},
    {"a large array", into_a_large_array},
    {"a field beyond the 64th word", into_a_field_beyond_the_mask},
    {"another thread", by_another_thread},
    {"another heap's barrier", with_another_heap_current},
};

/* ---- children --------------------------------------------------------------------------------- */

typedef struct program {
    void (*forget)(void);
    void (*notice)(void);
} program;

static void collect(void)
{
    tri_collect(heap);
}

static void run_program(void *arg)
{
    const program *p = arg;
    heap = open_heap(TRI_BARRIER_CHECK_ABORT);
    STRESS_CHECK(tri_root_add(heap, root, 4) == 0, "no root");
    p->forget();
    p->notice();
}

/* In this process; what is written to standard error goes to `said`. For programs that end their heaps, which
 * ThreadSanitizer does not stand in the child of a fork. */
static void run_here(void (*fn)(void), char *said, size_t size)
{
    FILE *to = tmpfile();
    int before = dup(2);
    cr_assert(to && before >= 0);
    dup2(fileno(to), 2);
    fn();
    dup2(before, 2);
    close(before);
    rewind(to);
    said[fread(said, 1, size - 1, to)] = 0;
    fclose(to);
}

/* Every "expect:" is in the report, and there were some. */
static void compare(const char *name, char *said)
{
    static const char mark[] = "expect: ";
    char *report = strstr(said, "tricolor: barriercheck: ");
    cr_assert(report, "%s: no report in: %s", name, said);
    int expected = 0;
    for (char *at = strstr(said, mark); at; at = strstr(at, mark)) {
        at += sizeof mark - 1;
        /* To the end of the line; an expected end of line is an empty line. */
        char *end = strchr(at, '\n');
        char text[512];
        cr_assert_lt((size_t)(end - at), sizeof text - 1);
        size_t n = (size_t)(end - at) + (end[1] == '\n');
        memcpy(text, at, n);
        text[n] = 0;
        cr_assert(strstr(report, text), "%s: \"%s\" is not in: %s", name, text, report);
        expected++;
    }
    cr_assert_geq(expected, 4, "%s expects too little", name);
}

static void run_child(const char *name, program p, char *said, size_t size)
{
    int status = stress_in_child(run_program, &p, said, size);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%s: status %d, said: %s", name,
              status, said);
    cr_assert(strstr(said, "tricolor: fatal: barriercheck: "), "%s: said %s", name, said);
}

/* The torture build may have collected before. */
#ifdef TRI_TORTURE
#define FIRST_COLLECTION "noticed   at the end of collection "
#else
#define FIRST_COLLECTION "noticed   at the end of collection 1\n"
#endif

Test(barrier_check, reports_each_way_to_forget_the_barrier_with_type_field_object_and_site)
{
    char said[8192];
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        run_child(ways[i].name, (program){ways[i].forget, collect}, said, sizeof said);
        compare(ways[i].name, said);
        cr_assert(strstr(said, FIRST_COLLECTION), "%s: said %s", ways[i].name, said);
    }
}

static void end(void)
{
    STRESS_CHECK(tri_detach(heap) == 0, "cannot detach");
    STRESS_CHECK(tri_heap_destroy(heap) == 0, "cannot destroy");
}

static void forget_and_end(void)
{
    heap = open_heap(TRI_BARRIER_CHECK_WARN);
    by_assignment();
    end();
}

Test(barrier_check, reports_what_no_collection_came_by_to_see_when_the_heap_is_destroyed)
{
    char said[8192];
    run_here(forget_and_end, said, sizeof said);
    compare("destroy", said);
    cr_assert(strstr(said, "noticed   when the heap was destroyed\n"), "said %s", said);
}

static struct node *overwritten;

static void forget_in_overwritten(void)
{
    struct node *a = MAKE(.key = 1);
    overwritten = MAKE(.key = 2);
    expect_fault("node", overwritten, line_made, "right, at offset 8", a, NULL);
    overwritten->right = a;
}

static void overwrite(void)
{
    tri_set(&overwritten->right, NULL);
}

Test(barrier_check, reports_a_plain_store_that_a_store_with_a_barrier_is_about_to_overwrite)
{
    char said[8192];
    run_child("overwrite", (program){forget_in_overwritten, overwrite}, said, sizeof said);
    compare("overwrite", said);
    cr_assert(strstr(said, "noticed   when the same word was next stored to"), "said %s", said);
}

static void overwrite_root(void)
{
    void *expected = root[3];
    tri_compare_exchange(&root[3], &expected, NULL);
}

Test(barrier_check, reports_a_plain_store_into_a_root_before_it_is_overwritten)
{
    char said[8192];
    run_child("overwrite root", (program){into_a_root, overwrite_root}, said, sizeof said);
    compare("overwrite root", said);
}

/* ---- going on --------------------------------------------------------------------------------- */

static void forget_thrice(void)
{
    heap = open_heap(TRI_BARRIER_CHECK_WARN);
    struct node *p = MAKE(.key = 1), *q = MAKE(.key = 2);
    p->left = q;
    tri_collect(heap);
    tri_collect(heap);
    STRESS_CHECK(tri_barrier_faults(heap) == 1, "the same fault counts again");
    p->right = q;
    q->left = p;
    tri_collect(heap);
    STRESS_CHECK(tri_barrier_faults(heap) == 3, "%d faults", (int)tri_barrier_faults(heap));
    STRESS_CHECK(p->left == q && q->left == p, "the checker changed the heap");
    end();
}

Test(barrier_check, goes_on_and_counts_each_fault_once_when_asked_to_warn)
{
    char said[8192];
    int reports = 0;
    run_here(forget_thrice, said, sizeof said);
    for (char *at = said; (at = strstr(at, "stored without the write barrier")); at++)
        reports++;
    cr_assert_eq(reports, 3, "said: %s", said);
    cr_assert(strstr(said, "tricolor: barriercheck: 3 faults in this heap\n"), "said: %s", said);
}

static void forget_in_each_of_many(void *arg)
{
    (void)arg;
    heap = open_heap(TRI_BARRIER_CHECK_WARN);
    enum { N = 300 };
    struct node **all = tri_new_array(&tri_pointers, N);
    for (int i = 0; i < N; i++)
        tri_set(&all[i], MAKE(.key = i));
    for (int i = 0; i < N; i++)
        all[i]->right = all[0];
    tri_collect(heap);
    STRESS_CHECK(tri_barrier_faults(heap) == N, "%d faults", (int)tri_barrier_faults(heap));
}

Test(barrier_check, misses_none_of_many_objects)
{
    static char said[1 << 17];
    int status = stress_in_child(forget_in_each_of_many, NULL, said, sizeof said);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %d, said: %s", status, said);
    cr_assert(strstr(said, "the rest are only counted"), "said: %s", said);
}

#define PLACES 65536
static struct node *places[PLACES];
static int ranges[PLACES]; /* that each is registered in */

static void add_range(size_t first, size_t count)
{
    if (tri_root_add(heap, &places[first], count))
        stress_fail(__FILE__, __LINE__, "no root");
    for (size_t i = first; i < first + count; i++)
        ranges[i]++;
}

/* Single words at random, and a range over some of them; every other one goes again. */
static void forget_in_many_roots(void *arg)
{
    (void)arg;
    enum { N = 2000 };
    static size_t words[N];
    uint64_t random = 1;
    heap = open_heap(TRI_BARRIER_CHECK_WARN);
    for (int i = 0; i < N; i++) {
        do
            words[i] = stress_random(&random) % PLACES;
        while (ranges[words[i]]);
        add_range(words[i], 1);
    }
    size_t first = 1000;
    while (ranges[first])
        first++;
    add_range(first, 5000);
    for (int i = 0; i < N; i += 2) {
        STRESS_CHECK(tri_root_remove(heap, &places[words[i]]) == 0, "no root");
        ranges[words[i]]--;
    }
    struct node *p = MAKE(.key = 1);
    int known = 0;
    for (int i = 0; i < PLACES; i++) {
        places[i] = p;
        known += ranges[i] > 0;
    }
    tri_collect(heap);
    STRESS_CHECK((int)tri_barrier_faults(heap) == known, "%d faults, not %d",
                 (int)tri_barrier_faults(heap), known);
}

Test(barrier_check, misses_none_of_many_roots_and_knows_which_were_removed)
{
    static char said[1 << 17];
    int status = stress_in_child(forget_in_many_roots, NULL, said, sizeof said);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %d, said: %s", status, said);
}

static void take_from_environment(void *arg)
{
    static const struct {
        const char *text;
        int check;
    } good[] = {{"barriercheck=0", TRI_BARRIER_CHECK_OFF},
                {"barriercheck=1", TRI_BARRIER_CHECK_ABORT},
                {"barriercheck=warn", TRI_BARRIER_CHECK_WARN}};
    tri_options o;
    (void)arg;
    for (int i = 0; i < 3; i++) {
        setenv("TRICOLOR", good[i].text, 1);
        STRESS_CHECK(tri_options_init(&o) == 0 && o.barrier_check == good[i].check, "%s",
                     good[i].text);
    }
    setenv("TRICOLOR", "barriercheck=2", 1);
    STRESS_CHECK(tri_options_init(&o) == -EINVAL, "a bad value is accepted");
    unsetenv("TRICOLOR");
    tri_heap *h;
    STRESS_CHECK(tri_options_init(&o) == 0, "options");
    o.barrier_check = 3;
    STRESS_CHECK(tri_heap_create(&o, &h) == -EINVAL, "a bad value is accepted");
}

Test(barrier_check, is_an_option_of_the_environment)
{
    char said[1024];
    int status = stress_in_child(take_from_environment, NULL, said, sizeof said);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %d, said: %s", status, said);
    cr_assert(strstr(said, "barriercheck has the bad value \"2\""), "said: %s", said);
}

#else

Test(barrier_check, is_refused_with_a_clear_word_by_a_library_that_was_built_without_it)
{
    tri_options o = {.barrier_check = TRI_BARRIER_CHECK_ABORT};
    tri_heap *h;
    cr_assert_eq(tri_heap_create(&o, &h), -ENOTSUP);
    setenv("TRICOLOR", "barriercheck=1", 1);
    cr_assert_eq(tri_options_init(&o), -ENOTSUP);
    setenv("TRICOLOR", "barriercheck=0", 1);
    cr_assert_eq(tri_options_init(&o), 0);
}

static void refuse(void *arg)
{
    tri_heap *h;
    (void)arg;
    setenv("TRICOLOR", "barriercheck=1", 1);
    STRESS_CHECK(tri_heap_create(NULL, &h) == -ENOTSUP, "not refused");
}

Test(barrier_check, says_which_builds_have_it)
{
    char said[1024];
    int status = stress_in_child(refuse, NULL, said, sizeof said);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %d, said: %s", status, said);
    cr_assert(strstr(said, "the barrier checker is not in this build"), "said: %s", said);
    cr_assert(strstr(said, "TRI_DEBUG"), "said: %s", said);
}

#endif
