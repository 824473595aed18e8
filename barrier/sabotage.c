/* Which piece of the protocol is left out.
 *
 * One build with a choice at run time, instead of one build for each piece: a dozen builds would cost the
 * test suite more than all it runs in them. The choice is made before a heap is created and is constant
 * afterwards, so a plain variable will do.
 */
#include "barrier/sabotage.h"

#include <errno.h>
#include <stddef.h>

#ifdef TRI_SABOTAGE

#include <string.h>

barrier_piece barrier_lacking;

static const struct {
    const char *name, *words;
} pieces[] = {{NULL, NULL},
#define X(piece, name, words) {name, words},
              BARRIER_PIECES(X)
#undef X
};

int barrier_sabotage(const char *name)
{
    barrier_piece which = BARRIER_WHOLE;
    if (name && *name) {
        size_t i = 1;
        while (i < sizeof pieces / sizeof *pieces && strcmp(pieces[i].name, name) != 0)
            i++;
        if (i == sizeof pieces / sizeof *pieces)
            return -EINVAL;
        which = (barrier_piece)i;
    }
    barrier_lacking = which;
    return 0;
}

const char *barrier_sabotage_name(void)
{
    return pieces[barrier_lacking].name;
}

const char *barrier_sabotage_words(void)
{
    return pieces[barrier_lacking].words;
}

#else

int barrier_sabotage(const char *name)
{
    return name && *name ? -ENOSYS : 0;
}

const char *barrier_sabotage_name(void)
{
    return NULL;
}

const char *barrier_sabotage_words(void)
{
    return NULL;
}

#endif
