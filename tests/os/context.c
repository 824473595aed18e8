// The context switch: what it preserves, what a conservative scan finds, and where a backtrace ends.

#include "os/context.h"
#include "os/clock.h"
#include "os/vm.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <unwind.h>

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define VALGRIND_STACK_REGISTER(lo, hi) ((void)0)
#endif

enum { STACK = 64 * 1024 };

static os_context home, away, third;
static char *stack;

static void *new_stack(void)
{
    char *p = os_reserve_rw(STACK, 0);
    cr_assert(p);
    VALGRIND_STACK_REGISTER(p, p + STACK);
    return p;
}

static uint64_t rounds;

static void count_rounds(void *arg)
{
    for (;;) {
        rounds += (uintptr_t)arg;
        os_switch(&away, &home);
    }
}

Test(os_context, a_million_switches_come_back_each_time)
{
    stack = new_stack();
    os_context_init(&away, stack + STACK, count_rounds, (void *)3);
    for (int i = 0; i < 1000000; i++) {
        os_switch(&home, &away);
        cr_assert_eq(rounds, 3 * (uint64_t)(i + 1));
    }
}

static void report_alignment(void *arg)
{
    // A vector on the stack faults, or is misplaced, if the entry's stack is off by eight.
    _Alignas(16) volatile char v[16];
    v[0] = 1;
    *(uintptr_t *)arg = (uintptr_t)__builtin_frame_address(0) % 16 + (uintptr_t)&v[0] % 16;
    os_switch(&away, &home);
}

Test(os_context, the_entry_finds_an_aligned_stack_whatever_its_top)
{
    stack = new_stack();
    for (int off = 0; off < 32; off++) {
        uintptr_t bad = 1;
        os_context_init(&away, stack + STACK - off, report_alignment, &bad);
        cr_assert_lt((uintptr_t)away.sp, (uintptr_t)stack + STACK - off);
        os_switch(&home, &away);
        cr_assert_eq(bad, 0, "top %d below an aligned address", off);
    }
}

static int scan_for(const void *lo, const void *hi, uintptr_t word)
{
    int found = 0;
    for (const uintptr_t *p = lo; p < (const uintptr_t *)hi; p++)
        found += *p == word;
    return found;
}

static void *taken;

static void take_argument(void *arg)
{
    taken = arg;
    for (;;)
        os_switch(&away, &home);
}

Test(os_context, the_argument_lies_on_the_new_stack_before_the_first_switch)
{
    stack = new_stack();
    memset(stack, 0xee, STACK);
    void *magic = (void *)0x7a7a1234567895a5;
    os_context_init(&away, stack + STACK, take_argument, magic);
    cr_assert_eq(scan_for(away.sp, stack + STACK, (uintptr_t)magic), 1);
    os_switch(&home, &away);
    cr_assert_eq(taken, magic);
}

// The next two put known values into every callee-saved register, switch to a context that spoils them
// all, and come back. Assembly, since a compiler would not keep that many values in registers.

#if defined(__x86_64__)

enum { SAVED = 6 };

#define SPOIL()                                                                            \
    __asm__ __volatile__("mov $-1, %%rbx; mov $-2, %%r12; mov $-3, %%r13; mov $-4, %%r14;" \
                         "mov $-5, %%r15" ::                                               \
                             : "rbx", "r12", "r13", "r14", "r15", "memory")

// Loads in[0..5] into rbx, rbp, r12 to r15, calls fn(a, b), stores them to out[0..5].
void call_with_registers(void *a, void *b, void (*fn)(void *, void *), const uint64_t *in,
                         uint64_t *out);
__asm__(".text\n"
        ".type call_with_registers, @function\n"
        "call_with_registers:\n"
        "push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15; push %r8\n"
        "mov %rdx, %rax\n"
        "mov 0(%rcx), %rbx; mov 8(%rcx), %rbp; mov 16(%rcx), %r12\n"
        "mov 24(%rcx), %r13; mov 32(%rcx), %r14; mov 40(%rcx), %r15\n"
        "call *%rax\n"
        "pop %r8\n"
        "mov %rbx, 0(%r8); mov %rbp, 8(%r8); mov %r12, 16(%r8)\n"
        "mov %r13, 24(%r8); mov %r14, 32(%r8); mov %r15, 40(%r8)\n"
        "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp\n"
        "ret\n"
        ".size call_with_registers, . - call_with_registers\n");

#elif defined(__aarch64__)

enum { SAVED = 19 };

