/* barriercheck=1: the registered words outside the heap.
 *
 * They have no shadow at a constant distance, so each has an entry in a hash table by address. Words that
 * are in several ranges count them. One lock is held around every store to memory outside the heap, registered or
 * not: a word that is just being registered is then recorded with what it holds, and no store falls
 * between that and its entry.
 *
 * A word that is registered may hold anything: what it holds is what is recorded. When the range is
 * removed nothing is compared: its words may be NULL by then, or no longer matter.
 */
#include "barrier/record.h"

#if TRI_DEBUG >= 1

#include <errno.h>

#include "os/memory.h"

static size_t place_of(uintptr_t address, size_t room)
{
    return (size_t)((address >> 3) * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (room - 1);
}

/* The word's entry, or the free place where it belongs. */
static record_root *probe(record_root *roots, size_t room, uintptr_t address)
{
    size_t at = place_of(address, room);
    while (roots[at].address && roots[at].address != address)
        at = (at + 1) & (room - 1);
    return &roots[at];
}

record_root *barrier_root_find(const struct barrier_log *log, uintptr_t address)
{
    if (!log->roots_used)
        return NULL;
    record_root *r = probe(log->roots, log->roots_room, address);
    return r->address ? r : NULL;
}

/* Room for n more. */
static int grow_roots(struct barrier_log *log, size_t n)
{
    size_t room = log->roots_room ? log->roots_room : 64;
    while ((log->roots_used + n) * 2 > room)
        room *= 2;
    if (room == log->roots_room)
        return 0;
    record_root *roots = os_alloc(room * sizeof *roots);
    if (!roots)
        return -ENOMEM;
    for (size_t i = 0; i < log->roots_room; i++)
        if (log->roots[i].address)
            *probe(roots, room, log->roots[i].address) = log->roots[i];
    os_free(log->roots, log->roots_room * sizeof *roots);
    log->roots = roots;
    log->roots_room = room;
    return 0;
}

int barrier_log_root_add(tri_heap *h, const void *start, size_t count, const void *site)
{
    struct barrier_log *log = h->log;
    if (!log)
        return 0;
    os_mutex_lock(&log->roots_lock);
    int err = grow_roots(log, count);
    for (size_t i = 0; !err && i < count; i++) {
        const uintptr_t *word = (const uintptr_t *)start + i;
        record_root *r = probe(log->roots, log->roots_room, (uintptr_t)word);
        if (r->address) {
            r->uses++;
            continue;
        }
        *r = (record_root){(uintptr_t)word,
                           __atomic_load_n(word, __ATOMIC_RELAXED),
                           (uintptr_t)start,
                           count,
                           site,
                           1};
        log->roots_used++;
    }
    os_mutex_unlock(&log->roots_lock);
    return err;
}

/* Entries behind the freed place move up, so that none is cut off from where its probe begins. */
static void forget(struct barrier_log *log, record_root *r)
{
    size_t mask = log->roots_room - 1;
    size_t hole = (size_t)(r - log->roots);
    for (size_t at = (hole + 1) & mask; log->roots[at].address; at = (at + 1) & mask) {
        size_t home = place_of(log->roots[at].address, log->roots_room);
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            log->roots[hole] = log->roots[at];
            hole = at;
        }
    }
    log->roots[hole].address = 0;
    log->roots_used--;
}

void barrier_log_root_remove(tri_heap *h, const void *start, size_t count)
{
    struct barrier_log *log = h->log;
    if (!log)
        return;
    os_mutex_lock(&log->roots_lock);
    for (size_t i = 0; i < count; i++) {
        record_root *r = barrier_root_find(log, (uintptr_t)start + 8 * i);
        if (r && --r->uses == 0)
            forget(log, r);
    }
    os_mutex_unlock(&log->roots_lock);
}

void barrier_roots_close(struct barrier_log *log)
{
    os_free(log->roots, log->roots_room * sizeof *log->roots);
}

#endif
