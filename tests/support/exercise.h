/* Small programs that between them make the library do everything it does, and check what they get.
 *
 * They are made to run while calls of the system fail. A public function that returns an error is
 * noted on standard error ("exercise: tri_go ENOMEM") and called once more: whatever failed must have
 * left things as they were. All objects carry sums; a wrong one ends the program with exit code 2, and
 * so does a second failure.
 */
#ifndef TESTS_SUPPORT_EXERCISE_H
#define TESTS_SUPPORT_EXERCISE_H

typedef struct exercise {
    const char *name;
    void (*run)(void);
    const char *only; /* words, separated by spaces: for sites that contain one; NULL: all */
} exercise;

/* Ends with a NULL name. */
extern const exercise exercises[];

#endif
