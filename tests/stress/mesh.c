/* A shared graph under several mutators and endless collections, in every kind of program: of
 * coroutines, of attached threads, of both, and of each without signals. And the proof that the
 * test is worth its time: with a barrier left out on purpose, it fails.
 *
 * ctest: timeout=7200
 */
#include <criterion/criterion.h>
#include <sys/wait.h>

#include "support/mesh.h"

#define WORKERS 6

static void run(stress_mode mode, bool poll_only, mesh_sabotage sabotage)
{
    mesh *m = mesh_new(WORKERS, sabotage);
    stress_job job = {
        .mode = mode,
        .poll_only = poll_only,
        .workers = WORKERS,
        .setup = mesh_setup,
        .work = mesh_work,
        .check = mesh_check,
        .arg = m,
    };
    stress_run(&job);
    STRESS_CHECK(job.cycles > 0, "no collection ran");
    STRESS_CHECK(mesh_operations(m) > 1000, "the workers hardly worked");
    mesh_free(m);
}

Test(stress_mesh, coroutines_lose_nothing)
{
    run(STRESS_COROUTINES, false, MESH_SOUND);
}

Test(stress_mesh, threads_lose_nothing)
{
    run(STRESS_THREADS, false, MESH_SOUND);
}

Test(stress_mesh, coroutines_beside_threads_lose_nothing)
{
    run(STRESS_BOTH, false, MESH_SOUND);
}

Test(stress_mesh, polling_coroutines_lose_nothing)
{
    run(STRESS_COROUTINES, true, MESH_SOUND);
}

Test(stress_mesh, polling_threads_lose_nothing)
{
    run(STRESS_THREADS, true, MESH_SOUND);
}

Test(stress_mesh, polling_coroutines_beside_threads_lose_nothing)
{
    run(STRESS_BOTH, true, MESH_SOUND);
}

static void without_barrier(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20; i++)
        run(STRESS_THREADS, false, MESH_NO_BARRIER);
}

Test(stress_mesh, stores_without_a_barrier_are_noticed)
{
    char said[4096];
    int status = stress_in_child(without_barrier, NULL, said, sizeof said);
    cr_assert(!WIFEXITED(status) || WEXITSTATUS(status) != 0,
              "nothing was lost without a barrier: the test is blind");
}
