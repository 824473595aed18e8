/* Which scan kernel runs.
 *
 * The choice is made by asking the processor, not by an ifunc: an ifunc resolver runs before the
 * library's other relocations are done and may not call os/cpu.h, and a static library that is
 * linked into a position-dependent program gets none of its benefits. The caller keeps the pointer
 * for a whole cycle, so that the indirect call is predicted and costs nothing beside a span's
 * scan.
 *
 * Invariant: a kernel is returned only if every instruction it may execute exists on this
 * processor and the kernel saves its registers.
 */
#include "gc/scan.h"

#include <string.h>

#include "os/cpu.h"

#ifdef __x86_64__

static const gc_scan_kernel *usable_avx2(void)
{
    return os_cpu_has_avx2() ? gc_scan_avx2 : NULL;
}

static const gc_scan_kernel *usable_avx512(void)
{
    return os_cpu_has_avx512() ? gc_scan_avx512 : NULL;
}

#else

static const gc_scan_kernel *usable_avx2(void)
{
    return NULL;
}

static const gc_scan_kernel *usable_avx512(void)
{
    return NULL;
}

#endif

const gc_scan_kernel *gc_scan_best(void)
{
    const gc_scan_kernel *k = gc_scan_valgrind();
    if (!k)
        k = usable_avx512();
    if (!k)
        k = usable_avx2();
    return k ? k : &gc_scan_scalar;
}

const gc_scan_kernel *gc_scan_named(const char *name)
{
    if (!strcmp(name, "avx512"))
        return usable_avx512();
    if (!strcmp(name, "avx2"))
        return usable_avx2();
    return strcmp(name, "scalar") ? NULL : &gc_scan_scalar;
}
