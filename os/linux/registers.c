// What an interrupted thread holds in its registers, as a conservative collector wants to see it: ranges of
// words.
//
// The problem: at a signal, a pointer may be in a general register only, or, in the middle of a struct
// copy or of a vectorised loop, in a vector register only. The kernel has saved both in the signal frame,
// the vector ones in the layout of the processor's own save instruction, whose size depends on the model
// and on what the program uses. Rejected: the 512 bytes that <ucontext.h> knows about (the upper halves of
// AVX registers, and all of zmm16 to zmm31, lie behind them), and decoding the area register by register
// (scanning a few words that are not registers costs nothing but a chance of keeping a dead object).
//
// The invariant: every word that the interrupted code can still read from a register is passed. AMX
// tiles are the exception: 8 KiB that no compiler copies pointers through.

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "os/signal.h"

#include <string.h>
#include <ucontext.h>

#if defined(__x86_64__)

// Software bytes in the reserved tail of the legacy area (asm/sigcontext.h).
enum { SW_OFFSET = 464, LEGACY_SIZE = 512, SW_MAGIC = 0x46505853 };

// The standard layout puts AMX's tile configuration here, behind all other vector state, on every
// processor that has it.
enum { TILES_OFFSET = 2752 };

struct fpx_sw_bytes {
    uint32_t magic1;
    uint32_t extended_size;
    uint64_t features;
    uint32_t xstate_size;
};

uintptr_t os_context_sp(const void *uc)
{
    return (uintptr_t)((const ucontext_t *)uc)->uc_mcontext.gregs[REG_RSP];
}

uintptr_t os_context_pc(const void *uc)
{
    return (uintptr_t)((const ucontext_t *)uc)->uc_mcontext.gregs[REG_RIP];
}

void os_context_registers(const void *uc, void (*fn)(void *arg, const uintptr_t *words, size_t n),
                          void *arg)
{
    const mcontext_t *m = &((const ucontext_t *)uc)->uc_mcontext;
    _Static_assert(REG_R8 == 0 && REG_RIP == 16, "the general registers come first");
    fn(arg, (const uintptr_t *)m->gregs, REG_RIP + 1);

    const char *area = (const char *)m->fpregs;
    if (!area)
        return;
    struct fpx_sw_bytes sw;
    memcpy(&sw, area + SW_OFFSET, sizeof sw);
    size_t size = LEGACY_SIZE;
    if (sw.magic1 == SW_MAGIC && sw.xstate_size > size)
        size = sw.xstate_size < TILES_OFFSET ? sw.xstate_size : TILES_OFFSET;
    fn(arg, (const uintptr_t *)area, size / sizeof(uintptr_t));
}

#elif defined(__aarch64__)

// Record kinds in the frame's extension area (asm/sigcontext.h).
enum { FPSIMD_RECORD = 0x46508001, SVE_RECORD = 0x53564501, EXTRA_RECORD = 0x45585401 };

struct record {
    uint32_t magic;
    uint32_t size;
};

uintptr_t os_context_sp(const void *uc)
{
    return (uintptr_t)((const ucontext_t *)uc)->uc_mcontext.sp;
}

uintptr_t os_context_pc(const void *uc)
{
    return (uintptr_t)((const ucontext_t *)uc)->uc_mcontext.pc;
}

// Passes the vector records between at and end, and returns where the frame goes on, if it does.
static const char *vector_records(const char *at, const char *end, size_t *more,
                                  void (*fn)(void *arg, const uintptr_t *words, size_t n),
                                  void *arg)
{
    const char *extra = NULL;
    struct record r;
    while ((size_t)(end - at) >= sizeof r) {
        memcpy(&r, at, sizeof r);
        if (r.magic == 0 || r.size < sizeof r || r.size > (size_t)(end - at))
            break;
        if (r.magic == FPSIMD_RECORD || r.magic == SVE_RECORD) {
            fn(arg, (const uintptr_t *)at, r.size / sizeof(uintptr_t));
        } else if (r.magic == EXTRA_RECORD) {
            uint64_t where;
            uint32_t size;
            memcpy(&where, at + 8, sizeof where);
            memcpy(&size, at + 16, sizeof size);
            extra = (const char *)(uintptr_t)where;
            *more = size;
        }
        at += r.size;
    }
    return extra;
}

void os_context_registers(const void *uc, void (*fn)(void *arg, const uintptr_t *words, size_t n),
                          void *arg)
{
    const mcontext_t *m = &((const ucontext_t *)uc)->uc_mcontext;
    // x0 to x30, sp and pc follow each other.
    fn(arg, (const uintptr_t *)m->regs, 33);

    const char *at = (const char *)m->__reserved;
    size_t more = 0;
    const char *extra = vector_records(at, at + sizeof m->__reserved, &more, fn, arg);
    if (extra)
        vector_records(extra, extra + more, &more, fn, arg);
}

#else
#error "os_context_registers: not written for this processor"
#endif
