/* A shared graph that several mutators change, each comparing its part with a shadow in C memory.
 *
 * Every worker owns some shelves of a table. A shelf holds a list of things; the shadow of a shelf
 * lists their numbers. Workers push, pop, move, splice, drop and rebuild; hold things on their stack
 * alone, across yields; make them with tri_make() and with tri_new() and tri_init(); swap them with
 * other workers through a pool of slots, by tri_exchange() and tri_compare_exchange(); and walk the
 * lists of others while these change. These are the ways to hide an object from a collector.
 *
 * A thing's magic and blob follow from its number. Numbers are never used twice; what goes into the
 * pool and what comes out is added up, so that a thing that is lost there is noticed at the end.
 */
#ifndef TESTS_SUPPORT_MESH_H
#define TESTS_SUPPORT_MESH_H

#include "support/stress.h"

typedef struct mesh mesh;

/* Leaves something out on purpose, to see that the mesh notices. */
typedef enum mesh_sabotage {
    MESH_SOUND,
    MESH_NO_BARRIER, /* shelves and lists are written with plain stores */
    MESH_NO_INIT,    /* first stores are plain */
} mesh_sabotage;

mesh *mesh_new(unsigned workers, mesh_sabotage sabotage);
void mesh_free(mesh *m);

/* To be used as setup, work and check of a stress_job, with the mesh as arg. */
void mesh_setup(void *arg);
void mesh_work(void *arg, unsigned index);
void mesh_check(void *arg);
/* Operations done by all workers. */
uint64_t mesh_operations(const mesh *m);

#endif
