// What the processor can do. Asked of the processor and of the kernel (XGETBV: does it save the
// registers), once; rejected: __builtin_cpu_supports, whose feature names and constructor order differ
// between compilers, and /proc/cpuinfo. The invariant: an answer never changes within a process.

#include "os/cpu.h"

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

enum { KNOWN = 1, AVX2 = 2, AVX512 = 4 };

#if defined(__x86_64__)

static uint64_t saved_by_kernel(void)
{
    uint32_t lo, hi;
    // xgetbv, spelt as bytes for compilers without -mxsave.
    __asm__ __volatile__(".byte 0x0f, 0x01, 0xd0" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

static unsigned detect(void)
{
    unsigned a, b, c, d, found = KNOWN;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_AVX))
        return found;
    uint64_t saved = saved_by_kernel();
    const uint64_t avx_state = 0x6, avx512_state = 0xe6;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return found;
    if ((saved & avx_state) == avx_state && (b & bit_AVX2))
        found |= AVX2;
    const unsigned need_b = bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ;
    const unsigned need_c = 1u << 6; // VBMI2
    if ((saved & avx512_state) == avx512_state && (b & need_b) == need_b && (c & need_c))
        found |= AVX512;
    return found;
}

static void read_name(char *name, size_t size)
{
    unsigned r[12];
    unsigned a, b, c, d;
    if (size < sizeof r + 1 || !__get_cpuid(0x80000000, &a, &b, &c, &d) || a < 0x80000004)
        return;
    for (unsigned i = 0; i < 3; i++)
        __get_cpuid(0x80000002 + i, &r[4 * i], &r[4 * i + 1], &r[4 * i + 2], &r[4 * i + 3]);
    memcpy(name, r, sizeof r);
    name[sizeof r] = 0;
}

#else

static unsigned detect(void)
{
    return KNOWN;
}

static void read_name(char *name, size_t size)
{
    static const char text[] = "aarch64";
    if (size >= sizeof text)
        memcpy(name, text, sizeof text);
}

#endif

static unsigned features(void)
{
    static _Atomic unsigned cached;
    unsigned f = atomic_load_explicit(&cached, memory_order_relaxed);
    if (__builtin_expect(f == 0, 0)) {
        f = detect();
        atomic_store_explicit(&cached, f, memory_order_relaxed);
    }
    return f;
}

bool os_cpu_has_avx2(void)
{
    return features() & AVX2;
}

bool os_cpu_has_avx512(void)
{
    return features() & AVX512;
}

// Filled in before main, so that nobody can see half of it.
static char cpu_name[64] = "unknown";

__attribute__((constructor)) static void note_name(void)
{
    char name[64] = "";
    read_name(name, sizeof name);
    const char *from = name;
    while (*from == ' ')
        from++;
    size_t len = strlen(from);
    while (len > 0 && from[len - 1] == ' ')
        len--;
    if (len == 0)
        return;
    memmove(cpu_name, from, len);
    cpu_name[len] = 0;
}

const char *os_cpu_name(void)
{
    return cpu_name;
}
