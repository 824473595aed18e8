/* The collection cycle: is an object that the program can still reach ever freed?
 *
 * Mutators and the collector as processes, with one step for each access to a word that another thread may
 * touch; what is private to a mutator is merged into the step before. The heap is a handful of slots with
 * one field each, and one registered root. There is no bound on the number of operations or of cycles: all
 * counters of the implementation are compared for equality only, so that bits take their place, and the
 * state space is finite.
 *
 * Rejected: one model with everything in it (its states do not fit a computer). A feature is a macro, and
 * tests/model/ verifies configurations of a few features each, exhaustively. README.md says which, which
 * function each step stands for, and what is abstracted away.
 *
 * A private buffer of words to shade is a set here. It may be drained before or after any push, and in any order:
 * that covers buffers of every size.
 *
 * Property: a slot that a sweep frees, or that a retired run table takes back, cannot be reached from the
 * root, a stack, a value in flight or a store buffer, and is in no run table.
 *
 * Features
 *   OPS=n        no more than so many operations of mutators (dropping a local is free), from one of nine heaps; else any number, from an
 *                empty one
 *   FIELDS=n     objects above n have no field
 *   WIDE=n       only the first n stacks have two locals, if LOCALS is 2
 *   OBJECTS=n MUTATORS=n STACKS=n LOCALS=1|2    how much there is
 *   TSO=1|2      stores wait in a store buffer of so many entries
 *   FILL         a buffer may be full at any push; else it is drained in rounds alone
 *   FINE         shading is one step for each access
 *   BITS         zeroing, colouring and alloc bit are steps of their own
 *   RUNS         slots are reserved before they are issued; two run tables
 *   STALE        stacks hold words that happen to look like pointers to any slot
 *   INIT         tri_init(), beside plain stores
 *   MAKE         tri_make()
 *   PARK         stacks are parked and resumed, by any mutator
 *   TRANSFER     values move into and out of the slots of parked stacks (PARK)
 *   SPAWN        stacks are born with an argument, and die (PARK)
 *   ATTACH       the last mutator is a thread that is started with an argument, and detaches
 *   GUEST        a second marker
 *   BLOCKS       a full buffer may be handed over, for markers to shade (FILL)
 *   EARLY        parked stacks, roots and the graph are marked from H1b on, as design allows
 *
 * Mutations (each is a macro M_...; the table in README.md lists them) break one rule each. */

#ifndef OBJECTS
#define OBJECTS 2
#endif
#ifndef MUTATORS
#define MUTATORS 2
#endif
#ifndef STACKS
#define STACKS MUTATORS
#endif
#ifndef LOCALS
#define LOCALS 1
#endif
#ifndef WIDE
#define WIDE STACKS
#endif
#ifndef FIELDS
#define FIELDS OBJECTS
#endif

#if defined(TSO) && !defined(BITS)
#define BITS
#endif

#define bit(i)    (1 << (i))
#define word(o)   (bit(o) & ~1) /* NULL is 0, slots are 1 to OBJECTS; sets of them are bit sets */
#define EVERY_SLOT (((1 << (OBJECTS + 1)) - 1) & ~1)
#define EVERYBODY ((1 << MUTATORS) - 1)
#define NONE      STACKS

/* barrier */
#define OFF       0
#define SHADE_OLD 1
#define SHADE_NEW 2
#define BOTH      3

/* term */
#define DONE      0
#define OPEN      1
#define CLEAN     2
#define DIRTY     3

/* steps of a handshake */
#define H1        1
#define H1B       2
#define H2        3
#define ROUND     4
#define H5        5

/* states of a stack */
#define RUNNING   0
#define PARKED    1
#define SCANNING  2
#define DEAD      3

/* ---- the heap ----------------------------------------------------------------------------------- */

byte mem[OBJECTS + 1]; /* [0]: the root; [o]: the field of slot o */
byte alloc, mark;
byte queue;     /* slots in a marker's queue */
#ifdef BLOCKS
byte blocks;    /* words that mutators have handed over */
#endif
byte taken;     /* slots on their way from free to allocated */
byte next;      /* mutators past H5: what they allocate belongs to the next generation */
byte young;     /* slots in spans of the next generation */
byte fresh;     /* objects that only their creator can see, with an unwritten field */
byte stale_mem; /* slots whose field is left from an earlier life */

#ifdef OPS
byte left = OPS; /* operations */
#define may    (left > 0)
#define used() left--
#else
#define may    true
#define used() skip
#endif

byte term = DONE;
byte step;
byte acked = EVERYBODY;
byte snapshot; /* candidates copied at H2 */

byte held[STACKS * LOCALS];
byte stack_state[STACKS];
byte scanned; /* stacks scanned in this cycle */

