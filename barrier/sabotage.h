/* Pieces of the protocol that a build for testing can leave out, one at a time, to see that the loss is
 * noticed: a verifier that never fails proves nothing.
 *
 * The switch TRI_SABOTAGE compiles the question in; without it every answer is the constant false, and no
 * option can make it another. Which piece is left out is chosen at run time (TRICOLOR=sabotage=NAME, or
 * barrier_sabotage()), is told on standard error when a heap is created, and is a part of tri_version().
 */
#ifndef BARRIER_SABOTAGE_H
#define BARRIER_SABOTAGE_H

#include <stdbool.h>

/* name in options, and what is missing */
#define BARRIER_PIECES(X)                                                         \
    X(DELETION, "deletion", "a store does not shade the old value")               \
    X(INSERTION, "insertion", "a store does not shade the new value")             \
    X(INIT, "init", "an initialising store does not shade in BOTH")               \
    X(BLACK, "black", "objects allocated after H2 are white")                     \
    X(RESUME, "resume", "a stack that was not scanned is resumed without a scan") \
    X(REGREY, "regrey", "a stack resumed in BOTH stays scanned")                  \
    X(H1B, "h1b", "H2 follows H1 without H1b")                                    \
    X(RECHECK, "recheck", "marking is over after one round, whatever it found")   \
    X(ROUND, "round", "the buffer is not drained in a round")                     \
    X(BLOCKS, "blocks", "a round does not shade what was handed over")            \
    X(PUSH, "push", "who moves a value into another's slots does not shade it")   \
    X(PULL, "pull", "who moves a value out of another's slots does not shade it") \
    X(DETACH, "detach", "the buffer is lost at detach")

typedef enum barrier_piece {
    BARRIER_WHOLE,
#define X(piece, name, words) BARRIER_LACKS_##piece,
    BARRIER_PIECES(X)
#undef X
} barrier_piece;

#ifdef TRI_SABOTAGE
extern barrier_piece barrier_lacking;
#define BARRIER_LACKS(piece) __builtin_expect(barrier_lacking == BARRIER_LACKS_##piece, 0)
#else
#define BARRIER_LACKS(piece) (BARRIER_LACKS_##piece == BARRIER_WHOLE)
#endif

/* Leaves out the piece of that name; NULL or "": none. Before the heap is created. -EINVAL: there is no
 * such piece; -ENOSYS: compiled out. */
int barrier_sabotage(const char *name);
/* The name of what is left out, and what that means; NULL: nothing is. */
const char *barrier_sabotage_name(void);
const char *barrier_sabotage_words(void);

#endif
