// Signals: who is called, who is not, what an interrupted context shows, and alternate stacks.

#include "os/signal.h"
#include "os/clock.h"
#include "os/cpu.h"
#include "os/fault.h"
#include "os/thread.h"
#include "os/vm.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

#if defined(__has_feature)
#if __has_feature(thread_sanitizer) && !defined(__SANITIZE_THREAD__)
#define __SANITIZE_THREAD__ 1
#endif
#endif

// ThreadSanitizer and Valgrind run handlers later, on another stack and with a copy of the context that
// lacks vector registers.
static bool handlers_are_late(void)
{
#if defined(__SANITIZE_THREAD__)
    return true;
#else
    return RUNNING_ON_VALGRIND != 0;
#endif
}

static _Atomic int handshakes, earlier;

// At once, but for such tools.
static bool becomes(_Atomic int *count, int n)
{
    int64_t until = os_now() + 5000000000;
    while (handlers_are_late() && atomic_load(count) < n && os_now() < until)
        usleep(1000);
    return atomic_load(count) == n;
}

static void note_handshake(void *uc)
{
    (void)uc;
    errno = EBADF;
    atomic_fetch_add(&handshakes, 1);
}

static void another_handshake(void *uc)
{
    (void)uc;
}

static void earlier_handler(int sig)
{
    cr_assert_eq(sig, OS_SIG_HANDSHAKE);
    atomic_fetch_add(&earlier, 1);
}

Test(os_handshake, a_handshake_reaches_its_thread_and_preserves_errno)
{
    cr_assert_eq(os_handshake_install(note_handshake), 0);
    errno = ENOENT;
    cr_assert_eq(os_handshake_send(os_thread_tid()), 0);
    cr_assert_eq(errno, ENOENT);
    cr_assert(becomes(&handshakes, 1));
    cr_assert_eq(os_handshake_send(1 << 29), -ESRCH);
    os_handshake_uninstall();
}

Test(os_handshake, installing_is_counted_and_another_function_is_refused)
{
    struct sigaction before, after;
    sigaction(OS_SIG_HANDSHAKE, NULL, &before);
    cr_assert_eq(os_handshake_install(note_handshake), 0);
    cr_assert_eq(os_handshake_install(note_handshake), 0);
    cr_assert_eq(os_handshake_install(another_handshake), -EBUSY);
    os_handshake_uninstall();
    os_handshake_send(os_thread_tid());
    cr_assert(becomes(&handshakes, 1));
    os_handshake_uninstall();
    sigaction(OS_SIG_HANDSHAKE, NULL, &after);
    cr_assert_eq(before.sa_handler, after.sa_handler);
    // Late ones do no harm.
    os_handshake_send(os_thread_tid());
    os_thread_signal(os_thread_tid(), OS_SIG_HANDSHAKE);
    cr_assert(becomes(&handshakes, 1));
    cr_assert_eq(os_handshake_install(another_handshake), 0);
}

Test(os_handshake, an_earlier_handler_sees_all_signals_but_ours)
{
    struct sigaction sa = {.sa_handler = earlier_handler}, now;
    sigaction(OS_SIG_HANDSHAKE, &sa, NULL);
    cr_assert_eq(os_handshake_install(note_handshake), 0);
    os_handshake_send(os_thread_tid());
    cr_assert_eq(atomic_load(&earlier), 0);
    raise(OS_SIG_HANDSHAKE);
    kill(getpid(), OS_SIG_HANDSHAKE);
    cr_assert(becomes(&earlier, 2));
    os_handshake_uninstall();
    sigaction(OS_SIG_HANDSHAKE, NULL, &now);
    cr_assert_eq(now.sa_handler, earlier_handler);
}

static struct sigaction ours;

static void later_handler(int sig, siginfo_t *si, void *uc)
{
    atomic_fetch_add(&earlier, 1);
    ours.sa_sigaction(sig, si, uc);
}

