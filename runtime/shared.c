/* Shared stacks: many coroutines that wait keep few bytes each.
 *
 * The problem: a coroutine that waits has a few hundred live bytes on its stack, and costs a page of
 * 4,096; a million of them cost 4 GiB and a million first touches. C stacks cannot be moved, since
 * anything may point into them. But what lies there can be taken away and put back, to the same
 * addresses, as long as nobody looks in between.
 *
 * So a coroutine of tri_go_shared() is bound to a stack at its birth, with up to `sharers` others. It
 * runs there alone. When it waits its bytes stay, until another of that stack is about to run: then
 * [sp, top) is copied to an image (image.c), and back before it runs itself again. A coroutine that
 * waits and resumes with nobody coming between is never copied.
 *
 * What it costs: two of one stack cannot run at the same time, on whatever P. One that finds its stack
 * held waits in the stack's own queue, holding nothing, and whoever leaves the stack makes the first
 * of that queue runnable. A stack is left at every park, yield, preemption and end, never in between:
 * in a blocking call, and by one that was demoted, it is kept, since frames are in use there. The
 * monitor asks a coroutine that others wait for to give way, as it does for those in run queues. So
 * everybody comes to run unless a coroutine waits for another of its own stack in a way that the
 * scheduler does not know of. The documentation forbids that, and the monitor names a coroutine that
 * keeps its stack from others for ten seconds.
 *
 * Each P has two stacks on which new ones begin: a P switches from one coroutine straight to the next,
 * and the stack that is being left is still held.
 *
 * Rejected:
 *   - giving the page of every cold stack back, with a guard in its place, and restoring it on resume
 *     or when somebody else touches it. It shares no addresses, so nothing excludes anything, but it
 *     is two system calls and a page fault for each park, 6 us where first touching the page costs 4;
 *     the second thread to touch a page that is being restored would see zeros; and a system call that
 *     is given an address there fails with EFAULT. It could not be the default either.
 *   - copying out at each park (most are resumed before anybody wants the stack).
 *   - one stack per thread, as other libraries have: a coroutine could then run on one thread only.
 *
 * The collector scans the image instead of the range (gc_stack_put_away). The runtime itself keeps
 * nothing on a waiting stack that others use: waiters, timers and values lie in the G. Only pointers
 * that the program gives away are in danger, and stackcheck=1 finds those: then every coroutine has a
 * stack of its own, is put away at each park, and its range is guarded meanwhile.
 *
 * Sanitizers and Valgrind keep books about stack memory that would have to be moved as well: there
 * nothing is shared.
 *
 * Invariant: `held` is set exactly while a coroutine is on the stack or about to be; it alone, or its M
 * for it, touches what lies there and what the struct lists under it; somebody in the
 * queue implies that it is held, or that one which was taken out of the queue is runnable and will
 * hold and leave it.
 */
#include "os/delay.h"
#include "os/memory.h"
#include "os/report.h"
#include "os/vm.h"
#include "runtime/sched.h"

#ifdef TRI_TORTURE
#define SHARERS 3u
#else
#define SHARERS 128u
#endif
#define ROOM_TRIES 4
#define KEPT_NS    10000000000
#define TRIM_PIECE 256u

void sched_shared_init(sched *s)
{
    const tri_options *o = &s->heap->options;
    s->can_share = sched_fiber_can_share();
    s->kept_ns = KEPT_NS;
    s->sharers = o->stack_check ? 1 : o->sharers ? o->sharers : SHARERS;
}

/* ---- those with room, under shared_lock ---------------------------------------------------------- */

static void put_room(sched *s, sched_shared *sh)
{
    os_mutex_lock(&s->shared_lock);
    sh->next = NULL;
    if (s->shared_room_last)
        s->shared_room_last->next = sh;
    else
        s->shared_room = sh;
    s->shared_room_last = sh;
    s->nshared_room++;
    os_mutex_unlock(&s->shared_lock);
}

static sched_shared *take_room(sched *s)
{
    os_mutex_lock(&s->shared_lock);
    sched_shared *sh = s->shared_room;
    if (sh) {
        s->shared_room = sh->next;
        if (!s->shared_room)
            s->shared_room_last = NULL;
        s->nshared_room--;
    }
    os_mutex_unlock(&s->shared_lock);
    return sh;
}

/* ---- the queue of one, under its lock ------------------------------------------------------------ */

