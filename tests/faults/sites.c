/* Every system call and allocation of the library fails once, at each place and for each of its first
 * three uses there, in programs that check what they get; and docs/errors.md says what happens then.
 *
 * ctest: timeout=900 build=debug,torture,address,undefined
 *
 * Not under ThreadSanitizer: the programs run in children of a process with threads, where that has no new
 * threads ("dup thread with used id").
 *
 * The programs are those of support/exercise.h. Each is run once to list the sites that it reaches, then
 * once per site, use and error. A run must end in time, in one of three ways: all checks hold (functions
 * of the library may have returned errors, and worked when called again); or abort() after one line that
 * begins with "tricolor: fatal: ". What it was must stand in the site's row of the table.
 *
 * TRI_FAULTS_ONLY=name:site runs one site of one program and shows the output. TRI_FAULTS_SHOW=1 prints
 * what was seen for each site, which is how the table is kept.
 */

#include "os/fault.h"
#include "support/exercise.h"

#include <criterion/criterion.h>
#include <errno.h>

#ifdef TRI_FAULTS

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The first use says most; the debug build, the fastest of those with faults, tries three. */
#if TRI_DEBUG >= 2
#define USES 3
#else
#define USES 1
#endif

/* Some sanitizers take the place of parts of the library. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define EVERYTHING_RUNS false
#else
#define EVERYTHING_RUNS true
#endif

#define SIDE_BY_SIDE  2
#define TIMEOUT_MS    60000 /* of a run; it takes half a second on an idle machine */
#define MAX_ROWS      400
#define OUTPUT        32768
#define CHILD_ABORTED 3 /* as in exercise.c */

/* ---- the table in docs/errors.md ------------------------------------------------------------------- */

typedef struct row {
    char site[100], errors[120], outcomes[400];
    bool seen, linked;
    char observed[400];
} row;

static row rows[MAX_ROWS];
static int nrows;
static int complaints;

static void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void complain(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputc('\n', stderr);
    complaints++;
}

/* The text of a cell, without spaces around it and without backquotes. */
static char *cell(char **at, char *out, size_t size)
{
    size_t n = 0;
    char *p = *at + 1;
    while (*p == ' ')
        p++;
    for (; *p && *p != '|' && n + 1 < size; p++)
        if (*p != '`')
            out[n++] = *p;
    while (n && out[n - 1] == ' ')
        n--;
    out[n] = 0;
    *at = p;
    return out;
}

static void read_table(void)
{
    char path[1024], line[2000], what[400];
    const char *source = getenv("TRI_SOURCE_DIR");
    snprintf(path, sizeof path, "%s/docs/errors.md", source ? source : ".");
    FILE *f = fopen(path, "r");
    cr_assert_not_null(f, "%s cannot be read", path);
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, "| `", 3) != 0 || !strchr(line, '@'))
            continue;
        cr_assert_lt(nrows, MAX_ROWS);
        row *r = &rows[nrows++];
        char *at = line;
        cell(&at, r->site, sizeof r->site);
        cell(&at, r->errors, sizeof r->errors);
        cell(&at, what, sizeof what);
        cell(&at, r->outcomes, sizeof r->outcomes);
    }
    fclose(f);
}

static row *row_of(const char *site)
{
    for (int i = 0; i < nrows; i++)
        if (strcmp(rows[i].site, site) == 0 && !strstr(rows[i].errors, " always"))
            return &rows[i];
    return NULL;
}

/* ---- runs --------------------------------------------------------------------------------------------- */

typedef struct job {
    const exercise *program;
    row *row;
    char spec[400];
    bool list;
    pid_t pid;
    int fd;
    int64_t deadline;
    size_t used;
    char output[OUTPUT];
} job;

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* All of them, or one. */
static void print_site(void *arg, const char *site, uint64_t calls)
{
    if (arg && strcmp(arg, site) != 0)
        return;
    dprintf(STDERR_FILENO, "site %s %llu\n", site, (unsigned long long)calls);
}

/* With AddressSanitizer: what a failed call left behind is a leak. */
int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

static _Noreturn void child(const job *j, int fd)
{
    const struct rlimit none = {0, 0};
    setpgid(0, 0);
    setrlimit(RLIMIT_CORE, &none);
    signal(SIGABRT, SIG_DFL);
    dup2(fd, STDERR_FILENO);
    if (os_fault_configure(j->spec))
        _exit(4);
    j->program->run();
    os_fault_configure(NULL);
    os_fault_sites(print_site, j->list ? NULL : j->row->site);
    _exit(__lsan_do_recoverable_leak_check && __lsan_do_recoverable_leak_check() ? 5 : 0);
}