Test(os_handshake, a_later_handler_may_keep_calling_ours_after_we_left)
{
    cr_assert_eq(os_handshake_install(note_handshake), 0);
    struct sigaction later = {.sa_sigaction = later_handler, .sa_flags = SA_SIGINFO}, now;
    sigaction(OS_SIG_HANDSHAKE, &later, &ours);
    os_handshake_uninstall();
    sigaction(OS_SIG_HANDSHAKE, NULL, &now);
    cr_assert_eq(now.sa_sigaction, later_handler, "a later handler must not be taken away");
    os_handshake_send(os_thread_tid());
    cr_assert(becomes(&earlier, 1));
    cr_assert_eq(atomic_load(&handshakes), 0);
    cr_assert_eq(os_handshake_install(note_handshake), 0);
    os_handshake_send(os_thread_tid());
    cr_assert(becomes(&handshakes, 1), "once, not in circles");
    cr_assert(becomes(&earlier, 2));
}

static _Atomic bool spin = true;
static _Atomic int spinner;

static void spin_until_told(void *arg)
{
    (void)arg;
    atomic_store(&spinner, os_thread_tid());
    while (atomic_load(&spin)) {}
}

Test(os_handshake, a_thread_that_only_computes_is_reached)
{
    os_thread t;
    cr_assert_eq(os_handshake_install(note_handshake), 0);
    cr_assert_eq(os_thread_start(&t, spin_until_told, NULL, NULL, 0), 0);
    while (!atomic_load(&spinner))
        os_yield();
    for (int i = 1; i <= 100; i++) {
        cr_assert_eq(os_handshake_send(atomic_load(&spinner)), 0);
        for (int64_t until = os_now() + 5000000000; atomic_load(&handshakes) < i; os_yield())
            cr_assert_lt(os_now(), until);
    }
    atomic_store(&spin, false);
    os_thread_join(&t);
}

// --- what the context holds ---

static uintptr_t wanted[2];
static int found[2];
static uintptr_t seen_sp, seen_pc;

static void look_for(void *arg, const uintptr_t *words, size_t n)
{
    (void)arg;
    for (size_t i = 0; i < n; i++)
        for (int k = 0; k < 2; k++)
            found[k] += words[i] == wanted[k];
}

static void look_into_context(void *uc)
{
    seen_sp = os_context_sp(uc);
    seen_pc = os_context_pc(uc);
    os_context_registers(uc, look_for, NULL);
}

#if defined(__x86_64__)

// The kernel leaves gaps in the frame where registers have their initial values, and the dynamic linker
// may have left a copy of the value that is looked for on the stack.
static __attribute__((noinline)) void wipe_stack(void)
{
    char below[32768];
    memset(below, 0, sizeof below);
    __asm__ __volatile__("" : : "r"(below) : "memory");
}

// Sends the handshake to the calling thread by a bare system call with registers that we choose.
#define SEND_WITH(loads, wipes, value)                                               \
    do {                                                                             \
        long result = SYS_tgkill_number, pid = getpid(), tid = os_thread_tid();      \
        wipe_stack();                                                                \
        __asm__ __volatile__(loads "\n\tsyscall\n\t" wipes                           \
                             : "+a"(result)                                          \
                             : "D"(pid), "S"(tid), "d"(OS_SIG_HANDSHAKE), "b"(value) \
                             : "rcx", "r8", "r9", "r11", "memory", "xmm7");          \
        cr_assert_eq(result, 0);                                                     \
    } while (0)
enum { SYS_tgkill_number = 234 };

Test(os_context_of_signal, general_registers_are_shown)
{
    if (handlers_are_late())
        cr_skip_test("handlers run late under this tool");
    wanted[0] = 0x5ca1ab1edeadbee5;
    wanted[1] = 0x5ca1ab1edeadbee6;
    cr_assert_eq(os_handshake_install(look_into_context), 0);
    SEND_WITH("", "", wanted[0]);
    cr_assert_geq(found[0], 1);
    cr_assert_eq(found[1], 0);
    char *here = __builtin_frame_address(0);
    cr_assert((char *)seen_sp <= here && here - (char *)seen_sp < 4096);
    cr_assert_gt(seen_pc, 4096);
}

Test(os_context_of_signal, the_low_half_of_a_vector_register_is_shown)
{
    if (handlers_are_late())
        cr_skip_test("handlers run late under this tool");
    cr_assert_eq(os_handshake_install(look_into_context), 0);
    // The complement travels in the general register, so that the value is in the vector register only.
    wanted[0] = ~(uintptr_t)0x0123456789abcdef;
    SEND_WITH("mov %%rbx, %%r8; not %%r8; movq %%r8, %%xmm7; xor %%r8d, %%r8d",
              "pxor %%xmm7, %%xmm7", 0x0123456789abcdef);
    cr_assert_eq(found[0], 1);
}

