/* The log's own structures, shared by those who write it (log.c, log_root.c) and the one who compares
 * (check.c). */
#ifndef BARRIER_RECORD_H
#define BARRIER_RECORD_H

#include "barrier/log.h"

#if TRI_DEBUG >= 1

#define RECORD_STRIPES      1024u
#define RECORD_STRIPE_SHIFT 9 /* neighbours in 512 bytes share a stripe */

/* Where an object was made: an address in the program, or text. With flags; 0: no object that is known. */
#define RECORD_TEXT         ((uint64_t)1 << 62)
#define RECORD_SETTLED      ((uint64_t)1 << 61) /* the record of its first contents is complete */
#define RECORD_ADDRESS      (((uint64_t)1 << 56) - 1)

/* A word of a registered root. */
typedef struct record_root {
    uintptr_t address; /* 0: this place is free */
    uintptr_t value;   /* what the barrier saw last */
    uintptr_t start;   /* of the range it was first registered with */
    size_t count;
    const void *site;
    uint32_t uses; /* ranges that it is in */
} record_root;

struct barrier_log {
    /* Constant. */
    tri_heap *heap;
    size_t size;
    uint64_t *
        shadow; /* beside each word of the heap: what the barrier stored last; under the word's stripe */
    _Atomic uint64_t *sites; /* by 8 bytes of the heap, at an object's first: its site */
    bool warn;
    tri_slots *empty; /* the run table that mutators show to the inline allocation */

    /* Spin locks of one store each: taken in busy units, where nobody may sleep for long. */
    _Atomic uint8_t stripes[RECORD_STRIPES];

    /* Registered words and, with them, all stores to C memory. */
    os_mutex roots_lock;
    record_root *roots; /* open addressing; at most half full */
    size_t roots_room, roots_used;

    uint32_t cycle; /* comparisons by the collector so far */
    _Atomic uint64_t faults;
};

void barrier_stripe_lock(struct barrier_log *log, uintptr_t slot);
void barrier_stripe_unlock(struct barrier_log *log, uintptr_t slot);

static inline uint64_t *barrier_shadow(const struct barrier_log *log, uintptr_t slot)
{
    return &log->shadow[(slot - log->heap->base) / 8];
}

static inline _Atomic uint64_t *barrier_site(const struct barrier_log *log, uintptr_t object)
{
    return &log->sites[(object - log->heap->base) / 8];
}

/* Under roots_lock; NULL: no registered word. */
record_root *barrier_root_find(const struct barrier_log *log, uintptr_t address);
void barrier_roots_close(struct barrier_log *log);

/* A store that went past the barrier. */
typedef struct record_fault {
    uintptr_t slot, held, recorded;
    record_root root; /* address 0: the slot is a field of an object */
} record_fault;

/* Whether the record differs, in a way that matters; then it is made to agree. A word of the heap under
 * its stripe, a word of a root under roots_lock. */
bool barrier_compare_slot(struct barrier_log *log, uintptr_t slot, record_fault *out);
bool barrier_compare_root(record_root *root, const struct barrier_log *log, record_fault *out);
/* Reports and aborts, or goes on. With no lock: it asks the dynamic linker, which has its own. `when` ends
 * the sentence "noticed ...". */
void barrier_report(struct barrier_log *log, const record_fault *fault, const char *when);

#endif
#endif