#define SPOIL()                                                                                 \
    __asm__ __volatile__(                                                                       \
        "mov x19, #-1; mov x20, #-1; mov x21, #-1; mov x22, #-1; mov x23, #-1; mov x24, #-1;"   \
        "mov x25, #-1; mov x26, #-1; mov x27, #-1; mov x28, #-1;"                               \
        "fmov d8, #1.0; fmov d9, #1.0; fmov d10, #1.0; fmov d11, #1.0; fmov d12, #1.0;"         \
        "fmov d13, #1.0; fmov d14, #1.0; fmov d15, #1.0" ::                                     \
            : "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "d8", "d9", \
              "d10", "d11", "d12", "d13", "d14", "d15", "memory")

void call_with_registers(void *a, void *b, void (*fn)(void *, void *), const uint64_t *in,
                         uint64_t *out);
__asm__(".text\n"
        ".type call_with_registers, %function\n"
        "call_with_registers:\n"
        "stp x29, x30, [sp, #-176]!\n"
        "stp x19, x20, [sp, #16]; stp x21, x22, [sp, #32]; stp x23, x24, [sp, #48]\n"
        "stp x25, x26, [sp, #64]; stp x27, x28, [sp, #80]; stp d8, d9, [sp, #96]\n"
        "stp d10, d11, [sp, #112]; stp d12, d13, [sp, #128]; stp d14, d15, [sp, #144]\n"
        "str x4, [sp, #160]\n"
        "ldp x19, x20, [x3]; ldp x21, x22, [x3, #16]; ldp x23, x24, [x3, #32]\n"
        "ldp x25, x26, [x3, #48]; ldp x27, x28, [x3, #64]; ldr x29, [x3, #80]\n"
        "ldp d8, d9, [x3, #88]; ldp d10, d11, [x3, #104]; ldp d12, d13, [x3, #120]\n"
        "ldp d14, d15, [x3, #136]\n"
        "blr x2\n"
        "ldr x4, [sp, #160]\n"
        "stp x19, x20, [x4]; stp x21, x22, [x4, #16]; stp x23, x24, [x4, #32]\n"
        "stp x25, x26, [x4, #48]; stp x27, x28, [x4, #64]; str x29, [x4, #80]\n"
        "stp d8, d9, [x4, #88]; stp d10, d11, [x4, #104]; stp d12, d13, [x4, #120]\n"
        "stp d14, d15, [x4, #136]\n"
        "ldp x19, x20, [sp, #16]; ldp x21, x22, [sp, #32]; ldp x23, x24, [sp, #48]\n"
        "ldp x25, x26, [sp, #64]; ldp x27, x28, [sp, #80]; ldp d8, d9, [sp, #96]\n"
        "ldp d10, d11, [sp, #112]; ldp d12, d13, [sp, #128]; ldp d14, d15, [sp, #144]\n"
        "ldp x29, x30, [sp], #176\n"
        "ret\n"
        ".size call_with_registers, . - call_with_registers\n");

#endif

static uint64_t given[SAVED], got[SAVED];

static void give_values(void)
{
    for (int i = 0; i < SAVED; i++)
        given[i] = 0x1111111111111111u * (unsigned)(i % 15 + 1) + (unsigned)i;
}

static int found_on_stack;

static void spoil_and_look(void *arg)
{
    (void)arg;
    for (;;) {
        // Suspended code's registers must be found between its sp and the frame that suspended it.
        found_on_stack = 0;
        for (int i = 0; i < SAVED; i++)
            found_on_stack += scan_for(home.sp, (char *)home.sp + 8 * (SAVED + 2), given[i]) > 0;
        SPOIL();
        os_switch(&away, &home);
    }
}

static void switch_contexts(void *a, void *b)
{
    os_switch(a, b);
}

Test(os_context, a_switch_preserves_and_exposes_every_callee_saved_register)
{
    stack = new_stack();
    give_values();
    os_context_init(&away, stack + STACK, spoil_and_look, NULL);
    void (*volatile direct)(os_context *, os_context *) = os_switch;
    call_with_registers(&home, &away, (void (*)(void *, void *))direct, given, got);
    cr_assert_arr_eq(given, got, sizeof given);
    cr_assert_eq(found_on_stack, SAVED);

    memset(got, 0, sizeof got);
    call_with_registers(&home, &away, switch_contexts, given, got);
    cr_assert_arr_eq(given, got, sizeof given);
}

static void look_above(void *arg, void *sp)
{
    *(int *)arg = 0;
    for (int i = 0; i < SAVED; i++)
        *(int *)arg += scan_for(sp, (char *)sp + 8 * (SAVED + 2), given[i]) > 0;
    SPOIL();
}

Test(os_context, spilled_registers_lie_above_the_stack_pointer_that_is_passed)
{
    give_values();
    int found = 0;
    call_with_registers((void *)look_above, &found, (void (*)(void *, void *))os_call_spilled,
                        given, got);
    cr_assert_eq(found, SAVED);
    cr_assert_arr_eq(given, got, sizeof given);
}

static void note_frame(void *arg)
{
    _Alignas(16) volatile char v[16];
    v[0] = 1;
    cr_assert_eq(((uintptr_t)__builtin_frame_address(0) | (uintptr_t)&v[0]) % 16, 0);
    *(uintptr_t *)arg = (uintptr_t)__builtin_frame_address(0);
    SPOIL();
}

static void call_there(void *a, void *b)
{
    os_call_on_stack(a, note_frame, b);
}

Test(os_context, a_call_on_another_stack_runs_there_and_returns)
{
    stack = new_stack();
    give_values();
    for (int off = 0; off < 16; off += 5) {
        uintptr_t frame = 0;
        call_with_registers(stack + STACK - off, &frame, call_there, given, got);
        cr_assert(frame >= (uintptr_t)stack && frame < (uintptr_t)stack + STACK);
        cr_assert_arr_eq(given, got, sizeof given);
    }
}

// Three contexts in a ring, so that no switch returns to where the last one came from.
static void pass_to_third(void *arg)
{
    for (;;) {
        ++*(int *)arg;
        os_switch(&away, &third);
    }
}

static void pass_home(void *arg)
{
    for (;;) {
        *(int *)arg += 1000;
        os_switch(&third, &home);
    }
}

Test(os_context, contexts_can_be_switched_in_a_ring)
{
    stack = new_stack();
    char *other = new_stack();
    int n = 0;
    os_context_init(&away, stack + STACK, pass_to_third, &n);
    os_context_init(&third, other + STACK, pass_home, &n);
    for (int i = 0; i < 100; i++)
        os_switch(&home, &away);
    cr_assert_eq(n, 100 * 1001);
}

struct trace {
    int frames;
    uintptr_t last;
    _Unwind_Reason_Code ended;
};

static _Unwind_Reason_Code each_frame(struct _Unwind_Context *c, void *arg)
{
    struct trace *t = arg;
    t->frames++;
    t->last = (uintptr_t)_Unwind_GetIP(c);
    return t->frames > 50 ? _URC_END_OF_STACK : _URC_NO_REASON;
}

static void trace_here(void *arg)
{
    struct trace *t = arg;
    t->ended = _Unwind_Backtrace(each_frame, t);
    os_switch(&away, &home);
}

Test(os_context, a_backtrace_ends_below_the_entry)
{
    stack = new_stack();
    struct trace t = {0};
    os_context_init(&away, stack + STACK, trace_here, &t);
    // What lies above the frame must not matter: only the unwind information ends the trace.
    uintptr_t *top = (uintptr_t *)(stack + STACK);
    top[-1] = top[-2] = (uintptr_t)count_rounds + 4;
    os_switch(&home, &away);
    // The entry and the trampoline under it (some unwinders leave out the latter).
    cr_assert(t.frames >= 1 && t.frames <= 3, "%d frames", t.frames);
    cr_assert_eq(t.ended, _URC_END_OF_STACK);
}

__attribute__((noinline)) static void trace_on_stack(void *arg)
{
    struct trace *t = arg;
    t->ended = _Unwind_Backtrace(each_frame, t);
}

Test(os_context, a_backtrace_passes_through_a_call_on_another_stack)
{
    stack = new_stack();
    struct trace here = {0}, there = {0};
    trace_on_stack(&here);
    os_call_on_stack(stack + STACK, trace_on_stack, &there);
    cr_assert_eq(there.frames, here.frames + 1);
    cr_assert_eq(there.last, here.last);
}

static void return_at_once(void *arg)
{
    (void)arg;
}

#if defined(__x86_64__)
#define TRAP SIGILL
#else
#define TRAP SIGTRAP
#endif

Test(os_context, an_entry_that_returns_traps, .signal = TRAP)
{
    stack = new_stack();
    os_context_init(&away, stack + STACK, return_at_once, NULL);
    os_switch(&home, &away);
}
