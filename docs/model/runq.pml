/* The run queues of the scheduler (runtime/runq.c): is each coroutine that is made runnable run, and once?
 *
 * One P whose owner pushes and takes, thieves that steal half of its ring, the monitor, which takes its runnext,
 * and the global queue. The ring has two or four entries, so that it wraps and overflows; head and tail are
 * counted modulo 16 as the implementation counts modulo 2^32, and begin just before they wrap.
 *
 * Each load and store of a word that others touch is a step. The owner's stores reach memory in their order but
 * late, as on x86: they wait in a store buffer, which locked instructions empty. Two mutations are what weaker
 * processors may do without the release and acquire that stand in runq.c: M_TAIL_BEFORE_ENTRY, M_READ_AFTER_CAS.
 *
 * Properties: once (no coroutine is run twice, and no empty entry is); all_run (when all queues are empty). */

#ifndef GS
#define GS 4 /* coroutines */
#endif
#ifndef THIEVES
#define THIEVES 1
#endif
#ifndef RING
#define RING 2
#endif
#define MODULO  16
#define ENTRIES 2 /* of the store buffer */

#define ALL       (((1 << (GS + 1)) - 1) & ~1)
#define at(i)     ((i) % RING)
#define plus(i, n) (((i) + (n)) % MODULO)
#define minus(i, j) (((i) + MODULO - (j)) % MODULO)

byte head = MODULO - 2, tail = MODULO - 2, runnext;
byte ring[RING];
byte global; /* bit set: the queue is under a lock, its order does not matter here */
byte ran;    /* bit set */
byte working = THIEVES + 2;

/* The owner's store buffer. Addresses: below RING the ring, then tail and runnext. */
#define TAIL    RING
#define RUNNEXT (RING + 1)
byte pending, pending_at[ENTRIES], pending_value[ENTRIES];
#define flushed (pending == 0)
#define in_buffer(i, a) (pending > (i) && pending_at[i] == (a))
/* The owner's own view of runnext. */
#define own_runnext \
    (in_buffer(1, RUNNEXT) -> pending_value[1] : (in_buffer(0, RUNNEXT) -> pending_value[0] : runnext))

inline store(a, v)
{
    atomic { pending < ENTRIES -> pending_at[pending] = a; pending_value[pending] = v; pending++ }
}

proctype processor()
{
    do
    :: atomic {
           pending ->
           if
           :: pending_at[0] < RING -> ring[pending_at[0]] = pending_value[0]
           :: pending_at[0] == TAIL -> tail = pending_value[0]
           :: pending_at[0] == RUNNEXT -> runnext = pending_value[0]
           fi;
           pending_at[0] = pending_at[1];
           pending_value[0] = pending_value[1];
           pending_at[1] = 0;
           pending_value[1] = 0;
           pending--
       }
    :: atomic { working == 0 && !pending -> break }
    od
}

inline run_it(g)
{
    d_step {
        once = g && !(ran & (1 << g));
        assert(once); /* nothing is run twice, nor what is no coroutine */
        ran = ran | (1 << g);
        once = 0
    }
}

inline global_get(g)
{
    if
    :: global & 2 -> g = 1
    :: global & 4 -> g = 2
    :: global & 8 -> g = 3
    :: global & 16 -> g = 4
#if GS > 4
    :: global & 32 -> g = 5
#endif
#if GS > 5
    :: global & 64 -> g = 6
#endif
    fi;
    global = global & ~(1 << g)
}

/* ---- the owner ------------------------------------------------------------------------------------------- */

/* sched_ring_put(), overflow(). mine[] is what the owner has stored in the ring: its loads are forwarded. */
inline ring_put(g)
{
    do
    :: h = head; /* acquire */
       if
       :: minus(t, h) < RING ->
           mine[at(t)] = g;
#ifdef M_TAIL_BEFORE_ENTRY
           store(TAIL, plus(t, 1));
           store(at(t), g);
#else
           store(at(t), g);
           store(TAIL, plus(t, 1));
#endif
           t = plus(t, 1);
           break
       :: else ->
           batch = (1 << mine[at(h)]) | (1 << g);
#if RING > 2
           batch = batch | (1 << mine[at(h + 1)]);
#endif
#ifdef M_OVERFLOW_WITHOUT_CAS
           atomic { flushed -> ok = 1; head = plus(h, RING / 2) };
#else
           atomic { flushed -> ok = (head == h); head = (ok -> plus(h, RING / 2) : head) };
#endif
           if
           :: ok -> atomic { global = global | batch; batch = 0; ok = 0 }; break
           :: else -> batch = 0
           fi
       fi
    od;
    h = 0
}