static void launch(job *j)
{
    int fds[2];
    cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
    fflush(NULL);
    j->pid = fork();
    cr_assert_geq(j->pid, 0);
    if (j->pid == 0)
        child(j, fds[1]);
    close(fds[1]);
    j->fd = fds[0];
    j->used = 0;
    j->deadline = now_ms() + TIMEOUT_MS;
}

static void add(char *list, size_t size, const char *text)
{
    if (strstr(list, text))
        return;
    snprintf(list + strlen(list), size - strlen(list), "%s%s", *list ? "; " : "", text);
}

static void expect(job *j, const char *outcome)
{
    row *r = j->row;
    add(r->observed, sizeof r->observed, outcome);
    if (!strstr(r->outcomes, outcome))
        complain("%s %s: \"%s\" does not stand in docs/errors.md", j->program->name, j->spec,
                 outcome);
}

/* The text behind `key` up to the end of its line; NULL if it is not there. */
static char *find_line(char *from, const char *key, char *out, size_t size)
{
    char *at = strstr(from, key);
    if (!at)
        return NULL;
    at += strlen(key);
    size_t n = strcspn(at, "\n");
    snprintf(out, size, "%.*s", (int)n, at);
    return at + n;
}

/* The numbers in a message differ from run to run. */
static void without_numbers(char *text)
{
    char *to = text;
    for (const char *p = text; *p; p++) {
        if (*p >= '0' && *p <= '9') {
            if (to == text || to[-1] != 'N')
                *to++ = 'N';
        } else if (*p != '|') {
            *to++ = *p;
        }
    }
    *to = 0;
}

static void judge(job *j, int status, bool late)
{
    char text[300];
    bool aborted = (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) ||
                   (WIFEXITED(status) && WEXITSTATUS(status) == CHILD_ABORTED);
    if (late) {
        complain("%s %s: hangs", j->program->name, j->spec);
    } else if (aborted && find_line(j->output, "tricolor: fatal: ", text, sizeof text)) {
        without_numbers(text);
        expect(j, text);
        return;
    } else if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        complain("%s %s: status %#x", j->program->name, j->spec, (unsigned)status);
    } else if (!j->list) {
        char *at = j->output;
        bool errors = false;
        if (find_line(j->output, "site ", text, sizeof text))
            j->row->seen |= strcmp(strrchr(text, ' '), " 0") != 0;
        while ((at = find_line(at, "exercise: ", text, sizeof text))) {
            expect(j, text);
            errors = true;
        }
        if (!errors)
            expect(j, "survived");
        return;
    } else {
        return;
    }
    fprintf(stderr, "%s\n", j->output);
}

/* Reads what a job has written; true when it is over. */
static bool advance(job *j)
{
    ssize_t n = read(j->fd, j->output + j->used, OUTPUT - 1 - j->used);
    if (n > 0) {
        j->used += (size_t)n;
        if (j->used == OUTPUT - 1)
            j->used = OUTPUT / 2; /* a program that repeats itself */
    }
    j->output[j->used] = 0;
    return n == 0;
}

static void finish(job *j, bool late)
{
    int status = 0;
    if (late)
        kill(-j->pid, SIGKILL);
    close(j->fd);
    waitpid(j->pid, &status, 0);
    judge(j, status, late);
    if (getenv("TRI_FAULTS_ONLY") && !j->list)
        fprintf(stderr, "--- %s %s: status %#x\n%s", j->program->name, j->spec, (unsigned)status,
                j->output);
}

static job running[SIDE_BY_SIDE];

/* Waits until a place is free, or all are. */
static job *wait_for_place(bool all)
{
    for (;;) {
        struct pollfd fds[SIDE_BY_SIDE];
        int n = 0;
        job *free = NULL;
        for (int i = 0; i < SIDE_BY_SIDE; i++) {
            job *j = &running[i];
            fds[i] = (struct pollfd){.fd = j->pid ? j->fd : -1, .events = POLLIN};
            n += j->pid != 0;
            if (!j->pid)
                free = j;
        }
        if (all ? n == 0 : free != NULL)
            return free;
        poll(fds, SIDE_BY_SIDE, 100);
        for (int i = 0; i < SIDE_BY_SIDE; i++) {
            job *j = &running[i];
            bool late = j->pid && now_ms() > j->deadline;
            if (j->pid && (late || (fds[i].revents && advance(j)))) {
                finish(j, late);
                j->pid = 0;
            }
        }
    }
}

