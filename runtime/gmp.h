/* The scheduler's structures.
 *
 *   G  a coroutine: a stack, a context, a state
 *   M  a thread that runs coroutines; it is a mutator of the heap
 *   P  the right to run one: a run queue, run tables to allocate from, pools. There are `procs` of
 *      them, and an M needs one to run coroutines
 *
 * State of a G, and who changes it:
 *
 *   DEAD      -> RUNNABLE   its spawner
 *   RUNNABLE  -> RUNNING    the M that took it from a queue (there it was once only)
 *   RUNNING   -> PARKING    itself, before anybody else can find it in a wait queue
 *   PARKING   -> WAITING    the M that has left its stack, by compare-and-swap against
 *   PARKING   -> WOKEN      its waker, who found it before it was off its stack; then that M
 *   WOKEN     -> RUNNABLE   queues it
 *   WAITING   -> RUNNABLE   its waker; there is one, for it was taken from its wait queue
 *   RUNNING   -> RUNNABLE   yield; PREEMPTED first when the monitor asked for it
 *   RUNNING  <-> SYSCALL    itself, in a blocking call
 *   RUNNING   -> DEAD       itself, at its end
 *
 * The bit that keeps a stack still while it is scanned is not here: it is gc_stack.state.
 *
 * The ownership of a P is one word, p->state, changed by compare-and-swap where two can want it:
 * RUNNING (its M alone touches the P's private part), SYSCALL (the M is in a blocking call; the M at
 * its return or the monitor takes it), IDLE (in the idle list, under sched.lock).
 */
#ifndef RUNTIME_GMP_H
#define RUNTIME_GMP_H

#include "gc/gc.h"
#include "os/context.h"
#include "os/random.h"
#include "runtime/fiber.h"
#include "tricolor/coro.h"

#ifdef TRI_TORTURE
#define SCHED_RING 2u
#define SCHED_FAIR 3u /* with 2, a pair that meets through the global queue starves the ring */
#define SCHED_POOL 2u
#else
#define SCHED_RING 256u /* entries of a P's run queue; a power of two */
#define SCHED_FAIR 61u  /* every that many switches the global queue goes first */
#define SCHED_POOL 128u /* dead coroutines, and unused stacks, kept per P */
#endif
#define SCHED_SLOTS 4u /* words of a value handed over without a cell */

typedef struct sched_g sched_g;
typedef struct sched_m sched_m;
typedef struct sched_p sched_p;
typedef struct sched_stack sched_stack;
typedef struct sched_shared sched_shared;
typedef struct sched sched;

typedef enum sched_state {
    SCHED_DEAD,
    SCHED_RUNNABLE,
    SCHED_RUNNING,
    SCHED_PARKING,
    SCHED_WOKEN,
    SCHED_WAITING,
    SCHED_SYSCALL,
    SCHED_PREEMPTED,
    SCHED_STATES
} sched_state;

typedef enum sched_reason {
    SCHED_REASON_NONE,
    SCHED_REASON_CHAN_SEND,
    SCHED_REASON_CHAN_RECV,
    SCHED_REASON_SLEEP,
    SCHED_REASON_WAITGROUP,
    SCHED_REASON_MUTEX,
    SCHED_REASON_BLOCKING,
    SCHED_REASONS
} sched_reason;

/* ---- waiters: what a queue of waiting coroutines and threads links (waiter.c) ----------------- */

typedef struct sched_waiter {
    struct sched_waiter *next, *prev; /* the lock of the queue */
    sched_g *g;                       /* NULL: a thread, which sleeps on word */
    _Atomic uint32_t word;            /* 0: waiting, 1: woken (release, pairs with the sleeper) */
    int32_t result;                   /* set by the waker before it wakes */
    void **slots;  /* [SCHED_SLOTS] runtime slots, scanned with the waiter's stack */
    int64_t since; /* mutex: when it began to wait */
} sched_waiter;

/* ---- timers (timer.c) --------------------------------------------------------------------- */

