// Signal handlers of the library, as guests in somebody else's process.
//
// The problem: a handler is process-wide, and the program, its language runtime or a crash reporter may
// have one for the same signal already, or install one later. Whatever we are not asked about must go on
// as if we were not there.
//
// Rejected:
// - A real-time signal for handshakes. They queue (a burst of requests becomes a burst of handlers), their
//   default action kills, debuggers stop on them, and runtimes pick them by number without asking.
// - Telling our own signals by "sent by this process": the program may send it to itself. They are sent
//   with rt_tgsigqueueinfo and a cookie that nobody else has.
// - Leaving a fault that is not ours by raising it again: the core dump would show raise(), and the fault
//   address would be lost. The previous action is put back and the instruction runs again.
//
// The patterns kept here. `previous` is written before our handler can run (it is asked for first, then
// replaced). `fn` is published with release and read with acquire, and an inert handler (fn is NULL, but
// somebody has installed theirs over ours and may still call us) only chains. Handlers preserve errno. The
// handshake handler runs with everything blocked but synchronous faults, so it is not interrupted by
// another handler that could be on the same alternate stack.

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "os/signal.h"

#include "os/fault.h"
#include "os/thread.h"
#include "os/vm.h"

#include <errno.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#if defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#define OS_VALGRIND 1
#endif
#endif

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

static os_mutex install_lock = OS_MUTEX_INIT;

struct guest {
    int sig;
    bool placed; // our handler is the process's, or somebody has put theirs over it
    struct sigaction previous;
};

static void fill_all(sigset_t *set)
{
    sigfillset(set);
    sigdelset(set, SIGSEGV);
    sigdelset(set, SIGBUS);
    sigdelset(set, SIGFPE);
    sigdelset(set, SIGILL);
    sigdelset(set, SIGTRAP);
    sigdelset(set, SIGSYS);
}

static bool is_handler(const struct sigaction *sa)
{
    return (sa->sa_flags & SA_SIGINFO) || (sa->sa_handler != SIG_DFL && sa->sa_handler != SIG_IGN);
}

static void call_previous(const struct sigaction *sa, int sig, siginfo_t *si, void *uc)
{
    if (sa->sa_flags & SA_SIGINFO)
        sa->sa_sigaction(sig, si, uc);
    else if (is_handler(sa))
        sa->sa_handler(sig);
}

// Callers hold install_lock.
static int place(struct guest *g, void (*handler)(int, siginfo_t *, void *))
{
    if (g->placed)
        return 0;
    if (os_fault_here("signal.previous") || sigaction(g->sig, NULL, &g->previous) != 0)
        return -errno;
    struct sigaction sa;
    memset(&sa, 0, sizeof sa);
    sa.sa_sigaction = handler;
    sa.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    fill_all(&sa.sa_mask);
    if (os_fault_here("signal.install") || sigaction(g->sig, &sa, NULL) != 0)
        return -errno;
    g->placed = true;
    return 0;
}

// Takes our handler away if it is still on top. Otherwise it stays, inert: whoever is on top may call it.
static void displace(struct guest *g, void (*handler)(int, siginfo_t *, void *))
{
    struct sigaction now;
    if (!g->placed || os_fault_here("signal.look") || sigaction(g->sig, NULL, &now) != 0)
        return;
    if (!(now.sa_flags & SA_SIGINFO) || now.sa_sigaction != handler)
        return;
    if (!os_fault_here("signal.remove") && sigaction(g->sig, &g->previous, NULL) == 0)
        g->placed = false;
}

// --- handshakes ---

static struct guest handshake = {.sig = OS_SIG_HANDSHAKE};
static int handshake_count;
static _Atomic(os_handshake_fn) handshake_fn;
static char cookie;

static void on_handshake(int sig, siginfo_t *si, void *uc)
{
    int saved = errno;
    // Acquire pairs with the release in os_handshake_install: what the function needs was set up before.
    os_handshake_fn fn = atomic_load_explicit(&handshake_fn, memory_order_acquire);
    if (fn)
        fn(uc);
    if (si->si_code != SI_QUEUE || si->si_value.sival_ptr != &cookie)
        call_previous(&handshake.previous, sig, si, uc);
    errno = saved;
}

