// What the processor can do, checked against what the kernel says.

#include "os/cpu.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

// Whether /proc/cpuinfo lists all of these flags; -1 if it lists none at all.
static int kernel_lists(const char *const *flags, int n)
{
    FILE *f = fopen("/proc/cpuinfo", "r");
    if (!f)
        return -1;
    static char line[16384];
    int result = -1;
    while (result < 0 && fgets(line, sizeof line, f)) {
        if (strncmp(line, "flags", 5) != 0)
            continue;
        result = 1;
        strcpy(line + strcspn(line, "\n"), " ");
        for (int i = 0; i < n; i++) {
            char word[32];
            snprintf(word, sizeof word, " %s ", flags[i]);
            result &= strstr(line, word) != NULL;
        }
    }
    fclose(f);
    return result;
}

Test(os_cpu, the_kernel_agrees_about_vector_instructions)
{
    static const char *const avx2[] = {"avx2"};
    static const char *const avx512[] = {"avx512f", "avx512bw", "avx512vl", "avx512dq",
                                         "avx512_vbmi2"};
    int has2 = kernel_lists(avx2, 1), has512 = kernel_lists(avx512, 5);
    if (has2 < 0)
        cr_skip_test("no flags in /proc/cpuinfo");
    cr_assert_eq(os_cpu_has_avx2(), has2 == 1);
    cr_assert_eq(os_cpu_has_avx512(), has512 == 1);
}

Test(os_cpu, the_processor_has_a_name_without_blanks_around_it)
{
    const char *name = os_cpu_name();
    cr_assert_not_null(name);
    cr_assert_gt(strlen(name), 2);
    cr_assert(name[0] != ' ' && name[strlen(name) - 1] != ' ');
}
