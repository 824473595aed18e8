// Context switch for AArch64 (AAPCS64). The contract is in os/context.h; the problem and the rejected
// designs are told in os/x86_64/context.S and are the same here, with these differences.
//
// - d8 to d15 are callee-saved (their low halves), so they are part of the frame.
// - fpcr stays with the thread, like mxcsr there.
// - Return addresses are not signed here, and a caller that signs its own does so before it stores it in
//   its own frame, where it stays. No BTI landing pads: without the property note the linker leaves BTI
//   off for the program.
// - x18 belongs to the platform and is not touched.
//
// The saved frame, upwards from context.sp:
//
//      0 x19 x20   16 x21 x22   32 x23 x24   48 x25 x26   64 x27 x28   80 x29 x30
//     96 d8 d9    112 d10 d11  128 d12 d13  144 d14 d15
//
// The invariant: at every instruction sp points into exactly one of the two stacks, is a multiple of 16,
// and nothing live is below it.

    .text

    .macro  SAVE_FRAME
    sub     sp, sp, #160
    .cfi_adjust_cfa_offset 160
    stp     x19, x20, [sp, #0]
    .cfi_rel_offset x19, 0
    .cfi_rel_offset x20, 8
    stp     x21, x22, [sp, #16]
    .cfi_rel_offset x21, 16
    .cfi_rel_offset x22, 24
    stp     x23, x24, [sp, #32]
    .cfi_rel_offset x23, 32
    .cfi_rel_offset x24, 40
    stp     x25, x26, [sp, #48]
    .cfi_rel_offset x25, 48
    .cfi_rel_offset x26, 56
    stp     x27, x28, [sp, #64]
    .cfi_rel_offset x27, 64
    .cfi_rel_offset x28, 72
    stp     x29, x30, [sp, #80]
    .cfi_rel_offset x29, 80
    .cfi_rel_offset x30, 88
    stp     d8, d9, [sp, #96]
    .cfi_rel_offset d8, 96
    .cfi_rel_offset d9, 104
    stp     d10, d11, [sp, #112]
    .cfi_rel_offset d10, 112
    .cfi_rel_offset d11, 120
    stp     d12, d13, [sp, #128]
    .cfi_rel_offset d12, 128
    .cfi_rel_offset d13, 136
    stp     d14, d15, [sp, #144]
    .cfi_rel_offset d14, 144
    .cfi_rel_offset d15, 152
    .endm

// void os_switch(os_context *from, os_context *to)
//
// The unwind information keeps pointing at the saved frame until sp leaves it, which is right for the new
// stack too from the instruction that installs it.
    .globl  os_switch
    .hidden os_switch
    .type   os_switch, %function
    .p2align 6
os_switch:
    .cfi_startproc
    SAVE_FRAME
    mov     x9, sp
    ldr     x10, [x1]
    str     x9, [x0]
    mov     sp, x10
    ldr     x11, [sp, #88]
    ldp     x19, x20, [sp, #0]
    ldp     x21, x22, [sp, #16]
    ldp     x23, x24, [sp, #32]
    ldp     x25, x26, [sp, #48]
    ldp     x27, x28, [sp, #64]
    ldr     x29, [sp, #80]
    mov     x30, x11
    ldp     d8, d9, [sp, #96]
    ldp     d10, d11, [sp, #112]
    ldp     d12, d13, [sp, #128]
    ldp     d14, d15, [sp, #144]
    add     sp, sp, #160
    .cfi_adjust_cfa_offset -160
    .cfi_same_value x19
    .cfi_same_value x20
    .cfi_same_value x21
    .cfi_same_value x22
    .cfi_same_value x23
    .cfi_same_value x24
    .cfi_same_value x25
    .cfi_same_value x26
    .cfi_same_value x27
    .cfi_same_value x28
    .cfi_same_value x29
    .cfi_same_value x30
    .cfi_same_value d8
    .cfi_same_value d9
    .cfi_same_value d10
    .cfi_same_value d11
    .cfi_same_value d12
    .cfi_same_value d13
    .cfi_same_value d14
    .cfi_same_value d15
    ret     x11
    .cfi_endproc
    .size   os_switch, . - os_switch

// Where the first switch to a context lands: x19 holds the argument, x20 the entry, x29 is zero. The
// undefined return address is what ends a backtrace. The nop in front keeps the label inside this frame
// for unwinders that look up "return address - 1".
    .type   context_start, %function
    .p2align 4
    .cfi_startproc
    .cfi_undefined x30
    nop
context_start:
    mov     x30, #0
    mov     x0, x19
    blr     x20
    brk     #0x3e8
    .cfi_endproc
    .size   context_start, . - context_start

// void os_context_init(os_context *c, void *stack_hi, void (*entry)(void *), void *arg)
//
// Builds the frame that os_switch will pop, and 16 zero bytes above it. The argument waits in the slot
// of x19.
    .globl  os_context_init
    .hidden os_context_init
    .type   os_context_init, %function
    .p2align 4
os_context_init:
    .cfi_startproc
    and     x1, x1, #-16
    sub     x9, x1, #176
    adrp    x10, context_start
    add     x10, x10, :lo12:context_start
    stp     x3, x2, [x9, #0]
    stp     xzr, xzr, [x9, #16]
    stp     xzr, xzr, [x9, #32]
    stp     xzr, xzr, [x9, #48]
    stp     xzr, xzr, [x9, #64]
    stp     xzr, x10, [x9, #80]
    stp     xzr, xzr, [x9, #96]
    stp     xzr, xzr, [x9, #112]
    stp     xzr, xzr, [x9, #128]
    stp     xzr, xzr, [x9, #144]
    stp     xzr, xzr, [x9, #160]
    str     x9, [x0]
    ret
    .cfi_endproc
    .size   os_context_init, . - os_context_init

// void os_call_spilled(void (*fn)(void *arg, void *sp), void *arg)
//
// Only the link register needs reloading: fn preserves the others.
    .globl  os_call_spilled
    .hidden os_call_spilled
    .type   os_call_spilled, %function
    .p2align 4
os_call_spilled:
    .cfi_startproc
    SAVE_FRAME
    mov     x9, x0
    mov     x0, x1
    mov     x1, sp
    blr     x9
    ldp     x29, x30, [sp, #80]
    add     sp, sp, #160
    .cfi_adjust_cfa_offset -160
    .cfi_same_value x29
    .cfi_same_value x30
    ret
    .cfi_endproc
    .size   os_call_spilled, . - os_call_spilled

// void os_call_on_stack(void *stack_hi, void (*fn)(void *), void *arg)
    .globl  os_call_on_stack
    .hidden os_call_on_stack
    .type   os_call_on_stack, %function
    .p2align 4
os_call_on_stack:
    .cfi_startproc
    stp     x29, x30, [sp, #-16]!
    .cfi_adjust_cfa_offset 16
    .cfi_rel_offset x29, 0
    .cfi_rel_offset x30, 8
    mov     x29, sp
    .cfi_def_cfa_register x29
    and     x0, x0, #-16
    mov     sp, x0
    mov     x0, x2
    blr     x1
    mov     sp, x29
    .cfi_def_cfa_register sp
    ldp     x29, x30, [sp], #16
    .cfi_adjust_cfa_offset -16
    .cfi_same_value x29
    .cfi_same_value x30
    ret
    .cfi_endproc
    .size   os_call_on_stack, . - os_call_on_stack

    .section .note.GNU-stack, "", %progbits