static void enqueue(sched_shared *sh, sched_g *g)
{
    g->next = NULL;
    if (sh->last)
        sh->last->next = g;
    else
        __atomic_store_n(&sh->first, g, __ATOMIC_RELAXED); /* sched_shared_wanted() reads it */
    sh->last = g;
}

static sched_g *dequeue(sched_shared *sh)
{
    sched_g *g = sh->first;
    if (!g)
        return NULL;
    __atomic_store_n(&sh->first, g->next, __ATOMIC_RELAXED);
    if (!g->next)
        sh->last = NULL;
    return g;
}

/* ---- holding and leaving ------------------------------------------------------------------------- */

static void set_holder(sched_shared *sh, sched_g *g)
{
    sh->held = g;
    sh->holds++;
}

/* False: g is queued. */
static bool hold(sched_m *m, sched_shared *sh, sched_g *g)
{
    os_mutex_lock(&sh->lock);
    bool free = !sh->held;
    if (free) {
        set_holder(sh, g);
    } else {
        atomic_fetch_add_explicit(&m->sched->nkept, 1, memory_order_relaxed);
        enqueue(sh, g);
    }
    os_mutex_unlock(&sh->lock);
    return free;
}

static void run_kept(sched_m *m, sched_g *g)
{
    sched *s = m->sched;
    atomic_fetch_sub_explicit(&s->nkept, 1, memory_order_relaxed);
    if (m->p)
        sched_ring_put(m->p, g);
    else
        sched_global_put(s, g, g, 1);
    sched_wake(s);
}

static void let_go(sched_m *m, sched_shared *sh)
{
    OS_DELAY("shared.leave");
    os_mutex_lock(&sh->lock);
    sh->held = NULL;
    sched_g *next = dequeue(sh);
    os_mutex_unlock(&sh->lock);
    if (next)
        run_kept(m, next);
}

/* ---- binding ------------------------------------------------------------------------------------- */

/* g holds it if it can take one more. */
static bool try_bind(const sched *s, sched_shared *sh, sched_g *g)
{
    os_mutex_lock(&sh->lock);
    bool ok = !sh->held && sh->bound < s->sharers;
    if (ok) {
        set_holder(sh, g);
        sh->idle = false;
        sh->bound++;
    }
    os_mutex_unlock(&sh->lock);
    return ok;
}

static sched_shared *bind_room(sched *s, sched_g *g)
{
    for (int i = 0; i < ROOM_TRIES; i++) {
        sched_shared *sh = take_room(s);
        if (!sh)
            return NULL;
        if (try_bind(s, sh, g))
            return sh;
        put_room(s, sh);
    }
    return NULL;
}

static sched_shared *bind_new(sched *s, sched_p *p, sched_g *g)
{
    sched_shared *sh = os_alloc(sizeof *sh);
    if (!sh)
        return NULL;
    sh->memory = sched_stack_get(s, p, s->stack_log2);
    if (!sh->memory) {
        os_free(sh, sizeof *sh);
        return NULL;
    }
    sh->held = g;
    sh->offered = true;
    sh->bound = 1;
    os_mutex_lock(&s->shared_lock);
    sh->all_next = s->shared_all;
    if (sh->all_next)
        sh->all_next->all_prev = sh;
    s->shared_all = sh;
    s->nshared++;
    os_mutex_unlock(&s->shared_lock);
    return sh;
}

static bool has_room(const sched *s, uint32_t bound)
{
    return bound <= s->sharers / 2;
}

/* No P's any more: new ones get it again when there is room for several. */
static void give_up(sched *s, sched_shared *sh)
{
    os_mutex_lock(&sh->lock);
    bool room = has_room(s, sh->bound);
    sh->offered = room;
    os_mutex_unlock(&sh->lock);
    if (room)
        put_room(s, sh);
}

/* A stack for g, which holds it. NULL: no memory. */
static sched_shared *bind(sched *s, sched_p *p, sched_g *g)
{
    for (int i = 0; i < 2; i++)
        if (p->shared[i] && try_bind(s, p->shared[i], g))
            return p->shared[i];
    sched_shared *sh = bind_room(s, g);
    if (!sh)
        sh = bind_new(s, p, g);
    if (!sh)
        return NULL;
    sched_shared **hand = &p->shared[p->shared_oldest];
    p->shared_oldest ^= 1;
    if (*hand)
        give_up(s, *hand);
    *hand = sh;
    return sh;
}

