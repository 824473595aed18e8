/* Parking and waking (runtime/switch.c, waiter.c, timer.c), and Ms that go to sleep (runtime/idle.c, find.c): does a
 * wake-up reach its coroutine, once, although all Ms are about to sleep?
 *
 * One coroutine parks WAITS times. It puts itself where a waker finds it, in state PARKING, then leaves its stack;
 * the M that it ran on publishes that. A waker takes it out of there, under that queue's lock: a thread or the
 * monitor, who queue it globally, or an M that fires a timer during its search, who queues it on its own P. Two Ms
 * share PS Ps. An M that finds nothing gives its P up and sleeps; who queues something wakes one M, unless no P is
 * idle or somebody searches already.
 *
 * Each access to a shared word is a step; what is done under sched.lock is several, with the lock held. The racing
 * accesses are seq_cst, or have a locked instruction between them, so there are no store buffers here.
 *
 * Properties: ended (when nothing moves any more, the coroutine has; a lost wake-up violates it), resumable (its
 * context was saved before), claimed (a waker finds it parking or parked), once (it is queued and run once at a time). */

#ifndef WAITS
#define WAITS 2
#endif
#ifndef PS
#define PS 1
#endif

/* states of the coroutine */
#define RUNNABLE 1
#define RUNNING  2
#define PARKING  3
#define WOKEN    4
#define WAITING  5
#define DEAD     6

byte state = RUNNABLE;
byte waits = WAITS;
bit findable;   /* in a wait queue or a heap of timers */
bit saved = 1;  /* its context */
byte queued = 1; /* how often it is in a run queue, or run */

byte global = 1;  /* the global queue, and nglobal */
byte ring[2];     /* of the P that M 0 or 1 has */
bit lock;         /* sched.lock */
byte idle_ps;     /* and nidle */
byte idle_ms;     /* bit set */
byte wake;        /* futex words of the Ms, bit set */
byte nspinning;

#define acquire() atomic { !lock -> lock = 1 }
#define release() lock = 0

inline queue_check()
{
    queued++;
    once = (queued == 1);
    assert(once)
}

/* ---- waking Ms ------------------------------------------------------------------------------------------------ */

/* sched_wake_one() and sched_start_m(). If all Ms are on their way to sleep the implementation starts another; here
 * the waker waits for one of them, which is the same to everybody else. */
inline wake_one()
{
    if
    :: atomic { nspinning == 0 -> nspinning = 1 };
       acquire();
       if
       :: idle_ps > 0 -> idle_ps--; got = 1
       :: else
       fi;
       release();
       if
       :: got ->
           if
           :: atomic { !lock && (idle_ms & 1) -> idle_ms = idle_ms & ~1; got = 0 };
              wake = wake | 1
           :: atomic { !lock && (idle_ms & 2) -> idle_ms = idle_ms & ~2; got = 0 };
              wake = wake | 2
           fi
       :: else -> atomic { nspinning-- }
       fi
    :: atomic { nspinning != 0 -> skip }
    fi
}

inline wake_if_idle()
{
    if
    :: idle_ps > 0 ->
        if
        :: nspinning == 0 -> wake_one()
        :: else
        fi
    :: else
    fi
}

inline global_put()
{
    acquire();
    d_step { global++; queue_check() };
    release()
}

/* ---- waking the coroutine ---------------------------------------------------------------------------------------- */

/* Out of the queue, under its lock. */
inline take_waiter()
{
#ifdef M_TAKEN_TWICE
    findable;
    findable = 0
#else
    atomic { findable -> findable = 0 }
#endif
}

/* ready_claim() */
inline ready_claim()
{
    seen = state;
    if
#ifdef M_WAKE_WITHOUT_CAS
    :: seen == PARKING -> mine = 1
#else
    :: seen == PARKING ->
        atomic {
            if
            :: state == PARKING -> state = WOKEN; mine = 0
            :: else -> seen = state; mine = 1
            fi
        }
#endif
    :: else -> mine = 1
    fi;
    if
    :: mine ->
#ifndef M_WAKE_WITHOUT_CAS
        claimed = (seen == WAITING);
        assert(claimed); /* only a parked coroutine is made runnable */
        claimed = 0;
#endif
        state = RUNNABLE
    :: else
    fi;
    seen = 0
}

/* A thread, or the monitor. */
proctype waker()
{
    byte seen;
    bit mine, got, once, claimed;
end_nobody_waits:
    do
    :: take_waiter();
       ready_claim();
       if
       :: mine -> global_put(); wake_if_idle(); mine = 0; once = 0
       :: else
       fi
    od
}

/* ---- machines --------------------------------------------------------------------------------------------------- */

