/* See program.h. */
#include "support/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/stress.h"

#define NAME     "TRI_TEST_PROGRAM"
#define ARGS_MAX 32

void program_be(const program *table, void (*run)(void (*fn)(void *)))
{
    const char *name = getenv(NAME);
    if (!name)
        return;
    while (table->name && strcmp(table->name, name) != 0)
        table++;
    STRESS_CHECK(table->name, "no program is called %s", name);
    run(table->fn);
    exit(0);
}

struct start {
    const char *name, *variable;
    const char *const *before;
};

static void start(void *arg)
{
    const struct start *s = arg;
    char self[4096];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    STRESS_CHECK(length > 0, "this program has no path");
    self[length] = '\0';
    char *args[ARGS_MAX];
    size_t n = 0;
    for (; s->before && s->before[n]; n++) {
        STRESS_CHECK(n < ARGS_MAX - 2, "too many arguments");
        args[n] = strdup(s->before[n]);
    }
    args[n] = self;
    args[n + 1] = NULL;
    setenv(NAME, s->name, 1);
    if (s->variable)
        putenv(strdup(s->variable));
    execvp(args[0], args);
    perror(args[0]);
    _exit(127);
}

int program_run(const char *name, const char *const *before, const char *variable, char *said,
                size_t size)
{
    struct start s = {name, variable, before};
    return stress_in_child(start, &s, said, size);
}