__attribute__((target("avx2"))) static void send_with_ymm(uintptr_t complement)
{
    SEND_WITH("mov %%rbx, %%r8; not %%r8; movq %%r8, %%xmm7; xor %%r8d, %%r8d;"
              "vinserti128 $1, %%xmm7, %%ymm7, %%ymm7; vpxor %%xmm6, %%xmm6, %%xmm6;"
              "vinserti128 $0, %%xmm6, %%ymm7, %%ymm7",
              "vzeroupper", complement);
}

Test(os_context_of_signal, the_high_half_of_an_avx_register_is_shown)
{
    if (handlers_are_late())
        cr_skip_test("handlers run late under this tool");
    if (!os_cpu_has_avx2())
        cr_skip_test("no AVX2");
    cr_assert_eq(os_handshake_install(look_into_context), 0);
    wanted[0] = ~(uintptr_t)0x0123456789abcdef;
    send_with_ymm(0x0123456789abcdef);
    cr_assert_eq(found[0], 1);
}

__attribute__((target("avx512f"))) static void send_with_zmm(uintptr_t complement)
{
    SEND_WITH("mov %%rbx, %%r8; not %%r8; vpbroadcastq %%r8, %%zmm29; xor %%r8d, %%r8d",
              "vpxorq %%zmm29, %%zmm29, %%zmm29", complement);
}

Test(os_context_of_signal, a_high_avx512_register_is_shown)
{
    if (handlers_are_late())
        cr_skip_test("handlers run late under this tool");
    if (!os_cpu_has_avx512())
        cr_skip_test("no AVX-512");
    cr_assert_eq(os_handshake_install(look_into_context), 0);
    wanted[0] = ~(uintptr_t)0x0123456789abcdef;
    send_with_zmm(0x0123456789abcdef);
    cr_assert_eq(found[0], 8);
}

#elif defined(__aarch64__)

Test(os_context_of_signal, general_and_vector_registers_are_shown)
{
    if (handlers_are_late())
        cr_skip_test("handlers run late under this tool");
    wanted[0] = 0x5ca1ab1edeadbee5;
    wanted[1] = ~(uintptr_t)0x0123456789abcdef;
    cr_assert_eq(os_handshake_install(look_into_context), 0);
    long pid = getpid(), tid = os_thread_tid();
    register long x0 __asm__("x0") = pid;
    register long x1 __asm__("x1") = tid;
    register long x2 __asm__("x2") = OS_SIG_HANDSHAKE;
    register long x8 __asm__("x8") = 131;
    register uintptr_t x21 __asm__("x21") = wanted[0];
    register uintptr_t x22 __asm__("x22") = ~wanted[1];
    __asm__ __volatile__("mvn x9, %5\n\tmov v20.d[1], x9\n\tmov x9, #0\n\tsvc #0"
                         : "+r"(x0)
                         : "r"(x1), "r"(x2), "r"(x8), "r"(x21), "r"(x22)
                         : "x9", "v20", "memory");
    cr_assert_eq(x0, 0);
    cr_assert_geq(found[0], 1);
    cr_assert_geq(found[1], 1); // once per record
    char *here = __builtin_frame_address(0);
    cr_assert((char *)seen_sp - 4096 <= here && here - (char *)seen_sp < 4096);
    cr_assert_gt(seen_pc, 4096);
}

#endif

// --- faults ---

static char *page;
static _Atomic int faults;

static bool repair(void *addr, void *uc)
{
    cr_assert_eq(addr, page + 8);
    cr_assert_gt(os_context_pc(uc), 4096);
    errno = EBADF;
    atomic_fetch_add(&faults, 1);
    return os_commit(page, os_page_size()) == 0;
}

static bool not_ours(void *addr, void *uc)
{
    (void)addr;
    (void)uc;
    atomic_fetch_add(&faults, 1);
    return false;
}

Test(os_fault, a_fault_that_is_ours_is_repaired_and_tried_again)
{
    page = os_reserve(os_page_size(), 0);
    cr_assert_eq(os_fault_install(repair), 0);
    cr_assert_eq(os_fault_install(not_ours), -EBUSY);
    errno = ENOENT;
    ((volatile char *)page)[8] = 7;
    cr_assert_eq(errno, ENOENT);
    cr_assert_eq(page[8], 7);
    cr_assert_eq(atomic_load(&faults), 1);
    os_fault_uninstall();
}