typedef struct sched_timer {
    int64_t when;
    void (*fire)(struct sched_timer *t); /* on an M or the monitor, no lock held; may ready a G */
    uint32_t index;                      /* position in the heap + 1; 0: not in one */
    struct sched_timers *in;
} sched_timer;

typedef struct sched_timers {
    os_mutex lock;
    struct sched_timer_entry *heap; /* 4-ary, by when; lock */
    uint32_t count, capacity;       /* lock */
    _Atomic int64_t next;           /* earliest, INT64_MAX if none; written under lock */
} sched_timers;

/* ---- stacks (stack.c) ------------------------------------------------------------------------ */

struct sched_stack {
    sched_stack *next; /* of the pool it is in */
    char *base;        /* [base, base + size), the guard at the bottom */
    uintptr_t lo, hi;  /* what a coroutine may use */
    uint32_t size_log2;
    sched_fiber_stack fiber;
};

/* ---- shared stacks (shared.c, image.c) --------------------------------------------------------- */

/* A stack that several coroutines use, one at a time. */
struct sched_shared {
    os_mutex lock;         /* a leaf; guards what follows */
    sched_g *held;         /* the one that runs on it or is about to; NULL: none */
    bool offered;          /* in some P's hand or in the list of those with room */
    bool idle;             /* nobody has used it since the monitor looked */
    bool told;             /* of this holder: sched_shared_watch() */
    uint32_t holds;        /* ever, modulo 2^32 */
    uint32_t seen_holds;   /* the monitor's */
    int64_t seen_at;       /* the monitor's: since when seen_holds has not changed */
    uint32_t bound;        /* coroutines that can run nowhere else */
    sched_g *first, *last; /* runnable ones that found it held; first is read without the lock */

    /* Whoever holds it. */
    sched_g *resident; /* whose live words are in place; NULL: nobody's */
    sched_g *guards;   /* stackcheck=1: it faults, since this one's words were there; or NULL */

    sched_stack *memory;                      /* constant */
    struct sched_shared *next;                /* of the list of those with room; its lock */
    struct sched_shared *all_next, *all_prev; /* every one; the same lock */
};

#define SCHED_IMAGE_CLASSES 64u

/* Memory for the live words of those that are not on their stack. */
typedef struct sched_images {
    os_mutex lock; /* a leaf */
    struct sched_image_chunk *open[SCHED_IMAGE_CLASSES];
    struct sched_image_region *regions, *room;
    uint64_t count, bytes;
} sched_images;

/* ---- G -------------------------------------------------------------------------------------- */

struct sched_g {
    /* What every switch touches. */
    os_context ctx; /* valid while it is off its thread */
    gc_stack stack;
    sched_g *next;  /* of whatever queue or pool it is in */
    sched_g *ahead; /* some places further in the global queue, to be fetched; may be stale */
    _Atomic uint32_t state; /* sched_state */
    _Atomic uint32_t reason;
    void (*fn)(void *);
    /* Scanned with the stack: the argument until fn has it, then values handed over. */
    void *arg;
    void *slots[SCHED_SLOTS];
    sched_waiter waiter;
    sched_timer timer;
    sched *sched;

    /* For people. */
    uint64_t id;
    const char *name;
    _Atomic int64_t since; /* coarse time of its last park */
    sched_m *m;            /* where it runs; own thread */

    sched_stack *memory; /* NULL until it runs for the first time, and when it is dead; of one that
                          * shares its stack, also while it does not run */
    sched_shared *bound; /* the shared stack on which alone it can run; NULL: none (yet) */
    uint32_t size_log2;  /* of the stack it wants */
    bool shares;         /* it wants a shared one */
    sched_fiber fiber;
};

/* ---- P -------------------------------------------------------------------------------------- */

enum { SCHED_P_IDLE, SCHED_P_RUNNING, SCHED_P_SYSCALL };

struct sched_p {
    /* Constant. */
    sched *sched;
    uint32_t id;

    _Atomic uint32_t state;
    _Atomic(sched_m *) m; /* who runs it; NULL: nobody, or it is on its way to somebody */