/* The coroutine, from sched_run() to where it leaves its stack. */
inline run_coroutine()
{
    d_step {
        resumable = saved;
        assert(resumable); /* its context was saved */
        saved = 0;
        resumable = 0
    };
    state = RUNNING;
    do
    :: waits == 0 -> atomic { state = DEAD; queued-- }; break
    :: else ->
        waits--;
#ifdef M_FINDABLE_BEFORE_PARKING
        findable = 1;
        state = PARKING;
        queued--;
#else
        state = PARKING;
        atomic { queued--; findable = 1 };
#endif
        /* sched_park() */
        if
        :: atomic { state == WOKEN -> state = RUNNING; queued++ }
        :: atomic { state != WOKEN -> skip };
#ifdef M_PUBLISH_BEFORE_SAVE
           finish_park();
           saved = 1;
#else
           saved = 1;
           finish_park();
#endif
           break
        fi
    od
}

inline finish_park()
{
#ifdef M_PARK_WITHOUT_CAS
    state = WAITING
#else
    if
    :: atomic { state == PARKING -> state = WAITING }
    :: atomic { state != PARKING -> woken = (state == WOKEN) };
       assert(woken); /* a parking coroutine can only have been woken */
       woken = 0;
       state = RUNNABLE;
       d_step { ring[m]++; queue_check() }
    fi
#endif
}

inline stop_spinning()
{
    atomic { spinning = 0; nspinning-- }
}

/* sched_timers_run(), by an M that looks for work. */
inline fire_timers()
{
    if
    :: atomic { findable -> findable = 0 };
       ready_claim();
       if
       :: mine -> d_step { ring[m]++; queue_check(); mine = 0 }; wake_if_idle()
       :: else
       fi
    :: true
    fi
}

inline look()
{
    fire_timers();
    if
    :: atomic { ring[m] > 0 -> ring[m]--; found = 1 }
    :: atomic { ring[m] == 0 -> skip };
       if
       :: global > 0 ->
           acquire();
           if
           :: global > 0 -> global--; found = 1
           :: else
           fi;
           release()
       :: global == 0
       fi;
       if
       :: found
       :: else ->
           if
           :: !spinning -> atomic { spinning = 1; nspinning++ }
           :: true /* enough others do */
           fi;
           if
           :: atomic { spinning && ring[1 - m] > 0 -> ring[1 - m]--; found = 1 }
           :: atomic { !spinning || ring[1 - m] == 0 -> skip }
           fi
       fi
    fi
}

#define work_anywhere (global > 0 || ring[0] > 0 || ring[1] > 0)

/* Gives the P up; has_p says whether there was work after all. */
inline give_up()
{
    acquire();
    if
#ifndef M_IDLE_WITHOUT_LOOK
    :: global > 0
#endif
#ifdef M_IDLE_WITHOUT_LOOK
    :: true -> idle_ps++; has_p = 0
#else
    :: else -> idle_ps++; has_p = 0
#endif
    fi;
    release();
    if
    :: !has_p && spinning ->
#ifdef M_LOOK_BEFORE_STOP_SPINNING
        found = work_anywhere;
        stop_spinning();
#else
        stop_spinning();
#ifndef M_NO_RECHECK
        found = work_anywhere;
#endif
#endif
        if
        :: found ->
            found = 0;
            acquire();
            if
            :: idle_ps > 0 -> idle_ps--; has_p = 1
            :: else
            fi;
            release();
            if
            :: has_p -> atomic { spinning = 1; nspinning++ }
            :: else
            fi
        :: else
        fi
    :: else
    fi
}

proctype machine(byte m; bit has_p)
{
    byte seen;
    bit spinning, found, mine, got, resumable, woken, once, claimed;
    do
    :: !has_p -> /* sched_m_wait() */
#ifdef M_RESET_WAKE_LATE
        acquire();
        idle_ms = idle_ms | (1 << m);
        release();
        wake = wake & ~(1 << m);
#else
        acquire();
        wake = wake & ~(1 << m);
        idle_ms = idle_ms | (1 << m);
        release();
#endif
end_asleep:
        (wake & (1 << m));
        has_p = 1;
        spinning = 1
    :: else ->
        look();
        if
        :: found ->
            found = 0;
            if
            :: spinning ->
                stop_spinning();
                if
                :: nspinning == 0 -> wake_if_idle()
                :: else
                fi
            :: else
            fi;
            run_coroutine();
            once = 0
        :: else -> give_up()
        fi
    od
}

init
{
    bit ended;
    atomic {
        run machine(0, 1);
#if PS > 1
        run machine(1, 1);
#else
        run machine(1, 0);
#endif
        run waker();
#ifdef M_TAKEN_TWICE
        run waker()
#endif
    };
    timeout ->
    ended = (state == DEAD);
    assert(ended) /* when nothing moves any more, the coroutine has ended */
}