static sigjmp_buf out;
static void *earlier_addr;

static void earlier_fault(int sig, siginfo_t *si, void *uc)
{
    (void)uc;
    sigset_t mask;
    cr_assert_eq(sig, SIGSEGV);
    earlier_addr = si->si_addr;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    cr_assert(sigismember(&mask, SIGSEGV) && sigismember(&mask, SIGUSR2));
    cr_assert_not(sigismember(&mask, SIGUSR1), "it runs with the mask that it asked for");
    siglongjmp(out, 1);
}

Test(os_fault, a_fault_that_is_not_ours_goes_to_the_earlier_handler)
{
    page = os_reserve(os_page_size(), 0);
    struct sigaction sa = {.sa_sigaction = earlier_fault, .sa_flags = SA_SIGINFO}, now;
    sigaddset(&sa.sa_mask, SIGUSR2);
    sigaction(SIGSEGV, &sa, NULL);
    cr_assert_eq(os_fault_install(not_ours), 0);
    for (int i = 1; i <= 3; i++) {
        if (sigsetjmp(out, 1) == 0)
            ((volatile char *)page)[16] = 1;
        cr_assert_eq(earlier_addr, page + 16);
        cr_assert_eq(atomic_load(&faults), i);
    }
    os_fault_uninstall();
    sigaction(SIGSEGV, NULL, &now);
    cr_assert_eq(now.sa_sigaction, earlier_fault);
}

static int ends_with(void (*fn)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
        if (os_fault_install(not_ours) != 0)
            _exit(99);
        fn();
        _exit(0);
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
}

static void write_to_page(void)
{
    ((volatile char *)page)[0] = 1;
}

static void send_segv(void)
{
    raise(SIGSEGV);
}

static void send_bus(void)
{
    kill(getpid(), SIGBUS);
    pause();
}

Test(os_fault, without_an_earlier_handler_the_process_ends_by_the_signal)
{
    page = os_reserve(os_page_size(), 0);
    cr_assert_eq(ends_with(write_to_page), SIGSEGV);
    cr_assert_eq(ends_with(send_segv), SIGSEGV);
    cr_assert_eq(ends_with(send_bus), SIGBUS);
}

// --- alternate stacks ---

static uintptr_t handler_frame;

static void note_frame(void *uc)
{
    (void)uc;
    handler_frame = (uintptr_t)__builtin_frame_address(0);
}

static void use_altstack(void *arg)
{
    stack_t st;
    sigaltstack(NULL, &st);
    bool had_one = !(st.ss_flags & SS_DISABLE); // sanitizers give one to each thread
    stack_t before = st;
    cr_assert_eq(os_altstack_enter(), 0);
    cr_assert_eq(os_altstack_enter(), 0);
    os_altstack_leave();
    sigaltstack(NULL, &st);
    cr_assert_not(st.ss_flags & SS_DISABLE);
    if (!had_one) {
        cr_assert_geq(st.ss_size, (size_t)64 * 1024 + 2048);
        pid_t pid = fork();
        if (pid == 0) {
            signal(SIGSEGV, SIG_DFL);
            ((volatile char *)st.ss_sp)[-1] = 1;
            _exit(0);
        }
        int status;
        waitpid(pid, &status, 0);
        cr_assert(WIFSIGNALED(status), "the alternate stack has a guard below it");
    }
    os_handshake_send(os_thread_tid());
    cr_assert(handler_frame >= (uintptr_t)st.ss_sp &&
              handler_frame < (uintptr_t)st.ss_sp + st.ss_size);
    os_altstack_leave();
    stack_t after;
    sigaltstack(NULL, &after);
    cr_assert_eq(after.ss_flags, before.ss_flags);
    if (!had_one)
        cr_assert_eq(os_resident(st.ss_sp, st.ss_size), 0);
    os_altstack_leave(); // once too often is harmless
    *(int *)arg = 1;
}

Test(os_altstack, handlers_run_on_it_and_it_is_freed)
{
    if (handlers_are_late())
        cr_skip_test("handlers run late under this tool");
    int done = 0;
    os_thread t;
    cr_assert_eq(os_handshake_install(note_frame), 0);
    cr_assert_eq(os_thread_start(&t, use_altstack, &done, NULL, 0), 0);
    os_thread_join(&t);
    cr_assert(done);
}

