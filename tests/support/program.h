/* Programs within a test's executable: run anew, as processes of their own, under another tool or environment.
 *
 * A child that is merely forked will not do where a sanitizer has no new threads in the child of a process
 * with threads, where its options must be other ones, or where Valgrind is to run it. So the executable is
 * started again with the program's name in its environment, and a constructor, which runs before the test
 * library's main(), calls the function of that name and exits. */
#ifndef TESTS_SUPPORT_PROGRAM_H
#define TESTS_SUPPORT_PROGRAM_H

#include <stddef.h>

typedef struct program {
    const char *name;
    void (*fn)(void *); /* called with NULL */
} program;

/* In a constructor of the test: has the program that this process was started for, if any, called by run(), and
 * exits with 0. The table ends with a name of NULL. */
void program_be(const program *table, void (*run)(void (*fn)(void *)));

/* Starts a program: its status is that of waitpid(), said is what it wrote to standard error. `before` is a
 * command that runs it, and its arguments, or NULL; `variable=value`, if not NULL, is added to its
 * environment. */
int program_run(const char *name, const char *const *before, const char *variable, char *said,
                size_t size);

#endif