#ifdef RUNS
byte reserved[MUTATORS];  /* reserved, in the active run table */
byte retired[MUTATORS]; /* reserved, in the other one */
#endif

#ifdef TRANSFER
#define SLOTS
#endif
#ifdef SPAWN
#define SLOTS
#endif
#ifdef SLOTS
byte slot[STACKS]; /* runtime slots, scanned with the stack */
byte moving;       /* stacks whose slot is being moved to or from, by who took the waiter out of its queue */
#define slot_of(i) slot[i]
#else
#define slot_of(i) 0
#endif

#ifdef ATTACH
byte attached = EVERYBODY & ~bit(MUTATORS - 1);
byte handing;    /* the argument, in the creator's hands */
byte starting;   /* 1: the thread is to be born; 2: it has attached */
bit listing;     /* gc->lock, held by one who detaches */
byte target = OFF;
bit target_next; /* target.gen is the next generation */
#else
#define attached EVERYBODY
#endif

#ifdef GUEST
byte markers;
bit marking;
#endif

/* ---- store buffers ------------------------------------------------------------------------------- */

/* Addresses: a slot for its field, OBJECTS + o for the alloc bit of o. */
#ifdef TSO
byte pending[MUTATORS];
byte pending_at[MUTATORS * TSO], pending_value[MUTATORS * TSO];

#define flushed(m)   (pending[m] == 0)
#define last(m)    ((m) * TSO + pending[m] - 1)
#define first(m)   ((m) * TSO)
#if TSO == 1
#define hit(m, a)      (pending[m] == 1 && pending_at[m] == (a))
#define load(m, a)     (hit(m, a) -> pending_value[m] : mem[a])
#else
#define hit1(m, a)     (pending[m] == 2 && pending_at[(m) * 2 + 1] == (a))
#define hit0(m, a)     (pending[m] >= 1 && pending_at[(m) * 2] == (a))
#define hit(m, a)      (hit1(m, a) || hit0(m, a))
#define load(m, a) \
    (hit1(m, a) -> pending_value[(m) * 2 + 1] : (hit0(m, a) -> pending_value[(m) * 2] : mem[a]))
#endif
#define allocated(m, o) ((alloc & word(o)) || hit(m, OBJECTS + (o)))

#define can_store(m) (pending[m] < TSO) /* else the processor waits */
inline store(m, a, v)
{
    pending[m]++;
    pending_at[last(m)] = a;
    pending_value[last(m)] = v
}

inline reach_memory(m)
{
    if
    :: pending[m] > 0 && pending_at[first(m)] <= OBJECTS -> reached = reached | word(pending_value[first(m)])
    :: else
    fi;
    if
    :: pending[m] > 1 && pending_at[last(m)] <= OBJECTS -> reached = reached | word(pending_value[last(m)])
    :: else
    fi
}
#else
#define flushed(m)        true
#define can_store(m)    true
#define load(m, a)      mem[a]
#define allocated(m, o) (alloc & word(o))
inline store(m, a, v) { mem[a] = v }
#endif

/* ---- the property --------------------------------------------------------------------------------- */

inline reach_stack(i)
{
    reached = reached | word(held[(i) * LOCALS]) | word(held[(i) * LOCALS + LOCALS - 1]) | word(slot_of(i))
}

inline reach_field(o)
{
    if
    :: reached & bit(o) -> reached = reached | word(mem[o])
    :: else
    fi
}

inline reach_fields()
{
    reach_field(1);
    reach_field(2);
#if OBJECTS > 2
    reach_field(3);
#endif
}

/* In a d_step. */
inline check_unreachable(o)
{
    reached = word(mem[0]);
    reach_stack(0);
#if STACKS > 1
    reach_stack(1);
#endif
#if STACKS > 2
    reach_stack(2);
#endif
#ifdef TSO
    reach_memory(0);
    reach_memory(1);
#endif
#ifdef RUNS
    reached = reached | reserved[0];
#if MUTATORS > 1
    reached = reached | reserved[1];
#endif
#endif
#ifdef ATTACH
    reached = reached | word(handing);
#endif
    reach_fields();
    reach_fields();
#if OBJECTS > 2
    reach_fields();
#endif
    unreachable = !(reached & bit(o));
    assert(unreachable); /* a slot that is freed cannot be reached */
    reached = 0
}

/* ---- shading, by mutators -------------------------------------------------------------------------- */

#ifdef M_SHADE_AFTER_DONE
#define over false
#else
#define over (term == DONE)
#endif

inline note_work()
{
    if
    :: term == CLEAN -> term = DIRTY
    :: else
    fi
}

#ifdef M_NO_NOTE_BEFORE
#define note_before() skip
#else
#define note_before() note_work()
#endif
#ifdef M_NO_NOTE_AFTER
#define note_after() skip
#else
#define note_after() note_work()
#endif