static _Atomic int late;

static void count_late(void *uc)
{
    (void)uc;
    late++;
}

static void get_one_after_leaving(void *arg)
{
    cr_assert_eq(os_altstack_enter(), 0);
    os_altstack_leave();
    cr_assert_eq(os_handshake_send(os_thread_tid()), 0);
    while (!late)
        os_yield();
    *(int *)arg = 1;
}

Test(os_altstack, a_signal_that_comes_after_leaving_finds_a_stack)
{
    int done = 0;
    os_thread t;
    cr_assert_eq(os_handshake_install(count_late), 0);
    cr_assert_eq(os_thread_start(&t, get_one_after_leaving, &done, NULL, 0), 0);
    os_thread_join(&t);
    cr_assert(done);
}

static char own[65536];

static void bring_own_altstack(void *arg)
{
    stack_t st = {.ss_sp = own, .ss_size = sizeof own}, now, none = {.ss_flags = SS_DISABLE};
    sigaltstack(&st, NULL);
    cr_assert_eq(os_altstack_enter(), 0);
    os_altstack_leave();
    sigaltstack(NULL, &now);
    cr_assert_eq(now.ss_sp, own);
    sigaltstack(&none, NULL);
    *(int *)arg = 1;
}

Test(os_altstack, a_stack_that_the_thread_brought_stays)
{
    int done = 0;
    os_thread t;
    cr_assert_eq(os_thread_start(&t, bring_own_altstack, &done, NULL, 0), 0);
    os_thread_join(&t);
    cr_assert(done);
}

static char *low;

static bool overflowed(void *addr, void *uc)
{
    (void)uc;
    // Only the alternate stack lets this run at all.
    if ((char *)addr >= low && (char *)addr < low + os_page_size())
        _exit(42);
    return false;
}

__attribute__((noinline)) static int eat_stack(int n)
{
    volatile char room[1024];
    room[n % 1024] = (char)n;
    return n < 0 ? 0 : eat_stack(n + 1) + room[n % 1024];
}

static void overflow(void *arg)
{
    void *lo, *hi;
    *(int *)arg = 1;
    os_stack_bounds(&lo, &hi);
    low = lo;
    os_altstack_enter();
    os_guard(low, os_page_size());
    eat_stack(0);
}

Test(os_altstack, an_overflow_of_a_guarded_stack_is_seen)
{
    if (handlers_are_late())
        cr_skip_test("handlers run late under this tool");
    pid_t pid = fork();
    if (pid == 0) {
        int began = 0;
        os_thread t;
        os_fault_install(overflowed);
        os_thread_start(&t, overflow, &began, NULL, 256 * 1024);
        os_thread_join(&t);
        _exit(1);
    }
    int status;
    waitpid(pid, &status, 0);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 42, "status %x", status);
}

// --- masks ---

Test(os_signal, blocked_signals_wait_and_faults_do_not)
{
    os_signal_set saved, now;
    cr_assert_eq(os_handshake_install(note_handshake), 0);
    os_signal_block_all(&saved);
    os_handshake_send(os_thread_tid());
    cr_assert_eq(atomic_load(&handshakes), 0);
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    cr_assert(sigismember(&now, SIGINT));
    cr_assert_not(sigismember(&now, SIGSEGV));
    os_signal_restore(&saved);
    cr_assert(becomes(&handshakes, 1));
}

#ifdef TRI_FAULTS

Test(os_signal, failures_leave_everything_as_it_was)
{
    struct sigaction now;
    cr_assert_eq(os_fault_configure("signal.install:1:EINVAL"), 0);
    cr_assert_eq(os_handshake_install(note_handshake), -EINVAL);
    cr_assert_eq(os_handshake_install(another_handshake), 0);
    sigaction(SIGSEGV, NULL, &now);
    // The first of two signals works, the second does not.
    cr_assert_eq(os_fault_configure("signal.install:2:EINVAL"), 0);
    cr_assert_eq(os_fault_install(not_ours), -EINVAL);
    struct sigaction after;
    sigaction(SIGSEGV, NULL, &after);
    cr_assert_eq(now.sa_handler, after.sa_handler);
    cr_assert_eq(os_fault_configure("signal.send:1:EAGAIN,signal.altstack:1:ENOMEM"), 0);
    cr_assert_eq(os_handshake_send(os_thread_tid()), -EAGAIN);
}

#endif