/* sched_ring_get() */
inline ring_get(g)
{
    h = head;
    do
    :: h == t -> g = 0; break
    :: else ->
        g = mine[at(h)];
#ifdef M_GET_WITHOUT_CAS
        atomic { flushed -> head = plus(h, 1) };
        break
#else
        atomic { flushed -> ok = (head == h); h = head; head = (ok -> plus(h, 1) : head) };
        if
        :: ok -> ok = 0; break
        :: else -> g = 0
        fi
#endif
    od;
    h = 0
}

/* sched_runnext_get() */
inline runnext_get(g)
{
    g = own_runnext;
    do
    :: g == 0 -> break
    :: else ->
#ifdef M_RUNNEXT_WITHOUT_CAS
        store(RUNNEXT, 0);
        break
#else
        atomic { flushed -> ok = (runnext == g); g = runnext; runnext = (ok -> 0 : runnext) };
        if
        :: ok -> ok = 0; break
        :: else
        fi
#endif
    od
}

/* sched_runnext_put() */
inline runnext_put(g)
{
    old = own_runnext;
    if
    :: old == 0 -> store(RUNNEXT, g)
    :: else ->
#ifdef M_RUNNEXT_WITHOUT_EXCHANGE
        store(RUNNEXT, g);
#else
        atomic { flushed -> old = runnext; runnext = g };
#endif
        if
        :: old -> ring_put(old)
        :: else
        fi
    fi;
    old = 0
}

proctype owner()
{
    byte next = 1, g, h, old, batch, t = MODULO - 2;
    byte mine[RING];
    bit ok, once;
    do
    :: next <= GS -> ring_put(next); next++
    :: next <= GS -> runnext_put(next); next++
    :: runnext_get(g);
       if
       :: g == 0 -> ring_get(g)
       :: else
       fi;
       if
       :: g -> run_it(g); g = 0
       :: g == 0 && next > GS -> break
       :: else
       fi
    od;
    atomic { flushed -> working-- }
}

/* ---- others ------------------------------------------------------------------------------------------------ */

/* sched_ring_steal(): what it grabs is unpublished until it is the thief's. The thief then runs all of it. */
proctype thief()
{
    byte from, to, n, i;
    byte got[2];
    bit ok, once;
    do
    :: from = head;
       to = tail;
       n = minus(to, from);
       n = n - n / 2;
       if
       :: n == 0 || n > RING / 2
       :: else ->
#ifdef M_READ_AFTER_CAS
           atomic { ok = (head == from); head = (ok -> plus(from, n) : head) };
#endif
           do
           :: i < n -> got[i] = ring[at(from + i)]; i++
           :: else -> break
           od;
           i = 0;
#ifdef M_STEAL_WITHOUT_CAS
           atomic { ok = 1; head = plus(from, n) };
#else
#ifndef M_READ_AFTER_CAS
           atomic { ok = (head == from); head = (ok -> plus(from, n) : head) };
#endif
#endif
           if
           :: ok ->
               run_it(got[0]);
               if
               :: n == 2 -> run_it(got[1])
               :: else
               fi
           :: else
           fi
       fi;
       d_step { got[0] = 0; got[1] = 0; ok = 0; from = 0; to = 0; n = 0 }
    :: atomic { global -> global_get(n) }; run_it(n); n = 0
    :: true -> break
    od;
    working--
}

/* The monitor takes a runnext that has waited too long, to the global queue. */
proctype monitor()
{
    byte g;
    bit ok;
    do
    :: g = runnext;
       if
       :: g ->
           atomic { ok = (runnext == g); runnext = (ok -> 0 : runnext) };
           if
           :: ok -> atomic { global = global | (1 << g); ok = 0 }
           :: else
           fi
       :: else
       fi;
       g = 0
    :: true -> break
    od;
    working--
}

init
{
    byte g;
    bit once, all_run;
    atomic {
        run owner();
        run thief();
#if THIEVES > 1
        run thief();
#endif
        run monitor();
        run processor()
    };
    /* The owner has found its queues empty; what is left is in the global queue. */
    atomic {
        _nr_pr == 1 ->
        do
        :: global -> global_get(g); run_it(g)
        :: else -> break
        od;
        all_run = (ran == ALL);
        assert(all_run) /* nothing is lost */
    }
}
