// Switching stacks. The implementations are os/x86_64/context.S and os/aarch64/context.S.
//
// A context that is not running is one word: its stack pointer. Everything else that it needs to go on
// lies on its stack at and above that word, so a conservative scan of [sp, top) sees every pointer that
// the suspended code can still use.

#ifndef OS_CONTEXT_H
#define OS_CONTEXT_H

typedef struct os_context {
    void *sp;
} os_context;

// Prepares *c so that the first switch to it calls entry(arg) on the stack that ends at stack_hi (any
// alignment; at least 256 bytes below it are writable). `arg` lies on the new stack until that switch.
// `entry` must never return: it traps. Unwinders and gdb see `entry` as the outermost frame.
void os_context_init(os_context *c, void *stack_hi, void (*entry)(void *arg), void *arg);

// Suspends the caller in *from and continues *to. Returns when somebody switches to *from, perhaps on
// another thread: nothing thread-local may be cached across it. Floating-point control state (rounding,
// masks) stays with the thread, see the assembly. Shadow stacks (CET) are not supported.
void os_switch(os_context *from, os_context *to);

// Calls fn(arg, sp) with every callee-saved register of the caller stored at or above sp, so that a scan
// from sp to the top of the stack sees all that the caller and its callers hold.
void os_call_spilled(void (*fn)(void *arg, void *sp), void *arg);

// Calls fn(arg) on the stack that ends at stack_hi (any alignment), and returns to this one. Callee-saved
// registers are not spilled to the old stack: where that is scanned meanwhile, go through
// os_call_spilled first. Unwinding through it works.
void os_call_on_stack(void *stack_hi, void (*fn)(void *arg), void *arg);

#endif