    /* The run queue: runq.c says who may touch what. */
    _Atomic uint32_t head __attribute__((aligned(64)));
    _Atomic uint32_t tail __attribute__((aligned(64)));
    _Atomic(sched_g *) runnext; /* runs before the ring; taken by compare-and-swap */
    uint32_t fair;              /* switches left until the global queue goes first */
    _Atomic uint32_t tick;      /* time slices begun; own M writes, the monitor reads */
    _Atomic uint32_t switches;  /* all switches; as tick */
    _Atomic uint32_t watched;   /* times that nobody was woken for runnext; as tick */
    _Atomic(sched_g *) ring[SCHED_RING];

    /* Of the M that has it RUNNING. */
    heap_cache *cache; /* while no mutator is bound to it */
    sched_g *free;     /* dead coroutines */
    uint32_t nfree;
    sched_stack *stacks; /* unused, of the default size */
    uint32_t nstacks;
    bool global_turn;        /* the last preemption was followed by a look at the global queue */
    sched_shared *shared[2]; /* where coroutines that share their stack begin; or NULL */
    uint32_t shared_oldest;  /* the one to be replaced first */
    uint64_t id_next, id_end;
    uint64_t random;
    _Atomic uint64_t spawned, ended; /* counters; read by statistics */
    sched_p *next_idle;              /* sched.lock */

    sched_timers timers;

    /* The monitor's. */
    uint32_t seen_state, seen_tick, seen_switches, seen_watched;
    sched_g *seen_runnext;
    int64_t seen_at;    /* since when state and tick have been what they are */
    int64_t flagged_at; /* when preemption was asked for; 0: not */
} __attribute__((aligned(64)));

/* ---- M -------------------------------------------------------------------------------------- */

/* First word of what gc_mutator.runtime points to. */
typedef enum sched_kind { SCHED_KIND_M, SCHED_KIND_THREAD } sched_kind;

/* What the side that a switch arrives at does with the coroutine that was left. */
typedef enum sched_after {
    SCHED_AFTER_NONE,
    SCHED_AFTER_PARK,   /* PARKING to WAITING, or queue it if it was woken meanwhile */
    SCHED_AFTER_YIELD,  /* to the end of the local queue */
    SCHED_AFTER_GLOBAL, /* to the end of the global queue */
    SCHED_AFTER_EXIT,   /* to the pool */
} sched_after;

/* sched_m.lost: does the M still have its P? monitor.c says how it is taken away. */
enum { SCHED_OWN, SCHED_TAKING, SCHED_LOST };

struct sched_m {
    sched_kind kind; /* first */
    _Atomic uint32_t lost;

    /* Own thread. */
    gc_mutator *mu;
    sched_p *p;    /* NULL: none; meaningless while lost is LOST */
    sched_g *g;    /* the coroutine it runs; NULL: its own stack */
    sched_g *prev; /* left by the switch in flight */
    sched_after after;
    bool spinning;      /* counted in sched.nspinning */
    bool prefer_global; /* the next search looks at the global queue first */
    os_context ctx;     /* of its own stack */
    sched *sched;
    uint64_t random;
    sched_fiber fiber;

    /* sched.lock, or whoever took it from the idle list. */
    sched_m *next_idle;
    sched_p *next_p; /* to run when woken */
    bool next_spinning;
    bool attached;         /* mu is alive; sched.lock. Until the scheduler stops it stays so */
    _Atomic uint32_t wake; /* futex; 1: woken */
    _Atomic uint32_t fate; /* machine.c: how it ends */

    sched_m *next; /* sched.machines, under machines_lock */
    os_thread thread;
    _Atomic bool blocked; /* in the callback of a blocking call */
};

/* ---- the scheduler -------------------------------------------------------------------------- */

struct sched_slab;       /* coroutine.c */
struct sched_stack_slab; /* stack.c */