/* ---- putting away and bringing back, holding it ---------------------------------------------------- */

static bool put_away(sched_m *m, sched_shared *sh)
{
    sched_g *g = sh->resident;
    void *image = sched_image_new(&m->sched->images, gc_stack_live(&g->stack));
    if (!image)
        return false;
    gc_stack_put_away(m->mu, &g->stack, image);
    sh->resident = NULL;
    return true;
}

static void bring_back(sched_m *m, sched_shared *sh, sched_g *g)
{
    if (g->stack.away) {
        void *image = gc_stack_bring_back(m->mu, &g->stack);
        sched_image_free(&m->sched->images, image, gc_stack_live(&g->stack));
    }
    sh->resident = g;
}

static size_t usable(const sched_stack *st)
{
    return (size_t)((uintptr_t)st->base + ((size_t)1 << st->size_log2) - st->lo);
}

/* stackcheck=1. Short of memory, or where the system makes no more guards, less is found. */
static TRI_NOINLINE void guard(sched_m *m, sched_shared *sh, sched_g *g)
{
    if (put_away(m, sh) && !os_guard((void *)sh->memory->lo, usable(sh->memory)))
        __atomic_store_n(&sh->guards, g, __ATOMIC_RELAXED); /* read by a signal handler */
}

static TRI_NOINLINE bool unguard(sched_shared *sh)
{
    if (os_unguard((void *)sh->memory->lo, usable(sh->memory)))
        return false;
    __atomic_store_n(&sh->guards, NULL, __ATOMIC_RELAXED);
    return true;
}

static bool prepare(sched_m *m, sched_shared *sh, sched_g *g)
{
    if (sh->resident == g)
        return true;
    if (TRI_UNLIKELY(sh->guards != NULL) && !unguard(sh))
        return false;
    if (sh->resident && !put_away(m, sh))
        return false;
    bring_back(m, sh, g);
    return true;
}

/* ---- what the switch calls ----------------------------------------------------------------------- */

/* There is memory again; sched_g_postpone() measures for how long there was none. */
static TRI_NOINLINE void end_shortage(sched *s)
{
    os_mutex_lock(&s->stacks_lock);
    s->short_since = 0;
    os_mutex_unlock(&s->stacks_lock);
}

bool sched_shared_enter(sched_m *m, sched_g *g)
{
    sched *s = m->sched;
    sched_shared *sh = g->bound;
    if (!sh) {
        sh = bind(s, m->p, g);
        if (!sh)
            return sched_g_postpone(s, g);
        g->bound = sh;
    } else if (!hold(m, sh, g)) {
        if (m->g && m->g->bound == sh)
            m->p->fair = 0; /* a yield goes to the M's own stack, and the shared one is left */
        return false;
    }
    OS_DELAY("shared.enter");
    if (TRI_UNLIKELY(!prepare(m, sh, g))) {
        let_go(m, sh);
        return sched_g_postpone(s, g);
    }
    if (TRI_UNLIKELY(__atomic_load_n(&s->short_since, __ATOMIC_RELAXED)))
        end_shortage(s);
    g->memory = sh->memory;
    return true;
}

void sched_shared_leave(sched_m *m, sched_g *g)
{
    sched_shared *sh = g->bound;
    g->memory = NULL;
    if (TRI_UNLIKELY(m->sched->heap->options.stack_check))
        guard(m, sh, g);
    let_go(m, sh);
}

void sched_shared_end(sched_m *m, sched_g *g)
{
    sched *s = m->sched;
    sched_shared *sh = g->bound;
    g->bound = NULL;
    sh->resident = NULL;
    os_mutex_lock(&sh->lock);
    sh->held = NULL;
    sh->bound--;
    sched_g *next = dequeue(sh);
    bool offer = !sh->offered && has_room(s, sh->bound);
    if (offer)
        sh->offered = true;
    os_mutex_unlock(&sh->lock);
    /* One that is offered can be gone by now (sched_shared_trim). */
    if (offer)
        put_room(s, sh);
    if (next)
        run_kept(m, next);
}

/* ---- giving back ------------------------------------------------------------------------------------ */