int os_handshake_install(os_handshake_fn fn)
{
    os_mutex_lock(&install_lock);
    int e = 0;
    if (handshake_count == 0) {
        // Release pairs with the acquire in on_handshake.
        atomic_store_explicit(&handshake_fn, fn, memory_order_release);
        e = place(&handshake, on_handshake);
        if (e)
            atomic_store_explicit(&handshake_fn, NULL, memory_order_relaxed);
    } else if (atomic_load_explicit(&handshake_fn, memory_order_relaxed) != fn) {
        e = -EBUSY;
    }
    if (!e)
        handshake_count++;
    os_mutex_unlock(&install_lock);
    return e;
}

void os_handshake_uninstall(void)
{
    os_mutex_lock(&install_lock);
    if (handshake_count > 0 && --handshake_count == 0) {
        displace(&handshake, on_handshake);
        atomic_store_explicit(&handshake_fn, NULL, memory_order_relaxed);
    }
    os_mutex_unlock(&install_lock);
}

int os_handshake_send(int tid)
{
    int saved = errno;
    int e = 0;
    siginfo_t si;
    memset(&si, 0, sizeof si);
    si.si_signo = OS_SIG_HANDSHAKE;
    si.si_code = SI_QUEUE;
    si.si_pid = getpid();
    si.si_uid = getuid();
    si.si_value.sival_ptr = &cookie;
    if (os_fault_here("signal.send") ||
        syscall(SYS_rt_tgsigqueueinfo, getpid(), tid, OS_SIG_HANDSHAKE, &si) != 0) {
        e = -errno;
        // A filter that forbids it: a plain signal does, at the price of chaining it.
        if (e == -EPERM || e == -ENOSYS)
            e = os_thread_signal(tid, OS_SIG_HANDSHAKE);
    }
    errno = saved;
    return e;
}

// --- faults ---

static struct guest segv = {.sig = SIGSEGV};
static struct guest bus = {.sig = SIGBUS};
static int fault_count;
static _Atomic(os_fault_fn) fault_fn;

// The mask that the previous handler would have run with, had the kernel called it.
static void adopt_mask(const struct sigaction *sa, int sig, const ucontext_t *uc)
{
    sigset_t mask;
    sigemptyset(&mask);
    // The kernel fills in 64 signals; the rest of libc's sigset_t is not there in a signal frame.
    memcpy(&mask, &uc->uc_sigmask, 8);
    sigorset(&mask, &mask, &sa->sa_mask);
    if (!(sa->sa_flags & SA_NODEFER))
        sigaddset(&mask, sig);
    sigprocmask(SIG_SETMASK, &mask, NULL);
}

static void pass_on(struct guest *g, siginfo_t *si, void *uc)
{
    if (is_handler(&g->previous)) {
        struct sigaction previous = g->previous;
        // It is entitled to run only once if it asked for that.
        if (previous.sa_flags & (int)SA_RESETHAND) {
            g->previous.sa_flags &= ~SA_SIGINFO;
            g->previous.sa_handler = SIG_DFL;
        }
        adopt_mask(&previous, g->sig, uc);
        call_previous(&previous, g->sig, si, uc);
        return;
    }
    bool sent = si->si_code <= 0;
    if (sent && g->previous.sa_handler == SIG_IGN)
        return;
    // The default action. A fault happens again when the instruction does; a signal that was sent has to
    // be sent again, and is delivered when this handler returns.
    signal(g->sig, SIG_DFL);
    if (sent)
        os_thread_signal(os_thread_tid(), g->sig);
}

static void on_fault(int sig, siginfo_t *si, void *uc)
{
    int saved = errno;
    // Acquire pairs with the release in os_fault_install.
    os_fault_fn fn = atomic_load_explicit(&fault_fn, memory_order_acquire);
    bool ours = fn && si->si_code > 0 && fn(si->si_addr, uc);
    if (!ours)
        pass_on(sig == SIGBUS ? &bus : &segv, si, uc);
    errno = saved;
}