inline choose_from(these, o)
{
    if
    :: (these) & 2 -> o = 1
    :: (these) & 4 -> o = 2
#if OBJECTS > 2
    :: (these) & 8 -> o = 3
#endif
    fi
}

#ifdef BLOCKS
/* barrier_hand_over(), or discarding, by barrier_yield_buffer(). */
inline hand_over()
{
    atomic {
        flushed(me) ->
        if
        :: !over -> blocks = blocks | buffer
        :: else
        fi;
        buffer = 0
    }
}
#endif

#ifdef FINE
/* barrier_shade(), with each access as a step. Locked instructions wait for the store buffer. */
inline shade(o)
{
    if
    :: atomic { !over && allocated(me, o) && !(mark & bit(o)) -> skip };
       atomic { flushed(me) -> ok = !over; note_before() };
       if
       :: ok ->
           atomic { flushed(me) -> ok = !(mark & bit(o)); mark = mark | bit(o) };
           if
           :: ok ->
               atomic { flushed(me) -> ok = 0; queue = queue | bit(o) };
               atomic { flushed(me) -> note_after() }
           :: else
           fi
       :: else
       fi
    :: else
    fi
}

inline shade_all(words)
{
    do
    :: words ->
        choose_from(words, at);
        shade(at);
        words = words & ~bit(at);
        at = 0
    :: else -> break
    od
}

inline push(o)
{
    if
    :: o == 0
    :: o ->
        if
        :: true
#ifdef FILL
        :: buffer -> shade_all(buffer)
#endif
#ifdef BLOCKS
        :: buffer -> hand_over()
#endif
        fi;
        buffer = buffer | word(o);
#ifdef FILL
        if
        :: true
        :: shade_all(buffer)
#ifdef BLOCKS
        :: hand_over()
#endif
        fi
#endif
    fi
}
#else
/* All in one step. Marks commute, and who comes in between and finds a word unmarked does the same. From the
 * first note_work() on the collector cannot conclude before this mutator acknowledges another round; before it
 * nothing was done. */
inline shade_all(words)
{
    atomic {
        flushed(me) ->
        if
        :: !over ->
            words = words & ~mark;
            words = (allocated(me, 1) -> words : words & ~bit(1));
            words = (allocated(me, 2) -> words : words & ~bit(2));
#if OBJECTS > 2
            words = (allocated(me, 3) -> words : words & ~bit(3));
#endif
            if
            :: words -> note_before(); mark = mark | words; queue = queue | words
            :: else
            fi
        :: else
        fi;
        words = 0
    }
}

inline push(o)
{
    if
    :: o == 0
    :: atomic { o -> buffer = buffer | word(o) }
#ifdef FILL
    :: o && buffer -> shade_all(buffer); buffer = buffer | word(o)
    :: atomic { o -> buffer = buffer | word(o) }; shade_all(buffer)
#endif
#ifdef BLOCKS
    :: o && buffer -> hand_over(); buffer = buffer | word(o)
    :: atomic { o -> buffer = buffer | word(o) }; hand_over()
#endif
    fi
}
#endif

/* ---- acknowledging ----------------------------------------------------------------------------------- */

#ifdef M_BLACK_AT_H1
#define black (barrier != OFF)
#else
#define black (barrier == SHADE_OLD)
#endif

#ifdef PARK
#define on_stack (own != NONE)
#else
#define own       me
#define on_stack true
#endif

inline take_stack()
{
    if
    :: on_stack ->
        snapshot = snapshot | word(held[own * LOCALS]) | word(held[own * LOCALS + LOCALS - 1]) |
                   word(slot_of(own));
        scanned = scanned | bit(own)
    :: else
    fi
}

inline switch_runs()
{
#ifdef RUNS
#if !defined(M_NO_SWITCH) && !defined(M_COLOUR_AT_ISSUE)
    retired[me] = reserved[me];
    reserved[me] = 0;
#endif
#endif
    skip
}

#ifdef M_NO_FENCE
#define fence true
#else
#define fence flushed(me)
#endif

/* At a safepoint: not inside any of the units below. */
#define owes ((attached & bit(me)) && !(acked & bit(me)))

inline acknowledge()
{
    if
    :: step == ROUND -> shade_all(buffer)
    :: else
    fi;
    atomic {
        fence ->
        if
#ifdef M_H1_AND_H2_IN_ONE
        :: step == H1 -> take_stack(); switch_runs(); barrier = SHADE_OLD
#else
        :: step == H1 -> barrier = BOTH
#endif
        :: step == H1B || step == ROUND
        :: step == H2 -> take_stack(); switch_runs(); barrier = SHADE_OLD
        :: step == H5 ->
            barrier = OFF;
            next = next | bit(me);
            buffer = 0
        fi;
        acked = acked | bit(me)
    }
}

