// Context switch for x86-64 (System V ABI). The contract is in os/context.h.
//
// The problem: suspend a call chain and continue another in about the time of two function calls, such
// that (a) a conservative scan from the saved stack pointer sees every register the suspended code may
// hold a pointer in, (b) debuggers and unwinders walk a running coroutine up to its entry and stop
// there cleanly, and (c) a signal may arrive between any two instructions.
//
// Rejected:
// - ucontext(3): two system calls per switch, for the signal mask.
// - setjmp/longjmp: glibc mangles the saved stack pointer, which hides it, and fortified builds refuse
//   to jump "up".
// - An inline-assembly switch that clobbers everything: one or two nanoseconds faster where few registers
//   are live, but its save area differs per call site, and each site needs its own unwind information.
// - Saving mxcsr and the x87 control word, as some libraries do: measured 1.5 to 2.5 ns on a switch of
//   2.2 to 3.9 ns. Rounding modes and exception masks therefore belong to the thread, not to the
//   coroutine: code that changes them restores them before it can park. (The ABI calls them
//   callee-saved; this is the one deviation.)
// - Ending with an indirect jump: in a bare ping-pong it is as fast as `ret` or faster, since it suits
//   switches between different call sites. But it leaves the return-stack predictor one entry too deep,
//   so that every return on the way up to the caller of a yield is mispredicted: 27 ns for a yield of the
//   scheduler against 15 ns with `ret` (two coroutines, one processor), 108 against 88 ns for a round trip
//   through two channels. The scheduler switches from one place, to which `ret` predicts rightly, and so
//   do the callers of that place when both sides do the same thing.
//
// The saved frame, upwards from context.sp. Everything above it is the suspended code's own stack.
//
//      0  r15    8  r14    16  r13    24  r12    32  rbx    40  rbp    48  return address
//
// The invariant: at every instruction rsp points into exactly one of the two stacks, nothing live is
// below it, and the unwind information below is right for both, because both have the same layout.
//
// Shadow stacks (CET) would have to be switched too. This object carries no SHSTK property note, and the
// linker then drops it for the whole program, so that the kernel does not turn them on.

    .text

// void os_switch(os_context *from, os_context *to)
    .globl  os_switch
    .hidden os_switch
    .type   os_switch, @function
    .p2align 6
os_switch:
    .cfi_startproc
    push    %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbp, 0
    push    %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbx, 0
    push    %r12
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r12, 0
    push    %r13
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r13, 0
    push    %r14
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r14, 0
    push    %r15
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r15, 0
    mov     (%rsi), %rdx
    mov     %rsp, (%rdi)
    mov     %rdx, %rsp
    pop     %r15
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r15
    pop     %r14
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r14
    pop     %r13
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r13
    pop     %r12
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r12
    pop     %rbx
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rbx
    pop     %rbp
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rbp
    ret
    .cfi_endproc
    .size   os_switch, . - os_switch

// Where the first switch to a context lands: rbx holds the entry, r12 its argument, rbp is zero and rsp a
// multiple of 16. The undefined return address is what ends a backtrace. The nop in front keeps the
// label inside this frame for unwinders that look up "return address - 1".
    .type   context_start, @function
    .p2align 4
    .cfi_startproc
    .cfi_undefined %rip
    nop
context_start:
    mov     %r12, %rdi
    call    *%rbx
    ud2
    .cfi_endproc
    .size   context_start, . - context_start

// void os_context_init(os_context *c, void *stack_hi, void (*entry)(void *), void *arg)
//
// Builds the frame that os_switch will pop, 64 bytes below the aligned top, and clears the word above it
// so that what looks like entry's caller's caller is zero. The argument waits in the slot of r12.
    .globl  os_context_init
    .hidden os_context_init
    .type   os_context_init, @function
    .p2align 4
os_context_init:
    .cfi_startproc
    and     $-16, %rsi
    lea     -72(%rsi), %rax
    xor     %r8d, %r8d
    lea     context_start(%rip), %r9
    mov     %r8, 0(%rax)
    mov     %r8, 8(%rax)
    mov     %r8, 16(%rax)
    mov     %rcx, 24(%rax)
    mov     %rdx, 32(%rax)
    mov     %r8, 40(%rax)
    mov     %r9, 48(%rax)
    mov     %r8, 56(%rax)
    mov     %r8, 64(%rax)
    mov     %rax, (%rdi)
    ret
    .cfi_endproc
    .size   os_context_init, . - os_context_init

// void os_call_spilled(void (*fn)(void *arg, void *sp), void *arg)
//
// The registers need not be reloaded: fn preserves them.
    .globl  os_call_spilled
    .hidden os_call_spilled
    .type   os_call_spilled, @function
    .p2align 4
os_call_spilled:
    .cfi_startproc
    push    %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbp, 0
    push    %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbx, 0
    push    %r12
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r12, 0
    push    %r13
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r13, 0
    push    %r14
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r14, 0
    push    %r15
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r15, 0
    sub     $8, %rsp
    .cfi_adjust_cfa_offset 8
    mov     %rdi, %rax
    mov     %rsi, %rdi
    mov     %rsp, %rsi
    call    *%rax
    add     $56, %rsp
    .cfi_adjust_cfa_offset -56
    .cfi_same_value %rbp
    .cfi_same_value %rbx
    .cfi_same_value %r12
    .cfi_same_value %r13
    .cfi_same_value %r14
    .cfi_same_value %r15
    ret
    .cfi_endproc
    .size   os_call_spilled, . - os_call_spilled

// void os_call_on_stack(void *stack_hi, void (*fn)(void *), void *arg)
    .globl  os_call_on_stack
    .hidden os_call_on_stack
    .type   os_call_on_stack, @function
    .p2align 4
os_call_on_stack:
    .cfi_startproc
    push    %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbp, 0
    mov     %rsp, %rbp
    .cfi_def_cfa_register %rbp
    and     $-16, %rdi
    mov     %rdi, %rsp
    mov     %rdx, %rdi
    call    *%rsi
    mov     %rbp, %rsp
    .cfi_def_cfa_register %rsp
    pop     %rbp
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rbp
    ret
    .cfi_endproc
    .size   os_call_on_stack, . - os_call_on_stack

    .section .note.GNU-stack, "", @progbits