int os_fault_install(os_fault_fn fn)
{
    os_mutex_lock(&install_lock);
    int e = 0;
    if (fault_count == 0) {
        // Release pairs with the acquire in on_fault.
        atomic_store_explicit(&fault_fn, fn, memory_order_release);
        e = place(&segv, on_fault);
        if (!e) {
            e = place(&bus, on_fault);
            if (e)
                displace(&segv, on_fault);
        }
        if (e)
            atomic_store_explicit(&fault_fn, NULL, memory_order_relaxed);
    } else if (atomic_load_explicit(&fault_fn, memory_order_relaxed) != fn) {
        e = -EBUSY;
    }
    if (!e)
        fault_count++;
    os_mutex_unlock(&install_lock);
    return e;
}

void os_fault_uninstall(void)
{
    os_mutex_lock(&install_lock);
    if (fault_count > 0 && --fault_count == 0) {
        displace(&bus, on_fault);
        displace(&segv, on_fault);
        atomic_store_explicit(&fault_fn, NULL, memory_order_relaxed);
    }
    os_mutex_unlock(&install_lock);
}

// --- alternate stacks ---

// Valgrind (3.19) puts the frames of later signals on an alternate stack that was disabled: it must stay.
static bool disabled_is_still_used(void)
{
#ifdef OS_VALGRIND
    return RUNNING_ON_VALGRIND != 0;
#else
    return false;
#endif
}

// Of this thread. It is entered and left where a thread begins and ends, never inside a coroutine, so
// the address cannot be cached across a change of threads.
static _Thread_local struct {
    int depth;
    char *base; // NULL: the thread had one of its own
    size_t size;
} altstack;

int os_altstack_enter(void)
{
    if (altstack.depth > 0) {
        altstack.depth++;
        return 0;
    }
    int e = 0;
    stack_t st;
    if (os_fault_here("signal.altstack") || sigaltstack(NULL, &st) != 0)
        return -errno;
    if (!(st.ss_flags & SS_DISABLE)) {
        altstack.base = NULL;
        altstack.depth = 1;
        return 0;
    }

    size_t page = os_page_size();
    size_t frame = (size_t)getauxval(AT_MINSIGSTKSZ);
    if (frame < 16 * 1024)
        frame = 16 * 1024;
    size_t size = (frame + 64 * 1024 + page - 1) & ~(page - 1);
    char *base = os_reserve_rw(page + size, 0);
    if (!base)
        return -errno;
    e = os_guard(base, page);
    if (e)
        goto fail;
    st = (stack_t){.ss_sp = base + page, .ss_size = size};
    if (os_fault_here("signal.altstack_set") || sigaltstack(&st, NULL) != 0) {
        e = -errno;
        goto fail;
    }
    altstack.base = base;
    altstack.size = page + size;
    altstack.depth = 1;
    return 0;

fail:
    os_unreserve(base, page + size);
    return e;
}

void os_altstack_leave(void)
{
    if (altstack.depth == 0 || --altstack.depth > 0 || !altstack.base)
        return;
    stack_t st;
    bool in_use = os_fault_here("signal.altstack_look") || sigaltstack(NULL, &st) != 0;
    // Somebody may have given the thread another one since; theirs stays.
    if (!in_use && st.ss_sp == altstack.base + os_page_size()) {
        st = (stack_t){.ss_flags = SS_DISABLE};
        in_use = os_fault_here("signal.altstack_end") || sigaltstack(&st, NULL) != 0;
    }
    // Rather lost than unmapped under a handler.
    if (!in_use && !disabled_is_still_used())
        os_unreserve(altstack.base, altstack.size);
    altstack.base = NULL;
}

// --- masks ---

void os_signal_block_all(os_signal_set *saved)
{
    sigset_t all;
    fill_all(&all);
    pthread_sigmask(SIG_BLOCK, &all, saved);
}

void os_signal_restore(const os_signal_set *saved)
{
    pthread_sigmask(SIG_SETMASK, saved, NULL);
}
