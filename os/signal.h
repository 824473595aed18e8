// Signals: the handshake signal, faults, alternate stacks, and what an interrupted context holds.

#ifndef OS_SIGNAL_H
#define OS_SIGNAL_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// SIGURG, as Go chose, for the same reasons: its default action is to ignore, so one that arrives after
// os_handshake_uninstall is harmless; debuggers pass it on silently; libc does not use it; hardly any
// program handles it, and those that do must expect it spuriously (it says "look at your sockets").
#define OS_SIG_HANDSHAKE SIGURG

// Called in signal context with all signals blocked except synchronous faults; errno is preserved
// around it. On the thread's alternate stack if it has one.
//
// ThreadSanitizer delays handlers to its next safe point and calls them, on the ordinary stack, with an old
// copy of the context: under it, nothing found in a context can be relied on, so poll instead. Valgrind
// shows general registers only.
typedef void (*os_handshake_fn)(void *ucontext);

// Process-wide and counted: a second install of the same function succeeds, of another is -EBUSY.
// A handler that was there before is still called for signals that os_handshake_send did not send.
int os_handshake_install(os_handshake_fn fn);
void os_handshake_uninstall(void);

// Sends the handshake signal to one thread of this process. -ESRCH if it is gone. Async-signal-safe.
// Several sent before one is delivered are one.
int os_handshake_send(int tid);

// Called for SIGSEGV and SIGBUS, in signal context. Returns true if the fault is dealt with (the
// instruction is tried again); false hands it to the handler that was there before, or to the default
// action, so that debuggers and core dumps show the faulting instruction.
typedef bool (*os_fault_fn)(void *addr, void *ucontext);

int os_fault_install(os_fault_fn fn); // counted like os_handshake_install
void os_fault_uninstall(void);

// Gives the calling thread an alternate signal stack if it has none, big enough for the largest
// signal frame of this processor and 64 KiB more. Nests. A thread leaves as often as it entered, before
// it ends, and never on the alternate stack.
int os_altstack_enter(void);
void os_altstack_leave(void);

// What the interrupted context holds. Async-signal-safe.
uintptr_t os_context_sp(const void *uc);
uintptr_t os_context_pc(const void *uc);

// Calls fn for each range of saved registers: the general ones, and the vector state (on x86 the XSAVE
// area with SSE, AVX and AVX-512, without AMX tiles; on aarch64 the FPSIMD and SVE records).
void os_context_registers(const void *uc, void (*fn)(void *arg, const uintptr_t *words, size_t n),
                          void *arg);

// Blocks everything but the synchronous faults in the calling thread.
typedef sigset_t os_signal_set;
void os_signal_block_all(os_signal_set *saved);
void os_signal_restore(const os_signal_set *saved);

#endif
