/* memory.h for malloc systems. Each is linked before the C library, whose malloc it replaces; there is nothing to set
 * up. That the replacement took place is printed with the settings: the file from which malloc() comes.
 */
#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <stdio.h>

#include "measure.h"
#include "memory.h"

#if defined PEER_MIMALLOC
#include <mimalloc.h>
#elif defined PEER_JEMALLOC
#include <jemalloc/jemalloc.h>
#elif defined PEER_TCMALLOC
#include <gperftools/tcmalloc.h>
#endif

void memory_init(void) {}

void memory_expect(size_t heap)
{
    (void)heap;
}

void memory_print_info(void)
{
    char version[64];
#if defined PEER_MIMALLOC
    int v = mi_version();
    snprintf(version, sizeof version, "mimalloc %d.%d.%d", v / 100, v / 10 % 10, v % 10);
#elif defined PEER_JEMALLOC
    const char *v = "unknown";
    size_t size = sizeof v;
    mallctl("version", &v, &size, NULL, 0);
    snprintf(version, sizeof version, "jemalloc %s", v);
#elif defined PEER_TCMALLOC
    snprintf(version, sizeof version, "%s", tc_version(NULL, NULL, NULL));
#else
    snprintf(version, sizeof version, "glibc %s", gnu_get_libc_version());
#endif
    print_info("version", version);

    char settings[512];
    Dl_info from;
    if (!dladdr((void *)malloc, &from) || !from.dli_fname)
        abort();
    snprintf(settings, sizeof settings, "malloc from %s", from.dli_fname);
    print_info("settings", settings);
}

void memory_collect(void)
{
    abort(); /* no workload asks a malloc system for it */
}

void memory_print_collector(void) {}