#define SCHED_STACK_MIN_LOG2 14
#define SCHED_STACK_MAX_LOG2 30
#define SCHED_STACK_CLASSES  (SCHED_STACK_MAX_LOG2 - SCHED_STACK_MIN_LOG2 + 1)

struct sched {
    /* Constant. */
    tri_heap *heap;
    sched_p *ps;
    uint32_t nprocs;
    uint32_t cpus;       /* processors, when it was started */
    uint32_t stack_log2; /* default stack size */
    bool owns_heap;      /* frees the heap with itself */
    bool can_demote;     /* the system has os_membarrier() */
    bool can_share;      /* stacks may be shared (shared.c) */
    int64_t kept_ns;     /* a stack kept from others for so long is told of */
    uint32_t sharers;    /* coroutines to a shared stack at most */
    bool forked;         /* this is the child of a fork */

    /* Everybody reads these on slow paths. */
    _Atomic bool stopping;
    _Atomic uint32_t nidle __attribute__((aligned(64))); /* idle Ps; written under lock */
    _Atomic uint32_t nspinning;
    _Atomic uint32_t nglobal; /* length of the global queue; written under lock */
    _Atomic uint32_t nwanted; /* Ps that the collector would like; written under lock */
    _Atomic uint32_t nkept;   /* runnable coroutines that wait for their shared stack */
    _Atomic int64_t now;      /* coarse clock, by the monitor */

    os_mutex lock __attribute__((aligned(64)));
    sched_g *first, *last; /* the global queue */
    sched_p *idle_ps;
    sched_p *lent; /* to the collector, linked like idle ones (lend.c) */
    sched_m *idle_ms;
    uint32_t nidle_ms;
    heap_cache **spare; /* [nprocs] spare run tables */
    uint32_t nspare;
    uint32_t refs; /* the stopper, and each abandoned M */

    /* Dead coroutines. */
    os_mutex pool_lock __attribute__((aligned(64)));
    sched_g *pool;
    uint32_t npool;
    struct sched_slab *slabs;
    size_t ngs;   /* in them */
    uint64_t ids; /* the last one given away */
    _Atomic uint64_t outside_spawned;

    /* Unused stacks by size, and their memory. */
    os_mutex stacks_lock __attribute__((aligned(64)));
    sched_stack *stacks[SCHED_STACK_CLASSES];
    uint32_t nstacks[SCHED_STACK_CLASSES];
    uint32_t low_water; /* least nstacks of the default class since the monitor looked */
    sched_stack *cold;  /* of the default class, memory given back */
    struct sched_stack_slab *stack_slabs;
    struct sched_stack_slab *open_slabs[SCHED_STACK_CLASSES];
    uint64_t made, made_bytes; /* stacks ever made */
    int64_t short_since;       /* when a coroutine first found none, if none came back since */

    /* Shared stacks; guards the lists. A leaf but for the locks of the stacks, at a fork. */
    os_mutex shared_lock __attribute__((aligned(64)));
    sched_shared *shared_all;
    sched_shared *shared_room, *shared_room_last;
    uint32_t nshared, nshared_room;
    sched_images images;

    /* The monitor. */
    os_thread monitor;
    int64_t kept_look;             /* its own: when it looks for stacks that are kept from others */
    _Atomic uint32_t monitor_word; /* futex: kicks */
    _Atomic uint32_t monitor_mode; /* monitor.c */
    _Atomic int64_t monitor_until; /* when it wakes next */
    _Atomic bool monitor_deep;     /* it sleeps without end, since nothing runs */
    _Atomic bool monitor_quit;
    _Atomic int64_t unstarted_since; /* 0, or since when no thread could be started, and why */
    _Atomic int unstarted_error;
    _Atomic uint32_t demotions; /* ever */
    _Atomic uint32_t ndemoted;  /* coroutines that run without a P now */

    /* All Ms ever started; grows under the lock until `stopping` is set, which is done under it. */
    os_mutex machines_lock;
    sched_m *machines;
    uint32_t nmachines;
    _Atomic uint32_t ended; /* futex: Ms that have ended */
};

#endif