static void shared_free(sched *s, sched_shared *sh)
{
    os_mutex_lock(&s->shared_lock);
    if (sh->all_prev)
        sh->all_prev->all_next = sh->all_next;
    else
        s->shared_all = sh->all_next;
    if (sh->all_next)
        sh->all_next->all_prev = sh->all_prev;
    s->nshared--;
    os_mutex_unlock(&s->shared_lock);
    sched_stack_put(s, NULL, sh->memory);
    os_free(sh, sizeof *sh);
}

/* The stack, which is in no list, has been nobody's since the last look. */
static bool is_unused(sched_shared *sh, bool *more)
{
    os_mutex_lock(&sh->lock);
    bool unused = sh->bound == 0, before = sh->idle;
    sh->idle = unused;
    os_mutex_unlock(&sh->lock);
    *more |= unused;
    return unused && before;
}

bool sched_shared_trim(sched *s)
{
    bool more = false;
    os_mutex_lock(&s->shared_lock);
    uint32_t n = s->nshared_room < TRIM_PIECE ? s->nshared_room : TRIM_PIECE;
    os_mutex_unlock(&s->shared_lock);
    for (; n > 0; n--) {
        sched_shared *sh = take_room(s);
        if (!sh)
            break;
        if (is_unused(sh, &more))
            shared_free(s, sh);
        else
            put_room(s, sh);
    }
    return more;
}

void sched_shared_free_all(sched *s)
{
    for (sched_shared *next, *sh = s->shared_all; sh; sh = next) {
        next = sh->all_next;
        os_free(sh, sizeof *sh);
    }
    s->shared_all = s->shared_room = s->shared_room_last = NULL;
    sched_images_free_all(&s->images);
}

/* ---- a stack that is kept --------------------------------------------------------------------------- */

static void look_at_kept(const sched *s, sched_shared *sh, int64_t now)
{
    os_mutex_lock(&sh->lock);
    const sched_g *g = NULL;
    if (!sh->first || sh->holds != sh->seen_holds) {
        sh->seen_holds = sh->holds;
        sh->seen_at = now;
        sh->told = false;
    } else if (sh->held && !sh->told && now - sh->seen_at >= s->kept_ns) {
        sh->told = true;
        g = sh->held;
    }
    os_mutex_unlock(&sh->lock);
    if (g)
        os_print("tricolor: coroutine %llu (%s) has kept its shared stack from others for %lld ms: "
                 "it is in a blocking call or calls nothing; does it wait for one of them?\n",
                 (unsigned long long)g->id, g->name ? g->name : "unnamed",
                 (long long)(s->kept_ns / 1000000));
}

bool sched_shared_watch(sched *s, int64_t now)
{
    if (!atomic_load_explicit(&s->nkept, memory_order_relaxed))
        return false;
    if (now < s->kept_look)
        return true;
    s->kept_look = now + s->kept_ns / 8;
    os_mutex_lock(&s->shared_lock);
    for (sched_shared *sh = s->shared_all; sh; sh = sh->all_next)
        look_at_kept(s, sh, now);
    os_mutex_unlock(&s->shared_lock);
    return true;
}

/* ---- stackcheck=1 ------------------------------------------------------------------------------------- */

/* The process is about to end: the list is read as it is. */
const sched_g *sched_shared_guards(const sched *s, uintptr_t addr)
{
    for (const sched_shared *sh = s->shared_all; sh; sh = sh->all_next) {
        const sched_g *g = __atomic_load_n(&sh->guards, __ATOMIC_RELAXED);
        if (g && addr - sh->memory->lo < usable(sh->memory))
            return g;
    }
    return NULL;
}

/* ---- fork ---------------------------------------------------------------------------------------------- */

void sched_shared_fork_prepare(sched *s)
{
    os_mutex_lock(&s->shared_lock);
    for (sched_shared *sh = s->shared_all; sh; sh = sh->all_next)
        os_mutex_lock(&sh->lock);
    os_mutex_lock(&s->images.lock);
}

void sched_shared_fork_release(sched *s)
{
    os_mutex_unlock(&s->images.lock);
    for (sched_shared *sh = s->shared_all; sh; sh = sh->all_next)
        os_mutex_unlock(&sh->lock);
    os_mutex_unlock(&s->shared_lock);
}

/* The others are not there any more. */
void sched_shared_fork_child(sched *s)
{
    atomic_store_explicit(&s->nkept, 0, memory_order_relaxed);
    for (sched_shared *sh = s->shared_all; sh; sh = sh->all_next)
        sh->first = sh->last = NULL;
}