/* ---- what a mutator does -------------------------------------------------------------------------- */

#define var(i)   held[own * LOCALS + (i)]
#if LOCALS == 1
#define any_var  var(0)
#else
#define any_var  (var(0) || var(1))
#endif

/* Guards come first: nothing may block in a unit, for it cannot acknowledge there. */
inline choose_var(d)
{
    if
    :: d = 0
#if LOCALS > 1
    :: own < WIDE -> d = 1
#endif
    fi
}

inline choose_object(o)
{
    if
    :: var(0) -> o = var(0)
#if LOCALS > 1
    :: var(1) && var(1) != var(0) -> o = var(1)
#endif
    fi
}

inline choose_value(o)
{
    if
    :: o = 0
    :: var(0) -> o = var(0)
#if LOCALS > 1
    :: var(1) && var(1) != var(0) -> o = var(1)
#endif
    fi
}

/* The root, or the field of an object at hand. */
inline choose_place(a)
{
    if
    :: a = 0
    :: var(0) && var(0) <= FIELDS -> a = var(0)
#if LOCALS > 1
    :: var(1) && var(1) != var(0) && var(1) <= FIELDS -> a = var(1)
#endif
    fi
}

/* Which local holds what does not matter: fewer states. */
inline tidy()
{
#if LOCALS > 1
    if
    :: own < WIDE && var(0) > var(1) -> at = var(0); var(0) = var(1); var(1) = at; at = 0
    :: else
    fi
#else
    skip
#endif
}

inline escapes(o)
{
#ifdef INIT
    fresh = fresh & ~word(o)
#else
    skip
#endif
}

/* tri_set(). x: the root, or an object whose field is written. */
inline set_field()
{
    if
#ifndef M_ACK_IN_STORE
    :: atomic {
           on_stack && may && barrier == OFF && can_store(me) ->
           used();
           choose_place(x);
           choose_value(y);
           escapes(x);
           escapes(y);
           store(me, x, y);
           x = 0;
           y = 0
       }
    :: atomic {
           on_stack && may && barrier != OFF ->
           used();
#else
    :: atomic {
           on_stack && may ->
           used();
#endif
           choose_place(x);
           choose_value(y);
           escapes(x);
           escapes(y);
           o = load(me, x)
#ifdef FINE
       };
#else
           ;
#endif
#ifdef M_NO_DELETION
       o = 0;
#endif
       if
       :: barrier & SHADE_OLD -> push(o)
       :: else
       fi;
       o = 0;
#ifndef M_NO_INSERTION
       if
       :: barrier & SHADE_NEW -> push(y)
       :: else
       fi
#ifdef FINE
       ;
#endif
#endif
#ifndef FINE
       };
#endif
#ifdef M_ACK_IN_STORE
       if
       :: owes -> acknowledge()
       :: true
       fi;
#endif
       atomic { can_store(me) -> store(me, x, y); x = 0; y = 0 }
    fi
}

inline colour()
{
    if
    :: black -> mark = mark | bit(x)
    :: else -> mark = mark & ~bit(x)
    fi
}

#ifdef TSO
inline zero() { store(me, x, 0); stale_mem = stale_mem & ~bit(x) }
inline publish() { store(me, OBJECTS + x, 1) }
#else
inline zero() { mem[x] = 0; stale_mem = stale_mem & ~bit(x) }
inline publish() { alloc = alloc | bit(x); taken = taken & ~bit(x) }
#endif

/* A free slot becomes a reserved one. Zero and colour come before the alloc bit. */
inline take_slot()
{
    choose_from(~(alloc | taken), x);
    taken = taken | bit(x);
    if
    :: next & bit(me) -> young = young | bit(x)
    :: else -> young = young & ~bit(x)
    fi
#ifndef BITS
    ;
    zero();
    colour();
    publish()
#endif
}

/* What follows take_slot(). */
inline reserve()
{
#ifndef BITS
    skip
#else
#ifdef M_ALLOC_BIT_FIRST
    atomic { can_store(me) -> publish() };
    atomic { can_store(me) -> zero() };
    atomic { colour() }
#else
    atomic { can_store(me) -> zero() };
    atomic { (!black || flushed(me)) -> colour() };
    atomic { can_store(me) -> publish() }
#endif
#endif
}

#define room ((alloc | taken) != EVERY_SLOT)

/* The rest of an allocation: slot x, with value y in its field, into a local. */
inline issue()
{
    atomic {
        choose_var(d);
        var(d) = x;
#ifdef INIT
        if
        :: y -> fresh = fresh & ~bit(x)
        :: else -> fresh = fresh | bit(x)
        fi;
#endif
        x = 0;
        y = 0;
        d = 0;
        tidy()
    }
}