/* ---- the plan -------------------------------------------------------------------------------------------- */

static bool chosen(const exercise *program, const char *site)
{
    char name[200];
    const char *only = getenv("TRI_FAULTS_ONLY");
    snprintf(name, sizeof name, "%s:%s", program->name, site);
    return !only || strcmp(only, name) == 0;
}

static bool of_interest(const exercise *program, const char *site)
{
    if (!program->only)
        return true;
    char words[200], *save = NULL;
    snprintf(words, sizeof words, "%s", program->only);
    for (char *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save))
        if (strstr(site, w))
            return true;
    return false;
}

/* "ENOMEM, EAGAIN", or "ENOMEM after another@site:1:EINVAL": a site that is only reached when another has
 * failed. */
static void fail_site(const exercise *program, row *r, uint64_t calls)
{
    char errors[sizeof r->errors], before[160] = "", *save = NULL;
    strcpy(errors, r->errors);
    char *after = strstr(errors, " after ");
    if (after) {
        char rule[150];
        cr_assert_eq(sscanf(after, " after %149s", rule), 1);
        snprintf(before, sizeof before, "%s,", rule);
        *after = 0;
        calls = strchr(rule, '*') ? USES : 1;
    }
    if (strcmp(errors, "-") == 0)
        return;
    for (char *e = strtok_r(errors, " ,", &save); e; e = strtok_r(NULL, " ,", &save))
        for (uint64_t n = 1; n <= calls && n <= USES; n++) {
            job *j = wait_for_place(false);
            j->program = program;
            j->row = r;
            j->list = false;
            snprintf(j->spec, sizeof j->spec, "%s%s:%llu:%s", before, r->site,
                     (unsigned long long)n, e);
            launch(j);
        }
}

static void fail_sites_of(const exercise *program)
{
    static char sites[OUTPUT];
    job *j = wait_for_place(false);
    j->program = program;
    j->spec[0] = 0;
    j->list = true;
    launch(j);
    wait_for_place(true);
    memcpy(sites, j->output, OUTPUT);
    char *save = NULL;
    for (char *line = strtok_r(sites, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char site[100];
        unsigned long long calls;
        if (sscanf(line, "site %99s %llu", site, &calls) != 2 || !chosen(program, site))
            continue;
        row *r = row_of(site);
        if (!r) {
            complain("%s: the site %s does not stand in docs/errors.md", program->name, site);
            continue;
        }
        r->linked = true;
        if (!of_interest(program, site))
            continue;
        fail_site(program, r, calls);
    }
    wait_for_place(true);
}

/* Rows "ENOMEM always": what fails from some use on for good ends in an abort. */
static void fail_for_good(void)
{
    for (int i = 0; i < nrows; i++) {
        char *always = strstr(rows[i].errors, " always");
        if (!always || !chosen(&exercises[0], rows[i].site))
            continue;
        job *j = wait_for_place(false);
        j->program = &exercises[0];
        j->row = &rows[i];
        j->list = false;
        snprintf(j->spec, sizeof j->spec, "%s:*:%.*s", rows[i].site, (int)(always - rows[i].errors),
                 rows[i].errors);
        rows[i].linked = rows[i].seen = true;
        launch(j);
    }
    wait_for_place(true);
}

Test(faults, every_first_uses_of_a_site_may_fail_and_nothing_is_lost, .timeout = 0)
{
    read_table();
    for (const exercise *e = exercises; e->name; e++)
        fail_sites_of(e);
    fail_for_good();
    for (int i = 0; i < nrows && !getenv("TRI_FAULTS_ONLY"); i++) {
        bool excused = strcmp(rows[i].errors, "-") == 0 || strstr(rows[i].outcomes, "rarely");
        if (!rows[i].linked)
            complain("docs/errors.md: there is no site %s", rows[i].site);
        else if (!rows[i].seen && !excused && EVERYTHING_RUNS)
            complain("the site %s was never reached", rows[i].site);
        if (getenv("TRI_FAULTS_SHOW"))
            fprintf(stderr, "%s\t%s\n", rows[i].site,
                    rows[i].seen ? rows[i].observed : "not reached");
    }
    cr_assert_eq(complaints, 0);
}

#else

Test(faults, compiled_out_nothing_can_be_made_to_fail)
{
    cr_assert_eq(os_fault_configure("alloc:*"), -ENOSYS);
    cr_assert_null(exercises[0].name ? NULL : "no programs");
}

#endif