/* What follows the choice of slot x. */
inline fill()
{
#ifdef M_COLOUR_AT_ISSUE
    atomic {
        if
        :: black -> colour()
        :: else
        fi
    };
#endif
#ifdef MAKE
    if
    :: y -> atomic { can_store(me) -> store(me, x, y) }
    :: else
    fi;
#endif
    issue()
}

/* tri_new(); with a value in y, tri_make(). */
inline new(with_value)
{
    if
#ifdef RUNS
    :: atomic { on_stack && may && reserved[me] && (any_var || !with_value) ->
           choose_from(reserved[me], x);
           reserved[me] = 0;
#else
    :: atomic { on_stack && may && room && (any_var || !with_value) ->
           take_slot();
#endif
           used();
           if
           :: with_value -> choose_object(y); escapes(y)
           :: !with_value
           fi
       }
    fi;
#ifndef RUNS
    reserve();
#endif
    fill()
}

/* tri_init(): a field that is still empty, of an object that only this stack can see. */
inline initialise()
{
#ifndef M_INIT_WITHOUT_SHADING
    if
    :: barrier & SHADE_NEW -> push(y)
    :: else
    fi;
#endif
    atomic { can_store(me) -> store(me, x, y); x = 0; y = 0 }
}

inline transfer(o)
{
    if
    :: barrier != OFF -> push(o)
    :: else
    fi
}

#ifdef M_NO_SHADE_ON_PUSH
#define transfer_push(o) skip
#else
#define transfer_push(o) transfer(o)
#endif
#ifdef M_NO_SHADE_ON_PULL
#define transfer_pull(o) skip
#else
#define transfer_pull(o) transfer(o)
#endif

#ifdef SLOTS
#define still(k) (!(moving & bit(k)))
#else
#define still(k) true
#endif

#define is_parked(k)  (stack_state[k] == PARKED && still(k))
#define is_scanned(k) (stack_state[k] == SCANNING)
#define is_dead(k)    (stack_state[k] == DEAD && still(k))
#ifdef SLOTS
#define has_room(k)   (is_parked(k) && slot[k] == 0)
#define has_value(k)  (is_parked(k) && slot[k] != 0)
#endif

#if STACKS == 1
#define some(is)            is(0)
#define choose_stack(k, is) if :: is(0) -> k = 0 fi
#elif STACKS == 2
#define some(is)            (is(0) || is(1))
#define choose_stack(k, is) if :: is(0) -> k = 0 :: is(1) -> k = 1 fi
#else
#define some(is)            (is(0) || is(1) || is(2))
#define choose_stack(k, is) if :: is(0) -> k = 0 :: is(1) -> k = 1 :: is(2) -> k = 2 fi
#endif

/* gc_stack_resume() */
inline resume()
{
    atomic {
        !on_stack && some(is_parked) ->
        choose_stack(k, is_parked);
        stack_state[k] = RUNNING;
        own = k;
        k = 0
#ifndef M_SCANNED_KEPT_IN_BOTH
        ;
        if
        :: barrier & SHADE_NEW -> scanned = scanned & ~bit(own)
        :: else
        fi
#endif
    };
#ifndef M_RESUME_WITHOUT_SCAN
    if
    :: atomic { black && !(barrier & SHADE_NEW) && !(scanned & bit(own)) && term != DONE ->
        x = word(held[own * LOCALS]) | word(held[own * LOCALS + LOCALS - 1]) | word(slot_of(own)) };
        shade_all(x);
        atomic { scanned = scanned | bit(own) }
    :: else
    fi
#endif
}

proctype mutator(byte me)
{
    byte barrier = OFF, buffer;
    byte x, y, o, d, at;
    bit ok;
#ifdef PARK
    byte k;
#ifdef SPAWN
    byte own = (me == STACKS - 1 -> NONE : me); /* the last stack is dead at first */
#else
    byte own = me;
#endif
#endif

#ifdef ATTACH
absent:
    if
    :: me != MUTATORS - 1
    :: atomic {
           me == MUTATORS - 1 && starting == 1 && !listing ->
           attached = attached | bit(me);
           acked = acked | bit(me);
           barrier = target;
           next = next | (target_next << me);
           starting = 2;
           y = handing
       };
#ifndef M_ATTACHED_DOES_NOT_SHADE
       transfer(y);
#endif
       atomic { var(0) = y; y = 0; tidy(); handing = 0; starting = 0 }
    fi;
#endif
    do
    :: owes -> acknowledge()

    :: atomic { on_stack && var(0) -> var(0) = 0; tidy() } /* drop a local */
#if LOCALS > 1
    :: atomic { on_stack && var(1) && var(1) != var(0) -> var(1) = 0; tidy() }
#endif
    :: atomic { on_stack && may -> used(); choose_place(x); choose_var(d); var(d) = load(me, x); x = 0; d = 0; tidy() }
    :: set_field()
    :: new(false)
#ifdef RUNS
    :: atomic { !reserved[me] && may && room -> used(); take_slot() }; reserve(); atomic { reserved[me] = bit(x); x = 0 }
#endif
#ifdef MAKE
    :: new(true)
#endif
#ifdef INIT
    :: atomic { on_stack && may && (fresh & (word(var(0)) | word(var(LOCALS - 1)))) ->
           used();
           if
           :: fresh & word(var(0)) -> x = var(0)
#if LOCALS > 1
           :: fresh & word(var(1)) -> x = var(1)
#endif
           fi;
           choose_object(y);
           escapes(x);
           escapes(y)
       };
       initialise()
#endif
#ifdef PARK
    :: atomic { on_stack && may -> used(); stack_state[own] = PARKED; own = NONE }
    :: resume()
#endif
#ifdef TRANSFER
    /* To and from the slot of a parked stack, whose waiter is out of its queue and ours. */
    :: atomic {
           on_stack && any_var && may && some(has_room) ->
           used();
           choose_stack(k, has_room);
           moving = moving | bit(k);
           choose_object(y);
           escapes(y)
       };
       transfer_push(y);
       atomic { slot[k] = y; moving = moving & ~bit(k); y = 0; k = 0 }
    :: atomic {
           on_stack && may && some(has_value) ->
           used();
           choose_stack(k, has_value);
           moving = moving | bit(k);
           y = slot[k]
       };
       transfer_pull(y);
       atomic { choose_var(d); var(d) = y; slot[k] = 0; moving = moving & ~bit(k); y = 0; k = 0; d = 0; tidy() }
    /* To the own slot, before parking. */
    :: atomic { on_stack && may && any_var && slot[own] == 0 -> used(); choose_object(y); escapes(y) };
       transfer_push(y);
       atomic { slot[own] = y; y = 0 }
#endif
#ifdef SLOTS
    /* From the own slot, after waking or being born. */
    :: atomic { on_stack && may && slot[own] != 0 -> used(); y = slot[own] };
       transfer_pull(y);
       atomic { choose_var(d); var(d) = y; slot[own] = 0; y = 0; d = 0; tidy() }
#endif
#ifdef SPAWN
    :: atomic {
           on_stack && any_var && may && some(is_dead) ->
           used();
           choose_stack(k, is_dead);
           moving = moving | bit(k);
           choose_object(y);
           escapes(y)
       };
       transfer_push(y);
       atomic {
           slot[k] = y;
           if
#ifdef M_BORN_SCANNED
           :: true -> scanned = scanned | bit(k)
#else
#ifdef M_BORN_SCANNED_IN_BOTH
           :: black || barrier == BOTH -> scanned = scanned | bit(k)
#else
           :: black -> scanned = scanned | bit(k)
#endif
           :: else -> scanned = scanned & ~bit(k)
#endif
           fi;
           stack_state[k] = PARKED;
           moving = moving & ~bit(k);
           y = 0;
           k = 0
       }
    :: atomic {
           on_stack && may ->
           used();
           stack_state[own] = DEAD;
           var(0) = 0;
           var(LOCALS - 1) = 0;
           slot[own] = 0;
           own = NONE
       }
#endif
#ifdef ATTACH
    /* tri_thread_start(): blocked, with the argument on its stack, until the thread has it. */
    :: atomic { me == 0 && starting == 0 && !(attached & bit(MUTATORS - 1)) && may && any_var ->
           used();
           choose_object(handing);
           starting = 1;
           escapes(handing) };
       do
       :: owes -> acknowledge()
       :: starting == 0 -> break
       od
    :: atomic { me == MUTATORS - 1 && !owes && !listing -> listing = 1; var(0) = 0; var(LOCALS - 1) = 0 };
#ifdef M_BUFFER_LOST_AT_DETACH
       buffer = 0;
#endif
       shade_all(buffer);
       atomic { attached = attached & ~bit(me); listing = 0; barrier = OFF; next = next & ~bit(me) };
       goto absent
#endif
    od
}

/* ---- the collector ----------------------------------------------------------------------------------- */

#ifdef ATTACH
#define unlisted !listing
inline set_target(st)
{
    if
    :: st == H1 -> target = BOTH
    :: st == H2 -> target = SHADE_OLD
    :: st == H5 -> target = OFF; target_next = 1
    :: else
    fi
}
#else
#define unlisted true
inline set_target(st) { skip }
#endif

#define all_acked ((acked & attached) == attached)

inline ask(st)
{
    atomic { unlisted -> step = st; acked = 0; set_target(st) }
}

inline handshake(st)
{
    ask(st);
    all_acked
}

/* Marking a set is one step: a mutator that comes in between and finds a slot unmarked does the same. */
inline mark_words(words)
{
    d_step {
        words = words & alloc & ~mark;
        mark = mark | words;
        queue = queue | words;
        words = 0
    }
}

#ifdef M_NO_NOTE_BY_MARKERS
#define note_by_marker() skip
#else
#define note_by_marker() note_work()
#endif

/* A span out of the queue: a marker reads what its objects hold, and marks that. */
inline read_object()
{
    if
    :: alloc & bit(q) ->
        unread = !(stale_mem & bit(q));
        assert(unread); /* a marker does not read what a former object left */
        todo = word(mem[q])
    :: else
    fi;
    unread = 0;
    q = 0
}

inline scan_next()
{
#ifdef GUEST
    atomic { queue -> choose_from(queue, q); queue = queue & ~bit(q) };
    atomic { note_by_marker() };
    atomic { read_object() };
    mark_words(todo)
#else
    atomic { queue -> choose_from(queue, q); queue = queue & ~bit(q); read_object(); mark_words(todo) }
#endif
}

#ifdef BLOCKS
#ifdef M_BLOCKS_TAKEN_IN_A_ROUND
#define may_take_blocks true
#else
#define may_take_blocks (term == OPEN)
#endif
/* Looking at term and taking the blocks are two steps. */
inline take_blocks()
{
    atomic { blocks && may_take_blocks -> skip };
    atomic { todo = blocks; blocks = 0 };
    mark_words(todo)
}

/* By the collector, when all have acknowledged a round: what is not marked yet makes it dirty. */
inline shade_blocks()
{
#ifdef M_BLOCKS_NOT_SHADED
    skip
#else
    atomic { todo = blocks; blocks = 0 };
    atomic {
        todo = todo & alloc & ~mark;
        if
        :: todo -> note_work(); mark = mark | todo; queue = queue | todo
        :: else
        fi;
        todo = 0
    }
#endif
}
#endif

inline mark_all()
{
    do
    :: queue -> scan_next()
#ifdef BLOCKS
    :: take_blocks()
#endif
    :: !queue -> break
    od
}

/* Any slot may look referenced by a word that is none. */
inline stale_words()
{
#ifdef STALE
    if
    :: true
    :: todo = todo | 2
    :: todo = todo | 4
    fi
#else
    skip
#endif
}

inline mark_parked()
{
    k = 0;
    do
    :: k < STACKS ->
        if
        :: atomic { stack_state[k] == PARKED && !(scanned & bit(k)) ->
               stack_state[k] = SCANNING;
               todo = word(held[k * LOCALS]) | word(held[k * LOCALS + LOCALS - 1]) | word(slot_of(k)) };
            mark_words(todo);
            atomic { scanned = scanned | bit(k); stack_state[k] = PARKED }
        :: else
        fi;
        k++
    :: else -> break
    od;
    k = 0
}

/* What a slot holds after its life matters only where zeroing is a step of its own. */
inline forget(o)
{
#ifdef BITS
    stale_mem = stale_mem | bit(o)
#else
    mem[o] = 0
#endif
}

inline retire(m)
{
#ifdef RUNS
    d_step {
        if
        :: retired[m] ->
            choose_from(retired[m], p);
            check_unreachable(p);
            alloc = alloc & ~retired[m];
            retired[m] = 0;
            p = 0
        :: else
        fi
    }
#else
    skip
#endif
}

inline sweep_slot(o)
{
    d_step {
        if
        :: !(young & bit(o)) ->
            if
            :: (alloc & bit(o)) && !(mark & bit(o)) ->
                check_unreachable(o);
                alloc = alloc & ~bit(o);
                forget(o)
            :: else
            fi;
            mark = mark & ~bit(o)
        :: else
        fi
    }
}

proctype collector()
{
    byte todo, p, q, k, reached;
    bit unreachable, unread, nobody_marked;

idle_phase:
#ifdef M_PARKED_BEFORE_H1
    term = OPEN;
    mark_parked();
    ask(H1);
    all_acked;
#else
    atomic {
#ifndef M_SHADE_AFTER_DONE
        nobody_marked = (queue == 0);
        assert(nobody_marked); /* from DONE on; a span that is freed must be in no queue */
        nobody_marked = 0;
#endif
        queue = 0;
        term = OPEN
    };
    handshake(H1);
#endif
#ifndef M_H1_AND_H2_IN_ONE
#ifndef M_NO_H1B
    handshake(H1B);
#endif
#ifdef EARLY
    atomic { todo = word(mem[0]); stale_words(); mark_words(todo) };
    mark_parked();
    ask(H2);
    do
    :: all_acked -> break
    :: queue -> scan_next()
    od;
#else
    handshake(H2);
#endif
#endif
#ifdef GUEST
    atomic { markers++ };
    atomic { marking = 1 };
#endif
    retire(0);
#if MUTATORS > 1
    retire(1);
#endif
    atomic { todo = word(mem[0]); stale_words(); mark_words(todo) };
    atomic { todo = snapshot; snapshot = 0; mark_words(todo) };
#ifdef PARK
    mark_parked();
#endif

marking_phase:
    mark_all();
#ifdef GUEST
    if
    :: markers > 1 || queue -> goto marking_phase
    :: else
    fi;
#endif
    atomic { term = CLEAN };
#ifdef GUEST
#ifndef M_ACTIVE_NOT_CHECKED_BEFORE
    if
    :: markers > 1 -> atomic { term = OPEN }; goto marking_phase
    :: else
    fi;
#endif
#endif
    handshake(ROUND);
#ifdef BLOCKS
    shade_blocks();
#endif
#ifdef M_ONE_ROUND
    atomic { term = OPEN };
    mark_all();
    atomic { term = DONE };
#else
    if
    :: queue -> atomic { term = OPEN }; goto marking_phase
    :: else
    fi;
#ifdef GUEST
#ifndef M_ACTIVE_NOT_CHECKED_AFTER
    if
    :: markers > 1 -> atomic { term = OPEN }; goto marking_phase
    :: else
    fi;
#endif
#endif
    if
    :: atomic { term == CLEAN -> term = DONE }
    :: atomic { term != CLEAN -> term = OPEN }; goto marking_phase
    fi;
#endif
#ifdef GUEST
    atomic { marking = 0 };
    atomic { markers-- };
    markers == 0;
#endif
#ifdef M_SWEEP_BEFORE_LAST_H5
    ask(H5);
#else
    handshake(H5);
#endif
    sweep_slot(1);
    sweep_slot(2);
#if OBJECTS > 2
    sweep_slot(3);
#endif
    all_acked;
#ifdef BLOCKS
    blocks = 0; /* barrier_discard_blocks() */
#endif
    /* All is swept: what was the next generation is the current one, and no stack counts as scanned. */
    atomic {
        young = 0;
        next = 0;
        scanned = 0;
        step = 0;
#ifdef ATTACH
        target_next = 0;
#endif
    };
    goto idle_phase
}

#ifdef GUEST
/* A worker thread, or a mutator that helps. */
proctype guest()
{
    byte todo, p, q;
    bit unread;
    do
    :: marking ->
        atomic { markers++ };
        if
        :: marking ->
            do
            :: queue -> scan_next()
#ifdef BLOCKS
            :: take_blocks()
#endif
            :: true -> break
            od
        :: else
        fi;
        atomic { markers-- }
    od
}
#endif

#ifdef TSO
proctype processor(byte m)
{
    do
    :: atomic {
           pending[m] ->
           if
           :: pending_at[first(m)] <= OBJECTS -> mem[pending_at[first(m)]] = pending_value[first(m)]
           :: else ->
               alloc = alloc | bit(pending_at[first(m)] - OBJECTS);
               taken = taken & ~bit(pending_at[first(m)] - OBJECTS)
           fi;
#if TSO > 1
           pending_at[first(m)] = pending_at[first(m) + 1];
           pending_value[first(m)] = pending_value[first(m) + 1];
#endif
           pending_at[first(m) + TSO - 1] = 0;
           pending_value[first(m) + TSO - 1] = 0;
           pending[m]--
       }
    od
}
#endif

init
{
    atomic {
#ifdef OPS
        /* Some heap to begin with. */
        if
        :: true
        :: mem[0] = 1
        :: mem[0] = 1; mem[1] = 2
#if OBJECTS > 2
        :: mem[0] = 1; mem[1] = 2; mem[2] = 3
#endif
        fi;
        if
        :: true
        :: held[0] = 1
        :: held[0] = 2
        fi;
        alloc = word(mem[0]) | word(mem[1]) | word(mem[2]) | word(held[0]);
#endif
#ifdef SPAWN
        stack_state[STACKS - 1] = DEAD;
#else
#if STACKS > MUTATORS
        stack_state[STACKS - 1] = PARKED;
#endif
#endif
        run mutator(0);
#if MUTATORS > 1
        run mutator(1);
#endif
#if MUTATORS > 2
        run mutator(2);
#endif
#ifdef TSO
        run processor(0);
#if MUTATORS > 1
        run processor(1);
#endif
#endif
#ifdef GUEST
        run guest();
#endif
        run collector()
    }
}
